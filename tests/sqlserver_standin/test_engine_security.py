"""A login that lacks a right is refused with SQL Server's number."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sqlserver_standin.events import SqlError
from tests.sqlserver_standin.engine_support import answers, failure, new_database
from tests.sqlserver_standin.sql_support import Client


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with new_database() as client:
        client.events(
            "CREATE TABLE secret (id int); CREATE LOGIN reader WITH PASSWORD = N'pw'; "
            "CREATE USER reader FOR LOGIN reader"
        )
        yield client
        client.events("DROP USER reader; DROP LOGIN reader")


@pytest.fixture
def reader(client: Client) -> Iterator[Client]:
    session = client.session.instance.login(user="reader", password="pw", database=client.session.database)
    yield Client(session)
    session.close()


def test_a_wrong_password_is_18456(client: Client) -> None:
    with pytest.raises(SqlError) as caught:
        client.session.instance.login(user="reader", password="wrong")
    assert (caught.value.number, caught.value.severity) == (18456, 14)


def test_a_database_without_a_user_is_4060(client: Client) -> None:
    client.events("CREATE DATABASE closed_to_reader")
    try:
        with pytest.raises(SqlError) as caught:
            client.session.instance.login(user="reader", password="pw", database="closed_to_reader")
        assert caught.value.number == 4060
    finally:
        client.events("DROP DATABASE closed_to_reader")


@pytest.mark.parametrize(
    ("sql", "numbers"),
    [
        ("SELECT * FROM secret", [229]),
        ("INSERT INTO secret VALUES (1)", [229]),
        ("DELETE FROM secret", [229]),
        ("CREATE TABLE mine (a int)", [262]),
        ("CREATE DATABASE mine", [262]),
        ("DROP TABLE secret", [262]),
        ("SELECT * FROM sys.dm_exec_connections", [300, 297]),
        ("SELECT * FROM sys.dm_exec_query_stats", [300, 297]),
        ("SELECT * FROM sys.dm_xe_session_targets", [300, 297]),
        ("SELECT * FROM sys.fn_xe_file_target_read_file('system_health*.xel', NULL, NULL, NULL)", [300, 297]),
        ("SELECT * FROM sys.query_store_query", [262, 297]),
        ("SELECT * FROM sys.database_query_store_options", [262, 297]),
        ("GRANT SELECT ON secret TO reader", [15247]),
        ("SET STATISTICS XML ON; SELECT 1 AS a", [262]),
        ("ALTER DATABASE SCOPED CONFIGURATION CLEAR PROCEDURE_CACHE", [262]),
    ],
)
def test_a_missing_permission_is_refused(reader: Client, sql: str, numbers: list[int]) -> None:
    assert answers(reader, sql) == numbers


def test_showplan_is_a_permission_of_its_own(client: Client, reader: Client) -> None:
    reader.events("SET SHOWPLAN_XML ON")
    error = failure(reader, "SELECT 1 AS a")
    assert (error.number, error.text) == (
        262,
        f"SHOWPLAN permission denied in database '{client.session.database}'.",
    )
    client.events("GRANT SHOWPLAN TO reader")
    assert len(answers(reader, "SELECT 1 AS a")[0]) == 1


def test_grant_deny_and_roles_take_effect_at_once(client: Client, reader: Client) -> None:
    client.events("GRANT SELECT ON secret TO reader")
    assert answers(reader, "SELECT * FROM secret") == [[]]
    client.events("DENY SELECT ON secret TO reader")
    assert answers(reader, "SELECT * FROM secret") == [229]
    client.events("REVOKE SELECT ON secret TO reader; ALTER ROLE db_datareader ADD MEMBER reader")
    assert answers(reader, "SELECT * FROM secret") == [[]]
    client.events("ALTER ROLE db_datareader DROP MEMBER reader")


def test_without_view_server_state_a_login_sees_its_own_session_only(client: Client, reader: Client) -> None:
    sessions = "SELECT session_id FROM sys.dm_exec_sessions"
    assert reader.rows(sessions) == [(reader.session.spid,)]
    assert reader.rows("SELECT session_id FROM sys.dm_exec_requests") == [(reader.session.spid,)]
    client.events("GRANT VIEW SERVER STATE TO reader")
    assert {(client.session.spid,), (reader.session.spid,)} <= set(reader.rows(sessions))
    client.events("REVOKE VIEW SERVER STATE TO reader")


def test_has_perms_by_name_knows_objects(client: Client, reader: Client) -> None:
    question = (
        "SELECT HAS_PERMS_BY_NAME('secret', 'OBJECT', 'SELECT'), "
        "HAS_PERMS_BY_NAME('dbo.secret', 'OBJECT', 'INSERT')"
    )
    assert reader.rows(question) == [(0, 0)]
    client.events("GRANT SELECT ON secret TO reader")
    assert reader.rows(question) == [(1, 0)]
    client.events("REVOKE SELECT ON secret TO reader; ALTER ROLE db_datawriter ADD MEMBER reader")
    assert reader.rows(question) == [(0, 1)]
    client.events("DENY INSERT ON secret TO reader")
    assert reader.rows(question) == [(0, 0)]
    client.events("REVOKE INSERT ON secret TO reader; ALTER ROLE db_datawriter DROP MEMBER reader")


def test_has_perms_by_name_knows(client: Client, reader: Client) -> None:
    question = "SELECT HAS_PERMS_BY_NAME(NULL, NULL, 'VIEW SERVER STATE'), SUSER_SNAME(), USER_NAME()"
    assert reader.rows(question) == [(0, "reader", "reader")]
    client.events("GRANT VIEW SERVER STATE TO reader")
    assert reader.rows(question) == [(1, "reader", "reader")]
    assert reader.rows("SELECT COUNT(*) FROM sys.dm_exec_sessions WHERE session_id = @@SPID") == [(1,)]
    client.events("REVOKE VIEW SERVER STATE TO reader")
    assert client.rows(question) == [(1, "sa", "dbo")]


def test_threads_of_an_application_may_have_more_sessions_than_postgresql_usually_takes(
    client: Client,
) -> None:
    instance = client.session.instance
    sessions = [instance.login(user="sa", password="x") for _ in range(210)]
    try:
        assert (
            Client(sessions[-1]).value("SELECT COUNT(*) FROM sys.dm_exec_sessions WHERE is_user_process = 1")
            > 210
        )
    finally:
        for session in sessions:
            session.close()


def test_a_session_too_many_is_17809(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = client.session.instance
    monkeypatch.setattr(instance, "most_sessions", len(instance.sessions()))
    with pytest.raises(SqlError) as caught:
        instance.login(user="sa", password="x")
    assert (caught.value.number, caught.value.severity) == (17809, 20)
    assert client.value("SELECT @@MAX_CONNECTIONS") == instance.most_sessions
