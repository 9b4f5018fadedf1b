"""Python values to PostgreSQL's parameters and PostgreSQL's results to Python values, by SQL Server type."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from psycopg import pq
from psycopg.abc import Transformer

from sqlserver_standin.errors import unsupported
from sqlserver_standin.events import Column
from sqlserver_standin.types import SqlType

# OIDs of PostgreSQL's own types, whose loaders psycopg has in C (src/include/catalog/pg_type.dat).
_BOOL, _BYTEA, _INT8, _TEXT, _FLOAT8, _DATE, _TIME, _TIMESTAMP, _NUMERIC, _UUID = (
    16,
    17,
    20,
    25,
    701,
    1082,
    1083,
    1114,
    1700,
    2950,
)

_LOADED_AS = {
    "bit": _BOOL,
    "tinyint": _INT8,
    "smallint": _INT8,
    "int": _INT8,
    "bigint": _INT8,
    "decimal": _NUMERIC,
    "numeric": _NUMERIC,
    "money": _NUMERIC,
    "smallmoney": _NUMERIC,
    "float": _FLOAT8,
    "real": _FLOAT8,
    "date": _DATE,
    "time": _TIME,
    "datetime": _TIMESTAMP,
    "datetime2": _TIMESTAMP,
    "smalldatetime": _TIMESTAMP,
    "uniqueidentifier": _UUID,
    "binary": _BYTEA,
    "varbinary": _BYTEA,
    "image": _BYTEA,
    "timestamp": _BYTEA,
}


def encode(value: Any) -> tuple[bytes | None, int]:
    """A parameter's bytes and their format (0 text, 1 binary)."""
    match value:
        case None:
            return None, 0
        case bool():
            return (b"t" if value else b"f"), 0
        case str():
            if "\0" in value:
                raise unsupported("the character U+0000 in a string")
            return value.encode(errors="surrogatepass"), 0
        case int():
            return b"%d" % value, 0
        case bytes() | bytearray():
            return bytes(value), 1
        case Decimal():
            return format(value, "f").encode(), 0
        case float():
            return repr(value).encode(), 0
        case datetime.datetime() if value.tzinfo is not None:
            offset = value.utcoffset() or datetime.timedelta()
            utc = value.replace(tzinfo=None) - offset
            return f'("{utc.isoformat(" ")}",{int(offset.total_seconds() // 60)})'.encode(), 0
        case datetime.datetime():
            return value.isoformat(" ").encode(), 0
        case datetime.date() | datetime.time():
            return value.isoformat().encode(), 0
        case uuid.UUID():
            return str(value).encode(), 0
    raise TypeError(f"no SQL Server type for {type(value).__name__}")


def _datetimeoffset(text: str) -> datetime.datetime:
    utc, minutes = text[1:-1].rsplit(",", 1)
    offset = datetime.timedelta(minutes=int(minutes))
    moment = datetime.datetime.fromisoformat(utc.strip('"'))
    return (moment + offset).replace(tzinfo=datetime.timezone(offset))


_AFTER: dict[str, Callable[[Any], Any]] = {"datetimeoffset": _datetimeoffset}


def decode(
    transformer: Transformer, result: pq.abc.PGresult, columns: Sequence[Column]
) -> list[tuple[Any, ...]]:
    """All rows of a result."""
    if not columns:
        return [()] * result.ntuples
    transformer.set_pgresult(result, set_loaders=False)
    transformer.set_loader_types(
        [_LOADED_AS.get(column.type.name, _TEXT) for column in columns], pq.Format.TEXT
    )
    rows = transformer.load_rows(0, result.ntuples, tuple)
    further = [
        (index, convert)
        for index, column in enumerate(columns)
        if (convert := _AFTER.get(column.type.name)) is not None
    ]
    if not further:
        return rows
    changed = []
    for row in rows:
        cells = list(row)
        for index, convert in further:
            if cells[index] is not None:
                cells[index] = convert(cells[index])
        changed.append(tuple(cells))
    return changed


def decode_one(transformer: Transformer, result: pq.abc.PGresult, data_type: SqlType) -> Any:
    """The single value of a scalar result."""
    rows = decode(transformer, result, (Column("", data_type),))
    return rows[0][0] if rows else None
