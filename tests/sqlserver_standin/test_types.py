"""Types on disk: text compared by collation, identity, defaults, values that come back as they went in."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlserver_standin.engine.values import encode
from sqlserver_standin.events import Parameter, SqlError
from sqlserver_standin.types import MAX, SqlType
from tests.sqlserver_standin.engine_support import new_database
from tests.sqlserver_standin.sql_support import Client

OFFSET = datetime.timezone(datetime.timedelta(hours=5, minutes=30))


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with new_database() as client:
        yield client


VALUES: list[tuple[str, SqlType, Any]] = [
    ("bit", SqlType("bit"), True),
    ("tinyint", SqlType("tinyint"), 255),
    ("smallint", SqlType("smallint"), -32768),
    ("int", SqlType("int"), 2147483647),
    ("bigint", SqlType("bigint"), -(2**63)),
    (
        "decimal(38, 10)",
        SqlType("decimal", precision=38, scale=10),
        Decimal("1234567890123456789012345678.0123456789"),
    ),
    ("money", SqlType("money"), Decimal("922337203685477.5807")),
    ("float", SqlType("float", precision=53), 1.7976931348623157e308),
    ("real", SqlType("real", precision=24), 0.5),
    ("date", SqlType("date"), datetime.date(1, 1, 1)),
    ("time(6)", SqlType("time", scale=6), datetime.time(23, 59, 59, 999999)),
    ("datetime2(6)", SqlType("datetime2", scale=6), datetime.datetime(9999, 12, 31, 23, 59, 59, 999999)),
    (
        "datetimeoffset(6)",
        SqlType("datetimeoffset", scale=6),
        datetime.datetime(2024, 2, 29, 1, 2, 3, 4, OFFSET),
    ),
    ("uniqueidentifier", SqlType("uniqueidentifier"), uuid.UUID("6f9619ff-8b86-d011-b42d-00c04fc964ff")),
    ("nvarchar(20)", SqlType("nvarchar", length=20), "ünï\u4e2d\U0001f600 'x'"),
    ("nvarchar(max)", SqlType("nvarchar", length=MAX), "x" * 100_000),
    ("varbinary(max)", SqlType("varbinary", length=MAX), bytes(range(256)) * 100),
    ("nchar(5)", SqlType("nchar", length=5), "ab   "),
]


@pytest.mark.parametrize(("declared", "data_type", "value"), VALUES, ids=[each[0] for each in VALUES])
def test_a_value_comes_back_as_it_went_in(
    client: Client, declared: str, data_type: SqlType, value: Any
) -> None:
    client.events(f"CREATE TABLE v (c {declared} NULL)")
    try:
        client.events("INSERT INTO v VALUES (@p)", Parameter("@p", data_type, value))
        client.events("INSERT INTO v VALUES (@p)", Parameter("@p", data_type, None))
        assert client.rows("SELECT c FROM v WHERE c IS NOT NULL") == [(value,)]
        assert client.rows("SELECT COUNT(*) FROM v WHERE c IS NULL") == [(1,)]
    finally:
        client.events("DROP TABLE v")


COMPARISONS: list[tuple[str, bool]] = [
    ("N'a' = N'A'", True),
    ("N'a' = N'a   '", True),
    ("N' a' = N'a'", False),
    ("N'e' = N'é'", False),
    ("N'a' = N'A' COLLATE Latin1_General_CS_AS", False),
    ("N'e' = N'É' COLLATE Latin1_General_CI_AI", True),
    ("N'e' = N'É' COLLATE Latin1_General_CS_AI", False),
    ("N'a' = N'A' COLLATE Latin1_General_BIN2", False),
    ("N'a' < N'B'", True),
    ("N'B' < N'a' COLLATE Latin1_General_BIN2", True),
    ("N'É' < N'f'", True),
    ("N'a' IN (N'x', N'A')", True),
    ("N'straße' LIKE N'STRA%'", True),
    ("N'a' LIKE N'A' COLLATE Latin1_General_CS_AS", False),
]


@pytest.mark.parametrize(("condition", "holds"), COMPARISONS)
def test_text_is_compared_by_its_collation(client: Client, condition: str, holds: bool) -> None:
    assert client.value(f"SELECT CASE WHEN {condition} THEN 1 ELSE 0 END") == int(holds)


def test_grouping_distinct_and_ordering_agree_with_equality(client: Client) -> None:
    client.events(
        "CREATE TABLE w (t nvarchar(10)); INSERT INTO w VALUES (N'b'), (N'A'), (N'a '), (N'B'), (N'é'), (N'f'), (N'e')"
    )
    try:
        assert client.rows("SELECT COUNT(*) FROM w GROUP BY t ORDER BY t") == [(2,), (2,), (1,), (1,), (1,)]
        assert client.value("SELECT COUNT(DISTINCT t) FROM w") == 5
        assert [row[0].strip().lower() for row in client.rows("SELECT t FROM w ORDER BY t")] == list(
            "aabbeéf"
        )
        assert client.rows("SELECT LOWER(MIN(t)), LOWER(MAX(t)) FROM w") in ([("a", "f")], [("a ", "f")])
    finally:
        client.events("DROP TABLE w")


def test_a_case_sensitive_column_keeps_its_own_rules(client: Client) -> None:
    client.events(
        "CREATE TABLE x (t nvarchar(10) COLLATE Latin1_General_CS_AS UNIQUE, d nvarchar(5) COLLATE DATABASE_DEFAULT)"
    )
    try:
        client.events("INSERT INTO x (t) VALUES (N'a'), (N'A')")
        assert client.rows("SELECT t FROM x WHERE t = N'A'") == [("A",)]
        assert client.rows(
            "SELECT collation_name FROM sys.columns WHERE object_id = OBJECT_ID(N'x') ORDER BY column_id"
        ) == [
            ("Latin1_General_CS_AS",),
            ("SQL_Latin1_General_CP1_CI_AS",),
        ]
    finally:
        client.events("DROP TABLE x")


def test_identity_goes_on_from_what_was_inserted_and_reseeded(client: Client) -> None:
    client.events("CREATE TABLE i (id int IDENTITY(10, 5) PRIMARY KEY, v int)")
    try:
        client.events("INSERT INTO i (v) VALUES (1), (2)")
        assert client.rows("SELECT id FROM i ORDER BY id") == [(10,), (15,)]
        client.events(
            "SET IDENTITY_INSERT i ON; INSERT INTO i (id, v) VALUES (100, 3); SET IDENTITY_INSERT i OFF"
        )
        assert client.value("INSERT INTO i (v) OUTPUT inserted.id VALUES (4)") == 105
        client.events("DELETE FROM i; DBCC CHECKIDENT (N'i', RESEED, 0) WITH NO_INFOMSGS")
        assert client.value("INSERT INTO i (v) OUTPUT inserted.id VALUES (5)") == 5
        client.events("TRUNCATE TABLE i")
        assert client.value("INSERT INTO i (v) OUTPUT inserted.id VALUES (6)") == 10
        assert client.rows("SELECT IDENT_CURRENT(N'i'), IDENT_SEED(N'i'), IDENT_INCR(N'i')") == [(10, 10, 5)]
    finally:
        client.events("DROP TABLE i")


def test_altering_a_column_converts_its_values_or_fails(client: Client) -> None:
    client.events("CREATE TABLE a (v nvarchar(10) NULL, n int NULL); INSERT INTO a VALUES (N'12', 5)")
    try:
        client.events(
            "ALTER TABLE a ALTER COLUMN v int NULL; ALTER TABLE a ALTER COLUMN n decimal(8, 2) NOT NULL"
        )
        assert client.rows("SELECT v + 1, n FROM a") == [(13, Decimal("5.00"))]
        client.events("ALTER TABLE a ALTER COLUMN v nvarchar(20) NULL; UPDATE a SET v = N'abc'")
        assert client.error("ALTER TABLE a ALTER COLUMN v int NULL")[0] == 245
        assert client.error("INSERT INTO a (v) VALUES (N'x')")[0] == 515
    finally:
        client.events("DROP TABLE a")


@given(
    st.one_of(
        st.integers(-(2**63), 2**63 - 1),
        st.decimals(allow_nan=False, allow_infinity=False),
        st.binary(),
        st.booleans(),
    )
)
def test_a_parameter_is_encoded_so_that_it_can_be_read_back(value: int | Decimal | bytes | bool) -> None:
    data, data_format = encode(value)
    assert data is not None
    if isinstance(value, bytes):
        assert (data, data_format) == (value, 1)
    elif isinstance(value, bool):
        assert data == (b"t" if value else b"f")
    else:
        assert Decimal(data.decode()) == value


def test_what_postgresql_cannot_keep_is_refused_by_name() -> None:
    with pytest.raises(SqlError, match="U\\+0000"):
        encode("a\0b")
