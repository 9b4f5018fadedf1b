"""The tables and indexes behind the names in a plan of PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlserver_standin.engine.plan_expressions import (
    REFERENCE,
    bare_names,
    comparison,
    split_conjuncts,
    unquoted,
)

if TYPE_CHECKING:
    from sqlserver_standin.engine.session import Session


@dataclass(slots=True)
class PlanIndex:
    """An index: SQL Server's name, PostgreSQL's columns."""

    name: str
    clustered: bool
    columns: tuple[str, ...]


@dataclass(slots=True)
class PlanTable:
    """A table with what a plan shows of it."""

    schema: str
    name: str
    rows: float
    columns: Mapping[str, tuple[str, int]]
    """PostgreSQL's column name → SQL Server's name and column_id."""
    indexes: Mapping[str, PlanIndex]

    @property
    def clustered(self) -> PlanIndex | None:
        """The clustered index; None for a heap."""
        return next((index for index in self.indexes.values() if index.clustered), None)

    def covers(self, index: PlanIndex, columns: Set[str]) -> bool:
        """Whether these columns are read in the index alone: each index holds the clustered one's key, too.

        https://learn.microsoft.com/sql/relational-databases/sql-server-index-design-guide
        """
        clustered = self.clustered
        return columns <= {*index.columns, *(clustered.columns if clustered else ())}


class PlanTables:
    """Names behind PostgreSQL's names."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._tables: dict[tuple[str, str], PlanTable | None] = {}

    def table(self, schema: str, relation: str) -> PlanTable | None:
        """The table behind a relation of PostgreSQL; None outside the user's schemas."""
        key = (schema, relation)
        if key not in self._tables:
            self._tables[key] = self._load(schema, relation)
        return self._tables[key]

    def _load(self, schema: str, relation: str) -> PlanTable | None:
        if schema in ("pg_catalog", "information_schema", "sys_meta"):
            return None
        info = self._session.catalog.info("" if schema.startswith("pg_temp") else schema, relation)
        if info is None:
            return None
        link = self._session.link
        rows = link.rows("SELECT greatest(reltuples, 0) FROM pg_class WHERE oid = $1::oid", (info.object_id,))
        indexes = {}
        for name, description, columns in link.rows(
            """SELECT c.relname, d.description,
                      (SELECT json_agg(a.attname ORDER BY k.position)
                         FROM unnest(i.indkey) WITH ORDINALITY k (attnum, position)
                         JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum)
                 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                 LEFT JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass
                WHERE i.indrelid = $1::oid""",
            (info.object_id,),
        ):
            meta = json.loads(description or "{}")
            assert name is not None
            indexes[name] = PlanIndex(
                meta.get("name", name), bool(meta.get("clustered")), tuple(json.loads(columns or "[]"))
            )
        return PlanTable(
            info.schema,
            info.name,
            float(rows[0][0] or 0) if rows else 0.0,
            {column.pg_name: (column.name, column.number) for column in info.columns},
            indexes,
        )


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A node of EXPLAIN and all below it."""
    yield node
    for child in node.get("Plans", ()):
        yield from nodes(child)


def filtered_columns(node: dict[str, Any], table: PlanTable) -> tuple[list[str], list[str]]:
    """Columns that a scan's filter compares with values: by equality, and otherwise."""
    equal: list[str] = []
    unequal: list[str] = []
    for conjunct in split_conjuncts(node["Filter"]):
        found = comparison(conjunct)
        if found is None:
            continue
        reference = REFERENCE.match(found[0])
        if reference is None or unquoted(reference[1]) != node.get("Alias"):
            continue
        column = unquoted(reference[2])
        if column not in table.columns or REFERENCE.search(found[2]):
            continue
        if found[1] == "=" and column not in equal:
            equal.append(column)
        elif found[1] in ("<", "<=", ">", ">=") and column not in unequal:
            unequal.append(column)
    return equal, unequal


def output_columns(node: dict[str, Any], table: PlanTable) -> list[str]:
    """Columns of the table that a scan puts out. Of a lone table PostgreSQL leaves the alias out."""
    found: dict[str, None] = {}
    for output in node.get("Output", ()):
        references = [(unquoted(alias), unquoted(name)) for alias, name in REFERENCE.findall(output)]
        names = (
            [name for alias, name in references if alias == node.get("Alias")]
            if references
            else bare_names(output)
        )
        found |= dict.fromkeys(name for name in names if name in table.columns)
    return list(found)


def condition_columns(node: dict[str, Any], table: PlanTable) -> set[str]:
    """Columns of the table that a scan's conditions read."""
    found = set()
    for key in ("Filter", "Index Cond", "Recheck Cond"):
        for match in REFERENCE.finditer(node.get(key, "")):
            if unquoted(match[1]) == node.get("Alias") and unquoted(match[2]) in table.columns:
                found.add(unquoted(match[2]))
    return found
