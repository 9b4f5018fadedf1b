"""manage.py mssql_doctor: looks at a database alias as an operator would."""

from __future__ import annotations

import json
import textwrap
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from mssql.diagnostics import Check, Status, diagnose

WIDTH = 100


class Command(BaseCommand):
    help = "Checks SQL Server aliases: driver, encryption, server settings, permissions, clock, latency."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--database",
            action="append",
            metavar="ALIAS",
            help="an alias to check (default: all on SQL Server)",
        )
        parser.add_argument("--json", action="store_true", help="print JSON for machines")
        parser.add_argument(
            "--fail-on",
            choices=["error", "warning"],
            default="error",
            help="exit with 1 when a check is at least this bad (default: error)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        results = {alias: diagnose(alias) for alias in self._aliases(options["database"])}
        if options["json"]:
            found = {alias: [check.to_dict() for check in checks] for alias, checks in results.items()}
            self.stdout.write(json.dumps(found, indent=2, ensure_ascii=False))
        else:
            for alias, checks in results.items():
                self._print(alias, checks)
        bad = {Status.ERROR} if options["fail_on"] == "error" else {Status.ERROR, Status.WARNING}
        if any(check.status in bad for checks in results.values() for check in checks):
            raise SystemExit(1)

    def _aliases(self, named: list[str] | None) -> list[str]:
        ours = [
            alias
            for alias in connections
            if connections.settings[alias]["ENGINE"].partition(".")[0] == "mssql"
        ]
        for alias in named or ():
            if alias not in ours:
                raise CommandError(
                    f"{alias!r} is no alias with ENGINE 'mssql'. There are: {', '.join(ours) or 'none'}."
                )
        if not ours:
            raise CommandError("No alias in DATABASES has ENGINE 'mssql'.")
        return named or ours

    def _print(self, alias: str, checks: list[Check]) -> None:
        styles = {
            Status.OK: self.style.SUCCESS,
            Status.INFO: self.style.NOTICE,
            Status.WARNING: self.style.WARNING,
            Status.ERROR: self.style.ERROR,
        }
        names = max(len(check.name) for check in checks)
        indent = " " * (names + 12)
        self.stdout.write(self.style.MIGRATE_HEADING(f"Database alias {alias!r}"))
        for check in checks:
            head = f"  {check.name:<{names}}  {styles[check.status](f'{check.status:<7}')} "
            value = textwrap.wrap(check.value, WIDTH - len(indent)) or [""]
            advice = [
                line
                for paragraph in check.advice.splitlines()
                for line in textwrap.wrap(paragraph, WIDTH - len(indent) - 2)
            ]
            self.stdout.write(head + f"\n{indent}".join(value))
            for line in advice:
                self.stdout.write(f"{indent}  {line}")
