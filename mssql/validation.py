"""Checks of single fields against what SQL Server can store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks
from django.db.backends.base.validation import BaseDatabaseValidation

from mssql.diagnostics import system_checks

if TYPE_CHECKING:
    from mssql.base import DatabaseWrapper


class DatabaseValidation(BaseDatabaseValidation):
    connection: DatabaseWrapper

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """What `manage.py check --database` finds on the server."""
        return [*super().check(**kwargs), *system_checks(self.connection)]

    def check_field_type(self, field: Any, field_type: str) -> list[checks.CheckMessage]:
        """Tell of keys and indexes on nvarchar(max) and varbinary(max), which SQL Server refuses
        (https://learn.microsoft.com/sql/sql-server/maximum-capacity-specifications-for-sql-server).

        An index is left out, as on Django's other databases that have none for such columns.
        """
        if "(max)" not in field_type:
            return []
        if field.unique:
            kind = "primary_key" if field.primary_key else "unique"
            return [
                checks.Error(
                    f"SQL Server does not index a column of type {field_type}.",
                    hint=f"Take {kind} away from {type(field).__name__}, or give the field a max_length that fits "
                    "an index key (850 characters for nvarchar).",
                    obj=field,
                    id="mssql.E001",
                )
            ]
        if field.db_index:
            return [
                checks.Warning(
                    f"{self.connection.display_name} does not support a database index on {field_type} columns.",
                    hint="An index won't be created. Silence this warning if you don't care about it.",
                    obj=field,
                    id="fields.W162",
                )
            ]
        return []
