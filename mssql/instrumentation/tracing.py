"""One CLIENT span per statement, by the stable database conventions; never the current span."""

from __future__ import annotations

import time
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.context import Context, get_current
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer

from mssql.instrumentation import semconv
from mssql.instrumentation.attributes import (
    Attributes,
    ConnectionAttributes,
    error_message,
    failure,
    query_text,
)
from mssql.instrumentation.conf import Hook, InstrumentationConfig, TracingConfig
from mssql.instrumentation.observer import Observer, is_suppressed, report_failure
from mssql.instrumentation.sql_text import encodable
from mssql.instrumentation.statement import ConnectionInfo, Statement, StatementKind

_PARAMETER_LIMIT = 1_000
"""Characters of one parameter's value, where values are told at all."""


class TracingObserver(Observer):
    """Starts the span when the statement begins and ends it with the time that the recorder measured."""

    def __init__(
        self, config: InstrumentationConfig, connection: ConnectionInfo, tracer: Tracer | None = None
    ) -> None:
        self._config = config
        self._tracing = config.tracing or TracingConfig()
        self._connection = ConnectionAttributes(connection)
        self._tracer = tracer or trace.get_tracer(
            semconv.SCOPE, semconv.VERSION, schema_url=semconv.SCHEMA_URL
        )
        self._dropping = Dropping.of(self._tracer)

    def begin(self, statement: Statement) -> None:
        kind = statement.kind
        if (kind is StatementKind.CONNECT and not self._tracing.connect) or (
            kind is StatementKind.TRANSACTION and not self._tracing.transactions
        ):
            return
        if self._dropping is not None and self._dropping.certain(statement.context):
            return
        # All that a sampler may want has to be there from the start.
        attributes = dict(self._connection.with_operation(statement))
        text = query_text(statement, self._config.query_text)
        if text is not None:
            attributes[semconv.DB_QUERY_TEXT] = text
        if statement.is_batch and statement.batch_size is not None:
            attributes[semconv.DB_OPERATION_BATCH_SIZE] = statement.batch_size
        span = statement.span = self._tracer.start_span(
            self._name(statement, attributes),
            context=statement.context,
            kind=SpanKind.CLIENT,
            attributes=attributes,
            start_time=statement.started_ns,
            record_exception=False,
            set_status_on_exception=False,
        )
        if span.is_recording():
            self._enrich(span, statement)
            self._call(self._config.request_hook, span, statement)

    @staticmethod
    def _name(statement: Statement, attributes: Attributes) -> str:
        """https://opentelemetry.io/docs/specs/semconv/db/database-spans/#name"""
        name = attributes.get(semconv.DB_QUERY_SUMMARY)
        if name is None:
            namespace = attributes.get(semconv.DB_NAMESPACE, "")
            if statement.kind is StatementKind.CONNECT:
                return f"CONNECT {namespace}".rstrip()
            name = namespace or semconv.MICROSOFT_SQL_SERVER
        return str(name)

    def _enrich(self, span: Span, statement: Statement) -> None:
        """What costs something and no sampler asks for."""
        if self._config.caller and (caller := statement.caller) is not None:
            span.set_attribute(semconv.CODE_FILE_PATH, caller.file)
            span.set_attribute(semconv.CODE_FUNCTION_NAME, caller.function)
            span.set_attribute(semconv.CODE_LINE_NUMBER, caller.line)
        if self._config.query_parameters and statement.batch_size is None:
            for index, value in enumerate(statement.params or ()):
                text = encodable(str(value)[:_PARAMETER_LIMIT])
                span.set_attribute(f"{semconv.DB_QUERY_PARAMETER}.{index}", text)

    def end(self, statement: Statement) -> None:
        span = statement.span
        if span is None or not span.is_recording():
            return
        if statement.exception is not None:
            self._fail(span, statement)
        if statement.attempt > 1 or statement.handled:
            span.set_attribute(semconv.MSSQL_RETRY_ATTEMPT, statement.attempt)
        if statement.retry_delay_s is not None:
            span.set_attribute(semconv.MSSQL_RETRY_DELAY, statement.retry_delay_s)
        if statement.attributes:
            span.set_attributes(statement.attributes)
        if statement.unread or (self._tracing.returned_rows and statement.exception is None):
            # Ended at close(), with the time of the execution: rows are counted, and may fail to come, as the
            # application reads them.
            statement.pending = _PendingSpan(span, statement.ended_ns)
            self._call(self._config.response_hook, span, statement)
        else:
            self._call(self._config.response_hook, span, statement)
            span.end(statement.ended_ns)

    def fetch_failed(self, statement: Statement) -> None:
        if statement.pending is not None and statement.span is not None:
            self._fail(statement.span, statement)

    def _fail(self, span: Span, statement: Statement) -> None:
        span.set_attributes(failure(statement))
        if statement.error is not None:
            span.set_attribute(semconv.MSSQL_ERROR_CLASS, statement.error.error_class.value)
        span.set_attributes(self._connection.session())
        if not statement.handled:
            span.set_status(StatusCode.ERROR, error_message(statement, self._tracing.error_messages))

    def close(self, statement: Statement) -> None:
        if statement.pending is not None:
            statement.pending.end(statement.returned_rows if self._tracing.returned_rows else None)
            statement.pending = None

    def connection_acquired(self, connection: ConnectionInfo, wait_ns: int) -> None:
        if self._tracing.pool and wait_ns and not is_suppressed(get_current()):
            now = time.time_ns()
            self._tracer.start_span(
                "pool acquire",
                kind=SpanKind.INTERNAL,
                attributes=self._connection.copy(),
                start_time=now - wait_ns,
            ).end(now)

    @staticmethod
    def _call(hook: Hook | None, span: Span, statement: Statement) -> None:
        if hook is not None:
            try:
                hook(span, statement)
            except Exception:
                report_failure(hook, "hook")


@dataclass(frozen=True, slots=True)
class Dropping:
    """Which spans the sampler drops whatever they are: those need not even be started.

    A sampler tells it by its description, which the specification gives a form
    (https://opentelemetry.io/docs/specs/otel/trace/sdk/#built-in-samplers). Behind any other sampler nothing is
    certain, and it is asked.
    """

    roots: bool = False
    under_local: bool = False
    under_remote: bool = False

    @classmethod
    def of(cls, tracer: Tracer) -> Dropping | None:
        """What is certain of ``tracer``; None when nothing is."""
        sampler = getattr(tracer, "sampler", None)  # the SDK's tracer has one
        if sampler is None:
            return None
        description = str(sampler.get_description())
        if description == "AlwaysOffSampler":
            return cls(True, True, True)
        if not description.startswith("ParentBased{"):
            return None
        return cls(
            roots=description.startswith("ParentBased{root:AlwaysOffSampler,"),
            under_local="localParentNotSampled:AlwaysOffSampler" in description,
            under_remote="remoteParentNotSampled:AlwaysOffSampler" in description,
        )

    def certain(self, context: Context) -> bool:
        """Whether a span started in ``context`` would be dropped for sure."""
        if not context:
            return self.roots
        parent = trace.get_current_span(context).get_span_context()
        if not parent.is_valid:
            return self.roots
        if parent.trace_flags & trace.TraceFlags.SAMPLED:
            return False
        return self.under_remote if parent.is_remote else self.under_local


class _PendingSpan:
    """A finished operation whose rows are still being read. Ends its span even when the cursor is forgotten."""

    __slots__ = ("_ended_ns", "_span")

    def __init__(self, span: Span, ended_ns: int) -> None:
        self._span: Span | None = span
        self._ended_ns = ended_ns

    def end(self, returned_rows: int | None) -> None:
        span, self._span = self._span, None
        if span is not None:
            if returned_rows is not None:
                span.set_attribute(semconv.DB_RESPONSE_RETURNED_ROWS, returned_rows)
            span.end(self._ended_ns)

    def __del__(self) -> None:
        self.end(None)
