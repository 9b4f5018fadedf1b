"""What T-SQL can't say in one SELECT: it is computed from the columns of a derived table.

NTH_VALUE: the rows are numbered, and LEAD and LAG go to the nth. A window can't stand in another one (error 4109), but
the offset of LEAD and LAG may be a column (https://learn.microsoft.com/sql/t-sql/functions/lead-transact-sql):

    SELECT CASE WHEN … LEAD([__value0], 2 - [__value1]) OVER (PARTITION BY [__value2] ORDER BY [__value1]) …
    FROM (SELECT salary AS [__value0], ROW_NUMBER() OVER (PARTITION BY team ORDER BY hired) AS [__value1],
                 team AS [__value2] FROM …) AS [derived]

STRING_AGG(DISTINCT …): all texts are gathered as a JSON array, and taken apart, once each, for STRING_AGG.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.db import NotSupportedError
from django.db.models import Count, TextField, aggregates
from django.db.models.expressions import Expression, OrderBy, Ref, RowRange, Value, ValueRange, When, Window
from django.db.models.functions import NthValue, Rank, RowNumber
from django.db.models.lookups import Exact
from django.db.models.sql.query import Query

from mssql.expressions import ConditionValue, aggregate, implements, is_condition

if TYPE_CHECKING:
    from mssql.base import DatabaseWrapper

SQL = tuple[str, Sequence[Any]]


StringAgg: Any = getattr(aggregates, "StringAgg", ())
"""Django 6.0 and newer."""


def _is_nth_value(node: Any) -> bool:
    return isinstance(node, Window) and isinstance(node.source_expression, NthValue)


def _is_distinct_text(node: Any) -> bool:
    return isinstance(node, StringAgg) and node.distinct


def _contains(node: Any) -> bool:
    """Say whether anything in a node has to be computed from outside."""
    return (
        _is_nth_value(node)
        or _is_distinct_text(node)
        or any(
            _contains(source)
            for source in getattr(node, "get_source_expressions", list)()
            if source is not None
        )
    )


class DerivedTable:
    """The derived table of a query, and its expressions as they look from outside of it."""

    def __init__(self, query: Query) -> None:
        self.query = query.clone()
        self.query.subquery = True
        self.query.select, self.query.selected = (), None
        self.query.default_cols, self.query.select_related = False, False
        self.query.distinct, self.query.distinct_fields = False, ()
        self.query.set_extra_mask(())
        self.query.clear_ordering(force=True)
        self._names: dict[Any, str] = {}

    def column(self, node: Any) -> Ref:
        """The name of what the derived table selects."""
        name = self._names.get(node)
        if name is None:
            name = self._names[node] = f"__value{len(self._names)}"
            self.query.annotations[name] = node
            self.query.set_annotation_mask(set(self._names.values()))
        return Ref(name, node)

    def outside(self, node: Any) -> Any:
        """The expression over the derived table's columns."""
        if _is_nth_value(node):
            return self._nth_value(node)
        if _is_distinct_text(node):
            return self._distinct_text(node)
        if isinstance(node, Ref):
            return self.outside(node.source)
        if isinstance(node, Value):
            return node
        if isinstance(node, (OrderBy, When)) or _contains(node):
            copy = node.copy()
            copy.set_source_expressions(
                [None if source is None else self.outside(source) for source in node.get_source_expressions()]
            )
            return copy
        if is_condition(node):
            return Exact(self.column(ConditionValue(node, unknown=True)), Value(1))
        return self.column(node)

    def selected(self, node: Any) -> Any:
        """The same for the select list, where a condition is a value already."""
        return self.outside(node) if _contains(node) else self.column(node)

    def _nth_value(self, window: Window) -> NthRow:
        expression, number = window.source_expression.get_source_expressions()
        partition = window.partition_by.get_source_expressions() if window.partition_by is not None else []
        order = window.order_by.get_source_expressions() if window.order_by is not None else []

        def beside(function: Any) -> Ref:
            return self.column(Window(function, partition_by=partition or None, order_by=order or None))

        row = beside(RowNumber())
        start, end = _frame(window, bool(order))
        by_rows = isinstance(window.frame, RowRange)
        first: int | Ref = 1
        if start is not None:
            first = row if by_rows else beside(Rank())
        last: Ref | None = None
        if end is not None:
            # With the default frame COUNT gives the number of the last row that is sorted alike.
            last = row if by_rows else beside(Count("*"))
        return NthRow(
            value=self.column(expression),
            row=row,
            partition=[self.column(node) for node in partition],
            first=first,
            start=start or 0,
            last=last,
            end=end or 0,
            nth=number.value,
            output_field=window.output_field,
        )

    def _distinct_text(self, node: Any) -> DistinctText:
        text, delimiter = node.get_source_expressions()[:2]
        direction = ""
        if node.order_by is not None:
            term, *others = node.order_by.get_source_expressions()
            ordered_by = term.expression if isinstance(term, OrderBy) else term
            if others or ordered_by != text or text.output_field.get_internal_type() not in _TEXT:
                raise NotSupportedError("StringAgg(distinct=True) can be ordered by its own text only.")
            direction = "DESC" if isinstance(term, OrderBy) and term.descending else "ASC"
        condition = None if node.filter is None else node.filter.condition
        return DistinctText(
            texts=self.column(GatheredTexts(text, filter=condition)),
            delimiter=self.outside(delimiter),
            direction=direction,
            collation=getattr(text.output_field, "db_collation", None) or "DATABASE_DEFAULT",
        )


def _frame(window: Window, is_ordered: bool) -> tuple[int | None, int | None]:
    """The first and the last row of the frame, counted from the current one; None where it has no bound."""
    if window.frame is None:
        return None, 0 if is_ordered else None
    start, end = window.frame.start.value, window.frame.end.value
    if isinstance(window.frame, ValueRange) and (start or end):
        raise NotSupportedError("RANGE is supported with UNBOUNDED and CURRENT ROW only (error 4194).")
    return start, end


class NthRow(Expression):
    """The value of the nth row of the frame, NULL where the frame has less."""

    def __init__(
        self,
        *,
        value: Ref,
        row: Ref,
        partition: Sequence[Ref],
        first: int | Ref,
        start: int,
        last: Ref | None,
        end: int,
        nth: int,
        output_field: Any,
    ) -> None:
        super().__init__(output_field=output_field)
        self.value, self.row, self.partition = value, row, partition
        self.first, self.start, self.last, self.end = first, start, last, end
        self.nth = nth

    def as_sql(self, compiler: Any, connection: DatabaseWrapper) -> SQL:
        qn = connection.ops.quote_name
        value, row = qn(self.value.refs), qn(self.row.refs)
        wanted = self._wanted(qn)
        partition = ", ".join(qn(column.refs) for column in self.partition)
        over = f"OVER ({f'PARTITION BY {partition} ' if partition else ''}ORDER BY {row})"
        # An offset below zero is an error (8730), also in the branch that is not taken.
        sql = (
            f"CASE WHEN {wanted} > {row} "
            f"THEN LEAD({value}, CASE WHEN {wanted} > {row} THEN {wanted} - {row} ELSE 0 END) {over} "
            f"ELSE LAG({value}, CASE WHEN {wanted} < {row} THEN {row} - {wanted} ELSE 0 END) {over} END"
        )
        if self.last is not None:
            sql = f"CASE WHEN {wanted} <= {_moved(qn(self.last.refs), self.end)} THEN {sql} END"
        return sql, ()

    def _wanted(self, qn: Any) -> str:
        """The number of the wanted row in its partition."""
        if isinstance(self.first, int):
            return str(self.nth)
        first = _moved(qn(self.first.refs), self.start)
        if self.start < 0:
            first = f"CASE WHEN {first} < 1 THEN 1 ELSE {first} END"
        return f"({first} + {self.nth - 1})"


def _moved(row: str, distance: int) -> str:
    return f"({row} {'+' if distance > 0 else '-'} {abs(distance)})" if distance else row


_TEXT = frozenset(("CharField", "TextField", "SlugField", "FilePathField", "GenericIPAddressField"))


class GatheredTexts(aggregates.Aggregate):
    """All texts of a group that are not NULL, as a JSON array."""

    function = "STRING_AGG"
    name = "GatheredTexts"
    output_field = TextField()


@implements(GatheredTexts)
def gathered_texts(node: Any, compiler: Any, connection: DatabaseWrapper, **context: Any) -> SQL:
    element = "N'\"' + STRING_ESCAPE(CAST(%(expressions)s AS nvarchar(max)), 'json') + N'\"'"
    return aggregate(
        node, compiler, connection, template=f"N'[' + STRING_AGG({element}, N',') + N']'", **context
    )


class DistinctText(Expression):
    """Texts that were gathered, each once, with a delimiter between them.

    DISTINCT goes by the collation of the column; OPENJSON alone would give a binary one.
    """

    output_field = TextField()

    def __init__(self, *, texts: Ref, delimiter: Any, direction: str, collation: str) -> None:
        super().__init__()
        self.texts, self.delimiter, self.direction, self.collation = texts, delimiter, direction, collation

    def as_sql(self, compiler: Any, connection: DatabaseWrapper) -> SQL:
        delimiter, params = compiler.compile(self.delimiter)
        order = f" WITHIN GROUP (ORDER BY [value] {self.direction})" if self.direction else ""
        return (
            f"(SELECT STRING_AGG([value], {delimiter}){order} FROM (SELECT DISTINCT [value] COLLATE {self.collation} "
            f"AS [value] FROM OPENJSON({connection.ops.quote_name(self.texts.refs)}) "
            "WITH ([value] nvarchar(max) '$')) AS [texts])"
        ), params
