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


# A declared string is as long as the next of these, as the cursor declares it: the plan must be made for the same type.
STRING_LENGTHS = (40, 400, 4000)
BINARY_LENGTHS = (64, 512, 8000)

# A literal longer than this is left out: the plan does not depend on it, and a batch is limited in size.
MAX_LITERAL = 100_000


def declare(parameters: Sequence[Any] | None) -> list[Declared]:
    """The parameters with the types that they travel with."""
    return [declare_value(value) for value in parameters or ()]


def declare_value(value: object) -> Declared:
    """The type and the literal of one Python value
    (https://github.com/mkleehammer/pyodbc/wiki/Data-Types#python-3-parameters)."""
    if value is None:
        return Declared("nvarchar(1)", "NULL")
    if isinstance(value, bool):
        return Declared("bit", str(int(value)))
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return Declared("float(53)", repr(value) if math.isfinite(value) else "NULL")
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, datetime.datetime):
        if value.tzinfo is not None:
            return Declared("datetimeoffset(7)", f"'{value.isoformat(sep=' ', timespec='microseconds')}'")
        return Declared("datetime2(7)", f"'{value.isoformat(timespec='microseconds')}'")
    if isinstance(value, datetime.date):
        return Declared("date", f"'{value.isoformat()}'")
    if isinstance(value, datetime.time):
        return Declared("time(7)", f"'{value.replace(tzinfo=None).isoformat(timespec='microseconds')}'")
    if isinstance(value, uuid.UUID):
        return Declared("uniqueidentifier", f"'{value}'")
    if isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
        literal = f"0x{data.hex()}" if len(data) * 2 <= MAX_LITERAL else "NULL"
        return Declared(f"varbinary({_bucket(len(data), BINARY_LENGTHS)})", literal)
    text = str(value)
    # Lengths count UTF-16 code units.
    length = len(text.encode("utf-16-le", "surrogatepass")) // 2
    literal = "N'" + text.replace("'", "''") + "'" if length <= MAX_LITERAL else "NULL"
    return Declared(f"nvarchar({_bucket(length, STRING_LENGTHS)})", literal)


def _integer(value: int) -> Declared:
    if -(2**31) <= value < 2**31:
        return Declared("int", str(value))
    if -(2**63) <= value < 2**63:
        return Declared("bigint", str(value))
    return Declared("decimal(38, 0)", str(value) if abs(value) < 10**38 else "NULL")


def _decimal(value: Decimal) -> Declared:
    if not value.is_finite():
        return Declared("decimal(38, 0)", "NULL")
    _sign, digits, exponent = value.as_tuple()
    scale = max(0, -int(exponent))
    precision = max(len(digits) + max(0, int(exponent)), scale, 1)
    if precision > 38:
        return Declared("decimal(38, 0)", "NULL")
    return Declared(f"decimal({precision}, {scale})", f"{value:f}")


def _bucket(length: int, lengths: Sequence[int]) -> str:
    return next((str(limit) for limit in lengths if length <= limit), "max")


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
