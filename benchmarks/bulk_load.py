"""Rows per second of bulk inserts: ways to send rows, and bulk_create itself.

    MSSQL_HOST=… MSSQL_PASSWORD=… python benchmarks/bulk_load.py [--rows 10000]

Without MSSQL_HOST it runs on the stand-in, where the server's share of the time is not SQL Server's: compare the
client's CPU and the number of statements there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

Row = tuple[str, str, int, Decimal, datetime, bool]
COLUMNS = ("name", "email", "number", "price", "added", "flag")
DDL = (
    "CREATE TABLE [bulk_load] ([id] int IDENTITY (1, 1) PRIMARY KEY, [name] nvarchar(100) NOT NULL, "
    "[email] nvarchar(200) NOT NULL, [number] int NOT NULL, [price] decimal(10, 2) NOT NULL, "
    "[added] datetime2 NOT NULL, [flag] bit NOT NULL)"
)
WITH = (
    "WITH ([name] nvarchar(max) '$[0]', [email] nvarchar(max) '$[1]', [number] int '$[2]', "
    "[price] decimal(10, 2) '$[3]', [added] datetime2 '$[4]', [flag] bit '$[5]')"
)


def rows(number: int) -> list[Row]:
    return [
        (f"name {n}", f"{n}@example.com", n, Decimal(n % 1000) / 4, datetime(2024, 1, 1 + n % 28), n % 2 == 0)
        for n in range(number)
    ]


def by_values(cursor: Any, data: list[Row]) -> int:
    """INSERT … VALUES with as many rows as 2,098 parameters allow."""
    names = ", ".join(f"[{name}]" for name in COLUMNS)
    size = 2098 // len(COLUMNS)
    for start in range(0, len(data), size):
        chunk = data[start : start + size]
        markers = ", ".join(["(?, ?, ?, ?, ?, ?)"] * len(chunk))
        cursor.execute(
            f"INSERT INTO [bulk_load] ({names}) VALUES {markers}", [v for row in chunk for v in row]
        )
    return -(-len(data) // size)


def by_fast_executemany(cursor: Any, data: list[Row]) -> int:
    """pyodbc's array of parameters."""
    names = ", ".join(f"[{name}]" for name in COLUMNS)
    cursor.fast_executemany = True
    cursor.executemany(f"INSERT INTO [bulk_load] ({names}) VALUES (?, ?, ?, ?, ?, ?)", data)
    return 1


def by_json(cursor: Any, data: list[Row]) -> int:
    """INSERT … SELECT … FROM OPENJSON(?), one parameter."""
    names = ", ".join(f"[{name}]" for name in COLUMNS)
    text = json.dumps(
        [(n, e, k, str(p), a.isoformat(), f) for n, e, k, p, a, f in data], separators=(",", ":")
    )
    declare(cursor, text)
    cursor.execute(f"INSERT INTO [bulk_load] ({names}) SELECT {names} FROM OPENJSON(?) {WITH}", [text])
    return 1


def declare(cursor: Any, text: str) -> None:
    """Declare a long text as nvarchar(max), which pyodbc does not by itself."""
    from mssql.parameters import template

    _, declarations = template("SELECT %s").bind([text])
    cursor.setinputsizes(declarations)


@contextmanager
def server() -> Iterator[None]:
    """Point Django's settings at the server; a stand-in where none is named."""
    if os.environ.get("MSSQL_HOST"):
        yield
        return
    from sqlserver_standin import StandIn

    with StandIn() as standin:
        os.environ.update(
            MSSQL_HOST=standin.host, MSSQL_PORT=str(standin.port), MSSQL_PASSWORD=standin.password
        )
        yield


def measured(name: str, number: int, load: Callable[[], int]) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    statements = load()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"| {name} | {statements} | {wall:.2f} | {cpu:.2f} | {number / wall:,.0f} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    number = parser.parse_args().rows
    with server():
        run(number)
    return 0


def run(number: int) -> None:
    from django.conf import settings

    settings.configure(
        DATABASES={
            "default": {
                "ENGINE": "mssql",
                "NAME": os.environ.get("MSSQL_DATABASE", "master"),
                "HOST": os.environ["MSSQL_HOST"],
                "PORT": os.environ.get("MSSQL_PORT", "1433"),
                "USER": os.environ.get("MSSQL_USER", "sa"),
                "PASSWORD": os.environ["MSSQL_PASSWORD"],
                "OPTIONS": {"encrypt": True, "trust_server_certificate": True},
            }
        },
        USE_TZ=False,
    )
    import django

    django.setup()
    from django.db import connection, models

    class BulkLoad(models.Model):  # noqa: DJ008 (lives for one run)
        name = models.CharField(max_length=100)
        email = models.CharField(max_length=200)
        number = models.IntegerField()
        price = models.DecimalField(max_digits=10, decimal_places=2)
        added = models.DateTimeField()
        flag = models.BooleanField()

        class Meta:
            app_label = "benchmarks"
            db_table = "bulk_load"

    data = rows(number)
    connection.ensure_connection()
    driver = connection.connection.driver
    driver.cursor().execute("IF OBJECT_ID(N'[bulk_load]') IS NOT NULL DROP TABLE [bulk_load]")
    driver.cursor().execute(DDL)
    print(f"{number:,} rows × {len(COLUMNS)} columns\n")
    print("| way | statements | wall s | client CPU s | rows/s |\n|---|---|---|---|---|")
    for name, way in (
        ("VALUES", by_values),
        ("fast_executemany", by_fast_executemany),
        ("OPENJSON", by_json),
    ):
        cursor = driver.cursor()
        measured(name, number, lambda way=way, cursor=cursor: way(cursor, data))  # type: ignore[misc]
        cursor.execute("DELETE FROM [bulk_load]")
        cursor.close()

    def bulk_create() -> int:
        sent: list[str] = []
        with connection.execute_wrapper(
            lambda execute, sql, *rest: (sent.append(sql), execute(sql, *rest))[1]
        ):
            objects = BulkLoad.objects.bulk_create(
                BulkLoad(**dict(zip(COLUMNS, row, strict=True))) for row in data
            )
        assert all(each.pk for each in objects)
        return sum("bulk_load" in sql for sql in sent)

    measured("bulk_create, keys returned in order", number, bulk_create)
    driver.cursor().execute("DROP TABLE [bulk_load]")


if __name__ == "__main__":
    sys.exit(main())
