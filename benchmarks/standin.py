"""What the stand-in costs: CPU of a prepared one-row SELECT, rows per second, memory, and making many tables.

    python benchmarks/standin.py [--statements 100000] [--rows 1000000] [--tables 600]

The goals are those of the project: 0.7 ms of CPU, 50,000 rows per second, flat memory. What the client costs
(Python and pyodbc, on the same cores) is in the times and not in the CPU.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mssql.connection_string import find_driver
from mssql.odbc import driver_package, pyodbc
from sqlserver_standin import StandIn

ROWS = 10_000
MEBIBYTE = 1024 * 1024


class Meter:
    """CPU seconds and memory of the stand-in: its Python process and its PostgreSQL."""

    def __init__(self, pid: int) -> None:
        self._server = psutil.Process(pid)

    def cpu(self) -> tuple[float, float]:
        """CPU seconds of Python, of PostgreSQL."""
        own = self._server.cpu_times()
        postgres = 0.0
        for child in self._server.children(recursive=True):
            times = child.cpu_times()
            postgres += times.user + times.system
        return own.user + own.system, postgres

    def memory(self) -> tuple[float, float]:
        """Resident MiB of Python, private MiB of PostgreSQL."""
        postgres = sum(child.memory_full_info().uss for child in self._server.children(recursive=True))
        return self._server.memory_info().rss / MEBIBYTE, postgres / MEBIBYTE


def report(name: str, value: str, goal: str = "") -> None:
    print(f"{name:<52} {value:>22}   {goal}")


def per_statement(meter: Meter, name: str, run: Callable[[int], None], count: int) -> None:
    run(200)
    python, postgres = meter.cpu()
    start = time.perf_counter()
    run(count)
    elapsed = time.perf_counter() - start
    python_after, postgres_after = meter.cpu()
    python, postgres = (python_after - python) * 1000 / count, (postgres_after - postgres) * 1000 / count
    report(
        name,
        f"{python + postgres:.3f} ms CPU",
        f"Python {python:.3f}, PostgreSQL {postgres:.3f}, {elapsed * 1000 / count:.3f} ms a round trip; goal < 0.7",
    )


def report_growth(name: str, before: tuple[float, float], after: tuple[float, float]) -> None:
    report(
        name,
        f"{after[0] - before[0]:+.1f} / {after[1] - before[1]:+.1f} MiB",
        f"Python {before[0]:.0f} -> {after[0]:.0f}, PostgreSQL {before[1]:.0f} -> {after[1]:.0f}; goal: flat",
    )


def per_row(before: tuple[float, float], after: tuple[float, float], rows: int) -> str:
    python, postgres = ((later - earlier) * 1e6 / rows for earlier, later in zip(before, after, strict=True))
    return f"CPU a row: Python {python:.1f} µs, PostgreSQL {postgres:.1f} µs"


def large_result(meter: Meter, cursor: Any, count: int) -> None:
    """The first row comes at once, and the stand-in keeps none of them."""
    sql = f"SELECT TOP {count} a.id, a.name, a.price FROM product AS a CROSS JOIN product AS b"
    cursor.execute(sql).fetchmany(ROWS)
    cursor.cancel()
    before = meter.memory()
    cpu = meter.cpu()
    start = time.perf_counter()
    cursor.execute(sql).fetchone()
    first = time.perf_counter() - start
    fetched = 1
    most = before
    while rows := cursor.fetchmany(50_000):
        fetched += len(rows)
        most = max(most, meter.memory())
    rate = fetched / (time.perf_counter() - start)
    report(
        f"{fetched:,} rows of 3 columns",
        f"{rate:,.0f} rows/s",
        f"{per_row(cpu, meter.cpu(), fetched)}, first row after {first * 1000:.0f} ms",
    )
    report_growth("Memory meanwhile, at most", before, most)


def many_tables(meter: Meter, cursor: Any, count: int) -> None:
    """As ``migrate --run-syncdb`` makes them: tables, then foreign keys and indexes, in one transaction."""
    python, postgres = meter.cpu()
    start = time.perf_counter()
    cursor.execute("BEGIN TRANSACTION")
    for number in range(count):
        cursor.execute(
            f"CREATE TABLE many_{number} (id int IDENTITY PRIMARY KEY, name nvarchar(100) NOT NULL, other_id int)"
        )
    for number in range(1, count):
        cursor.execute(
            f"ALTER TABLE many_{number} ADD CONSTRAINT many_fk_{number} "
            f"FOREIGN KEY (other_id) REFERENCES many_{number - 1} (id)"
        )
        cursor.execute(f"CREATE INDEX many_ix_{number} ON many_{number} (other_id)")
    cursor.execute("COMMIT")
    elapsed = time.perf_counter() - start
    python_after, postgres_after = meter.cpu()
    report(
        f"{count} tables, foreign keys, indexes in a transaction",
        f"{elapsed:.1f} s",
        f"CPU: Python {python_after - python:.1f} s, PostgreSQL {postgres_after - postgres:.1f} s",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--statements", type=int, default=100_000, help="statements of the memory run")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the large result")
    parser.add_argument("--tables", type=int, default=600, help="tables made in one transaction")
    options = parser.parse_args()

    with StandIn() as server:
        meter = Meter(server.pid)
        text = f"SERVER={server.host},{server.port};UID={server.user};PWD={server.password};Encrypt=no"
        driver = find_driver("", pyodbc.drivers(), driver_package())
        connection = pyodbc.connect(f"DRIVER={driver};{text}", autocommit=True)
        cursor = connection.cursor()
        cursor.execute(
            "CREATE TABLE product (id int IDENTITY PRIMARY KEY, name nvarchar(100), price decimal(9, 2))"
        )
        cursor.execute(
            "INSERT INTO product (name, price) SELECT CONCAT(N'Product ', value), value / 100.0 "
            f"FROM GENERATE_SERIES(1, {ROWS})"
        )

        def one_row(count: int) -> None:
            for number in range(count):
                cursor.execute(
                    "SELECT id, name, price FROM product WHERE id = ?", number % ROWS + 1
                ).fetchall()

        def update(count: int) -> None:
            for number in range(count):
                cursor.execute("UPDATE product SET price = ? WHERE id = ?", number % 90, number % ROWS + 1)
                assert cursor.rowcount == 1

        per_statement(meter, "SELECT of one row by key", one_row, 3000)
        per_statement(meter, "UPDATE of one row by key", update, 2000)

        rates = []
        before = meter.cpu()
        for _ in range(10):
            start = time.perf_counter()
            rows = cursor.execute("SELECT id, name, price FROM product").fetchall()
            rates.append(len(rows) / (time.perf_counter() - start))
        report(
            f"{ROWS:,} rows of 3 columns",
            f"{max(rates):,.0f} rows/s",
            f"{per_row(before, meter.cpu(), ROWS * 10)}; goal > 50,000",
        )

        before = meter.memory()
        one_row(options.statements)
        report_growth(f"Memory after {options.statements:,} more statements", before, meter.memory())

        large_result(meter, cursor, options.rows)
        many_tables(meter, cursor, options.tables)


if __name__ == "__main__":
    main()
