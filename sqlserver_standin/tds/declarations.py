"""The parameter declarations of sp_executesql and sp_prepare: ``@P1 nvarchar(40), @P2 decimal(9,2) OUTPUT``."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from sqlserver_standin.events import SqlError
from sqlserver_standin.types import MAX, SqlType

_DECLARATION = re.compile(
    r"""
    \s* (?P<name> @[\w@#$]* ) \s+ (?:AS\s+)?
    (?P<type> (?: \[[^\]]+\] | "[^"]+" | \w+ ) (?: \s* \. \s* (?: \[[^\]]+\] | "[^"]+" | \w+ ) )*
              (?: \s+ (?:precision|varying) \b )? )
    (?: \s* \( \s* (?P<first> \d+ | max ) \s* (?: , \s* (?P<second> \d+ ) \s* )? \) )?
    (?P<direction> \s+ (?:OUTPUT|OUT)\b )? (?: \s+ READONLY\b )?
    \s* (?: , (?=\s*@) | $ )
    """,
    re.IGNORECASE | re.VERBOSE,
)

# Synonyms: https://learn.microsoft.com/sql/t-sql/data-types/data-type-synonyms-transact-sql
_SYNONYMS = {
    "integer": "int",
    "dec": "decimal",
    "double precision": "float",
    "character": "char",
    "national character": "nchar",
    "char varying": "varchar",
    "character varying": "varchar",
    "binary varying": "varbinary",
    "rowversion": "timestamp",
}
_CHARACTER = {"char", "varchar", "nchar", "nvarchar", "binary", "varbinary"}
_TEMPORAL = {"time", "datetime2", "datetimeoffset"}


@dataclass(frozen=True, slots=True)
class Declaration:
    """A declared parameter."""

    name: str
    type: SqlType
    output: bool = False


@functools.lru_cache(maxsize=2048)
def parse_declarations(text: str) -> tuple[Declaration, ...]:
    """Read a list of declarations; raises SQL Server's error 102 where it is none."""
    declarations = []
    position = 0
    text = text.strip()
    while position < len(text):
        match = _DECLARATION.match(text, position)
        if match is None:
            near = text[position : position + 128].split(maxsplit=1)[0]
            raise SqlError(102, f"Incorrect syntax near '{near}'.", severity=15)
        declarations.append(
            Declaration(
                match["name"],
                _sql_type(match["type"], match["first"], match["second"]),
                bool(match["direction"]),
            )
        )
        position = match.end()
    return tuple(declarations)


def _sql_type(written: str, first: str | None, second: str | None) -> SqlType:
    name = re.sub(r"\s+", " ", re.sub(r'[\[\]"]', "", written).lower()).rpartition(".")[2]
    name = _SYNONYMS.get(name, name)
    number = MAX if first is not None and first.lower() == "max" else None if first is None else int(first)
    if name in _CHARACTER:
        return SqlType(name, length=1 if number is None else number)
    if name == "sysname":
        return SqlType("nvarchar", length=128)
    if name in ("decimal", "numeric"):
        return SqlType(name, precision=18 if number is None else number, scale=int(second or 0))
    if name == "float":
        if number is not None and number <= 24:
            return SqlType("real")
        return SqlType("float", precision=53)
    if name in _TEMPORAL:
        return SqlType(name, scale=7 if number is None else number)
    return SqlType(name)
