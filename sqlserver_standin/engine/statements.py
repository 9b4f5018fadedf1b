"""The statements that the engine runs itself: control of flow, transactions, procedures and data definition."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.types import SqlType

Name = tuple[str, ...]


@dataclass(slots=True)
class Statement:
    """A statement of a batch; ``text`` is its source."""

    line: int = field(default=1, kw_only=True)
    text: str = field(default="", kw_only=True)


# -- control of flow -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Data(Statement):
    """SELECT, INSERT, UPDATE, DELETE or MERGE; the translator's. ``execute`` is the EXEC of INSERT … EXEC."""

    node: ast.Statement
    execute: Statement | None = None


@dataclass(slots=True)
class Declaration:
    """``DECLARE @name type [= value]``; ``table`` for a table variable."""

    name: str
    type: SqlType | None
    value: ast.Expression | None = None
    table: CreateTable | None = None


@dataclass(slots=True)
class Declare(Statement):
    items: tuple[Declaration, ...]


@dataclass(slots=True)
class SetVariable(Statement):
    name: str
    operator: str
    value: ast.Expression


@dataclass(slots=True)
class SetOption(Statement):
    """``SET <option> <value>``, both upper case, e.g. ("NOCOUNT", "ON")."""

    option: str
    value: str
    argument: ast.Expression | None = None


@dataclass(slots=True)
class SetIdentityInsert(Statement):
    table: Name
    on: bool


@dataclass(slots=True)
class Block(Statement):
    statements: tuple[Statement, ...]


@dataclass(slots=True)
class If(Statement):
    condition: ast.Condition
    then: Statement
    otherwise: Statement | None


@dataclass(slots=True)
class While(Statement):
    condition: ast.Condition
    body: Statement


@dataclass(slots=True)
class Break(Statement):
    pass


@dataclass(slots=True)
class Continue(Statement):
    pass


@dataclass(slots=True)
class Return(Statement):
    value: ast.Expression | None


@dataclass(slots=True)
class TryCatch(Statement):
    body: Block
    handler: Block


@dataclass(slots=True)
class Throw(Statement):
    """Without arguments it raises the caught error again."""

    arguments: tuple[ast.Expression, ...]


@dataclass(slots=True)
class RaisError(Statement):
    message: ast.Expression
    severity: ast.Expression
    state: ast.Expression
    arguments: tuple[ast.Expression, ...]
    options: tuple[str, ...]


@dataclass(slots=True)
class Print(Statement):
    value: ast.Expression


@dataclass(slots=True)
class WaitFor(Statement):
    """``kind`` is DELAY or TIME."""

    kind: str
    value: ast.Expression


@dataclass(slots=True)
class Argument:
    """An argument of EXEC; ``value`` None is DEFAULT."""

    name: str | None
    value: ast.Expression | None
    output: bool = False


@dataclass(slots=True)
class Execute(Statement):
    procedure: Name
    arguments: tuple[Argument, ...]
    status: str | None = None
    procedure_variable: str | None = None


@dataclass(slots=True)
class ExecuteString(Statement):
    parts: tuple[ast.Expression, ...]


@dataclass(slots=True)
class Use(Statement):
    database: str


# -- transactions --------------------------------------------------------------------------------------------


@dataclass(slots=True)
class BeginTransaction(Statement):
    name: str | None = None


@dataclass(slots=True)
class CommitTransaction(Statement):
    name: str | None = None


@dataclass(slots=True)
class RollbackTransaction(Statement):
    name: str | None = None


@dataclass(slots=True)
class SaveTransaction(Statement):
    name: str


# -- data definition -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Source:
    """An expression or condition of a definition with its source text, which the catalog shows."""

    node: ast.Node
    text: str


@dataclass(slots=True)
class Constraint:
    """A constraint of a column or table. ``kind``: PRIMARY KEY, UNIQUE, FOREIGN KEY, CHECK or DEFAULT."""

    kind: str
    name: str | None
    columns: tuple[tuple[str, bool], ...] = ()
    clustered: bool | None = None
    reference: Name = ()
    reference_columns: tuple[str, ...] = ()
    on_delete: str = "NO ACTION"
    on_update: str = "NO ACTION"
    source: Source | None = None
    for_column: str | None = None
    with_values: bool = False
    line: int = 1


@dataclass(slots=True)
class ColumnDefinition:
    name: str
    type: SqlType | None
    nullable: bool | None = None
    identity: tuple[int, int] | None = None
    computed: Source | None = None
    persisted: bool = False
    constraints: tuple[Constraint, ...] = ()
    line: int = 1


@dataclass(slots=True)
class IndexDefinition:
    name: str
    columns: tuple[tuple[str, bool], ...]
    unique: bool = False
    clustered: bool = False
    include: tuple[str, ...] = ()
    where: Source | None = None


@dataclass(slots=True)
class CreateTable(Statement):
    name: Name
    columns: tuple[ColumnDefinition, ...]
    constraints: tuple[Constraint, ...] = ()
    indexes: tuple[IndexDefinition, ...] = ()


@dataclass(slots=True)
class AlterTableAdd(Statement):
    table: Name
    columns: tuple[ColumnDefinition, ...]
    constraints: tuple[Constraint, ...]
    check_existing: bool | None = None


@dataclass(slots=True)
class AlterTableDrop(Statement):
    """``items``: (COLUMN or CONSTRAINT, name, IF EXISTS)."""

    table: Name
    items: tuple[tuple[str, str, bool], ...]


@dataclass(slots=True)
class AlterColumn(Statement):
    table: Name
    column: str
    type: SqlType
    nullable: bool | None


@dataclass(slots=True)
class AlterTableCheck(Statement):
    """[WITH CHECK | NOCHECK] CHECK | NOCHECK CONSTRAINT ALL | names (``names`` empty: ALL)."""

    table: Name
    enable: bool
    check_existing: bool
    names: tuple[str, ...]


@dataclass(slots=True)
class SwitchTrigger(Statement):
    """ENABLE or DISABLE TRIGGER ALL | names ON table (``names`` empty: ALL)."""

    table: Name
    enable: bool
    names: tuple[Name, ...]


@dataclass(slots=True)
class CreateIndex(Statement):
    table: Name
    index: IndexDefinition
    drop_existing: bool = False


@dataclass(slots=True)
class AlterIndex(Statement):
    """ALTER INDEX name | ALL ON table REBUILD | REORGANIZE | DISABLE."""

    table: Name
    index: str | None
    action: str


@dataclass(slots=True)
class DropIndex(Statement):
    items: tuple[tuple[str, Name], ...]
    if_exists: bool = False


@dataclass(slots=True)
class Drop(Statement):
    """DROP TABLE, VIEW, PROCEDURE, FUNCTION, TRIGGER, SEQUENCE, SCHEMA, DATABASE, LOGIN, USER, SYNONYM, TYPE."""

    kind: str
    names: tuple[Name, ...]
    if_exists: bool = False


@dataclass(slots=True)
class TruncateTable(Statement):
    table: Name


@dataclass(slots=True)
class CreateView(Statement):
    name: Name
    columns: tuple[str, ...]
    query: ast.SelectStatement
    query_text: str
    mode: str = "CREATE"


@dataclass(slots=True)
class ProcedureParameter:
    name: str
    type: SqlType
    default: ast.Expression | None = None
    output: bool = False


@dataclass(slots=True)
class CreateProcedure(Statement):
    name: Name
    parameters: tuple[ProcedureParameter, ...]
    body: tuple[Statement, ...]
    mode: str = "CREATE"


@dataclass(slots=True)
class CreateTrigger(Statement):
    name: Name
    table: Name
    timing: str
    events: tuple[str, ...]
    body: tuple[Statement, ...]
    mode: str = "CREATE"


@dataclass(slots=True)
class CreateSchema(Statement):
    name: str


@dataclass(slots=True)
class TransferObject(Statement):
    """ALTER SCHEMA schema TRANSFER table."""

    schema: str
    table: Name


@dataclass(slots=True)
class CreateSequence(Statement):
    name: Name
    type: SqlType | None
    options: dict[str, int | bool | None]
    alter: bool = False


@dataclass(slots=True)
class CreateDatabase(Statement):
    name: str
    collation: str | None = None


@dataclass(slots=True)
class AlterDatabase(Statement):
    """``options``: (option, value) pairs, upper case; ``name`` None is CURRENT; ``rename`` for MODIFY NAME."""

    name: str | None
    options: tuple[tuple[str, str], ...] = ()
    rename: str | None = None
    collation: str | None = None


@dataclass(slots=True)
class AlterScopedConfiguration(Statement):
    """ALTER DATABASE SCOPED CONFIGURATION SET option = value; ``option`` None is CLEAR PROCEDURE_CACHE."""

    option: str | None = None
    value: str = ""


@dataclass(slots=True)
class CreateLogin(Statement):
    name: str
    password: str


@dataclass(slots=True)
class CreateUser(Statement):
    name: str
    login: str | None


@dataclass(slots=True)
class Permission(Statement):
    """GRANT, DENY or REVOKE; ``securable`` is None for the server or database."""

    action: str
    permissions: tuple[str, ...]
    securable: Name | None
    principals: tuple[str, ...]


@dataclass(slots=True)
class AlterRole(Statement):
    role: str
    member: str
    add: bool
    server: bool


@dataclass(slots=True)
class Dbcc(Statement):
    command: str
    arguments: tuple[ast.Expression | str, ...]
    options: tuple[str, ...]


@dataclass(slots=True)
class UpdateStatistics(Statement):
    table: Name


@dataclass(slots=True)
class Nothing(Statement):
    """A statement that has nothing to do here, such as CHECKPOINT."""


@dataclass(slots=True)
class Kill(Statement):
    session: int


def verb(statement: Statement) -> str:
    """The word by which messages and plans call a statement."""
    if isinstance(statement, Data):
        return {
            ast.InsertStatement: "INSERT",
            ast.UpdateStatement: "UPDATE",
            ast.DeleteStatement: "DELETE",
            ast.MergeStatement: "MERGE",
        }.get(type(statement.node), "SELECT")
    if isinstance(statement, (AlterTableAdd, AlterTableCheck, AlterColumn)):
        return "ALTER TABLE"
    return "SELECT"
