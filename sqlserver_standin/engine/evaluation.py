"""Values of expressions: translated, run on PostgreSQL, decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlserver_standin.engine import values
from sqlserver_standin.engine.binding import fails_to_compile
from sqlserver_standin.engine.frame import Frame
from sqlserver_standin.engine.system_values import identity_value, system_value
from sqlserver_standin.errors import sql_error
from sqlserver_standin.events import SqlError
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.translate import Translation
from sqlserver_standin.types import MAX, SqlType

if TYPE_CHECKING:
    from sqlserver_standin.engine.session import Session


INT = SqlType("int")
NVARCHAR_MAX = SqlType("nvarchar", length=MAX)


class Evaluator:
    """Evaluates expressions with the variables of a frame."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def context(self, frame: Frame) -> Any:
        return self._session.context(frame.types, frame.tables)

    def statement(self, node: ast.Statement, frame: Frame) -> Translation:
        """The translation of a data statement."""
        try:
            return self._session.translator.statement(node, self.context(frame))
        except SqlError as error:
            fails_to_compile(error, self._session.nesting)
            raise

    def predicate(self, condition: ast.Condition, frame: Frame) -> Translation:
        """The translation of a condition outside a query."""
        try:
            return self._session.translator.predicate(condition, self.context(frame))
        except SqlError as error:
            fails_to_compile(error, self._session.nesting)
            raise

    def scalar(self, expression: ast.Expression, frame: Frame, target: SqlType | None = None) -> Any:
        """The value of an expression outside a query."""
        constant = _constant(expression, target)
        if constant is not None:
            return constant[0]
        try:
            translation = self._session.translator.scalar(expression, self.context(frame), target)
        except SqlError as error:
            fails_to_compile(error, self._session.nesting)
            raise
        result = self.run(translation, frame)
        return values.decode_one(
            self._session.link.transformer, result, target or translation.columns[0].type
        )

    def type_of(self, expression: ast.Expression, frame: Frame) -> SqlType:
        """The type of an expression outside a query."""
        return self._session.translator.scalar(expression, self.context(frame)).columns[0].type

    def assign(self, name: str, value: ast.Expression, frame: Frame, operator: str = "=") -> None:
        """SET @name = value."""
        data_type = frame.types.get(name)
        if data_type is None:
            raise sql_error(137, name)
        if operator != "=":
            value = ast.Binary(operator[0], ast.Variable(name), value)
        frame.values[name] = self.scalar(value, frame, data_type)

    def parameters(
        self, translation: Translation, frame: Frame
    ) -> tuple[list[bytes | None], list[int] | None]:
        encoded: list[bytes | None] = []
        formats: list[int] = []
        for name in translation.parameters:
            if name in frame.values:
                value = frame.values[name]
            elif name == "scope_identity()":
                value = identity_value(self._session, frame.scope.identity_sequence)
            elif name.startswith("update("):
                value = name[len("update(") : -1] in frame.updated
            else:
                value = system_value(self._session, name)
            data, data_format = values.encode(value)
            encoded.append(data)
            formats.append(data_format)
        return encoded, formats if any(formats) else None

    def run(self, translation: Translation, frame: Frame) -> Any:
        encoded, formats = self.parameters(translation, frame)
        return self._session.link.execute(translation.sql, encoded, formats, translation.before)


def _constant(expression: ast.Expression, target: SqlType | None) -> tuple[Any] | None:
    """The value of a literal that needs no conversion, so that SET @i = 1 costs no round trip."""
    if not isinstance(expression, ast.Constant):
        return None
    if expression.kind == "null":
        return (None,)
    if expression.kind == "integer" and (target is None or target.name in ("int", "bigint")):
        return (int(expression.value),)
    if expression.kind in ("string", "nstring") and (
        target is None or (target.name in ("nvarchar", "varchar") and target.length == MAX)
    ):
        return (expression.value,)
    return None
