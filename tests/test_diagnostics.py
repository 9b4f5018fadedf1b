"""mssql.diagnostics: each fact is judged, and what is wrong comes with its remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import override_settings

from mssql import diagnostics
from mssql.diagnostics import Check, Status
from mssql.odbc import pyodbc
from mssql.server import ServerInfo

DENIED = pyodbc.ProgrammingError("42000", "[42000] permission was denied (300) (SQLExecDirectW)")


def server(**changes: Any) -> ServerInfo:
    facts: dict[str, Any] = {
        "session_id": 51,
        "database": "my]shop",
        "product_version": "16.0.4135.4",
        "engine_edition": 3,
        "edition": "Enterprise Edition",
        "compatibility_level": 160,
        "collation": "SQL_Latin1_General_CP1_CI_AS",
        "read_committed_snapshot": True,
    }
    return ServerInfo(**{**facts, **changes})


class Probe:
    """Answers by words of the question; an exception among the answers is raised."""

    def __init__(
        self,
        answers: dict[str, Any] | None = None,
        *,
        options: dict[str, Any] | None = None,
        settings: dict[str, Any] | None = None,
        driver: tuple[str, str] = ("libmsodbcsql-18.6.so.2.1", "18.06.0002"),
        **facts: Any,
    ) -> None:
        self.server = server(**facts)
        self.answers = answers or {}
        defaults = {"encrypt": "", "trust_server_certificate": None, "mars": False, "pool": False}
        self.options = SimpleNamespace(**{**defaults, **(options or {})})
        getinfo = {pyodbc.SQL_DRIVER_NAME: driver[0], pyodbc.SQL_DRIVER_VER: driver[1]}.__getitem__
        self.connection = SimpleNamespace(
            connection=SimpleNamespace(driver=SimpleNamespace(getinfo=getinfo)),
            settings_dict={"CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": False, **(settings or {})},
            pool=SimpleNamespace(options="max_size=10"),
        )

    def rows(self, sql: str, *params: object) -> list[tuple[Any, ...]]:
        for words, answer in self.answers.items():
            if words in sql:
                if isinstance(answer, Exception):
                    raise answer
                return [answer if isinstance(answer, tuple) else (answer,)]
        return []

    def value(self, sql: str, *params: object) -> Any:
        rows = self.rows(sql, *params)
        return rows[0][0] if rows else None


def judged(check: Callable[[Any], Iterator[Check]], probe: Probe, name: str = "") -> Check:
    found = [each for each in diagnostics._guarded(check, probe) if not name or each.name == name]  # type: ignore[arg-type]
    assert len(found) == 1, found
    return found[0]


STATE = "snapshot_isolation_state_desc"
PERMISSIONS = "HAS_PERMS_BY_NAME"


@pytest.mark.parametrize(
    ("check", "probe", "name", "status", "words"),
    [
        (diagnostics._driver, Probe(), "", "ok", ["18.06.0002", "pyodbc"]),
        (
            diagnostics._driver,
            Probe(driver=("libmsodbcsql-13.so", "13.01.0000")),
            "",
            "warning",
            ["pip install"],
        ),
        (diagnostics._driver, Probe(driver=("libtdsodbc.so", "01.03")), "", "warning", ["Microsoft's"]),
        (diagnostics._server, Probe(), "", "ok", ["SQL Server 2022", "Enterprise"]),
        (
            diagnostics._encryption,
            Probe({"encrypt_option": "TRUE"}),
            "",
            "ok",
            ["asked the server", "is verified"],
        ),
        (diagnostics._encryption, Probe({"encrypt_option": "FALSE"}), "", "warning", ["OPTIONS['encrypt']"]),
        (
            diagnostics._encryption,
            Probe({"encrypt_option": "TRUE"}, options={"trust_server_certificate": True}),
            "",
            "info",
            ["not verified", "pose as it"],
        ),
        (diagnostics._encryption, Probe({"encrypt_option": DENIED}), "", "ok", ["by the settings"]),
        (
            diagnostics._encryption,
            Probe({"encrypt_option": DENIED}, options={"encrypt": "no"}),
            "",
            "warning",
            ["by the settings"],
        ),
        (diagnostics._compatibility_level, Probe(), "", "ok", ["160"]),
        (
            diagnostics._compatibility_level,
            Probe(compatibility_level=150),
            "",
            "info",
            ["ALTER DATABASE [my]]shop] SET COMPATIBILITY_LEVEL = 160"],
        ),
        (diagnostics._compatibility_level, Probe(compatibility_level=130), "", "warning", ["130"]),
        (
            diagnostics._compatibility_level,
            Probe(engine_edition=5, product_version="12.0.2000.8", compatibility_level=170),
            "",
            "ok",
            ["170"],
        ),
        (diagnostics._row_versioning, Probe({STATE: ("OFF", 1)}), "read committed snapshot", "ok", ["on"]),
        (
            diagnostics._row_versioning,
            Probe({STATE: ("OFF", 1)}, read_committed_snapshot=False),
            "read committed snapshot",
            "warning",
            ["ALTER DATABASE [my]]shop] SET READ_COMMITTED_SNAPSHOT ON"],
        ),
        (diagnostics._row_versioning, Probe({STATE: ("ON", 1)}), "snapshot isolation", "ok", ["on"]),
        (diagnostics._collation, Probe(), "", "ok", ["CI_AS"]),
        (diagnostics._collation, Probe(collation="Latin1_General_100_CS_AS"), "", "info", ["upper"]),
        (diagnostics._permissions, Probe({PERMISSIONS: ("l", "u", 1, 1, 1, 1, 1)}), "cached plans", "ok", []),
        (
            diagnostics._permissions,
            Probe({PERMISSIONS: ("l]", "u]", 0, 0, 0, 0, 0)}),
            "estimated and actual plans",
            "info",
            ["GRANT SHOWPLAN TO [u]]]"],
        ),
        (
            diagnostics._permissions,
            Probe({PERMISSIONS: ("l]", "u]", 0, 0, 0, 0, 0)}),
            "deadlock graphs",
            "info",
            ["GRANT VIEW SERVER PERFORMANCE STATE TO [l]]]"],
        ),
        (
            diagnostics._permissions,
            Probe({PERMISSIONS: ("l", "u", 0, 0, None, 0, None)}, product_version="15.0.2000.5"),
            "cached plans",
            "info",
            ["GRANT VIEW SERVER STATE TO [l]"],
        ),
        (
            diagnostics._permissions,
            Probe({PERMISSIONS: ("l", "u", 0, 0, 0, 0, 0)}, engine_edition=5),
            "cached plans",
            "info",
            ["GRANT VIEW DATABASE PERFORMANCE STATE TO [u]"],
        ),
        (diagnostics._event_session, Probe({"dm_xe_sessions": 1}), "", "ok", ["system_health"]),
        (diagnostics._event_session, Probe({"dm_xe_sessions": 0}), "", "warning", ["STATE = START"]),
        (
            diagnostics._event_session,
            Probe({"dm_xe_database_sessions": 0}, engine_edition=5),
            "",
            "info",
            ["--create-session"],
        ),
        (diagnostics._query_store, Probe({STATE: ("OFF", 0)}), "", "info", ["QUERY_STORE = ON"]),
        (
            diagnostics._query_store,
            Probe({STATE: ("OFF", 1), "query_store_options": "READ_ONLY"}),
            "",
            "warning",
            ["OPERATION_MODE = READ_WRITE"],
        ),
        (
            diagnostics._query_store,
            Probe({STATE: ("OFF", 1), "query_store_options": "READ_WRITE"}),
            "",
            "ok",
            ["read_write"],
        ),
        (diagnostics._last_query_plan_stats, Probe({"LAST_QUERY_PLAN_STATS": 1}), "", "ok", ["kept"]),
        (
            diagnostics._last_query_plan_stats,
            Probe({"LAST_QUERY_PLAN_STATS": 0}),
            "",
            "info",
            ["SET LAST_QUERY_PLAN_STATS = ON"],
        ),
        (diagnostics._latency, Probe(), "", "ok", ["median"]),
        (diagnostics._mars, Probe(), "", "ok", ["off"]),
        (diagnostics._mars, Probe(options={"mars": True}), "", "ok", ["on"]),
        (diagnostics._connections, Probe(), "", "info", ["CONN_MAX_AGE is 0"]),
        (diagnostics._connections, Probe(options={"pool": True}), "", "ok", ["max_size=10"]),
        (diagnostics._connections, Probe(settings={"CONN_MAX_AGE": 60}), "", "info", ["CONN_HEALTH_CHECKS"]),
        (
            diagnostics._connections,
            Probe(settings={"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}),
            "",
            "ok",
            ["for ever"],
        ),
        (
            diagnostics._event_session,
            Probe({"dm_xe_sessions": DENIED}),
            "",
            "info",
            ["cannot be asked", "300"],
        ),
    ],
)
def test_each_fact_is_judged(
    check: Callable[[Any], Iterator[Check]], probe: Probe, name: str, status: str, words: list[str]
) -> None:
    result = judged(check, probe, name)
    assert result.status == status
    for word in words:
        assert word in f"{result.value} {result.advice}"
    if result.status is Status.OK:
        assert not result.advice


@pytest.mark.parametrize(
    ("ahead", "status"), [(0, "ok"), (900, "ok"), (-900, "ok"), (3600, "warning"), (-3600, "warning")]
)
def test_clocks_are_compared(ahead: int, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics, "CLOCK_TOLERANCE_S", 1800.0)  # more than a machine stalls
    now = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=ahead)
    result = judged(diagnostics._clock, Probe({"SYSUTCDATETIME": now}))
    assert result.status == status


def test_a_slow_answer_is_no_wrong_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = datetime(2026, 5, 4, tzinfo=UTC)
    clock = iter([asked, asked + timedelta(seconds=10)])
    monkeypatch.setattr(diagnostics, "datetime", SimpleNamespace(now=lambda zone: next(clock)))
    now = (asked + timedelta(seconds=9.5)).replace(tzinfo=None)
    assert judged(diagnostics._clock, Probe({"SYSUTCDATETIME": now})).status is Status.OK


@pytest.mark.parametrize(
    ("zone", "known", "status"),
    [
        ("Europe/Berlin", 1, "ok"),
        ("UTC", 1, "ok"),
        ("Europe/Berlin", 0, "warning"),
        ("Antarctica/Troll", 1, "warning"),
    ],
)
def test_the_time_zone_must_be_known_on_both_sides(zone: str, known: int, status: str) -> None:
    with override_settings(TIME_ZONE=zone):
        result = judged(diagnostics._time_zones, Probe({"time_zone_info": known}))
    assert result.status == status
    assert zone in result.value


def test_slow_round_trips_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics, "SLOW_ROUND_TRIP_MS", 0.0)
    assert judged(diagnostics._latency, Probe()).status is Status.WARNING


@pytest.mark.parametrize(
    ("exc", "words"),
    [
        (
            pyodbc.InterfaceError(
                "28000", "[28000] Login failed for user 'sa'. (18456) (SQLDriverConnect)\nCheck USER"
            ),
            ["login", "Login failed"],
        ),
        (ValueError("odd"), ["odd"]),
    ],
)
def test_a_connection_that_fails_is_a_result(exc: Exception, words: list[str]) -> None:
    result = diagnostics._connect_failure(exc)
    assert result.status is Status.ERROR
    for word in words:
        assert word in result.value
