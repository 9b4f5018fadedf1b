"""Rows per second of bulk inserts: mssql-django, this backend, and the ways to send rows that it chose from.

python benchmarks/bulk_load.py

Without MSSQL_HOST it runs on the stand-in, where the server's share of the time is not SQL Server's: compare the
client's CPU and the number of statements there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import date
from decimal import Decimal
from typing import Any

# side_by_side puts the project's root on the path, so it comes first.
from side_by_side import Target, Worker, target

from mssql.connection_string import find_driver, quote
from mssql.odbc import driver_package, pyodbc
from mssql.parameters import template

NUMBER = 10_000
COLUMNS = ("name", "text", "number", "price", "day", "flag")
NAMES = ", ".join(f"[{name}]" for name in COLUMNS)
DDL = (
    "CREATE TABLE #rows ([id] bigint IDENTITY (1, 1) PRIMARY KEY, [name] nvarchar(100) NOT NULL, "
    "[text] nvarchar(200) NOT NULL, [number] int NOT NULL, [price] decimal(10, 2) NOT NULL, [day] date NOT NULL, "
    "[flag] bit NOT NULL)"
)
WITH = (
    "WITH ([name] nvarchar(max) '$[0]', [text] nvarchar(max) '$[1]', [number] int '$[2]', "
    "[price] decimal(10, 2) '$[3]', [day] date '$[4]', [flag] bit '$[5]')"
)
BULK_CREATE = "bulk_create of 10,000 x 6"
BACKENDS = {"bulk_create, mssql-django 2.0.0": "peer", "bulk_create, this backend": "ours"}

Row = tuple[str, str, int, Decimal, date, bool]


def rows() -> list[Row]:
    """The values that benchmarks/worker.py gives to bulk_create."""
    return [
        (f"name {n}", "t" * (n % 50), n, Decimal(f"{n % 1000}.50"), date(2024, 1, 1 + n % 28), n % 2 == 0)
        for n in range(NUMBER)
    ]


def by_values(cursor: Any, data: list[Row]) -> int:
    """INSERT … VALUES with as many rows as 2,098 parameters allow."""
    size = 2098 // len(COLUMNS)
    for start in range(0, len(data), size):
        chunk = data[start : start + size]
        markers = ", ".join(["(?, ?, ?, ?, ?, ?)"] * len(chunk))
        cursor.execute(f"INSERT INTO #rows ({NAMES}) VALUES {markers}", [v for row in chunk for v in row])
    return -(-len(data) // size)


def by_fast_executemany(cursor: Any, data: list[Row]) -> int:
    """pyodbc's array of parameters."""
    cursor.fast_executemany = True
    cursor.executemany(f"INSERT INTO #rows ({NAMES}) VALUES (?, ?, ?, ?, ?, ?)", data)
    return 1


def by_json(cursor: Any, data: list[Row]) -> int:
    """INSERT … SELECT … FROM OPENJSON(?), one parameter."""
    text = json.dumps(
        [
            (name, text, number, str(price), day.isoformat(), flag)
            for name, text, number, price, day, flag in data
        ],
        separators=(",", ":"),
    )
    # pyodbc does not declare a long text as nvarchar(max) by itself.
    _, declarations = template("SELECT %s").bind([text])
    cursor.setinputsizes(declarations)
    cursor.execute(f"INSERT INTO #rows ({NAMES}) SELECT {NAMES} FROM OPENJSON(?) {WITH}", [text])
    return 1


WAYS: dict[str, Callable[[Any, list[Row]], int]] = {
    "pyodbc: VALUES": by_values,
    "pyodbc: fast_executemany": by_fast_executemany,
    "pyodbc: OPENJSON": by_json,
}


def connect(server: Target) -> Any:
    driver = find_driver("", pyodbc.drivers(), driver_package())
    return pyodbc.connect(
        f"Driver={quote(driver)};Server={server.host},{server.port};UID={quote(server.user)};"
        f"PWD={quote(server.password)};Encrypt=yes;TrustServerCertificate=yes",
        autocommit=True,
    )


def timed(connection: Any, way: Callable[[Any, list[Row]], int], data: list[Row]) -> dict[str, float]:
    """The same measures as Worker's, of one way to send the rows with no ORM around it."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM #rows")
    with connection.cursor() as cursor:
        wall, cpu = time.perf_counter(), time.process_time()
        way(cursor, data)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"cpu": cpu * 1e6, "wall": wall * 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the best counts (default: 3)")
    rounds = parser.parse_args().rounds
    data = rows()
    statements: dict[str, int] = {}
    best: dict[str, dict[str, float]] = {}

    def note(name: str, measures: dict[str, float]) -> None:
        best[name] = {
            measure: min(value, best.get(name, measures)[measure]) for measure, value in measures.items()
        }

    with target() as server, ExitStack() as stack:
        connection = connect(server)
        stack.callback(connection.close)
        connection.execute(DDL)
        workers = {name: stack.enter_context(Worker(backend, server)) for name, backend in BACKENDS.items()}
        for name, worker in workers.items():
            statements[name] = worker.ask(do="counted", name=BULK_CREATE)
        for name, way in WAYS.items():
            with connection.cursor() as cursor:
                statements[name] = way(cursor, data)
        # Turn by turn, so that whatever else the machine does meets all alike.
        for _ in range(rounds):
            for name, worker in workers.items():
                note(name, worker.ask(do="timed", name=BULK_CREATE, repeat=1))
            for name, way in WAYS.items():
                note(name, timed(connection, way, data))

    print(f"{NUMBER:,} rows x {len(COLUMNS)} columns; bulk_create returns the keys, in order\n")
    print(f"{'':32} {'statements':>10} {'wall s':>7} {'client CPU s':>12} {'rows/s':>7}")
    for name, measures in best.items():
        wall, cpu = measures["wall"] / 1e6, measures["cpu"] / 1e6
        print(f"{name:32} {statements[name]:>10} {wall:>7.2f} {cpu:>12.2f} {NUMBER / wall:>7,.0f}")


if __name__ == "__main__":
    main()
