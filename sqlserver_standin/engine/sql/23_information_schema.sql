-- https://learn.microsoft.com/sql/relational-databases/system-information-schema-views/system-information-schema-views-transact-sql

CREATE FUNCTION sys_meta.catalog() RETURNS sys.text_ci LANGUAGE sql STABLE AS $$
SELECT current_setting('standin.database')::sys.text_ci
$$;

CREATE VIEW "INFORMATION_SCHEMA"."SCHEMATA" AS
SELECT sys_meta.catalog() AS "CATALOG_NAME", name AS "SCHEMA_NAME", 'dbo'::sys.text_ci AS "SCHEMA_OWNER" FROM sys.schemas;

CREATE VIEW "INFORMATION_SCHEMA"."TABLES" AS
SELECT sys_meta.catalog() AS "TABLE_CATALOG", schema_name::sys.text_ci AS "TABLE_SCHEMA", name::sys.text_ci AS "TABLE_NAME",
       (CASE relkind WHEN 'r' THEN 'BASE TABLE' ELSE 'VIEW' END)::sys.text_ci AS "TABLE_TYPE"
  FROM sys_meta.relation WHERE relkind IN ('r', 'v');

CREATE VIEW "INFORMATION_SCHEMA"."VIEWS" AS
SELECT sys_meta.catalog() AS "TABLE_CATALOG", schema_name::sys.text_ci AS "TABLE_SCHEMA", name::sys.text_ci AS "TABLE_NAME",
       meta ->> 'definition' AS "VIEW_DEFINITION", 'NONE'::sys.text_ci AS "CHECK_OPTION", 'NO'::sys.text_ci AS "IS_UPDATABLE"
  FROM sys_meta.relation WHERE relkind = 'v';

CREATE VIEW "INFORMATION_SCHEMA"."COLUMNS" AS
SELECT sys_meta.catalog() AS "TABLE_CATALOG", c.schema_name::sys.text_ci AS "TABLE_SCHEMA", c.table_name::sys.text_ci AS "TABLE_NAME",
       c.name::sys.text_ci AS "COLUMN_NAME",
       (row_number() OVER (PARTITION BY c.relid ORDER BY c.attnum))::int4 AS "ORDINAL_POSITION",
       c.meta -> 'default' ->> 'definition' AS "COLUMN_DEFAULT",
       (CASE WHEN c.attnotnull THEN 'NO' ELSE 'YES' END)::sys.text_ci AS "IS_NULLABLE", (c.meta ->> 'type')::sys.text_ci AS "DATA_TYPE",
       CASE WHEN c.meta ->> 'type' IN ('char', 'varchar', 'nchar', 'nvarchar', 'binary', 'varbinary') THEN (c.meta ->> 'length')::int4
            WHEN c.meta ->> 'type' = 'json' THEN -1 END AS "CHARACTER_MAXIMUM_LENGTH",
       CASE WHEN c.meta ->> 'type' IN ('char', 'varchar', 'nchar', 'nvarchar', 'binary', 'varbinary', 'json')
            THEN sys_meta.type_max_length(c.meta)::int4 END AS "CHARACTER_OCTET_LENGTH",
       CASE WHEN c.meta ->> 'type' IN ('tinyint', 'smallint', 'int', 'bigint', 'decimal', 'numeric', 'money', 'smallmoney', 'float', 'real')
            THEN sys_meta.type_precision(c.meta) END AS "NUMERIC_PRECISION",
       CASE WHEN c.meta ->> 'type' IN ('tinyint', 'smallint', 'int', 'bigint', 'decimal', 'numeric', 'money', 'smallmoney') THEN 10::int2
            WHEN c.meta ->> 'type' IN ('float', 'real') THEN 2::int2 END AS "NUMERIC_PRECISION_RADIX",
       CASE WHEN c.meta ->> 'type' IN ('tinyint', 'smallint', 'int', 'bigint', 'decimal', 'numeric', 'money', 'smallmoney')
            THEN sys_meta.type_scale(c.meta)::int4 END AS "NUMERIC_SCALE",
       CASE WHEN c.meta ->> 'type' IN ('datetime', 'datetime2', 'datetimeoffset', 'time') THEN sys_meta.type_scale(c.meta)
            WHEN c.meta ->> 'type' IN ('date', 'smalldatetime') THEN 0::int2 END AS "DATETIME_PRECISION",
       CASE WHEN c.meta ->> 'type' IN ('nchar', 'nvarchar', 'ntext') THEN 'UNICODE'::sys.text_ci
            WHEN c.meta ->> 'type' IN ('char', 'varchar', 'text') THEN 'iso_1'::sys.text_ci END AS "CHARACTER_SET_NAME",
       CASE WHEN c.meta ->> 'type' IN ('char', 'varchar', 'nchar', 'nvarchar', 'text', 'ntext')
            THEN coalesce(c.meta ->> 'collation', 'SQL_Latin1_General_CP1_CI_AS')::sys.text_ci END AS "COLLATION_NAME"
  FROM sys_meta.user_column c;

CREATE VIEW sys_meta.table_constraint AS
SELECT x.schema_name, x.name, x.indrelid AS relid, CASE x.kind WHEN 'PRIMARY KEY' THEN 'PRIMARY KEY' ELSE 'UNIQUE' END AS kind,
       (SELECT array_agg(k.attnum ORDER BY k.position) FROM unnest(x.indkey) WITH ORDINALITY k (attnum, position) WHERE k.position <= x.indnkeyatts) AS attnums,
       x.oid
  FROM sys_meta.user_index x WHERE x.kind <> 'INDEX'
UNION ALL
SELECT n.name, k.name, k.conrelid, CASE k.contype WHEN 'f' THEN 'FOREIGN KEY' ELSE 'CHECK' END, k.conkey, k.oid
  FROM sys_meta.user_constraint k JOIN sys_meta.namespace n ON n.schema_id = k.schema_id;

CREATE VIEW "INFORMATION_SCHEMA"."TABLE_CONSTRAINTS" AS
SELECT sys_meta.catalog() AS "CONSTRAINT_CATALOG", k.schema_name::sys.text_ci AS "CONSTRAINT_SCHEMA", k.name::sys.text_ci AS "CONSTRAINT_NAME",
       sys_meta.catalog() AS "TABLE_CATALOG", r.schema_name::sys.text_ci AS "TABLE_SCHEMA", r.name::sys.text_ci AS "TABLE_NAME",
       k.kind::sys.text_ci AS "CONSTRAINT_TYPE", 'NO'::sys.text_ci AS "IS_DEFERRABLE", 'NO'::sys.text_ci AS "INITIALLY_DEFERRED"
  FROM sys_meta.table_constraint k JOIN sys_meta.relation r ON r.oid = k.relid;

CREATE VIEW "INFORMATION_SCHEMA"."KEY_COLUMN_USAGE" AS
SELECT sys_meta.catalog() AS "CONSTRAINT_CATALOG", k.schema_name::sys.text_ci AS "CONSTRAINT_SCHEMA", k.name::sys.text_ci AS "CONSTRAINT_NAME",
       sys_meta.catalog() AS "TABLE_CATALOG", c.schema_name::sys.text_ci AS "TABLE_SCHEMA", c.table_name::sys.text_ci AS "TABLE_NAME",
       c.name::sys.text_ci AS "COLUMN_NAME", a.position::int4 AS "ORDINAL_POSITION"
  FROM sys_meta.table_constraint k
  CROSS JOIN LATERAL unnest(k.attnums) WITH ORDINALITY a (attnum, position)
  JOIN sys_meta.user_column c ON c.relid = k.relid AND c.attnum = a.attnum
 WHERE k.kind <> 'CHECK';

CREATE VIEW "INFORMATION_SCHEMA"."CONSTRAINT_COLUMN_USAGE" AS
SELECT sys_meta.catalog() AS "TABLE_CATALOG", c.schema_name::sys.text_ci AS "TABLE_SCHEMA", c.table_name::sys.text_ci AS "TABLE_NAME",
       c.name::sys.text_ci AS "COLUMN_NAME", sys_meta.catalog() AS "CONSTRAINT_CATALOG", k.schema_name::sys.text_ci AS "CONSTRAINT_SCHEMA",
       k.name::sys.text_ci AS "CONSTRAINT_NAME"
  FROM sys_meta.table_constraint k
  CROSS JOIN LATERAL unnest(k.attnums) WITH ORDINALITY a (attnum, position)
  JOIN sys_meta.user_column c ON c.relid = k.relid AND c.attnum = a.attnum;

CREATE VIEW "INFORMATION_SCHEMA"."CONSTRAINT_TABLE_USAGE" AS
SELECT sys_meta.catalog() AS "TABLE_CATALOG", r.schema_name::sys.text_ci AS "TABLE_SCHEMA", r.name::sys.text_ci AS "TABLE_NAME",
       sys_meta.catalog() AS "CONSTRAINT_CATALOG", k.schema_name::sys.text_ci AS "CONSTRAINT_SCHEMA", k.name::sys.text_ci AS "CONSTRAINT_NAME"
  FROM sys_meta.table_constraint k JOIN sys_meta.relation r ON r.oid = k.relid;

CREATE VIEW "INFORMATION_SCHEMA"."REFERENTIAL_CONSTRAINTS" AS
SELECT sys_meta.catalog() AS "CONSTRAINT_CATALOG", n.name::sys.text_ci AS "CONSTRAINT_SCHEMA", k.name::sys.text_ci AS "CONSTRAINT_NAME",
       sys_meta.catalog() AS "UNIQUE_CONSTRAINT_CATALOG", x.schema_name::sys.text_ci AS "UNIQUE_CONSTRAINT_SCHEMA",
       x.name::sys.text_ci AS "UNIQUE_CONSTRAINT_NAME", 'SIMPLE'::sys.text_ci AS "MATCH_OPTION",
       replace(sys_meta.action_desc(k.confupdtype)::text, '_', ' ')::sys.text_ci AS "UPDATE_RULE",
       replace(sys_meta.action_desc(k.confdeltype)::text, '_', ' ')::sys.text_ci AS "DELETE_RULE"
  FROM sys_meta.user_constraint k
  JOIN sys_meta.namespace n ON n.schema_id = k.schema_id
  LEFT JOIN sys_meta.user_index x ON x.oid = k.conindid
 WHERE k.contype = 'f';

CREATE VIEW "INFORMATION_SCHEMA"."CHECK_CONSTRAINTS" AS
SELECT sys_meta.catalog() AS "CONSTRAINT_CATALOG", n.name::sys.text_ci AS "CONSTRAINT_SCHEMA", k.name::sys.text_ci AS "CONSTRAINT_NAME",
       k.meta ->> 'definition' AS "CHECK_CLAUSE"
  FROM sys_meta.user_constraint k JOIN sys_meta.namespace n ON n.schema_id = k.schema_id WHERE k.contype = 'c';

CREATE VIEW "INFORMATION_SCHEMA"."ROUTINES" AS
SELECT sys_meta.catalog() AS "ROUTINE_CATALOG", n.name::sys.text_ci AS "ROUTINE_SCHEMA", m.name::sys.text_ci AS "ROUTINE_NAME",
       'PROCEDURE'::sys.text_ci AS "ROUTINE_TYPE", m.meta ->> 'definition' AS "ROUTINE_DEFINITION"
  FROM sys_meta.user_module m JOIN sys_meta.namespace n ON n.schema_id = m.schema_id;

CREATE VIEW "INFORMATION_SCHEMA"."SEQUENCES" AS
SELECT sys_meta.catalog() AS "SEQUENCE_CATALOG", n.name AS "SEQUENCE_SCHEMA", s.name AS "SEQUENCE_NAME", t.name AS "DATA_TYPE"
  FROM sys.sequences s JOIN sys.schemas n ON n.schema_id = s.schema_id JOIN sys.types t ON t.user_type_id = s.user_type_id;
