-- Strings: what T-SQL's functions do, on PostgreSQL's text.

CREATE FUNCTION sys.fold_ci(value text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN lower(value);

CREATE FUNCTION sys.fold_cs(value text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN value;

CREATE FUNCTION sys.fold_ci_ai(value text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN lower(sys.without_accents(value));

CREATE FUNCTION sys.fold_cs_ai(value text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN sys.without_accents(value);

-- nvarchar counts UTF-16 units: a character beyond the BMP counts twice.
CREATE FUNCTION sys.units(value text) RETURNS int
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN octet_length(value) < 4 OR octet_length(value) = length(value) THEN length(value)
            ELSE length(value) + length(regexp_replace(value, '[\u0001-\uffff]', '', 'g')) END;

CREATE FUNCTION sys.len(value text) RETURNS int
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN sys.units(rtrim(value));

CREATE FUNCTION sys.datalength(value text, encoding text) RETURNS int
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE encoding WHEN 'utf16' THEN 2 * sys.units(value) WHEN 'utf8' THEN octet_length(value) ELSE length(value) END;

CREATE FUNCTION sys.left_of(value text, size int) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF size < 0 THEN PERFORM sys.throw(536, 'Invalid length parameter passed to the left function.'); END IF;
    RETURN left(value, size);
END $$;

CREATE FUNCTION sys.right_of(value text, size int) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF size < 0 THEN PERFORM sys.throw(536, 'Invalid length parameter passed to the right function.'); END IF;
    RETURN right(value, size);
END $$;

CREATE FUNCTION sys.substring_of(value text, start int, size int) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF size < 0 THEN PERFORM sys.throw(537, 'Invalid length parameter passed to the LEFT or SUBSTRING function.'); END IF;
    IF start < 1 THEN
        RETURN left(value, greatest(start::bigint + size - 1, 0)::int);
    END IF;
    IF start::bigint + size > 2147483647 THEN RETURN substr(value, start); END IF;
    RETURN substr(value, start, size);
END $$;

CREATE FUNCTION sys.substring_of(value bytea, start int, size int) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF size < 0 THEN PERFORM sys.throw(537, 'Invalid length parameter passed to the LEFT or SUBSTRING function.'); END IF;
    IF start::bigint + size > 2147483647 THEN RETURN substr(value, start); END IF;
    RETURN substr(value, start, size);
END $$;

CREATE FUNCTION sys.charindex(sought text, value text, start int) RETURNS int
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE found int;
BEGIN
    IF sought = '' THEN RETURN 0; END IF;
    IF start <= 1 THEN RETURN strpos(value, sought); END IF;
    found := strpos(substr(value, start), sought);
    RETURN CASE WHEN found = 0 THEN 0 ELSE found + start - 1 END;
END $$;

-- A LIKE pattern as the inside of a regular expression; % _ [class] [^class] and an escape character.
CREATE FUNCTION sys.like_body(pattern text, escape text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    result text := '';
    position int := 1;
    size int := length(pattern);
    letter text;
    closing int;
    inside text;
    class text;
    step int;
BEGIN
    IF pattern IS NULL THEN RETURN NULL; END IF;
    IF length(escape) <> 1 THEN
        PERFORM sys.throw(506, 'The invalid escape character "' || escape || '" was specified in a LIKE predicate.');
    END IF;
    WHILE position <= size LOOP
        letter := substr(pattern, position, 1);
        IF letter = escape AND position < size THEN
            position := position + 1;
            letter := substr(pattern, position, 1);
            result := result || regexp_replace(letter, '([\\.^$*+?()\[\]{}|])', '\\\1');
        ELSIF letter = '%' THEN
            result := result || '.*';
        ELSIF letter = '_' THEN
            result := result || '.';
        ELSIF letter = '[' THEN
            closing := strpos(substr(pattern, position + 2), ']');
            IF closing = 0 AND substr(pattern, position + 1, 1) <> ']' THEN RETURN NULL; END IF;
            IF closing = 0 THEN RETURN '(?!)'; END IF;
            inside := substr(pattern, position + 1, closing);
            position := position + closing + 1;
            class := '[';
            step := 1;
            IF left(inside, 1) = '^' AND length(inside) > 1 THEN
                class := '[^';
                step := 2;
            END IF;
            WHILE step <= length(inside) LOOP
                letter := substr(inside, step, 1);
                IF letter = escape AND step < length(inside) THEN
                    step := step + 1;
                    letter := substr(inside, step, 1);
                    class := class || '\' || letter;
                ELSIF letter = '-' AND step > 1 AND step < length(inside) THEN
                    class := class || '-';
                ELSIF letter ~ '[[:alnum:][:space:]_]' THEN
                    class := class || letter;
                ELSE
                    class := class || '\' || letter;
                END IF;
                step := step + 1;
            END LOOP;
            result := result || class || ']';
        ELSE
            result := result || CASE WHEN letter ~ '[\\.^$*+?()\[\]{}|]' THEN '\' || letter ELSE letter END;
        END IF;
        position := position + 1;
    END LOOP;
    RETURN result;
END $$;

CREATE FUNCTION sys.like_regex(pattern text, escape text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF pattern IS NULL THEN RETURN NULL; END IF;
    -- A class that is never closed matches nothing.
    RETURN coalesce('^' || sys.like_body(pattern, escape) || '$', '(?!)');
END $$;

CREATE FUNCTION sys.patindex(pattern text, value text) RETURNS int
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    body text := pattern;
    first text := '^';
    last text := '$';
BEGIN
    IF left(body, 1) = '%' THEN
        first := '';
        body := ltrim(body, '%');
    END IF;
    IF right(body, 1) = '%' THEN
        last := '';
        body := rtrim(body, '%');
    END IF;
    IF body = '' THEN RETURN CASE WHEN value = '' AND pattern = '' THEN 1 WHEN pattern = '' THEN 0 ELSE 1 END; END IF;
    RETURN coalesce(regexp_instr(value, first || sys.like_body(body, NULL) || last), 0);
END $$;

-- REPLACE under a collation: `folded` and `sought` are folded, characters keep their positions.
CREATE FUNCTION sys.replace_in(value text, folded text, sought text, given text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    result text := '';
    position int := 1;
    found int;
BEGIN
    IF sought = '' THEN RETURN value; END IF;
    IF length(folded) <> length(value) THEN RETURN replace(value, sought, given); END IF;
    LOOP
        found := strpos(substr(folded, position), sought);
        IF found = 0 THEN RETURN result || substr(value, position); END IF;
        result := result || substr(value, position, found - 1) || given;
        position := position + found - 1 + length(sought);
    END LOOP;
END $$;

CREATE FUNCTION sys.stuff(value text, start int, size int, given text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN value IS NULL OR start IS NULL OR size IS NULL OR start < 1 OR start > length(value) OR size < 0 THEN NULL
            ELSE left(value, start - 1) || coalesce(given, '') || substr(value, start + size) END;

CREATE FUNCTION sys.replicate(value text, times int, most int) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN times < 0 THEN NULL WHEN most < 0 THEN repeat(value, times) ELSE left(repeat(value, times), most) END;

CREATE FUNCTION sys.char_of(code int) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN code BETWEEN 128 AND 159 THEN convert_from(set_byte('\x00', 0, code), 'WIN1252')
            WHEN code BETWEEN 1 AND 255 THEN chr(code)
            WHEN code = 0 THEN sys.throw(40000, 'not supported by the stand-in: U+0000 in text')::text END;

CREATE FUNCTION sys.nchar_of(code int) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN code BETWEEN 1 AND 55295 OR code BETWEEN 57344 AND 65535 THEN chr(code)
            WHEN code = 0 THEN sys.throw(40000, 'not supported by the stand-in: U+0000 in text')::text
            WHEN code BETWEEN 55296 AND 57343
            THEN sys.throw(40000, 'not supported by the stand-in: half of a surrogate pair in text')::text END;

CREATE FUNCTION sys.ascii_of(value text) RETURNS int
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN value = '' THEN NULL WHEN ascii(value) < 256 THEN ascii(value) ELSE 63 END;

CREATE FUNCTION sys.unicode_of(value text) RETURNS int
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN value = '' THEN NULL WHEN ascii(value) > 65535 THEN 55296 + (ascii(value) - 65536) / 1024 ELSE ascii(value) END;

CREATE FUNCTION sys.translate_in(value text, sought text, given text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF length(sought) <> length(given) THEN
        PERFORM sys.throw(9828, 'The second and third arguments of the TRANSLATE built-in function must contain an equal number of characters.');
    END IF;
    RETURN translate(value, sought, given);
END $$;

CREATE FUNCTION sys.quotename(value text, mark text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN length(value) > 128 THEN NULL
            WHEN mark IN ('[', ']', '') THEN '[' || replace(value, ']', ']]') || ']'
            WHEN mark IN ('''', '"', '`') THEN mark || replace(value, mark, mark || mark) || mark
            WHEN mark IN ('(', ')') THEN '(' || replace(value, ')', '))') || ')'
            WHEN mark IN ('<', '>') THEN '<' || replace(value, '>', '>>') || '>'
            WHEN mark IN ('{', '}') THEN '{' || replace(value, '}', '}}') || '}' END;

CREATE FUNCTION sys.str(value float8, size int, decimals int) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    result text := round(value::numeric, least(decimals, 16))::text;
    whole int := length(split_part(result, '.', 1));
BEGIN
    IF whole > size THEN RETURN repeat('*', size); END IF;
    IF length(result) > size THEN
        result := round(value::numeric, greatest(size - whole - 1, 0))::text;
    END IF;
    RETURN lpad(result, size);
END $$;

CREATE FUNCTION sys.parsename(name text, part int) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    parts text[] := ARRAY(SELECT coalesce(replace(m[1], ']]', ']'), m[2])
                          FROM regexp_matches(name, '\[((?:[^\]]|\]\])*)\]|([^.\[\]]+)', 'g') AS m);
BEGIN
    RETURN parts[cardinality(parts) - part + 1];
END $$;

CREATE FUNCTION sys.string_escape(value text, kind text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE quoted text;
BEGIN
    IF lower(kind) <> 'json' THEN
        PERFORM sys.throw(16555, 'The value ''' || kind || ''' is not a valid argument of string_escape.');
    END IF;
    quoted := to_json(value)::text;
    RETURN replace(substr(quoted, 2, length(quoted) - 2), '/', '\/');
END $$;

CREATE FUNCTION sys.split(value text, separator text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF separator IS NULL OR length(separator) <> 1 THEN
        PERFORM sys.throw(214, 'Procedure expects parameter ''separator'' of type ''nchar(1)/nvarchar(1)''.');
    END IF;
    IF value = '' THEN RETURN ARRAY['']; END IF;
    RETURN string_to_array(value, separator);
END $$;

CREATE FUNCTION sys.soundex(value text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    letters text := upper(value);
    result text := left(letters, 1);
    last text := translate(left(letters, 1), 'BFPVCGJKQSXZDTLMNR', '111122222222334556');
    code text;
    letter text;
BEGIN
    IF result !~ '[A-Z]' THEN RETURN '0000'; END IF;
    FOREACH letter IN ARRAY string_to_array(substr(letters, 2), NULL) LOOP
        EXIT WHEN letter !~ '[A-Z]' OR length(result) = 4;
        CONTINUE WHEN letter IN ('H', 'W');
        code := translate(letter, 'BFPVCGJKQSXZDTLMNRAEIOUY', '111122222222334556000000');
        IF code <> '0' AND code <> last THEN result := result || code; END IF;
        last := code;
    END LOOP;
    RETURN rpad(result, 4, '0');
END $$;

CREATE FUNCTION sys.checked_string_agg(value text, most int) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF octet_length(value) > most THEN
        PERFORM sys.throw(9829, 'STRING_AGG aggregation result exceeded the limit of 8000 bytes. Use LOB types to avoid result truncation.');
    END IF;
    RETURN value;
END $$;

-- Assignment to a column of `size` characters: blanks at the end may go, anything else is error 2628.
CREATE FUNCTION sys.too_long(value text, size int, table_name text, column_name text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF sys.units(rtrim(value)) > size THEN
        PERFORM sys.throw(2628, format(
            'String or binary data would be truncated in table ''%s'', column ''%s''. Truncated value: ''%s''.',
            table_name, column_name, left(value, size)));
    END IF;
    RETURN left(value, size);
END $$;

CREATE FUNCTION sys.fit_text(value text, size int, table_name text, column_name text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN octet_length(value) <= size THEN value
            WHEN sys.units(value) <= size THEN value
            ELSE sys.too_long(value, size, table_name, column_name) END;

CREATE FUNCTION sys.fit_binary(value bytea, size int, table_name text, column_name text) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF octet_length(value) > size THEN
        PERFORM sys.throw(2628, format(
            'String or binary data would be truncated in table ''%s'', column ''%s''. Truncated value: ''%s''.',
            table_name, column_name, ''));
    END IF;
    RETURN value;
END $$;
