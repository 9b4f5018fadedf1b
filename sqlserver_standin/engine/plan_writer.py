"""One plan of PostgreSQL to a tree of Showplan's RelOp elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from sqlserver_standin.engine.names import bracket, quote
from sqlserver_standin.engine.plan_elements import add_element, attribute_text, tag
from sqlserver_standin.engine.plan_expressions import (
    COMPARE_OPERATIONS,
    REFERENCE,
    bare_key,
    comparison,
    split_conjuncts,
    unquoted,
)
from sqlserver_standin.engine.plan_scalars import PlanScalars
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


class PlanWriter:
    """Turns one plan of PostgreSQL into a tree of RelOp elements."""

    def __init__(self, session: Session, parameters: Sequence[str], *, actual: bool) -> None:
        self._actual = actual
        self._lookup = PlanTables(session)
        self._scalars = PlanScalars(session.database, parameters)
        self._common_tables: dict[str, dict[str, Any]] = {}

    def tree(self, root: dict[str, Any]) -> ET.Element:
        """The whole plan."""
        for node in nodes(root):
            relation = node.get("Relation Name")
            if relation and node.get("Alias"):
                table = self._lookup.table(node.get("Schema", ""), relation)
                if table is not None:
                    self._scalars.add_table(node["Alias"], table)
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
            self._scalars.column(outputs, output)
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

    # -- reading ---------------------------------------------------------------------------------------------

    def _seq_scan(self, node: dict[str, Any]) -> ET.Element:
        table = self._lookup.table(node.get("Schema", ""), node.get("Relation Name", ""))
        if table is None:
            return self._constant_scan(node)
        read = max(table.rows, float(node["Plan Rows"]))
        index = table.clustered
        name, kind = ("Table Scan", "TableScan") if index is None else ("Clustered Index Scan", "IndexScan")
        element = self._start(node, name, name, rows_read=read, table=table)
        scan = self._access(element, kind, node, table, index, Ordered=False)
        self._scalars.predicate(scan, node.get("Filter"))
        return element

    def _access(
        self,
        element: ET.Element,
        kind: str,
        node: dict[str, Any],
        table: PlanTable,
        index: PlanIndex | None,
        **attributes: object,
    ) -> ET.Element:
        """The body of an operator that reads a table: what it is, and that no hint forces it."""
        scan = add_element(
            element,
            kind,
            **attributes,
            ForcedIndex=False,
            ForceScan=False,
            NoExpandHint=False,
            Storage="RowStore",
        )
        add_element(scan, "DefinedValues")
        self._scalars.table_object(scan, table, node.get("Alias", ""), index)
        return scan

    def _index_scan(self, node: dict[str, Any]) -> ET.Element:
        table = self._lookup.table(node.get("Schema", ""), node.get("Relation Name", ""))
        if table is None:
            return self._constant_scan(node)
        index = table.indexes.get(
            node.get("Index Name", ""), PlanIndex(node.get("Index Name", ""), False, ())
        )
        return self._through_index(node, table, index)

    def _through_index(self, node: dict[str, Any], table: PlanTable, index: PlanIndex) -> ET.Element:
        """The rows of a table by an index: from the index alone, or each looked up in the table."""
        used = set(output_columns(node, table)) | condition_columns(node, table)
        if index.clustered or node["Node Type"] == "Index Only Scan" or table.covers(index, used):
            return self._index_access(node, table, index, node.get("Filter"))
        return self._with_lookup(node, table, self._index_access(node, table, index, None))

    def _index_access(
        self, node: dict[str, Any], table: PlanTable, index: PlanIndex, condition: str | None
    ) -> ET.Element:
        seek = bool(node.get("Index Cond"))
        kind = ("Clustered " if index.clustered else "") + ("Index Seek" if seek else "Index Scan")
        rows_read = float(node["Plan Rows"]) if seek else max(table.rows, float(node["Plan Rows"]))
        element = self._start(node, kind, kind, rows_read=rows_read, table=table)
        direction = "BACKWARD" if node.get("Scan Direction") == "Backward" else "FORWARD"
        scan = self._access(
            element, "IndexScan", node, table, index, Ordered=True, ScanDirection=direction, ForceSeek=False
        )
        residual = self._seek_predicates(scan, node.get("Index Cond"))
        self._scalars.predicate(
            scan, " AND ".join(part for part in (*residual, condition or "") if part) or None
        )
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
        keys = self._seek_keys(scan)
        for name, comparisons in ranges.items():
            if comparisons:
                part = add_element(keys, name, ScanType=COMPARE_OPERATIONS[comparisons[0][1]])
                columns = add_element(part, "RangeColumns")
                expressions = add_element(part, "RangeExpressions")
                for column, _, value in comparisons:
                    self._scalars.column(columns, column)
                    self._scalars.scalar(expressions, value)
        return residual

    @staticmethod
    def _seek_keys(scan: ET.Element) -> ET.Element:
        return add_element(add_element(add_element(scan, "SeekPredicates"), "SeekPredicateNew"), "SeekKeys")

    def _with_lookup(self, node: dict[str, Any], table: PlanTable, seek: ET.Element) -> ET.Element:
        """PostgreSQL's index scan fetches the rows itself; SQL Server joins the index with the table."""
        clustered = table.clustered
        element = self._start(node, "Nested Loops", "Inner Join")
        loops = add_element(element, "NestedLoops", Optimized=False)
        if clustered is not None:
            self._scalars.columns(
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
        seek_once = {"Lookup": True, "Ordered": True, "ScanDirection": "FORWARD", "ForceSeek": False}
        scan = self._access(lookup, "IndexScan", node, table, clustered, **seek_once)
        if clustered is not None:
            part = add_element(self._seek_keys(scan), "Prefix", ScanType="EQ")
            references = [f"{quote(node['Alias'])}.{quote(column)}" for column in clustered.columns]
            self._scalars.columns(part, "RangeColumns", references)
            expressions = add_element(part, "RangeExpressions")
            for reference in references:
                self._scalars.scalar(expressions, reference)
        self._scalars.predicate(scan, node.get("Filter"))
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
        return self._through_index(access, table, index)

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
        self._scalars.predicate(loops, node.get("Join Filter"))
        references = self._outer_references(outer, inner)
        if references:
            self._scalars.columns(loops, "OuterReferences", references)
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
            self._scalars.columns(hash_element, "HashKeysBuild", build_keys)
        if probe_keys:
            self._scalars.columns(hash_element, "HashKeysProbe", probe_keys)
        self._scalars.predicate(hash_element, node.get("Join Filter"), "ProbeResidual")
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
        self._scalars.columns(merge, "InnerSideJoinColumns", inner_keys)
        self._scalars.columns(merge, "OuterSideJoinColumns", outer_keys)
        self._scalars.predicate(merge, node.get("Join Filter"), "Residual")
        merge.append(self._relop(outer))
        merge.append(self._relop(inner))
        return self._filtered(node, element)

    def _filtered(self, node: dict[str, Any], element: ET.Element) -> ET.Element:
        if not node.get("Filter"):
            return element
        outside = self._start(node, "Filter", "Filter")
        filter_element = add_element(outside, "Filter", StartupExpression=False)
        filter_element.append(element)
        self._scalars.predicate(filter_element, node["Filter"])
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
            self._scalars.columns(body, "HashKeysBuild", keys)
        else:
            element = self._start(node, "Stream Aggregate", "Aggregate")
            body = add_element(element, "StreamAggregate")
            add_element(body, "DefinedValues")
            if keys:
                self._scalars.columns(body, "GroupBy", keys)
        body.append(child)
        return self._filtered(node, element)

    def _unique(self, node: dict[str, Any]) -> ET.Element:
        child = self._children(node)[0]
        element = self._start(node, "Stream Aggregate", "Aggregate")
        body = add_element(element, "StreamAggregate")
        add_element(body, "DefinedValues")
        self._scalars.columns(body, "GroupBy", node.get("Output", ()))
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
            self._scalars.column(column, bare_key(key))
        body.append(self._relop(self._children(node)[0]))
        return element

    def _limit(self, node: dict[str, Any]) -> ET.Element:
        child = self._children(node)[0]
        rows = int(node["Plan Rows"])
        if child["Node Type"] in ("Sort", "Incremental Sort"):
            return self._sort({**child, **{key: node[key] for key in ("Plan Rows", "Total Cost")}}, rows)
        element = self._start(node, "Top", "Top")
        top = add_element(element, "Top", RowCount=False, IsPercent=False, WithTies=False)
        self._scalars.scalar(add_element(top, "TopExpression"), str(rows))
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
            self._scalars.table_object(body, table, node.get("Alias", ""), clustered)
            for index in table.indexes.values():
                if not index.clustered:
                    self._scalars.table_object(body, table, node.get("Alias", ""), index)
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
