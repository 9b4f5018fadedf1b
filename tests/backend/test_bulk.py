"""Rows in bulk: how they travel, and that they come back as they went, each with its own key."""

from __future__ import annotations

import datetime
import json
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.db import DataError, connection
from django.db.models import BinaryField, Field, IntegerField, TextField, Value
from django.db.models.functions import Upper
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from mssql import bulk
from mssql.features import DatabaseFeatures
from tests.backend.models import Defaulted, Empty, Everything, Shelf, Stock, Writer

UTC = datetime.UTC


class Wrapped(TextField):
    def get_placeholder(self, value: Any, compiler: Any, connection: Any) -> str:
        return "COMPRESS(%s)"

    def get_placeholder_sql(self, value: Any, compiler: Any, connection: Any) -> Any:
        return "COMPRESS(%s)", [value]


class WrappedBytes(BinaryField):
    get_placeholder = Wrapped.get_placeholder
    get_placeholder_sql = Wrapped.get_placeholder_sql


class TestRowsAsJSON:
    @pytest.mark.parametrize(
        ("column", "declared"),
        [
            ("int", "int"),
            ("nvarchar(30)", "nvarchar(max)"),
            ("char(32)", "nvarchar(max)"),
            ("numeric(10, 2)", "numeric(10, 2)"),
            ("double precision", "float"),
            ("varbinary(max)", "varbinary(max)"),
            ("datetimeoffset", "datetimeoffset"),
            ("geography", None),
            (None, None),
        ],
    )
    def test_column_types(self, column: str | None, declared: str | None) -> None:
        assert bulk.openjson_type(column) == declared

    @pytest.mark.parametrize(
        ("column", "values", "declared"),
        [
            ("tinyint", [0, 255], "tinyint"),
            ("tinyint", [-1], "smallint"),
            ("smallint", [2**15], "int"),
            ("int", [2**31, -1], "bigint"),
            ("bigint", [2**63], "numeric(38, 0)"),
            ("int", ["7"], "int"),
            ("bigint", [], "bigint"),
            ("numeric(10, 2)", [Decimal("12345678.90")], "numeric(10, 2)"),
            ("numeric(10, 2)", [Decimal("0.001")], "numeric(38, 3)"),
            ("numeric(10, 2)", [Decimal("1e20"), Decimal("1e-30")], "numeric(38, 17)"),
            ("decimal(5)", [Decimal("99999"), Decimal("NaN")], "decimal(5)"),
            ("nvarchar(4)", ["abcd", "é\N{GRINNING FACE}"], "nvarchar(4)"),
            ("nvarchar(4)", ["\N{GRINNING FACE}" * 3], "nvarchar(4000)"),
            ("nchar(4)", ["a" * 4001], "nvarchar(max)"),
            ("nvarchar(max)", ["a" * 5000], "nvarchar(max)"),
            ("char(32)", ["a" * 32], "char(32)"),
            ("char(32)", ["a" * 33], "varchar(8000)"),
            ("varchar(9)", ["é"], "nvarchar(4000)"),
            ("varbinary(2)", [b"abc"], "varbinary(8000)"),
            ("datetime2(7)", ["x" * 99], "datetime2(7)"),
            ("uniqueidentifier", [uuid.UUID(int=1)], "uniqueidentifier"),
        ],
    )
    def test_a_type_that_every_value_fits(self, column: str, values: list[Any], declared: str) -> None:
        assert bulk.comparison_type(column, values) == declared

    @given(st.lists(st.lists(st.none() | st.booleans() | st.integers() | st.text(), max_size=4), max_size=4))
    def test_what_json_knows_goes_unchanged(self, rows: list[list[Any]]) -> None:
        assert json.loads(bulk.dump_rows(rows)) == [[n, *row] for n, row in enumerate(rows)]

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (Decimal("1E+3"), "1000"),
            (Decimal("0.10"), "0.10"),
            (datetime.datetime(2024, 2, 29, 1, 2, 3), "2024-02-29T01:02:03.000000"),
            (datetime.datetime(2024, 2, 29, tzinfo=UTC), "2024-02-29T00:00:00.000000+00:00"),
            (datetime.date(2024, 2, 29), "2024-02-29"),
            (datetime.time(1, 2), "01:02:00"),
            (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
            (b"\x00\xff", "AP8="),
            (memoryview(b"\x00\xff"), "AP8="),
        ],
    )
    def test_other_values_as_text_that_sql_server_reads(self, value: Any, text: str) -> None:
        assert json.loads(bulk.dump_values([value])) == [text]

    @pytest.mark.django_db
    @pytest.mark.parametrize(
        ("field", "types"),
        [
            (IntegerField(), ["int"]),
            (BinaryField(), ["varbinary(max)"]),
            (Wrapped(), None),
            (WrappedBytes(), None),
        ],
    )
    def test_a_field_that_wraps_its_values_in_sql_goes_another_way(
        self, field: Field[Any, Any], types: list[str] | None
    ) -> None:
        assert bulk.as_json([field], connection) == types  # type: ignore[arg-type]


@pytest.mark.django_db
class TestBulkCreate:
    def test_keys_come_back_in_order(self) -> None:
        writers = Writer.objects.bulk_create(Writer(name=str(number)) for number in range(500))
        stored = dict(Writer.objects.values_list("pk", "name"))
        assert [stored[writer.pk] for writer in writers] == [str(number) for number in range(500)]

    def test_a_database_of_an_older_compatibility_level_has_no_openjson(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(DatabaseFeatures, "supports_openjson", False)
        with CaptureQueriesContext(connection) as queries:
            writers = Writer.objects.bulk_create(Writer(name=str(number)) for number in range(60))
            assert Writer.objects.filter(pk__in=[writer.pk for writer in writers]).count() == 60
        assert not any("OPENJSON" in query["sql"] for query in queries)

    def test_keys_come_back_from_a_table_with_triggers(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE TRIGGER [noisy] ON [backend_writer] AFTER INSERT AS "
                "BEGIN UPDATE [backend_writer] SET [is_living] = 0 WHERE [id] IN (SELECT [id] FROM inserted) END"
            )
        one = Writer.objects.create(name="one")
        many = Writer.objects.bulk_create([Writer(name="two"), Writer(name="three")])
        assert {writer.pk: writer.name for writer in [one, *many]} == dict(
            Writer.objects.values_list("pk", "name")
        )
        assert not Writer.objects.filter(is_living=True).exists()

    def test_ten_thousand_rows_are_one_statement(self) -> None:
        shelves = [Shelf(room="a", number=n, code=str(n), label="x") for n in range(10_000)]
        with CaptureQueriesContext(connection) as queries:
            Shelf.objects.bulk_create(shelves)
        assert sum("OPENJSON" in query["sql"] for query in queries) == 1
        assert Shelf.objects.count() == 10_000

    def test_each_type_comes_back_as_it_went(self) -> None:
        values: dict[str, Any] = {
            "big": -(2**63),
            "small": -(2**15),
            "flag": True,
            "real": 1.7976931348623157e308,
            "amount": Decimal("-123456789.125"),
            "day": datetime.date(1, 1, 1),
            "moment": datetime.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
            "time": datetime.time(23, 59, 59, 999999),
            "span": datetime.timedelta(days=-5, microseconds=7),
            "text": "quote ' \" \\ \u2028 \U0001f600 \x01 ünï" + "x" * 9000,
            "short": " padded ",
            "uuid": uuid.UUID("12345678-1234-5678-1234-567812345678"),
            "blob": bytes(range(256)),
            "json": {"a": [1, None, "x"], "ü": 1.5},
            "address": "2001:db8::1",
        }
        by_one = Everything.objects.create(**values)
        by_many = Everything.objects.bulk_create([Everything(**values), Everything(), Everything(**values)])
        for stored in (by_one, by_many[0], by_many[2]):
            assert Everything.objects.values(*values).get(pk=stored.pk) == values
        assert set(Everything.objects.values(*values).get(pk=by_many[1].pk).values()) == {None}

    def test_text_that_is_too_long_is_refused_not_cut(self) -> None:
        with pytest.raises(DataError):
            Everything.objects.bulk_create([Everything(short="x"), Everything(short="x" * 11)])

    def test_expressions_among_the_values(self) -> None:
        Writer.objects.bulk_create([Writer(name="a"), Writer(name=Upper(Value("b")))])
        assert list(Writer.objects.order_by("pk").values_list("name", flat=True)) == ["a", "B"]

    def test_keys_of_our_own(self) -> None:
        Writer.objects.bulk_create([Writer(pk=70, name="a"), Writer(pk=60, name="b")])
        assert Writer.objects.get(pk=60).name == "b"
        assert Writer.objects.create(name="next").pk > 70

    def test_models_with_nothing_but_a_key(self) -> None:
        created = [Empty.objects.create(), *Empty.objects.bulk_create([Empty(), Empty()])]
        assert {empty.pk for empty in created} == set(Empty.objects.values_list("pk", flat=True))

    def test_what_the_database_filled_in_comes_back(self) -> None:
        single = Defaulted.objects.create(number=2)
        first, second = Defaulted.objects.bulk_create([Defaulted(number=3), Defaulted(number=4, name="x")])
        assert [(each.name, each.twice) for each in (single, first, second)] == [
            ("unnamed", 4),
            ("unnamed", 6),
            ("x", 8),
        ]

    def test_a_table_in_another_schema(self) -> None:
        stocks = Stock.objects.bulk_create([Stock(item="a"), Stock(item="b")])
        assert [stock.pk for stock in stocks] == list(
            Stock.objects.order_by("pk").values_list("pk", flat=True)
        )

    def test_bulk_update_of_more_rows_than_parameters(self) -> None:
        writers = Writer.objects.bulk_create(Writer(name="x") for _ in range(1500))
        for number, writer in enumerate(writers):
            writer.name, writer.email = str(number), f"{number}@example.com"
        assert Writer.objects.bulk_update(writers, ["name", "email"]) == 1500
        assert Writer.objects.get(pk=writers[-1].pk).email == "1499@example.com"
