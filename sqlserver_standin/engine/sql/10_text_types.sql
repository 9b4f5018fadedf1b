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

DO $body$
DECLARE
    family record;
    operator record;
BEGIN
    FOR family IN
        SELECT * FROM (VALUES
            -- type, equality key, order key (differs where accents matter only after the letters)
            ('text_ci',    'lower(rtrim(%s::text))',                      true),
            ('text_cs',    'rtrim(%s::text)',                             true),
            ('text_ci_ai', 'lower(sys.without_accents(rtrim(%s::text)))', false),
            ('text_cs_ai', 'sys.without_accents(rtrim(%s::text))',        false),
            ('text_bin',   'rtrim(%s::text)',                             false)
        ) AS f (name, key, letters_first)
    LOOP
        EXECUTE format('CREATE TYPE sys.%I', family.name);
        EXECUTE format('CREATE FUNCTION sys.%1$s_in(cstring) RETURNS sys.%1$I LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS ''textin''', family.name);
        EXECUTE format('CREATE FUNCTION sys.%1$s_out(sys.%1$I) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS ''textout''', family.name);
        EXECUTE format('CREATE FUNCTION sys.%1$s_recv(internal) RETURNS sys.%1$I LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS ''textrecv''', family.name);
        EXECUTE format('CREATE FUNCTION sys.%1$s_send(sys.%1$I) RETURNS bytea LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS ''textsend''', family.name);
        -- Category N, not S: no text operator may be chosen for one of these by an implicit conversion.
        EXECUTE format('CREATE TYPE sys.%1$I (INPUT = sys.%1$s_in, OUTPUT = sys.%1$s_out, RECEIVE = sys.%1$s_recv, SEND = sys.%1$s_send, LIKE = text, CATEGORY = ''n'')', family.name);
        EXECUTE format('CREATE CAST (sys.%I AS text) WITHOUT FUNCTION AS ASSIGNMENT', family.name);
        EXECUTE format('CREATE CAST (text AS sys.%I) WITHOUT FUNCTION AS IMPLICIT', family.name);
        EXECUTE format('CREATE CAST (varchar AS sys.%I) WITHOUT FUNCTION AS IMPLICIT', family.name);

        EXECUTE format(
            CASE WHEN family.name = 'text_cs' THEN
                -- Lower case first, and only where the words are otherwise the same.
                $f$CREATE FUNCTION sys.text_cs_cmp(a sys.text_cs, b sys.text_cs) RETURNS integer
                   LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS $$
                   DECLARE answer integer;
                   BEGIN
                       IF rtrim(a::text) = rtrim(b::text) THEN RETURN 0; END IF;
                       answer := bttextcmp(lower(sys.without_accents(rtrim(a::text))), lower(sys.without_accents(rtrim(b::text))));
                       IF answer <> 0 THEN RETURN answer; END IF;
                       answer := bttextcmp(lower(rtrim(a::text)), lower(rtrim(b::text)));
                       IF answer <> 0 THEN RETURN answer; END IF;
                       RETURN bttextcmp(rtrim(b::text), rtrim(a::text));
                   END $$$f$
            WHEN family.letters_first THEN
                $f$CREATE FUNCTION sys.%1$s_cmp(a sys.%1$I, b sys.%1$I) RETURNS integer
                   LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS $$
                   DECLARE answer integer;
                   BEGIN
                       IF octet_length(a::text) + octet_length(b::text) = length(a::text) + length(b::text) THEN
                           RETURN bttextcmp(%2$s, %3$s);
                       END IF;
                       answer := bttextcmp(sys.without_accents(%2$s), sys.without_accents(%3$s));
                       IF answer = 0 THEN RETURN bttextcmp(%2$s, %3$s); END IF;
                       RETURN answer;
                   END $$$f$
            ELSE
                $f$CREATE FUNCTION sys.%1$s_cmp(a sys.%1$I, b sys.%1$I) RETURNS integer
                   LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS $$
                   BEGIN RETURN bttextcmp(%2$s, %3$s); END $$$f$
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
