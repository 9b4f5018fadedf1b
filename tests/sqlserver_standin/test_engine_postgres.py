"""The embedded PostgreSQL: starts again on its data, is nobody else's, and leaves nothing behind."""

from __future__ import annotations

import tempfile
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
        assert left_behind.wait(60) is not None
        psycopg.connect(following.conninfo("postgres")).close()
    finally:
        following.stop()
        killed.stop()


@pytest.mark.parametrize("name", ["of " + "many " * 40 + "words", "with, a comma"])
def test_a_directory_where_no_socket_can_be_is_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / name))
    data = tmp_path / name / "data"
    data.mkdir(parents=True)
    postgres = Postgres(data)
    postgres.start()
    try:
        psycopg.connect(postgres.conninfo("postgres")).close()
    finally:
        postgres.stop()
    assert not Path(postgres.socket_directory).exists()


def test_the_environment_of_other_postgresqls_is_not_heeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = {"PGPORT": "1", "PGOPTIONS": "-c work_mem=64kB", "PGTZ": "Asia/Tokyo", "PGSERVICE": "nowhere"}
    for variable, value in others.items():
        monkeypatch.setenv(variable, value)
    postgres = Postgres(tmp_path)
    postgres.start()
    try:
        with psycopg.connect(postgres.conninfo("postgres")) as connection:
            assert connection.execute("SHOW TimeZone").fetchone() == ("UTC",)
    finally:
        postgres.stop()


def test_stopping_leaves_no_process_and_no_socket(tmp_path: Path) -> None:
    postgres = Postgres(tmp_path)
    postgres.start()
    process, sockets = postgres._process, Path(postgres.socket_directory)
    postgres.stop()
    assert process is not None
    assert process.poll() is not None
    assert not sockets.exists()
