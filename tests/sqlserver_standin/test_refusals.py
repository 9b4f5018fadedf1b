"""What SQL Server refuses is refused: number, severity, state and text of the errors that clients look at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sqlserver_standin.engine_support import answers, failure, new_database
from tests.sqlserver_standin.sql_support import Client


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with new_database() as client:
        client.events(
            """
            CREATE TABLE parent (id int CONSTRAINT pk_parent PRIMARY KEY, name nvarchar(5) CONSTRAINT uq_name UNIQUE);
            CREATE TABLE child (id int IDENTITY CONSTRAINT pk_child PRIMARY KEY,
                n int NOT NULL CONSTRAINT ck_n CHECK (n > 0),
                parent_id int NULL CONSTRAINT fk_parent REFERENCES parent (id));
            CREATE UNIQUE INDEX ux_n ON child (n, parent_id);
            INSERT INTO parent VALUES (1, N'a'), (2, NULL);
            INSERT INTO child (n, parent_id) VALUES (1, 1);
            """
        )
        yield client


# number, severity, state, text ({db} is the database)
REFUSALS: list[tuple[str, int, int, int, str]] = [
    ("INSERT INTO parent VALUES (1, N'z')", 2627, 14, 1,
     "Violation of PRIMARY KEY constraint 'pk_parent'. Cannot insert duplicate key in object 'dbo.parent'. The "
     "duplicate key value is (1)."),
    ("INSERT INTO parent VALUES (3, N'A')", 2627, 14, 1,
     "Violation of UNIQUE KEY constraint 'uq_name'. Cannot insert duplicate key in object 'dbo.parent'. The "
     "duplicate key value is (A)."),
    # Two NULLs are a duplicate in a unique constraint.
    ("INSERT INTO parent VALUES (3, NULL)", 2627, 14, 1,
     "Violation of UNIQUE KEY constraint 'uq_name'. Cannot insert duplicate key in object 'dbo.parent'. The "
     "duplicate key value is (<NULL>)."),
    ("INSERT INTO child (n, parent_id) VALUES (1, 1)", 2601, 14, 1,
     "Cannot insert duplicate key row in object 'dbo.child' with unique index 'ux_n'. The duplicate key value "
     "is (1, 1)."),
    ("INSERT INTO child (n, parent_id) VALUES (5, 77)", 547, 16, 0,
     "The INSERT statement conflicted with the FOREIGN KEY constraint \"fk_parent\". The conflict occurred in "
     "database \"{db}\", "
     "table \"dbo.parent\", column 'id'."),
    ("DELETE FROM parent WHERE id = 1", 547, 16, 0,
     "The DELETE statement conflicted with the REFERENCE constraint \"fk_parent\". The conflict occurred in "
     "database \"{db}\", "
     "table \"dbo.child\", column 'parent_id'."),
    ("UPDATE child SET n = 0", 547, 16, 0,
     "The UPDATE statement conflicted with the CHECK constraint \"ck_n\". The conflict occurred in database "
     "\"{db}\", "
     "table \"dbo.child\", column 'n'."),
    ("INSERT INTO child (parent_id) VALUES (1)", 515, 16, 2,
     "Cannot insert the value NULL into column 'n', table '{db}.dbo.child'; column does not allow nulls. INSERT "
     "fails."),
    ("INSERT INTO child (id, n) VALUES (9, 9)", 544, 16, 1,
     "Cannot insert explicit value for identity column in table 'child' when IDENTITY_INSERT is set to OFF."),
    ("INSERT INTO parent VALUES (3, N'too long')", 2628, 16, 1,
     "String or binary data would be truncated in table '{db}.dbo.parent', column 'name'. Truncated value: 'too l'."),
    ("SELECT nothing FROM parent", 207, 16, 1, "Invalid column name 'nothing'."),
    ("SELECT * FROM nothing", 208, 16, 1, "Invalid object name 'nothing'."),
    ("SELECT 1/0", 8134, 16, 1, "Divide by zero error encountered."),
    ("SELECT FROM parent", 156, 15, 1, "Incorrect syntax near the keyword 'FROM'."),
    ("SELECT 1 LIMIT 1", 102, 15, 1, "Incorrect syntax near '1'."),
    ("CREATE TABLE parent (a int)", 2714, 16, 6, "There is already an object named 'parent' in the database."),
    ("CREATE TABLE other (a int, A int)", 2705, 16, 3,
     "Column names in each table must be unique. Column name 'A' in table 'other' is specified more than once."),
    ("CREATE TABLE other (a int IDENTITY, b int IDENTITY)", 2744, 16, 2,
     "Multiple identity columns specified for table 'other'. Only one identity column per table is allowed."),
    ("CREATE TABLE nowhere.other (a int)", 2760, 16, 1,
     'The specified schema name "nowhere" either does not exist or you do not have permission to use it.'),
    ("DROP TABLE nothing", 3701, 11, 5, "Cannot drop the table 'nothing', because it does not exist or you do "
     "not have permission."),
    ("DROP TABLE parent", 3726, 16, 1, "Could not drop object 'parent' because it is referenced by a FOREIGN "
     "KEY constraint."),
    ("DROP INDEX nothing ON parent", 3701, 11, 7,
     "Cannot drop the index 'parent.nothing', because it does not exist or you do not have permission."),
    ("DROP INDEX pk_parent ON parent", 3723, 16, 4,
     "An explicit DROP INDEX is not allowed on index 'dbo.parent.pk_parent'. It is being used for PRIMARY KEY "
     "constraint enforcement."),
    ("TRUNCATE TABLE parent", 4712, 16, 1, "Cannot truncate table 'parent' because it is being referenced by a "
     "FOREIGN KEY constraint."),
    ("ALTER TABLE nothing ADD a int", 4902, 16, 1,
     'Cannot find the object "nothing" because it does not exist or you do not have permissions.'),
    ("ALTER TABLE child ADD must int NOT NULL", 4901, 16, 1,
     "ALTER TABLE only allows columns to be added that can contain nulls, or have a DEFAULT definition "
     "specified, or the column "
     "being added is an identity or timestamp column, or alternatively if none of the previous conditions are "
     "satisfied the table "
     "must be empty to allow addition of this column. Column 'must' cannot be added to non-empty table 'child' "
     "because it does not "
     "satisfy these conditions."),
    ("ALTER TABLE child DROP COLUMN nothing", 4924, 16, 1,
     "ALTER TABLE DROP COLUMN failed because column 'nothing' does not exist in table 'child'."),
    ("CREATE UNIQUE INDEX ux_n ON child (n)", 1913, 16, 1,
     "The operation failed because an index or statistics with name 'ux_n' already exists on table 'dbo.child'."),
    ("CREATE INDEX ix ON parent (nothing)", 1911, 16, 1, "Column name 'nothing' does not exist in the target "
     "table or view."),
    # A filter compares columns with constants, and knows AND only.
    ("CREATE INDEX ix ON child (n) WHERE n = 1 OR n = 2", 156, 15, 1, "Incorrect syntax near the keyword 'OR'."),
    ("CREATE INDEX ix ON parent (name) WHERE name LIKE N'a%'", 156, 15, 1,
     "Incorrect syntax near the keyword 'LIKE'."),
    ("CREATE INDEX ix ON child (n) WHERE n BETWEEN 1 AND 2", 156, 15, 1,
     "Incorrect syntax near the keyword 'BETWEEN'."),
    ("CREATE INDEX ix ON child (n) WHERE n NOT IN (1)", 156, 15, 1, "Incorrect syntax near the keyword 'NOT'."),
    ("CREATE INDEX ix ON child (n) WHERE ABS(n) = 1", 102, 15, 1, "Incorrect syntax near '('."),
    ("CREATE INDEX ix ON child (n) WHERE n IN (SELECT 1)", 156, 15, 1,
     "Incorrect syntax near the keyword 'SELECT'."),
    ("CREATE INDEX ix ON child (n) WHERE n = parent_id", 10735, 15, 1,
     "Incorrect WHERE clause for filtered index 'ix' on table 'child'."),
    ("CREATE INDEX ix ON child (n) WHERE parent_id = NULL", 10618, 16, 1,
     "Filtered index 'ix' cannot be created on table 'child' because the filter expression contains a comparison "
     "with a literal NULL value. Rewrite the comparison to use the IS [NOT] NULL comparison operator to test for "
     "NULL values."),
    ("CREATE TABLE computed (a int, b AS (a * 2), INDEX ix (a) WHERE b > 1)", 10609, 16, 1,
     "Filtered index 'ix' cannot be created on table 'computed' because the column 'b' in the filter expression is a "
     "computed column. Rewrite the filter expression so that it does not include this column."),
    ("CREATE VIEW sorted AS SELECT id FROM parent ORDER BY id", 1033, 15, 1,
     "The ORDER BY clause is invalid in views, inline functions, derived tables, subqueries, and common table "
     "expressions, unless TOP, OFFSET or FOR XML is also specified."),
    ("EXEC nothing", 2812, 16, 62, "Could not find stored procedure 'nothing'."),
    ("USE nothing", 911, 16, 1, "Database 'nothing' does not exist. Make sure that the name is entered correctly."),
    ("CREATE DATABASE master", 1801, 16, 3, "Database 'master' already exists. Choose a different database name."),
    ("SET IDENTITY_INSERT parent ON", 8106, 16, 1,
     "Table 'dbo.parent' does not have the identity property. Cannot perform SET operation."),
    ("SET @undeclared = 1", 137, 15, 2, 'Must declare the scalar variable "@undeclared".'),
    ("THROW 5, 'x', 1", 35100, 16, 10,
     "Error number 5 in the THROW statement is outside the valid range. Specify an error number in the valid "
     "range of 50000 to 2147483647."),
    ("SET SHOWPLAN_XML ON; SELECT 1", 1067, 15, 1, "The SET SHOWPLAN statements must be the only statements in "
     "the batch."),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "number", "severity", "state", "text"),
    REFUSALS,
    ids=[f"{each[1]} {each[0][:40]}" for each in REFUSALS],
)
def test_a_refusal_has_sql_servers_number_and_text(
    client: Client, sql: str, number: int, severity: int, state: int, text: str
) -> None:
    error = failure(client, sql)
    expected = (number, severity, state, text.replace("{db}", client.session.database))
    assert (error.number, error.severity, error.state, error.text) == expected


PAIRS: list[tuple[str, list[int]]] = [
    # A cause and what it made fail.
    ("ALTER TABLE parent ADD CONSTRAINT again PRIMARY KEY (id)", [1779, 1750]),
    ("ALTER TABLE child ADD CONSTRAINT f FOREIGN KEY (n) REFERENCES parent (name)", [1778, 1750]),
    ("ALTER TABLE child ADD CONSTRAINT f FOREIGN KEY (n) REFERENCES child (parent_id)", [1776, 1750]),
    ("ALTER TABLE child ADD CONSTRAINT f FOREIGN KEY (n) REFERENCES nothing (id)", [1767, 1750]),
    ("ALTER TABLE child ADD CONSTRAINT fk_parent CHECK (n > 1)", [2714, 1750]),
    ("ALTER TABLE parent DROP CONSTRAINT nothing", [3728, 3727]),
    ("ALTER TABLE parent DROP CONSTRAINT pk_parent", [3725, 3727]),
    ("ALTER TABLE child DROP COLUMN n", [5074, 5074, 4922]),
    ("ALTER TABLE parent ALTER COLUMN id bigint NOT NULL", [5074, 5074, 4922]),
    ("ALTER DATABASE nothing SET READ_COMMITTED_SNAPSHOT ON", [5011, 5069]),
    ("CREATE TABLE loop (id int PRIMARY KEY, up int REFERENCES loop (id) ON DELETE CASCADE)", [1785, 1750]),
    ("INSERT INTO child (n) VALUES (7), (8); CREATE UNIQUE INDEX uy ON child (parent_id)", [1505]),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "numbers"), PAIRS, ids=[sql[:60] for sql, _ in PAIRS])
def test_the_cause_comes_before_the_consequence(client: Client, sql: str, numbers: list[int]) -> None:
    try:
        assert answers(client, sql) == numbers
    finally:
        client.events("DELETE FROM child WHERE n > 1")


def test_cascades_may_not_reach_a_table_twice(client: Client) -> None:
    client.events("CREATE TABLE top_ (id int PRIMARY KEY)")
    client.events("CREATE TABLE left_ (id int PRIMARY KEY, t int REFERENCES top_ (id) ON DELETE CASCADE)")
    client.events("CREATE TABLE bottom_ (t int REFERENCES top_ (id) ON DELETE CASCADE, l int)")
    sql = "ALTER TABLE bottom_ ADD CONSTRAINT twice FOREIGN KEY (l) REFERENCES left_ (id) ON DELETE {}"
    assert answers(client, sql.format("CASCADE")) == [1785, 1750]
    assert answers(client, sql.format("NO ACTION")) == []
    client.events("DROP TABLE bottom_; DROP TABLE left_; DROP TABLE top_")


def test_a_constraint_that_was_off_is_checked_when_it_comes_on(client: Client) -> None:
    client.events(
        "ALTER TABLE child NOCHECK CONSTRAINT fk_parent; INSERT INTO child (n, parent_id) VALUES (50, 99)"
    )
    trusted = "SELECT is_disabled, is_not_trusted FROM sys.foreign_keys WHERE name = N'fk_parent'"
    assert client.rows(trusted) == [(True, True)]
    assert answers(client, "ALTER TABLE child WITH CHECK CHECK CONSTRAINT ALL") == [547]
    assert answers(client, "ALTER TABLE child WITH NOCHECK CHECK CONSTRAINT ALL") == []
    assert client.rows(trusted) == [(False, True)]
    client.events("DELETE FROM child WHERE n = 50; ALTER TABLE child WITH CHECK CHECK CONSTRAINT ALL")
    assert client.rows(trusted) == [(False, False)]
