"""Each row of the README's tables of what is supported and what is different is held by a claim here, or by a test.

A claim is a batch with what it answers, or the name of a test beside this one. A row or item without a claim fails, and
so does a claim whose row is gone.
"""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sqlserver_standin.engine_support import answers, new_database
from tests.sqlserver_standin.sql_support import Client

HERE = Path(__file__).parent
README = (HERE.parents[1] / "sqlserver_standin" / "README.md").read_text(encoding="utf-8")

Claim = tuple[str, list[Any]] | str
"""A batch and its answers, or the test that holds it."""

WIRE: dict[str, Claim] = {
    "versions": "test_what_it_does_not_know_is_refused_by_name",
    "encryption": "test_the_odbc_driver_connects_encrypted_or_not",
    "login": "test_what_it_does_not_know_is_refused_by_name",
    "feature extensions": "test_features_are_acknowledged_when_they_are_known",
    "packets": "test_requests_of_many_packets_are_put_together",
    "requests": "test_a_message_may_carry_many_calls",
    "MARS": "test_several_results_are_read_at_once",
    "refused": "test_server_cursors_are_refused_by_name",
    "reset connection": "test_reset_connection_resets_the_session_first",
    "answers": "test_every_token_is_listed",
    "broken packets": "test_a_broken_request",
    "`time`, `datetime2`, `datetimeoffset`": (
        "SELECT CAST('2020-01-01 00:00:00.1234567' AS datetime2(7))",
        [[(datetime.datetime(2020, 1, 1, microsecond=123457),)]],
    ),
    "`sp_prepare`": "test_statements_are_prepared_executed_and_unprepared",
    "a parameter sent as another type than it is declared": "test_values_take_their_declared_type",
    "requests under MARS": "test_large_parameters_pass_the_window",
    "columns of a result set": "test_columns_tell_their_type_and_nullability",
}

SUPPORTED: dict[str, dict[str, Claim]] = {
    "SELECT": {
        "TOP (number, expression, PERCENT, WITH TIES)": (
            "DECLARE @n int = 1; SELECT TOP 1 v FROM (VALUES (1), (1), (2), (3)) AS t (v) ORDER BY v; "
            "SELECT TOP (@n + 1) v FROM (VALUES (1), (1), (2), (3)) AS t (v) ORDER BY v; "
            "SELECT TOP 75 PERCENT v FROM (VALUES (1), (1), (2), (3)) AS t (v) ORDER BY v; "
            "SELECT TOP 1 WITH TIES v FROM (VALUES (1), (1), (2), (3)) AS t (v) ORDER BY v",
            [[(1,)], [(1,), (1,)], [(1,), (1,), (2,)], [(1,), (1,)]],
        ),
        "DISTINCT": ("SELECT DISTINCT v FROM (VALUES ('a'), ('A')) AS t (v)", [[("a",)]]),
        "all joins": (
            "SELECT a.v, b.v FROM (VALUES (1), (2)) AS a (v) FULL JOIN (VALUES (2), (3)) AS b (v) ON a.v = b.v "
            "ORDER BY a.v, b.v; "
            "SELECT COUNT(*) FROM (VALUES (1), (2)) AS a (v) CROSS JOIN (VALUES (1), (2)) AS b (v)",
            [[(None, 3), (1, None), (2, 2)], [(4,)]],
        ),
        "CROSS/OUTER APPLY": (
            "SELECT a.v, x.w FROM (VALUES (1), (2)) AS a (v) OUTER APPLY (SELECT 5 AS w WHERE a.v = 1) AS x "
            "ORDER BY 1; "
            "SELECT a.v, x.w FROM (VALUES (1), (2)) AS a (v) CROSS APPLY (SELECT 5 AS w WHERE a.v = 1) AS x",
            [[(1, 5), (2, None)], [(1, 5)]],
        ),
        "derived tables": ("SELECT s.a FROM (SELECT 1 AS a) AS s", [[(1,)]]),
        "VALUES": ("SELECT a, b FROM (VALUES (1, 'x')) AS t (a, b)", [[(1, "x")]]),
        "common tables (recursive too)": (
            "WITH n (v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n WHERE v < 4) SELECT SUM(v) FROM n",
            [[(10,)]],
        ),
        "UNION/EXCEPT/INTERSECT": (
            "SELECT 1 UNION SELECT 1; SELECT 1 EXCEPT SELECT 1; SELECT 1 INTERSECT SELECT 1",
            [[(1,)], [], [(1,)]],
        ),
        "GROUP BY with ROLLUP": (
            "SELECT v, COUNT(*) FROM (VALUES (1), (1)) AS t (v) GROUP BY ROLLUP (v) ORDER BY v",
            [[(None, 2), (1, 2)]],
        ),
        "CUBE and GROUPING SETS": (
            "SELECT COUNT(*) FROM (VALUES (1), (1)) AS t (v) GROUP BY CUBE (v); "
            "SELECT COUNT(*) FROM (VALUES (1), (1)) AS t (v) GROUP BY GROUPING SETS ((v), ())",
            [[(2,), (2,)], [(2,), (2,)]],
        ),
        "HAVING": ("SELECT v FROM (VALUES (1), (1), (2)) AS t (v) GROUP BY v HAVING COUNT(*) > 1", [[(1,)]]),
        "ORDER BY with OFFSET/FETCH": (
            "SELECT v FROM (VALUES (1), (2), (3)) AS t (v) ORDER BY v OFFSET 1 ROWS FETCH NEXT 1 ROWS ONLY",
            [[(2,)]],
        ),
        "windows with frames and WINDOW": (
            "SELECT SUM(v) OVER w FROM (VALUES (1), (2), (3)) AS t (v) "
            "WINDOW w AS (ORDER BY v ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)",
            [[(1,), (3,), (5,)]],
        ),
        "INTO": ("SELECT 1 AS a INTO #into; SELECT a FROM #into", [[(1,)]]),
        "FOR JSON PATH": ("SELECT 1 AS [a.b] FOR JSON PATH", [[('[{"a":{"b":1}}]',)]]),
        "assignment to variables": ("DECLARE @a int; SELECT @a = 5; SELECT @a", [[(5,)]]),
    },
    "INSERT, UPDATE, DELETE, MERGE": {
        "FROM": (
            "UPDATE t SET n = s.v FROM thing AS t JOIN (VALUES (1, 7)) AS s (id, v) ON s.id = t.id; "
            "SELECT n FROM thing WHERE id = 1",
            [[(7,)]],
        ),
        "TOP": ("DELETE TOP (1) FROM thing; SELECT COUNT(*) FROM thing", [[(1,)]]),
        "OUTPUT with and without INTO": (
            "DECLARE @o TABLE (id int); "
            "UPDATE thing SET n = 1 OUTPUT deleted.id INTO @o WHERE id = 1; SELECT id FROM @o; "
            "UPDATE thing SET n = 2 OUTPUT deleted.n, inserted.n WHERE id = 1",
            [[(1,)], [(1, 2)]],
        ),
        "DEFAULT": (
            "INSERT INTO thing (id, n) VALUES (9, DEFAULT); SELECT n FROM thing WHERE id = 9",
            [[(5,)]],
        ),
        "`$action`": (
            "MERGE thing USING (VALUES (1)) AS s (id) ON s.id = thing.id WHEN MATCHED THEN DELETE OUTPUT $action;",
            [[("DELETE",)]],
        ),
        "columns of the source in MERGE's OUTPUT": (
            "MERGE thing USING (VALUES (1, N'from')) AS s (id, w) ON s.id = thing.id "
            "WHEN MATCHED THEN UPDATE SET n = 1 OUTPUT s.w;",
            [[("from",)]],
        ),
        "MERGE WITH (HOLDLOCK) lets two upserts of one key wait": "test_merge_with_holdlock_inserts_a_key_once",
    },
    "hints": {
        "UPDLOCK": "test_a_locking_hint_makes_others_wait_for_those_rows",
        "XLOCK": "test_a_locking_hint_makes_others_wait_for_those_rows",
        "HOLDLOCK": "test_merge_with_holdlock_inserts_a_key_once",
        "READPAST": "test_readpast_leaves_locked_rows_out_and_nowait_fails_at_once",
        "NOWAIT": "test_readpast_leaves_locked_rows_out_and_nowait_fails_at_once",
        "TABLOCKX lock as they say": "test_a_locking_hint_makes_others_wait_for_those_rows",
        "MAXRECURSION limits a common table": "test_a_batch_answers_as_on_sql_server",
        "INDEX names an index that is there": "test_a_batch_answers_as_on_sql_server",
        "the other table and query hints are known by name and have no effect": (
            "SELECT COUNT(*) FROM thing WITH (NOLOCK, INDEX (1)) OPTION (RECOMPILE, MAXDOP 1); "
            "EXEC ('SELECT 1 FROM thing WITH (NOSUCHHINT)')",
            [[(2,)], 321],
        ),
    },
    "types": {
        "precision and scale of decimal arithmetic": "test_an_expression_has_sql_servers_type",
        "integer division": ("SELECT 7 / 2, -7 / 2, 7 % -2", [[(3, -3, 1)]]),
        "AVG and SUM by argument type": (
            "SELECT AVG(v), SUM(CAST(v AS tinyint)) FROM (VALUES (1), (2)) AS t (v)",
            [[(1, 3)]],
        ),
        "NULL below every value": (
            "SELECT v FROM (VALUES (1), (NULL)) AS t (v) ORDER BY v",
            [[(None,), (1,)]],
        ),
        "text compared by collation family (CI/CS, AI/AS, BIN) without trailing spaces": (
            "SELECT IIF('a' = 'A', 1, 0), IIF('a' = 'A' COLLATE Latin1_General_CS_AS, 1, 0); "
            "SELECT IIF('é' = 'e' COLLATE Latin1_General_CI_AI, 1, 0); "
            "SELECT IIF('é' = 'e' COLLATE Latin1_General_CI_AS, 1, 0); "
            "SELECT IIF('B' < 'a' COLLATE Latin1_General_BIN2, 1, 0), IIF('a  ' = 'a', 1, 0)",
            [[(1, 0)], [(1,)], [(0,)], [(1, 1)]],
        ),
    },
    "tables of functions": {
        "`OPENJSON` with and without WITH": (
            "SELECT [key], value FROM OPENJSON('[5]'); SELECT a FROM OPENJSON('[{\"a\":5}]') WITH (a int)",
            [[("0", "5")], [(5,)]],
        ),
        "`STRING_SPLIT`": ("SELECT value FROM STRING_SPLIT('a,b', ',')", [[("a",), ("b",)]]),
        "`GENERATE_SERIES`": ("SELECT value FROM GENERATE_SERIES(1, 5, 2)", [[(1,), (3,), (5,)]]),
    },
    "control of flow": {
        "DECLARE": ("DECLARE @a int = 1, @b int; SELECT @a, @b", [[(1, None)]]),
        "SET": ("DECLARE @a int = 1; SET @a += 2; SELECT @a", [[(3,)]]),
        "IF": ("IF 1 = 2 SELECT 1 ELSE SELECT 2", [[(2,)]]),
        "WHILE": ("DECLARE @i int = 0; WHILE @i < 3 SET @i += 1; SELECT @i", [[(3,)]]),
        "BREAK": ("WHILE 1 = 1 BREAK; SELECT 1", [[(1,)]]),
        "CONTINUE": (
            "DECLARE @i int = 0; WHILE @i < 2 BEGIN SET @i += 1; CONTINUE; SELECT 9 END; SELECT @i",
            [[(2,)]],
        ),
        "RETURN": ("SELECT 1; RETURN; SELECT 2", [[(1,)]]),
        "BEGIN … END": ("BEGIN SELECT 1; SELECT 2 END", [[(1,)], [(2,)]]),
        "TRY … CATCH": (
            "BEGIN TRY SELECT 1 / 0 END TRY BEGIN CATCH SELECT ERROR_NUMBER() END CATCH",
            [[(8134,)]],
        ),
        "THROW": ("THROW 50001, 'x', 1", [50001]),
        "RAISERROR": ("RAISERROR('x', 16, 1)", [50000]),
        "PRINT": ("PRINT 'said'", ["said"]),
        "WAITFOR DELAY": ("WAITFOR DELAY '00:00:00.001'; SELECT 1", [[(1,)]]),
        "EXEC of procedures and of strings": (
            "EXEC ('SELECT 1'); EXEC sp_executesql N'SELECT 2'",
            [[(1,)], [(2,)]],
        ),
        "INSERT … EXEC": (
            "INSERT INTO thing (id) EXEC ('SELECT 30'); SELECT n FROM thing WHERE id = 30",
            [[(5,)]],
        ),
    },
    "data definition": {
        "tables with all constraints and their names": "test_the_catalog_answers",
        "IDENTITY": "test_a_batch_answers_as_documented",
        "computed columns": "test_a_batch_answers_as_documented",
        "filtered and covering indexes": (
            "CREATE UNIQUE INDEX few ON thing (n) INCLUDE (id) WHERE n > 100; "
            "SELECT has_filter, is_unique FROM sys.indexes WHERE name = 'few'; "
            "SELECT COUNT(*) FROM sys.index_columns WHERE object_id = OBJECT_ID('thing') AND is_included_column = 1",
            [[(True, True)], [(1,)]],
        ),
        "views": ("EXEC ('CREATE VIEW shown AS SELECT id FROM thing'); SELECT COUNT(*) FROM shown", [[(2,)]]),
        "schemas": (
            "EXEC ('CREATE SCHEMA sales'); CREATE TABLE sales.t (a int); SELECT COUNT(*) FROM sales.t",
            [[(0,)]],
        ),
        "sequences": ("CREATE SEQUENCE sq START WITH 3; SELECT NEXT VALUE FOR sq", [[(3,)]]),
        "AFTER triggers": (
            "EXEC ('CREATE TRIGGER seen ON thing AFTER DELETE AS PRINT ''gone'''); "
            "DELETE FROM thing WHERE id = 1",
            ["gone"],
        ),
        "stored procedures": ("EXEC ('CREATE PROCEDURE p @a int AS SELECT @a'); EXEC p 4", [[(4,)]]),
        "temporary tables and table variables": (
            "CREATE TABLE #x (a int); DECLARE @y TABLE (a int); SELECT COUNT(*) FROM #x, @y",
            [[(0,)]],
        ),
        "ALTER TABLE in all its forms that Django sends": (
            "ALTER TABLE thing ADD more int NOT NULL CONSTRAINT df_more DEFAULT 3; "
            "ALTER TABLE thing DROP CONSTRAINT df_more; "
            "ALTER TABLE thing ALTER COLUMN more bigint NULL; ALTER TABLE thing DROP COLUMN more; "
            "SELECT COUNT(*) FROM thing",
            [[(2,)]],
        ),
        "sp_rename": "test_a_batch_answers_as_documented",
        "extended properties": "test_a_batch_answers_as_documented",
    },
    "transactions": {
        "nesting": (
            "BEGIN TRAN; BEGIN TRAN; COMMIT; SELECT @@TRANCOUNT; ROLLBACK; SELECT @@TRANCOUNT",
            [[(1,)], [(0,)]],
        ),
        "savepoints": (
            "BEGIN TRAN; SAVE TRAN s; DELETE FROM thing; ROLLBACK TRAN s; COMMIT; SELECT COUNT(*) FROM thing",
            [[(2,)]],
        ),
        "XACT_ABORT": "test_a_batch_answers_as_documented",
        "implicit and doomed transactions": "test_a_batch_answers_as_documented",
        "READ COMMITTED (always with row versions)": "test_readers_see_the_committed_version_and_do_not_wait",
        "SNAPSHOT": "test_a_snapshot_conflicts_with_a_later_change",
        "SERIALIZABLE": (
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; BEGIN TRAN; SELECT COUNT(*) FROM thing; COMMIT",
            [[(2,)]],
        ),
        "LOCK_TIMEOUT": "test_a_writer_that_waits_too_long_gets_1222_and_keeps_its_transaction",
        "deadlocks with their graph in system_health": "test_a_deadlock_has_one_victim_and_the_other_goes_on",
    },
    "plans": {
        "SHOWPLAN_XML and STATISTICS XML: PostgreSQL's real plan": "test_operators_have_sql_servers_names",
        "valid by Microsoft's schema": "test_a_plan_is_valid_by_microsofts_schema",
        "a missing index only where PostgreSQL plans better with it": "test_a_missing_index_is_one_that_helps",
        "`LAST_QUERY_PLAN_STATS` and `sys.dm_exec_query_plan_stats`": "test_a_last_plan_is_of_that_very_run",
    },
    "STATISTICS IO and TIME": {
        "a table's pages as PostgreSQL counted them for the statement": "test_a_seek_reads_what_postgresql_counts",
        "out-of-line storage as LOB pages": "test_long_values_are_lob_reads",
        "CPU of the stand-in's thread and of PostgreSQL's process": "test_cpu_is_that_of_postgresql_too",
    },
    "security": {
        "CREATE LOGIN and USER": "test_a_wrong_password_is_18456",
        "GRANT": "test_grant_deny_and_roles_take_effect_at_once",
        "DENY": "test_grant_deny_and_roles_take_effect_at_once",
        "REVOKE of permissions on the server": "test_has_perms_by_name_knows",
        "the database and its tables": "test_has_perms_by_name_knows_objects",
        "some roles": "test_grant_deny_and_roles_take_effect_at_once",
    },
}

DIFFERENT: dict[str, Claim] = {
    "`CHECKSUM`, `RAND(seed)`": (
        "SELECT IIF(CHECKSUM('a') = CHECKSUM('a'), 1, 0), IIF(RAND(5) = RAND(5), 1, 0)",
        [[(1, 1)]],
    ),
    "order of text": "test_words_come_in_the_order_of_the_collation",
    "order of `uniqueidentifier`": (
        "SELECT u FROM (VALUES (CAST('00000001-0000-0000-0000-000000000000' AS uniqueidentifier)), "
        "(CAST('00000000-0000-0000-0000-000000000001' AS uniqueidentifier))) AS t (u) ORDER BY u; "
        "SELECT IIF(CAST('00000001-0000-0000-0000-000000000000' AS uniqueidentifier) > "
        "CAST('00000000-0000-0000-0000-000000000001' AS uniqueidentifier), 1, 0)",
        [[(uuid.UUID("00000001-0000-0000-0000-000000000000"),), (uuid.UUID(int=1),)], [(1,)]],
    ),
    "rows without ORDER BY": (
        "CREATE TABLE heap (id int PRIMARY KEY); INSERT INTO heap VALUES (2), (1); SELECT id FROM heap",
        [[(2,), (1,)]],
    ),
    "`datetime2(7)`, `time(7)`": (
        "SELECT CAST('00:00:00.0000019' AS time(7))",
        [[(datetime.time(microsecond=2),)]],
    ),
    "`REGEXP_LIKE` with the flag i": "test_case_is_folded_but_for_two_letters",
    "`FORMAT`": (
        "SELECT FORMAT(1234.5, 'N2'), FORMAT(CAST('2020-01-02' AS date), 'yyyy/MM/dd')",
        [[("1,234.50", "2020/01/02")]],
    ),
    "`GETDATE()` and its like": ("SELECT DATEDIFF(minute, GETUTCDATE(), GETDATE())", [[(0,)]]),
    "text of XML": ('SELECT CAST(\'<?xml version="1.0"?><a  b="1" ></a>\' AS xml)', [[('<a  b="1" ></a>',)]]),
    "READ COMMITTED": (
        "SELECT is_read_committed_snapshot_on FROM sys.databases WHERE name = DB_NAME()",
        [[(True,)]],
    ),
    "REPEATABLE READ, SERIALIZABLE": "test_a_serializable_conflict_ends_the_later_transaction_with_1205",
    "DEADLOCK_PRIORITY": (
        "SET DEADLOCK_PRIORITY HIGH; "
        "SELECT deadlock_priority FROM sys.dm_exec_sessions WHERE session_id = @@SPID",
        [[(5,)]],
    ),
    "isolation level changed inside a transaction": (
        "BEGIN TRAN; SELECT COUNT(*) FROM thing; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; "
        "SELECT transaction_isolation_level FROM sys.dm_exec_sessions WHERE session_id = @@SPID; "
        "COMMIT; BEGIN TRAN; "
        "SELECT transaction_isolation_level FROM sys.dm_exec_sessions WHERE session_id = @@SPID; COMMIT",
        [[(2,)], [(2,)], [(4,)]],
    ),
    "computed columns without PERSISTED": (
        "CREATE TABLE zero (a int, b AS (1 / a)); INSERT INTO zero VALUES (0)",
        [8134],
    ),
    "a sequence that a statement names twice": (
        "CREATE SEQUENCE two; ALTER SEQUENCE two RESTART WITH 1; "
        "SELECT NEXT VALUE FOR two, NEXT VALUE FOR two",
        [[(1, 2)]],
    ),
    "table variables": (
        "DECLARE @t TABLE (a int); BEGIN TRAN; INSERT INTO @t VALUES (1); ROLLBACK; SELECT COUNT(*) FROM @t",
        [[(0,)]],
    ),
    "a temporary table that a procedure, EXEC or a parameterised statement makes": (
        "EXEC ('CREATE TABLE #inner (a int)'); SELECT a FROM #inner; DROP TABLE #inner",
        [[]],
    ),
    "STATISTICS XML": "test_a_change_under_statistics_xml_happens_once",
    "LAST_QUERY_PLAN_STATS = ON": "test_keeping_last_plans_changes_no_answer",
    "plan costs, log and I/O figures": "test_an_actual_plan_counts_rows_and_comes_after_the_statements_own_rows",
    "STATISTICS IO": "test_a_scan_reads_each_page_of_the_table_once",
    "SHOWPLAN of a key lookup": "test_operators_have_sql_servers_names",
    "sessions": ("SELECT @@MAX_CONNECTIONS", [[(970,)]]),
    "names": (
        f"CREATE TABLE {'n' * 128} (a int); SELECT LEN(name) FROM sys.tables WHERE name LIKE 'nnn%'; "
        f"EXEC ('CREATE TABLE {'n' * 129} (a int)')",
        [[(128,)], 103],
    ),
    "a view on a table that is dropped": (
        "CREATE TABLE below (a int); EXEC ('CREATE VIEW above AS SELECT a FROM below'); DROP TABLE below",
        [40000],
    ),
    "a value of `sql_variant`": ("SELECT CAST(CAST(5 AS int) AS sql_variant)", [[("5",)]]),
    "U+0000 in text": ("SELECT NCHAR(0)", [40000]),
    "another version of the stand-in on old data": "test_another_version_starts_afresh",
}


def rows_of(section: str, first_cell: str) -> dict[str, str]:
    """The second cells of a section's tables by their first, of those tables whose header begins so."""
    body = README.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    found: dict[str, str] = {}
    for table in re.findall(r"(?:^\|.*\n)+", body, re.MULTILINE):
        lines = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines()]
        if lines[0][0] == first_cell:
            found.update({cells[0]: cells[1] for cells in lines[2:]})
    return found


def items_of(cell: str) -> set[str]:
    """The items of a list in a cell; what is in parentheses belongs to its item."""
    return set(re.split(r"(?:, | and (?=CUBE))(?![^(]*\))|; ", cell))


@pytest.fixture(scope="module")
def database() -> Iterator[Client]:
    with new_database() as client:
        yield client


@pytest.fixture
def client(database: Client) -> Iterator[Client]:
    database.events(
        "CREATE TABLE thing (id int PRIMARY KEY, n int DEFAULT 5); INSERT INTO thing VALUES (1, 1), (2, 2)"
    )
    name = database.session.database
    yield database
    database.session.reset()
    database.events(f"USE {name}; DROP VIEW IF EXISTS shown; DROP TABLE thing")


def hold(client: Client, claim: Claim) -> None:
    if isinstance(claim, str):
        assert any(f"def {claim}(" in file.read_text("utf-8") for file in HERE.glob("test_*.py")), claim
    else:
        sql, expected = claim
        assert answers(client, sql) == expected


def test_each_row_of_the_wire_is_held() -> None:
    assert set(rows_of("The wire", "part of TDS")) | set(rows_of("The wire", "what")) == set(WIRE)


def test_each_area_and_each_of_its_items_is_held() -> None:
    areas = rows_of("T-SQL", "area") | rows_of("The engine", "area")
    assert {area: items_of(cell) for area, cell in areas.items()} == {
        area: set(claims) for area, claims in SUPPORTED.items()
    }


def test_each_difference_is_held() -> None:
    assert set(rows_of("T-SQL", "what")) | set(rows_of("The engine", "what")) == set(DIFFERENT)


@pytest.mark.parametrize("row", WIRE)
def test_the_wire_does_what_its_row_says(client: Client, row: str) -> None:
    hold(client, WIRE[row])


@pytest.mark.parametrize(
    ("area", "item"), [(area, item) for area, claims in SUPPORTED.items() for item in claims]
)
def test_what_is_listed_as_supported_is(client: Client, area: str, item: str) -> None:
    hold(client, SUPPORTED[area][item])


@pytest.mark.parametrize("row", DIFFERENT)
def test_what_is_listed_as_different_differs_as_it_says(client: Client, row: str) -> None:
    hold(client, DIFFERENT[row])
