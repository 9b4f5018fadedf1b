"""Data definition as statements of a batch: permissions, transactions, databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sqlserver_standin.engine import statements as st
from sqlserver_standin.engine.frame import Frame
from sqlserver_standin.engine.procedures import Procedures
from sqlserver_standin.errors import sql_error, unsupported
from sqlserver_standin.events import (
    Done,
    Event,
)

if TYPE_CHECKING:
    from sqlserver_standin.engine.session import Session


# The statements of objects; each is all or nothing.
DEFINITIONS = (
    st.CreateTable,
    st.AlterTableAdd,
    st.AlterTableDrop,
    st.AlterColumn,
    st.AlterTableCheck,
    st.SwitchTrigger,
    st.CreateIndex,
    st.AlterIndex,
    st.DropIndex,
    st.TruncateTable,
    st.CreateView,
    st.CreateSchema,
    st.TransferObject,
    st.CreateSequence,
    st.CreateProcedure,
    st.CreateTrigger,
)
_COMMANDS: dict[type[st.Statement], str] = {
    st.CreateTable: "create table",
    st.AlterTableAdd: "alter table",
    st.AlterTableDrop: "alter table",
    st.AlterColumn: "alter table",
    st.AlterTableCheck: "alter table",
    st.CreateIndex: "create index",
    st.DropIndex: "drop index",
    st.TruncateTable: "truncate table",
    st.CreateView: "create view",
    st.CreateProcedure: "create procedure",
    st.CreateTrigger: "create trigger",
}


class DefinitionStatements:
    """Runs statements that define or change objects and databases."""

    def __init__(self, session: Session, procedures: Procedures) -> None:
        self._session = session
        self._procedures = procedures

    def define(self, statement: st.Statement, frame: Frame) -> Iterator[Event]:
        session = self._session
        if session.options.implicit_transactions and not session.transaction.count:
            yield from session.begin(None)
        if session.transaction.doomed:
            raise sql_error(3930)
        if not session.is_sysadmin:
            self._check_definition(statement)
        session.schema_touched()
        # All or nothing, though it takes several statements of PostgreSQL.
        own = not session.transaction.count
        if own:
            session.link.begin("READ COMMITTED")
        try:
            session.ddl.run_statement(statement)
        except BaseException:
            if own:
                session.link.end("ROLLBACK")
                session.schema_changed()
            raise
        if own:
            session.link.end("COMMIT")
            session.schema_changed(for_others=True)
        session.check_schema_version()
        yield Done(None, _COMMANDS.get(type(statement), ""))

    def _check_definition(self, statement: st.Statement) -> None:
        if isinstance(statement, st.CreateTable) and statement.name[-1].startswith("#"):
            return
        names: dict[type[st.Statement], str] = {
            st.CreateTable: "CREATE TABLE",
            st.CreateView: "CREATE VIEW",
            st.CreateProcedure: "CREATE PROCEDURE",
            st.CreateSchema: "CREATE SCHEMA",
        }
        self._session.require(names.get(type(statement), "ALTER"))

    def drop(self, statement: st.Drop, frame: Frame) -> Iterator[Event]:
        if statement.kind in ("LOGIN", "USER"):
            yield from self._procedures.security(statement, frame)
            return
        if statement.kind != "DATABASE":
            yield from self.define(statement, frame)
            return
        self._refuse_in_transaction("DROP DATABASE")
        for name in statement.names:
            if self._session.instance.database(name[-1]) is None and statement.if_exists:
                continue
            self._session.instance.drop_database(name[-1])
        yield Done(None, "drop database")

    def create_database(self, statement: st.CreateDatabase, frame: Frame) -> Iterator[Event]:
        self._refuse_in_transaction("CREATE DATABASE")
        if not self._session.is_sysadmin:
            raise sql_error(262, "CREATE DATABASE", "master")
        self._session.instance.create_database(statement.name, statement.collation)
        yield Done(None, "create database")

    def alter_database(self, statement: st.AlterDatabase, frame: Frame) -> Iterator[Event]:
        self._refuse_in_transaction("ALTER DATABASE")
        session = self._session
        name = statement.name or session.database
        database = session.instance.database(name)
        if database is None:
            session.report(sql_error(5011, name))
            raise sql_error(5069)
        facts: dict[str, Any] = {}
        if statement.rename is not None:
            facts["name"] = statement.rename
        if statement.collation is not None:
            facts["collation"] = statement.collation
        for option, value in statement.options:
            match option:
                case "READ_COMMITTED_SNAPSHOT":
                    facts["rcsi"] = value == "ON"
                case "ALLOW_SNAPSHOT_ISOLATION":
                    facts["snapshot"] = value == "ON"
                case "SINGLE_USER" | "RESTRICTED_USER":
                    session.instance.end_sessions(database.name, session)
                case "COMPATIBILITY_LEVEL":
                    most = session.instance.release.compatibility_level
                    if value not in ("170", "160", "150", "140", "130") or int(value) > most:
                        raise unsupported(f"compatibility level {value}", statement.line)
                    facts["compatibility_level"] = int(value)
                case "QUERY_STORE":
                    facts["query_store"] = value == "ON"
                case "RECOVERY" | "MULTI_USER" | "AUTO_CLOSE" | "AUTO_SHRINK" | "ANSI_NULLS" | "PAGE_VERIFY":
                    # About storage, or about what is so already.
                    pass
                case _:
                    raise unsupported(f"ALTER DATABASE ... SET {option}", statement.line)
        if facts:
            session.instance.change_database(database, **facts)
            # What the compatibility level allows is translated, and refused, anew.
            session.instance.schema_changed(database.name)
        yield Done(None, "alter database")

    def alter_scoped_configuration(
        self, statement: st.AlterScopedConfiguration, frame: Frame
    ) -> Iterator[Event]:
        """https://learn.microsoft.com/sql/t-sql/statements/alter-database-scoped-configuration-transact-sql"""
        session = self._session
        session.require("ALTER ANY DATABASE SCOPED CONFIGURATION")
        if session.transaction.count:
            raise unsupported("ALTER DATABASE SCOPED CONFIGURATION in a transaction", statement.line)
        if statement.option is not None:
            if statement.option != "LAST_QUERY_PLAN_STATS" or statement.value not in ("ON", "OFF"):
                what = f"{statement.option} = {statement.value}"
                raise unsupported(f"ALTER DATABASE SCOPED CONFIGURATION SET {what}", statement.line)
            session.instance.change_database(
                session.database_facts, last_query_plan_stats=statement.value == "ON"
            )
        # Whatever it sets, it clears the database's part of the plan cache.
        session.instance.plan_cache.clear(session.database)
        yield Done(None, "alter database scoped configuration")

    def _refuse_in_transaction(self, what: str) -> None:
        if self._session.transaction.count:
            raise sql_error(226, what)

    def update_statistics(self, statement: st.UpdateStatistics, frame: Frame) -> Iterator[Event]:
        table = self._session.ddl.table(statement.table, 2706)
        self._session.link.execute(f"ANALYZE {table.qualified}")
        return
        yield
