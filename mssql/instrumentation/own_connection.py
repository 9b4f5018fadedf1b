"""A connection of our own to an alias's server: short-lived, observed by nobody, for a thread of ours."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Run = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]
"""Runs one statement (markers: ?) and returns its rows."""

CONNECT_TIMEOUT = 5
QUERY_TIMEOUT = 15


@contextlib.contextmanager
def own_connection(alias: str) -> Iterator[Run]:
    """Gives a function that runs one statement and returns its rows."""
    from django.db import Error, connections

    wrapper: Any = connections.create_connection(alias)
    options = {
        **wrapper.settings_dict.get("OPTIONS", {}),
        "instrumentation": False,
        "retry": False,
        "pool": False,
        "connection_timeout": CONNECT_TIMEOUT,
        "query_timeout": QUERY_TIMEOUT,
    }
    wrapper.settings_dict = {**wrapper.settings_dict, "CONN_MAX_AGE": 0, "OPTIONS": options}

    def run(sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with wrapper.cursor() as cursor:
            cursor.execute(sql.replace("?", "%s"), params or None)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    try:
        yield run
    finally:
        # What went wrong before says more than a broken connection that won't close.
        with contextlib.suppress(Error):
            wrapper.close()
