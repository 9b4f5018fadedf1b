"""REGEXP_LIKE, the predicate of SQL Server 2025.

https://learn.microsoft.com/sql/t-sql/functions/regexp-like-transact-sql
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from sqlserver_standin.events import SqlError
from sqlserver_standin.releases import REGEXP_LIKE_LEVEL
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.types import describe, is_string
from sqlserver_standin.tsql.values import Value, as_null
from sqlserver_standin.types import MAX, SqlType

if TYPE_CHECKING:
    from sqlserver_standin.tsql.expressions import ExpressionTranslator

_ARGUMENTS = (2, 3)


def _refuse_where_unknown(work: ExpressionTranslator, node: ast.Call) -> None:
    if work.catalog.compatibility_level < REGEXP_LIKE_LEVEL:
        raise SqlError(
            195, f"'{node.spelling}' is not a recognized built-in function name.", severity=15, state=10
        )


def regexp_like_as_value(work: ExpressionTranslator, node: ast.Call) -> NoReturn:
    """It has no value: only a condition can be made of it."""
    _refuse_where_unknown(work, node)
    raise SqlError(156, f"Incorrect syntax near the keyword '{node.spelling}'.", severity=15)


def regexp_like(work: ExpressionTranslator, call: ast.Call) -> str:
    """The predicate as a PostgreSQL boolean."""
    _refuse_where_unknown(work, call)
    if len(call.arguments) not in _ARGUMENTS:
        near = ")" if len(call.arguments) < _ARGUMENTS[0] else ","
        raise SqlError(102, f"Incorrect syntax near '{near}'.", severity=15)
    values = [work.value(argument) for argument in call.arguments]
    subject = _text(values[0], 1)
    pattern = _text(values[1], 2)
    flags = _text(values[2], 3) if len(values) > 2 else "'c'"
    return f"sys.regexp_like({subject},{pattern},{flags})"


def _text(value: Value, position: int) -> str:
    """An argument as PostgreSQL's text; error 8116 for a type that does not go."""
    if value.null:
        return as_null(
            value, SqlType("nvarchar", length=4000) if position < 3 else SqlType("varchar", length=30)
        ).text
    large = value.type.length == MAX
    goes = is_string(value.type) and value.type.name not in ("text", "ntext")
    if not goes or (position > 1 and large) or (position == 3 and value.type.name.startswith("n")):
        name = "VARCHAR(MAX)/NVARCHAR(MAX)" if goes and large else describe(value.type)
        raise SqlError(
            8116,
            f"Argument data type {name} is invalid for argument {position} of regexp_like function.",
        )
    return value.text
