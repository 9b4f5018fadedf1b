"""A session's connection to PostgreSQL: prepared statements, and savepoints that cost no round trip."""

from __future__ import annotations

import contextlib
import select
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import psycopg
from psycopg import pq
from psycopg.adapt import Transformer

MOST_PREPARED = 256
MOST_LASTING = 128
MOST_REPEATED = 50
ROWS_AT_ONCE = 500
_STATEMENT_SAVEPOINT = "s"
_OK = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)
_ROWS = (pq.ExecStatus.TUPLES_CHUNK, pq.ExecStatus.TUPLES_OK)


@dataclass(slots=True)
class PostgresError(Exception):
    """What PostgreSQL reported; the engine turns it into SQL Server's error."""

    sqlstate: str
    message: str
    detail: str = ""
    schema: str = ""
    table: str = ""
    column: str = ""
    constraint: str = ""
    data_type: str = ""
    context: str = ""
    position: int | None = None
    sql: str = field(default="", repr=False)

    @classmethod
    def from_result(cls, result: pq.abc.PGresult, sql: str) -> PostgresError:
        def read(diagnostic: pq.DiagnosticField) -> str:
            return (result.error_field(diagnostic) or b"").decode(errors="replace")

        fields = pq.DiagnosticField
        position = read(fields.STATEMENT_POSITION)
        return cls(
            read(fields.SQLSTATE),
            read(fields.MESSAGE_PRIMARY) or result.error_message.decode(errors="replace"),
            read(fields.MESSAGE_DETAIL),
            read(fields.SCHEMA_NAME),
            read(fields.TABLE_NAME),
            read(fields.COLUMN_NAME),
            read(fields.CONSTRAINT_NAME),
            read(fields.DATATYPE_NAME),
            read(fields.CONTEXT),
            int(position) if position else None,
            sql,
        )


Value = bytes | None


class Command(NamedTuple):
    """A statement with its parameters. ``lasting``: its prepared form stays valid when the schema changes."""

    sql: str
    values: Sequence[Value] = ()
    formats: Sequence[int] | None = None
    lasting: bool = False


_SAVEPOINT = Command(f"SAVEPOINT {_STATEMENT_SAVEPOINT}", lasting=True)
_RELEASE = Command(f"RELEASE SAVEPOINT {_STATEMENT_SAVEPOINT}", lasting=True)
_ROLLBACK_TO_SAVEPOINT = Command(f"ROLLBACK TO SAVEPOINT {_STATEMENT_SAVEPOINT}", lasting=True)


class PreparedStatements:
    """The names of prepared statements. A text gets one when it comes a second time; the oldest lose theirs."""

    def __init__(self, prefix: bytes, most: int) -> None:
        self._prefix = prefix
        self._most = most
        self._names: OrderedDict[str, bytes] = OrderedDict()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._count = 0
        self.abandoned: list[bytes] = []
        """Names that PostgreSQL has still to forget."""

    def take(self, sql: str) -> tuple[bytes | None, bool]:
        """The name of the prepared statement for ``sql``, and whether it has to be prepared now."""
        name = self._names.get(sql)
        if name is not None:
            self._names.move_to_end(sql)
            return name, False
        if sql not in self._seen:
            self._seen[sql] = None
            if len(self._seen) > self._most * 4:
                self._seen.popitem(last=False)
            return None, False
        self._count += 1
        name = b"%s%d" % (self._prefix, self._count)
        self._names[sql] = name
        if len(self._names) > self._most:
            self.abandoned.append(self._names.popitem(last=False)[1])
        return name, True

    def discard(self, sql: str) -> None:
        """It could not be prepared."""
        self._names.pop(sql, None)

    def abandon_all(self) -> None:
        """None of them is valid any more."""
        self.abandoned.extend(self._names.values())
        self._names.clear()
        self._seen.clear()


class _Sent(NamedTuple):
    """What went into a pipeline: a statement, or its preparation among those statements."""

    sql: str
    prepared: PreparedStatements | None


def _encode(values: Sequence[object]) -> list[Value]:
    return [None if value is None else str(value).encode() for value in values]


class Link:
    """One PostgreSQL connection.

    In a transaction each statement runs behind a savepoint, because in SQL Server a failed statement undoes only
    itself. BEGIN, SAVEPOINT and RELEASE travel in the same pipeline as the statement that needs them. What the engine
    itself reads for a statement shares the statement's savepoint: the end of each subtransaction costs PostgreSQL time
    in proportion to the tables that the transaction has made and locked so far.
    """

    def __init__(self, conninfo: str) -> None:
        self.connection = psycopg.connect(conninfo, autocommit=True)
        self._pg = self.connection.pgconn
        # Others ask for it, who may come when this connection is closed already.
        self.backend_pid = self._pg.backend_pid
        self._statements = PreparedStatements(b"p", MOST_PREPARED)
        # The engine's own queries of the catalog, and SAVEPOINT: a change of the schema does not concern them.
        self._lasting = PreparedStatements(b"l", MOST_LASTING)
        self._begin: str | None = None
        self._open_savepoint = False
        # What has to be run again if the open savepoint is rolled back; None when that is not possible.
        self._since_savepoint: list[Sequence[str]] | None = None
        self._undo_settings = False
        self._rows_in_chunks = False
        self.in_transaction = False
        self.transformer = Transformer(self.connection)
        self._readable = select.poll()
        self._readable.register(self._pg.socket, select.POLLIN)
        self._writable = select.poll()
        self._writable.register(self._pg.socket, select.POLLIN | select.POLLOUT)
        self._cancelling = threading.RLock()
        self._interruptible = True

    def close(self) -> None:
        self.connection.close()

    def cancel(self) -> None:
        """Interrupt the running statement; called from another thread."""
        with self._cancelling, contextlib.suppress(psycopg.Error):
            if self._interruptible:
                self._pg.get_cancel().cancel()

    @contextlib.contextmanager
    def _uninterrupted(self) -> Iterator[None]:
        """A cancel must not hit what puts the transaction in order after it."""
        before = self._interruptible
        with self._cancelling:
            self._interruptible = False
        try:
            yield
        finally:
            with self._cancelling:
                self._interruptible = before

    # -- transactions ----------------------------------------------------------------------------------------

    @property
    def begun(self) -> bool:
        """Whether PostgreSQL has a transaction open: it begins with the first statement."""
        return self.in_transaction and self._begin is None

    def begin(self, isolation: str) -> None:
        """Begin with the next statement."""
        self._begin = f"BEGIN ISOLATION LEVEL {isolation}"
        self.in_transaction = True
        self._forget_savepoint()

    def end(self, command: str) -> None:
        """COMMIT or ROLLBACK."""
        begun = self._begin is None
        self._begin = None
        self.in_transaction = False
        self._forget_savepoint()
        if begun:
            with self._uninterrupted():
                self._direct(Command(command, lasting=True))

    def savepoint(self, name: str) -> None:
        """A savepoint of the user's, by its PostgreSQL name."""
        self._pipeline([*self._entry(statement_savepoint=False), Command(f"SAVEPOINT {name}")])

    def rollback_to(self, name: str) -> None:
        self._forget_savepoint()
        with self._uninterrupted():
            self._pipeline(
                [*self._entry(statement_savepoint=False), Command(f"ROLLBACK TO SAVEPOINT {name}")]
            )

    def _forget_savepoint(self) -> None:
        self._open_savepoint = self._undo_settings = False
        self._since_savepoint = None

    def _entry(self, *, statement_savepoint: bool, most_repeated: int = 0) -> list[Command]:
        """What has to go first in a transaction.

        A savepoint serves for more than one statement as long as all before the last can be repeated.
        """
        commands: list[Command] = []
        if self._begin is not None:
            commands.append(Command(self._begin, lasting=True))
            self._begin = None
        if self._undo_settings:
            commands.append(_ROLLBACK_TO_SAVEPOINT)
            self._undo_settings = False
        if self._open_savepoint:
            since = self._since_savepoint
            if statement_savepoint and since is not None and len(since) <= most_repeated:
                return commands
            commands.append(_RELEASE)
            self._forget_savepoint()
        if statement_savepoint:
            commands.append(_SAVEPOINT)
            self._open_savepoint = True
            self._since_savepoint = []
        return commands

    # -- statements ------------------------------------------------------------------------------------------

    def execute(
        self,
        sql: str,
        values: Sequence[Value] = (),
        formats: Sequence[int] | None = None,
        before: Sequence[str] = (),
    ) -> pq.abc.PGresult:
        """Run one statement (after those of ``before``), all or nothing; raises PostgresError."""
        command = Command(sql, values, formats)
        if not (self.in_transaction or before):
            return self._direct(command)
        commands = [*(Command(text) for text in before), command]
        if not self.in_transaction:
            return self._pipeline(commands)
        entry = self._entry(statement_savepoint=True)
        self._since_savepoint = None
        try:
            return self._pipeline(entry + commands)
        except PostgresError:
            self._undo_statement()
            raise

    def stream(
        self,
        sql: str,
        values: Sequence[Value] = (),
        formats: Sequence[int] | None = None,
        before: Sequence[str] = (),
    ) -> Iterator[pq.abc.PGresult]:
        """Like ``execute()``, for a query: its rows, ROWS_AT_ONCE in a result, as PostgreSQL finds them.

        Nothing else can be executed until the iterator has come to its end or was closed, which ends the query.
        """
        commands = [*(Command(text) for text in before), Command(sql, values, formats)]
        if self.in_transaction:
            commands = self._entry(statement_savepoint=True) + commands
            self._since_savepoint = None
        try:
            yield from self._stream(commands)
        except (PostgresError, GeneratorExit):
            if self.in_transaction:
                self._undo_statement()
            raise

    def execute_on_catalog(
        self, sql: str, values: Sequence[Value], formats: Sequence[int] | None
    ) -> pq.abc.PGresult:
        """Run a query on the catalog views. PostgreSQL takes their joins for tiny and would nest loops over them."""
        result = self.execute(sql, values, formats, ("SET LOCAL enable_nestloop = off",))
        # In a transaction the setting is undone before the next statement, with nothing else: this one only reads.
        if self.in_transaction:
            self._undo_settings = True
            self._since_savepoint = []
        return result

    def execute_unbound(self, sql: str) -> pq.abc.PGresult:
        """Run a statement whose ``$n`` take no values: EXPLAIN (GENERIC_PLAN)."""
        if self.in_transaction and (entry := self._entry(statement_savepoint=True)):
            self._pipeline(entry)
        result = self._pg.exec_(sql.encode())
        if result.status in _OK:
            return result
        failure = self._failure(result, sql)
        self._undo_statement()
        raise failure

    def script(self, statements: Sequence[str]) -> None:
        """Several statements without parameters, all or nothing."""
        if statements:
            self.execute(statements[-1], before=statements[:-1])

    def define(self, statements: Sequence[str]) -> None:
        """Data definition: like ``script()``, but many of them in a transaction share a savepoint.

        Nobody has seen anything of theirs but that they succeeded, so they can be run again after one that fails.
        """
        if not self.in_transaction:
            self.script(statements)
        elif statements:
            entry = self._entry(statement_savepoint=True, most_repeated=MOST_REPEATED)
            try:
                self._pipeline([*entry, *map(Command, statements)])
            except PostgresError:
                self._undo_statement()
                raise
            assert self._since_savepoint is not None
            self._since_savepoint.append(statements)

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[str | None, ...]]:
        """A query of the engine's own, as text. It changes nothing, and its columns' types are ever the same."""
        result = self._read(Command(sql, _encode(values), lasting=True))
        return [
            tuple(
                None if (cell := result.get_value(row, column)) is None else cell.decode()
                for column in range(result.nfields)
            )
            for row in range(result.ntuples)
        ]

    def change(self, sql: str, values: Sequence[object]) -> None:
        """A change of the engine's own."""
        self.execute(sql, _encode(values))

    def _read(self, command: Command) -> pq.abc.PGresult:
        if not self.in_transaction:
            return self._direct(command)
        entry = self._entry(statement_savepoint=True, most_repeated=MOST_REPEATED)
        try:
            return self._pipeline([*entry, command]) if entry else self._direct(command)
        except PostgresError:
            self._undo_statement()
            raise

    def _undo_statement(self) -> None:
        since = self._since_savepoint
        self._forget_savepoint()
        if self._pg.transaction_status == pq.TransactionStatus.INERROR:
            with self._uninterrupted():
                self._pipeline([_ROLLBACK_TO_SAVEPOINT, _RELEASE])
                if since:
                    self._repeat(since)

    def _repeat(self, scripts: Sequence[Sequence[str]]) -> None:
        commands = [Command(statement) for script in scripts for statement in script]
        try:
            self._pipeline([*self._entry(statement_savepoint=True), *commands])
        except PostgresError as error:
            # Another transaction got in between: for a client, it has lost a deadlock.
            raise PostgresError("40001", error.message, sql=error.sql) from error
        self._since_savepoint = [*scripts]

    def forget_prepared(self) -> None:
        """After a change of the schema: results of prepared statements may have other columns now."""
        self._statements.abandon_all()

    def _direct(self, command: Command) -> pq.abc.PGresult:
        if self._statements.abandoned or self._lasting.abandoned:
            return self._pipeline([command])
        name = self._prepare(command)
        if name is not None:
            # Its annotation forgets NULL.
            result = self._pg.exec_prepared(name, command.values, command.formats)  # type: ignore[arg-type]
        else:
            result = self._pg.exec_params(command.sql.encode(), command.values, None, command.formats)
        if result.status not in _OK:
            raise self._failure(result, command.sql)
        return result

    def _prepare(self, command: Command) -> bytes | None:
        """The name of the command's prepared statement; None when it comes for the first time."""
        prepared = self._lasting if command.lasting else self._statements
        name, new = prepared.take(command.sql)
        if new and name is not None:
            result = self._pg.prepare(name, command.sql.encode())
            if result.status not in _OK:
                prepared.discard(command.sql)
                raise self._failure(result, command.sql)
        return name

    def _stream(self, commands: Sequence[Command]) -> Iterator[pq.abc.PGresult]:
        *first, query = commands
        pipelined = bool(first or self._statements.abandoned or self._lasting.abandoned)
        sent = self._send(commands) if pipelined else self._send_alone(query)
        failure: PostgresError | None = None
        ended = False
        try:
            for command in sent[:-1]:
                while (result := self._next_result()) is not None:
                    if failure is None and result.status not in _OK:
                        failure = self._failure(result, command.sql)
            if failure is None:
                self._pg.set_chunked_rows_mode(ROWS_AT_ONCE)
                self._rows_in_chunks = not pipelined
            while (result := self._next_result()) is not None:
                if result.status in _ROWS:
                    yield result
                elif failure is None:
                    failure = self._failure(result, query.sql)
            ended = True
        finally:
            with contextlib.suppress(PostgresError):
                self._end_stream(pipelined, ended)
        if failure is not None:
            self._forget_unprepared(sent)
            raise failure

    def _send_alone(self, command: Command) -> list[_Sent]:
        name = self._prepare(command)
        if name is not None:
            self._pg.send_query_prepared(name, command.values, command.formats)
        else:
            self._pg.send_query_params(command.sql.encode(), command.values, None, command.formats)
        self._flush()
        return [_Sent(command.sql, None)]

    def _end_stream(self, pipelined: bool, ended: bool) -> None:
        if not ended:
            self.cancel()
            while self._next_result() is not None:
                pass
        if pipelined:
            self._end_pipeline()
            self._leave_pipeline()

    def _pipeline(self, commands: Sequence[Command]) -> pq.abc.PGresult:
        """Send all, then read all: one round trip. Answers the last one's result."""
        sent = self._send(commands)
        try:
            last = self._receive(sent)
        finally:
            self._leave_pipeline()
        if last is None:
            raise PostgresError("08006", "the connection to PostgreSQL was lost")
        return last

    def _send(self, commands: Sequence[Command]) -> list[_Sent]:
        pg = self._pg
        pg.enter_pipeline_mode()
        sent: list[_Sent] = []
        try:
            if self._rows_in_chunks:
                # libpq lets the first command of a pipeline inherit the mode of a query that was sent alone before
                # (pqAppendCmdQueueEntry() does not reset it, fe-exec.c): let it be one without rows.
                pg.send_close_prepared(b"none")
                sent.append(_Sent("", None))
                self._rows_in_chunks = False
            for prepared in (self._statements, self._lasting):
                for name in prepared.abandoned:
                    pg.send_close_prepared(name)
                    sent.append(_Sent("", None))
                prepared.abandoned.clear()
            for command in commands:
                sql = command.sql
                prepared = self._lasting if command.lasting else self._statements
                known, new = prepared.take(sql)
                if known is None:
                    pg.send_query_params(sql.encode(), command.values, None, command.formats)
                else:
                    if new:
                        pg.send_prepare(known, sql.encode())
                        sent.append(_Sent(sql, prepared))
                    pg.send_query_prepared(known, command.values, command.formats)
                sent.append(_Sent(sql, None))
            pg.pipeline_sync()
            self._flush()
        except BaseException:
            self._leave_pipeline()
            raise
        return sent

    def _receive(self, sent: Sequence[_Sent]) -> pq.abc.PGresult | None:
        """The last result of those commands and the end of the pipeline."""
        last: pq.abc.PGresult | None = None
        failure: PostgresError | None = None
        for command in sent:
            while (result := self._next_result()) is not None:
                if result.status in _OK:
                    last = result
                elif failure is None and result.status != pq.ExecStatus.PIPELINE_ABORTED:
                    failure = self._failure(result, command.sql)
        self._end_pipeline()
        if failure is not None:
            self._forget_unprepared(sent)
            raise failure
        return last

    def _end_pipeline(self) -> None:
        while (result := self._next_result()) is not None and result.status != pq.ExecStatus.PIPELINE_SYNC:
            pass

    @staticmethod
    def _forget_unprepared(sent: Sequence[_Sent]) -> None:
        """Which of them were prepared before the failure isn't known; preparing again under a new name is right."""
        for sql, prepared in sent:
            if prepared is not None:
                prepared.discard(sql)

    def _leave_pipeline(self) -> None:
        if self._pg.status == pq.ConnStatus.OK:
            with contextlib.suppress(psycopg.Error):
                self._pg.exit_pipeline_mode()

    def _flush(self) -> None:
        pg = self._pg
        while pg.flush() == 1:
            # The server may have to answer before it can read on.
            if self._writable.poll()[0][1] & select.POLLIN:
                pg.consume_input()

    def _next_result(self) -> pq.abc.PGresult | None:
        """``get_result()`` without holding the interpreter's lock while PostgreSQL works or waits for a lock."""
        pg = self._pg
        while pg.is_busy():
            self._readable.poll()
            try:
                pg.consume_input()
            except psycopg.OperationalError as error:
                raise PostgresError("08006", f"the connection to PostgreSQL was lost: {error}") from None
        return pg.get_result()

    def _failure(self, result: pq.abc.PGresult, sql: str) -> PostgresError:
        if self._pg.status != pq.ConnStatus.OK:
            return PostgresError("08006", "the connection to PostgreSQL was lost", sql=sql)
        return PostgresError.from_result(result, sql)
