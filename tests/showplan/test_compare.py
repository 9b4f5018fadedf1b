"""Two plans side by side: Microsoft's own pair of a slow and a fast plan, and small changes by hand."""

from __future__ import annotations

import json

import pytest

from mssql.showplan import compare, parse

from .plans import FILES, counters, load, plan_xml, relop


@pytest.mark.parametrize("name", FILES)
def test_a_plan_is_like_itself(name: str) -> None:
    plan = parse(load(name))
    comparison = compare(plan, parse(load(name)))
    assert comparison.same_shape
    assert (comparison.findings_gone, comparison.findings_new, comparison.parameters) == ((), (), ())
    assert all(fact.factor in (None, 1.0) for fact in comparison.facts)
    assert len(comparison.pairs) == len(list(plan.operators()))


def test_microsofts_slow_and_fast_plan() -> None:
    slow, fast = parse(load("sqlsamples_Compare1_Plan1_Slow")), parse(load("sqlsamples_Compare1_Plan2_Fast"))
    comparison = compare(slow, fast)
    facts = {fact.name: fact for fact in comparison.facts}
    assert not comparison.same_shape
    # 34 and 27 operators by XPath; the slow plan's cost is the sum of its statement's StatementSubTreeCost.
    assert (facts["Operators"].first, facts["Operators"].second) == (34, 27)
    assert facts["Estimated cost"].factor is not None
    assert facts["Estimated cost"].factor < 1
    assert "many-to-many-merge" in {finding.rule for finding in comparison.findings_gone}
    assert "optimizer-gave-up" in {finding.rule for finding in comparison.findings_new}
    json.dumps(comparison.to_dict())


def test_an_index_changes_a_scan_into_a_seek() -> None:
    before = parse(plan_xml(relop("Sort", f"<Sort>{relop('Table Scan', counters(9), node=1)}</Sort>")))
    after = parse(plan_xml(relop("Sort", f"<Sort>{relop('Index Seek', counters(9), node=1)}</Sort>")))
    comparison = compare(before, after)
    assert [
        (pair.change, (pair.first or pair.second).physical_op) for pair in comparison.pairs  # type: ignore[union-attr]
    ] == [("same", "Sort"), ("removed", "Table Scan"), ("added", "Index Seek")]  # fmt: skip


def test_other_parameter_values_are_named() -> None:
    def plan(value: str) -> str:
        return plan_xml(
            f'<ParameterList><ColumnReference Column="@a" ParameterCompiledValue="(1)" '
            f'ParameterRuntimeValue="{value}"/>'
            '<ColumnReference Column="@b" ParameterCompiledValue="(7)"/></ParameterList>'
            + relop("Table Scan")
        )

    assert compare(parse(plan("(1)")), parse(plan("(2)"))).parameters == (("@a", "(1)", "(2)"),)
