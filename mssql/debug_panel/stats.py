"""From the collected statements to what the panel shows: sums, groups, transactions, places on the timeline."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from django.db import connections

Record = dict[str, Any]

# So many equal statements from one place are a loop that queries.
N_PLUS_ONE = 3

# Colours for aliases and groups: told apart in light and dark, and by most colour-blind readers.
COLOURS = ("#3b82c4", "#e08600", "#2a9d6f", "#7c5cc4", "#be185d", "#0f8b8d", "#8a6d1d", "#64748b")


def summarise(
    records: list[Record],
    *,
    retries: list[Record],
    dropped: int,
    elapsed_ms: float,
    slow_ms: float,
) -> dict[str, Any]:
    """Everything that the templates need, as JSON can hold it."""
    queries = [record for record in records if record["kind"] not in ("transaction", "connect")]
    _number_transactions(records)
    _note_isolation(records)
    groups = _groups(queries)
    span_ms = (
        max([elapsed_ms, *(record["start_ms"] + record["duration_ms"] for record in records)], default=0.0)
        or 1.0
    )
    for record in records:
        record["slow"] = record["kind"] not in ("connect",) and record["duration_ms"] >= slow_ms
        record["rows"] = _rows(record)
        record["bar_start"] = round(100 * max(0.0, record["start_ms"]) / span_ms, 3)
        record["bar_width"] = round(max(0.35, 100 * record["duration_ms"] / span_ms), 3)
    return {
        "statements": records,
        "groups": groups,
        "aliases": _aliases(records),
        "count": len(queries),
        "total": len(records),
        "dropped": dropped,
        "duration_ms": sum(record["duration_ms"] for record in records),
        "elapsed_ms": elapsed_ms,
        "rows": sum(_rows(record) or 0 for record in queries),
        "errors": sum("error" in record for record in records),
        "retries": retries,
        # What was waited, and what the attempts that failed had done already.
        "retry_wait_ms": sum(retry["delay_ms"] for retry in retries),
        "retry_work_ms": _repeated_ms(records),
        "slow": sum(record["slow"] for record in queries),
        "n_plus_one": sum(group["n_plus_one"] for group in groups),
    }


def _repeated_ms(records: Iterable[Record]) -> float:
    """The time of attempts that came to nothing: of each failed statement, and of its transaction before it."""
    total = 0.0
    transactions: dict[Any, float] = defaultdict(float)
    for record in records:
        key = (record["alias"], record["transaction"])
        transactions[key] += record["duration_ms"]
        if record["retried"]:
            total += transactions[key] if record["transaction"] is not None else record["duration_ms"]
            transactions[key] = 0.0
    return total


def _rows(record: Record) -> int | None:
    if record["kind"] in ("transaction", "connect") or "error" in record:
        return None
    rows: int | None = record["returned_rows"]
    if rows is None and record["rowcount"] is not None and record["rowcount"] >= 0:
        rows = record["rowcount"]
    return rows


def _aliases(records: Iterable[Record]) -> list[Record]:
    totals: dict[str, Record] = {}
    for record in records:
        total = totals.setdefault(
            record["alias"], {"alias": record["alias"], "count": 0, "duration_ms": 0.0, "sessions": []}
        )
        total["count"] += 1
        total["duration_ms"] += record["duration_ms"]
        if record["session_id"] and record["session_id"] not in total["sessions"]:
            total["sessions"].append(record["session_id"])
    for position, total in enumerate(totals.values()):
        total["colour"] = COLOURS[position % len(COLOURS)]
    for record in records:
        record["colour"] = totals[record["alias"]]["colour"]
    return list(totals.values())


_SAVEPOINT = re.compile(r"\s*SAVE\s+TRAN\w*\s+(?P<name>\S+)", re.IGNORECASE)
_BEGIN = re.compile(r"\s*BEGIN\s+TRAN", re.IGNORECASE)
_ROLLBACK_TO = re.compile(r"\s*ROLLBACK\s+TRAN\w*\s+(?P<name>\S+)", re.IGNORECASE)
_END = re.compile(r"\s*(?:IF\s+@@TRANCOUNT\s*>\s*0\s+)?(?:COMMIT|ROLLBACK)\b", re.IGNORECASE)


def _number_transactions(records: Iterable[Record]) -> None:
    """Give each statement its transaction, how many savepoints that has, and where a transaction begins and ends.

    T-SQL has no RELEASE: a savepoint stays until the transaction ends or is rolled back to an earlier one.
    """
    current: dict[Any, int] = {}
    savepoints: dict[Any, list[str]] = defaultdict(list)
    number = 0
    for record in records:
        # Threads of a request have connections of their own.
        session, sql = (record["alias"], record["session_id"]), record["sql"]
        begins = ends = False
        if record["kind"] == "transaction":
            if _BEGIN.match(sql):
                begins = True
            elif savepoint := _SAVEPOINT.match(sql):
                savepoints[session].append(savepoint["name"])
            elif rollback := _ROLLBACK_TO.match(sql):
                if rollback["name"] in savepoints[session]:
                    del savepoints[session][savepoints[session].index(rollback["name"]) :]
            elif _END.match(sql):
                ends = True
        if (begins or record["in_transaction"]) and session not in current:
            number += 1
            current[session] = number
            begins = True
        record["transaction"] = current.get(session)
        record["savepoints"] = len(savepoints[session])
        record["begins"], record["ends"] = begins, ends
        if ends or (record["kind"] != "transaction" and not record["in_transaction"]):
            if not ends and session in current:
                record["transaction"] = None
            current.pop(session, None)
            savepoints[session].clear()


def _note_isolation(records: Iterable[Record]) -> None:
    """The isolation level that the alias's settings ask for, or SQL Server's own."""
    levels: dict[str, str] = {}
    for record in records:
        alias = record["alias"]
        if alias not in levels:
            options = connections.settings.get(alias, {}).get("OPTIONS", {})
            levels[alias] = str(options.get("isolation_level") or "READ COMMITTED").upper()
        record["isolation"] = levels[alias]


def _groups(records: Iterable[Record]) -> list[Record]:
    """Statements of the same text; those from one line, in a loop, first."""
    by_text: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        by_text[record["alias"], record["text"]].append(record)
    groups: list[Record] = []
    for (alias, _text), members in by_text.items():
        if len(members) < 2:
            continue
        number = len(groups) + 1
        duplicates = len(members) - len({_identity(record) for record in members})
        places = _places(members)
        reads = members[0]["sql"].lstrip()[:6].upper() == "SELECT"
        for record in members:
            record["group"] = number
        groups.append(
            {
                "number": number,
                "alias": alias,
                "summary": members[0]["summary"],
                "count": len(members),
                "duplicates": duplicates,
                "duration_ms": sum(record["duration_ms"] for record in members),
                "n_plus_one": reads and places[0]["count"] >= N_PLUS_ONE,
                "first": members[0]["id"],
                "places": places[:3],
                "advice": _advice(members[0]["sql"], duplicates == len(members) - 1) if reads else "",
                # From the other end than those of the aliases.
                "colour": COLOURS[-number % len(COLOURS)],
            }
        )
    return sorted(groups, key=lambda group: (not group["n_plus_one"], -group["duration_ms"]))


def _identity(record: Record) -> str:
    return repr((record["sql"], record["parameters"]))


def _places(members: Iterable[Record]) -> list[Record]:
    """The lines that the statements come from, the busiest first."""
    places: dict[str, Record] = {}
    for record in members:
        template, caller = record.get("template"), record.get("caller")
        place = places.setdefault(
            repr((template, caller)), {"template": template, "caller": caller, "count": 0}
        )
        place["count"] += 1
    return sorted(places.values(), key=lambda place: -place["count"])


_FROM = re.compile(r"\bFROM\s+\[(?P<table>[^\]]+)\]", re.IGNORECASE)
_BY_COLUMN = re.compile(r"\bWHERE\s+\(?\[[^\]]+\]\.\[(?P<column>[^\]]+)\]\s*=\s*(?:\?|@|\d)", re.IGNORECASE)


def _advice(sql: str, all_equal: bool) -> str:
    """What usually ends a loop of this statement."""
    if all_equal:
        return "The same values each time: keep the result in a variable, or cache it."
    table, column = _FROM.search(sql), _BY_COLUMN.search(sql)
    if table is None or column is None:
        return "Fetch all rows with one statement before the loop (…__in, an annotation, prefetch_related)."
    if column["column"].lower() in ("id", "pk") or column["column"].lower() == f"{table['table'].lower()}_id":
        return (
            f"One row of {table['table']} for each object: add select_related() with that relation to the queryset "
            "that the loop runs over."
        )
    return (
        f"Rows of {table['table']} by {column['column']} for each object: add prefetch_related() with that relation to "
        "the queryset that the loop runs over; for a count or a sum, annotate()."
    )
