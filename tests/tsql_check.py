"""`make tsql-check`: every distinct statement of the last test runs, parsed by Microsoft's own T-SQL parser."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import STATEMENTS_DIR
from tests.tsql_parser import ParserUnavailable, TSqlParser, number_markers

NEWER = [
    ("SQL Server 2022", re.compile(r"(@\w+|'(?:[^']|'')*'):\s"), r"\1, "),  # JSON_OBJECT('key': value)
    ("SQL Server 2022", re.compile(r"\b(?:NULL|ABSENT)\s+ON\s+NULL\b", re.IGNORECASE), ""),
    ("SQL Server 2022", re.compile(r"\bIS\s+(?:NOT\s+)?DISTINCT\s+FROM\b", re.IGNORECASE), "="),
    ("SQL Server 2025", re.compile(r"\bREGEXP_LIKE\s*\(", re.IGNORECASE), "1 = dbo.REGEXP_LIKE("),
]
"""Syntax that came after the parser's own version, SQL Server 2019: which version brought it, oldest first, and what
the parser takes in its place.
https://learn.microsoft.com/sql/t-sql/functions/json-object-transact-sql,
https://learn.microsoft.com/sql/t-sql/functions/json-array-transact-sql,
https://learn.microsoft.com/sql/t-sql/queries/is-distinct-from-transact-sql,
https://learn.microsoft.com/sql/t-sql/functions/regexp-like-transact-sql."""

WRONG_ON_PURPOSE = re.compile(r"refus|fuzz|syntax|wire|rejected|broken|invalid", re.IGNORECASE)
"""Tests of what is no T-SQL say so in their name."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the parser says of a statement; ``version`` is the server that a right one wants, if newer than it."""

    errors: list[str]
    version: str | None = None


def judge(parser: TSqlParser, sql: str) -> Verdict:
    """Parse a statement; where newer syntax is refused, everything else in it must parse."""
    errors = parser.errors(sql)
    if not errors:
        return Verdict([])
    older = number_markers(sql)
    version = None
    for since, syntax, replacement in NEWER:
        older, replaced = syntax.subn(replacement, older)
        version = since if replaced else version
    if version and not parser.errors(older):
        return Verdict([], version)
    return Verdict(errors)


def _statements(folder: Path) -> Iterator[dict[str, str]]:
    """The distinct statements that the runs' stand-ins wrote down."""
    seen: set[str] = set()
    for file in sorted(folder.glob("**/*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if entry["sql"] not in seen:
                seen.add(entry["sql"])
                yield entry


def main() -> int:
    """Parse them all; name each that does not parse with the test that sent it. Returns the exit code."""
    try:
        parser = TSqlParser()
    except ParserUnavailable as error:
        print(f"tsql-check: {error}", file=sys.stderr)
        return 2
    parsed = refused = on_purpose = 0
    newer: Counter[str] = Counter()
    for entry in _statements(STATEMENTS_DIR):
        label = entry.get("label") or "(no test)"
        verdict = judge(parser, entry["sql"])
        parsed += 1
        if verdict.version:
            newer[verdict.version] += 1
        elif verdict.errors and WRONG_ON_PURPOSE.search(label):
            on_purpose += 1
        elif verdict.errors:
            refused += 1
            print(f"{label}\n  {'; '.join(verdict.errors)}\n  {entry['sql']}\n")
    if not parsed:
        print(f"tsql-check: no statements in {STATEMENTS_DIR}: run `make test` first", file=sys.stderr)
        return 2
    print(f"tsql-check: {parsed} distinct statements, {refused} with syntax errors")
    print(f"  {on_purpose} wrong ones come from tests of refusals")
    for version, count in newer.items():
        print(f"  {count} are for {version} and newer, which this parser (SQL Server 2019) does not know")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
