"""A client's socket: packets in and out, in clear or under TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from abc import ABC, abstractmethod

from sqlserver_standin.tds.packets import (
    HEADER_SIZE,
    PacketType,
    ProtocolError,
    Status,
    frame,
    parse_header,
)

_RECEIVE_SIZE = 65536
_TLS_HANDSHAKE = 0x16


class ConnectionClosed(Exception):
    """The client is gone."""


Packet = tuple[int, int, bytes]
"""Type, status and payload."""


class PacketLine(ABC):
    """Where a dialogue's packets come from and go to: a connection, or one of several sessions on it."""

    def __init__(self) -> None:
        self.reading = threading.Lock()
        """Keeps a dialogue's own thread apart from the one that looks for an attention while it executes."""

    @abstractmethod
    def read_packet(self) -> Packet:
        """Wait for a packet."""

    @property
    @abstractmethod
    def has_input(self) -> bool:
        """Whether something has arrived that nobody has read."""

    @abstractmethod
    def poll(self) -> Packet | None:
        """The next packet if it is an attention that has arrived whole; anything else stays for `read_packet`."""

    @abstractmethod
    def send(self, data: bytes) -> None:
        """Write packets."""

    def read_message(self, limit: int) -> Packet:
        """Wait for a message: the type and status of its first packet (with IGNORE from its last), its payload."""
        kind, status, payload = self.read_packet()
        if status & Status.END_OF_MESSAGE:
            return kind, status, payload
        parts = [payload]
        size = len(payload)
        while True:
            next_kind, next_status, payload = self.read_packet()
            if next_kind != kind:
                raise ProtocolError(f"a packet of type {next_kind} within a message of type {kind}")
            size += len(payload)
            if size > limit:
                raise ProtocolError(f"a message of more than {limit} bytes")
            parts.append(payload)
            if next_status & Status.END_OF_MESSAGE:
                return kind, status | (next_status & Status.IGNORE), b"".join(parts)


class Transport(PacketLine):
    """Reads and writes packets on a socket; `_tls_lock` keeps a TLS read apart from a TLS write."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self.socket = connection
        self._input = b""
        self._tls: ssl.SSLObject | None = None
        self._tls_input = ssl.MemoryBIO()
        self._tls_output = ssl.MemoryBIO()
        self._tls_lock = threading.Lock()

    # -- reading ---------------------------------------------------------------------------------------------

    def read_packet(self) -> Packet:
        while True:
            packet = self._take_packet()
            if packet is not None:
                return packet
            self._fill(0)

    def read_exactly(self, size: int) -> bytes:
        """Wait for ``size`` bytes, whatever they are."""
        while len(self._input) < size:
            self._fill(0)
        data, self._input = self._input[:size], self._input[size:]
        return data

    @property
    def has_input(self) -> bool:
        return bool(self._input)

    def poll(self) -> Packet | None:
        with contextlib.suppress(BlockingIOError):
            self._fill(socket.MSG_DONTWAIT)
        if self._input and self._input[0] == PacketType.ATTENTION:
            return self._take_packet()
        return None

    def _take_packet(self) -> Packet | None:
        data = self._input
        if len(data) < HEADER_SIZE:
            return None
        if data[0] == _TLS_HANDSHAKE:
            raise ProtocolError(
                "TLS before PRELOGIN: Encrypt=strict is TDS 8.0, which the stand-in does not speak"
            )
        kind, status, length = parse_header(data)
        if len(data) < length:
            return None
        self._input = data[length:]
        return kind, status, data[HEADER_SIZE:length]

    def _fill(self, flags: int) -> None:
        """Receive what there is and add it to the input."""
        try:
            data = self.socket.recv(_RECEIVE_SIZE, flags)
        except BlockingIOError:
            raise
        except OSError as error:
            raise ConnectionClosed(str(error)) from None
        if not data:
            raise ConnectionClosed("the client closed the connection")
        if self._tls is None:
            self._input += data
            return
        with self._tls_lock:
            self._tls_input.write(data)
            try:
                while True:
                    clear = self._tls.read(_RECEIVE_SIZE)
                    if not clear:
                        raise ConnectionClosed("the client ended TLS")
                    self._input += clear
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                raise ProtocolError(f"TLS: {error}") from None

    # -- writing ---------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        if self._tls is not None:
            with self._tls_lock:
                self._tls.write(data)
                data = self._tls_output.read()
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise ConnectionClosed(str(error)) from None

    # -- TLS -------------------------------------------------------------------------------------------------

    def start_tls(self, context: ssl.SSLContext, packet_size: int) -> None:
        """Shake hands: until that is done, TLS records travel inside of PRELOGIN packets
        (https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/60f56408-0188-4cd5-8b90-25c6f2423868)."""
        tls = context.wrap_bio(self._tls_input, self._tls_output, server_side=True)
        while True:
            try:
                tls.do_handshake()
                finished = True
            except ssl.SSLWantReadError:
                finished = False
            except ssl.SSLError as error:
                raise ProtocolError(f"TLS handshake: {error}") from None
            if answer := self._tls_output.read():
                packets, _ = frame(PacketType.PRELOGIN, answer, packet_size)
                self.send(packets)
            if finished:
                break
            kind, _, payload = self.read_packet()
            if kind != PacketType.PRELOGIN:
                raise ProtocolError(f"a packet of type {kind} within the TLS handshake")
            self._tls_input.write(payload)
        self._tls = tls
        if self._input:  # TLS records that came right behind the handshake
            early, self._input = self._input, b""
            self._tls_input.write(early)
            with contextlib.suppress(ssl.SSLWantReadError):
                while clear := tls.read(_RECEIVE_SIZE):
                    self._input += clear

    def stop_tls(self) -> None:
        """Go on in clear, as agreed where only the login is encrypted."""
        self._tls = None

    def close(self) -> None:
        """Close the socket, waking a thread that waits on it."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
