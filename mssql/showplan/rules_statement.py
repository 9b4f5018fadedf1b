"""Rules that look at a statement as a whole: indexes, parameters, memory, compilation, waits."""

import re
from collections.abc import Sequence
from itertools import chain

from .finding import Facts, Result, Severity, Subject, statement_rule
from .model import MissingIndex, Parameter, Statistics, Warning, quote, whole_number
from .wording import kilobytes, milliseconds, number, percent

# Microsoft's guidance: a suggestion with many included columns, or keys that an index has already, is to be
# combined by hand (https://learn.microsoft.com/sql/relational-databases/indexes/tune-nonclustered-missing-index-suggestions).
MANY_KEYS = 4
MANY_INCLUDES = 5

# A plan made to keep us busy has thousands of everything; a real one's first hundred tell all.
MANY = 100
MANY_CHARACTERS = 4_000


@statement_rule("missing-index")
def missing_index(subject: Subject) -> Result:
    """The optimizer asked for an index that does not exist."""
    for index in subject.query.missing_indexes[:MANY]:
        severity = (
            Severity.HIGH if index.impact >= 70 else Severity.MEDIUM if index.impact >= 25 else Severity.LOW
        )
        yield {
            "severity": severity,
            "title": f"Missing index on {index.table_name}",
            "detail": f"The optimizer expects an index on {_key_words(index)} to take {index.impact:.0f}% off this "
            f"statement's cost of {number(subject.total_cost)}.",
            "advice": "Create the index where the statement is frequent enough to pay for its upkeep; in Django, as "
            "an Index(fields=…, include=…) in the model's Meta, so that migrations own it.",
            "evidence": {
                "impact_percent": index.impact, "cost": round(subject.total_cost, 4), "table": index.table_name,
                "keys": list(index.keys), "include": list(index.include),
            },
            "sql": index.ddl,
            "note": _index_quality(index, subject),
        }  # fmt: skip


def _key_words(index: MissingIndex) -> str:
    parts = []
    if index.equality:
        parts.append("(" + ", ".join(index.equality) + ") for equality")
    if index.inequality:
        parts.append("(" + ", ".join(index.inequality) + ") for ranges")
    return " and ".join(parts) or "its output columns"


def _index_quality(index: MissingIndex, subject: Subject) -> str:
    notes = []
    if len(index.keys) > 1:
        notes.append(
            "the order of the columns within equality and range is the table's, not by selectivity: check it"
        )
    if not index.equality and index.inequality:
        notes.append("only range columns: the index helps as far as the range is narrow")
    if len(index.keys) > MANY_KEYS:
        notes.append(f"{len(index.keys)} key columns are many")
    if len(index.include) > MANY_INCLUDES:
        notes.append(f"{len(index.include)} included columns make a second copy of the table: include fewer")
    same_table = [
        other for other in subject.query.missing_indexes[:MANY]
        if (other.database, other.schema, other.table) == (index.database, index.schema, index.table)
    ]  # fmt: skip
    if len(same_table) > 1:
        notes.append(
            f"{len(same_table)} suggestions for this table in this statement: one index may serve them all"
        )
    notes.append(
        "the optimizer does not look at indexes that exist already: extend one of those if its keys match"
    )
    return "; ".join(notes)


_CONVERSION = re.compile(
    r"CONVERT(?:_IMPLICIT)?\(([a-z0-9_]+(?:\([^()]*\))?),(.*?),\d+\)", re.IGNORECASE | re.DOTALL
)
# The types that rank just below, from which a column is implicitly converted
# (https://learn.microsoft.com/sql/t-sql/data-types/data-type-precedence-transact-sql).
_LOWER_TYPES = {"nvarchar": "varchar or char", "nchar": "varchar or char"}


@statement_rule("implicit-conversion")
def implicit_conversion(subject: Subject) -> Result:
    """A conversion prevents a seek, or spoils the estimate."""
    expressions: dict[str, list[str]] = {}
    of_operators = (warning for operator in subject.operators for warning in operator.warnings)
    for warning in chain(subject.query.warnings, of_operators):
        if warning.kind == "PlanAffectingConvert":
            issue = expressions.setdefault(warning.details.get("ConvertIssue", ""), [])
            if len(issue) < MANY and warning.details.get("Expression", "") not in issue:
                issue.append(warning.details.get("Expression", ""))
    for expression in expressions.pop("Seek Plan", ()):
        words, types = _conversion_words(expression, subject.parameters)
        yield {
            "severity": Severity.HIGH,
            "title": "Conversion prevents an index seek",
            "detail": f"{words}: no index on it can be searched.",
            "advice": "Give the value the column's type instead of the column the value's: declare the parameter as "
            "the "
            "column is, or change the column's type. (Django sends text as nvarchar: a varchar column wants a CAST "
            "of the "
            "value.)",
            "evidence": {"issue": "Seek Plan", "expression": expression, **types},
        }
    for kind, items in expressions.items():
        words, types = _conversion_words(items[0], subject.parameters)
        others = f", and {len(items) - 1} more conversions" if len(items) > 1 else ""
        yield {
            "severity": Severity.LOW,
            "title": "Conversion blurs the row estimate",
            "detail": f"{words}{others}: the statistics cannot be used.",
            "advice": "It matters where the converted column is compared or joined; in the select list alone it does "
            "not.",
            "evidence": {"issue": kind, "expressions": items, **types},
        }


def _conversion_words(expression: str, parameters: Sequence[Parameter]) -> tuple[str, dict[str, str]]:
    match = _CONVERSION.search(expression[:MANY_CHARACTERS])
    if match is None:
        return expression, {}
    target, source = match[1], match[2]
    source_type = _source_type(source, target, parameters)
    kind = "implicitly " if "CONVERT_IMPLICIT" in expression else ""
    words = f"{source} ({source_type}) is {kind}converted to {target}{_other_side(expression, parameters)}"
    return words, {"from_type": source_type, "to_type": target}


def _source_type(source: str, target: str, parameters: Sequence[Parameter]) -> str:
    for parameter in parameters[:MANY]:
        if parameter.name and parameter.name in source and parameter.data_type:
            return parameter.data_type
    base = target.partition("(")[0].lower()
    return f"presumably {_LOWER_TYPES[base]}" if base in _LOWER_TYPES else "its own type"


def _other_side(expression: str, parameters: Sequence[Parameter]) -> str:
    """The parameter that the converted column is compared with, and its type."""
    for parameter in parameters[:MANY]:
        if (
            parameter.name
            and re.search(re.escape(parameter.name) + r"\b", expression[:MANY_CHARACTERS])
            and parameter.data_type
        ):
            return f", because {parameter.name} is {parameter.data_type}"
    return ""


@statement_rule("parameter-sniffing")
def parameter_sniffing(subject: Subject) -> Result:
    """The plan was compiled for other parameter values than it ran with."""
    different = [
        parameter for parameter in subject.parameters
        if parameter.compiled_value is not None and parameter.runtime_value is not None
        and parameter.compiled_value != parameter.runtime_value
    ]  # fmt: skip
    if not different:
        return
    factors = [max(ratio, 1 / ratio) for item in subject.operators if (ratio := item.row_factor)]
    worst = max(factors, default=1.0)
    severity = Severity.HIGH if worst >= 100 else Severity.MEDIUM if worst >= 10 else Severity.LOW
    names = ", ".join(parameter.name for parameter in different[:5])
    yield {
        "severity": severity,
        "title": "Compiled for other parameter values",
        "detail": f"{len(different)} of {len(subject.parameters)} parameters ({names}) had other values when "
        f"the plan was made; the worst row estimate is off by {number(worst)}×.",
        "advice": "Where the values differ much in how many rows they match: OPTION (RECOMPILE) for a rare, heavy "
        "statement, OPTION (OPTIMIZE FOR …) for a typical value, or an index that makes both values cheap. SQL Server "
        "2022 keeps several plans by itself at compatibility level 160 (parameter sensitive plan optimization).",
        "evidence": {"parameters": len(different), "worst_row_factor": round(worst, 1)},
    }


@statement_rule("unsniffed-parameters")
def unsniffed_parameters(subject: Subject) -> Result:
    """Local variables, or OPTIMIZE FOR UNKNOWN: the estimate is an average."""
    blind = [
        parameter for parameter in subject.parameters
        if parameter.compiled_value is None and parameter.runtime_value is not None
        and any(
            parameter.name in text
            for operator in subject.operators for role in ("Predicate", "Seek Predicates")
            for text in operator.expressions.get(role, ())
        )
    ]  # fmt: skip
    if blind and subject.query.is_actual:
        factors = [max(ratio, 1 / ratio) for item in subject.operators if (ratio := item.row_factor)]
        worst = max(factors, default=1.0)
        yield {
            "severity": Severity.MEDIUM if worst >= 10 else Severity.LOW,
            "title": "Values unknown when the plan was made",
            "detail": f"{len(blind)} value(s), {', '.join(parameter.name for parameter in blind[:5])}, were not known "
            f"to the optimizer: it used average density; the worst row estimate is off by {number(worst)}×.",
            "advice": "Send the value as a parameter rather than as a local variable, or add OPTION (RECOMPILE).",
            "evidence": {"variables": len(blind), "worst_row_factor": round(worst, 1)},
        }


@statement_rule("memory-grant-excessive")
def memory_grant_excessive(subject: Subject) -> Result:
    """Much more memory was reserved than used: other statements wait for it."""
    memory = subject.query.memory
    warned = _warning(subject, "MemoryGrantWarning", GrantWarningKind="Excessive Grant")
    if memory is None or not memory.granted or memory.max_used is None or not subject.query.is_actual:
        return
    share = memory.max_used / memory.granted
    if warned is None and (memory.granted < 50 * 1024 or share > 0.1):
        return
    yield {
        "severity": Severity.MEDIUM if memory.granted >= 100 * 1024 else Severity.LOW,
        "title": "Memory grant far too large",
        "detail": f"{kilobytes(memory.granted)} were granted, {kilobytes(memory.max_used)} used ({percent(share)}).",
        "advice": "Look for the estimate that is too high (below a sort or hash), and for wide columns: each "
        "nvarchar(max) or over-long column in a sort is counted with half of its declared length. Select fewer "
        "columns.",
        "evidence": {
            "granted_kb": memory.granted,
            "used_kb": memory.max_used,
            "requested_kb": memory.requested,
        },
    }


@statement_rule("memory-grant-short")
def memory_grant_short(subject: Subject) -> Result:
    """The statement needed more memory than it was granted."""
    memory = subject.query.memory
    if memory is None or not memory.granted:
        return
    kind = next(
        (kind for kind in ("Grant Increase", "Used More Than Granted")
         if _warning(subject, "MemoryGrantWarning", GrantWarningKind=kind)), None,
    )  # fmt: skip
    short = memory.requested is not None and memory.granted < memory.requested
    if kind or short:
        yield {
            "severity": Severity.MEDIUM,
            "title": "Memory grant too small",
            "detail": f"{kilobytes(memory.granted)} were granted of {kilobytes(memory.requested)} requested, "
            f"{kilobytes(memory.max_used)} used" + (f" ({kind})." if kind else "."),
            "advice": "Mend the row estimate below the sort or hash; look for memory pressure on the server.",
            "evidence": {
                "granted_kb": memory.granted, "requested_kb": memory.requested, "used_kb": memory.max_used,
            },
        }  # fmt: skip


@statement_rule("memory-grant-wait")
def memory_grant_wait(subject: Subject) -> Result:
    """The statement queued for memory before it could start."""
    memory = subject.query.memory
    waited = memory.grant_wait_s if memory else None
    if waited:
        yield {
            "severity": Severity.HIGH,
            "title": "Waited for memory before it started",
            "detail": f"It waited {waited} s for a grant of {kilobytes(memory.granted if memory else None)}.",
            "advice": "Shrink the grants of the statements that run beside it (see their plans), sort less, or give "
            "the "
            "server more memory.",
            "evidence": {"wait_s": waited, "granted_kb": memory.granted if memory else None},
        }


@statement_rule("stale-statistics")
def stale_statistics(subject: Subject) -> Result:
    """Statistics that the optimizer used have seen many changes since, or few of the rows."""
    rows = {
        (item.table or "").lower(): operator.table_cardinality
        for operator in subject.operators for item in operator.objects if operator.table_cardinality
    }  # fmt: skip
    for statistics in subject.query.statistics:
        table_rows = rows.get(statistics.table.lower()) or 0.0
        # Where the server itself would update them (compatibility level 130 and up), see
        # https://learn.microsoft.com/sql/relational-databases/statistics/statistics#auto_update_statistics-option.
        threshold = min(500 + 0.2 * table_rows, (1000 * table_rows) ** 0.5) if table_rows > 500 else 500
        if statistics.modifications >= threshold:
            yield _statistics_finding(
                statistics,
                Severity.MEDIUM,
                f"{number(statistics.modifications)} rows changed since {statistics.last_update or 'its last update'}",
            )


@statement_rule("thin-statistics")
def thin_statistics(subject: Subject) -> Result:
    """Statistics were made from a very small sample, and an estimate is wrong."""
    off = any(ratio >= 10 or ratio <= 0.1 for item in subject.operators if (ratio := item.row_factor))
    for statistics in subject.query.statistics:
        if off and 0 < statistics.sampling_percent < 1:
            yield _statistics_finding(
                statistics, Severity.LOW, f"it saw {statistics.sampling_percent:.2f}% of the rows"
            )


def _statistics_finding(statistics: Statistics, severity: Severity, reason: str) -> Facts:
    return {
        "severity": severity,
        "title": f"Statistics {statistics.name} on {statistics.schema}.{statistics.table} need an update",
        "detail": f"The row estimates rest on {statistics.name}: {reason}.",
        "advice": "Update the statistics; where the table changes much, in a nightly job.",
        "evidence": {
            "modifications": statistics.modifications, "sampling_percent": round(statistics.sampling_percent, 3),
            "last_update": statistics.last_update,
        },
        "sql": f"UPDATE STATISTICS {statistics.quoted_table} {quote(statistics.name)} WITH FULLSCAN;",
        "note": "FULLSCAN reads the whole table",
    }  # fmt: skip


@statement_rule("unmatched-index")
def unmatched_index(subject: Subject) -> Result:
    """A filtered index could not be used because the value is a parameter."""
    if any(warning.kind == "UnmatchedIndexes" for warning in subject.query.warnings) or subject.query.objects:
        indexes = [item.name for item in subject.query.objects if item.index]
        if indexes:
            yield {
                "severity": Severity.MEDIUM,
                "title": "Filtered index not usable",
                "detail": f"{', '.join(indexes)} could not be matched: the value it is filtered by is a parameter, so "
                "the plan must also fit other values.",
                "advice": "Write the filter's value into the statement as a literal (in Django: Value() within a "
                "RawSQL, or a condition without parameter), or add OPTION (RECOMPILE).",
                "evidence": {"indexes": indexes},
            }


# These say that the plan need not or must not be parallel: nothing stands in its way.
_SERIAL_BY_CHOICE = ("NoRangesNeeded", "EstimatedDOPIsOne", "MaxDOPSetToOne")

# What a NonParallelPlanReason means for whoever wrote the statement
# (https://learn.microsoft.com/sql/relational-databases/query-processing-architecture-guide#parallel-query-processing).
_SERIAL_REASONS = {
    "TSQLUserDefinedFunctionsNotParallelizable": "a scalar function written in T-SQL",
    "CLRUserDefinedFunctionRequiresDataAccess": "a CLR function that reads data",
    "TableVariableTransactionsDoNotSupportParallelNestedTransaction": "a write to a table variable",
    "NoParallelDynamicCursor": "a dynamic cursor",
    "NoParallelFastForwardCursor": "a fast-forward cursor",
    "NoParallelCursorFetchByBookmark": "a cursor that fetches by bookmark",
    "NonParallelizableIntrinsicFunction": "a function that cannot run in parallel",
    "NoParallelForNativelyCompiledModule": "a natively compiled module",
    "NoParallelForMemoryOptimizedTables": "a memory-optimized table",
    "CouldNotGenerateValidParallelPlan": "something in it that has no parallel form",
}


@statement_rule("forced-serial")
def forced_serial(subject: Subject) -> Result:
    """A costly plan had to be serial."""
    reason = subject.query.properties.get("NonParallelPlanReason", "")
    heavy = subject.total_cost >= 5 or subject.elapsed_ms >= 1000
    if reason and heavy and reason not in _SERIAL_BY_CHOICE:
        meaning = _SERIAL_REASONS.get(reason, "")
        yield {
            "severity": Severity.MEDIUM,
            "title": "The plan could not be parallel",
            "detail": f"{reason}{f': {meaning}' if meaning else ''}. The statement's cost is "
            f"{number(subject.total_cost)}.",
            "advice": "Take the cause out of the statement: inline the function, use a temporary table in place of the "
            "table variable, read without a cursor.",
            "evidence": {
                "reason": reason,
                "cost": round(subject.total_cost, 2),
                "elapsed_ms": subject.elapsed_ms,
            },
        }


@statement_rule("optimizer-gave-up")
def optimizer_gave_up(subject: Subject) -> Result:
    """The optimizer stopped before it had looked at all plans that it wanted to."""
    reason = subject.statement.properties.get("StatementOptmEarlyAbortReason", "")
    if reason in ("TimeOut", "MemoryLimitExceeded"):
        joins = sum("Join" in operator.logical_op for operator in subject.operators)
        yield {
            "severity": Severity.MEDIUM,
            "title": "The optimizer gave up" if reason == "TimeOut" else "The optimizer ran out of memory",
            "detail": f"It stopped early ({reason}) at a statement with {joins} joins and {len(subject.operators)} "
            "operators: this is the best plan until then, not the best plan.",
            "advice": "Split the statement: fewer joins at once (prefetch_related in place of a long select_related), "
            "or an intermediate result in a temporary table.",
            "evidence": {"reason": reason, "joins": joins, "operators": len(subject.operators)},
        }


@statement_rule("compile-cost")
def compile_cost(subject: Subject) -> Result:
    """Compiling took long, by itself or beside the execution."""
    compile_ms = whole_number(subject.query.properties.get("CompileTime")) or 0
    if compile_ms >= 1000 or (compile_ms >= 100 and subject.elapsed_ms and compile_ms > subject.elapsed_ms):
        yield {
            "severity": Severity.MEDIUM if compile_ms >= 1000 else Severity.LOW,
            "title": "Compiling is expensive",
            "detail": f"Making the plan took {milliseconds(compile_ms)}"
            + (f", running it {milliseconds(subject.elapsed_ms)}." if subject.elapsed_ms else "."),
            "advice": "Make sure that the plan is used again: parameters rather than literals, and not a differing "
            "number of values in IN lists. Fewer joins compile faster.",
            "evidence": {"compile_ms": compile_ms, "elapsed_ms": subject.elapsed_ms},
        }


# Waits that mean something for the statement; the rest is the engine's own bookkeeping.
_WAITS = (
    ("LCK_", Severity.HIGH, "locks of other transactions", "Shorten those transactions, read with row versioning "
     "(READ_COMMITTED_SNAPSHOT), or update in the same order everywhere."),
    ("PAGEIOLATCH_", Severity.MEDIUM, "pages read from disk", "Read fewer pages (an index), or add memory."),
    ("RESOURCE_SEMAPHORE", Severity.HIGH, "a memory grant", "See the memory grants of the statements beside it."),
    ("ASYNC_NETWORK_IO", Severity.MEDIUM, "the client to fetch rows", "Fetch fewer rows or columns, and do no work "
     "between fetching rows."),
    ("WRITELOG", Severity.LOW, "the transaction log", "Write in larger transactions."),
    ("THREADPOOL", Severity.HIGH, "a worker thread", "The server is out of threads: look for blocking and high DOP."),
    ("PAGELATCH_", Severity.MEDIUM, "a page in memory that others use", "Contention in tempdb or at the last page of "
     "an index: see OPTIMIZE_FOR_SEQUENTIAL_KEY."),
    ("IO_COMPLETION", Severity.MEDIUM, "sorts and hashes on disk", "Mend the spill."),
    ("OLEDB", Severity.MEDIUM, "a linked server", "Filter at the remote side."),
)  # fmt: skip


@statement_rule("waits")
def waits(subject: Subject) -> Result:
    """A large part of the time was spent waiting for one thing."""
    for wait in subject.query.waits:
        known = next((entry for entry in _WAITS if wait.wait_type.startswith(entry[0])), None)
        share = wait.milliseconds / subject.elapsed_ms if subject.elapsed_ms else 0.0
        if known is None or wait.milliseconds < 50 or share < 0.2:
            continue
        _, severity, meaning, advice = known
        yield {
            "severity": severity,
            "title": f"Waited for {meaning}",
            "detail": f"{wait.wait_type}: {milliseconds(wait.milliseconds)} in {number(wait.count)} waits, beside an "
            f"elapsed time of {milliseconds(subject.elapsed_ms)} (threads wait side by side).",
            "advice": advice,
            "evidence": {"wait_type": wait.wait_type, "wait_ms": wait.milliseconds, "count": wait.count},
        }


@statement_rule("scalar-udf")
def scalar_udf(subject: Subject) -> Result:
    """A scalar function runs once for each row, outside the plan's costs."""
    times = subject.query.times
    names = sorted({name for operator in subject.operators for name in operator.udfs})
    spent = times.udf_elapsed_ms if times and times.udf_elapsed_ms else 0
    if not names and not spent:
        return
    calls = max(
        (
            int(operator.actual_rows or operator.estimate_rows_total)
            for operator in subject.operators
            if operator.udfs
        ),
        default=0,
    )
    yield {
        "severity": Severity.HIGH if spent >= 1000 or calls >= 10_000 else Severity.MEDIUM,
        "title": "Scalar function in the statement",
        "detail": f"{', '.join(names) or 'A scalar function'} is called for about {number(calls)} rows"
        + (f" and took {milliseconds(spent)} of {milliseconds(subject.elapsed_ms)}." if spent else "."),
        "advice": "Write the function's expression into the statement, or as an inline table-valued function. SQL "
        "Server 2019 inlines simple ones by itself at compatibility level 150.",
        "evidence": {"functions": names, "rows": calls, "udf_elapsed_ms": spent},
    }


@statement_rule("cursor")
def cursor(subject: Subject) -> Result:
    """The statement runs through a server cursor."""
    name = subject.query.properties.get("CursorActualType")
    if name and subject.query.operation:
        costly = name in ("Dynamic", "Keyset")
        yield {
            "severity": Severity.MEDIUM if costly else Severity.LOW,
            "title": f"{name} cursor",
            "detail": f"{subject.query.operation} of a {name} cursor (asked for: "
            f"{subject.query.properties.get('CursorRequestedType', name)}, concurrency "
            f"{subject.query.properties.get('CursorConcurrency', 'unknown')}).",
            "advice": "Read the rows as one result set. Where a cursor is needed, declare it LOCAL FAST_FORWARD.",
            "evidence": {"type": name, "operation": subject.query.operation},
        }


@statement_rule("old-cardinality-estimator")
def old_cardinality_estimator(subject: Subject) -> Result:
    """Rows are estimated as SQL Server 2012 did."""
    version = subject.statement.properties.get("CardinalityEstimationModelVersion", "")
    major = whole_number(subject.plan.build.partition(".")[0]) or 0
    if version == "70" and major >= 12:
        yield {
            "severity": Severity.LOW,
            "title": "Legacy cardinality estimator",
            "detail": f"Version 70 estimates the rows on a server of build {subject.plan.build}.",
            "advice": "It comes from an old compatibility level, LEGACY_CARDINALITY_ESTIMATION or trace flag 9481. "
            "Try the statement at the server's own level.",
            "evidence": {"version": version, "build": subject.plan.build},
        }


@statement_rule("set-options")
def set_options(subject: Subject) -> Result:
    """A session option is off that indexed views, filtered indexes and computed columns need."""
    wanted = (
        "ANSI_NULLS",
        "ANSI_PADDING",
        "ANSI_WARNINGS",
        "ARITHABORT",
        "CONCAT_NULL_YIELDS_NULL",
        "QUOTED_IDENTIFIER",
    )
    options = subject.statement.set_options
    off = [name for name in wanted if options.get(name) in ("false", "0") and name != "ARITHABORT"]
    if off:
        yield {
            "severity": Severity.MEDIUM,
            "title": "Session options forbid some indexes",
            "detail": f"{', '.join(off)} is off: filtered indexes and indexed views cannot be used, and a write to "
            "their tables fails.",
            "advice": "Leave the options as the ODBC driver sets them: take the SET out of the session or procedure.",
            "evidence": {"off": off},
        }


@statement_rule("plan-guide")
def plan_guide(subject: Subject) -> Result:
    """The plan is forced: by USE PLAN, a plan guide or Query Store."""
    guide = subject.statement.properties.get("PlanGuideName") or subject.statement.properties.get(
        "TemplatePlanGuideName"
    )
    forced = subject.query.properties.get("UsePlan") in ("1", "true")
    if guide or forced:
        yield {
            "severity": Severity.LOW,
            "title": "The plan is forced",
            "detail": f"By plan guide {guide}." if guide else "By USE PLAN or by Query Store.",
            "advice": "Check whether it is still the best plan: a forced plan does not follow the data.",
            "evidence": {"plan_guide": guide or "", "use_plan": forced},
        }


@statement_rule("no-statistics")
def no_statistics(subject: Subject) -> Result:
    """Columns without statistics: the optimizer guessed."""
    for operator in (None, *subject.operators):
        for warning in subject.query.warnings if operator is None else operator.warnings:
            if warning.kind not in ("ColumnsWithNoStatistics", "ColumnsWithStaleStatistics"):
                continue
            stale = warning.kind == "ColumnsWithStaleStatistics"
            names = [column.name for column in warning.columns]
            column = next((column for column in warning.columns if column.of_table), None)
            sql = ""
            if column is not None and column.table and not column.table.startswith(("@", "#")):
                table = ".".join(quote(part) for part in (column.schema, column.table) if part)
                name = quote(f"ST_{column.table}_{column.column}"[:116])
                create = f"CREATE STATISTICS {name} ON {table} ({quote(column.column)});"
                sql = f"UPDATE STATISTICS {table};" if stale else create
            yield {
                "severity": Severity.MEDIUM,
                "title": "Stale statistics" if stale else "Columns without statistics",
                "detail": f"{', '.join(names) or 'Some columns'} {'have stale' if stale else 'have no'} statistics: "
                "the number of rows is a guess.",
                "advice": "Turn on AUTO_CREATE_STATISTICS and AUTO_UPDATE_STATISTICS for the database, or make them.",
                "evidence": {"columns": names},
                "operator": operator,
                "sql": sql,
            }


def _warning(subject: Subject, kind: str, **details: str) -> Warning | None:
    return next(
        (
            warning for warning in subject.query.warnings
            if warning.kind == kind and all(warning.details.get(name) == value for name, value in details.items())
        ),
        None,
    )  # fmt: skip
