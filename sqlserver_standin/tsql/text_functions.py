"""String functions.

https://learn.microsoft.com/sql/t-sql/functions/string-functions-transact-sql
"""

from __future__ import annotations

from collections.abc import Callable

from sqlserver_standin.events import SqlError
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql import types
from sqlserver_standin.tsql.conversions import convert, refuse
from sqlserver_standin.tsql.expressions import FUNCTIONS
from sqlserver_standin.tsql.parse_tokens import unsupported
from sqlserver_standin.tsql.queries import QueryTranslator
from sqlserver_standin.tsql.types import (
    BIGINT,
    INT,
    NVARCHAR_MAX,
    describe,
    display_length,
    family,
    is_string,
    is_unicode,
    string_type,
    text_type,
)
from sqlserver_standin.tsql.values import Value, string
from sqlserver_standin.types import MAX, SqlType


def as_string(value: Value) -> Value:
    """A function's string argument; other types convert implicitly."""
    if is_string(value.type):
        return value
    if value.null:
        return convert(value, SqlType("nvarchar", length=4000))
    if value.type.name in ("text", "image", "xml", "json") and not is_string(value.type):
        raise SqlError(8116, f"Argument data type {describe(value.type)} is invalid for argument 1.")
    length = display_length(value.type)
    return convert(value, string_type(length, unicode=False), "explicit")


def fold_of(value: Value) -> str:
    """Suffix of the folding function of a value's collation: ci, cs, ci_ai …"""
    return text_type(value.type.collation).removeprefix("sys.text_")


def folded(value: Value) -> str:
    """The value's text so that equal characters of its collation are equal."""
    fold = fold_of(value)
    return value.text if fold in ("bin", "cs") else f"sys.fold_{fold}({value.text})"


def same_kind(value: Value, sql: str, length: int | None = None, *, nullable: bool | None = None) -> Value:
    """A result of the argument's own string type, varying length."""
    data_type = string_type(
        display_length(value.type) if length is None else length,
        unicode=is_unicode(value.type),
        collation=value.type.collation,
    )
    result = string(sql, data_type, nullable=value.nullable if nullable is None else nullable)
    result.explicit_collation = value.explicit_collation
    return result


def _simple(template: str) -> Callable[[QueryTranslator, ast.Call], Value]:
    """A function of one string that keeps its type."""

    def translate(work: QueryTranslator, node: ast.Call) -> Value:
        (value,) = (as_string(each) for each in work.arguments(node, 1))
        return same_kind(value, template.format(value.text))

    return translate


FUNCTIONS["UPPER"] = _simple("upper({})")
FUNCTIONS["LOWER"] = _simple("lower({})")
FUNCTIONS["REVERSE"] = _simple("reverse({})")


def _len(work: QueryTranslator, node: ast.Call) -> Value:
    (value,) = work.arguments(node, 1)
    if family(value.type) == "binary":
        return Value(f"octet_length({value.sql})", INT, value.nullable)
    text = as_string(value)
    result = BIGINT if text.type.length == MAX else INT
    return Value(f"sys.len({text.text})::{types.pg_type(result)}", result, value.nullable)


def _datalength(work: QueryTranslator, node: ast.Call) -> Value:
    (value,) = work.arguments(node, 1)
    kind = family(value.type)
    result = BIGINT if value.type.length == MAX else INT
    if kind == "string":
        sql = f"sys.datalength({value.text},'{types.encoding(value.type)}')"
    elif kind == "binary":
        sql = f"octet_length({value.sql})"
    else:
        sizes = {
            "tinyint": 1,
            "bit": 1,
            "smallint": 2,
            "int": 4,
            "bigint": 8,
            "real": 4,
            "float": 8,
            "money": 8,
        }
        sizes |= {"smallmoney": 4, "date": 3, "datetime": 8, "smalldatetime": 4, "uniqueidentifier": 16}
        if kind == "decimal":
            precision = value.type.precision or 18
            size = 5 if precision <= 9 else 9 if precision <= 19 else 13 if precision <= 28 else 17
        elif value.type.name in ("time", "datetime2", "datetimeoffset"):
            base = {"time": 3, "datetime2": 6, "datetimeoffset": 8}[value.type.name]
            scale = 7 if value.type.scale is None else value.type.scale
            size = base + (0 if scale <= 2 else 1 if scale <= 4 else 2)
        elif value.type.name in sizes:
            size = sizes[value.type.name]
        else:
            raise unsupported(f"DATALENGTH of {value.type.name}")
        sql = f"(CASE WHEN {value.sql} IS NULL THEN NULL ELSE {size} END)"
    return Value(f"{sql}::{types.pg_type(result)}", result, value.nullable)


FUNCTIONS["LEN"] = _len
FUNCTIONS["DATALENGTH"] = _datalength


def _side(function: str) -> Callable[[QueryTranslator, ast.Call], Value]:
    def translate(work: QueryTranslator, node: ast.Call) -> Value:
        value, count = work.arguments(node, 2)
        value, count = as_string(value), convert(count, INT)
        length = None
        if count.constant and count.sql.isdigit() and count.sql != "0":
            known = display_length(value.type)
            length = int(count.sql) if known == MAX else min(int(count.sql), known)
        return same_kind(value, f"sys.{function}({value.text},{count.sql})", length, nullable=True)

    return translate


FUNCTIONS["LEFT"] = _side("left_of")
FUNCTIONS["RIGHT"] = _side("right_of")


def _substring(work: QueryTranslator, node: ast.Call) -> Value:
    values = work.arguments(node, 2, 3)
    value, start = values[0], convert(values[1], INT)
    count = convert(values[2], INT).sql if len(values) > 2 else "2147483647"
    if family(value.type) == "binary":
        sql = f"sys.substring_of({value.sql},{start.sql},{count})"
        return Value(sql, SqlType("varbinary", length=value.type.length or MAX), True)
    value = as_string(value)
    length = None
    if len(values) > 2 and values[2].constant and count.isdigit() and count != "0":
        known = display_length(value.type)
        length = int(count) if known == MAX else min(int(count), known)
    return same_kind(value, f"sys.substring_of({value.text},{start.sql},{count})", length, nullable=True)


FUNCTIONS["SUBSTRING"] = _substring


def _charindex(work: QueryTranslator, node: ast.Call) -> Value:
    values = work.arguments(node, 2, 3)
    sought, text = work.collated([as_string(values[0]), as_string(values[1])], "charindex")
    start = convert(values[2], INT).sql if len(values) > 2 else "1"
    result = BIGINT if text.type.length == MAX else INT
    sql = f"sys.charindex({folded(sought)},{folded(text)},{start})::{types.pg_type(result)}"
    return Value(sql, result, any(value.nullable for value in values))


def _patindex(work: QueryTranslator, node: ast.Call) -> Value:
    pattern, text = work.collated([as_string(value) for value in work.arguments(node, 2)], "patindex")
    result = BIGINT if text.type.length == MAX else INT
    sql = f"sys.patindex({folded(pattern)},{folded(text)})::{types.pg_type(result)}"
    return Value(sql, result, pattern.nullable or text.nullable)


FUNCTIONS["CHARINDEX"] = _charindex
FUNCTIONS["PATINDEX"] = _patindex


def _replace(work: QueryTranslator, node: ast.Call) -> Value:
    values = work.collated([as_string(value) for value in work.arguments(node, 3)], "replace")
    text, sought, _ = values
    unicode = any(is_unicode(value.type) for value in values)
    length = MAX if any(value.type.length == MAX for value in values) else (4000 if unicode else 8000)
    sql = f"sys.replace_in({text.text},{folded(text)},{folded(sought)},{values[2].text})"
    if fold_of(text) in ("bin", "cs"):
        sql = f"replace({text.text},{sought.text},{values[2].text})"
    result = string(
        sql,
        string_type(length, unicode=unicode, collation=text.type.collation),
        nullable=any(value.nullable for value in values),
    )
    result.explicit_collation = text.explicit_collation
    return result


FUNCTIONS["REPLACE"] = _replace


def _stuff(work: QueryTranslator, node: ast.Call) -> Value:
    text, start, count, other = work.arguments(node, 4)
    text, other = as_string(text), as_string(other)
    lengths = display_length(text.type), display_length(other.type)
    length = MAX if MAX in lengths else sum(lengths)
    sql = f"sys.stuff({text.text},{convert(start, INT).sql},{convert(count, INT).sql},{other.text})"
    return same_kind(text, sql, length, nullable=True)


FUNCTIONS["STUFF"] = _stuff


def _replicate(work: QueryTranslator, node: ast.Call) -> Value:
    text, count = work.arguments(node, 2)
    text, count = as_string(text), convert(count, INT)
    limit = 4000 if is_unicode(text.type) else 8000
    length = MAX if text.type.length == MAX else limit
    if count.constant and count.sql.isdigit() and length != MAX:
        length = min(max(display_length(text.type) * int(count.sql), 1), limit)
    sql = f"sys.replicate({text.text},{count.sql},{length})"
    return same_kind(text, sql, length, nullable=True)


def _space(work: QueryTranslator, node: ast.Call) -> Value:
    (count,) = work.arguments(node, 1)
    return string(f"sys.replicate(' ',{convert(count, INT).sql},8000)", SqlType("varchar", length=8000))


FUNCTIONS["REPLICATE"] = _replicate
FUNCTIONS["SPACE"] = _space


def _trim(side: str) -> Callable[[QueryTranslator, ast.Call], Value]:
    def translate(work: QueryTranslator, node: ast.Call) -> Value:
        values = [as_string(value) for value in work.arguments(node, 1, 2)]
        word = node.options[0] if node.options else side
        function = {"LEADING": "ltrim", "TRAILING": "rtrim", "BOTH": "btrim"}[word]
        characters = values[1].text if len(values) > 1 else "' '"
        return same_kind(
            values[0], f"{function}({values[0].text},{characters})", nullable=any(v.nullable for v in values)
        )

    return translate


FUNCTIONS["LTRIM"] = _trim("LEADING")
FUNCTIONS["RTRIM"] = _trim("TRAILING")
FUNCTIONS["TRIM"] = _trim("BOTH")


def _concat_argument(work: QueryTranslator, value: Value) -> Value:
    if value.null:
        return string("''", SqlType("varchar", length=1), nullable=False)
    if value.type.name == "json":
        refuse(value.type, SqlType("nvarchar"), "implicit")
    return as_string(value)


def _concat_result(work: QueryTranslator, values: list[Value], sql: str) -> Value:
    unicode = any(is_unicode(value.type) for value in values)
    lengths = [display_length(value.type) for value in values]
    limit = 4000 if unicode else 8000
    length = MAX if MAX in lengths else min(sum(lengths), limit)
    values = work.collated(values, "concat")
    result = string(
        sql, string_type(length, unicode=unicode, collation=values[0].type.collation), nullable=False
    )
    result.explicit_collation = values[0].explicit_collation
    return result


def _concat(work: QueryTranslator, node: ast.Call) -> Value:
    """NULL arguments count as empty strings."""
    if len(node.arguments) < 2:
        raise SqlError(189, f"The {node.spelling.lower()} function requires 2 to 254 arguments.", severity=15)
    values = [_concat_argument(work, value) for value in work.arguments(node, 2, 254)]
    parts = [f"coalesce({value.text},'')" if value.nullable else value.text for value in values]
    return _concat_result(work, values, f"({' || '.join(parts)})")


def _concat_ws(work: QueryTranslator, node: ast.Call) -> Value:
    if len(node.arguments) < 3:
        raise SqlError(189, f"The {node.spelling.lower()} function requires 3 to 254 arguments.", severity=15)
    separator, *rest = work.arguments(node, 3, 254)
    values = [as_string(value) for value in rest]
    separator = _concat_argument(work, separator)
    listed = ",".join(value.text for value in values)
    sql = f"concat_ws(coalesce({separator.text},''),{listed})"
    return _concat_result(work, [*values, *([separator] * (len(values) - 1))], sql)


FUNCTIONS["CONCAT"] = _concat
FUNCTIONS["CONCAT_WS"] = _concat_ws


def _character(function: str, data_type: SqlType) -> Callable[[QueryTranslator, ast.Call], Value]:
    def translate(work: QueryTranslator, node: ast.Call) -> Value:
        (number,) = work.arguments(node, 1)
        return string(f"sys.{function}({convert(number, INT).sql})", data_type)

    return translate


FUNCTIONS["CHAR"] = _character("char_of", SqlType("char", length=1))
FUNCTIONS["NCHAR"] = _character("nchar_of", SqlType("nchar", length=1))


def _code(function: str) -> Callable[[QueryTranslator, ast.Call], Value]:
    def translate(work: QueryTranslator, node: ast.Call) -> Value:
        (value,) = work.arguments(node, 1)
        text = as_string(value)
        return Value(f"sys.{function}({text.text})", INT, True)

    return translate


FUNCTIONS["ASCII"] = _code("ascii_of")
FUNCTIONS["UNICODE"] = _code("unicode_of")


def _translate(work: QueryTranslator, node: ast.Call) -> Value:
    text, sought, given = (as_string(value) for value in work.arguments(node, 3))
    sql = f"sys.translate_in({text.text},{sought.text},{given.text})"
    return same_kind(text, sql, nullable=True)


def _quotename(work: QueryTranslator, node: ast.Call) -> Value:
    values = [as_string(value) for value in work.arguments(node, 1, 2)]
    mark = values[1].text if len(values) > 1 else "'['"
    return string(f"sys.quotename({values[0].text},{mark})", SqlType("nvarchar", length=258))


def _str(work: QueryTranslator, node: ast.Call) -> Value:
    values = work.arguments(node, 1, 3)
    number = convert(values[0], types.FLOAT)
    length = convert(values[1], INT).sql if len(values) > 1 else "10"
    decimals = convert(values[2], INT).sql if len(values) > 2 else "0"
    return string(f"sys.str({number.sql},{length},{decimals})", SqlType("varchar", length=8000))


def _parsename(work: QueryTranslator, node: ast.Call) -> Value:
    name, part = work.arguments(node, 2)
    return string(f"sys.parsename({as_string(name).text},{convert(part, INT).sql})", types.SYSNAME)


def _string_escape(work: QueryTranslator, node: ast.Call) -> Value:
    text, kind = (as_string(value) for value in work.arguments(node, 2))
    return string(f"sys.string_escape({text.text},{kind.text})", NVARCHAR_MAX)


def _format(work: QueryTranslator, node: ast.Call) -> Value:
    values = work.arguments(node, 2, 3)
    if len(values) > 2 and values[2].text.strip("'").lower() not in ("en-us", "''"):
        raise unsupported("FORMAT with a culture other than en-US")
    value, pattern = values[0], as_string(values[1])
    kind = family(value.type)
    if kind in ("date", "datetime", "time", "datetimeoffset"):
        moment = convert(value, types.DATETIME2) if kind != "datetimeoffset" else value
        instant = moment.sql if kind != "datetimeoffset" else f"sys.local_time({moment.sql})"
        return string(f"sys.format_date({instant},{pattern.text})", SqlType("nvarchar", length=4000))
    if kind in ("integer", "decimal", "money", "float"):
        return string(
            f"sys.format_number({value.sql}::numeric,{pattern.text})", SqlType("nvarchar", length=4000)
        )
    raise SqlError(
        8116, f"Argument data type {describe(value.type)} is invalid for argument 1 of format function."
    )


def _soundex(work: QueryTranslator, node: ast.Call) -> Value:
    (value,) = work.arguments(node, 1)
    return string(f"sys.soundex({as_string(value).text})", SqlType("varchar", length=4))


FUNCTIONS["TRANSLATE"] = _translate
FUNCTIONS["QUOTENAME"] = _quotename
FUNCTIONS["STR"] = _str
FUNCTIONS["PARSENAME"] = _parsename
FUNCTIONS["STRING_ESCAPE"] = _string_escape
FUNCTIONS["FORMAT"] = _format
FUNCTIONS["SOUNDEX"] = _soundex
