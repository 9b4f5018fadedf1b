"""A database that mssql-django 2.0 made is read, written and altered, and wants no migration."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from tests import peer as mssql_django

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "tests" / "moving_site"


@pytest.fixture(scope="module")
def peer() -> dict[str, str]:
    """Environment in which `mssql` is mssql-django."""
    try:
        return mssql_django.environment(SITE)
    except mssql_django.NotInstallable as reason:
        pytest.skip(str(reason))


@pytest.fixture
def database(db: None) -> Iterator[str]:
    name = f"moving_{uuid.uuid4().hex[:8]}"
    with connection._nodb_cursor() as cursor:
        cursor.execute(f"CREATE DATABASE [{name}]")
    yield name
    with connection._nodb_cursor() as cursor:
        # As a test database: the server may not have noticed yet that the last process is gone.
        connection.creation._drop(cursor, name)


def run(action: str, database: str, environment: dict[str, str]) -> list[str]:
    settings = connection.settings_dict
    names = {"HOST": "MSSQL_HOST", "PORT": "MSSQL_PORT", "USER": "MSSQL_USER", "PASSWORD": "MSSQL_PASSWORD"}
    server = {variable: str(settings[key]) for key, variable in names.items()}
    done = subprocess.run(
        [sys.executable, str(SITE / "run.py"), action],
        env=os.environ | server | {"MSSQL_DATABASE": database} | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.timeout(900)
@pytest.mark.django_db(transaction=True)
def test_a_database_of_mssql_django_is_taken_over(peer: dict[str, str], database: str) -> None:
    ours = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(SITE)])}
    (done,) = run("write", database, peer)
    assert "mssql-django" in done
    (done,) = run("read", database, ours)
    assert str(ROOT / "mssql") in done
    # And back: what this backend has written, mssql-django reads.
    (done,) = run("read", database, peer)
    assert "mssql-django" in done
    run("change", database, ours)
