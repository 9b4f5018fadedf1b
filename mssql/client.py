"""``manage.py dbshell``: sqlcmd, with the password where other users of the machine do not see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db.backends.base.client import BaseDatabaseClient

from mssql.connection_string import Options, parse_server

_ENCRYPT = {"yes": "-Nm", "mandatory": "-Nm", "no": "-No", "optional": "-No", "strict": "-Ns"}


class DatabaseClient(BaseDatabaseClient):
    executable_name = "sqlcmd"

    @classmethod
    def settings_to_cmd_args_env(
        cls, settings_dict: Mapping[str, Any], parameters: Iterable[str]
    ) -> tuple[list[str], dict[str, str] | None]:
        """Arguments and environment of sqlcmd (https://learn.microsoft.com/sql/tools/sqlcmd/sqlcmd-utility)."""
        options = Options.from_dict(settings_dict.get("OPTIONS", {}))
        user = options.user or settings_dict.get("USER") or ""
        password = options.passwd or settings_dict.get("PASSWORD") or ""
        name = options.db or settings_dict.get("NAME") or ""
        server = parse_server(
            options.host or settings_dict.get("HOST") or "", options.port or settings_dict.get("PORT")
        )
        arguments = [cls.executable_name, "-S", str(server)]
        if user:
            arguments += ["-U", user]
        else:
            arguments += ["-E"]
        if name:
            arguments += ["-d", name]
        if options.encrypt:
            arguments += [_ENCRYPT[options.encrypt]]
        if options.trust_server_certificate:
            arguments += ["-C"]
        if options.application_intent:
            arguments += ["-K", options.application_intent]
        if options.multi_subnet_failover:
            arguments += ["-M"]
        if options.read_default_file:
            arguments += ["-i", options.read_default_file]
        # I: quoted identifiers, which Django's SQL wants; sqlcmd turns them off.
        arguments += ["-I", *parameters]
        return arguments, {"SQLCMDPASSWORD": password} if user and password else None
