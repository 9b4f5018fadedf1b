-- Errors with SQL Server's numbers, as the engine expects them: SQLSTATE TS000, DETAIL "number severity state".

CREATE FUNCTION sys.throw(number int, message text, severity int DEFAULT 16, state int DEFAULT 1) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'TS000', MESSAGE = message, DETAIL = number || ' ' || severity || ' ' || state;
END $$;

-- In the recursive member of a common table; its value is never seen.
CREATE FUNCTION sys.recursion_exhausted(most int) RETURNS int
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sys.throw(530, format('The statement terminated. The maximum recursion %s has been exhausted before '
        'statement completion.', most));
    RETURN NULL;
END $$;
