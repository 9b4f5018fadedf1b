"""CPU and wall time of ORM calls, mssql-django beside this backend and two floors: python benchmarks/orm.py

The floors: the same call on SQLite in memory (Django's own part), and the same SQL on kept pyodbc cursors.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from math import inf

from side_by_side import BACKENDS, Worker, target

OPERATIONS = ("get", "create", "update", "list of 100", "atomic create", "prefetch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=100, help="calls in a round (default: 100)")
    parser.add_argument(
        "--rounds", type=int, default=10, help="rounds, of which the best counts (default: 10)"
    )
    options = parser.parse_args()
    results = {backend: {name: {"cpu": inf, "wall": inf} for name in OPERATIONS} for backend in BACKENDS}
    with target() as server, ExitStack() as stack:
        workers = {backend: stack.enter_context(Worker(backend, server)) for backend in BACKENDS}
        # Turn by turn, so that whatever else the machine does meets all alike.
        for _ in range(options.rounds):
            for name in OPERATIONS:
                for backend, worker in workers.items():
                    how = "raw" if backend == "pyodbc" else "timed"
                    times = worker.ask(do=how, name=name, repeat=options.repeat)
                    for measure, best in results[backend][name].items():
                        results[backend][name][measure] = min(best, times[measure])
    for measure in ("cpu", "wall"):
        print(f"\n{measure.upper()} time of one call, microseconds")
        print(f"{'':16} {'mssql-django':>12} {'this one':>9} {'share':>6}   {'SQLite':>7} {'pyodbc':>7}")
        for name in OPERATIONS:
            peer, ours, sqlite, pyodbc = (
                results[backend][name][measure] for backend in ("peer", "ours", "sqlite", "pyodbc")
            )
            print(f"{name:16} {peer:>12.0f} {ours:>9.0f} {ours / peer:>6.2f}   {sqlite:>7.0f} {pyodbc:>7.0f}")


if __name__ == "__main__":
    main()
