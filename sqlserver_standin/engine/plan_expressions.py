"""Expressions as PostgreSQL's EXPLAIN prints them, taken apart."""

from __future__ import annotations

import re

_IDENTIFIER = r'(?:"(?:[^"]|"")+"|[A-Za-z_\u0080-\uffff][\w$]*)'
REFERENCE = re.compile(rf"(?<![\w.\"])({_IDENTIFIER})\.({_IDENTIFIER})(?!\s*\()")
CAST = re.compile(
    r"::(?:\"[^\"]+\"|[a-z_][\w.]*(?: (?:without|with) time zone| precision| varying)?)(?:\(\d+(?:,\d+)?\))?(?:\[\])?"
)
_BARE_NAME = re.compile(rf"'(?:[^']|'')*'|(?<![\w$.])({_IDENTIFIER})(?![\w$]|\s*[.(])")
PARAMETER = re.compile(r"\$(\d+)")
FUNCTION_SCHEMA = re.compile(r"\b(?:sys|pg_catalog)\.(?=[a-z_])")
_COMPARISON = re.compile(
    rf"^\(?\(?({_IDENTIFIER}\.{_IDENTIFIER})\)?\s*(=|<>|<=|>=|<|>)\s*(.+?)\)?$", re.DOTALL
)
COMPARE_OPERATIONS = {"=": "EQ", "<>": "NE", "<": "LT", "<=": "LE", ">": "GT", ">=": "GE"}


def unquoted(identifier: str) -> str:
    """A name without PostgreSQL's quotes."""
    return identifier[1:-1].replace('""', '"') if identifier.startswith('"') else identifier


def bare_names(expression: str) -> list[str]:
    """The names in an expression that stand alone: columns without an alias, among others."""
    return [unquoted(match[1]) for match in _BARE_NAME.finditer(CAST.sub("", expression)) if match[1]]


def split_conjuncts(condition: str) -> list[str]:
    """The operands of the outermost AND of a condition as EXPLAIN prints it."""
    text = condition.strip()
    while text.startswith("(") and closes_at_end(text):
        text = text[1:-1].strip()
    parts: list[str] = []
    depth = 0
    quoted = False
    start = 0
    position = 0
    while position < len(text):
        character = text[position]
        if character == "'":
            quoted = not quoted
        elif not quoted:
            if character == "(":
                depth += 1
            elif character == ")":
                depth -= 1
            elif depth == 0 and text.startswith(" AND ", position):
                parts.append(text[start:position])
                position += 5
                start = position
                continue
        position += 1
    parts.append(text[start:])
    return [part.strip() for part in parts]


def closes_at_end(text: str) -> bool:
    """Whether the parenthesis that opens the text closes at its end."""
    depth = 0
    quoted = False
    for position, character in enumerate(text):
        if character == "'":
            quoted = not quoted
        elif not quoted and character == "(":
            depth += 1
        elif not quoted and character == ")":
            depth -= 1
            if depth == 0:
                return position == len(text) - 1
    return False


def comparison(conjunct: str) -> tuple[str, str, str] | None:
    """(alias.column, operator, the rest) of ``column operator value``."""
    text = conjunct
    while text.startswith("(") and closes_at_end(text):
        text = text[1:-1].strip()
    match = _COMPARISON.match(CAST.sub("", text))
    return (match[1], match[2], match[3]) if match else None


def bare_key(expression: str) -> str:
    """A sort or group key without direction and parentheses."""
    text = re.sub(
        r" (?:DESC|ASC)?(?: ?NULLS (?:FIRST|LAST))?$", "", re.sub(r" USING \S+$", "", expression)
    ).strip()
    while text.startswith("(") and closes_at_end(text):
        text = text[1:-1].strip()
    return text
