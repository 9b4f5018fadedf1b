"""Batches: control of flow, variables, errors and what they end, procedures, triggers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sqlserver_standin.engine.messages import format_message
from sqlserver_standin.events import Done, Parameter, ReturnValue
from sqlserver_standin.types import SqlType
from tests.sqlserver_standin.engine_support import answers, failure, new_database
from tests.sqlserver_standin.sql_support import Client


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with new_database() as client:
        client.events("CREATE TABLE item (id int IDENTITY PRIMARY KEY, name nvarchar(20) UNIQUE, n int)")
        yield client


@pytest.fixture(autouse=True)
def _clean(client: Client) -> Iterator[None]:
    yield
    client.events(
        "IF @@TRANCOUNT > 0 ROLLBACK; SET XACT_ABORT OFF; SET NOCOUNT OFF; DELETE FROM item; "
        "DROP TABLE IF EXISTS #v, #i"
    )


BATCHES: list[tuple[str, list[Any]]] = [
    ("DECLARE @i int = 0; WHILE @i < 3 SET @i += 1; SELECT @i", [[(3,)]]),
    ("DECLARE @i int = 0; WHILE 1 = 1 BEGIN SET @i += 1; IF @i = 2 CONTINUE; IF @i > 3 BREAK; PRINT @i END",
     ["1", "3"]),
    ("IF 1 = 2 SELECT 'yes' ELSE IF 2 = 2 SELECT 'second' ELSE SELECT 'no'", [[("second",)]]),
    ("IF EXISTS (SELECT 1 FROM item) SELECT 1 ELSE SELECT 0", [[(0,)]]),
    ("DECLARE @a int, @b nvarchar(5) = N'x'; SELECT @a, @b", [[(None, "x")]]),
    ("DECLARE @a int; SELECT @a = id FROM item; SELECT @a", [[(None,)]]),
    ("DECLARE @a int; SELECT @a = v FROM (VALUES (1), (2)) AS t (v) ORDER BY v; SELECT @a, @@ROWCOUNT", [[(2, 2)]]),
    ("DECLARE @s varchar(3) = 'abcdef'; SELECT @s", [[("abc",)]]),
    ("DECLARE @t TABLE (a int PRIMARY KEY, b nvarchar(5)); INSERT INTO @t VALUES (1, N'x'); SELECT * FROM @t",
     [[(1, "x")]]),
    ("CREATE TABLE #t (a int); INSERT INTO #t VALUES (7); SELECT a FROM #t; DROP TABLE #t", [[(7,)]]),
    ("SELECT 1 AS a INTO #i; SELECT a FROM #i; DROP TABLE #i", [[(1,)]]),
    ("RETURN; SELECT 1", []),
    ("EXEC (N'SELECT ' + N'5')", [[(5,)]]),
    ("EXEC sp_executesql N'SELECT @x + 1', N'@x int', @x = 4", [[(5,)]]),
    ("DECLARE @o int; EXEC sp_executesql N'SET @x = 9', N'@x int OUTPUT', @x = @o OUTPUT; SELECT @o", [[(9,)]]),
    ("PRINT 'a' + 'b'", ["ab"]),
    ("RAISERROR('%s has %d', 10, 1, 'x', 5)", ["x has 5"]),
    ("RAISERROR('bad', 16, 1); SELECT @@ERROR", [50000, [(50000,)]]),
    ("THROW 50001, 'stop', 1; SELECT 1", [50001]),
    ("BEGIN TRY SELECT 1/0 END TRY BEGIN CATCH SELECT ERROR_NUMBER(), ERROR_LINE() END CATCH", [[(8134, 1)]]),
    ("BEGIN TRY THROW 50001, 'x', 7 END TRY BEGIN CATCH SELECT ERROR_STATE(); THROW END CATCH", [[(7,)], 50001]),
    ("BEGIN TRY SELECT 1/0 END TRY BEGIN CATCH END CATCH; SELECT ERROR_NUMBER()", [[(None,)]]),
    ("BEGIN TRY BEGIN TRY SELECT 1/0 END TRY BEGIN CATCH THROW 50002, 'inner', 1 END CATCH END TRY "
     "BEGIN CATCH SELECT ERROR_MESSAGE() END CATCH", [[("inner",)]]),
    ("SELECT 1/0; SELECT @@ERROR, @@ROWCOUNT", [8134, [(8134, 0)]]),
    ("SELECT 1; SELECT * FROM nowhere; SELECT 2", [[(1,)], 208]),
    ("SELECT CAST('x' AS int); SELECT 2", [245]),
    ("SET NOCOUNT ON; SELECT @@OPTIONS & 512", [[(512,)]]),
    ("WAITFOR DELAY '00:00:00.010'; SELECT 1", [[(1,)]]),
    ("INSERT INTO item (name) EXEC (N'SELECT N''from exec'''); SELECT name FROM item", [[("from exec",)]]),
    # Each item of an assignment sees those before it; what accumulates over rows is refused, not half done.
    ("DECLARE @a int, @b int; SELECT @a = 1, @b = @a + 1, @a = @b * 10; SELECT @a, @b", [[(20, 2)]]),
    ("DECLARE @a int, @b int; SELECT @a = v, @b = @a * 2 FROM (VALUES (5), (6)) AS t (v) ORDER BY v; SELECT @a, @b",
     [[(6, 12)]]),
    ("DECLARE @n int = 2; SELECT TOP (@n) @n = v FROM (VALUES (5), (6), (7)) AS t (v) ORDER BY v; SELECT @n", [[(6,)]]),
    ("DECLARE @n int = 7; SELECT @n = @n + COUNT(*) FROM item; SELECT @n", [[(7,)]]),
    ("DECLARE @s varchar(9) = ''; SELECT @s += v FROM (VALUES ('a'), ('b')) AS t (v)", [40000]),
    # The target of a change need not stand in FROM.
    ("CREATE TABLE #v (id int, n int); INSERT INTO #v VALUES (1, 1), (2, 2); "
     "UPDATE #v SET n = x.n + #v.n FROM (VALUES (2, 40)) AS x (id, n) WHERE x.id = #v.id; "
     "DELETE FROM #v FROM (VALUES (1)) AS x (id) WHERE x.id = #v.id; SELECT * FROM #v", [[(2, 42)]]),
    ("WITH c AS (SELECT TOP (1) * FROM item) DELETE FROM c", [40000]),
    ("SELECT ROUND(748.58, -3)", [8115]),
    # Recursion has a limit, and both parts of it the same types.
    ("WITH n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 101) SELECT COUNT(*) FROM n", [[(101,)]]),
    ("WITH n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 102) SELECT COUNT(*) FROM n; SELECT 2",
     [530, [(2,)]]),
    ("WITH n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n OPTION (MAXRECURSION 5)", [530]),
    ("WITH n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 200) SELECT COUNT(*) FROM n "
     "OPTION (RECOMPILE, MAXRECURSION 0)", [[(200,)]]),
    ("SELECT 1 OPTION (MAXRECURSION 32768)", [310]),
    ("WITH n AS (SELECT 'a' AS i UNION ALL SELECT i + 'b' FROM n) SELECT i FROM n", [240]),
    ("WITH n AS (SELECT NULL AS i UNION ALL SELECT N'b' FROM n) SELECT i FROM n", [240]),
    ("WITH n (i, j) AS (SELECT CAST(N'a' AS nvarchar(9)), 1 UNION ALL SELECT NULL, j + 1 FROM n WHERE j < 2) "
     "SELECT * FROM n", [[("a", 1), (None, 2)]]),
    # Each change gives a row a new rowversion, which nobody else may give.
    ("CREATE TABLE #v (id int, v rowversion); INSERT INTO #v (id) VALUES (1), (2); INSERT INTO #v VALUES (3, DEFAULT); "
     "UPDATE #v SET id = 9 OUTPUT IIF(deleted.v < inserted.v, 1, 0) WHERE id = 1; "
     "SELECT COUNT(DISTINCT v), DATALENGTH(MAX(v)) FROM #v", [[(1,)], [(3, 8)]]),
    ("CREATE TABLE #v (id int, v rowversion); UPDATE #v SET v = 0x01", [272]),
    ("CREATE TABLE #v (id int, v rowversion); INSERT INTO #v (v) VALUES (0x01)", [273]),
    ("CREATE TABLE #v (id int); INSERT INTO #v VALUES (1); ALTER TABLE #v ADD v rowversion; "
     "EXEC ('SELECT DATALENGTH(v) FROM #v')", [[(8,)]]),
    # An INDEX hint names an index that is there.
    ("SELECT n FROM item WITH (INDEX (1)); SELECT n FROM item WITH (INDEX = 0)", [[], []]),
    ("SELECT n FROM item WITH (NOLOCK, INDEX (nowhere))", [308]),
    ("SELECT n FROM item WITH (INDEX (77))", [307]),
    ("DELETE FROM item WITH (INDEX = nowhere)", [308]),
    ("CREATE TABLE #i (a int, INDEX ix (a)); SELECT a FROM #i WITH (INDEX (IX))", [[]]),
    ("SELECT * FROM nowhere.dbo.item", [208]),
    ("SELECT POWER(10, 10)", [232]),
    ("SELECT CONVERT(varchar(40), GETDATE(), 130)", [40000]),
    ("SET LANGUAGE us_english", ["Changed language setting to us_english."]),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "expected"), BATCHES, ids=[sql[:60] for sql, _ in BATCHES])
def test_a_batch_answers_as_on_sql_server(client: Client, sql: str, expected: list[Any]) -> None:
    assert answers(client, sql) == expected


def test_a_syntax_error_anywhere_keeps_the_whole_batch_from_running(client: Client) -> None:
    assert answers(client, "INSERT INTO item (name) VALUES (N'a'); SELECT 1 FROM WHERE") == [156]
    assert answers(client, "SELECT COUNT(*) FROM item") == [[(0,)]]


def test_an_error_names_its_line(client: Client) -> None:
    error = failure(client, "SELECT 1\n\nSELECT 1/0")
    assert (error.number, error.line) == (8134, 3)


def test_an_error_that_ends_its_statement_lets_the_batch_go_on(client: Client) -> None:
    client.events("INSERT INTO item (name) VALUES (N'a')")
    assert answers(client, "INSERT INTO item (name) VALUES (N'A'); SELECT COUNT(*) FROM item") == [
        2627,
        [(1,)],
    ]


def test_xact_abort_ends_the_batch_and_the_transaction(client: Client) -> None:
    sql = "SET XACT_ABORT ON; BEGIN TRAN; INSERT INTO item (name) VALUES (N'a'); SELECT 1/0; SELECT 5"
    assert answers(client, sql) == [8134]
    assert answers(client, "SELECT @@TRANCOUNT, (SELECT COUNT(*) FROM item)") == [[(0, 0)]]


def test_counts_are_left_out_under_nocount(client: Client) -> None:
    def counts(sql: str) -> list[int | None]:
        return [event.count for event in client.session.execute(sql) if isinstance(event, Done)]

    assert counts("INSERT INTO item (name) VALUES (N'a'), (N'b')") == [2]
    assert counts("SET NOCOUNT ON; DELETE FROM item") == [None, None]


def test_output_parameters_come_back(client: Client) -> None:
    events = list(
        client.session.execute(
            "SET @b = @a * 2",
            (Parameter("@a", SqlType("int"), 21), Parameter("@b", SqlType("int"), None, True)),
            rpc=True,
        )
    )
    assert [event.parameter.value for event in events if isinstance(event, ReturnValue)] == [42]


def test_scope_identity_is_not_a_triggers_but_identity_is(client: Client) -> None:
    client.events("CREATE TABLE trail (id int IDENTITY(100, 10), note nvarchar(50))")
    client.events(
        "CREATE TRIGGER item_trail ON item AFTER INSERT AS INSERT INTO trail (note) SELECT N'new ' + name FROM inserted"
    )
    try:
        client.events("DBCC CHECKIDENT (N'item', RESEED, 41) WITH NO_INFOMSGS")
        ((scope, last),) = client.rows(
            "INSERT INTO item (name) VALUES (N'a'); SELECT SCOPE_IDENTITY(), @@IDENTITY"
        )
        assert (scope - client.value("SELECT MAX(id) FROM item"), last) == (0, 100)
        assert client.rows("SELECT note FROM trail") == [("new a",)]
        assert failure(client, "INSERT INTO item (name) OUTPUT inserted.id VALUES (N'b')").number == 334
    finally:
        client.events("DROP TRIGGER item_trail; DROP TABLE trail")


def test_a_trigger_that_rolls_back_ends_the_batch(client: Client) -> None:
    client.events(
        "CREATE TRIGGER item_guard ON item AFTER UPDATE, DELETE AS "
        "IF EXISTS (SELECT 1 FROM deleted WHERE n = 1) BEGIN RAISERROR('kept', 16, 1); ROLLBACK END"
    )
    try:
        client.events("INSERT INTO item (name, n) VALUES (N'a', 1), (N'b', 2)")
        assert answers(client, "UPDATE item SET n = 3 WHERE n = 1; SELECT 1") == [50000, 3609]
        assert answers(client, "UPDATE item SET n = 4 WHERE n = 2; SELECT n FROM item ORDER BY n") == [
            [(1,), (4,)]
        ]
        assert answers(client, "DISABLE TRIGGER item_guard ON item; DELETE FROM item; SELECT @@ROWCOUNT") == [
            [(2,)]
        ]
    finally:
        client.events("DROP TRIGGER item_guard")


def test_a_trigger_does_not_fire_itself(client: Client) -> None:
    client.events(
        "CREATE TRIGGER item_counts ON item AFTER INSERT, UPDATE AS "
        "UPDATE item SET n = COALESCE(item.n, 0) + 1 FROM item JOIN inserted ON inserted.id = item.id"
    )
    try:
        client.events("INSERT INTO item (name) VALUES (N'a')")
        assert client.value("SELECT n FROM item") == 1
    finally:
        client.events("DROP TRIGGER item_counts")


def test_a_procedure_has_parameters_results_and_a_status(client: Client) -> None:
    client.events(
        "CREATE PROCEDURE twice @a int, @b int = 5, @sum int OUTPUT AS "
        "BEGIN SET NOCOUNT ON; SET @sum = @a + @b; SELECT @a AS a; RETURN 7 END"
    )
    sql = "DECLARE @r int, @s int; EXEC @r = dbo.twice 1, @sum = @s OUTPUT; SELECT @r, @s"
    assert answers(client, sql) == [[(1,)], [(7, 6)]]
    assert failure(client, "EXEC twice").text == (
        "Procedure or function 'twice' expects parameter '@a', which was not supplied."
    )
    assert failure(client, "EXEC twice 1, 2, 3, 4").number == 8144
    assert failure(client, "EXEC twice @z = 1").number == 8145
    error = failure(client, "EXEC twice 'one', @sum = 0")
    assert (error.number, error.text) == (8114, "Error converting data type varchar to int.")
    assert answers(client, "ALTER PROCEDURE twice AS SELECT 2") == []
    assert answers(client, "twice") == [[(2,)]]
    assert answers(client, "DROP PROCEDURE twice; EXEC twice") == [2812]


def test_what_is_not_known_is_refused_by_name(client: Client) -> None:
    error = failure(client, "CREATE FUNCTION f() RETURNS int AS BEGIN RETURN 1 END")
    assert (error.number, error.text) == (40000, "not supported by the stand-in: user-defined functions")


@pytest.mark.parametrize(
    ("template", "arguments", "expected"),
    [
        ("%d%%", [5], "5%"),
        ("[%5d]", [42], "[   42]"),
        ("[%-5s]", ["ab"], "[ab   ]"),
        ("[%05d]", [42], "[00042]"),
        ("%x %X %o", [255, 255, 8], "ff FF 10"),
        ("%u", [-1], "4294967295"),
        ("%.2s", ["abc"], "ab"),
        ("[%*d]", [4, 7], "[   7]"),
        ("%s", [None], "(null)"),
        ("%s", [], "(null)"),
    ],
)
def test_raiserror_fills_in_its_arguments(template: str, arguments: list[Any], expected: str) -> None:
    assert format_message(template, arguments) == expected
