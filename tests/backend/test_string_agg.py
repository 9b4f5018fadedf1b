"""StringAgg of Django 6: ordered, filtered, and of distinct texts, for which T-SQL has no word."""

from __future__ import annotations

from typing import Any

import django
import pytest
from django.db import NotSupportedError
from django.db.models import CharField, Count, F, Q, Value, aggregates
from django.db.models.functions import Cast, Upper

from tests.backend.models import Strict, Volume, Writer

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(django.VERSION < (6, 0), reason="StringAgg came with Django 6.0."),
]

StringAgg: Any = getattr(aggregates, "StringAgg", None)
COMMA = Value(", ")


@pytest.fixture(autouse=True)
def library() -> None:
    ann, bob = Writer.objects.create(name="Ann"), Writer.objects.create(name="Bob")
    Writer.objects.create(name="Cyd")
    titles = {ann: ['a "q"', "b\\", 'a "q"', 'A "Q"', "c, d"], bob: ["ü", "ü", ""]}
    for writer, names in titles.items():
        for price, title in enumerate(names):
            Volume.objects.create(writer=writer, title=title, price=price)


def by_writer(**annotations: Any) -> list[Any]:
    (name,) = annotations
    return list(Writer.objects.annotate(**annotations).order_by("name").values_list(name, flat=True))


def test_each_text_once_by_the_collation_of_its_column() -> None:
    found = by_writer(x=StringAgg("volumes__title", COMMA, distinct=True, order_by="volumes__title"))
    assert found[0].upper() == 'A "Q", B\\, C, D'
    assert found[1:] == [", ü", None]
    assert [text.count(", ") for text in by_writer(x=StringAgg("volumes__title", COMMA))[:2]] == [5, 2]


def test_a_column_that_minds_case() -> None:
    Strict.objects.bulk_create([Strict(name=name) for name in ("a", "A", "a")])
    found = Strict.objects.aggregate(x=StringAgg("name", COMMA, distinct=True, order_by="name"))
    assert sorted(found["x"].split(", ")) == ["A", "a"]


def test_descending_and_filtered() -> None:
    distinct = StringAgg(
        "volumes__title",
        COMMA,
        distinct=True,
        order_by=F("volumes__title").desc(),
        filter=Q(volumes__price__gte=1),
    )
    assert by_writer(x=distinct)[0].upper() == 'C, D, B\\, A "Q"'
    assert by_writer(x=distinct)[1] == "ü, "


def test_aggregated_with_other_values_and_a_default() -> None:
    found = Volume.objects.aggregate(
        x=StringAgg(Upper("title"), COMMA, distinct=True, order_by=Upper("title")),
        n=Count("pk"),
        none=StringAgg("title", COMMA, distinct=True, filter=Q(price=99), default=Value("-")),
    )
    assert found == {"x": ', A "Q", B\\, C, D, Ü', "n": 8, "none": "-"}


def test_of_numbers_as_text_and_a_delimiter_from_a_parameter() -> None:
    rows = Volume.objects.values("writer__name").annotate(
        n=Count("pk"), x=StringAgg(Cast("price", CharField()), Value("%s;"), distinct=True)
    )
    assert {len(row["x"].split("%s;")) for row in rows} == {5, 3}
    assert [row["n"] for row in rows.order_by("x")] in ([5, 3], [3, 5])


def test_sliced_and_in_a_subquery() -> None:
    rows = Writer.objects.annotate(
        x=StringAgg("volumes__title", COMMA, distinct=True, order_by="volumes__title")
    )
    assert [writer.x for writer in rows.order_by("-name")[:2]] == [None, ", ü"]
    assert Writer.objects.filter(name__in=rows.values("x")).count() == 0


@pytest.mark.parametrize(
    "ask",
    [
        lambda rows: rows.filter(x="a"),
        lambda rows: Writer.objects.annotate(
            x=StringAgg("volumes__title", COMMA, distinct=True, order_by="volumes__price")
        ),
    ],
)
def test_what_cannot_be_said_is_a_clear_error(ask: Any) -> None:
    rows = Writer.objects.annotate(x=StringAgg("volumes__title", COMMA, distinct=True))
    with pytest.raises(NotSupportedError, match=r"StringAgg\(distinct=True\)"):
        list(ask(rows))
