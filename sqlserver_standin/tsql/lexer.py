"""T-SQL text to tokens, as SQL Server reads it (QUOTED_IDENTIFIER ON)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from sqlserver_standin.events import SqlError


class Token(NamedTuple):
    """A token. ``value`` is the name, string, number or upper-case word that ``text`` spells.

    Kinds: word, quoted ([x] or "x"), string, nstring, number, float, money, binary, variable (@x), system (@@x),
    op, end.
    """

    kind: str
    text: str
    value: str
    start: int
    end: int
    line: int


_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<comment>--[^\n]*)
    | (?P<block>/\*)
    | (?P<nstring>[Nn]'(?:[^']|'')*')
    | (?P<string>'(?:[^']|'')*')
    | (?P<quoted>\[(?:[^\]]|\]\])*\]|"(?:[^"]|"")*")
    | (?P<binary>0[xX][0-9a-fA-F]*)
    | (?P<float>(?:\d+\.?\d*|\.\d+)[eE][+-]?\d*)
    | (?P<number>\d+\.?\d*|\.\d+)
    | (?P<money>[$£€]\s*[+-]?(?:\d+\.?\d*|\.\d+)|[$£€](?!\w))
    | (?P<system>@@[\w$#@]*)
    | (?P<variable>@[\w$#@]*)
    | (?P<word>(?:[^\W\d]|[_#])[\w$#@]*|\$action\b|\$identity\b|\$rowguid\b)
    | (?P<op><>|!=|!<|!>|<=|>=|\+=|-=|\*=|/=|%=|&=|\|=|\^=|::|<<|>>|\|\||[-+*/%&|^~=<>!(),.;:{}?\\])
    """,
    re.VERBOSE,
)
_BLOCK_EDGE = re.compile(r"/\*|\*/")


def _end_of_block_comment(sql: str, position: int, line: int) -> int:
    depth = 0
    for edge in _BLOCK_EDGE.finditer(sql, position):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    raise SqlError(113, "Missing end comment mark '*/'.", severity=15, line=line)


def _value(kind: str, text: str) -> str:
    if kind == "word":
        return text.upper()
    if kind == "string":
        return text[1:-1].replace("''", "'")
    if kind == "nstring":
        return text[2:-1].replace("''", "'")
    if kind == "quoted":
        return text[1:-1].replace("]]", "]") if text[0] == "[" else text[1:-1].replace('""', '"')
    if kind in ("variable", "system"):
        return text.lower()
    return text


@lru_cache(maxsize=512)
def tokenize(sql: str) -> tuple[Token, ...]:
    """The tokens of ``sql``, the last of kind "end"."""
    tokens: list[Token] = []
    position, line, length = 0, 1, len(sql)
    while position < length:
        match = _TOKEN.match(sql, position)
        if match is None:
            character = sql[position]
            if character in "'\"[" or sql[position : position + 2] in ("N'", "n'"):
                rest = sql[position + (2 if character in "Nn" else 1) :]
                raise SqlError(
                    105,
                    f"Unclosed quotation mark after the character string '{rest}'.",
                    severity=15,
                    line=line,
                )
            raise SqlError(102, f"Incorrect syntax near '{character}'.", severity=15, line=line)
        kind = match.lastgroup or ""
        end = match.end()
        if kind == "block":
            end = _end_of_block_comment(sql, position, line)
        elif kind not in ("space", "comment"):
            text = match.group()
            tokens.append(Token(kind, text, _value(kind, text), position, end, line))
        line += sql.count("\n", position, end)
        position = end
    tokens.append(Token("end", "", "", length, length, line))
    return tuple(tokens)
