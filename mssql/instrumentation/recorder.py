"""Recorder: begins and ends Statements and tells every observer; no observer can break a query."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from opentelemetry import context as otel_context

from mssql import errors
from mssql.instrumentation import otlp
from mssql.instrumentation.conf import Hook, InstrumentationConfig
from mssql.instrumentation.metrics import MetricsObserver
from mssql.instrumentation.observer import Observer, Propagator, Retry, Run, is_suppressed, report_failure
from mssql.instrumentation.propagation import propagator_for
from mssql.instrumentation.query_log import QueryLogObserver
from mssql.instrumentation.statement import ConnectionInfo, Statement, StatementKind, current_attempt
from mssql.instrumentation.tracing import TracingObserver

__all__ = [
    "Observer",
    "Propagator",
    "Recorder",
    "Retry",
    "Run",
    "recorder_for",
    "register_observer",
    "unregister_observer",
]

_observers: tuple[Observer, ...] = ()


def register_observer(observer: Observer) -> None:
    """Show ``observer`` the statements of every alias in this process, instrumented by settings or not.

    Connections that are open already and had no recorder are not seen until they are opened again.
    """
    global _observers
    if observer not in _observers:
        _observers = (*_observers, observer)


def unregister_observer(observer: Observer) -> None:
    """Undo `register_observer`."""
    global _observers
    _observers = tuple(other for other in _observers if other is not observer)


Listener = Callable[[Statement], Any]


class Audience(NamedTuple):
    """Who listens to what befalls a statement. An observer that leaves an event out costs nothing when it happens."""

    observers: tuple[Observer, ...]
    begin: tuple[Listener, ...]
    end: tuple[Listener, ...]
    fetch_failed: tuple[Listener, ...]
    close: tuple[Listener, ...]
    wants_actual_plan: tuple[Listener, ...]

    @classmethod
    def of(cls, observers: tuple[Observer, ...]) -> Audience:
        return cls(observers, *(_listeners(observers, event) for event in cls._fields[1:]))


def _listeners(observers: tuple[Observer, ...], event: str) -> tuple[Listener, ...]:
    methods = [getattr(observer, event) for observer in observers]
    ignored = getattr(Observer, event)
    return tuple(method for method in methods if getattr(method, "__func__", None) is not ignored)


def _report(listener: Listener, event: str) -> None:
    report_failure(getattr(listener, "__self__", listener), event)


class Recorder:
    """Makes one `Statement` per execution on one physical connection. No method ever raises."""

    def __init__(
        self,
        connection: ConnectionInfo,
        observers: Sequence[Observer] = (),
        *,
        config: InstrumentationConfig | None = None,
        propagator: Propagator | None = None,
    ) -> None:
        self.connection = connection
        self.config = config or InstrumentationConfig()
        self.propagator = propagator
        self._configured = tuple(observers)
        self._filter = self.config.filter
        self._gather(_observers)

    def _gather(self, registered: tuple[Observer, ...]) -> None:
        """Find the listeners, again whenever an observer was registered since."""
        self._everyone = Audience.of(self._configured + registered)
        self._others = Audience.of(registered)
        self._registered = registered

    @property
    def observers(self) -> tuple[Observer, ...]:
        return self._configured + _observers

    def begin(
        self,
        kind: StatementKind,
        sql: str,
        params: Sequence[Any] | None = None,
        *,
        batch_size: int | None = None,
        procedure: str | None = None,
        in_transaction: bool = False,
    ) -> Statement:
        """A statement is about to be sent. Give what it returns to `end`, and to `close`."""
        statement = Statement(
            kind,
            sql,
            params,
            self.connection,
            batch_size=batch_size,
            procedure=procedure,
            in_transaction=in_transaction,
        )
        attempt = current_attempt.get()
        if attempt is not None:
            statement.attempt = attempt.number
        statement.context = otel_context.get_current()
        statement.started_ns = time.time_ns()
        statement.clock_ns = time.perf_counter_ns()
        if self._registered is not _observers:
            self._gather(_observers)
        if is_suppressed(statement.context) or not (
            self._filter is None or self._passes(self._filter, statement)
        ):
            statement.telemetry = not self._configured
            audience = self._others
        else:
            audience = self._everyone
        statement.audience = audience
        for listener in audience.begin:
            try:
                listener(statement)
            except Exception:
                _report(listener, "begin")
        return statement

    @staticmethod
    def _passes(test: Hook, statement: Statement) -> bool:
        try:
            return bool(test(statement))
        except Exception:
            report_failure(test, "filter")
            return True

    def end(
        self,
        statement: Statement,
        *,
        rowcount: int | None = None,
        error: BaseException | None = None,
        unread: bool = False,
    ) -> None:
        """The driver's call returned, with rows left on the wire (``unread``) or not, or raised ``error``."""
        if statement.duration_ns is not None:
            return
        statement.duration_ns = time.perf_counter_ns() - statement.clock_ns
        statement.rowcount = rowcount
        statement.unread = unread
        if error is not None:
            self._describe_failure(statement, error)
        if statement.audience is not None:
            for listener in statement.audience.end:
                try:
                    listener(statement)
                except Exception:
                    _report(listener, "end")

    def _describe_failure(self, statement: Statement, exception: BaseException) -> None:
        statement.exception = exception
        try:
            statement.error = errors.describe(exception)
            attempt = current_attempt.get()
            if attempt is not None and statement.error is not None:
                statement.retry_delay_s = attempt.retries(statement.error)
        except Exception:
            report_failure(self, "describing an error")

    def close(
        self,
        statement: Statement,
        *,
        returned_rows: int | None = None,
        error: BaseException | None = None,
    ) -> None:
        """The results were read to the end (``returned_rows`` of them) or given up, or reading them raised ``error``.
        May be called again."""
        if statement.closed:
            return
        statement.closed = True
        statement.returned_rows = returned_rows
        audience = statement.audience
        if audience is None:
            return
        if error is not None and statement.exception is None:
            self._describe_failure(statement, error)
            for listener in audience.fetch_failed:
                try:
                    listener(statement)
                except Exception:
                    _report(listener, "fetch_failed")
        for listener in audience.close:
            try:
                listener(statement)
            except Exception:
                _report(listener, "close")

    def wants_actual_plan(self, statement: Statement) -> bool:
        """Whether the cursor shall bracket ``statement`` with SET STATISTICS XML ON/OFF and keep its plan."""
        for listener in statement.audience.wants_actual_plan if statement.audience is not None else ():
            try:
                if listener(statement):
                    return True
            except Exception:
                _report(listener, "wants_actual_plan")
        return False

    def outgoing(self, statement: Statement, sql: str, run: Run) -> str:
        """The SQL to send for ``statement``; may first put the trace on the connection by ``run``."""
        if self.propagator is None:
            return sql
        try:
            return self.propagator.outgoing(statement, sql, run)
        except Exception:
            report_failure(self.propagator, "outgoing")
            return sql

    def clear_propagation(self, run: Run) -> None:
        """Call before the connection is kept for, or handed to, something else."""
        if self.propagator is not None:
            try:
                self.propagator.clear(run)
            except Exception:
                report_failure(self.propagator, "clear")

    def retrying(self, retry: Retry) -> None:
        """A connect or a transaction failed with a passing error and will be tried again."""
        self._tell_everyone("retrying", retry, self.connection)

    def plan_captured(self, statement: Statement) -> None:
        """``statement.plan`` was taken."""
        self._tell_everyone("plan_captured", statement)

    def connection_opened(self, duration_ns: int) -> None:
        """The physical connection was made and is in use."""
        self._tell_everyone("connection_opened", self.connection, duration_ns)

    def connection_acquired(self, wait_ns: int = 0) -> None:
        """The connection was idle and is in use again."""
        self._tell_everyone("connection_acquired", self.connection, wait_ns)

    def connection_released(self) -> None:
        """The connection is idle."""
        self._tell_everyone("connection_released", self.connection)

    def connection_closed(self) -> None:
        """The physical connection is gone."""
        self._tell_everyone("connection_closed", self.connection)

    def _tell_everyone(self, event: str, *facts: object) -> None:
        for observer in self.observers:
            try:
                getattr(observer, event)(*facts)
            except Exception:
                report_failure(observer, event)


def recorder_for(config: InstrumentationConfig, connection: ConnectionInfo) -> Recorder | None:
    """The recorder of one physical connection; None when nobody wants to know."""
    if not config.enabled:
        return Recorder(connection) if _observers else None
    if config.otlp:
        otlp.configure_from_environment()
    observers: list[Observer] = []
    # Plans come first: what they add has to be there when the span ends. The span comes before the log, which
    # tells its id.
    if config.plans.when != "never":
        from mssql.instrumentation.plan_capture import PlanObserver

        observers.append(PlanObserver(config, connection))
    if config.tracing is not None:
        observers.append(TracingObserver(config, connection))
    if config.metrics is not None:
        observers.append(MetricsObserver(config, connection))
    if config.query_log is not None:
        observers.append(QueryLogObserver(config, connection))
    if config.deadlock_graphs:
        from mssql.instrumentation.deadlock_capture import DeadlockObserver

        observers.append(DeadlockObserver(config, connection))
    propagator = propagator_for(config.propagation) if config.propagation is not None else None
    return Recorder(connection, observers, config=config, propagator=propagator)
