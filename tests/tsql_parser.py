"""Microsoft's own T-SQL parser (ScriptDom), run in this process on mono, as a judge of the SQL that we send."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

DLL_NAME = "Microsoft.SqlServer.TransactSql.ScriptDom.dll"
_CACHE = Path(sys.prefix) / "share" / "scriptdom"


class ParserUnavailable(RuntimeError):
    """Mono, pythonnet or the assembly is missing; the message says which and what to do."""


def dll_path(*, download: bool = True) -> Path:
    """Where the ScriptDom assembly is: ``MSSQL_SCRIPTDOM``, else a cache beside the interpreter (filled from PyPI)."""
    if configured := os.environ.get("MSSQL_SCRIPTDOM"):
        path = Path(configured)
        if not path.is_file():
            raise ParserUnavailable(f"MSSQL_SCRIPTDOM={configured!r} is not a file.")
        return path
    path = _CACHE / DLL_NAME
    if not path.is_file():
        if not download:
            raise ParserUnavailable(f"{DLL_NAME} is not cached. Run: python -m tests.tsql_parser --download")
        download_dll(path)
    return path


def download_dll(target: Path) -> None:
    """Take the one file out of the wheel of Microsoft's ``mssql-cli`` (MIT) that carries the parser."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"),
            *("--platform", "manylinux1_x86_64", "--dest", folder, "mssql-cli==1.0.0"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ParserUnavailable(f"Could not download mssql-cli for {DLL_NAME}:\n{done.stderr.strip()}")
        wheel = next(Path(folder).glob("mssql_cli-*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            member = next(name for name in archive.namelist() if name.endswith("/" + DLL_NAME))
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_suffix(f".{os.getpid()}")
            partial.write_bytes(archive.read(member))
            partial.replace(target)


class TSqlParser:
    """``errors(sql)`` gives the parser's complaints about a statement as Django's cursor sends it (``?`` markers)."""

    def __init__(self, dll: Path | None = None) -> None:
        path = dll or dll_path()
        try:
            import pythonnet  # Both want mono, which only this helper needs.

            with (
                warnings.catch_warnings()
            ):  # Debian's mono is older than pythonnet would like; parsing is safe.
                warnings.simplefilter("ignore", UserWarning)
                if pythonnet.get_runtime_info() is None:
                    pythonnet.load("mono")
                import clr
        except Exception as error:
            raise ParserUnavailable(
                f"pythonnet on mono did not start ({error}). Install mono (Debian: mono-runtime) and pythonnet."
            ) from error
        clr.AddReference(str(path))
        from Microsoft.SqlServer.TransactSql import ScriptDom  # type: ignore[import-not-found]
        from System.IO import StringReader  # type: ignore[import-not-found]

        self._reader: Any = StringReader
        # The assembly of 2019 ends with T-SQL 150, the grammar of SQL Server 2019.
        self._parser: Any = ScriptDom.TSql150Parser(True)

    def errors(self, sql: str) -> list[str]:
        """Return "line:column message" for each syntax error; an empty list when SQL Server would parse it."""
        _, errors = self._parser.Parse(self._reader(number_markers(sql)), None)
        return [f"{error.Line}:{error.Column} {error.Message}" for error in errors]


_TOKENS = re.compile(
    r"""'(?:[^']|'')*' | \[(?:[^\]]|\]\])*\] | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/ | (?P<marker>\?)""",
    re.VERBOSE | re.DOTALL,
)


def number_markers(sql: str) -> str:
    """Replace ODBC's ``?`` markers by ``@P1``, ``@P2`` …, as the driver does before the server parses the text.

    >>> number_markers("SELECT [a?], '?' FROM t WHERE a = ? AND b = ? -- ?")
    "SELECT [a?], '?' FROM t WHERE a = @P1 AND b = @P2 -- ?"
    """
    number = 0

    def replace(match: re.Match[str]) -> str:
        nonlocal number
        if match["marker"] is None:
            return match[0]
        number += 1
        return f"@P{number}"

    return _TOKENS.sub(replace, sql)


def main() -> int:
    """Parse each file named on the command line (or standard input) and print its errors."""
    arguments = sys.argv[1:]
    if arguments == ["--download"]:
        print(dll_path())
        return 0
    parser = TSqlParser()
    failed = 0
    for name in arguments or ["-"]:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        for error in parser.errors(text):
            print(f"{name}:{error}")
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
