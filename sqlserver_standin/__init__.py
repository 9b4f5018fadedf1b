"""A local stand-in for SQL Server: TDS 7.4 in front of an embedded PostgreSQL, for tests and examples."""

from sqlserver_standin.control import Control, ControlError
from sqlserver_standin.launcher import StandIn, StandInError

__all__ = ["Control", "ControlError", "StandIn", "StandInError"]
