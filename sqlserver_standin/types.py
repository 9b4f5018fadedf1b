"""SQL Server data types as the stand-in's three parts name them: the wire, the engine and the translator."""

from __future__ import annotations

from dataclasses import dataclass

MAX = -1
"""`SqlType.length` of varchar(max), nvarchar(max) and varbinary(max)."""

DEFAULT_COLLATION = "SQL_Latin1_General_CP1_CI_AS"
"""Collation of a server installed with US English settings
(https://learn.microsoft.com/sql/relational-databases/collations/collation-and-unicode-support)."""


@dataclass(frozen=True, slots=True)
class SqlType:
    """A data type with its facets, e.g. ``SqlType("nvarchar", length=100)`` or ``SqlType("datetime2", scale=7)``.

    ``name`` is SQL Server's own lower-case name (``int``, ``bit``, ``nvarchar``, ``datetimeoffset`` …).
    ``length`` counts characters for n(var)char, bytes for (var)char and (var)binary; ``MAX`` for the (max) forms.
    """

    name: str
    length: int | None = None
    precision: int | None = None
    scale: int | None = None
    collation: str | None = None
