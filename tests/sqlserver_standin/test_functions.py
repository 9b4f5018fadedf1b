"""Built-in functions and operators give what SQL Server gives: value, type, or error."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sqlserver_standin.events import Parameter
from sqlserver_standin.types import SqlType
from tests.sqlserver_standin.sql_support import Client, new_client


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    client = new_client()
    yield client
    client.session.close()


D = Decimal

# https://learn.microsoft.com/sql/t-sql/functions/functions
VALUES: list[tuple[str, Any]] = [
    # Integers divide as integers, towards zero.
    ("7 / 2", 3),
    ("-7 / 2", -3),
    ("7 % 3", 1),
    ("-7 % 3", -1),
    ("7.0 / 2", D("3.500000")),
    ("2.0 / 3", D("0.666666")),
    ("5 & 3", 1),
    ("5 | 3", 7),
    ("5 ^ 3", 6),
    ("~5", -6),
    ("~CAST(5 AS tinyint)", 250),
    ("1 << 3", 8),
    ("16 >> 2", 4),
    ("-16 >> 28", 15),
    # Strings
    ("'a' + 'b'", "ab"),
    ("'a' + NULL", None),
    ("'1' + 2", 3),
    ("1 + '2'", 3),
    ("CONCAT('a', NULL, 1, CAST(1.50 AS decimal(4,2)))", "a11.50"),
    ("CONCAT_WS('-', 'a', NULL, 'b')", "a-b"),
    ("LEN('abc  ')", 3),
    ("LEN(N'😀')", 2),
    ("DATALENGTH('abc')", 3),
    ("DATALENGTH(N'abc ')", 8),
    ("DATALENGTH(CAST(1 AS bigint))", 8),
    ("LEFT('abc', 2)", "ab"),
    ("RIGHT('abc', 2)", "bc"),
    ("LEFT('abc', 0)", ""),
    ("SUBSTRING('abcdef', 2, 3)", "bcd"),
    ("SUBSTRING('abcdef', 0, 3)", "ab"),
    ("SUBSTRING('abcdef', -1, 3)", "a"),
    ("SUBSTRING('abc', 2, 100)", "bc"),
    ("CHARINDEX('B', 'abc')", 2),
    ("CHARINDEX('B', 'abc' COLLATE Latin1_General_CS_AS)", 0),
    ("CHARINDEX('a', 'banana', 3)", 4),
    ("CHARINDEX('z', 'abc')", 0),
    ("PATINDEX('%[0-9]%', 'ab3')", 3),
    ("PATINDEX('ab%', 'xab')", 0),
    ("PATINDEX('%[^a-z]%', 'abc d')", 4),
    ("REPLACE('aBcabc', 'b', 'x')", "axcaxc"),
    ("REPLACE('aBcabc' COLLATE Latin1_General_BIN2, 'b', 'x')", "aBcaxc"),
    ("STUFF('abcdef', 2, 3, 'XY')", "aXYef"),
    ("STUFF('abc', 5, 1, 'x')", None),
    ("REVERSE('abc')", "cba"),
    ("REPLICATE('ab', 3)", "ababab"),
    ("REPLICATE('ab', -1)", None),
    ("SPACE(2) + 'x'", "  x"),
    ("LTRIM('  a ')", "a "),
    ("RTRIM(' a  ')", " a"),
    ("TRIM('  a  ')", "a"),
    ("TRIM('.,' FROM '.,a.,')", "a"),
    ("UPPER('é')", "É"),
    ("LOWER('ABC')", "abc"),
    ("CHAR(65)", "A"),
    ("CHAR(256)", None),
    ("NCHAR(8364)", "€"),
    ("UNICODE(N'€')", 8364),
    ("ASCII('A')", 65),
    ("ASCII('')", None),
    ("TRANSLATE('2*[3+4]', '[]', '()')", "2*(3+4)"),
    ("QUOTENAME('a]b')", "[a]]b]"),
    ("QUOTENAME('ab', '''')", "'ab'"),
    ("STR(123.45, 6, 1)", " 123.5"),
    ("STR(123456, 3)", "***"),
    ("FORMAT(1234.5, 'N2')", "1,234.50"),
    ("PARSENAME('a.[b.c].d', 2)", "b.c"),
    # Choice and NULL
    ("ISNULL(NULL, 5)", 5),
    ("ISNULL(CAST(NULL AS varchar(2)), 'abcdef')", "ab"),
    ("COALESCE(NULL, 1, 2)", 1),
    ("NULLIF(1, 1)", None),
    ("NULLIF('a', 'A')", None),
    ("IIF(1 = 1, 'y', 'n')", "y"),
    ("CHOOSE(2, 'a', 'b')", "b"),
    ("CASE WHEN 1 = 2 THEN 1 ELSE 2.5 END", D("2.5")),
    ("CASE 2 WHEN 1 THEN 'a' WHEN 2 THEN 'b' END", "b"),
    ("GREATEST(1, 2.5, NULL)", D("2.5")),
    ("LEAST('b', 'a')", "a"),
    # Mathematics
    ("ABS(-1)", 1),
    ("CEILING(1.2)", D(2)),
    ("FLOOR(-1.2)", D(-2)),
    ("ROUND(2.5, 0)", D("3.0")),
    ("ROUND(1234.567, -2)", D("1200.000")),
    ("ROUND(1.29, 1, 1)", D("1.20")),
    ("ROUND(2.5E0, 0)", 3.0),
    ("POWER(2, 10)", 1024),
    ("POWER(2, -1)", 0),
    ("POWER(2.0, 0.5)", D("1.4")),
    ("POWER(2E0, 0.5E0)", pytest.approx(2**0.5)),
    ("SQRT(16)", 4.0),
    ("SQUARE(3)", 9.0),
    ("SIGN(-2.5)", D("-1.0")),
    ("LOG(EXP(1))", pytest.approx(1.0)),
    ("LOG(8, 2)", pytest.approx(3.0)),
    ("LOG10(1000)", pytest.approx(3.0)),
    ("ATN2(1, 1)", pytest.approx(0.7853981633974483)),
    ("DEGREES(PI())", pytest.approx(180.0)),
    ("RADIANS(180)", 3),
    ("COT(1E0)", pytest.approx(0.6420926159343306)),
    # Conversions
    ("CAST(2.7 AS int)", 2),
    ("CAST(-2.7 AS int)", -2),
    ("CAST(2.5 AS decimal(2,0))", D(3)),
    ("CAST('  42 ' AS int)", 42),
    ("CAST('' AS int)", 0),
    ("CAST('abc' AS varchar(2))", "ab"),
    ("CAST('a' AS char(3))", "a  "),
    ("CAST(123 AS varchar(2))", "*"),
    ("CAST(1.5 AS varchar(10))", "1.5"),
    ("CAST(CAST(1.5 AS decimal(10,3)) AS varchar(10))", "1.500"),
    ("CAST(0.1E0 AS varchar(20))", "0.1"),
    ("CAST(1234567.0E0 AS varchar(20))", "1.23457e+006"),
    ("CAST('true' AS bit)", True),
    ("CAST(5 AS bit)", True),
    ("CAST(CAST(1 AS bit) AS varchar(5))", "1"),
    ("TRY_CAST('abc' AS int)", None),
    ("TRY_CONVERT(date, 'nonsense')", None),
    ("TRY_CAST('1' AS int)", 1),
    ("CONVERT(varchar(10), 0x414243, 1)", "0x414243"),
    ("CONVERT(varchar(10), 0x414243, 2)", "414243"),
    ("CAST(0x414243 AS varchar(10))", "ABC"),
    ("CAST('ABC' AS varbinary(10))", b"ABC"),
    ("CAST(N'AB' AS varbinary(10))", b"A\0B\0"),
    ("CAST(258 AS varbinary(4))", b"\x00\x00\x01\x02"),
    ("CAST(0x0102 AS int)", 258),
    (
        "CAST('6F9619FF-8B86-D011-B42D-00C04FC964FF' AS uniqueidentifier)",
        UUID("6F9619FF-8B86-D011-B42D-00C04FC964FF"),
    ),
    ("CAST(CAST('6F9619FF-8B86-D011-B42D-00C04FC964FF' AS uniqueidentifier) AS varchar(36))",
     "6F9619FF-8B86-D011-B42D-00C04FC964FF"),
    ("HASHBYTES('MD5', 'a')", bytes.fromhex("0cc175b9c0f1b6a831c399e269772661")),
    ("HASHBYTES('SHA1', 'abc')", bytes.fromhex("a9993e364706816aba3e25717850c26c9cd0d89d")),
    ("HASHBYTES('SHA2_256', 'abc')",
     bytes.fromhex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")),
    ("ISNUMERIC('1e5')", 1),
    ("ISNUMERIC('x')", 0),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "expected"), VALUES, ids=[expression for expression, _ in VALUES])
def test_an_expression_has_sql_servers_value(client: Client, expression: str, expected: Any) -> None:
    assert client.value(f"SELECT {expression}") == expected


# https://learn.microsoft.com/sql/t-sql/data-types/precision-scale-and-length-transact-sql
TYPES = [
    ("1", "int"),
    ("2147483648", "decimal(10,0)"),
    ("1.50", "decimal(3,2)"),
    ("0.5", "decimal(1,1)"),
    ("1e0", "float"),
    ("1 + 1.5", "decimal(3,1)"),
    ("CAST(1 AS decimal(10,2)) * CAST(1 AS decimal(10,2))", "decimal(21,4)"),
    ("CAST(1 AS decimal(10,2)) / CAST(1 AS decimal(10,2))", "decimal(23,13)"),
    ("CAST(1 AS decimal(38,10)) * CAST(1 AS decimal(38,10))", "decimal(38,6)"),
    ("CAST(1 AS int) + CAST(1 AS bigint)", "bigint"),
    ("1.5 + 1e0", "float"),
    ("'a'", "varchar(1)"),
    ("N'abc'", "nvarchar(3)"),
    ("'ab' + N'cd'", "nvarchar(4)"),
    ("ISNULL('a', 'bcd')", "varchar(1)"),
    ("COALESCE('a', N'bcd')", "nvarchar(3)"),
    ("COUNT(*)", "int"),
    ("COUNT_BIG(*)", "bigint"),
    ("SUM(CAST(1 AS tinyint))", "int"),
    ("SUM(CAST(1 AS bigint))", "bigint"),
    ("AVG(1)", "int"),
    ("SUM(CAST(1 AS decimal(10,2)))", "decimal(38,2)"),
    ("AVG(CAST(1 AS decimal(10,2)))", "decimal(38,6)"),
    ("AVG(CAST(1 AS real))", "float"),
    ("STDEV(1)", "float"),
    ("POWER(CAST(2 AS smallint), 3)", "int"),
    ("LEN('a')", "int"),
    ("LEN(CAST('a' AS varchar(max)))", "bigint"),
    ("DATEDIFF(day, GETDATE(), GETDATE())", "int"),
    ("DATEDIFF_BIG(day, GETDATE(), GETDATE())", "bigint"),
    ("GETDATE()", "datetime"),
    ("SYSDATETIME()", "datetime2"),
    ("NEWID()", "uniqueidentifier"),
    ("CASE WHEN 1 = 1 THEN 1 ELSE CAST(1 AS bigint) END", "bigint"),
    ("CAST('a' AS varchar)", "varchar(30)"),
    ("NULL", "int"),
]


@pytest.mark.parametrize(("expression", "expected"), TYPES)
def test_an_expression_has_sql_servers_type(client: Client, expression: str, expected: str) -> None:
    assert client.type_of(expression) == expected


ERRORS = [
    ("CAST('abc' AS int)", 245, "Conversion failed when converting the varchar value 'abc' to data type int."),
    ("1 + 'abc'", 245, "Conversion failed when converting the varchar value 'abc' to data type int."),
    ("CAST(N'x' AS decimal(5,2))", 8114, "Error converting data type nvarchar to numeric."),
    ("CAST('x' AS float)", 8114, "Error converting data type varchar to float."),
    ("CAST('x' AS bigint)", 8114, "Error converting data type varchar to bigint."),
    ("CAST(3000000000 AS int)", 8115, "Arithmetic overflow error converting numeric to data type int."),
    ("CAST('3000000000' AS int)", 248, "The conversion of the varchar value '3000000000' overflowed an int column."),
    ("CAST(256 AS tinyint)", 220, "Arithmetic overflow error for data type tinyint, value = 256."),
    ("CAST(1000 AS decimal(3,1))", 8115, "Arithmetic overflow error converting int to data type numeric."),
    ("2147483647 + 1", 8115, "Arithmetic overflow error converting expression to data type int."),
    ("1 / 0", 8134, "Divide by zero error encountered."),
    ("1.0 / 0", 8134, "Divide by zero error encountered."),
    ("CAST('x' AS uniqueidentifier)", 8169,
     "Conversion failed when converting from a character string to uniqueidentifier."),
    ("CAST('x' AS date)", 241, "Conversion failed when converting date and/or time from character string."),
    ("CAST('1600-01-01' AS datetime)", 242,
     "The conversion of a varchar data type to a datetime data type resulted in an out-of-range value."),
    ("CAST(1 AS date)", 529, "Explicit conversion from data type int to date is not allowed."),
    ("CAST(GETDATE() AS date) + 1", 206, "Operand type clash: date is incompatible with int"),
    ("SQRT(-1)", 3623, "An invalid floating point operation occurred."),
    ("SUM(CAST(1 AS bit))", 8117, "Operand data type bit is invalid for sum operator."),
    ("MAX(CAST(1 AS bit))", 8117, "Operand data type bit is invalid for max operator."),
    ("AVG('a')", 8117, "Operand data type varchar is invalid for avg operator."),
    ("'a' - 'b'", 8117, "Operand data type varchar is invalid for subtract operator."),
    ("SUBSTRING('abc', 1, -1)", 537, "Invalid length parameter passed to the LEFT or SUBSTRING function."),
    ("NO_SUCH_FUNCTION(1)", 195, "'NO_SUCH_FUNCTION' is not a recognized built-in function name."),
    ("LEN('a', 'b')", 174, "The len function requires 1 argument(s)."),
    ("COALESCE(NULL, NULL)", 4127,
     "At least one of the arguments to COALESCE must be an expression that is not the NULL constant."),
    ("CASE WHEN 1 = 1 THEN NULL END", 8133,
     "At least one of the result expressions in a CASE specification must be an expression other than the "
     "NULL constant."),
    ("'a' COLLATE No_Such_Collation", 448, "Invalid collation 'No_Such_Collation'."),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "number", "text"), ERRORS, ids=[row[0] for row in ERRORS])
def test_an_expression_fails_with_sql_servers_error(
    client: Client, expression: str, number: int, text: str
) -> None:
    assert client.error(f"SELECT {expression}") == (number, text)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("'abc' = 'ABC'", True),
        ("'abc' = 'abc  '", True),
        ("'abc' = 'ABC' COLLATE Latin1_General_CS_AS", False),
        ("N'é' = N'e'", False),
        ("N'é' = N'e' COLLATE Latin1_General_CI_AI", True),
        ("'abc' LIKE 'AB%'", True),
        ("'abc' LIKE 'AB%' COLLATE Latin1_General_BIN2", False),
        ("'a%c' LIKE 'a!%c' ESCAPE '!'", True),
        ("'abc' LIKE 'a!%c' ESCAPE '!'", False),
        ("'a%c' LIKE 'a[%]c'", True),
        ("'abc' LIKE 'a[%]c'", False),
        ("'b' LIKE '[a-c]'", True),
        ("'d' LIKE '[^a-c]'", True),
        ("'a\\b' LIKE 'a\\b'", True),
        ("'a.b' LIKE 'a.b'", True),
        ("'axb' LIKE 'a.b'", False),
        ("'abc' NOT LIKE '_b_'", False),
        ("'a]b' LIKE 'a]b'", True),
        ("1 = '1'", True),
        ("1 = 1.0", True),
        ("NULL IS DISTINCT FROM 1", True),
        ("1 IS NOT DISTINCT FROM 1", True),
        ("2 BETWEEN 1 AND 3", True),
        ("2 NOT BETWEEN 1 AND 3", False),
        ("'b' IN ('A', 'B')", True),
        ("3 > ALL (SELECT v FROM (VALUES (1), (2)) AS t(v))", True),
        ("CAST('2020-01-01 12:00 +02:00' AS datetimeoffset) = CAST('2020-01-01 10:00 +00:00' AS datetimeoffset)",
         True),
        ("CAST(1 AS bit) = 1", True),
        ("CAST(1 AS bit) = 'true'", True),
    ],
)  # fmt: skip
def test_a_condition_holds_as_on_sql_server(client: Client, condition: str, holds: bool) -> None:
    assert client.value(f"SELECT CASE WHEN {condition} THEN 1 ELSE 0 END") == int(holds)


def test_rand_with_a_seed_repeats(client: Client) -> None:
    first, again, other = client.rows("SELECT RAND(5), RAND(5), RAND(6)")[0]
    assert first == again != other
    assert 0 <= first < 1


def test_newid_differs_in_each_row(client: Client) -> None:
    rows = client.rows("SELECT NEWID() FROM (VALUES (1), (2)) AS t(v)")
    assert rows[0] != rows[1]


def test_string_agg_orders_within_its_group(client: Client) -> None:
    sql = "SELECT STRING_AGG(v, ',') WITHIN GROUP (ORDER BY v DESC) FROM (VALUES ('a'), ('c'), (NULL), ('b')) AS t(v)"
    assert client.value(sql) == "c,b,a"


def test_string_split_and_generate_series_are_tables(client: Client) -> None:
    assert client.rows("SELECT value, ordinal FROM STRING_SPLIT('a,b,,c', ',', 1) ORDER BY ordinal") == [
        ("a", 1), ("b", 2), ("", 3), ("c", 4),
    ]  # fmt: skip
    assert client.rows("SELECT value FROM GENERATE_SERIES(5, 1, -2)") == [(5,), (3,), (1,)]


def like(value: str, pattern: str) -> bool:
    """LIKE by its definition: % any run, _ any character, [ab] [a-b] [^a] one of a class."""
    if not pattern:
        return not value
    if pattern[0] == "%":
        return any(like(value[start:], pattern[1:]) for start in range(len(value) + 1))
    if not value:
        return False
    if pattern[0] == "[":
        end = pattern.find("]", 2)
        if end < 0:
            return False
        inside = pattern[1:end]
        negated = inside[0] == "^" and len(inside) > 1
        members = inside[1:] if negated else inside
        found = False
        while members:
            if len(members) > 2 and members[1] == "-":
                found = found or members[0] <= value[0] <= members[2]
                members = members[3:]
            else:
                found = found or members[0] == value[0]
                members = members[1:]
        return found != negated and like(value[1:], pattern[end + 1 :])
    return (pattern[0] in ("_", value[0])) and like(value[1:], pattern[1:])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.text("ab.c\\^-", max_size=5),
    pattern=st.from_regex(r"(?:[ab.c\\%_^*+(-]|\[\^?[abc.]{1,3}\]){0,5}", fullmatch=True),
)
def test_like_follows_its_definition(client: Client, value: str, pattern: str) -> None:
    given_value = Parameter("@P1", SqlType("nvarchar", length=50), value)
    given_pattern = Parameter("@P2", SqlType("nvarchar", length=50), pattern)
    sql = "SELECT CASE WHEN @P1 LIKE @P2 THEN 1 ELSE 0 END"
    assert client.value(sql, given_value, given_pattern) == int(like(value, pattern))
