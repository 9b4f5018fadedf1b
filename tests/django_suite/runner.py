"""Django's test runner, which also writes down what became of each test."""

from __future__ import annotations

import atexit
import json
import os
import unittest
from functools import cache
from pathlib import Path
from typing import Any

import django
from django.db import connection, router
from django.test.runner import DiscoverRunner, ParallelTestSuite, RemoteTestResult, RemoteTestRunner
from django.test.signals import setting_changed

from sqlserver_standin.control import Control
from tests.django_suite.router import Router


def _recording(base: type[unittest.TextTestResult]) -> type[unittest.TextTestResult]:
    """Return the result class, extended by a dictionary of outcomes."""

    class RecordingResult(base):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.outcomes: dict[str, dict[str, str]] = {}

        def startTest(self, test: unittest.TestCase) -> None:
            super().startTest(test)
            _announce(test)

        def _note(self, test: unittest.TestCase, outcome: str, detail: str = "") -> None:
            self.outcomes.setdefault(test.id(), {"outcome": outcome, "detail": detail})

        def addSuccess(self, test: unittest.TestCase) -> None:
            super().addSuccess(test)
            self._note(test, "passed")

        def addError(self, test: unittest.TestCase, err: Any) -> None:
            super().addError(test, err)
            self._note(test, "failed", self.errors[-1][1])

        def addFailure(self, test: unittest.TestCase, err: Any) -> None:
            super().addFailure(test, err)
            self._note(test, "failed", self.failures[-1][1])

        def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
            super().addSubTest(test, subtest, err)
            if err is not None:
                self._note(test, "failed", (self.errors + self.failures)[-1][1])

        def addSkip(self, test: unittest.TestCase, reason: str) -> None:
            super().addSkip(test, reason)
            excluded = reason in connection.features.django_test_skips
            self._note(test, "excluded" if excluded else "skipped", reason)

        def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
            super().addExpectedFailure(test, err)
            self._note(test, "expected", "expected failure")

        def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
            super().addUnexpectedSuccess(test)
            self._note(test, "failed", "unexpected success")

    return RecordingResult


def _announce(test: unittest.TestCase) -> None:
    """Tell the stand-in which test begins in this process, so that its statements bear the test's name."""
    if (control := _control(os.getpid())) is not None:
        control.label(test.id(), os.getpid())


@cache
def _control(process: int) -> Control | None:
    """Return the line of this process to the stand-in; None on another server."""
    port = os.environ.get("STANDIN_CONTROL_PORT")
    if port is None:
        return None
    control = Control(int(port))
    atexit.register(control.close)
    return control


class AnnouncingResult(RemoteTestResult):
    """What a process of several keeps of its tests until it gives them to the first, which then sees them start."""

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        _announce(test)


class AnnouncingTestRunner(RemoteTestRunner):
    resultclass = AnnouncingResult


class AnnouncingTestSuite(ParallelTestSuite):
    runner_class = AnnouncingTestRunner


def _keep_router(*, setting: str, value: object = None, **_: Any) -> None:
    """Put the router back when a test gives DATABASE_ROUTERS back: Django then reads the setting, which lacks it."""
    if setting == "DATABASE_ROUTERS" and not value:
        router.routers = [*router.routers, Router()]


class RecordingRunner(DiscoverRunner):
    parallel_test_suite = AnnouncingTestSuite

    def get_resultclass(self) -> type[unittest.TextTestResult]:
        return _recording(super().get_resultclass() or unittest.TextTestResult)

    def setup_databases(self, **kwargs: Any) -> Any:
        # Not in DATABASE_ROUTERS: some of Django's checks are milder where that has entries.
        router.routers = [*router.routers, Router()]
        setting_changed.connect(_keep_router)
        return super().setup_databases(**kwargs)

    def run_suite(self, suite: Any, **kwargs: Any) -> Any:
        result: Any = super().run_suite(suite, **kwargs)
        if target := os.environ.get("DJANGO_SUITE_OUTCOMES"):
            report = {"django": django.get_version(), "tests": result.outcomes}
            Path(target).write_text(json.dumps(report), encoding="utf-8")
        return result
