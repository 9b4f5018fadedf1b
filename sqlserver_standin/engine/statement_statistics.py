"""What SET STATISTICS IO and SET STATISTICS TIME report, measured in PostgreSQL and not estimated.

https://learn.microsoft.com/sql/t-sql/statements/set-statistics-io-transact-sql
https://learn.microsoft.com/sql/t-sql/statements/set-statistics-time-transact-sql
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlserver_standin.engine.link import Link
from sqlserver_standin.errors import text
from sqlserver_standin.events import Message

COMPILE_TIME = 3613
EXECUTION_TIME = 3612
TABLE_READS = 3615

# The counters of this backend that are not yet added to the cumulative statistics, which happens between transactions.
# A table's numbers are those of its heap and indexes; the out-of-line storage of its long values is what SQL Server
# calls LOB pages. The stand-in's own tables have no comment.
_COUNTERS = """
SELECT c.oid, t.oid, coalesce(d.description::jsonb ->> 'name', t.relname), t.relpersistence, o.oid IS NOT NULL,
       c.relkind, coalesce(i.indisunique, false), c.fetched, c.hit, c.scans, c.entries, c.rows
  FROM (SELECT oid, relkind, pg_stat_get_xact_blocks_fetched(oid) AS fetched, pg_stat_get_xact_blocks_hit(oid) AS hit,
               pg_stat_get_xact_numscans(oid) AS scans, pg_stat_get_xact_tuples_returned(oid) AS entries,
               pg_stat_get_xact_tuples_fetched(oid) AS rows
          FROM pg_class WHERE oid >= 16384 AND relkind IN ('r', 'i', 't')) c
  LEFT JOIN pg_index i ON i.indexrelid = c.oid
  LEFT JOIN pg_class o ON o.reltoastrelid = coalesce(i.indrelid, c.oid)
  JOIN pg_class t ON t.oid = coalesce(o.oid, i.indrelid, c.oid)
  JOIN pg_namespace n ON n.oid = t.relnamespace AND n.nspname NOT IN ('sys', 'sys_meta', 'INFORMATION_SCHEMA')
  JOIN pg_description d ON d.objoid = t.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0
 WHERE c.fetched > 0 OR c.scans > 0
 ORDER BY t.oid, c.oid"""


@dataclass(slots=True)
class _Reads:
    """What a statement read of one table."""

    table: str
    scans: int = 0
    logical: int = 0
    physical: int = 0
    lob_logical: int = 0
    lob_physical: int = 0
    seeks: int = 0
    entries: int = 0
    rows: int = 0

    def add(self, *, kind: str, lob: bool, unique: bool, counters: Sequence[int]) -> None:
        """The counters of its heap, of an index, or of what belongs to its out-of-line storage."""
        fetched, hit, scans, entries, rows = counters
        if lob:
            self.lob_logical += fetched
            self.lob_physical += fetched - hit
            return
        self.logical += fetched
        self.physical += fetched - hit
        if unique:
            self.seeks += scans
            self.entries += entries
        else:
            self.scans += scans
        if kind == "r":
            self.rows += rows

    def describe(self) -> str:
        # A seek for one value in a unique index is no scan. Dead versions of a row have entries there, too.
        single = self.entries <= self.seeks or 0 < self.rows <= self.seeks
        scans = self.scans + (0 if single else self.seeks)
        return text(
            TABLE_READS, self.table, scans, self.logical, self.physical, self.lob_logical, self.lob_physical
        )


class TableReads:
    """The pages that a statement reads of each table; made before it, in its transaction."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._before = {row[0]: row[7:] for row in link.rows(_COUNTERS)}

    def messages(self, line: int, procedure: str) -> list[Message]:
        """One for each table that was read since."""
        return [
            Message(TABLE_READS, reads.describe(), state=0, line=line, procedure=procedure)
            for reads in self._tables()
        ]

    def _tables(self) -> Iterable[_Reads]:
        found: dict[str | None, _Reads] = {}
        for relation, table, name, persistence, lob, kind, unique, *now in self._link.rows(_COUNTERS):
            before = self._before.get(relation, ("0",) * len(now))
            counters = [int(new or 0) - int(old or 0) for new, old in zip(now, before, strict=True)]
            if any(counters[:3]):
                shown = _shown_name(name or "", int(table or 0), temporary=persistence == "t")
                reads = found.setdefault(table, _Reads(shown))
                reads.add(kind=kind or "", lob=lob == "t", unique=unique == "t", counters=counters)
        return found.values()


def _shown_name(name: str, object_id: int, *, temporary: bool) -> str:
    """A temporary table by its name in tempdb, which is made unique; a table variable has none but that."""
    if not temporary:
        return name
    if name.startswith("@"):
        return f"#{object_id:08X}"
    return f"{name:_<116}{object_id:012X}"


class Clock:
    """Runs while a statement is compiled or executed. CPU is this thread's and that of its PostgreSQL process."""

    def __init__(self, link: Link) -> None:
        self._scheduler = Path(f"/proc/{link.backend_pid}/schedstat")
        self._elapsed = time.perf_counter()
        self._cpu = self._used()

    def _used(self) -> float:
        try:
            # https://docs.kernel.org/scheduler/sched-stats.html: nanoseconds on a processor come first.
            backend = int(self._scheduler.read_bytes().split()[0]) / 1e9
        except (OSError, ValueError, IndexError):
            # No Linux, or USE has ended that process.
            backend = 0.0
        return time.thread_time() + backend

    def read(self) -> tuple[float, float]:
        """CPU and elapsed seconds."""
        return max(self._used() - self._cpu, 0.0), time.perf_counter() - self._elapsed

    def leave_out(self, cpu: float, elapsed: float) -> None:
        """Time that was not the statement's."""
        self._cpu += cpu
        self._elapsed += elapsed

    def message(self, number: int, line: int, procedure: str) -> Message:
        """The times so far, in whole milliseconds."""
        cpu, elapsed = (int(seconds * 1000) for seconds in self.read())
        return Message(number, text(number, cpu, elapsed), state=0, line=line, procedure=procedure)
