"""Functions in FROM: OPENJSON, STRING_SPLIT, GENERATE_SERIES, nodes(), and those the catalog knows."""

from __future__ import annotations

from sqlserver_standin.events import SqlError
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql import types
from sqlserver_standin.tsql.conversions import convert
from sqlserver_standin.tsql.json_functions import json_text
from sqlserver_standin.tsql.parse_tokens import unsupported
from sqlserver_standin.tsql.queries import QueryTranslator
from sqlserver_standin.tsql.text_functions import as_string
from sqlserver_standin.tsql.types import BIGINT, NVARCHAR_MAX, family, is_string
from sqlserver_standin.tsql.values import Value, quote, string
from sqlserver_standin.types import MAX, SqlType

Columns = list[tuple[str, SqlType, bool]]


def table_function(work: QueryTranslator, node: ast.FunctionTable) -> tuple[str, str, Columns]:
    """(SQL, default alias, columns) of a function in FROM."""
    call = node.call
    if isinstance(call, ast.Method):
        raise unsupported(f"xml method {call.name}()")
    assert isinstance(call, ast.Call)
    if not call.schema:
        if call.name == "OPENJSON":
            return _openjson(work, call, node)
        if call.name == "STRING_SPLIT":
            return _string_split(work, call)
        if call.name == "GENERATE_SERIES":
            return _generate_series(work, call)
    function = work.catalog.table_function(call.schema[-1] if call.schema else None, call.spelling)
    if function is None:
        raise SqlError(208, f"Invalid object name '{'.'.join((*call.schema, call.spelling))}'.")
    least = function.required if function.required is not None else len(function.arguments)
    work.check_arity(call, least, len(function.arguments))
    arguments = []
    for argument, data_type in zip(call.arguments, function.arguments, strict=False):
        value = work.value(argument)
        if data_type is not None:
            value = convert(value, data_type)
        arguments.append(value.text if is_string(value.type) else value.sql)
    columns = [(column.name, column.type, column.nullable) for column in function.columns]
    return f"{function.pg_name}({','.join(arguments)})", call.spelling, columns


def _openjson(work: QueryTranslator, call: ast.Call, node: ast.FunctionTable) -> tuple[str, str, Columns]:
    values = work.arguments(call, 1, 2)
    document = json_text(values[0], 1, "openjson")
    path = as_string(values[1]).text if len(values) > 1 else "'$'"
    if not node.schema:
        value = string("j.value", NVARCHAR_MAX)
        key = string("j.key", SqlType("nvarchar", length=4000, collation="Latin1_General_BIN2"))
        sql = (
            f"(SELECT {key.sql}, {value.sql}, j.type::int2 FROM sys.openjson({document},{path}) "
            "AS j(key, value, type))"
        )
        return (
            sql,
            "OPENJSON",
            [("key", key.type, False), ("value", NVARCHAR_MAX, True), ("type", types.TINYINT, False)],
        )
    listed: list[str] = []
    columns: Columns = []
    for column in node.schema:
        if column.as_json and not (column.type.name == "nvarchar" and column.type.length == MAX):
            raise SqlError(
                13618,
                "AS JSON option can be specified only for column of nvarchar(max) type in WITH clause.",
            )
        if column.type.name == "json":
            raise unsupported("a column of type json in OPENJSON ... WITH")
        data_type = types.with_default_length(column.type, 1)
        steps = quote(
            column.path if column.path is not None else '$."' + column.name.replace('"', '\\"') + '"'
        )
        if column.as_json:
            listed.append(string(f"sys.json_query(j.item,{steps})", NVARCHAR_MAX).sql)
        else:
            listed.append(_json_column(f"sys.openjson_value(j.item,{steps})", data_type).sql)
        columns.append((column.name, data_type, True))
    # Row order is the array's, which is what a bulk insert's OUTPUT wants to see.
    return (
        f"(SELECT {', '.join(listed)} FROM sys.openjson_rows({document},{path}) AS j(item))",
        "OPENJSON",
        columns,
    )


def _json_column(text: str, data_type: SqlType) -> Value:
    source = string(text, SqlType("nvarchar", length=MAX))
    if family(data_type) == "binary":
        # https://learn.microsoft.com/sql/t-sql/functions/openjson-transact-sql: binary values are BASE64.
        return Value(f"decode({text},'base64')", data_type)
    if is_string(data_type):
        return convert(source, data_type)
    return convert(source, data_type)


def _string_split(work: QueryTranslator, call: ast.Call) -> tuple[str, str, Columns]:
    values = work.arguments(call, 2, 3)
    text, separator = as_string(values[0]), as_string(values[1])
    name = "nvarchar" if types.is_unicode(text.type) or types.is_unicode(separator.type) else "varchar"
    data_type = SqlType(name, length=text.type.length, collation=text.type.collation)
    value = string("s.value", data_type)
    columns: Columns = [("value", data_type, True)]
    listed = value.sql
    if len(values) > 2 and values[2].sql != "0":
        columns.append(("ordinal", BIGINT, False))
        listed += ", s.ordinal"
    sql = (
        f"(SELECT {listed} FROM unnest(sys.split({text.text},{separator.text})) "
        "WITH ORDINALITY AS s(value, ordinal))"
    )
    return sql, "STRING_SPLIT", columns


def _generate_series(work: QueryTranslator, call: ast.Call) -> tuple[str, str, Columns]:
    values = work.arguments(call, 2, 3)
    target = types.combine(value.type for value in values)
    start, stop = (convert(value, target).sql for value in values[:2])
    step = (
        convert(values[2], target).sql
        if len(values) > 2
        else f"(CASE WHEN {start} <= {stop} THEN 1 ELSE -1 END)"
    )
    if target.name in ("tinyint", "smallint"):
        start, stop, step = (f"{each}::int4" for each in (start, stop, step))
    cast = f"::{types.pg_type(target)}"
    sql = f"(SELECT g.value{cast} FROM generate_series({start},{stop},{step}) AS g(value))"
    return sql, "GENERATE_SERIES", [("value", target, False)]
