"""No literal and no parameter value survives; everything that a plan is read for does."""

from __future__ import annotations

import re
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from mssql.showplan import findings, parse, redact, to_svg
from mssql.showplan.redact import redact_sql

from .plans import FILES, NAMESPACES, Document, cpu_seconds, load

# Where SQL Server writes what people entered (every place in the schema that holds SQL or a value).
PLACES = (
    "StatementText", "ParameterizedText", "ScalarString", "ConstValue", "ParameterCompiledValue",
    "ParameterRuntimeValue", "Expression", "RemoteQuery", "EdcShowplanXml", "Detail", "SBSFileUrl",
)  # fmt: skip
PLANTED = "Secret4711Value"


def plant(name: str) -> tuple[str, int]:
    """The plan with a secret in each place that can hold one, and how many there are."""
    root = Document(load(name)).root
    planted = 0
    for element in root.iter():
        for place in PLACES:
            if place in element.attrib:
                element.set(place, f"{element.get(place)} = N'{PLANTED}'")
                planted += 1
    root.append(etree.Comment(PLANTED))
    root[0].text = PLANTED
    etree.SubElement(root, "InternalInfo", {"Whatever": PLANTED}).text = PLANTED
    return etree.tostring(root, encoding="unicode"), planted + 4


@pytest.mark.parametrize("name", FILES)
def test_planted_literals_are_gone(name: str) -> None:
    document, planted = plant(name)
    assert document.count(PLANTED) == planted
    assert PLANTED not in redact(document)
    assert "4711" not in redact(document).replace("144711", "")


@pytest.mark.parametrize("name", FILES)
def test_the_literals_of_the_plan_itself_are_gone(name: str) -> None:
    """Each constant and each value of the file, looked for in every attribute that holds SQL or values."""
    document = Document(load(name))
    values = {
        str(value)
        for attribute in ("ConstValue", "ParameterCompiledValue", "ParameterRuntimeValue")
        for value in document.xpath(f"//@{attribute}")
    }
    left = Document(redact(load(name)).encode())
    texts = [str(value) for place in PLACES for value in left.xpath(f"//@{place}")]
    for value in values:
        bare = value.strip("()").removeprefix("N").strip("'")
        if len(bare) >= 3 and not re.fullmatch(r"NULL|getdate|\[.*", bare):
            assert not any(
                re.search(rf"(?<![\w\].@#\[]){re.escape(bare)}(?![\w\]])", text) for text in texts
            ), value
    assert all(not re.search(r"'|(?<![\w\].@#\[$])\d", re.sub(r"\[[^\]]*\]", "", text)) for text in texts)


@pytest.mark.parametrize("name", FILES)
def test_everything_else_is_kept(name: str) -> None:
    plan, redacted = parse(load(name)), parse(redact(load(name)))
    assert [(item.node_id, item.physical_op, item.actual_rows, item.cost) for item in plan.operators()] == [
        (item.node_id, item.physical_op, item.actual_rows, item.cost) for item in redacted.operators()
    ]
    assert [item.name for item in plan.objects] == [item.name for item in redacted.objects]
    assert [item.ddl for item in plan.missing_indexes] == [item.ddl for item in redacted.missing_indexes]
    # Only values tell that a plan was compiled for others, and that LIKE begins with a wildcard.
    value_rules = {"parameter-sniffing", "non-sargable"}
    assert {item.rule for item in findings(plan)} - value_rules <= {item.rule for item in findings(redacted)}
    to_svg(redacted)
    assert redact(redact(load(name))) == redact(load(name))


def test_what_is_not_known_is_redacted() -> None:
    document = (
        f'<ShowPlanXML xmlns="{NAMESPACES["s"]}" Version="9.9" Build="99.0"><Batch FutureText="secret" '
        'FutureFlag="true"><RelOp NodeId="1" NewValue="12345"/>'
        "<!-- secret --><?pi secret?>secret<![CDATA[secret]]></Batch></ShowPlanXML>"
    )
    assert redact(document) == (
        f'<ShowPlanXML xmlns="{NAMESPACES["s"]}" Version="9.9" Build="99.0"><Batch FutureText="?" FutureFlag="true">'
        '<RelOp NodeId="1" NewValue="?"/></Batch></ShowPlanXML>'
    )


@pytest.mark.parametrize(
    ("attribute", "value", "expected"),
    [
        ("RemoteObject", '"Shop"."dbo"."Orders"', '"Shop"."dbo"."Orders"'),
        ("RemoteObject", "[a b].[dbo].t1", "[a b].[dbo].t1"),
        # OPENQUERY passes a text through, OPENDATASOURCE a connection.
        (
            "RemoteObject",
            "SELECT a FROM t WHERE b = 'Smith' AND c = 4711",
            "SELECT a FROM t WHERE b = ? AND c = ?",
        ),
        ("RemoteSource", "10.1.2.3\\SQL-01", "10.1.2.3\\SQL-01"),
        ("RemoteSource", "Data Source=db;User ID=me;Password=Smith", "?"),
        ("RemoteDestination", "a='Smith'", "?"),
    ],
)
def test_another_servers_names_are_kept_and_its_texts_are_not(
    attribute: str, value: str, expected: str
) -> None:
    document = f"<ShowPlanXML {attribute}={quoteattr(value)}/>"
    assert Document(redact(document).encode()).root.get(attribute) == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("a = 'it''s' AND b = N'ü'", "a = ? AND b = ?"),
        ("x=(12) and y=-3.5e-10 and z=.5 and w=1E+5", "x=(?) and y=-? and z=? and w=?"),
        ("[c] = 0xDEADBEEF and d=$12.50", "[c] = ? and d=?"),
        ("[Expr1004]=[@P1] and t1.c2=@v3 and #tmp4.x=5", "[Expr1004]=[@P1] and t1.c2=@v3 and #tmp4.x=?"),
        ("[it's] = 'x' and [a]]b]='y'", "[it's] = ? and [a]]b]=?"),
        ("SELECT 1 -- 'quoted\nFROM t", "SELECT ? \nFROM t"),
        ("SELECT /* 'a /* nested */ 'b' */ 2", "SELECT  ?"),
        ("SELECT 'cut off in the mid", "SELECT ?"),
        ("SELECT /* cut off 'x", "SELECT "),
        ("SELECT [cut off 'x", "SELECT ?"),
        ('WHERE a = "old style"', "WHERE a = ?"),
        ("CONVERT_IMPLICIT(nvarchar(40),[t].[c],0)", "CONVERT_IMPLICIT(nvarchar(?),[t].[c],?)"),
        # A procedure takes a bare name as a string.
        (
            "EXEC dbo.find Smith, @x = Jones, @y = @z OUTPUT; SELECT a",
            "EXEC dbo.find ?, @x = ?, @y = @z OUTPUT; SELECT a",
        ),
        ("exec @rc = [my db]..[p x] [Smith] WITH RECOMPILE", "exec @rc = [my db]..[p x] ? WITH RECOMPILE"),
        ("INSERT INTO t EXECUTE p;1 Smith, NULL", "INSERT INTO t EXECUTE p;? ?, NULL"),
        ("EXECUTE ('SELECT 1') AT LINKED01", "EXECUTE (?) AT LINKED01"),
        ("EXEC sp_executesql N'x', @a = 1", "EXEC sp_executesql ?, @a = ?"),
        ("EXEC", "EXEC"),
        ("", ""),
    ],
)
def test_sql_texts(sql: str, expected: str) -> None:
    assert redact_sql(sql) == expected


LITERALS = st.one_of(
    st.text(alphabet="KANARIE'\"-/*[]\n ", min_size=0, max_size=12).map(
        lambda text: "N'" + text.replace("'", "''") + "'"
    ),
    st.just("'KANARIE'"),
)
FRAGMENTS = st.one_of(
    LITERALS,
    st.sampled_from(
        ["SELECT ", "[a]]b]", "[x'y]", " = ", "-- KANARIE\n", "/* KANARIE /* 'x */ */", ", ", "@P1", "(", ")"]
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(FRAGMENTS, max_size=12))
def test_no_canary_survives(fragments: list[str]) -> None:
    assert "KANARIE" not in redact_sql(" ".join(fragments))


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text_is_redacted_without_error(sql: str) -> None:
    assert "'" not in re.sub(r"\[(?:[^\]]|\]\])*\]", "", redact_sql(sql))


def test_a_megabyte_takes_no_second() -> None:
    data = load("htmlqueryplan_batch_hash_table_build")
    assert cpu_seconds(lambda: redact(data)) < 1.0
