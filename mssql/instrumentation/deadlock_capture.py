"""From error 1205 to its deadlock graph: found in the background, hung on the trace, kept for the panel."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.dispatch import Signal
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Tracer
from opentelemetry.util.types import AttributeValue

from mssql import errors
from mssql.errors import ErrorClass
from mssql.instrumentation import deadlock, deadlock_source, semconv
from mssql.instrumentation.attributes import ConnectionAttributes, encodable
from mssql.instrumentation.conf import InstrumentationConfig
from mssql.instrumentation.deadlock import Deadlock, Process
from mssql.instrumentation.deadlock_source import DeadlocksUnavailable, Server
from mssql.instrumentation.observer import Observer
from mssql.instrumentation.own_connection import own_connection
from mssql.instrumentation.statement import ConnectionInfo, Statement

logger = logging.getLogger("mssql.deadlocks")

#: A graph was found. Arguments: report (DeadlockReport). The sender is the alias.
deadlock_captured = Signal()

SPAN_NAME = "deadlock"
MSSQL_DEADLOCK_VICTIM_SESSION = "mssql.deadlock.victim.session_id"
MSSQL_DEADLOCK_VICTIM_STATEMENT = "mssql.deadlock.victim.statement"
MSSQL_DEADLOCK_OTHER_SESSIONS = "mssql.deadlock.other.session_ids"
MSSQL_DEADLOCK_OTHER_STATEMENTS = "mssql.deadlock.other.statements"
MSSQL_DEADLOCK_OBJECTS = "mssql.deadlock.objects"
MSSQL_DEADLOCK_DESCRIPTION = "mssql.deadlock.description"
MSSQL_DEADLOCK_GRAPH = "mssql.deadlock.graph"

# The event reaches its target some seconds after the error reached us; how many is the server's business.
# https://learn.microsoft.com/sql/t-sql/statements/create-event-session-transact-sql (MAX_DISPATCH_LATENCY)
FIRST_WAIT = 0.5
LONGEST_WAIT = 8.0
PATIENCE = 60.0

# Around the moment of our error on the server's clock. The report is written when the victim is chosen, the error sent
# when it is rolled back: that takes a moment, or long. A report from longer ago may be that of an earlier session with
# the same number, so it is taken only after the right one had time to come.
CLOSE = timedelta(seconds=2)
EARLIEST, LATEST = timedelta(seconds=30), timedelta(seconds=5)

MAX_PENDING = 100
MAX_KEPT = 50
MAX_GRAPH_CHARACTERS = 16_000


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """An error 1205 that this process received: what is needed to know its graph again."""

    alias: str
    session_id: int | None
    host_process_id: int
    seen: datetime
    application_name: str = ""
    summary: str = ""
    span_context: SpanContext | None = None
    attributes: tuple[tuple[str, AttributeValue], ...] = ()
    raw_text: bool = False
    """Whether the settings let statements be told with their literals."""

    def distance(self, graph: Deadlock, clock_ahead: timedelta) -> timedelta | None:
        """How far in time the graph is from us; None when its victim is not our session, of our process, about then."""
        if not any(self._is_mine(process) for process in graph.victim_processes):
            return None
        moment = self.seen + clock_ahead
        occurred = graph.occurred or moment
        earliest = min(EARLIEST, CLOSE + (datetime.now(UTC) - self.seen) / 2)
        return abs(occurred - moment) if moment - earliest <= occurred <= moment + LATEST else None

    def _is_mine(self, process: Process) -> bool:
        if self.session_id is not None and process.session_id != self.session_id:
            return False
        if self.application_name and process.client_app and process.client_app != self.application_name[:128]:
            return False
        # Some drivers send no process id, and then the graph says 0.
        return not process.host_process_id or process.host_process_id == self.host_process_id


@dataclass(frozen=True, slots=True)
class DeadlockReport:
    """A deadlock of ours with the place where it struck."""

    sighting: Sighting
    deadlock: Deadlock

    @property
    def others(self) -> tuple[Process, ...]:
        """The processes that went on."""
        return tuple(p for p in self.deadlock.processes if not self.deadlock.is_victim(p))


class DeadlockObserver(Observer):
    """Notices error 1205 and leaves the rest to the watcher's thread."""

    def __init__(
        self,
        config: InstrumentationConfig,
        connection: ConnectionInfo,
        watcher: DeadlockWatcher | None = None,
    ) -> None:
        self._raw_text = config.query_text == "raw"
        self._connection = ConnectionAttributes(connection)
        self._watcher = watcher

    def end(self, statement: Statement) -> None:
        self._look(statement, statement.ended_ns)

    def fetch_failed(self, statement: Statement) -> None:
        self._look(statement, time.time_ns())

    def _look(self, statement: Statement, seen_ns: int) -> None:
        if statement.error is None or statement.error.error_class is not ErrorClass.DEADLOCK:
            return
        span = statement.span
        (self._watcher or _watcher).submit(
            Sighting(
                alias=statement.connection.alias,
                session_id=statement.connection.session_id,
                host_process_id=os.getpid(),
                seen=datetime.fromtimestamp(seen_ns / 1e9, UTC),
                application_name=statement.connection.application_name or "",
                summary=statement.summary,
                span_context=span.get_span_context() if span is not None else None,
                attributes=tuple(self._connection.for_events.items()),
                raw_text=self._raw_text,
            )
        )


class DeadlockWatcher:
    """One thread in a process that looks for the graphs of sighted deadlocks until it has them or time is up."""

    def __init__(self, tracer: Tracer | None = None) -> None:
        self._tracer = tracer
        self._condition = threading.Condition()
        self._pending: list[tuple[Sighting, float]] = []
        self._thread: threading.Thread | None = None
        self._kept: deque[DeadlockReport] = deque(maxlen=MAX_KEPT)
        self._reported: set[tuple[str, str, int | None]] = set()

    def submit(self, sighting: Sighting) -> None:
        """Returns at once; under a storm of deadlocks the surplus is dropped."""
        with self._condition:
            if len(self._pending) >= MAX_PENDING:
                return
            self._pending.append((sighting, time.monotonic() + PATIENCE))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="mssql-deadlocks", daemon=True)
                self._thread.start()
            self._condition.notify()

    def recent(self, alias: str | None = None) -> tuple[DeadlockReport, ...]:
        """The last reports, oldest first."""
        return tuple(report for report in self._kept if alias in (None, report.sighting.alias))

    def wait(self, timeout: float) -> bool:
        """Until nothing is being looked for; False when time ran out first."""
        with self._condition:
            return self._condition.wait_for(lambda: not self._pending, timeout)

    def _run(self) -> None:
        pause = FIRST_WAIT
        while True:
            time.sleep(pause)
            with self._condition:
                pending = list(self._pending)
                if not pending:
                    self._thread = None
                    return
            done = self._look([sighting for sighting, _ in pending])
            now = time.monotonic()
            with self._condition:
                before = len(self._pending)
                self._pending = [
                    (sighting, until)
                    for sighting, until in self._pending
                    if sighting not in done and until > now
                ]
                pause = FIRST_WAIT if len(self._pending) < before else min(pause * 2, LONGEST_WAIT)
                self._condition.notify_all()

    def _look(self, sightings: Sequence[Sighting]) -> set[Sighting]:
        """Search each alias once; gives the sightings that need no further search."""
        done: set[Sighting] = set()
        for alias in dict.fromkeys(sighting.alias for sighting in sightings):
            wanted = {sighting for sighting in sightings if sighting.alias == alias}
            try:
                done |= self._search(alias, wanted)
            except DeadlocksUnavailable as exc:
                done |= wanted
                self._report_once(alias, exc, str(exc))
            except Exception as exc:
                self._report_once(alias, exc, f"{type(exc).__name__}: {exc}")
        return done

    def _search(self, alias: str, wanted: set[Sighting]) -> set[Sighting]:
        found: set[Sighting] = set()
        failures: list[Exception] = []
        with own_connection(alias) as run:
            server = Server.ask(run)
            since = min(sighting.seen for sighting in wanted) + server.clock_ahead - EARLIEST
            for source in server.sources:
                try:
                    graphs = deadlock_source.read(run, server, source, since)
                except Exception as exc:  # no matter while another source answers
                    failures.append(exc)
                    continue
                found |= self._match(alias, graphs, wanted - found, server.clock_ahead)
                if found == wanted:
                    break
            if len(failures) == len(server.sources):
                raise failures[0]
        return found

    def _match(
        self, alias: str, graphs: Iterable[Deadlock], wanted: set[Sighting], clock_ahead: timedelta
    ) -> set[Sighting]:
        """Report each graph of ours that is new; gives the sightings that have theirs."""
        found: set[Sighting] = set()
        for graph in graphs:
            if self._is_known(alias, graph):
                continue
            distances = {
                sighting: distance
                for sighting in wanted - found
                if (distance := sighting.distance(graph, clock_ahead)) is not None
            }
            if distances:
                # A session that was the victim twice has two graphs: each goes to the nearer error.
                sighting = min(distances, key=distances.__getitem__)
                found.add(sighting)
                self._found(DeadlockReport(sighting, graph))
        return found

    def _is_known(self, alias: str, graph: Deadlock) -> bool:
        return any(report.deadlock == graph for report in self.recent(alias))

    def _report_once(self, alias: str, exc: Exception, text: str) -> None:
        # Not by its text, in which Azure SQL writes another tracing id each time.
        error = errors.describe(exc)
        kind = alias, type(exc).__name__, error.number if error is not None else None
        if kind not in self._reported:
            self._reported.add(kind)
            logger.warning("No deadlock graphs for %r. %s (This is logged once.)", alias, text)

    def _found(self, report: DeadlockReport) -> None:
        self._kept.append(report)
        told = report.deadlock if report.sighting.raw_text else deadlock.redact(report.deadlock)
        attributes = _attributes(told)
        context = report.sighting.span_context
        facts: dict[str, object] = {**attributes}
        if context is not None and context.is_valid:
            facts["trace_id"] = trace.format_trace_id(context.trace_id)
            facts["span_id"] = trace.format_span_id(context.span_id)
        logger.warning(
            "Deadlock on %s: %s", report.sighting.alias, " ".join(told.sentences()), extra={"mssql": facts}
        )
        if context is not None and context.is_valid and context.trace_flags.sampled:
            self._trace(report, context, attributes)
        deadlock_captured.send_robust(report.sighting.alias, report=report)

    def _trace(
        self, report: DeadlockReport, context: SpanContext, attributes: dict[str, AttributeValue]
    ) -> None:
        """A span below the statement that was the victim: it has ended, and can carry nothing more itself."""
        tracer = self._tracer or trace.get_tracer(
            semconv.SCOPE, semconv.VERSION, schema_url=semconv.SCHEMA_URL
        )
        waited = max((process.wait_ms or 0 for process in report.deadlock.processes), default=0)
        end = int(report.sighting.seen.timestamp() * 1e9)
        tracer.start_span(
            SPAN_NAME,
            context=trace.set_span_in_context(NonRecordingSpan(context)),
            kind=SpanKind.INTERNAL,
            attributes={**dict(report.sighting.attributes), **attributes},
            start_time=end - waited * 1_000_000,
        ).end(end)


def _attributes(told: Deadlock) -> dict[str, AttributeValue]:
    """The graph, as far as it may be told, for a span and a log record."""
    others = [process for process in told.processes if not told.is_victim(process)]
    attributes: dict[str, AttributeValue] = {
        MSSQL_DEADLOCK_OTHER_SESSIONS: _texts(str(process.session_id) for process in others),
        MSSQL_DEADLOCK_OTHER_STATEMENTS: _texts(process.statement for process in others if process.statement),
        MSSQL_DEADLOCK_OBJECTS: _texts(told.objects),
        MSSQL_DEADLOCK_DESCRIPTION: encodable("\n".join(told.sentences())),
    }
    for victim in told.victim_processes[:1]:
        if victim.session_id is not None:
            attributes[MSSQL_DEADLOCK_VICTIM_SESSION] = victim.session_id
        attributes[MSSQL_DEADLOCK_VICTIM_STATEMENT] = encodable(victim.statement)
    graph = json.dumps(told.to_dict(), separators=(",", ":"))
    if len(graph) <= MAX_GRAPH_CHARACTERS:  # half a document is none
        attributes[MSSQL_DEADLOCK_GRAPH] = graph
    return attributes


def _texts(items: Iterable[str]) -> list[str]:
    return [encodable(item) for item in dict.fromkeys(items)]


_watcher = DeadlockWatcher()


def recent_deadlocks(alias: str | None = None) -> tuple[DeadlockReport, ...]:
    """The last deadlocks of this process whose graphs were found."""
    return _watcher.recent(alias)


def find_report(alias: str, session_id: int | None, seen: datetime) -> DeadlockReport | None:
    """The report of one statement's deadlock, if its graph has been found by now."""
    for report in reversed(_watcher.recent(alias)):
        if report.sighting.session_id == session_id and abs(report.sighting.seen - seen) < timedelta(
            seconds=1
        ):
            return report
    return None


def _forget_thread() -> None:
    """A forked child has the parent's list, but no thread that works on it."""
    global _watcher
    _watcher = DeadlockWatcher()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_thread)
