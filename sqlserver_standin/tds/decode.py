"""TYPE_INFO and values as clients send them: bytes to SqlType and Python value."""

from __future__ import annotations

import datetime
import math
import struct
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from sqlserver_standin.errors import unsupported
from sqlserver_standin.tds import collation
from sqlserver_standin.tds.buffer import Buffer, decode_text
from sqlserver_standin.tds.packets import ProtocolError
from sqlserver_standin.types import MAX, SqlType

# Type tokens: https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/ce3183a6-9d89-47e8-a02f-de5a1a1303de
NULL = 0x1F
IMAGE = 0x22
TEXT = 0x23
GUID = 0x24
INTN = 0x26
DATE = 0x28
TIME = 0x29
DATETIME2 = 0x2A
DATETIMEOFFSET = 0x2B
INT1 = 0x30
BIT = 0x32
INT2 = 0x34
DECIMAL = 0x37
INT4 = 0x38
DATETIM4 = 0x3A
FLT4 = 0x3B
MONEY = 0x3C
DATETIME = 0x3D
FLT8 = 0x3E
NUMERIC = 0x3F
SQL_VARIANT = 0x62
NTEXT = 0x63
BITN = 0x68
DECIMALN = 0x6A
NUMERICN = 0x6C
FLTN = 0x6D
MONEYN = 0x6E
DATETIMN = 0x6F
MONEY4 = 0x7A
INT8 = 0x7F
BIGVARBINARY = 0xA5
BIGVARCHAR = 0xA7
BIGBINARY = 0xAD
BIGCHAR = 0xAF
NVARCHAR = 0xE7
NCHAR = 0xEF
UDT = 0xF0
XML = 0xF1
TABLE = 0xF3

_PLP_MARKER = 0xFFFF
_PLP_NULL = 0xFFFFFFFFFFFFFFFF
_PLP_UNKNOWN = 0xFFFFFFFFFFFFFFFE

_EPOCH_1900 = datetime.datetime(1900, 1, 1)
_DAY_ONE = datetime.date(1, 1, 1).toordinal()
_LAST_DAY = datetime.date.max.toordinal()

_INTEGERS = {1: "tinyint", 2: "smallint", 4: "int", 8: "bigint"}

Value = tuple[SqlType, Any]


class InvalidValue(Exception):
    """Bytes of the right shape that are no value of their type, such as a date after the year 9999."""

    def __init__(self, type_name: str) -> None:
        super().__init__(f"not a valid instance of data type {type_name}")
        self.type_name = type_name


def read_typed_value(buffer: Buffer) -> Value:
    """A TYPE_INFO and the value that follows it."""
    token = buffer.u8()
    reader = _READERS.get(token)
    if reader is None:
        raise ProtocolError(f"unknown data type 0x{token:02X}")
    return reader(buffer)


# -- fixed-length types ------------------------------------------------------------------------------------------


def _fixed(sql_type: SqlType, size: int, convert: Callable[[bytes], Any]) -> Callable[[Buffer], Value]:
    def read(buffer: Buffer) -> Value:
        return sql_type, convert(buffer.take(size))

    return read


def _read_null(buffer: Buffer) -> Value:
    return SqlType("int"), None


def _integer(raw: bytes) -> int:
    # tinyint is the only unsigned integer type.
    return int.from_bytes(raw, "little", signed=len(raw) > 1)


def _float(raw: bytes) -> float:
    value = float(struct.unpack("<d" if len(raw) == 8 else "<f", raw)[0])
    if not math.isfinite(value):  # SQL Server knows neither NaN nor infinity.
        raise InvalidValue("float" if len(raw) == 8 else "real")
    return value


def _money(raw: bytes) -> Decimal:
    if len(raw) == 8:
        high, low = struct.unpack("<iI", raw)
        return Decimal((high << 32) | low).scaleb(-4)
    return Decimal(_integer(raw)).scaleb(-4)


def _datetime(raw: bytes) -> datetime.datetime:
    """datetime counts days and 1/300 seconds; clients show the milliseconds rounded: .000 .003 .007."""
    try:
        if len(raw) == 8:
            days, ticks = struct.unpack("<iI", raw)
            milliseconds = (ticks * 20 + 3) // 6
            return _EPOCH_1900 + datetime.timedelta(days=days, milliseconds=milliseconds)
        days, minutes = struct.unpack("<HH", raw)
        return _EPOCH_1900 + datetime.timedelta(days=days, minutes=minutes)
    except OverflowError:
        raise InvalidValue("datetime") from None


# -- types with a one-byte length --------------------------------------------------------------------------------


def _nullable(
    types: dict[int, SqlType], convert: Callable[[bytes], Any], label: str
) -> Callable[[Buffer], Value]:
    """A …N type: a maximum length in TYPE_INFO that picks the type, then a length that may be 0 for NULL."""

    def read(buffer: Buffer) -> Value:
        size = buffer.u8()
        sql_type = types.get(size)
        if sql_type is None:
            raise ProtocolError(f"{label} of {size} bytes does not exist")
        length = buffer.u8()
        if length == 0:
            return sql_type, None
        if length not in types:
            raise ProtocolError(f"{label} value of {length} bytes does not exist")
        return sql_type, convert(buffer.take(length))

    return read


def _read_decimal(buffer: Buffer) -> Value:
    buffer.u8()
    precision, scale = buffer.u8(), buffer.u8()
    if not 1 <= precision <= 38 or scale > precision:
        raise InvalidValue("decimal")
    sql_type = SqlType("decimal", precision=precision, scale=scale)
    length = buffer.u8()
    if length == 0:
        return sql_type, None
    value = decode_decimal(buffer.take(length), scale)
    if value.adjusted() + scale >= precision:
        raise InvalidValue("decimal")
    return sql_type, value


def decode_decimal(raw: bytes, scale: int) -> Decimal:
    """Sign byte (1 is positive), then the little-endian magnitude."""
    if not 2 <= len(raw) <= 17:
        raise ProtocolError(f"a decimal value of {len(raw)} bytes does not exist")
    digits = str(int.from_bytes(raw[1:], "little"))
    return Decimal((0 if raw[0] else 1, tuple(map(int, digits)), -scale))


def _read_date(buffer: Buffer) -> Value:
    length = buffer.u8()
    if length == 0:
        return SqlType("date"), None
    if length != 3:
        raise ProtocolError(f"a date of {length} bytes does not exist")
    return SqlType("date"), _days(buffer.take(3))


def _days(raw: bytes) -> datetime.date:
    ordinal = int.from_bytes(raw, "little") + _DAY_ONE
    if ordinal > _LAST_DAY:
        raise InvalidValue("date")
    return datetime.date.fromordinal(ordinal)


def _time_of_day(raw: bytes, scale: int) -> datetime.time:
    """Ticks of 10**-scale seconds since midnight; microseconds are the finest that the stand-in keeps."""
    microseconds = int.from_bytes(raw, "little") * 10_000_000 // 10**scale // 10
    if microseconds >= 86_400_000_000:
        raise InvalidValue("time")
    seconds, microsecond = divmod(microseconds, 1_000_000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return datetime.time(hour, minute, second, microsecond)


def time_size(scale: int) -> int:
    """Bytes of a time of this scale."""
    return 3 if scale <= 2 else 4 if scale <= 4 else 5


def _temporal(name: str, extra: int, convert: Callable[[bytes, int], Any]) -> Callable[[Buffer], Value]:
    """time, datetime2, datetimeoffset: a scale, then a time and ``extra`` bytes."""

    def read(buffer: Buffer) -> Value:
        scale = buffer.u8()
        if scale > 7:
            raise ProtocolError(f"{name}({scale}) does not exist")
        sql_type = SqlType(name, scale=scale)
        length = buffer.u8()
        if length == 0:
            return sql_type, None
        if length != time_size(scale) + extra:
            raise ProtocolError(f"a {name}({scale}) of {length} bytes does not exist")
        return sql_type, convert(buffer.take(length), scale)

    return read


def _datetime2(raw: bytes, scale: int) -> datetime.datetime:
    return datetime.datetime.combine(_days(raw[-3:]), _time_of_day(raw[:-3], scale))


def _datetimeoffset(raw: bytes, scale: int) -> datetime.datetime:
    utc = _datetime2(raw[:-2], scale)
    (offset,) = struct.unpack("<h", raw[-2:])
    if not -14 * 60 <= offset <= 14 * 60:
        raise InvalidValue("datetimeoffset")
    delta = datetime.timedelta(minutes=offset)
    try:
        return (utc + delta).replace(tzinfo=datetime.timezone(delta))
    except OverflowError:
        raise InvalidValue("datetimeoffset") from None


def _read_guid(buffer: Buffer) -> Value:
    buffer.u8()
    length = buffer.u8()
    if length == 0:
        return SqlType("uniqueidentifier"), None
    if length != 16:
        raise ProtocolError(f"a uniqueidentifier of {length} bytes does not exist")
    return SqlType("uniqueidentifier"), uuid.UUID(bytes_le=buffer.take(16))


# -- text and binary ---------------------------------------------------------------------------------------------


def _read_nvarchar(name: str) -> Callable[[Buffer], Value]:
    def read(buffer: Buffer) -> Value:
        size = buffer.u16()
        collation_bytes = buffer.take(5)
        del collation_bytes  # Parameters take the collation of the database.
        raw = _read_plp(buffer) if size == _PLP_MARKER else _read_short(buffer)
        sql_type = SqlType(name, length=MAX if size == _PLP_MARKER else size // 2)
        return sql_type, None if raw is None else decode_text(raw)

    return read


def _read_varchar(name: str) -> Callable[[Buffer], Value]:
    def read(buffer: Buffer) -> Value:
        size = buffer.u16()
        codec = collation.codec(buffer.take(5))
        raw = _read_plp(buffer) if size == _PLP_MARKER else _read_short(buffer)
        sql_type = SqlType(name, length=MAX if size == _PLP_MARKER else size)
        return sql_type, None if raw is None else raw.decode(codec, collation.UNDEFINED_AS_LATIN1)

    return read


def _read_varbinary(name: str) -> Callable[[Buffer], Value]:
    def read(buffer: Buffer) -> Value:
        size = buffer.u16()
        raw = _read_plp(buffer) if size == _PLP_MARKER else _read_short(buffer)
        return SqlType(name, length=MAX if size == _PLP_MARKER else size), raw

    return read


def _read_long(
    name: str, decode: Callable[[bytes, bytes], Any], *, collated: bool
) -> Callable[[Buffer], Value]:
    """text, ntext, image: a four-byte length, -1 for NULL."""

    def read(buffer: Buffer) -> Value:
        buffer.u32()
        collation_bytes = buffer.take(5) if collated else b""
        length = buffer.u32()
        if length == 0xFFFFFFFF:
            return SqlType(name), None
        return SqlType(name), decode(buffer.take(length), collation_bytes)

    return read


def _read_xml(buffer: Buffer) -> Value:
    if buffer.u8():  # a schema collection: database, owner, name
        buffer.text(buffer.u8())
        buffer.text(buffer.u8())
        buffer.text(buffer.u16())
    raw = _read_plp(buffer)
    return SqlType("xml"), None if raw is None else decode_text(raw).removeprefix("\ufeff")


def _read_short(buffer: Buffer) -> bytes | None:
    length = buffer.u16()
    return None if length == 0xFFFF else buffer.take(length)


def _read_plp(buffer: Buffer) -> bytes | None:
    """A partially length-prefixed value: total length, then chunks up to one of length 0."""
    total = buffer.u64()
    if total == _PLP_NULL:
        return None
    chunks = []
    while length := buffer.u32():
        chunks.append(buffer.take(length))
    value = b"".join(chunks)
    if total not in (_PLP_UNKNOWN, len(value)):
        raise ProtocolError(f"a value announces {total} bytes and has {len(value)}")
    return value


# -- sql_variant -------------------------------------------------------------------------------------------------


def _read_variant(buffer: Buffer) -> Value:
    """A length, the base type, its properties, the bare value."""
    buffer.u32()
    length = buffer.u32()
    sql_type = SqlType("sql_variant")
    if length == 0:
        return sql_type, None
    inner = Buffer(buffer.take(length))
    token = inner.u8()
    properties = inner.take(inner.u8())
    raw = inner.take(inner.size - inner.position)
    try:
        return sql_type, _variant_value(token, properties, raw)
    except (struct.error, IndexError, ValueError):
        raise ProtocolError(f"a sql_variant of base type 0x{token:02X} is malformed") from None


def _variant_value(token: int, properties: bytes, raw: bytes) -> Any:
    match token:
        case 0x30 | 0x34 | 0x38 | 0x7F:
            return _integer(raw)
        case 0x32:
            return bool(raw[0])
        case 0x3B | 0x3E:
            return _float(raw)
        case 0x3C | 0x7A:
            return _money(raw)
        case 0x3A | 0x3D:
            return _datetime(raw)
        case 0x24:
            return uuid.UUID(bytes_le=raw)
        case 0x6A | 0x6C:
            return decode_decimal(raw, properties[1])
        case 0x28:
            return _days(raw)
        case 0x29:
            return _time_of_day(raw, properties[0])
        case 0x2A:
            return _datetime2(raw, properties[0])
        case 0x2B:
            return _datetimeoffset(raw, properties[0])
        case 0xA5 | 0xAD:
            return raw
        case 0xA7 | 0xAF:
            return raw.decode(collation.codec(properties[:5]), collation.UNDEFINED_AS_LATIN1)
        case 0xE7 | 0xEF:
            return decode_text(raw)
    raise ProtocolError(f"a sql_variant has the unknown base type 0x{token:02X}")


def _refuse(what: str) -> Callable[[Buffer], Value]:
    def read(buffer: Buffer) -> Value:
        raise unsupported(what)

    return read


_FLOATS = {4: SqlType("real"), 8: SqlType("float", precision=53)}

_READERS: dict[int, Callable[[Buffer], Value]] = {
    NULL: _read_null,
    INT1: _fixed(SqlType("tinyint"), 1, _integer),
    INT2: _fixed(SqlType("smallint"), 2, _integer),
    INT4: _fixed(SqlType("int"), 4, _integer),
    INT8: _fixed(SqlType("bigint"), 8, _integer),
    BIT: _fixed(SqlType("bit"), 1, lambda raw: raw != b"\0"),
    FLT4: _fixed(_FLOATS[4], 4, _float),
    FLT8: _fixed(_FLOATS[8], 8, _float),
    MONEY: _fixed(SqlType("money"), 8, _money),
    MONEY4: _fixed(SqlType("smallmoney"), 4, _money),
    DATETIME: _fixed(SqlType("datetime"), 8, _datetime),
    DATETIM4: _fixed(SqlType("smalldatetime"), 4, _datetime),
    INTN: _nullable({size: SqlType(name) for size, name in _INTEGERS.items()}, _integer, "an integer"),
    BITN: _nullable({1: SqlType("bit")}, lambda raw: raw != b"\0", "a bit"),
    FLTN: _nullable(_FLOATS, _float, "a float"),
    MONEYN: _nullable({4: SqlType("smallmoney"), 8: SqlType("money")}, _money, "money"),
    DATETIMN: _nullable({4: SqlType("smalldatetime"), 8: SqlType("datetime")}, _datetime, "a datetime"),
    DECIMAL: _read_decimal,
    NUMERIC: _read_decimal,
    DECIMALN: _read_decimal,
    NUMERICN: _read_decimal,
    DATE: _read_date,
    TIME: _temporal("time", 0, _time_of_day),
    DATETIME2: _temporal("datetime2", 3, _datetime2),
    DATETIMEOFFSET: _temporal("datetimeoffset", 5, _datetimeoffset),
    GUID: _read_guid,
    NVARCHAR: _read_nvarchar("nvarchar"),
    NCHAR: _read_nvarchar("nchar"),
    BIGVARCHAR: _read_varchar("varchar"),
    BIGCHAR: _read_varchar("char"),
    BIGVARBINARY: _read_varbinary("varbinary"),
    BIGBINARY: _read_varbinary("binary"),
    TEXT: _read_long(
        "text", lambda raw, c: raw.decode(collation.codec(c), collation.UNDEFINED_AS_LATIN1), collated=True
    ),
    NTEXT: _read_long("ntext", lambda raw, _: decode_text(raw), collated=True),
    IMAGE: _read_long("image", lambda raw, _: raw, collated=False),
    XML: _read_xml,
    SQL_VARIANT: _read_variant,
    UDT: _refuse("parameters of a CLR user-defined type"),
    TABLE: _refuse("table-valued parameters"),
}
