# ruff: noqa: DJ001, DJ008 (models that live for one test)
"""Schema editor: what ALTER TABLE refuses is done all the same, and nothing beside the column is lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, models
from django.db.models.functions import Lower, Upper
from django.test.utils import CaptureQueriesContext, isolate_apps

from mssql.schema import DatabaseSchemaEditor

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _own_models() -> Iterator[None]:
    with isolate_apps("tests.backend"):
        yield
    apps.clear_cache()


@pytest.fixture
def pony() -> Any:
    """A model with one of each thing that stands in the way of ALTER COLUMN."""

    class Pony(models.Model):
        name = models.CharField(max_length=20, db_index=True)
        tag = models.CharField(max_length=20, null=True, unique=True)
        weight = models.IntegerField(default=1)
        height = models.PositiveIntegerField(default=1)
        double = models.GeneratedField(
            expression=models.F("weight") * 2, output_field=models.IntegerField(), db_persist=False
        )

        class Meta:
            app_label = "backend"
            constraints = [
                models.CheckConstraint(condition=models.Q(weight__gt=0), name="pony_weight"),
                models.UniqueConstraint(fields=["name", "weight"], name="pony_unique"),
            ]
            indexes = [
                models.Index(
                    fields=["weight"], name="pony_heavy", condition=models.Q(weight__gt=100), include=["tag"]
                )
            ]

    with connection.schema_editor() as editor:
        editor.create_model(Pony)
    return Pony


def alter(model: Any, name: str, new: models.Field) -> None:
    new.set_attributes_from_name(new.name or name)
    new.model = model
    with connection.schema_editor() as editor:
        editor.alter_field(model, model._meta.get_field(name), new, strict=True)


def constraints(table: str) -> dict[str, Any]:
    with connection.cursor() as cursor:
        return connection.introspection.get_constraints(cursor, table)


def columns(table: str) -> dict[str, Any]:
    with connection.cursor() as cursor:
        return {
            column.name: column for column in connection.introspection.get_table_description(cursor, table)
        }


def run(sql: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


class TestAlterColumn:
    def test_what_depends_on_it_is_there_afterwards(self, pony: Any) -> None:
        before = constraints("backend_pony")
        pony.objects.create(name="a", weight=3)
        alter(pony, "weight", models.BigIntegerField(default=1))
        assert constraints("backend_pony").keys() == before.keys()
        assert columns("backend_pony")["weight"].type_code == "bigint"
        assert pony.objects.get().double == 6
        with pytest.raises(IntegrityError):
            pony.objects.create(name="b", weight=-1)

    def test_the_catalog_may_write_a_name_in_other_letters(self) -> None:
        class Bridle(models.Model):
            size = models.IntegerField(unique=True, db_index=True)

            class Meta:
                app_label = "backend"

        run(
            "CREATE TABLE [backend_bridle] ([ID] bigint IDENTITY PRIMARY KEY, "
            "[Size] int NOT NULL UNIQUE DEFAULT 3 CHECK ([Size] > 0))"
        )
        alter(Bridle, "size", models.BigIntegerField(unique=True))
        assert columns("backend_bridle")["Size"].type_code == "bigint"
        assert columns("backend_bridle")["Size"].default == "3"

    def test_more_room_needs_one_statement(self, pony: Any) -> None:
        with CaptureQueriesContext(connection) as queries:
            alter(pony, "name", models.CharField(max_length=40, db_index=True))
        changes = [query["sql"] for query in queries if query["sql"].startswith(("ALTER", "CREATE", "DROP"))]
        assert changes == ["ALTER TABLE [backend_pony] ALTER COLUMN [name] nvarchar(40) NOT NULL"]

    def test_a_rename_reaches_checks_filters_and_computed_columns(self, pony: Any) -> None:
        new = models.IntegerField(default=1, db_column="mass")
        alter(pony, "weight", new)
        assert "mass" in columns("backend_pony")
        found = constraints("backend_pony")
        assert "[mass]" in found["pony_weight"]["definition"]
        assert "[mass]" in found["pony_heavy"]["definition"]

    def test_null_becomes_not_null(self, pony: Any) -> None:
        pony.objects.create(name="a", tag=None)
        alter(pony, "tag", models.CharField(max_length=20, unique=True, default="none"))
        assert run("SELECT [tag] FROM [backend_pony]") == [("none",)]
        assert not columns("backend_pony")["tag"].null_ok

    def test_removing_a_column_takes_along_what_depends_on_it(self, pony: Any) -> None:
        with connection.schema_editor() as editor:
            editor.remove_field(pony, pony._meta.get_field("height"))
            editor.remove_field(pony, pony._meta.get_field("double"))
        assert not {"height", "double"} & columns("backend_pony").keys()


class TestUnique:
    def test_missing_values_are_all_different(self, pony: Any) -> None:
        pony.objects.create(name="a", tag=None)
        pony.objects.create(name="b", tag=None)
        pony.objects.create(name="c", tag="x")
        with pytest.raises(IntegrityError):
            pony.objects.create(name="d", tag="x")

    def test_so_they_are_when_the_column_becomes_nullable_later(self) -> None:
        class Later(models.Model):
            code = models.CharField(max_length=5, unique=True)

            class Meta:
                app_label = "backend"

        with connection.schema_editor() as editor:
            editor.create_model(Later)
        alter(Later, "code", models.CharField(max_length=5, unique=True, null=True))
        run("INSERT INTO [backend_later] ([code]) VALUES (NULL), (NULL), (N'x')")
        with pytest.raises(IntegrityError):
            run("INSERT INTO [backend_later] ([code]) VALUES (N'x')")


class TestIdentity:
    def test_an_integer_key_becomes_an_autofield_and_keeps_its_rows(self) -> None:
        class Rider(models.Model):
            key = models.IntegerField(primary_key=True)
            name = models.CharField(max_length=10, db_index=True)

            class Meta:
                app_label = "backend"

        class Saddle(models.Model):
            rider = models.ForeignKey(Rider, models.CASCADE)

            class Meta:
                app_label = "backend"

        with connection.schema_editor() as editor:
            editor.create_model(Rider)
            editor.create_model(Saddle)
        run("INSERT INTO [backend_rider] ([key], [name]) VALUES (5, N'a')")
        run("INSERT INTO [backend_saddle] ([rider_id]) VALUES (5)")
        names = constraints("backend_rider").keys()
        alter(Rider, "key", models.AutoField(primary_key=True))
        assert columns("backend_rider")["key"].is_autofield
        assert len(constraints("backend_rider")) == len(names)
        run("INSERT INTO [backend_rider] ([name]) VALUES (N'b')")
        assert run("SELECT [key] FROM [backend_rider] ORDER BY [key]") == [(5,), (6,)]
        with pytest.raises(IntegrityError):
            run("INSERT INTO [backend_saddle] ([rider_id]) VALUES (99)")

    def test_what_else_a_table_has_outlives_the_change(self) -> None:
        class Foal(models.Model):
            key = models.IntegerField(primary_key=True, db_comment="its number")
            weight = models.FloatField()
            half = models.GeneratedField(
                expression=models.F("weight") / 2, output_field=models.FloatField(), db_persist=True
            )

            class Meta:
                app_label = "backend"
                db_table_comment = "young horses"

        with connection.schema_editor() as editor:
            editor.create_model(Foal)
        run("ALTER TABLE [backend_foal] ADD [version] rowversion")
        run("INSERT INTO [backend_foal] ([key], [weight]) VALUES (5, 3)")
        for name in ("foal_off", "foal_on"):
            run(f"CREATE TRIGGER [{name}] ON [backend_foal] AFTER UPDATE AS BEGIN PRINT 'neigh' END")
        run("ALTER TABLE [backend_foal] DISABLE TRIGGER [foal_off]")
        alter(Foal, "key", models.AutoField(primary_key=True, db_comment="its number"))
        assert run("SELECT [key], [weight], [half] FROM [backend_foal]") == [(5, 3.0, 1.5)]
        assert columns("backend_foal")["key"].comment == "its number"
        assert run("SELECT is_persisted FROM sys.computed_columns WHERE name = 'half'") == [(True,)]
        assert columns("backend_foal")["version"].type_code == "timestamp"
        assert run("SELECT name, is_disabled FROM sys.triggers WHERE name LIKE 'foal%' ORDER BY name") == [
            ("foal_off", True),
            ("foal_on", False),
        ]
        with connection.cursor() as cursor:
            tables = {table.name: table.comment for table in connection.introspection.get_table_list(cursor)}
        assert tables["backend_foal"] == "young horses"

    def test_an_autofield_becomes_an_integer(self) -> None:
        class Stable(models.Model):
            name = models.CharField(max_length=10)

            class Meta:
                app_label = "backend"

        with connection.schema_editor() as editor:
            editor.create_model(Stable)
        run("INSERT INTO [backend_stable] ([name]) VALUES (N'a')")
        alter(Stable, "id", models.BigIntegerField(primary_key=True))
        assert not columns("backend_stable")["id"].is_autofield
        run("INSERT INTO [backend_stable] ([id], [name]) VALUES (70, N'b')")
        assert run("SELECT [id] FROM [backend_stable] ORDER BY [id]") == [(1,), (70,)]


class TestIndexes:
    def test_on_expressions(self, pony: Any) -> None:
        index = models.Index(Upper("name"), models.F("weight").desc(), name="pony_upper")
        with connection.schema_editor() as editor:
            editor.add_index(pony, index)
        assert constraints("backend_pony")["pony_upper"]["columns"] == [None, "weight"]
        assert not any(name.startswith("__") for name in columns("backend_pony"))
        renamed = models.Index(Upper("name"), models.F("weight").desc(), name="pony_caps")
        with connection.schema_editor() as editor:
            editor.rename_index(pony, index, renamed)
            editor.remove_index(pony, renamed)
        assert "pony_caps" not in constraints("backend_pony")
        assert run(
            "SELECT name FROM sys.computed_columns WHERE object_id = OBJECT_ID(N'[backend_pony]')"
        ) == [("double",)]

    def test_unique_on_an_expression(self, pony: Any) -> None:
        constraint = models.UniqueConstraint(Lower("name"), name="pony_lower")
        with connection.schema_editor() as editor:
            editor.add_constraint(pony, constraint)
        pony.objects.create(name="a", weight=1)
        with pytest.raises(IntegrityError):
            pony.objects.create(name="A", weight=2)

    def test_a_filtered_index_with_included_columns(self, pony: Any) -> None:
        assert constraints("backend_pony")["pony_heavy"]["columns"] == ["weight", "tag"]


class TestDefaults:
    def test_a_default_for_new_rows_only(self, pony: Any) -> None:
        pony.objects.create(name="a")
        field = models.IntegerField(default=9)
        field.set_attributes_from_name("added")
        field.model = pony
        with connection.schema_editor() as editor:
            editor.add_field(pony, field)
        assert run("SELECT [added] FROM [backend_pony]") == [(9,)]
        assert columns("backend_pony")["added"].default is None

    def test_a_default_that_another_tool_named(self, pony: Any) -> None:
        run("ALTER TABLE [backend_pony] ADD DEFAULT 7 FOR [height]")
        alter(pony, "height", models.PositiveIntegerField(db_default=8))
        assert columns("backend_pony")["height"].default == "8"
        with connection.schema_editor() as editor:
            editor.remove_field(pony, pony._meta.get_field("height"))


class TestTables:
    def test_moving_to_another_schema(self, pony: Any) -> None:
        run("IF SCHEMA_ID(N'stables') IS NULL EXEC (N'CREATE SCHEMA [stables]')")
        pony.objects.create(name="a")
        with connection.schema_editor() as editor:
            editor.alter_db_table(pony, "backend_pony", "[stables].[horse]")
        assert run("SELECT [name] FROM [stables].[horse]") == [("a",)]

    def test_comments_in_any_schema(self) -> None:
        class Told(models.Model):
            name = models.CharField(max_length=5, db_comment="it's a name")

            class Meta:
                app_label = "backend"
                db_table = "[remarks].[told]"
                db_table_comment = "a table"

        with connection.schema_editor() as editor:
            editor.create_model(Told)
        with connection.cursor() as cursor:
            tables = {table.name: table.comment for table in connection.introspection.get_table_list(cursor)}
        assert tables["[remarks].[told]"] == "a table"
        assert columns("[remarks].[told]")["name"].comment == "it's a name"
        alter(Told, "name", models.CharField(max_length=6, db_comment=None))
        assert columns("[remarks].[told]")["name"].comment is None

    def test_dropping_a_table_that_others_point_at(self) -> None:
        run("CREATE TABLE [goal] ([id] int PRIMARY KEY)")
        run("CREATE TABLE [arrow] ([id] int PRIMARY KEY, [goal] int REFERENCES [goal] ([id]))")

        class Goal(models.Model):
            class Meta:
                app_label = "backend"
                db_table = "goal"

        with connection.schema_editor() as editor:
            editor.delete_model(Goal)
        assert constraints("arrow").keys()
        assert not [each for each in constraints("arrow").values() if each["foreign_key"]]


def test_sqlmigrate_needs_no_table(pony: Any) -> None:
    class Unmade(models.Model):
        name = models.CharField(max_length=5, unique=True)

        class Meta:
            app_label = "backend"

    with DatabaseSchemaEditor(connection, collect_sql=True) as editor:
        editor.create_model(Unmade)
        new = models.TextField()
        new.set_attributes_from_name("name")
        new.model = Unmade
        editor.alter_field(Unmade, Unmade._meta.get_field("name"), new)
        editor.delete_model(Unmade)
    assert any("nvarchar(max)" in statement for statement in editor.collected_sql)


def test_a_foreign_key_can_point_at_a_nullable_unique_column() -> None:
    """SQL Server takes no filtered index as its target, so the column gets a key that takes one NULL."""

    class Car(models.Model):
        make = models.CharField(max_length=20, null=True, unique=True)

        class Meta:
            app_label = "backend"

    class Driver(models.Model):
        car = models.ForeignKey(Car, models.CASCADE, to_field="make", null=True)

        class Meta:
            app_label = "backend"

    with connection.schema_editor() as editor:
        editor.create_model(Car)
        editor.create_model(Driver)
    Car.objects.create(make="Volvo")
    assert Driver.objects.create(car_id="volvo").car.make == "Volvo"
    Car.objects.create(make=None)
    with pytest.raises(IntegrityError):
        Car.objects.create(make=None)
