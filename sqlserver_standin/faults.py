"""Faults on demand, for tests: refused logins, failing statements, connections that break at a chosen moment."""

from __future__ import annotations

import enum
import threading
from dataclasses import dataclass

from sqlserver_standin.errors import sql_error
from sqlserver_standin.events import SqlError


class FaultKind(enum.StrEnum):
    """What happens instead of, or around, the next matching statement."""

    FAIL = "fail"
    """An error token in place of the result; the statement is not executed."""
    DROP_BEFORE = "drop_before"
    """The connection closes; the statement is not executed."""
    DROP_DURING = "drop_during"
    """The statement is executed, its last packet never sent: the client can't know that it succeeded."""
    DROP_AFTER = "drop_after"
    """The statement is executed and answered, then the connection closes."""
    CUT = "cut"
    """As DROP_DURING, and the first half of the last packet is sent."""
    DELAY = "delay"
    """The statement is executed after ``seconds``."""
    HANG = "hang"
    """No answer until the client sends an attention or goes away; the statement is not executed."""


@dataclass(slots=True)
class StatementFault:
    """A fault armed for the next ``remaining`` statements whose SQL contains ``matching``."""

    kind: FaultKind
    remaining: int = 1
    matching: str | None = None
    number: int = 0
    text: str | None = None
    severity: int | None = None
    state: int = 1
    disconnect: bool = False
    seconds: float = 0.0

    def error(self, session: int) -> SqlError:
        return known_error(self.number, self.text, self.severity, self.state, session)


@dataclass(slots=True)
class LoginFault:
    """A fault armed for the next ``remaining`` logins: a refusal when ``number`` is set, after ``seconds``."""

    remaining: int = 1
    number: int = 0
    text: str | None = None
    severity: int | None = None
    state: int = 1
    seconds: float = 0.0

    def error(self) -> SqlError | None:
        return known_error(self.number, self.text, self.severity, self.state) if self.number else None


# Severity and text of Azure SQL's errors, which the engine never raises by itself
# (https://learn.microsoft.com/azure/azure-sql/database/troubleshoot-common-errors-issues).
_AZURE = {
    10928: (20, "Resource ID : 1. The request limit for the database is 30 and has been reached."),
    10929: (20, "Resource ID: 1. The server is currently too busy. Please try again later."),
    40197: (
        17,
        "The service has encountered an error processing your request. Please try again. Error code 4221.",
    ),
    40501: (
        20,
        "The service is currently busy. Retry the request after 10 seconds. Incident ID: "
        "00000000-0000-0000-0000-000000000000. Code: 0.",
    ),
    40613: (
        17,
        "Database 'master' on server 'standin' is not currently available.  Please retry the connection later.  "
        "If the problem persists, contact customer support, and provide them the session tracing ID of "
        "'00000000-0000-0000-0000-000000000000'.",
    ),
    49918: (
        16,
        "Cannot process request. Not enough resources to process request. Please retry your request later.",
    ),
}

ENDS_TRANSACTION = frozenset({1205, 3960})
"""Errors that roll the transaction back on SQL Server, whatever XACT_ABORT says."""

_ENDS_CONNECTION = 20
"""From this severity on, SQL Server closes the connection."""


# What fills the gaps of the engine's own texts.
_ARGUMENTS: dict[int, tuple[str, ...]] = {
    1205: ("{session}",),
    1222: (),
    3960: ("dbo.t", "master"),
    4060: ("master",),
    18456: ("sa",),
}


def known_error(
    number: int, text: str | None, severity: int | None, state: int, session: int = 0
) -> SqlError:
    """The error of this number, with SQL Server's text and severity where the caller names none."""
    known = SqlError(number, f"Error {number}, raised on demand.", state=state)
    if number in _AZURE:
        known = SqlError(number, _AZURE[number][1], _AZURE[number][0], state)
    elif number in _ARGUMENTS:
        known = sql_error(number, *(argument.format(session=session) for argument in _ARGUMENTS[number]))
    return SqlError(
        number,
        known.text if text is None else text,
        known.severity if severity is None else severity,
        known.state if state == 1 else state,
    )


def ends_connection(error: SqlError) -> bool:
    return error.severity >= _ENDS_CONNECTION


class Faults:
    """The armed faults. `armed` is read without the lock: it only has to be true when something may match."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._statements: list[StatementFault] = []
        self._logins: list[LoginFault] = []
        self.armed = False

    def arm(self, fault: StatementFault | LoginFault) -> None:
        with self._lock:
            if isinstance(fault, LoginFault):
                self._logins.append(fault)
            else:
                self._statements.append(fault)
            self.armed = True

    def clear(self) -> None:
        with self._lock:
            self._statements.clear()
            self._logins.clear()
            self.armed = False

    def pending(self) -> int:
        """How many faults have not happened yet."""
        with self._lock:
            return sum(fault.remaining for fault in self._statements) + sum(
                fault.remaining for fault in self._logins
            )

    def take_login(self) -> LoginFault | None:
        with self._lock:
            fault = next(iter(self._logins), None)
            if fault is not None:
                fault.remaining -= 1
                if fault.remaining <= 0:
                    self._logins.remove(fault)
                self._update()
            return fault

    def take_statement(self, sql: str) -> StatementFault | None:
        with self._lock:
            for fault in self._statements:
                if fault.matching is None or fault.matching.lower() in sql.lower():
                    fault.remaining -= 1
                    if fault.remaining <= 0:
                        self._statements.remove(fault)
                    self._update()
                    return fault
            return None

    def _update(self) -> None:
        self.armed = bool(self._statements or self._logins)
