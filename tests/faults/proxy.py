"""A TCP proxy that behaves like a bad network: it refuses, resets, cuts and goes silent when told to."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from types import TracebackType
from typing import Self

# Closing a socket with this sends RST: the peer sees "connection reset".
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Forwards to one server. `cut_after` and `silent_after` count the server's bytes of each new connection."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        # Keeps the port from everybody else on the machine once nobody listens at it.
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self.port: int = self._reserved.getsockname()[1]
        self._listener = socket.create_server(("127.0.0.1", self.port), reuse_port=True)
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self.cut_after: int | None = None
        self.silent_after: int | None = None
        self.connections = 0
        self.silent = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_listening()
        self.close_all()
        self._reserved.close()

    def stop_listening(self) -> None:
        """From now on connections are refused."""
        _close(self._listener)

    def close_all(self, *, reset: bool = False) -> None:
        """End every connection, orderly or by RST."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for client, server in pairs:
            if reset:
                with contextlib.suppress(OSError):
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            _close(client)
            _close(server)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._pairs.append((client, server))
            threading.Thread(target=self._forward, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._forward, args=(server, client, True), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, from_server: bool) -> None:
        cut, silent, seen = self.cut_after, self.silent_after, 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self.silent.is_set():
                    continue
                if from_server:
                    seen += len(data)
                    if silent is not None and seen > silent:
                        continue
                    if cut is not None and seen > cut:
                        sink.sendall(data[: len(data) - (seen - cut)])
                        break
                sink.sendall(data)
        _close(source)
        _close(sink)


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
