"""Functions and aggregates that T-SQL has under other names, or not at all."""

from __future__ import annotations

import functools
import hashlib
import operator
from typing import Any

import django
import pytest
from django.db import NotSupportedError, connection, models
from django.db.models import ExpressionWrapper, F, FloatField, JSONField, Value
from django.db.models.functions import MD5, SHA1, SHA224, SHA256, SHA384, SHA512, Collate, Lower

from mssql.features import DatabaseFeatures
from tests.backend.models import Everything, Volume, Writer

pytestmark = pytest.mark.django_db

HASHES = {MD5: "md5", SHA1: "sha1", SHA256: "sha256", SHA512: "sha512"}
TEXT = "Zoë 漢字 " * 500
"""More than 8,000 bytes, and no ASCII."""


class TestHashes:
    @pytest.mark.parametrize("function", HASHES)
    def test_of_the_utf_8_bytes(self, function: Any, django_assert_num_queries: Any) -> None:
        Everything.objects.bulk_create([Everything(text=text) for text in (TEXT, "", None)])
        with django_assert_num_queries(1):  # Nothing is asked of the table to compile it.
            found = list(Everything.objects.order_by("pk").values_list(function("text"), flat=True))
        assert found == [
            *(hashlib.new(HASHES[function], text.encode()).hexdigest() for text in (TEXT, "")),
            None,
        ]

    def test_of_an_expression_and_in_a_filter(self) -> None:
        Writer.objects.create(name="ANN")
        rows = Writer.objects.annotate(hash=MD5(Lower("name")))
        assert rows.filter(hash=hashlib.md5(b"ann").hexdigest()).count() == 1

    @pytest.mark.parametrize("function", [SHA224, SHA384])
    def test_what_hashbytes_does_not_know_is_said(self, function: Any) -> None:
        with pytest.raises(NotSupportedError, match="HASHBYTES"):
            list(Writer.objects.values_list(function("name")))

    def test_a_server_without_utf_8_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(DatabaseFeatures, "supports_utf8_collations", False)
        with pytest.raises(NotSupportedError, match="since 2019"):
            list(Writer.objects.values_list(MD5("name")))


class TestRegularExpressions:
    @pytest.mark.parametrize(("lookup", "flag"), [("regex", "c"), ("iregex", "i")])
    def test_regexp_like_where_the_server_has_it(
        self, lookup: str, flag: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(DatabaseFeatures, "supports_regexp_like", True)
        sql, params = Writer.objects.filter(**{f"name__{lookup}": "^A.*n$"}).query.sql_with_params()
        assert f"WHERE REGEXP_LIKE([backend_writer].[name], %s, '{flag}')" in sql
        assert params == ("^A.*n$",)

    def test_a_clear_error_elsewhere(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(DatabaseFeatures, "supports_regexp_like", False)
        with pytest.raises(NotSupportedError, match=r"SQL Server 2025 \(compatibility level 170\)"):
            list(Writer.objects.filter(name__regex="^A"))


@pytest.mark.skipif(django.VERSION < (6, 1), reason="Bit aggregates came with Django 6.1.")
class TestBitAggregates:
    @pytest.mark.parametrize("name", ["and", "or", "xor"])
    @pytest.mark.parametrize(
        ("field", "values"),
        [
            ("big", [2**62 + 5, 7, -(2**63), None]),
            ("big", [-1, -2]),
            ("small", [3, 5, -4]),
            ("small", [None]),
        ],
    )
    def test_as_in_python(self, name: str, field: str, values: list[int | None]) -> None:
        Everything.objects.bulk_create([Everything(**{field: value}) for value in values])
        aggregate = getattr(models, f"Bit{name.title()}")
        numbers = [value for value in values if value is not None]
        combine = {"and": operator.and_, "or": operator.or_, "xor": operator.xor}[name]
        expected = functools.reduce(combine, numbers) if numbers else None
        assert Everything.objects.aggregate(x=aggregate(field)) == {"x": expected}


class TestJSONDocuments:
    @pytest.mark.parametrize("document", [5, 1.5, "text", True, False, [], {}])
    def test_of_any_kind_where_the_server_can(self, document: Any) -> None:
        """ISJSON() of SQL Server 2022 knows bare values as well."""
        writer = Writer.objects.create(name="a")
        volume = Volume.objects.create(writer=writer, title="t", price=1, data=document)
        volume.refresh_from_db()
        assert volume.data == document
        assert type(volume.data) is type(document)
        assert Volume.objects.filter(data=document).count() == 1

    def test_the_null_of_json(self) -> None:
        writer = Writer.objects.create(name="a")
        Volume.objects.create(writer=writer, title="t", price=1, data=Value(None, JSONField()))
        assert Volume.objects.filter(data__isnull=False).count() == 1
        assert Volume.objects.get().data is None


class TestCollations:
    def test_of_an_expression(self) -> None:
        Writer.objects.bulk_create([Writer(name=name) for name in ("a", "A", "á")])
        sensitive = Collate("name", "Latin1_General_100_CS_AS")
        assert Writer.objects.annotate(x=sensitive).filter(x="a").count() == 1
        assert (
            Writer.objects.annotate(x=Collate("name", "Latin1_General_100_CI_AI")).filter(x="a").count() == 3
        )
        binary = Collate("name", "Latin1_General_100_BIN2")
        assert list(Writer.objects.order_by(binary).values_list("name", flat=True)) == ["A", "a", "á"]


class TestRawStatements:
    def test_parameters_by_name(self) -> None:
        Writer.objects.create(name="100%")
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT %(b)s, name, %(a)s FROM backend_writer WHERE name LIKE N'100%%' AND %(a)s = 1",
                {"a": 1, "b": "two"},
            )
            assert cursor.fetchall() == [("two", "100%", 1)]

    def test_named_parameters_of_raw(self) -> None:
        Writer.objects.create(name="Ann")
        (row,) = Writer.objects.raw(
            "SELECT id, name FROM backend_writer WHERE name = %(name)s", {"name": "Ann"}
        )
        assert row.name == "Ann"


class TestPowers:
    def test_an_integer_to_a_power_is_not_cut(self) -> None:
        Everything.objects.create(small=3, real=0.5)
        assert Everything.objects.values_list(Value(2) ** F("small"), flat=True).get() == 8
        root = ExpressionWrapper(F("small") ** F("real"), FloatField())
        assert Everything.objects.values_list(root, flat=True).get() == pytest.approx(3**0.5)
