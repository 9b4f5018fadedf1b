"""OPTIONS["pool"]: sessions are shared, renewed, limited, and thrown away when they are dead."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError
from pytest_django import DjangoDbBlocker

from mssql.base import DatabaseWrapper
from mssql.odbc import pyodbc
from mssql.pool import PoolOptions
from sqlserver_standin.faults import FaultKind, StatementFault
from tests.backend.echo import Echo, echo


@pytest.fixture(scope="module")
def engine(django_db_blocker: DjangoDbBlocker) -> Iterator[Echo]:
    with django_db_blocker.unblock(), echo() as running:
        yield running


@pytest.fixture
def make(engine: Echo, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Makes wrappers of one pooled alias, one for each thread as Django does."""
    made: list[DatabaseWrapper] = []

    def make(pool: bool | dict[str, Any] = True, **settings: Any) -> DatabaseWrapper:
        made.append(engine.alias(request.node.name, OPTIONS={"pool": pool}, **settings))
        return made[-1]

    yield make
    for wrapper in made:
        wrapper.close()
    made[0].close_pool()


def session_of(alias: DatabaseWrapper) -> Any:
    alias.ensure_connection()
    assert alias.connection is not None
    return alias.connection


def test_a_session_serves_one_after_the_other(engine: Echo, make: Any) -> None:
    first, second = make(), make()
    session = session_of(first)
    first.close()
    assert first.connection is None
    engine.sent()
    assert session_of(second) is session
    # The reset rides on the message that sets the session up again.
    (message,) = engine.sent()
    assert message.startswith("batch: SET DATEFORMAT")


def test_a_used_session_is_reset(engine: Echo, make: Any) -> None:
    alias = make()
    session_of(alias)
    alias.close()
    session_of(alias)
    assert sum(session.resets for session in engine.instance.sessions.values()) == 1


def test_what_was_prepared_before_is_prepared_again(make: Any) -> None:
    alias = make()
    for value in range(3):
        with alias.cursor() as cursor:
            cursor.execute("echo %s", [value])
            assert cursor.fetchall() == [(value,)]
        alias.close()


def test_an_open_transaction_does_not_go_to_the_next_user(engine: Echo, make: Any) -> None:
    alias = make()
    alias.set_autocommit(False)
    with alias.cursor() as cursor:
        cursor.execute("nothing")
    alias.close()
    assert engine.sent()[-1] == "batch: IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION"
    assert session_of(make()).autocommit


def test_a_session_that_died_idle_is_replaced_unseen(engine: Echo, make: Any) -> None:
    first, second = make(), make()
    session = session_of(first)
    first.close()
    engine.server.faults.arm(StatementFault(FaultKind.DROP_BEFORE))
    assert session_of(second) is not session
    assert len(second.pool) == 1


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as Python takes it; a shell's background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_session_whose_answer_was_interrupted_is_not_given_on(make: Any, interruptible: None) -> None:
    alias = make()
    session = session_of(alias)
    with pytest.raises(KeyboardInterrupt), alias.wrap_database_errors:
        # What pyodbc makes of Ctrl-C in a read.
        raise pyodbc.Error("HY000", "The driver did not supply an error!")
    assert session.driver.closed
    assert len(alias.pool) == 0
    assert session_of(alias) is not session


def test_an_interrupt_while_a_session_is_renewed_keeps_its_place_free(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(session: Any) -> None:
        raise KeyboardInterrupt

    alias = make({"max_size": 1, "timeout": 0.1})
    session_of(alias)
    alias.close()
    with monkeypatch.context() as patched:
        patched.setattr(alias, "_renew", interrupted)
        with pytest.raises(KeyboardInterrupt):
            alias.ensure_connection()
    assert len(alias.pool) == 0
    assert session_of(alias)


def test_a_session_that_died_in_use_is_not_given_on(engine: Echo, make: Any) -> None:
    first, second = make(), make()
    session = session_of(first)
    engine.server.faults.arm(StatementFault(FaultKind.DROP_BEFORE))
    with first.cursor() as cursor, pytest.raises(OperationalError):
        cursor.execute("nothing")
    assert len(first.pool) == 0
    assert session_of(second) is not session


def test_no_more_than_max_size_are_open(make: Any) -> None:
    first, second, third = (make({"max_size": 2, "timeout": 0.1}) for _ in range(3))
    session_of(first)
    session_of(second)
    with pytest.raises(OperationalError, match="None of the 2 pooled connections came free"):
        third.ensure_connection()
    first.close()
    assert session_of(third)


def test_who_waits_gets_what_comes_free(make: Any) -> None:
    first, second = make({"max_size": 1, "timeout": 60}), make({"max_size": 1, "timeout": 60})
    session = session_of(first)
    second.inc_thread_sharing()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(session_of, second)
        while first.pool._waiting == 0:
            time.sleep(0.01)
        first.close()
        assert waiting.result(timeout=60) is session


def test_a_queue_that_is_too_long_is_refused_at_once(make: Any) -> None:
    options = {"max_size": 1, "timeout": 60, "max_waiting": 1}
    first, second, third = (make(options) for _ in range(3))
    session_of(first)
    second.inc_thread_sharing()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(session_of, second)
        while first.pool._waiting == 0:
            time.sleep(0.01)
        with pytest.raises(OperationalError, match="wait already"):
            third.ensure_connection()
        first.close()
        waiting.result(timeout=60)


@pytest.mark.parametrize("limit", ["max_lifetime", "max_idle"])
def test_an_old_session_is_closed(make: Any, limit: str) -> None:
    first = make({limit: 0.01})
    session = session_of(first)
    first.close()
    time.sleep(0.02)
    assert session_of(first) is not session
    assert session.driver.closed
    assert len(first.pool) == 1


def test_threads_never_share_a_session(engine: Echo, make: Any) -> None:
    in_use: set[int] = set()
    lock = threading.Lock()
    aliases = [make({"max_size": 3, "timeout": 100}) for _ in range(8)]

    def work(alias: DatabaseWrapper) -> None:
        alias.inc_thread_sharing()
        for value in range(20):
            session = session_of(alias)
            with lock:
                assert id(session) not in in_use
                in_use.add(id(session))
            with alias.cursor() as cursor:
                cursor.execute("echo %s", [value])
                assert cursor.fetchall() == [(value,)]
            with lock:
                in_use.remove(id(session))
            alias.close()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, aliases))
    assert len(aliases[0].pool) <= 3


def test_persistent_connections_and_a_pool_are_two_answers_to_one_question(make: Any) -> None:
    make()
    with pytest.raises(ImproperlyConfigured, match="CONN_MAX_AGE"):
        make(CONN_MAX_AGE=60).ensure_connection()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"size": 3}, "unknown key 'size' (value 3)"),
        ({"max_size": 0}, "max_size (0)"),
        ({"min_size": 5, "max_size": 3}, "min_size (5)"),
        ({"timeout": "30"}, "['timeout'] is '30'"),
        ({"max_size": 2.5}, "whole number"),
        ({"max_idle": -1}, "0 or more"),
    ],
)
def test_a_bad_pool_option_is_named(option: dict[str, Any], message: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        PoolOptions.from_option(option)
    assert message in str(caught.value)


def test_every_wrapper_knows_the_server(make: Any) -> None:
    first, second, third = make(), make(), make()
    session_of(first)
    first.close()
    session_of(second)
    assert second.features.is_sql_server_2022
    second.close()
    # As when SQL is compiled before a thread's first query.
    assert third.features.is_sql_server_2022
