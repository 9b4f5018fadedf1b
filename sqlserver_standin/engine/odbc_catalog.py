"""The catalog procedures that ODBC's SQLTables, SQLColumns, SQLPrimaryKeys … call.

https://learn.microsoft.com/sql/relational-databases/system-stored-procedures/catalog-stored-procedures-transact-sql
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlserver_standin.types import SqlType

_NAME = SqlType("nvarchar", length=384)

# ODBC's SQL data type, for each of SQL Server's.
_ODBC_TYPE = """CASE t.name
    WHEN 'char' THEN 1 WHEN 'numeric' THEN 2 WHEN 'decimal' THEN 3 WHEN 'money' THEN 3 WHEN 'smallmoney' THEN 3
    WHEN 'int' THEN 4 WHEN 'smallint' THEN 5 WHEN 'float' THEN 6 WHEN 'real' THEN 7 WHEN 'varchar' THEN 12
    WHEN 'date' THEN 91 WHEN 'datetime' THEN 93 WHEN 'datetime2' THEN 93 WHEN 'smalldatetime' THEN 93
    WHEN 'text' THEN -1 WHEN 'binary' THEN -2 WHEN 'timestamp' THEN -2 WHEN 'varbinary' THEN -3 WHEN 'image' THEN -4
    WHEN 'bigint' THEN -5 WHEN 'tinyint' THEN -6 WHEN 'bit' THEN -7 WHEN 'nchar' THEN -8 WHEN 'nvarchar' THEN -9
    WHEN 'ntext' THEN -10 WHEN 'uniqueidentifier' THEN -11 WHEN 'sql_variant' THEN -150 WHEN 'xml' THEN -152
    WHEN 'time' THEN -154 WHEN 'datetimeoffset' THEN -155 ELSE 12 END"""

_COLUMNS = f"""
SELECT DB_NAME() AS TABLE_QUALIFIER, s.name AS TABLE_OWNER, o.name AS TABLE_NAME, c.name AS COLUMN_NAME,
    CAST({_ODBC_TYPE} AS smallint) AS DATA_TYPE,
    CAST(t.name + CASE WHEN c.is_identity = 1 THEN N' identity' ELSE N'' END AS nvarchar(128)) AS TYPE_NAME,
    CAST(CASE WHEN c.max_length = -1 THEN 0 WHEN t.name IN ('nchar', 'nvarchar') THEN c.max_length / 2
              WHEN t.name IN ('char', 'varchar', 'binary', 'varbinary') THEN c.max_length
              WHEN t.name = 'uniqueidentifier' THEN 36 WHEN t.name IN ('text', 'image') THEN 2147483647
              WHEN t.name = 'ntext' THEN 1073741823 ELSE c.precision END AS int) AS PRECISION_,
    CAST(CASE WHEN c.max_length = -1 THEN 0
              WHEN t.name IN ('decimal', 'numeric', 'money', 'smallmoney') THEN c.precision + 2
              WHEN t.name IN ('datetime', 'datetime2', 'smalldatetime') THEN 16 WHEN t.name = 'date' THEN 6
              WHEN t.name = 'time' THEN 12 WHEN t.name = 'datetimeoffset' THEN 20
              ELSE c.max_length END AS int) AS LENGTH,
    CASE WHEN t.name IN ('tinyint', 'smallint', 'int', 'bigint', 'decimal', 'numeric', 'money', 'smallmoney', 'time',
                         'datetime', 'datetime2', 'datetimeoffset')
         THEN CAST(c.scale AS smallint) END AS SCALE,
    CASE WHEN t.name IN ('tinyint', 'smallint', 'int', 'bigint', 'decimal', 'numeric', 'money', 'smallmoney')
         THEN CAST(10 AS smallint) WHEN t.name IN ('float', 'real') THEN CAST(2 AS smallint) END AS RADIX,
    CAST(CASE WHEN c.is_nullable = 1 THEN 1 ELSE 0 END AS smallint) AS NULLABLE,
    CAST(NULL AS varchar(254)) AS REMARKS,
    CAST(d.definition AS nvarchar(4000)) AS COLUMN_DEF,
    CAST(CASE WHEN t.name IN ('date', 'datetime', 'datetime2', 'smalldatetime') THEN 9
              ELSE {_ODBC_TYPE} END AS smallint) AS SQL_DATA_TYPE,
    CASE WHEN t.name = 'date' THEN CAST(1 AS smallint)
         WHEN t.name IN ('datetime', 'datetime2', 'smalldatetime') THEN CAST(3 AS smallint) END AS SQL_DATETIME_SUB,
    CASE WHEN t.name IN ('char', 'varchar', 'nchar', 'nvarchar', 'binary', 'varbinary')
         THEN CAST(CASE WHEN c.max_length = -1 THEN 0 ELSE c.max_length END AS int) END AS CHAR_OCTET_LENGTH,
    CAST(c.column_id AS int) AS ORDINAL_POSITION,
    CAST(CASE WHEN c.is_nullable = 1 THEN 'YES' ELSE 'NO' END AS varchar(254)) AS IS_NULLABLE,
    CAST(0 AS smallint) AS SS_IS_SPARSE, CAST(0 AS smallint) AS SS_IS_COLUMN_SET,
    CAST(CASE WHEN c.is_computed = 1 THEN 1 ELSE 0 END AS smallint) AS SS_IS_COMPUTED,
    CAST(CASE WHEN c.is_identity = 1 THEN 1 ELSE 0 END AS smallint) AS SS_IS_IDENTITY,
    CAST(NULL AS nvarchar(128)) AS SS_UDT_CATALOG_NAME, CAST(NULL AS nvarchar(128)) AS SS_UDT_SCHEMA_NAME,
    CAST(NULL AS nvarchar(128)) AS SS_UDT_ASSEMBLY_TYPE_NAME,
    CAST(NULL AS nvarchar(128)) AS SS_XML_SCHEMACOLLECTION_CATALOG_NAME,
    CAST(NULL AS nvarchar(128)) AS SS_XML_SCHEMACOLLECTION_SCHEMA_NAME,
    CAST(NULL AS nvarchar(128)) AS SS_XML_SCHEMACOLLECTION_NAME,
    CAST(CASE t.name WHEN 'int' THEN CASE WHEN c.is_nullable = 1 THEN 38 ELSE 56 END
        WHEN 'varchar' THEN 39 WHEN 'nvarchar' THEN 39 WHEN 'bit' THEN 50 WHEN 'float' THEN 109
        WHEN 'datetime' THEN 111 ELSE 0 END AS tinyint) AS SS_DATA_TYPE
FROM sys.columns AS c
JOIN sys.objects AS o ON o.object_id = c.object_id
JOIN sys.schemas AS s ON s.schema_id = o.schema_id
JOIN sys.types AS t ON t.user_type_id = c.user_type_id
LEFT JOIN sys.default_constraints AS d ON d.object_id = c.default_object_id
WHERE o.name LIKE COALESCE(@table_name, N'%') AND s.name LIKE COALESCE(@table_owner, N'%')
    AND c.name LIKE COALESCE(@column_name, N'%')
ORDER BY s.name, o.name, c.column_id"""

_TABLES = """
SELECT DB_NAME() AS TABLE_QUALIFIER, s.name AS TABLE_OWNER, o.name AS TABLE_NAME,
    CAST(CASE WHEN o.type = 'U' THEN 'TABLE' ELSE 'VIEW' END AS varchar(32)) AS TABLE_TYPE,
    CAST(NULL AS varchar(254)) AS REMARKS
FROM sys.objects AS o
JOIN sys.schemas AS s ON s.schema_id = o.schema_id
WHERE o.type IN ('U', 'V') AND o.name LIKE COALESCE(@table_name, N'%') AND s.name LIKE COALESCE(@table_owner, N'%')
    AND (@table_type IS NULL
         OR CHARINDEX(CASE WHEN o.type = 'U' THEN N'''TABLE''' ELSE N'''VIEW''' END, @table_type) > 0)
ORDER BY TABLE_TYPE, TABLE_OWNER, TABLE_NAME"""

_PRIMARY_KEYS = """
SELECT DB_NAME() AS TABLE_QUALIFIER, s.name AS TABLE_OWNER, o.name AS TABLE_NAME, c.name AS COLUMN_NAME,
    CAST(ic.key_ordinal AS smallint) AS KEY_SEQ, i.name AS PK_NAME
FROM sys.indexes AS i
JOIN sys.index_columns AS ic ON ic.object_id = i.object_id AND ic.index_id = i.index_id AND ic.key_ordinal > 0
JOIN sys.columns AS c ON c.object_id = ic.object_id AND c.column_id = ic.column_id
JOIN sys.objects AS o ON o.object_id = i.object_id
JOIN sys.schemas AS s ON s.schema_id = o.schema_id
WHERE i.is_primary_key = 1 AND o.name = @table_name AND s.name = COALESCE(@table_owner, s.name)
ORDER BY ic.key_ordinal"""

_FOREIGN_KEYS = """
SELECT DB_NAME() AS PKTABLE_QUALIFIER, OBJECT_SCHEMA_NAME(f.referenced_object_id) AS PKTABLE_OWNER,
    OBJECT_NAME(f.referenced_object_id) AS PKTABLE_NAME, rc.name AS PKCOLUMN_NAME,
    DB_NAME() AS FKTABLE_QUALIFIER, OBJECT_SCHEMA_NAME(f.parent_object_id) AS FKTABLE_OWNER,
    OBJECT_NAME(f.parent_object_id) AS FKTABLE_NAME, pc.name AS FKCOLUMN_NAME,
    CAST(fc.constraint_column_id AS smallint) AS KEY_SEQ,
    CAST(CASE f.update_referential_action WHEN 0 THEN 1 WHEN 1 THEN 0
              ELSE f.update_referential_action END AS smallint) AS UPDATE_RULE,
    CAST(CASE f.delete_referential_action WHEN 0 THEN 1 WHEN 1 THEN 0
              ELSE f.delete_referential_action END AS smallint) AS DELETE_RULE,
    f.name AS FK_NAME, i.name AS PK_NAME, CAST(7 AS smallint) AS DEFERRABILITY
FROM sys.foreign_keys AS f
JOIN sys.foreign_key_columns AS fc ON fc.constraint_object_id = f.object_id
JOIN sys.columns AS pc ON pc.object_id = fc.parent_object_id AND pc.column_id = fc.parent_column_id
JOIN sys.columns AS rc ON rc.object_id = fc.referenced_object_id AND rc.column_id = fc.referenced_column_id
LEFT JOIN sys.indexes AS i ON i.object_id = f.referenced_object_id AND i.index_id = f.key_index_id
WHERE OBJECT_NAME(f.referenced_object_id) = COALESCE(@pktable_name, OBJECT_NAME(f.referenced_object_id))
    AND OBJECT_NAME(f.parent_object_id) = COALESCE(@fktable_name, OBJECT_NAME(f.parent_object_id))
ORDER BY FKTABLE_OWNER, FKTABLE_NAME, KEY_SEQ"""

_STATISTICS = """
SELECT DB_NAME() AS TABLE_QUALIFIER, s.name AS TABLE_OWNER, o.name AS TABLE_NAME,
    CAST(CASE WHEN i.is_unique = 1 THEN 0 ELSE 1 END AS smallint) AS NON_UNIQUE, o.name AS INDEX_QUALIFIER,
    i.name AS INDEX_NAME, CAST(CASE WHEN i.type = 1 THEN 1 ELSE 3 END AS smallint) AS TYPE,
    CAST(ic.key_ordinal AS smallint) AS SEQ_IN_INDEX,
    c.name AS COLUMN_NAME, CAST(CASE WHEN ic.is_descending_key = 1 THEN 'D' ELSE 'A' END AS char(1)) AS COLLATION,
    CAST(NULL AS int) AS CARDINALITY, CAST(NULL AS int) AS PAGES,
    CAST(i.filter_definition AS varchar(128)) AS FILTER_CONDITION
FROM sys.indexes AS i
JOIN sys.index_columns AS ic ON ic.object_id = i.object_id AND ic.index_id = i.index_id AND ic.key_ordinal > 0
JOIN sys.columns AS c ON c.object_id = ic.object_id AND c.column_id = ic.column_id
JOIN sys.objects AS o ON o.object_id = i.object_id
JOIN sys.schemas AS s ON s.schema_id = o.schema_id
WHERE o.name = @table_name AND s.name = COALESCE(@table_owner, s.name)
    AND (COALESCE(@is_unique, N'N') <> N'Y' OR i.is_unique = 1)
ORDER BY NON_UNIQUE, TYPE, INDEX_NAME, SEQ_IN_INDEX"""


@dataclass(frozen=True, slots=True)
class CatalogProcedure:
    """A query, and the procedure's arguments in order; the query reads some of them as variables."""

    sql: str
    arguments: tuple[str, ...]

    @property
    def variables(self) -> dict[str, SqlType]:
        """The types of the query's variables."""
        return {f"@{name}": _NAME for name in self.arguments}


_COLUMNS_PROCEDURE = CatalogProcedure(
    _COLUMNS.replace("PRECISION_", "[PRECISION]"),
    ("table_name", "table_owner", "table_qualifier", "column_name", "odbcver", "fusepattern", "namescope"),
)
_STATISTICS_PROCEDURE = CatalogProcedure(
    _STATISTICS,
    ("table_name", "table_owner", "table_qualifier", "index_name", "is_unique", "accuracy", "odbcver"),
)

PROCEDURES: dict[str, CatalogProcedure] = {
    "sp_columns": _COLUMNS_PROCEDURE,
    "sp_columns_90": _COLUMNS_PROCEDURE,
    "sp_columns_100": _COLUMNS_PROCEDURE,
    "sp_tables": CatalogProcedure(
        _TABLES, ("table_name", "table_owner", "table_qualifier", "table_type", "fusepattern")
    ),
    "sp_pkeys": CatalogProcedure(_PRIMARY_KEYS, ("table_name", "table_owner", "table_qualifier")),
    "sp_fkeys": CatalogProcedure(
        _FOREIGN_KEYS,
        (
            "pktable_name",
            "pktable_owner",
            "pktable_qualifier",
            "fktable_name",
            "fktable_owner",
            "fktable_qualifier",
        ),
    ),
    "sp_statistics": _STATISTICS_PROCEDURE,
    "sp_statistics_100": _STATISTICS_PROCEDURE,
}
