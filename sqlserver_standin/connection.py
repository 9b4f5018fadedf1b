"""One client: it logs in, then sends requests until it leaves. Runs in the client's own thread."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from sqlserver_standin.errors import NOT_SUPPORTED, sql_error, text, unsupported
from sqlserver_standin.events import EnvironmentChange, Event, Message, SqlError
from sqlserver_standin.faults import ENDS_TRANSACTION, FaultKind, StatementFault, ends_connection
from sqlserver_standin.journal import SentMessage
from sqlserver_standin.procedures import Procedures
from sqlserver_standin.response import Cancelled, Response
from sqlserver_standin.tds import tokens
from sqlserver_standin.tds.login import (
    Encryption,
    Feature,
    Login,
    build_prelogin,
    parse_login,
    parse_prelogin,
)
from sqlserver_standin.tds.packets import (
    DEFAULT_PACKET_SIZE,
    MAXIMUM_PACKET_SIZE,
    MINIMUM_PACKET_SIZE,
    PacketType,
    ProtocolError,
    Status,
    frame,
)
from sqlserver_standin.tds.requests import (
    TransactionManagerRequest,
    TransactionRequest,
    parse_batch,
    parse_calls,
    parse_transaction_request,
)
from sqlserver_standin.tds.tokens import DoneStatus, Token
from sqlserver_standin.transport import ConnectionClosed, Transport
from sqlserver_standin.types import DEFAULT_COLLATION

if TYPE_CHECKING:
    from sqlserver_standin.server import Server

logger = logging.getLogger("sqlserver_standin")

_LOGIN_TIMEOUT = 30.0
_LOGIN_LIMIT = 128 * 1024
_REQUEST_LIMIT = 512 * 1024 * 1024
_TLS_PACKET_SIZE = 16383
"""A packet under TLS must fit one TLS record."""

_TDS_7_3 = 0x730A0003
_POLL_INTERVAL = 0.02


class Connection:
    """A client's connection.

    The watcher thread of the server calls `watch` while a request runs, to find an attention or a client that is
    gone; everything else happens in the thread that runs `serve`.
    """

    def __init__(self, server: Server, client: socket.socket, address: tuple[Any, ...]) -> None:
        self._server = server
        self._address = address
        self._transport = Transport(client)
        self._packet_size = DEFAULT_PACKET_SIZE
        self._session: Any = None
        self._procedures: Procedures | None = None
        self._application = ""
        self.running: Response | None = None
        self._attention = False
        self._closing = False

    def __str__(self) -> str:
        spid = "" if self._session is None else f", session {self._session.spid}"
        return f"client {self._address[0]}:{self._address[1]}{spid}"

    def fileno(self) -> int:
        return self._transport.socket.fileno()

    def serve(self) -> None:
        """Answer the client until it leaves, is refused, or breaks the protocol."""
        try:
            if self._log_in():
                while not self._closing:
                    self._answer()
        except ConnectionClosed as reason:
            logger.debug("%s: %s", self, reason)
        except ProtocolError as reason:
            logger.warning("%s: connection closed, the client broke the protocol: %s", self, reason)
        except Exception:
            logger.exception("%s: connection closed by a fault of the stand-in", self)
        finally:
            self.close()
            if self._session is not None:
                self._session.close()

    def close(self) -> None:
        """Close the socket; a thread that serves this connection comes to its end."""
        self._closing = True
        self._transport.close()

    def watch(self) -> None:
        """Look for an attention while a request runs; called by the watcher thread when bytes wait."""
        with self._transport.reading:
            response = self.running
            if response is None or response.cancelled:
                return
            try:
                if self._transport.poll() is None:
                    return
                self._attention = True
            except (ConnectionClosed, ProtocolError) as reason:
                logger.debug("%s: %s", self, reason)
                self._closing = True
            response.cancelled = True
            # Under the lock, so that the request can't end and the next begin before the cancel has arrived.
            self._session.cancel()

    # -- login -----------------------------------------------------------------------------------------------

    def _log_in(self) -> bool:
        self._transport.socket.settimeout(_LOGIN_TIMEOUT)
        kind, _, data = self._transport.read_message(_LOGIN_LIMIT)
        if kind != PacketType.PRELOGIN:
            raise ProtocolError(f"the first packet is of type {kind}, not PRELOGIN")
        encryption = self._agree(parse_prelogin(data).encryption)
        answer, _ = frame(PacketType.TABULAR_RESULT, build_prelogin(encryption), DEFAULT_PACKET_SIZE)
        self._transport.send(answer)
        if encryption is not Encryption.NOT_SUPPORTED:
            assert self._server.tls is not None
            self._transport.start_tls(self._server.tls, DEFAULT_PACKET_SIZE)
        kind, _, data = self._transport.read_message(_LOGIN_LIMIT)
        if kind != PacketType.LOGIN7:
            raise ProtocolError(f"a packet of type {kind} instead of LOGIN7")
        if encryption is Encryption.OFF:
            self._transport.stop_tls()
        login = parse_login(data)
        refusals = self._open_session(login)
        if refusals:
            self._refuse(login, refusals)
            return False
        self._accept(login, encrypted=encryption is Encryption.ON)
        self._transport.socket.settimeout(None)
        return True

    def _agree(self, asked: Encryption) -> Encryption:
        """As much encryption as the client wants, as SQL Server does when it forces none."""
        if asked is Encryption.NOT_SUPPORTED or self._server.tls is None:
            return Encryption.NOT_SUPPORTED
        return Encryption.OFF if asked is Encryption.OFF else Encryption.ON

    def _refuse(self, login: Login, refusals: list[SqlError]) -> None:
        response = self._response()
        for refusal in refusals:
            response.error(refusal)
            logger.info("%s: login of %r refused: %s %s", self, login.user_name, refusal.number, refusal.text)
        response.done(Token.DONE, DoneStatus.ERROR)
        response.finish()

    def _accept(self, login: Login, *, encrypted: bool) -> None:
        session = self._session
        self._procedures = Procedures(session)
        self._application = login.application_name
        asked = login.packet_size or DEFAULT_PACKET_SIZE
        limit = _TLS_PACKET_SIZE if encrypted else MAXIMUM_PACKET_SIZE
        # The answer itself still goes in packets of the default size.
        response = self._response()
        self._packet_size = max(MINIMUM_PACKET_SIZE, min(asked, limit))

        response.environment(EnvironmentChange("database", session.database, "master"))
        response.message(Message(5701, text(5701, session.database), severity=0, state=2))
        response.environment(EnvironmentChange("collation", DEFAULT_COLLATION))
        response.environment(EnvironmentChange("language", "us_english"))
        response.message(Message(5703, text(5703, "us_english"), severity=0, state=1))
        response.write(tokens.login_acknowledgement(min(login.tds_version, tokens.TDS_7_4)))
        response.environment(EnvironmentChange("packet_size", self._packet_size, asked))
        if login.features:
            known = {Feature.UTF8_SUPPORT: b"\x01"}
            response.write(
                tokens.feature_acknowledgement({key: known[key] for key in known if key in login.features})
            )
        response.done(Token.DONE)
        response.finish()

    def _open_session(self, login: Login) -> list[SqlError]:
        """Open the engine's session, or say why not."""
        failed = sql_error(18456, login.user_name)
        if login.tds_version < _TDS_7_3:
            return [unsupported(f"TDS version 0x{login.tds_version:08X}; the stand-in speaks 7.3 and 7.4")]
        if Feature.FEDERATED_AUTHENTICATION in login.features:
            return [unsupported("Microsoft Entra authentication"), failed]
        if login.integrated_security:
            return [unsupported("Windows authentication"), failed]
        if login.change_password:
            return [unsupported("changing the password at login"), failed]
        if self._server.faults.armed and (fault := self._server.faults.take_login()) is not None:
            time.sleep(fault.seconds)
            if (refusal := fault.error()) is not None:
                return [refusal]
        try:
            self._session = self._server.instance.login(
                user=login.user_name,
                password=login.password,
                database=login.database,
                host_name=login.host_name,
                application_name=login.application_name,
                client_pid=login.client_pid,
                client_library=login.client_library,
                client_address=str(self._address[0]),
                language=login.language,
            )
        except SqlError as error:
            return [error] if error.number == failed.number else [error, failed]
        return []

    # -- requests --------------------------------------------------------------------------------------------

    def _response(self) -> Response:
        return Response(
            self._transport,
            packet_size=self._packet_size,
            spid=0 if self._session is None else self._session.spid,
            server_name=self._server.instance.server_name,
        )

    def _answer(self) -> None:
        """Read one message and answer it."""
        kind, status, data = self._transport.read_message(_REQUEST_LIMIT)
        response = self._response()
        if kind == PacketType.ATTENTION:
            # What it was meant to cancel has been answered already.
            self._record("attention", "")
            response.acknowledge_attention()
            return
        if status & Status.IGNORE:
            response.done(Token.DONE, DoneStatus.ERROR)
            response.finish()
            return
        if status & (Status.RESET_CONNECTION | Status.RESET_CONNECTION_SKIP_TRANSACTION):
            assert self._procedures is not None
            self._procedures.reset()
            self._session.reset()
            response.write(tokens.RESET_ACKNOWLEDGEMENT)
        match kind:
            case PacketType.SQL_BATCH:
                self._answer_batch(response, parse_batch(data))
            case PacketType.RPC:
                self._answer_calls(response, data)
            case PacketType.TRANSACTION_MANAGER:
                self._answer_transaction(response, parse_transaction_request(data))
            case PacketType.BULK_LOAD:
                response.error(unsupported("bulk load (BCP)"))
                response.done(Token.DONE, DoneStatus.ERROR)
                response.finish()
            case _:
                raise ProtocolError(f"a packet of type {kind} after login")

    def _answer_batch(self, response: Response, sql: str) -> None:
        self._record("batch", sql)
        if self._server.journal.enabled:
            self._server.journal.statement("batch", sql)

        def work() -> None:
            response.statements(self._session.execute(sql), Token.DONE)
            if not response.has_done:  # nothing but DECLARE, SET …
                response.done(Token.DONE)

        self._run(response, sql, work)

    def _answer_calls(self, response: Response, data: bytes) -> None:
        procedures = self._procedures
        assert procedures is not None
        try:
            calls = parse_calls(data)
        except SqlError as refusal:
            response.error(refusal)
            response.done(Token.DONE_PROCEDURE, DoneStatus.ERROR)
            response.finish()
            return
        first = procedures.describe(calls[0])
        self._record(f"rpc:{first.procedure}", first.sql, len(calls))
        if self._server.journal.enabled:
            for description in map(procedures.describe, calls):
                self._server.journal.statement("rpc", description.sql, description.declared)

        def work() -> None:
            for call in calls:
                procedures.call(response, call)

        self._run(response, first.sql, work)

    def _answer_transaction(self, response: Response, request: TransactionManagerRequest) -> None:
        kind = request.kind.name.lower()
        self._record(f"transaction:{kind}", request.name)

        def work() -> None:
            response.statements(self._transaction_events(request), Token.DONE)
            if not response.has_done:
                response.done(Token.DONE)

        self._run(response, f"{kind} transaction {request.name}".rstrip(), work)

    def _transaction_events(self, request: TransactionManagerRequest) -> Iterable[Event]:
        session = self._session
        match request.kind:
            case TransactionRequest.BEGIN:
                yield from session.begin_transaction(int(request.isolation))
            case TransactionRequest.COMMIT:
                yield from session.commit_transaction()
            case TransactionRequest.ROLLBACK:
                yield from session.rollback_transaction(request.name)
            case TransactionRequest.SAVE:
                quoted = request.name.replace("]", "]]")
                yield from session.execute(f"SAVE TRANSACTION [{quoted}]")
        if request.begin_again:
            yield from session.begin_transaction(int(request.isolation))

    # -- running ---------------------------------------------------------------------------------------------

    def _run(self, response: Response, sql: str, work: Callable[[], None]) -> None:
        """Run a request, with the fault that is armed for it, and end its answer."""
        fault = self._server.faults.take_statement(sql) if self._server.faults.armed else None
        self.running = response
        try:
            if fault is None:
                work()
            else:
                self._work_with(fault, response, work)
        except Cancelled:
            pass
        except ConnectionClosed:
            raise
        except Exception as error:
            if not response.cancelled:
                logger.exception("%s: the stand-in failed on: %s", self, sql)
                response.error(
                    SqlError(NOT_SUPPORTED, f"the stand-in failed: {type(error).__name__}: {error}")
                )
                response.done(Token.DONE, DoneStatus.ERROR)
        finally:
            attention = self._stop_running()
        if self._closing:
            raise ConnectionClosed("the client left while its request ran")
        if attention:
            # Two messages, as SQL Server answers: the request ends in error, then the attention is acknowledged.
            self._record("attention", "")
            response.done(Token.DONE, DoneStatus.ERROR)
            response.finish()
            self._response().acknowledge_attention()
        else:
            self._finish(response, fault)

    def _stop_running(self) -> bool:
        """From here on the watcher leaves this connection alone. Says whether it saw an attention."""
        with self._transport.reading:
            self.running = None
            attention, self._attention = self._attention, False
        return attention

    def _record(self, kind: str, sql: str, calls: int = 1) -> None:
        if self._server.journal.enabled:
            self._server.journal.message(SentMessage(self._session.spid, self._application, kind, sql, calls))

    # -- faults ----------------------------------------------------------------------------------------------

    def _work_with(self, fault: StatementFault, response: Response, work: Callable[[], None]) -> None:
        match fault.kind:
            case FaultKind.FAIL:
                error = fault.error()
                if error.number in ENDS_TRANSACTION:
                    response.statements(self._session.roll_back_after_error(), Token.DONE)
                response.error(error)
                response.done(Token.DONE, DoneStatus.ERROR)
            case FaultKind.DROP_BEFORE:
                raise ConnectionClosed("dropped on demand")
            case FaultKind.HANG:
                self._wait(response, None)
            case FaultKind.DELAY:
                self._wait(response, fault.seconds)
                work()
            case _:
                work()

    def _wait(self, response: Response, seconds: float | None) -> None:
        """Let time pass (without end for None) while the client may still send an attention."""
        end = None if seconds is None else time.monotonic() + seconds
        while end is None or time.monotonic() < end:
            if response.cancelled or self._closing:
                raise Cancelled
            time.sleep(_POLL_INTERVAL)

    def _finish(self, response: Response, fault: StatementFault | None) -> None:
        match fault.kind if fault is not None else None:
            case FaultKind.DROP_DURING:
                raise ConnectionClosed("dropped on demand within the result")
            case FaultKind.CUT:
                response.finish(cut=True)
                raise ConnectionClosed("dropped on demand within a packet")
        response.finish()
        if fault is not None and (fault.kind is FaultKind.DROP_AFTER or fault.disconnect):
            raise ConnectionClosed("dropped on demand after the result")
        if any(map(ends_connection, response.errors)):
            raise ConnectionClosed("an error of this severity ends the connection")
