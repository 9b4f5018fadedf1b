"""Runs Django's own tests, from its sdist, on SQL Server (MSSQL_HOST) or on the stand-in.

python -m tests.django_suite.run --django 5.2 aggregation queries
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.django_suite.apps import ALL_APPS

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "var" / "django-suite"
RESULTS = CACHE / "results"
"""A file for each version of Django and app, from the last run of the app; tests/django_suite/report.py reads them."""
VERSIONS = {"5.2": (3, 11), "6.0": (3, 12), "6.1": (3, 12)}
"""Django's minor versions, with the oldest Python that each takes."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--django", choices=VERSIONS, default="5.2", help="version of Django (default: 5.2)")
    parser.add_argument(
        "--parallel", default=str(os.cpu_count() or 1), help="processes (default: one per core)"
    )
    parser.add_argument("--keepdb", action="store_true", help="keep the test databases for the next run")
    parser.add_argument("apps", nargs="*", help="apps or test labels (default: all that use a database)")
    options = parser.parse_args(arguments)

    source = django_source(options.django)
    python = interpreter(options.django)
    results = RESULTS / options.django
    results.mkdir(parents=True, exist_ok=True)
    labels = options.apps or [app for app in ALL_APPS if (source / "tests" / app).is_dir()]
    command = [str(python), "runtests.py", "--settings=tests.django_suite.settings", "--noinput"]
    command += [f"--parallel={options.parallel}", *(["--keepdb"] if options.keepdb else []), *labels]
    with server_environment() as environment:
        environment |= {
            "DJANGO_SUITE_RESULTS": str(results),
            "PYTHONPATH": os.pathsep.join([str(source), str(ROOT)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "RUNTESTS_NO_COLOR": "1",
        }
        return subprocess.run(command, cwd=source / "tests", env=environment, check=False).returncode


def django_source(version: str) -> Path:
    """Return Django's source tree with its tests, downloaded once."""
    folder = CACHE / "source"
    if found := sorted(folder.glob(f"django-{version}.*/tests/runtests.py")):
        return found[-1].parents[1]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as download:
        # pip builds metadata of what it downloads, so it runs on a Python that this Django takes.
        pip = [
            str(interpreter(version)),
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--no-binary=Django",
        ]
        subprocess.run([*pip, f"Django=={version}.*", "--dest", download], check=True)
        archive = next(Path(download).glob("*.tar.gz"))
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    return django_source(version)


def interpreter(version: str) -> Path:
    """Return a Python with everything but Django: this one, or an environment made for a Django that wants a newer."""
    oldest = VERSIONS[version]
    if sys.version_info >= oldest:
        return Path(sys.executable)
    environment = CACHE / f"python{oldest[0]}.{oldest[1]}"
    python = environment / "bin" / "python"
    if not python.exists():
        subprocess.run([str(_find_python(oldest)), "-m", "venv", str(environment)], check=True)
        requirements = ["pyodbc>=5.1", "opentelemetry-api", "tzlocal", "mssql-python-odbc", "tzdata"]
        requirements += ["asgiref", "sqlparse", "jinja2", "Pillow", "PyYAML", "tblib", "setuptools"]
        subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", *requirements],
            check=True,
        )
        subprocess.run([str(python), str(ROOT / "tools" / "odbc_driver_manager.py")], check=True)
    return python


def _find_python(oldest: tuple[int, int]) -> Path:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for minor in range(oldest[1], oldest[1] + 4):
        found = shutil.which(f"python3.{minor}")
        if found and subprocess.run([found, "-V"], capture_output=True, check=False).returncode == 0:
            return Path(found)
        if found_versions := sorted(pyenv.glob(f"versions/3.{minor}.*/bin/python")):
            return found_versions[-1]
    raise SystemExit(f"This version of Django wants Python {oldest[0]}.{oldest[1]} or newer; none was found.")


@contextmanager
def server_environment() -> Iterator[dict[str, str]]:
    """Give the environment that names the server: as set by the caller, or a stand-in's of our own."""
    environment = dict(os.environ)
    if environment.get("MSSQL_HOST"):
        yield environment
        return
    from sqlserver_standin import StandIn

    with StandIn() as server:
        yield environment | {
            "MSSQL_HOST": server.host,
            "MSSQL_PORT": str(server.port),
            "MSSQL_USER": server.user,
            "MSSQL_PASSWORD": server.password,
        }


if __name__ == "__main__":
    sys.exit(main())
