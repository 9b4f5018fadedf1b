"""One stand-in engine for the tests of T-SQL: no wire, real PostgreSQL."""

from __future__ import annotations

import atexit
import functools
import tempfile
from pathlib import Path
from typing import Any

import pytest

from sqlserver_standin.engine.instance import Instance
from sqlserver_standin.engine.session import Session
from sqlserver_standin.events import Parameter, ResultSet, SqlError
from sqlserver_standin.releases import DEFAULT_RELEASE, RELEASES


@functools.cache
def _instance(release: str) -> Instance:
    directory = tempfile.TemporaryDirectory(prefix="standin-")
    instance = Instance(Path(directory.name), password="x", release=RELEASES[release])
    atexit.register(directory.cleanup)
    atexit.register(instance.close)
    return instance


class Client:
    """Runs batches and gives the rows of the last result set, or raises the first error."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def events(self, sql: str, *parameters: Parameter) -> list[Any]:
        events: list[Any] = []
        for event in self.session.execute(sql, parameters):
            if isinstance(event, SqlError):
                raise event
            if isinstance(event, ResultSet):
                event = ResultSet(event.columns, list(event.rows))
            events.append(event)
        return events

    def rows(self, sql: str, *parameters: Parameter) -> list[tuple[Any, ...]]:
        results = [event for event in self.events(sql, *parameters) if isinstance(event, ResultSet)]
        return [tuple(row) for row in results[-1].rows] if results else []

    def value(self, sql: str, *parameters: Parameter) -> Any:
        ((value,),) = self.rows(sql, *parameters)
        return value

    def type_of(self, expression: str) -> str:
        """The type of an expression, as ``decimal(38,6)`` or ``nvarchar(20)``."""
        (event,) = [e for e in self.events(f"SELECT {expression}") if isinstance(e, ResultSet)]
        data_type = event.columns[0].type
        if data_type.name in ("decimal", "numeric"):
            return f"decimal({data_type.precision},{data_type.scale})"
        if data_type.name in ("varchar", "nvarchar", "char", "nchar", "varbinary", "binary"):
            return f"{data_type.name}({'max' if data_type.length == -1 else data_type.length})"
        return data_type.name

    def error(self, sql: str, *parameters: Parameter) -> tuple[int, str]:
        """The number and the text of the error that ``sql`` must raise."""
        with pytest.raises(SqlError) as caught:
            self.events(sql, *parameters)
        return caught.value.number, caught.value.text


def new_client(release: str = DEFAULT_RELEASE) -> Client:
    return Client(_instance(release).login(user="sa", password="x"))
