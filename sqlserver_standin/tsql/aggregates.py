"""Aggregate functions."""

from __future__ import annotations

from collections.abc import Callable

from sqlserver_standin.events import SqlError
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql import types
from sqlserver_standin.tsql.conversions import convert
from sqlserver_standin.tsql.expressions import FUNCTIONS, descendants
from sqlserver_standin.tsql.ordering import ordered
from sqlserver_standin.tsql.queries import QueryTranslator
from sqlserver_standin.tsql.types import BIGINT, FLOAT, INT, describe, family, is_string, pg_type
from sqlserver_standin.tsql.values import Value, string
from sqlserver_standin.tsql.windows import over
from sqlserver_standin.types import MAX, SqlType


def _check_place(work: QueryTranslator, node: ast.Call) -> None:
    """An aggregate stands neither in WHERE, ON or SET nor inside another one; a window function is no aggregate."""
    if node.over is not None:
        return
    match work.clause:
        case "where":
            raise SqlError(
                147,
                "An aggregate may not appear in the WHERE clause unless it is in a subquery contained in a HAVING "
                "clause or a select list, and the column being aggregated is an outer reference.",
                severity=15,
            )
        case "on":
            raise SqlError(
                1015,
                "An aggregate cannot appear in an ON clause unless it is in a subquery contained in a HAVING clause "
                "or select list, and the column being aggregated is an outer reference.",
                severity=15,
            )
        case "set":
            raise SqlError(
                157, "An aggregate may not appear in the set list of an UPDATE statement.", severity=15
            )
        case "aggregate":
            raise SqlError(
                130,
                "Cannot perform an aggregate function on an expression containing an aggregate or a subquery.",
            )


def _argument(work: QueryTranslator, node: ast.Call, position: int = 0) -> Value:
    """An argument of an aggregate, which may hold no aggregate itself."""
    _check_place(work, node)
    if node.over is not None:
        return work.value(node.arguments[position])
    _check_outer_references(work, node.arguments[position])
    with work.inside("aggregate"):
        return work.value(node.arguments[position])


def _check_outer_references(work: QueryTranslator, argument: ast.Node) -> None:
    """An aggregate of a column of a query around this one is that query's, so it can't have one of this one too."""
    found = [
        column
        for each in descendants(argument)
        if isinstance(each, ast.ColumnName) and (column := work.scope.find(each.parts)) is not None
    ]
    outer = any(depth for _, _, depth in found)
    if outer and len({column.sql for column, _, _ in found}) > 1:
        raise SqlError(
            8124,
            "Multiple columns are specified in an aggregated expression containing an outer reference. If an "
            "expression being aggregated contains an outer reference, then that outer reference must be the only "
            "column referenced in the expression.",
        )


def _window(work: QueryTranslator, node: ast.Call) -> str:
    if node.over is None:
        return ""
    if node.distinct:
        raise SqlError(10759, "Use of DISTINCT is not allowed with the OVER clause.", severity=15)
    return over(work, node)


def _distinct(node: ast.Call) -> str:
    return "DISTINCT " if node.distinct else ""


def _invalid(value: Value, function: str) -> SqlError:
    return SqlError(8117, f"Operand data type {describe(value.type)} is invalid for {function} operator.")


def _count(result: SqlType) -> Callable[[QueryTranslator, ast.Call], Value]:
    def translate(work: QueryTranslator, node: ast.Call) -> Value:
        work.check_arity(node, 1)
        if isinstance(node.arguments[0], ast.Star):
            _check_place(work, node)
            inner = "*"
        else:
            value = _argument(work, node)
            if value.type.name in ("text", "ntext", "image", "json"):
                raise _invalid(value, "count")
            inner = _distinct(node) + value.sql
        sql = f"count({inner}){_window(work, node)}"
        return Value(sql if result is BIGINT else f"({sql})::int4", result, nullable=False)

    return translate


FUNCTIONS["COUNT"] = _count(INT)
FUNCTIONS["COUNT_BIG"] = _count(BIGINT)
FUNCTIONS["APPROX_COUNT_DISTINCT"] = lambda work, node: Value(
    f"count(DISTINCT {_argument(work, node).sql})", BIGINT, nullable=False
)


def _sum(work: QueryTranslator, node: ast.Call) -> Value:
    work.check_arity(node, 1)
    value = _argument(work, node)
    kind = family(value.type)
    if kind not in ("integer", "decimal", "money", "float"):
        raise _invalid(value, "sum")
    sql = f"sum({_distinct(node)}{value.sql}){_window(work, node)}"
    if kind == "integer":
        result = BIGINT if value.type.name == "bigint" else INT
        return Value(f"({sql})::{pg_type(result)}", result)
    if kind == "decimal":
        return Value(sql, SqlType("decimal", precision=38, scale=value.type.scale or 0))
    if kind == "money":
        return Value(f"({sql})::numeric(19,4)", SqlType("money"))
    return Value(f"({sql})::float8", FLOAT)


def _avg(work: QueryTranslator, node: ast.Call) -> Value:
    """The average has its argument's scale rules: integers give integers, cut toward zero."""
    work.check_arity(node, 1)
    value = _argument(work, node)
    kind = family(value.type)
    if kind not in ("integer", "decimal", "money", "float"):
        raise _invalid(value, "avg")
    sql = f"avg({_distinct(node)}{value.sql}){_window(work, node)}"
    if kind == "integer":
        result = BIGINT if value.type.name == "bigint" else INT
        return Value(f"trunc({sql})::{pg_type(result)}", result)
    if kind == "decimal":
        scale = max(value.type.scale or 0, 6)
        return Value(f"trunc({sql},{scale})", SqlType("decimal", precision=38, scale=scale))
    if kind == "money":
        return Value(f"trunc({sql},4)::numeric(19,4)", SqlType("money"))
    return Value(f"({sql})::float8", FLOAT)


FUNCTIONS["SUM"] = _sum
FUNCTIONS["AVG"] = _avg


def _extreme(name: str) -> Callable[[QueryTranslator, ast.Call], Value]:
    def translate(work: QueryTranslator, node: ast.Call) -> Value:
        work.check_arity(node, 1)
        value = _argument(work, node)
        if value.type.name in ("bit", "text", "ntext", "image", "xml", "json"):
            raise _invalid(value, name)
        sql = f"{name}({value.sql}){_window(work, node)}"
        return Value(
            f"({sql})" if node.over else sql, value.type, explicit_collation=value.explicit_collation
        )

    return translate


FUNCTIONS["MIN"] = _extreme("min")
FUNCTIONS["MAX"] = _extreme("max")


def _statistic(function: str, name: str) -> Callable[[QueryTranslator, ast.Call], Value]:
    def translate(work: QueryTranslator, node: ast.Call) -> Value:
        work.check_arity(node, 1)
        value = _argument(work, node)
        if family(value.type) not in ("integer", "decimal", "money", "float"):
            raise _invalid(value, name.lower())
        number = convert(value, FLOAT)
        return Value(f"{function}({_distinct(node)}{number.sql}){_window(work, node)}", FLOAT)

    return translate


for _name, _function in (
    ("STDEV", "stddev_samp"),
    ("STDEVP", "stddev_pop"),
    ("VAR", "var_samp"),
    ("VARP", "var_pop"),
):
    FUNCTIONS[_name] = _statistic(_function, _name)


def _string_agg(work: QueryTranslator, node: ast.Call) -> Value:
    work.check_arity(node, 2)
    if node.over is not None:
        raise SqlError(
            4113,
            "The function 'STRING_AGG' is not a valid windowing function, and cannot be used with the OVER clause.",
            severity=16,
        )
    value = _argument(work, node)
    if not is_string(value.type):
        value = convert(value, SqlType("nvarchar", length=4000))
    separator = convert(work.value(node.arguments[1]), SqlType("nvarchar", length=4000))
    order = ""
    if node.within_group:
        with work.inside("aggregate"):
            items = []
            for item in node.within_group:
                key = work.value(item.expression)
                items.append(ordered(key.sql, item.descending, key.nullable))
        order = " ORDER BY " + ", ".join(items)
    unicode = types.is_unicode(value.type)
    length = MAX if value.type.length == MAX else (4000 if unicode else 8000)
    result = SqlType("nvarchar" if unicode else "varchar", length=length, collation=value.type.collation)
    sql = f"string_agg({_distinct(node)}{value.text},{separator.text}{order})"
    if length != MAX:
        sql = f"sys.checked_string_agg({sql},{8000})"
    return string(sql, result)


FUNCTIONS["STRING_AGG"] = _string_agg


def _checksum_agg(work: QueryTranslator, node: ast.Call) -> Value:
    work.check_arity(node, 1)
    return Value(f"bit_xor({_distinct(node)}{convert(_argument(work, node), INT).sql})", INT)


FUNCTIONS["CHECKSUM_AGG"] = _checksum_agg


def _grouping(work: QueryTranslator, node: ast.Call) -> Value:
    for position, argument in enumerate(node.arguments, 1):
        if work.key(argument) not in work.state.group_keys:
            raise SqlError(
                8161,
                f"Argument {position} of the {node.name} function does not match any of the expressions in the GROUP "
                "BY clause.",
            )
    listed = ", ".join(work.value(argument).sql for argument in node.arguments)
    if node.name == "GROUPING":
        return Value(f"grouping({listed})::int2", types.TINYINT, nullable=False)
    return Value(f"grouping({listed})", INT, nullable=False)


FUNCTIONS["GROUPING"] = FUNCTIONS["GROUPING_ID"] = _grouping
