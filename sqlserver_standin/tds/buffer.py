"""Reading a message: bounds-checked reads that turn any short message into a ProtocolError."""

from __future__ import annotations

import struct

from sqlserver_standin.tds.packets import ProtocolError

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


class Buffer:
    """A cursor over one message."""

    __slots__ = ("data", "position", "size")

    def __init__(self, data: bytes, position: int = 0) -> None:
        self.data = data
        self.position = position
        self.size = len(data)

    @property
    def exhausted(self) -> bool:
        return self.position >= self.size

    def take(self, length: int) -> bytes:
        """The next ``length`` bytes."""
        end = self.position + length
        if end > self.size:
            raise ProtocolError(f"the message ends {end - self.size} bytes before it should")
        chunk = self.data[self.position : end]
        self.position = end
        return chunk

    def peek(self) -> int:
        """The next byte, without taking it."""
        if self.position >= self.size:
            raise ProtocolError("the message ends before it should")
        return self.data[self.position]

    def u8(self) -> int:
        value = self.peek()
        self.position += 1
        return value

    def u16(self) -> int:
        return int(_U16.unpack(self.take(2))[0])

    def u32(self) -> int:
        return int(_U32.unpack(self.take(4))[0])

    def u64(self) -> int:
        return int(_U64.unpack(self.take(8))[0])

    def text(self, characters: int) -> str:
        """``characters`` UTF-16 code units."""
        return decode_text(self.take(2 * characters))


def decode_text(raw: bytes) -> str:
    """UTF-16 as SQL Server keeps it: lone surrogates are stored, so they pass."""
    if len(raw) % 2:
        raise ProtocolError("a Unicode value has an odd number of bytes")
    return raw.decode("utf-16-le", "surrogatepass")


def encode_text(text: str) -> bytes:
    """The inverse of `decode_text`."""
    return text.encode("utf-16-le", "surrogatepass")
