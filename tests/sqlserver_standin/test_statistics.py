"""SET STATISTICS IO and TIME: the messages, their order, and that their figures are what PostgreSQL did."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from mssql.odbc import pyodbc
from sqlserver_standin import StandIn
from sqlserver_standin.events import Done, Message, ResultSet
from tests.sqlserver_standin.engine_support import new_database
from tests.sqlserver_standin.sql_support import Client
from tests.sqlserver_standin.wire_support import driver_path

READS = re.compile(
    r"Table '(?P<table>[^']+)'\. Scan count (?P<scans>\d+), logical reads (?P<logical>\d+), "
    r"physical reads (?P<physical>\d+), page server reads 0, read-ahead reads 0, page server read-ahead reads 0, "
    r"lob logical reads (?P<lob>\d+), lob physical reads \d+, lob page server reads 0, lob read-ahead reads 0, "
    r"lob page server read-ahead reads 0\."
)
COMPILED = re.compile(r"SQL Server parse and compile time: \n   CPU time = \d+ ms, elapsed time = \d+ ms\.")
EXECUTED = re.compile(r"\n SQL Server Execution Times:\n   CPU time = (\d+) ms,  elapsed time = (\d+) ms\.")


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with new_database() as client:
        client.events(
            "CREATE TABLE book (id int IDENTITY PRIMARY KEY, shelf int NOT NULL, body nvarchar(max));"
            "CREATE INDEX book_shelf ON book (shelf);"
            "CREATE TABLE loan (id int IDENTITY PRIMARY KEY, book int NOT NULL REFERENCES book (id));"
            "CREATE TABLE note (n int)"
        )
        # After a vacuum in the background an index is opened anew, which reads one page more.
        for table in ("book", "loan", "note"):
            client.session.link.execute(f"ALTER TABLE dbo.{table} SET (autovacuum_enabled = off)")
        client.events(
            "INSERT INTO book (shelf) SELECT value / 50 FROM GENERATE_SERIES(1, 5000);"
            "INSERT INTO loan (book) VALUES (150), (151);"
            "UPDATE STATISTICS book"
        )
        yield client


@pytest.fixture(autouse=True)
def _off(client: Client) -> Iterator[None]:
    yield
    client.events("IF @@TRANCOUNT > 0 ROLLBACK; SET STATISTICS IO, TIME OFF")


def order(client: Client, sql: str) -> list[Any]:
    """Row counts, the numbers of messages, and the counts of DONE, in their order."""
    found: list[Any] = []
    for event in client.events(sql):
        match event:
            case ResultSet():
                found.append(f"{len(list(event.rows))} rows")
            case Message():
                found.append(event.number)
                assert (event.severity, event.state) == (0, 0)
            case Done():
                found.append("done" if event.count is None else f"done {event.count}")
    return found


def reads(client: Client, sql: str) -> dict[str, dict[str, int]]:
    """What STATISTICS IO says of each table."""
    client.events("SET STATISTICS IO ON")
    found = {}
    for event in client.events(sql):
        if isinstance(event, Message):
            match = READS.fullmatch(event.text)
            assert match, event.text
            found[match["table"]] = {
                key: int(value) for key, value in match.groupdict().items() if key != "table"
            }
    return found


def test_nothing_is_told_when_they_are_off(client: Client) -> None:
    assert order(client, "SELECT id FROM book WHERE id = 1") == ["1 rows", "done 1"]


def test_a_scan_reads_each_page_of_the_table_once(client: Client) -> None:
    pages = int(client.session.link.rows("SELECT pg_relation_size('dbo.book') / 8192")[0][0] or 0)
    assert pages > 10
    told = reads(client, "SELECT COUNT(body) FROM book")
    assert told == {"book": {"scans": 1, "logical": pages, "physical": 0, "lob": 0}}


def test_a_seek_reads_what_postgresql_counts(client: Client) -> None:
    sql = "SELECT body FROM book WHERE id = 77"
    client.events("SET STATISTICS XML ON")
    try:
        plan = client.events(sql)[-2].rows[0][0]
    finally:
        client.events("SET STATISTICS XML OFF")
    (counted,) = re.findall(r'ActualLogicalReads="(\d+)"', plan)
    told = reads(client, sql)
    # The seek finds one row by a unique key, which SQL Server counts as no scan.
    assert told == {"book": {"scans": 0, "logical": int(counted), "physical": 0, "lob": 0}}


def test_each_table_has_a_line_of_its_own(client: Client) -> None:
    told = reads(client, "SELECT COUNT(*) FROM book JOIN loan ON loan.book = book.id WHERE book.shelf = 3")
    assert set(told) == {"book", "loan"}


def test_long_values_are_lob_reads(client: Client) -> None:
    # Random, so that it is stored out of line and not compressed away.
    client.events(
        "UPDATE book SET body = (SELECT STRING_AGG(CAST(NEWID() AS nvarchar(max)), N'') FROM GENERATE_SERIES(1, 2000)) "
        "WHERE id = 5"
    )
    told = reads(client, "SELECT LEN(body), body FROM book WHERE id = 5")
    assert told["book"]["lob"] > 5
    assert told["book"]["logical"] < 10


def test_a_change_tells_of_the_table_that_its_foreign_key_looks_into(client: Client) -> None:
    assert set(reads(client, "INSERT INTO loan (book) VALUES (3)")) == {"book", "loan"}


def test_temporary_tables_have_the_names_of_tempdb(client: Client) -> None:
    client.events("CREATE TABLE #basket (n int); INSERT INTO #basket VALUES (1)")
    told = reads(
        client, "SELECT n FROM #basket; DECLARE @v TABLE (n int); INSERT INTO @v VALUES (1); SELECT n FROM @v"
    )
    basket, variable = sorted(told, key=len, reverse=True)
    assert re.fullmatch(r"#basket_{109}[0-9A-F]{12}", basket)
    assert re.fullmatch(r"#[0-9A-F]{8}", variable)


def test_reads_within_a_transaction_are_those_of_their_statement(client: Client) -> None:
    client.events("BEGIN TRANSACTION")
    first = reads(client, "SELECT COUNT(body) FROM book")
    assert reads(client, "SELECT COUNT(body) FROM book") == first
    assert client.value("SELECT @@TRANCOUNT") == 1


def test_a_failed_statement_does_not_end_the_transaction(client: Client) -> None:
    client.events("BEGIN TRANSACTION; INSERT INTO note VALUES (1); SET STATISTICS IO ON")
    assert client.error("INSERT INTO book (shelf) VALUES (NULL)")[0] == 515
    assert client.value("SELECT COUNT(*) FROM note") == 1


ORDERS: list[tuple[str, str, list[Any]]] = [
    ("IO", "SELECT id FROM book WHERE id = 1", ["1 rows", "done 1", 3615]),
    ("IO", "UPDATE note SET n = 1", [3615, "done 1"]),
    ("IO", "SELECT 1", ["1 rows", "done 1"]),
    ("TIME", "SELECT id FROM book WHERE id = 1", [3613, "1 rows", "done 1", 3612]),
    ("TIME", "UPDATE note SET n = 1", [3613, 3612, "done 1"]),
    ("TIME", "DECLARE @a int; SET @a = 1; SELECT @a", [3613, 3612, "done", "1 rows", "done 1", 3612]),
    ("TIME", "EXEC sp_executesql N'SELECT 1'", [3613, 3613, "1 rows", "done 1", 3612, "done", 3612]),
    ("IO, TIME", "SELECT id FROM book WHERE id = 1; DELETE FROM note WHERE n = 1",
     [3613, "1 rows", "done 1", 3615, 3612, 3615, 3612, "done 0"]),
    ("IO, TIME", "SET STATISTICS TIME, IO OFF; SELECT 1", [3613, "done", "1 rows", "done 1"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kinds", "sql", "expected"), ORDERS, ids=[f"{kinds}: {sql}" for kinds, sql, _ in ORDERS]
)
def test_messages_follow_the_rows_of_a_query_and_precede_the_count_of_a_change(
    client: Client, kinds: str, sql: str, expected: list[Any]
) -> None:
    client.events("DELETE FROM note; INSERT INTO note VALUES (2)")
    client.events(f"SET STATISTICS {kinds} ON")
    assert order(client, sql) == expected


def test_a_change_tells_its_reads_before_its_triggers_tell_theirs(client: Client) -> None:
    client.events("CREATE TABLE watched (n int); CREATE TABLE trail (n int); INSERT INTO trail VALUES (0)")
    client.events("CREATE TRIGGER watching ON watched AFTER INSERT AS UPDATE trail SET n += 1")
    client.events("INSERT INTO watched VALUES (1); SET STATISTICS IO ON")
    events = client.events("INSERT INTO watched VALUES (2)")
    told = [
        match["table"]
        for event in events
        if isinstance(event, Message) and (match := READS.match(event.text))
    ]
    assert told[0] == "watched"
    assert "trail" in told[1:]


def test_times_are_of_the_statement(client: Client) -> None:
    client.events("SET STATISTICS TIME ON")
    events = client.events("WAITFOR DELAY '00:00:00.200'")
    (message,) = [event for event in events if isinstance(event, Message) and event.number == 3612]
    match = EXECUTED.fullmatch(message.text)
    assert match
    cpu, elapsed = int(match[1]), int(match[2])
    assert elapsed >= 200
    assert cpu < elapsed


def test_cpu_is_that_of_postgresql_too(client: Client) -> None:
    client.events("SET STATISTICS TIME ON")
    events = client.events("SELECT SUM(CAST(a.value AS bigint) % 7) FROM GENERATE_SERIES(1, 300000) AS a")
    (message,) = [event for event in events if isinstance(event, Message) and event.number == 3612]
    match = EXECUTED.fullmatch(message.text)
    assert match
    assert int(match[1]) >= 5


@pytest.mark.standin
def test_a_driver_finds_them_in_the_messages_of_its_cursor(standin: StandIn) -> None:
    text = f"Server={standin.host},{standin.port};UID={standin.user};PWD={standin.password};Encrypt=no"
    connection = pyodbc.connect(f"Driver={driver_path()};{text}", autocommit=True)
    try:
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE #seen (n int); INSERT INTO #seen VALUES (1), (2)")
        cursor.execute("SET STATISTICS IO ON; SET STATISTICS TIME ON")

        def told(sql: str, *parameters: Any) -> tuple[list[int], list[str]]:
            cursor.execute(sql, *parameters)
            codes: list[int] = []
            texts: list[str] = []
            while True:
                if cursor.description:
                    cursor.fetchall()
                for code, message in cursor.messages:
                    codes.append(int(code.partition("(")[2].rstrip(")")))
                    texts.append(message.partition("[SQL Server]")[2])
                if not cursor.nextset():
                    return codes, texts

        for sql, parameters in (("SELECT n FROM #seen", ()), ("SELECT n FROM #seen WHERE n = ?", (1,))):
            codes, texts = told(sql, *parameters)
            assert codes == [3613, 3615, 3612], sql
            assert COMPILED.fullmatch(texts[0])
            assert READS.fullmatch(texts[1])
            assert EXECUTED.fullmatch(texts[2])
        cursor.execute("UPDATE #seen SET n = n + ?", 1)
        assert cursor.rowcount == 2
    finally:
        connection.close()
