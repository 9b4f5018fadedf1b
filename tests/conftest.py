"""The server that the tests run on: MSSQL_HOST where it is set, else one stand-in for the whole run.

The stand-in starts with the first test that asks for a server, so unit tests pay nothing for it.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.browser import chromium, chromium_unavailable

if TYPE_CHECKING:
    from selenium import webdriver

    from sqlserver_standin import StandIn


STATEMENTS_DIR = Path(__file__).resolve().parent.parent / "var" / "statements"
"""Where each run leaves the statements that were sent, for tests/tsql_check.py."""

NEVER_SKIPPED_IN_CI = {"browser", "tsql"}
"""Markers of tests that .ci/run installs everything for: a skip of one of them fails the run there."""

# How long an example takes is the machine's business. HYPOTHESIS_PROFILE=default looks at other examples each time.
settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@dataclass(frozen=True, slots=True)
class Server:
    """A reachable server; ``standin`` is None when it is a real SQL Server."""

    host: str
    port: str
    user: str
    password: str
    standin: StandIn | None


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server under test."""
    if os.environ.get("MSSQL_HOST"):
        yield Server(
            os.environ["MSSQL_HOST"],
            os.environ.get("MSSQL_PORT", "1433"),
            os.environ.get("MSSQL_USER", "sa"),
            os.environ["MSSQL_PASSWORD"],
            None,
        )
        return
    from sqlserver_standin import StandIn

    statements = STATEMENTS_DIR / f"{os.environ.get('PYTEST_XDIST_WORKER', 'main')}.jsonl"
    statements.parent.mkdir(parents=True, exist_ok=True)
    os.environ["SQLSERVER_STANDIN_STATEMENTS"] = str(statements)
    with StandIn() as standin:
        yield Server(standin.host, str(standin.port), standin.user, standin.password, standin)


@pytest.fixture(scope="session")
def standin(server: Server) -> StandIn:
    """The stand-in itself, for faults and counting; such tests are skipped on a real server."""
    if server.standin is None:
        pytest.skip("only the stand-in has a control API")
    return server.standin


@pytest.fixture
def browser() -> Iterator[webdriver.Chrome]:
    """A headless Chromium of the test's own."""
    reason = chromium_unavailable()
    if reason:
        pytest.skip(reason)
    with chromium() as driver:
        yield driver


@pytest.fixture(scope="session")
def django_db_modify_db_settings(server: Server, django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Point Django's aliases at the server under test, before pytest-django makes the test databases."""
    from django.db import connections

    for alias in connections:
        if connections[alias].vendor == "microsoft":
            connections[alias].settings_dict.update(
                HOST=server.host, PORT=server.port, USER=server.user, PASSWORD=server.password
            )


@pytest.fixture(autouse=True)
def _label_statements(request: pytest.FixtureRequest) -> None:
    """Tell the stand-in which test sends the next statements, so that the T-SQL gate can name it."""
    if {"standin", "db", "transactional_db", "django_db_setup"} & set(request.fixturenames):
        running = request.getfixturevalue("server")
        if isinstance(running, Server) and running.standin is not None:
            running.standin.control.label(request.node.nodeid)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run a failed browser test once more, named in the summary: Chromium itself may crash or stall."""
    if not config.pluginmanager.hasplugin("rerunfailures"):
        return
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where CI must have what the test wants."""
    report = yield
    wanted = NEVER_SKIPPED_IN_CI & {marker.name for marker in item.iter_markers()}
    if report.skipped and wanted and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, but CI must run tests marked {', '.join(wanted)}."
    return report
