"""Showplan XML from PostgreSQL's EXPLAIN: the real plan in SQL Server's words.

Operators, estimates, actual rows, times and page reads are PostgreSQL's own. Costs are scaled to SQL Server's unit. The
schema: https://schemas.microsoft.com/sqlserver/2004/07/showplan/
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from sqlserver_standin.engine.link import PostgresError
from sqlserver_standin.engine.names import bracket, quote

if TYPE_CHECKING:
    from sqlserver_standin.engine.session import Session

NAMESPACE = "http://schemas.microsoft.com/sqlserver/2004/07/showplan"
COLUMN_NAME = "Microsoft SQL Server 2005 XML Showplan"
BUILD = "16.0.4205.1"
# SQL Server counts 0.003125 for a random read of a page, PostgreSQL 4.
COST_UNIT = 0.003125 / 4

_IDENTIFIER = r'(?:"(?:[^"]|"")+"|[A-Za-z_\u0080-\uffff][\w$]*)'
_REFERENCE = re.compile(rf"(?<![\w.\"])({_IDENTIFIER})\.({_IDENTIFIER})(?!\s*\()")
_CAST = re.compile(
    r"::(?:\"[^\"]+\"|[a-z_][\w.]*(?: (?:without|with) time zone| precision| varying)?)(?:\(\d+(?:,\d+)?\))?(?:\[\])?"
)
_PARAMETER = re.compile(r"\$(\d+)")
_FUNCTION_SCHEMA = re.compile(r"\b(?:sys|pg_catalog)\.(?=[a-z_])")
_COMPARISON = re.compile(
    rf"^\(?\(?({_IDENTIFIER}\.{_IDENTIFIER})\)?\s*(=|<>|<=|>=|<|>)\s*(.+?)\)?$", re.DOTALL
)
_COMPARE_OPERATIONS = {"=": "EQ", "<>": "NE", "<": "LT", "<=": "LE", ">": "GT", ">=": "GE"}

# A missing index is proposed only where PostgreSQL, with that index really made and rolled back, plans better.
_MISSING_INDEX_LEAST_ROWS = 500
_MISSING_INDEX_MOST_ROWS = 200_000
_MISSING_INDEX_LEAST_IMPACT = 10.0

# Never analysed, or changed by more than SQL Server's threshold since.
_STALE_STATISTICS = """
SELECT c.oid::regclass FROM pg_class c LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
 WHERE c.oid = $1::oid AND c.relkind = 'r'
   AND (c.reltuples < 0 OR s.n_mod_since_analyze > 500 + 0.2 * greatest(c.reltuples, 0))"""

_JOIN_OPERATIONS = {
    "Inner": "Inner Join",
    "Left": "Left Outer Join",
    "Right": "Right Outer Join",
    "Full": "Full Outer Join",
    "Semi": "Left Semi Join",
    "Anti": "Left Anti Semi Join",
    "Right Anti": "Right Anti Semi Join",
    "Right Semi": "Right Semi Join",
}


@dataclass(slots=True)
class _Index:
    name: str
    clustered: bool
    columns: tuple[str, ...]


@dataclass(slots=True)
class _Table:
    schema: str
    name: str
    rows: float
    columns: Mapping[str, tuple[str, int]]
    """PostgreSQL's column name → SQL Server's name and column_id."""
    indexes: Mapping[str, _Index]

    @property
    def clustered(self) -> _Index | None:
        return next((index for index in self.indexes.values() if index.clustered), None)


@dataclass(slots=True)
class PlannedStatement:
    """What one statement's element is made of."""

    text: str
    kind: str
    sql: str
    parameters: tuple[str, ...] = ()
    parameter_types: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    before: tuple[str, ...] = ()


def _q(tag: str) -> str:
    return f"{{{NAMESPACE}}}{tag}"


def _element(parent: ET.Element | None, tag: str, **attributes: object) -> ET.Element:
    shown = {name: _text(value) for name, value in attributes.items() if value is not None}
    if parent is None:
        return ET.Element(_q(tag), shown)
    return ET.SubElement(parent, _q(tag), shown)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.7g}"
    return str(value)


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
            elements.append(self._statement(statement, plan, len(elements) + 1, missing, actual=False))
        return _document(elements)

    def actual(self, statement: PlannedStatement, plan: dict[str, Any]) -> str:
        """The document of one statement that ran under EXPLAIN (ANALYZE)."""
        missing = self._missing_index(statement, plan["Plan"])
        return _document([self._statement(statement, plan, 1, missing, actual=True)])

    def make_statistics(self, tables: Sequence[int]) -> None:
        """SQL Server makes statistics when it compiles a statement; PostgreSQL's come some time later.

        https://learn.microsoft.com/sql/relational-databases/statistics/statistics
        """
        link = self._session.link
        for table in dict.fromkeys(tables):
            rows = link.rows(_STALE_STATISTICS, (table,))
            if rows:
                try:
                    link.script(["SET LOCAL lock_timeout = 50", f"ANALYZE {rows[0][0]}"])
                except PostgresError:
                    # Somebody alters the table; the plan is made with what is known.
                    continue

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
        *,
        actual: bool,
    ) -> ET.Element:
        writer = _PlanWriter(self._session, statement, actual=actual)
        root = plan["Plan"]
        relop = writer.tree(root)
        element = _element(
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
        _element(
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
        query_plan = _element(
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
        if actual:
            milliseconds = round(plan.get("Execution Time", 0))
            _element(query_plan, "QueryTimeStats", CpuTime=milliseconds, ElapsedTime=milliseconds)
        query_plan.append(relop)
        self._parameters(query_plan, statement, actual=actual)
        for node_id, node in enumerate(query_plan.iter(_q("RelOp"))):
            node.set("NodeId", str(node_id))
        return element

    @staticmethod
    def _parameters(query_plan: ET.Element, statement: PlannedStatement, *, actual: bool) -> None:
        names = [name for name in dict.fromkeys(statement.parameters) if name in statement.parameter_types]
        if not names:
            return
        parameters = _element(query_plan, "ParameterList")
        for name in names:
            value = _constant(statement.values.get(name)) if actual else None
            _element(
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
        candidates = [node for node in _nodes(root) if node["Node Type"] == "Seq Scan" and node.get("Filter")]
        if not candidates:
            return None
        node = max(candidates, key=lambda each: each["Total Cost"])
        lookup = _Lookup(session)
        table = lookup.table(node.get("Schema", ""), node["Relation Name"])
        if table is None or not _MISSING_INDEX_LEAST_ROWS <= table.rows <= _MISSING_INDEX_MOST_ROWS:
            return None
        equal, unequal = _filtered_columns(node, table)
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
                    [
                        "SET LOCAL lock_timeout = 50",
                        f"CREATE INDEX standin_missing_index ON {target} ({columns})",
                    ]
                )
                better = self._explain(statement, "GENERIC_PLAN")["Plan"]
            finally:
                session.link.rollback_to("missing_index")
        except PostgresError:
            return None
        finally:
            if own:
                session.link.end("ROLLBACK")
        uses = any(each.get("Index Name") == "standin_missing_index" for each in _nodes(better))
        impact = (root["Total Cost"] - better["Total Cost"]) / max(root["Total Cost"], 0.001) * 100
        if not uses or impact < _MISSING_INDEX_LEAST_IMPACT:
            return None
        missing = _element(None, "MissingIndexes")
        group = _element(missing, "MissingIndexGroup", Impact=round(impact, 4))
        index = _element(
            group,
            "MissingIndex",
            Database=bracket(session.database),
            Schema=bracket(table.schema),
            Table=bracket(table.name),
        )
        included = [column for column in _output_columns(node, table) if column not in keys]
        for usage, names in (("EQUALITY", equal), ("INEQUALITY", unequal[:1]), ("INCLUDE", included)):
            if names:
                columns_element = _element(index, "ColumnGroup", Usage=usage)
                for column in names:
                    shown, column_id = table.columns[column]
                    _element(columns_element, "Column", Name=bracket(shown), ColumnId=column_id)
        return missing


def _document(statements: Sequence[ET.Element]) -> str:
    ET.register_namespace("", NAMESPACE)
    root = _element(None, "ShowPlanXML", Version="1.564", Build=BUILD)
    batch = _element(_element(root, "BatchSequence"), "Batch")
    container = _element(batch, "Statements")
    container.extend(statements)
    return ET.tostring(root, encoding="unicode")


def _hash(text: str) -> str:
    return "0x" + hashlib.blake2b(text.encode(), digest_size=8).hexdigest().upper()


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


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


def _unquoted(identifier: str) -> str:
    return identifier[1:-1].replace('""', '"') if identifier.startswith('"') else identifier


def _conjuncts(condition: str) -> list[str]:
    """The operands of the outermost AND of a condition as EXPLAIN prints it."""
    text = condition.strip()
    while text.startswith("(") and _closes_at_end(text):
        text = text[1:-1].strip()
    parts: list[str] = []
    depth = 0
    quoted = False
    start = 0
    position = 0
    while position < len(text):
        character = text[position]
        if character == "'":
            quoted = not quoted
        elif not quoted:
            if character == "(":
                depth += 1
            elif character == ")":
                depth -= 1
            elif depth == 0 and text.startswith(" AND ", position):
                parts.append(text[start:position])
                position += 5
                start = position
                continue
        position += 1
    parts.append(text[start:])
    return [part.strip() for part in parts]


def _closes_at_end(text: str) -> bool:
    depth = 0
    quoted = False
    for position, character in enumerate(text):
        if character == "'":
            quoted = not quoted
        elif not quoted and character == "(":
            depth += 1
        elif not quoted and character == ")":
            depth -= 1
            if depth == 0:
                return position == len(text) - 1
    return False


def _comparison(conjunct: str) -> tuple[str, str, str] | None:
    """(alias.column, operator, the rest) of ``column operator value``."""
    text = conjunct
    while text.startswith("(") and _closes_at_end(text):
        text = text[1:-1].strip()
    match = _COMPARISON.match(_CAST.sub("", text))
    return (match[1], match[2], match[3]) if match else None


def _filtered_columns(node: dict[str, Any], table: _Table) -> tuple[list[str], list[str]]:
    """Columns that a scan's filter compares with values: by equality, and otherwise."""
    equal: list[str] = []
    unequal: list[str] = []
    for conjunct in _conjuncts(node["Filter"]):
        found = _comparison(conjunct)
        if found is None:
            continue
        reference = _REFERENCE.match(found[0])
        if reference is None or _unquoted(reference[1]) != node.get("Alias"):
            continue
        column = _unquoted(reference[2])
        if column not in table.columns or _REFERENCE.search(found[2]):
            continue
        if found[1] == "=" and column not in equal:
            equal.append(column)
        elif found[1] in ("<", "<=", ">", ">=") and column not in unequal:
            unequal.append(column)
    return equal, unequal


def _output_columns(node: dict[str, Any], table: _Table) -> list[str]:
    found: dict[str, None] = {}
    for output in node.get("Output", ()):
        for reference in _REFERENCE.finditer(output):
            if _unquoted(reference[1]) == node.get("Alias") and _unquoted(reference[2]) in table.columns:
                found[_unquoted(reference[2])] = None
    return list(found)


class _Lookup:
    """Names behind PostgreSQL's names."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._tables: dict[tuple[str, str], _Table | None] = {}

    def table(self, schema: str, relation: str) -> _Table | None:
        key = (schema, relation)
        if key not in self._tables:
            self._tables[key] = self._load(schema, relation)
        return self._tables[key]

    def _load(self, schema: str, relation: str) -> _Table | None:
        if schema in ("pg_catalog", "information_schema", "sys_meta"):
            return None
        info = self._session.catalog.info("" if schema.startswith("pg_temp") else schema, relation)
        if info is None:
            return None
        link = self._session.link
        rows = link.rows("SELECT greatest(reltuples, 0) FROM pg_class WHERE oid = $1::oid", (info.object_id,))
        indexes = {}
        for name, description, columns in link.rows(
            """SELECT c.relname, d.description,
                      (SELECT json_agg(a.attname ORDER BY k.position)
                         FROM unnest(i.indkey) WITH ORDINALITY k (attnum, position)
                         JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum)
                 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                 LEFT JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass
                WHERE i.indrelid = $1::oid""",
            (info.object_id,),
        ):
            meta = json.loads(description or "{}")
            assert name is not None
            indexes[name] = _Index(
                meta.get("name", name), bool(meta.get("clustered")), tuple(json.loads(columns or "[]"))
            )
        return _Table(
            info.schema,
            info.name,
            float(rows[0][0] or 0) if rows else 0.0,
            {column.pg_name: (column.name, column.number) for column in info.columns},
            indexes,
        )


class _PlanWriter:
    """Turns one plan of PostgreSQL into a tree of RelOp elements."""

    def __init__(self, session: Session, statement: PlannedStatement, *, actual: bool) -> None:
        self._session = session
        self._statement = statement
        self._actual = actual
        self._lookup = _Lookup(session)
        self._aliases: dict[str, tuple[_Table, str]] = {}
        self._common_tables: dict[str, dict[str, Any]] = {}
        self._expressions: dict[str, str] = {}

    def tree(self, root: dict[str, Any]) -> ET.Element:
        """The whole plan."""
        for node in _nodes(root):
            relation = node.get("Relation Name")
            if relation and node.get("Alias"):
                table = self._lookup.table(node.get("Schema", ""), relation)
                if table is not None:
                    self._aliases[node["Alias"]] = (table, node["Alias"])
            if node.get("Parent Relationship") == "InitPlan" and node.get("Subplan Name", "").startswith(
                "CTE "
            ):
                self._common_tables[node["Subplan Name"].removeprefix("CTE ")] = node
        return self._relop(root)

    # -- shared parts ----------------------------------------------------------------------------------------

    def _relop(self, node: dict[str, Any]) -> ET.Element:
        kind = node["Node Type"]
        build = _BUILDERS.get(kind)
        if build is None:
            build = _BUILDERS["Result"] if not self._children(node) else _PlanWriter._pass_on
        element = build(self, node)
        for child in node.get("Plans", ()):
            relationship = child.get("Parent Relationship")
            is_common_table = child.get("Subplan Name", "").startswith("CTE ")
            if relationship in ("SubPlan", "InitPlan") and not is_common_table:
                element = self._with_subplan(node, element, child)
        return element

    def _with_subplan(self, node: dict[str, Any], outer: ET.Element, child: dict[str, Any]) -> ET.Element:
        element = self._start(node, "Nested Loops", "Left Outer Join")
        loops = _element(element, "NestedLoops", Optimized=False)
        loops.append(outer)
        loops.append(self._relop(child))
        return element

    @staticmethod
    def _children(node: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            child
            for child in node.get("Plans", ())
            if child.get("Parent Relationship") not in ("SubPlan", "InitPlan")
        ]

    def _start(
        self,
        node: dict[str, Any],
        physical: str,
        logical: str,
        *,
        own_counters: bool = True,
        rows_read: float | None = None,
        table: _Table | None = None,
    ) -> ET.Element:
        below = sum(child["Total Cost"] for child in self._children(node))
        own = max(node["Total Cost"] - below, 0.0) * COST_UNIT
        reads = table is not None
        element = _element(
            None,
            "RelOp",
            AvgRowSize=float(node.get("Plan Width", 8)),
            EstimateCPU=own * (0.2 if reads else 1.0),
            EstimateIO=own * 0.8 if reads else 0.0,
            EstimateRebinds=0.0,
            EstimateRewinds=0.0,
            EstimatedExecutionMode="Row",
            EstimateRows=float(node["Plan Rows"]),
            EstimatedRowsRead=rows_read,
            LogicalOp=logical,
            NodeId=0,
            Parallel=False,
            PhysicalOp=physical,
            EstimatedTotalSubtreeCost=node["Total Cost"] * COST_UNIT,
            TableCardinality=table.rows if table is not None else None,
        )
        outputs = _element(element, "OutputList")
        for output in node.get("Output", ()):
            self._column(outputs, output)
        self._warnings(element, node)
        if self._actual and own_counters and "Actual Loops" in node:
            self._counters(element, node, table)
        return element

    def _warnings(self, element: ET.Element, node: dict[str, Any]) -> None:
        spilled = (
            node.get("Sort Space Type") == "Disk"
            or node.get("Hash Batches", 1) > 1
            or node.get("Disk Usage", 0) > 0
        )
        for child in node.get("Plans", ()):
            spilled = spilled or (child["Node Type"] == "Hash" and child.get("Hash Batches", 1) > 1)
        cross = node["Node Type"] == "Nested Loop" and self._has_no_predicate(node)
        if spilled or cross:
            warnings = _element(element, "Warnings", NoJoinPredicate=True if cross else None)
            if spilled:
                _element(warnings, "SpillToTempDb", SpillLevel=1, SpilledThreadCount=1)

    def _has_no_predicate(self, node: dict[str, Any]) -> bool:
        if node.get("Join Filter") or node.get("Join Type") not in ("Inner", "Left"):
            return False
        outer, inner = self._children(node)[:2]
        outer_aliases = {each["Alias"] for each in _nodes(outer) if each.get("Alias")}
        if outer["Plan Rows"] <= 1 or inner["Plan Rows"] <= 1 or not outer_aliases:
            return False
        texts = " ".join(
            str(value)
            for each in _nodes(inner)
            for key, value in each.items()
            if key.endswith(("Cond", "Filter", "Key"))
        )
        return not any(_unquoted(match[1]) in outer_aliases for match in _REFERENCE.finditer(texts))

    def _counters(self, element: ET.Element, node: dict[str, Any], table: _Table | None) -> None:
        loops = node["Actual Loops"]
        rows = round(node["Actual Rows"] * loops)
        removed = sum(node.get(key, 0) for key in ("Rows Removed by Filter", "Rows Removed by Index Recheck"))
        milliseconds = round(node.get("Actual Total Time", 0) * loops)
        information = _element(element, "RunTimeInformation")
        counters: dict[str, object] = {
            "Thread": 0,
            "ActualRows": rows,
            "ActualRowsRead": rows + round(removed * loops) if table is not None else None,
            "ActualEndOfScans": loops,
            "ActualExecutions": loops,
            "ActualExecutionMode": "Row",
            "ActualElapsedms": milliseconds,
            "ActualCPUms": milliseconds,
        }
        if table is not None:
            hit = node.get("Shared Hit Blocks", 0) + node.get("Local Hit Blocks", 0)
            read = node.get("Shared Read Blocks", 0) + node.get("Local Read Blocks", 0)
            counters |= {
                "ActualScans": loops,
                "ActualLogicalReads": hit + read,
                "ActualPhysicalReads": read,
                "ActualReadAheads": 0,
                "ActualLobLogicalReads": 0,
                "ActualLobPhysicalReads": 0,
                "ActualLobReadAheads": 0,
            }
        _element(information, "RunTimeCountersPerThread", **counters)

    # -- columns and expressions -----------------------------------------------------------------------------

    def _column(self, parent: ET.Element, expression: str) -> None:
        match = _REFERENCE.fullmatch(expression.strip())
        if match is not None and _unquoted(match[1]) in self._aliases:
            table, alias = self._aliases[_unquoted(match[1])]
            column = table.columns.get(_unquoted(match[2]), (_unquoted(match[2]), 0))[0]
            _element(
                parent,
                "ColumnReference",
                Database=bracket(self._session.database),
                Schema=bracket(table.schema),
                Table=bracket(table.name),
                Alias=bracket(alias) if alias != table.name else None,
                Column=column,
            )
            return
        name = self._expressions.setdefault(expression, f"Expr{1000 + len(self._expressions) + 1}")
        _element(parent, "ColumnReference", Column=name)

    def _columns(self, parent: ET.Element, tag: str, expressions: Sequence[str]) -> None:
        container = _element(parent, tag)
        for expression in expressions:
            self._column(container, _bare_key(expression))

    def _tsql(self, expression: str) -> str:
        """An expression of EXPLAIN in T-SQL's spelling."""

        def reference(match: re.Match[str]) -> str:
            alias = _unquoted(match[1])
            if alias not in self._aliases:
                return f"{bracket(alias)}.{bracket(_unquoted(match[2]))}"
            table, _ = self._aliases[alias]
            column = table.columns.get(_unquoted(match[2]), (_unquoted(match[2]), 0))[0]
            parts = (self._session.database, table.schema, table.name, column)
            name = ".".join(bracket(part) for part in parts)
            return name if alias == table.name else f"{name} as {bracket(alias)}.{bracket(column)}"

        def parameter(match: re.Match[str]) -> str:
            names = self._statement.parameters
            position = int(match[1]) - 1
            return f"[{names[position]}]" if position < len(names) else match[0]

        text = _CAST.sub("", expression)
        text = _FUNCTION_SCHEMA.sub("", text)
        text = _REFERENCE.sub(reference, text)
        text = _PARAMETER.sub(parameter, text)
        while text.startswith("(") and _closes_at_end(text):
            text = text[1:-1]
        return re.sub(r"\((\[[^()]*?\])\)", r"\1", text)

    def _scalar(self, parent: ET.Element, expression: str) -> ET.Element:
        """A ScalarOperator: columns, parameters and constants as such, the rest by its text."""
        text = self._tsql(expression)
        operator = _element(parent, "ScalarOperator", ScalarString=text)
        bare = _CAST.sub("", expression).strip()
        while bare.startswith("(") and _closes_at_end(bare):
            bare = bare[1:-1].strip()
        parameter = _PARAMETER.fullmatch(bare)
        if _REFERENCE.fullmatch(bare):
            self._column(_element(operator, "Identifier"), bare)
        elif parameter is not None:
            _element(_element(operator, "Identifier"), "ColumnReference", Column=text.strip("[]"))
        elif re.fullmatch(r"'(?:[^']|'')*'|-?\d+(?:\.\d+)?|true|false|NULL", bare):
            _element(operator, "Const", ConstValue=bare if bare.startswith("'") else f"({bare})")
        else:
            self._compound(operator, bare)
        return operator

    def _compound(self, operator: ET.Element, text: str) -> None:
        conjuncts = _conjuncts(text)
        if len(conjuncts) > 1:
            logical = _element(operator, "Logical", Operation="AND")
            for conjunct in conjuncts:
                self._scalar(logical, conjunct)
            return
        found = _comparison(text)
        if found is not None:
            compare = _element(operator, "Compare", CompareOp=_COMPARE_OPERATIONS[found[1]])
            self._scalar(compare, found[0])
            self._scalar(compare, found[2])
            return
        name = re.match(r"[a-z_]\w*(?=\()", text)
        _element(operator, "Intrinsic", FunctionName=name[0] if name else "expression")

    def _predicate(self, parent: ET.Element, condition: str | None, tag: str = "Predicate") -> None:
        if condition:
            self._scalar(_element(parent, tag), condition)

    def _object(self, parent: ET.Element, table: _Table, alias: str, index: _Index | None) -> None:
        _element(
            parent,
            "Object",
            Database=bracket(self._session.database),
            Schema=bracket(table.schema),
            Table=bracket(table.name),
            Index=bracket(index.name) if index else None,
            Alias=bracket(alias) if alias and alias != table.name else None,
            IndexKind=None if index is None else "Clustered" if index.clustered else "NonClustered",
            Storage="RowStore",
        )

    # -- reading ---------------------------------------------------------------------------------------------

    def _seq_scan(self, node: dict[str, Any]) -> ET.Element:
        table = self._lookup.table(node.get("Schema", ""), node.get("Relation Name", ""))
        if table is None:
            return self._constant_scan(node)
        index = table.clustered
        read = max(table.rows, float(node["Plan Rows"]))
        if index is not None:
            element = self._start(
                node, "Clustered Index Scan", "Clustered Index Scan", rows_read=read, table=table
            )
            scan = _element(
                element,
                "IndexScan",
                Ordered=False,
                ForcedIndex=False,
                ForceScan=False,
                NoExpandHint=False,
                Storage="RowStore",
            )
        else:
            element = self._start(node, "Table Scan", "Table Scan", rows_read=read, table=table)
            scan = _element(
                element,
                "TableScan",
                Ordered=False,
                ForcedIndex=False,
                ForceScan=False,
                NoExpandHint=False,
                Storage="RowStore",
            )
        _element(scan, "DefinedValues")
        self._object(scan, table, node.get("Alias", ""), index)
        self._predicate(scan, node.get("Filter"))
        return element

    def _index_scan(self, node: dict[str, Any]) -> ET.Element:
        table = self._lookup.table(node.get("Schema", ""), node.get("Relation Name", ""))
        if table is None:
            return self._constant_scan(node)
        index = table.indexes.get(node.get("Index Name", ""), _Index(node.get("Index Name", ""), False, ()))
        used = set(_output_columns(node, table)) | _condition_columns(node, table)
        if index.clustered or node["Node Type"] == "Index Only Scan" or used <= set(index.columns):
            return self._index_access(node, table, index, node.get("Filter"))
        return self._with_lookup(node, table, self._index_access(node, table, index, None))

    def _index_access(
        self, node: dict[str, Any], table: _Table, index: _Index, condition: str | None
    ) -> ET.Element:
        seek = bool(node.get("Index Cond"))
        kind = ("Clustered " if index.clustered else "") + ("Index Seek" if seek else "Index Scan")
        rows_read = float(node["Plan Rows"]) if seek else max(table.rows, float(node["Plan Rows"]))
        element = self._start(node, kind, kind, rows_read=rows_read, table=table)
        scan = _element(
            element,
            "IndexScan",
            Ordered=True,
            ScanDirection="BACKWARD" if node.get("Scan Direction") == "Backward" else "FORWARD",
            ForcedIndex=False,
            ForceSeek=False,
            ForceScan=False,
            NoExpandHint=False,
            Storage="RowStore",
        )
        _element(scan, "DefinedValues")
        self._object(scan, table, node.get("Alias", ""), index)
        residual = self._seek_predicates(scan, node.get("Index Cond"))
        self._predicate(scan, " AND ".join(part for part in (*residual, condition or "") if part) or None)
        return element

    def _seek_predicates(self, scan: ET.Element, condition: str | None) -> list[str]:
        """The seek's ranges; what is no plain comparison is left over."""
        if not condition:
            return []
        ranges: dict[str, list[tuple[str, str, str]]] = {"Prefix": [], "StartRange": [], "EndRange": []}
        residual: list[str] = []
        for conjunct in _conjuncts(condition):
            found = _comparison(conjunct)
            if found is None or found[1] == "<>":
                residual.append(conjunct)
            elif found[1] == "=":
                ranges["Prefix"].append(found)
            else:
                ranges["StartRange" if found[1] in (">", ">=") else "EndRange"].append(found)
        if not any(ranges.values()):
            return residual
        keys = _element(_element(_element(scan, "SeekPredicates"), "SeekPredicateNew"), "SeekKeys")
        for tag, comparisons in ranges.items():
            if comparisons:
                part = _element(keys, tag, ScanType=_COMPARE_OPERATIONS[comparisons[0][1]])
                columns = _element(part, "RangeColumns")
                expressions = _element(part, "RangeExpressions")
                for column, _, value in comparisons:
                    self._column(columns, column)
                    self._scalar(expressions, value)
        return residual

    def _with_lookup(self, node: dict[str, Any], table: _Table, seek: ET.Element) -> ET.Element:
        """PostgreSQL's index scan fetches the rows itself; SQL Server joins the index with the table."""
        clustered = table.clustered
        element = self._start(node, "Nested Loops", "Inner Join")
        loops = _element(element, "NestedLoops", Optimized=False)
        if clustered is not None:
            self._columns(
                loops, "OuterReferences", [f"{quote(node['Alias'])}.{quote(c)}" for c in clustered.columns]
            )
        loops.append(seek)
        # A key lookup is a seek on the clustered index with Lookup="true" in SQL Server's XML.
        name = "Clustered Index Seek" if clustered is not None else "RID Lookup"
        lookup = self._start(
            {**node, "Plans": [], "Plan Rows": 1}, name, name, own_counters=False, rows_read=1.0, table=table
        )
        lookup.set("EstimateRebinds", _text(max(float(node["Plan Rows"]) - 1, 0.0)))
        if self._actual and "Actual Loops" in node:
            fetched = round(
                (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
            )
            per_row = {**node, "Actual Loops": 1, "Actual Rows": node["Actual Rows"] * node["Actual Loops"]}
            self._counters(lookup, per_row, table)
            counters = next(lookup.iter(_q("RunTimeCountersPerThread")))
            counters.set("ActualExecutions", str(fetched))
            counters.set("ActualEndOfScans", str(fetched))
            # The pages are counted at the seek: PostgreSQL doesn't say which of them were the table's.
            for attribute in ("ActualLogicalReads", "ActualPhysicalReads", "ActualElapsedms", "ActualCPUms"):
                counters.set(attribute, "0")
        scan = _element(
            lookup,
            "IndexScan",
            Lookup=True,
            Ordered=True,
            ScanDirection="FORWARD",
            ForcedIndex=False,
            ForceSeek=False,
            ForceScan=False,
            NoExpandHint=False,
            Storage="RowStore",
        )
        _element(scan, "DefinedValues")
        self._object(scan, table, node.get("Alias", ""), clustered)
        if clustered is not None:
            keys = _element(_element(_element(scan, "SeekPredicates"), "SeekPredicateNew"), "SeekKeys")
            part = _element(keys, "Prefix", ScanType="EQ")
            references = [f"{quote(node['Alias'])}.{quote(column)}" for column in clustered.columns]
            self._columns(part, "RangeColumns", references)
            expressions = _element(part, "RangeExpressions")
            for reference in references:
                self._scalar(expressions, reference)
        self._predicate(scan, node.get("Filter"))
        loops.append(lookup)
        return element

    def _bitmap_scan(self, node: dict[str, Any]) -> ET.Element:
        table = self._lookup.table(node.get("Schema", ""), node.get("Relation Name", ""))
        child = self._children(node)[0]
        if table is None:
            return self._constant_scan(node)
        while child["Node Type"] in ("BitmapAnd", "BitmapOr"):
            child = self._children(child)[0]
        index = table.indexes.get(child.get("Index Name", ""), _Index(child.get("Index Name", ""), False, ()))
        access = {**node, **{key: child[key] for key in ("Index Cond",) if key in child}, "Plans": []}
        if index.clustered:
            return self._index_access(access, table, index, node.get("Filter"))
        return self._with_lookup(access, table, self._index_access(access, table, index, None))

    def _constant_scan(self, node: dict[str, Any]) -> ET.Element:
        element = self._start(node, "Constant Scan", "Constant Scan")
        _element(element, "ConstantScan")
        return element

    def _function_scan(self, node: dict[str, Any]) -> ET.Element:
        element = self._start(node, "Table-valued function", "Table-valued function")
        function = _element(element, "TableValuedFunction")
        _element(function, "DefinedValues")
        _element(
            function,
            "Object",
            Table=bracket(node.get("Function Name") or node.get("Table Function Name") or "function"),
        )
        return element

    def _common_table_scan(self, node: dict[str, Any]) -> ET.Element:
        definition = self._common_tables.pop(node.get("CTE Name", ""), None)
        element = self._start(node, "Table Spool", "Lazy Spool")
        spool = _element(element, "Spool")
        if definition is not None:
            spool.append(self._relop(definition))
        return element

    # -- joining ---------------------------------------------------------------------------------------------

    def _nested_loop(self, node: dict[str, Any]) -> ET.Element:
        outer, inner = self._children(node)[:2]
        element = self._start(
            node, "Nested Loops", _JOIN_OPERATIONS.get(node.get("Join Type", ""), "Inner Join")
        )
        loops = _element(element, "NestedLoops", Optimized=False)
        self._predicate(loops, node.get("Join Filter"))
        references = self._outer_references(outer, inner)
        if references:
            self._columns(loops, "OuterReferences", references)
        loops.append(self._relop(outer))
        second = self._relop(inner)
        second.set("EstimateRebinds", _text(max(float(outer["Plan Rows"]) - 1, 0.0)))
        loops.append(second)
        return self._filtered(node, element)

    @staticmethod
    def _outer_references(outer: dict[str, Any], inner: dict[str, Any]) -> list[str]:
        aliases = {each["Alias"] for each in _nodes(outer) if each.get("Alias")}
        found: dict[str, None] = {}
        for each in _nodes(inner):
            for key, value in each.items():
                if key.endswith(("Cond", "Filter")) and isinstance(value, str):
                    for match in _REFERENCE.finditer(value):
                        if _unquoted(match[1]) in aliases:
                            found[match[0]] = None
        return list(found)

    def _hash_join(self, node: dict[str, Any]) -> ET.Element:
        probe, build = self._children(node)[:2]
        if build["Node Type"] == "Hash":
            build = self._children(build)[0]
        join = node.get("Join Type", "Inner")
        # PostgreSQL names the probe side left; SQL Server the build side, its first child.
        mirrored = {
            "Left": "Right",
            "Right": "Left",
            "Semi": "Right Semi",
            "Anti": "Right Anti",
            "Right Anti": "Anti",
            "Right Semi": "Semi",
        }
        element = self._start(
            node, "Hash Match", _JOIN_OPERATIONS.get(mirrored.get(join, join), "Inner Join")
        )
        hash_element = _element(element, "Hash")
        _element(hash_element, "DefinedValues")
        aliases = {each["Alias"] for each in _nodes(build) if each.get("Alias")}
        build_keys: list[str] = []
        probe_keys: list[str] = []
        for conjunct in _conjuncts(node.get("Hash Cond", "")):
            for match in _REFERENCE.finditer(conjunct):
                (build_keys if _unquoted(match[1]) in aliases else probe_keys).append(match[0])
        if build_keys:
            self._columns(hash_element, "HashKeysBuild", build_keys)
        if probe_keys:
            self._columns(hash_element, "HashKeysProbe", probe_keys)
        self._predicate(hash_element, node.get("Join Filter"), "ProbeResidual")
        hash_element.append(self._relop(build))
        hash_element.append(self._relop(probe))
        return self._filtered(node, element)

    def _merge_join(self, node: dict[str, Any]) -> ET.Element:
        outer, inner = self._children(node)[:2]
        element = self._start(
            node, "Merge Join", _JOIN_OPERATIONS.get(node.get("Join Type", ""), "Inner Join")
        )
        merge = _element(element, "Merge", ManyToMany=not node.get("Inner Unique", False))
        aliases = {each["Alias"] for each in _nodes(outer) if each.get("Alias")}
        references = [match[0] for match in _REFERENCE.finditer(node.get("Merge Cond", ""))]
        inner_keys = [name for name in references if _unquoted(name.split(".")[0]) not in aliases]
        outer_keys = [name for name in references if name not in inner_keys]
        self._columns(merge, "InnerSideJoinColumns", inner_keys)
        self._columns(merge, "OuterSideJoinColumns", outer_keys)
        self._predicate(merge, node.get("Join Filter"), "Residual")
        merge.append(self._relop(outer))
        merge.append(self._relop(inner))
        return self._filtered(node, element)

    def _filtered(self, node: dict[str, Any], element: ET.Element) -> ET.Element:
        if not node.get("Filter"):
            return element
        outside = self._start(node, "Filter", "Filter")
        filter_element = _element(outside, "Filter", StartupExpression=False)
        filter_element.append(element)
        self._predicate(filter_element, node["Filter"])
        return outside

    # -- grouping, ordering, limiting ------------------------------------------------------------------------

    def _aggregate(self, node: dict[str, Any]) -> ET.Element:
        child = self._relop(self._children(node)[0])
        keys = node.get("Group Key") or [
            key for grouping in node.get("Grouping Sets", ()) for key in grouping.get("Group Keys", [[]])[0]
        ]
        if node.get("Strategy") in ("Hashed", "Mixed"):
            element = self._start(node, "Hash Match", "Aggregate")
            body = _element(element, "Hash")
            _element(body, "DefinedValues")
            self._columns(body, "HashKeysBuild", keys)
        else:
            element = self._start(node, "Stream Aggregate", "Aggregate")
            body = _element(element, "StreamAggregate")
            _element(body, "DefinedValues")
            if keys:
                self._columns(body, "GroupBy", keys)
        body.append(child)
        return self._filtered(node, element)

    def _unique(self, node: dict[str, Any]) -> ET.Element:
        child = self._children(node)[0]
        element = self._start(node, "Stream Aggregate", "Aggregate")
        body = _element(element, "StreamAggregate")
        _element(body, "DefinedValues")
        self._columns(body, "GroupBy", node.get("Output", ()))
        body.append(self._relop(child))
        return element

    def _sort(self, node: dict[str, Any], top: int | None = None) -> ET.Element:
        element = self._start(node, "Sort", "Sort" if top is None else "TopN Sort")
        if top is None:
            body = _element(element, "Sort", Distinct=False)
        else:
            body = _element(element, "TopSort", Distinct=False, Rows=top)
        order = _element(body, "OrderBy")
        for key in node.get("Sort Key", ()):
            column = _element(order, "OrderByColumn", Ascending=" DESC" not in key)
            self._column(column, _bare_key(key))
        body.append(self._relop(self._children(node)[0]))
        return element

    def _limit(self, node: dict[str, Any]) -> ET.Element:
        child = self._children(node)[0]
        rows = int(node["Plan Rows"])
        if child["Node Type"] in ("Sort", "Incremental Sort"):
            return self._sort({**child, **{key: node[key] for key in ("Plan Rows", "Total Cost")}}, rows)
        element = self._start(node, "Top", "Top")
        top = _element(element, "Top", RowCount=False, IsPercent=False, WithTies=False)
        self._scalar(_element(top, "TopExpression"), str(rows))
        top.append(self._relop(child))
        return element

    def _window(self, node: dict[str, Any]) -> ET.Element:
        element = self._start(node, "Window Aggregate", "Window Aggregate")
        body = _element(element, "WindowAggregate")
        _element(body, "DefinedValues")
        body.append(self._relop(self._children(node)[0]))
        return element

    def _append(self, node: dict[str, Any]) -> ET.Element:
        children = self._children(node)
        if len(children) < 2:
            return self._pass_on(node)
        element = self._start(node, "Concatenation", "Concatenation")
        body = _element(element, "Concat")
        _element(body, "DefinedValues")
        for child in children:
            body.append(self._relop(child))
        return element

    def _set_operation(self, node: dict[str, Any]) -> ET.Element:
        children = self._children(node)
        command = "Left Semi Join" if "Intersect" in node.get("Command", "") else "Left Anti Semi Join"
        element = self._start(node, "Hash Match", command)
        body = _element(element, "Hash")
        _element(body, "DefinedValues")
        for child in children[:2]:
            body.append(self._relop(child))
        return element

    def _spool(self, node: dict[str, Any]) -> ET.Element:
        element = self._start(node, "Table Spool", "Lazy Spool")
        body = _element(element, "Spool")
        body.append(self._relop(self._children(node)[0]))
        return element

    def _compute(self, node: dict[str, Any]) -> ET.Element:
        element = self._start(node, "Compute Scalar", "Compute Scalar")
        body = _element(element, "ComputeScalar")
        _element(body, "DefinedValues")
        body.append(self._relop(self._children(node)[0]))
        return self._filtered(node, element)

    def _result(self, node: dict[str, Any]) -> ET.Element:
        if self._children(node):
            return self._compute(node)
        return self._constant_scan(node)

    def _gather(self, node: dict[str, Any]) -> ET.Element:
        element = self._start(node, "Parallelism", "Gather Streams")
        body = _element(element, "Parallelism")
        body.append(self._relop(self._children(node)[0]))
        return element

    def _pass_on(self, node: dict[str, Any]) -> ET.Element:
        """A node that SQL Server has no operator for."""
        return self._relop(self._children(node)[0])

    # -- changing --------------------------------------------------------------------------------------------

    def _modify(self, node: dict[str, Any]) -> ET.Element:
        operation = node.get("Operation", "Update")
        table = self._lookup.table(node.get("Schema", ""), node.get("Relation Name", ""))
        clustered = table.clustered if table is not None else None
        prefix = "Clustered Index" if clustered is not None else "Table"
        shown = dict(node)
        children = self._children(node)
        if not node.get("Plan Rows") and children:
            # Without RETURNING PostgreSQL counts no rows here; those that came from below were changed.
            for key in ("Plan Rows", "Actual Rows", "Plan Width"):
                if key in children[0]:
                    shown[key] = children[0][key]
        element = self._start(shown, f"{prefix} {operation}", operation, table=table)
        body = _element(element, "Update")
        _element(body, "DefinedValues")
        if table is not None:
            self._object(body, table, node.get("Alias", ""), clustered)
            for index in table.indexes.values():
                if not index.clustered:
                    self._object(body, table, node.get("Alias", ""), index)
        else:
            _element(body, "Object", Table=bracket(node.get("Relation Name", "")))
        if children:
            body.append(self._relop(children[0]))
        return element


def _bare_key(expression: str) -> str:
    text = re.sub(
        r" (?:DESC|ASC)?(?: ?NULLS (?:FIRST|LAST))?$", "", re.sub(r" USING \S+$", "", expression)
    ).strip()
    while text.startswith("(") and _closes_at_end(text):
        text = text[1:-1].strip()
    return text


def _condition_columns(node: dict[str, Any], table: _Table) -> set[str]:
    found = set()
    for key in ("Filter", "Index Cond", "Recheck Cond"):
        for match in _REFERENCE.finditer(node.get(key, "")):
            if _unquoted(match[1]) == node.get("Alias") and _unquoted(match[2]) in table.columns:
                found.add(_unquoted(match[2]))
    return found


_BUILDERS: dict[str, Callable[[_PlanWriter, dict[str, Any]], ET.Element]] = {
    "Seq Scan": _PlanWriter._seq_scan,
    "Sample Scan": _PlanWriter._seq_scan,
    "Index Scan": _PlanWriter._index_scan,
    "Index Only Scan": _PlanWriter._index_scan,
    "Bitmap Heap Scan": _PlanWriter._bitmap_scan,
    "Tid Scan": _PlanWriter._seq_scan,
    "Function Scan": _PlanWriter._function_scan,
    "Table Function Scan": _PlanWriter._function_scan,
    "Values Scan": _PlanWriter._constant_scan,
    "WorkTable Scan": _PlanWriter._constant_scan,
    "Named Tuplestore Scan": _PlanWriter._constant_scan,
    "CTE Scan": _PlanWriter._common_table_scan,
    "Result": _PlanWriter._result,
    "Nested Loop": _PlanWriter._nested_loop,
    "Hash Join": _PlanWriter._hash_join,
    "Merge Join": _PlanWriter._merge_join,
    "Aggregate": _PlanWriter._aggregate,
    "Group": _PlanWriter._aggregate,
    "Unique": _PlanWriter._unique,
    "Sort": _PlanWriter._sort,
    "Incremental Sort": _PlanWriter._sort,
    "Limit": _PlanWriter._limit,
    "WindowAgg": _PlanWriter._window,
    "Append": _PlanWriter._append,
    "Merge Append": _PlanWriter._append,
    "Recursive Union": _PlanWriter._append,
    "SetOp": _PlanWriter._set_operation,
    "Materialize": _PlanWriter._spool,
    "Memoize": _PlanWriter._spool,
    "ProjectSet": _PlanWriter._compute,
    "Subquery Scan": _PlanWriter._compute,
    "Gather": _PlanWriter._gather,
    "Gather Merge": _PlanWriter._gather,
    "LockRows": _PlanWriter._pass_on,
    "ModifyTable": _PlanWriter._modify,
}
