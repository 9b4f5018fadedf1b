"""docs/orm.md: the hints that it lists are known, and its code runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.db import migrations

from mssql.hints import with_hints
from tests.backend.models import Author, Book

MANUAL = (Path(__file__).resolve().parents[2] / "docs" / "orm.md").read_text("utf-8")
HINTS = MANUAL.split("## Hints")[1].split("\n## ")[0]
ROWS = dict(re.findall(r"^\| (locks|ways to the rows|the statement) \| (.*) \|$", HINTS, re.MULTILINE))


@pytest.mark.parametrize(
    ("kind", "text"), [(kind, text) for kind, row in ROWS.items() for text in re.findall(r"`([^`]+)`", row)]
)
def test_each_hint_is_known(kind: str, text: str) -> None:
    text = text.replace(", …", "")
    if kind == "the statement":
        with_hints(Author.objects.all(), query=text)
    else:
        with_hints(Author.objects.all(), table=text)


def test_the_dict_of_hints_is_taken() -> None:
    (written,) = re.findall(r"`table=(\{.*?\})`", HINTS)
    tables = eval(written, {"Order": Book, "Customer": Author})
    sql = str(with_hints(Book.objects.select_related("author"), table=tables).query)
    assert "[backend_book] WITH (NOLOCK)" in sql
    assert "[backend_author] WITH (NOLOCK, INDEX ([customer_name]))" in sql


def test_the_migration_is_one() -> None:
    (block,) = re.findall(r"```python\n(from django\.db import migrations.*?)```", MANUAL, re.DOTALL)
    namespace: dict[str, type[migrations.Migration]] = {}
    exec(block, namespace)
    (operation,) = namespace["Migration"]("0008", "shop").operations
    assert isinstance(operation, migrations.RunPython)
    assert operation.reversible
