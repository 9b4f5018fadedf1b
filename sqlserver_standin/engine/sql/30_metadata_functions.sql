-- https://learn.microsoft.com/sql/t-sql/functions/metadata-functions-transact-sql

-- [a].[b].c to its parts.
CREATE FUNCTION sys_meta.name_parts(name text) RETURNS text[] LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    rest text := btrim(name);
    parts text[] := '{}';
    match text[];
BEGIN
    LOOP
        IF left(rest, 1) = '[' THEN
            match := regexp_match(rest, '^\[((?:[^\]]|\]\])*)\](.*)$');
            EXIT WHEN match IS NULL;
            parts := parts || replace(match[1], ']]', ']');
        ELSIF left(rest, 1) = '"' THEN
            match := regexp_match(rest, '^"((?:[^"]|"")*)"(.*)$');
            EXIT WHEN match IS NULL;
            parts := parts || replace(match[1], '""', '"');
        ELSE
            match := regexp_match(rest, '^([^.]*)(.*)$');
            parts := parts || match[1];
        END IF;
        rest := match[2];
        EXIT WHEN left(rest, 1) <> '.' OR rest = '';
        rest := substr(rest, 2);
    END LOOP;
    RETURN parts;
END $$;

CREATE FUNCTION sys.object_id(name sys.text_ci, kind sys.text_ci DEFAULT NULL) RETURNS integer LANGUAGE plpgsql STABLE AS $$
DECLARE
    parts text[] := sys_meta.name_parts(name::text);
    last text := parts[cardinality(parts)];
    schema_part text := nullif(parts[cardinality(parts) - 1], '');
    database_part text := nullif(parts[cardinality(parts) - 2], '');
    answer integer;
BEGIN
    IF last LIKE '#%' THEN
        SELECT c.oid::int4 INTO answer FROM pg_class c
         WHERE c.relnamespace = pg_my_temp_schema() AND lower(c.relname) = lower(last) AND c.relkind = 'r';
        RETURN answer;
    END IF;
    IF database_part IS NOT NULL AND lower(database_part) <> lower(current_setting('standin.database')) THEN
        RETURN NULL;
    END IF;
    -- Most ask for a table or view: answer by PostgreSQL's index on names when it is spelled as stored.
    IF kind IS NULL OR upper(rtrim(kind::text)) IN ('U', 'V') THEN
        SELECT c.oid::int4 INTO answer FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relname = last::name AND n.nspname = coalesce(schema_part, 'dbo')::name
           AND c.relkind = ANY (CASE upper(rtrim(kind::text)) WHEN 'U' THEN '{r}' WHEN 'V' THEN '{v}' ELSE '{r,v}' END::"char"[]);
        IF FOUND AND octet_length(last) <= 63 THEN RETURN answer; END IF;
        answer := NULL;
    END IF;
    SELECT o.object_id INTO answer FROM sys.objects o JOIN sys.schemas s ON s.schema_id = o.schema_id
     WHERE o.name = last::sys.text_ci AND s.name = coalesce(schema_part, 'dbo')::sys.text_ci
       AND (kind IS NULL OR o.type = kind);
    IF answer IS NULL AND lower(coalesce(schema_part, 'sys')) IN ('sys', 'information_schema') AND (kind IS NULL OR kind = 'V'::sys.text_ci) THEN
        SELECT -c.oid::int4 INTO answer FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE lower(c.relname) = lower(last) AND lower(n.nspname) = lower(schema_part) AND c.relkind = 'v';
    END IF;
    RETURN answer;
END $$;

CREATE FUNCTION sys_meta.own_database(database_id integer) RETURNS boolean LANGUAGE sql STABLE AS $$
SELECT database_id IS NULL OR database_id = (SELECT d.database_id FROM sys_meta.database d
                                              WHERE d.name = current_setting('standin.database'))
$$;

CREATE FUNCTION sys.object_name(id integer, database_id integer DEFAULT NULL) RETURNS sys.text_ci LANGUAGE plpgsql STABLE AS $$
DECLARE answer sys.text_ci;
BEGIN
    IF database_id IS NOT NULL AND NOT sys_meta.own_database(database_id) THEN RETURN NULL; END IF;
    SELECT coalesce(d.description::jsonb ->> 'name', c.relname)::sys.text_ci INTO answer
      FROM pg_class c LEFT JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0
     WHERE c.oid = id::oid;
    IF NOT FOUND THEN SELECT o.name INTO answer FROM sys.objects o WHERE o.object_id = id; END IF;
    RETURN answer;
END $$;

CREATE FUNCTION sys.object_schema_name(id integer, database_id integer DEFAULT NULL) RETURNS sys.text_ci LANGUAGE plpgsql STABLE AS $$
DECLARE answer sys.text_ci;
BEGIN
    IF database_id IS NOT NULL AND NOT sys_meta.own_database(database_id) THEN RETURN NULL; END IF;
    SELECT coalesce(d.description::jsonb ->> 'name', n.nspname)::sys.text_ci INTO answer
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      LEFT JOIN pg_description d ON d.objoid = n.oid AND d.classoid = 'pg_namespace'::regclass AND d.description LIKE '{%'
     WHERE c.oid = id::oid;
    IF NOT FOUND THEN
        SELECT s.name INTO answer FROM sys.objects o JOIN sys.schemas s ON s.schema_id = o.schema_id WHERE o.object_id = id;
    END IF;
    RETURN answer;
END $$;

CREATE FUNCTION sys.object_definition(id integer) RETURNS sys.text_ci LANGUAGE sql STABLE AS $$
SELECT definition::sys.text_ci FROM sys.sql_modules WHERE object_id = id
UNION ALL SELECT definition::sys.text_ci FROM sys.check_constraints WHERE object_id = id
UNION ALL SELECT definition::sys.text_ci FROM sys.default_constraints WHERE object_id = id
$$;

CREATE FUNCTION sys.schema_id(wanted sys.text_ci) RETURNS integer LANGUAGE sql STABLE AS $$
SELECT schema_id FROM sys.schemas WHERE name = wanted
$$;
CREATE FUNCTION sys.schema_name(id integer) RETURNS sys.text_ci LANGUAGE sql STABLE AS $$
SELECT name FROM sys.schemas WHERE schema_id = id
$$;
CREATE FUNCTION sys.type_id(wanted sys.text_ci) RETURNS integer LANGUAGE sql STABLE AS $$
SELECT user_type_id FROM sys.types WHERE name = wanted
$$;
CREATE FUNCTION sys.type_name(id integer) RETURNS sys.text_ci LANGUAGE sql STABLE AS $$
SELECT name FROM sys.types WHERE user_type_id = id
$$;
CREATE FUNCTION sys.col_name(table_id integer, id integer) RETURNS sys.text_ci LANGUAGE sql STABLE AS $$
SELECT coalesce(d.description::jsonb ->> 'name', a.attname)::sys.text_ci
  FROM pg_attribute a
  LEFT JOIN pg_description d ON d.objoid = a.attrelid AND d.classoid = 'pg_class'::regclass AND d.objsubid = a.attnum
 WHERE a.attrelid = table_id::oid AND a.attnum = id AND a.attnum > 0 AND NOT a.attisdropped
$$;
CREATE FUNCTION sys.col_length(table_name sys.text_ci, column_name sys.text_ci) RETURNS smallint LANGUAGE sql STABLE AS $$
SELECT max_length FROM sys.columns WHERE object_id = sys.object_id(table_name) AND name = column_name
$$;

CREATE FUNCTION sys.columnproperty(id integer, wanted sys.text_ci, property sys.text_ci) RETURNS integer LANGUAGE sql STABLE AS $$
SELECT CASE lower(property::text)
         WHEN 'allowsnull' THEN is_nullable::int4
         WHEN 'columnid' THEN column_id
         WHEN 'isidentity' THEN is_identity::int4
         WHEN 'iscomputed' THEN is_computed::int4
         WHEN 'isrowguidcol' THEN 0
         WHEN 'ishidden' THEN 0
         WHEN 'issparse' THEN 0
         WHEN 'precision' THEN CASE WHEN precision > 0 THEN precision ELSE
              (SELECT CASE WHEN (u.meta ->> 'length')::int4 = -1 THEN -1 ELSE (u.meta ->> 'length')::int4 END
                 FROM sys_meta.user_column u WHERE u.relid = id::oid AND u.attnum = column_id) END
         WHEN 'scale' THEN scale
         WHEN 'charmaxlen' THEN (SELECT (u.meta ->> 'length')::int4 FROM sys_meta.user_column u WHERE u.relid = id::oid AND u.attnum = column_id)
       END
  FROM sys.columns WHERE object_id = id AND name = wanted
$$;

CREATE FUNCTION sys.objectproperty(id integer, property sys.text_ci) RETURNS integer LANGUAGE sql STABLE AS $$
SELECT CASE lower(property::text)
         WHEN 'istable' THEN (type::text = 'U ')::int4
         WHEN 'isusertable' THEN (type::text = 'U ')::int4
         WHEN 'isview' THEN (type::text = 'V ')::int4
         WHEN 'isprocedure' THEN (type::text = 'P ')::int4
         WHEN 'istrigger' THEN (type::text = 'TR')::int4
         WHEN 'isprimarykey' THEN (type::text = 'PK')::int4
         WHEN 'isuniquecnst' THEN (type::text = 'UQ')::int4
         WHEN 'isforeignkey' THEN (type::text = 'F ')::int4
         WHEN 'ischeckcnst' THEN (type::text = 'C ')::int4
         WHEN 'isdefaultcnst' THEN (type::text = 'D ')::int4
         WHEN 'isconstraint' THEN (type::text IN ('PK', 'UQ', 'F ', 'C ', 'D '))::int4
         WHEN 'ismsshipped' THEN 0
         WHEN 'issystemtable' THEN 0
         WHEN 'schemaid' THEN schema_id
         WHEN 'ownerid' THEN 1
         WHEN 'tablehasidentity' THEN (EXISTS (SELECT 1 FROM sys_meta.user_column c WHERE c.relid = id::oid AND c.attidentity <> ''))::int4
         WHEN 'tablehasprimarykey' THEN (EXISTS (SELECT 1 FROM sys_meta.user_index x WHERE x.indrelid = id::oid AND x.kind = 'PRIMARY KEY'))::int4
         WHEN 'tablehasforeignkey' THEN (EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conrelid = id::oid AND k.contype = 'f'))::int4
         WHEN 'cnstisdisabled' THEN (EXISTS (SELECT 1 FROM pg_constraint k WHERE k.oid = id::oid AND NOT k.conenforced))::int4
         WHEN 'cnstisnottrusted' THEN (EXISTS (SELECT 1 FROM sys.foreign_keys f WHERE f.object_id = id AND f.is_not_trusted))::int4
       END
  FROM sys.objects WHERE object_id = id
$$;
CREATE FUNCTION sys.objectpropertyex(id integer, property sys.text_ci) RETURNS integer LANGUAGE sql STABLE AS $$
SELECT sys.objectproperty(id, property)
$$;

CREATE FUNCTION sys.indexproperty(id integer, index_name sys.text_ci, property sys.text_ci) RETURNS integer LANGUAGE sql STABLE AS $$
SELECT CASE lower(property::text)
         WHEN 'indexid' THEN index_id
         WHEN 'isclustered' THEN (type = 1)::int4
         WHEN 'isunique' THEN is_unique::int4
         WHEN 'isdisabled' THEN 0
         WHEN 'ishypothetical' THEN 0
         WHEN 'isstatistics' THEN 0
       END
  FROM sys.indexes WHERE object_id = id AND name = index_name
$$;
CREATE FUNCTION sys.index_col(table_name sys.text_ci, wanted integer, key integer) RETURNS sys.text_ci LANGUAGE sql STABLE AS $$
SELECT sys.col_name(object_id, column_id) FROM sys.index_columns
 WHERE object_id = sys.object_id(table_name) AND index_id = wanted AND key_ordinal = key
$$;

CREATE FUNCTION sys.serverproperty(property sys.text_ci) RETURNS text LANGUAGE sql STABLE AS $$
SELECT CASE lower(property::text)
         WHEN 'productversion' THEN sys_meta.release() ->> 'version'
         WHEN 'productmajorversion' THEN split_part(sys_meta.release() ->> 'version', '.', 1)
         WHEN 'productminorversion' THEN split_part(sys_meta.release() ->> 'version', '.', 2)
         WHEN 'productbuild' THEN split_part(sys_meta.release() ->> 'version', '.', 3)
         WHEN 'productlevel' THEN 'RTM'
         WHEN 'productupdatelevel' THEN sys_meta.release() ->> 'update'
         WHEN 'productupdatereference' THEN sys_meta.release() ->> 'update_article'
         WHEN 'edition' THEN sys_meta.release() ->> 'edition'
         WHEN 'editionid' THEN '-2117995310'
         WHEN 'engineedition' THEN '3'
         WHEN 'servername' THEN current_setting('standin.server', true)
         WHEN 'machinename' THEN current_setting('standin.server', true)
         WHEN 'computernamephysicalnetbios' THEN current_setting('standin.server', true)
         WHEN 'collation' THEN 'SQL_Latin1_General_CP1_CI_AS'
         WHEN 'isclustered' THEN '0'
         WHEN 'ishadrenabled' THEN '0'
         WHEN 'isintegratedsecurityonly' THEN '0'
         WHEN 'isfulltextinstalled' THEN '0'
         WHEN 'issingleuser' THEN '0'
         WHEN 'islocaldb' THEN '0'
         WHEN 'ispolybaseinstalled' THEN '0'
         WHEN 'lcid' THEN '1033'
         WHEN 'processid' THEN '1'
         WHEN 'resourceversion' THEN regexp_replace(sys_meta.release() ->> 'version', '^(\d+)\.0\.(\d+)\..*$', '\1.00.\2')
         WHEN 'sqlcharset' THEN '1'
         WHEN 'sqlcharsetname' THEN 'iso_1'
         WHEN 'sqlsortorder' THEN '52'
         WHEN 'sqlsortordername' THEN 'nocase_iso'
         WHEN 'instancedefaultdatapath' THEN '/var/opt/mssql/data/'
       END
$$;

CREATE FUNCTION sys.databasepropertyex(database_name sys.text_ci, property sys.text_ci) RETURNS text LANGUAGE sql STABLE AS $$
SELECT CASE lower(property::text)
         WHEN 'collation' THEN collation_name::text
         WHEN 'status' THEN 'ONLINE'
         WHEN 'updateability' THEN 'READ_WRITE'
         WHEN 'useraccess' THEN 'MULTI_USER'
         WHEN 'recovery' THEN 'SIMPLE'
         WHEN 'edition' THEN NULL
         WHEN 'version' THEN sys_meta.release() ->> 'database_version'
         WHEN 'lcid' THEN '1033'
         WHEN 'comparisonstyle' THEN '196609'
         WHEN 'sqlsortorder' THEN '52'
         WHEN 'issnapshotisolationallowed' THEN snapshot_isolation_state::text
         WHEN 'isreadcommittedsnapshoton' THEN is_read_committed_snapshot_on::int4::text
         WHEN 'isfulltextenabled' THEN '0'
         WHEN 'isautoclose' THEN '0'
         WHEN 'isautoshrink' THEN '0'
         WHEN 'isansinullsenabled' THEN '0'
         WHEN 'isquotedidentifiersenabled' THEN '0'
       END
  FROM sys.databases WHERE name = database_name
$$;

CREATE FUNCTION sys.db_id(database_name sys.text_ci) RETURNS smallint LANGUAGE sql STABLE AS $$
SELECT database_id::int2 FROM sys.databases WHERE name = database_name
$$;
CREATE FUNCTION sys.db_name(id integer) RETURNS sys.text_ci LANGUAGE sql STABLE AS $$
SELECT name FROM sys.databases WHERE database_id = id
$$;

CREATE FUNCTION sys.has_perms_by_name(securable sys.text_ci, class sys.text_ci, permission sys.text_ci,
                                      sub_securable sys.text_ci DEFAULT NULL, sub_class sys.text_ci DEFAULT NULL) RETURNS integer
LANGUAGE sql STABLE AS $$
SELECT CASE WHEN coalesce(current_setting('standin.permissions', true), '') = '' THEN 1
            ELSE (NOT o.granted ? ('-' || upper(permission::text))
                  AND (lower(permission::text) = ANY (string_to_array(lower(current_setting('standin.permissions', true)), ','))
                       OR o.granted ?| ARRAY[upper(permission::text), 'CONTROL']))::int4 END
  FROM (SELECT coalesce((SELECT current_setting('standin.object_permissions', true)::jsonb
                                -> lower(s.name::text || '.' || t.name::text)
                           FROM sys.objects t JOIN sys.schemas s ON s.schema_id = t.schema_id
                          WHERE upper(class::text) = 'OBJECT' AND t.object_id = sys.object_id(securable)), '[]') AS granted) o
$$;
CREATE FUNCTION sys.has_dbaccess(database_name sys.text_ci) RETURNS integer LANGUAGE sql STABLE AS $$
SELECT CASE WHEN sys.db_id(database_name) IS NULL THEN NULL ELSE 1 END
$$;

CREATE FUNCTION sys.ident_current(table_name sys.text_ci) RETURNS numeric LANGUAGE sql STABLE AS $$
SELECT coalesce(last_value, seed_value) FROM sys.identity_columns WHERE object_id = sys.object_id(table_name)
$$;
CREATE FUNCTION sys.ident_seed(table_name sys.text_ci) RETURNS numeric LANGUAGE sql STABLE AS $$
SELECT seed_value FROM sys.identity_columns WHERE object_id = sys.object_id(table_name)
$$;
CREATE FUNCTION sys.ident_incr(table_name sys.text_ci) RETURNS numeric LANGUAGE sql STABLE AS $$
SELECT increment_value FROM sys.identity_columns WHERE object_id = sys.object_id(table_name)
$$;

CREATE FUNCTION sys.session_context(key sys.text_ci) RETURNS text LANGUAGE sql STABLE AS $$
SELECT nullif(current_setting('standin.session_context', true), '')::jsonb ->> lower(key::text)
$$;

CREATE FUNCTION sys.user_name(id integer) RETURNS sys.text_ci LANGUAGE sql STABLE AS $$
SELECT name FROM sys.database_principals WHERE principal_id = id
$$;
CREATE FUNCTION sys.user_id(user_name sys.text_ci) RETURNS integer LANGUAGE sql STABLE AS $$
SELECT principal_id FROM sys.database_principals WHERE name = user_name
$$;
CREATE FUNCTION sys.database_principal_id(user_name sys.text_ci) RETURNS integer LANGUAGE sql STABLE AS $$
SELECT principal_id FROM sys.database_principals WHERE name = user_name
$$;
CREATE FUNCTION sys.suser_name(id integer) RETURNS sys.text_ci LANGUAGE sql STABLE AS $$
SELECT name FROM sys.server_principals WHERE principal_id = id
$$;
CREATE FUNCTION sys.suser_sname(sid bytea) RETURNS sys.text_ci LANGUAGE sql STABLE AS $$
SELECT CASE WHEN sid = '\x01'::bytea THEN 'sa'::sys.text_ci END
$$;
CREATE FUNCTION sys.suser_id(login_name sys.text_ci) RETURNS integer LANGUAGE sql STABLE AS $$
SELECT principal_id FROM sys.server_principals WHERE name = login_name
$$;
CREATE FUNCTION sys.is_member(role_name sys.text_ci) RETURNS integer LANGUAGE sql STABLE AS $$
SELECT CASE WHEN lower(role_name::text) IN ('public', 'db_owner') THEN 1
            WHEN lower(role_name::text) LIKE 'db\_%' THEN 0 END
$$;
CREATE FUNCTION sys.is_rolemember(role_name sys.text_ci, principal sys.text_ci DEFAULT NULL) RETURNS integer LANGUAGE sql STABLE AS $$
SELECT sys.is_member(role_name)
$$;
CREATE FUNCTION sys.is_srvrolemember(role_name sys.text_ci, login_name sys.text_ci DEFAULT NULL) RETURNS integer LANGUAGE sql STABLE AS $$
SELECT CASE WHEN lower(role_name::text) IN ('public', 'sysadmin')
                 THEN (lower(role_name::text) = 'public' OR coalesce(login_name::text, current_setting('standin.login', true)) = 'sa')::int4
            WHEN lower(role_name::text) IN ('serveradmin', 'securityadmin', 'processadmin', 'setupadmin', 'bulkadmin', 'diskadmin', 'dbcreator') THEN 0 END
$$;

CREATE FUNCTION sys.collationproperty(collation_name sys.text_ci, property sys.text_ci) RETURNS text LANGUAGE sql STABLE AS $$
SELECT CASE lower(property::text)
         WHEN 'codepage' THEN '1252' WHEN 'lcid' THEN '1033' WHEN 'version' THEN '0'
         WHEN 'comparisonstyle' THEN CASE WHEN collation_name::text ~* '_BIN' THEN '0' WHEN collation_name::text ~* '_CS_AS' THEN '196608'
                                          WHEN collation_name::text ~* '_CI_AI' THEN '196611' ELSE '196609' END
       END
  FROM sys.fn_helpcollations() WHERE name = collation_name
$$;
CREATE FUNCTION sys.connectionproperty(property sys.text_ci) RETURNS text LANGUAGE sql STABLE AS $$
SELECT CASE lower(property::text) WHEN 'net_transport' THEN 'TCP' WHEN 'protocol_type' THEN 'TSQL' WHEN 'auth_scheme' THEN 'SQL'
            WHEN 'local_net_address' THEN '127.0.0.1' WHEN 'client_net_address' THEN '127.0.0.1' END
$$;
CREATE FUNCTION sys.sessionproperty(property sys.text_ci) RETURNS text LANGUAGE sql STABLE AS $$
SELECT CASE lower(property::text) WHEN 'ansi_nulls' THEN '1' WHEN 'ansi_padding' THEN '1' WHEN 'ansi_warnings' THEN '1' WHEN 'arithabort' THEN '1'
            WHEN 'concat_null_yields_null' THEN '1' WHEN 'numeric_roundabort' THEN '0' WHEN 'quoted_identifier' THEN '1' END
$$;
CREATE FUNCTION sys.fulltextserviceproperty(property sys.text_ci) RETURNS integer LANGUAGE sql STABLE AS $$ SELECT 0 $$;

CREATE FUNCTION sys.fn_listextendedproperty(
    wanted sys.text_ci, level0type sys.text_ci, level0name sys.text_ci, level1type sys.text_ci, level1name sys.text_ci,
    level2type sys.text_ci, level2name sys.text_ci
) RETURNS TABLE (objtype sys.text_ci, objname sys.text_ci, name sys.text_ci, value text) LANGUAGE sql STABLE AS $$
SELECT CASE WHEN p.minor_id > 0 THEN 'COLUMN'::sys.text_ci ELSE 'TABLE'::sys.text_ci END,
       CASE WHEN p.minor_id > 0 THEN sys.col_name(p.major_id, p.minor_id) ELSE sys.object_name(p.major_id) END, p.name, p.value
  FROM sys.extended_properties p
 WHERE p.class = 1 AND (wanted IS NULL OR p.name = wanted)
   AND sys.object_schema_name(p.major_id) = level0name
   AND (level1name IS NULL OR sys.object_name(p.major_id) = level1name)
   AND CASE WHEN level2type IS NULL THEN p.minor_id = 0
            ELSE p.minor_id > 0 AND (level2name IS NULL OR sys.col_name(p.major_id, p.minor_id) = level2name) END
$$;
