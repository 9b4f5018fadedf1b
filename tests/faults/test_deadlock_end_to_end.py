"""Two sessions deadlock for real: one survives by retry, and the graph is found, told and listed."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mssql import retry
from mssql.instrumentation import deadlock_capture, tracing
from mssql.instrumentation.deadlock_capture import DeadlockReport, deadlock_captured
from mssql.management.commands.mssql_deadlocks import Command
from mssql.retry import retry_transaction
from tests.faults.conftest import ALIAS, QUICK, MakeAlias

UPDATE = "UPDATE dbo.account SET balance = balance + %s WHERE id = %s"


@pytest.fixture
def reports() -> Iterator[list[DeadlockReport]]:
    seen: list[DeadlockReport] = []

    def receive(sender: str, report: DeadlockReport, **_: Any) -> None:
        if sender == ALIAS:
            seen.append(report)

    deadlock_captured.connect(receive)
    yield seen
    deadlock_captured.disconnect(receive)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing.trace, "get_tracer", provider.get_tracer)
    monkeypatch.setattr(deadlock_capture.trace, "get_tracer", provider.get_tracer)
    return exporter


def deadlock(alias: str) -> dict[str, int]:
    """Two threads lock two rows in opposite order; gives the session of each."""
    barrier = threading.Barrier(2)
    survived = threading.Event()
    sessions: dict[str, int] = {}
    failures: list[BaseException] = []

    def move(name: str, first: int, second: int) -> None:
        tries: list[int] = []

        def func() -> None:
            tries.append(1)
            if len(tries) > 1:
                # Else it could take its first row again before the other one wakes up, and deadlock once more.
                survived.wait(120)
            with connections[alias].cursor() as cursor:
                cursor.execute(UPDATE, [1, first])
                if len(tries) == 1:
                    barrier.wait(120)
                cursor.execute(UPDATE, [1, second])

        try:
            with connections[alias].cursor() as cursor:
                cursor.execute("SELECT @@SPID")
                sessions[name] = cursor.fetchone()[0]
            retry_transaction(func, using=alias)
        except BaseException as exc:
            failures.append(exc)
        finally:
            survived.set()
            connections[alias].close()

    threads = [threading.Thread(target=move, args=args) for args in (("a", 1, 2), ("b", 2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    return sessions


def test_a_real_deadlock_is_survived_and_its_graph_hangs_on_the_trace(
    make_alias: MakeAlias,
    reports: list[DeadlockReport],
    spans: InMemorySpanExporter,
    caplog: pytest.LogCaptureFixture,
) -> None:
    counted: list[int | None] = []

    def count(sender: str, error: Any, **_: Any) -> None:
        counted.append(error.number)

    wrapper = make_alias(
        OPTIONS={
            "instrumentation": {"deadlock_graphs": True},
            "retry": {"transaction": QUICK},
            "app_name": "bank",
        }
    )
    with wrapper.cursor() as cursor:
        cursor.execute("DELETE FROM dbo.account")
        cursor.execute("INSERT INTO dbo.account (id, balance) VALUES (1, 10), (2, 20)")
    started = datetime.now(UTC)
    retry.retrying.connect(count)
    try:
        sessions = deadlock(ALIAS)
    finally:
        retry.retrying.disconnect(count)
    assert counted == [1205]
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT balance FROM dbo.account ORDER BY id")
        assert cursor.fetchall() == [(12,), (22,)]

    with caplog.at_level(logging.WARNING, "mssql.deadlocks"):
        assert deadlock_capture._watcher.wait(120)
    (report,) = reports
    graph = report.deadlock
    (victim,) = graph.victim_processes
    (other,) = report.others
    assert {victim.session_id, other.session_id} == set(sessions.values())
    assert victim.session_id == report.sighting.session_id
    assert graph.occurred is not None
    assert started - timedelta(minutes=1) < graph.occurred < datetime.now(UTC) + timedelta(minutes=1)
    assert victim.statement.startswith("UPDATE dbo.account SET balance")
    assert other.statement.startswith("UPDATE dbo.account SET balance")
    assert victim.client_app == "bank"
    assert any(name.endswith("dbo.account") for name in graph.objects)
    waiters = {lock.process_id for resource in graph.resources for lock in resource.waiters}
    owners = {lock.process_id for resource in graph.resources for lock in resource.owners}
    assert waiters == owners == {victim.id, other.id}

    finished = {span.context.span_id: span for span in spans.get_finished_spans() if span.context}
    (hung,) = [span for span in finished.values() if span.name == deadlock_capture.SPAN_NAME]
    assert hung.parent is not None
    parent = finished[hung.parent.span_id]
    attributes = parent.attributes or {}
    assert attributes["db.response.status_code"] == "1205"
    assert attributes["mssql.error.class"] == "deadlock"
    assert parent.status.is_unset  # it was retried
    assert str(victim.session_id) in str((hung.attributes or {})["mssql.deadlock.description"])

    listed = StringIO()
    call_command(Command(), database=ALIAS, since="10m", json=True, stdout=listed)
    assert graph.victims in [tuple(each["victims"]) for each in json.loads(listed.getvalue())]
