"""What manage.py check says of settings and installations that cannot work."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import pytest
from django.core import checks
from django.db import connections, models
from django.test.utils import isolate_apps

from mssql import checks as mssql_checks


@pytest.fixture
def alias(settings: Any) -> Any:
    """Adds an alias with these settings, unconnected."""
    added = []

    def add(**changes: Any) -> list[checks.CheckMessage]:
        database = (
            connections.databases["default"] | {"NAME": "elsewhere", "HOST": "db", "PORT": ""} | changes
        )
        connections.databases["checked"] = settings.DATABASES["checked"] = database
        added.append(database)
        return [item for item in mssql_checks.check_settings() if "checked" in item.msg]

    yield add
    if added:
        del connections.databases["checked"]
        settings.DATABASES.pop("checked", None)
        if hasattr(connections._connections, "checked"):
            del connections["checked"]


def test_sound_settings_are_not_mentioned(alias: Any) -> None:
    assert alias(OPTIONS={"instrumentation": True, "retry": {"connect": False}}) == []


@pytest.mark.parametrize("engine", sorted(mssql_checks.ENGINES))
def test_an_older_engine_name_is_explained(alias: Any, engine: str) -> None:
    (error,) = alias(ENGINE=engine)
    assert (error.id, error.level) == ("mssql.E003", checks.ERROR)
    assert engine in error.msg
    assert error.hint == "Set ENGINE to 'mssql'."


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"OPTIONS": {"isolation_levl": "SNAPSHOT"}}, "isolation_levl"),
        ({"OPTIONS": {"lock_timeout": "soon"}}, "'soon'"),
        ({"OPTIONS": {"instrumentation": {"plans": {"when": "maybe"}}}}, "maybe"),
        ({"OPTIONS": {"retry": {"connect": {"attempts": "many"}}}}, "many"),
        ({"HOST": "db,0"}, "is not a port number"),
    ],
)
def test_a_bad_setting_is_an_error(alias: Any, changes: dict[str, Any], said: str) -> None:
    # These come from conf.py and retry.py, which do not know the alias.
    mssql_alias = alias(**changes)
    messages = mssql_alias or [item for item in mssql_checks.check_settings() if item.id == "mssql.E004"]
    assert [item.id for item in messages] == ["mssql.E004"]
    assert said in messages[0].msg


def test_an_option_that_is_no_longer_needed_is_a_remark(alias: Any) -> None:
    (info,) = alias(OPTIONS={"return_rows_bulk_insert": True})
    assert (info.id, info.level) == ("mssql.I001", checks.INFO)


def test_two_packages_of_one_name_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert mssql_checks.check_installation() == []
    monkeypatch.setattr(metadata, "version", {"mssql-django": "2.0.0"}.__getitem__)
    (error,) = mssql_checks.check_installation()
    assert error.id == "mssql.E002"
    assert "mssql-django 2.0.0" in error.msg
    assert "pip uninstall mssql-django" in str(error.hint)


@isolate_apps("tests.backend")
def test_a_key_on_unlimited_text_is_an_error() -> None:
    class Page(models.Model):  # noqa: DJ008
        slug = models.TextField(unique=True)
        body = models.TextField()
        blob = models.BinaryField(db_index=True)
        name = models.CharField(max_length=5000, unique=True)

        class Meta:
            app_label = "backend"

    found = Page.check(databases=["default"])
    assert [(message.obj.name, message.id) for message in found] == [
        ("slug", "mssql.E001"),
        ("blob", "fields.W162"),  # Its index is left out.
        ("name", "mssql.E001"),
    ]
    assert "nvarchar(max)" in found[0].msg
