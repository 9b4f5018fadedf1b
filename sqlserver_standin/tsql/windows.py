"""The OVER clause and the functions that need one."""

from __future__ import annotations

from collections.abc import Callable

from sqlserver_standin.events import SqlError
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.conversions import convert
from sqlserver_standin.tsql.expressions import FUNCTIONS
from sqlserver_standin.tsql.ordering import UNSORTABLE, not_sortable, ordered, sort_keys
from sqlserver_standin.tsql.parse_tokens import unsupported
from sqlserver_standin.tsql.queries import QueryTranslator
from sqlserver_standin.tsql.types import BIGINT, FLOAT, INT
from sqlserver_standin.tsql.values import Value
from sqlserver_standin.types import SqlType


def over(
    work: QueryTranslator, node: ast.Call, *, order_needed: bool = False, frame_allowed: bool = True
) -> str:
    """The OVER clause of a window function as PostgreSQL writes it."""
    if work.clause not in ("select", "order"):
        raise SqlError(
            4108, "Windowed functions can only appear in the SELECT or ORDER BY clauses.", severity=15
        )
    window = node.over
    if window is None:
        raise SqlError(10753, f"The function '{node.spelling}' must have an OVER clause.", severity=15)
    window = _named_window(work, window)
    if order_needed and not window.order:
        raise SqlError(
            4112, f"The function '{node.spelling}' must have an OVER clause with ORDER BY.", severity=15
        )
    if window.frame is not None:
        if not window.order:
            raise SqlError(
                10756, "Window frame with ROWS or RANGE must have an ORDER BY clause.", severity=15
            )
        if not frame_allowed:
            raise SqlError(10752, f"The function '{node.spelling}' may not have a window frame.", severity=15)
    with work.inside("window"):
        parts = []
        if window.partition:
            parts.append("PARTITION BY " + ", ".join(_sortable(work, each).sql for each in window.partition))
        if window.order:
            parts.append("ORDER BY " + ", ".join(_window_order(work, each) for each in window.order))
    if window.frame is not None:
        parts.append(_frame(window.frame))
    return f" OVER ({' '.join(parts)})"


def _named_window(work: QueryTranslator, over: ast.Over) -> ast.Over:
    if over.name is None:
        return over
    base = work.state.windows.get(over.name.lower())
    if base is None:
        raise SqlError(5362, f"Window '{over.name}' is undefined.", severity=15)
    base = _named_window(work, base)
    return ast.Over(over.partition or base.partition, over.order or base.order, over.frame or base.frame)


def _window_order(work: QueryTranslator, item: ast.OrderItem) -> str:
    node = item.expression
    if isinstance(node, ast.Constant):
        number, what = (5308, "integer indices") if node.kind == "integer" else (5309, "constants")
        raise SqlError(
            number,
            f"Windowed functions, aggregates and NEXT VALUE FOR functions do not support {what} as ORDER BY "
            "clause expressions.",
        )
    value = _sortable(work, node)
    return ", ".join(ordered(sql, item.descending, value.nullable) for sql in sort_keys(value))


def _sortable(work: QueryTranslator, node: ast.Expression) -> Value:
    value = work.value(node)
    if value.type.name in UNSORTABLE:
        raise not_sortable(value.type)
    return value


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


def _ranking(function: str, result: SqlType) -> Callable[[QueryTranslator, ast.Call], Value]:
    def translate(work: QueryTranslator, node: ast.Call) -> Value:
        work.check_arity(node, 0)
        window = over(work, node, order_needed=True, frame_allowed=False)
        return Value(f"({function}(){window})", result, nullable=False)

    return translate


FUNCTIONS["ROW_NUMBER"] = _ranking("row_number", BIGINT)
FUNCTIONS["RANK"] = _ranking("rank", BIGINT)
FUNCTIONS["DENSE_RANK"] = _ranking("dense_rank", BIGINT)
FUNCTIONS["PERCENT_RANK"] = _ranking("percent_rank", FLOAT)
FUNCTIONS["CUME_DIST"] = _ranking("cume_dist", FLOAT)


def _ntile(work: QueryTranslator, node: ast.Call) -> Value:
    (buckets,) = work.arguments(node, 1)
    number = convert(buckets, INT)
    return Value(
        f"(ntile({number.sql}){over(work, node, order_needed=True, frame_allowed=False)})::int8",
        BIGINT,
        nullable=False,
    )


FUNCTIONS["NTILE"] = _ntile


def _neighbour(function: str) -> Callable[[QueryTranslator, ast.Call], Value]:
    def translate(work: QueryTranslator, node: ast.Call) -> Value:
        values = work.arguments(node, 1, 3)
        if node.options == ("IGNORE NULLS",):
            raise unsupported(f"{node.name} … IGNORE NULLS")
        value = values[0]
        arguments = [value.sql]
        if len(values) > 1:
            arguments.append(convert(values[1], INT).sql)
        if len(values) > 2:
            arguments.append(convert(values[2], value.type).sql)
        window = over(work, node, order_needed=True, frame_allowed=False)
        return Value(f"({function}({','.join(arguments)}){window})", value.type)

    return translate


FUNCTIONS["LAG"] = _neighbour("lag")
FUNCTIONS["LEAD"] = _neighbour("lead")


def _edge(function: str) -> Callable[[QueryTranslator, ast.Call], Value]:
    def translate(work: QueryTranslator, node: ast.Call) -> Value:
        (value,) = work.arguments(node, 1)
        if node.options == ("IGNORE NULLS",):
            raise unsupported(f"{node.name} … IGNORE NULLS")
        return Value(f"({function}({value.sql}){over(work, node, order_needed=True)})", value.type)

    return translate


FUNCTIONS["FIRST_VALUE"] = _edge("first_value")
FUNCTIONS["LAST_VALUE"] = _edge("last_value")
