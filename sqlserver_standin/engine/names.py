"""SQL Server's names (128 characters) in PostgreSQL, whose names have 63 bytes."""

from __future__ import annotations

import hashlib

MOST_BYTES = 63


def pg_name(name: str, qualifier: str = "") -> str:
    """The PostgreSQL name: the same, or cut and completed by a hash when it is too long.

    The hash ignores case, as SQL Server's names do. A ``qualifier`` tells apart names that only SQL Server lets repeat,
    such as those of indexes of different tables.
    """
    encoded = name.encode()
    if len(encoded) <= MOST_BYTES and not qualifier:
        return name
    digest = hashlib.blake2b(f"{qualifier}\0{name}".lower().encode(), digest_size=6).hexdigest()
    return encoded[: MOST_BYTES - 13].decode(errors="ignore") + "~" + digest


def quote(name: str) -> str:
    """A PostgreSQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """A PostgreSQL string constant (standard_conforming_strings is on)."""
    return "'" + text.replace("'", "''") + "'"


def bracket(name: str) -> str:
    """A T-SQL identifier."""
    return "[" + name.replace("]", "]]") + "]"
