"""One of each type of column, as a site on mssql-django has them."""

from __future__ import annotations

from django.db import models


class Everything(models.Model):
    text = models.CharField(max_length=100, unique=True)
    long = models.TextField(blank=True)
    whole = models.IntegerField(db_index=True)
    positive = models.PositiveIntegerField()
    big = models.BigIntegerField()
    price = models.DecimalField(max_digits=10, decimal_places=2)
    ratio = models.FloatField()
    flag = models.BooleanField(default=False)
    day = models.DateField()
    at = models.DateTimeField()
    clock = models.TimeField()
    took = models.DurationField()
    key = models.UUIDField()
    data = models.JSONField()
    raw = models.BinaryField()
    address = models.GenericIPAddressField()
    empty = models.IntegerField(null=True, unique=True)

    class Meta:
        unique_together = [("whole", "key")]
        indexes = [models.Index(fields=["day", "-price"], name="moving_day_price")]
        constraints = [models.CheckConstraint(condition=models.Q(big__gt=0), name="moving_big")]

    def __str__(self) -> str:
        return self.text


class Part(models.Model):
    whole = models.ForeignKey(Everything, models.CASCADE, related_name="parts")
    name = models.SlugField()

    def __str__(self) -> str:
        return self.name
