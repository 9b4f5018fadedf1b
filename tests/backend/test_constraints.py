"""Foreign keys: fixtures may point forward, and nothing stays unchecked behind one's back."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, connection, transaction

from tests.backend.models import Author, Book

pytestmark = pytest.mark.django_db(transaction=True)

UNTRUSTED = "SELECT COUNT(*) FROM sys.foreign_keys WHERE is_not_trusted = 1 OR is_disabled = 1"


def untrusted() -> int:
    with connection.cursor() as cursor:
        cursor.execute(UNTRUSTED)
        return int(cursor.fetchone()[0])


@pytest.mark.parametrize("atomic", [True, False])
def test_a_child_may_come_before_its_parent(atomic: bool) -> None:
    before = untrusted()
    with transaction.atomic() if atomic else connection.execute_wrapper(lambda run, *args: run(*args)):
        with connection.constraint_checks_disabled():
            Book.objects.bulk_create([Book(author_id=77, title="early"), Book(author_id=77, title="too")])
            Author.objects.bulk_create([Author(pk=77, name="late")])
        connection.check_constraints()
    assert Book.objects.filter(author__name="late").count() == 2
    assert untrusted() == before
    with pytest.raises(IntegrityError):
        Book.objects.create(author_id=78, title="orphan")


def test_an_orphan_is_found_by_the_check() -> None:
    with transaction.atomic():
        with connection.constraint_checks_disabled():
            Book.objects.create(author_id=99, title="orphan")
        connection.check_constraints([Author._meta.db_table])
        with pytest.raises(IntegrityError):
            connection.check_constraints([Book._meta.db_table])
        transaction.set_rollback(True)
    assert untrusted() == 0


def test_what_is_in_order_costs_nothing(django_assert_num_queries: object) -> None:
    author = Author.objects.create(name="early")
    with django_assert_num_queries(1), connection.constraint_checks_disabled():  # type: ignore[operator]
        Book.objects.create(author=author, title="late")


def test_deleting_a_parent_first_is_possible_too() -> None:
    author = Author.objects.create(name="parent")
    Book.objects.create(author=author, title="child")
    with connection.constraint_checks_disabled():
        Author.objects.filter(pk=author.pk)._raw_delete("default")
        Book.objects.all()._raw_delete("default")
    assert untrusted() == 0
