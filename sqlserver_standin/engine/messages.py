"""PRINT, THROW and RAISERROR."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sqlserver_standin.engine import statements as st
from sqlserver_standin.engine.evaluation import INT, NVARCHAR_MAX, Evaluator
from sqlserver_standin.engine.frame import Frame
from sqlserver_standin.errors import sql_error, unsupported
from sqlserver_standin.events import (
    Event,
    Message,
    SqlError,
)

if TYPE_CHECKING:
    from sqlserver_standin.engine.session import Session


_FORMAT = re.compile(
    r"%(?P<flags>[-+ 0#]*)(?P<width>\d+|\*)?(\.(?P<precision>\d+|\*))?(?P<size>I64|[hl])?(?P<kind>[%diosuxX])"
)


class Messages:
    """Answers what a batch says of its own."""

    def __init__(self, session: Session, evaluator: Evaluator) -> None:
        self._session = session
        self._evaluator = evaluator

    def print(self, statement: st.Print, frame: Frame) -> Iterator[Event]:
        value = self._evaluator.scalar(statement.value, frame, NVARCHAR_MAX)
        yield Message(
            0,
            "" if value is None else str(value)[:4000] or " ",
            line=statement.line,
            procedure=frame.procedure,
        )

    def throw(self, statement: st.Throw, frame: Frame) -> Iterator[Event]:
        if not statement.arguments:
            if not self._session.errors:
                raise sql_error(10704)
            raise self._session.errors[-1]
        number, message, state = (self._evaluator.scalar(argument, frame) for argument in statement.arguments)
        if int(number) < 50000:
            raise sql_error(35100, number)
        raise SqlError(int(number), str(message), severity=16, state=int(state), line=statement.line)
        yield

    def raiserror(self, statement: st.RaisError, frame: Frame) -> Iterator[Event]:
        message = self._evaluator.scalar(statement.message, frame)
        severity = int(self._evaluator.scalar(statement.severity, frame, INT))
        state = int(self._evaluator.scalar(statement.state, frame, INT))
        arguments = [self._evaluator.scalar(argument, frame) for argument in statement.arguments]
        number = 50000
        if isinstance(message, int):
            raise unsupported("RAISERROR with a message number", statement.line)
        message_text = format_message(str(message), arguments)
        severity = max(severity, 0)
        state = 1 if state < 0 else min(state, 255)
        if severity > 18 and "LOG" not in statement.options:
            raise sql_error(2754)
        if severity <= 10:
            yield Message(number, message_text, severity, state, statement.line, frame.procedure)
            return
        raise SqlError(number, message_text, severity, state, statement.line, frame.procedure)


def format_message(template: str, arguments: Sequence[Any]) -> str:
    """RAISERROR's substitution: https://learn.microsoft.com/sql/t-sql/language-elements/raiserror-transact-sql"""
    remaining = list(arguments)

    def replace(match: re.Match[str]) -> str:
        kind = match["kind"]
        if kind == "%":
            return "%"
        width = match["width"]
        if width == "*":
            width = str(remaining.pop(0))
        precision = match["precision"]
        if precision == "*":
            precision = str(remaining.pop(0))
        value = remaining.pop(0) if remaining else None
        if value is None:
            shown = "(null)"
        elif kind == "s":
            shown = str(value)[: int(precision)] if precision else str(value)
        else:
            number = int(value)
            if kind in "uoxX" and number < 0:
                number += 1 << 32
            shown = {"o": f"{number:o}", "x": f"{number:x}", "X": f"{number:X}"}.get(kind, str(number))
            if "+" in match["flags"] and kind in "di" and number >= 0:
                shown = "+" + shown
        if width:
            if "-" in match["flags"]:
                shown = shown.ljust(int(width))
            else:
                shown = shown.rjust(int(width), "0" if "0" in match["flags"] else " ")
        return shown

    return _FORMAT.sub(replace, template)[:2047]
