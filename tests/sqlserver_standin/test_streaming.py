"""Large results come row by row: the first at once, memory flat, and the session is right wherever they end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from mssql.connection_string import find_driver
from mssql.odbc import driver_package, pyodbc
from sqlserver_standin import StandIn
from sqlserver_standin.engine.link import ROWS_AT_ONCE
from sqlserver_standin.events import ResultSet, SqlError
from tests.sqlserver_standin.engine_support import answers, new_database
from tests.sqlserver_standin.sql_support import Client

MEBIBYTE = 1024 * 1024
MANY = ROWS_AT_ONCE * 10
FAILS_LATE = f"SELECT value, 1 / ({MANY} - value) FROM GENERATE_SERIES(1, {MANY + 10})"
FAILS_EARLY = "SELECT value, 1 / (3 - value) FROM GENERATE_SERIES(1, 5)"
NUMBERS = f"SELECT value FROM GENERATE_SERIES(1, {MANY}) ORDER BY value"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with new_database() as client:
        client.events("CREATE TABLE t (a int)")
        yield client


@pytest.fixture
def session(client: Client) -> Iterator[Client]:
    yield client
    client.events("IF @@TRANCOUNT > 0 ROLLBACK; TRUNCATE TABLE t; SET XACT_ABORT OFF")


def taken(client: Client, sql: str, count: int) -> list[Any]:
    """The first rows of a batch's first result; then the client loses interest."""
    events = client.session.execute(sql)
    try:
        for event in events:
            if isinstance(event, ResultSet):
                return [row for row, _ in zip(event.rows, range(count), strict=False)]
    finally:
        events.close()  # type: ignore[attr-defined]
    raise AssertionError("no result set")


@pytest.mark.parametrize("in_transaction", [False, True])
@pytest.mark.parametrize("count", [0, 1, ROWS_AT_ONCE - 1, ROWS_AT_ONCE, ROWS_AT_ONCE + 1, MANY])
def test_every_row_comes_once(session: Client, count: int, in_transaction: bool) -> None:
    if in_transaction:
        session.events("BEGIN TRANSACTION")
    sql = f"SELECT value FROM GENERATE_SERIES(1, {MANY}) WHERE value <= {count} ORDER BY value; SELECT @@ROWCOUNT"
    for _ in range(3):
        assert answers(session, sql) == [[(number,) for number in range(1, count + 1)], [(count,)]]


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_client_may_lose_interest(session: Client, in_transaction: bool) -> None:
    if in_transaction:
        session.events("BEGIN TRANSACTION; INSERT INTO t VALUES (1)")
    for _ in range(3):
        assert taken(session, NUMBERS, 3) == [(1,), (2,), (3,)]
        assert session.value("SELECT COUNT(*) FROM GENERATE_SERIES(1, 10)") == 10
    assert session.value("SELECT COUNT(*) FROM t") == int(in_transaction)
    assert session.value("SELECT @@TRANCOUNT") == int(in_transaction)


def test_rows_before_an_error_are_sent(session: Client) -> None:
    rows, number = answers(session, FAILS_LATE)
    assert 0 < len(rows) < MANY
    assert rows[0] == (1, 0)
    assert number == 8134


def test_an_error_among_the_first_rows_comes_alone(session: Client) -> None:
    assert answers(session, FAILS_EARLY) == [8134]


@pytest.mark.parametrize("sql", [FAILS_LATE, FAILS_EARLY])
def test_an_error_undoes_its_statement_only(session: Client, sql: str) -> None:
    session.events("BEGIN TRANSACTION; INSERT INTO t VALUES (1)")
    found = answers(session, f"{sql}; INSERT INTO t VALUES (2); SELECT COUNT(*) FROM t")
    assert found[-2:] == [8134, [(2,)]]
    session.events("COMMIT")
    assert session.value("SELECT COUNT(*) FROM t") == 2


def test_an_error_is_caught(session: Client) -> None:
    found = answers(session, f"BEGIN TRY {FAILS_LATE} END TRY BEGIN CATCH SELECT ERROR_NUMBER() END CATCH")
    assert found[-1] == [(8134,)]


def test_an_error_ends_the_transaction_under_xact_abort(session: Client) -> None:
    session.events("SET XACT_ABORT ON; BEGIN TRANSACTION; INSERT INTO t VALUES (1)")
    assert answers(session, FAILS_LATE)[-1] == 8134
    assert session.value("SELECT @@TRANCOUNT") == 0
    assert session.value("SELECT COUNT(*) FROM t") == 0


@pytest.mark.parametrize("option", ["STATISTICS IO", "STATISTICS TIME"])
def test_statistics_come_with_all_rows(session: Client, option: str) -> None:
    session.events(f"INSERT INTO t SELECT value FROM GENERATE_SERIES(1, {MANY})")
    try:
        session.events(f"SET {option} ON")
        assert len(session.rows("SELECT a FROM t")) == MANY
    finally:
        session.events(f"SET {option} OFF")


def test_insert_execute_takes_all_rows(session: Client) -> None:
    count = ROWS_AT_ONCE + 10
    session.events(f"INSERT INTO t EXEC (N'SELECT value FROM GENERATE_SERIES(1, {count})')")
    assert session.value("SELECT COUNT(*) FROM t") == count


def test_rows_that_are_asked_for_too_late_are_still_there(session: Client) -> None:
    events = list(session.session.execute(f"{NUMBERS}; SELECT 7"))
    results = [list(event.rows) for event in events if isinstance(event, ResultSet)]
    assert not [event for event in events if isinstance(event, SqlError)]
    assert results == [[(number,) for number in range(1, MANY + 1)], [(7,)]]


# -- over the wire -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    """A stand-in of its own: what is measured is its memory."""
    with StandIn() as server:
        connection = connect(server)
        connection.execute("CREATE TABLE seed (n int, t nvarchar(300))")
        connection.execute(
            "INSERT INTO seed SELECT value, REPLICATE(N'x', 200) FROM GENERATE_SERIES(1, 2000)"
        )
        connection.close()
        yield server


def connect(server: StandIn, **further: str) -> Any:
    settings = {
        "DRIVER": find_driver("", pyodbc.drivers(), driver_package()),
        "SERVER": f"{server.host},{server.port}",
        "UID": server.user,
        "PWD": server.password,
        "Encrypt": "no",
        **further,
    }
    return pyodbc.connect(";".join(f"{key}={value}" for key, value in settings.items()), autocommit=True)


class Memory:
    """MiB of the stand-in's own process and of PostgreSQL's that run now: an autovacuum may come and go."""

    def __init__(self, server: StandIn) -> None:
        process = psutil.Process(server.pid)
        self._processes = [process, *process.children(recursive=True)]

    def used(self) -> float:
        total = 0
        for process in self._processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().uss
        return total / MEBIBYTE


ENDLESS = "SELECT a.n, a.t FROM seed AS a CROSS JOIN seed AS b CROSS JOIN seed AS c"


def test_the_first_row_of_an_endless_result_comes_and_a_cancel_ends_it(server: StandIn) -> None:
    connection = connect(server)
    cursor = connection.cursor()
    for _ in range(2):
        assert cursor.execute(ENDLESS).fetchone()[1] == "x" * 200
        cursor.cancel()
        assert cursor.execute("SELECT 5").fetchval() == 5
    connection.close()


def test_memory_stays_flat(server: StandIn) -> None:
    connection = connect(server)
    cursor = connection.cursor()
    cursor.execute(ENDLESS.replace("SELECT", "SELECT TOP 5000")).fetchall()
    memory = Memory(server)
    before = memory.used()
    cursor.execute(ENDLESS.replace("SELECT", "SELECT TOP 200000"))
    most = before
    while cursor.fetchmany(20_000):
        most = max(most, memory.used())
    assert most - before < 20, "200,000 rows of 400 bytes are 80 MB"
    connection.close()


def test_a_client_that_leaves_in_the_middle_ends_the_query(server: StandIn) -> None:
    leaving = connect(server)
    leaving.execute(ENDLESS).fetchone()
    leaving.close()
    watching = connect(server)
    deadline = time.monotonic() + 60
    while watching.execute("SELECT COUNT(*) FROM sys.dm_exec_requests").fetchval() > 1:
        assert time.monotonic() < deadline, "the query still runs"
        time.sleep(0.1)
    watching.close()


def test_two_large_results_are_read_in_turns_under_mars(server: StandIn) -> None:
    connection = connect(server, MARS_Connection="yes")
    one, two = connection.cursor(), connection.cursor()
    one.execute(NUMBERS)
    two.execute(NUMBERS)
    for number in range(1, MANY + 1):
        assert one.fetchone()[0] == number
        assert two.fetchone()[0] == number
    connection.close()


def test_a_statement_behind_a_lock_follows_a_result_in_parts(server: StandIn) -> None:
    """HOLDLOCK takes a lock first: the two commands must not inherit that the result before came in parts."""
    connection = connect(server)
    connection.execute("CREATE TABLE seat (id int PRIMARY KEY, taken int); INSERT INTO seat VALUES (1, 1)")
    assert connection.execute("SELECT 5").fetchval() == 5
    merge = (
        "MERGE seat WITH (HOLDLOCK) AS t USING (VALUES (1, 0)) AS s (id, taken) ON t.id = s.id "
        "WHEN MATCHED THEN UPDATE SET taken = s.taken WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.taken);"
    )
    assert connection.execute(merge).rowcount == 1
    assert connection.execute("SELECT taken FROM seat").fetchval() == 0
    connection.execute("DROP TABLE seat")
    connection.close()
