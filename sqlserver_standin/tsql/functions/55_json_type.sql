-- The json data type of SQL Server 2025: a document in the one form in which SQL Server gives it back.
-- https://learn.microsoft.com/sql/t-sql/data-types/json-data-type

-- A float8 to the last binary digit, with ten decimal places.
CREATE FUNCTION sys.json_float(value float8) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    bits bigint := ('x' || encode(float8send(abs(value)), 'hex'))::bit(64)::bigint;
    exponent integer := (bits >> 52)::integer - 1075;
    mantissa numeric := (bits & x'FFFFFFFFFFFFF'::bigint) | x'10000000000000'::bigint;
    result numeric := 0;
BEGIN
    IF exponent >= 0 THEN
        result := mantissa * power(2::numeric, exponent);
    ELSIF exponent > -100 THEN
        result := mantissa * power(5::numeric, -exponent) * ('1e' || exponent)::numeric;
    END IF;
    RETURN round(result, 10) * CASE WHEN value < 0 THEN -1 ELSE 1 END;
END $$;

CREATE FUNCTION sys.json_number(token text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    digits text := ltrim(token, '-');
    state integer := CASE WHEN token ~ '[eE]' THEN 5 ELSE 3 END;
    result numeric;
BEGIN
    IF state = 3 THEN
        IF digits ~ '^0(\.0*)?$' THEN RETURN digits; END IF;
        IF length(replace(regexp_replace(digits, '^0', ''), '.', '')) <= 38 THEN RETURN token; END IF;
    END IF;
    result := CASE
        WHEN state = 3 THEN round(token::numeric, 10)
        WHEN abs(token::numeric) < 1e-100 THEN 0.0000000000
        WHEN abs(token::numeric) < 1e30 THEN sys.json_float(token::float8) END;
    IF result IS NULL OR abs(result) >= 1e28 THEN
        PERFORM sys.throw(1007, format('The number ''%s'' is out of the range for numeric representation (maximum precision 38).', token), state => state);
    END IF;
    RETURN result::text;
END $$;

CREATE FUNCTION sys.json_string(token text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    result text;
BEGIN
    IF strpos(token, '\') = 0 THEN RETURN token; END IF;
    IF token ~ '\\u0000' THEN PERFORM sys.throw(40000, 'not supported by the stand-in: the character U+0000 in json'); END IF;
    result := replace(replace(token::json #>> '{}', '\', '\\'), '"', '\"');
    FOR code IN 1 .. 31 LOOP
        IF strpos(result, chr(code)) > 0 THEN
            result := replace(result, chr(code), coalesce((ARRAY['\b', '\t', '\n', NULL, '\f', '\r'])[code - 7],
                                                          '\u' || upper(lpad(to_hex(code), 4, '0'))));
        END IF;
    END LOOP;
    RETURN '"' || result || '"';
END $$;

-- A text as json: an object or array, without white space, names as they are written and each of an object once. What is no
-- document is error 13609, and NULL for TRY_CAST.
CREATE FUNCTION sys.to_json_type(document text, attempt boolean) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 1000 AS $$
DECLARE
    string constant text := '"(?:[^"\\\x01-\x1f]|\\(?:["\\/bfnrt]|u[[:xdigit:]]{4}))*"';
    number constant text := '-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?';
    token text;
    first text;
    -- A position is a number of bytes.
    place integer := 0;
    -- What may come: a value, a name, a colon, or what follows a value; right behind a bracket also its end.
    expected text := 'value';
    opened boolean := false;
    -- The containers around: their brackets, names and numbers of items.
    brackets text := '';
    names jsonb[] := '{}';
    counts integer[] := '{}';
    depth integer := 0;
    -- The depth at which a value is left out because its name was there before.
    skipped integer;
    result text[] := '{}';
BEGIN
    FOR token IN
        SELECT match[1] FROM regexp_matches(document || E'\n', string || '|[][{}:,]|[^] \t\r\n"[{}:,]+|[ \t\r\n]+|"', 'g') AS t (match)
    LOOP
        first := left(token, 1);
        IF first ~ '[ \t\r\n]' THEN
            place := place + length(token);
            CONTINUE;
        END IF;
        CASE
            WHEN expected = 'value' AND first IN ('{', '[') THEN
                IF skipped IS NULL THEN
                    IF right(brackets, 1) = '[' THEN
                        counts[depth] := counts[depth] + 1;
                        IF counts[depth] > 1 THEN result := result || ','::text; END IF;
                    END IF;
                    result := result || first;
                END IF;
                brackets := brackets || first;
                depth := depth + 1;
                IF depth > 128 THEN PERFORM sys.throw(13645, 'Nested level of JSON document exceeds limit 128.'); END IF;
                names[depth] := '{}';
                counts[depth] := 0;
                expected := CASE first WHEN '{' THEN 'name' ELSE 'value' END;
                opened := true;
                place := place + 1;
                CONTINUE;
            WHEN (first = '}' AND right(brackets, 1) = '{' AND (expected = 'rest' OR (opened AND expected = 'name')))
              OR (first = ']' AND right(brackets, 1) = '[' AND (expected = 'rest' OR (opened AND expected = 'value'))) THEN
                IF skipped IS NULL THEN result := result || first; END IF;
                brackets := left(brackets, -1);
                depth := depth - 1;
                IF skipped = depth THEN skipped := NULL; END IF;
                expected := CASE depth WHEN 0 THEN 'end' ELSE 'rest' END;
            WHEN expected = 'value' AND depth > 0 AND (token ~ ('^(?:' || number || '|true|false|null)$') OR token ~ '^".*"$') THEN
                IF skipped IS NULL THEN
                    IF right(brackets, 1) = '[' THEN
                        counts[depth] := counts[depth] + 1;
                        IF counts[depth] > 1 THEN result := result || ','::text; END IF;
                    END IF;
                    result := result || CASE WHEN first = '"' THEN sys.json_string(token)
                                             WHEN first ~ '[-0-9]' THEN sys.json_number(token) ELSE token END;
                ELSIF skipped = depth THEN
                    skipped := NULL;
                END IF;
                expected := 'rest';
            WHEN expected = 'name' AND token ~ '^".*"$' THEN
                IF skipped IS NULL THEN
                    IF names[depth] ? token THEN
                        skipped := depth;
                    ELSE
                        names[depth] := names[depth] || jsonb_build_object(token, 1);
                        counts[depth] := counts[depth] + 1;
                        IF counts[depth] > 32768 THEN PERFORM sys.throw(13649, 'Number of unique keys exceeds limit 32768 in JSON type.'); END IF;
                        result := result || (CASE WHEN counts[depth] > 1 THEN ',' ELSE '' END || token || ':');
                    END IF;
                END IF;
                expected := 'colon';
            WHEN expected = 'colon' AND first = ':' THEN
                expected := 'value';
            WHEN expected = 'rest' AND first = ',' THEN
                expected := CASE right(brackets, 1) WHEN '{' THEN 'name' ELSE 'value' END;
            ELSE
                EXIT;
        END CASE;
        IF depth > 0 AND counts[depth] > 65535 THEN
            PERFORM sys.throw(13647, 'Number of items in one object/array exceeds limit 65535 in JSON type.');
        END IF;
        opened := false;
        place := place + octet_length(token);
        first := '';
    END LOOP;
    IF expected = 'end' AND place = octet_length(document) + 1 THEN RETURN array_to_string(result, ''); END IF;
    IF attempt THEN RETURN NULL; END IF;
    -- The character is the first byte of what does not belong there; past the end it is a dot.
    first := CASE WHEN place >= octet_length(document) THEN '.'
                  ELSE convert_from(substring(convert_to(document, 'UTF8') FROM place + 1 FOR 1), 'LATIN1') END;
    PERFORM sys.throw(13609, format('JSON text is not properly formatted. Unexpected character ''%s'' is found at position %s.',
                                    first, least(place, octet_length(document))), state => 9);
END $$;

-- json as a string of so many characters: it is not cut.
CREATE FUNCTION sys.fit_json(document text, size integer, attempt boolean) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF length(document) <= size THEN RETURN document; END IF;
    IF NOT attempt THEN PERFORM sys.throw(13639, 'Target string size is too small to represent the JSON instance.'); END IF;
    RETURN NULL;
END $$;
