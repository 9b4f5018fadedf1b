"""Result sets and output values on their way out: a SqlType compiled once into TYPE_INFO and a value encoder."""

from __future__ import annotations

import datetime
import functools
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from sqlserver_standin.events import Column
from sqlserver_standin.tds import collation, decode
from sqlserver_standin.tds.buffer import encode_text
from sqlserver_standin.types import MAX, SqlType

Encoder = Callable[[Any], bytes]

_NULL_1 = b"\x00"
_NULL_2 = b"\xff\xff"
_NULL_PLP = b"\xff" * 8
_PLP_END = b"\0\0\0\0"
_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_PLP_HEAD = struct.Struct("<QI")

_DAY_ONE = datetime.date(1, 1, 1).toordinal()
_DAY_1900 = datetime.date(1900, 1, 1).toordinal()
_DAY_MICROSECONDS = 86_400_000_000
_POWERS_OF_TEN: tuple[int, ...] = tuple(10**exponent for exponent in range(8))
_NO_OFFSET = datetime.timedelta()
_MINUTE = datetime.timedelta(minutes=1)
# Room for decimal(38, 38) whatever the calling thread's decimal context says.
WIDE = Context(prec=100, rounding=ROUND_HALF_UP)


@dataclass(frozen=True, slots=True)
class Codec:
    """How values of one SqlType travel."""

    type_info: bytes
    encode: Encoder
    null: bytes
    user_type: int = 0


@functools.lru_cache(maxsize=1024)
def codec_for(sql_type: SqlType) -> Codec:
    """The codec of a type; raises ValueError for a type that does not exist."""
    factory = _FACTORIES.get(sql_type.name)
    if factory is None:
        raise ValueError(f"no data type {sql_type.name!r} in TDS")
    return factory(sql_type)


# -- numbers -----------------------------------------------------------------------------------------------------


def _integer(size: int) -> Callable[[SqlType], Codec]:
    pack = struct.Struct({1: "<BB", 2: "<Bh", 4: "<Bi", 8: "<Bq"}[size]).pack

    def encode(value: Any) -> bytes:
        return _NULL_1 if value is None else pack(size, value)

    codec = Codec(bytes([decode.INTN, size]), encode, _NULL_1)
    return lambda _: codec


def _bit(_: SqlType) -> Codec:
    def encode(value: Any) -> bytes:
        return _NULL_1 if value is None else b"\x01\x01" if value else b"\x01\x00"

    return Codec(bytes([decode.BITN, 1]), encode, _NULL_1)


def _floating(size: int) -> Callable[[SqlType], Codec]:
    pack = struct.Struct("<Bd" if size == 8 else "<Bf").pack

    def encode(value: Any) -> bytes:
        return _NULL_1 if value is None else pack(size, value)

    codec = Codec(bytes([decode.FLTN, size]), encode, _NULL_1)
    return lambda _: codec


def _float(sql_type: SqlType) -> Codec:
    # float(1…24) is stored in four bytes.
    return _floating(4 if sql_type.precision is not None and sql_type.precision <= 24 else 8)(sql_type)


def decimal_size(precision: int) -> int:
    """Bytes of a decimal's magnitude and sign."""
    return 5 if precision <= 9 else 9 if precision <= 19 else 13 if precision <= 28 else 17


def scaled(value: Any, scale: int) -> int:
    """``value`` in units of 10**-scale, rounded half away from zero as SQL Server rounds."""
    number = value if isinstance(value, Decimal) else Decimal(value)
    return int(number.scaleb(scale, WIDE).to_integral_value(ROUND_HALF_UP, WIDE))


def _decimal(sql_type: SqlType) -> Codec:
    precision = 18 if sql_type.precision is None else sql_type.precision
    scale = sql_type.scale or 0
    size = decimal_size(precision)
    limit = 10**precision
    head_positive, head_negative = bytes([size, 1]), bytes([size, 0])

    def encode(value: Any) -> bytes:
        if value is None:
            return _NULL_1
        units = scaled(value, scale)
        if not -limit < units < limit:
            raise OverflowError(f"{value} does not fit decimal({precision}, {scale})")
        if units < 0:
            return head_negative + (-units).to_bytes(size - 1, "little")
        return head_positive + units.to_bytes(size - 1, "little")

    token = decode.NUMERICN if sql_type.name == "numeric" else decode.DECIMALN
    return Codec(bytes([token, size, precision, scale]), encode, _NULL_1)


def _money(_: SqlType) -> Codec:
    pack = struct.Struct("<BiI").pack

    def encode(value: Any) -> bytes:
        if value is None:
            return _NULL_1
        units = scaled(value, 4)
        return pack(8, units >> 32, units & 0xFFFFFFFF)

    return Codec(bytes([decode.MONEYN, 8]), encode, _NULL_1)


def _smallmoney(_: SqlType) -> Codec:
    pack = struct.Struct("<Bi").pack

    def encode(value: Any) -> bytes:
        return _NULL_1 if value is None else pack(4, scaled(value, 4))

    return Codec(bytes([decode.MONEYN, 4]), encode, _NULL_1)


# -- dates and times ---------------------------------------------------------------------------------------------


def _microseconds(value: datetime.datetime | datetime.time) -> int:
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    return seconds * 1_000_000 + value.microsecond


def _ticks(microseconds: int, scale: int) -> int:
    """Microseconds as units of 10**-scale seconds, rounded half up."""
    if scale >= 6:
        return microseconds * 10 if scale == 7 else microseconds
    unit = _POWERS_OF_TEN[6 - scale]
    return (microseconds + unit // 2) // unit


def _date(_: SqlType) -> Codec:
    def encode(value: datetime.date | None) -> bytes:
        if value is None:
            return _NULL_1
        return b"\x03" + (value.toordinal() - _DAY_ONE).to_bytes(3, "little")

    return Codec(bytes([decode.DATE]), encode, _NULL_1)


def _time(sql_type: SqlType) -> Codec:
    scale = 7 if sql_type.scale is None else sql_type.scale
    size = decode.time_size(scale)
    head = bytes([size])
    last = 86_400 * _POWERS_OF_TEN[scale] - 1

    def encode(value: datetime.time | None) -> bytes:
        if value is None:
            return _NULL_1
        return head + min(_ticks(_microseconds(value), scale), last).to_bytes(size, "little")

    return Codec(bytes([decode.TIME, scale]), encode, _NULL_1)


def _datetime2(sql_type: SqlType) -> Codec:
    scale = 7 if sql_type.scale is None else sql_type.scale
    size = decode.time_size(scale)
    head = bytes([size + 3])
    midnight = 86_400 * _POWERS_OF_TEN[scale]

    def encode(value: datetime.datetime | None) -> bytes:
        if value is None:
            return _NULL_1
        carry, ticks = divmod(_ticks(_microseconds(value), scale), midnight)
        days = value.toordinal() - _DAY_ONE + carry
        return head + ticks.to_bytes(size, "little") + days.to_bytes(3, "little")

    return Codec(bytes([decode.DATETIME2, scale]), encode, _NULL_1)


def _datetimeoffset(sql_type: SqlType) -> Codec:
    scale = 7 if sql_type.scale is None else sql_type.scale
    size = decode.time_size(scale)
    head = bytes([size + 5])
    midnight = 86_400 * _POWERS_OF_TEN[scale]

    def encode(value: datetime.datetime | None) -> bytes:
        if value is None:
            return _NULL_1
        offset = (value.utcoffset() or _NO_OFFSET) // _MINUTE
        # Integers instead of datetime arithmetic: UTC of 0001-01-01T00:00+14:00 is no datetime.
        local = value.toordinal() * _DAY_MICROSECONDS + _microseconds(value)
        days, microseconds = divmod(local - offset * 60_000_000, _DAY_MICROSECONDS)
        carry, ticks = divmod(_ticks(microseconds, scale), midnight)
        return (
            head
            + ticks.to_bytes(size, "little")
            + (days - _DAY_ONE + carry).to_bytes(3, "little")
            + struct.pack("<h", offset)
        )

    return Codec(bytes([decode.DATETIMEOFFSET, scale]), encode, _NULL_1)


def _datetime(_: SqlType) -> Codec:
    pack = struct.Struct("<BiI").pack

    def encode(value: datetime.datetime | None) -> bytes:
        if value is None:
            return _NULL_1
        carry, ticks = divmod((_microseconds(value) * 3 + 5_000) // 10_000, 86_400 * 300)
        return pack(8, value.toordinal() - _DAY_1900 + carry, ticks)

    return Codec(bytes([decode.DATETIMN, 8]), encode, _NULL_1)


def _smalldatetime(_: SqlType) -> Codec:
    pack = struct.Struct("<BHH").pack

    def encode(value: datetime.datetime | None) -> bytes:
        if value is None:
            return _NULL_1
        carry, minutes = divmod((_microseconds(value) + 30_000_000) // 60_000_000, 24 * 60)
        return pack(4, value.toordinal() - _DAY_1900 + carry, minutes)

    return Codec(bytes([decode.DATETIMN, 4]), encode, _NULL_1)


# -- text and binary ---------------------------------------------------------------------------------------------


def _plp(raw: bytes) -> bytes:
    """One chunk holds any value: its length has four bytes, and the whole value is in memory anyway."""
    size = len(raw)
    return _PLP_HEAD.pack(size, size) + raw + _PLP_END if size else _PLP_HEAD.pack(0, 0)


def _counted(to_bytes: Callable[[Any], bytes]) -> Encoder:
    pack = _U16.pack

    def encode(value: Any) -> bytes:
        if value is None:
            return _NULL_2
        raw = to_bytes(value)
        return pack(len(raw)) + raw

    return encode


def _partially_counted(to_bytes: Callable[[Any], bytes]) -> Encoder:
    def encode(value: Any) -> bytes:
        return _NULL_PLP if value is None else _plp(to_bytes(value))

    return encode


def _text_codec(collation_bytes: bytes) -> Callable[[str], bytes]:
    name = collation.codec(collation_bytes)

    def to_bytes(value: str) -> bytes:
        return value.encode(name, "replace")

    return to_bytes


def _sized(token: int, size: int, maximum: int, suffix: bytes, to_bytes: Callable[[Any], bytes]) -> Codec:
    """A type whose TYPE_INFO has a two-byte size: the (max) form when it does not fit ``maximum``."""
    if 0 <= size <= maximum:
        return Codec(bytes([token]) + _U16.pack(size) + suffix, _counted(to_bytes), _NULL_2)
    return Codec(bytes([token]) + b"\xff\xff" + suffix, _partially_counted(to_bytes), _NULL_PLP)


def _unicode(sql_type: SqlType) -> Codec:
    # sysname is nvarchar(128); a length that the engine does not know is (max).
    length = 128 if sql_type.name == "sysname" else MAX if sql_type.length is None else sql_type.length
    token = decode.NCHAR if sql_type.name == "nchar" else decode.NVARCHAR
    return _sized(token, 2 * length, 8000, collation.encode(sql_type.collation), encode_text)


def _character(sql_type: SqlType) -> Codec:
    length = MAX if sql_type.length is None else sql_type.length
    token = decode.BIGCHAR if sql_type.name == "char" else decode.BIGVARCHAR
    collation_bytes = collation.encode(sql_type.collation)
    return _sized(token, length, 8000, collation_bytes, _text_codec(collation_bytes))


def _json(_: SqlType) -> Codec:
    # To a client that does not know the type it goes as varchar(max) in UTF-8
    # (https://learn.microsoft.com/sql/t-sql/data-types/json-data-type).
    return _character(SqlType("varchar", length=MAX, collation="Latin1_General_100_BIN2_UTF8"))


def _binary(sql_type: SqlType) -> Codec:
    length = MAX if sql_type.length is None else sql_type.length
    token = decode.BIGBINARY if sql_type.name == "binary" else decode.BIGVARBINARY
    return _sized(token, length, 8000, b"", bytes)


def _rowversion(_: SqlType) -> Codec:
    # User type 80 tells clients that this binary(8) is a timestamp.
    return Codec(bytes([decode.BIGBINARY, 8, 0]), _counted(bytes), _NULL_2, user_type=80)


_TEXT_POINTER = bytes([16]) + b"standin-textptr\0" + b"\0" * 8


def _long(token: int, limit: int, suffix: bytes, to_bytes: Callable[[Any], bytes]) -> Codec:
    """text, ntext, image: a text pointer, a timestamp, a four-byte length; TYPE_INFO ends with a table name."""

    def encode(value: Any) -> bytes:
        if value is None:
            return _NULL_1
        raw = to_bytes(value)
        return _TEXT_POINTER + _U32.pack(len(raw)) + raw

    table_name = b"\x01\x00\x00"  # one part, empty
    return Codec(bytes([token]) + _U32.pack(limit) + suffix + table_name, encode, _NULL_1)


def _text(sql_type: SqlType) -> Codec:
    collation_bytes = collation.encode(sql_type.collation)
    return _long(decode.TEXT, 0x7FFFFFFF, collation_bytes, _text_codec(collation_bytes))


def _ntext(sql_type: SqlType) -> Codec:
    return _long(decode.NTEXT, 0x7FFFFFFE, collation.encode(sql_type.collation), encode_text)


def _image(_: SqlType) -> Codec:
    return _long(decode.IMAGE, 0x7FFFFFFF, b"", bytes)


def _xml(_: SqlType) -> Codec:
    # No schema collection. Values are UTF-16 without a byte order mark: drivers hand on what they get.
    return Codec(bytes([decode.XML, 0]), _partially_counted(encode_text), _NULL_PLP)


def _uniqueidentifier(_: SqlType) -> Codec:
    def encode(value: uuid.UUID | None) -> bytes:
        if value is None:
            return _NULL_1
        return b"\x10" + value.bytes_le

    return Codec(bytes([decode.GUID, 16]), encode, _NULL_1)


# -- sql_variant -------------------------------------------------------------------------------------------------


def _variant(sql_type: SqlType) -> Codec:
    collation_bytes = collation.encode(sql_type.collation)

    def encode(value: Any) -> bytes:
        if value is None:
            return _U32.pack(0)
        token, properties, raw = _variant_parts(value, collation_bytes)
        size = 2 + len(properties) + len(raw)
        return _U32.pack(size) + bytes([token, len(properties)]) + properties + raw

    return Codec(bytes([decode.SQL_VARIANT]) + _U32.pack(8009), encode, _U32.pack(0))


def _variant_parts(value: Any, collation_bytes: bytes) -> tuple[int, bytes, bytes]:
    """Base type, its properties and the bare value: the base type follows from the Python value."""
    if isinstance(value, bool):
        return decode.BIT, b"", bytes([value])
    if isinstance(value, int):
        if -(2**31) <= value < 2**31:
            return decode.INT4, b"", struct.pack("<i", value)
        return decode.INT8, b"", struct.pack("<q", value)
    if isinstance(value, float):
        return decode.FLT8, b"", struct.pack("<d", value)
    if isinstance(value, Decimal):
        _, digits, exponent = value.as_tuple()
        scale = max(-int(exponent), 0)
        precision = max(len(digits) + max(int(exponent), 0), scale, 1)
        return (
            decode.NUMERICN,
            bytes([precision, scale]),
            _decimal(SqlType("numeric", precision=precision, scale=scale)).encode(value)[1:],
        )
    if isinstance(value, str):
        raw = encode_text(value)
        return decode.NVARCHAR, collation_bytes + _U16.pack(len(raw)), raw
    if isinstance(value, (bytes, bytearray, memoryview)):
        raw = bytes(value)
        return decode.BIGVARBINARY, _U16.pack(len(raw)), raw
    if isinstance(value, uuid.UUID):
        return decode.GUID, b"", value.bytes_le
    if isinstance(value, datetime.datetime):
        name = "datetime2" if value.tzinfo is None else "datetimeoffset"
        token = decode.DATETIME2 if value.tzinfo is None else decode.DATETIMEOFFSET
        return token, b"\x07", codec_for(SqlType(name, scale=7)).encode(value)[1:]
    if isinstance(value, datetime.date):
        return decode.DATE, b"", codec_for(SqlType("date")).encode(value)[1:]
    if isinstance(value, datetime.time):
        return decode.TIME, b"\x07", codec_for(SqlType("time", scale=7)).encode(value)[1:]
    raise ValueError(f"no sql_variant holds a {type(value).__name__}")


_FACTORIES: dict[str, Callable[[SqlType], Codec]] = {
    "tinyint": _integer(1),
    "smallint": _integer(2),
    "int": _integer(4),
    "bigint": _integer(8),
    "bit": _bit,
    "float": _float,
    "real": _floating(4),
    "decimal": _decimal,
    "numeric": _decimal,
    "money": _money,
    "smallmoney": _smallmoney,
    "date": _date,
    "time": _time,
    "datetime2": _datetime2,
    "datetimeoffset": _datetimeoffset,
    "datetime": _datetime,
    "smalldatetime": _smalldatetime,
    "nvarchar": _unicode,
    "nchar": _unicode,
    "sysname": _unicode,
    "varchar": _character,
    "char": _character,
    "varbinary": _binary,
    "binary": _binary,
    "rowversion": _rowversion,
    "timestamp": _rowversion,
    "text": _text,
    "ntext": _ntext,
    "image": _image,
    "xml": _xml,
    "json": _json,
    "uniqueidentifier": _uniqueidentifier,
    "sql_variant": _variant,
}

TYPE_NAMES = frozenset(_FACTORIES) - {"json"}
"""The data types that travel, in both directions; json goes out only, as text."""


# -- result sets -------------------------------------------------------------------------------------------------

_COLMETADATA = 0x81
_ROW = b"\xd1"
_NBCROW = b"\xd2"
_FLAG_NULLABLE = 0x0001
_FLAG_UPDATABLE_UNKNOWN = 0x0008
_FLAG_IDENTITY = 0x0010


def column_flags(*, nullable: bool, identity: bool = False) -> int:
    """The Flags of COLMETADATA
    (https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/58880b9f-381c-43b2-bf8b-0727a98c4f4c)."""
    flags = 0 if identity else _FLAG_UPDATABLE_UNKNOWN
    return flags | (_FLAG_NULLABLE if nullable else 0) | (_FLAG_IDENTITY if identity else 0)


@dataclass(frozen=True, slots=True)
class RowFormat:
    """A result set's COLMETADATA token, and the encoder of its rows."""

    metadata: bytes
    encode_row: Callable[[tuple[Any, ...]], bytes]


@functools.lru_cache(maxsize=512)
def row_format(columns: tuple[Column, ...]) -> RowFormat:
    """Compile the columns of a result set once; the cache carries it to the next execution."""
    codecs = [codec_for(column.type) for column in columns]
    parts = [struct.pack("<BH", _COLMETADATA, len(columns))]
    for column, codec in zip(columns, codecs, strict=True):
        name = encode_text(column.name)[: 2 * 128]
        flags = column_flags(nullable=column.nullable, identity=column.identity)
        parts += [struct.pack("<IH", codec.user_type, flags), codec.type_info, bytes([len(name) // 2]), name]
    return RowFormat(b"".join(parts), _row_encoder(codecs))


def _row_encoder(codecs: list[Codec]) -> Callable[[tuple[Any, ...]], bytes]:
    encoders = [codec.encode for codec in codecs]
    if len(encoders) == 1:
        (only,) = encoders
        return lambda row: _ROW + only(row[0])
    count = len(encoders)
    bitmap_size = (count + 7) // 8

    def encode(row: tuple[Any, ...]) -> bytes:
        if None in row and row.count(None) > bitmap_size:
            return encode_compressed(row)
        return _ROW + b"".join([encoder(value) for encoder, value in zip(encoders, row, strict=True)])

    def encode_compressed(row: tuple[Any, ...]) -> bytes:
        """NBCROW: a bitmap of the NULLs, then the other values. SQL Server sends it when it is shorter, too."""
        bitmap = 0
        values = []
        for index, value in enumerate(row):
            if value is None:
                bitmap |= 1 << index
            else:
                values.append(encoders[index](value))
        return _NBCROW + bitmap.to_bytes(bitmap_size, "little") + b"".join(values)

    return encode


def return_value(ordinal: int, name: str, sql_type: SqlType, value: Any) -> bytes:
    """The RETURNVALUE token of an output parameter
    (https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/7091f6f6-b83d-4ed2-afeb-ba5013dfb18f)."""
    codec = codec_for(sql_type)
    raw = encode_text(name)
    return b"".join(
        (
            struct.pack("<BHB", 0xAC, ordinal, len(raw) // 2),
            raw,
            struct.pack("<BIH", 0x01, codec.user_type, column_flags(nullable=True)),
            codec.type_info,
            codec.encode(value),
        )
    )
