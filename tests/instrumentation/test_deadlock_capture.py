"""From error 1205 to its graph: found off the request's thread, matched, redacted, told once."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mssql import errors
from mssql.instrumentation import deadlock_capture, deadlock_source
from mssql.instrumentation.conf import InstrumentationConfig
from mssql.instrumentation.deadlock_capture import (
    DeadlockObserver,
    DeadlockReport,
    DeadlockWatcher,
    Sighting,
    deadlock_captured,
    find_report,
)
from mssql.instrumentation.deadlock_source import DeadlocksUnavailable, Server
from mssql.instrumentation.recorder import Recorder
from mssql.instrumentation.statement import ConnectionInfo, StatementKind
from mssql.odbc import pyodbc

VICTIM = 61
RUNS = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]


def graph(spid: int = VICTIM, hostpid: int | None = None) -> str:
    pid = os.getpid() if hostpid is None else hostpid
    return (
        f'<deadlock><victim-list><victimProcess id="v"/></victim-list><process-list>'
        f'<process id="v" spid="{spid}" hostpid="{pid}" waittime="1200" loginname="EXAMPLE\\ann" hostname="host1">'
        "<inputbuf>UPDATE account SET owner = 'secret-victim'</inputbuf></process>"
        '<process id="o" spid="77" hostpid="1" loginname="EXAMPLE\\bob">'
        "<inputbuf>DELETE FROM account WHERE owner = 'secret-other'</inputbuf></process></process-list>"
        '<resource-list><keylock objectname="shop.dbo.account" id="k" mode="X">'
        '<owner-list><owner id="o" mode="X"/></owner-list><waiter-list><waiter id="v" mode="U"/></waiter-list>'
        "</keylock></resource-list></deadlock>"
    )


def event(xml: str, occurred: datetime) -> str:
    return (
        f'<event name="xml_deadlock_report" timestamp="{occurred:%Y-%m-%dT%H:%M:%S.%f}Z">'
        f'<data name="xml_report"><value>{xml}</value></data></event>'
    )


class FakeServer:
    """Answers the questions of deadlock_source from lists of events; `asked` counts them by kind."""

    def __init__(self) -> None:
        self.ring_buffer: list[str] = []
        self.event_file: list[str] = []
        self.edition, self.version, self.clock_ahead = 3, "16.0.4135.4", timedelta()
        self.failures: dict[str, Exception] = {}
        self.asked: list[str] = []
        self.threads: set[str] = set()
        self.may_answer = threading.Event()
        self.may_answer.set()

    def run(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        self.threads.add(threading.current_thread().name)
        assert self.may_answer.wait(60)
        for words, answer in (
            ("SERVERPROPERTY", self._facts),
            ("dm_xe_database_session_targets", self._ring_buffer),
            ("dm_xe_database_sessions", list),
            ("dm_xe_session_targets", self._ring_buffer),
            ("fn_xe_file_target_read_file", lambda: [(xml,) for xml in self.event_file]),
        ):
            if words in sql:
                self.asked.append(words)
                if words in self.failures:
                    raise self.failures[words]
                return answer()
        raise AssertionError(sql)

    def wait_until_asked(self, words: str, times: int) -> None:
        deadline = time.monotonic() + 60
        while self.asked.count(words) < times:
            assert time.monotonic() < deadline, self.asked
            time.sleep(0.01)

    def _facts(self) -> list[tuple[Any, ...]]:
        now = datetime.now(UTC).replace(tzinfo=None) + self.clock_ahead
        return [(self.edition, self.version, "web]app", "web_user", now)]

    def _ring_buffer(self) -> list[tuple[Any, ...]]:
        return (
            [(f"<RingBufferTarget>{''.join(self.ring_buffer)}</RingBufferTarget>",)]
            if self.ring_buffer
            else []
        )


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    fake = FakeServer()

    @contextlib.contextmanager
    def own_connection(alias: str) -> Iterator[RUNS]:
        yield fake.run

    monkeypatch.setattr(deadlock_capture, "own_connection", own_connection)
    monkeypatch.setattr(deadlock_capture, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(deadlock_capture, "LONGEST_WAIT", 0.02)
    monkeypatch.setattr(deadlock_capture, "PATIENCE", 60.0)
    return fake


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def watcher(
    monkeypatch: pytest.MonkeyPatch, server: FakeServer, spans: InMemorySpanExporter
) -> Iterator[DeadlockWatcher]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    watcher = DeadlockWatcher(provider.get_tracer("tests"))
    monkeypatch.setattr(deadlock_capture, "_watcher", watcher)
    yield watcher
    thread = watcher._thread
    server.may_answer.set()
    watcher._pending.clear()
    if thread is not None:
        thread.join(60)


def fail_with(number: int, *, config: InstrumentationConfig | None = None, span: Any = None) -> datetime:
    """One statement of session 61 fails; gives the moment."""
    info = ConnectionInfo("default", "shop", "db.example.com", session_id=VICTIM, application_name="shop")
    config = config or InstrumentationConfig(enabled=True, deadlock_graphs=True)
    recorder = Recorder(info, [DeadlockObserver(config, info)], config=config)
    statement = recorder.begin(StatementKind.QUERY, "UPDATE account SET owner = ?")
    statement.span = span
    recorder.end(statement, error=pyodbc.Error("40001", f"[40001] text ({number}) (SQLExecDirectW)"))
    recorder.close(statement)
    return datetime.fromtimestamp(statement.ended_ns / 1e9, UTC)


def told(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "mssql.deadlocks"]


@pytest.fixture
def reports() -> Iterator[list[DeadlockReport]]:
    seen: list[DeadlockReport] = []

    def receive(sender: str, report: DeadlockReport, **_: Any) -> None:
        seen.append(report)

    deadlock_captured.connect(receive)
    yield seen
    deadlock_captured.disconnect(receive)


def test_the_graph_of_our_own_deadlock_is_found_in_another_thread(
    server: FakeServer, watcher: DeadlockWatcher, reports: list[DeadlockReport]
) -> None:
    now = datetime.now(UTC)
    server.ring_buffer = [
        event(graph(spid=99), now),
        event(graph(hostpid=1), now),
        event(graph(), now - timedelta(hours=1)),
        event(graph(), now),
    ]
    seen = fail_with(1205)
    assert watcher.wait(60)
    (report,) = reports
    assert report.deadlock.victim_processes[0].session_id == VICTIM
    assert report.deadlock.occurred == now
    assert [process.session_id for process in report.others] == [77]
    assert server.threads == {"mssql-deadlocks"}
    assert watcher.recent("default") == (report,)
    assert watcher.recent("other") == ()
    assert find_report("default", VICTIM, seen) is report
    assert find_report("default", VICTIM, seen + timedelta(minutes=1)) is None


def test_a_report_that_comes_late_is_waited_for(
    server: FakeServer, watcher: DeadlockWatcher, reports: list[DeadlockReport]
) -> None:
    seen = fail_with(1205)
    server.wait_until_asked("fn_xe_file_target_read_file", 2)
    assert reports == []
    server.event_file = [event(graph(), seen)]
    assert watcher.wait(60)
    assert len(reports) == 1


def test_what_never_comes_is_given_up(
    server: FakeServer,
    watcher: DeadlockWatcher,
    reports: list[DeadlockReport],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deadlock_capture, "PATIENCE", 0.2)
    fail_with(1205)
    assert watcher.wait(60)
    assert reports == []
    assert server.asked


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_server_whose_clock_is_wrong_is_no_hindrance(
    server: FakeServer, watcher: DeadlockWatcher, reports: list[DeadlockReport], hours: int
) -> None:
    server.clock_ahead = timedelta(hours=hours)
    server.ring_buffer = [
        event(graph(), datetime.now(UTC)),
        event(graph(), datetime.now(UTC) + server.clock_ahead),
    ]
    fail_with(1205)
    assert watcher.wait(60)
    (report,) = reports
    assert report.deadlock.occurred is not None
    assert abs(report.deadlock.occurred - datetime.now(UTC) - server.clock_ahead) < timedelta(minutes=2)


def test_a_driver_that_sends_no_process_id_is_matched_by_session_and_time(
    server: FakeServer, watcher: DeadlockWatcher, reports: list[DeadlockReport]
) -> None:
    server.ring_buffer = [event(graph(hostpid=0), datetime.now(UTC))]
    fail_with(1205)
    assert watcher.wait(60)
    assert len(reports) == 1


def test_a_session_that_was_the_victim_twice_gets_both_graphs(
    server: FakeServer, watcher: DeadlockWatcher, reports: list[DeadlockReport]
) -> None:
    second = datetime.now(UTC)
    first = second - timedelta(seconds=4)  # within what is searched around the other, too
    server.ring_buffer = [event(graph(), first), event(graph(), second)]
    for seen in (first, second):
        watcher.submit(Sighting("default", VICTIM, os.getpid(), seen))
    assert watcher.wait(60)
    assert {report.sighting.seen: report.deadlock.occurred for report in reports} == {
        first: first,
        second: second,
    }


def test_an_older_deadlock_of_the_same_session_number_is_not_mistaken_for_ours(
    server: FakeServer, watcher: DeadlockWatcher, reports: list[DeadlockReport]
) -> None:
    older = event(graph(), datetime.now(UTC) - timedelta(seconds=28))
    other = event(graph().replace("hostpid=", 'clientapp="another" hostpid='), datetime.now(UTC))
    server.ring_buffer = [older, other]
    seen = fail_with(1205)
    server.wait_until_asked("fn_xe_file_target_read_file", 3)
    assert reports == []
    server.ring_buffer.append(event(graph(), seen))
    assert watcher.wait(60)
    assert [report.deadlock.occurred for report in reports] == [seen]


def test_a_long_rollback_is_allowed_for(
    server: FakeServer,
    watcher: DeadlockWatcher,
    reports: list[DeadlockReport],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deadlock_capture, "CLOSE", timedelta(seconds=19.8))
    chosen = datetime.now(UTC) - timedelta(seconds=20)
    server.ring_buffer = [event(graph(), chosen)]
    fail_with(1205)
    assert watcher.wait(60)
    assert [report.deadlock.occurred for report in reports] == [chosen]


def test_other_errors_start_nothing(server: FakeServer, watcher: DeadlockWatcher) -> None:
    fail_with(2627)
    fail_with(1222)
    assert watcher._pending == []
    assert watcher._thread is None


def test_the_request_does_not_wait(server: FakeServer, watcher: DeadlockWatcher) -> None:
    server.may_answer.clear()
    for _ in range(500):
        fail_with(1205)
    assert len(watcher._pending) <= deadlock_capture.MAX_PENDING
    server.may_answer.set()


def test_the_graph_hangs_on_the_trace_without_literals(
    server: FakeServer,
    watcher: DeadlockWatcher,
    spans: InMemorySpanExporter,
    caplog: pytest.LogCaptureFixture,
) -> None:
    parent = TracerProvider().get_tracer("tests").start_span("UPDATE account")
    server.ring_buffer = [event(graph(), datetime.now(UTC))]
    with caplog.at_level(logging.WARNING, "mssql.deadlocks"):
        fail_with(1205, span=parent)
        assert watcher.wait(60)
    (span,) = spans.get_finished_spans()
    assert span.name == "deadlock"
    assert span.parent is not None
    assert span.parent.span_id == parent.get_span_context().span_id
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.end_time - span.start_time == 1_200_000_000
    attributes = dict(span.attributes or {})
    assert attributes["mssql.deadlock.victim.session_id"] == VICTIM
    assert attributes["mssql.deadlock.victim.statement"] == "UPDATE account SET owner = ?"
    assert attributes["mssql.deadlock.other.statements"] == ("DELETE FROM account WHERE owner = ?",)
    assert attributes["mssql.deadlock.objects"] == ("shop.dbo.account",)
    assert attributes["mssql.alias"] == "default"
    assert json.loads(str(attributes["mssql.deadlock.graph"]))["victims"] == ["v"]
    (record,) = told(caplog)
    assert "session 61 was chosen as the victim" in record.getMessage()
    facts = record.mssql  # type: ignore[attr-defined]
    assert facts["trace_id"] == f"{parent.get_span_context().trace_id:032x}"
    for secret in ("secret", "ann", "bob", "host1"):
        assert secret not in json.dumps(facts)
        assert secret not in json.dumps(attributes)


def test_raw_text_is_told_where_the_settings_say_so(
    server: FakeServer, watcher: DeadlockWatcher, caplog: pytest.LogCaptureFixture
) -> None:
    server.ring_buffer = [event(graph(), datetime.now(UTC))]
    fail_with(1205, config=InstrumentationConfig(enabled=True, deadlock_graphs=True, query_text="raw"))
    assert watcher.wait(60)
    assert "secret-victim" in str(told(caplog)[0].mssql)  # type: ignore[attr-defined]


DENIED = pyodbc.ProgrammingError("42000", "[42000] permission was denied (300) (SQLExecDirectW)")


@pytest.mark.parametrize(
    ("edition", "version", "grant"),
    [
        (3, "15.0.2000.5", "GRANT VIEW SERVER STATE TO [web]]app]"),
        (3, "16.0.4135.4", "GRANT VIEW SERVER PERFORMANCE STATE TO [web]]app]"),
        (8, "16.0.4135.4", "GRANT VIEW SERVER PERFORMANCE STATE TO [web]]app]"),
        (5, "12.0.2000.8", "GRANT VIEW DATABASE PERFORMANCE STATE TO [web_user]"),
    ],
)
def test_a_missing_permission_is_reported_once_with_the_grant(
    server: FakeServer,
    watcher: DeadlockWatcher,
    caplog: pytest.LogCaptureFixture,
    edition: int,
    version: str,
    grant: str,
) -> None:
    server.edition, server.version = edition, version
    server.failures = dict.fromkeys(
        ("dm_xe_session_targets", "fn_xe_file_target_read_file", "dm_xe_database_session_targets"), DENIED
    )
    for _ in range(3):
        fail_with(1205)
        assert watcher.wait(60)
    (record,) = told(caplog)
    assert grant in record.getMessage()


def test_azure_without_a_session_says_how_to_make_one(
    server: FakeServer, watcher: DeadlockWatcher, caplog: pytest.LogCaptureFixture
) -> None:
    server.edition = 5
    fail_with(1205)
    assert watcher.wait(60)
    assert "mssql_deadlocks --create-session" in caplog.text


def test_a_server_that_cannot_be_reached_is_reported_once_and_asked_again(
    server: FakeServer,
    watcher: DeadlockWatcher,
    reports: list[DeadlockReport],
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.failures = {
        "SERVERPROPERTY": pyodbc.OperationalError("08001", "[08001] refused (0) (SQLDriverConnect)")
    }
    seen = fail_with(1205)
    server.wait_until_asked("SERVERPROPERTY", 3)
    server.failures = {}
    server.ring_buffer = [event(graph(), seen)]
    assert watcher.wait(60)
    assert len(reports) == 1
    assert sum("No deadlock graphs" in record.getMessage() for record in told(caplog)) == 1


@pytest.mark.parametrize("failure", [None, DENIED])
def test_the_event_file_serves_where_the_ring_buffer_does_not(
    server: FakeServer,
    watcher: DeadlockWatcher,
    reports: list[DeadlockReport],
    caplog: pytest.LogCaptureFixture,
    failure: Exception | None,
) -> None:
    server.ring_buffer = ["<event"]
    server.failures = {} if failure is None else {"dm_xe_session_targets": failure}
    seen = fail_with(1205)
    server.wait_until_asked("fn_xe_file_target_read_file", 2)
    server.event_file = [event(graph(), seen)]
    assert watcher.wait(60)
    assert len(reports) == 1
    assert not [record for record in told(caplog) if "No deadlock graphs" in record.getMessage()]


def test_the_thread_ends_when_nothing_is_left_and_starts_again(
    server: FakeServer, watcher: DeadlockWatcher
) -> None:
    for _ in range(2):
        server.ring_buffer.append(event(graph(), datetime.now(UTC)))
        fail_with(1205)
        assert watcher.wait(60)
        deadline = time.monotonic() + 60
        while watcher._thread is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert watcher._thread is None


def test_a_forked_child_watches_for_itself() -> None:
    before = deadlock_capture._watcher
    try:
        deadlock_capture._forget_thread()
        assert deadlock_capture._watcher is not before
    finally:
        deadlock_capture._watcher = before


# Reading


def test_each_deadlock_is_listed_once_though_both_targets_have_it(server: FakeServer) -> None:
    now = datetime.now(UTC)
    server.ring_buffer = [event(graph(), now), event(graph(), now - timedelta(days=9))]
    server.event_file = [event(graph(), now), event(graph(spid=5), now - timedelta(minutes=1))]
    found = deadlock_source.read_all(server.run, Server.ask(server.run), now - timedelta(hours=1))
    assert [each.victim_processes[0].session_id for each in found] == [5, VICTIM]


@pytest.mark.parametrize("broken", ["dm_xe_session_targets", "fn_xe_file_target_read_file"])
def test_one_target_that_fails_is_no_matter_while_the_other_answers(server: FakeServer, broken: str) -> None:
    now = datetime.now(UTC)
    server.ring_buffer = server.event_file = [event(graph(), now)]
    server.failures = {broken: pyodbc.ProgrammingError("42000", "[42000] no file (25718) (SQLExecDirectW)")}
    found = deadlock_source.read_all(server.run, Server.ask(server.run), now - timedelta(hours=1))
    assert len(found) == 1


def test_when_no_target_answers_the_first_reason_is_given(server: FakeServer) -> None:
    server.failures = {"dm_xe_session_targets": DENIED, "fn_xe_file_target_read_file": DENIED}
    with pytest.raises(DeadlocksUnavailable, match="300"):
        deadlock_source.read_all(server.run, Server.ask(server.run), datetime.now(UTC))


def test_a_broken_report_says_so(server: FakeServer) -> None:
    server.ring_buffer = ["<event"]
    with pytest.raises(DeadlocksUnavailable, match="cannot be read"):
        deadlock_source.read(server.run, Server.ask(server.run), "ring_buffer", datetime.now(UTC))


def test_permission_errors_are_known_by_number() -> None:
    assert errors.describe(DENIED).number == 300  # type: ignore[union-attr]
