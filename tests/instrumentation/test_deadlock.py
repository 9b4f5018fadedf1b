"""Deadlock graphs: every form that SQL Server writes, counted against XPath; hostile ones refused."""

from __future__ import annotations

import contextlib
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from mssql.instrumentation import deadlock
from mssql.instrumentation.deadlock import DeadlockError, Process

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
GRAPHS = sorted(path for path in (FIXTURES / "deadlocks").iterdir() if path.suffix in {".xml", ".xdl"})
EVENTS = sorted((FIXTURES / "xe").glob("*.xml"))

PROCESS = (
    '<process id="p{0}" spid="5{0}" waittime="1500" lockMode="X" isolationlevel="read committed (2)" '
    'hostname="host1" hostpid="4711" loginname="EXAMPLE\\user1" clientapp="shop">'
    '<executionStack><frame procname="adhoc" line="1" sqlhandle="0x02">unknown</frame></executionStack>'
    "<inputbuf>(@P1 int,@P2 decimal(10,2))UPDATE t{0} SET c = 'secret-{0}' WHERE id = @P1</inputbuf></process>"
)
LOCK = (
    '<keylock objectname="shop.dbo.t{0}" indexname="PK_t{0}" id="lock{0}" mode="X" dbid="5">'
    '<owner-list><owner id="p{1}" mode="X"/></owner-list>'
    '<waiter-list><waiter id="p{0}" mode="X" requestType="wait"/></waiter-list></keylock>'
)
BODY = (
    f"<process-list>{PROCESS.format(1)}{PROCESS.format(2)}</process-list>"
    f"<resource-list>{LOCK.format(1, 2)}{LOCK.format(2, 1)}</resource-list>"
)
VICTIM = '<victim-list><victimProcess id="p1"/></victim-list>'
GRAPH = f"<deadlock>{VICTIM}{BODY}</deadlock>"
EVENT = (
    '<event name="xml_deadlock_report" package="sqlserver" timestamp="2026-05-04T03:02:01.250Z">'
    '<data name="xml_report"><type name="xml" package="package0"/><value>{}</value></data></event>'
)


def _counts(deadlocks: list[deadlock.Deadlock]) -> tuple[int, ...]:
    resources = [resource for graph in deadlocks for resource in graph.resources]
    return (
        len(deadlocks),
        sum(len(graph.victims) for graph in deadlocks),
        sum(len(graph.processes) for graph in deadlocks),
        len(resources),
        sum(len(resource.owners) for resource in resources),
        sum(len(resource.waiters) for resource in resources),
    )


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.name)
def test_every_part_of_a_real_graph_is_read(path: Path) -> None:
    tree = etree.fromstring(path.read_bytes())
    expected = tuple(
        int(tree.xpath(f"count({xpath})"))
        for xpath in (
            "//deadlock[process-list]",
            "//victim-list/victimProcess | //deadlock/@victim",
            "//process-list/process",
            "//resource-list/*",
            "//resource-list/*/owner-list/owner",
            "//resource-list/*/waiter-list/waiter",
        )
    )
    deadlocks = deadlock.parse(path.read_bytes())
    assert _counts(deadlocks) == expected
    for graph in deadlocks:
        ids = {process.id for process in graph.processes}
        assert set(graph.victims) <= ids
        assert all(lock.process_id in ids for r in graph.resources for lock in (*r.owners, *r.waiters))


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.name)
def test_the_facts_of_a_real_graph_are_those_of_the_file(path: Path) -> None:
    tree = etree.fromstring(path.read_bytes())
    processes = [process for graph in deadlock.parse(path.read_bytes()) for process in graph.processes]
    for process, element in zip(processes, tree.xpath("//process-list/process"), strict=True):
        assert str(process.session_id) == element.get("spid")
        assert dict(process.attributes) == dict(element.attrib)
        assert process.input_buffer == "".join(element.xpath("inputbuf//text()")).strip()
        assert len(process.frames) == len(element.xpath("executionStack/frame"))


@pytest.mark.parametrize("path", EVENTS, ids=lambda path: path.name)
def test_other_events_hold_no_deadlock(path: Path) -> None:
    assert deadlock.parse(path.read_bytes()) == []


FORMS = {
    "deadlock": GRAPH,
    "deadlock-list": f"<deadlock-list>{GRAPH}</deadlock-list>",
    "trace of 2005": f'<deadlock-list><deadlock victim="p1">{BODY}</deadlock></deadlock-list>',
    "event": EVENT.format(GRAPH),
    "ring buffer": f'<RingBufferTarget truncated="0">{EVENT.format(GRAPH)}</RingBufferTarget>',
    "event of 2008": EVENT.format(
        f"<deadlock-list>{GRAPH}</deadlock-list>".replace("&", "&amp;").replace("<", "&lt;")
    ),
    "event of 2008, as CDATA": EVENT.format(f"<![CDATA[{GRAPH}]]>"),
    "event of 2008, not well-formed": EVENT.format(
        "<![CDATA[<deadlock-list>"
        + GRAPH.replace("<deadlock>", "").replace("</victim-list>", "")
        + "</deadlock-list>]]>"
    ),
    "Profiler, exported": "<Event><Column id='1' name='TextData'>"
    + f"<deadlock-list>{GRAPH}</deadlock-list>".replace("<", "&lt;")
    + "</Column></Event>",
    "event notification": f"<EVENT_INSTANCE><TextData>{GRAPH}</TextData></EVENT_INSTANCE>",
    "row of event_file, exported": "<rows><row><event_data>"
    + EVENT.format(GRAPH).replace("&", "&amp;").replace("<", "&lt;")
    + "</event_data></row></rows>",
    "text with an XML declaration": "<TextData>"
    + f'<?xml version="1.0" encoding="utf-16"?>\n{GRAPH}'.replace("<", "&lt;")
    + "</TextData>",
    "target_data, exported": "<row><target_data>"
    + f"<RingBufferTarget>{EVENT.format(GRAPH)}</RingBufferTarget>".replace("<", "&lt;")
    + "</target_data></row>",
    "rows without a root": f"<event name='other' timestamp='2026-05-04T03:02:01Z'/>\n{EVENT.format(GRAPH)}",
    "forbidden characters": GRAPH.replace("secret-1", "&#x1;\x02&#0;&#xD800;&#x110000;&#65;"),
    "with the engine's own stack": GRAPH.replace(
        "<executionStack>",
        '<stackFrames><frame id="00" module="sqlmin" rva="0x1"/></stackFrames><executionStack>',
    ),
    "wrapped": f"<report><rows><row>{GRAPH}</row></rows></report>",
    "namespace": GRAPH.replace("<deadlock>", '<deadlock xmlns="urn:x">'),
    "prefix": '<x:deadlock xmlns:x="urn:x">'
    + GRAPH[10:-11].replace("</", "</x:").replace("<", "<x:").replace("<x:/x:", "</x:")
    + "</x:deadlock>",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_graph(form: str) -> None:
    (graph,) = deadlock.parse(FORMS[form])
    assert _counts([graph]) == (1, 1, 2, 2, 2, 2)
    assert graph.victims == ("p1",)
    assert graph.process("p2") is not None
    assert graph.objects == ("shop.dbo.t1", "shop.dbo.t2")
    assert [len(process.frames) for process in graph.processes] == [1, 1]


def test_rows_without_a_root_give_all_their_deadlocks() -> None:
    assert len(deadlock.parse(f"{GRAPH}\n{GRAPH}\n{EVENT.format(GRAPH)}")) == 3


def test_the_time_of_a_wrapped_event_is_kept() -> None:
    (graph,) = deadlock.parse(FORMS["row of event_file, exported"])
    assert graph.occurred == datetime(2026, 5, 4, 3, 2, 1, 250000, UTC)


def test_a_ring_buffer_gives_all_its_deadlocks_and_nothing_else() -> None:
    others = "".join(path.read_text("utf-8") for path in EVENTS if path.name.startswith("datadog"))
    xml = f"<RingBufferTarget>{EVENT.format(GRAPH)}{others}{EVENT.format(GRAPH)}</RingBufferTarget>"
    assert [graph.occurred for graph in deadlock.parse(xml)] == [
        datetime(2026, 5, 4, 3, 2, 1, 250000, UTC)
    ] * 2


@pytest.mark.parametrize("statement", [GRAPH, "<deadlock oops", "<?xml <deadlock"])
def test_a_statement_that_looks_like_a_report_neither_forges_nor_hides_one(statement: str) -> None:
    other = (
        '<event name="sql_batch_completed" timestamp="2026-05-04T03:02:00Z"><data name="batch_text"><value>'
        + statement.replace("<", "&lt;")
        + "</value></data></event>"
    )
    (graph,) = deadlock.parse(f"<RingBufferTarget>{other}{EVENT.format(GRAPH)}</RingBufferTarget>")
    assert graph.occurred == datetime(2026, 5, 4, 3, 2, 1, 250000, UTC)


def test_a_transaction_that_is_waited_for_names_the_row_within() -> None:
    lock = (
        '<xactlock xdesIdLow="1" xdesIdHigh="0" dbid="5" id="lock1" mode="X"><UnderlyingResource>'
        '<keylock hobtid="72" dbid="5" objectname="shop.dbo.t1" indexname="PK_t1"/></UnderlyingResource>'
        '<owner-list><owner id="p2" mode="X"/></owner-list>'
        '<waiter-list><waiter id="p1" mode="S" requestType="wait"/></waiter-list></xactlock>'
    )
    (graph,) = deadlock.parse(f"<deadlock>{VICTIM}<resource-list>{lock}</resource-list></deadlock>")
    assert _counts([graph]) == (1, 1, 0, 1, 1, 1)
    assert deadlock.redact(graph).resources[0].label == "transaction of shop.dbo.t1, index PK_t1"
    assert graph.resources[0].id == "lock1"


@pytest.mark.parametrize(
    "data",
    [
        GRAPH.encode("utf-8"),
        GRAPH.encode("utf-8-sig"),
        GRAPH.encode("utf-16"),
        GRAPH.encode("utf-16-le"),
        GRAPH.encode("utf-16-be"),
        f'<?xml version="1.0" encoding="utf-16"?>{GRAPH}'.encode("utf-16"),
        f'<?xml version="1.0" encoding="utf-16"?>{GRAPH}'.encode(),
        f'\ufeff<?xml version="1.0" encoding="utf-16"?>\n{GRAPH}',
    ],
)
def test_the_encoding_is_found(data: str | bytes) -> None:
    assert _counts(deadlock.parse(data)) == (1, 1, 2, 2, 2, 2)


def test_unknown_elements_are_kept_as_resources_or_passed_over() -> None:
    xml = GRAPH.replace(
        "<resource-list>", '<future x="1"><a/></future><resource-list><novelLock id="n" mode="Q"/>'
    )
    (graph,) = deadlock.parse(xml)
    assert graph.resources[0].kind == "novelLock"
    assert graph.resources[0].label == "novelLock"


def test_missing_and_odd_attributes_do_no_harm() -> None:
    (graph,) = deadlock.parse(
        '<deadlock><process-list><process/><process id="a" spid="many" waittime="-"/></process-list>'
        "<resource-list><keylock/></resource-list></deadlock>"
    )
    assert [process.session_id for process in graph.processes] == [None, None]
    assert graph.sentences()


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "nonsense",
        "<deadlock>",
        b"\xff\xfe<",
        b"\x00\x01\x02",
        '<!DOCTYPE deadlock [<!ENTITY a "b">]><deadlock>&a;</deadlock>',
        '<!DOCTYPE deadlock SYSTEM "file:///etc/passwd"><deadlock/>',
        '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><deadlock><process-list>&e;</process-list></deadlock>',
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
        + "".join(f'<!ENTITY a{i} "' + f"&a{i - 1 if i else ''};" * 10 + '">' for i in range(12))
        + "]><deadlock>&a11;</deadlock>",
        "<deadlock>" * 200_000,
        "<deadlock>" * 3_000 + "<a>" * 3_000,
        EVENT.format("&lt;deadlock&gt;"),
        "<deadlock " + " ".join(f'a{i}="1"' for i in range(200_000)) + "><",
        GRAPH + "x" * 40_000_000,
        GRAPH * 800 + "<",
        "<deadlock>" + "&#x1;" * 500_000 + "<",
        GRAPH + "</deadlock>",
    ],
    ids=range(17),
)
def test_hostile_documents_are_refused_in_bounded_time(xml: str | bytes) -> None:
    started = time.process_time()
    with pytest.raises(DeadlockError):
        deadlock.parse(xml)
    assert time.process_time() - started < 20


def test_text_nested_in_text_is_unpacked_once() -> None:
    inner = EVENT.format(GRAPH.replace("<", "&lt;"))
    outer = EVENT.format(f"<deadlock-list>{inner}</deadlock-list>".replace("&", "&amp;").replace("<", "&lt;"))
    assert deadlock.parse(outer) == []


@given(st.one_of(st.text(), st.binary()))
def test_any_text_is_parsed_or_refused(xml: str | bytes) -> None:
    with contextlib.suppress(DeadlockError):
        assert deadlock.parse(xml) == [] or "<deadlock" in str(xml)


fragment = st.recursive(
    st.sampled_from(
        ["<owner id='p1'/>", "text", "<x/>", "<victimProcess id='p'/>", "<process id='p' spid='1'/>"]
    ),
    lambda inner: st.tuples(
        st.sampled_from(
            [
                "deadlock",
                "process-list",
                "resource-list",
                "keylock",
                "owner-list",
                "waiter-list",
                "event",
                "value",
            ]
        ),
        st.lists(inner, max_size=4),
    ).map(lambda pair: f"<{pair[0]}>{''.join(pair[1])}</{pair[0]}>"),
    max_leaves=25,
)


@given(fragment)
def test_graphs_of_any_shape_are_counted_as_xpath_does(xml: str) -> None:
    xml = f"<root>{xml}</root>"
    tree = etree.fromstring(xml)
    outer = "//deadlock[not(ancestor::deadlock)]"
    assert len(deadlock.parse(xml)) == tree.xpath(f"count({outer})")
    assert sum(len(graph.processes) for graph in deadlock.parse(xml)) == tree.xpath(
        f"count({outer}/process-list/process)"
    )
    for graph in deadlock.parse(xml):
        assert graph.sentences()
        json.dumps(graph.to_dict())


def test_the_statement_comes_without_declarations() -> None:
    (graph,) = deadlock.parse(GRAPH)
    assert graph.processes[0].statement == "UPDATE t1 SET c = 'secret-1' WHERE id = @P1"
    assert deadlock.without_declarations("(@a (") == "(@a ("
    assert deadlock.without_declarations(" SELECT 1 ") == "SELECT 1"


def test_a_frames_text_is_preferred_to_the_whole_batch() -> None:
    (graph,) = deadlock.parse(GRAPH.replace(">unknown<", ">  DELETE FROM t  <", 1))
    assert [process.statement[:6] for process in graph.processes] == ["DELETE", "UPDATE"]


def test_the_words_say_who_waited_for_whom() -> None:
    (graph,) = deadlock.parse(GRAPH)
    assert graph.sentences() == (
        "session 51 was chosen as the victim and rolled back.",
        "session 51 waited for X on row (key) of shop.dbo.t1, index PK_t1, held by session 52 (X).",
        "session 52 waited for X on row (key) of shop.dbo.t2, index PK_t2, held by session 51 (X).",
    )


def test_a_victim_that_the_graph_does_not_describe_is_named_by_its_id() -> None:
    (graph,) = deadlock.parse(GRAPH.replace('victimProcess id="p1"', 'victimProcess id="p9"'))
    assert graph.victim_processes == ()
    assert graph.sentences()[0] == "p9 was chosen as the victim and rolled back."


def test_several_victims_are_listed() -> None:
    (graph,) = deadlock.parse(
        (FIXTURES / "deadlocks" / "flanksource_key-lookup-ix2-four-process.xml").read_bytes()
    )
    assert graph.sentences()[0] == (
        "session 211, session 212 and session 199 were chosen as victims and rolled back."
    )


def test_a_parallel_query_that_blocked_itself_is_told_apart() -> None:
    (graph,) = deadlock.parse((FIXTURES / "deadlocks" / "xelogstash_xml_deadlock_report.xml").read_bytes())
    assert graph.is_within_one_session
    assert graph.sentences()[0].startswith("Threads of one parallel query")


def test_redaction_leaves_no_data_of_persons() -> None:
    (graph,) = deadlock.parse(
        GRAPH.replace(">unknown<", ">UPDATE t SET c = 'secret-frame'<")
        .replace('id="lock1"', 'id="lock1" resource="secret-lock" hash="secret"')
        .replace('lockMode="X"', 'lockMode="X" waitresource="APPLICATION: 5:0:[secret] of user1]:(8e14701f)"')
    )
    told = json.dumps(deadlock.redact(graph).to_dict())
    for secret in ("secret", "EXAMPLE", "user1", "host1"):
        assert secret not in told
    assert "shop.dbo.t1" in told
    assert "UPDATE t" in told
    assert "APPLICATION: 5:0:[?]:(8e14701f)" in told
    assert _counts([deadlock.redact(graph)]) == _counts([graph])


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.name)
def test_real_graphs_keep_their_shape_when_redacted(path: Path) -> None:
    for graph in deadlock.parse(path.read_bytes()):
        redacted = deadlock.redact(graph)
        assert _counts([redacted]) == _counts([graph])
        assert not any(process.login_name or process.host_name for process in redacted.processes)


def test_a_process_answers_with_its_facts() -> None:
    (graph,) = deadlock.parse(GRAPH)
    process: Process = graph.processes[0]
    assert (process.wait_ms, process.isolation_level, process.host_process_id) == (
        1500,
        "read committed",
        4711,
    )
    assert graph.is_victim(process)
    assert graph.victim_processes == (process,)
