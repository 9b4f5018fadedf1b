"""When an execution plan is taken, and within which limits; the ways to take one are in plan_source."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import random
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mssql.instrumentation import plan_source
from mssql.instrumentation.attributes import ConnectionAttributes
from mssql.instrumentation.conf import InstrumentationConfig, PlansConfig
from mssql.instrumentation.observer import Observer
from mssql.instrumentation.own_connection import CONNECT_TIMEOUT, QUERY_TIMEOUT
from mssql.instrumentation.plan_events import PlanEvents, plan_attributes
from mssql.instrumentation.plan_parameters import Declared, declare
from mssql.instrumentation.plan_source import CapturedPlan, PlanUnavailable, ResultSet, estimated_plan
from mssql.instrumentation.statement import ConnectionInfo, Statement, StatementKind

__all__ = [
    "CapturedPlan",
    "PlanObserver",
    "PlanUnavailable",
    "can_be_bracketed",
    "can_be_estimated",
    "declared_parameters",
    "estimate",
    "run_with_plan",
]

logger = logging.getLogger("mssql.plans")

# Statements that have a plan. DDL, SET and transaction statements have none.
_FIRST_WORD = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/|\()*([A-Za-z]+)", re.DOTALL)
_PLANNED = frozenset(("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "DECLARE", "EXEC", "EXECUTE"))

# The same statement's plan is taken again only after this long: it seldom changes sooner.
REST_SECONDS = 600.0
REMEMBERED_TEXTS = 2_000

# Reading a plan of this size takes some milliseconds, which the request waits for; a larger one is told of by its
# log event alone.
MAX_READ_IN_REQUEST = 500_000


def can_be_estimated(kind: StatementKind, sql: str, is_batch: bool = False) -> bool:
    """Whether the server can show a plan for the text alone."""
    if kind not in (StatementKind.QUERY, StatementKind.PROCEDURE) or is_batch:
        return False
    word = _FIRST_WORD.match(sql)
    return word is not None and word[1].upper() in _PLANNED


def can_be_bracketed(statement: Statement) -> bool:
    """Whether the statement can run with STATISTICS XML on: one execution of something that has a plan."""
    return statement.kind is StatementKind.QUERY and can_be_estimated(
        statement.kind, statement.sql, statement.batch_size is not None
    )


def declared_parameters(statement: Statement) -> list[Declared]:
    """The statement's parameters with the types that the cursor declared for them."""
    return declare(statement.params, statement.declarations)


def estimate(alias: str, sql: str, parameters: Sequence[Declared], *, database: str = "") -> CapturedPlan:
    """The estimated plan of a statement, over a connection of its own to the alias's server."""
    with _own_connection(alias, database) as (connection, name):
        return estimated_plan(connection, sql, parameters, database=name)


def cached(alias: str, sql: str, *, database: str = "") -> CapturedPlan:
    """The plan that the server has cached for a text, over a connection of its own."""
    with _own_connection(alias, database) as (connection, _name):
        return plan_source.cached_plan(connection, sql)


@contextlib.contextmanager
def _own_connection(alias: str, database: str) -> Iterator[tuple[Any, str]]:
    """A new connection to the alias's server that nobody observes: the driver's connection, and its database."""
    from django.db import connections

    wrapper: Any = connections.create_connection(alias)
    options = {
        **wrapper.settings_dict.get("OPTIONS", {}),
        "instrumentation": False,
        "retry": False,
        "pool": False,
        "connection_timeout": CONNECT_TIMEOUT,
        "query_timeout": QUERY_TIMEOUT,
    }
    name = database or wrapper.settings_dict["NAME"]
    wrapper.settings_dict = {**wrapper.settings_dict, "NAME": name, "CONN_MAX_AGE": 0, "OPTIONS": options}
    try:
        wrapper.connect()
        yield wrapper.connection.driver, name
    finally:
        wrapper.close()


# --- the cursor's seam --------------------------------------------------------------------------------------------

_permissions: dict[tuple[str, str], bool] = {}


def run_with_plan(
    connection: Any, cursor: Any, sql: str, parameters: Sequence[Any], statement: Statement
) -> list[ResultSet] | None:
    """Run the statement once with STATISTICS XML on, and keep its plan in ``statement.plan``.

    None, and nothing was run, where the login may not see plans: the statement itself would fail then. This is asked
    once for each database, and said once.
    """
    info = statement.connection
    key = (info.server_address or info.alias, info.database)
    try:
        if not _permitted(connection, key):
            return None
        results, plans = plan_source.run_with_plan(connection, cursor, sql, parameters)
    except PlanUnavailable:
        # The connection is in no state to be asked for plans; what is wrong with it, the statement itself will say.
        return None
    except Exception as error:
        # The statement touches a further database whose plans are closed. It was refused before it ran.
        if plan_source.error_number(error) != plan_source.SHOWPLAN_DENIED:
            raise
        _permissions[key] = False
        logger.warning("No actual plans: %s", plan_source.showplan_denied(info.database))
        return None
    if plans:
        statement.plan = max(plans, key=lambda plan: len(plan.xml))
    return results


def _permitted(connection: Any, key: tuple[str, str]) -> bool:
    if key not in _permissions:
        _permissions[key] = plan_source.may_show_plans(connection)
        if not _permissions[key]:
            logger.warning("No actual plans: %s", plan_source.showplan_denied(key[1]))
    return _permissions[key]


# --- rules and limits ---------------------------------------------------------------------------------------------


class Limits:
    """At most so many plans in a minute, and each query's plan once in a while.

    Texts come without their literals. What is left tells its query hash only by its plan; from then on it shares its
    rest with the other texts of that hash.
    """

    def __init__(
        self, per_minute: int, rest_seconds: float = REST_SECONDS, clock: Callable[[], float] = time.monotonic
    ):
        self._per_minute = per_minute
        self._rest = rest_seconds
        self._clock = clock
        self._tokens = float(per_minute)
        self._filled = clock()
        self._last: OrderedDict[str, float] = OrderedDict()
        self._hashes: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def allow(self, text: str) -> bool:
        """Whether a plan of this text may be taken now; if so, it counts as taken."""
        with self._lock:
            now = self._clock()
            query = self._hashes.get(text, text)
            if self._rests(query, now):
                return False
            self._tokens = min(self._per_minute, self._tokens + (now - self._filled) * self._per_minute / 60)
            self._filled = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            _remember(self._last, query, now)
            return True

    def identify(self, text: str, query_hash: str) -> bool:
        """The plan of this text has this hash: whether it is the query's first one in its time."""
        with self._lock:
            if self._hashes.get(text) == query_hash:
                return True
            _remember(self._hashes, text, query_hash)
            now = self._clock()
            if self._rests(query_hash, now):
                return False
            _remember(self._last, query_hash, now)
            return True

    def _rests(self, query: str, now: float) -> bool:
        last = self._last.get(query)
        return last is not None and now - last < self._rest


def _remember(memory: OrderedDict[str, Any], key: str, value: float | str) -> None:
    memory[key] = value
    memory.move_to_end(key)
    while len(memory) > REMEMBERED_TEXTS:
        memory.popitem(last=False)


_limits: dict[tuple[str, PlansConfig], Limits] = {}


def _limits_for(alias: str, plans: PlansConfig) -> Limits:
    """One set of limits for an alias in this process, however many connections it has."""
    return _limits.setdefault((alias, plans), Limits(plans.per_minute))


class PlanObserver(Observer):
    """Takes plans of one alias's statements by the rule in its settings."""

    def __init__(
        self,
        config: InstrumentationConfig,
        connection: ConnectionInfo,
        *,
        draw: Callable[[], float] = random.random,
        events: PlanEvents | None = None,
    ) -> None:
        self._plans = config.plans
        self._limits = _limits_for(connection.alias, config.plans)
        self._draw = draw
        self._events = events or PlanEvents(ConnectionAttributes(connection))

    def wants_actual_plan(self, statement: Statement) -> bool:
        """Decided before the statement runs. What is slow is known only afterwards: there the next run is taken."""
        plans = self._plans
        if plans.source not in ("auto", "actual") or not can_be_bracketed(statement):
            return False
        if plans.when == "slow":
            return _awaited.discard(statement)
        return self._chosen() and self._limits.allow(statement.text.text)

    def end(self, statement: Statement) -> None:
        captured: CapturedPlan | None = statement.plan
        if captured is not None:
            if len(captured.xml) <= MAX_READ_IN_REQUEST:
                statement.attributes = {**(statement.attributes or {}), **plan_attributes(captured)}
            _tell(statement)
        elif (
            not statement.failed
            and self._wants_afterwards(statement)
            and self._limits.allow(statement.text.text)
        ):
            if self._plans.source == "actual":
                _awaited.add(statement)
            else:
                _worker.submit(_Task(statement, self._plans))

    def plan_captured(self, statement: Statement) -> None:
        # Reading and redacting a plan takes milliseconds: not the request's.
        _worker.submit(lambda: self._emit(statement))

    def _emit(self, statement: Statement) -> None:
        captured: CapturedPlan = statement.plan
        main = captured.main_statement
        query_hash = main.query_hash if main is not None else None
        if not query_hash or self._limits.identify(statement.text.text, query_hash):
            self._events.emit(statement, captured, self._plans.max_bytes)

    def _chosen(self) -> bool:
        plans = self._plans
        return plans.when == "always" or (plans.when == "sampled" and self._draw() < plans.sample_ratio)

    def _wants_afterwards(self, statement: Statement) -> bool:
        plans = self._plans
        if not can_be_estimated(statement.kind, statement.sql, statement.is_batch):
            return False
        if plans.when == "slow":
            return statement.duration_ns is not None and statement.duration_ns >= plans.slow_ms * 1e6
        return plans.source in ("cached", "estimated") and self._chosen()


def _tell(statement: Statement) -> None:
    for observer in statement.observers:
        observer.plan_captured(statement)


class _Awaited:
    """Queries that were slow: their next run is taken with its actual plan."""

    def __init__(self) -> None:
        self._texts: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, statement: Statement) -> None:
        with self._lock:
            self._texts[statement.connection.alias, statement.text.text] = None
            while len(self._texts) > REMEMBERED_TEXTS:
                self._texts.popitem(last=False)

    def discard(self, statement: Statement) -> bool:
        if not self._texts:
            return False
        with self._lock:
            return self._texts.pop((statement.connection.alias, statement.text.text), False) is None


_awaited = _Awaited()


# --- off the request's thread -------------------------------------------------------------------------------------


class _Task:
    """Take one plan after the fact."""

    def __init__(self, statement: Statement, plans: PlansConfig) -> None:
        self._statement = statement
        self._plans = plans
        self._parameters = declared_parameters(statement) if plans.source != "cached" else []

    def __call__(self) -> None:
        key = (self._statement.connection.alias, self._plans.source)
        if key in _resting:
            return
        try:
            captured = self._take()
        except PlanUnavailable as error:
            if error.advice:
                _resting.add(key)
                logger.warning("No plans are taken for %s from here on: %s", key[0], error)
            return
        except Exception as error:
            # Most likely the server can't be reached. It may come back, so every plan is still tried.
            if key not in _unreachable:
                _unreachable.add(key)
                logger.warning("No plans are taken for %s for now: %s", key[0], str(error).partition("\n")[0])
            return
        _unreachable.discard(key)
        self._statement.plan = captured
        _tell(self._statement)

    def _take(self) -> CapturedPlan:
        info, sql = self._statement.connection, self._statement.sql
        if self._plans.source != "estimated":
            try:
                return cached(info.alias, sql, database=info.database)
            except PlanUnavailable:
                if self._plans.source == "cached":
                    raise
        return estimate(info.alias, sql, self._parameters, database=info.database)


_resting: set[tuple[str, str]] = set()
"""Aliases and sources that a missing permission has closed for this process."""

_unreachable: set[tuple[str, str]] = set()
"""Aliases and sources whose last try failed otherwise: told once, until one succeeds."""


class _Worker:
    """One thread that takes and tells plans, away from every request; it starts with its first task."""

    def __init__(self) -> None:
        self._tasks: queue.Queue[Callable[[], None]] = queue.Queue(maxsize=100)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def submit(self, task: Callable[[], None]) -> None:
        """Do it soon, or not at all when there is too much to do."""
        with contextlib.suppress(queue.Full):
            self._tasks.put_nowait(task)
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="mssql-plans", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            task = self._tasks.get()
            try:
                task()
            except Exception:
                logger.exception("A plan was not taken; the query was not affected.")
            finally:
                self._tasks.task_done()

    def join(self) -> None:
        """Wait until everything submitted is done."""
        self._tasks.join()


_worker = _Worker()


def _renew_worker() -> None:
    """A forked child has the parent's tasks, but no thread that works on them."""
    global _worker
    _worker = _Worker()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_worker)
