"""Queries: SELECT in all its forms, and the sources in FROM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from sqlserver_standin.engine.catalog import Catalog, Table
from sqlserver_standin.events import SqlError
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.conversions import convert
from sqlserver_standin.tsql.expressions import (
    Context,
    ExpressionTranslator,
    children,
    node_fields,
    not_sortable,
)
from sqlserver_standin.tsql.parse_tokens import unsupported
from sqlserver_standin.tsql.scope import Relation, RelationColumn, Scope, table_relation
from sqlserver_standin.tsql.types import BIGINT, family, is_string, sort_language, text_type
from sqlserver_standin.tsql.values import Value, identifier, string
from sqlserver_standin.types import MAX, SqlType

AGGREGATES = frozenset(
    (
        "COUNT",
        "COUNT_BIG",
        "SUM",
        "AVG",
        "MIN",
        "MAX",
        "STDEV",
        "STDEVP",
        "VAR",
        "VARP",
        "STRING_AGG",
        "CHECKSUM_AGG",
        "APPROX_COUNT_DISTINCT",
        "GROUPING",
        "GROUPING_ID",
        "JSON_ARRAYAGG",
        "JSON_OBJECTAGG",
    )
)
_UNSORTABLE = frozenset(("text", "ntext", "image", "xml", "json"))
_WRITE_LOCKS = frozenset(("UPDLOCK", "XLOCK"))
_SHARED_LOCKS = frozenset(("HOLDLOCK", "SERIALIZABLE", "REPEATABLEREAD"))


@dataclass(slots=True)
class Output:
    """A column that a query puts out."""

    name: str
    value: Value
    key: Any = None
    identity: bool = False
    column: str = ""
    """The name of the column under an alias."""


@dataclass(slots=True)
class Translated:
    """A query as PostgreSQL text with its columns; ``assignments`` for SELECT @v = …"""

    sql: str
    columns: list[Output]
    assignments: tuple[str, ...] = ()
    accumulates: bool = False
    """An assignment reads what it has assigned for the row before."""


@dataclass(slots=True)
class _CommonTable:
    pg_name: str
    columns: tuple[RelationColumn, ...]
    recursive: bool = False
    """It has the column _LEVEL, too."""


@dataclass(slots=True)
class _Lock:
    strength: str
    alias: str
    wait: str


@dataclass(slots=True)
class _SelectState:
    """What the expressions of one SELECT need to know about it."""

    grouped: bool = False
    group_keys: set[Any] = field(default_factory=set)
    windows: dict[str, ast.Over] = field(default_factory=dict)
    locks: list[_Lock] = field(default_factory=list)
    lockable: bool = True
    recursion: str | None = None
    """The alias of the common table that this SELECT, its recursive member, reads."""
    totals: bool = False
    """ROLLUP and its like add rows in which the columns that are grouped by are NULL."""


_LEVEL = '"recursion level"'

# The clauses that see groups of rows and not rows.
_GROUPED_CLAUSES = ("select", "having", "order")


def _row_lock(hints: Sequence[str]) -> tuple[str, str]:
    """The strength of FOR … that table hints ask for ("" for none), and what to do about locked rows."""
    strength = "UPDATE" if _WRITE_LOCKS & set(hints) else "SHARE" if _SHARED_LOCKS & set(hints) else ""
    return strength, " SKIP LOCKED" if "READPAST" in hints else " NOWAIT" if "NOWAIT" in hints else ""


def _below(node: ast.Node) -> Iterator[ast.Node]:
    """``node`` and what is below it, without queries inside it."""
    yield node
    for child in children(node):
        if not isinstance(child, ast.Query):
            yield from _below(child)


def is_aggregate(node: ast.Node) -> bool:
    return isinstance(node, ast.Call) and node.name in AGGREGATES and node.over is None and not node.schema


def has_aggregate(node: ast.Node | None) -> bool:
    return node is not None and any(is_aggregate(each) for each in _below(node))


def has_window(node: ast.Node | None) -> bool:
    return node is not None and any(isinstance(each, ast.Call) and each.over for each in _below(node))


class QueryTranslator(ExpressionTranslator):
    """Translates queries; one instance per statement."""

    def __init__(self, catalog: Catalog, context: Context) -> None:
        super().__init__(catalog, context)
        self.common: dict[str, _CommonTable] = {}
        self.state = _SelectState()
        self.aliases: set[str] = set()
        self.before: list[str] = []
        self.max_recursion = 100
        self._member: tuple[ast.Select, str] | None = None
        """The recursive member of a common table that is being translated, and the name of that table."""

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

    def key(self, node: Any) -> Any:
        """Equal for expressions that SQL Server sees as the same one."""
        if isinstance(node, ast.Query):
            # Its names mean something in its own scope only; spelled the same, it is the same.
            return repr(node)
        if isinstance(node, ast.ColumnName):
            found = self.scope.find(node.parts)
            return ("column", found[0].sql if found else tuple(part.lower() for part in node.parts))
        if isinstance(node, ast.Node):
            return (
                type(node).__name__,
                *(self.key(getattr(node, name)) for name in node_fields(node) if name != "spelling"),
            )
        if isinstance(node, tuple):
            return tuple(self.key(each) for each in node)
        return node

    def column(self, node: ast.ColumnName) -> Value:
        """A column; one of a grouped query around this one is grouped by, or is all that an aggregate is of."""
        found = self.scope.find(node.parts)
        if found is not None and found[2] and self.clause != "aggregate":
            scope = self.scope.outward(found[2])
            if scope.group_keys is not None and ("column", found[0].sql) not in scope.group_keys:
                self._not_grouped(found[0], found[1], scope.clause)
        return super().column(node)

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

    def query_value(self, query: ast.Query) -> Value:
        with self._subquery():
            translated = self.query(query, nested=True)
        self._one_column(translated)
        column = translated.columns[0].value
        sql = f"({translated.sql})"
        if is_string(column.type):
            return Value(sql, column.type, True)
        return Value(sql, column.type, True, null=column.null)

    def query_sql(self, query: ast.Query) -> tuple[str, Value]:
        with self._subquery():
            translated = self.query(query, nested=True)
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
        with self._subquery():
            return f"EXISTS ({self.query(query, nested=True).sql})"

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
            translated = self._json_output(translated, query.json)
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
            columns = self._relation_columns(translated, table.name, table.columns, pg_name)
            self.common[table.name.lower()] = _CommonTable(pg_name, columns)
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
        columns = self._relation_columns(anchor, table.name, table.columns, pg_name)
        self.common[table.name.lower()] = _CommonTable(pg_name, columns, recursive=True)
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

    @staticmethod
    def _relation_columns(
        translated: Translated, name: str, names: Sequence[str], pg_alias: str
    ) -> tuple[RelationColumn, ...]:
        if names and len(names) != len(translated.columns):
            few = len(names) < len(translated.columns)
            raise SqlError(
                8158 if few else 8159,
                f"'{name}' has {'more' if few else 'fewer'} columns than were specified in the column list.",
            )
        columns: list[RelationColumn] = []
        seen: set[str] = set()
        for position, output in enumerate(translated.columns):
            column = names[position] if names else output.name
            if not column:
                raise SqlError(8155, f"No column name was specified for column {position + 1} of '{name}'.")
            if column.lower() in seen:
                raise SqlError(8156, f"The column '{column}' was specified multiple times for '{name}'.")
            seen.add(column.lower())
            columns.append(
                RelationColumn(
                    column, output.value.type, f"{pg_alias}.{identifier(column)}", output.value.nullable
                )
            )
        return tuple(columns)

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
            if node.operator != "UNION ALL" and target.name in _UNSORTABLE:
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
        return _ordered(str(position), item.descending, outputs[position - 1].value.nullable)

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
        self.state = _SelectState(windows={name.lower(): over for name, over in select.windows})
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
        group_sql = self._group_by(select.grouping)
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
        sql += self._top(select, query, sql) + self._offset(query) + self._lock_clause()
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
                if output.value.type.name in _UNSORTABLE:
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
                    self._not_grouped(column, relation, "select")
                yield Output(column.name, column.value(), ("column", column.sql), column.identity)

    # -- GROUP BY --------------------------------------------------------------------------------------------

    def _group_by(self, groupings: Sequence[ast.Grouping]) -> str:
        if not groupings:
            return ""
        parts: list[str] = []
        for grouping in groupings:
            sets = [[self._group_item(item) for item in each] for each in grouping.sets]
            self.state.totals = self.state.totals or grouping.kind != "plain"
            if grouping.kind == "plain":
                parts.append("()" if not sets[0] else sets[0][0])
            elif grouping.kind == "GROUPING SETS":
                parts.append("GROUPING SETS (" + ", ".join(f"({', '.join(each)})" for each in sets) + ")")
            else:
                listed = ", ".join(each[0] if len(each) == 1 else f"({', '.join(each)})" for each in sets)
                parts.append(f"{grouping.kind} ({listed})")
        return " GROUP BY " + ", ".join(parts)

    def _group_item(self, node: ast.Expression) -> str:
        if has_aggregate(node):
            raise SqlError(
                144,
                "Cannot use an aggregate or a subquery in an expression used for the group by list of a GROUP BY "
                "clause.",
                severity=15,
            )
        with self.inside("group"):
            value = self.value(node)
        local = False
        for each in _below(node):
            if isinstance(each, ast.ColumnName):
                found = self.scope.find(each.parts)
                local = local or (found is not None and found[2] == 0)
        if not local:
            raise SqlError(
                164,
                "Each GROUP BY expression must contain at least one column that is not an outer reference.",
                severity=15,
            )
        if value.type.name in _UNSORTABLE:
            raise not_sortable(value.type)
        self.state.group_keys.add(self.key(node))
        return value.sql

    def check_grouped(self, node: ast.Node, clause: str) -> None:
        """Each column of ``node`` is grouped by, or inside an aggregate."""
        if (
            self.key(node) in self.state.group_keys
            or isinstance(node, (ast.Query, ast.Star))
            or is_aggregate(node)
        ):
            return
        if isinstance(node, ast.ColumnName):
            found = self.scope.find(node.parts)
            if found is not None and found[2] == 0:
                self._not_grouped(found[0], found[1], clause)
            return
        if isinstance(node, ast.Call) and node.name in _FIRST_ARGUMENT_IS_A_WORD:
            for argument in node.arguments[1:]:
                self.check_grouped(argument, clause)
            return
        for child in children(node):
            self.check_grouped(child, clause)

    @staticmethod
    def _not_grouped(column: RelationColumn, relation: Relation, clause: str) -> None:
        name = f"{relation.name}.{column.name}"
        if clause == "order":
            raise SqlError(
                8127,
                f'Column "{name}" is invalid in the ORDER BY clause because it is not contained in either an '
                "aggregate function or the GROUP BY clause.",
            )
        number, where = (8121, "HAVING clause") if clause == "having" else (8120, "select list")
        raise SqlError(
            number,
            f"Column '{name}' is invalid in the {where} because it is not contained in either an aggregate function "
            "or the GROUP BY clause.",
        )

    # -- ORDER BY, TOP, locks --------------------------------------------------------------------------------

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
            parts += [_ordered(sql, item.descending, nullable) for sql in keys]
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
            if output.value.type.name in _UNSORTABLE:
                raise not_sortable(output.value.type)
            keys = _sort_keys(output.value)
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
        if value.type.name in _UNSORTABLE:
            raise not_sortable(value.type)
        return _sort_keys(value), value.nullable or self.state.totals, self.key(node)

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

    def _lock_clause(self) -> str:
        locks = self.state.locks
        if not locks:
            return ""
        clauses: dict[tuple[str, str], list[str]] = {}
        for lock in locks:
            clauses.setdefault((lock.strength, lock.wait), []).append(lock.alias)
        return "".join(
            f" FOR {strength} OF {', '.join(aliases)}{wait}" for (strength, wait), aliases in clauses.items()
        )

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
        if "TABLOCKX" in hints or ("TABLOCK" in hints and _WRITE_LOCKS & set(hints)):
            self.before.append(f"LOCK TABLE {pg_name} IN EXCLUSIVE MODE")
            return f"{pg_name} AS {alias}"
        strength, wait = _row_lock(hints)
        if not strength:
            return f"{pg_name} AS {alias}"
        if optional or not self.state.lockable:
            # PostgreSQL locks neither groups nor the optional side of an outer join: lock the rows beneath.
            return f"(SELECT * FROM {pg_name} FOR {strength}{wait}) AS {alias}"
        self.state.locks.append(_Lock(strength, alias, wait))
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
        if node.kind == "LEFT" and isinstance(node.right, ast.TableSource) and _row_lock(node.right.hints)[0]:
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
        strength, wait = _row_lock(node.hints)
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
            with self._subquery():
                self.clause = "select"
                translated = self.query(node.query, nested=True)
        finally:
            self.scope = scope
        alias = self.pg_alias(node.alias)
        columns = self._relation_columns(translated, node.alias, node.columns, alias)
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

    # -- windows ---------------------------------------------------------------------------------------------

    def over(self, node: ast.Call, *, order_needed: bool = False, frame_allowed: bool = True) -> str:
        """The OVER clause of a window function as PostgreSQL writes it."""
        if self.clause not in ("select", "order"):
            raise SqlError(
                4108, "Windowed functions can only appear in the SELECT or ORDER BY clauses.", severity=15
            )
        over = node.over
        if over is None:
            raise SqlError(10753, f"The function '{node.spelling}' must have an OVER clause.", severity=15)
        over = self._named_window(over)
        if order_needed and not over.order:
            raise SqlError(
                4112, f"The function '{node.spelling}' must have an OVER clause with ORDER BY.", severity=15
            )
        if over.frame is not None:
            if not over.order:
                raise SqlError(
                    10756, "Window frame with ROWS or RANGE must have an ORDER BY clause.", severity=15
                )
            if not frame_allowed:
                raise SqlError(
                    10752, f"The function '{node.spelling}' may not have a window frame.", severity=15
                )
        with self.inside("window"):
            parts = []
            if over.partition:
                parts.append("PARTITION BY " + ", ".join(self._sortable(each).sql for each in over.partition))
            if over.order:
                parts.append("ORDER BY " + ", ".join(self._window_order(each) for each in over.order))
        if over.frame is not None:
            parts.append(self._frame(over.frame))
        return f" OVER ({' '.join(parts)})"

    def _named_window(self, over: ast.Over) -> ast.Over:
        if over.name is None:
            return over
        base = self.state.windows.get(over.name.lower())
        if base is None:
            raise SqlError(5362, f"Window '{over.name}' is undefined.", severity=15)
        base = self._named_window(base)
        return ast.Over(over.partition or base.partition, over.order or base.order, over.frame or base.frame)

    def _window_order(self, item: ast.OrderItem) -> str:
        node = item.expression
        if isinstance(node, ast.Constant):
            number, what = (5308, "integer indices") if node.kind == "integer" else (5309, "constants")
            raise SqlError(
                number,
                f"Windowed functions, aggregates and NEXT VALUE FOR functions do not support {what} as ORDER BY "
                "clause expressions.",
            )
        value = self._sortable(node)
        return ", ".join(_ordered(sql, item.descending, value.nullable) for sql in _sort_keys(value))

    def _sortable(self, node: ast.Expression) -> Value:
        value = self.value(node)
        if value.type.name in _UNSORTABLE:
            raise not_sortable(value.type)
        return value

    @staticmethod
    def _frame(frame: ast.Frame) -> str:
        bounds = (frame.start, frame.end) if frame.end is not None else (frame.start,)
        if frame.unit == "RANGE" and any(bound[0].isdigit() for bound in bounds):
            raise SqlError(
                4194,
                "RANGE is only supported with UNBOUNDED and CURRENT ROW window frame delimiters.",
                severity=16,
            )
        if len(bounds) == 1:
            return f"{frame.unit} {bounds[0]}"
        return f"{frame.unit} BETWEEN {bounds[0]} AND {bounds[1]}"

    # -- FOR JSON --------------------------------------------------------------------------------------------

    def _json_output(self, translated: Translated, output: ast.JsonOutput) -> Translated:
        """FOR JSON PATH: one row with one string; dotted names nest."""
        if output.mode == "AUTO":
            raise unsupported("FOR JSON AUTO")
        columns = [f"c{index}" for index in range(len(translated.columns))]
        tree: dict[str, Any] = {}
        for name, column in zip(columns, translated.columns, strict=True):
            if not column.name:
                raise SqlError(
                    13605,
                    "Column expressions and data sources without names or aliases cannot be formatted as JSON text "
                    "using FOR JSON clause. Add alias to the unnamed column or table.",
                )
            place = tree
            *path, leaf = column.name.split(".")
            for step in path:
                place = place.setdefault(step, {})
            place[leaf] = self.json_value(Value(f"q.{name}", column.value.type))
        built = _json_object(tree)
        if not output.include_nulls:
            built = f"json_strip_nulls({built})"
        listed = ",".join(columns)
        text = f"string_agg({built}::text, ',')"
        if not output.without_wrapper:
            text = f"'[' || {text} || ']'"
        if output.root is not None:
            text = f"""'{{' || to_json('{output.root}'::text)::text || ':' || {text} || '}}'"""
        value = string(f"({text})", SqlType("nvarchar", length=MAX))
        sql = f"SELECT {value.sql} FROM ({translated.sql}) AS q({listed}) HAVING count(*) > 0"
        return Translated(sql, [Output("JSON_F52E2B61-18A1-11d1-B105-00805F49916B", value)])

    def json_value(self, value: Value) -> str:
        """``value`` as FOR JSON and JSON_OBJECT write it, of PostgreSQL type json."""
        kind = family(value.type)
        if kind in ("integer", "decimal", "bit", "float", "money"):
            return f"to_json({value.sql})"
        if kind == "json":
            return f"{value.sql}::json"
        text = convert(value, SqlType("nvarchar", length=MAX), "explicit", _JSON_STYLES.get(kind)).text
        return f"to_json({text}::text)"


_JSON_STYLES = {"datetime": "126", "date": "23", "datetimeoffset": "127"}
_FIRST_ARGUMENT_IS_A_WORD = frozenset(
    ("DATEADD", "DATEDIFF", "DATEDIFF_BIG", "DATEPART", "DATENAME", "DATETRUNC", "DATE_BUCKET")
)


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


def _json_object(tree: dict[str, Any]) -> str:
    parts = []
    for name, item in tree.items():
        quoted = name.replace("'", "''")
        parts.append(f"'{quoted}', {_json_object(item) if isinstance(item, dict) else item}")
    return f"json_build_object({', '.join(parts)})"


def _sort_keys(value: Value) -> list[str]:
    """The value itself, behind what puts it into its type's or its language's order."""
    if value.type.name == "uniqueidentifier":
        return [f"sys.order_of_uniqueidentifier({value.sql})", value.sql]
    language = sort_language(value.type.collation)
    if language is None:
        return [value.sql]
    return [
        f"sys.spelled_in('{language}', {value.sql}::text)::{text_type(value.type.collation)}",
        value.sql,
    ]


def _ordered(sql: str, descending: bool, nullable: bool) -> str:
    """SQL Server sorts NULL below every value."""
    if descending:
        return f"{sql} DESC NULLS LAST" if nullable else f"{sql} DESC"
    return f"{sql} NULLS FIRST" if nullable else sql


def _refers_to(query: ast.Query, name: str) -> bool:
    """A common table's query has the table itself in a FROM."""
    pending: list[ast.Node] = [query]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.TableSource) and len(node.name) == 1 and node.name[0].lower() == name.lower():
            return True
        pending.extend(children(node))
    return False
