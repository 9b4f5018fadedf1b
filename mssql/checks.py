"""System checks: settings and installations that cannot work, said before the first connection."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router
from django.db.models import ForeignKey, Model

PEER = "mssql-django"
ENGINES = {
    "sql_server.pyodbc": "django-mssql-backend and django-pyodbc-azure",
    "django_pyodbc": "django-pyodbc",
    "sqlserver_ado": "django-mssql",
    "django_mssql": "django-mssql",
}
"""Engine names of older backends for SQL Server, which no installed package answers to any more."""


@checks.register(checks.Tags.compatibility)
def check_installation(**kwargs: Any) -> list[checks.CheckMessage]:
    """mssql-django installs the same package folder: whichever came last has overwritten files of the other."""
    try:
        version = metadata.version(PEER)
    except metadata.PackageNotFoundError:
        return []
    error = checks.Error(
        f"{PEER} {version} and django-mssql-observable are both installed, and both install the package 'mssql'.",
        hint=f"pip uninstall {PEER}, then pip install --force-reinstall django-mssql-observable.",
        id="mssql.E002",
    )
    return [error]


@checks.register(checks.Tags.compatibility)
def check_settings(
    app_configs: Sequence[AppConfig] | None = None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """What can be seen of DATABASES without connecting."""
    return [message for alias in settings.DATABASES for message in _check_alias(alias)]


def _check_alias(alias: str) -> Iterator[checks.CheckMessage]:
    engine = settings.DATABASES[alias].get("ENGINE", "")
    if engine in ENGINES:
        yield checks.Error(
            f"DATABASES[{alias!r}]['ENGINE'] is {engine!r}, the name of {ENGINES[engine]}.",
            hint="Set ENGINE to 'mssql'.",
            id="mssql.E003",
        )
    if engine != "mssql":
        return
    connection = connections[alias]
    try:
        # Each checks what it reads.
        for name in ("options", "retry", "instrumentation", "address"):
            getattr(connection, name)
    except ImproperlyConfigured as error:
        yield checks.Error(str(error), id="mssql.E004")
        return
    if connection.options.return_rows_bulk_insert:  # type: ignore[attr-defined]
        yield checks.Info(
            f"DATABASES[{alias!r}]['OPTIONS']['return_rows_bulk_insert'] is no longer needed.",
            hint="bulk_create() returns keys on every table, in order, also where there are triggers.",
            id="mssql.I001",
        )


@checks.register(checks.Tags.models)
def check_cascades(
    app_configs: Sequence[AppConfig] | None = None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """Foreign keys with a database-level on_delete (Django 6.1) that CREATE TABLE would refuse."""
    sources = [apps] if app_configs is None else app_configs
    models = [model for source in sources for model in source.get_models(include_auto_created=True)]
    errors: dict[ForeignKey[Any, Any], checks.CheckMessage] = {}
    for alias in settings.DATABASES if databases is None else databases:
        if settings.DATABASES[alias].get("ENGINE") == "mssql":
            here = [
                model
                for model in models
                if router.allow_migrate_model(alias, model) and model._meta.can_migrate(connections[alias])
            ]
            errors |= {field: _collision(*ways) for field, ways in _colliding_cascades(here).items()}
    return list(errors.values())


Way = tuple[ForeignKey[Any, Any], ...]


def _colliding_cascades(models: Iterable[type[Model]]) -> dict[ForeignKey[Any, Any], tuple[Way, Way]]:
    """Find the keys by which a deletion would reach a table again, with both ways to it.

    What SQL Server does by itself after one DELETE must be a tree of tables: no table twice, and no circle. SET NULL
    and SET DEFAULT count, but nothing follows from them
    (https://learn.microsoft.com/sql/relational-databases/tables/primary-and-foreign-key-constraints).
    """
    pointing_at: dict[str, list[ForeignKey[Any, Any]]] = defaultdict(list)
    for model in models:
        for field in model._meta.local_fields:
            if (
                isinstance(field, ForeignKey)
                and field.db_constraint  # type: ignore[attr-defined]
                and _database_action(field)
            ):
                pointing_at[field.related_model._meta.db_table].append(field)
    collisions: dict[ForeignKey[Any, Any], tuple[Way, Way]] = {}
    for table in list(pointing_at):
        _walk((), table, {table: ()}, pointing_at, collisions)
    return collisions


def _walk(
    way: Way,
    table: str,
    reached: dict[str, Way],
    pointing_at: Mapping[str, Sequence[ForeignKey[Any, Any]]],
    collisions: dict[ForeignKey[Any, Any], tuple[Way, Way]],
) -> None:
    for field in pointing_at.get(table, ()):
        child = field.model._meta.db_table
        further = (*way, field)
        if child in reached:
            collisions.setdefault(field, (reached[child], further))
            continue
        reached[child] = further
        if _database_action(field) == "CASCADE":
            _walk(further, child, reached, pointing_at, collisions)


def _database_action(field: ForeignKey[Any, Any]) -> str | None:
    return getattr(field.remote_field.on_delete, "operation", None)


def _collision(first: Way, second: Way) -> checks.CheckMessage:
    field = second[-1]
    start = second[0].related_model._meta.label
    ways = [" and ".join(str(key) for key in way) or "that deletion itself" for way in (first, second)]
    return checks.Error(
        f"SQL Server refuses this foreign key (error 1785): deleting a {start} would reach "
        f"{field.model._meta.label} twice, by {ways[0]} and by {ways[1]}.",
        hint="Give one of these keys on_delete=DO_NOTHING, or the Python-level variants to all of them.",
        obj=field,
        id="mssql.E005",
    )
