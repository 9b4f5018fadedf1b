"""A log file on a full disk: told once, and again only when it had recovered."""

from __future__ import annotations

import errno
import logging
from pathlib import Path

import pytest

from mssql.instrumentation.log_file import FileHandler


class _Disk(logging.Formatter):
    """Formatting is the last thing before the write, and fails as that does."""

    full = False

    def format(self, record: logging.LogRecord) -> str:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().format(record)


def test_a_full_disk_is_told_once_until_there_is_room(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, disk = tmp_path / "query.log", _Disk()
    handler = FileHandler(path, encoding="utf-8")
    handler.setFormatter(disk)

    def log(*messages: str) -> None:
        for message in messages:
            handler.handle(logging.LogRecord("mssql.query", logging.INFO, __file__, 1, message, None, None))

    def complaints() -> int:
        return capsys.readouterr().err.count("OSError: [Errno 28]")

    disk.full = True
    log("first", "second", "third")
    assert complaints() == 1

    disk.full = False
    log("fourth")
    assert complaints() == 0
    assert path.read_text("utf-8") == "fourth\n"

    disk.full = True
    log("fifth", "sixth")
    assert complaints() == 1
    handler.close()
