"""When plans are taken, what it costs on the wire, and what telemetry says of them."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, connections, transaction

from mssql.diagnostics import diagnose
from mssql.explain import explain, take_plan
from mssql.instrumentation import plan_capture, plan_source
from mssql.instrumentation.attributes import ConnectionAttributes
from mssql.instrumentation.conf import InstrumentationConfig, PlansConfig
from mssql.instrumentation.observer import Observer
from mssql.instrumentation.plan_capture import Limits, PlanObserver, can_be_bracketed, can_be_estimated
from mssql.instrumentation.plan_events import EVENT, PlanEvents, plan_attributes
from mssql.instrumentation.plan_source import CapturedPlan, PlanUnavailable
from mssql.instrumentation.recorder import Recorder, register_observer, unregister_observer
from mssql.instrumentation.statement import ConnectionInfo, Statement, StatementKind
from mssql.management.commands.mssql_plan import Command
from mssql.showplan import compare, parse
from sqlserver_standin import StandIn
from tests.backend.models import Author

from .conftest import Telemetry

PLANS = Path(__file__).resolve().parent.parent / "fixtures" / "plans"

# In milliseconds: so long that no stall of the machine makes a statement slow that is to be fast.
SLOW = 3_600_000


def plan(name: str) -> CapturedPlan:
    return CapturedPlan((PLANS / f"{name}.sqlplan").read_bytes().decode("utf-8-sig"), "actual")


@pytest.fixture(autouse=True)
def _fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process remembers of plans belongs to no other test."""
    for name in ("_limits", "_permissions"):
        monkeypatch.setattr(plan_capture, name, {})
    monkeypatch.setattr(plan_capture, "_resting", set())
    monkeypatch.setattr(plan_capture, "_awaited", plan_capture._Awaited())
    # A slow machine is no reason for a test to do without its plan.
    monkeypatch.setattr(plan_capture, "CONNECT_TIMEOUT", 60)
    monkeypatch.setattr(plan_capture, "QUERY_TIMEOUT", 120)


# --- decisions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1", True),
        ("  -- why\n /* x */ (select 1) union select 2", True),
        ("WITH a AS (SELECT 1) SELECT * FROM a", True),
        ("INSERT INTO t DEFAULT VALUES", True),
        ("MERGE INTO t USING …", True),
        ("DECLARE @t TABLE (a int); INSERT …", True),
        ("EXEC dbo.report", True),
        ("CREATE TABLE t (a int)", False),
        ("SET NOCOUNT ON", False),
        ("BEGIN TRANSACTION", False),
        ("{CALL [p](?)}", False),
        ("", False),
    ],
)
def test_which_statements_have_plans(sql: str, expected: bool) -> None:
    assert can_be_estimated(StatementKind.QUERY, sql) is expected
    assert not can_be_estimated(StatementKind.TRANSACTION, sql)
    assert not can_be_estimated(StatementKind.QUERY, sql, is_batch=True)


def test_executemany_is_never_bracketed() -> None:
    info = ConnectionInfo("default", "shop")
    assert can_be_bracketed(Statement(StatementKind.QUERY, "SELECT 1", (), info))
    assert not can_be_bracketed(
        Statement(StatementKind.BATCH, "INSERT INTO t VALUES (?)", (), info, batch_size=1)
    )


def test_limits_by_minute_and_by_text() -> None:
    now = [0.0]
    limits = Limits(per_minute=3, rest_seconds=600, clock=lambda: now[0])
    assert [limits.allow(text) for text in ("a", "a", "b", "c", "d")] == [True, False, True, True, False]
    now[0] = 21.0
    assert [limits.allow(text) for text in ("d", "e")] == [True, False]
    now[0] = 601.0
    assert limits.allow("a")
    assert not Limits(per_minute=0).allow("a")


def test_texts_of_one_query_hash_share_their_rest() -> None:
    now = [0.0]
    limits = Limits(per_minute=100, rest_seconds=600, clock=lambda: now[0])
    assert [limits.allow(text) for text in ("IN (?)", "IN (?, ?)")] == [True, True]
    assert limits.identify("IN (?)", "0x1")
    assert not limits.identify("IN (?, ?)", "0x1")
    now[0] = 601.0
    assert [limits.allow(text) for text in ("IN (?)", "IN (?, ?)")] == [True, False]
    assert limits.identify("IN (?)", "0x1")
    assert limits.identify("other", "0x2")


def test_limits_remember_a_bounded_number_of_texts() -> None:
    limits = Limits(per_minute=10**9)
    for number in range(plan_capture.REMEMBERED_TEXTS + 500):
        limits.allow(str(number))
        limits.identify(str(number), f"0x{number}")
    assert len(limits._last) == len(limits._hashes) == plan_capture.REMEMBERED_TEXTS


class Rules:
    """One observer with its rules, and what it would do."""

    def __init__(self, draw: float = 0.5, **plans: Any) -> None:
        config = InstrumentationConfig(enabled=True, plans=PlansConfig(**plans))
        self.info = ConnectionInfo("default", "shop")
        self.observer = PlanObserver(config, self.info, draw=lambda: draw)
        self.recorder = Recorder(self.info, [self.observer])

    def run(self, sql: str = "SELECT 1", took_ms: float = 1, error: Exception | None = None) -> bool:
        """Whether the cursor would bracket the statement."""
        statement = self.recorder.begin(StatementKind.QUERY, sql, ())
        wanted = self.recorder.wants_actual_plan(statement)
        statement.clock_ns -= int(took_ms * 1e6)
        self.recorder.end(statement, error=error)
        return wanted


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would be taken off the request's thread."""
    tasks: list[Any] = []
    monkeypatch.setattr(plan_capture._worker, "submit", tasks.append)
    return tasks


@pytest.mark.parametrize(
    ("plans", "draw", "took_ms", "actual", "afterwards"),
    [
        ({"when": "always"}, 0.0, 1, True, 0),
        ({"when": "always", "source": "actual"}, 0.0, 1, True, 0),
        ({"when": "always", "source": "estimated"}, 0.0, 1, False, 1),
        ({"when": "always", "source": "cached"}, 0.0, 1, False, 1),
        ({"when": "sampled", "sample_ratio": 0.1}, 0.05, 1, True, 0),
        ({"when": "sampled", "sample_ratio": 0.1}, 0.5, 1, False, 0),
        ({"when": "sampled", "sample_ratio": 0.1, "source": "cached"}, 0.05, 1, False, 1),
        ({"when": "slow", "slow_ms": SLOW}, 0.0, SLOW / 2, False, 0),
        ({"when": "slow", "slow_ms": SLOW}, 0.0, SLOW, False, 1),
        ({"when": "slow", "slow_ms": SLOW, "source": "actual"}, 0.0, SLOW, False, 0),
        ({"when": "always", "per_minute": 0}, 0.0, 1, False, 0),
    ],
)
def test_rules(
    plans: dict[str, Any], draw: float, took_ms: float, actual: bool, afterwards: int, submitted: list[Any]
) -> None:
    assert Rules(draw, **plans).run(took_ms=took_ms) is actual
    assert len(submitted) == afterwards


def test_a_slow_statements_next_run_is_taken(submitted: list[Any]) -> None:
    rules = Rules(when="slow", slow_ms=SLOW, source="actual")
    assert [rules.run(took_ms=SLOW), rules.run("SELECT a"), rules.run(), rules.run()] == [
        False,
        False,
        True,
        False,
    ]
    assert submitted == []


def test_texts_that_differ_in_literals_are_one_query(submitted: list[Any]) -> None:
    always = Rules(when="always")
    texts = ("SELECT a FROM t WHERE id = 1", "SELECT a FROM t WHERE id = 2", "SELECT b FROM t WHERE id = 1")
    assert [always.run(text) for text in texts] == [True, False, True]
    assert [always.run(f"SELECT a FROM t WHERE id IN ({ids})") for ids in ("?", "?, ?")] == [True, False]
    slow = Rules(when="slow", slow_ms=SLOW)
    for text in texts[:2]:
        slow.run(text, took_ms=SLOW)
    assert len(submitted) == 1
    following = Rules(when="slow", slow_ms=SLOW, source="actual")
    assert [following.run(texts[0], took_ms=SLOW), following.run(texts[1])] == [False, True]


def test_a_failed_statement_is_left_alone(submitted: list[Any]) -> None:
    Rules(when="slow", slow_ms=0).run(error=DatabaseError("x"))
    assert submitted == []


def test_the_same_text_rests(submitted: list[Any]) -> None:
    rules = Rules(when="slow", slow_ms=0)
    for _ in range(5):
        rules.run()
    assert len(submitted) == 1


# --- taking one ---------------------------------------------------------------------------------------------------


class FakeCursor:
    """A driver cursor with prepared result sets; notes what it is told."""

    def __init__(
        self, log: list[str], results: list[tuple[Any, list[Any]]], fails: Exception | None = None
    ) -> None:
        self._log, self._results, self._fails = log, results, fails
        self.rowcount = 3
        self._at = 0

    def execute(self, sql: str, *_params: Any) -> None:
        self._log.append(sql)
        if self._fails and not sql.startswith("SET"):
            raise self._fails

    @property
    def description(self) -> Any:
        return self._results[self._at][0] if self._results else None

    def fetchall(self) -> list[Any]:
        return self._results[self._at][1]

    def fetchone(self) -> Any:
        return self._results[self._at][1][0]

    def nextset(self) -> bool:
        self._at += 1
        return self._at < len(self._results)

    def close(self) -> None:
        pass


class FakeConnection:
    def __init__(self, allowed: bool = True) -> None:
        self.log: list[str] = []
        self._allowed = allowed

    def cursor(self) -> FakeCursor:
        return FakeCursor(self.log, [((("",),), [(int(self._allowed),)])])


PLAN_SET = (((plan_source.PLAN_COLUMN,),), [("<ShowPlanXML/>",)])


def test_the_plan_sets_never_reach_the_caller() -> None:
    fake = FakeConnection()
    rows: tuple[Any, list[Any]] = ((("id",),), [(1,), (2,)])
    cursor = FakeCursor(fake.log, [(None, []), PLAN_SET, rows, PLAN_SET])
    results, plans = plan_source.run_with_plan(fake, cursor, "SELECT ?", [1])
    assert [(result.description, result.rows) for result in results] == [(None, []), rows]
    assert [item.xml for item in plans] == ["<ShowPlanXML/>"] * 2
    assert fake.log == ["SET STATISTICS XML ON", "SELECT ?", "SET STATISTICS XML OFF"]


def test_the_option_is_taken_back_when_the_statement_fails() -> None:
    fake = FakeConnection()
    with pytest.raises(ZeroDivisionError):
        plan_source.run_with_plan(fake, FakeCursor(fake.log, [], ZeroDivisionError()), "SELECT 1/0", [])
    assert fake.log == ["SET STATISTICS XML ON", "SELECT 1/0", "SET STATISTICS XML OFF"]


def test_a_missing_permission_is_found_once_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeConnection(allowed=False)
    statement = Statement(StatementKind.QUERY, "SELECT 1", (), ConnectionInfo("default", "shop"))
    with caplog.at_level(logging.WARNING, "mssql.plans"):
        for _ in range(3):
            assert (
                plan_capture.run_with_plan(fake, FakeCursor(fake.log, []), "SELECT 1", [], statement) is None
            )
    assert len(fake.log) == 1
    assert "HAS_PERMS_BY_NAME" in fake.log[0]
    (record,) = caplog.records
    assert "GRANT SHOWPLAN" in record.getMessage()
    assert "[shop]" in record.getMessage()


@pytest.mark.parametrize("broken", ["HAS_PERMS_BY_NAME", "STATISTICS XML ON"])
def test_a_connection_that_cannot_be_asked_leaves_the_statement_to_itself(broken: str) -> None:
    """Capture never breaks a query: it runs without, and fails by itself if it must."""

    class Broken(FakeConnection):
        def cursor(self) -> FakeCursor:
            cursor = super().cursor()
            execute = cursor.execute

            def fail(sql: str, *params: Any) -> None:
                if broken in sql:
                    raise ConnectionError("gone")
                execute(sql, *params)

            cursor.execute = fail  # type: ignore[method-assign]
            return cursor

    fake = Broken()
    statement = Statement(StatementKind.QUERY, "SELECT 1", (), ConnectionInfo("default", "shop"))
    assert plan_capture.run_with_plan(fake, FakeCursor(fake.log, []), "SELECT 1", [], statement) is None
    assert "SELECT 1" not in fake.log


def test_a_statement_refused_for_its_plan_runs_without(caplog: pytest.LogCaptureFixture) -> None:
    """Error 262 for a further database comes before anything is executed."""
    from mssql.odbc import pyodbc

    denied = pyodbc.ProgrammingError(
        "42000", "[42000] [Microsoft][ODBC Driver 18 for SQL Server][SQL Server]SHOWPLAN permission denied in database "
        "'other'. (262) (SQLExecDirectW)",
    )  # fmt: skip
    fake = FakeConnection()
    statement = Statement(StatementKind.QUERY, "SELECT 1", (), ConnectionInfo("default", "shop"))
    assert (
        plan_capture.run_with_plan(fake, FakeCursor(fake.log, [], denied), "SELECT 1", [], statement) is None
    )
    assert fake.log[-1] == "SET STATISTICS XML OFF"
    fake.log.clear()
    assert plan_capture.run_with_plan(fake, FakeCursor(fake.log, []), "SELECT 1", [], statement) is None
    assert fake.log == []


def sql_error(number: int, text: str) -> Exception:
    from mssql.odbc import pyodbc

    prefix = "[42000] [Microsoft][ODBC Driver 18 for SQL Server][SQL Server]"
    return pyodbc.ProgrammingError("42000", f"{prefix}{text} ({number}) (SQLExecDirectW)")


class CacheConnection:
    """A connection whose plan cache answers as told: a row, or an exception, for each query."""

    def __init__(self, *answers: Any) -> None:
        self.log: list[tuple[str, Any]] = []
        self._answers = list(answers)

    def cursor(self) -> CacheConnection:
        return self

    def execute(self, sql: str, parameters: Any) -> None:
        self.log.append((sql, parameters))
        self._answer = self._answers.pop(0)
        if isinstance(self._answer, Exception):
            raise self._answer

    def fetchone(self) -> Any:
        return self._answer

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("row", "source"),
    [
        (("<RelOp ><RunTimeInformation/></RelOp>", "<RelOp />"), "last actual"),
        (("<RelOp ><RunTimeInformation/></RelOp>", None), "last actual"),
        (("<QueryPlan/>", "<RelOp />"), "cached"),
        (("<RelOp ><RunTimeInformation/></RelOp>", "<RelOp ><RelOp /></RelOp>"), "cached"),
        ((None, "<cached/>"), "cached"),
    ],
)
def test_the_plan_cache_is_searched_by_the_servers_text(row: Any, source: str) -> None:
    cache = CacheConnection(row)
    assert plan_source.cached_plan(cache, "SELECT ? WHERE '?' = ?").source == source
    ((sql, parameters),) = cache.log
    assert parameters == ("SELECT @P1 WHERE '?' = @P2", 26, "SELECT @P1 WHERE '?' = @P2")
    assert "dm_exec_query_plan_stats" in sql


def test_a_server_without_last_plans_gives_the_cached_one() -> None:
    cache = CacheConnection(
        sql_error(208, "Invalid object name 'sys.dm_exec_query_plan_stats'."), (None, "<cached/>")
    )
    assert plan_source.cached_plan(cache, "SELECT 1").xml == "<cached/>"
    assert "dm_exec_query_plan_stats" not in cache.log[1][0]


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (None, ""),
        ((None, None), ""),
        (sql_error(300, "VIEW SERVER STATE permission was denied on object 'server'."), "GRANT VIEW SERVER"),
        (sql_error(297, "The user does not have permission to perform this action."), "GRANT VIEW SERVER"),
        (sql_error(262, "VIEW DATABASE STATE permission denied in database 'x'."), "GRANT VIEW SERVER"),
        (sql_error(40000, "not supported"), ""),
    ],
)
def test_why_the_plan_cache_gives_nothing(answer: Any, advice: str) -> None:
    with pytest.raises(PlanUnavailable) as caught:
        plan_source.cached_plan(CacheConnection(answer), "SELECT 1")
    assert caught.value.advice.startswith(advice)
    assert bool(caught.value.advice) is bool(advice)


def test_capture_rests_where_the_plan_cache_is_closed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []

    def closed(alias: str, sql: str, **_: Any) -> CapturedPlan:
        asked.append(sql)
        raise plan_source.state_denied(Exception("denied"))

    monkeypatch.setattr(plan_capture, "cached", closed)
    rules = Rules(when="always", source="cached")
    with caplog.at_level(logging.WARNING, "mssql.plans"):
        for number in range(5):
            rules.run(f"SELECT {number}")
        plan_capture._worker.join()
    assert asked == ["SELECT 0"]
    (record,) = caplog.records
    assert "GRANT VIEW SERVER PERFORMANCE STATE" in record.getMessage()


def test_a_worker_that_is_flooded_drops_and_never_waits() -> None:
    worker = plan_capture._Worker()
    release = threading.Event()
    for _ in range(5_000):
        worker.submit(release.wait)
    # Had it waited for room, it would wait still.
    assert 99 <= worker._tasks.qsize() <= 100
    release.set()
    worker.join()


# --- telemetry ----------------------------------------------------------------------------------------------------


def test_span_attributes_can_be_searched() -> None:
    attributes = plan_attributes(plan("perfstudio_key_lookup_plan"))
    assert attributes["mssql.plan.source"] == "actual"
    assert attributes["mssql.plan.findings"] == ["key-lookup"]
    assert attributes["mssql.plan.worst_finding"] == "key-lookup"
    assert attributes["mssql.plan.worst_severity"] == "medium"
    assert attributes["mssql.plan.query_hash"].startswith("0x")
    assert attributes["mssql.plan.estimated_cost"] > 0


def test_the_plan_is_a_log_event_beside_its_span() -> None:
    telemetry = Telemetry()
    info = ConnectionInfo("default", "shop", "db.example.com", 1433)
    events = PlanEvents(ConnectionAttributes(info), telemetry.logger_provider.get_logger("test"))
    config = InstrumentationConfig.from_options({"plans": {"when": "always"}})
    recorder = telemetry.recorder(True, info, PlanObserver(config, info, events=events))
    statement = recorder.begin(StatementKind.QUERY, "SELECT 1", ())
    statement.plan = plan("perfstudio_key_lookup_plan")
    recorder.end(statement)
    recorder.close(statement)
    plan_capture._worker.join()

    (span,) = telemetry.span_exporter.get_finished_spans()
    assert span.attributes
    assert span.attributes["mssql.plan.findings"] == ("key-lookup",)
    (record,) = [
        item.log_record
        for item in telemetry.log_exporter.get_finished_logs()
        if item.log_record.event_name == EVENT
    ]
    assert span.context
    assert (record.trace_id, record.span_id) == (span.context.trace_id, span.context.span_id)
    assert record.attributes
    assert record.attributes["mssql.plan.format"] == "xml"
    body = str(record.body)
    assert len(list(parse(body).operators())) == 3
    # The literals of this very plan.
    for value in ("Eggs McLaren", "(2000)", "DisplayName]=N'"):
        assert value not in body


def test_a_query_hash_is_told_once_in_a_while() -> None:
    """Texts that look different turn out to be one query."""
    telemetry = Telemetry()
    info = ConnectionInfo("default", "shop")
    events = PlanEvents(ConnectionAttributes(info), telemetry.logger_provider.get_logger("test"))
    config = InstrumentationConfig.from_options({"plans": {"when": "always"}})
    recorder = telemetry.recorder(True, info, PlanObserver(config, info, events=events))
    for number in range(5):
        statement = recorder.begin(StatementKind.QUERY, f"SELECT 1 AS a{number}", ())
        statement.plan = plan("perfstudio_key_lookup_plan")
        recorder.end(statement)
        recorder.close(statement)
    plan_capture._worker.join()
    assert [data.log_record.event_name for data in telemetry.log_exporter.get_finished_logs()].count(
        EVENT
    ) == 1
    assert all(
        span.attributes and "mssql.plan.query_hash" in span.attributes
        for span in telemetry.span_exporter.get_finished_spans()
    )


def test_a_large_plan_is_told_in_words() -> None:
    telemetry = Telemetry()
    info = ConnectionInfo("default", "shop")
    events = PlanEvents(ConnectionAttributes(info), telemetry.logger_provider.get_logger("test"))
    statement = Statement(StatementKind.QUERY, "SELECT 1", (), info)
    events.emit(statement, plan("perfstudio_key_lookup_plan"), 2_000)
    (data,) = telemetry.log_exporter.get_finished_logs()
    assert data.log_record.attributes
    assert data.log_record.attributes["mssql.plan.format"] == "text"
    body = str(data.log_record.body)
    assert len(body) <= 2_000
    assert "Key Lookup" in body


# --- on a server --------------------------------------------------------------------------------------------------


class Wanting(Observer):
    """Wants the actual plan of everything that has one."""

    def __init__(self) -> None:
        self.statements: list[Statement] = []

    def wants_actual_plan(self, statement: Statement) -> bool:
        return can_be_bracketed(statement)

    def end(self, statement: Statement) -> None:
        self.statements.append(statement)


@pytest.fixture
def wanting() -> Iterator[Wanting]:
    observer = Wanting()
    register_observer(observer)
    connection.close()
    try:
        yield observer
    finally:
        unregister_observer(observer)
        connection.close()


@pytest.fixture
def authors(transactional_db: None) -> list[Author]:
    return Author.objects.bulk_create([Author(name=f"Author {number}") for number in range(20)])


@pytest.fixture
def observed() -> Iterator[list[Statement]]:
    """The statements whose plan was taken."""
    statements: list[Statement] = []

    class Seeing(Observer):
        def plan_captured(self, statement: Statement) -> None:
            statements.append(statement)

    seeing = Seeing()
    register_observer(seeing)
    try:
        yield statements
    finally:
        unregister_observer(seeing)


@contextlib.contextmanager
def other_connection(plans: dict[str, Any]) -> Iterator[Any]:
    """A further connection to the test database that takes plans by these settings."""
    options = {
        **connection.settings_dict["OPTIONS"],
        "instrumentation": {"plans": plans, "otlp": False},
    }
    other = connections.create_connection("default")
    other.settings_dict = {**connection.settings_dict, "OPTIONS": options}
    try:
        yield other
    finally:
        other.close()


PAIRS = """
SELECT one.note, COUNT(*) FROM backend_author AS one
JOIN backend_author AS other ON other.note = one.note
WHERE one.name <> %s GROUP BY one.note ORDER BY one.note"""


@contextlib.contextmanager
def last_plans_kept() -> Iterator[None]:
    """The test database keeps the last actual plans."""
    switch = "ALTER DATABASE SCOPED CONFIGURATION SET LAST_QUERY_PLAN_STATS = "
    with connection.cursor() as cursor:
        cursor.execute(switch + "ON")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(switch + "OFF")


@pytest.mark.django_db(transaction=True)
class TestOnAServer:
    def test_the_rows_are_the_same_and_the_plan_is_there(
        self, authors: list[Author], wanting: Wanting
    ) -> None:
        found = list(
            Author.objects.filter(name__endswith="5").order_by("name").values_list("name", flat=True)
        )
        assert found == ["Author 15", "Author 5"]
        captured: CapturedPlan = wanting.statements[-1].plan
        assert captured.source == "actual"
        operators = list(captured.plan.operators())
        assert operators[0].actual_rows == 2
        assert any(item.object and item.object.table == "backend_author" for item in operators)

    def test_every_kind_of_statement_works(self, authors: list[Author], wanting: Wanting) -> None:
        author = Author.objects.create(name="new")
        author.name = "renamed"
        author.save()
        with transaction.atomic():
            Author.objects.bulk_create([Author(name="one"), Author(name="two")])
        assert Author.objects.filter(name__in=["one", "two"]).delete()[0] == 2
        assert Author.objects.get(pk=author.pk).name == "renamed"
        assert Author.objects.count() == 21
        assert sum(statement.plan is not None for statement in wanting.statements) >= 5

    def test_further_result_sets_stay(self, authors: list[Author], wanting: Wanting) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1; SELECT TOP (2) name FROM backend_author ORDER BY id")
            assert [tuple(row) for row in cursor.fetchall()] == [(1,)]
            assert cursor.nextset()
            assert [row[0] for row in cursor.fetchall()] == ["Author 0", "Author 1"]
            assert not cursor.nextset()

    def test_an_error_is_the_statements_own(self, authors: list[Author], wanting: Wanting) -> None:
        with pytest.raises(DatabaseError, match="no_such_table"), connection.cursor() as cursor:
            cursor.execute("SELECT * FROM no_such_table")
        assert Author.objects.count() == 20

    @pytest.mark.standin
    def test_one_message_before_and_one_after(
        self, authors: list[Author], wanting: Wanting, standin: StandIn
    ) -> None:
        list(Author.objects.filter(name="x"))  # asks for the permission, once
        standin.control.messages(reset=True)
        list(Author.objects.filter(name="Author 1"))
        sent = [item["sql"] for item in standin.control.messages()["messages"]]
        assert len(sent) == 3, sent
        assert (sent[0], sent[2]) == ("SET STATISTICS XML ON", "SET STATISTICS XML OFF")

    @pytest.mark.standin
    def test_nothing_is_sent_when_it_is_off(self, authors: list[Author], standin: StandIn) -> None:
        connection.ensure_connection()
        standin.control.messages(reset=True)
        list(Author.objects.filter(name="Author 1"))
        assert standin.control.messages()["count"] == 1

    def test_an_estimate_executes_nothing(self, authors: list[Author]) -> None:
        captured = plan_capture.estimate(
            "default",
            "INSERT INTO backend_author (name, note) VALUES (?, ?)",
            plan_capture.declare(["x", ""]),
            database=str(connection.settings_dict["NAME"]),
        )
        assert captured.source == "estimated"
        assert not captured.plan.is_actual
        assert Author.objects.count() == 20

    def test_the_plan_cache_has_the_plan_of_what_ran(self, authors: list[Author]) -> None:
        sql = "SELECT id, name FROM backend_author WHERE name = ?"
        database = str(connection.settings_dict["NAME"])
        list(Author.objects.raw(sql.replace("?", "%s"), ["Author 1"]))
        captured = plan_capture.cached("default", sql, database=database)
        assert captured.source in ("cached", "last actual")
        assert "backend_author" in {item.object.table for item in captured.plan.operators() if item.object}
        with pytest.raises(PlanUnavailable, match="not in the plan cache"):
            plan_capture.cached("default", f"{sql} AND 'never' = 'run'", database=database)

    def test_the_plan_cache_has_what_ran_with_its_actual_plan(
        self, authors: list[Author], wanting: Wanting
    ) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT note FROM backend_author WHERE name = %s AND note = %s", ["x", "y"])
        captured = plan_capture.cached(
            "default",
            "SELECT note FROM backend_author WHERE name = ? AND note = ?",
            database=str(connection.settings_dict["NAME"]),
        )
        assert "backend_author" in {item.object.table for item in captured.plan.operators() if item.object}

    def test_settings_take_the_cached_plan_after_the_fact(
        self, authors: list[Author], observed: list[Statement]
    ) -> None:
        with other_connection({"when": "always", "source": "cached"}) as other, other.cursor() as cursor:
            cursor.execute("SELECT COUNT(*) FROM backend_author WHERE note = %s", ["x"])
            assert cursor.fetchone()[0] == 0
        plan_capture._worker.join()
        (statement,) = observed
        assert statement.plan.source in ("cached", "last actual")
        assert "backend_author" in {
            item.object.table for item in statement.plan.plan.operators() if item.object
        }

    @pytest.mark.parametrize("when", ["always", "slow"])
    def test_the_last_actual_plan_is_taken_where_the_database_keeps_it(
        self, when: str, observed: list[Statement]
    ) -> None:
        """After the fact, off the request's thread: the rows of that very execution, and no message more for it."""
        Author.objects.bulk_create([Author(name=f"Author {n}", note=str(n % 3)) for n in range(300)])
        with last_plans_kept(), other_connection({"when": when, "slow_ms": 0, "source": "cached"}) as other:
            with other.cursor() as cursor:
                cursor.execute(PAIRS, ["Author 7"])
                assert len(cursor.fetchall()) == 3
            plan_capture._worker.join()
            # What comes later changes nothing in what is known of that execution.
            Author.objects.all().delete()
            (statement,) = observed
        captured: CapturedPlan = statement.plan
        assert captured.source == "last actual"
        assert captured.plan.is_actual
        operators = list(captured.plan.operators())
        assert operators[0].actual_rows == 3
        assert 299 in [item.actual_rows for item in operators if item.object]
        assert captured.plan.statements[0].times is not None
        assert all(item.elapsed_ms is None for item in operators)
        assert plan_attributes(captured)["mssql.plan.source"] == "last actual"

    def test_a_database_that_keeps_none_gives_the_cached_plan(self, observed: list[Statement]) -> None:
        Author.objects.bulk_create([Author(name=f"Author {n}", note=str(n % 3)) for n in range(300)])
        with other_connection({"when": "always", "source": "cached"}) as other, other.cursor() as cursor:
            cursor.execute(PAIRS, ["Author 7"])
            cursor.fetchall()
        plan_capture._worker.join()
        (statement,) = observed
        assert statement.plan.source == "cached"
        assert not statement.plan.plan.is_actual
        assert list(statement.plan.plan.operators())

    def test_a_simple_statement_has_its_cached_plan_where_last_plans_are_kept(
        self, authors: list[Author], observed: list[Statement]
    ) -> None:
        """Of an inexpensive statement the server keeps no operators; the cached plan tells more."""
        with last_plans_kept(), other_connection({"when": "always", "source": "cached"}) as other:
            with other.cursor() as cursor:
                cursor.execute("SELECT name FROM backend_author WHERE id = %s", [authors[0].pk])
                assert cursor.fetchone()[0] == "Author 0"
            plan_capture._worker.join()
        (statement,) = observed
        assert statement.plan.source == "cached"
        assert [item.object.table for item in statement.plan.plan.operators() if item.object] == [
            "backend_author"
        ]

    def test_the_doctor_tells_whether_last_plans_are_kept(self, transactional_db: None) -> None:
        def told() -> tuple[str, str]:
            (check,) = [each for each in diagnose("default") if each.name == "last actual plans"]
            return check.value, check.advice

        value, advice = told()
        assert value == "not kept"
        assert "ALTER DATABASE SCOPED CONFIGURATION SET LAST_QUERY_PLAN_STATS = ON" in advice
        with last_plans_kept():
            assert told() == ("kept (LAST_QUERY_PLAN_STATS is on)", "")

    def test_what_the_server_refuses_is_told(self, authors: list[Author]) -> None:
        with pytest.raises(PlanUnavailable, match="no_such_table"):
            plan_capture.estimate(
                "default", "SELECT * FROM no_such_table", [], database=str(connection.settings_dict["NAME"])
            )

    def test_querysets_explain_themselves(self, authors: list[Author]) -> None:
        queryset = Author.objects.filter(name="Author 1")
        assert "estimated" in queryset.explain()
        assert "backend_author" in queryset.explain(format="text")
        assert len(parse(queryset.explain(format="xml")).statements) >= 1
        document = json.loads(queryset.explain(format="json"))
        assert {"statements", "findings"} <= document.keys()
        actual = json.loads(queryset.explain(format="json", analyze=True))
        assert actual["actual"] is True

    def test_a_login_that_may_not_see_plans_is_told_what_mends_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def denied(*_: Any) -> Any:
            raise sql_error(262, "SHOWPLAN permission denied in database 'shop'.")

        monkeypatch.setattr(plan_source, "run_with_plan", denied)
        with pytest.raises(PlanUnavailable, match="GRANT SHOWPLAN"):
            Author.objects.filter(name="x").explain(analyze=True)

    def test_explain_sees_its_own_transaction(self, authors: list[Author]) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("CREATE TABLE only_here (id int)")
            assert "only_here" in explain(connection, "SELECT * FROM only_here WHERE id = %s", [1])
            transaction.set_rollback(True)

    def test_the_command_explains_and_saves(
        self, authors: list[Author], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        svg, saved = tmp_path / "plan.svg", tmp_path / "plan.sqlplan"
        sql = "SELECT * FROM backend_author WHERE name = N'Author 1'"
        call_command(Command(), sql, actual=True, svg=svg, save=saved)
        assert "backend_author" in capsys.readouterr().out
        assert svg.read_text(encoding="utf-8").startswith("<svg ")
        assert parse(saved.read_bytes()).is_actual
        with pytest.raises(CommandError, match="no_such_table"):
            call_command(Command(), "SELECT * FROM no_such_table")

    def test_settings_take_plans_into_telemetry(
        self, authors: list[Author], observed: list[Statement]
    ) -> None:
        """OPTIONS["instrumentation"]["plans"], from the settings to the attributes of the span."""
        with other_connection({"when": "always"}) as other, other.cursor() as cursor:
            cursor.execute("SELECT COUNT(*) FROM backend_author WHERE name = %s", ["Author 1"])
            assert cursor.fetchone()[0] == 1
        (statement,) = observed
        assert statement.attributes
        assert statement.attributes["mssql.plan.source"] == "actual"

    def test_a_missing_index_that_is_made_is_used(self, transactional_db: None) -> None:
        """The finding's DDL runs as it stands, and the next plan seeks with it."""
        Author.objects.bulk_create([Author(name=f"Author {number}") for number in range(3000)])
        with connection.cursor() as cursor:
            cursor.execute("UPDATE STATISTICS backend_author")
        sql, parameters = "SELECT name FROM backend_author WHERE name = %s", ["Author 1234"]
        before = take_plan(connection, sql, parameters, analyze=True)
        (finding,) = [item for item in before.findings if item.rule == "missing-index"]
        with connection.cursor() as cursor:
            cursor.execute(finding.sql)
        try:
            after = take_plan(connection, sql, parameters, analyze=True)
        finally:
            with connection.cursor() as cursor:
                cursor.execute("DROP INDEX [IX_backend_author_name] ON backend_author")
        assert after.plan.missing_indexes == ()
        assert any(
            item.object and item.object.index == "IX_backend_author_name" for item in after.plan.operators()
        )
        assert after.plan.cost < before.plan.cost
        assert "missing-index" in {item.rule for item in compare(before.plan, after.plan).findings_gone}
