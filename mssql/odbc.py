"""pyodbc, loaded with whichever ODBC driver manager there is.

pyodbc's Linux wheels bring no driver manager (libodbc): they want the system's. Where the system has none, a copy in
the environment's own ``lib`` folder serves (conda puts it there; ``tools/odbc_driver_manager.py`` does without conda).
The dynamic loader does not look there by itself, so it is loaded here, before pyodbc asks for it by name.
"""

from __future__ import annotations

import ctypes
import sys
from importlib.util import find_spec
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

# In the order in which each is needed by the next one.
_LIBRARIES = ("libltdl.so.7", "libodbc.so.2")


def _load_driver_manager(folder: Path, cause: ImportError) -> None:
    if "libodbc" not in str(cause):
        raise ImproperlyConfigured(f"The mssql database backend needs pyodbc: {cause}") from cause
    if not (folder / _LIBRARIES[-1]).exists():
        raise ImproperlyConfigured(
            f"pyodbc is installed, but the ODBC driver manager that it needs is not ({cause}). Looked in the system's "
            f"library path and in {folder}. Install it with one of:\n"
            "    apt-get install libodbc2        (Debian, Ubuntu)\n"
            "    dnf install unixODBC            (Fedora, Red Hat)\n"
            "    apk add unixodbc                (Alpine)\n"
            "    brew install unixodbc           (macOS)"
        ) from cause
    for name in _LIBRARIES:
        library = folder / name
        if library.exists():
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


try:
    import pyodbc
except ImportError as error:
    _load_driver_manager(Path(sys.prefix) / "lib", error)
    import pyodbc


def driver_package() -> Path | None:
    """The folder of ``mssql-python-odbc``, in which Microsoft's driver comes from PyPI; None: not installed."""
    spec = find_spec("mssql_python_odbc")
    return Path(spec.origin).parent if spec is not None and spec.origin else None


__all__ = ["driver_package", "pyodbc"]
