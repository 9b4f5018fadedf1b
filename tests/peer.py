"""mssql-django, the other backend of this name, in a folder of its own: its package has our package's name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mssql.connection_string import packaged_drivers
from mssql.odbc import driver_package, pyodbc

VERSION = "2.0.0"
FOLDER = Path(__file__).resolve().parent.parent / "var" / "mssql-django"
DRIVER_NAME = "ODBC Driver 18 for SQL Server"


class NotInstallable(Exception):
    """The package index cannot be reached or does not have it."""


def environment(*paths: Path) -> dict[str, str]:
    """Return what to set for a process in which ``mssql`` is mssql-django; ``paths`` come after it in sys.path."""
    _install()
    variables = {"PYTHONPATH": os.pathsep.join(map(str, (FOLDER, *paths)))}
    drivers = packaged_drivers(driver_package())
    if DRIVER_NAME not in pyodbc.drivers() and drivers:
        # It knows the driver by its registered name only, and pyodbc the driver manager by the loader's path.
        _write_whole(FOLDER / "odbcinst.ini", f"[{DRIVER_NAME}]\nDriver={drivers[0]}\n")
        variables["ODBCSYSINI"] = str(FOLDER)
        libraries = [os.environ.get("LD_LIBRARY_PATH"), str(Path(sys.prefix) / "lib")]
        variables["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, libraries))
    return variables


def _write_whole(path: Path, text: str) -> None:
    """Write a file that another process may read at this moment: it finds the old text or the new one."""
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _install() -> None:
    # What pip puts in place last.
    if (FOLDER / f"mssql_django-{VERSION}.dist-info").exists():
        return
    requirement = f"mssql-django=={VERSION}"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--upgrade",
        "--target",
        str(FOLDER),
    ]
    done = subprocess.run([*pip, requirement], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotInstallable(f"{requirement}: {done.stderr.strip()[-500:]}")
