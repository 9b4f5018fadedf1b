"""The stand-in as a process: how it starts, what it prints, and that it leaves nothing behind."""

from __future__ import annotations

import ctypes
import json
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mssql.odbc import pyodbc
from sqlserver_standin import ControlError, StandIn, StandInError
from tests.sqlserver_standin.wire_support import driver_path

pytestmark = pytest.mark.standin

COMMAND = [sys.executable, "-m", "sqlserver_standin"]


def connect(port: int, password: str = "Standin_2022") -> pyodbc.Connection:
    text = f"Server=127.0.0.1,{port};UID=sa;PWD={password};Encrypt=no;ConnectRetryCount=0"
    return pyodbc.connect(f"Driver={driver_path()};{text}", autocommit=True, timeout=60)


def descendants(pid: int) -> list[psutil.Process]:
    try:
        return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def gone(processes: list[psutil.Process], seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while any(map(alive, processes)):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def alive(process: psutil.Process) -> bool:
    """Whether it runs: one whose parent has not asked for its exit code yet does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One directory for all: making the databases is what takes time at the first start."""
    return tmp_path_factory.mktemp("standin") / "data"


@pytest.fixture
def process(data: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, "--port", "0", "--data", str(data), "--password", "Secret_1!"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    processes = descendants(process.pid)
    process.kill()
    process.communicate()
    # PostgreSQL follows a moment later, and the next stand-in on this data would say that it met it.
    assert gone(processes)


def port_of(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first.startswith("listening on 127.0.0.1:")
    return int(first.rpartition(":")[2])


def test_it_says_where_it_listens_how_to_connect_and_what_it_is(process: subprocess.Popen[str]) -> None:
    port = port_of(process)
    assert process.stdout is not None
    second, third = process.stdout.readline(), process.stdout.readline()
    assert second.strip() == f"connect with: SERVER=127.0.0.1,{port};UID=sa;PWD=Secret_1!;DATABASE=master"
    assert "it is not SQL Server" in third
    assert connect(port, "Secret_1!").execute("SELECT DB_NAME()").fetchone()[0] == "master"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_and_its_postgresql(process: subprocess.Popen[str], number: int) -> None:
    connection = connect(port_of(process), "Secret_1!")
    connection.execute("SELECT 1").fetchall()
    processes = descendants(process.pid)
    assert len(processes) > 2
    process.send_signal(number)
    assert process.wait(60) == 0
    assert gone(processes)
    assert process.stderr is not None
    assert process.stderr.read() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="threads have numbers of their own on Linux")
def test_a_signal_that_another_thread_gets_stops_it(process: subprocess.Popen[str]) -> None:
    connect(port_of(process), "Secret_1!").execute("SELECT 1").fetchall()
    others = [thread.id for thread in psutil.Process(process.pid).threads() if thread.id != process.pid]
    assert ctypes.CDLL(None).tgkill(process.pid, others[0], signal.SIGTERM) == 0
    assert process.wait(60) == 0


def test_nothing_outlives_it_when_it_is_killed(process: subprocess.Popen[str]) -> None:
    port_of(process)
    processes = descendants(process.pid)
    process.kill()
    assert gone(processes)


def test_a_taken_port_is_an_error_that_names_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = subprocess.run(
            [*COMMAND, "--port", str(port), "--data", str(data)], capture_output=True, text=True
        )
    assert answer.returncode == 1
    assert answer.stderr.count("\n") == 1
    assert f"can't listen on port {port} of 127.0.0.1" in answer.stderr
    assert not data.exists()


def test_a_data_directory_in_use_is_one_clear_error(data: Path, process: subprocess.Popen[str]) -> None:
    port_of(process)
    answer = subprocess.run([*COMMAND, "--port", "0", "--data", str(data)], capture_output=True, text=True)
    assert answer.returncode == 1
    assert "is in use by another running stand-in" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_its_data_is_there_again_after_a_restart(data: Path) -> None:
    with StandIn(data) as server:
        connect(server.port).execute(
            "CREATE TABLE kept (name nvarchar(20)); INSERT INTO kept VALUES (N'still here')"
        )
    with StandIn(data) as server:
        assert connect(server.port).execute("SELECT name FROM kept").fetchone()[0] == "still here"


def test_temporary_data_goes_with_the_block() -> None:
    with StandIn() as server:
        assert server._temporary is not None
        directory = Path(server._temporary.name)
        assert directory.exists()
        processes = descendants(server.pid)
    assert not directory.exists()
    assert gone(processes)


def test_it_ends_when_the_process_that_started_it_dies(data: Path) -> None:
    script = """
        import os, sys
        from sqlserver_standin import StandIn
        server = StandIn(sys.argv[1]).start()
        print(server.pid, flush=True)
        os.kill(os.getpid(), 9)
    """
    parent = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(data)], stdout=subprocess.PIPE, text=True
    )
    assert parent.returncode == -9
    assert gone(descendants(int(parent.stdout))), "the stand-in outlived its parent"


def test_temporary_data_goes_even_when_nobody_is_left_to_remove_it() -> None:
    script = """
        import os
        from sqlserver_standin import StandIn
        server = StandIn().start()
        print(server.pid, server._temporary.name, flush=True)
        os.kill(os.getpid(), 9)
    """
    parent = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
    )
    pid, directory = parent.stdout.split(maxsplit=1)
    assert gone(descendants(int(pid)))
    assert not Path(directory.strip()).exists()


def test_a_start_that_fails_is_an_error_that_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(StandInError, match="exit code 1"):
        StandIn(tmp_path / "data", port=taken.getsockname()[1]).start()
    assert "Choose another with --port" in capfd.readouterr().err


def test_the_control_api_arms_faults_and_counts_messages(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = tmp_path / "statements.jsonl"
    monkeypatch.setenv("SQLSERVER_STANDIN_STATEMENTS", str(statements))
    with StandIn(data) as server:
        control = server.control
        control.refuse_logins(1, 40613)
        with pytest.raises(pyodbc.Error, match="40613"):
            connect(server.port)
        connection = connect(server.port)

        control.messages(reset=True)
        control.label("a test")
        connection.execute("SELECT ?", "counted").fetchall()
        sent = control.messages(reset=True)
        assert sent["count"] == 2
        assert [message["kind"] for message in sent["messages"]] == ["rpc:sp_prepexec", "rpc:sp_unprepare"]

        connection.execute("CREATE TABLE faulty (id int)")
        connection.autocommit = False
        connection.execute("INSERT INTO faulty VALUES (1)")
        control.fail(1205, matching="update faulty")
        assert control.pending() == 1
        with pytest.raises(pyodbc.Error, match=r"deadlock victim.*\(1205\)"):
            connection.execute("UPDATE faulty SET id = 2")
        connection.rollback()
        connection.autocommit = True
        assert connection.execute("SELECT COUNT(*) FROM faulty").fetchone()[0] == 0

        control.fail(1205)
        with pytest.raises(pyodbc.Error, match="1205"):
            connection.execute("SELECT 1")

        control.hang()
        control.clear()
        assert control.pending() == 0
        with pytest.raises(ControlError, match="nonsense"):
            control._ask("nonsense")
        assert {"kind": "rpc", "sql": "SELECT @P1", "parameters": "@P1 nvarchar(14)", "label": "a test"} in (
            control.statements()
        )
        connection.close()
    kept = [json.loads(line) for line in statements.read_text("utf-8").splitlines()]
    assert "CREATE TABLE faulty (id int)" in {line["sql"] for line in kept}


def test_without_the_option_there_is_no_control_api(process: subprocess.Popen[str]) -> None:
    port = port_of(process)
    listening = {
        connection.laddr.port
        for connection in psutil.Process(process.pid).net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {port}
