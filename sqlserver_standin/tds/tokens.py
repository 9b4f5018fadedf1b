"""Tokens of a server's answer that stand between result sets: errors, ends of statements, environment changes."""

from __future__ import annotations

import enum
import struct

from sqlserver_standin.events import EnvironmentChange, Message, SqlError
from sqlserver_standin.tds import collation
from sqlserver_standin.tds.buffer import encode_text

TDS_7_4 = 0x74000004


class Token(enum.IntEnum):
    """https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/67b6113c-d722-42d1-902c-3f6e8de09173"""

    RETURN_STATUS = 0x79
    ERROR = 0xAA
    INFO = 0xAB
    LOGIN_ACKNOWLEDGEMENT = 0xAD
    FEATURE_EXTENSION_ACKNOWLEDGEMENT = 0xAE
    ENVIRONMENT_CHANGE = 0xE3
    DONE = 0xFD
    DONE_PROCEDURE = 0xFE
    DONE_IN_PROCEDURE = 0xFF


class DoneStatus(enum.IntFlag):
    """Status of the DONE tokens
    (https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/3c06f110-98bd-4d5b-b836-b1ba66452cb7)."""

    FINAL = 0x000
    MORE = 0x001
    ERROR = 0x002
    IN_TRANSACTION = 0x004
    COUNT = 0x010
    ATTENTION = 0x020
    SERVER_ERROR = 0x100


# CurCmd of DONE: the statement that it ends. Clients show it as the "dynamic function" and tell SELECT by it.
_COMMANDS = {
    "select": 0xC1,
    "insert": 0xC3,
    "delete": 0xC4,
    "update": 0xC5,
    "create table": 0xC6,
    "drop table": 0xC7,
    "alter table": 0xD8,
    "begin transaction": 0xD4,
    "commit": 0xD5,
    "rollback": 0xD2,
    "merge": 0x117,
    "exec": 0xE0,
}


def command(name: str) -> int:
    """The number of a statement's kind; 0 for those that clients don't look at."""
    return _COMMANDS.get(name.lower(), 0)


_DONE = struct.Struct("<BHHQ")


def done(token: Token, status: int, current_command: int = 0, count: int = 0) -> bytes:
    return _DONE.pack(token, status, current_command, count)


def error(event: SqlError, server_name: str) -> bytes:
    return _message(Token.ERROR, event, server_name)


def information(event: Message, server_name: str) -> bytes:
    return _message(Token.INFO, event, server_name)


# SQL Server cuts message texts at 2,047 characters
# (https://learn.microsoft.com/sql/t-sql/language-elements/raiserror-transact-sql), PRINT at 4,000.
_LONGEST_MESSAGE = 4000


def _message(token: Token, event: SqlError | Message, server: str) -> bytes:
    raw = encode_text(event.text[:_LONGEST_MESSAGE])
    body = b"".join(
        (
            struct.pack("<iBBH", event.number, event.state & 0xFF, event.severity & 0xFF, len(raw) // 2),
            raw,
            _short_text(server),
            _short_text(event.procedure),
            struct.pack("<i", event.line),
        )
    )
    return struct.pack("<BH", token, len(body)) + body


def _short_text(text: str) -> bytes:
    raw = encode_text(text)[: 2 * 255]
    return bytes([len(raw) // 2]) + raw


def return_status(value: int) -> bytes:
    return struct.pack("<Bi", Token.RETURN_STATUS, value)


def login_acknowledgement(tds_version: int, server_version: tuple[int, int, int]) -> bytes:
    major, minor, build = server_version
    body = b"".join(
        (
            struct.pack(">BI", 1, tds_version),
            _short_text("Microsoft SQL Server"),
            struct.pack(">BBH", major, minor, build),
        )
    )
    return struct.pack("<BH", Token.LOGIN_ACKNOWLEDGEMENT, len(body)) + body


def feature_acknowledgement(features: dict[int, bytes]) -> bytes:
    parts = [bytes([Token.FEATURE_EXTENSION_ACKNOWLEDGEMENT])]
    for feature, data in features.items():
        parts.append(struct.pack("<BI", feature, len(data)) + data)
    return b"".join(parts) + b"\xff"


# https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/2b3eb7e5-d43d-4d1b-bf4d-76b9e3afc791
_TEXT_CHANGES = {"database": 1, "language": 2, "packet_size": 4}
_BINARY_CHANGES = {
    "collation": 7,
    "begin_transaction": 8,
    "commit_transaction": 9,
    "rollback_transaction": 10,
}
RESET_ACKNOWLEDGEMENT = struct.pack("<BHBBB", Token.ENVIRONMENT_CHANGE, 3, 18, 0, 0)


def environment_change(event: EnvironmentChange) -> bytes:
    if event.kind in _TEXT_CHANGES:
        body = (
            bytes([_TEXT_CHANGES[event.kind]])
            + _short_text(str(event.new))
            + _short_text(str(event.old or ""))
        )
    elif event.kind in _BINARY_CHANGES:
        body = bytes([_BINARY_CHANGES[event.kind]]) + _short_bytes(event.new) + _short_bytes(event.old)
    else:
        raise ValueError(f"no environment change {event.kind!r} in TDS")
    return struct.pack("<BH", Token.ENVIRONMENT_CHANGE, len(body)) + body


def _short_bytes(value: object) -> bytes:
    """A collation's name, a transaction descriptor as a number or as bytes, or nothing."""
    if value is None:
        return b"\0"
    if isinstance(value, str):
        raw = collation.encode(value)
    elif isinstance(value, int):
        raw = value.to_bytes(8, "little") if value else b""
    elif isinstance(value, bytes):
        raw = value
    else:
        raise TypeError(f"a {type(value).__name__} is no value of an environment change")
    return bytes([len(raw)]) + raw
