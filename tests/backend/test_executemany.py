"""executemany(): many rows in few messages, every value as it was, all of them or none."""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from mssql.cursor import ARRAY_ROWS

pytestmark = pytest.mark.django_db(transaction=True)

COLUMNS = (
    "i int NULL, s nvarchar(400) NULL, d numeric(12, 4) NULL, day date NULL, at datetime2 NULL, "
    "zoned datetimeoffset NULL, t time NULL, b varbinary(400) NULL, f bit NULL, x float NULL, g uniqueidentifier NULL"
)
INSERT = (
    "INSERT INTO many (id, i, s, d, day, at, zoned, t, b, f, x, g) VALUES (" + ", ".join(["%s"] * 12) + ")"
)


@pytest.fixture(autouse=True)
def _table() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE many (id int PRIMARY KEY, {COLUMNS})")
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE many")


def row(number: int) -> tuple[Any, ...]:
    if number % 5 == 0:
        return (number, *[None] * 11)
    return (
        number,
        number - 50,
        "é€\N{GRINNING FACE}" * (number % 100),
        decimal.Decimal(number) / 8,
        datetime.date(2024, 2, 29),
        datetime.datetime(2024, 2, 29, 1, 2, 3, number),
        datetime.datetime(2024, 2, 29, 1, 2, 3, number, datetime.timezone(datetime.timedelta(hours=-3))),
        datetime.time(23, 59, 59, 999_000 + number % 1000),
        bytes(number % 256 for _ in range(number % 300)),
        number % 2 == 0,
        number / 7,
        uuid.UUID(int=number),
    )


def count() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM many")
        return int(cursor.fetchone()[0])


@pytest.mark.parametrize("rows", [3, ARRAY_ROWS - 1, 10 * ARRAY_ROWS])
def test_every_value_arrives(rows: int) -> None:
    data = [row(number) for number in range(1, rows + 1)]
    with connection.cursor() as cursor:
        cursor.executemany(INSERT, data)
        cursor.execute("SELECT * FROM many ORDER BY id")
        stored = cursor.fetchall()
    expected = [(*item[:-1], str(item[-1]).upper() if item[-1] else None) for item in data]
    assert stored == expected


def test_many_rows_take_few_messages(standin: Any) -> None:
    data = [row(number) for number in range(1, 1001) if number % 5]
    with connection.cursor() as cursor:
        standin.control.messages(reset=True)
        cursor.executemany(INSERT, data)
        sent = standin.control.messages(reset=True)
    assert sent["count"] <= 8, [item["kind"] for item in sent["messages"]]
    assert count() == len(data)


@pytest.mark.parametrize("rows", [5, 200])
def test_a_row_that_fails_leaves_none_behind(rows: int) -> None:
    data = [row(number) for number in range(1, rows)]
    with connection.cursor() as cursor, pytest.raises(IntegrityError), transaction.atomic():
        cursor.executemany(INSERT, [*data, data[0], row(9999)])
    assert count() == 0


def test_arrays_are_all_or_nothing_without_a_transaction_too() -> None:
    data = [row(number) for number in range(1, 200)]
    with connection.cursor() as cursor, pytest.raises(IntegrityError):
        cursor.executemany(INSERT, [*data, data[0], row(9999)])
    assert count() == 0
    with connection.cursor() as cursor:
        cursor.executemany(INSERT, data)
    assert count() == len(data)


def test_long_text_goes_row_by_row() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE many ALTER COLUMN s nvarchar(max)")
        cursor.executemany("INSERT INTO many (id, s) VALUES (%s, %s)", [(n, "x" * 5000) for n in range(60)])
        cursor.execute("SELECT COUNT(*) FROM many WHERE LEN(s) = 5000")
        assert cursor.fetchone() == (60,)
