"""What PostgreSQL's catalog can't say about a table is kept as JSON in the comments of its objects.

A comment is transactional, follows a rename and goes away with its object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sqlserver_standin.engine.catalog import Function, Table, TableColumn
from sqlserver_standin.engine.names import pg_name, quote
from sqlserver_standin.engine.system_functions import SYSTEM_FUNCTIONS, SYSTEM_VALUES, TABLE_FUNCTIONS
from sqlserver_standin.errors import unsupported
from sqlserver_standin.types import DEFAULT_COLLATION, MAX, SqlType

if TYPE_CHECKING:
    from sqlserver_standin.engine.instance import Database
    from sqlserver_standin.releases import Release

Rows = Callable[..., list[tuple[str | None, ...]]]


@dataclass(slots=True)
class Default:
    """A DEFAULT constraint, which PostgreSQL has no name for."""

    name: str
    definition: str
    system_named: bool = False


@dataclass(slots=True)
class ColumnInfo:
    """A column as the data definition statements need it."""

    name: str
    pg_name: str
    number: int
    type: SqlType
    nullable: bool = True
    identity: tuple[int, int] | None = None
    computed: str | None = None
    persisted: bool = False
    default: Default | None = None
    has_default: bool = False

    def to_json(self) -> str:
        """The column's comment."""
        meta: dict[str, Any] = {"type": self.type.name}
        if self.pg_name != self.name:
            meta["name"] = self.name
        for facet in ("length", "precision", "scale", "collation"):
            value = getattr(self.type, facet)
            if value is not None:
                meta[facet] = value
        if self.identity:
            meta["identity"] = list(self.identity)
        if self.computed is not None:
            meta["computed"] = self.computed
            meta["persisted"] = self.persisted
        if self.default:
            meta["default"] = {
                "name": self.default.name,
                "definition": self.default.definition,
                "system": self.default.system_named,
            }
        return json.dumps(meta, ensure_ascii=False)


@dataclass(slots=True)
class TableInfo:
    """A table or view with its columns; ``meta`` is its comment."""

    object_id: int
    schema: str
    pg_schema: str
    name: str
    pg_name: str
    kind: str
    meta: dict[str, Any]
    columns: list[ColumnInfo] = field(default_factory=list)
    triggers: frozenset[str] = frozenset()
    identity_sequence: str | None = None

    @property
    def qualified(self) -> str:
        """The quoted PostgreSQL name."""
        return f"{quote(self.pg_schema)}.{quote(self.pg_name)}"

    @property
    def full_name(self) -> str:
        """schema.name, as messages have it."""
        return f"{self.schema}.{self.name}" if self.kind != "temp" else self.name

    def column(self, name: str) -> ColumnInfo | None:
        """The column of that name in any case."""
        lowered = name.lower()
        return next((column for column in self.columns if column.name.lower() == lowered), None)

    def to_table(self) -> Table:
        """What the translator sees."""
        return Table(
            self.schema,
            self.name,
            self.qualified,
            self.kind,
            tuple(
                TableColumn(
                    column.name,
                    column.type,
                    quote(column.pg_name),
                    column.nullable,
                    column.identity is not None,
                    column.computed is not None,
                    column.has_default,
                )
                for column in self.columns
            ),
            self.triggers,
            self.object_id,
            self.identity_sequence,
        )


_PARAMETERISED = re.compile(r"^([^(]+)\((\d+)(?:,(\d+))?\)")
# Types of the columns of our own system views, which carry no comment.
_SYSTEM_VIEW_TYPES = {
    "text_ci": SqlType("nvarchar", length=128, collation=DEFAULT_COLLATION),
    "text": SqlType("nvarchar", length=MAX, collation=DEFAULT_COLLATION),
    "smallint": SqlType("smallint"),
    "integer": SqlType("int"),
    "bigint": SqlType("bigint"),
    "boolean": SqlType("bit"),
    "bytea": SqlType("varbinary", length=8000),
    "uuid": SqlType("uniqueidentifier"),
    "double precision": SqlType("float", precision=53),
    "real": SqlType("real", precision=24),
    "date": SqlType("date"),
    "timestamp without time zone": SqlType("datetime"),
    "numeric": SqlType("decimal", precision=38, scale=0),
    "xml": SqlType("xml"),
    "datetimeoffset": SqlType("datetimeoffset", scale=7),
}


def _uncommented_type(formatted: str) -> SqlType:
    formatted = formatted.removeprefix("sys.")
    if formatted in _SYSTEM_VIEW_TYPES:
        return _SYSTEM_VIEW_TYPES[formatted]
    match = _PARAMETERISED.match(formatted)
    if match and match[1] == "numeric":
        return SqlType("decimal", precision=int(match[2]), scale=int(match[3] or 0))
    if match and match[1] in ("timestamp", "timestamp without time zone"):
        return SqlType("datetime2", scale=int(match[2]))
    raise unsupported(f"a column of PostgreSQL's type {formatted}")


def type_from_meta(meta: dict[str, Any]) -> SqlType:
    """The type that a column's comment names."""
    return SqlType(
        meta["type"],
        length=meta.get("length"),
        precision=meta.get("precision"),
        scale=meta.get("scale"),
        collation=meta.get("collation"),
    )


_TABLE_SQL = """
SELECT c.oid, n.nspname, c.relname, c.relkind, d.description,
       CASE WHEN c.relhastriggers THEN sys_meta.trigger_events(c.oid) END,
       a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
       a.atthasdef, ad.description, dn.description,
       CASE WHEN a.attidentity <> ''
            THEN pg_get_serial_sequence(quote_ident(n.nspname) || '.' || quote_ident(c.relname), a.attname) END
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_description d
         ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0 AND d.description LIKE '{{%'
  LEFT JOIN pg_description ad ON ad.objoid = c.oid AND ad.classoid = 'pg_class'::regclass AND ad.objsubid = a.attnum
  LEFT JOIN pg_description dn
         ON dn.objoid = n.oid AND dn.classoid = 'pg_namespace'::regclass AND dn.description LIKE '{{%'
 WHERE c.relkind IN ('r', 'v') AND {condition}
 ORDER BY c.oid, a.attnum"""
_BY_ID = _TABLE_SQL.format(condition="c.oid = $1::oid")
_EXACT = _TABLE_SQL.format(condition="c.relname = $2::name AND n.nspname = $1::name")
_ANY_CASE = _TABLE_SQL.format(
    condition="lower(c.relname) = lower($2::text) AND lower(n.nspname) = lower($1::text)"
)
_TABLE_VARIABLE = _TABLE_SQL.format(condition="c.relnamespace = pg_my_temp_schema() AND c.relname = $1::name")
_TEMPORARY = _TABLE_SQL.format(
    condition="c.relnamespace = pg_my_temp_schema() AND lower(c.relname) = lower($1::text)"
)


_INDEX = """
    SELECT 1
      FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
      LEFT JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass
     WHERE i.indrelid = $1::oid AND lower(coalesce(d.description::jsonb ->> 'name', c.relname)) = lower($2::text)"""


class SessionCatalog:
    """The catalog of the current database as one session sees it: its own uncommitted changes, its own #tables."""

    def __init__(
        self,
        rows: Rows,
        current_version: Callable[[], Hashable],
        release: Release,
        database: Database,
    ) -> None:
        self._rows = rows
        self.release = release
        self._database = database
        self._current_version = current_version
        self._seen_version = current_version()
        self._tables: dict[tuple[str, str], TableInfo | None] = {}
        self._translator_tables: dict[int, Table] = {}
        self._object_names: set[tuple[str, str]] = set()
        self._newest_object = 0
        self._names_version: Hashable = None

    @property
    def version(self) -> Hashable:
        """Differs whenever a name might resolve differently for this session."""
        version = self._current_version()
        if version != self._seen_version:
            self._tables.clear()
            self._translator_tables.clear()
            self._seen_version = version
        return version

    @property
    def compatibility_level(self) -> int:
        return self._database.compatibility_level

    def info(self, schema: str | None, name: str) -> TableInfo | None:
        """A table or view of this database."""
        _ = self.version
        if name.startswith(("#", "@")):
            schema = ""
        key = ((schema or "dbo").lower() if schema != "" else "", name.lower())
        if key not in self._tables:
            self._tables[key] = self._load(key[0], schema or "dbo", name)
        return self._tables[key]

    def _load(self, lowered_schema: str, schema: str, name: str) -> TableInfo | None:
        if lowered_schema == "":
            return self._from_rows(self._rows(_TEMPORARY, (pg_name(name),)))
        if lowered_schema == "sys":
            schema, name = "sys", name.lower()
        elif lowered_schema == "information_schema":
            schema, name = "INFORMATION_SCHEMA", name.upper()
        values = (pg_name(schema), pg_name(name))
        return self._from_rows(self._rows(_EXACT, values) or self._rows(_ANY_CASE, values))

    def table_variable(self, pg_table: str) -> TableInfo | None:
        """The temporary table behind a table variable. Its name is used once, so it concerns nothing that is known."""
        return self._from_rows(self._rows(_TABLE_VARIABLE, (pg_table,)))

    def info_by_id(self, object_id: int) -> TableInfo | None:
        """A table or view by its object_id."""
        return self._from_rows(self._rows(_BY_ID, (object_id,)))

    @staticmethod
    def _from_rows(rows: list[tuple[str | None, ...]]) -> TableInfo | None:
        info: TableInfo | None = None
        for row in rows:
            (oid, schema, table, kind, description, triggers, number, column, formatted, not_null) = row[:10]
            (identity, generated, has_default, column_description, schema_description, sequence) = row[10:]
            assert oid
            assert schema
            assert table
            assert number
            assert column
            assert formatted
            if info is None:
                meta = json.loads(description) if description else {}
                temporary = schema.startswith("pg_temp")
                schema_meta = json.loads(schema_description) if schema_description and not temporary else {}
                info = TableInfo(
                    int(oid),
                    "dbo" if temporary else schema_meta.get("name", schema),
                    schema,
                    meta.get("name", table),
                    table,
                    "temp" if temporary else "view" if kind == "v" else "table",
                    meta,
                    triggers=frozenset(triggers.split(",")) if triggers else frozenset(),
                )
            column_meta = json.loads(column_description) if column_description else None
            identity_facts = None
            computed = None
            default = None
            if column_meta is None:
                column_meta = {}
                data_type = _uncommented_type(formatted)
            else:
                data_type = type_from_meta(column_meta)
                if identity:
                    identity_facts = tuple(column_meta.get("identity", (1, 1)))
                    info.identity_sequence = sequence
                if generated:
                    computed = column_meta.get("computed", "")
                if "default" in column_meta:
                    facts = column_meta["default"]
                    default = Default(facts["name"], facts["definition"], facts["system"])
            info.columns.append(
                ColumnInfo(
                    column_meta.get("name", column),
                    column,
                    int(number),
                    data_type,
                    not_null != "t" and column_meta.get("nullable", True),
                    identity_facts,
                    computed,
                    column_meta.get("persisted", False),
                    default,
                    has_default == "t" and not generated,
                )
            )
        return info

    # -- what the translator asks ----------------------------------------------------------------------------

    def table(self, database: str | None, schema: str | None, name: str) -> Table | None:
        """Tables, views, sys.* and INFORMATION_SCHEMA.* views, #temporary tables."""
        lowered_schema = (schema or "").lower()
        # The server's views are the same everywhere: master.sys.databases is what people write.
        if (
            database
            and database.lower() != self._database.name.lower()
            and not (
                (database.lower() == "tempdb" and name.startswith("#"))
                or (lowered_schema == "sys" and database.lower() in ("master", "msdb"))
            )
        ):
            if not self._is_database(database):
                return None
            raise unsupported(f"a table of another database ({database}.{schema or ''}.{name})")
        info = self.info(schema, name)
        if info is None and not lowered_schema and name.lower() in _COMPATIBILITY_VIEWS:
            info = self.info("sys", name)
        if info is None:
            return None
        table = self._translator_tables.get(info.object_id)
        if table is None:
            table = self._translator_tables[info.object_id] = info.to_table()
        return table

    def has_index(self, table: Table, index: str) -> bool:
        """Whether the table has an index of that name in any case, or of that number."""
        if not index.isdecimal():
            return bool(self._rows(_INDEX, (table.object_id, index)))
        # The views of this database don't show temporary tables.
        sql = "SELECT 1 FROM sys.indexes WHERE object_id = $1::int4 AND index_id = $2::int4"
        return table.kind == "temp" or bool(self._rows(sql, (table.object_id, index)))

    def _is_database(self, name: str) -> bool:
        return bool(
            self._rows(
                "SELECT 1 FROM pg_database WHERE starts_with(datname, 'mssql:') "
                "AND lower(shobj_description(oid, 'pg_database')::jsonb ->> 'name') = lower($1)",
                (name,),
            )
        )

    def system_type(self, name: str) -> SqlType | None:
        """The type of a value that the session supplies as a parameter."""
        return SYSTEM_VALUES.get(name)

    def system_function(self, name: str) -> Function | None:
        """A built-in metadata function by lower-case name."""
        return SYSTEM_FUNCTIONS.get(name)

    def scalar_function(self, schema: str | None, name: str) -> Function | None:
        """User-defined functions are refused when they are made, so there are none."""
        return None

    def table_function(self, schema: str | None, name: str) -> Function | None:
        """The system's table-valued functions."""
        return TABLE_FUNCTIONS.get(name.lower())

    def sequence(self, schema: str | None, name: str) -> tuple[str, SqlType] | None:
        """A sequence's quoted PostgreSQL name and type."""
        rows = self._rows(
            "SELECT n.nspname, c.relname, d.description FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "LEFT JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass "
            "WHERE c.relkind = 'S' AND d.objsubid = 0 "
            "AND lower(n.nspname) = lower($1::text) AND lower(c.relname) = lower($2::text)",
            (pg_name(schema or "dbo"), pg_name(name)),
        )
        if not rows or rows[0][2] is None:
            return None
        pg_schema, pg_sequence, description = rows[0]
        assert pg_schema
        assert pg_sequence
        assert description
        return f"{quote(pg_schema)}.{quote(pg_sequence)}", type_from_meta(json.loads(description))

    def is_taken(self, pg_schema: str, name: str) -> bool:
        """Whether a table, view, sequence, procedure or constraint of that name is in the schema."""
        if self._names_version != self._current_version():
            self._object_names.clear()
            self._newest_object = 0
            self._names_version = self._current_version()
        for schema, known, oid in self._rows(
            "SELECT schema_name, name, oid FROM sys_meta.object_names($1::oid)", (self._newest_object,)
        ):
            assert schema
            assert known
            self._object_names.add((schema, known.lower()))
            self._newest_object = max(self._newest_object, int(oid or 0))
        return (pg_schema, pg_name(name).lower()) in self._object_names or (
            pg_schema,
            name.lower(),
        ) in self._object_names

    def still_holds(self, before: Hashable, but: TableInfo | None) -> None:
        """What was known at that version of the schema holds now, too; the table may have got something new."""
        if self._names_version == before:
            self._names_version = self._current_version()
        if self._seen_version == before:
            self._seen_version = self._current_version()
            if but is not None:
                schema = "" if but.kind == "temp" else but.schema.lower()
                self._tables.pop((schema, but.name.lower()), None)
                self._translator_tables.pop(but.object_id, None)

    def schema_exists(self, name: str) -> str | None:
        """The PostgreSQL name of a schema."""
        rows = self._rows(
            "SELECT nspname FROM pg_namespace WHERE lower(nspname) = lower($1::text) AND nspname !~ '^pg_'",
            (pg_name(name),),
        )
        return rows[0][0] if rows else None


_COMPATIBILITY_VIEWS = frozenset(
    ("sysobjects", "syscolumns", "sysindexes", "sysprocesses", "sysdatabases", "systypes")
)


def with_collation(data_type: SqlType, collation: str) -> SqlType:
    """A string type with the database's collation where it has none of its own."""
    if (
        data_type.name in ("char", "varchar", "nchar", "nvarchar", "text", "ntext")
        and data_type.collation is None
    ):
        return replace(data_type, collation=collation)
    return data_type
