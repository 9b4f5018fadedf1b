"""bulk_create(ignore_conflicts=…) and (update_conflicts=…), on a unique key."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DataError, IntegrityError, ProgrammingError, connection, models
from django.db.transaction import atomic
from django.test.utils import CaptureQueriesContext, isolate_apps

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

    def test_each_key_can_be_sought_in_its_index(self) -> None:
        with CaptureQueriesContext(connection) as queries:
            Shelf.objects.bulk_create([shelf("a", 1, "x"), shelf("a", 2, "y")], ignore_conflicts=True)
        (sql,) = (query["sql"] for query in queries if "INSERT" in query["sql"])
        assert (
            sql.count("NOT EXISTS (SELECT 1 FROM [backend_shelf] AS [target] WITH (UPDLOCK, HOLDLOCK)") == 2
        )
        assert "[value1] nvarchar(20) '$[1]'" in sql

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


@pytest.mark.django_db
class TestCollations:
    """Keys are told apart as the unique key does it, whatever the collation of the database."""

    @pytest.fixture(params=["declared", "only in the database"])
    def label(self, request: pytest.FixtureRequest) -> Iterator[Any]:
        with isolate_apps("tests.backend"):

            class Label(models.Model):  # noqa: DJ008
                text = models.CharField(
                    max_length=20,
                    unique=True,
                    db_collation="Latin1_General_100_CS_AS" if request.param == "declared" else None,
                )
                note = models.CharField(max_length=20)

                class Meta:
                    app_label = "backend"

            with connection.cursor() as cursor:
                cursor.execute(
                    "CREATE TABLE [backend_label] ([id] bigint IDENTITY PRIMARY KEY, [note] nvarchar(20) NOT NULL, "
                    "[text] nvarchar(20) COLLATE Latin1_General_100_CS_AS NOT NULL UNIQUE)"
                )
            yield Label

    @pytest.mark.parametrize("texts", [["B"], ["B", "c"]])
    def test_of_the_column_decide(self, label: Any, texts: list[str]) -> None:
        label.objects.create(text="b", note="old")
        label.objects.create(text="c", note="old")

        def rows(note: str) -> list[Any]:
            return [label(text=text, note=note) for text in texts]

        def notes() -> set[tuple[str, str]]:
            return set(label.objects.values_list("text", "note"))

        label.objects.bulk_create(rows("ignored"), ignore_conflicts=True)
        assert notes() == {("b", "old"), ("B", "ignored"), ("c", "old")}
        label.objects.bulk_create(
            rows("new"), update_conflicts=True, unique_fields=["text"], update_fields=["note"]
        )
        assert notes() == {("b", "old"), ("B", "new"), ("c", "new" if "c" in texts else "old")}
        many = [f"nobody {number}" for number in range(60)]
        assert label.objects.filter(text__in=[*many, "B", "C"]).count() == 1

    def test_a_value_that_is_too_long_is_refused_as_ever(self, label: Any) -> None:
        label.objects.create(text="x" * 20, note="")
        for options in (
            {"ignore_conflicts": True},
            {"update_conflicts": True, "unique_fields": ["text"], "update_fields": ["note"]},
        ):
            with pytest.raises(DataError), atomic():
                label.objects.bulk_create([label(text="x" * 21), label(text="y")], **options)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "options",
    [
        {"update_conflicts": True, "unique_fields": ["code"], "update_fields": ["label"]},
        {"ignore_conflicts": True},
    ],
    ids=["update", "ignore"],
)
def test_many_sessions_upsert_one_row(options: dict[str, Any]) -> None:
    failures: list[BaseException] = []

    def upsert(label: str) -> None:
        try:
            for _ in range(10):
                Shelf.objects.bulk_create([shelf("a", 1, "x", label)], **options)
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
