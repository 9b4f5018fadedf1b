"""The server learns the trace of exactly those statements that are sampled, or a few steady tags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry import context
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from mssql.instrumentation.recorder import Recorder
from mssql.instrumentation.statement import Statement, StatementKind
from tests.instrumentation.conftest import Telemetry


class Wire:
    """What a connection would send besides the statements themselves."""

    def __init__(self, error: Exception | None = None) -> None:
        self.sent: list[tuple[str, Sequence[Any]]] = []
        self.error = error

    def __call__(self, sql: str, params: Sequence[Any]) -> None:
        self.sent.append((sql, params))
        if self.error is not None:
            raise self.error

    @property
    def values(self) -> list[bytes]:
        return [params[0] if params else sql.encode() for sql, params in self.sent]


def execute(
    recorder: Recorder,
    wire: Wire,
    sql: str = "SELECT 1",
    kind: StatementKind = StatementKind.QUERY,
) -> tuple[Statement, str]:
    statement = recorder.begin(kind, sql, None)
    outgoing = recorder.outgoing(statement, sql, wire)
    recorder.end(statement)
    return statement, outgoing


def parent(statement: Statement) -> bytes:
    assert statement.span is not None
    span = statement.span.get_span_context()
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-01".encode()


def test_the_traceparent_goes_ahead_of_each_sampled_statement(telemetry: Telemetry) -> None:
    recorder, wire = telemetry.recorder({"propagation": "context_info"}), Wire()
    first, sql = execute(recorder, wire)
    second, _ = execute(recorder, wire)
    assert sql == "SELECT 1"
    assert wire.values == [parent(first), parent(second)]
    assert {len(value) for value in wire.values} == {55}
    assert {text for text, _ in wire.sent} == {"SET CONTEXT_INFO ?"}


def test_an_unsampled_statement_pays_nothing() -> None:
    recorder, wire = Telemetry(ALWAYS_OFF).recorder({"propagation": "context_info"}), Wire()
    execute(recorder, wire)
    recorder.clear_propagation(wire)
    assert not wire.sent


def test_what_was_left_is_cleared_before_another_s_statement(telemetry: Telemetry) -> None:
    recorder, wire = telemetry.recorder({"propagation": "context_info"}), Wire()
    execute(recorder, wire)
    token = context.attach(context.set_value(context._SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        execute(recorder, wire)
        execute(recorder, wire)
    finally:
        context.detach(token)
    assert wire.values[1:] == [b"SET CONTEXT_INFO 0x"]
    execute(recorder, wire)
    recorder.clear_propagation(wire)
    recorder.clear_propagation(wire)
    assert wire.values[3:] == [b"SET CONTEXT_INFO 0x"]


def test_the_filter_keeps_the_trace_from_the_server(telemetry: Telemetry) -> None:
    options = {"propagation": "context_info", "filter": lambda statement: "session" not in statement.sql}
    recorder, wire = telemetry.recorder(options), Wire()
    execute(recorder, wire, "SELECT * FROM [django_session]")
    assert not wire.sent


def test_transactions_get_no_round_trip_of_their_own(telemetry: Telemetry) -> None:
    options = {"propagation": "context_info", "tracing": {"transactions": True}}
    recorder, wire = telemetry.recorder(options), Wire()
    execute(recorder, wire, "COMMIT TRANSACTION", StatementKind.TRANSACTION)
    assert not wire.sent


def test_a_failure_to_propagate_fails_no_query(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    recorder, wire = telemetry.recorder({"propagation": "context_info"}), Wire(RuntimeError("refused"))
    for _ in range(2):
        statement, sql = execute(recorder, wire)
        assert sql == "SELECT 1"
    recorder.clear_propagation(wire)
    assert len(wire.sent) == 3  # what the server has is unknown, so each tries again
    assert sum("was not affected" in record.message for record in caplog.records) == 2
    assert statement.exception is None


def test_a_comment_carries_steady_tags_only(telemetry: Telemetry) -> None:
    def tags(statement: Statement) -> dict[str, str]:
        return {"route": "/orders/<int:pk>", "traceparent": "00-smuggled"}

    options = {"propagation": {"mode": "comment", "tags": {"service": "shop's */"}, "tags_hook": tags}}
    recorder, wire = telemetry.recorder(options), Wire()
    texts = {execute(recorder, wire, "SELECT 1 -- x")[1] for _ in range(1000)}
    assert texts == {"SELECT 1 -- x\n/*route='%2Forders%2F%3Cint%3Apk%3E',service='shop%27s%20%2A%2F'*/"}
    assert not wire.sent


def test_a_comment_carries_the_trace_when_forced(telemetry: Telemetry) -> None:
    recorder = telemetry.recorder({"propagation": {"mode": "comment", "force_traceparent": True}})
    statement, sql = execute(recorder, Wire())
    assert sql == f"SELECT 1\n/*traceparent='{parent(statement).decode()}'*/"


@pytest.mark.parametrize("kind", [StatementKind.TRANSACTION, StatementKind.PROCEDURE])
def test_only_statements_of_the_application_are_tagged(telemetry: Telemetry, kind: StatementKind) -> None:
    recorder = telemetry.recorder({"propagation": {"mode": "comment", "tags": {"a": "b"}}})
    assert execute(recorder, Wire(), "{CALL p}", kind)[1] == "{CALL p}"


def test_no_tags_is_no_comment(telemetry: Telemetry) -> None:
    assert execute(telemetry.recorder({"propagation": "comment"}), Wire())[1] == "SELECT 1"
