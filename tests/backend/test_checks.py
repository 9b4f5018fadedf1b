"""What manage.py check says of settings and installations that cannot work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from importlib import metadata
from typing import Any

import django
import pytest
from django.core import checks
from django.db import DatabaseError, connection, connections, models
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


def model(name: str, **fields: Any) -> Any:
    meta = type("Meta", (), {"app_label": "backend", "db_table": f"cascade_{name}"})
    return type(name, (models.Model,), {"__module__": __name__, "Meta": meta, **fields})


@pytest.mark.skipif(django.VERSION < (6, 1), reason="Database-level on_delete came with Django 6.1.")
@pytest.mark.django_db(transaction=True)
class TestCascades:
    """The check against the server's own verdict: error 1785, or none."""

    @pytest.fixture
    def isolated(self) -> Iterator[Any]:
        with isolate_apps("tests.backend") as registry:
            yield registry

    @pytest.mark.parametrize(
        ("keys", "refused"),
        [
            ({"B.a": "DB_CASCADE", "C.b": "DB_CASCADE"}, set()),
            ({"B.a": "DB_CASCADE", "C.a": "DB_CASCADE"}, set()),
            ({"B.a": "DB_SET_NULL", "C.b": "DB_CASCADE", "C.a": "DB_CASCADE"}, set()),
            ({"B.a": "DB_CASCADE", "C.b": "DB_CASCADE", "C.a": "DB_CASCADE"}, {"C.a"}),
            ({"B.a": "DB_CASCADE", "C.b": "DB_SET_NULL", "C.a": "DB_CASCADE"}, {"C.a"}),
            ({"B.a": "DB_CASCADE", "C.b": "DB_CASCADE", "C.a": "DO_NOTHING"}, set()),
            ({"B.a": "DB_CASCADE", "B.other": "DB_SET_NULL"}, {"B.other"}),
            ({"B.a": "DB_SET_DEFAULT", "C.b": "DB_CASCADE", "C.a": "DB_CASCADE"}, set()),
            ({"B.a": "DB_CASCADE", "B.other": "DB_SET_DEFAULT"}, {"B.other"}),
            ({"A.a": "DB_CASCADE"}, {"A.a"}),
            ({"A.a": "DB_SET_NULL"}, {"A.a"}),
        ],
    )
    def test_colliding_keys_are_found_before_the_server_does(
        self, keys: dict[str, str], refused: set[str], isolated: Any
    ) -> None:
        for name in "ABC":
            fields = {
                key.split(".")[1]: models.ForeignKey(
                    "self" if key == "A.a" else "B" if key.endswith("b") else "A",
                    getattr(models, on_delete),
                    null=True,
                    related_name="+",
                )
                for key, on_delete in keys.items()
                if key.startswith(name)
            }
            model(name, **fields)
        found = mssql_checks.check_cascades(isolated.get_app_configs())
        assert {f"{error.obj.model.__name__}.{error.obj.name}" for error in found} == refused
        assert {error.id for error in found} <= {"mssql.E005"}
        expected = pytest.raises(DatabaseError, match="1785") if refused else nullcontext()
        with expected, connection.schema_editor() as editor:
            for name in "ABC":
                editor.create_model(isolated.get_model("backend", name))
            # In the block: where these fail in its __exit__, Django leaves the transaction open.
            while editor.deferred_sql:
                editor.execute(editor.deferred_sql.pop(0))
        if not refused:
            with connection.schema_editor() as editor:
                for name in "CBA":
                    editor.delete_model(isolated.get_model("backend", name))

    def test_the_message_names_both_ways(self, isolated: Any) -> None:
        team = model("Team")
        player = model("Player", team=models.ForeignKey(team, models.DB_CASCADE))
        model(
            "Goal",
            player=models.ForeignKey(player, models.DB_CASCADE),
            team=models.ForeignKey(team, models.DB_CASCADE),
        )
        (error,) = mssql_checks.check_cascades(isolated.get_app_configs())
        assert "deleting a backend.Team would reach backend.Goal twice" in error.msg
        assert "by backend.Player.team and backend.Goal.player and by backend.Goal.team" in error.msg
        assert mssql_checks.check_cascades(isolated.get_app_configs(), databases=[]) == []

    def test_the_server_deletes_what_depends(self, isolated: Any) -> None:
        box_model = model("Box")
        item_model = model("Item", box=models.ForeignKey(box_model, models.DB_CASCADE))
        label_model = model("Label", box=models.ForeignKey(box_model, models.DB_SET_NULL, null=True))
        gift_model = model(
            "Gift", box=models.ForeignKey(box_model, models.DB_SET_DEFAULT, db_default=models.Value(1))
        )
        with connection.schema_editor() as editor:
            for each in (box_model, item_model, label_model, gift_model):
                editor.create_model(each)
        try:
            default, box = box_model.objects.create(), box_model.objects.create()
            item_model.objects.create(box=box)
            label = label_model.objects.create(box=box)
            gift = gift_model.objects.create(box=box)
            assert (default.pk, gift.box_id) == (1, box.pk)
            box_model.objects.filter(pk=box.pk).delete()
            assert not item_model.objects.exists()
            label.refresh_from_db()
            assert label.box_id is None
            gift.refresh_from_db()
            assert gift.box_id == default.pk
        finally:
            with connection.schema_editor() as editor:
                for each in (gift_model, label_model, item_model, box_model):
                    editor.delete_model(each)
