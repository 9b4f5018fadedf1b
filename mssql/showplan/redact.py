"""A plan without what people entered: no literal, no parameter value, no comment; names and counts stay."""

from __future__ import annotations

import re

from .document import SHOWPLAN, local_name, not_one_plan, scan

REDACTED = "?"

# Attributes that hold SQL: their literals go, their shape stays.
_SQL = frozenset(("StatementText", "ParameterizedText", "ScalarString", "Expression", "RemoteQuery"))

# Attributes that name another server's objects. OPENQUERY's text stands there too, and OPENDATASOURCE's connection.
_REMOTE = frozenset(("RemoteDestination", "RemoteObject", "RemoteSource"))
_PART = r"""(?:"[^"]*"|\[[^\]]*\]|[^\s'"=;,().\[\]]*)"""
_REMOTE_NAME = re.compile(rf"{_PART}(?:\.{_PART})*")

# Attributes that hold a value and nothing else.
_VALUES = {
    "ConstValue": REDACTED,
    "ParameterCompiledValue": REDACTED,
    "ParameterRuntimeValue": REDACTED,
    # The literal of TOP (n), as a number that the schema demands.
    "Rows": "0",
}

# Attributes that are known to hold names, numbers and flags: those of Microsoft's schemas 1.0 to 1.550 and of SQL
# Server 2025's plans. What is not listed is not known, and is redacted.
_SAFE = frozenset(
    """
    ANSI_NULLS ANSI_PADDING ANSI_WARNINGS ARITHABORT ActualCPUms ActualElapsedms ActualEndOfScans ActualExecutionMode
    ActualExecutions ActualJoinType ActualLobLogicalReads ActualLobPageServerReadAheads ActualLobPageServerReads
    ActualLobPhysicalReads ActualLobReadAheads ActualLocallyAggregatedRows ActualLogicalReads
    ActualPageServerReadAheads ActualPageServerReads ActualPhysicalReads ActualReadAheads ActualRebinds ActualRewinds
    ActualRows ActualRowsRead ActualScans AdaptiveThresholdRows AggType Alias Ascending Assembly AvgRowSize
    BatchModeOnRowStoreUsed BatchSqlHandle Batches BitmapCreator Branches BrickId Build CONCAT_NULL_YIELDS_NULL
    CachedPlanSize CardinalityEstimationModelVersion Class CloneAccessScope CloseTime ClusteredMode Column ColumnId
    CompareOp CompileCPU CompileMemory CompileTime ComputeSequence ComputedColumn ContainsInlineScalarTsqlUdfs
    ContainsInterleavedExecutionCandidates ConvertIssue CpuTime CursorActualType CursorConcurrency CursorName
    CursorRequestedType DMLRequestSort DataType Database DatabaseContextSettingsId DegreeOfParallelism DesiredMemory
    DispatcherPlanHandle Distinct DistributionType DynamicSeek EffectiveDegreeOfParallelism ElapsedTime End
    EstimateCPU EstimateIO EstimateRebinds EstimateRewinds EstimateRows EstimateRowsWithoutRowGoal
    EstimatedAvailableDegreeOfParallelism EstimatedAvailableMemoryGrant EstimatedExecutionMode EstimatedJoinType
    EstimatedPagesCached EstimatedRowsRead EstimatedTotalSubtreeCost Filtered FirstActiveTime FirstRowTime ForceScan
    ForceSeek ForceSeekColumnCount ForcedIndex ForeignKeyReferencesCount ForwardOnly FragmentElimination
    FullUpdateForOnlineIndexBuild FunctionName GrantWaitTime GrantWarningKind GrantedMemory GrantedMemoryKb
    GraphSequenceIdentifier GraphWorkTableIdentifier GraphWorkTableType GroupExecuted HighBoundary HighestLevel
    HintType HpcDeviceToHostBytes HpcHostToDeviceBytes HpcKernelElapsedUs HpcRowCount Impact Implicit InRow Index
    IndexKind Input InputMemoryGrant IsAdaptive IsClrFunction IsCompileTime IsDistributed IsExternal
    IsExternallyComputed IsFull IsGraphDBTransitiveClosure IsHashDistributed IsInterleavedExecuted
    IsMemoryGrantFeedbackAdjusted IsNativelyCompiled IsNoOp IsPercent IsReplicated IsRoundRobin IsScalar JoinType
    LastActiveTime LastRequestedMemory LastRowTime LastUpdate Length Level LocalParallelism LogicalOp Lookup
    LowBoundary ManyToMany MaterializeOperation MaxCompileMemory MaxQueryMemory MaxUsedMemory MemoryGrant Method
    ModificationCount MoveType NUMERIC_ROUNDABORT Name NoExpandHint NoJoinPredicate NoMatchingIndexCount NodeId
    NonParallelPlanReason NumRows OnlineInbuildIndex OnlineIndexBuildMappingIndex OpenTime Operation OperationType
    Optimized Ordered Output OutputMemoryGrant PDWAccumulativeCost Parallel ParameterDataType ParameterizedPlanHandle
    ParentObjectId PartialMatchingIndexCount PartitionCount Partitioned PartitioningType PhysicalOp PlanGuideDB
    PlanGuideName Precision PrimaryNodeId ProcName QUOTED_IDENTIFIER QueryHash QueryPlanHash QueryVariantID
    ReadsFromTempDb RemoteDataAccess Remoting RequestedMemory
    RequiredMemory ReservedThreads RetrievedFromCache Root RowCount SamplingPercent Scale ScanDirection ScanType
    SchedulerId Schema Scope SecurityPolicyApplied SegmentReads SegmentSkips SerialDesiredMemory SerialRequiredMemory
    Server SetPredicateType ShuffleColumn ShuffleType SpatialGuess SpillLevel SpilledThreadCount Stack Start
    StartupExpression StatementCompId StatementEstRows StatementId StatementOptmEarlyAbortReason StatementOptmLevel
    StatementParameterizationType StatementSqlHandle StatementSubTreeCost StatementType Statistics StatsCollectionId
    Storage Style Table TableCardinality TableReferenceId TaskAddr TemplatePlanGuideDB TemplatePlanGuideName Thread
    TopLocation Type UDXName UdfCpuTime UdfElapsedTime UnmatchedIndexes Usage UsePlan UsedMemoryGrant UsedMemoryKb
    UsedThreads Value Version WaitCount WaitTime WaitTimeMs WaitType WithOrderedPrefetch WithTies
    WithUnorderedPrefetch WritesToTempDb
    """.split()
)
_FLAGS = frozenset(("0", "1", "true", "false"))


def redact(xml: str | bytes) -> str:
    """The same plan without literals, parameter values, comments and text; it parses, draws and is judged as before."""
    pieces: list[str] = []
    open_tags: list[str] = []
    root, plans = "", 0
    # The start tag whose ">" is not written yet: an element without content is closed at once.
    pending = False

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal pending, plans, root
        root = root or local_name(tag)
        if not open_tags:
            # What stands around the plan is left out.
            if local_name(tag) != SHOWPLAN:
                return
            plans += 1
        if pending:
            pieces.append(">")
        pieces.append(f"<{tag}")
        pieces.extend(f' {name}="{_escape(_attribute(name, value))}"' for name, value in attributes.items())
        open_tags.append(tag)
        pending = True

    def end(tag: str) -> None:
        nonlocal pending
        if not open_tags:
            return
        pieces.append("/>" if pending else f"</{tag}>")
        open_tags.pop()
        pending = False

    # Text, comments and processing instructions are not asked for, and so left out.
    scan(xml, start, end)
    if plans != 1:
        raise not_one_plan(root, plans)
    return "".join(pieces)


def _attribute(name: str, value: str) -> str:
    if name in _SAFE or name == "xmlns" or name.startswith("xmlns:"):
        return value
    if name in _SQL:
        return redact_sql(value)
    if name in _VALUES:
        return _VALUES[name]
    if name in _REMOTE and not _REMOTE_NAME.fullmatch(value):
        return redact_sql(value) if name == "RemoteObject" else REDACTED
    if name in _REMOTE:
        return value
    return value if value in _FLAGS else REDACTED


_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}
)


def _escape(value: str) -> str:
    return value.translate(_ESCAPES)


# What is dropped stands before what is kept: a comment may hold a quote, a string may hold a comment. A string, comment
# or quoted name that doesn't end (the server cuts long texts) goes as a whole: nobody can tell what it holds.
_TOKEN = re.compile(
    r"""
      (?P<line_comment>--[^\r\n]*)
    | (?P<comment>/\*)
    | (?P<string>[Nn]?'(?:[^']|'')*(?:'|\Z))
    | (?P<name>\[(?:[^\]]|\]\])*\]) | (?P<cut_name>\[.*\Z)
    | (?P<quoted>"(?:[^"]|"")*(?:"|\Z))
    | (?P<binary>0[xX](?:[0-9A-Fa-f]|\\\r?\n)*(?![\w@\#$]))
    | (?P<word>[^\W\d][\w@\#$]*|[@\#][\w@\#$]*)
    | (?P<number>[$£¤¥€₩₪₫]\s*(?:[-+]\s*)?[\d.,]+|(?:\d[\w.]*|\.\d[\w.]*)(?:(?<=[eE])[-+]?\d+)?)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_KEPT = frozenset(("name", "word"))
_DROPPED = frozenset(("line_comment",))

# Behind the name of a procedure a bare name is a string: EXEC find_person Smith
# (https://learn.microsoft.com/sql/t-sql/language-elements/execute-transact-sql).
_CALLS = frozenset(("EXEC", "EXECUTE"))
_CALL_WORDS = frozenset(("DEFAULT", "NULL", "OUT", "OUTPUT"))
_CALL_ENDS = frozenset(("AT", "WITH"))
_NAME_GOES_ON = frozenset((".", "..", "...", "="))


def redact_sql(sql: str) -> str:
    """The text with `?` for each string, number, binary and quoted text, and without comments."""
    pieces: list[str] = []
    position = 0
    # Behind EXEC come the procedure's name, then its arguments.
    in_call = in_callee = False
    previous = ""
    while match := _TOKEN.search(sql, position):
        between = sql[position : match.start()]
        pieces.append(between)
        position = match.end()
        kind, text = match.lastgroup, match[0]
        word = text.upper() if kind == "word" else ""
        if in_call:
            joint = "".join(between.split())
            in_callee = in_callee and (previous in _CALLS or joint in _NAME_GOES_ON)
            # A procedure's number stands behind a semicolon, too.
            in_call = word not in _CALL_ENDS and (";" not in joint or kind == "number")
        if kind == "comment":
            position = _end_of_comment(sql, position)
        elif word in _CALLS:
            in_call = in_callee = True
            pieces.append(text)
        elif kind in _KEPT and (not in_call or in_callee or word in _CALL_WORDS or text.startswith("@")):
            pieces.append(text)
        elif kind not in _DROPPED:
            pieces.append(REDACTED)
        previous = word
    pieces.append(sql[position:])
    return "".join(pieces)


def _end_of_comment(sql: str, position: int) -> int:
    """Block comments nest in T-SQL; one that does not end takes the rest."""
    depth = 1
    while match := _COMMENT_EDGE.search(sql, position):
        position = match.end()
        depth += 1 if match[0] == "/*" else -1
        if depth == 0:
            return position
    return len(sql)
