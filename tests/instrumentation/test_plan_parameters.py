"""Parameters become declarations of the types that they travel with."""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mssql.instrumentation.plan_parameters import MAX_LITERAL, Declared, as_batch, declare, declare_value
from mssql.odbc import pyodbc
from mssql.parameters import Declaration, bind_value

ZONE = datetime.timezone(datetime.timedelta(hours=2))


@pytest.mark.parametrize(
    ("value", "sql_type", "literal"),
    [
        (None, "nvarchar(4000)", "NULL"),
        (True, "bit", "1"),
        (5, "bigint", "5"),
        (-(2**63), "bigint", "-9223372036854775808"),
        (2**70, "numeric(38, 0)", str(2**70)),
        (1.5, "float", "1.5"),
        (float("nan"), "float", "NULL"),
        (Decimal("12.50"), "numeric(4, 2)", "12.50"),
        (Decimal("1E+3"), "numeric(4, 0)", "1000"),
        (Decimal("0.001"), "numeric(3, 3)", "0.001"),
        (Decimal("NaN"), "numeric(38, 0)", "NULL"),
        (datetime.datetime(2026, 1, 2, 3, 4, 5, 6), "datetime2(7)", "'2026-01-02T03:04:05.000006'"),
        (
            datetime.datetime(2026, 1, 2, tzinfo=ZONE),
            "datetimeoffset(7)",
            "'2026-01-02 00:00:00.000000+02:00'",
        ),
        (datetime.date(2026, 1, 2), "date", "'2026-01-02'"),
        (datetime.time(3, 4), "time(7)", "'03:04:00.000000'"),
        (uuid.UUID(int=1), "uniqueidentifier", "'00000000-0000-0000-0000-000000000001'"),
        (b"\x01\xff", "varbinary(8000)", "0x01ff"),
        (b"x" * 9000, "varbinary(max)", "0x" + "78" * 9000),
        (bytearray(b"\x00"), "varbinary(8000)", "0x00"),
        ("O'Brien", "nvarchar(4000)", "N'O''Brien'"),
        ("x" * 4001, "nvarchar(max)", f"N'{'x' * 4001}'"),
        ("\N{GRINNING FACE}" * 2001, "nvarchar(max)", f"N'{chr(0x1F600) * 2001}'"),
        ("x" * (MAX_LITERAL + 1), "nvarchar(max)", "NULL"),
    ],
)
def test_types_and_literals(value: object, sql_type: str, literal: str) -> None:
    assert declare_value(value) == Declared(sql_type, literal)


@pytest.mark.parametrize(
    "value",
    [
        True,
        5,
        1.5,
        "a",
        "x" * 5000,
        b"a",
        datetime.date(2026, 1, 2),
        datetime.datetime(2026, 1, 2),
        uuid.uuid4(),
    ],
)
def test_the_types_are_the_backends_own(value: Any) -> None:
    assert declare_value(value).sql_type == bind_value(value)[1].tsql


def test_the_cursors_declarations_are_taken() -> None:
    aware = datetime.datetime(2026, 1, 2, tzinfo=ZONE)
    value, declaration = bind_value(aware)
    null = Declaration(2, 19, 4)
    assert declare([value, pyodbc.BinaryNull], [declaration, null]) == [
        Declared("datetimeoffset(7)", "N'2026-01-02 00:00:00.000000+02:00'"),
        Declared("numeric(19, 4)", "NULL"),
    ]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT ?", "SELECT @P1"),
        ("SELECT '?', [a?b], \"c?\", ?", "SELECT '?', [a?b], \"c?\", @P1"),
        ("SELECT 'it''s ?', ? -- why?\n, ?", "SELECT 'it''s ?', @P1 -- why?\n, @P2"),
        ("SELECT /* ? /* ? */ ? */ ?", "SELECT /* ? /* ? */ ? */ @P1"),
        ("SELECT [a]]?], ?", "SELECT [a]]?], @P1"),
        ("SELECT 1", "SELECT 1"),
        ("SELECT 'unterminated ?", "SELECT 'unterminated @P1"),
    ],
)
def test_markers_become_variables(sql: str, expected: str) -> None:
    batch = as_batch(sql, [Declared("int", "1"), Declared("int", "2")])
    assert batch == f"DECLARE @P1 int = 1,\n        @P2 int = 2;\n{expected}"


def test_a_statement_without_parameters_is_itself() -> None:
    assert as_batch("SELECT 'a?'", []) == "SELECT 'a?'"


@settings(deadline=None)
@given(st.text())
def test_a_string_ends_where_it_ends(value: str) -> None:
    """No value can close its own literal: what stands inside has only doubled quotes."""
    literal = declare_value(value).literal
    assert literal[:2] == "N'"
    assert literal[-1] == "'"
    assert literal[2:-1].replace("''", "") == value.replace("'", "")
