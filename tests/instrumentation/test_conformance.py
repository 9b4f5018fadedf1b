"""The convention's attribute table, row by row, on spans that arrived at a real OTLP receiver over a socket."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.conftest import Server
from tests.instrumentation.conftest import PATIENCE
from tests.otlp_receiver import OtlpReceiver, attributes

pytestmark = pytest.mark.timeout(2 * PATIENCE)

TABLE = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "otel" / "sql-server-attributes.json").read_text("utf-8")
)
OURS = {"mssql.alias", "mssql.session_id", "mssql.error.class", "mssql.retry.attempt"}
CODE = {"code.file.path", "code.function.name", "code.line.number"}


@dataclass
class Arrived:
    """What one run of the workload sent."""

    receiver: OtlpReceiver
    port: int

    @property
    def spans(self) -> list[Any]:
        return self.receiver.spans

    def span(self, name: str, **having: Any) -> Any:
        """The one span of that name with those attributes."""
        found = [
            span
            for span in self.spans
            if span.name == name
            and having.items()
            <= {k.replace(".", "_"): v for k, v in attributes(span.attributes).items()}.items()
        ]
        assert len(found) == 1, (name, having, [span.name for span in self.spans])
        return found[0]


@pytest.fixture(scope="module", params=["http/protobuf", "grpc"])
def arrived(request: pytest.FixtureRequest, server: Server) -> Arrived:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")} | {
        "MSSQL_HOST": server.host,
        "MSSQL_PORT": server.port,
        "MSSQL_USER": server.user,
        "MSSQL_PASSWORD": server.password,
        "OTEL_EXPORTER_OTLP_PROTOCOL": request.param,
        "OTEL_SERVICE_NAME": "conformance",
        "OTEL_EXPORTER_OTLP_TIMEOUT": str(PATIENCE),
    }
    with OtlpReceiver(request.param) as receiver:
        environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = receiver.endpoint
        with subprocess.Popen(
            [sys.executable, "-m", "tests.instrumentation.workload"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            try:
                line = process.stdout.readline()
                if line and server.standin is not None:
                    server.standin.control.hang(matching="timeout_marker")
                    server.standin.control.drop_before(matching="lost_marker")
                _, errors = process.communicate("go\n", timeout=PATIENCE)
            finally:
                process.kill()  # of one that has ended it is nothing
        if server.standin is not None:
            server.standin.control.clear()
        assert process.returncode == 0, errors
    return Arrived(receiver, int(server.port))


def is_batch(span: Any) -> bool:
    return bool(span.name.startswith("BATCH"))


def failed(span: Any) -> bool:
    return bool(span.status.code == Status.STATUS_CODE_ERROR)


def is_statement(span: Any) -> bool:
    return not span.name.startswith(("CONNECT", "deadlock"))


def is_procedure(span: Any) -> bool:
    return bool(span.name.startswith("EXECUTE"))


ALWAYS: Callable[[Any], bool] = lambda span: True  # noqa: E731
NEVER: Callable[[Any], bool] = lambda span: False  # noqa: E731

PRESENT: dict[str, Callable[[Any], bool]] = {
    "db.system.name": ALWAYS,
    "db.namespace": ALWAYS,
    "db.response.status_code": failed,
    "error.type": failed,
    "server.address": ALWAYS,
    "db.collection.name": NEVER,  # SQL's own API takes any number of collections
    "db.operation.batch.size": is_batch,
    "db.operation.name": lambda span: span.name.startswith("CONNECT"),
    "db.query.summary": is_statement,
    "db.query.text": lambda span: is_statement(span) and not is_procedure(span),
    "db.stored_procedure.name": is_procedure,
}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row["name"])
def test_each_row_of_the_table(arrived: Arrived, row: dict[str, Any]) -> None:
    assert arrived.spans
    name = row["name"]
    for span in arrived.spans:
        if span.name == "deadlock":
            continue
        known = attributes(span.attributes)
        if name == "server.port":
            assert known.get(name) == (None if arrived.port == 1433 else arrived.port), span.name
        elif name in PRESENT:
            assert (name in known) == PRESENT[name](span), span.name
        for key, value in known.items():
            if key == name or key.startswith(name.replace("<key>", "") + "."):
                assert isinstance(value, int if row["type"] == "int" else str)


def test_nothing_else_is_emitted(arrived: Arrived) -> None:
    stable = {row["name"] for row in TABLE}
    for span in arrived.spans:
        if span.name == "deadlock":
            continue
        keys = {key for key in attributes(span.attributes) if not key.startswith("db.query.parameter.")}
        assert keys <= stable | OURS | CODE
        assert span.kind == Span.SPAN_KIND_CLIENT
        assert not span.events
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano


def test_no_literal_leaves_the_process(arrived: Arrived) -> None:
    assert "literal secret" not in str(arrived.receiver.requests)
    arrived.span(
        "INSERT [conformance]",
        db_query_text="INSERT INTO [conformance] ([name], [n]) VALUES (?, ?)",
        db_query_parameter_0="a",
        db_query_parameter_1="1",
        error_type="2627",
    )


def test_values_are_right(arrived: Arrived) -> None:
    for span in arrived.spans:
        known = attributes(span.attributes)
        assert known["db.system.name"] == "microsoft.sql_server"
        if is_statement(span):
            assert span.name == known["db.query.summary"]
        if failed(span):
            assert known["error.type"] == known["db.response.status_code"]
            assert span.status.message


def test_select_counts_its_rows(arrived: Arrived) -> None:
    select = arrived.span("SELECT [conformance]")
    known = attributes(select.attributes)
    assert known["db.response.returned_rows"] == 6
    assert known["db.query.text"] == "SELECT [id], [name] FROM [conformance] WHERE [n] > ?"
    assert known["db.query.parameter.0"] == "0"
    assert known["code.function.name"] == "main"


def test_batches(arrived: Arrived) -> None:
    for size in (0, 3):
        batch = attributes(
            arrived.span("BATCH INSERT [conformance]", db_operation_batch_size=size).attributes
        )
        assert not [key for key in batch if key.startswith("db.query.parameter")]
    # one set of parameters is no batch
    assert sum(span.name == "INSERT [conformance]" and not failed(span) for span in arrived.spans) == 3


def test_procedure(arrived: Arrived) -> None:
    known = attributes(arrived.span("EXECUTE sp_executesql").attributes)
    assert known["db.stored_procedure.name"] == "sp_executesql"


def test_definitions_and_transactions(arrived: Arrived) -> None:
    for name in (
        "CREATE TABLE [conformance]",
        "CREATE INDEX [conformance_n]",
        "DELETE [conformance]",
    ):
        assert not failed(arrived.span(name))
    names = [span.name for span in arrived.spans]
    assert {"BEGIN TRANSACTION", "SAVE TRANSACTION", "COMMIT TRANSACTION"} <= set(names)


@pytest.mark.parametrize(
    ("name", "code", "error_class"),
    [
        ("INSERT [conformance]", "2627", "constraint"),
        ("SELECT [no_such_table]", "208", "programming"),
        ("UPDATE [conformance]", "1205", "deadlock"),
    ],
)
def test_errors_have_native_numbers(arrived: Arrived, name: str, code: str, error_class: str) -> None:
    span = arrived.span(name, error_type=code)
    assert attributes(span.attributes)["mssql.error.class"] == error_class
    events = [
        record
        for record in arrived.receiver.logs
        if record.event_name == "db.client.operation.exception" and record.span_id == span.span_id
    ]
    assert len(events) == 1
    assert events[0].severity_text == "WARN"


@pytest.mark.standin
@pytest.mark.parametrize(
    ("error_class", "sqlstate"), [("query_timeout", "HYT00"), ("connection_lost", "08S01")]
)
def test_timeouts_and_lost_connections(
    arrived: Arrived, server: Server, error_class: str, sqlstate: str
) -> None:
    if server.standin is None:
        pytest.skip("only the stand-in fails on demand")
    span = arrived.span("SELECT", mssql_error_class=error_class)
    assert attributes(span.attributes)["error.type"] == sqlstate


def test_aliases_are_told_apart(arrived: Arrived) -> None:
    plain = [
        attributes(span.attributes) for span in arrived.spans if span.name == "SELECT" and not failed(span)
    ]
    assert {known["db.namespace"] for known in plain} == {"tempdb", "SHOP|master"}


def test_metrics_and_resource_arrive_too(arrived: Arrived) -> None:
    assert {resource["service.name"] for resource in arrived.receiver.resources} == {"conformance"}
    names = {metric.name for metric in arrived.receiver.metrics}
    rows = {
        attributes(point.attributes)["db.query.summary"]: point.sum
        for metric in arrived.receiver.metrics
        if metric.name == "db.client.response.returned_rows"
        for point in metric.histogram.data_points
    }
    assert rows["SELECT [conformance]"] == 6
    assert {
        "db.client.operation.duration",
        "db.client.response.returned_rows",
        "db.client.connection.count",
        "mssql.deadlocks",
    } <= names
    (duration, *_) = [m for m in arrived.receiver.metrics if m.name == "db.client.operation.duration"]
    assert duration.unit == "s"
    assert list(duration.histogram.data_points[0].explicit_bounds) == [
        0.001,
        0.005,
        0.01,
        0.05,
        0.1,
        0.5,
        1,
        5,
        10,
    ]
