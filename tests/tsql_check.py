"""`make tsql-check`: every distinct statement of the last test runs, parsed by Microsoft's own T-SQL parser."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import STATEMENTS_DIR
from tests.tsql_parser import TSqlParser, parser_unavailable


def _statements(folder: Path) -> Iterator[dict[str, str]]:
    """The distinct statements that the runs' stand-ins wrote down."""
    seen: set[str] = set()
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text().splitlines():
            entry = json.loads(line)
            if entry["sql"] not in seen:
                seen.add(entry["sql"])
                yield entry


def main() -> int:
    """Parse them all; name each that does not parse with the test that sent it. Returns the exit code."""
    reason = parser_unavailable()
    if reason:
        print(f"tsql-check: Microsoft's parser is not here: {reason}", file=sys.stderr)
        return 2
    parser = TSqlParser()
    parsed = refused = 0
    for entry in _statements(STATEMENTS_DIR):
        # Tests of refusals send wrong T-SQL on purpose, and say so in their label.
        if "refus" in entry.get("label", ""):
            continue
        parsed += 1
        for error in parser.errors(entry["sql"]):
            refused += 1
            print(f"{entry.get('label', '?')}\n  {error}\n  {entry['sql']}\n")
    if not parsed:
        print(f"tsql-check: no statements in {STATEMENTS_DIR}: run `make test` first", file=sys.stderr)
        return 2
    print(f"tsql-check: {parsed} distinct statements parsed, {refused} errors")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
