"""Composite primary keys, and what migrations of years ago made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import IntegrityError, connection, migrations, models
from django.db.migrations.state import ProjectState
from django.db.transaction import atomic
from django.test.utils import isolate_apps

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def seat() -> Iterator[Any]:
    with isolate_apps("tests.backend"):

        class Seat(models.Model):  # noqa: DJ008
            pk = models.CompositePrimaryKey("row", "number")
            row = models.CharField(max_length=2)
            number = models.IntegerField()
            taken = models.BooleanField(default=False)

            class Meta:
                app_label = "backend"
                db_table = "theatre_seat"

    with connection.schema_editor() as editor:
        editor.create_model(Seat)
    yield Seat
    with connection.schema_editor() as editor:
        editor.delete_model(Seat)


def test_composite_primary_keys(seat: Any) -> None:
    seat.objects.bulk_create([seat(row=row, number=number) for row in "AB" for number in range(1, 61)])
    one = seat.objects.get(pk=("A", 7))
    one.taken = True
    one.save()
    assert seat.objects.filter(taken=True).values_list("pk", flat=True).get() == ("A", 7)
    assert seat.objects.filter(pk__in=[("A", 1), ("B", 60), ("C", 1)]).count() == 2
    assert seat.objects.filter(pk__in=[("A", number) for number in range(200)]).count() == 60
    assert [each.pk for each in seat.objects.order_by("-pk")[:2]] == [("B", 60), ("B", 59)]
    assert seat.objects.filter(pk__gt=("A", 60)).count() == 60
    assert seat.objects.filter(pk__in=seat.objects.filter(number__lte=2)).update(taken=True) == 4
    assert set(seat.objects.in_bulk([("A", 1), ("A", 2)])) == {("A", 1), ("A", 2)}
    seat.objects.bulk_create(
        [seat(row="A", number=1, taken=False)],
        update_conflicts=True,
        unique_fields=["row", "number"],
        update_fields=["taken"],
    )
    assert not seat.objects.get(pk=("A", 1)).taken
    with pytest.raises(IntegrityError), atomic():
        seat.objects.create(row="A", number=1)
    assert one.delete()[0] == 1
    assert seat.objects.filter(row="A").delete()[0] == 59
    with connection.cursor() as cursor:
        assert connection.introspection.get_primary_key_columns(cursor, "theatre_seat") == ["row", "number"]


def test_index_together_in_old_migrations() -> None:
    """Django 5.1 took the option from models, not from migrations: those of years ago run as they are."""
    fields = [
        ("id", models.AutoField(primary_key=True)),
        ("a", models.IntegerField()),
        ("b", models.IntegerField()),
    ]
    operations = [
        migrations.CreateModel("Old", fields, options={"index_together": {("a", "b")}}),
        migrations.AlterIndexTogether("Old", {("a", "b"), ("b", "a")}),
        migrations.RenameField("Old", "b", "c"),
        migrations.RenameIndex("Old", new_name="old_a_c", old_fields=("a", "c")),
        migrations.AlterIndexTogether("Old", set()),
    ]
    columns, names = [], set()
    state = ProjectState()
    for operation in operations:
        after = state.clone()
        operation.state_forwards("backend", after)
        with connection.schema_editor() as editor:
            operation.database_forwards("backend", editor, state, after)
        state = after
        with connection.cursor() as cursor:
            constraints = connection.introspection.get_constraints(cursor, "backend_old")
        indexes = {name: each for name, each in constraints.items() if not each["primary_key"]}
        columns.append(sorted("".join(each["columns"]) for each in indexes.values()))
        names = set(indexes)
    with connection.schema_editor() as editor:
        editor.delete_model(state.apps.get_model("backend", "Old"))
    assert columns == [["ab"], ["ab", "ba"], ["ac", "ca"], ["ac", "ca"], ["ac"]]
    assert names == {"old_a_c"}
