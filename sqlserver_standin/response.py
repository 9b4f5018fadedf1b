"""The answer to one request: events become tokens, tokens become packets."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Protocol

from sqlserver_standin.events import (
    Done,
    EnvironmentChange,
    Event,
    Message,
    ResultSet,
    ReturnStatus,
    ReturnValue,
    SqlError,
)
from sqlserver_standin.tds import encode, tokens
from sqlserver_standin.tds.packets import HEADER_SIZE, PacketType, frame
from sqlserver_standin.tds.tokens import DoneStatus, Token

_FLUSH_SIZE = 16384
_STATEMENT_TERMINATED = 3621


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a procedure gave beside its result sets."""

    status: int | None
    outputs: tuple[ReturnValue, ...]


class Cancelled(Exception):
    """The client sent an attention while its request ran."""


class Sink(Protocol):
    """Where packets go."""

    def send(self, data: bytes) -> None: ...


class Response:
    """Collects tokens and sends packets as they fill.

    A DONE token says whether more follows, so the last one is held back until something else, or the end, comes.
    """

    def __init__(self, sink: Sink, *, packet_size: int, spid: int, server_name: str) -> None:
        self._sink = sink
        self._packet_size = packet_size
        self._spid = spid
        self._server_name = server_name
        self._buffer = bytearray()
        self._packet_number = 1
        self._done: tuple[Token, int, int, int] | None = None
        self.cancelled = False
        self.errors: list[SqlError] = []
        self.tokens = 0
        """Tokens written so far, DONE and rows not counted."""

    # -- tokens ----------------------------------------------------------------------------------------------

    def write(self, token: bytes) -> None:
        if self._done is not None:
            self._write_done(more=True)
        self.tokens += 1
        self._buffer += token
        if len(self._buffer) >= _FLUSH_SIZE:
            self._flush()

    def message(self, event: Message) -> None:
        token = tokens.information(event, self._server_name)
        if event.number == _STATEMENT_TERMINATED and self._done is not None:
            # It belongs to the statement that failed, so it comes before that statement's DONE. After it, it would be
            # a result of its own, which the client would have to fetch before the connection is free.
            self.tokens += 1
            self._buffer += token
        else:
            self.write(token)

    def error(self, event: SqlError) -> None:
        self.errors.append(event)
        self.write(tokens.error(event, self._server_name))

    def environment(self, event: EnvironmentChange) -> None:
        self.write(tokens.environment_change(event))

    def done(
        self, token: Token, status: int = DoneStatus.FINAL, command: int = 0, count: int | None = None
    ) -> None:
        if self._done is not None:
            self._write_done(more=True)
        if count is None:
            self._done = (token, status, command, 0)
        else:
            self._done = (token, status | DoneStatus.COUNT, command, count)

    @property
    def has_done(self) -> bool:
        """Whether the end of a statement is the last thing written."""
        return self._done is not None

    def withdraw_done(self) -> None:
        """Take back the end of a statement that is the last thing written."""
        self._done = None

    def _write_done(self, *, more: bool) -> None:
        assert self._done is not None
        token, status, command, count = self._done
        self._done = None
        self._buffer += tokens.done(token, status | DoneStatus.MORE if more else status, command, count)

    # -- events ----------------------------------------------------------------------------------------------

    def statements(self, events: Iterable[Event], done_token: Token) -> Outcome:
        """Write the events of a batch (DONE) or of a procedure (DONEINPROC).

        A failure that ends the batch is written as one. What a procedure gives beside its result sets is returned;
        in a batch (EXEC), its return value is written at once.
        """
        status: int | None = None
        outputs: list[ReturnValue] = []
        try:
            for event in events:
                if self.cancelled:
                    raise Cancelled
                match event:
                    case ResultSet():
                        self.rows(event)
                    case Done():
                        self.done(done_token, command=tokens.command(event.command), count=event.count)
                    case Message():
                        self.message(event)
                    case SqlError():
                        self.error(event)
                        self.done(done_token, DoneStatus.ERROR)
                    case EnvironmentChange():
                        self.environment(event)
                    case ReturnValue():
                        outputs.append(event)
                    case ReturnStatus() if done_token is Token.DONE:
                        self.write(tokens.return_status(event.value))
                        self.done(Token.DONE_PROCEDURE, command=tokens.command("exec"))
                    case ReturnStatus():
                        status = event.value
        except SqlError as error:
            if self.cancelled:
                raise Cancelled from None
            self.error(error)
            self.done(done_token, DoneStatus.ERROR)
        finally:
            if isinstance(events, Generator):
                events.close()
        return Outcome(status, tuple(outputs))

    def rows(self, result: ResultSet) -> None:
        """Write a result set, sending packets while its rows arrive."""
        row_format = encode.row_format(result.columns)
        self.write(row_format.metadata)
        encode_row = row_format.encode_row
        buffer = self._buffer
        for row in result.rows:
            buffer += encode_row(row)
            if len(buffer) >= _FLUSH_SIZE:
                if self.cancelled:
                    raise Cancelled
                self._flush()

    # -- packets ---------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Send the packets that are full."""
        room = self._packet_size - HEADER_SIZE
        # At least one byte stays, for the packet that ends the message.
        full = (len(self._buffer) - 1) // room * room
        if full <= 0:
            return
        data, self._packet_number = frame(
            PacketType.TABULAR_RESULT,
            self._buffer[:full],
            self._packet_size,
            number=self._packet_number,
            spid=self._spid,
            final=False,
        )
        del self._buffer[:full]
        self._sink.send(data)

    def finish(self, *, cut: bool = False) -> None:
        """Send what is left and end the message; ``cut`` sends only half of it, for a test of the client."""
        if self._done is not None:
            self._write_done(more=False)
        data, _ = frame(
            PacketType.TABULAR_RESULT,
            self._buffer,
            self._packet_size,
            number=self._packet_number,
            spid=self._spid,
        )
        self._buffer = bytearray()
        self._sink.send(data[: len(data) // 2] if cut else data)

    def acknowledge_attention(self) -> None:
        """Send the message that acknowledges an attention."""
        self.done(Token.DONE, DoneStatus.ATTENTION, command=Token.DONE)
        self.finish()
