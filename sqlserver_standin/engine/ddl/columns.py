"""Columns: their definitions, their defaults, and what stands in the way of changing or dropping them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlserver_standin.engine import statements as st
from sqlserver_standin.engine.batch import BatchParser
from sqlserver_standin.engine.ddl.definer import Definer, system_name
from sqlserver_standin.engine.definitions import declaration
from sqlserver_standin.engine.definitions import definition as stored_definition
from sqlserver_standin.engine.link import PostgresError
from sqlserver_standin.engine.metadata import ColumnInfo, Default, TableInfo, with_collation
from sqlserver_standin.engine.names import pg_name, quote
from sqlserver_standin.errors import sql_error
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.types import is_string, pg_type
from sqlserver_standin.types import MAX, SqlType

_IDENTITY_TYPES = ("int", "bigint", "smallint", "tinyint", "decimal", "numeric")
# RESEED may set any value, so the sequence takes the whole range.
_IDENTITY_RANGES = {
    "tinyint": (-1, 255),
    "smallint": (-(2**15), 2**15 - 1),
    "int": (-(2**31), 2**31 - 1),
    "bigint": (-(2**63), 2**63 - 1),
}


class Columns(Definer):
    """Defines, changes and drops columns."""

    def new(self, table: TableInfo, definition: st.ColumnDefinition) -> ColumnInfo:
        number = len(table.columns) + 1
        name = definition.name
        if definition.computed is not None:
            _, data_type = self.expression(definition.computed.node, table)
            return ColumnInfo(
                name,
                pg_name(name),
                number,
                data_type,
                computed=stored_definition(definition.computed.node, definition.computed.text),
                persisted=definition.persisted,
            )
        assert definition.type is not None
        self._session.require_type(definition.type)
        if definition.type.collation is not None and not is_string(definition.type):
            raise sql_error(447, definition.type.name)
        data_type = with_collation(definition.type, self._session.collation)
        if definition.identity and (
            data_type.name not in _IDENTITY_TYPES or data_type.scale or definition.nullable is True
        ):
            raise sql_error(2749, name)
        if definition.identity and any(column.identity for column in table.columns):
            raise sql_error(2744, table.name)
        return ColumnInfo(name, pg_name(name), number, data_type, identity=definition.identity)

    def apply_nullability(
        self,
        table: TableInfo,
        definitions: Sequence[st.ColumnDefinition],
        constraints: Sequence[st.Constraint],
    ) -> None:
        in_key = {name.lower() for c in constraints if c.kind == "PRIMARY KEY" for name, _ in c.columns}
        by_name = {column.name: column for column in table.columns}
        for definition in definitions:
            column = by_name[definition.name]
            if definition.name.lower() in in_key:
                if definition.nullable is True:
                    raise sql_error(8111, table.name)
                column.nullable = False
            elif definition.nullable is None:
                column.nullable = definition.identity is None and column.type.name != "timestamp"
            else:
                column.nullable = definition.nullable

    def sql(
        self,
        table: TableInfo,
        definition: st.ColumnDefinition,
        column: ColumnInfo,
        constraints: Sequence[st.Constraint],
    ) -> str:
        parts = [quote(column.pg_name), pg_type(column.type)]
        if definition.computed is not None:
            expression, _ = self.expression(definition.computed.node, table, column.type)
            parts.append(f"GENERATED ALWAYS AS ({expression}) STORED")
        if column.identity:
            seed, increment = column.identity
            if column.type.name in ("decimal", "numeric"):
                # PostgreSQL's identity columns are integers.
                parts[1] = "int8"
            least, most = _IDENTITY_RANGES.get(column.type.name, _IDENTITY_RANGES["bigint"])
            parts.append(
                f"GENERATED ALWAYS AS IDENTITY (START WITH {seed} INCREMENT BY {increment} "
                f"MINVALUE {least} MAXVALUE {most})"
            )
        defaults = [c for c in constraints if c.kind == "DEFAULT" and c.for_column == column.name]
        if len(defaults) > 1:
            raise sql_error(1781)
        for constraint in defaults:
            assert constraint.source is not None
            column.default = self.default(table, column, constraint)
            column.has_default = True
            expression, _ = self.expression(constraint.source.node, None, column.type)
            parts.append(f"DEFAULT {expression}")
        if column.type.name == "timestamp":
            parts.append("DEFAULT int8send(nextval('sys_meta.rowversion'))")
        if not column.nullable:
            parts.append("NOT NULL")
        return " ".join(parts)

    def default(self, table: TableInfo, column: ColumnInfo, constraint: st.Constraint) -> Default:
        assert constraint.source is not None
        name = constraint.name or system_name("DF", table.name, column.name)
        if constraint.name and table.pg_schema != "pg_temp" and self.objects_named(table.pg_schema, name):
            raise sql_error(2714, name)
        return Default(
            name, stored_definition(constraint.source.node, constraint.source.text), constraint.name is None
        )

    def _default_again(self, table: TableInfo, column: ColumnInfo, new_type: SqlType) -> str:

        assert column.default is not None
        node = BatchParser(column.default.definition).expression()
        expression, _ = self.expression(node, None, new_type)
        return f"ALTER TABLE {table.qualified} ALTER COLUMN {quote(column.pg_name)} SET DEFAULT {expression}"

    @staticmethod
    def _may_stay(item: tuple[str, str, str], column: ColumnInfo, new_type: SqlType, nullable: bool) -> bool:
        """https://learn.microsoft.com/sql/t-sql/statements/alter-table-transact-sql#alter-column"""
        _, _, kind = item
        if column.type == new_type and (column.nullable == nullable or kind == "constraint"):
            return True
        if kind == "default":
            return column.type.name == new_type.name
        variable = column.type.name == new_type.name and new_type.name in ("varchar", "nvarchar", "varbinary")
        longer = new_type.length == MAX or (
            column.type.length != MAX and (column.type.length or 0) <= (new_type.length or 0)
        )
        return kind != "computed column" and variable and longer and column.nullable == nullable

    def _dependents(self, table: TableInfo, column: ColumnInfo) -> Iterator[tuple[str, str, str]]:
        """What stands on a column: (the word of error 5074, name, kind)."""
        if column.default:
            yield "object", column.default.name, "default"
        for kind, name in self._session.link.rows(
            """SELECT coalesce(d.description::jsonb ->> 'kind', 'INDEX'),
                      coalesce(d.description::jsonb ->> 'name', c.relname)
                 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                 LEFT JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass
                WHERE i.indrelid = $1::oid
                  AND ($2::int2 = ANY (i.indkey) OR EXISTS (
                       SELECT 1 FROM pg_depend p
                        WHERE p.classid = 'pg_class'::regclass AND p.objid = c.oid
                          AND p.refclassid = 'pg_class'::regclass AND p.refobjid = i.indrelid
                          AND p.refobjsubid = $2::int2))""",
            (table.object_id, column.number),
        ):
            yield ("index" if kind == "INDEX" else "object"), name or "", "index"
        for (name,) in self._session.link.rows(
            """SELECT coalesce(d.description::jsonb ->> 'name', k.conname)
                 FROM pg_constraint k
                 LEFT JOIN pg_description d ON d.objoid = k.oid AND d.classoid = 'pg_constraint'::regclass
                WHERE k.contype IN ('c', 'f')
                  AND (k.conrelid = $1::oid AND $2::int2 = ANY (k.conkey)
                       OR k.confrelid = $1::oid AND $2::int2 = ANY (k.confkey))""",
            (table.object_id, column.number),
        ):
            yield "object", name or "", "constraint"
        for (number,) in self._session.link.rows(
            """SELECT p.objsubid FROM pg_depend p
                WHERE p.classid = 'pg_class'::regclass AND p.objid = $1::oid AND p.objsubid <> 0
                  AND p.refclassid = 'pg_class'::regclass AND p.refobjid = $1::oid AND p.refobjsubid = $2::int4
                UNION
               SELECT a.adnum FROM pg_attrdef a
                 JOIN pg_depend p ON p.classid = 'pg_attrdef'::regclass AND p.objid = a.oid
                WHERE a.adrelid = $1::oid AND p.refclassid = 'pg_class'::regclass AND p.refobjid = $1::oid
                  AND p.refobjsubid = $2::int4 AND a.adnum <> $2::int4""",
            (table.object_id, column.number),
        ):
            other = next((c for c in table.columns if c.number == int(number or 0)), None)
            if other is not None:
                yield "column", other.name, "computed column"

    def _refuse_dependents(
        self, table: TableInfo, column: ColumnInfo, dependents: Sequence[tuple[str, str, str]], action: str
    ) -> None:
        if not dependents:
            return
        for kind, name, _ in dependents:
            self._session.report(sql_error(5074, kind, name, "column", column.name))
        raise sql_error(4922, f"ALTER TABLE {action} COLUMN", column.name)

    def drop(self, table: TableInfo, name: str, *, if_exists: bool) -> None:
        column = table.column(name)
        if column is None:
            if if_exists:
                return
            raise sql_error(4924, "ALTER TABLE DROP COLUMN", name, table.name)
        if len(table.columns) == 1:
            raise sql_error(4923, column.name, table.name)
        self._refuse_dependents(table, column, list(self._dependents(table, column)), "DROP")
        self.run([f"ALTER TABLE {table.qualified} DROP COLUMN {quote(column.pg_name)}"])

    def alter(self, statement: st.AlterColumn) -> None:
        table = self.table(statement.table)
        column = table.column(statement.column)
        if column is None:
            raise sql_error(4924, "ALTER TABLE ALTER COLUMN", statement.column, table.name)
        if column.computed is not None:
            raise sql_error(4928, column.name, "COMPUTED")
        self._session.require_type(statement.type)
        new_type = with_collation(statement.type, self._session.collation)
        if "json" in (column.type.name, new_type.name) and column.type != new_type:
            _refuse_json(column.type, new_type)
        nullable = True if statement.nullable is None else statement.nullable
        dependents = [
            item
            for item in self._dependents(table, column)
            if not self._may_stay(item, column, new_type, nullable)
        ]
        self._refuse_dependents(table, column, dependents, "ALTER")
        sql: list[str] = []
        target = quote(column.pg_name)
        if pg_type(new_type) != pg_type(column.type) or _needs_conversion(column.type, new_type):
            expression, _ = self.expression(
                ast.Cast("CAST", ast.ColumnName((column.name,)), new_type), table, new_type
            )
            if column.identity and pg_type(new_type) not in ("int2", "int4", "int8"):
                raise sql_error(2749, column.name)
            default = (
                ""
                if not column.has_default or column.identity
                else self._default_again(table, column, new_type)
            )
            if default:
                sql.append(f"ALTER TABLE {table.qualified} ALTER COLUMN {target} DROP DEFAULT")
            sql.append(
                f"ALTER TABLE {table.qualified} ALTER COLUMN {target} TYPE {pg_type(new_type)} USING {expression}"
            )
            if default:
                sql.append(default)
        if nullable != column.nullable:
            sql.append(
                f"ALTER TABLE {table.qualified} ALTER COLUMN {target} {'DROP' if nullable else 'SET'} NOT NULL"
            )
        column.type = new_type
        column.nullable = nullable
        sql.append(self.column_comment(table, column))
        try:
            self.run(sql)
        except PostgresError as error:
            if error.sqlstate == "23502":
                full = f"{self._session.database}.{table.full_name}"
                raise sql_error(515, column.name, full, "UPDATE") from None
            raise
        self._session.schema_changed()


def _refuse_json(old: SqlType, new: SqlType) -> None:
    """Strings become json and nothing else does; json becomes nothing else.

    https://learn.microsoft.com/sql/t-sql/data-types/json-data-type#conversion
    """
    if old.name == "json" and is_string(new):
        raise sql_error(257, old.name, declaration(new))
    if not is_string(old):
        raise sql_error(206, old.name, new.name)


def _needs_conversion(old: SqlType, new: SqlType) -> bool:
    """Whether values must be checked or changed although PostgreSQL's type stays the same."""
    if old == new:
        return False
    if old.name != new.name:
        return True
    if new.length is None or new.length == MAX:
        return False
    return old.length == MAX or (old.length or 0) > new.length or old.name in ("char", "nchar", "binary")
