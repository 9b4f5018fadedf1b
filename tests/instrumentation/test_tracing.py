"""A statement becomes one CLIENT span, by the stable database conventions."""

from __future__ import annotations

import gc
import threading
from typing import Any

import pytest
from opentelemetry import context, propagate, trace
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import SpanKind, StatusCode

from mssql.instrumentation.statement import Attempt, ConnectionInfo, StatementKind, current_attempt
from mssql.instrumentation.tracing import Dropping
from tests.instrumentation.conftest import DEADLOCK, UNIQUE_VIOLATION, Telemetry, driver_error, run


def test_a_select_has_the_attributes_of_the_convention(telemetry: Telemetry) -> None:
    statement = run(telemetry.recorder())
    span = telemetry.span
    assert span.name == "SELECT [shop_order]"
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert not span.events
    assert dict(span.attributes or {}) == {
        "db.system.name": "microsoft.sql_server",
        "db.namespace": "shop",
        "db.query.summary": "SELECT [shop_order]",
        "db.query.text": "SELECT [id] FROM [shop_order] WHERE [id] = ?",
        "server.address": "db.example.com",
    }
    assert span.start_time == statement.started_ns
    assert span.end_time == statement.started_ns + (statement.duration_ns or 0)


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        (ConnectionInfo("a", "shop"), {"db.namespace": "shop"}),
        (ConnectionInfo("a", "shop", "db", 1433), {"db.namespace": "shop", "server.address": "db"}),
        (
            ConnectionInfo("a", "shop", "db", 1444),
            {"db.namespace": "shop", "server.address": "db", "server.port": 1444},
        ),
        (
            ConnectionInfo("a", "shop", "db", None, "SQLEXPRESS"),
            {"db.namespace": "SQLEXPRESS|shop", "server.address": "db"},
        ),
        (ConnectionInfo("a", ""), {}),
    ],
)
def test_namespace_and_server(telemetry: Telemetry, info: ConnectionInfo, expected: dict[str, Any]) -> None:
    run(telemetry.recorder(True, info))
    attributes = telemetry.span.attributes or {}
    assert {
        key: attributes[key] for key in attributes if key.startswith(("db.namespace", "server."))
    } == expected


def test_the_namespace_follows_the_login_and_use(telemetry: Telemetry) -> None:
    recorder = telemetry.recorder()
    run(recorder)
    recorder.connection.database = "archive"
    run(recorder)
    recorder.connection.instance_name = "SQLEXPRESS"
    run(recorder)
    namespaces = [(span.attributes or {})["db.namespace"] for span in telemetry.spans]
    assert namespaces == ["shop", "archive", "SQLEXPRESS|archive"]


def test_a_sampler_sees_the_attributes() -> None:
    seen: dict[str, Any] = {}

    class Asking(Sampler):
        def should_sample(
            self,
            parent_context: Any,
            trace_id: int,
            name: str,
            kind: Any = None,
            attributes: Any = None,
            links: Any = None,
            trace_state: Any = None,
        ) -> SamplingResult:  # type: ignore[override]
            seen.update(attributes)
            return SamplingResult(Decision.DROP)

        def get_description(self) -> str:
            return "asking"

    run(Telemetry(Asking()).recorder(True, ConnectionInfo("a", "shop", "db", 1444)))
    assert {
        "db.system.name", "db.namespace", "db.query.summary", "db.query.text", "server.address", "server.port"
    } <= seen.keys()  # fmt: skip


@pytest.mark.parametrize(
    ("batch_size", "name", "size"),
    [
        (None, "INSERT [t]", None),
        (0, "BATCH INSERT [t]", 0),
        (1, "INSERT [t]", None),
        (3, "BATCH INSERT [t]", 3),
    ],
)
def test_executemany_is_a_batch(
    telemetry: Telemetry, batch_size: int | None, name: str, size: int | None
) -> None:
    sql = "INSERT INTO [t] ([a]) VALUES (?)"
    run(telemetry.recorder(), sql, [(1,)], kind=StatementKind.BATCH, batch_size=batch_size)
    attributes = telemetry.span.attributes or {}
    assert telemetry.span.name == attributes["db.query.summary"] == name
    assert attributes.get("db.operation.batch.size") == size
    assert attributes["db.query.text"] == sql


def test_callproc_has_a_summary_and_no_text(telemetry: Telemetry) -> None:
    run(
        telemetry.recorder(),
        "{CALL dbo.refill (?)}",
        (1,),
        kind=StatementKind.PROCEDURE,
        procedure="dbo.refill",
    )
    attributes = telemetry.span.attributes or {}
    assert telemetry.span.name == attributes["db.query.summary"] == "EXECUTE dbo.refill"
    assert attributes["db.stored_procedure.name"] == "dbo.refill"
    assert "db.query.text" not in attributes


@pytest.mark.parametrize(
    ("mode", "params", "expected"),
    [
        ("auto", (1,), "SELECT TOP 21 * FROM t WHERE a = ?"),
        ("auto", (), "SELECT TOP ? * FROM t WHERE a = ?"),
        ("auto", None, "SELECT TOP ? * FROM t WHERE a = ?"),
        ("sanitized", (1,), "SELECT TOP ? * FROM t WHERE a = ?"),
        ("raw", None, "SELECT TOP 21 * FROM t WHERE a = ?"),
        ("off", (1,), None),
        (True, (), "SELECT TOP ? * FROM t WHERE a = ?"),
        (False, (1,), None),
    ],
)
def test_query_text(telemetry: Telemetry, mode: object, params: Any, expected: str | None) -> None:
    run(telemetry.recorder({"query_text": mode}), "SELECT TOP 21 * FROM t WHERE a = ?", params)
    assert (telemetry.span.attributes or {}).get("db.query.text") == expected


def test_an_error_has_the_native_number_and_no_data(telemetry: Telemetry) -> None:
    run(telemetry.recorder(), error=driver_error(2627, UNIQUE_VIOLATION, "23000", "IntegrityError"))
    span, attributes = telemetry.span, telemetry.span.attributes or {}
    assert attributes["db.response.status_code"] == attributes["error.type"] == "2627"
    assert attributes["mssql.error.class"] == "constraint"
    assert (attributes["mssql.alias"], attributes["mssql.session_id"]) == ("default", 52)
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "Violation of UNIQUE KEY constraint ?."
    assert not span.events


@pytest.mark.parametrize(
    ("error", "code", "kind", "description"),
    [
        (driver_error(208, "Invalid object name 'secret'."), "208", "208", "Invalid object name ?."),
        (
            driver_error(0, "Query timeout expired", "HYT00", "OperationalError"),
            "HYT00",
            "HYT00",
            "Query timeout expired",
        ),
        (
            driver_error(104, "TCP Provider: Error code 0x68", "08S01", "OperationalError"),
            "08S01",
            "08S01",
            "TCP Provider: Error code ?x?",
        ),
        (driver_error(50001, "Novak owes 500"), "50001", "50001", "User-defined error 50001"),
        (
            driver_error(245, "Conversion failed when converting the varchar value 'it's 'secret' to int."),
            "245",
            "245",
            "Conversion failed when converting the varchar value ? to int.",
        ),
        (driver_error(8152, "Truncated: 'secret and what"), "8152", "8152", "Truncated: ?"),
        (ValueError("bad 'secret'"), None, "ValueError", "bad ?"),
        (KeyboardInterrupt(), None, "KeyboardInterrupt", ""),
    ],
)
def test_errors(
    telemetry: Telemetry, error: BaseException, code: str | None, kind: str, description: str
) -> None:
    run(telemetry.recorder(), error=error)
    attributes = telemetry.span.attributes or {}
    assert attributes.get("db.response.status_code") == code
    assert attributes["error.type"] == kind
    assert telemetry.span.status.description == description


@pytest.mark.parametrize(("mode", "expected"), [("raw", UNIQUE_VIOLATION), ("off", None)])
def test_error_messages_by_choice(telemetry: Telemetry, mode: str, expected: str | None) -> None:
    recorder = telemetry.recorder({"tracing": {"error_messages": mode}})
    run(recorder, error=driver_error(2627, UNIQUE_VIOLATION, "23000", "IntegrityError"))
    assert telemetry.span.status.description == expected


def test_an_error_that_is_retried_is_no_failure(telemetry: Telemetry) -> None:
    token = current_attempt.set(Attempt(2, lambda error: 0.05 if error.number == 1205 else None))
    try:
        recorder = telemetry.recorder()
        run(recorder, error=driver_error(1205, DEADLOCK, "40001", "Error"))
        run(recorder, error=driver_error(208, "Invalid object name 'x'."))
    finally:
        current_attempt.reset(token)
    retried, failed = telemetry.spans
    assert retried.status.status_code is StatusCode.UNSET
    assert (retried.attributes or {})["db.response.status_code"] == "1205"
    assert (retried.attributes or {})["mssql.retry.attempt"] == 2
    assert (retried.attributes or {})["mssql.retry.delay"] == 0.05
    assert "error.type" not in (retried.attributes or {})
    assert failed.status.status_code is StatusCode.ERROR


def test_returned_rows_are_counted_and_the_fetch_is_not_timed(telemetry: Telemetry) -> None:
    recorder = telemetry.recorder({"tracing": {"returned_rows": True}})
    statement = recorder.begin(StatementKind.QUERY, "SELECT 1", None)
    recorder.end(statement, rowcount=-1)
    assert not telemetry.spans
    ended = statement.ended_ns
    recorder.close(statement, returned_rows=7)
    recorder.close(statement, returned_rows=9)
    assert (telemetry.span.attributes or {})["db.response.returned_rows"] == 7
    assert telemetry.span.end_time == ended


def test_a_forgotten_cursor_ends_its_span(telemetry: Telemetry) -> None:
    recorder = telemetry.recorder({"tracing": {"returned_rows": True}})
    statement = recorder.begin(StatementKind.QUERY, "SELECT 1", None)
    recorder.end(statement, rowcount=-1)
    ended = statement.ended_ns
    del statement
    gc.collect()
    assert telemetry.span.end_time == ended
    assert "db.response.returned_rows" not in (telemetry.span.attributes or {})


def test_rows_that_fail_to_come_are_told_on_the_span_of_their_statement(telemetry: Telemetry) -> None:
    """The execution had ended well: its time stays, its outcome doesn't. One measurement, one exception event."""
    recorder = telemetry.recorder({"query_log": {"slow_ms": 0}})
    statement = recorder.begin(StatementKind.QUERY, "SELECT * FROM [t]", None)
    recorder.end(statement, unread=True)
    ended = statement.ended_ns
    assert not telemetry.spans
    assert not telemetry.points("db.client.operation.duration")
    recorder.close(statement, returned_rows=100, error=driver_error(1205, DEADLOCK))
    recorder.close(statement, returned_rows=100, error=driver_error(1205, DEADLOCK))
    span = telemetry.span
    assert span.end_time == ended
    assert span.status.status_code is StatusCode.ERROR
    assert (
        (span.attributes or {})["error.type"] == (span.attributes or {})["db.response.status_code"] == "1205"
    )
    (duration,) = telemetry.points("db.client.operation.duration")
    assert (duration.count, duration.attributes["error.type"]) == (1, "1205")
    assert [point.value for point in telemetry.points("mssql.deadlocks")] == [1]
    (event,) = telemetry.events
    assert event.event_name == "db.client.operation.exception"
    assert event.span_id == span.get_span_context().span_id
    assert event.timestamp > ended


def test_a_failed_fetch_that_is_retried_is_no_failure(telemetry: Telemetry) -> None:
    token = current_attempt.set(Attempt(1, lambda error: 0.05))
    try:
        recorder = telemetry.recorder()
        statement = recorder.begin(StatementKind.QUERY, "SELECT * FROM [t]", None)
        recorder.end(statement, unread=True)
        recorder.close(statement, error=driver_error(1205, DEADLOCK))
    finally:
        current_attempt.reset(token)
    attributes = telemetry.span.attributes or {}
    assert telemetry.span.status.status_code is StatusCode.UNSET
    assert attributes["db.response.status_code"] == "1205"
    assert "error.type" not in attributes
    assert not telemetry.events


@pytest.mark.parametrize("returned_rows", [True, False])
def test_rows_that_come_leave_the_span_as_it_was(telemetry: Telemetry, returned_rows: bool) -> None:
    recorder = telemetry.recorder({"tracing": {"returned_rows": returned_rows}})
    statement = recorder.begin(StatementKind.QUERY, "SELECT * FROM [t]", None)
    recorder.end(statement, unread=True)
    recorder.close(statement, returned_rows=250)
    assert telemetry.span.end_time == statement.ended_ns
    assert telemetry.span.status.status_code is StatusCode.UNSET
    assert ("db.response.returned_rows" in (telemetry.span.attributes or {})) is returned_rows
    (duration,) = telemetry.points("db.client.operation.duration")
    assert duration.count == 1


def test_connect_and_transaction_spans_are_opt_in(telemetry: Telemetry) -> None:
    for options in (True, {"tracing": {"connect": True, "transactions": True, "pool": True}}):
        recorder = telemetry.recorder(options)
        run(recorder, "", None, kind=StatementKind.CONNECT)
        recorder.connection_acquired(5_000_000)
        for sql in ("BEGIN TRANSACTION", "SAVE TRANSACTION s140_x1", "ROLLBACK TRANSACTION s140_x1"):
            run(recorder, sql, None, kind=StatementKind.TRANSACTION)
    assert [span.name for span in telemetry.spans] == [
        "CONNECT shop",
        "pool acquire",
        "BEGIN TRANSACTION",
        "SAVE TRANSACTION",
        "ROLLBACK TRANSACTION",
    ]
    connect = telemetry.spans[0].attributes or {}
    assert connect["db.operation.name"] == "CONNECT"
    assert "db.query.text" not in connect


def test_the_span_is_a_child_and_never_current(telemetry: Telemetry) -> None:
    recorder = telemetry.recorder()
    with telemetry.tracer_provider.get_tracer("app").start_as_current_span("view") as view:
        statement = recorder.begin(StatementKind.QUERY, "SELECT 1", None)
        assert trace.get_current_span() is view
        recorder.end(statement)
    child = telemetry.spans[0]
    assert child.parent is not None
    assert child.parent.span_id == view.get_span_context().span_id


def test_a_thread_of_its_own_starts_a_trace_of_its_own(telemetry: Telemetry) -> None:
    recorder = telemetry.recorder()
    with telemetry.tracer_provider.get_tracer("app").start_as_current_span("view"):
        thread = threading.Thread(target=run, args=(recorder,))
        thread.start()
        thread.join()
    assert telemetry.spans[0].parent is None


def test_a_task_goes_on_with_the_trace_of_who_queued_it(telemetry: Telemetry) -> None:
    """As Celery's instrumentation does it: the producer's headers are the worker's context."""
    recorder = telemetry.recorder()
    carrier: dict[str, str] = {}
    with telemetry.tracer_provider.get_tracer("app").start_as_current_span("send") as send:
        propagate.inject(carrier)

    def work() -> None:
        token = context.attach(propagate.extract(carrier))
        try:
            run(recorder)
        finally:
            context.detach(token)

    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
    statement = telemetry.spans[-1]
    assert statement.parent is not None
    assert statement.parent.is_remote
    assert statement.parent.span_id == send.get_span_context().span_id


def test_suppressed_instrumentation_is_honoured(telemetry: Telemetry) -> None:
    recorder = telemetry.recorder({"tracing": {"pool": True}, "query_log": {"slow_ms": 0}})
    with suppress_instrumentation():
        run(recorder)
        recorder.connection_acquired(wait_ns=5)
    assert not telemetry.spans
    assert not telemetry.points("db.client.operation.duration")
    assert not telemetry.events
    recorder.connection_acquired(wait_ns=5)
    assert telemetry.span.name == "pool acquire"


def test_a_filter_keeps_statements_out(telemetry: Telemetry) -> None:
    recorder = telemetry.recorder({"filter": lambda statement: "django_session" not in statement.sql})
    run(recorder, "SELECT * FROM [django_session]")
    run(recorder, "SELECT * FROM [shop_order]")
    assert telemetry.span.name == "SELECT [shop_order]"


def test_hooks_may_enrich_and_may_fail(telemetry: Telemetry, caplog: pytest.LogCaptureFixture) -> None:
    def request_hook(span: trace.Span, statement: Any) -> None:
        span.set_attribute("tenant", statement.connection.alias)

    def response_hook(span: trace.Span, statement: Any) -> None:
        span.set_attribute("rows", statement.rowcount)
        raise RuntimeError("hook's own mistake")

    recorder = telemetry.recorder({"request_hook": request_hook, "response_hook": response_hook})
    run(recorder, rowcount=3)
    run(recorder, rowcount=3)
    assert (telemetry.spans[1].attributes or {})["tenant"] == "default"
    assert (telemetry.spans[1].attributes or {})["rows"] == 3
    assert caplog.text.count("the query was not affected") == 1


def test_parameters_are_opt_in_and_not_for_batches(telemetry: Telemetry) -> None:
    recorder = telemetry.recorder({"query_parameters": True})
    run(recorder, params=("Novak", None))
    run(recorder, params=[("Novak",)], kind=StatementKind.BATCH, batch_size=1)
    run(telemetry.recorder(), params=("Novak",))
    single, *others = [
        {key: value for key, value in (span.attributes or {}).items() if "parameter" in key}
        for span in telemetry.spans
    ]
    assert single == {"db.query.parameter.0": "Novak", "db.query.parameter.1": "None"}
    assert others == [{}, {}]


def test_the_caller_is_opt_in(telemetry: Telemetry) -> None:
    run(telemetry.recorder({"caller": True}))
    attributes = telemetry.span.attributes or {}
    assert str(attributes["code.file.path"]).endswith("conftest.py")  # run() is the application here
    assert attributes["code.function.name"] == "run"
    assert isinstance(attributes["code.line.number"], int)


def test_text_that_is_no_unicode_does_not_poison_the_batch(telemetry: Telemetry) -> None:
    run(telemetry.recorder(), "SELECT N'\ud800', [\udfff] FROM [t\ud800] WHERE a = ?", (1,))
    for value in (telemetry.span.attributes or {}).values():
        str(value).encode("utf-8")
    telemetry.span.name.encode("utf-8")


def test_unsampled_statements_leave_nothing() -> None:
    telemetry = Telemetry(ALWAYS_OFF)
    run(telemetry.recorder({"tracing": {"returned_rows": True}}))
    assert not telemetry.spans


def _parent(*, sampled: bool, remote: bool) -> trace.Span:
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if sampled else trace.TraceFlags.DEFAULT)
    return trace.NonRecordingSpan(trace.SpanContext(1, 1, remote, flags))


@pytest.mark.parametrize(
    "sampler",
    [
        ALWAYS_ON,
        ALWAYS_OFF,
        TraceIdRatioBased(0.0),
        ParentBased(ALWAYS_ON),
        ParentBased(ALWAYS_OFF),
        ParentBased(TraceIdRatioBased(0.5)),
        ParentBased(ALWAYS_ON, local_parent_not_sampled=ALWAYS_ON),
        ParentBased(ALWAYS_OFF, remote_parent_not_sampled=ALWAYS_ON),
    ],
    ids=lambda sampler: sampler.get_description(),
)
@pytest.mark.parametrize("remote", [True, False])
@pytest.mark.parametrize("sampled", [True, False, None])
def test_a_span_that_is_not_started_would_have_been_dropped(
    sampler: Sampler, sampled: bool | None, remote: bool
) -> None:
    """The shortcut never decides otherwise than the sampler, and is taken where most statements are dropped."""
    telemetry = Telemetry(sampler)
    tracer = telemetry.tracer_provider.get_tracer("test")
    parent = trace.INVALID_SPAN if sampled is None else _parent(sampled=sampled, remote=remote)
    with trace.use_span(parent):
        dropping = Dropping.of(tracer)
        certain = dropping is not None and dropping.certain(context.get_current())
        spans = [tracer.start_span("x") for _ in range(20)]
        run(telemetry.recorder())
    kept = any(span.get_span_context().trace_flags.sampled for span in spans)
    assert not (certain and kept)
    if kept and not isinstance(getattr(sampler, "_root", None), TraceIdRatioBased):
        assert len(telemetry.spans) == 1


def test_the_shortcut_is_taken_under_an_unsampled_request() -> None:
    tracer = Telemetry(ParentBased(TraceIdRatioBased(0.1))).tracer_provider.get_tracer("test")
    with trace.use_span(_parent(sampled=False, remote=False)):
        dropping = Dropping.of(tracer)
        assert dropping is not None
        assert dropping.certain(context.get_current())
        assert not dropping.certain(context.Context())
    assert Dropping.of(Telemetry(ALWAYS_OFF).tracer_provider.get_tracer("test")) == Dropping(True, True, True)
