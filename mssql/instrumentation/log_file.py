"""A log file that tells once that it can't be written, for Django's LOGGING."""

from __future__ import annotations

import logging


class FileHandler(logging.FileHandler):
    """Python's own file handler prints a traceback for each record that a full disk refuses: one per query here.

    This one prints the first, and another only after a record could be written again.
    """

    _failed = False
    _told = False

    def emit(self, record: logging.LogRecord) -> None:
        self._failed = False
        super().emit(record)
        if not self._failed:
            self._told = False

    def handleError(self, record: logging.LogRecord) -> None:
        self._failed = True
        if not self._told:
            self._told = True
            super().handleError(record)
