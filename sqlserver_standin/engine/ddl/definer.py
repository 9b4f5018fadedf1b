"""What all data definition shares: names, the statements of PostgreSQL, and the facts kept in comments."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlserver_standin.engine import statements as st
from sqlserver_standin.engine.metadata import ColumnInfo, TableInfo
from sqlserver_standin.engine.names import quote, quote_literal
from sqlserver_standin.errors import sql_error, unsupported
from sqlserver_standin.events import SqlError
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.types import SqlType

if TYPE_CHECKING:
    from sqlserver_standin.engine.session import Session


def json_text(meta: dict[str, Any]) -> str:
    """Without escapes, so that names can be searched for in the text."""
    return json.dumps(meta, ensure_ascii=False)


def comment(kind: str, name: str, meta: dict[str, Any]) -> str:
    """The COMMENT that keeps an object's facts."""
    return f"COMMENT ON {kind} {name} IS {quote_literal(json_text(meta))}"


def system_name(prefix: str, *parts: str) -> str:
    """A constraint's name as SQL Server makes it up: ``PK__auth_use__3213E83F0B91BA14``."""
    if len(parts) == 1:
        return f"{prefix}__{parts[0][:8]:_<8}__{secrets.token_hex(8).upper()}"
    return f"{prefix}__{parts[0][:9]:_<9}__{parts[1][:5]:_<5}__{secrets.token_hex(4).upper()}"


class Definer:
    """Runs statements of data definition in one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def split(self, name: st.Name) -> tuple[str, str]:
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
        schema, last = self.split(name)
        return self._session.catalog.info(schema, last)

    def table(self, name: st.Name, number: int = 4902) -> TableInfo:
        """The table of that name; error ``number`` when there is none."""
        info = self.find(name)
        if info is None:
            raise sql_error(number, ".".join(part for part in name if part))
        return info

    def target_schema(self, schema: str) -> str:
        found = self._session.catalog.schema_exists(schema)
        if found is None or found == "sys":
            raise sql_error(2760, schema)
        return found

    def objects_named(self, pg_schema: str, name: str) -> bool:
        """Whether a table, view, sequence, procedure or constraint of that name is in the schema."""
        return self._session.catalog.is_taken(pg_schema, name)

    def create_name(self, table: TableInfo) -> str:
        return quote(table.pg_name) if table.pg_schema == "pg_temp" else table.qualified

    def column_comments(self, table: TableInfo) -> list[str]:
        return [self.column_comment(table, column) for column in table.columns]

    @staticmethod
    def column_comment(table: TableInfo, column: ColumnInfo) -> str:
        return f"COMMENT ON COLUMN {table.qualified}.{quote(column.pg_name)} IS {quote_literal(column.to_json())}"

    def expression(
        self, node: ast.Node, table: TableInfo | None, target: SqlType | None = None
    ) -> tuple[str, SqlType]:
        return self._session.translator.column_expression(node, table.to_table() if table else None, target)

    def could_not_create(self, error: SqlError) -> SqlError:
        """SQL Server reports the cause, then 1750."""
        self._session.report(error)
        return sql_error(1750)

    def could_not_drop(self, error: SqlError) -> SqlError:
        """SQL Server reports the cause, then 3727."""
        self._session.report(error)
        return sql_error(3727)

    def run(self, statements: Sequence[str]) -> None:
        with_time = [
            statement.replace('"created": "now"', f'"created": "{self._session.now()}"', 1)
            for statement in statements
        ]
        self._session.link.define(with_time)

    @staticmethod
    def forget_properties(object_id: int) -> list[str]:
        return [f"DELETE FROM sys_meta.extended_property WHERE major_id = {object_id}"]
