"""One plan of PostgreSQL to a tree of Showplan's RelOp elements."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from sqlserver_standin.engine.names import bracket, quote
from sqlserver_standin.engine.plan_expressions import (
    CAST,
    COMPARE_OPERATIONS,
    FUNCTION_SCHEMA,
    PARAMETER,
    REFERENCE,
    bare_key,
    closes_at_end,
    comparison,
    split_conjuncts,
    unquoted,
)
from sqlserver_standin.engine.plan_tables import (
    PlanIndex,
    PlanTable,
    PlanTables,
    condition_columns,
    nodes,
    output_columns,
)

if TYPE_CHECKING:
    from sqlserver_standin.engine.session import Session

NAMESPACE = "http://schemas.microsoft.com/sqlserver/2004/07/showplan"
# SQL Server counts 0.003125 for a random read of a page, PostgreSQL 4.
COST_UNIT = 0.003125 / 4

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
class PlannedStatement:
    """What one statement's element is made of."""

    text: str
    kind: str
    sql: str
    parameters: tuple[str, ...] = ()
    parameter_types: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    before: tuple[str, ...] = ()


def tag(name: str) -> str:
    """An element's name in Showplan's namespace."""
    return f"{{{NAMESPACE}}}{name}"


def add_element(parent: ET.Element | None, name: str, **attributes: object) -> ET.Element:
    """A new element below ``parent``; attributes that are None are left out."""
    shown = {key: attribute_text(value) for key, value in attributes.items() if value is not None}
    if parent is None:
        return ET.Element(tag(name), shown)
    return ET.SubElement(parent, tag(name), shown)


def attribute_text(value: object) -> str:
    """An attribute's value as XML schema spells it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.7g}"
    return str(value)


class PlanWriter:
    """Turns one plan of PostgreSQL into a tree of RelOp elements."""

    def __init__(self, session: Session, statement: PlannedStatement, *, actual: bool) -> None:
        self._session = session
        self._statement = statement
        self._actual = actual
        self._lookup = PlanTables(session)
        self._aliases: dict[str, tuple[PlanTable, str]] = {}
        self._common_tables: dict[str, dict[str, Any]] = {}
        self._expressions: dict[str, str] = {}

    def tree(self, root: dict[str, Any]) -> ET.Element:
        """The whole plan."""
        for node in nodes(root):
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
            build = _BUILDERS["Result"] if not self._children(node) else PlanWriter._pass_on
        element = build(self, node)
        for child in node.get("Plans", ()):
            relationship = child.get("Parent Relationship")
            is_common_table = child.get("Subplan Name", "").startswith("CTE ")
            if relationship in ("SubPlan", "InitPlan") and not is_common_table:
                element = self._with_subplan(node, element, child)
        return element

    def _with_subplan(self, node: dict[str, Any], outer: ET.Element, child: dict[str, Any]) -> ET.Element:
        element = self._start(node, "Nested Loops", "Left Outer Join")
        loops = add_element(element, "NestedLoops", Optimized=False)
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
        table: PlanTable | None = None,
    ) -> ET.Element:
        below = sum(child["Total Cost"] for child in self._children(node))
        own = max(node["Total Cost"] - below, 0.0) * COST_UNIT
        reads = table is not None
        element = add_element(
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
        outputs = add_element(element, "OutputList")
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
            warnings = add_element(element, "Warnings", NoJoinPredicate=True if cross else None)
            if spilled:
                add_element(warnings, "SpillToTempDb", SpillLevel=1, SpilledThreadCount=1)

    def _has_no_predicate(self, node: dict[str, Any]) -> bool:
        if node.get("Join Filter") or node.get("Join Type") not in ("Inner", "Left"):
            return False
        outer, inner = self._children(node)[:2]
        outer_aliases = {each["Alias"] for each in nodes(outer) if each.get("Alias")}
        if outer["Plan Rows"] <= 1 or inner["Plan Rows"] <= 1 or not outer_aliases:
            return False
        texts = " ".join(
            str(value)
            for each in nodes(inner)
            for key, value in each.items()
            if key.endswith(("Cond", "Filter", "Key"))
        )
        return not any(unquoted(match[1]) in outer_aliases for match in REFERENCE.finditer(texts))

    def _counters(self, element: ET.Element, node: dict[str, Any], table: PlanTable | None) -> None:
        loops = node["Actual Loops"]
        rows = round(node["Actual Rows"] * loops)
        removed = sum(node.get(key, 0) for key in ("Rows Removed by Filter", "Rows Removed by Index Recheck"))
        milliseconds = round(node["Actual Total Time"] * loops) if "Actual Total Time" in node else None
        information = add_element(element, "RunTimeInformation")
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
        add_element(information, "RunTimeCountersPerThread", **counters)

    # -- columns and expressions -----------------------------------------------------------------------------

    def _referenced(self, expression: str) -> tuple[PlanTable, str, str] | None:
        """The table, alias and column that an expression is. Of a lone table PostgreSQL leaves the alias out."""
        match = REFERENCE.fullmatch(expression)
        if match is not None:
            named, name = self._aliases.get(unquoted(match[1])), unquoted(match[2])
        else:
            named, name = next(iter(self._aliases.values()), None), unquoted(expression)
            if named is None or len(self._aliases) > 1 or name not in named[0].columns:
                return None
        return None if named is None else (*named, named[0].columns.get(name, (name, 0))[0])

    def _column(self, parent: ET.Element, expression: str) -> None:
        found = self._referenced(expression.strip())
        if found is not None:
            table, alias, column = found
            add_element(
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
        add_element(parent, "ColumnReference", Column=name)

    def _columns(self, parent: ET.Element, tag: str, expressions: Sequence[str]) -> None:
        container = add_element(parent, tag)
        for expression in expressions:
            self._column(container, bare_key(expression))

    def _tsql(self, expression: str) -> str:
        """An expression of EXPLAIN in T-SQL's spelling."""

        def reference(match: re.Match[str]) -> str:
            alias = unquoted(match[1])
            if alias not in self._aliases:
                return f"{bracket(alias)}.{bracket(unquoted(match[2]))}"
            table, _ = self._aliases[alias]
            column = table.columns.get(unquoted(match[2]), (unquoted(match[2]), 0))[0]
            parts = (self._session.database, table.schema, table.name, column)
            name = ".".join(bracket(part) for part in parts)
            return name if alias == table.name else f"{name} as {bracket(alias)}.{bracket(column)}"

        def parameter(match: re.Match[str]) -> str:
            names = self._statement.parameters
            position = int(match[1]) - 1
            return f"[{names[position]}]" if position < len(names) else match[0]

        text = CAST.sub("", expression)
        text = FUNCTION_SCHEMA.sub("", text)
        text = REFERENCE.sub(reference, text)
        text = PARAMETER.sub(parameter, text)
        while text.startswith("(") and closes_at_end(text):
            text = text[1:-1]
        return re.sub(r"\((\[[^()]*?\])\)", r"\1", text)

    def _scalar(self, parent: ET.Element, expression: str) -> ET.Element:
        """A ScalarOperator: columns, parameters and constants as such, the rest by its text."""
        text = self._tsql(expression)
        operator = add_element(parent, "ScalarOperator", ScalarString=text)
        bare = CAST.sub("", expression).strip()
        while bare.startswith("(") and closes_at_end(bare):
            bare = bare[1:-1].strip()
        parameter = PARAMETER.fullmatch(bare)
        if REFERENCE.fullmatch(bare):
            self._column(add_element(operator, "Identifier"), bare)
        elif parameter is not None:
            add_element(add_element(operator, "Identifier"), "ColumnReference", Column=text.strip("[]"))
        elif re.fullmatch(r"'(?:[^']|'')*'|-?\d+(?:\.\d+)?|true|false|NULL", bare):
            add_element(operator, "Const", ConstValue=bare if bare.startswith("'") else f"({bare})")
        else:
            self._compound(operator, bare)
        return operator

    def _compound(self, operator: ET.Element, text: str) -> None:
        conjuncts = split_conjuncts(text)
        if len(conjuncts) > 1:
            logical = add_element(operator, "Logical", Operation="AND")
            for conjunct in conjuncts:
                self._scalar(logical, conjunct)
            return
        found = comparison(text)
        if found is not None:
            compare = add_element(operator, "Compare", CompareOp=COMPARE_OPERATIONS[found[1]])
            self._scalar(compare, found[0])
            self._scalar(compare, found[2])
            return
        name = re.match(r"[a-z_]\w*(?=\()", text)
        add_element(operator, "Intrinsic", FunctionName=name[0] if name else "expression")

    def _predicate(self, parent: ET.Element, condition: str | None, tag: str = "Predicate") -> None:
        if condition:
            self._scalar(add_element(parent, tag), condition)

    def _object(self, parent: ET.Element, table: PlanTable, alias: str, index: PlanIndex | None) -> None:
        add_element(
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
            scan = add_element(
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
            scan = add_element(
                element,
                "TableScan",
                Ordered=False,
                ForcedIndex=False,
                ForceScan=False,
                NoExpandHint=False,
                Storage="RowStore",
            )
        add_element(scan, "DefinedValues")
        self._object(scan, table, node.get("Alias", ""), index)
        self._predicate(scan, node.get("Filter"))
        return element

    def _index_scan(self, node: dict[str, Any]) -> ET.Element:
        table = self._lookup.table(node.get("Schema", ""), node.get("Relation Name", ""))
        if table is None:
            return self._constant_scan(node)
        index = table.indexes.get(
            node.get("Index Name", ""), PlanIndex(node.get("Index Name", ""), False, ())
        )
        used = set(output_columns(node, table)) | condition_columns(node, table)
        if index.clustered or node["Node Type"] == "Index Only Scan" or used <= set(index.columns):
            return self._index_access(node, table, index, node.get("Filter"))
        return self._with_lookup(node, table, self._index_access(node, table, index, None))

    def _index_access(
        self, node: dict[str, Any], table: PlanTable, index: PlanIndex, condition: str | None
    ) -> ET.Element:
        seek = bool(node.get("Index Cond"))
        kind = ("Clustered " if index.clustered else "") + ("Index Seek" if seek else "Index Scan")
        rows_read = float(node["Plan Rows"]) if seek else max(table.rows, float(node["Plan Rows"]))
        element = self._start(node, kind, kind, rows_read=rows_read, table=table)
        scan = add_element(
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
        add_element(scan, "DefinedValues")
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
        for conjunct in split_conjuncts(condition):
            found = comparison(conjunct)
            if found is None or found[1] == "<>":
                residual.append(conjunct)
            elif found[1] == "=":
                ranges["Prefix"].append(found)
            else:
                ranges["StartRange" if found[1] in (">", ">=") else "EndRange"].append(found)
        if not any(ranges.values()):
            return residual
        keys = add_element(add_element(add_element(scan, "SeekPredicates"), "SeekPredicateNew"), "SeekKeys")
        for tag, comparisons in ranges.items():
            if comparisons:
                part = add_element(keys, tag, ScanType=COMPARE_OPERATIONS[comparisons[0][1]])
                columns = add_element(part, "RangeColumns")
                expressions = add_element(part, "RangeExpressions")
                for column, _, value in comparisons:
                    self._column(columns, column)
                    self._scalar(expressions, value)
        return residual

    def _with_lookup(self, node: dict[str, Any], table: PlanTable, seek: ET.Element) -> ET.Element:
        """PostgreSQL's index scan fetches the rows itself; SQL Server joins the index with the table."""
        clustered = table.clustered
        element = self._start(node, "Nested Loops", "Inner Join")
        loops = add_element(element, "NestedLoops", Optimized=False)
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
        lookup.set("EstimateRebinds", attribute_text(max(float(node["Plan Rows"]) - 1, 0.0)))
        if self._actual and "Actual Loops" in node:
            fetched = round(
                (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
            )
            per_row = {**node, "Actual Loops": 1, "Actual Rows": node["Actual Rows"] * node["Actual Loops"]}
            self._counters(lookup, per_row, table)
            counters = next(lookup.iter(tag("RunTimeCountersPerThread")))
            counters.set("ActualExecutions", str(fetched))
            counters.set("ActualEndOfScans", str(fetched))
            # The pages are counted at the seek: PostgreSQL doesn't say which of them were the table's.
            for attribute in ("ActualLogicalReads", "ActualPhysicalReads", "ActualElapsedms", "ActualCPUms"):
                if attribute in counters.attrib:
                    counters.set(attribute, "0")
        scan = add_element(
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
        add_element(scan, "DefinedValues")
        self._object(scan, table, node.get("Alias", ""), clustered)
        if clustered is not None:
            keys = add_element(
                add_element(add_element(scan, "SeekPredicates"), "SeekPredicateNew"), "SeekKeys"
            )
            part = add_element(keys, "Prefix", ScanType="EQ")
            references = [f"{quote(node['Alias'])}.{quote(column)}" for column in clustered.columns]
            self._columns(part, "RangeColumns", references)
            expressions = add_element(part, "RangeExpressions")
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
        index = table.indexes.get(
            child.get("Index Name", ""), PlanIndex(child.get("Index Name", ""), False, ())
        )
        access = {**node, **{key: child[key] for key in ("Index Cond",) if key in child}, "Plans": []}
        if index.clustered:
            return self._index_access(access, table, index, node.get("Filter"))
        return self._with_lookup(access, table, self._index_access(access, table, index, None))

    def _constant_scan(self, node: dict[str, Any]) -> ET.Element:
        element = self._start(node, "Constant Scan", "Constant Scan")
        add_element(element, "ConstantScan")
        return element

    def _function_scan(self, node: dict[str, Any]) -> ET.Element:
        element = self._start(node, "Table-valued function", "Table-valued function")
        function = add_element(element, "TableValuedFunction")
        add_element(function, "DefinedValues")
        add_element(
            function,
            "Object",
            Table=bracket(node.get("Function Name") or node.get("Table Function Name") or "function"),
        )
        return element

    def _common_table_scan(self, node: dict[str, Any]) -> ET.Element:
        definition = self._common_tables.pop(node.get("CTE Name", ""), None)
        element = self._start(node, "Table Spool", "Lazy Spool")
        spool = add_element(element, "Spool")
        if definition is not None:
            spool.append(self._relop(definition))
        return element

    # -- joining ---------------------------------------------------------------------------------------------

    def _nested_loop(self, node: dict[str, Any]) -> ET.Element:
        outer, inner = self._children(node)[:2]
        element = self._start(
            node, "Nested Loops", _JOIN_OPERATIONS.get(node.get("Join Type", ""), "Inner Join")
        )
        loops = add_element(element, "NestedLoops", Optimized=False)
        self._predicate(loops, node.get("Join Filter"))
        references = self._outer_references(outer, inner)
        if references:
            self._columns(loops, "OuterReferences", references)
        loops.append(self._relop(outer))
        second = self._relop(inner)
        second.set("EstimateRebinds", attribute_text(max(float(outer["Plan Rows"]) - 1, 0.0)))
        loops.append(second)
        return self._filtered(node, element)

    @staticmethod
    def _outer_references(outer: dict[str, Any], inner: dict[str, Any]) -> list[str]:
        aliases = {each["Alias"] for each in nodes(outer) if each.get("Alias")}
        found: dict[str, None] = {}
        for each in nodes(inner):
            for key, value in each.items():
                if key.endswith(("Cond", "Filter")) and isinstance(value, str):
                    for match in REFERENCE.finditer(value):
                        if unquoted(match[1]) in aliases:
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
        hash_element = add_element(element, "Hash")
        add_element(hash_element, "DefinedValues")
        aliases = {each["Alias"] for each in nodes(build) if each.get("Alias")}
        build_keys: list[str] = []
        probe_keys: list[str] = []
        for conjunct in split_conjuncts(node.get("Hash Cond", "")):
            for match in REFERENCE.finditer(conjunct):
                (build_keys if unquoted(match[1]) in aliases else probe_keys).append(match[0])
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
        merge = add_element(element, "Merge", ManyToMany=not node.get("Inner Unique", False))
        aliases = {each["Alias"] for each in nodes(outer) if each.get("Alias")}
        references = [match[0] for match in REFERENCE.finditer(node.get("Merge Cond", ""))]
        inner_keys = [name for name in references if unquoted(name.split(".")[0]) not in aliases]
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
        filter_element = add_element(outside, "Filter", StartupExpression=False)
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
            body = add_element(element, "Hash")
            add_element(body, "DefinedValues")
            self._columns(body, "HashKeysBuild", keys)
        else:
            element = self._start(node, "Stream Aggregate", "Aggregate")
            body = add_element(element, "StreamAggregate")
            add_element(body, "DefinedValues")
            if keys:
                self._columns(body, "GroupBy", keys)
        body.append(child)
        return self._filtered(node, element)

    def _unique(self, node: dict[str, Any]) -> ET.Element:
        child = self._children(node)[0]
        element = self._start(node, "Stream Aggregate", "Aggregate")
        body = add_element(element, "StreamAggregate")
        add_element(body, "DefinedValues")
        self._columns(body, "GroupBy", node.get("Output", ()))
        body.append(self._relop(child))
        return element

    def _sort(self, node: dict[str, Any], top: int | None = None) -> ET.Element:
        element = self._start(node, "Sort", "Sort" if top is None else "TopN Sort")
        if top is None:
            body = add_element(element, "Sort", Distinct=False)
        else:
            body = add_element(element, "TopSort", Distinct=False, Rows=top)
        order = add_element(body, "OrderBy")
        for key in node.get("Sort Key", ()):
            column = add_element(order, "OrderByColumn", Ascending=" DESC" not in key)
            self._column(column, bare_key(key))
        body.append(self._relop(self._children(node)[0]))
        return element

    def _limit(self, node: dict[str, Any]) -> ET.Element:
        child = self._children(node)[0]
        rows = int(node["Plan Rows"])
        if child["Node Type"] in ("Sort", "Incremental Sort"):
            return self._sort({**child, **{key: node[key] for key in ("Plan Rows", "Total Cost")}}, rows)
        element = self._start(node, "Top", "Top")
        top = add_element(element, "Top", RowCount=False, IsPercent=False, WithTies=False)
        self._scalar(add_element(top, "TopExpression"), str(rows))
        top.append(self._relop(child))
        return element

    def _window(self, node: dict[str, Any]) -> ET.Element:
        element = self._start(node, "Window Aggregate", "Window Aggregate")
        body = add_element(element, "WindowAggregate")
        add_element(body, "DefinedValues")
        body.append(self._relop(self._children(node)[0]))
        return element

    def _append(self, node: dict[str, Any]) -> ET.Element:
        children = self._children(node)
        if len(children) < 2:
            return self._pass_on(node)
        element = self._start(node, "Concatenation", "Concatenation")
        body = add_element(element, "Concat")
        add_element(body, "DefinedValues")
        for child in children:
            body.append(self._relop(child))
        return element

    def _set_operation(self, node: dict[str, Any]) -> ET.Element:
        children = self._children(node)
        command = "Left Semi Join" if "Intersect" in node.get("Command", "") else "Left Anti Semi Join"
        element = self._start(node, "Hash Match", command)
        body = add_element(element, "Hash")
        add_element(body, "DefinedValues")
        for child in children[:2]:
            body.append(self._relop(child))
        return element

    def _spool(self, node: dict[str, Any]) -> ET.Element:
        element = self._start(node, "Table Spool", "Lazy Spool")
        body = add_element(element, "Spool")
        body.append(self._relop(self._children(node)[0]))
        return element

    def _compute(self, node: dict[str, Any]) -> ET.Element:
        element = self._start(node, "Compute Scalar", "Compute Scalar")
        body = add_element(element, "ComputeScalar")
        add_element(body, "DefinedValues")
        body.append(self._relop(self._children(node)[0]))
        return self._filtered(node, element)

    def _result(self, node: dict[str, Any]) -> ET.Element:
        if self._children(node):
            return self._compute(node)
        return self._constant_scan(node)

    def _gather(self, node: dict[str, Any]) -> ET.Element:
        element = self._start(node, "Parallelism", "Gather Streams")
        body = add_element(element, "Parallelism")
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
        body = add_element(element, "Update")
        add_element(body, "DefinedValues")
        if table is not None:
            self._object(body, table, node.get("Alias", ""), clustered)
            for index in table.indexes.values():
                if not index.clustered:
                    self._object(body, table, node.get("Alias", ""), index)
        else:
            add_element(body, "Object", Table=bracket(node.get("Relation Name", "")))
        if children:
            body.append(self._relop(children[0]))
        return element


_BUILDERS: dict[str, Callable[[PlanWriter, dict[str, Any]], ET.Element]] = {
    "Seq Scan": PlanWriter._seq_scan,
    "Sample Scan": PlanWriter._seq_scan,
    "Index Scan": PlanWriter._index_scan,
    "Index Only Scan": PlanWriter._index_scan,
    "Bitmap Heap Scan": PlanWriter._bitmap_scan,
    "Tid Scan": PlanWriter._seq_scan,
    "Function Scan": PlanWriter._function_scan,
    "Table Function Scan": PlanWriter._function_scan,
    "Values Scan": PlanWriter._constant_scan,
    "WorkTable Scan": PlanWriter._constant_scan,
    "Named Tuplestore Scan": PlanWriter._constant_scan,
    "CTE Scan": PlanWriter._common_table_scan,
    "Result": PlanWriter._result,
    "Nested Loop": PlanWriter._nested_loop,
    "Hash Join": PlanWriter._hash_join,
    "Merge Join": PlanWriter._merge_join,
    "Aggregate": PlanWriter._aggregate,
    "Group": PlanWriter._aggregate,
    "Unique": PlanWriter._unique,
    "Sort": PlanWriter._sort,
    "Incremental Sort": PlanWriter._sort,
    "Limit": PlanWriter._limit,
    "WindowAgg": PlanWriter._window,
    "Append": PlanWriter._append,
    "Merge Append": PlanWriter._append,
    "Recursive Union": PlanWriter._append,
    "SetOp": PlanWriter._set_operation,
    "Materialize": PlanWriter._spool,
    "Memoize": PlanWriter._spool,
    "ProjectSet": PlanWriter._compute,
    "Subquery Scan": PlanWriter._compute,
    "Gather": PlanWriter._gather,
    "Gather Merge": PlanWriter._gather,
    "LockRows": PlanWriter._pass_on,
    "ModifyTable": PlanWriter._modify,
}
