"""A real OTLP receiver on a socket, for tests: http/protobuf and grpc, spans, metrics and logs."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs_service
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_service
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_service
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc

_REQUESTS = {
    "/v1/traces": trace_service.ExportTraceServiceRequest,
    "/v1/metrics": metrics_service.ExportMetricsServiceRequest,
    "/v1/logs": logs_service.ExportLogsServiceRequest,
}
_RESPONSES = {
    "/v1/traces": trace_service.ExportTraceServiceResponse,
    "/v1/metrics": metrics_service.ExportMetricsServiceResponse,
    "/v1/logs": logs_service.ExportLogsServiceResponse,
}


class OtlpReceiver:
    """Listens on 127.0.0.1 while it is entered; keeps every request it gets, by path."""

    def __init__(self, protocol: str = "http/protobuf") -> None:
        self.protocol = protocol
        self.requests: dict[str, list[Any]] = {path: [] for path in _REQUESTS}
        self.headers: list[dict[str, str]] = []
        self._lock = threading.Lock()
        self._stop: Callable[[], None] = lambda: None
        self.port = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        if self.protocol == "grpc":
            self._serve_grpc()
        else:
            self._serve_http()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _keep(self, path: str, request: Any, headers: dict[str, str]) -> None:
        with self._lock:
            self.requests[path].append(request)
            self.headers.append(headers)

    def _serve_http(self) -> None:
        keep = self._keep

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                request = _REQUESTS[self.path].FromString(body)
                keep(self.path, request, {key.lower(): value for key, value in self.headers.items()})
                answer = _RESPONSES[self.path]().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def stop() -> None:
            server.shutdown()
            server.server_close()

        self._stop = stop

    def _serve_grpc(self) -> None:
        server = grpc.server(ThreadPoolExecutor(4))
        for path, add, base in (
            ("/v1/traces", trace_grpc.add_TraceServiceServicer_to_server, trace_grpc.TraceServiceServicer),
            (
                "/v1/metrics",
                metrics_grpc.add_MetricsServiceServicer_to_server,
                metrics_grpc.MetricsServiceServicer,
            ),
            ("/v1/logs", logs_grpc.add_LogsServiceServicer_to_server, logs_grpc.LogsServiceServicer),
        ):
            add(type("Servicer", (base,), {"Export": self._export(path)})(), server)
        self.port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self._stop = lambda: server.stop(None).wait() and None

    def _export(self, path: str) -> Callable[..., Any]:
        def export(_self: object, request: Any, context: grpc.ServicerContext) -> Any:
            self._keep(path, request, {item.key: str(item.value) for item in context.invocation_metadata()})
            return _RESPONSES[path]()

        return export

    @property
    def spans(self) -> list[Any]:
        return [
            span
            for request in self.requests["/v1/traces"]
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def metrics(self) -> list[Any]:
        return [
            metric
            for request in self.requests["/v1/metrics"]
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]

    @property
    def logs(self) -> list[Any]:
        return [
            record
            for request in self.requests["/v1/logs"]
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    @property
    def resources(self) -> list[dict[str, Any]]:
        """The resource of each batch of spans."""
        return [
            attributes(resource.resource.attributes)
            for request in self.requests["/v1/traces"]
            for resource in request.resource_spans
        ]


def attributes(pairs: Any) -> dict[str, Any]:
    """OTLP's key-value pairs as a dict of plain values."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
