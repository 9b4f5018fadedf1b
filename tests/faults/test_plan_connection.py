"""The connection that fetches plans is refused: queries answer all the same, and it is told once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from mssql.instrumentation import plan_capture
from tests.faults.conftest import MakeAlias

if TYPE_CHECKING:
    from sqlserver_standin import Control


@pytest.mark.standin
def test_a_refused_plan_connection_fails_no_query_and_is_told_once(
    make_alias: MakeAlias,
    control: Control,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plan_capture, "_unreachable", set())
    wrapper = make_alias(
        OPTIONS={
            "instrumentation": {
                "plans": {"when": "slow", "slow_ms": 0, "source": "estimated", "per_minute": 100}
            }
        }
    )
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT 0")
        control.refuse_logins(1000, 18456)
        with caplog.at_level(logging.WARNING, "mssql.plans"):
            for number in range(20):
                cursor.execute(f"SELECT %s + {number} FROM dbo.work", [number])
                cursor.fetchall()
            plan_capture._worker.join()
    assert len([record for record in caplog.records if record.name == "mssql.plans"]) == 1
