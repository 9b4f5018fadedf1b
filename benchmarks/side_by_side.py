"""Runs the same ORM calls in processes of their own: on this backend, on mssql-django, on SQLite, on bare pyodbc."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sqlserver_standin import StandIn  # noqa: E402
from tests import peer  # noqa: E402

CACHE = ROOT / "var" / "benchmarks"
BACKENDS = ("ours", "peer", "sqlite", "pyodbc", "floors")


@dataclass(frozen=True)
class Target:
    """The server, and the stand-in behind it, if it is one."""

    host: str
    port: str
    user: str
    password: str
    standin: StandIn | None

    def environment(self) -> dict[str, str]:
        return {
            "MSSQL_HOST": self.host,
            "MSSQL_PORT": self.port,
            "MSSQL_USER": self.user,
            "MSSQL_PASSWORD": self.password,
        }


@contextmanager
def target() -> Iterator[Target]:
    """MSSQL_HOST where it is set, else a stand-in."""
    if host := os.environ.get("MSSQL_HOST"):
        port, user = os.environ.get("MSSQL_PORT", "1433"), os.environ.get("MSSQL_USER", "sa")
        yield Target(host, port, user, os.environ["MSSQL_PASSWORD"], None)
        return
    with StandIn() as standin:
        yield Target(standin.host, str(standin.port), standin.user, standin.password, standin)


class Worker:
    """A process that runs operations by name, one JSON line for each; ``under`` is a command to run it under."""

    def __init__(self, backend: str, server: Target, *, under: Sequence[str] = ()) -> None:
        environment = os.environ | server.environment() | {"BACKEND": backend}
        environment |= peer.environment() if backend == "peer" else {"PYTHONPATH": str(ROOT)}
        CACHE.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [*under, sys.executable, str(ROOT / "benchmarks" / "worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=CACHE,
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{request}: the worker stopped.")
        return json.loads(line)
