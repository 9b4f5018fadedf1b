"""A batch is compiled before it runs, except for statements on tables that are not there yet.

https://learn.microsoft.com/sql/t-sql/language-elements/try-catch-transact-sql#errors-unaffected-by-a-trycatch-construct
https://learn.microsoft.com/previous-versions/sql/sql-server-2008-r2/ms190686(v=sql.105) (deferred name resolution)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.sqlserver_standin.engine_support import answers, failure, new_database
from tests.sqlserver_standin.sql_support import Client

CATCH = "BEGIN CATCH SELECT ERROR_NUMBER(), ERROR_PROCEDURE() END CATCH"


@pytest.fixture(scope="module")
def database() -> Iterator[Client]:
    with new_database() as client:
        client.events("CREATE TABLE t (a int IDENTITY, b int)")
        client.events(
            "CREATE PROCEDURE finds_nothing AS PRINT 'in'; SELECT * FROM missing; PRINT 'not reached'"
        )
        yield client


@pytest.fixture
def client(database: Client) -> Iterator[Client]:
    yield database
    database.events(
        "IF @@TRANCOUNT > 0 ROLLBACK; SET XACT_ABORT OFF; SET IDENTITY_INSERT t OFF; TRUNCATE TABLE t; "
        "DROP TABLE IF EXISTS made, #made; ALTER TABLE t DROP COLUMN IF EXISTS c"
    )


BATCHES: list[tuple[str, list[Any]]] = [
    # None of the batch runs …
    ("PRINT 'before'; SELECT wrong FROM t", [207]),
    ("PRINT 'before'; IF 1 = 0 SELECT wrong FROM t", [207]),
    ("PRINT 'before'; WHILE 1 = 0 BEGIN SELECT a, COUNT(*) FROM t END", [8120]),
    ("PRINT 'before'; INSERT INTO t (b) VALUES (1, 2)", [110]),
    ("PRINT 'before'; SELECT @undeclared", [137]),
    ("ALTER TABLE t ADD c int; UPDATE t SET c = 1", [207]),
    # … and a TRY in it sees nothing.
    (f"BEGIN TRY PRINT 'before'; SELECT wrong FROM t END TRY {CATCH}", [207]),
    # A missing table is found when its statement runs, and ends the batch.
    ("PRINT 'before'; SELECT * FROM missing; PRINT 'after'", ["before", 208]),
    ("IF 1 = 0 SELECT * FROM missing; PRINT 'after'", ["after"]),
    (f"BEGIN TRY SELECT * FROM missing END TRY {CATCH}", [208]),
    ("CREATE TABLE made (x int); SELECT x FROM made; SELECT wrong FROM made; PRINT 'after'", [[], 207]),
    ("SELECT 1 AS x INTO #made; SELECT x FROM #made; DROP TABLE #made; SELECT x FROM #made", [[(1,)], 208]),
    ("DECLARE @v TABLE (x int); INSERT INTO @v OUTPUT inserted.x VALUES (1); SELECT wrong FROM @v", [[(1,)], 207]),
    ("CREATE TABLE made (x int); DELETE FROM t OUTPUT deleted.b INTO made (x); SELECT x FROM made", [[]]),
    # The scope around it catches it, or goes on.
    (f"BEGIN TRY EXEC ('SELECT * FROM missing') END TRY {CATCH}", [[(208, None)]]),
    (f"BEGIN TRY EXEC ('SELECT FROM') END TRY {CATCH}", [[(156, None)]]),
    (f"BEGIN TRY EXEC finds_nothing END TRY {CATCH}", ["in", [(208, "finds_nothing")]]),
    ("EXEC ('PRINT ''in''; SELECT * FROM missing; PRINT ''not reached'''); PRINT 'after'", ["in", 208, "after"]),
    ("EXEC ('SELECT FROM'); PRINT 'after'", [156, "after"]),
    ("EXEC finds_nothing; PRINT 'after'", ["in", 208, "after"]),
    ("ALTER TABLE t ADD c int; EXEC ('UPDATE t SET c = 1'); SELECT COUNT(*) FROM t", [[(0,)]]),
    # It does not end the transaction, unless XACT_ABORT is on.
    ("BEGIN TRAN; EXEC finds_nothing; SELECT @@TRANCOUNT", ["in", 208, [(1,)]]),
    ("SET XACT_ABORT ON; BEGIN TRAN; EXEC finds_nothing; PRINT 'not reached'", ["in", 208]),
    # What depends on the session's state is found when the statement runs.
    (f"BEGIN TRY INSERT INTO t (a) VALUES (1) END TRY {CATCH}", [[(544, None)]]),
    ("SET IDENTITY_INSERT t ON; INSERT INTO t (a) VALUES (7); SELECT a FROM t", [[(7,)]]),
    # A missing procedure ends its statement only.
    ("EXEC missing; PRINT 'after'", [2812, "after"]),
    (f"BEGIN TRY EXEC missing END TRY {CATCH}", [[(2812, None)]]),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "expected"), BATCHES, ids=[sql[:70] for sql, _ in BATCHES])
def test_a_batch_is_compiled_as_on_sql_server(client: Client, sql: str, expected: list[Any]) -> None:
    assert answers(client, sql) == expected


def test_use_changes_what_the_rest_of_the_batch_is_compiled_for(client: Client) -> None:
    name = client.session.database
    client.events(f"CREATE DATABASE {name}_2; USE {name}_2; CREATE TABLE t (other int); USE {name}")
    try:
        assert answers(client, f"USE {name}_2; SELECT other FROM t; USE {name}; SELECT b FROM t") == [[], []]
    finally:
        client.events(f"USE {name}; DROP DATABASE {name}_2")


def test_an_error_of_compilation_names_its_line_and_its_procedure(client: Client) -> None:
    assert failure(client, "PRINT 'x'\n\nSELECT wrong FROM t").line == 3
    client.events("CREATE PROCEDURE selects_wrong AS\nPRINT 'not reached'\nSELECT wrong FROM t")
    error = failure(client, "EXEC selects_wrong")
    assert (error.number, error.procedure, error.line) == (207, "selects_wrong", 3)
