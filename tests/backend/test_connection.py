"""Connecting: what is sent after the login, and what a person reads when it does not work."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import NotSupportedError, OperationalError
from pytest_django import DjangoDbBlocker

from mssql.base import DatabaseWrapper
from mssql.connection_advice import connection_advice
from mssql.connection_string import ServerAddress
from mssql.errors import parse
from sqlserver_standin import handshake
from sqlserver_standin.events import SqlError
from sqlserver_standin.faults import FaultKind, LoginFault, StatementFault
from sqlserver_standin.tds.login import Login, parse_login
from tests.backend.echo import Echo, echo, rows
from tests.faults.conftest import QUICK, time_out_next


@pytest.fixture(scope="module")
def engine(django_db_blocker: DjangoDbBlocker) -> Iterator[Echo]:
    with django_db_blocker.unblock(), echo() as running:
        yield running


def setup_of(alias: DatabaseWrapper) -> str:
    return alias._set_up_sql()


class TestSetUp:
    def test_connecting_is_one_message_after_the_login(self, engine: Echo) -> None:
        first, second = engine.alias(), engine.alias()
        first.ensure_connection()
        engine.sent()
        second.ensure_connection()
        (message,) = engine.sent()
        assert message.startswith("batch: SET DATEFORMAT ymd; SET DATEFIRST 7;")

    @pytest.mark.parametrize(
        ("options", "sql"),
        [
            ({"datefirst": 1}, "SET DATEFIRST 1;"),
            ({"isolation_level": "snapshot"}, "SET TRANSACTION ISOLATION LEVEL SNAPSHOT;"),
            ({"lock_timeout": 5000}, "SET LOCK_TIMEOUT 5000;"),
            ({"deadlock_priority": "low"}, "SET DEADLOCK_PRIORITY LOW;"),
            ({"deadlock_priority": -3}, "SET DEADLOCK_PRIORITY -3;"),
            ({"session_context": {"it's": "o'clock"}}, "@key = N'it''s', @value = N'o''clock';"),
            ({"session_context": {"n": 7, "b": b"\x01\xff"}}, "@key = N'b', @value = 0x01ff;"),
            ({"session_context": {"n": None}}, "@key = N'n', @value = NULL;"),
        ],
    )
    def test_options_are_set_in_the_same_message(
        self, engine: Echo, options: dict[str, Any], sql: str
    ) -> None:
        alias = engine.alias(OPTIONS=options)
        alias.ensure_connection()
        assert sql in setup_of(alias)
        assert sum("SET DATEFORMAT" in message for message in engine.sent()) == 1

    def test_the_server_introduces_itself(self, engine: Echo) -> None:
        alias = engine.alias()
        server = alias.server
        assert (server.version, server.product_name) == ((16, 0), "SQL Server 2022")
        assert alias.get_database_version() == (16, 0)
        assert alias.connection is None

    def test_the_application_names_itself(self, engine: Echo) -> None:
        alias = engine.alias(OPTIONS={"app_name": "shop"})
        alias.ensure_connection()
        assert alias.connection is not None
        assert alias.connection.info.application_name == "shop"
        facts = [session.login for session in engine.instance.sessions.values()]
        assert any("shop" in map(str, fact.values()) for fact in facts)

    def test_read_intent_goes_with_the_login(self, engine: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
        logins: list[Login] = []

        def remember(data: bytes) -> Login:
            logins.append(parse_login(data))
            return logins[-1]

        monkeypatch.setattr(handshake, "parse_login", remember)
        for options in ({"application_intent": "ReadOnly"}, {"application_intent": "ReadWrite"}, {}):
            engine.alias(OPTIONS=options).ensure_connection()
        assert [login.read_only_intent for login in logins] == [True, False, False]

    def test_mars_is_what_the_option_says(self, engine: Echo) -> None:
        for mars, word in ((False, "no"), (True, "yes")):
            params = engine.alias(OPTIONS={"mars": mars}).get_connection_params()
            assert f"MARS_Connection={word}" in params["connection_string"]

    def test_a_token_callable_is_asked_for_each_connection(self, engine: Echo) -> None:
        asked = iter(["first", "second"])
        alias = engine.alias(USER="", PASSWORD="", OPTIONS={"token": lambda: next(asked)})
        assert alias.get_connection_params()["attrs_before"] != alias.get_connection_params()["attrs_before"]

    def test_datetimes_are_aware_by_the_settings_of_the_alias(self, engine: Echo, settings: Any) -> None:
        settings.USE_TZ = True
        aware = engine.alias()
        assert aware.data_types["DateTimeField"] == "datetimeoffset"
        settings.USE_TZ = False
        assert engine.alias().data_types["DateTimeField"] == "datetime2"
        assert aware.data_types["DateTimeField"] == "datetimeoffset"


class TestVersions:
    @pytest.mark.parametrize(
        ("facts", "said"),
        [
            ({"product_version": "13.0.7000.1"}, "SQL Server 2016 (13.0.7000.1) is not supported"),
            ({"product_version": "12.0.6024.0"}, "SQL Server 2014"),
            ({"product_version": "10.50.6000.34"}, "SQL Server 2008"),
            ({"engine_edition": 6, "product_version": "10.0.27554.0"}, "Azure Synapse Analytics"),
            ({"engine_edition": 11, "product_version": "12.0.2000.8"}, "Azure Synapse Analytics"),
        ],
    )
    def test_an_old_server_is_refused_by_name(self, engine: Echo, facts: dict[str, Any], said: str) -> None:
        alias = engine.alias()
        engine.scripts[setup_of(alias)] = engine.facts(**facts)
        with pytest.raises(NotSupportedError) as caught:
            alias.check_database_version_supported()
        assert said in str(caught.value)
        engine.scripts[setup_of(alias)] = engine.facts()

    @pytest.mark.parametrize(
        ("facts", "is_2019", "is_2022", "is_2025"),
        [
            ({"product_version": "14.0.3456.2"}, False, False, False),
            ({"product_version": "15.0.4000.0"}, True, False, False),
            ({"product_version": "16.0.1000.6"}, True, True, False),
            ({"product_version": "17.0.1000.7"}, True, True, True),
            ({"product_version": "19.0.1"}, True, True, True),
            ({"engine_edition": 5, "product_version": "12.0.2000.8"}, True, True, True),
            ({"engine_edition": 12, "product_version": "12.0.2000.8"}, True, True, True),
            ({"engine_edition": 8, "product_version": "12.0.2000.8"}, True, True, False),
            ({"engine_edition": 8, "update_type": "Continuous"}, True, True, True),
        ],
    )
    def test_capabilities_go_by_edition_and_version(
        self, engine: Echo, facts: dict[str, Any], is_2019: bool, is_2022: bool, is_2025: bool
    ) -> None:
        alias = engine.alias()
        engine.scripts[setup_of(alias)] = engine.facts(**facts)
        alias.check_database_version_supported()
        features = alias.features
        assert (features.is_sql_server_2019, features.is_sql_server_2022, features.is_sql_server_2025) == (
            is_2019,
            is_2022,
            is_2025,
        )
        engine.scripts[setup_of(alias)] = engine.facts()

    def test_a_newer_server_still_needs_the_compatibility_level(self, engine: Echo) -> None:
        alias = engine.alias()
        engine.scripts[setup_of(alias)] = engine.facts(product_version="17.0.1", compatibility_level=160)
        assert not alias.features.supports_regexp_like
        engine.scripts[setup_of(alias)] = engine.facts(product_version="17.0.1", compatibility_level=170)
        alias.ensure_connection()
        assert alias.features.supports_regexp_like
        engine.scripts[setup_of(alias)] = engine.facts()


class TestRefusals:
    """Each failure is one text: what the driver said, what to do, what was tried."""

    OPTIONS = {"retry": False, "connection_timeout": 60}
    UNREACHABLE = {"retry": False, "connection_timeout": 1}

    def message(self, alias: DatabaseWrapper) -> str:
        with pytest.raises(OperationalError) as caught:
            alias.ensure_connection()
        assert alias.connection is None
        text = str(caught.value)
        assert "standin_2022" not in text.lower()
        assert "Tried: DRIVER=" in text
        return text

    def test_nobody_listens(self, engine: Echo) -> None:
        with socket.socket() as bound:  # not listening, and nobody else gets its port
            bound.bind(("127.0.0.1", 0))
            port = str(bound.getsockname()[1])
            text = self.message(engine.alias(PORT=port, OPTIONS=self.UNREACHABLE))
        assert f"could not be reached at host '127.0.0.1', port {port}" in text
        assert [line.split(".")[0].strip() for line in text.splitlines() if line[2:3].isdigit()] == [
            "1",
            "2",
            "3",
            "4",
        ]

    def test_the_name_is_not_known(self, engine: Echo) -> None:
        text = self.message(engine.alias(HOST="no-such-host.invalid", OPTIONS=self.UNREACHABLE))
        assert "could not be reached at host 'no-such-host.invalid'" in text

    def test_a_named_instance_is_looked_up(self, engine: Echo) -> None:
        text = self.message(engine.alias(HOST="127.0.0.1\\sales", PORT="", OPTIONS=self.UNREACHABLE))
        assert "instance 'sales'" in text
        assert "UDP 1434" in text

    def test_the_login_is_refused(self, engine: Echo) -> None:
        text = self.message(engine.alias(PASSWORD="wrong", OPTIONS=self.OPTIONS))
        assert "error 18456" in text
        assert "refused the login of 'sa'" in text
        assert "wrong" not in text

    def test_the_database_does_not_exist(self, engine: Echo) -> None:
        text = self.message(engine.alias(NAME="nope", OPTIONS=self.OPTIONS))
        assert "error 4060" in text
        assert "database 'nope'" in text
        assert "CREATE DATABASE" in text

    def test_the_certificate_is_not_trusted(self, engine: Echo) -> None:
        text = self.message(engine.alias(OPTIONS=self.OPTIONS | {"encrypt": True}))
        assert "certificate is not trusted" in text
        assert 'OPTIONS["trust_server_certificate"] = True' in text

    def test_what_listens_is_no_sql_server(self, engine: Echo) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as threads:

            def answer() -> None:
                client, _ = listener.accept()
                with client:
                    client.recv(4096)
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                    client.recv(4096)  # until the driver has had enough

            threads.submit(answer)
            port = str(listener.getsockname()[1])
            text = self.message(engine.alias(PORT=port, OPTIONS=self.OPTIONS))
        assert f"port {port}, does not speak SQL Server's protocol" in text

    def test_no_name_is_said_before_anything_is_tried(self, engine: Echo) -> None:
        with pytest.raises(ImproperlyConfigured, match="has no NAME"):
            engine.alias(NAME="").ensure_connection()

    def test_a_name_that_is_too_long_too(self, engine: Echo) -> None:
        with pytest.raises(ImproperlyConfigured, match="129 characters"):
            engine.alias(NAME="x" * 129).ensure_connection()

    def test_a_set_up_that_fails_leaves_no_connection(self, engine: Echo) -> None:
        alias = engine.alias(OPTIONS={"session_context": {"k": "read only"}, "retry": False})
        engine.scripts[setup_of(alias)] = [SqlError(15664, "Cannot set key 'k' in the session context.")]
        before = len(engine.instance.sessions)
        with pytest.raises(Exception, match="15664"):
            alias.ensure_connection()
        deadline = time.monotonic() + 60
        while len(engine.instance.sessions) > before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(engine.instance.sessions) <= before

    @pytest.mark.parametrize(
        ("sqlstate", "text", "advice"),
        [
            ("01000", "[unixODBC][Driver Manager]Can't open lib '/x.so' : file not found (0)", "ldd"),
            ("HY000", "SSPI Provider: No Kerberos credentials available (default cache) (851968)", "kinit"),
            ("28000", "[SQL Server]Login failed for user ''. (18456)", "USER is empty"),
            (
                "08001",
                "SSL Provider: [error:0A000102:SSL routines::unsupported protocol] (-1) (SQLDriverConnect)",
                "openssl.cnf",
            ),
            (
                "08001",
                "SSL-Anbieter: Die Zertifikatkette wurde von einer nicht vertrauenswürdigen Zertifizierungsstelle "
                "ausgestellt. (-2146893019) (SQLDriverConnect)",
                "certificate is not trusted",
            ),
        ],
    )
    def test_what_the_stand_in_cannot_show(self, sqlstate: str, text: str, advice: str) -> None:
        told = connection_advice(
            parse(sqlstate, text),
            address=ServerAddress("db"),
            driver="/x.so",
            user="",
            name="shop",
            timeout=0,
        )
        assert advice in told


class TestRetry:
    def test_a_passing_refusal_is_tried_again(self, engine: Echo) -> None:
        engine.server.faults.arm(LoginFault(remaining=2, number=40613))
        alias = engine.alias(OPTIONS={"retry": {"connect": QUICK}})
        alias.ensure_connection()
        assert alias.is_usable()

    def test_the_older_keys_say_how_often(self, engine: Echo) -> None:
        engine.server.faults.arm(LoginFault(remaining=5, number=40613))
        alias = engine.alias(OPTIONS={"connection_retries": 2, "connection_retry_backoff_time": 0.01})
        with pytest.raises(OperationalError, match="40613"):
            alias.ensure_connection()
        assert engine.server.faults.pending() == 3
        engine.server.faults.clear()

    def test_a_wrong_password_is_not(self, engine: Echo) -> None:
        engine.server.faults.arm(LoginFault(remaining=2, number=18456))
        with pytest.raises(OperationalError):
            engine.alias().ensure_connection()
        assert engine.server.faults.pending() == 1
        engine.server.faults.clear()


class TestTimeouts:
    def test_a_query_timeout_cancels_and_leaves_the_connection_usable(self, engine: Echo) -> None:
        alias = engine.alias(OPTIONS={"query_timeout": 60})
        alias.ensure_connection()
        time_out_next(alias, parameters=False)
        with alias.cursor() as cursor, pytest.raises(OperationalError) as caught:
            cursor.execute("sleep 300")
        assert caught.value.sqlserver.error_class.value == "query_timeout"  # type: ignore[attr-defined]
        assert "attention: " in engine.sent()
        assert alias.is_usable()


def test_an_obsolete_connection_is_replaced(engine: Echo) -> None:
    alias = engine.alias(CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True)
    engine.scripts["SELECT 1"] = rows((1,))
    alias.ensure_connection()
    first = alias.connection
    alias.close_if_unusable_or_obsolete()
    assert alias.connection is first
    engine.server.faults.arm(StatementFault(FaultKind.DROP_BEFORE, matching="SELECT 1"))
    with alias.cursor() as cursor:
        cursor.execute("rows 1")
        assert cursor.fetchall()
    assert alias.connection is not first
