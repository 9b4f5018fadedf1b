"""PRELOGIN and LOGIN7: what a client says about itself before its first statement."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass, field

from sqlserver_standin.tds.packets import ProtocolError


class Encryption(enum.IntEnum):
    """The ENCRYPTION option of PRELOGIN
    (https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/60f56408-0188-4cd5-8b90-25c6f2423868)."""

    OFF = 0
    ON = 1
    NOT_SUPPORTED = 2
    REQUIRED = 3


class _Option(enum.IntEnum):
    VERSION = 0
    ENCRYPTION = 1
    INSTANCE = 2
    THREAD_ID = 3
    MARS = 4
    TRACE_ID = 5
    FEDERATED_AUTHENTICATION_REQUIRED = 6
    NONCE = 7
    TERMINATOR = 0xFF


@dataclass(frozen=True, slots=True)
class Prelogin:
    """The options of a client's PRELOGIN that the server acts on."""

    encryption: Encryption
    mars: bool = False


def parse_prelogin(data: bytes) -> Prelogin:
    """Read a client's PRELOGIN message."""
    options: dict[int, bytes] = {}
    position = 0
    while True:
        if position >= len(data):
            raise ProtocolError("PRELOGIN has no terminator")
        token = data[position]
        if token == _Option.TERMINATOR:
            break
        if position + 5 > len(data):
            raise ProtocolError("PRELOGIN ends within an option")
        offset, length = struct.unpack_from(">HH", data, position + 1)
        if offset + length > len(data):
            raise ProtocolError(f"PRELOGIN option {token} lies outside of the message")
        options[token] = data[offset : offset + length]
        position += 5
    raw = options.get(_Option.ENCRYPTION, b"\x02")
    # The high bit asks for a client certificate, which the stand-in never wants.
    value = raw[0] & 0x7F if raw else Encryption.NOT_SUPPORTED
    if value not in Encryption._value2member_map_:
        raise ProtocolError(f"PRELOGIN asks for the unknown encryption mode {value}")
    return Prelogin(Encryption(value), mars=options.get(_Option.MARS, b"")[:1] == b"\x01")


def build_prelogin(version: tuple[int, int, int], encryption: Encryption, *, mars: bool) -> bytes:
    """The server's answer: version, encryption, no named instance, and MARS as the client wants it."""
    major, minor, build = version
    options = [
        (_Option.VERSION, struct.pack(">BBHH", major, minor, build, 0)),
        (_Option.ENCRYPTION, bytes([encryption])),
        (_Option.INSTANCE, b"\x00"),
        (_Option.THREAD_ID, b""),
        (_Option.MARS, bytes([mars])),
    ]
    offset = 5 * len(options) + 1
    head = b""
    for token, value in options:
        head += struct.pack(">BHH", token, offset, len(value))
        offset += len(value)
    return head + bytes([_Option.TERMINATOR]) + b"".join(value for _, value in options)


class Feature(enum.IntEnum):
    """Feature extensions of LOGIN7 that the stand-in knows by name."""

    FEDERATED_AUTHENTICATION = 0x02
    UTF8_SUPPORT = 0x0A


# Offsets of (offset, length) pairs in the fixed part of LOGIN7:
# https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/773a62b6-ee89-4c02-9e5e-344882630aac
_FIXED = struct.Struct("<IIIIIIBBBBiI")
_FIELDS = {
    "host_name": 36,
    "user_name": 40,
    "password": 44,
    "application_name": 48,
    "server_name": 52,
    "client_library": 60,
    "language": 64,
    "database": 68,
}
_EXTENSION_FIELD = 56
_CLIENT_ID = 72
_SSPI_FIELD = 78
_CHANGE_PASSWORD_FIELD = 86
_FIXED_SIZE = 94

_FLAGS2_INTEGRATED_SECURITY = 0x80
_FLAGS3_CHANGE_PASSWORD = 0x01
_FLAGS3_EXTENSION = 0x10
_TYPE_READ_ONLY_INTENT = 0x20


@dataclass(frozen=True, slots=True)
class Login:
    """What LOGIN7 says, decoded."""

    tds_version: int
    packet_size: int
    client_pid: int
    host_name: str
    user_name: str
    password: str = field(repr=False)
    application_name: str
    server_name: str
    client_library: str
    language: str
    database: str
    integrated_security: bool
    change_password: bool
    read_only_intent: bool
    features: dict[int, bytes] = field(default_factory=dict)


def parse_login(data: bytes) -> Login:
    """Read a LOGIN7 message."""
    if len(data) < _FIXED_SIZE:
        raise ProtocolError(f"LOGIN7 has {len(data)} bytes, less than its fixed part")
    (
        length, tds_version, packet_size, _client_version, client_pid, _connection_id,
        _flags1, flags2, type_flags, flags3, _time_zone, _lcid,
    ) = _FIXED.unpack_from(data)  # fmt: skip
    if length > len(data):
        raise ProtocolError(f"LOGIN7 announces {length} bytes and has {len(data)}")

    texts: dict[str, str] = {}
    for name, position in _FIELDS.items():
        raw = _variable(data, position, name)
        texts[name] = (_unscramble(raw) if name == "password" else raw).decode("utf-16-le", "replace")

    features: dict[int, bytes] = {}
    if flags3 & _FLAGS3_EXTENSION:
        offset, size = struct.unpack_from("<HH", data, _EXTENSION_FIELD)
        if size < 4 or offset + 4 > len(data):
            raise ProtocolError("LOGIN7 points to a feature extension outside of the message")
        features = _parse_features(data, struct.unpack_from("<I", data, offset)[0])

    return Login(
        tds_version=tds_version,
        packet_size=packet_size,
        client_pid=client_pid,
        integrated_security=bool(flags2 & _FLAGS2_INTEGRATED_SECURITY),
        change_password=bool(flags3 & _FLAGS3_CHANGE_PASSWORD),
        read_only_intent=bool(type_flags & _TYPE_READ_ONLY_INTENT),
        features=features,
        **texts,
    )


def _variable(data: bytes, position: int, name: str) -> bytes:
    offset, characters = struct.unpack_from("<HH", data, position)
    end = offset + 2 * characters
    if characters and end > len(data):
        raise ProtocolError(f"LOGIN7 points to a {name} outside of the message")
    return data[offset:end]


def _unscramble(raw: bytes) -> bytes:
    """Undo LOGIN7's hiding of passwords: XOR with 0xA5, then swap the halves of each byte."""
    return bytes(((byte ^ 0xA5) << 4 | (byte ^ 0xA5) >> 4) & 0xFF for byte in raw)


def _parse_features(data: bytes, position: int) -> dict[int, bytes]:
    features: dict[int, bytes] = {}
    while True:
        if position >= len(data):
            raise ProtocolError("LOGIN7's feature extensions have no terminator")
        feature = data[position]
        if feature == 0xFF:
            return features
        if position + 5 > len(data):
            raise ProtocolError("LOGIN7 ends within a feature extension")
        (size,) = struct.unpack_from("<I", data, position + 1)
        if position + 5 + size > len(data):
            raise ProtocolError(f"LOGIN7's feature extension {feature} lies outside of the message")
        features[feature] = data[position + 5 : position + 5 + size]
        position += 5 + size
