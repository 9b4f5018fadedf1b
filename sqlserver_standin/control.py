"""The control API: how a test arms faults and reads what clients sent. One JSON object a line, loopback only."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
from collections.abc import Callable
from typing import Any

from sqlserver_standin.faults import FaultKind, Faults, LoginFault, StatementFault
from sqlserver_standin.journal import Journal

logger = logging.getLogger("sqlserver_standin")


class ControlError(Exception):
    """The server refused a control request."""


class ControlServer:
    """Answers control requests in threads of its own."""

    def __init__(self, faults: Faults, journal: Journal) -> None:
        self._faults = faults
        self._journal = journal
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._actions: dict[str, Callable[..., Any]] = {
            "fault": self._fault,
            "login_fault": self._login_fault,
            "clear": faults.clear,
            "pending": faults.pending,
            "label": journal.label,
            "statements": journal.statements,
            "messages": journal.messages,
        }

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def start(self) -> None:
        threading.Thread(target=self._accept, name="control", daemon=True).start()

    def stop(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), name="control client", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, client.makefile("rwb") as stream, contextlib.suppress(OSError):
            for line in stream:
                stream.write(json.dumps(self._answer(line)).encode() + b"\n")
                stream.flush()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            action = self._actions[request.pop("do")]
            return {"result": action(**request)}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("control request refused: %r", error)
            return {"error": f"{type(error).__name__}: {error}"}

    def _fault(self, kind: str, **options: Any) -> None:
        self._faults.arm(StatementFault(FaultKind(kind), **options))

    def _login_fault(self, **options: Any) -> None:
        self._faults.arm(LoginFault(**options))


class Control:
    """The test's end of the control API."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._stream = self._socket.makefile("rwb")
        self._lock = threading.Lock()

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    # -- faults ----------------------------------------------------------------------------------------------

    def refuse_logins(
        self,
        count: int = 1,
        number: int = 18456,
        *,
        text: str | None = None,
        severity: int | None = None,
        state: int = 1,
    ) -> None:
        """Refuse the next ``count`` logins with this error."""
        self._ask("login_fault", remaining=count, number=number, text=text, severity=severity, state=state)

    def delay_logins(self, count: int = 1, *, seconds: float) -> None:
        """Let the next ``count`` logins wait before they succeed."""
        self._ask("login_fault", remaining=count, seconds=seconds)

    def fail(
        self,
        number: int,
        *,
        matching: str | None = None,
        count: int = 1,
        text: str | None = None,
        severity: int | None = None,
        state: int = 1,
        disconnect: bool = False,
    ) -> None:
        """Fail the next ``count`` statements (whose SQL contains ``matching``) with this error, unexecuted."""
        self._ask(
            "fault", kind=FaultKind.FAIL, number=number, matching=matching, remaining=count, text=text,
            severity=severity, state=state, disconnect=disconnect,
        )  # fmt: skip

    def drop_before(self, *, matching: str | None = None, count: int = 1) -> None:
        """Close the connection instead of executing the next statement."""
        self._ask("fault", kind=FaultKind.DROP_BEFORE, matching=matching, remaining=count)

    def drop_during(self, *, matching: str | None = None, count: int = 1) -> None:
        """Execute the next statement and close the connection before its answer ends."""
        self._ask("fault", kind=FaultKind.DROP_DURING, matching=matching, remaining=count)

    def drop_after(self, *, matching: str | None = None, count: int = 1) -> None:
        """Execute and answer the next statement, then close the connection."""
        self._ask("fault", kind=FaultKind.DROP_AFTER, matching=matching, remaining=count)

    def cut(self, *, matching: str | None = None, count: int = 1) -> None:
        """Execute the next statement and close the connection in the middle of the last packet of its answer."""
        self._ask("fault", kind=FaultKind.CUT, matching=matching, remaining=count)

    def delay(self, seconds: float, *, matching: str | None = None, count: int = 1) -> None:
        """Execute the next statement only after a while."""
        self._ask("fault", kind=FaultKind.DELAY, seconds=seconds, matching=matching, remaining=count)

    def hang(self, *, matching: str | None = None, count: int = 1) -> None:
        """Never answer the next statement, until the client cancels it or leaves."""
        self._ask("fault", kind=FaultKind.HANG, matching=matching, remaining=count)

    def clear(self) -> None:
        """Disarm all faults."""
        self._ask("clear")

    def pending(self) -> int:
        """How many armed faults have not happened yet."""
        return int(self._ask("pending"))

    # -- what clients sent -----------------------------------------------------------------------------------

    def label(self, test: str, process: int | None = None) -> None:
        """Name the origin of the statements that follow: of those of one client process, where it is given."""
        self._ask("label", text=test, process=process)

    def statements(self) -> list[dict[str, Any]]:
        """Every distinct statement so far: kind, sql, parameters, label."""
        return list(self._ask("statements"))

    def messages(self, *, reset: bool = False) -> dict[str, Any]:
        """The client messages after login since the last reset: ``count``, and ``messages`` (session, application,
        kind, sql, calls)."""
        return dict(self._ask("messages", reset=reset))

    def _ask(self, action: str, **options: Any) -> Any:
        with self._lock:
            self._stream.write(json.dumps({"do": action, **options}).encode() + b"\n")
            self._stream.flush()
            line = self._stream.readline()
        if not line:
            raise ControlError("the stand-in has stopped")
        answer = json.loads(line)
        if "error" in answer:
            raise ControlError(answer["error"])
        return answer["result"]
