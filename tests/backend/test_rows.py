"""Lookups of composite keys: T-SQL has no row values."""

from __future__ import annotations

import pytest
from django.db import connection
from django.db.models import OuterRef, Subquery, Value
from django.test.utils import CaptureQueriesContext

from tests.backend.models import Seat

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def seats() -> None:
    Seat.objects.bulk_create(Seat(row=row, number=number) for row in "Aab" for number in (1, 2))


def keys(**lookup: object) -> list[tuple[str, int]]:
    return sorted(Seat.objects.filter(**lookup).values_list("row", "number"))


def test_thousands_of_keys_are_one_parameter() -> None:
    wanted = [("A", 1), ("a", 2), *((f"x{number % 100}", number) for number in range(3000))]
    with CaptureQueriesContext(connection) as queries:
        assert keys(pk__in=wanted) == [("A", 1), ("a", 2)]
    (query,) = queries
    assert "OPENJSON" in query["sql"]


def test_a_few_keys_and_an_expression() -> None:
    assert keys(pk__in=[("A", 1), ("b", None)]) == [("A", 1)]
    assert keys(pk__in=[("A", Value(1) + 1)]) == [("A", 2)]
    assert keys(pk__in=[("b", None)] * 100) == []


@pytest.mark.parametrize(
    ("lookup", "found"),
    [
        ("pk", [("a", 2)]),
        ("pk__in", [("a", 2)]),
        ("pk__gt", [("b", 1), ("b", 2)]),
        ("pk__gte", [("a", 2), ("b", 1), ("b", 2)]),
        ("pk__lt", [("A", 1), ("A", 2), ("a", 1)]),
        ("pk__lte", [("A", 1), ("A", 2), ("a", 1), ("a", 2)]),
    ],
)
def test_compared_with_a_row(lookup: str, found: list[tuple[str, int]]) -> None:
    # The collation puts a before A.
    found = [key for key in found if key[0] != "A"] + ([("A", 1), ("A", 2)] if "g" in lookup else [])
    literal = ("a", 2) if lookup != "pk__in" else [("a", 2)]
    assert keys(**{lookup: literal}) == sorted(found)
    row = Seat.objects.filter(row="a", number=2).values("pk")
    assert keys(**{lookup: row if lookup == "pk__in" else row[:1]}) == sorted(found)


def test_a_row_of_the_query_around() -> None:
    itself = Seat.objects.filter(pk=OuterRef("pk")).values("number")[:1]
    assert Seat.objects.annotate(again=Subquery(itself)).filter(again=2).count() == 3
