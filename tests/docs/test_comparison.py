"""docs/comparison.md has a row for each feature that was promised; its rows and those of docs/troubleshooting.md lead
to tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "comparison.md"
TROUBLES = PAGE.with_name("troubleshooting.md")
PARTS = re.split(r"^## ", PAGE.read_text("utf-8"), flags=re.MULTILINE)[1:]
LINK = re.compile(r"\[`([\w:]+)`\]\((\.\./tests/[\w/.]+)\)")

# What the issue "A complete and correct Django backend" names, by the heading of its table.
FEATURES = {
    "What mssql-django has": """
        each OPTIONS key under its own name | TOKEN | Trusted_Connection | TEST settings | DATABASE_CONNECTION_POOLING
        | return_rows_bulk_insert | inspectdb with a schema | dbshell | python_driver | time zones of DateTimeField
    """,
    "What mssql-django gets wrong": """
        GROUP BY with parameters | daylight saving time | large IN | returned keys | Azure editions
        | nothing shared between aliases | `]` in names | no OFFSET 0 | lookups that ignore case
        | no table scan while compiling | rollback after a doomed transaction
    """,
    "What mssql-django lacks": """
        update_conflicts | ignore_conflicts | select_for_update(of=…) | skip_locked | nowait
        | sliced subqueries in IN | sliced compound arms | boolean expressions as values | subqueries in GROUP BY
        | pyformat parameters | callproc | QuerySet.explain() | JSONObject and JSONArray
        | JSON contains and contained_by | JSON primitives | hash functions | regex | native uniqueidentifier
        | native json | expression indexes | index rename | AutoField alterations | primary-key alterations
        | sequence reset | collations | bit aggregates | NthValue | on_delete in the database
        | composite primary keys | generated fields | db_default | comments in any schema
        | models in schemas other than dbo | parallel tests | table hints | query hints | application name
        | read intent | encryption | lock timeout | deadlock priority | session context | a token callable
        | `OPTIONS["pool"]` | MARS | chunked reads
    """,
}


def _rows(heading: str) -> dict[str, str]:
    """The cell with the tests, by feature."""
    (part,) = [part for part in PARTS if part.startswith(f"{heading}\n")]
    rows = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| ")]
    return {feature: tests for feature, _peer, _ours, tests in rows[1:]}


def _names(path: Path) -> set[str]:
    """Test functions, classes, and ``class::method`` of a file."""
    names = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}::{item.name}" for item in node.body if isinstance(item, ast.FunctionDef)}
    return {name for name in names if name.startswith(("test_", "Test"))}


@pytest.mark.parametrize("heading", FEATURES)
def test_each_feature_has_its_row(heading: str) -> None:
    promised = {feature.strip() for feature in FEATURES[heading].split(" | ")}
    assert promised <= _rows(heading).keys()


@pytest.mark.parametrize(
    ("feature", "tests"), [item for heading in FEATURES for item in _rows(heading).items()]
)
def test_each_row_leads_to_a_test(feature: str, tests: str) -> None:
    _follow(feature, tests)


@pytest.mark.parametrize(
    "row", [line for line in TROUBLES.read_text("utf-8").splitlines() if line.startswith("| `")]
)
def test_each_trouble_leads_to_a_test(row: str) -> None:
    message, _advice, tests = row.strip("| ").split(" | ")
    _follow(message, tests)


def _follow(row: str, tests: str) -> None:
    links = LINK.findall(tests)
    assert links, f"{row} has no test"
    assert LINK.sub("", tests).replace(",", "").strip() == ""
    for name, path in links:
        file = (PAGE.parent / path).resolve()
        assert file.is_file(), path
        assert name in _names(file), f"{name} is not in {path}"
