"""What the translator asks about names (tables, columns, system values and functions), as one session sees them."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Protocol

from sqlserver_standin.releases import Release
from sqlserver_standin.types import SqlType


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column in its stored case; ``pg_name`` is the quoted PostgreSQL name."""

    name: str
    type: SqlType
    pg_name: str
    nullable: bool = True
    identity: bool = False
    computed: bool = False
    has_default: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table, view, temporary table or table variable; ``pg_name`` is ready to paste into SQL."""

    schema: str
    name: str
    pg_name: str
    kind: str
    columns: tuple[TableColumn, ...]
    triggers: frozenset[str] = frozenset()
    """Events ("insert", "update", "delete") that have an enabled trigger."""
    object_id: int = 0
    identity_sequence: str | None = None
    """The quoted PostgreSQL sequence behind the IDENTITY column."""
    by_name: dict[str, TableColumn] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {column.name.lower(): column for column in self.columns})

    def column(self, name: str) -> TableColumn | None:
        """The column of that name in any case."""
        return self.by_name.get(name.lower())


@dataclass(frozen=True, slots=True)
class Function:
    """A function that PostgreSQL runs: its argument types (None: any) and its result type."""

    pg_name: str
    arguments: tuple[SqlType | None, ...]
    result: SqlType
    columns: tuple[TableColumn, ...] = ()
    """Columns of a table-valued function."""
    required: int | None = None
    """How many arguments must be given; None: all."""


class Catalog(Protocol):
    """Lookups are case-insensitive and answer in the stored case; None means that there is no such thing."""

    @property
    def version(self) -> Hashable:
        """Differs whenever a name might resolve differently for this session."""

    @property
    def release(self) -> Release:
        """The release of SQL Server that this is."""

    @property
    def compatibility_level(self) -> int:
        """The database's."""

    def table(self, database: str | None, schema: str | None, name: str) -> Table | None:
        """Tables, views, sys.* and INFORMATION_SCHEMA.* views, #temporary tables."""

    def has_index(self, table: Table, index: str) -> bool:
        """Whether the table has an index of that name in any case, or of that number."""

    def system_type(self, name: str) -> SqlType | None:
        """The type of a value that the session supplies as a parameter: ``@@rowcount``, ``db_name()`` …"""

    def system_function(self, name: str) -> Function | None:
        """A built-in metadata function by lower-case name: ``object_id``, ``columnproperty`` …"""

    def scalar_function(self, schema: str | None, name: str) -> Function | None:
        """A user-defined scalar function."""

    def table_function(self, schema: str | None, name: str) -> Function | None:
        """A user-defined or system table-valued function (``sys.fn_helpcollations`` …)."""

    def sequence(self, schema: str | None, name: str) -> tuple[str, SqlType] | None:
        """A sequence's quoted PostgreSQL name and type, for NEXT VALUE FOR."""
