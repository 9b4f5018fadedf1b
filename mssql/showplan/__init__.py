"""Execution plans of SQL Server: read, judge, redact, draw, compare. Plain Python, no database."""

from .compare import Comparison, compare
from .document import ShowplanError
from .findings import Finding, Severity, findings
from .model import MissingIndex, Operator, Plan, Statement
from .parse import parse
from .redact import redact
from .svg import to_svg

__all__ = [
    "Comparison",
    "Finding",
    "MissingIndex",
    "Operator",
    "Plan",
    "Severity",
    "ShowplanError",
    "Statement",
    "compare",
    "findings",
    "parse",
    "redact",
    "to_svg",
]
