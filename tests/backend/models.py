"""Tables that the backend's tests run on."""

from __future__ import annotations

from django.db import models


class Author(models.Model):
    name = models.CharField(max_length=100)
    born = models.DateField(null=True)
    note = models.TextField(blank=True)

    def __str__(self) -> str:
        return self.name


class Book(models.Model):
    """A child with one foreign key, so that deleting its author is a delete with one cascade."""

    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    title = models.CharField(max_length=200)
    price = models.DecimalField(max_digits=8, decimal_places=2, null=True)
    added = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.title


class Named(models.Model):
    """What the models below have in common: a text for the reader of a failed test."""

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{type(self).__name__} {self.pk}"


class Writer(Named):
    name = models.CharField(max_length=50)
    email = models.EmailField(null=True, unique=True)  # noqa: DJ001 (NULLs are what is tested)
    is_living = models.BooleanField(default=True)


class Volume(Named):
    writer = models.ForeignKey(Writer, models.CASCADE, related_name="volumes")
    title = models.CharField(max_length=100)
    price = models.DecimalField(max_digits=10, decimal_places=4)
    published = models.DateTimeField(null=True)
    reading_time = models.DurationField(null=True)
    data = models.JSONField(null=True)


class Shelf(Named):
    """Two unique keys, one of two columns."""

    room = models.CharField(max_length=20)
    number = models.IntegerField()
    code = models.CharField(max_length=20, unique=True)
    label = models.CharField(max_length=20, default="")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["room", "number"], name="shelf_place")]


class Everything(Named):
    """A column of each type that travels through OPENJSON."""

    big = models.BigIntegerField(null=True)
    small = models.SmallIntegerField(null=True)
    flag = models.BooleanField(null=True)
    real = models.FloatField(null=True)
    amount = models.DecimalField(max_digits=12, decimal_places=3, null=True)
    day = models.DateField(null=True)
    moment = models.DateTimeField(null=True)
    time = models.TimeField(null=True)
    span = models.DurationField(null=True)
    text = models.TextField(null=True)  # noqa: DJ001
    short = models.CharField(max_length=10, null=True)  # noqa: DJ001
    uuid = models.UUIDField(null=True)
    blob = models.BinaryField(null=True)
    json = models.JSONField(null=True)
    address = models.GenericIPAddressField(null=True)


class Strict(Named):
    """A column whose collation minds case."""

    name = models.CharField(max_length=50, db_collation="Latin1_General_100_CS_AS")


class Stock(Named):
    """A table in a schema of its own, with a bracket in a column's name."""

    item = models.CharField(max_length=20, db_column="item]name")
    writer = models.ForeignKey(Writer, models.CASCADE, null=True)

    class Meta:
        db_table = "[warehouse].[stock]"


class Empty(Named):
    """Nothing but a key."""


class Defaulted(Named):
    """What the database fills in comes back with the row."""

    name = models.CharField(max_length=20, db_default="unnamed")
    number = models.IntegerField(default=1)
    twice = models.GeneratedField(
        expression=models.F("number") * 2, output_field=models.IntegerField(), db_persist=True
    )


class Seat(Named):
    """A key of two columns."""

    pk = models.CompositePrimaryKey("row", "number")
    row = models.CharField(max_length=5, db_collation="Latin1_General_100_CS_AS")
    number = models.IntegerField()
    price = models.IntegerField(default=0)
