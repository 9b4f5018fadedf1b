"""What a login tells about the server and the database: version, edition, compatibility level, capabilities."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class EngineEdition(enum.IntEnum):
    """SERVERPROPERTY('EngineEdition')
    (https://learn.microsoft.com/sql/t-sql/functions/serverproperty-transact-sql)."""

    PERSONAL = 1
    STANDARD = 2
    ENTERPRISE = 3
    EXPRESS = 4
    SQL_DATABASE = 5
    SYNAPSE = 6
    MANAGED_INSTANCE = 8
    EDGE = 9
    SYNAPSE_SERVERLESS = 11
    FABRIC_SQL_DATABASE = 12


PRODUCT_NAMES = {
    8: "SQL Server 2000",
    9: "SQL Server 2005",
    10: "SQL Server 2008",
    11: "SQL Server 2012",
    12: "SQL Server 2014",
    13: "SQL Server 2016",
    14: "SQL Server 2017",
    15: "SQL Server 2019",
    16: "SQL Server 2022",
    17: "SQL Server 2025",
}

SQL_SERVER_2017, SQL_SERVER_2019, SQL_SERVER_2022, SQL_SERVER_2025 = 14, 15, 16, 17


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """One database on one server, as the session that logged in sees it."""

    session_id: int
    database: str
    product_version: str
    engine_edition: int
    edition: str
    compatibility_level: int
    collation: str
    read_committed_snapshot: bool
    instance_name: str | None = None
    update_type: str | None = None

    # One round trip; SERVERPROPERTY gives sql_variant, which ODBC has no type for.
    QUERY = """\
SELECT @@SPID, DB_NAME(),
    CONVERT(nvarchar(128), SERVERPROPERTY('ProductVersion')),
    CONVERT(int, SERVERPROPERTY('EngineEdition')),
    CONVERT(nvarchar(128), SERVERPROPERTY('Edition')),
    CONVERT(int, d.compatibility_level), d.collation_name, d.is_read_committed_snapshot_on,
    CONVERT(nvarchar(128), SERVERPROPERTY('InstanceName')),
    CONVERT(nvarchar(128), SERVERPROPERTY('ProductUpdateType'))
FROM sys.databases AS d WHERE d.name = DB_NAME()"""

    @property
    def version(self) -> tuple[int, int]:
        major, minor = [*self.product_version.split("."), "0"][:2]
        return int(major), int(minor)

    @property
    def is_azure(self) -> bool:
        """Azure SQL Database and Fabric SQL report version 12, whatever they can do."""
        return self.engine_edition in {EngineEdition.SQL_DATABASE, EngineEdition.FABRIC_SQL_DATABASE}

    @property
    def is_managed(self) -> bool:
        """Azure SQL Database, Azure SQL Managed Instance or Fabric SQL: not a server of one's own."""
        return self.is_azure or self.engine_edition == EngineEdition.MANAGED_INSTANCE

    @property
    def is_evergreen(self) -> bool:
        """Whether the engine gets features as they are made, not with a version of the product
        (https://learn.microsoft.com/azure/azure-sql/managed-instance/update-policy)."""
        return self.is_azure or (
            self.engine_edition == EngineEdition.MANAGED_INSTANCE and self.update_type == "Continuous"
        )

    @property
    def product_name(self) -> str:
        if self.engine_edition == EngineEdition.FABRIC_SQL_DATABASE:
            return "SQL database in Fabric"
        if self.is_azure:
            return "Azure SQL Database"
        if self.engine_edition == EngineEdition.MANAGED_INSTANCE:
            return "Azure SQL Managed Instance"
        if self.engine_edition in {EngineEdition.SYNAPSE, EngineEdition.SYNAPSE_SERVERLESS}:
            return "Azure Synapse Analytics"
        return PRODUCT_NAMES.get(self.version[0], f"SQL Server {self.product_version}")

    def at_least(self, major: int) -> bool:
        """Whether the engine has what came with this major version. A newer one than we know counts as the newest;
        a managed instance on the SQL Server update policy is at 2022 at least, whatever number it gives."""
        if self.is_evergreen:
            return True
        if self.engine_edition == EngineEdition.MANAGED_INSTANCE:
            return major <= max(SQL_SERVER_2022, self.version[0])
        return self.version[0] >= major
