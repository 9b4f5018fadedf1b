"""A plan as plain text: the tree, then what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence

from .finding import Finding
from .findings import findings
from .model import Operator, Plan
from .wording import milliseconds, number, operator_label, percent, shorten


def describe(plan: Plan, found: Sequence[Finding] | None = None) -> list[str]:
    """The tree of each statement, then the findings, as lines."""
    kind = "actual" if plan.is_actual else "estimated"
    lines = [f"Showplan {plan.version}, build {plan.build}, {kind}, {len(plan.statements)} statement(s)"]
    for statement in plan.statements:
        lines += ["", shorten(statement.text or statement.type or statement.kind, 110)]
        total = sum(query.cost for query in statement.plans) or 1.0
        lines += [_operator_line(operator, total) for operator in statement.operators()]
    found = findings(plan) if found is None else found
    lines += ["", f"{len(found)} finding(s)"]
    for finding in found:
        lines += _finding_lines(finding)
    return lines


def _operator_line(operator: Operator, total: float) -> str:
    item = operator.object
    rows = f"{number(operator.estimate_rows_total)} rows estimated"
    if operator.actual_rows is not None:
        rows = f"{number(operator.actual_rows)} of {rows}"
    facts = [percent(min(1.0, operator.cost / total)), rows]
    if operator.elapsed_ms is not None:
        facts.append(milliseconds(operator.self_elapsed_ms))
    warnings = "".join(f"  ! {warning.kind}" for warning in operator.warnings)
    name = f" {item.name}" if item and item.name else ""
    return f"{'  ' * (operator.depth + 1)}{operator_label(operator)}{name}  [{', '.join(facts)}]{warnings}"


def _finding_lines(finding: Finding) -> list[str]:
    lines = [f"- {str(finding.severity).upper()} {finding.title} [{finding.rule}]", f"    {finding.detail}"]
    lines.append(f"    {finding.advice}")
    lines += [f"      {line}" for line in finding.sql.splitlines()]
    return lines
