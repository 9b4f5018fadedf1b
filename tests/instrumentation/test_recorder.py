"""The recorder tells everyone, and nothing that anyone does reaches the query."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mssql.instrumentation.conf import InstrumentationConfig
from mssql.instrumentation.observer import Observer
from mssql.instrumentation.recorder import Recorder, recorder_for, register_observer, unregister_observer
from mssql.instrumentation.statement import Attempt, ConnectionInfo, Statement, StatementKind, current_attempt
from tests.instrumentation.conftest import driver_error, run

INFO = ConnectionInfo("default", "shop")
OFF = InstrumentationConfig.from_options(False)


class Notes(Observer):
    """Writes down what it is told."""

    def __init__(self, *, plan: bool = False) -> None:
        self.told: list[str] = []
        self.plan = plan

    def begin(self, statement: Statement) -> None:
        self.told.append("begin")

    def end(self, statement: Statement) -> None:
        self.told.append("end")

    def close(self, statement: Statement) -> None:
        self.told.append(f"close {statement.returned_rows}")

    def wants_actual_plan(self, statement: Statement) -> bool:
        return self.plan


class Failing(Observer):
    """Fails at everything."""

    def begin(self, statement: Statement) -> None:
        raise RuntimeError("begin")

    end = close = plan_captured = begin

    def wants_actual_plan(self, statement: Statement) -> bool:
        raise RuntimeError("plan")


@pytest.fixture
def registered() -> Iterator[Notes]:
    notes = Notes()
    register_observer(notes)
    register_observer(notes)  # once is enough
    yield notes
    unregister_observer(notes)


def test_off_is_no_recorder_at_all() -> None:
    assert recorder_for(OFF, INFO) is None


def test_a_registered_observer_sees_aliases_that_are_not_instrumented(registered: Notes) -> None:
    recorder = recorder_for(OFF, INFO)
    assert recorder is not None
    run(recorder, returned_rows=3)
    assert registered.told == ["begin", "end", "close 3"]


def test_a_statement_is_told_to_everyone_once(registered: Notes) -> None:
    own = Notes()
    recorder = Recorder(INFO, [own])
    statement = recorder.begin(StatementKind.QUERY, "SELECT 1")
    recorder.end(statement, rowcount=1)
    recorder.end(statement, rowcount=2)
    recorder.close(statement, returned_rows=1)
    recorder.close(statement, returned_rows=2)
    assert own.told == registered.told == ["begin", "end", "close 1"]
    assert statement.rowcount == 1
    assert statement.duration_ns is not None


def test_a_filtered_statement_is_still_told_to_registered_observers(registered: Notes) -> None:
    own = Notes()
    config = InstrumentationConfig.from_options({"filter": lambda statement: False})
    recorder = Recorder(INFO, [own], config=config)
    assert run(recorder).telemetry is False
    assert own.told == []
    assert registered.told == ["begin", "end", "close None"]


def test_a_failing_observer_is_logged_once_and_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    after = Notes()

    def broken_filter(statement: Statement) -> bool:
        raise RuntimeError("filter")

    config = InstrumentationConfig.from_options({"filter": broken_filter})
    recorder = Recorder(INFO, [Failing(), after], config=config)
    for _ in range(3):
        statement = run(recorder, error=driver_error(208, "Invalid object name 'x'."))
        assert not recorder.wants_actual_plan(statement)
        recorder.plan_captured(statement)
    assert after.told == ["begin", "end", "close None"] * 3
    failures = [record.message for record in caplog.records if "was not affected" in record.message]
    assert len(failures) == len(set(failures)) == 6


def test_any_observer_can_ask_for_the_plan() -> None:
    recorder = Recorder(INFO, [Notes(), Notes(plan=True)])
    assert recorder.wants_actual_plan(recorder.begin(StatementKind.QUERY, "SELECT 1"))
    recorder = Recorder(INFO, [Notes()])
    assert not recorder.wants_actual_plan(recorder.begin(StatementKind.QUERY, "SELECT 1"))


def test_an_error_is_described() -> None:
    statement = run(Recorder(INFO), error=driver_error(208, "Invalid object name 'x'."))
    assert statement.error is not None
    assert statement.error.number == 208
    assert statement.failed


def test_a_retry_rule_that_fails_leaves_a_failure() -> None:
    def broken(error: object) -> bool:
        raise RuntimeError("rule")

    token = current_attempt.set(Attempt(3, broken))
    try:
        statement = run(Recorder(INFO), error=driver_error(1205, "x"))
    finally:
        current_attempt.reset(token)
    assert statement.attempt == 3
    assert statement.failed
