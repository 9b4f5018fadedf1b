"""Plans of statements: for SHOWPLAN_XML, for STATISTICS XML and for the plan cache."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlserver_standin.engine import statements as st
from sqlserver_standin.engine.batch import parse_batch
from sqlserver_standin.engine.definitions import declaration
from sqlserver_standin.engine.evaluation import NVARCHAR_MAX, Evaluator
from sqlserver_standin.engine.frame import Frame
from sqlserver_standin.engine.link import PostgresError
from sqlserver_standin.engine.observation import LastRun, QueryStatistics
from sqlserver_standin.engine.showplan import COLUMN_NAME, PlannedStatement, Showplan
from sqlserver_standin.events import (
    Column,
    Done,
    Event,
    ResultSet,
    SqlError,
)
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.expressions import descendants
from sqlserver_standin.tsql.translate import Translation

if TYPE_CHECKING:
    from sqlserver_standin.engine.session import Session


class StatementPlans:
    """Plans statements, and writes what PostgreSQL did as Showplan XML."""

    def __init__(self, session: Session, evaluator: Evaluator) -> None:
        self._session = session
        self._evaluator = evaluator

    def show(self, statements: Sequence[st.Statement], frame: Frame) -> Iterator[Event]:
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
                    translation = self._session.translator.statement(
                        statement.node, self._evaluator.context(frame)
                    )
                    self._showplan().make_statistics(self._tables_in(statement.node))
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

    def measure(
        self, statement: st.Data, translation: Translation, frame: Frame, *, timing: bool = True
    ) -> dict[str, Any]:
        """What each node of PostgreSQL's plan does; what the statement changed is undone."""
        session = self._session
        options = f"ANALYZE, VERBOSE, BUFFERS, TIMING {'ON' if timing else 'OFF'}, FORMAT JSON"
        own = not session.transaction.count
        self._showplan().make_statistics(self._tables_in(statement.node))
        encoded, formats = self._evaluator.parameters(translation, frame)
        if own:
            session.link.begin("READ COMMITTED")
        try:
            session.link.savepoint("plan")
            result = session.link.execute(
                f"EXPLAIN ({options}) {translation.sql}",
                encoded,
                formats,
                translation.before,
            )
            plan: dict[str, Any] = json.loads(result.get_value(0, 0) or b"[]")[0]
            session.link.rollback_to("plan")
        except PostgresError:
            if own:
                session.link.end("ROLLBACK")
            raise
        if own:
            session.link.end("ROLLBACK")
        return plan

    def actual(self, statement: st.Data, translation: Translation, frame: Frame, plan: Any) -> ResultSet:
        """The plan of a statement that ran, as STATISTICS XML answers it."""
        return _plan_result(self._showplan().actual(self._planned(statement, translation, frame), plan))

    def last_run(self, statement: st.Data, translation: Translation, frame: Frame) -> LastRun:
        """What LAST_QUERY_PLAN_STATS keeps of a statement that is about to run.

        Its light profiling counts rows and reads and takes no time of an operator
        (https://learn.microsoft.com/sql/relational-databases/performance/query-profiling-infrastructure). The
        statement runs twice for it: where that would take a value from a sequence twice, only its time is kept.
        """
        twice = translation.kind in ("select", "update", "delete") and not any(
            isinstance(node, ast.NextValue) for node in descendants(statement.node)
        )
        measured = self.measure(statement, translation, frame, timing=False) if twice else None
        return LastRun(replace(self._planned(statement, translation, frame), values={}), measured)

    def last_plan_of(self, run: LastRun) -> str | None:
        """The Showplan of what ``last_run`` kept."""
        try:
            return self._showplan().last(run.planned, run.measured, run.microseconds)
        except PostgresError:
            # Its tables are gone, or were temporary ones of another session.
            return None

    def plan_of(self, entry: QueryStatistics) -> str | None:
        """The plan of a statement of the plan cache, as it would be compiled now."""
        try:
            statement = parse_batch(entry.statement)[0]
            if not isinstance(statement, st.Data):
                return None
            frame = Frame(dict(entry.parameter_types), dict.fromkeys(entry.parameter_types))
            translation = self._session.translator.statement(statement.node, self._evaluator.context(frame))
            return self._showplan().estimated([self._planned(statement, translation, frame)])
        except (SqlError, PostgresError):
            # Its tables are gone, or were temporary ones of another session.
            return None

    def _showplan(self) -> Showplan:
        return Showplan(self._session)

    def _planned(self, statement: st.Data, translation: Translation, frame: Frame) -> PlannedStatement:
        return PlannedStatement(
            statement.text,
            st.verb(statement),
            translation.sql,
            translation.parameters,
            {name: declaration(data_type) for name, data_type in frame.types.items()},
            frame.values,
        )

    def _tables_in(self, node: ast.Node) -> list[int]:
        return [table.object_id for table in self._session.tables_in(node) if table.kind == "table"]


def _plan_result(document: str) -> ResultSet:
    return ResultSet((Column(COLUMN_NAME, NVARCHAR_MAX, nullable=False),), [(document,)])
