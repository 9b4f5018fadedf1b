"""What a translated query puts out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlserver_standin.events import SqlError
from sqlserver_standin.tsql.scope import RelationColumn
from sqlserver_standin.tsql.values import Value, identifier


@dataclass(slots=True)
class Output:
    """A column that a query puts out."""

    name: str
    value: Value
    key: Any = None
    identity: bool = False
    column: str = ""
    """The name of the column under an alias."""


@dataclass(slots=True)
class Translated:
    """A query as PostgreSQL text with its columns; ``assignments`` for SELECT @v = …"""

    sql: str
    columns: list[Output]
    assignments: tuple[str, ...] = ()
    accumulates: bool = False
    """An assignment reads what it has assigned for the row before."""


def relation_columns(
    translated: Translated, name: str, names: Sequence[str], pg_alias: str
) -> tuple[RelationColumn, ...]:
    """The columns of ``translated`` under the alias ``name``, as the query around it refers to them."""
    if names and len(names) != len(translated.columns):
        few = len(names) < len(translated.columns)
        raise SqlError(
            8158 if few else 8159,
            f"'{name}' has {'more' if few else 'fewer'} columns than were specified in the column list.",
        )
    columns: list[RelationColumn] = []
    seen: set[str] = set()
    for position, output in enumerate(translated.columns):
        column = names[position] if names else output.name
        if not column:
            raise SqlError(8155, f"No column name was specified for column {position + 1} of '{name}'.")
        if column.lower() in seen:
            raise SqlError(8156, f"The column '{column}' was specified multiple times for '{name}'.")
        seen.add(column.lower())
        columns.append(
            RelationColumn(
                column, output.value.type, f"{pg_alias}.{identifier(column)}", output.value.nullable
            )
        )
    return tuple(columns)
