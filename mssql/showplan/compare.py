"""Two plans compared: what they cost and did, which operators differ, which findings came and went."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from .finding import Finding
from .findings import findings
from .model import Operator, Parameter, Plan

# SequenceMatcher takes quadratic time; plans with more operators than this are compared from the root down to here.
MAX_OPERATORS = 1_000


@dataclass(frozen=True, slots=True)
class Fact:
    """One figure of both plans; smaller is better."""

    name: str
    first: float | None
    second: float | None
    unit: str = ""

    @property
    def factor(self) -> float | None:
        """Second by first: 0.5 is half of it."""
        if self.first is None or self.second is None or not self.first:
            return None
        return self.second / self.first

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "first": self.first, "second": self.second, "unit": self.unit}


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """An operator of the first plan and its counterpart in the second; None where there is none."""

    first: Operator | None
    second: Operator | None

    @property
    def change(self) -> str:
        """same, removed or added."""
        if self.first is None:
            return "added"
        return "removed" if self.second is None else "same"


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """What differs between two plans."""

    same_shape: bool
    facts: tuple[Fact, ...]
    pairs: tuple[Pair, ...]
    findings_gone: tuple[Finding, ...]
    findings_new: tuple[Finding, ...]
    parameters: tuple[tuple[str, str | None, str | None], ...]
    """Parameters whose values differ: name, value in the first, value in the second."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "same_shape": self.same_shape,
            "facts": [fact.to_dict() for fact in self.facts],
            "operators": [
                {
                    "change": pair.change,
                    "first": pair.first.to_dict() if pair.first else None,
                    "second": pair.second.to_dict() if pair.second else None,
                }
                for pair in self.pairs
            ],
            "findings_gone": [finding.to_dict() for finding in self.findings_gone],
            "findings_new": [finding.to_dict() for finding in self.findings_new],
            "parameters": [list(item) for item in self.parameters],
        }


def compare(first: Plan, second: Plan) -> Comparison:
    """Compare two plans, usually of the same statement before and after a change."""
    pairs = tuple(_pairs(list(first.operators()), list(second.operators())))
    gone, new = _difference(findings(first), findings(second))
    values = {parameter.name: _value(parameter) for parameter in first.parameters}
    other_values = {parameter.name: _value(parameter) for parameter in second.parameters}
    return Comparison(
        same_shape=all(pair.change == "same" for pair in pairs),
        facts=tuple(_facts(first, second)),
        pairs=pairs,
        findings_gone=gone,
        findings_new=new,
        parameters=tuple(
            (name, values.get(name), other_values.get(name))
            for name in dict.fromkeys((*values, *other_values))
            if values.get(name) != other_values.get(name)
        ),
    )


def _value(parameter: Parameter) -> str | None:
    return parameter.compiled_value if parameter.runtime_value is None else parameter.runtime_value


def _signature(operator: Operator) -> tuple[Any, ...]:
    item = operator.object
    return operator.depth, operator.physical_op, operator.logical_op, item.name if item else ""


def _pairs(first: list[Operator], second: list[Operator]) -> list[Pair]:
    matcher = SequenceMatcher(
        None,
        [_signature(operator) for operator in first[:MAX_OPERATORS]],
        [_signature(operator) for operator in second[:MAX_OPERATORS]],
        autojunk=False,
    )
    pairs: list[Pair] = []
    for change, start, end, other_start, other_end in matcher.get_opcodes():
        if change == "equal":
            pairs.extend(
                Pair(one, other)
                for one, other in zip(first[start:end], second[other_start:other_end], strict=True)
            )
        else:
            pairs.extend(Pair(operator, None) for operator in first[start:end])
            pairs.extend(Pair(None, operator) for operator in second[other_start:other_end])
    return pairs


def _facts(first: Plan, second: Plan) -> list[Fact]:
    other = _figures(second)
    return [
        Fact(name, value, other[name][0], unit)
        for name, (value, unit) in _figures(first).items()
        if value is not None or other[name][0] is not None
    ]


def _figures(plan: Plan) -> dict[str, tuple[float | None, str]]:
    operators = list(plan.operators())
    statements = plan.statements
    times = [statement.times for statement in statements if statement.times]
    grants = [statement.memory for statement in statements if statement.memory]
    query_plans = [query for statement in statements for query in statement.plans]

    def total(name: str) -> float | None:
        values = [value for operator in operators if (value := getattr(operator, name)) is not None]
        return sum(values) if values else None

    factors = [max(ratio, 1 / ratio) for operator in operators if (ratio := operator.row_factor)]
    return {
        "Estimated cost": (plan.cost, ""),
        "Elapsed time": (sum(item.elapsed_ms for item in times) if times else None, "ms"),
        "CPU time": (sum(item.cpu_ms for item in times) if times else None, "ms"),
        "Logical reads": (total("logical_reads"), ""),
        "Physical reads": (total("physical_reads"), ""),
        "Rows read": (total("actual_rows_read"), ""),
        "Memory granted": (sum(item.granted or 0 for item in grants) if grants else None, "KB"),
        "Memory used": (sum(item.max_used or 0 for item in grants) if grants else None, "KB"),
        "Waits": (sum(wait.milliseconds for wait in plan.waits) if plan.waits else None, "ms"),
        "Degree of parallelism": (
            max((item.degree_of_parallelism or 0 for item in query_plans), default=None),
            "",
        ),
        "Worst row estimate (factor)": (max(factors) if factors else None, "×"),
        "Operators": (len(operators), ""),
        "Warnings": (len(plan.warnings), ""),
        "Missing indexes": (len(plan.missing_indexes), ""),
    }


def _difference(
    first: list[Finding], second: list[Finding]
) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """The findings that only the first has, and those that only the second has."""
    before, after = Counter(_kind(item) for item in first), Counter(_kind(item) for item in second)
    return _surplus(first, before - after), _surplus(second, after - before)


def _kind(finding: Finding) -> tuple[str, str]:
    item = finding.operator.object if finding.operator else None
    return finding.rule, item.name if item else finding.title


def _surplus(found: list[Finding], surplus: Counter[tuple[str, str]]) -> tuple[Finding, ...]:
    result = []
    for finding in found:
        if surplus[_kind(finding)] > 0:
            surplus[_kind(finding)] -= 1
            result.append(finding)
    return tuple(result)
