"""Broken and hostile packets end their own connection, with a reason in the log, and nothing else."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import struct
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sqlserver_standin.server import Server
from tests.sqlserver_standin.wire_support import (
    HEADERS,
    PRELOGIN,
    RawClient,
    batch,
    echo_server,
    login7,
    nvarchar,
    parse_answer,
    smp,
)

FUZZ = settings(
    max_examples=150,
    deadline=None,  # a busy machine is no failure
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

EXECUTE_SQL = (
    HEADERS + struct.pack("<HHH", 0xFFFF, 10, 0) + nvarchar("echo @a") + nvarchar("@a int, @b nvarchar(max)")
)
EXECUTE_SQL += b"\x00\x00\x26\x04\x04\x2a\x00\x00\x00" + b"\x00\x00\xe7\xff\xff" + bytes(5)
EXECUTE_SQL += struct.pack("<QI", 6, 6) + "abc".encode("utf-16-le") + bytes(4)
PREPARE = HEADERS + struct.pack("<HHH", 0xFFFF, 13, 0) + b"\x00\x01\x26\x04\x00" + nvarchar("@a decimal(9,2)")
PREPARE += nvarchar("echo @a") + b"\x00\x00\x6a\x05\x09\x02\x05\x01\x96\x00\x00\x00"
BEGIN = HEADERS + struct.pack("<HBB", 5, 2, 0)

# Packet type and payload of requests that a server takes.
REQUESTS = [
    (1, batch("echo")),
    (3, EXECUTE_SQL),
    (3, PREPARE),
    (3, HEADERS + struct.pack("<H", 3) + "add".encode("utf-16-le") + bytes(2)),
    (14, BEGIN),
    (6, b""),
]


class Log(logging.Handler):
    """Collects what the server logs."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture(scope="module")
def log() -> Iterator[Log]:
    handler = Log()
    logger = logging.getLogger("sqlserver_standin")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture(scope="module")
def echo() -> Iterator[Server]:
    with echo_server() as server:
        yield server


@pytest.fixture(scope="module")
def bystander(echo: Server) -> Iterator[RawClient]:
    """A connection that was there before and has to live on."""
    with RawClient(echo.port) as client:
        client.log_in()
        yield client


@st.composite
def mutations(draw: st.DrawFn, data: bytes) -> bytes:
    """``data`` with bytes changed, left out, put in, repeated, or cut off."""
    broken = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        position = draw(st.integers(0, max(len(broken) - 1, 0)))
        match draw(st.sampled_from(["change", "remove", "insert", "repeat", "cut"])):
            case "change" if broken:
                broken[position] = draw(st.integers(0, 255))
            case "remove":
                del broken[position : position + draw(st.integers(1, 8))]
            case "insert":
                broken[position:position] = draw(st.binary(min_size=1, max_size=8))
            case "repeat":
                broken[position:position] = broken[position : position + draw(st.integers(1, 64))]
            case "cut":
                del broken[position:]
    return bytes(broken)


def survives(client: RawClient, log: Log, bystander: RawClient) -> None:
    """The server answers or closes ``client``, has not failed itself, and serves the bystander."""
    with contextlib.suppress(OSError):
        client.socket.shutdown(socket.SHUT_WR)
    assert client.closed(), "the server neither answered nor closed"
    failures = [record.getMessage() for record in log.records if record.levelno >= logging.ERROR]
    log.records.clear()
    assert not failures
    bystander.send(1, batch("anything"))
    assert parse_answer(bystander.receive()).done == [(0xFD, 0, 0)]


@FUZZ
@given(data=st.data())
def test_a_broken_start(data: st.DataObject, echo: Server, log: Log, bystander: RawClient) -> None:
    raw = data.draw(
        st.one_of(
            st.binary(max_size=200),
            mutations(struct.pack(">BBHHBB", 18, 1, len(PRELOGIN) + 8, 0, 1, 0) + PRELOGIN),
        )
    )
    with RawClient(echo.port) as client:
        client.socket.sendall(raw)
        survives(client, log, bystander)


@FUZZ
@given(payload=mutations(PRELOGIN))
def test_a_broken_prelogin(payload: bytes, echo: Server, log: Log, bystander: RawClient) -> None:
    with RawClient(echo.port) as client:
        client.send(18, payload)
        survives(client, log, bystander)


@FUZZ
@given(payload=mutations(login7(features=b"\x0a" + bytes(4) + b"\xff")))
def test_a_broken_login(payload: bytes, echo: Server, log: Log, bystander: RawClient) -> None:
    with RawClient(echo.port) as client:
        client.send(18, PRELOGIN)
        client.receive()
        client.send(16, payload)
        survives(client, log, bystander)


@FUZZ
@given(garbage=st.binary(max_size=300), in_packet=st.booleans())
def test_a_broken_tls_handshake(
    garbage: bytes, in_packet: bool, echo: Server, log: Log, bystander: RawClient
) -> None:
    with RawClient(echo.port) as client:
        client.send(18, PRELOGIN[:-1] + b"\x01")
        client.receive()
        if in_packet:
            client.send(18, garbage)
        else:
            client.socket.sendall(garbage)
        survives(client, log, bystander)


@settings(FUZZ, max_examples=400)
@given(data=st.data(), request=st.sampled_from(REQUESTS), status=st.sampled_from([0, 1, 1, 1, 3, 9, 0xFF]))
def test_a_broken_request(
    data: st.DataObject, request: tuple[int, bytes], status: int, echo: Server, log: Log, bystander: RawClient
) -> None:
    kind, payload = request
    with RawClient(echo.port) as client:
        client.log_in()
        client.send(kind, data.draw(mutations(payload)), status=status)
        survives(client, log, bystander)


@FUZZ
@given(
    packets=st.lists(
        st.tuples(
            st.sampled_from([1, 3, 4, 6, 7, 14, 16, 17, 18, 99]), st.binary(max_size=40), st.integers(0, 255)
        ),
        max_size=6,
    )
)
def test_packets_in_any_order(
    packets: list[tuple[int, bytes, int]], echo: Server, log: Log, bystander: RawClient
) -> None:
    with RawClient(echo.port) as client:
        client.log_in()
        for kind, payload, status in packets:
            with contextlib.suppress(OSError):
                client.send(kind, payload, status=status)
        survives(client, log, bystander)


@FUZZ
@given(data=st.data())
def test_broken_multiplexing(data: st.DataObject, echo: Server, log: Log, bystander: RawClient) -> None:
    message = batch("echo")
    packet = struct.pack(">BBHHBB", 1, 1, len(message) + 8, 0, 1, 0) + message
    whole = smp(0x01, 0) + smp(0x08, 0, packet, sequence=1) + smp(0x01, 1) + smp(0x08, 1, packet, sequence=1)
    with RawClient(echo.port) as client:
        client.log_in(mars=True)
        client.socket.sendall(data.draw(mutations(whole + smp(0x04, 0))))
        survives(client, log, bystander)


@FUZZ
@given(kind=st.integers(0, 255), length=st.integers(0, 65535), payload=st.binary(max_size=64))
def test_a_wrong_length(
    kind: int, length: int, payload: bytes, echo: Server, log: Log, bystander: RawClient
) -> None:
    with RawClient(echo.port) as client:
        client.log_in()
        client.send(kind, payload, length=length)
        survives(client, log, bystander)


@pytest.mark.parametrize(
    ("send", "reason"),
    [
        (lambda client: client.send(99, b"x"), "a packet of type 99 instead of PRELOGIN"),
        (lambda client: client.send(18, PRELOGIN, length=5), "announces a length of 5 bytes"),
        (lambda client: client.send(18, b"\x00\x00"), "PRELOGIN ends within an option"),
        (lambda client: client.socket.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01"), "Encrypt=strict"),
        (lambda client: client.send(18, bytes(32_000), status=0) or [
            client.send(18, bytes(32_000), status=0) for _ in range(8)
        ], "a message of more than"),
    ],
    ids=["type", "length", "prelogin", "strict", "huge"],
)  # fmt: skip
def test_the_log_says_why_a_connection_was_closed(
    send: object, reason: str, echo: Server, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(send)
    with RawClient(echo.port) as client, contextlib.suppress(OSError):
        send(client)
        assert client.closed()
    assert [
        record
        for record in caplog.records
        if "broke the protocol" in record.message and reason in record.message
    ]


def test_a_client_that_speaks_tls_at_once_is_told_in_the_log(
    echo: Server, caplog: pytest.LogCaptureFixture
) -> None:
    context = ssl.create_default_context()
    with RawClient(echo.port) as client, pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(client.socket, server_hostname="localhost")
    assert "Encrypt=strict" in caplog.text
