"""Many rows in one parameter: which fields travel as JSON, and how OPENJSON turns them into columns again."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import re
import uuid
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from django.db.models import BinaryField, Field

from mssql.parameters import units

if TYPE_CHECKING:
    from mssql.base import DatabaseWrapper

MAX_ROWS = 20_000
"""Rows in one statement: keeps the JSON text of usual rows at a few megabytes."""

_DIRECT = frozenset(
    {
        *("int", "bigint", "smallint", "tinyint", "bit", "float", "real", "date", "uniqueidentifier"),
        *("datetime", "datetime2", "datetimeoffset", "smalldatetime", "time", "decimal", "numeric", "money"),
    }
)
_TEXT = frozenset({"char", "varchar", "nchar", "nvarchar", "text", "ntext", "xml", "json"})
_BINARY = frozenset({"binary", "varbinary", "image"})

_INTEGERS = {
    "tinyint": (0, 2**8),
    "smallint": (-(2**15), 2**15),
    "int": (-(2**31), 2**31),
    "bigint": (-(2**63), 2**63),
}
_SIZED = re.compile(r"(?P<name>\w+) ?\((?P<size>\d+)(?:, ?(?P<scale>\d+))?\)")

# The latter is Django 6.1's.
_PLACEHOLDER_METHODS = ("get_placeholder", "get_placeholder_sql")


def openjson_type(data_type: str | None) -> str | None:
    """Return the column type of ``OPENJSON … WITH`` for values of a column type, None when JSON can't carry it.

    Text is declared (max), so that a value too long for its column is refused by the column, never cut.

    >>> openjson_type("nvarchar(30)"), openjson_type("decimal(10, 2)"), openjson_type("hierarchyid")
    ('nvarchar(max)', 'decimal(10, 2)', None)
    """
    if data_type is None:
        return None
    name = data_type.partition("(")[0].strip().lower()
    if name == "double precision":
        return "float"
    if name in _DIRECT:
        return data_type
    if name in _TEXT:
        return "nvarchar(max)"
    if name in _BINARY:
        return "varbinary(max)"
    return None


def comparison_type(data_type: str, values: Iterable[Any]) -> str:
    """Return the type of OPENJSON for values that are compared with a column: the column's own, by which an index can
    be sought, or a wider one where some value does not fit. It would be cut, rounded or an error else, and a column
    does hold such a cut text or rounded number.

    >>> comparison_type("nvarchar(3)", ["abc"]), comparison_type("nvarchar(3)", ["abcd"])
    ('nvarchar(3)', 'nvarchar(4000)')
    """
    if data_type in _INTEGERS:
        return _integer_type(data_type, [value for value in values if isinstance(value, int)])
    if (sized := _SIZED.fullmatch(data_type)) is None:
        return data_type
    name, size = sized["name"], int(sized["size"])
    if name in {"decimal", "numeric"}:
        numbers = [value for value in values if isinstance(value, decimal.Decimal) and value.is_finite()]
        return _decimal_type(data_type, size, int(sized["scale"] or 0), numbers)
    if name in _TEXT | _BINARY:
        return _text_type(
            data_type, name, size, [value for value in values if isinstance(value, (str, bytes))]
        )
    return data_type


def _integer_type(data_type: str, values: Sequence[int]) -> str:
    least, greatest = min(values, default=0), max(values, default=0)
    names = list(_INTEGERS)
    for name in names[names.index(data_type) :]:
        start, stop = _INTEGERS[name]
        if start <= least and greatest < stop:
            return name
    return "numeric(38, 0)"


def _decimal_type(data_type: str, precision: int, scale: int, values: Sequence[decimal.Decimal]) -> str:
    fraction, whole = scale, precision - scale
    for value in values:
        _, digits, exponent = value.as_tuple()
        assert isinstance(exponent, int)
        fraction, whole = max(fraction, -exponent), max(whole, len(digits) + exponent)
    if fraction == scale and whole == precision - scale:
        return data_type
    whole = min(whole, 38)
    return f"numeric(38, {min(fraction, 38 - whole)})"


def _text_type(data_type: str, name: str, size: int, values: Sequence[str | bytes]) -> str:
    longest = max(map(units, values), default=0)
    if name in {"char", "varchar"} and not all(value.isascii() for value in values):
        name = "nvarchar"  # A sign that the code page of the collation does not have would become a question mark.
    elif longest <= size:
        return data_type
    widest = widest_type(f"{name}({size})")
    name, _, limit = widest.rstrip(")").partition("(")
    return widest if longest <= int(limit) else f"{name}(max)"


def widest_type(data_type: str) -> str:
    """Return the longest type that compares with a column of text or bytes without a conversion of that column.

    >>> widest_type("nchar(3)"), widest_type("char(32)"), widest_type("nvarchar(max)"), widest_type("int")
    ('nvarchar(4000)', 'varchar(8000)', 'nvarchar(max)', 'int')
    """
    name, _, size = data_type.partition("(")
    name = {"char": "varchar", "nchar": "nvarchar", "binary": "varbinary"}.get(name, name)
    if size == "max)" or name not in {"varchar", "nvarchar", "varbinary"}:
        return data_type
    return f"{name}({4000 if name == 'nvarchar' else 8000})"


def coercible(sql: str, data_type: str) -> str:
    """Return a text of OPENJSON without the collation that it has (the database's): as for a parameter, that of the
    column decides with which it is compared; two of them would be error 468. A text that was cast from bytes is such
    (https://learn.microsoft.com/sql/t-sql/statements/collation-precedence-transact-sql, Functions and Collation).
    """
    name, _, size = data_type.partition("(")
    if name not in _TEXT:
        return sql
    return f"CAST(CAST({sql} AS varbinary({'max' if size == 'max)' else 8000})) AS {data_type})"


def as_json(fields: Iterable[Field | str], connection: DatabaseWrapper) -> list[str] | None:
    """Return an OPENJSON type for each field, None when one of them can't travel as JSON."""
    if not connection.features.supports_openjson:
        return None
    types: list[str] = []
    for field in fields:
        if isinstance(field, str):
            continue  # A name only counts in DatabaseOperations.bulk_batch_size().
        if _has_own_placeholder(field):
            return None
        column_type = openjson_type(field.db_type(connection))
        if column_type is None:
            return None
        types.append(column_type)
    return types


def _has_own_placeholder(field: Field) -> bool:
    """Say whether a field wraps its values in SQL of its own; BinaryField's conversion is done by OPENJSON as well."""
    own_and_binary = (
        (getattr(type(field), name, None), getattr(BinaryField, name, None)) for name in _PLACEHOLDER_METHODS
    )
    return any(own is not None and own is not binary for own, binary in own_and_binary)


def dump_rows(rows: Sequence[Sequence[Any]]) -> str:
    """Return rows as a JSON array of arrays; each row begins with its position."""
    return json.dumps(
        [[position, *row] for position, row in enumerate(rows)],
        default=_default,
        ensure_ascii=False,
        separators=(",", ":"),
    )


def dump_values(values: Iterable[Any]) -> str:
    """Return values as a flat JSON array."""
    return json.dumps(list(values), default=_default, ensure_ascii=False, separators=(",", ":"))


def _default(value: Any) -> Any:
    match value:
        case datetime.datetime():
            return value.isoformat(timespec="microseconds")
        case datetime.date() | datetime.time():
            return value.isoformat()
        case decimal.Decimal():
            return format(value, "f")
        case uuid.UUID():
            return str(value)
        case bytes() | bytearray() | memoryview():
            # OPENJSON decodes Base64 where its WITH clause says varbinary.
            return base64.b64encode(value).decode("ascii")
        case _:
            return str(value)
