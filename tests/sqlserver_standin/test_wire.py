"""The wire, seen by Microsoft's ODBC driver and by a client that sends its packets by hand."""

from __future__ import annotations

import datetime
import json
import os
import socket
import struct
import time
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from mssql.odbc import pyodbc
from sqlserver_standin.errors import sql_error
from sqlserver_standin.events import (
    Column,
    Done,
    EnvironmentChange,
    Message,
    ResultSet,
    SqlError,
)
from sqlserver_standin.faults import FaultKind, LoginFault, StatementFault
from sqlserver_standin.journal import Journal
from sqlserver_standin.server import ListenError, Server, listen
from sqlserver_standin.types import MAX, SqlType
from tests.sqlserver_standin.wire_support import (
    HEADERS,
    PRELOGIN,
    RawClient,
    batch,
    echo_server,
    login7,
    nvarchar,
    odbc_connect,
    parse_answer,
    smp,
)

DONE, DONE_PROCEDURE, DONE_IN_PROCEDURE = 0xFD, 0xFE, 0xFF
MORE, ERROR, COUNT, ATTENTION = 0x01, 0x02, 0x10, 0x20


@pytest.fixture(scope="module")
def echo() -> Iterator[Server]:
    with echo_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _quiet(echo: Server) -> Iterator[None]:
    echo.journal.messages(reset=True)
    echo.instance.executed.clear()
    yield
    echo.instance.scripts.clear()
    echo.faults.clear()


@pytest.fixture
def connection(echo: Server) -> Iterator[Any]:
    connection = odbc_connect(echo)
    yield connection
    connection.close()


class TestLogin:
    @pytest.mark.parametrize("encrypt", ["no", "yes"])
    def test_the_odbc_driver_connects_encrypted_or_not(self, echo: Server, encrypt: str) -> None:
        connection = odbc_connect(echo, encrypt=encrypt)
        assert fetch(connection.execute("echo ?", 7)) == [(7,)]
        assert connection.getinfo(pyodbc.SQL_DBMS_NAME) == "Microsoft SQL Server"
        connection.close()

    def test_large_results_and_values_pass_under_tls(self, echo: Server) -> None:
        connection = odbc_connect(echo, encrypt="yes", PacketSize=8192)
        text = "é" * 1_000_000
        assert connection.execute("echo ?", text).fetchone()[0] == text
        assert len(connection.execute("rows 20000").fetchall()) == 20_000
        connection.close()

    def test_the_session_learns_who_the_client_is(self, echo: Server) -> None:
        connection = odbc_connect(echo, APP="my app", WSID="my host")
        login = echo.instance.opened[-1].login
        assert login["application_name"] == "my app"
        assert login["host_name"] == "my host"
        assert login["client_pid"] > 0
        connection.close()

    def test_a_wrong_password_is_18456(self, echo: Server) -> None:
        with pytest.raises(pyodbc.InterfaceError, match=r"Login failed for user 'sa'\. \(18456\)"):
            odbc_connect(echo, PWD="wrong")

    def test_an_unknown_database_is_4060_then_18456(self, echo: Server) -> None:
        with RawClient(echo.port) as client:
            answer = parse_answer(client.log_in(database="nowhere"))
            assert [number for number, _ in answer.errors] == [4060, 18456]
            assert answer.done == [(DONE, ERROR, 0)]
            assert client.closed()

    def test_a_login_is_answered_as_sql_server_does(self, echo: Server) -> None:
        with RawClient(echo.port) as client:
            answer = parse_answer(client.log_in(packet_size=8000))
        assert [number for number, _ in answer.messages] == [5701, 5703]
        assert answer.changes[1].startswith(b"\x06" + "master".encode("utf-16-le"))
        assert answer.changes[4].startswith(b"\x04" + "8000".encode("utf-16-le"))
        assert answer.changes[7].startswith(bytes.fromhex("050904d00034"))
        assert answer.done == [(DONE, 0, 0)]
        assert answer.features == b""

    @pytest.mark.parametrize(
        ("asked", "agreed"), [(0, "4096"), (100, "512"), (32768, "32767"), (12345, "12345")]
    )
    def test_packet_sizes_are_negotiated_within_their_limits(
        self, echo: Server, asked: int, agreed: str
    ) -> None:
        with RawClient(echo.port) as client:
            answer = parse_answer(client.log_in(packet_size=asked))
        assert answer.changes[4].startswith(bytes([len(agreed)]) + agreed.encode("utf-16-le"))

    def test_features_are_acknowledged_when_they_are_known(self, echo: Server) -> None:
        # SESSIONRECOVERY, which the stand-in does not have, and UTF8_SUPPORT.
        features = b"\x01" + struct.pack("<I", 0) + b"\x0a" + struct.pack("<I", 0) + b"\xff"
        with RawClient(echo.port) as client:
            answer = parse_answer(client.log_in(features=features))
        assert answer.features == b"\x0a" + struct.pack("<I", 1) + b"\x01"

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ({"version": 0x71000001}, "TDS version"),
            ({"flags2": 0x80}, "Windows authentication"),
            ({"flags3": 0x01}, "changing the password"),
            ({"features": b"\x02" + struct.pack("<I", 1) + b"\x02" + b"\xff"}, "Microsoft Entra"),
        ],
        ids=["old", "windows", "password", "entra"],
    )
    def test_what_it_does_not_know_is_refused_by_name(
        self, echo: Server, options: dict[str, Any], named: str
    ) -> None:
        with RawClient(echo.port) as client:
            answer = parse_answer(client.log_in(**options))
            assert answer.errors[0][0] == 40000
            assert named in answer.errors[0][1]
            assert client.closed()

    def test_a_client_that_does_not_wait_for_its_login_leaves_no_session(self, echo: Server) -> None:
        opened = len(echo.instance.opened)
        echo.faults.arm(LoginFault(seconds=0.5))
        with RawClient(echo.port) as client:
            client.send(18, PRELOGIN)
            client.receive()
            client.send(16, login7())
            _until(lambda: not echo.faults.pending())
            # Not only closed but reset: the server can't send its answer.
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        _until(lambda: len(echo.instance.opened) > opened)
        assert echo.instance.opened[-1].closed.wait(60)

    def test_a_taken_port_is_named(self, echo: Server) -> None:
        with pytest.raises(ListenError, match=str(echo.port)):
            listen("127.0.0.1", echo.port)


class TestStatements:
    def test_statements_are_prepared_executed_and_unprepared(self, echo: Server, connection: Any) -> None:
        echo.journal.messages(reset=True)
        cursor = connection.cursor()
        for number in range(3):
            assert fetch(cursor.execute("echo ?", number)) == [(number,)]
        cursor.close()
        messages = echo.journal.messages(reset=True)["messages"]
        # Each sp_prepexec brings the handle that it replaces, so only the last one needs a message of its own.
        kinds = [message["kind"] for message in messages]
        assert kinds == ["rpc:sp_prepexec", "rpc:sp_prepexec", "rpc:sp_prepexec", "rpc:sp_unprepare"]
        assert {message["sql"] for message in messages} == {"echo @P1"}

    @pytest.mark.parametrize(
        "value",
        [
            1,
            2**40,
            True,
            1.5,
            Decimal("-12.34"),
            "größe",
            "x" * 5000,
            b"\x00\xff",
            b"x" * 9000,
            datetime.date(2024, 2, 29),
            datetime.time(1, 2, 3),
            datetime.datetime(2024, 1, 2, 3, 4, 5, 678000),
            uuid.UUID(int=99),
        ],
        ids=lambda value: f"{type(value).__name__} {str(value)[:10]}",
    )
    @pytest.mark.parametrize("encrypt", ["no", "yes"])
    def test_parameters_come_back(self, echo: Server, encrypt: str, value: Any) -> None:
        connection = odbc_connect(echo, encrypt=encrypt)
        answer = connection.execute("echo ?", value).fetchone()[0]
        assert (uuid.UUID(answer) if isinstance(value, uuid.UUID) else answer) == value
        connection.close()

    def test_2100_parameters_travel_in_many_packets(self, echo: Server, connection: Any) -> None:
        # sp_prepexec needs three of them: its handle, the declarations, the statement.
        values = list(range(2097))
        row = connection.execute(f"echo {','.join('?' * 2097)}", values).fetchone()
        assert list(row) == values

    def test_more_parameters_are_8003_and_the_connection_lives_on(
        self, echo: Server, connection: Any
    ) -> None:
        with pytest.raises(pyodbc.ProgrammingError, match=r"supports a maximum of 2100 parameters.*\(8003\)"):
            connection.execute(f"echo {','.join('?' * 2098)}", list(range(2098)))
        assert tuple(connection.execute("echo ?", 1).fetchone()) == (1,)

    def test_parameters_carry_their_declared_types(self, echo: Server, connection: Any) -> None:
        cursor = connection.cursor()
        cursor.setinputsizes([(pyodbc.SQL_WVARCHAR, 400, 0), None, None])
        cursor.execute("echo ?,?,?", "abc", "x" * 5000, Decimal("1.50"))
        _, parameters = echo.instance.executed[-1]
        assert [parameter.name for parameter in parameters] == ["@P1", "@P2", "@P3"]
        assert [parameter.type for parameter in parameters] == [
            SqlType("nvarchar", length=400),
            SqlType("ntext"),  # what the driver declares for SQL_WLONGVARCHAR
            SqlType("numeric", precision=3, scale=2),
        ]

    def test_a_message_may_carry_many_calls(self, echo: Server) -> None:
        def call(number: int) -> bytes:
            value = b"\x00\x00" + bytes([0x26, 4, 4]) + struct.pack("<i", number)
            return struct.pack("<HHH", 0xFFFF, 10, 0) + nvarchar("nothing") + nvarchar("@P1 int") + value

        with RawClient(echo.port) as client:
            client.log_in()
            echo.journal.messages(reset=True)
            client.send(3, HEADERS + b"\xff".join(map(call, range(3))))
            answer = parse_answer(client.receive())
        assert [parameters[0].value for _, parameters in echo.instance.executed] == [0, 1, 2]
        statuses = [status for token, status, _ in answer.done if token == DONE_PROCEDURE]
        assert statuses == [MORE, MORE, 0]
        assert [message["calls"] for message in echo.journal.messages(reset=True)["messages"]] == [3]

    def test_a_procedure_gets_parameters_and_gives_messages_outputs_and_status(self, echo: Server) -> None:
        def parameter(name: str, flags: int, value: int) -> bytes:
            raw = name.encode("utf-16-le")
            return bytes([len(name)]) + raw + bytes([flags, 0x26, 4, 4]) + struct.pack("<i", value)

        call = HEADERS + struct.pack("<H", 3) + "add".encode("utf-16-le") + struct.pack("<H", 0)
        call += parameter("@a", 0, 3) + parameter("@b", 0, 4) + parameter("@sum", 1, 0)
        with RawClient(echo.port) as client:
            client.log_in()
            client.send(3, call)
            data = client.receive()
        assert data[0] == 0xAB
        status = data.index(b"\x79" + struct.pack("<i", 7))
        output = data[status + 5 :]
        assert output[0] == 0xAC
        assert struct.unpack_from("<HB", output, 1) == (2, 4)
        assert output[4:12] == "@sum".encode("utf-16-le")
        assert output[-13 - 5 : -13] == b"\x04" + struct.pack("<i", 7)
        assert struct.unpack("<BHHQ", output[-13:])[:2] == (DONE_PROCEDURE, 0)

    def test_output_parameters_come_back_large_ones_last(self, echo: Server) -> None:
        def output(declared: bytes) -> bytes:
            return b"\x00\x01" + declared

        call = HEADERS + struct.pack("<HHH", 0xFFFF, 10, 0) + nvarchar("output")
        call += nvarchar("@big nvarchar(max) OUTPUT, @small int OUTPUT, @in int")
        call += output(b"\xe7\xff\xff" + bytes(5) + struct.pack("<QI", 2, 2) + b"x\x00" + bytes(4))
        call += output(bytes([0x26, 4, 4]) + struct.pack("<i", 9)) + b"\x00\x00" + bytes([0x26, 4, 0])
        with RawClient(echo.port) as client:
            client.log_in()
            client.send(3, call)
            data = client.receive()
        small = data.index(b"\xac" + struct.pack("<HB", 3, 0))
        large = data.index(b"\xac" + struct.pack("<HB", 2, 0))
        assert small < large
        assert data[small:large].endswith(b"\x04" + struct.pack("<i", 9))
        assert data[large:-13].endswith(struct.pack("<QI", 2, 2) + b"x\x00" + bytes(4))

    def test_odbc_calls_of_procedures_reach_the_session(self, echo: Server, connection: Any) -> None:
        with pytest.raises(
            pyodbc.ProgrammingError, match=r"Could not find stored procedure 'nothing'\. \(2812\)"
        ):
            connection.execute("{CALL nothing(?)}", 1)

    def test_server_cursors_are_refused_by_name(self, echo: Server) -> None:
        with RawClient(echo.port) as client:
            client.log_in()
            client.send(3, HEADERS + struct.pack("<HHH", 0xFFFF, 2, 0))
            answer = parse_answer(client.receive())
        assert answer.errors == [(40000, "not supported by the stand-in: server cursors (sp_cursoropen)")]
        assert answer.done == [(DONE_PROCEDURE, ERROR, 0)]

    def test_an_unknown_handle_is_8179(self, echo: Server) -> None:
        with RawClient(echo.port) as client:
            client.log_in()
            handle = b"\x00\x00" + bytes([0x26, 4, 4]) + struct.pack("<i", 5)
            client.send(3, HEADERS + struct.pack("<HHH", 0xFFFF, 12, 0) + handle)
            answer = parse_answer(client.receive())
        assert answer.errors == [(8179, "Could not find prepared statement with handle 5.")]


class TestResults:
    def test_several_result_sets_and_counts(self, echo: Server, connection: Any) -> None:
        integer = (Column("n", SqlType("int")),)
        echo.instance.scripts["many"] = [
            ResultSet(integer, [(1,), (2,)]),
            Done(2, "select"),
            Done(5, "update"),
            Done(None, "set"),
            ResultSet(integer, []),
            Done(0, "select"),
        ]
        cursor = connection.execute("many")
        assert fetch(cursor) == [(1,), (2,)]
        assert cursor.nextset()
        assert cursor.rowcount == 5
        assert cursor.nextset()
        assert fetch(cursor) == []
        assert not cursor.nextset()

    def test_no_count_is_no_count(self, echo: Server) -> None:
        echo.instance.scripts["counted"] = [Done(3, "insert"), Done(None, "insert"), Done(0, "update")]
        with RawClient(echo.port) as client:
            client.log_in()
            client.send(1, batch("counted"))
            answer = parse_answer(client.receive())
        assert answer.done == [(DONE, COUNT | MORE, 3), (DONE, MORE, 0), (DONE, COUNT, 0)]

    def test_a_batch_without_any_event_is_still_answered(self, echo: Server) -> None:
        echo.instance.scripts["nothing"] = []
        with RawClient(echo.port) as client:
            client.log_in()
            client.send(1, batch("nothing"))
            assert parse_answer(client.receive()).done == [(DONE, 0, 0)]

    def test_columns_tell_their_type_and_nullability(self, echo: Server, connection: Any) -> None:
        echo.instance.scripts["typed"] = [
            ResultSet(
                (
                    Column("id", SqlType("bigint"), nullable=False, identity=True),
                    Column("price", SqlType("decimal", precision=9, scale=2)),
                    Column("name", SqlType("nvarchar", length=30)),
                    Column("body", SqlType("nvarchar", length=MAX)),
                    Column("", SqlType("datetime2", scale=7)),
                ),
                [],
            ),
            Done(0, "select"),
        ]
        description = connection.execute("typed").description
        assert [(item[0], item[1], item[3], item[6]) for item in description] == [
            ("id", int, 19, False),
            ("price", Decimal, 9, True),
            ("name", str, 30, True),
            ("body", str, 0, True),
            ("", datetime.datetime, 27, True),
        ]

    def test_each_output_type_reaches_the_driver(self, echo: Server, connection: Any) -> None:
        when = datetime.datetime(2024, 5, 6, 7, 8, 9, 123000)
        values: list[tuple[SqlType, Any, Any]] = [
            (SqlType("tinyint"), 200, 200),
            (SqlType("smallint"), -5, -5),
            (SqlType("money"), Decimal("-1.5"), Decimal("-1.5000")),
            (SqlType("smallmoney"), Decimal("2.25"), Decimal("2.2500")),
            (SqlType("real"), 0.25, 0.25),
            (SqlType("smalldatetime"), when, when.replace(second=0, microsecond=0)),
            (SqlType("datetime"), when, when),
            (SqlType("datetime2", scale=3), when, when),
            (SqlType("varchar", length=10), "é€", "é€"),
            (SqlType("char", length=4), "ab  ", "ab  "),
            (SqlType("nchar", length=2), "ü ", "ü "),
            (SqlType("text"), "long", "long"),
            (SqlType("ntext"), "löng", "löng"),
            (SqlType("image"), b"raw", b"raw"),
            (SqlType("binary", length=2), b"ab", b"ab"),
            (SqlType("timestamp"), b"12345678", b"12345678"),
            (SqlType("xml"), "<a>ü</a>", "<a>ü</a>"),
            (SqlType("sysname"), "dbo", "dbo"),
            (SqlType("time", scale=7), datetime.time(1, 2, 3), datetime.time(1, 2, 3)),
            (SqlType("uniqueidentifier"), uuid.UUID(int=7), str(uuid.UUID(int=7)).upper()),
        ]
        columns = tuple(Column(f"c{index}", item[0]) for index, item in enumerate(values))
        rows = [tuple(item[1] for item in values), tuple(None for _ in values)]
        echo.instance.scripts["all types"] = [ResultSet(columns, rows), Done(2, "select")]
        answer = connection.execute("all types").fetchall()
        assert list(answer[0]) == [item[2] for item in values]
        assert list(answer[1]) == [None] * len(values)

    def test_variants_and_offsets_reach_the_driver(self, echo: Server, connection: Any) -> None:
        zone = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
        when = datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=zone)
        columns = (Column("o", SqlType("datetimeoffset", scale=7)), Column("v", SqlType("sql_variant")))
        # pyodbc knows no variants of integers: -16 "is not yet supported".
        rows = [(when, "text"), (None, "")]
        echo.instance.scripts["offset"] = [ResultSet(columns, rows), Done(2, "select")]
        connection.add_output_converter(-155, lambda raw: struct.unpack("<6hI2h", raw))
        answer = fetch(connection.execute("offset"))
        assert answer == [((2024, 5, 6, 7, 8, 9, 0, 5, 30), "text"), (None, "")]

    def test_a_result_of_many_packets_keeps_each_row(self, echo: Server, connection: Any) -> None:
        rows = connection.execute("rows 30000").fetchall()
        assert [row.id for row in rows] == list(range(30_000))
        assert rows[-1].name == "name 29999"


class TestErrors:
    def test_an_error_has_number_state_severity_line_and_procedure(self, echo: Server) -> None:
        echo.instance.scripts["bad"] = [
            SqlError(50123, "no good", severity=16, state=9, line=42, procedure="p")
        ]
        with RawClient(echo.port) as client:
            client.log_in()
            client.send(1, batch("bad"))
            data = client.receive()
        body = data[3 : 3 + struct.unpack_from("<H", data, 1)[0]]
        assert struct.unpack_from("<iBBH", body) == (50123, 9, 16, 7)
        tail = (
            b"\x07"
            + "STANDIN".encode("utf-16-le")
            + b"\x01"
            + "p".encode("utf-16-le")
            + struct.pack("<i", 42)
        )
        assert body[8:] == "no good".encode("utf-16-le") + tail
        assert parse_answer(data).done == [(DONE, ERROR, 0)]

    def test_an_error_in_the_middle_of_rows_comes_after_them(self, echo: Server, connection: Any) -> None:
        def rows() -> Iterator[tuple[int]]:
            yield (1,)
            yield (0,)
            raise sql_error(8134)

        echo.instance.scripts["divide"] = [ResultSet((Column("n", SqlType("int")),), rows())]
        cursor = connection.execute("divide")
        assert [tuple(row) for row in cursor.fetchmany(2)] == [(1,), (0,)]
        with pytest.raises(pyodbc.DataError, match="8134"):
            cursor.fetchone()
        assert tuple(connection.execute("echo ?", 1).fetchone()) == (1,)

    def test_the_batch_goes_on_after_an_error_that_only_ends_its_statement(self, echo: Server) -> None:
        echo.instance.scripts["go on"] = [Done(1, "insert"), sql_error(8134), Done(2, "insert")]
        with RawClient(echo.port) as client:
            client.log_in()
            client.send(1, batch("go on"))
            answer = parse_answer(client.receive())
        assert answer.errors == [(8134, "Divide by zero error encountered.")]
        assert answer.done == [(DONE, COUNT | MORE, 1), (DONE, ERROR | MORE, 0), (DONE, COUNT, 2)]

    def test_a_terminated_statement_is_one_result(self, echo: Server, connection: Any) -> None:
        terminated = Message(3621, "The statement has been terminated.")
        echo.instance.scripts["doomed"] = [sql_error(8134), terminated]
        echo.instance.scripts["go on"] = [sql_error(8134), terminated, Done(2, "insert")]
        with RawClient(echo.port) as client:
            client.log_in()
            client.send(1, batch("go on"))
            assert parse_answer(client.receive()).done == [(DONE, ERROR | MORE, 0), (DONE, COUNT, 2)]
        failed = connection.cursor()
        with pytest.raises(pyodbc.DataError, match="8134"):
            failed.execute("doomed")
        # With something left to fetch, the driver would say that the connection is busy.
        assert tuple(connection.execute("echo ?", 1).fetchone()) == (1,)

    @pytest.mark.parametrize(("number", "follow_ups"), [(208, [8180]), (102, [8180]), (2627, []), (8134, [])])
    def test_what_does_not_compile_is_followed_by_8180(
        self, echo: Server, number: int, follow_ups: list[int]
    ) -> None:
        handle = b"\x00\x01" + bytes([0x26, 4, 0])
        with RawClient(echo.port) as client:
            client.log_in()
            call = handle + nvarchar("") + nvarchar(f"raise {number}")
            client.send(3, HEADERS + struct.pack("<HHH", 0xFFFF, 13, 0) + call)
            data = client.receive()
        assert [number for number, _ in parse_answer(data[: data.rindex(b"\xac")]).errors] == [
            number,
            *follow_ups,
        ]
        # The handle is NULL when there is nothing to execute.
        assert (data[-14 - 4 : -13] == b"\x04" + struct.pack("<i", 1)) is not bool(follow_ups)

    def test_messages_reach_the_client(self, echo: Server, connection: Any) -> None:
        echo.instance.scripts["print"] = [Message(0, "hello"), Done(None)]
        cursor = connection.execute("print")
        assert cursor.messages == [
            ("[01000] (0)", "[Microsoft][ODBC Driver 18 for SQL Server][SQL Server]hello"),
        ]

    def test_a_fault_of_the_stand_in_is_an_error_of_that_statement_only(self, connection: Any) -> None:
        with pytest.raises(pyodbc.ProgrammingError, match="the stand-in failed: RuntimeError: oops"):
            connection.execute("crash oops")
        assert tuple(connection.execute("echo ?", 1).fetchone()) == (1,)

    def test_an_impossible_value_is_8023_and_the_connection_lives_on(self, echo: Server) -> None:
        late = b"\x00\x00\x28\x03\xff\xff\xff"
        with RawClient(echo.port) as client:
            client.log_in()
            client.send(
                3, HEADERS + struct.pack("<HHH", 0xFFFF, 10, 0) + nvarchar("x") + nvarchar("@a date") + late
            )
            answer = parse_answer(client.receive())
            assert answer.errors[0][0] == 8023
            assert 'Parameter 3 ("")' in answer.errors[0][1]
            client.send(1, batch("anything"))
            assert parse_answer(client.receive()).done == [(DONE, 0, 0)]

    def test_a_missing_parameter_is_8178(self, echo: Server) -> None:
        with RawClient(echo.port) as client:
            client.log_in()
            client.send(
                3, HEADERS + struct.pack("<HHH", 0xFFFF, 10, 0) + nvarchar("echo @a") + nvarchar("@a int")
            )
            answer = parse_answer(client.receive())
        assert answer.errors[0][0] == 8178


class TestSession:
    def test_a_transaction_is_a_transaction_manager_request(self, echo: Server, connection: Any) -> None:
        echo.journal.messages(reset=True)
        connection.autocommit = False
        connection.execute("echo ?", 1).fetchall()
        connection.commit()
        kinds = [message["kind"] for message in echo.journal.messages(reset=True)["messages"]]
        assert [kind for kind in kinds if kind.startswith("transaction")] == [
            "transaction:begin",
            "transaction:commit",
        ]

    def test_environment_changes_reach_the_client(self, echo: Server, connection: Any) -> None:
        echo.instance.scripts["use shop"] = [
            EnvironmentChange("database", "shop", "master"),
            Message(5701, "Changed database context to 'shop'."),
            Done(None),
        ]
        connection.execute("use shop")
        assert connection.getinfo(pyodbc.SQL_DATABASE_NAME) == "shop"

    def test_a_timeout_cancels_the_statement(self, echo: Server, connection: Any) -> None:
        connection.timeout = 1
        with pytest.raises(pyodbc.OperationalError, match="HYT00"):
            connection.execute("sleep 90")
        connection.timeout = 0
        assert tuple(connection.execute("echo ?", 1).fetchone()) == (1,)

    def test_an_attention_ends_the_statement(self, echo: Server) -> None:
        with RawClient(echo.port) as client:
            client.log_in()
            client.send(1, batch("sleep 90"))
            _until(lambda: echo.instance.executed)
            client.send(6, b"")
            assert parse_answer(client.receive()).done == [(DONE, ERROR, 0)]
            assert parse_answer(client.receive()).done == [(DONE, ATTENTION, 0)]

    def test_an_attention_that_comes_with_its_request_ends_it(self, echo: Server) -> None:
        request = batch("sleep 90")
        packets = struct.pack(">BBHHBB", 1, 1, len(request) + 8, 0, 1, 0) + request
        with RawClient(echo.port) as client:
            client.log_in()
            client.socket.sendall(packets + struct.pack(">BBHHBB", 6, 1, 8, 0, 1, 0))
            assert parse_answer(client.receive()).done == [(DONE, ERROR, 0)]
            assert parse_answer(client.receive()).done == [(DONE, ATTENTION, 0)]

    def test_a_cancel_while_rows_stream_ends_them(self, echo: Server, connection: Any) -> None:
        cursor = connection.execute("rows 100000000")
        assert cursor.fetchone() is not None
        cursor.cancel()
        assert tuple(connection.execute("echo ?", 1).fetchone()) == (1,)

    def test_an_attention_after_the_answer_is_acknowledged(self, echo: Server) -> None:
        with RawClient(echo.port) as client:
            client.log_in()
            client.send(6, b"")
            assert parse_answer(client.receive()).done == [(DONE, ATTENTION, 0)]
            client.send(1, batch("anything"))
            assert parse_answer(client.receive()).done == [(DONE, 0, 0)]

    def test_a_client_that_leaves_cancels_its_statement(self, echo: Server) -> None:
        with RawClient(echo.port) as client:
            client.log_in()
            session = echo.instance.opened[-1]
            client.send(1, batch("sleep 90"))
            _until(lambda: echo.instance.executed)
        assert session.cancelled.wait(60)
        _until(lambda: session.spid not in echo.instance.sessions)

    def test_an_ignored_message_is_not_executed(self, echo: Server) -> None:
        with RawClient(echo.port) as client:
            client.log_in()
            client.send(1, batch("first half"), status=0)
            client.send(1, b"", status=3)
            assert parse_answer(client.receive()).done == [(DONE, ERROR, 0)]
        assert not echo.instance.executed

    @pytest.mark.parametrize("flag", [0x08, 0x10])
    def test_reset_connection_resets_the_session_first(self, echo: Server, flag: int) -> None:
        with RawClient(echo.port) as client:
            client.log_in()
            session = echo.instance.opened[-1]
            client.send(1, batch("anything"), status=1 | flag)
            answer = parse_answer(client.receive())
        assert 18 in answer.changes
        assert answer.tokens[0] == 0xE3
        assert session.resets == 1

    def test_requests_of_many_packets_are_put_together(self, echo: Server) -> None:
        message = batch("echo " + "x" * 10_000)
        with RawClient(echo.port) as client:
            client.log_in(packet_size=512)
            for start in range(0, len(message), 504):
                last = start + 504 >= len(message)
                client.send(1, message[start : start + 504], status=int(last))
            client.receive()
        assert echo.instance.executed[-1][0] == "echo " + "x" * 10_000


class TestMars:
    @pytest.fixture(params=["no", "yes"])
    def mars(self, request: pytest.FixtureRequest, echo: Server) -> Iterator[Any]:
        connection = odbc_connect(echo, encrypt=request.param, MARS_Connection="yes")
        yield connection
        connection.close()

    def test_several_results_are_read_at_once(self, mars: Any) -> None:
        first, second = mars.cursor(), mars.cursor()
        first.execute("rows 20000")
        assert first.fetchone().id == 0
        second.execute("rows 5000")
        for number in range(1, 5000):
            assert first.fetchone().id == number
            assert second.fetchone().id == number - 1
        assert len(first.fetchall()) == 15_000
        assert len(second.fetchall()) == 1

    def test_without_mars_the_driver_refuses_that(self, connection: Any) -> None:
        first, second = connection.cursor(), connection.cursor()
        first.execute("rows 20000")
        with pytest.raises(pyodbc.Error, match="Connection is busy"):
            second.execute("rows 3")

    def test_large_parameters_pass_the_window(self, mars: Any) -> None:
        text = "é" * 500_000
        assert mars.execute("echo ?", text).fetchone()[0] == text

    def test_a_timeout_cancels_its_own_statement(self, mars: Any) -> None:
        first = mars.execute("rows 20000")
        first.fetchone()
        mars.timeout = 1
        with pytest.raises(pyodbc.OperationalError, match="HYT00"):
            mars.cursor().execute("sleep 90")
        assert len(first.fetchall()) == 19_999

    def test_prepared_statements_belong_to_the_connection(self, echo: Server, mars: Any) -> None:
        cursors = [mars.cursor() for _ in range(10)]
        for number, cursor in enumerate(cursors):
            cursor.execute("echo ?", number)
        assert [fetch(cursor) for cursor in cursors] == [[(number,)] for number in range(10)]
        _until(lambda: len(echo.instance.sessions) == 1)  # those of earlier tests end in threads of their own

    @pytest.mark.parametrize(
        ("packets", "reason"),
        [
            ([b"\x52\x01" + bytes(14)], "no SMP packet"),
            ([smp(0x01, 0), smp(0x01, 0)], "can't be opened"),
            ([smp(0x08, 3, sequence=1)], "not open"),
            ([smp(0x01, 0), smp(0x03, 0)], "flags 0x03"),
            ([smp(0x01, 0), smp(0x08, 0, b"x", sequence=5)], "follows packet 0"),
            (
                [smp(0x01, 0), smp(0x08, 0, b"\x01\x01\x00\x03\x00\x00\x01\x00", sequence=1)],
                "a length of 3 bytes",
            ),
            (
                [smp(0x01, 0), smp(0x08, 0, b"\x63\x01\x00\x08\x00\x00\x01\x00", sequence=1)],
                "a packet of type 99",
            ),
        ],
    )
    def test_broken_multiplexing_closes_the_connection(
        self, echo: Server, caplog: pytest.LogCaptureFixture, packets: list[bytes], reason: str
    ) -> None:
        with RawClient(echo.port) as client:
            client.log_in(mars=True)
            for packet in packets:
                client.socket.sendall(packet)
            assert client.closed()
        _until(lambda: reason in caplog.text)


class TestFaults:
    def test_logins_are_refused_on_demand(self, echo: Server) -> None:
        echo.faults.arm(LoginFault(remaining=2, number=40613))
        for _ in range(2):
            with pytest.raises(pyodbc.Error, match=r"is not currently available.*\(40613\)"):
                odbc_connect(echo, ConnectRetryCount=0)
        odbc_connect(echo).close()

    @pytest.mark.parametrize("number", [1205, 1222, 40501, 40197])
    def test_statements_fail_on_demand(self, echo: Server, number: int) -> None:
        connection = odbc_connect(echo, ConnectRetryCount=0)
        echo.faults.arm(StatementFault(FaultKind.FAIL, number=number, matching="echo"))
        connection.execute("other")
        with pytest.raises(pyodbc.Error, match=rf"\({number}\)"):
            connection.execute("echo ?", 1)
        assert not [sql for sql, _ in echo.instance.executed if sql.startswith("echo")]
        assert echo.faults.pending() == 0
        connection.close()

    @pytest.mark.parametrize(
        ("kind", "executed"),
        [(FaultKind.DROP_BEFORE, False), (FaultKind.DROP_DURING, True), (FaultKind.CUT, True)],
    )
    def test_connections_drop_on_demand(self, echo: Server, kind: FaultKind, executed: bool) -> None:
        connection = odbc_connect(echo, ConnectRetryCount=0)
        echo.faults.arm(StatementFault(kind, matching="rows"))
        with pytest.raises(pyodbc.OperationalError, match=r"08S01|08001"):
            connection.execute("rows 5").fetchall()
        assert bool(echo.instance.executed) is executed

    def test_a_connection_drops_after_its_answer(self, echo: Server) -> None:
        connection = odbc_connect(echo, ConnectRetryCount=0)
        echo.faults.arm(StatementFault(FaultKind.DROP_AFTER))
        assert tuple(connection.execute("echo ?", 1).fetchone()) == (1,)
        with pytest.raises(pyodbc.OperationalError, match=r"08S01|08001"):
            connection.execute("echo ?", 2)

    def test_a_result_of_many_packets_breaks_in_its_middle(self, echo: Server) -> None:
        connection = odbc_connect(echo, ConnectRetryCount=0)
        echo.faults.arm(StatementFault(FaultKind.CUT))
        cursor = connection.execute("rows 20000")
        assert tuple(cursor.fetchone()) == (0, "name 0")
        with pytest.raises(pyodbc.OperationalError, match="08S01"):
            cursor.fetchall()

    def test_statements_wait_on_demand(self, echo: Server, connection: Any) -> None:
        echo.faults.arm(StatementFault(FaultKind.DELAY, seconds=0.3))
        begin = time.monotonic()
        connection.execute("anything")
        assert time.monotonic() - begin >= 0.3

    def test_a_hanging_statement_ends_with_the_clients_timeout(self, echo: Server, connection: Any) -> None:
        echo.faults.arm(StatementFault(FaultKind.HANG))
        connection.timeout = 1
        with pytest.raises(pyodbc.OperationalError, match="HYT00"):
            connection.execute("anything")
        connection.timeout = 0
        assert tuple(connection.execute("echo ?", 1).fetchone()) == (1,)


class TestJournal:
    def test_each_distinct_statement_is_kept_with_its_first_label(
        self, echo: Server, connection: Any
    ) -> None:
        echo.journal.label("first")
        connection.execute("journal ?", "abc")
        echo.journal.label("second")
        connection.execute("journal ?", "abd")
        connection.execute("journalled batch")
        kept = [item for item in echo.journal.statements() if item["sql"].startswith("journal")]
        assert kept == [
            {"kind": "rpc", "sql": "journal @P1", "parameters": "@P1 nvarchar(6)", "label": "first"},
            {"kind": "batch", "sql": "journalled batch", "parameters": "", "label": "second"},
        ]

    def test_a_label_may_be_for_one_client_process(self, echo: Server, connection: Any) -> None:
        echo.journal.label("for all")
        echo.journal.label("elsewhere", os.getpid() + 1)
        connection.execute("labelled for all")
        echo.journal.label("here", os.getpid())
        connection.execute("labelled here")
        kept = {item["sql"]: item["label"] for item in echo.journal.statements()}
        assert kept["labelled for all"] == "for all"
        assert kept["labelled here"] == "here"

    def test_each_statement_is_a_line_of_the_file(self, tmp_path: Path) -> None:
        texts = ["SELECT N'a line\u2028 and another\u0085'", "SELECT N'half of a character: \ud83d'"]
        journal = Journal(statements_file=str(tmp_path / "statements.jsonl"), controlled=False)
        for text in texts:
            journal.statement("batch", text)
        journal.save()
        lines = (tmp_path / "statements.jsonl").read_text("utf-8").splitlines()
        assert [json.loads(line)["sql"] for line in lines] == texts

    def test_messages_are_counted_until_a_reset(self, echo: Server, connection: Any) -> None:
        echo.journal.messages(reset=True)
        connection.execute("one")
        connection.execute("two")
        answer = echo.journal.messages(reset=True)
        assert answer["count"] == 2
        assert [message["sql"] for message in answer["messages"]] == ["one", "two"]
        assert {message["application"] for message in answer["messages"]} == {"wire tests"}
        assert echo.journal.messages(reset=False)["count"] == 0


def fetch(cursor: Any) -> list[tuple[Any, ...]]:
    """The rows as tuples: a pyodbc.Row equals no tuple."""
    return [tuple(row) for row in cursor.fetchall()]


def _until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
