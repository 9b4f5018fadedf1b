"""Setting up OTLP: by one call or by OTEL_* alone, over real sockets, in processes of their own."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from django.core.exceptions import ImproperlyConfigured

from mssql.instrumentation import otlp
from tests.instrumentation.conftest import PATIENCE
from tests.otlp_receiver import OtlpReceiver, attributes

pytestmark = pytest.mark.timeout(2 * PATIENCE)

PROTOCOLS = ("http/protobuf", "grpc")

STATEMENTS = """
from mssql.instrumentation import otlp
from mssql.instrumentation.conf import InstrumentationConfig
from mssql.instrumentation.recorder import recorder_for
from mssql.instrumentation.statement import ConnectionInfo, StatementKind

def run(sql, options=True):
    recorder = recorder_for(InstrumentationConfig.from_options(options), ConnectionInfo("default", "shop", "db"))
    statement = recorder.begin(StatementKind.QUERY, sql, (1,))
    recorder.end(statement, rowcount=1)
    recorder.close(statement, returned_rows=1)
"""
PATIENT = f"otlp.EXIT_SECONDS = {PATIENCE}\n"
"""For processes whose collector answers: a slow machine may take longer than a user would wait."""


def python(code: str, *, before: str = PATIENT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own: providers are global, and exit and fork are what is tested."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    return subprocess.run(
        [sys.executable, "-c", STATEMENTS + before + textwrap.dedent(code)],
        env={**kept, "OTEL_EXPORTER_OTLP_TIMEOUT": "60", **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_environment_alone_is_enough(protocol: str) -> None:
    with OtlpReceiver(protocol) as receiver:
        done = python(
            'run("SELECT * FROM [a] WHERE x = ?", {"query_log": {"slow_ms": 0}})',
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
            OTEL_SERVICE_NAME="shop-web",
            OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test",
        )
    assert done.returncode == 0, done.stderr
    (span,) = receiver.spans  # flushed at exit, without any call
    assert span.name == "SELECT [a]"
    assert attributes(span.attributes)["db.system.name"] == "microsoft.sql_server"
    (resource,) = receiver.resources
    assert resource["service.name"] == "shop-web"
    assert resource["deployment.environment.name"] == "test"
    scope = receiver.requests["/v1/traces"][0].resource_spans[0].scope_spans[0]
    assert scope.scope.name == "mssql"
    assert scope.schema_url == "https://opentelemetry.io/schemas/1.44.0"
    assert "db.client.operation.duration" in {metric.name for metric in receiver.metrics}
    assert [record.event_name for record in receiver.logs] == ["mssql.slow_query"]
    assert receiver.logs[0].span_id == span.span_id


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_one_call_is_enough(protocol: str) -> None:
    with OtlpReceiver(protocol) as receiver:
        done = python(
            f"""
            from mssql.instrumentation import otlp
            print(otlp.configure(
                service_name="shop", endpoint="{receiver.endpoint}", protocol="{protocol}",
                headers={{"x-key": "secret"}}, resource_attributes={{"team": "sales"}},
            ))
            run("SELECT 1")
            """
        )
    assert "('traces', 'metrics', 'logs')" in done.stdout, done.stderr
    assert len(receiver.spans) == 1
    assert receiver.resources[0].items() >= {"service.name": "shop", "team": "sales"}.items()
    assert receiver.headers[0]["x-key"] == "secret"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_workers_that_fork_report_each_for_itself(protocol: str) -> None:
    """gunicorn with preload: set up and used in the master, forked, used in each worker, left by os._exit in none."""
    with OtlpReceiver(protocol) as receiver:
        done = python(
            """
            import os, sys
            run("SELECT * FROM [master]")
            for number in range(2):
                if os.fork() == 0:
                    run(f"SELECT * FROM [worker{number}]")
                    sys.exit(0)
            for _ in range(2):
                assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
            """,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        )
    assert done.returncode == 0, done.stderr
    assert sorted(span.name for span in receiver.spans) == [
        "SELECT [master]",
        "SELECT [worker0]",
        "SELECT [worker1]",
    ], done.stderr


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_workers_that_uwsgi_forks_report_each_for_itself(protocol: str) -> None:
    """uWSGI forks in C: what Python does after a fork is not done, only uWSGI's own hook is called."""
    with OtlpReceiver(protocol) as receiver:
        done = python(
            """
            import ctypes, os, sys, types
            uwsgi = sys.modules["uwsgi"] = types.ModuleType("uwsgi")
            uwsgi.worker_id = uwsgi.mule_id = lambda: 0
            assert otlp.configure() == ("traces", "metrics", "logs")
            run("SELECT * FROM [master]")
            for number in range(2):
                if ctypes.PyDLL(None).fork() == 0:
                    uwsgi.post_fork_hook()
                    run(f"SELECT * FROM [worker{number}]")
                    sys.exit(0)
            for _ in range(2):
                assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
            """,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        )
    assert done.returncode == 0, done.stderr
    assert sorted(span.name for span in receiver.spans) == ["SELECT [worker0]", "SELECT [worker1]"], (
        done.stderr
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_dead_collector_breaks_nothing(protocol: str) -> None:
    done = python(
        """
        for _ in range(5000):
            run("SELECT 1")
        print("done")
        """,
        before="",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_dead_collector_is_told_of_once_until_it_is_back(
    protocol: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
    exporter = otlp._exporter("traces", "http://127.0.0.1:9", protocol, None)
    for _ in range(3):
        assert exporter.export([]).name == "FAILURE"
    levels = [record.levelname for record in caplog.records]
    assert sorted(set(levels)) == sorted(levels)
    assert "ERROR" in levels

    monkeypatch.setattr(type(exporter).__bases__[0], "export", _answer("SUCCESS"))
    exporter.export([])
    monkeypatch.setattr(type(exporter).__bases__[0], "export", _answer("FAILURE"))
    exporter.export([])
    exporter.export([])
    assert [record.getMessage() for record in caplog.records[len(levels) :]] == ["down again"]
    exporter.shutdown()


def _answer(result: str) -> Callable[..., SimpleNamespace]:
    def export(exporter: object, spans: object) -> SimpleNamespace:
        if result == "FAILURE":
            logging.getLogger("opentelemetry.exporter.otlp.common.http").error("down again")
        return SimpleNamespace(name=result)

    return export


def test_the_end_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer = threading.Event(), threading.Event()

    class Hanging:
        def shutdown(self) -> None:
            asked.set()
            answer.wait()

    class Failing:
        def shutdown(self) -> None:
            raise RuntimeError("not today")

    monkeypatch.setattr(otlp, "EXIT_SECONDS", 0.01)
    monkeypatch.setattr(otlp.atexit, "register", lambda _: None)
    monkeypatch.setattr(otlp.os, "register_at_fork", lambda **_: None)
    farewell = otlp._Farewell([Failing(), Hanging()])
    farewell._say()
    assert asked.wait(PATIENCE)
    assert not farewell._done.is_set()
    answer.set()
    assert farewell._done.wait(PATIENCE)


def test_an_application_s_own_provider_is_kept() -> None:
    with OtlpReceiver() as receiver:
        done = python(
            """
            from opentelemetry import trace
            from opentelemetry.sdk.trace import TracerProvider
            own = TracerProvider()
            trace.set_tracer_provider(own)
            run("SELECT 1")
            assert trace.get_tracer_provider() is own
            """,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
        )
    assert done.returncode == 0, done.stderr
    assert not receiver.spans
    assert receiver.metrics


@pytest.mark.parametrize(
    ("options", "environment"),
    [
        ("False", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}),
        ("True", {}),
        ("True", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "True"}),
        ('{"otlp": False}', {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}),
        (
            "True",
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
                "OTEL_TRACES_EXPORTER": "none",
                "OTEL_METRICS_EXPORTER": "none",
                "OTEL_LOGS_EXPORTER": "none",
            },
        ),
    ],
)
def test_the_sdk_is_not_imported_when_nothing_is_sent(options: str, environment: dict[str, str]) -> None:
    done = python(
        f"""
        import json, sys
        config = InstrumentationConfig.from_options({options})
        recorder = recorder_for(config, ConnectionInfo("default", "shop"))
        print(json.dumps([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "grpc"))]))
        """,
        before="",
        **environment,
    )
    assert json.loads(done.stdout) == [], done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"protocol": "http/json"}, "http/json"), ({"signals": ("spans",)}, "'spans'; allowed: traces")],
)
def test_bad_arguments_are_told(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=said):
        otlp.configure(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"OTEL_BSP_MAX_QUEUE_SIZE": "10"},  # less than the batch size
        {"OTEL_METRICS_EXEMPLAR_FILTER": "some"},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_COMPRESSION": "zip"},
    ],
)
def test_a_mistake_in_the_environment_is_one_warning_and_no_failure(wrong: dict[str, str]) -> None:
    done = python(
        """
        import logging
        from opentelemetry import trace
        logging.basicConfig(format="%(name)s: %(message)s")
        run("SELECT 1")
        run("SELECT 1")
        print(type(trace.get_tracer_provider()).__name__)
        """,
        before="",
        **{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", **wrong},
    )
    assert (done.returncode, done.stdout) == (0, "ProxyTracerProvider\n"), done.stderr
    assert done.stderr.count("mssql.instrumentation: OTEL_* asks for OTLP export") == 1


def test_a_missing_sdk_is_one_warning_and_no_failure() -> None:
    done = python(
        """
        import logging, sys
        logging.basicConfig()
        sys.modules["opentelemetry.sdk.resources"] = None
        run("SELECT 1")
        run("SELECT 1")
        """,
        before="",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count('pip install "django-mssql-observable[otlp]"') == 1
