"""Tables that the comparisons run on."""

from __future__ import annotations

from django.db import models


class Author(models.Model):  # noqa: DJ008
    name = models.CharField(max_length=100)
    born = models.DateField(null=True)
    note = models.TextField(blank=True)


class Book(models.Model):  # noqa: DJ008
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    title = models.CharField(max_length=200)
    price = models.DecimalField(max_digits=8, decimal_places=2, null=True)


class Row(models.Model):  # noqa: DJ008
    """Six columns beside the key, of six types."""

    name = models.CharField(max_length=100)
    text = models.CharField(max_length=200)
    number = models.IntegerField()
    price = models.DecimalField(max_digits=10, decimal_places=2)
    day = models.DateField()
    flag = models.BooleanField()
