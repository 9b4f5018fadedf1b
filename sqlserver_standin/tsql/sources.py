"""What stands in FROM: tables, joins, derived tables and functions, with the hints on tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlserver_standin.engine.catalog import Catalog, Table
from sqlserver_standin.events import SqlError
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.expressions import Context, ExpressionTranslator
from sqlserver_standin.tsql.outputs import Translated, relation_columns
from sqlserver_standin.tsql.parse_tokens import unsupported
from sqlserver_standin.tsql.row_locks import WRITE_LOCKS, RowLock, row_lock
from sqlserver_standin.tsql.scope import Relation, RelationColumn, Scope, table_relation
from sqlserver_standin.tsql.select_state import SelectState
from sqlserver_standin.tsql.values import identifier
from sqlserver_standin.types import SqlType


@dataclass(slots=True)
class CommonTable:
    """A name that WITH has defined."""

    pg_name: str
    columns: tuple[RelationColumn, ...]
    recursive: bool = False
    """It has a column that counts the recursions, too."""


class SourceTranslator(ExpressionTranslator):
    """Translates the sources in FROM; queries inside them are the subclass's work."""

    def __init__(self, catalog: Catalog, context: Context) -> None:
        super().__init__(catalog, context)
        self.common: dict[str, CommonTable] = {}
        self.state = SelectState()
        self.aliases: set[str] = set()
        self.before: list[str] = []

    def nested_query(self, query: ast.Query) -> Translated:
        """A query inside the current one."""
        raise NotImplementedError

    def table_function(self, node: ast.FunctionTable) -> tuple[str, str, list[tuple[str, SqlType, bool]]]:
        """(SQL, default alias, columns) of a function in FROM."""
        raise NotImplementedError

    # -- names -----------------------------------------------------------------------------------------------

    def pg_alias(self, name: str) -> str:
        """A quoted alias that no other relation of the statement has."""
        candidate, number = name, 1
        while candidate.lower() in self.aliases:
            number += 1
            candidate = f"{name}_{number}"
        self.aliases.add(candidate.lower())
        return identifier(candidate)

    def find_table(self, name: tuple[str, ...]) -> Table:
        """The table or view that ``name`` means here."""
        if name[0].startswith("@"):
            table = self.context.tables.get(name[0])
            if table is None:
                raise SqlError(1087, f'Must declare the table variable "{name[0]}".', severity=15)
            return table
        if len(name) == 1 and name[0].lower() in self.common:
            raise unsupported("a data change whose target is a common table")
        if len(name) == 1 and name[0].lower() in self.context.tables:
            return self.context.tables[name[0].lower()]
        if len(name) == 4:
            raise SqlError(
                7202,
                f"Could not find server '{name[0]}' in sys.servers. Verify that the correct server name was "
                "specified. If necessary, execute the stored procedure sp_addlinkedserver to add the server to "
                "sys.servers.",
            )
        schema = name[-2] if len(name) > 1 and name[-2] else None
        database = name[-3] if len(name) > 2 else None
        found = self.catalog.table(database, schema, name[-1])
        if found is None:
            raise SqlError(208, f"Invalid object name '{'.'.join(name)}'.")
        return found

    # -- sources ---------------------------------------------------------------------------------------------

    def source(self, node: ast.Source, *, optional: bool = False, lateral: bool = False) -> str:
        """A source in FROM; its relations join the scope. ``optional`` on the NULL-able side of an outer join."""
        match node:
            case ast.TableSource():
                return self._table(node, optional)
            case ast.Join():
                return self._join(node, optional)
            case ast.DerivedTable():
                return self._derived(node, optional, lateral)
            case ast.ValuesTable():
                return self._values(node, optional, lateral)
            case ast.FunctionTable():
                return self._function_table(node, optional)
        raise unsupported(type(node).__name__)

    def _table(self, node: ast.TableSource, optional: bool) -> str:
        if len(node.name) == 1:
            common = self.common.get(node.name[0].lower())
            if common is not None:
                alias = self.pg_alias(node.alias or node.name[0])
                self._add(node.alias or node.name[0], common.columns, alias, optional)
                if common.recursive:
                    self.state.recursion = alias
                return f"{common.pg_name} AS {alias}"
        table = self.find_table(node.name)
        self.check_indexes(node, table)
        alias = self.pg_alias(node.alias or table.name)
        self.scope.add(table_relation(table, node.alias, alias, nullable=optional))
        return self._locked(table.pg_name, alias, node.hints, optional)

    def check_indexes(self, node: ast.TableSource, table: Table) -> None:
        """INDEX hints have no effect, but must name an index that is there."""
        for index in node.indexes:
            if index != "0" and not self.catalog.has_index(table, index):
                number, what = (307, f"Index ID {index}") if index.isdecimal() else (308, f"Index '{index}'")
                raise SqlError(
                    number,
                    f"{what} on table '{'.'.join(node.name)}' (specified in the FROM clause) does not exist.",
                )

    def _locked(self, pg_name: str, alias: str, hints: Sequence[str], optional: bool) -> str:
        """The table under its alias; locking hints become row locks.

        https://learn.microsoft.com/sql/t-sql/queries/hints-transact-sql-table
        """
        if not hints:
            return f"{pg_name} AS {alias}"
        if "TABLOCKX" in hints or ("TABLOCK" in hints and WRITE_LOCKS & set(hints)):
            self.before.append(f"LOCK TABLE {pg_name} IN EXCLUSIVE MODE")
            return f"{pg_name} AS {alias}"
        strength, wait = row_lock(hints)
        if not strength:
            return f"{pg_name} AS {alias}"
        if optional or not self.state.lockable:
            # PostgreSQL locks neither groups nor the optional side of an outer join: lock the rows beneath.
            return f"(SELECT * FROM {pg_name} FOR {strength}{wait}) AS {alias}"
        self.state.locks.append(RowLock(strength, alias, wait))
        return f"{pg_name} AS {alias}"

    def _add(self, name: str, columns: Sequence[RelationColumn], alias: str, optional: bool) -> None:
        self.scope.add(
            Relation(
                name,
                tuple(
                    replace(
                        column,
                        sql=f"{alias}.{identifier(column.name)}",
                        nullable=column.nullable or optional,
                    )
                    for column in columns
                ),
            )
        )

    def _join(self, node: ast.Join, optional: bool) -> str:
        if node.kind in ("CROSS APPLY", "OUTER APPLY"):
            left = self.source(node.left, optional=optional)
            right = self.source(node.right, optional=optional or node.kind == "OUTER APPLY", lateral=True)
            if node.kind == "CROSS APPLY":
                return f"{left} CROSS JOIN LATERAL {right}"
            return f"{left} LEFT JOIN LATERAL {right} ON true"
        left = self.source(node.left, optional=optional or node.kind in ("RIGHT", "FULL"))
        if node.kind == "LEFT" and isinstance(node.right, ast.TableSource) and row_lock(node.right.hints)[0]:
            return self._left_join_locked(left, node.right, node.condition)
        right = self.source(node.right, optional=optional or node.kind in ("LEFT", "FULL"))
        if isinstance(node.right, ast.Join):
            right = f"({right})"
        if node.kind == "CROSS":
            return f"{left} CROSS JOIN {right}"
        assert node.condition is not None
        with self.inside("on"):
            condition = self.condition(node.condition)
        return f"{left} {node.kind} JOIN {right} ON {condition}"

    def _left_join_locked(self, left: str, node: ast.TableSource, condition: ast.Condition | None) -> str:
        """LEFT JOIN of a table with a locking hint: a subquery finds and locks the rows that match."""
        assert condition is not None
        strength, wait = row_lock(node.hints)
        table = self.find_table(node.name)
        alias = self.pg_alias(node.alias or table.name)
        self.scope.add(table_relation(table, node.alias, alias, nullable=True))
        with self.inside("on"):
            matching = self.condition(condition)
        rows = f"SELECT {alias}.* FROM {table.pg_name} AS {alias} WHERE {matching} FOR {strength} OF {alias}{wait}"
        return f"{left} LEFT JOIN LATERAL ({rows}) AS {alias} ON true"

    def _derived(self, node: ast.DerivedTable, optional: bool, lateral: bool) -> str:
        scope = self.scope
        self.scope = scope if lateral else (scope.parent or Scope())
        try:
            translated = self.nested_query(node.query)
        finally:
            self.scope = scope
        alias = self.pg_alias(node.alias)
        columns = relation_columns(translated, node.alias, node.columns, alias)
        self.scope.add(
            Relation(node.alias, tuple(replace(c, nullable=c.nullable or optional) for c in columns))
        )
        names = ",".join(identifier(column.name) for column in columns)
        return f"({translated.sql}) AS {alias}({names})"

    def _values(self, node: ast.ValuesTable, optional: bool, lateral: bool) -> str:
        width = len(node.rows[0])
        if any(len(row) != width for row in node.rows):
            raise SqlError(
                10709, "The number of columns for each row in a table value constructor must be the same."
            )
        if len(node.columns) != width:
            few = len(node.columns) < width
            raise SqlError(
                8158 if few else 8159,
                f"'{node.alias}' has {'more' if few else 'fewer'} columns than were specified in the column list.",
            )
        scope = self.scope
        self.scope = scope if lateral else (scope.parent or Scope())
        rows = [[self.value(item) for item in row] for row in node.rows]
        self.scope = scope
        unified = [self.unify(column) for column in zip(*rows, strict=True)]
        alias = self.pg_alias(node.alias)
        self.scope.add(
            Relation(
                node.alias,
                tuple(
                    RelationColumn(
                        name,
                        data_type,
                        f"{alias}.{identifier(name)}",
                        optional or any(value.nullable for value in values),
                    )
                    for name, (data_type, values) in zip(node.columns, unified, strict=True)
                ),
            )
        )
        listed = ", ".join(
            "(" + ", ".join(values[index].sql for _, values in unified) + ")" for index in range(len(rows))
        )
        names = ",".join(identifier(name) for name in node.columns)
        return f"(VALUES {listed}) AS {alias}({names})"

    def _function_table(self, node: ast.FunctionTable, optional: bool) -> str:
        sql, default_name, columns = self.table_function(node)
        name = node.alias or default_name
        alias = self.pg_alias(name)
        if node.columns:
            if len(node.columns) != len(columns):
                raise SqlError(8158, f"'{name}' has more columns than were specified in the column list.")
            columns = [(given, *column[1:]) for given, column in zip(node.columns, columns, strict=True)]
        self.scope.add(
            Relation(
                name,
                tuple(
                    RelationColumn(column, data_type, f"{alias}.{identifier(column)}", nullable or optional)
                    for column, data_type, nullable in columns
                ),
            )
        )
        names = ",".join(identifier(column) for column, _, _ in columns)
        return f"{sql} AS {alias}({names})"
