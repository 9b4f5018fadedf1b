"""JSON in T-SQL: keys, lookups and constructors, by OPENJSON, which alone tells a value's type.

JSON_VALUE would give the text 123 for the number and for the string, and NULL for more than 4,000 characters
(https://learn.microsoft.com/sql/t-sql/functions/openjson-transact-sql).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from django.db import NotSupportedError
from django.db.models import BooleanField, FloatField, JSONField, functions
from django.db.models.expressions import Col, Value
from django.db.models.fields import json as lookups

from mssql.expressions import SORTED_AS, SQL, implements

if TYPE_CHECKING:
    from mssql.base import DatabaseWrapper
    from mssql.compiler import SQLCompiler

# Column [type] of OPENJSON.
NULL, STRING, NUMBER, BOOLEAN, ARRAY, OBJECT = range(6)

_NEGATIVE = re.compile(r"-\d+")

BINARY = "COLLATE Latin1_General_100_BIN2"
"""JSON tells a from A, whatever the column's collation says."""

EXACT_IN_FLOAT = 2**53
"""Beyond it, neighbouring whole numbers are the same float; JSON has them digit by digit."""

AS_JSON = (
    "CASE [json].[type] WHEN 0 THEN N'null' "
    "WHEN 1 THEN N'\"' + STRING_ESCAPE([json].[value], 'json') + N'\"' ELSE [json].[value] END"
)
AS_TEXT = "[json].[value]"
AS_NUMBER = "CASE WHEN [json].[type] = 2 THEN TRY_CAST([json].[value] AS float) END"


def as_text(sql: str) -> str:
    """Return a value of the native type as text: that type is not compared, sorted, grouped by or counted, and does
    not become text by itself (https://learn.microsoft.com/sql/t-sql/data-types/json-data-type#conversion)."""
    return f"CAST({sql} AS nvarchar(max))"


def path(keys: Sequence[str]) -> str:
    """Return the JSON path of nested keys; a key that is a number means an element of an array.

    >>> path(["a", "0", 'b"c'])
    '$."a"[0]."b\\\\"c"'
    """
    return "$" + "".join(
        f"[{key}]" if is_index(key) else f".{json.dumps(key, ensure_ascii=False)}" for key in keys
    )


def is_index(key: str) -> bool:
    return key.isascii() and key.isdecimal()


class _Document:
    """A JSON expression, and the keys that lead into it."""

    def __init__(self, node: Any, compiler: SQLCompiler) -> None:
        keys: list[str] = []
        while isinstance(node, lookups.KeyTransform):
            if _NEGATIVE.fullmatch(node.key_name):
                raise NotSupportedError(
                    "Using negative JSON array indices is not supported on this database backend."
                )
            keys.insert(0, node.key_name)
            node = node.lhs
        self.keys = keys
        self.sql, params = compiler.compile(node)
        self.params = tuple(params)
        self.text = self.sql
        if (
            isinstance(node, Col)
            and compiler.connection.features.has_native_json_field
            and compiler.query.group_by is None
            and not compiler.connection.server.is_managed
        ):
            # OPENJSON takes the native type as it is, on SQL Server alone
            # (https://learn.microsoft.com/sql/t-sql/data-types/json-data-type#limitations); of what rows are grouped
            # by, the text.
            self.sql, _ = node.as_sql(compiler, compiler.connection)

    def entry(self, *more: str, final_may_be_index: bool = True) -> SQL:
        """Return the FROM and WHERE that find the one entry under the keys: its [type] and [value]."""
        *parents, final = [*self.keys, *more]
        # OPENJSON refuses a document that is a bare string or number (error 13609).
        document = f"CASE WHEN ISJSON({self.sql}) = 1 THEN {self.sql} END"
        document_params = (*self.params, *self.params)
        where = _literal(path(parents))
        sql = f"FROM OPENJSON({document}, {where}) AS [json] WHERE [json].[key] = %s"
        params = (*document_params, final)
        if is_index(final):
            # Arrays have their positions as keys.
            opening = "[[]" if final_may_be_index else "{"
            text = f"CASE WHEN ISJSON({self.sql}) = 1 THEN {self.text} END"
            sql += f" AND JSON_QUERY({text}, {where}) LIKE N'{opening}%%'"
            params += document_params
        return sql, params

    def value(self, column: str, params: Sequence[Any] = ()) -> SQL:
        """Return the value under the keys, NULL when there is none."""
        sql, entry_params = self.entry()
        return f"(SELECT TOP (1) {column} {sql})", (*params, *entry_params)

    def scalar(self, compiler: SQLCompiler) -> SQL:
        """Return the text under the keys without a subquery; as a key of an index it can't be (max)."""
        where = _literal(path(self.keys))
        if compiler.for_index_key:
            return f"JSON_VALUE({self.text}, {where})", self.params
        sql = f"COALESCE(JSON_VALUE({self.text}, {where}), JSON_QUERY({self.text}, {where}))"
        return sql, (*self.params, *self.params)

    def has(self, *more: str, final_may_be_index: bool) -> SQL:
        sql, params = self.entry(*more, final_may_be_index=final_may_be_index)
        return f"EXISTS (SELECT 1 {sql})", params


@implements(lookups.KeyTransform)
def key_transform(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    """Give JSON, which Django decodes."""
    document = _Document(node, compiler)
    return document.scalar(compiler) if in_table_definition(compiler) else document.value(AS_JSON)


@implements(lookups.KeyTextTransform)
def key_text_transform(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    document = _Document(node, compiler)
    return document.scalar(compiler) if in_table_definition(compiler) else document.value(AS_TEXT)


class KeyNumber(lookups.KeyTransform):
    """The number under a key, to sort by."""

    output_field = FloatField()


@implements(KeyNumber)
def key_number(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    return _Document(node, compiler).value(AS_NUMBER)


SORTED_AS[lookups.KeyTransform] = lambda node: KeyNumber(node.key_name, node.lhs)


def in_table_definition(compiler: SQLCompiler) -> bool:
    """Say whether this is for a computed column, a check or an index, which take no subquery (error 1046)."""
    return not compiler.query.alias_cols


def _decoded(params: Sequence[Any]) -> Iterator[Any]:
    for param in params:
        yield json.loads(param) if isinstance(param, str) else param


def _same(value: Any, connection: DatabaseWrapper) -> SQL:
    """Return the condition that an entry of OPENJSON is this value."""
    match value:
        case None:
            return "[type] = 0", ()
        case bool():
            return f"([type] = 3 AND [value] = N'{'true' if value else 'false'}')", ()
        case int() if abs(value) > EXACT_IN_FLOAT:
            return f"([type] = 2 AND [value] {BINARY} = %s)", (str(int(value)),)
        case int() | float():
            return "([type] = 2 AND TRY_CAST([value] AS float) = %s)", (float(value),)
        case str():
            return f"([type] = 1 AND [value] {BINARY} = %s)", (value,)
        case _:
            text = connection.ops.adapt_json_value(value, None)
            return f"([type] = {_type_of(value)} AND [value] {BINARY} = %s)", (text,)


def _type_of(value: Any) -> int:
    return OBJECT if isinstance(value, dict) else ARRAY


def _any_of(document: _Document, values: Sequence[Any], connection: DatabaseWrapper) -> SQL:
    """Return a condition that is unknown, not false, where the key is missing: so NOT leaves such rows out too."""
    conditions = [_same(value, connection) for value in values]
    sql, params = document.value(
        f"CASE WHEN {' OR '.join(_named(sql, '[json]') for sql, _ in conditions)} THEN 1 ELSE 0 END",
        [param for _, params in conditions for param in params],
    )
    return f"{sql} = 1", params


@implements(lookups.KeyTransformExact)
def key_exact(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper) -> SQL:
    document = _Document(node.lhs, compiler)
    if node.rhs_is_direct_value():
        _, params = node.process_rhs(compiler, connection)
        values = list(_decoded(params))
        if in_table_definition(compiler):
            sql, scalar_params = document.scalar(compiler)
            text = values[0] if isinstance(values[0], str) else json.dumps(values[0])
            return f"{sql} {BINARY} = %s", (*scalar_params, text)
        return _any_of(document, values, connection)
    lhs_sql, lhs_params = document.value(AS_JSON)
    rhs_sql, rhs_params = compiler.compile(node.rhs)
    return f"{lhs_sql} {BINARY} = {rhs_sql}", (*lhs_params, *rhs_params)


@implements(lookups.KeyTransformIn)
def key_in(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper) -> SQL:
    sqls, params = node.process_rhs(compiler, connection)
    document = _Document(node.lhs, compiler)
    if node.rhs_is_direct_value() and len(params) == sqls.count("%s"):
        return _any_of(document, list(_decoded(params)), connection)
    lhs_sql, lhs_params = document.value(AS_JSON)
    return f"{lhs_sql} {BINARY} IN {sqls}", (*lhs_params, *params)


@implements(lookups.KeyTransformIsNull)
def key_is_null(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper) -> SQL:
    sql, params = _Document(node.lhs, compiler).has(final_may_be_index=True)
    return (f"NOT {sql}" if node.rhs else sql), params


@implements(lookups.KeyTransformLt, lookups.KeyTransformLte, lookups.KeyTransformGt, lookups.KeyTransformGte)
def key_comparison(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper) -> SQL:
    rhs_sql, rhs_params = node.process_rhs(compiler, connection)
    if connection.features.has_native_json_field and node.rhs_is_direct_value():
        rhs_params = list(_decoded(rhs_params))  # Where JSON is text, Django has done so.
    is_text = bool(rhs_params) and isinstance(rhs_params[0], str) and node.rhs_is_direct_value()
    lhs_sql, lhs_params = _Document(node.lhs, compiler).value(AS_TEXT if is_text else AS_NUMBER)
    return f"{lhs_sql} {node.get_rhs_op(connection, rhs_sql)}", (*lhs_params, *rhs_params)


@implements(lookups.HasKeyLookup)
def has_key(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper) -> SQL:
    document = _Document(node.lhs, compiler)
    keys = node.rhs if isinstance(node.rhs, (list, tuple)) else [node.rhs]
    may_be_index = isinstance(node, lookups.HasKeyOrArrayIndex)
    sqls: list[str] = []
    params: list[Any] = []
    for key in keys:
        more = _Document(key, compiler).keys if isinstance(key, lookups.KeyTransform) else [str(key)]
        sql, key_params = document.has(*more, final_may_be_index=may_be_index)
        sqls.append(sql)
        params += key_params
    return f"({(node.logical_operator or ' AND ').join(sqls)})", params


@implements(lookups.JSONExact)
def json_exact(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper) -> SQL:
    lhs_sql, lhs_params = node.process_lhs(compiler, connection)
    rhs_sql, rhs_params = node.process_rhs(compiler, connection)
    if (
        connection.features.has_native_json_field
        and node.rhs_is_direct_value()
        and not rhs_params[0].startswith(("{", "["))
    ):
        return "0 = 1", ()  # The native type holds objects and arrays alone.
    lhs_sql, rhs_sql = _comparable(lhs_sql, node.lhs, connection), _comparable(rhs_sql, node.rhs, connection)
    return f"{lhs_sql} {BINARY} = {rhs_sql}", (*lhs_params, *rhs_params)


if hasattr(lookups, "JSONIn"):  # Django 6.1 and newer.

    @implements(lookups.JSONIn)
    def json_in(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper) -> SQL:
        lhs_sql, lhs_params = node.process_lhs(compiler, connection)
        rhs_sql, rhs_params = node.process_rhs(compiler, connection)
        if node.rhs_is_direct_value():
            rhs_sql = rhs_sql.replace("%s", _comparable("%s", None, connection))
        lhs_sql = _comparable(lhs_sql, node.lhs, connection)
        return f"{lhs_sql} {BINARY} IN {rhs_sql}", (*lhs_params, *rhs_params)


def _comparable(sql: str, node: Any, connection: DatabaseWrapper) -> str:
    """Return a document as text: the native type does not compare, and writes each document in its own way."""
    if not connection.features.has_native_json_field or isinstance(node, Col):
        return sql
    return as_text(f"CAST({sql} AS json)")


# Containment. The value is known: it is unfolded into conditions on the entries of OPENJSON.


@implements(lookups.DataContains)
def contains(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper) -> SQL:
    return _containment(node, compiler, connection, _contains)


@implements(lookups.ContainedBy)
def contained_by(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper) -> SQL:
    return _containment(node, compiler, connection, _contained_by)


def _containment(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, condition: Any) -> SQL:
    if not node.rhs_is_direct_value():
        raise NotSupportedError(f"SQL Server can't compute {node.lookup_name!r} of two JSON expressions.")
    sql, params = compiler.compile(node.lhs)
    _, (rhs,) = node.process_rhs(compiler, connection)
    value = json.loads(rhs)
    # In an array of its own the document is an entry as all others, a bare number as well.
    condition_sql, condition_params = condition("j0", value, connection)
    if condition is _contains and not isinstance(value, (list, dict)):
        # As in PostgreSQL: an array contains a bare value that is one of its elements.
        element_sql, element_params = _same(value, connection)
        element = f"EXISTS (SELECT 1 FROM OPENJSON(CASE WHEN j0.[type] = 4 THEN j0.[value] END) WHERE {element_sql})"
        condition_sql, condition_params = (
            f"({condition_sql} OR {element})",
            (*condition_params, *element_params),
        )
    return (
        f"EXISTS (SELECT 1 FROM OPENJSON(N'[' + CAST({sql} AS nvarchar(max)) + N']') AS j0 WHERE {condition_sql})",
        (*params, *condition_params),
    )


def _inner(alias: str) -> str:
    return f"j{int(alias[1:]) + 1}"


def _named(sql: str, alias: str) -> str:
    return sql.replace("[type]", f"{alias}.[type]").replace("[value]", f"{alias}.[value]")


def _contains(alias: str, value: Any, connection: DatabaseWrapper) -> SQL:
    """Return the condition that an entry contains the value."""
    if not isinstance(value, (list, dict)):
        sql, params = _same(value, connection)
        return _named(sql, alias), tuple(params)
    inner = _inner(alias)
    source = f"OPENJSON(CASE WHEN {alias}.[type] = {_type_of(value)} THEN {alias}.[value] END) AS {inner}"
    sqls, params = [f"{alias}.[type] = {_type_of(value)}"], []
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        sql, item_params = _contains(inner, item, connection)
        if isinstance(value, dict):
            sql = f"{inner}.[key] = %s AND {sql}"
            params.append(key)
        sqls.append(f"EXISTS (SELECT 1 FROM {source} WHERE {sql})")
        params += item_params
    return f"({' AND '.join(sqls)})", tuple(params)


def _contained_by(alias: str, value: Any, connection: DatabaseWrapper) -> SQL:
    """Return the condition that an entry is contained in the value."""
    if not isinstance(value, (list, dict)):
        sql, params = _same(value, connection)
        return _named(sql, alias), tuple(params)
    inner = _inner(alias)
    source = f"OPENJSON(CASE WHEN {alias}.[type] = {_type_of(value)} THEN {alias}.[value] END) AS {inner}"
    alternatives, params = ["0 = 1"], []
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        sql, item_params = _contained_by(inner, item, connection)
        if isinstance(value, dict):
            sql = f"({inner}.[key] = %s AND {sql})"
            params.append(key)
        alternatives.append(sql)
        params += item_params
    return (
        f"({alias}.[type] = {_type_of(value)} AND NOT EXISTS "
        f"(SELECT 1 FROM {source} WHERE NOT ({' OR '.join(alternatives)})))",
        tuple(params),
    )


# Constructors

_CONSTRUCTORS = (functions.JSONObject, functions.JSONArray)


@implements(functions.JSONObject)
def json_object(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    sources = node.get_source_expressions()
    keys = [json.dumps(key.value, ensure_ascii=False) for key in sources[::2]]
    if not _is_native(node, connection):
        return _joined("{", [f"{key}:" for key in keys], sources[1::2], "}", compiler, connection)
    pairs, params = [], []
    for key, value in zip(sources[::2], sources[1::2], strict=True):
        key_sql, key_params = compiler.compile(key)
        value_sql, value_params = _native_value(value, compiler)
        pairs.append(f"{key_sql}: {value_sql}")
        params += [*key_params, *value_params]
    return f"JSON_OBJECT({', '.join(pairs)})", params


@implements(functions.JSONArray)
def json_array(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper, **context: Any) -> SQL:
    sources = node.get_source_expressions()
    if not _is_native(node, connection):
        return _joined("[", [""] * len(sources), sources, "]", compiler, connection)
    values = [_native_value(source, compiler) for source in sources]
    null = " NULL ON NULL" if values else ""
    return f"JSON_ARRAY({', '.join(sql for sql, _ in values)}{null})", [
        param for _, params in values for param in params
    ]


def _is_native(node: Any, connection: DatabaseWrapper) -> bool:
    """Say whether JSON_OBJECT or JSON_ARRAY (SQL Server 2022) does it.

    They take JSON by JSON_QUERY only, which gives NULL for a document that is a bare string, number or literal.
    """
    return connection.features.has_json_object and not any(
        _is_json(source) and not isinstance(source, _CONSTRUCTORS) for source in node.get_source_expressions()
    )


def _is_json(node: Any) -> bool:
    return isinstance(node._output_field_or_none, JSONField)


def _native_value(node: Any, compiler: SQLCompiler) -> SQL:
    """Return a value as JSON_OBJECT and JSON_ARRAY are to take it: a condition as true or false."""
    sql, params = compiler.compile(node)
    if isinstance(node, _CONSTRUCTORS) and not _is_native(node, compiler.connection):
        return f"JSON_QUERY({sql})", params
    if isinstance(node._output_field_or_none, BooleanField) and not isinstance(node, Col):
        return f"CAST({sql} AS bit)", params
    return sql, params


def _joined(
    opening: str,
    heads: Sequence[str],
    values: Sequence[Any],
    closing: str,
    compiler: SQLCompiler,
    connection: DatabaseWrapper,
) -> SQL:
    """Write a document piece by piece, as text.

    Not by a subquery with FOR JSON, in which aggregates and windows would not mean the rows outside.
    """
    pieces: list[str] = []
    params: list[Any] = []
    text = opening
    for position, (head, value) in enumerate(zip(heads, values, strict=True)):
        sql, value_params = _value_as_text(value, compiler, connection)
        pieces += [_literal(f"{text}{',' if position else ''}{head}"), sql]
        params += value_params
        text = ""
    return f"({' + '.join([*pieces, _literal(text + closing)])})", params


def _value_as_text(node: Any, compiler: SQLCompiler, connection: DatabaseWrapper) -> SQL:
    """Return a value as it stands in JSON, by the type of its column."""
    sql, params = compiler.compile(node)
    field = node._output_field_or_none
    field = getattr(field, "target_field", field)
    data_type = "" if field is None else (field.cast_db_type(connection) or "").partition("(")[0].lower()
    if _is_json(node):
        text = sql if isinstance(node, _CONSTRUCTORS) else f"CAST({sql} AS nvarchar(max))"
    elif isinstance(node, Value) and node.value is None:
        return "N'null'", ()
    else:
        match data_type:
            case "nvarchar" | "varchar" | "nchar" | "char" | "ntext" | "text":
                text = f"N'\"' + STRING_ESCAPE(CAST({sql} AS nvarchar(max)), 'json') + N'\"'"
            case "bit":
                text = f"CASE CAST({sql} AS bit) WHEN 1 THEN N'true' WHEN 0 THEN N'false' END"
            case "bigint" | "int" | "smallint" | "tinyint" | "numeric" | "decimal":
                text = f"CAST({sql} AS nvarchar(max))"
            case "double precision" | "float" | "real":
                # Style 3 keeps all 17 digits.
                text = f"CONVERT(nvarchar(max), CAST({sql} AS float), 3)"
            case "date" | "time" | "datetime" | "datetime2" | "smalldatetime" | "datetimeoffset":
                # Style 126 is ISO 8601 (https://learn.microsoft.com/sql/t-sql/functions/cast-and-convert-transact-sql).
                text = f"N'\"' + CONVERT(nvarchar(max), {sql}, 126) + N'\"'"
            case "uniqueidentifier":
                text = f"N'\"' + LOWER(CAST({sql} AS nvarchar(36))) + N'\"'"
            case _:
                raise NotSupportedError(
                    f"JSONObject() and JSONArray() can't write {node!r} as JSON here: "
                    f"{f'its type is {data_type}' if data_type else 'it has no output_field'}. "
                    "SQL Server 2022 and newer take any type where no JSON is among the values."
                )
    return f"ISNULL({text}, N'null')", params


def _literal(text: str) -> str:
    """Return text as a literal; Microsoft's parser takes no parameter for a path."""
    return "N'{}'".format(text.replace("'", "''").replace("%", "%%"))
