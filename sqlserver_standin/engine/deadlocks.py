"""The deadlock graph, in system_health's form, of a deadlock that PostgreSQL found.

PostgreSQL names who waited for whom; the sessions add what they ran, and their statements' tables are the resources.
https://learn.microsoft.com/sql/relational-databases/sql-server-deadlocks-guide
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from sqlserver_standin.engine.link import PostgresError
from sqlserver_standin.engine.observation import handle
from sqlserver_standin.engine.postgres import SETTINGS

if TYPE_CHECKING:
    from sqlserver_standin.engine.session import Activity, Session

_WAIT = re.compile(
    r"Process (?P<waiter>\d+) waits for (?P<mode>\w+) on (?P<resource>.+?); blocked by process (?P<blocker>\d+)\."
)
_LOOKED_AFTER = datetime.timedelta(milliseconds=int(SETTINGS["deadlock_timeout"].removesuffix("ms")))
# A statement that began this shortly before hardly waited for the deadlock: the session has gone on since.
_JUST_STARTED = datetime.timedelta(milliseconds=25)
# PostgreSQL's log is no measure of SQL Server's; only which process changed more is meant.
LOG_BYTES_PER_ROW = 100
_ISOLATION = {
    "READ UNCOMMITTED": "read uncommitted (1)",
    "READ COMMITTED": "read committed (2)",
    "REPEATABLE READ": "repeatable read (3)",
    "SERIALIZABLE": "serializable (4)",
    "SNAPSHOT": "snapshot (5)",
}


@dataclass(frozen=True, slots=True)
class Edge:
    """``waiter`` waits for what ``blocker`` holds (PostgreSQL's process ids)."""

    waiter: int
    blocker: int
    mode: str
    resource: str


def edges(detail: str) -> list[Edge]:
    """The circle that PostgreSQL's error describes."""
    return [
        Edge(int(match["waiter"]), int(match["blocker"]), match["mode"], match["resource"])
        for match in _WAIT.finditer(detail)
    ]


def report(victim: Session, error: PostgresError) -> tuple[datetime.datetime, str]:
    """When it happened (UTC), and the xml_deadlock_report event."""
    now = datetime.datetime.now(datetime.UTC)
    by_pid = {session.link.backend_pid: session for session in victim.instance.sessions()}
    circle = [edge for edge in edges(error.detail) if edge.waiter in by_pid and edge.blocker in by_pid]
    event = ET.Element(
        "event",
        name="xml_deadlock_report",
        package="sqlserver",
        timestamp=now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03d}Z",
    )
    data = ET.SubElement(event, "data", name="xml_report")
    ET.SubElement(data, "type", name="xml", package="package0")
    graph = ET.SubElement(ET.SubElement(data, "value"), "deadlock")
    ET.SubElement(ET.SubElement(graph, "victim-list"), "victimProcess", id=_process_id(victim))
    processes = ET.SubElement(graph, "process-list")
    sessions = list(dict.fromkeys([victim, *(by_pid[edge.waiter] for edge in circle)]))
    for session in sessions:
        _process(processes, session, victim)
    resources = ET.SubElement(graph, "resource-list")
    for number, edge in enumerate(circle):
        _resource(resources, by_pid[edge.waiter], by_pid[edge.blocker], victim, edge, number)
    return now, ET.tostring(event, encoding="unicode")


def _process_id(session: Session) -> str:
    return f"process{0x27B9B0B0000 + session.spid * 0x1000:x}"


def _activity(session: Session, victim: Session) -> Activity:
    """What the session was doing when the deadlock was found."""
    current, previous = session.activity, session.previous_activity
    if session is victim or previous is None or current.started is None or victim.activity.started is None:
        return current
    # PostgreSQL looks once, some time after the victim has begun to wait. What had begun by then was waiting.
    if current.started <= victim.activity.started + _LOOKED_AFTER:
        return current
    return previous if datetime.datetime.now() - current.started < _JUST_STARTED else current


def _mode(activity: Activity) -> str:
    word = activity.statement.lstrip()[:6].upper()
    return "U" if word == "SELECT" else "X"


def _wait_resource(session: Session, activity: Activity) -> str:
    return (
        f"KEY: {session.database_facts.database_id}:{_hobt(activity)} ({handle(0, activity.statement)[8:20]})"
    )


def _hobt(activity: Activity) -> int:
    return 72057594037927936 + (activity.table_id << 8)


def _process(parent: ET.Element, session: Session, victim: Session) -> None:
    activity = _activity(session, victim)
    started = activity.started or datetime.datetime.now()
    waited = round((datetime.datetime.now() - started).total_seconds() * 1000)
    transaction = activity.transaction
    client = session.client
    process = ET.SubElement(
        parent,
        "process",
        id=_process_id(session),
        taskpriority="0",
        logused=str(transaction.changed_rows * LOG_BYTES_PER_ROW),
        waitresource=_wait_resource(session, activity),
        waittime=str(waited),
        ownerId=str(transaction.descriptor),
        transactionname="user_transaction" if transaction.count else activity.statement.lstrip()[:6].upper(),
        lasttranstarted=_local(transaction.started or started),
        lockMode=_mode(activity),
        schedulerid="1",
        kpid=str(session.link.backend_pid),
        status="suspended",
        spid=str(session.spid),
        sbid="0",
        ecid="0",
        priority=str(session.options.deadlock_priority),
        trancount=str(max(transaction.count, 1)),
        lastbatchstarted=_local(started),
        lastbatchcompleted=_local(session.counters.last_request_end or started),
        lastattention="1900-01-01T00:00:00",
        clientapp=client.program_name,
        hostname=client.host_name,
        hostpid=str(client.process_id),
        loginname=client.login,
        isolationlevel=_ISOLATION[transaction.isolation],
        xactid=str(transaction.descriptor),
        currentdb=str(session.database_facts.database_id),
        currentdbname=session.database,
        lockTimeout=str(session.options.lock_timeout & 0xFFFFFFFF),
        clientoption1="673185824",
        clientoption2="128056",
    )
    stack = ET.SubElement(process, "executionStack")
    text = activity.text
    start = max(text.find(activity.statement), 0)
    frame = ET.SubElement(
        stack,
        "frame",
        procname=activity.procedure or "adhoc",
        line=str(text.count("\n", 0, start) + 1),
        stmtstart=str(start * 2),
        stmtend=str((start + len(activity.statement)) * 2),
        sqlhandle="0x" + handle(2, session.database, text),
    )
    frame.text = f"\n{activity.statement}    "
    ET.SubElement(process, "inputbuf").text = f"\n{text}   "


def _local(moment: datetime.datetime) -> str:
    return moment.isoformat("T", "milliseconds")


def _resource(
    parent: ET.Element, waiter: Session, blocker: Session, victim: Session, edge: Edge, number: int
) -> None:
    activity = _activity(waiter, victim)
    database_id = str(waiter.database_facts.database_id)
    table = f"{waiter.database}.{activity.table}" if activity.table else ""
    identifier = f"lock{0x27B9DD26000 + number * 0x100:x}"
    if edge.resource.startswith("relation"):
        element = ET.SubElement(
            parent,
            "objectlock",
            lockPartition="0",
            objid=str(activity.table_id),
            subresource="FULL",
            dbid=database_id,
            objectname=table,
            id=identifier,
            mode="X",
            associatedObjectId=str(activity.table_id),
        )
    elif activity.index:
        element = ET.SubElement(
            parent,
            "keylock",
            hobtid=str(_hobt(activity)),
            dbid=database_id,
            objectname=table,
            indexname=activity.index,
            id=identifier,
            mode="X",
            associatedObjectId=str(_hobt(activity)),
        )
    else:
        element = ET.SubElement(
            parent,
            "ridlock",
            fileid="1",
            pageid="0",
            dbid=database_id,
            objectname=table,
            id=identifier,
            mode="X",
            associatedObjectId=str(_hobt(activity)),
        )
    ET.SubElement(ET.SubElement(element, "owner-list"), "owner", id=_process_id(blocker), mode="X")
    ET.SubElement(
        ET.SubElement(element, "waiter-list"),
        "waiter",
        id=_process_id(waiter),
        mode=_mode(activity),
        requestType="wait",
    )


__all__: Sequence[str] = ("Edge", "edges", "report")
