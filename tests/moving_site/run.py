"""A small site, run as a process of its own, on mssql-django or on this backend: PYTHONPATH decides."""

from __future__ import annotations

import datetime
import os
import sys
import uuid
from decimal import Decimal
from typing import Any

import django
from django.conf import settings

settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "mssql",
            "NAME": os.environ["MSSQL_DATABASE"],
            "HOST": os.environ["MSSQL_HOST"],
            "PORT": os.environ["MSSQL_PORT"],
            "USER": os.environ["MSSQL_USER"],
            "PASSWORD": os.environ["MSSQL_PASSWORD"],
            "OPTIONS": {"extra_params": "Encrypt=yes;TrustServerCertificate=yes"},
        }
    },
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "moving",
    ],
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()

from django.contrib.auth.models import Group, User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.db.models import CharField, F, IntegerField  # noqa: E402
from moving.models import Everything, Part  # noqa: E402

VALUES: dict[str, Any] = {
    "text": "Zoë 'quoted' [x]",
    "long": "ü" * 5000,
    "whole": -7,
    "positive": 7,
    "big": 2**40,
    "price": Decimal("12.50"),
    "ratio": 0.25,
    "flag": True,
    "day": datetime.date(2024, 2, 29),
    "at": datetime.datetime(2024, 7, 1, 12, 30, 15, 123456, tzinfo=datetime.UTC),
    "clock": datetime.time(23, 59, 58, 123456),
    "took": datetime.timedelta(days=3, microseconds=5),
    "key": uuid.UUID("00112233-4455-6677-8899-aabbccddeeff"),
    "data": {"a": [1, None, "ü"]},
    "raw": b"\x00\xff",
    "address": "192.0.2.1",
    "empty": None,
}


def write() -> None:
    """Make the tables and fill them."""
    call_command("migrate", verbosity=0)
    everything = Everything.objects.create(**VALUES)
    Part.objects.create(whole=everything, name="first")
    User.objects.create(username="old", password="x").groups.add(Group.objects.create(name="old"))


def read() -> None:
    """Print what this backend finds different, and use the tables."""
    everything = Everything.objects.get(text=VALUES["text"])
    for name, value in VALUES.items():
        stored = getattr(everything, name)
        stored = bytes(stored) if name == "raw" else stored
        if stored != value:
            print(f"{name}: {stored!r} instead of {value!r}")
    found = {
        "key": Everything.objects.filter(key=VALUES["key"]).count(),
        "at": Everything.objects.filter(at=VALUES["at"]).count(),
        "took": Everything.objects.filter(took__gte=VALUES["took"]).count(),
        "data": Everything.objects.filter(data__a__0=1).count(),
        "groups": User.objects.filter(groups__name="old").count(),
    }
    for name, count in found.items():
        if count != 1:
            print(f"{name}: found {count}")
    # Each ends the process when it finds something to do.
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)
    call_command("migrate", "--check", verbosity=0)
    added = Everything.objects.create(**{**VALUES, "text": "new", "key": uuid.uuid4()})
    Part.objects.bulk_create([Part(whole=added, name=f"part-{n}") for n in range(10)])
    Everything.objects.filter(pk=added.pk).update(whole=F("whole") + 1)
    added.refresh_from_db()
    if (added.whole, added.parts.count()) != (VALUES["whole"] + 1, 10):
        print(f"written: {added.whole}, {added.parts.count()}")
    added.delete()


def change() -> None:
    """Alter what the other backend made: its names of constraints and indexes have to be found."""
    with connection.schema_editor() as editor:
        editor.alter_unique_together(Everything, [("whole", "key")], [])
        for name, new in (("text", CharField(max_length=120)), ("flag", IntegerField(default=0))):
            new.set_attributes_from_name(name)
            editor.alter_field(Everything, Everything._meta.get_field(name), new)
        editor.remove_constraint(Everything, Everything._meta.constraints[0])
        editor.remove_index(Everything, Everything._meta.indexes[0])
        editor.delete_model(Part)


if __name__ == "__main__":
    {"write": write, "read": read, "change": change}[sys.argv[1]]()
    print(f"done by {sys.modules['mssql'].__file__}")
