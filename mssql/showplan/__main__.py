"""Read a .sqlplan file on the command line: python -m mssql.showplan file.sqlplan [--svg out.svg] [--json] …"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from pathlib import Path

from .compare import Comparison, compare
from .document import ShowplanError
from .findings import findings
from .parse import parse
from .redact import redact
from .svg import to_svg
from .text import describe
from .wording import number


def main(arguments: list[str] | None = None) -> int:
    """Print the tree and the findings; draw, redact, compare where asked to."""
    parser = argparse.ArgumentParser(
        prog="python -m mssql.showplan", description="Read a SQL Server execution plan."
    )
    parser.add_argument("file", help="a .sqlplan file, or - for standard input")
    parser.add_argument("--svg", metavar="OUT", type=Path, help="draw the plan into this file")
    parser.add_argument("--json", action="store_true", help="print the plan and its findings as JSON")
    parser.add_argument(
        "--redact", metavar="OUT", type=Path, help="write the plan without literals and values"
    )
    parser.add_argument("--compare", metavar="OTHER", help="compare with a second plan")
    options = parser.parse_args(arguments)
    name = options.file
    try:
        xml = _read(name)
        plan = parse(xml)
        other = None
        if options.compare:
            name = options.compare
            other = parse(_read(name))
        if options.redact:
            name = options.redact
            name.write_text(redact(xml), encoding="utf-8")
        if options.svg:
            name = options.svg
            name.write_text(to_svg(plan), encoding="utf-8")
    except (OSError, ShowplanError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        print(f"{parser.prog}: {name}: {reason}", file=sys.stderr)
        return 1
    comparison = compare(plan, other) if other is not None else None
    if options.json:
        document = plan.to_dict() | {"findings": [finding.to_dict() for finding in findings(plan)]}
        if comparison is not None:
            document["comparison"] = comparison.to_dict()
        print(json.dumps(document, indent=2, ensure_ascii=False))
        return 0
    print("\n".join(describe(plan)))
    if comparison is not None:
        print("\n".join(_comparison_lines(comparison)))
    return 0


def _read(name: str) -> bytes:
    return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()


def _comparison_lines(comparison: Comparison) -> list[str]:
    lines = ["", "Compared with the second plan" + (" (same shape)" if comparison.same_shape else "")]
    for fact in comparison.facts:
        factor = f"  × {fact.factor:.3g}" if fact.factor is not None else ""
        lines.append(
            f"  {fact.name:<28} {number(fact.first):>12} {number(fact.second):>12} {fact.unit}{factor}"
        )
    lines += [f"  gone: {finding.title}" for finding in comparison.findings_gone]
    lines += [f"  new:  {finding.title}" for finding in comparison.findings_new]
    return lines


def _run() -> int:
    """As Unix tools do, end quietly when the reader of the output (head, less) has seen enough
    (https://docs.python.org/3/library/signal.html#note-on-sigpipe)."""
    for stream in (sys.stdout, sys.stderr):
        # What the terminal's encoding lacks (×, ≈, names) is shown as ?.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more when it exits: into nothing, else it would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


if __name__ == "__main__":
    sys.exit(_run())
