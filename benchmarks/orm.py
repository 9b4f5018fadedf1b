"""CPU and wall time of ORM calls, mssql-django beside this backend and the floors: python benchmarks/orm.py

The floors: the same call on SQLite in memory (Django's own part), the same SQL on kept pyodbc cursors (the driver's
part), and both in turn in one process. The last one is more than the sum of the two: alone, each runs from warm caches;
in turn, Django's code has gone cold each time that the process waited for the server, as it does in a real call.

With --instructions each worker runs under valgrind, and what is counted is what the client's CPU executes, without the
kernel: slow, but the same on a busy machine as on a quiet one, and with nothing in it of caches.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from math import inf
from pathlib import Path

from side_by_side import BACKENDS, Target, Worker, target

OPERATIONS = ("get", "create", "update", "list of 100", "atomic create", "prefetch")
HOW = {"pyodbc": "raw", "floors": "in_turn"}

Measured = dict[str, float]
Results = dict[str, dict[str, Measured]]
"""Backend, operation, measure."""


def run(backend: str, worker: Worker, name: str, repeat: int) -> Measured:
    return worker.ask(do=HOW.get(backend, "timed"), name=name, repeat=repeat)


def measure_time(stack: ExitStack, server: Target, rounds: int, repeat: int) -> Results:
    results: Results = {
        backend: {name: {"CPU time": inf, "wall time": inf} for name in OPERATIONS} for backend in BACKENDS
    }
    workers = {backend: stack.enter_context(Worker(backend, server)) for backend in BACKENDS}
    workers["floors"].ask(do="keep_statements", names=OPERATIONS)
    # Turn by turn, so that whatever else the machine does meets all alike.
    for _ in range(rounds):
        for name in OPERATIONS:
            for backend, worker in workers.items():
                worker.ask(do="collect")  # what was before is not paid for by what comes
                times = run(backend, worker, name, repeat)
                best = results[backend][name]
                best["CPU time"] = min(best["CPU time"], times["cpu"])
                best["wall time"] = min(best["wall time"], times["wall"])
    return results


def measure_instructions(stack: ExitStack, server: Target, repeat: int) -> Results:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    results: Results = {}
    for backend in BACKENDS:
        callgrind = ("valgrind", "--tool=callgrind", "--quiet", f"--callgrind-out-file={folder / backend}")
        with Worker(backend, server, under=callgrind) as worker:
            if backend == "floors":
                worker.ask(do="keep_statements", names=OPERATIONS)
            count = partial(_instructions, folder, worker.pid)
            results[backend] = {}
            for name in OPERATIONS:
                run(backend, worker, name, 3)  # fills the caches of Django, of the backend and of the driver
                worker.ask(do="collect")
                total = count(partial(run, backend, worker, name, repeat))
                results[backend][name] = {"thousands of instructions": total / repeat / 1000}
    return results


def _instructions(folder: Path, pid: int, block: Callable[[], object]) -> int:
    """Instructions of a process under callgrind, from now to the end of ``block``."""

    def control(option: str) -> None:
        subprocess.run(["callgrind_control", option, str(pid)], check=True, capture_output=True)

    control("--zero")
    block()
    before = set(folder.iterdir())
    control("--dump")
    (dump,) = set(folder.iterdir()) - before
    total = re.search(r"^totals: (\d+)", dump.read_text(), re.MULTILINE)
    assert total is not None
    return int(total[1])


def report(results: Results) -> None:
    for measure in results["ours"]["get"]:
        unit = ", microseconds" if measure.endswith("time") else ""
        print(f"\nOne call, {measure}{unit}")
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


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    # Short rounds: one among many falls between what else the machine does.
    parser.add_argument("--repeat", type=int, default=10, help="calls in a round (default: 10)")
    parser.add_argument(
        "--rounds", type=int, default=50, help="rounds, of which the best counts (default: 50)"
    )
    parser.add_argument(
        "--instructions", action="store_true", help="count instructions with valgrind (one round)"
    )
    options = parser.parse_args()
    with target() as server, ExitStack() as stack:
        if options.instructions:
            report(measure_instructions(stack, server, options.repeat))
        else:
            report(measure_time(stack, server, options.rounds, options.repeat))


if __name__ == "__main__":
    main()
