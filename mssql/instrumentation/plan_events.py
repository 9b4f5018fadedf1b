"""What telemetry says of a plan: small facts on the span, the redacted plan as a log event linked to it."""

from __future__ import annotations

from typing import Any

from opentelemetry import _logs as otel_logs
from opentelemetry import trace
from opentelemetry._logs import SeverityNumber

from mssql.instrumentation import semconv
from mssql.instrumentation.attributes import ConnectionAttributes, operation
from mssql.instrumentation.plan_source import CapturedPlan
from mssql.instrumentation.query_log import is_wanted
from mssql.instrumentation.statement import Statement
from mssql.showplan import Severity, redact
from mssql.showplan.redact import redact_sql
from mssql.showplan.text import describe

# Attributes of our own: OpenTelemetry's conventions have none for plans. docs/plans.md explains each.
SOURCE = "mssql.plan.source"
ESTIMATED_COST = "mssql.plan.estimated_cost"
FINDINGS = "mssql.plan.findings"
WORST_FINDING = "mssql.plan.worst_finding"
WORST_SEVERITY = "mssql.plan.worst_severity"
MISSING_INDEXES = "mssql.plan.missing_indexes"
QUERY_HASH = "mssql.plan.query_hash"
QUERY_PLAN_HASH = "mssql.plan.query_plan_hash"
FORMAT = "mssql.plan.format"

EVENT = "mssql.query_plan"

_SEVERITIES = {Severity.HIGH: SeverityNumber.WARN, Severity.MEDIUM: SeverityNumber.INFO}


def plan_attributes(captured: CapturedPlan) -> dict[str, Any]:
    """The plan in a few values that one can search for; no text of the statement, no value of it."""
    plan = captured.plan
    found = captured.findings
    statement = captured.main_statement
    attributes: dict[str, Any] = {
        SOURCE: captured.source,
        ESTIMATED_COST: plan.cost,
        MISSING_INDEXES: len(plan.missing_indexes),
    }
    if found:
        attributes[FINDINGS] = sorted({finding.rule for finding in found})
        attributes[WORST_FINDING] = found[0].rule
        attributes[WORST_SEVERITY] = str(found[0].severity)
    if statement is not None and statement.query_hash:
        attributes[QUERY_HASH] = statement.query_hash
        attributes[QUERY_PLAN_HASH] = statement.query_plan_hash
    return attributes


class PlanEvents:
    """Emits one log event for each plan of a connection."""

    def __init__(self, connection: ConnectionAttributes, events: otel_logs.Logger | None = None) -> None:
        self._connection = connection
        self._events = events or otel_logs.get_logger(
            semconv.SCOPE, semconv.VERSION, schema_url=semconv.SCHEMA_URL
        )

    def emit(self, statement: Statement, captured: CapturedPlan, max_bytes: int) -> None:
        """The plan without values: as XML where it is within the limit, else its tree and findings as text."""
        found = captured.findings
        severity = _SEVERITIES.get(found[0].severity, SeverityNumber.DEBUG) if found else SeverityNumber.DEBUG
        if not is_wanted(self._events, EVENT, severity):
            return
        body, format_ = redact(captured.xml), "xml"
        if len(body.encode("utf-8")) > max_bytes:
            lines = (redact_sql(line) for line in describe(captured.plan, found))
            body, format_ = "\n".join(lines)[:max_bytes], "text"
        self._events.emit(
            timestamp=statement.ended_ns,
            context=trace.set_span_in_context(statement.span) if statement.span is not None else None,
            severity_number=severity,
            severity_text=severity.name,
            event_name=EVENT,
            body=body,
            attributes={
                **self._connection.for_events,
                **operation(statement),
                **plan_attributes(captured),
                FORMAT: format_,
            },
        )
