"""What is wrong with a plan, worst first."""

from . import rules_operator, rules_statement
from .finding import RULES, Finding, Rule, Severity, Subject
from .model import Plan

__all__ = ["RULES", "Finding", "Rule", "Severity", "findings"]

# Importing the modules of rules fills the register.
_RULE_MODULES = (rules_operator, rules_statement)


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
                operators=tuple(query.operators()),
                total_cost=query.cost,
                elapsed_ms=times.elapsed_ms if times else max(root_times, default=0),
            )
            for rule in RULES.values():
                found.extend(rule.apply(subject))
    depths = {id(finding): finding.operator.depth if finding.operator else -1 for finding in found}
    return sorted(found, key=lambda finding: (-finding.severity, finding.statement, depths[id(finding)]))
