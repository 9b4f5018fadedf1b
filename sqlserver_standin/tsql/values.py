"""A translated scalar: its PostgreSQL text and what SQL Server knows of its type."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from sqlserver_standin.tsql.types import is_string, pg_type, text_type
from sqlserver_standin.types import SqlType


@dataclass(slots=True)
class Value:
    """``sql`` is self-contained (needs no parentheses) and of the PostgreSQL type ``types.pg_type(type)``."""

    sql: str
    type: SqlType
    nullable: bool = True
    raw: str | None = None
    """A string's SQL of PostgreSQL type text, when that is at hand."""
    null: bool = False
    """The literal NULL, which takes any type."""
    constant: bool = False
    """A literal."""
    digits: int | None = None
    """Digits of an integer literal, which count for decimal precision."""
    explicit_collation: bool = False
    column: bool = False
    """A bare column, whose collation gives way to none but an explicit one."""
    default: bool = False
    """The word DEFAULT."""
    infer: Callable[[SqlType], None] | None = None
    """Takes note of the type that the context gives to a parameter without a declared type (it is a NULL, then)."""

    @property
    def text(self) -> str:
        """The value of a string type as PostgreSQL's text."""
        return self.raw if self.raw is not None else f"{self.sql}::text"


def string(sql: str, data_type: SqlType, *, nullable: bool = True, constant: bool = False) -> Value:
    """A string value from ``sql`` of PostgreSQL type text (self-contained)."""
    return Value(f"{sql}::{text_type(data_type.collation)}", data_type, nullable, raw=sql, constant=constant)


def null(data_type: SqlType) -> Value:
    return Value(f"NULL::{pg_type(data_type)}", data_type, null=True, constant=True)


def as_null(value: Value, data_type: SqlType) -> Value:
    """The NULL ``value`` in a place that wants ``data_type``."""
    if value.infer is not None:
        value.infer(data_type)
    return null(data_type)


def quote(text: str) -> str:
    """``text`` as a PostgreSQL string literal; PostgreSQL knows no NUL character."""
    return "'" + text.replace("\0", "").replace("'", "''") + "'"


def identifier(name: str) -> str:
    """``name`` as a PostgreSQL identifier; for aliases that never leave the statement.

    PostgreSQL cuts names after 63 bytes, where two of SQL Server's (128 characters) may still be the same.
    """
    if len(name) > 15 and len(name.encode()) > 63:
        name = f"{name[:12]}~{hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()[:16]}"
    return '"' + name.replace('"', '""') + '"'


def retyped(value: Value, data_type: SqlType) -> Value:
    """The same value under a type of the same PostgreSQL representation."""
    if is_string(data_type):
        if is_string(value.type) and text_type(data_type.collation) == text_type(value.type.collation):
            return Value(value.sql, data_type, value.nullable, value.raw, constant=value.constant)
        return string(value.text, data_type, nullable=value.nullable, constant=value.constant)
    return Value(value.sql, data_type, value.nullable, constant=value.constant, digits=value.digits)
