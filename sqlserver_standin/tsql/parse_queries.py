"""The parser of queries and of what stands in FROM."""

from __future__ import annotations

from sqlserver_standin.events import SqlError
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.parse_expressions import ExpressionParser
from sqlserver_standin.tsql.parse_tokens import unsupported
from sqlserver_standin.types import SqlType

ASSIGNMENTS = frozenset(("=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^="))
# https://learn.microsoft.com/sql/t-sql/queries/hints-transact-sql-table
_TABLE_HINTS = frozenset(
    """NOLOCK READUNCOMMITTED READCOMMITTED READCOMMITTEDLOCK REPEATABLEREAD SERIALIZABLE HOLDLOCK UPDLOCK XLOCK
    ROWLOCK PAGLOCK TABLOCK TABLOCKX READPAST NOWAIT NOEXPAND FORCESEEK FORCESCAN SNAPSHOT KEEPIDENTITY KEEPDEFAULTS
    IGNORE_CONSTRAINTS IGNORE_TRIGGERS""".split()
)
# https://learn.microsoft.com/sql/t-sql/queries/hints-transact-sql-query
_QUERY_HINTS = frozenset(
    """RECOMPILE MAXDOP HASH MERGE LOOP ORDER CONCAT FORCE FAST MAXRECURSION OPTIMIZE LABEL USE KEEPFIXED KEEP ROBUST
    EXPAND QUERYTRACEON PARAMETERIZATION MIN_GRANT_PERCENT MAX_GRANT_PERCENT NO_PERFORMANCE_SPOOL DISABLE TABLE
    IGNORE_NONCLUSTERED_COLUMNSTORE_INDEX""".split()
)

MOST_RECURSION = 32767


class QueryParser(ExpressionParser):
    """Parses queries."""

    def query(self) -> ast.Query:
        """A query expression with ORDER BY, OFFSET and FOR, without WITH."""
        body = self._query_terms()
        order: tuple[ast.OrderItem, ...] = ()
        offset = fetch = None
        if self.accept("ORDER", "BY"):
            order = self.list_of(self._order_item)
            if self.accept("OFFSET"):
                offset = self.expression()
                self._rows_word()
                if self.accept("FETCH"):
                    if not self.at_any("FIRST", "NEXT"):
                        self.fail()
                    self.next()
                    fetch = self.expression()
                    self._rows_word()
                    self.expect("ONLY")
        return ast.Query(body, (), order, offset, fetch, self._for_clause())

    def _rows_word(self) -> None:
        if not self.at_any("ROW", "ROWS"):
            self.fail()
        self.next()

    def _for_clause(self) -> ast.JsonOutput | None:
        if not (self.at("FOR") and self.ahead().value in ("JSON", "XML", "BROWSE")):
            return None
        self.next()
        if not self.accept("JSON"):
            raise unsupported(f"FOR {self.token.value}", self.token.line)
        if not self.at_any("PATH", "AUTO"):
            self.fail()
        output = ast.JsonOutput(self.next().value)
        while self.accept(","):
            if self.accept("ROOT"):
                output.root = self.in_parentheses(lambda: self.next().value) if self.at("(") else "root"
            elif self.accept("INCLUDE_NULL_VALUES"):
                output.include_nulls = True
            elif self.accept("WITHOUT_ARRAY_WRAPPER"):
                output.without_wrapper = True
            else:
                self.fail()
        return output

    def _query_terms(self) -> ast.Node:
        left = self._query_factors()
        while self.at_any("UNION", "EXCEPT"):
            operator = self.next().value
            if operator == "UNION" and self.accept("ALL"):
                operator = "UNION ALL"
            left = ast.SetOperation(operator, left, self._query_factors())
        return left

    def _query_factors(self) -> ast.Node:
        left = self._query_primary()
        while self.accept("INTERSECT"):
            left = ast.SetOperation("INTERSECT", left, self._query_primary())
        return left

    def _query_primary(self) -> ast.Node:
        if self.accept("("):
            inner = self._query_terms()
            self.expect(")")
            return inner
        return self._select()

    def _select(self) -> ast.Select:
        self.expect("SELECT")
        distinct = False
        if self.at_any("DISTINCT", "ALL"):
            distinct = self.next().value == "DISTINCT"
        top = self._top()
        select = ast.Select(self.list_of(self._select_item), distinct, top)
        if self.accept("INTO"):
            select.into = self.object_name()
        if self.accept("FROM"):
            select.source = self._sources()
        if self.accept("WHERE"):
            select.where = self.condition()
        if self.accept("GROUP", "BY"):
            select.grouping = self.list_of(self._grouping)
        if self.accept("HAVING"):
            select.having = self.condition()
        if self.at("WINDOW"):
            self.next()
            select.windows = self.list_of(self._named_window)
        return select

    def _named_window(self) -> tuple[str, ast.Over]:
        name = self.name()
        self.expect("AS")
        return name, self.in_parentheses(self._window)

    def _top(self) -> ast.Top | None:
        if not self.accept("TOP"):
            return None
        if self.accept("("):
            count = self.expression()
            self.expect(")")
        elif self.token.kind in ("number", "float"):
            count = self._primary()
        elif self.token.kind == "variable":
            self.fail()
        else:
            self.fail()
        percent = self.accept("PERCENT")
        return ast.Top(count, percent, self.accept("WITH", "TIES"))

    def _select_item(self) -> ast.SelectItem:
        if self.accept("*"):
            return ast.SelectItem(ast.Star())
        if self.token.kind == "variable" and self.ahead().value in ASSIGNMENTS and self.ahead().kind == "op":
            variable = self.next().value
            operator = self.next().value
            return ast.SelectItem(self.expression(), variable=variable, operator=operator)
        if (
            self.ahead().value == "="
            and self.ahead().kind == "op"
            and (self.at_name() or self.token.kind in ("string", "nstring"))
        ):
            token = self.next()
            self.next()
            return ast.SelectItem(self.expression(), token.text if token.kind == "word" else token.value)
        star = self._qualified_star()
        if star is not None:
            return ast.SelectItem(star)
        return ast.SelectItem(self.expression(), self._column_alias())

    def _qualified_star(self) -> ast.Star | None:
        distance, parts = 0, []
        while True:
            token = self.ahead(distance)
            if token.kind not in ("word", "quoted"):
                return None
            parts.append(token.text if token.kind == "word" else token.value)
            if self.ahead(distance + 1).value != ".":
                return None
            if self.ahead(distance + 2).value == "*" and self.ahead(distance + 2).kind == "op":
                self.position += distance + 3
                return ast.Star(tuple(parts))
            distance += 2

    def _column_alias(self) -> str | None:
        if self.accept("AS"):
            if self.token.kind in ("string", "nstring"):
                return self.next().value
            return self.name()
        if self.token.kind == "string":
            return self.next().value
        if self.at_name() and not self._at_statement_word():
            return self.name()
        return None

    def _at_statement_word(self) -> bool:
        """A word that is no reserved word yet continues the query rather than naming something."""
        if self.token.kind != "word":
            return False
        return self.at("WINDOW") and self.ahead().kind in ("word", "quoted") and self.ahead(2).value == "AS"

    def _grouping(self) -> ast.Grouping:
        def one() -> tuple[ast.Expression, ...]:
            if self.at("(") and not self._at_subquery():
                if self.accept("(", ")"):
                    return ()
                start = self.position
                self.next()
                items = self.list_of(self.expression)
                if self.at(")") and self.ahead().value in (",", ")"):
                    self.next()
                    return items
                self.position = start
            return (self.expression(),)

        if self.at_any("ROLLUP", "CUBE") and self.ahead().value == "(":
            kind = self.next().value
            return ast.Grouping(kind, self.in_parentheses(lambda: self.list_of(one)))
        if self.accept("GROUPING", "SETS"):
            return ast.Grouping("GROUPING SETS", self.in_parentheses(lambda: self.list_of(one)))
        if self.accept("(", ")"):
            return ast.Grouping("plain", ((),))
        return ast.Grouping("plain", ((self.expression(),),))

    # -- sources ---------------------------------------------------------------------------------------------

    def _sources(self) -> ast.Source:
        left = self._joined()
        while self.accept(","):
            left = ast.Join("CROSS", left, self._joined())
        return left

    def _joined(self) -> ast.Source:
        left = self._source()
        while True:
            if self.at_any("TABLESAMPLE", "PIVOT", "UNPIVOT") or self.at("FOR", "SYSTEM_TIME"):
                raise unsupported(self.token.value, self.token.line)
            kind = self._join_kind()
            if kind is None:
                return left
            if kind in ("CROSS", "CROSS APPLY", "OUTER APPLY"):
                left = ast.Join(kind, left, self._source())
                continue
            right = self._joined_until_on()
            self.expect("ON")
            left = ast.Join(kind, left, right, self.condition())

    def _joined_until_on(self) -> ast.Source:
        """The right side of a join: `a JOIN b JOIN c ON … ON …` nests to the right."""
        right = self._source()
        while not self.at("ON"):
            kind = self._join_kind()
            if kind is None:
                return right
            if kind in ("CROSS", "CROSS APPLY", "OUTER APPLY"):
                right = ast.Join(kind, right, self._source())
                continue
            inner = self._joined_until_on()
            self.expect("ON")
            right = ast.Join(kind, right, inner, self.condition())
        return right

    def _join_kind(self) -> str | None:
        if self.accept("JOIN"):
            return "INNER"
        if self.accept("CROSS", "JOIN"):
            return "CROSS"
        if self.accept("CROSS", "APPLY"):
            return "CROSS APPLY"
        if self.accept("OUTER", "APPLY"):
            return "OUTER APPLY"
        if self.at_any("INNER", "LEFT", "RIGHT", "FULL"):
            kind = self.next().value
            if kind != "INNER":
                self.accept("OUTER")
            if self.at_any("LOOP", "HASH", "MERGE", "REMOTE"):
                self.next()
            self.expect("JOIN")
            return kind
        return None

    def _source(self) -> ast.Source:
        if self.at("("):
            return self._source_in_parentheses()
        if self.token.kind == "variable":
            name: tuple[str, ...] = (self.next().value,)
            if self.at(".") and self.ahead().text == "nodes":
                self.next()
                call = ast.Method(ast.Variable(name[0]), self.next().text, self._arguments())
                return self._function_source(call)
            return ast.TableSource(name, self._table_alias(), *self._table_hints())
        if self.at_any("OPENROWSET", "OPENQUERY", "OPENDATASOURCE", "OPENXML", "CONTAINSTABLE"):
            raise unsupported(self.token.value, self.token.line)
        parts = self._source_name()
        if parts is None:
            column = self._named()
            self.expect(".")
            return self._function_source(ast.Method(column, self.next().text, self._arguments()))
        if self.at("(") and not self._at_old_hints():
            return self._function_source(self._call(parts))
        alias = self._table_alias()
        return ast.TableSource(parts, alias, *self._table_hints())

    def _source_name(self) -> tuple[str, ...] | None:
        """An object name; None (and nothing taken) for ``column.nodes(…)``."""
        start = self.position
        parts = self.object_name()
        if len(parts) > 1 and parts[-1] == "nodes" and self.at("("):
            self.position = start
            return None
        return parts

    def _at_old_hints(self) -> bool:
        return (
            self.ahead().value in _TABLE_HINTS
            and self.ahead().kind == "word"
            and (self.ahead(2).value in (")", ","))
        )

    def _source_in_parentheses(self) -> ast.Source:
        self.expect("(")
        if self.accept("VALUES"):
            rows = self.list_of(self._row)
            self.expect(")")
            alias = self._required_alias()
            columns = self.name_list() if self.at("(") else ()
            return ast.ValuesTable(rows, alias, columns)
        if self._at_query():
            query = self.query()
            self.expect(")")
            alias = self._required_alias()
            columns = self.name_list() if self.at("(") else ()
            return ast.DerivedTable(query, alias, columns)
        if self.at("WITH"):
            self.fail()
        inner = self._joined()
        self.expect(")")
        return inner

    def _row(self) -> tuple[ast.Expression, ...]:
        return self.in_parentheses(lambda: self.list_of(self._value))

    def _value(self) -> ast.Expression:
        if self.accept("DEFAULT"):
            return ast.Constant("default")
        return self.expression()

    def _required_alias(self) -> str:
        alias = self._table_alias()
        if alias is None:
            self.fail()
        return alias

    def _function_source(self, call: ast.Expression) -> ast.Source:
        schema: tuple[ast.JsonColumn, ...] = ()
        if isinstance(call, ast.Call) and call.name == "OPENJSON" and self.accept("WITH"):
            schema = self.in_parentheses(lambda: self.list_of(self._json_column))
        alias = self._table_alias()
        columns = self.name_list() if alias is not None and self.at("(") else ()
        return ast.FunctionTable(call, alias, columns, schema)

    def _json_column(self) -> ast.JsonColumn:
        name = self.name()
        data_type = self.data_type()
        if self.accept("COLLATE"):
            data_type = SqlType(data_type.name, data_type.length, collation=self.name())
        path = None
        if self.token.kind in ("string", "nstring"):
            path = self.next().value
        return ast.JsonColumn(name, data_type, path, self.accept("AS", "JSON"))

    def _table_alias(self) -> str | None:
        if self.accept("AS"):
            return self.name()
        if self.at_name() and not self._at_statement_word():
            return self.name()
        return None

    def _table_hints(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The hints of a table source, and the indexes that they name."""
        if self.at("WITH") and self.ahead().value == "(":
            self.next()
        elif not (self.at("(") and self._at_old_hints()):
            return (), ()
        self.expect("(")
        hints: list[str] = []
        indexes: list[str] = []
        while not self.accept(")"):
            hints.append(self._table_hint(indexes))
            self.accept(",")
        return tuple(hints), tuple(indexes)

    def _table_hint(self, indexes: list[str]) -> str:
        token = self.next()
        if token.value == "INDEX":
            if self.accept("=") and not self.at("("):
                indexes.append(self._index_name())
            else:
                indexes.extend(self.in_parentheses(lambda: self.list_of(self._index_name)))
            return "INDEX"
        if token.kind != "word" or token.value not in _TABLE_HINTS:
            raise SqlError(
                321,
                f'"{token.text}" is not a recognized table hints option. If it is intended as a parameter to a '
                "table-valued function or to the CHANGETABLE function, ensure that your database compatibility "
                "mode is set to 90.",
                severity=15,
                line=token.line,
            )
        if token.value == "FORCESEEK" and self.at("("):
            self._skip_parentheses()
        return token.value

    def _index_name(self) -> str:
        return self.next().text if self.token.kind == "number" else self.name()

    def _skip_parentheses(self) -> None:
        depth = 0
        while True:
            token = self.next()
            if token.kind == "end":
                self.fail()
            if token.kind == "op" and token.value in "()":
                depth += 1 if token.value == "(" else -1
                if depth == 0:
                    return

    def _query_options(self) -> int | None:
        """``OPTION (…)``: names are checked, MAXRECURSION is answered; PostgreSQL plans in its own way."""
        max_recursion = None
        if not self.accept("OPTION"):
            return None
        self.expect("(")
        while True:
            token = self.next()
            if token.kind != "word" or token.value not in _QUERY_HINTS:
                self.fail(token)
            if token.value == "MAXRECURSION":
                max_recursion = self._max_recursion()
            while not self.at_any(",", ")"):
                if self.at("("):
                    self._skip_parentheses()
                elif self.token.kind == "end":
                    self.fail()
                else:
                    self.next()
            if self.accept(")"):
                return max_recursion
            self.expect(",")

    def _max_recursion(self) -> int:
        token = self.next()
        if not token.value.isdecimal():
            self.fail(token)
        if int(token.value) > MOST_RECURSION:
            raise SqlError(
                310,
                f"The value {token.value} specified for the MAXRECURSION option exceeds the allowed maximum of "
                f"{MOST_RECURSION}.",
                severity=15,
                line=token.line,
            )
        return int(token.value)
