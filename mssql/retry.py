"""Retry: connecting, whole transactions, and (by choice) single autocommit statements."""

from __future__ import annotations

import functools
import inspect
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ParamSpec, TypeVar, cast, overload

from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections, transaction
from django.dispatch import Signal
from django.utils.module_loading import import_string

from mssql import errors
from mssql.errors import ConnectionState, ErrorClass, Retry, SQLServerError, TransactionState
from mssql.instrumentation import recorder as recording
from mssql.instrumentation.statement import Attempt, Statement, current_attempt

logger = logging.getLogger("mssql.retry")

T = TypeVar("T")
P = ParamSpec("P")

OPTION = 'OPTIONS["retry"]'

#: A failure that is tried again. Arguments: scope ("connect", "transaction" or "statement"), error
#: (SQLServerError), attempt (the one that failed, from 1), delay (seconds until the next). The sender is the alias.
retrying = Signal()

#: The end of something that failed at least once. Arguments: scope, error (the last one), attempts, waited
#: (seconds), succeeded. The sender is the alias.
retry_finished = Signal()

TRANSIENT = frozenset(
    {
        ErrorClass.DEADLOCK,
        ErrorClass.LOCK_TIMEOUT,
        ErrorClass.SNAPSHOT_CONFLICT,
        ErrorClass.THROTTLED,
        ErrorClass.FAILOVER,
        ErrorClass.CONNECTION_LOST,
        ErrorClass.LOGIN,
        ErrorClass.DOOMED_TRANSACTION,
    }
)

Hook = Callable[[SQLServerError, int], object]


class OutcomeUnknown(OperationalError):
    """COMMIT was sent and its answer never came: the transaction may have been committed or not."""

    sqlserver: SQLServerError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, how long and for which errors something is tried again."""

    attempts: int = 4
    """Tries in all; 1 turns retry off."""
    base_delay: float = 0.1
    """Seconds; the longest wait after the first failure. It doubles with each further one."""
    max_delay: float = 5.0
    budget: float = 30.0
    """Seconds from the first try after which no other is begun."""
    throttled_delay: float = 5.0
    """Least wait where the server says that it is busy: Azure SQL asks for 5 to 10 seconds."""
    classes: frozenset[ErrorClass] = TRANSIENT
    hook: Hook | None = None
    """Called as hook(error, attempt) before each retry; False forbids it."""

    def delay(self, error: SQLServerError, attempt: int) -> float:
        """Exponential back-off with full jitter: many clients that failed together do not return together
        (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)."""
        longest = min(self.max_delay, self.base_delay * 2.0 ** min(attempt - 1, 60))
        least = self.throttled_delay if error.error_class is ErrorClass.THROTTLED else 0.0
        return least + random.uniform(0.0, longest)

    def allows(self, error: SQLServerError, attempt: int) -> bool:
        """Whether `error` of try number `attempt` may be followed by another try, time apart."""
        return (
            attempt < self.attempts
            and error.retry is not Retry.NEVER
            and error.error_class in self.classes
            and (self.hook is None or self.hook(error, attempt) is not False)
        )


OFF = RetryPolicy(attempts=1)


@dataclass(frozen=True, slots=True)
class RetryConfig:
    """``OPTIONS["retry"]`` of one alias."""

    connect: RetryPolicy = field(
        default_factory=lambda: RetryPolicy(base_delay=0.5, max_delay=8.0, budget=15.0)
    )
    transaction: RetryPolicy = field(default_factory=RetryPolicy)
    statement: RetryPolicy = OFF

    @classmethod
    def from_options(cls, value: object) -> RetryConfig:
        """True (the defaults), False (never), or a dict with the keys connect, transaction and statement."""
        if value is None or value is True:
            return cls()
        if value is False:
            return cls(OFF, OFF, OFF)
        if not isinstance(value, Mapping):
            raise _invalid(OPTION, value, "True, False or a dict")
        given: dict[str, RetryPolicy] = {}
        for key, item in value.items():
            if key not in {each.name for each in fields(cls)}:
                raise ImproperlyConfigured(
                    f"{OPTION} has an unknown key {key!r} (value {item!r}); "
                    "allowed: connect, statement, transaction."
                )
            default = RetryPolicy() if key == "statement" else cast(RetryPolicy, getattr(cls(), key))
            given[key] = _policy(f'{OPTION}["{key}"]', item, default)
        return cls(**given)


def _invalid(path: str, value: object, allowed: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"{path} is {value!r}; allowed: {allowed}.")


def _policy(path: str, value: object, default: RetryPolicy) -> RetryPolicy:
    if value is True:
        return default
    if value is False or value is None:
        return OFF
    if isinstance(value, RetryPolicy):
        return value
    if not isinstance(value, Mapping):
        raise _invalid(path, value, "True, False, a dict or a RetryPolicy")
    given: dict[str, Any] = {}
    for key, item in value.items():
        if key not in _CHECKS:
            raise ImproperlyConfigured(
                f"{path} has an unknown key {key!r} (value {item!r}); allowed: {', '.join(sorted(_CHECKS))}."
            )
        given[key] = _CHECKS[key](f'{path}["{key}"]', item)
    return replace(default, **given)


def _attempts(path: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 100:
        raise _invalid(path, value, "an integer from 1 to 100")
    return value


def _seconds(path: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 3600:
        raise _invalid(path, value, "seconds from 0 to 3600")
    return float(value)


def _classes(path: str, value: object) -> frozenset[ErrorClass]:
    names = {item.value: item for item in TRANSIENT}
    allowed = f"a list of {', '.join(sorted(names))}"
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise _invalid(path, value, allowed)
    chosen = set()
    for item in value:
        chosen.add(names.get(item) if isinstance(item, str) else item)
        if not chosen <= TRANSIENT:
            raise _invalid(path, item, allowed)
    return cast("frozenset[ErrorClass]", frozenset(chosen))


def _hook(path: str, value: object) -> Hook | None:
    if isinstance(value, str):
        try:
            value = import_string(value)
        except ImportError as error:
            raise _invalid(path, value, f"a callable or the dotted path of one ({error})") from error
    if value is not None and not callable(value):
        raise _invalid(path, value, "a callable or the dotted path of one")
    return cast("Hook | None", value)


_CHECKS: dict[str, Callable[[str, object], Any]] = {
    "attempts": _attempts,
    "base_delay": _seconds,
    "max_delay": _seconds,
    "budget": _seconds,
    "throttled_delay": _seconds,
    "classes": _classes,
    "hook": _hook,
}


class _Tries:
    """One operation that may be tried several times: counts, decides, waits and tells."""

    def __init__(self, scope: str, alias: str, policy: RetryPolicy) -> None:
        self.scope = scope
        self.alias = alias
        self.policy = policy
        self.attempt = 1
        self.waited = 0.0
        self.last_error: SQLServerError | None = None
        self._deadline = time.monotonic() + policy.budget
        self._decision: tuple[SQLServerError, float | None] | None = None

    def delay_after(self, error: SQLServerError) -> float | None:
        """Seconds to wait before the next try, None to give up. The answer to one failure stays the same, so that
        telemetry, which asks first, tells what then happens."""
        if self._decision is None or self._decision[0] != error:
            delay: float | None = None
            if self.policy.allows(error, self.attempt):
                delay = self.policy.delay(error, self.attempt)
                if time.monotonic() + delay > self._deadline:
                    delay = None
            self._decision = (error, delay)
        return self._decision[1]

    def wait(self, error: SQLServerError, delay: float, recorder: recording.Recorder | None) -> None:
        if recorder is not None:
            recorder.retrying(recording.Retry(error, self.attempt, delay, self.scope))
        retrying.send_robust(self.alias, scope=self.scope, error=error, attempt=self.attempt, delay=delay)
        time.sleep(delay)
        self.waited += delay
        self.last_error = error
        self.attempt += 1
        self._decision = None

    def finish(self, *, succeeded: bool, error: SQLServerError | None = None) -> None:
        """Tell the end of the operation to those who were told of its retries."""
        if self.attempt > 1:
            retry_finished.send_robust(
                self.alias,
                scope=self.scope,
                error=error or self.last_error,
                attempts=self.attempt,
                waited=self.waited,
                succeeded=succeeded,
            )


def connect(
    open_connection: Callable[[], T],
    *,
    policy: RetryPolicy,
    alias: str,
    recorder: recording.Recorder | None = None,
    statement: Statement | None = None,
) -> T:
    """Open a connection; failures that may pass are tried again within the policy's limits."""
    tries = _Tries("connect", alias, policy)
    while True:
        try:
            connection = open_connection()
        except Exception as exc:
            error = errors.describe(exc)
            delay = tries.delay_after(error) if error is not None else None
            if error is None or delay is None:
                tries.finish(succeeded=False, error=error)
                raise
            if tries.attempt == 1:
                logger.warning(
                    "Connecting to %r failed: %s (%s). Trying again for up to %g s.",
                    alias,
                    error.message,
                    error.number or error.sqlstate,
                    policy.budget,
                )
            if statement is not None:
                statement.handled_errors.append(error)
                statement.attempt = tries.attempt + 1
            tries.wait(error, delay, recorder)
        else:
            if tries.attempt > 1:
                logger.info(
                    "Connected to %r at attempt %d, after waiting %.1f s.", alias, tries.attempt, tries.waited
                )
            tries.finish(succeeded=True)
            return connection


def statement(
    execute: Callable[[], T],
    *,
    policy: RetryPolicy,
    alias: str,
    recorder: recording.Recorder | None = None,
) -> T:
    """Run one autocommit statement; try again only what the server itself says it has undone."""
    tries = _Tries("statement", alias, policy)

    def retries(error: SQLServerError) -> float | None:
        return tries.delay_after(error) if _is_undone(error) else None

    while True:
        token = current_attempt.set(Attempt(tries.attempt, retries))
        try:
            result = execute()
        except Exception as exc:
            error = errors.describe(exc)
            delay = tries.delay_after(error) if error is not None and _is_undone(error) else None
            if error is None or delay is None:
                tries.finish(succeeded=False, error=error)
                raise
        else:
            tries.finish(succeeded=True)
            return result
        finally:
            current_attempt.reset(token)
        tries.wait(error, delay, recorder)


def _is_undone(error: SQLServerError) -> bool:
    """The server answered, over a connection that still stands, that the work of this request is gone."""
    return error.connection_state is ConnectionState.ALIVE and error.retry in {
        Retry.STATEMENT,
        Retry.TRANSACTION,
    }


class _TransactionAttempt:
    """One try of a transaction: how far it came decides what its failure means."""

    def __init__(self, tries: _Tries, idempotent: bool) -> None:
        self.tries = tries
        self.idempotent = idempotent
        self.committing = False
        self.committed = False

    def retries(self, error: SQLServerError) -> float | None:
        return self.tries.delay_after(error) if self.may_retry(error) else None

    def may_retry(self, error: SQLServerError) -> bool:
        if self.committed or error.connection_state is ConnectionState.NOT_OPENED:
            return False  # connecting has its own retry
        return self.idempotent or not self.outcome_is_unknown(error)

    def outcome_is_unknown(self, error: SQLServerError) -> bool:
        """Before COMMIT a lost transaction is rolled back for sure. After it only the server's word counts."""
        return (
            self.committing
            and not self.committed
            and not (
                error.connection_state is ConnectionState.ALIVE
                and error.transaction_state is not TransactionState.UNKNOWN
            )
        )


def retry_transaction(
    func: Callable[[], T],
    *,
    using: str | None = None,
    policy: RetryPolicy | None = None,
    idempotent: bool = False,
    durable: bool = False,
    **overrides: Any,
) -> T:
    """Run ``func()`` in a transaction of its own and, when the server undid it, run it again.

    ``func`` must do nothing but work on ``using`` that a rollback takes back; anything else belongs into
    ``transaction.on_commit()``, whose callbacks run once, for the attempt that was committed. Within an atomic
    block nothing can be repeated: ``func`` runs once, in a savepoint, and the outermost block decides
    (``durable=True`` makes that an error instead).

    When the connection is lost while COMMIT is under way, nobody knows the outcome: `OutcomeUnknown` is raised.
    With ``idempotent=True`` the caller says that a second run does no harm, and it is tried again.

    ``policy`` replaces the alias's policy; ``attempts``, ``base_delay``, ``max_delay``, ``budget``,
    ``throttled_delay``, ``classes`` and ``hook`` change single values of it.
    """
    _refuse_coroutine(func)
    alias = DEFAULT_DB_ALIAS if using is None else using
    connection = connections[alias]
    if connection.in_atomic_block or not connection.get_autocommit():
        with transaction.atomic(using=alias, durable=durable):
            return func()
    chosen = policy or _configured(connection).transaction
    tries = _Tries("transaction", alias, _policy("retry_transaction()", overrides, chosen))
    recorder: recording.Recorder | None = None
    while True:
        attempt = _TransactionAttempt(tries, idempotent)
        # The connection of the last attempt may be gone, and the next one is opened within this.
        recorder = getattr(connection, "recorder", None) or recorder
        token = current_attempt.set(Attempt(tries.attempt, attempt.retries))
        try:
            result = _run_once(func, connection, attempt, durable)
        except Exception as exc:
            error = errors.describe(exc)
            if error is None or attempt.committed:
                tries.finish(succeeded=attempt.committed)
                raise
            _abandon(connection, error)
            delay = tries.delay_after(error) if attempt.may_retry(error) else None
            if delay is None:
                tries.finish(succeeded=False, error=error)
                if attempt.outcome_is_unknown(error):
                    raise _outcome_unknown(error) from exc
                raise
        else:
            tries.finish(succeeded=True)
            return result
        finally:
            current_attempt.reset(token)
        tries.wait(error, delay, recorder)


def _configured(connection: Any) -> RetryConfig:
    config = getattr(connection, "retry", None)
    return config if isinstance(config, RetryConfig) else RetryConfig()


def _run_once(func: Callable[[], T], connection: Any, attempt: _TransactionAttempt, durable: bool) -> T:
    def committed() -> None:
        attempt.committed = True

    connection.rollback_exc = None
    with transaction.atomic(using=connection.alias, durable=durable):
        # The first callback to run: what is raised later comes from the callbacks of others.
        transaction.on_commit(committed, using=connection.alias)
        result = func()
        ended_by = connection.rollback_exc
        if connection.needs_rollback and ended_by is not None and _ended_transaction(ended_by):
            raise ended_by  # func caught it, but its work is gone
        attempt.committing = True
    return result


def _ended_transaction(exc: BaseException) -> bool:
    error = errors.describe(exc)
    return error is not None and (
        error.transaction_state is not TransactionState.ACTIVE
        or error.connection_state is not ConnectionState.ALIVE
    )


def _abandon(connection: Any, error: SQLServerError) -> None:
    """Leave nothing of a failed attempt to the next one."""
    connection.run_on_commit = []
    if error.connection_state is ConnectionState.BROKEN:
        connection.close()
    elif error.connection_state is ConnectionState.UNKNOWN:
        connection.close_if_unusable_or_obsolete()


def _outcome_unknown(error: SQLServerError) -> OutcomeUnknown:
    exc = OutcomeUnknown(
        f"The transaction may or may not have been committed: its COMMIT was not answered ({error.message}). "
        "Look before doing it again, or say idempotent=True where repeating it does no harm."
    )
    exc.sqlserver = error
    return exc


@overload
def transaction_retry(func: Callable[P, T], /) -> Callable[P, T]: ...
@overload
def transaction_retry(
    *,
    using: str | None = ...,
    policy: RetryPolicy | None = ...,
    idempotent: bool = ...,
    durable: bool = ...,
    **overrides: Any,
) -> Callable[[Callable[P, T]], Callable[P, T]]: ...
def transaction_retry(func: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Decorator: each call runs by `retry_transaction`, with the options given."""
    if func is None:
        return functools.partial(_decorate, options)
    return _decorate(options, func)


def _refuse_coroutine(func: Callable[..., object]) -> None:
    if inspect.iscoroutinefunction(func):
        raise TypeError(
            f"{func.__qualname__} is a coroutine; transactions are synchronous in Django: put the work into a "
            "function, and call what runs it by sync_to_async()."
        )


def _decorate(options: dict[str, Any], func: Callable[P, T]) -> Callable[P, T]:
    _refuse_coroutine(func)

    @functools.wraps(func)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        return retry_transaction(lambda: func(*args, **kwargs), **options)

    return wrapper
