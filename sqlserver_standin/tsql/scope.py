"""What names mean inside a query: relations, their columns, and SQL Server's name errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlserver_standin.engine.catalog import Table
from sqlserver_standin.events import SqlError
from sqlserver_standin.tsql.values import Value, identifier
from sqlserver_standin.types import SqlType


@dataclass(frozen=True, slots=True)
class RelationColumn:
    """A column of a relation; ``sql`` refers to it."""

    name: str
    type: SqlType
    sql: str
    nullable: bool = True
    identity: bool = False

    def value(self) -> Value:
        return Value(self.sql, self.type, self.nullable, column=True)


@dataclass(slots=True)
class Relation:
    """A source in FROM under the name by which columns are qualified."""

    name: str
    columns: tuple[RelationColumn, ...]
    schema: str = ""
    table: Table | None = None
    alias_given: bool = True
    pg_alias: str = ""
    """The quoted alias in PostgreSQL's SQL."""
    by_name: dict[str, list[RelationColumn]] = field(init=False)

    def __post_init__(self) -> None:
        self.by_name = {}
        for column in self.columns:
            self.by_name.setdefault(column.name.lower(), []).append(column)

    def answers_to(self, qualifier: tuple[str, ...]) -> bool:
        if qualifier[-1].lower() != self.name.lower():
            return False
        if len(qualifier) == 1:
            return True
        return not self.alias_given and (qualifier[-2] or "dbo").lower() == self.schema.lower()


def table_relation(
    table: Table, alias: str | None, pg_alias: str | None = None, *, nullable: bool = False
) -> Relation:
    """The relation that a table makes under an alias; ``nullable`` on the optional side of an outer join."""
    name = alias or table.name
    prefix = pg_alias or identifier(name)
    return Relation(
        name,
        tuple(
            RelationColumn(
                column.name,
                column.type,
                f"{prefix}.{column.pg_name}",
                column.nullable or nullable,
                column.identity,
            )
            for column in table.columns
        ),
        table.schema,
        table,
        alias is not None,
        prefix,
    )


@dataclass(slots=True)
class Scope:
    """The relations that a query's names can mean; then those of the query around it."""

    parent: Scope | None = None
    relations: list[Relation] = field(default_factory=list)
    group_keys: set[Any] | None = None
    """While a query inside a grouped one is translated: what the grouped one's columns must be among."""
    clause: str = ""
    """Where in the grouped query that query stands."""

    def add(self, relation: Relation) -> None:
        for other in self.relations:
            if other.name.lower() == relation.name.lower() and (
                other.schema.lower() == relation.schema.lower() or relation.alias_given or other.alias_given
            ):
                if relation.alias_given or other.alias_given:
                    raise SqlError(
                        1011,
                        f"The correlation name '{relation.name}' is specified multiple times in a FROM clause.",
                        severity=15,
                    )
                raise SqlError(
                    1013,
                    f'The objects "{other.name}" and "{relation.name}" in the FROM clause have the same exposed '
                    "names. Use correlation names to distinguish them.",
                )
        self.relations.append(relation)

    def find(self, parts: tuple[str, ...]) -> tuple[RelationColumn, Relation, int] | None:
        """The column that ``parts`` names, its relation, and how many queries outward it stands."""
        name = parts[-1].lower()
        scope: Scope | None = self
        depth = 0
        qualifier_known = False
        while scope is not None:
            hits: list[tuple[RelationColumn, Relation]] = []
            for relation in scope.relations:
                if len(parts) > 1:
                    if not relation.answers_to(parts[:-1]):
                        continue
                    qualifier_known = True
                hits.extend((column, relation) for column in relation.by_name.get(name, ()))
            if len(hits) > 1:
                raise SqlError(209, f"Ambiguous column name '{parts[-1]}'.")
            if hits:
                return (*hits[0], depth)
            if qualifier_known:
                raise SqlError(207, f"Invalid column name '{parts[-1]}'.")
            scope, depth = scope.parent, depth + 1
        return None

    def outward(self, depth: int) -> Scope:
        """The scope of the query that stands ``depth`` queries outward."""
        scope = self
        for _ in range(depth):
            assert scope.parent is not None
            scope = scope.parent
        return scope

    def column(self, parts: tuple[str, ...]) -> RelationColumn:
        """The column that ``parts`` names, or SQL Server's error."""
        found = self.find(parts)
        if found is None:
            if len(parts) > 1:
                raise SqlError(4104, f'The multi-part identifier "{".".join(parts)}" could not be bound.')
            raise SqlError(207, f"Invalid column name '{parts[-1]}'.")
        return found[0]
