"""The translator: T-SQL statements to PostgreSQL, with result types, cached."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import sqlserver_standin.tsql.aggregates
import sqlserver_standin.tsql.date_functions
import sqlserver_standin.tsql.json_functions
import sqlserver_standin.tsql.number_functions
import sqlserver_standin.tsql.other_functions
import sqlserver_standin.tsql.text_functions
import sqlserver_standin.tsql.windows  # noqa: F401  (each fills expressions.FUNCTIONS)
from sqlserver_standin.engine.catalog import Catalog, Table
from sqlserver_standin.events import Column, SqlError
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.conversions import convert
from sqlserver_standin.tsql.dml import DataTranslator, Modified
from sqlserver_standin.tsql.expressions import Context, descendants
from sqlserver_standin.tsql.outputs import Output, Translated
from sqlserver_standin.tsql.parse_tokens import unsupported
from sqlserver_standin.tsql.scope import Scope, table_relation
from sqlserver_standin.types import SqlType

_CACHE_SIZE = 4096


@dataclass(frozen=True, slots=True)
class Translation:
    """A statement for PostgreSQL. ``$1`` … in ``sql`` take the values that ``parameters`` names."""

    sql: str
    parameters: tuple[str, ...]
    kind: str
    """select, select_into, insert, update, delete or merge."""
    columns: tuple[Column, ...] = ()
    """The result set's columns; none when there is no result set."""
    table: Table | None = None
    assignments: tuple[str, ...] = ()
    """SELECT @v = …: variables that take the columns of the last row."""
    accumulates: bool = False
    """An assignment reads what it has assigned for the row before; one row is right all the same."""
    before: tuple[str, ...] = ()
    """Statements that PostgreSQL runs first, in the same transaction."""
    into: tuple[str, ...] | None = None
    """SELECT INTO: the name of the table to make from ``columns``."""
    count_column: bool = False
    """The result is one row, one column: how many rows changed."""


class Translator:
    """Translates for one catalog. A statement seen before costs a dictionary lookup."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._cache: dict[Hashable, Translation] = {}

    def statement(self, node: ast.Statement, context: Context) -> Translation:
        """A SELECT, INSERT, UPDATE, DELETE or MERGE. Raises SqlError with SQL Server's number."""
        key = (node.text, context.key, self.catalog.version)
        known = self._cache.get(key)
        if known is None:
            if len(self._cache) >= _CACHE_SIZE:
                self._cache.clear()
            known = self._cache[key] = self._translated(node, context)
        return known

    def _translated(self, node: ast.Statement, context: Context) -> Translation:
        try:
            return self._translate(node, context)
        except SqlError as error:
            if error.line == 1 and node.line > 1:
                error.line = node.line
            raise

    def _translate(self, node: ast.Statement, context: Context) -> Translation:
        return self._translate_with(node, DataTranslator(self.catalog, context))

    def _translate_with(self, node: ast.Statement, work: DataTranslator) -> Translation:
        work.max_recursion = node.max_recursion
        match node:
            case ast.SelectStatement():
                return self._select(node, work)
            case ast.InsertStatement():
                return _modification(work, work.insert(node), "insert")
            case ast.UpdateStatement():
                return _modification(work, work.update(node), "update")
            case ast.DeleteStatement():
                return _modification(work, work.delete(node), "delete")
            case ast.MergeStatement():
                return _modification(work, work.merge(node), "merge")
        raise unsupported(type(node).__name__)

    @staticmethod
    def _select(node: ast.SelectStatement, work: DataTranslator) -> Translation:
        prefix = work.common_tables(node.common)
        translated = work.query(node.query)
        into = _first_select(node.query.body).into
        return Translation(
            prefix + translated.sql,
            tuple(work.parameters),
            "select" if into is None else "select_into",
            _columns(translated.columns) if not translated.assignments else (),
            assignments=translated.assignments,
            accumulates=translated.accumulates,
            before=tuple(work.before),
            into=into,
        )

    def scalar(self, node: ast.Expression, context: Context, target: SqlType | None = None) -> Translation:
        """An expression outside a query (SET, DECLARE, EXEC …): one row, one column, converted to ``target``."""
        work = DataTranslator(self.catalog, context)
        value = work.value(node)
        if target is not None:
            value = convert(value, target)
        return Translation(
            f"SELECT {value.sql}",
            tuple(work.parameters),
            "select",
            (Column("", value.type, value.nullable),),
        )

    def predicate(self, node: ast.Condition, context: Context) -> Translation:
        """A condition outside a query (IF, WHILE): one row, one boolean."""
        work = DataTranslator(self.catalog, context)
        sql = work.condition(node)
        return Translation(f"SELECT {sql}", tuple(work.parameters), "select", (Column("", SqlType("bit")),))

    def query(
        self, query: ast.Query, context: Context, common: tuple[ast.CommonTable, ...] = ()
    ) -> Translation:
        """A query on its own, for CREATE VIEW."""
        work = DataTranslator(self.catalog, context)
        prefix = work.common_tables(common)
        translated: Translated = work.query(query, nested=True)
        return Translation(
            prefix + translated.sql,
            tuple(work.parameters),
            "select",
            _columns(translated.columns),
            before=tuple(work.before),
        )

    def undeclared_parameters(self, node: ast.Statement, context: Context) -> tuple[tuple[str, SqlType], ...]:
        """The parameters that ``context`` doesn't declare, with the types that their places give them.

        https://learn.microsoft.com/sql/relational-databases/system-stored-procedures/sp-describe-undeclared-parameters-transact-sql
        """
        work = DataTranslator(self.catalog, context)
        work.inferred = {}
        self._translate_with(node, work)
        types = []
        for name, data_type in work.inferred.items():
            if data_type is None:
                raise SqlError(
                    11502,
                    f"The type for parameter '{name}' cannot be deduced in this context.",
                )
            types.append((name, data_type))
        return tuple(types)

    def column_expression(
        self, node: ast.Node, table: Table | None = None, target: SqlType | None = None
    ) -> tuple[str, SqlType]:
        """A DEFAULT, CHECK, computed column or index predicate, as SQL over the table's bare columns."""
        if any(isinstance(each, ast.Query) for each in (node, *descendants(node))):
            raise SqlError(
                1046,
                "Subqueries are not allowed in this context. Only scalar expressions are allowed.",
                severity=15,
            )
        work = DataTranslator(self.catalog, Context())
        if table is not None:
            work.scope = Scope(None, [_bare(table)])
        if isinstance(node, ast.Condition):
            return work.condition(node), SqlType("bit")
        value = work.value(node)
        if target is not None:
            value = convert(value, target)
        return value.sql, value.type


def _bare(table: Table) -> Any:
    """The table's relation with unqualified column references, as DDL wants them."""
    relation = table_relation(table, None)
    columns = tuple(
        type(column)(column.name, column.type, known.pg_name, column.nullable, column.identity)
        for column, known in zip(relation.columns, table.columns, strict=True)
    )
    return type(relation)(relation.name, columns, relation.schema, table, False)


def _first_select(body: ast.Node) -> ast.Select:
    while isinstance(body, ast.SetOperation):
        body = body.left
    assert isinstance(body, ast.Select)
    return body


def _columns(outputs: list[Output]) -> tuple[Column, ...]:
    return tuple(
        Column(output.name, output.value.type, output.value.nullable, output.identity) for output in outputs
    )


def _modification(work: DataTranslator, modified: Modified, kind: str) -> Translation:
    return Translation(
        modified.sql,
        tuple(work.parameters),
        kind,
        _columns(modified.outputs),
        table=modified.table,
        before=tuple(work.before),
        count_column=modified.counts_rows,
    )
