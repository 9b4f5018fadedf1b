"""Runs Django's own tests with mssql-django, a client of SQL Server that nobody here wrote.

python -m tests.django_suite.peer [queries lookup …]

It prints what failed, and a table: what fails beyond the tests that mssql-django's maintainers exclude on SQL Server is
the stand-in's fault, or wants a word in its README.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests import peer
from tests.django_suite.peer_runner import REASON
from tests.django_suite.run import CACHE, ROOT, django_source, keep_outcomes, server_environment

VERSION = "5.2"
RESULTS = CACHE / "mssql-django"
APPS = """
    basic lookup queries aggregation annotations expressions bulk_create transactions schema introspection migrations
    db_functions model_fields select_for_update get_or_create
""".split()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keepdb", action="store_true", help="keep the test databases for the next run")
    parser.add_argument(
        "apps", nargs="*", default=APPS, help=f"apps or test labels (default: {' '.join(APPS)})"
    )
    options = parser.parse_args(arguments)

    source = django_source(VERSION, Path(sys.executable))
    try:
        variables = peer.environment(source, ROOT)
    except peer.NotInstallable as reason:
        raise SystemExit(str(reason)) from None
    variables |= {"PYTHONDONTWRITEBYTECODE": "1", "RUNTESTS_NO_COLOR": "1"}
    # It cannot copy test databases, so one process it is.
    command = [sys.executable, "runtests.py", "--settings=tests.django_suite.peer_settings", "--parallel=1"]
    command += ["--noinput", *(["--keepdb"] if options.keepdb else [])]
    with (
        tempfile.TemporaryDirectory() as folder,
        server_environment(Path(folder, "statements.jsonl")) as server,
    ):
        for label in options.apps:
            outcomes = Path(folder, f"{label}.json")
            environment = server | variables | {"DJANGO_SUITE_OUTCOMES": str(outcomes)}
            subprocess.run([*command, label], cwd=source / "tests", env=environment, check=False)
            if not outcomes.exists():
                raise SystemExit(f"{label}: the tests did not run.")
            keep_outcomes(RESULTS, [label], json.loads(outcomes.read_text(encoding="utf-8")))
    return report(list(dict.fromkeys(label.partition(".")[0] for label in options.apps)))


def report(apps: Sequence[str]) -> int:
    """Print the table in Markdown, then what failed; return an exit status."""
    total: Counter[str] = Counter()
    failed: list[str] = []
    print("| app | tests | passed | skipped by Django | on the list | failed |\n|---|---|---|---|---|---|")
    for app in apps:
        counts: Counter[str] = Counter()
        for test, (kind, detail) in _outcomes(app).items():
            if kind == "expected":
                kind = "passed"
            elif detail == REASON:
                kind = "listed"
            elif kind == "failed":
                failed.append(test)
            counts[kind] += 1
        total.update(counts)
        print(f"| {app} | {_cells(counts)} |")
    print(f"| **all** | {_cells(total)} |")
    for test in failed:
        print(f"- `{test}`")
    return 1 if failed else 0


def _outcomes(app: str) -> dict[str, tuple[str, str]]:
    tests = json.loads((RESULTS / f"{app}.json").read_text(encoding="utf-8"))["tests"]
    return {test: (outcome["outcome"], outcome["detail"]) for test, outcome in tests.items()}


def _cells(counts: Counter[str]) -> str:
    numbers = (sum(counts.values()), *(counts[kind] for kind in ("passed", "skipped", "listed", "failed")))
    return " | ".join(map(str, numbers))


if __name__ == "__main__":
    sys.exit(main())
