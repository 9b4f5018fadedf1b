"""manage.py mssql_doctor on a real connection: a table for people, JSON for machines, an exit code for CI."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core import checks
from django.core.management import CommandError, call_command
from django.db import connections

from mssql import diagnostics
from mssql.management.commands.mssql_doctor import Command

if TYPE_CHECKING:
    from pytest_django import DjangoDbBlocker

    from tests.conftest import Server

NAMES = [
    "driver",
    "server",
    "encryption",
    "compatibility level",
    "read committed snapshot",
    "snapshot isolation",
    "collation",
    "time zones",
    "estimated and actual plans",
    "cached plans",
    "deadlock graphs",
    "event session",
    "query store",
    "last actual plans",
    "clock",
    "round trip",
    "MARS",
    "pool",
]
ALIAS = "patient"


@pytest.fixture
def alias(server: Server, django_db_blocker: DjangoDbBlocker) -> Any:
    settings = {
        "ENGINE": "mssql",
        "NAME": "master",
        "HOST": server.host,
        "PORT": server.port,
        "USER": server.user,
        "PASSWORD": server.password,
        "OPTIONS": {"trust_server_certificate": True, "retry": False},
    }
    connections.settings[ALIAS] = connections.configure_settings({"default": settings})["default"]
    with django_db_blocker.unblock():
        yield connections.settings[ALIAS]
    del connections.settings[ALIAS]


def run(**options: Any) -> str:
    out = StringIO()
    call_command(Command(), stdout=out, no_color=True, database=[ALIAS], **options)
    return out.getvalue()


def test_every_fact_is_asked_and_answered(alias: dict[str, Any]) -> None:
    found = json.loads(run(json=True))[ALIAS]
    assert [check["name"] for check in found] == NAMES
    for check in found:
        assert "cannot be asked" not in check["value"], check
        assert check["status"] != "error", check


def test_people_get_a_table(alias: dict[str, Any]) -> None:
    text = run()
    assert f"Database alias '{ALIAS}'" in text
    for name in NAMES:
        assert f"  {name} " in text
    assert max(map(len, text.splitlines())) <= 110


def test_the_exit_code_is_for_ci(alias: dict[str, Any]) -> None:
    alias["PASSWORD"] = "wrong"
    out = StringIO()
    with pytest.raises(SystemExit) as caught:
        call_command(Command(), stdout=out, no_color=True, database=[ALIAS])
    assert caught.value.code == 1
    assert "Login failed for user" in out.getvalue()
    assert "Check USER and PASSWORD" in out.getvalue()
    assert "wrong" not in out.getvalue()


def test_bad_settings_are_a_result_too(alias: dict[str, Any]) -> None:
    alias["OPTIONS"]["encript"] = True
    (check,) = diagnostics.diagnose(ALIAS)
    assert check.status is diagnostics.Status.ERROR
    assert "encript" in check.value


def test_warnings_fail_where_ci_wants_it(alias: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics, "SLOW_ROUND_TRIP_MS", 0.0)
    run()
    with pytest.raises(SystemExit):
        run(fail_on="warning")


def test_an_unknown_alias_is_refused() -> None:
    with pytest.raises(CommandError, match="'nowhere' is no alias"):
        call_command(Command(), database=["nowhere"])


def test_what_changes_an_application_is_a_system_check(
    alias: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = connections.create_connection(ALIAS)
    assert diagnostics.system_checks(connection) == []

    def bad(probe: Any) -> Any:
        yield diagnostics.Check("read committed snapshot", diagnostics.Status.WARNING, "off", "Turn it on.")

    monkeypatch.setattr(diagnostics, "_row_versioning", bad)
    (message,) = diagnostics.system_checks(connection)
    assert isinstance(message, checks.Warning)
    assert (message.id, message.hint) == ("mssql.W002", "Turn it on.")
    connection.close()


def test_the_manual_lists_every_check() -> None:
    manual = (Path(__file__).resolve().parents[2] / "docs" / "doctor.md").read_text("utf-8")
    rows = [line.split("|")[1].strip() for line in manual.splitlines() if line.startswith("| ")]
    assert [row for row in rows if row in NAMES] == NAMES
