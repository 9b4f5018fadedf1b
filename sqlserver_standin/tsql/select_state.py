"""What the parts of one SELECT tell each other while it is translated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.row_locks import RowLock


@dataclass(slots=True)
class SelectState:
    """What the expressions of one SELECT need to know about it."""

    grouped: bool = False
    group_keys: set[Any] = field(default_factory=set)
    windows: dict[str, ast.Over] = field(default_factory=dict)
    locks: list[RowLock] = field(default_factory=list)
    lockable: bool = True
    recursion: str | None = None
    """The alias of the common table that this SELECT, its recursive member, reads."""
    totals: bool = False
    """ROLLUP and its like add rows in which the columns that are grouped by are NULL."""
