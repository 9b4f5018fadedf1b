-- The release of SQL Server that this is, as releases.py describes it.
CREATE FUNCTION sys_meta.release() RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE
RETURN current_setting('standin.release')::jsonb;

-- SQL Server's data types, and what sys.columns says of a column of one of them.

CREATE TABLE sys_meta.data_type (
    name text PRIMARY KEY, system_type_id smallint NOT NULL, user_type_id integer NOT NULL, max_length smallint NOT NULL,
    "precision" smallint NOT NULL, scale smallint NOT NULL, collated boolean NOT NULL
);
INSERT INTO sys_meta.data_type VALUES
    ('image', 34, 34, 16, 0, 0, false), ('text', 35, 35, 16, 0, 0, true),
    ('uniqueidentifier', 36, 36, 16, 0, 0, false), ('date', 40, 40, 3, 10, 0, false),
    ('time', 41, 41, 5, 16, 7, false), ('datetime2', 42, 42, 8, 27, 7, false),
    ('datetimeoffset', 43, 43, 10, 34, 7, false), ('tinyint', 48, 48, 1, 3, 0, false),
    ('smallint', 52, 52, 2, 5, 0, false), ('int', 56, 56, 4, 10, 0, false),
    ('smalldatetime', 58, 58, 4, 16, 0, false), ('real', 59, 59, 4, 24, 0, false),
    ('money', 60, 60, 8, 19, 4, false), ('datetime', 61, 61, 8, 23, 3, false),
    ('float', 62, 62, 8, 53, 0, false), ('sql_variant', 98, 98, 8016, 0, 0, false),
    ('ntext', 99, 99, 16, 0, 0, true), ('bit', 104, 104, 1, 1, 0, false),
    ('decimal', 106, 106, 17, 38, 38, false), ('numeric', 108, 108, 17, 38, 38, false),
    ('smallmoney', 122, 122, 4, 10, 4, false), ('bigint', 127, 127, 8, 19, 0, false),
    ('varbinary', 165, 165, 8000, 0, 0, false), ('varchar', 167, 167, 8000, 0, 0, true),
    ('binary', 173, 173, 8000, 0, 0, false), ('char', 175, 175, 8000, 0, 0, true),
    ('timestamp', 189, 189, 8, 0, 0, false), ('nvarchar', 231, 231, 8000, 0, 0, true),
    ('nchar', 239, 239, 8000, 0, 0, true), ('xml', 241, 241, -1, 0, 0, false),
    ('json', 244, 244, -1, 0, 0, false),
    ('sysname', 231, 256, 256, 0, 0, true);

CREATE FUNCTION sys_meta.type_max_length(meta jsonb) RETURNS smallint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT (CASE meta ->> 'type'
    WHEN 'nvarchar' THEN CASE WHEN meta ->> 'length' = '-1' THEN -1 ELSE 2 * (meta ->> 'length')::int END
    WHEN 'nchar' THEN 2 * (meta ->> 'length')::int
    WHEN 'varchar' THEN (meta ->> 'length')::int
    WHEN 'char' THEN (meta ->> 'length')::int
    WHEN 'varbinary' THEN (meta ->> 'length')::int
    WHEN 'binary' THEN (meta ->> 'length')::int
    WHEN 'tinyint' THEN 1 WHEN 'bit' THEN 1 WHEN 'smallint' THEN 2
    WHEN 'int' THEN 4 WHEN 'real' THEN 4 WHEN 'smalldatetime' THEN 4 WHEN 'smallmoney' THEN 4
    WHEN 'bigint' THEN 8 WHEN 'float' THEN 8 WHEN 'datetime' THEN 8 WHEN 'money' THEN 8 WHEN 'timestamp' THEN 8
    WHEN 'date' THEN 3
    WHEN 'time' THEN CASE WHEN (meta ->> 'scale')::int < 3 THEN 3 WHEN (meta ->> 'scale')::int < 5 THEN 4 ELSE 5 END
    WHEN 'datetime2' THEN CASE WHEN (meta ->> 'scale')::int < 3 THEN 6 WHEN (meta ->> 'scale')::int < 5 THEN 7 ELSE 8 END
    WHEN 'datetimeoffset' THEN CASE WHEN (meta ->> 'scale')::int < 3 THEN 8 WHEN (meta ->> 'scale')::int < 5 THEN 9 ELSE 10 END
    WHEN 'decimal' THEN CASE WHEN (meta ->> 'precision')::int < 10 THEN 5 WHEN (meta ->> 'precision')::int < 20 THEN 9
                             WHEN (meta ->> 'precision')::int < 29 THEN 13 ELSE 17 END
    WHEN 'numeric' THEN CASE WHEN (meta ->> 'precision')::int < 10 THEN 5 WHEN (meta ->> 'precision')::int < 20 THEN 9
                             WHEN (meta ->> 'precision')::int < 29 THEN 13 ELSE 17 END
    WHEN 'uniqueidentifier' THEN 16 WHEN 'text' THEN 16 WHEN 'ntext' THEN 16 WHEN 'image' THEN 16
    WHEN 'sql_variant' THEN 8016
    ELSE -1 END)::smallint
$$;

CREATE FUNCTION sys_meta.fraction_width(meta jsonb) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT CASE WHEN (meta ->> 'scale')::int = 0 THEN 0 ELSE (meta ->> 'scale')::int + 1 END
$$;

CREATE FUNCTION sys_meta.type_precision(meta jsonb) RETURNS smallint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT (CASE meta ->> 'type'
    WHEN 'tinyint' THEN 3 WHEN 'smallint' THEN 5 WHEN 'int' THEN 10 WHEN 'bigint' THEN 19 WHEN 'bit' THEN 1
    WHEN 'decimal' THEN (meta ->> 'precision')::int WHEN 'numeric' THEN (meta ->> 'precision')::int
    WHEN 'money' THEN 19 WHEN 'smallmoney' THEN 10 WHEN 'float' THEN 53 WHEN 'real' THEN 24
    WHEN 'date' THEN 10 WHEN 'datetime' THEN 23 WHEN 'smalldatetime' THEN 16
    WHEN 'time' THEN 8 + sys_meta.fraction_width(meta) WHEN 'datetime2' THEN 19 + sys_meta.fraction_width(meta)
    WHEN 'datetimeoffset' THEN 26 + sys_meta.fraction_width(meta)
    ELSE 0 END)::smallint
$$;

CREATE FUNCTION sys_meta.type_scale(meta jsonb) RETURNS smallint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT (CASE meta ->> 'type'
    WHEN 'money' THEN 4 WHEN 'smallmoney' THEN 4 WHEN 'datetime' THEN 3
    WHEN 'decimal' THEN (meta ->> 'scale')::int WHEN 'numeric' THEN (meta ->> 'scale')::int
    WHEN 'time' THEN (meta ->> 'scale')::int WHEN 'datetime2' THEN (meta ->> 'scale')::int
    WHEN 'datetimeoffset' THEN (meta ->> 'scale')::int
    ELSE 0 END)::smallint
$$;
