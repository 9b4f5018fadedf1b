"""What the panel notes of a statement, as the recorder tells it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from mssql.debug_panel.collector import CollectingObserver, Collector
from mssql.instrumentation.recorder import Recorder
from mssql.instrumentation.statement import ConnectionInfo, StatementKind
from mssql.odbc import pyodbc

LOCK_TIMEOUT = pyodbc.OperationalError(
    "HYT00",
    "[HYT00] [Microsoft][ODBC Driver 18 for SQL Server][SQL Server]Lock request time out period exceeded. (1222) "
    "(SQLFetch)",
)


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    collector.start()
    yield collector
    collector.stop()


def test_an_error_while_rows_are_read_belongs_to_its_statement(collector: Collector) -> None:
    recorder = Recorder(ConnectionInfo("default", "shop"), [CollectingObserver()])
    statement = recorder.begin(StatementKind.QUERY, "SELECT a FROM t", ())
    statement.started_ns -= 5_000_000_000
    recorder.end(statement, rowcount=-1)
    assert "error" not in collector.statements[0]
    failed = time.time()
    recorder.close(statement, returned_rows=3, error=LOCK_TIMEOUT)
    (record,) = collector.statements
    assert record["error"]["number"] == 1222
    assert record["error"]["message"] == "Lock request time out period exceeded."
    assert record["returned_rows"] == 3
    # A deadlock's graph is known by this moment.
    assert record["ended_at"] >= failed


def test_each_statement_has_its_own_error(collector: Collector) -> None:
    recorder = Recorder(ConnectionInfo("default", "shop"), [CollectingObserver()])
    for error in (LOCK_TIMEOUT, None):
        recorder.end(recorder.begin(StatementKind.QUERY, "SELECT a FROM t", ()), error=error)
    assert [record.get("error", {}).get("number") for record in collector.statements] == [1222, None]
