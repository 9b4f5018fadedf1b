"""Runs Django's own tests, from its sdist, on SQL Server (MSSQL_HOST) or on the stand-in.

python -m tests.django_suite.run --django 5.2 aggregation queries
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlserver_standin.releases import DEFAULT_RELEASE, RELEASES
from tests.django_suite.apps import ALL_APPS

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "var" / "django-suite"
RESULTS = CACHE / "results"
"""A file for each version of Django and app, from the last run of the app; tests/django_suite/report.py reads them.
Runs on another release of SQL Server, or with native JSON, have folders of their own."""
STATEMENTS = CACHE / "statements"
"""Likewise the distinct statements that an app's tests were the first of their run to send to the stand-in."""

VERSIONS = {"5.2": (3, 11), "6.0": (3, 12), "6.1": (3, 12)}
"""Django's minor versions, with the oldest Python that each takes (and that we take)."""
NEWEST_PYTHON = (3, 14)
MISCOUNTING_PYTHON = (3, 12, 1)
"""Its unittest skips a test without having started it. Django's parallel runner counts what was started, and gives the
skip to the test before: https://github.com/python/cpython/issues/113267."""

TEST_REQUIREMENTS = """
    argon2-cffi asgiref bcrypt docutils jinja2 Pillow PyYAML setuptools sqlparse tblib tzdata
""".split()
"""What Django itself and the tests of these apps want, of Django's tests/requirements/py3.txt."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--django", choices=VERSIONS, default="5.2", help="version of Django (default: 5.2)")
    parser.add_argument("--python", help="interpreter to use (default: the oldest that this Django takes)")
    parser.add_argument(
        "--parallel", default=str(os.cpu_count() or 1), help="processes (default: one per core)"
    )
    parser.add_argument(
        "--release",
        choices=RELEASES,
        default=DEFAULT_RELEASE,
        help=f"SQL Server that the stand-in is (default: {DEFAULT_RELEASE})",
    )
    parser.add_argument("--native-json", action="store_true", help="json_storage = json (SQL Server 2025)")
    parser.add_argument("--keepdb", action="store_true", help="keep the test databases for the next run")
    parser.add_argument("apps", nargs="*", help="apps or test labels (default: all that use a database)")
    options = parser.parse_args(arguments)

    python = environment(options.django, options.python)
    source = django_source(options.django, python)
    labels = options.apps or [app for app in ALL_APPS if (source / "tests" / app).is_dir()]
    command = [str(python), "runtests.py", "--settings=tests.django_suite.settings", "--noinput"]
    command += [f"--parallel={options.parallel}", *(["--keepdb"] if options.keepdb else []), *labels]
    with tempfile.TemporaryDirectory() as folder:
        outcomes, sent = Path(folder, "outcomes.json"), Path(folder, "statements.jsonl")
        with server_environment(sent, options.release) as server:
            done = subprocess.run(
                command,
                cwd=source / "tests",
                env=server
                | {
                    "DJANGO_SUITE_OUTCOMES": str(outcomes),
                    "DJANGO_SUITE_JSON_STORAGE": "json" if options.native_json else "nvarchar",
                    "PYTHONPATH": os.pathsep.join([str(source), str(ROOT)]),
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "RUNTESTS_NO_COLOR": "1",
                },
                check=False,
                preexec_fn=_heed_permissions if sys.platform == "linux" else None,
            )
        run = options.django
        if options.release != DEFAULT_RELEASE or options.native_json:
            run += f"-on-{options.release}" + ("-json" if options.native_json else "")
        if outcomes.exists():
            keep_outcomes(RESULTS / run, labels, json.loads(outcomes.read_text(encoding="utf-8")))
        if sent.exists():
            lines = sent.read_text(encoding="utf-8").splitlines()
            keep_statements(STATEMENTS / run, labels, map(json.loads, lines))
    return done.returncode


def _heed_permissions() -> None:
    """Take from root, in a container, the right to write where permissions forbid it: a test expects them to."""
    drop_from_bounding_set, may_override_permissions = 24, 1  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE: prctl(2)
    ctypes.CDLL(None).prctl(drop_from_bounding_set, may_override_permissions, 0, 0, 0)


# The results


def keep_outcomes(folder: Path, labels: Sequence[str], report: dict[str, Any]) -> None:
    """Write a file for each app: {"django": version, "tests": {id: outcome}}. A part of an app updates its file."""
    apps: dict[str, dict[str, Any]] = {}
    for test, outcome in report["tests"].items():
        apps.setdefault(app_of(test), {})[test] = outcome
    folder.mkdir(parents=True, exist_ok=True)
    for app, tests in apps.items():
        file = folder / f"{app}.json"
        if app not in labels and file.exists():
            tests = json.loads(file.read_text(encoding="utf-8"))["tests"] | tests
        content = {"django": report["django"], "tests": tests}
        file.write_text(json.dumps(content, indent=0, sort_keys=True), encoding="utf-8")


def keep_statements(folder: Path, labels: Sequence[str], statements: Iterable[dict[str, str]]) -> None:
    """Write a file for each app, one statement a line; those sent before the first test go to a file of their own."""
    apps: dict[str, dict[str, str]] = {}
    for statement in statements:
        app = app_of(statement["label"]) or "setup"
        apps.setdefault(app, {}).setdefault(statement["sql"], statement["label"])
    folder.mkdir(parents=True, exist_ok=True)
    for app, texts in apps.items():
        lines = [json.dumps({"sql": sql, "label": label}) + "\n" for sql, label in texts.items()]
        with (folder / f"{app}.jsonl").open("w" if app in labels else "a", encoding="utf-8") as file:
            file.writelines(lines)


def app_of(test: str) -> str:
    """Return the app of a test's id; that of a failed setUpClass reads "setUpClass (app.tests.Case)"."""
    return test.rpartition("(")[2].partition(".")[0]


# What the tests run in


def django_source(version: str, python: Path) -> Path:
    """Return Django's source tree with its tests, downloaded once."""
    folder = CACHE / "source"
    if found := sorted(folder.glob(f"django-{version}.*/tests/runtests.py")):
        return found[-1].parents[1]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as download:
        # pip builds metadata of what it downloads, so it runs on a Python that this Django takes.
        pip = [str(python), "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=Django"]
        subprocess.run([*pip, f"Django=={version}.*", "--dest", download], check=True)
        archive = next(Path(download).glob("*.tar.gz"))
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    return django_source(version, python)


def environment(version: str, interpreter: str | None = None) -> Path:
    """Return the Python of an environment with all that the tests want but Django, which PYTHONPATH gives."""
    base = Path(interpreter) if interpreter else _find_python(VERSIONS[version])
    running = _version_of(base)
    if running is None or running < VERSIONS[version]:
        oldest = _dotted(VERSIONS[version])
        raise SystemExit(f"Django {version} wants Python {oldest} or newer, which {base} is not.")
    if running == MISCOUNTING_PYTHON:
        raise SystemExit(
            f"Python {_dotted(running)} ({base}) takes skipped tests for others "
            "(https://github.com/python/cpython/issues/113267). Name another version with --python."
        )
    folder = CACHE / f"python{_dotted(running)}"
    python = folder / "bin" / "python"
    stamp = folder / "installed.txt"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [name for name in project["dependencies"] if not name.startswith("Django")]
    requirements += [*project["optional-dependencies"]["odbc"], *TEST_REQUIREMENTS]
    if not stamp.exists() or stamp.read_text(encoding="utf-8").split("\n") != requirements:
        subprocess.run([str(base), "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *requirements], check=True)
        subprocess.run([str(python), str(ROOT / "tools" / "odbc_driver_manager.py")], check=True)
        stamp.write_text("\n".join(requirements), encoding="utf-8")
    return python


def _find_python(oldest: tuple[int, int]) -> Path:
    """Return this Python where it is new enough, else the oldest that is, on PATH or of pyenv."""
    if sys.version_info >= oldest and sys.version_info[:3] != MISCOUNTING_PYTHON:
        return Path(sys.executable)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    paths = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep)]
    for minor in range(oldest[1], NEWEST_PYTHON[1] + 1):
        name = f"python3.{minor}"
        candidates = [*(path / name for path in paths), *sorted(pyenv.glob(f"3.{minor}.*/bin/{name}"))]
        for candidate in candidates:
            # A pyenv shim stands on PATH even where its version is not selected, so each candidate is asked.
            running = _version_of(candidate) if candidate.exists() else None
            if running and running[:2] == (3, minor) and running != MISCOUNTING_PYTHON:
                return candidate
    names = " or ".join(f"python3.{minor}" for minor in range(oldest[1], NEWEST_PYTHON[1] + 1))
    raise SystemExit(
        f"This version of Django wants Python {_dotted(oldest)} or newer, and this is {_dotted(sys.version_info[:2])}. "
        f"Neither PATH nor {pyenv} has {names} ({_dotted(MISCOUNTING_PYTHON)} is not taken: its unittest miscounts). "
        f"Install one (pyenv install {_dotted(NEWEST_PYTHON)}), or name one with --python."
    )


def _version_of(python: Path) -> tuple[int, int, int] | None:
    """Ask an interpreter for its version; None where it does not run or cannot make environments."""
    question = "import sys, ensurepip, venv; print(*sys.version_info[:3])"
    try:
        asked = subprocess.run([str(python), "-c", question], capture_output=True, text=True, check=False)
    except OSError:
        return None
    if asked.returncode:
        return None
    major, minor, micro = map(int, asked.stdout.split())
    return major, minor, micro


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


@contextmanager
def server_environment(sent: Path, release: str = DEFAULT_RELEASE) -> Iterator[dict[str, str]]:
    """Give the environment that names the server: as set by the caller, or a stand-in's of our own, which leaves
    the statements that it got in the file."""
    if os.environ.get("MSSQL_HOST"):
        yield dict(os.environ)
        return
    from sqlserver_standin import StandIn
    from sqlserver_standin.journal import STATEMENTS_VARIABLE

    os.environ[STATEMENTS_VARIABLE] = str(sent)
    with StandIn(release=release) as server:
        yield dict(os.environ) | {
            "MSSQL_HOST": server.host,
            "MSSQL_PORT": str(server.port),
            "MSSQL_USER": server.user,
            "MSSQL_PASSWORD": server.password,
            "STANDIN_CONTROL_PORT": str(server.control.port),
        }


if __name__ == "__main__":
    sys.exit(main())
