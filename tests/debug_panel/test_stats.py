"""What the panel makes of the collected statements."""

from __future__ import annotations

from mssql.debug_panel.collector import Collector
from mssql.debug_panel.stats import Record, summarise
from mssql.instrumentation.recorder import Recorder
from mssql.instrumentation.statement import ConnectionInfo, StatementKind


def summary(*statements: tuple[int, str]) -> list[Record]:
    """The records of statements that ran in these sessions of one alias, each inside of a transaction."""
    collector = Collector()
    for session, sql in statements:
        words = ("BEGIN", "COMMIT", "ROLLBACK", "SAVE")
        kind = StatementKind.TRANSACTION if sql.startswith(words) else StatementKind.QUERY
        recorder = Recorder(ConnectionInfo("default", "shop", session_id=session))
        statement = recorder.begin(kind, sql, (), in_transaction=not sql.startswith("BEGIN"))
        recorder.end(statement)
        collector.add(statement)
    records: list[Record] = summarise(
        collector.statements, retries=[], dropped=0, elapsed_ms=1.0, slow_ms=500.0
    )["statements"]
    return records


def test_transactions_of_threads_are_told_apart() -> None:
    """Each thread of a request has a session of its own on the same alias."""
    records = summary(
        (53, "BEGIN TRANSACTION"),
        (54, "BEGIN TRANSACTION"),
        (53, "UPDATE [a] SET [x] = 1"),
        (54, "UPDATE [b] SET [x] = 1"),
        (53, "COMMIT TRANSACTION"),
        (54, "UPDATE [a] SET [x] = 1"),
        (54, "ROLLBACK TRANSACTION"),
    )
    assert [record["transaction"] for record in records] == [1, 2, 1, 2, 1, 2, 2]
    assert [record["ends"] for record in records] == [False] * 4 + [True, False, True]


def test_savepoints_are_counted_until_they_are_rolled_back() -> None:
    """T-SQL releases none: rolling back to the first takes the second along."""
    records = summary(
        (53, "BEGIN TRANSACTION"),
        (53, "SAVE TRANSACTION [s1]"),
        (53, "SAVE TRANSACTION [s2]"),
        (53, "UPDATE [a] SET [x] = 1"),
        (53, "ROLLBACK TRANSACTION [s1]"),
        (53, "SAVE TRANSACTION [s3]"),
        (53, "COMMIT TRANSACTION"),
    )
    assert [record["savepoints"] for record in records] == [0, 1, 2, 2, 0, 1, 1]
    assert [record["ends"] for record in records] == [False] * 6 + [True]
