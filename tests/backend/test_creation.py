"""Test databases: made, kept, cloned for --parallel, and dropped even while somebody is connected."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from mssql.base import DatabaseWrapper
from tests.backend.models import Author

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def alias() -> Iterator[DatabaseWrapper]:
    """A wrapper whose test database has a name of its own."""
    settings = copy.deepcopy(connection.settings_dict)
    settings["TEST"]["NAME"] = f"creation_{uuid.uuid4().hex[:8]}"
    wrapper = DatabaseWrapper(settings, "default")
    yield wrapper
    wrapper.close()
    wrapper.creation._destroy_test_db(settings["TEST"]["NAME"], 0)


def ask(sql: str, params: Any = None) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchone()[0]


def make(alias: DatabaseWrapper, **options: Any) -> str:
    return alias.creation._create_test_db(verbosity=0, autoclobber=True, **options)


def test_a_database_is_made_with_its_collation(alias: DatabaseWrapper) -> None:
    alias.settings_dict["TEST"]["COLLATION"] = "Latin1_General_100_CS_AS"
    name = make(alias)
    assert name == alias.settings_dict["TEST"]["NAME"]
    collation = ask("SELECT collation_name FROM sys.databases WHERE name = %s", [name])
    assert collation == "Latin1_General_100_CS_AS"
    assert not alias.copy().features.is_case_sensitive
    alias.settings_dict["NAME"] = name
    assert alias.features.is_case_sensitive


@pytest.mark.parametrize("keep", [True, False])
def test_a_database_that_exists_is_kept_or_made_anew(alias: DatabaseWrapper, keep: bool) -> None:
    alias.settings_dict["NAME"] = make(alias)
    with alias.cursor() as cursor:
        cursor.execute("CREATE TABLE mark (id int)")
    alias.close()
    make(alias, keepdb=keep)
    with alias.cursor() as cursor:
        cursor.execute("SELECT OBJECT_ID('mark')")
        assert (cursor.fetchone()[0] is not None) is keep


def test_a_clone_has_the_tables_and_none_of_the_rows() -> None:
    Author.objects.create(name="stays")
    source = connection.settings_dict["NAME"]
    connection.creation.clone_test_db(suffix="99", verbosity=0)
    try:
        assert connection.settings_dict["NAME"] == source
        assert Author.objects.count() == 1
        settings = copy.deepcopy(connection.settings_dict) | {"NAME": f"{source}_99"}
        clone = DatabaseWrapper(settings, "default")
        with clone.cursor() as cursor:
            cursor.execute(
                "SELECT (SELECT COUNT(*) FROM backend_author), (SELECT COUNT(*) FROM django_migrations)"
            )
            authors, migrations = cursor.fetchone()
        clone.close()
        assert authors == 0
        assert migrations > 0
    finally:
        connection.creation.destroy_test_db(suffix="99", verbosity=0)
    assert ask("SELECT DB_ID(%s)", [f"{source}_99"]) is None


def test_a_database_in_use_is_dropped(alias: DatabaseWrapper) -> None:
    name = alias.settings_dict["NAME"] = make(alias)
    other = alias.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT 1")
        alias.creation._destroy_test_db(name, 0)
    assert ask("SELECT DB_ID(%s)", [name]) is None
    alias.creation._destroy_test_db(name, 0)
