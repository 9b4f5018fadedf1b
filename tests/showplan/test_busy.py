"""Well-formed plans that were made to keep us busy: everything we do with them stays linear."""

from __future__ import annotations

import json

import pytest

from mssql.showplan import compare, findings, parse, redact, to_svg
from mssql.showplan.text import describe

from .plans import counters, cpu_seconds, plan_xml, relop

COLUMN = (
    '<ScalarOperator><Identifier><ColumnReference Table="[t]" Column="c{n}"/></Identifier></ScalarOperator>'
)
OBJECT = '<Object Schema="[dbo]" Table="[t{n}]" Index="[i{n}]"/>'


def many(template: str, count: int) -> str:
    return "".join(template.replace("{n}", str(number)) for number in range(count))


def nested(opening: str, closing: str, depth: int, inside: str = "") -> str:
    return opening * depth + inside + closing * depth


RELOP = '<RelOp NodeId="1" PhysicalOp="{op}" LogicalOp="{op}" EstimateRows="{rows}" EstimatedTotalSubtreeCost="1">'


def tower(op: str, kind: str, depth: int = 900, extra: str = "") -> str:
    opening = RELOP.format(op=op, rows=1_000_000) + extra + f"<{kind}>"
    return nested(opening, f"</{kind}></RelOp>", depth)


TABLE_SCAN = relop("Table Scan")
LOOKUP = f'<IndexScan Lookup="1">{OBJECT}</IndexScan>'
PREDICATE = "<{kind}><Predicate><ScalarOperator{text}>{inside}</ScalarOperator></Predicate></{kind}>"


def predicate(inside: str, kind: str = "IndexScan", text: str = "") -> str:
    """An operator with a condition."""
    shown = f' ScalarString="{text}"' if text else ""
    return relop("Index Scan", PREDICATE.format(kind=kind, inside=inside, text=shown))


PLANS = {
    "wide": relop("Concatenation", f"<Concat>{relop('Key Lookup', LOOKUP) * 5_000}</Concat>"),
    "lookups in a tower": tower("Nested Loops", "NestedLoops", extra='<Warnings NoJoinPredicate="1"/>'),
    "batch mode tower": tower(
        "Hash Match", "Hash", extra=counters(0, ActualElapsedms=5, ActualExecutionMode="Batch")
    ),
    "bad estimates in a tower": tower("Filter", "Filter", extra=counters(1)),
    "spools in a tower": tower("Index Spool", "Spool").replace(
        'LogicalOp="Index Spool"', 'LogicalOp="Eager Spool"'
    ),
    "objects": relop("Index Scan", f"<IndexScan>{many(OBJECT, 60_000)}</IndexScan>"),
    "warnings": relop("Sort", many('<Warnings><SpillToTempDb SpillLevel="{n}"/></Warnings>', 40_000)),
    "conversions": predicate(
        many(f'<Convert DataType="nvarchar" Length="80" Implicit="1">{COLUMN}</Convert>', 20_000)
    ),
    "nested functions": predicate(
        nested(
            '<Intrinsic FunctionName="f"><ScalarOperator>',
            "</ScalarOperator></Intrinsic>",
            900,
            many(COLUMN, 20_000),
        )
    ),
    "missing indexes": "<MissingIndexes>"
    + many(
        '<MissingIndexGroup Impact="9"><MissingIndex Table="[t]"><ColumnGroup Usage="EQUALITY"><Column Name="[c{n}]"/>'
        "</ColumnGroup></MissingIndex></MissingIndexGroup>",
        25_000,
    )
    + f"</MissingIndexes>{relop('Table Scan')}",
    "parameters and conversions": "<ParameterList>"
    + many('<ColumnReference Column="@P{n}" ParameterRuntimeValue="{n}"/>', 30_000)
    + "</ParameterList><Warnings>"
    + many('<PlanAffectingConvert ConvertIssue="Seek Plan" Expression="CONVERT(a,CONVERT(a,@P{n}"/>', 30_000)
    + f"</Warnings>{relop('Table Scan')}",
    "one long text": predicate("", "Filter", "$ [ &apos; /* CONVERT( 0x " * 300_000),
    "money without end": predicate("", "Filter", f"${' ' * 5_000_000}x"),
}


# Each takes one or two. What grows by the square of the plan takes hours.
LIMIT = 60.0


def test_many_statements_are_done_soon() -> None:
    statement = '<StmtSimple StatementText="SELECT 1" StatementType="ASSIGN"/>'
    document = plan_xml(TABLE_SCAN).replace("</Statements>", statement * 50_000 + "</Statements>")

    def work() -> None:
        plan = parse(document)
        svg = to_svg(plan)
        describe(plan)
        assert len(plan.statements) == 50_001
        assert svg.count("<rect") < 50

    assert cpu_seconds(work, 1) < LIMIT


@pytest.mark.parametrize("name", PLANS)
def test_busy_plans_are_done_soon(name: str) -> None:
    document = plan_xml(PLANS[name])

    def work() -> None:
        plan = parse(document)
        found = findings(plan)
        to_svg(plan, found=found)
        describe(plan, found)
        json.dumps(plan.to_dict())
        redact(document)
        compare(plan, plan)
        assert len(found) < 500

    assert cpu_seconds(work, 1) < LIMIT
