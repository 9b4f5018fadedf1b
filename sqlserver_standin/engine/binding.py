"""What SQL Server finds wrong with a batch or module before any of it runs: columns, types, the shape of queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sqlserver_standin.engine import statements as st
from sqlserver_standin.engine.frame import Frame
from sqlserver_standin.events import SqlError
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.expressions import descendants

if TYPE_CHECKING:
    from sqlserver_standin.engine.session import Session

# Errors of the translation that SQL Server finds only in a statement that runs; the last is the stand-in's own.
_FOUND_WHEN_IT_RUNS = frozenset({544, 545, 8101, 8170, 40000})
_NO_SUCH_TABLE = 208


def fails_to_compile(error: SqlError, nesting: int) -> None:
    """Note that a statement could not be compiled.

    Such an error ends the scope (batch, module or EXEC) in which it stands, and only a TRY around that scope sees it:
    https://learn.microsoft.com/sql/t-sql/language-elements/try-catch-transact-sql#errors-unaffected-by-a-trycatch-construct
    """
    if error.number not in _FOUND_WHEN_IT_RUNS:
        error.uncompiled = nesting


def bind(session: Session, statements: Sequence[st.Statement], frame: Frame) -> None:
    """Raise the first error of compilation among the data statements of a batch or module.

    A statement on a table that is missing, or that the batch itself makes, is compiled when it runs ("deferred name
    resolution"), and so is all that follows USE.
    """
    if len(statements) == 1 and isinstance(statements[0], st.Data):
        # It is compiled at once anyway.
        return
    types = frame.types
    made: set[str] = set()
    for statement in _in_order(statements):
        match statement:
            case st.Use():
                return
            case st.CreateTable():
                made.add(statement.name[-1].lower())
            case st.Declare():
                made.update(item.name for item in statement.items if item.table is not None)
                scalars = {item.name: item.type for item in statement.items if item.type is not None}
                types = {**types, **scalars}
            case st.Data(execute=None):
                if made and not made.isdisjoint(_tables(statement.node)):
                    continue
                try:
                    session.translator.statement(statement.node, session.context(types, frame.tables))
                except SqlError as error:
                    fails_to_compile(error, session.nesting)
                    if error.uncompiled is not None and error.number != _NO_SUCH_TABLE:
                        error.line = max(error.line, statement.line)
                        error.procedure = frame.procedure
                        raise
                into = _into(statement.node)
                if into is not None:
                    made.add(into[-1].lower())


def _in_order(statements: Sequence[st.Statement]) -> Iterator[st.Statement]:
    """The statements of all branches, as they stand in the text."""
    for statement in statements:
        match statement:
            case st.Block():
                yield from _in_order(statement.statements)
            case st.If():
                yield from _in_order([statement.then])
                if statement.otherwise is not None:
                    yield from _in_order([statement.otherwise])
            case st.While():
                yield from _in_order([statement.body])
            case st.TryCatch():
                yield from _in_order([statement.body, statement.handler])
            case _:
                yield statement


def _tables(node: ast.Node) -> set[str]:
    """The last names of all tables that a statement reads or changes."""
    named = {each.name[-1].lower() for each in descendants(node) if isinstance(each, ast.TableSource)}
    if isinstance(node, (ast.InsertStatement, ast.UpdateStatement, ast.DeleteStatement, ast.MergeStatement)):
        named.update(output.into[-1].lower() for output in node.outputs if output.into is not None)
    return named


def _into(node: ast.Node) -> tuple[str, ...] | None:
    if not isinstance(node, ast.SelectStatement):
        return None
    body = node.query.body
    while isinstance(body, ast.SetOperation):
        body = body.left
    return body.into if isinstance(body, ast.Select) else None
