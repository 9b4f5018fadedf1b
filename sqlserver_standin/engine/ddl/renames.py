"""What sp_rename does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlserver_standin.engine.ddl.definer import Definer, comment, json_text
from sqlserver_standin.engine.ddl.indexes import Indexes
from sqlserver_standin.engine.metadata import TableInfo
from sqlserver_standin.engine.names import pg_name, quote, quote_literal
from sqlserver_standin.errors import sql_error

if TYPE_CHECKING:
    from sqlserver_standin.engine.session import Session


class Renames(Definer):
    """Gives objects another name."""

    def __init__(self, session: Session, indexes: Indexes) -> None:
        super().__init__(session)
        self._indexes = indexes

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
        self.run([*sql, self.column_comment(table, column)])
        self._session.schema_changed()

    def rename_table(self, table: TableInfo, new: str) -> None:
        if new.lower() != table.name.lower() and self.objects_named(table.pg_schema, new):
            raise sql_error(15335, new, "object")
        target = pg_name(new)
        kind = "VIEW" if table.kind == "view" else "TABLE"
        meta = {**table.meta, "name": new}
        sql = [] if target == table.pg_name else [f"ALTER {kind} {table.qualified} RENAME TO {quote(target)}"]
        self.run([*sql, comment(kind, f"{quote(table.pg_schema)}.{quote(target)}", meta)])
        self._session.schema_changed()

    def rename_index(self, table: TableInfo, old: str, new: str) -> None:
        found = self._indexes.find_index(table, old)
        assert found is not None
        relation, meta = found
        if new.lower() != old.lower() and self._indexes.find_index(table, new) is not None:
            raise sql_error(15335, new, "INDEX")
        target = self._indexes.relation_name(table, new)
        source = f"{quote(table.pg_schema)}.{quote(relation)}"
        self.run(
            [
                f"ALTER INDEX {source} RENAME TO {quote(target)}",
                comment("INDEX", f"{quote(table.pg_schema)}.{quote(target)}", {**meta, "name": new}),
            ]
        )
        self._session.schema_changed()

    def rename_module(self, schema: str, old: str, new: str) -> bool:
        """A sequence, procedure or trigger; False when there is none of that name."""
        pg_schema = self._session.catalog.schema_exists(schema) or schema
        rows = self._session.link.rows(
            """SELECT 'SEQUENCE', c.relname, '', d.description
                 FROM pg_class c
                 JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0
                WHERE c.relkind = 'S' AND c.relnamespace = $1::regnamespace
                  AND lower(coalesce(d.description::jsonb ->> 'name', c.relname)) = lower($2::text)
               UNION ALL
               SELECT 'PROCEDURE', p.proname, '', d.description
                 FROM pg_proc p JOIN pg_description d ON d.objoid = p.oid AND d.classoid = 'pg_proc'::regclass
                WHERE p.prokind = 'p' AND p.pronamespace = $1::regnamespace
                  AND lower(coalesce(d.description::jsonb ->> 'name', p.proname)) = lower($2::text)
               UNION ALL
               SELECT 'TRIGGER', t.tgname, t.tgrelid::regclass::text, d.description
                 FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
                 JOIN pg_description d ON d.objoid = t.oid AND d.classoid = 'pg_trigger'::regclass
                WHERE c.relnamespace = $1::regnamespace AND lower(d.description::jsonb ->> 'name') = lower($2::text)""",
            (quote(pg_schema), old),
        )
        if not rows:
            return False
        if new.lower() != old.lower() and self.objects_named(pg_schema, new):
            raise sql_error(15335, new, "object")
        for kind, pg_old, table, description in rows:
            meta = {**json.loads(description or "{}"), "name": new}
            place = f" ON {table}" if table else ""
            # Each event of a trigger has a trigger of its own in PostgreSQL; its first is the one named like it.
            pg_new = pg_name(new) if meta.get("main", True) else pg_name(new, pg_old or "")
            source = quote(pg_old or "") if table else f"{quote(pg_schema)}.{quote(pg_old or '')}"
            target = quote(pg_new) if table else f"{quote(pg_schema)}.{quote(pg_new)}"
            rename = [f"ALTER {kind} {source}{place} RENAME TO {quote(pg_new)}"] if pg_new != pg_old else []
            self.run([*rename, comment(kind or "", f"{target}{place}", meta)])
        self._session.schema_changed()
        return True

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
                    self.run([self.column_comment(table, column)])
        else:
            description = self._session.link.rows(
                "SELECT d.description FROM pg_constraint k JOIN pg_description d ON d.objoid = k.oid "
                "AND d.classoid = 'pg_constraint'::regclass WHERE k.conrelid = $1::oid AND k.conname = $2",
                (table.object_id, what),
            )
            meta = json.loads(description[0][0] or "{}") if description else {}
            target = pg_name(new)
            self.run(
                [
                    f"ALTER TABLE {table.qualified} RENAME CONSTRAINT {quote(what)} TO {quote(target)}",
                    f"COMMENT ON CONSTRAINT {quote(target)} ON {table.qualified} "
                    f"IS {quote_literal(json_text({**meta, 'name': new}))}",
                ]
            )
        self._session.schema_changed()
        return True
