"""CHECK, FOREIGN KEY and DEFAULT constraints, and adding or dropping those of any kind."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sqlserver_standin.engine import statements as st
from sqlserver_standin.engine.ddl.columns import Columns
from sqlserver_standin.engine.ddl.definer import Definer, json_text, system_name
from sqlserver_standin.engine.ddl.indexes import Indexes
from sqlserver_standin.engine.definitions import definition as stored_definition
from sqlserver_standin.engine.link import PostgresError
from sqlserver_standin.engine.metadata import ColumnInfo, TableInfo
from sqlserver_standin.engine.names import pg_name, quote, quote_literal
from sqlserver_standin.errors import sql_error
from sqlserver_standin.events import SqlError
from sqlserver_standin.types import SqlType

if TYPE_CHECKING:
    from sqlserver_standin.engine.session import Session


class Constraints(Definer):
    """Adds, switches and drops constraints."""

    def __init__(self, session: Session, indexes: Indexes, columns: Columns) -> None:
        super().__init__(session)
        self._indexes = indexes
        self._columns = columns

    def check_sql(self, table: TableInfo, constraint: st.Constraint, *, validate: bool = True) -> list[str]:
        assert constraint.source is not None
        name = constraint.name or system_name("CK", table.name, "")
        if constraint.name and table.pg_schema != "pg_temp" and self.objects_named(table.pg_schema, name):
            raise self.could_not_create(sql_error(2714, name))
        condition, _ = self.expression(constraint.source.node, table)
        pg_constraint = pg_name(name)
        meta: dict[str, Any] = {
            "definition": stored_definition(constraint.source.node, constraint.source.text)
        }
        if pg_constraint != name:
            meta["name"] = name
        if constraint.name is None:
            meta["system"] = True
        suffix = "" if validate else " NOT VALID"
        qualified = self.create_name(table)
        return [
            f"ALTER TABLE {qualified} ADD CONSTRAINT {quote(pg_constraint)} CHECK ({condition}){suffix}",
            f"COMMENT ON CONSTRAINT {quote(pg_constraint)} ON {qualified} IS {quote_literal(json_text(meta))}",
        ]

    def add_foreign_key(
        self, table: TableInfo, constraint: st.Constraint, command: str, *, validate: bool = True
    ) -> None:
        if table.kind == "temp":
            # SQL Server skips them with a message: https://learn.microsoft.com/sql/t-sql/statements/create-table-transact-sql
            return
        try:
            sql = self._foreign_key_sql(table, constraint, validate=validate)
        except SqlError as error:
            raise self.could_not_create(error) from None
        try:
            self.run(sql)
        except PostgresError as error:
            if error.sqlstate == "23503":
                raise self._session.foreign_key_conflict(error, "ALTER TABLE") from None
            raise

    def _foreign_key_sql(self, table: TableInfo, constraint: st.Constraint, *, validate: bool) -> list[str]:
        target = self.find(constraint.reference)
        same = target is None and self.split(constraint.reference)[1].lower() == table.name.lower()
        if same:
            target = table
        columns = [name for name, _ in constraint.columns]
        name = constraint.name or system_name("FK", table.name, columns[0])
        if target is None:
            raise sql_error(1767, name, ".".join(constraint.reference))
        if constraint.name and self.objects_named(table.pg_schema, name):
            raise sql_error(2714, name)
        referenced = list(constraint.reference_columns) or self._indexes.primary_key(target)
        if not referenced:
            raise sql_error(1773, name, target.full_name)
        local_columns = []
        for column_name in columns:
            column = table.column(column_name)
            if column is None:
                raise sql_error(1769, name, column_name, table.name)
            local_columns.append(column)
        foreign_columns = []
        for column_name in referenced:
            column = target.column(column_name)
            if column is None:
                raise sql_error(1770, name, column_name, target.full_name)
            foreign_columns.append(column)
        if not self._indexes.is_unique(target, foreign_columns):
            raise sql_error(1776, target.full_name, name)
        for local, foreign in zip(local_columns, foreign_columns, strict=True):
            if _type_group(local.type) != _type_group(foreign.type):
                raise sql_error(1778, f"{target.full_name}", foreign.name, f"{table.name}", local.name, name)
            if (local.type.length, local.type.precision, local.type.scale) != (
                foreign.type.length,
                foreign.type.precision,
                foreign.type.scale,
            ) and local.type.name not in ("nvarchar", "varchar", "varbinary"):
                raise sql_error(1753, target.full_name, foreign.name, table.name, local.name, name)
        self._refuse_cascade_cycles(table, target, name, constraint)
        pg_constraint = pg_name(name)
        meta: dict[str, Any] = {} if pg_constraint == name else {"name": name}
        if constraint.name is None:
            meta["system"] = True
        if not validate:
            meta["not_trusted"] = True
        sql = (
            f"ALTER TABLE {table.qualified} ADD CONSTRAINT {quote(pg_constraint)} FOREIGN KEY "
            f"({', '.join(quote(column.pg_name) for column in local_columns)}) REFERENCES {target.qualified} "
            f"({', '.join(quote(column.pg_name) for column in foreign_columns)})"
        )
        if constraint.on_delete != "NO ACTION":
            sql += f" ON DELETE {constraint.on_delete}"
        if constraint.on_update != "NO ACTION":
            sql += f" ON UPDATE {constraint.on_update}"
        if not validate:
            sql += " NOT VALID"
        return [
            sql,
            f"COMMENT ON CONSTRAINT {quote(pg_constraint)} ON {table.qualified} IS {quote_literal(json_text(meta))}",
        ]

    def _refuse_cascade_cycles(
        self, table: TableInfo, target: TableInfo, name: str, constraint: st.Constraint
    ) -> None:
        """1785: no table may be reached twice by the cascades that start at one table."""
        for action, column in ((constraint.on_delete, "confdeltype"), (constraint.on_update, "confupdtype")):
            if action == "NO ACTION":
                continue
            edges: dict[str, list[tuple[str, bool]]] = defaultdict(list)
            for parent, child, kind in self._session.link.rows(
                f"SELECT confrelid::regclass, conrelid::regclass, {column} FROM pg_constraint "
                f"WHERE contype = 'f' AND {column} <> 'a'"
            ):
                assert parent
                assert child
                edges[parent].append((child, kind == "c"))
            rows = self._session.link.rows(
                "SELECT $1::regclass::text, $2::regclass::text", (target.qualified, table.qualified)
            )
            parent, child = rows[0]
            assert parent
            assert child
            edges[parent].append((child, action == "CASCADE"))
            for start in list(edges):
                if _reaches_twice(start, edges):
                    raise sql_error(1785, name, table.name)

    def added_sql(
        self,
        table: TableInfo,
        constraint: st.Constraint,
        added: Sequence[ColumnInfo],
        check_existing: bool | None,
    ) -> Iterator[str]:
        if constraint.kind in ("PRIMARY KEY", "UNIQUE"):
            if constraint.kind == "PRIMARY KEY":
                if self._indexes.primary_key(table):
                    raise self.could_not_create(sql_error(1779, table.name))
                for name, _ in constraint.columns:
                    column = table.column(name)
                    if column and column.nullable and column not in added:
                        raise self.could_not_create(sql_error(8111, table.name))
            yield from self._indexes.key_sql(table, constraint)
        elif constraint.kind == "CHECK":
            yield from self.check_sql(table, constraint, validate=check_existing is not False)
        elif constraint.kind == "DEFAULT" and constraint.for_column and constraint.source:
            column = table.column(constraint.for_column)
            if column is None:
                raise self.could_not_create(sql_error(1752, constraint.for_column, table.name))
            if column in added:
                return
            if column.default:
                raise self.could_not_create(sql_error(1781))
            expression, _ = self.expression(constraint.source.node, None, column.type)
            column.default = self._columns.default(table, column, constraint)
            yield f"ALTER TABLE {table.qualified} ALTER COLUMN {quote(column.pg_name)} SET DEFAULT {expression}"
            yield self.column_comment(table, column)

    def drop(self, table: TableInfo, name: str, *, if_exists: bool) -> None:
        index = self._indexes.find_index(table, name)
        if index is not None and index[1].get("kind", "INDEX") != "INDEX":
            referencing = self._session.link.rows(
                """SELECT coalesce(td.description::jsonb ->> 'name', t.relname),
                          coalesce(d.description::jsonb ->> 'name', k.conname)
                     FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid
                     LEFT JOIN pg_description d ON d.objoid = k.oid AND d.classoid = 'pg_constraint'::regclass
                     LEFT JOIN pg_description td ON td.objoid = t.oid AND td.classoid = 'pg_class'::regclass
                              AND td.objsubid = 0
                    WHERE k.contype = 'f' AND k.conindid = $1::regclass""",
                (f"{quote(table.pg_schema)}.{quote(index[0])}",),
            )
            for other, foreign_key in referencing:
                raise self.could_not_drop(sql_error(3725, name, other, foreign_key))
            self.run([f"DROP INDEX {quote(table.pg_schema)}.{quote(index[0])}"])
            return
        for column in table.columns:
            if column.default and column.default.name.lower() == name.lower():
                column.default = None
                self.run(
                    [
                        f"ALTER TABLE {table.qualified} ALTER COLUMN {quote(column.pg_name)} DROP DEFAULT",
                        self.column_comment(table, column),
                    ]
                )
                return
        rows = self._session.link.rows(
            """SELECT k.conname FROM pg_constraint k
                 LEFT JOIN pg_description d ON d.objoid = k.oid AND d.classoid = 'pg_constraint'::regclass
                WHERE k.conrelid = $1::oid AND k.contype IN ('c', 'f')
                  AND lower(coalesce(d.description::jsonb ->> 'name', k.conname)) = lower($2::text)""",
            (table.object_id, name),
        )
        if rows:
            self.run([f"ALTER TABLE {table.qualified} DROP CONSTRAINT {quote(rows[0][0] or '')}"])
        elif not if_exists:
            raise self.could_not_drop(sql_error(3728, name))

    def switch(self, statement: st.AlterTableCheck) -> None:
        """CHECK and NOCHECK CONSTRAINT. WITH CHECK validates the rows that are there."""
        table = self.table(statement.table)
        wanted = {name.lower() for name in statement.names}
        rows = self._session.link.rows(
            """SELECT k.conname, k.contype, pg_get_constraintdef(k.oid), d.description, k.convalidated, k.conenforced
                 FROM pg_constraint k
                 LEFT JOIN pg_description d ON d.objoid = k.oid AND d.classoid = 'pg_constraint'::regclass
                WHERE k.conrelid = $1::oid AND k.contype IN ('c', 'f') ORDER BY k.oid""",
            (table.object_id,),
        )
        found: set[str] = set()
        for pg_constraint, _, definition, description, validated, enforced in rows:
            assert pg_constraint
            assert definition
            meta = json.loads(description or "{}")
            name = meta.get("name", pg_constraint)
            if wanted and name.lower() not in wanted:
                continue
            found.add(name.lower())
            trusted = not meta.get("not_trusted") and validated == "t" and enforced == "t"
            if statement.enable and enforced == "t" and (trusted or not statement.check_existing):
                # Nothing can have broken a constraint that was enforced all the time.
                continue
            if not statement.enable and enforced == "f":
                continue
            base = definition.removesuffix(" NOT VALID").removesuffix(" NOT ENFORCED")
            suffix = "" if statement.check_existing else " NOT VALID"
            if not statement.enable:
                suffix = " NOT ENFORCED"
            meta["not_trusted"] = not (statement.enable and statement.check_existing)
            try:
                self.run(
                    [
                        f"ALTER TABLE {table.qualified} DROP CONSTRAINT {quote(pg_constraint)}",
                        f"ALTER TABLE {table.qualified} ADD CONSTRAINT {quote(pg_constraint)} {base}{suffix}",
                        f"COMMENT ON CONSTRAINT {quote(pg_constraint)} ON {table.qualified} "
                        f"IS {quote_literal(json_text(meta))}",
                    ]
                )
            except PostgresError as error:
                if error.sqlstate == "23503":
                    raise self._session.foreign_key_conflict(error, "ALTER TABLE") from None
                if error.sqlstate == "23514":
                    raise self._session.check_conflict(error, "ALTER TABLE") from None
                raise
        for name in statement.names:
            if name.lower() not in found:
                raise sql_error(4917, name)


def _type_group(data_type: SqlType) -> str:
    return "decimal" if data_type.name == "numeric" else data_type.name


def _reaches_twice(start: str, edges: dict[str, list[tuple[str, bool]]]) -> bool:
    seen = {start}
    waiting = [start]
    while waiting:
        for child, goes_on in edges.get(waiting.pop(), ()):
            if child in seen:
                return True
            seen.add(child)
            if goes_on:
                waiting.append(child)
    return False
