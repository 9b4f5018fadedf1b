"""Queries and data statements end to end: what they answer, what they lock, what they refuse."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from sqlserver_standin.events import Done, Parameter, ResultSet, SqlError
from sqlserver_standin.tsql.parse import Parser
from sqlserver_standin.tsql.translate import Context
from sqlserver_standin.types import SqlType
from tests.sqlserver_standin.sql_support import Client, new_client


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    client = new_client()
    client.events(
        """
        DROP TABLE IF EXISTS line; DROP TABLE IF EXISTS product;
        CREATE TABLE product (id int IDENTITY PRIMARY KEY, name nvarchar(20) NOT NULL, price decimal(10, 2) NULL,
                              kind varchar(10) NULL, active bit NOT NULL DEFAULT 1, note nvarchar(max) NULL,
                              made date NULL);
        CREATE TABLE line (id int IDENTITY PRIMARY KEY, product_id int NULL, quantity int NOT NULL,
                           double_quantity AS (quantity * 2));
        """
    )
    yield client
    client.events("DROP TABLE line; DROP TABLE product")
    client.session.close()


@pytest.fixture(autouse=True)
def rows(client: Client) -> Iterator[None]:
    """Three products and three lines before each test; gone after it."""
    client.events(
        """
        BEGIN TRANSACTION;
        SET IDENTITY_INSERT product ON;
        INSERT INTO product (id, name, price, kind) VALUES (1, N'Apple', 1.50, 'fruit'), (2, N'banana', NULL, 'fruit'),
                                                           (3, N'Chair', 40, NULL);
        SET IDENTITY_INSERT product OFF;
        INSERT INTO line (product_id, quantity) VALUES (1, 5), (1, 7), (3, 1);
        """
    )
    yield
    client.events("IF @@TRANCOUNT > 0 ROLLBACK")


def test_names_resolve_in_any_case_and_keep_the_spelling_of_the_query(client: Client) -> None:
    (result,) = [
        e for e in client.events("SELECT NAME, [p].Price FROM DBO.Product AS P") if isinstance(e, ResultSet)
    ]
    assert [column.name for column in result.columns] == ["NAME", "Price"]


def test_nulls_sort_first(client: Client) -> None:
    assert client.rows("SELECT id FROM product ORDER BY price, id") == [(2,), (1,), (3,)]
    assert client.rows("SELECT id FROM product ORDER BY price DESC") == [(3,), (1,), (2,)]
    assert client.rows("SELECT ROW_NUMBER() OVER (ORDER BY price) FROM product WHERE id = 2") == [(1,)]


def test_text_sorts_and_groups_without_case(client: Client) -> None:
    assert client.rows("SELECT name FROM product ORDER BY name") == [("Apple",), ("banana",), ("Chair",)]
    client.events("INSERT INTO product (name) VALUES (N'APPLE ')")
    assert client.rows("SELECT COUNT(*) FROM product GROUP BY name HAVING COUNT(*) > 1") == [(2,)]
    assert client.value("SELECT COUNT(DISTINCT name) FROM product") == 3


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT TOP 1 id FROM product ORDER BY id DESC", [(3,)]),
        ("SELECT TOP (1 + 1) id FROM product ORDER BY id", [(1,), (2,)]),
        ("SELECT TOP 50 PERCENT id FROM product ORDER BY id", [(1,), (2,)]),
        ("SELECT TOP 1 WITH TIES kind FROM product WHERE kind IS NOT NULL ORDER BY kind", [("fruit",), ("fruit",)]),
        ("SELECT id FROM product ORDER BY id OFFSET 1 ROWS FETCH NEXT 1 ROWS ONLY", [(2,)]),
        ("SELECT id FROM product ORDER BY id OFFSET 2 ROWS", [(3,)]),
        ("SELECT p.id, l.quantity FROM product p LEFT JOIN line l ON l.product_id = p.id AND l.quantity > 5 ORDER BY 1",
         [(1, 7), (2, None), (3, None)]),
        ("SELECT p.id, x.total FROM product p OUTER APPLY (SELECT SUM(quantity) AS total FROM line "
         "WHERE product_id = p.id) x ORDER BY p.id", [(1, 12), (2, None), (3, 1)]),
        ("SELECT p.id, x.q FROM product p CROSS APPLY (SELECT TOP 1 quantity AS q FROM line "
         "WHERE product_id = p.id ORDER BY quantity DESC) x ORDER BY p.id", [(1, 7), (3, 1)]),
        ("SELECT g, COUNT(*) FROM product CROSS APPLY (SELECT LEN(name) AS g) AS x GROUP BY g ORDER BY g",
         [(5, 2), (6, 1)]),
        ("SELECT kind, COUNT(*) FROM product GROUP BY ROLLUP(kind) ORDER BY GROUPING(kind), kind",
         [(None, 1), ("fruit", 2), (None, 3)]),
        ("SELECT id FROM product EXCEPT SELECT product_id FROM line", [(2,)]),
        ("SELECT 1 UNION ALL SELECT 2.5 ORDER BY 1", [(Decimal("1.0"),), (Decimal("2.5"),)]),
        ("SELECT 'a' UNION SELECT N'A'", [("a",)]),
        ("SELECT id AS c FROM product UNION SELECT product_id FROM line ORDER BY id DESC", [(3,), (2,), (1,)]),
        ("SELECT 0 - id AS id, id AS c FROM product UNION SELECT 9, 9 ORDER BY id",
         [(-3, 3), (-2, 2), (-1, 1), (9, 9)]),
        ("SELECT NULL UNION ALL SELECT CAST('2020-01-01' AS date)", [(None,), (datetime.date(2020, 1, 1),)]),
        ("WITH n AS (SELECT 1 AS v UNION ALL SELECT v + 1 FROM n WHERE v < 4) SELECT SUM(v) FROM n", [(10,)]),
        ("WITH a(x) AS (SELECT id FROM product), b AS (SELECT x + 1 AS y FROM a) SELECT MAX(y) FROM b", [(4,)]),
        ("SELECT SUM(quantity) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM line ORDER BY id",
         [(5,), (12,), (8,)]),
        ("SELECT LAG(quantity, 1, 0) OVER (ORDER BY id) FROM line ORDER BY id", [(0,), (5,), (7,)]),
        ("SELECT AVG(quantity), SUM(quantity), COUNT(*) FROM line", [(4, 13, 3)]),
        ("SELECT AVG(price) FROM product", [(Decimal("20.750000"),)]),
        ("SELECT id FROM product WHERE price = '1.5'", [(1,)]),
        ("SELECT id FROM product WHERE active = 'true' AND id = '2'", [(2,)]),
        ("SELECT id FROM product WHERE made IS NULL AND id IN (SELECT [value] FROM OPENJSON('[1]') "
         "WITH ([value] bigint '$'))", [(1,)]),
        ("SELECT double_quantity FROM line WHERE quantity = 7", [(14,)]),
        ("SELECT product.* FROM product, line WHERE product.id = product_id AND quantity = 1",
         [(3, "Chair", Decimal("40.00"), None, True, None, None)]),
        ("SELECT DISTINCT kind FROM product ORDER BY kind DESC", [("fruit",), (None,)]),
        ("SELECT name FROM product ORDER BY CASE WHEN kind IS NULL THEN 0 ELSE 1 END, name",
         [("Chair",), ("Apple",), ("banana",)]),
        ("SELECT QUOTENAME(OBJECT_NAME(object_id)) + '.' + UPPER(name) FROM sys.columns "
         "WHERE object_id = OBJECT_ID('line') AND name = 'id'", [("[line].ID",)]),
        ("SELECT (SELECT MAX(quantity) FROM line WHERE product_id = product.id) FROM product WHERE id = 1", [(7,)]),
        ("SELECT id FROM product p WHERE EXISTS (SELECT 1 FROM line WHERE product_id = p.id AND quantity > 6)",
         [(1,)]),
    ],
)  # fmt: skip
def test_a_query_answers_as_on_sql_server(
    client: Client, sql: str, expected: list[tuple[object, ...]]
) -> None:
    assert client.rows(sql) == expected


# The texts are SQL Server's (sys.messages, language 1033).
REFUSALS = [
    ("SELECT nope FROM product", 207, "Invalid column name 'nope'."),
    ("SELECT p.nope FROM product p", 207, "Invalid column name 'nope'."),
    ("SELECT x.id FROM product p", 4104, 'The multi-part identifier "x.id" could not be bound.'),
    ("SELECT * FROM nope", 208, "Invalid object name 'nope'."),
    ("SELECT id FROM product, line", 209, "Ambiguous column name 'id'."),
    ("SELECT x.* FROM product", 107,
     "The column prefix 'x' does not match with a table name or alias name used in the query."),
    ("SELECT 1 FROM product a, line a", 1011,
     "The correlation name 'a' is specified multiple times in a FROM clause."),
    ("SELECT @nope", 137, 'Must declare the scalar variable "@nope".'),
    ("SELECT * FROM @nope", 1087, 'Must declare the table variable "@nope".'),
    ("SELECT name, COUNT(*) FROM product", 8120,
     "Column 'product.name' is invalid in the select list because it is not contained in either an aggregate function "
     "or the GROUP BY clause."),
    ("SELECT id, name FROM product GROUP BY id", 8120,
     "Column 'product.name' is invalid in the select list because it is not contained in either an aggregate function "
     "or the GROUP BY clause."),
    ("SELECT kind FROM product GROUP BY kind HAVING price > 1", 8121,
     "Column 'product.price' is invalid in the HAVING clause because it is not contained in either an aggregate "
     "function or the GROUP BY clause."),
    ("SELECT kind FROM product GROUP BY kind ORDER BY price", 8127,
     'Column "product.price" is invalid in the ORDER BY clause because it is not contained in either an aggregate '
     "function or the GROUP BY clause."),
    ("SELECT kind, (SELECT MAX(l.id) FROM line l WHERE l.id = p.id) FROM product p GROUP BY kind", 8120,
     "Column 'p.id' is invalid in the select list because it is not contained in either an aggregate function or the "
     "GROUP BY clause."),
    ("SELECT kind FROM product p GROUP BY kind HAVING EXISTS (SELECT 1 FROM line l WHERE l.id = p.id)", 8121,
     "Column 'p.id' is invalid in the HAVING clause because it is not contained in either an aggregate function or the "
     "GROUP BY clause."),
    ("SELECT kind FROM product p GROUP BY kind ORDER BY (SELECT MAX(l.id) FROM line l WHERE l.id = p.id)", 8127,
     'Column "p.id" is invalid in the ORDER BY clause because it is not contained in either an aggregate function or '
     "the GROUP BY clause."),
    ("SELECT id, (SELECT price) FROM product GROUP BY id", 8120,
     "Column 'product.price' is invalid in the select list because it is not contained in either an aggregate function "
     "or the GROUP BY clause."),
    ("SELECT kind, (SELECT SUM(p.price * l.id) FROM line l) FROM product p GROUP BY kind", 8124,
     "Multiple columns are specified in an aggregated expression containing an outer reference. If an expression being "
     "aggregated contains an outer reference, then that outer reference must be the only column referenced in the "
     "expression."),
    ("SELECT GROUPING(price) FROM product GROUP BY kind", 8161,
     "Argument 1 of the GROUPING function does not match any of the expressions in the GROUP BY clause."),
    ("SELECT 1 FROM product GROUP BY (SELECT 1)", 144,
     "Cannot use an aggregate or a subquery in an expression used for the group by list of a GROUP BY clause."),
    ("SELECT 1 FROM product GROUP BY 1", 164,
     "Each GROUP BY expression must contain at least one column that is not an outer reference."),
    ("SELECT 1 FROM product WHERE COUNT(*) > 1", 147,
     "An aggregate may not appear in the WHERE clause unless it is in a subquery contained in a HAVING clause or a "
     "select list, and the column being aggregated is an outer reference."),
    ("SELECT SUM((SELECT 1)) FROM product", 130,
     "Cannot perform an aggregate function on an expression containing an aggregate or a subquery."),
    ("SELECT MAX(COUNT(*)) FROM product", 130,
     "Cannot perform an aggregate function on an expression containing an aggregate or a subquery."),
    ("SELECT * FROM (SELECT id FROM product ORDER BY id) t", 1033,
     "The ORDER BY clause is invalid in views, inline functions, derived tables, subqueries, and common table "
     "expressions, unless TOP, OFFSET or FOR XML is also specified."),
    ("SELECT id FROM product ORDER BY id, name, id", 169,
     "A column has been specified more than once in the order by list. Columns in the order by list must be unique."),
    ("SELECT DISTINCT kind FROM product ORDER BY name", 145,
     "ORDER BY items must appear in the select list if SELECT DISTINCT is specified."),
    ("SELECT id FROM product UNION SELECT id FROM line ORDER BY LEN(id)", 104,
     "ORDER BY items must appear in the select list if the statement contains a UNION, INTERSECT or EXCEPT operator."),
    ("SELECT id FROM product ORDER BY 'x'", 408,
     "A constant expression was encountered in the ORDER BY list, position 1."),
    ("SELECT id FROM product ORDER BY 2", 108,
     "The ORDER BY position number 2 is out of range of the number of items in the select list."),
    ("SELECT TOP 1 id FROM product ORDER BY id OFFSET 0 ROWS", 10741,
     "A TOP can not be used in the same query or sub-query as a OFFSET."),
    ("SELECT id FROM product ORDER BY id OFFSET 0 ROWS FETCH NEXT 0 ROWS ONLY", 10744,
     "The number of rows provided for a FETCH clause must be greater then zero."),
    ("SELECT ROW_NUMBER() OVER (PARTITION BY id) FROM product", 4112,
     "The function 'ROW_NUMBER' must have an OVER clause with ORDER BY."),
    ("SELECT RANK() FROM product", 10753, "The function 'RANK' must have an OVER clause."),
    ("SELECT 1 FROM product WHERE ROW_NUMBER() OVER (ORDER BY id) = 1", 4108,
     "Windowed functions can only appear in the SELECT or ORDER BY clauses."),
    ("SELECT SUM(id) OVER (ORDER BY 1) FROM product", 5308,
     "Windowed functions, aggregates and NEXT VALUE FOR functions do not support integer indices as ORDER BY clause "
     "expressions."),
    ("SELECT 1 UNION SELECT 1, 2", 205,
     "All queries combined using a UNION, INTERSECT or EXCEPT operator must have an equal number of expressions in "
     "their target lists."),
    ("SELECT (SELECT 1, 2)", 116,
     "Only one expression can be specified in the select list when the subquery is not introduced with EXISTS."),
    ("SELECT * FROM (SELECT 1) t", 8155, "No column name was specified for column 1 of 't'."),
    ("SELECT * FROM (SELECT 1 AS a, 2 AS A) t", 8156, "The column 'A' was specified multiple times for 't'."),
    ("SELECT 1 WHERE CAST('x' AS text) = 'x'", 402,
     "The data types text and varchar are incompatible in the equal to operator."),
    ("SELECT 1 WHERE NEWID() = 1", 206, "Operand type clash: uniqueidentifier is incompatible with int"),
    ("SELECT 1 WHERE 'a' COLLATE Latin1_General_CS_AS = 'a' COLLATE Latin1_General_BIN2", 468,
     'Cannot resolve the collation conflict between "Latin1_General_BIN2" and "Latin1_General_CS_AS" in the equal to '
     "operation."),
    ("INSERT INTO product (name, nope) VALUES (N'x', 1)", 207, "Invalid column name 'nope'."),
    ("INSERT INTO product (id, name) VALUES (9, N'x')", 544,
     "Cannot insert explicit value for identity column in table 'product' when IDENTITY_INSERT is set to OFF."),
    ("INSERT INTO product (name) VALUES (N'x', 1)", 110,
     "There are fewer columns in the INSERT statement than values specified in the VALUES clause. The number of values "
     "in the VALUES clause must match the number of columns specified in the INSERT statement."),
    ("INSERT INTO product (name, kind) SELECT 'x'", 120,
     "The select list for the INSERT statement contains fewer items than the insert list. The number of SELECT values "
     "must match the number of INSERT columns."),
    ("INSERT INTO line VALUES (1)", 213,
     "Column name or number of supplied values does not match table definition."),
    ("INSERT INTO line (quantity, double_quantity) VALUES (1, 2)", 271,
     'The column "double_quantity" cannot be modified because it is either a computed column or is the result of a '
     "UNION operator."),
    ("UPDATE product SET id = 5", 8102, "Cannot update identity column 'id'."),
    ("UPDATE line SET quantity = COUNT(*)", 157,
     "An aggregate may not appear in the set list of an UPDATE statement."),
    ("INSERT INTO product (name) VALUES (REPLICATE(N'x', 21))", 2628,
     "String or binary data would be truncated in table 'master.dbo.product', column 'name'. Truncated value: "
     "'xxxxxxxxxxxxxxxxxxxx'."),
    ("UPDATE product SET price = 123456789", 8115, "Arithmetic overflow error converting int to data type numeric."),
    ("UPDATE product SET price = 'abc'", 8114, "Error converting data type varchar to numeric."),
    ("MERGE product AS t USING (VALUES (1), (1)) AS s (k) ON t.id = s.k WHEN MATCHED THEN UPDATE SET name = N'x';",
     8672,
     "The MERGE statement attempted to UPDATE or DELETE the same row more than once. This happens when a target row "
     "matches more than one source row. A MERGE statement cannot UPDATE/DELETE the same row of the target table "
     "multiple times. Refine the ON clause to ensure a target row matches at most one source row, or use the GROUP BY "
     "clause to group the source rows."),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "number", "text"), REFUSALS, ids=[row[0][:70] for row in REFUSALS])
def test_a_statement_is_refused_with_sql_servers_number_and_text(
    client: Client, sql: str, number: int, text: str
) -> None:
    assert client.error(sql) == (number, text)


def test_a_different_parameter_makes_a_different_group_expression(client: Client) -> None:
    """Why a backend may not repeat an expression with parameters in SELECT and GROUP BY."""
    sql = "SELECT quantity + @P1 FROM line GROUP BY quantity + @P2"
    parameters = (Parameter("@P1", SqlType("int"), 1), Parameter("@P2", SqlType("int"), 1))
    assert client.error(sql, *parameters)[0] == 8120
    assert len(client.rows("SELECT quantity + @P1 FROM line GROUP BY quantity + @P1", parameters[0])) == 3


def test_parameters_take_their_declared_types(client: Client) -> None:
    text = Parameter("@P1", SqlType("nvarchar", length=10), "APPLE")
    assert client.rows("SELECT id FROM product WHERE name = @P1", text) == [(1,)]
    number = Parameter("@P1", SqlType("decimal", precision=5, scale=2), Decimal("1.50"))
    assert client.rows("SELECT id FROM product WHERE price = @P1", number) == [(1,)]


def done_counts(client: Client, sql: str) -> list[int | None]:
    return [event.count for event in client.events(sql) if isinstance(event, Done)]


def test_insert_output_gives_the_new_rows_in_order(client: Client) -> None:
    sql = "INSERT INTO product (name) OUTPUT inserted.name, inserted.active VALUES (N'z'), (N'y'), (N'x')"
    assert client.rows(sql) == [("z", True), ("y", True), ("x", True)]


def test_output_into_fills_a_table_variable_and_counts_the_rows(client: Client) -> None:
    sql = """DECLARE @new TABLE (id int, name nvarchar(5));
             INSERT INTO product (name) OUTPUT inserted.id, inserted.name INTO @new VALUES (N'a'), (N'b');
             SELECT name FROM @new ORDER BY id"""
    assert client.rows(sql) == [("a",), ("b",)]
    assert done_counts(
        client,
        "DECLARE @n TABLE (id int); DELETE FROM line OUTPUT deleted.id INTO @n; SELECT COUNT(*) FROM @n",
    ) == [3, 1]


def test_insert_default_values(client: Client) -> None:
    client.events("CREATE TABLE #d (id int IDENTITY, v int DEFAULT 7); INSERT INTO #d DEFAULT VALUES")
    assert client.rows("SELECT * FROM #d") == [(1, 7)]
    client.events("DROP TABLE #d")


def test_update_sees_old_and_new_values(client: Client) -> None:
    sql = "UPDATE product SET price += 1 OUTPUT deleted.price, inserted.price WHERE id = 1"
    assert client.rows(sql) == [(Decimal("1.50"), Decimal("2.50"))]


def test_update_from_a_join(client: Client) -> None:
    client.events("UPDATE p SET p.note = N'sold', kind = 'q' + CAST(l.quantity AS varchar(5)) "
                  "FROM product AS p INNER JOIN line l ON l.product_id = p.id WHERE l.quantity = 1")  # fmt: skip
    assert client.rows("SELECT id, kind FROM product WHERE note = 'sold'") == [(3, "q1")]


def test_update_counts_each_row_once(client: Client) -> None:
    assert done_counts(
        client, "UPDATE p SET note = N'x' FROM product p JOIN line l ON l.product_id = p.id"
    ) == [2]


def test_update_and_delete_top(client: Client) -> None:
    assert done_counts(client, "UPDATE TOP (2) line SET quantity = 0") == [2]
    assert done_counts(client, "DELETE TOP (1) FROM line WHERE quantity = 0") == [1]


def test_delete_from_a_join_with_output(client: Client) -> None:
    sql = "DELETE l OUTPUT deleted.quantity, p.name FROM line l JOIN product p ON p.id = l.product_id WHERE p.id = 3"
    assert client.rows(sql) == [(1, "Chair")]
    assert client.value("SELECT COUNT(*) FROM line") == 2


def test_a_work_queue_takes_rows_with_readpast(client: Client) -> None:
    sql = "DELETE TOP (1) FROM line WITH (ROWLOCK, READPAST) OUTPUT deleted.quantity WHERE quantity = 7"
    assert client.rows(sql) == [(7,)]


def test_merge_updates_inserts_deletes_and_reports_its_actions(client: Client) -> None:
    sql = """MERGE INTO product WITH (HOLDLOCK) AS t
             USING (VALUES (1, 'first', N'Apple pie'), (2, 'second', N'New')) AS s (position, tag, name)
             ON t.name = LEFT(s.name, 5)
             WHEN MATCHED THEN UPDATE SET name = s.name
             WHEN NOT MATCHED THEN INSERT (name, kind) VALUES (s.name, s.tag)
             WHEN NOT MATCHED BY SOURCE AND t.kind IS NULL THEN DELETE
             OUTPUT $action, s.position, deleted.name, inserted.name;"""
    assert sorted(client.rows(sql), key=str) == sorted(
        [("UPDATE", 1, "Apple", "Apple pie"), ("INSERT", 2, None, "New"), ("DELETE", None, "Chair", None)],
        key=str,
    )


def test_select_into_makes_a_table(client: Client) -> None:
    client.events("SELECT id, UPPER(name) AS n INTO #copy FROM product")
    assert client.rows("SELECT n FROM #copy WHERE id = 1") == [("APPLE",)]
    client.events("DROP TABLE #copy")


def test_select_assigns_variables_from_the_last_row(client: Client) -> None:
    sql = "DECLARE @n nvarchar(20), @s int = 0; SELECT @n = name, @s = @s + 1 FROM product WHERE id = 2; SELECT @n, @s"
    assert client.rows(sql) == [("banana", 1)]


def test_two_outer_relations_may_bear_an_inner_ones_name(client: Client) -> None:
    sql = "SELECT p.id FROM product p WHERE p.id IN (SELECT p.product_id FROM line p WHERE price > 1) ORDER BY 1"
    assert client.rows(sql) == [(1,), (3,)]


@pytest.mark.parametrize(
    ("sql", "types"),
    [
        ("INSERT INTO product (name, price, made) VALUES (@P1, @P2, @P3)",
         {"@p1": "nvarchar", "@p2": "decimal", "@p3": "date"}),
        ("UPDATE product SET note = @P1 WHERE id = @P2", {"@p1": "nvarchar", "@p2": "int"}),
        ("SELECT id FROM product WHERE kind IN (@P1, @P2) AND price + @P3 > 1",
         {"@p1": "varchar", "@p2": "varchar", "@p3": "decimal"}),
        ("SELECT TOP (@P1) id FROM product WHERE name LIKE @P2", {"@p1": "bigint", "@p2": "nvarchar"}),
    ],
)  # fmt: skip
def test_the_place_of_an_undeclared_parameter_tells_its_type(
    client: Client, sql: str, types: dict[str, str]
) -> None:
    translator = client.session.translator
    found = translator.undeclared_parameters(Parser(sql).data_statement(), Context())
    assert {name: data_type.name for name, data_type in found} == types


def test_a_parameter_without_a_typed_place_has_no_type(client: Client) -> None:
    with pytest.raises(SqlError) as caught:
        client.session.translator.undeclared_parameters(Parser("SELECT @P1").data_statement(), Context())
    assert caught.value.number == 11502


def test_columns_of_different_collations_conflict(client: Client) -> None:
    client.events(
        "CREATE TABLE #c (a varchar(5) COLLATE Latin1_General_CS_AS, b varchar(5) COLLATE Latin1_General_BIN2)"
    )
    assert client.error("SELECT 1 FROM #c WHERE a = b")[0] == 468
    client.events(
        "INSERT INTO #c VALUES ('a', 'A'); SELECT 1 FROM #c WHERE a = b COLLATE Latin1_General_CI_AS"
    )
    assert client.rows("SELECT 1 FROM #c WHERE a = b COLLATE Latin1_General_CI_AS") == [(1,)]
    # An explicit collation reaches through functions.
    sql = (
        "SELECT 1 FROM #c WHERE UPPER(a) = UPPER(REPLACE('A-', '-', '' COLLATE SQL_Latin1_General_CP1_CS_AS))"
    )
    assert client.rows(sql) == [(1,)]
    assert client.rows("SELECT 1 FROM #c WHERE CONCAT(a, 'x') = 'AX' COLLATE Latin1_General_CI_AS") == [(1,)]
    assert client.error("SELECT 1 FROM #c WHERE a IN (SELECT b FROM #c)")[0] == 468
    assert client.rows("SELECT 1 FROM #c WHERE a IN (SELECT 'a' FROM #c)") == [(1,)]
    client.events("DROP TABLE #c")


@pytest.fixture
def stock() -> Iterator[tuple[Client, Client]]:
    """Two sessions over a committed table."""
    one, two = new_client(), new_client()
    one.events(
        """CREATE TABLE stock (id int PRIMARY KEY, part int NULL, n int);
           INSERT INTO stock VALUES (1, 2, 5), (2, NULL, 5)"""
    )
    two.events("SET LOCK_TIMEOUT 50")
    yield one, two
    for client in (one, two):
        client.events("IF @@TRANCOUNT > 0 ROLLBACK")
    one.events("DROP TABLE stock")
    for client in (one, two):
        client.session.close()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT n FROM stock WITH (UPDLOCK) WHERE id = 1",
        "SELECT TOP 1 n FROM stock WITH (UPDLOCK, ROWLOCK) ORDER BY id",
        "SELECT a.n FROM stock a LEFT JOIN stock b WITH (UPDLOCK) ON b.part = a.id WHERE a.id = 2",
        "SELECT SUM(n) FROM stock WITH (UPDLOCK) WHERE id = 1",
        "SELECT n FROM stock WITH (TABLOCKX) WHERE id = 2",
        "UPDATE stock SET n = 0 WHERE id = 1",
    ],
)
def test_a_locking_hint_makes_others_wait_for_those_rows(stock: tuple[Client, Client], query: str) -> None:
    one, two = stock
    one.events("BEGIN TRANSACTION")
    one.events(query)
    assert two.rows("SELECT n FROM stock WHERE id = 1") == [
        (5,)
    ]  # readers don't wait: READ_COMMITTED_SNAPSHOT
    assert two.error("UPDATE stock SET n = 1 WHERE id = 1") == (
        1222,
        "Lock request time out period exceeded.",
    )


def test_rows_that_no_hint_locks_stay_free(stock: tuple[Client, Client]) -> None:
    one, two = stock
    one.events(
        "BEGIN TRANSACTION; SELECT a.n FROM stock a LEFT JOIN stock b WITH (UPDLOCK) ON b.part = a.id WHERE a.id = 2"
    )
    assert done_counts(two, "UPDATE stock SET n = 1 WHERE id = 2") == [1]


def test_readpast_leaves_locked_rows_out_and_nowait_fails_at_once(stock: tuple[Client, Client]) -> None:
    one, two = stock
    one.events("BEGIN TRANSACTION; SELECT n FROM stock WITH (UPDLOCK) WHERE id = 1")
    assert two.rows("SELECT id FROM stock WITH (UPDLOCK, READPAST)") == [(2,)]
    assert done_counts(two, "DELETE TOP (5) FROM stock WITH (READPAST)") == [1]
    two.events("SET LOCK_TIMEOUT -1")
    assert two.error("SELECT id FROM stock WITH (UPDLOCK, NOWAIT)")[0] == 1222


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE stock SET n = n + 1 WHERE id = 1",
        "UPDATE s SET n = s.n + 1 FROM stock s INNER JOIN (VALUES (1)) v(id) ON v.id = s.id",
        "MERGE stock AS t USING (VALUES (1)) AS s (id) ON t.id = s.id WHEN MATCHED THEN UPDATE SET n = t.n + 1;",
    ],
)
def test_changes_of_two_sessions_add_up(stock: tuple[Client, Client], change: str) -> None:
    stock[1].events("SET LOCK_TIMEOUT -1")

    def work(client: Client) -> None:
        for _ in range(25):
            client.events(change)

    with ThreadPoolExecutor() as pool:
        list(pool.map(work, stock))
    assert stock[0].value("SELECT n FROM stock WHERE id = 1") == 55


def test_merge_with_holdlock_inserts_a_key_once(stock: tuple[Client, Client]) -> None:
    stock[1].events("SET LOCK_TIMEOUT -1")
    upsert = """MERGE stock WITH (HOLDLOCK) AS t USING (VALUES ({0})) AS s (id) ON t.id = s.id
                WHEN MATCHED THEN UPDATE SET n = t.n + 1 WHEN NOT MATCHED THEN INSERT (id, n) VALUES (s.id, 1);"""

    def work(client: Client) -> None:
        for key in range(100, 130):
            client.events(upsert.format(key))

    with ThreadPoolExecutor() as pool:
        list(pool.map(work, stock))
    assert stock[0].value("SELECT SUM(n) FROM stock WHERE id >= 100") == 60


def test_not_exists_with_holdlock_inserts_a_key_once(stock: tuple[Client, Client]) -> None:
    stock[1].events("SET LOCK_TIMEOUT -1")
    insert = """INSERT INTO stock (id, n) SELECT s.id, 1 FROM (VALUES ({0})) AS s (id)
                WHERE NOT EXISTS (SELECT 1 FROM stock WITH (UPDLOCK, HOLDLOCK) WHERE id = s.id)"""

    def work(client: Client) -> None:
        for key in range(100, 130):
            client.events(insert.format(key))

    with ThreadPoolExecutor() as pool:
        list(pool.map(work, stock))
    assert stock[0].value("SELECT SUM(n) FROM stock WHERE id >= 100") == 30


def test_a_name_inside_a_subquery_is_ambiguous_only_there(client: Client) -> None:
    sql = "SELECT (SELECT MIN(id) FROM product) FROM product p CROSS JOIN line l GROUP BY p.kind, (p.kind) ORDER BY 1"
    assert client.error("SELECT id FROM product p CROSS JOIN line l")[0] == 209
    assert client.rows(
        "SELECT DISTINCT (SELECT MIN(id) FROM product) AS m FROM product p, line l ORDER BY m"
    ) == [(1,)]
    assert client.rows(sql) == [(1,), (1,)]
