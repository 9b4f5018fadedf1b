"""Which part of the package runs which statement of data definition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlserver_standin.engine import statements as st
from sqlserver_standin.engine.ddl.columns import Columns
from sqlserver_standin.engine.ddl.constraints import Constraints
from sqlserver_standin.engine.ddl.definer import Definer
from sqlserver_standin.engine.ddl.indexes import Indexes
from sqlserver_standin.engine.ddl.modules import Modules
from sqlserver_standin.engine.ddl.renames import Renames
from sqlserver_standin.engine.ddl.schemas import Schemas
from sqlserver_standin.engine.ddl.tables import Tables
from sqlserver_standin.errors import unsupported

if TYPE_CHECKING:
    from sqlserver_standin.engine.session import Session


class DataDefinition(Definer):
    """Runs the data definition statements of one session."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.indexes = Indexes(session)
        self.columns = Columns(session)
        self.constraints = Constraints(session, self.indexes, self.columns)
        self.tables = Tables(session, self.indexes, self.columns, self.constraints)
        self.modules = Modules(session)
        self.schemas = Schemas(session)
        self.renames = Renames(session, self.indexes)

    def run_statement(self, statement: st.Statement) -> None:
        """Any statement of data definition."""
        match statement:
            case st.CreateTable():
                self.tables.create(statement)
            case st.AlterTableAdd():
                self.tables.add_elements(statement)
            case st.AlterTableDrop():
                self.tables.drop_elements(statement)
            case st.AlterColumn():
                self.columns.alter(statement)
            case st.AlterTableCheck():
                self.constraints.switch(statement)
            case st.SwitchTrigger():
                self.modules.switch_trigger(statement)
            case st.CreateIndex():
                self.indexes.create(statement)
            case st.AlterIndex():
                self.indexes.alter(statement)
            case st.DropIndex():
                self.indexes.drop(statement)
            case st.TruncateTable():
                self.tables.truncate(statement)
            case st.CreateView():
                self.modules.create_view(statement)
            case st.CreateSchema():
                self.schemas.create_schema(statement)
            case st.TransferObject():
                self.schemas.transfer(statement)
            case st.CreateSequence():
                self.schemas.create_sequence(statement)
            case st.CreateProcedure():
                self.modules.create_procedure(statement)
            case st.CreateTrigger():
                self.modules.create_trigger(statement)
            case st.Drop():
                self._drop(statement)

    def _drop(self, statement: st.Drop) -> None:
        for name in statement.names:
            match statement.kind:
                case "TABLE":
                    self.tables.drop(name, if_exists=statement.if_exists)
                case "VIEW":
                    self.modules.drop_view(name, if_exists=statement.if_exists)
                case "SEQUENCE":
                    self.schemas.drop_sequence(name, if_exists=statement.if_exists)
                case "SCHEMA":
                    self.schemas.drop_schema(name[-1], if_exists=statement.if_exists)
                case "PROCEDURE":
                    self.modules.drop_procedure(name, if_exists=statement.if_exists)
                case "TRIGGER":
                    self.modules.drop_trigger(name, if_exists=statement.if_exists)
                case _:
                    raise unsupported(f"DROP {statement.kind}", statement.line)
