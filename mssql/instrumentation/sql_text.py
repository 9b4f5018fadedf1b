"""Query summary and sanitised text of a statement."""

from __future__ import annotations

import functools
from typing import NamedTuple

SUMMARY_LIMIT = 255


class SqlText(NamedTuple):
    """What may be told of a statement without telling its data."""

    summary: str
    text: str


def shorten(summary: str) -> str:
    """At most 255 characters, cut between words."""
    return summary if len(summary) <= SUMMARY_LIMIT else summary[: SUMMARY_LIMIT + 1].rpartition(" ")[0]


@functools.lru_cache(maxsize=2048)
def describe(sql: str) -> SqlText:
    """Summary and sanitised text of ``sql``."""
    return SqlText(shorten(sql.partition(" ")[0]), "?")
