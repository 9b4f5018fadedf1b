"""Recorder: begins and ends Statements and tells every observer; no observer can break a query."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from mssql import errors
from mssql.instrumentation import otlp
from mssql.instrumentation.conf import InstrumentationConfig
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
        statement.started_ns = time.time_ns()
        statement.clock_ns = time.perf_counter_ns()
        observers = _observers
        if self._configured:
            if self._is_observed(statement):
                observers = self._configured + observers
            else:
                statement.telemetry = False
        statement.observers = observers
        for observer in observers:
            try:
                observer.begin(statement)
            except Exception:
                report_failure(observer, "begin")
        return statement

    def _is_observed(self, statement: Statement) -> bool:
        if is_suppressed():
            return False
        if self._filter is None:
            return True
        try:
            return bool(self._filter(statement))
        except Exception:
            report_failure(self._filter, "filter")
            return True

    def end(
        self, statement: Statement, *, rowcount: int | None = None, error: BaseException | None = None
    ) -> None:
        """The driver's call returned, or raised ``error``."""
        if statement.duration_ns is not None:
            return
        statement.duration_ns = time.perf_counter_ns() - statement.clock_ns
        statement.rowcount = rowcount
        if error is not None:
            self._describe_failure(statement, error)
        for observer in statement.observers:
            try:
                observer.end(statement)
            except Exception:
                report_failure(observer, "end")

    def _describe_failure(self, statement: Statement, exception: BaseException) -> None:
        statement.exception = exception
        try:
            statement.error = errors.describe(exception)
            attempt = current_attempt.get()
            if attempt is not None and statement.error is not None:
                statement.retry_delay_s = attempt.retries(statement.error)
        except Exception:
            report_failure(self, "describing an error")

    def close(self, statement: Statement, *, returned_rows: int | None = None) -> None:
        """The results were read to the end (``returned_rows`` of them) or given up. May be called again."""
        if statement.closed:
            return
        statement.closed = True
        statement.returned_rows = returned_rows
        for observer in statement.observers:
            try:
                observer.close(statement)
            except Exception:
                report_failure(observer, "close")

    def wants_actual_plan(self, statement: Statement) -> bool:
        """Whether the cursor shall bracket ``statement`` with SET STATISTICS XML ON/OFF and keep its plan."""
        for observer in statement.observers:
            try:
                if observer.wants_actual_plan(statement):
                    return True
            except Exception:
                report_failure(observer, "wants_actual_plan")
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
        self._tell("retrying", retry, self.connection)

    def plan_captured(self, statement: Statement) -> None:
        """``statement.plan`` was taken."""
        self._tell("plan_captured", statement)

    def connection_opened(self, duration_ns: int) -> None:
        """The physical connection was made and is in use."""
        self._tell("connection_opened", self.connection, duration_ns)

    def connection_acquired(self, wait_ns: int = 0) -> None:
        """The connection was idle and is in use again."""
        self._tell("connection_acquired", self.connection, wait_ns)

    def connection_released(self) -> None:
        """The connection is idle."""
        self._tell("connection_released", self.connection)

    def connection_closed(self) -> None:
        """The physical connection is gone."""
        self._tell("connection_closed", self.connection)

    def _tell(self, event: str, *facts: object) -> None:
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
