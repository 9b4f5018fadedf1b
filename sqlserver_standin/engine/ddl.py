"""Data definition as statements of PostgreSQL, plus the facts that its catalog has no place for."""

from __future__ import annotations

import json
import secrets
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlserver_standin.engine import statements as st
from sqlserver_standin.engine.definitions import definition as stored_definition
from sqlserver_standin.engine.link import PostgresError
from sqlserver_standin.engine.metadata import ColumnInfo, Default, TableInfo, with_collation
from sqlserver_standin.engine.names import pg_name, quote, quote_literal
from sqlserver_standin.errors import sql_error, unsupported
from sqlserver_standin.events import SqlError
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.types import pg_type
from sqlserver_standin.types import MAX, SqlType

if TYPE_CHECKING:
    from sqlserver_standin.engine.session import Session

_IDENTITY_TYPES = ("int", "bigint", "smallint", "tinyint", "decimal", "numeric")
# RESEED may set any value, so the sequence takes the whole range.
_IDENTITY_RANGES = {
    "tinyint": (-1, 255),
    "smallint": (-(2**15), 2**15 - 1),
    "int": (-(2**31), 2**31 - 1),
    "bigint": (-(2**63), 2**63 - 1),
}
_ACTIONS = {"a": "NO ACTION", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}


def _json(meta: dict[str, Any]) -> str:
    """Without escapes, so that names can be searched for in the text."""
    return json.dumps(meta, ensure_ascii=False)


def comment(kind: str, name: str, meta: dict[str, Any]) -> str:
    """The COMMENT that keeps an object's facts."""
    return f"COMMENT ON {kind} {name} IS {quote_literal(_json(meta))}"


def system_name(prefix: str, *parts: str) -> str:
    """A constraint's name as SQL Server makes it up: ``PK__auth_use__3213E83F0B91BA14``."""
    if len(parts) == 1:
        return f"{prefix}__{parts[0][:8]:_<8}__{secrets.token_hex(8).upper()}"
    return f"{prefix}__{parts[0][:9]:_<9}__{parts[1][:5]:_<5}__{secrets.token_hex(4).upper()}"


class DataDefinition:
    """Runs the data definition statements of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    # -- names -----------------------------------------------------------------------------------------------

    def _split(self, name: st.Name) -> tuple[str, str]:
        """schema and name; another database is refused."""
        if len(name) > 3:
            raise sql_error(7202, name[0])
        elsewhere = len(name) == 3 and name[0].lower() not in ("", self._session.database.lower())
        if elsewhere and not (name[0].lower() == "tempdb" and name[-1].startswith("#")):
            raise unsupported(f"data definition in another database ({'.'.join(name)})")
        schema = name[-2] if len(name) > 1 else ""
        return schema or "dbo", name[-1]

    def find(self, name: st.Name) -> TableInfo | None:
        """The table or view of that name."""
        schema, last = self._split(name)
        return self._session.catalog.info(schema, last)

    def table(self, name: st.Name, number: int = 4902) -> TableInfo:
        """The table of that name; error ``number`` when there is none."""
        info = self.find(name)
        if info is None:
            raise sql_error(number, ".".join(part for part in name if part))
        return info

    def _target_schema(self, schema: str) -> str:
        found = self._session.catalog.schema_exists(schema)
        if found is None or found == "sys":
            raise sql_error(2760, schema)
        return found

    def _objects_named(self, pg_schema: str, name: str) -> bool:
        """Whether a table, view, sequence, procedure or constraint of that name is in the schema."""
        rows = self._session.link.rows(
            """SELECT 1 FROM pg_class c LEFT JOIN pg_description d
                      ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0
                WHERE c.relnamespace = $1::regnamespace AND lower(c.relname) = lower($2::text)
                  AND (c.relkind IN ('r', 'v') OR c.relkind = 'S' AND d.description IS NOT NULL
                       OR c.relkind = 'i' AND d.description::jsonb ->> 'kind' <> 'INDEX')
               UNION ALL
               SELECT 1 FROM pg_constraint
                WHERE connamespace = $1::regnamespace AND lower(conname) = lower($2::text) AND contype IN ('c', 'f')
               UNION ALL
               SELECT 1 FROM pg_proc WHERE pronamespace = $1::regnamespace AND lower(proname) = lower($2::text)
               UNION ALL
               SELECT 1 FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
                 JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass
                      AND d.objsubid = a.attnum
                WHERE c.relnamespace = $1::regnamespace AND a.atthasdef
                  AND strpos(lower(d.description), lower($3::text)) > 0
                  AND lower(d.description::jsonb -> 'default' ->> 'name') = lower($3::text)
               LIMIT 1""",
            (quote(pg_schema), pg_name(name), name),
        )
        return bool(rows)

    # -- CREATE TABLE ----------------------------------------------------------------------------------------

    def create_table(self, statement: st.CreateTable, pg_table: str | None = None) -> TableInfo | None:
        """CREATE TABLE; ``pg_table`` names the temporary table behind a table variable."""
        schema, name = self._split(statement.name)
        temporary = pg_table is not None or name.startswith("#")
        if temporary:
            if name.startswith("##"):
                raise unsupported("global temporary tables", statement.line)
            pg_schema = "pg_temp"
            if pg_table is None and self._session.catalog.info("", name) is not None:
                raise sql_error(2714, name)
        else:
            pg_schema = self._target_schema(schema)
            if self._objects_named(pg_schema, name):
                raise sql_error(2714, name)
        table = TableInfo(
            0, schema, pg_schema, name, pg_table or pg_name(name), "temp" if temporary else "table", {}
        )
        constraints = [*statement.constraints]
        # A computed column may name columns that come after it.
        for definition in sorted(statement.columns, key=lambda each: each.computed is not None):
            if table.column(definition.name):
                raise sql_error(2705, definition.name, name)
            table.columns.append(self._new_column(table, definition))
        order = {definition.name: position for position, definition in enumerate(statement.columns, 1)}
        table.columns.sort(key=lambda column: order[column.name])
        for column in table.columns:
            column.number = order[column.name]
        for definition in statement.columns:
            constraints.extend(definition.constraints)
        self._apply_nullability(table, statement.columns, constraints)
        lines = [
            self._column_sql(table, definition, column, constraints)
            for definition, column in zip(statement.columns, table.columns, strict=True)
        ]
        meta = {} if table.pg_name == name else {"name": name}
        sql = [
            f"CREATE {'TEMPORARY ' if temporary else ''}TABLE {self._create_name(table)} ({', '.join(lines)})",
            comment("TABLE", table.qualified, {**meta, "created": "now"}),
        ]
        keys = [c for c in constraints if c.kind in ("PRIMARY KEY", "UNIQUE")]
        if sum(c.kind == "PRIMARY KEY" for c in keys) > 1:
            raise sql_error(8110, name)
        for constraint in keys:
            sql.extend(self._key_sql(table, constraint))
        for index in statement.indexes:
            sql.extend(self._index_sql(table, index))
        for constraint in constraints:
            if constraint.kind == "CHECK":
                sql.extend(self._check_sql(table, constraint))
        self._run([*sql, *self._column_comments(table)])
        for constraint in constraints:
            if constraint.kind == "FOREIGN KEY":
                self._add_foreign_key(table, constraint, "CREATE TABLE")
        self._session.schema_changed()
        return table

    def _create_name(self, table: TableInfo) -> str:
        return quote(table.pg_name) if table.pg_schema == "pg_temp" else table.qualified

    def _new_column(self, table: TableInfo, definition: st.ColumnDefinition) -> ColumnInfo:
        number = len(table.columns) + 1
        name = definition.name
        if definition.computed is not None:
            _, data_type = self._expression(definition.computed.node, table)
            return ColumnInfo(
                name,
                pg_name(name),
                number,
                data_type,
                computed=stored_definition(definition.computed.node, definition.computed.text),
                persisted=definition.persisted,
            )
        assert definition.type is not None
        data_type = with_collation(definition.type, self._session.collation)
        if definition.identity and (
            data_type.name not in _IDENTITY_TYPES or data_type.scale or definition.nullable is True
        ):
            raise sql_error(2749, name)
        if definition.identity and any(column.identity for column in table.columns):
            raise sql_error(2744, table.name)
        return ColumnInfo(name, pg_name(name), number, data_type, identity=definition.identity)

    def _apply_nullability(
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
                column.nullable = definition.identity is None
            else:
                column.nullable = definition.nullable

    def _column_sql(
        self,
        table: TableInfo,
        definition: st.ColumnDefinition,
        column: ColumnInfo,
        constraints: Sequence[st.Constraint],
    ) -> str:
        parts = [quote(column.pg_name), pg_type(column.type)]
        if definition.computed is not None:
            expression, _ = self._expression(definition.computed.node, table, column.type)
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
            column.default = self._default(table, column, constraint)
            column.has_default = True
            expression, _ = self._expression(constraint.source.node, None, column.type)
            parts.append(f"DEFAULT {expression}")
        if not column.nullable:
            parts.append("NOT NULL")
        return " ".join(parts)

    def _default(self, table: TableInfo, column: ColumnInfo, constraint: st.Constraint) -> Default:
        assert constraint.source is not None
        name = constraint.name or system_name("DF", table.name, column.name)
        if constraint.name and table.pg_schema != "pg_temp" and self._objects_named(table.pg_schema, name):
            raise sql_error(2714, name)
        return Default(
            name, stored_definition(constraint.source.node, constraint.source.text), constraint.name is None
        )

    def _column_comments(self, table: TableInfo) -> list[str]:
        return [self._column_comment(table, column) for column in table.columns]

    @staticmethod
    def _column_comment(table: TableInfo, column: ColumnInfo) -> str:
        return f"COMMENT ON COLUMN {table.qualified}.{quote(column.pg_name)} IS {quote_literal(column.to_json())}"

    def _expression(
        self, node: ast.Node, table: TableInfo | None, target: SqlType | None = None
    ) -> tuple[str, SqlType]:
        return self._session.translator.column_expression(node, table.to_table() if table else None, target)

    # -- keys and indexes ------------------------------------------------------------------------------------

    def _key_sql(self, table: TableInfo, constraint: st.Constraint) -> list[str]:
        primary = constraint.kind == "PRIMARY KEY"
        name = constraint.name or system_name("PK" if primary else "UQ", table.name)
        if constraint.name and table.pg_schema != "pg_temp" and self._objects_named(table.pg_schema, name):
            raise self._could_not_create(sql_error(2714, name))
        clustered = constraint.clustered if constraint.clustered is not None else primary
        index = st.IndexDefinition(name, constraint.columns, unique=True, clustered=clustered)
        return self._index_sql(table, index, constraint.kind, system_named=constraint.name is None)

    def _index_sql(
        self, table: TableInfo, index: st.IndexDefinition, kind: str = "INDEX", *, system_named: bool = False
    ) -> list[str]:
        names = [self._index_column(table, name) for name, _ in index.columns]
        keys = ", ".join(
            quote(column.pg_name) + (" DESC" if descending else "")
            for column, (_, descending) in zip(names, index.columns, strict=True)
        )
        included = [self._index_column(table, name) for name in index.include]
        relation = self._index_relation(table, index.name)
        meta: dict[str, Any] = {"kind": kind, "clustered": index.clustered}
        if relation != index.name:
            meta["name"] = index.name
        if system_named:
            meta["system"] = True
        parts = [
            f"CREATE {'UNIQUE ' if index.unique else ''}INDEX {quote(relation)} ON {self._create_name(table)} ({keys})"
        ]
        # Columns that are keys already can't be included in PostgreSQL, nor can they in SQL Server (1909).
        if included:
            parts.append(f"INCLUDE ({', '.join(quote(column.pg_name) for column in included)})")
        if index.unique:
            parts.append("NULLS NOT DISTINCT")
        if index.where is not None:
            condition, _ = self._expression(index.where.node, table)
            parts.append(f"WHERE {condition}")
            meta["where"] = stored_definition(index.where.node, index.where.text)
        return [" ".join(parts), comment("INDEX", f"{quote(table.pg_schema)}.{quote(relation)}", meta)]

    @staticmethod
    def _index_column(table: TableInfo, name: str) -> ColumnInfo:
        column = table.column(name)
        if column is None:
            raise sql_error(1911, name)
        kind = column.type
        if kind.name in ("text", "ntext", "image", "xml") or kind.length == MAX:
            raise sql_error(1919, column.name, table.name)
        return column

    def _index_relation(self, table: TableInfo, name: str) -> str:
        """PostgreSQL's indexes share one namespace with its tables; SQL Server's belong to their table."""
        relation = pg_name(name)
        if table.pg_schema == "pg_temp" or table.kind == "temp":
            return pg_name(name, table.pg_name)
        taken = self._session.link.rows(
            "SELECT 1 FROM pg_class WHERE relnamespace = $1::regnamespace AND lower(relname) = lower($2::text)",
            (quote(table.pg_schema), relation),
        )
        return pg_name(name, table.pg_name) if taken else relation

    def find_index(self, table: TableInfo, name: str) -> tuple[str, dict[str, Any]] | None:
        """The PostgreSQL name and facts of a table's index."""
        rows = self._session.link.rows(
            """SELECT c.relname, d.description
                 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                 LEFT JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass
                WHERE i.indrelid = $1::oid
                  AND lower(coalesce(d.description::jsonb ->> 'name', c.relname)) = lower($2::text)""",
            (table.object_id, name),
        )
        if not rows:
            return None
        relation, description = rows[0]
        return relation or "", json.loads(description or "{}")

    def create_index(self, statement: st.CreateIndex) -> None:
        table = self.find(statement.table)
        if table is None:
            raise sql_error(1088, ".".join(statement.table))
        existing = self.find_index(table, statement.index.name)
        before: list[str] = []
        if existing is not None:
            if not statement.drop_existing:
                raise sql_error(1913, statement.index.name, "table", table.full_name)
            before = [f"DROP INDEX {quote(table.pg_schema)}.{quote(existing[0])}"]
        if statement.index.clustered and self._has_clustered(table):
            raise sql_error(1902, table.full_name, self._has_clustered(table))
        try:
            self._run([*before, *self._index_sql(table, statement.index)])
        except PostgresError as error:
            if error.sqlstate == "23505":
                values = self._session.duplicate_values(error.detail)
                raise sql_error(1505, table.full_name, statement.index.name, values) from None
            raise
        self._session.schema_changed()

    def _has_clustered(self, table: TableInfo) -> str | None:
        rows = self._session.link.rows(
            """SELECT coalesce(d.description::jsonb ->> 'name', c.relname)
                 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                 JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass
                WHERE i.indrelid = $1::oid AND (d.description::jsonb -> 'clustered')::bool""",
            (table.object_id,),
        )
        return rows[0][0] if rows else None

    def alter_index(self, statement: st.AlterIndex) -> None:
        """REBUILD and REORGANIZE have nothing to do."""
        table = self.table(statement.table, 1088)
        if statement.index is not None and self.find_index(table, statement.index) is None:
            raise sql_error(2727, statement.index)
        if statement.action == "DISABLE":
            raise unsupported("ALTER INDEX ... DISABLE", statement.line)

    def drop_index(self, statement: st.DropIndex) -> None:
        for name, table_name in statement.items:
            table = self.find(table_name) if table_name else None
            found = self.find_index(table, name) if table else None
            if table is None or found is None:
                if statement.if_exists:
                    continue
                raise sql_error(3701, "drop", "index", ".".join((*table_name, name)), state=7 if table else 6)
            relation, meta = found
            if meta.get("kind", "INDEX") != "INDEX":
                raise sql_error(3723, f"{table.full_name}.{name}", meta["kind"])
            self._run([f"DROP INDEX {quote(table.pg_schema)}.{quote(relation)}"])
        self._session.schema_changed()

    # -- constraints -----------------------------------------------------------------------------------------

    def _check_sql(self, table: TableInfo, constraint: st.Constraint, *, validate: bool = True) -> list[str]:
        assert constraint.source is not None
        name = constraint.name or system_name("CK", table.name, "")
        if constraint.name and table.pg_schema != "pg_temp" and self._objects_named(table.pg_schema, name):
            raise self._could_not_create(sql_error(2714, name))
        condition, _ = self._expression(constraint.source.node, table)
        pg_constraint = pg_name(name)
        meta: dict[str, Any] = {
            "definition": stored_definition(constraint.source.node, constraint.source.text)
        }
        if pg_constraint != name:
            meta["name"] = name
        if constraint.name is None:
            meta["system"] = True
        suffix = "" if validate else " NOT VALID"
        qualified = self._create_name(table)
        return [
            f"ALTER TABLE {qualified} ADD CONSTRAINT {quote(pg_constraint)} CHECK ({condition}){suffix}",
            f"COMMENT ON CONSTRAINT {quote(pg_constraint)} ON {qualified} IS {quote_literal(_json(meta))}",
        ]

    def _add_foreign_key(
        self, table: TableInfo, constraint: st.Constraint, command: str, *, validate: bool = True
    ) -> None:
        if table.kind == "temp":
            # SQL Server skips them with a message: https://learn.microsoft.com/sql/t-sql/statements/create-table-transact-sql
            return
        try:
            sql = self._foreign_key_sql(table, constraint, validate=validate)
        except SqlError as error:
            raise self._could_not_create(error) from None
        try:
            self._run(sql)
        except PostgresError as error:
            if error.sqlstate == "23503":
                raise self._session.foreign_key_conflict(error, "ALTER TABLE") from None
            raise

    def _foreign_key_sql(self, table: TableInfo, constraint: st.Constraint, *, validate: bool) -> list[str]:
        target = self.find(constraint.reference)
        same = target is None and self._split(constraint.reference)[1].lower() == table.name.lower()
        if same:
            target = table
        columns = [name for name, _ in constraint.columns]
        name = constraint.name or system_name("FK", table.name, columns[0])
        if target is None:
            raise sql_error(1767, name, ".".join(constraint.reference))
        if constraint.name and self._objects_named(table.pg_schema, name):
            raise sql_error(2714, name)
        referenced = list(constraint.reference_columns) or self._primary_key(target)
        if not referenced:
            raise sql_error(1773, name, target.full_name)
        local_columns = []
        for column_name in columns:
            column = table.column(column_name)
            if column is None:
                raise sql_error(1769, name, column_name, table.name)
            local_columns.append(column)
        foreign_columns = []
        for column_name in referenced:
            column = target.column(column_name)
            if column is None:
                raise sql_error(1770, name, column_name, target.full_name)
            foreign_columns.append(column)
        if not self._is_unique(target, foreign_columns):
            raise sql_error(1776, target.full_name, name)
        for local, foreign in zip(local_columns, foreign_columns, strict=True):
            if _type_group(local.type) != _type_group(foreign.type):
                raise sql_error(1778, f"{target.full_name}", foreign.name, f"{table.name}", local.name, name)
            if (local.type.length, local.type.precision, local.type.scale) != (
                foreign.type.length,
                foreign.type.precision,
                foreign.type.scale,
            ) and local.type.name not in ("nvarchar", "varchar", "varbinary"):
                raise sql_error(1753, target.full_name, foreign.name, table.name, local.name, name)
        self._refuse_cascade_cycles(table, target, name, constraint)
        pg_constraint = pg_name(name)
        meta: dict[str, Any] = {} if pg_constraint == name else {"name": name}
        if constraint.name is None:
            meta["system"] = True
        if not validate:
            meta["not_trusted"] = True
        sql = (
            f"ALTER TABLE {table.qualified} ADD CONSTRAINT {quote(pg_constraint)} FOREIGN KEY "
            f"({', '.join(quote(column.pg_name) for column in local_columns)}) REFERENCES {target.qualified} "
            f"({', '.join(quote(column.pg_name) for column in foreign_columns)})"
        )
        if constraint.on_delete != "NO ACTION":
            sql += f" ON DELETE {constraint.on_delete}"
        if constraint.on_update != "NO ACTION":
            sql += f" ON UPDATE {constraint.on_update}"
        if not validate:
            sql += " NOT VALID"
        return [
            sql,
            f"COMMENT ON CONSTRAINT {quote(pg_constraint)} ON {table.qualified} IS {quote_literal(_json(meta))}",
        ]

    def _primary_key(self, table: TableInfo) -> list[str]:
        rows = self._session.link.rows(
            """SELECT a.attname FROM pg_index i
                 JOIN pg_description d ON d.objoid = i.indexrelid AND d.classoid = 'pg_class'::regclass
                 CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY k (attnum, position)
                 JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                WHERE i.indrelid = $1::regclass AND d.description::jsonb ->> 'kind' = 'PRIMARY KEY'
                ORDER BY k.position""",
            (table.qualified,),
        )
        by_pg_name = {column.pg_name: column.name for column in table.columns}
        return [by_pg_name[name] for (name,) in rows if name]

    def _is_unique(self, table: TableInfo, columns: Sequence[ColumnInfo]) -> bool:
        rows = self._session.link.rows(
            """SELECT string_agg(a.attname, chr(1) ORDER BY a.attname)
                 FROM pg_index i
                 CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY k (attnum, position)
                 JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                WHERE i.indrelid = $1::regclass AND i.indisunique AND i.indpred IS NULL AND k.position <= i.indnkeyatts
                GROUP BY i.indexrelid""",
            (table.qualified,),
        )
        wanted = sorted(column.pg_name for column in columns)
        return any(sorted((names or "").split("\x01")) == wanted for (names,) in rows)

    def _refuse_cascade_cycles(
        self, table: TableInfo, target: TableInfo, name: str, constraint: st.Constraint
    ) -> None:
        """1785: no table may be reached twice by the cascades that start at one table."""
        for action, column in ((constraint.on_delete, "confdeltype"), (constraint.on_update, "confupdtype")):
            if action == "NO ACTION":
                continue
            edges: dict[str, list[tuple[str, bool]]] = defaultdict(list)
            for parent, child, kind in self._session.link.rows(
                f"SELECT confrelid::regclass, conrelid::regclass, {column} FROM pg_constraint "
                f"WHERE contype = 'f' AND {column} <> 'a'"
            ):
                assert parent
                assert child
                edges[parent].append((child, kind == "c"))
            rows = self._session.link.rows(
                "SELECT $1::regclass::text, $2::regclass::text", (target.qualified, table.qualified)
            )
            parent, child = rows[0]
            assert parent
            assert child
            edges[parent].append((child, action == "CASCADE"))
            for start in list(edges):
                if _reaches_twice(start, edges):
                    raise sql_error(1785, name, table.name)

    # -- ALTER TABLE -----------------------------------------------------------------------------------------

    def alter_table_add(self, statement: st.AlterTableAdd) -> None:
        table = self.table(statement.table)
        if table.kind == "view":
            raise sql_error(4909, table.name)
        constraints = [*statement.constraints]
        sql: list[str] = []
        added: list[ColumnInfo] = []
        number = max((column.number for column in table.columns), default=0)
        for definition in statement.columns:
            if table.column(definition.name):
                raise sql_error(2705, definition.name, table.full_name)
            number += 1
            column = self._new_column(table, definition)
            column.number = number
            constraints.extend(definition.constraints)
            table = replace(table, columns=[*table.columns, column])
            added.append(column)
        own = [c for c in constraints if c.kind == "PRIMARY KEY"]
        new = replace(table, columns=added)
        self._apply_nullability(new, statement.columns, own)
        for definition, column in zip(statement.columns, added, strict=True):
            has_default = any(c.kind == "DEFAULT" and c.for_column == column.name for c in constraints)
            if not (
                column.nullable or has_default or column.identity or definition.computed
            ) and not self._empty(table):
                raise sql_error(4901, column.name, table.name)
            text = self._column_sql(table, definition, column, constraints)
            sql.append(f"ALTER TABLE {table.qualified} ADD COLUMN {text}")
            if has_default and column.nullable and not self._with_values(constraints, column):
                # A nullable column's default is for later rows only, unless WITH VALUES is said.
                expression = text.split(" DEFAULT ", 1)[1]
                sql[-1] = f"ALTER TABLE {table.qualified} ADD COLUMN {text.split(' DEFAULT ', 1)[0]}"
                sql.append(
                    f"ALTER TABLE {table.qualified} ALTER COLUMN {quote(column.pg_name)} SET DEFAULT {expression}"
                )
            sql.append(self._column_comment(table, column))
        for constraint in constraints:
            sql.extend(self._added_constraint_sql(table, constraint, added, statement.check_existing))
        try:
            self._run(sql)
        except PostgresError as error:
            if error.sqlstate == "23505":
                raise self._duplicate_key(table, constraints, error) from None
            if error.sqlstate == "23514":
                raise self._session.check_conflict(error, "ALTER TABLE") from None
            raise
        self._session.schema_changed()
        for constraint in constraints:
            if constraint.kind == "FOREIGN KEY":
                self._add_foreign_key(
                    self.table(statement.table),
                    constraint,
                    "ALTER TABLE",
                    validate=statement.check_existing is not False,
                )
        self._session.schema_changed()

    @staticmethod
    def _with_values(constraints: Sequence[st.Constraint], column: ColumnInfo) -> bool:
        return any(each.for_column == column.name and each.with_values for each in constraints)

    def _added_constraint_sql(
        self,
        table: TableInfo,
        constraint: st.Constraint,
        added: Sequence[ColumnInfo],
        check_existing: bool | None,
    ) -> Iterator[str]:
        if constraint.kind in ("PRIMARY KEY", "UNIQUE"):
            if constraint.kind == "PRIMARY KEY":
                if self._primary_key(table):
                    raise self._could_not_create(sql_error(1779, table.name))
                for name, _ in constraint.columns:
                    column = table.column(name)
                    if column and column.nullable and column not in added:
                        raise self._could_not_create(sql_error(8111, table.name))
            yield from self._key_sql(table, constraint)
        elif constraint.kind == "CHECK":
            yield from self._check_sql(table, constraint, validate=check_existing is not False)
        elif constraint.kind == "DEFAULT" and constraint.for_column and constraint.source:
            column = table.column(constraint.for_column)
            if column is None:
                raise self._could_not_create(sql_error(1752, constraint.for_column, table.name))
            if column in added:
                return
            if column.default:
                raise self._could_not_create(sql_error(1781))
            expression, _ = self._expression(constraint.source.node, None, column.type)
            column.default = self._default(table, column, constraint)
            yield f"ALTER TABLE {table.qualified} ALTER COLUMN {quote(column.pg_name)} SET DEFAULT {expression}"
            yield self._column_comment(table, column)

    def _duplicate_key(
        self, table: TableInfo, constraints: Sequence[st.Constraint], error: PostgresError
    ) -> SqlError:
        name = next(
            (
                constraint.name
                for constraint in constraints
                if constraint.name and constraint.kind in ("UNIQUE", "PRIMARY KEY")
            ),
            error.constraint,
        )
        return self._could_not_create(
            sql_error(1505, table.full_name, name, self._session.duplicate_values(error.detail))
        )

    def _empty(self, table: TableInfo) -> bool:
        return not self._session.link.rows(f"SELECT 1 FROM {table.qualified} LIMIT 1")

    def alter_table_drop(self, statement: st.AlterTableDrop) -> None:
        table = self.table(statement.table)
        for kind, name, if_exists in statement.items:
            if kind == "COLUMN":
                self._drop_column(table, name, if_exists=if_exists)
            else:
                self._drop_constraint(table, name, if_exists=if_exists)
            self._session.schema_changed()
            table = self.table(statement.table)

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

    def _drop_column(self, table: TableInfo, name: str, *, if_exists: bool) -> None:
        column = table.column(name)
        if column is None:
            if if_exists:
                return
            raise sql_error(4924, "ALTER TABLE DROP COLUMN", name, table.name)
        if len(table.columns) == 1:
            raise sql_error(4923, column.name, table.name)
        self._refuse_dependents(table, column, list(self._dependents(table, column)), "DROP")
        self._run([f"ALTER TABLE {table.qualified} DROP COLUMN {quote(column.pg_name)}"])

    def _drop_constraint(self, table: TableInfo, name: str, *, if_exists: bool) -> None:
        index = self.find_index(table, name)
        if index is not None and index[1].get("kind", "INDEX") != "INDEX":
            referencing = self._session.link.rows(
                """SELECT coalesce(td.description::jsonb ->> 'name', t.relname),
                          coalesce(d.description::jsonb ->> 'name', k.conname)
                     FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid
                     LEFT JOIN pg_description d ON d.objoid = k.oid AND d.classoid = 'pg_constraint'::regclass
                     LEFT JOIN pg_description td ON td.objoid = t.oid AND td.classoid = 'pg_class'::regclass
                              AND td.objsubid = 0
                    WHERE k.contype = 'f' AND k.conindid = $1::regclass""",
                (f"{quote(table.pg_schema)}.{quote(index[0])}",),
            )
            for other, foreign_key in referencing:
                raise self._could_not_drop(sql_error(3725, name, other, foreign_key))
            self._run([f"DROP INDEX {quote(table.pg_schema)}.{quote(index[0])}"])
            return
        for column in table.columns:
            if column.default and column.default.name.lower() == name.lower():
                column.default = None
                self._run(
                    [
                        f"ALTER TABLE {table.qualified} ALTER COLUMN {quote(column.pg_name)} DROP DEFAULT",
                        self._column_comment(table, column),
                    ]
                )
                return
        rows = self._session.link.rows(
            """SELECT k.conname FROM pg_constraint k
                 LEFT JOIN pg_description d ON d.objoid = k.oid AND d.classoid = 'pg_constraint'::regclass
                WHERE k.conrelid = $1::oid AND k.contype IN ('c', 'f')
                  AND lower(coalesce(d.description::jsonb ->> 'name', k.conname)) = lower($2::text)""",
            (table.object_id, name),
        )
        if rows:
            self._run([f"ALTER TABLE {table.qualified} DROP CONSTRAINT {quote(rows[0][0] or '')}"])
        elif not if_exists:
            raise self._could_not_drop(sql_error(3728, name))

    def alter_column(self, statement: st.AlterColumn) -> None:
        table = self.table(statement.table)
        column = table.column(statement.column)
        if column is None:
            raise sql_error(4924, "ALTER TABLE ALTER COLUMN", statement.column, table.name)
        if column.computed is not None:
            raise sql_error(4928, column.name, "COMPUTED")
        new_type = with_collation(statement.type, self._session.collation)
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
            expression, _ = self._expression(
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
        sql.append(self._column_comment(table, column))
        try:
            self._run(sql)
        except PostgresError as error:
            if error.sqlstate == "23502":
                full = f"{self._session.database}.{table.full_name}"
                raise sql_error(515, column.name, full, "UPDATE") from None
            raise
        self._session.schema_changed()

    def _default_again(self, table: TableInfo, column: ColumnInfo, new_type: SqlType) -> str:
        from sqlserver_standin.engine.batch import BatchParser

        assert column.default is not None
        node = BatchParser(column.default.definition).expression()
        expression, _ = self._expression(node, None, new_type)
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

    def alter_table_check(self, statement: st.AlterTableCheck) -> None:
        """CHECK and NOCHECK CONSTRAINT. WITH CHECK validates the rows that are there."""
        table = self.table(statement.table)
        wanted = {name.lower() for name in statement.names}
        rows = self._session.link.rows(
            """SELECT k.conname, k.contype, pg_get_constraintdef(k.oid), d.description, k.convalidated, k.conenforced
                 FROM pg_constraint k
                 LEFT JOIN pg_description d ON d.objoid = k.oid AND d.classoid = 'pg_constraint'::regclass
                WHERE k.conrelid = $1::oid AND k.contype IN ('c', 'f') ORDER BY k.oid""",
            (table.object_id,),
        )
        found: set[str] = set()
        for pg_constraint, _, definition, description, validated, enforced in rows:
            assert pg_constraint
            assert definition
            meta = json.loads(description or "{}")
            name = meta.get("name", pg_constraint)
            if wanted and name.lower() not in wanted:
                continue
            found.add(name.lower())
            trusted = not meta.get("not_trusted") and validated == "t" and enforced == "t"
            if statement.enable and enforced == "t" and (trusted or not statement.check_existing):
                # Nothing can have broken a constraint that was enforced all the time.
                continue
            base = definition.removesuffix(" NOT VALID").removesuffix(" NOT ENFORCED")
            suffix = "" if statement.check_existing else " NOT VALID"
            if not statement.enable:
                suffix = " NOT ENFORCED"
            meta["not_trusted"] = not (statement.enable and statement.check_existing)
            try:
                self._run(
                    [
                        f"ALTER TABLE {table.qualified} DROP CONSTRAINT {quote(pg_constraint)}",
                        f"ALTER TABLE {table.qualified} ADD CONSTRAINT {quote(pg_constraint)} {base}{suffix}",
                        f"COMMENT ON CONSTRAINT {quote(pg_constraint)} ON {table.qualified} "
                        f"IS {quote_literal(_json(meta))}",
                    ]
                )
            except PostgresError as error:
                if error.sqlstate == "23503":
                    raise self._session.foreign_key_conflict(error, "ALTER TABLE") from None
                if error.sqlstate == "23514":
                    raise self._session.check_conflict(error, "ALTER TABLE") from None
                raise
        for name in statement.names:
            if name.lower() not in found:
                raise sql_error(4917, name)
        self._session.schema_changed()

    def switch_trigger(self, statement: st.SwitchTrigger) -> None:
        table = self.table(statement.table, 8197)
        word = "ENABLE" if statement.enable else "DISABLE"
        if not statement.names:
            self._run([f"ALTER TABLE {table.qualified} {word} TRIGGER USER"])
        for name in statement.names:
            found = self._find_trigger((table.schema, name[-1]))
            if not found:
                raise sql_error(4920, name[-1], table.name)
            self._run([f"ALTER TABLE {target} {word} TRIGGER {quote(trigger)}" for target, trigger in found])
        self._session.schema_changed()

    # -- DROP and the rest -----------------------------------------------------------------------------------

    def drop_table(self, name: st.Name, *, if_exists: bool) -> None:
        table = self.find(name)
        if table is None or table.kind == "view":
            if table is not None:
                raise sql_error(3705, "TABLE", name[-1], name[-1], "view", "DROP VIEW")
            if if_exists:
                return
            raise sql_error(3701, "drop", "table", ".".join(name))
        referencing = self._session.link.rows(
            "SELECT 1 FROM pg_constraint WHERE contype = 'f' AND confrelid = $1::oid AND conrelid <> confrelid LIMIT 1",
            (table.object_id,),
        )
        if referencing:
            raise sql_error(3726, ".".join(name))
        self._run([f"DROP TABLE {table.qualified}", *self._forget_properties(table.object_id)])
        self._session.schema_changed()

    def drop_view(self, name: st.Name, *, if_exists: bool) -> None:
        view = self.find(name)
        if view is None or view.kind != "view":
            if view is not None:
                raise sql_error(3705, "VIEW", name[-1], name[-1], "table", "DROP TABLE")
            if if_exists:
                return
            raise sql_error(3701, "drop", "view", ".".join(name))
        self._run([f"DROP VIEW {view.qualified}", *self._forget_properties(view.object_id)])
        self._session.schema_changed()

    @staticmethod
    def _forget_properties(object_id: int) -> list[str]:
        return [f"DELETE FROM sys_meta.extended_property WHERE major_id = {object_id}"]

    def drop_sequence(self, name: st.Name, *, if_exists: bool) -> None:
        schema, last = self._split(name)
        found = self._session.catalog.sequence(schema, last)
        if found is None:
            if if_exists:
                return
            raise sql_error(3701, "drop", "sequence object", ".".join(name))
        self._run([f"DROP SEQUENCE {found[0]}"])
        self._session.schema_changed()

    def drop_schema(self, name: str, *, if_exists: bool) -> None:
        found = self._session.catalog.schema_exists(name)
        if found is None:
            if if_exists:
                return
            raise sql_error(15151, "drop", "schema", name)
        inside = self._session.link.rows(
            """SELECT coalesce(d.description::jsonb ->> 'name', c.relname) FROM pg_class c
                 LEFT JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0
                WHERE c.relnamespace = $1::regnamespace AND c.relkind IN ('r', 'v', 'S')
               UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = $1::regnamespace LIMIT 1""",
            (quote(found),),
        )
        if inside:
            raise sql_error(3729, "drop schema", name, inside[0][0])
        self._run([f"DROP SCHEMA {quote(found)}"])
        self._session.schema_changed()

    def create_schema(self, statement: st.CreateSchema) -> None:
        name = statement.name
        if self._session.catalog.schema_exists(name):
            raise sql_error(2714, name)
        target = pg_name(name)
        sql = [f"CREATE SCHEMA {quote(target)}"]
        if target != name:
            sql.append(comment("SCHEMA", quote(target), {"name": name}))
        self._run(sql)
        self._session.schema_changed()

    def truncate(self, statement: st.TruncateTable) -> None:
        table = self.table(statement.table, 4701)
        referencing = self._session.link.rows(
            "SELECT 1 FROM pg_constraint WHERE contype = 'f' AND confrelid = $1::oid AND conrelid <> confrelid LIMIT 1",
            (table.object_id,),
        )
        if referencing:
            raise sql_error(4712, ".".join(statement.table))
        self._run([f"TRUNCATE TABLE {table.qualified} RESTART IDENTITY"])

    def create_view(self, statement: st.CreateView) -> None:
        schema, name = self._split(statement.name)
        existing = self._session.catalog.info(schema, name)
        pg_schema = self._target_schema(schema)
        if statement.mode == "CREATE" and (existing or self._objects_named(pg_schema, name)):
            raise sql_error(2714, name)
        if statement.mode == "ALTER" and existing is None:
            raise sql_error(208, ".".join(statement.name))
        sql: list[str] = []
        if existing is not None:
            if existing.kind != "view":
                raise sql_error(2714, name)
            sql.append(f"DROP VIEW {existing.qualified}")
        translation = self._session.translator.query(
            statement.query.query, self._session.context({}), statement.query.common
        )
        names = statement.columns or tuple(column.name for column in translation.columns)
        if len(names) != len(translation.columns):
            raise sql_error(8159, name) if len(names) > len(translation.columns) else sql_error(8158, name)
        for position, column_name in enumerate(names, 1):
            if not column_name:
                raise sql_error(4511, position)
        view = TableInfo(0, schema, pg_schema, name, pg_name(name), "view", {})
        for position, (column_name, column) in enumerate(zip(names, translation.columns, strict=True), 1):
            view.columns.append(ColumnInfo(column_name, pg_name(column_name), position, column.type))
        meta = {"definition": statement.text, "name": name, "created": "now"}
        columns = ", ".join(quote(column.pg_name) for column in view.columns)
        sql.append(f"CREATE VIEW {view.qualified} ({columns}) AS {translation.sql}")
        sql.append(comment("VIEW", view.qualified, meta))
        self._run([*sql, *self._column_comments(view)])
        self._session.schema_changed()

    def create_sequence(self, statement: st.CreateSequence) -> None:
        schema, name = self._split(statement.name)
        options = statement.options
        if statement.alter:
            found = self._session.catalog.sequence(schema, name)
            if found is None:
                raise sql_error(15151, "alter", "sequence object", name)
            target, data_type = found
            command = f"ALTER SEQUENCE {target}"
        else:
            pg_schema = self._target_schema(schema)
            if self._objects_named(pg_schema, name):
                raise sql_error(2714, name)
            data_type = statement.type or SqlType("bigint")
            target = f"{quote(pg_schema)}.{quote(pg_name(name))}"
            kind = {"int": "int4", "smallint": "int2", "tinyint": "int2"}.get(data_type.name, "int8")
            command = f"CREATE SEQUENCE {target} AS {kind}"
        words = {
            "increment": "INCREMENT BY {}",
            "minvalue": "MINVALUE {}",
            "maxvalue": "MAXVALUE {}",
            "start": "RESTART WITH {}" if statement.alter else "START WITH {}",
        }
        for option, value in options.items():
            if option == "cycle":
                command += " CYCLE" if value else " NO CYCLE"
            elif value is not None:
                command += " " + words[option].format(value)
            elif option == "start":
                command += " RESTART"
        self._run(
            [
                command,
                comment(
                    "SEQUENCE",
                    target,
                    {
                        "name": name,
                        "type": data_type.name,
                        "precision": data_type.precision,
                        "scale": data_type.scale,
                    },
                ),
            ]
        )
        self._session.schema_changed()

    def transfer(self, statement: st.TransferObject) -> None:
        """ALTER SCHEMA … TRANSFER."""
        table = self.find(statement.table)
        if table is None:
            raise sql_error(15151, "find", "object", statement.table[-1])
        target = self._session.catalog.schema_exists(statement.schema)
        if target is None:
            raise sql_error(15151, "alter", "schema", statement.schema)
        if self._objects_named(target, table.name):
            raise sql_error(15530, "object", f"{statement.schema}.{table.name}")
        kind = "VIEW" if table.kind == "view" else "TABLE"
        self._run([f"ALTER {kind} {table.qualified} SET SCHEMA {quote(target)}"])
        self._session.schema_changed()

    # -- modules ---------------------------------------------------------------------------------------------

    def find_procedure(self, name: st.Name) -> tuple[str, dict[str, Any]] | None:
        """The quoted PostgreSQL name and facts of a stored procedure."""
        schema, last = self._split(name)
        rows = self._session.link.rows(
            """SELECT n.nspname, p.proname, d.description FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                 JOIN pg_description d ON d.objoid = p.oid AND d.classoid = 'pg_proc'::regclass
                WHERE p.prokind = 'p' AND lower(n.nspname) = lower($1::text) AND lower(p.proname) = lower($2::text)""",
            (pg_name(schema), pg_name(last)),
        )
        if not rows:
            return None
        pg_schema, procedure, description = rows[0]
        return f"{quote(pg_schema or '')}.{quote(procedure or '')}", json.loads(description or "{}")

    def create_procedure(self, statement: st.CreateProcedure) -> None:
        """PostgreSQL only keeps the definition, in an empty procedure of that name."""
        schema, name = self._split(statement.name)
        if name.startswith("#"):
            raise unsupported("temporary procedures", statement.line)
        pg_schema = self._target_schema(schema)
        existing = self.find_procedure(statement.name)
        if statement.mode == "ALTER" and existing is None:
            raise sql_error(208, ".".join(statement.name))
        if existing is None and self._objects_named(pg_schema, name):
            raise sql_error(2714, name)
        if existing is not None and statement.mode == "CREATE":
            raise sql_error(2714, name)
        target = existing[0] if existing else f"{quote(pg_schema)}.{quote(pg_name(name))}"
        self._run(
            [
                f"CREATE OR REPLACE PROCEDURE {target}() LANGUAGE plpgsql AS 'BEGIN END'",
                comment("PROCEDURE", target, {"name": name, "definition": statement.text, "created": "now"}),
            ]
        )
        self._session.schema_changed()

    def drop_procedure(self, name: st.Name, *, if_exists: bool) -> None:
        found = self.find_procedure(name)
        if found is None:
            if if_exists:
                return
            raise sql_error(3701, "drop", "procedure", ".".join(name))
        self._run([f"DROP PROCEDURE {found[0]}"])
        self._session.schema_changed()

    def _find_trigger(self, name: st.Name) -> list[tuple[str, str]]:
        """(quoted table, PostgreSQL's trigger) of each trigger behind one of SQL Server's."""
        schema, last = self._split(name)
        rows = self._session.link.rows(
            """SELECT n.nspname, c.relname, t.tgname FROM pg_trigger t
                 JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
                 JOIN pg_description d ON d.objoid = t.oid AND d.classoid = 'pg_trigger'::regclass
                WHERE lower(n.nspname) = lower($1::text)
                  AND lower(d.description::jsonb ->> 'name') = lower($2::text)""",
            (pg_name(schema), last),
        )
        return [(f"{quote(row[0] or '')}.{quote(row[1] or '')}", row[2] or "") for row in rows]

    def create_trigger(self, statement: st.CreateTrigger) -> None:
        """PostgreSQL's triggers only keep the changed rows; the session runs the body after the statement."""
        schema, name = self._split(statement.name)
        table = self.table(statement.table, 8197)
        existing = self._find_trigger((schema, name))
        if existing and statement.mode == "CREATE":
            raise sql_error(2714, name)
        if not existing and statement.mode == "ALTER":
            raise sql_error(208, ".".join(statement.name))
        sql = [f"DROP TRIGGER {quote(trigger)} ON {target}" for target, trigger in existing]
        for position, event in enumerate(statement.events):
            trigger = pg_name(name) if position == 0 else pg_name(name, event)
            rows = {
                "INSERT": "NEW TABLE AS new_rows",
                "DELETE": "OLD TABLE AS old_rows",
                "UPDATE": "NEW TABLE AS new_rows OLD TABLE AS old_rows",
            }[event]
            meta = {
                "name": name,
                "main": position == 0,
                "events": statement.events,
                "definition": statement.text,
                "created": "now",
            }
            sql.append(
                f"CREATE TRIGGER {quote(trigger)} AFTER {event} ON {table.qualified} REFERENCING {rows} "
                "FOR EACH STATEMENT EXECUTE FUNCTION sys_meta.keep_changed_rows()"
            )
            sql.append(comment("TRIGGER", f"{quote(trigger)} ON {table.qualified}", meta))
        self._run(sql)
        self._session.schema_changed()

    def drop_trigger(self, name: st.Name, *, if_exists: bool) -> None:
        found = self._find_trigger(name)
        if not found:
            if if_exists:
                return
            raise sql_error(3701, "drop", "trigger", ".".join(name))
        self._run([f"DROP TRIGGER {quote(trigger)} ON {table}" for table, trigger in found])
        self._session.schema_changed()

    def trigger_definitions(self, object_id: int, event: str) -> list[str]:
        """The enabled triggers of a table for an event, in the order in which they were made."""
        rows = self._session.link.rows(
            """SELECT d.description::jsonb ->> 'definition' FROM pg_trigger t
                 JOIN pg_description d ON d.objoid = t.oid AND d.classoid = 'pg_trigger'::regclass
                WHERE t.tgrelid = $1::oid AND t.tgenabled <> 'D' AND (d.description::jsonb -> 'main')::bool
                  AND d.description::jsonb -> 'events' ? $2 ORDER BY t.oid""",
            (object_id, event),
        )
        return [row[0] or "" for row in rows]

    # -- sp_rename -------------------------------------------------------------------------------------------

    def rename_column(self, table: TableInfo, old: str, new: str) -> None:
        column = table.column(old)
        assert column is not None
        existing = table.column(new)
        if existing is not None and existing is not column:
            raise sql_error(15335, new, "COLUMN")
        target = pg_name(new)
        sql = []
        if target != column.pg_name:
            sql.append(
                f"ALTER TABLE {table.qualified} RENAME COLUMN {quote(column.pg_name)} TO {quote(target)}"
            )
        column.name, column.pg_name = new, target
        self._run([*sql, self._column_comment(table, column)])
        self._session.schema_changed()

    def rename_table(self, table: TableInfo, new: str) -> None:
        if new.lower() != table.name.lower() and self._objects_named(table.pg_schema, new):
            raise sql_error(15335, new, "OBJECT")
        target = pg_name(new)
        kind = "VIEW" if table.kind == "view" else "TABLE"
        meta = {**table.meta, "name": new}
        sql = [] if target == table.pg_name else [f"ALTER {kind} {table.qualified} RENAME TO {quote(target)}"]
        self._run([*sql, comment(kind, f"{quote(table.pg_schema)}.{quote(target)}", meta)])
        self._session.schema_changed()

    def rename_index(self, table: TableInfo, old: str, new: str) -> None:
        found = self.find_index(table, old)
        assert found is not None
        relation, meta = found
        if new.lower() != old.lower() and self.find_index(table, new) is not None:
            raise sql_error(15335, new, "INDEX")
        target = self._index_relation(table, new)
        source = f"{quote(table.pg_schema)}.{quote(relation)}"
        self._run(
            [
                f"ALTER INDEX {source} RENAME TO {quote(target)}",
                comment("INDEX", f"{quote(table.pg_schema)}.{quote(target)}", {**meta, "name": new}),
            ]
        )
        self._session.schema_changed()

    def rename_constraint(self, schema: str, old: str, new: str) -> bool:
        """A key, check, foreign key or default constraint; False when there is none of that name."""
        pg_schema = self._session.catalog.schema_exists(schema) or schema
        rows = self._session.link.rows(
            """SELECT i.indrelid::bigint, 'index' FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                 JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass
                WHERE c.relnamespace = $1::regnamespace AND d.description::jsonb ->> 'kind' <> 'INDEX'
                  AND lower(coalesce(d.description::jsonb ->> 'name', c.relname)) = lower($2::text)
               UNION ALL
               SELECT k.conrelid::bigint, k.conname FROM pg_constraint k
                 LEFT JOIN pg_description d ON d.objoid = k.oid AND d.classoid = 'pg_constraint'::regclass
                WHERE k.connamespace = $1::regnamespace AND k.contype IN ('c', 'f')
                  AND lower(coalesce(d.description::jsonb ->> 'name', k.conname)) = lower($2::text)
               UNION ALL
               SELECT c.oid::bigint, 'default' FROM pg_class c
                 JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid > 0
                WHERE c.relnamespace = $1::regnamespace
                  AND lower(d.description::jsonb -> 'default' ->> 'name') = lower($2::text)""",
            (quote(pg_schema), old),
        )
        if not rows:
            return False
        table = self._session.catalog.info_by_id(int(rows[0][0] or 0))
        assert table is not None
        what = rows[0][1] or ""
        if what == "index":
            self.rename_index(table, old, new)
        elif what == "default":
            for column in table.columns:
                if column.default and column.default.name.lower() == old.lower():
                    column.default.name = new
                    self._run([self._column_comment(table, column)])
        else:
            description = self._session.link.rows(
                "SELECT d.description FROM pg_constraint k JOIN pg_description d ON d.objoid = k.oid "
                "AND d.classoid = 'pg_constraint'::regclass WHERE k.conrelid = $1::oid AND k.conname = $2",
                (table.object_id, what),
            )
            meta = json.loads(description[0][0] or "{}") if description else {}
            target = pg_name(new)
            self._run(
                [
                    f"ALTER TABLE {table.qualified} RENAME CONSTRAINT {quote(what)} TO {quote(target)}",
                    f"COMMENT ON CONSTRAINT {quote(target)} ON {table.qualified} "
                    f"IS {quote_literal(_json({**meta, 'name': new}))}",
                ]
            )
        self._session.schema_changed()
        return True

    def _could_not_create(self, error: SqlError) -> SqlError:
        """SQL Server reports the cause, then 1750."""
        self._session.report(error)
        return sql_error(1750)

    def _could_not_drop(self, error: SqlError) -> SqlError:
        """SQL Server reports the cause, then 3727."""
        self._session.report(error)
        return sql_error(3727)

    def _run(self, statements: Sequence[str]) -> None:
        with_time = [
            statement.replace('"created": "now"', f'"created": "{self._session.now()}"', 1)
            for statement in statements
        ]
        self._session.link.script(with_time)


def _type_group(data_type: SqlType) -> str:
    return "decimal" if data_type.name == "numeric" else data_type.name


def _needs_conversion(old: SqlType, new: SqlType) -> bool:
    """Whether values must be checked or changed although PostgreSQL's type stays the same."""
    if old == new:
        return False
    if old.name != new.name:
        return True
    if new.length is None or new.length == MAX:
        return False
    return old.length == MAX or (old.length or 0) > new.length or old.name in ("char", "nchar", "binary")


def _reaches_twice(start: str, edges: dict[str, list[tuple[str, bool]]]) -> bool:
    seen = {start}
    waiting = [start]
    while waiting:
        for child, goes_on in edges.get(waiting.pop(), ()):
            if child in seen:
                return True
            seen.add(child)
            if goes_on:
                waiting.append(child)
    return False
