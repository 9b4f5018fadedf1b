"""A plan drawn as a tree: the statement left, data flowing to it from the right."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import log10

from .findings import Finding, Severity, findings
from .model import Operator, Plan, Statement
from .wording import counted, kilobytes, milliseconds, number, operator_label, percent, shorten

# Everything is set by presentation attributes: they work under a Content Security Policy that allows no inline
# style, and the page's own style sheet overrides them by class (sp-…).

WIDTH, HEIGHT = 216, 74
GAP_X, GAP_Y = 66, 22
MARGIN = 16
HEADER = 34
LEAST_WIDTH = 640
# A letter of the heading is about as wide.
CHARACTER = 7
MAX_HEADING = 150

# More would be no drawing that a person reads; the tree in the findings and in to_dict() is complete.
MAX_DRAWN = 2_000
MAX_STATEMENTS = 500

HEAT = ("#8da2b8", "#d9a514", "#ec7a1c", "#dc3545")
ACCURACY = ("#9aa7b5", "#d9a514", "#dc3545")
SEVERITY = {Severity.HIGH: "#dc3545", Severity.MEDIUM: "#e08600", Severity.LOW: "#3b82c4"}

# Icons of our own on a 24 by 24 grid, one for each family of operators.
_ICONS: Mapping[str, tuple[str, str]] = {
    "scan": ("#3b82c4", "M4 6h16M4 10.5h16M4 15h16M4 19.5h16M9 6v13.5"),
    "seek": ("#2a9d6f", "M4 6h16M4 19h6M4 12.5h5M15.5 17a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM18 16l3 4"),
    "lookup": ("#c2410c", "M4 7c0-4 14-4 14 2v8M14 13l4 5 4-5M4 7v4M3 17h7M3 21h7"),
    "loops": ("#7c5cc4", "M12 4a8 8 0 1 1-7.5 5.2M4 4v6h6M12 9v3.5l2.5 2"),
    "hash": ("#7c5cc4", "M9 4L7 20M17 4l-2 16M4 9h17M3 15h17"),
    "merge": ("#7c5cc4", "M4 5c8 0 8 7 16 7M4 19c8 0 8-7 16-7M16 8.5l4 3.5-4 3.5"),
    "sort": ("#b7791f", "M4 6h4M4 11h8M4 16h12M4 21h16M19 4v10M16 11l3 3.5 3-3.5"),
    "aggregate": ("#0f8b8d", "M19 5H6l7 7-7 7h13M19 5v3M19 19v-3"),
    "exchange": ("#b45309", "M4 7h13M14 3.5L18 7l-4 3.5M20 17H7M10 13.5L6 17l4 3.5"),
    "filter": ("#64748b", "M4 5h16l-6.5 8v6l-3 2v-8z"),
    "top": ("#64748b", "M5 4h14M12 20V8M7.5 12.5L12 8l4.5 4.5"),
    "compute": ("#64748b", "M5 4h14v16H5zM8 8h8M8 12.5h2M14 12.5h2M8 16.5h2M14 16.5h2"),
    "spool": ("#9d4edd", "M5 6c0-3 14-3 14 0v12c0 3-14 3-14 0zM5 6c0 3 14 3 14 0M5 12c0 3 14 3 14 0"),
    "constant": ("#64748b", "M5 5h14v14H5zM9 12h6"),
    "write": ("#be185d", "M4 20l1-4L16 5l3 3L8 19zM14 7l3 3M13 20h7"),
    "function": ("#64748b", "M15 4c-3-1-4 1-4 4v9c0 3-1 4-4 3M7.5 11h7M15 13l5 6M20 13l-5 6"),
    "remote": ("#0369a1", "M7 18a4.5 4.5 0 0 1 .5-9A6 6 0 0 1 19 10a4 4 0 0 1-1 8zM12 12v6"),
    "concat": ("#64748b", "M4 5h7v6H4zM4 14h7v6H4zM15 8v9M15 12.5h6M18.5 10l2.5 2.5-2.5 2.5"),
    "segment": ("#64748b", "M4 5h16v14H4zM4 12h16M12 5v14"),
    "split": ("#64748b", "M4 12h6M10 12l8-6M10 12l8 6M14.5 5.5L19 5l-1 4.5M18 14.5l1 4.5-4.5-.5"),
    "check": ("#64748b", "M12 3l8 3v6c0 5-4 8-8 9-4-1-8-4-8-9V6zM8.5 12l2.5 2.5L15.5 10"),
    "operator": ("#64748b", "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 3v3M12 18v3M3 12h3M18 12h3"),
    "statement": ("#0b5cad", "M4 5h16v14H4zM4 9.5h16M8 13l2.5 2L8 17M12.5 17H16"),
}

# The first family whose word occurs in the physical operator's name; the order matters.
_FAMILIES = (
    ("lookup", "lookup"), ("remote", "remote"), ("spool", "spool"), ("constant", "constant"), ("insert", "write"),
    ("update", "write"), ("delete", "write"), ("merge interval", "sort"), ("index merge", "write"),
    ("table merge", "write"), ("scan", "scan"), ("seek", "seek"), ("nested loops", "loops"), ("apply", "loops"),
    ("adaptive join", "hash"), ("hash", "hash"), ("merge", "merge"), ("sort", "sort"), ("window", "aggregate"),
    ("aggregate", "aggregate"), ("sequence project", "aggregate"), ("parallelism", "exchange"),
    ("streams", "exchange"), ("filter", "filter"), ("bitmap", "filter"), ("top", "top"), ("compute", "compute"),
    ("function", "function"), ("concat", "concat"), ("sequence", "concat"), ("switch", "concat"),
    ("union", "concat"), ("assert", "check"), ("references check", "check"), ("segment", "segment"), ("split", "split"),
    ("collapse", "split"),
)  # fmt: skip


def icon(physical_op: str) -> tuple[str, str]:
    """Colour and path of the operator's icon."""
    name = physical_op.lower()
    return _ICONS[next((family for word, family in _FAMILIES if word in name), "operator")]


@dataclass(slots=True)
class _Node:
    operator: Operator
    index: int
    """Position of the operator in plan.operators(): unique where node ids are not (cursors, batches)."""
    column: int
    row: int
    parent: "_Node | None"


def to_svg(plan: Plan, *, found: Sequence[Finding] | None = None, title: str = "Execution plan") -> str:
    """The whole plan as one SVG element that stands alone or within a page.

    Each operator is a focusable group of class "sp-op" with its position in plan.operators() as data-mssql-operator,
    and a <title> that tells its facts without any script.
    """
    severities = _severities(findings(plan) if found is None else found)
    body: list[str] = []
    top, right, first = 0, 0, 0
    for position, statement in enumerate(plan.statements):
        # Assignments of variables (a DECLARE before the statement) have no operators to show.
        if statement.type == "ASSIGN" and not statement.plans and len(plan.statements) > 1:
            continue
        if first > MAX_DRAWN or len(body) >= MAX_STATEMENTS:
            note = f"The drawing ends here: {len(plan.statements):,} statements in all."
            body.append(_text(MARGIN, top + 24, note, "sp-note"))
            top += HEADER
            break
        parts, width, height, count = _statement(statement, position, first, severities)
        body.append(f'<g transform="translate(0 {top})">{"".join(parts)}</g>')
        top += height
        right = max(right, width)
        first += count
    if not first:
        body.append(_text(MARGIN, top + 24, "There are no operators in this plan.", "sp-note"))
        top, right = top + HEADER, max(right, 400)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="sp-plan" role="group" aria-label="{escape(title)}" '
        f'width="{right}" height="{top}" viewBox="0 0 {right} {top}" font-family="Segoe UI, system-ui, sans-serif" '
        f'font-size="11">{"".join(body)}</svg>'
    )


def _severities(found: Sequence[Finding]) -> dict[int, tuple[Severity, list[str]]]:
    """The worst severity and the titles of the findings at each operator, by identity."""
    result: dict[int, tuple[Severity, list[str]]] = {}
    for finding in found:
        if finding.operator is not None:
            severity, titles = result.get(id(finding.operator), (finding.severity, []))
            result[id(finding.operator)] = (max(severity, finding.severity), [*titles, finding.title])
    return result


def _statement(
    statement: Statement, position: int, first: int, severities: Mapping[int, tuple[Severity, list[str]]]
) -> tuple[list[str], int, int, int]:
    """The statement's drawing, its width, its height, and how many operators it has."""
    nodes = list(_layout(statement, first))
    count = sum(1 for _ in statement.operators())
    parts: list[str] = []
    indent = MARGIN + 18 * min(statement.depth, 8)
    label = f"{statement.role}: " if statement.role else ""
    text = label + (statement.text or statement.type or statement.kind)
    columns = max((node.column for node in nodes), default=0) + 1
    rows = max((node.row for node in nodes), default=0) + 1
    width = max(LEAST_WIDTH, 2 * MARGIN + columns * (WIDTH + GAP_X) - GAP_X)
    heading = shorten(text, min(MAX_HEADING, (width - indent - MARGIN) // CHARACTER))
    parts.append(_text(indent, 22, heading, "sp-heading", size=12, fill="#1f2937"))
    if not nodes:
        return parts, width, HEADER, 0

    total_cost = sum(plan.cost for plan in statement.plans) or 1.0
    times = {id(node.operator): node.operator.self_elapsed_ms for node in nodes}
    total_time = sum(value for value in times.values() if value) or 0
    parts.extend(_edge(node) for node in nodes)
    parts.append(_root_card(statement, position))
    for node in nodes:
        own = times[id(node.operator)]
        parts.append(
            _card(
                node,
                cost_share=min(1.0, node.operator.cost / total_cost),
                time_share=own / total_time if own is not None and total_time else None,
                badge=severities.get(id(node.operator)),
            )
        )
    height = HEADER + rows * (HEIGHT + GAP_Y) + MARGIN
    if count > len(nodes):
        parts.append(
            _text(MARGIN, height - 4, f"… {count - len(nodes):,} more operators are not drawn", "sp-note")
        )
        height += 12
    return parts, width, height, count


def _layout(statement: Statement, first: int) -> Iterator[_Node]:
    """Place each operator: a column for each level, a first child beside its parent, each further child a row lower."""
    index, row = first, -1
    for root in (root for plan in statement.plans for root in plan.roots):
        row += 1
        stack: list[tuple[Operator, _Node | None, bool]] = [(root, None, True)]
        while stack and index - first < MAX_DRAWN:
            operator, parent, is_first = stack.pop()
            if not is_first:
                row += 1
            # The statement's own card stands in column 0.
            node = _Node(operator, index, operator.depth + 1, row, parent)
            index += 1
            yield node
            children = [(child, node, place == 0) for place, child in enumerate(operator.children)]
            stack.extend(reversed(children))


def _x(column: int) -> int:
    return MARGIN + column * (WIDTH + GAP_X)


def _y(row: int) -> int:
    return HEADER + row * (HEIGHT + GAP_Y)


def _rows(operator: Operator) -> float:
    actual = operator.actual_rows
    return operator.estimate_rows_total if actual is None else actual


def _accuracy(operator: Operator) -> int:
    ratio = operator.row_factor
    if ratio is None:
        return 0
    off = max(ratio, 1 / ratio)
    return 2 if off >= 100 else 1 if off >= 10 else 0


def _edge(node: _Node) -> str:
    """The rows that flow to the parent: as thick as there are many, coloured by how good the estimate was."""
    rows = _rows(node.operator)
    thickness = round(min(11.0, 1.2 + 1.4 * log10(max(rows, 1))), 1)
    start_x, start_y = _x(node.column), _y(node.row) + HEIGHT // 2
    end_x = _x(node.column - 1) + WIDTH
    end_y = _y(node.parent.row if node.parent else node.row) + HEIGHT // 2
    head = 4 + thickness
    tip = end_x + 3
    bend = start_x - 32
    path = f"M{start_x} {start_y}H{bend}" if end_y != start_y else f"M{start_x} {start_y}"
    if end_y != start_y:
        turn = bend - 8
        path += f"Q{turn} {start_y} {turn} {start_y - 8}V{end_y + 8}Q{turn} {end_y} {turn - 8} {end_y}"
    path += f"H{tip + head:.1f}"
    level = _accuracy(node.operator)
    colour = ACCURACY[level]
    label = _text(
        start_x - 6,
        start_y - thickness / 2 - 4,
        number(rows),
        "sp-rows",
        anchor="end",
        size=10,
        fill="#475569",
    )
    return (
        f'<g class="sp-edge sp-accuracy-{level}"><path d="{path}" fill="none" stroke="{colour}" '
        f'stroke-width="{thickness}" stroke-linejoin="round"/>'
        f'<path d="M{tip} {end_y}l{head:.1f} {-head * 0.7:.1f}v{head * 1.4:.1f}z" fill="{colour}" '
        f'class="sp-head"/>{label}</g>'
    )


def _heat(share: float) -> int:
    return 3 if share >= 0.5 else 2 if share >= 0.25 else 1 if share >= 0.1 else 0


def _card(
    node: _Node, *, cost_share: float, time_share: float | None, badge: tuple[Severity, list[str]] | None
) -> str:
    operator = node.operator
    x, y = _x(node.column), _y(node.row)
    share = cost_share if time_share is None else time_share
    heat = _heat(share)
    item = operator.object
    second = item.name if item and item.name else _subtitle(operator)
    facts = _facts_line(operator)
    label = "Key Lookup" if operator.is_lookup and operator.kind == "IndexScan" else operator.physical_op
    parts = [
        f'<g class="sp-op sp-heat-{heat}" tabindex="0" role="button" '
        f'data-mssql-operator="{node.index}" data-node="{operator.node_id}" '
        f'aria-label="{escape(shorten(f"{label} {second} {facts}", 160))}">',
        f"<title>{escape(_tooltip(operator, cost_share, time_share, badge))}</title>",
        f'<rect class="sp-card" x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="7" fill="#ffffff" '
        f'stroke="{HEAT[heat] if heat else "#cbd5e1"}" stroke-width="{1.6 if heat else 1}"/>',
        _icon(x + 9, y + 10, *icon("Key Lookup" if operator.is_lookup else operator.physical_op)),
        _text(x + 42, y + 20, shorten(label, 24), "sp-name", size=12, fill="#111827", weight="600"),
        _text(x + 42, y + 35, shorten(second, 27), "sp-object", fill="#475569"),
        _text(x + 10, y + 56, shorten(facts, 30), "sp-facts", fill="#334155"),
        _text(
            x + WIDTH - 10, y + 56, percent(share), "sp-share",
            anchor="end", fill=HEAT[heat] if heat else "#64748b", weight="600",
        ),
        _bar("sp-track", x, y, 1.0, "#e2e8f0"),
        _bar("sp-bar", x, y, share, HEAT[heat]),
    ]  # fmt: skip
    if operator.parallel:
        parts.append(
            f'<path class="sp-parallel" d="M{x + 25} {y + 35}h8M{x + 30} {y + 32.5}l3.5 2.5-3.5 2.5" fill="none" '
            f'stroke="#b45309" stroke-width="1.5"/>'
        )
    if badge is not None:
        parts.append(_badge(x + WIDTH - 22, y + 7, *badge))
    parts.append("</g>")
    return "".join(parts)


def _subtitle(operator: Operator) -> str:
    """What an operator without an object works on."""
    if operator.logical_op != operator.physical_op:
        return operator.logical_op
    for role in ("Predicate", "Order By", "Group By", "Top Expression", "Defined Values", "Hash Keys"):
        if texts := operator.expressions.get(role):
            return ", ".join(texts[:4])
    return operator.logical_op


def _bar(css_class: str, x: int, y: int, share: float, colour: str) -> str:
    """A bar along the card's foot."""
    width = max(1.0, (WIDTH - 20) * share)
    return (
        f'<rect class="{css_class}" x="{x + 10}" y="{y + HEIGHT - 9}" width="{width:.1f}" height="3" rx="1.5" '
        f'fill="{colour}"/>'
    )


def _facts_line(operator: Operator) -> str:
    actual = operator.actual_rows
    if actual is None:
        return f"≈ {counted(operator.estimate_rows_total, 'row')}"
    rows = f"{number(actual)} of {counted(operator.estimate_rows_total, 'row')}"
    elapsed = operator.self_elapsed_ms
    return rows if elapsed is None else f"{rows} · {milliseconds(elapsed)}"


def _root_card(statement: Statement, position: int) -> str:
    x, y = _x(0), _y(0)
    times = statement.times
    memory = statement.memory
    plan = statement.plans[0]
    facts = [f"cost {number(statement.cost or plan.cost)}"]
    if times:
        facts = [milliseconds(times.elapsed_ms), f"CPU {milliseconds(times.cpu_ms)}"]
    second = [f"DOP {plan.degree_of_parallelism}"] if plan.degree_of_parallelism else []
    if memory and memory.granted:
        second.append(f"{kilobytes(memory.granted)} granted")
    kind = statement.type or statement.kind
    origin = "actual" if statement.is_actual else "estimated"
    return "".join((
        f'<g class="sp-root" data-statement="{position}"><title>{escape(shorten(statement.text, 1500))}</title>',
        f'<rect class="sp-card" x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="7" fill="#f1f5f9" '
        'stroke="#94a3b8"/>',
        _icon(x + 9, y + 10, *_ICONS["statement"]),
        _text(x + 42, y + 20, shorten(kind, 22), "sp-name", size=12, fill="#111827", weight="600"),
        _text(x + 42, y + 35, f"{origin} plan", "sp-object", fill="#475569"),
        _text(x + 10, y + 52, " · ".join(facts), "sp-facts", fill="#334155"),
        _text(x + 10, y + 66, " · ".join(second), "sp-facts", fill="#64748b"),
        "</g>",
    ))  # fmt: skip


def _icon(x: float, y: float, colour: str, path: str) -> str:
    return (
        f'<g class="sp-icon" transform="translate({x} {y})">'
        f'<rect width="26" height="26" rx="6" fill="{colour}" fill-opacity="0.14"/>'
        f'<path transform="translate(1.5 1.5) scale(.96)" d="{path}" fill="none" stroke="{colour}" '
        f'stroke-width="1.7" stroke-linecap="round" stroke-linejoin="round"/></g>'
    )


def _badge(x: float, y: float, severity: Severity, titles: list[str]) -> str:
    """A triangle with the number of findings, in the colour of the worst."""
    return (
        f'<g class="sp-badge sp-{severity}"><path d="M{x + 7.5} {y}l8 14h-16z" fill="{SEVERITY[severity]}" '
        f'stroke="{SEVERITY[severity]}" stroke-width="2" stroke-linejoin="round"/>'
        f'<text x="{x + 7.5}" y="{y + 12}" text-anchor="middle" font-size="10" font-weight="700" fill="#ffffff">'
        f"{len(titles) if len(titles) > 1 else '!'}</text></g>"
    )


def _text(
    x: float,
    y: float,
    text: str,
    css_class: str,
    *,
    anchor: str = "",
    size: int = 0,
    fill: str = "#334155",
    weight: str = "",
) -> str:
    attributes = f' text-anchor="{anchor}"' if anchor else ""
    attributes += f' font-size="{size}"' if size else ""
    attributes += f' font-weight="{weight}"' if weight else ""
    return (
        f'<text class="{css_class}" x="{x}" y="{y}" fill="{fill}"{attributes}>{escape(text)}</text>'
        if text
        else ""
    )


def _tooltip(
    operator: Operator, cost_share: float, time_share: float | None, badge: tuple[Severity, list[str]] | None
) -> str:
    lines = [f"{operator_label(operator)} — node {operator.node_id}"]
    lines += [item.name for item in operator.objects[:4] if item.name]
    lines.append(
        f"Estimated cost: {operator.cost:.6g} ({percent(cost_share)}), subtree {operator.subtree_cost:.6g}"
    )
    lines.append(
        f"Estimated rows: {number(operator.estimate_rows)} × {counted(operator.estimated_executions, 'execution')}"
    )
    if operator.has_run:
        lines.append(
            f"Actual rows: {number(operator.actual_rows)} in {counted(operator.executions, 'execution')}"
        )
        if operator.actual_rows_read is not None:
            lines.append(f"Rows read: {number(operator.actual_rows_read)}")
        if operator.elapsed_ms is not None:
            own = f", own {milliseconds(operator.self_elapsed_ms)}" + (
                f" ({percent(time_share)})" if time_share else ""
            )
            lines.append(
                f"Time: {milliseconds(operator.elapsed_ms)}{own}, CPU {milliseconds(operator.cpu_ms)}"
            )
        if operator.logical_reads is not None:
            lines.append(f"Logical reads: {number(operator.logical_reads)}")
    for role, texts in operator.expressions.items():
        lines += [f"{role}: {shorten(text, 240)}" for text in texts[:3]]
    if badge:
        lines += [f"⚠ {title}" for title in badge[1]]
    return "\n".join(lines)
