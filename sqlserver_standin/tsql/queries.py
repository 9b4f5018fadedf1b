"""Queries: SELECT in all its forms, set operations, common tables, ordering and paging."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sqlserver_standin.engine.catalog import Catalog
from sqlserver_standin.events import SqlError
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.conversions import convert
from sqlserver_standin.tsql.expressions import Context, children
from sqlserver_standin.tsql.for_json import json_output
from sqlserver_standin.tsql.grouping import GroupingTranslator, has_aggregate, has_window
from sqlserver_standin.tsql.ordering import UNSORTABLE, not_sortable, ordered, sort_keys
from sqlserver_standin.tsql.outputs import Output, Translated, relation_columns
from sqlserver_standin.tsql.parse_tokens import unsupported
from sqlserver_standin.tsql.row_locks import lock_clause
from sqlserver_standin.tsql.scope import Scope
from sqlserver_standin.tsql.select_state import SelectState
from sqlserver_standin.tsql.sources import CommonTable
from sqlserver_standin.tsql.types import BIGINT, family, is_string
from sqlserver_standin.tsql.values import Value, identifier
from sqlserver_standin.types import SqlType

_LEVEL = '"recursion level"'

# The clauses that see groups of rows and not rows.
_GROUPED_CLAUSES = ("select", "having", "order")


class QueryTranslator(GroupingTranslator):
    """Translates queries; one instance per statement."""

    def __init__(self, catalog: Catalog, context: Context) -> None:
        super().__init__(catalog, context)
        self.max_recursion = 100
        self._member: tuple[ast.Select, str] | None = None
        """The recursive member of a common table that is being translated, and the name of that table."""

    # -- queries as values -----------------------------------------------------------------------------------

    @contextmanager
    def _subquery(self) -> Iterator[None]:
        """The state of a query inside the current one."""
        if self.clause == "group":
            raise SqlError(
                144,
                "Cannot use an aggregate or a subquery in an expression used for the group by list of a GROUP BY "
                "clause.",
                severity=15,
            )
        if self.clause == "aggregate":
            raise SqlError(
                130,
                "Cannot perform an aggregate function on an expression containing an aggregate or a subquery.",
            )
        state, clause, scope = self.state, self.clause, self.scope
        around = scope.group_keys, scope.clause
        if state.grouped and clause in _GROUPED_CLAUSES:
            scope.group_keys, scope.clause = state.group_keys, clause
        try:
            yield
        finally:
            self.state, self.clause = state, clause
            scope.group_keys, scope.clause = around

    def nested_query(self, query: ast.Query) -> Translated:
        with self._subquery():
            return self.query(query, nested=True)

    def query_value(self, query: ast.Query) -> Value:
        translated = self.nested_query(query)
        self._one_column(translated)
        column = translated.columns[0].value
        sql = f"({translated.sql})"
        if is_string(column.type):
            return Value(sql, column.type, True)
        return Value(sql, column.type, True, null=column.null)

    def query_sql(self, query: ast.Query) -> tuple[str, Value]:
        translated = self.nested_query(query)
        self._one_column(translated)
        column = translated.columns[0].value
        return translated.sql, replace(
            column, sql="q.c", raw=None, null=False, constant=False, digits=None, infer=None
        )

    @staticmethod
    def _one_column(translated: Translated) -> None:
        if len(translated.columns) != 1:
            raise SqlError(
                116,
                "Only one expression can be specified in the select list when the subquery is not introduced "
                "with EXISTS.",
            )

    def exists_sql(self, query: ast.Query) -> str:
        return f"EXISTS ({self.nested_query(query).sql})"

    # -- query expressions -----------------------------------------------------------------------------------

    def query(
        self, query: ast.Query, *, nested: bool = False, expected: Sequence[SqlType] | None = None
    ) -> Translated:
        """A query expression in the current scope."""
        limited = query.offset is not None or (
            isinstance(query.body, ast.Select) and query.body.top is not None
        )
        if nested and query.order and not limited and query.json is None:
            raise SqlError(
                1033,
                "The ORDER BY clause is invalid in views, inline functions, derived tables, subqueries, and common "
                "table expressions, unless TOP, OFFSET or FOR XML is also specified.",
                severity=15,
            )
        common = dict(self.common)
        prefix = self.common_tables(query.common)
        if isinstance(query.body, ast.Select):
            translated = self.select(query.body, query, expected)
        else:
            translated = self._set_operation(query, expected)
        self.common = common
        translated.sql = prefix + translated.sql
        if query.json is not None:
            translated = json_output(translated, query.json)
        return translated

    def common_tables(self, tables: Sequence[ast.CommonTable]) -> str:
        """The WITH clause; its names are known from here on."""
        if not tables:
            return ""
        parts, recursive = [], False
        scope = self.scope
        for table in tables:
            self.scope = Scope()
            pg_name = self.pg_alias(table.name)
            refers_to_itself = _refers_to(table.query, table.name)
            if refers_to_itself:
                recursive = True
                translated = self._recursive(table, pg_name)
            else:
                translated = self.query(table.query, nested=True)
            columns = relation_columns(translated, table.name, table.columns, pg_name)
            self.common[table.name.lower()] = CommonTable(pg_name, columns)
            names = [identifier(column.name) for column in columns]
            if refers_to_itself:
                names.append(_LEVEL)
            parts.append(f"{pg_name}({','.join(names)}) AS ({translated.sql})")
        self.scope = scope
        return f"WITH {'RECURSIVE ' if recursive else ''}{', '.join(parts)} "

    def _recursive(self, table: ast.CommonTable, pg_name: str) -> Translated:
        """A common table that reads itself; a column of its own counts the recursions, which have a limit."""
        body = table.query.body
        if not isinstance(body, ast.SetOperation) or body.operator != "UNION ALL":
            raise SqlError(
                252,
                f"Recursive common table expression '{table.name}' does not contain a top-level UNION ALL operator.",
            )
        if not isinstance(body.right, ast.Select) or _refers_to(ast.Query(body.left), table.name):
            raise unsupported("a common table with more than one recursive member")
        anchor = self._term(body.left, None)
        columns = relation_columns(anchor, table.name, table.columns, pg_name)
        self.common[table.name.lower()] = CommonTable(pg_name, columns, recursive=True)
        member, self._member = self._member, (body.right, table.name)
        rest = self._term(body.right, None)
        if len(rest.columns) != len(anchor.columns):
            raise _unequal_columns()
        outputs = []
        for column, one, two in zip(columns, anchor.columns, rest.columns, strict=True):
            if not (two.value.null or _same_type(one.value.type, two.value.type)):
                raise SqlError(
                    240,
                    "Types don't match between the anchor and the recursive part in column "
                    f'"{column.name}" of recursive query "{table.name}".',
                )
            nullable = one.value.nullable or two.value.nullable
            outputs.append(replace(one, value=replace(one.value, nullable=nullable)))
        targets = [column.type for column in columns]
        if [two.value.type for two in rest.columns] != targets or any(two.value.null for two in rest.columns):
            rest = self._term(body.right, targets)
        self._member = member
        return Translated(f"SELECT a.*, 0 FROM ({anchor.sql}) AS a UNION ALL {rest.sql}", outputs)

    def _term(self, node: ast.Node, expected: Sequence[SqlType] | None) -> Translated:
        if isinstance(node, ast.Select):
            return self.select(node, ast.Query(node), expected)
        return self._set_operation(ast.Query(node), expected)

    def _set_operation(self, query: ast.Query, expected: Sequence[SqlType] | None) -> Translated:
        node = query.body
        assert isinstance(node, ast.SetOperation)
        left, right = self._term(node.left, None), self._term(node.right, None)
        if len(left.columns) != len(right.columns):
            raise _unequal_columns()
        outputs: list[Output] = []
        for position, (one, two) in enumerate(zip(left.columns, right.columns, strict=True)):
            if expected is not None:
                target = expected[position]
            else:
                target, _ = self.unify([one.value, two.value])
            if node.operator != "UNION ALL" and target.name in UNSORTABLE:
                raise SqlError(
                    5335,
                    f"The data type {target.name} cannot be used as an operand to the UNION, INTERSECT or EXCEPT "
                    "operators because it is not comparable.",
                )
            nullable = one.value.nullable or two.value.nullable
            null = one.value.null and two.value.null
            outputs.append(Output(one.name, Value("", target, nullable, null=null), column=one.column))
        targets = [output.value.type for output in outputs]
        if [column.value.type for column in left.columns] != targets or any(
            c.value.null for c in left.columns
        ):
            left = self._term(node.left, targets)
        if [column.value.type for column in right.columns] != targets or any(
            c.value.null for c in right.columns
        ):
            right = self._term(node.right, targets)
        sql = f"({left.sql}) {node.operator} ({right.sql})"
        if query.order:
            items = [self._union_order_item(item, outputs) for item in query.order]
            sql += " ORDER BY " + ", ".join(items)
        sql += self._offset(query)
        return Translated(sql, outputs)

    def _union_order_item(self, item: ast.OrderItem, outputs: list[Output]) -> str:
        node = item.expression
        position = None
        if isinstance(node, ast.Constant) and node.kind == "integer":
            position = self._ordinal(node, outputs)
        elif isinstance(node, ast.ColumnName):
            # "The column names or column aliases must be those specified in the select list of the first query":
            # https://learn.microsoft.com/en-us/sql/t-sql/queries/select-order-by-clause-transact-sql
            name = node.parts[-1].lower()
            names = [
                *(output.name.lower() for output in outputs),
                *(output.column.lower() for output in outputs),
            ]
            if name in names:
                position = names.index(name) % len(outputs) + 1
            elif len(node.parts) == 1:
                raise SqlError(207, f"Invalid column name '{node.parts[-1]}'.")
        if position is None:
            raise SqlError(
                104,
                "ORDER BY items must appear in the select list if the statement contains a UNION, INTERSECT or "
                "EXCEPT operator.",
            )
        return ordered(str(position), item.descending, outputs[position - 1].value.nullable)

    def _offset(self, query: ast.Query) -> str:
        if query.offset is None:
            return ""
        sql = f" OFFSET {self._row_count(query.offset)}"
        if query.fetch is not None:
            if isinstance(query.fetch, ast.Constant) and query.fetch.value == "0":
                raise SqlError(
                    10744,
                    "The number of rows provided for a FETCH clause must be greater then zero.",
                    severity=15,
                )
            sql += f" LIMIT {self._row_count(query.fetch)}"
        return sql

    def _row_count(self, node: ast.Expression) -> str:
        with self.inside("limit"):
            value = self.value(node)
        if family(value.type) not in ("integer", "decimal", "bit"):
            raise SqlError(
                1060,
                "The number of rows provided for a TOP or FETCH clauses row count parameter must be an integer.",
                severity=15,
            )
        return value.sql if value.constant else convert(value, BIGINT).sql

    # -- SELECT ----------------------------------------------------------------------------------------------

    def select(
        self, select: ast.Select, query: ast.Query, expected: Sequence[SqlType] | None = None
    ) -> Translated:
        """One SELECT with the ORDER BY and OFFSET of its query."""
        outer_scope, outer_state, outer_clause = self.scope, self.state, self.clause
        self.scope = Scope(outer_scope)
        self.state = SelectState(windows={name.lower(): over for name, over in select.windows})
        self.clause = "select"
        try:
            return self._select(select, query, expected)
        finally:
            self.scope, self.state, self.clause = outer_scope, outer_state, outer_clause

    def _select(self, select: ast.Select, query: ast.Query, expected: Sequence[SqlType] | None) -> Translated:
        if select.top is not None and query.offset is not None:
            raise SqlError(
                10741, "A TOP can not be used in the same query or sub-query as a OFFSET.", severity=15
            )
        state = self.state
        aggregated = any(has_aggregate(item.expression) for item in select.items) or any(
            has_aggregate(item.expression) for item in query.order
        )
        state.grouped = bool(select.grouping) or select.having is not None or aggregated
        windowed = any(has_window(item.expression) for item in select.items)
        state.lockable = not (state.grouped or select.distinct or windowed)
        from_sql = where_sql = ""
        if select.source is not None:
            with self.inside("from"):
                from_sql = f" FROM {self.source(select.source)}"
        if select.where is not None:
            with self.inside("where"):
                where_sql = f" WHERE {self.condition(select.where)}"
        group_sql = self.group_by(select.grouping)
        having_sql = ""
        if select.having is not None:
            self.check_grouped(select.having, "having")
            with self.inside("having"):
                having_sql = f" HAVING {self.condition(select.having)}"
        accumulates = False
        if any(item.variable is not None for item in select.items):
            self.read_variables.clear()
            outputs = self._select_list(select, expected)
            read = self.read_variables & self.assigned.keys()
            accumulates = select.source is not None and bool(read)
            self.assigned.clear()
        else:
            outputs = self._select_list(select, expected)
        variables = tuple(item.variable for item in select.items if item.variable is not None)
        if variables and len(variables) != len(select.items):
            raise SqlError(
                141,
                "A SELECT statement that assigns a value to a variable must not be combined with data-retrieval "
                "operations.",
                severity=15,
            )
        order_sql = self._order_by(select, query, outputs)
        listed = ", ".join(
            f"{output.value.sql} AS {identifier(output.name)}" if output.name else output.value.sql
            for output in outputs
        )
        if self._member is not None and self._member[0] is select:
            listed += f", {self._next_level(self._member[1])}"
        sql = (
            f"SELECT {'DISTINCT ' if select.distinct else ''}{listed}{from_sql}{where_sql}{group_sql}{having_sql}"
            f"{order_sql}"
        )
        sql += self._top(select, query, sql) + self._offset(query) + lock_clause(self.state.locks)
        return Translated(sql, outputs, variables, accumulates)

    def _next_level(self, table: str) -> str:
        if self.state.recursion is None:
            raise unsupported(
                f"a reference to the common table {table} in a subquery of its recursive member"
            )
        level = f"{self.state.recursion}.{_LEVEL}"
        if not self.max_recursion:
            return f"{level} + 1"
        return f"CASE WHEN {level} < {self.max_recursion} THEN {level} + 1 ELSE sys.recursion_exhausted({level}) END"

    def _select_list(self, select: ast.Select, expected: Sequence[SqlType] | None) -> list[Output]:
        outputs: list[Output] = []
        for item in select.items:
            if isinstance(item.expression, ast.Star):
                outputs.extend(self._star(item.expression))
                continue
            if self.state.grouped:
                self.check_grouped(item.expression, "select")
            value = self.value(item.expression)
            if item.variable is not None:
                value = self._variable_value(item, value)
                self.assigned[item.variable] = value
            outputs.append(
                Output(
                    self._name_of(item),
                    value,
                    self.key(item.expression),
                    self._is_identity(item.expression),
                    item.expression.parts[-1] if isinstance(item.expression, ast.ColumnName) else "",
                )
            )
        if select.distinct:
            for output in outputs:
                if output.value.type.name in UNSORTABLE:
                    raise SqlError(
                        421,
                        f"The {output.value.type.name} data type cannot be selected as DISTINCT because it is not "
                        "comparable.",
                    )
        for position, output in enumerate(outputs):
            if expected is not None and len(expected) == len(outputs):
                target = expected[position]
                if is_string(target) and is_string(output.value.type):
                    output.value = self._recollated(output.value, target)
                output.value = convert(output.value, target)
            elif self.state.totals and not output.value.nullable:
                output.value = replace(output.value, nullable=True)
            elif output.value.null and output.value.sql.startswith("NULL"):
                output.value = Value("NULL::int4", output.value.type, null=True, constant=True)
        return outputs

    def _variable_value(self, item: ast.SelectItem, value: Value) -> Value:
        data_type = self.context.variables.get(item.variable or "")
        if data_type is None:
            raise SqlError(137, f'Must declare the scalar variable "{item.variable}".', severity=15, state=2)
        if item.operator != "=":
            value = self.operate(item.operator[:-1], self.value(ast.Variable(item.variable or "")), value)
        return convert(value, data_type)

    def _name_of(self, item: ast.SelectItem) -> str:
        if item.alias is not None:
            return item.alias
        if isinstance(item.expression, ast.ColumnName):
            return item.expression.parts[-1]
        return ""

    def _is_identity(self, node: ast.Node) -> bool:
        if not isinstance(node, ast.ColumnName):
            return False
        found = self.scope.find(node.parts)
        return found is not None and found[0].identity

    def _star(self, star: ast.Star) -> Iterator[Output]:
        relations = [
            relation for relation in self.scope.relations if not star.parts or relation.answers_to(star.parts)
        ]
        if not relations:
            if star.parts:
                raise SqlError(
                    107,
                    f"The column prefix '{'.'.join(star.parts)}' does not match with a table name or alias name "
                    "used in the query.",
                    severity=15,
                )
            raise SqlError(263, "Must specify table to select from.")
        for relation in relations:
            for column in relation.columns:
                if self.state.grouped and ("column", column.sql) not in self.state.group_keys:
                    self.not_grouped(column, relation, "select")
                yield Output(column.name, column.value(), ("column", column.sql), column.identity)

    # -- ORDER BY, TOP ---------------------------------------------------------------------------------------

    def _order_by(self, select: ast.Select, query: ast.Query, outputs: list[Output]) -> str:
        if not query.order:
            return ""
        parts: list[str] = []
        seen: set[Any] = set()
        for position, item in enumerate(query.order, 1):
            keys, nullable, key = self._order_item_sql(item, position, select, outputs)
            if key in seen:
                raise SqlError(
                    169,
                    "A column has been specified more than once in the order by list. Columns in the order by list "
                    "must be unique.",
                    severity=15,
                )
            if isinstance(key, tuple) and key and key[0] == "column":
                seen.add(key)
            parts += [ordered(sql, item.descending, nullable) for sql in keys]
        return " ORDER BY " + ", ".join(parts)

    def _order_item_sql(
        self, item: ast.OrderItem, position: int, select: ast.Select, outputs: list[Output]
    ) -> tuple[list[str], bool, Any]:
        node = item.expression
        if isinstance(node, ast.Constant):
            if node.kind == "integer":
                ordinal = self._ordinal(node, outputs)
                return [str(ordinal)], outputs[ordinal - 1].value.nullable, outputs[ordinal - 1].key
            raise SqlError(
                408, f"A constant expression was encountered in the ORDER BY list, position {position}."
            )
        if isinstance(node, ast.Variable):
            raise SqlError(
                1008,
                f"The SELECT item identified by the ORDER BY number {position} contains a variable as part of the "
                "expression identifying a column position. Variables are only allowed when ordering by an "
                "expression referencing a column name.",
            )
        index = self._order_target(node, outputs)
        if index is not None:
            output = outputs[index]
            if output.value.type.name in UNSORTABLE:
                raise not_sortable(output.value.type)
            keys = sort_keys(output.value)
            # After DISTINCT, PostgreSQL sorts by what is selected and nothing else.
            if select.distinct or len(keys) == 1:
                keys = [str(index + 1)]
            return keys, output.value.nullable, output.key
        if select.distinct:
            raise SqlError(
                145,
                "ORDER BY items must appear in the select list if SELECT DISTINCT is specified.",
                severity=15,
            )
        if self.state.grouped:
            self.check_grouped(node, "order")
        with self.inside("order"):
            value = self.value(node)
        if value.constant:
            raise SqlError(
                408, f"A constant expression was encountered in the ORDER BY list, position {position}."
            )
        if value.type.name in UNSORTABLE:
            raise not_sortable(value.type)
        return sort_keys(value), value.nullable or self.state.totals, self.key(node)

    def _order_target(self, node: ast.Expression, outputs: list[Output]) -> int | None:
        """The index of the select item that an ORDER BY expression means, by alias or by being the same."""
        if isinstance(node, ast.ColumnName) and len(node.parts) == 1:
            name = node.parts[0].lower()
            hits = [index for index, output in enumerate(outputs) if output.name.lower() == name]
            if len(hits) > 1 and len({repr(outputs[index].key) for index in hits}) > 1:
                raise SqlError(209, f"Ambiguous column name '{node.parts[0]}'.")
            if hits:
                return hits[0]
        key = self.key(node)
        for index, output in enumerate(outputs):
            if output.key == key:
                return index
        return None

    @staticmethod
    def _ordinal(node: ast.Constant, outputs: list[Output]) -> int:
        position = int(node.value)
        if not 1 <= position <= len(outputs):
            raise SqlError(
                108,
                f"The ORDER BY position number {position} is out of range of the number of items in the select list.",
            )
        return position

    def _top(self, select: ast.Select, query: ast.Query, sql: str) -> str:
        top = select.top
        if top is None:
            return ""
        if top.percent:
            with self.inside("limit"):
                percent = self.value(top.count)
            return (
                f" LIMIT (SELECT ceil(count(*) * {percent.sql}::float8 / 100)::int8 FROM ({sql}) AS counted)"
            )
        count = self._row_count(top.count)
        if top.with_ties:
            if not query.order:
                raise SqlError(
                    1062, "The TOP N WITH TIES clause is not allowed without a corresponding ORDER BY clause."
                )
            return f" FETCH FIRST ({count}) ROWS WITH TIES"
        return f" LIMIT {count}"


def _unequal_columns() -> SqlError:
    return SqlError(
        205,
        "All queries combined using a UNION, INTERSECT or EXCEPT operator must have an equal number of expressions in "
        "their target lists.",
    )


def _same_type(one: SqlType, two: SqlType) -> bool:
    names = {"decimal": "numeric"}
    return (names.get(one.name, one.name), one.length, one.precision, one.scale) == (
        names.get(two.name, two.name),
        two.length,
        two.precision,
        two.scale,
    )


def _refers_to(query: ast.Query, name: str) -> bool:
    """A common table's query has the table itself in a FROM."""
    pending: list[ast.Node] = [query]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.TableSource) and len(node.name) == 1 and node.name[0].lower() == name.lower():
            return True
        pending.extend(children(node))
    return False
