"""Rules that look at one operator and its neighbours: access, joins, estimates, spills, spools, parallelism."""

import re
from itertools import islice

from .finding import Result, Severity, Subject, operator_rule
from .model import Operator, Warning, quote, whole_number
from .wording import factor, kilobytes, milliseconds, number, operator_place, percent

MANY_EXECUTIONS = 1_000
ROWS_WORTH_A_LOOK = 1_000


def _severity(subject: Subject, operator: Operator, *, otherwise: Severity = Severity.LOW) -> Severity:
    """Severity by the operator's share of a statement that takes time."""
    weight = subject.weight(operator)
    severity = Severity.HIGH if weight >= 0.5 else Severity.MEDIUM if weight >= 0.15 else otherwise
    return min(severity, Severity.MEDIUM) if subject.is_trivial else severity


# --- access -------------------------------------------------------------------------------------------------------


@operator_rule("key-lookup")
def key_lookup(subject: Subject, operator: Operator) -> Result:
    """For each row of an index, the rest of the row is fetched from the table."""
    if not operator.is_lookup:
        return
    times = operator.executions if operator.has_run else operator.estimated_executions
    index = _sibling_index(operator)
    columns = [column.column for column in operator.output]
    residual = [column.column for column in operator.predicate_columns]
    weight = subject.weight(operator)
    severity = Severity.HIGH if (times or 0) >= 10_000 else _severity(subject, operator)
    if (times or 0) < 100 and subject.is_trivial:
        severity = Severity.LOW
    heap = operator.physical_op == "RID Lookup"
    wanted = list(dict.fromkeys(residual + columns))
    yield {
        "severity": severity,
        "title": "RID lookup" if heap else "Key lookup",
        "detail": f"{operator_place(operator)} runs {number(times)} times ({percent(weight)} of the statement) to "
        "fetch "
        f"{', '.join(wanted) or 'a row'}" + (f", which {index} does not hold." if index else "."),
        "advice": (
            f"Add {', '.join(wanted)} to the INCLUDE of {index or 'the index'}"
            if wanted
            else "Cover the columns"
        )
        + ", or select fewer columns (only(), defer(), values())."
        + (" The table is a heap: a clustered index ends RID lookups." if heap else ""),
        "evidence": {"executions": times, "columns": wanted, "index": index, "share": round(weight, 3)},
    }


def _sibling_index(lookup: Operator) -> str:
    """The index whose rows the lookup completes: the nearest access to the same table beside it."""
    table = lookup.object.table if lookup.object else None
    join = lookup.parent
    for _ in range(3):
        if join is None:
            break
        for operator in islice(join.walk(), 50):
            item = operator.object
            if item is not None and item.table == table and not operator.is_lookup:
                return item.index or ""
        join = join.parent
    return ""


@operator_rule("residual-predicate")
def residual_predicate(subject: Subject, operator: Operator) -> Result:
    """A scan or seek reads many rows and throws most of them away."""
    if operator.kind not in ("IndexScan", "TableScan") or not operator.expressions.get("Predicate"):
        return
    read = operator.actual_rows_read if operator.has_run else operator.estimated_rows_read
    if read is None and operator.is_scan and not operator.has_run:
        read = operator.table_cardinality
    returned = operator.actual_rows if operator.has_run else operator.estimate_rows
    if read is None or returned is None or read < ROWS_WORTH_A_LOOK or returned > read * 0.1:
        return
    if next(key_order(subject, operator), None) or _is_bitmap(operator):
        return
    columns = ", ".join(dict.fromkeys(column.column for column in operator.predicate_columns))
    yield {
        "severity": _severity(
            subject, operator, otherwise=Severity.MEDIUM if read >= 100_000 else Severity.LOW
        ),
        "title": "Reads many rows to keep few",
        "detail": f"{operator_place(operator)} reads {number(read)} rows and keeps {number(returned)} "
        f"({percent(returned / read)}) by testing {columns or 'a predicate'} on each.",
        "advice": f"An index with {columns or 'the tested columns'} among its first key columns finds the rows "
        "instead.",
        "evidence": {
            "rows_read": read, "rows_returned": returned, "columns": columns,
            "predicate": operator.expressions["Predicate"][0][:500],
        },
    }  # fmt: skip


@operator_rule("full-scan")
def full_scan(subject: Subject, operator: Operator) -> Result:
    """A large table or index is read from end to end, and that is most of the statement."""
    item = operator.object
    if not operator.is_scan or item is None or operator.is_seek:
        return
    rows = (
        operator.actual_rows_read
        or operator.actual_rows
        or operator.estimated_rows_read
        or operator.table_cardinality
    )
    weight = subject.weight(operator)
    columnstore = item.storage == "ColumnStore" or item.index_kind == "Columnstore"
    if rows is None or rows < 10_000 or weight < 0.3 or columnstore or operator.expressions.get("Predicate"):
        return
    yield {
        "severity": Severity.LOW if subject.is_trivial else Severity.MEDIUM,
        "title": "Full scan",
        "detail": f"{operator_place(operator)} reads all of its {number(rows)} rows: {percent(weight)} of the "
        "statement.",
        "advice": "Right where all rows are wanted. Otherwise add a filter with an index for it, or an index that "
        "holds "
        "only the columns that are read.",
        "evidence": {"rows": rows, "share": round(weight, 3)},
    }


@operator_rule("heap-scan")
def heap_scan(subject: Subject, operator: Operator) -> Result:
    """A table without clustered index is scanned."""
    item = operator.object
    if (
        operator.physical_op != "Table Scan"
        or item is None
        or not item.table
        or item.table.startswith(("#", "@"))
    ):
        return
    rows = (
        operator.actual_rows_read
        or operator.actual_rows
        or operator.table_cardinality
        or operator.estimate_rows
    )
    if rows >= ROWS_WORTH_A_LOOK and item.storage != "MemoryOptimized":
        yield {
            "severity": Severity.LOW,
            "title": "Scan of a heap",
            "detail": f"{item.table_name} has no clustered index; {number(rows)} rows are read.",
            "advice": "Give the table a clustered index (Django's primary key is one).",
            "evidence": {"rows": rows, "table": item.table_name},
        }


@operator_rule("key-order")
def key_order(subject: Subject, operator: Operator) -> Result:
    """The tested column is in the index, but not first in its key: the index is scanned."""
    item = operator.object
    if (
        item is None or operator.kind != "IndexScan" or not operator.predicate_columns or operator.is_lookup
        or item.storage == "ColumnStore"
    ):  # fmt: skip
        return
    rows = _rows_tested(operator)
    returned = operator.actual_rows if operator.has_run else operator.estimate_rows
    if rows < ROWS_WORTH_A_LOOK or (returned or 0) > rows * 0.5 or operator.calls:
        return
    columns = ", ".join(dict.fromkeys(column.column for column in operator.predicate_columns))
    if operator.seeks:
        prefix = ", ".join(
            dict.fromkeys(column.column for seek in operator.seeks for column in seek.prefix + seek.range)
        )
        detail = (
            f"{operator_place(operator)} seeks on {prefix} and then tests {columns} on {number(rows)} rows."
        )
        advice = f"Put {columns} into the key beside {prefix}: equality columns first, the range column last."
    elif item.index_kind == "NonClustered" or (
        item.index_kind is None and operator.physical_op == "Index Scan"
    ):
        detail = f"{operator_place(operator)} holds {columns}, but it has to scan {number(rows)} rows for it."
        advice = f"Make an index whose key begins with {columns}."
    else:
        return
    yield {
        "severity": _severity(subject, operator),
        "title": "Index key in the wrong order",
        "detail": detail,
        "advice": advice,
        "evidence": {"columns": columns, "rows": rows, "rows_returned": returned},
    }


def _rows_tested(operator: Operator) -> float:
    """How many rows the operator's predicate is applied to."""
    measured = operator.actual_rows_read or operator.estimated_rows_read
    if measured:
        return measured
    whole = operator.table_cardinality if operator.is_scan and not operator.is_seek else None
    return whole or operator.actual_rows or operator.estimate_rows


def _is_bitmap(operator: Operator) -> bool:
    """True where a hash join's bitmap drops the rows: that saves work, and the estimate does not know of it."""
    return any("PROBE(" in text for text in operator.expressions.get("Predicate", ()))


# Functions of the engine itself, in predicates that nobody wrote.
_INTERNAL_FUNCTIONS = frozenset(
    ("probe", "has_access", "rangepartitionnew", "opt_bitmap_probe", "shard_probe")
)
_INTERNAL_PREFIXES = ("getrange", "likerange", "ft", "fulltext", "xml")


@operator_rule("non-sargable")
def non_sargable(subject: Subject, operator: Operator) -> Result:
    """A function, conversion or calculation around a column hides it from every index."""
    if operator.kind not in ("IndexScan", "TableScan", "Filter"):
        return
    if operator.object and operator.object.schema == "sys":
        return
    seen: set[str] = set()
    rows = _rows_tested(operator)
    worth = rows >= ROWS_WORTH_A_LOOK
    for call in operator.calls:
        name = call.function.lower()
        if name in seen or name in _INTERNAL_FUNCTIONS or name.startswith(_INTERNAL_PREFIXES):
            continue
        if (call.columns[0].table or "").startswith("XML Reader"):
            # The server's own way through an XML value.
            continue
        if name == "like" and not (call.pattern or "").lstrip("N").startswith(("'%", "'_", "'[")):
            continue
        seen.add(name)
        column = call.columns[0].name
        if name == "like":
            title, detail = (
                "LIKE begins with a wildcard",
                f"{column} is searched with a pattern that has no fixed start",
            )
            advice = "Search with a fixed start (startswith), or use full-text search (CONTAINS)."
        else:
            title, detail = "Calculation on a column", f"{column} stands inside {call.function}"
            advice = (
                "Compare the bare column with a computed value: a range in place of YEAR(column), the right type in "
                "place of a conversion. Otherwise index a computed column (GeneratedField)."
            )
        yield {
            "severity": _severity(subject, operator) if worth else Severity.LOW,
            "title": title,
            "detail": f"{detail}: {operator_place(operator)} tests {number(rows)} rows one by one.",
            "advice": advice,
            "evidence": {
                "function": call.function,
                "column": column,
                "rows": rows,
                "predicate": call.text[:500],
            },
        }


@operator_rule("implicit-conversion-column")
def implicit_conversion_column(subject: Subject, operator: Operator) -> Result:
    """A column is implicitly converted inside a predicate."""
    seen: set[str] = set()
    for conversion in operator.conversions:
        for column in conversion.columns:
            if column.name in seen:
                continue
            seen.add(column.name)
            types = {parameter.name: parameter.data_type for parameter in subject.parameters}
            against = next(
                (
                    f" beside {name} ({types[name]})"
                    for name in types
                    if name in conversion.text and types[name]
                ),
                "",
            )
            yield {
                "severity": Severity.MEDIUM if operator.kind in ("IndexScan", "TableScan") else Severity.LOW,
                "title": "Column implicitly converted",
                "detail": f"{operator_place(operator)} converts {column.name} to {conversion.data_type}{against} for "
                "each row before it compares.",
                "advice": "Declare the value, or the joined column, with the type of this column.",
                "evidence": {
                    "column": column.name,
                    "to_type": conversion.data_type,
                    "predicate": conversion.text[:500],
                },
            }


@operator_rule("mismatched-types")
def mismatched_types(subject: Subject, operator: Operator) -> Result:
    """A seek has to compute its range because the value has another type than the column."""
    for texts in operator.expressions.values():
        for text in texts:
            for name in ("GetRangeWithMismatchedTypes", "GetRangeThroughConvert"):
                if name in text:
                    yield {
                        "severity": Severity.LOW,
                        "title": "Value and column have different types",
                        "detail": f"{operator_place(operator)} calls {name} to find the range to seek: the estimate is "
                        "a guess and more rows than needed are read.",
                        "advice": "Give the parameter the column's type, length and scale.",
                        "evidence": {"function": name},
                    }
                    return


@operator_rule("late-filter")
def late_filter(subject: Subject, operator: Operator) -> Result:
    """Rows are made, joined or computed first, and thrown away by a filter afterwards."""
    if (
        operator.kind != "Filter"
        or not operator.children
        or operator.properties.get("StartupExpression") in ("1", "true")
    ):
        return
    below, above = operator.children[0].actual_rows, operator.actual_rows
    if below is None or above is None or below < 10_000 or above > below * 0.1 or _is_bitmap(operator):
        return
    yield {
        "severity": Severity.MEDIUM if below >= 100_000 else Severity.LOW,
        "title": "Rows are dropped late",
        "detail": f"{operator_place(operator)} drops {number(below - above)} of {number(below)} rows "
        f"({operator.expressions.get('Predicate', ('a computed condition',))[0][:200]}).",
        "advice": "The condition tests something computed (an aggregate, a window, a (max) column, a type conversion): "
        "filter by a stored column first.",
        "evidence": {"rows_in": below, "rows_out": above},
    }


@operator_rule("forced-index")
def forced_index(subject: Subject, operator: Operator) -> Result:
    """A hint decides how the table is read."""
    hints = [
        name
        for name in ("ForcedIndex", "ForceSeek", "ForceScan")
        if operator.properties.get(name) in ("1", "true")
    ]
    if hints and operator.object:
        yield {
            "severity": Severity.LOW,
            "title": "Index hint",
            "detail": f"{operator_place(operator)}: {', '.join(hints)}.",
            "advice": "Check whether the hint is still right; without it the plan follows the data.",
            "evidence": {"hints": hints},
        }


@operator_rule("table-variable")
def table_variable(subject: Subject, operator: Operator) -> Result:
    """A table variable is read: it has no statistics, and is estimated at one row or as compiled."""
    item = operator.object
    if item is None or not item.is_table_variable or operator.kind not in ("IndexScan", "TableScan"):
        return
    rows = operator.actual_rows or 0
    yield {
        "severity": Severity.MEDIUM if rows >= ROWS_WORTH_A_LOOK else Severity.LOW,
        "title": "Table variable",
        "detail": f"{item.table} is estimated at {number(operator.estimate_rows)} rows"
        + (f" and has {number(rows)}." if operator.has_run else "."),
        "advice": "Use a temporary table (#name): it has statistics. Or add OPTION (RECOMPILE).",
        "evidence": {"table": item.table, "estimate": operator.estimate_rows, "rows": operator.actual_rows},
    }


@operator_rule("table-valued-function")
def table_valued_function(subject: Subject, operator: Operator) -> Result:
    """A multi-statement table-valued function: its inside is not in the plan and its rows are guessed."""
    item = operator.object
    if operator.kind != "TableValuedFunction" or item is None:
        return
    name = item.table or ""
    system = (item.schema or "").lower() == "sys" or name.lower().startswith(
        ("openjson", "string_split", "xml reader", "openxml", "generate_series")
    )
    if not name or system:
        return
    interleaved = any(counters.interleaved for counters in operator.counters)
    yield {
        # https://learn.microsoft.com/sql/relational-databases/performance/intelligent-query-processing-details
        "severity": Severity.LOW if interleaved else Severity.MEDIUM,
        "title": "Table-valued function",
        "detail": f"{item.table_name} is estimated at {number(operator.estimate_rows)} rows"
        + (f" and gave {number(operator.actual_rows)}." if operator.has_run else ".")
        + (" It ran before the rest was planned (interleaved execution)." if interleaved else ""),
        "advice": "Rewrite it as an inline function (one RETURN with a SELECT), which becomes part of the plan.",
        "evidence": {
            "function": item.table_name,
            "estimate": operator.estimate_rows,
            "rows": operator.actual_rows,
        },
    }


@operator_rule("remote-query")
def remote_query(subject: Subject, operator: Operator) -> Result:
    """Rows come from another server."""
    if operator.kind.startswith("Remote") or operator.physical_op.startswith("Remote"):
        source = operator.properties.get("RemoteSource", "")
        yield {
            "severity": _severity(subject, operator),
            "title": "Query to a linked server",
            "detail": f"{operator_place(operator)} asks {source or 'another server'}; its costs are a guess.",
            "advice": "Let the remote side filter and join (OPENQUERY, EXEC … AT), or keep a copy of the data here.",
            "evidence": {"source": source},
        }


# --- estimates ----------------------------------------------------------------------------------------------------


@operator_rule("row-estimate")
def row_estimate(subject: Subject, operator: Operator) -> Result:
    """The number of rows is far from its estimate, here for the first time on the way up."""
    ratio = operator.row_factor
    actual = operator.actual_rows
    if ratio is None or actual is None or 0.1 < ratio < 10:
        return
    # Writes, and the build of a hash table shared by threads, pass no rows on.
    if operator.is_write or operator.kind == "BatchHashTableBuild":
        return
    estimate = operator.estimate_rows_total
    if max(actual, estimate) < ROWS_WORTH_A_LOOK:
        return
    # The error is inherited from below: it is reported where it begins.
    for child in operator.children:
        below = child.row_factor
        if below is not None and not _is_bitmap(child) and (below >= 10 if ratio >= 10 else below <= 0.1):
            return
    # A row goal stops its input early on purpose: fewer rows than estimated are no error there.
    if ratio < 1 and (_under_row_goal(operator) or _is_bitmap(operator)):
        return
    off = max(ratio, 1 / ratio)
    yield {
        "severity": Severity.HIGH if off >= 100 and max(actual, estimate) >= 10_000 else Severity.MEDIUM,
        "title": "Row estimate is far off",
        "detail": f"{operator_place(operator)} gave {number(actual)} rows, {factor(ratio)} than the {number(estimate)} "
        "estimated.",
        "advice": "Everything above was chosen for the estimate: joins, memory, parallelism. Look at the statistics "
        "of the "
        "tested columns, at conditions on several related columns, at functions and conversions on columns, and at "
        "parameter values that differ from those of the compilation.",
        "evidence": {"actual_rows": actual, "estimated_rows": round(estimate, 2), "factor": round(ratio, 4)},
    }


def _under_row_goal(operator: Operator) -> bool:
    if operator.estimate_rows_without_row_goal is not None:
        return True
    below, node = operator, operator.parent
    while node is not None:
        if node.kind in ("Top", "TopSort") or "Semi Join" in node.logical_op:
            return True
        # An inner input that was not asked for all its rows, because the join found a match.
        if node.kind == "Merge" and below is not node.children[0]:
            return True
        below, node = node, node.parent
    return False


# What the optimizer assumes where it knows nothing
# (https://learn.microsoft.com/sql/relational-databases/performance/cardinality-estimation-sql-server).
_GUESSES = {0.3: "30%", 0.1: "10%", 0.09: "9%", 0.164317: "16.4%", 0.01: "1%"}
_COMPARISON = re.compile(r"<>|[<>!]=?|=|\blike\b|\bOR\b|\w\(", re.IGNORECASE)


@operator_rule("guessed-selectivity")
def guessed_selectivity(subject: Subject, operator: Operator) -> Result:
    """The estimate is one of the optimizer's fixed guesses."""
    base = operator.estimated_rows_read or operator.table_cardinality
    if (
        not base
        or base < ROWS_WORTH_A_LOOK
        or not operator.expressions.get("Predicate")
        or operator.is_lookup
    ):
        return
    if set(_COMPARISON.findall(operator.expressions["Predicate"][0])) == {"="}:
        # Equality is estimated by the histogram: a tenth of the rows is what one of ten values has.
        return
    share = operator.estimate_rows / base
    guess = next((words for value, words in _GUESSES.items() if abs(share - value) < value * 1e-4), None)
    if guess:
        yield {
            "severity": Severity.LOW,
            "title": "The optimizer guessed",
            "detail": f"{operator_place(operator)} is estimated at exactly {guess} of {number(base)} rows: a fixed "
            "guess "
            "that is used where statistics say nothing.",
            "advice": "Compare a bare column with a value that is known when the plan is made.",
            "evidence": {"share": round(share, 6), "rows": base},
        }


@operator_rule("row-goal")
def row_goal(subject: Subject, operator: Operator) -> Result:
    """TOP, EXISTS or FAST made the optimizer hope for an early end that did not come."""
    without = operator.estimate_rows_without_row_goal
    if without is None or not operator.is_scan or without < operator.estimate_rows * 10:
        return
    read = operator.actual_rows_read if operator.actual_rows_read is not None else operator.actual_rows
    if read is None or read < ROWS_WORTH_A_LOOK or read < operator.estimate_rows_total * 10:
        return
    yield {
        "severity": _severity(subject, operator, otherwise=Severity.MEDIUM),
        "title": "A row goal went wrong",
        "detail": f"{operator_place(operator)} was to stop after {number(operator.estimate_rows)} of "
        f"{number(without)} rows "
        f"and read {number(read)}.",
        "advice": "Give the TOP or EXISTS an index that finds its rows at once (the ORDER BY columns after the "
        "equality "
        "columns), or add OPTION (USE HINT ('DISABLE_OPTIMIZER_ROWGOAL')).",
        "evidence": {"with_row_goal": operator.estimate_rows, "without": without, "rows_read": read},
    }


# --- joins --------------------------------------------------------------------------------------------------------


@operator_rule("no-join-predicate")
def no_join_predicate(subject: Subject, operator: Operator) -> Result:
    """Two inputs are joined without a condition: each row with each."""
    if any(warning.kind == "NoJoinPredicate" for warning in operator.warnings):
        rows = operator.actual_rows if operator.has_run else operator.estimate_rows
        yield {
            "severity": Severity.HIGH if (rows or 0) > 1 and not subject.is_trivial else Severity.MEDIUM,
            "title": "Join without a condition",
            "detail": f"{operator_place(operator)} pairs every row with every row: {number(rows)} rows.",
            "advice": "Join on a relation: a condition is missing, or it names only one of the two tables.",
            "evidence": {"rows": rows},
        }


@operator_rule("many-executions")
def many_executions(subject: Subject, operator: Operator) -> Result:
    """The inner side of a nested loops join runs very often."""
    join = operator.parent
    if join is None or join.kind != "NestedLoops" or operator is join.children[0] or operator.is_lookup:
        return
    executions = operator.executions if operator.has_run else operator.estimated_executions
    weight = subject.weight(operator)
    if operator.kind in ("Spool", "RowCountSpool"):
        return  # Made to be asked often; whether it pays is for the rules about spools.
    costly = not operator.is_seek
    if (
        executions is None
        or executions < MANY_EXECUTIONS
        or (weight < 0.2 and not (costly and executions >= 10_000))
    ):
        return
    yield {
        "severity": _severity(subject, operator, otherwise=Severity.MEDIUM if costly else Severity.LOW),
        "title": "Inner side of a join runs many times",
        "detail": f"{operator_place(operator)} runs {number(executions)} times"
        + (f" and takes {milliseconds(operator.elapsed_ms)}." if operator.elapsed_ms else "."),
        "advice": "Mend the estimate of the outer side if it is too low: a hash join reads each input once. Or give "
        "the "
        "inner side an index on the join's columns.",
        "evidence": {"executions": executions, "share": round(weight, 3)},
    }


@operator_rule("many-to-many-merge")
def many_to_many_merge(subject: Subject, operator: Operator) -> Result:
    """A merge join keeps duplicates of both sides in a work table."""
    if operator.kind == "Merge" and operator.properties.get("ManyToMany") in ("1", "true"):
        reads = operator.logical_reads
        yield {
            "severity": _severity(subject, operator),
            "title": "Many-to-many merge join",
            "detail": f"{operator_place(operator)} joins inputs that both have duplicates, through a work table in "
            "tempdb" + (f" with {number(reads)} reads." if reads else "."),
            "advice": "If one side is unique, say so with a unique index or constraint; otherwise a hash join is often "
            "cheaper.",
            "evidence": {"logical_reads": reads},
        }


@operator_rule("or-expansion")
def or_expansion(subject: Subject, operator: Operator) -> Result:
    """Conditions joined by OR are searched one by one and merged."""
    if operator.kind != "MergeInterval":
        return
    concat = next((item for item in operator.walk() if item.kind == "Concat"), None)
    if concat is not None and len(concat.children) > 1:
        executions = operator.executions if operator.has_run else operator.estimated_executions
        yield {
            "severity": Severity.MEDIUM if (executions or 0) >= MANY_EXECUTIONS else Severity.LOW,
            "title": "OR is expanded into ranges",
            "detail": f"{operator_place(operator)} merges {len(concat.children)} ranges, {number(executions)} times.",
            "advice": "Write the branches as UNION (in Django: queryset.union()), so that each uses its own index.",
            "evidence": {"branches": len(concat.children), "executions": executions},
        }


# --- memory and tempdb --------------------------------------------------------------------------------------------


_SPILL_DETAILS = {"SortSpillDetails": "Sort", "HashSpillDetails": "Hash", "ExchangeSpillDetails": "Exchange"}
_PAGES_OF_100_MB = 100 * 1024 // 8


@operator_rule("spill")
def spill(subject: Subject, operator: Operator) -> Result:
    """A sort, hash or exchange did not fit into its memory and went to tempdb."""
    warnings = {warning.kind: warning for warning in operator.warnings}
    details = [kind for kind in _SPILL_DETAILS if kind in warnings]
    if not details and not warnings.keys() & {"SpillToTempDb", "SpillOccurred"}:
        return
    level = _whole(warnings.get("SpillToTempDb"), "SpillLevel")
    threads = _whole(warnings.get("SpillToTempDb"), "SpilledThreadCount")
    pages = sum(_whole(warnings[kind], "WritesToTempDb") or 0 for kind in details)
    by_operator = (
        "Sort" if "Sort" in operator.physical_op else "Exchange" if operator.kind == "Parallelism" else "Hash"
    )
    facts = [] if level is None else [f"level {level}"]
    if pages:
        facts.append(f"{number(pages)} pages ({kilobytes(pages * 8)}) written")
    if threads:
        facts.append(f"{threads} threads")
    yield {
        "severity": Severity.HIGH if (level or 0) >= 2 or pages >= _PAGES_OF_100_MB else Severity.MEDIUM,
        "title": f"{_SPILL_DETAILS[details[0]] if details else by_operator} spilled to tempdb",
        "detail": f"{operator_place(operator)} ran out of memory"
        + (f": {', '.join(facts)}." if facts else "."),
        "advice": "The memory is granted by the estimated rows and row size: mend the estimate below, sort and group "
        "fewer or narrower columns, or give the sort an index that has the order already.",
        "evidence": {"level": level, "pages_written": pages or None, "threads": threads},
    }


def _whole(warning: Warning | None, name: str) -> int | None:
    return whole_number(warning.details.get(name)) if warning else None


@operator_rule("expensive-sort")
def expensive_sort(subject: Subject, operator: Operator) -> Result:
    """A sort is a large part of the statement."""
    if operator.kind not in ("Sort", "TopSort"):
        return
    weight = subject.weight(operator)
    measured = operator.children[0].actual_rows if operator.children else None
    rows = operator.estimate_rows if measured is None else measured
    if weight >= 0.3 and rows >= ROWS_WORTH_A_LOOK:
        order = ", ".join(operator.expressions.get("Order By", ()))
        yield {
            "severity": Severity.LOW if subject.is_trivial else Severity.MEDIUM,
            "title": "Expensive sort",
            "detail": f"{operator_place(operator)} sorts {number(rows)} rows by {order or 'its keys'}: "
            f"{percent(weight)} of "
            "the statement.",
            "advice": f"An index in the order ({order or 'of the sort'}) after the equality columns makes the sort "
            "unnecessary; or limit the rows first.",
            "evidence": {"rows": rows, "order": order, "share": round(weight, 3)},
        }


@operator_rule("eager-index-spool")
def eager_index_spool(subject: Subject, operator: Operator) -> Result:
    """The statement builds an index for itself, on every run."""
    if not (operator.physical_op == "Index Spool" and operator.logical_op.startswith("Eager")):
        return
    seek = next(iter(operator.seeks), None)
    keys = [column.column for column in seek.prefix + seek.range] if seek else []
    source = next((item.object for item in operator.walk() if item.object and item.object.table), None)
    rows = operator.children[0].actual_rows if operator.children else None
    include = [column.column for column in operator.output if column.column not in keys]
    sql = ""
    if source is not None and keys and not source.is_table_variable:
        columns = ", ".join(quote(key) for key in keys)
        name = "_".join(("IX", str(source.table), *keys))[:116]
        sql = f"CREATE NONCLUSTERED INDEX {quote(name)}\nON {source.quoted_table} ({columns})"
        sql += f"\nINCLUDE ({', '.join(quote(column) for column in include)});" if include else ";"
    yield {
        "severity": Severity.HIGH,
        "title": "The statement builds its own index",
        "detail": f"{operator_place(operator)} copies {number(rows if rows is not None else operator.estimate_rows)} "
        "rows of "
        f"{source.table_name if source else 'its input'} into a temporary index on "
        f"{', '.join(keys) or 'its seek columns'}, "
        "on every run.",
        "advice": "Create that index for good.",
        "evidence": {"rows": rows, "keys": keys, "include": include},
        "sql": sql,
        "note": "the spool's own key and columns",
    }


@operator_rule("table-spool")
def table_spool(subject: Subject, operator: Operator) -> Result:
    """Rows are kept in tempdb to be read again."""
    eager = operator.logical_op.startswith("Eager")
    if operator.kind != "Spool" or (eager and operator.physical_op == "Index Spool"):
        return
    rows = operator.estimate_rows_total if operator.actual_rows is None else operator.actual_rows
    if subject.is_trivial and rows < ROWS_WORTH_A_LOOK:
        return
    writes = any(item.kind in ("Update", "SimpleUpdate", "ScalarInsert") for item in subject.operators)
    rebinds = sum(counter.rebinds or 0 for counter in operator.counters)
    rewinds = sum(counter.rewinds or 0 for counter in operator.counters)
    if operator.has_run and not eager and rewinds >= 5 * rebinds:
        return
    reason = (
        "to read the table and write it without meeting its own changes" if eager and writes
        else "because the same rows are wanted again" if eager
        else f"and filled it anew {number(rebinds)} times, read it again {number(rewinds)} times" if operator.has_run
        else "in the hope to read them again"
    )  # fmt: skip
    yield {
        "severity": _severity(subject, operator),
        "title": "Eager spool" if eager else "Lazy spool that hardly pays",
        "detail": f"{operator_place(operator)} keeps rows in tempdb {reason}.",
        "advice": "For writes: an index that does not hold the changed column may avoid it. For reads: a unique "
        "index on "
        "the join's outer columns, or a temporary table.",
        "evidence": {"rebinds": rebinds, "rewinds": rewinds},
    }


@operator_rule("row-count-spool")
def row_count_spool(subject: Subject, operator: Operator) -> Result:
    """NOT IN on a column that can be NULL is tested for each row."""
    if operator.kind != "RowCountSpool" and operator.physical_op != "Row Count Spool":
        return
    executions = operator.executions if operator.has_run else operator.estimated_executions
    if (executions or 0) >= 100:
        yield {
            "severity": Severity.HIGH if (executions or 0) >= 10_000 else Severity.MEDIUM,
            "title": "Row count spool",
            "detail": f"{operator_place(operator)} is asked {number(executions)} times whether there is a row at all: "
            "typical of NOT IN on a column that allows NULL.",
            "advice": "Write NOT EXISTS (in Django: ~Exists(…) in place of exclude(…__in=…)), or make the column NOT "
            "NULL.",
            "evidence": {"executions": executions},
        }


# --- writes -------------------------------------------------------------------------------------------------------


@operator_rule("wide-write")
def wide_write(subject: Subject, operator: Operator) -> Result:
    """One write maintains many indexes."""
    if operator.kind not in ("Update", "SimpleUpdate", "ScalarInsert"):
        return
    indexes = [item.index for item in operator.objects if item.index]
    if len(indexes) >= 5:
        yield {
            "severity": Severity.MEDIUM if len(indexes) >= 10 else Severity.LOW,
            "title": "A write keeps many indexes",
            "detail": f"{operator_place(operator)} writes to {len(indexes)} indexes: {', '.join(indexes[:12])}.",
            "advice": "Drop indexes that are never read (sys.dm_db_index_usage_stats).",
            "evidence": {"indexes": len(indexes)},
        }


@operator_rule("foreign-key-without-index")
def foreign_key_without_index(subject: Subject, operator: Operator) -> Result:
    """A delete or key change checks foreign keys that have no index."""
    missing = operator.properties.get("NoMatchingIndexCount", "0")
    if operator.kind == "ForeignKeyReferencesCheck" and missing not in ("0", ""):
        yield {
            "severity": Severity.HIGH,
            "title": "Foreign key without index",
            "detail": f"{missing} of {operator.properties.get('ForeignKeyReferencesCount', '?')} referring tables are "
            "scanned for each deleted row: their foreign key columns have no index.",
            "advice": "Index the referring columns (Django does so unless db_index=False).",
            "evidence": {"without_index": missing},
        }


# --- parallelism --------------------------------------------------------------------------------------------------


@operator_rule("parallel-skew")
def parallel_skew(subject: Subject, operator: Operator) -> Result:
    """One thread did most of the work of a parallel operator."""
    share = _largest_share(operator)
    # An uneven distribution goes on upwards: it is reported where it begins.
    if share is None or any(_largest_share(child) is not None for child in operator.children):
        return
    workers = [counter for counter in operator.counters if counter.thread > 0]
    rows = sorted((counter.rows for counter in workers), reverse=True)
    total = sum(rows)
    yield {
        "severity": Severity.HIGH if share >= 0.8 else Severity.MEDIUM,
        "title": "Parallel threads are unevenly loaded",
        "detail": f"{operator_place(operator)}: one of {len(workers)} threads had {percent(share)} of "
        f"{number(total)} rows.",
        "advice": "The rows are distributed by a column with few or unequal values: see the exchange below. A lower "
        "DOP "
        "(OPTION (MAXDOP 1)) may be as fast, and an index may end the need for parallelism.",
        "evidence": {"threads": len(workers), "share": round(share, 3), "rows": rows[:8]},
    }


def _largest_share(operator: Operator) -> float | None:
    """The busiest thread's share of the rows, where it is far above its due."""
    workers = [counter.rows for counter in operator.counters if counter.thread > 0]
    total = sum(workers)
    if not operator.parallel or len(workers) < 2 or total < 10_000:
        return None
    share = max(workers) / total
    return share if share >= max(0.5, 2.5 / len(workers)) else None


@operator_rule("dominant-operator")
def dominant_operator(subject: Subject, operator: Operator) -> Result:
    """One operator took most of the measured time."""
    share = subject.time_share(operator)
    own = operator.self_elapsed_ms
    if own is not None and own >= 200 and share >= 0.6 and len(subject.operators) > 2:
        yield {
            "severity": Severity.LOW,
            "title": "Most of the time is here",
            "detail": f"{operator_place(operator)} took {milliseconds(own)}, {percent(share)} of the statement's time.",
            "advice": "Begin here.",
            "evidence": {"elapsed_ms": own, "share": round(share, 3)},
        }
