"""Showplan XML: valid by Microsoft's schema, of SQL Server's operators, with what really happened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from sqlserver_standin.engine.showplan import COLUMN_NAME
from sqlserver_standin.events import Parameter, ResultSet
from sqlserver_standin.types import SqlType
from tests.sqlserver_standin.engine_support import answers, new_database
from tests.sqlserver_standin.sql_support import Client

NS = {"p": "http://schemas.microsoft.com/sqlserver/2004/07/showplan"}
SCHEMA = Path(__file__).resolve().parents[1] / "fixtures" / "schema" / "showplanxml.xsd"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with new_database() as client:
        client.events(
            """
            CREATE TABLE customer (id int IDENTITY PRIMARY KEY, name nvarchar(100) NOT NULL, city nvarchar(50));
            CREATE TABLE [order] (id int IDENTITY PRIMARY KEY, customer_id int NOT NULL REFERENCES customer (id),
                status nvarchar(10), total decimal(10, 2));
            CREATE INDEX ix_customer ON [order] (customer_id);
            CREATE TABLE heap (a int, b int);
            INSERT INTO customer (name, city)
                SELECT CONCAT(N'c', value), CONCAT(N'city', value % 10) FROM GENERATE_SERIES(1, 500);
            INSERT INTO [order] (customer_id, status, total)
                SELECT value % 500 + 1, CONCAT(N's', value % 300), value FROM GENERATE_SERIES(1, 6000);
            """
        )
        yield client


def plans(client: Client, sql: str, *parameters: Parameter, rpc: bool = False) -> list[Any]:
    return [
        etree.fromstring(row[0])
        for event in client.session.execute(sql, parameters, rpc=rpc)
        if isinstance(event, ResultSet) and event.columns[0].name == COLUMN_NAME
        for row in event.rows
    ]


def estimated(client: Client, sql: str) -> Any:
    client.events("SET SHOWPLAN_XML ON")
    try:
        (plan,) = plans(client, sql)
    finally:
        client.events("SET SHOWPLAN_XML OFF")
    return plan


def actual(client: Client, sql: str, *parameters: Parameter, rpc: bool = False) -> Any:
    client.events("SET STATISTICS XML ON")
    try:
        (plan,) = plans(client, sql, *parameters, rpc=rpc)
    finally:
        client.events("SET STATISTICS XML OFF")
    return plan


def operators(plan: Any) -> list[str]:
    return [each.get("PhysicalOp") for each in plan.iterfind(".//p:RelOp", NS)]


STATEMENTS: list[tuple[str, list[str]]] = [
    ("SELECT * FROM [order] WHERE id = 5", ["Clustered Index Seek"]),
    (
        "SELECT status FROM [order] WHERE customer_id = 5",
        ["Nested Loops", "Index Seek", "Clustered Index Seek"],
    ),
    ("SELECT COUNT(*) FROM heap", ["Stream Aggregate", "Table Scan"]),
    ("SELECT 1 AS a", ["Constant Scan"]),
    ("INSERT INTO heap VALUES (1, 2)", ["Table Insert", "Constant Scan"]),
    ("UPDATE customer SET name = N'y' WHERE id = 1", ["Clustered Index Update", "Clustered Index Seek"]),
    ("DELETE FROM heap", ["Table Delete", "Table Scan"]),
    ("SELECT a FROM heap UNION ALL SELECT b FROM heap", ["Concatenation", "Table Scan", "Table Scan"]),
]


@pytest.mark.parametrize(("sql", "expected"), STATEMENTS, ids=[sql[:50] for sql, _ in STATEMENTS])
def test_operators_have_sql_servers_names(client: Client, sql: str, expected: list[str]) -> None:
    assert operators(estimated(client, sql)) == expected


MORE = [
    "SELECT TOP (5) o.id, c.name FROM [order] o JOIN customer c ON c.id = o.customer_id ORDER BY o.total DESC",
    "SELECT c.city, SUM(o.total) AS s FROM [order] o JOIN customer c ON c.id = o.customer_id "
    "GROUP BY c.city HAVING COUNT(*) > 5",
    "SELECT id, ROW_NUMBER() OVER (ORDER BY total) AS n FROM [order]",
    "WITH x AS (SELECT city, COUNT(*) AS n FROM customer GROUP BY city) SELECT * FROM x a JOIN x b ON a.n = b.n",
    "SELECT (SELECT MAX(id) FROM [order] o WHERE o.customer_id = c.id) AS m FROM customer c WHERE c.id < 9",
    "SELECT * FROM customer WHERE id IN (SELECT customer_id FROM [order] WHERE total < 100) "
    "ORDER BY name OFFSET 1 ROWS",
    "SELECT v FROM OPENJSON(N'[1]') WITH (v int '$')",
    "MERGE customer AS t USING (SELECT 1 AS id) AS s ON t.id = s.id WHEN MATCHED THEN UPDATE SET name = N'm';",
]


@pytest.mark.parametrize("sql", [*(sql for sql, _ in STATEMENTS), *MORE])
def test_a_plan_is_valid_by_microsofts_schema(client: Client, sql: str) -> None:
    schema = etree.XMLSchema(etree.parse(SCHEMA))
    for plan in (estimated(client, sql), actual(client, sql)):
        assert plan.find(".//p:StmtSimple", NS).get("StatementText") == sql.rstrip(";")
        assert schema.validate(plan), schema.error_log.last_error


def test_an_estimated_plan_executes_nothing(client: Client) -> None:
    before = client.value("SELECT COUNT(*) FROM customer")
    estimated(client, "DELETE FROM customer WHERE id = 499")
    assert client.value("SELECT COUNT(*) FROM customer") == before


def test_an_actual_plan_counts_rows_and_comes_after_the_statements_own_rows(client: Client) -> None:
    client.events("SET STATISTICS XML ON")
    results = answers(client, "SELECT id FROM [order] WHERE customer_id = 7")
    client.events("SET STATISTICS XML OFF")
    rows, ((document,),) = results
    counters = etree.fromstring(document).find(".//p:RunTimeCountersPerThread", NS)
    assert (len(rows), counters.get("ActualRows")) == (12, "12")


def test_a_change_under_statistics_xml_happens_once(client: Client) -> None:
    plan = actual(client, "UPDATE [order] SET total = total + 1 WHERE id = 1")
    assert client.value("SELECT total FROM [order] WHERE id = 1") == 2
    assert plan.find(".//p:RunTimeCountersPerThread", NS).get("ActualRows") == "1"


def test_parameters_stand_in_the_plan_with_their_types(client: Client) -> None:
    parameter = Parameter("@P1", SqlType("nvarchar", length=20), "s7")
    plan = actual(client, "SELECT id FROM [order] WHERE status = @P1", parameter, rpc=True)
    reference = plan.find(".//p:ParameterList/p:ColumnReference", NS)
    assert (reference.get("Column").lower(), reference.get("ParameterDataType")) == ("@p1", "nvarchar(20)")
    assert reference.get("ParameterRuntimeValue") == "N's7'"


def test_a_missing_index_is_one_that_helps(client: Client) -> None:
    sql = "SELECT id, total FROM [order] WHERE status = N's7'"
    group = estimated(client, sql).find(".//p:MissingIndexGroup", NS)
    assert float(group.get("Impact")) > 10
    assert [
        each.get("Name") for each in group.iterfind(".//p:ColumnGroup[@Usage='EQUALITY']/p:Column", NS)
    ] == ["[status]"]
    client.events("CREATE INDEX ix_status ON [order] (status) INCLUDE (total)")
    plan = estimated(client, sql)
    assert plan.find(".//p:MissingIndexGroup", NS) is None
    assert "Index Seek" in operators(plan)
    client.events("DROP INDEX ix_status ON [order]")


def test_showplan_is_ignored_by_rpc(client: Client) -> None:
    client.events("SET SHOWPLAN_XML ON")
    events = list(client.session.execute("SELECT @p AS a", (Parameter("@p", SqlType("int"), 3),), rpc=True))
    client.events("SET SHOWPLAN_XML OFF")
    assert [list(event.rows) for event in events if isinstance(event, ResultSet)] == [[(3,)]]


def test_a_plan_over_catalog_views_is_made_too(client: Client) -> None:
    assert operators(estimated(client, "SELECT name FROM sys.objects WHERE object_id = 5"))
