"""JSONObject and JSONArray: by JSON_OBJECT and JSON_ARRAY of SQL Server 2022, and written as text before it."""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.db import NotSupportedError
from django.db.models import (
    BooleanField,
    Count,
    Exists,
    F,
    IntegerField,
    JSONField,
    Max,
    OuterRef,
    Q,
    Value,
    Window,
)
from django.db.models.expressions import RawSQL
from django.db.models.functions import Cast, JSONArray, JSONObject, Lower, RowNumber

from mssql.features import DatabaseFeatures
from tests.backend.models import Everything, Volume, Writer

pytestmark = pytest.mark.django_db

UTC = datetime.UTC
UUID = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")


@pytest.fixture(params=["SQL Server 2022", "SQL Server 2017"], autouse=True)
def server_version(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "SQL Server 2017":
        monkeypatch.setattr(DatabaseFeatures, "has_json_object", False)
    return str(request.param)


@pytest.fixture
def row() -> Everything:
    return Everything.objects.create(
        big=2**62,
        flag=True,
        real=0.1,
        amount=Decimal("-0.500"),
        day=datetime.date(2024, 2, 29),
        moment=datetime.datetime(2024, 2, 29, 12, 30, tzinfo=UTC),
        time=datetime.time(1, 2, 3),
        span=datetime.timedelta(seconds=2),
        text="a \"quote\", a \\, a /\n and 'one' 100%s",
        short="ü",
        uuid=UUID,
        json={"a": [1, None]},
    )


def made(expression: Any) -> Any:
    return Everything.objects.values_list(expression, flat=True).get()


@pytest.mark.usefixtures("row")
class TestValues:
    @pytest.mark.parametrize(
        ("source", "value"),
        [
            ("big", 2**62),
            ("small", None),
            ("flag", True),
            ("real", 0.1),
            ("amount", -0.5),
            ("day", "2024-02-29"),
            ("span", 2_000_000),
            ("text", "a \"quote\", a \\, a /\n and 'one' 100%s"),
            ("short", "ü"),
            ("uuid", UUID.hex),
            ("json", {"a": [1, None]}),
            ("json__a", [1, None]),
            ("json__a__0", 1),
            ("blob", None),
            (Value(None), None),
            (Value("x'y"), "x'y"),
            (Value(True), True),
            (Value("text", JSONField()), "text"),
            (Value(5, JSONField()), 5),
            (Value([1], JSONField()), [1]),
            (F("big") - 1, 2**62 - 1),
            (Lower("short"), "ü"),
            (Cast("json__a__0", IntegerField()), 1),
            (Q(big__gt=1), True),
            (Exists(Everything.objects.filter(pk=OuterRef("pk"), flag=False)), False),
            (RawSQL("SELECT 7", (), IntegerField()), 7),
        ],
        ids=lambda part: part if isinstance(part, str) and part.isidentifier() else type(part).__name__,
    )
    def test_each_keeps_its_type(self, source: Any, value: Any, server_version: str) -> None:
        if source == "blob" and server_version == "SQL Server 2017":
            with pytest.raises(NotSupportedError, match="varbinary"):
                made(JSONObject(value=source))
            return
        assert made(JSONObject(value=source)) == {"value": value}
        assert made(JSONArray(source, source)) == [value, value]

    @pytest.mark.parametrize("name", ["moment", "time"])
    def test_times_are_iso_8601(self, name: str) -> None:
        kind = datetime.datetime if name == "moment" else datetime.time
        text = made(JSONObject(value=name))["value"]
        assert kind.fromisoformat(text[:26]).replace(tzinfo=None) == kind.fromisoformat(
            "2024-02-29T12:30:00" if name == "moment" else "01:02:03"
        )

    def test_without_a_type_there_is_a_clear_error(self, server_version: str) -> None:
        if server_version == "SQL Server 2017":
            with pytest.raises(NotSupportedError, match="it has no output_field"):
                made(JSONObject(value=RawSQL("7", ())))


@pytest.mark.usefixtures("row")
class TestDocuments:
    def test_keys_of_any_kind(self) -> None:
        keys = {"a.b": 1, 'say "x"': 2, "it's": 3, "100%": 4, "ü": 5, "back\\slash": 6}
        assert made(JSONObject(**{key: Value(value) for key, value in keys.items()})) == keys

    def test_in_each_other(self) -> None:
        assert made(JSONObject(outer=JSONObject(inner="big", document="json"), n=Value(1))) == {
            "outer": {"inner": 2**62, "document": {"a": [1, None]}},
            "n": 1,
        }

    def test_empty(self) -> None:
        assert made(JSONObject()) == {}

    def test_arrays_and_objects(self) -> None:
        assert made(JSONArray()) == []
        assert made(JSONArray(JSONObject(a=JSONArray("short", "json")), "flag")) == [
            {"a": ["ü", {"a": [1, None]}]},
            True,
        ]

    def test_filtered_and_ordered_by(self) -> None:
        rows = Everything.objects.annotate(document=JSONObject(n="big", s="short"))
        assert rows.filter(document__n=2**62, document__s="ü").order_by("document__n").exists()


class TestRows:
    """Aggregates and windows in a document see the rows of the query."""

    @pytest.fixture(autouse=True)
    def library(self) -> None:
        ann, bob = Writer.objects.create(name="Ann"), Writer.objects.create(name="Bob")
        for price, writer in enumerate((ann, bob, bob), start=1):
            Volume.objects.create(writer=writer, title=f"V{price}", price=price)

    def test_aggregates(self) -> None:
        rows = Writer.objects.annotate(document=JSONObject(n=Count("volumes"), top=Max("volumes__price")))
        assert list(rows.order_by("name").values_list("document", flat=True)) == [
            {"n": 1, "top": 1.0},
            {"n": 2, "top": 3.0},
        ]

    def test_windows(self) -> None:
        rows = Volume.objects.annotate(document=JSONObject(row=Window(RowNumber(), order_by="-price")))
        assert [
            document["row"] for document in rows.order_by("price").values_list("document", flat=True)
        ] == [3, 2, 1]

    def test_grouped_by(self) -> None:
        rows = Volume.objects.values(
            document=JSONObject(writer="writer__name", living=Cast("writer__is_living", BooleanField()))
        )
        assert list(rows.annotate(n=Count("pk")).order_by("-n").values_list("document", "n")) == [
            ({"writer": "Bob", "living": True}, 2),
            ({"writer": "Ann", "living": True}, 1),
        ]
