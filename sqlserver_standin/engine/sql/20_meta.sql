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
