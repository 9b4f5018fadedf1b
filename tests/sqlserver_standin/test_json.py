"""JSON functions, OPENJSON and FOR JSON."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests.sqlserver_standin.sql_support import Client, new_client


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    client = new_client()
    yield client
    client.session.close()


DOCUMENT = """'{"a": 1, "b": {"c": [10, "x", null, {"d": true}]}, "e f": "g", "s": "line\\nbreak"}'"""

# https://learn.microsoft.com/sql/t-sql/functions/json-functions-transact-sql
VALUES: list[tuple[str, Any]] = [
    (f"ISJSON({DOCUMENT})", 1),
    ("ISJSON('[1]')", 1),
    ("ISJSON('1')", 0),
    ("ISJSON('1', VALUE)", 1),
    ("ISJSON('[1]', OBJECT)", 0),
    ("ISJSON('{bad}')", 0),
    ("ISJSON(NULL)", None),
    (f"JSON_VALUE({DOCUMENT}, '$.a')", "1"),
    (f"JSON_VALUE({DOCUMENT}, '$.b.c[1]')", "x"),
    (f"JSON_VALUE({DOCUMENT}, '$.b.c[2]')", None),
    (f"JSON_VALUE({DOCUMENT}, '$.b.c[3].d')", "true"),
    (f"JSON_VALUE({DOCUMENT}, '$.\"e f\"')", "g"),
    (f"JSON_VALUE({DOCUMENT}, '$.s')", "line\nbreak"),
    (f"JSON_VALUE({DOCUMENT}, '$.b')", None),
    (f"JSON_VALUE({DOCUMENT}, '$.nothing')", None),
    (f"JSON_QUERY({DOCUMENT}, '$.b.c')", '[10, "x", null, {"d": true}]'),
    (f"JSON_QUERY({DOCUMENT}, '$.a')", None),
    (f"JSON_PATH_EXISTS({DOCUMENT}, '$.b.c[2]')", 1),
    (f"JSON_PATH_EXISTS({DOCUMENT}, '$.b.c[9]')", 0),
    ("""JSON_MODIFY('{"a":1,"b":2}', '$.a', 5)""", '{"a":5,"b":2}'),
    ("""JSON_MODIFY('{"a":1}', '$.b', 'x')""", '{"a":1,"b":"x"}'),
    ("""JSON_MODIFY('{"a":1,"b":2}', '$.a', NULL)""", '{"b":2}'),
    ("""JSON_MODIFY('{"a":[1]}', 'append $.a', 2)""", '{"a":[1,2]}'),
    ("""JSON_MODIFY('{"a":1}', '$.b', JSON_QUERY('[1,2]'))""", '{"a":1,"b":[1,2]}'),
    ("JSON_OBJECT('a': 1, 'b': 'x', 'c': NULL)", '{"a":1,"b":"x","c":null}'),
    ("JSON_OBJECT('a': NULL ABSENT ON NULL)", "{}"),
    ("JSON_OBJECT('n': JSON_ARRAY(1, NULL, 'x'))", '{"n":[1,"x"]}'),
    ("JSON_ARRAY(1, NULL NULL ON NULL)", "[1,null]"),
    ("STRING_ESCAPE('a\"b/c', 'json')", 'a\\"b\\/c'),
    ("JSON_VALUE(CONCAT('{\"a\":\"', REPLICATE(CAST('x' AS varchar(max)), 4001), '\"}'), '$.a')", None),
]


@pytest.mark.parametrize(("expression", "expected"), VALUES, ids=[expression for expression, _ in VALUES])
def test_a_json_function_has_sql_servers_value(client: Client, expression: str, expected: Any) -> None:
    assert client.value(f"SELECT {expression}") == expected


@pytest.mark.parametrize(
    ("expression", "number"),
    [
        ("JSON_VALUE('{bad}', '$.a')", 13609),
        ("JSON_VALUE('{}', 'a')", 13607),
        ("JSON_VALUE('{}', 'strict $.a')", 13608),
        ("JSON_VALUE('{\"a\":[]}', 'strict $.a')", 13623),
        ("JSON_QUERY('{\"a\":1}', 'strict $.a')", 13624),
    ],
)
def test_a_json_function_fails_with_sql_servers_error(client: Client, expression: str, number: int) -> None:
    assert client.error(f"SELECT {expression}")[0] == number


def test_openjson_lists_members_with_their_types(client: Client) -> None:
    rows = client.rows(
        """SELECT [key], value, type FROM OPENJSON('{"a":null,"b":"x","c":1.5,"d":true,"e":[1],"f":{}}')"""
    )
    assert rows == [
        ("a", None, 0),
        ("b", "x", 1),
        ("c", "1.5", 2),
        ("d", "true", 3),
        ("e", "[1]", 4),
        ("f", "{}", 5),
    ]


def test_openjson_keys_compare_by_case(client: Client) -> None:
    rows = client.rows("""SELECT value FROM OPENJSON('{"a":1,"A":2}') WHERE [key] = 'A'""")
    assert rows == [("2",)]


def test_openjson_with_a_schema_converts(client: Client) -> None:
    rows = client.rows(
        """SELECT * FROM OPENJSON('[{"id": 1, "p": "2.50", "when": "2020-01-02", "in": {"x": "y"}, "raw": "AQI="}, {}]')
           WITH (id int, p decimal(5,2), [when] date, x nvarchar(5) '$.in.x', [in] nvarchar(max) AS JSON,
                 raw varbinary(10))"""
    )
    assert list(rows[0][:2]) == [1, Decimal("2.50")]
    assert rows[0][3:] == ("y", '{"x": "y"}', b"\x01\x02")
    assert rows[1] == (None,) * 6


def test_openjson_keeps_the_order_of_an_array(client: Client) -> None:
    assert client.rows("SELECT v FROM OPENJSON('[3,1,2]') WITH (v bigint '$')") == [(3,), (1,), (2,)]


def test_openjson_of_null_has_no_rows(client: Client) -> None:
    assert client.rows("SELECT * FROM OPENJSON(CAST(NULL AS nvarchar(max)))") == []


def test_for_json_path_nests_dotted_names_and_leaves_nulls_out(client: Client) -> None:
    sql = "SELECT 1 AS [a.b], 'x' AS [a.c], NULL AS d FOR JSON PATH"
    assert client.value(sql).replace(" ", "") == '[{"a":{"b":1,"c":"x"}}]'
