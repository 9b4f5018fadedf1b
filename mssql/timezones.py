"""Time zones as SQL Server names them: IANA names to Windows names, fixed offsets to ``+hh:mm``."""

from __future__ import annotations

import re
from functools import cache

from django.db import NotSupportedError
from tzlocal.windows_tz import tz_win

# What str(tzinfo) and tzinfo.tzname(None) give for fixed offsets: "UTC+05:30", "+0530", "-03".
_FIXED_OFFSET = re.compile(r"^(?:UTC|GMT)?(?P<sign>[+-])(?P<hours>\d{2}):?(?P<minutes>\d{2})?$")
_UTC_NAMES = frozenset(
    {"UTC", "Etc/UTC", "Etc/UCT", "Etc/Universal", "Etc/Zulu", "GMT", "UCT", "Universal", "Zulu"}
)


@cache
def convert_sql(source: str, target: str) -> str:
    """Return a template (one ``%s``) that turns a stored moment into local time, as ``datetime2``.

    A ``datetimeoffset`` knows its offset, a ``datetime2`` is taken to be in the zone ``source``. ``AT TIME ZONE``
    applies daylight-saving rules (https://learn.microsoft.com/sql/t-sql/queries/at-time-zone-transact-sql).
    """
    moment = f"%s AT TIME ZONE '{windows_name(source)}'"
    if offset := fixed_offset(target):
        moment = f"SWITCHOFFSET({moment}, '{offset}')"
    elif windows_name(source) != windows_name(target):
        moment = f"{moment} AT TIME ZONE '{windows_name(target)}'"
    return f"CAST({moment} AS datetime2)"


def fixed_offset(name: str) -> str | None:
    """Return ``+hh:mm`` for the name of a fixed offset, else None."""
    if match := _FIXED_OFFSET.match(name):
        return f"{match['sign']}{match['hours']}:{match['minutes'] or '00'}"
    return None


def windows_name(name: str) -> str:
    """Return the Windows name (``sys.time_zone_info``) of an IANA zone, from Unicode's CLDR map."""
    if name in _UTC_NAMES:
        return "UTC"
    try:
        return tz_win[name]
    except KeyError:
        raise NotSupportedError(
            f"SQL Server knows no time zone for {name!r} (CLDR maps it to no Windows zone). "
            "Use another IANA name for the same rules, or a fixed offset."
        ) from None
