"""The json data type on a stand-in for SQL Server 2025."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlserver_standin.events import Parameter, ResultSet, SqlError
from sqlserver_standin.types import MAX, SqlType
from tests.sqlserver_standin.sql_support import Client, new_client


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    client = new_client("2025")
    client.events(
        "CREATE TABLE #doc (id int, j json); "
        """INSERT INTO #doc VALUES (1, N'{"a": [1, "x", {"b": true}]}'), (2, '[ 1, 2 ]'), (3, NULL)"""
    )
    yield client
    client.session.close()


KEPT = [
    ('  { "a" : 1 , "b" : [ 1 , 2 ] }\t\r\n', '{"a":1,"b":[1,2]}'),
    ('{"z":1,"a":2}', '{"z":1,"a":2}'),
    # The first of equal names stays, with all that hangs on it; names are kept as they are written.
    ('{"a":1,"b":{"c":1,"c":[{"c":1}]},"a":{"a":[2]},"d":null}', '{"a":1,"b":{"c":1},"d":null}'),
    (r'{"\u0041":1,"\/":2,"/":3}', r'{"\u0041":1,"\/":2,"/":3}'),
    (r'["\u0041\u00e9\"\\\/\u000a\b\u001f\ud83d\ude00"]', r'["Aé\"\\/\n\b\u001F😀"]'),
    ('[true,false,null,[],{},""]', '[true,false,null,[],{},""]'),
    ("[1, -0, 1.0, -0.0, 0.10, 12345678901234567890]", "[1,0,1.0,0.0,0.10,12345678901234567890]"),
    # A number with an exponent is a float with ten decimal places.
    (
        "[1e2, 1.5E-3, 2.5e-10, -1e-20, 1e-400]",
        "[100.0000000000,0.0015000000,0.0000000003,0.0000000000,0.0000000000]",
    ),
    ("[1e27]", "[1000000000000000013287555072.0000000000]"),
    ("[0.000000000000000000000000000000000000001]", "[0.0000000000]"),
]


@pytest.mark.parametrize(("written", "kept"), KEPT)
def test_a_document_has_one_form(client: Client, written: str, kept: str) -> None:
    document = Parameter("@d", SqlType("nvarchar", length=MAX), written)
    assert client.value("SELECT CAST(CAST(@d AS json) AS nvarchar(max))", document) == kept
    assert client.value("DECLARE @j json = @d; SELECT @j", document) == kept


DOCUMENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
).filter(lambda value: isinstance(value, (list, dict)))


@given(value=DOCUMENTS, ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
@settings(deadline=None, max_examples=100)
def test_a_document_comes_back_as_it_was(
    client: Client, value: Any, ascii_only: bool, indent: int | None
) -> None:
    written = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    document = Parameter("@d", SqlType("nvarchar", length=MAX), written)
    kept = client.value("SELECT CAST(@d AS json)", document)
    assert json.loads(kept) == value
    assert (
        client.value("SELECT CAST(@d AS json)", Parameter("@d", SqlType("nvarchar", length=MAX), kept))
        == kept
    )


NO_DOCUMENTS = [
    ("abc", "a", 0),
    ("", ".", 0),
    # A document is an object or an array.
    ("1", "1", 0),
    ("null", "n", 0),
    ('"abc"', '"', 0),
    ('{"a":1', ".", 6),
    ('{"a":1}x', "x", 7),
    ('{"a":1}{}', "{", 7),
    (r'["\x"]', '"', 1),
    ("[00]", "0", 1),
    ("[1.]", "1", 1),
    ("[TRUE]", "T", 1),
    ('{"a":1,}', "}", 7),
    ('{,"a":1}', ",", 1),
    ("[1,]", "]", 3),
    ("[,1]", ",", 1),
    ("[1}", "}", 2),
    ("{a:1}", "a", 1),
    ("[1 2]", "2", 3),
    ('{"a" 1}', "1", 5),
    ('{"a":}', "}", 5),
    # Places are bytes of UTF-8, and so is what is shown.
    ('["é€😀", x]', "x", 14),
    ("[é]", "Ã", 1),
    ('["é', '"', 1),
    ("[1,\f2]", "\f", 3),
    ('["a\tb"]', '"', 1),
]


@pytest.mark.parametrize(("text", "character", "position"), NO_DOCUMENTS)
def test_what_is_no_document_is_refused(client: Client, text: str, character: str, position: int) -> None:
    document = Parameter("@d", SqlType("nvarchar", length=MAX), text)
    with pytest.raises(SqlError) as caught:
        client.events("SELECT CAST(@d AS json)", document)
    assert (caught.value.number, caught.value.state) == (13609, 9)
    assert caught.value.text == (
        f"JSON text is not properly formatted. Unexpected character '{character}' is found at position {position}."
    )
    assert client.value("SELECT TRY_CAST(@d AS json)", document) is None


REFUSED = [
    ("SELECT CAST('[1e29]' AS json)", 1007),
    (f"SELECT CAST('[{39 * '1'}]' AS json)", 1007),
    ("SELECT TRY_CAST('[1e400]' AS json)", 1007),
    ("SELECT CAST(REPLICATE('[', 129) + REPLICATE(']', 129) AS json)", 13645),
    ("SELECT CAST('[' + REPLICATE(CAST('1,' AS varchar(max)), 65535) + '1]' AS json)", 13647),
    ("SELECT CAST('[\"\\u0000\"]' AS json)", 40000),
    # Conversion: strings only, to strings only by CAST.
    ("SELECT CAST(1 AS json)", 529),
    ("SELECT CAST(0x7B7D AS json)", 529),
    ("SELECT CAST(CAST('<a/>' AS xml) AS json)", 529),
    ("SELECT CAST(j AS int) FROM #doc", 529),
    ("SELECT CAST(j AS varbinary(max)) FROM #doc", 529),
    ("SELECT CAST(j AS xml) FROM #doc", 529),
    ("SELECT CAST(j AS sql_variant) FROM #doc", 529),
    ("SELECT CAST(j AS nvarchar(5)) FROM #doc", 13639),
    ("DECLARE @j json = '[1]'; DECLARE @s nvarchar(100) = @j", 257),
    ("DECLARE @j json = '[1]'; DECLARE @i int = @j", 206),
    ("DECLARE @j json = 5", 206),
    ("SELECT CONCAT(j, N'x') FROM #doc", 257),
    ("SELECT j + N'x' FROM #doc", 402),
    # It has no order and is equal to nothing.
    ("SELECT 1 FROM #doc WHERE j = j", 13636),
    ("SELECT 1 FROM #doc WHERE j IN (j)", 13636),
    ("SELECT 1 FROM #doc WHERE j = NULL", 13636),
    ("SELECT 1 FROM #doc WHERE j = '[1]'", 402),
    ("SELECT 1 FROM #doc WHERE j LIKE '[1]'", 8116),
    ("SELECT j FROM #doc ORDER BY j", 13636),
    ("SELECT j FROM #doc GROUP BY j", 13636),
    ("SELECT ROW_NUMBER() OVER (ORDER BY j) FROM #doc", 13636),
    ("SELECT ROW_NUMBER() OVER (PARTITION BY j ORDER BY id) FROM #doc", 13636),
    ("SELECT DISTINCT j FROM #doc", 421),
    ("SELECT j FROM #doc UNION SELECT j FROM #doc", 5335),
    ("SELECT MAX(j) FROM #doc", 8117),
    ("SELECT COUNT(j) FROM #doc", 8117),
    ("SELECT LEN(j) FROM #doc", 8116),
    ("SELECT UPPER(j) FROM #doc", 8116),
    ("SELECT DATALENGTH(j) FROM #doc", 40000),
    ("CREATE TABLE #key (j json PRIMARY KEY)", 1919),
    ("CREATE INDEX i ON #doc (j)", 1978),
    ("CREATE TABLE #wide (j json(50))", 2716),
    ("CREATE TABLE #collated (j json COLLATE Latin1_General_CI_AS)", 447),
    ("UPDATE #doc SET j = 'x'", 13609),
    ("UPDATE #doc SET j.modify('$.a', 2)", 40000),
    ("SELECT JSON_MODIFY('{}', '$.x', j) FROM #doc", 8116),
    ("SELECT * FROM OPENJSON('{}') WITH (a json)", 40000),
    ("CREATE PROCEDURE p @j json AS SELECT 1", 40000),
]


@pytest.mark.parametrize(("sql", "number"), REFUSED)
def test_refused(client: Client, sql: str, number: int) -> None:
    assert client.error(sql)[0] == number


def test_it_stands_where_values_stand(client: Client) -> None:
    client.events(
        "CREATE TABLE #kept (j json NOT NULL CHECK (JSON_PATH_EXISTS(j, '$.a') = 1), d json DEFAULT '{ }')"
    )
    client.events("INSERT INTO #kept (j) SELECT N'{ \"a\": 1 }'")
    client.events("UPDATE #kept SET j = CASE WHEN 1 = 1 THEN N'{ \"a\": 2 }' END")
    assert client.rows("SELECT j, d FROM #kept") == [('{"a":2}', "{}")]
    assert client.error("INSERT INTO #kept (j) VALUES ('[1]')")[0] == 547
    assert client.rows("SELECT id FROM #doc WHERE j IS NULL") == [(3,)]
    assert client.value("SELECT CAST(j AS varchar(5)) FROM #doc WHERE id = 2") == "[1,2]"
    assert client.type_of("COALESCE((SELECT j FROM #doc WHERE id = 3), N'[2]')") == "json"
    assert client.error("SELECT COALESCE((SELECT j FROM #doc WHERE id = 3), N'bad')")[0] == 13609
    assert client.rows("INSERT INTO #kept (j) OUTPUT inserted.j VALUES ('{ \"a\" : [ ] }')") == [
        ('{"a":[]}',)
    ]


FUNCTIONS = [
    ("JSON_VALUE(j, '$.a[1]')", "x", "nvarchar(4000)"),
    ("JSON_QUERY(j, '$.a[2]')", '{"b":true}', "json"),
    ("JSON_MODIFY(j, '$.a', 'y')", '{"a":"y"}', "json"),
    ("JSON_OBJECT('k': j)", '{"k":{"a":[1,"x",{"b":true}]}}', "json"),
    ("JSON_ARRAY(1, j)", '[1,{"a":[1,"x",{"b":true}]}]', "json"),
    ("JSON_OBJECT('k': 1)", '{"k":1}', "nvarchar(max)"),
    ("JSON_PATH_EXISTS(j, '$.a')", 1, "int"),
    ("ISJSON(j)", 1, "int"),
    (
        "(SELECT STRING_AGG(CONCAT(value, ':', type), '|') FROM OPENJSON(j))",
        '[1,"x",{"b":true}]:4',
        "nvarchar(max)",
    ),
    ("(SELECT j FOR JSON PATH)", '[{"j":{"a":[1,"x",{"b":true}]}}]', "nvarchar(max)"),
]


@pytest.mark.parametrize(("expression", "value", "data_type"), FUNCTIONS)
def test_functions_take_it(client: Client, expression: str, value: Any, data_type: str) -> None:
    sql = f"SELECT {expression} FROM #doc WHERE id = 1"
    (result,) = [each for each in client.events(sql) if isinstance(each, ResultSet)]
    assert result.rows == [(value,)]
    described = result.columns[0].type
    length = "" if described.length is None else f"({'max' if described.length == MAX else described.length})"
    assert described.name + length == data_type


def test_aggregates_take_it(client: Client) -> None:
    assert client.rows(
        "SELECT JSON_ARRAYAGG(j), JSON_OBJECTAGG(CAST(id AS varchar(5)): j) FROM #doc WHERE id > 1"
    ) == [("[[1,2]]", '{"2":[1,2],"3":null}')]


def test_the_catalog_knows_it(client: Client) -> None:
    client.events("CREATE TABLE known (id int, j json)")
    assert client.rows(
        "SELECT system_type_id, user_type_id, max_length, precision, scale, collation_name, is_nullable "
        "FROM sys.columns WHERE object_id = OBJECT_ID('known') AND name = 'j'"
    ) == [(244, 244, -1, 0, 0, None, True)]
    assert client.rows(
        "SELECT DATA_TYPE, CHARACTER_MAXIMUM_LENGTH, CHARACTER_OCTET_LENGTH FROM INFORMATION_SCHEMA.COLUMNS "
        "WHERE TABLE_NAME = 'known' AND COLUMN_NAME = 'j'"
    ) == [("json", -1, -1)]
    assert client.rows("SELECT TYPE_NAME(244), TYPE_ID('json')") == [("json", 244)]
    client.events("SELECT j INTO copied FROM known")
    assert (
        client.value(
            "SELECT TYPE_NAME(system_type_id) FROM sys.columns WHERE object_id = OBJECT_ID('copied')"
        )
        == "json"
    )


def test_a_column_becomes_json_and_nothing_else_again(client: Client) -> None:
    client.events(
        "CREATE TABLE turned (s nvarchar(max), i int); INSERT INTO turned VALUES ('{ \"a\" : 1 }', 1)"
    )
    client.events("ALTER TABLE turned ALTER COLUMN s json")
    assert client.value("SELECT s FROM turned") == '{"a":1}'
    assert client.error("ALTER TABLE turned ALTER COLUMN s nvarchar(max)") == (
        257,
        "Implicit conversion from data type json to nvarchar(max) is not allowed. Use the CONVERT function to run "
        "this query.",
    )
    assert client.error("ALTER TABLE turned ALTER COLUMN s int")[0] == 206
    assert client.error("ALTER TABLE turned ALTER COLUMN i json")[0] == 206
    client.events("CREATE TABLE bad (s nvarchar(max)); INSERT INTO bad VALUES ('x')")
    assert client.error("ALTER TABLE bad ALTER COLUMN s json")[0] == 13609


@pytest.mark.parametrize(
    ("sql", "number"),
    [
        ("SELECT CAST('[1]' AS json)", 243),
        ("DECLARE @j json = '[1]'", 2715),
        ("CREATE TABLE #t (j json)", 2715),
        ("CREATE TABLE #t (i int); ALTER TABLE #t ALTER COLUMN i json", 2715),
    ],
)
def test_the_release_before_does_not_know_it(sql: str, number: int) -> None:
    client = new_client()
    assert client.error(sql)[0] == number
    assert client.rows("SELECT name FROM sys.types WHERE name = 'json'") == []
    client.session.close()
