"""Each option, as the server sees it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.transaction import atomic

from mssql.base import DatabaseWrapper
from mssql.odbc import pyodbc
from tests.backend.models import Author

pytestmark = pytest.mark.django_db(transaction=True)

ISOLATION = "SELECT transaction_isolation_level FROM sys.dm_exec_sessions WHERE session_id = @@SPID"
DEADLOCK_PRIORITY = "SELECT deadlock_priority FROM sys.dm_exec_sessions WHERE session_id = @@SPID"
ENCRYPTED = "SELECT encrypt_option FROM sys.dm_exec_connections WHERE session_id = @@SPID"

Make = Callable[..., DatabaseWrapper]


@pytest.fixture
def make() -> Iterator[Make]:
    """Further connections to the test database, with these OPTIONS."""
    made: list[DatabaseWrapper] = []

    def make(**options: Any) -> DatabaseWrapper:
        settings = copy.deepcopy(connection.settings_dict)
        settings["OPTIONS"] |= options
        made.append(DatabaseWrapper(settings, "default"))
        return made[-1]

    yield make
    for wrapper in made:
        wrapper.close()


def value(alias: DatabaseWrapper, sql: str) -> Any:
    with alias.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


@pytest.mark.parametrize(
    ("options", "question", "answer"),
    [
        ({"app_name": "shop [web]; 1"}, "SELECT APP_NAME()", "shop [web]; 1"),
        ({"datefirst": 1}, "SELECT @@DATEFIRST", 1),
        ({}, "SELECT @@DATEFIRST", 7),
        ({"lock_timeout": 1500}, "SELECT @@LOCK_TIMEOUT", 1500),
        ({}, "SELECT @@LOCK_TIMEOUT", -1),
        (
            {"session_context": {"tenant": "a'b"}},
            "SELECT CONVERT(nvarchar(50), SESSION_CONTEXT(N'tenant'))",
            "a'b",
        ),
        ({"session_context": {"tenant": 42}}, "SELECT CONVERT(int, SESSION_CONTEXT(N'tenant'))", 42),
        ({"deadlock_priority": "low"}, DEADLOCK_PRIORITY, -5),
        ({"deadlock_priority": 7}, DEADLOCK_PRIORITY, 7),
        ({}, DEADLOCK_PRIORITY, 0),
        ({"encrypt": True}, ENCRYPTED, "TRUE"),
    ],
)
def test_the_session_is_set_up(make: Make, options: dict[str, Any], question: str, answer: Any) -> None:
    assert value(make(**options), question) == answer


@pytest.mark.parametrize(
    ("level", "number"),
    [
        ("READ UNCOMMITTED", 1),
        ("READ COMMITTED", 2),
        ("REPEATABLE READ", 3),
        ("SERIALIZABLE", 4),
        ("SNAPSHOT", 5),
    ],
)
def test_the_isolation_level(make: Make, level: str, number: int) -> None:
    assert value(make(isolation_level=level), ISOLATION) == number


def test_a_lock_timeout_is_an_operational_error(make: Make) -> None:
    author = Author.objects.create(name="locked")
    holder, waiter = make(), make(lock_timeout=50)
    update = "UPDATE backend_author SET name = 'x' WHERE id = %s"
    holder.set_autocommit(False)
    with holder.cursor() as cursor:
        cursor.execute(update, [author.pk])
    with waiter.cursor() as cursor, pytest.raises(OperationalError) as caught:
        cursor.execute(update, [author.pk])
    assert caught.value.sqlserver.number == 1222  # type: ignore[attr-defined]
    holder.rollback()
    with waiter.cursor() as cursor:
        cursor.execute("SET LOCK_TIMEOUT -1")
        cursor.execute(update, [author.pk])
        assert cursor.rowcount == 1


def test_locked_rows_are_refused_or_skipped(make: Make) -> None:
    first, second = (Author.objects.create(name=name) for name in ("locked", "free"))
    holder = make()
    holder.set_autocommit(False)
    with holder.cursor() as cursor:
        cursor.execute("SELECT name FROM backend_author WITH (UPDLOCK, ROWLOCK) WHERE id = %s", [first.pk])
        cursor.fetchall()
    try:
        with atomic():
            free = Author.objects.select_for_update(skip_locked=True).order_by("pk")
            assert list(free) == [second]
        with pytest.raises(OperationalError) as caught, atomic():
            Author.objects.select_for_update(nowait=True).get(pk=first.pk)
        assert caught.value.sqlserver.number == 1222  # type: ignore[attr-defined]
        with atomic():
            assert Author.objects.select_for_update(nowait=True).get(pk=second.pk) == second
    finally:
        holder.rollback()
    with atomic():
        assert Author.objects.select_for_update(nowait=True).get(pk=first.pk) == first


@pytest.mark.parametrize("mars", [False, True])
def test_two_results_can_be_read_in_turn(make: Make, mars: bool) -> None:
    Author.objects.bulk_create([Author(name=f"a{number:04}") for number in range(300)])
    alias = make(mars=mars)
    with alias.cursor() as first, alias.cursor() as second:
        first.execute("SELECT name FROM backend_author ORDER BY name")
        second.execute("SELECT id FROM backend_author ORDER BY id")
        pairs = [(first.fetchone(), second.fetchone()) for _ in range(300)]
        assert first.fetchone() is second.fetchone() is None
    assert [row[0][0] for row in pairs] == [f"a{number:04}" for number in range(300)]
    assert len({row[1][0] for row in pairs}) == 300


def test_a_result_may_be_read_while_it_is_changed() -> None:
    Author.objects.bulk_create([Author(name="n") for _ in range(500)])
    for author in Author.objects.iterator(chunk_size=50):
        Author.objects.filter(pk=author.pk).update(name=f"n{author.pk}")
    assert not Author.objects.filter(name="n").exists()


def test_a_collation_is_added_to_patterns(make: Make) -> None:
    like = make(collation="Latin1_General_100_CS_AS").operators["contains"]
    assert like == r"LIKE %s COLLATE Latin1_General_100_CS_AS ESCAPE '\'"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT CASE WHEN N'Abc' {like} THEN 1 ELSE 0 END", ["ab%"])
        assert cursor.fetchone() == (0,)
    assert "COLLATE" not in connection.operators["contains"]


def test_native_uuids(make: Make) -> None:
    alias = make(uuid_storage="uniqueidentifier")
    assert alias.data_types["UUIDField"] == "uniqueidentifier"
    assert alias.features.has_native_uuid_field
    assert str(value(alias, "SELECT CONVERT(uniqueidentifier, '00112233-4455-6677-8899-aabbccddeeff')")) == (
        "00112233-4455-6677-8899-aabbccddeeff"
    )
    assert not connection.features.has_native_uuid_field


def test_nothing_is_shared_between_aliases(make: Make) -> None:
    """What one alias is told does not show in another, nor on the classes."""
    before = {
        name: copy.copy(value) for name, value in vars(DatabaseWrapper).items() if isinstance(value, dict)
    }
    first = make(
        uuid_storage="uniqueidentifier", return_rows_bulk_insert=True, collation="Latin1_General_100_CS_AS"
    )
    second = make()
    first.ensure_connection()
    second.ensure_connection()
    assert first.data_types["UUIDField"] != second.data_types["UUIDField"]
    assert first.operators != second.operators
    assert second.features.can_return_rows_from_bulk_insert
    assert {name: vars(DatabaseWrapper)[name] for name in before} == before


@pytest.mark.parametrize("pooling", [True, False])
def test_the_driver_managers_pool_is_a_setting(make: Make, settings: Any, pooling: bool) -> None:
    settings.DATABASE_CONNECTION_POOLING = pooling
    assert value(make(), "SELECT 1") == 1
    assert pyodbc.pooling is pooling
    del settings.DATABASE_CONNECTION_POOLING
    assert value(make(), "SELECT 1") == 1
    assert pyodbc.pooling is False


def test_a_pool_on_a_real_server(make: Make) -> None:
    first, second = make(pool={"max_size": 2}), make(pool={"max_size": 2})
    try:
        session_id = value(first, "SELECT @@SPID")
        with first.cursor() as cursor:
            cursor.execute("SET LOCK_TIMEOUT 777; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            cursor.execute("CREATE TABLE #left_behind (id int)")
        first.close()
        assert value(second, "SELECT @@SPID") == session_id
        assert value(second, "SELECT @@LOCK_TIMEOUT") == -1
        assert value(second, ISOLATION) == 2
        assert value(second, "SELECT OBJECT_ID('tempdb..#left_behind')") is None
    finally:
        second.close()
        first.close_pool()
