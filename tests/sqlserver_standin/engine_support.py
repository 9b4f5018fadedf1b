"""What the tests of the engine share: batches and what they answer, in a form that a table can hold."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlserver_standin.events import Message, ResultSet, SqlError
from tests.sqlserver_standin.sql_support import Client, new_client


@contextmanager
def new_database() -> Iterator[Client]:
    """A session in a database of its own."""
    client = new_client()
    name = f"t_{uuid.uuid4().hex[:12]}"
    client.events(f"CREATE DATABASE {name}")
    client.events(f"USE {name}")
    try:
        yield client
    finally:
        client.session.close()
        cleaner = new_client()
        cleaner.events(f"ALTER DATABASE {name} SET SINGLE_USER WITH ROLLBACK IMMEDIATE; DROP DATABASE {name}")
        cleaner.session.close()


def second_session(client: Client) -> Client:
    """Another session in the same database."""
    other = new_client()
    other.events(f"USE {client.session.database}")
    return other


def wait_until_blocked(watcher: Client, *waiting: Client) -> None:
    """Return once each of these sessions waits for another's lock."""
    spids = ", ".join(str(client.session.spid) for client in waiting)
    question = (
        "SELECT COUNT(*) FROM sys.dm_exec_requests "
        f"WHERE session_id IN ({spids}) AND blocking_session_id <> 0"
    )
    deadline = time.monotonic() + 60
    while watcher.value(question) < len(waiting):
        assert time.monotonic() < deadline, "nothing is blocked"
        time.sleep(0.02)


def answers(client: Client, sql: str) -> list[Any]:
    """What a batch answers, in order: rows, error numbers and message texts; an error that ends it stands last."""
    found: list[Any] = []
    try:
        for event in client.session.execute(sql):
            if isinstance(event, ResultSet):
                found.append([tuple(row) for row in event.rows])
            elif isinstance(event, SqlError):
                found.append(event.number)
            elif isinstance(event, Message) and event.number not in (3621, 5701):
                found.append(event.text)
    except SqlError as error:
        found.append(error.number)
    return found


def failure(client: Client, sql: str) -> SqlError:
    """The first error of a batch."""
    try:
        for event in client.session.execute(sql):
            if isinstance(event, SqlError):
                return event
    except SqlError as error:
        return error
    raise AssertionError(f"no error: {sql}")
