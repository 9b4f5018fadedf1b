"""A server with an engine that only echoes, for tests of the wire alone."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from sqlserver_standin.certificate import server_context
from sqlserver_standin.errors import sql_error
from sqlserver_standin.events import (
    Column,
    Done,
    EnvironmentChange,
    Event,
    Message,
    Parameter,
    ResultSet,
    ReturnStatus,
    ReturnValue,
    SqlError,
)
from sqlserver_standin.faults import Faults
from sqlserver_standin.journal import Journal
from sqlserver_standin.server import Server, listen
from sqlserver_standin.types import SqlType

PASSWORD = "Standin_2022"


class EchoSession:
    """Answers `echo` with its parameters as one row, and a few words that each name a situation."""

    def __init__(self, instance: EchoInstance, spid: int, database: str, login: dict[str, Any]) -> None:
        self.instance = instance
        self.spid = spid
        self.database = database
        self.login = login
        self.cancelled = threading.Event()
        self.resets = 0

    def execute(
        self, sql: str, parameters: Sequence[Parameter] = (), *, rpc: bool = False
    ) -> Iterator[Event]:
        self.cancelled.clear()
        self.instance.executed.append((sql, tuple(parameters)))
        if sql in self.instance.scripts:
            yield from self.instance.scripts[sql]
            return
        word, _, argument = sql.partition(" ")
        match word:
            case "echo":
                columns = tuple(Column(item.name.lstrip("@"), item.type) for item in parameters)
                yield ResultSet(columns, [tuple(item.value for item in parameters)])
                yield Done(1, "select")
            case "output":
                for item in parameters:
                    if item.output:
                        yield ReturnValue(item)
                yield Done(None)
            case "rows":
                columns = (
                    Column("id", SqlType("int"), nullable=False),
                    Column("name", SqlType("nvarchar", length=40)),
                )
                yield ResultSet(columns, ((number, f"name {number}") for number in range(int(argument))))
                yield Done(int(argument), "select")
            case "sleep":
                end = time.monotonic() + float(argument)
                while time.monotonic() < end:
                    if self.cancelled.wait(0.01):
                        raise SqlError(0, "cancelled")
                yield Done(None)
            case "raise":
                raise sql_error(int(argument), "x")
            case "crash":
                raise RuntimeError(argument)
            case _:
                yield Done(None)

    def call(self, procedure: str, parameters: Sequence[Parameter]) -> Iterator[Event]:
        if procedure.lower() != "add":
            raise sql_error(2812, procedure)
        first, second, total = parameters
        yield Message(0, f"adding {first.value} and {second.value}")
        yield ReturnValue(Parameter(total.name, SqlType("int"), first.value + second.value, output=True))
        yield ReturnStatus(7)

    def begin_transaction(self, isolation: int) -> Iterator[Event]:
        yield EnvironmentChange("begin_transaction", b"\x01" + bytes(7))

    def commit_transaction(self) -> Iterator[Event]:
        yield EnvironmentChange("commit_transaction", None, b"\x01" + bytes(7))

    def rollback_transaction(self, name: str = "") -> Iterator[Event]:
        yield EnvironmentChange("rollback_transaction", None, b"\x01" + bytes(7))

    def cancel(self) -> None:
        self.cancelled.set()

    def reset(self) -> None:
        self.resets += 1

    def close(self) -> None:
        self.instance.sessions.pop(self.spid, None)


class EchoInstance:
    """Keeps the sessions of its clients; ``scripts`` maps a SQL text to the events that answer it."""

    server_name = "STANDIN"

    def __init__(self) -> None:
        self.sessions: dict[int, EchoSession] = {}
        self.scripts: dict[str, list[Event]] = {}
        self.executed: list[tuple[str, tuple[Parameter, ...]]] = []
        self._spids = itertools.count(51)

    def login(self, *, user: str, password: str, database: str, **facts: Any) -> EchoSession:
        if (user, password) != ("sa", PASSWORD):
            raise sql_error(18456, user)
        if database not in ("", "master"):
            raise sql_error(4060, database)
        spid = next(self._spids)
        self.sessions[spid] = EchoSession(self, spid, "master", facts)
        return self.sessions[spid]

    def close(self) -> None:
        pass


@contextlib.contextmanager
def echo_server() -> Iterator[Server]:
    """A server on a free port, in this process."""
    server = Server(
        EchoInstance(),
        listen("127.0.0.1", 0),
        tls=server_context(),
        faults=Faults(),
        journal=Journal(statements_file=None, controlled=True),
    )
    server.start()
    try:
        yield server
    finally:
        server.stop()
