"""What PostgreSQL reports, as the error that SQL Server would report."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from sqlserver_standin.engine.link import PostgresError
from sqlserver_standin.errors import sql_error, unsupported
from sqlserver_standin.events import SqlError

if TYPE_CHECKING:
    from sqlserver_standin.engine.session import Session

_KEY_DETAIL = re.compile(
    r"Key \((?P<columns>.*?)\)=\((?P<values>.*)\) (already exists|is duplicated)\.?$", re.DOTALL
)
_OUT_OF_RANGE = {
    "smallint out of range": "smallint",
    "integer out of range": "int",
    "bigint out of range": "bigint",
    "numeric field overflow": "numeric",
    "value out of range: overflow": "float",
    "value out of range: underflow": "float",
    '"NaN" is not a valid value': "float",
}

# Outside TRY these end the batch and roll the transaction back; inside TRY they doom it.
# https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-events-and-errors
ENDS_TRANSACTION = frozenset({235, 241, 242, 245, 293, 295, 8114, 8169, 1205, 3951, 3960, 3961})
# These end the batch only.
ENDS_BATCH = frozenset(
    {
        3609,
        102,
        137,
        156,
        195,
        207,
        208,
        213,
        3930,
        3952,
        4104,
        4121,
        8116,
        8120,
        8121,
        8124,
        8127,
        8161,
        40000,
    }
)
# After these SQL Server adds message 3621, "The statement has been terminated."
TERMINATES_STATEMENT = frozenset({220, 334, 512, 515, 547, 2601, 2627, 2628, 8115, 8134, 8152, 8672})


def duplicate_values(detail: str) -> str:
    """The values of a duplicate key as SQL Server lists them."""
    match = _KEY_DETAIL.search(detail)
    if match is None:
        return ""
    return ", ".join("<NULL>" if value == "null" else value for value in match["values"].split(", "))


def session_lost() -> SqlError:
    """Another session ended this one, or PostgreSQL did."""
    return SqlError(
        596, "Cannot continue the execution because the session is in the kill state.", severity=21
    )


class Failures:
    """Maps the failures of one session; it may ask the catalog, so the failed statement must be undone before."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def describe(self, error: PostgresError, command: str) -> SqlError:
        """``command`` is the T-SQL statement's verb, which some messages name."""
        state = error.sqlstate
        if state == "TS000":
            number, severity, error_state = [*error.detail.split(), "16", "1"][:3]
            return SqlError(int(number), error.message, severity=int(severity), state=int(error_state))
        match state:
            case "23505":
                return self._duplicate(error)
            case "23502":
                return self._null(error, command)
            case "23503":
                return self.foreign_key(error, command)
            case "23514":
                return self.check(error, command)
            case "22012":
                return sql_error(8134)
            case "22003":
                kind = next(
                    (name for text, name in _OUT_OF_RANGE.items() if text in error.message), "numeric"
                )
                if "double precision" in error.message:
                    kind = "float"
                return sql_error(8115, "expression", kind)
            case "40P01":
                return sql_error(1205, self._session.spid)
            case "40001":
                return self._conflict(error)
            case "55P03":
                return sql_error(1222)
            case "57014":
                return sql_error(3617)
            case "21000":
                return (
                    sql_error(8672)
                    if "MERGE" in error.message or "affect row" in error.message
                    else sql_error(512)
                )
            case "22007" | "22008":
                return sql_error(241)
            case "22P02":
                return self._invalid_text(error)
            case "08006" | "57P01" | "57P02":
                return session_lost()
            case "54001":
                return SqlError(
                    8631,
                    "Internal error: Server stack limit has been reached. Please look for potentially deep nesting in "
                    "your query, and try to simplify it.",
                    severity=17,
                )
        return unsupported(f"PostgreSQL refused the translated statement ({state}: {error.message})")

    def _duplicate(self, error: PostgresError) -> SqlError:
        rows = self._session.link.rows(
            """SELECT coalesce(xd.description::jsonb ->> 'kind', 'INDEX'),
                      coalesce(xd.description::jsonb ->> 'name', x.relname),
                      n.nspname, coalesce(td.description::jsonb ->> 'name', t.relname)
                 FROM pg_class x JOIN pg_index i ON i.indexrelid = x.oid JOIN pg_class t ON t.oid = i.indrelid
                 JOIN pg_namespace n ON n.oid = t.relnamespace
                 LEFT JOIN pg_description xd ON xd.objoid = x.oid AND xd.classoid = 'pg_class'::regclass
                 LEFT JOIN pg_description td ON td.objoid = t.oid AND td.classoid = 'pg_class'::regclass
                                               AND td.objsubid = 0
                WHERE x.relname = $1::name AND n.nspname = $2::name""",
            (error.constraint, error.schema),
        )
        kind, name, schema, table = (
            rows[0] if rows else ("INDEX", error.constraint, error.schema, error.table)
        )
        object_name = f"{schema}.{table}" if not (schema or "").startswith("pg_temp") else f"dbo.{table}"
        values = duplicate_values(error.detail)
        if kind == "INDEX":
            return sql_error(2601, object_name, name, values)
        label = "PRIMARY KEY" if kind == "PRIMARY KEY" else "UNIQUE KEY"
        return sql_error(2627, label, name, object_name, values)

    def _real_names(self, schema: str, table: str) -> tuple[str, str]:
        rows = self._session.link.rows(
            """SELECT coalesce(d.description::jsonb ->> 'name', c.relname)
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 LEFT JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass
                                               AND d.objsubid = 0
                WHERE c.relname = $1::name AND n.nspname = $2::name""",
            (table, schema),
        )
        return ("dbo" if schema.startswith("pg_temp") else schema), (rows[0][0] or table) if rows else table

    def _null(self, error: PostgresError, command: str) -> SqlError:
        info = self._session.catalog.info(
            None if error.schema.startswith("pg_temp") else error.schema, error.table
        )
        schema, table = self._real_names(error.schema, error.table)
        column = error.column
        if info is not None:
            column = next((c.name for c in info.columns if c.pg_name == error.column), column)
        database = "tempdb" if error.schema.startswith("pg_temp") else self._session.database
        return sql_error(515, column, f"{database}.{schema}.{table}", command.upper())

    def foreign_key(self, error: PostgresError, command: str) -> SqlError:
        """547, from either side of the reference."""
        from_child = error.message.startswith("insert or update on table")
        rows = self._session.link.rows(
            """SELECT coalesce(kd.description::jsonb ->> 'name', k.conname),
                      n.nspname, coalesce(td.description::jsonb ->> 'name', t.relname),
                      CASE WHEN cardinality(cols.attnums) = 1
                           THEN coalesce(ad.description::jsonb ->> 'name', a.attname) END,
                      k.confrelid = k.conrelid
                 FROM pg_constraint k
                 JOIN pg_class child ON child.oid = k.conrelid
                 JOIN pg_namespace cn ON cn.oid = child.relnamespace
                 CROSS JOIN LATERAL (SELECT CASE WHEN $4::bool THEN k.confrelid ELSE k.conrelid END AS oid,
                                            CASE WHEN $4::bool THEN k.confkey ELSE k.conkey END AS attnums) cols
                 JOIN pg_class t ON t.oid = cols.oid
                 JOIN pg_namespace n ON n.oid = t.relnamespace
                 JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = cols.attnums[1]
                 LEFT JOIN pg_description ad ON ad.objoid = t.oid AND ad.classoid = 'pg_class'::regclass
                                               AND ad.objsubid = a.attnum
                 LEFT JOIN pg_description td ON td.objoid = t.oid AND td.classoid = 'pg_class'::regclass
                                               AND td.objsubid = 0
                 LEFT JOIN pg_description kd ON kd.objoid = k.oid AND kd.classoid = 'pg_constraint'::regclass
                WHERE k.conname = $1::name AND child.relname = $2::name AND cn.nspname = $3::name""",
            (error.constraint, error.table, error.schema, "t" if from_child else "f"),
        )
        if not rows:
            # The constraint was being added: it is not there any more.
            return self._new_foreign_key(error, command)
        name, schema, table, column, same_table = rows[0]
        if same_table == "t":
            kind = "FOREIGN KEY SAME TABLE" if from_child else "SAME TABLE REFERENCE"
        else:
            kind = "FOREIGN KEY" if from_child else "REFERENCE"
        where = f", column '{column}'" if column else ""
        return sql_error(547, command.upper(), kind, name, self._session.database, f"{schema}.{table}", where)

    def _new_foreign_key(self, error: PostgresError, command: str) -> SqlError:
        detail = re.search(r'is not present in table "(.*)"', error.detail)
        table = detail[1] if detail else error.table
        referenced = re.search(r'REFERENCES "([^"]*)"\."[^"]*" \("([^",]*)"\)', error.sql)
        schema, where = ("dbo", "") if referenced is None else (referenced[1], f", column '{referenced[2]}'")
        return sql_error(
            547,
            command.upper(),
            "FOREIGN KEY",
            error.constraint,
            self._session.database,
            f"{schema}.{table}",
            where,
        )

    def check(self, error: PostgresError, command: str) -> SqlError:
        """547 for a CHECK constraint."""
        rows = self._session.link.rows(
            """SELECT kd.description, CASE WHEN cardinality(k.conkey) = 1
                           THEN coalesce(ad.description::jsonb ->> 'name', a.attname) END
                 FROM pg_constraint k
                 JOIN pg_class t ON t.oid = k.conrelid
                 JOIN pg_namespace n ON n.oid = t.relnamespace
                 LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.conkey[1]
                 LEFT JOIN pg_description ad ON ad.objoid = t.oid AND ad.classoid = 'pg_class'::regclass
                                               AND ad.objsubid = a.attnum
                 LEFT JOIN pg_description kd ON kd.objoid = k.oid AND kd.classoid = 'pg_constraint'::regclass
                WHERE k.conname = $1::name AND t.relname = $2::name AND n.nspname = $3::name""",
            (error.constraint, error.table, error.schema),
        )
        description, column = rows[0] if rows else (None, None)
        name = json.loads(description or "{}").get("name", error.constraint)
        schema, table = self._real_names(error.schema, error.table)
        where = f", column '{column}'" if column else ""
        return sql_error(
            547, command.upper(), "CHECK", name, self._session.database, f"{schema}.{table}", where
        )

    def _conflict(self, error: PostgresError) -> SqlError:
        """A serialization failure: an update conflict under SNAPSHOT, else what SQL Server ends by a deadlock."""
        if self._session.transaction_isolation == "SNAPSHOT":
            # PostgreSQL does not name it.
            return sql_error(3960, self._session.activity.table, self._session.database)
        return sql_error(1205, self._session.spid)

    @staticmethod
    def _invalid_text(error: PostgresError) -> SqlError:
        match = re.match(r'invalid input syntax for type (.+?): "(.*)"$', error.message, re.DOTALL)
        if match is None:
            return sql_error(8114, "nvarchar", "numeric")
        kind, value = match.groups()
        if kind == "uuid":
            return sql_error(8169)
        if kind in ("integer", "smallint", "bigint", "boolean"):
            name = {"integer": "int", "boolean": "bit"}.get(kind, kind)
            return sql_error(245, "nvarchar", value, name)
        return sql_error(8114, "nvarchar", {"double precision": "float"}.get(kind, kind))
