"""An alias on a server that only echoes: the driver and the wire are real, the engine answers what it was sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mssql.base import DatabaseWrapper
from sqlserver_standin.events import Column, Done, Event, ResultSet
from sqlserver_standin.server import Server
from sqlserver_standin.types import SqlType
from tests.sqlserver_standin.wire_support import PASSWORD, EchoInstance, echo_server

_TYPES = (
    "smallint",
    "nvarchar",
    "nvarchar",
    "int",
    "nvarchar",
    "int",
    "nvarchar",
    "bit",
    "nvarchar",
    "nvarchar",
)
FACTS: tuple[Any, ...] = (
    51, "master", "16.0.1000.6", 3, "Developer Edition", 160, "SQL_Latin1_General_CP1_CI_AS", True, None, None,
)  # fmt: skip


def rows(*values: tuple[Any, ...], type_name: str = "int") -> list[Event]:
    """A result set as the engine answers it."""
    width = len(values[0]) if values else 1
    return [
        ResultSet(tuple(Column(f"c{n}", SqlType(type_name, length=40)) for n in range(width)), list(values)),
        Done(len(values), "select"),
    ]


class Echo:
    """The server, an alias on it, and what the alias sent."""

    def __init__(self, server: Server) -> None:
        self.server = server
        assert isinstance(server.instance, EchoInstance)
        self.instance = server.instance
        self.scripts = server.instance.scripts
        self.wrappers: list[DatabaseWrapper] = []

    def alias(self, alias: str = "echo", **settings: Any) -> DatabaseWrapper:
        options = {"encrypt": False, **settings.pop("OPTIONS", {})}
        settings_dict: dict[str, Any] = {
            "ENGINE": "mssql",
            "NAME": "master",
            "HOST": "127.0.0.1",
            "PORT": str(self.server.port),
            "USER": "sa",
            "PASSWORD": PASSWORD,
            "OPTIONS": options,
            "ATOMIC_REQUESTS": False,
            "AUTOCOMMIT": True,
            "CONN_MAX_AGE": 0,
            "CONN_HEALTH_CHECKS": False,
            "TIME_ZONE": None,
            "TEST": {"CHARSET": None, "COLLATION": None, "MIGRATE": True, "MIRROR": None, "NAME": None},
        } | settings
        wrapper = DatabaseWrapper(settings_dict, alias)
        self.scripts[wrapper._set_up_sql()] = self.facts()
        self.wrappers.append(wrapper)
        return wrapper

    def facts(self, **changes: Any) -> list[Event]:
        """The answer to the questions asked after the login."""
        names = (
            "session_id", "database", "product_version", "engine_edition", "edition", "compatibility_level",
            "collation", "read_committed_snapshot", "instance_name", "update_type",
        )  # fmt: skip
        values = dict(zip(names, FACTS, strict=True)) | changes
        columns = tuple(
            Column(name, SqlType(kind, length=128)) for name, kind in zip(names, _TYPES, strict=True)
        )
        return [Done(None), ResultSet(columns, [tuple(values.values())]), Done(1, "select")]

    def sent(self) -> list[str]:
        """The messages since the last call: "kind: text"."""
        transcript = self.server.journal.messages(reset=True)["messages"]
        return [f"{message['kind']}: {message['sql']}" for message in transcript]


@contextmanager
def echo() -> Iterator[Echo]:
    with echo_server() as server:
        running = Echo(server)
        try:
            yield running
        finally:
            for wrapper in running.wrappers:
                wrapper.in_atomic_block = False
                wrapper.close()
                wrapper.close_pool()
