"""One client's connection: runs in a thread of its own, from the first packet to the last."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING, Any

from sqlserver_standin.dialogue import Dialogue
from sqlserver_standin.handshake import Admission, Handshake
from sqlserver_standin.mars import Multiplexer
from sqlserver_standin.tds.packets import ProtocolError
from sqlserver_standin.transport import ConnectionClosed, Transport

if TYPE_CHECKING:
    from sqlserver_standin.engine.session import Session
    from sqlserver_standin.server import Server

logger = logging.getLogger("sqlserver_standin")


class Connection:
    """A client's connection.

    The watcher thread of the server calls `watch` while a request runs, to find an attention or a client that is
    gone; `close` comes from the thread that stops the server; everything else happens in the thread of `serve`.
    """

    def __init__(self, server: Server, client: socket.socket, address: tuple[Any, ...]) -> None:
        self._server = server
        self._address = address
        self._transport = Transport(client)
        self._session: Session | None = None
        self._dialogue: Dialogue | None = None

    def __str__(self) -> str:
        spid = "" if self._session is None else f", session {self._session.spid}"
        return f"client {self._address[0]}:{self._address[1]}{spid}"

    def fileno(self) -> int:
        return self._transport.socket.fileno()

    def serve(self) -> None:
        """Answer the client until it leaves, is refused, or breaks the protocol."""
        try:
            admission = Handshake(self._server, self._transport, str(self._address[0])).run()
            if admission is not None:
                self._converse(admission)
        except ConnectionClosed as reason:
            logger.debug("%s: %s", self, reason)
        except ProtocolError as reason:
            logger.warning("%s: connection closed, the client broke the protocol: %s", self, reason)
        except Exception:
            logger.exception("%s: connection closed by a fault of the stand-in", self)
        finally:
            self._transport.close()
            if self._session is not None:
                self._session.close()

    def _converse(self, admission: Admission) -> None:
        """Answer request after request, until an exception ends it."""
        self._session = admission.session
        if admission.mars:
            Multiplexer(self._server, self._transport, admission).run()
        else:
            self._dialogue = Dialogue(self._server, self._transport, admission)
            while True:
                self._dialogue.answer()

    @property
    def running(self) -> bool:
        """Whether a request is being executed that has to be watched; with MARS, another thread reads all the time."""
        return self._dialogue is not None and self._dialogue.running is not None

    def watch(self) -> None:
        """Bytes wait, or the client is gone, while a request runs."""
        if self._dialogue is not None:
            self._dialogue.watch()

    def close(self) -> None:
        """End the connection and what it executes; the thread that serves it comes to its end."""
        self._transport.close()
        if self._dialogue is not None:
            self._dialogue.interrupt()
