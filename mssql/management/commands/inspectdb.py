"""inspectdb, with a choice of the schema to read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.core.management.commands.inspectdb import Command as InspectDBCommand
from django.db import connections


class Command(InspectDBCommand):
    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--schema",
            default=getattr(settings, "SCHEMA_TO_INSPECT", None),
            help="The schema whose tables are read (SQL Server). Default: the setting SCHEMA_TO_INSPECT, else the "
            "default schema of the login.",
        )

    def handle_inspection(self, options: dict[str, Any]) -> Iterable[str]:
        connection = connections[options["database"]]
        if connection.vendor == "microsoft" and not options["table"]:
            options["table_name_filter"] = self._in_schema(
                connection, options["schema"], options.get("table_name_filter")
            )
        return super().handle_inspection(options)

    @staticmethod
    def _in_schema(
        connection: Any, schema: str | None, table_name_filter: Callable[[str], bool] | None
    ) -> Callable[[str], bool]:
        if schema is not None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT SCHEMA_NAME()")
                if cursor.fetchone()[0].lower() == schema.lower():
                    schema = None  # Tables of the default schema go by their bare names.

        def is_wanted(table_name: str) -> bool:
            found, _ = connection.ops.split_table_name(table_name)
            if (found and found.lower()) != (schema and schema.lower()):
                return False
            return table_name_filter is None or table_name_filter(table_name)

        return is_wanted
