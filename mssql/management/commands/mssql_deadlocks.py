"""manage.py mssql_deadlocks: lists and draws the deadlocks that the server remembers."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, Error, connections

from mssql.instrumentation import deadlock, deadlock_source
from mssql.instrumentation.deadlock import Deadlock, DeadlockError, process_label
from mssql.instrumentation.deadlock_source import DeadlocksUnavailable, Server
from mssql.instrumentation.deadlock_svg import to_svg
from mssql.instrumentation.own_connection import own_connection

_AGE = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Command(BaseCommand):
    help = "Lists the deadlocks that the server remembers: who waited for whom, and with which statements."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--database", default=DEFAULT_DB_ALIAS, metavar="ALIAS")
        parser.add_argument(
            "--since",
            default="24h",
            metavar="AGE",
            help="how far to look back: 90s, 15m, 24h, 7d (default: 24h)",
        )
        parser.add_argument("--limit", type=int, default=20, metavar="N", help="the newest N (default: 20)")
        parser.add_argument(
            "--file",
            action="append",
            metavar="PATH",
            help="read graphs from a file (.xdl, .xml), not the server",
        )
        parser.add_argument("--svg", metavar="FOLDER", help="draw each deadlock into this folder")
        parser.add_argument("--json", action="store_true", help="print JSON for machines")
        parser.add_argument(
            "--raw",
            action="store_true",
            help="show literals, logins and host names, which may be personal data",
        )
        parser.add_argument(
            "--create-session",
            action="store_true",
            help="Azure SQL Database: make the event session that collects deadlock graphs",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["file"]:
            _check_alias(options["database"])
        if options["create_session"]:
            self._create_session(options["database"])
            return
        graphs = (
            self._from_files(options["file"])
            if options["file"]
            else self._from_server(options["database"], _moment(options["since"]))
        )
        graphs = graphs[-options["limit"] :] if options["limit"] > 0 else []
        if not options["raw"]:
            graphs = [deadlock.redact(graph) for graph in graphs]
        drawings = self._draw(graphs, Path(options["svg"])) if options["svg"] else []
        if options["json"]:
            self.stdout.write(json.dumps([graph.to_dict() for graph in graphs], indent=2))
            return
        for number, graph in enumerate(graphs, 1):
            self._print(number, graph)
        for path in drawings:
            self.stdout.write(f"drawn: {path}")
        if not graphs:
            self.stdout.write(
                "No deadlocks." if options["file"] else f"No deadlocks in the last {options['since']}."
            )

    def _from_files(self, names: list[str]) -> list[Deadlock]:
        graphs: list[Deadlock] = []
        for name in names:
            try:
                graphs += deadlock.parse(Path(name).read_bytes())
            except (OSError, DeadlockError) as exc:
                raise CommandError(f"{name}: {exc}") from exc
        return deadlock_source.merge(graphs)

    def _from_server(self, alias: str, since: datetime) -> list[Deadlock]:
        try:
            with own_connection(alias) as run:
                server = Server.ask(run)
                return deadlock_source.read_all(run, server, since + server.clock_ahead)
        except (DeadlocksUnavailable, Error) as exc:
            raise CommandError(str(exc)) from exc

    def _create_session(self, alias: str) -> None:
        try:
            with own_connection(alias) as run:
                if not Server.ask(run).is_azure:
                    raise CommandError("Not needed here: the session system_health collects deadlock graphs.")
                if run(deadlock_source.DATABASE_SESSION_EXISTS, ()):
                    self.stdout.write("The event session mssql_deadlocks exists.")
                    return
                run(deadlock_source.CREATE_DATABASE_SESSION, ())
        except Error as exc:
            raise CommandError(
                f"{exc}\nThe statements are:\n{deadlock_source.CREATE_DATABASE_SESSION}"
            ) from exc
        self.stdout.write(
            self.style.SUCCESS("The event session mssql_deadlocks collects deadlock graphs now.")
        )

    def _draw(self, graphs: list[Deadlock], folder: Path) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for number, graph in enumerate(graphs, 1):
            when = f"{graph.occurred:%Y%m%dT%H%M%S}-" if graph.occurred else ""
            path = folder / f"deadlock-{when}{number}.svg"
            path.write_text(to_svg(graph), encoding="utf-8")
            paths.append(path)
        return paths

    def _print(self, number: int, graph: Deadlock) -> None:
        when = f"{graph.occurred:%Y-%m-%d %H:%M:%S} UTC" if graph.occurred else "time unknown"
        self.stdout.write(self.style.MIGRATE_HEADING(f"{number}. {when}"))
        for sentence in graph.sentences():
            self.stdout.write(f"   {sentence[:1].upper()}{sentence[1:]}")
        for process in graph.processes:
            style = self.style.ERROR if graph.is_victim(process) else self.style.SUCCESS
            statement = " ".join(process.statement.split()) or "(the server no longer had the statement)"
            self.stdout.write(f"   {style(process_label(process))}: {statement}")
        self.stdout.write("")


def _check_alias(alias: str) -> None:
    try:
        engine = connections.settings[alias]["ENGINE"]
    except KeyError:
        raise CommandError(f"DATABASES has no alias {alias!r}.") from None
    if engine != "mssql":
        raise CommandError(f"{alias!r} has the ENGINE {engine!r}; deadlocks are read from SQL Server.")


def _moment(age: str) -> datetime:
    match = _AGE.fullmatch(age)
    if match is None:
        raise CommandError(f"--since {age}: allowed are a number and a unit, as in 90s, 15m, 24h or 7d.")
    try:
        return datetime.now(UTC) - timedelta(**{_UNITS[match[2]]: int(match[1])})
    except OverflowError:
        raise CommandError(f"--since {age} is further back than time goes.") from None
