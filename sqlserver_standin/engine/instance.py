"""An instance of the stand-in: its databases on one PostgreSQL cluster, its logins and its sessions."""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import secrets
import threading
from collections import defaultdict, deque
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql as pg_sql

from sqlserver_standin.engine.names import pg_name
from sqlserver_standin.engine.observation import PlanCache
from sqlserver_standin.engine.postgres import MOST_CONNECTIONS, Postgres, PostgresError
from sqlserver_standin.engine.security import Security
from sqlserver_standin.engine.session import ClientInfo, Session
from sqlserver_standin.errors import sql_error
from sqlserver_standin.releases import DEFAULT_RELEASE, RELEASES, Release
from sqlserver_standin.types import DEFAULT_COLLATION

logger = logging.getLogger("sqlserver_standin.engine")

SYSTEM_DATABASES = ("master", "tempdb", "model", "msdb")
FIRST_USER_SESSION = 51
# The rest of PostgreSQL's connections is for what the instance does itself, and for processes that are about to end.
MOST_SESSIONS = MOST_CONNECTIONS - 30
MOST_DEADLOCKS = 100
_TEMPLATE = "standin_template"
_DATABASE_PREFIX = "mssql:"
_ADMIN_DATABASE = "postgres"
# In PostgreSQL each session finds the operators of SQL Server's types before its own.
SEARCH_PATH = "sys, pg_catalog"
_OWN_SQL = Path(__file__).parent / "sql"
_TSQL_LIBRARY = Path(__file__).parent.parent / "tsql" / "functions"


def library_files() -> list[Path]:
    """The SQL that every database is made of, in the order in which it runs.

    Types come first (1x), then what T-SQL's functions need, then the catalog views that use those functions (2x, 3x).
    """
    own = sorted(_OWN_SQL.glob("*.sql"))
    types = [path for path in own if path.name < "2"]
    views = [path for path in own if path.name >= "2"]
    return [*types, *sorted(_TSQL_LIBRARY.glob("*.sql")), *views]


class Database:
    """A SQL Server database: its facts live in the comment of its PostgreSQL database."""

    def __init__(self, facts: dict[str, Any], pg_database: str) -> None:
        self.facts = facts
        self.pg_database = pg_database

    @property
    def name(self) -> str:
        return str(self.facts["name"])

    @property
    def database_id(self) -> int:
        return int(self.facts["id"])

    @property
    def collation(self) -> str:
        return str(self.facts["collation"])

    @property
    def release(self) -> str:
        """The newest release of SQL Server that has opened it."""
        return str(self.facts.get("release", DEFAULT_RELEASE))

    @property
    def compatibility_level(self) -> int:
        return int(self.facts.get("compatibility_level", RELEASES[DEFAULT_RELEASE].compatibility_level))

    @property
    def snapshot_isolation(self) -> bool:
        return bool(self.facts.get("snapshot"))

    @property
    def read_committed_snapshot(self) -> bool:
        return bool(self.facts.get("rcsi", True))

    @property
    def keeps_last_plans(self) -> bool:
        """LAST_QUERY_PLAN_STATS."""
        return bool(self.facts.get("last_query_plan_stats"))


class Instance:
    """Starts PostgreSQL in ``data`` and opens sessions on it; ``close()`` ends both."""

    def __init__(
        self,
        data: Path,
        *,
        password: str,
        server_name: str = "STANDIN",
        release: Release = RELEASES[DEFAULT_RELEASE],
    ) -> None:
        self.server_name = server_name
        self.release = release
        self.started = datetime.datetime.now()
        self._password = password
        self._lock = threading.RLock()
        self.most_sessions = MOST_SESSIONS
        self._sessions: dict[int, Session] = {}
        self._databases: dict[str, Database] = {}
        self._versions: defaultdict[str, int] = defaultdict(int)
        self.security = Security()
        self.plan_cache = PlanCache()
        self.deadlocks: deque[tuple[datetime.datetime, str]] = deque(maxlen=MOST_DEADLOCKS)
        self.postgres = Postgres(data)
        self.postgres.start()
        try:
            self._prepare()
        except BaseException:
            self.postgres.stop()
            raise

    def close(self) -> None:
        """End the sessions, then PostgreSQL."""
        for session in self.sessions():
            session.close()
        self.postgres.stop()

    # -- sessions --------------------------------------------------------------------------------------------

    def login(
        self,
        *,
        user: str,
        password: str,
        database: str = "",
        host_name: str = "",
        application_name: str = "",
        client_pid: int = 0,
        client_library: str = "",
        client_address: str = "",
        language: str = "",
    ) -> Session:
        """Open a session; 18456 for a wrong password, 4060 for a database that isn't there."""
        self._authenticate(user, password)
        found = self.database(database or "master")
        if found is None or not self.may_use(user, found.name):
            raise sql_error(4060, database)
        client = ClientInfo(user, host_name, application_name, client_pid, client_library, client_address)
        with self._lock:
            if len(self._sessions) >= self.most_sessions:
                raise sql_error(17809, self.most_sessions)
            spid = FIRST_USER_SESSION
            while spid in self._sessions:
                spid += 1
            session = Session(self, spid, client, found)
            self._sessions[spid] = session
        return session

    def _authenticate(self, user: str, password: str) -> None:
        if user.lower() == "sa":
            accepted = secrets.compare_digest(self._password.encode(), password.encode())
        else:
            accepted = self.security.accepts(user, password)
        if not accepted:
            raise sql_error(18456, user)

    def security_changed(self) -> None:
        """Keep the logins and permissions, and let the sessions see them."""
        with self._lock, self._admin() as admin:
            self.security.version += 1
            admin.execute(
                pg_sql.SQL("COMMENT ON DATABASE {} IS {}").format(
                    pg_sql.Identifier(_ADMIN_DATABASE), pg_sql.Literal(json.dumps(self.security.to_json()))
                )
            )

    def may_use(self, login: str, database: str) -> bool:
        """Whether the login has a user in the database."""
        return self.security.is_sysadmin(login) or self.security.user(login, database) is not None

    def forget(self, session: Session) -> None:
        """A session that has closed."""
        with self._lock:
            if self._sessions.get(session.spid) is session:
                del self._sessions[session.spid]

    def keep_deadlock(self, moment: datetime.datetime, xml: str) -> None:
        """For system_health's ring buffer and event file."""
        self.deadlocks.append((moment, xml))

    def sessions(self) -> list[Session]:
        """The open sessions."""
        with self._lock:
            return list(self._sessions.values())

    def terminate_backend(self, pid: int) -> None:
        """End a session's PostgreSQL connection."""
        with self._admin() as admin:
            admin.execute("SELECT pg_terminate_backend(%s)", (pid,))

    # -- databases -------------------------------------------------------------------------------------------

    def database(self, name: str) -> Database | None:
        """The database of that name in any case."""
        with self._lock:
            return self._databases.get(name.lower())

    def databases(self) -> list[Database]:
        """All of them."""
        with self._lock:
            return list(self._databases.values())

    def schema_version(self, database: str) -> int:
        """Grows with each change of the database's schema."""
        return self._versions[database.lower()]

    def schema_changed(self, database: str) -> None:
        """Every session has to look names up again."""
        with self._lock:
            self._versions[database.lower()] += 1

    def create_database(self, name: str, collation: str | None) -> None:
        """CREATE DATABASE."""
        with self._lock:
            if name.lower() in self._databases:
                raise sql_error(1801, name)
            used = {database.database_id for database in self._databases.values()}
            database_id = next(number for number in range(1, 32768) if number not in used)
            facts = {
                "name": name,
                "id": database_id,
                "collation": collation or DEFAULT_COLLATION,
                "release": self.release.name,
                "compatibility_level": self.release.compatibility_level,
                "created": datetime.datetime.now().isoformat(" ", "milliseconds"),
                "rcsi": True,
                "snapshot": False,
            }
            database = Database(
                facts, _DATABASE_PREFIX + pg_name(name.lower())[-(63 - len(_DATABASE_PREFIX)) :]
            )
            with self._admin() as admin:
                admin.execute(
                    pg_sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                        pg_sql.Identifier(database.pg_database), pg_sql.Identifier(_TEMPLATE)
                    )
                )
                self._store(admin, database)
            self._databases[name.lower()] = database

    def drop_database(self, name: str) -> None:
        """DROP DATABASE; 3702 while a session uses it."""
        with self._lock:
            database = self._databases.get(name.lower())
            if database is None:
                raise sql_error(3701, "drop", "database", name, state=1)
            if database.database_id <= len(SYSTEM_DATABASES):
                raise sql_error(3708, database.name)
            if any(session.database.lower() == name.lower() for session in self._sessions.values()):
                raise sql_error(3702, database.name)
            with self._admin() as admin:
                admin.execute(
                    pg_sql.SQL("DROP DATABASE {} WITH (FORCE)").format(
                        pg_sql.Identifier(database.pg_database)
                    )
                )
            del self._databases[name.lower()]
            self._versions[name.lower()] += 1

    def change_database(self, database: Database, **facts: Any) -> None:
        """Store facts that ALTER DATABASE changed."""
        with self._lock, self._admin() as admin:
            old = database.name.lower()
            database.facts.update(facts)
            self._store(admin, database)
            if database.name.lower() != old:
                del self._databases[old]
                self._databases[database.name.lower()] = database
                self._versions[database.name.lower()] = self._versions[old] + 1

    def end_sessions(self, database: str, but: Session) -> None:
        """WITH ROLLBACK IMMEDIATE: disconnect the others."""
        for session in self.sessions():
            if session is not but and session.database.lower() == database.lower():
                session.kill()

    @staticmethod
    def _store(admin: psycopg.Connection[Any], database: Database) -> None:
        admin.execute(
            pg_sql.SQL("COMMENT ON DATABASE {} IS {}").format(
                pg_sql.Identifier(database.pg_database), pg_sql.Literal(json.dumps(database.facts))
            )
        )

    def _admin(self, database: str = _ADMIN_DATABASE) -> psycopg.Connection[Any]:
        return psycopg.connect(self.postgres.conninfo(database), autocommit=True)

    # -- the library -----------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        files = library_files()
        digest = hashlib.sha256()
        for path in files:
            digest.update(path.read_bytes())
        version = digest.hexdigest()
        with self._admin() as admin:
            row = admin.execute(
                "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s",
                (_TEMPLATE,),
            ).fetchone()
            rebuilt = row is None or row[0] != version
            if rebuilt:
                self._build_template(admin, files, version)
            self._load_databases(admin)
            kept = admin.execute(
                "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s",
                (_ADMIN_DATABASE,),
            ).fetchone()
            if kept and kept[0] and kept[0].startswith("{"):
                self.security.load(json.loads(kept[0]))
            if rebuilt and self._databases:
                self._rebuild_databases(admin)
        for name in SYSTEM_DATABASES:
            if name not in self._databases:
                self.create_database(name, None)

    def _build_template(self, admin: psycopg.Connection[Any], files: list[Path], version: str) -> None:
        template = pg_sql.Identifier(_TEMPLATE)
        admin.execute(pg_sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(template))
        admin.execute(pg_sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(template))
        admin.execute(
            pg_sql.SQL("ALTER ROLE CURRENT_USER SET search_path = {}").format(pg_sql.SQL(SEARCH_PATH))
        )
        with self._admin(_TEMPLATE) as connection, connection.transaction():
            for path in files:
                try:
                    # A string without parameters may hold many statements.
                    connection.execute(path.read_bytes())
                except psycopg.Error as error:
                    error.add_note(f"in {path.name}: {error.diag.context or ''}")
                    raise
        admin.execute(pg_sql.SQL("COMMENT ON DATABASE {} IS {}").format(template, pg_sql.Literal(version)))

    def _load_databases(self, admin: psycopg.Connection[Any]) -> None:
        rows = admin.execute(
            "SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database WHERE starts_with(datname, %s)",
            (_DATABASE_PREFIX,),
        ).fetchall()
        for pg_database, description in rows:
            if description is None:
                # Its creation was interrupted before it had a name.
                admin.execute(pg_sql.SQL("DROP DATABASE {}").format(pg_sql.Identifier(pg_database)))
                continue
            database = Database(json.loads(description), pg_database)
            if int(database.release) > int(self.release.name):
                # https://learn.microsoft.com/sql/sql-server/migrate/guides/sql-server-to-sql-server
                raise PostgresError(
                    f"the database {database.name} was opened by SQL Server {database.release}; "
                    f"no older release opens it again"
                )
            if database.release != self.release.name:
                # As an upgrade leaves it: the compatibility level stays.
                database.facts["release"] = self.release.name
                self._store(admin, database)
            self._databases[database.name.lower()] = database

    def _rebuild_databases(self, admin: psycopg.Connection[Any]) -> None:
        """The library changed: a stand-in's data can be made again, its types can't be changed in place."""
        for name, database in list(self._databases.items()):
            logger.warning(
                "dropping the database %s: it was made by another version of the stand-in", database.name
            )
            admin.execute(
                pg_sql.SQL("DROP DATABASE {} WITH (FORCE)").format(pg_sql.Identifier(database.pg_database))
            )
            del self._databases[name]
