"""Collations on the wire: five bytes that say how text sorts and in which code page (var)char travels."""

from __future__ import annotations

import codecs
import functools
import re
import struct

from sqlserver_standin.types import DEFAULT_COLLATION

# https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/3d29e8dc-218a-42c6-9ba4-947ebca9fd7e
_IGNORE_CASE = 0x00100000
_IGNORE_ACCENT = 0x00200000
_IGNORE_KANA = 0x00400000
_IGNORE_WIDTH = 0x00800000
_BINARY = 0x01000000
_BINARY2 = 0x02000000
_UTF8 = 0x04000000
_LCID_MASK = 0x000FFFFF
_VERSION_SHIFT = 28

_US_ENGLISH = 0x0409

# Windows locale identifier and code page of collation families, by the prefix of the collation's name
# (https://learn.microsoft.com/sql/relational-databases/collations/windows-collation-name-transact-sql).
_FAMILIES = {
    "latin1_general": (_US_ENGLISH, "cp1252"),
    "modern_spanish": (0x0C0A, "cp1252"),
    "finnish_swedish": (0x040B, "cp1252"),
    "danish_norwegian": (0x0406, "cp1252"),
    "french": (0x040C, "cp1252"),
    "german_phonebook": (0x10407, "cp1252"),
    "turkish": (0x041F, "cp1254"),
    "polish": (0x0415, "cp1250"),
    "czech": (0x0405, "cp1250"),
    "hungarian": (0x040E, "cp1250"),
    "cyrillic_general": (0x0419, "cp1251"),
    "greek": (0x0408, "cp1253"),
    "hebrew": (0x040D, "cp1255"),
    "arabic": (0x0401, "cp1256"),
    "japanese": (0x0411, "cp932"),
    "chinese_prc": (0x0804, "cp936"),
    "korean_wansung": (0x0412, "cp949"),
    "chinese_taiwan_stroke": (0x0404, "cp950"),
}
_CODE_PAGES = dict(_FAMILIES.values())

# Sort orders of the SQL_… collations (the fifth byte); Windows collations have 0.
_SORT_ORDERS = {
    "sql_latin1_general_cp1_cs_as": 51,
    "sql_latin1_general_cp1_ci_as": 52,
    "sql_latin1_general_pref_cp1_ci_as": 53,
    "sql_latin1_general_cp1_ci_ai": 54,
}


@functools.lru_cache(maxsize=256)
def encode(name: str | None) -> bytes:
    """The five bytes of a collation's name; an unknown family travels as Latin1_General."""
    lower = (name or DEFAULT_COLLATION).lower()
    windows_name = re.sub(r"^sql_|_(pref_)?cp1(?=_|$)", "", lower)
    info = next(
        (lcid for family, (lcid, _) in _FAMILIES.items() if windows_name.startswith(family)), _US_ENGLISH
    )
    words = set(lower.split("_"))
    if "bin2" in words:
        info |= _BINARY2
    elif "bin" in words:
        info |= _BINARY
    else:
        info |= 0 if "cs" in words else _IGNORE_CASE
        info |= _IGNORE_ACCENT if "ai" in words else 0
        info |= 0 if "ks" in words else _IGNORE_KANA
        info |= 0 if "ws" in words else _IGNORE_WIDTH
    if "utf8" in words:
        info |= _UTF8
    version = 3 if "140" in words else 2 if "100" in words else 1 if "90" in words else 0
    info |= version << _VERSION_SHIFT
    return struct.pack("<IB", info, _SORT_ORDERS.get(lower, 0))


@functools.lru_cache(maxsize=256)
def codec(collation: bytes) -> str:
    """Python's name for the code page in which (var)char of this collation travels."""
    (info,) = struct.unpack_from("<I", collation)
    if info & _UTF8:
        return "utf-8"
    return _CODE_PAGES.get(info & _LCID_MASK, "cp1252")


def _undefined_as_latin1(error: UnicodeError) -> tuple[str, int]:
    """Windows maps the bytes that a code page leaves undefined to the control character of that number."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error("sqlserver_standin.undefined", _undefined_as_latin1)
UNDEFINED_AS_LATIN1 = "sqlserver_standin.undefined"
