"""SQL statements for what T-SQL says differently: paging, grouping, compound queries, locks, inserts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, count
from typing import TYPE_CHECKING, Any, cast

import django
from django.core.exceptions import EmptyResultSet, FullResultSet
from django.db import NotSupportedError, ProgrammingError
from django.db.models import Field, JSONField, Q
from django.db.models.constants import OnConflict
from django.db.models.expressions import (
    Col,
    ColPairs,
    DatabaseDefault,
    Expression,
    ExpressionWrapper,
    OrderBy,
    Ref,
    Value,
)
from django.db.models.fields import AutoFieldMixin
from django.db.models.sql import compiler
from django.db.transaction import TransactionManagementError
from django.utils.hashable import make_hashable

from mssql import bulk, json_expressions
from mssql.derived import DerivedTable
from mssql.expressions import (
    ConditionValue,
    as_value,
    beside_column,
    how_to_compile,
    is_condition,
    is_constant,
    is_narrow_text,
    narrow,
    order_terms,
    with_values,
)
from mssql.hints import hints_of, with_clause, without_query_hints

if TYPE_CHECKING:
    from django.db.models.sql.query import Query

    from mssql.base import DatabaseWrapper

SQL = tuple[str, Sequence[Any]]

# Django 5.2 adds to the parameters that it gets.
_PARAMETERS_ARE_LISTS = django.VERSION < (6, 0)

LIFTED = "[__lifted]"
"""Alias of the CROSS APPLY that computes expressions once, so that GROUP BY and aggregates can name them."""


class LiftedRef(Expression):
    """The name of a lifted value."""

    def __init__(self, sql: str, output_field: Field | None) -> None:
        super().__init__(output_field=output_field)
        self.sql = sql

    def as_sql(self, compiler: Any, connection: Any) -> SQL:
        return self.sql, ()


class SQLCompiler(compiler.SQLCompiler):
    connection: DatabaseWrapper
    for_index_key = False
    wants_derived_table = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lifted: dict[Any, SQL] = {}
        self._table_hints: dict[str, list[str]] = {}
        self._has_native_json = self.connection.features.has_native_json_field
        self.hints = hints_of(self.query)
        if self.hints.query:
            self.query = without_query_hints(self.query)

    # Expressions

    def compile(self, node: Any) -> tuple[str, Sequence[Any]]:
        cls: type = type(node)
        if (own_method := getattr(node, "as_microsoft", None)) is not None:
            sql, params = own_method(self, self.connection)
        else:
            takes_values, implementation = how_to_compile(cls)
            if takes_values:
                node = with_values(node)
            if implementation is not None:
                sql, params = implementation(node, self, self.connection)
            else:
                sql, params = node.as_sql(self, self.connection)
                if cls is Col and self._has_native_json and isinstance(node.target, JSONField):
                    sql = json_expressions.as_text(sql)
        if self._lifted and cls is not LiftedRef and (reference := self._lifted_reference(sql, params)):
            return reference, []
        return sql, list(params) if _PARAMETERS_ARE_LISTS else params

    def lift(self, node: Any) -> Expression:
        """Return an expression that names the value of ``node``, computed in FROM."""
        sql, params = self.compile(node)
        return LiftedRef(self._lift(sql, params), node._output_field_or_none)

    def _lift(self, sql: str, params: Sequence[Any]) -> str:
        names = [f"{LIFTED}.[value{number}]" for number in range(1, len(self._lifted) + 2)]
        if sql in names:
            return sql
        if reference := self._lifted_reference(sql, params):
            return reference
        self._lifted[sql, make_hashable(tuple(params))] = sql, tuple(params)
        return names[-1]

    def _lifted_reference(self, sql: str, params: Sequence[Any]) -> str | None:
        key = sql, make_hashable(tuple(params))
        for number, known in enumerate(self._lifted, start=1):
            if known == key:
                return f"{LIFTED}.[value{number}]"
        return None

    # SELECT

    def pre_sql_setup(self, with_col_aliases: bool = False) -> tuple[list[Any], list[Any], list[Any]]:
        extra_select, order_by, group_by = super().pre_sql_setup(with_col_aliases=with_col_aliases)
        grouped = [
            (self._lift(sql, params), ()) if _needs_lifting(sql, params) else (sql, params)
            for sql, params in group_by
        ]
        if grouped and self._lifted:
            # What is selected and ordered by must name the lifted expressions as well.
            self.select = [(expr, self._selected_sql(expr), alias) for expr, _, alias in self.select]
            order_by = [(expr, (*self.compile(expr), entry[2])) for expr, entry in order_by]
            extra_select = self.get_extra_select(order_by, self.select)
        return extra_select, order_by, grouped

    def get_select(self, with_col_aliases: bool = False) -> tuple[list[Any], Any, dict[str, int]]:
        selected, klass_info, annotations = super().get_select(with_col_aliases=with_col_aliases)
        select: list[Any] = list(selected)
        for index, (expression, _, alias) in enumerate(select):
            if _is_bare_condition(expression):
                select[index] = expression, self.compile(ConditionValue(expression)), alias
        return select, klass_info, annotations

    def _selected_sql(self, expression: Any) -> SQL:
        if _is_bare_condition(expression):
            return self.compile(ConditionValue(expression))
        try:
            sql, params = self.compile(expression)
        except EmptyResultSet:
            value = getattr(expression, "empty_result_set_value", NotImplemented)
            return ("0", ()) if value is NotImplemented else self.compile(Value(value))
        except FullResultSet:
            return self.compile(Value(True))
        sql, params = expression.select_format(self, sql, params)
        if self._lifted and (reference := self._lifted_reference(sql, params)):
            return reference, ()
        return sql, params

    def get_order_by(self) -> list[Any]:
        """Leave out constants (error 408) and what is ordered by already (error 169)."""
        result: list[Any] = []
        seen: set[Any] = set()
        ordering = super().get_order_by()
        for entry in chain.from_iterable(map(self._one_per_column, ordering)):
            expression = entry[0]
            source = expression.expression
            if isinstance(source, Ref) and not self.query.combinator:
                source = source.source
            if not self.query.combinator and is_constant(source):
                continue
            if len(ordering) > 1:
                sql, params = self.compile(source)
                if (key := (sql, make_hashable(tuple(params)))) in seen:
                    continue
                seen.add(key)
            result.append(entry)
        return result

    def _one_per_column(self, entry: Any) -> list[Any]:
        """Split the order by a composite key into the orders by its columns."""
        expression, (_, _, is_ref) = entry
        if not isinstance(expression.expression, ColPairs):
            return [entry]
        columns = []
        for column in expression.expression.get_cols():
            copy = expression.copy()
            copy.set_source_expressions([column])
            columns.append((copy, (*self.compile(copy), is_ref)))
        return columns

    def get_extra_select(self, order_by: list[Any], select: list[Any]) -> list[Any]:
        """Select what a DISTINCT query is ordered by, under names: an expression with parameters is never the same
        as another (error 145)."""
        extra_select = super().get_extra_select(order_by, select)
        if self.query.distinct and not self.query.distinct_fields:
            aliases = {
                (sql, make_hashable(tuple(params))): alias
                for _, (sql, params), alias in select
                if alias and params
            }
            for index, (expression, (_, params, is_ref)) in enumerate(order_by if aliases else ()):
                if params and len(sorted_by := order_terms(cast(OrderBy, expression), self)) == 1:
                    term_sql, term_params, direction = sorted_by[0]
                    if alias := aliases.get((term_sql, make_hashable(tuple(term_params)))):
                        name = self.connection.ops.quote_name(alias)
                        order_by[index] = expression, (f"{name} {direction}", (), is_ref)
        names = (f"__order{number}" for number in count(1))
        for index, (expression, _, _) in enumerate(extra_select):
            position = next(n for n, entry in enumerate(order_by) if entry[0] is expression)
            _, (_, params, is_ref) = order_by[position]
            if not params:
                continue
            quoted, terms = [], []
            for term_sql, term_params, direction in order_terms(cast(OrderBy, expression), self):
                name = self.connection.ops.quote_name(next(names))
                terms.append((f"{term_sql} AS {name}", term_params))
                quoted.append(f"{name} {direction}")
            order_by[position] = expression, (", ".join(quoted), (), is_ref)
            extra_select[index] = (
                expression,
                (", ".join(term for term, _ in terms), tuple(chain.from_iterable(p for _, p in terms))),
                None,
            )
        return extra_select

    def get_from_clause(self) -> tuple[list[str], list[Any]]:
        if getattr(self, "having", None) is not None:
            # An aggregate that stands in HAVING alone has to be lifted before FROM is written.
            with suppress(EmptyResultSet, FullResultSet):
                self.compile(self.having)
        lifted, self._lifted = self._lifted, {}  # Joins can't name what is computed after them.
        try:
            result, from_params = super().get_from_clause()
        finally:
            self._lifted = lifted
        params: list[Any] = list(from_params)
        if lifted:
            columns = ", ".join(
                f"{sql} AS [value{number}]" for number, (sql, _) in enumerate(lifted.values(), start=1)
            )
            result = [*result, f"CROSS APPLY (SELECT {columns}) AS {LIFTED}"]
            params += chain.from_iterable(params for _, params in lifted.values())
        return result, params

    def table_hint(self, alias: str) -> str | None:
        """Return the clause with the hints that the table of this alias carries in FROM."""
        hints = self._table_hints.get(alias)
        return with_clause(hints) if hints else None

    def hinted_target(self, *, is_searched: bool) -> str:
        """Return the FROM of UPDATE or DELETE in which its target carries hints, empty without any.

        Beside the target itself an index is no hint (error 1069).
        """
        meta = self.query.get_meta()
        hints = self.hints.of_target(meta.model, is_searched=is_searched)
        table = self.connection.ops.quote_name(meta.db_table)
        return f"FROM {table} {with_clause(hints)}" if hints else ""

    def as_sql(self, with_limits: bool = True, with_col_aliases: bool = False) -> SQL:
        if self.hints.query:
            if self.query.subquery:
                raise NotSupportedError(
                    "Query hints are those of a whole statement: give them to the outer queryset, not to a subquery."
                )
            sql, params = self._as_sql_without_options(with_limits, with_col_aliases)
            return f"{sql} {self.hints.options}", params
        return self._as_sql_without_options(with_limits, with_col_aliases)

    def _as_sql_without_options(self, with_limits: bool, with_col_aliases: bool) -> SQL:
        refcounts_before = self.query.alias_refcount.copy()
        self._lifted, self._table_hints = {}, {}
        try:
            combinator = self.query.combinator
            extra_select, order_by, group_by = self.pre_sql_setup(
                with_col_aliases=with_col_aliases or bool(combinator or self.query.distinct_fields)
            )
            sliced = with_limits and self.query.is_sliced
            if self.query.subquery and not sliced and not self.query.distinct_fields:
                order_by = []  # Error 1033: no ORDER BY in a subquery without TOP or OFFSET.
            if combinator:
                sql, params = self._compound_sql(combinator, order_by, sliced)
            elif self.qualify:
                sql, params = self._qualified_sql(sliced)
            elif self.wants_derived_table:
                sql, params = self._derived_sql(extra_select, order_by, sliced)
            elif self.query.distinct_fields:
                sql, params = self._distinct_on_sql(order_by, group_by, sliced)
            else:
                sql, params = self._select_sql(extra_select, order_by, group_by, sliced)
            if self.query.subquery and extra_select:
                return self._without_extra_select(sql, params)
            return sql, params
        finally:
            self.query.reset_refcounts(refcounts_before)

    def _select_sql(
        self, extra_select: list[Any], order_by: list[Any], group_by: list[Any], sliced: bool
    ) -> SQL:
        self._table_hints = self.hints.of_tables(self.query)
        if self.query.select_for_update and self.connection.features.has_select_for_update:
            for alias, hints in self._lock_hints(sliced).items():
                self._table_hints[alias] = [*hints, *self._table_hints.get(alias, ())]
        from_, from_params = self.get_from_clause()
        where, where_params = self._condition_sql(self.where)
        having, having_params = self._condition_sql(self.having)
        self._refuse_what_wants_a_derived_table()

        result: list[str] = ["SELECT"]
        params: list[Any] = []
        if self.query.distinct and not self.query.distinct_fields:
            result.append("DISTINCT")
        top, paging, paging_params = self._paging(sliced)
        result += top
        columns = []
        for _, (column_sql, column_params), alias in [*self.select, *extra_select]:
            columns.append(
                f"{column_sql} AS {self.connection.ops.quote_name(alias)}" if alias else column_sql
            )
            params.extend(column_params)
        result.append(", ".join(columns))
        if from_:
            result += ["FROM", *from_]
            params.extend(from_params)
        if where:
            result.append(f"WHERE {where}")
            params.extend(where_params)
        if group_by:
            result.append(f"GROUP BY {', '.join(sql for sql, _ in group_by)}")
            params.extend(chain.from_iterable(params for _, params in group_by))
            if self._meta_ordering:
                order_by = []
        if having:
            result.append(f"HAVING {having}")
            params.extend(having_params)
        if order_by:
            result.append("ORDER BY " + ", ".join(sql for _, (sql, _, _) in order_by))
            params.extend(chain.from_iterable(params for _, (_, params, _) in order_by))
        elif paging:
            # OFFSET is a part of ORDER BY. DISTINCT allows nothing there that is not selected.
            result.append("ORDER BY 1" if self.query.distinct else "ORDER BY (SELECT NULL)")
        return " ".join([*result, *paging]), (*params, *paging_params)

    def _distinct_on_sql(self, order_by: list[Any], group_by: list[Any], sliced: bool) -> SQL:
        """Number the rows that agree in the fields of distinct(…), in their order, and take the first of each.

        T-SQL has no DISTINCT ON. The fields need not be the first of the order, as PostgreSQL wants.
        """
        if group_by:
            raise NotImplementedError("annotate() + distinct(fields) is not implemented.")
        qn = self.connection.ops.quote_name
        selected = ", ".join(qn(alias) for _, _, alias in self.select)
        helpers: list[tuple[None, SQL, str]] = []

        fields, field_params = self.get_distinct()
        annotations = {
            qn(name) for name in self.query.distinct_fields if name in self.query.annotation_select
        }
        params_of_columns = iter(field_params)  # Names of annotations have none.
        partition = []
        for sql in fields:
            if sql not in annotations:
                name = f"__distinct{len(helpers)}"
                helpers.append((None, (sql, next(params_of_columns)), name))
                sql = qn(name)
            partition.append(sql)

        ordering = []
        for expression, _ in order_by:
            for sql, term_params, direction in order_terms(_by_source(expression), self):
                name = f"__order{len(helpers)}"
                helpers.append((None, (sql, term_params), name))
                ordering.append(f"{qn(name)} {direction}")
        ordering = ordering or partition

        every, params = self._select_sql(helpers, [], [], False)
        top, paging, paging_params = self._paging(sliced)
        result = [
            *("SELECT", *top, selected),
            "FROM (SELECT *, ROW_NUMBER() OVER ("
            f"PARTITION BY {', '.join(partition)} ORDER BY {', '.join(ordering)}) AS [__nth] "
            f"FROM ({every}) AS [every]) AS [numbered] WHERE [__nth] = 1",
        ]
        if sliced or not self.query.subquery:
            result.append(f"ORDER BY {', '.join(ordering)}")
        return " ".join([*result, *paging]), (*params, *paging_params)

    def _condition_sql(self, node: Any) -> tuple[str, Sequence[Any]]:
        if node is None:
            return "", ()
        try:
            return self.compile(node)
        except EmptyResultSet:
            if self.elide_empty:
                raise
            return "0 = 1", ()
        except FullResultSet:
            return "", ()

    def _paging(self, sliced: bool) -> tuple[list[str], list[str], tuple[Any, ...]]:
        """Return TOP for after SELECT, or OFFSET for after ORDER BY.

        The offset is a parameter: pages of one list share a plan.
        """
        if not sliced:
            return [], [], ()
        limit, offset = self.connection.ops._get_limit_offset_params(
            self.query.low_mark, self.query.high_mark
        )
        if not offset:
            return [f"TOP ({limit:d})"], [], ()
        paging = ["OFFSET %s ROWS"]
        if limit is not None:
            paging.append(f"FETCH NEXT {limit:d} ROWS ONLY")
        return [], paging, (offset,)

    def _without_extra_select(self, sql: str, params: Sequence[Any]) -> SQL:
        """Select only what a subquery is to give, of a DISTINCT query that had to select what it orders by."""
        columns: list[str] = []
        for number, (expression, _, alias) in enumerate(self.select, start=1):
            name = alias or (str(expression.target.column) if isinstance(expression, Col) else f"col{number}")
            columns.append(f"[subquery].{self.connection.ops.quote_name(name)}")
        return f"SELECT {', '.join(columns)} FROM ({sql}) [subquery]", tuple(params)

    # Locks

    def _lock_hints(self, sliced: bool) -> dict[str, list[str]]:
        """Return the hints of each table that SELECT … FOR UPDATE locks."""
        query, features = self.query, self.connection.features
        if self.connection.get_autocommit() and features.supports_transactions:
            raise TransactionManagementError("select_for_update cannot be used outside of a transaction.")
        if query.select_for_no_key_update and not features.has_select_for_no_key_update:
            raise NotSupportedError("FOR NO KEY UPDATE is not supported on this database backend.")
        hints = self.connection.ops.lock_hints(
            nowait=query.select_for_update_nowait, skip_locked=query.select_for_update_skip_locked
        )
        of = self.get_select_for_update_of_arguments()
        return {
            alias: hints
            for alias in query.alias_map
            if not of or self.connection.ops.quote_name(alias) in of or alias in of
        }

    # Compound queries

    def _compound_sql(self, combinator: str, order_by: list[Any], sliced: bool) -> SQL:
        features = self.connection.features
        if not getattr(features, f"supports_select_{combinator}"):
            raise NotSupportedError(f"{combinator} is not supported on this database backend.")
        parts, params = self.get_combinator_sql(combinator, self.query.combinator_all)
        sql = " ".join(parts)
        if not order_by and not sliced:
            return sql, tuple(params)
        # ORDER BY of a compound query takes plain columns only, and TOP belongs to one SELECT: wrap it.
        top, paging, paging_params = self._paging(sliced)
        result = ["SELECT", *top, f"* FROM ({sql}) AS [compound]"]
        if order_by:
            result.append("ORDER BY " + ", ".join(order_sql for _, (order_sql, _, _) in order_by))
            params = [*params, *chain.from_iterable(params for _, (_, params, _) in order_by)]
        elif paging:
            result.append("ORDER BY (SELECT NULL)")
        return " ".join([*result, *paging]), (*params, *paging_params)

    def get_combinator_sql(self, combinator: str, all: bool) -> tuple[list[str], list[Any]]:
        parts: list[tuple[str, Sequence[Any]]] = []
        for query in self.query.combined_queries:
            part = query.get_compiler(self.using, self.connection, self.elide_empty)
            try:
                parts.append(self._compound_part_sql(part))
            except EmptyResultSet:
                # Nothing to add by UNION, or to take away by EXCEPT.
                if combinator == "union" or (combinator == "difference" and parts):
                    continue
                raise
        if not parts:
            raise EmptyResultSet
        operator = self.connection.ops.set_operators[combinator]
        if all and combinator == "union":
            operator += " ALL"
        return (
            [f" {operator} ".join(sql for sql, _ in parts)],
            list(chain.from_iterable(params for _, params in parts)),
        )

    def _compound_part_sql(self, part: SQLCompiler) -> tuple[str, Sequence[Any]]:
        part.query = part.query.clone()
        if (selected := getattr(self.query, "selected", None)) is not None and part.query.selected is None:
            part.query.set_values(selected)
        part.query.subquery = True  # Its order counts only where it is sliced.
        sql, params = part.as_sql(with_col_aliases=True)
        if part.query.is_sliced or part.query.combinator:
            # TOP with ORDER BY, and parentheses at the beginning of a subquery, want a SELECT around them.
            return f"SELECT * FROM ({sql}) AS [part]", params
        return sql, params

    # Conditions on windows

    def _qualified_sql(self, sliced: bool) -> SQL:
        if self.query.subquery and not sliced:
            self.query = self.query.clone()
            self.query.clear_ordering(force=True)
        result, params = self.get_qualify_sql()
        top, paging, paging_params = self._paging(sliced)
        if top:
            # The statement begins with "SELECT * FROM (" or with "SELECT".
            result[0] = result[0].replace("SELECT", f"SELECT {top[0]}", 1)
        elif paging and "ORDER BY" not in result:
            result.append("ORDER BY (SELECT NULL)")
        return " ".join([*result, *paging]), (*params, *paging_params)

    # What is computed from the columns of a derived table

    def _refuse_what_wants_a_derived_table(self) -> None:
        if self.wants_derived_table:
            raise NotSupportedError(
                "StringAgg(distinct=True) can be selected and ordered by on SQL Server, not filtered by or "
                "aggregated over."
            )

    def _derived_sql(self, extra_select: list[Any], order_by: list[Any], sliced: bool) -> SQL:
        if self.query.distinct_fields or self.query.select_for_update_of:
            raise NotSupportedError(
                "NthValue() and StringAgg(distinct=True) can't stand beside distinct(fields) or "
                "select_for_update(of=…) on SQL Server."
            )
        self._lifted = {}
        table = DerivedTable(self.query)
        columns: list[tuple[str, Sequence[Any]]] = []
        for expression, _, alias in self.select:
            parts = expression.get_cols() if isinstance(expression, ColPairs) else [expression]
            for part in parts:
                sql, params = self._selected_sql(table.selected(part))
                columns.append(
                    (f"{sql} AS {self.connection.ops.quote_name(alias)}" if alias else sql, params)
                )
        terms = [term for expression, _ in order_by for term in order_terms(table.outside(expression), self)]
        if extra_select:
            # DISTINCT orders by what it selects.
            for number, (sql, params, direction) in enumerate(terms):
                name = self.connection.ops.quote_name(f"__order{number}")
                columns.append((f"{sql} AS {name}", params))
                terms[number] = name, (), direction
        inner, inner_params = table.query.get_compiler(self.using, self.connection, self.elide_empty).as_sql(
            with_limits=False, with_col_aliases=True
        )
        top, paging, paging_params = self._paging(sliced)
        result = [
            "SELECT",
            *(["DISTINCT"] if self.query.distinct else []),
            *top,
            ", ".join(sql for sql, _ in columns),
            f"FROM ({inner}) AS [derived]",
        ]
        if terms:
            result.append("ORDER BY " + ", ".join(f"{sql} {direction}" for sql, _, direction in terms))
        elif paging:
            result.append("ORDER BY (SELECT NULL)")
        return " ".join([*result, *paging]), (
            *chain.from_iterable(params for _, params in columns),
            *inner_params,
            *chain.from_iterable(params for _, params, _ in terms),
            *paging_params,
        )

    # EXPLAIN

    def explain_query(self) -> Iterator[str]:
        from mssql.explain import explain  # What reads plans is needed here only.

        info = self.query.explain_info
        options = dict(info.options)
        analyze = bool(options.pop("analyze", False))
        self.connection.ops.explain_query_prefix(info.format, **options)
        sql, params = self.as_sql()
        yield explain(self.connection, sql, params, format=info.format, analyze=analyze)


def _is_bare_condition(expression: Any) -> bool:
    """Say whether a selected expression is a condition that does not know how to make a value of itself."""
    return type(expression) is ExpressionWrapper and is_condition(expression)


def _by_source(ordering: OrderBy) -> OrderBy:
    """Return the order by what a selected name stands for."""
    if not isinstance(ordering.expression, Ref):
        return ordering
    copy = ordering.copy()
    copy.set_source_expressions([ordering.expression.source])
    return copy


def _needs_lifting(sql: str, params: Sequence[Any]) -> bool:
    """Say whether GROUP BY refuses an expression, or would not recognise it again.

    It takes no subquery (error 144) and no constant (error 164), and each parameter differs from all others.
    """
    return bool(params) or "SELECT " in sql or "[" not in sql


class SQLInsertCompiler(compiler.SQLInsertCompiler, SQLCompiler):
    """INSERT, for one row and for many, with the columns that the caller wants back, in one message each."""

    def prepare_value(self, field: Field, value: Any) -> Any:
        if isinstance(value, Q) or is_condition(value):
            value = ConditionValue(value)
        return super().prepare_value(field, value)

    def as_sql(self) -> list[SQL]:
        fields, rows = self._fields_and_rows()
        table = self.connection.ops.quote_name(self.query.get_meta().db_table)
        identity = any(isinstance(field, AutoFieldMixin) for field in fields)
        statements: list[SQL] = []
        for source in self._sources(fields, rows):
            if self.query.on_conflict == OnConflict.IGNORE and self._unique_keys(fields):
                sql = self._insert_missing_sql(table, fields, source)
            elif self.query.on_conflict == OnConflict.UPDATE or (
                self.returning_fields and len(self.query.objs) > 1
            ):
                sql = self._merge_sql(table, fields, source)
            else:
                sql = self._insert_sql(table, fields, source)
            if identity:
                sql = f"SET IDENTITY_INSERT {table} ON; {sql}; SET IDENTITY_INSERT {table} OFF"
            statements.append((sql, tuple(source.params)))
        return statements

    def _fields_and_rows(self) -> tuple[list[Field], list[tuple[Any, ...]]]:
        fields: list[Field] = []
        columns: list[list[Any]] = []
        for field in self.query.fields:
            values = [self.pre_save_val(field, obj) for obj in self.query.objs]
            kinds = set(map(type, values))
            if kinds == {DatabaseDefault}:
                continue  # The column's own DEFAULT does it.
            fields.append(field)
            columns.append(self._prepared(field, values, kinds))
        return fields, list(zip(*columns, strict=True))

    def _prepared(self, field: Field, values: list[Any], kinds: set[type]) -> list[Any]:
        if any(hasattr(kind, "resolve_expression") for kind in kinds):
            return [
                self.prepare_value(field, field.db_default if isinstance(value, DatabaseDefault) else value)
                for value in values
            ]
        # prepare_value() would look at each of thousands, and do this.
        prepare, connection = field.get_db_prep_save, self.connection
        prepared = [prepare(value, connection=connection) for value in values]
        if self.query.on_conflict and is_narrow_text(field, connection):
            return [narrow(value) for value in prepared]  # It is compared with what is there.
        return prepared

    def _sources(self, fields: list[Field], rows: list[tuple[Any, ...]]) -> Iterator[_Source]:
        number_of_rows = len(self.query.objs)
        if not fields:
            yield _Source(number_of_rows, (), "", ())
            return
        if number_of_rows > 1 and (types := self._json_types(fields, rows)):
            columns = ", ".join(
                f"[value{number}] {data_type} '$[{number}]'"
                for number, data_type in enumerate(types, start=1)
            )
            yield _Source(
                number_of_rows,
                (),
                f"OPENJSON(%s) WITH ([position] int '$[0]', {columns})",
                (bulk.dump_rows(rows),),
                types,
            )
            return
        placeholders, params = self.assemble_as_sql(fields, rows)
        # VALUES of INSERT takes 1,000 rows (error 10738).
        size = min(
            1000, max(1, self.connection.features.max_query_params // (max(map(len, params), default=0) or 1))
        )
        for start in range(0, number_of_rows, size):
            chunk = slice(start, start + size)
            yield _Source(
                len(placeholders[chunk]), placeholders[chunk], "", tuple(chain.from_iterable(params[chunk]))
            )

    def _json_types(self, fields: list[Field], rows: list[tuple[Any, ...]]) -> list[str] | None:
        """Return the OPENJSON type of each field; None where one can't travel as JSON, or a value is an expression."""
        types = bulk.as_json(fields, self.connection)
        if types is None or any(
            hasattr(kind, "as_sql") for kind in set(map(type, chain.from_iterable(rows)))
        ):
            return None
        if self.query.on_conflict:
            keys = set(chain.from_iterable(self._unique_keys(fields)))
            for position, field in enumerate(fields):
                if field in keys and (column_type := field.db_type(self.connection)):
                    # Compared with its column: by an index, where the types agree.
                    types[position] = bulk.comparison_type(column_type, [row[position] for row in rows])
        return types

    def _insert_sql(self, table: str, fields: list[Field], source: _Source) -> str:
        into = f"INSERT INTO {table}"
        if fields:
            into += f" ({self._column_list(fields)})"
        if not fields:
            rows = "DEFAULT VALUES"
        elif source.table:
            rows = f"SELECT {_value_list(fields)} FROM {source.table}"
        else:
            rows = "VALUES " + ", ".join(f"({', '.join(row)})" for row in source.rows)
        if not fields and source.count > 1:
            return "; ".join([f"{into} {rows}"] * source.count)
        if not self.returning_fields:
            return f"{into} {rows}"
        if self._returns_identity_alone():
            # Not OUTPUT: without INTO it is refused on a table with triggers (error 334).
            return f"{into} {rows}; SELECT CAST(SCOPE_IDENTITY() AS bigint)"
        declare, output, select = _returning_sql(self.connection, self.returning_fields)
        return f"{declare}; {into} {output} {rows}; {select}"

    def _returns_identity_alone(self) -> bool:
        first, *others = self.returning_fields or ()
        return not others and isinstance(first, AutoFieldMixin) and first not in set(self.query.fields)

    def _insert_missing_sql(self, table: str, fields: list[Field], source: _Source) -> str:
        """INSERT the rows whose unique keys are not there yet.

        Not by MERGE: its one condition would be an OR of all keys, for which no index can be sought. HOLDLOCK keeps
        another session from inserting the key between the look and the insert, UPDLOCK two of them from waiting for
        each other (https://learn.microsoft.com/sql/t-sql/queries/hints-transact-sql-table).
        """
        keys = self._unique_keys(fields)
        compared = self._compared(fields, source)
        rows = _first_of_each_key(self._rows_of(source, fields), keys, compared)
        absent = " AND ".join(
            f"NOT EXISTS (SELECT 1 FROM {table} AS [target] WITH (UPDLOCK, HOLDLOCK) "
            f"WHERE {self._same_key(key, compared)})"
            for key in keys
        )
        return (
            f"INSERT INTO {table} ({self._column_list(fields)}) SELECT {_value_list(fields)} "
            f"FROM {rows} WHERE {absent}"
        )

    def _merge_sql(self, table: str, fields: list[Field], source: _Source) -> str:
        """MERGE many rows: it alone can say which row got which key, and what to do with a row that is there.

        HOLDLOCK keeps another session from inserting the key between the look and the insert
        (https://learn.microsoft.com/sql/t-sql/statements/merge-transact-sql).
        """
        qn = self.connection.ops.quote_name
        value_of = _values_of(fields)
        matched, hint, condition = "", "", "1 = 0"
        if self.query.on_conflict == OnConflict.UPDATE:
            hint = " WITH (HOLDLOCK)"
            unique = [field for field in fields if field in self.query.unique_fields]
            if set(unique) not in (set(key) for key in self._unique_keys(fields)):
                given = ", ".join(field.name for field in self.query.unique_fields)
                raise ProgrammingError(
                    f"bulk_create(unique_fields=…) wants the fields of a unique key that are inserted; got {given}. "
                    "Without one, two sessions may insert the same row."
                )
            condition = self._same_key(unique, self._compared(fields, source))
            assignments = ", ".join(
                f"{qn(field.column)} = {value_of[field]}" for field in self.query.update_fields
            )
            matched = f" WHEN MATCHED THEN UPDATE SET {assignments}"
        insert = (
            f"INSERT ({self._column_list(fields)}) VALUES ({', '.join(value_of.values())})"
            if fields
            else "INSERT DEFAULT VALUES"
        )
        merge = (
            f"MERGE INTO {table}{hint} AS [target] USING {self._rows_of(source, fields)} ON {condition}{matched} "
            f"WHEN NOT MATCHED THEN {insert}"
        )
        if not self.returning_fields:
            return f"{merge};"
        declare, output, select = _returning_sql(
            self.connection, self.returning_fields, "[source].[position]"
        )
        return f"{declare}; {merge} {output}; {select}"

    def _rows_of(self, source: _Source, fields: Sequence[Field]) -> str:
        """Return the rows to insert as a table, with their positions."""
        if source.table:
            return f"(SELECT * FROM {source.table}) AS [source]"
        rows = source.rows or [()] * source.count
        values = ", ".join(f"({', '.join([str(position), *row])})" for position, row in enumerate(rows))
        names = ["[position]", *(f"[value{number}]" for number in range(1, len(fields) + 1))]
        return f"(VALUES {values}) AS [source] ({', '.join(names)})"

    def _unique_keys(self, fields: Sequence[Field]) -> list[list[Field]]:
        return _unique_keys(self.query.get_meta(), fields)

    def _compared(self, fields: Sequence[Field], source: _Source) -> dict[Field, str]:
        """Return the values of keys as they are compared with their columns."""
        types = source.types or [bulk.widest_type(field.db_type(self.connection) or "") for field in fields]
        return {
            field: beside_column(value, data_type, field, self.connection)
            for (field, value), data_type in zip(_values_of(fields).items(), types, strict=True)
        }

    def _same_key(self, key: Sequence[Field], compared: Mapping[Field, str]) -> str:
        qn = self.connection.ops.quote_name
        return " AND ".join(f"[target].{qn(str(field.column))} = {compared[field]}" for field in key)

    def _column_list(self, fields: Sequence[Field]) -> str:
        return ", ".join(self.connection.ops.quote_name(str(field.column)) for field in fields)

    def execute_sql(self, returning_fields: Sequence[Field] | None = None) -> list[Any]:
        self.returning_fields = returning_fields
        rows: list[Any] = []
        with self.connection.cursor() as cursor:
            for sql, params in self.as_sql():
                cursor.execute(sql, params)
                if returning_fields:
                    rows += self.connection.ops.fetch_returned_rows(cursor)
        if not returning_fields:
            return []
        table = self.query.get_meta().db_table
        converters = self.get_converters([field.get_col(table) for field in returning_fields])
        return list(self.apply_converters(rows, converters)) if converters else rows


def _returning_sql(
    connection: Any, fields: Sequence[Field], position: str | None = None
) -> tuple[str, str, str]:
    """Return DECLARE, OUTPUT … INTO and SELECT: the form that a table with triggers takes as well (error 334)."""
    columns = [f"[value{number}]" for number in range(1, len(fields) + 1)]
    declared = [
        f"{column} {field.db_type(connection)}" for column, field in zip(columns, fields, strict=True)
    ]
    outputs = [f"inserted.{connection.ops.quote_name(field.column)}" for field in fields]
    select = f"SELECT {', '.join(columns)} FROM @returned"
    if position:
        declared.insert(0, "[position] int")
        outputs.insert(0, position)
        select += " ORDER BY [position]"
    return (
        f"DECLARE @returned TABLE ({', '.join(declared)})",
        f"OUTPUT {', '.join(outputs)} INTO @returned",
        select,
    )


class _Source:
    """Rows to insert: as VALUES with a marker for each value, or as a table made of one parameter."""

    __slots__ = ("count", "params", "rows", "table", "types")

    def __init__(
        self,
        count: int,
        rows: Sequence[Any],
        table: str,
        params: tuple[Any, ...],
        types: Sequence[str] = (),
    ) -> None:
        self.count = count
        self.rows = rows
        self.table = table
        self.params = params
        self.types = types


def _value_list(fields: Sequence[Field]) -> str:
    return ", ".join(f"[value{number}]" for number in range(1, len(fields) + 1))


def _unique_keys(meta: Any, fields: Sequence[Field]) -> list[list[Field]]:
    """Return the unique keys of a model whose fields are all inserted."""
    by_name = {field.name: field for field in fields}
    names: list[Sequence[str]] = [(field.name,) for field in fields if field.unique]
    names += meta.unique_together
    names += [constraint.fields for constraint in meta.total_unique_constraints]
    if (pk_fields := getattr(meta, "pk_fields", None)) and len(pk_fields) > 1:
        names.append([field.name for field in pk_fields])
    keys = {
        tuple(key): [by_name[name] for name in key] for key in names if all(name in by_name for name in key)
    }
    return list(keys.values())


def _values_of(fields: Sequence[Field]) -> dict[Field, str]:
    return {field: f"[source].[value{number}]" for number, field in enumerate(fields, start=1)}


def _first_of_each_key(rows: str, keys: list[list[Field]], compared: Mapping[Field, str]) -> str:
    """Leave out rows whose key comes earlier in the same statement. Keys with a NULL are all different."""
    numbers, conditions = [], []
    for number, key in enumerate(keys, start=1):
        values = ", ".join(compared[field] for field in key)
        numbers.append(
            f"ROW_NUMBER() OVER (PARTITION BY {values} ORDER BY [source].[position]) AS [nth{number}]"
        )
        missing = " OR ".join(f"{compared[field]} IS NULL" for field in key)
        conditions.append(f"([source].[nth{number}] = 1 OR {missing})")
    return (
        f"(SELECT * FROM (SELECT [source].*, {', '.join(numbers)} FROM {rows}) AS [source] "
        f"WHERE {' AND '.join(conditions)}) AS [source]"
    )


class SQLUpdateCompiler(compiler.SQLUpdateCompiler, SQLCompiler):
    def as_sql(self) -> SQL:
        self._lifted = {}
        self.query.get_initial_alias()
        is_searched = not self.query.related_updates and self.query.count_active_tables() == 1
        self.query.values = [
            (
                field,
                model,
                ConditionValue(value) if isinstance(value, Q) else as_value(value),
            )
            for field, model, value in self.query.values
        ]
        sql, params = super().as_sql()
        returning_fields = getattr(self, "returning_fields", None)
        if not sql or not (returning_fields or self.hints):
            return sql, params
        declare, output, select = "", "", ""
        if returning_fields:
            declare, output, select = _returning_sql(self.connection, returning_fields)
        # Django ends the assignments where WHERE begins, and OUTPUT and FROM have their place between the two.
        assignments, where = self._split_where(sql)
        from_ = self.hinted_target(is_searched=is_searched)
        statement = " ".join(filter(None, (assignments, output, from_, where, self.hints.options)))
        return "; ".join(filter(None, (declare, statement, select))), params

    def _split_where(self, sql: str) -> tuple[str, str]:
        where, _ = self._condition_sql(self.query.where)
        length = len(f"WHERE {where}") if where else 0
        return sql[: len(sql) - length].rstrip(), sql[len(sql) - length :]


class SQLDeleteCompiler(compiler.SQLDeleteCompiler, SQLCompiler):
    def as_sql(self) -> SQL:
        sql, params = super().as_sql()
        return (f"{sql} {self.hints.options}" if self.hints.query else sql), params

    def _as_sql(self, query: Query) -> SQL:
        sql, params = super()._as_sql(query)
        if from_ := self.hinted_target(is_searched=query is self.query):
            delete = f"DELETE FROM {self.connection.ops.quote_name(query.base_table)}"
            sql = f"{delete} {from_}{sql.removeprefix(delete)}"
        return sql, params


class SQLAggregateCompiler(compiler.SQLAggregateCompiler, SQLCompiler):
    def as_sql(self) -> SQL:
        self._lifted = {}
        options = hints_of(self.query.inner_query).options
        columns, params = [], []
        for annotation in self.query.annotation_select.values():
            sql, annotation_params = annotation.select_format(self, *self.compile(annotation))
            columns.append(sql)
            params.extend(annotation_params)
        self._refuse_what_wants_a_derived_table()
        self.col_count = len(self.query.annotation_select)
        inner_sql, inner_params = (
            without_query_hints(self.query.inner_query)
            .get_compiler(self.using, elide_empty=self.elide_empty)
            .as_sql(with_col_aliases=True)
        )
        lifted, lifted_params = "", ()
        if self._lifted:
            values = ", ".join(
                f"{sql} AS [value{number}]" for number, (sql, _) in enumerate(self._lifted.values(), start=1)
            )
            lifted = f" CROSS APPLY (SELECT {values}) AS {LIFTED}"
            lifted_params = tuple(chain.from_iterable(params for _, params in self._lifted.values()))
        return (
            f"SELECT {', '.join(columns)} FROM ({inner_sql}) [subquery]{lifted} {options}".rstrip(),
            (*params, *inner_params, *lifted_params),
        )
