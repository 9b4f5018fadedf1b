"""sqlserver_standin/README.md's table of mssql-django's run: every app, and nothing failed."""

from __future__ import annotations

from pathlib import Path

from tests.django_suite.peer import APPS
from tests.django_suite.peer_runner import exclusions

README = (Path(__file__).parent.parent.parent / "sqlserver_standin" / "README.md").read_text(encoding="utf-8")


def table() -> dict[str, list[int]]:
    """The rows of the table: app -> tests, passed, skipped by Django, on the list, failed."""
    section = README.partition("## mssql-django on it")[2].partition("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return {app.strip("*"): [int(number) for number in numbers] for app, *numbers in lines[1:]}


def test_the_table_has_every_app_that_is_run() -> None:
    assert list(table()) == [*APPS, "all"]


def test_the_numbers_add_up_and_nothing_failed() -> None:
    rows = table()
    for tests, *outcomes in rows.values():
        assert tests == sum(outcomes)
    whole = rows.pop("all")
    assert whole == [sum(column) for column in zip(*rows.values(), strict=True)]
    assert whole[-1] == 0


def test_no_more_tests_were_left_out_than_the_list_names() -> None:
    listed = [name.partition(".")[0] for name in exclusions()]
    rows = table()
    # Some names are of tests that Django 5.2 no longer has.
    assert all(rows[app][3] <= listed.count(app) for app in APPS)
