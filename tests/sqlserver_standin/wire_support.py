"""A server with an engine that only echoes, for tests of the wire alone."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import platform
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from mssql.odbc import pyodbc
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
from sqlserver_standin.releases import DEFAULT_RELEASE, RELEASES
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
        self.closed = threading.Event()
        self.resets = 0

    def execute(
        self, sql: str, parameters: Sequence[Parameter] = (), *, rpc: bool = False
    ) -> Iterator[Event]:
        self.instance.executed.append((sql, tuple(parameters)))
        if sql in self.instance.scripts:
            yield from self.instance.scripts[sql]
            return
        word, argument = (*sql.split(maxsplit=2), "", "")[:2]
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
                raise sql_error(int(argument), *"xyzw")
            case "crash":
                raise RuntimeError(argument)
            case _:
                yield Done(None)

    def call(self, procedure: str, parameters: Sequence[Parameter]) -> Iterator[Event]:
        if procedure.lower() != "add":
            raise sql_error(2812, procedure)
        if len(parameters) != 3:
            raise sql_error(201, procedure, "@sum")
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

    def roll_back_after_error(self) -> Iterator[Event]:
        yield from self.rollback_transaction()

    def cancel(self) -> None:
        self.cancelled.set()

    def forget_cancel(self) -> None:
        self.cancelled.clear()

    def reset(self) -> None:
        self.resets += 1

    def close(self) -> None:
        self.instance.sessions.pop(self.spid, None)
        self.closed.set()


class EchoInstance:
    """Keeps the sessions of its clients; ``scripts`` maps a SQL text to the events that answer it."""

    server_name = "STANDIN"
    release = RELEASES[DEFAULT_RELEASE]

    def __init__(self) -> None:
        self.sessions: dict[int, EchoSession] = {}
        self.scripts: dict[str, list[Event]] = {}
        self.executed: list[tuple[str, tuple[Parameter, ...]]] = []
        self.opened: list[EchoSession] = []
        self._spids = itertools.count(51)

    def login(self, *, user: str, password: str, database: str, **facts: Any) -> EchoSession:
        if (user, password) != ("sa", PASSWORD):
            raise sql_error(18456, user)
        if database not in ("", "master"):
            raise sql_error(4060, database)
        spid = next(self._spids)
        session = self.sessions[spid] = EchoSession(self, spid, "master", facts)
        self.opened.append(session)
        return session

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


def driver_path() -> str:
    """The library of Microsoft's ODBC driver, from its wheel."""
    root = importlib.util.find_spec("mssql_python_odbc")
    assert root is not None
    assert root.submodule_search_locations
    pattern = f"libs/linux/debian_ubuntu/{platform.machine()}/lib/libmsodbcsql*"
    return str(next(Path(root.submodule_search_locations[0]).glob(pattern)))


def odbc_connect(server: Server, *, encrypt: str = "no", **options: Any) -> Any:
    """A pyodbc connection to the echo server."""
    keywords = {
        "UID": "sa",
        "PWD": PASSWORD,
        "Encrypt": encrypt,
        "TrustServerCertificate": "yes",
        "APP": "wire tests",
    }
    keywords |= {name: str(options.pop(name)) for name in list(options) if name[0].isupper()}
    text = ";".join(f"{name}={value}" for name, value in keywords.items())
    options = {"autocommit": True, "timeout": 60, **options}
    return pyodbc.connect(f"Driver={driver_path()};Server=127.0.0.1,{server.port};{text}", **options)


class RawClient:
    """Sends packets byte by byte as a test wants them, without encryption."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=100)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, kind: int, payload: bytes, *, status: int = 1, length: int | None = None) -> None:
        length = len(payload) + 8 if length is None else length
        self.socket.sendall(struct.pack(">BBHHBB", kind, status, length, 0, 1, 0) + payload)

    def receive(self) -> bytes:
        """The payload of the next message."""
        message = b""
        while True:
            header = self._exactly(8)
            _, status, length, _, _, _ = struct.unpack(">BBHHBB", header)
            message += self._exactly(length - 8)
            if status & 1:
                return message

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            chunk = self.socket.recv(size - len(data))
            if not chunk:
                raise EOFError
            data += chunk
        return data

    def closed(self) -> bool:
        """Whether the server has closed the connection, whatever it sent before."""
        try:
            while self.socket.recv(4096):
                pass
        except ConnectionResetError:
            pass
        except TimeoutError:
            return False
        return True

    def log_in(self, *, mars: bool = False, **options: Any) -> bytes:
        self.send(18, PRELOGIN_MARS if mars else PRELOGIN)
        self.receive()
        self.send(16, login7(**options))
        return self.receive()


# VERSION and ENCRYPTION (not supported), nothing else.
PRELOGIN = bytes.fromhex("00000b00060100110001ff") + bytes(6) + b"\x02"

PRELOGIN_MARS = bytes.fromhex("000010000601001600010400170001ff") + bytes(6) + b"\x02\x01"


def smp(flag: int, number: int, data: bytes = b"", *, sequence: int = 0, window: int = 4) -> bytes:
    """A packet of the Session Multiplex Protocol."""
    return struct.pack("<BBHIII", 0x53, flag, number, 16 + len(data), sequence, window) + data


def login7(
    *,
    user: str = "sa",
    password: str = PASSWORD,
    database: str = "",
    version: int = 0x74000004,
    packet_size: int = 4096,
    flags2: int = 0,
    flags3: int = 0,
    features: bytes = b"",
) -> bytes:
    """A LOGIN7 message."""
    hidden = bytes(((byte << 4 | byte >> 4) & 0xFF) ^ 0xA5 for byte in password.encode("utf-16-le"))
    values = [
        b"", user.encode("utf-16-le"), hidden, "raw".encode("utf-16-le"), b"",
        b"", b"", b"", database.encode("utf-16-le"),
    ]  # fmt: skip
    offset = 94
    extension = b""
    if features:
        flags3 |= 0x10
        extension = struct.pack("<I", offset + sum(map(len, values)) + 4) + features
        values[5] = extension[:4]
    fields = b""
    for index, value in enumerate(values):
        size = len(value) if index == 5 else len(value) // 2
        fields += struct.pack("<HH", offset, size)
        offset += len(value)
    fields += bytes(6) + struct.pack("<HHHHHHI", offset, 0, offset, 0, offset, 0, 0)
    body = b"".join(values) + extension[4:]
    head = struct.pack("<IIIIIBBBBiI", version, packet_size, 0, 4242, 0, 0, flags2, 0, flags3, 0, 1033)
    return struct.pack("<I", 4 + len(head) + len(fields) + len(body)) + head + fields + body


HEADERS = struct.pack("<IIHQI", 22, 18, 2, 0, 1)
"""ALL_HEADERS with a transaction descriptor."""


def batch(sql: str) -> bytes:
    return HEADERS + sql.encode("utf-16-le")


def nvarchar(value: str) -> bytes:
    """An unnamed parameter of a procedure call."""
    raw = value.encode("utf-16-le")
    return b"\x00\x00\xe7" + struct.pack("<H", 8000) + bytes(5) + struct.pack("<H", len(raw)) + raw


@dataclass
class Answer:
    """The tokens of an answer without result sets."""

    errors: list[tuple[int, str]] = field(default_factory=list)
    messages: list[tuple[int, str]] = field(default_factory=list)
    changes: dict[int, bytes] = field(default_factory=dict)
    done: list[tuple[int, int, int]] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    features: bytes = b""


def parse_answer(data: bytes) -> Answer:
    answer = Answer()
    position = 0
    while position < len(data):
        token = data[position]
        answer.tokens.append(token)
        if token in (0xFD, 0xFE, 0xFF):
            _, status, _, count = struct.unpack_from("<BHHQ", data, position)
            answer.done.append((token, status, count))
            position += 13
        elif token == 0x79:
            position += 5
        elif token == 0xAE:
            end = data.index(b"\xff", position)
            answer.features = data[position + 1 : end]
            position = end + 1
        else:
            (size,) = struct.unpack_from("<H", data, position + 1)
            body = data[position + 3 : position + 3 + size]
            if token in (0xAA, 0xAB):
                number, _, _, length = struct.unpack_from("<iBBH", body)
                text = body[8 : 8 + 2 * length].decode("utf-16-le")
                (answer.errors if token == 0xAA else answer.messages).append((number, text))
            elif token == 0xE3:
                answer.changes[body[0]] = body[1:]
            else:
                assert token == 0xAD, hex(token)
            position += 3 + size
    return answer
