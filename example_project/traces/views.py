"""The pages that show received traces: a list, and one trace as a waterfall."""

from __future__ import annotations

import os
from dataclasses import dataclass

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from opentelemetry import trace as otel_trace

from example_project.traces.store import Span, Trace, store

WRITES = {"INSERT", "UPDATE", "DELETE", "MERGE"}
TRANSACTIONS = {"BEGIN", "COMMIT", "ROLLBACK", "SAVE"}
DEEPEST_INDENT = 4


@dataclass(frozen=True, slots=True)
class Row:
    """One span on the waterfall: its depth, and where its bar lies in percent of the trace."""

    span: Span
    depth: int
    left: float
    width: float
    style: str


def _style(span: Span) -> str:
    """The class of the span's bar: what kind of work it stands for."""
    if span.failed:
        return "error"
    if "db.system.name" not in span.attributes:
        return "server"
    verb = span.name.removeprefix("BATCH ").split(" ", 1)[0].upper()
    return "write" if verb in WRITES else "transaction" if verb in TRANSACTIONS else "query"


def _waterfall(trace: Trace) -> list[Row]:
    """The spans in the order of their tree, children by start time."""
    known = {span.span_id for span in trace.spans}
    children: dict[str, list[Span]] = {}
    for span in sorted(trace.spans, key=lambda span: span.start_ns):
        children.setdefault(span.parent_id if span.parent_id in known else "", []).append(span)
    total = max(trace.duration_ms, 0.001)
    rows: list[Row] = []
    waiting = [(span, 0) for span in reversed(children.get("", []))]
    while waiting:
        span, depth = waiting.pop()
        left = (span.start_ns - trace.start_ns) / 1e6 / total * 100
        width = max(span.duration_ms / total * 100, 0.25)
        rows.append(Row(span, min(depth, DEEPEST_INDENT), min(left, 99.75), width, _style(span)))
        waiting += [(child, depth + 1) for child in reversed(children.get(span.span_id, []))]
    return rows


def _flush() -> None:
    """Send what is still waiting in this process's exporter, so that the page shows the request before it."""
    flush = getattr(otel_trace.get_tracer_provider(), "force_flush", None)
    if flush is not None:
        flush(2_000)


def traces(request: HttpRequest) -> HttpResponse:
    """The traces that arrived, newest first."""
    _flush()
    return render(
        request,
        "traces/traces.html",
        {
            "traces": store.traces(),
            "received": store.received(),
            "elsewhere": os.environ.get("DEMO_TELEMETRY_ELSEWHERE", ""),
        },
    )


def trace(request: HttpRequest, trace_id: str) -> HttpResponse:
    """One trace as a waterfall."""
    _flush()
    found = store.trace(trace_id)
    if found is None:
        raise Http404(f"No trace {trace_id} is kept here.")
    return render(request, "traces/trace.html", {"trace": found, "rows": _waterfall(found)})
