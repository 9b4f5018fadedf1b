"""Messages that go to the server for each operation: the table of docs/ and DESIGN.md, counted on the wire."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import connection, transaction

from sqlserver_standin import StandIn
from tests.backend.models import Author, Book

pytestmark = [pytest.mark.standin, pytest.mark.django_db(transaction=True)]


@dataclass
class Counted:
    count: int = 0
    messages: tuple[str, ...] = ()


@contextmanager
def counted(standin: StandIn) -> Iterator[Counted]:
    """Count what this alias sends in the block."""
    result = Counted()
    standin.control.messages(reset=True)
    yield result
    sent = standin.control.messages(reset=True)
    result.count = sent["count"]
    result.messages = tuple(f"{item['kind']}: {item['sql']}" for item in sent["messages"])


@pytest.fixture
def author(db: None) -> Author:
    return Author.objects.create(name="Ursula")


def atomic_create() -> None:
    with transaction.atomic():
        Author.objects.create(name="one")


def nested_create() -> None:
    with transaction.atomic(), transaction.atomic():
        Author.objects.create(name="one")


def update(author: Author) -> None:
    author.name = "Ursula K."
    author.save()


@pytest.mark.parametrize(
    ("operation", "least"),
    [
        pytest.param(lambda author: Author.objects.get(pk=author.pk), 1, id="get"),
        pytest.param(lambda author: Author.objects.create(name="new", note="x" * 5000), 1, id="create"),
        pytest.param(update, 1, id="save"),
        pytest.param(lambda author: Author.objects.filter(pk=author.pk).update(name="U"), 1, id="update"),
        pytest.param(lambda author: Author.objects.count(), 1, id="count"),
        pytest.param(lambda author: Author.objects.filter(name="x").exists(), 1, id="exists"),
        pytest.param(lambda author: list(Author.objects.order_by("name")[:10]), 1, id="page"),
        pytest.param(lambda author: list(Author.objects.all()), 1, id="all, without parameters"),
        pytest.param(lambda author: author.books.all().delete(), 3, id="delete of a queryset"),
        pytest.param(lambda author: atomic_create(), 3, id="atomic: create"),
        pytest.param(lambda author: nested_create(), 4, id="atomic in atomic: create"),
        pytest.param(
            lambda author: Author.objects.get_or_create(name="missing"), 4, id="get_or_create, missing"
        ),
        pytest.param(
            lambda author: Author.objects.bulk_create([Author(name=f"a{n}") for n in range(100)]),
            3,
            id="bulk_create of 100",
        ),
        pytest.param(lambda author: author.delete(), 4, id="delete with one cascade"),
        pytest.param(
            lambda author: list(Author.objects.filter(pk__in=list(range(3000)))), 1, id="pk__in of 3,000"
        ),
    ],
)
def test_an_operation_takes_no_more_messages_than_it_must(
    standin: StandIn, author: Author, operation: Callable[[Author], Any], least: int
) -> None:
    Book.objects.create(author=author, title="Always Coming Home")
    with counted(standin) as sent:
        operation(author)
    assert 1 <= sent.count <= least, sent.messages


def test_the_same_again_is_as_cheap(standin: StandIn, author: Author) -> None:
    """What a statement leaves behind in the driver (a handle, a result) does not make the next one dearer."""
    with counted(standin) as sent:
        for _ in range(5):
            Author.objects.get(pk=author.pk)
            Author.objects.count()
            Author.objects.create(name="again")
            list(Author.objects.values_list("name"))
    assert sent.count == 20, sent.messages


def test_connecting_takes_one_message_after_the_login(standin: StandIn, db: None) -> None:
    connection.ensure_connection()
    connection.close()
    with counted(standin) as sent:
        connection.ensure_connection()
    assert sent.count == 1, sent.messages


def test_a_thousand_strings_make_at_most_four_statements(standin: StandIn, author: Author) -> None:
    lengths = [*range(1, 900), *range(3950, 4051)]
    random.Random(1).shuffle(lengths)
    before = {(item["sql"], item["parameters"]) for item in standin.control.statements()}
    for length in lengths:
        Author.objects.filter(note="x" * length).exists()
    after = {(item["sql"], item["parameters"]) for item in standin.control.statements()}
    assert 1 <= len(after - before) <= 4


def test_rows_in_any_order_make_at_most_four_statements(standin: StandIn, author: Author) -> None:
    choice = random.Random(2)
    before = {(item["sql"], item["parameters"]) for item in standin.control.statements()}
    for number in range(200):
        Book.objects.create(
            author=author,
            title="t" * choice.randint(1, 200),
            price=choice.choice([None, "1.50", 3, 999_999]),
            added=None,
        )
        Book.objects.filter(pk=number, title__startswith="t" * choice.randint(1, 20)).count()
    after = {(item["sql"], item["parameters"]) for item in standin.control.statements()}
    # Two operations, each in few shapes.
    assert 1 <= len(after - before) <= 2 * 4
