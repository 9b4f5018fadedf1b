"""DatabaseWrapper: connects, begins and ends transactions, knows the server."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import signal
import struct
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import utils
from django.db.backends.base.base import NO_DB_ALIAS, BaseDatabaseWrapper
from django.db.utils import DatabaseErrorWrapper as BaseDatabaseErrorWrapper
from django.db.utils import NotSupportedError
from django.utils.asyncio import async_unsafe
from django.utils.functional import cached_property

import mssql.checks
import mssql.datetime_columns  # noqa: F401 -- these register checks
from mssql import errors, retry
from mssql.client import DatabaseClient
from mssql.connection_advice import connection_advice, fails_tls
from mssql.connection_string import (
    Options,
    ServerAddress,
    access_token,
    access_token_source,
    connection_string,
    find_driver,
    masked,
    parse_server,
)
from mssql.creation import DatabaseCreation
from mssql.cursor import Cursor
from mssql.errors import ConnectionState, Retry, TransactionState
from mssql.features import DatabaseFeatures
from mssql.instrumentation.conf import InstrumentationConfig
from mssql.instrumentation.metrics import pool_metrics_for
from mssql.instrumentation.recorder import Recorder, recorder_for
from mssql.instrumentation.statement import ConnectionInfo, StatementKind
from mssql.introspection import DatabaseIntrospection
from mssql.odbc import driver_package, pyodbc
from mssql.operations import DatabaseOperations
from mssql.pool import Pool, PoolOptions
from mssql.retry import RetryConfig, RetryPolicy
from mssql.schema import DatabaseSchemaEditor
from mssql.server import SQL_SERVER_2017, EngineEdition, ServerInfo
from mssql.session import Session, Transaction
from mssql.validation import DatabaseValidation

CONSTRAINT_VIOLATION = 547
"""Error number of a broken foreign key or CHECK constraint."""

_OWNER_OF_FOREIGN_KEY = """\
SELECT OBJECT_SCHEMA_NAME(parent_object_id), OBJECT_NAME(parent_object_id)
FROM sys.foreign_keys WHERE name = ?"""

_DOUBTFUL_FOREIGN_KEYS = """\
SELECT OBJECT_SCHEMA_NAME(parent_object_id), OBJECT_NAME(parent_object_id), name
FROM sys.foreign_keys WHERE is_not_trusted = 1 OR is_disabled = 1"""

# pyodbc hands longer values over piece by piece, for which the driver prepares and executes in two messages.
_ANY_LENGTH = 2**31 - 1

SQL_SS_TIMESTAMPOFFSET = -155
SQL_GUID = -11
SQL_COPT_SS_RESET_CONNECTION = 1246
SQL_RESET_YES = 1


class DatabaseErrorWrapper(BaseDatabaseErrorWrapper):
    """Maps the driver's exceptions by SQL Server's error number, and hangs what it means on Django's exception.

    pyodbc goes by SQLSTATE alone: a deadlock (40001) is a bare ``Error`` to it and a lock timeout (42000) a
    ``ProgrammingError``.
    """

    wrapper: DatabaseWrapper

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_value is None or not isinstance(exc_value, pyodbc.Error):
            return
        if _hides_interrupt(exc_value):
            if self.wrapper.connection is not None:
                self.wrapper.connection.interrupted = True
            with contextlib.suppress(utils.Error):
                self.wrapper.close()
            raise KeyboardInterrupt from exc_value
        error = errors.describe(exc_value)
        default = next(cls.__name__ for cls in type(exc_value).__mro__ if hasattr(utils, cls.__name__))
        name = errors.exception_name(error, default) if error else default
        exception = getattr(utils, name)(*exc_value.args)
        exception.sqlserver = error
        # What a value did wrong is not the connection's fault.
        if name not in {"DataError", "IntegrityError"}:
            self.wrapper.errors_occurred = True
        if error is not None:
            self.wrapper.note_failure(error, exception)
        raise exception.with_traceback(traceback) from exc_value


def _hides_interrupt(exception: pyodbc.Error) -> bool:
    """Whether this is Ctrl-C in disguise. The signal breaks the driver's read; pyodbc then runs Python's handler while
    it looks for the error's text, and what the handler raises is lost."""
    return (
        exception.args[-1:] == ("The driver did not supply an error!",)
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )


def _binary_column(data: Mapping[str, Any]) -> str:
    length = data.get("max_length")
    return f"varbinary({length})" if length and length <= 8000 else "varbinary(max)"


def _text_column(data: Mapping[str, Any]) -> str:
    length = data.get("max_length")
    return f"nvarchar({length})" if length and length <= 4000 else "nvarchar(max)"


class _CheckConstraints(dict[str, str]):
    """Conditions of columns by the type of their field. What JSON's is, the server's version says; who asks for
    another type need not connect."""

    def __init__(self, db: DatabaseWrapper) -> None:
        super().__init__(
            dict.fromkeys(
                ("PositiveBigIntegerField", "PositiveIntegerField", "PositiveSmallIntegerField"),
                "[%(column)s] >= 0",
            )
        )
        self._db = db

    def __missing__(self, internal_type: str) -> str:
        if internal_type != "JSONField" or self._db.features.has_native_json_field:
            raise KeyError(internal_type)
        # Without VALUE, numbers, strings, true, false and null are no JSON to ISJSON.
        kind = ", VALUE" if self._db.features.supports_primitives_in_json_field else ""
        return f"(ISJSON ([%(column)s]{kind}) = 1)"


class DatabaseWrapper(BaseDatabaseWrapper):
    # The name by which other packages' as_microsoft() methods know SQL Server.
    vendor = "microsoft"
    display_name = "SQL Server"
    data_types_suffix = {
        "AutoField": "IDENTITY (1, 1)",
        "BigAutoField": "IDENTITY (1, 1)",
        "SmallAutoField": "IDENTITY (1, 1)",
    }
    # For right-hand sides that are expressions. [ begins a set of characters in T-SQL's LIKE.
    pattern_esc = r"REPLACE(REPLACE(REPLACE(REPLACE({}, '\', '\\'), '%%', '\%%'), '_', '\_'), '[', '\[')"
    pattern_ops = {
        "contains": "LIKE '%%' + {} + '%%' ESCAPE '\\'",
        "icontains": "LIKE '%%' + {} + '%%' ESCAPE '\\'",
        "startswith": "LIKE {} + '%%' ESCAPE '\\'",
        "istartswith": "LIKE {} + '%%' ESCAPE '\\'",
        "endswith": "LIKE '%%' + {} ESCAPE '\\'",
        "iendswith": "LIKE '%%' + {} ESCAPE '\\'",
    }

    Database = pyodbc
    SchemaEditorClass = DatabaseSchemaEditor
    client_class = DatabaseClient
    creation_class = DatabaseCreation
    features_class = DatabaseFeatures
    introspection_class = DatabaseIntrospection
    ops_class = DatabaseOperations
    validation_class = DatabaseValidation

    connection: Session | None
    ops: DatabaseOperations
    features: DatabaseFeatures

    # One pool per alias and process: a forked worker must not use its parent's connections.
    _pools: dict[tuple[int, str], Pool] = {}
    _pools_lock = threading.Lock()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._server: ServerInfo | None = None
        self._pool_in_use: Pool | None = None
        # Foreign keys that are off (name to table); None while constraints are checked.
        self._switched_off: dict[str, str] | None = None

    # --- Settings ----------------------------------------------------------------------------------------------------

    @cached_property
    def options(self) -> Options:
        """OPTIONS, checked."""
        options = Options.from_dict(self.settings_dict["OPTIONS"], self.alias)
        if options.pool:
            PoolOptions.from_option(options.pool)
        return options

    @cached_property
    def instrumentation(self) -> InstrumentationConfig:
        return InstrumentationConfig.from_options(self.options.instrumentation)

    @cached_property
    def retry(self) -> RetryConfig:
        return RetryConfig.from_options(self.options.retry)

    @cached_property
    def connect_policy(self) -> RetryPolicy:
        """OPTIONS["retry"]["connect"], unless mssql-django's two keys say otherwise."""
        policy = self.retry.connect
        if self.options.connection_retries is not None:
            policy = replace(policy, attempts=max(self.options.connection_retries, 1))
        if self.options.connection_retry_backoff_time is not None:
            seconds = float(self.options.connection_retry_backoff_time)
            policy = replace(policy, base_delay=seconds, max_delay=seconds)
        return policy

    @cached_property
    def data_types(self) -> dict[str, Any]:  # type: ignore[override]
        """Column types, by this alias's settings: nothing of it is written on the class."""
        return {
            "AutoField": "int",
            "BigAutoField": "bigint",
            "BigIntegerField": "bigint",
            "BinaryField": _binary_column,
            "BooleanField": "bit",
            "CharField": _text_column,
            "DateField": "date",
            "DateTimeField": "datetimeoffset" if settings.USE_TZ else "datetime2",
            "DecimalField": "numeric(%(max_digits)s, %(decimal_places)s)",
            "DurationField": "bigint",
            "FileField": _text_column,
            "FilePathField": _text_column,
            "FloatField": "double precision",
            "GenericIPAddressField": "nvarchar(39)",
            "IPAddressField": "nvarchar(15)",
            "IntegerField": "int",
            "JSONField": "json" if self.options.json_storage == "json" else "nvarchar(max)",
            "OneToOneField": "int",
            "PositiveBigIntegerField": "bigint",
            "PositiveIntegerField": "int",
            "PositiveSmallIntegerField": "smallint",
            "SlugField": _text_column,
            "SmallAutoField": "smallint",
            "SmallIntegerField": "smallint",
            "TextField": "nvarchar(max)",
            "TimeField": "time",
            "UUIDField": "uniqueidentifier"
            if self.options.uuid_storage == "uniqueidentifier"
            else "char(32)",
        }

    @cached_property
    def operators(self) -> dict[str, str]:
        """Lookups. Whether case matters is the collation's business; the compiler tells the i… lookups apart, and only
        where the collation is case-sensitive."""
        collate = f" COLLATE {self.options.collation}" if self.options.collation else ""
        like = f"LIKE %s{collate} ESCAPE '\\'"
        return {
            "exact": "= %s",
            "iexact": "= %s",
            "gt": "> %s",
            "gte": ">= %s",
            "lt": "< %s",
            "lte": "<= %s",
            "contains": like,
            "icontains": like,
            "startswith": like,
            "istartswith": like,
            "endswith": like,
            "iendswith": like,
        }

    @cached_property
    def data_type_check_constraints(self) -> dict[str, str]:  # type: ignore[override]
        return _CheckConstraints(self)

    @property
    def recorder(self) -> Recorder | None:
        """The recorder of the session in use; None where nobody wants to know."""
        return None if self.connection is None else self.connection.recorder

    @property
    def address(self) -> ServerAddress:
        return parse_server(self.settings_dict["HOST"], self.settings_dict["PORT"], self.alias)

    def check_settings(self) -> None:
        super().check_settings()
        if self.settings_dict["NAME"] == "" and not self.options.dsn:
            raise ImproperlyConfigured(
                f"DATABASES[{self.alias!r}] has no NAME. Say which database to use; it must exist on the server "
                "(CREATE DATABASE), since migrate makes tables, not databases."
            )
        if len(self.settings_dict["NAME"] or "") > self.ops.max_name_length():
            raise ImproperlyConfigured(
                f"DATABASES[{self.alias!r}]['NAME'] has {len(self.settings_dict['NAME'])} characters; SQL Server takes "
                f"names of up to {self.ops.max_name_length()}."
            )

    # --- Connecting --------------------------------------------------------------------------------------------------

    def get_connection_params(self) -> dict[str, Any]:
        """What `pyodbc.connect` takes."""
        options = self.options
        driver = "" if options.dsn else find_driver(options.driver, pyodbc.drivers(), driver_package())
        return {
            "driver": options.dsn or driver,
            "connection_string": connection_string(self.settings_dict, options, driver, alias=self.alias),
            "attrs_before": access_token(access_token_source(self.settings_dict, options)),
            "timeout": options.connection_timeout,
        }

    @async_unsafe
    def get_new_connection(self, conn_params: dict[str, Any]) -> Session:
        pool = self.pool
        if pool is None:
            return self._open(conn_params)
        session, waited_ns = pool.take(lambda: self._open(conn_params), self._renew)
        self._pool_in_use = pool
        if waited_ns is not None and session.recorder is not None:
            session.recorder.connection_acquired(waited_ns)
        return session

    def _open(self, conn_params: dict[str, Any]) -> Session:
        """A new session, logged in and set up; tried again while the failure may pass."""
        info = self._connection_info()
        recorder = recorder_for(self.instrumentation, info)
        statement = recorder.begin(StatementKind.CONNECT, "") if recorder is not None else None
        try:
            session = retry.connect(
                lambda: self._log_in(conn_params, info),
                policy=self.connect_policy,
                alias=self.alias,
                recorder=recorder,
                statement=statement,
            )
        except BaseException as error:
            if recorder is not None and statement is not None:
                recorder.end(statement, error=error)
                recorder.close(statement)
            raise
        if recorder is not None and statement is not None:
            recorder.end(statement)
            recorder.close(statement)
            recorder.connection_opened(statement.duration_ns or 0)
        session.recorder = recorder
        return session

    def _connection_info(self) -> ConnectionInfo:
        address = self.address
        return ConnectionInfo(
            self.alias,
            self.settings_dict["NAME"] or "master",
            address.address,
            address.port,
            address.instance or None,
            application_name=self.options.app_name,
        )

    def _log_in(self, conn_params: dict[str, Any], info: ConnectionInfo) -> Session:
        # The driver manager's own pool, about which it makes up its mind at the first connection of the process.
        pyodbc.pooling = bool(getattr(settings, "DATABASE_CONNECTION_POOLING", False))
        try:
            driver = pyodbc.connect(
                conn_params["connection_string"],
                autocommit=True,
                timeout=conn_params["timeout"],
                attrs_before=conn_params["attrs_before"],
            )
        except pyodbc.Error as error:
            if _hides_interrupt(error):
                raise KeyboardInterrupt from error
            raise self._explained(error, conn_params) from None
        session = Session(driver, info, mars=self.options.mars)
        session.opened_at = time.monotonic()
        if self.retry.statement.attempts > 1:
            session.statement_policy = self.retry.statement
        try:
            driver.timeout = self.options.query_timeout
            driver.maxwrite = _ANY_LENGTH
            for keywords in self.options.setencoding:
                driver.setencoding(**keywords)
            for keywords in self.options.setdecoding:
                driver.setdecoding(**keywords)
            driver.add_output_converter(SQL_SS_TIMESTAMPOFFSET, _datetimeoffset)
            if self.options.uuid_storage == "uniqueidentifier":
                driver.add_output_converter(SQL_GUID, _uniqueidentifier)
            self._set_up(session)
        except BaseException:
            session.close()
            raise
        return session

    def _explained(self, exception: pyodbc.Error, conn_params: dict[str, Any]) -> pyodbc.Error:
        """The driver's exception, with what was tried and what to do, as one text to be read."""
        error = errors.describe(exception)
        if error is None:
            return exception
        error = replace(
            error, connection_state=ConnectionState.NOT_OPENED, transaction_state=TransactionState.NONE
        )
        if fails_tls(error):
            error = replace(error, retry=Retry.NEVER)
        advice = connection_advice(
            error,
            address=self.address,
            driver=conn_params["driver"],
            user=self.settings_dict["USER"],
            name=self.settings_dict["NAME"] or "master",
            timeout=self.options.connection_timeout,
        )
        number = f"error {error.number}, " if error.number else ""
        lines = [
            f"{error.message} ({number}SQLSTATE {error.sqlstate})",
            advice,
            f"Tried: {masked(conn_params['connection_string'])}",
        ]
        explained = type(exception)("\n".join(filter(None, lines)))
        explained.sqlserver = error
        return explained

    def _set_up(self, session: Session) -> None:
        """Bring the session into the state that the settings want, and ask who is there, in one message."""
        rows = session.run(self._set_up_sql())
        if not rows:
            raise pyodbc.OperationalError(
                "08004", "The server did not answer the questions asked after the login."
            )
        server = ServerInfo(*rows[0])
        session.server = self._server = server
        session.info.session_id = server.session_id
        session.info.database = server.database
        session.info.server_version = server.product_version
        session.info.instance_name = server.instance_name or session.info.instance_name

    def _set_up_sql(self) -> str:
        options = self.options
        # The isolation level is said in any case: a reset of the connection leaves it as it was.
        lines = [
            f"SET DATEFORMAT ymd; SET DATEFIRST {options.datefirst};",
            f"SET TRANSACTION ISOLATION LEVEL {options.isolation_level or 'READ COMMITTED'};",
        ]
        if options.lock_timeout != -1:
            lines.append(f"SET LOCK_TIMEOUT {options.lock_timeout};")
        if options.deadlock_priority != "NORMAL":
            lines.append(f"SET DEADLOCK_PRIORITY {options.deadlock_priority};")
        for key, value in options.session_context.items():
            lines.append(
                f"EXEC sys.sp_set_session_context @key = {_literal(key)}, @value = {_literal(value)};"
            )
        return "\n".join([*lines, ServerInfo.QUERY])

    # --- Pool --------------------------------------------------------------------------------------------------------

    @property
    def pool(self) -> Pool | None:
        if self.alias == NO_DB_ALIAS or not self.options.pool:
            return None
        with self._pools_lock:
            pool = self._pools.get((os.getpid(), self.alias))
            if pool is None:
                if self.settings_dict["CONN_MAX_AGE"] != 0:
                    raise ImproperlyConfigured(
                        f"DATABASES[{self.alias!r}]: OPTIONS['pool'] keeps connections open by itself; take "
                        "CONN_MAX_AGE out (or set it to 0)."
                    )
                pool = Pool(
                    PoolOptions.from_option(self.options.pool),
                    metrics=pool_metrics_for(self.instrumentation, self._connection_info()),
                )
                self._pools[os.getpid(), self.alias] = pool
            return pool

    def _renew(self, session: Session) -> None:
        """Make a used session as good as new: what its last user set or left behind (temporary tables, SET options,
        session context) goes with the reset, which rides on the next message
        (https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/ce398f9a-7d47-4ede-8f36-9dd6fc21ca43)."""
        session.driver.set_attr(SQL_COPT_SS_RESET_CONNECTION, SQL_RESET_YES)
        self._set_up(session)

    def close_pool(self) -> None:
        with self._pools_lock:
            pool = self._pools.pop((os.getpid(), self.alias), None)
        if pool is not None:
            pool.close()

    def _close(self) -> None:
        session = self.connection
        if session is None:
            return
        pool, self._pool_in_use = self._pool_in_use, None
        with self.wrap_database_errors:
            if pool is None:
                session.close()
                return
            if session.interrupted:
                pool.discard(session)
                return
            try:
                session.end_use()
            except pyodbc.Error:
                pool.discard(session)
            else:
                if session.recorder is not None:
                    session.recorder.connection_released()
                pool.put(session)

    # --- Cursors and transactions ------------------------------------------------------------------------------------

    def create_cursor(self, name: str | None = None) -> Cursor:
        assert self.connection is not None
        return Cursor(self, self.connection)

    @cached_property
    def wrap_database_errors(self) -> DatabaseErrorWrapper:
        return DatabaseErrorWrapper(self)

    def _set_autocommit(self, autocommit: bool) -> None:
        assert self.connection is not None
        with self.wrap_database_errors:
            self.connection.autocommit = autocommit

    def _savepoint_rollback(self, sid: str) -> None:
        if self.connection is not None and self.connection.transaction is Transaction.LOST:
            # Asking the server would be error 3903 or 3931. Django marks the outer block for rollback then.
            raise utils.InternalError(
                f"Savepoint {sid} is gone: the transaction was rolled back by the server, or can be rolled back as a "
                "whole only."
            )
        super()._savepoint_rollback(sid)  # type: ignore[misc]

    def _savepoint_commit(self, sid: str) -> None:
        # T-SQL has no RELEASE: a savepoint lives until the transaction ends. The query log gets its line, so that the
        # counts of assertNumQueries are those of other backends.
        if self.queries_logged:
            self.queries_log.append(
                {"sql": f"-- RELEASE SAVEPOINT {sid} (nothing was sent)", "time": "0.000"}
            )

    def note_failure(self, error: errors.SQLServerError, exception: Exception) -> None:
        """Keep Django's picture of the transaction and the connection true to the server's after an error."""
        session = self.connection
        if session is None or error.number is None:  # without a number it never came to the server
            return
        session.failed(error)
        if session.transaction is Transaction.LOST and self.in_atomic_block:
            # Without this, what follows a swallowed deadlock would run, and commit, outside of any transaction.
            self.needs_rollback = True
            self.rollback_exc = exception
        if self.in_atomic_block:
            # The block has to end first; rolling back finds out whether there is a connection.
            return
        lost = error.connection_state is ConnectionState.BROKEN
        if lost or (error.connection_state is ConnectionState.UNKNOWN and not self.is_usable()):
            self._drop_connection()

    def _drop_connection(self) -> None:
        """Let a broken connection go; the next statement opens another."""
        session, self.connection = self.connection, None
        pool, self._pool_in_use = self._pool_in_use, None
        if session is None:
            return
        # It is broken already.
        with contextlib.suppress(pyodbc.Error):
            if pool is None:
                session.close()
            else:
                pool.discard(session)
        if interval := self.options.connection_recovery_interval_msec:
            time.sleep(interval / 1000)

    def is_usable(self) -> bool:
        assert self.connection is not None
        try:
            self.connection.run("SELECT 1")
        except pyodbc.Error:
            return False
        return True

    def close_if_unusable_or_obsolete(self) -> None:
        super().close_if_unusable_or_obsolete()
        session = self.connection
        if session is not None and session.recorder is not None:
            session.recorder.clear_propagation(session.run)
            session.recorder.connection_released()

    # --- Constraints -------------------------------------------------------------------------------------------------

    def disable_constraint_checking(self) -> bool:
        """From here on a foreign key that stands in the way of a statement is switched off, and the statement is sent
        again. Altering each table that has a key, as a precaution, would lock the whole schema for nothing."""
        self._switched_off = {}
        return True

    def enable_constraint_checking(self) -> None:
        switched_off, self._switched_off = self._switched_off, None
        session = self.connection
        if not switched_off or session is None or session.transaction is Transaction.LOST:
            # What was switched off is back when its transaction was rolled back.
            return
        # Called while an exception passes, too; the block's other statements stay refused.
        needs_rollback, self.needs_rollback = self.needs_rollback, False
        try:
            with self.cursor() as cursor:
                for name, table in switched_off.items():
                    alter = f"CHECK CONSTRAINT {self.ops.quote_name(name)}"
                    try:
                        cursor.execute(f"ALTER TABLE {table} WITH CHECK {alter}")
                    except utils.IntegrityError:
                        # There are rows that refer to nothing. check_constraints() says so, if asked.
                        cursor.execute(f"ALTER TABLE {table} WITH NOCHECK {alter}")
        finally:
            self.needs_rollback = needs_rollback

    def switch_off_obstacle(self, error: pyodbc.IntegrityError) -> str | None:
        """Switch off the foreign key that ``error`` is about, when constraint checks are disabled, and return its
        name; None: it is about something else, or they are not."""
        if self._switched_off is None or self.connection is None:
            return None
        described = errors.describe(error)
        name = re.search('"(.+?)"', described.message) if described else None
        if described is None or described.number != CONSTRAINT_VIOLATION or name is None:
            return None
        owners = self.connection.run(_OWNER_OF_FOREIGN_KEY, [name[1]])
        if not owners:
            return None
        quote = self.ops.quote_name
        self._switched_off[name[1]] = table = ".".join(map(quote, owners[0]))
        self.connection.run(f"ALTER TABLE {table} NOCHECK CONSTRAINT {quote(name[1])}")
        return name[1]

    def check_constraints(self, table_names: Iterable[str] | None = None) -> None:
        """Check the rows against those foreign keys that were off once: the others were never broken. The optimizer
        trusts a key again that holds
        (https://learn.microsoft.com/sql/relational-databases/tables/disable-foreign-key-constraints-with-insert-and-update-statements)."""
        tables = None if table_names is None else set(table_names)
        quote = self.ops.quote_name
        with self.cursor() as cursor:
            cursor.execute(_DOUBTFUL_FOREIGN_KEYS)
            for schema, table, name in cursor.fetchall():
                if tables is None or table in tables or f"{schema}].[{table}" in tables:
                    cursor.execute(
                        f"ALTER TABLE {quote(schema)}.{quote(table)} WITH CHECK CHECK CONSTRAINT {quote(name)}"
                    )

    # --- Server ------------------------------------------------------------------------------------------------------

    @property
    def server(self) -> ServerInfo:
        """What the server said at the last login; connects if there was none."""
        if self._server is None:
            with self.temporary_connection():
                pass
        assert self._server is not None
        return self._server

    def get_database_version(self) -> tuple[int, int]:
        return self.server.version

    def check_database_version_supported(self) -> None:
        server = self.server
        if server.engine_edition in {EngineEdition.SYNAPSE, EngineEdition.SYNAPSE_SERVERLESS}:
            raise NotSupportedError(
                f"{server.product_name} is not supported: it has no foreign keys, among others."
            )
        if not server.at_least(SQL_SERVER_2017):
            raise NotSupportedError(
                f"{server.product_name} ({server.product_version}) is not supported. This backend works with SQL "
                "Server 2017 (14.0) or later, Azure SQL Database, Azure SQL Managed Instance and SQL database in "
                "Fabric."
            )


def _literal(value: str | int | bytes | None) -> str:
    """A value of the session context as T-SQL writes it."""
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, int):
        return str(int(value))
    return "N'" + value.replace("'", "''") + "'"


_DATETIMEOFFSET = struct.Struct("<6hI2h")


def _datetimeoffset(value: bytes | None) -> datetime.datetime | None:
    """SQL_SS_TIMESTAMPOFFSET_STRUCT
    (https://learn.microsoft.com/sql/relational-databases/native-client-odbc-date-time/data-type-support-for-odbc-date-and-time-improvements)."""
    if value is None:
        return None
    year, month, day, hour, minute, second, nanosecond, hours, minutes = _DATETIMEOFFSET.unpack(value)
    zone = (
        datetime.UTC
        if hours == minutes == 0
        else datetime.timezone(datetime.timedelta(hours=hours, minutes=minutes))
    )
    return datetime.datetime(year, month, day, hour, minute, second, nanosecond // 1000, zone)


def _uniqueidentifier(value: bytes | None) -> uuid.UUID | None:
    return None if value is None else uuid.UUID(bytes_le=value)
