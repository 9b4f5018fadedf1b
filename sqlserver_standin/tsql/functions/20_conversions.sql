-- Conversions between types, failing with SQL Server's errors; `attempt` (TRY_CAST, TRY_CONVERT) gives NULL instead.

CREATE FUNCTION sys.text_to_integer(value text, source text, target text, low bigint, high bigint, attempt boolean) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    trimmed text := btrim(value, E' \t\n\r');
    number numeric;
BEGIN
    IF trimmed = '' THEN RETURN 0; END IF;
    IF trimmed !~ '^[+-]?\s*\d+$' THEN
        IF attempt THEN RETURN NULL; END IF;
        IF target = 'bigint' THEN
            PERFORM sys.throw(8114, format('Error converting data type %s to %s.', source, target));
        END IF;
        PERFORM sys.throw(245, format('Conversion failed when converting the %s value ''%s'' to data type %s.', source, value, target));
    END IF;
    number := replace(trimmed, ' ', '')::numeric;
    IF number < low OR number > high THEN
        IF attempt THEN RETURN NULL; END IF;
        CASE target
            WHEN 'int' THEN
                PERFORM sys.throw(248, format('The conversion of the %s value ''%s'' overflowed an int column.', source, value));
            WHEN 'bigint' THEN
                PERFORM sys.throw(8115, format('Arithmetic overflow error converting expression to data type %s.', target));
            ELSE
                PERFORM sys.throw(244, format('The conversion of the %s value ''%s'' overflowed an %s column. Use a larger integer column.',
                                              source, value, CASE target WHEN 'tinyint' THEN 'INT1' ELSE 'INT2' END));
        END CASE;
    END IF;
    RETURN number::bigint;
END $$;

CREATE FUNCTION sys.checked_integer(value numeric, low bigint, high bigint, source text, target text, attempt boolean) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF value BETWEEN low AND high THEN RETURN value; END IF;
    IF attempt THEN RETURN NULL; END IF;
    IF target IN ('tinyint', 'smallint') AND source IN ('int', 'bigint', 'smallint') THEN
        PERFORM sys.throw(220, format('Arithmetic overflow error for data type %s, value = %s.', target, value));
    ELSIF source IN ('float', 'real') THEN
        PERFORM sys.throw(232, format('Arithmetic overflow error for type %s, value = %s.', target, round(value, 6)));
    END IF;
    PERFORM sys.throw(8115, format('Arithmetic overflow error converting %s to data type %s.',
                                   CASE source WHEN 'bigint' THEN 'expression' ELSE source END, target));
    RETURN NULL;
END $$;

CREATE FUNCTION sys.text_to_bit(value text, source text, attempt boolean) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE trimmed text := lower(btrim(value));
BEGIN
    IF trimmed = 'true' THEN RETURN true; END IF;
    IF trimmed IN ('false', '') THEN RETURN false; END IF;
    IF trimmed ~ '^[+-]?\d+$' THEN RETURN trimmed::numeric <> 0; END IF;
    IF attempt THEN RETURN NULL; END IF;
    PERFORM sys.throw(245, format('Conversion failed when converting the %s value ''%s'' to data type bit.', source, value));
    RETURN NULL;
END $$;

CREATE FUNCTION sys.text_to_decimal(value text, source text, attempt boolean) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE trimmed text := btrim(value, E' \t\n\r');
BEGIN
    IF trimmed ~ '^[+-]?(\d+\.?\d*|\.\d+)$' THEN RETURN trimmed::numeric; END IF;
    IF attempt THEN RETURN NULL; END IF;
    PERFORM sys.throw(8114, format('Error converting data type %s to numeric.', source));
    RETURN NULL;
END $$;

CREATE FUNCTION sys.text_to_money(value text, attempt boolean) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE trimmed text := replace(regexp_replace(btrim(value), '^([+-]?)[$£€]', '\1'), ',', '');
BEGIN
    IF trimmed = '' THEN RETURN 0; END IF;
    IF trimmed ~ '^[+-]?(\d+\.?\d*|\.\d+)$' THEN RETURN trimmed::numeric; END IF;
    IF attempt THEN RETURN NULL; END IF;
    PERFORM sys.throw(235, 'Cannot convert a char value to money. The char value has incorrect syntax.');
    RETURN NULL;
END $$;

CREATE FUNCTION sys.text_to_float(value text, source text, target text, attempt boolean) RETURNS float8
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE trimmed text := btrim(value, E' \t\n\r');
BEGIN
    IF trimmed = '' THEN RETURN 0; END IF;
    IF trimmed ~* '^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$' THEN RETURN trimmed::float8; END IF;
    IF attempt THEN RETURN NULL; END IF;
    PERFORM sys.throw(8114, format('Error converting data type %s to %s.', source, target));
    RETURN NULL;
END $$;

CREATE FUNCTION sys.checked_decimal(value numeric, digits int, decimals int, source text, target text, attempt boolean) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE rounded numeric := round(value, decimals);
BEGIN
    IF abs(rounded) < 10::numeric ^ (digits - decimals) THEN RETURN rounded; END IF;
    IF attempt THEN RETURN NULL; END IF;
    PERFORM sys.throw(8115, format('Arithmetic overflow error converting %s to data type %s.', source, target));
    RETURN NULL;
END $$;

CREATE FUNCTION sys.float_to_numeric(value float8) RETURNS numeric
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN value::text::numeric;

CREATE FUNCTION sys.real_to_numeric(value float4) RETURNS numeric
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN value::text::numeric;

CREATE FUNCTION sys.fit_integer(value text, size int, source text, target text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF length(value) <= size THEN RETURN value; END IF;
    IF target IN ('nchar', 'nvarchar') OR source = 'bigint' THEN
        PERFORM sys.throw(8115, format('Arithmetic overflow error converting expression to data type %s.', target));
    END IF;
    RETURN '*';
END $$;

CREATE FUNCTION sys.fit_number(value text, size int, source text, target text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF length(value) <= size THEN RETURN value; END IF;
    PERFORM sys.throw(8115, format('Arithmetic overflow error converting %s to data type %s.', source, target));
    RETURN NULL;
END $$;

CREATE FUNCTION sys.money_to_text(value numeric, style int) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE style WHEN 2 THEN round(value, 4)::text
                  WHEN 126 THEN round(value, 4)::text
                  WHEN 1 THEN to_char(round(value, 2), 'FM999,999,999,999,990.00')
                  ELSE round(value, 2)::text END;

-- %g with `digits` digits: exponents of three digits with their sign.
CREATE FUNCTION sys.float_digits(value float8, digits int) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    exponent int;
    number numeric;
    mantissa text;
BEGIN
    IF value = 0 THEN RETURN '0'; END IF;
    number := value::text::numeric;
    exponent := floor(log(abs(number)))::int;
    number := round(number, digits - 1 - exponent);
    exponent := floor(log(abs(number)))::int;
    IF exponent >= -5 AND exponent < digits THEN RETURN trim_scale(number)::text; END IF;
    mantissa := trim_scale(round(number / 10::numeric ^ exponent, digits - 1))::text;
    RETURN mantissa || 'e' || CASE WHEN exponent < 0 THEN '-' ELSE '+' END || lpad(abs(exponent)::text, 3, '0');
END $$;

CREATE FUNCTION sys.float_to_text(value float8, style int) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    CASE style
        WHEN 0 THEN RETURN sys.float_digits(value, 6);
        WHEN 1 THEN RETURN replace(regexp_replace(to_char(value::text::numeric, 'FM9.9999999EEEE'), 'e([+-])(\d\d)$', 'e\g<1>0\2'), '\g<1>', '');
        WHEN 3, 128 THEN RETURN value::text;
        ELSE RETURN to_char(value::text::numeric, 'FM9.999999999999999EEEE');
    END CASE;
END $$;

CREATE FUNCTION sys.real_to_text(value float4, style int) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE style WHEN 0 THEN sys.float_digits(value::text::float8, 6) ELSE value::text END;

CREATE FUNCTION sys.text_to_uuid(value text, attempt boolean) RETURNS uuid
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF value ~* '^\{?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}' THEN
        RETURN left(ltrim(value, '{'), 36)::uuid;
    END IF;
    IF attempt THEN RETURN NULL; END IF;
    PERFORM sys.throw(8169, 'Conversion failed when converting from a character string to uniqueidentifier.');
    RETURN NULL;
END $$;

-- A uniqueidentifier's first three groups are little-endian in binary.
CREATE FUNCTION sys.uuid_to_binary(value uuid) RETURNS bytea
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN decode(
    substr(value::text, 7, 2) || substr(value::text, 5, 2) || substr(value::text, 3, 2) || substr(value::text, 1, 2)
    || substr(value::text, 12, 2) || substr(value::text, 10, 2)
    || substr(value::text, 17, 2) || substr(value::text, 15, 2)
    || substr(value::text, 20, 4) || substr(value::text, 25, 12), 'hex');

CREATE FUNCTION sys.binary_to_uuid(value bytea) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN encode(substr(value, 4, 1) || substr(value, 3, 1) || substr(value, 2, 1) || substr(value, 1, 1)
              || substr(value, 6, 1) || substr(value, 5, 1) || substr(value, 8, 1) || substr(value, 7, 1)
              || substr(value, 9, 8), 'hex')::uuid;

CREATE FUNCTION sys.utf16(value text) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    result text := '';
    code int;
    letter text;
    unit int;
BEGIN
    FOREACH letter IN ARRAY string_to_array(value, NULL) LOOP
        code := ascii(letter);
        IF code > 65535 THEN
            unit := 55296 + (code - 65536) / 1024;
            result := result || lpad(to_hex(unit & 255), 2, '0') || lpad(to_hex(unit >> 8), 2, '0');
            code := 56320 + (code - 65536) % 1024;
        END IF;
        result := result || lpad(to_hex(code & 255), 2, '0') || lpad(to_hex(code >> 8), 2, '0');
    END LOOP;
    RETURN decode(result, 'hex');
END $$;

CREATE FUNCTION sys.from_utf16(value bytea) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    result text := '';
    unit int;
    high int := 0;
BEGIN
    FOR position IN 0 .. octet_length(value) / 2 - 1 LOOP
        unit := get_byte(value, position * 2) + get_byte(value, position * 2 + 1) * 256;
        IF unit BETWEEN 55296 AND 56319 THEN
            high := unit;
        ELSIF unit BETWEEN 56320 AND 57343 AND high > 0 THEN
            result := result || chr(65536 + (high - 55296) * 1024 + unit - 56320);
        ELSIF unit > 0 THEN
            result := result || chr(unit);
        END IF;
    END LOOP;
    RETURN result;
END $$;

-- Styles: 0 the characters themselves, 1 "0x" and hexadecimal digits, 2 hexadecimal digits.
CREATE FUNCTION sys.text_to_binary(value text, style int, encoding text, attempt boolean) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE digits text;
BEGIN
    IF style = 0 THEN
        IF encoding = 'utf16' THEN RETURN sys.utf16(value); END IF;
        IF encoding = 'utf8' THEN RETURN convert_to(value, 'UTF8'); END IF;
        RETURN convert_to(regexp_replace(value, '[^\u0001-\u00ff]', '?', 'g'), 'LATIN1');
    END IF;
    digits := CASE WHEN style = 1 THEN regexp_replace(value, '^0x', '', 'i') ELSE value END;
    IF digits !~* '^([0-9a-f]{2})*$' OR (style = 1 AND value !~* '^0x') THEN
        IF attempt THEN RETURN NULL; END IF;
        PERFORM sys.throw(8114, 'Error converting data type varchar to varbinary.');
    END IF;
    RETURN decode(digits, 'hex');
END $$;

-- PostgreSQL's text holds no NUL character.
CREATE FUNCTION sys.without_zero_bytes(value bytea) RETURNS bytea
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN decode(replace(replace(regexp_replace(encode(value, 'hex'), '(..)', ' \1', 'g'), ' 00', ''), ' ', ''), 'hex');

CREATE FUNCTION sys.binary_to_text(value bytea, style int, encoding text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF style = 1 THEN RETURN '0x' || upper(encode(value, 'hex')); END IF;
    IF style = 2 THEN RETURN upper(encode(value, 'hex')); END IF;
    IF encoding = 'utf16' THEN RETURN sys.from_utf16(value); END IF;
    IF encoding = 'utf8' THEN RETURN convert_from(sys.without_zero_bytes(value), 'UTF8'); END IF;
    RETURN convert_from(sys.without_zero_bytes(value), 'LATIN1');
END $$;

CREATE FUNCTION sys.integer_to_binary(value bigint, size int, target int) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE bytes bytea := substr(int8send(value), 9 - size);
BEGIN
    IF target < 0 THEN RETURN bytes; END IF;
    IF target < size THEN RETURN substr(bytes, size - target + 1); END IF;
    RETURN bytes;
END $$;

CREATE FUNCTION sys.binary_to_integer(value bytea, size int) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    bytes bytea := CASE WHEN octet_length(value) > size THEN substr(value, octet_length(value) - size + 1) ELSE value END;
    result numeric := 0;
BEGIN
    FOR position IN 0 .. octet_length(bytes) - 1 LOOP
        result := result * 256 + get_byte(bytes, position);
    END LOOP;
    IF size > 1 AND octet_length(bytes) = size AND result >= 2::numeric ^ (8 * size - 1) THEN
        result := result - 2::numeric ^ (8 * size);
    END IF;
    RETURN result::bigint;
END $$;

CREATE FUNCTION sys.pad_binary(value bytea, size int) RETURNS bytea
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN value || decode(repeat('00', greatest(size - octet_length(value), 0)), 'hex');

-- The embedded PostgreSQL has no XML parser. Here is as much of one as tells well-formed content from other text.
CREATE FUNCTION sys.checked_xml(value text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    content text := regexp_replace(value, '^\s*<\?xml[^>]*\?>\s*', '');
    rest text := regexp_replace(content, '<!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>', '', 'g');
    tag text[];
    open_tags text[] := '{}';
    trouble text;
BEGIN
    FOR tag IN
        SELECT regexp_matches(rest, '<(/?)([[:alpha:]_:][[:alnum:]_:.-]*)((?:\s+[[:alpha:]_:][[:alnum:]_:.-]*\s*=\s*(?:"[^"<]*"|''[^''<]*''))*)\s*(/?)>', 'g')
    LOOP
        IF tag[1] = '/' THEN
            IF cardinality(open_tags) = 0 OR open_tags[cardinality(open_tags)] <> tag[2] THEN
                PERFORM sys.throw(9436, 'XML parsing: line 1, character ' || greatest(strpos(value, '</' || tag[2]), 1) || ', end tag does not match start tag');
            END IF;
            open_tags := trim_array(open_tags, 1);
        ELSIF tag[4] = '' THEN
            open_tags := open_tags || tag[2];
        END IF;
    END LOOP;
    trouble := regexp_replace(rest, '</?[[:alpha:]_:][[:alnum:]_:.-]*(\s+[[:alpha:]_:][[:alnum:]_:.-]*\s*=\s*("[^"<]*"|''[^''<]*''))*\s*/?>', '', 'g');
    IF strpos(trouble, '<') > 0 OR trouble ~ '&(?!(amp|lt|gt|quot|apos|#\d+|#x[0-9a-fA-F]+);)' THEN
        PERFORM sys.throw(9455, 'XML parsing: line 1, character ' || length(value) || ', illegal qualified name character');
    END IF;
    IF cardinality(open_tags) > 0 THEN
        PERFORM sys.throw(9400, 'XML parsing: line 1, character ' || length(value) || ', unexpected end of input');
    END IF;
    RETURN content;
END $$;


CREATE FUNCTION sys.isnumeric(value text) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN btrim(value) ~* '^[+-]?[$£€]?(\d[\d,]*\.?\d*|\.\d+)([ed][+-]?\d+)?$' THEN 1 ELSE 0 END;

CREATE FUNCTION sys.hashbytes(algorithm text, value bytea) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    CASE upper(algorithm)
        WHEN 'MD5' THEN RETURN decode(md5(value), 'hex');
        WHEN 'SHA2_256' THEN RETURN sha256(value);
        WHEN 'SHA2_512' THEN RETURN sha512(value);
        WHEN 'SHA', 'SHA1' THEN RETURN sys.sha1(value);
        ELSE
            PERFORM sys.throw(40000, 'not supported by the stand-in: HASHBYTES(''' || algorithm || ''')');
    END CASE;
    RETURN NULL;
END $$;

-- SHA-1 (FIPS 180-4), which PostgreSQL has only in an extension.
CREATE FUNCTION sys.sha1(message bytea) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    mask bigint := 4294967295;
    h bigint[] := ARRAY[1732584193, 4023233417, 2562383102, 271733878, 3285377520];
    padded bytea;
    w bigint[];
    a bigint; b bigint; c bigint; d bigint; e bigint; f bigint; k bigint; t bigint;
BEGIN
    padded := message || '\x80'::bytea;
    padded := padded || decode(repeat('00', (120 - octet_length(padded) % 64) % 64), 'hex')
              || int8send(octet_length(message)::bigint * 8);
    FOR block IN 0 .. octet_length(padded) / 64 - 1 LOOP
        w := ARRAY[]::bigint[];
        FOR i IN 0 .. 15 LOOP
            w[i] := (get_byte(padded, block * 64 + i * 4)::bigint << 24) | (get_byte(padded, block * 64 + i * 4 + 1) << 16)
                    | (get_byte(padded, block * 64 + i * 4 + 2) << 8) | get_byte(padded, block * 64 + i * 4 + 3);
        END LOOP;
        FOR i IN 16 .. 79 LOOP
            t := w[i - 3] # w[i - 8] # w[i - 14] # w[i - 16];
            w[i] := ((t << 1) | (t >> 31)) & mask;
        END LOOP;
        a := h[1]; b := h[2]; c := h[3]; d := h[4]; e := h[5];
        FOR i IN 0 .. 79 LOOP
            IF i < 20 THEN f := (b & c) | ((mask # b) & d); k := 1518500249;
            ELSIF i < 40 THEN f := b # c # d; k := 1859775393;
            ELSIF i < 60 THEN f := (b & c) | (b & d) | (c & d); k := 2400959708;
            ELSE f := b # c # d; k := 3395469782;
            END IF;
            t := ((((a << 5) | (a >> 27)) & mask) + f + e + k + w[i]) & mask;
            e := d; d := c; c := ((b << 30) | (b >> 2)) & mask; b := a; a := t;
        END LOOP;
        h[1] := (h[1] + a) & mask; h[2] := (h[2] + b) & mask; h[3] := (h[3] + c) & mask;
        h[4] := (h[4] + d) & mask; h[5] := (h[5] + e) & mask;
    END LOOP;
    RETURN decode((SELECT string_agg(lpad(to_hex(part), 8, '0'), '' ORDER BY place)
                   FROM unnest(h) WITH ORDINALITY AS u(part, place)), 'hex');
END $$;

-- SQL Server compares the last group first, and the bytes of the first three groups from the right:
-- https://learn.microsoft.com/dotnet/framework/data/adonet/sql/comparing-guid-and-uniqueidentifier-values
CREATE FUNCTION sys.order_of_uniqueidentifier(value uuid) RETURNS bytea
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN substring(uuid_send(value), 11, 6) || substring(uuid_send(value), 9, 2) || reverse(substring(uuid_send(value), 1, 8));
