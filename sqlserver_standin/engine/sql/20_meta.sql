-- The schemas that a SQL Server database has, and what the engine remembers in it.

CREATE SCHEMA dbo;
CREATE SCHEMA guest;
CREATE SCHEMA "INFORMATION_SCHEMA";
CREATE SCHEMA sys_meta;
DROP SCHEMA public;

-- What rowversion columns count: https://learn.microsoft.com/sql/t-sql/data-types/rowversion-transact-sql
CREATE SEQUENCE sys_meta.rowversion START WITH 2001;

CREATE TABLE sys_meta.extended_property (
    class smallint NOT NULL,
    major_id integer NOT NULL,
    minor_id integer NOT NULL,
    name text NOT NULL,
    value text,
    PRIMARY KEY (class, major_id, minor_id, name)
);

-- PostgreSQL keeps the plans of the engine's queries, and takes the catalog for as small as it was at first.
CREATE FUNCTION sys_meta.trigger_events(of_table oid) RETURNS text
LANGUAGE plpgsql STABLE SET enable_seqscan = off AS $$
BEGIN
    RETURN (SELECT string_agg(DISTINCT e.name, ',')
              FROM pg_trigger t, LATERAL (VALUES ('insert', 4), ('delete', 8), ('update', 16)) e (name, bit)
             WHERE t.tgrelid = of_table AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgtype & e.bit <> 0);
END $$;

-- The names that share one namespace within a schema in SQL Server, of objects made after the one with that oid.
CREATE FUNCTION sys_meta.object_names(after oid) RETURNS TABLE (schema_name name, name text, oid oid)
LANGUAGE plpgsql STABLE SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT n.nspname, found.name, found.oid
      FROM (SELECT c.oid, c.relnamespace AS namespace, c.relname::text AS name
              FROM pg_class c
              LEFT JOIN pg_description d
                     ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0
             WHERE c.oid > after
               AND (c.relkind IN ('r', 'v') OR c.relkind = 'S' AND d.description IS NOT NULL
                    OR c.relkind = 'i' AND d.description::jsonb ->> 'kind' <> 'INDEX')
            UNION ALL
            SELECT k.oid, k.connamespace, k.conname::text FROM pg_constraint k
             WHERE k.oid > after AND k.contype IN ('c', 'f')
            UNION ALL
            SELECT p.oid, p.pronamespace, p.proname::text FROM pg_proc p WHERE p.oid > after
            UNION ALL
            SELECT f.oid, c.relnamespace, d.description::jsonb -> 'default' ->> 'name'
              FROM pg_attrdef f
              JOIN pg_class c ON c.oid = f.adrelid
              JOIN pg_description d
                ON d.objoid = f.adrelid AND d.classoid = 'pg_class'::regclass AND d.objsubid = f.adnum
             WHERE f.oid > after) found
      JOIN pg_namespace n ON n.oid = found.namespace
     WHERE found.name IS NOT NULL AND n.nspname <> 'sys' AND n.nspname !~ '^pg_';
END $$;

-- A trigger's body is T-SQL and runs after the statement, in the session; until then this keeps what it has to see.
CREATE FUNCTION sys_meta.keep_changed_rows() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    suffix text := ':' || coalesce(nullif(current_setting('standin.trigger_depth', true), ''), '0') || ':' || TG_RELID::int8;
BEGIN
    IF to_regclass(format('pg_temp.%I', 'inserted' || suffix)) IS NULL THEN
        EXECUTE format('CREATE TEMPORARY TABLE %I AS SELECT * FROM %I.%I LIMIT 0', 'inserted' || suffix, TG_TABLE_SCHEMA, TG_TABLE_NAME);
        EXECUTE format('CREATE TEMPORARY TABLE %I AS SELECT * FROM %I.%I LIMIT 0', 'deleted' || suffix, TG_TABLE_SCHEMA, TG_TABLE_NAME);
        IF TG_OP <> 'DELETE' THEN
            EXECUTE format('INSERT INTO pg_temp.%I SELECT * FROM new_rows', 'inserted' || suffix);
        END IF;
        IF TG_OP <> 'INSERT' THEN
            EXECUTE format('INSERT INTO pg_temp.%I SELECT * FROM old_rows', 'deleted' || suffix);
        END IF;
    END IF;
    RETURN NULL;
END $$;
