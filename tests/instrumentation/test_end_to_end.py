"""Real statements over the wire: what the recorder, the server and the tools beside it see."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import DatabaseError, IntegrityError, OperationalError, connections
from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode

from mssql.base import DatabaseWrapper
from mssql.cursor import Cursor
from mssql.instrumentation import metrics, query_log, tracing
from mssql.instrumentation.statement import Statement
from tests.conftest import Server
from tests.instrumentation.conftest import Telemetry, unhurried

Connect = Callable[..., DatabaseWrapper]

LEAK_CURSORS = int(os.environ.get("MSSQL_LEAK_CURSORS", "1000"))
STATM = Path("/proc/self/statm")
"""Linux tells there how much memory the process has now; elsewhere only objects are counted."""


@pytest.fixture
def connect(
    server: Server, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch, django_db_blocker: Any
) -> Iterator[Connect]:
    """Makes connections of the test's own, whose telemetry goes to ``telemetry``."""
    monkeypatch.setattr(tracing.trace, "get_tracer", telemetry.tracer_provider.get_tracer)
    monkeypatch.setattr(query_log.otel_logs, "get_logger", telemetry.logger_provider.get_logger)
    monkeypatch.setattr(metrics, "_instruments", lambda: telemetry.instruments)
    opened: list[DatabaseWrapper] = []

    def connect(instrumentation: object = True, alias: str = "default", **options: Any) -> DatabaseWrapper:
        wrapper: DatabaseWrapper = connections.create_connection(alias)  # type: ignore[assignment]
        wrapper.settings_dict = {
            **wrapper.settings_dict,
            "NAME": "master",
            "HOST": server.host,
            "PORT": server.port,
            "USER": server.user,
            "PASSWORD": server.password,
            "OPTIONS": {
                "trust_server_certificate": True,
                "connection_timeout": 60,
                "instrumentation": unhurried(instrumentation),
                **options,
            },
        }
        wrapper.ensure_connection()
        opened.append(wrapper)
        return wrapper

    with django_db_blocker.unblock():
        yield connect
        for wrapper in opened:
            wrapper.close()


@contextmanager
def table(wrapper: DatabaseWrapper) -> Iterator[str]:
    name = f"telemetry_{uuid.uuid4().hex[:8]}"
    with wrapper.cursor() as cursor:
        cursor.execute(f"CREATE TABLE [{name}] ([id] int IDENTITY PRIMARY KEY, [name] nvarchar(50) UNIQUE)")
        try:
            yield name
        finally:
            cursor.execute(f"DROP TABLE [{name}]")


def names(telemetry: Telemetry) -> list[str]:
    return [span.name for span in telemetry.spans]


def test_a_connection_s_life_as_spans(connect: Connect, telemetry: Telemetry) -> None:
    spans = {"connect": True, "transactions": True, "returned_rows": True}
    wrapper = connect({"tracing": spans}, retry=False)
    with table(wrapper) as name, wrapper.cursor() as cursor:
        cursor.executemany(f"INSERT INTO [{name}] ([name]) VALUES (%s)", [("a",), ("b",), ("c",)])
        cursor.execute(f"SELECT [id] FROM [{name}] WHERE [id] > %s", (0,))
        assert len(cursor.fetchall()) == 3
        with transaction_on(wrapper):
            cursor.execute(f"UPDATE [{name}] SET [name] = %s WHERE [id] = %s", ("x", 1))
    assert names(telemetry) == [
        "CONNECT master",
        f"CREATE TABLE [{name}]",
        f"BATCH INSERT [{name}]",
        f"SELECT [{name}]",
        "BEGIN TRANSACTION",
        f"UPDATE [{name}]",
        "COMMIT TRANSACTION",
        f"DROP TABLE [{name}]",
    ]
    select = telemetry.spans[3]
    assert (select.attributes or {})["db.response.returned_rows"] == 3
    assert (select.attributes or {})["db.query.text"] == f"SELECT [id] FROM [{name}] WHERE [id] > ?"


@contextmanager
def transaction_on(wrapper: DatabaseWrapper) -> Iterator[None]:
    """transaction.atomic() for a connection that is not among Django's own."""
    wrapper.set_autocommit(False)
    try:
        yield
    except BaseException:
        wrapper.rollback()
        raise
    else:
        wrapper.commit()
    finally:
        wrapper.set_autocommit(True)


def test_the_server_s_errors_arrive_with_their_numbers(connect: Connect, telemetry: Telemetry) -> None:
    wrapper = connect()
    with table(wrapper) as name, wrapper.cursor() as cursor:
        insert = f"INSERT INTO [{name}] ([name]) VALUES (%s)"
        cursor.execute(insert, ["Novak"])
        with pytest.raises(IntegrityError):
            cursor.execute(insert, ["Novak"])
        with pytest.raises(DatabaseError):
            cursor.execute("SELECT * FROM [no_such_table]")
    failed = {(span.attributes or {}).get("error.type"): span for span in telemetry.spans}
    assert failed.keys() == {None, "2627", "208"}
    assert failed["2627"].status.description == "Violation of UNIQUE KEY constraint ?."
    assert "Novak" not in str([span.to_json() for span in telemetry.spans])
    assert [event.event_name for event in telemetry.events] == ["db.client.operation.exception"] * 2


def test_the_first_hundred_rows_and_the_rest_are_one_operation(
    connect: Connect, telemetry: Telemetry
) -> None:
    wrapper = connect({"tracing": {"returned_rows": True}, "metrics": {"returned_rows": True}})
    with table(wrapper) as name, wrapper.cursor() as cursor:
        cursor.executemany(f"INSERT INTO [{name}] ([name]) VALUES (%s)", [(str(n),) for n in range(250)])
        cursor.execute(f"SELECT [id] FROM [{name}]")
        assert sum(1 for _ in cursor) == 250
    rows = [
        span.attributes["db.response.returned_rows"]
        for span in telemetry.spans
        if span.attributes and "db.response.returned_rows" in span.attributes
    ]
    assert rows == [250]
    (point,) = telemetry.points("db.client.response.returned_rows")
    assert point.sum == 250


def test_the_server_sees_the_trace_of_exactly_the_sampled_statements(
    connect: Connect, telemetry: Telemetry
) -> None:
    def not_filtered(statement: Any) -> bool:
        return "quiet" not in statement.sql

    wrapper = connect({"propagation": "context_info", "filter": not_filtered})
    session_id = wrapper.connection.info.session_id

    def seen(sql: str, *params: Any) -> bytes:
        with wrapper.cursor() as cursor:
            cursor.execute(sql, params or None)
            value = cursor.fetchone()[0]
        return bytes(value or b"").rstrip(b"\0")

    first = seen("SELECT CONTEXT_INFO()")
    second = seen("SELECT CONTEXT_INFO() WHERE %s = 1", 1)
    third = seen("SELECT context_info FROM sys.dm_exec_sessions WHERE session_id = %s", session_id)
    expected = []
    for span in telemetry.spans:
        context = span.get_span_context()
        expected.append(f"00-{context.trace_id:032x}-{context.span_id:016x}-01".encode())
    assert [first, second, third] == expected
    assert seen("SELECT CONTEXT_INFO() AS quiet") == b""
    assert seen("SELECT CONTEXT_INFO()") != b""
    wrapper.connection.recorder.clear_propagation(wrapper.connection.run)
    assert bytes(wrapper.connection.run("SELECT CONTEXT_INFO()")[0][0] or b"").rstrip(b"\0") == b""


def test_the_namespace_follows_a_use_in_the_application_s_own_sql(
    connect: Connect, telemetry: Telemetry
) -> None:
    wrapper = connect({"metrics": False})
    with wrapper.cursor() as cursor:
        cursor.execute("USE [tempdb]; SELECT 1 AS [a]")
        cursor.execute("SELECT DB_NAME() AS [b]")
        assert cursor.fetchall() == [("tempdb",)]
        cursor.execute("PRINT 'no change'")
        cursor.execute("SELECT DB_NAME() AS [c] WHERE %s = 1", [1])
        assert cursor.fetchall() == [("tempdb",)]
        cursor.execute("use MASTER")
        cursor.execute("SELECT DB_NAME() AS [d]")
    namespaces = [(span.attributes or {})["db.namespace"] for span in telemetry.spans]
    assert namespaces == ["master", "tempdb", "tempdb", "tempdb", "tempdb", "master"]


@pytest.mark.standin
def test_propagation_costs_one_message_and_only_when_sampled(
    connect: Connect, server: Server, telemetry: Telemetry
) -> None:
    if server.standin is None:
        pytest.skip("only the stand-in counts messages")
    control = server.standin.control

    def messages(wrapper: DatabaseWrapper) -> int:
        session = wrapper.connection.info.session_id
        return sum(message["session"] == session for message in control.messages()["messages"])

    counts = {}
    for name, options in (("off", True), ("on", {"propagation": "context_info"})):
        wrapper = connect(options)
        with wrapper.cursor() as cursor:
            cursor.execute("SELECT 1 WHERE 1 = %s", [1])
            cursor.fetchall()
            before = messages(wrapper)
            cursor.execute("SELECT 1 WHERE 1 = %s", [1])
            cursor.fetchall()
            counts[name] = messages(wrapper) - before
    assert counts == {"off": 1, "on": 2}


def test_tags_reach_the_server_in_a_comment(connect: Connect) -> None:
    wrapper = connect({"propagation": {"mode": "comment", "tags": {"service": "shop"}}})
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT %s -- a remark", ["x"])
        assert cursor.fetchone() == ("x",)


def test_parents_are_right_in_threads_and_async_views(connect: Connect, telemetry: Telemetry) -> None:
    tracer = telemetry.tracer_provider.get_tracer("app")

    def query() -> None:
        wrapper = connect()
        wrapper.inc_thread_sharing()
        with wrapper.cursor() as cursor:
            cursor.execute("SELECT 1")

    async def view() -> int:
        with tracer.start_as_current_span("async view") as span:
            await sync_to_async(query)()
        return span.get_span_context().span_id

    def worker() -> int:
        with tracer.start_as_current_span("task") as span:
            query()
        return span.get_span_context().span_id

    parents = [asyncio.run(view())]
    with ThreadPoolExecutor(2) as pool:
        parents += [future.result() for future in [pool.submit(worker) for _ in range(4)]]
    queries = [span for span in telemetry.spans if span.name == "SELECT"]
    assert sorted(span.parent.span_id for span in queries if span.parent) == sorted(parents)


def test_an_alias_that_is_off_has_no_recorder(connect: Connect, telemetry: Telemetry) -> None:
    wrapper = connect(False)
    assert wrapper.connection.recorder is None
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT 1")
    assert not telemetry.spans


@pytest.mark.standin
def test_a_lost_connection(connect: Connect, server: Server, telemetry: Telemetry) -> None:
    if server.standin is None:
        pytest.skip("only the stand-in breaks connections on demand")
    wrapper = connect()
    server.standin.control.drop_before(matching="lost_marker")
    with pytest.raises(OperationalError), wrapper.cursor() as cursor:
        cursor.execute("SELECT 'x' AS lost_marker")
    attributes = telemetry.span.attributes or {}
    assert attributes["mssql.error.class"] == "connection_lost"
    assert str(attributes["error.type"]).startswith("08")


@pytest.mark.standin
@pytest.mark.parametrize("read", [lambda cursor: cursor.fetchall(), lambda cursor: list(cursor)])
def test_rows_that_break_off_are_on_the_span(
    connect: Connect, server: Server, telemetry: Telemetry, read: Callable[[Any], object]
) -> None:
    if server.standin is None:
        pytest.skip("only the stand-in breaks connections on demand")
    wrapper = connect()
    digits = ", ".join(f"({digit})" for digit in range(10))
    thousand = (
        f"(VALUES {digits}) AS a(n) CROSS JOIN (VALUES {digits}) AS b(n) CROSS JOIN (VALUES {digits}) AS c(n)"
    )
    server.standin.control.cut(matching="lost_marker")
    with wrapper.cursor() as cursor:
        cursor.execute(f"SELECT a.n AS lost_marker, REPLICATE('x', 400) FROM {thousand}")
        assert len(cursor.fetchmany(10)) == 10
        assert not telemetry.spans
        with pytest.raises(OperationalError):
            read(cursor)
    span = telemetry.span
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["mssql.error.class"] == "connection_lost"
    (event,) = telemetry.events
    assert event.event_name == "db.client.operation.exception"
    (duration,) = telemetry.points("db.client.operation.duration")
    assert duration.attributes["error.type"] == (span.attributes or {})["error.type"]


def test_the_pool_is_measured(connect: Connect, telemetry: Telemetry) -> None:
    wrapper = connect({"tracing": {"pool": True}}, alias="default", pool={"max_size": 2})
    try:
        name = f"{wrapper.connection.info.server_address}:{wrapper.settings_dict['PORT']}/master"

        def value(metric: str, **having: str) -> int:
            (point,) = [
                point
                for point in telemetry.points(f"db.client.connection.{metric}")
                if point.attributes
                == {
                    "db.client.connection.pool.name": name,
                    **{f"db.client.connection.{key}": word for key, word in having.items()},
                }
            ]
            return int(point.value)

        assert (value("max"), value("idle.max"), value("idle.min")) == (2, 2, 0)
        assert value("count", state="used") == 1
        wrapper.close()
        assert (value("count", state="used"), value("count", state="idle")) == (0, 1)
        wrapper.ensure_connection()
        assert (value("count", state="used"), value("count", state="idle")) == (1, 0)
        assert names(telemetry) == ["pool acquire"]
    finally:
        wrapper.close()
        wrapper.close_pool()
    assert value("max") == 0


class Counting(SpanExporter):
    """Counts what it accepts, in batches."""

    def __init__(self) -> None:
        self.accepted = 0
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(BatchSpanProcessor(self, max_queue_size=1 << 16))

    def export(self, spans: Any) -> SpanExportResult:
        self.accepted += len(spans)
        return SpanExportResult.SUCCESS

    def take_spans_of(self, wrapper: DatabaseWrapper, **tracing: bool) -> None:
        """Have the connection's statements become spans that are counted here."""
        recorder = Telemetry().recorder({"tracing": tracing, "query_log": False})
        recorder._configured[0]._tracer = self.provider.get_tracer("test")  # type: ignore[attr-defined]
        wrapper.connection.recorder = recorder


@pytest.fixture
def counting() -> Iterator[Counting]:
    exporter = Counting()
    yield exporter
    exporter.provider.shutdown()


NUMBERS = ", ".join(f"({number})" for number in range(1, 16))
FORGOTTEN = (
    ("SELECT [name] FROM [sys].[databases] WHERE [name] = %s", ["master"]),
    # More than execute() reads at once: these leave the driver's cursor open, with rows on the wire.
    (f"SELECT a.n, b.n FROM (VALUES {NUMBERS}) AS a(n) CROSS JOIN (VALUES {NUMBERS}) AS b(n)", None),
    ("SELECT [name] FROM [sys].[databases] WHERE [database_id] < %s", [2]),
    ("SELECT * FROM [no_such_table]", None),
    ("SELECT [database_id] FROM [sys].[databases]", None),
)


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("returned_rows", [False, True])
def test_forgotten_cursors_end_their_spans_and_leave_no_memory(
    connect: Connect, counting: Counting, returned_rows: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real cursors that nobody closes or reads to the end; `make leak` forgets 100,000."""
    wrapper = connect()
    counting.take_spans_of(wrapper, returned_rows=returned_rows)

    def forget(count: int) -> None:
        for number in range(count):
            cursor = wrapper.cursor()
            try:
                cursor.execute(*FORGOTTEN[number % len(FORGOTTEN)])
            except DatabaseError:
                continue
            if number % 2:
                cursor.fetchone()
        del cursor
        # What the last of them left on the wire, another statement takes away.
        wrapper.connection.run("SELECT 1")
        gc.collect()
        counting.provider.force_flush(600_000)

    tenth = max(LEAK_CURSORS // 10, 1)
    forget(tenth)
    alive, memory = _alive(), [_resident_kib()]
    for _ in range(9):
        forget(tenth)
        memory.append(_resident_kib())
    with capsys.disabled():
        if LEAK_CURSORS > 10_000:
            mib = " ".join(str(kib // 1024) for kib in memory)
            print(
                f"\n{10 * tenth} cursors forgotten, {counting.accepted} spans ended; MiB after each tenth: {mib}"
            )
    assert counting.accepted == 10 * tenth
    # Fewer may be left: what tests before this one forgot goes too.
    assert all(count <= alive[kind] for kind, count in _alive().items())
    # A lost span would be 2 KiB and more.
    assert memory[-1] - memory[0] < max(9 * tenth, 16_000)


def _alive() -> dict[str, int]:
    """How many there are of what a forgotten cursor could leave behind."""
    kinds = (Cursor, Statement, Span)
    # Not by isinstance(), which lazy objects of other tests' answer by waking up.
    types = [type(item) for item in gc.get_objects()]
    return {kind.__name__: sum(issubclass(item, kind) for item in types) for kind in kinds}


def _resident_kib() -> int:
    if not STATM.exists():
        return 0
    return int(STATM.read_text().split()[1]) * resource.getpagesize() // 1024


def test_threads_lose_no_span(connect: Connect, counting: Counting) -> None:
    """8 threads at once, each on a connection of its own; benchmarks/instrumentation.py --soak does it for minutes."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            wrapper = connect()
            wrapper.inc_thread_sharing()
            counting.take_spans_of(wrapper)
            for number in range(100):
                with wrapper.cursor() as cursor:
                    cursor.execute("SELECT %s", [number])
                    assert cursor.fetchone() == (number,)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counting.provider.force_flush(600_000)
    assert not failures
    assert counting.accepted == 800
