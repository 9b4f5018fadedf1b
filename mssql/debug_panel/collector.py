"""Gathers the statements of one request, through a context variable: in threads and under async views alike."""

from __future__ import annotations

import os
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

from debug_toolbar.utils import get_template_info

from mssql.errors import ErrorClass
from mssql.instrumentation import plan_capture
from mssql.instrumentation.conf import InstrumentationConfig
from mssql.instrumentation.deadlock_capture import DeadlockObserver
from mssql.instrumentation.observer import Observer, Retry
from mssql.instrumentation.statement import ConnectionInfo, Statement, StatementKind

MAX_STATEMENTS = 2_000

_current: ContextVar[Collector | None] = ContextVar("mssql_debug_panel_collector", default=None)


@dataclass(slots=True)
class Collector:
    """What one request did. Statements of copied contexts (sync_to_async, threads) arrive here too."""

    actual_plans: bool = False
    statements: list[dict[str, Any]] = field(default_factory=list)
    retries: list[dict[str, Any]] = field(default_factory=list)
    plans: dict[str, str] = field(default_factory=dict)
    """Showplan XML by statement id."""
    dropped: int = 0
    started_ns: int = field(default_factory=time.time_ns)
    _ids: count[int] = field(default_factory=lambda: count(1))
    _open: WeakKeyDictionary[Statement, dict[str, Any]] = field(default_factory=WeakKeyDictionary)

    def start(self) -> None:
        """Collect what runs from here on in this context."""
        _current.set(self)

    def stop(self) -> None:
        """Collect no more."""
        _current.set(None)

    def add(self, statement: Statement) -> None:
        """Note a statement that has ended; its rows and its plan may still come."""
        if len(self.statements) >= MAX_STATEMENTS:
            self.dropped += 1
            return
        record = _record(statement, str(next(self._ids)), self.started_ns)
        self.statements.append(record)
        self._open[statement] = record
        self.note_plan(statement)

    def note_rows(self, statement: Statement) -> None:
        """The results were read: now the rows are known."""
        record = self._open.get(statement)
        if record is not None and statement.returned_rows is not None:
            record["returned_rows"] = statement.returned_rows

    def note_error(self, statement: Statement) -> None:
        """Reading the results broke off."""
        record = self._open.get(statement)
        if record is not None:
            record["error"] = _error(statement)
            record["ended_at"] = time.time()

    def note_plan(self, statement: Statement) -> None:
        """A plan was taken."""
        record = self._open.get(statement)
        if record is not None and statement.plan is not None:
            record["plan_source"] = statement.plan.source
            self.plans[record["id"]] = statement.plan.xml

    def add_retry(self, retry: Retry, connection: ConnectionInfo) -> None:
        """Note that something failed and is tried again after a while."""
        self.retries.append(
            {
                "alias": connection.alias,
                "scope": retry.scope,
                "attempt": retry.attempt,
                "delay_ms": retry.delay_s * 1000,
                "number": retry.error.number,
                "class": retry.error.error_class.value.replace("_", " "),
            }
        )


class CollectingObserver(Observer):
    """Hands each statement to the collector of the context it runs in."""

    def end(self, statement: Statement) -> None:
        collector = _current.get()
        if collector is not None:
            collector.add(statement)
            if _is_deadlock_unseen(statement):
                DeadlockObserver(InstrumentationConfig(), statement.connection).end(statement)

    def fetch_failed(self, statement: Statement) -> None:
        collector = _current.get()
        if collector is not None:
            collector.note_error(statement)
            if _is_deadlock_unseen(statement):
                DeadlockObserver(InstrumentationConfig(), statement.connection).fetch_failed(statement)

    def close(self, statement: Statement) -> None:
        collector = _current.get()
        if collector is not None:
            collector.note_rows(statement)

    def plan_captured(self, statement: Statement) -> None:
        collector = _current.get()
        if collector is not None:
            collector.note_plan(statement)

    def retrying(self, retry: Retry, connection: ConnectionInfo) -> None:
        collector = _current.get()
        if collector is not None:
            collector.add_retry(retry, connection)

    def wants_actual_plan(self, statement: Statement) -> bool:
        collector = _current.get()
        return collector is not None and collector.actual_plans and plan_capture.can_be_bracketed(statement)


observer = CollectingObserver()


def _is_deadlock_unseen(statement: Statement) -> bool:
    """Whether it fell to a deadlock on an alias that doesn't look for the graphs by itself."""
    return _is_deadlock(statement) and not any(
        isinstance(other, DeadlockObserver) for other in statement.observers
    )


def _is_deadlock(statement: Statement) -> bool:
    return statement.error is not None and statement.error.error_class is ErrorClass.DEADLOCK


def _record(statement: Statement, identifier: str, origin_ns: int) -> dict[str, Any]:
    """The statement as JSON can hold it."""
    connection = statement.connection
    record: dict[str, Any] = {
        "id": identifier,
        "kind": statement.kind.value,
        "alias": connection.alias,
        "database": connection.database,
        "session_id": connection.session_id,
        "sql": statement.sql or statement.procedure or statement.kind.value.upper(),
        "summary": statement.summary,
        "text": statement.text.text or statement.sql,
        "parameters": [] if statement.is_batch else plan_capture.declared_parameters(statement),
        "batch_size": statement.batch_size,
        "start_ms": (statement.started_ns - origin_ns) / 1e6,
        "duration_ms": (statement.duration_ns or 0) / 1e6,
        "rowcount": statement.rowcount,
        "returned_rows": statement.returned_rows,
        "in_transaction": statement.in_transaction,
        "ended_at": statement.ended_ns / 1e9,
        "attempt": statement.attempt,
        "retried": statement.handled,
        "plan_source": None,
        "explainable": plan_capture.can_be_estimated(statement.kind, statement.sql, statement.is_batch),
    }
    if statement.exception is not None:
        record["error"] = _error(statement)
    if statement.kind is not StatementKind.CONNECT:
        caller = statement.caller
        record["caller"] = (
            {"file": _relative(caller.file), "line": caller.line, "function": caller.function}
            if caller
            else None
        )
        record["template"] = _template()
    return record


def _error(statement: Statement) -> dict[str, Any]:
    error = statement.error
    return {
        "number": error.number if error else None,
        "class": error.error_class.value.replace("_", " ") if error else "",
        "deadlock": _is_deadlock(statement),
        "message": error.message if error else str(statement.exception),
    }


def _relative(path: str) -> str:
    """The path from the project's folder, where it lies in there: short, and the same on every machine."""
    folder = os.path.join(os.getcwd(), "")
    return path.removeprefix(folder)


def _template() -> dict[str, Any] | None:
    """The line of the template that is being rendered: often the one to mend in an N+1."""
    info = get_template_info()
    if info is None:
        return None
    context = info["context"]
    line = next((item for item in context if item["highlight"]), None)
    if line is None:
        return None
    return {
        "name": _relative(str(info["name"])),
        "line": line["num"],
        "source": str(line["content"]).strip()[:200],
    }
