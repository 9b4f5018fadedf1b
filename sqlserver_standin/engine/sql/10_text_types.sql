-- Text types, one for each family of collations: CI_AS (the default), CS_AS, CI_AI, CS_AI and the binary ones.
-- Stored as PostgreSQL's text. What differs is comparison, so that =, IN, DISTINCT, GROUP BY, ORDER BY, UNIQUE, PRIMARY KEY
-- and FOREIGN KEY fold case and accents and ignore trailing spaces as SQL Server does:
-- https://learn.microsoft.com/sql/relational-databases/collations/collation-and-unicode-support
-- The comparisons are PL/pgSQL: an SQL function would be inlined and its operator no longer match an index.

CREATE SCHEMA sys;

CREATE FUNCTION sys.without_accents(value text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN octet_length(value) = length(value) THEN value
            ELSE normalize(regexp_replace(normalize(value, NFD), '[\u0300-\u036f]', '', 'g'), NFC) END;

-- Letters with their accents behind them, and two letters for one where Windows compares so: ß = ss, œ = oe.
CREATE FUNCTION sys.spelled(value text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS $$
BEGIN
    IF octet_length(value) = length(value) THEN RETURN value; END IF;
    value := normalize(value, NFD);
    IF value ~ '[ßẞæÆœŒþÞĳĲ]' THEN
        value := replace(replace(replace(replace(replace(value, 'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe'), 'þ', 'th'), 'ĳ', 'ij');
        value := replace(replace(replace(replace(replace(value, 'ẞ', 'SS'), 'Æ', 'AE'), 'Œ', 'OE'), 'Þ', 'TH'), 'Ĳ', 'IJ');
    END IF;
    IF value ~ '[øØđĐłŁħĦŧŦ]' THEN
        value := regexp_replace(value, '([øØđĐłŁħĦŧŦ])', '\1' || U&'\0338', 'g');
        value := translate(value, 'øØđĐłŁħĦŧŦ', 'oOdDlLhHtT');
    END IF;
    RETURN value;
END $$;

CREATE FUNCTION sys.spelled_without_accents(value text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS $$
BEGIN
    IF octet_length(value) = length(value) THEN RETURN value; END IF;
    RETURN regexp_replace(sys.spelled(value), '[\u0300-\u036f]', '', 'g');
END $$;

-- For ORDER BY under the collations of a language: letters that it sorts elsewhere become such as English sorts there.
-- ǀ, ǁ and ǂ stand behind z and have no case.
CREATE FUNCTION sys.spelled_in(language text, value text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF octet_length(value) = length(value) AND language <> 'danish_norwegian' THEN RETURN value; END IF;
    value := normalize(value, NFC);
    RETURN CASE language
        WHEN 'finnish_swedish' THEN translate(value, 'åÅäÄæÆöÖøØüÜ', 'ǀǀǁǁǁǁǂǂǂǂÿŸ')
        WHEN 'danish_norwegian' THEN
            translate(regexp_replace(value, 'aa', 'å', 'gi'), 'æÆäÄøØöÖåÅüÜ', 'ǀǀǀǀǁǁǁǁǂǂÿŸ')
        WHEN 'modern_spanish' THEN replace(replace(value, 'ñ', 'nǀ'), 'Ñ', 'Nǀ')
        WHEN 'german_phonebook' THEN
            replace(replace(replace(replace(replace(replace(
                value, 'ä', 'ae'), 'ö', 'oe'), 'ü', 'ue'), 'Ä', 'AE'), 'Ö', 'OE'), 'Ü', 'UE')
        ELSE value END;
END $$;

-- The order of text is Windows' word sort: letters first, then accents, then case (small letters before capitals), and
-- last hyphens and apostrophes. Other punctuation comes before digits, digits before letters:
-- https://learn.microsoft.com/dotnet/api/system.globalization.compareoptions
CREATE FUNCTION sys.compare_spelled(a text, b text) RETURNS integer
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS $$
BEGIN RETURN 0; END $$;

DO $body$
DECLARE
    -- Translated to characters below the digits; what has no counterpart is left out.
    punctuation text := ' !"#$%&()*,./:;?@[\]^_`{|}~+<=>';
    left_out text := '''-';
    accents text := U&'\0301\0300\0307\0302\0308\030C\0306\0304\0303\030A\0328\0327\0326\030B\0338';
    low text := (SELECT string_agg(chr(13 + n), '' ORDER BY n) FROM generate_series(1, length(punctuation)) n);
    high text := (SELECT string_agg(chr(x'FF00'::integer + n), '' ORDER BY n) FROM generate_series(1, length(accents)) n);
    -- Templates for format().
    letters text := 'translate(lower(%s), ' || replace(format('%L, %L', punctuation || left_out, low), '%', '%%') || ')';
    words text := format('translate(%%s, %L, %L)', left_out, U&'\FFFC\FFFD');
    family record;
    operator record;
BEGIN
    -- What two texts that differ after sys.spelled() come to.
    EXECUTE format(
        $f$CREATE OR REPLACE FUNCTION sys.compare_spelled(a text, b text) RETURNS integer
           LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS $$
           DECLARE
               answer integer;
               accented boolean := octet_length(a) + octet_length(b) > length(a) + length(b);
           BEGIN
               IF accented THEN
                   answer := bttextcmp(%1$s, %2$s);
                   IF answer <> 0 THEN RETURN answer; END IF;
                   answer := bttextcmp(translate(%3$s, %5$L, %6$L), translate(%4$s, %5$L, %6$L));
               ELSE
                   answer := bttextcmp(%3$s, %4$s);
               END IF;
               IF answer <> 0 THEN RETURN answer; END IF;
               answer := bttextcmp(translate(b, %7$L, ''), translate(a, %7$L, ''));
               IF answer <> 0 THEN RETURN answer; END IF;
               answer := bttextcmp(%8$s, %9$s);
               IF answer <> 0 THEN RETURN answer; END IF;
               RETURN bttextcmp(a, b);
           END $$$f$,
        format(letters, $$regexp_replace(a, '[\u0300-\u036f]', '', 'g')$$),
        format(letters, $$regexp_replace(b, '[\u0300-\u036f]', '', 'g')$$),
        format(letters, 'a'), format(letters, 'b'), accents, high, left_out, format(words, 'a'), format(words, 'b'));

    FOR family IN
        SELECT name,
               CASE WHEN key IS NULL THEN plain_key
                    ELSE format('CASE WHEN octet_length(%%1$s::text) = length(%%1$s::text) THEN %s ELSE %s END', plain_key, key)
               END AS key
          FROM (VALUES
            -- type, what is the same when two texts are equal; that of text that is ASCII
            ('text_ci',    'lower(sys.spelled(rtrim(%1$s::text)))',                 'lower(rtrim(%1$s::text))'),
            ('text_cs',    'sys.spelled(rtrim(%1$s::text))',                        'rtrim(%1$s::text)'),
            ('text_ci_ai', 'lower(sys.spelled_without_accents(rtrim(%1$s::text)))', 'lower(rtrim(%1$s::text))'),
            ('text_cs_ai', 'sys.spelled_without_accents(rtrim(%1$s::text))',        'rtrim(%1$s::text)'),
            ('text_bin',   NULL,                                                    'rtrim(%1$s::text)')
        ) AS f (name, key, plain_key)
    LOOP
        EXECUTE format('CREATE TYPE sys.%I', family.name);
        EXECUTE format('CREATE FUNCTION sys.%1$s_in(cstring) RETURNS sys.%1$I LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS ''textin''', family.name);
        EXECUTE format('CREATE FUNCTION sys.%1$s_out(sys.%1$I) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS ''textout''', family.name);
        EXECUTE format('CREATE FUNCTION sys.%1$s_recv(internal) RETURNS sys.%1$I LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS ''textrecv''', family.name);
        EXECUTE format('CREATE FUNCTION sys.%1$s_send(sys.%1$I) RETURNS bytea LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS ''textsend''', family.name);
        -- Category N, not S: no text operator may be chosen for one of these by an implicit conversion.
        EXECUTE format('CREATE TYPE sys.%I (INPUT = sys.%1$s_in, OUTPUT = sys.%1$s_out, RECEIVE = sys.%1$s_recv, SEND = sys.%1$s_send, LIKE = text, CATEGORY = ''n'')', family.name);
        EXECUTE format('CREATE CAST (sys.%I AS text) WITHOUT FUNCTION AS ASSIGNMENT', family.name);
        EXECUTE format('CREATE CAST (text AS sys.%I) WITHOUT FUNCTION AS IMPLICIT', family.name);
        EXECUTE format('CREATE CAST (varchar AS sys.%I) WITHOUT FUNCTION AS IMPLICIT', family.name);

        EXECUTE format(
            CASE WHEN family.name = 'text_bin' THEN
                $f$CREATE FUNCTION sys.%1$s_cmp(a sys.%1$I, b sys.%1$I) RETURNS integer
                   LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS $$
                   BEGIN RETURN bttextcmp(%2$s, %3$s); END $$$f$
            ELSE
                $f$CREATE FUNCTION sys.%1$s_cmp(a sys.%1$I, b sys.%1$I) RETURNS integer
                   LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS $$
                   DECLARE
                       x text := %2$s;
                       y text := %3$s;
                       answer integer;
                   BEGIN
                       IF x = y THEN RETURN 0; END IF;
                       -- These characters stand in the same order in ASCII.
                       IF x || y !~ '[^A-Za-z0-9 !"#$%%&()*,./]' THEN
                           answer := bttextcmp(lower(x), lower(y));
                           RETURN CASE WHEN answer <> 0 THEN answer ELSE bttextcmp(y, x) END;
                       END IF;
                       RETURN sys.compare_spelled(x, y);
                   END $$$f$
            END, family.name, format(family.key, 'a'), format(family.key, 'b'));

        EXECUTE format(
            $f$CREATE FUNCTION sys.%1$s_hash(a sys.%1$I) RETURNS integer
               LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS $$ BEGIN RETURN hashtext(%2$s); END $$$f$,
            family.name, format(family.key, 'a'));
        EXECUTE format(
            $f$CREATE FUNCTION sys.%1$s_hash_extended(a sys.%1$I, seed bigint) RETURNS bigint
               LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS $$ BEGIN RETURN hashtextextended(%2$s, seed); END $$$f$,
            family.name, format(family.key, 'a'));
        FOR operator IN
            SELECT * FROM (VALUES
                ('=',  'eq', '%1$s = %2$s',  '=',  '<>', 'eqsel',       'eqjoinsel',       ', HASHES, MERGES'),
                ('<>', 'ne', '%1$s <> %2$s', '<>', '=',  'neqsel',      'neqjoinsel',      ''),
                ('<',  'lt', '',             '>',  '>=', 'scalarltsel', 'scalarltjoinsel', ''),
                ('<=', 'le', '',             '>=', '>',  'scalarlesel', 'scalarlejoinsel', ''),
                ('>',  'gt', '',             '<',  '<=', 'scalargtsel', 'scalargtjoinsel', ''),
                ('>=', 'ge', '',             '<=', '<',  'scalargesel', 'scalargejoinsel', '')
            ) AS o (symbol, suffix, direct, commutator, negator, restriction, joining, options)
        LOOP
            EXECUTE format(
                $f$CREATE FUNCTION sys.%1$s_%2$s(a sys.%1$I, b sys.%1$I) RETURNS boolean
                   LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF COST 2 AS $$ BEGIN RETURN %3$s; END $$$f$,
                family.name, operator.suffix,
                CASE WHEN operator.direct <> ''
                     THEN format(operator.direct, format(family.key, 'a'), format(family.key, 'b'))
                     ELSE format('sys.%s_cmp(a, b) %s 0', family.name, operator.symbol) END);
            EXECUTE format(
                'CREATE OPERATOR sys.%s (LEFTARG = sys.%I, RIGHTARG = sys.%2$I, FUNCTION = sys.%2$s_%s, COMMUTATOR = OPERATOR(sys.%s), NEGATOR = OPERATOR(sys.%s), RESTRICT = %s, JOIN = %s%s)',
                operator.symbol, family.name, operator.suffix, operator.commutator, operator.negator,
                operator.restriction, operator.joining, operator.options);
        END LOOP;

        EXECUTE format(
            $f$CREATE OPERATOR CLASS sys.%1$s_ops DEFAULT FOR TYPE sys.%1$I USING btree AS
               OPERATOR 1 sys.<, OPERATOR 2 sys.<=, OPERATOR 3 sys.=, OPERATOR 4 sys.>=, OPERATOR 5 sys.>,
               FUNCTION 1 sys.%1$s_cmp(sys.%1$I, sys.%1$I)$f$, family.name);
        EXECUTE format(
            $f$CREATE OPERATOR CLASS sys.%1$s_hash_ops DEFAULT FOR TYPE sys.%1$I USING hash AS
               OPERATOR 1 sys.=, FUNCTION 1 sys.%1$s_hash(sys.%1$I), FUNCTION 2 sys.%1$s_hash_extended(sys.%1$I, bigint)$f$,
            family.name);
    END LOOP;
END
$body$;

-- min() and max(), which PostgreSQL finds through the operator class.
DO $body$
DECLARE
    family text;
BEGIN
    FOREACH family IN ARRAY ARRAY['text_ci', 'text_cs', 'text_ci_ai', 'text_cs_ai', 'text_bin'] LOOP
        EXECUTE format(
            $f$CREATE FUNCTION sys.%1$s_smaller(a sys.%1$I, b sys.%1$I) RETURNS sys.%1$I
               LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
               BEGIN IF sys.%1$s_cmp(a, b) <= 0 THEN RETURN a; END IF; RETURN b; END $$$f$, family);
        EXECUTE format(
            $f$CREATE FUNCTION sys.%1$s_larger(a sys.%1$I, b sys.%1$I) RETURNS sys.%1$I
               LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
               BEGIN IF sys.%1$s_cmp(a, b) >= 0 THEN RETURN a; END IF; RETURN b; END $$$f$, family);
        EXECUTE format(
            'CREATE AGGREGATE sys.min(sys.%1$I) (SFUNC = sys.%1$s_smaller, STYPE = sys.%1$I, SORTOP = OPERATOR(sys.<), PARALLEL = SAFE)', family);
        EXECUTE format(
            'CREATE AGGREGATE sys.max(sys.%1$I) (SFUNC = sys.%1$s_larger, STYPE = sys.%1$I, SORTOP = OPERATOR(sys.>), PARALLEL = SAFE)', family);
    END LOOP;
END
$body$;
