"""Transactions: nesting, savepoints, doom, isolation, locks, deadlocks, cancelling."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from sqlserver_standin.engine.link import Command, Link
from sqlserver_standin.events import EnvironmentChange
from tests.sqlserver_standin.engine_support import (
    answers,
    failure,
    new_database,
    second_session,
    wait_until_blocked,
)
from tests.sqlserver_standin.sql_support import Client


@pytest.fixture(scope="module")
def database() -> Iterator[Client]:
    with new_database() as client:
        client.events("CREATE TABLE account (id int PRIMARY KEY, balance int CHECK (balance >= 0))")
        yield client


@pytest.fixture
def client(database: Client) -> Iterator[Client]:
    database.events("DELETE FROM account; INSERT INTO account VALUES (1, 10), (2, 20)")
    yield database
    database.events(
        "IF @@TRANCOUNT > 0 ROLLBACK; SET XACT_ABORT OFF; SET LOCK_TIMEOUT -1; SET IMPLICIT_TRANSACTIONS OFF; "
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"
    )


@pytest.fixture
def other(client: Client) -> Iterator[Client]:
    other = second_session(client)
    # So that a test that fails does not wait for ever.
    other.events("SET LOCK_TIMEOUT 120000")
    yield other
    other.session.close()


@pytest.fixture
def watcher(client: Client) -> Iterator[Client]:
    watcher = second_session(client)
    yield watcher
    watcher.session.close()


BATCHES: list[tuple[str, list[Any]]] = [
    ("BEGIN TRAN; BEGIN TRAN; SELECT @@TRANCOUNT; COMMIT; SELECT @@TRANCOUNT; COMMIT; SELECT @@TRANCOUNT",
     [[(2,)], [(1,)], [(0,)]]),
    ("BEGIN TRAN; BEGIN TRAN; ROLLBACK; SELECT @@TRANCOUNT", [[(0,)]]),
    ("COMMIT", [3902]),
    ("ROLLBACK", [3903]),
    ("SAVE TRAN s", [628]),
    ("BEGIN TRAN; ROLLBACK TRAN nowhere; SELECT @@TRANCOUNT", [6401, [(1,)]]),
    ("BEGIN TRAN a; ROLLBACK TRAN a; SELECT @@TRANCOUNT", [[(0,)]]),
    ("BEGIN TRAN; UPDATE account SET balance = 0; SAVE TRAN s; DELETE FROM account; ROLLBACK TRAN s; "
     "SELECT SUM(balance), COUNT(*) FROM account; SELECT @@TRANCOUNT", [[(0, 2)], [(1,)]]),
    ("BEGIN TRAN; SAVE TRAN s; DELETE FROM account WHERE id = 1; SAVE TRAN s; DELETE FROM account; ROLLBACK TRAN s; "
     "SELECT COUNT(*) FROM account; ROLLBACK TRAN s; SELECT COUNT(*) FROM account", [[(1,)], [(1,)]]),
    # A failed statement undoes only itself.
    ("BEGIN TRAN; DELETE FROM account WHERE id = 1; UPDATE account SET balance = -1; COMMIT; "
     "SELECT id FROM account", [547, [(2,)]]),
    ("SELECT XACT_STATE(); BEGIN TRAN; SELECT XACT_STATE()", [[(0,)], [(1,)]]),
    # Conversion errors end the transaction; in TRY they doom it.
    ("BEGIN TRAN; DELETE FROM account; SELECT CAST('x' AS int)", [245]),
    ("BEGIN TRAN; BEGIN TRY SELECT CAST('x' AS int) END TRY "
     "BEGIN CATCH SELECT XACT_STATE(); DELETE FROM account END CATCH", [[(-1,)], 3930, 3998]),
    ("BEGIN TRAN; BEGIN TRY SELECT 1/0 END TRY BEGIN CATCH SELECT XACT_STATE() END CATCH; COMMIT", [[(1,)]]),
    ("SET XACT_ABORT ON; BEGIN TRAN; BEGIN TRY SELECT 1/0 END TRY "
     "BEGIN CATCH SELECT XACT_STATE(); ROLLBACK END CATCH; SELECT @@TRANCOUNT", [[(-1,)], [(0,)]]),
    ("SET IMPLICIT_TRANSACTIONS ON; SELECT COUNT(*) FROM account; SELECT @@TRANCOUNT", [[(2,)], [(1,)]]),
    ("BEGIN TRAN; CREATE TABLE made (a int); ROLLBACK; SELECT OBJECT_ID(N'made')", [[(None,)]]),
    ("BEGIN TRAN; CREATE DATABASE refused", [226]),
    ("SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRAN; SELECT COUNT(*) FROM account", [3952]),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "expected"), BATCHES, ids=[sql[:60] for sql, _ in BATCHES])
def test_a_transaction_goes_as_on_sql_server(client: Client, sql: str, expected: list[Any]) -> None:
    assert answers(client, sql) == expected


def test_a_conversion_error_has_rolled_back(client: Client) -> None:
    answers(client, "BEGIN TRAN; DELETE FROM account; SELECT CAST('x' AS int)")
    assert client.rows("SELECT @@TRANCOUNT, COUNT(*) FROM account") == [(0, 2)]


def test_the_driver_is_told_when_a_transaction_begins_and_ends(client: Client) -> None:
    def changes(sql: str) -> list[str]:
        return [event.kind for event in client.session.execute(sql) if isinstance(event, EnvironmentChange)]

    assert changes("BEGIN TRAN; BEGIN TRAN; COMMIT; COMMIT") == ["begin_transaction", "commit_transaction"]
    assert changes("BEGIN TRAN; ROLLBACK") == ["begin_transaction", "rollback_transaction"]


def test_transaction_manager_requests_are_the_same_transaction(client: Client) -> None:
    list(client.session.begin_transaction())
    client.events("DELETE FROM account")
    assert client.value("SELECT @@TRANCOUNT") == 1
    list(client.session.rollback_transaction())
    assert client.value("SELECT COUNT(*) FROM account") == 2


def test_readers_see_the_committed_version_and_do_not_wait(client: Client, other: Client) -> None:
    client.events("BEGIN TRAN; UPDATE account SET balance = 0")
    assert other.value("SELECT SUM(balance) FROM account") == 30


def test_a_writer_that_waits_too_long_gets_1222_and_keeps_its_transaction(
    client: Client, other: Client
) -> None:
    client.events("BEGIN TRAN; UPDATE account SET balance = 0 WHERE id = 1")
    update = "UPDATE account SET balance = 1 WHERE id = 1"
    assert answers(
        other, f"SET LOCK_TIMEOUT 50; BEGIN TRAN; {update}; SELECT @@TRANCOUNT, @@LOCK_TIMEOUT"
    ) == [1222, [(1, 50)]]
    error = failure(other, "UPDATE account SET balance = 1 WHERE id = 1")
    assert (error.text, error.severity, error.state) == ("Lock request time out period exceeded.", 16, 51)


def test_the_lock_timeout_outlives_a_rollback(client: Client, other: Client) -> None:
    client.events("BEGIN TRAN; UPDATE account SET balance = 0 WHERE id = 1")
    assert answers(other, "BEGIN TRAN; SET LOCK_TIMEOUT 50; ROLLBACK; DELETE FROM account WHERE id = 1") == [
        1222
    ]


def test_a_deadlock_has_one_victim_and_the_other_goes_on(
    client: Client, other: Client, watcher: Client
) -> None:
    for session, first in ((client, 1), (other, 2)):
        session.events(f"BEGIN TRAN; UPDATE account SET balance = balance + 1 WHERE id = {first}")
    with ThreadPoolExecutor(2) as pool:
        first_try = pool.submit(
            answers, client, "UPDATE account SET balance = 100 WHERE id = 2; SELECT @@TRANCOUNT"
        )
        wait_until_blocked(watcher, client)
        second_try = pool.submit(
            answers, other, "UPDATE account SET balance = 100 WHERE id = 1; SELECT @@TRANCOUNT"
        )
        results = [first_try.result(), second_try.result()]
    assert sorted(map(str, results)) == ["[1205]", "[[(1,)]]"]
    victim, survivor = (client, other) if results[0] == [1205] else (other, client)
    assert victim.value("SELECT @@TRANCOUNT") == 0
    survivor.events("COMMIT")
    graph = ET.fromstring(
        survivor.value(
            "SELECT TOP (1) f.event_data "
            "FROM sys.fn_xe_file_target_read_file(N'system_health*.xel', NULL, NULL, NULL) AS f "
            "ORDER BY f.timestamp_utc DESC"
        )
    )
    victim_id = graph.find(".//victimProcess").get("id")  # type: ignore[union-attr]
    processes = {each.get("id"): each for each in graph.iter("process")}
    assert len(processes) == 2
    assert processes[victim_id].get("spid") == str(victim.session.spid)
    assert "SET balance = 100" in "".join(processes[victim_id].itertext())
    assert [lock.get("objectname") for lock in graph.iter("keylock")] == [
        f"{client.session.database}.dbo.account"
    ] * 2


def test_a_caught_deadlock_dooms_the_transaction(client: Client, other: Client) -> None:
    client.events("BEGIN TRAN; UPDATE account SET balance = 1 WHERE id = 1")
    other.events("BEGIN TRAN; UPDATE account SET balance = 2 WHERE id = 2")
    attempt = (
        "BEGIN TRY UPDATE account SET balance = 3 WHERE id = {} END TRY "
        "BEGIN CATCH SELECT ERROR_NUMBER(), XACT_STATE(); ROLLBACK END CATCH"
    )
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(answers, (client, other), (attempt.format(2), attempt.format(1))))
    assert sorted(map(str, results)) == ["[[(1205, -1)]]", "[]"]


def test_a_snapshot_conflicts_with_a_later_change(client: Client, other: Client) -> None:
    name = client.session.database
    client.events(f"ALTER DATABASE {name} SET ALLOW_SNAPSHOT_ISOLATION ON")
    try:
        client.events("SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRAN; SELECT * FROM account")
        other.events("UPDATE account SET balance = 99 WHERE id = 1")
        assert client.value("SELECT balance FROM account WHERE id = 1") == 10
        assert answers(client, "UPDATE account SET balance = 0 WHERE id = 1; SELECT 1") == [3960]
        assert client.value("SELECT @@TRANCOUNT") == 0
    finally:
        client.events(f"ALTER DATABASE {name} SET ALLOW_SNAPSHOT_ISOLATION OFF")


def test_a_serializable_conflict_ends_the_later_transaction_with_1205(client: Client, other: Client) -> None:
    # SQL Server's readers' locks would make them wait for each other; PostgreSQL finds it when the second one commits.
    begin = "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; BEGIN TRAN; SELECT SUM(balance) FROM account"
    client.events(begin)
    other.events(begin)
    client.events("UPDATE account SET balance += 1 WHERE id = 1")
    other.events("UPDATE account SET balance += 1 WHERE id = 2")
    outcomes = [answers(client, "COMMIT"), answers(other, "COMMIT")]
    assert outcomes == [[], [1205]]
    for session in (client, other):
        session.events("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")


def test_blocking_can_be_seen_from_a_third_session(client: Client, other: Client, watcher: Client) -> None:
    client.events("BEGIN TRAN; UPDATE account SET balance = 0 WHERE id = 1")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(answers, other, "UPDATE account SET balance = 5 WHERE id = 1")
        wait_until_blocked(watcher, other)
        rows = watcher.rows(
            "SELECT blocking_session_id, wait_type FROM sys.dm_exec_requests "
            f"WHERE session_id = {other.session.spid}"
        )
        client.events("ROLLBACK")
        assert waiting.result() == []
    assert rows == [(client.session.spid, "LCK_M_X")]


def test_cancelling_ends_the_statement_and_keeps_the_transaction(
    client: Client, other: Client, watcher: Client
) -> None:
    client.events("BEGIN TRAN; UPDATE account SET balance = 0 WHERE id = 1")
    other.events("BEGIN TRAN; UPDATE account SET balance = 0 WHERE id = 2")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(answers, other, "UPDATE account SET balance = 0 WHERE id = 1")
        wait_until_blocked(watcher, other)
        other.session.cancel()
        assert waiting.result() == [3617]
    other.session.forget_cancel()
    assert other.value("SELECT @@TRANCOUNT") == 1


def test_a_cancel_is_not_lost_when_it_overtakes_its_statement(
    client: Client, other: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.events("BEGIN TRAN; UPDATE account SET balance = 0 WHERE id = 1")
    execute = Link.execute

    def cancelled_first(link: Link, *arguments: Any, **further: Any) -> Any:
        if link is other.session.link:
            monkeypatch.undo()
            other.session.cancel()
        return execute(link, *arguments, **further)

    monkeypatch.setattr(Link, "execute", cancelled_first)
    assert answers(other, "UPDATE account SET balance = 0 WHERE id = 1") == [3617]
    other.session.forget_cancel()
    assert other.value("SELECT COUNT(*) FROM account") == 2


def test_a_cancel_does_not_hit_what_undoes_its_statement(
    client: Client, other: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.events("BEGIN TRAN; UPDATE account SET balance = 0 WHERE id = 1")
    other.events("BEGIN TRAN; UPDATE account SET balance = 0 WHERE id = 2")
    pipeline = Link._pipeline

    def cancelled_while(link: Link, commands: Sequence[Command]) -> Any:
        if link is other.session.link and any(command.sql.startswith("ROLLBACK TO") for command in commands):
            # Long enough for a cancel to come.
            commands = [commands[0], Command("SELECT 1 FROM pg_sleep(0.5)"), *commands[1:]]
            timer = threading.Timer(0.1, link.cancel)
            timer.start()
            try:
                return pipeline(link, commands)
            finally:
                timer.join()
        return pipeline(link, commands)

    monkeypatch.setattr(Link, "_pipeline", cancelled_while)
    assert answers(other, "SET LOCK_TIMEOUT 50; UPDATE account SET balance = 0 WHERE id = 1") == [1222]
    assert other.rows("SELECT @@TRANCOUNT, SUM(balance) FROM account") == [(1, 10)]


def test_a_cancel_ends_its_own_request_only(client: Client) -> None:
    client.session.cancel()
    assert answers(client, "WAITFOR DELAY '01:00'") == [3617]
    client.session.forget_cancel()
    assert answers(client, "SELECT 1") == [[(1,)]]


def test_closing_a_session_rolls_back(client: Client) -> None:
    other = second_session(client)
    other.events("BEGIN TRAN; DELETE FROM account")
    other.session.close()
    assert client.value("SELECT COUNT(*) FROM account") == 2


def test_reset_leaves_nothing_of_the_session(client: Client, other: Client) -> None:
    other.events(
        "SET LOCK_TIMEOUT 7; SET CONTEXT_INFO 0x01; EXEC sp_set_session_context N'k', N'v'; "
        "BEGIN TRAN; DELETE FROM account"
    )
    other.session.reset()
    row = "SELECT @@TRANCOUNT, @@LOCK_TIMEOUT, CONTEXT_INFO(), SESSION_CONTEXT(N'k')"
    assert other.rows(row) == [(0, -1, None, None)]
    assert client.value("SELECT COUNT(*) FROM account") == 2


def test_a_database_in_use_is_dropped_once_its_sessions_are_ended(client: Client) -> None:
    client.events("CREATE DATABASE in_use")
    guest = second_session(client)
    guest.events("USE in_use")
    assert answers(client, "DROP DATABASE in_use") == [3702]
    client.events(
        "ALTER DATABASE in_use SET SINGLE_USER WITH ROLLBACK IMMEDIATE; DROP DATABASE IF EXISTS in_use"
    )
    assert failure(guest, "SELECT COUNT(*) FROM sys.tables").severity >= 20
    guest.session.close()


def test_kill_ends_another_session(client: Client) -> None:
    victim = second_session(client)
    victim.events("BEGIN TRAN; DELETE FROM account")
    client.events(f"KILL {victim.session.spid}")
    assert failure(victim, "SELECT COUNT(*) FROM account").severity >= 20
    assert client.value("SELECT COUNT(*) FROM account") == 2
    assert answers(client, f"KILL {victim.session.spid}") == [6106]
    victim.session.close()


def test_a_session_that_is_about_to_end_disturbs_nobody(client: Client) -> None:
    leaving = second_session(client)
    # As in the thread that serves it, between the end of its connection and its being forgotten.
    leaving.session.link.close()
    assert client.value("SELECT COUNT(*) FROM sys.dm_exec_requests WHERE session_id = @@SPID") == 1
    assert answers(client, f"KILL {leaving.session.spid}") == []
    leaving.session.close()
