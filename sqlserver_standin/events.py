"""What an engine session answers to one request, in order; the wire turns each event into TDS tokens.

Values are Python's own: int, bool (bit), Decimal, float, str, bytes, date, time, naive datetime (datetime, datetime2,
smalldatetime), aware datetime with a fixed offset (datetimeoffset), uuid.UUID (uniqueidentifier), None for NULL.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlserver_standin.types import SqlType


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter or variable of a parameterised request; ``name`` carries its ``@``."""

    name: str
    type: SqlType
    value: Any = None
    output: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a result set; an unnamed column has the name ''."""

    name: str
    type: SqlType
    nullable: bool = True
    identity: bool = False


@dataclass(frozen=True, slots=True)
class ResultSet:
    """A result set: its columns, then its rows. ``rows`` may be lazy and may raise ``SqlError`` in the middle."""

    columns: tuple[Column, ...]
    rows: Iterable[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Done:
    """The end of one statement. ``count`` is the number of affected rows, None when it has none or NOCOUNT is on."""

    count: int | None = None
    command: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """An informational message (severity 0 to 10): PRINT, USE, STATISTICS IO …"""

    number: int
    text: str
    severity: int = 0
    state: int = 1
    line: int = 1
    procedure: str = ""


@dataclass(slots=True)
class SqlError(Exception):
    """An error token (severity 11 and higher). Yielded when the batch goes on, raised when it ends with it."""

    number: int
    text: str
    severity: int = 16
    state: int = 1
    line: int = 1
    procedure: str = ""
    uncompiled: int | None = field(default=None, repr=False, compare=False)
    """The engine's: how deep the scope is nested that could not be compiled because of it."""
    placed: bool = field(default=False, repr=False, compare=False)
    """The engine's: its line is that of the statement that failed."""
    ends_batch: bool = field(default=False, repr=False, compare=False)
    """The engine's: it ends the scopes around the one that it has ended."""


@dataclass(frozen=True, slots=True)
class EnvironmentChange:
    """A change the client library tracks: ``kind`` is "database", "language", "packet_size", "collation",
    "begin_transaction", "commit_transaction", "rollback_transaction" (old/new: the 8-byte descriptor)."""

    kind: str
    new: Any
    old: Any = None


@dataclass(frozen=True, slots=True)
class ReturnStatus:
    """The return value of a stored procedure."""

    value: int


@dataclass(frozen=True, slots=True)
class ReturnValue:
    """The final value of an output parameter."""

    parameter: Parameter


Event = ResultSet | Done | Message | SqlError | EnvironmentChange | ReturnStatus | ReturnValue
