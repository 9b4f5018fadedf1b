"""Runs the statements of a batch: control of flow, variables, TRY … CATCH, and what each statement answers."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sqlserver_standin.engine import statements as st
from sqlserver_standin.engine import values
from sqlserver_standin.engine.batch import BatchParser, parse_batch
from sqlserver_standin.engine.catalog import Table
from sqlserver_standin.engine.definitions import declaration
from sqlserver_standin.engine.failures import ENDS_BATCH, ENDS_TRANSACTION, TERMINATES_STATEMENT
from sqlserver_standin.engine.frame import Frame
from sqlserver_standin.engine.link import PostgresError
from sqlserver_standin.engine.observation import ASKS_FOR_FACTS, QueryStatistics, publish
from sqlserver_standin.engine.procedures import Procedures
from sqlserver_standin.engine.showplan import COLUMN_NAME, PlannedStatement, Showplan
from sqlserver_standin.errors import sql_error, text, unsupported
from sqlserver_standin.events import (
    Column,
    Done,
    EnvironmentChange,
    Event,
    Message,
    Parameter,
    ResultSet,
    ReturnStatus,
    ReturnValue,
    SqlError,
)
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.expressions import descendants
from sqlserver_standin.tsql.translate import Translation
from sqlserver_standin.types import MAX, SqlType

if TYPE_CHECKING:
    from sqlserver_standin.engine.session import Session

MOST_NESTING = 32
_NVARCHAR_MAX = SqlType("nvarchar", length=MAX)
_INT = SqlType("int")
_FORMAT = re.compile(
    r"%(?P<flags>[-+ 0#]*)(?P<width>\d+|\*)?(\.(?P<precision>\d+|\*))?(?P<size>I64|[hl])?(?P<kind>[%diosuxX])"
)


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
        self._try_depth = 0
        self._catalog_only: dict[str, bool] = {}
        self._procedures = Procedures(session, self)

    # -- batches ---------------------------------------------------------------------------------------------

    def run_batch(self, statements: Sequence[st.Statement], frame: Frame) -> Iterator[Event]:
        """All statements; RETURN ends the batch."""
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
        if session.cancelled:
            raise sql_error(3617)
        if isinstance(statement, _CONTROL):
            yield from self._control(statement, frame)
            return
        session.activity.statement = statement.text
        try:
            handler = _HANDLERS.get(type(statement))
            if handler is None:
                raise unsupported(type(statement).__name__, statement.line)
            yield from handler(self, statement, frame)
        except PostgresError as error:
            failure = session.describe_failure(error, _verb(statement))
            failure.line = statement.line
            yield from self._failed(failure, statement, frame)
        except SqlError as error:
            if not getattr(error, "_placed", False):
                error.line = max(error.line, statement.line)
            yield from self._failed(error, statement, frame)
        else:
            session.last_error = 0

    def _failed(self, error: SqlError, statement: st.Statement, frame: Frame) -> Iterator[Event]:
        session = self._session
        error._placed = True  # type: ignore[attr-defined]
        if frame.procedure and not error.procedure:
            error.procedure = frame.procedure
        session.last_error = error.number
        session.row_count = 0
        reported = session.take_reported()
        caught = self._try_depth > 0 and error.number != 3617
        options = session.options
        if isinstance(statement, (st.Throw,)):
            ends_batch = True
            ends_transaction = options.xact_abort
        else:
            raised = isinstance(statement, st.RaisError)
            ends_transaction = error.number in ENDS_TRANSACTION or (options.xact_abort and not raised)
            ends_batch = ends_transaction or error.number in ENDS_BATCH or error.severity >= 20
        if isinstance(statement, (st.Execute, st.ExecuteString)) and getattr(error, "_ends", False):
            ends_batch = True
        if caught:
            if ends_transaction and session.transaction.count:
                session.doom()
                if error.number == 1205:
                    session.release_locks_of_victim()
            raise error
        yield from reported
        if ends_transaction and error.number != 3617:
            yield from session.roll_back_after_error()
        if ends_batch or error.number == 3617:
            error._ends = True  # type: ignore[attr-defined]
            raise error
        yield error
        if error.number in TERMINATES_STATEMENT and _verb(statement) != "SELECT":
            yield Message(3621, text(3621), line=error.line, procedure=error.procedure)

    # -- control of flow -------------------------------------------------------------------------------------

    def _control(self, statement: st.Statement, frame: Frame) -> Iterator[Event]:
        match statement:
            case st.Block():
                for inner in statement.statements:
                    yield from self.run(inner, frame)
            case st.If():
                holds, failure = self._condition(statement.condition, statement, frame)
                if failure is not None:
                    yield from self._failed(failure, statement, frame)
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
    ) -> tuple[bool, SqlError | None]:
        try:
            translation = self._session.translator.predicate(condition, self._context(frame))
            result = self._run_translation(translation, frame)
            return bool(values.decode_one(self._session.link.transformer, result, SqlType("bit"))), None
        except PostgresError as error:
            failure = self._session.describe_failure(error, "SELECT")
        except SqlError as error:
            failure = error
        failure.line = max(failure.line, statement.line)
        return False, failure

    def _while(self, statement: st.While, frame: Frame) -> Iterator[Event]:
        while True:
            holds, failure = self._condition(statement.condition, statement, frame)
            if failure is not None:
                yield from self._failed(failure, statement, frame)
                return
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
        self._try_depth += 1
        try:
            for inner in statement.body.statements:
                yield from self.run(inner, frame)
            return
        except SqlError as error:
            if error.number == 3617 or error.severity >= 20:
                raise
            caught = error
        finally:
            self._try_depth -= 1
        session.errors.append(caught)
        try:
            for inner in statement.handler.statements:
                yield from self.run(inner, frame)
        finally:
            session.errors.pop()

    def _return(self, statement: st.Return, frame: Frame) -> Iterator[Event]:
        status = 0
        if statement.value is not None:
            status = self.scalar(statement.value, frame, _INT) or 0
        raise ReturnFromBatch(status)
        yield

    # -- variables -------------------------------------------------------------------------------------------

    def _context(self, frame: Frame) -> Any:
        return self._session.context(frame.types, frame.tables)

    def scalar(self, expression: ast.Expression, frame: Frame, target: SqlType | None = None) -> Any:
        """The value of an expression outside a query."""
        constant = _constant(expression, target)
        if constant is not None:
            return constant[0]
        translation = self._session.translator.scalar(expression, self._context(frame), target)
        result = self._run_translation(translation, frame)
        return values.decode_one(
            self._session.link.transformer, result, target or translation.columns[0].type
        )

    def typed_scalar(self, expression: ast.Expression, frame: Frame) -> tuple[Any, SqlType]:
        """A value with its type."""
        translation = self._session.translator.scalar(expression, self._context(frame), None)
        result = self._run_translation(translation, frame)
        data_type = translation.columns[0].type
        return values.decode_one(self._session.link.transformer, result, data_type), data_type

    def _declare(self, statement: st.Declare, frame: Frame) -> Iterator[Event]:
        for item in statement.items:
            if item.table is not None:
                pg_table = self._session.table_variable_name(item.name)
                info = self._session.ddl.create_table(item.table, pg_table)
                assert info is not None
                loaded = self._session.catalog.info("", pg_table)
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
            value = None if item.value is None else self.scalar(item.value, frame, item.type)
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
            self._session.schema_changed(local=True)

    def _set_variable(self, statement: st.SetVariable, frame: Frame) -> Iterator[Event]:
        self.assign(statement.name, statement.value, frame, statement.operator)
        return
        yield

    def assign(self, name: str, value: ast.Expression, frame: Frame, operator: str = "=") -> None:
        """SET @name = value."""
        data_type = frame.types.get(name)
        if data_type is None:
            raise sql_error(137, name)
        if operator != "=":
            value = ast.Binary(operator[0], ast.Variable(name), value)
        frame.values[name] = self.scalar(value, frame, data_type)

    # -- data ------------------------------------------------------------------------------------------------

    def _parameters(
        self, translation: Translation, frame: Frame
    ) -> tuple[list[bytes | None], list[int] | None]:
        encoded: list[bytes | None] = []
        formats: list[int] = []
        for name in translation.parameters:
            if name in frame.values:
                value = frame.values[name]
            elif name == "scope_identity()":
                value = self._session.identity_value(frame.scope.identity_sequence)
            else:
                value = self._session.system_value(name)
            data, data_format = values.encode(value)
            encoded.append(data)
            formats.append(data_format)
        return encoded, formats if any(formats) else None

    def _run_translation(self, translation: Translation, frame: Frame) -> Any:
        encoded, formats = self._parameters(translation, frame)
        return self._session.link.execute(translation.sql, encoded, formats, translation.before)

    def _data(self, statement: st.Data, frame: Frame) -> Iterator[Event]:
        session = self._session
        if isinstance(statement.node, ast.InsertStatement) and statement.execute is not None:
            yield from self._insert_execute(statement, frame)
            return
        if session.options.implicit_transactions and not session.transaction.count:
            yield from session.begin(None)
        translation = session.translator.statement(statement.node, self._context(frame))
        if not session.is_sysadmin:
            self._check_permissions(statement, translation)
        if session.options.statistics_xml:
            session.require("SHOWPLAN")
            yield from self._with_actual_plan(statement, translation, frame)
            return
        if session.transaction.doomed and translation.kind != "select":
            raise sql_error(3930)
        if session.options.isolation == "SNAPSHOT":
            self._check_snapshot(statement)
        self._note_activity(statement, translation)
        if ASKS_FOR_FACTS.search(statement.text):
            publish(session, statement.text)
        if translation.kind == "select_into":
            yield from self._select_into(translation, frame)
            return
        if translation.kind == "select" and self._reads_catalog_only(statement):
            yield from self._run_and_answer(translation, frame, catalog_only=True)
        else:
            yield from self._answer(translation, frame)

    def _reads_catalog_only(self, statement: st.Data) -> bool:
        known = self._catalog_only.get(statement.text)
        if known is None:
            if len(self._catalog_only) > 4096:
                self._catalog_only.clear()
            names = [each.name for each in descendants(statement.node) if isinstance(each, ast.TableSource)]
            known = bool(names) and all(
                len(name) > 1 and name[-2].lower() in ("sys", "information_schema") for name in names
            )
            self._catalog_only[statement.text] = known
        return known

    def _answer(self, translation: Translation, frame: Frame) -> Iterator[Event]:
        table = translation.table
        if table is not None and self._fired(translation):
            yield from self._answer_with_triggers(translation, table, frame)
        else:
            yield from self._run_and_answer(translation, frame)

    @staticmethod
    def _fired(translation: Translation) -> list[str]:
        table = translation.table
        if (
            table is None
            or not table.triggers
            or translation.kind not in ("insert", "update", "delete", "merge")
        ):
            return []
        if translation.kind == "merge":
            return [event for event in ("insert", "update", "delete") if event in table.triggers]
        return [translation.kind] if translation.kind in table.triggers else []

    def _answer_with_triggers(self, translation: Translation, table: Table, frame: Frame) -> Iterator[Event]:
        """The statement and its triggers, all or nothing."""
        session = self._session
        own = not session.transaction.count
        if own:
            for event in session.begin(None):
                del event
        depth = session.trigger_depth
        session.set_setting("standin.trigger_depth", str(depth))
        savepoint = f"t_{depth}"
        session.link.savepoint(savepoint)
        count = session.transaction.count
        try:
            answer = list(self._run_and_answer(translation, frame))
            rows = session.row_count
            session.trigger_depth += 1
            # A trigger runs as with XACT_ABORT ON.
            xact_abort, session.options.xact_abort = session.options.xact_abort, True
            try:
                messages = list(self._run_triggers(translation, table, depth))
            finally:
                session.trigger_depth -= 1
                session.options.xact_abort = xact_abort
        except (SqlError, PostgresError):
            if session.transaction.count:
                session.link.rollback_to(savepoint)
                if own:
                    list(session.rollback(None))
            raise
        for message in messages:
            if not (own and isinstance(message, EnvironmentChange)):
                yield message
        if session.transaction.count < count:
            raise sql_error(3609)
        session.row_count = rows
        yield from answer
        if own:
            list(session.commit())

    def _run_triggers(self, translation: Translation, table: Table, depth: int) -> Iterator[Event]:
        session = self._session
        names = {kind: f'pg_temp."{kind}:{depth}:{table.object_id}"' for kind in ("inserted", "deleted")}
        tables = {
            kind: Table("", kind, pg_table, "variable", table.columns) for kind, pg_table in names.items()
        }
        for event in self._fired(translation):
            for definition in session.ddl.trigger_definitions(table.object_id, event.upper()):
                trigger = parse_batch(definition)[0]
                assert isinstance(trigger, st.CreateTrigger)
                inner = Frame(tables=dict(tables), procedure=trigger.name[-1])
                for each in self.run_module(trigger.body, inner):
                    if not isinstance(each, Done):
                        yield each
                if not session.transaction.count:
                    return
        session.link.execute(f"DROP TABLE IF EXISTS {names['inserted']}, {names['deleted']}")

    def _run_and_answer(
        self, translation: Translation, frame: Frame, *, catalog_only: bool = False
    ) -> Iterator[Event]:
        session = self._session
        started = time.perf_counter()
        if catalog_only:
            encoded, formats = self._parameters(translation, frame)
            result = session.link.execute_on_catalog(translation.sql, encoded, formats)
        else:
            result = self._run_translation(translation, frame)
        if translation.assignments:
            rows = values.decode(
                session.link.transformer, result, self._assignment_columns(translation, frame)
            )
            if rows:
                for name, value in zip(translation.assignments, rows[-1], strict=True):
                    frame.values[name] = value
            session.row_count = len(rows)
            yield Done(None, "select")
            return
        if translation.columns:
            rows = values.decode(session.link.transformer, result, translation.columns)
            count = len(rows)
            yield ResultSet(translation.columns, rows)
        elif translation.count_column:
            count = int(result.get_value(0, 0) or 0)
        else:
            count = result.command_tuples or 0
        session.row_count = count
        if translation.kind != "select":
            session.transaction.changed_rows += count
        elapsed = int((time.perf_counter() - started) * 1e6)
        session.instance.plan_cache.record(session, session.activity.statement, frame.types, elapsed, count)
        if translation.kind in ("insert", "merge") and count and translation.table is not None:
            self._remember_identity(translation, frame)
        yield Done(None if session.options.nocount else count, translation.kind)

    # -- plans -----------------------------------------------------------------------------------------------

    def show_plans(self, statements: Sequence[st.Statement], frame: Frame) -> Iterator[Event]:
        """A batch under SHOWPLAN_XML: planned, not run."""
        self._session.require("SHOWPLAN")
        planned: list[PlannedStatement] = []
        yield from self._plan_all(statements, frame, planned)
        if planned:
            yield _plan_result(self._showplan().estimated(planned))
            yield Done(1, "select")

    def _plan_all(
        self, statements: Sequence[st.Statement], frame: Frame, planned: list[PlannedStatement]
    ) -> Iterator[Event]:
        for statement in statements:
            match statement:
                case st.Data():
                    translation = self._session.translator.statement(statement.node, self._context(frame))
                    self._showplan().make_statistics(self._tables_of(statement.node))
                    planned.append(self._planned(statement, translation, frame))
                case st.Declare():
                    for item in statement.items:
                        if item.type is not None:
                            frame.types = {**frame.types, item.name: item.type}
                            frame.values[item.name] = None
                case st.Block():
                    yield from self._plan_all(statement.statements, frame, planned)
                case st.If():
                    branches = (statement.then, statement.otherwise)
                    yield from self._plan_all([each for each in branches if each is not None], frame, planned)
                case st.While():
                    yield from self._plan_all([statement.body], frame, planned)
                case st.TryCatch():
                    yield from self._plan_all([statement.body, statement.handler], frame, planned)
                case st.Use():
                    # The one statement that takes effect all the same.
                    yield from self._session.use(statement.database)

    def plan_of(self, entry: QueryStatistics) -> str | None:
        """The plan of a statement of the plan cache, as it would be compiled now."""
        try:
            statement = parse_batch(entry.statement)[0]
            if not isinstance(statement, st.Data):
                return None
            frame = Frame(dict(entry.parameter_types), dict.fromkeys(entry.parameter_types))
            translation = self._session.translator.statement(statement.node, self._context(frame))
            return self._showplan().estimated([self._planned(statement, translation, frame)])
        except (SqlError, PostgresError):
            # Its tables are gone, or were temporary ones of another session.
            return None

    def _showplan(self) -> Showplan:
        return Showplan(self._session)

    def _planned(self, statement: st.Data, translation: Translation, frame: Frame) -> PlannedStatement:
        return PlannedStatement(
            statement.text,
            _verb(statement),
            translation.sql,
            translation.parameters,
            {name: declaration(data_type) for name, data_type in frame.types.items()},
            frame.values,
            translation.before,
        )

    def _with_actual_plan(
        self, statement: st.Data, translation: Translation, frame: Frame
    ) -> Iterator[Event]:
        """STATISTICS XML: the statement's answer, then its plan with what each operator did.

        PostgreSQL gives a statement's rows or its plan, not both, so it runs twice; what the first run changed is
        undone before the second.
        """
        session = self._session
        own = not session.transaction.count
        self._showplan().make_statistics(self._tables_of(statement.node))
        encoded, formats = self._parameters(translation, frame)
        if own:
            session.link.begin("READ COMMITTED")
        try:
            session.link.savepoint("plan")
            result = session.link.execute(
                f"EXPLAIN (ANALYZE, VERBOSE, BUFFERS, FORMAT JSON) {translation.sql}",
                encoded,
                formats,
                translation.before,
            )
            plan = json.loads(result.get_value(0, 0) or b"[]")[0]
            session.link.rollback_to("plan")
        except PostgresError:
            if own:
                session.link.end("ROLLBACK")
            raise
        if own:
            session.link.end("ROLLBACK")
        if translation.kind == "select_into":
            yield from self._select_into(translation, frame)
        else:
            yield from self._answer(translation, frame)
        count = session.row_count
        yield _plan_result(self._showplan().actual(self._planned(statement, translation, frame), plan))
        yield Done(1, "select")
        session.row_count = count

    def _assignment_columns(self, translation: Translation, frame: Frame) -> list[Any]:
        return [Column(name, frame.types[name]) for name in translation.assignments]

    def _remember_identity(self, translation: Translation, frame: Frame) -> None:
        table = translation.table
        assert table is not None
        if table.identity_sequence is None:
            return
        session = self._session
        if session.identity_insert is not None and session.identity_insert.object_id == table.object_id:
            column = next(column for column in table.columns if column.identity)
            # The next value has to follow the greatest one, whoever gave it.
            session.link.execute(
                f"SELECT setval($1::regclass, greatest(max({column.pg_name}), (SELECT last_value FROM "
                f"{table.identity_sequence}))) FROM {table.pg_name}",
                [table.identity_sequence.encode()],
            )
        session.identity_sequence = frame.scope.identity_sequence = table.identity_sequence

    def _check_permissions(self, statement: st.Data, translation: Translation) -> None:
        target = translation.table
        if target is not None:
            for permission in {"merge": ("INSERT", "UPDATE", "DELETE")}.get(
                translation.kind, (translation.kind.upper(),)
            ):
                self._session.require_on(permission, target)
        for table in self._named_tables(statement.node):
            if target is None or table.object_id != target.object_id:
                self._session.require_on("SELECT", table)
        for call in descendants(statement.node):
            if isinstance(call, ast.Call) and call.name.lower().startswith(("dm_exec", "fn_xe")):
                self._session.require_on("SELECT", Table("sys", "dm_exec", "", "view", ()))

    def _check_snapshot(self, statement: st.Data) -> None:
        session = self._session
        table = self._first_table(statement.node)
        if table is None or table.schema in ("sys", "INFORMATION_SCHEMA"):
            return
        if session.transaction.count and session.transaction.isolation != "SNAPSHOT":
            raise sql_error(3951, session.database)
        if not session.database_facts.snapshot_isolation:
            raise sql_error(3952, session.database)

    def _note_activity(self, statement: st.Data, translation: Translation) -> None:
        """Which table a deadlock would be about."""
        activity = self._session.activity
        activity.statement = statement.text
        activity.transaction = self._session.transaction
        if not self._session.transaction.count:
            return
        table = translation.table or self._first_table(statement.node)
        if table is not None and table.object_id:
            activity.table = f"{table.schema}.{table.name}"
            activity.table_id = table.object_id
            activity.index = self._session.clustered_index(table.object_id)

    def _first_table(self, node: ast.Node) -> Table | None:
        return next(self._named_tables(node), None)

    def _named_tables(self, node: ast.Node) -> Iterator[Table]:
        for each in descendants(node):
            if isinstance(each, ast.TableSource) and not each.name[-1].startswith("@"):
                parts = (None, None, *each.name)[-3:]
                table = self._session.catalog.table(parts[0] or None, parts[1] or None, each.name[-1])
                if table is not None:
                    yield table

    def _tables_of(self, node: ast.Node) -> list[int]:
        return [table.object_id for table in self._named_tables(node) if table.kind == "table"]

    def _select_into(self, translation: Translation, frame: Frame) -> Iterator[Event]:
        assert translation.into is not None
        session = self._session
        columns = []
        seen: set[str] = set()
        for position, column in enumerate(translation.columns, 1):
            if not column.name:
                raise sql_error(1038)
            if column.name.lower() in seen:
                raise sql_error(2705, column.name, translation.into[-1])
            seen.add(column.name.lower())
            del position
            columns.append(
                st.ColumnDefinition(
                    column.name, column.type, column.nullable, (1, 1) if column.identity else None
                )
            )
        info = session.ddl.create_table(st.CreateTable(translation.into, tuple(columns)))
        assert info is not None
        overriding = (
            " OVERRIDING SYSTEM VALUE" if any(column.identity for column in translation.columns) else ""
        )
        encoded, formats = self._parameters(translation, frame)
        result = session.link.execute(
            f"INSERT INTO {info.qualified}{overriding} {translation.sql}",
            encoded,
            formats,
            translation.before,
        )
        count = result.command_tuples or 0
        session.row_count = count
        yield Done(None if session.options.nocount else count, "select")

    def _insert_execute(self, statement: st.Data, frame: Frame) -> Iterator[Event]:
        assert statement.execute is not None
        assert isinstance(statement.node, ast.InsertStatement)
        session = self._session
        rows: list[tuple[Any, ...]] = []
        types: tuple[SqlType, ...] = ()
        for event in self.run(statement.execute, frame):
            if isinstance(event, ResultSet):
                types = tuple(column.type for column in event.columns)
                rows.extend(event.rows)
            elif not isinstance(event, Done):
                yield event
        for row in rows:
            names = [f"@insert_execute_{index}" for index in range(len(row))]
            inner = Frame(
                dict(zip(names, types, strict=True)), dict(zip(names, row, strict=True)), frame.tables
            )
            node = ast.InsertStatement(
                statement.node.target,
                statement.node.columns,
                (tuple(ast.Variable(name) for name in names),),
                text=f"{statement.node.text} VALUES ({', '.join(names)})",
            )
            translation = session.translator.statement(node, self._context(inner))
            self._run_translation(translation, inner)
        session.row_count = len(rows)
        yield Done(None if session.options.nocount else len(rows), "insert")

    # -- messages and errors ---------------------------------------------------------------------------------

    def _print(self, statement: st.Print, frame: Frame) -> Iterator[Event]:
        value = self.scalar(statement.value, frame, _NVARCHAR_MAX)
        yield Message(
            0,
            "" if value is None else str(value)[:4000] or " ",
            line=statement.line,
            procedure=frame.procedure,
        )

    def _throw(self, statement: st.Throw, frame: Frame) -> Iterator[Event]:
        if not statement.arguments:
            if not self._session.errors:
                raise sql_error(10704)
            raise self._session.errors[-1]
        number, message, state = (self.scalar(argument, frame) for argument in statement.arguments)
        if int(number) < 50000:
            raise sql_error(35100, number)
        raise SqlError(int(number), str(message), severity=16, state=int(state), line=statement.line)
        yield

    def _raiserror(self, statement: st.RaisError, frame: Frame) -> Iterator[Event]:
        message = self.scalar(statement.message, frame)
        severity = int(self.scalar(statement.severity, frame, _INT))
        state = int(self.scalar(statement.state, frame, _INT))
        arguments = [self.scalar(argument, frame) for argument in statement.arguments]
        number = 50000
        if isinstance(message, int):
            raise unsupported("RAISERROR with a message number", statement.line)
        message_text = format_message(str(message), arguments)
        severity = max(severity, 0)
        state = 1 if state < 0 else min(state, 255)
        if severity > 18 and "LOG" not in statement.options:
            raise sql_error(2754)
        if severity <= 10:
            yield Message(number, message_text, severity, state, statement.line, frame.procedure)
            return
        raise SqlError(number, message_text, severity, state, statement.line, frame.procedure)

    # -- execution -------------------------------------------------------------------------------------------

    def _execute(self, statement: st.Execute, frame: Frame) -> Iterator[Event]:
        yield from self._procedures.execute(statement, frame)

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
        frame.types["@rpc_status"] = _INT
        frame.values["@rpc_status"] = 0
        yield from self.run(statement, frame)
        yield ReturnStatus(int(frame.values["@rpc_status"] or 0))
        for position, parameter in enumerate(parameters):
            if parameter.output:
                yield ReturnValue(
                    Parameter(parameter.name, parameter.type, frame.values[f"@rpc_{position}"], output=True)
                )

    def _execute_string(self, statement: st.ExecuteString, frame: Frame) -> Iterator[Event]:
        parts = [self.scalar(part, frame, _NVARCHAR_MAX) for part in statement.parts]
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
            yield from self.run_batch(parse_batch(sql), frame)
        finally:
            session.nesting -= 1
            if session.database != database:
                # USE inside lasts as long as the inner batch.
                for _ in session.use(database):
                    pass

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

    # -- transactions and options ----------------------------------------------------------------------------

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

    def _use(self, statement: st.Use, frame: Frame) -> Iterator[Event]:
        yield from self._session.use(statement.database)

    def _set_option(self, statement: st.SetOption, frame: Frame) -> Iterator[Event]:
        session = self._session
        options = session.options
        on = statement.value == "ON"
        value: Any = statement.value
        if statement.argument is not None:
            value = self.scalar(statement.argument, frame)
        match statement.option:
            case "TRANSACTION ISOLATION LEVEL":
                options.isolation = value
            case "LOCK_TIMEOUT":
                options.lock_timeout = int(value)
                session.apply_lock_timeout()
            case "DEADLOCK_PRIORITY":
                names = {"LOW": -5, "NORMAL": 0, "HIGH": 5}
                options.deadlock_priority = names.get(str(value).upper()) or int(
                    0 if str(value).upper() == "NORMAL" else names.get(str(value).upper(), value)
                )
            case "DATEFIRST":
                options.date_first = int(value)
                session.set_setting("standin.datefirst", str(options.date_first))
            case "DATEFORMAT":
                options.date_format = str(value)
                session.set_setting("standin.dateformat", str(value))
            case "LANGUAGE":
                options.language = str(value)
                session.set_setting("standin.language", str(value))
                yield Message(5703, text(5703, value), 10)
            case "ROWCOUNT":
                if int(value):
                    raise unsupported("SET ROWCOUNT", statement.line)
            case "TEXTSIZE":
                options.text_size = int(value)
            case "CONTEXT_INFO":
                data = value if isinstance(value, bytes) else str(value).encode("utf-16-le")
                session.context_info = data[:128]
            case "QUERY_GOVERNOR_COST_LIMIT":
                pass
            case _:
                for name in statement.option.split():
                    if name != "STATISTICS":
                        self._switch(statement, name, on)

    def _switch(self, statement: st.SetOption, name: str, on: bool) -> None:
        options = self._session.options
        if statement.option.startswith("STATISTICS"):
            name = f"STATISTICS_{name}"
        attribute = name.lower()
        if attribute == "ansi_defaults":
            for each in ("ansi_nulls", "ansi_padding", "ansi_warnings", "quoted_identifier"):
                setattr(options, each, on)
        elif hasattr(options, attribute):
            if attribute in ("noexec", "parseonly", "fmtonly") and on:
                raise unsupported(f"SET {name} ON", statement.line)
            setattr(options, attribute, on)
        elif attribute in (
            "ansi_null_dflt_on",
            "ansi_null_dflt_off",
            "arithignore",
            "no_browsetable",
            "forceplan",
        ):
            pass
        elif on:
            raise unsupported(f"SET {name} ON", statement.line)

    def _set_identity_insert(self, statement: st.SetIdentityInsert, frame: Frame) -> Iterator[Event]:
        session = self._session
        table = session.ddl.table(statement.table, 1088)
        if table.identity_sequence is None:
            raise sql_error(8106, table.full_name)
        current = session.identity_insert
        if statement.on:
            if current is not None and current.object_id != table.object_id:
                full = f"{session.database}.{current.full_name}"
                raise sql_error(8107, full, ".".join(statement.table))
            session.identity_insert = table
        elif current is not None and current.object_id == table.object_id:
            session.identity_insert = None
        return
        yield

    def _waitfor(self, statement: st.WaitFor, frame: Frame) -> Iterator[Event]:
        if statement.kind == "TIME":
            raise unsupported("WAITFOR TIME", statement.line)
        value = str(self.scalar(statement.value, frame, SqlType("varchar", length=30)))
        match = re.fullmatch(r"(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)", value.strip())
        if match is None:
            raise sql_error(148, value, "WAITFOR")
        hours, minutes, seconds = (float(part or 0) for part in match.groups())
        if self._session.wait(hours * 3600 + minutes * 60 + seconds):
            raise sql_error(3617)
        return
        yield

    # -- data definition -------------------------------------------------------------------------------------

    def _definition(self, statement: st.Statement, frame: Frame) -> Iterator[Event]:
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
            self._define(statement)
        except BaseException:
            if own:
                session.link.end("ROLLBACK")
                session.schema_changed()
            raise
        if own:
            session.link.end("COMMIT")
            session.schema_changed()
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

    def _define(self, statement: st.Statement) -> None:
        ddl = self._session.ddl
        match statement:
            case st.CreateTable():
                ddl.create_table(statement)
            case st.AlterTableAdd():
                ddl.alter_table_add(statement)
            case st.AlterTableDrop():
                ddl.alter_table_drop(statement)
            case st.AlterColumn():
                ddl.alter_column(statement)
            case st.AlterTableCheck():
                ddl.alter_table_check(statement)
            case st.SwitchTrigger():
                ddl.switch_trigger(statement)
            case st.CreateIndex():
                ddl.create_index(statement)
            case st.AlterIndex():
                ddl.alter_index(statement)
            case st.DropIndex():
                ddl.drop_index(statement)
            case st.TruncateTable():
                ddl.truncate(statement)
            case st.CreateView():
                ddl.create_view(statement)
            case st.CreateSchema():
                ddl.create_schema(statement)
            case st.TransferObject():
                ddl.transfer(statement)
            case st.CreateSequence():
                ddl.create_sequence(statement)
            case st.CreateProcedure():
                ddl.create_procedure(statement)
            case st.CreateTrigger():
                ddl.create_trigger(statement)
            case st.Drop():
                self._drop(statement)

    def _drop(self, statement: st.Drop) -> None:
        ddl = self._session.ddl
        for name in statement.names:
            match statement.kind:
                case "TABLE":
                    ddl.drop_table(name, if_exists=statement.if_exists)
                case "VIEW":
                    ddl.drop_view(name, if_exists=statement.if_exists)
                case "SEQUENCE":
                    ddl.drop_sequence(name, if_exists=statement.if_exists)
                case "SCHEMA":
                    ddl.drop_schema(name[-1], if_exists=statement.if_exists)
                case "PROCEDURE":
                    ddl.drop_procedure(name, if_exists=statement.if_exists)
                case "TRIGGER":
                    ddl.drop_trigger(name, if_exists=statement.if_exists)
                case _:
                    raise unsupported(f"DROP {statement.kind}", statement.line)

    def _drop_statement(self, statement: st.Drop, frame: Frame) -> Iterator[Event]:
        if statement.kind in ("LOGIN", "USER"):
            yield from self._procedures.security(statement, frame)
            return
        if statement.kind != "DATABASE":
            yield from self._definition(statement, frame)
            return
        self._refuse_in_transaction("DROP DATABASE")
        for name in statement.names:
            if self._session.instance.database(name[-1]) is None and statement.if_exists:
                continue
            self._session.instance.drop_database(name[-1])
        yield Done(None, "drop database")

    def _create_database(self, statement: st.CreateDatabase, frame: Frame) -> Iterator[Event]:
        self._refuse_in_transaction("CREATE DATABASE")
        if not self._session.is_sysadmin:
            raise sql_error(262, "CREATE DATABASE", "master")
        self._session.instance.create_database(statement.name, statement.collation)
        yield Done(None, "create database")

    def _alter_database(self, statement: st.AlterDatabase, frame: Frame) -> Iterator[Event]:
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
                    if value not in ("160", "150", "140", "130"):
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
        yield Done(None, "alter database")

    def _refuse_in_transaction(self, what: str) -> None:
        if self._session.transaction.count:
            raise sql_error(226, what)

    def _dbcc(self, statement: st.Dbcc, frame: Frame) -> Iterator[Event]:
        yield from self._procedures.dbcc(statement, frame)

    def _kill(self, statement: st.Kill, frame: Frame) -> Iterator[Event]:
        for session in self._session.instance.sessions():
            if session.spid == statement.session and session is not self._session:
                session.kill()
                return
        raise sql_error(6106, statement.session)
        yield

    def _update_statistics(self, statement: st.UpdateStatistics, frame: Frame) -> Iterator[Event]:
        table = self._session.ddl.table(statement.table, 2706)
        self._session.link.execute(f"ANALYZE {table.qualified}")
        return
        yield

    def _nothing(self, statement: st.Nothing, frame: Frame) -> Iterator[Event]:
        return
        yield

    def _security(self, statement: st.Statement, frame: Frame) -> Iterator[Event]:
        yield from self._procedures.security(statement, frame)


def format_message(template: str, arguments: Sequence[Any]) -> str:
    """RAISERROR's substitution: https://learn.microsoft.com/sql/t-sql/language-elements/raiserror-transact-sql"""
    remaining = list(arguments)

    def replace(match: re.Match[str]) -> str:
        kind = match["kind"]
        if kind == "%":
            return "%"
        width = match["width"]
        if width == "*":
            width = str(remaining.pop(0))
        precision = match["precision"]
        if precision == "*":
            precision = str(remaining.pop(0))
        value = remaining.pop(0) if remaining else None
        if value is None:
            shown = "(null)"
        elif kind == "s":
            shown = str(value)[: int(precision)] if precision else str(value)
        else:
            number = int(value)
            if kind in "uoxX" and number < 0:
                number += 1 << 32
            shown = {"o": f"{number:o}", "x": f"{number:x}", "X": f"{number:X}"}.get(kind, str(number))
            if "+" in match["flags"] and kind in "di" and number >= 0:
                shown = "+" + shown
        if width:
            if "-" in match["flags"]:
                shown = shown.ljust(int(width))
            else:
                shown = shown.rjust(int(width), "0" if "0" in match["flags"] else " ")
        return shown

    return _FORMAT.sub(replace, template)[:2047]


def _constant(expression: ast.Expression, target: SqlType | None) -> tuple[Any] | None:
    """The value of a literal that needs no conversion, so that SET @i = 1 costs no round trip."""
    if not isinstance(expression, ast.Constant):
        return None
    if expression.kind == "null":
        return (None,)
    if expression.kind == "integer" and (target is None or target.name in ("int", "bigint")):
        return (int(expression.value),)
    if expression.kind in ("string", "nstring") and (
        target is None or (target.name in ("nvarchar", "varchar") and target.length == MAX)
    ):
        return (expression.value,)
    return None


def _verb(statement: st.Statement) -> str:
    if isinstance(statement, st.Data):
        return {
            ast.InsertStatement: "INSERT",
            ast.UpdateStatement: "UPDATE",
            ast.DeleteStatement: "DELETE",
            ast.MergeStatement: "MERGE",
        }.get(type(statement.node), "SELECT")
    if isinstance(statement, (st.AlterTableAdd, st.AlterTableCheck, st.AlterColumn)):
        return "ALTER TABLE"
    return "SELECT"


def _plan_result(document: str) -> ResultSet:
    return ResultSet((Column(COLUMN_NAME, _NVARCHAR_MAX, nullable=False),), [(document,)])


_CONTROL = (st.Block, st.If, st.While, st.Break, st.Continue, st.TryCatch)

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

_HANDLERS: dict[type[st.Statement], Callable[[Interpreter, Any, Frame], Iterator[Event]]] = {
    st.Data: Interpreter._data,
    st.Declare: Interpreter._declare,
    st.SetVariable: Interpreter._set_variable,
    st.SetOption: Interpreter._set_option,
    st.SetIdentityInsert: Interpreter._set_identity_insert,
    st.Return: Interpreter._return,
    st.Throw: Interpreter._throw,
    st.RaisError: Interpreter._raiserror,
    st.Print: Interpreter._print,
    st.WaitFor: Interpreter._waitfor,
    st.Execute: Interpreter._execute,
    st.ExecuteString: Interpreter._execute_string,
    st.Use: Interpreter._use,
    st.BeginTransaction: Interpreter._begin,
    st.CommitTransaction: Interpreter._commit,
    st.RollbackTransaction: Interpreter._rollback,
    st.SaveTransaction: Interpreter._save,
    st.Drop: Interpreter._drop_statement,
    st.CreateDatabase: Interpreter._create_database,
    st.AlterDatabase: Interpreter._alter_database,
    st.Dbcc: Interpreter._dbcc,
    st.Kill: Interpreter._kill,
    st.Nothing: Interpreter._nothing,
    st.UpdateStatistics: Interpreter._update_statistics,
    st.CreateLogin: Interpreter._security,
    st.CreateUser: Interpreter._security,
    st.Permission: Interpreter._security,
    st.AlterRole: Interpreter._security,
    **dict.fromkeys(
        (
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
        ),
        Interpreter._definition,
    ),
}
