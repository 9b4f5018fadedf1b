"""Django's test runner, which also writes down what became of each test."""

from __future__ import annotations

import json
import os
import unittest
from pathlib import Path
from typing import Any

import django
from django.db import connection
from django.test.runner import DiscoverRunner


def _recording(base: type[unittest.TextTestResult]) -> type[unittest.TextTestResult]:
    """Return the result class, extended by a dictionary of outcomes."""

    class RecordingResult(base):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.outcomes: dict[str, dict[str, str]] = {}

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


class RecordingRunner(DiscoverRunner):
    def get_resultclass(self) -> type[unittest.TextTestResult]:
        return _recording(super().get_resultclass() or unittest.TextTestResult)

    def run_suite(self, suite: Any, **kwargs: Any) -> Any:
        result = super().run_suite(suite, **kwargs)
        if target := os.environ.get("DJANGO_SUITE_RESULTS"):
            self._write(Path(target), result.outcomes)
        return result

    @staticmethod
    def _write(folder: Path, outcomes: dict[str, dict[str, str]]) -> None:
        """Write a file for each app: {"django": version, "tests": {id: outcome}}."""
        apps: dict[str, dict[str, dict[str, str]]] = {}
        for test, outcome in outcomes.items():
            apps.setdefault(_app(test), {})[test] = outcome
        for app, tests in apps.items():
            report = {"django": django.get_version(), "tests": tests}
            (folder / f"{app}.json").write_text(
                json.dumps(report, indent=0, sort_keys=True), encoding="utf-8"
            )


def _app(test: str) -> str:
    """Return the app of a test's id; that of a failed setUpClass reads "setUpClass (app.tests.Case)"."""
    return test.rpartition("(")[2].partition(".")[0]
