"""Every data type survives the wire: what the server encodes, it reads back as the same type and value."""

from __future__ import annotations

import contextlib
import datetime
import math
import struct
import uuid
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sqlserver_standin.events import Column, SqlError
from sqlserver_standin.procedures import convert
from sqlserver_standin.tds import collation, decode
from sqlserver_standin.tds.buffer import Buffer
from sqlserver_standin.tds.declarations import parse_declarations
from sqlserver_standin.tds.encode import codec_for, row_format
from sqlserver_standin.tds.packets import ProtocolError
from sqlserver_standin.types import MAX, SqlType

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no failure."""


def round_trip(sql_type: SqlType, value: Any) -> tuple[SqlType, Any]:
    codec = codec_for(sql_type)
    buffer = Buffer(codec.type_info + codec.encode(value))
    answer = decode.read_typed_value(buffer)
    assert buffer.exhausted
    return answer


VALUES = [
    (SqlType("tinyint"), 255),
    (SqlType("smallint"), -32768),
    (SqlType("int"), -(2**31)),
    (SqlType("bigint"), -(2**63)),
    (SqlType("bit"), True),
    (SqlType("bit"), False),
    (SqlType("float", precision=53), -1.5e300),
    (SqlType("real"), 0.5),
    (SqlType("decimal", precision=9, scale=2), Decimal("-1234567.89")),
    (SqlType("decimal", precision=38, scale=38), Decimal("0." + "9" * 38)),
    (SqlType("decimal", precision=38, scale=0), Decimal("9" * 38)),
    (SqlType("money"), Decimal("-922337203685477.5808")),
    (SqlType("smallmoney"), Decimal("214748.3647")),
    (SqlType("date"), datetime.date(1, 1, 1)),
    (SqlType("date"), datetime.date(9999, 12, 31)),
    (SqlType("time", scale=7), datetime.time(23, 59, 59, 999999)),
    (SqlType("time", scale=0), datetime.time(12, 30, 1)),
    (SqlType("datetime2", scale=7), datetime.datetime(9999, 12, 31, 23, 59, 59, 999999)),
    (SqlType("datetime2", scale=3), datetime.datetime(2024, 2, 29, 1, 2, 3, 456000)),
    (SqlType("datetime"), datetime.datetime(1753, 1, 1)),
    (SqlType("datetime"), datetime.datetime(9999, 12, 31, 23, 59, 59, 997000)),
    (SqlType("smalldatetime"), datetime.datetime(2079, 6, 6, 23, 59)),
    (SqlType("nvarchar", length=100), "größer 😀"),
    (SqlType("nvarchar", length=100), "a lone surrogate \ud800"),
    (SqlType("nvarchar", length=MAX), "x" * 100_000),
    (SqlType("nvarchar", length=MAX), ""),
    (SqlType("nchar", length=5), "abc  "),
    (SqlType("varchar", length=100), "€uro and é"),
    (SqlType("varchar", length=MAX), "é" * 9000),
    (SqlType("char", length=3), "abc"),
    (SqlType("varbinary", length=10), b"\x00\xff"),
    (SqlType("varbinary", length=MAX), bytes(range(256)) * 1000),
    (SqlType("binary", length=2), b"ab"),
    (SqlType("uniqueidentifier"), uuid.UUID("12345678-1234-5678-9abc-def012345678")),
    (SqlType("xml"), "<a>ü</a>"),
]


@pytest.mark.parametrize(("sql_type", "value"), VALUES, ids=lambda item: repr(item)[:40])
def test_a_value_comes_back_as_it_went(sql_type: SqlType, value: Any) -> None:
    assert round_trip(sql_type, value) == (sql_type, value)


@pytest.mark.parametrize("sql_type", sorted({item for item, _ in VALUES}, key=repr), ids=repr)
def test_null_comes_back_as_null(sql_type: SqlType) -> None:
    assert round_trip(sql_type, None) == (sql_type, None)
    codec = codec_for(sql_type)
    assert codec.encode(None) == codec.null


@pytest.mark.parametrize("offset", [-14 * 60, -90, 0, 330, 14 * 60])
def test_datetimeoffset_keeps_its_offset(offset: int) -> None:
    zone = datetime.timezone(datetime.timedelta(minutes=offset))
    value = datetime.datetime(2024, 3, 1, 0, 30, 15, 123456, tzinfo=zone)
    sql_type, answer = round_trip(SqlType("datetimeoffset", scale=7), value)
    assert answer == value
    assert answer.utcoffset() == value.utcoffset()
    assert sql_type == SqlType("datetimeoffset", scale=7)


@pytest.mark.parametrize(
    "value",
    [
        7,
        2**40,
        True,
        1.25,
        Decimal("-12.340"),
        "text",
        b"\x01",
        uuid.UUID(int=5),
        datetime.date(2024, 1, 2),
        datetime.time(1, 2, 3, 4),
        datetime.datetime(2024, 1, 2, 3, 4, 5, 6),
        datetime.datetime(2024, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
        None,
    ],
    ids=repr,
)
def test_sql_variant_carries_each_base_type(value: Any) -> None:
    # Clients send the maximum length again before the value, as TYPE_INFO does.
    _, answer = round_trip(SqlType("sql_variant"), value)
    assert answer == value
    assert type(answer) is type(value)


@PATIENT
@given(st.decimals(min_value=-(10**20), max_value=10**20, places=10))
def test_decimals_are_exact(value: Decimal) -> None:
    assert round_trip(SqlType("decimal", precision=38, scale=10), value)[1] == value


@PATIENT
@given(st.datetimes())
def test_datetime2_is_exact_to_the_microsecond(value: datetime.datetime) -> None:
    assert round_trip(SqlType("datetime2", scale=7), value)[1] == value


@PATIENT
@given(st.datetimes(min_value=datetime.datetime(1753, 1, 1), max_value=datetime.datetime(9999, 12, 30)))
def test_datetime_is_rounded_to_three_hundredths(value: datetime.datetime) -> None:
    answer = round_trip(SqlType("datetime"), value)[1]
    assert abs(answer - value) <= datetime.timedelta(microseconds=2167)
    assert answer.microsecond // 1000 % 10 in (0, 3, 7)


@PATIENT
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_unicode_text_is_exact(value: str) -> None:
    assert round_trip(SqlType("nvarchar", length=MAX), value)[1] == value


@PATIENT
@given(st.binary(max_size=300))
def test_each_byte_of_a_code_page_is_readable(raw: bytes) -> None:
    collation_bytes = collation.encode(None)
    message = (
        bytes([decode.BIGVARCHAR])
        + struct.pack("<H", 8000)
        + collation_bytes
        + struct.pack("<H", len(raw))
        + raw
    )
    _, text = decode.read_typed_value(Buffer(message))
    assert len(text) == len(raw)


def test_a_decimal_that_does_not_fit_is_no_silent_truncation() -> None:
    with pytest.raises(OverflowError):
        codec_for(SqlType("decimal", precision=5, scale=2)).encode(Decimal("1000"))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("int", SqlType("int")),
        ("INTEGER", SqlType("int")),
        ("nvarchar(40)", SqlType("nvarchar", length=40)),
        ("nvarchar ( MAX )", SqlType("nvarchar", length=MAX)),
        ("varchar", SqlType("varchar", length=1)),
        ("decimal(9, 2)", SqlType("decimal", precision=9, scale=2)),
        ("numeric", SqlType("numeric", precision=18, scale=0)),
        ("double precision", SqlType("float", precision=53)),
        ("float(24)", SqlType("real")),
        ("datetime2", SqlType("datetime2", scale=7)),
        ("datetimeoffset(3)", SqlType("datetimeoffset", scale=3)),
        ("[sys].[sysname]", SqlType("nvarchar", length=128)),
        ("uniqueidentifier", SqlType("uniqueidentifier")),
    ],
)
def test_declarations_are_read(written: str, expected: SqlType) -> None:
    first, second = parse_declarations(f"@P1 {written}, @second AS {written} OUTPUT")
    assert (first.name, first.type, first.output) == ("@P1", expected, False)
    assert (second.name, second.type, second.output) == ("@second", expected, True)


@pytest.mark.parametrize(
    ("declared", "number"),
    [
        ("@a", 102),
        ("@a int @b int", 102),
        ("a int", 102),
        ("@a int,", 102),
        ("@a nonsense", 2715),
        ("@a nvarchar(4001)", 2717),
        ("@a varchar(0)", 1001),
        ("@a time(8)", 1002),
        ("@a decimal(39)", 2750),
        ("@a decimal(5, 6)", 183),
        ("@a int(5)", 2716),
        ("@a nchar(max)", 102),
    ],
)
def test_wrong_declarations_have_sql_servers_number(declared: str, number: int) -> None:
    with pytest.raises(SqlError) as caught:
        parse_declarations(declared)
    assert caught.value.number == number


@pytest.mark.parametrize(
    ("value", "sent", "declared", "expected"),
    [
        (5, "int", SqlType("bigint"), 5),
        (5, "int", SqlType("decimal", precision=9, scale=2), Decimal(5)),
        (Decimal("-1.125"), "decimal", SqlType("decimal", precision=3, scale=2), Decimal("-1.13")),
        (0.1, "float", SqlType("numeric", precision=5, scale=4), Decimal("0.1000")),
        (Decimal("-214748.3648"), "decimal", SqlType("smallmoney"), Decimal("-214748.3648")),
        (Decimal("1.9"), "decimal", SqlType("int"), 1),
        (1, "int", SqlType("bit"), True),
        (2, "int", SqlType("float", precision=53), 2.0),
        ("x", "varchar", SqlType("nvarchar", length=4), "x"),
        ("abcde", "nvarchar", SqlType("nvarchar", length=3), "abc"),
        ("ab", "char", SqlType("char", length=4), "ab  "),
        ("ab", "nvarchar", SqlType("nchar", length=3), "ab "),
        (b"ab", "varbinary", SqlType("binary", length=3), b"ab\0"),
        (b"abc", "varbinary", SqlType("varbinary", length=2), b"ab"),
        ("x" * 9000, "nvarchar", SqlType("nvarchar", length=-1), "x" * 9000),
        (None, "int", SqlType("nvarchar", length=4), None),
        (datetime.date(2024, 1, 2), "date", SqlType("datetime2", scale=7), datetime.datetime(2024, 1, 2)),
    ],
)
def test_values_take_their_declared_type(value: Any, sent: str, declared: SqlType, expected: Any) -> None:
    answer = convert(value, SqlType(sent), declared)
    assert answer == expected
    assert type(answer) is type(expected)


@pytest.mark.parametrize(
    ("value", "sent", "declared", "number"),
    [
        (2**40, "bigint", SqlType("int"), 8114),
        (-1, "int", SqlType("tinyint"), 8114),
        (Decimal("99.995"), "decimal", SqlType("decimal", precision=4, scale=2), 8114),
        (Decimal("922337203685477.5808"), "decimal", SqlType("money"), 8114),
        ("5", "nvarchar", SqlType("int"), 40000),
    ],
)
def test_values_that_do_not_fit_their_declaration_are_refused(
    value: Any, sent: str, declared: SqlType, number: int
) -> None:
    with pytest.raises(SqlError) as caught:
        convert(value, SqlType(sent), declared)
    assert caught.value.number == number


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # The defaults of a US English server, as SQL Server itself sends them.
        ("SQL_Latin1_General_CP1_CI_AS", "0904d00034"),
        ("Latin1_General_CI_AS", "0904d00000"),
        ("Latin1_General_BIN", "0904000100"),
        ("Latin1_General_BIN2", "0904000200"),
        ("Latin1_General_CS_AS", "0904c00000"),
        ("Latin1_General_CI_AI", "0904f00000"),
        ("Latin1_General_100_CI_AS_SC_UTF8", "0904d02400"),
    ],
)
def test_collations_have_sql_servers_bytes(name: str, expected: str) -> None:
    assert collation.encode(name).hex() == expected


def test_rows_with_many_nulls_are_compressed() -> None:
    columns = tuple(Column(f"c{index}", SqlType("int")) for index in range(20))
    encode_row = row_format(columns).encode_row
    sparse = encode_row((1, *[None] * 19))
    assert sparse == b"\xd2" + b"\xfe\xff\x0f" + b"\x04\x01\x00\x00\x00"
    assert encode_row(tuple(range(20)))[:1] == b"\xd1"


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x00",
        bytes([decode.INTN, 3, 0]),
        bytes([decode.INTN, 4, 4, 1]),
        bytes([decode.TIME, 9, 0]),
        bytes([decode.GUID, 16, 5]),
        bytes([decode.NVARCHAR]) + struct.pack("<H", 8) + bytes(5) + struct.pack("<H", 3) + b"abc",
        bytes([decode.NVARCHAR, 0xFF, 0xFF]) + bytes(5) + struct.pack("<QI", 4, 2) + b"ab" + bytes(4),
        bytes([decode.SQL_VARIANT]) + struct.pack("<II", 8009, 3) + bytes([0x6C, 0, 1]),
    ],
    ids=lambda raw: raw[:6].hex() or "empty",
)
def test_a_malformed_value_is_a_protocol_error(message: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode.read_typed_value(Buffer(message))


@pytest.mark.parametrize(
    ("message", "type_name"),
    [
        (bytes([decode.DECIMALN, 17, 39, 0, 0]), "decimal"),
        (bytes([decode.DECIMALN, 17, 5, 6, 0]), "decimal"),
        (bytes([decode.DECIMALN, 17, 2, 0, 5, 1]) + struct.pack("<i", 100), "decimal"),
        (bytes([decode.DATE, 3, 0xFF, 0xFF, 0xFF]), "date"),
        (bytes([decode.TIME, 0, 3, 0xFF, 0xFF, 0xFF]), "time"),
        (bytes([decode.DATETIMN, 8, 8]) + b"\xff\xff\xff\x7f" + bytes(4), "datetime"),
        (bytes([decode.DATETIMEOFFSET, 0, 8]) + bytes(6) + b"\xff\x7f", "datetimeoffset"),
        (bytes([decode.FLTN, 8, 8]) + struct.pack("<d", math.nan), "float"),
    ],
    ids=lambda item: item if isinstance(item, str) else "",
)
def test_an_impossible_value_is_told_from_a_broken_message(message: bytes, type_name: str) -> None:
    with pytest.raises(decode.InvalidValue, match=type_name):
        decode.read_typed_value(Buffer(message))


@PATIENT
@given(st.binary(max_size=200))
def test_no_bytes_crash_the_reader(message: bytes) -> None:
    # A refusal (SqlError) names what the stand-in does not do: table-valued and CLR parameters.
    with contextlib.suppress(ProtocolError, decode.InvalidValue, SqlError):
        decode.read_typed_value(Buffer(message))
