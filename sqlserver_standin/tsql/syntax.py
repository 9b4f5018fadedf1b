"""The syntax tree of T-SQL queries: what the parser makes and the translator reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal as OneOf

from sqlserver_standin.types import SqlType


class Node:
    """Anything in the tree."""

    __slots__ = ()


class Expression(Node):
    """A scalar expression."""

    __slots__ = ()


class Condition(Node):
    """A search condition. T-SQL has no boolean values: a condition is never an expression."""

    __slots__ = ()


# -- expressions ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Constant(Expression):
    """A literal: ``kind`` is integer, decimal, float, money, string, nstring, binary, null or default."""

    kind: str
    value: str = ""


@dataclass(slots=True)
class Variable(Expression):
    """``@name``, lower-cased."""

    name: str


@dataclass(slots=True)
class SystemVariable(Expression):
    """``@@name``, lower-cased."""

    name: str


@dataclass(slots=True)
class ColumnName(Expression):
    """A column, qualified or not: ``parts[-1]`` is its name."""

    parts: tuple[str, ...]


@dataclass(slots=True)
class Star(Expression):
    """``*`` or ``alias.*`` in a select list."""

    parts: tuple[str, ...] = ()


@dataclass(slots=True)
class Unary(Expression):
    operator: str
    operand: Expression


@dataclass(slots=True)
class Binary(Expression):
    operator: str
    left: Expression
    right: Expression


@dataclass(slots=True)
class OrderItem(Node):
    expression: Expression
    descending: bool = False


@dataclass(slots=True)
class Frame(Node):
    """ROWS or RANGE with its bounds as written, e.g. ("ROWS", "UNBOUNDED PRECEDING", "CURRENT ROW")."""

    unit: str
    start: str
    end: str | None


@dataclass(slots=True)
class Over(Node):
    partition: tuple[Expression, ...] = ()
    order: tuple[OrderItem, ...] = ()
    frame: Frame | None = None
    name: str | None = None


@dataclass(slots=True)
class Call(Expression):
    """A function call; ``name`` is upper-case for built-in functions, ``schema`` set for user-defined ones."""

    name: str
    arguments: tuple[Node, ...] = ()
    schema: tuple[str, ...] = ()
    distinct: bool = False
    over: Over | None = None
    within_group: tuple[OrderItem, ...] = ()
    options: tuple[str, ...] = ()
    spelling: str = ""


@dataclass(slots=True)
class KeyValue(Node):
    """``key : value`` in JSON_OBJECT."""

    key: Expression
    value: Expression


@dataclass(slots=True)
class Cast(Expression):
    """CAST, CONVERT and their TRY_ forms."""

    function: str
    operand: Expression
    type: SqlType
    style: Expression | None = None


@dataclass(slots=True)
class Case(Expression):
    """``operand`` is set for the simple form, whose ``when`` parts are expressions."""

    operand: Expression | None
    branches: tuple[tuple[Node, Expression], ...]
    otherwise: Expression | None


@dataclass(slots=True)
class ConditionalValue(Expression):
    """IIF(condition, a, b)."""

    condition: Condition
    when_true: Expression
    when_false: Expression


@dataclass(slots=True)
class Collate(Expression):
    operand: Expression
    collation: str


@dataclass(slots=True)
class AtTimeZone(Expression):
    operand: Expression
    zone: Expression


@dataclass(slots=True)
class Subquery(Expression):
    query: Query


@dataclass(slots=True)
class Method(Expression):
    """An xml method: ``operand.value(...)``."""

    operand: Expression
    name: str
    arguments: tuple[Expression, ...]


@dataclass(slots=True)
class NextValue(Expression):
    """NEXT VALUE FOR sequence."""

    sequence: tuple[str, ...]


# -- conditions ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Logical(Condition):
    """AND or OR."""

    operator: str
    operands: tuple[Condition, ...]


@dataclass(slots=True)
class Not(Condition):
    operand: Condition


@dataclass(slots=True)
class Comparison(Condition):
    operator: str
    left: Expression
    right: Expression


@dataclass(slots=True)
class Quantified(Condition):
    """``left operator ANY|ALL (query)``."""

    operator: str
    quantifier: str
    left: Expression
    query: Query


@dataclass(slots=True)
class IsNull(Condition):
    operand: Expression
    negated: bool


@dataclass(slots=True)
class IsDistinct(Condition):
    left: Expression
    right: Expression
    negated: bool


@dataclass(slots=True)
class Between(Condition):
    operand: Expression
    low: Expression
    high: Expression
    negated: bool


@dataclass(slots=True)
class InList(Condition):
    operand: Expression
    items: tuple[Expression, ...]
    negated: bool


@dataclass(slots=True)
class InQuery(Condition):
    operand: Expression
    query: Query
    negated: bool


@dataclass(slots=True)
class Like(Condition):
    operand: Expression
    pattern: Expression
    escape: Expression | None
    negated: bool


@dataclass(slots=True)
class RegexpLike(Condition):
    """REGEXP_LIKE(text, pattern [, flags]), the one function that is a condition."""

    call: Call


@dataclass(slots=True)
class Exists(Condition):
    query: Query


@dataclass(slots=True)
class UpdatedColumn(Condition):
    """UPDATE(column) in a trigger."""

    column: str


# -- sources -------------------------------------------------------------------------------------------------


class Source(Node):
    """What stands in FROM."""

    __slots__ = ()


@dataclass(slots=True)
class TableSource(Source):
    """A table, view, temporary table or table variable (``@t``)."""

    name: tuple[str, ...]
    alias: str | None = None
    hints: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    """What INDEX hints name: indexes, or their numbers."""


@dataclass(slots=True)
class DerivedTable(Source):
    query: Query
    alias: str
    columns: tuple[str, ...] = ()


@dataclass(slots=True)
class ValuesTable(Source):
    rows: tuple[tuple[Expression, ...], ...]
    alias: str
    columns: tuple[str, ...]


@dataclass(slots=True)
class JsonColumn(Node):
    """A column of OPENJSON … WITH."""

    name: str
    type: SqlType
    path: str | None
    as_json: bool


@dataclass(slots=True)
class FunctionTable(Source):
    """A table-valued function, ``OPENJSON(…) WITH (…)`` among them, or ``column.nodes('…')``."""

    call: Expression
    alias: str | None
    columns: tuple[str, ...] = ()
    schema: tuple[JsonColumn, ...] = ()


@dataclass(slots=True)
class Join(Source):
    """``kind``: INNER, LEFT, RIGHT, FULL, CROSS, CROSS APPLY or OUTER APPLY."""

    kind: str
    left: Source
    right: Source
    condition: Condition | None = None


# -- queries -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class SelectItem(Node):
    """An item of a select or OUTPUT list; ``variable`` for ``@v = expression``."""

    expression: Expression
    alias: str | None = None
    variable: str | None = None
    operator: str = "="


@dataclass(slots=True)
class Top(Node):
    count: Expression
    percent: bool = False
    with_ties: bool = False


@dataclass(slots=True)
class Grouping(Node):
    """``kind`` is plain, ROLLUP, CUBE or GROUPING SETS."""

    kind: str
    sets: tuple[tuple[Expression, ...], ...]


@dataclass(slots=True)
class Select(Node):
    items: tuple[SelectItem, ...]
    distinct: bool = False
    top: Top | None = None
    into: tuple[str, ...] | None = None
    source: Source | None = None
    where: Condition | None = None
    grouping: tuple[Grouping, ...] = ()
    having: Condition | None = None
    windows: tuple[tuple[str, Over], ...] = ()


@dataclass(slots=True)
class SetOperation(Node):
    """``operator``: UNION, UNION ALL, EXCEPT or INTERSECT."""

    operator: str
    left: Node
    right: Node


@dataclass(slots=True)
class CommonTable(Node):
    name: str
    columns: tuple[str, ...]
    query: Query


@dataclass(slots=True)
class JsonOutput(Node):
    """FOR JSON."""

    mode: str
    root: str | None = None
    include_nulls: bool = False
    without_wrapper: bool = False


@dataclass(slots=True)
class Query(Node):
    """A query expression with its ORDER BY, and the WITH clause in front of it."""

    body: Node
    common: tuple[CommonTable, ...] = ()
    order: tuple[OrderItem, ...] = ()
    offset: Expression | None = None
    fetch: Expression | None = None
    json: JsonOutput | None = None


# -- statements ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Statement(Node):
    """A data statement; ``text`` is its source, which keys the translator's cache."""

    text: str = field(default="", kw_only=True)
    line: int = field(default=1, kw_only=True)
    common: tuple[CommonTable, ...] = field(default=(), kw_only=True)
    max_recursion: int = field(default=100, kw_only=True)
    """OPTION (MAXRECURSION n); 0 for no limit."""


@dataclass(slots=True)
class SelectStatement(Statement):
    query: Query


@dataclass(slots=True)
class Output(Node):
    items: tuple[SelectItem, ...]
    into: tuple[str, ...] | None = None
    into_columns: tuple[str, ...] = ()


@dataclass(slots=True)
class InsertStatement(Statement):
    """``rows`` for VALUES, ``query`` for SELECT, ``default_values``, or ``execute`` (position of EXEC's token)."""

    target: TableSource
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Expression, ...], ...] = ()
    query: Query | None = None
    default_values: bool = False
    top: Top | None = None
    outputs: tuple[Output, ...] = ()
    execute: bool = False


@dataclass(slots=True)
class Assignment(Node):
    """``column = value`` or ``@variable = value`` (or both) in SET; ``operator`` may be += and its like."""

    column: tuple[str, ...] | None
    value: Expression
    operator: str = "="
    variable: str | None = None


@dataclass(slots=True)
class UpdateStatement(Statement):
    target: TableSource
    assignments: tuple[Assignment, ...]
    source: Source | None = None
    where: Condition | None = None
    top: Top | None = None
    outputs: tuple[Output, ...] = ()


@dataclass(slots=True)
class DeleteStatement(Statement):
    target: TableSource
    source: Source | None = None
    where: Condition | None = None
    top: Top | None = None
    outputs: tuple[Output, ...] = ()


@dataclass(slots=True)
class MergeAction(Node):
    """WHEN [NOT] MATCHED [BY TARGET|SOURCE] [AND …] THEN …"""

    match: OneOf["matched", "not matched", "not matched by source"]
    condition: Condition | None
    action: OneOf["update", "delete", "insert"]
    assignments: tuple[Assignment, ...] = ()
    columns: tuple[str, ...] = ()
    values: tuple[Expression, ...] = ()


@dataclass(slots=True)
class MergeStatement(Statement):
    target: TableSource
    source: Source
    condition: Condition
    actions: tuple[MergeAction, ...]
    top: Top | None = None
    outputs: tuple[Output, ...] = ()
