"""Views, stored procedures and triggers."""

from __future__ import annotations

import json
from typing import Any

from sqlserver_standin.engine import statements as st
from sqlserver_standin.engine.ddl.definer import Definer, comment
from sqlserver_standin.engine.metadata import ColumnInfo, TableInfo
from sqlserver_standin.engine.names import pg_name, quote
from sqlserver_standin.errors import sql_error, unsupported


class Modules(Definer):
    """Makes and drops views, procedures and triggers."""

    def create_view(self, statement: st.CreateView) -> None:
        schema, name = self.split(statement.name)
        existing = self._session.catalog.info(schema, name)
        pg_schema = self.target_schema(schema)
        if statement.mode == "CREATE" and (existing or self.objects_named(pg_schema, name)):
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
        self.run([*sql, *self.column_comments(view)])
        self._session.schema_changed()

    def drop_view(self, name: st.Name, *, if_exists: bool) -> None:
        view = self.find(name)
        if view is None or view.kind != "view":
            if view is not None:
                raise sql_error(3705, "VIEW", name[-1], name[-1], "table", "DROP TABLE")
            if if_exists:
                return
            raise sql_error(3701, "drop", "view", ".".join(name))
        self.run([f"DROP VIEW {view.qualified}", *self.forget_properties(view.object_id)])
        self._session.schema_changed()

    def find_procedure(self, name: st.Name) -> tuple[str, dict[str, Any]] | None:
        """The quoted PostgreSQL name and facts of a stored procedure."""
        schema, last = self.split(name)
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
        schema, name = self.split(statement.name)
        if name.startswith("#"):
            raise unsupported("temporary procedures", statement.line)
        pg_schema = self.target_schema(schema)
        existing = self.find_procedure(statement.name)
        if statement.mode == "ALTER" and existing is None:
            raise sql_error(208, ".".join(statement.name))
        if existing is None and self.objects_named(pg_schema, name):
            raise sql_error(2714, name)
        if existing is not None and statement.mode == "CREATE":
            raise sql_error(2714, name)
        target = existing[0] if existing else f"{quote(pg_schema)}.{quote(pg_name(name))}"
        self.run(
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
        self.run([f"DROP PROCEDURE {found[0]}"])
        self._session.schema_changed()

    def _find_trigger(self, name: st.Name) -> list[tuple[str, str]]:
        """(quoted table, PostgreSQL's trigger) of each trigger behind one of SQL Server's."""
        schema, last = self.split(name)
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
        schema, name = self.split(statement.name)
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
        self.run(sql)
        self._session.schema_changed()

    def drop_trigger(self, name: st.Name, *, if_exists: bool) -> None:
        found = self._find_trigger(name)
        if not found:
            if if_exists:
                return
            raise sql_error(3701, "drop", "trigger", ".".join(name))
        self.run([f"DROP TRIGGER {quote(trigger)} ON {table}" for table, trigger in found])
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

    def switch_trigger(self, statement: st.SwitchTrigger) -> None:
        table = self.table(statement.table, 8197)
        word = "ENABLE" if statement.enable else "DISABLE"
        if not statement.names:
            self.run([f"ALTER TABLE {table.qualified} {word} TRIGGER USER"])
        for name in statement.names:
            found = self._find_trigger((table.schema, name[-1]))
            if not found:
                raise sql_error(4920, name[-1], table.name)
            self.run([f"ALTER TABLE {target} {word} TRIGGER {quote(trigger)}" for target, trigger in found])
        self._session.schema_changed()
