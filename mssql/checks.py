"""System checks: settings and installations that cannot work, said before the first connection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

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
