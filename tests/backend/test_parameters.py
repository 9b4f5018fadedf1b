"""Placeholders become the driver's, and each type of value is declared in few sizes."""

from __future__ import annotations

import datetime
import decimal
import enum
import random
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, models
from django.test.utils import isolate_apps
from django.utils.functional import lazystr
from django.utils.safestring import mark_safe
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import DjangoDbBlocker

from mssql.base import DatabaseWrapper
from mssql.odbc import pyodbc
from mssql.parameters import (
    BIGINT,
    NULL,
    NVARCHAR,
    NarrowText,
    bind_value,
    template,
)
from tests.backend.echo import Echo, echo

INDIA = datetime.timezone(datetime.timedelta(hours=5, minutes=30))


class Colour(enum.IntEnum):
    RED = 1


class TestTemplate:
    @pytest.mark.parametrize(
        ("sql", "expected"),
        [
            ("SELECT %s, %s", "SELECT ?, ?"),
            ("SELECT 5 %% %s", "SELECT 5 % ?"),
            ("WHERE a LIKE '50%%' AND b = %s", "WHERE a LIKE '50%' AND b = ?"),
            ("SELECT '%s', %s", "SELECT '%s', ?"),
            ("SELECT 'it''s %s', %s", "SELECT 'it''s %s', ?"),
            ("SELECT [a%sb], %s", "SELECT [a%sb], ?"),
            ("SELECT [a]]%s], %s", "SELECT [a]]%s], ?"),
            ('SELECT "%s", %s', 'SELECT "%s", ?'),
            ("SELECT %s -- don't %s\n, %s", "SELECT ? -- don't %s\n, ?"),
            ("SELECT /* '%s */ %s", "SELECT /* '%s */ ?"),
            ("SELECT a %d b", "SELECT a %d b"),
        ],
    )
    def test_placeholders_are_found_where_they_are_ones(self, sql: str, expected: str) -> None:
        assert template(sql).sql == expected

    def test_names_may_come_twice_and_in_any_order(self) -> None:
        prepared = template("SELECT %(b)s, %(a)s, %(b)s")
        assert prepared.sql == "SELECT ?, ?, ?"
        assert prepared.bind({"a": 1, "b": 2, "more": 3})[0] == [2, 1, 2]

    @pytest.mark.parametrize(
        ("sql", "params", "message"),
        [
            ("SELECT %s", [], "1 parameter"),
            ("SELECT 1", [1], "0 parameter"),
            ("SELECT %s", {"a": 1}, "does not name"),
            ("SELECT %(a)s", [1], "as a dict"),
            ("SELECT %(a)s", {"b": 1}, "'a' was not given"),
            ("SELECT %(a)s, %s", {"a": 1}, "cannot mix"),
        ],
    )
    def test_parameters_that_do_not_fit_are_an_error(self, sql: str, params: Any, message: str) -> None:
        with pytest.raises(pyodbc.ProgrammingError, match=message):
            template(sql).bind(params)

    @given(st.text(alphabet="'\"[]%s-*/ab\n()"))
    def test_any_text_keeps_its_literals(self, text: str) -> None:
        literal = "'" + text.replace("'", "''").replace("%", "%%") + "'"
        assert template(f"SELECT {literal}, %s").sql == f"SELECT {literal.replace('%%', '%')}, ?"

    def test_none_is_declared_as_what_stood_there(self) -> None:
        prepared = template("INSERT INTO none_is_declared VALUES (%s, %s)")
        assert prepared.bind([None, None])[1] == [NVARCHAR, NVARCHAR]
        prepared.bind([5, "x"])
        assert prepared.bind([None, None]) == ([NULL, NULL], [BIGINT, NVARCHAR])


@pytest.mark.parametrize(
    ("value", "tsql"),
    [
        (1, "bigint"),
        (-(2**63), "bigint"),
        (2**63, "numeric(38, 4)"),
        (Colour.RED, "bigint"),
        (True, "bit"),
        ("a", "nvarchar(4000)"),
        ("a" * 4000, "nvarchar(4000)"),
        ("\N{GRINNING FACE}" * 2000, "nvarchar(4000)"),
        ("\N{GRINNING FACE}" * 2001, "nvarchar(max)"),
        ("a" * 4001, "nvarchar(max)"),
        (mark_safe("a"), "nvarchar(4000)"),
        (lazystr("a"), "nvarchar(4000)"),
        (b"a", "varbinary(8000)"),
        (b"a" * 8001, "varbinary(max)"),
        (memoryview(b"a"), "varbinary(8000)"),
        (1.5, "float"),
        (decimal.Decimal("1"), "numeric(19, 4)"),
        (decimal.Decimal("123456789012345.1234"), "numeric(19, 4)"),
        (decimal.Decimal("1.12345"), "numeric(28, 10)"),
        (decimal.Decimal("1e-12"), "numeric(38, 20)"),
        (decimal.Decimal("1e20"), "numeric(38, 4)"),
        (decimal.Decimal("1" * 30 + ".123456"), "numeric(36, 6)"),
        (datetime.date(2024, 2, 29), "date"),
        (datetime.datetime(2024, 2, 29, 1, 2, 3, 4), "datetime2(7)"),
        (datetime.datetime(2024, 2, 29, 1, 2, 3, 4, INDIA), "datetimeoffset(7)"),
        (datetime.time(1, 2, 3, 4), "time(7)"),
        (datetime.timedelta(days=-1), "bigint"),
        (uuid.uuid4(), "uniqueidentifier"),
        (NarrowText("a"), "varchar(8000)"),
    ],
)
def test_declared_type(value: Any, tsql: str) -> None:
    assert bind_value(value)[1].tsql == tsql


def test_a_type_without_counterpart_is_named() -> None:
    with pytest.raises(pyodbc.ProgrammingError, match="type object has no counterpart"):
        bind_value(object())


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**18), max_value=10**18, places=9))
def test_a_decimal_fits_its_declaration(value: decimal.Decimal) -> None:
    _, size, scale = bind_value(value)[1]
    digits = value.as_tuple()
    assert isinstance(digits.exponent, int)
    assert -digits.exponent <= scale
    assert len(digits.digits) + digits.exponent <= size - scale


@pytest.fixture(scope="module")
def engine(django_db_blocker: DjangoDbBlocker) -> Iterator[Echo]:
    with django_db_blocker.unblock(), echo() as running:
        yield running


@pytest.fixture(scope="module")
def alias(engine: Echo) -> DatabaseWrapper:
    return engine.alias()


def echoed(alias: DatabaseWrapper, *values: Any) -> tuple[Any, ...]:
    with alias.cursor() as cursor:
        cursor.execute("echo " + ", ".join(["%s"] * len(values)), values)
        row = cursor.fetchone()
    assert row is not None
    return row


@pytest.mark.parametrize(
    "value",
    [
        0,
        -(2**63),
        True,
        "",
        "é€\N{GRINNING FACE}\0\n",
        "x" * 10_000,
        NarrowText("0123 ~"),
        b"",
        b"\x00\xff",
        b"z" * 10_000,
        1.5,
        -1e300,
        decimal.Decimal("-0.0001"),
        decimal.Decimal("99999999999999999999999999999999999999"),
        datetime.date(1, 1, 1),
        datetime.date(9999, 12, 31),
        datetime.datetime(2024, 2, 29, 23, 59, 59, 999999),
        datetime.datetime(2024, 2, 29, 1, 2, 3, 4, INDIA),
        datetime.datetime(1, 1, 2, tzinfo=datetime.UTC),
        datetime.time(23, 59, 59, 999999),
        None,
    ],
)
def test_a_value_comes_back_as_it_went(alias: DatabaseWrapper, value: Any) -> None:
    (got,) = echoed(alias, value)
    assert got == value
    if isinstance(value, datetime.datetime):
        assert got.utcoffset() == value.utcoffset()


class VarCharField(models.CharField):
    """As docs/orm.md has it."""

    def db_type(self, connection: Any) -> str:
        return f"varchar({self.max_length})"


@pytest.mark.django_db
@isolate_apps("tests.backend")
def test_a_field_of_varchar_compares_with_varchar(standin: Any) -> None:
    class Part(models.Model):  # noqa: DJ008
        code = VarCharField(max_length=20)

        class Meta:
            app_label = "backend"

    with connection.schema_editor() as editor:
        editor.create_model(Part)
    parts = Part.objects
    parts.bulk_create([Part(code="AB-1"), Part(code="AB-2"), Part(code="é")])

    def declared(queryset: Any, found: int) -> set[str]:
        seen = {(item["sql"], item["parameters"]) for item in standin.control.statements()}
        assert queryset.count() == found
        sent = {(item["sql"], item["parameters"]) for item in standin.control.statements()} - seen
        return {kind for _, parameters in sent for kind in re.findall(r"@P\d+ (\w+)", parameters)}

    assert declared(parts.filter(code="AB-1"), 1) == {"varchar"}
    assert declared(parts.filter(code__startswith="AB"), 2) == {"varchar"}
    assert declared(parts.filter(code__in=["AB-2", "x", "AB-3"]), 1) == {"varchar"}
    assert declared(parts.filter(code="é"), 1) == {"nvarchar"}
    assert declared(parts.filter(code__in=["AB-2", "é"]), 2) == {"varchar", "nvarchar"}
    assert parts.filter(code__in=["AB-2", *map(str, range(60))]).count() == 1
    assert parts.filter(code__in=["é", "\N{EURO SIGN}", *map(str, range(60))]).count() == 1


def test_a_duration_is_its_microseconds(alias: DatabaseWrapper) -> None:
    assert echoed(alias, datetime.timedelta(days=-1, microseconds=5)) == (-86_399_999_995,)


def test_native_uuids_come_back_as_uuids(engine: Echo) -> None:
    value = uuid.uuid4()
    assert echoed(engine.alias(OPTIONS={"uuid_storage": "uniqueidentifier"}), value) == (value,)


def test_strings_of_a_thousand_lengths_make_two_statements(engine: Echo, alias: DatabaseWrapper) -> None:
    engine.instance.executed.clear()
    lengths = [*range(1, 1001), 5000, 9000]
    random.Random(1).shuffle(lengths)
    for length in lengths:
        echoed(alias, "x" * length, length)
    declared = {tuple(parameter.type for parameter in params) for _, params in engine.instance.executed}
    assert len(declared) == 2


def test_rows_with_nulls_in_any_order_make_few_statements(engine: Echo, alias: DatabaseWrapper) -> None:
    choice = random.Random(2)
    engine.instance.executed.clear()
    for _ in range(500):
        row = (
            choice.choice([None, 1, 2**40]),
            choice.choice([None, "a", "b" * 300]),
            choice.choice([None, decimal.Decimal("1.5"), decimal.Decimal("1234.5678")]),
            choice.choice([None, datetime.date(2024, 1, 1)]),
        )
        with alias.cursor() as cursor:
            cursor.execute("echo %s, %s, %s, %s -- rows in any order", row)
    declared = {tuple(parameter.type for parameter in params) for _, params in engine.instance.executed}
    assert len(declared) <= 4
