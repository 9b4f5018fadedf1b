"""Writes docs/django-suite.md: what became of Django's own tests, per version and app, from the last runs.

python -m tests.django_suite.report
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.django_suite.apps import ALL_APPS, PEER_APPS
from tests.django_suite.flags import FLAG_REASONS
from tests.django_suite.run import RESULTS, ROOT, STATEMENTS, VERSIONS, app_of
from tests.tsql_check import judge
from tests.tsql_parser import ParserUnavailable, TSqlParser

TARGET = ROOT / "docs" / "django-suite.md"
PEER_EXCLUSIONS = ROOT / "tests" / "django_suite" / "peer_exclusions.txt"

WRONG_ON_PURPOSE = {
    "constraints.tests.CheckConstraintTests.test_validate_rawsql_expressions_noop": "a condition in raw SQL that names "
    "a column without its table, and whose error Django swallows",
}
"""Tests that send what no database of theirs takes."""

LACKING = "Database doesn't support"
HAVING = "Database has feature(s) "
"""How the reasons of Django's skipUnlessDBFeature() and skipIfDBFeature() begin."""

HEAD = """\
# Django's own test suite

`make django-tests` (with `APPS="…"` and `DJANGO=5.2|6.0|6.1`) takes Django's tests from its source distribution and
runs them with this backend, on the stand-in or on the server that `MSSQL_HOST` names. It makes an environment of its
own below `var/django-suite` for each version of Python; Django 6 wants 3.12 or newer, which is looked for on PATH and
in pyenv. This page is written by `python -m tests.django_suite.report` from the results of the last runs.

*Skipped by flag*: Django's tests name the features that a database must have, or must not have. *Excluded*: tests that
`DatabaseFeatures.django_test_skips` names. Each reason stands [below](#excluded-tests-and-why). *Skipped otherwise*:
tests of other databases and of caches, browsers and servers that are not here. *Expected failures* are Django's own.
"""

PEER_ROW = (
    "| mssql-django 2.0 on Django 5.2, by its own figures | {apps} | ≈ 6,200 | more than 5,400 | about 266 | "
    "{excluded} | ≈ 500 | | |"
)
"""Its README and test settings; the flags were counted from the decorators in Django's tests, both kinds, and the
exclusions are its list of 185 tests and 7 of regular expressions."""

NO_REASON = "**no reason given**"

COLUMNS = ("passed", "flag", "excluded", "other", "expected", "failed")


@dataclass
class AppResult:
    """The outcomes of one app's tests."""

    counts: Counter[str] = field(default_factory=Counter)
    excluded: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    lacking: Counter[str] = field(default_factory=Counter)
    having: Counter[str] = field(default_factory=Counter)


@dataclass
class VersionResult:
    """The results of the apps under one version of Django."""

    django: str = ""
    apps: dict[str, AppResult] = field(default_factory=dict)

    def total(self) -> Counter[str]:
        return sum((result.counts for result in self.apps.values()), Counter())


def main() -> int:
    results = {version: read(version) for version in VERSIONS}
    sections = [
        HEAD,
        summary(results),
        statement_section(),
        exclusion_section(results),
        flag_section(results),
        *(version_section(version, result) for version, result in results.items()),
    ]
    text = "\n".join(sections)
    TARGET.write_text(text, encoding="utf-8")
    if NO_REASON in text:
        print("tests/django_suite/flags.py lacks the reason of a flag", file=sys.stderr)
        return 1
    return 0


def read(version: str) -> VersionResult:
    """Read the results of the apps, in the order of their names."""
    found = VersionResult()
    for path in sorted((RESULTS / version).glob("*.json")):
        if path.stem in ALL_APPS:
            report = json.loads(path.read_text(encoding="utf-8"))
            found.django = report["django"]
            found.apps[path.stem] = _app_result(report["tests"])
    return found


def _app_result(tests: dict[str, dict[str, str]]) -> AppResult:
    result = AppResult()
    for test, outcome in tests.items():
        kind, detail = outcome["outcome"], outcome["detail"]
        if kind == "skipped" and detail.startswith(LACKING):
            kind = "flag"
            result.lacking[detail.partition("feature(s): ")[2]] += 1
        elif kind == "skipped" and detail.startswith(HAVING):
            kind = "flag"
            result.having[detail.removeprefix(HAVING)] += 1
        elif kind == "skipped":
            kind = "other"
        elif kind == "excluded":
            result.excluded[test] = detail
        elif kind == "failed":
            result.failed.append(test)
        result.counts[kind] += 1
    return result


def summary(results: dict[str, VersionResult]) -> str:
    lines = [
        "| | apps | run | passed | skipped by flag | excluded | skipped otherwise | expected failures | failed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| Django {result.django} | {len(result.apps)} | {_cells(result.total())} |"
        for result in results.values()
        if result.apps
    ]
    excluded = sum(peer_exclusions().values())
    return "\n".join([*lines, PEER_ROW.format(apps=len(PEER_APPS), excluded=excluded), ""])


def _cells(counts: Counter[str]) -> str:
    return " | ".join(f"{number:,}" for number in (counts.total(), *(counts[kind] for kind in COLUMNS)))


def peer_exclusions() -> Counter[str]:
    """Count the tests that mssql-django excludes, per app."""
    lines = PEER_EXCLUSIONS.read_text(encoding="utf-8").splitlines()
    return Counter(app_of(line) for line in lines if line and not line.startswith("#"))


# The statements that were sent


def statement_section() -> str:
    lines = ["## The statements under Microsoft's parser", ""]
    try:
        parser = TSqlParser()
    except ParserUnavailable as error:
        return "\n".join([*lines, f"Not checked: {error}", ""])
    lines += [
        "Each distinct statement that the runs sent to the stand-in was parsed by Microsoft's own T-SQL parser "
        "(ScriptDom). Its grammar ends with SQL Server 2019; a statement with newer syntax counts as right when all "
        "else in it parses.",
        "",
        "| Django | distinct statements | parsed | for newer servers | wrong on purpose | refused |",
        "|---|---|---|---|---|---|",
    ]
    newer: dict[str, dict[str, str]] = defaultdict(dict)
    refused: dict[str, str] = {}
    for version in VERSIONS:
        counts: Counter[str] = Counter()
        for sql, label in statements(version):
            verdict = judge(parser, sql)
            if verdict.version:
                newer[verdict.version].setdefault(sql, label)
            elif verdict.errors and label in WRONG_ON_PURPOSE:
                counts["on purpose"] += 1
                continue
            elif verdict.errors:
                refused.setdefault(sql, f"`{label}`: {'; '.join(verdict.errors)}")
            counts["newer" if verdict.version else "refused" if verdict.errors else "parsed"] += 1
        if counts:
            numbers = (
                counts.total(),
                *(counts[kind] for kind in ("parsed", "newer", "on purpose", "refused")),
            )
            lines.append(f"| {version} | {' | '.join(f'{number:,}' for number in numbers)} |")
    for server, texts in newer.items():
        lines += ["", f"For {server} and newer:", ""]
        lines += [f"- `{label}`:\n  `` {' '.join(sql.split())} ``" for sql, label in texts.items()]
    lines += ["", "Wrong on purpose:", ""]
    lines += [f"- `{test}`: {why}." for test, why in WRONG_ON_PURPOSE.items()]
    if refused:
        lines += ["", "Refused:", ""]
        lines += [f"- {why}\n  `` {' '.join(sql.split())} ``" for sql, why in refused.items()]
    return "\n".join([*lines, ""])


def statements(version: str) -> Iterator[tuple[str, str]]:
    """Yield the distinct statements of a version's runs, each with the test that sent it first."""
    seen: set[str] = set()
    for path in sorted((STATEMENTS / version).glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if entry["sql"] not in seen:
                seen.add(entry["sql"])
                yield entry["sql"], entry["label"]


# What did not run, and why


def exclusion_section(results: dict[str, VersionResult]) -> str:
    versions: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for version, result in results.items():
        for app in result.apps.values():
            for test, reason in app.excluded.items():
                versions[reason][test].append(version)
    run = [version for version, result in results.items() if result.apps]
    lines = ["## Excluded tests and why", ""]
    for reason, tests in sorted(versions.items()):
        lines.append(f"- {reason}")
        for test, where in sorted(tests.items()):
            only = "" if where == run else f" ({', '.join(where)})"
            lines.append(f"    - `{test}`{only}")
    return "\n".join([*lines, ""])


def flag_section(results: dict[str, VersionResult]) -> str:
    run = [version for version, result in results.items() if result.apps]
    heads = [f"| {' | '.join(run)} |", f"|{'---|' * len(run)}"]

    def rows(kind: str) -> Iterator[tuple[str, str]]:
        counts: dict[str, Counter[str]] = {
            version: sum((getattr(app, kind) for app in results[version].apps.values()), Counter())
            for version in run
        }
        names = sorted(
            set().union(*counts.values()), key=lambda name: (-max(c[name] for c in counts.values()), name)
        )
        for name in names:
            yield name, " | ".join(str(counts[version][name]) for version in run)

    lines = ["## Tests skipped by flag", "", "That want a feature which SQL Server has not:", ""]
    lines += [f"| feature {heads[0]} why it is off |", f"|---{heads[1]}---|"]
    for name, numbers in rows("lacking"):
        # Of several flags that a test wants, those that are on need no reason.
        reasons = [FLAG_REASONS[flag] for flag in name.split(", ") if flag in FLAG_REASONS]
        lines.append(f"| `{name.replace(', ', '`, `')}` | {numbers} | {' '.join(reasons) or NO_REASON} |")
    lines += ["", "That want a database without a feature, to see its refusal or its way around:", ""]
    lines += [f"| feature {heads[0]}", f"|---{heads[1]}"]
    lines += [f"| `{name}` | {numbers} |" for name, numbers in rows("having")]
    return "\n".join([*lines, ""])


def version_section(version: str, result: VersionResult) -> str:
    if not result.apps:
        return ""
    peer = peer_exclusions() if version == "5.2" else None
    head = (
        "| app | run | passed | skipped by flag | excluded | skipped otherwise | expected failures | failed |"
    )
    rows = [
        f"| {app} | {_cells(result.counts)} |" + ("" if peer is None else f" {peer[app]} |")
        for app, result in result.apps.items()
    ]
    lines = [
        f"## Django {result.django}",
        "",
        head + ("" if peer is None else " mssql-django excludes |"),
        "|---" * (8 if peer is None else 9) + "|",
        *rows,
        f"| **all** | {_cells(result.total())} |" + ("" if peer is None else f" {peer.total()} |"),
        "",
    ]
    if failed := [test for app in result.apps.values() for test in app.failed]:
        lines += ["Failed:", "", *(f"- `{test}`" for test in failed), ""]
    if missing := [app for app in ALL_APPS if app not in result.apps]:
        lines += [f"Without tests of their own in this version, or not run: {', '.join(missing)}.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
