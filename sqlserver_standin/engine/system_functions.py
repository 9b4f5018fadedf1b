"""The types of the session's values (@@ROWCOUNT, DB_NAME() …) and of the metadata functions that PostgreSQL runs."""

from __future__ import annotations

from sqlserver_standin.engine.catalog import Function, TableColumn
from sqlserver_standin.types import DEFAULT_COLLATION, MAX, SqlType

INT = SqlType("int")
SMALLINT = SqlType("smallint")
BIGINT = SqlType("bigint")
TINYINT = SqlType("tinyint")
BIT = SqlType("bit")
SYSNAME = SqlType("nvarchar", length=128, collation=DEFAULT_COLLATION)
TEXT = SqlType("nvarchar", length=4000, collation=DEFAULT_COLLATION)
LONG_TEXT = SqlType("nvarchar", length=MAX, collation=DEFAULT_COLLATION)
# sql_variant of the documentation: the stand-in answers its base type's text.
VARIANT = SqlType("sql_variant")
IDENTITY_VALUE = SqlType("numeric", precision=38, scale=0)
BINARY_128 = SqlType("varbinary", length=128)

SYSTEM_VALUES: dict[str, SqlType] = {
    "@@rowcount": INT,
    "@@trancount": INT,
    "@@spid": SMALLINT,
    "@@identity": IDENTITY_VALUE,
    "@@error": INT,
    "@@version": SqlType("nvarchar", length=300, collation=DEFAULT_COLLATION),
    "@@servername": SYSNAME,
    "@@servicename": SYSNAME,
    "@@language": SYSNAME,
    "@@langid": SMALLINT,
    "@@datefirst": TINYINT,
    "@@lock_timeout": INT,
    "@@options": INT,
    "@@nestlevel": INT,
    "@@procid": INT,
    "@@max_precision": TINYINT,
    "@@microsoftversion": INT,
    "@@textsize": INT,
    "@@max_connections": INT,
    "@@fetch_status": INT,
    "@@cursor_rows": INT,
    "scope_identity()": IDENTITY_VALUE,
    "rowcount_big()": BIGINT,
    "db_name()": SYSNAME,
    "original_db_name()": SYSNAME,
    "db_id()": SMALLINT,
    "schema_name()": SYSNAME,
    "schema_id()": INT,
    "user_name()": SYSNAME,
    "user_id()": INT,
    "suser_sname()": SYSNAME,
    "suser_name()": SYSNAME,
    "suser_id()": INT,
    "current_user": SYSNAME,
    "session_user": SYSNAME,
    "system_user": SYSNAME,
    "user": SYSNAME,
    "current_user()": SYSNAME,
    "session_user()": SYSNAME,
    "system_user()": SYSNAME,
    "user()": SYSNAME,
    "original_login()": SYSNAME,
    "app_name()": SYSNAME,
    "host_name()": SYSNAME,
    "host_id()": SqlType("char", length=10, collation=DEFAULT_COLLATION),
    "xact_state()": SMALLINT,
    "error_message()": TEXT,
    "error_number()": INT,
    "error_severity()": INT,
    "error_state()": INT,
    "error_line()": INT,
    "error_procedure()": SYSNAME,
    "context_info()": BINARY_128,
    "current_transaction_id()": BIGINT,
    "database_principal_id()": INT,
    "getansinull()": INT,
}


def _function(
    name: str, result: SqlType, *arguments: SqlType | None, required: int | None = None
) -> tuple[str, Function]:
    return name, Function(f"sys.{name}", arguments, result, required=required)


SYSTEM_FUNCTIONS: dict[str, Function] = dict(
    (
        _function("object_id", INT, TEXT, SYSNAME, required=1),
        _function("object_name", SYSNAME, INT, INT, required=1),
        _function("object_schema_name", SYSNAME, INT, INT, required=1),
        _function("object_definition", LONG_TEXT, INT),
        _function("schema_id", INT, SYSNAME),
        _function("schema_name", SYSNAME, INT),
        _function("type_id", INT, SYSNAME),
        _function("type_name", SYSNAME, INT),
        _function("col_name", SYSNAME, INT, INT),
        _function("col_length", SMALLINT, TEXT, SYSNAME),
        _function("columnproperty", INT, INT, SYSNAME, SYSNAME),
        _function("objectproperty", INT, INT, SYSNAME),
        _function("objectpropertyex", INT, INT, SYSNAME),
        _function("indexproperty", INT, INT, SYSNAME, SYSNAME),
        _function("index_col", SYSNAME, TEXT, INT, INT),
        _function("serverproperty", VARIANT, SYSNAME),
        _function("databasepropertyex", VARIANT, SYSNAME, SYSNAME),
        _function("db_id", SMALLINT, SYSNAME),
        _function("db_name", SYSNAME, INT),
        _function("has_perms_by_name", INT, TEXT, SYSNAME, SYSNAME, SYSNAME, SYSNAME, required=3),
        _function("has_dbaccess", INT, SYSNAME),
        _function("ident_current", IDENTITY_VALUE, TEXT),
        _function("ident_seed", IDENTITY_VALUE, TEXT),
        _function("ident_incr", IDENTITY_VALUE, TEXT),
        _function("session_context", VARIANT, SYSNAME),
        _function("user_name", SYSNAME, INT),
        _function("user_id", INT, SYSNAME),
        _function("suser_name", SYSNAME, INT),
        _function("suser_sname", SYSNAME, BINARY_128),
        _function("suser_id", INT, SYSNAME),
        _function("is_member", INT, SYSNAME),
        _function("is_srvrolemember", INT, SYSNAME, SYSNAME, required=1),
        _function("is_rolemember", INT, SYSNAME, SYSNAME, required=1),
        _function("database_principal_id", INT, SYSNAME),
        _function("collationproperty", VARIANT, SYSNAME, SYSNAME),
        _function("connectionproperty", VARIANT, SYSNAME),
        _function("sessionproperty", VARIANT, SYSNAME),
        _function("fulltextserviceproperty", INT, SYSNAME),
    )
)


def _columns(*columns: tuple[str, SqlType]) -> tuple[TableColumn, ...]:
    return tuple(TableColumn(name, data_type, f'"{name}"') for name, data_type in columns)


TABLE_FUNCTIONS: dict[str, Function] = {
    "fn_helpcollations": Function(
        "sys.fn_helpcollations",
        (),
        SYSNAME,
        _columns(
            ("name", SYSNAME), ("description", SqlType("nvarchar", length=1000, collation=DEFAULT_COLLATION))
        ),
    ),
    "fn_listextendedproperty": Function(
        "sys.fn_listextendedproperty",
        (SYSNAME,) * 7,
        SYSNAME,
        _columns(("objtype", SYSNAME), ("objname", SYSNAME), ("name", SYSNAME), ("value", VARIANT)),
    ),
    "fn_xe_file_target_read_file": Function(
        "sys.fn_xe_file_target_read_file",
        (TEXT, TEXT, TEXT, BIGINT),
        SYSNAME,
        _columns(
            ("module_guid", SqlType("uniqueidentifier")),
            ("package_guid", SqlType("uniqueidentifier")),
            ("object_name", SYSNAME),
            ("event_data", LONG_TEXT),
            ("file_name", SYSNAME),
            ("file_offset", BIGINT),
            ("timestamp_utc", SqlType("datetime2", scale=7)),
        ),
    ),
    "dm_exec_sql_text": Function(
        "sys.dm_exec_sql_text",
        (BINARY_128,),
        SYSNAME,
        _columns(
            ("dbid", SMALLINT),
            ("objectid", INT),
            ("number", SMALLINT),
            ("encrypted", BIT),
            ("text", LONG_TEXT),
        ),
    ),
    "dm_exec_input_buffer": Function(
        "sys.dm_exec_input_buffer",
        (SMALLINT, INT),
        SYSNAME,
        _columns(("event_type", SYSNAME), ("parameters", SMALLINT), ("event_info", LONG_TEXT)),
    ),
    "dm_exec_query_plan": Function(
        "sys.dm_exec_query_plan",
        (BINARY_128,),
        SYSNAME,
        _columns(
            ("dbid", SMALLINT),
            ("objectid", INT),
            ("number", SMALLINT),
            ("encrypted", BIT),
            ("query_plan", SqlType("xml")),
        ),
    ),
    "dm_exec_query_plan_stats": Function(
        "sys.dm_exec_query_plan_stats",
        (BINARY_128,),
        SYSNAME,
        _columns(
            ("dbid", SMALLINT),
            ("objectid", INT),
            ("number", SMALLINT),
            ("encrypted", BIT),
            ("query_plan", SqlType("xml")),
        ),
    ),
    "dm_exec_text_query_plan": Function(
        "sys.dm_exec_text_query_plan",
        (BINARY_128, INT, INT),
        SYSNAME,
        _columns(
            ("dbid", SMALLINT),
            ("objectid", INT),
            ("number", SMALLINT),
            ("encrypted", BIT),
            ("query_plan", LONG_TEXT),
        ),
    ),
}
