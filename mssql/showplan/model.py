"""A plan as data: statements, operators, counters, warnings, missing indexes, parameters, waits."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

JSON = dict[str, Any]

_PADDING = re.compile(r"_{4,}[0-9A-F]{12}$")


def quote(name: str) -> str:
    """The identifier in brackets, as T-SQL wants it."""
    return "[" + name.replace("]", "]]") + "]"


def unquote(name: str) -> str:
    """The identifier without its brackets."""
    if len(name) > 1 and name[0] == "[" and name[-1] == "]":
        return name[1:-1].replace("]]", "]")
    return name


@dataclass(frozen=True, slots=True)
class Object:
    """A table, index, view or function that an operator touches. Names are kept without brackets."""

    server: str | None = None
    database: str | None = None
    schema: str | None = None
    table: str | None = None
    index: str | None = None
    alias: str | None = None
    index_kind: str | None = None
    storage: str | None = None
    filtered: bool = False

    @property
    def table_name(self) -> str:
        """schema.table, or what there is of it."""
        return ".".join(part for part in (self.schema, self.table) if part)

    @property
    def name(self) -> str:
        """schema.table.index, or what there is of it."""
        return ".".join(part for part in (self.schema, self.table, self.index) if part)

    @property
    def quoted_table(self) -> str:
        """The table's full name, quoted, fit for T-SQL."""
        return ".".join(quote(part) for part in (self.database, self.schema, self.table) if part)

    @property
    def is_table_variable(self) -> bool:
        return bool(self.table) and str(self.table).startswith("@")

    def to_dict(self) -> JSON:
        return _present(
            server=self.server, database=self.database, schema=self.schema, table=self.table,
            index=self.index, alias=self.alias, index_kind=self.index_kind, storage=self.storage,
            filtered=self.filtered or None,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Column:
    """A reference to a column, an expression or a parameter."""

    column: str
    table: str | None = None
    schema: str | None = None
    database: str | None = None
    alias: str | None = None

    @property
    def is_parameter(self) -> bool:
        return self.table is None and self.column.startswith("@")

    @property
    def of_table(self) -> bool:
        """True for a column of a table, false for parameters and computed expressions (Expr1004)."""
        return self.table is not None

    @property
    def name(self) -> str:
        qualifier = self.alias or self.table
        return f"{qualifier}.{self.column}" if qualifier else self.column


@dataclass(frozen=True, slots=True)
class Counters:
    """What one thread did in one operator. None: this server did not count it."""

    thread: int = 0
    rows: int = 0
    executions: int = 0
    rows_read: int | None = None
    elapsed_ms: int | None = None
    cpu_ms: int | None = None
    logical_reads: int | None = None
    physical_reads: int | None = None
    read_aheads: int | None = None
    lob_logical_reads: int | None = None
    rebinds: int | None = None
    rewinds: int | None = None
    batches: int | None = None
    execution_mode: str | None = None
    interleaved: bool | None = None

    def to_dict(self) -> JSON:
        return _present(**{name: getattr(self, name) for name in self.__slots__})


@dataclass(frozen=True, slots=True)
class Warning:
    """One warning of the server: a child element of Warnings, or one of its flags that is set."""

    kind: str
    details: dict[str, str] = field(default_factory=dict)
    columns: tuple[Column, ...] = ()

    def __str__(self) -> str:
        facts = [f"{name}={value}" for name, value in self.details.items()]
        facts += [column.name for column in self.columns]
        return f"{self.kind} ({', '.join(facts)})" if facts else self.kind

    def to_dict(self) -> JSON:
        return _present(
            kind=self.kind, details=self.details, columns=[column.name for column in self.columns]
        )


@dataclass(frozen=True, slots=True)
class MissingIndex:
    """An index that the optimizer would have used."""

    impact: float
    database: str
    schema: str
    table: str
    equality: tuple[str, ...] = ()
    inequality: tuple[str, ...] = ()
    include: tuple[str, ...] = ()

    @property
    def table_name(self) -> str:
        return ".".join(part for part in (self.schema, self.own_table) if part)

    @property
    def own_table(self) -> str:
        """The table as its session names it: tempdb pads a temporary table's name and numbers it."""
        return _PADDING.sub("", self.table) if self.table.startswith("#") else self.table

    @property
    def keys(self) -> tuple[str, ...]:
        """Key columns: equality first, as Microsoft's guidance for missing index suggestions says."""
        return self.equality + self.inequality

    @property
    def index_name(self) -> str:
        """A name that says table and key; within the 128 characters of sysname."""
        return "_".join(("IX", self.own_table.lstrip("#"), *self.keys))[:116]

    @property
    def ddl(self) -> str:
        """A CREATE INDEX statement that runs as it stands."""
        # A temporary table is found by its own name alone: its plan names tempdb, its session does not.
        parts = (self.own_table,) if self.table.startswith("#") else (self.database, self.schema, self.table)
        target = ".".join(quote(part) for part in parts if part)
        keys, include = (self.keys, self.include) if self.keys else (self.include[:1], self.include[1:])
        statement = f"CREATE NONCLUSTERED INDEX {quote(self.index_name)}\nON {target} ({_names(keys)})"
        return f"{statement}\nINCLUDE ({_names(include)});" if include else f"{statement};"

    def to_dict(self) -> JSON:
        return {
            "impact": self.impact, "database": self.database, "schema": self.schema, "table": self.table,
            "equality": list(self.equality), "inequality": list(self.inequality),
            "include": list(self.include), "ddl": self.ddl,
        }  # fmt: skip


def _names(columns: tuple[str, ...]) -> str:
    return ", ".join(quote(column) for column in columns)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter with the value it was compiled for and the one it ran with, as T-SQL literals."""

    name: str
    data_type: str | None = None
    compiled_value: str | None = None
    runtime_value: str | None = None

    def to_dict(self) -> JSON:
        return _present(
            name=self.name, data_type=self.data_type,
            compiled_value=self.compiled_value, runtime_value=self.runtime_value,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wait:
    """How long the statement waited for one kind of thing."""

    wait_type: str
    milliseconds: int
    count: int

    def to_dict(self) -> JSON:
        return {"wait_type": self.wait_type, "milliseconds": self.milliseconds, "count": self.count}


@dataclass(frozen=True, slots=True)
class TimeStats:
    """QueryTimeStats: the whole statement's time in milliseconds."""

    cpu_ms: int
    elapsed_ms: int
    udf_cpu_ms: int | None = None
    udf_elapsed_ms: int | None = None

    def to_dict(self) -> JSON:
        return _present(
            cpu_ms=self.cpu_ms, elapsed_ms=self.elapsed_ms,
            udf_cpu_ms=self.udf_cpu_ms, udf_elapsed_ms=self.udf_elapsed_ms,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class MemoryGrant:
    """MemoryGrantInfo, in KB and (for the wait) seconds."""

    serial_required: int | None = None
    serial_desired: int | None = None
    required: int | None = None
    desired: int | None = None
    requested: int | None = None
    granted: int | None = None
    max_used: int | None = None
    max_query: int | None = None
    grant_wait_s: int | None = None
    feedback: str | None = None

    def to_dict(self) -> JSON:
        return _present(**{name: getattr(self, name) for name in self.__slots__})


@dataclass(frozen=True, slots=True)
class Statistics:
    """Statistics that the optimizer looked at."""

    database: str
    schema: str
    table: str
    name: str
    modifications: int
    sampling_percent: float
    last_update: str | None = None

    @property
    def quoted_table(self) -> str:
        return ".".join(quote(part) for part in (self.database, self.schema, self.table) if part)

    def to_dict(self) -> JSON:
        return _present(
            database=self.database, schema=self.schema, table=self.table, name=self.name,
            modifications=self.modifications, sampling_percent=self.sampling_percent,
            last_update=self.last_update,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Conversion:
    """A conversion that the server added by itself, around something that is not a constant."""

    data_type: str
    text: str
    columns: tuple[Column, ...] = ()
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """A function, explicit conversion or calculation around a table's column inside a predicate."""

    function: str
    columns: tuple[Column, ...]
    text: str = ""
    pattern: str | None = None
    """The constant that LIKE is given."""


@dataclass(frozen=True, slots=True)
class Seek:
    """One set of seek keys: columns searched for equality, then a range."""

    prefix: tuple[Column, ...] = ()
    range: tuple[Column, ...] = ()
    text: str = ""


@dataclass(slots=True, eq=False)
class Operator:
    """One operator of the tree."""

    node_id: int
    physical_op: str
    logical_op: str
    estimate_rows: float = 0.0
    estimated_rows_read: float | None = None
    estimate_rows_without_row_goal: float | None = None
    estimate_io: float = 0.0
    estimate_cpu: float = 0.0
    estimate_rebinds: float = 0.0
    estimate_rewinds: float = 0.0
    subtree_cost: float = 0.0
    average_row_size: int = 0
    table_cardinality: float | None = None
    parallel: bool = False
    inner: bool = False
    """True below the inner input of a nested loops join: there an execution is a repetition."""
    estimated_mode: str | None = None
    is_adaptive: bool = False
    kind: str = ""
    """The name of the element that holds the operator's own facts: NestedLoops, IndexScan, Hash …"""
    properties: dict[str, str] = field(default_factory=dict)
    """Attributes of that element and of the operator that have no field here: Ordered, ManyToMany …"""
    objects: tuple[Object, ...] = ()
    output: tuple[Column, ...] = ()
    counters: tuple[Counters, ...] = ()
    warnings: tuple[Warning, ...] = ()
    expressions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """What the operator computes, as SQL text by its role: Predicate, Seek Predicates, Order By …"""
    seeks: tuple[Seek, ...] = ()
    predicate_columns: tuple[Column, ...] = ()
    conversions: tuple[Conversion, ...] = ()
    calls: tuple[Call, ...] = ()
    udfs: tuple[str, ...] = ()
    children: "tuple[Operator, ...]" = ()
    parent: "Operator | None" = field(default=None, repr=False)
    depth: int = 0

    def __repr__(self) -> str:
        return f"<Operator {self.node_id}: {self.physical_op}>"

    def walk(self) -> "Iterator[Operator]":
        """This operator and all below it, in document order."""
        stack = [self]
        while stack:
            operator = stack.pop()
            yield operator
            stack.extend(reversed(operator.children))

    @property
    def cost(self) -> float:
        """The operator's own estimated cost: its subtree's less its children's."""
        return max(0.0, self.subtree_cost - sum(child.subtree_cost for child in self.children))

    @property
    def has_run(self) -> bool:
        return bool(self.counters)

    def _sum(self, name: str) -> int | None:
        values = [value for counter in self.counters if (value := getattr(counter, name)) is not None]
        return sum(values) if values else None

    def _longest(self, name: str) -> int | None:
        values = [value for counter in self.counters if (value := getattr(counter, name)) is not None]
        return max(values) if values else None

    @property
    def actual_rows(self) -> int | None:
        """Rows that left the operator, over all threads and executions; None in an estimated plan."""
        return self._sum("rows")

    @property
    def actual_rows_read(self) -> int | None:
        """Rows that were read before the residual predicate."""
        return self._sum("rows_read")

    @property
    def executions(self) -> int | None:
        return self._sum("executions")

    @property
    def logical_reads(self) -> int | None:
        return self._sum("logical_reads")

    @property
    def physical_reads(self) -> int | None:
        return self._sum("physical_reads")

    @property
    def cpu_ms(self) -> int | None:
        return self._sum("cpu_ms")

    @property
    def elapsed_ms(self) -> int | None:
        """Wall-clock time: of the slowest thread, as threads run side by side."""
        return self._longest("elapsed_ms")

    @property
    def actual_mode(self) -> str | None:
        """Row or Batch, as it ran."""
        return next((counter.execution_mode for counter in self.counters if counter.execution_mode), None)

    @property
    def mode(self) -> str | None:
        return self.actual_mode or self.estimated_mode

    @property
    def self_elapsed_ms(self) -> int | None:
        """The operator's own share of the time.

        A row mode operator's time includes its children's, a batch mode operator's does not.
        """
        elapsed = self.elapsed_ms
        if elapsed is None or self.mode == "Batch":
            return elapsed
        return max(0, elapsed - sum(child.subtree_elapsed_ms for child in self.children))

    @property
    def subtree_elapsed_ms(self) -> int:
        """The time of the operator with all below it."""
        total = 0
        stack = [self]
        while stack:
            operator = stack.pop()
            elapsed = operator.elapsed_ms
            if elapsed is None:
                stack.extend(operator.children)
            elif operator.mode == "Batch":
                total += elapsed
                stack.extend(operator.children)
            else:
                total += elapsed
        return total

    @property
    def estimated_executions(self) -> float:
        return self.estimate_rebinds + self.estimate_rewinds + 1

    @property
    def estimate_rows_total(self) -> float:
        """Estimated rows over all executions, comparable with actual_rows.

        EstimateRows is per execution. The number of executions is the real one where the plan ran.
        """
        if not self.counters:
            return self.estimate_rows * self.estimated_executions
        # Threads execute an operator once each; only below the inner input of a loop is it repeated.
        executions = self.executions or 1
        repeated = self.inner and not (self.parallel and executions <= len(self.counters))
        return self.estimate_rows * executions if repeated else self.estimate_rows

    @property
    def row_factor(self) -> float | None:
        """Actual by estimated rows: 1.0 is a perfect estimate, None when it never executed."""
        actual = self.actual_rows
        if actual is None or self.executions == 0:
            return None
        return max(actual, 1) / max(self.estimate_rows_total, 1.0)

    @property
    def is_write(self) -> bool:
        """True for inserts, updates, deletes and index builds: they pass on few rows or none."""
        return self.kind in (
            "Update",
            "SimpleUpdate",
            "ScalarInsert",
            "CreateIndex",
            "OnlineIndex",
            "RemoteModify",
        )

    @property
    def object(self) -> Object | None:
        """The object that the operator is about."""
        return self.objects[0] if self.objects else None

    @property
    def is_scan(self) -> bool:
        return (
            self.physical_op.endswith("Scan")
            and bool(self.objects)
            and self.kind in ("IndexScan", "TableScan")
        )

    @property
    def is_seek(self) -> bool:
        return self.kind == "IndexScan" and bool(self.seeks)

    @property
    def is_lookup(self) -> bool:
        """A key or RID lookup, which old servers show as a Clustered Index Seek with Lookup set."""
        return self.physical_op in ("Key Lookup", "RID Lookup") or is_true(self.properties.get("Lookup"))

    def to_dict(self) -> JSON:
        return _present(
            node_id=self.node_id, physical_op=self.physical_op, logical_op=self.logical_op,
            parent=self.parent.node_id if self.parent else None, depth=self.depth,
            estimate_rows=self.estimate_rows, estimated_rows_read=self.estimated_rows_read,
            estimate_rows_without_row_goal=self.estimate_rows_without_row_goal,
            estimate_io=self.estimate_io, estimate_cpu=self.estimate_cpu,
            estimated_executions=self.estimated_executions,
            cost=self.cost, subtree_cost=self.subtree_cost, average_row_size=self.average_row_size,
            table_cardinality=self.table_cardinality, parallel=self.parallel, mode=self.mode,
            actual_rows=self.actual_rows, actual_rows_read=self.actual_rows_read, executions=self.executions,
            elapsed_ms=self.elapsed_ms, self_elapsed_ms=self.self_elapsed_ms, cpu_ms=self.cpu_ms,
            logical_reads=self.logical_reads, physical_reads=self.physical_reads,
            objects=[item.to_dict() for item in self.objects],
            output=[column.name for column in self.output],
            properties=self.properties,
            expressions={role: list(texts) for role, texts in self.expressions.items()},
            threads=[counter.to_dict() for counter in self.counters],
            warnings=[warning.to_dict() for warning in self.warnings],
        )  # fmt: skip


@dataclass(slots=True, eq=False)
class QueryPlan:
    """The plan of one statement, or of one operation of a cursor."""

    operation: str = ""
    properties: dict[str, str] = field(default_factory=dict)
    roots: tuple[Operator, ...] = ()
    objects: tuple[Object, ...] = ()
    warnings: tuple[Warning, ...] = ()
    missing_indexes: tuple[MissingIndex, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    waits: tuple[Wait, ...] = ()
    times: TimeStats | None = None
    memory: MemoryGrant | None = None
    statistics: tuple[Statistics, ...] = ()
    trace_flags: tuple[str, ...] = ()
    hardware: dict[str, str] = field(default_factory=dict)

    def operators(self) -> Iterator[Operator]:
        for root in self.roots:
            yield from root.walk()

    @property
    def cost(self) -> float:
        return sum(root.subtree_cost for root in self.roots)

    @property
    def is_actual(self) -> bool:
        return any(operator.counters for operator in self.operators())

    @property
    def degree_of_parallelism(self) -> int | None:
        return whole_number(self.properties.get("DegreeOfParallelism"))

    def to_dict(self) -> JSON:
        return _present(
            operation=self.operation, properties=self.properties,
            operators=[operator.to_dict() for operator in self.operators()],
            warnings=[warning.to_dict() for warning in self.warnings],
            missing_indexes=[index.to_dict() for index in self.missing_indexes],
            parameters=[parameter.to_dict() for parameter in self.parameters],
            waits=[wait.to_dict() for wait in self.waits],
            times=self.times.to_dict() if self.times else None,
            memory=self.memory.to_dict() if self.memory else None,
            statistics=[item.to_dict() for item in self.statistics],
            trace_flags=list(self.trace_flags), hardware=self.hardware,
        )  # fmt: skip


@dataclass(slots=True, eq=False)
class Statement:
    """One statement of the batch; those inside IF and procedures follow their parent, one level deeper."""

    kind: str
    """The element's name: StmtSimple, StmtCond, StmtCursor, StmtReceive, StmtUseDb."""
    text: str = ""
    type: str = ""
    id: int = 0
    depth: int = 0
    role: str = ""
    """Where it stands in its parent: Then, Else, or the procedure's name."""
    cost: float = 0.0
    estimate_rows: float = 0.0
    query_hash: str = ""
    query_plan_hash: str = ""
    properties: dict[str, str] = field(default_factory=dict)
    set_options: dict[str, str] = field(default_factory=dict)
    plans: tuple[QueryPlan, ...] = ()

    def operators(self) -> Iterator[Operator]:
        for plan in self.plans:
            yield from plan.operators()

    @property
    def is_actual(self) -> bool:
        return any(plan.is_actual for plan in self.plans)

    @property
    def missing_indexes(self) -> tuple[MissingIndex, ...]:
        return tuple(index for plan in self.plans for index in plan.missing_indexes)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(parameter for plan in self.plans for parameter in plan.parameters)

    @property
    def waits(self) -> tuple[Wait, ...]:
        return tuple(wait for plan in self.plans for wait in plan.waits)

    @property
    def times(self) -> TimeStats | None:
        return next((plan.times for plan in self.plans if plan.times), None)

    @property
    def memory(self) -> MemoryGrant | None:
        return next((plan.memory for plan in self.plans if plan.memory), None)

    @property
    def statistics(self) -> tuple[Statistics, ...]:
        return tuple(item for plan in self.plans for item in plan.statistics)

    @property
    def warnings(self) -> tuple[Warning, ...]:
        """The warnings of the statement as a whole and of its operators."""
        return tuple(
            warning
            for plan in self.plans
            for source in ((plan.warnings,), (operator.warnings for operator in plan.operators()))
            for warnings in source
            for warning in warnings
        )

    def to_dict(self) -> JSON:
        return _present(
            kind=self.kind, text=self.text, type=self.type, id=self.id, depth=self.depth, role=self.role,
            cost=self.cost, estimate_rows=self.estimate_rows,
            query_hash=self.query_hash, query_plan_hash=self.query_plan_hash,
            properties=self.properties, set_options=self.set_options,
            plans=[plan.to_dict() for plan in self.plans],
        )  # fmt: skip


@dataclass(eq=False)
class Plan:
    """A Showplan document."""

    version: str
    build: str
    statements: tuple[Statement, ...]

    def operators(self) -> Iterator[Operator]:
        """Every operator of every statement, in document order."""
        for statement in self.statements:
            yield from statement.operators()

    @cached_property
    def is_actual(self) -> bool:
        """True when the plan holds run-time counters."""
        return any(statement.is_actual for statement in self.statements)

    @property
    def missing_indexes(self) -> tuple[MissingIndex, ...]:
        return tuple(index for statement in self.statements for index in statement.missing_indexes)

    @property
    def warnings(self) -> tuple[Warning, ...]:
        return tuple(warning for statement in self.statements for warning in statement.warnings)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(parameter for statement in self.statements for parameter in statement.parameters)

    @property
    def waits(self) -> tuple[Wait, ...]:
        return tuple(wait for statement in self.statements for wait in statement.waits)

    @property
    def statistics(self) -> tuple[Statistics, ...]:
        return tuple(item for statement in self.statements for item in statement.statistics)

    @property
    def objects(self) -> tuple[Object, ...]:
        """Every object that the plan names, in document order within each query plan."""
        return tuple(
            item
            for statement in self.statements
            for plan in statement.plans
            for source in ((plan.objects,), (operator.objects for operator in plan.operators()))
            for objects in source
            for item in objects
        )

    @property
    def cost(self) -> float:
        return sum(statement.cost for statement in self.statements)

    def operator(self, node_id: int, statement: int = 0) -> Operator | None:
        """The operator with that node id in the statement with that position."""
        if not 0 <= statement < len(self.statements):
            return None
        return next(
            (item for item in self.statements[statement].operators() if item.node_id == node_id), None
        )

    def to_dict(self) -> JSON:
        """The plan as JSON can hold it; operators are a flat list with the parent's node id."""
        return {
            "version": self.version,
            "build": self.build,
            "actual": self.is_actual,
            "statements": [statement.to_dict() for statement in self.statements],
        }


# No count and no cost comes near it; what does would end in infinity when it is multiplied.
_MOST = 1e100


def decimal_number(value: str | None) -> float | None:
    """The attribute as a number; None where it is absent or none."""
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and abs(number) <= _MOST else None


def whole_number(value: str | None) -> int | None:
    """The attribute as a whole number; None where it is absent or none."""
    number = decimal_number(value)
    return None if number is None else int(number)


def is_true(value: str | None) -> bool:
    """XML Schema's boolean."""
    return value in ("1", "true", "True")


def _present(**items: Any) -> JSON:
    """The items that say something: absent facts are left out, not null."""
    return {name: value for name, value in items.items() if value not in (None, "", [], {}, ())}
