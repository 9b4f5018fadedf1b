"""Showplan XML -> Plan."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain, islice

from .document import SHOWPLAN, Element, not_one_plan, read_tree
from .model import (
    Call,
    Column,
    Conversion,
    Counters,
    MemoryGrant,
    MissingIndex,
    Object,
    Operator,
    Parameter,
    Plan,
    QueryPlan,
    Seek,
    Statement,
    Statistics,
    TimeStats,
    Wait,
    Warning,
    decimal_number,
    is_true,
    unquote,
    whole_number,
)

STATEMENTS = frozenset(
    ("StmtSimple", "StmtCond", "StmtCursor", "StmtReceive", "StmtUseDb", "ExternalDistributedComputation")
)

# What a RelOp holds beside the one element that is named after the operator.
_COMMON = frozenset(
    (
        "OutputList",
        "Warnings",
        "MemoryFractions",
        "RunTimeInformation",
        "RunTimePartitionSummary",
        "InternalInfo",
    )
)

# Scalar expressions by the role they play in their operator.
_ROLES = {
    "Predicate": "Predicate",
    "SeekPredicates": "Seek Predicates",
    "SeekPredicate": "Seek Predicates",
    "SeekPredicateNew": "Seek Predicates",
    "ProbeResidual": "Probe Residual",
    "BuildResidual": "Build Residual",
    "Residual": "Residual",
    "PassThru": "Pass Through",
    "TopExpression": "Top Expression",
    "OffsetExpression": "Offset Expression",
    "SetPredicate": "Set",
    "DefinedValues": "Defined Values",
    "OuterReferences": "Outer References",
    "OrderBy": "Order By",
    "GroupBy": "Group By",
    "HashKeysBuild": "Hash Keys Build",
    "HashKeysProbe": "Hash Keys Probe",
    "HashKeys": "Hash Keys",
    "InnerSideJoinColumns": "Inner Join Columns",
    "OuterSideJoinColumns": "Outer Join Columns",
    "PartitionColumns": "Partition Columns",
    "SegmentColumn": "Segment Column",
    "ParameterList": "Arguments",
    "Values": "Values",
}  # fmt: skip

# Where a row is accepted or dropped: here a conversion or a function on a column costs an index.
_PREDICATES = frozenset(
    (
        "Predicate",
        "SeekPredicates",
        "SeekPredicate",
        "SeekPredicateNew",
        "ProbeResidual",
        "BuildResidual",
        "Residual",
    )
)

_RELOP_FIELDS = frozenset((
    "NodeId", "PhysicalOp", "LogicalOp", "EstimateRows", "EstimatedRowsRead", "EstimateRowsWithoutRowGoal",
    "EstimateIO", "EstimateCPU", "EstimateRebinds", "EstimateRewinds", "EstimatedTotalSubtreeCost",
    "AvgRowSize", "TableCardinality", "Parallel", "EstimatedExecutionMode", "IsAdaptive",
))  # fmt: skip

_STATEMENT_FIELDS = frozenset((
    "StatementText", "StatementType", "StatementId", "StatementSubTreeCost", "StatementEstRows",
    "QueryHash", "QueryPlanHash",
))  # fmt: skip


def parse(xml: str | bytes) -> Plan:
    """Read a Showplan document of any version, as str or as bytes in UTF-8 or UTF-16.

    Elements and attributes that this module does not know are ignored, so a newer server's plan is read as
    far as it is understood. Raises ShowplanError for what is not a Showplan or cannot be read safely.
    """
    root = _showplan(read_tree(xml))
    return Plan(
        version=root.attributes.get("Version", ""),
        build=root.attributes.get("Build", ""),
        statements=tuple(_statements(root)),
    )


def _showplan(root: Element) -> Element:
    """The document's one plan: the root, or within what an Extended Event or a query's FOR XML puts around it."""
    if root.tag == SHOWPLAN:
        return root
    plans = [element for element in root.walk() if element.tag == SHOWPLAN]
    if len(plans) != 1:
        raise not_one_plan(root.tag, len(plans))
    return plans[0]


def _statements(root: Element) -> Iterable[Statement]:
    # (element, depth, role) in document order: statements nest in IF branches, procedures and functions.
    stack = [(child, 0, "") for child in reversed(root.children)]
    while stack:
        element, depth, role = stack.pop()
        if element.tag in STATEMENTS:
            yield _statement(element, depth, role)
            depth += 1
            role = ""
        elif element.tag in ("Then", "Else"):
            role = element.tag
        elif element.tag in ("StoredProc", "UDF"):
            role = element.attributes.get("ProcName", element.tag)
        elif element.tag in ("RelOp", "QueryPlan"):
            continue
        stack.extend((child, depth, role) for child in reversed(element.children))


def _statement(element: Element, depth: int, role: str) -> Statement:
    attributes = element.attributes
    options = element.child("StatementSetOptions")
    return Statement(
        kind=element.tag,
        text=attributes.get("StatementText", ""),
        type=attributes.get("StatementType", ""),
        id=whole_number(attributes.get("StatementId")) or 0,
        depth=depth,
        role=role,
        cost=decimal_number(attributes.get("StatementSubTreeCost")) or 0.0,
        estimate_rows=decimal_number(attributes.get("StatementEstRows")) or 0.0,
        query_hash=attributes.get("QueryHash", ""),
        query_plan_hash=attributes.get("QueryPlanHash", ""),
        properties={name: value for name, value in attributes.items() if name not in _STATEMENT_FIELDS},
        set_options=dict(options.attributes) if options else {},
        plans=tuple(_query_plans(element)),
    )


def _query_plans(statement: Element) -> Iterable[QueryPlan]:
    """The plans that belong to the statement itself: its own, its condition's, its cursor's operations."""
    for child in statement.children:
        if child.tag == "QueryPlan":
            yield _query_plan(child, "")
        elif child.tag == "Condition":
            for plan in child.all("QueryPlan"):
                yield _query_plan(plan, "Condition")
        elif child.tag in ("CursorPlan", "ReceivePlan"):
            cursor = dict(child.attributes)
            for operation in child.all("Operation"):
                for plan in operation.all("QueryPlan"):
                    query_plan = _query_plan(plan, operation.attributes.get("OperationType", ""))
                    query_plan.properties.update(cursor)
                    yield query_plan


def _query_plan(element: Element, operation: str) -> QueryPlan:
    plan = QueryPlan(operation=operation, properties=dict(element.attributes))
    plan.roots = tuple(_operator(child) for child in _child_relops(element))
    plan.objects = tuple(_object(item) for item in element.walk(stop="RelOp") if item.tag == "Object")
    for child in element.children:
        if child.tag == "Warnings":
            plan.warnings = tuple(_warnings(child))
        elif child.tag == "MissingIndexes":
            plan.missing_indexes = tuple(_missing_indexes(child))
        elif child.tag == "ParameterList":
            plan.parameters = tuple(_parameter(item) for item in child.all("ColumnReference"))
        elif child.tag == "WaitStats":
            plan.waits = tuple(
                Wait(
                    item.attributes.get("WaitType", ""),
                    whole_number(item.attributes.get("WaitTimeMs")) or 0,
                    whole_number(item.attributes.get("WaitCount")) or 0,
                )
                for item in child.all("Wait")
            )
        elif child.tag == "QueryTimeStats":
            plan.times = TimeStats(
                cpu_ms=whole_number(child.attributes.get("CpuTime")) or 0,
                elapsed_ms=whole_number(child.attributes.get("ElapsedTime")) or 0,
                udf_cpu_ms=whole_number(child.attributes.get("UdfCpuTime")),
                udf_elapsed_ms=whole_number(child.attributes.get("UdfElapsedTime")),
            )
        elif child.tag == "MemoryGrantInfo":
            plan.memory = _memory_grant(child.attributes)
        elif child.tag == "OptimizerStatsUsage":
            plan.statistics = tuple(_statistics(item.attributes) for item in child.all("StatisticsInfo"))
        elif child.tag == "OptimizerHardwareDependentProperties":
            plan.hardware = dict(child.attributes)
        elif child.tag == "TraceFlags":
            plan.trace_flags += tuple(item.attributes.get("Value", "") for item in child.all("TraceFlag"))
    return plan


def _operator(root: Element) -> Operator:
    """The tree of operators, built without recursion: plans nest deeper than Python's stack."""
    top = _own_facts(root)
    stack = [(top, root)]
    while stack:
        operator, element = stack.pop()
        children = []
        for position, child_element in enumerate(_child_relops(element)):
            child = _own_facts(child_element)
            child.parent = operator
            child.depth = operator.depth + 1
            child.inner = operator.inner or (operator.kind == "NestedLoops" and position > 0)
            children.append(child)
            stack.append((child, child_element))
        operator.children = tuple(children)
    return top


def _child_relops(relop: Element) -> Iterable[Element]:
    """The next operators below: in the operator's own element, or in a subquery of an expression."""
    stack = relop.children[::-1]
    while stack:
        element = stack.pop()
        if element.tag == "RelOp":
            yield element
        else:
            stack.extend(reversed(element.children))


def _own_facts(relop: Element) -> Operator:
    attributes = relop.attributes
    operator = Operator(
        node_id=whole_number(attributes.get("NodeId")) or 0,
        physical_op=attributes.get("PhysicalOp", ""),
        logical_op=attributes.get("LogicalOp", ""),
        estimate_rows=decimal_number(attributes.get("EstimateRows")) or 0.0,
        estimated_rows_read=decimal_number(attributes.get("EstimatedRowsRead")),
        estimate_rows_without_row_goal=decimal_number(attributes.get("EstimateRowsWithoutRowGoal")),
        estimate_io=decimal_number(attributes.get("EstimateIO")) or 0.0,
        estimate_cpu=decimal_number(attributes.get("EstimateCPU")) or 0.0,
        estimate_rebinds=decimal_number(attributes.get("EstimateRebinds")) or 0.0,
        estimate_rewinds=decimal_number(attributes.get("EstimateRewinds")) or 0.0,
        subtree_cost=decimal_number(attributes.get("EstimatedTotalSubtreeCost")) or 0.0,
        average_row_size=whole_number(attributes.get("AvgRowSize")) or 0,
        table_cardinality=decimal_number(attributes.get("TableCardinality")),
        parallel=is_true(attributes.get("Parallel")),
        estimated_mode=attributes.get("EstimatedExecutionMode"),
        is_adaptive=is_true(attributes.get("IsAdaptive")),
        properties={name: value for name, value in attributes.items() if name not in _RELOP_FIELDS},
    )
    gathered = _Gathered()
    for child in relop.children:
        if child.tag == "OutputList":
            operator.output = tuple(_column(item) for item in child.all("ColumnReference"))
        elif child.tag == "Warnings":
            gathered.warnings += _warnings(child)
        elif child.tag == "RunTimeInformation":
            operator.counters = tuple(
                _counters(item.attributes) for item in child.all("RunTimeCountersPerThread")
            )
        elif child.tag == "MemoryFractions":
            operator.properties.update(
                {f"MemoryFraction{name}": value for name, value in child.attributes.items()}
            )
        elif child.tag == "RunTimePartitionSummary":
            for partitions in child.all("PartitionsAccessed"):
                operator.properties["PartitionsAccessed"] = partitions.attributes.get("PartitionCount", "")
        elif child.tag not in _COMMON and child.tag != "RelOp":
            operator.kind = operator.kind or child.tag
            operator.properties.update(child.attributes)
            gathered.add_body(child)
    operator.warnings = tuple(gathered.warnings)
    operator.objects = tuple(gathered.objects)
    operator.seeks = tuple(gathered.seeks)
    operator.expressions = {role: tuple(texts) for role, texts in gathered.expressions.items()}
    operator.predicate_columns = tuple(gathered.predicate_columns)
    operator.conversions = tuple(gathered.conversions)
    operator.calls = tuple(gathered.calls)
    operator.udfs = tuple(gathered.udfs)
    return operator


# Of one predicate, so many conversions, calls and columns are looked at, each so far into its arguments: a predicate
# that a person wrote has fewer, and one that was made to keep us busy has no end.
MAX_PREDICATE_FACTS = 200


@dataclass(slots=True)
class _Gathered:
    """What the elements of one operator add up to."""

    warnings: list[Warning] = field(default_factory=list)
    objects: list[Object] = field(default_factory=list)
    seeks: list[Seek] = field(default_factory=list)
    expressions: dict[str, list[str]] = field(default_factory=dict)
    predicate_columns: dict[Column, None] = field(default_factory=dict)
    conversions: list[Conversion] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    udfs: list[str] = field(default_factory=list)

    def add_body(self, body: Element) -> None:
        """The element that is named after the operator."""
        for item in chain((body,), body.walk(stop="RelOp")):
            if item.tag == "Object":
                self.objects.append(_object(item))
            elif item.tag in ("UserDefinedFunction", "UserDefinedAggregate"):
                self.udfs.append(item.attributes.get("FunctionName", item.tag))
        for child in body.children:
            role = _ROLES.get(child.tag)
            if role is not None:
                self.expressions.setdefault(role, []).extend(_texts(child))
            if child.tag in ("SeekPredicates", "SeekPredicate", "SeekPredicateNew"):
                self.seeks += _seeks(child)
            if child.tag in _PREDICATES:
                self._add_predicate(child)

    def _add_predicate(self, predicate: Element) -> None:
        """Which columns a predicate tests, and what stands between a column and its index."""
        text = next(iter(_texts(predicate)), "")
        for item in predicate.walk(stop="RelOp"):
            if item.tag == "ColumnReference" and predicate.tag == "Predicate":
                column = _column(item)
                if column.of_table and len(self.predicate_columns) < MAX_PREDICATE_FACTS:
                    self.predicate_columns.setdefault(column)
            if item.tag not in ("Convert", "Intrinsic", "Arithmetic"):
                continue
            if len(self.conversions) + len(self.calls) >= MAX_PREDICATE_FACTS:
                continue
            inside = islice(item.walk(stop="RelOp"), MAX_PREDICATE_FACTS)
            references = [_column(inner) for inner in inside if inner.tag == "ColumnReference"]
            columns = tuple(column for column in references if column.of_table)
            if item.tag == "Convert" and is_true(item.attributes.get("Implicit")):
                parameters = tuple(column.column for column in references if column.is_parameter)
                self.conversions.append(Conversion(_data_type(item.attributes), text, columns, parameters))
            elif columns:
                self.calls.append(_call(item, columns, text))


def _call(element: Element, columns: tuple[Column, ...], text: str) -> Call:
    if element.tag == "Convert":
        return Call(f"CONVERT to {_data_type(element.attributes)}", columns, text)
    if element.tag == "Arithmetic":
        return Call("arithmetic", columns, text)
    function = element.attributes.get("FunctionName", "")
    inside = islice(element.walk(stop="RelOp"), MAX_PREDICATE_FACTS)
    constants = [item.attributes.get("ConstValue", "") for item in inside if item.tag == "Const"]
    return Call(function, columns, text, pattern=constants[0] if function == "like" and constants else None)


def _data_type(attributes: dict[str, str]) -> str:
    name = attributes.get("DataType", "")
    if name in ("decimal", "numeric") and "Precision" in attributes:
        return f"{name}({attributes['Precision']},{attributes.get('Scale', '0')})"
    length = whole_number(attributes.get("Length"))
    if length is None or not name.endswith(("char", "binary")):
        return name
    if length < 0 or length > 8000:
        return f"{name}(max)"
    # Length is in bytes, and an n type has two for each character.
    return f"{name}({length // 2 if name.startswith('n') else length})"


def _texts(element: Element) -> list[str]:
    """The element's expressions as SQL text."""
    if element.tag in ("SeekPredicates", "SeekPredicate", "SeekPredicateNew"):
        return [seek.text for seek in _seeks(element) if seek.text]
    if element.tag == "DefinedValues":
        return [text for value in element.all("DefinedValue") if (text := _defined_value(value))]
    if element.tag == "OrderBy":
        return [
            _column(column).name + (" ASC" if is_true(item.attributes.get("Ascending")) else " DESC")
            for item in element.all("OrderByColumn")
            for column in item.all("ColumnReference")
        ]
    if element.tag == "Values":
        return [", ".join(_scalar(item) for item in row.all("ScalarOperator")) for row in element.all("Row")]
    scalars = element.all("ScalarOperator")
    if scalars:
        return [_scalar(item) for item in scalars]
    return [_column(item).name for item in element.all("ColumnReference")]


def _defined_value(element: Element) -> str:
    vector = element.child("ValueVector")
    targets = vector.all("ColumnReference") if vector else element.all("ColumnReference")
    target = ", ".join(_column(item).name for item in targets[: None if vector else 1])
    scalar = element.child("ScalarOperator")
    if scalar is not None:
        return f"{target} = {_scalar(scalar)}"
    sources = ", ".join(_column(item).name for item in targets[1:]) if vector is None else ""
    # A scan defines each column that it reads as itself: that says nothing beyond the output list.
    return f"{target} = {sources}" if sources else ""


def _scalar(element: Element) -> str:
    """ScalarString, or what can be said without it (the innermost operators of some plans lack it)."""
    text = element.attributes.get("ScalarString")
    if text is not None:
        return text
    for item in element.walk(stop="RelOp"):
        if item.tag == "ScalarOperator" and "ScalarString" in item.attributes:
            return item.attributes["ScalarString"]
        if item.tag == "ColumnReference":
            return _column(item).name
        if item.tag == "Const":
            return item.attributes.get("ConstValue", "")
    return ""


_COMPARISONS = {
    "EQ": "=",
    "GE": ">=",
    "GT": ">",
    "LE": "<=",
    "LT": "<",
    "NE": "<>",
    "IS": "IS",
    "IS NOT": "IS NOT",
}


def _seeks(element: Element) -> Iterable[Seek]:
    """Seek keys of all three forms: SeekPredicate (2005), SeekPredicateNew/SeekKeys, SeekPredicatePart."""
    if element.tag in ("SeekPredicates", "SeekPredicatePart"):
        for child in element.children:
            yield from _seeks(child)
    elif element.tag == "SeekPredicateNew":
        for keys in element.all("SeekKeys"):
            yield _seek(keys)
    elif element.tag == "SeekPredicate":
        yield _seek(element)


def _seek(keys: Element) -> Seek:
    prefix: list[Column] = []
    ranged: list[Column] = []
    texts: list[str] = []
    for part in keys.children:
        if part.tag == "IsNotNull":
            columns = [_column(item) for item in part.all("ColumnReference")]
            ranged += columns
            texts += [f"{column.name} IS NOT NULL" for column in columns]
            continue
        if part.tag not in ("Prefix", "StartRange", "EndRange"):
            continue
        column_list = part.child("RangeColumns")
        expression_list = part.child("RangeExpressions")
        columns = [_column(item) for item in column_list.all("ColumnReference")] if column_list else []
        expressions = (
            [_scalar(item) for item in expression_list.all("ScalarOperator")] if expression_list else []
        )
        (prefix if part.tag == "Prefix" else ranged).extend(columns)
        comparison = _COMPARISONS.get(
            part.attributes.get("ScanType", "EQ"), part.attributes.get("ScanType", "=")
        )
        for position, column in enumerate(columns):
            value = expressions[position] if position < len(expressions) else "?"
            texts.append(f"{column.name} {comparison} {value}")
    return Seek(prefix=tuple(prefix), range=tuple(dict.fromkeys(ranged)), text=" AND ".join(texts))


def _warnings(element: Element) -> Iterable[Warning]:
    for name, value in element.attributes.items():
        if is_true(value):
            yield Warning(name)
    for child in element.children:
        columns = tuple(_column(item) for item in child.walk() if item.tag == "ColumnReference")
        yield Warning(child.tag, dict(child.attributes), columns)


def _missing_indexes(element: Element) -> Iterable[MissingIndex]:
    for group in element.all("MissingIndexGroup"):
        for index in group.all("MissingIndex"):
            columns: dict[str, tuple[str, ...]] = {}
            for column_group in index.all("ColumnGroup"):
                usage = column_group.attributes.get("Usage", "")
                names = tuple(unquote(item.attributes.get("Name", "")) for item in column_group.all("Column"))
                columns[usage] = columns.get(usage, ()) + names
            yield MissingIndex(
                impact=decimal_number(group.attributes.get("Impact")) or 0.0,
                database=unquote(index.attributes.get("Database", "")),
                schema=unquote(index.attributes.get("Schema", "")),
                table=unquote(index.attributes.get("Table", "")),
                equality=columns.get("EQUALITY", ()),
                inequality=columns.get("INEQUALITY", ()),
                include=columns.get("INCLUDE", ()),
            )


def _parameter(element: Element) -> Parameter:
    attributes = element.attributes
    return Parameter(
        name=attributes.get("Column", ""),
        data_type=attributes.get("ParameterDataType"),
        compiled_value=attributes.get("ParameterCompiledValue"),
        runtime_value=attributes.get("ParameterRuntimeValue"),
    )


def _memory_grant(attributes: dict[str, str]) -> MemoryGrant:
    return MemoryGrant(
        serial_required=whole_number(attributes.get("SerialRequiredMemory")),
        serial_desired=whole_number(attributes.get("SerialDesiredMemory")),
        required=whole_number(attributes.get("RequiredMemory")),
        desired=whole_number(attributes.get("DesiredMemory")),
        requested=whole_number(attributes.get("RequestedMemory")),
        granted=whole_number(attributes.get("GrantedMemory")),
        max_used=whole_number(attributes.get("MaxUsedMemory")),
        max_query=whole_number(attributes.get("MaxQueryMemory")),
        grant_wait_s=whole_number(attributes.get("GrantWaitTime")),
        feedback=attributes.get("IsMemoryGrantFeedbackAdjusted"),
    )


def _statistics(attributes: dict[str, str]) -> Statistics:
    return Statistics(
        database=unquote(attributes.get("Database", "")),
        schema=unquote(attributes.get("Schema", "")),
        table=unquote(attributes.get("Table", "")),
        name=unquote(attributes.get("Statistics", "")),
        modifications=whole_number(attributes.get("ModificationCount")) or 0,
        sampling_percent=decimal_number(attributes.get("SamplingPercent")) or 0.0,
        last_update=attributes.get("LastUpdate"),
    )


def _counters(attributes: dict[str, str]) -> Counters:
    return Counters(
        thread=whole_number(attributes.get("Thread")) or 0,
        rows=whole_number(attributes.get("ActualRows")) or 0,
        executions=whole_number(attributes.get("ActualExecutions")) or 0,
        rows_read=whole_number(attributes.get("ActualRowsRead")),
        elapsed_ms=whole_number(attributes.get("ActualElapsedms")),
        cpu_ms=whole_number(attributes.get("ActualCPUms")),
        logical_reads=whole_number(attributes.get("ActualLogicalReads")),
        physical_reads=whole_number(attributes.get("ActualPhysicalReads")),
        read_aheads=whole_number(attributes.get("ActualReadAheads")),
        lob_logical_reads=whole_number(attributes.get("ActualLobLogicalReads")),
        rebinds=whole_number(attributes.get("ActualRebinds")),
        rewinds=whole_number(attributes.get("ActualRewinds")),
        batches=whole_number(attributes.get("Batches")),
        execution_mode=attributes.get("ActualExecutionMode"),
        interleaved=is_true(attributes.get("IsInterleavedExecuted")) or None,
    )


def _column(element: Element) -> Column:
    attributes = element.attributes
    return Column(
        column=unquote(attributes.get("Column", "")),
        table=_name(attributes.get("Table")),
        schema=_name(attributes.get("Schema")),
        database=_name(attributes.get("Database")),
        alias=_name(attributes.get("Alias")),
    )


def _object(element: Element) -> Object:
    attributes = element.attributes
    return Object(
        server=_name(attributes.get("Server")),
        database=_name(attributes.get("Database")),
        schema=_name(attributes.get("Schema")),
        table=_name(attributes.get("Table")),
        index=_name(attributes.get("Index")),
        alias=_name(attributes.get("Alias")),
        index_kind=attributes.get("IndexKind"),
        storage=attributes.get("Storage"),
        filtered=is_true(attributes.get("Filtered")),
    )


def _name(value: str | None) -> str | None:
    return unquote(value) if value else None
