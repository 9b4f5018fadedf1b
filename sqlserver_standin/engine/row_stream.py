"""The rows of a result set, fetched while the client takes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Any

from psycopg import pq

from sqlserver_standin.engine.link import ROWS_AT_ONCE, PostgresError

Row = tuple[Any, ...]


class RowStream:
    """An iterable of rows; a small result is complete at once.

    A failure before the first rows is raised when the stream is made. A later one ends the rows, and ``finish()``
    raises it: what the client has got by then it keeps, as with SQL Server.
    """

    def __init__(
        self, parts: Iterator[pq.abc.PGresult], decode: Callable[[pq.abc.PGresult], list[Row]]
    ) -> None:
        self._parts = parts
        self._decode = decode
        self._waiting: deque[list[Row]] = deque()
        self._failure: PostgresError | None = None
        self.count = 0
        self._fetch()
        if self.count < ROWS_AT_ONCE:
            self.finish()

    def __iter__(self) -> Iterator[Row]:
        while self._waiting or self._fetch():
            yield from self._waiting.popleft()

    def finish(self) -> None:
        """Fetch the rows that nobody has taken, so that the connection is free; they can still be taken."""
        while self._fetch():
            pass
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """End the query."""
        if isinstance(self._parts, Generator):
            self._parts.close()

    def _fetch(self) -> bool:
        try:
            part = next(self._parts, None)
        except PostgresError as error:
            self._failure = error
            return False
        if part is None:
            return False
        rows = self._decode(part)
        self.count += len(rows)
        self._waiting.append(rows)
        return True
