"""docs/settings.md names every key that the code takes, and none that it does not."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from mssql.connection_string import Options
from mssql.instrumentation.conf import InstrumentationConfig

MANUAL = (Path(__file__).resolve().parents[2] / "docs" / "settings.md").read_text("utf-8")


def _keys(part: str) -> set[str]:
    """The names in the first column of a part's table."""
    rows = re.findall(r"^\| (`[^|]*) \|", part, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def test_the_manual_lists_each_option() -> None:
    options, instrumentation = MANUAL.split("## OPTIONS: instrumentation")
    dbshell = options.split("## OPTIONS: dbshell")[1]
    listed = _keys(options.split("## OPTIONS: connecting")[1]) | set(re.findall(r"`(\w+)`", dbshell)) - {
        "dbshell"
    }
    assert listed == {field.name for field in fields(Options)} - {"instrumentation"}
    assert _keys(instrumentation) == {field.name for field in fields(InstrumentationConfig)} - {"enabled"}
