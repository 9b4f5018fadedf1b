"""What is wrong with a plan, worst first."""

from dataclasses import replace
from itertools import islice

from . import rules_operator, rules_statement
from .finding import RULES, Finding, Rule, Severity, Subject
from .model import Plan

__all__ = ["RULES", "Finding", "Rule", "Severity", "findings"]

# Importing the modules of rules fills the register.
_RULE_MODULES = (rules_operator, rules_statement)


# A statement with the same fault in thirty places has one fault: the worst places speak for the rest.
MAX_PER_RULE = 5

# Real plans stay far below; a plan that was made to keep us busy is judged by its beginning.
MAX_JUDGED = 5_000
MAX_PARAMETERS = 100


def findings(plan: Plan) -> list[Finding]:
    """Every finding of every rule: by severity, then by statement, then from the root of the tree down."""
    found: list[Finding] = []
    for position, statement in enumerate(plan.statements):
        for query in statement.plans:
            times = query.times
            root_times = [root.elapsed_ms or 0 for root in query.roots]
            subject = Subject(
                plan=plan,
                statement=statement,
                position=position,
                query=query,
                operators=tuple(islice(query.operators(), MAX_JUDGED)),
                parameters=query.parameters[:MAX_PARAMETERS],
                total_cost=query.cost,
                elapsed_ms=times.elapsed_ms if times else max(root_times, default=0),
            )
            for rule in RULES.values():
                found.extend(_worst(list(rule.apply(subject)), subject))
    depths = {id(finding): finding.operator.depth if finding.operator else -1 for finding in found}
    return sorted(found, key=lambda finding: (-finding.severity, finding.statement, depths[id(finding)]))


def _worst(found: list[Finding], subject: Subject) -> list[Finding]:
    if len(found) <= MAX_PER_RULE:
        return found
    weights = {id(item): subject.weight(item.operator) if item.operator else 0.0 for item in found}
    found.sort(key=lambda finding: (-finding.severity, -weights[id(finding)]))
    last = found[MAX_PER_RULE - 1]
    more = f"{last.detail} The same holds for {len(found) - MAX_PER_RULE} more operators."
    return [*found[: MAX_PER_RULE - 1], replace(last, detail=more)]
