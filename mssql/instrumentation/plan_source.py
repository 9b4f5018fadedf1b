"""The ways to take an execution plan from the server, each on a connection that it is given."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from mssql import errors
from mssql.instrumentation.plan_parameters import Declared, as_batch
from mssql.showplan import Finding, Plan, findings, parse
from mssql.showplan import Statement as PlanStatement

# The name of the column that STATISTICS XML and SHOWPLAN_XML add, in all versions since 2005.
PLAN_COLUMN = "Microsoft SQL Server 2005 XML Showplan"

SHOWPLAN_DENIED = 262
LOCK_TIMEOUT_MS = 2_000


class PlanUnavailable(Exception):
    """The server gave no plan; says why, and what mends it."""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(f"{message} {advice}".strip())
        self.message = message
        self.advice = advice


@dataclass(eq=False)
class CapturedPlan:
    """A plan's XML with where it comes from; read and judged when somebody asks."""

    xml: str
    source: str
    """"actual", "estimated", "cached" or "last actual"."""
    captured_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @cached_property
    def plan(self) -> Plan:
        return parse(self.xml)

    @property
    def main_statement(self) -> PlanStatement | None:
        """Of a batch, the statement that matters: a DECLARE before it has no hash."""
        return max(self.plan.statements, key=lambda item: item.cost, default=None)

    @cached_property
    def findings(self) -> list[Finding]:
        return findings(self.plan)


@dataclass(slots=True)
class ResultSet:
    """What a statement returned, held in memory."""

    description: Any
    rows: list[Any]
    rowcount: int


def may_show_plans(connection: Any) -> bool:
    """Whether the login may see plans in the current database; asked of the server."""
    try:
        cursor = connection.cursor()
        try:
            cursor.execute("SELECT HAS_PERMS_BY_NAME(DB_NAME(), 'DATABASE', 'SHOWPLAN')")
            row = cursor.fetchone()
        finally:
            cursor.close()
    except Exception as error:
        raise PlanUnavailable(f"The server could not be asked for permissions: {error}") from error
    return bool(row and row[0])


def showplan_denied(database: str) -> PlanUnavailable:
    """What a login without the right to see plans is told."""
    return PlanUnavailable(
        f"This login may not see execution plans in database {database}.",
        f"USE {_quote(database)}; GRANT SHOWPLAN TO [the user of this connection];",
    )


def state_denied(error: Exception) -> PlanUnavailable:
    """What a login without the right to see the plan cache is told
    (https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/system-dynamic-management-views)."""
    return PlanUnavailable(
        f"This login may not read the plan cache ({error}).",
        "GRANT VIEW SERVER PERFORMANCE STATE TO [login]; (up to SQL Server 2019: GRANT VIEW SERVER STATE TO [login]; "
        "Azure SQL Database: GRANT VIEW DATABASE PERFORMANCE STATE TO [user];)",
    )


def estimated_plan(
    connection: Any,
    sql: str,
    parameters: Sequence[Declared],
    *,
    database: str,
    lock_timeout: int | None = LOCK_TIMEOUT_MS,
) -> CapturedPlan:
    """The plan that the server would use, without running the statement.

    SHOWPLAN_XML has to be alone in its batch, and prepared statements ignore it
    (https://learn.microsoft.com/sql/t-sql/statements/set-showplan-xml-transact-sql). While the option is on, nothing
    that is sent over the connection is executed. A connection of its own doesn't wait long for the locks of others.
    """
    cursor = connection.cursor()
    try:
        if lock_timeout is not None:
            cursor.execute(f"SET LOCK_TIMEOUT {lock_timeout}")
        cursor.execute("SET SHOWPLAN_XML ON")
        try:
            cursor.execute(as_batch(sql, parameters))
            documents = [
                row[0] for result in _results(cursor) if _is_plan(result.description) for row in result.rows
            ]
        finally:
            with contextlib.suppress(Exception):
                cursor.execute("SET SHOWPLAN_XML OFF")
    except Exception as error:
        raise _unavailable(error, database) from error
    finally:
        with contextlib.suppress(Exception):
            cursor.close()
    if not documents:
        raise PlanUnavailable("The server has no plan for this statement.")
    return CapturedPlan(documents[0], "estimated")


def run_with_plan(
    connection: Any, cursor: Any, sql: str, parameters: Sequence[Any]
) -> tuple[list[ResultSet], list[CapturedPlan]]:
    """Run the statement once, with its actual plans beside its results.

    One message before and one after: STATISTICS XML adds a result set behind those of each statement
    (https://learn.microsoft.com/sql/t-sql/statements/set-statistics-xml-transact-sql), which the caller must not see.
    """
    try:
        _set_statistics_xml(connection, "ON")
    except Exception as error:
        raise PlanUnavailable(f"STATISTICS XML could not be switched on: {error}") from error
    try:
        if parameters:
            cursor.execute(sql, parameters)
        else:
            cursor.execute(sql)
        results = list(_results(cursor))
    finally:
        # A connection that has broken has no option to reset; the statement's own error is the one to tell.
        with contextlib.suppress(Exception):
            _set_statistics_xml(connection, "OFF")
    plans = [
        CapturedPlan(row[0], "actual")
        for result in results
        if _is_plan(result.description)
        for row in result.rows
    ]
    return [result for result in results if not _is_plan(result.description)], plans


def _set_statistics_xml(connection: Any, value: str) -> None:
    cursor = connection.cursor()
    try:
        cursor.execute(f"SET STATISTICS XML {value}")
    finally:
        cursor.close()


# The last plan with run-time counters where the database keeps it (LAST_QUERY_PLAN_STATS, 2019 and Azure), else the
# cached one. A parameterised text is cached as "(@P1 int)SELECT …": the statement is found behind the parameters.
# statement_start_offset counts bytes of UTF-16.
CACHED_PLAN_SQL = """
SELECT TOP (1)
    CAST({last_plan} AS nvarchar(max)) AS [last_plan],
    CAST([cached].[query_plan] AS nvarchar(max)) AS [cached_plan]
FROM sys.dm_exec_query_stats AS [stats]
CROSS APPLY sys.dm_exec_sql_text([stats].[sql_handle]) AS [batch]
{last_plan_join}
OUTER APPLY sys.dm_exec_query_plan([stats].[plan_handle]) AS [cached]
WHERE [stats].[last_execution_time] >= DATEADD(minute, -30, GETDATE())
    AND ([batch].[text] = ? OR RIGHT([batch].[text], ?) = ?)
ORDER BY [stats].[last_execution_time] DESC
OPTION (RECOMPILE)
"""
_LAST_PLAN_JOIN = "OUTER APPLY sys.dm_exec_query_plan_stats([stats].[plan_handle]) AS [last]"
INVALID_OBJECT = 208
STATE_DENIED = (262, 297, 300)


def cached_plan(connection: Any, sql: str) -> CapturedPlan:
    """The plan that the server used for this text a moment ago: with counters if it keeps them, else as compiled."""
    text = as_server_text(sql)
    parameters = (text, len(text), text)
    cursor = connection.cursor()
    try:
        try:
            cursor.execute(_cached_sql(with_last=True), parameters)
        except Exception as error:
            # dm_exec_query_plan_stats came with SQL Server 2019.
            if error_number(error) != INVALID_OBJECT:
                raise
            cursor.execute(_cached_sql(with_last=False), parameters)
        row = cursor.fetchone()
    except Exception as error:
        raise (
            state_denied(error) if error_number(error) in STATE_DENIED else PlanUnavailable(str(error))
        ) from error
    finally:
        with contextlib.suppress(Exception):
            cursor.close()
    last, compiled = row or (None, None)
    if last and _is_complete(last, compiled or ""):
        return CapturedPlan(last, "last actual")
    if compiled:
        return CapturedPlan(compiled, "cached")
    raise PlanUnavailable("The statement is not in the plan cache (any more).")


def _is_complete(last: str, compiled: str) -> bool:
    """Whether the last plan has counters, and every operator: of a cheap query the server keeps the root alone
    (https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-exec-query-plan-stats-transact-sql)."""
    return "<RunTimeInformation" in last and last.count("<RelOp ") >= compiled.count("<RelOp ")


def _cached_sql(*, with_last: bool) -> str:
    return CACHED_PLAN_SQL.format(
        last_plan="[last].[query_plan]" if with_last else "NULL",
        last_plan_join=_LAST_PLAN_JOIN if with_last else "",
    )


def as_server_text(sql: str) -> str:
    """The statement as the server caches it: the driver names the markers @P1, @P2 …"""
    count = sql.count("?")
    if not count:
        return sql
    batch = as_batch(sql, [Declared("int", "0")] * count)
    return batch.partition(";\n")[2]


def _results(cursor: Any) -> Iterator[ResultSet]:
    while True:
        if cursor.description is not None:
            yield ResultSet(cursor.description, cursor.fetchall(), cursor.rowcount)
        else:
            yield ResultSet(None, [], cursor.rowcount)
        if not cursor.nextset():
            return


def _is_plan(description: Any) -> bool:
    return description is not None and len(description) == 1 and description[0][0] == PLAN_COLUMN


def error_number(error: Exception) -> int | None:
    """SQL Server's number of a driver's exception."""
    described = errors.describe(error)
    return described.number if described else None


def _unavailable(error: Exception, database: str) -> PlanUnavailable:
    if error_number(error) == SHOWPLAN_DENIED:
        return showplan_denied(database)
    described = errors.describe(error)
    return PlanUnavailable(f"The server made no plan: {described.message if described else error}")


def _quote(name: str) -> str:
    return "[" + name.replace("]", "]]") + "]"
