"""Whose statement a deadlock graph shows: the one that waited, though the session may have gone on since."""

from __future__ import annotations

import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from sqlserver_standin.engine import deadlocks
from sqlserver_standin.engine.session import Activity

SOON = datetime.timedelta(milliseconds=190)  # PostgreSQL looks for deadlocks after 200
LATER = datetime.timedelta(seconds=5)
HOUR = datetime.timedelta(hours=1)


def session(started: datetime.datetime) -> Any:
    waiting = Activity("UPDATE", "UPDATE", started, True)
    return SimpleNamespace(activity=waiting, previous_activity=Activity("SELECT", "SELECT", started, False))


@pytest.mark.parametrize(
    ("victim_began", "after", "shown"),
    [
        (-HOUR, SOON, "UPDATE"),
        (HOUR, SOON, "UPDATE"),  # however shortly before
        (-HOUR, LATER, "UPDATE"),  # the victim did something else before it waited
        (HOUR, LATER, "SELECT"),  # it has just begun: the session has gone on
    ],
)
def test_the_survivors_statement_is_the_one_that_waited(
    victim_began: datetime.timedelta, after: datetime.timedelta, shown: str
) -> None:
    began = datetime.datetime.now() + victim_began
    victim, survivor = session(began), session(began + after)
    assert deadlocks._activity(survivor, victim).statement == shown
    assert deadlocks._activity(victim, victim).statement == "UPDATE"
