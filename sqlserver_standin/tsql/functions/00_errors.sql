-- Errors with SQL Server's numbers, as the engine expects them: SQLSTATE TS000, DETAIL "number severity state".

CREATE FUNCTION sys.throw(number int, message text, severity int DEFAULT 16, state int DEFAULT 1) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'TS000', MESSAGE = message, DETAIL = number || ' ' || severity || ' ' || state;
END $$;
