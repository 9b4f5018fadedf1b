"""sp_datatype_info_100: the data types as ODBC's SQLGetTypeInfo shows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlserver_standin.events import Column, Done, Event, ResultSet, ReturnStatus
from sqlserver_standin.types import SqlType

PROCEDURES = frozenset({"sp_datatype_info", "sp_datatype_info_90", "sp_datatype_info_100"})

_SYSNAME = SqlType("nvarchar", length=128)
_SMALLINT = SqlType("smallint")
_INT = SqlType("int")
_AFFIX = SqlType("varchar", length=32)

# https://learn.microsoft.com/sql/relational-databases/system-stored-procedures/sp-datatype-info-transact-sql
_COLUMNS = (
    Column("TYPE_NAME", _SYSNAME, nullable=False),
    Column("DATA_TYPE", _SMALLINT),
    Column("PRECISION", _INT),
    Column("LITERAL_PREFIX", _AFFIX),
    Column("LITERAL_SUFFIX", _AFFIX),
    Column("CREATE_PARAMS", _AFFIX),
    Column("NULLABLE", _SMALLINT),
    Column("CASE_SENSITIVE", _SMALLINT),
    Column("SEARCHABLE", _SMALLINT),
    Column("UNSIGNED_ATTRIBUTE", _SMALLINT),
    Column("MONEY", _SMALLINT),
    Column("AUTO_INCREMENT", _SMALLINT),
    Column("LOCAL_TYPE_NAME", _SYSNAME, nullable=False),
    Column("MINIMUM_SCALE", _SMALLINT),
    Column("MAXIMUM_SCALE", _SMALLINT),
    Column("SQL_DATA_TYPE", _SMALLINT),
    Column("SQL_DATETIME_SUB", _SMALLINT),
    Column("NUM_PREC_RADIX", _INT),
    Column("INTERVAL_PRECISION", _SMALLINT),
    Column("USERTYPE", _SMALLINT, nullable=False),
)

_NOT, _LIKE_ONLY, _ALL_BUT_LIKE, _ALL = (
    0,
    1,
    2,
    3,
)  # SEARCHABLE: ODBC's SQL_PRED_NONE, _CHAR, _BASIC, SQL_SEARCHABLE


def _row(
    name: str,
    odbc_type: int,
    precision: int,
    *,
    prefix: str | None = None,
    suffix: str | None = None,
    parameters: str | None = None,
    nullable: int = 1,
    case_sensitive: int = 0,
    searchable: int = _ALL_BUT_LIKE,
    unsigned: int | None = None,
    money: int = 0,
    identity: int | None = None,
    scale: tuple[int, int] | None = None,
    sql_type: int | None = None,
    datetime_sub: int | None = None,
    radix: int | None = None,
    user_type: int = 0,
) -> tuple[Any, ...]:
    low, high = scale if scale is not None else (None, None)
    verbose = odbc_type if sql_type is None else sql_type
    return (
        name, odbc_type, precision, prefix, suffix, parameters, nullable, case_sensitive, searchable,
        unsigned, money, identity, name, low, high, verbose, datetime_sub, radix, None, user_type,
    )  # fmt: skip


def _whole(
    name: str, odbc_type: int, precision: int, user_type: int, *, unsigned: int = 0
) -> list[tuple[Any, ...]]:
    """An integer type and its identity form."""
    return [
        _row(name, odbc_type, precision, unsigned=unsigned, identity=0, scale=(0, 0), radix=10, user_type=user_type),
        _row(
            f"{name} identity", odbc_type, precision, nullable=0, unsigned=unsigned, identity=1, scale=(0, 0),
            radix=10, user_type=user_type,
        ),
    ]  # fmt: skip


def _exact(name: str, odbc_type: int, user_type: int) -> list[tuple[Any, ...]]:
    """decimal or numeric, and its identity form."""
    return [
        _row(
            name, odbc_type, 38, parameters="precision,scale", unsigned=0, identity=0, scale=(0, 38), radix=10,
            user_type=user_type,
        ),
        _row(
            f"{name}() identity", odbc_type, 38, parameters="precision", nullable=0, unsigned=0, identity=1,
            scale=(0, 0), radix=10, user_type=user_type,
        ),
    ]  # fmt: skip


# ODBC 3 type codes; SQL_DATETIME (9) is the verbose code of the types that were timestamps. In ODBC's order: by code,
# and of those with one code what comes closest to it first. pyodbc takes a code's limit from its first row:
# https://learn.microsoft.com/en-us/sql/odbc/reference/syntax/sqlgettypeinfo-function#comments
_ROWS: tuple[tuple[Any, ...], ...] = (
    _row("datetimeoffset", -155, 34, prefix="'", suffix="'", parameters="scale", searchable=_ALL, scale=(0, 7)),
    _row("time", -154, 16, prefix="'", suffix="'", parameters="scale", searchable=_ALL, scale=(0, 7)),
    _row("xml", -152, 0, prefix="N'", suffix="'", case_sensitive=1, searchable=_NOT),
    _row("sql_variant", -150, 8000, case_sensitive=0, identity=0, scale=(0, 0), radix=10, user_type=39),
    _row("uniqueidentifier", -11, 36, prefix="'", suffix="'", user_type=37),
    _row("ntext", -10, 1073741823, prefix="N'", suffix="'", searchable=_LIKE_ONLY),
    _row("nvarchar", -9, 4000, prefix="N'", suffix="'", parameters="max length", searchable=_ALL),
    _row("sysname", -9, 128, prefix="N'", suffix="'", nullable=0, searchable=_ALL, user_type=18),
    _row("nchar", -8, 4000, prefix="N'", suffix="'", parameters="length", searchable=_ALL),
    _row("bit", -7, 1, identity=0, scale=(0, 0), user_type=16),
    *_whole("tinyint", -6, 3, 5, unsigned=1),
    *_whole("bigint", -5, 19, 0),
    _row("image", -4, 2147483647, prefix="0x", searchable=_NOT, user_type=20),
    _row("varbinary", -3, 8000, prefix="0x", parameters="max length", user_type=4),
    _row("binary", -2, 8000, prefix="0x", parameters="length", user_type=3),
    _row("timestamp", -2, 8, prefix="0x", nullable=0, user_type=80),
    _row("text", -1, 2147483647, prefix="'", suffix="'", searchable=_LIKE_ONLY, user_type=19),
    _row("char", 1, 8000, prefix="'", suffix="'", parameters="length", searchable=_ALL, user_type=1),
    *_exact("numeric", 2, 10),
    *_exact("decimal", 3, 24),
    _row("money", 3, 19, prefix="$", unsigned=0, money=1, identity=0, scale=(4, 4), radix=10, user_type=11),
    _row("smallmoney", 3, 10, prefix="$", unsigned=0, money=1, identity=0, scale=(4, 4), radix=10, user_type=21),
    *_whole("int", 4, 10, 7),
    *_whole("smallint", 5, 5, 6),
    _row("float", 6, 53, unsigned=0, identity=0, radix=2, user_type=8),
    _row("real", 7, 24, unsigned=0, identity=0, radix=2, user_type=23),
    _row("varchar", 12, 8000, prefix="'", suffix="'", parameters="max length", searchable=_ALL, user_type=2),
    _row("date", 91, 10, prefix="'", suffix="'", searchable=_ALL, sql_type=9, datetime_sub=1),
    _row(
        "datetime2", 93, 27, prefix="'", suffix="'", parameters="scale", searchable=_ALL, scale=(0, 7), sql_type=9,
        datetime_sub=3,
    ),
    _row(
        "datetime", 93, 23, prefix="'", suffix="'", searchable=_ALL, scale=(3, 3), sql_type=9, datetime_sub=3,
        user_type=12,
    ),
    _row(
        "smalldatetime", 93, 16, prefix="'", suffix="'", searchable=_ALL, scale=(0, 0), sql_type=9, datetime_sub=3,
        user_type=22,
    ),
)  # fmt: skip


def datatype_info(odbc_type: int | None) -> Iterator[Event]:
    """The rows of one ODBC type code, or of all types for 0, as the procedure returns them."""
    rows = [row for row in _ROWS if not odbc_type or row[1] == odbc_type]
    yield ResultSet(_COLUMNS, rows)
    yield Done(len(rows), "select")
    yield ReturnStatus(0)
