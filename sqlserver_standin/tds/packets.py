"""TDS packets: the eight-byte header, and splitting a message into packets of the negotiated size."""

from __future__ import annotations

import enum
import struct

# https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/7af53667-1b72-4703-8258-7984e838f746
HEADER = struct.Struct(">BBHHBB")
HEADER_SIZE = HEADER.size
DEFAULT_PACKET_SIZE = 4096
MINIMUM_PACKET_SIZE = 512
MAXIMUM_PACKET_SIZE = 32767


class ProtocolError(Exception):
    """The client sent something that is not TDS; its connection has to be closed."""


class PacketType(enum.IntEnum):
    """First byte of a packet header."""

    SQL_BATCH = 1
    RPC = 3
    TABULAR_RESULT = 4
    ATTENTION = 6
    BULK_LOAD = 7
    FEDERATED_AUTHENTICATION = 8
    TRANSACTION_MANAGER = 14
    LOGIN7 = 16
    SSPI = 17
    PRELOGIN = 18


class Status(enum.IntFlag):
    """Second byte of a packet header."""

    NORMAL = 0x00
    END_OF_MESSAGE = 0x01
    IGNORE = 0x02
    RESET_CONNECTION = 0x08
    RESET_CONNECTION_SKIP_TRANSACTION = 0x10


def parse_header(data: bytes | bytearray) -> tuple[int, int, int]:
    """Type, status and whole length of the packet that ``data`` starts with; refuses impossible lengths."""
    kind, status, length, _spid, _number, _window = HEADER.unpack_from(data)
    if not HEADER_SIZE <= length <= MAXIMUM_PACKET_SIZE:
        raise ProtocolError(f"a packet of type {kind} announces a length of {length} bytes")
    return kind, status, length


def frame(
    kind: int,
    payload: bytes | bytearray,
    packet_size: int,
    *,
    number: int = 1,
    spid: int = 0,
    final: bool = True,
) -> tuple[bytes, int]:
    """``payload`` as consecutive packets, and the number that the next packet takes.

    The last packet is marked as the end of the message when ``final`` is set.
    """
    room = packet_size - HEADER_SIZE
    size = len(payload)
    if size <= room:
        status = Status.END_OF_MESSAGE if final else Status.NORMAL
        header = HEADER.pack(kind, status, size + HEADER_SIZE, spid & 0xFFFF, number & 0xFF, 0)
        return header + payload, number + 1
    parts: list[bytes | bytearray] = []
    for start in range(0, size, room):
        chunk = payload[start : start + room]
        last = final and start + room >= size
        status = Status.END_OF_MESSAGE if last else Status.NORMAL
        parts.append(HEADER.pack(kind, status, len(chunk) + HEADER_SIZE, spid & 0xFFFF, number & 0xFF, 0))
        parts.append(chunk)
        number += 1
    return b"".join(parts), number
