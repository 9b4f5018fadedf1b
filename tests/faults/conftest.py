"""Aliases on the server under test, and a proxy that breaks connections as networks do."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections

from mssql.base import DatabaseWrapper
from tests.faults.proxy import Proxy

if TYPE_CHECKING:
    from pytest_django import DjangoDbBlocker

    from sqlserver_standin import Control, StandIn
    from tests.conftest import Server

ALIAS = "faulty"
QUICK = {"base_delay": 0.01, "max_delay": 0.02, "throttled_delay": 0.01, "budget": 120}
"""Retries as in production, but without the waits."""

MakeAlias = Callable[..., DatabaseWrapper]


def time_out_next(wrapper: DatabaseWrapper, *, parameters: bool) -> None:
    """Let the next statement (with or without parameters) time out after a second, and none after it: a machine that
    stalls takes longer than that for the others."""
    session = wrapper.connection
    assert session is not None
    patience = session.driver.timeout
    session.take(parameters).close()
    session.driver.timeout = 1  # holds for the cursors that are made from now on
    session.keep(parameters, session.driver.cursor())
    session.driver.timeout = patience


@pytest.fixture(scope="session")
def fault_database(server: Server, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """A database for these tests alone: they break transactions in ways that others would not survive."""
    name = f"faults_{uuid.uuid4().hex[:8]}"
    with django_db_blocker.unblock():
        wrapper = _wrapper(server, "master", {})
        with wrapper.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE [{name}]")
        wrapper.close()
        wrapper = _wrapper(server, name, {})
        with wrapper.cursor() as cursor:
            cursor.execute("CREATE TABLE dbo.work (id int IDENTITY PRIMARY KEY, note nvarchar(100) NOT NULL)")
            cursor.execute("CREATE TABLE dbo.account (id int PRIMARY KEY, balance int NOT NULL)")
            cursor.execute("CREATE TABLE dbo.transfer (id int PRIMARY KEY, amount int NOT NULL)")
        wrapper.close()
        yield name
        wrapper = _wrapper(server, "master", {})
        with wrapper.cursor() as cursor:
            # The server may still be at the end of a session whose client has gone.
            cursor.execute(f"ALTER DATABASE [{name}] SET SINGLE_USER WITH ROLLBACK IMMEDIATE")
            cursor.execute(f"DROP DATABASE [{name}]")
        wrapper.close()


def _wrapper(server: Server, name: str, settings: dict[str, Any], alias: str = ALIAS) -> DatabaseWrapper:
    options = {"trust_server_certificate": True, "app_name": "mssql-faults", **settings.pop("OPTIONS", {})}
    database = {
        "ENGINE": "mssql",
        "NAME": name,
        "HOST": server.host,
        "PORT": server.port,
        "USER": server.user,
        "PASSWORD": server.password,
        "OPTIONS": options,
        **settings,
    }
    return DatabaseWrapper(connections.configure_settings({"default": database})["default"], alias=alias)


@pytest.fixture
def make_alias(
    server: Server, fault_database: str, django_db_blocker: DjangoDbBlocker
) -> Iterator[MakeAlias]:
    """Registers an alias for this test: make_alias(OPTIONS={…}, HOST=…)."""
    made: list[DatabaseWrapper] = []

    def make(alias: str = ALIAS, **settings: Any) -> DatabaseWrapper:
        wrapper = _wrapper(server, fault_database, settings, alias)
        connections.settings[alias] = wrapper.settings_dict
        connections[alias] = wrapper
        made.append(wrapper)
        return wrapper

    with django_db_blocker.unblock():
        yield make
        for wrapper in made:
            wrapper.close()
            wrapper.close_pool()
            del connections[wrapper.alias]
            del connections.settings[wrapper.alias]


@pytest.fixture
def control(standin: StandIn) -> Iterator[Control]:
    """Arms faults; none is left for the next test."""
    standin.control.clear()
    yield standin.control
    standin.control.clear()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """A network in front of the server."""
    with Proxy(server.host, int(server.port)) as proxy:
        yield proxy


@pytest.fixture
def work(make_alias: MakeAlias) -> Callable[[], list[str]]:
    """The notes in dbo.work, read over a connection of its own; empty at the start."""
    reader = make_alias("reader")
    with reader.cursor() as cursor:
        cursor.execute("DELETE FROM dbo.work")

    def notes() -> list[str]:
        with reader.cursor() as cursor:
            cursor.execute("SELECT note FROM dbo.work ORDER BY id")
            return [note for (note,) in cursor.fetchall()]

    return notes
