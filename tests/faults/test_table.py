"""The tables of docs/faults.md, row by row, with Microsoft's driver."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django import db
from django.db import connections, transaction
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from mssql import errors
from mssql.base import DatabaseWrapper
from mssql.instrumentation import tracing
from mssql.retry import OutcomeUnknown, retry_transaction
from tests.faults.conftest import ALIAS, QUICK, MakeAlias, time_out_next
from tests.faults.proxy import Proxy

if TYPE_CHECKING:
    from sqlserver_standin import Control

pytestmark = pytest.mark.standin

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
MARK = "/* here */"
INSERT = f"INSERT INTO dbo.work {MARK} (note) VALUES (%s)"


def table(first_header: Sequence[str]) -> list[list[str]]:
    """The rows of the table that begins with these headers."""
    lines = DOCUMENT.read_text("utf-8").splitlines()
    start = lines.index(f"| {' | '.join(first_header)} |")
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


@dataclass(frozen=True)
class Row:
    fault: str
    exception: str
    number: int | None
    error_class: str
    span: str
    transaction: str
    statement: str
    connection: str


ROWS = [
    Row(fault, exception, None if number == "-" else int(number), *rest)
    for fault, exception, number, *rest in table(
        ["fault", "exception", "number", "class", "span", "transaction", "statement", "connection"]
    )
]
rows = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fault)

Strike = Callable[["Control", Proxy], None]


def by_number(number: int, **options: Any) -> Strike:
    return lambda control, proxy: control.fail(number, matching=MARK, **options)


def hang_for_too_long(control: Control, proxy: Proxy) -> None:
    time_out_next(connections[ALIAS], parameters=True)
    control.hang(matching=MARK)


FAULTS: dict[str, Strike] = {
    "chosen as deadlock victim": by_number(1205),
    "lock request timed out": by_number(1222),
    "snapshot update conflict": by_number(3960),
    "memory-optimised write conflict": by_number(41302),
    "no memory for the query": by_number(8645, severity=17),
    "resource limit reached": by_number(10928),
    "service busy": by_number(40501),
    "too many operations": by_number(49918),
    "failover during a statement": by_number(40197, disconnect=True),
    "database not available": by_number(40613, disconnect=True),
    "connection cut before the statement": lambda control, proxy: control.drop_before(matching=MARK),
    "connection cut before the result": lambda control, proxy: control.drop_during(matching=MARK),
    "connection cut within a packet": lambda control, proxy: control.cut(matching=MARK),
    "connection reset by the network": lambda control, proxy: proxy.close_all(reset=True),
    "query timeout": hang_for_too_long,
    "doomed transaction": by_number(3930),
    "duplicate key": by_number(2627, severity=14),
    "conversion failed": by_number(245),
    "unknown table": by_number(208),
    "log full": by_number(9002, severity=17),
}


@pytest.fixture
def faulty(make_alias: MakeAlias, proxy: Proxy) -> Callable[..., DatabaseWrapper]:
    """An alias behind the proxy whose retries do not wait."""

    def make(**retry: Any) -> DatabaseWrapper:
        return make_alias(
            HOST="127.0.0.1",
            PORT=str(proxy.port),
            OPTIONS={
                "instrumentation": True,
                "query_timeout": 60,  # a hang is a failure here
                "retry": {"connect": QUICK, "transaction": QUICK, "statement": False, **retry},
            },
        )

    return make


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """The spans of statements, whatever other tests have set up."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing.trace, "get_tracer", provider.get_tracer)
    return exporter


def marked(exporter: InMemorySpanExporter, mark: str = MARK) -> list[ReadableSpan]:
    return [
        span
        for span in exporter.get_finished_spans()
        if mark in str((span.attributes or {}).get("db.query.text"))
    ]


def session_id(wrapper: DatabaseWrapper) -> int:
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT @@SPID")
        return int(cursor.fetchone()[0])


def insert(wrapper: DatabaseWrapper, note: str = "note") -> None:
    with wrapper.cursor() as cursor:
        cursor.execute(INSERT, [note])


def check_exception(row: Row, exc: BaseException) -> None:
    assert type(exc).__name__ == row.exception
    assert type(exc) is getattr(db, row.exception)
    error = errors.describe(exc)
    assert error is not None
    assert exc.sqlserver is error  # type: ignore[attr-defined]
    assert error.error_class.value == row.error_class
    if row.number is not None:
        assert error.number == row.number


def test_each_row_has_its_fault() -> None:
    assert [row.fault for row in ROWS] == list(FAULTS)


@rows
def test_a_single_statement(
    row: Row,
    faulty: Callable[..., DatabaseWrapper],
    control: Control,
    proxy: Proxy,
    work: Callable[[], list[str]],
    spans: InMemorySpanExporter,
) -> None:
    wrapper = faulty()
    before, logins = session_id(wrapper), proxy.connections
    FAULTS[row.fault](control, proxy)
    with pytest.raises(db.DatabaseError) as caught:
        insert(wrapper)
    check_exception(row, caught.value)

    # The next statement works, on the same connection or on another.
    insert(wrapper, "next")
    assert "next" in work()
    assert (proxy.connections == logins) == (row.connection == "kept")
    if row.connection == "kept":
        assert session_id(wrapper) == before

    failed, worked = marked(spans)
    attributes = failed.attributes or {}
    assert failed.status.status_code is StatusCode.ERROR
    assert attributes["mssql.error.class"] == row.error_class
    assert attributes["db.response.status_code"] == row.span
    assert worked.status.status_code is StatusCode.UNSET


@rows
def test_a_transaction(
    row: Row,
    faulty: Callable[..., DatabaseWrapper],
    control: Control,
    proxy: Proxy,
    work: Callable[[], list[str]],
    spans: InMemorySpanExporter,
) -> None:
    wrapper = faulty()
    session_id(wrapper)
    callbacks: list[int] = []
    attempts: list[int] = []

    def func() -> None:
        attempts.append(1)
        with wrapper.cursor() as cursor:
            cursor.execute("INSERT INTO dbo.work (note) VALUES ('first')")
        transaction.on_commit(lambda: callbacks.append(len(attempts)), using=ALIAS)
        if len(attempts) == 1:
            FAULTS[row.fault](control, proxy)
        insert(wrapper, "second")

    if row.transaction == "again":
        retry_transaction(func, using=ALIAS)
        assert work() == ["first", "second"]
        assert callbacks == [2]
    else:
        with pytest.raises(db.DatabaseError) as caught:
            retry_transaction(func, using=ALIAS)
        check_exception(row, caught.value)
        assert attempts == [1]
        assert work() == []
        assert callbacks == []
    insert(wrapper, "next")
    assert work()[-1] == "next"

    first, *rest = marked(spans)
    assert (first.attributes or {})["mssql.error.class"] == row.error_class
    assert (first.attributes or {})["db.response.status_code"] == row.span
    if row.transaction == "again":
        # A handled retry is no error, but it can be found.
        assert first.status.status_code is StatusCode.UNSET
        assert 0 <= (first.attributes or {})["mssql.retry.delay"] < 1
        assert [(span.attributes or {}).get("mssql.retry.attempt") for span in (first, *rest)] == [1, 2, None]
    else:
        assert first.status.status_code is StatusCode.ERROR


@rows
def test_a_single_statement_that_may_be_repeated(
    row: Row,
    faulty: Callable[..., DatabaseWrapper],
    control: Control,
    proxy: Proxy,
    work: Callable[[], list[str]],
) -> None:
    wrapper = faulty(statement=QUICK)
    session_id(wrapper)
    FAULTS[row.fault](control, proxy)
    if row.statement == "again":
        insert(wrapper, "once")
        assert work() == ["once"]
    else:
        with pytest.raises(db.DatabaseError) as caught:
            insert(wrapper, "once")
        check_exception(row, caught.value)


@rows
def test_a_swallowed_error_does_not_become_a_success(
    row: Row,
    faulty: Callable[..., DatabaseWrapper],
    control: Control,
    proxy: Proxy,
    work: Callable[[], list[str]],
) -> None:
    """Whatever the application catches: what is reported as committed is there, and nothing else."""
    wrapper = faulty(transaction=False)
    session_id(wrapper)
    try:
        with transaction.atomic(using=ALIAS):
            insert(wrapper, "first")
            FAULTS[row.fault](control, proxy)
            try:
                with transaction.atomic(using=ALIAS):
                    insert(wrapper, "second")
            except db.DatabaseError:
                pass
            insert(wrapper, "third")
    except (db.Error, transaction.TransactionManagementError):
        assert work() == []
    else:
        assert work() == ["first", "third"]


DIGITS = ", ".join(f"({digit})" for digit in range(10))
THOUSAND_ROWS = (
    f"SELECT {MARK} REPLICATE('x', 500) AS [text] FROM (VALUES {DIGITS}) AS a(n)"
    f" CROSS JOIN (VALUES {DIGITS}) AS b(n) CROSS JOIN (VALUES {DIGITS}) AS c(n)"
)


def test_rows_that_break_off(
    faulty: Callable[..., DatabaseWrapper], control: Control, spans: InMemorySpanExporter
) -> None:
    """Beyond the first rows, which come with the statement: a transaction is run again, a statement is not."""
    wrapper = faulty(statement=QUICK)

    def read() -> int:
        with wrapper.cursor() as cursor:
            cursor.execute(THOUSAND_ROWS)
            return len(cursor.fetchall())

    control.cut(matching=MARK)
    with pytest.raises(db.OperationalError) as caught:
        read()
    error = errors.describe(caught.value)
    assert error is not None
    assert error.error_class is errors.ErrorClass.CONNECTION_LOST
    control.cut(matching=MARK)
    assert retry_transaction(read, using=ALIAS) == 1000

    failed, handled, worked = marked(spans, "REPLICATE")
    for span in (failed, handled):
        assert (span.attributes or {})["mssql.error.class"] == "connection_lost"
    assert [span.status.status_code for span in (failed, handled, worked)] == [
        StatusCode.ERROR,
        StatusCode.UNSET,
        StatusCode.UNSET,
    ]


CONNECT_ROWS = table(["fault", "exception", "number", "class", "span", "tried again"])


@pytest.mark.parametrize(
    ("fault", "exception", "number", "error_class", "span", "again"),
    CONNECT_ROWS,
    ids=[row[0] for row in CONNECT_ROWS],
)
def test_connecting(
    fault: str,
    exception: str,
    number: str,
    error_class: str,
    span: str,
    again: str,
    make_alias: MakeAlias,
    control: Control,
    proxy: Proxy,
    spans: InMemorySpanExporter,
) -> None:
    def strike(times: int) -> None:
        if number != "-":
            control.refuse_logins(times, int(number))
        elif fault == "connection cut during the login":
            proxy.cut_after = 500
        elif fault == "server silent during the login":
            proxy.silent_after = 10

    def mend() -> None:
        control.clear()
        proxy.cut_after = proxy.silent_after = None

    port = str(proxy.port)
    if fault == "nobody listens":
        proxy.stop_listening()
    options = {
        # The driver tries for all of that time where nobody answers.
        "connection_timeout": 2 if fault in ("server silent during the login", "nobody listens") else 60,
        "retry": {"connect": {**QUICK, "attempts": 3}},
        "instrumentation": {"tracing": {"connect": True}},
    }

    wrapper = make_alias(HOST="127.0.0.1", PORT=port, OPTIONS=options)
    strike(3)
    with pytest.raises(db.DatabaseError) as caught:
        wrapper.ensure_connection()
    assert type(caught.value).__name__ == exception
    error = errors.describe(caught.value)
    assert error is not None
    assert error.error_class.value == error_class
    assert error.connection_state is errors.ConnectionState.NOT_OPENED
    if number != "-":
        assert error.number == int(number)
        assert control.pending() == (0 if again == "yes" else 2)
    elif fault != "nobody listens":
        assert proxy.connections >= 3
    (connecting,) = spans.get_finished_spans()
    assert connecting.name.startswith("CONNECT")
    assert connecting.status.status_code is StatusCode.ERROR
    assert (connecting.attributes or {})["db.response.status_code"] == span
    assert (connecting.attributes or {})["mssql.error.class"] == error_class
    assert (connecting.attributes or {}).get("mssql.retry.attempt") == (3 if again == "yes" else None)
    mend()

    if number != "-" and again == "yes":
        strike(2)
        wrapper.ensure_connection()
        assert wrapper.is_usable()
        *_, connecting = spans.get_finished_spans()
        assert connecting.status.status_code is StatusCode.UNSET


COMMIT_ROWS = [row[0] for row in table(["fault", "outcome"])]


def test_the_commit_rows_are_these() -> None:
    assert COMMIT_ROWS == [
        "connection cut before COMMIT arrives",
        "connection cut before COMMIT is answered",
        "COMMIT refused by a validation (41305, 41325)",
    ]


@pytest.mark.parametrize(("drop", "there"), [("drop_before", False), ("drop_during", True)])
def test_a_commit_without_an_answer_is_unknown(
    drop: str,
    there: bool,
    faulty: Callable[..., DatabaseWrapper],
    control: Control,
    work: Callable[[], list[str]],
) -> None:
    wrapper = faulty()
    callbacks: list[int] = []

    def func() -> None:
        insert(wrapper, "once")
        transaction.on_commit(lambda: callbacks.append(1), using=ALIAS)
        getattr(control, drop)(matching="COMMIT")

    with pytest.raises(OutcomeUnknown):
        retry_transaction(func, using=ALIAS)
    assert work() == (["once"] if there else [])
    assert callbacks == []

    # Whoever says that a second run does no harm gets one.
    retry_transaction(lambda: insert(wrapper, "again"), using=ALIAS)
    assert work()[-1] == "again"


@pytest.mark.parametrize("number", [41305, 41325])
def test_a_commit_that_fails_validation_is_tried_again(
    number: int, faulty: Callable[..., DatabaseWrapper], control: Control, work: Callable[[], list[str]]
) -> None:
    wrapper = faulty()
    attempts: list[int] = []

    def func() -> None:
        attempts.append(1)
        insert(wrapper, "once")
        if len(attempts) == 1:
            control.fail(number, matching="COMMIT")

    retry_transaction(func, using=ALIAS)
    assert attempts == [1, 1]
    assert work() == ["once"]


def test_the_manual_names_every_class_of_the_table() -> None:
    classes = {row.error_class for row in ROWS} | {row[3] for row in CONNECT_ROWS}
    assert classes == {each.value for each in errors.ErrorClass}


def test_the_settings_table_is_complete() -> None:
    from dataclasses import fields

    from mssql.retry import RetryPolicy

    keys = [re.sub("`", "", row[0]) for row in table(["key", "meaning", "default"])]
    assert keys == [field.name for field in fields(RetryPolicy)]
