"""Dates and times: literals, arithmetic, parts, time zones and text."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest

from tests.sqlserver_standin.sql_support import Client, new_client


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    client = new_client()
    yield client
    client.session.close()


def at(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def day(text: str) -> datetime.date:
    return datetime.date.fromisoformat(text)


# https://learn.microsoft.com/sql/t-sql/functions/date-and-time-data-types-and-functions-transact-sql
VALUES: list[tuple[str, Any]] = [
    # Text to dates
    ("CAST('2020-02-29' AS date)", day("2020-02-29")),
    ("CAST('20200229' AS date)", day("2020-02-29")),
    ("CAST('02/29/2020' AS date)", day("2020-02-29")),
    ("CONVERT(date, '29/02/2020', 103)", day("2020-02-29")),
    ("CAST('Feb 29 2020' AS date)", day("2020-02-29")),
    ("CAST('29 February 2020' AS date)", day("2020-02-29")),
    ("CAST('' AS datetime)", at("1900-01-01")),
    ("CAST('2020-02-29T10:11:12.123456' AS datetime2)", at("2020-02-29 10:11:12.123456")),
    ("CAST('2020-02-29 10:11:12.126' AS datetime)", at("2020-02-29 10:11:12.127")),
    ("CAST('2020-02-29 10:11:12.999' AS datetime)", at("2020-02-29 10:11:13")),
    ("CAST('2020-02-29 10:11:29' AS smalldatetime)", at("2020-02-29 10:11")),
    ("CAST('2020-02-29 10:11:30' AS smalldatetime)", at("2020-02-29 10:12")),
    ("CAST('2020-02-29 2:03 PM' AS datetime)", at("2020-02-29 14:03")),
    ("CAST('10:11' AS time)", datetime.time(10, 11)),
    ("CAST('2020-02-29 10:11:12 +02:30' AS datetimeoffset)", at("2020-02-29 10:11:12+02:30")),
    ("CAST('2020-02-29T10:11:12Z' AS datetimeoffset)", at("2020-02-29 10:11:12+00:00")),
    ("CAST(1.5 AS datetime)", at("1900-01-02 12:00")),
    ("CAST(CAST('1900-01-02 12:00' AS datetime) AS float)", 1.5),
    ("CAST(CAST('2020-01-01 10:00 +02:00' AS datetimeoffset) AS datetime2)", at("2020-01-01 10:00")),
    ("CAST('2020-01-01' AS datetime) + 1", at("2020-01-02")),
    ("TRY_CAST('2020-02-30' AS date)", None),
    # Arithmetic
    ("DATEADD(month, 1, CAST('2020-01-31' AS date))", day("2020-02-29")),
    ("DATEADD(year, -1, CAST('2020-02-29' AS date))", day("2019-02-28")),
    ("DATEADD(quarter, 1, CAST('2020-01-31' AS datetime2))", at("2020-04-30")),
    ("DATEADD(week, 1, '2020-01-01')", at("2020-01-08")),
    ("DATEADD(microsecond, 5, CAST('2020-01-01' AS datetime2))", at("2020-01-01 00:00:00.000005")),
    ("DATEADD(hour, 1, CAST('2020-01-01 10:00 +02:00' AS datetimeoffset))", at("2020-01-01 11:00+02:00")),
    ("DATEADD(minute, 90, CAST('23:00' AS time))", datetime.time(0, 30)),
    # Differences count boundaries, not elapsed time.
    ("DATEDIFF(year, '2019-12-31', '2020-01-01')", 1),
    ("DATEDIFF(month, '2020-01-31', '2020-02-01')", 1),
    ("DATEDIFF(quarter, '2020-03-31', '2020-04-01')", 1),
    ("DATEDIFF(day, '2020-01-01 23:59', '2020-01-02 00:01')", 1),
    ("DATEDIFF(hour, '2020-01-01 10:59', '2020-01-01 11:00')", 1),
    ("DATEDIFF(minute, '10:00:59', '10:01:00')", 1),
    ("DATEDIFF(week, '2020-01-04', '2020-01-05')", 1),
    ("DATEDIFF(week, '2020-01-05', '2020-01-11')", 0),
    ("DATEDIFF(second, '2020-01-01 00:00:00.9', '2020-01-01 00:00:01.1')", 1),
    ("DATEDIFF_BIG(microsecond, '1900-01-01', '2020-01-01')", 3786825600000000),
    ("DATEDIFF(day, '2020-01-02', '2020-01-01')", -1),
    # Parts
    ("DATEPART(weekday, '2020-01-01')", 4),
    ("DATEPART(week, '2020-01-05')", 2),
    ("DATEPART(iso_week, '2021-01-01')", 53),
    ("DATEPART(dayofyear, '2020-12-31')", 366),
    ("DATEPART(quarter, '2020-05-01')", 2),
    ("DATEPART(microsecond, CAST('2020-01-01 00:00:00.123456' AS datetime2))", 123456),
    ("DATEPART(nanosecond, CAST('2020-01-01 00:00:00.123456' AS datetime2))", 123456000),
    ("DATEPART(tzoffset, CAST('2020-01-01 10:00 +02:30' AS datetimeoffset))", 150),
    ("YEAR('2020-05-06') * 10000 + MONTH('2020-05-06') * 100 + DAY('2020-05-06')", 20200506),
    ("DATENAME(month, '2020-05-06')", "May"),
    ("DATENAME(weekday, '2020-05-06')", "Wednesday"),
    ("DATENAME(year, '2020-05-06')", "2020"),
    ("EOMONTH('2020-01-31', 1)", day("2020-02-29")),
    ("DATEFROMPARTS(2020, 2, 29)", day("2020-02-29")),
    ("DATETIME2FROMPARTS(2020, 2, 29, 10, 11, 12, 5, 1)", at("2020-02-29 10:11:12.5")),
    ("DATETIMEOFFSETFROMPARTS(2020, 2, 29, 10, 11, 12, 0, 2, 30, 0)", at("2020-02-29 10:11:12+02:30")),
    ("DATETRUNC(month, CAST('2020-05-06' AS date))", day("2020-05-01")),
    ("DATETRUNC(week, CAST('2020-01-08' AS date))", day("2020-01-05")),
    ("DATETRUNC(iso_week, CAST('2020-01-08' AS date))", day("2020-01-06")),
    ("DATETRUNC(hour, CAST('2020-05-06 10:11:12' AS datetime2))", at("2020-05-06 10:00")),
    ("ISDATE('2020-02-30')", 0),
    ("ISDATE('2020-02-29')", 1),
    # Offsets and zones: rules of daylight saving apply.
    ("SWITCHOFFSET(CAST('2020-01-01 10:00 +02:00' AS datetimeoffset), '-05:00')", at("2020-01-01 03:00-05:00")),
    ("TODATETIMEOFFSET(CAST('2020-01-01 10:00' AS datetime2), 120)", at("2020-01-01 10:00+02:00")),
    ("CAST('2020-01-01 12:00' AS datetime2) AT TIME ZONE 'Romance Standard Time'", at("2020-01-01 12:00+01:00")),
    ("CAST('2020-07-01 12:00' AS datetime2) AT TIME ZONE 'Romance Standard Time'", at("2020-07-01 12:00+02:00")),
    ("CAST('2020-07-01 12:00' AS datetime2) AT TIME ZONE 'UTC' AT TIME ZONE 'Eastern Standard Time'",
     at("2020-07-01 08:00-04:00")),
    # A time that the clock skips moves forward; one that it shows twice is the later, standard one.
    ("CAST('2015-03-29 02:01:00' AS datetime2) AT TIME ZONE 'Central European Standard Time'",
     at("2015-03-29 03:01:00+02:00")),
    ("CAST('2015-10-25 02:01:00' AS datetime2) AT TIME ZONE 'Central European Standard Time'",
     at("2015-10-25 02:01:00+01:00")),
    # Dates to text
    ("CONVERT(varchar(30), CAST('2020-02-09 14:05:06.123' AS datetime))", "Feb  9 2020  2:05PM"),
    ("CONVERT(varchar(30), CAST('2020-02-09 14:05:06.123' AS datetime), 121)", "2020-02-09 14:05:06.123"),
    ("CONVERT(varchar(30), CAST('2020-02-09 14:05:06.123' AS datetime), 120)", "2020-02-09 14:05:06"),
    ("CONVERT(varchar(30), CAST('2020-02-09 14:05:06' AS datetime), 126)", "2020-02-09T14:05:06"),
    ("CONVERT(varchar(30), CAST('2020-02-09 14:05:06.5' AS datetime2(3)), 126)", "2020-02-09T14:05:06.500"),
    ("CONVERT(varchar(30), CAST('2020-02-09' AS date), 112)", "20200209"),
    ("CONVERT(varchar(30), CAST('2020-02-09' AS date), 103)", "09/02/2020"),
    ("CONVERT(varchar(8), CAST('2020-02-09' AS date), 1)", "02/09/20"),
    ("CAST(CAST('2020-02-09' AS date) AS varchar(10))", "2020-02-09"),
    ("CAST(CAST('10:11' AS time(0)) AS varchar(20))", "10:11:00"),
    ("CAST(CAST('2020-02-09 10:11' AS datetime2) AS varchar(40))", "2020-02-09 10:11:00.0000000"),
    ("CAST(CAST('2020-02-09 10:11 +02:00' AS datetimeoffset(0)) AS varchar(40))", "2020-02-09 10:11:00 +02:00"),
    ("FORMAT(CAST('2020-02-09 14:05' AS datetime), 'yyyy-MM-dd hh:mm tt')", "2020-02-09 02:05 PM"),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "expected"), VALUES, ids=[expression for expression, _ in VALUES])
def test_a_date_expression_has_sql_servers_value(client: Client, expression: str, expected: Any) -> None:
    assert client.value(f"SELECT {expression}") == expected


ERRORS = [
    ("CAST('2020-02-30' AS date)", 241),
    ("CAST('nonsense' AS datetime2)", 241),
    ("CAST('2020-02-30' AS datetime)", 242),
    ("CAST('2020-01-01 10:00:00.1234' AS datetime)", 241),
    ("DATEADD(year, 10000, GETDATE())", 517),
    ("DATEDIFF(millisecond, '1900-01-01', '2020-01-01')", 535),
    ("DATEPART(hour, CAST('2020-01-01' AS date))", 9810),
    ("DATEPART(nonsense, GETDATE())", 155),
    ("DATEFROMPARTS(2020, 2, 30)", 289),
    ("GETDATE() AT TIME ZONE 'Nowhere Standard Time'", 9820),
]


@pytest.mark.parametrize(("expression", "number"), ERRORS)
def test_a_date_expression_fails_with_sql_servers_error(client: Client, expression: str, number: int) -> None:
    assert client.error(f"SELECT {expression}")[0] == number


def test_weeks_begin_where_datefirst_says() -> None:
    client = new_client()
    client.events("SET DATEFIRST 1")
    assert client.rows("SELECT DATEPART(weekday, '2020-01-05'), DATEPART(week, '2020-01-06')") == [(7, 2)]
    client.session.close()


def test_the_moment_is_one_in_a_statement(client: Client) -> None:
    ((first, second),) = client.rows("SELECT SYSDATETIME(), SYSUTCDATETIME()")
    assert first == second
    assert abs(first - datetime.datetime.now(datetime.UTC).replace(tzinfo=None)) < datetime.timedelta(
        minutes=1
    )
