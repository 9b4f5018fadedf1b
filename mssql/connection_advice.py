"""What to do about a connection that could not be made: one text per kind of failure. Pure; knows no Django."""

from __future__ import annotations

from mssql.connection_string import ServerAddress
from mssql.errors import ErrorClass, SQLServerError

_UNREACHABLE = """\
SQL Server could not be reached at host {host!r}, {where}. Check, in this order:
  1. HOST: the name resolves from this machine (inside a container, "localhost" is the container itself).
  2. PORT: the server listens there. {port_hint}
  3. The server runs, with TCP/IP switched on (SQL Server Configuration Manager, "Protocols").
  4. No firewall stands between: an open TCP port (`nc -vz {host} {port}`); in Azure, a rule for this address."""
_PORT_HINT = "1433 is the default; PORT names another."
_INSTANCE_HINT = (
    "A named instance is looked up by the SQL Server Browser service (UDP 1434); PORT makes that needless."
)
_TIMED_OUT = "\nIt took longer than OPTIONS['connection_timeout'] ({timeout} s)."
_CERTIFICATE = """\
The server's certificate is not trusted by this machine. ODBC Driver 18 encrypts every connection and checks the
certificate, which a server makes for itself when it was given none. Do one of:
  - give the server a certificate of an authority that this machine trusts (best; certain for Azure SQL);
  - OPTIONS["server_certificate"] = file of the certificate to expect, or "host_name_in_certificate" = the name in it;
  - OPTIONS["trust_server_certificate"] = True: encrypted, but to whomever answers (for development);
  - OPTIONS["encrypt"] = False: not encrypted (for a server on the same machine)."""
_TLS = """\
This machine and the server could not agree on how to encrypt. The message says what was missed: a protocol or a key
that is too old for OpenSSL here (TLS 1.2 is switched off on the server; its certificate has a short key or an SHA-1
signature), or OpenSSL itself. Mend the server's side, or lower MinProtocol or SECLEVEL in openssl.cnf here."""
_NOT_SQL_SERVER = """\
What listens at host {host!r}, port {port}, does not speak SQL Server's protocol. Check PORT (1433 is the default), and
that no proxy or other service stands in between."""
_LOGIN = """\
The server refused the login of {user}. Check USER and PASSWORD, that the login exists and is enabled on this server,
and that the server allows SQL Server authentication ("mixed mode"). The server's own log says which of these it was."""
_TRUSTED = """\
The server refused the login of the account that runs this process: USER is empty, so Windows authentication (Kerberos)
was used. Set USER and PASSWORD, TOKEN, or OPTIONS["authentication"]; or grant that account a login."""
_DATABASE = """\
The server took the login, but not the database {name!r}. Check NAME: the database has to exist (CREATE DATABASE;
migrate makes tables only) and the login needs a user in it. A paused or restoring database answers the same."""
_LIBRARY = """\
The driver manager could not load the ODBC driver {driver!r}. Its file is missing, or a library that it needs is: `ldd`
on that file names it (often libodbcinst, libltdl or the Kerberos libraries)."""
_KERBEROS = """\
USER is empty, so Windows authentication (Kerberos) was tried, and this process has no ticket. Set USER and PASSWORD,
TOKEN, or OPTIONS["authentication"]; or run kinit."""

_DATABASE_NUMBERS = {4060, 4062, 4063, 4064, 40532, 40613, 911, 916}


# What Windows' own TLS reports for a root that is not trusted and for another name: its texts are localised.
# https://learn.microsoft.com/windows/win32/secauthn/sspi-status-codes
_CERTIFICATE_NUMBERS = {-2146893019, -2146893022}


def fails_tls(error: SQLServerError) -> bool:
    """Whether encryption could not be set up, which trying again does not change."""
    return "ssl provider" in error.message.lower() or _distrusts_certificate(error)


def _distrusts_certificate(error: SQLServerError) -> bool:
    text = error.message.lower()
    return "certificate" in text or "self-signed" in text or error.number in _CERTIFICATE_NUMBERS


def connection_advice(
    error: SQLServerError,
    *,
    address: ServerAddress,
    driver: str,
    user: str,
    name: str,
    timeout: int,
) -> str:
    """What was tried and what to do."""
    text = error.message.lower()
    if "can't open lib" in text or error.sqlstate in {"IM002", "IM003", "IM004", "IM005"}:
        return _LIBRARY.format(driver=driver)
    if _distrusts_certificate(error):
        return _CERTIFICATE
    if fails_tls(error):
        return _TLS
    port = address.port or 1433
    if "tds stream" in text:
        return _NOT_SQL_SERVER.format(host=address.address, port=port)
    if "kerberos" in text or "sspi" in text:
        return _KERBEROS
    if error.number in _DATABASE_NUMBERS:
        return _DATABASE.format(name=name)
    if error.error_class is ErrorClass.LOGIN or error.sqlstate.startswith("28"):
        return _LOGIN.format(user=repr(user)) if user else _TRUSTED
    if error.sqlstate[:2] == "08" or error.sqlstate == "HYT00":
        where = f"port {port}" if address.port or not address.instance else f"instance {address.instance!r}"
        advice = _UNREACHABLE.format(
            host=address.address,
            where=where,
            port=port,
            port_hint=_INSTANCE_HINT if address.instance and not address.port else _PORT_HINT,
        )
        return advice + (_TIMED_OUT.format(timeout=timeout) if error.sqlstate == "HYT00" and timeout else "")
    return ""
