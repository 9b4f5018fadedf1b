"""SQL as HTML: on several lines, keywords and values marked."""

from __future__ import annotations

from functools import lru_cache

import sqlparse
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from sqlparse import tokens

# sqlparse takes quadratic time over some long texts, such as IN lists of thousands.
MAX_FORMATTED = 20_000

_CLASSES = (
    (tokens.Comment, "mp-comment"),
    (tokens.Keyword, "mp-keyword"),
    (tokens.Literal, "mp-literal"),
    (tokens.Name.Placeholder, "mp-parameter"),
    (tokens.Name.Builtin, "mp-keyword"),
)


@lru_cache(maxsize=512)
def format_sql(sql: str) -> SafeString:
    """The statement indented and marked up; very long ones as they are."""
    if len(sql) > MAX_FORMATTED:
        return escape(sql)
    try:
        text = sqlparse.format(sql, reindent=True, use_space_around_operators=False)
        pieces = [_piece(token) for statement in sqlparse.parse(text) for token in statement.flatten()]
    except (sqlparse.exceptions.SQLParseError, RecursionError):
        return escape(sql)
    return mark_safe("".join(pieces))


def _piece(token: sqlparse.sql.Token) -> str:
    text = escape(token.value)
    for kind, css_class in _CLASSES:
        if token.ttype in kind:
            return f'<span class="{css_class}">{text}</span>'
    return text
