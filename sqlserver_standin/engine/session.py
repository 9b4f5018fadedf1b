"""One client's session: its database, options, transaction and variables; runs batches and answers events."""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from sqlserver_standin.engine import deadlocks
from sqlserver_standin.engine.catalog import Table
from sqlserver_standin.engine.ddl.definition import DataDefinition
from sqlserver_standin.engine.definitions import declaration
from sqlserver_standin.engine.failures import Failures, duplicate_values, session_lost
from sqlserver_standin.engine.frame import Frame, Scope
from sqlserver_standin.engine.interpreter import Interpreter
from sqlserver_standin.engine.link import Link, PostgresError
from sqlserver_standin.engine.metadata import SessionCatalog, TableInfo
from sqlserver_standin.engine.names import pg_name, quote
from sqlserver_standin.engine.statement_statistics import Clock
from sqlserver_standin.engine.statements import SetOption
from sqlserver_standin.errors import sql_error, text
from sqlserver_standin.events import (
    EnvironmentChange,
    Event,
    Message,
    Parameter,
    ReturnValue,
    SqlError,
)
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.expressions import Context, descendants
from sqlserver_standin.tsql.translate import Translator
from sqlserver_standin.types import SqlType

if TYPE_CHECKING:
    from sqlserver_standin.engine.instance import Database, Instance
    from sqlserver_standin.engine.observation import LastRun

CANCEL_AGAIN = 0.25
_ISOLATION_NUMBERS = {
    1: "READ UNCOMMITTED",
    2: "READ COMMITTED",
    3: "REPEATABLE READ",
    4: "SERIALIZABLE",
    5: "SNAPSHOT",
}
# SQL Server's REPEATABLE READ and SERIALIZABLE end what PostgreSQL calls a serialization failure by a deadlock.
_PG_ISOLATION = {
    "READ UNCOMMITTED": "READ COMMITTED",
    "READ COMMITTED": "READ COMMITTED",
    "REPEATABLE READ": "REPEATABLE READ",
    "SNAPSHOT": "REPEATABLE READ",
    "SERIALIZABLE": "SERIALIZABLE",
}


# Views that show a login without VIEW SERVER PERFORMANCE STATE its own session only:
# https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-exec-sessions-transact-sql
OWN_ROWS = ("dm_exec_sessions", "dm_exec_requests")


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """Who logged in, as the client said."""

    login: str
    host_name: str = ""
    program_name: str = ""
    process_id: int = 0
    library: str = ""
    address: str = ""
    encrypted: bool = True


@dataclass(slots=True)
class Options:
    """The SET options of a session, as an ODBC connection begins."""

    nocount: bool = False
    xact_abort: bool = False
    implicit_transactions: bool = False
    quoted_identifier: bool = True
    ansi_nulls: bool = True
    ansi_padding: bool = True
    ansi_warnings: bool = True
    arithabort: bool = False
    concat_null_yields_null: bool = True
    numeric_roundabort: bool = False
    cursor_close_on_commit: bool = False
    fmtonly: bool = False
    noexec: bool = False
    parseonly: bool = False
    showplan_xml: bool = False
    statistics_xml: bool = False
    statistics_io: bool = False
    statistics_time: bool = False
    isolation: str = "READ COMMITTED"
    lock_timeout: int = -1
    deadlock_priority: int = 0
    date_first: int = 7
    date_format: str = "mdy"
    language: str = "us_english"
    row_count: int = 0
    text_size: int = 2147483647


@dataclass(slots=True)
class Counters:
    """What a session has done, for sys.dm_exec_sessions."""

    reads: int = 0
    writes: int = 0
    logical_reads: int = 0
    cpu_ms: float = 0.0
    elapsed_ms: float = 0.0
    rows: int = 0
    last_request_start: datetime.datetime | None = None
    last_request_end: datetime.datetime | None = None
    requests: int = 0


@dataclass(slots=True)
class Transaction:
    """The open transaction. ``count`` is @@TRANCOUNT; ``doomed``: it can only be rolled back."""

    count: int = 0
    doomed: bool = False
    name: str | None = None
    descriptor: int = 0
    isolation: str = "READ COMMITTED"
    savepoints: list[str] = field(default_factory=list)
    changed_rows: int = 0
    started: datetime.datetime | None = None


@dataclass(slots=True)
class Activity:
    """What a session is doing, for sys.dm_exec_requests and deadlock graphs."""

    text: str = ""
    statement: str = ""
    started: datetime.datetime | None = None
    running: bool = False
    procedure: str = ""
    transaction: Transaction = field(default_factory=Transaction)
    table: str = ""
    """The table that the statement reads first or changes, as schema.name."""
    table_id: int = 0
    index: str = ""
    last_run: LastRun | None = None
    """What is kept of the statement in a database that keeps last plans."""


class Session:
    """Runs the requests of one client, one at a time; only ``cancel()`` and ``kill()`` come from other threads."""

    _descriptors = 0
    _descriptor_lock = threading.Lock()

    def __init__(self, instance: Instance, spid: int, client: ClientInfo, database: Database) -> None:
        self.instance = instance
        self.spid = spid
        self.client = client
        self.options = Options()
        self.transaction = Transaction()
        self.activity = Activity()
        self.previous_activity: Activity | None = None
        self.counters = Counters()
        self.login_time = datetime.datetime.now()
        self.original_database = database.name
        self.row_count = 0
        self.last_error = 0
        self.context_info: bytes | None = None
        self.session_context: dict[str, tuple[Any, bool]] = {}
        self.identity_insert: TableInfo | None = None
        self.identity_sequence: str | None = None
        self.scope = Scope()
        self.errors: list[SqlError] = []
        self.nesting = 0
        self.trigger_depth = 0
        self.clocks: list[Clock] = []
        """Those of STATISTICS TIME that run now, of a procedure and of the statements in it."""
        self._reported: list[SqlError] = []
        self._local_schema_version = 0
        self._link_version: Hashable = None
        self._lock_timeout_dirty = False
        self._schema_touched = False
        self._cancelled = threading.Event()
        self._cancelling = threading.Condition()
        self._killed = False
        self._closed = False
        self._table_variables = 0
        self._clustered: dict[tuple[Hashable, int], str] = {}
        self.ddl = DataDefinition(self)
        self.failures = Failures(self)
        self.interpreter = Interpreter(self)
        self._open(database)

    # -- the connection --------------------------------------------------------------------------------------

    def _open(self, database: Database) -> None:
        self._database = database
        self.link = Link(self.instance.postgres.conninfo(database.pg_database))
        self.catalog = SessionCatalog(self.link.rows, self._schema_version, self.instance.release, database)
        self.translator = Translator(self.catalog)
        self._link_version = self.catalog.version
        settings = {
            "standin.spid": str(self.spid),
            "standin.login": self.client.login,
            "standin.database": database.name,
            "standin.server": self.instance.server_name,
            "standin.release": json.dumps(asdict(self.instance.release)),
            "standin.datefirst": str(self.options.date_first),
        }
        calls = ", ".join(f"set_config('{name}', ${i}, false)" for i, name in enumerate(settings, 1))
        self.link.execute(f"SELECT {calls}", [value.encode() for value in settings.values()])
        if self.options.lock_timeout != -1:
            self.apply_lock_timeout()
        self._security_version = -1
        self._publish_permissions()

    def _publish_permissions(self) -> None:
        """Let HAS_PERMS_BY_NAME see what this login may do here."""
        security = self.instance.security
        if self._security_version == security.version:
            return
        self._security_version = security.version
        self.is_sysadmin = security.is_sysadmin(self.client.login)
        if not self.is_sysadmin:
            permissions = security.permissions(self.client.login, self.database)
            self.set_setting("standin.permissions", ",".join(sorted(permissions)) or "none")
            objects = security.object_permissions(self.client.login, self.database)
            self.set_setting("standin.object_permissions", json.dumps(objects))

    @property
    def user_name(self) -> str:
        """CURRENT_USER."""
        if self.is_sysadmin:
            return "dbo"
        user = self.instance.security.user(self.client.login, self.database)
        return user.name if user else "guest"

    @property
    def sees_others(self) -> bool:
        """Whether the dynamic management views have rows of other sessions."""
        needed = "VIEW SERVER PERFORMANCE STATE"
        return self.is_sysadmin or needed in self.instance.security.permissions(
            self.client.login, self.database
        )

    def require(self, permission: str) -> None:
        """Refuse unless the login has a database's or the server's permission."""
        if not self.is_sysadmin and permission not in self.instance.security.permissions(
            self.client.login, self.database
        ):
            raise sql_error(262, permission, self.database)

    def require_on(self, permission: str, table: Table) -> None:
        """Refuse unless the login has a permission on a table or view."""
        if self.is_sysadmin or table.kind in ("temp", "variable"):
            return
        security = self.instance.security
        if table.schema in ("sys", "INFORMATION_SCHEMA"):
            name = table.name.lower()
            if name.startswith(("query_store", "database_query_store")):
                needed = "VIEW DATABASE PERFORMANCE STATE"
                if needed not in security.permissions(self.client.login, self.database):
                    self.report(sql_error(262, needed, self.database))
                    raise sql_error(297)
            # Of sessions and requests a login sees its own.
            elif name.startswith(("dm_exec", "dm_tran", "dm_xe", "dm_os")) and name not in OWN_ROWS:
                needed = "VIEW SERVER PERFORMANCE STATE"
                if needed not in security.permissions(self.client.login, self.database):
                    self.report(sql_error(300, needed, "server", "master"))
                    raise sql_error(297)
            return
        if not security.may(self.client.login, self.database, permission, table.schema, table.name):
            raise sql_error(229, permission, table.name, self.database, table.schema)

    @property
    def database(self) -> str:
        """The current database's name."""
        return self._database.name

    @property
    def database_facts(self) -> Database:
        """The current database."""
        return self._database

    @property
    def collation(self) -> str:
        """The current database's collation."""
        return self._database.collation

    @property
    def transaction_isolation(self) -> str:
        """The level at which the open transaction began."""
        return self.transaction.isolation if self.transaction.count else self.options.isolation

    def _schema_version(self) -> tuple[int, int]:
        return (self.instance.schema_version(self._database.name), self._local_schema_version)

    def schema_changed(
        self, *, local: bool = False, for_others: bool = False, only_added_to: TableInfo | None = None
    ) -> None:
        """After data definition.

        ``local``: only this session sees it. ``for_others``: this session has seen it already. ``only_added_to``:
        the table is new or has something new, and nothing else is different.
        """
        before = self._schema_version()
        self._local_schema_version += 1
        if not local:
            self.instance.schema_changed(self._database.name)
        # Unless another session's change has come in between.
        own = 0 if local else 1
        if (for_others or only_added_to is not None) and self._schema_version()[0] == before[0] + own:
            self.catalog.still_holds(before, only_added_to)

    def require_type(self, data_type: SqlType) -> None:
        """For declarations; 2715 where the release does not have the type."""
        if data_type.name == "json" and not self.instance.release.has_json_type:
            raise sql_error(2715, 1, data_type.name)

    def set_setting(self, name: str, value: str) -> None:
        """A PostgreSQL setting that the function library reads."""
        self.link.execute("SELECT set_config($1, $2, false)", [name.encode(), value.encode()])

    def use(self, name: str) -> Iterator[Event]:
        """USE: another PostgreSQL database, so another connection."""
        found = self.instance.database(name)
        if found is None:
            raise sql_error(911, name)
        if not self.instance.may_use(self.client.login, found.name):
            raise sql_error(916, self.client.login, found.name)
        old = self._database.name
        if found is not self._database:
            if self.transaction.count:
                if self.link.begun:
                    raise sql_error(40000, "USE inside a transaction")
                self.link.end("ROLLBACK")
            self.link.close()
            self._open(found)
            if self.transaction.count:
                self._begin_link()
            if self.session_context:
                self.publish_session_context()
        yield EnvironmentChange("database", found.name, old)
        yield Message(5701, text(5701, found.name), severity=10, state=2)

    def cancel(self) -> None:
        """Interrupt the running request (attention); it stays cancelled until ``forget_cancel()``."""
        self._cancelled.set()
        self.link.cancel()
        threading.Thread(target=self._insist_on_cancel, name=f"cancel {self.spid}", daemon=True).start()

    def _insist_on_cancel(self) -> None:
        """PostgreSQL ignores a cancel that overtakes its statement, which may then wait for a lock for ever."""
        while True:
            with self._cancelling:
                if self._cancelling.wait_for(lambda: not self._cancelled.is_set(), CANCEL_AGAIN):
                    return
                # Under the lock, so that it can't hit the next request.
                self.link.cancel()

    def forget_cancel(self) -> None:
        """The request that may have been cancelled has ended."""
        if self._cancelled.is_set():
            with self._cancelling:
                self._cancelled.clear()
                self._cancelling.notify_all()

    @property
    def cancelled(self) -> bool:
        """Whether the running request shall stop."""
        return self._cancelled.is_set() or self._killed

    def check_cancelled(self) -> None:
        """Stop here if the client, or another session, wants it."""
        if self._killed:
            raise session_lost()
        if self._cancelled.is_set():
            raise sql_error(3617)

    def wait(self, seconds: float) -> None:
        """Sleep, unless the request is cancelled meanwhile."""
        self._cancelled.wait(seconds)
        self.check_cancelled()

    def kill(self) -> None:
        """Ended by another session: what it does next fails with severity 21, and it is in nobody's way any more."""
        self._killed = True
        self._cancelled.set()
        self.instance.terminate_backend(self.link.backend_pid)
        self.instance.forget(self)

    def reset(self) -> None:
        """The reset-connection flag: as sp_reset_connection leaves a session."""
        if self.transaction.count:
            self._forget_transaction()
            self.link.end("ROLLBACK")
        self.options = Options()
        self.session_context.clear()
        self.context_info = None
        self.identity_insert = None
        self.identity_sequence = None
        self.scope = Scope()
        self.row_count = 0
        original = self.instance.database(self.original_database)
        self.link.close()
        self._open(original if original is not None else self._database)

    def close(self) -> None:
        """End the session; an open transaction is rolled back."""
        if not self._closed:
            self._closed = True
            self.forget_cancel()
            self.link.close()
            self.instance.forget(self)

    # -- requests --------------------------------------------------------------------------------------------

    def execute(
        self, sql: str, parameters: Sequence[Parameter] = (), *, rpc: bool = False
    ) -> Iterator[Event]:
        """Run a batch, or the statements of a parameterised request."""
        self._start(sql, parameters)
        frame = Frame.of_parameters(parameters)
        if not rpc:
            frame.scope = self.scope
        yield from self._run(self._batch(sql, frame, rpc=rpc))
        for parameter in parameters:
            if parameter.output:
                value = frame.values[parameter.name.lower()]
                yield ReturnValue(Parameter(parameter.name, parameter.type, value, output=True))

    def _batch(self, sql: str, frame: Frame, *, rpc: bool) -> Iterator[Event]:
        statements = yield from self.interpreter.compile(sql)
        if any(isinstance(each, SetOption) and "SHOWPLAN_XML" in each.option for each in statements):
            if len(statements) > 1:
                raise sql_error(1067)
        elif self.options.showplan_xml and not rpc:
            yield from self.interpreter.plans.show(statements, frame)
            return
        yield from self.interpreter.run_batch(statements, frame)

    def call(self, procedure: str, parameters: Sequence[Parameter] = ()) -> Iterator[Event]:
        """RPC by name: a stored procedure with its arguments."""
        self._start(f"EXEC {procedure}")
        yield from self._run(self.interpreter.call_by_name(procedure, parameters))

    def _run(self, events: Iterator[Event]) -> Iterator[Event]:
        """A request to its end; a doomed transaction does not outlive it."""
        failure: SqlError | None = None
        try:
            yield from events
        except SqlError as error:
            failure = error
        finally:
            self._finish()
        if self.transaction.count and self.transaction.doomed and not self.cancelled:
            if failure is not None:
                yield failure
            yield from self.rollback(None)
            raise sql_error(3998)
        if failure is not None:
            raise failure

    def _start(self, sql: str, parameters: Sequence[Parameter] = ()) -> None:
        now = datetime.datetime.now()
        # The plan cache and the input buffer have a parameterised text with its parameters in front.
        declared = ",".join(f"{parameter.name} {declaration(parameter.type)}" for parameter in parameters)
        self.previous_activity = self.activity
        self.activity = Activity(f"({declared}){sql}" if declared else sql, sql, now, True)
        self.counters.last_request_start = now
        self.counters.requests += 1
        self.check_schema_version()
        self._publish_permissions()

    def check_schema_version(self) -> None:
        """Prepared statements don't survive a change of the schema."""
        version = self.catalog.version
        if version != self._link_version:
            self._link_version = version
            self.link.forget_prepared()

    def _finish(self) -> None:
        self.activity.running = False
        self.counters.last_request_end = datetime.datetime.now()
        if self.activity.started is not None:
            duration = self.counters.last_request_end - self.activity.started
            self.counters.elapsed_ms += duration.total_seconds() * 1000
        self.errors.clear()
        self.nesting = 0

    def describe_failure(self, error: PostgresError, command: str) -> SqlError:
        """SQL Server's error; a deadlock is also kept for system_health."""
        if error.sqlstate == "40P01":
            self.instance.keep_deadlock(*deadlocks.report(self, error))
        return self.failures.describe(error, command)

    def report(self, error: SqlError) -> None:
        """An error that goes out before the one that is raised."""
        self._reported.append(error)

    def take_reported(self) -> list[SqlError]:
        """The errors reported so far."""
        reported, self._reported = self._reported, []
        return reported

    # -- transactions ----------------------------------------------------------------------------------------

    def begin_transaction(self, isolation: int = 0) -> Iterator[Event]:
        """A transaction manager request."""
        if isolation:
            self.options.isolation = _ISOLATION_NUMBERS[isolation]
        yield from self.begin(None)

    def commit_transaction(self) -> Iterator[Event]:
        """A transaction manager request."""
        yield from self.commit()

    def rollback_transaction(self, name: str = "") -> Iterator[Event]:
        """A transaction manager request."""
        yield from self.rollback(name or None)

    def begin(self, name: str | None) -> Iterator[Event]:
        """BEGIN TRANSACTION."""
        if self.transaction.count:
            self.transaction.count += 1
            return
        with Session._descriptor_lock:
            Session._descriptors += 1
            descriptor = Session._descriptors
        self.transaction = Transaction(
            1, False, name, descriptor, self.options.isolation, started=datetime.datetime.now()
        )
        self._begin_link()
        yield EnvironmentChange("begin_transaction", self._descriptor())

    def _begin_link(self) -> None:
        self.link.begin(_PG_ISOLATION[self.transaction.isolation])

    def _descriptor(self) -> bytes:
        return self.transaction.descriptor.to_bytes(8, "little")

    def commit(self) -> Iterator[Event]:
        """COMMIT TRANSACTION; only the outermost one commits."""
        if not self.transaction.count:
            raise sql_error(3902)
        if self.transaction.doomed:
            raise sql_error(3930)
        if self.transaction.count > 1:
            self.transaction.count -= 1
            return
        descriptor = self._descriptor()
        try:
            self.link.end("COMMIT")
        except PostgresError as error:
            failure = self.failures.describe(error, "COMMIT")
            self._forget_transaction()
            yield EnvironmentChange("rollback_transaction", None, descriptor)
            raise failure from None
        self._forget_transaction()
        yield EnvironmentChange("commit_transaction", None, descriptor)

    def rollback(self, name: str | None) -> Iterator[Event]:
        """ROLLBACK TRANSACTION: to a savepoint of that name, else all of it."""
        if not self.transaction.count:
            raise sql_error(3903)
        if name is not None and name.lower() in self.transaction.savepoints:
            if self.transaction.doomed:
                raise sql_error(3931)
            lowered = name.lower()
            self.link.rollback_to(self._savepoint(name))
            # The savepoint itself stays; later ones are gone.
            savepoints = self.transaction.savepoints
            last = len(savepoints) - 1 - savepoints[::-1].index(lowered)
            del savepoints[last + 1 :]
            self.schema_may_have_changed()
            self._restore_settings()
            return
        if name is not None and name != self.transaction.name:
            raise sql_error(6401, name)
        yield from self._roll_all_back()

    def _roll_all_back(self) -> Iterator[Event]:
        descriptor = self._descriptor()
        self.link.end("ROLLBACK")
        self._forget_transaction()
        self._restore_settings()
        yield EnvironmentChange("rollback_transaction", None, descriptor)

    def roll_back_after_error(self) -> Iterator[Event]:
        """The error has ended the transaction."""
        if self.transaction.count:
            yield from self._roll_all_back()

    def doom(self) -> None:
        """The error was caught but the transaction can't go on: only ROLLBACK is left."""
        if self.transaction.count and not self.transaction.doomed:
            self.transaction.doomed = True
            self.transaction.savepoints.clear()

    def release_locks_of_victim(self) -> None:
        """A caught deadlock: the victim's work is gone although its transaction is still open, doomed."""
        self.link.end("ROLLBACK")
        self._begin_link()
        self.schema_may_have_changed()

    def save(self, name: str) -> None:
        """SAVE TRANSACTION."""
        if not self.transaction.count:
            raise sql_error(628)
        if self.transaction.doomed:
            raise sql_error(3930)
        self.link.savepoint(self._savepoint(name))
        self.transaction.savepoints.append(name.lower())

    @staticmethod
    def _savepoint(name: str) -> str:
        return quote(pg_name("u_" + name.lower()))

    def _forget_transaction(self) -> None:
        self.transaction = Transaction()
        self.schema_may_have_changed()

    def schema_may_have_changed(self) -> None:
        """A rollback undoes data definition too; a commit shows it to others."""
        if self._schema_touched:
            self._schema_touched = False
            self.schema_changed()

    def schema_touched(self) -> None:
        """Data definition in an open transaction."""
        if self.transaction.count:
            self._schema_touched = True

    def apply_lock_timeout(self) -> None:
        """SET LOCK_TIMEOUT. PostgreSQL's 0 means forever and SQL Server's means not at all."""
        milliseconds = self.options.lock_timeout
        value = 0 if milliseconds < 0 else max(milliseconds, 1)
        self.link.execute(f"SET lock_timeout = {value}")
        self._lock_timeout_dirty = bool(self.transaction.count)

    def _restore_settings(self) -> None:
        """PostgreSQL's settings are undone with the transaction, SQL Server's are not."""
        if self._lock_timeout_dirty:
            self.apply_lock_timeout()

    # -- what statements need --------------------------------------------------------------------------------

    def context(self, variables: dict[str, SqlType], tables: dict[str, Table] | None = None) -> Context:
        """What a translation depends on."""
        identity_insert = self.identity_insert
        return Context(
            variables,
            self.database,
            "dbo",
            tables or {},
            identity_insert.qualified if identity_insert is not None else None,
        )

    def tables_in(self, node: ast.Node) -> Iterator[Table]:
        """The tables and views that a statement names."""
        for each in descendants(node):
            if isinstance(each, ast.TableSource) and not each.name[-1].startswith("@"):
                parts = (None, None, *each.name)[-3:]
                table = self.catalog.table(parts[0] or None, parts[1] or None, each.name[-1])
                if table is not None:
                    yield table

    def table_variable_name(self, name: str) -> str:
        """A PostgreSQL name for the temporary table behind a table variable."""
        self._table_variables += 1
        return pg_name(f"{name}:{self._table_variables}")

    @staticmethod
    def now() -> str:
        """The local time as metadata keeps it."""
        return datetime.datetime.now().isoformat(" ", "milliseconds")

    @staticmethod
    def duplicate_values(detail: str) -> str:
        """See ``failures.duplicate_values``."""
        return duplicate_values(detail)

    def foreign_key_conflict(self, error: PostgresError, command: str) -> SqlError:
        """See ``Failures.foreign_key``."""
        return self.failures.foreign_key(error, command)

    def check_conflict(self, error: PostgresError, command: str) -> SqlError:
        """See ``Failures.check``."""
        return self.failures.check(error, command)

    def publish_session_context(self) -> None:
        """Let PostgreSQL's session_context() see it."""
        self.set_setting(
            "standin.session_context",
            json.dumps(
                {
                    key: None if value is None else str(value)
                    for key, (value, _) in self.session_context.items()
                }
            ),
        )

    def clustered_index(self, object_id: int) -> str:
        """The name of a table's clustered index, '' for a heap."""
        key = (self.catalog.version, object_id)
        if key not in self._clustered:
            if len(self._clustered) > 1000:
                self._clustered.clear()
            rows = self.link.rows(
                """SELECT coalesce(d.description::jsonb ->> 'name', c.relname)
                     FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                     JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass
                    WHERE i.indrelid = $1::oid AND (d.description::jsonb -> 'clustered')::bool""",
                (object_id,),
            )
            self._clustered[key] = (rows[0][0] or "") if rows else ""
        return self._clustered[key]
