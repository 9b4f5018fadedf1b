"""A connection that died is noticed, closed and not used again; a cancelled query leaves a clean one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from django.db import DatabaseError, OperationalError, connections, transaction

from mssql import errors
from mssql.base import DatabaseWrapper
from mssql.errors import ConnectionState, ErrorClass
from tests.faults.conftest import ALIAS, QUICK, MakeAlias, time_out_next
from tests.faults.proxy import Proxy

if TYPE_CHECKING:
    from sqlserver_standin import Control


def answers(wrapper: DatabaseWrapper) -> bool:
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT 1")
        return bool(cursor.fetchone() == (1,))


@pytest.fixture
def behind_proxy(make_alias: MakeAlias, proxy: Proxy) -> Callable[..., DatabaseWrapper]:
    def make(**settings: Any) -> DatabaseWrapper:
        options = {"query_timeout": 60, "retry": {"connect": QUICK}, **settings.pop("OPTIONS", {})}
        return make_alias(HOST="127.0.0.1", PORT=str(proxy.port), OPTIONS=options, **settings)

    return make


def test_a_lost_connection_fails_one_statement_and_the_next_works(
    behind_proxy: Callable[..., DatabaseWrapper], proxy: Proxy
) -> None:
    wrapper = behind_proxy()
    assert answers(wrapper)
    dead = wrapper.connection
    proxy.close_all()
    with pytest.raises(OperationalError) as caught:
        answers(wrapper)
    error = errors.describe(caught.value)
    assert error is not None
    assert error.error_class is ErrorClass.CONNECTION_LOST
    assert error.connection_state is ConnectionState.BROKEN
    assert answers(wrapper)
    assert wrapper.connection is not dead
    assert proxy.connections == 2


def test_a_connection_lost_within_a_transaction_ends_the_block_only(
    behind_proxy: Callable[..., DatabaseWrapper], proxy: Proxy, work: Callable[[], list[str]]
) -> None:
    wrapper = behind_proxy()

    def write() -> None:
        with transaction.atomic(using=ALIAS), wrapper.cursor() as cursor:
            cursor.execute("INSERT INTO dbo.work (note) VALUES ('lost')")
            proxy.close_all(reset=True)
            cursor.execute("INSERT INTO dbo.work (note) VALUES ('lost too')")

    with pytest.raises(OperationalError):
        write()
    with transaction.atomic(using=ALIAS), wrapper.cursor() as cursor:
        cursor.execute("INSERT INTO dbo.work (note) VALUES ('kept')")
    assert work() == ["kept"]


def test_health_checks_replace_a_connection_that_died_between_requests(
    behind_proxy: Callable[..., DatabaseWrapper], proxy: Proxy
) -> None:
    wrapper = behind_proxy(CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True)
    assert answers(wrapper)
    wrapper.close_if_unusable_or_obsolete()  # the end of a request, and the start of the next
    proxy.close_all()
    wrapper.close_if_unusable_or_obsolete()
    assert answers(wrapper)
    assert proxy.connections == 2


def test_without_health_checks_a_living_connection_is_kept(
    behind_proxy: Callable[..., DatabaseWrapper], proxy: Proxy
) -> None:
    wrapper = behind_proxy(CONN_MAX_AGE=None)
    for _ in range(3):
        assert answers(wrapper)
        wrapper.close_if_unusable_or_obsolete()
    assert proxy.connections == 1


def test_connections_end_with_the_request_by_default(
    behind_proxy: Callable[..., DatabaseWrapper], proxy: Proxy
) -> None:
    wrapper = behind_proxy()
    for _ in range(2):
        assert answers(wrapper)
        wrapper.close_if_unusable_or_obsolete()
        assert wrapper.connection is None
    assert proxy.connections == 2


def test_a_connection_that_had_an_error_is_looked_at_before_it_is_kept(
    behind_proxy: Callable[..., DatabaseWrapper], proxy: Proxy
) -> None:
    wrapper = behind_proxy(CONN_MAX_AGE=None)
    with pytest.raises(DatabaseError), wrapper.cursor() as cursor:
        cursor.execute("SELECT * FROM dbo.no_such_table")
    proxy.close_all()
    wrapper.close_if_unusable_or_obsolete()
    assert answers(wrapper)


def test_a_dead_connection_never_comes_out_of_the_pool(
    behind_proxy: Callable[..., DatabaseWrapper], proxy: Proxy
) -> None:
    wrapper = behind_proxy(OPTIONS={"pool": {"max_size": 4}})

    def hold(barrier: threading.Barrier) -> None:
        connection = connections[ALIAS]
        try:
            answers(connection)
            barrier.wait(60)
        finally:
            connection.close()

    barrier = threading.Barrier(4)
    threads = [threading.Thread(target=hold, args=(barrier,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert proxy.connections == 4
    proxy.close_all(reset=True)
    for _ in range(6):
        assert answers(wrapper)
        wrapper.close()


def test_a_connection_that_broke_in_use_does_not_return_to_the_pool(
    behind_proxy: Callable[..., DatabaseWrapper], proxy: Proxy
) -> None:
    wrapper = behind_proxy(OPTIONS={"pool": {"max_size": 1, "timeout": 60}})
    for _ in range(3):
        assert answers(wrapper)
        proxy.close_all()
        with pytest.raises(OperationalError):
            answers(wrapper)
        wrapper.close()
    assert answers(wrapper)


@pytest.mark.standin
def test_a_query_timeout_cancels_on_the_server_and_leaves_the_connection_clean(
    make_alias: MakeAlias, control: Control, work: Callable[[], list[str]]
) -> None:
    wrapper = make_alias(OPTIONS={"query_timeout": 60})
    assert answers(wrapper)
    connection = wrapper.connection
    time_out_next(wrapper, parameters=False)
    control.hang(matching="/* slow */")
    with pytest.raises(OperationalError) as caught, wrapper.cursor() as cursor:
        cursor.execute("SELECT 2 /* slow */")
    error = errors.describe(caught.value)
    assert error is not None
    assert error.error_class is ErrorClass.QUERY_TIMEOUT
    for _ in range(3):
        assert answers(wrapper)
    assert wrapper.connection is connection


@pytest.mark.standin
def test_the_option_is_the_seconds_that_a_query_may_take(make_alias: MakeAlias, control: Control) -> None:
    wrapper = make_alias(OPTIONS={"query_timeout": 8})
    wrapper.ensure_connection()
    control.hang(matching="/* slow */")
    started = time.perf_counter()
    with pytest.raises(OperationalError) as caught, wrapper.cursor() as cursor:
        cursor.execute("SELECT 2 /* slow */")
    assert time.perf_counter() - started > 7
    assert caught.value.sqlserver.error_class is ErrorClass.QUERY_TIMEOUT  # type: ignore[attr-defined]


@pytest.mark.standin
def test_a_query_timeout_within_a_transaction_leaves_it_to_the_application(
    make_alias: MakeAlias, control: Control, work: Callable[[], list[str]]
) -> None:
    wrapper = make_alias(OPTIONS={"query_timeout": 60})
    control.hang(matching="/* slow */")
    with transaction.atomic(using=ALIAS), wrapper.cursor() as cursor:
        cursor.execute("INSERT INTO dbo.work (note) VALUES ('kept')")
        time_out_next(wrapper, parameters=True)
        with pytest.raises(OperationalError), transaction.atomic(using=ALIAS):
            cursor.execute("INSERT INTO dbo.work (note) VALUES (%s) /* slow */", ["slow"])
    assert work() == ["kept"]


def test_a_slow_server_is_waited_for(make_alias: MakeAlias, control: Control) -> None:
    wrapper = make_alias(OPTIONS={"query_timeout": 60})
    control.delay(0.5, matching="SELECT 1")
    started = time.perf_counter()
    assert answers(wrapper)
    assert time.perf_counter() - started >= 0.5
