"""Table and query hints for a queryset: ``with_hints(orders, table="NOLOCK", query=["RECOMPILE", "MAXDOP 1"])``.

A hint can't be a parameter, so each is parsed by the grammar of SQL Server and written anew from what was recognised:
https://learn.microsoft.com/sql/t-sql/queries/hints-transact-sql-table and
https://learn.microsoft.com/sql/t-sql/queries/hints-transact-sql-query.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from django.db.models import Model, QuerySet
from django.db.models.sql.query import Query

Texts = str | Iterable[str]
TableHints = Texts | Mapping[type[Model], Texts]

_AnyQuerySet = TypeVar("_AnyQuerySet", bound=QuerySet[Any, Any])

ATTRIBUTE = "mssql_hints"
"""Where a Query carries its hints; Django's clones take the attribute along."""

_LOCKING = frozenset(
    """HOLDLOCK NOLOCK NOWAIT PAGLOCK READCOMMITTED READCOMMITTEDLOCK READPAST READUNCOMMITTED REPEATABLEREAD ROWLOCK
    SERIALIZABLE SNAPSHOT TABLOCK TABLOCKX UPDLOCK XLOCK""".split()
)
_ACCESS = frozenset(("FORCESCAN", "FORCESEEK", "INDEX", "NOEXPAND", "SPATIAL_WINDOW_MAX_CELLS"))

_QUERY_WORDS = frozenset(
    (
        *("CONCAT UNION", "HASH UNION", "MERGE UNION", "HASH JOIN", "LOOP JOIN", "MERGE JOIN"),
        *("HASH GROUP", "ORDER GROUP", "FORCE ORDER", "EXPAND VIEWS", "OPTIMIZE FOR UNKNOWN", "RECOMPILE"),
        *("KEEP PLAN", "KEEPFIXED PLAN", "ROBUST PLAN", "DISABLE_OPTIMIZED_PLAN_FORCING"),
        *("IGNORE_NONCLUSTERED_COLUMNSTORE_INDEX", "NO_PERFORMANCE_SPOOL"),
        *("DISABLE EXTERNALPUSHDOWN", "FORCE EXTERNALPUSHDOWN"),
        *("DISABLE SCALEOUTEXECUTION", "FORCE SCALEOUTEXECUTION"),
    )
)
_QUERY_NUMBERS = {
    "FAST": 2**31 - 1,
    "MAXDOP": 32_767,
    "MAXRECURSION": 32_767,
    "QUERYTRACEON": 2**31 - 1,
}
_QUERY_PERCENTAGES = frozenset(("MAX_GRANT_PERCENT", "MIN_GRANT_PERCENT"))


@dataclass(frozen=True, slots=True)
class TableHint:
    """One hint as it is sent, for the tables of one model (None: the queryset's own)."""

    sql: str
    model: type[Model] | None = None

    @property
    def is_lock(self) -> bool:
        """Whether it says how rows are locked, not how they are found."""
        return self.sql in _LOCKING


@dataclass(frozen=True, slots=True)
class Hints:
    """What a query carries."""

    table: tuple[TableHint, ...] = ()
    query: tuple[str, ...] = ()

    def __or__(self, other: Hints) -> Hints:
        return Hints(_distinct(self.table + other.table), _distinct(self.query + other.query))

    def __bool__(self) -> bool:
        return bool(self.table or self.query)

    def of_tables(self, query: Query) -> dict[str, list[str]]:
        """The hints of each table in FROM, by its alias."""
        found: dict[str, list[str]] = {}
        for hint in self.table:
            for alias, source in query.alias_map.items():
                if (
                    alias == query.base_table
                    if hint.model is None
                    else source.table_name == hint.model._meta.db_table
                ):
                    found.setdefault(alias, []).append(hint.sql)
        return found

    def of_target(self, model: type[Model], *, is_searched: bool) -> list[str]:
        """The hints of the table that UPDATE or DELETE changes.

        Where a subquery searches for the rows, the target is reached by its key: what says how is the subquery's.
        """
        table = model._meta.db_table
        return [
            hint.sql
            for hint in self.table
            if (hint.model is None or hint.model._meta.db_table == table) and (is_searched or hint.is_lock)
        ]

    @property
    def options(self) -> str:
        """The clause for the end of the statement, empty without query hints."""
        return f"OPTION ({', '.join(self.query)})" if self.query else ""


NO_HINTS = Hints()


def with_hints(queryset: _AnyQuerySet, *, table: TableHints = (), query: Texts = ()) -> _AnyQuerySet:
    """Return the queryset with hints added.

    ``table`` holds hints for the queryset's own table, or a dict from models to the hints of their tables wherever
    these stand in the statement (joins, the tables between many and many). ``query`` holds those of OPTION. Each is
    one text or several: ``"NOLOCK"``, ``["FORCESEEK", "INDEX([order_number])"]``, ``["RECOMPILE", "MAXDOP 2"]``.
    A text that SQL Server's grammar does not know is a ValueError. Other databases ignore hints.
    """
    by_model: Mapping[Any, Texts] = table if isinstance(table, Mapping) else {None: table}
    added = Hints(
        _distinct(
            TableHint(_table_hint(text), model) for model, texts in by_model.items() for text in _texts(texts)
        ),
        _distinct(_query_hint(text) for text in _texts(query)),
    )
    hinted = queryset.all()
    setattr(hinted.query, ATTRIBUTE, hints_of(hinted.query) | added)
    return hinted


class HintQuerySet(QuerySet[Any, Any]):
    """A queryset with a method for it: ``objects = HintQuerySet.as_manager()``."""

    def with_hints(self, *, table: TableHints = (), query: Texts = ()) -> HintQuerySet:
        return with_hints(self, table=table, query=query)


def hints_of(query: Query) -> Hints:
    """The hints that a query carries, those of the parts of a compound query as well."""
    hints: Hints = getattr(query, ATTRIBUTE, NO_HINTS)
    for part in getattr(query, "combined_queries", ()):  # Not of a RawQuery.
        hints |= Hints(query=hints_of(part).query)
    return hints


def without_query_hints(query: Query) -> Query:
    """The query as a part of a statement: OPTION belongs to the statement, never to its parts."""
    if not hints_of(query).query:
        return query
    part = query.clone()
    setattr(part, ATTRIBUTE, Hints(hints_of(query).table))
    part.combined_queries = tuple(map(without_query_hints, part.combined_queries))
    return part


def _texts(texts: Texts) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts)


_Item = TypeVar("_Item")


def _distinct(items: Iterable[_Item]) -> tuple[_Item, ...]:
    return tuple(dict.fromkeys(items))


# The grammar

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<word>[^\W\d]\w*)
      | (?P<number>\d+(?:\.\d+)?)
      | \[(?P<name>(?:[^]]|]])+)]
      | '(?P<text>[^']*)'
      | (?P<sign>[(),=])
    )""",
    re.VERBOSE,
)


class _Reader:
    """The tokens of one hint."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind, self.text = kind, text
        self.tokens: list[tuple[str, str]] = []
        position = 0
        text = text.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                self.refuse()
            kind_of_token = str(match.lastgroup)
            self.tokens.append((kind_of_token, match[kind_of_token]))
            position = match.end()

    def refuse(self) -> NoReturn:
        raise ValueError(
            f"{self.text!r} is not a {self.kind} hint that SQL Server knows: see "
            f"https://learn.microsoft.com/sql/t-sql/queries/hints-transact-sql-{self.kind}"
        )

    def take(self, *kinds: str) -> str:
        if not self.tokens or self.tokens[0][0] not in kinds:
            self.refuse()
        return self.tokens.pop(0)[1]

    def accept(self, sign: str) -> bool:
        if self.tokens[:1] == [("sign", sign)]:
            del self.tokens[0]
            return True
        return False

    def expect(self, sign: str) -> None:
        if not self.accept(sign):
            self.refuse()

    def words(self) -> str:
        """All words that stand here, in capitals."""
        words = []
        while self.tokens and self.tokens[0][0] == "word":
            words.append(self.take("word").upper())
        return " ".join(words)

    def names(self) -> str:
        """A list of indexes or columns, quoted; a number stands for an index by its id."""
        names = [self.name()]
        while self.accept(","):
            names.append(self.name())
        return ", ".join(names)

    def name(self) -> str:
        if self.tokens and self.tokens[0][0] == "number":
            return self.integer()
        name = self.take("word", "name")  # The latter has its brackets doubled.
        # The statement goes through the cursor's placeholders.
        return f"[{name.replace('%', '%%')}]"

    def integer(self, largest: int = 2**31 - 1) -> str:
        number = self.take("number")
        if not number.isdecimal() or int(number) > largest:
            self.refuse()
        return number

    def end(self) -> None:
        if self.tokens:
            self.refuse()


def _table_hint(text: str) -> str:
    reader = _Reader("table", text)
    word = reader.take("word").upper()
    sql = word
    if word == "INDEX":
        # INDEX = name and INDEX = (name) are the older spellings.
        equals = reader.accept("=")
        if reader.accept("("):
            sql = f"INDEX ({reader.names()})"
            reader.expect(")")
        elif equals:
            sql = f"INDEX ({reader.name()})"
        else:
            reader.refuse()
    elif word == "FORCESEEK" and reader.accept("("):
        index = reader.name()
        reader.expect("(")
        sql = f"FORCESEEK ({index} ({reader.names()}))"
        reader.expect(")")
        reader.expect(")")
    elif word == "SPATIAL_WINDOW_MAX_CELLS":
        reader.expect("=")
        sql = f"{word} = {reader.integer()}"
    elif word not in _LOCKING | _ACCESS:
        reader.refuse()
    reader.end()
    return sql


def _query_hint(text: str) -> str:
    reader = _Reader("query", text)
    words = reader.words()
    sql = words
    if words == "USE HINT":
        reader.expect("(")
        names = [_use_hint(reader)]
        while reader.accept(","):
            names.append(_use_hint(reader))
        reader.expect(")")
        sql = f"USE HINT ({', '.join(names)})"
    elif words in _QUERY_NUMBERS:
        sql = f"{words} {reader.integer(_QUERY_NUMBERS[words])}"
    elif words in _QUERY_PERCENTAGES:
        reader.expect("=")
        number = reader.take("number")
        if float(number) > 100:
            reader.refuse()
        sql = f"{words} = {number}"
    elif words not in _QUERY_WORDS:
        reader.refuse()
    reader.end()
    return sql


def _use_hint(reader: _Reader) -> str:
    """A name of USE HINT: each version of SQL Server adds some (sys.dm_exec_valid_use_hints), none has other signs."""
    name = reader.take("text")
    if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII):
        reader.refuse()
    return f"'{name.upper()}'"


def with_clause(hints: Sequence[str]) -> str:
    """The hints of one table in FROM."""
    return f"WITH ({', '.join(_distinct(hints))})" if hints else ""
