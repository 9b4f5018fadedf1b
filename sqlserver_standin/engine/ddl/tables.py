"""CREATE, ALTER, DROP and TRUNCATE TABLE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlserver_standin.engine import statements as st
from sqlserver_standin.engine.ddl.columns import Columns
from sqlserver_standin.engine.ddl.constraints import Constraints
from sqlserver_standin.engine.ddl.definer import Definer, comment
from sqlserver_standin.engine.ddl.indexes import Indexes
from sqlserver_standin.engine.link import PostgresError
from sqlserver_standin.engine.metadata import ColumnInfo, TableInfo
from sqlserver_standin.engine.names import pg_name, quote
from sqlserver_standin.errors import sql_error, unsupported
from sqlserver_standin.events import SqlError

if TYPE_CHECKING:
    from sqlserver_standin.engine.session import Session


class Tables(Definer):
    """Makes, changes and drops tables."""

    def __init__(
        self, session: Session, indexes: Indexes, columns: Columns, constraints: Constraints
    ) -> None:
        super().__init__(session)
        self._indexes = indexes
        self._columns = columns
        self._constraints = constraints

    def create(self, statement: st.CreateTable, pg_table: str | None = None) -> TableInfo | None:
        """CREATE TABLE; ``pg_table`` names the temporary table behind a table variable."""
        schema, name = self.split(statement.name)
        temporary = pg_table is not None or name.startswith("#")
        if temporary:
            if name.startswith("##"):
                raise unsupported("global temporary tables", statement.line)
            pg_schema = "pg_temp"
            if pg_table is None and self._session.catalog.info("", name) is not None:
                raise sql_error(2714, name)
        else:
            pg_schema = self.target_schema(schema)
            if self.objects_named(pg_schema, name):
                raise sql_error(2714, name)
        table = TableInfo(
            0, schema, pg_schema, name, pg_table or pg_name(name), "temp" if temporary else "table", {}
        )
        constraints = [*statement.constraints]
        # A computed column may name columns that come after it.
        for definition in sorted(statement.columns, key=lambda each: each.computed is not None):
            if table.column(definition.name):
                raise sql_error(2705, definition.name, name)
            table.columns.append(self._columns.new(table, definition))
        order = {definition.name: position for position, definition in enumerate(statement.columns, 1)}
        table.columns.sort(key=lambda column: order[column.name])
        for column in table.columns:
            column.number = order[column.name]
        for definition in statement.columns:
            constraints.extend(definition.constraints)
        self._columns.apply_nullability(table, statement.columns, constraints)
        lines = [
            self._columns.sql(table, definition, column, constraints)
            for definition, column in zip(statement.columns, table.columns, strict=True)
        ]
        meta = {} if table.pg_name == name else {"name": name}
        sql = [
            f"CREATE {'TEMPORARY ' if temporary else ''}TABLE {self.create_name(table)} ({', '.join(lines)})",
            comment("TABLE", table.qualified, {**meta, "created": "now"}),
        ]
        keys = [c for c in constraints if c.kind in ("PRIMARY KEY", "UNIQUE")]
        if sum(c.kind == "PRIMARY KEY" for c in keys) > 1:
            raise sql_error(8110, name)
        for constraint in keys:
            sql.extend(self._indexes.key_sql(table, constraint))
        for index in statement.indexes:
            sql.extend(self._indexes.index_sql(table, index))
        for constraint in constraints:
            if constraint.kind == "CHECK":
                sql.extend(self._constraints.check_sql(table, constraint))
        try:
            self.run([*sql, *self.column_comments(table)])
        except PostgresError as error:
            if error.sqlstate == "42P17":
                raise self._not_deterministic(table, table.columns) from None
            raise
        for constraint in constraints:
            if constraint.kind == "FOREIGN KEY":
                self._constraints.add_foreign_key(table, constraint, "CREATE TABLE")
        if pg_table is None:
            self._session.schema_changed(local=temporary, only_added_to=table)
        return table

    def add_elements(self, statement: st.AlterTableAdd) -> None:
        table = self.table(statement.table)
        if table.kind == "view":
            raise sql_error(4909, table.name)
        constraints = [*statement.constraints]
        sql: list[str] = []
        added: list[ColumnInfo] = []
        number = max((column.number for column in table.columns), default=0)
        for definition in statement.columns:
            if table.column(definition.name):
                raise sql_error(2705, definition.name, table.full_name)
            number += 1
            column = self._columns.new(table, definition)
            column.number = number
            constraints.extend(definition.constraints)
            table = replace(table, columns=[*table.columns, column])
            added.append(column)
        own = [c for c in constraints if c.kind == "PRIMARY KEY"]
        new = replace(table, columns=added)
        self._columns.apply_nullability(new, statement.columns, own)
        for definition, column in zip(statement.columns, added, strict=True):
            has_default = column.type.name == "timestamp" or any(
                c.kind == "DEFAULT" and c.for_column == column.name for c in constraints
            )
            if not (
                column.nullable or has_default or column.identity or definition.computed
            ) and not self._empty(table):
                raise sql_error(4901, column.name, table.name)
            text = self._columns.sql(table, definition, column, constraints)
            sql.append(f"ALTER TABLE {table.qualified} ADD COLUMN {text}")
            if has_default and column.nullable and not self._with_values(constraints, column):
                # A nullable column's default is for later rows only, unless WITH VALUES is said.
                expression = text.split(" DEFAULT ", 1)[1]
                sql[-1] = f"ALTER TABLE {table.qualified} ADD COLUMN {text.split(' DEFAULT ', 1)[0]}"
                sql.append(
                    f"ALTER TABLE {table.qualified} ALTER COLUMN {quote(column.pg_name)} SET DEFAULT {expression}"
                )
            sql.append(self.column_comment(table, column))
        for constraint in constraints:
            sql.extend(self._constraints.added_sql(table, constraint, added, statement.check_existing))
        try:
            self.run(sql)
        except PostgresError as error:
            if error.sqlstate == "23505":
                raise self._duplicate_key(table, constraints, error) from None
            if error.sqlstate == "23514":
                raise self._session.check_conflict(error, "ALTER TABLE") from None
            if error.sqlstate == "42P17":
                raise self._not_deterministic(table, added) from None
            raise
        self._session.schema_changed(only_added_to=table)
        for constraint in constraints:
            if constraint.kind == "FOREIGN KEY":
                self._constraints.add_foreign_key(
                    self.table(statement.table),
                    constraint,
                    "ALTER TABLE",
                    validate=statement.check_existing is not False,
                )
        self._session.schema_changed(only_added_to=table)

    @staticmethod
    def _not_deterministic(table: TableInfo, columns: Sequence[ColumnInfo]) -> SqlError:
        """PostgreSQL does not say which column it is."""
        computed = [column for column in columns if column.computed is not None]
        if len(computed) == 1 and computed[0].persisted:
            return sql_error(4936, computed[0].name, table.name)
        return unsupported("a computed column that is not deterministic")

    @staticmethod
    def _with_values(constraints: Sequence[st.Constraint], column: ColumnInfo) -> bool:
        return any(each.for_column == column.name and each.with_values for each in constraints)

    def _duplicate_key(
        self, table: TableInfo, constraints: Sequence[st.Constraint], error: PostgresError
    ) -> SqlError:
        name = next(
            (
                constraint.name
                for constraint in constraints
                if constraint.name and constraint.kind in ("UNIQUE", "PRIMARY KEY")
            ),
            error.constraint,
        )
        return self.could_not_create(
            sql_error(1505, table.full_name, name, self._session.duplicate_values(error.detail))
        )

    def _empty(self, table: TableInfo) -> bool:
        return not self._session.link.rows(f"SELECT 1 FROM {table.qualified} LIMIT 1")

    def drop_elements(self, statement: st.AlterTableDrop) -> None:
        table = self.table(statement.table)
        for kind, name, if_exists in statement.items:
            if kind == "COLUMN":
                self._columns.drop(table, name, if_exists=if_exists)
            else:
                self._constraints.drop(table, name, if_exists=if_exists)
            self._session.schema_changed()
            table = self.table(statement.table)

    def drop(self, name: st.Name, *, if_exists: bool) -> None:
        table = self.find(name)
        if table is None or table.kind == "view":
            if table is not None:
                raise sql_error(3705, "TABLE", name[-1], name[-1], "view", "DROP VIEW")
            if if_exists:
                return
            raise sql_error(3701, "drop", "table", ".".join(name))
        referencing = self._session.link.rows(
            "SELECT 1 FROM pg_constraint WHERE contype = 'f' AND confrelid = $1::oid AND conrelid <> confrelid LIMIT 1",
            (table.object_id,),
        )
        if referencing:
            raise sql_error(3726, ".".join(name))
        self.run([f"DROP TABLE {table.qualified}", *self.forget_properties(table.object_id)])
        self._session.schema_changed()

    def truncate(self, statement: st.TruncateTable) -> None:
        table = self.table(statement.table, 4701)
        referencing = self._session.link.rows(
            "SELECT 1 FROM pg_constraint WHERE contype = 'f' AND confrelid = $1::oid AND conrelid <> confrelid LIMIT 1",
            (table.object_id,),
        )
        if referencing:
            raise sql_error(4712, ".".join(statement.table))
        self.run([f"TRUNCATE TABLE {table.qualified} RESTART IDENTITY"])
