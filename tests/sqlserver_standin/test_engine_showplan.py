"""Showplan XML: valid by Microsoft's schema, of SQL Server's operators, with what really happened."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from sqlserver_standin.engine.showplan import COLUMN_NAME
from sqlserver_standin.events import Parameter, ResultSet
from sqlserver_standin.types import SqlType
from tests.sqlserver_standin.engine_support import answers, failure, new_database, second_session
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
            CREATE TABLE log (at int, text nvarchar(100));
            CREATE INDEX ix_at ON log (at);
            INSERT INTO customer (name, city)
                SELECT CONCAT(N'c', value), CONCAT(N'city', value % 10) FROM GENERATE_SERIES(1, 500);
            INSERT INTO [order] (customer_id, status, total)
                SELECT value % 500 + 1, CONCAT(N's', value % 300), value FROM GENERATE_SERIES(1, 6000);
            INSERT INTO log SELECT value, N'x' FROM GENERATE_SERIES(1, 3000);
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
    ("SELECT id, customer_id FROM [order] WHERE customer_id = 5", ["Index Seek"]),
    ("SELECT text FROM log WHERE at = 7", ["Nested Loops", "Index Seek", "RID Lookup"]),
    ("SELECT UPPER(text) AS t FROM log WHERE at = 7", ["Nested Loops", "Index Seek", "RID Lookup"]),
    ("SELECT at AS text FROM log WHERE at = 7", ["Index Seek"]),
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


def test_output_columns_are_those_of_the_table(client: Client) -> None:
    for sql in (
        "SELECT id, city FROM customer WHERE city = N'city1'",
        "SELECT c.id, c.city FROM customer c JOIN heap h ON h.a = c.id",
    ):
        (scan,) = estimated(client, sql).xpath(
            "//p:RelOp[p:IndexScan/p:Object/@Table='[customer]']", namespaces=NS
        )
        columns = scan.findall("p:OutputList/p:ColumnReference", NS)
        assert {(each.get("Table"), each.get("Column")) for each in columns} >= {
            ("[customer]", "id"),
            ("[customer]", "city"),
        }


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
        (usage.get("Usage"), [column.get("Name") for column in usage])
        for usage in group.iterfind(".//p:ColumnGroup", NS)
    ] == [("EQUALITY", ["[status]"]), ("INCLUDE", ["[total]"])]
    client.events("CREATE INDEX ix_status ON [order] (status) INCLUDE (total)")
    plan = estimated(client, sql)
    assert plan.find(".//p:MissingIndexGroup", NS) is None
    assert "Index Seek" in operators(plan)
    client.events("DROP INDEX ix_status ON [order]")


@pytest.mark.parametrize("timeout", ["-1", "5000"])
def test_a_plan_in_a_transaction_leaves_its_lock_timeout(client: Client, timeout: str) -> None:
    """Statistics are made beside the plan, without waiting for others; what follows waits as the session says."""
    client.events(f"SET LOCK_TIMEOUT {timeout}; BEGIN TRANSACTION; CREATE TABLE fresh (a int)")
    client.events("INSERT INTO fresh SELECT value FROM GENERATE_SERIES(1, 2000)")
    before = client.session.link.rows("SHOW lock_timeout")
    actual(client, "SELECT a FROM fresh WHERE a = 7")
    assert client.session.link.rows("SHOW lock_timeout") == before
    assert client.session.link.rows("SHOW deadlock_timeout") == [("200ms",)]
    client.events("ROLLBACK; SET LOCK_TIMEOUT -1")


def test_showplan_is_ignored_by_rpc(client: Client) -> None:
    client.events("SET SHOWPLAN_XML ON")
    events = list(client.session.execute("SELECT @p AS a", (Parameter("@p", SqlType("int"), 3),), rpc=True))
    client.events("SET SHOWPLAN_XML OFF")
    assert [list(event.rows) for event in events if isinstance(event, ResultSet)] == [[(3,)]]


def test_a_plan_over_catalog_views_is_made_too(client: Client) -> None:
    assert operators(estimated(client, "SELECT name FROM sys.objects WHERE object_id = 5"))


# --- last actual plans --------------------------------------------------------------------------------------------

TOTALS = """
SELECT c.city, SUM(o.total) AS total FROM [order] o JOIN customer c ON c.id = o.customer_id
WHERE o.total > @P1 GROUP BY c.city"""
LIMIT = Parameter("@P1", SqlType("int"), 3000)
SWITCH = "ALTER DATABASE SCOPED CONFIGURATION SET LAST_QUERY_PLAN_STATS = "


@pytest.fixture
def keeping(client: Client) -> Iterator[Client]:
    """A session in a database that keeps last plans."""
    client.events(SWITCH + "ON")
    yield client
    client.events(SWITCH + "OFF")


def last_plans(client: Client, sql: str) -> list[Any]:
    """What another session finds of a statement: None for a statement without a last plan."""
    with contextlib.closing(second_session(client).session) as session:
        events = list(
            session.execute(
                """
                SELECT l.query_plan FROM sys.dm_exec_query_stats s
                CROSS APPLY sys.dm_exec_sql_text(s.sql_handle) t
                CROSS APPLY sys.dm_exec_query_plan_stats(s.plan_handle) l WHERE RIGHT(t.text, LEN(@sql)) = @sql""",
                (Parameter("@sql", SqlType("nvarchar", length=4000), sql),),
                rpc=True,
            )
        )
    rows = [row for event in events if isinstance(event, ResultSet) for row in event.rows]
    return [row[0] and etree.fromstring(row[0]) for row in rows]


def test_a_last_plan_is_of_that_very_run(keeping: Client) -> None:
    """Rows and reads of each operator, the time of the statement, no time of an operator, no run-time values."""
    list(keeping.session.execute(TOTALS, (LIMIT,), rpc=True))
    keeping.events("UPDATE [order] SET total = 0 WHERE id = 6000")
    (plan,) = last_plans(keeping, TOTALS)
    keeping.events("UPDATE [order] SET total = 6000 WHERE id = 6000")
    rows = {
        each.get("PhysicalOp"): each.find("p:RunTimeInformation/p:RunTimeCountersPerThread", NS)
        for each in plan.iterfind(".//p:RelOp", NS)
    }
    assert rows["Clustered Index Scan"].get("ActualRows") is not None
    assert "3000" in [counters.get("ActualRows") for counters in rows.values()]
    assert not plan.xpath("//@ActualElapsedms | //@ActualCPUms | //@ParameterRuntimeValue")
    assert plan.find(".//p:QueryTimeStats", NS).get("ElapsedTime").isdigit()
    assert plan.find(".//p:ParameterList/p:ColumnReference", NS).get("ParameterDataType") == "int"
    schema = etree.XMLSchema(etree.parse(SCHEMA))
    assert schema.validate(plan), schema.error_log.last_error


def test_a_simple_statements_last_plan_is_the_statement_alone(keeping: Client) -> None:
    schema = etree.XMLSchema(etree.parse(SCHEMA))
    for sql in (
        "SELECT name FROM customer WHERE id = 8",
        "INSERT INTO heap (a, b) VALUES (11, 12)",
        "UPDATE heap SET b = 13 WHERE a = 11",
    ):
        keeping.events(sql)
        (plan,) = last_plans(keeping, sql)
        assert plan.find(".//p:StmtSimple", NS).get("StatementText") == sql
        assert plan.find(".//p:QueryPlan", NS) is None
        assert schema.validate(plan), schema.error_log.last_error


def test_keeping_last_plans_changes_no_answer(keeping: Client) -> None:
    keeping.events(
        "CREATE TABLE kept (id int IDENTITY PRIMARY KEY, a int); CREATE SEQUENCE numbers START WITH 1"
    )
    assert answers(keeping, "INSERT INTO kept (a) OUTPUT inserted.id VALUES (1), (2)") == [[(1,), (2,)]]
    assert answers(keeping, "INSERT INTO kept (a) OUTPUT inserted.id VALUES (3)") == [[(3,)]]
    assert answers(keeping, "SELECT NEXT VALUE FOR numbers AS n") == [[(1,)]]
    assert answers(keeping, "UPDATE kept SET a += 1 OUTPUT inserted.a WHERE id = 1; SELECT @@ROWCOUNT") == [
        [(2,)],
        [(1,)],
    ]
    assert answers(keeping, "BEGIN TRANSACTION; DELETE FROM kept; ROLLBACK; SELECT COUNT(*) FROM kept") == [
        [(3,)]
    ]
    assert answers(keeping, "SELECT 1 / (a - a) FROM kept") == [8134]
    assert answers(keeping, "DELETE FROM kept WHERE id = 2; SELECT id FROM kept ORDER BY id") == [
        [(1,), (3,)]
    ]


def test_last_plans_are_kept_where_it_is_on_and_until_it_is_off(client: Client) -> None:
    option = (
        "SELECT CONVERT(int, value), is_value_default FROM sys.database_scoped_configurations "
        "WHERE name = N'LAST_QUERY_PLAN_STATS'"
    )
    assert answers(client, option) == [[(0, True)]]
    list(client.session.execute(TOTALS, (LIMIT,), rpc=True))
    assert last_plans(client, TOTALS) == [None]
    client.events(SWITCH + "ON")
    assert answers(client, option) == [[(1, False)]]
    # The statement itself empties the database's part of the plan cache.
    assert last_plans(client, TOTALS) == []
    list(client.session.execute(TOTALS, (LIMIT,), rpc=True))
    assert len(last_plans(client, TOTALS)) == 1
    client.events("ALTER DATABASE SCOPED CONFIGURATION CLEAR PROCEDURE_CACHE")
    assert last_plans(client, TOTALS) == []
    client.events(SWITCH + "OFF")
    list(client.session.execute(TOTALS, (LIMIT,), rpc=True))
    assert last_plans(client, TOTALS) == [None]


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("ALTER DATABASE SCOPED CONFIGURATION SET MAXDOP = 4", "MAXDOP = 4"),
        ("ALTER DATABASE SCOPED CONFIGURATION SET LAST_QUERY_PLAN_STATS = PRIMARY", "PRIMARY"),
        ("ALTER DATABASE SCOPED CONFIGURATION FOR SECONDARY SET MAXDOP = 4", "FOR"),
        ("ALTER DATABASE SCOPED CONFIGURATION CLEAR PROCEDURE_CACHE 0x06000000", "plan_handle"),
        ("BEGIN TRANSACTION; ALTER DATABASE SCOPED CONFIGURATION CLEAR PROCEDURE_CACHE", "in a transaction"),
    ],
)
def test_further_scoped_configurations_are_refused_by_name(client: Client, sql: str, named: str) -> None:
    refused = failure(client, sql)
    client.events("IF @@TRANCOUNT > 0 ROLLBACK")
    assert refused.number == 40000
    assert "not supported by the stand-in: ALTER DATABASE SCOPED CONFIGURATION" in refused.text
    assert named in refused.text
