"""A client that has logged in: reads its requests, has them executed, ends each answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from sqlserver_standin.errors import NOT_SUPPORTED, unsupported
from sqlserver_standin.events import Event, SqlError
from sqlserver_standin.faults import ENDS_TRANSACTION, FaultKind, StatementFault, ends_connection
from sqlserver_standin.journal import SentMessage
from sqlserver_standin.response import Cancelled, Response
from sqlserver_standin.tds import tokens
from sqlserver_standin.tds.packets import PacketType, ProtocolError, Status
from sqlserver_standin.tds.requests import (
    TransactionManagerRequest,
    TransactionRequest,
    parse_batch,
    parse_calls,
    parse_transaction_request,
)
from sqlserver_standin.tds.tokens import DoneStatus, Token
from sqlserver_standin.transport import ConnectionClosed, PacketLine

if TYPE_CHECKING:
    from sqlserver_standin.handshake import Admission
    from sqlserver_standin.server import Server

logger = logging.getLogger("sqlserver_standin")

_MESSAGE_LIMIT = 512 * 1024 * 1024
_POLL_INTERVAL = 0.02


class Dialogue:
    """The requests of one session and their answers."""

    def __init__(self, server: Server, line: PacketLine, admission: Admission) -> None:
        self.session = admission.session
        self.running: Response | None = None
        """The answer to the request that is being executed."""
        self._server = server
        self._line = line
        self._packet_size = admission.packet_size
        self._application = admission.application
        self._process = admission.process
        self._procedures = admission.procedures
        self._execution = admission.execution
        self._attention = False
        self._ended = False

    # -- from other threads ----------------------------------------------------------------------------------

    def watch(self) -> None:
        """Look for an attention, or the end of the connection, while a request runs."""
        with self._line.reading:
            response = self.running
            if response is None or response.cancelled:
                return
            try:
                if self._line.poll() is None:
                    return
                self._attention = True
            except (ConnectionClosed, ProtocolError) as reason:
                logger.debug("session %s: %s", self.session.spid, reason)
                self._ended = True
            response.cancelled = True
            # Under the lock, so that the request can't end and the next begin before the cancel has arrived.
            self.session.cancel()

    def interrupt(self) -> None:
        """The server stops, or the client has ended this session: end the request that runs."""
        with self._line.reading:
            self._ended = True
            if self.running is not None:
                self.running.cancelled = True
                self.session.cancel()

    # -- requests --------------------------------------------------------------------------------------------

    def answer(self) -> None:
        """Read one message and answer it."""
        kind, status, data = self._line.read_message(_MESSAGE_LIMIT)
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
            with self._execution:
                self._procedures.reset()
                self.session.reset()
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

    def _response(self) -> Response:
        return Response(
            self._line,
            packet_size=self._packet_size,
            spid=self.session.spid,
            server_name=self._server.instance.server_name,
        )

    def _answer_batch(self, response: Response, sql: str) -> None:
        self._record("batch", sql)
        if self._server.journal.enabled:
            self._server.journal.statement("batch", sql, process=self._process)

        def work() -> None:
            response.statements(self.session.execute(sql), Token.DONE)
            if not response.has_done:  # nothing but DECLARE, SET …
                response.done(Token.DONE)

        self._run(response, sql, work)

    def _answer_calls(self, response: Response, data: bytes) -> None:
        procedures = self._procedures
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
                self._server.journal.statement(
                    "rpc", description.sql, description.declared, process=self._process
                )

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
        session = self.session
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
        """Execute a request, with the fault that is armed for it, and end its answer."""
        fault = self._server.faults.take_statement(sql) if self._server.faults.armed else None
        self._execution.acquire()
        self.running = response
        try:
            if self._line.has_input:
                self.watch()  # An attention may have come with the request, or while another dialogue executed.
            if response.cancelled or self._ended:
                raise Cancelled
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
                logger.exception("session %s: the stand-in failed on: %s", self.session.spid, sql)
                response.error(
                    SqlError(NOT_SUPPORTED, f"the stand-in failed: {type(error).__name__}: {error}")
                )
                response.done(Token.DONE, DoneStatus.ERROR)
        finally:
            attention = self._stop_running()
            self._execution.release()
        if self._ended:
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
        with self._line.reading:
            self.running = None
            self.session.forget_cancel()
            attention, self._attention = self._attention, False
        return attention

    def _record(self, kind: str, sql: str, calls: int = 1) -> None:
        if self._server.journal.enabled:
            self._server.journal.message(SentMessage(self.session.spid, self._application, kind, sql, calls))

    # -- faults ----------------------------------------------------------------------------------------------

    def _work_with(self, fault: StatementFault, response: Response, work: Callable[[], None]) -> None:
        match fault.kind:
            case FaultKind.FAIL:
                error = fault.error(self.session.spid)
                if error.number in ENDS_TRANSACTION:
                    response.statements(self.session.roll_back_after_error(), Token.DONE)
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
            if response.cancelled or self._ended:
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
