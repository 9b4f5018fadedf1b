"""What one session can see of the others and of the past: sessions, requests, the plan cache, deadlocks."""

from __future__ import annotations

import datetime
import hashlib
import json
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlserver_standin.types import SqlType

if TYPE_CHECKING:
    from sqlserver_standin.engine.instance import Instance
    from sqlserver_standin.engine.session import Session
    from sqlserver_standin.engine.showplan import PlannedStatement

MOST_QUERIES = 1000
MOST_PUBLISHED = 200

ASKS_FOR_FACTS = re.compile(
    r"\b(?:dm_exec|dm_tran|dm_xe|dm_os|sysprocesses|query_store|fn_xe_file)", re.IGNORECASE
)
"""Statements that read one of the views in 24_server_state.sql."""
_ASKS_FOR_PLANS = re.compile(r"query_plan", re.IGNORECASE)
_ASKS_FOR_LAST_PLANS = re.compile(r"query_plan_stats", re.IGNORECASE)
_ISOLATION_LEVELS = {
    "READ UNCOMMITTED": 1,
    "READ COMMITTED": 2,
    "REPEATABLE READ": 3,
    "SERIALIZABLE": 4,
    "SNAPSHOT": 5,
}


def handle(prefix: int, *parts: str) -> str:
    """A sql_handle (2) or plan_handle (6) of 44 bytes, in hexadecimal."""
    digest = hashlib.blake2b("\0".join(parts).encode(errors="replace"), digest_size=20).hexdigest()
    return f"{prefix:02x}000000{digest}{'00' * 20}"


@dataclass(slots=True)
class LastRun:
    """One execution in a database that keeps last plans; its document is written when somebody asks for it.

    ``measured`` is what each node of PostgreSQL's plan did, None where only the time is known.
    """

    planned: PlannedStatement
    measured: dict[str, Any] | None
    microseconds: int = 0
    document: str | None = None


@dataclass(slots=True)
class QueryStatistics:
    """One statement of the plan cache; times are in microseconds."""

    number: int
    database: str
    database_id: int
    statement: str
    text: str
    start: int
    parameter_types: Mapping[str, SqlType]
    created: datetime.datetime
    executions: int = 0
    total: int = 0
    last: int = 0
    least: int = 0
    most: int = 0
    rows: int = 0
    last_rows: int = 0
    last_execution: datetime.datetime | None = None
    plan: str | None = None
    failed: bool = False
    last_run: LastRun | None = None

    def record(self, microseconds: int, rows: int, last_run: LastRun | None) -> None:
        """One execution."""
        if last_run is not None:
            last_run.microseconds = microseconds
        self.last_run = last_run
        self.least = microseconds if not self.executions else min(self.least, microseconds)
        self.most = max(self.most, microseconds)
        self.executions += 1
        self.total += microseconds
        self.last = microseconds
        self.rows += rows
        self.last_rows = rows
        self.last_execution = datetime.datetime.now()

    def to_json(self) -> dict[str, Any]:
        """As the views read it."""
        return {
            "id": self.number,
            "database": self.database,
            "database_id": self.database_id,
            "statement": self.statement,
            "text": self.text,
            "sql_handle": handle(2, self.database, self.text),
            "plan_handle": handle(6, self.database, self.text, self.statement),
            "query_hash": hashlib.blake2b(self.statement.encode(errors="replace"), digest_size=8).hexdigest(),
            "statement_start_offset": self.start * 2,
            "statement_end_offset": -1,
            "creation_time": _time(self.created),
            "last_execution_time": _time(self.last_execution),
            "execution_count": self.executions,
            "total_elapsed_time": self.total,
            "last_elapsed_time": self.last,
            "min_elapsed_time": self.least,
            "max_elapsed_time": self.most,
            "total_rows": self.rows,
            "last_rows": self.last_rows,
            "plan": self.plan,
            "last_plan": self.last_run.document if self.last_run else None,
        }


@dataclass(slots=True)
class PlanCache:
    """The statements that ran lately, by database and text."""

    entries: OrderedDict[tuple[str, str], QueryStatistics] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    count: int = 0

    def record(
        self,
        session: Session,
        statement: str,
        parameter_types: Mapping[str, SqlType],
        microseconds: int,
        rows: int,
    ) -> QueryStatistics:
        """Count one execution."""
        key = (session.database, statement)
        with self.lock:
            entry = self.entries.get(key)
            if entry is None:
                self.count += 1
                text = session.activity.text
                entry = self.entries[key] = QueryStatistics(
                    self.count,
                    session.database,
                    session.database_facts.database_id,
                    statement,
                    text,
                    max(text.find(statement), 0),
                    parameter_types,
                    datetime.datetime.now(),
                )
                if len(self.entries) > MOST_QUERIES:
                    self.entries.popitem(last=False)
            else:
                self.entries.move_to_end(key)
            entry.record(microseconds, rows, session.activity.last_run)
            return entry

    def latest(self) -> list[QueryStatistics]:
        """The newest ones, newest first."""
        with self.lock:
            return list(reversed(self.entries.values()))[:MOST_PUBLISHED]

    def clear(self, database: str | None = None) -> None:
        """DBCC FREEPROCCACHE; with ``database`` only that one's statements."""
        with self.lock:
            for key in [key for key in self.entries if database in (None, key[0])]:
                del self.entries[key]


def _time(moment: datetime.datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(" ", "milliseconds")


def publish(session: Session, statement: str) -> None:
    """Let this session's next statement see the instance."""
    instance = session.instance
    queries = instance.plan_cache.latest()
    if _ASKS_FOR_PLANS.search(statement):
        for entry in queries:
            if entry.plan is None and not entry.failed and entry.database == session.database:
                entry.plan = session.interpreter.plans.plan_of(entry)
                entry.failed = entry.plan is None
    if _ASKS_FOR_LAST_PLANS.search(statement):
        for entry in queries:
            run = entry.last_run
            if run is not None and run.document is None and entry.database == session.database:
                run.document = session.interpreter.plans.last_plan_of(run)
    facts = {
        "started": _time(instance.started),
        "sessions": [
            _session(each) for each in instance.sessions() if each is session or session.sees_others
        ],
        "queries": [entry.to_json() for entry in queries],
        "deadlocks": _deadlocks(instance),
    }
    session.set_setting("standin.facts", json.dumps(facts).replace("\\u0000", ""))


def _deadlocks(instance: Instance) -> list[dict[str, str]]:
    return [
        {"time": moment.strftime("%Y-%m-%d %H:%M:%S.%f"), "xml": xml}
        for moment, xml in list(instance.deadlocks)
    ]


def _session(session: Session) -> dict[str, Any]:
    activity, counters, client = session.activity, session.counters, session.client
    now = datetime.datetime.now()
    elapsed = (now - activity.started).total_seconds() * 1000 if activity.started else 0
    text = activity.text
    start = max(text.find(activity.statement), 0)
    return {
        "session_id": session.spid,
        "backend_pid": session.link.backend_pid,
        "login_time": _time(session.login_time),
        "host_name": client.host_name,
        "program_name": client.program_name,
        "host_process_id": client.process_id,
        "client_interface_name": client.library,
        "client_net_address": client.address or "127.0.0.1",
        "encrypt_option": "TRUE" if client.encrypted else "FALSE",
        "login_name": client.login,
        "status": "running" if activity.running else "sleeping",
        "running": activity.running,
        "context_info": None
        if session.context_info is None
        else session.context_info.ljust(128, b"\0").hex(),
        "cpu_time": round(counters.elapsed_ms),
        "total_elapsed_time": round(counters.elapsed_ms),
        "request_elapsed": round(elapsed),
        "last_request_start_time": _time(counters.last_request_start),
        "last_request_end_time": _time(counters.last_request_end),
        "text_size": session.options.text_size,
        "language": session.options.language,
        "date_format": session.options.date_format,
        "date_first": session.options.date_first,
        "arithabort": session.options.arithabort,
        "transaction_isolation_level": _ISOLATION_LEVELS[session.transaction_isolation],
        "lock_timeout": session.options.lock_timeout,
        "deadlock_priority": session.options.deadlock_priority,
        "row_count": session.row_count,
        "prev_error": session.last_error,
        "database_id": session.database_facts.database_id,
        "open_transaction_count": session.transaction.count,
        "transaction_id": session.transaction.descriptor,
        "command": activity.statement.lstrip().split(None, 1)[0].upper()
        if activity.statement.strip()
        else "",
        "text": text,
        "sql_handle": handle(2, session.database, text),
        "plan_handle": handle(6, session.database, text, activity.statement),
        "statement_start_offset": start * 2,
        "statement_end_offset": (start + len(activity.statement)) * 2,
    }
