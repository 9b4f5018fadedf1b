"""The embedded PostgreSQL: starts again on its data, is nobody else's, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from sqlserver_standin.engine.instance import Instance, library_files
from sqlserver_standin.engine.postgres import Postgres, PostgresError
from tests.sqlserver_standin.sql_support import Client


def test_data_and_databases_outlive_a_restart(tmp_path: Path) -> None:
    for count in (1, 2):
        instance = Instance(tmp_path, password="x")
        try:
            client = Client(instance.login(user="sa", password="x"))
            if count == 1:
                client.events("CREATE DATABASE kept")
                client.events("USE kept")
                client.events("CREATE TABLE t (a int); CREATE LOGIN l WITH PASSWORD = 'pw'")
            else:
                client.events("USE kept")
                instance.login(user="l", password="pw")
            client.events("INSERT INTO t VALUES (1)")
            assert client.value("SELECT COUNT(*) FROM t") == count
        finally:
            instance.close()


def test_another_version_starts_afresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    instance = Instance(data, password="x")
    try:
        Client(instance.login(user="sa", password="x")).events(
            "CREATE DATABASE kept; USE kept; CREATE TABLE t (a int)"
        )
    finally:
        instance.close()
    newer = tmp_path / "99_newer.sql"
    newer.write_text("SELECT 'of another version'")
    files = [*library_files(), newer]
    monkeypatch.setattr("sqlserver_standin.engine.instance.library_files", lambda: files)
    instance = Instance(data, password="x")
    try:
        client = Client(instance.login(user="sa", password="x"))
        assert client.error("USE kept")[0] == 911
        assert client.value("SELECT COUNT(*) FROM sys.databases") == 4
    finally:
        instance.close()


def test_a_directory_in_use_is_refused_by_name(tmp_path: Path) -> None:
    first = Postgres(tmp_path)
    first.start()
    try:
        with pytest.raises(PostgresError, match="in use by another running stand-in") as caught:
            Postgres(tmp_path).start()
        assert str(tmp_path) in str(caught.value)
        psycopg.connect(first.conninfo("postgres")).close()
    finally:
        first.stop()


def test_what_a_killed_stand_in_left_is_ended(tmp_path: Path) -> None:
    killed = Postgres(tmp_path)
    killed.start()
    left_behind = killed._process
    assert left_behind is not None
    # Its parent is gone as far as the next start can see: the lock is free, PostgreSQL runs on.
    assert killed._lock is not None
    killed._lock.close()
    killed._lock = None
    following = Postgres(tmp_path)
    following.start()
    try:
        assert left_behind.wait(10) is not None
        psycopg.connect(following.conninfo("postgres")).close()
    finally:
        following.stop()
        killed.stop()


def test_stopping_leaves_no_process_and_no_socket(tmp_path: Path) -> None:
    postgres = Postgres(tmp_path)
    postgres.start()
    process, sockets = postgres._process, Path(postgres.socket_directory)
    postgres.stop()
    assert process is not None
    assert process.poll() is not None
    assert not sockets.exists()
