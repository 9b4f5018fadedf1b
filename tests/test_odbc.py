"""What a person reads when the backend, pyodbc or the driver manager is not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from mssql.odbc import _load_driver_manager

CONNECT = """
import sys, django
from django.conf import settings
{before}
settings.configure(DATABASES={{"default": {{"ENGINE": {engine!r}, "NAME": "shop"}}}})
django.setup()
from django.db import connection
connection.vendor
"""


def last_words(folder: Path, *, before: str = "", engine: str = "mssql") -> str:
    """The end of what a process prints that cannot load its backend."""
    done = subprocess.run(
        [sys.executable, "-c", CONNECT.format(before=before, engine=engine)],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode
    return done.stderr[done.stderr.rindex("ImproperlyConfigured") :]


def test_without_the_package_django_names_the_engine(tmp_path: Path) -> None:
    said = last_words(tmp_path, before="sys.modules['mssql'] = None")
    assert "'mssql' isn't an available database backend or couldn't be imported" in said


def test_a_wrong_engine_is_named(tmp_path: Path) -> None:
    said = last_words(tmp_path, engine="sql_server.pyodbc")
    assert "'sql_server.pyodbc' isn't an available database backend or couldn't be imported" in said


def test_without_pyodbc_the_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "pyodbc.py").write_text("raise ImportError(\"No module named 'pyodbc'\")")
    said = last_words(tmp_path, before="sys.path.insert(0, '.')")
    assert "The mssql database backend needs pyodbc: No module named 'pyodbc'" in said


def test_without_a_driver_manager_there_is_a_command_for_each_system(tmp_path: Path) -> None:
    cause = ImportError("libodbc.so.2: cannot open shared object file: No such file or directory")
    with pytest.raises(ImproperlyConfigured) as caught:
        _load_driver_manager(tmp_path, cause)
    said = str(caught.value)
    assert str(cause) in said
    assert all(command in said for command in ("apt-get install", "dnf install", "apk add", "brew install"))
