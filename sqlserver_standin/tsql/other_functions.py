"""NULL handling, choice, hashes, identifiers and other functions."""

from __future__ import annotations

from collections.abc import Callable

from sqlserver_standin.events import SqlError
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql import types
from sqlserver_standin.tsql.conversions import convert
from sqlserver_standin.tsql.expressions import FUNCTIONS
from sqlserver_standin.tsql.parse_tokens import unsupported
from sqlserver_standin.tsql.queries import QueryTranslator
from sqlserver_standin.tsql.regular_expressions import regexp_like_as_value
from sqlserver_standin.tsql.types import INT, describe, family, is_string
from sqlserver_standin.tsql.values import Value, null, quote, string
from sqlserver_standin.types import MAX, SqlType


def _isnull(work: QueryTranslator, node: ast.Call) -> Value:
    """The result has the type of the first argument."""
    value, other = work.arguments(node, 2)
    if value.null:
        return other
    other = convert(other, value.type)
    if is_string(value.type):
        result = string(f"coalesce({value.text},{other.text})", value.type, nullable=other.nullable)
        result.explicit_collation = value.explicit_collation
        return result
    return Value(f"coalesce({value.sql},{other.sql})", value.type, value.nullable and other.nullable)


def _coalesce(work: QueryTranslator, node: ast.Call) -> Value:
    if len(node.arguments) < 2:
        raise SqlError(102, "Incorrect syntax near ')'.", severity=15)
    values = [work.value(argument) for argument in node.arguments]
    if all(value.null for value in values):
        raise SqlError(
            4127,
            "At least one of the arguments to COALESCE must be an expression that is not the NULL constant.",
        )
    target, converted = work.unify(values)
    sql = f"coalesce({','.join(value.sql for value in converted)})"
    return Value(
        sql,
        target,
        all(value.nullable for value in values),
        explicit_collation=any(value.explicit_collation for value in values),
    )


def _nullif(work: QueryTranslator, node: ast.Call) -> Value:
    value, other = work.arguments(node, 2)
    if value.null:
        raise SqlError(
            4151,
            "The type of the first argument to NULLIF cannot be the NULL constant because the type of the first "
            "argument has to be known.",
        )
    condition = work.compare("=", value, other)
    return Value(
        f"(CASE WHEN {condition} THEN NULL ELSE {value.sql} END)",
        value.type,
        explicit_collation=value.explicit_collation,
    )


def _choose(work: QueryTranslator, node: ast.Call) -> Value:
    values = work.arguments(node, 2, 255)
    index = convert(values[0], INT)
    target, converted = work.unify(values[1:])
    branches = " ".join(f"WHEN {position} THEN {value.sql}" for position, value in enumerate(converted, 1))
    return Value(f"(CASE {index.sql} {branches} END)", target)


def _greatest(function: str) -> Callable[[QueryTranslator, ast.Call], Value]:
    """NULL arguments are ignored, as PostgreSQL does too."""

    def translate(work: QueryTranslator, node: ast.Call) -> Value:
        values = work.arguments(node, 1, 254)
        target, converted = work.unify(values)
        if target.name in ("text", "ntext", "image", "xml", "json"):
            raise SqlError(8117, f"Operand data type {describe(target)} is invalid for {function} operator.")
        sql = f"{function}({','.join(value.sql for value in converted)})"
        return Value(sql, target, all(value.nullable for value in values))

    return translate


FUNCTIONS["ISNULL"] = _isnull
FUNCTIONS["COALESCE"] = _coalesce
FUNCTIONS["NULLIF"] = _nullif
FUNCTIONS["CHOOSE"] = _choose
FUNCTIONS["GREATEST"] = _greatest("greatest")
FUNCTIONS["LEAST"] = _greatest("least")


def _newid(work: QueryTranslator, node: ast.Call) -> Value:
    work.check_arity(node, 0)
    return Value("gen_random_uuid()", types.UNIQUEIDENTIFIER, nullable=False)


FUNCTIONS["NEWID"] = FUNCTIONS["NEWSEQUENTIALID"] = _newid


def _hashbytes(work: QueryTranslator, node: ast.Call) -> Value:
    algorithm, value = work.arguments(node, 2)
    if family(value.type) == "binary":
        data = value.sql
    elif is_string(value.type):
        data = f"sys.text_to_binary({value.text},0,'{types.encoding(value.type)}',false)"
    else:
        raise SqlError(
            8116,
            f"Argument data type {describe(value.type)} is invalid for argument 2 of hashbytes function.",
        )
    return Value(f"sys.hashbytes({algorithm.text},{data})", SqlType("varbinary", length=8000))


FUNCTIONS["HASHBYTES"] = _hashbytes


def _checksum(work: QueryTranslator, node: ast.Call) -> Value:
    """A hash that is equal for equal values; its numbers are the stand-in's own."""
    if node.arguments and isinstance(node.arguments[0], ast.Star):
        values = [column.value() for relation in work.scope.relations for column in relation.columns]
    else:
        values = work.arguments(node, 1, 1000)
    parts = []
    for value in values:
        if is_string(value.type):
            parts.append(f"sys.fold_ci({value.text})" if node.name == "CHECKSUM" else value.text)
        else:
            parts.append(f"{value.sql}::text")
    return Value(f"hashtext(concat_ws(chr(1),{','.join(parts)}))", INT, nullable=False)


FUNCTIONS["CHECKSUM"] = FUNCTIONS["BINARY_CHECKSUM"] = _checksum


def _isnumeric(work: QueryTranslator, node: ast.Call) -> Value:
    (value,) = work.arguments(node, 1)
    if family(value.type) in ("integer", "decimal", "money", "float"):
        return Value(f"(CASE WHEN {value.sql} IS NULL THEN 0 ELSE 1 END)", INT, nullable=False)
    if not is_string(value.type):
        return Value("0", INT, nullable=False)
    return Value(f"sys.isnumeric({value.text})", INT, nullable=False)


FUNCTIONS["ISNUMERIC"] = _isnumeric


def _sql_variant_property(work: QueryTranslator, node: ast.Call) -> Value:
    """The base type is known statically for everything that is no sql_variant."""
    value, what = work.arguments(node, 2)
    if family(value.type) == "variant" or not what.constant:
        raise unsupported("SQL_VARIANT_PROPERTY of a sql_variant column")
    data_type = value.type
    answers = {
        "basetype": quote(data_type.name),
        "precision": str(data_type.precision) if data_type.precision is not None else None,
        "scale": str(data_type.scale) if data_type.scale is not None else None,
        "maxlength": str(_max_length(data_type)),
        "collation": quote(data_type.collation or "SQL_Latin1_General_CP1_CI_AS")
        if is_string(data_type)
        else None,
    }
    answer = answers.get(what.text.strip("'").lower())
    if answer is None:
        return null(SqlType("sql_variant"))
    return Value(f"{answer}::text", SqlType("sql_variant"))


def _max_length(data_type: SqlType) -> int:
    if is_string(data_type):
        length = types.display_length(data_type)
        return length if length == MAX else length * (2 if types.is_unicode(data_type) else 1)
    return {"tinyint": 1, "bit": 1, "smallint": 2, "int": 4, "bigint": 8, "float": 8, "date": 3}.get(
        data_type.name, 8
    )


FUNCTIONS["SQL_VARIANT_PROPERTY"] = _sql_variant_property
FUNCTIONS["REGEXP_LIKE"] = regexp_like_as_value
