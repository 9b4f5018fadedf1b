"""mssql.errors: the number is parsed by its place, and each number says what it leaves behind."""

from __future__ import annotations

import time

import pytest
from django.db import utils
from hypothesis import given
from hypothesis import strategies as st

from mssql import errors, transient_errors
from mssql.errors import ConnectionState, ErrorClass, Retry, SQLServerError, TransactionState
from mssql.odbc import pyodbc

SERVER = "[Microsoft][ODBC Driver 18 for SQL Server][SQL Server]"
DRIVER = "[Microsoft][ODBC Driver 18 for SQL Server]"


def driver_error(
    sqlstate: str,
    message: str,
    number: int = 0,
    function: str = "SQLExecDirectW",
    cls: type[Exception] = pyodbc.Error,
) -> Exception:
    source = SERVER if number else DRIVER
    return cls(sqlstate, f"[{sqlstate}] {source}{message} ({number}) ({function})")


def described(*args: object, **kwargs: object) -> SQLServerError:
    error = errors.describe(driver_error(*args, **kwargs))  # type: ignore[arg-type]
    assert error is not None
    return error


@pytest.mark.parametrize(
    ("sqlstate", "number", "function", "expected"),
    [
        ("40001", 1205, "SQLExecDirectW", (ErrorClass.DEADLOCK, "rolled_back", "alive", Retry.TRANSACTION)),
        ("42000", 1222, "SQLExecute", (ErrorClass.LOCK_TIMEOUT, "active", "alive", Retry.STATEMENT)),
        ("HYT00", 1222, "SQLExecute", (ErrorClass.LOCK_TIMEOUT, "active", "alive", Retry.STATEMENT)),
        (
            "42000",
            3960,
            "SQLExecute",
            (ErrorClass.SNAPSHOT_CONFLICT, "rolled_back", "alive", Retry.TRANSACTION),
        ),
        (
            "42000",
            41302,
            "SQLExecute",
            (ErrorClass.SNAPSHOT_CONFLICT, "rolled_back", "alive", Retry.TRANSACTION),
        ),
        ("42000", 40501, "SQLExecute", (ErrorClass.THROTTLED, "rolled_back", "broken", Retry.TRANSACTION)),
        ("42000", 40501, "SQLDriverConnect", (ErrorClass.THROTTLED, "none", "not_opened", Retry.CONNECT)),
        ("42000", 10928, "SQLExecute", (ErrorClass.THROTTLED, "rolled_back", "broken", Retry.TRANSACTION)),
        ("42000", 49918, "SQLExecute", (ErrorClass.THROTTLED, "unknown", "unknown", Retry.TRANSACTION)),
        ("42000", 40549, "SQLExecute", (ErrorClass.PERMANENT, "rolled_back", "broken", Retry.NEVER)),
        ("42000", 8645, "SQLExecute", (ErrorClass.THROTTLED, "active", "alive", Retry.STATEMENT)),
        ("42000", 40197, "SQLExecute", (ErrorClass.FAILOVER, "rolled_back", "broken", Retry.TRANSACTION)),
        ("08004", 40613, "SQLDriverConnect", (ErrorClass.FAILOVER, "none", "not_opened", Retry.CONNECT)),
        ("42000", 4060, "SQLDriverConnect", (ErrorClass.LOGIN, "none", "not_opened", Retry.CONNECT)),
        ("28000", 18456, "SQLDriverConnect", (ErrorClass.LOGIN, "none", "not_opened", Retry.NEVER)),
        ("08001", 0, "SQLDriverConnect", (ErrorClass.CONNECTION_LOST, "none", "not_opened", Retry.CONNECT)),
        ("HYT00", 0, "SQLDriverConnect", (ErrorClass.CONNECTION_LOST, "none", "not_opened", Retry.CONNECT)),
        ("08S01", 104, "SQLExecDirectW", (ErrorClass.CONNECTION_LOST, "unknown", "broken", Retry.CONNECT)),
        ("08S01", 10054, "SQLEndTran", (ErrorClass.CONNECTION_LOST, "unknown", "broken", Retry.CONNECT)),
        ("IMC06", 0, "SQLExecDirectW", (ErrorClass.CONNECTION_LOST, "unknown", "broken", Retry.CONNECT)),
        (
            "HY000",
            596,
            "SQLExecDirectW",
            (ErrorClass.CONNECTION_LOST, "rolled_back", "broken", Retry.CONNECT),
        ),
        ("42000", 3930, "SQLExecDirectW", (ErrorClass.DOOMED_TRANSACTION, "doomed", "alive", Retry.NEVER)),
        ("42000", 3931, "SQLExecDirectW", (ErrorClass.DOOMED_TRANSACTION, "doomed", "alive", Retry.NEVER)),
        ("HYT00", 0, "SQLExecDirectW", (ErrorClass.QUERY_TIMEOUT, "unknown", "alive", Retry.NEVER)),
        ("HY008", 0, "SQLExecDirectW", (ErrorClass.QUERY_TIMEOUT, "unknown", "alive", Retry.NEVER)),
        ("23000", 2627, "SQLExecute", (ErrorClass.CONSTRAINT, "active", "alive", Retry.NEVER)),
        ("23000", 547, "SQLExecute", (ErrorClass.CONSTRAINT, "active", "alive", Retry.NEVER)),
        ("22012", 8134, "SQLExecute", (ErrorClass.DATA, "active", "alive", Retry.NEVER)),
        ("42000", 8114, "SQLExecute", (ErrorClass.DATA, "unknown", "alive", Retry.NEVER)),
        ("42S02", 208, "SQLExecDirectW", (ErrorClass.PROGRAMMING, "active", "alive", Retry.NEVER)),
        ("42000", 3903, "SQLExecDirectW", (ErrorClass.PROGRAMMING, "none", "alive", Retry.NEVER)),
        ("42000", 9002, "SQLExecDirectW", (ErrorClass.PERMANENT, "unknown", "alive", Retry.NEVER)),
        ("42000", 50001, "SQLExecDirectW", (ErrorClass.PROGRAMMING, "active", "alive", Retry.NEVER)),
        ("HY000", 0, "SQLExecDirectW", (ErrorClass.PERMANENT, "unknown", "unknown", Retry.NEVER)),
    ],
)
def test_each_error_says_what_is_left_and_what_may_be_tried(
    sqlstate: str, number: int, function: str, expected: tuple[ErrorClass, str, str, Retry]
) -> None:
    error = described(sqlstate, "text", number, function)
    assert error.number == number
    assert error.sqlstate == sqlstate
    assert (
        error.error_class,
        error.transaction_state.value,
        error.connection_state.value,
        error.retry,
    ) == expected


@pytest.mark.parametrize(
    ("sqlstate", "number", "pyodbc_class", "expected"),
    [
        ("40001", 1205, pyodbc.Error, "OperationalError"),
        ("42000", 1222, pyodbc.ProgrammingError, "OperationalError"),
        ("42000", 3960, pyodbc.ProgrammingError, "OperationalError"),
        ("42000", 40501, pyodbc.ProgrammingError, "OperationalError"),
        ("28000", 18456, pyodbc.InterfaceError, "OperationalError"),
        ("08S01", 104, pyodbc.OperationalError, "OperationalError"),
        ("42000", 9002, pyodbc.ProgrammingError, "OperationalError"),
        ("42000", 3930, pyodbc.ProgrammingError, "InternalError"),
        ("42000", 8114, pyodbc.ProgrammingError, "DataError"),
        ("23000", 2601, pyodbc.IntegrityError, "IntegrityError"),
        ("42000", 550, pyodbc.ProgrammingError, "IntegrityError"),
        ("42S02", 208, pyodbc.ProgrammingError, "ProgrammingError"),
        ("21000", 512, pyodbc.Error, "ProgrammingError"),
        ("HY000", 0, pyodbc.Error, "DatabaseError"),
        ("HYC00", 0, pyodbc.NotSupportedError, "NotSupportedError"),
    ],
)
def test_django_sees_the_exception_that_the_number_deserves(
    sqlstate: str, number: int, pyodbc_class: type[Exception], expected: str
) -> None:
    error = described(sqlstate, "text", number, cls=pyodbc_class)
    assert errors.exception_name(error, pyodbc_class.__name__) == expected
    assert issubclass(getattr(utils, expected), utils.DatabaseError)


def test_a_driver_that_is_not_there_is_an_operational_error() -> None:
    error = errors.describe(
        pyodbc.Error(
            "01000",
            "[01000] [unixODBC][Driver Manager]Can't open lib 'x' : file not found (0) (SQLDriverConnect)",
        )
    )
    assert error is not None
    assert error.connection_state is ConnectionState.NOT_OPENED
    assert error.retry is Retry.NEVER
    assert errors.exception_name(error, "Error") == "OperationalError"


def test_the_message_comes_without_the_drivers_wrapping() -> None:
    error = described("42S02", "Invalid object name 'shop [x] (y)'.", 208)
    assert error.message == "Invalid object name 'shop [x] (y)'."
    assert error.further == ()


def test_further_records_are_kept() -> None:
    text = (
        f"[23000] {SERVER}Violation of UNIQUE KEY constraint. The duplicate key value is (1). (2627) (SQLExecute)"
        f"; [23000] {SERVER}The statement has been terminated. (3621)"
    )
    error = errors.parse("23000", text)
    assert (error.number, error.further) == (2627, (3621,))
    assert error.message == "Violation of UNIQUE KEY constraint. The duplicate key value is (1)."


@pytest.mark.parametrize(
    ("message", "number"),
    [
        # German, Japanese, Russian and French servers say the same numbers.
        ("Die Transaktion (Prozess-ID 58) befand sich … in einer Deadlocksituation.", 1205),
        ("トランザクション (プロセス ID 58) が、ロック個のリソースで他のプロセスとデッドロックして…", 1205),
        ("Транзакция (идентификатор процесса 58) вызвала взаимоблокировку ресурсов", 1205),
        ("Le délai d'attente de la demande de verrouillage est dépassé.", 1222),
    ],
)
def test_localised_messages_do_not_matter(message: str, number: int) -> None:
    assert described("42000", message, number).number == number


HOSTILE = [
    "The duplicate key value is (x) (1205) (SQLExecDirectW).",
    "The duplicate key value is (1205) (SQLExecDirectW)",
    "(1205) (SQLExecDirectW); [40001] deadlock (1205)",
    "\n(1205) (SQLExecute)\n",
    "[40001] x (1205) (SQLExecute); [40001] y (3621)",
]


@pytest.mark.parametrize("data", HOSTILE)
def test_data_in_a_message_cannot_forge_the_number(data: str) -> None:
    error = described("23000", data, 2627)
    assert (error.number, error.error_class, error.retry) == (2627, ErrorClass.CONSTRAINT, Retry.NEVER)


@pytest.mark.parametrize("data", HOSTILE)
def test_data_before_further_records_cannot_forge_the_number(data: str) -> None:
    text = f"[23000] {SERVER}{data} (2627) (SQLExecute); [23000] {SERVER}The statement was terminated. (3621)"
    error = errors.parse("23000", text)
    assert (error.number, error.retry) == (2627, Retry.NEVER)


@pytest.mark.parametrize("data", HOSTILE)
def test_data_in_a_further_record_is_never_a_reason_to_retry(data: str) -> None:
    text = f"[23000] {SERVER}First. (2627) (SQLExecute); [23000] {SERVER}{data} (50000)"
    assert errors.parse("23000", text).retry is Retry.NEVER


@given(message=st.text(), number=st.integers(-(2**31), 2**31 - 1))
def test_any_message_gives_the_number_at_its_end(message: str, number: int) -> None:
    error = errors.parse("42000", f"[42000] {SERVER}{message} ({number}) (SQLExecDirectW)")
    assert error.number == number


record_text = st.lists(
    st.sampled_from(["(1205)", " (SQLExecute)", "; [40001] ", "(", ")", "[", "]", " ", "a", "9", "\n"])
).map("".join)


@given(message=record_text, number=st.sampled_from([2627, 1205, 208]))
def test_messages_made_of_the_formats_own_pieces_give_the_number_at_their_end(
    message: str, number: int
) -> None:
    assert errors.parse("23000", f"[23000] {message} ({number}) (SQLExecute)").number == number


@given(sqlstate=st.text(max_size=6), text=st.one_of(st.text(), record_text))
def test_any_text_is_described(sqlstate: str, text: str) -> None:
    error = errors.parse(sqlstate, text)
    assert isinstance(error.error_class, ErrorClass)
    assert errors.exception_name(error, "Error") != "Error"


@pytest.mark.parametrize(
    "piece", ["(1205) (SQLExecute); [40001] ", "((((((", "(1", "[Microsoft]", "(9999999999"]
)
def test_a_long_message_costs_linear_time(piece: str) -> None:
    text = "[40001] " + piece * (2_000_000 // len(piece))
    started = time.process_time()
    errors.parse("40001", text)
    assert time.process_time() - started < 20


def test_what_pyodbc_finds_wrong_itself_has_no_number() -> None:
    error = errors.describe(pyodbc.ProgrammingError("Attempt to use a closed connection."))
    assert error is not None
    assert error.number is None
    assert error.message == "Attempt to use a closed connection."
    assert error.retry is Retry.NEVER


@pytest.mark.parametrize("args", [(), (1,), (None, None), (b"x", 3)])
def test_odd_arguments_are_described_too(args: tuple[object, ...]) -> None:
    assert errors.describe(pyodbc.Error(*args)) is not None


def test_djangos_exception_is_described_by_its_cause() -> None:
    try:
        try:
            raise driver_error("40001", "deadlock", 1205)
        except pyodbc.Error as cause:
            raise utils.OperationalError("deadlock") from cause
    except utils.OperationalError as caught:
        error = errors.describe(caught)
    assert error is not None
    assert error.number == 1205


def test_an_attached_description_wins() -> None:
    exc = utils.OperationalError("x")
    exc.sqlserver = described("40001", "deadlock", 1205)  # type: ignore[attr-defined]
    assert errors.describe(exc) is exc.sqlserver  # type: ignore[attr-defined]


def test_other_exceptions_are_none_of_sql_servers() -> None:
    assert errors.describe(ValueError("(1205) (SQLExecute)")) is None
    loop = ValueError("a")
    loop.__cause__ = ValueError("b")
    loop.__cause__.__cause__ = loop
    assert errors.describe(loop) is None


# Network numbers of Windows, which stand behind an SQLSTATE of class 08.
NETWORK_NUMBERS = {20, 64, 121, 233, 997, 10053, 10054, 10060, 11001}


@pytest.mark.parametrize("number", sorted(transient_errors.ALL - NETWORK_NUMBERS))
def test_what_microsofts_libraries_retry_is_transient_here(number: int) -> None:
    assert described("42000", "text", number).transient


@pytest.mark.parametrize("number", sorted(NETWORK_NUMBERS))
def test_network_numbers_are_lost_connections(number: int) -> None:
    error = described("08S01", "text", number)
    assert error.error_class is ErrorClass.CONNECTION_LOST
    assert error.connection_state is ConnectionState.BROKEN


def test_a_number_of_the_operating_system_is_not_read_as_the_servers() -> None:
    # 110 is ETIMEDOUT under 08S01 and "fewer columns than values" from the server.
    assert described("08S01", "TCP Provider: Error code 0x6E", 110).error_class is ErrorClass.CONNECTION_LOST
    assert described("21S01", "more columns", 110).error_class is ErrorClass.PROGRAMMING


def test_a_client_timeout_is_not_retried_since_it_may_have_worked() -> None:
    error = described("HYT00", "Query timeout expired")
    assert error.retry is Retry.NEVER
    assert error.transaction_state is TransactionState.UNKNOWN


def test_microsofts_lists_have_the_published_sizes() -> None:
    sizes = [
        len(numbers)
        for numbers in (
            transient_errors.EF_CORE,
            transient_errors.SQL_CLIENT,
            transient_errors.JDBC,
            transient_errors.AZURE_SQL,
        )
    ]
    assert sizes == [175, 20, 16, 10]
