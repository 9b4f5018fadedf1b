"""Attributes that spans, metrics and log events share, so that they can't disagree."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mssql.errors import SQLServerError
from mssql.instrumentation import semconv
from mssql.instrumentation.conf import ErrorMessages, QueryText
from mssql.instrumentation.sql_text import encodable as encodable
from mssql.instrumentation.statement import ConnectionInfo, Statement, StatementKind

Value = str | int | float | bool
Attributes = dict[str, Value]


_REMEMBERED = 256
_REMEMBERED_LENGTH = 4_096
"""How many texts a connection keeps the attributes of, and how long they may be: a megabyte at most."""


class ConnectionAttributes:
    """The attributes of one connection, made again only when its namespace changes: by the login, which tells the
    instance, or by USE."""

    __slots__ = ("_connection", "_known", "_namespace", "_of_queries")

    def __init__(self, connection: ConnectionInfo) -> None:
        self._connection = connection
        self._namespace: str | None = None
        self._known: Attributes = {}
        self._of_queries: dict[str, Attributes] = {}

    def copy(self) -> Attributes:
        """For spans and metrics: without the session, which would make each connection a time series of its own."""
        self._refresh(self._connection.namespace)
        return self._known.copy()

    def with_operation(self, statement: Statement) -> Mapping[str, Value]:
        """The same with what was asked for. It is not to be changed: equal queries share it."""
        namespace = self._connection.namespace
        if namespace != self._namespace:
            self._refresh(namespace)
        attributes = self._of_queries.get(statement.sql)
        if attributes is None or statement.kind is not StatementKind.QUERY:
            attributes = self._known.copy()
            add_operation(attributes, statement)
            if statement.kind is StatementKind.QUERY and len(statement.sql) <= _REMEMBERED_LENGTH:
                if len(self._of_queries) >= _REMEMBERED:
                    self._of_queries.clear()
                self._of_queries[statement.sql] = attributes
        return attributes

    def _refresh(self, namespace: str) -> None:
        if namespace == self._namespace:
            return
        info = self._connection
        known: Attributes = {semconv.DB_SYSTEM_NAME: semconv.MICROSOFT_SQL_SERVER}
        if namespace:
            known[semconv.DB_NAMESPACE] = namespace
        if info.server_address:
            known[semconv.SERVER_ADDRESS] = info.server_address
            if info.server_port is not None and info.server_port != semconv.DEFAULT_PORT:
                known[semconv.SERVER_PORT] = info.server_port
        self._known, self._namespace = known, namespace
        self._of_queries.clear()

    @property
    def for_events(self) -> Attributes:
        """Both: for log events, and for spans that are not a statement's."""
        return {**self.copy(), **self.session()}

    def session(self) -> Attributes:
        """For what is looked into one by one, failures and log events: Django's alias and the server's session."""
        info = self._connection
        if info.session_id is None:
            return {semconv.MSSQL_ALIAS: info.alias}
        return {semconv.MSSQL_ALIAS: info.alias, semconv.MSSQL_SESSION_ID: info.session_id}


def query_text(statement: Statement, mode: QueryText) -> str | None:
    """db.query.text. By default the text of a parameterised query is told as it is and any other is sanitised."""
    if mode == "off" or not statement.sql or statement.kind is StatementKind.PROCEDURE:
        return None
    if mode == "raw" or (mode == "auto" and statement.params):
        return encodable(statement.sql)
    return statement.text.text


def add_operation(attributes: Attributes, statement: Statement) -> None:
    """What was asked for: the low-cardinality attributes, right for spans and metrics."""
    if statement.kind is StatementKind.CONNECT:
        attributes[semconv.DB_OPERATION_NAME] = "CONNECT"
    elif summary := statement.text.summary:
        attributes[semconv.DB_QUERY_SUMMARY] = summary
    if statement.procedure:
        attributes[semconv.DB_STORED_PROCEDURE_NAME] = encodable(statement.procedure)


def operation(statement: Statement) -> Attributes:
    """The same by themselves."""
    attributes: Attributes = {}
    add_operation(attributes, statement)
    return attributes


def failure(statement: Statement) -> Attributes:
    """What went wrong. An error that is retried keeps its code but is no failure of the operation."""
    attributes: Attributes = {}
    if statement.exception is None:
        return attributes
    code = status_code(statement.error)
    if code:
        attributes[semconv.DB_RESPONSE_STATUS_CODE] = code
    if not statement.handled:
        attributes[semconv.ERROR_TYPE] = code or exception_type(statement.exception)
    return attributes


def status_code(error: SQLServerError | None) -> str:
    """The native error number; the SQLSTATE where only the driver or the network knows of the error."""
    if error is None:
        return ""
    if not error.number or error.number < 0 or (error.sqlstate.startswith("08") and _is_system(error.number)):
        return error.sqlstate
    return str(error.number)


def _is_system(number: int) -> bool:
    """An operating system's number (ECONNRESET, WSAECONNRESET) that the driver puts in place of the server's."""
    return number < 500 or 10_000 <= number < 12_000


def exception_type(exception: BaseException) -> str:
    """The class of an exception, as the conventions write it."""
    kind = type(exception)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


_QUOTES = "'\"“”‘’„‚«»‹›「」『』（）()"
_QUOTED = re.compile(f"[{_QUOTES}](?:.*[{_QUOTES}]|.*)", re.DOTALL)
_NUMBER = re.compile(r"\d+")
_FIRST_USER_MESSAGE = 50_000


def error_message(statement: Statement, mode: ErrorMessages) -> str | None:
    """The error's message, by default without what it quotes: key values, names, parameters.

    A quoted value may itself hold quotes, so everything from the first to the last goes; after one alone, whose other
    was cut off, the rest of the message. Numbers from 50000 on are the application's own messages (RAISERROR, THROW):
    nothing is known of them, so the number has to do.
    """
    error = statement.error
    message = error.message if error is not None else str(statement.exception or "")
    if mode == "off":
        return None
    if mode == "raw":
        return encodable(message)
    if error is not None and (error.number or 0) >= _FIRST_USER_MESSAGE:
        return f"User-defined error {error.number}"
    return encodable(_NUMBER.sub("?", _QUOTED.sub("?", message)))
