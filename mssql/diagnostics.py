"""What an operator would look at before trusting a database alias: one check per fact, each with its remedy."""

from __future__ import annotations

import enum
import statistics
import time
import zoneinfo
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import NotSupportedError, connections

from mssql import errors, timezones
from mssql.odbc import pyodbc

ROUND_TRIPS = 20
SLOW_ROUND_TRIP_MS = 10.0
CLOCK_TOLERANCE_S = 2.0
OLDEST_DRIVER = 17

# Permission names that an older server does not know give NULL
# (https://learn.microsoft.com/sql/t-sql/functions/has-perms-by-name-transact-sql).
PERMISSIONS = """\
SELECT SUSER_SNAME(), USER_NAME(),
    HAS_PERMS_BY_NAME(DB_NAME(), 'DATABASE', 'SHOWPLAN'),
    HAS_PERMS_BY_NAME(NULL, NULL, 'VIEW SERVER STATE'),
    HAS_PERMS_BY_NAME(NULL, NULL, 'VIEW SERVER PERFORMANCE STATE'),
    HAS_PERMS_BY_NAME(DB_NAME(), 'DATABASE', 'VIEW DATABASE STATE'),
    HAS_PERMS_BY_NAME(DB_NAME(), 'DATABASE', 'VIEW DATABASE PERFORMANCE STATE')"""

DATABASE = """\
SELECT d.snapshot_isolation_state_desc, d.is_query_store_on
FROM sys.databases AS d WHERE d.name = DB_NAME()"""

ENCRYPTION = "SELECT c.encrypt_option FROM sys.dm_exec_connections AS c WHERE c.session_id = @@SPID"
TIME_ZONE = "SELECT COUNT(*) FROM sys.time_zone_info AS z WHERE z.name = ?"
LAST_PLAN = """\
SELECT CONVERT(int, c.value) FROM sys.database_scoped_configurations AS c
WHERE c.name = N'LAST_QUERY_PLAN_STATS'"""
QUERY_STORE = "SELECT o.actual_state_desc FROM sys.database_query_store_options AS o"
EVENT_SESSION = "SELECT COUNT(*) FROM sys.dm_xe_sessions AS s WHERE s.name = N'system_health'"
DATABASE_EVENT_SESSION = (
    "SELECT COUNT(*) FROM sys.dm_xe_database_sessions AS s WHERE s.name = N'mssql_deadlocks'"
)


class Status(enum.StrEnum):
    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Check:
    """One fact about an alias, and what to do about it."""

    name: str
    status: Status
    value: str
    advice: str = ""

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


def diagnose(alias: str) -> list[Check]:
    """Check one alias over a connection of its own; its settings are taken as they are."""
    connection: Any = connections.create_connection(alias)
    try:
        options = connection.options
        connection.connect()
    except ImproperlyConfigured as exc:
        return [Check("settings", Status.ERROR, str(exc), "Correct DATABASES in the settings.")]
    except Exception as exc:
        return [_connect_failure(exc)]
    probe = _Probe(connection, options)
    try:
        return [result for check in _CHECKS for result in _guarded(check, probe)]
    finally:
        connection.close()


def _connect_failure(exc: Exception) -> Check:
    error = errors.describe(exc)
    kind = f"{error.error_class.value}, " if error is not None else ""
    first, _, rest = str(exc.args[-1] if exc.args else exc).partition("\n")
    return Check("connect", Status.ERROR, f"{kind}{first}", rest.strip())


class _Probe:
    """The connection that is looked at, and its questions."""

    def __init__(self, connection: Any, options: Any) -> None:
        self.connection = connection
        self.options = options
        self.server = connection.server

    def rows(self, sql: str, *params: object) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self.connection.connection.run(sql, params)
        return rows

    def value(self, sql: str, *params: object) -> Any:
        rows = self.rows(sql, *params)
        return rows[0][0] if rows else None


def _guarded(check: Callable[[_Probe], Iterator[Check]], probe: _Probe) -> Iterator[Check]:
    """A question that the server refuses is an answer too."""
    name = check.__name__.strip("_").replace("_", " ")
    try:
        yield from check(probe)
    except pyodbc.Error as exc:
        error = errors.describe(exc)
        text = f"{error.message} ({error.number})" if error is not None else str(exc)
        yield Check(name, Status.INFO, f"cannot be asked: {text}")


def _driver(probe: _Probe) -> Iterator[Check]:
    driver = probe.connection.connection.driver
    name, version = driver.getinfo(pyodbc.SQL_DRIVER_NAME), driver.getinfo(pyodbc.SQL_DRIVER_VER)
    value = f"{name} {version}, pyodbc {pyodbc.version}"
    microsofts = "msodbcsql" in name.lower()
    if not microsofts or int(version.partition(".")[0]) < OLDEST_DRIVER:
        yield Check(
            "driver",
            Status.WARNING,
            value,
            "Only Microsoft's ODBC Driver 17 and newer is tested: pip install mssql-python-odbc brings the newest.",
        )
    else:
        yield Check("driver", Status.OK, value)


def _server(probe: _Probe) -> Iterator[Check]:
    server = probe.server
    yield Check("server", Status.OK, f"{server.product_name}, {server.product_version}, {server.edition}")


def _encryption(probe: _Probe) -> Iterator[Check]:
    try:
        encrypted = str(probe.value(ENCRYPTION)).upper() == "TRUE"
        how = "asked the server"
    except pyodbc.Error:
        setting = str(probe.options.encrypt or "yes").lower()  # Driver 18's default
        encrypted = setting not in {"no", "optional", "false"}
        how = "by the settings; the server does not tell this login"
    if not encrypted:
        yield Check(
            "encryption",
            Status.WARNING,
            f"off ({how})",
            "Passwords and data cross the network readable. Set OPTIONS['encrypt'] to True.",
        )
    elif probe.options.trust_server_certificate:
        yield Check(
            "encryption",
            Status.INFO,
            f"on ({how}), the certificate is not verified",
            "With trust_server_certificate anybody between here and the server can pose as it. Give the server a "
            "certificate that this machine trusts, and take the option out.",
        )
    else:
        yield Check("encryption", Status.OK, f"on ({how}), the certificate is verified")


def _compatibility_level(probe: _Probe) -> Iterator[Check]:
    server = probe.server
    level = server.compatibility_level
    newest = server.version[0] * 10
    if not server.is_azure and level < newest:
        yield Check(
            "compatibility level",
            Status.WARNING if level < 140 else Status.INFO,
            f"{level}; the server has {newest}",
            f"Functions and optimisations of newer levels are off: ALTER DATABASE {_name(server.database)} "
            f"SET COMPATIBILITY_LEVEL = {newest} (test the plans before).",
        )
    else:
        yield Check("compatibility level", Status.OK, str(level))


def _row_versioning(probe: _Probe) -> Iterator[Check]:
    server = probe.server
    if server.read_committed_snapshot:
        yield Check("read committed snapshot", Status.OK, "on")
    else:
        yield Check(
            "read committed snapshot",
            Status.WARNING,
            "off",
            "Readers wait for writers, and deadlock with them. Azure SQL has it on, and Django expects readers not to "
            f"block: ALTER DATABASE {_name(server.database)} SET READ_COMMITTED_SNAPSHOT ON WITH ROLLBACK IMMEDIATE.",
        )
    snapshot, _ = probe.rows(DATABASE)[0]
    yield Check("snapshot isolation", Status.OK, str(snapshot).lower())


def _collation(probe: _Probe) -> Iterator[Check]:
    collation = probe.server.collation
    if "_CI_" in collation.upper():
        yield Check("collation", Status.OK, collation)
    else:
        yield Check(
            "collation",
            Status.INFO,
            f"{collation}: comparisons and unique constraints tell upper from lower case",
        )


def _time_zones(probe: _Probe) -> Iterator[Check]:
    zone = settings.TIME_ZONE or "UTC"
    try:
        windows = "UTC" if timezones.fixed_offset(zone) else timezones.windows_name(zone)
    except NotSupportedError as exc:
        yield Check("time zones", Status.WARNING, f"TIME_ZONE {zone}: {exc}")
        return
    if not probe.value(TIME_ZONE, windows):
        yield Check(
            "time zones",
            Status.WARNING,
            f"the server does not know {windows!r} (TIME_ZONE {zone!r})",
            "Truncating and extracting dates in that zone will fail with error 9820. On Windows install the time zone "
            "updates of the operating system; on Linux the packages tzdata and the server's own are current.",
        )
    else:
        zones = len(zoneinfo.available_timezones())
        yield Check("time zones", Status.OK, f"{zone} is {windows!r} there; {zones} zones are known here")


def _permissions(probe: _Probe) -> Iterator[Check]:
    login, user, showplan, server_state, server_performance, database_state, database_performance = (
        probe.rows(PERMISSIONS)[0]
    )
    server = probe.server
    yield _permission("estimated and actual plans", showplan, f"GRANT SHOWPLAN TO {_name(user)}")
    if server.is_azure:
        allowed = database_performance or database_state
        grant = f"GRANT VIEW DATABASE PERFORMANCE STATE TO {_name(user)}"
    else:
        allowed = server_performance or server_state
        performance = "PERFORMANCE " if server.version[0] >= 16 else ""
        grant = f"GRANT VIEW SERVER {performance}STATE TO {_name(login)} (in master)"
    yield _permission("cached plans", allowed, grant)
    yield _permission("deadlock graphs", allowed, grant)


def _permission(name: str, allowed: object, grant: str) -> Check:
    if allowed:
        return Check(name, Status.OK, "permitted")
    return Check(name, Status.INFO, "not permitted to this login", grant)


def _event_session(probe: _Probe) -> Iterator[Check]:
    azure = probe.server.is_azure
    if probe.value(DATABASE_EVENT_SESSION if azure else EVENT_SESSION):
        yield Check("event session", Status.OK, "mssql_deadlocks" if azure else "system_health")
    elif azure:
        yield Check(
            "event session",
            Status.INFO,
            "none collects deadlock graphs",
            "manage.py mssql_deadlocks --create-session",
        )
    else:
        yield Check(
            "event session",
            Status.WARNING,
            "system_health is not running: nothing keeps deadlock graphs",
            "ALTER EVENT SESSION [system_health] ON SERVER STATE = START",
        )


def _query_store(probe: _Probe) -> Iterator[Check]:
    _, on = probe.rows(DATABASE)[0]
    name = _name(probe.server.database)
    if not on:
        yield Check(
            "query store",
            Status.INFO,
            "off: the server forgets plans and their costs at a restart",
            f"ALTER DATABASE {name} SET QUERY_STORE = ON (OPERATION_MODE = READ_WRITE)",
        )
        return
    state = str(probe.value(QUERY_STORE) or "on").lower()
    if state == "read_only":
        yield Check(
            "query store",
            Status.WARNING,
            "read only: it is full, or the database is",
            f"ALTER DATABASE {name} SET QUERY_STORE (OPERATION_MODE = READ_WRITE, MAX_STORAGE_SIZE_MB = 1000)",
        )
    else:
        yield Check("query store", Status.OK, state)


def _last_query_plan_stats(probe: _Probe) -> Iterator[Check]:
    if probe.value(LAST_PLAN):
        yield Check("last actual plans", Status.OK, "kept (LAST_QUERY_PLAN_STATS is on)")
    else:
        yield Check(
            "last actual plans",
            Status.INFO,
            "not kept",
            "With it the actual plan of a slow query can be read afterwards: "
            "ALTER DATABASE SCOPED CONFIGURATION SET LAST_QUERY_PLAN_STATS = ON (SQL Server 2019 and newer)",
        )


def _clock(probe: _Probe) -> Iterator[Check]:
    before = datetime.now(UTC)
    now = probe.value("SELECT SYSUTCDATETIME()").replace(tzinfo=UTC)
    after = datetime.now(UTC)
    uncertain = (after - before) / 2  # when, between question and answer, the server looked at its clock
    ahead = (now - (before + uncertain)).total_seconds()
    value = f"the server's is {abs(ahead):.2f} s {'ahead' if ahead > 0 else 'behind'}"
    if abs(ahead) - uncertain.total_seconds() > CLOCK_TOLERANCE_S:
        yield Check(
            "clock",
            Status.WARNING,
            value,
            "Times in traces and in the database disagree. Check the time service of both machines.",
        )
    else:
        yield Check("clock", Status.OK, value)


def _latency(probe: _Probe) -> Iterator[Check]:
    times = []
    for _ in range(ROUND_TRIPS):
        started = time.perf_counter()
        probe.rows("SELECT 1")
        times.append((time.perf_counter() - started) * 1000)
    median = statistics.median(times)
    value = f"median {median:.2f} ms, fastest {min(times):.2f} ms, slowest {max(times):.2f} ms"
    if median > SLOW_ROUND_TRIP_MS:
        yield Check(
            "round trip",
            Status.WARNING,
            value,
            "Each statement of a page pays this. Bring application and database into one region or network.",
        )
    else:
        yield Check("round trip", Status.OK, value)


def _mars(probe: _Probe) -> Iterator[Check]:
    on = probe.options.mars
    yield Check("MARS", Status.OK, "on: several results can be read at once" if on else "off")


def _connections(probe: _Probe) -> Iterator[Check]:
    configured = probe.connection.settings_dict
    age = configured["CONN_MAX_AGE"]
    if probe.options.pool:
        yield Check("pool", Status.OK, f"on: {probe.connection.pool.options}")
    elif age == 0:
        yield Check(
            "pool",
            Status.INFO,
            "off, and each request connects anew (CONN_MAX_AGE is 0)",
            "Set OPTIONS['pool'] to True, or CONN_MAX_AGE to some seconds with CONN_HEALTH_CHECKS.",
        )
    elif not configured.get("CONN_HEALTH_CHECKS"):
        yield Check(
            "pool",
            Status.INFO,
            f"off; connections live for {'ever' if age is None else f'{age} s'} and are not checked",
            "Set CONN_HEALTH_CHECKS to True: a connection that died between requests is then replaced.",
        )
    else:
        yield Check("pool", Status.OK, f"off; connections live for {'ever' if age is None else f'{age} s'}")


_CHECKS: tuple[Callable[[_Probe], Iterator[Check]], ...] = (
    _driver,
    _server,
    _encryption,
    _compatibility_level,
    _row_versioning,
    _collation,
    _time_zones,
    _permissions,
    _event_session,
    _query_store,
    _last_query_plan_stats,
    _clock,
    _latency,
    _mars,
    _connections,
)


def _name(identifier: str) -> str:
    return f"[{identifier.replace(']', ']]')}]"


def system_checks(connection: Any) -> list[checks.CheckMessage]:
    """The facts that change how an application behaves, for ``manage.py check --database``."""
    messages: list[checks.CheckMessage] = []
    with connection.temporary_connection():
        probe = _Probe(connection, connection.options)
        for check, number in ((_compatibility_level, 1), (_row_versioning, 2), (_time_zones, 3)):
            messages += [
                checks.Warning(
                    f"Database {connection.alias!r}: {result.name} is {result.value}.",
                    hint=result.advice,
                    id=f"mssql.W{number:03d}",
                )
                for result in _guarded(check, probe)
                if result.status is Status.WARNING
            ]
    return messages
