-- datetimeoffset keeps its offset, but two of them are equal when they name the same instant:
-- https://learn.microsoft.com/sql/t-sql/data-types/datetimeoffset-transact-sql

CREATE TYPE sys.datetimeoffset AS (utc timestamp, minutes smallint);

CREATE FUNCTION sys.datetimeoffset_cmp(a sys.datetimeoffset, b sys.datetimeoffset) RETURNS integer
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$ BEGIN RETURN timestamp_cmp(a.utc, b.utc); END $$;

CREATE FUNCTION sys.datetimeoffset_hash(a sys.datetimeoffset) RETURNS integer
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$ BEGIN RETURN timestamp_hash(a.utc); END $$;

DO $body$
DECLARE
    operator record;
BEGIN
    FOR operator IN
        SELECT * FROM (VALUES
            ('=',  'eq', '=',  '<>', 'eqsel',       'eqjoinsel',       ', HASHES, MERGES'),
            ('<>', 'ne', '<>', '=',  'neqsel',      'neqjoinsel',      ''),
            ('<',  'lt', '>',  '>=', 'scalarltsel', 'scalarltjoinsel', ''),
            ('<=', 'le', '>=', '>',  'scalarlesel', 'scalarlejoinsel', ''),
            ('>',  'gt', '<',  '<=', 'scalargtsel', 'scalargtjoinsel', ''),
            ('>=', 'ge', '<=', '<',  'scalargesel', 'scalargejoinsel', '')
        ) AS o (symbol, suffix, commutator, negator, restriction, joining, options)
    LOOP
        EXECUTE format(
            $f$CREATE FUNCTION sys.datetimeoffset_%s(a sys.datetimeoffset, b sys.datetimeoffset) RETURNS boolean
               LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$ BEGIN RETURN a.utc %s b.utc; END $$$f$,
            operator.suffix, operator.symbol);
        EXECUTE format(
            'CREATE OPERATOR sys.%s (LEFTARG = sys.datetimeoffset, RIGHTARG = sys.datetimeoffset, FUNCTION = sys.datetimeoffset_%s, COMMUTATOR = OPERATOR(sys.%s), NEGATOR = OPERATOR(sys.%s), RESTRICT = %s, JOIN = %s%s)',
            operator.symbol, operator.suffix, operator.commutator, operator.negator, operator.restriction,
            operator.joining, operator.options);
    END LOOP;
END
$body$;

CREATE OPERATOR CLASS sys.datetimeoffset_ops DEFAULT FOR TYPE sys.datetimeoffset USING btree AS
    OPERATOR 1 sys.<, OPERATOR 2 sys.<=, OPERATOR 3 sys.=, OPERATOR 4 sys.>=, OPERATOR 5 sys.>,
    FUNCTION 1 sys.datetimeoffset_cmp(sys.datetimeoffset, sys.datetimeoffset);
CREATE OPERATOR CLASS sys.datetimeoffset_hash_ops DEFAULT FOR TYPE sys.datetimeoffset USING hash AS
    OPERATOR 1 sys.=, FUNCTION 1 sys.datetimeoffset_hash(sys.datetimeoffset);

CREATE FUNCTION sys.datetimeoffset_smaller(a sys.datetimeoffset, b sys.datetimeoffset) RETURNS sys.datetimeoffset
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$ BEGIN IF a.utc <= b.utc THEN RETURN a; END IF; RETURN b; END $$;
CREATE FUNCTION sys.datetimeoffset_larger(a sys.datetimeoffset, b sys.datetimeoffset) RETURNS sys.datetimeoffset
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$ BEGIN IF a.utc >= b.utc THEN RETURN a; END IF; RETURN b; END $$;
CREATE AGGREGATE sys.min(sys.datetimeoffset) (SFUNC = sys.datetimeoffset_smaller, STYPE = sys.datetimeoffset, SORTOP = OPERATOR(sys.<));
CREATE AGGREGATE sys.max(sys.datetimeoffset) (SFUNC = sys.datetimeoffset_larger, STYPE = sys.datetimeoffset, SORTOP = OPERATOR(sys.>));
