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
