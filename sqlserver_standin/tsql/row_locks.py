"""Table hints that lock, as PostgreSQL's row locks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WRITE_LOCKS = frozenset(("UPDLOCK", "XLOCK"))
_SHARED_LOCKS = frozenset(("HOLDLOCK", "SERIALIZABLE", "REPEATABLEREAD"))


@dataclass(slots=True)
class RowLock:
    """FOR … of a SELECT, for one of its tables."""

    strength: str
    alias: str
    wait: str


def row_lock(hints: Sequence[str]) -> tuple[str, str]:
    """The strength of FOR … that table hints ask for ("" for none), and what to do about locked rows."""
    strength = "UPDATE" if WRITE_LOCKS & set(hints) else "SHARE" if _SHARED_LOCKS & set(hints) else ""
    return strength, " SKIP LOCKED" if "READPAST" in hints else " NOWAIT" if "NOWAIT" in hints else ""


def lock_clause(locks: Iterable[RowLock]) -> str:
    """FOR … for all tables of a SELECT."""
    clauses: dict[tuple[str, str], list[str]] = {}
    for lock in locks:
        clauses.setdefault((lock.strength, lock.wait), []).append(lock.alias)
    return "".join(
        f" FOR {strength} OF {', '.join(aliases)}{wait}" for (strength, wait), aliases in clauses.items()
    )
