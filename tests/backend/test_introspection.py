"""Introspection and inspectdb: what stands in the catalog, in any schema."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import ProgrammingError, connection
from django.test.utils import CaptureQueriesContext

from mssql.introspection import Column

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _tables() -> None:
    with connection.cursor() as cursor:
        cursor.execute("IF SCHEMA_ID(N'attic') IS NULL EXEC (N'CREATE SCHEMA [attic]')")
        cursor.execute(
            "CREATE TABLE [attic].[box] ([id] bigint IDENTITY (1, 1) PRIMARY KEY, [label] nvarchar(30) "
            "COLLATE Latin1_General_100_CS_AS NOT NULL DEFAULT N'none', "
            "[weight] decimal(8, 2) NULL CHECK ([weight] > 0), [packed] datetimeoffset NULL, "
            "[content] nvarchar(max) NULL CHECK (ISJSON([content]) = 1), "
            "[id]]2] uniqueidentifier NULL, [raw] varbinary(20) NULL, CONSTRAINT [box_label] UNIQUE ([label]))"
        )
        cursor.execute(
            "CREATE TABLE [attic].[thing] ([id] int PRIMARY KEY, [box] bigint NOT NULL "
            "CONSTRAINT [thing_box] REFERENCES [attic].[box] ([id]) ON DELETE CASCADE)"
        )
        cursor.execute("CREATE INDEX [thing_ix] ON [attic].[thing] ([box] DESC) WHERE [id] > 5")
        cursor.execute("EXEC (N'CREATE VIEW [attic].[seen] AS SELECT [id] FROM [attic].[box]')")


def inspectdb(*arguments: str) -> str:
    out = StringIO()
    call_command("inspectdb", *arguments, stdout=out)
    return out.getvalue()


def test_tables_of_other_schemas_go_by_both_names() -> None:
    with connection.cursor() as cursor:
        tables = {table.name: table.type for table in connection.introspection.get_table_list(cursor)}
    assert tables["backend_author"] == "t"
    assert tables["[attic].[box]"] == "t"
    assert tables["[attic].[seen]"] == "v"


def test_columns() -> None:
    with connection.cursor() as cursor:
        found = connection.introspection.get_table_description(cursor, "[attic].[box]")
    by_name = {column.name: column for column in found}
    assert [column.name for column in found] == ["id", "label", "weight", "packed", "content", "id]2", "raw"]
    assert by_name["id"].is_autofield
    assert (by_name["label"].internal_size, by_name["label"].collation) == (30, "Latin1_General_100_CS_AS")
    assert by_name["label"].default == "N'none'"
    assert (by_name["weight"].precision, by_name["weight"].scale, by_name["weight"].null_ok) == (8, 2, True)
    assert by_name["content"].is_json
    assert not by_name["raw"].is_json


def test_constraints() -> None:
    with connection.cursor() as cursor:
        box = connection.introspection.get_constraints(cursor, "[attic].[box]")
        thing = connection.introspection.get_constraints(cursor, "[attic].[thing]")
        relations = connection.introspection.get_relations(cursor, "[attic].[thing]")
    assert box["box_label"]["unique"]
    assert box["box_label"]["columns"] == ["label"]
    assert [each["columns"] for each in box.values() if each["check"]] in (
        [["weight"], ["content"]],
        [["content"], ["weight"]],
    )
    assert thing["thing_box"]["foreign_key"] == ("[attic].[box]", "id")
    assert thing["thing_ix"]["orders"] == ["DESC"]
    assert thing["thing_ix"]["index"]
    assert "[id]" in thing["thing_ix"]["definition"]
    assert relations["box"][:2] == ("id", "[attic].[box]")


def test_a_table_that_is_not_there() -> None:
    with connection.cursor() as cursor, pytest.raises(ProgrammingError):
        connection.introspection.get_table_description(cursor, "nowhere")


def test_few_queries_whatever_the_number_of_columns() -> None:
    with CaptureQueriesContext(connection) as queries, connection.cursor() as cursor:
        connection.introspection.get_table_description(cursor, "[attic].[box]")
        connection.introspection.get_constraints(cursor, "[attic].[box]")
        connection.introspection.get_relations(cursor, "[attic].[box]")
    assert len(queries) == 5


class TestInspectDB:
    def test_the_default_schema_alone(self) -> None:
        models = inspectdb()
        assert "class BackendAuthor(models.Model):" in models
        assert "attic" not in models

    def test_another_schema(self) -> None:
        models = inspectdb("--schema", "attic")
        assert "class AtticBox(models.Model):" in models
        assert "db_table = '[attic].[box]'" in models
        assert "backend_author" not in models
        assert "id = models.BigAutoField(primary_key=True)" in models
        assert "content = models.JSONField(blank=True, null=True)" in models
        assert "weight = models.DecimalField(max_digits=8, decimal_places=2, blank=True, null=True)" in models
        assert "db_column='id]2'" in models

    def test_the_schema_of_the_settings(self, settings: Any) -> None:
        settings.SCHEMA_TO_INSPECT = "attic"
        assert inspectdb() == inspectdb("--schema", "attic")

    def test_views_on_demand(self) -> None:
        assert "AtticSeen" not in inspectdb("--schema", "attic")
        assert "AtticSeen" in inspectdb("--schema", "attic", "--include-views")

    def test_one_table(self) -> None:
        assert inspectdb("[attic].[thing]").count("class Attic") == 1

    def test_a_schema_without_tables(self) -> None:
        assert "class " not in inspectdb("--schema", "nothing")


@pytest.mark.parametrize(
    ("facts", "declaration"),
    [
        ({"type_name": "nvarchar", "max_length": 60}, "nvarchar(30)"),
        ({"type_name": "nvarchar", "max_length": -1}, "nvarchar(max)"),
        ({"type_name": "varbinary", "max_length": 20}, "varbinary(20)"),
        ({"type_name": "decimal", "precision": 8, "scale": 2}, "decimal(8, 2)"),
        ({"type_name": "datetime2", "scale": 7}, "datetime2(7)"),
        ({"type_name": "int"}, "int"),
        ({"type_name": "char", "max_length": 2, "collation": "X_BIN"}, "char(2) COLLATE X_BIN"),
        ({"type_name": "char", "max_length": 2, "collation": "Default_CI_AS"}, "char(2)"),
    ],
)
def test_a_column_is_declared_as_it_was(facts: dict[str, Any], declaration: str) -> None:
    nothing: dict[str, Any] = dict.fromkeys(Column.__slots__)
    assert Column(**nothing | {"database_collation": "Default_CI_AS"} | facts).declaration == declaration
