"""GROUP BY, and what may stand in expressions over groups of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlserver_standin.events import SqlError
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.expressions import children, node_fields
from sqlserver_standin.tsql.ordering import UNSORTABLE, not_sortable
from sqlserver_standin.tsql.scope import Relation, RelationColumn
from sqlserver_standin.tsql.sources import SourceTranslator
from sqlserver_standin.tsql.values import Value

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
_FIRST_ARGUMENT_IS_A_WORD = frozenset(
    ("DATEADD", "DATEDIFF", "DATEDIFF_BIG", "DATEPART", "DATENAME", "DATETRUNC", "DATE_BUCKET")
)


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


class GroupingTranslator(SourceTranslator):
    """Translates GROUP BY, and keeps columns that are not grouped by out of grouped queries."""

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
                self.not_grouped(found[0], found[1], scope.clause)
        return super().column(node)

    def group_by(self, groupings: Sequence[ast.Grouping]) -> str:
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
        if value.type.name in UNSORTABLE:
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
                self.not_grouped(found[0], found[1], clause)
            return
        if isinstance(node, ast.Call) and node.name in _FIRST_ARGUMENT_IS_A_WORD:
            for argument in node.arguments[1:]:
                self.check_grouped(argument, clause)
            return
        for child in children(node):
            self.check_grouped(child, clause)

    @staticmethod
    def not_grouped(column: RelationColumn, relation: Relation, clause: str) -> None:
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
