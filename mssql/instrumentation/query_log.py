"""The query log: slow statements, exceptions and retries, through Python's logging and as OpenTelemetry log events.

The logger is ``mssql.query``. Each record has its facts as attributes too (``record.mssql``, a dict by the names of
the semantic conventions), for a JSON formatter.
"""

from __future__ import annotations

import logging
import time
import traceback
from typing import Any

from opentelemetry import _logs as otel_logs
from opentelemetry import trace
from opentelemetry._logs import SeverityNumber

from mssql.instrumentation import semconv
from mssql.instrumentation.attributes import (
    Attributes,
    ConnectionAttributes,
    error_message,
    exception_type,
    failure,
    query_text,
    status_code,
)
from mssql.instrumentation.conf import InstrumentationConfig, QueryLogConfig, TracingConfig
from mssql.instrumentation.observer import Observer, Retry
from mssql.instrumentation.sql_text import encodable
from mssql.instrumentation.statement import ConnectionInfo, Statement, StatementKind

logger = logging.getLogger("mssql.query")


class QueryLogObserver(Observer):
    """Writes what a person wants to read: what was slow, what failed, what was tried again."""

    def __init__(
        self,
        config: InstrumentationConfig,
        connection: ConnectionInfo,
        events: otel_logs.Logger | None = None,
    ) -> None:
        self._config = config
        self._log = config.query_log or QueryLogConfig()
        self._slow_ns = self._log.slow_ms * 1e6
        self._messages = (config.tracing or TracingConfig()).error_messages
        self._connection = ConnectionAttributes(connection)
        self._events = events or otel_logs.get_logger(
            semconv.SCOPE, semconv.VERSION, schema_url=semconv.SCHEMA_URL
        )

    def end(self, statement: Statement) -> None:
        if statement.exception is not None:
            self._exception(statement)
        if (statement.duration_ns or 0) >= self._slow_ns and self._is_told(statement):
            # It is logged at close(), when its rows are known, which may be far from the line that asked.
            _ = statement.caller

    def fetch_failed(self, statement: Statement) -> None:
        self._exception(statement)

    def close(self, statement: Statement) -> None:
        if (statement.duration_ns or 0) >= self._slow_ns and self._is_told(statement):
            self._slow(statement)

    @staticmethod
    def _is_told(statement: Statement) -> bool:
        """Whether being slow is all that there is to say of it."""
        return statement.kind is not StatementKind.CONNECT and not statement.failed

    def _slow(self, statement: Statement) -> None:
        severity = _severity(self._log.level)
        if not logger.isEnabledFor(self._log.level) and not is_wanted(
            self._events, semconv.MSSQL_SLOW_QUERY, severity
        ):
            return
        facts = self._facts(statement)
        milliseconds = round((statement.duration_ns or 0) / 1e6, 3)
        facts[semconv.MSSQL_DURATION_MS] = milliseconds
        rows: int | None = None
        if statement.rowcount is not None and statement.rowcount >= 0:
            rows = facts[semconv.MSSQL_ROWCOUNT] = statement.rowcount
        if statement.returned_rows is not None:
            rows = facts[semconv.DB_RESPONSE_RETURNED_ROWS] = statement.returned_rows
        if (caller := statement.caller) is not None:
            facts[semconv.CODE_FILE_PATH] = caller.file
            facts[semconv.CODE_FUNCTION_NAME] = caller.function
            facts[semconv.CODE_LINE_NUMBER] = caller.line
        logger.log(
            self._log.level,
            "Slow query: %.1f ms, %s%s, on %s%s",
            milliseconds,
            f"{rows} row{'s' * (rows != 1)}, " if rows is not None else "",
            statement.summary or statement.kind.value,
            statement.connection.alias,
            f", from {caller}" if caller else "",
            extra=_extra(statement, facts),
        )
        self._emit(statement, semconv.MSSQL_SLOW_QUERY, severity, facts, statement.ended_ns)

    def _exception(self, statement: Statement) -> None:
        """Once, here: not on the span as well, and not for what is tried again
        (https://opentelemetry.io/docs/specs/semconv/db/database-exceptions/)."""
        exception = statement.exception
        if not isinstance(exception, Exception) or statement.handled or not self._log.exceptions:
            return
        facts = {**self._facts(statement), **failure(statement)}
        message = error_message(statement, self._messages)
        logger.warning(
            "%s failed: %s, %s, on %s",
            "Connect" if statement.kind is StatementKind.CONNECT else "Query",
            facts[semconv.ERROR_TYPE],
            statement.summary or statement.connection.namespace,
            statement.connection.alias,
            extra=_extra(statement, facts),
        )
        facts[semconv.EXCEPTION_TYPE] = exception_type(exception)
        if message is not None:
            facts[semconv.EXCEPTION_MESSAGE] = message
        # The last line of a formatted traceback is the message; it goes by its own rule.
        stack = "".join(traceback.format_tb(exception.__traceback__))
        if stack:
            facts[semconv.EXCEPTION_STACKTRACE] = encodable(stack)
        # Reading rows may fail long after the execution, whose time the statement tells.
        when = time.time_ns() if statement.unread else statement.ended_ns
        self._emit(statement, semconv.DB_CLIENT_OPERATION_EXCEPTION, SeverityNumber.WARN, facts, when)

    def retrying(self, retry: Retry, connection: ConnectionInfo) -> None:
        facts: Attributes = {
            **self._connection.for_events,
            semconv.DB_RESPONSE_STATUS_CODE: status_code(retry.error),
            semconv.MSSQL_ERROR_CLASS: retry.error.error_class.value,
            semconv.MSSQL_RETRY_ATTEMPT: retry.attempt,
            semconv.MSSQL_RETRY_DELAY: retry.delay_s,
            semconv.MSSQL_RETRY_SCOPE: retry.scope,
        }
        logger.info(
            "Retrying the %s after error %s (attempt %d failed, next in %.3f s), on %s",
            retry.scope,
            facts[semconv.DB_RESPONSE_STATUS_CODE],
            retry.attempt,
            retry.delay_s,
            connection.alias,
            extra={"mssql": facts},
        )
        self._emit(None, semconv.MSSQL_RETRY, SeverityNumber.INFO, facts)

    def _facts(self, statement: Statement) -> Attributes:
        facts = {**self._connection.with_operation(statement), **self._connection.session()}
        text = query_text(statement, self._config.query_text)
        if text is not None:
            facts[semconv.DB_QUERY_TEXT] = text
        return facts

    def _emit(
        self,
        statement: Statement | None,
        name: str,
        severity: SeverityNumber,
        facts: Attributes,
        timestamp: int | None = None,
    ) -> None:
        if not is_wanted(self._events, name, severity):
            return
        span = statement.span if statement is not None else None
        self._events.emit(
            timestamp=timestamp,
            context=trace.set_span_in_context(span) if span is not None else None,
            severity_number=severity,
            severity_text=severity.name,
            event_name=name,
            attributes=facts,
        )


def is_wanted(events: otel_logs.Logger, name: str, severity: SeverityNumber) -> bool:
    """Whether anybody takes the event; what makes it can be saved otherwise. Older APIs can't say, and then it is."""
    enabled = getattr(events, "enabled", None)
    return enabled is None or enabled(severity_number=severity, event_name=name)


def _extra(statement: Statement, facts: Attributes) -> dict[str, Any]:
    """Names that OpenTelemetry's own logging instrumentation uses for the trace, so that formatters are shared."""
    span = statement.span.get_span_context() if statement.span is not None else trace.INVALID_SPAN_CONTEXT
    if not span.is_valid:
        span = trace.get_current_span().get_span_context()
    return {
        "mssql": dict(facts),
        "trace_id": trace.format_trace_id(span.trace_id) if span.is_valid else "",
        "span_id": trace.format_span_id(span.span_id) if span.is_valid else "",
    }


def _severity(level: int) -> SeverityNumber:
    """https://opentelemetry.io/docs/specs/otel/logs/data-model/#mapping-of-severitynumber"""
    for limit, severity in (
        (logging.CRITICAL, SeverityNumber.FATAL),
        (logging.ERROR, SeverityNumber.ERROR),
        (logging.WARNING, SeverityNumber.WARN),
        (logging.INFO, SeverityNumber.INFO),
    ):
        if level >= limit:
            return severity
    return SeverityNumber.DEBUG
