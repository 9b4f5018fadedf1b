"""The catalog views and metadata functions show what data definition made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sqlserver_standin.engine.names import MOST_BYTES, pg_name
from tests.sqlserver_standin.engine_support import answers, failure, new_database, second_session
from tests.sqlserver_standin.sql_support import Client

LONG = "a_name_that_is_longer_than_what_postgresql_takes_but_not_too_long_for_sql_server"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with new_database() as client:
        client.events(
            f"""
            CREATE TABLE parent (id int IDENTITY(5, 2) CONSTRAINT pk_parent PRIMARY KEY,
                Code nvarchar(20) NOT NULL UNIQUE, price decimal(10, 2) NULL CONSTRAINT df_price DEFAULT 0,
                note varchar(max), stamp datetime2(3),
                twice AS (price * 2) PERSISTED, CONSTRAINT ck_price CHECK (price >= 0 AND Code <> N'x'));
            CREATE TABLE child (id bigint NOT NULL PRIMARY KEY, parent_id int NULL
                CONSTRAINT [{LONG}] REFERENCES parent (id) ON DELETE CASCADE,
                kind char(3), flag bit NOT NULL DEFAULT 1);
            CREATE INDEX ix_kind ON child (kind DESC, flag) INCLUDE (parent_id) WHERE kind IS NOT NULL;
            """
        )
        client.events("CREATE VIEW expensive AS SELECT id, price FROM parent WHERE price > 100")
        client.events(
            "EXEC sp_addextendedproperty N'MS_Description', N'a code', N'SCHEMA', N'dbo', "
            "N'TABLE', N'parent', N'COLUMN', N'Code'"
        )
        yield client


QUESTIONS: list[tuple[str, list[tuple[Any, ...]]]] = [
    ("SELECT name, type FROM sys.objects WHERE type IN ('U', 'V') ORDER BY name",
     [("child", "U "), ("expensive", "V "), ("parent", "U ")]),
    ("SELECT c.name, t.name, c.max_length, c.precision, c.scale, c.is_nullable, c.is_identity, c.is_computed "
     "FROM sys.columns c JOIN sys.types t ON t.user_type_id = c.user_type_id WHERE c.object_id = "
     "OBJECT_ID(N'parent') ORDER BY c.column_id",
     [("id", "int", 4, 10, 0, False, True, False), ("Code", "nvarchar", 40, 0, 0, False, False, False),
      ("price", "decimal", 9, 10, 2, True, False, False), ("note", "varchar", -1, 0, 0, True, False, False),
      ("stamp", "datetime2", 7, 23, 3, True, False, False), ("twice", "decimal", 9, 12, 2, True, False, True)]),
    ("SELECT name, seed_value, increment_value FROM sys.identity_columns WHERE object_id = OBJECT_ID(N'parent')",
     [("id", 5, 2)]),
    ("SELECT name, definition, is_system_named FROM sys.default_constraints WHERE parent_object_id = "
     "OBJECT_ID(N'parent')",
     [("df_price", "((0))", False)]),
    ("SELECT name, definition FROM sys.check_constraints", [("ck_price", "([price]>=(0) AND [Code]<>N'x')")]),
    ("SELECT definition, is_persisted FROM sys.computed_columns", [("([price]*(2))", True)]),
    ("SELECT i.name, i.type_desc, i.is_unique, i.is_primary_key, i.filter_definition FROM sys.indexes i "
     "WHERE i.object_id = OBJECT_ID(N'child') AND i.is_primary_key = 0",
     [("ix_kind", "NONCLUSTERED", False, False, "([kind] IS NOT NULL)")]),
    ("SELECT COL_NAME(ic.object_id, ic.column_id), ic.key_ordinal, ic.is_descending_key, ic.is_included_column "
     "FROM sys.index_columns ic JOIN sys.indexes i ON i.object_id = ic.object_id AND i.index_id = ic.index_id "
     "WHERE i.name = N'ix_kind' ORDER BY ic.index_column_id",
     [("kind", 1, True, False), ("flag", 2, False, False), ("parent_id", 0, False, True)]),
    ("SELECT name, OBJECT_NAME(parent_object_id), OBJECT_NAME(referenced_object_id), "
     "delete_referential_action_desc, is_not_trusted "
     "FROM sys.foreign_keys", [(LONG, "child", "parent", "CASCADE", False)]),
    ("SELECT type_desc FROM sys.indexes WHERE name = N'pk_parent'", [("CLUSTERED",)]),
    ("SELECT value FROM sys.extended_properties WHERE major_id = OBJECT_ID(N'parent') AND minor_id = 2",
     [("a code",)]),
    ("SELECT TABLE_NAME, TABLE_TYPE FROM INFORMATION_SCHEMA.TABLES ORDER BY TABLE_NAME",
     [("child", "BASE TABLE"), ("expensive", "VIEW"), ("parent", "BASE TABLE")]),
    ("SELECT COLUMN_NAME, ORDINAL_POSITION, COLUMN_DEFAULT, IS_NULLABLE, DATA_TYPE FROM INFORMATION_SCHEMA.COLUMNS "
     "WHERE TABLE_NAME = N'child' AND COLUMN_NAME = N'flag'", [("flag", 4, "((1))", "NO", "bit")]),
    ("SELECT CONSTRAINT_TYPE, COUNT(*) FROM INFORMATION_SCHEMA.TABLE_CONSTRAINTS GROUP BY CONSTRAINT_TYPE ORDER BY 1",
     [("CHECK", 1), ("FOREIGN KEY", 1), ("PRIMARY KEY", 2), ("UNIQUE", 1)]),
    ("SELECT UNIQUE_CONSTRAINT_NAME, DELETE_RULE FROM INFORMATION_SCHEMA.REFERENTIAL_CONSTRAINTS",
     [("pk_parent", "CASCADE")]),
    ("SELECT COLUMNPROPERTY(OBJECT_ID(N'parent'), N'id', 'IsIdentity'), COL_LENGTH(N'parent', N'Code'), "
     "OBJECTPROPERTY(OBJECT_ID(N'parent'), 'IsTable')",
     [(1, 40, 1)]),
    ("SELECT OBJECT_ID(N'PARENT') - OBJECT_ID(N'[dbo].[parent]'), OBJECT_ID(N'nothing'), OBJECT_ID(N'parent', "
     "N'V')", [(0, None, None)]),
    ("SELECT SCHEMA_ID(N'dbo'), SCHEMA_NAME(1), TYPE_NAME(56), DB_ID(N'master')", [(1, "dbo", "int", 1)]),
    ("SELECT CAST(SERVERPROPERTY('EngineEdition') AS int), CAST(SERVERPROPERTY('Edition') AS nvarchar(60))",
     [(3, "Developer Edition (64-bit)")]),
    ("SELECT name, compatibility_level FROM sys.databases WHERE database_id = 1", [("master", 160)]),
    ("SELECT is_read_committed_snapshot_on FROM sys.databases WHERE name = DB_NAME()", [(True,)]),
    ("SELECT name FROM sys.fn_helpcollations() WHERE name = N'Latin1_General_CS_AS'", [("Latin1_General_CS_AS",)]),
    ("SELECT current_utc_offset, is_currently_dst FROM sys.time_zone_info WHERE name = N'UTC'", [("+00:00", False)]),
    ("SELECT CHARINDEX(N'stand-in', @@VERSION) - CHARINDEX(N'stand-in', @@VERSION), LEFT(@@VERSION, 25)",
     [(0, "Microsoft SQL Server 2022")]),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "rows"), QUESTIONS, ids=[sql[:70] for sql, _ in QUESTIONS])
def test_the_catalog_answers(client: Client, sql: str, rows: list[tuple[Any, ...]]) -> None:
    assert client.rows(sql) == rows


def test_version_says_that_it_is_a_stand_in(client: Client) -> None:
    assert "sqlserver_standin" in client.value("SELECT @@VERSION")


def test_names_are_found_in_any_case_and_shown_as_stored(client: Client) -> None:
    assert client.rows("SELECT CODE FROM PARENT WHERE 1 = 0") == []
    assert (
        client.value("SELECT name FROM sys.columns WHERE object_id = OBJECT_ID(N'Parent') AND name = N'CODE'")
        == "Code"
    )


def test_a_rename_keeps_what_belongs_to_the_object(client: Client) -> None:
    client.events(
        "CREATE TABLE old (a int CONSTRAINT ck_a CHECK (a > 1), b int CONSTRAINT df_b DEFAULT 7); "
        "CREATE INDEX ix_a ON old (a)"
    )
    client.events("EXEC sp_rename N'old.a', N'z', N'COLUMN'; EXEC sp_rename N'old.ix_a', N'ix_z', N'INDEX'")
    client.events(
        "EXEC sp_rename N'ck_a', N'ck_z'; EXEC sp_rename N'df_b', N'df_y'; EXEC sp_rename N'old', N'new'"
    )
    client.events("INSERT INTO new (z) VALUES (5)")
    assert client.rows("SELECT z, b FROM new") == [(5, 7)]
    assert failure(client, "INSERT INTO new (z) VALUES (0)").text.startswith(
        'The INSERT statement conflicted with the CHECK constraint "ck_z".'
    )
    assert (
        client.value("SELECT name FROM sys.indexes WHERE object_id = OBJECT_ID(N'new') AND type = 2")
        == "ix_z"
    )
    client.events("ALTER TABLE new DROP CONSTRAINT df_y; DROP INDEX ix_z ON new; DROP TABLE new")


def test_indexes_of_two_tables_may_have_one_name(client: Client) -> None:
    client.events(
        "CREATE TABLE one (a int); CREATE TABLE two (a int); CREATE INDEX ix ON one (a); CREATE INDEX ix ON two (a)"
    )
    assert client.value("SELECT COUNT(*) FROM sys.indexes WHERE name = N'ix'") == 2
    client.events("DROP INDEX ix ON two; DROP TABLE one, two")


def test_another_session_sees_a_table_once_it_is_committed(client: Client) -> None:
    other = second_session(client)
    client.events("BEGIN TRAN; CREATE TABLE coming (a int)")
    assert other.value("SELECT OBJECT_ID(N'coming')") is None
    client.events("COMMIT")
    assert other.rows("SELECT * FROM coming") == []
    client.events("ALTER TABLE coming ADD b int")
    assert failure(other, "SELECT c FROM coming").number == 207
    assert other.rows("SELECT b FROM coming") == []
    client.events("DROP TABLE coming")
    assert answers(other, "SELECT * FROM coming") == [208]
    other.session.close()


@pytest.mark.parametrize("name", ["short", "x" * MOST_BYTES, "x" * (MOST_BYTES + 1), "ä" * 100])
def test_a_name_fits_into_postgresql(name: str) -> None:
    assert len(pg_name(name).encode()) <= MOST_BYTES
    assert pg_name(name).lower() == pg_name(name.upper()).lower()


def test_odbcs_catalog_procedures_describe_tables(client: Client) -> None:
    columns = client.rows("EXEC sp_columns_100 N'parent', N'dbo', NULL, NULL, 3")
    assert [(row[3], row[4], row[5]) for row in columns][:3] == [
        ("id", 4, "int identity"),
        ("Code", -9, "nvarchar"),
        ("price", 3, "decimal"),
    ]
    assert [row[3] for row in client.rows("EXEC sp_pkeys N'parent'")] == ["id"]
    assert [(row[2], row[6]) for row in client.rows("EXEC sp_fkeys @pktable_name = N'parent'")] == [
        ("parent", "child")
    ]
    described = client.rows(
        "EXEC sp_describe_undeclared_parameters N'UPDATE child SET kind = @P1 WHERE id = @P2'"
    )
    assert [(row[1].lower(), row[3]) for row in described] == [("@p1", "char(3)"), ("@p2", "bigint")]


def test_parameters_are_described_for_an_insert_into_an_identity_column(client: Client) -> None:
    sql = "SET IDENTITY_INSERT parent ON; INSERT INTO parent (id, Code) VALUES (@P1, @P2)"
    described = client.rows(f"EXEC sp_describe_undeclared_parameters N'{sql}'")
    assert [row[3] for row in described] == ["int", "nvarchar(20)"]
    # It was described, not executed.
    assert client.error("INSERT INTO parent (id, Code) VALUES (70, N'c')")[0] == 544
