"""OPTIONS are checked, the driver is found, and the connection string says what the settings say."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st

from mssql.connection_string import (
    SQL_COPT_SS_ACCESS_TOKEN,
    Options,
    ServerAddress,
    access_token,
    connection_string,
    find_driver,
    masked,
    parse_server,
    quote,
)

DRIVER = "ODBC Driver 18 for SQL Server"


def parsed(text: str) -> dict[str, str]:
    """What a driver reads: keyword=value pairs, braces around values with ;, }} for }."""
    pairs: dict[str, str] = {}
    position = 0
    while position < len(text):
        equals = text.index("=", position)
        key = text[position:equals].strip()
        position = equals + 1
        if position < len(text) and text[position] == "{":
            value = ""
            position += 1
            while True:
                if text.startswith("}}", position):
                    value += "}"
                    position += 2
                elif text[position] == "}":
                    position += 1
                    break
                else:
                    value += text[position]
                    position += 1
            assert position == len(text) or text[position] == ";"
        else:
            end = text.find(";", position)
            end = len(text) if end < 0 else end
            value = text[position:end]
            position = end
        position += 1
        pairs.setdefault(key, value)
    return pairs


def build(options: dict[str, Any] | None = None, driver: str = DRIVER, **settings: Any) -> dict[str, str]:
    settings = {"HOST": "db", "PORT": "", "USER": "u", "PASSWORD": "p", "NAME": "shop"} | settings
    return parsed(connection_string(settings, Options.from_dict(options or {}), driver))


class TestOptions:
    def test_defaults_need_no_options(self) -> None:
        assert Options.from_dict({}) == Options()

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("driver", "ODBC Driver 17 for SQL Server"),
            ("dsn", "shop"),
            ("host_is_server", True),
            ("extra_params", "Packet Size=4096"),
            ("connection_timeout", 15),
            ("query_timeout", 30),
            ("connection_retries", 3),
            ("connection_retry_backoff_time", 2),
            ("connection_recovery_interval_msec", 100.0),
            ("setencoding", [{"encoding": "utf-8"}]),
            ("setdecoding", [{"sqltype": 1, "encoding": "utf-8"}]),
            ("unicode_results", True),
            ("datefirst", 1),
            ("return_rows_bulk_insert", True),
            ("collation", "Latin1_General_CS_AS"),
            ("driver_charset", "utf-8"),
            ("driver_needs_utf8", False),
            ("python_driver", "pyodbc"),
            ("isolation_level", "SNAPSHOT"),
            ("token", "secret"),
            ("lock_timeout", -1),
            ("mars", True),
            ("session_context", {"tenant": 7, "who": "someone", "raw": b"\x00", "none": None}),
            ("uuid_storage", "uniqueidentifier"),
            ("json_storage", "json"),
            ("pool", {"max_size": 3}),
            ("retry", False),
            ("instrumentation", {"tracing": True}),
        ],
    )
    def test_takes_each_key_as_it_is(self, key: str, value: Any) -> None:
        assert getattr(Options.from_dict({key: value}), key) == value

    @pytest.mark.parametrize(
        ("key", "value", "used"),
        [
            ("encrypt", True, "yes"),
            ("encrypt", False, "no"),
            ("encrypt", "Strict", "strict"),
            ("application_intent", "readonly", "ReadOnly"),
            ("isolation_level", "read_committed", "READ COMMITTED"),
            ("isolation_level", "Repeatable  Read", "REPEATABLE READ"),
            ("deadlock_priority", "low", "LOW"),
            ("deadlock_priority", -5, "-5"),
        ],
    )
    def test_normalises_spelling(self, key: str, value: Any, used: str) -> None:
        assert getattr(Options.from_dict({key: value}), key) == used

    @pytest.mark.parametrize(
        ("key", "value", "allowed"),
        [
            ("isolation_level", "READ COMITTED", "'READ COMMITTED'"),
            ("isolation_level", "READ COMMITTED; DROP TABLE t", "'SNAPSHOT'"),
            ("datefirst", 0, "1 (Monday) to 7 (Sunday)"),
            ("datefirst", True, "1 (Monday) to 7 (Sunday)"),
            ("lock_timeout", -2, "-1 waits for ever"),
            ("lock_timeout", "5000", "milliseconds"),
            ("deadlock_priority", 11, "-10 to 10"),
            ("encrypt", "maybe", "'mandatory'"),
            ("application_intent", "write", "'ReadOnly'"),
            ("mars", "yes", "True or False"),
            ("token", 5, "callable"),
            ("token", "", "callable"),
            ("session_context", {"k" * 129: 1}, "128"),
            ("session_context", {"k": 1.5}, "whole numbers"),
            ("uuid_storage", "guid", "'uniqueidentifier'"),
            ("collation", "Latin1_General_CS_AS; DROP TABLE t", "the name of a collation"),
            ("connection_retries", -1, "0 or more"),
            ("python_driver", "turbodbc", "'pyodbc'"),
        ],
    )
    def test_a_bad_value_is_named_with_what_is_allowed(self, key: str, value: Any, allowed: str) -> None:
        with pytest.raises(ImproperlyConfigured) as caught:
            Options.from_dict({key: value}, "reports")
        message = str(caught.value)
        assert f"DATABASES['reports']['OPTIONS'][{key!r}]" in message
        assert allowed in message
        if key != "token":
            assert repr(value) in message

    def test_an_unknown_key_is_named_with_its_neighbours(self) -> None:
        with pytest.raises(ImproperlyConfigured) as caught:
            Options.from_dict({"isolation_levl": "SNAPSHOT"})
        message = str(caught.value)
        assert "'isolation_levl'" in message
        assert "'SNAPSHOT'" in message
        assert "Did you mean 'isolation_level'?" in message
        assert "application_intent" in message

    def test_a_secret_is_not_shown(self) -> None:
        with pytest.raises(ImproperlyConfigured) as caught:
            Options.from_dict({"passwrd": "hunter2"})
        assert "hunter2" not in str(caught.value)

    def test_the_other_driver_is_refused_with_what_to_do(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="works through pyodbc"):
            Options.from_dict({"python_driver": "mssql_python"})


class TestDriver:
    def test_the_newest_registered_one_is_taken(self) -> None:
        registered = ["SQL Server", "ODBC Driver 9 for SQL Server", DRIVER, "ODBC Driver 17 for SQL Server"]
        assert find_driver("", registered, None) == DRIVER

    def test_a_registered_name_is_taken_whatever_its_case(self) -> None:
        assert find_driver("freetds", ["FreeTDS", DRIVER], None) == "FreeTDS"

    def test_a_library_is_taken_by_its_path(self, tmp_path: Path) -> None:
        library = tmp_path / "libmsodbcsql.so"
        library.touch()
        assert find_driver(str(library), [DRIVER], None) == str(library)

    def test_another_version_of_the_wanted_driver_serves(self) -> None:
        assert find_driver("ODBC Driver 17 for SQL Server", [DRIVER], None) == DRIVER

    def test_the_package_is_the_last_resort(self) -> None:
        package = Path(pytest.importorskip("mssql_python_odbc").__file__).parent
        assert "msodbcsql" in find_driver("", ["PostgreSQL Unicode"], package)

    @pytest.mark.parametrize("package", [None, Path("/nonexistent")])
    def test_none_is_one_error_that_lists_what_was_looked_for(self, package: Path | None) -> None:
        with pytest.raises(ImproperlyConfigured) as caught:
            find_driver("ODBC Driver 18 for SQL Server", ["PostgreSQL Unicode"], package)
        message = str(caught.value)
        assert "OPTIONS['driver'] = 'ODBC Driver 18 for SQL Server'" in message
        assert "'PostgreSQL Unicode'" in message
        assert "mssql-python-odbc" in message
        assert 'pip install "django-mssql-observable[odbc]"' in message
        assert "msodbcsql18" in message

    def test_a_missing_file_does_not_fall_back(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="neither a registered driver nor a file"):
            find_driver("/opt/libtdsodbc.so", [DRIVER], None)


class TestServer:
    @pytest.mark.parametrize(
        ("host", "port", "expected", "text"),
        [
            ("", "", ServerAddress("localhost"), "localhost"),
            ("db.example.com", "", ServerAddress("db.example.com"), "db.example.com"),
            ("db", "1434", ServerAddress("db", port=1434), "db,1434"),
            ("db", 1434, ServerAddress("db", port=1434), "db,1434"),
            ("db,1434", "", ServerAddress("db", port=1434), "db,1434"),
            ("db, 1434", "1434", ServerAddress("db", port=1434), "db,1434"),
            ("tcp:db,1434", "", ServerAddress("db", port=1434, protocol="tcp"), "tcp:db,1434"),
            ("TCP:db", "", ServerAddress("db", protocol="tcp"), "tcp:db"),
            ("db\\sqlexpress", "", ServerAddress("db", "sqlexpress"), "db\\sqlexpress"),
            (".\\sqlexpress", "", ServerAddress(".", "sqlexpress"), ".\\sqlexpress"),
            ("db\\inst", "1500", ServerAddress("db", "inst", 1500), "db\\inst,1500"),
            ("::1", "1433", ServerAddress("::1", port=1433), "::1,1433"),
            (
                "np:\\\\db\\pipe\\sql\\query",
                "",
                ServerAddress("\\\\db\\pipe\\sql\\query", protocol="np"),
                None,
            ),
        ],
    )
    def test_each_form_of_host(
        self, host: str, port: str | int, expected: ServerAddress, text: str | None
    ) -> None:
        address = parse_server(host, port)
        assert address == expected
        if text is not None:
            assert str(address) == text

    def test_this_machine_has_a_name_for_others(self) -> None:
        assert parse_server("(local)", "").address == parse_server(".", "").address == "localhost"

    @pytest.mark.parametrize(("host", "port"), [("db", "abc"), ("db,70000", ""), ("db", "0")])
    def test_a_port_that_is_none_is_named(self, host: str, port: str) -> None:
        with pytest.raises(ImproperlyConfigured, match="is not a port number"):
            parse_server(host, port)

    def test_two_ports_are_one_too_many(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="different ports"):
            parse_server("db,1433", "1434")


class TestConnectionString:
    def test_the_plain_case(self) -> None:
        assert build(PORT="1433") == {
            "DRIVER": DRIVER,
            "SERVER": "db,1433",
            "UID": "u",
            "PWD": "p",
            "DATABASE": "shop",
            "APP": "Django",
            "MARS_Connection": "no",
        }

    @pytest.mark.parametrize(
        "password", ["a;b", "{x}", "}", "a}b;PWD=c", "=", " lead", "p@ss{w}rd;", "{", "a b", "日本"]
    )
    def test_a_password_arrives_as_it_is(self, password: str) -> None:
        assert build(PASSWORD=password)["PWD"] == password

    @given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
    def test_any_value_arrives_as_it_is(self, value: str) -> None:
        assert parsed(f"A={quote(value)};B=1") == {"A": value, "B": "1"}

    @pytest.mark.parametrize(
        ("options", "keyword", "value"),
        [
            ({"app_name": "shop; worker"}, "APP", "shop; worker"),
            ({"application_intent": "ReadOnly"}, "ApplicationIntent", "ReadOnly"),
            ({"encrypt": False}, "Encrypt", "no"),
            ({"encrypt": "strict"}, "Encrypt", "strict"),
            ({"trust_server_certificate": True}, "TrustServerCertificate", "yes"),
            ({"trust_server_certificate": False}, "TrustServerCertificate", "no"),
            ({"host_name_in_certificate": "db.example.com"}, "HostnameInCertificate", "db.example.com"),
            ({"server_certificate": "/etc/db.pem"}, "ServerCertificate", "/etc/db.pem"),
            ({"multi_subnet_failover": True}, "MultiSubnetFailover", "yes"),
            ({"mars": True}, "MARS_Connection", "yes"),
            ({"authentication": "ActiveDirectoryPassword"}, "Authentication", "ActiveDirectoryPassword"),
        ],
    )
    def test_each_option_has_its_keyword(self, options: dict[str, Any], keyword: str, value: str) -> None:
        assert build(options)[keyword] == value

    def test_what_extra_params_say_is_said_once(self) -> None:
        options = {"extra_params": "Encrypt=optional;app=own;", "encrypt": True}
        text = connection_string({"HOST": "db", "NAME": "shop"}, Options.from_dict(options), DRIVER)
        assert text.endswith("Encrypt=optional;app=own")
        assert text.lower().count("encrypt=") == text.lower().count("app=") == 1

    def test_no_user_means_the_process_account(self) -> None:
        assert build(USER="", PASSWORD="")["Trusted_Connection"] == "yes"
        assert build(USER="", PASSWORD="", Trusted_Connection="no")["Trusted_Connection"] == "no"

    @pytest.mark.parametrize(
        "options",
        [{"authentication": "ActiveDirectoryMsi"}, {"extra_params": "Authentication=ActiveDirectoryMsi"}],
    )
    def test_a_managed_identity_needs_no_password(self, options: dict[str, Any]) -> None:
        text = build(options, USER="client-id", PASSWORD="")
        assert text["UID"] == "client-id"
        assert "PWD" not in text
        assert "Trusted_Connection" not in text

    def test_a_dsn_takes_the_place_of_driver_and_server(self) -> None:
        text = build({"dsn": "shop"})
        assert text["DSN"] == "shop"
        assert not {"DRIVER", "SERVER"} & set(text)

    def test_freetds_is_told_its_way(self) -> None:
        by_name = build(driver="FreeTDS", HOST="mssql", PORT="1433")
        assert by_name["SERVERNAME"] == "mssql"
        by_address = build({"host_is_server": True}, driver="FreeTDS", HOST="db", PORT="1433")
        assert (by_address["SERVER"], by_address["PORT"]) == ("db", "1433")
        assert "MARS_Connection" not in by_address

    def test_no_name_is_master(self) -> None:
        assert build(NAME=None)["DATABASE"] == "master"

    @pytest.mark.parametrize("where", ["TOKEN", "OPTIONS"])
    def test_a_token_stands_alone(self, where: str) -> None:
        options = {"token": "t"} if where == "OPTIONS" else {}
        settings = {"TOKEN": "t"} if where == "TOKEN" else {}
        text = build(options, USER="", PASSWORD="", **settings)
        assert not {"UID", "PWD", "Trusted_Connection"} & set(text)
        with pytest.raises(ImproperlyConfigured, match="cannot stand together"):
            build(options, **settings)

    def test_a_token_is_packed_as_the_driver_wants_it(self) -> None:
        encoded = "abc".encode("utf-16-le")
        assert access_token("abc") == {SQL_COPT_SS_ACCESS_TOKEN: struct.pack("<i", 6) + encoded}
        assert access_token(None) == {}

    def test_a_token_callable_is_asked_each_time(self) -> None:
        tokens = iter(["one", "two"])
        assert access_token(lambda: next(tokens)) != access_token(lambda: next(tokens))
        with pytest.raises(ImproperlyConfigured, match="NoneType"):
            access_token(lambda: None)  # type: ignore[arg-type,return-value]

    @pytest.mark.parametrize("password", ["simple", "a;b", "}x{", "{x}"])
    def test_a_log_does_not_show_the_password(self, password: str) -> None:
        settings = {"HOST": "db", "USER": "u", "PASSWORD": password, "NAME": "shop"}
        shown = masked(connection_string(settings, Options(), DRIVER))
        own = masked(f"DRIVER=x;pwd = {quote(password)} ;APP=shop")
        assert password not in own.replace("***", "")
        assert "APP=shop" in own
        assert "PWD=***;" in shown
        assert password not in shown
        assert "DATABASE=shop" in shown
