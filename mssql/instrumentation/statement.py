"""Statement: the one record that flows from the cursor to every observer."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context

from mssql.instrumentation.caller import Caller, find_caller
from mssql.instrumentation.sql_text import SqlText, describe, encodable, join_summary

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from mssql.errors import SQLServerError
    from mssql.instrumentation.recorder import Audience, Observer


class StatementKind(enum.Enum):
    """What the backend asked the server to do."""

    QUERY = "query"
    BATCH = "batch"
    PROCEDURE = "procedure"
    TRANSACTION = "transaction"
    CONNECT = "connect"


@dataclass(slots=True)
class ConnectionInfo:
    """Facts about one physical connection; what only the server knows is filled in after the login."""

    alias: str
    database: str
    server_address: str = ""
    server_port: int | None = None
    instance_name: str | None = None
    session_id: int | None = None
    application_name: str | None = None
    server_version: str | None = None

    @property
    def namespace(self) -> str:
        """db.namespace: a named instance stands before the database, parted by ``|``
        (https://opentelemetry.io/docs/specs/semconv/db/sql-server/)."""
        return f"{self.instance_name}|{self.database}" if self.instance_name else self.database


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of something that may be tried again. ``retries`` says after how many seconds an error leads to
    another; None: to none."""

    number: int
    retries: Callable[[SQLServerError], float | None]


NO_CONTEXT = Context()

current_attempt: ContextVar[Attempt | None] = ContextVar("mssql_current_attempt", default=None)
"""Set by `mssql.retry` around each try, so that an error about to be retried is not reported as a failure."""


class Statement:
    """One execution: made once by the recorder, completed at its end, read by all observers."""

    __slots__ = (
        "__weakref__",
        "_caller",
        "_text",
        "attempt",
        "attributes",
        "audience",
        "batch_size",
        "clock_ns",
        "closed",
        "connection",
        "context",
        "declarations",
        "duration_ns",
        "error",
        "exception",
        "handled_errors",
        "in_transaction",
        "kind",
        "params",
        "pending",
        "plan",
        "procedure",
        "retry_delay_s",
        "returned_rows",
        "rowcount",
        "span",
        "sql",
        "started_ns",
        "telemetry",
        "unread",
    )

    def __init__(
        self,
        kind: StatementKind,
        sql: str,
        params: Sequence[Any] | None,
        connection: ConnectionInfo,
        *,
        batch_size: int | None = None,
        procedure: str | None = None,
        in_transaction: bool = False,
    ) -> None:
        self.kind = kind
        self.sql = sql
        """As the driver gets it, with ``?`` markers; without the comment that propagation may add."""
        self.params = params
        self.declarations: Sequence[Any] | None = None
        """The T-SQL types that the parameters travel with (``.tsql``), where the cursor tells them."""
        self.connection = connection
        self.context = NO_CONTEXT
        """OpenTelemetry's context of the code that asked."""
        self.batch_size = batch_size
        self.procedure = procedure
        self.in_transaction = in_transaction
        self.started_ns = 0
        """Wall clock, nanoseconds since the epoch."""
        self.clock_ns = 0
        """Monotonic clock at the start; the duration is measured by it."""
        self.duration_ns: int | None = None
        self.rowcount: int | None = None
        self.returned_rows: int | None = None
        self.error: SQLServerError | None = None
        self.exception: BaseException | None = None
        self.retry_delay_s: float | None = None
        """The error is about to be retried after so long, so it is no failure of the operation."""
        self.handled_errors: list[SQLServerError] = []
        """Errors of earlier tries within this statement (a connect that was retried)."""
        self.attempt = 1
        self.plan: Any = None
        """A CapturedPlan, once one was taken."""
        self.span: Span | None = None
        self.pending: Any = None
        """The tracing observer's own: a span that waits for the number of rows."""
        self.attributes: dict[str, Any] | None = None
        """Further span attributes from other parts (plans, deadlocks); set them before the statement ends."""
        self.telemetry = True
        """False where the user's filter or suppress_instrumentation() keeps telemetry away."""
        self.audience: Audience | None = None
        """Who is told of this one: decided when it begins, so that nobody hears the end of what he missed."""
        self.unread = False
        """Rows were left on the wire when the statement ended: reading them may still fail."""
        self.closed = False
        self._text: SqlText | None = None
        self._caller: Caller | None = None

    @property
    def text(self) -> SqlText:
        """Query summary and sanitised text, by the grammar of the semantic conventions."""
        if self._text is None:
            self._text = self._describe()
        return self._text

    def _describe(self) -> SqlText:
        if self.kind is StatementKind.PROCEDURE and self.procedure:
            return SqlText(encodable(join_summary(("EXECUTE", self.procedure))), "")
        return describe(self.sql, "BATCH" if self.is_batch else "")

    @property
    def summary(self) -> str:
        return self.text.summary

    @property
    def is_batch(self) -> bool:
        """One set of parameters is no batch, none is an empty one
        (https://opentelemetry.io/docs/specs/semconv/registry/attributes/db/#db-operation-batch-size)."""
        return self.batch_size is not None and self.batch_size != 1

    @property
    def caller(self) -> Caller | None:
        """The application's line that led here. Ask while the cursor's call is on the stack."""
        if self._caller is None:
            self._caller = find_caller()
        return self._caller

    @property
    def observers(self) -> tuple[Observer, ...]:
        """All that are told of it."""
        return self.audience.observers if self.audience is not None else ()

    @property
    def ended_ns(self) -> int:
        """Wall clock at the end: start plus the measured duration, so that no clock step bends it."""
        return self.started_ns + (self.duration_ns or 0)

    @property
    def handled(self) -> bool:
        return self.retry_delay_s is not None

    @property
    def failed(self) -> bool:
        return self.exception is not None and not self.handled

    def __repr__(self) -> str:
        return f"<Statement {self.kind.value} {self.summary!r} on {self.connection.alias!r}>"
