-- The schemas that a SQL Server database has, and what the engine remembers in it.

CREATE SCHEMA dbo;
CREATE SCHEMA guest;
CREATE SCHEMA "INFORMATION_SCHEMA";
CREATE SCHEMA sys_meta;
DROP SCHEMA public;

CREATE TABLE sys_meta.extended_property (
    class smallint NOT NULL,
    major_id integer NOT NULL,
    minor_id integer NOT NULL,
    name text NOT NULL,
    value text,
    PRIMARY KEY (class, major_id, minor_id, name)
);

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
