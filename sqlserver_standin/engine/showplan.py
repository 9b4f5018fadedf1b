"""Showplan XML from PostgreSQL's EXPLAIN: the real plan in SQL Server's words.

Operators, estimates, actual rows, times and page reads are PostgreSQL's own. Costs are scaled to SQL Server's unit. The
schema: https://schemas.microsoft.com/sqlserver/2004/07/showplan/
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from sqlserver_standin.engine.link import PostgresError
from sqlserver_standin.engine.names import bracket, quote
from sqlserver_standin.engine.plan_elements import NAMESPACE, add_element, tag
from sqlserver_standin.engine.plan_tables import PlanTables, filtered_columns, nodes, output_columns
from sqlserver_standin.engine.plan_writer import COST_UNIT, PlanWriter

if TYPE_CHECKING:
    from sqlserver_standin.engine.session import Session
    from sqlserver_standin.releases import Release

COLUMN_NAME = "Microsoft SQL Server 2005 XML Showplan"

# Of a statement that costs less, the last actual plan is the statement alone. Microsoft names no figure.
_SIMPLE_COST = 0.01

# A missing index is proposed only where PostgreSQL, with that index really made and rolled back, plans better.
_MISSING_INDEX_LEAST_ROWS = 500
_MISSING_INDEX_MOST_ROWS = 200_000
_MISSING_INDEX_LEAST_IMPACT = 10.0

# A plan waits for no transaction of others, and less than the 200 ms after which PostgreSQL looks who is to be the
# victim of a deadlock. A vacuum in the background gives way to who has waited for deadlock_timeout.
_HARDLY_WAITING = ("SET LOCAL lock_timeout = 150", "SET LOCAL deadlock_timeout = 10")

# Never analysed, or changed by more than SQL Server's threshold since.
_STALE_STATISTICS = """
SELECT c.oid::regclass FROM pg_class c LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
 WHERE c.oid = $1::oid AND c.relkind = 'r'
   AND (c.reltuples < 0 OR s.n_mod_since_analyze > 500 + 0.2 * greatest(c.reltuples, 0))"""


@dataclass(slots=True)
class PlannedStatement:
    """What one statement's element is made of."""

    text: str
    kind: str
    sql: str
    parameters: tuple[str, ...] = ()
    parameter_types: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Run:
    """What a plan tells of its execution."""

    milliseconds: int
    shows_values: bool = True
    shows_plan: bool = True


class Showplan:
    """Makes Showplan XML documents for one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def estimated(self, statements: Sequence[PlannedStatement]) -> str:
        """One document for a batch that is planned and not run."""
        elements: list[ET.Element] = []
        for statement in statements:
            plan = self._explain(statement, "GENERIC_PLAN")
            missing = self._missing_index(statement, plan["Plan"])
            elements.append(self._statement(statement, plan, len(elements) + 1, missing))
        return _document(self._session.instance.release, elements)

    def actual(self, statement: PlannedStatement, plan: dict[str, Any]) -> str:
        """The document of one statement that ran under EXPLAIN (ANALYZE)."""
        missing = self._missing_index(statement, plan["Plan"])
        run = _Run(round(plan.get("Execution Time", 0)))
        return _document(self._session.instance.release, [self._statement(statement, plan, 1, missing, run)])

    def last(self, statement: PlannedStatement, plan: dict[str, Any] | None, microseconds: int) -> str:
        """The last actual plan: as compiled, with the counters of that run, or simplified to the statement itself.

        https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-exec-query-plan-stats-transact-sql
        """
        simple = plan is None or plan["Plan"]["Total Cost"] * COST_UNIT < _SIMPLE_COST
        plan = plan or self._explain(statement, "GENERIC_PLAN")
        missing = None if simple else self._missing_index(statement, plan["Plan"])
        run = _Run(round(microseconds / 1000), shows_values=False, shows_plan=not simple)
        return _document(self._session.instance.release, [self._statement(statement, plan, 1, missing, run)])

    def make_statistics(self, tables: Sequence[int]) -> None:
        """SQL Server makes statistics when it compiles a statement; PostgreSQL's come some time later.

        https://learn.microsoft.com/sql/relational-databases/statistics/statistics
        """
        link = self._session.link
        analysed = False
        for table in dict.fromkeys(tables):
            rows = link.rows(_STALE_STATISTICS, (table,))
            if rows:
                # Somebody may be altering the table: then the plan is made with what is known.
                with contextlib.suppress(PostgresError):
                    link.script(
                        [*_HARDLY_WAITING, f"ANALYZE {rows[0][0]}", "SET LOCAL deadlock_timeout = DEFAULT"]
                    )
                    analysed = True
        if analysed and self._session.transaction.count:
            # What is LOCAL lasts as long as the user's transaction.
            self._session.apply_lock_timeout()

    def _explain(self, statement: PlannedStatement, *options: str) -> dict[str, Any]:
        words = ", ".join(("VERBOSE", "FORMAT JSON", *options))
        result = self._session.link.execute_unbound(f"EXPLAIN ({words}) {statement.sql}")
        return json.loads(result.get_value(0, 0) or b"[]")[0]

    def _statement(
        self,
        statement: PlannedStatement,
        plan: dict[str, Any],
        number: int,
        missing: ET.Element | None,
        run: _Run | None = None,
    ) -> ET.Element:
        actual = run is not None
        writer = PlanWriter(self._session, statement.parameters, actual=actual)
        root = plan["Plan"]
        relop = writer.tree(root)
        element = add_element(
            None,
            "StmtSimple",
            StatementCompId=number,
            StatementEstRows=float(root["Plan Rows"]),
            StatementId=number,
            StatementOptmLevel="FULL",
            CardinalityEstimationModelVersion="160",
            StatementSubTreeCost=root["Total Cost"] * COST_UNIT,
            StatementText=statement.text,
            StatementType=statement.kind,
            QueryHash=_hash(re.sub(r"'[^']*'|\b\d+\b", "?", statement.text)),
            QueryPlanHash=_hash(_shape(root)),
            RetrievedFromCache="true" if actual else "false",
            SecurityPolicyApplied=False,
        )
        add_element(
            element,
            "StatementSetOptions",
            ANSI_NULLS=True,
            ANSI_PADDING=True,
            ANSI_WARNINGS=True,
            ARITHABORT=self._session.options.arithabort,
            CONCAT_NULL_YIELDS_NULL=True,
            NUMERIC_ROUNDABORT=False,
            QUOTED_IDENTIFIER=True,
        )
        if run is not None and not run.shows_plan:
            return element
        query_plan = add_element(
            element,
            "QueryPlan",
            DegreeOfParallelism=1 if actual else None,
            CachedPlanSize=max(16, len(json.dumps(plan)) // 1024 * 8),
            CompileTime=round(plan.get("Planning Time", 0)),
            CompileCPU=round(plan.get("Planning Time", 0)),
            CompileMemory=max(64, len(json.dumps(plan)) // 64),
        )
        if missing is not None:
            query_plan.append(missing)
        if run is not None:
            add_element(query_plan, "QueryTimeStats", CpuTime=run.milliseconds, ElapsedTime=run.milliseconds)
        query_plan.append(relop)
        self._parameters(query_plan, statement, with_values=run is not None and run.shows_values)
        for node_id, node in enumerate(query_plan.iter(tag("RelOp"))):
            node.set("NodeId", str(node_id))
        return element

    @staticmethod
    def _parameters(query_plan: ET.Element, statement: PlannedStatement, *, with_values: bool) -> None:
        names = [name for name in dict.fromkeys(statement.parameters) if name in statement.parameter_types]
        if not names:
            return
        parameters = add_element(query_plan, "ParameterList")
        for name in names:
            value = _constant(statement.values.get(name)) if with_values else None
            add_element(
                parameters,
                "ColumnReference",
                Column=name,
                ParameterDataType=statement.parameter_types[name],
                ParameterCompiledValue=value,
                ParameterRuntimeValue=value,
            )

    # -- missing indexes -------------------------------------------------------------------------------------

    def _missing_index(self, statement: PlannedStatement, root: dict[str, Any]) -> ET.Element | None:
        """Make the index that the worst scan's filter asks for, plan again, and undo it."""
        session = self._session
        candidates = [node for node in nodes(root) if node["Node Type"] == "Seq Scan" and node.get("Filter")]
        if not candidates:
            return None
        node = max(candidates, key=lambda each: each["Total Cost"])
        lookup = PlanTables(session)
        table = lookup.table(node.get("Schema", ""), node["Relation Name"])
        if table is None or not _MISSING_INDEX_LEAST_ROWS <= table.rows <= _MISSING_INDEX_MOST_ROWS:
            return None
        equal, unequal = filtered_columns(node, table)
        keys = [*equal, *unequal[:1]]
        if not keys or any(index.columns[: len(keys)] == tuple(keys) for index in table.indexes.values()):
            return None
        target = f"{quote(node.get('Schema', ''))}.{quote(node['Relation Name'])}"
        columns = ", ".join(quote(column) for column in keys)
        own = not session.transaction.count
        if own:
            session.link.begin("READ COMMITTED")
        try:
            session.link.savepoint("missing_index")
            try:
                session.link.script(
                    [*_HARDLY_WAITING, f"CREATE INDEX standin_missing_index ON {target} ({columns})"]
                )
                better = self._explain(statement, "GENERIC_PLAN")["Plan"]
            finally:
                session.link.rollback_to("missing_index")
        except PostgresError:
            return None
        finally:
            if own:
                session.link.end("ROLLBACK")
        uses = any(each.get("Index Name") == "standin_missing_index" for each in nodes(better))
        impact = (root["Total Cost"] - better["Total Cost"]) / max(root["Total Cost"], 0.001) * 100
        if not uses or impact < _MISSING_INDEX_LEAST_IMPACT:
            return None
        missing = add_element(None, "MissingIndexes")
        group = add_element(missing, "MissingIndexGroup", Impact=round(impact, 4))
        index = add_element(
            group,
            "MissingIndex",
            Database=bracket(session.database),
            Schema=bracket(table.schema),
            Table=bracket(table.name),
        )
        # Every index holds the key of the clustered one.
        held = (*keys, *(table.clustered.columns if table.clustered else ()))
        included = [column for column in output_columns(node, table) if column not in held]
        for usage, names in (("EQUALITY", equal), ("INEQUALITY", unequal[:1]), ("INCLUDE", included)):
            if names:
                columns_element = add_element(index, "ColumnGroup", Usage=usage)
                for column in names:
                    shown, column_id = table.columns[column]
                    add_element(columns_element, "Column", Name=bracket(shown), ColumnId=column_id)
        return missing


def _document(release: Release, statements: Sequence[ET.Element]) -> str:
    ET.register_namespace("", NAMESPACE)
    root = add_element(None, "ShowPlanXML", Version=release.showplan_version, Build=release.version)
    batch = add_element(add_element(root, "BatchSequence"), "Batch")
    container = add_element(batch, "Statements")
    container.extend(statements)
    return ET.tostring(root, encoding="unicode")


def _hash(text: str) -> str:
    return "0x" + hashlib.blake2b(text.encode(), digest_size=8).hexdigest().upper()


def _shape(node: dict[str, Any]) -> str:
    children = ",".join(_shape(child) for child in node.get("Plans", ()))
    return f"{node['Node Type']}:{node.get('Relation Name', '')}:{node.get('Index Name', '')}({children})"


def _constant(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return f"({int(value)})"
    if isinstance(value, (int, float)):
        return f"({value})"
    if isinstance(value, bytes):
        return "0x" + value.hex().upper()
    return "N'" + str(value).replace("'", "''") + "'" if isinstance(value, str) else f"'{value}'"
