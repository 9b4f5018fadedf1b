"""A plan and a comparison as the templates show them."""

from __future__ import annotations

from typing import Any

from mssql.showplan import Comparison, Finding, Operator, Plan, Statement, findings
from mssql.showplan.wording import counted, kilobytes, milliseconds, number, operator_label, percent, shorten

from . import store
from .signing import sign

# As much of the XML as a page shows; the file has all of it.
MAX_XML_SHOWN = 300_000
MAX_OPERATORS_LISTED = 500
# A deeper plan has the width of the window for itself, and the facts of an operator below it.
MAX_DEPTH_BESIDE_FACTS = 2

Context = dict[str, Any]


def plan_context(plan: Plan, xml: str, source: str, statement: Context, toolbar: Any) -> Context:
    """What plan.html shows."""
    found = findings(plan)
    positions = {id(operator): position for position, operator in enumerate(plan.operators())}
    statements = toolbar.get_panel_by_id("SQLServerPanel").get_stats().get("statements", ())
    return {
        "statement": statement,
        "source": source,
        "plan": plan,
        "found": found,
        "findings": [_finding(item, positions) for item in found],
        "missing_indexes": [item for item in found if item.rule == "missing-index"],
        "operators": _operators(plan, positions),
        "parameters": plan.parameters,
        "sent_parameters": [
            {"name": f"@P{position}", "type": sql_type, "value": shorten(literal, 300)}
            for position, (sql_type, literal) in enumerate(statement["parameters"], 1)
        ],
        "waits": sorted(plan.waits, key=lambda wait: -wait.milliseconds),
        "facts": _facts(plan),
        "statistics": list(dict.fromkeys(plan.statistics)),  # each query of a batch names its own
        "xml": xml[:MAX_XML_SHOWN],
        "xml_cut": max(0, len(xml) - MAX_XML_SHOWN),
        "is_wide": any(operator.depth > MAX_DEPTH_BESIDE_FACTS for operator in plan.operators()),
        "has_times": any(operator.elapsed_ms for operator in plan.operators()),
        "signed": sign(toolbar.request_id, statement["id"]),
        "others": [
            *_earlier(toolbar, statement),
            *_of_this_request(toolbar.request_id, statements, statement),
        ],
    }


# So many earlier requests are searched for plans of the same statement.
MAX_EARLIER = 15


def _earlier(toolbar: Any, statement: Context) -> list[Context]:
    """Plans of the same statement that earlier requests took or asked for: before the index, and after it."""
    found = []
    for request_id in [item for item in toolbar.store.request_ids() if item != toolbar.request_id][
        -MAX_EARLIER:
    ]:
        for other in toolbar.store.panel(request_id, store.PANEL_ID).get("statements", ()):
            if other["text"] == statement["text"] and other["alias"] == statement["alias"]:
                plan = store.load_plan_of(toolbar.store, request_id, other["id"])
                if plan is not None:
                    label = f"an earlier request ({plan[1]}, {other['duration_ms']:.0f} ms)"
                    found.append({"id": other["id"], "label": label, "signed": sign(request_id, other["id"])})
                    break
    return found[::-1]


def _of_this_request(request_id: str, statements: list[Context], statement: Context) -> list[Context]:
    return [
        {"id": other["id"], "label": shorten(other["summary"], 60), "signed": sign(request_id, other["id"])}
        for other in statements
        if other["explainable"] and other["id"] != statement["id"]
    ][:100]


def _finding(finding: Finding, positions: dict[int, int]) -> Context:
    return {
        "severity": str(finding.severity),
        "rule": finding.rule,
        "title": finding.title,
        "detail": finding.detail,
        "advice": finding.advice,
        "sql": finding.sql,
        "note": finding.note,
        "position": positions.get(id(finding.operator)) if finding.operator else None,
    }


def _operators(plan: Plan, positions: dict[int, int]) -> list[Context]:
    """The operators with all their facts, in the order of the plan."""
    return [
        _operator(operator, positions[id(operator)], (statement.cost or query.cost) or 1.0)
        for statement in plan.statements
        for query in statement.plans
        for operator in query.operators()
    ][:MAX_OPERATORS_LISTED]


def _operator(operator: Operator, position: int, total_cost: float) -> Context:
    item = operator.object
    facts = [
        (
            "Estimated rows",
            f"{number(operator.estimate_rows)} × {counted(operator.estimated_executions, 'execution')}",
        ),
        ("Estimated cost", f"{operator.cost:.6g} ({percent(min(1.0, operator.cost / total_cost))})"),
        ("… with its inputs", f"{operator.subtree_cost:.6g}"),
        ("… I/O, CPU", f"{operator.estimate_io:.6g}, {operator.estimate_cpu:.6g}"),
        ("Row size", f"{operator.average_row_size} bytes"),
    ]
    if operator.table_cardinality is not None:
        facts.append(("Rows in the table", number(operator.table_cardinality)))
    if operator.has_run:
        measured = (
            ("Actual rows", number(operator.actual_rows)),
            ("Rows read", number(operator.actual_rows_read) if operator.actual_rows_read is not None else ""),
            ("Executions", number(operator.executions)),
            ("Time", milliseconds(operator.elapsed_ms) if operator.elapsed_ms is not None else ""),
            (
                "… of its own",
                milliseconds(operator.self_elapsed_ms) if operator.elapsed_ms is not None else "",
            ),
            ("CPU", milliseconds(operator.cpu_ms) if operator.cpu_ms is not None else ""),
            ("Logical reads", number(operator.logical_reads) if operator.logical_reads is not None else ""),
            (
                "Physical reads",
                number(operator.physical_reads) if operator.physical_reads is not None else "",
            ),
        )
        facts = [fact for fact in measured if fact[1]] + facts
    modes = {"Estimated": operator.estimated_mode, "actual": operator.actual_mode}
    facts.append(("Mode", ", ".join(f"{name} {value}" for name, value in modes.items() if value) or "Row"))
    return {
        "position": position,
        "node_id": operator.node_id,
        "depth": min(operator.depth, 12),
        "label": operator_label(operator),
        "object": item.name if item else "",
        "rows": number(operator.actual_rows if operator.has_run else operator.estimate_rows_total),
        "cost": percent(min(1.0, operator.cost / total_cost)),
        "time": milliseconds(operator.self_elapsed_ms) if operator.self_elapsed_ms is not None else "",
        "facts": facts,
        "expressions": [
            (role, [shorten(text, 2000) for text in texts[:20]])
            for role, texts in operator.expressions.items()
            if texts
        ],
        "output": ", ".join(column.name for column in operator.output[:60]),
        "warnings": [str(warning) for warning in operator.warnings],
        "properties": sorted(operator.properties.items()),
        "threads": [
            (
                counter.thread,
                number(counter.rows),
                number(counter.executions),
                milliseconds(counter.elapsed_ms),
            )
            for counter in sorted(operator.counters, key=lambda counter: counter.thread)
        ]
        if len(operator.counters) > 1
        else [],
    }


def _facts(plan: Plan) -> list[tuple[str, str]]:
    facts = [("Server build", plan.build), ("Kind", "actual" if plan.is_actual else "estimated")]
    queries = [statement for statement in plan.statements if statement.plans]
    for position, statement in enumerate(queries, 1):
        which = f" ({position})" if len(queries) > 1 else ""
        facts += [(f"{name}{which}", value) for name, value in _query_facts(statement)]
    return facts


def _query_facts(statement: Statement) -> list[tuple[str, str]]:
    query = statement.plans[0]
    facts = [("Estimated cost", number(statement.cost or query.cost))]
    if statement.query_hash:
        facts.append(("Query hash", statement.query_hash))
        facts.append(("Plan hash", statement.query_plan_hash))
    if query.times:
        facts.append(
            (
                "Elapsed, CPU",
                f"{milliseconds(query.times.elapsed_ms)}, {milliseconds(query.times.cpu_ms)}",
            )
        )
    if query.memory and query.memory.granted:
        facts.append(
            (
                "Memory granted, used",
                f"{kilobytes(query.memory.granted)}, {kilobytes(query.memory.max_used)}",
            )
        )
    dop = query.degree_of_parallelism
    if dop is not None:
        reason = query.properties.get("NonParallelPlanReason", "")
        facts.append(("Degree of parallelism", f"{dop} {f'({reason})' if reason else ''}"))
    for name, label in (("CompileTime", "Compile time (ms)"), ("CachedPlanSize", "Plan size (KB)")):
        if name in query.properties:
            facts.append((label, query.properties[name]))
    model = statement.properties.get("CardinalityEstimationModelVersion")
    if model:
        facts.append(("Cardinality estimator", model))
    abort = statement.properties.get("StatementOptmEarlyAbortReason")
    if abort:
        facts.append(("Optimizer stopped early", abort))
    return facts


def comparison_context(
    comparison: Comparison, first: Context, second: Context, *, same_request: bool
) -> Context:
    """What comparison.html shows."""
    return {
        "first_label": f"Statement {first['id']}",
        "second_label": f"Statement {second['id']}" + ("" if same_request else ", an earlier request"),
        "same_shape": comparison.same_shape,
        "facts": [
            {
                "name": fact.name,
                "first": _amount(fact.first, fact.unit),
                "second": _amount(fact.second, fact.unit),
                "factor": f"× {fact.factor:.3g}" if fact.factor is not None else "",
                "change": ""
                if fact.factor is None or fact.factor == 1
                else "better"
                if fact.factor < 1
                else "worse",
            }
            for fact in comparison.facts
        ],
        "pairs": [
            {
                "change": pair.change,
                "first": _row(pair.first),
                "second": _row(pair.second),
                "depth": min((pair.first or pair.second).depth, 12),  # type: ignore[union-attr]
            }
            for pair in comparison.pairs[:MAX_OPERATORS_LISTED]
        ],
        "findings_gone": comparison.findings_gone,
        "findings_new": comparison.findings_new,
        "parameters": comparison.parameters,
    }


def _amount(value: float | None, unit: str) -> str:
    """The figure in the unit that is read best."""
    if unit == "ms":
        return milliseconds(value)
    if unit == "KB":
        return kilobytes(value)
    return number(value)


def _row(operator: Operator | None) -> Context | None:
    if operator is None:
        return None
    item = operator.object
    return {
        "label": operator_label(operator),
        "object": item.name if item else "",
        "rows": number(operator.actual_rows if operator.has_run else operator.estimate_rows_total),
        "cost": f"{operator.cost:.4g}",
        "time": milliseconds(operator.self_elapsed_ms) if operator.self_elapsed_ms is not None else "",
    }
