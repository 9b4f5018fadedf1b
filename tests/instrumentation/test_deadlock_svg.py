"""The drawing of a deadlock: valid, complete, bounded, and free of markup from the data."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from mssql.instrumentation import deadlock
from mssql.instrumentation.deadlock_svg import MAX_SESSIONS, to_svg
from tests.instrumentation.test_deadlock import GRAPH, GRAPHS

SVG = "{http://www.w3.org/2000/svg}"


def _draw(graph: deadlock.Deadlock) -> etree._Element:
    return etree.fromstring(to_svg(graph))


def _words(svg: etree._Element) -> str:
    return " ".join("".join(text.itertext()) for text in svg.iter(f"{SVG}text"))


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.name)
def test_every_real_graph_is_drawn_within_its_frame(path: Path) -> None:
    for graph in deadlock.parse(path.read_bytes()):
        svg = _draw(graph)
        width, height = float(svg.get("width")), float(svg.get("height"))
        for box in svg.iter(f"{SVG}rect"):
            x, y = float(box.get("x", 0)), float(box.get("y", 0))
            assert x >= 0
            assert y >= 0
            assert x + float(box.get("width")) <= width
            assert y + float(box.get("height")) <= height
        sessions = {process.session_id for process in graph.processes}
        for session in sessions:
            assert f"Session {session}" in _words(svg)


def test_two_sessions_show_victim_survivor_statements_and_both_locks() -> None:
    (graph,) = deadlock.parse(GRAPH)
    svg = _draw(graph)
    words = _words(svg)
    for expected in (
        "Session 51",
        "victim: rolled back",
        "Session 52",
        "survived",
        "UPDATE t1 SET c",
        "shop.dbo.t1",
        "shop.dbo.t2",
        "waited 1.5 s",
    ):
        assert expected in words
    assert words.count("waits for X") == words.count("held X") == 2
    assert len(svg.findall(f".//{SVG}path[@class='dl-wait']")) == 2
    assert len(svg.findall(f".//{SVG}path[@class='dl-hold']")) == 2


def test_the_drawing_can_be_read_aloud() -> None:
    (graph,) = deadlock.parse(GRAPH)
    svg = _draw(graph)
    assert svg.get("role") == "img"
    assert "session 51 was chosen as the victim" in (svg.findtext(f"{SVG}desc") or "")


def test_the_drawing_obeys_a_strict_content_security_policy() -> None:
    (graph,) = deadlock.parse(GRAPH)
    svg = _draw(graph)
    assert not list(svg.iter(f"{SVG}style", f"{SVG}script"))
    assert not [element for element in svg.iter() if element.get("style") is not None]


def test_repeated_resources_are_drawn_once() -> None:
    (path,) = [path for path in GRAPHS if path.name.startswith("plukawski")]
    (graph,) = deadlock.parse(path.read_bytes())
    assert len(graph.resources) == 4
    assert len(_draw(graph).findall(f".//{SVG}g[@class='dl-lock']")) == 1


def test_a_crowd_is_cut_off_and_says_so() -> None:
    processes = "".join(f'<process id="p{i}" spid="{i}"/>' for i in range(500))
    locks = "".join(
        f'<keylock id="l{i}" mode="X"><owner-list><owner id="p{i}" mode="X"/></owner-list>'
        f'<waiter-list><waiter id="p{(i + 1) % 500}" mode="X"/></waiter-list></keylock>'
        for i in range(500)
    )
    (graph,) = deadlock.parse(
        f"<deadlock><process-list>{processes}</process-list><resource-list>{locks}</resource-list></deadlock>"
    )
    svg = _draw(graph)
    assert len(svg.findall(f".//{SVG}g[@class='dl-session']")) == MAX_SESSIONS
    assert "more not drawn" in _words(svg)


def test_an_empty_graph_is_drawn() -> None:
    (graph,) = deadlock.parse("<deadlock/>")
    assert "Deadlock" in _words(_draw(graph))


@given(text=st.text(max_size=600))
def test_any_statement_and_name_is_drawn_as_text(text: str) -> None:
    graph = deadlock.Deadlock(
        victims=("a",),
        processes=(
            deadlock.Process("a", 51, 0, text, attributes={"clientapp": text, "hostname": text}),
            deadlock.Process("b", 52, 0, text),
        ),
        resources=(
            deadlock.Resource(
                "keylock",
                (deadlock.Lock("a", text),),
                (deadlock.Lock("b", text),),
                {"objectname": text, "indexname": text, "id": "1", "mode": "X"},
            ),
        ),
    )
    svg = _draw(graph)
    allowed = {"svg", "title", "desc", "defs", "marker", "path", "rect", "text", "g"}
    assert {etree.QName(element).localname for element in svg.iter()} <= allowed
