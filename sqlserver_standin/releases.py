"""The releases of SQL Server that the stand-in can be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Release:
    """What a release says of itself, and what it has that the one before lacks."""

    name: str
    version: str
    """SERVERPROPERTY('ProductVersion')."""
    update: str
    """SERVERPROPERTY('ProductUpdateLevel')."""
    update_article: str
    """SERVERPROPERTY('ProductUpdateReference')."""
    edition: str
    showplan_version: str
    database_version: int
    """DATABASEPROPERTYEX(…, 'Version')."""
    compatibility_level: int
    """Of new databases, and the highest that a database may have."""
    has_json_type: bool

    @property
    def numbers(self) -> tuple[int, int, int]:
        """Major, minor and build."""
        major, minor, build, _ = map(int, self.version.split("."))
        return major, minor, build

    @property
    def banner(self) -> str:
        """@@VERSION (https://learn.microsoft.com/sql/t-sql/functions/version-transact-sql-configuration-functions)."""
        return (
            f"Microsoft SQL Server {self.name} (RTM-{self.update}) ({self.update_article}) - {self.version} (X64) \n"
            "\tsqlserver_standin, a local stand-in on PostgreSQL, no Microsoft software \n"
            f"\t{self.edition} on Linux"
        )

    @property
    def at_microsoft(self) -> int:
        """@@MICROSOFTVERSION: one byte each for major and minor version, two for the build."""
        major, minor, build = self.numbers
        return major << 24 | minor << 16 | build


RELEASES = {
    release.name: release
    for release in (
        Release(
            "2022",
            "16.0.4205.1",
            "CU19",
            "KB5054531",
            "Developer Edition (64-bit)",
            showplan_version="1.564",
            database_version=957,
            compatibility_level=160,
            has_json_type=False,
        ),
        Release(
            "2025",
            "17.0.4045.5",
            "CU5",
            "KB5084896",
            "Enterprise Developer Edition (64-bit)",
            showplan_version="1.599",
            database_version=998,
            compatibility_level=170,
            has_json_type=True,
        ),
    )
}
DEFAULT_RELEASE = "2022"
REGEXP_LIKE_LEVEL = 170
"""The compatibility level that REGEXP_LIKE wants
(https://learn.microsoft.com/sql/t-sql/functions/regexp-like-transact-sql)."""
