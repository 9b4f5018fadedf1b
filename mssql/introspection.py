"""Introspection: what tables, columns and constraints a database has, read from the catalog views."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import ProgrammingError
from django.db.backends.base.introspection import BaseDatabaseIntrospection
from django.db.backends.base.introspection import FieldInfo as BaseFieldInfo
from django.db.backends.base.introspection import TableInfo as BaseTableInfo
from django.db.models import Index

FieldInfo = namedtuple("FieldInfo", [*BaseFieldInfo._fields, "is_autofield", "is_json", "comment"])
TableInfo = namedtuple("TableInfo", [*BaseTableInfo._fields, "comment"])

HIDDEN_PREFIX = "__"
"""Computed columns that only carry an index on an expression begin with it; they belong to no model."""

_TABLES = """\
SELECT s.name, o.name, o.type, CONVERT(nvarchar(max), ep.value), CASE WHEN s.name = SCHEMA_NAME() THEN 1 ELSE 0 END
FROM sys.objects AS o
JOIN sys.schemas AS s ON s.schema_id = o.schema_id
LEFT JOIN sys.extended_properties AS ep
    ON ep.class = 1 AND ep.major_id = o.object_id AND ep.minor_id = 0 AND ep.name = 'MS_Description'
WHERE o.type IN ('U', 'V') AND o.is_ms_shipped = 0"""

# An alias type goes by what it stands for; 240 is what geography, geometry and hierarchyid have in common.
_COLUMNS = """\
SELECT c.name, t.name, c.max_length, c.[precision], c.scale, c.is_nullable, c.is_identity, c.collation_name,
    d.definition, cc.definition, cc.is_persisted, CONVERT(nvarchar(max), ep.value),
    CONVERT(nvarchar(128), DATABASEPROPERTYEX(DB_NAME(), 'Collation')),
    CASE WHEN EXISTS (
        SELECT 1 FROM sys.check_constraints AS k
        WHERE k.parent_object_id = c.object_id AND LOWER(k.definition) LIKE N'%%isjson([[]' + LOWER(c.name) + N']%%'
    ) THEN 1 ELSE 0 END
FROM sys.columns AS c
JOIN sys.types AS t
    ON t.user_type_id = CASE WHEN c.system_type_id = 240 THEN c.user_type_id ELSE c.system_type_id END
LEFT JOIN sys.default_constraints AS d ON d.object_id = c.default_object_id
LEFT JOIN sys.computed_columns AS cc ON cc.object_id = c.object_id AND cc.column_id = c.column_id
LEFT JOIN sys.extended_properties AS ep
    ON ep.class = 1 AND ep.major_id = c.object_id AND ep.minor_id = c.column_id AND ep.name = 'MS_Description'
WHERE c.object_id = OBJECT_ID(%s)
ORDER BY c.column_id"""

_FROM_FOREIGN_KEYS = """\
FROM sys.foreign_keys AS fk
JOIN sys.foreign_key_columns AS fkc ON fkc.constraint_object_id = fk.object_id
JOIN sys.columns AS pc ON pc.object_id = fkc.parent_object_id AND pc.column_id = fkc.parent_column_id
JOIN sys.columns AS rc ON rc.object_id = fkc.referenced_object_id AND rc.column_id = fkc.referenced_column_id
WHERE fk.parent_object_id = OBJECT_ID(%s)
ORDER BY fk.object_id, fkc.constraint_column_id"""

_RELATIONS = f"""\
SELECT pc.name, rc.name, OBJECT_SCHEMA_NAME(fk.referenced_object_id), OBJECT_NAME(fk.referenced_object_id),
    fk.delete_referential_action_desc,
    CASE WHEN OBJECT_SCHEMA_NAME(fk.referenced_object_id) = SCHEMA_NAME() THEN 1 ELSE 0 END
{_FROM_FOREIGN_KEYS}"""

_INDEXES = """\
SELECT i.name, i.is_primary_key, i.is_unique, i.is_unique_constraint, i.type_desc, i.filter_definition,
    c.name, ic.is_descending_key, c.is_computed, ic.is_included_column
FROM sys.indexes AS i
JOIN sys.index_columns AS ic ON ic.object_id = i.object_id AND ic.index_id = i.index_id
JOIN sys.columns AS c ON c.object_id = ic.object_id AND c.column_id = ic.column_id
WHERE i.object_id = OBJECT_ID(%s) AND i.is_hypothetical = 0
ORDER BY i.index_id, ic.is_included_column, ic.key_ordinal, ic.index_column_id"""

_FOREIGN_KEYS = f"""\
SELECT fk.name, pc.name, OBJECT_SCHEMA_NAME(fk.referenced_object_id), OBJECT_NAME(fk.referenced_object_id), rc.name,
    CASE WHEN OBJECT_SCHEMA_NAME(fk.referenced_object_id) = SCHEMA_NAME() THEN 1 ELSE 0 END
{_FROM_FOREIGN_KEYS}"""

_CHECKS = """\
SELECT k.name, k.definition, c.name
FROM sys.check_constraints AS k
LEFT JOIN sys.columns AS c
    ON c.object_id = k.parent_object_id
    AND CHARINDEX(N'[' + REPLACE(c.name, N']', N']]') + N']', k.definition) > 0
WHERE k.parent_object_id = OBJECT_ID(%s)
ORDER BY k.name, c.column_id"""

_SEQUENCES = """\
SELECT name FROM sys.identity_columns WHERE object_id = OBJECT_ID(%s)"""


@dataclass(frozen=True, slots=True)
class Column:
    """One column as the catalog has it."""

    name: str
    type_name: str
    max_length: int
    precision: int
    scale: int
    is_nullable: bool
    is_identity: bool
    collation: str | None
    default: str | None
    computed: str | None
    is_persisted: bool
    comment: str | None
    database_collation: str | None
    is_json: bool

    @property
    def characters(self) -> int | None:
        """The declared length, in characters; None for types without one and for (max)."""
        if self.type_name in {"nchar", "nvarchar"}:
            return None if self.max_length < 0 else self.max_length // 2
        if self.type_name in {"char", "varchar", "binary", "varbinary"}:
            return None if self.max_length < 0 else self.max_length
        return None

    @property
    def declaration(self) -> str:
        """The type as CREATE TABLE says it."""
        match self.type_name:
            case "nchar" | "nvarchar" | "char" | "varchar" | "binary" | "varbinary":
                declaration = f"{self.type_name}({self.characters or 'max'})"
            case "decimal" | "numeric":
                declaration = f"{self.type_name}({self.precision}, {self.scale})"
            case "datetime2" | "datetimeoffset" | "time":
                declaration = f"{self.type_name}({self.scale})"
            case _:
                declaration = self.type_name
        if self.collation and self.collation != self.database_collation:
            declaration += f" COLLATE {self.collation}"
        return declaration


class DatabaseIntrospection(BaseDatabaseIntrospection):
    data_types_reverse = {
        "bigint": "BigIntegerField",
        "binary": "BinaryField",
        "bit": "BooleanField",
        "char": "CharField",
        "date": "DateField",
        "datetime": "DateTimeField",
        "datetime2": "DateTimeField",
        "datetimeoffset": "DateTimeField",
        "decimal": "DecimalField",
        "float": "FloatField",
        "image": "BinaryField",
        "int": "IntegerField",
        "json": "JSONField",
        "money": "DecimalField",
        "nchar": "CharField",
        "ntext": "TextField",
        "numeric": "DecimalField",
        "nvarchar": "CharField",
        "real": "FloatField",
        "smalldatetime": "DateTimeField",
        "smallint": "SmallIntegerField",
        "smallmoney": "DecimalField",
        "text": "TextField",
        "time": "TimeField",
        "timestamp": "BinaryField",
        "tinyint": "SmallIntegerField",
        "uniqueidentifier": "UUIDField",
        "varbinary": "BinaryField",
        "varchar": "CharField",
        "xml": "TextField",
    }
    _auto_fields = {
        "BigIntegerField": "BigAutoField",
        "IntegerField": "AutoField",
        "SmallIntegerField": "SmallAutoField",
    }

    def identifier_converter(self, name: str) -> str:
        schema, table = self.connection.ops.split_table_name(name)
        return table if schema is None else f"[{schema}].[{table}]"

    @staticmethod
    def _table_name(schema: str, table: str, is_default_schema: bool) -> str:
        """Return a table's name as Meta.db_table has it."""
        return table if is_default_schema else f"[{schema}].[{table}]"

    def _object(self, table_name: str) -> str:
        return self.connection.ops.quote_name(table_name)

    def get_table_list(self, cursor: Any) -> list[TableInfo]:
        cursor.execute(_TABLES)
        return [
            TableInfo(
                self._table_name(schema, name, is_default), "v" if kind.strip() == "V" else "t", comment
            )
            for schema, name, kind, comment, is_default in cursor.fetchall()
        ]

    def get_columns(self, fetch: Callable[[str, Sequence[Any]], list[Any]], table_name: str) -> list[Column]:
        """Return the columns of a table; ``table_name`` is quoted."""
        return [
            Column(
                name=row[0],
                type_name=row[1],
                max_length=row[2],
                precision=row[3],
                scale=row[4],
                is_nullable=bool(row[5]),
                is_identity=bool(row[6]),
                collation=row[7],
                default=row[8],
                computed=row[9],
                is_persisted=bool(row[10]),
                comment=row[11],
                database_collation=row[12],
                is_json=bool(row[13]) or row[1] == "json",
            )
            for row in fetch(_COLUMNS, [table_name])
        ]

    def get_table_description(self, cursor: Any, table_name: str) -> list[FieldInfo]:
        def fetch(sql: str, params: Sequence[Any]) -> list[Any]:
            cursor.execute(sql, params)
            return cursor.fetchall()

        columns = self.get_columns(fetch, self._object(table_name))
        if not columns:
            raise ProgrammingError(f"Invalid object name {table_name!r}.")
        return [
            FieldInfo(
                name=column.name,
                type_code=column.type_name,
                display_size=column.characters,
                internal_size=column.characters,
                precision=column.precision,
                scale=column.scale,
                null_ok=column.is_nullable,
                default=_without_parentheses(column.default),
                collation=None if column.collation == column.database_collation else column.collation,
                is_autofield=column.is_identity,
                is_json=column.is_json,
                comment=column.comment,
            )
            for column in columns
            if not (column.computed and column.name.startswith(HIDDEN_PREFIX))
        ]

    def get_field_type(self, data_type: str, description: Any) -> Any:
        field_type = self.data_types_reverse[data_type]
        if description.is_autofield:
            return self._auto_fields.get(field_type, field_type)
        if description.is_json:
            return "JSONField"
        if field_type == "CharField" and description.internal_size is None:
            return "TextField"
        if data_type in {"money", "smallmoney"}:
            return "DecimalField", {"max_digits": description.precision, "decimal_places": description.scale}
        return field_type

    def get_sequences(
        self, cursor: Any, table_name: str, table_fields: Sequence[Any] = ()
    ) -> list[dict[str, Any]]:
        cursor.execute(_SEQUENCES, [self._object(table_name)])
        return [{"table": table_name, "column": name} for (name,) in cursor.fetchall()]

    def get_relations(self, cursor: Any, table_name: str) -> dict[str, tuple[Any, ...]]:
        cursor.execute(_RELATIONS, [self._object(table_name)])
        on_delete_types = getattr(self, "on_delete_types", None)
        relations: dict[str, tuple[Any, ...]] = {}
        for column, other_column, schema, other_table, action, is_default in cursor.fetchall():
            relation: tuple[Any, ...] = (other_column, self._table_name(schema, other_table, is_default))
            if on_delete_types is not None:  # Django 6.1 and newer.
                relation += (on_delete_types.get(action.replace("_", " ")),)
            relations[column] = relation
        return relations

    def get_constraints(self, cursor: Any, table_name: str) -> dict[str, dict[str, Any]]:
        constraints: dict[str, dict[str, Any]] = {}
        target = [self._object(table_name)]
        cursor.execute(_INDEXES, target)
        for (
            name,
            is_primary_key,
            is_unique,
            is_unique_constraint,
            kind,
            condition,
            column,
            descending,
            is_computed,
            is_included,
        ) in cursor.fetchall():
            constraint = constraints.setdefault(
                name,
                {
                    "columns": [],
                    "orders": [],
                    "primary_key": bool(is_primary_key),
                    "unique": bool(is_unique),
                    "foreign_key": None,
                    "check": False,
                    "index": not (is_primary_key or is_unique_constraint),
                    "type": Index.suffix if kind in {"CLUSTERED", "NONCLUSTERED"} else kind.lower(),
                    "definition": None,
                },
            )
            if condition:
                constraint["definition"] = condition
            hidden = is_computed and column.startswith(HIDDEN_PREFIX)
            constraint["columns"].append(None if hidden else column)
            if not is_included:
                constraint["orders"].append("DESC" if descending else "ASC")
        cursor.execute(_FOREIGN_KEYS, target)
        for name, column, schema, other_table, other_column, is_default in cursor.fetchall():
            constraint = constraints.setdefault(
                name,
                _constraint(foreign_key=(self._table_name(schema, other_table, is_default), other_column)),
            )
            constraint["columns"].append(column)
        cursor.execute(_CHECKS, target)
        for name, definition, column in cursor.fetchall():
            constraint = constraints.setdefault(name, _constraint(check=True, definition=definition))
            if column is not None:
                constraint["columns"].append(column)
        return constraints


def _constraint(**facts: Any) -> dict[str, Any]:
    return {
        "columns": [],
        "orders": [],
        "primary_key": False,
        "unique": False,
        "foreign_key": None,
        "check": False,
        "index": False,
        "type": None,
        "definition": None,
    } | facts


def _without_parentheses(definition: str | None) -> str | None:
    """Return a default without the parentheses that the catalog puts around it.

    >>> _without_parentheses("((5))"), _without_parentheses("(N'a')"), _without_parentheses("((1)+(2))")
    ('5', "N'a'", '(1)+(2)')
    """
    while definition and definition.startswith("(") and definition.endswith(")"):
        depth = 0
        for position, character in enumerate(definition):
            depth += {"(": 1, ")": -1}.get(character, 0)
            if depth == 0 and position < len(definition) - 1:
                return definition
        definition = definition[1:-1]
    return definition
