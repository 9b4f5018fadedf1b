"""OPTIONS["pool"]: sessions kept open between requests, shared by the threads of a process."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from mssql.instrumentation.metrics import PoolMetrics
from mssql.odbc import pyodbc
from mssql.session import Session


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """The names are those of psycopg's pool, which Django's PostgreSQL backend takes."""

    min_size: int = 0
    max_size: int = 10
    timeout: float = 30.0
    max_waiting: int = 0
    max_idle: float = 600.0
    max_lifetime: float = 3600.0

    @classmethod
    def from_option(cls, option: bool | Mapping[str, Any]) -> PoolOptions:
        values = {} if isinstance(option, bool) else dict(option)
        allowed = [field.name for field in fields(cls)]
        for key, value in values.items():
            if key not in allowed:
                raise ImproperlyConfigured(
                    f"OPTIONS['pool'] has the unknown key {key!r} (value {value!r}). "
                    f"Allowed keys: {', '.join(allowed)}."
                )
            whole = isinstance(getattr(cls(), key), int)
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or value < 0:
                raise ImproperlyConfigured(
                    f"OPTIONS['pool'][{key!r}] is {value!r}; allowed: a {'whole ' if whole else ''}number, 0 or more."
                )
        options = cls(**values)
        if not max(options.min_size, 1) <= options.max_size:
            raise ImproperlyConfigured(
                f"OPTIONS['pool']: max_size ({options.max_size}) must be at least 1 and at least min_size "
                f"({options.min_size})."
            )
        return options


class PoolTimeout(pyodbc.OperationalError):
    """No session came free in time."""


class Pool:
    """At most ``max_size`` sessions. A session that was idle is tried before it is given out."""

    def __init__(
        self,
        options: PoolOptions,
        *,
        metrics: PoolMetrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.options = options
        self._metrics = metrics
        if metrics is not None:
            metrics.limits(options.max_size, options.min_size)
        self._clock = clock
        self._idle: deque[tuple[Session, float]] = deque()
        self._size = 0
        self._waiting = 0
        self._closed = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return self._size

    def take(
        self, connect: Callable[[], Session], renew: Callable[[Session], None]
    ) -> tuple[Session, int | None]:
        """A session, and how many nanoseconds it was waited for; None for one that is new.

        ``renew`` brings a used session into the state of a new one, and raises when the connection is dead.
        """
        started = time.perf_counter_ns()
        while True:
            session = self._take_idle_or_place()
            if session is None:
                try:
                    return connect(), None
                except BaseException:
                    self._give_up_place()
                    raise
            try:
                renew(session)
            except pyodbc.Error:
                # It died while it lay idle; another, or a new one, will do.
                self._dispose(session)
                continue
            except BaseException:
                self._dispose(session)
                raise
            return session, time.perf_counter_ns() - started

    def _take_idle_or_place(self) -> Session | None:
        """An idle session, or None when the caller may open one."""
        expired: list[Session] = []
        try:
            with self._changed:
                limit = self._clock() + self.options.timeout
                while True:
                    if self._closed:
                        raise PoolTimeout("08003", "The connection pool is closed.")
                    expired += self._expired()
                    if self._idle:
                        # The last one back goes out first, so that a quiet pool shrinks.
                        session, _ = self._idle.pop()
                        return session
                    if self._size < self.options.max_size:
                        self._size += 1
                        return None
                    self._wait(limit - self._clock())
        finally:
            for old in expired:
                _close(old)

    def _wait(self, seconds: float) -> None:
        """Wait until something may have come free; raise when it is time to give up."""
        if self.options.max_waiting and self._waiting >= self.options.max_waiting:
            raise self._timeout(f"{self._waiting} threads wait already for one of {self._size} connections.")
        self._count_waiting(1)
        try:
            notified = self._changed.wait(seconds)
        finally:
            self._count_waiting(-1)
        if not notified and not self._idle and self._size >= self.options.max_size:
            raise self._timeout(
                f"None of the {self._size} pooled connections came free within {self.options.timeout:g} s. "
                "Raise OPTIONS['pool']['max_size'], or look for what holds them."
            )

    def _count_waiting(self, change: int) -> None:
        self._waiting += change
        if self._metrics is not None:
            self._metrics.waiting(change)

    def _timeout(self, message: str) -> PoolTimeout:
        if self._metrics is not None:
            self._metrics.timed_out()
        return PoolTimeout("HYT00", message)

    def _expired(self) -> list[Session]:
        """Take out what lay idle too long, down to ``min_size``, and what is too old."""
        now = self._clock()
        keep: deque[tuple[Session, float]] = deque()
        expired = []
        for session, since in self._idle:
            idle_too_long = now - since > self.options.max_idle and self._size > self.options.min_size
            if idle_too_long or now - session.opened_at > self.options.max_lifetime:
                expired.append(session)
                self._size -= 1
            else:
                keep.append((session, since))
        self._idle = keep
        return expired

    def put(self, session: Session) -> None:
        """Give a session back. The caller has ended its transaction."""
        with self._changed:
            if not self._closed:
                self._idle.append((session, self._clock()))
                self._changed.notify()
                return
        self._dispose(session)

    def discard(self, session: Session) -> None:
        """Close a session that is of no more use, and free its place."""
        self._dispose(session)

    def _dispose(self, session: Session) -> None:
        _close(session)
        self._give_up_place()

    def _give_up_place(self) -> None:
        with self._changed:
            self._size -= 1
            self._changed.notify()

    def close(self) -> None:
        """Close what is idle; what is in use is closed when it comes back."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, deque()
            self._size -= len(idle)
            self._changed.notify_all()
        if self._metrics is not None:
            self._metrics.closed()
        for session, _ in idle:
            _close(session)


def _close(session: Session) -> None:
    # It was broken: there is nothing left to close.
    with contextlib.suppress(pyodbc.Error):
        session.close()
