"""The release of SQL Server that the stand-in is."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqlserver_standin.engine.instance import Instance
from sqlserver_standin.engine.postgres import PostgresError
from sqlserver_standin.releases import RELEASES, Release
from tests.sqlserver_standin.sql_support import Client, new_client

FACTS = (
    "SELECT CAST(SERVERPROPERTY('ProductVersion') AS varchar(20)), CAST(SERVERPROPERTY('ProductMajorVersion') AS int), "
    "CAST(SERVERPROPERTY('ProductBuild') AS int), CAST(SERVERPROPERTY('ProductUpdateLevel') AS varchar(10)), "
    "CAST(SERVERPROPERTY('ResourceVersion') AS varchar(20)), compatibility_level "
    "FROM sys.databases WHERE name = 'model'"
)


@pytest.mark.parametrize(
    ("release", "facts"),
    [
        ("2022", ("16.0.4205.1", 16, 4205, "CU19", "16.00.4205", 160)),
        ("2025", ("17.0.4045.5", 17, 4045, "CU5", "17.00.4045", 170)),
    ],
)
def test_it_says_which_it_is(release: str, facts: tuple[object, ...]) -> None:
    client = new_client(release)
    assert client.rows(FACTS) == [facts]
    assert client.value("SELECT @@VERSION").startswith(f"Microsoft SQL Server {release} (RTM-{facts[3]}) ")
    assert (
        client.value("SELECT @@MICROSOFTVERSION")
        == RELEASES[release].numbers[0] << 24 | RELEASES[release].numbers[2]
    )
    client.session.close()


def test_a_database_has_no_level_that_is_newer_than_the_server() -> None:
    client = new_client()
    assert client.error("ALTER DATABASE model SET COMPATIBILITY_LEVEL = 170")[0] == 40000
    client.session.close()


def test_databases_go_to_the_next_release_and_not_back(tmp_path: Path) -> None:
    def run(release: Release, *batches: str) -> list[tuple[object, ...]]:
        instance = Instance(tmp_path, password="x", release=release)
        try:
            client = Client(instance.login(user="sa", password="x"))
            return [row for batch in batches for row in client.rows(batch)]
        finally:
            instance.close()

    run(RELEASES["2022"], "CREATE DATABASE kept", "USE kept", "CREATE TABLE t (a int)")
    level = "SELECT compatibility_level FROM sys.databases WHERE name = 'kept'"
    upgraded = run(
        RELEASES["2025"],
        level,
        "USE kept; SELECT COUNT(*) FROM t",
        "ALTER DATABASE kept SET COMPATIBILITY_LEVEL = 170",
        level,
    )
    assert upgraded == [(160,), (0,), (170,)]
    with pytest.raises(PostgresError, match="was opened by SQL Server 2025; no older release opens it again"):
        run(RELEASES["2022"])
