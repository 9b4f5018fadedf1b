"""Date and time functions.

https://learn.microsoft.com/sql/t-sql/functions/date-and-time-data-types-and-functions-transact-sql
"""

from __future__ import annotations

from collections.abc import Callable

from sqlserver_standin.events import SqlError
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql import types
from sqlserver_standin.tsql.conversions import convert
from sqlserver_standin.tsql.expressions import FUNCTIONS
from sqlserver_standin.tsql.queries import QueryTranslator
from sqlserver_standin.tsql.types import (
    BIGINT,
    DATE,
    DATETIME,
    DATETIME2,
    DATETIMEOFFSET,
    INT,
    describe,
    family,
    is_number,
    is_string,
    pg_type,
)
from sqlserver_standin.tsql.values import Value, quote, string
from sqlserver_standin.types import SqlType

PARTS = {
    "year": "year yy yyyy",
    "quarter": "quarter qq q",
    "month": "month mm m",
    "dayofyear": "dayofyear dy y",
    "day": "day dd d",
    "week": "week wk ww",
    "weekday": "weekday dw w",
    "hour": "hour hh",
    "minute": "minute mi n",
    "second": "second ss s",
    "millisecond": "millisecond ms",
    "microsecond": "microsecond mcs",
    "nanosecond": "nanosecond ns",
    "tzoffset": "tzoffset tz",
    "iso_week": "iso_week isowk isoww",
}
_PART = {spelling: part for part, spellings in PARTS.items() for spelling in spellings.split()}
_TIME_PARTS = frozenset(("hour", "minute", "second", "millisecond", "microsecond", "nanosecond"))


def date_part(node: ast.Call) -> str:
    """The first argument's date part by its full name."""
    word = node.arguments[0]
    if not isinstance(word, ast.ColumnName) or len(word.parts) > 1:
        raise SqlError(1023, f"Invalid parameter 1 specified for {node.spelling.lower()}.", severity=15)
    part = _PART.get(word.parts[0].lower())
    if part is None:
        raise SqlError(
            155,
            f"'{word.parts[0]}' is not a recognized {node.spelling.lower()} option.",
            severity=15,
        )
    return part


def moment(value: Value, function: str, position: int) -> Value:
    """A date argument: strings become datetime (datetimeoffset inside), numbers count days since 1900."""
    if value.null:
        return convert(value, DATETIME)
    if is_string(value.type):
        return convert(value, DATETIMEOFFSET if value.constant and _has_offset(value) else DATETIME2)
    if is_number(value.type):
        return convert(value, DATETIME)
    if family(value.type) not in ("date", "time", "datetime", "datetimeoffset"):
        raise SqlError(
            8116,
            f"Argument data type {describe(value.type)} is invalid for argument {position} of {function} function.",
        )
    return value


def _has_offset(value: Value) -> bool:
    text = value.text.strip("'")
    return len(text) > 6 and text[-3] == ":" and text[-6] in "+-"


def local(value: Value) -> str:
    """The value's wall clock as PostgreSQL's timestamp."""
    match family(value.type):
        case "datetimeoffset":
            return f"sys.local_time({value.sql})"
        case "time":
            return f"({value.sql} + date '1900-01-01')"
    return f"{value.sql}::timestamp"


def _check_part(part: str, value: Value, function: str) -> None:
    """A date has no hours and a time has no days."""
    kind = family(value.type)
    wrong = (kind == "date" and (part in _TIME_PARTS or part == "tzoffset")) or (
        kind == "time" and part not in _TIME_PARTS
    )
    if wrong:
        raise SqlError(
            9810,
            f"The datepart {part} is not supported by date function {function} for data type {describe(value.type)}.",
        )


def _dateadd(work: QueryTranslator, node: ast.Call) -> Value:
    work.check_arity(node, 3)
    part = date_part(node)
    if part in ("tzoffset", "iso_week"):
        raise SqlError(
            9810, f"The datepart {part} is not supported by date function dateadd for data type datetime."
        )
    given = work.value(node.arguments[1])
    count = convert(given, BIGINT if given.type.name == "bigint" else INT, "explicit")
    original = work.value(node.arguments[2])
    value = moment(original, "dateadd", 3)
    if is_string(original.type) or original.null:
        value = convert(value, DATETIME)
    _check_part(part, value, "dateadd")
    result = value.type
    nullable = given.nullable or original.nullable
    added = f"sys.dateadd({quote(part)},{count.sql}::int8,{local(value)})"
    if family(result) == "datetimeoffset":
        sql = f"sys.with_local_time({value.sql},{added})"
    elif result.name == "datetime":
        sql = f"sys.round_datetime({added})"
    elif result.name == "smalldatetime":
        sql = f"sys.round_smalldatetime({added})"
    else:
        sql = f"{added}::{pg_type(result)}"
        if result.name in ("datetime2", "time"):
            sql = f"{added}::{pg_type(result).partition('(')[0]}"
    return Value(sql, result, nullable)


def _datediff(result: SqlType) -> Callable[[QueryTranslator, ast.Call], Value]:
    """Counts the boundaries crossed, not elapsed units."""

    def translate(work: QueryTranslator, node: ast.Call) -> Value:
        work.check_arity(node, 3)
        part = date_part(node)
        name = node.spelling.lower()
        if part in ("tzoffset",):
            raise SqlError(9806, f"The datepart {part} is not supported by date function {name}.")
        start, end = (
            moment(work.value(argument), name, 2 + i) for i, argument in enumerate(node.arguments[1:])
        )
        if "datetimeoffset" in (family(start.type), family(end.type)):
            one, two = (f"({convert(value, DATETIMEOFFSET).sql}).utc" for value in (start, end))
        else:
            one, two = local(start), local(end)
        sql = f"sys.datediff({quote(part)},{one},{two})"
        if result is INT:
            sql = f"sys.checked_datediff({sql})"
        return Value(sql, result, start.nullable or end.nullable)

    return translate


def _datepart_sql(work: QueryTranslator, part: str, value: Value, function: str) -> str:
    _check_part(part, value, function)
    if part == "tzoffset":
        if family(value.type) != "datetimeoffset":
            raise SqlError(
                9810,
                f"The datepart tzoffset is not supported by date function {function} for data type "
                f"{describe(value.type)}.",
            )
        return f"({value.sql}).minutes::int4"
    return f"sys.datepart({quote(part)},{local(value)})"


def _datepart(work: QueryTranslator, node: ast.Call) -> Value:
    work.check_arity(node, 2)
    part = date_part(node)
    original = work.value(node.arguments[1])
    value = moment(original, "datepart", 2)
    return Value(_datepart_sql(work, part, value, "datepart"), INT, original.nullable)


def _datename(work: QueryTranslator, node: ast.Call) -> Value:
    work.check_arity(node, 2)
    part = date_part(node)
    original = work.value(node.arguments[1])
    value = moment(original, "datename", 2)
    if part in ("month", "weekday"):
        _check_part(part, value, "datename")
        pattern = "TMMonth" if part == "month" else "TMDay"
        sql = f"to_char({local(value)},'{pattern}')"
    elif part == "tzoffset":
        sql = f"sys.offset_text(({value.sql}).minutes)"
    else:
        sql = f"{_datepart_sql(work, part, value, 'datename')}::text"
    return string(sql, SqlType("nvarchar", length=30), nullable=original.nullable)


def _single(part: str) -> Callable[[QueryTranslator, ast.Call], Value]:
    def translate(work: QueryTranslator, node: ast.Call) -> Value:
        (original,) = work.arguments(node, 1)
        value = moment(original, node.spelling.lower(), 1)
        return Value(_datepart_sql(work, part, value, node.spelling.lower()), INT, original.nullable)

    return translate


def _datetrunc(work: QueryTranslator, node: ast.Call) -> Value:
    work.check_arity(node, 2)
    part = date_part(node)
    original = work.value(node.arguments[1])
    value = moment(original, "datetrunc", 2)
    _check_part(part, value, "datetrunc")
    if part in ("weekday", "tzoffset", "nanosecond"):
        raise SqlError(
            9810,
            f"The datepart {part} is not supported by date function datetrunc for data type {describe(value.type)}.",
        )
    cut = f"sys.datetrunc({quote(part)},{local(value)})"
    if family(value.type) == "datetimeoffset":
        return Value(f"sys.with_local_time({value.sql},{cut})", value.type, original.nullable)
    return Value(f"{cut}::{pg_type(value.type)}", value.type, original.nullable)


def _eomonth(work: QueryTranslator, node: ast.Call) -> Value:
    values = work.arguments(node, 1, 2)
    value = convert(moment(values[0], "eomonth", 1), DATE)
    months = convert(values[1], INT).sql if len(values) > 1 else "0"
    return Value(f"sys.eomonth({value.sql},{months})", DATE, True)


FUNCTIONS["DATEADD"] = _dateadd
FUNCTIONS["DATEDIFF"] = _datediff(INT)
FUNCTIONS["DATEDIFF_BIG"] = _datediff(BIGINT)
FUNCTIONS["DATEPART"] = _datepart
FUNCTIONS["DATENAME"] = _datename
FUNCTIONS["DATETRUNC"] = _datetrunc
FUNCTIONS["EOMONTH"] = _eomonth
FUNCTIONS["YEAR"] = _single("year")
FUNCTIONS["MONTH"] = _single("month")
FUNCTIONS["DAY"] = _single("day")


def _now(sql: str, data_type: SqlType) -> Callable[[QueryTranslator, ast.Call], Value]:
    def translate(work: QueryTranslator, node: ast.Call) -> Value:
        work.check_arity(node, 0)
        return Value(sql, data_type, nullable=False)

    return translate


# A statement sees one moment; the stand-in's clock zone is UTC, as Azure SQL's is.
_UTC_NOW = "(statement_timestamp() AT TIME ZONE 'UTC')"
FUNCTIONS["GETDATE"] = _now(f"sys.round_datetime({_UTC_NOW})", DATETIME)
FUNCTIONS["GETUTCDATE"] = FUNCTIONS["CURRENT_TIMESTAMP"] = FUNCTIONS["GETDATE"]
FUNCTIONS["SYSDATETIME"] = _now(_UTC_NOW, DATETIME2)
FUNCTIONS["SYSUTCDATETIME"] = FUNCTIONS["SYSDATETIME"]
FUNCTIONS["SYSDATETIMEOFFSET"] = _now(f"sys.to_offset({_UTC_NOW},0)", DATETIMEOFFSET)


def _from_parts(
    function: str, count: int, result: SqlType, *, precision: bool = False
) -> Callable[[QueryTranslator, ast.Call], Value]:
    def translate(work: QueryTranslator, node: ast.Call) -> Value:
        values = work.arguments(node, count)
        data_type = result
        if precision:
            scale = node.arguments[-1]
            if not isinstance(scale, ast.Constant) or not scale.value.isdigit():
                raise SqlError(
                    10760,
                    "Scale argument is not valid. Valid expressions for data type scale argument are integer "
                    "constants and integer constant expressions.",
                )
            data_type = SqlType(result.name, scale=int(scale.value))
        listed = ",".join(convert(value, INT).sql for value in values)
        return Value(f"sys.{function}({listed})", data_type, any(value.nullable for value in values))

    return translate


FUNCTIONS["DATEFROMPARTS"] = _from_parts("datefromparts", 3, DATE)
FUNCTIONS["DATETIMEFROMPARTS"] = _from_parts("datetimefromparts", 7, DATETIME)
FUNCTIONS["SMALLDATETIMEFROMPARTS"] = _from_parts("smalldatetimefromparts", 5, SqlType("smalldatetime"))
FUNCTIONS["DATETIME2FROMPARTS"] = _from_parts("datetime2fromparts", 8, DATETIME2, precision=True)
FUNCTIONS["TIMEFROMPARTS"] = _from_parts("timefromparts", 5, types.TIME, precision=True)
FUNCTIONS["DATETIMEOFFSETFROMPARTS"] = _from_parts(
    "datetimeoffsetfromparts", 10, DATETIMEOFFSET, precision=True
)


def _offset_minutes(value: Value) -> str:
    if is_string(value.type):
        return f"sys.offset_minutes({value.text})"
    return convert(value, INT).sql


def _switchoffset(work: QueryTranslator, node: ast.Call) -> Value:
    value, offset = work.arguments(node, 2)
    value = convert(value, DATETIMEOFFSET) if family(value.type) != "datetimeoffset" else value
    return Value(f"sys.switch_offset({value.sql},{_offset_minutes(offset)})", value.type, True)


def _todatetimeoffset(work: QueryTranslator, node: ast.Call) -> Value:
    original, offset = work.arguments(node, 2)
    value = moment(original, "todatetimeoffset", 1)
    scale = value.type.scale if value.type.name in ("datetime2", "datetimeoffset") else 3
    result = SqlType("datetimeoffset", scale=7 if scale is None else scale)
    return Value(f"sys.to_offset({local(value)},{_offset_minutes(offset)})", result, True)


FUNCTIONS["SWITCHOFFSET"] = _switchoffset
FUNCTIONS["TODATETIMEOFFSET"] = _todatetimeoffset


def _isdate(work: QueryTranslator, node: ast.Call) -> Value:
    (value,) = work.arguments(node, 1)
    if not is_string(value.type):
        value = convert(value, SqlType("nvarchar", length=100), "explicit")
    return Value(f"sys.isdate({value.text})", INT, nullable=False)


FUNCTIONS["ISDATE"] = _isdate
