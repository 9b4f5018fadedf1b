"""OPTIONS, checked, and the ODBC connection string that they make; finds the ODBC driver.

Keywords of the string: https://learn.microsoft.com/sql/connect/odbc/dsn-connection-string-attribute
"""

from __future__ import annotations

import difflib
import platform
import re
import struct
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

SQL_COPT_SS_ACCESS_TOKEN = 1256
"""Connection attribute that takes a Microsoft Entra access token
(https://learn.microsoft.com/sql/connect/odbc/using-azure-active-directory)."""

ISOLATION_LEVELS = ("READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SNAPSHOT", "SERIALIZABLE")
DEADLOCK_PRIORITIES = ("LOW", "NORMAL", "HIGH")
ENCRYPTION = ("yes", "no", "mandatory", "optional", "strict")
INTENTS = ("ReadOnly", "ReadWrite")
UUID_STORAGE = ("char", "uniqueidentifier")
JSON_STORAGE = ("nvarchar", "json")


# --- OPTIONS ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a key takes: ``accept`` returns the value to use or raises ValueError; ``allowed`` says it to a person."""

    allowed: str
    accept: Callable[[Any], Any]


def _instance(allowed: str, *types: type) -> _Kind:
    def accept(value: Any) -> Any:
        # bool is an int, but a number of retries that is True is a mistake.
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise ValueError
        return value

    return _Kind(allowed, accept)


def _number(allowed: str, low: float, high: float = float("inf"), types: tuple[type, ...] = (int,)) -> _Kind:
    def accept(value: Any) -> Any:
        number = _instance(allowed, *types).accept(value)
        if not low <= number <= high:
            raise ValueError
        return number

    return _Kind(allowed, accept)


def _one_of(*values: str) -> _Kind:
    by_name = {value.lower(): value for value in values}

    def accept(value: Any) -> str:
        if not isinstance(value, str) or value.lower() not in by_name:
            raise ValueError
        return by_name[value.lower()]

    return _Kind("one of " + ", ".join(repr(value) for value in values), accept)


def _accept_isolation_level(value: Any) -> str:
    name = re.sub(r"[\s_]+", " ", value).strip().upper() if isinstance(value, str) else ""
    if name not in ISOLATION_LEVELS:
        raise ValueError
    return name


def _accept_encrypt(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _one_of(*ENCRYPTION).accept(value)


def _accept_deadlock_priority(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and -10 <= value <= 10:
        return str(value)
    return _one_of(*DEADLOCK_PRIORITIES).accept(value)


def _accept_collation(value: Any) -> str:
    # It becomes part of statements, where no parameter can stand.
    if not isinstance(value, str) or not re.fullmatch(r"\w+", value):
        raise ValueError
    return value


def _accept_token(value: Any) -> Any:
    if not (callable(value) or (isinstance(value, str) and value)):
        raise ValueError
    return value


def _accept_session_context(value: Any) -> dict[str, Any]:
    # https://learn.microsoft.com/sql/relational-databases/system-stored-procedures/sp-set-session-context-transact-sql
    if not isinstance(value, Mapping):
        raise ValueError
    for key, item in value.items():
        if not isinstance(key, str) or not 0 < len(key.encode("utf-16-le")) <= 256:
            raise ValueError
        if not (item is None or isinstance(item, str | int | bytes)):
            raise ValueError
    return dict(value)


def _accept_python_driver(value: Any) -> Any:
    if value == "mssql_python":
        raise ImproperlyConfigured(
            "OPTIONS['python_driver'] = 'mssql_python' is not supported: this backend works through pyodbc. "
            "Take the key out; Microsoft's ODBC driver is found by itself, also inside the mssql-python-odbc package."
        )
    if value != "pyodbc":
        raise ValueError
    return value


_TEXT = _instance("a string", str)
_FLAG = _instance("True or False", bool)
_FLAG_OR_DICT = _instance("True, False or a dict", bool, dict)
_SECONDS = _number("a number of seconds, 0 or more", 0, types=(int, float))
_ENCODINGS = _instance("a list of dicts of keyword arguments", list, tuple)

_KINDS: dict[str, _Kind] = {
    # Keys of mssql-django, with its meanings.
    "driver": _TEXT,
    "dsn": _TEXT,
    "host_is_server": _FLAG,
    "extra_params": _TEXT,
    "connection_timeout": _number("a whole number of seconds, 0 or more (0: no limit)", 0),
    "query_timeout": _number("a whole number of seconds, 0 or more (0: no limit)", 0),
    "connection_retries": _number("a whole number, 0 or more", 0),
    "connection_retry_backoff_time": _SECONDS,
    "connection_recovery_interval_msec": _number(
        "a number of milliseconds, 0 or more", 0, types=(int, float)
    ),
    "setencoding": _ENCODINGS,
    "setdecoding": _ENCODINGS,
    "unicode_results": _FLAG,
    "isolation_level": _Kind("one of " + ", ".join(map(repr, ISOLATION_LEVELS)), _accept_isolation_level),
    "datefirst": _number("1 (Monday) to 7 (Sunday)", 1, 7),
    "return_rows_bulk_insert": _FLAG,
    "collation": _Kind("the name of a collation", _accept_collation),
    "driver_charset": _TEXT,
    "driver_needs_utf8": _FLAG,
    "python_driver": _Kind("'pyodbc'", _accept_python_driver),
    # Keys of its dbshell.
    "user": _TEXT,
    "passwd": _TEXT,
    "db": _TEXT,
    "host": _TEXT,
    "port": _instance("a port number", str, int),
    "read_default_file": _TEXT,
    # Our own.
    "app_name": _TEXT,
    "application_intent": _one_of(*INTENTS),
    "encrypt": _Kind("True, False or one of " + ", ".join(map(repr, ENCRYPTION)), _accept_encrypt),
    "trust_server_certificate": _FLAG,
    "host_name_in_certificate": _TEXT,
    "server_certificate": _TEXT,
    "multi_subnet_failover": _FLAG,
    "authentication": _TEXT,
    "token": _Kind("an access token, or a callable without arguments that returns one", _accept_token),
    "lock_timeout": _number("milliseconds; -1 waits for ever, 0 not at all", -1, 2**31 - 1),
    "deadlock_priority": _Kind(
        "'LOW', 'NORMAL', 'HIGH' or a number from -10 to 10", _accept_deadlock_priority
    ),
    "mars": _FLAG,
    "session_context": _Kind(
        "a dict: names of at most 128 characters to strings, whole numbers, bytes or None",
        _accept_session_context,
    ),
    "fast_executemany": _FLAG,
    "uuid_storage": _one_of(*UUID_STORAGE),
    "json_storage": _one_of(*JSON_STORAGE),
    "retry": _FLAG_OR_DICT,
    "pool": _FLAG_OR_DICT,
    "instrumentation": _FLAG_OR_DICT,
}


@dataclass(frozen=True, slots=True)
class Options:
    """OPTIONS of one alias, checked, each with its default."""

    driver: str = ""
    dsn: str = ""
    host_is_server: bool = False
    extra_params: str = ""
    connection_timeout: int = 0
    query_timeout: int = 0
    connection_retries: int | None = None
    connection_retry_backoff_time: float | None = None
    connection_recovery_interval_msec: float = 0
    setencoding: Sequence[Mapping[str, Any]] = ()
    setdecoding: Sequence[Mapping[str, Any]] = ()
    unicode_results: bool = False
    isolation_level: str = ""
    datefirst: int = 7
    return_rows_bulk_insert: bool = False
    collation: str = ""
    driver_charset: str = ""
    driver_needs_utf8: bool = False
    python_driver: str = "pyodbc"
    user: str = ""
    passwd: str = ""
    db: str = ""
    host: str = ""
    port: str | int = ""
    read_default_file: str = ""
    app_name: str = "Django"
    application_intent: str = ""
    encrypt: str = ""
    trust_server_certificate: bool | None = None
    host_name_in_certificate: str = ""
    server_certificate: str = ""
    multi_subnet_failover: bool = False
    authentication: str = ""
    token: str | Callable[[], str] | None = None
    lock_timeout: int = -1
    deadlock_priority: str = "NORMAL"
    mars: bool = False
    session_context: Mapping[str, Any] = field(default_factory=dict)
    fast_executemany: bool = True
    uuid_storage: str = "char"
    json_storage: str = "nvarchar"
    retry: bool | Mapping[str, Any] = True
    pool: bool | Mapping[str, Any] = False
    instrumentation: bool | Mapping[str, Any] = False

    @classmethod
    def from_dict(cls, options: Mapping[str, Any], alias: str = "default") -> Options:
        """Check ``DATABASES[alias]["OPTIONS"]``."""
        checked = {}
        for key, value in options.items():
            kind = _KINDS.get(key)
            if kind is None:
                near = difflib.get_close_matches(str(key), _KINDS, n=2, cutoff=0.75)
                hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
                raise ImproperlyConfigured(
                    f"DATABASES[{alias!r}]['OPTIONS'] has the unknown key {key!r} (value {_shown(key, value)}). {hint}"
                    f"Allowed keys: {', '.join(sorted(_KINDS))}."
                )
            try:
                checked[key] = kind.accept(value)
            except ValueError:
                raise ImproperlyConfigured(
                    f"DATABASES[{alias!r}]['OPTIONS'][{key!r}] is {_shown(key, value)}; allowed: {kind.allowed}."
                ) from None
        return cls(**checked)


def _shown(key: object, value: object) -> str:
    """The value as an error message may show it: no secret goes into a log."""
    if isinstance(value, str) and re.search("pass|pwd|token|secret", str(key), re.IGNORECASE):
        return "(hidden)"
    return repr(value)


# --- Driver ----------------------------------------------------------------------------------------------------------

_REGISTERED = re.compile(r"ODBC Driver (\d+) for SQL Server", re.IGNORECASE)


def packaged_drivers(package: Path | None) -> list[Path]:
    """Microsoft's drivers inside the ``mssql-python-odbc`` package, the one made for this platform first."""
    if package is None:
        return []
    machine = {"amd64": "x86_64", "x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}.get(
        platform.machine().lower(), platform.machine()
    )
    if sys.platform == "win32":
        return sorted(package.glob("libs/windows/*/msodbcsql18.dll"))
    if sys.platform == "darwin":
        return sorted(package.glob(f"libs/macos/{machine}/lib/libmsodbcsql*.dylib"))
    found = sorted(package.glob(f"libs/linux/*/{machine}/lib/libmsodbcsql-*.so*"))
    return sorted(found, key=lambda path: path.parents[2].name != _linux_family())


def _linux_family() -> str:
    """The name that the ``mssql-python-odbc`` package gives to this distribution's folder."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return "debian_ubuntu"
    names = {release.get("ID", ""), *release.get("ID_LIKE", "").split()}
    if "alpine" in names:
        return "alpine"
    if names & {"suse", "opensuse", "sles"}:
        return "suse"
    if names & {"rhel", "fedora", "centos"}:
        return "rhel"
    return "debian_ubuntu"


def find_driver(wanted: str, registered: Iterable[str], package: Path | None) -> str:
    """The driver to name in the connection string: a registered name, or the path of a library.

    ``wanted`` is OPTIONS["driver"]; ``registered`` what the driver manager knows; ``package`` the folder of
    ``mssql-python-odbc``, if it is installed.
    """
    registered = list(registered)
    by_name = {name.lower(): name for name in registered}
    if wanted:
        if wanted.lower() in by_name:
            return by_name[wanted.lower()]
        if Path(wanted).is_file():
            return wanted
    newest = max(
        (name for name in registered if _REGISTERED.fullmatch(name)),
        key=lambda name: int(_REGISTERED.fullmatch(name)[1]),  # type: ignore[index]
        default=None,
    )
    packaged = packaged_drivers(package)
    # A name of Microsoft's driver is a wish for that driver, whichever of its versions is here; a file name, or the
    # name of another maker's driver, is that or nothing.
    if (not wanted or _REGISTERED.fullmatch(wanted)) and (newest or packaged):
        return newest or str(packaged[0])
    raise ImproperlyConfigured(_no_driver(wanted, registered, package))


def _no_driver(wanted: str, registered: Sequence[str], package: Path | None) -> str:
    looked = []
    if wanted:
        looked.append(f"OPTIONS['driver'] = {wanted!r}: neither a registered driver nor a file")
    looked.append(
        "a registered 'ODBC Driver NN for SQL Server': the driver manager knows "
        + (", ".join(repr(name) for name in registered) or "no driver at all")
    )
    packaged = packaged_drivers(package)
    if packaged:
        looked.append(
            f"the driver inside the mssql-python-odbc package: it is there, leave the key out to use it: {packaged[0]}"
        )
    elif package:
        looked.append(f"the driver inside the mssql-python-odbc package: none for this platform in {package}")
    else:
        looked.append("the driver inside the mssql-python-odbc package: not installed")
    return (
        "No ODBC driver for SQL Server was found. Looked for:\n"
        + "".join(f"  - {line}\n" for line in looked)
        + 'Mend it with one of:\n  - pip install "django-mssql-observable[odbc]"\n'
        + "  - Microsoft's packages (msodbcsql18): https://learn.microsoft.com/sql/connect/odbc/download-odbc-driver-for-sql-server"
    )


# --- Server ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """HOST and PORT, taken apart: ``[protocol:]host[\\instance][,port]``."""

    host: str
    instance: str = ""
    port: int | None = None
    protocol: str = ""

    def __str__(self) -> str:
        text = f"{self.protocol}:{self.host}" if self.protocol else self.host
        if self.instance:
            text += f"\\{self.instance}"
        return f"{text},{self.port}" if self.port else text

    @property
    def address(self) -> str:
        """The host as a client elsewhere would say it: ``.`` and ``(local)`` mean this machine."""
        return "localhost" if self.host in {".", "(local)"} else self.host


_PROTOCOL = re.compile(r"(tcp|np|lpc|admin):(.*)", re.IGNORECASE | re.DOTALL)


def parse_server(host: str, port: str | int | None, alias: str = "default") -> ServerAddress:
    """Take apart HOST in any of the forms that SQL Server's own tools accept, with PORT."""
    rest, protocol = host.strip(), ""
    if match := _PROTOCOL.fullmatch(rest):
        protocol, rest = match[1].lower(), match[2].strip()
    if protocol == "np":
        return ServerAddress(rest, protocol="np")
    rest, comma, number = rest.partition(",")
    name, _, instance = rest.strip().partition("\\")
    ports = [str(item).strip() for item in ((number if comma else ""), port or "")]
    for item in ports:
        if item and not (item.isdigit() and 0 < int(item) < 65536):
            raise ImproperlyConfigured(
                f"DATABASES[{alias!r}]: {item!r} (HOST {host!r}, PORT {port!r}) is not a port number (1 to 65535)."
            )
    given = {int(item) for item in ports if item}
    if len(given) > 1:
        raise ImproperlyConfigured(
            f"DATABASES[{alias!r}]: HOST {host!r} and PORT {port!r} name different ports; say it in one of them."
        )
    return ServerAddress(
        name.strip() or "localhost", instance.strip(), given.pop() if given else None, protocol
    )


# --- Connection string -----------------------------------------------------------------------------------------------


def quote(value: str) -> str:
    """A value as the connection string takes it: in braces where it could be misread
    (https://learn.microsoft.com/sql/odbc/reference/syntax/sqldriverconnect-function#comments)."""
    if re.search(r"[\[\]{}(),;?*=!@\s]", value) or not value:
        return "{" + value.replace("}", "}}") + "}"
    return value


_PASSWORDLESS = {"activedirectorymsi", "activedirectoryintegrated", "activedirectoryinteractive"}
_MICROSOFT_DRIVER = re.compile(
    r"ODBC Driver \d+ for SQL Server|SQL Server Native Client .*|SQL Server|.*msodbcsql.*",
    re.IGNORECASE | re.DOTALL,
)


def connection_string(
    settings: Mapping[str, Any], options: Options, driver: str, alias: str = "default"
) -> str:
    """The ODBC connection string for ``DATABASES[alias]``; ``driver`` as `find_driver` gave it."""
    parts: dict[str, str] = {}
    microsoft = bool(_MICROSOFT_DRIVER.fullmatch(driver))
    if options.dsn:
        parts["DSN"] = options.dsn
    else:
        parts["DRIVER"] = driver
        server = parse_server(settings.get("HOST") or "", settings.get("PORT"), alias)
        if microsoft:
            parts["SERVER"] = str(server)
        elif options.host_is_server:
            parts["SERVER"] = server.host
            if server.port:
                parts["PORT"] = str(server.port)
        else:
            parts["SERVERNAME"] = server.host
    _add_login(parts, settings, options, microsoft, alias)
    parts["DATABASE"] = settings.get("NAME") or "master"
    if microsoft:
        parts["APP"] = options.app_name
        parts["MARS_Connection"] = "yes" if options.mars else "no"
        for keyword, value in (
            ("ApplicationIntent", options.application_intent),
            ("Encrypt", options.encrypt),
            ("HostnameInCertificate", options.host_name_in_certificate),
            ("ServerCertificate", options.server_certificate),
            ("MultiSubnetFailover", "yes" if options.multi_subnet_failover else ""),
        ):
            parts.update({keyword: value} if value else {})
        if options.trust_server_certificate is not None:
            parts["TrustServerCertificate"] = "yes" if options.trust_server_certificate else "no"
    # The first of two equal keywords wins, so what the person wrote himself goes first.
    own = options.extra_params.strip().strip(";")
    said = {match.lower() for match in re.findall(r"(?:^|;)\s*([\w ]+?)\s*=", own)}
    text = ";".join(f"{name}={quote(value)}" for name, value in parts.items() if name.lower() not in said)
    return f"{text};{own}" if own else text


def _add_login(
    parts: dict[str, str], settings: Mapping[str, Any], options: Options, microsoft: bool, alias: str
) -> None:
    user, password = settings.get("USER") or "", settings.get("PASSWORD") or ""
    match = re.search(r"(?:^|;)\s*Authentication\s*=\s*\{?(\w+)", options.extra_params, re.IGNORECASE)
    authentication = (options.authentication or (match[1] if match else "")).lower()
    if access_token_source(settings, options) is not None:
        if user or password or authentication:
            raise ImproperlyConfigured(
                f"DATABASES[{alias!r}]: an access token (TOKEN or OPTIONS['token']) cannot stand together with USER, "
                "PASSWORD or OPTIONS['authentication']; the driver takes one way to log in."
            )
        return
    if options.authentication:
        parts["Authentication"] = options.authentication
    if user:
        parts["UID"] = user
        if authentication not in _PASSWORDLESS:
            parts["PWD"] = password
    elif microsoft and not authentication:
        trusted = settings.get("Trusted_Connection", "yes")
        parts["Trusted_Connection"] = {True: "yes", False: "no"}.get(trusted, trusted)
    elif not microsoft and not authentication:
        parts["Integrated Security"] = "SSPI"


def access_token_source(settings: Mapping[str, Any], options: Options) -> str | Callable[[], str] | None:
    return options.token or settings.get("TOKEN") or None


def access_token(source: str | Callable[[], str] | None) -> dict[int, bytes]:
    """``attrs_before`` of pyodbc for an access token; a callable is asked for each connection, since tokens expire."""
    if source is None:
        return {}
    token = source() if callable(source) else source
    if not isinstance(token, str) or not token:
        raise ImproperlyConfigured(
            f"The access token must be a non-empty string, not {type(token).__name__}."
        )
    encoded = token.encode("utf-16-le")
    return {SQL_COPT_SS_ACCESS_TOKEN: struct.pack("<i", len(encoded)) + encoded}


def masked(connection_string: str) -> str:
    """The connection string as a log or an error may show it."""
    return re.sub(
        r"\b(PWD|Password)\s*=\s*(\{(?:[^}]|\}\})*\}|[^;]*)",
        r"\1=***",
        connection_string,
        flags=re.IGNORECASE,
    )
