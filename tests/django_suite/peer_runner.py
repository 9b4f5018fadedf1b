"""Django's test runner, which leaves out the tests that mssql-django's maintainers exclude on SQL Server."""

from __future__ import annotations

import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.django_suite.runner import RecordingRunner

LIST = Path(__file__).with_name("peer_exclusions.txt")
REASON = "mssql-django's maintainers exclude it on SQL Server"


def exclusions() -> frozenset[str]:
    """Return the ids on their list."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if not line.startswith("#"))


class PeerRunner(RecordingRunner):
    def build_suite(self, *args: Any, **kwargs: Any) -> unittest.TestSuite:
        # Their own runner does not execute these either: each is replaced by a function that fails, as expected.
        suite: unittest.TestSuite = super().build_suite(*args, **kwargs)
        excluded = exclusions()
        for test in _tests(suite):
            if test.id() in excluded:
                name = test._testMethodName
                setattr(test, name, unittest.skip(REASON)(getattr(test, name)))
        return suite


def _tests(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _tests(test)
        else:
            yield test
