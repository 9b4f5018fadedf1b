"""Writes docs/django-suite.md: what became of Django's own tests, per version and app, from the last runs.

python -m tests.django_suite.report
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.django_suite.apps import ALL_APPS, FURTHER_APPS, PEER_APPS
from tests.django_suite.run import RESULTS, ROOT

TARGET = ROOT / "docs" / "django-suite.md"

# mssql-django's own list (185 tests, 7 more for regular expressions), and its flags counted on Django 5.2.19.
PEER = {"excluded": 192, "flags": 266}

_FLAG_REASONS = ("Database has feature(s)", "Database doesn't support feature(s)")

HEAD = """\
# Django's own test suite

`make django-tests` (with `APPS="…"` and `DJANGO=5.2|6.0|6.1`) takes Django's tests from its source distribution and
runs them with this backend, on the stand-in or on the server that `MSSQL_HOST` names. This page is written by
`python -m tests.django_suite.report` from the results of the last runs; an app that was not run is not in its tables.

*Skipped by flag*: Django's tests name the database features that they need. *Excluded*: tests that
`DatabaseFeatures.django_test_skips` names, each with its reason below. mssql-django 2.0 excludes {excluded} tests on
Django 5.2 and its flags skip about {flags} more.
"""


@dataclass
class AppResult:
    """The outcomes of one app's tests."""

    counts: Counter[str] = field(default_factory=Counter)
    excluded: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    flags: Counter[str] = field(default_factory=Counter)
    version: str = ""


def main() -> int:
    sections = [HEAD.format(**PEER)]
    exclusions: dict[str, set[str]] = {}
    flags: Counter[str] = Counter()
    for folder in sorted(path for path in RESULTS.iterdir() if path.is_dir()):
        results = dict(read(folder))
        sections.append(version_section(folder.name, results))
        for result in results.values():
            flags.update(result.flags)
            for test, reason in result.excluded.items():
                exclusions.setdefault(reason, set()).add(test)
    sections.append(exclusion_section(exclusions))
    sections.append(flag_section(flags))
    TARGET.write_text("\n".join(sections), encoding="utf-8")
    return 0


def read(folder: Path) -> Iterator[tuple[str, AppResult]]:
    """Yield each app's results, in the order of their names."""
    for path in sorted(folder.glob("*.json")):
        if path.stem not in ALL_APPS:
            continue
        report = json.loads(path.read_text(encoding="utf-8"))
        result = AppResult(version=report["django"])
        for test, outcome in report["tests"].items():
            kind, detail = outcome["outcome"], outcome["detail"]
            if kind == "skipped":
                kind = "flag" if detail.startswith(_FLAG_REASONS) else "other"
                if kind == "flag":
                    result.flags[detail.rpartition("feature(s) ")[2]] += 1
            elif kind == "excluded":
                result.excluded[test] = detail
            elif kind == "failed":
                result.failed.append(test)
            result.counts[kind] += 1
        yield path.stem, result


def version_section(version: str, results: dict[str, AppResult]) -> str:
    total: Counter[str] = Counter()
    rows = []
    for app, result in results.items():
        total.update(result.counts)
        rows.append(f"| {app} | {_cells(result.counts)} |")
    exact = next(iter(results.values())).version if results else version
    missing = [app for app in ALL_APPS if app not in results]
    lines = [
        f"## Django {exact}",
        "",
        f"{len(results)} of {len(PEER_APPS) + len(FURTHER_APPS)} apps.",
        "",
        "| app | run | passed | skipped by flag | excluded | skipped by Django | expected failures | failed |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
        f"| **all** | {_cells(total)} |",
        "",
    ]
    if failed := [test for result in results.values() for test in result.failed]:
        lines += ["Failed:", "", *(f"- `{test}`" for test in failed), ""]
    if missing and results:
        lines += [f"Not run: {', '.join(missing)}.", ""]
    return "\n".join(lines)


def _cells(counts: Counter[str]) -> str:
    kinds = ("passed", "flag", "excluded", "other", "expected", "failed")
    return " | ".join(str(number) for number in (sum(counts.values()), *(counts[kind] for kind in kinds)))


def exclusion_section(exclusions: dict[str, set[str]]) -> str:
    lines = ["## Excluded tests and why", ""]
    for reason, tests in sorted(exclusions.items()):
        lines += [f"- {reason}", *(f"    - `{test}`" for test in sorted(tests))]
    return "\n".join([*lines, ""])


def flag_section(flags: Counter[str]) -> str:
    lines = ["## Features that the skipped tests want", "", "| feature | tests, all versions |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {number} |" for name, number in flags.most_common()), ""])


if __name__ == "__main__":
    sys.exit(main())
