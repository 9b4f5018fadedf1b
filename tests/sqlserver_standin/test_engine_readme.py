"""The README's lists of the engine are what the engine does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import sqlserver_standin
from sqlserver_standin.engine.procedures import _SYSTEM
from sqlserver_standin.engine.system_functions import SYSTEM_FUNCTIONS, SYSTEM_VALUES
from tests.sqlserver_standin.engine_support import failure, new_database
from tests.sqlserver_standin.sql_support import Client

README = (Path(sqlserver_standin.__file__).parent / "README.md").read_text("utf-8")
SECTION = README.partition("\n## The engine\n")[2].partition("\n## ")[0]
REFUSED = SECTION.partition("```sql\n")[2].partition("```")[0].splitlines()


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with new_database() as client:
        client.events("CREATE TABLE t (a int)")
        yield client


def listed(heading: str) -> set[str]:
    """The names in backticks under a heading."""
    return set(re.findall(r"`([^`]+)`", SECTION.partition(f"\n{heading}\n")[2].partition("\n\n")[0]))


def test_system_procedures() -> None:
    assert listed("System procedures:") == set(_SYSTEM)


def test_metadata_and_session_functions() -> None:
    values = {name.removesuffix("()") for name in SYSTEM_VALUES if name.endswith("()") and name != "user()"}
    assert listed("Metadata and session functions:") == {
        name.upper() for name in values | set(SYSTEM_FUNCTIONS)
    }


def test_catalog_views_can_all_be_read(client: Client) -> None:
    names = {
        f"{schema}.{name}"
        for schema, name in client.session.link.rows(
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relkind = 'v' AND n.nspname IN ('sys', 'INFORMATION_SCHEMA')"
        )
    }
    assert listed("Catalog views:") == names
    for name in sorted(names):
        client.rows(f"SELECT TOP (1) * FROM {name}")


@pytest.mark.parametrize("sql", REFUSED)
def test_what_is_listed_as_refused_is_refused_by_name(client: Client, sql: str) -> None:
    error = failure(client, sql)
    assert (error.number, error.text.startswith("not supported by the stand-in: ")) == (40000, True)
