"""What the stand-in costs: CPU of a prepared one-row SELECT, rows per second, memory over many statements.

    python benchmarks/standin.py [--statements 100000]

The goals are those of the project: 0.7 ms of CPU, 50,000 rows per second, flat memory.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--statements", type=int, default=20_000, help="statements of the memory run")
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
        for _ in range(5):
            start = time.perf_counter()
            rows = cursor.execute("SELECT id, name, price FROM product").fetchall()
            rates.append(len(rows) / (time.perf_counter() - start))
        report(f"{ROWS:,} rows of 3 columns", f"{max(rates):,.0f} rows/s", "goal > 50,000")

        before = meter.memory()
        one_row(options.statements)
        after = meter.memory()
        report(
            f"Memory after {options.statements:,} more statements",
            f"{after[0] - before[0]:+.1f} / {after[1] - before[1]:+.1f} MiB",
            f"Python {before[0]:.0f} -> {after[0]:.0f}, PostgreSQL {before[1]:.0f} -> {after[1]:.0f}; goal: flat",
        )


if __name__ == "__main__":
    main()
