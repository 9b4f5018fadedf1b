"""Tells the server on whose behalf a statement runs: the trace in CONTEXT_INFO, or static tags in a comment.

Both are opt-in, as the conventions ask (https://opentelemetry.io/docs/specs/semconv/db/sql-server/).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import quote

from opentelemetry import trace

from mssql.instrumentation.conf import PER_REQUEST_TAGS, PropagationConfig
from mssql.instrumentation.observer import Propagator, Run
from mssql.instrumentation.statement import Statement, StatementKind

SET_CONTEXT_INFO = "SET CONTEXT_INFO ?"
"""One text for all values, so that they leave one cached plan."""

CLEAR_CONTEXT_INFO = "SET CONTEXT_INFO 0x"


class ContextInfoPropagator(Propagator):
    """Puts the traceparent of each sampled statement on its connection: one more round trip when it changes."""

    def __init__(self) -> None:
        self._on_server = b""

    def outgoing(self, statement: Statement, sql: str, run: Run) -> str:
        # A batch of its own before BEGIN or COMMIT would only be noise: what they do has no text of its own.
        if statement.kind in (StatementKind.TRANSACTION, StatementKind.CONNECT):
            return sql
        self._put(traceparent(statement).encode("ascii"), run)
        return sql

    def clear(self, run: Run) -> None:
        self._put(b"", run)

    def _put(self, value: bytes, run: Run) -> None:
        if value == self._on_server:
            return
        # What the server has is unknown until the call succeeded: the next statement then tries again.
        self._on_server = b"?"
        if value:
            run(SET_CONTEXT_INFO, [value])
        else:
            run(CLEAR_CONTEXT_INFO, [])
        self._on_server = value


class CommentPropagator(Propagator):
    """Appends tags as SQLCommenter does (https://google.github.io/sqlcommenter/spec/).

    SQL Server's plan cache goes by the text: tags have to be few and steady. A traceparent is different for every
    statement, so each statement would be compiled anew and leave a plan that nothing uses again; it goes along only
    when forced.
    """

    def __init__(
        self,
        tags: Mapping[str, str],
        tags_hook: Callable[[Statement], Mapping[str, str]] | None,
        *,
        forced: bool,
    ) -> None:
        self._tags = dict(tags)
        self._tags_hook = tags_hook
        self._forced = forced

    def outgoing(self, statement: Statement, sql: str, run: Run) -> str:
        if statement.kind not in (StatementKind.QUERY, StatementKind.BATCH) or not statement.telemetry:
            return sql
        tags = dict(self._tags)
        if self._tags_hook is not None:
            tags.update(self._tags_hook(statement))
        for key in PER_REQUEST_TAGS & tags.keys():
            del tags[key]
        if self._forced and (value := traceparent(statement)):
            tags["traceparent"] = value
        comment = ",".join(f"{_encode(key)}='{_encode(value)}'" for key, value in sorted(tags.items()))
        # A new line, lest a trailing -- comment swallows it.
        return f"{sql}\n/*{comment}*/" if comment else sql


def _encode(text: str) -> str:
    """Nothing is left that could end the comment or be taken for a parameter marker."""
    return quote(str(text), safe="")


def traceparent(statement: Statement) -> str:
    """The W3C header's value for a statement whose span is sampled, or nothing."""
    if statement.span is None or not statement.telemetry:
        return ""
    context = statement.span.get_span_context()
    if not context.is_valid or not context.trace_flags.sampled:
        return ""
    return (
        f"00-{trace.format_trace_id(context.trace_id)}-{trace.format_span_id(context.span_id)}"
        f"-{int(context.trace_flags) & 1:02x}"
    )


def propagator_for(config: PropagationConfig) -> Propagator:
    """A propagator for one physical connection."""
    if config.mode == "context_info":
        return ContextInfoPropagator()
    return CommentPropagator(dict(config.tags), config.tags_hook, forced=config.force_traceparent)
