"""Mathematical functions.

https://learn.microsoft.com/sql/t-sql/functions/mathematical-functions-transact-sql
"""

from __future__ import annotations

from collections.abc import Callable

from sqlserver_standin.events import SqlError
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql import types
from sqlserver_standin.tsql.conversions import convert
from sqlserver_standin.tsql.expressions import FUNCTIONS
from sqlserver_standin.tsql.queries import QueryTranslator
from sqlserver_standin.tsql.types import FLOAT, INT, describe, family, is_string, pg_type
from sqlserver_standin.tsql.values import Value
from sqlserver_standin.types import SqlType


def number(value: Value, function: str, position: int = 1) -> Value:
    """A numeric argument; strings and bits become float, as SQL Server has it for these functions."""
    kind = family(value.type)
    if kind in ("integer", "decimal", "money", "float"):
        return value
    if kind == "bit" or is_string(value.type):
        return convert(value, FLOAT)
    raise SqlError(
        8116,
        f"Argument data type {describe(value.type)} is invalid for argument {position} of {function} function.",
    )


def _result_type(value: Value) -> SqlType:
    """tinyint and smallint give int, real float, smallmoney money."""
    if value.type.name in ("tinyint", "smallint"):
        return INT
    if value.type.name == "real":
        return FLOAT
    if value.type.name == "smallmoney":
        return SqlType("money")
    return value.type


def _keeping(template: str, *, whole: bool = False) -> Callable[[QueryTranslator, ast.Call], Value]:
    """A function whose result has its argument's type; ``whole`` results have scale 0."""

    def translate(work: QueryTranslator, node: ast.Call) -> Value:
        (given,) = work.arguments(node, 1)
        value = number(given, node.spelling.lower())
        result = _result_type(value)
        if whole and family(result) == "decimal":
            result = SqlType(result.name, precision=result.precision, scale=0)
        sql = template.format(convert(value, _result_type(value)).sql)
        if family(result) in ("integer", "float"):
            sql = f"{sql}::{pg_type(result)}"
        return Value(sql, result, given.nullable)

    return translate


FUNCTIONS["ABS"] = _keeping("abs({})")
FUNCTIONS["CEILING"] = _keeping("ceil({})", whole=True)
FUNCTIONS["FLOOR"] = _keeping("floor({})", whole=True)
FUNCTIONS["SIGN"] = _keeping("sign({})")


def _float(template: str) -> Callable[[QueryTranslator, ast.Call], Value]:
    def translate(work: QueryTranslator, node: ast.Call) -> Value:
        (given,) = work.arguments(node, 1)
        value = convert(number(given, node.spelling.lower()), FLOAT)
        return Value(template.format(value.sql), FLOAT, given.nullable)

    return translate


for _name, _template in {
    "ACOS": "sys.checked_float('acos',{0})",
    "ASIN": "sys.checked_float('asin',{0})",
    "ATAN": "atan({})",
    "COS": "cos({})",
    "COT": "cot({})",
    "EXP": "exp({})",
    "LOG10": "sys.checked_float('log10',{0})",
    "SIN": "sin({})",
    "SQRT": "sys.checked_float('sqrt',{0})",
    "SQUARE": "({0} * {0})",
    "TAN": "tan({})",
}.items():
    FUNCTIONS[_name] = _float(_template)


def _degrees(function: str) -> Callable[[QueryTranslator, ast.Call], Value]:
    def translate(work: QueryTranslator, node: ast.Call) -> Value:
        (given,) = work.arguments(node, 1)
        value = number(given, node.spelling.lower())
        result = _result_type(value)
        as_float = convert(value, FLOAT).sql
        sql = f"{function}({as_float})"
        if family(result) == "integer":
            sql = f"trunc({sql})::{pg_type(result)}"
        elif family(result) == "decimal":
            result = SqlType("decimal", precision=38, scale=max(result.scale or 0, 18))
            sql = f"round({sql}::numeric,18)"
        return Value(sql, result, given.nullable)

    return translate


FUNCTIONS["DEGREES"] = _degrees("degrees")
FUNCTIONS["RADIANS"] = _degrees("radians")


def _atn2(work: QueryTranslator, node: ast.Call) -> Value:
    y, x = (convert(number(value, "atn2"), FLOAT) for value in work.arguments(node, 2))
    return Value(f"atan2({y.sql},{x.sql})", FLOAT, y.nullable or x.nullable)


def _log(work: QueryTranslator, node: ast.Call) -> Value:
    values = [convert(number(value, "log"), FLOAT) for value in work.arguments(node, 1, 2)]
    nullable = any(value.nullable for value in values)
    if len(values) == 1:
        return Value(f"sys.checked_float('log',{values[0].sql})", FLOAT, nullable)
    return Value(f"sys.log_of({values[0].sql},{values[1].sql})", FLOAT, nullable)


def _power(work: QueryTranslator, node: ast.Call) -> Value:
    """The result has the type of the base."""
    given, exponent = work.arguments(node, 2)
    value = number(given, "power")
    result = _result_type(value)
    power = convert(number(exponent, "power", 2), FLOAT)
    nullable = given.nullable or exponent.nullable
    if family(result) == "float":
        return Value(f"sys.power_of({convert(value, FLOAT).sql},{power.sql})", result, nullable)
    scale = (result.scale or 0) if family(result) == "decimal" else 4 if family(result) == "money" else 0
    if family(result) == "decimal":
        result = SqlType("decimal", precision=38, scale=scale)
    sql = f"sys.power_of({value.sql}::numeric,{power.sql}::numeric,{scale})"
    if family(result) == "integer":
        least, most = types.INTEGER_RANGE[result.name]
        sql = f"sys.checked_integer({sql},{least},{most},'float','{result.name}',false)::{pg_type(result)}"
    return Value(sql, result, nullable)


def _round(work: QueryTranslator, node: ast.Call) -> Value:
    values = work.arguments(node, 2, 3)
    value = number(values[0], "round")
    result = _result_type(value)
    digits = convert(values[1], INT).sql
    truncate = f"({convert(values[2], INT).sql} <> 0)" if len(values) > 2 else "false"
    sql = f"sys.round_to({value.sql}::numeric,{digits},{truncate})"
    if family(result) == "float":
        sql = f"sys.round_to({convert(value, FLOAT).sql},{digits},{truncate})"
    elif family(result) in ("integer", "decimal"):
        # ROUND(9.9, 0) is an overflow: its type has room for one digit before the point.
        sql = f"{sql}::{pg_type(result)}"
    return Value(sql, result, any(each.nullable for each in values))


def _rand(work: QueryTranslator, node: ast.Call) -> Value:
    values = work.arguments(node, 0, 1)
    if values:
        return Value(f"sys.seeded_random({convert(values[0], INT).sql})", FLOAT, nullable=values[0].nullable)
    # SQL Server evaluates RAND() once per query; a scalar subquery makes PostgreSQL do the same.
    return Value("(SELECT random())", FLOAT, nullable=False)


FUNCTIONS["ATN2"] = _atn2
FUNCTIONS["LOG"] = _log
FUNCTIONS["POWER"] = _power
FUNCTIONS["ROUND"] = _round
FUNCTIONS["RAND"] = _rand
FUNCTIONS["PI"] = lambda work, node: Value("pi()", FLOAT, nullable=False)


def _bit_function(
    template: str, result: SqlType | None = None
) -> Callable[[QueryTranslator, ast.Call], Value]:
    def translate(work: QueryTranslator, node: ast.Call) -> Value:
        value, amount = work.arguments(node, 2)
        if family(value.type) != "integer":
            raise SqlError(
                8116,
                f"Argument data type {describe(value.type)} is invalid for argument 1 of {node.spelling.lower()} "
                "function.",
            )
        bits = {"tinyint": 8, "smallint": 16, "int": 32, "bigint": 64}[value.type.name]
        sql = template.format(value=f"{value.sql}::int8", amount=convert(amount, INT).sql, bits=bits)
        data_type = result or value.type
        return Value(f"{sql}::{pg_type(data_type)}", data_type)

    return translate


FUNCTIONS["LEFT_SHIFT"] = _bit_function("sys.shift({value},{amount},{bits})")
FUNCTIONS["RIGHT_SHIFT"] = _bit_function("sys.shift({value},-({amount}),{bits})")
FUNCTIONS["GET_BIT"] = _bit_function("((({value} >> {amount}) & 1) <> 0)", types.BIT)


def _bit_count(work: QueryTranslator, node: ast.Call) -> Value:
    (value,) = work.arguments(node, 1)
    bits = {"tinyint": 8, "smallint": 16, "int": 32, "bigint": 64}.get(value.type.name, 64)
    return Value(f"bit_count({value.sql}::int8::bit({bits}))", types.BIGINT, value.nullable)


FUNCTIONS["BIT_COUNT"] = _bit_count
