"""Ctrl-C in a query stops the query, on both sides."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mssql.base import DatabaseWrapper
from tests.faults.conftest import MakeAlias

if TYPE_CHECKING:
    from tests.conftest import Server

ROOT = Path(__file__).resolve().parents[2]

# A shell's background jobs, and what they start, ignore the signal.
CHILD = """
import signal

signal.signal(signal.SIGINT, signal.default_int_handler)

import django
from django.conf import settings

settings.configure(DATABASES={{"default": {database!r}}}, USE_TZ=True)
django.setup()
from django.db import connection, transaction

try:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO dbo.work (note) VALUES ('interrupted')")
        print("started", flush=True)
        cursor.execute("WAITFOR DELAY '00:30:00'")
except KeyboardInterrupt:
    print("interrupted", flush=True)
with connection.cursor() as cursor:
    cursor.execute("SELECT 1")
    print("usable", flush=True)
"""


SESSIONS = "SELECT COUNT(*) FROM sys.dm_exec_sessions WHERE program_name = 'interrupted'"
WAITING = """\
SELECT COUNT(*) FROM sys.dm_exec_requests AS r JOIN sys.dm_exec_sessions AS s ON s.session_id = r.session_id
WHERE s.program_name = 'interrupted' AND r.command = 'WAITFOR'"""


CONNECTING = """
import signal

signal.signal(signal.SIGINT, signal.default_int_handler)

import django
from django.conf import settings

settings.configure(DATABASES={{"default": {database!r}}})
django.setup()
from django.db import connection

try:
    connection.ensure_connection()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def becomes(wrapper: DatabaseWrapper, sql: str, expected: int, seconds: float) -> bool:
    """Whether the server says within that time that this many of the child's sessions or requests are there."""
    deadline = time.monotonic() + seconds
    while True:
        with wrapper.cursor() as cursor:
            cursor.execute(sql)
            if cursor.fetchone() == (expected,):
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_in_a_query_stops_it_and_leaves_nothing_running(
    server: Server, fault_database: str, make_alias: MakeAlias, work: Callable[[], list[str]]
) -> None:
    wrapper = make_alias()
    database = {
        **wrapper.settings_dict,
        "OPTIONS": {"trust_server_certificate": True, "app_name": "interrupted"},
    }
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD).format(database=database)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": ""},
    )
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "started\n"
        assert becomes(wrapper, WAITING, 1, 120)
        for _ in range(20):
            child.send_signal(signal.SIGINT)
            # A signal between the sending and the reading interrupts neither: one presses again.
            if becomes(wrapper, WAITING, 0, 5):
                break
        # The statement itself takes longer than this test may.
        assert child.stdout.read() == "interrupted\nusable\n"
        assert child.wait(120) == 0
    finally:
        child.kill()
    assert work() == []
    assert becomes(wrapper, SESSIONS, 0, 120)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_ends_a_login_that_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(120)
        database = {
            "ENGINE": "mssql",
            "NAME": "shop",
            "HOST": "127.0.0.1",
            "PORT": str(silent.getsockname()[1]),
            "USER": "sa",
            "PASSWORD": "secret",
            "OPTIONS": {"connection_timeout": 3600},
        }
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(CONNECTING).format(database=database)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": ""},
        )
        assert child.stdout is not None
        try:
            client, _ = silent.accept()
            with client:
                for _ in range(20):
                    child.send_signal(signal.SIGINT)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        child.wait(5)
                        break
                assert child.stdout.read() == "interrupted\n"
        finally:
            child.kill()
