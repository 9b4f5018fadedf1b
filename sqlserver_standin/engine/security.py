"""Logins, users and permissions: enough to be refused as on SQL Server when a right is missing.

https://learn.microsoft.com/sql/relational-databases/security/permissions-database-engine
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

SERVER_PERMISSIONS = frozenset(
    {
        "VIEW SERVER STATE",
        "VIEW SERVER PERFORMANCE STATE",
        "VIEW ANY DEFINITION",
        "ALTER ANY EVENT SESSION",
        "CONNECT SQL",
    }
)
# A permission that brings others along.
_IMPLIED = {
    "CONTROL": (
        "SELECT",
        "INSERT",
        "UPDATE",
        "DELETE",
        "EXECUTE",
        "REFERENCES",
        "ALTER",
        "SHOWPLAN",
        "CREATE TABLE",
        "ALTER ANY DATABASE SCOPED CONFIGURATION",
    ),
    "VIEW SERVER STATE": (
        "VIEW SERVER PERFORMANCE STATE",
        "VIEW DATABASE STATE",
        "VIEW DATABASE PERFORMANCE STATE",
    ),
    "VIEW SERVER PERFORMANCE STATE": ("VIEW DATABASE PERFORMANCE STATE",),
    "VIEW DATABASE STATE": ("VIEW DATABASE PERFORMANCE STATE",),
}
_ROLES = {
    "db_datareader": ("SELECT",),
    "db_datawriter": ("INSERT", "UPDATE", "DELETE"),
    "db_ddladmin": (
        "ALTER",
        "CREATE TABLE",
        "CREATE VIEW",
        "CREATE PROCEDURE",
        "CREATE SCHEMA",
        "REFERENCES",
    ),
    "##MS_ServerStateReader##": ("VIEW SERVER STATE",),
    "##MS_ServerPerformanceStateReader##": ("VIEW SERVER PERFORMANCE STATE",),
}
# These databases let every login in, as guest.
_OPEN_DATABASES = frozenset({"master", "tempdb", "msdb"})


@dataclass(slots=True)
class Login:
    """A login; ``permissions`` and ``roles`` are the server's."""

    name: str
    password: str
    permissions: list[str] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)


@dataclass(slots=True)
class User:
    """A login's user in one database. ``objects``: permissions by lower-case schema.name."""

    name: str
    login: str
    permissions: list[str] = field(default_factory=list)
    denied: list[str] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)
    objects: dict[str, list[str]] = field(default_factory=dict)


def _with_implied(permissions: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for permission in permissions:
        found.add(permission)
        found.update(_IMPLIED.get(permission, ()))
    return found


class Security:
    """All logins and users of an instance; ``sa`` is not among them: it may do everything."""

    def __init__(self) -> None:
        self.logins: dict[str, Login] = {}
        self.users: dict[str, dict[str, User]] = {}
        self.version = 0

    def to_json(self) -> dict[str, Any]:
        """As it is kept in PostgreSQL."""
        return {
            "logins": [
                {
                    "name": each.name,
                    "password": each.password,
                    "permissions": each.permissions,
                    "roles": each.roles,
                }
                for each in self.logins.values()
            ],
            "users": [
                {
                    "database": database,
                    "name": user.name,
                    "login": user.login,
                    "permissions": user.permissions,
                    "denied": user.denied,
                    "roles": user.roles,
                    "objects": user.objects,
                }
                for database, users in self.users.items()
                for user in users.values()
            ],
        }

    def load(self, facts: dict[str, Any]) -> None:
        """The reverse of ``to_json``."""
        for login in facts.get("logins", ()):
            self.logins[login["name"].lower()] = Login(**login)
        for each in facts.get("users", ()):
            user = dict(each)
            database = user.pop("database")
            self.users.setdefault(database, {})[user["name"].lower()] = User(**user)

    def accepts(self, login: str, password: str) -> bool:
        """Whether that is the login's password."""
        known = self.logins.get(login.lower())
        return known is not None and secrets.compare_digest(known.password.encode(), password.encode())

    def is_sysadmin(self, login: str) -> bool:
        """Members of sysadmin pass every check."""
        known = self.logins.get(login.lower())
        return login.lower() == "sa" or (known is not None and "sysadmin" in known.roles)

    def user(self, login: str, database: str) -> User | None:
        """The login's user in a database; None when it has no way in."""
        for user in self.users.get(database.lower(), {}).values():
            if user.login.lower() == login.lower():
                return user
        return User("guest", login) if database.lower() in _OPEN_DATABASES else None

    def permissions(self, login: str, database: str) -> set[str]:
        """What the login may do in the database and on the server."""
        known = self.logins.get(login.lower())
        granted = list(known.permissions) if known else []
        for role in known.roles if known else ():
            granted.extend(_ROLES.get(role, ()))
        user = self.user(login, database)
        denied: set[str] = set()
        if user is not None:
            granted.extend(user.permissions)
            denied.update(user.denied)
            for role in user.roles:
                granted.extend(("CONTROL",) if role == "db_owner" else _ROLES.get(role, ()))
        return _with_implied(granted) - denied

    def object_permissions(self, login: str, database: str) -> dict[str, list[str]]:
        """What is granted, and with - denied, on objects by lower-case schema.name."""
        user = self.user(login, database)
        return user.objects if user is not None else {}

    def may(self, login: str, database: str, permission: str, schema: str, table: str) -> bool:
        """Whether the login has a permission on an object, itself or through its database."""
        user = self.user(login, database)
        if user is None:
            return False
        own = user.objects.get(f"{schema}.{table}".lower(), [])
        if f"-{permission}" in own:
            return False
        return permission in _with_implied(own) or permission in self.permissions(login, database)
