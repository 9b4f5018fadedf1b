"""The parameter declarations of sp_executesql and sp_prepare: ``@P1 nvarchar(40), @P2 decimal(9,2) OUTPUT``."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from sqlserver_standin.errors import sql_error, unsupported
from sqlserver_standin.events import SqlError
from sqlserver_standin.tds.encode import TYPE_NAMES
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
_WITH_FACETS = _CHARACTER | _TEMPORAL | {"decimal", "numeric", "float", "real"}


@dataclass(frozen=True, slots=True)
class Declaration:
    """A declared parameter."""

    name: str
    type: SqlType
    output: bool = False


@functools.lru_cache(maxsize=512)
def parse_declarations(text: str) -> tuple[Declaration, ...]:
    """Read a list of declarations; raises SQL Server's error 102 where it is none."""
    declarations: list[Declaration] = []
    position = 0
    text = text.strip()
    while position < len(text):
        match = _DECLARATION.match(text, position)
        if match is None:
            near = text[position : position + 128].split(maxsplit=1)[0]
            raise sql_error(102, near)
        sql_type = _sql_type(match["type"], match["first"], match["second"])
        _check(sql_type, match["type"], match["first"], len(declarations) + 1)
        declarations.append(Declaration(match["name"], sql_type, bool(match["direction"])))
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


def _check(sql_type: SqlType, written: str, facet: str | None, number: int) -> None:
    """Refuse types and facets that do not exist."""
    name = sql_type.name
    if name == "json":
        raise unsupported("a parameter of type json")
    if name not in TYPE_NAMES:
        raise SqlError(
            2715,
            f"Column, parameter, or variable #{number}: Cannot find data type {written}.",
            severity=16,
            state=3,
        )
    if facet is not None and name not in _WITH_FACETS:
        raise SqlError(
            2716,
            f"Column, parameter, or variable #{number}: Cannot specify a column width on data type {written}.",
        )
    if sql_type.length is not None and sql_type.length != MAX:
        maximum = 4000 if name in ("nchar", "nvarchar") else 8000
        if sql_type.length > maximum:
            raise SqlError(
                2717,
                f"The size ({sql_type.length}) given to the parameter exceeds the maximum allowed ({maximum}).",
                state=2,
            )
        if sql_type.length == 0:
            raise SqlError(1001, "Line 1: Length or precision specification 0 is invalid.", severity=15)
    if sql_type.length == MAX and name not in ("varchar", "nvarchar", "varbinary"):
        raise sql_error(102, "max")
    if name in _TEMPORAL and (sql_type.scale or 0) > 7:
        raise SqlError(1002, f"Line 1: Specified scale {sql_type.scale} is invalid.", severity=15)
    if name in ("decimal", "numeric"):
        precision, scale = sql_type.precision or 0, sql_type.scale or 0
        if not 1 <= precision <= 38:
            raise SqlError(
                2750,
                f"Column or parameter #{number}: Specified column precision {precision} is greater than the maximum "
                "precision of 38.",
            )
        if scale > precision:
            raise SqlError(
                183,
                f"The scale ({scale}) for column '' must be within the range 0 to {precision}.",
                severity=15,
            )
