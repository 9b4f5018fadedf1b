"""The spans that arrived over OTLP, kept in memory: the last few hundred traces."""

from __future__ import annotations

import datetime as dt
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

KEPT_TRACES = 300


@dataclass(frozen=True, slots=True)
class Span:
    """One span as its exporter sent it; times are nanoseconds since the epoch."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    service: str
    scope: str
    start_ns: int
    end_ns: int
    failed: bool
    attributes: dict[str, Any]
    events: tuple[str, ...]

    @property
    def duration_ms(self) -> float:
        return (self.end_ns - self.start_ns) / 1e6


@dataclass(slots=True)
class Trace:
    """The spans of one trace that have arrived so far."""

    trace_id: str
    spans: list[Span] = field(default_factory=list)

    @property
    def root(self) -> Span:
        """The span that no other received span is the parent of; the earliest where there are several."""
        known = {span.span_id for span in self.spans}
        tops = [span for span in self.spans if span.parent_id not in known]
        return min(tops or self.spans, key=lambda span: span.start_ns)

    @property
    def path(self) -> str:
        """The request's path, '' where the root is no request (both the stable and the older attribute name)."""
        attributes = self.root.attributes
        return str(attributes.get("url.path") or attributes.get("http.target") or "")

    @property
    def start_ns(self) -> int:
        return min(span.start_ns for span in self.spans)

    @property
    def duration_ms(self) -> float:
        return (max(span.end_ns for span in self.spans) - self.start_ns) / 1e6

    @property
    def started(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self.start_ns / 1e9, tz=dt.UTC)

    @property
    def statements(self) -> int:
        """How many of the spans are database statements."""
        return sum("db.system.name" in span.attributes for span in self.spans)

    @property
    def failures(self) -> int:
        return sum(span.failed for span in self.spans)


class TelemetryStore:
    """Thread-safe: the receiver's threads add, the page's threads read."""

    def __init__(self, kept: int = KEPT_TRACES) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self._traces: OrderedDict[str, Trace] = OrderedDict()
        self._received = {"spans": 0, "metrics": 0, "logs": 0}

    def add_spans(self, spans: list[Span]) -> None:
        """Add spans to their traces; the oldest traces go when there are too many."""
        with self._lock:
            self._received["spans"] += len(spans)
            for span in spans:
                trace = self._traces.setdefault(span.trace_id, Trace(span.trace_id))
                trace.spans.append(span)
                self._traces.move_to_end(span.trace_id)
            while len(self._traces) > self._kept:
                self._traces.popitem(last=False)

    def count(self, signal: str, number: int) -> None:
        """Count metric points ("metrics") or log records ("logs") that arrived."""
        with self._lock:
            self._received[signal] += number

    def traces(self) -> list[Trace]:
        """The traces, the one that began last first."""
        with self._lock:
            copies = [Trace(trace.trace_id, list(trace.spans)) for trace in self._traces.values()]
        return sorted(copies, key=lambda trace: trace.start_ns, reverse=True)

    def trace(self, trace_id: str) -> Trace | None:
        """One trace, None when it is not (or no longer) there."""
        with self._lock:
            found = self._traces.get(trace_id)
            return Trace(found.trace_id, list(found.spans)) if found else None

    def received(self) -> dict[str, int]:
        """How many spans, metric points and log records arrived since the start."""
        with self._lock:
            return dict(self._received)


store = TelemetryStore()
