-- The catalog views: https://learn.microsoft.com/sql/relational-databases/system-catalog-views/catalog-views-transact-sql
-- Each of them is here as far as clients ask for it; columns that nobody reads are constants of a new database.

CREATE VIEW sys_meta.namespace AS
SELECT n.oid, CASE n.nspname WHEN 'dbo' THEN 1 WHEN 'guest' THEN 2 WHEN 'INFORMATION_SCHEMA' THEN 3 WHEN 'sys' THEN 4 ELSE n.oid::int4 END AS schema_id,
       coalesce(d.description::jsonb ->> 'name', n.nspname::text) AS name
  FROM pg_namespace n
  LEFT JOIN pg_description d ON d.objoid = n.oid AND d.classoid = 'pg_namespace'::regclass AND d.description LIKE '{%'
 WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'sys_meta');

CREATE VIEW sys_meta.user_namespace AS
SELECT * FROM sys_meta.namespace WHERE schema_id NOT IN (3, 4);

-- Tables, views, sequences and indexes of the user's schemas with their facts.
CREATE VIEW sys_meta.relation AS
SELECT c.oid, c.relkind, c.relname, n.schema_id, n.name AS schema_name, c.relnamespace,
       coalesce(d.description::jsonb ->> 'name', c.relname::text) AS name,
       coalesce(d.description::jsonb, '{}'::jsonb) AS meta
  FROM pg_class c
  JOIN sys_meta.user_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0;

CREATE VIEW sys_meta.user_tables AS
SELECT oid::int4 AS object_id, schema_id, schema_name, name, meta FROM sys_meta.relation WHERE relkind = 'r';

CREATE VIEW sys_meta.user_column AS
SELECT c.oid AS relid, c.relkind, a.attnum, a.attname, a.attnotnull, a.attidentity, a.attgenerated, a.atthasdef,
       c.schema_id, c.schema_name, c.name AS table_name,
       coalesce(d.description::jsonb ->> 'name', a.attname::text) AS name,
       coalesce(d.description::jsonb, '{"type": "sql_variant"}'::jsonb) AS meta
  FROM sys_meta.relation c
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = a.attnum
 WHERE c.relkind IN ('r', 'v');

CREATE VIEW sys_meta.user_index AS
SELECT x.*, i.indrelid, i.indisunique, i.indnatts, i.indnkeyatts, i.indkey, i.indoption,
       coalesce(x.meta ->> 'kind', 'INDEX') AS kind, coalesce((x.meta -> 'clustered')::bool, false) AS is_clustered,
       (row_number() OVER (PARTITION BY i.indrelid ORDER BY coalesce((x.meta -> 'clustered')::bool, false) DESC, x.oid)
        + CASE WHEN bool_or(coalesce((x.meta -> 'clustered')::bool, false)) OVER (PARTITION BY i.indrelid) THEN 0 ELSE 1 END)::int4 AS index_id
  FROM sys_meta.relation x JOIN pg_index i ON i.indexrelid = x.oid
 WHERE x.relkind = 'i';

CREATE VIEW sys_meta.user_constraint AS
SELECT k.*, n.schema_id, coalesce(d.description::jsonb ->> 'name', k.conname::text) AS name,
       coalesce(d.description::jsonb, '{}'::jsonb) AS meta
  FROM pg_constraint k
  JOIN sys_meta.user_namespace n ON n.oid = k.connamespace
  LEFT JOIN pg_description d ON d.objoid = k.oid AND d.classoid = 'pg_constraint'::regclass
 WHERE k.contype IN ('c', 'f') AND k.conrelid <> 0;

CREATE VIEW sys_meta.user_default AS
SELECT ad.oid, c.relid, c.attnum, c.schema_id, c.meta -> 'default' ->> 'name' AS name,
       c.meta -> 'default' ->> 'definition' AS definition, (c.meta -> 'default' -> 'system')::bool AS is_system_named
  FROM sys_meta.user_column c JOIN pg_attrdef ad ON ad.adrelid = c.relid AND ad.adnum = c.attnum
 WHERE c.meta ? 'default';

CREATE VIEW sys_meta.user_module AS
SELECT p.oid, p.prokind, n.schema_id, coalesce(d.description::jsonb ->> 'name', p.proname::text) AS name, d.description::jsonb AS meta
  FROM pg_proc p
  JOIN sys_meta.user_namespace n ON n.oid = p.pronamespace
  JOIN pg_description d ON d.objoid = p.oid AND d.classoid = 'pg_proc'::regclass
 WHERE p.prokind = 'p';

CREATE VIEW sys_meta.user_trigger AS
SELECT t.oid, t.tgrelid, t.tgtype, t.tgenabled, c.schema_id, coalesce(d.description::jsonb ->> 'name', t.tgname::text) AS name,
       d.description::jsonb AS meta
  FROM pg_trigger t
  JOIN sys_meta.relation c ON c.oid = t.tgrelid
  JOIN pg_description d ON d.objoid = t.oid AND d.classoid = 'pg_trigger'::regclass
 WHERE NOT t.tgisinternal AND (d.description::jsonb ->> 'main')::bool;

CREATE FUNCTION sys_meta.created(meta jsonb) RETURNS timestamp LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce((meta ->> 'created')::timestamp, '2022-10-08 06:32:03'::timestamp);

-- Objects --------------------------------------------------------------------------------------------------

CREATE VIEW sys.schemas AS
SELECT name::sys.text_ci AS name, schema_id, 1 AS principal_id FROM sys_meta.namespace;

CREATE VIEW sys.objects AS
SELECT o.name::sys.text_ci AS name, o.object_id, NULL::int4 AS principal_id, o.schema_id, o.parent_object_id,
       o.type::sys.text_ci AS type, o.type_desc::sys.text_ci AS type_desc, o.create_date, o.create_date AS modify_date,
       false AS is_ms_shipped, false AS is_published, false AS is_schema_published
  FROM (
    SELECT name, oid::int4 AS object_id, schema_id, 0 AS parent_object_id,
           CASE relkind WHEN 'r' THEN 'U ' WHEN 'v' THEN 'V ' ELSE 'SO' END AS type,
           CASE relkind WHEN 'r' THEN 'USER_TABLE' WHEN 'v' THEN 'VIEW' ELSE 'SEQUENCE_OBJECT' END AS type_desc,
           sys_meta.created(meta) AS create_date
      FROM sys_meta.relation WHERE relkind IN ('r', 'v') OR relkind = 'S' AND meta ? 'type'
    UNION ALL
    SELECT name, oid::int4, schema_id, indrelid::int4, CASE kind WHEN 'PRIMARY KEY' THEN 'PK' ELSE 'UQ' END,
           CASE kind WHEN 'PRIMARY KEY' THEN 'PRIMARY_KEY_CONSTRAINT' ELSE 'UNIQUE_CONSTRAINT' END, sys_meta.created(meta)
      FROM sys_meta.user_index WHERE kind <> 'INDEX'
    UNION ALL
    SELECT name, oid::int4, schema_id, conrelid::int4, CASE contype WHEN 'f' THEN 'F ' ELSE 'C ' END,
           CASE contype WHEN 'f' THEN 'FOREIGN_KEY_CONSTRAINT' ELSE 'CHECK_CONSTRAINT' END, sys_meta.created(meta)
      FROM sys_meta.user_constraint
    UNION ALL
    SELECT name, oid::int4, schema_id, relid::int4, 'D ', 'DEFAULT_CONSTRAINT', sys_meta.created('{}') FROM sys_meta.user_default
    UNION ALL
    SELECT name, oid::int4, schema_id, 0, 'P ', 'SQL_STORED_PROCEDURE', sys_meta.created(meta) FROM sys_meta.user_module
    UNION ALL
    SELECT name, oid::int4, schema_id, tgrelid::int4, 'TR', 'SQL_TRIGGER', sys_meta.created(meta) FROM sys_meta.user_trigger
  ) o;

CREATE VIEW sys.all_objects AS SELECT * FROM sys.objects;

CREATE VIEW sys.sysobjects AS
SELECT name, object_id AS id, type AS xtype, schema_id::int2 AS uid, parent_object_id AS parent_obj, create_date AS crdate, type
  FROM sys.objects;

CREATE VIEW sys.tables AS
SELECT r.name::sys.text_ci AS name, r.oid::int4 AS object_id, NULL::int4 AS principal_id, r.schema_id, 0 AS parent_object_id,
       'U '::sys.text_ci AS type, 'USER_TABLE'::sys.text_ci AS type_desc, sys_meta.created(r.meta) AS create_date,
       sys_meta.created(r.meta) AS modify_date, false AS is_ms_shipped, false AS is_published, false AS is_schema_published,
       0 AS lob_data_space_id, 0 AS max_column_id_used, false AS lock_on_bulk_load, true AS uses_ansi_nulls,
       false AS is_replicated, false AS is_memory_optimized, 0::int2 AS temporal_type,
       'NON_TEMPORAL_TABLE'::sys.text_ci AS temporal_type_desc, 0::int2 AS durability, false AS is_external,
       NULL::int4 AS history_table_id, false AS is_node, false AS is_edge
  FROM sys_meta.relation r WHERE r.relkind = 'r';

CREATE VIEW sys.views AS
SELECT r.name::sys.text_ci AS name, r.oid::int4 AS object_id, NULL::int4 AS principal_id, r.schema_id, 0 AS parent_object_id,
       'V '::sys.text_ci AS type, 'VIEW'::sys.text_ci AS type_desc, sys_meta.created(r.meta) AS create_date,
       sys_meta.created(r.meta) AS modify_date, false AS is_ms_shipped, false AS is_published, false AS is_schema_published,
       false AS is_replicated, false AS has_replication_filter, false AS has_opaque_metadata, false AS with_check_option
  FROM sys_meta.relation r WHERE r.relkind = 'v';
CREATE VIEW sys.all_views AS SELECT * FROM sys.views;

CREATE VIEW sys.procedures AS
SELECT o.*, false AS is_auto_executed FROM sys.objects o WHERE o.type::text = 'P ';

CREATE VIEW sys.sql_modules AS
SELECT r.oid::int4 AS object_id, r.meta ->> 'definition' AS definition, true AS uses_ansi_nulls, true AS uses_quoted_identifier,
       false AS is_schema_bound, true AS uses_database_collation, false AS is_recompiled
  FROM sys_meta.relation r WHERE r.relkind = 'v'
UNION ALL
SELECT oid::int4, meta ->> 'definition', true, true, false, true, false FROM sys_meta.user_module
UNION ALL
SELECT oid::int4, meta ->> 'definition', true, true, false, true, false FROM sys_meta.user_trigger;
CREATE VIEW sys.all_sql_modules AS SELECT * FROM sys.sql_modules;

CREATE VIEW sys.triggers AS
SELECT t.name::sys.text_ci AS name, t.oid::int4 AS object_id, 1::int2 AS parent_class,
       'OBJECT_OR_COLUMN'::sys.text_ci AS parent_class_desc, t.tgrelid::int4 AS parent_id, 'TR'::sys.text_ci AS type,
       'SQL_TRIGGER'::sys.text_ci AS type_desc, sys_meta.created(t.meta) AS create_date, sys_meta.created(t.meta) AS modify_date,
       false AS is_ms_shipped, t.tgenabled = 'D' AS is_disabled, false AS is_not_for_replication, false AS is_instead_of_trigger
  FROM sys_meta.user_trigger t;

CREATE VIEW sys.trigger_events AS
SELECT t.oid::int4 AS object_id, e.type, e.type_desc::sys.text_ci AS type_desc
  FROM sys_meta.user_trigger t
  CROSS JOIN (VALUES (1, 'INSERT'), (2, 'UPDATE'), (3, 'DELETE')) e (type, type_desc)
 WHERE t.meta -> 'events' ? e.type_desc;

CREATE VIEW sys.sequences AS
SELECT o.*, s.seqstart::numeric AS start_value, s.seqincrement::numeric AS increment, s.seqmin::numeric AS minimum_value,
       s.seqmax::numeric AS maximum_value, s.seqcycle AS is_cycling, false AS is_cached, NULL::int4 AS cache_size,
       t.system_type_id, t.user_type_id, 19::int2 AS "precision", 0::int2 AS scale,
       coalesce(pg_sequence_last_value(s.seqrelid), s.seqstart)::numeric AS current_value, false AS is_exhausted
  FROM sys.objects o
  JOIN pg_sequence s ON s.seqrelid = o.object_id::oid
  JOIN sys_meta.relation r ON r.oid = s.seqrelid
  JOIN sys_meta.data_type t ON t.name = r.meta ->> 'type'
 WHERE o.type::text = 'SO';

CREATE VIEW sys.synonyms AS
SELECT o.*, NULL::sys.text_ci AS base_object_name FROM sys.objects o WHERE false;

-- Columns and types ----------------------------------------------------------------------------------------

CREATE VIEW sys.types AS
SELECT name::sys.text_ci AS name, system_type_id, user_type_id, 4 AS schema_id, NULL::int4 AS principal_id, max_length, "precision",
       scale, CASE WHEN collated THEN 'SQL_Latin1_General_CP1_CI_AS'::sys.text_ci END AS collation_name,
       name NOT IN ('timestamp', 'sysname') AS is_nullable, false AS is_user_defined, false AS is_assembly_type,
       0 AS default_object_id, 0 AS rule_object_id, false AS is_table_type
  FROM sys_meta.data_type
 WHERE name <> 'json' OR (sys_meta.release() -> 'has_json_type')::bool;

CREATE VIEW sys.columns AS
SELECT c.relid::int4 AS object_id, c.name::sys.text_ci AS name, c.attnum::int4 AS column_id, t.system_type_id, t.user_type_id,
       sys_meta.type_max_length(c.meta) AS max_length, sys_meta.type_precision(c.meta) AS "precision",
       sys_meta.type_scale(c.meta) AS scale,
       CASE WHEN t.collated THEN coalesce(c.meta ->> 'collation', 'SQL_Latin1_General_CP1_CI_AS')::sys.text_ci END AS collation_name,
       NOT c.attnotnull AS is_nullable, true AS is_ansi_padded, false AS is_rowguidcol, c.attidentity <> '' AS is_identity,
       c.attgenerated <> '' AS is_computed, false AS is_filestream, false AS is_replicated, false AS is_non_sql_subscribed,
       false AS is_merge_published, false AS is_dts_replicated, false AS is_xml_document, 0 AS xml_collection_id,
       CASE WHEN c.meta ? 'default' THEN coalesce((SELECT ad.oid::int4 FROM pg_attrdef ad WHERE ad.adrelid = c.relid AND ad.adnum = c.attnum), 0)
            ELSE 0 END AS default_object_id,
       0 AS rule_object_id, false AS is_sparse, false AS is_column_set, 0::int2 AS generated_always_type,
       'NOT_APPLICABLE'::sys.text_ci AS generated_always_type_desc, false AS is_hidden, false AS is_masked,
       NULL::int4 AS encryption_type
  FROM sys_meta.user_column c
  JOIN sys_meta.data_type t ON t.name = c.meta ->> 'type';
CREATE VIEW sys.all_columns AS SELECT * FROM sys.columns;

CREATE VIEW sys.syscolumns AS
SELECT name, object_id AS id, system_type_id AS xtype, user_type_id AS xusertype, max_length AS length, column_id::int2 AS colid,
       is_nullable::int4 AS isnullable
  FROM sys.columns;

CREATE VIEW sys.computed_columns AS
SELECT c.*, u.meta ->> 'computed' AS definition, true AS uses_database_collation,
       coalesce((u.meta -> 'persisted')::bool, false) AS is_persisted
  FROM sys.columns c JOIN sys_meta.user_column u ON u.relid = c.object_id::oid AND u.attnum = c.column_id
 WHERE u.attgenerated <> '';

CREATE VIEW sys.identity_columns AS
SELECT c.*, coalesce((u.meta -> 'identity' ->> 0)::numeric, 1) AS seed_value,
       coalesce((u.meta -> 'identity' ->> 1)::numeric, 1) AS increment_value,
       pg_sequence_last_value(pg_get_serial_sequence(format('%I.%I', n.nspname, t.relname), u.attname)::regclass)::numeric AS last_value,
       false AS is_not_for_replication
  FROM sys.columns c
  JOIN sys_meta.user_column u ON u.relid = c.object_id::oid AND u.attnum = c.column_id
  JOIN pg_class t ON t.oid = u.relid
  JOIN pg_namespace n ON n.oid = t.relnamespace
 WHERE u.attidentity <> '';

-- Indexes and constraints ----------------------------------------------------------------------------------

CREATE VIEW sys.indexes AS
SELECT x.indrelid::int4 AS object_id, x.name::sys.text_ci AS name, x.index_id,
       (CASE WHEN x.is_clustered THEN 1 ELSE 2 END)::int2 AS type,
       (CASE WHEN x.is_clustered THEN 'CLUSTERED' ELSE 'NONCLUSTERED' END)::sys.text_ci AS type_desc,
       x.indisunique AS is_unique, 1 AS data_space_id, false AS ignore_dup_key, x.kind = 'PRIMARY KEY' AS is_primary_key,
       x.kind = 'UNIQUE' AS is_unique_constraint, 0::int2 AS fill_factor, false AS is_padded, false AS is_disabled,
       false AS is_hypothetical, false AS is_ignored_in_optimization, true AS allow_row_locks, true AS allow_page_locks,
       x.meta ? 'where' AS has_filter, x.meta ->> 'where' AS filter_definition, false AS auto_created
  FROM sys_meta.user_index x
UNION ALL
SELECT r.oid::int4, NULL, 0, 0::int2, 'HEAP', false, 1, false, false, false, 0::int2, false, false, false, false, true, true,
       false, NULL, false
  FROM sys_meta.relation r
 WHERE r.relkind = 'r' AND NOT EXISTS (SELECT 1 FROM sys_meta.user_index x WHERE x.indrelid = r.oid AND x.is_clustered);

CREATE VIEW sys.sysindexes AS
SELECT object_id AS id, name, index_id AS indid, 0 AS status FROM sys.indexes;

CREATE VIEW sys.index_columns AS
SELECT x.indrelid::int4 AS object_id, x.index_id, k.position::int4 AS index_column_id, k.attnum::int4 AS column_id,
       (CASE WHEN k.position <= x.indnkeyatts THEN k.position ELSE 0 END)::int2 AS key_ordinal, 0::int2 AS partition_ordinal,
       k.position <= x.indnkeyatts AND (x.indoption[k.position - 1] & 1) = 1 AS is_descending_key,
       k.position > x.indnkeyatts AS is_included_column, 0::int2 AS column_store_order_ordinal
  FROM sys_meta.user_index x
  CROSS JOIN LATERAL unnest(x.indkey) WITH ORDINALITY k (attnum, position);

CREATE VIEW sys.key_constraints AS
SELECT x.name::sys.text_ci AS name, x.oid::int4 AS object_id, NULL::int4 AS principal_id, x.schema_id, x.indrelid::int4 AS parent_object_id,
       (CASE x.kind WHEN 'PRIMARY KEY' THEN 'PK' ELSE 'UQ' END)::sys.text_ci AS type,
       (CASE x.kind WHEN 'PRIMARY KEY' THEN 'PRIMARY_KEY_CONSTRAINT' ELSE 'UNIQUE_CONSTRAINT' END)::sys.text_ci AS type_desc,
       sys_meta.created(x.meta) AS create_date, sys_meta.created(x.meta) AS modify_date, false AS is_ms_shipped,
       false AS is_published, false AS is_schema_published, x.index_id AS unique_index_id, coalesce((x.meta -> 'system')::bool, false) AS is_system_named, true AS is_enforced
  FROM sys_meta.user_index x WHERE x.kind <> 'INDEX';

CREATE FUNCTION sys_meta.action(code "char") RETURNS smallint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT (CASE code WHEN 'c' THEN 1 WHEN 'n' THEN 2 WHEN 'd' THEN 3 ELSE 0 END)::int2
$$;
CREATE FUNCTION sys_meta.action_desc(code "char") RETURNS sys.text_ci LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT (CASE code WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET_NULL' WHEN 'd' THEN 'SET_DEFAULT' ELSE 'NO_ACTION' END)::sys.text_ci
$$;

CREATE VIEW sys.foreign_keys AS
SELECT k.name::sys.text_ci AS name, k.oid::int4 AS object_id, NULL::int4 AS principal_id, k.schema_id, k.conrelid::int4 AS parent_object_id,
       'F '::sys.text_ci AS type, 'FOREIGN_KEY_CONSTRAINT'::sys.text_ci AS type_desc, sys_meta.created(k.meta) AS create_date,
       sys_meta.created(k.meta) AS modify_date, false AS is_ms_shipped, false AS is_published, false AS is_schema_published,
       k.confrelid::int4 AS referenced_object_id, x.index_id AS key_index_id, NOT k.conenforced AS is_disabled,
       false AS is_not_for_replication,
       NOT (k.convalidated AND k.conenforced) OR coalesce((k.meta -> 'not_trusted')::bool, false) AS is_not_trusted,
       sys_meta.action(k.confdeltype) AS delete_referential_action, sys_meta.action_desc(k.confdeltype) AS delete_referential_action_desc,
       sys_meta.action(k.confupdtype) AS update_referential_action, sys_meta.action_desc(k.confupdtype) AS update_referential_action_desc,
       coalesce((k.meta -> 'system')::bool, false) AS is_system_named
  FROM sys_meta.user_constraint k
  LEFT JOIN sys_meta.user_index x ON x.oid = k.conindid
 WHERE k.contype = 'f';

CREATE VIEW sys.foreign_key_columns AS
SELECT k.oid::int4 AS constraint_object_id, p.position::int4 AS constraint_column_id, k.conrelid::int4 AS parent_object_id,
       p.attnum::int4 AS parent_column_id, k.confrelid::int4 AS referenced_object_id,
       k.confkey[p.position]::int4 AS referenced_column_id
  FROM sys_meta.user_constraint k
  CROSS JOIN LATERAL unnest(k.conkey) WITH ORDINALITY p (attnum, position)
 WHERE k.contype = 'f';

CREATE VIEW sys.check_constraints AS
SELECT k.name::sys.text_ci AS name, k.oid::int4 AS object_id, NULL::int4 AS principal_id, k.schema_id, k.conrelid::int4 AS parent_object_id,
       'C '::sys.text_ci AS type, 'CHECK_CONSTRAINT'::sys.text_ci AS type_desc, sys_meta.created(k.meta) AS create_date,
       sys_meta.created(k.meta) AS modify_date, false AS is_ms_shipped, false AS is_published, false AS is_schema_published,
       NOT k.conenforced AS is_disabled, false AS is_not_for_replication,
       NOT (k.convalidated AND k.conenforced) OR coalesce((k.meta -> 'not_trusted')::bool, false) AS is_not_trusted,
       (CASE WHEN cardinality(k.conkey) = 1 THEN k.conkey[1] ELSE 0 END)::int4 AS parent_column_id,
       k.meta ->> 'definition' AS definition, true AS uses_database_collation,
       coalesce((k.meta -> 'system')::bool, false) AS is_system_named
  FROM sys_meta.user_constraint k
 WHERE k.contype = 'c';

CREATE VIEW sys.default_constraints AS
SELECT d.name::sys.text_ci AS name, d.oid::int4 AS object_id, NULL::int4 AS principal_id, d.schema_id, d.relid::int4 AS parent_object_id,
       'D '::sys.text_ci AS type, 'DEFAULT_CONSTRAINT'::sys.text_ci AS type_desc, sys_meta.created('{}') AS create_date,
       sys_meta.created('{}') AS modify_date, false AS is_ms_shipped, false AS is_published, false AS is_schema_published,
       d.attnum::int4 AS parent_column_id, d.definition, d.is_system_named
  FROM sys_meta.user_default d;

CREATE VIEW sys.extended_properties AS
SELECT p.class, (CASE p.class WHEN 0 THEN 'DATABASE' WHEN 3 THEN 'SCHEMA' ELSE 'OBJECT_OR_COLUMN' END)::sys.text_ci AS class_desc,
       p.major_id, p.minor_id, p.name::sys.text_ci AS name, p.value AS value
  FROM sys_meta.extended_property p
 WHERE p.minor_id = 0
    OR EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = p.major_id::oid AND a.attnum = p.minor_id AND NOT a.attisdropped);

CREATE VIEW sys.partitions AS
SELECT (object_id::bigint << 16) + index_id AS partition_id, object_id, index_id, 1 AS partition_number,
       (object_id::bigint << 16) + index_id AS hobt_id,
       greatest((SELECT reltuples FROM pg_class WHERE oid = object_id::oid), 0)::bigint AS rows
  FROM sys.indexes;

CREATE VIEW sys.stats AS
SELECT object_id, name, index_id AS stats_id, false AS auto_created, false AS user_created, false AS no_recompute, has_filter,
       filter_definition
  FROM sys.indexes WHERE index_id > 0;

-- Databases and the server ---------------------------------------------------------------------------------

CREATE VIEW sys_meta.database AS
SELECT d.oid, (f.facts ->> 'id')::int4 AS database_id, f.facts ->> 'name' AS name, f.facts
  FROM pg_database d
  CROSS JOIN LATERAL (SELECT shobj_description(d.oid, 'pg_database')::jsonb AS facts) f
 WHERE starts_with(d.datname, 'mssql:') AND f.facts IS NOT NULL;

CREATE VIEW sys.databases AS
SELECT name::sys.text_ci AS name, database_id, NULL::int4 AS source_database_id, '\x01'::bytea AS owner_sid,
       (facts ->> 'created')::timestamp AS create_date, coalesce((facts ->> 'compatibility_level')::int2, 160::int2) AS compatibility_level,
       (facts ->> 'collation')::sys.text_ci AS collation_name, 0::int2 AS user_access, 'MULTI_USER'::sys.text_ci AS user_access_desc,
       false AS is_read_only, false AS is_auto_close_on, false AS is_auto_shrink_on, 0::int2 AS state, 'ONLINE'::sys.text_ci AS state_desc,
       false AS is_in_standby,
       (CASE WHEN (facts -> 'snapshot')::bool THEN 1 ELSE 0 END)::int2 AS snapshot_isolation_state,
       (CASE WHEN (facts -> 'snapshot')::bool THEN 'ON' ELSE 'OFF' END)::sys.text_ci AS snapshot_isolation_state_desc,
       (facts -> 'rcsi')::bool AS is_read_committed_snapshot_on, 3::int2 AS recovery_model, 'SIMPLE'::sys.text_ci AS recovery_model_desc,
       true AS is_auto_create_stats_on, true AS is_auto_update_stats_on, false AS is_ansi_null_default_on, false AS is_ansi_nulls_on,
       false AS is_ansi_padding_on, false AS is_ansi_warnings_on, false AS is_arithabort_on, false AS is_concat_null_yields_null_on,
       false AS is_quoted_identifier_on, false AS is_recursive_triggers_on, false AS is_trustworthy_on, false AS is_encrypted,
       coalesce((facts -> 'query_store')::bool, true) AS is_query_store_on, 0::int2 AS containment, 'NONE'::sys.text_ci AS containment_desc,
       false AS is_accelerated_database_recovery_on
  FROM sys_meta.database;

CREATE VIEW sys.sysdatabases AS SELECT name, database_id::int2 AS dbid, create_date AS crdate, compatibility_level AS cmptlevel FROM sys.databases;

CREATE VIEW sys.configurations AS
SELECT configuration_id, name::sys.text_ci AS name, value::text AS value, minimum::text AS minimum, maximum::text AS maximum,
       value::text AS value_in_use, name::sys.text_ci AS description, true AS is_dynamic, is_advanced
  FROM (VALUES
    (101, 'recovery interval (min)', 0, 0, 32767, true), (103, 'user connections', 0, 0, 32767, true),
    (115, 'nested triggers', 1, 0, 1, false), (116, 'remote access', 1, 0, 1, false), (518, 'show advanced options', 0, 0, 1, false),
    (1538, 'cost threshold for parallelism', 5, 0, 32767, true), (1539, 'max degree of parallelism', 0, 0, 32767, true),
    (1544, 'max server memory (MB)', 2147483647, 128, 2147483647, true), (1562, 'clr enabled', 0, 0, 1, false),
    (1568, 'default trace enabled', 1, 0, 1, true), (1569, 'blocked process threshold (s)', 0, 0, 86400, true),
    (1587, 'clr strict security', 1, 0, 1, true), (16390, 'xp_cmdshell', 0, 0, 1, true)
  ) c (configuration_id, name, value, minimum, maximum, is_advanced);

CREATE VIEW sys.assemblies AS
SELECT NULL::sys.text_ci AS name, NULL::int4 AS assembly_id WHERE false;

CREATE VIEW sys.database_scoped_configurations AS
SELECT configuration_id, c.name::sys.text_ci AS name, value::sys.text_ci AS value, NULL::sys.text_ci AS value_for_secondary,
       value = value_at_first AS is_value_default
  FROM sys_meta.database d
  CROSS JOIN LATERAL (VALUES
    (1, 'MAXDOP', '0', '0'), (2, 'LEGACY_CARDINALITY_ESTIMATION', '0', '0'), (3, 'PARAMETER_SNIFFING', '1', '1'),
    (4, 'QUERY_OPTIMIZER_HOTFIXES', '0', '0'),
    (24, 'LAST_QUERY_PLAN_STATS', CASE WHEN (d.facts -> 'last_query_plan_stats')::bool THEN '1' ELSE '0' END, '0')
  ) c (configuration_id, name, value, value_at_first)
 WHERE d.oid = (SELECT p.oid FROM pg_database p WHERE p.datname = current_database());

CREATE VIEW sys.database_principals AS
SELECT name::sys.text_ci AS name, principal_id, type::sys.text_ci AS type, type_desc::sys.text_ci AS type_desc,
       default_schema_name::sys.text_ci AS default_schema_name, false AS is_fixed_role
  FROM (VALUES ('public', 0, 'R', 'DATABASE_ROLE', NULL), ('dbo', 1, 'S', 'SQL_USER', 'dbo'), ('guest', 2, 'S', 'SQL_USER', 'guest'),
               ('INFORMATION_SCHEMA', 3, 'S', 'SQL_USER', NULL), ('sys', 4, 'S', 'SQL_USER', NULL),
               ('db_owner', 16384, 'R', 'DATABASE_ROLE', NULL))
       p (name, principal_id, type, type_desc, default_schema_name);

CREATE VIEW sys.server_principals AS
SELECT name::sys.text_ci AS name, principal_id, type::sys.text_ci AS type, type_desc::sys.text_ci AS type_desc, false AS is_disabled
  FROM (VALUES ('sa', 1, 'S', 'SQL_LOGIN'), ('public', 2, 'R', 'SERVER_ROLE'), ('sysadmin', 3, 'R', 'SERVER_ROLE'))
       p (name, principal_id, type, type_desc);

CREATE VIEW sys.servers AS
SELECT 0 AS server_id, coalesce(current_setting('standin.server', true), 'STANDIN')::sys.text_ci AS name, 'SQL Server'::sys.text_ci AS product;

CREATE VIEW sys.database_files AS
SELECT 1 AS file_id, 0::int2 AS type, 'ROWS'::sys.text_ci AS type_desc, 1 AS data_space_id, current_database()::text::sys.text_ci AS name,
       (pg_database_size(current_database()) / 8192)::int4 AS size;

CREATE VIEW sys.filegroups AS
SELECT 'PRIMARY'::sys.text_ci AS name, 1 AS data_space_id, 'FG'::sys.text_ci AS type, true AS is_default;

CREATE FUNCTION sys.fn_helpcollations() RETURNS TABLE (name sys.text_ci, description sys.text_ci) LANGUAGE sql STABLE AS $$
SELECT c.name::sys.text_ci, c.description::sys.text_ci
  FROM (
    SELECT f.family || s.suffix, f.words || s.words
      FROM (VALUES ('Latin1_General', 'Latin1-General'), ('Latin1_General_100', 'Latin1-General-100'),
                   ('SQL_Latin1_General_CP1', 'Latin1-General, SQL Server Sort Order on Code Page 1252'),
                   ('French', 'French'), ('German_PhoneBook', 'German-PhoneBook'), ('Modern_Spanish', 'Modern-Spanish'),
                   ('Finnish_Swedish', 'Finnish-Swedish'), ('Japanese', 'Japanese'), ('Polish', 'Polish'), ('Turkish', 'Turkish')) f (family, words)
     CROSS JOIN (VALUES ('_CI_AS', ', case-insensitive, accent-sensitive'), ('_CS_AS', ', case-sensitive, accent-sensitive'),
                        ('_CI_AI', ', case-insensitive, accent-insensitive'), ('_CS_AI', ', case-sensitive, accent-insensitive'),
                        ('_BIN', ', binary sort'), ('_BIN2', ', binary code point comparison sort')) s (suffix, words)
    UNION ALL
    SELECT name || '_SC_UTF8', 'UTF8 ' || name FROM (VALUES ('Latin1_General_100_CI_AS'), ('Latin1_General_100_CS_AS'), ('Latin1_General_100_CI_AI')) u (name)
  ) c (name, description)
$$;

CREATE VIEW sys.time_zone_info AS
SELECT regexp_replace(initcap(z.windows), '^(Utc|Aus|Us|Sa|Se)\M', coalesce(upper(substring(z.windows, '^(?:utc|aus|us|sa|se)\M')), ''))::sys.text_ci AS name,
       ((CASE WHEN o.now < interval '0' THEN '-' ELSE '+' END) || to_char(abs(extract(epoch FROM o.now)) * interval '1 second', 'HH24:MI'))::sys.text_ci
           AS current_utc_offset,
       o.now > least(o.january, o.july) AS is_currently_dst
  FROM sys.windows_zones z
  CROSS JOIN LATERAL (
    SELECT (now() AT TIME ZONE z.iana) - (now() AT TIME ZONE 'UTC') AS now,
           ((date_trunc('year', now()) AT TIME ZONE z.iana) - (date_trunc('year', now()) AT TIME ZONE 'UTC')) AS january,
           (((date_trunc('year', now()) + interval '6 months') AT TIME ZONE z.iana)
            - ((date_trunc('year', now()) + interval '6 months') AT TIME ZONE 'UTC')) AS july) o;
