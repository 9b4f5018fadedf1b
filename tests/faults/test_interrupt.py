"""Ctrl-C in a query stops the query, on both sides."""

from __future__ import annotations

import os
import signal
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

CHILD = """
import django
from django.conf import settings

settings.configure(DATABASES={{"default": {database!r}}}, USE_TZ=True)
django.setup()
from django.db import connection, transaction

try:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO dbo.work (note) VALUES ('interrupted')")
        print("started", flush=True)
        cursor.execute("WAITFOR DELAY '00:01:30'")
except KeyboardInterrupt:
    print("interrupted", flush=True)
with connection.cursor() as cursor:
    cursor.execute("SELECT 1")
    print("usable", flush=True)
"""


def sessions(wrapper: DatabaseWrapper) -> int:
    """How many sessions of the child the server still has."""
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM sys.dm_exec_sessions WHERE program_name = %s", ["interrupted"])
        return int(cursor.fetchone()[0])


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
        time.sleep(0.5)
        child.send_signal(signal.SIGINT)
        started = time.perf_counter()
        assert child.stdout.read() == "interrupted\nusable\n"
        assert time.perf_counter() - started < 60
        assert child.wait(60) == 0
    finally:
        child.kill()
    assert work() == []
    deadline = time.monotonic() + 60
    while sessions(wrapper) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert sessions(wrapper) == 0
