"""A deadlock drawn as its cycle: each session waits for a lock that another session holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape

from mssql.instrumentation.deadlock import Deadlock, Process, Resource, process_label

# Presentation attributes only: a Content Security Policy may forbid inline style, and a page's own style sheet
# overrides them by class (dl-…).

CARD = 320
LOCK = 248
GAP = 124
MARGIN = 20
LINE = 17
COLUMNS = 41  # characters of the monospaced statement in a card
STATEMENT_LINES = 7

# More is no drawing that a person reads; sentences() and to_dict() are complete.
MAX_SESSIONS = 12
MAX_LOCKS = 16

VICTIM, SURVIVOR, NEUTRAL = "#c0362c", "#2f7d55", "#5b6b7f"
WAIT, HOLD = "#d9630c", "#41546b"
INK, MUTED, BORDER, PAPER = "#1f2a37", "#5b6b7f", "#c6d0db", "#ffffff"
SANS = "system-ui, -apple-system, 'Segoe UI', sans-serif"
MONO = "ui-monospace, 'SF Mono', Consolas, 'DejaVu Sans Mono', monospace"

# https://learn.microsoft.com/sql/relational-databases/sql-server-transaction-locking-and-row-versioning-guide#lock_modes
MODES = {
    "S": "shared",
    "U": "update",
    "X": "exclusive",
    "IS": "intent shared",
    "IU": "intent update",
    "IX": "intent exclusive",
    "SIX": "shared with intent exclusive",
    "Sch-S": "schema stability",
    "Sch-M": "schema modification",
    "BU": "bulk update",
    "RangeS-S": "shared key range, shared row",
    "RangeS-U": "shared key range, update row",
    "RangeI-N": "insert into a key range",
    "RangeX-X": "exclusive key range and row",
}

_CONTROL = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(slots=True)
class _Box:
    x: float = 0
    y: float = 0
    width: float = 0
    height: float = 0

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


@dataclass(slots=True)
class _Session:
    """What is drawn as one card: a session, or one thread where the whole deadlock is within one session."""

    processes: list[Process]
    title: str
    state: str
    colour: str
    lines: list[str]
    facts: list[str]
    box: _Box = field(default_factory=_Box)


@dataclass(slots=True)
class _Lock:
    lines: list[str]
    owners: dict[str, list[str]]
    waiters: dict[str, list[str]]
    box: _Box = field(default_factory=_Box)


def to_svg(deadlock: Deadlock) -> str:
    """A self-contained SVG document."""
    sessions = _sessions(deadlock)
    locks = _locks(deadlock, sessions)
    shown, hidden = sessions[:MAX_SESSIONS], len(sessions[MAX_SESSIONS:]) + len(locks[MAX_LOCKS:])
    locks = locks[:MAX_LOCKS]
    width, height = _lay_out(shown, locks)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="dl" role="img" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" font-family="{SANS}" font-size="13">',
        f"<title>{_text(_heading(deadlock))}</title>",
        f"<desc>{_text(' '.join(deadlock.sentences()[:40]))}</desc>",
        "<defs>",
        *(
            f'<marker id="dl-{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
            f'orient="auto-start-reverse"><path d="M0 0L10 5L0 10z" fill="{colour}"/></marker>'
            for name, colour in (("wait", WAIT), ("hold", HOLD))
        ),
        "</defs>",
        f'<rect class="dl-paper" width="{width:g}" height="{height:g}" fill="{PAPER}"/>',
        f'<text class="dl-heading" x="{MARGIN}" y="{MARGIN + 12}" font-size="15" font-weight="600" '
        f'fill="{INK}">{_text(_heading(deadlock))}</text>',
        *_legend(width),
    ]
    labels: list[str] = []
    for line, label in _edges(shown, locks):
        parts.append(line)
        labels.append(label)
    parts += [part for lock in locks for part in _draw_lock(lock)]
    parts += [part for session in shown for part in _draw_session(session)]
    parts += labels
    if hidden:
        parts.append(
            f'<text x="{MARGIN}" y="{height - 8:g}" fill="{MUTED}" font-size="12">'
            f"{hidden} more not drawn</text>"
        )
    parts.append("</svg>")
    return "\n".join(parts)


def _heading(deadlock: Deadlock) -> str:
    when = f" at {deadlock.occurred:%Y-%m-%d %H:%M:%S} UTC" if deadlock.occurred else ""
    objects = deadlock.objects
    names = ", ".join(objects[:3]) + (" …" if len(objects) > 3 else "")
    return f"Deadlock{when}{' on ' + names if names else ''}"


def _sessions(deadlock: Deadlock) -> list[_Session]:
    groups: dict[object, list[Process]] = {}
    for process in deadlock.processes:
        whole = process.session_id is not None and not deadlock.is_within_one_session
        groups.setdefault(("session", process.session_id) if whole else ("task", process.id), []).append(
            process
        )
    named = [_session(deadlock, group) for group in groups.values()]
    # The victim first: it is the one whose error somebody is looking at.
    return sorted(named, key=lambda session: session.colour != VICTIM)


def _session(deadlock: Deadlock, processes: list[Process]) -> _Session:
    first = next((process for process in processes if deadlock.is_victim(process)), processes[0])
    if any(deadlock.is_victim(process) for process in processes):
        state, colour = "victim: rolled back", VICTIM
    elif deadlock.victims:
        state, colour = "survived", SURVIVOR
    else:
        state, colour = "", NEUTRAL
    label = process_label(first) if len(processes) == 1 else process_label(first).partition(" thread")[0]
    facts = [_facts(first)]
    if len(processes) > 1:
        facts.append(f"parallel: {len(processes)} threads are in the graph")
    if first.client_app or first.host_name:
        facts.append(" · ".join(filter(None, (first.client_app, first.host_name))))
    statement = first.statement or "(the server no longer had the statement)"
    return _Session(
        processes,
        label[:1].upper() + label[1:],
        state,
        colour,
        _wrap(statement, COLUMNS, STATEMENT_LINES),
        [_shorten(fact, 50) for fact in facts if fact],
    )


def _facts(process: Process) -> str:
    wait = process.wait_ms
    waited = "" if wait is None else f"waited {wait / 1000:.1f} s" if wait >= 1000 else f"waited {wait} ms"
    log = process.log_used
    return " · ".join(filter(None, (waited, process.isolation_level, f"log {log:,} B" if log else "")))


def _locks(deadlock: Deadlock, sessions: Sequence[_Session]) -> list[_Lock]:
    """Resources, merged where the graph repeats one for each of its waiters; those within a card left out."""
    card_of = {process.id: index for index, session in enumerate(sessions) for process in session.processes}
    merged: dict[object, _Lock] = {}
    for position, resource in enumerate(deadlock.resources):
        ends = {card_of.get(lock.process_id) for lock in (*resource.owners, *resource.waiters)}
        if len(sessions) > 1 and len(ends) == 1 and not resource.mode:
            continue  # threads of one session that wait for each other
        key = (resource.kind, resource.id, resource.object_name) if resource.mode else position
        lock = merged.setdefault(key, _Lock(_lock_lines(resource), {}, {}))
        for end, locked in ((lock.owners, resource.owners), (lock.waiters, resource.waiters)):
            for item in locked:
                modes = end.setdefault(item.process_id, [])
                if item.mode and item.mode not in modes:
                    modes.append(item.mode)
    first = sessions[0].processes if sessions else []
    ids = {process.id for process in first}
    # Above what the first card waits for, below what it holds: the cycle reads clockwise.
    return sorted(merged.values(), key=lambda lock: not (ids & lock.waiters.keys()))


def _lock_lines(resource: Resource) -> list[str]:
    lines = [resource.kind_label[:1].upper() + resource.kind_label[1:] + (" lock" if resource.mode else "")]
    if resource.object_name:
        lines.append(_shorten(resource.object_name, 30, end=True))
    if resource.index_name:
        lines.append(_shorten(f"index {resource.index_name}", 32))
    elif wait_type := resource.attributes.get("WaitType"):
        lines.append(_shorten(wait_type, 34))
    return lines


def _lay_out(sessions: Sequence[_Session], locks: Sequence[_Lock]) -> tuple[float, float]:
    top = MARGIN + 48
    for session in sessions:
        session.box.width = CARD
        session.box.height = 34 + 14 + LINE * len(session.lines) + 6 + LINE * len(session.facts) + 10
    for lock in locks:
        lock.box.width = LOCK
        lock.box.height = 16 + LINE * len(lock.lines)
    lock_x = MARGIN + CARD + GAP
    if len(sessions) == 2:
        tallest = max(session.box.height for session in sessions)
        column = max(tallest, sum(lock.box.height for lock in locks) + 64 * max(0, len(locks) - 1))
        for x, session in zip((MARGIN, lock_x + LOCK + GAP), sessions, strict=True):
            session.box.x, session.box.y = x, top + (column - session.box.height) / 2
        _spread([lock.box for lock in locks], lock_x, top, column)
        width: float = lock_x + LOCK + GAP + CARD + MARGIN
    else:
        heights = [session.box.height + 28 for session in sessions]
        column = max(sum(heights) - 28, sum(lock.box.height + 40 for lock in locks) - 40, 60)
        _spread([session.box for session in sessions], MARGIN, top, column)
        _spread([lock.box for lock in locks], lock_x + 40, top, column)
        width = lock_x + 40 + LOCK + MARGIN
    return width, top + column + MARGIN + 14


def _spread(boxes: Sequence[_Box], x: float, top: float, column: float) -> None:
    free = column - sum(box.height for box in boxes)
    # One box stands in the middle, two or more reach from top to bottom.
    gap = free / (len(boxes) - 1) if len(boxes) > 1 else 0
    y = top if len(boxes) > 1 else top + free / 2
    for box in boxes:
        box.x, box.y = x, y
        y += box.height + gap


def _legend(width: float) -> Iterator[str]:
    y = MARGIN + 34
    for x, kind, colour, text in (
        (MARGIN, "wait", WAIT, "waits for a lock"),
        (MARGIN + 170, "hold", HOLD, "which is held by"),
    ):
        dash = ' stroke-dasharray="6 4"' if kind == "wait" else ""
        yield (
            f'<path d="M{x} {y - 4}h34" stroke="{colour}" stroke-width="2" fill="none"{dash} '
            f'marker-end="url(#dl-{kind})"/>'
            f'<text x="{x + 42}" y="{y}" font-size="12" fill="{MUTED}">{text}</text>'
        )


def _edges(sessions: Sequence[_Session], locks: Sequence[_Lock]) -> Iterator[tuple[str, str]]:
    used: dict[tuple[int, bool], int] = {}
    total: dict[tuple[int, bool], int] = {}
    ends = list(_ends(sessions, locks))
    for session, lock, *_ in ends:
        left = session.box.x < lock.box.x
        for box in (session.box, lock.box):
            total[id(box), left] = total.get((id(box), left), 0) + 1

    def port(box: _Box, left: bool, inset: float) -> float:
        """Edges of one side of a box are spread over its height, so that none covers another."""
        index = used[id(box), left] = used.get((id(box), left), 0) + 1
        room = box.height - 2 * inset
        return box.y + inset + room * index / (total[id(box), left] + 1)

    for session, lock, waits, modes in ends:
        left = session.box.x < lock.box.x
        y1 = port(session.box, left, 20)
        y2 = port(lock.box, left, 4)
        x1 = session.box.x + session.box.width if left else session.box.x
        x2 = lock.box.x if left else lock.box.x + lock.box.width
        bend = (x2 - x1) / 2
        kind, colour, dash = ("wait", WAIT, ' stroke-dasharray="6 4"') if waits else ("hold", HOLD, "")
        marker = "marker-end" if waits else "marker-start"
        line = (
            f'<path class="dl-{kind}" d="M{x1:g} {y1:g}C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}" '
            f'fill="none" stroke="{colour}" stroke-width="2"{dash} {marker}="url(#dl-{kind})"/>'
        )
        word = "waits for" if waits else "held"
        label = f"{word} {'+'.join(modes)}".rstrip()
        yield line, _label((x1 + x2) / 2, (y1 + y2) / 2 + 4, label, modes, colour)


def _ends(
    sessions: Sequence[_Session], locks: Sequence[_Lock]
) -> Iterator[tuple[_Session, _Lock, bool, list[str]]]:
    for session in sessions:
        for lock in locks:
            for waits, parties in ((True, lock.waiters), (False, lock.owners)):
                ids = [process.id for process in session.processes if process.id in parties]
                if ids:
                    modes = list(dict.fromkeys(mode for process_id in ids for mode in parties[process_id]))
                    yield session, lock, waits, modes


def _label(x: float, y: float, text: str, modes: Sequence[str], colour: str) -> str:
    meaning = ", ".join(f"{mode}: {MODES[mode]}" for mode in modes if mode in MODES)
    return (
        f'<text class="dl-label" x="{x:g}" y="{y:g}" text-anchor="middle" font-size="12" font-weight="600" '
        f'fill="{colour}" stroke="{PAPER}" stroke-width="5" stroke-linejoin="round" paint-order="stroke">'
        f"<title>{_text(meaning)}</title>{_text(text)}</text>"
    )


def _draw_session(session: _Session) -> Iterator[str]:
    box = session.box
    x, y = box.x, box.y
    yield (
        f'<g class="dl-session"><rect x="{x:g}" y="{y:g}" width="{box.width:g}" height="{box.height:g}" rx="8" '
        f'fill="{PAPER}" stroke="{session.colour}" stroke-width="2"/>'
        f'<path d="M{x:g} {y + 34:g}v-26a8 8 0 0 1 8 -8h{box.width - 16:g}a8 8 0 0 1 8 8v26z" '
        f'fill="{session.colour}"/>'
        f'<text x="{x + 12:g}" y="{y + 22:g}" font-weight="700" fill="#ffffff">{_text(session.title)}</text>'
        f'<text x="{x + box.width - 12:g}" y="{y + 22:g}" text-anchor="end" fill="#ffffff">'
        f"{_text(session.state)}</text>"
    )
    baseline = y + 34 + 20
    yield from _lines(session.lines, x + 12, baseline, INK, f' font-family="{MONO}" font-size="12"')
    baseline += LINE * len(session.lines) + 8
    yield from _lines(session.facts, x + 12, baseline, MUTED, ' font-size="12"')
    yield "</g>"


def _draw_lock(lock: _Lock) -> Iterator[str]:
    box = lock.box
    yield (
        f'<g class="dl-lock"><rect x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}" '
        f'rx="8" fill="#f3f6f9" stroke="{BORDER}" stroke-width="1.5"/>'
    )
    for index, line in enumerate(lock.lines):
        weight = ' font-weight="600"' if index == 1 else ""
        colour = INK if index == 1 else MUTED
        yield (
            f'<text x="{box.x + box.width / 2:g}" y="{box.y + 22 + LINE * index:g}" text-anchor="middle" '
            f'font-size="12" fill="{colour}"{weight}>{_text(line)}</text>'
        )
    yield "</g>"


def _lines(lines: Iterable[str], x: float, y: float, colour: str, attributes: str) -> Iterator[str]:
    for index, line in enumerate(lines):
        yield (
            f'<text x="{x:g}" y="{y + LINE * index:g}" fill="{colour}" xml:space="preserve"{attributes}>'
            f"{_text(line)}</text>"
        )


def _wrap(sql: str, width: int, limit: int) -> list[str]:
    """Lines of at most `width` characters, broken at spaces where there are any; the rest is cut."""
    words = " ".join(sql[: width * limit * 4].split()).split(" ")
    lines = [""]
    for word in words:
        while word:
            room = width - len(lines[-1]) - (1 if lines[-1] else 0)
            if len(word) <= room:
                lines[-1] += f" {word}" if lines[-1] else word
                word = ""
            elif lines[-1]:
                lines.append("")
            else:
                lines[-1], word = word[:width], word[width:]
                lines.append("")
    lines = [line for line in lines if line]
    if len(lines) > limit:
        lines = lines[:limit]
        lines[-1] = lines[-1][: width - 2] + " …"
    return lines or ["(no statement)"]


def _shorten(text: str, length: int, *, end: bool = False) -> str:
    if len(text) <= length:
        return text
    return "…" + text[-length + 1 :] if end else text[: length - 1] + "…"


def _text(text: str) -> str:
    return escape(_CONTROL.sub("\ufffd", text))
