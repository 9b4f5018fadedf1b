"""Test databases: created, dropped, and copied for ``manage.py test --parallel``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError
from django.db.backends.base.creation import BaseDatabaseCreation
from django.db.backends.utils import CursorWrapper

if TYPE_CHECKING:
    from mssql.base import DatabaseWrapper

DATABASE_EXISTS = 1801
"""Error of CREATE DATABASE for a name that is taken."""


class DatabaseCreation(BaseDatabaseCreation):
    connection: DatabaseWrapper

    def sql_table_creation_suffix(self) -> str:
        collation = self.connection.settings_dict["TEST"].get("COLLATION")
        return f"COLLATE {collation}" if collation else ""

    def _create_test_db(self, verbosity: int, autoclobber: bool, keepdb: bool = False) -> str:
        self.connection.close_pool()
        name: str = super()._create_test_db(verbosity, autoclobber, keepdb)  # type: ignore[misc]
        return name

    def _execute_create_test_db(
        self, cursor: CursorWrapper, parameters: Mapping[str, str], keepdb: bool = False
    ) -> None:
        try:
            super()._execute_create_test_db(cursor, parameters, keepdb)  # type: ignore[misc]
        except DatabaseError as exception:
            error = getattr(exception, "sqlserver", None)
            if not (keepdb and error is not None and error.number == DATABASE_EXISTS):
                raise

    def _destroy_test_db(self, test_database_name: str, verbosity: int) -> None:
        self.connection.close_pool()
        with self.connection._nodb_cursor() as cursor:
            self._drop(cursor, test_database_name)

    def _drop(self, cursor: CursorWrapper, name: str) -> None:
        quoted = self.connection.ops.quote_name(name)
        if not cursor.db.server.is_azure:
            # Sessions that tests left behind keep the database in use (error 3702). Azure SQL Database has no
            # single-user mode, and drops the sessions by itself.
            cursor.execute(
                f"IF DB_ID(%s) IS NOT NULL ALTER DATABASE {quoted} SET SINGLE_USER WITH ROLLBACK IMMEDIATE",
                [name],
            )
        cursor.execute(f"DROP DATABASE IF EXISTS {quoted}")

    def _clone_test_db(self, suffix: str, verbosity: int, keepdb: bool = False) -> None:
        """Make an empty database with the clone's name and migrate it.

        A copy by BACKUP and RESTORE wants a folder on the server that it may write, and Azure SQL Database has
        neither; what migrations make is the same everywhere.
        """
        clone = self.get_test_db_clone_settings(suffix)
        with self.connection._nodb_cursor() as cursor:
            if keepdb and self._exists(cursor, clone["NAME"]):
                return
            self._drop(cursor, clone["NAME"])
            cursor.execute(
                f"CREATE DATABASE {self.connection.ops.quote_name(clone['NAME'])} {self.sql_table_creation_suffix()}"
            )
        self._fill(clone, verbosity)

    def _exists(self, cursor: CursorWrapper, name: str) -> bool:
        cursor.execute("SELECT DB_ID(%s)", [name])
        return cursor.fetchone()[0] is not None

    def _fill(self, clone: Mapping[str, Any], verbosity: int) -> None:
        """Do for the clone what create_test_db() did for its source."""
        connection = self.connection
        source = connection.settings_dict["NAME"]
        connection.close()
        connection.close_pool()
        connection.settings_dict["NAME"] = clone["NAME"]
        migrates = connection.settings_dict["TEST"]["MIGRATE"]
        modules = settings.MIGRATION_MODULES
        try:
            if migrates is False:
                settings.MIGRATION_MODULES = _NoMigrations()
            call_command(
                "migrate",
                verbosity=max(verbosity - 1, 0),
                interactive=False,
                database=connection.alias,
                run_syncdb=True,
            )
            call_command("createcachetable", database=connection.alias)
        finally:
            settings.MIGRATION_MODULES = modules
            connection.close()
            connection.close_pool()
            connection.settings_dict["NAME"] = source


class _NoMigrations:
    """MIGRATION_MODULES of TEST["MIGRATE"] = False: no app has migrations."""

    def __contains__(self, app_label: object) -> bool:
        return True

    def __getitem__(self, app_label: str) -> None:
        return None
