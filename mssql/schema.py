"""Schema editor: DDL of T-SQL, and the ways around what ALTER TABLE of SQL Server refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.ddl_references import Statement, Table
from django.db.backends.utils import names_digest
from django.db.models import Field, FloatField
from django.db.models.expressions import Col, OrderBy
from django.db.models.fields import AutoFieldMixin

from mssql.dependents import STANDS_IN_THE_WAY_OF_GROWTH, Dependent, TableDependents, renamed
from mssql.introspection import HIDDEN_PREFIX

_NAME = r"\[(?:[^\]]|\]\])*\]"
_ALTER_COLUMN = re.compile(rf"ALTER TABLE (?P<table>(?:{_NAME}\.)?{_NAME}) ALTER COLUMN (?P<column>{_NAME}) ")
_SIZED_TYPE = re.compile(
    r"(?P<type>n?varchar|varbinary)\((?P<size>\d+)\)(?: COLLATE (?P<collation>\w+))? (?P<null>(?:NOT )?NULL)"
)
_UNINDEXABLE = frozenset({"nvarchar(max)", "varchar(max)", "varbinary(max)", "xml", "json", "text", "ntext"})


class DatabaseSchemaEditor(BaseDatabaseSchemaEditor):
    sql_create_column = "ALTER TABLE %(table)s ADD %(column)s %(definition)s"
    sql_alter_column_type = "ALTER COLUMN %(column)s %(type)s%(collation)s"
    sql_alter_column_null = "ALTER COLUMN %(column)s %(type)s NULL"
    sql_alter_column_not_null = "ALTER COLUMN %(column)s %(type)s NOT NULL"
    # There is no CASCADE: foreign keys that point at the table go first.
    sql_delete_table = (
        "DECLARE @keys nvarchar(max) = (SELECT STRING_AGG(CONVERT(nvarchar(max), "
        "N'ALTER TABLE ' + QUOTENAME(s.name) + N'.' + QUOTENAME(t.name) "
        "+ N' DROP CONSTRAINT ' + QUOTENAME(k.name)), N'; ') FROM sys.foreign_keys AS k "
        "JOIN sys.tables AS t ON t.object_id = k.parent_object_id "
        "JOIN sys.schemas AS s ON s.schema_id = t.schema_id "
        "WHERE k.referenced_object_id = OBJECT_ID(N'%(table)s')); "
        "EXEC (@keys); DROP TABLE %(table)s"
    )
    sql_delete_column = "ALTER TABLE %(table)s DROP COLUMN %(column)s"

    sql_create_column_inline_fk = (
        "CONSTRAINT %(name)s REFERENCES %(to_table)s (%(to_column)s)"
        # Django 6.1 and newer fill in the rule.
        + ("%(on_delete_db)s" if hasattr(BaseDatabaseSchemaEditor, "_create_on_delete_sql") else "")
    )

    sql_create_index = "CREATE INDEX %(name)s ON %(table)s (%(columns)s)%(include)s%(condition)s%(extra)s"
    sql_create_unique_index = (
        "CREATE UNIQUE INDEX %(name)s ON %(table)s (%(columns)s)%(include)s%(condition)s"
    )
    sql_delete_index = "DROP INDEX %(name)s ON %(table)s"
    sql_delete_procedure = "DROP PROCEDURE %(procedure)s"

    # Statements

    def execute(self, sql: Any, params: Any = ()) -> None:
        """Run a statement; one that alters a column has its dependents out of the way meanwhile."""
        match = _ALTER_COLUMN.match(sql) if isinstance(sql, str) else None
        if match is None:
            super().execute(sql, params)
            return
        column = match["column"][1:-1].replace("]]", "]")
        dependents = self._dependents(match["table"]).of_column(column)
        if dependents and self._only_grows(match["table"], column, sql[match.end() :]):
            dependents = [each for each in dependents if each.kind in STANDS_IN_THE_WAY_OF_GROWTH]
        with self._set_aside(dependents):
            super().execute(sql, params)

    def _only_grows(self, table: str, column: str, definition: str) -> bool:
        """Say whether a column of text or bytes gets room for more and stays as it is otherwise.

        Its indexes, checks and default may stay then
        (https://learn.microsoft.com/sql/t-sql/statements/alter-table-transact-sql, ALTER COLUMN).
        """
        match = _SIZED_TYPE.fullmatch(definition)
        if match is None:
            return False
        for known in self.connection.introspection.get_columns(self._fetch, table):
            if known.name.lower() == column.lower():
                return (
                    known.type_name == match["type"]
                    and known.characters is not None
                    and known.characters <= int(match["size"])
                    and known.is_nullable == (match["null"] == "NULL")
                    and (match["collation"] or known.database_collation) == known.collation
                )
        return False

    def _fetch(self, sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.fetchall()

    def _dependents(self, table: str) -> TableDependents:
        return TableDependents(self._fetch, table, self._bracket)

    @staticmethod
    def _bracket(name: str) -> str:
        return f"[{name.replace(']', ']]')}]"

    def _text(self, value: str) -> str:
        return self.connection.ops.quote_value(value)

    @contextmanager
    def _set_aside(self, dependents: Sequence[Dependent]) -> Iterator[None]:
        for dependent in dependents:
            super().execute(dependent.drop, None)
        yield
        for dependent in reversed(dependents):
            super().execute(dependent.create, None)

    # Literals

    def quote_value(self, value: Any) -> str:
        return self.connection.ops.quote_value(value)

    def prepare_default(self, value: Any) -> str:
        return self.quote_value(value)

    # Tables

    def create_model(self, model: Any) -> None:
        schema, _ = self.connection.ops.split_table_name(model._meta.db_table)
        if schema is not None:
            create = self._text(f"CREATE SCHEMA {self._bracket(schema)}")
            self.execute(f"IF SCHEMA_ID({self._text(schema)}) IS NULL EXEC ({create})", None)
        super().create_model(model)

    def alter_db_table(self, model: Any, old_db_table: str, new_db_table: str) -> None:
        ops = self.connection.ops
        old_schema, _ = ops.split_table_name(old_db_table)
        new_schema, new_table = ops.split_table_name(new_db_table)
        current = ops.quote_name(old_db_table)
        if new_schema is not None and new_schema != old_schema:
            self.execute(f"ALTER SCHEMA {self._bracket(new_schema)} TRANSFER {current}", None)
            current = ops.quote_name(f"[{new_schema}].[{ops.split_table_name(old_db_table)[1]}]")
        self.sql_rename_table = f"EXEC sp_rename {self._text(current)}, {self._text(new_table)}".replace(
            "%", "%%"
        )
        try:
            super().alter_db_table(model, old_db_table, new_db_table)
        finally:
            del self.sql_rename_table

    def alter_db_tablespace(self, model: Any, old_db_tablespace: str, new_db_tablespace: str) -> None:
        """Leave a table where it is: moving it means building its clustered index anew, which is no small thing."""

    # Columns

    def column_sql(self, model: Any, field: Field, include_default: bool = False) -> Any:
        if field.generated:
            return self._generated_column_sql(field), []
        definition, params = super().column_sql(model, field, include_default)
        if definition is not None and self._is_nullable_unique(field):
            self.deferred_sql.append(self._create_unique_sql(model, [field]))
        return definition, params

    def _iter_column_sql(
        self,
        column_db_type: str,
        params: Any,
        model: Any,
        field: Any,
        field_db_params: Any,
        include_default: Any,
    ) -> Iterator[str]:
        for part in super()._iter_column_sql(
            column_db_type, params, model, field, field_db_params, include_default
        ):
            if part.startswith("DEFAULT "):
                name = self._default_name(model._meta.db_table, field.column)
                # Rows that are there get the default of a nullable column only when asked.
                values = " WITH VALUES" if include_default and field.null else ""
                yield f"CONSTRAINT {self._bracket(name)} {part}{values}"
            elif part == "UNIQUE" and self._is_nullable_unique(field):
                continue  # A UNIQUE constraint takes one NULL only: an index with a filter follows.
            else:
                yield part

    @classmethod
    def _is_nullable_unique(cls, field: Any) -> bool:
        """Say whether a field's unique key must leave NULLs out. A foreign key needs one that does not (error 1776), so
        a column that one points at takes a single NULL
        (https://learn.microsoft.com/sql/relational-databases/tables/create-foreign-key-relationships)."""
        return field.unique and field.null and not field.primary_key and not cls._is_referenced(field)

    @staticmethod
    def _is_referenced(field: Any) -> bool:
        if not hasattr(field, "model"):  # A field that add_field() is given need not belong to a model yet.
            return False
        return any(
            relation.field.db_constraint and field in relation.field.foreign_related_fields
            for relation in field.model._meta.related_objects
            if relation.one_to_many or relation.one_to_one
        )

    def _generated_column_sql(self, field: Any) -> str:
        """A computed column has no type of its own: a cast gives it one."""
        sql, params = field.generated_sql(self.connection)
        sql = sql % tuple(self.quote_value(param) for param in params)
        db_params = field.db_parameters(connection=self.connection)
        definition = f"AS (CAST({sql} AS {db_params['type']}))"
        if collation := db_params.get("collation"):
            definition = f"AS (CAST({sql} AS {db_params['type']}) COLLATE {collation})"
        if field.db_persist:
            definition += " PERSISTED"
        return definition + (" UNIQUE" if field.unique and not field.null else "")

    def _collate_sql(
        self, collation: str | None, old_collation: str | None = None, table_name: str | None = None
    ) -> str:
        """A collation's name is a keyword and takes no brackets."""
        if collation or old_collation:
            return f"COLLATE {collation or 'DATABASE_DEFAULT'}"
        return ""

    def _default_name(self, table: str, column: str) -> str:
        _, table = self.connection.ops.split_table_name(table)
        return f"DF_{table[:50]}_{column[:50]}_{names_digest(table, column, length=8)}"

    def _existing_default(self, table: str, column: str) -> str | None:
        for default in self._dependents(self.quote_name(table)).defaults():
            if default.belongs_to(column):
                return default.name
        return None

    def _default_change_sql(self, model: Any, field: Any, default: str | None) -> str:
        table = model._meta.db_table
        if default is None:
            name = self._existing_default(table, field.column) or self._default_name(table, field.column)
            return f"DROP CONSTRAINT {self._bracket(name)}"
        name = self._bracket(self._default_name(table, field.column))
        return f"ADD CONSTRAINT {name} DEFAULT {default} FOR {self.quote_name(field.column)}"

    def _alter_column_default_sql(
        self, model: Any, old_field: Any, new_field: Any, drop: bool = False
    ) -> tuple[str, list[Any]]:
        if drop:
            return self._default_change_sql(model, new_field, None), []
        default = self.prepare_default(self.effective_default(new_field))
        self._drop_default(model, new_field)
        return self._default_change_sql(model, new_field, default), []

    def _alter_column_database_default_sql(
        self, model: Any, old_field: Any, new_field: Any, drop: bool = False
    ) -> tuple[str, list[Any]]:
        if drop:
            return self._default_change_sql(model, new_field, None), []
        default, params = self.db_default_sql(new_field)
        self._drop_default(model, new_field)
        return self._default_change_sql(model, new_field, default), list(params)

    def _drop_default(self, model: Any, field: Any) -> None:
        """A column has one default: another has to go before it comes."""
        if name := self._existing_default(model._meta.db_table, field.column):
            table = self.quote_name(model._meta.db_table)
            self.execute(f"ALTER TABLE {table} DROP CONSTRAINT {self._bracket(name)}", None)

    def _alter_column_null_sql(self, model: Any, old_field: Any, new_field: Any) -> tuple[str, list[Any]]:
        """ALTER COLUMN states the type and the collation again, or loses them."""
        db_params = new_field.db_parameters(connection=self.connection)
        template = self.sql_alter_column_null if new_field.null else self.sql_alter_column_not_null
        collation = db_params.get("collation")
        column_type = db_params["type"] + (f" {self._collate_sql(collation)}" if collation else "")
        return template % {"column": self.quote_name(new_field.column), "type": column_type}, []

    def _alter_column_type_sql(
        self,
        model: Any,
        old_field: Any,
        new_field: Any,
        new_type: str,
        old_collation: Any,
        new_collation: Any,
    ) -> tuple[Any, list[Any]]:
        """ALTER COLUMN without NULL or NOT NULL makes the column nullable."""
        if not new_type.partition("(")[0].endswith("char"):
            old_collation = new_collation = None
        (sql, params), other_actions = super()._alter_column_type_sql(
            model, old_field, new_field, new_type, old_collation, new_collation
        )
        return (f"{sql} {'NULL' if old_field.null else 'NOT NULL'}", params), other_actions

    def _rename_field_sql(self, table: str, old_field: Any, new_field: Any, new_type: str) -> str:
        column = f"{self.quote_name(table)}.{self._bracket(old_field.column)}"
        return f"EXEC sp_rename {self._text(column)}, {self._text(new_field.column)}, 'COLUMN'"

    def _alter_field(
        self,
        model: Any,
        old_field: Any,
        new_field: Any,
        old_type: str,
        new_type: str,
        old_db_params: Any,
        new_db_params: Any,
        strict: bool = False,
    ) -> None:
        table = self.quote_name(model._meta.db_table)
        was_identity, is_identity = (isinstance(field, AutoFieldMixin) for field in (old_field, new_field))
        if was_identity and not is_identity:
            self._rebuild_table(model, old_field.column, identity=False)
        renames = old_field.column != new_field.column
        bound = self._dependents(table).bound_to_name(old_field.column) if renames else []
        for dependent in bound:
            super().execute(dependent.drop, None)
        if renames:
            super().execute(
                self._rename_field_sql(model._meta.db_table, old_field, new_field, new_type), None
            )
            for dependent in reversed(bound):
                super().execute(renamed(dependent.create, old_field.column, new_field.column), None)
            self._rename_deferred_column(model._meta.db_table, old_field.column, new_field.column)
            old_field = _renamed_field(old_field, new_field)
        if new_field.generated and old_field.generated and old_type != new_type:
            self._replace_generated_column(model, new_field)
            return
        super()._alter_field(
            model, old_field, new_field, old_type, new_type, old_db_params, new_db_params, strict
        )
        if is_identity and not was_identity:
            self._rebuild_table(model, new_field.column, identity=True)
        if old_field.null != new_field.null:
            self._renew_uniques(model, old_field, new_field)

    def _replace_generated_column(self, model: Any, field: Any) -> None:
        """Give a computed column another type, which ALTER COLUMN can't (error 4928)."""
        table, column = self.quote_name(model._meta.db_table), self.quote_name(field.column)
        with self._set_aside(self._dependents(table).of_column(field.column)):
            super().execute(self.sql_delete_column % {"table": table, "column": column}, None)
            definition, _ = self.column_sql(model, field)
            super().execute(
                self.sql_create_column % {"table": table, "column": column, "definition": definition}, None
            )

    def _rename_deferred_column(self, table: str, old_column: str, new_column: str) -> None:
        for sql in self.deferred_sql:
            if isinstance(sql, Statement):
                sql.rename_column_references(table, old_column, new_column)

    def _renew_uniques(self, model: Any, old_field: Any, new_field: Any) -> None:
        """A unique key over a column that became nullable wants a filter, or another one."""
        column = new_field.column
        if new_field.unique and old_field.unique and not new_field.primary_key:
            for name in self._constraint_names(model, [column], unique=True, primary_key=False):
                self.execute(self._delete_unique_sql(model, name))
            self.execute(self._create_unique_sql(model, [new_field]))
        for names in model._meta.unique_together:
            fields = [new_field if name == new_field.name else model._meta.get_field(name) for name in names]
            if new_field in fields:
                columns = [field.column for field in fields]
                for name in self._constraint_names(model, columns, unique=True, primary_key=False):
                    self.execute(self._delete_unique_sql(model, name))
                self.execute(self._create_unique_sql(model, fields))

    def remove_field(self, model: Any, field: Any) -> None:
        if field.db_parameters(connection=self.connection)["type"] is not None:
            for dependent in self._dependents(self.quote_name(model._meta.db_table)).of_column(field.column):
                self.execute(dependent.drop, None)
        super().remove_field(model, field)

    # Identity

    def _rebuild_table(self, model: Any, changed: str, *, identity: bool) -> None:
        """Give a column IDENTITY, or take it away: ALTER COLUMN can't, so build the table anew and copy the rows."""
        table = self.quote_name(model._meta.db_table)
        _, name = self.connection.ops.split_table_name(model._meta.db_table)
        dependents = self._dependents(table)
        triggers = self._fetch(
            "SELECT m.definition, t.name, t.is_disabled FROM sys.triggers AS t "
            "JOIN sys.sql_modules AS m ON m.object_id = t.object_id "
            "WHERE t.parent_id = OBJECT_ID(%s)",
            [table],
        )
        comments = self._comments(model._meta.db_table)
        set_aside = dependents.of_table()
        columns, copied = [], []
        for column in self.connection.introspection.get_columns(self._fetch, table):
            if column.computed:
                persisted = " PERSISTED" + (" NOT NULL" if not column.is_nullable else "")
                columns.append(
                    f"{self._bracket(column.name)} AS {column.computed}{persisted if column.is_persisted else ''}"
                )
                continue
            definition = f"{self._bracket(column.name)} {column.declaration}"
            if identity if column.name.lower() == changed.lower() else column.is_identity:
                definition += " IDENTITY (1, 1)"
            columns.append(definition + (" NULL" if column.is_nullable else " NOT NULL"))
            if column.type_name != "timestamp":  # The server fills a rowversion in by itself (error 273).
                copied.append(self._bracket(column.name))
        new_name = f"new__{name}"[:128]
        new_table = table[: -len(self._bracket(name))] + self._bracket(new_name)
        has_identity = any("IDENTITY (1, 1)" in column for column in columns)
        names = ", ".join(copied)
        for dependent in set_aside:
            super().execute(dependent.drop, None)
        super().execute(f"CREATE TABLE {new_table} ({', '.join(columns)})", None)
        copy = f"INSERT INTO {new_table} ({names}) SELECT {names} FROM {table}"
        if has_identity:
            copy = f"SET IDENTITY_INSERT {new_table} ON; {copy}; SET IDENTITY_INSERT {new_table} OFF"
        super().execute(copy, None)
        super().execute(f"DROP TABLE {table}", None)
        super().execute(f"EXEC sp_rename {self._text(new_table)}, {self._text(name)}", None)
        for dependent in reversed(set_aside):
            super().execute(dependent.create, None)
        for definition, trigger, is_disabled in triggers:
            super().execute(definition, None)
            if is_disabled:
                super().execute(f"ALTER TABLE {table} DISABLE TRIGGER {self._bracket(trigger)}", None)
        for comment in comments:
            super().execute(comment, None)

    def _comments(self, table: str) -> list[str]:
        """Return the statements that comment a table and its columns as they are commented now."""
        columns = self.connection.introspection.get_columns(self._fetch, self.quote_name(table))
        remarks = [(column.name, column.comment) for column in columns if column.comment]
        own = self._fetch(
            "SELECT CONVERT(nvarchar(max), value) FROM sys.extended_properties "
            "WHERE class = 1 AND name = N'MS_Description' AND major_id = OBJECT_ID(%s) AND minor_id = 0",
            [self.quote_name(table)],
        )
        return [
            *(self._comment_statement(table, None, comment) for (comment,) in own),
            *(self._comment_statement(table, name, comment) for name, comment in remarks),
        ]

    # Keys and indexes

    def _field_should_be_indexed(self, model: Any, field: Any) -> bool:
        if not super()._field_should_be_indexed(model, field):
            return False
        return (field.db_type(self.connection) or "").lower() not in _UNINDEXABLE

    def _create_index_sql(self, model: Any, **options: Any) -> Statement:
        statement = super()._create_index_sql(model, **options)
        return _ExpressionIndex.of(statement) if options.get("expressions") else statement

    def remove_index(self, model: Any, index: Any) -> None:
        hidden = self._hidden_columns(model, index)
        super().remove_index(model, index)
        self._drop_columns(model, hidden)

    def remove_constraint(self, model: Any, constraint: Any) -> None:
        hidden = self._hidden_columns(model, constraint)
        super().remove_constraint(model, constraint)
        self._drop_columns(model, hidden)

    def rename_index(self, model: Any, old_index: Any, new_index: Any) -> None:
        hidden = self._hidden_columns(model, old_index)
        super().rename_index(model, old_index, new_index)
        for name in hidden:
            column = f"{self.quote_name(model._meta.db_table)}.{self._bracket(name)}"
            new_name = hidden_column(new_index.name, int(name.rpartition("_")[2]))
            self.execute(f"EXEC sp_rename {self._text(column)}, {self._text(new_name)}, 'COLUMN'", None)

    def _hidden_columns(self, model: Any, index: Any) -> list[str]:
        """Return the computed columns that carry the expressions of an index."""
        if not getattr(index, "expressions", ()):
            return []
        names = {hidden_column(index.name, number) for number in range(1, len(index.expressions) + 1)}
        table = self.quote_name(model._meta.db_table)
        return [column.name for column in self._dependents(table).computed_columns() if column.name in names]

    def _drop_columns(self, model: Any, columns: Sequence[str]) -> None:
        for column in columns:
            table = self.quote_name(model._meta.db_table)
            self.execute(f"ALTER TABLE {table} DROP COLUMN {self._bracket(column)}", None)

    def _not_null_condition(self, fields: Sequence[Any]) -> str:
        return " AND ".join(f"{self.quote_name(field.column)} IS NOT NULL" for field in fields if field.null)

    def _unique_sql(self, model: Any, fields: Sequence[Any], name: str, **options: Any) -> Any:
        nullable = any(field.null for field in fields)
        if nullable and options.get("nulls_distinct") is not False and not options.get("deferrable"):
            if sql := self._create_unique_sql(model, fields, name=name, **options):
                self.deferred_sql.append(sql)
            return None
        if options.get("nulls_distinct") is not None:
            options["nulls_distinct"] = None
        return super()._unique_sql(model, fields, name, **options)

    def _create_unique_sql(
        self,
        model: Any,
        fields: Sequence[Any],
        name: str | None = None,
        condition: str | None = None,
        **options: Any,
    ) -> Any:
        """Make a unique key. NULLs differ from each other, as SQL has it, only in an index that leaves them out."""
        columns = [*fields, *_plain_columns(options.get("expressions"))]
        if options.get("nulls_distinct") is not False and (not_null := self._not_null_condition(columns)):
            condition = f"{condition} AND {not_null}" if condition else not_null
        options["nulls_distinct"] = None
        statement = super()._create_unique_sql(model, fields, name=name, condition=condition, **options)
        return _ExpressionIndex.of(statement) if options.get("expressions") and statement else statement

    def _delete_constraint_sql(self, template: str, model: Any, name: str) -> Statement:
        if template == self.sql_delete_unique and self._is_index(model, name):
            template = self.sql_delete_index
        return super()._delete_constraint_sql(template, model, name)

    def _is_index(self, model: Any, name: str) -> bool:
        """Say whether a unique key is an index of its own, which DROP CONSTRAINT does not know."""
        rows = self._fetch(
            "SELECT 1 FROM sys.indexes WHERE object_id = OBJECT_ID(%s) AND name = %s "
            "AND is_unique_constraint = 0 AND is_primary_key = 0",
            [self.quote_name(model._meta.db_table), name],
        )
        return bool(rows)

    def _rename_index_sql(self, model: Any, old_name: str, new_name: str) -> Statement:
        index = f"{self.quote_name(model._meta.db_table)}.{self._bracket(old_name)}"
        return Statement(
            "EXEC sp_rename %(index)s, %(new_name)s, 'INDEX'",
            table=Table(model._meta.db_table, self.quote_name),
            index=self._text(index),
            new_name=self._text(new_name),
        )

    def _delete_primary_key(self, model: Any, strict: bool = False) -> None:
        """Foreign keys hold a primary key fast: those that point at it go first."""
        table = self.quote_name(model._meta.db_table)
        for key in self._dependents(table).foreign_keys(incoming_only=True):
            self.execute(key.drop, None)
        super()._delete_primary_key(model, strict)

    # Comments

    def alter_db_table_comment(
        self, model: Any, old_db_table_comment: str | None, new_db_table_comment: str | None
    ) -> None:
        self.execute(self._comment_statement(model._meta.db_table, None, new_db_table_comment), None)

    def _alter_column_comment_sql(
        self, model: Any, new_field: Any, new_type: str, new_db_comment: str | None
    ) -> tuple[str, list[Any]]:
        return self._comment_statement(model._meta.db_table, new_field.column, new_db_comment), []

    def _comment_statement(self, table: str, column: str | None, comment: str | None) -> str:
        """Comments are extended properties named MS_Description, as SQL Server Management Studio shows them."""
        quoted = self._text(self.quote_name(table))
        _, name = self.connection.ops.split_table_name(table)
        level = f"N'SCHEMA', @schema, N'TABLE', {self._text(name)}"
        minor = "0"
        if column is not None:
            level += f", N'COLUMN', {self._text(column)}"
            minor = f"COLUMNPROPERTY(OBJECT_ID({quoted}), {self._text(column)}, 'ColumnId')"
        exists = (
            f"EXISTS (SELECT 1 FROM sys.extended_properties WHERE class = 1 AND name = N'MS_Description' "
            f"AND major_id = OBJECT_ID({quoted}) AND minor_id = {minor})"
        )
        declare = f"DECLARE @schema sysname = OBJECT_SCHEMA_NAME(OBJECT_ID({quoted}))"
        if not comment:
            return f"{declare}; IF {exists} EXEC sys.sp_dropextendedproperty N'MS_Description', {level}"
        value = self._text(comment)
        return (
            f"{declare}; IF {exists} EXEC sys.sp_updateextendedproperty N'MS_Description', {value}, {level} "
            f"ELSE EXEC sys.sp_addextendedproperty N'MS_Description', {value}, {level}"
        )


def _indexed(item: Any) -> tuple[Any, str]:
    """Return what an IndexExpression indexes, and its direction."""
    node = item.get_source_expressions()[0]
    if isinstance(node, OrderBy):
        return node.expression, " DESC" if node.descending else ""
    return node, ""


def _plain_columns(expressions: Any) -> list[Any]:
    """Return the fields that stand among an index's expressions by themselves."""
    if expressions is None:
        return []
    nodes = [_indexed(item)[0] for item in expressions.get_source_expressions()]
    return [node.target for node in nodes if isinstance(node, Col)]


def hidden_column(index: str, number: int) -> str:
    """Return the name of the computed column that carries an expression of an index."""
    return f"{HIDDEN_PREFIX}{index[:100]}_{number}"


class _ExpressionIndex(Statement):
    """CREATE INDEX on expressions: SQL Server indexes columns only, so each expression becomes a computed one."""

    @classmethod
    def of(cls, statement: Statement) -> _ExpressionIndex:
        return cls(statement.template, **statement.parts)

    def __str__(self) -> str:
        expressions = self.parts["columns"]
        name = str(self.parts["name"]).strip("[]")
        added, columns = [], []
        for number, item in enumerate(expressions.expressions.get_source_expressions(), start=1):
            node, direction = _indexed(item)
            expressions.compiler.for_index_key = True
            sql, params = expressions.compiler.compile(node)
            sql = sql % tuple(expressions.quote_value(param) for param in params)
            if isinstance(node, Col):
                columns.append(sql + direction)
                continue
            # What is imprecise can be a key only when it is stored.
            persisted = " PERSISTED" if isinstance(node._output_field_or_none, FloatField) else ""
            column = f"[{hidden_column(name, number)}]"
            added.append(f"{column} AS ({sql}){persisted}")
            columns.append(column + direction)
        create = self.template % {**self.parts, "columns": ", ".join(columns)}
        return f"ALTER TABLE {self.parts['table']} ADD {', '.join(added)}; {create}" if added else create


def _renamed_field(old_field: Any, new_field: Any) -> Any:
    """Return the old field under its new column name, so that Django does not rename it again."""
    import copy

    field = copy.copy(old_field)
    field.column = new_field.column
    return field
