"""python -m mssql.showplan on real files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mssql.showplan.__main__ import main

from .plans import FILES, FOLDER


@pytest.mark.parametrize("name", FILES)
def test_prints_tree_and_findings(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(FOLDER / name)]) == 0
    output = capsys.readouterr().out
    assert output.startswith("Showplan 1.")
    assert "finding(s)" in output


def test_draws_redacts_and_compares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (
        FOLDER / "sqlsamples_Compare1_Plan1_Slow.sqlplan",
        FOLDER / "sqlsamples_Compare1_Plan2_Fast.sqlplan",
    )
    svg, redacted = tmp_path / "plan.svg", tmp_path / "redacted.sqlplan"
    assert main([str(first), "--svg", str(svg), "--redact", str(redacted), "--compare", str(second)]) == 0
    assert svg.read_text(encoding="utf-8").startswith("<svg ")
    assert "Estimated cost" in capsys.readouterr().out
    assert main([str(redacted), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["statements"][0]["plans"][0]["operators"]) == 34
    assert {"rule", "severity", "title", "detail", "advice"} <= document["findings"][0].keys()


def test_runs_as_a_module_and_reads_standard_input() -> None:
    data = (FOLDER / "perfstudio_key_lookup_plan.sqlplan").read_bytes()
    result = subprocess.run(
        [sys.executable, "-m", "mssql.showplan", "-"], input=data, capture_output=True, check=True
    )
    assert "Key Lookup" in result.stdout.decode()


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_ends_quietly_when_its_reader_has_seen_enough(arguments: tuple[str, ...]) -> None:
    """As in ``python -m mssql.showplan file | head -1``; here the reader is gone before the first line."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = subprocess.run(
            [sys.executable, "-m", "mssql.showplan", str(FOLDER / FILES[0]), *arguments],
            stdout=writer,
            stderr=subprocess.PIPE,
        )
    finally:
        os.close(writer)
    assert result.stderr == b""
    assert result.returncode == 1


def test_a_poor_terminal_gets_question_marks() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "mssql.showplan", str(FOLDER / FILES[0]), "--compare", str(FOLDER / FILES[1])],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
    )
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"Compared with" in result.stdout


@pytest.mark.parametrize("option", ["--svg", "--redact", "--compare"])
def test_the_file_that_cannot_be_used_is_the_one_named(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "no" / "such" / "file"
    assert main([str(FOLDER / FILES[0]), option, str(missing)]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == f"python -m mssql.showplan: {missing}: No such file or directory\n"


@pytest.mark.parametrize("content", [None, b"no plan", b"<html/>"])
def test_what_is_no_plan_is_one_line(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file.sqlplan"
    if content is not None:
        path.write_bytes(content)
    assert main([str(path)]) == 1
    error = capsys.readouterr().err
    assert str(path) in error
    assert error.count("\n") == 1
