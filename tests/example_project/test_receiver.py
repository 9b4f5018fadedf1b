"""The example's OTLP receiver takes what OpenTelemetry's own exporter sends, over a real socket."""

from __future__ import annotations

import gzip
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

from example_project.traces.receiver import Receiver
from example_project.traces.store import TelemetryStore


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver(TelemetryStore(kept=2))
    receiver.start()
    yield receiver
    receiver.stop()


def _provider(receiver: Receiver, compression: Compression = Compression.NoCompression) -> TracerProvider:
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
    exporter = OTLPSpanExporter(
        endpoint=f"{receiver.endpoint}/v1/traces", compression=compression, timeout=60
    )
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_a_request_and_its_statement_arrive_as_one_trace(
    receiver: Receiver, compression: Compression
) -> None:
    tracer = _provider(receiver, compression).get_tracer("tests")
    with tracer.start_as_current_span("GET /orders/", attributes={"url.path": "/orders/"}):
        statement = tracer.start_span(
            "SELECT [shop_order]",
            kind=SpanKind.CLIENT,
            attributes={"db.system.name": "microsoft.sql_server", "rows": 3, "tags": ["a", "b"]},
        )
        statement.set_status(Status(StatusCode.ERROR, "deadlock"))
        statement.end()

    (trace,) = receiver.store.traces()
    assert (trace.root.name, trace.path, trace.statements, trace.failures) == (
        "GET /orders/",
        "/orders/",
        1,
        1,
    )
    (span,) = (span for span in trace.spans if span is not trace.root)
    assert (span.kind, span.service, span.scope, span.parent_id) == (
        "client",
        "shop",
        "tests",
        trace.root.span_id,
    )
    assert span.attributes == {"db.system.name": "microsoft.sql_server", "rows": 3, "tags": ["a", "b"]}
    assert receiver.store.received()["spans"] == 2


def test_only_the_newest_traces_are_kept(receiver: Receiver) -> None:
    tracer = _provider(receiver).get_tracer("tests")
    for name in ("first", "second", "third"):
        tracer.start_span(name).end()
    assert [trace.root.name for trace in receiver.store.traces()] == ["third", "second"]


@pytest.mark.parametrize(
    ("path", "body", "encoding", "status"),
    [
        ("/v1/traces", b"\xff\xff\xff", "identity", 400),
        ("/v1/traces", b"no gzip", "gzip", 400),
        ("/v1/traces", gzip.compress(b"cut short" * 9, mtime=0)[:-12], "gzip", 400),
        ("/v1/traces", gzip.compress(b"", mtime=0)[:10] + b"\xff" * 20, "gzip", 400),
        ("/v1/unknown", b"", "identity", 404),
    ],
)
def test_what_is_no_otlp_is_refused(
    receiver: Receiver, path: str, body: bytes, encoding: str, status: int
) -> None:
    request = urllib.request.Request(
        receiver.endpoint + path, data=body, headers={"Content-Encoding": encoding}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == status
