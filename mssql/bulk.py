"""Many rows in one parameter: which fields travel as JSON, and how OPENJSON turns them into columns again."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import uuid
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from django.db.models import BinaryField, Field

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


def as_json(fields: Iterable[Field | str], connection: DatabaseWrapper) -> list[str] | None:
    """Return an OPENJSON type for each field, None when one of them can't travel as JSON."""
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
