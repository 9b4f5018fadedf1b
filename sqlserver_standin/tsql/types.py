"""SQL Server's type rules: families, precedence, result types; and the PostgreSQL type that stands for each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from sqlserver_standin.events import SqlError
from sqlserver_standin.types import MAX, SqlType

INT = SqlType("int")
BIGINT = SqlType("bigint")
SMALLINT = SqlType("smallint")
TINYINT = SqlType("tinyint")
BIT = SqlType("bit")
FLOAT = SqlType("float", precision=53)
DATE = SqlType("date")
DATETIME = SqlType("datetime")
DATETIME2 = SqlType("datetime2", scale=7)
DATETIMEOFFSET = SqlType("datetimeoffset", scale=7)
TIME = SqlType("time", scale=7)
UNIQUEIDENTIFIER = SqlType("uniqueidentifier")
NVARCHAR_MAX = SqlType("nvarchar", length=MAX)
SYSNAME = SqlType("nvarchar", length=128)
JSON = SqlType("json")

# https://learn.microsoft.com/sql/t-sql/data-types/data-type-precedence-transact-sql, highest first
_PRECEDENCE = (
    "json sql_variant xml datetimeoffset datetime2 datetime smalldatetime date time float real decimal numeric money "
    "smallmoney bigint int smallint tinyint bit ntext text image timestamp uniqueidentifier nvarchar nchar varchar "
    "char varbinary binary"
).split()
_RANK = {name: -position for position, name in enumerate(_PRECEDENCE)} | {"numeric": -11}

_FAMILIES = {
    "string": "char varchar nchar nvarchar text ntext",
    "integer": "tinyint smallint int bigint",
    "bit": "bit",
    "decimal": "decimal numeric",
    "money": "money smallmoney",
    "float": "float real",
    "date": "date",
    "time": "time",
    "datetime": "datetime smalldatetime datetime2",
    "datetimeoffset": "datetimeoffset",
    "uuid": "uniqueidentifier",
    "binary": "binary varbinary image timestamp",
    "xml": "xml",
    "variant": "sql_variant",
    "json": "json",
}
_FAMILY = {name: family for family, names in _FAMILIES.items() for name in names.split()}
_NUMBERS = frozenset(("integer", "bit", "decimal", "money", "float"))
_DATES = frozenset(("date", "time", "datetime", "datetimeoffset"))
_INTEGER_DIGITS = {"bit": 1, "tinyint": 3, "smallint": 5, "int": 10, "bigint": 19}
INTEGER_RANGE = {
    "tinyint": (0, 255),
    "smallint": (-(2**15), 2**15 - 1),
    "int": (-(2**31), 2**31 - 1),
    "bigint": (-(2**63), 2**63 - 1),
}

_PG_TYPES = {
    "bit": "bool",
    "tinyint": "int2",
    "smallint": "int2",
    "int": "int4",
    "bigint": "int8",
    "money": "numeric(19,4)",
    "smallmoney": "numeric(10,4)",
    "float": "float8",
    "real": "float4",
    "date": "date",
    "datetime": "timestamp(3)",
    "smalldatetime": "timestamp(0)",
    "datetimeoffset": "sys.datetimeoffset",
    "uniqueidentifier": "uuid",
    "binary": "bytea",
    "varbinary": "bytea",
    "image": "bytea",
    "timestamp": "bytea",
    "xml": "text",
    "sql_variant": "text",
    "json": "text",
}
_COLLATION = re.compile(
    r"^(?:SQL_)?[A-Za-z0-9_]+?_(?:(?P<bin>BIN2?)(?:_UTF8)?|(?P<case>C[IS])_(?P<accent>A[IS])(?:_\w+)?)$", re.I
)


def family(data_type: SqlType) -> str:
    """The family that conversions are defined on: string, integer, bit, decimal, money, float, date …"""
    return _FAMILY[data_type.name]


def is_string(data_type: SqlType) -> bool:
    return _FAMILY[data_type.name] == "string"


def is_number(data_type: SqlType) -> bool:
    return _FAMILY[data_type.name] in _NUMBERS


def is_date(data_type: SqlType) -> bool:
    return _FAMILY[data_type.name] in _DATES


def is_unicode(data_type: SqlType) -> bool:
    return data_type.name in ("nchar", "nvarchar", "ntext")


def encoding(data_type: SqlType) -> str:
    """How a string type's characters stand in bytes: utf16, utf8 (collations …_UTF8) or latin1."""
    if is_unicode(data_type):
        return "utf16"
    return "utf8" if (data_type.collation or "").upper().endswith("_UTF8") else "latin1"


@lru_cache(maxsize=256)
def text_type(collation: str | None) -> str:
    """The PostgreSQL text type that compares as ``collation`` does (None: the database default)."""
    if collation is None or collation.lower() == "database_default":
        return "sys.text_ci"
    match = _COLLATION.match(collation)
    if match is None:
        raise SqlError(448, f"Invalid collation '{collation}'.")
    if match["bin"]:
        return "sys.text_bin"
    name = "sys.text_" + match["case"].lower()
    return name + "_ai" if match["accent"].lower() == "ai" else name


_SORTED_APART = ("finnish_swedish", "danish_norwegian", "modern_spanish", "german_phonebook")


@lru_cache(maxsize=256)
def sort_language(collation: str | None) -> str | None:
    """The language for ``sys.spelled_in()`` whose letters ``collation`` sorts otherwise than Latin1_General does."""
    lowered = (collation or "").lower()
    if text_type(collation) == "sys.text_bin":
        return None
    return next((each for each in _SORTED_APART if lowered.startswith(each)), None)


@lru_cache(maxsize=1024)
def pg_type(data_type: SqlType) -> str:
    """The PostgreSQL type that holds ``data_type``; lengths are checked on assignment, not by the type."""
    name = data_type.name
    if _FAMILY.get(name) == "string":
        return text_type(data_type.collation)
    if name in ("decimal", "numeric"):
        return f"numeric({data_type.precision or 18},{data_type.scale or 0})"
    if name == "datetime2":
        return f"timestamp({min(_scale(data_type), 6)})"
    if name == "time":
        return f"time({min(_scale(data_type), 6)})"
    return _PG_TYPES[name]


def base_pg_type(data_type: SqlType) -> str:
    """`pg_type` without precision: casting to it changes no value."""
    return pg_type(data_type).partition("(")[0]


def _scale(data_type: SqlType) -> int:
    return 7 if data_type.scale is None else data_type.scale


def with_default_length(data_type: SqlType, length: int) -> SqlType:
    """``data_type`` with the length that an omitted one means: 30 in CAST and CONVERT, 1 in declarations."""
    if data_type.length is None and data_type.name in (
        "char",
        "varchar",
        "nchar",
        "nvarchar",
        "binary",
        "varbinary",
    ):
        return SqlType(data_type.name, length=length, collation=data_type.collation)
    return data_type


def string_type(length: int, *, unicode: bool, collation: str | None = None) -> SqlType:
    """varchar or nvarchar of ``length``, (max) beyond the limit."""
    limit = 4000 if unicode else 8000
    if length == MAX or length > limit:
        length = MAX
    return SqlType(
        "nvarchar" if unicode else "varchar",
        length=max(length, 1) if length != MAX else MAX,
        collation=collation,
    )


def display_length(data_type: SqlType) -> int:
    """How many characters a value of this type takes as a string; MAX when unbounded."""
    match family(data_type):
        case "string" | "binary":
            if data_type.name in ("text", "ntext", "image"):
                return MAX
            return MAX if data_type.length is None else data_type.length
        case "integer":
            return {"tinyint": 3, "smallint": 6, "int": 11, "bigint": 20}[data_type.name]
        case "bit":
            return 1
        case "decimal":
            return (data_type.precision or 18) + 2
        case "money":
            return 21
        case "float":
            return 23
        case "date":
            return 10
        case "time":
            return 16
        case "datetime":
            return 27
        case "datetimeoffset":
            return 34
        case "uuid":
            return 36
        case _:
            return MAX


def as_decimal(data_type: SqlType, digits: int | None = None) -> SqlType:
    """An exact number type as decimal; ``digits`` when the value is an integer literal."""
    name = data_type.name
    if name in ("decimal", "numeric"):
        return data_type
    if name == "money":
        return SqlType("decimal", precision=19, scale=4)
    if name == "smallmoney":
        return SqlType("decimal", precision=10, scale=4)
    return SqlType("decimal", precision=digits or _INTEGER_DIGITS[name], scale=0)


def decimal_result(operator: str, left: SqlType, right: SqlType) -> SqlType:
    """https://learn.microsoft.com/sql/t-sql/data-types/precision-scale-and-length-transact-sql"""
    p1, s1 = left.precision or 18, left.scale or 0
    p2, s2 = right.precision or 18, right.scale or 0
    if operator in ("+", "-"):
        integral = max(p1 - s1, p2 - s2)
        scale = max(s1, s2)
        precision = integral + scale + 1
        if precision > 38:
            scale = max(min(scale, 38 - integral), 0)
            precision = 38
        return SqlType("decimal", precision=precision, scale=scale)
    if operator == "%":
        scale = max(s1, s2)
        return SqlType("decimal", precision=min(min(p1 - s1, p2 - s2) + scale, 38) or 1, scale=scale)
    if operator == "*":
        precision, scale = p1 + p2 + 1, s1 + s2
    else:
        scale = max(6, s1 + p2 + 1)
        precision = p1 - s1 + s2 + scale
    if precision > 38:
        integral = precision - scale
        if integral < 32:
            scale = min(scale, 38 - integral)
        elif scale > 6:
            scale = 6
        precision = 38
    return SqlType("decimal", precision=precision, scale=scale)


def combine(types: Iterable[SqlType]) -> SqlType:
    """The type of CASE, COALESCE, UNION … over ``types``: the highest by precedence, wide enough for all."""
    result: SqlType | None = None
    for data_type in types:
        result = data_type if result is None else _wider(result, data_type)
    assert result is not None
    return result


def _wider(left: SqlType, right: SqlType) -> SqlType:
    if left == right:
        return left
    high, low = (left, right) if _RANK[left.name] >= _RANK[right.name] else (right, left)
    kind, other = family(high), family(low)
    if kind == "string":
        if high.name in ("text", "ntext"):
            return high
        lengths = (display_length(high), display_length(low))
        length = MAX if MAX in lengths else max(lengths)
        name = high.name
        collation = high.collation or low.collation if is_string(low) else high.collation
        fixed = name in ("char", "nchar") and low.name in ("char", "nchar")
        if not fixed:
            name = "nvarchar" if name in ("nchar", "nvarchar") else "varchar"
        return SqlType(name, length=length, collation=collation)
    if kind == "binary" and other == "binary":
        lengths = (display_length(high), display_length(low))
        return SqlType("varbinary", length=MAX if MAX in lengths else max(lengths))
    if kind == "decimal" and other in ("decimal", "integer", "bit", "money"):
        other_type = as_decimal(low)
        scale = max(high.scale or 0, other_type.scale or 0)
        integral = max(
            (high.precision or 18) - (high.scale or 0), (other_type.precision or 18) - (other_type.scale or 0)
        )
        if integral + scale > 38:
            scale = max(38 - integral, 0)
        return SqlType(high.name, precision=min(integral + scale, 38), scale=scale)
    if high.name in ("datetime2", "time", "datetimeoffset"):
        low_scale = {"datetime": 3, "smalldatetime": 0, "date": 0}.get(low.name, low.scale)
        if is_string(low):
            low_scale = 7
        return SqlType(high.name, scale=max(_scale(high), low_scale if low_scale is not None else 0))
    return high


def precedence(data_type: SqlType) -> int:
    return _RANK[data_type.name]


def describe(data_type: SqlType) -> str:
    """The type's name as error messages spell it."""
    return {"decimal": "numeric"}.get(data_type.name, data_type.name)
