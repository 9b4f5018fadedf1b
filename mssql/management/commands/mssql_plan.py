"""manage.py mssql_plan: the execution plan of a statement, with what is wrong with it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections

from mssql.explain import FORMATS, render, take_plan
from mssql.instrumentation.plan_source import PlanUnavailable
from mssql.showplan import ShowplanError, to_svg


class Command(BaseCommand):
    help = "Shows the execution plan of a statement: the operators, the findings, and what mends them."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("sql", help="the statement in T-SQL, or - to read it from standard input")
        parser.add_argument("--database", default=DEFAULT_DB_ALIAS, metavar="ALIAS")
        parser.add_argument(
            "--actual",
            action="store_true",
            help="run the statement for its actual plan; without it nothing is executed",
        )
        parser.add_argument("--format", choices=[name.lower() for name in FORMATS], default="text")
        parser.add_argument("--svg", metavar="FILE", type=Path, help="draw the plan into this file")
        parser.add_argument("--save", metavar="FILE", type=Path, help="save the plan as .sqlplan")

    def handle(self, *args: Any, **options: Any) -> None:
        connection: Any = connections[options["database"]]
        if connection.vendor != "microsoft":
            raise CommandError(f"{options['database']!r} is not an alias of SQL Server.")
        sql = sys.stdin.read() if options["sql"] == "-" else options["sql"]
        try:
            captured = take_plan(connection, sql, None, analyze=options["actual"])
            text = render(captured, options["format"])
            if options["svg"]:
                options["svg"].write_text(to_svg(captured.plan, found=captured.findings), encoding="utf-8")
            if options["save"]:
                options["save"].write_bytes(captured.xml.encode("utf-16"))
        except (PlanUnavailable, DatabaseError, ShowplanError, OSError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(text)
