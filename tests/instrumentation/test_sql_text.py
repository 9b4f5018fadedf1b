"""Summary and sanitised text: the convention's own cases, T-SQL's ground, and literals planted at random."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mssql.instrumentation.sql_text import SUMMARY_LIMIT, TEXT_LIMIT, describe

CASES = Path(__file__).parent.parent / "fixtures" / "otel" / "db-sql-test-cases.json"


@pytest.mark.parametrize("case", json.loads(CASES.read_text("utf-8")), ids=lambda case: case["name"])
def test_the_convention_s_own_cases(case: dict[str, Any]) -> None:
    described = describe(case["input"]["query"])
    assert described.text in case["expected"]["db.query.text"]
    assert described.summary == case["expected"]["db.query.summary"]


@pytest.mark.parametrize(
    ("sql", "summary"),
    [
        ("SELECT *\nFROM wuser_table\nWHERE username = ?", "SELECT wuser_table"),
        (
            "INSERT INTO shipping_details (order_id, address) SELECT order_id, address FROM orders WHERE order_id = ?",
            "INSERT shipping_details SELECT orders",
        ),
        ("SELECT * FROM songs, artists WHERE songs.artist_id == artists.id", "SELECT songs artists"),
        (
            "SELECT order_date FROM (SELECT * FROM orders o JOIN customers c ON 1=1)",
            "SELECT SELECT orders customers",
        ),
        # The prose has 'artists' as a second target. In T-SQL it is a string, never a table: it stays out.
        ("SELECT * FROM \"song list\", 'artists'", 'SELECT "song list"'),
    ],
)
def test_the_examples_in_the_convention_s_prose(sql: str, summary: str) -> None:
    assert describe(sql).summary == summary


@pytest.mark.parametrize(
    ("sql", "summary"),
    [
        # what Django's ORM sends
        ("SELECT TOP 21 [app_book].[id] FROM [app_book] WHERE [app_book].[id] = ?", "SELECT [app_book]"),
        ("SELECT COUNT_BIG(*) FROM [dbo].[a] INNER JOIN [b] ON ([a].[x] = [b].[y])", "SELECT [dbo].[a] [b]"),
        ("INSERT INTO [t] ([a]) OUTPUT INSERTED.[id] VALUES (?), (?)", "INSERT [t]"),
        ("SET IDENTITY_INSERT [t] ON; INSERT INTO [t] ([id]) VALUES (?); SET IDENTITY_INSERT [t] OFF", "INSERT [t]"),
        ("UPDATE [t] SET [a] = ? WHERE [t].[id] IN (SELECT U0.[id] FROM [u] U0)", "UPDATE [t] SELECT [u]"),
        ("DELETE FROM [t] WHERE [id] IN (SELECT [value] FROM OPENJSON(?) WITH ([value] bigint '$'))", "DELETE [t]"),
        ("SAVE TRANSACTION s1234_x1", "SAVE TRANSACTION"),
        ("IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION", "ROLLBACK TRANSACTION"),
        ("BEGIN TRANSACTION", "BEGIN TRANSACTION"),
        ("COMMIT", "COMMIT"),
        ("SET NOCOUNT ON", "SET"),
        ("INSERT INTO [t] ([a]) VALUES (?); SELECT CAST(SCOPE_IDENTITY() AS bigint)", "INSERT [t]"),
        ("DECLARE @r TABLE (a int); MERGE t USING u ON 1=1; SELECT a FROM @r ORDER BY a", "MERGE t u"),
        ("SELECT 1 AS a; SELECT 2 AS b", "SELECT"),
        ("SELECT 1; SELECT * FROM t; SELECT (SELECT MAX(x) FROM u)", "SELECT SELECT t SELECT SELECT u"),
        # names
        ("SELECT * FROM [a]]b].[c d]", "SELECT [a]]b].[c d]"),
        ('SELECT * FROM "se""lect" AS s', 'SELECT "se""lect"'),
        ("SELECT * FROM [dbo] . [t]", "SELECT [dbo].[t]"),
        ("SELECT * FROM db..t", "SELECT db..t"),
        ("SELECT * FROM srv.db.dbo.t WITH (NOLOCK), u (NOLOCK)", "SELECT srv.db.dbo.t u"),
        ("SELECT * INTO #copy FROM [t]", "SELECT #copy [t]"),
        ("SELECT * FROM ##all JOIN @ids i ON 1=1", "SELECT ##all"),
        ("SELECT * FROM straße, 表", "SELECT straße 表"),
        ("SELECT [select], [from] FROM [join]", "SELECT [join]"),
        # comments
        ("/* one /* two */ still */ SELECT 1 FROM t -- FROM u", "SELECT t"),
        ("SELECT/**/a/**/FROM/**/t", "SELECT t"),
        ("-- DROP TABLE x\nSELECT * FROM t", "SELECT t"),
        # queries in queries
        ("WITH c AS (SELECT * FROM orders) SELECT * FROM c JOIN u ON 1=1", "SELECT orders SELECT c u"),
        ("WITH c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c", "SELECT c SELECT c"),
        ("SELECT * FROM (VALUES (1), (2)) AS v(x)", "SELECT"),
        ("SELECT * FROM (SELECT 1 AS a) q", "SELECT"),
        ("SELECT (SELECT MAX(x) FROM a), b FROM c", "SELECT SELECT a c"),
        ("SELECT * FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.x = a.x)", "SELECT a SELECT b"),
        ("SELECT * FROM a UNION ALL SELECT * FROM b EXCEPT SELECT * FROM c", "SELECT a b c"),
        ("(SELECT * FROM a) UNION (SELECT * FROM b)", "SELECT a b"),
        ("SELECT * FROM (a JOIN b ON 1=1) JOIN c ON 1=1", "SELECT a b c"),
        ("SELECT * FROM a CROSS APPLY (SELECT * FROM b) x OUTER APPLY dbo.f(a.y) s", "SELECT a SELECT b dbo.f"),
        ("SELECT * FROM a CROSS APPLY STRING_SPLIT(a.x, ',') OUTER APPLY a.doc.nodes('/i') n(i)", "SELECT a"),
        ("SELECT TRIM('x' FROM a), b FROM t WHERE a IS NOT DISTINCT FROM b", "SELECT t"),
        ("SELECT * FROM a FULL OUTER JOIN b ON a.x = b.x, c ORDER BY a.x, b.y", "SELECT a b c"),
        ("SELECT a FROM t FOR XML PATH(''), TYPE, ROOT('r')", "SELECT t"),
        ("SELECT a FROM t FOR SYSTEM_TIME AS OF '2024-01-01' AS x, u FOR JSON PATH, INCLUDE_NULL_VALUES", "SELECT t u"),
        ("SELECT * FROM {oj a LEFT OUTER JOIN b ON a.x = b.x}", "SELECT a b"),
        ("SELECT * FROM REGEXP_SPLIT_TO_TABLE('a,b', ',') CROSS JOIN t", "SELECT t"),
        ("SELECT * FROM t PIVOT (SUM(v) FOR k IN ([a], [b])) AS p", "SELECT t"),
        ("SELECT a FROM t GROUP BY a, b HAVING a > 1 ORDER BY a OFFSET 10 ROWS FETCH NEXT 5 ROWS ONLY", "SELECT t"),
        # writes
        ("UPDATE TOP (10) o SET x = 1 FROM orders AS o JOIN c ON c.id = o.c", "UPDATE orders c"),
        ("DELETE o FROM orders o JOIN c ON c.id = o.c", "DELETE orders c"),
        ("DELETE t FROM t WHERE x = 1", "DELETE t"),
        ("INSERT TOP (5) INTO t (a) OUTPUT inserted.a INTO @out SELECT a FROM u", "INSERT t SELECT u"),
        ("INSERT t DEFAULT VALUES", "INSERT t"),
        ("INSERT @t SELECT * FROM u; EXEC @p 1", "INSERT SELECT u EXEC"),
        ("INSERT t SELECT id FROM (DELETE FROM u OUTPUT deleted.id WHERE a = 1) d", "INSERT t SELECT DELETE u"),
        (
            "INSERT t SELECT id FROM (MERGE u USING v ON 1=1 WHEN MATCHED THEN DELETE OUTPUT deleted.id) m(id)",
            "INSERT t SELECT MERGE u v",
        ),
        ("INSERT INTO t EXEC dbo.fill 1", "INSERT t EXEC dbo.fill"),
        (
            "MERGE INTO [t] WITH (HOLDLOCK) AS x USING (VALUES (?)) AS s (a) ON x.a = s.a"
            " WHEN MATCHED THEN UPDATE SET b = 1 WHEN NOT MATCHED THEN INSERT (a) VALUES (s.a) OUTPUT inserted.id;",
            "MERGE [t]",
        ),
        ("MERGE t USING u ON t.a = u.a WHEN MATCHED THEN DELETE; SELECT * FROM v", "MERGE t u SELECT v"),
        # procedures
        ("EXEC dbo.p @a = 1, @b = N'x'", "EXEC dbo.p"),
        ("EXECUTE @rc = [dbo].[p] 1", "EXECUTE [dbo].[p]"),
        ("EXEC (N'SELECT * FROM secret')", "EXEC"),
        ("EXECUTE AS USER = 'sales'", "EXECUTE AS USER"),
        ("EXEC p UPDATE t SET a = 1", "EXEC p UPDATE t"),
        ("exec sp_executesql N'SELECT * FROM t WHERE a = @a', N'@a int', @a = 1", "exec sp_executesql"),
        ("{CALL dbo.p (?, ?)}", "CALL dbo.p"),
        ("{? = call p(?)}", "call p"),
        # definitions
        ("CREATE OR ALTER PROCEDURE dbo.p AS UPDATE t SET a = 1", "CREATE PROCEDURE dbo.p"),
        ("CREATE UNIQUE NONCLUSTERED INDEX [i] ON [t] ([a]) WHERE [a] IS NOT NULL", "CREATE INDEX [i]"),
        (
            "ALTER TABLE [a] ADD FOREIGN KEY ([b]) REFERENCES [c] ON DELETE CASCADE; CREATE TABLE [d] (x int)",
            "ALTER TABLE [a] CREATE TABLE [d]",
        ),
        ("DROP TABLE IF EXISTS a, [b]; DROP INDEX i ON t", "DROP TABLE a [b] DROP INDEX i"),
        ("IF OBJECT_ID(N't') IS NOT NULL DROP TABLE t", "DROP TABLE t"),
        ("CREATE VECTOR INDEX i ON t (v); CREATE FULLTEXT INDEX ON t (a) KEY INDEX pk", "CREATE INDEX i CREATE"),
        ("CREATE DATABASE SCOPED CREDENTIAL c WITH IDENTITY = 'x'; ALTER DATABASE scoped SET RECOVERY SIMPLE",
         "CREATE ALTER DATABASE scoped"),
        ("ALTER AUTHORIZATION ON SCHEMA::s TO novak; SELECT 1 FROM t", "ALTER SELECT t"),
        ("CREATE TRIGGER tr ON t AFTER INSERT, UPDATE AS IF UPDATE(a) DELETE FROM u", "CREATE TRIGGER tr"),
        ("CREATE SYMMETRIC KEY k WITH ALGORITHM = AES_256 ENCRYPTION BY PASSWORD = 'p'", "CREATE"),
        # the rest
        ("DECLARE @x int = 5; SELECT * FROM t WHERE a = @x", "SELECT t"),
        ("TRUNCATE TABLE t", "TRUNCATE TABLE t"),
        ("UPDATE STATISTICS t", "UPDATE STATISTICS t"),
        ("USE [shop]", "USE [shop]"),
        ("DBCC CHECKIDENT (N'[t]', RESEED, 5)", "DBCC CHECKIDENT"),
        ("GRANT SELECT ON t TO x; SELECT 1", "GRANT"),
        ("sp_who", "sp_who"),
        ("again: DELETE FROM t; GOTO again", "DELETE t"),
        ("[dbo].[fill] 1, @a; SELECT * FROM t", "[dbo].[fill] SELECT t"),
        ("", ""),
        ("   ;;  ", ""),
        ("?", ""),
    ],
)  # fmt: skip
def test_summary(sql: str, summary: str) -> None:
    assert describe(sql).summary == summary


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELECT N'O''Brien', n'x', ''", "SELECT ?, ?, ?"),
        ("SELECT 0xDEAD, 0x, 0XaB\\\r\ncd", "SELECT ?, ?, ?"),
        ("SELECT $1.5, -$2, £3, €4.00, $-5", "SELECT ?, ?, ?, ?, ?"),
        ("SELECT 1e5, 1.e-5, .5E+1, 1.", "SELECT ?, ?, ?, ?"),
        ("SELECT {ts '2024-01-02 03:04:05'}, {d'2024-01-02'}, {guid '0'}", "SELECT {ts ?}, {d?}, {guid ?}"),
        ("SELECT @p1, @@ROWCOUNT, ?, $action, #t.x", "SELECT @p1, @@ROWCOUNT, ?, $action, #t.x"),
        ("SELECT a-1, (b)-1, c -1, [d]+2", "SELECT a-?, (b)-?, c ?, [d]+?"),
        ("SELECT [it's], \"it's\", 'x' FROM [a]]'b]", "SELECT [it's], \"it's\", ? FROM [a]]'b]"),
        ("WHERE a IN (1, 2) AND b IN (?, ?) AND c IN (@a, 1)", "WHERE a IN (?) AND b IN (?) AND c IN (@a, ?)"),
        ("SELECT 1 WHERE a IN ((1), ('x')) OR b IN (SELECT 1, 2)", "SELECT ? WHERE a IN (?) OR b IN (SELECT ?, ?)"),
        ("SELECT /* 'secret' /* 5 */ */ 1 -- 'secret'", "SELECT  ? "),
        ("SELECT 1 /* never ended 'secret'", "SELECT ? "),
        ("SELECT 'never ended", "SELECT ?"),
        ("SELECT 'a' 'never ended", "SELECT ? ?"),
        ("SELECT [never ended 'secret'", "SELECT ?"),
        ('SELECT "never ended \'secret\'', "SELECT ?"),
        ("CREATE LOGIN [dom\\novak] FROM WINDOWS", "CREATE LOGIN [?] FROM WINDOWS"),
        ("CREATE USER novak FOR LOGIN jan WITH LANG = en", "CREATE USER ? FOR LOGIN ? WITH LANG = en"),
        ("ALTER USER \"novak\" WITH NAME = svoboda, LOGIN = jan", 'ALTER USER "?" WITH NAME = ?, LOGIN = ?'),
        ("CREATE USER novak WITHOUT LOGIN WITH LANG = en", "CREATE USER ? WITHOUT LOGIN WITH LANG = en"),
        ("ALTER LOGIN sa WITH PASSWORD = N'p' OLD_PASSWORD = 'q'", "ALTER LOGIN ? WITH PASSWORD = ? OLD_PASSWORD = ?"),
        ("EXEC sp_addlogin novak, secret, [shop]", "EXEC sp_addlogin ?, ?, [?]"),
        ('sp_addrolemember db_owner, "novak"', 'sp_addrolemember ?, "?"'),
        ("EXEC @r = dbo.p @a = secret, @b = @c OUT, @d = DEFAULT, ?, NULL SELECT a FROM t",
         "EXEC @r = dbo.p @a = ?, @b = @c OUT, @d = DEFAULT, ?, NULL SELECT a FROM t"),
        ("INSERT t EXEC p secret WITH RECOMPILE", "INSERT t EXEC p ? WITH RECOMPILE"),
        ("SELECT [user], login FROM [user]", "SELECT [user], login FROM [user]"),
    ],
)  # fmt: skip
def test_text(sql: str, text: str) -> None:
    assert describe(sql).text == text


@pytest.mark.parametrize(
    ("sql", "summary"),
    [
        ("SELECT * FROM " + ", ".join(f"[customer order {n}]" for n in range(50)), None),
        ("SELECT * FROM [" + "x y" * 90 + "], t", "SELECT"),
    ],
)
def test_a_long_summary_is_cut_between_names(sql: str, summary: str | None) -> None:
    described = describe(sql, "BATCH").summary
    assert described.startswith("BATCH SELECT")
    assert len(described) <= SUMMARY_LIMIT
    assert described.endswith("]") or described == f"BATCH {summary}"


def test_long_text_is_cut_and_stays_clean() -> None:
    sql = "SELECT * FROM t WHERE a IN (" + ", ".join(f"'canary{n}'" for n in range(20_000)) + ")"
    described = describe(sql)
    assert described.summary == "SELECT t"
    assert described.text.endswith("...")
    assert "canary" not in described.text


def test_a_name_that_the_cut_would_halve_is_left_out() -> None:
    sql = "SELECT * FROM t JOIN " + " " * (TEXT_LIMIT - 30) + "customer_orders"
    assert len(sql) > TEXT_LIMIT
    described = describe(sql)
    assert described.summary == "SELECT t"
    assert described.text.endswith("JOIN " + " " * (TEXT_LIMIT - 30) + "...")


@pytest.mark.parametrize(
    "piece",
    [
        "'",
        '"',
        "[",
        "]",
        "(",
        ")",
        "/*",
        "--",
        "N'",
        "0x",
        "1",
        "a.",
        "IN (",
        "SELECT (",
        "''",
        "FROM a,",
        "GRANT TO,",
        "p a,",
    ],
)
def test_time_grows_no_faster_than_the_text(piece: str) -> None:
    def seconds(length: int) -> float:
        sql = (piece * length)[:length]
        best = 1.0
        for attempt in range(6):
            started = time.thread_time()
            describe(sql + " " * attempt)  # another text each time: not from the cache
            best = min(best, time.thread_time() - started)
        return best

    # CPU time of sixteen times the text: 16-fold when linear, 256-fold when quadratic.
    assert seconds(TEXT_LIMIT - 8) < seconds(TEXT_LIMIT // 16) * 100


@given(st.text(max_size=200))
@example("\ud800[\udfff'")
@settings(max_examples=300, deadline=None)
def test_any_text_is_taken(sql: str) -> None:
    described = describe(sql)
    assert len(described.summary) <= SUMMARY_LIMIT
    assert described == describe(sql)


_FRAGMENTS = st.sampled_from(
    "SELECT INSERT UPDATE DELETE MERGE FROM JOIN WHERE IN EXEC CREATE TABLE LOGIN USER DROP SET VALUES UNION AS ON"
    " ( ) , ; . [ ] \" ' N' 0x /* */ -- ? @p [a b] #t 12 + - = * {ts } $ BEGIN TRAN END \n".split(" ")
)


@given(st.lists(_FRAGMENTS, max_size=40), st.sampled_from(["", " "]))
@settings(max_examples=500, deadline=None)
def test_any_broken_statement_is_taken(fragments: list[str], glue: str) -> None:
    sql = glue.join(fragments)
    assert len(describe(sql).summary) <= SUMMARY_LIMIT


_CANARY = "c4n4ry7f3"
_STRINGS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).map(
    lambda text: "'" + (text + _CANARY + text).replace("'", "''") + "'"
)
_DIGITS = "7391846205"
_LITERALS = st.one_of(
    _STRINGS,
    _STRINGS.map(lambda literal: "N" + literal),
    st.sampled_from(
        [_DIGITS, f"-{_DIGITS}", f"{_DIGITS}.{_DIGITS}", f".{_DIGITS}", f"{_DIGITS}e5", f"1e-{_DIGITS}", f"${_DIGITS}"]
    ),
    st.sampled_from([f"0x{_DIGITS}", f"0X{_DIGITS}aB", "{ts '" + _CANARY + "'}", "{guid'" + _CANARY + "'}"]),
)  # fmt: skip
_TEMPLATES = [
    "SELECT {} FROM t WHERE a = {} AND b IN ({}, {})",
    "SELECT * FROM t WHERE a={}AND b<{}",
    "INSERT INTO [t] ([a], [b]) VALUES ({}, {}), ({},{})",
    "UPDATE t SET a = a+{}, b = CASE WHEN c > {} THEN {} ELSE {} END",
    "EXEC dbo.p {}, @b = {}, @c={}, {}",
    "EXEC sp_executesql {}, {}, @a = {}; DELETE FROM t WHERE x BETWEEN {} AND 1",
    "DECLARE @x nvarchar(50) = {}; IF @x <> {} PRINT {} ELSE RAISERROR({}, 16, 1)",
    "CREATE LOGIN x WITH PASSWORD = {}; ALTER LOGIN y WITH PASSWORD = {} OLD_PASSWORD = {}, SID = {}",
    "MERGE t USING (VALUES ({}, {})) s(a, b) ON t.a = s.a WHEN MATCHED THEN UPDATE SET b = {} OUTPUT {};",
    "WITH c AS (SELECT {} AS a) SELECT TOP ({}) * FROM c CROSS APPLY OPENJSON({}, {}) j",
    "CREATE TABLE t (a int DEFAULT {}, b nvarchar(10) CHECK (b > {})); BULK INSERT t FROM {} WITH (ROWTERMINATOR = {})",
    "CREATE CREDENTIAL c WITH IDENTITY = {}, SECRET = {}; OPEN MASTER KEY DECRYPTION BY PASSWORD = {}; KILL {}",
    "SELECT {} /* {} */ + {} -- {}",
    "SELECT * FROM [a'b] JOIN \"c'd\" ON 1=1 WHERE x IN ({},{}) AND N'a' < {} OR {} = 0x",
]


@given(st.sampled_from(_TEMPLATES), st.lists(_LITERALS, min_size=4, max_size=4))
@settings(max_examples=1000, deadline=None)
def test_no_literal_survives(template: str, literals: list[str]) -> None:
    # A literal inside a comment may end the comment; what it then leaves is a statement of its own.
    if "/*" in template:
        literals = [re.sub(r"[*/\r\n-]", " ", literal) for literal in literals]
    described = describe(template.format(*literals))
    for told in described:
        assert _CANARY not in told
        assert _DIGITS not in told
