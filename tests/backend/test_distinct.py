"""distinct(fields): the first row of each group, which T-SQL has no DISTINCT ON for."""

from __future__ import annotations

import pytest
from django.db.models import Window
from django.db.models.functions import Lower, RowNumber

from tests.backend.models import Seat

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def seats() -> None:
    Seat.objects.bulk_create(
        Seat(row=row, number=number, price=price)
        for row, number, price in [("A", 1, 30), ("A", 2, 10), ("b", 1, 20), ("B", 3, 40), ("c", 9, 40)]
    )


def test_the_first_of_each_in_the_order() -> None:
    cheapest = Seat.objects.distinct("row").order_by("row", "price")
    assert {seat.row: seat.price for seat in cheapest} == {"A": 10, "b": 20, "B": 40, "c": 40}


def test_the_order_need_not_begin_with_the_fields() -> None:
    dearest = Seat.objects.distinct("number").order_by("-price", "row")
    assert [(seat.row, seat.number) for seat in dearest] == [("B", 3), ("c", 9), ("A", 1), ("A", 2)]


def test_by_several_fields_and_by_an_annotation() -> None:
    assert Seat.objects.distinct("row", "number").count() == 5
    by_letter = Seat.objects.annotate(letter=Lower("row")).distinct("letter").order_by("letter", "-price")
    assert list(by_letter.values_list("letter", "price")) == [("a", 30), ("b", 40), ("c", 40)]


def test_a_page_of_it() -> None:
    firsts = Seat.objects.distinct("price").order_by("price", "row")
    assert [seat.price for seat in firsts[1:3]] == [20, 30]
    assert firsts[:1].get().price == 10


def test_in_a_subquery_its_order_still_counts() -> None:
    cheapest = Seat.objects.distinct("number").order_by("number", "price").values("price")
    assert set(Seat.objects.filter(price__in=cheapest).values_list("price", flat=True)) == {10, 20, 40}


def test_beside_a_window_and_in_a_union() -> None:
    numbered = Seat.objects.annotate(nth=Window(RowNumber(), order_by="price")).filter(nth__lte=3)
    assert numbered.distinct("price").count() == 3
    one, other = Seat.objects.filter(number=1), Seat.objects.filter(number=2)
    union = one.distinct("number").order_by("number", "price").union(other.distinct("number"))
    assert sorted(seat.price for seat in union) == [10, 20]
