"""Requests after login: SQL batches, remote procedure calls, transaction manager requests."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from sqlserver_standin.events import Parameter, SqlError
from sqlserver_standin.tds.buffer import Buffer, decode_text
from sqlserver_standin.tds.decode import InvalidValue, read_typed_value
from sqlserver_standin.tds.packets import ProtocolError

_MARS_HEADER = 2
_TRANSACTION_DESCRIPTOR_SIZE = 18


def _skip_headers(buffer: Buffer) -> None:
    """Check ALL_HEADERS. Without MARS, the transaction descriptor in it can only be that of the one session
    (https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/e17e54ae-0fac-48b7-b8a8-c267be297923)."""
    start = buffer.position
    total = buffer.u32()
    if total < 4 or start + total > buffer.size:
        raise ProtocolError(f"the request's headers announce {total} bytes of {buffer.size - start}")
    while buffer.position < start + total:
        size = buffer.u32()
        kind = buffer.u16()
        if size < 6 or buffer.position + size - 6 > start + total:
            raise ProtocolError(f"a request header announces {size} bytes")
        if kind == _MARS_HEADER and size != _TRANSACTION_DESCRIPTOR_SIZE:
            raise ProtocolError(f"a transaction descriptor header has {size} bytes")
        buffer.take(size - 6)


def parse_batch(data: bytes) -> str:
    """The SQL text of a SQLBatch message."""
    buffer = Buffer(data)
    _skip_headers(buffer)
    return decode_text(data[buffer.position :])


@dataclass(frozen=True, slots=True)
class Call:
    """One remote procedure call: a procedure's name, its parameters by position (their names may be empty)."""

    procedure: str
    parameters: tuple[Parameter, ...]


# https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/619c43b6-9495-4a58-9e49-a4950db245b3
_PROCEDURE_NUMBERS = {
    1: "sp_cursor",
    2: "sp_cursoropen",
    3: "sp_cursorprepare",
    4: "sp_cursorexecute",
    5: "sp_cursorprepexec",
    6: "sp_cursorunprepare",
    7: "sp_cursorfetch",
    8: "sp_cursoroption",
    9: "sp_cursorclose",
    10: "sp_executesql",
    11: "sp_prepare",
    12: "sp_execute",
    13: "sp_prepexec",
    14: "sp_prepexecrpc",
    15: "sp_unprepare",
}
_BY_NUMBER = 0xFFFF
_MOST_PARAMETERS = 2100
"""Of a call: sp_executesql needs two of them itself, sp_prepexec three
(https://learn.microsoft.com/sql/sql-server/maximum-capacity-specifications-for-sql-server)."""

_SEPARATORS = (0x80, 0xFE, 0xFF)
_BY_REFERENCE = 0x01
_ENCRYPTED = 0x08


def parse_calls(data: bytes) -> list[Call]:
    """The calls of an RPC message. One message may carry many: ODBC sends arrays of parameters that way."""
    buffer = Buffer(data)
    _skip_headers(buffer)
    calls = [_parse_call(buffer)]
    while not buffer.exhausted:
        if buffer.u8() not in _SEPARATORS:
            raise ProtocolError("a remote procedure call is followed by something that is no separator")
        if not buffer.exhausted:
            calls.append(_parse_call(buffer))
    return calls


def _parse_call(buffer: Buffer) -> Call:
    length = buffer.u16()
    if length == _BY_NUMBER:
        number = buffer.u16()
        if number not in _PROCEDURE_NUMBERS:
            raise ProtocolError(f"no procedure has the number {number}")
        name = _PROCEDURE_NUMBERS[number]
    else:
        name = buffer.text(length)
    buffer.u16()  # Option flags: recompile, and leave out metadata, which a server may send all the same.
    parameters: list[Parameter] = []
    while not buffer.exhausted and buffer.peek() not in _SEPARATORS:
        parameters.append(_parse_parameter(buffer, len(parameters) + 1))
        if len(parameters) > _MOST_PARAMETERS:
            raise SqlError(
                8003,
                "The incoming request has too many parameters. The server supports a maximum of "
                f"{_MOST_PARAMETERS} parameters. Reduce the number of parameters and resend the request.",
            )
    return Call(name, tuple(parameters))


_INVALID_VALUE = (
    "The incoming tabular data stream (TDS) remote procedure call (RPC) protocol stream is incorrect. "
    'Parameter {} ("{}"): The supplied value is not a valid instance of data type {}. Check the source data for '
    "invalid values. An example of an invalid value is data of numeric type with scale greater than precision."
)


def _parse_parameter(buffer: Buffer, number: int) -> Parameter:
    name = buffer.text(buffer.u8())
    flags = buffer.u8()
    if flags & _ENCRYPTED:
        raise ProtocolError("a parameter is encrypted, and column encryption was not negotiated")
    try:
        sql_type, value = read_typed_value(buffer)
    except InvalidValue as error:
        raise SqlError(8023, _INVALID_VALUE.format(number, name, error.type_name), state=1) from None
    return Parameter(name, sql_type, value, output=bool(flags & _BY_REFERENCE))


class TransactionRequest(enum.IntEnum):
    """Kinds of transaction manager requests that clients send outside of distributed transactions
    (https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/b4b78564-5440-4fc0-b5ef-c9e1925aaefe)."""

    BEGIN = 5
    COMMIT = 7
    ROLLBACK = 8
    SAVE = 9


class Isolation(enum.IntEnum):
    """Isolation level of a transaction manager request; UNCHANGED keeps that of the session."""

    UNCHANGED = 0
    READ_UNCOMMITTED = 1
    READ_COMMITTED = 2
    REPEATABLE_READ = 3
    SERIALIZABLE = 4
    SNAPSHOT = 5


@dataclass(frozen=True, slots=True)
class TransactionManagerRequest:
    """A transaction manager request; ``begin_again`` starts the next transaction at once, in ``isolation``."""

    kind: TransactionRequest
    name: str = ""
    isolation: Isolation = Isolation.UNCHANGED
    begin_again: bool = False


def parse_transaction_request(data: bytes) -> TransactionManagerRequest:
    """Read a transaction manager request."""
    buffer = Buffer(data)
    _skip_headers(buffer)
    number = buffer.u16()
    if number not in TransactionRequest._value2member_map_:
        raise ProtocolError(f"transaction manager request {number} belongs to distributed transactions")
    kind = TransactionRequest(number)
    if kind is TransactionRequest.BEGIN:
        isolation = _isolation(buffer)
        return TransactionManagerRequest(kind, _name(buffer), isolation)
    name = _name(buffer)
    if kind is TransactionRequest.SAVE or buffer.exhausted or not buffer.u8() & 1:
        return TransactionManagerRequest(kind, name)
    return TransactionManagerRequest(kind, name, _isolation(buffer), begin_again=True)


def _isolation(buffer: Buffer) -> Isolation:
    number = buffer.u8()
    if number not in Isolation._value2member_map_:
        raise ProtocolError(f"isolation level {number} does not exist")
    return Isolation(number)


def _name(buffer: Buffer) -> str:
    return decode_text(buffer.take(buffer.u8()))
