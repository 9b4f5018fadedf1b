"""Create the example's database on a server that does not have it yet."""

from __future__ import annotations

from copy import deepcopy

from django.db import connections

from mssql.base import DatabaseWrapper


def create_database(alias: str = "default") -> None:
    """Ask `master` for the alias's database and create it when it is missing."""
    name = connections[alias].settings_dict["NAME"]
    settings = deepcopy(connections[alias].settings_dict)
    settings["NAME"] = "master"
    settings["OPTIONS"].update(instrumentation=False, pool=False)
    server = DatabaseWrapper(settings, alias=f"{alias}-master")
    try:
        with server.cursor() as cursor:
            cursor.execute("SELECT 1 FROM sys.databases WHERE name = %s", [name])
            if cursor.fetchone() is None:
                cursor.execute(f"CREATE DATABASE {server.ops.quote_name(name)}")
    finally:
        server.close()
