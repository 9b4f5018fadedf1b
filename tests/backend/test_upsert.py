"""bulk_create(ignore_conflicts=…) and (update_conflicts=…): MERGE on a unique key."""

from __future__ import annotations

import threading

import pytest
from django.db import IntegrityError, ProgrammingError, connection
from django.test.utils import CaptureQueriesContext

from tests.backend.models import Shelf, Writer


def shelf(room: str, number: int, code: str, label: str = "") -> Shelf:
    return Shelf(room=room, number=number, code=code, label=label)


def stored() -> list[tuple[str, int, str, str]]:
    return list(Shelf.objects.order_by("pk").values_list("room", "number", "code", "label"))


@pytest.mark.django_db
class TestIgnoreConflicts:
    def test_with_rows_that_are_there(self) -> None:
        Shelf.objects.bulk_create([shelf("a", 1, "x", "old")])
        Shelf.objects.bulk_create(
            [shelf("a", 1, "y"), shelf("b", 1, "x"), shelf("b", 2, "z")], ignore_conflicts=True
        )
        assert stored() == [("a", 1, "x", "old"), ("b", 2, "z", "")]

    def test_with_rows_of_the_same_call(self) -> None:
        Shelf.objects.bulk_create(
            [shelf("a", 1, "x", "first"), shelf("a", 1, "y", "second"), shelf("a", 2, "z")],
            ignore_conflicts=True,
        )
        assert stored() == [("a", 1, "x", "first"), ("a", 2, "z", "")]

    def test_missing_values_do_not_conflict(self) -> None:
        Writer.objects.bulk_create([Writer(name="a"), Writer(name="b")], ignore_conflicts=True)
        assert Writer.objects.count() == 2

    def test_a_single_row(self) -> None:
        Shelf.objects.bulk_create([shelf("a", 1, "x")], ignore_conflicts=True)
        Shelf.objects.bulk_create([shelf("a", 1, "x")], ignore_conflicts=True)
        assert Shelf.objects.count() == 1

    def test_other_errors_are_not_ignored(self) -> None:
        with pytest.raises(IntegrityError):
            Writer.objects.bulk_create([Writer(name=None)], ignore_conflicts=True)


@pytest.mark.django_db
class TestUpdateConflicts:
    def test_rows_are_updated_or_inserted_and_give_their_keys(self) -> None:
        (old,) = Shelf.objects.bulk_create([shelf("a", 1, "x", "old")])
        rows = [shelf("b", 1, "y", "new"), shelf("a", 1, "x", "changed")]
        Shelf.objects.bulk_create(
            rows, update_conflicts=True, unique_fields=["room", "number"], update_fields=["label"]
        )
        assert stored() == [("a", 1, "x", "changed"), ("b", 1, "y", "new")]
        assert rows[1].pk == old.pk
        assert rows[0].pk == Shelf.objects.get(room="b").pk

    def test_by_a_single_column(self) -> None:
        Shelf.objects.bulk_create([shelf("a", 1, "x", "old")])
        Shelf.objects.bulk_create(
            [shelf("q", 9, "x", "new")],
            update_conflicts=True,
            unique_fields=["code"],
            update_fields=["room", "label"],
        )
        assert stored() == [("q", 1, "x", "new")]

    def test_the_fields_must_be_a_unique_key(self) -> None:
        with pytest.raises(ProgrammingError, match="unique key"):
            Shelf.objects.bulk_create(
                [shelf("a", 1, "x")], update_conflicts=True, unique_fields=["room"], update_fields=["label"]
            )

    def test_the_key_is_locked_between_look_and_insert(self) -> None:
        with CaptureQueriesContext(connection) as queries:
            Shelf.objects.bulk_create(
                [shelf("a", 1, "x")], update_conflicts=True, unique_fields=["code"], update_fields=["label"]
            )
        assert any("WITH (HOLDLOCK)" in query["sql"] for query in queries)


@pytest.mark.django_db(transaction=True)
def test_many_sessions_upsert_one_row() -> None:
    failures: list[BaseException] = []

    def upsert(label: str) -> None:
        try:
            for _ in range(10):
                Shelf.objects.bulk_create(
                    [shelf("a", 1, "x", label)],
                    update_conflicts=True,
                    unique_fields=["code"],
                    update_fields=["label"],
                )
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=upsert, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert Shelf.objects.count() == 1
