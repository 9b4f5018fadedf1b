"""JSON functions.

https://learn.microsoft.com/sql/t-sql/functions/json-functions-transact-sql
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlserver_standin.events import SqlError
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.conversions import convert
from sqlserver_standin.tsql.expressions import FUNCTIONS
from sqlserver_standin.tsql.for_json import json_value
from sqlserver_standin.tsql.queries import QueryTranslator
from sqlserver_standin.tsql.text_functions import as_string
from sqlserver_standin.tsql.types import INT, JSON, NVARCHAR_MAX, describe, family, is_string
from sqlserver_standin.tsql.values import Value, quote, string
from sqlserver_standin.types import MAX, SqlType

_JSON_MAKERS = frozenset(
    ("JSON_QUERY", "JSON_OBJECT", "JSON_ARRAY", "JSON_MODIFY", "JSON_ARRAYAGG", "JSON_OBJECTAGG")
)


def json_text(value: Value, position: int, function: str) -> str:
    """A JSON document argument as PostgreSQL text."""
    if is_string(value.type):
        return value.text
    if family(value.type) == "json":
        return value.sql
    if value.null:
        return "NULL::text"
    raise SqlError(
        8116,
        f"Argument data type {describe(value.type)} is invalid for argument {position} of {function} function.",
    )


def _path(values: list[Value], index: int) -> str:
    return as_string(values[index]).text if len(values) > index else "'$'"


def _isjson(work: QueryTranslator, node: ast.Call) -> Value:
    work.check_arity(node, 1, 2)
    value = work.value(node.arguments[0])
    kind = "any"
    if len(node.arguments) > 1:
        word = node.arguments[1]
        if not isinstance(word, ast.ColumnName) or word.parts[0].upper() not in (
            "VALUE",
            "ARRAY",
            "OBJECT",
            "SCALAR",
        ):
            raise SqlError(102, "Incorrect syntax near 'isjson'.", severity=15)
        kind = word.parts[0].lower()
    return Value(f"sys.isjson({json_text(value, 1, 'isjson')},{quote(kind)})", INT, value.nullable)


def _json_value(work: QueryTranslator, node: ast.Call) -> Value:
    values = work.arguments(node, 2)
    text = json_text(values[0], 1, "json_value")
    return string(f"sys.json_value({text},{_path(values, 1)})", SqlType("nvarchar", length=4000))


def _json_query(work: QueryTranslator, node: ast.Call) -> Value:
    values = work.arguments(node, 1, 2)
    text = json_text(values[0], 1, "json_query")
    sql = f"sys.json_query({text},{_path(values, 1)})"
    if family(values[0].type) == "json":
        return Value(sql, JSON)
    return string(sql, NVARCHAR_MAX)


def _json_path_exists(work: QueryTranslator, node: ast.Call) -> Value:
    values = work.arguments(node, 2)
    text = json_text(values[0], 1, "json_path_exists")
    return Value(f"sys.json_path_exists({text},{_path(values, 1)})", INT)


def _json_modify(work: QueryTranslator, node: ast.Call) -> Value:
    values = work.arguments(node, 3)
    text = json_text(values[0], 1, "json_modify")
    if family(values[2].type) == "json":
        raise SqlError(8116, "Argument data type json is invalid for argument 3 of json_modify function.")
    new = _member(work, node.arguments[2], values[2])
    sql = f"sys.json_modify({text},{_path(values, 1)},{new})"
    return _made(sql, values[:1], nullable=True)


def _made(sql: str, values: Iterable[Value], *, nullable: bool = False) -> Value:
    """A document from others: json when one of them is, else a string."""
    if any(family(value.type) == "json" for value in values):
        return Value(f"sys.to_json_type({sql},false)", JSON, nullable)
    return string(sql, NVARCHAR_MAX, nullable=nullable)


def _member(work: QueryTranslator, node: ast.Node, value: Value) -> str:
    """A value inside JSON: of PostgreSQL type json, NULL for SQL NULL."""
    if value.null:
        return "NULL::json"
    if isinstance(node, ast.Call) and node.name in _JSON_MAKERS:
        return f"{value.text}::json"
    if family(value.type) == "json":
        return f"{value.sql}::json"
    return json_value(value)


def _json_object(work: QueryTranslator, node: ast.Call) -> Value:
    parts: list[str] = []
    values: list[Value] = []
    for pair in node.arguments:
        assert isinstance(pair, ast.KeyValue)
        key, value = as_string(work.value(pair.key)), work.value(pair.value)
        values.append(value)
        parts.append(
            f"sys.json_member({key.text},{_member(work, pair.value, value)},{_keep_null(node, 'NULL')})"
        )
    listed = ",".join(parts)
    sql = f"('{{' || concat_ws(',',{listed}) || '}}')" if parts else "'{}'"
    return _made(sql, values)


def _keep_null(node: ast.Call, default: str) -> str:
    option = node.options[0] if node.options else default
    return "true" if option == "NULL" else "false"


def _json_array(work: QueryTranslator, node: ast.Call) -> Value:
    keep = _keep_null(node, "ABSENT")
    values = [work.value(argument) for argument in node.arguments]
    parts = [
        f"sys.json_item({_member(work, argument, value)},{keep})"
        for argument, value in zip(node.arguments, values, strict=True)
    ]
    sql = f"('[' || concat_ws(',',{','.join(parts)}) || ']')" if parts else "'[]'"
    return _made(sql, values)


def _json_arrayagg(work: QueryTranslator, node: ast.Call) -> Value:
    with work.inside("aggregate"):
        value = work.value(node.arguments[0])
        member = _member(work, node.arguments[0], value)
        item = f"sys.json_item({member},{_keep_null(node, 'ABSENT')})"
    return _made(f"('[' || coalesce(string_agg({item},','),'') || ']')", [value])


def _json_objectagg(work: QueryTranslator, node: ast.Call) -> Value:
    (pair,) = node.arguments
    assert isinstance(pair, ast.KeyValue)
    with work.inside("aggregate"):
        key, value = as_string(work.value(pair.key)), work.value(pair.value)
        item = f"sys.json_member({key.text},{_member(work, pair.value, value)},{_keep_null(node, 'NULL')})"
    return _made(f"('{{' || coalesce(string_agg({item},','),'') || '}}')", [value])


_TABLE: dict[str, Callable[[QueryTranslator, ast.Call], Value]] = {
    "ISJSON": _isjson,
    "JSON_VALUE": _json_value,
    "JSON_QUERY": _json_query,
    "JSON_PATH_EXISTS": _json_path_exists,
    "JSON_MODIFY": _json_modify,
    "JSON_OBJECT": _json_object,
    "JSON_ARRAY": _json_array,
    "JSON_ARRAYAGG": _json_arrayagg,
    "JSON_OBJECTAGG": _json_objectagg,
}
FUNCTIONS.update(_TABLE)

__all__ = ["MAX", "convert", "json_text"]
