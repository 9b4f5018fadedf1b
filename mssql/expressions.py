"""Django's expressions in T-SQL: a registry that our compiler consults, so that no class of Django's is patched.

An expression's own ``as_microsoft`` method (other packages bring some) goes first, then the implementation registered
here for the nearest class, then ``as_sql``. A subclass that overrides ``as_sql`` is taken at its word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from django.core.exceptions import EmptyResultSet, FullResultSet
from django.db import DatabaseError, NotSupportedError
from django.db.models import (
    BooleanField,
    Field,
    FloatField,
    IntegerField,
    JSONField,
    UUIDField,
    aggregates,
    expressions,
    functions,
    lookups,
)
from django.db.models.expressions import Case, Col, Expression, Func, OrderBy, Ref, Value, When
from django.db.models.fields import related_lookups, tuple_lookups
from django.db.models.functions import comparison, math, text, window
from django.db.models.functions import datetime as datetime_functions
from django.db.models.sql.compiler import PositionRef
from django.db.models.sql.datastructures import BaseTable, Join
from django.db.models.sql.query import Query
from django.db.models.sql.where import WhereNode

from mssql import bulk
from mssql.parameters import NarrowText

if TYPE_CHECKING:
    from mssql.base import DatabaseWrapper
    from mssql.compiler import SQLCompiler

SQL = tuple[str, Sequence[Any]]
Implementation = Callable[..., SQL]

_IMPLEMENTATIONS: dict[type, Implementation] = {}


def implements(*classes: type) -> Callable[[Implementation], Implementation]:
    """Register the decorated function ``(node, compiler, connection)`` as the T-SQL of these classes."""

    def register(function: Implementation) -> Implementation:
        for cls in classes:
            _IMPLEMENTATIONS[cls] = function
        return function

    return register


def implementation_for(cls: type) -> Implementation | None:
    """Return what is registered for the class or the nearest of its bases, None where ``as_sql`` is nearer."""
    for base in cls.__mro__:
        if (function := _IMPLEMENTATIONS.get(base)) is not None:
            return function
        if "as_sql" in base.__dict__:
            return None
    return None


# Conditions as values. T-SQL has no boolean type: a condition is no value, and a bit is no condition.


class ConditionValue(Expression):
    """A condition where T-SQL wants a value: 1 or 0; where ``unknown`` matters, NULL for neither."""

    def __init__(self, condition: Any, *, unknown: bool = False) -> None:
        super().__init__(output_field=BooleanField())
        self.condition = condition
        self.unknown = unknown

    def get_source_expressions(self) -> list[Any]:
        return [self.condition]

    def set_source_expressions(self, exprs: Sequence[Any]) -> None:
        (self.condition,) = exprs

    def as_sql(self, compiler: SQLCompiler, connection: DatabaseWrapper) -> SQL:
        try:
            sql, params = compiler.compile(self.condition)
        except EmptyResultSet:
            return "0", ()
        except FullResultSet:
            return "1", ()
        if self.unknown:
            return f"CASE WHEN {sql} THEN 1 WHEN NOT ({sql}) THEN 0 END", (*params, *params)
        return f"CASE WHEN {sql} THEN 1 ELSE 0 END", params


def is_condition(node: Any) -> bool:
    """Say whether the node compiles to a condition (``a > b``, ``EXISTS …``) rather than to a value."""
    if isinstance(node, (lookups.Lookup, expressions.Exists, WhereNode)):
        return True
    return isinstance(node, expressions.ExpressionWrapper) and is_condition(node.expression)


def as_value(node: Any) -> Any:
    """Return the node, wrapped where it is a condition."""
    return ConditionValue(node) if is_condition(node) else node


@cache
def how_to_compile(cls: type) -> tuple[bool, Implementation | None]:
    """Return whether the sources of a class are values only, and its implementation."""
    return takes_values(cls), implementation_for(cls)


def takes_values(cls: type) -> bool:
    """Say whether all sources of an expression class are values, never conditions."""
    if issubclass(cls, aggregates.Aggregate) or cls.__name__ == "AggregateFilter":
        return False  # Their filter is a condition; see aggregate().
    if issubclass(cls, comparison.Coalesce):
        return False  # See coalesce().
    return issubclass(cls, (Func, OrderBy, expressions.CombinedExpression, expressions.Window))


def with_values(node: Any) -> Any:
    """Return the node with the conditions among its sources as values."""
    sources = node.get_source_expressions()
    if not any(is_condition(source) for source in sources):
        return node
    node = node.copy()
    node.set_source_expressions([as_value(source) for source in sources])
    return node


@implements(When)
def when(node: When, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    if is_condition(node.result):
        node = node.copy()
        node.result = ConditionValue(node.result)
    return node.as_sql(compiler, connection, **context)


@implements(Case)
def case(node: Case, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    if is_condition(node.default):
        node = node.copy()
        node.default = ConditionValue(node.default)
    if _is_null(node.default) and all(compiler.compile(part.result)[0] == "NULL" for part in node.cases):
        return "NULL", ()  # CASE wants a result that is not the constant NULL (error 8133).
    return node.as_sql(compiler, connection, **context)


def _is_null(node: Any) -> bool:
    return isinstance(node, Value) and node.value is None


@implements(lookups.Lookup, lookups.BuiltinLookup, related_lookups.RelatedLookupMixin)
def lookup(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper) -> SQL:
    """Compare values: a condition on either side becomes one, and text is declared as its column is."""
    sides = {
        name: ConditionValue(side) for name in ("lhs", "rhs") if is_condition(side := getattr(node, name))
    }
    if sides:
        node = node.copy()
        for name, side in sides.items():
            setattr(node, name, side)
    is_narrow = type(node.lhs) is Col and is_narrow_text(node.lhs.output_field, connection)
    if is_narrow and node.rhs_is_direct_value():
        sql, params = node.as_sql(compiler, connection)
        return sql, [narrow(param) for param in params]
    return node.as_sql(compiler, connection)


def narrow(value: Any) -> Any:
    """Return a value as it is to be compared with a char or varchar column."""
    return NarrowText(value) if type(value) is str and value.isascii() else value


def is_narrow_text(field: Any, connection: DatabaseWrapper) -> bool:
    """Say whether a field's column is char or varchar, as UUIDField's is and a field may choose with db_type()."""
    cls: type = type(field)
    return _may_be_narrow(cls) and (field.db_type(connection) or "").startswith(("char", "varchar"))


@cache
def _may_be_narrow(cls: type) -> bool:
    return issubclass(cls, UUIDField) or getattr(cls, "db_type", None) is not Field.db_type


@implements(lookups.Exact)
def exact(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper) -> SQL:
    if isinstance(node.rhs, bool) and is_condition(node.lhs):
        return node.as_sql(compiler, connection)  # Django writes "condition" or "NOT condition".
    return lookup(node, compiler, connection)


# Ordering


@implements(lookups.Regex)
def regex(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper) -> SQL:
    """Match by a pattern, which is no nvarchar(max) (error 8116), as a column or an expression may be."""
    lhs_sql, lhs_params = node.process_lhs(compiler, connection)
    rhs_sql, rhs_params = node.process_rhs(compiler, connection)
    if not node.rhs_is_direct_value():
        rhs_sql = f"CAST({rhs_sql} AS nvarchar(4000))"
    return connection.ops.regex_lookup(node.lookup_name) % (lhs_sql, rhs_sql), (*lhs_params, *rhs_params)


@implements(PositionRef)
def position_ref(node: PositionRef, compiler: SQLCompiler, connection: DatabaseWrapper) -> SQL:
    """Order by the column, or by the name of what has a parameter or subquery.

    A position won't do for those (error 1008), and a name may be that of another selected column as well (error 209).
    """
    sql, params = compiler.compile(node.source)
    outside = compiler.query.combinator or getattr(compiler, "qualify", None)
    if node.refs and (params or "SELECT " in sql or outside):
        return connection.ops.quote_name(node.refs), ()
    return sql, params


@implements(OrderBy)
def order_by(node: OrderBy, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    terms = order_terms(node, compiler)
    return (
        ", ".join(f"{sql} {direction}" for sql, _, direction in terms),
        [param for _, params, _ in terms for param in params],
    )


SORTED_AS: dict[type, Callable[[Any], Any]] = {}
"""Expressions that do not sort by their text alone, with what to sort by before it."""


def order_terms(node: OrderBy, compiler: SQLCompiler) -> list[tuple[str, Sequence[Any], str]]:
    """Return SQL, parameters and direction of all that an OrderBy orders by.

    SQL Server sorts NULL as the lowest value and knows no NULLS FIRST or LAST.
    """
    if isinstance(node.expression, expressions.ColPairs):
        terms = []
        for column in node.expression.get_cols():
            copy = node.copy()
            copy.set_source_expressions([column])
            terms += order_terms(copy, compiler)
        return terms
    sql, params = compiler.compile(as_value(node.expression))
    if (sort_key := SORTED_AS.get(type(node.expression))) and sql[:1] == "(":
        # Not where it is grouped by: then it is the name of a value computed before.
        copy = node.copy()
        copy.set_source_expressions([sort_key(node.expression)])
        direction = "DESC" if node.descending else "ASC"
        return [*order_terms(copy, compiler), (sql, params, direction)]
    if node.nulls_last and not node.descending:
        return [(f"CASE WHEN {sql} IS NULL THEN 1 ELSE 0 END", params, "ASC"), (sql, params, "ASC")]
    if node.nulls_first and node.descending:
        return [(f"CASE WHEN {sql} IS NULL THEN 0 ELSE 1 END", params, "ASC"), (sql, params, "DESC")]
    return [(sql, params, "DESC" if node.descending else "ASC")]


_VARIABLE = (
    *(Col, Ref, Query, expressions.Subquery, expressions.RawSQL, expressions.Window, expressions.Star),
    *(math.Random, aggregates.Aggregate, expressions.ResolvedOuterRef),
)


def _parts(node: Any) -> Iterator[Any]:
    """Yield a node and all beneath it, conditions of CASE as well, which Expression.flatten() does not enter."""
    yield node
    if hasattr(node, "get_source_expressions"):
        for source in node.get_source_expressions():
            if source is not None:
                yield from _parts(source)


def is_constant(node: Any) -> bool:
    """Say whether a value is the same in each row; T-SQL refuses to order by one (errors 408, 1008)."""
    if isinstance(node, Col):
        return False
    if isinstance(node, Ref):
        return is_constant(node.source)
    return not any(isinstance(part, _VARIABLE) for part in _parts(node))


# Tables and their hints


@implements(BaseTable)
def base_table(node: BaseTable, compiler: SQLCompiler, connection: DatabaseWrapper) -> SQL:
    sql, params = node.as_sql(compiler, connection)
    hint = compiler.table_hint(node.table_alias or node.table_name)
    return (f"{sql} {hint}" if hint else sql), params


@implements(Join)
def join(node: Join, compiler: SQLCompiler, connection: DatabaseWrapper) -> SQL:
    sql, params = node.as_sql(compiler, connection)
    if hint := compiler.table_hint(node.table_alias or node.table_name):
        # "INNER JOIN [table] alias ON (…)": no name before ON holds " ON (" unquoted, and names are quoted.
        table, separator, condition = sql.partition(" ON (")
        sql = f"{table} {hint}{separator}{condition}"
    return sql, params


# Literals


@implements(Value)
def value(node: Value, compiler: SQLCompiler, connection: DatabaseWrapper) -> SQL:
    sql, params = node.as_sql(compiler, connection)
    if sql != "%s":
        return sql, params
    field = node._output_field_or_none
    if field is not None and (data_type := _typed_values().get(field.get_internal_type())) is not None:
        # These travel as text or in a wider type; functions want the type itself.
        return f"CAST(%s AS {data_type})", params
    return sql, params


@cache
def _typed_values() -> dict[str, str]:
    return {"TimeField": "time", "DateField": "date", "DurationField": "bigint"}


# Aggregates


@implements(aggregates.Aggregate)
def aggregate(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    """Filter by CASE, and keep out of the arguments what an aggregate does not take."""
    node = _filtered_by_case(node)
    sources = node.get_source_expressions()
    lifted = [_as_argument(source, compiler) for source in sources]
    if any(new is not old for new, old in zip(lifted, sources, strict=True)):
        node = node.copy()
        node.set_source_expressions(lifted)
    return node.as_sql(compiler, connection, **context)


def _filtered_by_case(node: Any) -> Any:
    node = node.copy()
    condition, node.filter = node.filter, None
    first, *rest = node.get_source_expressions()
    first = as_value(first)
    if condition is not None:
        # Django 6 wraps the condition of a filter in an expression of its own.
        condition = getattr(condition, "condition", condition)
        first = Case(When(condition, then=first))
    node.set_source_expressions([first, *rest])
    return node


def _as_argument(node: Any, compiler: SQLCompiler) -> Any:
    """Return the node, or the name of its value computed in FROM.

    An aggregate takes no subquery (error 130), and no column of the query around beside others (error 8124); alone,
    such a column would make it an aggregate of that query.
    """
    if node is None or isinstance(node, (Ref, Value, expressions.Star)):
        return node
    if _names_outer_column(node, compiler.query):
        return compiler.lift(node)
    if isinstance(node, Col):
        return node
    sql, _ = compiler.compile(node)
    return compiler.lift(node) if "SELECT " in sql else node


def _names_outer_column(node: Any, query: Query) -> bool:
    return query.subquery and any(
        isinstance(part, Col) and part.alias not in query.alias_map for part in _parts(node)
    )


@implements(aggregates.Count)
def count(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    return aggregate(node, compiler, connection, function="COUNT_BIG", **context)


@implements(aggregates.Sum)
def sum_(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    """SUM of int is int, and overflows (error 8115)."""
    template = None
    if isinstance(_output_field(node), IntegerField):
        template = "%(function)s(%(distinct)sCAST(%(expressions)s AS bigint))"
    return aggregate(node, compiler, connection, **_template(template), **context)


@implements(aggregates.Avg)
def avg(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    """AVG of int is int."""
    template = None
    if isinstance(_output_field(node), FloatField):
        template = "%(function)s(%(distinct)sCAST(%(expressions)s AS float))"
    return aggregate(node, compiler, connection, **_template(template), **context)


@implements(aggregates.Max, aggregates.Min)
def max_min(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    """A bit has no order for MAX and MIN (error 8117)."""
    template = None
    if isinstance(_output_field(node), BooleanField):
        template = "%(function)s(CAST(%(expressions)s AS int))"
    return aggregate(node, compiler, connection, **_template(template), **context)


@implements(aggregates.StdDev, aggregates.Variance)
def deviation(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    names = {"STDDEV_SAMP": "STDEV", "STDDEV_POP": "STDEVP", "VAR_SAMP": "VAR", "VAR_POP": "VARP"}
    return aggregate(node, compiler, connection, function=names[node.function], **context)


def _output_field(node: Any) -> Any:
    return node._output_field_or_none


def _template(template: str | None) -> dict[str, str]:
    return {} if template is None else {"template": template}


if hasattr(aggregates, "StringAgg"):  # Django 6.0 and newer.

    @implements(aggregates.StringAgg)
    def string_agg(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
        """STRING_AGG orders in a clause of its own."""
        node = _filtered_by_case(node)
        if node.distinct:
            compiler.wants_derived_table = True  # This SQL names it only: mssql.derived has what is sent.
            parts = [compiler.compile(part) for part in node.get_source_expressions() if part is not None]
            return (
                f"STRING_AGG(DISTINCT {', '.join(sql for sql, _ in parts)})",
                [param for _, params in parts for param in params],
            )
        ordering, node.order_by = node.order_by, None
        sql, params = aggregate(
            node,
            compiler,
            connection,
            template="%(function)s(CAST(%(expressions)s)",
            arg_joiner=" AS nvarchar(max)), ",
            **context,
        )
        if ordering is not None:
            order_sql, order_params = compiler.compile(ordering)
            return f"{sql} WITHIN GROUP ({order_sql.strip()})", (*params, *order_params)
        return sql, params

    # The clause stands in WITHIN GROUP (…); Django's own method asks a flag that speaks of another syntax.
    @implements(aggregates.AggregateOrderBy)
    def aggregate_order_by(
        node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any
    ) -> SQL:
        parts = [compiler.compile(source) for source in node.get_source_expressions()]
        return (
            "ORDER BY " + ", ".join(sql for sql, _ in parts),
            tuple(param for _, params in parts for param in params),
        )


if hasattr(aggregates, "BitAnd"):  # Django 6.1 and newer.

    @implements(aggregates.BitAnd, aggregates.BitOr, aggregates.BitXor)
    def bit_aggregate(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
        """Aggregate bit by bit: T-SQL has no aggregate that works on bits.

        Each bit is 1 where it is set in some row (or), in all (and), in an odd number (xor). The sum of the bits'
        worth is the result: in bigint the 64th bit is worth -2^63, as two's complement has it.
        """
        node = _filtered_by_case(node)
        bits = {"SmallIntegerField": 15, "IntegerField": 31}.get(_output_field(node).get_internal_type(), 63)
        source = node.get_source_expressions()[0]
        reference, _ = compiler.compile(source if isinstance(source, Col) else compiler.lift(source))
        name = {"BIT_AND": "MIN", "BIT_OR": "MAX", "BIT_XOR": "SUM"}[node.function]
        parity = " %% 2" if name == "SUM" else ""
        terms = []
        for bit in range(bits + 1):
            worth = -(2**bit) if bit == bits else 2**bit
            # -2^63 can't be written as one literal: the minus is an operator, and 2^63 no bigint.
            literal = f"CAST('{worth}' AS bigint)"
            is_set = f"CASE WHEN CAST({reference} AS bigint) & {literal} = 0 THEN 0 ELSE 1 END"
            terms.append(f"{name}(CASE WHEN {reference} IS NOT NULL THEN {is_set} END){parity} * {literal}")
        return f"({' + '.join(terms)})", ()


# Windows

_NEED_ORDER = (
    window.RowNumber,
    window.Rank,
    window.DenseRank,
    window.PercentRank,
    window.CumeDist,
    window.Ntile,
    window.LagLeadFunction,
    window.FirstValue,
    window.LastValue,
)


@implements(expressions.Window)
def window_(node: expressions.Window, compiler: SQLCompiler, connection: DatabaseWrapper) -> SQL:
    if isinstance(node.source_expression, window.NthValue):
        compiler.wants_derived_table = True  # This SQL names it only: mssql.derived has what is sent.
    is_unordered = node.order_by is None or not node.order_by.get_source_expressions()
    if is_unordered and (isinstance(node.source_expression, _NEED_ORDER) or node.frame is not None):
        node = node.copy()
        node.order_by = expressions.OrderByList(expressions.RawSQL("(SELECT NULL)", ()))
    return node.as_sql(compiler, connection)


# Arithmetic, durations, dates


@implements(expressions.DurationExpression)
def duration_expression(
    node: expressions.DurationExpression, compiler: SQLCompiler, connection: DatabaseWrapper
) -> SQL:
    """A duration is a bigint of microseconds: durations calculate, dates take them by DATEADD."""
    lhs_sql, lhs_params = compiler.compile(node.lhs)
    rhs_sql, rhs_params = compiler.compile(node.rhs)
    lhs_type, rhs_type = (_internal_type(side) for side in (node.lhs, node.rhs))
    temporal = {"DateField", "DateTimeField", "TimeField"}
    if lhs_type in temporal and rhs_type == "DurationField" and node.connector in (node.ADD, node.SUB):
        if node.connector == node.SUB:
            rhs_sql = f"(-{rhs_sql})"
        return connection.ops.add_duration_sql(lhs_type, lhs_sql, lhs_params, rhs_sql, rhs_params)
    if rhs_type in temporal and lhs_type == "DurationField" and node.connector == node.ADD:
        return connection.ops.add_duration_sql(rhs_type, rhs_sql, rhs_params, lhs_sql, lhs_params)
    if {lhs_type, rhs_type} & temporal:
        raise DatabaseError(f"Invalid connector for timedelta: {node.connector}.")
    if node.connector in (node.MUL, node.DIV) and {lhs_type, rhs_type} - {"DurationField"}:
        sql = connection.ops.combine_expression(node.connector, [lhs_sql, rhs_sql])
        return f"CAST({sql} AS bigint)", (*lhs_params, *rhs_params)
    sql = connection.ops.combine_duration_expression(node.connector, [lhs_sql, rhs_sql])
    return f"({sql})", (*lhs_params, *rhs_params)


def _internal_type(node: Any) -> str | None:
    field = node._output_field_or_none
    return None if field is None else field.get_internal_type()


@implements(datetime_functions.Now)
def now(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper) -> SQL:
    """The moment with its offset, or the server's local time where datetimes are naive."""
    if connection.data_types["DateTimeField"].startswith("datetimeoffset"):
        return "SYSDATETIMEOFFSET()", ()
    return "SYSDATETIME()", ()


# Casts, comparisons


@implements(comparison.Cast)
def cast(node: comparison.Cast, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    source = node.get_source_expressions()[0]
    target, origin = node.output_field.get_internal_type(), _internal_type(source)
    sql, params = compiler.compile(as_value(source))
    data_type = node.output_field.cast_db_type(connection)
    match origin, target:
        case "FloatField", "CharField" | "TextField":
            # Style 3 keeps all 17 digits (https://learn.microsoft.com/sql/t-sql/functions/cast-and-convert-transact-sql).
            return f"CONVERT({data_type}, {sql}, 3)", params
        case "DateTimeField", "CharField" | "TextField":
            return f"CONVERT({data_type}, {sql}, 121)", params
        case _, "DateTimeField" if origin == "DateField":
            return f"CAST(CAST({sql} AS datetime2) AS {data_type})", params
        case _, "IntegerField" | "BigIntegerField" | "SmallIntegerField" if origin in {
            "CharField",
            "TextField",
        }:
            return f"CAST({sql} AS {data_type})", params
    return f"CAST({sql} AS {data_type})", params


@implements(comparison.Coalesce)
def coalesce(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    """COALESCE wants an argument that is not the constant NULL (error 4127), and a condition may be unknown."""
    sources = node.get_source_expressions()
    if any(is_condition(source) for source in sources):
        node = node.copy()
        node.set_source_expressions(
            [ConditionValue(source, unknown=True) if is_condition(source) else source for source in sources]
        )
    if all(_is_null(source) for source in node.get_source_expressions()):
        return "NULL", ()
    return node.as_sql(compiler, connection, **context)


@implements(comparison.NullIf)
def null_if(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    if _is_null(node.get_source_expressions()[0]):
        return "NULL", ()
    return node.as_sql(compiler, connection, **context)


@implements(comparison.Greatest, comparison.Least)
def greatest_least(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    """SQL Server 2022 has GREATEST and LEAST; both ways ignore NULL."""
    if connection.features.has_native_greatest_least:
        return node.as_sql(compiler, connection, **context)
    rows = [compiler.compile(source) for source in node.get_source_expressions()]
    name = "MAX" if node.function == "GREATEST" else "MIN"
    values = ", ".join(f"({sql})" for sql, _ in rows)
    return f"(SELECT {name}([value]) FROM (VALUES {values}) AS [candidates] ([value]))", tuple(
        param for _, params in rows for param in params
    )


@implements(comparison.Collate)
def collate(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    """A collation's name is a keyword, not an identifier: brackets are refused. Django has checked its letters."""
    sql, params = compiler.compile(node.get_source_expressions()[0])
    return f"{sql} COLLATE {node.collation}", params


# Mathematics


def _as_float(node: Any) -> Any:
    return functions.Cast(node, FloatField())


@implements(math.ATan2)
def atan2(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    return node.as_sql(compiler, connection, function="ATN2", **context)


@implements(math.Ceil)
def ceil(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    return node.as_sql(compiler, connection, function="CEILING", **context)


@implements(math.Ln)
def ln(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    return node.as_sql(compiler, connection, function="LOG", **context)


@implements(math.Log)
def log(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    """LOG takes the number first, then the base."""
    node = node.copy()
    base, number = node.get_source_expressions()
    node.set_source_expressions([number, base])
    return node.as_sql(compiler, connection, **context)


@implements(math.Mod)
def mod(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    """``%`` refuses float; the remainder has the sign of the dividend, as in C."""
    (lhs, lhs_params), (rhs, rhs_params) = (
        compiler.compile(_as_float(side)) for side in node.get_source_expressions()
    )
    return (
        f"({lhs} - {rhs} * ROUND({lhs} / {rhs}, 0, 1))",
        (*lhs_params, *rhs_params, *lhs_params, *rhs_params),
    )


@implements(math.Power, math.Degrees, math.Radians)
def of_float(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    """These keep the type of their first argument, and an int cuts the result."""
    node = node.copy()
    first, *rest = node.get_source_expressions()
    node.set_source_expressions([_as_float(first), *rest])
    return node.as_sql(compiler, connection, **context)


@implements(math.Random)
def random(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    """RAND() alone gives one number for all rows."""
    return "RAND(CHECKSUM(NEWID()))", ()


if hasattr(functions, "UUID4"):  # Django 6.1 and newer.

    @implements(functions.UUID4)
    def uuid4(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
        """NEWID() makes version 4; as text it is written as UUIDField stores it."""
        if connection.features.has_native_uuid_field:
            return "NEWID()", ()
        return "LOWER(REPLACE(CONVERT(char(36), NEWID()), '-', ''))", ()


# Text


@implements(text.Chr)
def chr_(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    return node.as_sql(compiler, connection, function="NCHAR", **context)


@implements(text.Ord)
def ord_(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    return node.as_sql(compiler, connection, function="UNICODE", **context)


@implements(text.ConcatPair)
def concat_pair(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    """CONCAT takes NULL as the empty text and any type as text, as Django's Concat does."""
    return node.as_sql(compiler, connection, **context)


@implements(text.Length)
def length(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    """LEN ignores trailing spaces."""
    return node.as_sql(
        compiler, connection, template="(LEN(CAST(%(expressions)s AS nvarchar(max)) + N'.') - 1)", **context
    )


@implements(text.LPad, text.RPad)
def pad(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    """Pad by repeating the fill, cut to the length: the text is cut as well when it is too long."""
    (string, string_params), (size, size_params), (fill, fill_params) = (
        compiler.compile(source) for source in node.get_source_expressions()
    )
    string_length, _ = compiler.compile(functions.Length(node.get_source_expressions()[0]))
    string = f"CAST({string} AS nvarchar(max))"
    filling = f"REPLICATE(CAST({fill} AS nvarchar(max)), {size})"
    if isinstance(node, text.RPad):
        return f"LEFT({string} + {filling}, {size})", (
            *string_params,
            *fill_params,
            *size_params,
            *size_params,
        )
    missing = f"{size} - {string_length}"
    return (
        f"CASE WHEN {missing} <= 0 THEN LEFT({string}, {size}) ELSE LEFT({filling}, {missing}) + {string} END",
        (
            *(*size_params, *string_params),
            *(*string_params, *size_params),
            *(*fill_params, *size_params, *size_params, *string_params, *string_params),
        ),
    )


@implements(text.Repeat)
def repeat(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    """REPLICATE cuts at 8,000 bytes unless its text is (max)."""
    (string, string_params), (number, number_params) = (
        compiler.compile(source) for source in node.get_source_expressions()
    )
    return f"REPLICATE(CAST({string} AS nvarchar(max)), {number})", (*string_params, *number_params)


@implements(text.Replace)
def replace(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    """Compare by code point: REPLACE would follow the collation and ignore case. The result sorts as usual."""
    (string, string_params), *others = (compiler.compile(source) for source in node.get_source_expressions())
    arguments = ", ".join([f"{string} COLLATE Latin1_General_100_BIN2", *(sql for sql, _ in others)])
    return f"REPLACE({arguments}) COLLATE DATABASE_DEFAULT", (
        *string_params,
        *(param for _, params in others for param in params),
    )


@implements(text.StrIndex)
def str_index(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    """CHARINDEX takes what is sought first."""
    node = node.copy()
    string, substring = node.get_source_expressions()
    node.set_source_expressions([substring, string])
    return node.as_sql(compiler, connection, function="CHARINDEX", **context)


@implements(text.Substr)
def substr(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    """SUBSTRING wants a length; more than there is means to the end."""
    sources = node.get_source_expressions()
    if len(sources) == 2:
        node = node.copy()
        node.set_source_expressions([*sources, Value(2**31 - 1)])
    return node.as_sql(compiler, connection, function="SUBSTRING", **context)


_HASHES = {text.MD5: "MD5", text.SHA1: "SHA1", text.SHA256: "SHA2_256", text.SHA512: "SHA2_512"}


@implements(*_HASHES)
def hash_(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    """Hash the UTF-8 bytes, as other databases do; nvarchar's own bytes are UTF-16."""
    if not connection.features.supports_utf8_collations:
        raise NotSupportedError(f"{type(node).__name__} wants UTF-8 text, which SQL Server has since 2019.")
    algorithm = next(name for cls, name in _HASHES.items() if isinstance(node, cls))
    sql, params = compiler.compile(node.get_source_expressions()[0])
    utf8 = f"CAST({sql} COLLATE Latin1_General_100_CI_AS_SC_UTF8 AS varchar(max))"
    return (
        f"LOWER(CONVERT(varchar(128), HASHBYTES('{algorithm}', {utf8}), 2)) COLLATE DATABASE_DEFAULT",
        params,
    )


@implements(text.SHA224, text.SHA384)
def unknown_hash(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    raise NotSupportedError(
        f"{type(node).__name__} is not supported: HASHBYTES of SQL Server does not know it."
    )


# Row values, which T-SQL has not


@implements(tuple_lookups.TupleExact, tuple_lookups.TupleIn)
def row_value(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper) -> SQL:
    """Compare column by column; with the rows of a subquery or of a long list, by EXISTS."""
    if isinstance(node.rhs, (Query, expressions.Subquery)):
        return _exists_in_subquery(node, compiler, _all_equal)
    if isinstance(node, tuple_lookups.TupleIn) and (sql := _row_in_json(node, compiler, connection)):
        return sql
    return node.get_fallback_sql(compiler, connection)


_BEFORE_THE_LAST = {"gt": ">", "gte": ">", "lt": "<", "lte": "<"}
_AT_THE_LAST = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


@implements(
    *(tuple_lookups.TupleGreaterThan, tuple_lookups.TupleGreaterThanOrEqual),
    *(tuple_lookups.TupleLessThan, tuple_lookups.TupleLessThanOrEqual),
)
def row_order(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper) -> SQL:
    """Rows are in order by their first columns that differ."""
    if not isinstance(node.rhs, (Query, expressions.Subquery)):
        return node.get_fallback_sql(compiler, connection)
    if not connection.features.supports_tuple_comparison_against_subquery:
        return node.as_sql(compiler, connection)  # Django's refusal.

    def in_order(columns: Sequence[SQL], names: Sequence[str]) -> SQL:
        cases: list[str] = []
        params: list[Any] = []
        for number, (name, (sql, column_params)) in enumerate(zip(names, columns, strict=True)):
            operators = _AT_THE_LAST if number == len(names) - 1 else _BEFORE_THE_LAST
            equal, equal_params = _all_equal(columns[:number], names[:number])
            this = f"{sql} {operators[node.lookup_name]} [keys].{name}"
            cases.append(f"({equal} AND {this})" if equal else this)
            params += [*equal_params, *column_params]
        return " OR ".join(cases), params

    return _exists_in_subquery(node, compiler, in_order)


def _exists_in_subquery(
    node: Any, compiler: SQLCompiler, condition: Callable[[Sequence[SQL], Sequence[str]], SQL]
) -> SQL:
    subquery, subquery_params = compiler.compile(node.rhs)
    columns = [compiler.compile(column) for column in node.lhs]
    names = _key_names(len(columns))
    sql, params = condition(columns, names)
    return (
        f"EXISTS (SELECT 1 FROM {subquery} AS [keys] ({', '.join(names)}) WHERE {sql})",
        [*subquery_params, *params],
    )


def _all_equal(columns: Sequence[SQL], names: Sequence[str]) -> SQL:
    pairs = zip(columns, names, strict=True)
    return (
        " AND ".join(f"{sql} = [keys].{name}" for (sql, _), name in pairs),
        [param for _, params in columns for param in params],
    )


def _row_in_json(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper) -> SQL | None:
    """Look rows up in a list that travels as one parameter; None where it is short or can't travel as JSON."""
    if len(node.rhs) * len(node.lhs) <= IN_LIST_AS_JSON:
        return None
    if any(hasattr(item, "as_sql") for row in node.rhs for item in row):
        return None
    fields = [column.output_field for column in node.lhs]
    types = [data_type for field in fields if (data_type := _json_type(field, connection))]
    if len(types) < len(fields):
        return None
    rows = [
        [field.get_db_prep_value(item, connection) for field, item in zip(fields, row, strict=True)]
        for row in node.rhs
        if all(item is not None for item in row)  # NULL equals nothing.
    ]
    if not rows:
        raise EmptyResultSet
    declared, conditions = [], []
    params: list[Any] = []
    for number, (name, column) in enumerate(zip(_key_names(len(fields)), node.lhs, strict=True)):
        sql, column_params = compiler.compile(column)
        data_type = bulk.comparison_type(types[number], [row[number] for row in rows])
        declared.append(f"{name} {data_type} '$[{number}]'")
        key = beside_column(f"[keys].{name}", data_type, fields[number], connection)
        conditions.append(f"{key} = {sql}")
        params += column_params
    return (
        f"EXISTS (SELECT 1 FROM OPENJSON(%s) WITH ({', '.join(declared)}) AS [keys] "
        f"WHERE {' AND '.join(conditions)})",
        [bulk.dump_values(rows), *params],
    )


def _key_names(number: int) -> list[str]:
    return [f"[key{position}]" for position in range(1, number + 1)]


# Lists of values

IN_LIST_AS_JSON = 50
"""An IN list longer than this travels as one parameter: one plan for any length, and no limit of 2,100 parameters."""


@implements(lookups.In, related_lookups.RelatedIn)
def in_(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper) -> SQL:
    if (
        node.rhs_is_direct_value()
        and len(node.rhs) > IN_LIST_AS_JSON
        and not node.bilateral_transforms
        and not isinstance(node.lhs, expressions.ColPairs)
        and (sql := _in_json(node, compiler, connection)) is not None
    ):
        return sql
    return lookup(node, compiler, connection)


def _in_json(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper) -> SQL | None:
    field = getattr(node.lhs, "output_field", None)
    data_type = None if field is None else _json_type(field, connection)
    if data_type is None or isinstance(field, JSONField):
        return None
    _, params = node.process_rhs(compiler, connection)
    if any(hasattr(param, "as_sql") for param in params):
        return None
    lhs_sql, lhs_params = node.process_lhs(compiler, connection)
    data_type = bulk.comparison_type(data_type, params)
    value = beside_column("[value]", data_type, field, connection)
    return (
        f"{lhs_sql} IN (SELECT {value} FROM OPENJSON(%s) WITH ([value] {data_type} '$'))",
        (*lhs_params, bulk.dump_values(params)),
    )


def _json_type(field: Any, connection: DatabaseWrapper) -> str | None:
    """Return the column type of a field whose values can travel as JSON, else None."""
    data_type: str | None = field.db_type(connection)
    if bulk.openjson_type(data_type) is None or not connection.features.supports_openjson:
        return None
    return data_type


def beside_column(sql: str, data_type: str, field: Any, connection: DatabaseWrapper) -> str:
    """Return a value of OPENJSON as it is compared with the column of a field: by the collation of the column."""
    if collation := field.db_parameters(connection).get("collation"):
        return f"{sql} COLLATE {collation}"
    return bulk.coercible(sql, data_type)


# Text lookups that ignore case


@implements(lookups.IExact, lookups.IContains, lookups.IStartsWith, lookups.IEndsWith)
def ignoring_case(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper) -> SQL:
    """On a case-insensitive collation the plain comparison does, and can seek in an index."""
    collation = (
        getattr(getattr(node.lhs, "output_field", None), "db_collation", None) or connection.server.collation
    )
    insensitive = case_insensitive(collation)
    if insensitive is None:
        return lookup(node, compiler, connection)
    lhs_sql, lhs_params = node.process_lhs(compiler, connection)
    rhs_sql, rhs_params = node.process_rhs(compiler, connection)
    return f"{lhs_sql} COLLATE {insensitive} {node.get_rhs_op(connection, rhs_sql)}", (
        *lhs_params,
        *rhs_params,
    )


@cache
def case_insensitive(collation: str | None) -> str | None:
    """Return the collation to compare by when the given one minds case, else None.

    >>> case_insensitive("Latin1_General_100_CS_AS_SC"), case_insensitive("Latin1_General_CI_AS")
    ('Latin1_General_100_CI_AS_SC', None)
    """
    if collation is None:
        return None
    parts = collation.split("_")
    if "CS" in parts:
        return collation.replace("_CS", "_CI")
    if {"BIN", "BIN2"} & set(parts):
        return "Latin1_General_100_CI_AS"
    return None
