"""Many statements of data definition in one transaction: one that fails undoes itself only, and names stay known."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sqlserver_standin.engine.link import MOST_REPEATED
from tests.sqlserver_standin.engine_support import failure, new_database, second_session
from tests.sqlserver_standin.sql_support import Client


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with new_database() as client:
        client.events("CREATE TABLE filled (a int); INSERT INTO filled VALUES (1), (1)")
        yield client


@pytest.fixture
def transaction(client: Client) -> Iterator[Client]:
    client.events("BEGIN TRANSACTION")
    try:
        yield client
    finally:
        client.events("IF @@TRANCOUNT > 0 ROLLBACK")


def tables(client: Client) -> list[str]:
    return [name for (name,) in client.rows("SELECT name FROM sys.tables ORDER BY name")]


@pytest.mark.parametrize("count", [1, 3, MOST_REPEATED + 5])
@pytest.mark.parametrize(
    ("failing", "number"),
    [
        ("CREATE UNIQUE INDEX u ON filled (a)", 1505),
        ("ALTER TABLE filled ADD CONSTRAINT c CHECK (a > 1)", 547),
        ("SELECT 1 / 0", 8134),
        ("INSERT INTO made_0 (a) VALUES (NULL)", 515),
    ],
)
def test_a_failed_statement_leaves_the_definitions_before_it(
    transaction: Client, failing: str, number: int, count: int
) -> None:
    for index in range(count):
        transaction.events(f"CREATE TABLE made_{index} (a int NOT NULL PRIMARY KEY, b nvarchar(10))")
        transaction.events(f"CREATE INDEX made_{index}_b ON made_{index} (b)")
    assert failure(transaction, failing).number == number
    assert tables(transaction) == sorted(["filled", *(f"made_{index}" for index in range(count))])
    transaction.events("INSERT INTO made_0 VALUES (1, N'x')")
    assert transaction.value("SELECT b FROM made_0") == "x"
    transaction.events("ROLLBACK")
    assert tables(transaction) == ["filled"]


def test_definitions_before_a_failed_statement_are_committed(client: Client) -> None:
    client.events("BEGIN TRANSACTION")
    client.events("CREATE TABLE parent (id int PRIMARY KEY)")
    client.events("CREATE TABLE child (id int PRIMARY KEY, parent_id int)")
    client.events("ALTER TABLE child ADD CONSTRAINT fk FOREIGN KEY (parent_id) REFERENCES parent (id)")
    assert failure(client, "CREATE UNIQUE INDEX u ON filled (a)").number == 1505
    client.events("COMMIT")
    other = second_session(client)
    try:
        assert failure(other, "INSERT INTO child VALUES (1, 1)").number == 547
    finally:
        other.session.close()
        client.events("DROP TABLE child, parent")


def test_a_savepoint_of_the_user_keeps_its_place_among_definitions(transaction: Client) -> None:
    transaction.events("CREATE TABLE first (a int)")
    transaction.events("SAVE TRANSACTION here")
    transaction.events("CREATE TABLE second (a int)")
    assert failure(transaction, "CREATE UNIQUE INDEX u ON filled (a)").number == 1505
    assert tables(transaction) == ["filled", "first", "second"]
    transaction.events("ROLLBACK TRANSACTION here")
    assert tables(transaction) == ["filled", "first"]
    transaction.events("CREATE TABLE second (a int)")


def test_a_name_is_taken_in_any_case_until_its_object_is_gone(transaction: Client) -> None:
    transaction.events("CREATE TABLE Taken (a int CONSTRAINT [Default Of A] DEFAULT 1)")
    assert transaction.error("CREATE TABLE tAKEN (a int)")[0] == 2714
    assert failure(transaction, "CREATE TABLE t (a int CONSTRAINT [default of a] DEFAULT 2)").number == 2714
    assert failure(transaction, "CREATE TABLE t (a int CONSTRAINT TAKEN PRIMARY KEY)").number == 2714
    transaction.events("EXEC sp_rename 'Taken', 'moved'")
    transaction.events("CREATE TABLE tAKEN (a int)")
    assert transaction.error("CREATE TABLE MOVED (a int)")[0] == 2714
    transaction.events("DROP TABLE moved")
    transaction.events("CREATE TABLE MOVED (a int CONSTRAINT [DEFAULT OF A] DEFAULT 1)")


def test_a_name_that_another_session_took_is_seen(client: Client) -> None:
    client.events("CREATE TABLE mine (a int)")
    other = second_session(client)
    try:
        other.events("CREATE TABLE Theirs (a int)")
        client.events("CREATE TABLE mine_too (a int)")
        assert client.error("CREATE TABLE theirs (a int)")[0] == 2714
        other.events("DROP TABLE Theirs")
        client.events("CREATE TABLE theirs (b int)")
        assert other.rows("SELECT b FROM Theirs") == []
    finally:
        other.session.close()
        client.events("DROP TABLE mine, mine_too, theirs")


def test_a_column_that_was_added_is_seen_at_once(transaction: Client) -> None:
    transaction.events("CREATE TABLE grows (a int)")
    transaction.events("INSERT INTO grows VALUES (1)")
    assert transaction.rows("SELECT * FROM grows") == [(1,)]
    transaction.events("ALTER TABLE grows ADD b int NOT NULL DEFAULT 2")
    assert transaction.rows("SELECT * FROM grows") == [(1, 2)]
    transaction.events("ALTER TABLE grows DROP COLUMN a")
