"""Expressions of defaults, checks, computed columns and index filters as SQL Server's catalog spells them.

SQL Server keeps no definition as it was written: ``[n] > 3`` comes back as ``([n]>(3))``.
"""

from __future__ import annotations

from sqlserver_standin.engine.names import bracket
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.types import MAX, SqlType


def declaration(data_type: SqlType) -> str:
    """A type as a declaration writes it: ``nvarchar(20)``, ``decimal(10,2)``, ``datetime2(7)``."""
    if data_type.length is not None:
        return f"{data_type.name}({'max' if data_type.length == MAX else data_type.length})"
    if data_type.name in ("decimal", "numeric"):
        return f"{data_type.name}({data_type.precision},{data_type.scale})"
    if data_type.name in ("time", "datetime2", "datetimeoffset"):
        return f"{data_type.name}({data_type.scale})"
    return data_type.name


class _Unknown(Exception):
    """A node whose spelling isn't known; the source text is kept instead."""


def definition(node: ast.Node, source: str) -> str:
    """The catalog's text for an expression or condition; ``source`` where its form is unknown."""
    try:
        text = _write(node)
    except _Unknown:
        text = source
    return f"({text})"


def _write(node: ast.Node) -> str:
    match node:
        case ast.Constant():
            return _constant(node)
        case ast.ColumnName(parts):
            return ".".join(bracket(part) for part in parts)
        case ast.Unary(operator, operand):
            if isinstance(operand, ast.Constant) and operator == "-":
                return f"(-{operand.value})"
            return operator + _write(operand)
        case ast.Binary(operator, left, right):
            return f"{_operand(left, operator)}{operator}{_operand(right, operator)}"
        case ast.Call(name=name, arguments=arguments, schema=(), over=None, within_group=(), distinct=False):
            if name == "CURRENT_TIMESTAMP":
                return "getdate()"
            written = [*(_write(argument) for argument in arguments), *node.options]
            return f"{name.lower()}({','.join(written)})"
        case ast.Cast(function, operand, data_type, style):
            word = "TRY_CAST" if function.startswith("TRY") else "CONVERT"
            name = declaration(data_type)
            base, bracketed, rest = name.partition("(")
            suffix = f",{_write(style)}" if style is not None else ""
            return f"{word}([{base}]{bracketed}{rest},{_write(operand)}{suffix})"
        case ast.Case(operand, branches, otherwise):
            words = ["case"]
            if operand is not None:
                words.append(_write(operand))
            words.extend(f"when {_write(when)} then {_write(then)}" for when, then in branches)
            if otherwise is not None:
                words.append(f"else {_write(otherwise)}")
            return " ".join((*words, "end"))
        case ast.Collate(operand, collation):
            return f"{_write(operand)} collate {collation}"
        case ast.NextValue(sequence):
            return f"NEXT VALUE FOR {'.'.join(bracket(part) for part in sequence)}"
        case ast.Logical(operator, operands):
            return f" {operator} ".join(_operand(operand, operator) for operand in operands)
        case ast.Not(operand):
            return f"NOT {_operand(operand, 'NOT')}"
        case ast.Comparison(operator, left, right):
            return f"{_write(left)}{operator}{_write(right)}"
        case ast.IsNull(operand, negated):
            return f"{_write(operand)} IS {'NOT ' if negated else ''}NULL"
        case ast.Between(operand, low, high, negated):
            text = f"{_write(operand)}>={_write(low)} AND {_write(operand)}<={_write(high)}"
            return f"NOT ({text})" if negated else text
        case ast.InList(operand, items, negated):
            text = " OR ".join(f"{_write(operand)}={_write(item)}" for item in reversed(items))
            return f"NOT ({text})" if negated else text
        case ast.Like(operand, pattern, escape, negated):
            suffix = f" escape {_write(escape)}" if escape is not None else ""
            return f"{'NOT ' if negated else ''}{_write(operand)} like {_write(pattern)}{suffix}"
    raise _Unknown


def _constant(node: ast.Constant) -> str:
    match node.kind:
        case "string":
            return "'" + node.value.replace("'", "''") + "'"
        case "nstring":
            return "N'" + node.value.replace("'", "''") + "'"
        case "null":
            return "NULL"
        case "integer" | "decimal" | "float" | "money":
            return f"({node.value})"
        case "binary":
            return node.value
    raise _Unknown


def _operand(node: ast.Node, operator: str) -> str:
    """Parentheses where the tree needs them."""
    text = _write(node)
    if isinstance(node, ast.Binary) and operator in ("*", "/", "%", "-") and node.operator in ("+", "-"):
        return f"({text})"
    if isinstance(node, ast.Logical) and node.operator != operator:
        return f"({text})"
    if isinstance(node, ast.InList) and len(node.items) > 1 and operator == "AND":
        return f"({text})"
    return text
