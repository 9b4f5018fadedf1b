"""Parameters as T-SQL declarations, for batches that cannot have parameters: SHOWPLAN_XML wants plain text."""

from __future__ import annotations

import datetime
import math
import re
import uuid
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple


class Declared(NamedTuple):
    """A parameter's T-SQL type and its value as a literal."""

    sql_type: str
    literal: str


# A literal longer than this is left out: the plan does not depend on it, and a batch is limited in size.
MAX_LITERAL = 100_000


def declare(parameters: Sequence[Any] | None, declarations: Sequence[Any] | None = None) -> list[Declared]:
    """The parameters with the types that they travel with: those that the cursor declared, where it says so."""
    values = list(parameters or ())
    types = [declaration.tsql for declaration in declarations or ()]
    if len(types) != len(values):
        return [declare_value(value) for value in values]
    return [Declared(sql_type, literal(value)) for sql_type, value in zip(types, values, strict=True)]


def declare_value(value: object) -> Declared:
    """The value with the type that the backend declares for its Python type."""
    return Declared(_type_of(value), literal(value))


def _type_of(value: object) -> str:
    match value:
        case bool():
            return "bit"
        case int():
            return "bigint" if -(2**63) <= value < 2**63 else "numeric(38, 0)"
        case float():
            return "float"
        case Decimal():
            return _decimal_type(value)
        case datetime.datetime():
            return "datetime2(7)" if value.tzinfo is None else "datetimeoffset(7)"
        case datetime.date():
            return "date"
        case datetime.time():
            return "time(7)"
        case uuid.UUID():
            return "uniqueidentifier"
        case bytes() | bytearray() | memoryview():
            return "varbinary(8000)" if len(value) <= 8000 else "varbinary(max)"
        case _:
            return "nvarchar(4000)" if _utf16_length(str(value)) <= 4000 else "nvarchar(max)"


def _decimal_type(value: Decimal) -> str:
    _sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        return "numeric(38, 0)"
    scale = max(0, -exponent)
    precision = max(len(digits) + max(0, exponent), scale, 1)
    return f"numeric({precision}, {scale})" if precision <= 38 else "numeric(38, 0)"


def literal(value: object) -> str:
    """The value as T-SQL writes it; NULL for what has no literal."""
    match value:
        case None:
            return "NULL"
        case bool():
            return str(int(value))
        case int():
            return str(value) if abs(value) < 10**38 else "NULL"
        case float():
            return repr(value) if math.isfinite(value) else "NULL"
        case Decimal():
            return f"{value:f}" if value.is_finite() and len(f"{value:f}") <= 40 else "NULL"
        case datetime.datetime():
            separator = "T" if value.tzinfo is None else " "
            return f"'{value.isoformat(separator, 'microseconds')}'"
        case datetime.date():
            return f"'{value.isoformat()}'"
        case datetime.time():
            return f"'{value.replace(tzinfo=None).isoformat('microseconds')}'"
        case uuid.UUID():
            return f"'{value}'"
        case bytes() | bytearray() | memoryview():
            data = bytes(value)
            return f"0x{data.hex()}" if len(data) * 2 <= MAX_LITERAL else "NULL"
        case str():
            return _string(value)
        case _ if type(value).__name__ == "NullParam":  # pyodbc.BinaryNull, by which the cursor sends a NULL
            return "NULL"
        case _:
            return _string(str(value))


def _string(text: str) -> str:
    return "N'" + text.replace("'", "''") + "'" if _utf16_length(text) <= MAX_LITERAL else "NULL"


def _utf16_length(text: str) -> int:
    """SQL Server counts UTF-16 code units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def as_batch(sql: str, parameters: Sequence[Declared]) -> str:
    """The statement as one batch: its `?` markers become variables, declared and set before it.

    A variable's value is not looked at when the plan is made: the estimate is the average over all values.
    """
    if not parameters:
        return sql
    names = iter([f"@P{position}" for position in range(1, len(parameters) + 1)])
    pieces: list[str] = []
    for is_marker, text in _split(sql):
        pieces.append(next(names, text) if is_marker else text)
    declarations = ",\n        ".join(
        f"@P{position} {parameter.sql_type} = {parameter.literal}"
        for position, parameter in enumerate(parameters, 1)
    )
    return f"DECLARE {declarations};\n{''.join(pieces)}"


# Where a question mark is no marker: strings, quoted identifiers, comments.
_OPAQUE = re.compile(r"""'(?:[^']|'')*'|\[(?:[^\]]|\]\])*\]|"(?:[^"]|"")*"|--[^\n]*|/\*|\?""")
_COMMENT = re.compile(r"/\*|\*/")


def _split(sql: str) -> Iterator[tuple[bool, str]]:
    """The text in pieces; True for a marker."""
    position = 0
    while match := _OPAQUE.search(sql, position):
        end = match.end()
        if match[0] == "/*":
            end = _end_of_comment(sql, end)
        is_marker = match[0] == "?"
        yield False, sql[position : match.start() if is_marker else end]
        if is_marker:
            yield True, "?"
        position = end
    yield False, sql[position:]


def _end_of_comment(sql: str, position: int) -> int:
    """Block comments nest in T-SQL."""
    depth = 1
    while match := _COMMENT.search(sql, position):
        position = match.end()
        depth += 1 if match[0] == "/*" else -1
        if depth == 0:
            return position
    return len(sql)
