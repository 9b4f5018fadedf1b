"""What Microsoft's documentation says of the statements that issue 4 names, asked through Microsoft's driver.

Each row is a batch and what it answers in order: rows, the numbers of messages, and the number of the error that ends
it. Rows of one group share a database and are run in their order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from itertools import zip_longest
from typing import Any

import pytest

from mssql.odbc import pyodbc
from sqlserver_standin import StandIn
from tests.sqlserver_standin.wire_support import driver_path

pytestmark = pytest.mark.standin

CAUTION = 15477
DBCC_DONE = 2528

GROUPS: dict[str, list[tuple[str, list[Any]]]] = {
    "procedures": [
        ("CREATE PROCEDURE dbo.add_up @a int, @b int = 5, @sum int OUTPUT AS SET @sum = @a + @b; RETURN 7", []),
        ("DECLARE @s int, @r int; EXEC @r = dbo.add_up 1, @sum = @s OUTPUT; SELECT @s, @r", [[(6, 7)]]),
        ("DECLARE @s int; EXEC dbo.add_up @b = 2, @a = 1, @sum = @s OUTPUT; SELECT @s", [[(3,)]]),
        ("EXEC dbo.add_up", [201]),
        ("EXEC dbo.add_up 1, 2, 3, 4", [8144]),
        ("EXEC dbo.add_up @nope = 1", [8145]),
        ("CREATE PROCEDURE bare AS SELECT 1", []),
        ("EXEC bare 1", [8146]),
        ("EXEC nowhere", [2812]),
        ("CREATE PROCEDURE bare AS SELECT 2", [2714]),
        ("CREATE PROCEDURE down @n int AS IF @n > 0 BEGIN SET @n -= 1; EXEC down @n END ELSE SELECT @@NESTLEVEL", []),
        ("EXEC down 3", [[(4,)]]),
        ("EXEC down 40", [217]),
        ("CREATE PROCEDURE opens AS BEGIN TRANSACTION", []),
        ("EXEC opens", [266]),
        ("ROLLBACK; SELECT @@TRANCOUNT", [[(0,)]]),
        ("CREATE PROCEDURE twice @a int AS DECLARE @A int", [134]),
    ],
    "control of flow": [
        ("DECLARE @i int = 0; WHILE @i < 4 BEGIN SET @i += 1; IF @i = 2 CONTINUE; IF @i = 4 BREAK; SELECT @i END",
         [[(1,)], [(3,)]]),
        ("DECLARE @i int = 0; WHILE @i < 2 BEGIN DECLARE @x int = @i; SET @i += 1; SELECT @x END", [[(0,)], [(1,)]]),
        ("DECLARE @a int = 1; DECLARE @A int", [134]),
        ("BEGIN TRY SELECT 1 / 0 END TRY BEGIN CATCH SELECT ERROR_NUMBER(), ERROR_SEVERITY(), ERROR_STATE() END CATCH",
         [[(8134, 16, 1)]]),
        ("BEGIN TRY THROW 50010, 'first', 3 END TRY BEGIN CATCH SELECT ERROR_STATE(); THROW END CATCH",
         [[(3,)], 50010]),
        ("THROW 49999, 'too low', 1", [35100]),
        ("THROW", [10704]),
        ("RAISERROR('to %s with %d', 16, 1, 'you', 7)", [50000]),
        ("RAISERROR('only said', 10, 1)", [50000]),
        ("RAISERROR('fatal', 20, 1)", [2754]),
        ("BREAK", [135]),
    ],
    "identity": [
        ("CREATE TABLE t (id int IDENTITY(10, 5) PRIMARY KEY, n int); CREATE TABLE plain (n int)", []),
        ("INSERT INTO t (n) VALUES (1), (2); SELECT id FROM t; SELECT SCOPE_IDENTITY(), @@IDENTITY, IDENT_CURRENT('t')",
         [[(10,), (15,)], [(Decimal(15), Decimal(15), Decimal(15))]]),
        ("INSERT INTO t (id, n) VALUES (1, 1)", [544]),
        ("INSERT INTO t VALUES (1, 1)", [8101]),
        ("SET IDENTITY_INSERT t ON; INSERT INTO t VALUES (1, 1)", [8101]),
        ("INSERT INTO t (n) VALUES (1)", [545]),
        ("INSERT INTO t (id, n) VALUES (100, 1); SET IDENTITY_INSERT t OFF; INSERT INTO t (n) VALUES (1); "
         "SELECT MAX(id) FROM t", [[(105,)]]),
        ("UPDATE t SET id = 1", [8102]),
        ("SET IDENTITY_INSERT plain ON", [8106]),
        ("CREATE TABLE u (id int IDENTITY); SET IDENTITY_INSERT u ON; SET IDENTITY_INSERT t ON", [8107]),
        ("SET IDENTITY_INSERT u OFF; SET IDENTITY_INSERT nowhere ON", [1088]),
        ("DBCC CHECKIDENT ('t', NORESEED)", [7998, DBCC_DONE]),
        ("DBCC CHECKIDENT ('t', RESEED, 200); INSERT INTO t (n) VALUES (1); SELECT MAX(id) FROM t",
         [7989, DBCC_DONE, [(205,)]]),
        ("DBCC CHECKIDENT ('u', RESEED, 7) WITH NO_INFOMSGS; INSERT INTO u DEFAULT VALUES; SELECT id FROM u", [[(7,)]]),
        ("DBCC CHECKIDENT ('plain')", [7997]),
        ("DBCC CHECKIDENT ('nowhere')", [2501]),
        ("ALTER TABLE t ADD other int IDENTITY", [2744]),
        ("CREATE TABLE bad (v nvarchar(5) IDENTITY)", [2749]),
    ],
    "constraints, indexes and computed columns": [
        ("CREATE TABLE t (id int PRIMARY KEY, u int UNIQUE, n int, c AS (n * 2) PERSISTED, d AS (n + 1))", []),
        ("INSERT INTO t (id, n) VALUES (1, 5); INSERT INTO t VALUES (2, 1, 3); SELECT c, d FROM t ORDER BY c DESC",
         [[(10, 6), (6, 4)]]),
        ("INSERT INTO t (id, n) VALUES (3, 1)", [2627]),
        ("INSERT INTO t (id, n, c) VALUES (4, 1, 1)", [271]),
        ("UPDATE t SET d = 1", [271]),
        ("SELECT name, definition, is_persisted FROM sys.computed_columns ORDER BY name",
         [[("c", "([n]*(2))", True), ("d", "([n]+(1))", False)]]),
        ("CREATE UNIQUE INDEX big ON t (n) WHERE n > 4; INSERT INTO t (id, u, n) VALUES (5, 5, 3)", []),
        ("INSERT INTO t (id, u, n) VALUES (6, 6, 5)", [2601]),
        ("SELECT filter_definition FROM sys.indexes WHERE name = 'big'", [[("([n]>(4))",)]]),
        ("ALTER TABLE t DROP COLUMN n", [5074]),
        ("CREATE TABLE bad (a int, b AS (GETDATE()) PERSISTED)", [4936]),
    ],
    "session state": [
        ("SELECT CONTEXT_INFO() WHERE SESSION_CONTEXT(N'k') IS NULL", [[(None,)]]),
        ("SET CONTEXT_INFO 0x0102; SELECT CAST(CONTEXT_INFO() AS varbinary(3)), DATALENGTH(CONTEXT_INFO())",
         [[(b"\x01\x02\x00", 128)]]),
        ("EXEC sp_set_session_context N'k', N'v', @read_only = 1; SELECT SESSION_CONTEXT(N'K')", [[("v",)]]),
        ("EXEC sp_set_session_context N'k', N'w'", [15664]),
        ("EXEC sp_set_session_context @key = N'free', @value = 1; EXEC sp_set_session_context N'free', NULL; "
         "SELECT 1 WHERE SESSION_CONTEXT(N'free') IS NULL", [[(1,)]]),
    ],
    "MERGE, OUTPUT and triggers": [
        ("CREATE TABLE m (id int PRIMARY KEY, v int); INSERT INTO m VALUES (1, 1), (2, 2)", []),
        ("MERGE m USING (VALUES (1, 5), (1, 6)) AS s (id, v) ON m.id = s.id WHEN MATCHED THEN UPDATE SET v = s.v;",
         [8672]),
        ("MERGE m USING (VALUES (1, 5), (3, 3)) AS s (id, v) ON m.id = s.id WHEN MATCHED THEN UPDATE SET v = s.v "
         "WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.v) WHEN NOT MATCHED BY SOURCE THEN DELETE "
         "OUTPUT $action, inserted.id, deleted.v;",
         [{("UPDATE", 1, 1), ("INSERT", 3, None), ("DELETE", None, 2)}]),
        ("CREATE TABLE seen (what nvarchar(10), id int)", []),
        ("CREATE TRIGGER m_changed ON m AFTER INSERT, UPDATE AS BEGIN SET NOCOUNT ON; "
         "IF UPDATE(v) INSERT INTO seen SELECT N'v', id FROM inserted; "
         "IF UPDATE(id) INSERT INTO seen SELECT N'id', id FROM inserted END", []),
        ("INSERT INTO m VALUES (9, 9); UPDATE m SET v = 0 WHERE id = 9; SELECT what FROM seen",
         [[("v",), ("id",), ("v",)]]),
        ("INSERT INTO m OUTPUT inserted.id VALUES (10, 1)", [334]),
        ("DECLARE @new TABLE (id int); INSERT INTO m OUTPUT inserted.id INTO @new VALUES (11, 1); SELECT id FROM @new",
         [[(11,)]]),
        ("CREATE TRIGGER m_kept ON m AFTER DELETE AS BEGIN RAISERROR('kept', 16, 1); ROLLBACK END", []),
        ("DELETE FROM m", [50000]),
        ("SELECT COUNT(*) FROM m", [[(4,)]]),
        ("DISABLE TRIGGER m_kept ON m; DELETE FROM m WHERE id = 9; SELECT COUNT(*) FROM m", [[(3,)]]),
    ],
    "what the grammar refuses": [
        ("CREATE TABLE m (id int PRIMARY KEY, v int)", []),
        ("MERGE m USING (VALUES (1, 5)) AS s (id, v) ON m.id = s.id WHEN MATCHED THEN DELETE", [10713]),
        ("CREATE INDEX bad ON m (v) WHERE v > (SELECT 1)", [1046]),
    ],
    "sp_rename": [
        ("CREATE TABLE a (id int CONSTRAINT pk_a PRIMARY KEY, v int CONSTRAINT df_v DEFAULT 5, "
         "CONSTRAINT ck_v CHECK (v > 0)); CREATE TABLE b (id int, CONSTRAINT fk_b FOREIGN KEY (id) REFERENCES a (id)); "
         "CREATE INDEX ix_v ON a (v); CREATE SEQUENCE sq START WITH 5", []),
        ("CREATE VIEW w AS SELECT v FROM a", []),
        ("CREATE PROCEDURE p AS SELECT 1", []),
        ("CREATE TRIGGER tr ON b AFTER INSERT, UPDATE AS SELECT 1", []),
        ("EXEC sp_rename 'pk_a', 'pk_2', 'OBJECT'; EXEC sp_rename 'df_v', 'df_2'; EXEC sp_rename 'ck_v', 'ck_2'; "
         "EXEC sp_rename 'fk_b', 'fk_2'; EXEC sp_rename 'w', 'w2'; EXEC sp_rename 'p', 'p2'; "
         "EXEC sp_rename 'tr', 'tr2'; EXEC sp_rename 'sq', 'sq2'", [CAUTION] * 8),
        ("SELECT name FROM sys.objects WHERE schema_id = SCHEMA_ID('dbo') ORDER BY name",
         [[("a",), ("b",), ("ck_2",), ("df_2",), ("fk_2",), ("p2",), ("pk_2",), ("sq2",), ("tr2",), ("w2",)]]),
        ("EXEC p2; SELECT NEXT VALUE FOR sq2; DROP TRIGGER tr2; DROP VIEW w2", [[(1,)], [(5,)]]),
        ("EXEC sp_rename N'dbo.a.ix_v', N'ix_2', N'INDEX'; EXEC sp_rename 'a.v', 'value', 'COLUMN'",
         [CAUTION, CAUTION]),
        ("SELECT value FROM a; EXEC sp_rename 'a', 'c'; SELECT value FROM c", [[], CAUTION, []]),
        ("EXEC sp_rename 'c.nope', 'x', 'COLUMN'", [15248]),
        ("EXEC sp_rename 'c.nope', 'x', 'INDEX'", [15248]),
        ("EXEC sp_rename 'nope', 'x'", [15225]),
        ("EXEC sp_rename 'c', 'b'", [15335]),
        ("EXEC sp_rename 'c.id', 'value', 'COLUMN'", [15335]),
    ],
    "extended properties": [
        ("CREATE TABLE t (id int, n int)", []),
        ("EXEC sp_addextendedproperty N'MS_Description', N'of n', N'SCHEMA', N'dbo', N'TABLE', N't', N'COLUMN', N'n'",
         []),
        ("SELECT name, value, class, minor_id FROM sys.extended_properties", [[("MS_Description", "of n", 1, 2)]]),
        ("EXEC sp_addextendedproperty N'MS_Description', N'x', N'SCHEMA', N'dbo', N'TABLE', N't', N'COLUMN', N'n'",
         [15233]),
        ("EXEC sp_updateextendedproperty N'MS_Description', N'y', N'SCHEMA', N'dbo', N'TABLE', N't', N'COLUMN', N'n'; "
         "SELECT value FROM sys.extended_properties", [[("y",)]]),
        ("EXEC sp_updateextendedproperty N'MS_Description', N'y', N'SCHEMA', N'dbo', N'TABLE', N't'", [15217]),
        ("EXEC sp_addextendedproperty N'x', N'y', N'SCHEMA', N'dbo', N'TABLE', N'nowhere'", [15135]),
        ("EXEC sp_dropextendedproperty N'MS_Description', N'SCHEMA', N'dbo', N'TABLE', N't', N'COLUMN', N'n'; "
         "SELECT COUNT(*) FROM sys.extended_properties", [[(0,)]]),
    ],
    "transactions": [
        ("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)", []),
        ("BEGIN TRANSACTION; BEGIN TRANSACTION; SELECT @@TRANCOUNT, XACT_STATE(); COMMIT; SELECT @@TRANCOUNT; "
         "ROLLBACK; SELECT @@TRANCOUNT, XACT_STATE()", [[(2, 1)], [(1,)], [(0, 0)]]),
        ("BEGIN TRANSACTION; SAVE TRANSACTION s; INSERT INTO t VALUES (2); ROLLBACK TRANSACTION s; COMMIT; "
         "SELECT COUNT(*) FROM t", [[(1,)]]),
        ("COMMIT", [3902]),
        ("ROLLBACK", [3903]),
        ("SAVE TRANSACTION s", [628]),
        ("BEGIN TRANSACTION; ROLLBACK TRANSACTION nowhere", [6401]),
        ("ROLLBACK; SET XACT_ABORT ON; BEGIN TRANSACTION; INSERT INTO t VALUES (1)", [2627]),
        ("SET XACT_ABORT OFF; SELECT @@TRANCOUNT", [[(0,)]]),
        ("BEGIN TRANSACTION; INSERT INTO t VALUES (3); INSERT INTO t VALUES (1)", [2627]),
        ("SELECT @@TRANCOUNT, XACT_STATE(); COMMIT; SELECT COUNT(*) FROM t", [[(1, 1)], [(2,)]]),
        ("BEGIN TRANSACTION; BEGIN TRY SELECT CAST('x' AS int) END TRY "
         "BEGIN CATCH SELECT XACT_STATE(); INSERT INTO t VALUES (7) END CATCH", [[(-1,)], 3930]),
        ("BEGIN TRANSACTION; BEGIN TRY SELECT CAST('x' AS int) END TRY BEGIN CATCH SELECT XACT_STATE() END CATCH",
         [[(-1,)], 3998]),
        ("SELECT @@TRANCOUNT", [[(0,)]]),
        ("SET IMPLICIT_TRANSACTIONS ON; SELECT COUNT(*) FROM t; SELECT @@TRANCOUNT; ROLLBACK; "
         "SET IMPLICIT_TRANSACTIONS OFF; SELECT @@TRANCOUNT", [[(2,)], [(1,)], [(0,)]]),
        ("SET TRANSACTION ISOLATION LEVEL SNAPSHOT; SELECT COUNT(*) FROM t", [3952]),
    ],
    "table variables and temporary tables": [
        ("DECLARE @t TABLE (id int IDENTITY PRIMARY KEY, v nvarchar(5) DEFAULT N'x'); "
         "INSERT INTO @t (v) OUTPUT inserted.id, inserted.v VALUES (N'a'), (DEFAULT); UPDATE @t SET v += N'!'; "
         "SELECT v FROM @t", [[(1, "a"), (2, "x")], [("a!",), ("x!",)]]),
        ("SELECT * FROM @nowhere", [1087]),
        ("CREATE TABLE #t (a int); CREATE TABLE #t (a int)", [2714]),
        ("SELECT COUNT(*) FROM #t; DROP TABLE #t; SELECT * FROM #t", [[(0,)], 208]),
        ("SELECT 1 AS a, N'x' AS b INTO #made; SELECT a, b FROM #made", [[(1, "x")]]),
    ],
}  # fmt: skip


def connect(standin: StandIn, database: str) -> pyodbc.Connection:
    text = f"Server={standin.host},{standin.port};UID={standin.user};PWD={standin.password};Encrypt=no"
    return pyodbc.connect(f"Driver={driver_path()};{text};Database={database}", autocommit=True)


def number_of(message: str) -> int:
    """The server's number at the end of a message of the driver."""
    return int(re.findall(r"\((\d+)\)", message)[-1])


def answers(cursor: pyodbc.Cursor, sql: str) -> list[Any]:
    found: list[Any] = []
    try:
        cursor.execute(sql)
        while True:
            found.extend(number_of(kind) for kind, _ in cursor.messages)
            if cursor.description:
                found.append([tuple(row) for row in cursor.fetchall()])
            if not cursor.nextset():
                return found
    except pyodbc.Error as error:
        return [*found, number_of(str(error.args[1]).partition(") (SQL")[0] + ")")]


@pytest.fixture(params=GROUPS)
def cursor(request: pytest.FixtureRequest, standin: StandIn) -> Iterator[pyodbc.Cursor]:
    name = "documented_" + re.sub(r"\W", "_", request.param)
    master = connect(standin, "master")
    master.execute(f"CREATE DATABASE {name}")
    connection = connect(standin, name)
    try:
        yield connection.cursor()
    finally:
        connection.close()
        master.execute(f"ALTER DATABASE {name} SET SINGLE_USER WITH ROLLBACK IMMEDIATE; DROP DATABASE {name}")
        master.close()


def test_a_batch_answers_as_documented(cursor: pyodbc.Cursor, request: pytest.FixtureRequest) -> None:
    group = request.node.callspec.params["cursor"]
    for sql, expected in GROUPS[group]:
        found = answers(cursor, sql)
        # A set: rows that come in no order.
        found = [set(one) if isinstance(other, set) else one for one, other in zip_longest(found, expected)]
        assert found == expected, sql
