"""Conversion of existing columns when ``OPTIONS["uuid_storage"]`` changes, for a migration to run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.db import NotSupportedError
from django.db.models import Field, Model, UUIDField

if TYPE_CHECKING:
    from mssql.dependents import Dependent
    from mssql.schema import DatabaseSchemaEditor

_COLUMN = """\
SELECT t.name, c.max_length, c.is_nullable FROM sys.columns AS c
JOIN sys.types AS t ON t.user_type_id = c.user_type_id
WHERE c.object_id = OBJECT_ID(%s) AND c.name = %s"""

# char(32) without hyphens does not convert to uniqueidentifier (error 8169), the usual form with them does.
_WITH_HYPHENS = "STUFF(STUFF(STUFF(STUFF({0}, 9, 0, '-'), 14, 0, '-'), 19, 0, '-'), 24, 0, '-')"
_WITHOUT_HYPHENS = "LOWER(REPLACE({0}, '-', ''))"


def convert_uuid_columns(apps: Any, schema_editor: DatabaseSchemaEditor) -> None:
    """Give each UUIDField, and each key to one, the column type that the alias's ``uuid_storage`` names.

    A function for ``migrations.RunPython``. Columns that have the type already are left alone; keys, indexes and
    checks are set aside and made again as they were.
    """
    if schema_editor.connection.vendor != "microsoft":
        return
    columns = [
        column
        for model in apps.get_models(include_auto_created=True)
        if model._meta.managed and not model._meta.proxy
        for field in model._meta.local_concrete_fields
        if (column := _convertible(schema_editor, model, field)) is not None
    ]
    with _out_of_the_way(schema_editor, columns):
        for column in columns:
            for statement in column.statements():
                schema_editor.execute(statement)


class _Column:
    """A column to convert."""

    def __init__(self, table: str, name: str, quoted: str, is_nullable: bool, to_native: bool) -> None:
        self.table, self.name, self.quoted = table, name, quoted
        self.null = "NULL" if is_nullable else "NOT NULL"
        self.to_native = to_native

    def statements(self) -> Iterator[str]:
        final, rewritten = (
            ("uniqueidentifier", _WITH_HYPHENS) if self.to_native else ("char(32)", _WITHOUT_HYPHENS)
        )
        yield f"ALTER TABLE {self.table} ALTER COLUMN {self.quoted} char(36) {self.null}"
        yield f"UPDATE {self.table} SET {self.quoted} = {rewritten.format(f'RTRIM({self.quoted})')}"
        yield f"ALTER TABLE {self.table} ALTER COLUMN {self.quoted} {final} {self.null}"


def _convertible(editor: DatabaseSchemaEditor, model: type[Model], field: Field[Any, Any]) -> _Column | None:
    target: Any = field
    while target.remote_field is not None and hasattr(target, "target_field"):
        target = target.target_field
    if not isinstance(target, UUIDField) or field.column is None:
        return None
    table = editor.quote_name(model._meta.db_table)
    found = editor._fetch(_COLUMN, [table, field.column])
    to_native = editor.connection.features.has_native_uuid_field
    if not found or (*found[0][:2],) != (("char", 32) if to_native else ("uniqueidentifier", 16)):
        return None
    return _Column(table, field.column, editor.quote_name(field.column), bool(found[0][2]), to_native)


@contextmanager
def _out_of_the_way(editor: DatabaseSchemaEditor, columns: list[_Column]) -> Iterator[None]:
    dependents: dict[str, Dependent] = {}
    for column in columns:
        for dependent in editor._dependents(column.table).of_column(column.name):
            if dependent.kind == "default":
                raise NotSupportedError(
                    f"{column.table}.{column.quoted} has a default, which is written for its old type: take the "
                    "field's db_default away before the conversion."
                )
            dependents[dependent.drop] = dependent
    # Foreign keys go first and come last: they hold fast what they point at.
    with editor._set_aside(sorted(dependents.values(), key=lambda each: each.kind != "foreign key")):
        yield
