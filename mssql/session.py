"""Session: one physical connection, with the driver cursors that it keeps and the state of its transaction."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mssql import errors
from mssql.errors import TransactionState
from mssql.instrumentation.statement import StatementKind
from mssql.odbc import pyodbc

if TYPE_CHECKING:
    from mssql.cursor import Cursor
    from mssql.instrumentation.recorder import Recorder
    from mssql.instrumentation.statement import ConnectionInfo
    from mssql.retry import RetryPolicy
    from mssql.server import ServerInfo


class Transaction(enum.Enum):
    """Where the session stands between BEGIN and COMMIT."""

    NONE = "none"
    OWED = "owed"  # autocommit is off: the next statement is preceded by BEGIN TRANSACTION
    OPEN = "open"
    LOST = "lost"  # the server rolled it back, or lets it be rolled back only


class Session:
    """One connection to the server. ODBC's autocommit stays on; transactions are begun and ended in T-SQL, because each
    switch of ODBC's mode costs a message of its own.

    A driver cursor that is closed sends sp_unprepare. So the session keeps one for statements with parameters, whose
    next sp_prepexec carries the old handle along, and one for statements without, which would make the driver unprepare
    first. While a result set is read from one of them, a further cursor is made. A cursor kept for each text would gain
    nothing: pyodbc takes the parameters off after each execution, and the driver prepares anew with those bound next.
    """

    def __init__(self, driver: pyodbc.Connection, info: ConnectionInfo, *, mars: bool = False) -> None:
        self.driver = driver
        self.info = info
        self.mars = mars
        self.recorder: Recorder | None = None
        self.server: ServerInfo | None = None
        self.transaction = Transaction.NONE
        # The cursor whose result set stands unread on the wire; without MARS there can be one.
        self.reading: Cursor | None = None
        self.opened_at = 0.0
        # Ctrl-C broke off an answer: what is still under way, nobody knows, so the session serves nobody else.
        self.interrupted = False
        # How autocommit statements are tried again; None: they are not.
        self.statement_policy: RetryPolicy | None = None
        self._autocommit = True
        self._kept: dict[bool, pyodbc.Cursor | None] = {True: None, False: None}

    def __getattr__(self, name: str) -> Any:
        # What third-party code expects of `connection.connection` is a pyodbc connection.
        return getattr(self.driver, name)

    # --- Driver cursors ----------------------------------------------------------------------------------------------

    def take(self, prepared: bool) -> pyodbc.Cursor:
        """A driver cursor for a statement with parameters (``prepared``) or without."""
        kept = self._kept[prepared]
        if kept is None:
            return self.driver.cursor()
        self._kept[prepared] = None
        return kept

    def keep(self, prepared: bool, cursor: pyodbc.Cursor) -> None:
        """Take back a driver cursor whose results were all read."""
        if self._kept[prepared] is None:
            self._kept[prepared] = cursor
        else:
            cursor.close()

    def settle(self) -> None:
        """Bring the unread rest of another cursor's results to this side: the wire carries one answer at a time."""
        if self.reading is not None and not self.mars:
            self.reading.buffer()

    def run(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Execute unobserved, to its end, and return the rows of the last result set, if any."""
        self.settle()
        cursor = self.take(bool(params))
        rows: list[tuple[Any, ...]] = []
        try:
            if params:
                # What was declared for the last statement holds until it is taken back.
                cursor.setinputsizes(None)
            cursor.execute(sql, *params)
            while True:
                if cursor.description is not None:
                    rows = [tuple(row) for row in cursor.fetchall()]
                if not cursor.nextset():
                    break
        except BaseException:
            _close_quietly(cursor)
            raise
        self.keep(bool(params), cursor)
        return rows

    def follow_database(self) -> None:
        """Learn which database USE has led to, in the application's own SQL. The driver keeps count of it: it asks
        nothing of the server (https://learn.microsoft.com/sql/odbc/reference/syntax/sqlgetinfo-function)."""
        with contextlib.suppress(pyodbc.Error):
            self.info.database = self.driver.getinfo(pyodbc.SQL_DATABASE_NAME) or self.info.database

    def end_use(self) -> None:
        """Leave nothing open, so that somebody else can use the session after a reset: it would invalidate what
        the kept cursors have prepared."""
        if self.reading is not None:
            self.reading.close()
        kept, self._kept = self._kept, {True: None, False: None}
        for cursor in kept.values():
            if cursor is not None:
                cursor.close()
        self.rollback()
        if self.recorder is not None:
            self.recorder.clear_propagation(self.run)

    def close(self) -> None:
        self.reading = None
        self._kept = {True: None, False: None}
        self.transaction = Transaction.NONE
        try:
            self.driver.close()
        finally:
            if self.recorder is not None:
                self.recorder.connection_closed()

    # --- Transactions ------------------------------------------------------------------------------------------------

    @property
    def autocommit(self) -> bool:
        return self._autocommit

    @autocommit.setter
    def autocommit(self, on: bool) -> None:
        if on and self.transaction is Transaction.OPEN:
            self.commit()
        elif on:
            self.rollback()
        self._autocommit = on
        self._forget_transaction()

    @property
    def in_transaction(self) -> bool:
        return self.transaction is Transaction.OPEN

    def begin(self) -> None:
        """Pay the BEGIN that is owed. It goes out with the first statement: an empty atomic block costs nothing."""
        self._run_observed("BEGIN TRANSACTION")
        self.transaction = Transaction.OPEN

    def commit(self) -> None:
        self.refuse_when_lost()
        if self.transaction is Transaction.OPEN:
            self._run_observed("COMMIT TRANSACTION")
        self._forget_transaction()

    def rollback(self) -> None:
        if self.transaction in {Transaction.OPEN, Transaction.LOST}:
            # A doomed transaction is still open and can be rolled back as a whole only; one that the server ended is
            # not, and ROLLBACK would be error 3903 (https://learn.microsoft.com/sql/t-sql/functions/xact-state-transact-sql).
            self._run_observed("IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION")
        self._forget_transaction()

    def refuse_when_lost(self) -> None:
        """What is sent after the server ended the transaction would be committed by itself."""
        if self.transaction is Transaction.LOST:
            raise pyodbc.InternalError(
                "25000",
                "The server has rolled the transaction back, or lets it be rolled back only: call rollback().",
            )

    def _forget_transaction(self) -> None:
        self.transaction = Transaction.NONE if self._autocommit else Transaction.OWED

    def failed(self, error: errors.SQLServerError) -> None:
        """Learn from a failed statement whether the transaction is still there."""
        if self.transaction is not Transaction.OPEN or error.transaction_state is TransactionState.ACTIVE:
            return
        if error.connection_state is errors.ConnectionState.BROKEN:
            self.transaction = Transaction.LOST
        elif error.transaction_state is TransactionState.UNKNOWN:
            self.transaction = self._ask_transaction()
        else:
            self.transaction = Transaction.LOST

    def _ask_transaction(self) -> Transaction:
        try:
            ((state,),) = self.run("SELECT XACT_STATE()")
        except pyodbc.Error:
            return Transaction.LOST
        return Transaction.OPEN if state == 1 else Transaction.LOST

    def _run_observed(self, sql: str) -> None:
        recorder = self.recorder
        if recorder is None:
            self.run(sql)
            return
        statement = recorder.begin(StatementKind.TRANSACTION, sql, in_transaction=self.in_transaction)
        try:
            self.run(sql)
        except pyodbc.Error as error:
            recorder.end(statement, error=error)
            raise
        else:
            recorder.end(statement)
        finally:
            recorder.close(statement)


def _close_quietly(cursor: pyodbc.Cursor) -> None:
    # The error that brought us here says more.
    with contextlib.suppress(pyodbc.Error):
        cursor.close()
