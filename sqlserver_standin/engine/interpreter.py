"""Runs the statements of a batch: control of flow, variables, TRY … CATCH, calls and transactions."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sqlserver_standin.engine import statements as st
from sqlserver_standin.engine import values
from sqlserver_standin.engine.batch import BatchParser, parse_batch
from sqlserver_standin.engine.binding import bind, fails_to_compile
from sqlserver_standin.engine.catalog import Table
from sqlserver_standin.engine.data_statements import DataStatements
from sqlserver_standin.engine.definition_statements import DEFINITIONS, DefinitionStatements
from sqlserver_standin.engine.evaluation import INT, NVARCHAR_MAX, Evaluator
from sqlserver_standin.engine.failures import ENDS_BATCH, ENDS_TRANSACTION, TERMINATES_STATEMENT
from sqlserver_standin.engine.frame import Frame
from sqlserver_standin.engine.link import PostgresError
from sqlserver_standin.engine.messages import Messages
from sqlserver_standin.engine.procedures import SECURITY_STATEMENTS, Procedures
from sqlserver_standin.engine.set_options import SetOptions
from sqlserver_standin.engine.statement_plans import StatementPlans
from sqlserver_standin.engine.statement_statistics import COMPILE_TIME, EXECUTION_TIME, Clock
from sqlserver_standin.errors import sql_error, text, unsupported
from sqlserver_standin.events import (
    Done,
    Event,
    Message,
    Parameter,
    ResultSet,
    ReturnStatus,
    ReturnValue,
    SqlError,
)
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.types import SqlType

if TYPE_CHECKING:
    from sqlserver_standin.engine.session import Session


MOST_NESTING = 32
CANCELLED = 3617


class BreakLoop(Exception):
    """BREAK."""


class ContinueLoop(Exception):
    """CONTINUE."""


class ReturnFromBatch(Exception):
    """RETURN, with the procedure's status."""

    def __init__(self, status: int = 0) -> None:
        super().__init__(status)
        self.status = status


class Interpreter:
    """Runs statements for one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._tries: list[int] = []
        """How deep the scopes are nested in which a TRY is open, outermost first."""
        self._evaluator = Evaluator(session)
        self.plans = StatementPlans(session, self._evaluator)
        data = DataStatements(session, self._evaluator, self.plans, self)
        procedures = Procedures(session, self._evaluator, self)
        definitions = DefinitionStatements(session, procedures)
        messages = Messages(session, self._evaluator)
        options = SetOptions(session, self._evaluator)
        self._handlers: dict[type[st.Statement], Callable[[Any, Frame], Iterator[Event]]] = {
            st.Data: data.run,
            st.Declare: self._declare,
            st.SetVariable: self._set_variable,
            st.SetOption: options.set_option,
            st.SetIdentityInsert: options.set_identity_insert,
            st.Return: self._return,
            st.Throw: messages.throw,
            st.RaisError: messages.raiserror,
            st.Print: messages.print,
            st.WaitFor: self._waitfor,
            st.Execute: procedures.execute,
            st.ExecuteString: self._execute_string,
            st.Use: self._use,
            st.BeginTransaction: self._begin,
            st.CommitTransaction: self._commit,
            st.RollbackTransaction: self._rollback,
            st.SaveTransaction: self._save,
            **dict.fromkeys(DEFINITIONS, definitions.define),
            st.Drop: definitions.drop,
            st.CreateDatabase: definitions.create_database,
            st.AlterDatabase: definitions.alter_database,
            st.AlterScopedConfiguration: definitions.alter_scoped_configuration,
            st.UpdateStatistics: definitions.update_statistics,
            st.Dbcc: procedures.dbcc,
            st.Kill: self._kill,
            st.Nothing: self._nothing,
            **dict.fromkeys(SECURITY_STATEMENTS, procedures.security),
        }

    def run_batch(self, statements: Sequence[st.Statement], frame: Frame) -> Iterator[Event]:
        """All statements; RETURN ends the batch."""
        bind(self._session, statements, frame)
        try:
            for statement in statements:
                yield from self.run(statement, frame)
        except ReturnFromBatch:
            pass
        finally:
            self._drop_table_variables(frame)

    def run(self, statement: st.Statement, frame: Frame) -> Iterator[Event]:
        """One statement. An error that ends the statement only is yielded, one that ends the batch is raised."""
        session = self._session
        session.check_cancelled()
        if isinstance(statement, _CONTROL):
            yield from self._control(statement, frame)
            return
        session.activity.statement = statement.text
        try:
            handler = self._handlers.get(type(statement))
            if handler is None:
                raise unsupported(type(statement).__name__, statement.line)
            events = handler(statement, frame)
            if not isinstance(statement, (st.Data, st.Declare)):
                events = self._ended(events)
            if session.options.statistics_time or isinstance(statement, st.SetOption):
                events = self._timed(statement, frame, events)
            yield from events
        except PostgresError as error:
            failure = session.describe_failure(error, st.verb(statement))
            failure.line = statement.line
            yield from self._failed(failure, statement, frame)
        except SqlError as error:
            if not error.placed:
                error.line = max(error.line, statement.line)
            yield from self._failed(error, statement, frame)
        else:
            session.last_error = 0

    def _ended(self, events: Iterator[Event]) -> Iterator[Event]:
        """Each statement but a declaration ends with a DONE; without it the next error would be this one's answer.

        https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/3c06f110-98bd-4d5b-b836-b1ba66452cb7
        """
        last: Event | None = None
        for last in events:
            yield last
        # Those of a procedure under NOCOUNT tell nothing and are left out.
        if not isinstance(last, Done) and not (self._session.nesting and self._session.options.nocount):
            yield Done()

    def _timed(self, statement: st.Statement, frame: Frame, events: Iterator[Event]) -> Iterator[Event]:
        """STATISTICS TIME: told after rows and their DONE, before the DONE of everything else."""
        clock = Clock(self._session.link)
        self._session.clocks.append(clock)
        last: Event | None = None
        answered_rows = isinstance(statement, (st.Execute, st.ExecuteString))
        try:
            for event in events:
                if last is not None:
                    yield last
                last = event
                answered_rows = answered_rows or isinstance(event, ResultSet)
        finally:
            self._session.clocks.pop()
        # SET STATISTICS TIME ON is the first statement that is told about, and OFF none any more.
        message: tuple[Event, ...] = ()
        if self._session.options.statistics_time and not isinstance(statement, st.Declare):
            message = (clock.message(EXECUTION_TIME, statement.line, frame.procedure),)
        final = () if last is None else (last,)
        yield from (*final, *message) if answered_rows else (*message, *final)

    def _failed(self, error: SqlError, statement: st.Statement, frame: Frame) -> Iterator[Event]:
        """Yield an error after which the batch goes on; raise one that is caught or ends the batch.

        https://learn.microsoft.com/sql/t-sql/statements/set-xact-abort-transact-sql
        """
        session = self._session
        options = session.options
        error.placed = True
        if frame.procedure and not error.procedure:
            error.procedure = frame.procedure
        session.last_error = error.number
        session.row_count = 0
        reported = session.take_reported()
        cancelled = error.number == CANCELLED
        raised = isinstance(statement, st.RaisError)
        ends_transaction = options.xact_abort and not raised
        if not isinstance(statement, st.Throw):
            ends_transaction = ends_transaction or error.number in ENDS_TRANSACTION
        if not cancelled and any(self._catches(error, nesting) for nesting in self._tries):
            if ends_transaction and session.transaction.count:
                session.doom()
                if error.number == 1205:
                    session.release_locks_of_victim()
            raise error
        yield from reported
        if ends_transaction and not cancelled and error.severity < 20:
            yield from session.roll_back_after_error()
        if error.uncompiled == session.nesting and not ends_transaction:
            # It ends its own scope; the caller goes on.
            raise error
        error.ends_batch = error.ends_batch or (
            ends_transaction
            or cancelled
            or error.severity >= 20
            or isinstance(statement, st.Throw)
            or (error.number in ENDS_BATCH and error.uncompiled is None)
        )
        if error.ends_batch:
            raise error
        yield error
        if error.number in TERMINATES_STATEMENT and st.verb(statement) != "SELECT":
            yield Message(3621, text(3621), line=error.line, procedure=error.procedure)

    @staticmethod
    def _catches(error: SqlError, nesting: int) -> bool:
        """Whether a TRY in a scope that is nested so deep sees the error."""
        return error.uncompiled is None or nesting < error.uncompiled

    # -- control of flow -------------------------------------------------------------------------------------

    def _control(self, statement: st.Statement, frame: Frame) -> Iterator[Event]:
        match statement:
            case st.Block():
                for inner in statement.statements:
                    yield from self.run(inner, frame)
            case st.If():
                holds = yield from self._condition(statement.condition, statement, frame)
                if holds is None:
                    return
                if holds:
                    yield from self.run(statement.then, frame)
                elif statement.otherwise is not None:
                    yield from self.run(statement.otherwise, frame)
            case st.While():
                yield from self._while(statement, frame)
            case st.Break():
                raise BreakLoop
            case st.Continue():
                raise ContinueLoop
            case st.TryCatch():
                yield from self._try_catch(statement, frame)

    def _condition(
        self, condition: ast.Condition, statement: st.Statement, frame: Frame
    ) -> Generator[Event, None, bool | None]:
        """Whether it holds; None when it failed."""
        try:
            translation = self._evaluator.predicate(condition, frame)
            result = self._evaluator.run(translation, frame)
            return bool(values.decode_one(self._session.link.transformer, result, SqlType("bit")))
        except PostgresError as error:
            failure = self._session.describe_failure(error, "SELECT")
        except SqlError as error:
            failure = error
        failure.line = max(failure.line, statement.line)
        yield from self._failed(failure, statement, frame)
        return None

    def _while(self, statement: st.While, frame: Frame) -> Iterator[Event]:
        while True:
            holds = yield from self._condition(statement.condition, statement, frame)
            if not holds:
                return
            try:
                yield from self.run(statement.body, frame)
            except BreakLoop:
                return
            except ContinueLoop:
                continue

    def _try_catch(self, statement: st.TryCatch, frame: Frame) -> Iterator[Event]:
        session = self._session
        self._tries.append(session.nesting)
        try:
            for inner in statement.body.statements:
                yield from self.run(inner, frame)
            return
        except SqlError as error:
            if error.number == CANCELLED or error.severity >= 20:
                raise
            if not self._catches(error, session.nesting):
                raise
            caught = error
        finally:
            self._tries.pop()
        session.errors.append(caught)
        try:
            for inner in statement.handler.statements:
                yield from self.run(inner, frame)
        finally:
            session.errors.pop()

    def _return(self, statement: st.Return, frame: Frame) -> Iterator[Event]:
        status = 0
        if statement.value is not None:
            status = self._evaluator.scalar(statement.value, frame, INT) or 0
        raise ReturnFromBatch(status)
        yield

    # -- variables -------------------------------------------------------------------------------------------

    def _declare(self, statement: st.Declare, frame: Frame) -> Iterator[Event]:
        for item in statement.items:
            if item.table is not None:
                pg_table = self._session.table_variable_name(item.name)
                info = self._session.ddl.tables.create(item.table, pg_table)
                assert info is not None
                loaded = self._session.catalog.table_variable(pg_table)
                table = (loaded or info).to_table()
                frame.tables[item.name] = Table(
                    "",
                    item.name,
                    table.pg_name,
                    "variable",
                    table.columns,
                    object_id=table.object_id,
                    identity_sequence=table.identity_sequence,
                )
                continue
            assert item.type is not None
            self._session.require_type(item.type)
            value = None if item.value is None else self._evaluator.scalar(item.value, frame, item.type)
            if item.name not in frame.types:
                frame.types = {**frame.types, item.name: item.type}
            frame.values[item.name] = value
        return
        yield

    def _drop_table_variables(self, frame: Frame) -> None:
        if frame.tables:
            names = [table.pg_name for name, table in frame.tables.items() if name.startswith("@")]
            frame.tables = {}
            for name in names:
                self._session.link.execute(f"DROP TABLE IF EXISTS {name}")

    def _set_variable(self, statement: st.SetVariable, frame: Frame) -> Iterator[Event]:
        self._evaluator.assign(statement.name, statement.value, frame, statement.operator)
        return
        yield

    # -- execution -------------------------------------------------------------------------------------------

    def call_by_name(self, procedure: str, parameters: Sequence[Parameter]) -> Iterator[Event]:
        """RPC by name: the parameters are variables of a frame, and passed on as arguments."""
        name = BatchParser(procedure).object_name()
        frame = Frame()
        arguments = []
        for position, parameter in enumerate(parameters):
            variable = f"@rpc_{position}"
            frame.types[variable] = parameter.type
            frame.values[variable] = parameter.value
            arguments.append(
                st.Argument(parameter.name.lower() or None, ast.Variable(variable), parameter.output)
            )
        statement = st.Execute(name, tuple(arguments), "@rpc_status")
        frame.types["@rpc_status"] = INT
        frame.values["@rpc_status"] = 0
        yield from self.run(statement, frame)
        yield ReturnStatus(int(frame.values["@rpc_status"] or 0))
        for position, parameter in enumerate(parameters):
            if parameter.output:
                yield ReturnValue(
                    Parameter(parameter.name, parameter.type, frame.values[f"@rpc_{position}"], output=True)
                )

    def _execute_string(self, statement: st.ExecuteString, frame: Frame) -> Iterator[Event]:
        parts = [self._evaluator.scalar(part, frame, NVARCHAR_MAX) for part in statement.parts]
        sql = "".join("" if part is None else str(part) for part in parts)
        yield from self.run_text(sql, Frame())

    def run_text(self, sql: str, frame: Frame) -> Iterator[Event]:
        """A batch inside a batch: its own variables and its own compilation."""
        session = self._session
        if session.nesting >= MOST_NESTING:
            raise sql_error(217, MOST_NESTING)
        session.nesting += 1
        database = session.database
        try:
            try:
                statements = yield from self.compile(sql)
            except SqlError as error:
                fails_to_compile(error, session.nesting)
                raise
            yield from self.run_batch(statements, frame)
        finally:
            session.nesting -= 1
            if session.database != database:
                # USE inside lasts as long as the inner batch.
                for _ in session.use(database):
                    pass

    def compile(self, sql: str, procedure: str = "") -> Generator[Event, None, tuple[st.Statement, ...]]:
        """The statements of a batch or module; STATISTICS TIME tells how long that took."""
        if not self._session.options.statistics_time:
            return parse_batch(sql)
        clock = Clock(self._session.link)
        statements = parse_batch(sql)
        if statements:
            yield clock.message(COMPILE_TIME, statements[-1].line, procedure)
        return statements

    def run_module(self, body: Sequence[st.Statement], frame: Frame) -> Generator[Event, None, int]:
        """A procedure's body; returns its status."""
        session = self._session
        if session.nesting >= MOST_NESTING:
            raise sql_error(217, MOST_NESTING)
        session.nesting += 1
        nocount = session.options.nocount
        before = session.transaction.count
        status = 0
        try:
            bind(session, body, frame)
            for statement in body:
                yield from self.run(statement, frame)
        except ReturnFromBatch as end:
            status = end.status
        finally:
            session.nesting -= 1
            # SET options of a procedure last as long as it runs.
            session.options.nocount = nocount
            self._drop_table_variables(frame)
        if (
            session.transaction.count != before
            and not session.transaction.doomed
            and not session.trigger_depth
        ):
            yield sql_error(266, before, session.transaction.count)
        return status

    # -- transactions ----------------------------------------------------------------------------------------

    def _begin(self, statement: st.BeginTransaction, frame: Frame) -> Iterator[Event]:
        yield from self._session.begin(self._transaction_name(statement.name, frame))

    def _commit(self, statement: st.CommitTransaction, frame: Frame) -> Iterator[Event]:
        yield from self._session.commit()

    def _rollback(self, statement: st.RollbackTransaction, frame: Frame) -> Iterator[Event]:
        yield from self._session.rollback(self._transaction_name(statement.name, frame))

    def _save(self, statement: st.SaveTransaction, frame: Frame) -> Iterator[Event]:
        self._session.save(self._transaction_name(statement.name, frame) or "")
        return
        yield

    @staticmethod
    def _transaction_name(name: str | None, frame: Frame) -> str | None:
        if name is not None and name.startswith("@"):
            value = frame.values.get(name)
            return None if value is None else str(value)
        return name

    # -- the rest --------------------------------------------------------------------------------------------

    def _use(self, statement: st.Use, frame: Frame) -> Iterator[Event]:
        yield from self._session.use(statement.database)

    def _waitfor(self, statement: st.WaitFor, frame: Frame) -> Iterator[Event]:
        if statement.kind == "TIME":
            raise unsupported("WAITFOR TIME", statement.line)
        value = str(self._evaluator.scalar(statement.value, frame, SqlType("varchar", length=30)))
        match = re.fullmatch(r"(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)", value.strip())
        if match is None:
            raise sql_error(148, value, "WAITFOR")
        hours, minutes, seconds = (float(part or 0) for part in match.groups())
        self._session.wait(hours * 3600 + minutes * 60 + seconds)
        return
        yield

    def _kill(self, statement: st.Kill, frame: Frame) -> Iterator[Event]:
        for session in self._session.instance.sessions():
            if session.spid == statement.session and session is not self._session:
                session.kill()
                return
        raise sql_error(6106, statement.session)
        yield

    def _nothing(self, statement: st.Nothing, frame: Frame) -> Iterator[Event]:
        return
        yield


_CONTROL = (st.Block, st.If, st.While, st.Break, st.Continue, st.TryCatch)
