"""Finds the application's line behind a statement: the nearest frame outside Django and the libraries."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
from typing import NamedTuple


class Caller(NamedTuple):
    """Where a statement comes from, for the stable code.* attributes."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}"


# Directories whose code is a library's, never the application's. An application that is itself installed
# into site-packages has no nearer frame; find_caller() then says None.
_LIBRARIES = tuple(
    os.path.join(path, "")
    for path in {
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
    }
    if path
)


@functools.lru_cache(maxsize=4096)
def _is_application(filename: str) -> bool:
    return not filename.startswith(("<", *_LIBRARIES))


def find_caller() -> Caller | None:
    """The nearest frame on this thread's stack that is neither Django's, nor a library's, nor ours."""
    frame = sys._getframe(1)
    while True:
        code = frame.f_code
        if _is_application(code.co_filename):
            return Caller(code.co_filename, frame.f_lineno, code.co_qualname)
        if frame.f_back is None:
            return None
        frame = frame.f_back
