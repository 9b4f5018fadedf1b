"""NthValue() is what the SQL standard says of NTH_VALUE, though T-SQL has no such function."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.db import NotSupportedError
from django.db.models import (
    BooleanField,
    Case,
    Count,
    Exists,
    ExpressionWrapper,
    F,
    Max,
    OuterRef,
    Q,
    RowRange,
    Sum,
    Value,
    ValueRange,
    When,
    Window,
)
from django.db.models.functions import Coalesce, Concat, NthValue, RowNumber

from mssql.hints import with_hints
from tests.backend.models import Volume, Writer

pytestmark = pytest.mark.django_db

ROWS = [
    ("Ann", "a", 3),
    ("Ann", "b", 1),
    ("Ann", "c", 3),
    ("Ann", "d", 2),
    ("Bob", "e", 5),
    ("Bob", "f", 5),
    ("Cyd", "g", 9),
]
"""Writer, title, price: some of the same price."""


@pytest.fixture(autouse=True)
def library() -> None:
    writers = {
        name: Writer.objects.create(name=name, is_living=name != "Bob") for name in ("Ann", "Bob", "Cyd")
    }
    Volume.objects.bulk_create(
        [Volume(writer=writers[name], title=title, price=price) for name, title, price in ROWS]
    )


def nth(n: int, **window: Any) -> Window:
    window.setdefault("partition_by", "writer")
    window.setdefault("order_by", ["price", "title"])
    return Window(NthValue("title", n), **window)


def titles(**annotations: Any) -> dict[str, Any]:
    (name,) = annotations
    return dict(Volume.objects.annotate(**annotations).values_list("title", name))


def test_the_second_from_where_there_are_two() -> None:
    assert titles(x=nth(2)) == {"b": None, "d": "d", "a": "d", "c": "d", "e": None, "f": "f", "g": None}


def test_rows_that_are_sorted_alike_are_in_the_frame() -> None:
    prices = dict(
        Volume.objects.annotate(
            x=Window(NthValue("price", 2), partition_by="writer", order_by="price")
        ).values_list("title", "x")
    )
    assert prices == {"b": None, "d": 2, "a": 2, "c": 2, "e": 5, "f": 5, "g": None}


def _expected(n: int, start: int | None, end: int | None) -> dict[str, str | None]:
    """What NTH_VALUE gives for ROWS BETWEEN, per writer by price and title."""
    result: dict[str, str | None] = {}
    for writer in ("Ann", "Bob", "Cyd"):
        rows = sorted((price, title) for name, title, price in ROWS if name == writer)
        for position, (_, title) in enumerate(rows):
            first = 0 if start is None else max(0, position + start)
            last = len(rows) if end is None else position + end + 1
            frame = rows[first : max(last, 0)]
            result[title] = frame[n - 1][1] if len(frame) >= n else None
    return result


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize(
    ("start", "end"),
    [
        (None, None),
        (None, 0),
        (None, 1),
        (None, -1),
        (0, None),
        (0, 0),
        (-1, 1),
        (-2, 0),
        (-2, -1),
        (1, 2),
        (1, None),
    ],
)
def test_frames_of_rows(n: int, start: int | None, end: int | None) -> None:
    assert titles(x=nth(n, frame=RowRange(start, end))) == _expected(n, start, end)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, {"b": 2, "d": 2, "a": 2, "c": 2, "e": 5, "f": 5, "g": None}),
        (None, 0, {"b": None, "d": 2, "a": 2, "c": 2, "e": 5, "f": 5, "g": None}),
        (0, None, {"b": 2, "d": 3, "a": 3, "c": 3, "e": 5, "f": 5, "g": None}),
        (0, 0, {"b": None, "d": None, "a": 3, "c": 3, "e": 5, "f": 5, "g": None}),
    ],
)
def test_frames_of_values(start: int | None, end: int | None, expected: dict[str, int | None]) -> None:
    window = Window(
        NthValue("price", 2), partition_by="writer", order_by="price", frame=ValueRange(start, end)
    )
    assert dict(Volume.objects.annotate(x=window).values_list("title", "x")) == expected


def test_without_partition_and_descending() -> None:
    window = nth(2, partition_by=None, order_by="-title", frame=RowRange(None, None))
    assert set(titles(x=window).values()) == {"f"}


def test_without_an_order_the_frame_is_the_whole_partition() -> None:
    window = Window(NthValue("price", 2), partition_by="writer")
    assert dict(Volume.objects.filter(writer__name="Bob").annotate(x=window).values_list("title", "x")) == {
        "e": 5,
        "f": 5,
    }


class TestInQueries:
    def test_objects_with_what_belongs_to_them(self) -> None:
        volumes = Volume.objects.select_related("writer").annotate(
            x=nth(1), row=Window(RowNumber(), order_by="title")
        )
        found = [
            (volume.title, volume.writer.name, volume.x, volume.row) for volume in volumes.order_by("title")
        ]
        assert found[:3] == [("a", "Ann", "b", 1), ("b", "Ann", "b", 2), ("c", "Ann", "b", 3)]

    def test_in_an_expression(self) -> None:
        text = Concat("title", Value(" after "), Coalesce(nth(2), Value("100%")))
        assert titles(x=text)["a"] == "a after d"
        assert titles(x=text)["b"] == "b after 100%"

    def test_in_a_condition(self) -> None:
        kind = Case(
            When(Q(price__gt=100) | Q(pk=None), then=Value("dear")),
            When(
                Q(Exists(Writer.objects.filter(pk=OuterRef("writer"), is_living=False))) & Q(second="f"),
                then=Value("dead"),
            ),
            When(~Q(second="d"), then=Value("other")),
            default=Value("rest"),
        )
        rows = Volume.objects.annotate(second=nth(2, frame=RowRange(None, None))).annotate(kind=kind)
        assert dict(rows.values_list("title", "kind")) == {
            **dict.fromkeys("abcd", "rest"),
            **dict.fromkeys("ef", "dead"),
            "g": "rest",
        }

    def test_beside_selected_conditions(self) -> None:
        rows = Volume.objects.annotate(
            x=nth(1),
            dear=ExpressionWrapper(Q(price__gt=4), BooleanField()),
            living=Exists(Writer.objects.filter(pk=OuterRef("writer"), is_living=True)),
        )
        assert list(rows.order_by("-title").values_list("x", "dear", "living")[:2]) == [
            ("g", True, True),
            ("e", True, False),
        ]

    def test_ordered_by(self) -> None:
        rows = Volume.objects.annotate(x=nth(2))
        assert list(
            rows.order_by(F("x").desc(nulls_last=True), "-title").values_list("title", flat=True)
        ) == [
            *("f", "d", "c", "a"),
            *("g", "e", "b"),
        ]
        assert [volume.title for volume in Volume.objects.order_by(nth(1).asc(), "title")] == list("abcdefg")

    def test_filtered_by(self) -> None:
        rows = Volume.objects.annotate(x=nth(2)).filter(x="d")
        assert list(rows.order_by("title").values_list("title", flat=True)) == ["a", "c", "d"]
        assert rows.count() == 3

    def test_pages(self) -> None:
        rows = Volume.objects.annotate(x=nth(1)).order_by("title").values_list("title", "x")
        assert list(rows[:2]) == [("a", "b"), ("b", "b")]
        assert list(rows[4:6]) == [("e", "e"), ("f", "e")]

    def test_distinct(self) -> None:
        rows = Volume.objects.annotate(x=nth(1)).values_list("x", flat=True).distinct()
        assert list(rows.order_by("x")) == ["b", "e", "g"]
        assert list(rows.order_by("-x")[:1]) == ["g"]
        assert len(rows.order_by("writer__name", Concat("x", Value("!")))) == 3

    def test_in_a_subquery(self) -> None:
        firsts = Volume.objects.annotate(x=nth(1)).values("x")
        assert Volume.objects.filter(title__in=firsts).count() == 3

    def test_aggregated(self) -> None:
        assert Volume.objects.annotate(x=nth(1)).aggregate(n=Count("x", distinct=True), top=Max("x")) == {
            "n": 3,
            "top": "g",
        }

    def test_over_groups(self) -> None:
        rows = Volume.objects.values("writer__name").annotate(total=Sum("price"))
        rows = rows.annotate(x=Window(NthValue("total", 2), order_by="total", frame=RowRange(None, None)))
        assert set(rows.values_list("x", flat=True)) == {Decimal(9)}

    def test_in_a_union(self) -> None:
        rows = Volume.objects.annotate(x=nth(1)).values_list("title", "x")
        assert len(rows.filter(title="a").union(rows.filter(title="g"))) == 2

    def test_of_a_bit(self) -> None:
        window = Window(NthValue("writer__is_living", 2), order_by="title", frame=RowRange(None, None))
        assert set(Volume.objects.annotate(x=window).values_list("x", flat=True)) == {True}

    def test_with_hints(self) -> None:
        rows = with_hints(Volume.objects.annotate(x=nth(1)), table="NOLOCK", query="RECOMPILE")
        assert len(rows) == 7

    def test_a_distance_of_values_is_refused(self) -> None:
        with pytest.raises(NotSupportedError):
            list(Volume.objects.annotate(x=nth(1, order_by="price", frame=ValueRange(-1, 0))))
