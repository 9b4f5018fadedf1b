"""CPU and wall time of ORM calls, mssql-django beside this backend and the floors: python benchmarks/orm.py

The floors: the same call on SQLite in memory (Django's own part), the same SQL on kept pyodbc cursors (the driver's
part), and both in turn in one process. The last one is more than the sum of the two: alone, each runs from warm caches;
in turn, Django's code has gone cold each time that the process waited for the server, as it does in a real call.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from math import inf

from side_by_side import BACKENDS, Worker, target

OPERATIONS = ("get", "create", "update", "list of 100", "atomic create", "prefetch")
HOW = {"pyodbc": "raw", "floors": "in_turn"}


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=100, help="calls in a round (default: 100)")
    parser.add_argument(
        "--rounds", type=int, default=10, help="rounds, of which the best counts (default: 10)"
    )
    options = parser.parse_args()
    results = {backend: {name: {"cpu": inf, "wall": inf} for name in OPERATIONS} for backend in BACKENDS}
    with target() as server, ExitStack() as stack:
        workers = {backend: stack.enter_context(Worker(backend, server)) for backend in BACKENDS}
        workers["floors"].ask(do="keep_statements", names=OPERATIONS)
        # Turn by turn, so that whatever else the machine does meets all alike.
        for _ in range(options.rounds):
            for name in OPERATIONS:
                for backend, worker in workers.items():
                    times = worker.ask(do=HOW.get(backend, "timed"), name=name, repeat=options.repeat)
                    for measure, best in results[backend][name].items():
                        results[backend][name][measure] = min(best, times[measure])
    for measure in ("cpu", "wall"):
        print(f"\n{measure.upper()} time of one call, microseconds")
        print(
            f"{'':14} {'mssql-django':>12} {'this one':>9} {'share':>6}   "
            f"{'SQLite':>7} {'pyodbc':>7} {'in turn':>8} {'share':>6}"
        )
        for name in OPERATIONS:
            ours, peer, sqlite, pyodbc, floors = (results[backend][name][measure] for backend in BACKENDS)
            print(
                f"{name:14} {peer:>12.0f} {ours:>9.0f} {ours / peer:>6.2f}   "
                f"{sqlite:>7.0f} {pyodbc:>7.0f} {floors:>8.0f} {floors / peer:>6.2f}"
            )


if __name__ == "__main__":
    main()
