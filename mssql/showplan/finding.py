"""What a rule says about a plan, and the register of rules."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from .model import Operator, Parameter, Plan, QueryPlan, Statement


class Severity(IntEnum):
    """How much it matters; comparable, HIGH is the worst."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """One thing that is wrong with a plan, the numbers that show it, and what mends it."""

    rule: str
    severity: Severity
    title: str
    detail: str
    advice: str
    operator: Operator | None = None
    statement: int = 0
    """Position of the statement in plan.statements."""
    evidence: dict[str, Any] = field(default_factory=dict)
    sql: str = ""
    """T-SQL that mends it, where there is any."""
    note: str = ""
    """How far that SQL can be trusted."""

    @property
    def node_id(self) -> int | None:
        return self.operator.node_id if self.operator is not None else None

    def to_dict(self) -> dict[str, Any]:
        items = {
            "rule": self.rule, "severity": str(self.severity), "title": self.title, "detail": self.detail,
            "advice": self.advice, "node_id": self.node_id, "statement": self.statement,
            "evidence": self.evidence, "sql": self.sql, "note": self.note,
        }  # fmt: skip
        return {name: value for name, value in items.items() if value not in (None, "", {})}


@dataclass(slots=True)
class Subject:
    """What a rule looks at: one statement's plan, with the sums that rules share."""

    plan: Plan
    statement: Statement
    position: int
    query: QueryPlan
    operators: tuple[Operator, ...]
    parameters: tuple[Parameter, ...]
    total_cost: float
    elapsed_ms: int
    """The statement's elapsed time; 0 where the plan has none."""

    @property
    def is_trivial(self) -> bool:
        """True where nobody would notice: the statement is over at once, or is estimated to be."""
        return self.elapsed_ms < 100 if self.query.times else self.total_cost < 0.5

    def cost_share(self, operator: Operator) -> float:
        """The operator's own cost as a share of the statement's."""
        return min(1.0, operator.cost / self.total_cost) if self.total_cost > 0 else 0.0

    def time_share(self, operator: Operator) -> float:
        """The operator's own time as a share of the statement's."""
        own = operator.self_elapsed_ms
        return min(1.0, own / self.elapsed_ms) if own and self.elapsed_ms else 0.0

    def weight(self, operator: Operator) -> float:
        """How much of the statement the operator is: by time where it was measured, else by cost."""
        return self.time_share(operator) if self.elapsed_ms else self.cost_share(operator)


Facts = dict[str, Any]
Result = Iterator[Facts]
StatementRule = Callable[[Subject], Result]
OperatorRule = Callable[[Subject, Operator], Result]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule with its name and one line for the manual."""

    name: str
    summary: str
    per_statement: StatementRule | None = None
    per_operator: OperatorRule | None = None

    def apply(self, subject: Subject) -> Iterator[Finding]:
        if self.per_statement is not None:
            for facts in self.per_statement(subject):
                yield Finding(rule=self.name, statement=subject.position, **facts)
        if self.per_operator is not None:
            for operator in subject.operators:
                for facts in self.per_operator(subject, operator):
                    yield Finding(rule=self.name, statement=subject.position, operator=operator, **facts)


RULES: dict[str, Rule] = {}


def statement_rule(name: str) -> Callable[[StatementRule], StatementRule]:
    """Register a rule that looks at a statement as a whole; its docstring is the manual's line."""

    def register(function: StatementRule) -> StatementRule:
        RULES[name] = Rule(name, (function.__doc__ or "").strip(), per_statement=function)
        return function

    return register


def operator_rule(name: str) -> Callable[[OperatorRule], OperatorRule]:
    """Register a rule that looks at each operator; its docstring is the manual's line."""

    def register(function: OperatorRule) -> OperatorRule:
        RULES[name] = Rule(name, (function.__doc__ or "").strip(), per_operator=function)
        return function

    return register
