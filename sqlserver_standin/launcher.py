"""`StandIn`: runs the stand-in as a process of its own for as long as a `with` block lasts."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlserver_standin.control import Control
from sqlserver_standin.releases import DEFAULT_RELEASE

DEFAULT_USER = "sa"
DEFAULT_PASSWORD = "Standin_2022"

_STOP_TIMEOUT = 60.0
_LISTENING = re.compile(r"listening on (?P<host>.+):(?P<port>\d+)\s*$")
_CONTROL = re.compile(r"control on port (?P<port>\d+)\s*$")


class StandInError(RuntimeError):
    """The stand-in did not start."""


class StandIn:
    """A stand-in server in a subprocess.

        with StandIn() as server:
            connect(server.host, server.port, server.user, server.password)

    Without ``data`` its databases live in a temporary directory and go with it. It stops with this process, too,
    and its temporary directory goes, should that die inside of the block.
    """

    host: str
    port: int
    control: Control

    def __init__(
        self,
        data: str | Path | None = None,
        *,
        password: str = DEFAULT_PASSWORD,
        port: int = 0,
        release: str = DEFAULT_RELEASE,
    ) -> None:
        self.user = DEFAULT_USER
        self.password = password
        self.release = release
        self._data = None if data is None else Path(data)
        self._requested_port = port
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        """The server's process; PostgreSQL runs below it."""
        if self._process is None:
            raise StandInError("the stand-in is not running")
        return self._process.pid

    def start(self) -> Self:
        if self._data is None:
            # The server removes it, even when nobody else is left to do so; and `stop`, where the server was killed.
            self._temporary = tempfile.TemporaryDirectory(
                prefix="sqlserver_standin_", ignore_cleanup_errors=True
            )
        data = self._data if self._temporary is None else Path(self._temporary.name)
        command = [sys.executable, "-m", "sqlserver_standin", "--port", str(self._requested_port)]
        command += ["--data", str(data), "--password", self.password, "--release", self.release]
        command += ["--control", "--exit-with-parent"]
        if self._temporary is not None:
            command.append("--remove-data")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        try:
            listening = self._announced(_LISTENING)
            self.host, self.port = listening["host"], int(listening["port"])
            self.control = Control(int(self._announced(_CONTROL)["port"]))
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server, its PostgreSQL, and remove a temporary directory."""
        process, self._process = self._process, None
        if process is not None:
            if hasattr(self, "control"):
                self.control.close()
                del self.control
            process.terminate()
            try:
                process.communicate(timeout=_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _announced(self, pattern: re.Pattern[str]) -> re.Match[str]:
        """Read what the server prints up to the line that is wanted."""
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if match := pattern.match(line):
                return match
        raise StandInError(
            f"the stand-in ended with exit code {self._process.wait()} before it was ready; its messages stand above"
        )
