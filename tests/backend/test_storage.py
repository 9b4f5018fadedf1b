"""Native types that a site chooses in OPTIONS: uniqueidentifier and json, and the way to them from what is there."""

from __future__ import annotations

import copy
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.apps import apps as global_apps
from django.db import NotSupportedError, connection, connections, models
from django.test.utils import CaptureQueriesContext, isolate_apps

from mssql.base import DatabaseWrapper
from mssql.uuid_storage import convert_uuid_columns

pytestmark = pytest.mark.django_db(transaction=True)

KEYS = [uuid.UUID(int=number << 64 | 0xABCDEF) for number in range(1, 120)]


@pytest.fixture
def another() -> Iterator[Callable[..., DatabaseWrapper]]:
    """Puts a connection to the test database with these OPTIONS in the place of the default one."""
    usual = connections["default"]
    made: list[DatabaseWrapper] = []

    def make(**options: Any) -> DatabaseWrapper:
        settings = copy.deepcopy(usual.settings_dict)
        settings["OPTIONS"] |= options
        made.append(DatabaseWrapper(settings, "default"))
        connections["default"] = made[-1]
        return made[-1]

    yield make
    connections["default"] = usual
    for wrapper in made:
        wrapper.close()


@pytest.fixture
def registry() -> Iterator[Any]:
    with isolate_apps("tests.backend") as registry:
        yield registry


@pytest.fixture
def parcels(registry: Any) -> tuple[type[models.Model], type[models.Model]]:
    class Parcel(models.Model):  # noqa: DJ008
        id = models.UUIDField(primary_key=True, default=uuid.uuid4)
        tracking = models.UUIDField(null=True, unique=True)
        note = models.CharField(max_length=10, default="")
        partners = models.ManyToManyField("self")

        class Meta:
            app_label = "backend"
            indexes = [models.Index(fields=["note", "tracking"], name="parcel_note")]

    class Scan(models.Model):  # noqa: DJ008
        parcel = models.ForeignKey(Parcel, models.CASCADE)

        class Meta:
            app_label = "backend"

    return Parcel, Scan


@pytest.fixture
def tables(another: Any) -> Iterator[Callable[..., None]]:
    """Makes tables on a connection, and drops them in the end."""
    created: list[Any] = []

    def create(alias: DatabaseWrapper, *tables: Any) -> None:
        with alias.schema_editor() as editor:
            for model in tables:
                editor.create_model(model)
                created.insert(0, model)

    yield create
    with connection.schema_editor() as editor:
        for model in created:
            editor.delete_model(model)


def types_of(*tables: Any) -> set[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.name, t.name FROM sys.columns AS c JOIN sys.types AS t ON t.user_type_id = c.user_type_id "
            f"WHERE c.object_id IN ({', '.join(['OBJECT_ID(%s)'] * len(tables))})",
            [model._meta.db_table for model in tables],
        )
        return set(cursor.fetchall())


def use(parcel: Any, scan: Any) -> None:
    """What an application does with UUIDs."""
    objects = parcel.objects
    objects.bulk_create([parcel(id=key, tracking=key) for key in KEYS])
    scan.objects.create(parcel_id=KEYS[0])
    assert objects.get(pk=KEYS[3]).tracking == KEYS[3]
    assert objects.get(pk=str(KEYS[3])).pk == KEYS[3]
    assert objects.filter(pk__in=KEYS).count() == len(KEYS)
    assert objects.filter(tracking__in=KEYS[:2]).count() == 2
    assert objects.filter(scan__parcel=KEYS[0]).get().pk == KEYS[0]
    assert scan.objects.values_list("parcel", flat=True).get() == KEYS[0]
    assert objects.filter(tracking__isnull=True).count() == 0
    assert objects.filter(pk=KEYS[1]).update(tracking=None) == 1
    objects.get(pk=KEYS[1]).partners.add(objects.get(pk=KEYS[2]))
    assert objects.create(note="new").refresh_from_db() is None
    assert objects.filter(pk__in=KEYS[5:]).delete()[0] == len(KEYS) - 5


def test_uuids_as_uniqueidentifier(another: Any, tables: Any, parcels: Any) -> None:
    alias = another(uuid_storage="uniqueidentifier")
    tables(alias, *parcels)
    assert {
        ("id", "uniqueidentifier"),
        ("tracking", "uniqueidentifier"),
        ("parcel_id", "uniqueidentifier"),
    } <= types_of(*parcels)
    use(*parcels)


def test_uuids_as_text_as_mssql_django_made_them(another: Any, tables: Any, parcels: Any) -> None:
    tables(another(), *parcels)
    assert {("id", "char"), ("tracking", "char"), ("parcel_id", "char")} <= types_of(*parcels)
    use(*parcels)


@pytest.mark.standin
def test_a_uuid_is_declared_as_its_column_is(another: Any, tables: Any, registry: Any, standin: Any) -> None:
    """An nvarchar would make the server convert the column, and read all of it under many a collation."""

    class Ticket(models.Model):  # noqa: DJ008
        id = models.UUIDField(primary_key=True, default=uuid.uuid4)
        guest = models.UUIDField(null=True)
        friends = models.ManyToManyField("self")

        class Meta:
            app_label = "backend"

    class Entry(models.Model):  # noqa: DJ008
        ticket = models.ForeignKey(Ticket, models.CASCADE)

        class Meta:
            app_label = "backend"

    tables(another(), Ticket, Entry)
    tickets, entries = Ticket.objects, Entry.objects
    key, other = tickets.create(), tickets.create()
    entry = entries.create(ticket=key)
    key.friends.add(other)
    either = models.Q(pk=key.pk) | models.Q(guest=other.pk)
    inserted = {(item["sql"], item["parameters"]) for item in standin.control.statements()}

    tickets.get(pk=key.pk)
    tickets.get(guest__isnull=True, id__exact=str(other.pk))
    list(tickets.filter(pk__in=[key.pk, other.pk]))
    list(tickets.filter(pk__range=(key.pk, key.pk)))
    list(tickets.filter(pk__gte=key.pk))
    list(tickets.exclude(either))
    list(tickets.annotate(flag=models.Case(models.When(either, then=1), default=2)))
    tickets.filter(pk=key.pk).exists()
    list(entries.filter(ticket=key).select_related("ticket"))
    list(entries.filter(ticket__in=[key, other]))
    list(key.friends.all())
    list(tickets.prefetch_related("friends"))
    tickets.filter(pk=key.pk).update(guest=models.F("pk"))
    entry.refresh_from_db()
    other.delete()
    sent = {(item["sql"], item["parameters"]) for item in standin.control.statements()} - inserted
    declared = {kind for _, parameters in sent for kind in re.findall(r"@P\d+ ([\w()]+)", parameters)}
    assert declared == {"varchar(8000)", "bigint"}
    assert len(sent) >= 15

    key.friends.set([])
    many = entries.filter(ticket__in=KEYS)
    assert "[value] char(32) '$'" in str(many.query)
    assert not many.exists()
    assert key.pk.hex in str(tickets.filter(pk=key.pk).query)


def test_existing_uuids_are_converted_and_back(
    another: Any, tables: Any, parcels: Any, registry: Any
) -> None:
    parcel, scan = parcels
    tables(another(), *parcels)
    use(*parcels)
    before = set(parcel.objects.values_list("pk", "tracking"))
    links = parcel.partners.through
    for options, name in (({"uuid_storage": "uniqueidentifier"}, "uniqueidentifier"), ({}, "char")):
        alias = another(**options)
        constraints = constraints_of(parcel, scan, links)
        with alias.schema_editor(atomic=True) as editor:
            convert_uuid_columns(registry, editor)
        assert {kind for column, kind in types_of(parcel, scan, links) if column not in ("id", "note")} == {
            name
        }
        assert constraints_of(parcel, scan, links) == constraints
        assert set(parcel.objects.values_list("pk", "tracking")) == before
        assert scan.objects.get().parcel.pk == KEYS[0]
        assert parcel.objects.get(pk=KEYS[1]).partners.get().pk == KEYS[2]
        with alias.schema_editor() as editor:
            convert_uuid_columns(registry, editor)  # Nothing is left to do.


def constraints_of(*tables: Any) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        return [connection.introspection.get_constraints(cursor, model._meta.db_table) for model in tables]


def test_a_default_is_not_converted_blindly(another: Any, tables: Any, registry: Any) -> None:
    class Voucher(models.Model):  # noqa: DJ008
        code = models.UUIDField(db_default=KEYS[0])

        class Meta:
            app_label = "backend"

    tables(another(), Voucher)
    alias = another(uuid_storage="uniqueidentifier")
    with alias.schema_editor() as editor, pytest.raises(NotSupportedError, match="db_default"):
        convert_uuid_columns(registry, editor)


def test_the_conversion_finds_nothing_in_other_models(another: Any) -> None:
    with another().schema_editor(collect_sql=True) as editor:
        convert_uuid_columns(global_apps, editor)
    assert editor.collected_sql == []


def test_a_tablespace_is_a_filegroup(another: Any, tables: Any, registry: Any) -> None:
    class Ledger(models.Model):  # noqa: DJ008
        number = models.IntegerField(unique=True, db_tablespace="PRIMARY")

        class Meta:
            app_label = "backend"
            db_tablespace = "PRIMARY"

    alias = another()
    with CaptureQueriesContext(alias) as queries:
        tables(alias, Ledger)
    assert any(
        query["sql"].startswith("CREATE TABLE") and "ON [PRIMARY]" in query["sql"] for query in queries
    )
    assert Ledger.objects.create(number=1).pk == 1
