"""What clients sent: each distinct statement for the T-SQL gate, each message for the round-trip tests."""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

STATEMENTS_VARIABLE = "SQLSERVER_STANDIN_STATEMENTS"
_TRANSCRIPT_LENGTH = 10_000


@dataclass(frozen=True, slots=True)
class SentStatement:
    """A distinct statement: its text, its declared parameters, and the label that was set when it first came."""

    kind: str
    sql: str
    parameters: str
    label: str


@dataclass(frozen=True, slots=True)
class SentMessage:
    """One client message after login; ``calls`` counts the procedure calls within it."""

    session: int
    application: str
    kind: str
    sql: str
    calls: int = 1


class Journal:
    """Keeps what clients sent, for those that asked for it; `enabled` is False where nobody did."""

    def __init__(self, *, statements_file: str | None, controlled: bool) -> None:
        self.enabled = bool(statements_file) or controlled
        self._file = statements_file
        self._controlled = controlled
        self._lock = threading.Lock()
        self._labels: dict[int | None, str] = {}
        self._statements: dict[tuple[str, str, str], SentStatement] = {}
        self._messages: deque[SentMessage] = deque(maxlen=_TRANSCRIPT_LENGTH)
        self._message_count = 0

    @classmethod
    def from_environment(cls, *, controlled: bool) -> Journal:
        return cls(statements_file=os.environ.get(STATEMENTS_VARIABLE), controlled=controlled)

    def label(self, text: str, process: int | None = None) -> None:
        """Name the origin (a test) of the statements that come from now on: from the client process of this number,
        or from all that have no label of their own."""
        self._labels[process] = text

    def statement(self, kind: str, sql: str, parameters: str = "", *, process: int | None = None) -> None:
        key = (kind, sql, parameters)
        if key not in self._statements:
            label = self._labels.get(process) or self._labels.get(None, "")
            with self._lock:
                self._statements.setdefault(key, SentStatement(kind, sql, parameters, label))

    def message(self, message: SentMessage) -> None:
        if self._controlled:
            with self._lock:
                self._messages.append(message)
                self._message_count += 1

    def statements(self) -> list[dict[str, Any]]:
        with self._lock:
            return [asdict(statement) for statement in self._statements.values()]

    def messages(self, *, reset: bool) -> dict[str, Any]:
        """The number of messages since the last reset, and the transcript of the newest ones."""
        with self._lock:
            answer = {"count": self._message_count, "messages": [asdict(item) for item in self._messages]}
            if reset:
                self._messages.clear()
                self._message_count = 0
            return answer

    def save(self) -> None:
        """Append the statements, at once, to the file that the environment names: several servers may share it."""
        if self._file is None:
            return
        # In ASCII, so that a line stays one whatever separators and halves of characters are in it.
        lines = [json.dumps(statement) + "\n" for statement in self.statements()]
        with Path(self._file).open("ab", buffering=0) as file:
            file.write("".join(lines).encode("ascii"))
