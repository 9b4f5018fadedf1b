"""Indexes, among them those behind PRIMARY KEY and UNIQUE."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlserver_standin.engine import statements as st
from sqlserver_standin.engine.ddl.definer import Definer, comment, system_name
from sqlserver_standin.engine.definitions import definition as stored_definition
from sqlserver_standin.engine.link import PostgresError
from sqlserver_standin.engine.metadata import ColumnInfo, TableInfo
from sqlserver_standin.engine.names import pg_name, quote
from sqlserver_standin.errors import sql_error, unsupported
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.expressions import descendants
from sqlserver_standin.types import MAX


class Indexes(Definer):
    """Makes and drops indexes."""

    def key_sql(self, table: TableInfo, constraint: st.Constraint) -> list[str]:
        primary = constraint.kind == "PRIMARY KEY"
        name = constraint.name or system_name("PK" if primary else "UQ", table.name)
        if constraint.name and table.pg_schema != "pg_temp" and self.objects_named(table.pg_schema, name):
            raise self.could_not_create(sql_error(2714, name))
        clustered = constraint.clustered if constraint.clustered is not None else primary
        index = st.IndexDefinition(name, constraint.columns, unique=True, clustered=clustered)
        return self.index_sql(table, index, constraint.kind, system_named=constraint.name is None)

    def index_sql(
        self, table: TableInfo, index: st.IndexDefinition, kind: str = "INDEX", *, system_named: bool = False
    ) -> list[str]:
        names = [self._index_column(table, name, is_index=kind == "INDEX") for name, _ in index.columns]
        keys = ", ".join(
            quote(column.pg_name) + (" DESC" if descending else "")
            for column, (_, descending) in zip(names, index.columns, strict=True)
        )
        included = [self._index_column(table, name, is_index=True) for name in index.include]
        relation = self.relation_name(table, index.name)
        meta: dict[str, Any] = {"kind": kind, "clustered": index.clustered}
        if relation != index.name:
            meta["name"] = index.name
        if system_named:
            meta["system"] = True
        parts = [
            f"CREATE {'UNIQUE ' if index.unique else ''}INDEX {quote(relation)} ON {self.create_name(table)} ({keys})"
        ]
        # Columns that are keys already can't be included in PostgreSQL, nor can they in SQL Server (1909).
        if included:
            parts.append(f"INCLUDE ({', '.join(quote(column.pg_name) for column in included)})")
        if index.unique:
            parts.append("NULLS NOT DISTINCT")
        if index.where is not None:
            condition, _ = self.expression(index.where.node, table)
            _check_filter(index.where.node, index, table)
            parts.append(f"WHERE {condition}")
            meta["where"] = stored_definition(index.where.node, index.where.text)
        return [" ".join(parts), comment("INDEX", f"{quote(table.pg_schema)}.{quote(relation)}", meta)]

    @staticmethod
    def _index_column(table: TableInfo, name: str, *, is_index: bool) -> ColumnInfo:
        column = table.column(name)
        if column is None:
            raise sql_error(1911, name)
        kind = column.type
        if kind.name == "json":
            raise sql_error(1978 if is_index else 1919, column.name, table.name)
        if kind.name in ("text", "ntext", "image", "xml") or kind.length == MAX:
            raise sql_error(1919, column.name, table.name)
        return column

    def relation_name(self, table: TableInfo, name: str) -> str:
        """PostgreSQL's indexes share one namespace with its tables; SQL Server's belong to their table."""
        relation = pg_name(name)
        if table.pg_schema == "pg_temp" or table.kind == "temp":
            return pg_name(name, table.pg_name)
        taken = self._session.link.rows(
            "SELECT 1 FROM pg_class WHERE relnamespace = $1::regnamespace AND relname = $2::name",
            (quote(table.pg_schema), relation),
        )
        return pg_name(name, table.pg_name) if taken else relation

    def find_index(self, table: TableInfo, name: str) -> tuple[str, dict[str, Any]] | None:
        """The PostgreSQL name and facts of a table's index."""
        rows = self._session.link.rows(
            """SELECT c.relname, d.description
                 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                 LEFT JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass
                WHERE i.indrelid = $1::oid
                  AND lower(coalesce(d.description::jsonb ->> 'name', c.relname)) = lower($2::text)""",
            (table.object_id, name),
        )
        if not rows:
            return None
        relation, description = rows[0]
        return relation or "", json.loads(description or "{}")

    def create(self, statement: st.CreateIndex) -> None:
        table = self.find(statement.table)
        if table is None:
            raise sql_error(1088, ".".join(statement.table))
        existing = self.find_index(table, statement.index.name)
        before: list[str] = []
        if existing is not None:
            if not statement.drop_existing:
                raise sql_error(1913, statement.index.name, "table", table.full_name)
            before = [f"DROP INDEX {quote(table.pg_schema)}.{quote(existing[0])}"]
        if statement.index.clustered and self._has_clustered(table):
            raise sql_error(1902, table.full_name, self._has_clustered(table))
        try:
            self.run([*before, *self.index_sql(table, statement.index)])
        except PostgresError as error:
            if error.sqlstate == "23505":
                values = self._session.duplicate_values(error.detail)
                raise sql_error(1505, table.full_name, statement.index.name, values) from None
            raise
        self._session.schema_changed(only_added_to=table if existing is None else None)

    def _has_clustered(self, table: TableInfo) -> str | None:
        rows = self._session.link.rows(
            """SELECT coalesce(d.description::jsonb ->> 'name', c.relname)
                 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                 JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass
                WHERE i.indrelid = $1::oid AND (d.description::jsonb -> 'clustered')::bool""",
            (table.object_id,),
        )
        return rows[0][0] if rows else None

    def alter(self, statement: st.AlterIndex) -> None:
        """REBUILD and REORGANIZE have nothing to do."""
        table = self.table(statement.table, 1088)
        if statement.index is not None and self.find_index(table, statement.index) is None:
            raise sql_error(2727, statement.index)
        if statement.action == "DISABLE":
            raise unsupported("ALTER INDEX ... DISABLE", statement.line)

    def drop(self, statement: st.DropIndex) -> None:
        for name, table_name in statement.items:
            table = self.find(table_name) if table_name else None
            found = self.find_index(table, name) if table else None
            if table is None or found is None:
                if statement.if_exists:
                    continue
                raise sql_error(3701, "drop", "index", ".".join((*table_name, name)), state=7 if table else 6)
            relation, meta = found
            if meta.get("kind", "INDEX") != "INDEX":
                raise sql_error(3723, f"{table.full_name}.{name}", meta["kind"])
            self.run([f"DROP INDEX {quote(table.pg_schema)}.{quote(relation)}"])
        self._session.schema_changed()

    def primary_key(self, table: TableInfo) -> list[str]:
        rows = self._session.link.rows(
            """SELECT a.attname FROM pg_index i
                 JOIN pg_description d ON d.objoid = i.indexrelid AND d.classoid = 'pg_class'::regclass
                 CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY k (attnum, position)
                 JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                WHERE i.indrelid = $1::regclass AND d.description::jsonb ->> 'kind' = 'PRIMARY KEY'
                ORDER BY k.position""",
            (table.qualified,),
        )
        by_pg_name = {column.pg_name: column.name for column in table.columns}
        return [by_pg_name[name] for (name,) in rows if name]

    def is_unique(self, table: TableInfo, columns: Sequence[ColumnInfo]) -> bool:
        rows = self._session.link.rows(
            """SELECT string_agg(a.attname, chr(1) ORDER BY a.attname)
                 FROM pg_index i
                 CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY k (attnum, position)
                 JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                WHERE i.indrelid = $1::regclass AND i.indisunique AND i.indpred IS NULL AND k.position <= i.indnkeyatts
                GROUP BY i.indexrelid""",
            (table.qualified,),
        )
        wanted = sorted(column.pg_name for column in columns)
        return any(sorted((names or "").split("\x01")) == wanted for (names,) in rows)


def _check_filter(node: ast.Node, index: st.IndexDefinition, table: TableInfo) -> None:
    """A filter compares columns that are not computed with constants.

    https://learn.microsoft.com/sql/t-sql/statements/create-index-transact-sql#where-filter_predicate
    """
    for each in (node, *descendants(node)):
        if isinstance(each, ast.ColumnName):
            column = table.column(each.parts[-1])
            if column is not None and column.computed:
                raise sql_error(10609, index.name, table.name, column.name)
        operands: tuple[ast.Expression, ...] = ()
        if isinstance(each, ast.Comparison):
            operands = (each.right,)
            if each.right == ast.Constant("null"):
                raise sql_error(10618, index.name, table.name)
        elif isinstance(each, ast.InList):
            operands = each.items
        if not all(map(_is_constant, operands)):
            raise sql_error(10735, index.name, table.name)


def _is_constant(node: ast.Expression) -> bool:
    match node:
        case ast.Constant():
            return True
        case ast.Unary(operand=operand) | ast.Cast(operand=operand) | ast.Collate(operand=operand):
            return _is_constant(operand)
    return False
