"""manage.py mssql_deadlocks: from files and from the server, in words, JSON and drawings."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from lxml import etree

from mssql.management.commands.mssql_deadlocks import Command

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "deadlocks"
EVENT = str(FIXTURES / "msdocs_system_health_deadlock_1.xml")
HEAP = str(FIXTURES / "jokkitu_deadlock.xdl")


def run(**options: Any) -> str:
    out = StringIO()
    call_command(Command(), stdout=out, no_color=True, **options)
    return out.getvalue()


def test_a_file_is_told_in_words() -> None:
    text = run(file=[EVENT])
    assert "1. 2018-02-18 08:26:24 UTC" in text
    assert "Session 62 was chosen as the victim and rolled back." in text
    assert "session 58: UPDATE t1 SET c2 = c2+1 WHERE c1 = @p" in text.replace("c2+?", "c2+1")


def test_literals_and_names_are_hidden_unless_asked_for() -> None:
    assert "555-9999" not in run(file=[HEAP])
    assert "555-9999" in run(file=[HEAP], raw=True)
    assert "host1" not in run(file=[HEAP], json=True)
    assert "host1" in run(file=[HEAP], json=True, raw=True)


def test_json_is_for_machines() -> None:
    graphs = json.loads(run(file=[EVENT, HEAP], json=True))
    assert [len(graph["processes"]) for graph in graphs] == [2, 2]


def test_the_newest_come_last_and_are_kept() -> None:
    (graph,) = json.loads(run(file=[EVENT, HEAP], json=True, limit=1))
    assert datetime.fromisoformat(graph["occurred"]) == datetime(2018, 2, 18, 8, 26, 24, 698000, UTC)


def test_each_deadlock_is_drawn(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    text = run(file=[EVENT, HEAP], svg=str(folder))
    drawings = sorted(folder.iterdir())
    assert [path.name for path in drawings] == ["deadlock-1.svg", "deadlock-20180218T082624-2.svg"]
    for path in drawings:
        assert str(path) in text
        assert etree.fromstring(path.read_bytes()).tag == "{http://www.w3.org/2000/svg}svg"


@pytest.mark.parametrize("name", ["missing.xdl", __file__])
def test_a_file_that_cannot_be_read_is_named(name: str) -> None:
    with pytest.raises(CommandError, match=Path(name).name):
        run(file=[name])


@pytest.mark.parametrize("since", ["", "yesterday", "5", "5w", "-1h", "9999999h"])
def test_a_wrong_age_says_what_is_allowed(since: str) -> None:
    with pytest.raises(CommandError, match="90s, 15m, 24h or 7d"):
        run(since=since)


def test_an_age_before_all_time_is_refused() -> None:
    with pytest.raises(CommandError, match="further back"):
        run(since="999999d")


def test_an_alias_must_be_on_sql_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match="no alias 'nowhere'"):
        run(database="nowhere")
    monkeypatch.setitem(connections.settings, "lite", {"ENGINE": "django.db.backends.sqlite3"})
    with pytest.raises(CommandError, match="sqlite3"):
        run(database="lite")
