"""Conversions between SQL Server types: CAST, CONVERT, implicit ones and assignment to a column.

What is allowed: https://learn.microsoft.com/sql/t-sql/data-types/data-type-conversion-database-engine
"""

from __future__ import annotations

from typing import NoReturn

from sqlserver_standin.events import SqlError
from sqlserver_standin.tsql.parse_tokens import unsupported
from sqlserver_standin.tsql.types import (
    INTEGER_RANGE,
    describe,
    display_length,
    encoding,
    family,
    is_string,
    pg_type,
    text_type,
)
from sqlserver_standin.tsql.values import Value, as_null, quote, retyped, string
from sqlserver_standin.types import MAX, SqlType

_EXACT = frozenset(("integer", "decimal", "money", "float", "bit"))


def convert(value: Value, target: SqlType, mode: str = "implicit", style: str | None = None) -> Value:
    """``value`` as ``target``. ``mode`` is implicit, explicit (CAST) or try (TRY_CAST); ``style`` is SQL."""
    source = value.type
    if value.null:
        return as_null(value, target)
    if source == target and style is None:
        return value
    converter = _CONVERTERS.get(family(target))
    if converter is None:
        raise unsupported(f"conversion to {target.name}")
    return converter(value, target, mode, style)


def refuse(source: SqlType, target: SqlType, mode: str) -> NoReturn:
    """Raise the error of a conversion that SQL Server does not allow."""
    if mode in ("explicit", "try"):
        raise SqlError(
            529,
            f"Explicit conversion from data type {describe(source)} to {describe(target)} is not allowed.",
        )
    if {family(source), family(target)} in (
        {"string", "binary"},
        {"datetime", "decimal"},
        {"datetime", "integer"},
        {"json", "string"},
    ):
        raise SqlError(
            257,
            f"Implicit conversion from data type {describe(source)} to {describe(target)} is not allowed. "
            "Use the CONVERT function to run this query.",
        )
    raise SqlError(206, f"Operand type clash: {describe(source)} is incompatible with {describe(target)}")


def _attempt(mode: str) -> str:
    return "true" if mode == "try" else "false"


def _to_string(value: Value, target: SqlType, mode: str, style: str | None) -> Value:
    source = value.type
    kind = family(source)
    if kind == "string":
        return _resize(value, target, mode)
    if target.name in ("text", "ntext") and kind not in ("xml",):
        refuse(source, target, mode)
    length = display_length(target)
    sql: str
    match kind:
        case "integer":
            sql = f"{value.sql}::text"
            if length != MAX and length < display_length(source):
                sql = f"sys.fit_integer({sql},{length},{quote(source.name)},{quote(target.name)})"
        case "bit":
            sql = f"{value.sql}::int4::text"
        case "decimal":
            sql = f"{value.sql}::{pg_type(source)}::text"
            if length != MAX and length < display_length(source):
                sql = f"sys.fit_number({sql},{length},'numeric',{quote(target.name)})"
        case "money":
            sql = f"sys.money_to_text({value.sql},{style or 0})"
        case "float":
            sql = f"sys.{source.name}_to_text({value.sql},{style or 0})"
        case "date" | "time" | "datetime":
            default = "0" if source.name in ("datetime", "smalldatetime") else "121"
            scale = {"datetime": 3, "smalldatetime": 0, "date": 0}.get(source.name, source.scale)
            scale = 7 if scale is None else scale
            as_timestamp = (
                f"({value.sql} + date '1900-01-01')" if kind == "time" else f"{value.sql}::timestamp"
            )
            sql = f"sys.datetime_to_text({as_timestamp},{style or default},{quote(source.name)},{scale})"
        case "datetimeoffset":
            scale = 7 if source.scale is None else source.scale
            sql = f"sys.datetimeoffset_to_text({value.sql},{style or 121},{scale})"
        case "uuid":
            if length != MAX and length < 36:
                raise SqlError(8170, "Insufficient result space to convert uniqueidentifier value to char.")
            sql = f"upper({value.sql}::text)"
        case "binary":
            sql = f"sys.binary_to_text({value.sql},{style or 0},'{encoding(target)}')"
        case "json" if mode != "implicit":
            sql = value.sql if length == MAX else f"sys.fit_json({value.sql},{length},{_attempt(mode)})"
        case "xml" | "variant":
            sql = value.sql
        case _:
            refuse(source, target, mode)
    return _padded(string(sql, target, nullable=value.nullable), target, fits=display_length(source))


def _padded(value: Value, target: SqlType, fits: int) -> Value:
    """Cut to the target's length where the source may be longer; pad char and nchar."""
    length = display_length(target)
    if length == MAX:
        return value
    sql = value.text
    if fits == MAX or fits > length:
        sql = f'"left"({sql},{length})'
    if target.name in ("char", "nchar"):
        sql = f"rpad({sql},{length})"
    return value if sql == value.text else string(sql, target, nullable=value.nullable)


def _resize(value: Value, target: SqlType, mode: str) -> Value:
    if target.collation is None and value.type.collation is not None:
        target = SqlType(target.name, length=target.length, collation=value.type.collation)
    explicit = value.explicit_collation
    result = _padded(retyped(value, target), target, display_length(value.type))
    result.explicit_collation = explicit
    return result


def _to_integer(value: Value, target: SqlType, mode: str, style: str | None) -> Value:
    source = value.type
    pg = pg_type(target)
    low, high = INTEGER_RANGE[target.name]
    match family(source):
        case "string":
            sql = (
                f"sys.text_to_integer({value.text},{quote(source.name)},{quote(target.name)},{low},{high},"
                f"{_attempt(mode)})::{pg}"
            )
        case "integer":
            inside = INTEGER_RANGE[source.name]
            if low <= inside[0] and inside[1] <= high:
                sql = value.sql if pg_type(source) == pg else f"{value.sql}::{pg}"
            else:
                sql = _in_range(value.sql, target, source, mode)
        case "bit":
            sql = f"{value.sql}::int4" if pg == "int4" else f"{value.sql}::int4::{pg}"
        case "decimal" | "float":
            sql = _in_range(f"trunc({value.sql}::numeric)", target, source, mode)
        case "money":
            sql = _in_range(f"round({value.sql})", target, source, mode)
        case "binary":
            size = {"tinyint": 1, "smallint": 2, "int": 4, "bigint": 8}[target.name]
            sql = f"sys.binary_to_integer({value.sql},{size})::{pg}"
        case "datetime" if source.name != "datetime2" and mode != "implicit":
            sql = f"sys.datetime_to_days({value.sql})::{pg}"
        case "variant":
            sql = f"sys.text_to_integer({value.sql},'sql_variant',{quote(target.name)},{low},{high},false)::{pg}"
        case _:
            refuse(source, target, mode)
    return Value(sql, target, value.nullable or mode == "try", constant=value.constant, digits=value.digits)


def _in_range(sql: str, target: SqlType, source: SqlType, mode: str) -> str:
    low, high = INTEGER_RANGE[target.name]
    return (
        f"sys.checked_integer({sql}::numeric,{low},{high},{quote(describe(source))},{quote(target.name)},"
        f"{_attempt(mode)})::{pg_type(target)}"
    )


def _to_bit(value: Value, target: SqlType, mode: str, style: str | None) -> Value:
    source = value.type
    match family(source):
        case "string":
            sql = f"sys.text_to_bit({value.text},{quote(source.name)},{_attempt(mode)})"
        case "integer" | "decimal" | "money" | "float":
            sql = f"({value.sql} <> 0)"
            if value.constant and value.digits is not None:
                sql = "true" if value.sql.strip("0") else "false"
        case "binary":
            sql = f"(sys.binary_to_integer({value.sql},8) <> 0)"
        case "variant":
            sql = f"sys.text_to_bit({value.sql},'sql_variant',false)"
        case _:
            refuse(source, target, mode)
    return Value(sql, target, value.nullable or mode == "try", constant=value.constant)


def _to_decimal(value: Value, target: SqlType, mode: str, style: str | None) -> Value:
    source = value.type
    pg = pg_type(target)
    precision, scale = target.precision or 18, target.scale or 0
    if family(target) == "money":
        precision, scale = (19, 4) if target.name == "money" else (10, 4)
    match family(source):
        case "string":
            number = (
                f"sys.text_to_money({value.text},{_attempt(mode)})"
                if family(target) == "money"
                else f"sys.text_to_decimal({value.text},{quote(source.name)},{_attempt(mode)})"
            )
        case "integer" | "decimal" | "money":
            number = f"{value.sql}::numeric"
        case "float":
            number = f"sys.{source.name}_to_numeric({value.sql})"
        case "bit":
            number = f"{value.sql}::int4::numeric"
        case "datetime" if source.name != "datetime2" and mode != "implicit":
            number = f"sys.datetime_to_days({value.sql})::numeric"
        case "variant":
            number = f"sys.text_to_decimal({value.sql},'sql_variant',false)"
        case _:
            refuse(source, target, mode)
    fits = False
    if family(source) == "decimal":
        fits = (source.scale or 0) <= scale and (source.precision or 18) - (
            source.scale or 0
        ) <= precision - scale
    elif family(source) in ("integer", "bit"):
        digits = value.digits or {"bit": 1, "tinyint": 3, "smallint": 5, "int": 10, "bigint": 19}[source.name]
        fits = digits <= precision - scale
    if fits:
        sql = number if family(source) == "decimal" else f"{number}::{pg}"
    else:
        names = f"{quote(describe(source))},{quote(describe(target))}"
        sql = f"sys.checked_decimal({number},{precision},{scale},{names},{_attempt(mode)})::{pg}"
    return Value(sql, target, value.nullable or mode == "try", constant=value.constant)


def _to_float(value: Value, target: SqlType, mode: str, style: str | None) -> Value:
    source = value.type
    pg = pg_type(target)
    match family(source):
        case "string":
            sql = (
                f"sys.text_to_float({value.text},{quote(source.name)},{quote(target.name)},{_attempt(mode)})"
            )
            if pg != "float8":
                sql += f"::{pg}"
        case "integer" | "decimal" | "money" | "float":
            sql = f"{value.sql}::{pg}"
        case "bit":
            sql = f"{value.sql}::int4::{pg}"
        case "datetime" if source.name != "datetime2" and mode != "implicit":
            sql = f"sys.datetime_to_days({value.sql})::{pg}"
        case "variant":
            sql = f"sys.text_to_float({value.sql},'sql_variant',{quote(target.name)},false)::{pg}"
        case _:
            refuse(source, target, mode)
    return Value(sql, target, value.nullable or mode == "try", constant=value.constant)


def _to_date(value: Value, target: SqlType, mode: str, style: str | None) -> Value:
    """date, time, datetime2, datetime, smalldatetime."""
    source = value.type
    kind = family(source)
    pg = pg_type(target)
    match kind:
        case "string":
            sql = (
                f"sys.text_to_{_TEXT_READERS[target.name]}({value.text},{style or 0},{quote(source.name)},"
                f"{quote(target.name)},{_attempt(mode)})"
            )
        case "date" | "datetime" | "time" | "datetimeoffset":
            if {kind, target.name} == {"date", "time"}:
                refuse(source, target, mode)
            local = f"sys.local_time({value.sql})" if kind == "datetimeoffset" else value.sql
            if kind == "time" and target.name != "time":
                local = f"({local} + date '1900-01-01')"
            sql = local
        case "integer" | "decimal" | "float" | "money" | "bit" if target.name in (
            "datetime",
            "smalldatetime",
        ):
            number = f"{value.sql}::int4" if kind == "bit" else value.sql
            sql = f"sys.days_to_datetime({number}::float8)"
        case "variant":
            sql = f"sys.text_to_{_TEXT_READERS[target.name]}({value.sql},0,'sql_variant',{quote(target.name)},false)"
        case "binary" if mode != "implicit":
            raise unsupported(f"conversion from {source.name} to {target.name}")
        case _:
            refuse(source, target, mode)
    if target.name == "datetime" and source.name not in ("smalldatetime", "date"):
        sql = f"sys.round_datetime({sql})"
    elif target.name == "smalldatetime":
        sql = f"sys.round_smalldatetime({sql})"
    elif not (kind == "string" and target.name == "date"):
        sql = f"{sql}::{pg}"
    return Value(sql, target, value.nullable or mode == "try", constant=value.constant)


_TEXT_READERS = {
    "date": "date",
    "time": "time",
    "datetime": "timestamp",
    "smalldatetime": "timestamp",
    "datetime2": "timestamp",
}


def _to_datetimeoffset(value: Value, target: SqlType, mode: str, style: str | None) -> Value:
    source = value.type
    kind = family(source)
    scale = min(7 if target.scale is None else target.scale, 6)
    match kind:
        case "string":
            sql = (
                f"sys.text_to_datetimeoffset({value.text},{style or 0},{quote(source.name)},{_attempt(mode)})"
            )
        case "date" | "datetime":
            sql = f"sys.to_offset({value.sql}::timestamp,0)"
        case "time":
            sql = f"sys.to_offset({value.sql} + date '1900-01-01',0)"
        case "datetimeoffset":
            sql = value.sql
        case _:
            refuse(source, target, mode)
    if scale < 6:
        sql = f"sys.round_offset({sql},{scale})"
    return Value(sql, target, value.nullable or mode == "try", constant=value.constant)


def _to_uuid(value: Value, target: SqlType, mode: str, style: str | None) -> Value:
    source = value.type
    match family(source):
        case "string":
            sql = f"sys.text_to_uuid({value.text},{_attempt(mode)})"
        case "binary":
            sql = f"sys.binary_to_uuid({value.sql})"
        case "variant":
            sql = f"sys.text_to_uuid({value.sql},false)"
        case _:
            refuse(source, target, mode)
    return Value(sql, target, value.nullable or mode == "try", constant=value.constant)


def _to_binary(value: Value, target: SqlType, mode: str, style: str | None) -> Value:
    source = value.type
    length = display_length(target)
    match family(source):
        case "string":
            if mode == "implicit":
                refuse(source, target, mode)
            sql = f"sys.text_to_binary({value.text},{style or 0},'{encoding(source)}',{_attempt(mode)})"
        case "integer":
            size = {"tinyint": 1, "smallint": 2, "int": 4, "bigint": 8}[source.name]
            sql = f"sys.integer_to_binary({value.sql}::int8,{size},{length})"
        case "bit":
            sql = f"sys.integer_to_binary({value.sql}::int4::int8,1,{length})"
        case "uuid":
            sql = f"sys.uuid_to_binary({value.sql})"
        case "binary":
            sql = value.sql
            if length != MAX and (display_length(source) == MAX or display_length(source) > length):
                sql = f"substring({sql} from 1 for {length})"
            if target.name == "binary" and length != MAX:
                sql = f"sys.pad_binary({sql},{length})"
        case "variant":
            refuse(source, target, mode)
        case kind:
            if kind in _EXACT or kind in ("date", "time", "datetime", "datetimeoffset"):
                raise unsupported(f"conversion from {source.name} to {target.name}")
            refuse(source, target, mode)
    if length != MAX and family(source) in ("string", "uuid"):
        sql = f"substring({sql} from 1 for {length})"
        if target.name == "binary":
            sql = f"sys.pad_binary({sql},{length})"
    return Value(sql, target, value.nullable or mode == "try", constant=value.constant)


def _to_text_like(value: Value, target: SqlType, mode: str, style: str | None) -> Value:
    """xml and sql_variant, which PostgreSQL holds as text."""
    if family(value.type) == "json":
        refuse(value.type, target, mode)
    if is_string(value.type):
        sql = value.text
    elif target.name == "sql_variant":
        sql = _to_string(value, SqlType("nvarchar", length=MAX), mode, None).text
    elif family(value.type) in ("xml", "variant"):
        sql = value.sql
    elif family(value.type) == "binary" and target.name == "xml":
        sql = f"sys.binary_to_text({value.sql},0,'utf16')"
    else:
        refuse(value.type, target, mode)
    if target.name == "xml":
        sql = f"sys.checked_xml({sql})"
    return Value(sql, target, value.nullable)


def _to_json(value: Value, target: SqlType, mode: str, style: str | None) -> Value:
    """https://learn.microsoft.com/sql/t-sql/data-types/json-data-type#conversion"""
    if not is_string(value.type) or value.type.name in ("text", "ntext"):
        refuse(value.type, target, mode)
    sql = f"sys.to_json_type({value.text},{_attempt(mode)})"
    return Value(sql, target, value.nullable or mode == "try")


_CONVERTERS = {
    "string": _to_string,
    "integer": _to_integer,
    "bit": _to_bit,
    "decimal": _to_decimal,
    "money": _to_decimal,
    "float": _to_float,
    "date": _to_date,
    "time": _to_date,
    "datetime": _to_date,
    "datetimeoffset": _to_datetimeoffset,
    "uuid": _to_uuid,
    "binary": _to_binary,
    "xml": _to_text_like,
    "json": _to_json,
    "variant": _to_text_like,
}


def assign(value: Value, target: SqlType, table: str, column: str) -> str:
    """``value`` for a column, as SQL: too long a string is error 2628 instead of being cut."""
    if value.null:
        as_null(value, target)
        return "NULL"
    kind = family(target)
    length = display_length(target)
    if kind == "string" and length != MAX:
        wide = SqlType(
            "nvarchar" if target.name.startswith("n") else "varchar", length=MAX, collation=target.collation
        )
        text = convert(value, wide).text
        longest = display_length(value.type)
        if longest == MAX or longest > length:
            text = f"sys.fit_text({text},{length},{quote(table)},{quote(column)})"
        if target.name in ("char", "nchar"):
            text = f"rpad({text},{length})"
        return f"{text}::{text_type(target.collation)}"
    if kind == "binary" and length != MAX and family(value.type) == "binary":
        longest = display_length(value.type)
        sql = value.sql
        if longest == MAX or longest > length:
            sql = f"sys.fit_binary({sql},{length},{quote(table)},{quote(column)})"
        return f"sys.pad_binary({sql},{length})" if target.name == "binary" else sql
    if kind == "string":
        return f"{convert(value, target).text}::{text_type(target.collation)}"
    return convert(value, target).sql
