"""Duration, rows and connections as OpenTelemetry metrics, and our counters of what goes wrong."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from opentelemetry import context as otel_context
from opentelemetry import metrics, trace
from opentelemetry.metrics import Counter, Histogram, Meter, UpDownCounter

from mssql.errors import ErrorClass
from mssql.instrumentation import semconv
from mssql.instrumentation.attributes import Attributes, ConnectionAttributes, Value, failure
from mssql.instrumentation.conf import InstrumentationConfig, QueryLogConfig
from mssql.instrumentation.observer import Observer, Retry
from mssql.instrumentation.statement import ConnectionInfo, Statement, StatementKind

# https://opentelemetry.io/docs/specs/semconv/db/database-metrics/
DURATION_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
ROW_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)

_COUNTED_ERRORS = {ErrorClass.DEADLOCK: "deadlocks", ErrorClass.LOCK_TIMEOUT: "lock_timeouts"}


class Instruments(NamedTuple):
    """Every instrument that we use, made once in a process."""

    duration: Histogram
    returned_rows: Histogram
    connections: UpDownCounter
    create_time: Histogram
    use_time: Histogram
    wait_time: Histogram
    pool_max: UpDownCounter
    pool_idle_max: UpDownCounter
    pool_idle_min: UpDownCounter
    pool_pending: UpDownCounter
    pool_timeouts: Counter
    retries: Counter
    deadlocks: Counter
    lock_timeouts: Counter
    slow_queries: Counter
    plans_captured: Counter


def make_instruments(meter: Meter) -> Instruments:
    """The instruments with the names, units and buckets of the conventions."""

    def seconds(name: str, description: str, buckets: Iterable[float] | None = None) -> Histogram:
        return meter.create_histogram(
            name,
            "s",
            description,
            explicit_bucket_boundaries_advisory=list(buckets or DURATION_BUCKETS),
        )

    def count(name: str, unit: str, description: str) -> Counter:
        return meter.create_counter(name, unit, description)

    def level(name: str, unit: str, description: str) -> UpDownCounter:
        return meter.create_up_down_counter(name, unit, description)

    return Instruments(
        duration=seconds(semconv.DB_CLIENT_OPERATION_DURATION, "Duration of database client operations."),
        returned_rows=meter.create_histogram(
            semconv.DB_CLIENT_RESPONSE_RETURNED_ROWS,
            "{row}",
            "Rows that an operation returned and the application read.",
            explicit_bucket_boundaries_advisory=list(ROW_BUCKETS),
        ),
        connections=level(
            semconv.DB_CLIENT_CONNECTION_COUNT, "{connection}", "Connections that are open, by state."
        ),
        create_time=seconds(semconv.DB_CLIENT_CONNECTION_CREATE_TIME, "Time to make a connection."),
        use_time=seconds(
            semconv.DB_CLIENT_CONNECTION_USE_TIME, "Time from taking a connection to giving it back."
        ),
        wait_time=seconds(semconv.DB_CLIENT_CONNECTION_WAIT_TIME, "Time to get a connection from the pool."),
        pool_max=level(semconv.DB_CLIENT_CONNECTION_MAX, "{connection}", "Most connections of the pool."),
        pool_idle_max=level(
            semconv.DB_CLIENT_CONNECTION_IDLE_MAX, "{connection}", "Most idle connections of the pool."
        ),
        pool_idle_min=level(
            semconv.DB_CLIENT_CONNECTION_IDLE_MIN, "{connection}", "Idle connections that the pool keeps."
        ),
        pool_pending=level(
            semconv.DB_CLIENT_CONNECTION_PENDING_REQUESTS, "{request}", "Threads that wait for a connection."
        ),
        pool_timeouts=count(
            semconv.DB_CLIENT_CONNECTION_TIMEOUTS,
            "{timeout}",
            "Threads that waited in vain for a connection.",
        ),
        retries=count(semconv.MSSQL_RETRIES, "{retry}", "Attempts that failed and were made again."),
        deadlocks=count(
            semconv.MSSQL_DEADLOCKS, "{deadlock}", "Statements that were chosen as deadlock victim."
        ),
        lock_timeouts=count(
            semconv.MSSQL_LOCK_TIMEOUTS, "{timeout}", "Statements that gave up waiting for a lock."
        ),
        slow_queries=count(
            semconv.MSSQL_SLOW_QUERIES, "{query}", "Statements slower than query_log.slow_ms."
        ),
        plans_captured=count(semconv.MSSQL_PLANS_CAPTURED, "{plan}", "Execution plans that were captured."),
    )


@functools.cache
def _instruments() -> Instruments:
    meter = metrics.get_meter(semconv.SCOPE, semconv.VERSION, schema_url=semconv.SCHEMA_URL)
    return make_instruments(meter)


class MetricsObserver(Observer):
    """Records one connection's operations; the duration is the span's own."""

    def __init__(
        self,
        config: InstrumentationConfig,
        connection: ConnectionInfo,
        instruments: Instruments | None = None,
    ) -> None:
        self._attributes = ConnectionAttributes(connection)
        self._instruments = instruments or _instruments()
        self._counts_rows = config.metrics is not None and config.metrics.returned_rows
        self._slow_ns = (config.query_log or QueryLogConfig()).slow_ms * 1e6
        self._state: str | None = None
        self._used_since_ns = 0

    def end(self, statement: Statement) -> None:
        if not statement.unread:
            self._record(statement)

    def _record(self, statement: Statement) -> None:
        if statement.duration_ns is None or statement.kind is StatementKind.CONNECT:
            return
        attributes = self._attributes.with_operation(statement)
        if statement.exception is not None:
            attributes = {**attributes, **failure(statement)}
            self._count_error(statement, attributes)
        context = statement.context if statement.span is None else _context_of(statement, statement.span)
        self._instruments.duration.record(statement.duration_ns / 1e9, attributes, context)
        if statement.duration_ns >= self._slow_ns:
            self._instruments.slow_queries.add(1, attributes)

    def _count_error(self, statement: Statement, attributes: Mapping[str, Value]) -> None:
        if statement.error is not None:
            counter = _COUNTED_ERRORS.get(statement.error.error_class)
            if counter is not None:
                getattr(self._instruments, counter).add(1, attributes)

    def close(self, statement: Statement) -> None:
        if statement.unread:
            # One measurement, though it is known only now whether its rows came.
            self._record(statement)
        if self._counts_rows and statement.returned_rows is not None:
            attributes = self._attributes.with_operation(statement)
            self._instruments.returned_rows.record(statement.returned_rows, attributes)

    def retrying(self, retry: Retry, connection: ConnectionInfo) -> None:
        self._instruments.retries.add(
            1,
            {
                **self._attributes.copy(),
                semconv.MSSQL_RETRY_SCOPE: retry.scope,
                semconv.MSSQL_ERROR_CLASS: retry.error.error_class.value,
            },
        )

    def plan_captured(self, statement: Statement) -> None:
        self._instruments.plans_captured.add(1, self._attributes.copy())

    def connection_opened(self, connection: ConnectionInfo, duration_ns: int) -> None:
        self._instruments.create_time.record(duration_ns / 1e9, self._pool())
        self._move_to("used")

    def connection_acquired(self, connection: ConnectionInfo, wait_ns: int) -> None:
        if wait_ns:
            self._instruments.wait_time.record(wait_ns / 1e9, self._pool())
        self._move_to("used")

    def connection_released(self, connection: ConnectionInfo) -> None:
        self._move_to("idle")

    def connection_closed(self, connection: ConnectionInfo) -> None:
        self._move_to(None)

    def _pool(self) -> Attributes:
        return _pool_name(self._attributes)

    def _move_to(self, state: str | None) -> None:
        if state == self._state:
            return
        pool = self._pool()
        if self._state is not None:
            self._instruments.connections.add(-1, {**pool, semconv.DB_CLIENT_CONNECTION_STATE: self._state})
        if state is not None:
            self._instruments.connections.add(1, {**pool, semconv.DB_CLIENT_CONNECTION_STATE: state})
        now = time.perf_counter_ns()
        if self._state == "used":
            self._instruments.use_time.record((now - self._used_since_ns) / 1e9, pool)
        elif state == "used":
            self._used_since_ns = now
        self._state = state


class PoolMetrics:
    """What only the pool itself knows: its limits, who waits and who waited in vain. Safe in threads."""

    def __init__(self, connection: ConnectionInfo, instruments: Instruments | None = None) -> None:
        self._attributes = _pool_name(ConnectionAttributes(connection))
        self._instruments = instruments or _instruments()
        self._limits = (0, 0, 0)

    def limits(self, max_size: int, min_size: int) -> None:
        """How many connections there may be, and how many idle ones are kept."""
        self._set_limits((max_size, max_size, min_size))

    def closed(self) -> None:
        """The pool is no more, so its limits no longer count."""
        self._set_limits((0, 0, 0))

    def _set_limits(self, limits: tuple[int, int, int]) -> None:
        made = self._instruments
        counters = (made.pool_max, made.pool_idle_max, made.pool_idle_min)
        for counter, now, before in zip(counters, limits, self._limits, strict=True):
            counter.add(now - before, self._attributes)
        self._limits = limits

    def waiting(self, change: int) -> None:
        """One thread more (1) or less (-1) waits for a connection."""
        self._instruments.pool_pending.add(change, self._attributes)

    def timed_out(self) -> None:
        """A thread gave up waiting."""
        self._instruments.pool_timeouts.add(1, self._attributes)


def pool_metrics_for(config: InstrumentationConfig, connection: ConnectionInfo) -> PoolMetrics | None:
    """The pool's metrics; None when metrics are off."""
    return PoolMetrics(connection) if config.metrics is not None else None


def _pool_name(attributes: ConnectionAttributes) -> Attributes:
    """The name that the conventions give a pool without one: server.address:server.port/db.namespace."""
    known = attributes.copy()
    address = known.get(semconv.SERVER_ADDRESS, "")
    port = known.get(semconv.SERVER_PORT, semconv.DEFAULT_PORT)
    name = f"{address}:{port}/{known.get(semconv.DB_NAMESPACE, '')}"
    return {semconv.DB_CLIENT_CONNECTION_POOL_NAME: name}


def _context_of(statement: Statement, span: trace.Span) -> otel_context.Context:
    """So that an exemplar points at the statement's own span."""
    if not span.get_span_context().trace_flags.sampled:
        return statement.context
    return trace.set_span_in_context(span, statement.context)
