"""Runs SELECT, INSERT, UPDATE, DELETE and MERGE, their triggers, and what comes with their answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlserver_standin.engine import statements as st
from sqlserver_standin.engine import values
from sqlserver_standin.engine.batch import parse_batch
from sqlserver_standin.engine.catalog import Table
from sqlserver_standin.engine.evaluation import Evaluator
from sqlserver_standin.engine.frame import Frame
from sqlserver_standin.engine.link import PostgresError
from sqlserver_standin.engine.observation import ASKS_FOR_FACTS, publish
from sqlserver_standin.engine.row_stream import RowStream
from sqlserver_standin.engine.statement_plans import StatementPlans
from sqlserver_standin.engine.statement_statistics import Clock, TableReads
from sqlserver_standin.errors import sql_error, unsupported
from sqlserver_standin.events import (
    Column,
    Done,
    EnvironmentChange,
    Event,
    Message,
    ResultSet,
    SqlError,
)
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.expressions import descendants
from sqlserver_standin.tsql.translate import Translation
from sqlserver_standin.types import SqlType

if TYPE_CHECKING:
    from sqlserver_standin.engine.interpreter import Interpreter
    from sqlserver_standin.engine.session import Session


class DataStatements:
    """Answers data statements."""

    def __init__(
        self, session: Session, evaluator: Evaluator, plans: StatementPlans, interpreter: Interpreter
    ) -> None:
        self._session = session
        self._evaluator = evaluator
        self._plans = plans
        self._interpreter = interpreter
        self._catalog_only: dict[str, bool] = {}
        self._triggers: list[str] = []
        """Definitions of the triggers that run now, innermost last."""

    def run(self, statement: st.Data, frame: Frame) -> Iterator[Event]:
        session = self._session
        if isinstance(statement.node, ast.InsertStatement) and statement.execute is not None:
            yield from self._insert_execute(statement, frame)
            return
        if session.options.implicit_transactions and not session.transaction.count:
            yield from session.begin(None)
        translation = self._evaluator.statement(statement.node, frame)
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
        catalog_only = translation.kind == "select" and self._reads_catalog_only(statement)
        keeps = session.database_facts.keeps_last_plans and not catalog_only
        session.activity.last_run = self._plans.last_run(statement, translation, frame) if keeps else None
        if translation.kind == "select_into":
            yield from self._with_reads(statement, frame, self._select_into(translation, frame))
            return
        if catalog_only:
            yield from self._run_and_answer(translation, frame, catalog_only=True)
        else:
            yield from self._answer(statement, translation, frame)

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

    def _answer(self, statement: st.Data, translation: Translation, frame: Frame) -> Iterator[Event]:
        table = translation.table
        if table is not None and self._fired(translation):
            yield from self._answer_with_triggers(statement, translation, table, frame)
        else:
            yield from self._with_reads(statement, frame, self._run_and_answer(translation, frame))

    def _with_reads(self, statement: st.Data, frame: Frame, events: Iterator[Event]) -> Iterator[Event]:
        """STATISTICS IO: rows and their DONE come before what they cost, the DONE of a change after it."""
        session = self._session
        if not session.options.statistics_io:
            yield from events
            return
        # The counters last as long as the transaction of PostgreSQL.
        own = not session.link.in_transaction
        if own:
            session.link.begin("READ COMMITTED")
        try:
            with self._unclocked():
                reads = TableReads(session.link)
            answer = list(events)
            with self._unclocked():
                messages = reads.messages(statement.line, frame.procedure)
        except (SqlError, PostgresError):
            if own:
                session.link.end("ROLLBACK")
            raise
        if own:
            session.link.end("COMMIT")
        if any(isinstance(event, ResultSet) for event in answer):
            yield from answer
            yield from messages
        else:
            yield from messages
            yield from answer

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

    @contextmanager
    def _unclocked(self) -> Iterator[None]:
        """What looking at PostgreSQL's counters costs is not the statement's time."""
        own = Clock(self._session.link)
        yield
        cpu, elapsed = own.read()
        for clock in self._session.clocks:
            clock.leave_out(cpu, elapsed)

    def _answer_with_triggers(
        self, statement: st.Data, translation: Translation, table: Table, frame: Frame
    ) -> Iterator[Event]:
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
            answer = list(self._with_reads(statement, frame, self._run_and_answer(translation, frame)))
            rows = session.row_count
            session.trigger_depth += 1
            # A trigger runs as with XACT_ABORT ON.
            xact_abort, session.options.xact_abort = session.options.xact_abort, True
            try:
                messages = list(self._run_triggers(statement, translation, table, depth))
            finally:
                session.trigger_depth -= 1
                session.options.xact_abort = xact_abort
        except (SqlError, PostgresError):
            if session.transaction.count:
                session.link.rollback_to(savepoint)
                if own:
                    list(session.rollback(None))
            raise
        # What the statement read is told before what its triggers say.
        while isinstance(answer[0], Message):
            yield answer.pop(0)
        for message in messages:
            if not (own and isinstance(message, EnvironmentChange)):
                yield message
        if session.transaction.count < count:
            raise sql_error(3609)
        session.row_count = rows
        yield from answer
        if own:
            list(session.commit())

    def _run_triggers(
        self, statement: st.Data, translation: Translation, table: Table, depth: int
    ) -> Iterator[Event]:
        session = self._session
        names = {kind: f'pg_temp."{kind}:{depth}:{table.object_id}"' for kind in ("inserted", "deleted")}
        tables = {
            kind: Table("", kind, pg_table, "variable", table.columns) for kind, pg_table in names.items()
        }
        for event in self._fired(translation):
            updated = _updated(event, statement.node, table)
            for definition in session.ddl.modules.trigger_definitions(table.object_id, event.upper()):
                if self._triggers and self._triggers[-1] == definition:
                    # RECURSIVE_TRIGGERS is off: what a trigger does does not fire it again.
                    continue
                trigger = parse_batch(definition)[0]
                assert isinstance(trigger, st.CreateTrigger)
                inner = Frame(tables=dict(tables), procedure=trigger.name[-1], updated=updated)
                self._triggers.append(definition)
                try:
                    for each in self._interpreter.run_module(trigger.body, inner):
                        if not isinstance(each, Done):
                            yield each
                finally:
                    self._triggers.pop()
                if not session.transaction.count:
                    return
        session.link.execute(f"DROP TABLE IF EXISTS {names['inserted']}, {names['deleted']}")

    def _run_and_answer(
        self, translation: Translation, frame: Frame, *, catalog_only: bool = False
    ) -> Iterator[Event]:
        session = self._session
        started = time.perf_counter()
        if (
            translation.columns
            and translation.kind == "select"
            and not (catalog_only or translation.assignments)
        ):
            stream = self._stream(translation, frame)
            try:
                yield ResultSet(translation.columns, stream)
                stream.finish()
            finally:
                stream.close()
            self._note_result(frame, started, stream.count)
            yield Done(None if session.options.nocount else stream.count, translation.kind)
            return
        if catalog_only:
            encoded, formats = self._evaluator.parameters(translation, frame)
            result = session.link.execute_on_catalog(translation.sql, encoded, formats)
        else:
            result = self._evaluator.run(translation, frame)
        if translation.assignments:
            rows = values.decode(
                session.link.transformer, result, self._assignment_columns(translation, frame)
            )
            if translation.accumulates and len(rows) > 1:
                raise unsupported("an assignment that accumulates over several rows")
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
        if translation.kind != "select":
            session.transaction.changed_rows += count
        self._note_result(frame, started, count)
        if translation.kind in ("insert", "merge") and count and translation.table is not None:
            self._remember_identity(translation, frame)
        yield Done(None if session.options.nocount else count, translation.kind)

    def _stream(self, translation: Translation, frame: Frame) -> RowStream:
        link = self._session.link
        encoded, formats = self._evaluator.parameters(translation, frame)
        return RowStream(
            link.stream(translation.sql, encoded, formats, translation.before),
            lambda part: values.decode(link.transformer, part, translation.columns),
        )

    def _note_result(self, frame: Frame, started: float, count: int) -> None:
        session = self._session
        session.row_count = count
        elapsed = int((time.perf_counter() - started) * 1e6)
        session.instance.plan_cache.record(session, session.activity.statement, frame.types, elapsed, count)

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
        for table in self._session.tables_in(statement.node):
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
        return next(self._session.tables_in(node), None)

    def _select_into(self, translation: Translation, frame: Frame) -> Iterator[Event]:
        assert translation.into is not None
        session = self._session
        columns = []
        seen: set[str] = set()
        for column in translation.columns:
            if not column.name:
                raise sql_error(1038)
            if column.name.lower() in seen:
                raise sql_error(2705, column.name, translation.into[-1])
            seen.add(column.name.lower())
            columns.append(
                st.ColumnDefinition(
                    column.name, column.type, column.nullable, (1, 1) if column.identity else None
                )
            )
        info = session.ddl.tables.create(st.CreateTable(translation.into, tuple(columns)))
        assert info is not None
        overriding = (
            " OVERRIDING SYSTEM VALUE" if any(column.identity for column in translation.columns) else ""
        )
        encoded, formats = self._evaluator.parameters(translation, frame)
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
        for event in self._interpreter.run(statement.execute, frame):
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
            translation = self._evaluator.statement(node, inner)
            self._evaluator.run(translation, inner)
        session.row_count = len(rows)
        yield Done(None if session.options.nocount else len(rows), "insert")

    def _with_actual_plan(
        self, statement: st.Data, translation: Translation, frame: Frame
    ) -> Iterator[Event]:
        """STATISTICS XML: the statement's answer, then its plan with what each operator did.

        PostgreSQL gives a statement's rows or its plan, not both, so it runs twice; what the first run changed is
        undone before the second.
        """
        session = self._session
        plan = self._plans.measure(statement, translation, frame)
        if translation.kind == "select_into":
            yield from self._with_reads(statement, frame, self._select_into(translation, frame))
        else:
            yield from self._answer(statement, translation, frame)
        count = session.row_count
        yield self._plans.actual(statement, translation, frame, plan)
        yield Done(1, "select")
        session.row_count = count


def _updated(event: str, node: ast.Statement, table: Table) -> frozenset[str]:
    """The columns that an INSERT fills, which are all, or that an UPDATE sets.

    https://learn.microsoft.com/sql/t-sql/functions/update-trigger-functions-transact-sql
    """
    if event == "insert":
        return frozenset(column.name.lower() for column in table.columns)
    assignments: list[ast.Assignment] = []
    if event == "update" and isinstance(node, ast.UpdateStatement):
        assignments.extend(node.assignments)
    elif event == "update" and isinstance(node, ast.MergeStatement):
        for action in node.actions:
            assignments.extend(action.assignments)
    return frozenset(each.column[-1].lower() for each in assignments if each.column)
