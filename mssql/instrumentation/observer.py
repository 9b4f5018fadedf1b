"""Observer: what wants to know of statements and connections, and how its failures are kept from them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry import context as otel_context

from mssql.errors import SQLServerError
from mssql.instrumentation.statement import ConnectionInfo, Statement

logger = logging.getLogger("mssql.instrumentation")

Run = Callable[[str, Sequence[Any]], object]
"""Runs one statement on the physical connection, unobserved."""


@dataclass(frozen=True, slots=True)
class Retry:
    """One handled failure: what failed, and how long we wait before the next attempt."""

    error: SQLServerError
    attempt: int
    delay_s: float
    scope: str
    """"connect" or "transaction"."""


class Observer:
    """What happens to statements and connections. Subclass it and override what you want to know."""

    def begin(self, statement: Statement) -> None:
        """The statement is about to be sent."""

    def end(self, statement: Statement) -> None:
        """The driver's call returned or raised; duration, rowcount, error and plan are known."""

    def fetch_failed(self, statement: Statement) -> None:
        """Reading rows broke off after the statement had ended well; error and exception are known. Closed next."""

    def close(self, statement: Statement) -> None:
        """Its results were read or given up; ``returned_rows`` is known, or None."""

    def wants_actual_plan(self, statement: Statement) -> bool:
        """Whether the cursor shall run the statement with STATISTICS XML on."""
        return False

    def retrying(self, retry: Retry, connection: ConnectionInfo) -> None:
        """A connect or a transaction failed and will be tried again."""

    def plan_captured(self, statement: Statement) -> None:
        """``statement.plan`` was taken, possibly after the statement ended."""

    def connection_opened(self, connection: ConnectionInfo, duration_ns: int) -> None:
        """A physical connection was made; it is in use."""

    def connection_acquired(self, connection: ConnectionInfo, wait_ns: int) -> None:
        """An idle connection came into use again (``wait_ns``: waited for the pool)."""

    def connection_released(self, connection: ConnectionInfo) -> None:
        """The connection is idle: kept for the thread's next request or back in the pool."""

    def connection_closed(self, connection: ConnectionInfo) -> None:
        """The physical connection is gone."""


class Propagator:
    """Tells the server on whose behalf a statement runs."""

    def outgoing(self, statement: Statement, sql: str, run: Run) -> str:
        """Prepare the connection for ``statement`` and return the SQL to send in place of ``sql``."""
        return sql

    def clear(self, run: Run) -> None:
        """Take back what was left on the connection, before it serves something else."""


# The key behind opentelemetry.instrumentation.utils.suppress_instrumentation(); the API package owns it.
_SUPPRESS = otel_context._SUPPRESS_INSTRUMENTATION_KEY


def is_suppressed(context: otel_context.Context) -> bool:
    """Whether the code that runs in ``context`` wants no telemetry of what it does."""
    return bool(context.get(_SUPPRESS))


_reported: set[tuple[str, str]] = set()


def report_failure(where: object, action: str) -> None:
    """Log the exception being handled, once per observer (or hook) and action in this process."""
    name = getattr(where, "__qualname__", type(where).__qualname__)
    if (name, action) not in _reported:
        _reported.add((name, action))
        logger.exception("%s failed in %s; the query was not affected. This is logged once.", name, action)
