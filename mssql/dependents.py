"""What stands in the way of a change to a column or table: indexes, constraints, defaults, computed columns.

SQL Server refuses to alter a column that such an object depends on (error 5074). Read from the catalog, each is a
pair of statements: one that drops it, one that makes it again as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Fetch = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Dependent:
    """One object, how to drop it and how to make it again."""

    name: str
    kind: str
    drop: str
    create: str
    columns: tuple[str, ...] = ()

    def belongs_to(self, *columns: str) -> bool:
        """Say whether it is made of one of these columns. The catalog may write a name in other letters than a model
        does: most databases do not tell them apart."""
        return not {name.lower() for name in columns}.isdisjoint(map(str.lower, self.columns))


STANDS_IN_THE_WAY_OF_GROWTH = frozenset({"primary key", "foreign key", "computed column"})
"""Kinds that hold a column fast even when it is only to take longer values."""

_INDEXES = """\
SELECT i.name, i.is_primary_key, i.is_unique_constraint, i.is_unique, i.type, i.filter_definition, i.fill_factor,
    c.name, ic.is_descending_key, ic.is_included_column
FROM sys.indexes AS i
JOIN sys.index_columns AS ic ON ic.object_id = i.object_id AND ic.index_id = i.index_id
JOIN sys.columns AS c ON c.object_id = ic.object_id AND c.column_id = ic.column_id
WHERE i.object_id = OBJECT_ID(%s) AND i.is_hypothetical = 0 AND i.type IN (1, 2)
ORDER BY i.index_id, ic.is_included_column, ic.key_ordinal, ic.index_column_id"""

_FOREIGN_KEYS = """\
SELECT fk.name, OBJECT_SCHEMA_NAME(fk.parent_object_id), OBJECT_NAME(fk.parent_object_id), pc.name,
    OBJECT_SCHEMA_NAME(fk.referenced_object_id), OBJECT_NAME(fk.referenced_object_id), rc.name,
    fk.delete_referential_action_desc, fk.update_referential_action_desc, fk.is_disabled, fk.is_not_trusted,
    CASE WHEN fk.parent_object_id = OBJECT_ID(%s) THEN 1 ELSE 0 END,
    CASE WHEN fk.referenced_object_id = OBJECT_ID(%s) THEN 1 ELSE 0 END
FROM sys.foreign_keys AS fk
JOIN sys.foreign_key_columns AS fkc ON fkc.constraint_object_id = fk.object_id
JOIN sys.columns AS pc ON pc.object_id = fkc.parent_object_id AND pc.column_id = fkc.parent_column_id
JOIN sys.columns AS rc ON rc.object_id = fkc.referenced_object_id AND rc.column_id = fkc.referenced_column_id
WHERE fk.parent_object_id = OBJECT_ID(%s) OR fk.referenced_object_id = OBJECT_ID(%s)
ORDER BY fk.name, fkc.constraint_column_id"""

_CHECKS = """\
SELECT name, definition, is_disabled FROM sys.check_constraints WHERE parent_object_id = OBJECT_ID(%s)"""

_DEFAULTS = """\
SELECT d.name, d.definition, c.name
FROM sys.default_constraints AS d
JOIN sys.columns AS c ON c.object_id = d.parent_object_id AND c.column_id = d.parent_column_id
WHERE d.parent_object_id = OBJECT_ID(%s)"""

_COMPUTED = """\
SELECT name, definition, is_persisted, is_nullable FROM sys.computed_columns WHERE object_id = OBJECT_ID(%s)"""


class TableDependents:
    """All objects that depend on the columns of one table. ``table`` is the quoted name."""

    def __init__(self, fetch: Fetch, table: str, quote: Callable[[str], str]) -> None:
        self._fetch = fetch
        self._table = table
        self._quote = quote

    def of_column(self, column: str) -> list[Dependent]:
        """Return the objects that depend on a column, in the order in which they can be dropped."""
        computed = self._computed_from(column)
        columns = [column, *(dependent.name for dependent in computed)]
        keys = [
            dependent
            for dependent in self.indexes()
            if dependent.belongs_to(*columns) or any(mentions(dependent.create, name) for name in columns)
        ]
        return [
            *(key for key in self.foreign_keys() if key.belongs_to(column)),
            *(check for check in self.checks() if mentions(check.create, column)),
            *keys,
            *computed,
            *(default for default in self.defaults() if default.belongs_to(column)),
        ]

    def bound_to_name(self, column: str) -> list[Dependent]:
        """Return the objects whose text names a column, which a rename has to write anew."""
        computed = self._computed_from(column)
        names = [dependent.name for dependent in computed]
        return [
            *(check for check in self.checks() if mentions(check.create, column)),
            *(
                index
                for index in self.indexes()
                if index.belongs_to(*names) or mentions(index.create.partition(" WHERE ")[2], column)
            ),
            *computed,
        ]

    def _computed_from(self, column: str) -> list[Dependent]:
        return [
            dependent
            for dependent in self.computed_columns()
            if mentions(dependent.create.partition(" AS ")[2], column)
        ]

    def of_table(self) -> list[Dependent]:
        """Return everything but the columns themselves."""
        return [*self.foreign_keys(), *self.checks(), *self.indexes(), *self.defaults()]

    def foreign_keys(self, *, incoming_only: bool = False) -> list[Dependent]:
        keys: dict[tuple[str, str, str], list[tuple[Any, ...]]] = {}
        for row in self._fetch(_FOREIGN_KEYS, [self._table] * 4):
            keys.setdefault((row[1], row[2], row[0]), []).append(row)
        result = []
        for (schema, parent, name), rows in keys.items():
            first = rows[0]
            if incoming_only and (first[11] or not first[12]):
                continue
            table = f"{self._quote(schema)}.{self._quote(parent)}"
            target = f"{self._quote(first[4])}.{self._quote(first[5])}"
            actions = "".join(
                f" ON {event} {action.replace('_', ' ')}"
                for event, action in (("DELETE", first[7]), ("UPDATE", first[8]))
                if action != "NO_ACTION"
            )
            create = (
                f"ALTER TABLE {table} WITH {'NOCHECK' if first[10] else 'CHECK'} ADD CONSTRAINT "
                f"{self._quote(name)} FOREIGN KEY ({self._names(row[3] for row in rows)}) "
                f"REFERENCES {target} ({self._names(row[6] for row in rows)}){actions}"
            )
            if first[9]:
                create += f"; ALTER TABLE {table} NOCHECK CONSTRAINT {self._quote(name)}"
            columns = tuple(row[3] for row in rows if first[11]) + tuple(row[6] for row in rows if first[12])
            drop = f"ALTER TABLE {table} DROP CONSTRAINT {self._quote(name)}"
            result.append(Dependent(name, "foreign key", drop, create, columns))
        return result

    def indexes(self) -> list[Dependent]:
        indexes: dict[str, list[tuple[Any, ...]]] = {}
        for row in self._fetch(_INDEXES, [self._table]):
            indexes.setdefault(row[0], []).append(row)
        return [self._index(name, rows) for name, rows in indexes.items()]

    def _index(self, name: str, rows: list[tuple[Any, ...]]) -> Dependent:
        _, is_primary_key, is_constraint, is_unique, kind, condition, fill_factor, *_ = rows[0]
        clustered = "CLUSTERED" if kind == 1 else "NONCLUSTERED"
        keys = ", ".join(
            self._quote(column) + (" DESC" if descending else "")
            for *_, column, descending, included in rows
            if not included
        )
        quoted = self._quote(name)
        options = f" WITH (FILLFACTOR = {fill_factor})" if fill_factor else ""
        columns = tuple(row[7] for row in rows)
        if is_primary_key or is_constraint:
            constraint = "PRIMARY KEY" if is_primary_key else "UNIQUE"
            return Dependent(
                name,
                constraint.lower(),
                f"ALTER TABLE {self._table} DROP CONSTRAINT {quoted}",
                f"ALTER TABLE {self._table} ADD CONSTRAINT {quoted} {constraint} {clustered} ({keys}){options}",
                columns,
            )
        included = [column for *_, column, _, is_included in rows if is_included]
        create = (
            f"CREATE {'UNIQUE ' if is_unique else ''}{clustered} INDEX {quoted} ON {self._table} ({keys})"
        )
        if included:
            create += f" INCLUDE ({self._names(included)})"
        if condition:
            create += f" WHERE {condition}"
        return Dependent(name, "index", f"DROP INDEX {quoted} ON {self._table}", create + options, columns)

    def checks(self) -> list[Dependent]:
        result = []
        for name, definition, is_disabled in self._fetch(_CHECKS, [self._table]):
            quoted = self._quote(name)
            create = f"ALTER TABLE {self._table} ADD CONSTRAINT {quoted} CHECK {definition}"
            if is_disabled:
                create = create.replace("ADD", "WITH NOCHECK ADD", 1)
                create += f"; ALTER TABLE {self._table} NOCHECK CONSTRAINT {quoted}"
            drop = f"ALTER TABLE {self._table} DROP CONSTRAINT {quoted}"
            result.append(Dependent(name, "check", drop, create))
        return result

    def defaults(self) -> list[Dependent]:
        return [
            Dependent(
                name,
                "default",
                f"ALTER TABLE {self._table} DROP CONSTRAINT {self._quote(name)}",
                f"ALTER TABLE {self._table} ADD CONSTRAINT {self._quote(name)} DEFAULT {definition} "
                f"FOR {self._quote(column)}",
                (column,),
            )
            for name, definition, column in self._fetch(_DEFAULTS, [self._table])
        ]

    def computed_columns(self) -> list[Dependent]:
        return [
            Dependent(
                name,
                "computed column",
                f"ALTER TABLE {self._table} DROP COLUMN {self._quote(name)}",
                f"ALTER TABLE {self._table} ADD {self._quote(name)} AS {definition}"
                + (" PERSISTED" if persisted else "")
                + (" NOT NULL" if persisted and not nullable else ""),
                (name,),
            )
            for name, definition, persisted, nullable in self._fetch(_COMPUTED, [self._table])
        ]

    def _names(self, names: Iterable[str]) -> str:
        return ", ".join(self._quote(name) for name in names)


def mentions(text: str, column: str) -> bool:
    """Say whether an expression from the catalog, where each name stands in brackets, names a column."""
    return f"[{column.replace(']', ']]')}]".lower() in text.lower()


def renamed(text: str, old: str, new: str) -> str:
    """Write a column's new name into an expression from the catalog."""
    quoted_old, quoted_new = (f"[{name.replace(']', ']]')}]" for name in (old, new))
    parts, start, lower = [], 0, text.lower()
    while (position := lower.find(quoted_old.lower(), start)) >= 0:
        parts += [text[start:position], quoted_new]
        start = position + len(quoted_old)
    return "".join([*parts, text[start:]])
