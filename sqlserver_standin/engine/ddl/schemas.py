"""Schemas and sequences."""

from __future__ import annotations

from sqlserver_standin.engine import statements as st
from sqlserver_standin.engine.ddl.definer import Definer, comment
from sqlserver_standin.engine.names import pg_name, quote
from sqlserver_standin.errors import sql_error
from sqlserver_standin.types import SqlType


class Schemas(Definer):
    """Makes and drops schemas and sequences."""

    def create_schema(self, statement: st.CreateSchema) -> None:
        name = statement.name
        if self._session.catalog.schema_exists(name):
            raise sql_error(2714, name)
        target = pg_name(name)
        sql = [f"CREATE SCHEMA {quote(target)}"]
        if target != name:
            sql.append(comment("SCHEMA", quote(target), {"name": name}))
        self.run(sql)
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
        self.run([f"DROP SCHEMA {quote(found)}"])
        self._session.schema_changed()

    def create_sequence(self, statement: st.CreateSequence) -> None:
        schema, name = self.split(statement.name)
        options = statement.options
        if statement.alter:
            found = self._session.catalog.sequence(schema, name)
            if found is None:
                raise sql_error(15151, "alter", "sequence object", name)
            target, data_type = found
            command = f"ALTER SEQUENCE {target}"
        else:
            pg_schema = self.target_schema(schema)
            if self.objects_named(pg_schema, name):
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
        self.run(
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

    def drop_sequence(self, name: st.Name, *, if_exists: bool) -> None:
        schema, last = self.split(name)
        found = self._session.catalog.sequence(schema, last)
        if found is None:
            if if_exists:
                return
            raise sql_error(3701, "drop", "sequence object", ".".join(name))
        self.run([f"DROP SEQUENCE {found[0]}"])
        self._session.schema_changed()

    def transfer(self, statement: st.TransferObject) -> None:
        """ALTER SCHEMA … TRANSFER."""
        table = self.find(statement.table)
        if table is None:
            raise sql_error(15151, "find", "object", statement.table[-1])
        target = self._session.catalog.schema_exists(statement.schema)
        if target is None:
            raise sql_error(15151, "alter", "schema", statement.schema)
        if self.objects_named(target, table.name):
            raise sql_error(15530, "object", f"{statement.schema}.{table.name}")
        kind = "VIEW" if table.kind == "view" else "TABLE"
        self.run([f"ALTER {kind} {table.qualified} SET SCHEMA {quote(target)}"])
        self._session.schema_changed()
