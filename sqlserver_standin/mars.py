"""MARS: several dialogues on one connection, each in a session of the Session Multiplex Protocol.

Each request is executed to its end and its answer kept until the client takes it, so that the one session of the
engine never has two statements open; SQL Server interleaves them at such points, too.
Specification: https://learn.microsoft.com/openspecs/windows_protocols/mc-smp/
"""

from __future__ import annotations

import contextlib
import enum
import logging
import struct
import threading
from collections import deque
from typing import TYPE_CHECKING

from sqlserver_standin.dialogue import Dialogue
from sqlserver_standin.tds.packets import (
    HEADER_SIZE,
    MAXIMUM_PACKET_SIZE,
    PacketType,
    ProtocolError,
    parse_header,
)
from sqlserver_standin.transport import ConnectionClosed, Packet, PacketLine, Transport

if TYPE_CHECKING:
    from sqlserver_standin.handshake import Admission
    from sqlserver_standin.server import Server

logger = logging.getLogger("sqlserver_standin")

_HEADER = struct.Struct("<BBHIII")
_SMID = 0x53
_WINDOW = 4
"""How many packets may be under way before the receiver has answered."""

_MASK = 0xFFFFFFFF
_MOST_SESSIONS = 256
_STOP_TIMEOUT = 5.0


class Flag(enum.IntEnum):
    """The kinds of SMP packets."""

    SYN = 0x01
    ACK = 0x02
    FIN = 0x04
    DATA = 0x08


class Channel(PacketLine):
    """One SMP session: a line of packets for one dialogue, under flow control."""

    def __init__(self, multiplexer: Multiplexer, number: int, window: int) -> None:
        super().__init__()
        self._multiplexer = multiplexer
        self._number = number
        self._changed = threading.Condition()
        self._input = b""
        self._packets: deque[Packet] = deque()
        self._received = 0
        self._announced = _WINDOW
        self._outgoing: deque[bytes] = deque()
        self._sent = 0
        self._allowed = window
        self.ended = False

    # -- from the thread that reads the connection -------------------------------------------------------------

    def receive(self, sequence: int, data: bytes) -> bool:
        """Take the data of a DATA packet. Says whether it brought an attention."""
        with self._changed:
            if sequence != (self._received + 1) & _MASK:
                raise ProtocolError(f"SMP packet {sequence} follows packet {self._received}")
            self._received = sequence
            self._input += data
            attention = False
            while len(self._input) >= HEADER_SIZE:
                kind, status, length = parse_header(self._input)
                if len(self._input) < length:
                    break
                self._packets.append((kind, status, self._input[HEADER_SIZE:length]))
                self._input = self._input[length:]
                attention = attention or kind == PacketType.ATTENTION
            self._changed.notify()
            if (self._announced - self._received) & _MASK < _WINDOW // 2:
                self._write(Flag.ACK)
            return attention

    def widen(self, window: int) -> None:
        """The client takes packets up to this number."""
        with self._changed:
            self._allowed = window
            self._flush()

    def end(self) -> None:
        """No more comes and no more may go out."""
        with self._changed:
            self.ended = True
            self._changed.notify()

    def acknowledge_end(self) -> None:
        """Answer the client's FIN."""
        with self._changed:
            self._write(Flag.FIN)

    # -- from the dialogue's thread ----------------------------------------------------------------------------

    def read_packet(self) -> Packet:
        with self._changed:
            while not self._packets:
                if self.ended:
                    raise ConnectionClosed("the client ended the session")
                self._changed.wait()
            return self._packets.popleft()

    @property
    def has_input(self) -> bool:
        return bool(self._packets)

    def poll(self) -> Packet | None:
        with self._changed:
            if self._packets and self._packets[0][0] == PacketType.ATTENTION:
                return self._packets.popleft()
            return None

    def send(self, data: bytes) -> None:
        with self._changed:
            if self.ended:
                raise ConnectionClosed("the client ended the session")
            while data:
                _, _, length = parse_header(data)
                self._outgoing.append(data[:length])
                data = data[length:]
            self._flush()

    def _flush(self) -> None:
        while self._outgoing and 0 < (self._allowed - self._sent) & _MASK <= _MASK // 2:
            self._sent = (self._sent + 1) & _MASK
            self._write(Flag.DATA, self._outgoing.popleft())

    def _write(self, flag: Flag, data: bytes = b"") -> None:
        self._announced = (self._received + _WINDOW) & _MASK
        self._multiplexer.write(flag, self._number, self._sent, self._announced, data)


class Multiplexer:
    """Reads a connection's SMP packets and hands them to the dialogue that each is for."""

    def __init__(self, server: Server, transport: Transport, admission: Admission) -> None:
        self._server = server
        self._transport = transport
        self._admission = admission
        self._writing = threading.Lock()
        self._channels: dict[int, tuple[Channel, Dialogue, threading.Thread]] = {}

    def run(self) -> None:
        """Serve the connection to its end."""
        try:
            while True:
                self._read()
        finally:
            for channel, dialogue, _ in self._channels.values():
                channel.end()
                dialogue.interrupt()
            for _, _, thread in self._channels.values():
                thread.join(_STOP_TIMEOUT)

    def write(self, flag: Flag, number: int, sequence: int, window: int, data: bytes) -> None:
        """Write one SMP packet."""
        header = _HEADER.pack(_SMID, flag, number, _HEADER.size + len(data), sequence, window)
        with self._writing:
            self._transport.send(header + data)

    def _read(self) -> None:
        mark, flag, number, length, sequence, window = _HEADER.unpack(
            self._transport.read_exactly(_HEADER.size)
        )
        if mark != _SMID or not _HEADER.size <= length <= _HEADER.size + MAXIMUM_PACKET_SIZE:
            raise ProtocolError(f"no SMP packet: it starts with 0x{mark:02X} and announces {length} bytes")
        data = self._transport.read_exactly(length - _HEADER.size)
        if flag == Flag.SYN:
            self._open(number, window)
            return
        if number not in self._channels:
            raise ProtocolError(f"an SMP packet for session {number}, which is not open")
        channel, dialogue, _ = self._channels[number]
        match flag:
            case Flag.ACK:
                channel.widen(window)
            case Flag.DATA:
                channel.widen(window)
                if channel.receive(sequence, data):
                    dialogue.watch()
            case Flag.FIN:
                channel.end()
                dialogue.interrupt()
                del self._channels[number]
                channel.acknowledge_end()
            case _:
                raise ProtocolError(f"an SMP packet with the flags 0x{flag:02X}")

    def _open(self, number: int, window: int) -> None:
        if number in self._channels or len(self._channels) >= _MOST_SESSIONS:
            raise ProtocolError(f"SMP session {number} can't be opened")
        channel = Channel(self, number, window)
        dialogue = Dialogue(self._server, channel, self._admission)
        thread = threading.Thread(
            target=self._serve, args=(channel, dialogue), name=f"mars {number}", daemon=True
        )
        self._channels[number] = channel, dialogue, thread
        thread.start()

    def _serve(self, channel: Channel, dialogue: Dialogue) -> None:
        try:
            while True:
                dialogue.answer()
        except ConnectionClosed as reason:
            if channel.ended:
                return
            logger.debug("session %s: %s", dialogue.session.spid, reason)
        except ProtocolError as reason:
            logger.warning(
                "session %s: connection closed, the client broke the protocol: %s",
                dialogue.session.spid,
                reason,
            )
        except Exception:
            logger.exception(
                "session %s: connection closed by a fault of the stand-in", dialogue.session.spid
            )
        # What ends one dialogue this way ends the connection, and with it the thread that reads it.
        with contextlib.suppress(OSError):
            self._transport.close()
