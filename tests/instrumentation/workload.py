"""Statements of every kind over the wire, in a process of its own: ``python -m tests.instrumentation.workload``.

OTEL_* says where the telemetry goes; MSSQL_HOST (_PORT, _USER, _PASSWORD) where the server is. The first line read from
stdin lets the statements go on that the parent has armed faults for.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import Any

import django
from django.conf import settings

EVERYTHING = {
    "tracing": {"connect": True, "transactions": True, "returned_rows": True},
    "metrics": {"returned_rows": True},
    "query_parameters": True,
    "caller": True,
    "query_log": {"slow_ms": 0},
}


def alias(host: str, instrumentation: object, **options: Any) -> dict[str, Any]:
    return {
        "ENGINE": "mssql",
        "NAME": "master",
        "HOST": host,
        "PORT": os.environ["MSSQL_PORT"],
        "USER": os.environ["MSSQL_USER"],
        "PASSWORD": os.environ["MSSQL_PASSWORD"],
        "OPTIONS": {
            "trust_server_certificate": True,
            "connection_timeout": 60,
            "instrumentation": instrumentation,
            **options,
        },
    }


def main() -> None:
    host = os.environ["MSSQL_HOST"]
    settings.configure(
        DATABASES={
            "default": alias(host, EVERYTHING),
            "tenant": alias(host, True) | {"NAME": "tempdb"},
            "named": alias(f"{host}\\SHOP", True),
            "off": alias(host, False),
            "impatient": alias(host, EVERYTHING, query_timeout=8),
        }
    )
    django.setup()
    from django.db import DatabaseError, connection, connections, transaction

    failing = contextlib.suppress(DatabaseError)
    with connection.cursor() as cursor:
        with failing:
            cursor.execute("DROP TABLE [conformance]")
        cursor.execute(
            "CREATE TABLE [conformance] ([id] int IDENTITY PRIMARY KEY, [name] nvarchar(50) UNIQUE, [n] int)"
        )
        cursor.execute("CREATE INDEX [conformance_n] ON [conformance] ([n])")
        cursor.execute("INSERT INTO [conformance] ([name], [n]) VALUES (%s, %s)", ["a", 1])
        cursor.execute("INSERT INTO [conformance] ([name], [n]) VALUES (N'literal secret', 2)")
        many = "INSERT INTO [conformance] ([name], [n]) VALUES (%s, %s)"
        cursor.executemany(many, [("b", 1), ("c", 2), ("d", 3)])
        cursor.executemany(many, [("e", 1)])
        cursor.executemany(many, [])
        cursor.execute("SELECT [id], [name] FROM [conformance] WHERE [n] > %s", [0])
        cursor.fetchall()
        cursor.callproc("sp_executesql", ["SELECT 1 AS [one]"])
        cursor.fetchall()
        with failing:
            cursor.execute(many, ["a", 1])
        with failing:
            cursor.execute("SELECT * FROM [no_such_table]")
        with transaction.atomic():
            cursor.execute("UPDATE [conformance] SET [n] = 0 WHERE [id] = %s", [1])
            with transaction.atomic():
                cursor.execute("DELETE FROM [conformance] WHERE [id] = %s", [2])
    deadlock(connections)
    print("armed?", flush=True)
    sys.stdin.readline()
    with failing, connections["impatient"].cursor() as cursor:
        cursor.execute("SELECT 'x' AS [timeout_marker]")
    with failing, connection.cursor() as cursor:
        cursor.execute("SELECT 'x' AS [lost_marker]")
    for other in ("tenant", "named", "off"):
        with connections[other].cursor() as cursor:
            cursor.execute("SELECT 'x' AS [name]")
            cursor.fetchall()
    connections.close_all()


def deadlock(connections: Any) -> None:
    """Two transactions that want each other's row; one of them becomes the victim of error 1205."""
    from django.db import DatabaseError, connection, transaction

    meet = threading.Barrier(2)

    def work(first: int, second: int) -> None:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("UPDATE [conformance] SET [n] = 7 WHERE [id] = %s", [first])
                meet.wait(250)
                cursor.execute("UPDATE [conformance] SET [n] = 8 WHERE [id] = %s", [second])
        except DatabaseError:
            pass
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=ids) for ids in ((1, 3), (3, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
