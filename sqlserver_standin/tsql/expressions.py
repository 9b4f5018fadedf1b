"""Scalar expressions and search conditions: T-SQL trees to typed PostgreSQL text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from sqlserver_standin.engine.catalog import Catalog, Function, Table
from sqlserver_standin.events import SqlError
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql import types
from sqlserver_standin.tsql.conversions import convert
from sqlserver_standin.tsql.ordering import UNSORTABLE, not_sortable
from sqlserver_standin.tsql.parse_tokens import unsupported
from sqlserver_standin.tsql.regular_expressions import regexp_like
from sqlserver_standin.tsql.scope import Scope
from sqlserver_standin.tsql.types import (
    DATETIME,
    INT,
    combine,
    describe,
    family,
    is_date,
    is_number,
    is_string,
    pg_type,
    text_type,
)
from sqlserver_standin.tsql.values import Value, as_null, null, quote, retyped, string
from sqlserver_standin.types import DEFAULT_COLLATION, MAX, SqlType

if TYPE_CHECKING:
    from sqlserver_standin.tsql.queries import QueryTranslator

FunctionTranslator = Callable[["QueryTranslator", ast.Call], Value]
FUNCTIONS: dict[str, FunctionTranslator] = {}
"""Built-in functions by upper-case name; the modules of functions fill it on import."""

REFUSED_FUNCTIONS = frozenset(
    """APPROX_PERCENTILE_CONT APPROX_PERCENTILE_DISC CERTENCODED COLUMNS_UPDATED COMPRESS CRYPT_GEN_RANDOM
    CURRENT_TIMEZONE CURRENT_TIMEZONE_ID CURSOR_STATUS DATE_BUCKET DECOMPRESS DIFFERENCE ENCRYPTBYKEY
    ENCRYPTBYPASSPHRASE DECRYPTBYKEY DECRYPTBYPASSPHRASE EVENTDATA FORMATMESSAGE
    GET_FILESTREAM_TRANSACTION_CONTEXT MIN_ACTIVE_ROWVERSION PARSE PERCENTILE_CONT PERCENTILE_DISC PWDCOMPARE
    PWDENCRYPT SET_BIT TEXTPTR TEXTVALID TRY_PARSE""".split()
)
"""Functions of SQL Server 2022 that the stand-in knows by name only."""

_OPERATOR_NAMES = {
    "+": "add",
    "-": "subtract",
    "*": "multiply",
    "/": "divide",
    "%": "modulo",
    "&": "'&'",
    "|": "'|'",
    "^": "'^'",
    "<<": "'<<'",
    ">>": "'>>'",
}
_COMPARISON_NAMES = {
    "=": "equal to",
    "<>": "not equal to",
    "<": "less than",
    ">": "greater than",
    "<=": "less than or equal to",
    ">=": "greater than or equal to",
}


@dataclass(slots=True)
class Context:
    """What a statement's meaning depends on beside its text and the catalog."""

    variables: Mapping[str, SqlType] = field(default_factory=dict)
    """Types of variables and parameters by lower-case name with its @."""
    database: str = "master"
    schema: str = "dbo"
    tables: Mapping[str, Table] = field(default_factory=dict)
    """Table variables (@t), and inserted/deleted inside a trigger, by lower-case name."""
    identity_insert: str | None = None
    """``pg_name`` of the table whose IDENTITY_INSERT is ON."""

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal keys translate a text equally."""
        return (
            tuple(self.variables.items()),
            self.database,
            self.schema,
            tuple(self.tables.items()),
            self.identity_insert,
        )


_fields: dict[type[ast.Node], tuple[str, ...]] = {}


def node_fields(node: ast.Node) -> tuple[str, ...]:
    """The names of a node's fields."""
    node_type = type(node)
    if node_type not in _fields:
        _fields[node_type] = tuple(each.name for each in fields(node))  # type: ignore[arg-type]
    return _fields[node_type]


def children(node: ast.Node) -> Iterator[ast.Node]:
    """The nodes directly below ``node``."""
    for name in node_fields(node):
        yield from _nodes_in(getattr(node, name))


def descendants(node: ast.Node) -> Iterator[ast.Node]:
    """All nodes below ``node``, in the order of the text."""
    for child in children(node):
        yield child
        yield from descendants(child)


def _nodes_in(value: Any) -> Iterator[ast.Node]:
    if isinstance(value, ast.Node):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _nodes_in(item)


class ExpressionTranslator:
    """Translates expressions in ``scope``; queries inside them are the subclass's work."""

    def __init__(self, catalog: Catalog, context: Context) -> None:
        self.catalog = catalog
        self.context = context
        self.scope = Scope()
        self.parameters: list[str] = []
        self.assigned: dict[str, Value] = {}
        """What SELECT @v = … has assigned so far: later items of the list see it."""
        self.read_variables: set[str] = set()
        self.inferred: dict[str, SqlType | None] | None = None
        """Types found for undeclared parameters, where they are looked for."""
        self.clause = "select"
        """Where the expression stands: select, where, having, group, order, on, values, set …"""

    def query_value(self, query: ast.Query) -> Value:
        raise NotImplementedError

    def query_sql(self, query: ast.Query) -> tuple[str, Value]:
        """The SQL of a one-column query, and its column as ``q.c``."""
        raise NotImplementedError

    def exists_sql(self, query: ast.Query) -> str:
        raise NotImplementedError

    @contextmanager
    def inside(self, clause: str) -> Iterator[None]:
        before, self.clause = self.clause, clause
        try:
            yield
        finally:
            self.clause = before

    # -- parameters and literals -----------------------------------------------------------------------------

    def parameter(self, name: str, data_type: SqlType) -> Value:
        """The value that the session supplies for ``name``."""
        if name not in self.parameters:
            self.parameters.append(name)
        number = self.parameters.index(name) + 1
        return Value(f"${number}::{types.base_pg_type(data_type)}", data_type)

    def system_value(self, name: str) -> Value:
        """A session value such as @@ROWCOUNT or DB_NAME()."""
        data_type = self.catalog.system_type(name)
        if data_type is None:
            raise unsupported(name.upper())
        return self.parameter(name, data_type)

    def constant(self, node: ast.Constant) -> Value:
        text = node.value
        match node.kind:
            case "integer":
                number = text.lstrip("0") or "0"
                return Value(number, INT, nullable=False, constant=True, digits=len(number))
            case "decimal":
                return _decimal_constant(text)
            case "float":
                return Value(f"'{text.rstrip('eE+-')}'::float8", types.FLOAT, nullable=False, constant=True)
            case "money":
                amount = text.lstrip("$£€ ").replace(" ", "") or "0"
                return Value(f"{amount}::numeric(19,4)", SqlType("money"), nullable=False, constant=True)
            case "string" | "nstring":
                data_type = types.string_type(len(text), unicode=node.kind == "nstring")
                return string(f"{quote(text)}", data_type, nullable=False, constant=True)
            case "binary":
                digits = text[2:]
                digits = "0" + digits if len(digits) % 2 else digits
                data_type = SqlType("varbinary", length=max(len(digits) // 2, 1))
                return Value(f"'\\x{digits}'::bytea", data_type, nullable=False, constant=True)
            case "null":
                return null(INT)
        return Value("DEFAULT", INT, default=True)

    # -- expressions -----------------------------------------------------------------------------------------

    def value(self, node: ast.Node) -> Value:
        """The translation of a scalar expression."""
        match node:
            case ast.ColumnName():
                return self.column(node)
            case ast.Constant():
                return self.constant(node)
            case ast.Variable():
                if node.name in self.assigned:
                    return self.assigned[node.name]
                self.read_variables.add(node.name)
                data_type = self.context.variables.get(node.name)
                if data_type is None and self.inferred is not None:
                    return self._undeclared(node.name)
                if data_type is None:
                    raise SqlError(
                        137, f'Must declare the scalar variable "{node.name}".', severity=15, state=2
                    )
                return self.parameter(node.name, data_type)
            case ast.Binary():
                return self.binary(node)
            case ast.Call():
                return self.call(node)
            case ast.Cast():
                return self.cast(node)
            case ast.Case():
                return self.case(node)
            case ast.Subquery():
                return self.query_value(node.query)
            case ast.Unary():
                return self.unary(node)
            case ast.ConditionalValue():
                return self.choose([(self.condition(node.condition), node.when_true)], node.when_false)
            case ast.Collate():
                return self.collate(node)
            case ast.AtTimeZone():
                return self.at_time_zone(node)
            case ast.SystemVariable():
                return self.system_value(node.name)
            case ast.NextValue():
                return self.next_value(node)
            case ast.Method():
                return self.method(node)
            case ast.Star():
                raise SqlError(102, "Incorrect syntax near '*'.", severity=15)
        raise unsupported(type(node).__name__)

    def _undeclared(self, name: str) -> Value:
        """A parameter whose type its first place with a type tells."""
        found = self.inferred
        assert found is not None
        found.setdefault(name, None)

        def infer(data_type: SqlType) -> None:
            if found[name] is None:
                found[name] = data_type

        return Value("NULL", INT, null=True, infer=infer)

    def column(self, node: ast.ColumnName) -> Value:
        return self.scope.column(node.parts).value()

    def next_value(self, node: ast.NextValue) -> Value:
        sequence = self.catalog.sequence(
            node.sequence[-2] if len(node.sequence) > 1 else None, node.sequence[-1]
        )
        if sequence is None:
            raise SqlError(208, f"Invalid object name '{'.'.join(node.sequence)}'.")
        return Value(f"nextval({quote(sequence[0])})::{pg_type(sequence[1])}", sequence[1], nullable=False)

    def method(self, node: ast.Method) -> Value:
        operand = self.value(node.operand)
        if operand.type.name != "xml":
            raise SqlError(258, f"Cannot call methods on {describe(operand.type)}.", severity=15)
        raise unsupported(f"xml method {node.name}()")

    def collate(self, node: ast.Collate) -> Value:
        operand = self.value(node.operand)
        if operand.null:
            return operand
        if not is_string(operand.type):
            raise SqlError(
                447, f"Expression type {describe(operand.type)} is invalid for COLLATE clause.", severity=16
            )
        if operand.type.name in ("text", "ntext"):
            raise unsupported("COLLATE on text")
        collation = None if node.collation.lower() == "database_default" else node.collation
        text_type(collation)
        result = retyped(operand, SqlType(operand.type.name, length=operand.type.length, collation=collation))
        result.explicit_collation = True
        return result

    def at_time_zone(self, node: ast.AtTimeZone) -> Value:
        operand = self.value(node.operand)
        zone = self.value(node.zone)
        if is_string(operand.type):
            operand = convert(operand, types.DATETIME2)
        scale = operand.type.scale
        if family(operand.type) == "datetimeoffset":
            sql = f"sys.at_zone({operand.sql},{zone.text})"
        elif family(operand.type) == "datetime":
            scale = {"datetime": 3, "smalldatetime": 0}.get(operand.type.name, scale)
            sql = f"sys.at_zone({operand.sql}::timestamp,{zone.text})"
        else:
            raise SqlError(
                8116,
                f"Argument data type {describe(operand.type)} is invalid for argument 1 of AT TIME ZONE function.",
            )
        return Value(sql, SqlType("datetimeoffset", scale=7 if scale is None else scale), operand.nullable)

    def cast(self, node: ast.Cast) -> Value:
        target = types.with_default_length(node.type, 30)
        if target.name == "json" and not self.catalog.release.has_json_type:
            raise SqlError(243, "Type json is not a defined system type.")
        operand = self.value(node.operand)
        mode = "try" if node.function.startswith("TRY") else "explicit"
        style = None
        if node.style is not None:
            style_value = convert(self.value(node.style), INT)
            style = style_value.sql
        result = convert(operand, target, mode, style)
        # CAST(NULL AS t) has the type t, which the literal NULL has not.
        return replace(result, constant=False, null=False)

    # -- operators -------------------------------------------------------------------------------------------

    def unary(self, node: ast.Unary) -> Value:
        operand = self.value(node.operand)
        data_type = operand.type
        if node.operator == "~":
            if family(data_type) == "bit":
                return Value(f"(NOT {operand.sql})", data_type, operand.nullable)
            if family(data_type) != "integer":
                raise SqlError(8117, f"Operand data type {describe(data_type)} is invalid for '~' operator.")
            if data_type.name == "tinyint":
                return Value(f"(255 - {operand.sql})::int2", data_type, operand.nullable)
            return Value(f"(~ {operand.sql})", data_type, operand.nullable)
        if node.operator == "+":
            return operand
        if not is_number(data_type) or family(data_type) == "bit":
            raise SqlError(8117, f"Operand data type {describe(data_type)} is invalid for minus operator.")
        sql = f"(-{operand.sql})" if not operand.sql.startswith("-") else f"(- {operand.sql})"
        if data_type.name == "tinyint":
            data_type = types.SMALLINT
        if data_type.name in ("int",) and operand.constant and operand.sql == "2147483648":
            sql = "(-2147483648)"
        return Value(sql, data_type, operand.nullable, constant=operand.constant, digits=operand.digits)

    def binary(self, node: ast.Binary) -> Value:
        left, right = self.value(node.left), self.value(node.right)
        return self.operate(node.operator, left, right)

    def operate(self, operator: str, left: Value, right: Value) -> Value:
        """``left operator right`` by the operand types."""
        if left.null and not right.null:
            left = as_null(left, right.type)
        elif right.null and not left.null:
            right = as_null(right, left.type)
        kinds = {family(left.type), family(right.type)}
        if operator == "+" and kinds == {"string"}:
            return self.concatenate(left, right)
        if operator == "+" and kinds == {"binary"}:
            length = types.display_length(left.type), types.display_length(right.type)
            total = MAX if MAX in length else min(sum(length), 8000)
            return Value(
                f"({left.sql} || {right.sql})",
                SqlType("varbinary", length=total),
                left.nullable or right.nullable,
            )
        if kinds & {"date", "time", "datetime", "datetimeoffset"}:
            return self._date_arithmetic(operator, left, right)
        if "json" in kinds:
            raise SqlError(
                402,
                f"The data types {describe(left.type)} and {describe(right.type)} are incompatible in the "
                f"{_OPERATOR_NAMES[operator]} operator.",
            )
        for operand in (left, right):
            if family(operand.type) in ("uuid", "xml", "variant") or operand.type.name in UNSORTABLE:
                other = right if operand is left else left
                if family(other.type) == family(operand.type):
                    raise SqlError(
                        8117,
                        f"Operand data type {describe(operand.type)} is invalid for {_OPERATOR_NAMES[operator]} "
                        "operator.",
                    )
                raise SqlError(
                    206,
                    f"Operand type clash: {describe(left.type)} is incompatible with {describe(right.type)}",
                )
        if kinds == {"string"}:
            raise SqlError(
                8117,
                f"Operand data type {describe(left.type)} is invalid for {_OPERATOR_NAMES[operator]} operator.",
            )
        if operator in ("&", "|", "^"):
            return self._bitwise(operator, left, right)
        if operator in ("<<", ">>"):
            return self._shift(operator, left, right)
        return self._arithmetic(operator, left, right)

    def concatenate(self, left: Value, right: Value) -> Value:
        """``+`` on strings: NULL when either is."""
        left, right = self.same_collation(left, right, "add")
        unicode = types.is_unicode(left.type) or types.is_unicode(right.type)
        lengths = types.display_length(left.type), types.display_length(right.type)
        limit = 4000 if unicode else 8000
        length = MAX if MAX in lengths else min(sum(lengths), limit)
        sql = f"({left.text} || {right.text})"
        if length == limit and sum(lengths) > limit:
            sql = f'"left"({sql},{limit})'
        result = string(
            sql,
            types.string_type(length, unicode=unicode, collation=left.type.collation),
            nullable=left.nullable or right.nullable,
        )
        result.explicit_collation = left.explicit_collation or right.explicit_collation
        return result

    def same_collation(self, left: Value, right: Value, operation: str) -> tuple[Value, Value]:
        """Both strings under the collation that wins.

        https://learn.microsoft.com/sql/t-sql/statements/collation-precedence-transact-sql
        """
        one, two = left.type.collation, right.type.collation
        if (one or DEFAULT_COLLATION).lower() == (two or DEFAULT_COLLATION).lower():
            return left, right
        both_explicit = left.explicit_collation and right.explicit_collation
        neither = not left.explicit_collation and not right.explicit_collation
        if both_explicit or (neither and left.column and right.column):
            self._collation_conflict(left, right, operation)
        if left.explicit_collation or (
            not right.explicit_collation and _coercible(right) and not _coercible(left)
        ):
            return left, _with_collation(right, one)
        if right.explicit_collation or _coercible(left):
            return _with_collation(left, two), right
        self._collation_conflict(left, right, operation)
        return left, right

    def collated(self, values: Sequence[Value], operation: str) -> list[Value]:
        """All strings under the collation that wins among them."""
        winner = values[0]
        for value in values[1:]:
            one, _ = self.same_collation(winner, value, operation)
            if one is not winner or value.explicit_collation:
                winner = value
        return [
            replace(self._recollated(value, winner.type), explicit_collation=winner.explicit_collation)
            for value in values
        ]

    @staticmethod
    def _collation_conflict(left: Value, right: Value, operation: str) -> None:
        raise SqlError(
            468,
            f'Cannot resolve the collation conflict between "{right.type.collation or DEFAULT_COLLATION}" and '
            f'"{left.type.collation or DEFAULT_COLLATION}" in the {operation} operation.',
        )

    def _arithmetic(self, operator: str, left: Value, right: Value) -> Value:
        nullable = left.nullable or right.nullable or operator in "/%"
        high = left.type if types.precedence(left.type) >= types.precedence(right.type) else right.type
        kind = family(high)
        if kind in ("string", "binary") or (kind == "bit"):
            if kind == "bit":
                if operator in ("+", "-", "*", "/", "%"):
                    raise SqlError(
                        8117, f"Operand data type bit is invalid for {_OPERATOR_NAMES[operator]} operator."
                    )
            else:
                high = INT
            kind = "integer"
        if kind == "integer":
            left, right = convert(left, high), convert(right, high)
            sql = f"({left.sql} {operator} {right.sql})"
            if pg_type(high) == "int2":
                sql = f"{sql}::int2"
            constant = left.constant and right.constant
            return Value(sql, high, nullable, constant=constant)
        if kind == "decimal":
            return self._decimal_arithmetic(operator, left, right, nullable)
        if kind == "money":
            left, right = convert(left, high), convert(right, high)
            sql = f"({left.sql} {operator} {right.sql})"
            if operator in ("*", "/"):
                sql = f"round({sql},4)" if operator == "*" else f"trunc({sql},4)"
            return Value(f"{sql}::{pg_type(high)}", high, nullable)
        left, right = convert(left, high), convert(right, high)
        if operator == "%":
            raise SqlError(
                402,
                f"The data types {describe(left.type)} and {describe(right.type)} are incompatible in the modulo "
                "operator.",
            )
        return Value(f"({left.sql} {operator} {right.sql})", high, nullable)

    def _decimal_arithmetic(self, operator: str, left: Value, right: Value, nullable: bool) -> Value:
        operands = []
        for value in (left, right):
            if is_string(value.type) or family(value.type) == "binary":
                other = right.type if value is left else left.type
                value = convert(value, other)
            operands.append(value)
        one, two = (types.as_decimal(value.type, value.digits) for value in operands)
        target = types.decimal_result(operator, one, two)
        first, second = (
            f"{convert(value, data_type).sql}" for value, data_type in zip(operands, (one, two), strict=True)
        )
        scale = target.scale or 0
        sql = f"({first} {operator} {second})"
        if operator == "/":
            sql = f"sys.divide({first},{second},{scale})"
        elif operator == "*":
            if scale < (one.scale or 0) + (two.scale or 0):
                sql = f"round({sql},{scale})"
        elif scale < max(one.scale or 0, two.scale or 0):
            sql = f"round({sql},{scale})"
        if target.precision == 38:
            sql = f"{sql}::{pg_type(target)}"
        constant = left.constant and right.constant
        return Value(sql, target, nullable, constant=constant)

    def _bitwise(self, operator: str, left: Value, right: Value) -> Value:
        for operand in (left, right):
            if family(operand.type) in ("decimal", "float", "money", "string"):
                raise SqlError(
                    402,
                    f"The data types {describe(left.type)} and {describe(right.type)} are incompatible in the "
                    f"'{operator}' operator.",
                )
        nullable = left.nullable or right.nullable
        high = left.type if types.precedence(left.type) >= types.precedence(right.type) else right.type
        if family(high) == "binary":
            raise SqlError(
                402,
                f"The data types {describe(left.type)} and {describe(right.type)} are incompatible in the "
                f"'{operator}' operator.",
            )
        pg_operator = "#" if operator == "^" else operator
        if family(high) == "bit":
            one, two = convert(left, INT), convert(right, INT)
            return Value(f"(({one.sql} {pg_operator} {two.sql}) <> 0)", high, nullable)
        left, right = convert(left, high), convert(right, high)
        return Value(f"({left.sql} {pg_operator} {right.sql})", high, nullable)

    def _shift(self, operator: str, left: Value, right: Value) -> Value:
        if family(left.type) != "integer" or family(right.type) != "integer":
            raise SqlError(
                402,
                f"The data types {describe(left.type)} and {describe(right.type)} are incompatible in the "
                f"'{operator}' operator.",
            )
        bits = {"tinyint": 8, "smallint": 16, "int": 32, "bigint": 64}[left.type.name]
        amount = f"({right.sql})::int4" if operator == "<<" else f"(- {right.sql})::int4"
        sql = f"sys.shift({left.sql}::int8,{amount},{bits})::{pg_type(left.type)}"
        return Value(sql, left.type, left.nullable or right.nullable)

    def _date_arithmetic(self, operator: str, left: Value, right: Value) -> Value:
        """Only datetime and smalldatetime take + and -; they count days since 1900-01-01."""
        types_here = [left.type, right.type]
        nullable = left.nullable or right.nullable
        if operator in ("+", "-") and all(
            each.name in ("datetime", "smalldatetime") or is_number(each) or is_string(each)
            for each in types_here
        ):
            dates = [each for each in types_here if is_date(each)]
            one, two = convert(left, DATETIME), convert(right, DATETIME)
            result = dates[0] if len(dates) == 1 else DATETIME
            sign = operator
            sql = f"({one.sql} {sign} ({two.sql} - timestamp '1900-01-01'))"
            rounding = "round_smalldatetime" if result.name == "smalldatetime" else "round_datetime"
            return Value(f"sys.{rounding}({sql})", result, nullable)
        if (is_date(left.type) and is_date(right.type)) or is_string(left.type) or is_string(right.type):
            if describe(left.type) == describe(right.type):
                raise SqlError(
                    8117,
                    f"Operand data type {describe(left.type)} is invalid for {_OPERATOR_NAMES[operator]} operator.",
                )
            raise SqlError(
                402,
                f"The data types {describe(left.type)} and {describe(right.type)} are incompatible in the "
                f"{_OPERATOR_NAMES[operator]} operator.",
            )
        raise SqlError(
            206, f"Operand type clash: {describe(left.type)} is incompatible with {describe(right.type)}"
        )

    # -- CASE and its like -----------------------------------------------------------------------------------

    def case(self, node: ast.Case) -> Value:
        branches: list[tuple[str, ast.Expression]] = []
        for when, then in node.branches:
            if node.operand is None:
                condition = self.condition(when)
            else:
                condition = self.compare("=", self.value(node.operand), self.value(when))
            branches.append((condition, then))
        return self.choose(branches, node.otherwise)

    def choose(
        self, branches: Sequence[tuple[str, ast.Expression]], otherwise: ast.Expression | None
    ) -> Value:
        """CASE over translated conditions; the result has the highest type among the branches."""
        values = [self.value(then) for _, then in branches]
        values.append(self.value(otherwise) if otherwise is not None else null(INT))
        if all(value.null for value in values):
            raise SqlError(
                8133,
                "At least one of the result expressions in a CASE specification must be an expression other than the "
                "NULL constant.",
            )
        target, converted = self.unify(values)
        parts = [
            f"WHEN {condition} THEN {value.sql}"
            for (condition, _), value in zip(branches, converted, strict=False)
        ]
        sql = f"(CASE {' '.join(parts)} ELSE {converted[-1].sql} END)"
        return Value(
            sql,
            target,
            any(v.nullable for v in values),
            explicit_collation=any(v.explicit_collation for v in values),
        )

    def unify(self, values: Sequence[Value]) -> tuple[SqlType, list[Value]]:
        """All ``values`` under their common type."""
        typed = [value for value in values if not value.null]
        target = combine(
            types.as_decimal(value.type, value.digits)
            if value.digits is not None and any(family(other.type) == "decimal" for other in typed)
            else value.type
            for value in (typed or values)
        )
        if is_string(target):
            collations = [value for value in typed if is_string(value.type) and value.type.collation]
            explicit = [value for value in collations if value.explicit_collation]
            if collations:
                target = SqlType(
                    target.name, length=target.length, collation=(explicit or collations)[0].type.collation
                )
        return target, [convert(self._recollated(value, target), target) for value in values]

    @staticmethod
    def _recollated(value: Value, target: SqlType) -> Value:
        if (
            not value.null
            and is_string(value.type)
            and is_string(target)
            and value.type.collation != target.collation
        ):
            return _with_collation(value, target.collation)
        return value

    # -- functions -------------------------------------------------------------------------------------------

    def call(self, node: ast.Call) -> Value:
        if node.schema:
            return self._user_function(node)
        translate = FUNCTIONS.get(node.name)
        if translate is not None:
            return translate(self, node)  # type: ignore[arg-type]
        if node.name in REFUSED_FUNCTIONS:
            raise unsupported(f"function {node.name}")
        name = node.name.lower()
        if node.over is None and not node.distinct:
            function = self.catalog.system_function(name)
            takes = len(node.arguments)
            if function is not None and (takes or self.catalog.system_type(f"{name}()") is None):
                return self.system_call(node, function)
            if not takes and self.catalog.system_type(f"{name}()") is not None:
                return self.system_value(f"{name}()")
            if not takes and self.catalog.system_type(name) is not None:
                return self.system_value(name)
        raise SqlError(195, f"'{node.spelling}' is not a recognized built-in function name.", severity=15)

    def system_call(self, node: ast.Call, function: Function) -> Value:
        """A function that PostgreSQL runs, with its arguments converted."""
        least = function.required if function.required is not None else len(function.arguments)
        if not least <= len(node.arguments) <= len(function.arguments):
            raise SqlError(
                174,
                f"The {node.spelling.lower()} function requires {len(function.arguments)} argument(s).",
                severity=15,
            )
        arguments = []
        for argument, data_type in zip(node.arguments, function.arguments, strict=False):
            value = self.value(argument)
            converted = convert(value, data_type) if data_type is not None else value
            if data_type is None and is_string(converted.type):
                arguments.append(converted.text)
            else:
                arguments.append(converted.text if is_string(converted.type) else converted.sql)
        call = f"{function.pg_name}({','.join(arguments)})"
        if not any(isinstance(each, ast.ColumnName) for each in descendants(node)):
            # A subquery of its own runs once; a function in a filter runs for every row.
            call = f"(SELECT {call})"
        if is_string(function.result):
            return Value(f"{call}::{pg_type(function.result)}", function.result)
        return Value(call, function.result)

    def _user_function(self, node: ast.Call) -> Value:
        function = self.catalog.scalar_function(node.schema[-1], node.spelling)
        if function is None:
            dotted = ".".join((*node.schema, node.spelling))
            raise SqlError(
                4121,
                f'Cannot find either column "{node.schema[-1]}" or the user-defined function or aggregate '
                f'"{dotted}", or the name is ambiguous.',
            )
        return self.system_call(node, function)

    def arguments(self, node: ast.Call, least: int, most: int | None = None) -> list[Value]:
        """The call's argument values, after a check of their number."""
        self.check_arity(node, least, most)
        return [self.value(argument) for argument in node.arguments]

    @staticmethod
    def check_arity(node: ast.Call, least: int, most: int | None = None) -> None:
        given = len(node.arguments)
        name = node.spelling.lower()
        most = least if most is None else most
        if least <= given <= most:
            return
        if least == most:
            raise SqlError(174, f"The {name} function requires {least} argument(s).", severity=15)
        raise SqlError(189, f"The {name} function requires {least} to {most} arguments.", severity=15)

    # -- conditions ------------------------------------------------------------------------------------------

    def condition(self, node: ast.Node) -> str:
        """A search condition as a PostgreSQL boolean, self-contained."""
        match node:
            case ast.Comparison():
                return self.compare(node.operator, self.value(node.left), self.value(node.right))
            case ast.Logical():
                return "(" + f" {node.operator} ".join(self.condition(each) for each in node.operands) + ")"
            case ast.Not():
                return f"(NOT {self.condition(node.operand)})"
            case ast.IsNull():
                operand = self.value(node.operand)
                negation = " NOT" if node.negated else ""
                # A composite value (datetimeoffset) IS NOT NULL only when all its fields are set; they always are.
                return f"({operand.sql} IS{negation} NULL)"
            case ast.InList():
                return self._in_list(node)
            case ast.InQuery():
                return self._in_query(node)
            case ast.Exists():
                return self.exists_sql(node.query)
            case ast.UpdatedColumn(column):
                return self.parameter(f"update({column.lower()})", types.BIT).sql
            case ast.Between():
                operand = self.value(node.operand)
                low = self.compare(">=", operand, self.value(node.low))
                high = self.compare("<=", operand, self.value(node.high))
                return f"(NOT ({low} AND {high}))" if node.negated else f"({low} AND {high})"
            case ast.Like():
                return self._like(node)
            case ast.RegexpLike(call):
                return regexp_like(self, call)
            case ast.IsDistinct():
                left, right = self.comparable("=", self.value(node.left), self.value(node.right))
                return f"({left.sql} IS {'NOT ' if node.negated else ''}DISTINCT FROM {right.sql})"
            case ast.Quantified():
                left = self.value(node.left)
                sql, right = self.query_sql(node.query)
                one, two = self.comparable(node.operator, left, right)
                if two.sql != right.sql:
                    sql = f"SELECT {two.sql} FROM ({sql}) AS q(c)"
                return f"({one.sql} {node.operator} {node.quantifier} ({sql}))"
        raise unsupported(type(node).__name__)

    def compare(self, operator: str, left: Value, right: Value) -> str:
        one, two = self.comparable(operator, left, right)
        return f"({one.sql} {operator} {two.sql})"

    def comparable(self, operator: str, left: Value, right: Value) -> tuple[Value, Value]:
        """Both sides under the type in which SQL Server compares them."""
        if left.null and right.null:
            return left, right
        for value, other in ((left, right), (right, left)):
            if family(value.type) == "json" and (other.null or family(other.type) == "json"):
                raise not_sortable(value.type)
        if left.null:
            return as_null(left, right.type), right
        if right.null:
            return left, as_null(right, left.type)
        for value in (left, right):
            if value.type.name in UNSORTABLE:
                if value.type.name == "xml":
                    raise not_sortable(value.type)
                raise SqlError(
                    402,
                    f"The data types {describe(left.type)} and {describe(right.type)} are incompatible in the "
                    f"{_COMPARISON_NAMES[operator]} operator.",
                )
        if is_string(left.type) and is_string(right.type):
            return self.same_collation(left, right, _COMPARISON_NAMES[operator])
        if left.type.name == right.type.name and family(left.type) != "decimal":
            return left, right
        high = left.type if types.precedence(left.type) >= types.precedence(right.type) else right.type
        kinds = {family(left.type), family(right.type)}
        if kinds <= {"integer", "decimal", "money", "float"}:
            # PostgreSQL compares numbers of different types as SQL Server does, and can use an index for it.
            return left, right
        if kinds <= {"integer", "bit"}:
            for bit, other in ((left, right), (right, left)):
                if family(bit.type) == "bit" and other.constant and other.sql in ("0", "1"):
                    literal = Value("true" if other.sql == "1" else "false", types.BIT, nullable=False)
                    return (bit, literal) if bit is left else (literal, bit)
        if kinds == {"date", "datetime"}:
            return left, right
        if kinds == {"datetime"}:
            return left, right
        if family(high) == "binary" and kinds == {"binary"}:
            return left, right
        return convert(left, high), convert(right, high)

    def _in_list(self, node: ast.InList) -> str:
        operand = self.value(node.operand)
        items = [self.value(item) for item in node.items]
        pairs = [self.comparable("=", operand, item) for item in items]
        if len({pair[0].sql for pair in pairs}) == 1:
            listed = ",".join(pair[1].sql for pair in pairs)
            return f"({pairs[0][0].sql} {'NOT ' if node.negated else ''}IN ({listed}))"
        joined = " OR ".join(f"({one.sql} = {two.sql})" for one, two in pairs)
        return f"(NOT ({joined}))" if node.negated else f"({joined})"

    def _in_query(self, node: ast.InQuery) -> str:
        operand = self.value(node.operand)
        sql, column = self.query_sql(node.query)
        one, two = self.comparable("=", operand, column)
        if two.sql != column.sql:
            sql = f"SELECT {two.sql} FROM ({sql}) AS q(c)"
        return f"({one.sql} {'NOT ' if node.negated else ''}IN ({sql}))"

    def _like(self, node: ast.Like) -> str:
        operand, pattern = self.value(node.operand), self.value(node.pattern)
        for value, position in ((operand, 1), (pattern, 2)):
            if value.type.name in ("image", "xml", "json") or (
                family(value.type) == "binary" and value.type.name != "varbinary"
            ):
                raise SqlError(
                    8116,
                    f"Argument data type {describe(value.type)} is invalid for argument {position} of like function.",
                )
        operand = operand if is_string(operand.type) else convert(operand, types.NVARCHAR_MAX, "explicit")
        pattern = pattern if is_string(pattern.type) else convert(pattern, types.NVARCHAR_MAX, "explicit")
        operand, pattern = self.same_collation(operand, pattern, "like")
        escape = "NULL"
        if node.escape is not None:
            escape = convert(self.value(node.escape), types.NVARCHAR_MAX).text
        fold = text_type(operand.type.collation).removeprefix("sys.text_")
        text, regex = operand.text, f"sys.like_regex({pattern.text},{escape})"
        if fold != "bin":
            text, regex = (
                f"sys.fold_{fold}({text})",
                f"sys.like_regex(sys.fold_{fold}({pattern.text}),{escape})",
            )
        return f"({text} {'!~' if node.negated else '~'} {regex})"


def _decimal_constant(text: str) -> Value:
    whole, _, fraction = text.partition(".")
    whole = whole.lstrip("0")
    precision = len(whole) + len(fraction) or 1
    if precision > 38:
        raise SqlError(
            1007,
            f"The number '{text}' is out of the range for numeric representation (maximum precision 38).",
            severity=15,
        )
    data_type = SqlType("numeric", precision=precision, scale=len(fraction))
    return Value(f"{text.rstrip('.') or '0'}::numeric", data_type, nullable=False, constant=True)


def _coercible(value: Value) -> bool:
    """Literals and variables give way to a column's collation; so does the database default here."""
    return value.type.collation is None


def _with_collation(value: Value, collation: str | None) -> Value:
    return retyped(value, SqlType(value.type.name, length=value.type.length, collation=collation))
