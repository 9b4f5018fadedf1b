"""A plan is drawn as valid SVG that needs no script, no style and no network, and escapes everything."""

from __future__ import annotations

import html5lib
import pytest
from lxml import etree

from mssql.showplan import findings, parse, to_svg
from mssql.showplan.svg import MAX_DRAWN, icon

from .plans import FILES, counters, load, plan_xml, relop

SVG = "{http://www.w3.org/2000/svg}"


def draw(document: str | bytes) -> etree._Element:
    return etree.fromstring(to_svg(parse(document)))


@pytest.mark.parametrize("name", FILES)
def test_draws_every_operator_once(name: str) -> None:
    plan = parse(load(name))
    svg = to_svg(plan)
    root = etree.fromstring(svg)
    drawn = root.xpath("//*[@data-mssql-operator]")
    assert [element.get("data-mssql-operator") for element in drawn] == [
        str(position) for position, _ in enumerate(plan.operators())
    ]
    assert [element.get("data-node") for element in drawn] == [str(item.node_id) for item in plan.operators()]
    assert len(root.xpath("//*[contains(@class, 'sp-edge')]")) == len(drawn)
    html5lib.HTMLParser(strict=True).parse(
        f"<!doctype html><html><head><title>t</title></head><body>{svg}</body></html>"
    )


@pytest.mark.parametrize("name", FILES)
def test_keeps_a_strict_policy(name: str) -> None:
    root = draw(load(name))
    for element in root.iter():
        tag = etree.QName(element).localname
        assert tag in {"svg", "g", "path", "rect", "text", "title"}, tag
        assert not {key for key in element.attrib if key == "style" or key.startswith("on") or "href" in key}


@pytest.mark.parametrize("name", FILES)
def test_no_two_operators_overlap(name: str) -> None:
    for statement in draw(load(name)).xpath("/*/*"):
        places = [
            (rect.get("x"), rect.get("y"))
            for rect in statement.iter(f"{SVG}rect")
            if rect.get("class") == "sp-card"
        ]
        assert len(places) == len(set(places))


@pytest.mark.parametrize("name", FILES)
def test_everything_is_inside_the_picture(name: str) -> None:
    root = draw(load(name))
    width = float(root.get("width"))
    for rect in root.iter(f"{SVG}rect"):
        if rect.get("class") == "sp-card":
            assert float(rect.get("x")) + float(rect.get("width")) <= width


def test_text_is_escaped() -> None:
    evil = "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&apos;"
    document = plan_xml(
        relop(evil, f'<IndexScan><Object Schema="[dbo]" Table="[{evil}]" Index="[{evil}]"/></IndexScan>'),
    ).replace('StatementText="SELECT 1"', f'StatementText="{evil}"')
    svg = to_svg(parse(document))
    assert "<script" not in svg
    etree.fromstring(svg)


def test_a_node_tells_its_facts_without_script() -> None:
    child = relop("Index Seek", counters(500, executions=20, read=9000, ActualElapsedms=30, ActualLogicalReads=77)
                  + '<IndexScan><Object Schema="[dbo]" Table="[t]" Index="[ix]"/></IndexScan>', node=3)  # fmt: skip
    (title,) = draw(plan_xml(child)).xpath("//*[@data-mssql-operator]/*[local-name()='title']")
    for fact in ("Index Seek", "node 3", "dbo.t.ix", "Actual rows: 500 in 20 executions", "Rows read: 9,000", "30 ms",
                 "Logical reads: 77"):  # fmt: skip
        assert fact in title.text


def test_more_rows_make_a_thicker_line_and_bad_estimates_another_colour() -> None:
    def edge(rows: int, estimate: int) -> etree._Element:
        root = draw(plan_xml(relop("Table Scan", counters(rows), EstimateRows=estimate)))
        return root.xpath("//*[contains(@class, 'sp-edge')]")[0]

    def thickness(element: etree._Element) -> float:
        return float(element[0].get("stroke-width"))

    assert thickness(edge(10, 10)) < thickness(edge(1000, 1000)) < thickness(edge(1_000_000, 1_000_000))
    classes = [edge(rows, 100).get("class") for rows in (100, 5_000, 500_000)]
    assert [item[-1] for item in classes] == ["0", "1", "2"]


def test_findings_are_marked_on_their_operators() -> None:
    plan = parse(load("perfstudio_key_lookup_plan"))
    marked = etree.fromstring(to_svg(plan)).xpath("//*[contains(@class, 'sp-badge')]/../@data-node")
    assert marked == [str(item.node_id) for item in findings(plan) if item.operator]


def test_endless_plans_are_cut() -> None:
    operators = "".join(relop("Constant Scan", node=node) for node in range(MAX_DRAWN + 500))
    root = draw(plan_xml(relop("Concatenation", f"<Concat>{operators}</Concat>")))
    assert len(root.xpath("//*[@data-mssql-operator]")) == MAX_DRAWN
    assert "501 more operators" in "".join(root.itertext())


@pytest.mark.parametrize("name", FILES)
def test_every_operator_of_a_real_plan_has_an_icon_of_its_kind(name: str) -> None:
    for operator in parse(load(name)).operators():
        assert icon(operator.physical_op) != icon("no such operator"), operator.physical_op
