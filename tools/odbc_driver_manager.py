"""Give this environment an ODBC driver manager from PyPI, where the system has none.

pyodbc's wheels for Linux are linked to the system's libodbc.so.2 and bring none; Microsoft's driver in the
``mssql-python-odbc`` wheel wants libltdl.so.7 as well. A machine with nothing but Python and a package index has
neither. The last pyodbc wheel that did bundle unixODBC (4.0.34) has both, under names of its own. This fetches that
wheel, checks it, gives the two libraries their customary names and puts them into the environment's ``lib`` folder,
where ``mssql.odbc`` finds them. Where pyodbc imports already, it does nothing.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = "pyodbc-4.0.34-cp310-cp310-manylinux_2_24_x86_64.whl"
SHA256 = "9d8ca2122c2671264d53f0009e4c96b80b4da9bd44394e6ef6692b3aeb34be7c"
# Name in the wheel -> customary name. Both stand in the libraries' own dynamic sections (SONAME, NEEDED).
LIBRARIES = {
    "libltdl-738907ff.so.7": "libltdl.so.7",
    "libodbc-2003e41d.so.2.0.0": "libodbc.so.2",
}
ELSEWHERE = "Install it from the system instead: apt-get install libodbc2 libltdl7 (or dnf install unixODBC)."


def imports_pyodbc() -> bool:
    """Ask a fresh interpreter: the dynamic loader remembers its failures."""
    return subprocess.run([sys.executable, "-c", "import pyodbc"], capture_output=True).returncode == 0


def fetch(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--python-version", "3.10", "--platform", "manylinux_2_24_x86_64", "--dest", str(folder)]
    done = subprocess.run([*command, "pyodbc==4.0.34"], capture_output=True, text=True)
    wheel = folder / WHEEL
    if done.returncode or not wheel.exists():
        raise SystemExit(f"Could not fetch {WHEEL} by pip:\n{done.stderr.strip()}\n{ELSEWHERE}")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != SHA256:
        raise SystemExit(f"{WHEEL} has SHA-256 {digest}, expected {SHA256}; not used.\n{ELSEWHERE}")
    return wheel


def renamed(library: bytes) -> bytes:
    """The library with each customary name written over the (longer) bundled one."""
    for bundled, customary in LIBRARIES.items():
        old = bundled.encode() + b"\0"
        library = library.replace(old, customary.encode().ljust(len(old), b"\0"))
    return library


def main() -> None:
    if imports_pyodbc():
        return
    target = Path(sys.prefix) / "lib"
    if all((target / name).exists() for name in LIBRARIES.values()):
        return
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise SystemExit(
            f"No ODBC driver manager for {sys.platform} {platform.machine()} on PyPI. {ELSEWHERE}"
        )
    with tempfile.TemporaryDirectory() as folder:
        wheel = fetch(Path(folder))
        target.mkdir(exist_ok=True)
        with zipfile.ZipFile(wheel) as archive:
            for bundled, customary in LIBRARIES.items():
                (target / customary).write_bytes(renamed(archive.read(f"pyodbc.libs/{bundled}")))


if __name__ == "__main__":
    main()
