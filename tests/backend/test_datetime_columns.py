"""Datetime columns made under another USE_TZ, or by another tool: usable, told, and converted as the manual says."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, models
from django.db.models.functions import ExtractHour, Now
from django.test.utils import isolate_apps

from mssql.datetime_columns import check_datetime_columns

pytestmark = pytest.mark.django_db(transaction=True)

MANUAL = Path(__file__).resolve().parents[2] / "docs" / "troubleshooting.md"
SUMMER = datetime.datetime(2024, 7, 1, 12, 30, tzinfo=datetime.UTC)


def run(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


@pytest.fixture
def registry() -> Iterator[Any]:
    with isolate_apps("tests.backend") as registry:
        yield registry


@pytest.fixture
def order(registry: Any) -> type[models.Model]:
    class Order(models.Model):  # noqa: DJ008
        placed = models.DateTimeField(null=True)

        class Meta:
            app_label = "backend"
            db_table = "[old].[shop_order]"

    return Order


class TestDatetimeColumns:
    @pytest.fixture(params=["datetime2", "datetime", "smalldatetime"])
    def old(self, request: pytest.FixtureRequest, order: Any) -> Iterator[Any]:
        run("IF SCHEMA_ID(N'old') IS NULL EXEC (N'CREATE SCHEMA [old]')")
        run(f"CREATE TABLE [old].[shop_order] (id bigint IDENTITY PRIMARY KEY, placed {request.param} NULL)")
        run("INSERT INTO [old].[shop_order] (placed) VALUES ('20240701 12:30')")
        yield order
        run("DROP TABLE [old].[shop_order]")

    def test_a_column_without_offsets_is_taken_for_utc(self, old: Any) -> None:
        assert old.objects.get().placed == SUMMER
        assert old.objects.filter(placed=SUMMER).exists()
        assert old.objects.filter(
            placed__gt=SUMMER - datetime.timedelta(minutes=1), placed__lt=Now()
        ).exists()
        assert old.objects.annotate(hour=ExtractHour("placed")).get().hour == 12
        old.objects.update(placed=SUMMER + datetime.timedelta(hours=1))
        old.objects.create(placed=SUMMER)
        old.objects.bulk_create([old(placed=SUMMER), old(placed=None)])
        assert [each.placed for each in old.objects.order_by("pk")] == [
            SUMMER + datetime.timedelta(hours=1),
            SUMMER,
            SUMMER,
            None,
        ]

    def test_the_check_names_it(self, old: Any, registry: Any, settings: Any) -> None:
        (warning,) = check_datetime_columns(registry.get_app_configs(), databases=["default"])
        assert warning.id == "mssql.W004"
        assert "placed of [old].[shop_order] is " in warning.msg
        assert "a DateTimeField is datetimeoffset" in warning.msg
        assert check_datetime_columns(registry.get_app_configs(), databases=None) == []

    @pytest.mark.parametrize(("block", "hours"), [(0, 0), (1, -2)])
    def test_the_manual_converts_it(self, old: Any, registry: Any, block: int, hours: int) -> None:
        """The second block takes the values for the local time of Paris."""
        blocks = re.findall(r"^```sql\n(.*?)^```", MANUAL.read_text("utf-8"), re.MULTILINE | re.DOTALL)
        run(blocks[block].replace("[shop_order]", "[old].[shop_order]"))
        assert old.objects.get().placed == SUMMER + datetime.timedelta(hours=hours)
        assert check_datetime_columns(registry.get_app_configs(), databases=["default"]) == []


def test_what_this_backend_made_is_in_order() -> None:
    assert check_datetime_columns(databases=["default"]) == []
