"""Cursor: sends Django's statements through the kept driver cursors, and hands each to the recorder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from mssql import explain, retry
from mssql.instrumentation import plan_capture
from mssql.instrumentation.statement import Statement, StatementKind
from mssql.odbc import pyodbc
from mssql.parameters import Declaration, array_declarations, template
from mssql.session import Session, Transaction

if TYPE_CHECKING:
    from mssql.base import DatabaseWrapper
    from mssql.instrumentation.recorder import Recorder

Row = tuple[Any, ...]
Params = Sequence[Any] | Mapping[str, Any]

CHUNK = 101
"""Rows that execute() reads at once. A result of fewer is off the wire when execute() returns: most are, and so is a
page of 100, which is also what Django asks for at a time."""

ARRAY_ROWS = 50
"""Rows of one shape from which executemany() sends arrays: it costs three messages, however many there are."""
ARRAY_BYTES = 16 * 2**20

_EXPLAIN = "EXPLAIN "
_TRANSACTION_VERBS = ("SAVE TRANSACTION", "ROLLBACK TRANSACTION", "COMMIT TRANSACTION", "BEGIN TRANSACTION")


class Cursor:
    """A DB-API cursor on a session of ours.

    ``execute`` goes on to the first result that has rows, past the counts before it, so that "INSERT …; SELECT …" is
    one statement to its caller; ``rowcount`` is the last count that it passed. An error anywhere on that way, or
    with the first rows, is raised by ``execute``.
    """

    arraysize = 1

    def __init__(self, db: DatabaseWrapper, session: Session) -> None:
        self.db = db
        self.session = session
        self.description: Sequence[Any] | None = None
        self.rowcount = -1
        # What the server said beside its results (PRINT, low severities): PEP 249's (class, text) pairs.
        self.messages: list[Any] = []
        self.closed = False
        # What was sent last, in Django's style: execute wrappers may have changed it on its way here.
        self.executed: tuple[str, Params | None] = ("", None)
        self._rows: list[Row] = []
        self._position = 0
        self._fetched = 0
        # The driver cursor, as long as something of its results is unread; whether it is the one for parameters.
        self._driver: pyodbc.Cursor | None = None
        self._prepared = False
        # Whether the driver cursor has moved on to a further result set; such sets that were brought here early.
        self._moved = False
        self._further: list[tuple[Sequence[Any], list[Row]]] = []
        # The recorder's statement, while the driver cursor is there.
        self._statement: Statement | None = None

    def __getattr__(self, name: str) -> Any:
        # pyodbc's own extras (columns(), tables(), …) are those of the driver cursor in use.
        if name.startswith("_") or self._driver is None:
            raise AttributeError(f"'Cursor' object has no attribute {name!r}")
        return getattr(self._driver, name)

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        # Only what needs no message: the driver cursor closes itself when it is collected.
        if self._statement is not None and self.session.recorder is not None:
            self.session.recorder.close(self._statement, returned_rows=self._fetched)

    @property
    def connection(self) -> pyodbc.Connection:
        return self.session.driver

    # --- Statements --------------------------------------------------------------------------------------------------

    def execute(self, sql: str, params: Params | None = None) -> Cursor:
        self._ready()
        self.executed = sql, params
        if sql.startswith(_EXPLAIN):
            return self._explain(sql.removeprefix(_EXPLAIN), params)
        values: list[Any] = []
        declarations: list[Declaration] = []
        if params is not None:
            prepared = template(sql)
            sql = prepared.sql
            values, declarations = prepared.bind(params)
        obstacle = None
        while True:
            try:
                self._dispatch(sql, values, declarations)
                return self
            except pyodbc.IntegrityError as error:
                found = self.db.switch_off_obstacle(error)
                if found is None or found == obstacle:
                    raise
                obstacle = found

    def _explain(self, sql: str, params: Params | None) -> Cursor:
        """Answer EXPLAIN as other databases do: T-SQL has no such statement, but tools (the debug toolbar's own SQL
        panel, Silk) put ``ops.explain_prefix`` before a query to see its plan."""
        lines = explain.explain(self.db, sql, params).splitlines()
        self.description = (("QUERY PLAN", str, None, None, None, None, None),)
        self._rows = [(line,) for line in lines]
        self.rowcount = self._fetched = len(lines)
        return self

    def _dispatch(self, sql: str, values: list[Any], declarations: list[Declaration]) -> None:
        session = self.session
        if session.statement_policy is not None and session.transaction is Transaction.NONE:
            retry.statement(
                lambda: self._perform(StatementKind.QUERY, sql, values, declarations),
                policy=session.statement_policy,
                alias=self.db.alias,
                recorder=session.recorder,
            )
        elif session.recorder is None:
            self._send(sql, values, declarations)
        else:
            self._perform(StatementKind.QUERY, sql, values, declarations)

    def executemany(self, sql: str, param_list: Iterable[Params]) -> Cursor:
        """Execute for each member of ``param_list``; ``rowcount`` is not known then."""
        self._ready()
        rows = list(param_list)
        prepared = template(sql)
        batches = _batches([prepared.bind(row) for row in rows])

        def send(sql: str, statement: Statement | None) -> None:
            for declarations, batch in batches:
                self._send_many(sql, batch, declarations)
            self.rowcount = -1

        if self.session.recorder is None:
            send(prepared.sql, None)
        else:
            self._observe(
                self.session.recorder, send, StatementKind.BATCH, prepared.sql, rows, batch_size=len(rows)
            )
        return self

    def callproc(
        self, name: str, params: Sequence[Any] = (), kparams: Mapping[str, Any] | None = None
    ) -> Sequence[Any]:
        """Call a stored procedure; its result sets are read from this cursor. Returns ``params`` as they were:
        the driver's Python layer gives no output parameters back."""
        self._ready()
        procedure = ".".join(map(self.db.ops.quote_name, name.split(".")))
        arguments = ["%s"] * len(params) + [f"@{key.removeprefix('@')} = %s" for key in kparams or ()]
        sql = f"EXEC {procedure} {', '.join(arguments)}".rstrip()
        prepared = template(sql)
        values, declarations = prepared.bind([*params, *(kparams or {}).values()])
        self._perform(StatementKind.PROCEDURE, prepared.sql, values, declarations, name)
        return params

    def _ready(self) -> None:
        if self.closed:
            raise pyodbc.ProgrammingError("HY010", "The cursor is closed.")
        if self._driver is not None:
            self._abandon()
        session = self.session
        if session.reading is not None:
            session.settle()
        if session.transaction is Transaction.OWED:
            session.begin()
        elif session.transaction is Transaction.LOST:
            session.refuse_when_lost()
        self.description = None
        self.rowcount = -1
        self.messages = []
        self._rows = []
        self._position = self._fetched = 0
        self._moved = False
        self._further.clear()

    def _perform(
        self,
        kind: StatementKind,
        sql: str,
        values: list[Any],
        declarations: list[Declaration],
        procedure: str | None = None,
    ) -> None:
        recorder = self.session.recorder
        if recorder is None:
            self._send(sql, values, declarations)
            return
        if kind is StatementKind.QUERY and sql.startswith(_TRANSACTION_VERBS):
            kind = StatementKind.TRANSACTION

        def send(sql: str, statement: Statement) -> None:
            statement.declarations = declarations
            if not recorder.wants_actual_plan(statement) or not self._send_with_plan(
                sql, values, declarations, statement
            ):
                self._send(sql, values, declarations)

        self._observe(recorder, send, kind, sql, values, procedure=procedure)

    def _observe(
        self,
        recorder: Recorder,
        send: Callable[[str, Statement], None],
        kind: StatementKind,
        sql: str,
        params: Sequence[Any],
        *,
        batch_size: int | None = None,
        procedure: str | None = None,
    ) -> None:
        """Tell the recorder what ``send`` does with the text that it is given."""
        session = self.session
        statement = recorder.begin(
            kind,
            sql,
            params,
            batch_size=batch_size,
            procedure=procedure,
            in_transaction=session.transaction is Transaction.OPEN,
        )
        try:
            if recorder.propagator is not None:
                sql = recorder.outgoing(statement, sql, session.run)
            send(sql, statement)
        except BaseException as error:
            recorder.end(statement, error=error)
            recorder.close(statement)
            raise
        if self._driver is None:
            recorder.end(statement, rowcount=self.rowcount)
            recorder.close(statement, returned_rows=self._fetched if self.description else None)
        else:
            recorder.end(statement, rowcount=self.rowcount, unread=True)
            self._statement = statement

    def _send(self, sql: str, values: list[Any], declarations: list[Declaration]) -> None:
        self._prepared = bool(values)
        driver = self._driver = self.session.take(self._prepared)
        try:
            if values:
                driver.setinputsizes(declarations)
                driver.execute(sql, values)
            else:
                driver.execute(sql)
            self._load()
        except BaseException:
            self._discard()
            raise

    def _send_many(self, sql: str, rows: list[list[Any]], declarations: list[Declaration]) -> None:
        """Execute for each row: column by column in one message where there are many, else row by row."""
        if len(rows) >= ARRAY_ROWS and declarations and self.db.options.fast_executemany:
            columns = array_declarations(declarations, rows)
            if columns is not None:
                self._send_arrays(sql, rows, *columns)
                return
        for values in rows:
            self._send(sql, values, declarations)

    def _send_arrays(
        self, sql: str, rows: list[list[Any]], declarations: list[Declaration], width: int
    ) -> None:
        session = self.session
        # The server goes on after a row that fails. Outside of a transaction, all or nothing has to be asked for.
        alone = session.transaction is Transaction.NONE
        at_once = max(ARRAY_BYTES // width, 1)
        driver = session.driver.cursor()
        if alone:
            session.begin()
        try:
            driver.fast_executemany = True
            driver.setinputsizes(declarations)
            for start in range(0, len(rows), at_once):
                driver.executemany(sql, rows[start : start + at_once])
                while driver.nextset():
                    pass
        except BaseException:
            with contextlib.suppress(pyodbc.Error):
                driver.close()
                if alone:
                    session.rollback()
            raise
        driver.close()
        if alone:
            session.commit()

    def _send_with_plan(
        self, sql: str, values: list[Any], declarations: list[Declaration], statement: Statement
    ) -> bool:
        """Execute with the actual plan asked for. It comes between the results, so that all of them are read at once.
        False, and nothing was executed, where plans are not to be had."""
        session = self.session
        self._prepared = bool(values)
        driver = self._driver = session.take(self._prepared)
        try:
            if values:
                driver.setinputsizes(declarations)
            results = plan_capture.run_with_plan(session.driver, driver, sql, values, statement)
            session.follow_database()
        except BaseException:
            self._discard()
            raise
        self._release()
        if results is None:
            return False
        sets: list[tuple[Sequence[Any], list[Row]]] = []
        for result in results:
            if result.description is not None:
                sets.append((result.description, result.rows))
                self._fetched += len(result.rows)
            elif not sets and result.rowcount >= 0:
                self.rowcount = result.rowcount
        if sets:
            (self.description, self._rows), *self._further = sets
        return True

    # --- Results -----------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        """Go on to the first result with rows, and read its first ones."""
        driver = self._driver
        assert driver is not None
        self.rowcount = driver.rowcount
        self._hear(driver)
        while driver.description is None:
            if not driver.nextset():
                self._release()
                return
            self._hear(driver)
            # A trigger's counts come first, the statement's own last.
            if driver.rowcount >= 0:
                self.rowcount = driver.rowcount
        self._begin_set()

    def _hear(self, driver: pyodbc.Cursor) -> None:
        if driver.messages:
            self.messages += driver.messages
            # One of them may be that USE has changed the database.
            self.session.follow_database()

    def _begin_set(self) -> None:
        driver = self._driver
        assert driver is not None
        self.description = driver.description
        self._position = 0
        self._rows = self._fetch(driver, CHUNK)
        if len(self._rows) < CHUNK:
            self._end_set()
        else:
            self.session.reading = self

    def _end_set(self) -> None:
        """The rows of a set were read to the end: go on to the next set, or let the driver cursor go."""
        driver = self._driver
        assert driver is not None
        while driver.nextset():
            self._hear(driver)
            if driver.description is not None:
                self._moved = True
                self.session.reading = self
                return
        self._release()

    def _read(self, size: int | None) -> list[Row]:
        """Rows that are still on the wire: ``size`` of them, or all."""
        driver = self._driver
        if driver is None or self._moved:
            return []
        try:
            rows = self._fetch(driver, size)
            if size is None or len(rows) < size:
                self._end_set()
        except BaseException as error:
            self._discard(error)
            raise
        return rows

    def _fetch(self, driver: pyodbc.Cursor, size: int | None) -> list[Row]:
        rows = driver.fetchall() if size is None else driver.fetchmany(size)
        self._fetched += len(rows)
        return list(map(_as_tuple(len(driver.description)), rows))

    def buffer(self) -> None:
        """Bring everything that is unread to this side, because another statement wants the wire."""
        if not self._moved:
            self._rows = self._rows[self._position :] + self._read(None)
            self._position = 0
        while (driver := self._driver) is not None:
            self._moved = False
            description = driver.description
            self._further.append((description, self._read(None)))

    def _release(self) -> None:
        """All results were read: the driver cursor can serve the next statement."""
        driver, self._driver = self._driver, None
        if driver is not None:
            self._let_go()
            self.session.keep(self._prepared, driver)

    def _discard(self, error: BaseException | None = None) -> None:
        """Give up the driver cursor, whatever it is at; ``error`` is what reading from it raised."""
        driver, self._driver = self._driver, None
        if driver is not None:
            self._let_go(error)
            # Most likely the connection is gone, which the statement's own error tells.
            with contextlib.suppress(pyodbc.Error):
                driver.close()

    def _let_go(self, error: BaseException | None = None) -> None:
        self._moved = False
        if self.session.reading is self:
            self.session.reading = None
        if self._statement is not None:
            statement, self._statement = self._statement, None
            if self.session.recorder is not None:
                self.session.recorder.close(statement, returned_rows=self._fetched, error=error)

    def _abandon(self) -> None:
        """The caller wants no more of the results. A short rest is read, so that the driver cursor can be kept; for a
        long one the driver tells the server to stop."""
        if self._driver is not None and not self._moved:
            with contextlib.suppress(pyodbc.Error):
                if self._driver.fetchone() is None:
                    self._end_set()
        self._discard()

    def fetchone(self) -> Row | None:
        self._check_rows()
        if self._position >= len(self._rows):
            self._rows = self._read(CHUNK)
            self._position = 0
            if not self._rows:
                return None
        row = self._rows[self._position]
        self._position += 1
        return row

    def fetchmany(self, size: int | None = None) -> list[Row]:
        self._check_rows()
        size = self.arraysize if size is None else size
        rows = self._rows
        if self._position or len(rows) > size:
            rows = rows[self._position : self._position + size]
            self._position += len(rows)
        else:
            self._rows = []
        if len(rows) < size:
            rows += self._read(size - len(rows))
        return rows

    def fetchall(self) -> list[Row]:
        self._check_rows()
        rows = self._rows[self._position :] if self._position else self._rows
        self._rows = []
        self._position = 0
        return rows + self._read(None) if self._driver is not None else rows

    def fetchval(self) -> Any:
        row = self.fetchone()
        return None if row is None else row[0]

    def __iter__(self) -> Iterator[Row]:
        while (row := self.fetchone()) is not None:
            yield row

    def nextset(self) -> bool:
        """Go on to the next result set that has rows."""
        if self.closed:
            raise pyodbc.ProgrammingError("HY010", "The cursor is closed.")
        if self._driver is not None and not self._moved:
            self._read(None)
        self._rows = []
        self._position = 0
        if self._further:
            self.description, self._rows = self._further.pop(0)
            return True
        if self._driver is None:
            self.description = None
            return False
        self._moved = False
        try:
            self._begin_set()
        except BaseException as error:
            self._discard(error)
            raise
        return True

    def _check_rows(self) -> None:
        if self.closed:
            raise pyodbc.ProgrammingError("HY010", "The cursor is closed.")
        if self.description is None:
            raise pyodbc.ProgrammingError("24000", "No results: the previous statement returned no rows.")

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        if self._driver is not None:
            self._abandon()
        self._rows = []
        self._further.clear()

    def setinputsizes(self, sizes: Sequence[Any]) -> None:
        """PEP 249 lets a driver declare parameters by itself; this one does."""

    def setoutputsize(self, size: int, column: int | None = None) -> None:
        """PEP 249 lets a driver ignore it."""


@cache
def _as_tuple(width: int) -> Callable[[Any], Row]:
    """What makes a tuple of a pyodbc.Row, which has no hash. tuple() would iterate over it, in twice the time."""
    return itemgetter(*range(width)) if width > 1 else tuple


def _batches(
    bound: list[tuple[list[Any], list[Declaration]]],
) -> list[tuple[list[Declaration], list[list[Any]]]]:
    """Neighbouring rows with equal declarations, which go out as executions of one prepared statement."""
    batches: list[tuple[list[Declaration], list[list[Any]]]] = []
    for values, declarations in bound:
        if batches and batches[-1][0] == declarations:
            batches[-1][1].append(values)
        else:
            batches.append((declarations, [values]))
    return batches
