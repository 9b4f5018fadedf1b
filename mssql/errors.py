"""SQL Server's errors: the native number from the driver's text, what it means and what it leaves behind."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from . import transient_errors


class ErrorClass(enum.Enum):
    DEADLOCK = "deadlock"
    LOCK_TIMEOUT = "lock_timeout"
    SNAPSHOT_CONFLICT = "snapshot_conflict"
    THROTTLED = "throttled"
    FAILOVER = "failover"
    CONNECTION_LOST = "connection_lost"
    LOGIN = "login"
    DOOMED_TRANSACTION = "doomed_transaction"
    QUERY_TIMEOUT = "query_timeout"
    CONSTRAINT = "constraint"
    DATA = "data"
    PROGRAMMING = "programming"
    PERMANENT = "permanent"


class TransactionState(enum.Enum):
    """What is left of the transaction that was open when the error came."""

    ACTIVE = "active"
    ROLLED_BACK = "rolled_back"
    DOOMED = "doomed"
    NONE = "none"
    UNKNOWN = "unknown"


class ConnectionState(enum.Enum):
    ALIVE = "alive"
    BROKEN = "broken"
    NOT_OPENED = "not_opened"
    UNKNOWN = "unknown"


class Retry(enum.Enum):
    """The least that has to be done again for another chance of success."""

    NEVER = "never"
    CONNECT = "connect"  # open another connection; whether the work may be repeated is another question
    TRANSACTION = "transaction"  # all of it; an autocommit statement is its own whole transaction
    STATEMENT = "statement"  # the statement alone: the server undid it and nothing else


@dataclass(frozen=True, slots=True)
class SQLServerError:
    """One failure as the server (or the driver) reported it."""

    number: int | None
    sqlstate: str
    message: str
    error_class: ErrorClass
    transaction_state: TransactionState
    connection_state: ConnectionState
    retry: Retry
    further: tuple[int, ...] = ()

    @property
    def transient(self) -> bool:
        return self.retry is not Retry.NEVER


@dataclass(frozen=True, slots=True)
class _Outcome:
    error_class: ErrorClass
    transaction_state: TransactionState = TransactionState.ACTIVE
    connection_state: ConnectionState = ConnectionState.ALIVE
    retry: Retry = Retry.NEVER


_DEADLOCK = _Outcome(
    ErrorClass.DEADLOCK, TransactionState.ROLLED_BACK, ConnectionState.ALIVE, Retry.TRANSACTION
)
_LOCK_TIMEOUT = _Outcome(
    ErrorClass.LOCK_TIMEOUT, TransactionState.ACTIVE, ConnectionState.ALIVE, Retry.STATEMENT
)
_SNAPSHOT_CONFLICT = _Outcome(
    ErrorClass.SNAPSHOT_CONFLICT, TransactionState.ROLLED_BACK, ConnectionState.ALIVE, Retry.TRANSACTION
)
_BUSY_STATEMENT = _Outcome(
    ErrorClass.THROTTLED, TransactionState.ACTIVE, ConnectionState.ALIVE, Retry.STATEMENT
)
_BUSY = _Outcome(ErrorClass.THROTTLED, TransactionState.UNKNOWN, ConnectionState.UNKNOWN, Retry.TRANSACTION)
_BUSY_DISCONNECTED = _Outcome(
    ErrorClass.THROTTLED, TransactionState.ROLLED_BACK, ConnectionState.BROKEN, Retry.TRANSACTION
)
_TOO_MUCH = _Outcome(ErrorClass.PERMANENT, TransactionState.ROLLED_BACK, ConnectionState.BROKEN)
_FAILOVER_TRANSACTION = _Outcome(
    ErrorClass.FAILOVER, TransactionState.ROLLED_BACK, ConnectionState.UNKNOWN, Retry.TRANSACTION
)
_FAILOVER = _Outcome(
    ErrorClass.FAILOVER, TransactionState.ROLLED_BACK, ConnectionState.BROKEN, Retry.TRANSACTION
)
_DATABASE_NOT_READY = _Outcome(
    ErrorClass.FAILOVER, TransactionState.UNKNOWN, ConnectionState.UNKNOWN, Retry.CONNECT
)
_SESSION_ENDED = _Outcome(
    ErrorClass.CONNECTION_LOST, TransactionState.ROLLED_BACK, ConnectionState.BROKEN, Retry.CONNECT
)
_CONNECTION_LOST = _Outcome(
    ErrorClass.CONNECTION_LOST, TransactionState.UNKNOWN, ConnectionState.BROKEN, Retry.CONNECT
)
_LOGIN_REFUSED = _Outcome(ErrorClass.LOGIN, TransactionState.NONE, ConnectionState.NOT_OPENED)
_LOGIN_REFUSED_FOR_NOW = _Outcome(
    ErrorClass.LOGIN, TransactionState.NONE, ConnectionState.NOT_OPENED, Retry.CONNECT
)
_DOOMED = _Outcome(ErrorClass.DOOMED_TRANSACTION, TransactionState.DOOMED)
_BATCH_ABORTED = _Outcome(
    ErrorClass.DOOMED_TRANSACTION, TransactionState.DOOMED, ConnectionState.ALIVE, Retry.TRANSACTION
)
_DOOMED_AND_ENDED = _Outcome(ErrorClass.DOOMED_TRANSACTION, TransactionState.ROLLED_BACK)
_QUERY_TIMEOUT = _Outcome(ErrorClass.QUERY_TIMEOUT, TransactionState.UNKNOWN)
_CONSTRAINT = _Outcome(ErrorClass.CONSTRAINT)
_DATA = _Outcome(ErrorClass.DATA)
# A failed conversion of a value ends the batch and, outside TRY…CATCH, the transaction with it.
_DATA_BATCH_ABORTED = _Outcome(ErrorClass.DATA, TransactionState.UNKNOWN)
_PROGRAMMING = _Outcome(ErrorClass.PROGRAMMING)
_NO_TRANSACTION = _Outcome(ErrorClass.PROGRAMMING, TransactionState.NONE)
_SERVER_CONDITION = _Outcome(ErrorClass.PERMANENT, TransactionState.UNKNOWN)
_ENDED_IN_TRIGGER = _Outcome(ErrorClass.PERMANENT, TransactionState.ROLLED_BACK)

# Texts and severities: https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-events-and-errors
# Severity 20 and above ends the connection:
# https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-error-severities
_BY_NUMBER: dict[int, _Outcome] = {
    number: outcome
    for outcome, numbers in (
        (_DEADLOCK, (1205,)),
        (_LOCK_TIMEOUT, (1222,)),
        # 413xx: memory-optimised tables,
        # https://learn.microsoft.com/sql/relational-databases/in-memory-oltp/transactions-with-memory-optimized-tables
        (_SNAPSHOT_CONFLICT, (3953, 3957, 3960, 3961, 3966, 41301, 41302, 41305, 41325, 41339)),
        (_BUSY_STATEMENT, (601, 8628, 8645, 8651, 41839)),
        (_BUSY, (1204, 40189, 40642, 40648, 40675, 40903, 49918, 49919, 49920)),
        (_BUSY_DISCONNECTED, (10928, 10929, 10930, 10936, 40501, 40545)),
        # The session was ended for what its own work took: the same work would end the same way. And a full database.
        # https://learn.microsoft.com/azure/azure-sql/database/troubleshoot-common-errors-issues#resource-governance-errors
        (_TOO_MUCH, (40544, 40549, 40550, 40551, 40552, 40553)),
        (_FAILOVER_TRANSACTION, (3941, 3947, 3948, 40106)),
        (_FAILOVER, (40020, 40143, 40166, 40197, 40540, 40613)),
        (_DATABASE_NOT_READY, (921, 922, 926, 927, 941, 952, 976, 978, 982, 983, 988, 49802)),
        (_SESSION_ENDED, (596, 615, 617, 1203, 1221, 6005)),
        (_LOGIN_REFUSED_FOR_NOW, (4060, 4221, 17187, 17189, 17197, 18401, 40623, 42108, 42109)),
        (
            _LOGIN_REFUSED,
            (4062, 4063, 4064, 18450, 18452, 18456, 18461, 18470, 18486, 18487, 18488, 40532, 40607, 40615),
        ),
        (_DOOMED, (3930, 3931)),
        (_BATCH_ABORTED, (3980,)),
        (_DOOMED_AND_ENDED, (3998,)),
        (_CONSTRAINT, (515, 530, 547, 548, 550, 1505, 2601, 2627)),
        (_DATA, (220, 232, 517, 518, 535, 536, 537, 1007, 2628, 8115, 8134, 8152, 13608, 13609)),
        # Patterns that are none, and what the native json does not hold.
        (_DATA, (19300, 19302, 19303, 19307, 19308, 19309, 13639, 13645, 13647, 13649)),
        (_DATA_BATCH_ABORTED, (241, 242, 244, 245, 248, 257, 295, 296, 298, 8114, 8169, 9807)),
        (_NO_TRANSACTION, (628, 3902, 3903)),
        # Memory, disk, log and hardware: neither the statement nor the client is at fault.
        (
            _SERVER_CONDITION,
            (701, 802, 823, 824, 825, 1101, 1105, 1132, 3619, 3958, 3959, 3967, 8623, 9001, 9002),
        ),
        (_ENDED_IN_TRIGGER, (3609,)),
    )
    for number in numbers
}

# What ODBC's class of the SQLSTATE says where the number says nothing.
# https://learn.microsoft.com/sql/odbc/reference/appendixes/appendix-a-odbc-error-codes
_BY_SQLSTATE: dict[str, _Outcome] = {
    "40001": _SNAPSHOT_CONFLICT,
    "HYT00": _QUERY_TIMEOUT,
    "HYT01": _CONNECTION_LOST,
    "HY008": _QUERY_TIMEOUT,
    # Idle connection resiliency gave up; further "IM" states speak of the driver, not of the network.
    # https://learn.microsoft.com/sql/connect/odbc/connection-resiliency
    **dict.fromkeys(("IMC01", "IMC02", "IMC03", "IMC04", "IMC05", "IMC06"), _CONNECTION_LOST),
    "07": _PROGRAMMING,
    "08": _CONNECTION_LOST,
    "21": _PROGRAMMING,
    "22": _DATA,
    "23": _CONSTRAINT,
    "24": _PROGRAMMING,
    "25": _PROGRAMMING,
    "28": _LOGIN_REFUSED,
    "3D": _LOGIN_REFUSED,
    "42": _PROGRAMMING,
    "44": _CONSTRAINT,
}

_EXCEPTION_NAMES: dict[ErrorClass, str] = {
    **dict.fromkeys(
        (
            ErrorClass.DEADLOCK,
            ErrorClass.LOCK_TIMEOUT,
            ErrorClass.SNAPSHOT_CONFLICT,
            ErrorClass.THROTTLED,
            ErrorClass.FAILOVER,
            ErrorClass.CONNECTION_LOST,
            ErrorClass.LOGIN,
            ErrorClass.QUERY_TIMEOUT,
        ),
        "OperationalError",
    ),
    # PEP 249: "the transaction is out of sync".
    ErrorClass.DOOMED_TRANSACTION: "InternalError",
    ErrorClass.CONSTRAINT: "IntegrityError",
    ErrorClass.DATA: "DataError",
}

# pyodbc writes "[SQLSTATE] text (native) (SQLFunction)" and on Windows appends further records as
# "; [SQLSTATE] text (native)". The text can hold anything, values of users among them, so the number is read
# from the end of its record and never searched.
_NUMBER = r"\((-?\d{1,10})\)"
_SINGLE_RECORD_END = re.compile(_NUMBER + r" \((SQL\w{1,40})\)\s*\Z")
_FIRST_RECORD_END = re.compile(_NUMBER + r" \((SQL\w{1,40})\)(?=; \[\w{5}\] )")
_FURTHER_RECORD_END = re.compile(_NUMBER + r"(?=; \[\w{5}\] |\s*\Z)")
_TAIL = 80  # longer than any "(native) (SQLFunction)"
_STATE_PREFIX = re.compile(r"\[\w{5}\] ")
_SOURCE_PREFIX = re.compile(
    r"(?:\[(?:Microsoft|unixODBC|FreeTDS|SQL Server|ODBC Driver [^\]]{1,60}|SQL Server [^\]]{1,60})\] ?)+"
)


@dataclass(frozen=True, slots=True)
class _Record:
    number: int | None
    function: str
    message: str
    further: tuple[int, ...] = ()
    certain: bool = True


def _parse(text: str) -> _Record:
    end = _SINGLE_RECORD_END.search(text, max(0, len(text) - _TAIL))
    if end:
        return _Record(int(end[1]), end[2], _message(text[: end.start()]))
    if not _FURTHER_RECORD_END.search(text, max(0, len(text) - _TAIL)):
        return _Record(None, "", _message(text))
    candidates = list(_FIRST_RECORD_END.finditer(text))
    if not candidates:
        return _Record(None, "", _message(text))
    # More than one place looks like the end of the first record only when somebody's data imitates it. Data
    # stand in the first record nearly always (the second says "The statement has been terminated").
    end = candidates[-1]
    further = tuple(int(m[1]) for m in _FURTHER_RECORD_END.finditer(text, end.end()))
    certain = len({m[1] for m in candidates}) == 1
    return _Record(int(end[1]), end[2], _message(text[: end.start()]), further, certain)


def _message(record: str) -> str:
    start = _STATE_PREFIX.match(record)
    position = start.end() if start else 0
    source = _SOURCE_PREFIX.match(record, position)
    return record[source.end() if source else position :].strip()


def _outcome(number: int | None, sqlstate: str) -> _Outcome:
    # Below 08 the driver reports the operating system's numbers (104, 10054 …), which mean other things in
    # sys.messages; the server's own numbers under 08 are those that a failing login or a dying session gives.
    if number in _BY_NUMBER and not (sqlstate.startswith("08") and number < 500):
        return _BY_NUMBER[number]
    if sqlstate.startswith("08"):
        return _CONNECTION_LOST
    if number in transient_errors.ALL:
        return _BUSY
    return (
        _BY_SQLSTATE.get(sqlstate)
        or _BY_SQLSTATE.get(sqlstate[:2])
        or _Outcome(ErrorClass.PERMANENT, TransactionState.UNKNOWN, ConnectionState.UNKNOWN)
    )


def parse(sqlstate: str, text: str) -> SQLServerError:
    """Describe the two arguments of a pyodbc exception. Takes any text, in any language, in linear time."""
    record = _parse(text)
    outcome = _outcome(record.number, sqlstate)
    error_class, transaction, connection, retry = (
        outcome.error_class,
        outcome.transaction_state,
        outcome.connection_state,
        outcome.retry,
    )
    if record.function == "SQLDriverConnect":
        transaction, connection = TransactionState.NONE, ConnectionState.NOT_OPENED
        if error_class is ErrorClass.QUERY_TIMEOUT:  # HYT00 is also "login timeout expired"
            error_class, retry = ErrorClass.CONNECTION_LOST, Retry.CONNECT
        elif retry is not Retry.NEVER:
            retry = Retry.CONNECT
    if not record.certain:
        retry = Retry.NEVER
    return SQLServerError(
        record.number, sqlstate, record.message, error_class, transaction, connection, retry, record.further
    )


def describe(exc: BaseException) -> SQLServerError | None:
    """What SQL Server said, from a pyodbc exception or from one that Django raised in its place."""
    seen: set[int] = set()
    current: BaseException | None = exc
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        attached = getattr(current, "sqlserver", None)
        if isinstance(attached, SQLServerError):
            return attached
        if any(cls.__module__ == "pyodbc" for cls in type(current).__mro__):
            return _from_driver(current)
        current = current.__cause__
    return None


def _from_driver(exc: BaseException) -> SQLServerError:
    # What pyodbc itself finds wrong ("Attempt to use a closed connection.") has the text only.
    match exc.args:
        case (str(sqlstate), str(text), *_):
            return parse(sqlstate, text)
        case (str(text),):
            return parse("", text)
        case _:
            return parse("", str(exc))


def exception_name(error: SQLServerError, default: str) -> str:
    """Name of the DB-API class to raise; `default` is the one that pyodbc chose by SQLSTATE alone."""
    if name := _EXCEPTION_NAMES.get(error.error_class):
        return name
    if error.error_class is ErrorClass.PERMANENT:
        if error.number in _BY_NUMBER or error.connection_state is ConnectionState.NOT_OPENED:
            return "OperationalError"
        # A bare Error is caught by neither `except DatabaseError` nor Django's own handlers.
        return "DatabaseError" if default == "Error" else default
    return "ProgrammingError" if default == "Error" else default
