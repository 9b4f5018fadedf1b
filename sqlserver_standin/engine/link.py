"""A session's connection to PostgreSQL: prepared statements, and savepoints that cost no round trip."""

from __future__ import annotations

import contextlib
import select
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg
from psycopg import pq
from psycopg.adapt import Transformer

MOST_PREPARED = 256
_STATEMENT_SAVEPOINT = "s"
_OK = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)


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
Command = tuple[str, Sequence[Value], Sequence[int] | None]


class Link:
    """One PostgreSQL connection.

    In a transaction each statement runs behind a savepoint, because in SQL Server a failed statement undoes only
    itself. BEGIN, SAVEPOINT and RELEASE travel in the same pipeline as the statement that needs them.
    """

    def __init__(self, conninfo: str) -> None:
        self.connection = psycopg.connect(conninfo, autocommit=True)
        self._pg = self.connection.pgconn
        self._prepared: OrderedDict[str, bytes] = OrderedDict()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._names = 0
        self._begin: str | None = None
        self._open_savepoint = False
        self._undo_settings = False
        self.in_transaction = False
        self.transformer = Transformer(self.connection)
        self._readable = select.poll()
        self._readable.register(self._pg.socket, select.POLLIN)
        self._writable = select.poll()
        self._writable.register(self._pg.socket, select.POLLIN | select.POLLOUT)

    @property
    def backend_pid(self) -> int:
        return self._pg.backend_pid

    def close(self) -> None:
        self.connection.close()

    def cancel(self) -> None:
        """Interrupt the running statement; called from another thread."""
        with contextlib.suppress(psycopg.Error):
            self._pg.get_cancel().cancel()

    # -- transactions ----------------------------------------------------------------------------------------

    @property
    def begun(self) -> bool:
        """Whether PostgreSQL has a transaction open: it begins with the first statement."""
        return self.in_transaction and self._begin is None

    def begin(self, isolation: str) -> None:
        """Begin with the next statement."""
        self._begin = f"BEGIN ISOLATION LEVEL {isolation}"
        self.in_transaction = True
        self._open_savepoint = False

    def end(self, command: str) -> None:
        """COMMIT or ROLLBACK."""
        begun = self._begin is None
        self._begin = None
        self.in_transaction = False
        self._open_savepoint = False
        if begun:
            self._direct(command, (), None)

    def savepoint(self, name: str) -> None:
        """A savepoint of the user's, by its PostgreSQL name."""
        self._pipeline([*self._entry(statement_savepoint=False), (f"SAVEPOINT {name}", (), None)])

    def rollback_to(self, name: str) -> None:
        self._open_savepoint = False
        self._pipeline([*self._entry(statement_savepoint=False), (f"ROLLBACK TO SAVEPOINT {name}", (), None)])

    def _entry(self, *, statement_savepoint: bool) -> list[Command]:
        """What has to go first in a transaction."""
        commands: list[Command] = []
        if self._begin is not None:
            commands.append((self._begin, (), None))
            self._begin = None
        if self._open_savepoint:
            if self._undo_settings:
                commands.append((f"ROLLBACK TO SAVEPOINT {_STATEMENT_SAVEPOINT}", (), None))
            commands.append((f"RELEASE SAVEPOINT {_STATEMENT_SAVEPOINT}", (), None))
            self._open_savepoint = False
        self._undo_settings = False
        if statement_savepoint:
            commands.append((f"SAVEPOINT {_STATEMENT_SAVEPOINT}", (), None))
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
        commands: list[Command] = [(text, (), None) for text in before]
        commands.append((sql, values, formats))
        if not self.in_transaction:
            if not before:
                return self._direct(sql, values, formats)
            return self._pipeline(commands)
        entry = self._entry(statement_savepoint=True)
        self._open_savepoint = True
        try:
            return self._pipeline(entry + commands)
        except PostgresError:
            self._undo_statement()
            raise

    def execute_on_catalog(
        self, sql: str, values: Sequence[Value], formats: Sequence[int] | None
    ) -> pq.abc.PGresult:
        """Run a query on the catalog views. PostgreSQL takes their joins for tiny and would nest loops over them."""
        result = self.execute(sql, values, formats, ("SET LOCAL enable_nestloop = off",))
        # In a transaction the setting is undone before the next statement, with nothing else: this one only reads.
        self._undo_settings = self.in_transaction
        return result

    def execute_unbound(self, sql: str) -> pq.abc.PGresult:
        """Run a statement whose ``$n`` take no values: EXPLAIN (GENERIC_PLAN)."""
        if self.in_transaction:
            self._pipeline(self._entry(statement_savepoint=True))
            self._open_savepoint = True
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

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[str | None, ...]]:
        """A query of the engine's own, as text."""
        encoded = [None if value is None else str(value).encode() for value in values]
        result = self.execute(sql, encoded)
        return [
            tuple(
                None if (cell := result.get_value(row, column)) is None else cell.decode()
                for column in range(result.nfields)
            )
            for row in range(result.ntuples)
        ]

    def _undo_statement(self) -> None:
        self._open_savepoint = False
        if self._pg.transaction_status == pq.TransactionStatus.INERROR:
            self._pipeline(
                [
                    (f"ROLLBACK TO SAVEPOINT {_STATEMENT_SAVEPOINT}", (), None),
                    (f"RELEASE SAVEPOINT {_STATEMENT_SAVEPOINT}", (), None),
                ]
            )

    def forget_prepared(self) -> None:
        """After a change of the schema: results of prepared statements may have other columns now."""
        if self._prepared:
            self._prepared.clear()
            self._seen.clear()
            self._deallocate_all = True

    _deallocate_all = False

    def _prepared_name(self, sql: str) -> tuple[bytes | None, bool]:
        """The name of the prepared statement for ``sql``, and whether it has to be prepared now."""
        name = self._prepared.get(sql)
        if name is not None:
            self._prepared.move_to_end(sql)
            return name, False
        if sql not in self._seen:
            self._seen[sql] = None
            if len(self._seen) > MOST_PREPARED * 4:
                self._seen.popitem(last=False)
            return None, False
        self._names += 1
        name = b"p%d" % self._names
        self._prepared[sql] = name
        return name, True

    def _evicted(self) -> Command | None:
        if self._deallocate_all:
            self._deallocate_all = False
            return ("DEALLOCATE ALL", (), None)
        if len(self._prepared) > MOST_PREPARED:
            _, name = self._prepared.popitem(last=False)
            return (f"DEALLOCATE {name.decode()}", (), None)
        return None

    def _direct(self, sql: str, values: Sequence[Value], formats: Sequence[int] | None) -> pq.abc.PGresult:
        if self._deallocate_all or len(self._prepared) > MOST_PREPARED:
            return self._pipeline([(sql, values, formats)])
        pg = self._pg
        name, new = self._prepared_name(sql)
        if new and name is not None:
            result = pg.prepare(name, sql.encode())
            if result.status not in _OK:
                del self._prepared[sql]
                raise self._failure(result, sql)
        if name is not None:
            # Its annotation forgets NULL.
            result = pg.exec_prepared(name, values, formats)  # type: ignore[arg-type]
        else:
            result = pg.exec_params(sql.encode(), values, None, formats)
        if result.status not in _OK:
            raise self._failure(result, sql)
        return result

    def _pipeline(self, commands: Sequence[Command]) -> pq.abc.PGresult:
        """Send all, then read all: one round trip."""
        pg = self._pg
        evicted = self._evicted()
        if evicted is not None:
            commands = [evicted, *commands]
        pg.enter_pipeline_mode()
        sent: list[str] = []
        prepared_now: list[str] = []
        try:
            for sql, values, formats in commands:
                name, new = self._prepared_name(sql)
                if name is None:
                    pg.send_query_params(sql.encode(), values, None, formats)
                else:
                    if new:
                        pg.send_prepare(name, sql.encode())
                        prepared_now.append(sql)
                        sent.append(sql)
                    pg.send_query_prepared(name, values, formats)
                sent.append(sql)
            pg.pipeline_sync()
            self._flush()
            failure: PostgresError | None = None
            last: pq.abc.PGresult | None = None
            for sql in sent:
                result = self._next_result()
                while result is not None:
                    if result.status in _OK:
                        last = result
                    elif failure is None and result.status != pq.ExecStatus.PIPELINE_ABORTED:
                        failure = self._failure(result, sql)
                    result = self._next_result()
            while (
                result := self._next_result()
            ) is not None and result.status != pq.ExecStatus.PIPELINE_SYNC:
                pass
        finally:
            if pg.status == pq.ConnStatus.OK:
                with contextlib.suppress(psycopg.Error):
                    pg.exit_pipeline_mode()
        if failure is not None:
            # Which of them were prepared before the failure isn't known; preparing again under a new name is right.
            for sql in prepared_now:
                self._prepared.pop(sql, None)
            raise failure
        if last is None:
            raise PostgresError("08006", "the connection to PostgreSQL was lost")
        return last

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
