"""When an execution plan is taken, and within which limits; the ways to take one are in plan_source."""

from __future__ import annotations

import contextlib
import logging
import queue
import random
import re
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from mssql.instrumentation import plan_source
from mssql.instrumentation.conf import InstrumentationConfig, PlansConfig
from mssql.instrumentation.observer import Observer
from mssql.instrumentation.plan_parameters import Declared, declare
from mssql.instrumentation.plan_source import CapturedPlan, PlanUnavailable, ResultSet, estimated_plan
from mssql.instrumentation.statement import ConnectionInfo, Statement, StatementKind

__all__ = [
    "CapturedPlan",
    "PlanObserver",
    "PlanUnavailable",
    "can_be_bracketed",
    "can_be_estimated",
    "declare",
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


def estimate(alias: str, sql: str, parameters: Sequence[Declared], *, database: str = "") -> CapturedPlan:
    """The estimated plan of a statement, over a connection of its own to the alias's server."""
    with _own_connection(alias, database) as (connection, name):
        return estimated_plan(connection, sql, parameters, database=name)


def cached(alias: str, sql: str, *, database: str = "") -> CapturedPlan:
    """The plan that the server has cached for a text, over a connection of its own."""
    with _own_connection(alias, database) as (connection, _name):
        return plan_source.cached_plan(connection, sql)


@contextlib.contextmanager
def _own_connection(alias: str, database: str) -> Any:
    """A new connection to the alias's server, observed by nobody: the raw driver connection, and its database."""
    from django.db import connections

    wrapper: Any = connections.create_connection(alias)
    wrapper.settings_dict = {**wrapper.settings_dict, "CONN_MAX_AGE": 0}
    if database:
        wrapper.settings_dict["NAME"] = database
    wrapper.settings_dict["OPTIONS"] = {**wrapper.settings_dict.get("OPTIONS", {}), "instrumentation": False}
    try:
        wrapper.connect()
        yield wrapper.connection, wrapper.settings_dict["NAME"]
    finally:
        with contextlib.suppress(Exception):
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
    if key not in _permissions:
        probe = connection.cursor()
        try:
            _permissions[key] = plan_source.may_show_plans(probe)
        finally:
            probe.close()
        if not _permissions[key]:
            logger.warning("No actual plans: %s", plan_source.showplan_denied(info.database))
    if not _permissions[key]:
        return None
    try:
        results, plans = plan_source.run_with_plan(connection, cursor, sql, parameters)
    except Exception as error:
        # The statement touches a further database whose plans are closed. It was refused before it ran.
        if plan_source._number(error) != plan_source.SHOWPLAN_DENIED:
            raise
        _permissions[key] = False
        logger.warning("No actual plans: %s", plan_source.showplan_denied(info.database))
        return None
    if plans:
        statement.plan = max(plans, key=lambda plan: len(plan.xml))
    return results


# --- rules and limits ---------------------------------------------------------------------------------------------


class Limits:
    """At most so many plans in a minute, and each text's plan once in a while."""

    def __init__(
        self, per_minute: int, rest_seconds: float = REST_SECONDS, clock: Callable[[], float] = time.monotonic
    ):
        self._per_minute = per_minute
        self._rest = rest_seconds
        self._clock = clock
        self._tokens = float(per_minute)
        self._filled = clock()
        self._last: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def allow(self, text: str) -> bool:
        """Whether a plan of this text may be taken now; if so, it counts as taken."""
        with self._lock:
            now = self._clock()
            last = self._last.get(text)
            if last is not None and now - last < self._rest:
                return False
            self._tokens = min(self._per_minute, self._tokens + (now - self._filled) * self._per_minute / 60)
            self._filled = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            self._last[text] = now
            self._last.move_to_end(text)
            while len(self._last) > REMEMBERED_TEXTS:
                self._last.popitem(last=False)
            return True


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
    ) -> None:
        self._plans = config.plans
        self._limits = _limits_for(connection.alias, config.plans)
        self._draw = draw

    def wants_actual_plan(self, statement: Statement) -> bool:
        """Decided before the statement runs; "slow" is known only afterwards, so there the next run is taken."""
        plans = self._plans
        if plans.source not in ("auto", "actual") or not can_be_bracketed(statement):
            return False
        if plans.when == "always" or (plans.when == "sampled" and self._draw() < plans.sample_ratio):
            return self._limits.allow(statement.sql)
        return plans.when == "slow" and _awaited.discard(statement.connection.alias, statement.sql)

    def end(self, statement: Statement) -> None:
        if statement.plan is not None:
            self._describe(statement)
        elif not statement.failed and self._wants_afterwards(statement) and self._limits.allow(statement.sql):
            if self._plans.source == "actual":
                _awaited.add(statement.connection.alias, statement.sql)
            else:
                _worker.submit(_Task(statement, self._plans))

    def _wants_afterwards(self, statement: Statement) -> bool:
        plans = self._plans
        if not can_be_estimated(statement.kind, statement.sql, statement.is_batch):
            return False
        if plans.when == "slow":
            return statement.duration_ns is not None and statement.duration_ns >= plans.slow_ms * 1e6
        if plans.source not in ("cached", "estimated"):
            return False
        return plans.when == "always" or (plans.when == "sampled" and self._draw() < plans.sample_ratio)

    def _describe(self, statement: Statement) -> None:
        plan: CapturedPlan = statement.plan
        if len(plan.xml) <= self._plans.max_bytes:
            statement.attributes = {**(statement.attributes or {}), **span_attributes(plan)}


class _Awaited:
    """Texts that were slow: their next run is taken with its actual plan."""

    def __init__(self) -> None:
        self._texts: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, alias: str, sql: str) -> None:
        with self._lock:
            self._texts[alias, sql] = None
            while len(self._texts) > REMEMBERED_TEXTS:
                self._texts.popitem(last=False)

    def discard(self, alias: str, sql: str) -> bool:
        if not self._texts:
            return False
        with self._lock:
            return self._texts.pop((alias, sql), False) is None


_awaited = _Awaited()


def span_attributes(captured: CapturedPlan) -> dict[str, Any]:
    """What a span says of its plan: small, searchable, without values."""
    plan = captured.plan
    statement = max(plan.statements, key=lambda item: item.cost, default=None)
    found = captured.findings
    attributes: dict[str, Any] = {
        "mssql.plan.source": captured.source,
        "mssql.plan.estimated_cost": plan.cost,
        "mssql.plan.findings": sorted({finding.rule for finding in found}),
    }
    if found:
        attributes["mssql.plan.worst_finding"] = found[0].rule
        attributes["mssql.plan.worst_severity"] = str(found[0].severity)
    if plan.missing_indexes:
        attributes["mssql.plan.missing_indexes"] = len(plan.missing_indexes)
    if statement is not None:
        attributes["mssql.plan.query_hash"] = statement.query_hash
        attributes["mssql.plan.query_plan_hash"] = statement.query_plan_hash
    return {name: value for name, value in attributes.items() if value not in ("", [])}


class _Task:
    """One plan to take after the fact. Holds no statement alive, and no more of it than is needed."""

    def __init__(self, statement: Statement, plans: PlansConfig) -> None:
        self.statement = weakref.ref(statement)
        self.observers = statement.observers
        self.alias = statement.connection.alias
        self.database = statement.connection.database
        self.sql = statement.sql
        self.parameters = declare(statement.params) if plans.source != "cached" else []
        self.plans = plans


class _Worker:
    """One thread that takes plans, away from every request; it starts with its first task and again after a fork."""

    def __init__(self) -> None:
        self._queue: queue.Queue[_Task] = queue.Queue(maxsize=100)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._resting: set[tuple[str, str]] = set()

    def submit(self, task: _Task) -> None:
        if (task.alias, task.plans.source) in self._resting:
            return
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(task)
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="mssql-plans", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            task = self._queue.get()
            try:
                self._take(task)
            except PlanUnavailable as error:
                if error.advice:
                    self._resting.add((task.alias, task.plans.source))
                    logger.warning("No plans are taken for %s from here on: %s", task.alias, error)
            except Exception:
                logger.exception("A plan could not be taken; the query was not affected.")
            finally:
                self._queue.task_done()

    def _take(self, task: _Task) -> None:
        if task.plans.source == "estimated":
            plan = estimate(task.alias, task.sql, task.parameters, database=task.database)
        else:
            plan = self._cached_or_estimated(task)
        if len(plan.xml) > task.plans.max_bytes:
            return
        statement = task.statement()
        if statement is None:
            return
        statement.plan = plan
        for observer in task.observers:
            observer.plan_captured(statement)

    @staticmethod
    def _cached_or_estimated(task: _Task) -> CapturedPlan:
        try:
            return cached(task.alias, task.sql, database=task.database)
        except PlanUnavailable:
            if task.plans.source == "cached":
                raise
            return estimate(task.alias, task.sql, task.parameters, database=task.database)

    def join(self) -> None:
        """Wait until all tasks are done."""
        self._queue.join()


_worker = _Worker()
