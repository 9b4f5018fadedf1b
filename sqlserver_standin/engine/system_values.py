"""The session's values: @@ROWCOUNT, DB_NAME() and their like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlserver_standin.engine.link import PostgresError
from sqlserver_standin.errors import sql_error

if TYPE_CHECKING:
    from sqlserver_standin.engine.session import Options, Session


def system_value(session: Session, name: str) -> Any:
    """The value of @@ROWCOUNT, DB_NAME() and their like."""
    error = session.errors[-1] if session.errors else None
    match name:
        case "@@rowcount" | "rowcount_big()":
            return session.row_count
        case "@@trancount":
            return session.transaction.count
        case "@@error":
            return session.last_error
        case "@@spid":
            return session.spid
        case "@@identity":
            return identity_value(session, session.identity_sequence)
        case "xact_state()":
            return (-1 if session.transaction.doomed else 1) if session.transaction.count else 0
        case "error_number()":
            return error.number if error else None
        case "error_message()":
            return error.text if error else None
        case "error_severity()":
            return error.severity if error else None
        case "error_state()":
            return error.state if error else None
        case "error_line()":
            return error.line if error else None
        case "error_procedure()":
            return (error.procedure or None) if error else None
        case "db_name()":
            return session.database
        case "original_db_name()":
            return session.original_database
        case "db_id()":
            return session.database_facts.database_id
        case "schema_name()":
            return "dbo"
        case "schema_id()" | "user_id()" | "database_principal_id()" | "suser_id()":
            return 1
        case (
            "user_name()"
            | "current_user"
            | "current_user()"
            | "session_user"
            | "session_user()"
            | "user"
            | "user()"
        ):
            return session.user_name
        case "suser_sname()" | "suser_name()" | "system_user" | "system_user()" | "original_login()":
            return session.client.login
        case "app_name()":
            return session.client.program_name
        case "host_name()":
            return session.client.host_name
        case "host_id()":
            return str(session.client.process_id).ljust(10)
        case "context_info()":
            return None if session.context_info is None else session.context_info.ljust(128, b"\0")
        case "current_transaction_id()":
            return session.transaction.descriptor
        case "@@version":
            return session.instance.release.banner
        case "@@servername":
            return session.instance.server_name
        case "@@servicename":
            return "MSSQLSERVER"
        case "@@language":
            return session.options.language
        case "@@langid" | "@@procid" | "@@cursor_rows":
            return 0
        case "@@datefirst":
            return session.options.date_first
        case "@@lock_timeout":
            return session.options.lock_timeout
        case "@@options":
            return _option_bits(session.options)
        case "@@nestlevel":
            return session.nesting
        case "@@max_precision":
            return 38
        case "@@microsoftversion":
            return session.instance.release.at_microsoft
        case "@@textsize":
            return session.options.text_size
        case "@@max_connections":
            return session.instance.most_sessions
        case "@@fetch_status":
            return -1
        case "getansinull()":
            return 1
    raise sql_error(40000, name)


def identity_value(session: Session, sequence: str | None) -> int | None:
    """The last value of the sequence behind an IDENTITY column that the session inserted into."""
    if sequence is None:
        return None
    try:
        rows = session.link.rows("SELECT currval($1::regclass)", (sequence,))
    except PostgresError:
        # Its table is gone.
        return None
    return int(rows[0][0] or 0)


def _option_bits(options: Options) -> int:
    """https://learn.microsoft.com/sql/database-engine/configure-windows/configure-the-user-options-server-configuration-option"""
    bits = (
        (2, options.implicit_transactions),
        (4, options.cursor_close_on_commit),
        (8, options.ansi_warnings),
        (16, options.ansi_padding),
        (32, options.ansi_nulls),
        (64, options.arithabort),
        (256, options.quoted_identifier),
        (512, options.nocount),
        (1024, True),
        (4096, options.concat_null_yields_null),
        (8192, options.numeric_roundabort),
        (16384, options.xact_abort),
    )
    return sum(bit for bit, on in bits if on)
