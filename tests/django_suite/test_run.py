"""The runner of Django's suite: which Python it takes, and what it keeps of a run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.django_suite import run
from tests.django_suite.report import _app_result


@pytest.mark.parametrize(
    ("test", "app"),
    [
        ("queries.tests.Queries1Tests.test_order", "queries"),
        ("setUpClass (queries.tests.Queries1Tests)", "queries"),
        ("", ""),
    ],
)
def test_the_app_of_a_test(test: str, app: str) -> None:
    assert run.app_of(test) == app


def outcomes(folder: Path, app: str) -> dict[str, str]:
    tests = json.loads((folder / f"{app}.json").read_text("utf-8"))["tests"]
    return {test: outcome["outcome"] for test, outcome in tests.items()}


def test_a_part_of_an_app_updates_it_and_all_of_it_replaces_it(tmp_path: Path) -> None:
    def keep(labels: list[str], **kinds: str) -> None:
        tests = {f"{app}.tests.A.test": {"outcome": kind, "detail": ""} for app, kind in kinds.items()}
        run.keep_outcomes(tmp_path, labels, {"django": "5.2", "tests": tests})

    keep(["basic", "lookup"], basic="passed", lookup="failed")
    run.keep_outcomes(
        tmp_path,
        ["lookup.tests.B"],
        {"django": "5.2", "tests": {"lookup.tests.B.test": {"outcome": "passed", "detail": ""}}},
    )
    assert outcomes(tmp_path, "basic") == {"basic.tests.A.test": "passed"}
    assert outcomes(tmp_path, "lookup") == {"lookup.tests.A.test": "failed", "lookup.tests.B.test": "passed"}
    keep(["lookup"], lookup="passed")
    assert outcomes(tmp_path, "lookup") == {"lookup.tests.A.test": "passed"}


def test_statements_are_kept_with_the_app_whose_test_sent_them_first(tmp_path: Path) -> None:
    run.keep_statements(
        tmp_path,
        ["basic"],
        [
            {"sql": "SELECT 1", "label": ""},
            {"sql": "SELECT 2", "label": "basic.tests.A.test"},
            {"sql": "SELECT 2", "label": "basic.tests.B.test"},
        ],
    )
    assert (tmp_path / "setup.jsonl").read_text("utf-8") == '{"sql": "SELECT 1", "label": ""}\n'
    assert (tmp_path / "basic.jsonl").read_text(
        "utf-8"
    ) == '{"sql": "SELECT 2", "label": "basic.tests.A.test"}\n'


def test_an_old_python_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(run.VERSIONS, "6.1", (3, 99))
    with pytest.raises(SystemExit, match=r"Django 6\.1 wants Python 3\.99 or newer, which .* is not"):
        run.environment("6.1", sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setattr(run, "NEWEST_PYTHON", (3, 99))
    with pytest.raises(SystemExit, match=r"Neither PATH nor .* has python3\.99 .* Install one"):
        run.environment("6.1")


def test_a_python_that_miscounts_is_not_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interpreter(folder: str, version: str) -> Path:
        path = tmp_path / folder / "python3.99"
        path.parent.mkdir(parents=True)
        path.write_text(f"#!/bin/sh\necho {version}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    monkeypatch.setitem(run.VERSIONS, "6.1", (3, 99))
    monkeypatch.setattr(run, "NEWEST_PYTHON", (3, 99))
    monkeypatch.setattr(run, "MISCOUNTING_PYTHON", (3, 99, 1))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    miscounting = interpreter("path", "3 99 1")
    with pytest.raises(SystemExit, match=r"Neither PATH nor"):
        run.environment("6.1")
    with pytest.raises(SystemExit, match=r"Python 3\.99\.1 .* takes skipped tests for others"):
        run.environment("6.1", str(miscounting))
    good = interpreter("versions/3.99.2/bin", "3 99 2")
    assert run._find_python((3, 99)) == good


def test_skips_by_flag_are_told_from_others() -> None:
    reasons = [
        "Database doesn't support feature(s): supports_frame_exclusion",
        "Database doesn't support any of the feature(s): supports_a, supports_b",
        "Database has feature(s) supports_over_clause",
        "PostgreSQL specific",
    ]
    tests = {f"x.{n}": {"outcome": "skipped", "detail": reason} for n, reason in enumerate(reasons)}
    result = _app_result(tests)
    assert result.counts == {"flag": 3, "other": 1}
    assert result.lacking == {"supports_frame_exclusion": 1, "supports_a, supports_b": 1}
    assert result.having == {"supports_over_clause": 1}
