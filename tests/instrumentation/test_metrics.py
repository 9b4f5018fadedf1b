"""Metrics by the conventions, equal to the spans, and counters of what goes wrong."""

from __future__ import annotations

from typing import Any

import pytest

from mssql.errors import describe
from mssql.instrumentation.metrics import PoolMetrics
from mssql.instrumentation.observer import Retry
from mssql.instrumentation.statement import ConnectionInfo, StatementKind
from tests.instrumentation.conftest import DEADLOCK, NEVER_SLOW, Telemetry, driver_error, run

POOL = {"db.client.connection.pool.name": "db.example.com:1433/shop"}


def point(telemetry: Telemetry, name: str) -> Any:
    (only,) = telemetry.points(name)
    return only


def test_the_duration_is_the_span_s_own(telemetry: Telemetry) -> None:
    statement = run(telemetry.recorder())
    recorded = point(telemetry, "db.client.operation.duration")
    span = telemetry.span
    assert recorded.explicit_bounds == (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
    assert recorded.sum == (statement.duration_ns or 0) / 1e9
    assert recorded.sum == pytest.approx(((span.end_time or 0) - (span.start_time or 0)) / 1e9)
    assert dict(recorded.attributes) == {
        "db.system.name": "microsoft.sql_server",
        "db.namespace": "shop",
        "db.query.summary": "SELECT [shop_order]",
        "server.address": "db.example.com",
    }


def test_an_exemplar_points_at_the_span(telemetry: Telemetry) -> None:
    run(telemetry.recorder())
    (exemplar,) = point(telemetry, "db.client.operation.duration").exemplars
    assert exemplar.span_id == telemetry.span.get_span_context().span_id


def test_a_batch_is_recorded_once(telemetry: Telemetry) -> None:
    run(telemetry.recorder(), "INSERT INTO t VALUES (?)", kind=StatementKind.BATCH, batch_size=5)
    recorded = point(telemetry, "db.client.operation.duration")
    assert recorded.count == 1
    assert recorded.attributes["db.query.summary"] == "BATCH INSERT t"


def test_failures_are_told_apart(telemetry: Telemetry) -> None:
    recorder = telemetry.recorder()
    run(recorder, error=driver_error(1205, DEADLOCK, "40001", "Error"))
    run(recorder, error=driver_error(1222, "Lock request time out period exceeded."))
    recorded = {p.attributes["error.type"]: p for p in telemetry.points("db.client.operation.duration")}
    assert recorded.keys() == {"1205", "1222"}
    assert recorded["1205"].attributes["db.response.status_code"] == "1205"
    assert point(telemetry, "mssql.deadlocks").value == 1
    assert point(telemetry, "mssql.lock_timeouts").value == 1


def test_returned_rows_are_opt_in(telemetry: Telemetry) -> None:
    run(telemetry.recorder(), returned_rows=3)
    assert not telemetry.points("db.client.response.returned_rows")
    recorder = telemetry.recorder({"metrics": {"returned_rows": True}})
    run(recorder, returned_rows=12)
    run(recorder, "UPDATE t SET a = 1", rowcount=5)
    recorded = point(telemetry, "db.client.response.returned_rows")
    assert (recorded.count, recorded.sum) == (1, 12)
    assert recorded.explicit_bounds == (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
    assert recorded.attributes["db.query.summary"] == "SELECT [shop_order]"


def test_slow_queries(telemetry: Telemetry) -> None:
    run(telemetry.recorder({"query_log": {"slow_ms": NEVER_SLOW}}))
    assert not telemetry.points("mssql.slow_queries")
    run(telemetry.recorder({"query_log": {"slow_ms": 0}}))
    assert point(telemetry, "mssql.slow_queries").value == 1


def test_retries_and_plans(telemetry: Telemetry) -> None:
    recorder = telemetry.recorder()
    error = describe(driver_error(1205, DEADLOCK, "40001", "Error"))
    assert error is not None
    recorder.retrying(Retry(error, 1, 0.05, "transaction"))
    recorder.plan_captured(run(recorder))
    retried = point(telemetry, "mssql.retries")
    assert retried.value == 1
    assert retried.attributes["mssql.retry.scope"] == "transaction"
    assert retried.attributes["mssql.error.class"] == "deadlock"
    assert point(telemetry, "mssql.plans.captured").value == 1


def test_a_connection_is_used_or_idle_and_then_gone(telemetry: Telemetry) -> None:
    recorder = telemetry.recorder()

    def states() -> dict[str, int]:
        return {
            p.attributes["db.client.connection.state"]: p.value
            for p in telemetry.points("db.client.connection.count")
        }

    recorder.connection_opened(2_000_000)
    assert states() == {"used": 1}
    recorder.connection_released()
    recorder.connection_released()
    assert states() == {"used": 0, "idle": 1}
    recorder.connection_acquired(7_000_000)
    recorder.connection_closed()
    recorder.connection_closed()
    assert states() == {"used": 0, "idle": 0}
    created = point(telemetry, "db.client.connection.create_time")
    assert (created.sum, dict(created.attributes)) == (0.002, POOL)
    assert point(telemetry, "db.client.connection.wait_time").sum == 0.007
    assert point(telemetry, "db.client.connection.use_time").count == 2


def test_the_pool_tells_its_limits_and_who_waits(telemetry: Telemetry) -> None:
    pool = PoolMetrics(ConnectionInfo("default", "shop", "db.example.com"), telemetry.instruments)
    pool.limits(10, 2)
    pool.waiting(1)
    pool.waiting(1)
    pool.waiting(-1)
    pool.timed_out()
    values = {
        name: point(telemetry, f"db.client.connection.{name}").value
        for name in ("max", "idle.max", "idle.min", "pending_requests", "timeouts")
    }
    assert values == {"max": 10, "idle.max": 10, "idle.min": 2, "pending_requests": 1, "timeouts": 1}
    pool.closed()
    assert point(telemetry, "db.client.connection.max").value == 0
    assert dict(point(telemetry, "db.client.connection.max").attributes) == POOL
