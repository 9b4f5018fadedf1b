"""manage.py dbshell: sqlcmd gets what the settings say, and the password by the environment."""

from __future__ import annotations

from typing import Any

import pytest

from mssql.client import DatabaseClient

SETTINGS = {"NAME": "shop", "USER": "app", "PASSWORD": "s3cret", "HOST": "db", "PORT": "1433", "OPTIONS": {}}


def command(parameters: tuple[str, ...] = (), **settings: Any) -> tuple[list[str], dict[str, str] | None]:
    return DatabaseClient.settings_to_cmd_args_env(SETTINGS | settings, parameters)


def test_the_password_is_not_on_the_command_line() -> None:
    arguments, environment = command()
    assert arguments == ["sqlcmd", "-S", "db,1433", "-U", "app", "-d", "shop", "-I"]
    assert environment == {"SQLCMDPASSWORD": "s3cret"}


@pytest.mark.parametrize(
    ("settings", "arguments"),
    [
        ({"HOST": "db\\sales", "PORT": ""}, ["-S", "db\\sales"]),
        ({"USER": "", "PASSWORD": ""}, ["-E"]),
        ({"OPTIONS": {"encrypt": True}}, ["-Nm"]),
        ({"OPTIONS": {"encrypt": "strict"}}, ["-Ns"]),
        ({"OPTIONS": {"encrypt": False}}, ["-No"]),
        ({"OPTIONS": {"trust_server_certificate": True}}, ["-C"]),
        ({"OPTIONS": {"application_intent": "ReadOnly"}}, ["-K", "ReadOnly"]),
        ({"OPTIONS": {"multi_subnet_failover": True}}, ["-M"]),
        (
            {"OPTIONS": {"host": "other", "port": 1444, "db": "more", "user": "ops"}},
            ["-S", "other,1444", "-U", "ops"],
        ),
    ],
)
def test_settings_have_their_switches(settings: dict[str, Any], arguments: list[str]) -> None:
    text = " ".join(command(**settings)[0])
    assert " ".join(arguments) in text


def test_no_user_means_no_password() -> None:
    assert command(USER="", PASSWORD="left over")[1] is None


def test_further_parameters_come_last() -> None:
    assert command(("-Q", "SELECT 1"))[0][-2:] == ["-Q", "SELECT 1"]
