"""A system check: columns whose datetimes have an offset where the settings say otherwise, and the other way round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from django.apps import AppConfig, apps
from django.core import checks
from django.db import connections, router
from django.db.models import DateTimeField, Field

if TYPE_CHECKING:
    from mssql.base import DatabaseWrapper

_COLUMNS = """\
SELECT OBJECT_SCHEMA_NAME(c.object_id), OBJECT_NAME(c.object_id), c.name, t.name, SCHEMA_NAME()
FROM sys.columns AS c JOIN sys.types AS t ON t.user_type_id = c.user_type_id
WHERE t.name IN (N'datetime', N'datetime2', N'smalldatetime', N'datetimeoffset')
    AND OBJECTPROPERTY(c.object_id, N'IsUserTable') = 1"""


@checks.register(checks.Tags.database)
def check_datetime_columns(
    app_configs: Sequence[AppConfig] | None = None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """What `manage.py check --database` finds in tables that were made under other settings, or by another tool."""
    sources = [apps] if app_configs is None else app_configs
    fields = [
        field
        for source in sources
        for model in source.get_models(include_auto_created=True)
        if not model._meta.proxy
        for field in model._meta.local_concrete_fields
        if isinstance(field, DateTimeField) and field.get_internal_type() == "DateTimeField"
    ]
    return [
        message
        for alias in databases or ()
        if connections[alias].vendor == "microsoft"
        for message in _mismatches(cast("DatabaseWrapper", connections[alias]), fields)
    ]


def _mismatches(
    connection: DatabaseWrapper, fields: Sequence[Field[Any, Any]]
) -> Iterator[checks.CheckMessage]:
    with connection.cursor() as cursor:
        cursor.execute(_COLUMNS)
        types = {}
        for schema, table, column, data_type, default_schema in cursor.fetchall():
            types[schema.lower(), table.lower(), column.lower()] = data_type
            if schema == default_schema:
                types[None, table.lower(), column.lower()] = data_type
    wanted = connection.data_types["DateTimeField"]
    for field in fields:
        if not router.allow_migrate_model(connection.alias, field.model):
            continue
        schema, table = connection.ops.split_table_name(field.model._meta.db_table)
        found = types.get((schema and schema.lower(), table.lower(), str(field.column).lower()))
        if found is None or (found == "datetimeoffset") == (wanted == "datetimeoffset"):
            continue
        taken_for = (
            "so its values are taken for UTC"
            if wanted == "datetimeoffset"
            else "so its values come without their offset, at UTC"
        )
        yield checks.Warning(
            f"The column {field.column} of {field.model._meta.db_table} is {found}, but a DateTimeField is {wanted} "
            f"with these settings (USE_TZ), {taken_for}.",
            hint=f"If these are other moments than were meant, convert the column to {wanted}: see "
            '"Datetimes of another time zone" in docs/troubleshooting.md of django-mssql-observable.',
            obj=field,
            id="mssql.W004",
        )
