"""The server: listens, gives each client a thread, watches for attentions, stops everything at the end."""

from __future__ import annotations

import logging
import select
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any

from sqlserver_standin.connection import Connection
from sqlserver_standin.faults import Faults
from sqlserver_standin.journal import Journal

if TYPE_CHECKING:
    from sqlserver_standin.engine.instance import Instance

logger = logging.getLogger("sqlserver_standin")

_BACKLOG = 128
_WATCH_INTERVAL = 0.05
_STOP_TIMEOUT = 10.0


class ListenError(Exception):
    """The server can't listen where it should."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; a ListenError names the port that is not free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ListenError(f"can't listen on port {port} of {host}: {error.strerror}") from None
    return listener


class Server:
    """A running stand-in: an engine instance behind a listening socket."""

    def __init__(
        self,
        instance: Instance,
        listener: socket.socket,
        *,
        tls: ssl.SSLContext | None = None,
        faults: Faults | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.instance = instance
        self.tls = tls
        self.faults = faults or Faults()
        self.journal = journal or Journal(statements_file=None, controlled=False)
        self._listener = listener
        self._connections: dict[Connection, threading.Thread] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._accept, name="accept", daemon=True),
            threading.Thread(target=self._watch, name="watch", daemon=True),
        ]

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Close every connection and wait for their threads."""
        self._stopping.set()
        # Closing alone does not wake a thread that waits in accept().
        with socket.socket(self._listener.family, socket.SOCK_STREAM) as waker:
            waker.settimeout(1.0)
            waker.connect_ex(self._listener.getsockname()[:2])
        self._listener.close()
        with self._lock:
            connections = dict(self._connections)
        for connection in connections:
            connection.close()
        deadline = time.monotonic() + _STOP_TIMEOUT
        for thread in (*self._threads, *connections.values()):
            thread.join(max(deadline - time.monotonic(), 0))

    def _accept(self) -> None:
        while True:
            try:
                client, address = self._listener.accept()
            except OSError as error:
                if self._stopping.is_set():
                    return
                # Out of file descriptors, or a client that left before it was accepted.
                logger.warning("no connection accepted: %s", error)
                self._stopping.wait(_WATCH_INTERVAL)
                continue
            if self._stopping.is_set():
                client.close()
                return
            try:
                self._begin(client, address)
            except (OSError, RuntimeError) as error:
                # The client has left already, or no more threads can be had.
                logger.warning("no connection served: %s", error)
                client.close()

    def _begin(self, client: socket.socket, address: tuple[Any, ...]) -> None:
        """Serve a client in a thread of its own."""
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(self, client, address)
        thread = threading.Thread(
            target=self._serve, args=(connection,), name=f"client {address[1]}", daemon=True
        )
        with self._lock:
            self._connections[connection] = thread
        try:
            thread.start()
        except RuntimeError:
            with self._lock:
                del self._connections[connection]
            raise

    def _serve(self, connection: Connection) -> None:
        try:
            connection.serve()
        finally:
            with self._lock:
                del self._connections[connection]

    def _watch(self) -> None:
        """Find attentions: a client's own thread can't read while it executes, and a thread per client that only
        reads would cost each request two switches between threads."""
        while not self._stopping.wait(_WATCH_INTERVAL):
            with self._lock:
                running = [connection for connection in self._connections if connection.running]
            if not running:
                continue
            poller = select.poll()
            by_file = {}
            for connection in running:
                if (file := connection.fileno()) >= 0:
                    by_file[file] = connection
                    poller.register(file, select.POLLIN | select.POLLHUP)
            for file, _ in poller.poll(0):
                try:
                    by_file[file].watch()
                except Exception:
                    # The other connections still need this thread.
                    logger.exception("%s: the stand-in failed to look for an attention", by_file[file])
