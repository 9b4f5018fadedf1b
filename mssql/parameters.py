"""Placeholders and parameter types: Django's SQL and values, turned into what the driver takes.

Each type is declared in few sizes. Left to itself the driver declares a string by its own length and an int by its
magnitude, and the server then compiles and caches a plan for each (nvarchar(6), nvarchar(7) …).
"""

from __future__ import annotations

import datetime
import decimal
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, cast

from django.utils.functional import Promise

from mssql.odbc import pyodbc


class Declaration(NamedTuple):
    """ODBC's type, size and scale, as `setinputsizes` takes them
    (https://learn.microsoft.com/sql/odbc/reference/appendixes/sql-data-types)."""

    sql_type: int
    size: int = 0
    scale: int = 0

    @property
    def tsql(self) -> str:
        """The type as T-SQL writes it."""
        name, form = _NAMES[self.sql_type]
        return name + form.format(size=self.size or "max", scale=self.scale)


_NAMES = {
    -7: ("bit", ""),
    -5: ("bigint", ""),
    8: ("float", ""),
    91: ("date", ""),
    93: ("datetime2", "({scale})"),
    -154: ("time", "({scale})"),
    -155: ("datetimeoffset", "({scale})"),
    -11: ("uniqueidentifier", ""),
    12: ("varchar", "({size})"),
    -9: ("nvarchar", "({size})"),
    -3: ("varbinary", "({size})"),
    2: ("numeric", "({size}, {scale})"),
}

MAX = 0
"""The size that declares nvarchar(max), varchar(max), varbinary(max)."""

BIT = Declaration(-7)
BIGINT = Declaration(-5)
FLOAT = Declaration(8, 53)
DATE = Declaration(91, 10)
# The driver declares a time stamp as datetime2; digits beyond microseconds are zero but cost no plan.
DATETIME2 = Declaration(93, 27, 7)
TIME = Declaration(-154, 16, 7)
DATETIMEOFFSET = Declaration(-155, 34, 7)
UNIQUEIDENTIFIER = Declaration(-11, 16)
NVARCHAR = Declaration(-9, 4000)
NVARCHAR_MAX = Declaration(-9, MAX)
VARCHAR = Declaration(12, 8000)
VARBINARY = Declaration(-3, 8000)
VARBINARY_MAX = Declaration(-3, MAX)
NUMERICS = (Declaration(2, 19, 4), Declaration(2, 28, 10), Declaration(2, 38, 4), Declaration(2, 38, 20))

# pyodbc asks the server for the type of each None, one message more, whatever was declared; its own null of
# binary type is bound as declared.
NULL = pyodbc.BinaryNull


class NarrowText(str):
    """A text of ASCII that is compared with a char or varchar column: declared as varchar, it does not make the server
    convert the column, for which it would have to read every row where the collation is one of SQL Server's own
    (SQL_Latin1_General_CP1_CI_AS is the default in the USA and on Azure;
    https://learn.microsoft.com/sql/t-sql/data-types/data-type-precedence-transact-sql)."""

    __slots__ = ()


Bound = tuple[Any, Declaration]


def _bind_str(value: str) -> Bound:
    # SQL Server counts UTF-16 code units, of which a character takes two at most.
    if len(value) <= 2000 or (len(value) <= 4000 and len(value.encode("utf-16-le", "surrogatepass")) <= 8000):
        return value, NVARCHAR
    return value, NVARCHAR_MAX


def _bind_int(value: int) -> Bound:
    if -(2**63) <= value < 2**63:
        return value, BIGINT
    return _bind_decimal(decimal.Decimal(value))


def _bind_decimal(value: decimal.Decimal) -> Bound:
    _, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):  # NaN, Infinity: the server says that it has no such number
        return value, NUMERICS[0]
    scale = max(-exponent, 0)
    whole = max(len(digits) + exponent, 0)
    for numeric in NUMERICS:
        if scale <= numeric.scale and whole <= numeric.size - numeric.scale:
            return value, numeric
    return value, Declaration(2, max(min(whole + scale, 38), 1), min(scale, 38))


def _bind_bytes(value: Any) -> Bound:
    value = bytes(value)
    return value, VARBINARY if len(value) <= 8000 else VARBINARY_MAX


def _bind_datetime(value: datetime.datetime) -> Bound:
    if value.utcoffset() is None:
        return value, DATETIME2
    return value.isoformat(" ", "microseconds"), DATETIMEOFFSET


def _bind_time(value: datetime.time) -> Bound:
    # As text: pyodbc's own binding drops the microseconds.
    return value.replace(tzinfo=None).isoformat("microseconds"), TIME


def _bind_timedelta(value: datetime.timedelta) -> Bound:
    return value // datetime.timedelta(microseconds=1), BIGINT


_BINDERS: dict[type, Callable[[Any], Bound]] = {
    str: _bind_str,
    bool: lambda value: (value, BIT),
    int: _bind_int,
    float: lambda value: (value, FLOAT),
    decimal.Decimal: _bind_decimal,
    bytes: _bind_bytes,
    bytearray: _bind_bytes,
    memoryview: _bind_bytes,
    datetime.datetime: _bind_datetime,
    datetime.date: lambda value: (value, DATE),
    datetime.time: _bind_time,
    datetime.timedelta: _bind_timedelta,
    uuid.UUID: lambda value: (value, UNIQUEIDENTIFIER),
    NarrowText: lambda value: (value, VARCHAR),
}


def bind_value(value: Any) -> Bound:
    """The value as the driver takes it, and its declaration. None is not for this: its type depends on its place."""
    binder = _BINDERS.get(type(value))
    if binder is not None:
        return binder(value)
    if isinstance(value, Promise):
        return _bind_str(str(value))
    for base in type(value).__mro__:
        if base in _BINDERS:
            return _BINDERS[base](value)
    raise pyodbc.ProgrammingError(
        "HY105", f"A parameter of type {type(value).__qualname__} has no counterpart in SQL Server."
    )


class Template:
    """A statement in the driver's style, and what is known of its parameters."""

    __slots__ = ("declarations", "names", "sql")

    def __init__(self, sql: str, names: tuple[str, ...] | None, count: int) -> None:
        self.sql = sql
        self.names = names
        # The last declaration seen at each place: what a None there is declared as, so that rows with and without
        # NULLs share a plan.
        self.declarations: list[Declaration] = [NVARCHAR] * count

    def values(self, params: Sequence[Any] | Mapping[str, Any]) -> Sequence[Any]:
        """The parameters in the order of their places."""
        if self.names is not None:
            if not isinstance(params, Mapping):
                raise pyodbc.ProgrammingError(
                    "07002", "The statement names its parameters; give them as a dict."
                )
            try:
                return [params[name] for name in self.names]
            except KeyError as error:
                raise pyodbc.ProgrammingError(
                    "07002", f"The statement's parameter {error} was not given."
                ) from None
        if isinstance(params, Mapping) and self.declarations:
            raise pyodbc.ProgrammingError(
                "07002", "The statement does not name its parameters; give them in a list."
            )
        if len(params) != len(self.declarations):
            raise pyodbc.ProgrammingError(
                "07002", f"The statement has {len(self.declarations)} parameter(s); {len(params)} were given."
            )
        return cast(Sequence[Any], params)

    def bind(self, params: Sequence[Any] | Mapping[str, Any]) -> tuple[list[Any], list[Declaration]]:
        """The values to execute with, and the declaration of each."""
        bound: list[Any] = []
        known = self.declarations
        declarations = known.copy()
        for place, value in enumerate(self.values(params)):
            if value is None:
                bound.append(NULL)
                continue
            value, declaration = bind_value(value)
            bound.append(value)
            if declaration is not declarations[place]:
                declarations[place] = known[place] = declaration
        return bound, declarations


# A doubled quote inside of a literal parts it into two neighbours, which comes to the same; a doubled bracket does not.
_LITERAL = r"""'[^']*'|"[^"]*"|\[(?:[^\]]|\]\])*\]|--[^\n]*|/\*.*?\*/"""
_PLACEHOLDER = re.compile(
    rf"(?P<literal>{_LITERAL})|%(?:(?P<percent>%)|(?P<plain>s)|\((?P<name>[^)]*)\)s)", re.DOTALL
)


@lru_cache(maxsize=2048)
def template(sql: str) -> Template:
    """Translate ``%s`` and ``%(name)s`` to ``?`` and ``%%`` to ``%``.

    Inside of literals, quoted names and comments ``%s`` stands for itself. The cached result matters twice: pyodbc
    knows a statement that it has prepared by the identity of its text.
    """
    names: list[str] = []
    count = 0

    def translate(match: re.Match[str]) -> str:
        nonlocal count
        if match["literal"] is not None:
            return match["literal"].replace("%%", "%")
        if match["percent"]:
            return "%"
        count += 1
        if match["name"] is not None:
            names.append(match["name"])
        return "?"

    text = _PLACEHOLDER.sub(translate, sql)
    if names and len(names) != count:
        raise pyodbc.ProgrammingError("07002", "A statement cannot mix %s and %(name)s.")
    return Template(text, tuple(names) or None, count)


_ARRAY_SIZES = (64, 256, 1024, 4000, 8000)


def array_declarations(
    declarations: Sequence[Declaration], rows: Sequence[Sequence[Any]]
) -> tuple[list[Declaration], int] | None:
    """Declarations for binding whole columns at once, and the bytes that a row takes then; None: these cannot be.

    The driver sets aside each column's declared size for each row, so that text and bytes are declared by the longest
    of them; what has no limit has to go row by row.
    """
    narrowed = list(declarations)
    width = 0
    for place, declaration in enumerate(declarations):
        if declaration.sql_type in {NVARCHAR.sql_type, VARBINARY.sql_type}:
            if declaration.size == MAX:
                return None
            unit = 2 if declaration.sql_type == NVARCHAR.sql_type else 1
            values = (row[place] for row in rows)
            longest = max((units(value) for value in values if value is not NULL), default=1)
            size = next(size for size in _ARRAY_SIZES if longest <= size)
            narrowed[place] = declaration._replace(size=min(size, declaration.size))
            width += size * unit
        width += 64
    return narrowed, width


def units(value: str | bytes) -> int:
    """The length by which SQL Server measures: in UTF-16 code units, or bytes."""
    if isinstance(value, str) and not value.isascii():
        return len(value.encode("utf-16-le", "surrogatepass")) // 2
    return len(value)
