"""Deadlock graphs: SQL Server's XML -> Deadlock, what may be told of it, and what it says in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from mssql.instrumentation import sql_text
from mssql.showplan.document import ShowplanError, local_name, read_text, scan

# https://learn.microsoft.com/sql/relational-databases/sql-server-deadlocks-guide#deadlock-graph
RESOURCE_KINDS = {
    "keylock": "row (key)",
    "ridlock": "row",
    "pagelock": "page",
    "objectlock": "table",
    "hobtlock": "index or heap",
    "extentlock": "extent",
    "databaselock": "database",
    "filelock": "file",
    "allocunitlock": "allocation unit",
    "metadatalock": "metadata",
    "applicationlock": "application lock",
    "rowgrouplock": "rowgroup",
    "xactlock": "transaction",
    "oiblock": "online index build",
    "exchangeEvent": "parallel exchange",
    "SyncPoint": "thread synchronisation",
    "threadpool": "worker threads",
    "resourceWait": "wait",
}

# Attributes that hold facts of the server's; all others may hold a person's or a customer's data.
_SAFE_PROCESS_ATTRIBUTES = frozenset(
    "taskpriority logused waitresource waittime transactionname lasttranstarted lockMode schedulerid kpid status "
    "spid sbid ecid priority trancount lastbatchstarted lastbatchcompleted clientapp hostpid isolationlevel xactid "
    "currentdb currentdbname lockTimeout clientoption1 clientoption2".split()
)
_SAFE_RESOURCE_ATTRIBUTES = frozenset(
    "hobtid dbid objectname indexname id mode associatedObjectId fileid pageid objid subresource lockPartition "
    "classid WaitType nodeId tid waiterType ownerActivity waiterActivity merging spilling waitingToClose".split()
)


class DeadlockError(ValueError):
    """The text is no deadlock report that can be read safely; the message says why."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One level of a process's call stack."""

    procedure: str
    line: int | None
    sql_handle: str
    text: str


@dataclass(frozen=True, slots=True)
class Process:
    """One task in the deadlock: a session, or one thread of a session that runs in parallel."""

    id: str
    session_id: int | None
    thread: int | None
    input_buffer: str
    frames: tuple[Frame, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def lock_mode(self) -> str:
        return self.attributes.get("lockMode", "")

    @property
    def wait_resource(self) -> str:
        return self.attributes.get("waitresource", "")

    @property
    def wait_ms(self) -> int | None:
        return _integer(self.attributes.get("waittime"))

    @property
    def isolation_level(self) -> str:
        """ "read committed (2)" without the number."""
        return self.attributes.get("isolationlevel", "").partition(" (")[0]

    @property
    def transaction_name(self) -> str:
        return self.attributes.get("transactionname", "")

    @property
    def log_used(self) -> int | None:
        """Bytes of log that a rollback has to undo: the server chooses the cheapest victim by it."""
        return _integer(self.attributes.get("logused"))

    @property
    def client_app(self) -> str:
        return self.attributes.get("clientapp", "")

    @property
    def host_name(self) -> str:
        return self.attributes.get("hostname", "")

    @property
    def host_process_id(self) -> int | None:
        return _integer(self.attributes.get("hostpid"))

    @property
    def login_name(self) -> str:
        return self.attributes.get("loginname", "")

    @property
    def database(self) -> str:
        return self.attributes.get("currentdbname") or self.attributes.get("currentdb", "")

    @property
    def statement(self) -> str:
        """The statement that waited, without the declarations of its parameters; "" when the server had lost it."""
        for frame in self.frames:
            if frame.text:
                return without_declarations(frame.text)
        return without_declarations(self.input_buffer)


@dataclass(frozen=True, slots=True)
class Lock:
    """A process that owns a resource, or waits for it."""

    process_id: str
    mode: str
    request_type: str = ""


@dataclass(frozen=True, slots=True)
class Resource:
    """What was fought over: its kind is the element's name, which is kept when it is not known here."""

    kind: str
    owners: tuple[Lock, ...]
    waiters: tuple[Lock, ...]
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.attributes.get("id", "")

    @property
    def object_name(self) -> str:
        return self.attributes.get("objectname", "")

    @property
    def index_name(self) -> str:
        return self.attributes.get("indexname", "")

    @property
    def mode(self) -> str:
        return self.attributes.get("mode", "")

    @property
    def kind_label(self) -> str:
        return RESOURCE_KINDS.get(self.kind, self.kind)

    @property
    def label(self) -> str:
        """ "row (key) of shop.dbo.orders, index PK_orders"."""
        name = self.kind_label
        if self.object_name:
            name += f" of {self.object_name}"
        if self.index_name and self.index_name != self.object_name.rpartition(".")[2]:
            name += f", index {self.index_name}"
        return name


@dataclass(frozen=True, slots=True)
class Deadlock:
    """One deadlock. `victims` are ids of processes; none in a parallel query that resolved itself."""

    victims: tuple[str, ...]
    processes: tuple[Process, ...]
    resources: tuple[Resource, ...]
    occurred: datetime | None = None
    """When the server reported it, UTC; only Extended Events say so."""

    def process(self, process_id: str) -> Process | None:
        return next((process for process in self.processes if process.id == process_id), None)

    def is_victim(self, process: Process) -> bool:
        return process.id in self.victims

    @property
    def victim_processes(self) -> tuple[Process, ...]:
        return tuple(process for process in self.processes if self.is_victim(process))

    @property
    def objects(self) -> tuple[str, ...]:
        """Names of the tables involved, each once."""
        return tuple(dict.fromkeys(r.object_name for r in self.resources if r.object_name))

    @property
    def is_within_one_session(self) -> bool:
        """Threads of one parallel query blocked each other: no other transaction is at fault."""
        return len({process.session_id for process in self.processes}) == 1 and len(self.processes) > 1

    def sentences(self) -> tuple[str, ...]:
        """The graph in words, for a log line, a terminal and a screen reader."""
        return tuple(_sentences(self))

    def to_dict(self) -> dict[str, Any]:
        return {
            "occurred": self.occurred.isoformat() if self.occurred else None,
            "victims": list(self.victims),
            "processes": [
                {
                    "id": process.id,
                    "session_id": process.session_id,
                    "thread": process.thread,
                    "victim": self.is_victim(process),
                    "statement": process.statement,
                    "input_buffer": process.input_buffer,
                    "frames": [
                        {"procedure": f.procedure, "line": f.line, "sql_handle": f.sql_handle, "text": f.text}
                        for f in process.frames
                    ],
                    "attributes": dict(process.attributes),
                }
                for process in self.processes
            ],
            "resources": [
                {
                    "kind": resource.kind,
                    "label": resource.label,
                    "owners": [_lock_dict(lock) for lock in resource.owners],
                    "waiters": [_lock_dict(lock) for lock in resource.waiters],
                    "attributes": dict(resource.attributes),
                }
                for resource in self.resources
            ],
        }


def _lock_dict(lock: Lock) -> dict[str, str]:
    return {"process_id": lock.process_id, "mode": lock.mode, "request_type": lock.request_type}


def parse(xml: str | bytes) -> list[Deadlock]:
    """Every deadlock in the document, oldest place first.

    Takes ``<deadlock>``, ``<deadlock-list>`` (.xdl), an Extended Event, a ring buffer, rows of them without a root, or
    anything that wraps them, as XML or as text in XML, in UTF-8 or UTF-16. Raises DeadlockError for a document
    that can't be read safely; one that holds no deadlock gives an empty list.
    """
    try:
        text = read_text(xml)
    except ShowplanError as error:
        raise DeadlockError(str(error)) from error
    return _parse(text, wrapped=True)


def _parse(text: str, *, wrapped: bool) -> list[Deadlock]:
    try:
        return _read(text, wrapped)
    except DeadlockError:
        mended = _mend(text)
        if mended is None:
            raise
        try:
            return _read(mended, wrapped)
        except DeadlockError:
            pass
        raise


def _read(text: str, wrapped: bool) -> list[Deadlock]:
    reader = _Reader(wrapped)
    try:
        scan(text, reader.start, reader.end, reader.text)
    except ShowplanError as error:
        raise DeadlockError(str(error)) from error
    return reader.deadlocks


def _mend(text: str) -> str | None:
    """What is known to be wrong with reports that are not well-formed; None when this is none of them."""
    if not text.startswith("<") or "<deadlock" not in text:
        return None
    if "<victim-list>" in text and "</victim-list>" not in text:
        # https://www.sqlservercentral.com/articles/retrieving-deadlock-graphs-with-sql-server-2008-extended-events
        text = text.replace("<victim-list>", "<deadlock><victim-list>")
        text = text.replace("<process-list>", "</victim-list><process-list>")
    text = _FORBIDDEN.sub("\ufffd", _REFERENCE.sub(_allowed_reference, text))
    return f"<deadlocks>{text}</deadlocks>"  # rows of a result are many roots


# Statements can hold characters that XML forbids; the server writes them as references, or as they are.
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_REFERENCE = re.compile(r"&#(?:x([0-9A-Fa-f]{1,8})|([0-9]{1,8}));")


def _allowed_reference(reference: re.Match[str]) -> str:
    number = int(reference[1], 16) if reference[1] else int(reference[2])
    surrogate = 0xD800 <= number <= 0xDFFF
    allowed = number <= 0x10FFFF and not surrogate and not _FORBIDDEN.match(chr(number))
    return reference[0] if allowed else "\ufffd"


class _Node:
    __slots__ = ("attributes", "children", "tag", "text")

    def __init__(self, tag: str, attributes: Mapping[str, str]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.children: list[_Node] = []
        self.text: list[str] = []

    def below(self, *path: str) -> list[_Node]:
        nodes = [self]
        for tag in path:
            nodes = [child for node in nodes for child in node.children if child.tag == tag]
        return nodes

    @property
    def content(self) -> str:
        return "".join(self.text).strip()


class _Reader:
    """Builds a tree of each <deadlock> only, so a ring buffer full of other events costs nothing."""

    def __init__(self, wrapped: bool) -> None:
        self.deadlocks: list[Deadlock] = []
        self._wrapped = (
            wrapped  # text may hold a report; within that it may not: that is no report but an attack
        )
        self._open: list[_Node] = []
        self._event_name = ""
        self._event_time: datetime | None = None
        self._leaf: list[str] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        tag = local_name(tag)
        self._leaf.clear()
        if self._open:
            node = _Node(tag, attributes)
            self._open[-1].children.append(node)
            self._open.append(node)
        elif tag == "deadlock":
            self._open.append(_Node(tag, attributes))
        elif tag == "event":
            self._event_name = attributes.get("name", "")
            self._event_time = _timestamp(attributes.get("timestamp"))

    def text(self, text: str) -> None:
        if self._open:
            self._open[-1].text.append(text)
        elif self._wrapped:
            self._leaf.append(text)

    def end(self, tag: str) -> None:
        if self._open:
            node = self._open.pop()
            if not self._open:
                self.deadlocks.append(_deadlock(node, self._event_time))
            return
        if self._leaf:
            self._read_wrapped("".join(self._leaf).strip())
            self._leaf.clear()
        if local_name(tag) == "event":
            self._event_name, self._event_time = "", None

    def _read_wrapped(self, text: str) -> None:
        """Reports of SQL Server 2008, of Profiler and of exported result sets stand as text in an element."""
        if self._event_name and "deadlock" not in self._event_name:
            return  # the text of another event is a statement, and anybody can write one that looks like a report
        text = read_text(text)
        if text.startswith(("<deadlock", "<event", "<RingBufferTarget")) and "<deadlock" in text:
            self.deadlocks += [
                deadlock if deadlock.occurred else replace(deadlock, occurred=self._event_time)
                for deadlock in _parse(text, wrapped=False)
            ]


def _deadlock(node: _Node, occurred: datetime | None) -> Deadlock:
    victims = [victim.attributes.get("id", "") for victim in node.below("victim-list", "victimProcess")]
    # Traces of SQL Server 2005 name the one victim in an attribute.
    if (victim := node.attributes.get("victim")) and victim not in victims:
        victims.append(victim)
    return Deadlock(
        victims=tuple(victims),
        processes=tuple(_process(child) for child in node.below("process-list", "process")),
        resources=tuple(
            _resource(child) for parent in node.below("resource-list") for child in parent.children
        ),
        occurred=occurred,
    )


def _process(node: _Node) -> Process:
    return Process(
        id=node.attributes.get("id", ""),
        session_id=_integer(node.attributes.get("spid")),
        thread=_integer(node.attributes.get("ecid")),
        input_buffer="\n".join(child.content for child in node.below("inputbuf")),
        frames=tuple(_frame(child) for child in node.below("executionStack", "frame")),
        attributes=node.attributes,
    )


def _frame(node: _Node) -> Frame:
    text = node.content
    return Frame(
        procedure=node.attributes.get("procname", ""),
        line=_integer(node.attributes.get("line")),
        sql_handle=node.attributes.get("sqlhandle", ""),
        text="" if text == "unknown" else text,  # "unknown": the plan had left the cache
    )


def _resource(node: _Node) -> Resource:
    # With optimized locking a transaction is what sessions wait for, and names the row or page within:
    # https://learn.microsoft.com/sql/relational-databases/performance/optimized-locking
    names = {
        name: value
        for underlying in node.below("UnderlyingResource")
        for child in underlying.children
        for name, value in child.attributes.items()
        if name in {"objectname", "indexname"}
    }
    return Resource(
        kind=node.tag,
        owners=tuple(_lock(child) for child in node.below("owner-list", "owner")),
        waiters=tuple(_lock(child) for child in node.below("waiter-list", "waiter")),
        attributes={**names, **node.attributes},
    )


def _lock(node: _Node) -> Lock:
    attributes = node.attributes
    return Lock(attributes.get("id", ""), attributes.get("mode", ""), attributes.get("requestType", ""))


def _integer(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?[0-9]{1,18}", text) else None


def _timestamp(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    # Extended Events tell UTC, with or without the letter.
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def without_declarations(sql: str) -> str:
    """``(@P1 int,@P2 nvarchar(60))SELECT …`` without what the driver wrote before the statement."""
    if not sql.startswith("(@"):
        return sql.strip()
    depth = 0
    for position, character in enumerate(sql):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return sql[position + 1 :].strip()
    return sql.strip()


def redact(deadlock: Deadlock) -> Deadlock:
    """The same graph without literals, logins, host names and whatever else may be personal data."""
    return replace(
        deadlock,
        processes=tuple(
            replace(
                process,
                input_buffer=_sanitised(process.input_buffer),
                frames=tuple(replace(frame, text=_sanitised(frame.text)) for frame in process.frames),
                attributes=_told_of_process(process.attributes),
            )
            for process in deadlock.processes
        ),
        resources=tuple(
            replace(resource, attributes=_only(_SAFE_RESOURCE_ATTRIBUTES, resource.attributes))
            for resource in deadlock.resources
        ),
    )


def _sanitised(sql: str) -> str:
    return sql_text.describe(sql).text if sql else sql


def _told_of_process(attributes: Mapping[str, str]) -> dict[str, str]:
    told = _only(_SAFE_PROCESS_ATTRIBUTES, attributes)
    if "waitresource" in told:
        # "APPLICATION: 5:0:[order 4711]:(8e14701f)": the name of a lock is the application's own, data and all.
        told["waitresource"] = _LOCK_NAME.sub("[?]", told["waitresource"])
    return told


_LOCK_NAME = re.compile(r"\[.*\]", re.DOTALL)


def _only(names: frozenset[str], attributes: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in attributes.items() if name in names}


def _sentences(deadlock: Deadlock) -> Iterator[str]:
    names = {process.id: process_label(process) for process in deadlock.processes}
    victims = [process_label(process) for process in deadlock.victim_processes]
    # One that the graph does not describe has its id only.
    victims += [victim for victim in deadlock.victims if victim and victim not in names]
    if victims:
        chosen = "was chosen as the victim" if len(victims) == 1 else "were chosen as victims"
        yield f"{_joined(victims)} {chosen} and rolled back."
    elif deadlock.is_within_one_session:
        yield "Threads of one parallel query blocked each other; none was chosen as the victim."
    else:
        yield "No victim is named."
    for resource in deadlock.resources:
        owners = [_locked(names, lock) for lock in resource.owners]
        for waiter in resource.waiters:
            held = f", held by {_joined(owners)}" if owners else ""
            wanted = f" {waiter.mode} on" if waiter.mode else ""
            yield f"{names.get(waiter.process_id, waiter.process_id)} waited for{wanted} {resource.label}{held}."


def _locked(names: Mapping[str, str], lock: Lock) -> str:
    name = names.get(lock.process_id, lock.process_id)
    return f"{name} ({lock.mode})" if lock.mode else name


def process_label(process: Process) -> str:
    """ "Session 58", or "session 58 thread 3" of a parallel query."""
    if process.session_id is None:
        return process.id or "a process"
    return f"session {process.session_id}" + (f" thread {process.thread}" if process.thread else "")


def _joined(words: list[str]) -> str:
    *first, last = dict.fromkeys(words)
    return f"{', '.join(first)} and {last}" if first else last
