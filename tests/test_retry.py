"""mssql.retry: what is tried again, how often, and what never is. Django's own transactions, on SQLite."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connections, transaction
from django.db.backends.sqlite3.base import DatabaseWrapper as SQLiteWrapper
from hypothesis import given
from hypothesis import strategies as st

from mssql import errors, retry
from mssql.errors import ErrorClass, SQLServerError
from mssql.instrumentation.statement import Statement, StatementKind, current_attempt
from mssql.retry import OutcomeUnknown, RetryConfig, RetryPolicy, retry_transaction, transaction_retry

ALIAS = "retry_tests"


def sql_error(number: int, sqlstate: str = "42000", function: str = "SQLExecDirectW") -> SQLServerError:
    return errors.parse(
        sqlstate, f"[{sqlstate}] [Microsoft][ODBC Driver 18 for SQL Server]text ({number}) ({function})"
    )


DEADLOCK = sql_error(1205, "40001")
CONSTRAINT = sql_error(2627, "23000")
LOST = sql_error(104, "08S01")
THROTTLED = sql_error(49918)
NOT_OPENED = sql_error(40613, "08004", "SQLDriverConnect")
VALIDATION_FAILED = sql_error(41305)
TIMEOUT = sql_error(0, "HYT00")


def raised(error: SQLServerError) -> OperationalError:
    exc = OperationalError(error.message)
    exc.sqlserver = error  # type: ignore[attr-defined]
    return exc


class Wrapper(SQLiteWrapper):
    """SQLite with SQL Server's COMMIT errors: `on_commit_error` is raised before or after the real COMMIT."""

    retry = RetryConfig()
    commit_error: SQLServerError | None = None
    commit_works = False

    def _commit(self) -> None:
        error, self.commit_error = self.commit_error, None
        if error is not None and not self.commit_works:
            raise raised(error)
        super()._commit()
        if error is not None:
            raise raised(error)


class Clock:
    """Time for mssql.retry alone: other threads of this process go on by the real one."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(retry, "time", clock)
    return clock


@pytest.fixture
def waits(clock: Clock) -> list[float]:
    """Seconds that were waited, without waiting."""
    return clock.waits


@pytest.fixture
def connection(tmp_path: Any, waits: list[float], request: pytest.FixtureRequest) -> Iterator[Wrapper]:
    blocker = request.getfixturevalue("django_db_blocker")
    settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "retry.sqlite3")}
    with blocker.unblock():
        wrapper = Wrapper(connections.configure_settings({"default": settings})["default"], alias=ALIAS)
        connections[ALIAS] = wrapper
        with wrapper.cursor() as cursor:
            cursor.execute("CREATE TABLE work (id integer)")
        try:
            yield wrapper
        finally:
            wrapper.close()
            del connections[ALIAS]


def work() -> int:
    """Rows that are there for everybody to see."""
    with sqlite3.connect(connections[ALIAS].settings_dict["NAME"]) as other:
        count: int = other.execute("SELECT COUNT(*) FROM work").fetchone()[0]
        return count


def failing(*failures: SQLServerError | None) -> tuple[Callable[[], str], list[int]]:
    """A transaction that writes a row and then fails, once per entry; afterwards it works."""
    remaining = list(failures)
    runs: list[int] = []

    def func() -> str:
        runs.append(current_attempt.get().number)  # type: ignore[union-attr]
        with connections[ALIAS].cursor() as cursor:
            cursor.execute("INSERT INTO work VALUES (1)")
        error = remaining.pop(0) if remaining else None
        if error is not None:
            raise raised(error)
        return "done"

    return func, runs


def test_a_deadlock_victim_runs_again_as_a_whole(connection: Wrapper, waits: list[float]) -> None:
    func, runs = failing(DEADLOCK, DEADLOCK)
    assert retry_transaction(func, using=ALIAS) == "done"
    assert runs == [1, 2, 3]
    assert work() == 1
    assert len(waits) == 2


@pytest.mark.parametrize("number", [1205, 1222, 3960, 3980, 8645, 40197, 40501, 40613, 41302, 49918])
def test_each_passing_error_is_tried_again(connection: Wrapper, number: int) -> None:
    func, runs = failing(sql_error(number))
    assert retry_transaction(func, using=ALIAS) == "done"
    assert runs == [1, 2]
    assert work() == 1


@pytest.mark.parametrize("error", [CONSTRAINT, sql_error(208, "42S02"), TIMEOUT, sql_error(3930), NOT_OPENED])
def test_other_errors_are_raised_at_once(
    connection: Wrapper, waits: list[float], error: SQLServerError
) -> None:
    func, runs = failing(error)
    with pytest.raises(OperationalError) as caught:
        retry_transaction(func, using=ALIAS)
    assert errors.describe(caught.value) == error
    assert runs == [1]
    assert work() == 0
    assert waits == []


def test_exceptions_of_the_application_are_none_of_ours(connection: Wrapper) -> None:
    def func() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        retry_transaction(func, using=ALIAS)


def test_a_connection_lost_before_commit_is_opened_again(connection: Wrapper) -> None:
    first = connection.connection
    func, runs = failing(LOST)
    assert retry_transaction(func, using=ALIAS) == "done"
    assert runs == [1, 2]
    assert work() == 1
    assert connection.connection is not first


def test_telemetry_is_told_of_each_retry_though_the_connection_is_gone(
    connection: Wrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    recorder = SimpleNamespace(retrying=lambda event: told.append(event.attempt))
    # As the backend's: there is one while there is a connection.
    monkeypatch.setattr(
        Wrapper, "recorder", property(lambda self: self.connection and recorder), raising=False
    )
    retry_transaction(failing(LOST, LOST, DEADLOCK)[0], using=ALIAS)
    assert told == [1, 2, 3]


def test_attempts_end_with_the_servers_error(connection: Wrapper, waits: list[float]) -> None:
    func, runs = failing(*[DEADLOCK] * 9)
    with pytest.raises(OperationalError) as caught:
        retry_transaction(func, using=ALIAS, attempts=3)
    assert errors.describe(caught.value) == DEADLOCK
    assert runs == [1, 2, 3]
    assert len(waits) == 2
    assert work() == 0


def test_no_try_is_begun_after_the_budget(connection: Wrapper, clock: Clock) -> None:
    func, runs = failing(*[DEADLOCK] * 9)

    def slow() -> str:
        clock.now += 20
        return func()

    with pytest.raises(OperationalError):
        retry_transaction(slow, using=ALIAS, attempts=9, budget=50)
    assert runs == [1, 2, 3]


@pytest.mark.parametrize("committed", [True, False])
def test_an_unanswered_commit_is_reported_as_unknown(connection: Wrapper, committed: bool) -> None:
    connection.commit_error, connection.commit_works = LOST, committed
    func, runs = failing()
    with pytest.raises(OutcomeUnknown) as caught:
        retry_transaction(func, using=ALIAS)
    assert caught.value.sqlserver == LOST
    assert errors.describe(caught.value) == LOST
    assert runs == [1]
    assert work() == int(committed)


def test_an_unanswered_commit_of_idempotent_work_is_tried_again(connection: Wrapper) -> None:
    connection.commit_error = LOST
    func, runs = failing()
    assert retry_transaction(func, using=ALIAS, idempotent=True) == "done"
    assert runs == [1, 2]


@pytest.mark.parametrize(
    "error", [sql_error(40197), sql_error(40501), sql_error(1204), sql_error(0, "HY000")]
)
def test_a_commit_whose_connection_did_not_survive_is_unknown(
    connection: Wrapper, error: SQLServerError
) -> None:
    connection.commit_error = error
    func, _ = failing()
    with pytest.raises(OutcomeUnknown):
        retry_transaction(func, using=ALIAS)


def test_a_commit_that_the_server_refused_is_tried_again(connection: Wrapper) -> None:
    connection.commit_error = VALIDATION_FAILED
    func, runs = failing()
    assert retry_transaction(func, using=ALIAS) == "done"
    assert runs == [1, 2]
    assert work() == 1


def test_a_refused_constraint_at_commit_is_no_unknown_outcome(connection: Wrapper) -> None:
    connection.commit_error = CONSTRAINT
    func, runs = failing()
    with pytest.raises(OperationalError) as caught:
        retry_transaction(func, using=ALIAS)
    assert not isinstance(caught.value, OutcomeUnknown)
    assert runs == [1]


def test_callbacks_run_once_for_the_attempt_that_was_committed(connection: Wrapper) -> None:
    called: list[int] = []
    func, runs = failing(DEADLOCK, LOST)

    def with_callback() -> str:
        transaction.on_commit(lambda: called.append(len(runs)), using=ALIAS)
        return func()

    retry_transaction(with_callback, using=ALIAS)
    assert called == [3]


@pytest.mark.parametrize("error", [LOST, CONSTRAINT])
def test_callbacks_of_a_failed_commit_never_run(connection: Wrapper, error: SQLServerError) -> None:
    called: list[int] = []
    connection.commit_error = error

    def func() -> None:
        transaction.on_commit(lambda: called.append(1), using=ALIAS)

    with pytest.raises(OperationalError):
        retry_transaction(func, using=ALIAS)
    with transaction.atomic(using=ALIAS):
        pass
    assert called == []


def test_a_callback_that_fails_does_not_repeat_the_committed_work(connection: Wrapper) -> None:
    func, runs = failing()

    def with_callback() -> str:
        def callback() -> None:
            raise raised(DEADLOCK)

        transaction.on_commit(callback, using=ALIAS)
        return func()

    with pytest.raises(OperationalError) as caught:
        retry_transaction(with_callback, using=ALIAS)
    assert not isinstance(caught.value, OutcomeUnknown)
    assert runs == [1]
    assert work() == 1


def test_within_an_atomic_block_nothing_is_repeated(connection: Wrapper) -> None:
    runs: list[int] = []

    def func() -> None:
        runs.append(1)
        raise raised(DEADLOCK)

    with pytest.raises(OperationalError), transaction.atomic(using=ALIAS):
        retry_transaction(func, using=ALIAS)
    assert runs == [1]


def test_the_outermost_call_repeats_what_inner_calls_did(connection: Wrapper) -> None:
    func, runs = failing(DEADLOCK)
    assert retry_transaction(lambda: retry_transaction(func, using=ALIAS), using=ALIAS) == "done"
    assert runs == [1, 2]


def test_durable_refuses_to_be_nested(connection: Wrapper) -> None:
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic(using=ALIAS):
        retry_transaction(lambda: None, using=ALIAS, durable=True)


def test_the_function_may_use_atomic_itself(connection: Wrapper) -> None:
    func, runs = failing(DEADLOCK)
    assert retry_transaction(transaction.atomic(using=ALIAS)(func), using=ALIAS) == "done"
    assert runs == [1, 2]
    assert work() == 1


def test_a_swallowed_deadlock_is_no_success(connection: Wrapper) -> None:
    runs: list[int] = []

    def func() -> str:
        runs.append(1)
        if len(runs) == 1:
            # What the backend does when the server has ended the transaction.
            connection.needs_rollback, connection.rollback_exc = True, raised(DEADLOCK)
        return "done"

    assert retry_transaction(func, using=ALIAS) == "done"
    assert len(runs) == 2


def test_a_rollback_that_was_asked_for_stays_a_result(connection: Wrapper) -> None:
    func, runs = failing()

    def rolled_back() -> str:
        result = func()
        transaction.set_rollback(True, using=ALIAS)
        return result

    assert retry_transaction(rolled_back, using=ALIAS) == "done"
    assert runs == [1]
    assert work() == 0


def test_telemetry_is_told_which_errors_are_handled(connection: Wrapper) -> None:
    answers: list[bool] = []

    def func() -> None:
        attempt = current_attempt.get()
        assert attempt is not None
        answers.append(attempt.retries(CONSTRAINT) is not None)
        answers.append(attempt.retries(DEADLOCK) is not None)
        raise raised(DEADLOCK)

    with pytest.raises(OperationalError):
        retry_transaction(func, using=ALIAS, attempts=2)
    assert answers == [False, True, False, False]
    assert current_attempt.get() is None


def test_signals_count_tries_and_ends(connection: Wrapper) -> None:
    seen: list[tuple[Any, ...]] = []

    def on_retrying(sender: str, scope: str, attempt: int, error: SQLServerError, **_: Any) -> None:
        seen.append((sender, scope, attempt, error.number))

    def on_finished(sender: str, attempts: int, succeeded: bool, **_: Any) -> None:
        seen.append((sender, attempts, succeeded))
        raise RuntimeError("a receiver that fails disturbs nobody")

    retry.retrying.connect(on_retrying)
    retry.retry_finished.connect(on_finished)
    try:
        retry_transaction(failing(DEADLOCK)[0], using=ALIAS)
        retry_transaction(failing()[0], using=ALIAS)
        with pytest.raises(OperationalError):
            retry_transaction(failing(DEADLOCK, CONSTRAINT)[0], using=ALIAS)
    finally:
        retry.retrying.disconnect(on_retrying)
        retry.retry_finished.disconnect(on_finished)
    assert seen == [
        (ALIAS, "transaction", 1, 1205),
        (ALIAS, 2, True),
        (ALIAS, "transaction", 1, 1205),
        (ALIAS, 2, False),
    ]


def test_a_hook_can_forbid_a_retry(connection: Wrapper) -> None:
    asked: list[tuple[int | None, int]] = []

    def hook(error: SQLServerError, attempt: int) -> bool:
        asked.append((error.number, attempt))
        return attempt < 2

    func, runs = failing(*[DEADLOCK] * 5)
    with pytest.raises(OperationalError):
        retry_transaction(func, using=ALIAS, hook=hook)
    assert runs == [1, 2]
    assert asked == [(1205, 1), (1205, 2)]


def test_classes_limit_what_is_tried_again(connection: Wrapper) -> None:
    func, runs = failing(LOST)
    with pytest.raises(OperationalError):
        retry_transaction(func, using=ALIAS, classes=["deadlock"])
    assert runs == [1]


def test_the_aliass_policy_is_used(connection: Wrapper) -> None:
    connection.retry = RetryConfig.from_options(False)
    func, runs = failing(DEADLOCK)
    with pytest.raises(OperationalError):
        retry_transaction(func, using=ALIAS)
    assert runs == [1]
    assert retry_transaction(func, using=ALIAS, policy=RetryPolicy()) == "done"


def test_the_decorator_passes_arguments_and_results(connection: Wrapper) -> None:
    failures = [DEADLOCK]

    @transaction_retry(using=ALIAS, attempts=2)
    def add(a: int, *, b: int) -> int:
        """Adds."""
        if failures:
            raise raised(failures.pop())
        return a + b

    assert add(1, b=2) == 3
    assert add.__doc__ == "Adds."


def test_the_bare_decorator_works_and_coroutines_are_refused() -> None:
    assert callable(transaction_retry(lambda: None))
    with pytest.raises(TypeError, match="sync_to_async"):

        @transaction_retry
        async def view() -> None: ...

    async def work() -> None: ...

    with pytest.raises(TypeError, match="sync_to_async"):
        retry_transaction(work, using=ALIAS)  # type: ignore[unused-coroutine]


# Connecting


def connecting(*failures: Exception) -> tuple[Callable[[], str], list[int]]:
    remaining, calls = list(failures), []

    def open_connection() -> str:
        calls.append(1)
        if remaining:
            raise remaining.pop(0)
        return "connection"

    return open_connection, calls


def test_connecting_is_tried_again_and_the_first_failure_logged(
    waits: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    open_connection, calls = connecting(raised(NOT_OPENED), raised(NOT_OPENED))
    statement = Statement(StatementKind.CONNECT, "", None, None)  # type: ignore[arg-type]
    with caplog.at_level(logging.INFO, "mssql.retry"):
        result = retry.connect(open_connection, policy=RetryPolicy(), alias="default", statement=statement)
    assert result == "connection"
    assert len(calls) == 3
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "40613" in caplog.records[0].getMessage()
    assert statement.handled_errors == [NOT_OPENED, NOT_OPENED]
    assert statement.attempt == 3


@pytest.mark.parametrize(
    ("number", "sqlstate", "calls"),
    [
        (0, "08001", 2),
        (0, "HYT00", 2),
        (4060, "42000", 2),
        (40613, "08004", 2),
        (40501, "42000", 2),
        (10928, "42000", 2),
        (18401, "42000", 2),
        (18456, "28000", 1),
        (40615, "42000", 1),
        (0, "IM002", 1),
        (0, "01000", 1),
    ],
)
def test_only_refusals_that_may_pass_are_tried_again(
    waits: list[float], number: int, sqlstate: str, calls: int
) -> None:
    open_connection, made = connecting(*[raised(sql_error(number, sqlstate, "SQLDriverConnect"))] * 2)
    with pytest.raises(OperationalError):
        retry.connect(open_connection, policy=RetryPolicy(attempts=2), alias="default")
    assert len(made) == calls


def test_a_bug_in_connecting_is_raised_at_once(waits: list[float]) -> None:
    open_connection, calls = connecting(ValueError("bug"))
    with pytest.raises(ValueError, match="bug"):
        retry.connect(open_connection, policy=RetryPolicy(), alias="default")
    assert len(calls) == 1


# Single statements


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (DEADLOCK, 2),
        (sql_error(1222), 2),
        (sql_error(3960), 2),
        (sql_error(41302), 2),
        (sql_error(8645), 2),
        (LOST, 1),
        (sql_error(40197), 1),
        (sql_error(49918), 1),
        (TIMEOUT, 1),
        (CONSTRAINT, 1),
    ],
)
def test_a_statement_is_repeated_only_where_the_server_says_that_it_undid_it(
    waits: list[float], error: SQLServerError, calls: int
) -> None:
    execute, made = connecting(raised(error), raised(error))
    with pytest.raises(OperationalError):
        retry.statement(execute, policy=RetryPolicy(attempts=2), alias="default")
    assert len(made) == calls


def test_a_repeated_statement_gives_its_result(waits: list[float]) -> None:
    execute, made = connecting(raised(DEADLOCK))
    assert retry.statement(execute, policy=RetryPolicy(), alias="default") == "connection"
    assert len(made) == 2


# Policies


@given(
    attempt=st.integers(1, 10_000),
    base=st.floats(0, 100),
    longest=st.floats(0, 100),
    error=st.sampled_from([DEADLOCK, THROTTLED, LOST]),
)
def test_delays_stay_within_their_bounds(
    attempt: int, base: float, longest: float, error: SQLServerError
) -> None:
    policy = RetryPolicy(base_delay=base, max_delay=longest, throttled_delay=5)
    least = 5 if error is THROTTLED else 0
    delay = policy.delay(error, attempt)
    assert least <= delay <= least + min(longest, base * 2 ** min(attempt - 1, 60))


def test_delays_use_the_whole_range_and_grow() -> None:
    policy = RetryPolicy(base_delay=1, max_delay=8)
    for attempt, longest in ((1, 1), (2, 2), (4, 8), (9, 8)):
        delays = [policy.delay(DEADLOCK, attempt) for _ in range(400)]
        assert min(delays) < 0.1 * longest
        assert max(delays) > 0.9 * longest


def test_the_defaults() -> None:
    config = RetryConfig.from_options(True)
    assert RetryConfig.from_options(None) == config
    assert config.connect.attempts == config.transaction.attempts == 4
    assert config.statement.attempts == 1
    assert RetryConfig.from_options({"statement": True}).statement.attempts == 4
    assert RetryConfig.from_options({"connect": False}).connect.attempts == 1


def test_options_change_single_values() -> None:
    config = RetryConfig.from_options(
        {"transaction": {"attempts": 7, "classes": ["deadlock", ErrorClass.FAILOVER], "hook": "time.time"}}
    )
    assert config.transaction.attempts == 7
    assert config.transaction.classes == {ErrorClass.DEADLOCK, ErrorClass.FAILOVER}
    assert config.transaction.hook is time.time
    assert config.transaction.budget == RetryPolicy().budget


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("yes", ['OPTIONS["retry"]', "'yes'", "True, False or a dict"]),
        ({"conect": True}, ["conect", "connect, statement, transaction"]),
        ({"connect": 3}, ['["connect"]', "3", "RetryPolicy"]),
        ({"connect": {"tries": 3}}, ["tries", "attempts, base_delay"]),
        ({"connect": {"attempts": 0}}, ['["attempts"]', "0", "from 1 to 100"]),
        ({"connect": {"attempts": True}}, ['["attempts"]', "True"]),
        ({"connect": {"budget": "30"}}, ['["budget"]', "'30'", "seconds"]),
        ({"connect": {"classes": "deadlock"}}, ['["classes"]', "deadlock"]),
        ({"connect": {"classes": ["constraint"]}}, ['["classes"]', "constraint", "snapshot_conflict"]),
        ({"connect": {"hook": "no.such.path"}}, ['["hook"]', "no.such.path"]),
        ({"connect": {"hook": 3}}, ['["hook"]', "3", "callable"]),
    ],
)
def test_bad_options_say_key_value_and_what_is_allowed(value: object, words: list[str]) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        RetryConfig.from_options(value)
    for word in words:
        assert word in str(caught.value)
