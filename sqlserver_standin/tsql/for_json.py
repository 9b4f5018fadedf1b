"""FOR JSON: the rows of a query as one string."""

from __future__ import annotations

from typing import Any

from sqlserver_standin.events import SqlError
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.conversions import convert
from sqlserver_standin.tsql.outputs import Output, Translated
from sqlserver_standin.tsql.parse_tokens import unsupported
from sqlserver_standin.tsql.types import family
from sqlserver_standin.tsql.values import Value, string
from sqlserver_standin.types import MAX, SqlType

_JSON_STYLES = {"datetime": "126", "date": "23", "datetimeoffset": "127"}


def json_output(translated: Translated, output: ast.JsonOutput) -> Translated:
    """FOR JSON PATH: one row with one string; dotted names nest."""
    if output.mode == "AUTO":
        raise unsupported("FOR JSON AUTO")
    columns = [f"c{index}" for index in range(len(translated.columns))]
    tree: dict[str, Any] = {}
    for name, column in zip(columns, translated.columns, strict=True):
        if not column.name:
            raise SqlError(
                13605,
                "Column expressions and data sources without names or aliases cannot be formatted as JSON text "
                "using FOR JSON clause. Add alias to the unnamed column or table.",
            )
        place = tree
        *path, leaf = column.name.split(".")
        for step in path:
            place = place.setdefault(step, {})
        place[leaf] = json_value(Value(f"q.{name}", column.value.type))
    built = _json_object(tree)
    if not output.include_nulls:
        built = f"json_strip_nulls({built})"
    listed = ",".join(columns)
    text = f"string_agg({built}::text, ',')"
    if not output.without_wrapper:
        text = f"'[' || {text} || ']'"
    if output.root is not None:
        text = f"""'{{' || to_json('{output.root}'::text)::text || ':' || {text} || '}}'"""
    value = string(f"({text})", SqlType("nvarchar", length=MAX))
    sql = f"SELECT {value.sql} FROM ({translated.sql}) AS q({listed}) HAVING count(*) > 0"
    return Translated(sql, [Output("JSON_F52E2B61-18A1-11d1-B105-00805F49916B", value)])


def json_value(value: Value) -> str:
    """``value`` as FOR JSON and JSON_OBJECT write it, of PostgreSQL type json."""
    kind = family(value.type)
    if kind in ("integer", "decimal", "bit", "float", "money"):
        return f"to_json({value.sql})"
    if kind == "json":
        return f"{value.sql}::json"
    text = convert(value, SqlType("nvarchar", length=MAX), "explicit", _JSON_STYLES.get(kind)).text
    return f"to_json({text}::text)"


def _json_object(tree: dict[str, Any]) -> str:
    parts = []
    for name, item in tree.items():
        quoted = name.replace("'", "''")
        parts.append(f"'{quoted}', {_json_object(item) if isinstance(item, dict) else item}")
    return f"json_build_object({', '.join(parts)})"
