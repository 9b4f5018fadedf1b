"""The tables of the site, as a site has them: made by makemigrations."""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Everything",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("text", models.CharField(max_length=100, unique=True)),
                ("long", models.TextField(blank=True)),
                ("whole", models.IntegerField(db_index=True)),
                ("positive", models.PositiveIntegerField()),
                ("big", models.BigIntegerField()),
                ("price", models.DecimalField(decimal_places=2, max_digits=10)),
                ("ratio", models.FloatField()),
                ("flag", models.BooleanField(default=False)),
                ("day", models.DateField()),
                ("at", models.DateTimeField()),
                ("clock", models.TimeField()),
                ("took", models.DurationField()),
                ("key", models.UUIDField()),
                ("data", models.JSONField()),
                ("raw", models.BinaryField()),
                ("address", models.GenericIPAddressField()),
                ("empty", models.IntegerField(null=True, unique=True)),
            ],
            options={
                "indexes": [models.Index(fields=["day", "-price"], name="moving_day_price")],
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("big__gt", 0)), name="moving_big")
                ],
                "unique_together": {("whole", "key")},
            },
        ),
        migrations.CreateModel(
            name="Part",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.SlugField()),
                (
                    "whole",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="parts",
                        to="moving.everything",
                    ),
                ),
            ],
        ),
    ]
