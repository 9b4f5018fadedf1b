"""Where the server keeps its deadlock graphs, and how to read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from mssql import errors
from mssql.instrumentation import deadlock
from mssql.instrumentation.deadlock import Deadlock, DeadlockError
from mssql.instrumentation.own_connection import Run

Source = Literal["ring_buffer", "event_file"]

# The session system_health runs on every SQL Server and managed instance and keeps each deadlock in both targets.
# https://learn.microsoft.com/sql/relational-databases/extended-events/use-the-system-health-session
RING_BUFFER = """\
SELECT t.target_data
FROM sys.dm_xe_sessions AS s
JOIN sys.dm_xe_session_targets AS t ON t.event_session_address = s.address
WHERE s.name = N'system_health' AND t.target_name = N'ring_buffer'"""

EVENT_FILE = """\
SELECT f.event_data
FROM sys.fn_xe_file_target_read_file(N'system_health*.xel', NULL, NULL, NULL) AS f
WHERE f.object_name = N'xml_deadlock_report' AND f.timestamp_utc >= ?"""

# Azure SQL Database has no such session: somebody has to make one in the database.
# https://learn.microsoft.com/azure/azure-sql/database/analyze-prevent-deadlocks
DATABASE_RING_BUFFER = """\
SELECT t.target_data
FROM sys.dm_xe_database_sessions AS s
JOIN sys.dm_xe_database_session_targets AS t ON t.event_session_address = s.address
WHERE t.target_name = N'ring_buffer' AND s.name = N'mssql_deadlocks'"""

DATABASE_SESSION_EXISTS = "SELECT 1 FROM sys.dm_xe_database_sessions WHERE name = N'mssql_deadlocks'"

# With more memory than this the XML of a ring buffer may be cut off:
# https://learn.microsoft.com/sql/t-sql/statements/create-event-session-transact-sql
CREATE_DATABASE_SESSION = """\
CREATE EVENT SESSION [mssql_deadlocks] ON DATABASE
ADD EVENT sqlserver.database_xml_deadlock_report
ADD TARGET package0.ring_buffer (SET max_memory = 2048)
WITH (EVENT_RETENTION_MODE = ALLOW_SINGLE_EVENT_LOSS, MAX_DISPATCH_LATENCY = 5 SECONDS, STARTUP_STATE = ON);
ALTER EVENT SESSION [mssql_deadlocks] ON DATABASE STATE = START"""

SERVER_FACTS = """\
SELECT CONVERT(int, SERVERPROPERTY('EngineEdition')), CONVERT(nvarchar(128), SERVERPROPERTY('ProductVersion')),
    SUSER_SNAME(), USER_NAME(), SYSUTCDATETIME()"""

_PERMISSION_DENIED = frozenset({229, 262, 297, 300, 371})
_OBJECT_MISSING = 208
_AZURE_EDITIONS = frozenset({5, 12})  # SQL Database, SQL database in Fabric
_SQL_SERVER_2022 = 16


class DeadlocksUnavailable(Exception):
    """The graphs cannot be read; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Server:
    """What reading depends on."""

    edition: int
    major_version: int
    login: str
    user: str
    clock_ahead: timedelta
    """How far the server's clock is ahead of ours."""

    @classmethod
    def ask(cls, run: Run) -> Server:
        edition, version, login, user, now = run(SERVER_FACTS, ())[0]
        return cls(
            int(edition),
            int(str(version).partition(".")[0]),
            str(login),
            str(user),
            now.replace(tzinfo=UTC) - datetime.now(UTC),
        )

    @property
    def is_azure(self) -> bool:
        return self.edition in _AZURE_EDITIONS

    @property
    def sources(self) -> tuple[Source, ...]:
        return ("ring_buffer",) if self.is_azure else ("ring_buffer", "event_file")

    @property
    def grant(self) -> str:
        """https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-xe-session-targets-transact-sql#permissions"""
        scope = "DATABASE" if self.is_azure else "SERVER"
        performance = "PERFORMANCE " if self.is_azure or self.major_version >= _SQL_SERVER_2022 else ""
        principal = self.user if self.is_azure else self.login
        return f"GRANT VIEW {scope} {performance}STATE TO [{principal.replace(']', ']]')}]"


def read(run: Run, server: Server, source: Source, since: datetime) -> list[Deadlock]:
    """Deadlocks that ended at `since` (UTC) or later, oldest first. Raises DeadlocksUnavailable."""
    if server.is_azure:
        rows = _rows(run, server, DATABASE_RING_BUFFER, ())
        if not rows and not _rows(run, server, DATABASE_SESSION_EXISTS, ()):
            raise DeadlocksUnavailable(
                "Azure SQL Database keeps no deadlock graphs unless an event session collects them. Make one with "
                "manage.py mssql_deadlocks --create-session."
            )
    elif source == "ring_buffer":
        rows = _rows(run, server, RING_BUFFER, ())
    else:
        rows = _rows(run, server, EVENT_FILE, (since.astimezone(UTC).replace(tzinfo=None),))
    found = [graph for (xml,) in rows if xml for graph in _parsed(xml)]
    return merge(graph for graph in found if graph.occurred is None or graph.occurred >= since)


def read_all(run: Run, server: Server, since: datetime) -> list[Deadlock]:
    """What any source still has. One that fails is no matter while another answers."""
    found: list[Deadlock] = []
    failure: Exception | None = None
    for source in server.sources:
        try:
            found += read(run, server, source, since)
        except Exception as exc:
            failure = failure or exc
        else:
            continue
        if source == server.sources[-1] and not found:
            raise failure
    return merge(found)


def merge(deadlocks: Iterable[Deadlock]) -> list[Deadlock]:
    """Oldest first, each once: the same deadlock stands in every target."""
    unique = {
        (graph.occurred, graph.victims, tuple(process.id for process in graph.processes)): graph
        for graph in deadlocks
    }
    return sorted(unique.values(), key=lambda graph: graph.occurred or datetime.min.replace(tzinfo=UTC))


def _parsed(xml: str | bytes) -> list[Deadlock]:
    try:
        return deadlock.parse(xml)
    except DeadlockError as error:
        raise DeadlocksUnavailable(f"The server's deadlock reports cannot be read: {error}.") from error


def _rows(run: Run, server: Server, sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
    try:
        return run(sql, params)
    except Exception as exc:
        error = errors.describe(exc)
        number = error.number if error is not None else None
        if number in _PERMISSION_DENIED:
            raise DeadlocksUnavailable(
                f"The login may not read deadlock graphs (error {number}). An administrator can allow it: "
                f"{server.grant}"
            ) from exc
        if number == _OBJECT_MISSING:
            raise DeadlocksUnavailable(
                "This server keeps no deadlock graphs where we look for them."
            ) from exc
        raise
