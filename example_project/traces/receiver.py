"""A small OTLP/HTTP receiver (protobuf), so that the example shows real exported telemetry with no other software.

The protocol: https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from example_project.traces.store import Span, TelemetryStore

MAX_BODY = 16 * 1024 * 1024
PROTOBUF = "application/x-protobuf"


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return getattr(value, kind) if kind else None


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _spans(request: ExportTraceServiceRequest) -> list[Span]:
    """The request's spans in our own form."""
    return [
        Span(
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            name=span.name,
            kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
            service=str(_attributes(group.resource.attributes).get("service.name", "")),
            scope=scope.scope.name,
            start_ns=span.start_time_unix_nano,
            end_ns=span.end_time_unix_nano,
            failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
            attributes=_attributes(span.attributes),
            events=tuple(event.name for event in span.events),
        )
        for group in request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]


def _metric_points(request: ExportMetricsServiceRequest) -> int:
    return sum(
        len(getattr(metric, metric.WhichOneof("data")).data_points)
        for group in request.resource_metrics
        for scope in group.scope_metrics
        for metric in scope.metrics
        if metric.WhichOneof("data")
    )


def _log_records(request: ExportLogsServiceRequest) -> int:
    return sum(len(scope.log_records) for group in request.resource_logs for scope in group.scope_logs)


class Receiver:
    """Listens on loopback and puts what arrives into a store."""

    def __init__(self, store: TelemetryStore, port: int = 0) -> None:
        self.store = store
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver._answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Each batch of spans would be a line on the demo's console."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="otlp-receiver", daemon=True)

    @property
    def endpoint(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT must be to send here."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, http: BaseHTTPRequestHandler) -> None:
        length = int(http.headers.get("Content-Length") or 0)
        if length > MAX_BODY:
            http.close_connection = True
            return self._reply(http, 413, b"")
        body = http.rfile.read(length)
        try:
            if http.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            answer = self._take(http.path, body)
        except (DecodeError, OSError, EOFError, zlib.error):
            return self._reply(http, 400, b"")
        if answer is None:
            return self._reply(http, 404, b"")
        return self._reply(http, 200, answer.SerializeToString())

    def _take(self, path: str, body: bytes) -> Message | None:
        """Keep what the request carries and give the answer, None for an unknown path."""
        if path == "/v1/traces":
            self.store.add_spans(_spans(ExportTraceServiceRequest.FromString(body)))
            return ExportTraceServiceResponse()
        if path == "/v1/metrics":
            self.store.count("metrics", _metric_points(ExportMetricsServiceRequest.FromString(body)))
            return ExportMetricsServiceResponse()
        if path == "/v1/logs":
            self.store.count("logs", _log_records(ExportLogsServiceRequest.FromString(body)))
            return ExportLogsServiceResponse()
        return None

    @staticmethod
    def _reply(http: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
        http.send_response(status)
        http.send_header("Content-Type", PROTOBUF)
        http.send_header("Content-Length", str(len(body)))
        http.end_headers()
        http.wfile.write(body)
