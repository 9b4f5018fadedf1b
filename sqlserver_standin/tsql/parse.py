"""A strict parser of T-SQL queries and data statements; what T-SQL does not have is error 102 or 156.

A general parser such as sqlglot's accepts what SQL Server refuses (LIMIT, ILIKE, ``::``), rewrites functions while it
parses (ISNULL becomes COALESCE) and can't tell where a statement without a semicolon ends; all three matter here.
"""

from __future__ import annotations

from typing import Literal

from sqlserver_standin.events import SqlError
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.parse_queries import ASSIGNMENTS, QueryParser
from sqlserver_standin.tsql.parse_tokens import unsupported


class Parser(QueryParser):
    """A recursive-descent parser of data statements; ``position`` is the next token. The batch parser extends it."""

    def at_data_statement(self) -> bool:
        """SELECT, INSERT, UPDATE, DELETE, MERGE or WITH stands here."""
        return self.at_any("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH") or self._at_query()

    def data_statement(self) -> ast.Statement:
        """One data statement; ``position`` is then behind it (a semicolon is left standing)."""
        first = self.token
        common = self._common_tables()
        statement: ast.Statement
        if self.at("INSERT"):
            statement = self._insert()
        elif self.at("UPDATE"):
            statement = self._update()
        elif self.at("DELETE"):
            statement = self._delete()
        elif self.at("MERGE"):
            statement = self._merge()
        elif self.at_any("SELECT", "("):
            statement = ast.SelectStatement(self.query())
        else:
            self.fail()
        max_recursion = self._query_options()
        last = self.tokens[self.position - 1]
        if isinstance(statement, ast.MergeStatement) and not self.at(";"):
            raise SqlError(
                10713,
                "A MERGE statement must be terminated by a semi-colon (;).",
                severity=15,
                line=last.line,
            )
        statement.common = common
        if max_recursion is not None:
            statement.max_recursion = max_recursion
        statement.text = self.sql[first.start : last.end]
        statement.line = first.line
        return statement

    def _common_tables(self) -> tuple[ast.CommonTable, ...]:
        if not self.accept("WITH"):
            return ()
        return self.list_of(self._common_table)

    def _common_table(self) -> ast.CommonTable:
        if self.at("XMLNAMESPACES"):
            raise unsupported("WITH XMLNAMESPACES", self.token.line)
        name = self.name()
        columns = self.name_list() if self.at("(") else ()
        self.expect("AS")
        return ast.CommonTable(name, columns, self._query_in_parentheses())

    def _target(self) -> ast.TableSource:
        if self.token.kind == "variable":
            return ast.TableSource((self.next().value,))
        name = self.object_name()
        return ast.TableSource(name, None, *self._table_hints())

    def _outputs(self) -> tuple[ast.Output, ...]:
        """OUTPUT clauses: at most one INTO and one to the client."""
        outputs: list[ast.Output] = []
        while self.at("OUTPUT") and len(outputs) < 2:
            self.next()
            output = ast.Output(self.list_of(self._select_item))
            if self.accept("INTO"):
                output.into = (self.next().value,) if self.token.kind == "variable" else self.object_name()
                if self.at("("):
                    output.into_columns = self.name_list()
            outputs.append(output)
        return tuple(outputs)

    def _insert(self) -> ast.Statement:
        self.expect("INSERT")
        top = self._top()
        self.accept("INTO")
        statement = ast.InsertStatement(self._target(), top=top)
        if self.at("(") and not self._at_query():
            statement.columns = self.in_parentheses(lambda: self.list_of(self._insert_column))
        statement.outputs = self._outputs()
        if self.accept("DEFAULT", "VALUES"):
            statement.default_values = True
        elif self.accept("VALUES"):
            line = self.token.line
            statement.rows = self.list_of(self._row)
            if len(statement.rows) > 1000:
                raise SqlError(
                    10738,
                    "The number of row value expressions in the INSERT statement exceeds the maximum allowed "
                    "number of 1000 row values.",
                    severity=15,
                    line=line,
                )
        elif self.at_any("EXEC", "EXECUTE"):
            statement.execute = True
        else:
            statement.query = self.query()
        return statement

    def _insert_column(self) -> str:
        parts = self.object_name()
        return parts[-1]

    def _assignment(self) -> ast.Assignment:
        variable: str | None = None
        column: tuple[str, ...] | None = None
        if self.token.kind == "variable":
            variable = self.next().value
            if self.at("=") and self.ahead().kind in ("word", "quoted") and self._assigns_column_too():
                self.next()
                column = self.object_name()
        else:
            column = self.object_name()
            if column[1:] and column[-1] == "modify" and self.at("("):
                raise unsupported("method modify()", self.token.line)
        if self.token.value not in ASSIGNMENTS or self.token.kind != "op":
            self.fail()
        operator = self.next().value
        return ast.Assignment(column, self._value(), operator, variable)

    def _assigns_column_too(self) -> bool:
        """``@v = column = expression``."""
        distance = 1
        while self.ahead(distance + 1).value == ".":
            distance += 2
        return self.ahead(distance + 1).value in ASSIGNMENTS and self.ahead(distance + 1).kind == "op"

    def _where(self) -> ast.Condition | None:
        if not self.accept("WHERE"):
            return None
        if self.at("CURRENT", "OF"):
            raise unsupported("WHERE CURRENT OF", self.token.line)
        return self.condition()

    def _update(self) -> ast.Statement:
        self.expect("UPDATE")
        top = self._top()
        target = self._target()
        self.expect("SET")
        assignments = self.list_of(self._assignment)
        outputs = self._outputs()
        source = self._sources() if self.accept("FROM") else None
        return ast.UpdateStatement(target, assignments, source, self._where(), top, outputs)

    def _delete(self) -> ast.Statement:
        self.expect("DELETE")
        top = self._top()
        self.accept("FROM")
        target = self._target()
        outputs = self._outputs()
        source = self._sources() if self.accept("FROM") else None
        return ast.DeleteStatement(target, source, self._where(), top, outputs)

    def _merge(self) -> ast.Statement:
        self.expect("MERGE")
        top = self._top()
        self.accept("INTO")
        target = self._target()
        if not self.at("USING"):
            target.alias = self._table_alias()
        hints, indexes = self._table_hints()
        target.hints += hints
        target.indexes += indexes
        self.expect("USING")
        source = self._source()
        self.expect("ON")
        condition = self.condition()
        actions: list[ast.MergeAction] = []
        while self.accept("WHEN"):
            actions.append(self._merge_action())
        if not actions:
            self.fail()
        return ast.MergeStatement(target, source, condition, tuple(actions), top, self._outputs())

    def _merge_action(self) -> ast.MergeAction:
        negated = self.accept("NOT")
        self.expect("MATCHED")
        by_source = False
        if negated and self.accept("BY"):
            by_source = self.accept("SOURCE")
            if not by_source:
                self.expect("TARGET")
        condition = self.condition() if self.accept("AND") else None
        self.expect("THEN")
        if negated and not by_source:
            self.expect("INSERT")
            if self.accept("DEFAULT", "VALUES"):
                return ast.MergeAction("not matched", condition, "insert")
            columns = self.in_parentheses(lambda: self.list_of(self._insert_column)) if self.at("(") else ()
            self.expect("VALUES")
            return ast.MergeAction("not matched", condition, "insert", columns=columns, values=self._row())
        match: Literal["matched", "not matched by source"] = (
            "not matched by source" if by_source else "matched"
        )
        if self.accept("DELETE"):
            return ast.MergeAction(match, condition, "delete")
        self.expect("UPDATE", "SET")
        assignments = self.list_of(self._assignment)
        return ast.MergeAction(match, condition, "update", assignments)
