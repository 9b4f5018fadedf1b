"""The manual says what the code does: every rule, every attribute, and examples that run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mssql.instrumentation import plan_events
from mssql.instrumentation.conf import PlansConfig
from mssql.showplan.findings import RULES

from .plans import FOLDER

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
PLANS = (DOCS / "plans.md").read_text(encoding="utf-8")
PANEL = (DOCS / "panel.md").read_text(encoding="utf-8")


def test_every_rule_is_in_the_manual() -> None:
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", PLANS, re.MULTILINE))
    assert {name: rows.get(name) for name in RULES} == {name: rule.summary for name, rule in RULES.items()}


def test_every_attribute_is_in_the_manual() -> None:
    names = {
        value for value in vars(plan_events).values() if isinstance(value, str) and value.startswith("mssql.")
    }
    names -= {plan_events.__name__, plan_events.__package__}
    assert len(names) >= 9
    assert [name for name in names if f"`{name}`" not in PLANS] == []


def test_every_setting_is_in_the_manual_with_its_default() -> None:
    defaults = PlansConfig()
    for name in defaults.__slots__:
        value = getattr(defaults, name)
        shown = (
            f'"{value}"'
            if isinstance(value, str)
            else f"{value:g}"
            if isinstance(value, float)
            else str(value)
        )
        assert f"| `{name}` | `{shown}` |" in PLANS, name


def test_the_example_of_the_library_runs(tmp_path: Path) -> None:
    (code,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", PLANS, re.DOTALL)
        if "from mssql.showplan" in block
    ]
    shutil.copy(FOLDER / "sqlsamples_Compare1_Plan1_Slow.sqlplan", tmp_path / "before.sqlplan")
    shutil.copy(FOLDER / "sqlsamples_Compare1_Plan2_Fast.sqlplan", tmp_path / "after.sqlplan")
    root = str(DOCS.parent)
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines()[-1] == "False"
    assert (tmp_path / "plan.svg").exists()


@pytest.mark.parametrize("page", ["plans.md", "panel.md"])
def test_every_picture_and_link_is_there(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("https://"):
            assert (DOCS / target).exists(), target


def test_the_panels_setting_is_the_one_in_the_manual() -> None:
    assert '"MSSQL_ACTUAL_PLANS"' in PANEL
    assert '"MSSQL_ACTUAL_PLANS"' in (DOCS.parent / "mssql" / "debug_panel" / "panel.py").read_text(
        encoding="utf-8"
    )
