"""Beside the tools that sites have already: nothing breaks, nothing is counted twice, and they go on seeing queries.

Each tool is the real package, installed and active in a process of its own, over the wire to the server under test.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from tests.conftest import Server
from tests.instrumentation.conftest import PATIENCE

pytestmark = pytest.mark.timeout(2 * PATIENCE)

PREPARE = """
import json, os
import django
from django.conf import settings

DATABASES = {"default": {
    "ENGINE": "mssql", "NAME": "master",
    "HOST": os.environ["MSSQL_HOST"], "PORT": os.environ["MSSQL_PORT"],
    "USER": os.environ["MSSQL_USER"], "PASSWORD": os.environ["MSSQL_PASSWORD"],
    "OPTIONS": {
        "trust_server_certificate": True, "connection_timeout": 60,
        "instrumentation": {"tracing": {"connect": True, "transactions": True}, "otlp": False},
    },
}}

def set_up(**more):
    settings.configure(
        DATABASES=DATABASES, SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF="__main__", **more
    )
    django.setup()

def observe():
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter

def queries():
    from django.db import IntegrityError, DatabaseError, connection
    from django.db import transaction
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE [#beside] ([id] int PRIMARY KEY, [name] nvarchar(20))")
        with transaction.atomic():
            cursor.execute("INSERT INTO [#beside] VALUES (%s, %s)", [1, "a"])
            cursor.executemany("INSERT INTO [#beside] VALUES (%s, %s)", [(2, "b"), (3, "c")])
        cursor.execute("SELECT [name] FROM [#beside] WHERE [id] > %s ORDER BY [id]", [1])
        rows = cursor.fetchall()
        try:
            cursor.execute("INSERT INTO [#beside] VALUES (%s, %s)", [1, "a"])
        except IntegrityError as error:
            assert error.sqlserver.number == 2627, error
    assert [tuple(row) for row in rows] == [("b",), ("c",)], rows
    return rows

def ours(exporter):
    return [span.name for span in exporter.get_finished_spans() if span.instrumentation_scope.name == "mssql"]
"""

OURS = [
    "CONNECT master",
    "CREATE TABLE [#beside]",
    "BEGIN TRANSACTION",
    "INSERT [#beside]",
    "BATCH INSERT [#beside]",
    "COMMIT TRANSACTION",
    "SELECT [#beside]",
    "INSERT [#beside]",
]


def installed(module: str) -> pytest.MarkDecorator:
    found = True
    try:
        found = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        found = False
    return pytest.mark.skipif(not found, reason=f"{module} is not installed")


def run(server: Server, code: str, **environment: str) -> Any:
    """Run ``code`` in a process of its own; what it prints last is JSON."""
    done = subprocess.run(
        [sys.executable, "-c", PREPARE + textwrap.dedent(code)],
        env={
            **{key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "DJANGO_"))},
            "MSSQL_HOST": server.host,
            "MSSQL_PORT": server.port,
            "MSSQL_USER": server.user,
            "MSSQL_PASSWORD": server.password,
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "was not affected" not in done.stderr, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_alone(server: Server) -> None:
    assert run(server, "set_up(); e = observe(); queries(); print(json.dumps(ours(e)))") == OURS


@installed("sentry_sdk")
def test_sentry(server: Server) -> None:
    result = run(
        server,
        """
        import sentry_sdk
        from sentry_sdk.transport import Transport
        sent = []
        class Keep(Transport):
            def capture_envelope(self, envelope):
                sent.extend(item.payload.json for item in envelope.items if item.type == "transaction")
        set_up()
        sentry_sdk.init(dsn="http://key@localhost/1", transport=Keep, traces_sample_rate=1.0)
        exporter = observe()
        with sentry_sdk.start_transaction(name="view"):
            queries()
        sentry_sdk.flush(100)
        theirs = [span["description"] for item in sent for span in item["spans"] if span["op"].startswith("db")]
        print(json.dumps([ours(exporter), theirs]))
        """,
    )
    assert result[0] == OURS
    assert sum("beside" in text for text in result[1]) == 5


@installed("opentelemetry.instrumentation.django")
def test_opentelemetry_django(server: Server) -> None:
    result = run(
        server,
        """
        from django.http import HttpResponse
        from django.urls import path
        def view(request):
            queries()
            return HttpResponse("ok")
        urlpatterns = [path("shop/", view)]
        set_up()
        exporter = observe()
        from opentelemetry.instrumentation.django import DjangoInstrumentor
        DjangoInstrumentor().instrument(is_sql_commentor_enabled=True)
        from django.test import Client
        assert Client().get("/shop/").status_code == 200
        server, = [s for s in exporter.get_finished_spans() if "django" in s.instrumentation_scope.name]
        assert all(
            s.parent.span_id == server.context.span_id
            for s in exporter.get_finished_spans() if s.instrumentation_scope.name == "mssql"
        )
        print(json.dumps(ours(exporter)))
        """,
    )
    assert result == OURS


@installed("opentelemetry.instrumentation.dbapi")
def test_opentelemetry_dbapi_and_its_suppression(server: Server) -> None:
    result = run(
        server,
        """
        set_up()
        exporter = observe()
        from mssql.odbc import pyodbc
        from opentelemetry.instrumentation import dbapi
        from opentelemetry.instrumentation.utils import suppress_instrumentation
        dbapi.wrap_connect("pyodbc", pyodbc, "connect", "mssql")
        queries()
        mine = ours(exporter)
        theirs = len(exporter.get_finished_spans()) - len(mine)
        with suppress_instrumentation():
            from django.db import connection
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        print(json.dumps([mine, theirs, len(exporter.get_finished_spans()) - len(mine) - theirs]))
        """,
    )
    assert result[0] == OURS
    assert result[1] > 0
    assert result[2] == 0


@installed("ddtrace")
def test_ddtrace(server: Server) -> None:
    result = run(
        server,
        """
        import ddtrace
        from ddtrace import tracer
        from ddtrace.trace import TraceFilter
        seen = []
        class Keep(TraceFilter):
            def process_trace(self, trace):
                seen.extend(trace)
                return None
        tracer.configure(trace_processors=[Keep()])
        ddtrace.patch(django=True, pyodbc=True)
        set_up()
        exporter = observe()
        with tracer.trace("view"):
            queries()
        tracer.flush()
        theirs = [span.resource for span in seen]
        print(json.dumps([ours(exporter), theirs]))
        """,
        DD_TRACE_AGENT_URL="http://127.0.0.1:9",
        DD_INSTRUMENTATION_TELEMETRY_ENABLED="false",
        DD_REMOTE_CONFIGURATION_ENABLED="false",
        DD_DJANGO_INSTRUMENT_DATABASES="true",
        DD_DBM_PROPAGATION_MODE="full",
    )
    assert result[0] == OURS
    assert any("SELECT [name] FROM [#beside]" in resource for resource in result[1])


@installed("silk")
def test_silk(server: Server) -> None:
    """Silk patches the ORM's compiler, and stores what it sees in the database."""
    result = run(
        server,
        """
        from django.http import HttpResponse
        from django.urls import path
        def view(request):
            from django.contrib.contenttypes.models import ContentType
            list(ContentType.objects.filter(model="no"))
            return HttpResponse("ok")
        urlpatterns = [path("shop/", view)]
        DATABASES["default"]["NAME"] = os.environ["SILK_DATABASE"]
        set_up(
            INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions", "silk"],
            MIDDLEWARE=["silk.middleware.SilkyMiddleware"],
            DEFAULT_AUTO_FIELD="django.db.models.BigAutoField", USE_TZ=True, SILKY_ANALYZE_QUERIES=True,
            TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
        )
        from django.core.management import call_command
        from django.test.utils import setup_databases, teardown_databases
        old = setup_databases(0, False)
        try:
            exporter = observe()
            from django.test import Client
            assert Client().get("/shop/").status_code == 200
            from silk.models import SQLQuery
            theirs = [query.query for query in SQLQuery.objects.all()]
            mine = [name for name in ours(exporter) if "django_content_type" in name]
        finally:
            teardown_databases(old, 0)
        print(json.dumps([mine, theirs]))
        """,
        SILK_DATABASE=f"silk_{os.getpid()}",
    )
    assert result[0] == ["SELECT [django_content_type]"]
    assert sum("[django_content_type]" in query for query in result[1]) == 1


@installed("debug_toolbar")
def test_the_toolbar_s_own_sql_panel_and_its_explain_button(server: Server) -> None:
    result = run(
        server,
        """
        from django.http import HttpResponse
        from django.urls import include, path
        def view(request):
            from django.db import connection
            with connection.cursor() as cursor:
                cursor.execute("SELECT [name] FROM [beside_panel] WHERE [id] = %s", [1])
                cursor.fetchall()
            return HttpResponse("<html><body>ok</body></html>")
        set_up(
            DEBUG=True, INTERNAL_IPS=["127.0.0.1"], STATIC_URL="/static/",
            INSTALLED_APPS=["django.contrib.staticfiles", "debug_toolbar"],
            MIDDLEWARE=["debug_toolbar.middleware.DebugToolbarMiddleware"],
            DEBUG_TOOLBAR_PANELS=["debug_toolbar.panels.sql.SQLPanel"],
            DEBUG_TOOLBAR_CONFIG={"IS_RUNNING_TESTS": False},
            TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
        )
        urlpatterns = [path("shop/", view), path("__debug__/", include("debug_toolbar.urls"))]
        exporter = observe()
        from django.db import connection
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS [beside_panel]")
            cursor.execute("CREATE TABLE [beside_panel] ([id] int PRIMARY KEY, [name] nvarchar(20))")
        from django.test import Client
        client = Client()
        assert client.get("/shop/").status_code == 200
        from debug_toolbar.store import get_store
        store = get_store()
        request_id = list(store.request_ids())[-1]
        queries = store.panel(request_id, "SQLPanel")["queries"]
        from debug_toolbar.forms import SignedDataForm
        data = {"request_id": request_id, "djdt_query_id": queries[-1]["djdt_query_id"]}
        signed = SignedDataForm(initial=data).initial["signed"]
        answer = client.post("/__debug__/sql_explain/", {"signed": signed})
        content = answer.json()["content"] if answer.status_code == 200 else answer.content.decode()[:2000]
        print(json.dumps([ours(exporter), [query["sql"] for query in queries], answer.status_code, content]))
        """,
    )
    assert result[0].count("SELECT [beside_panel]") == 1
    assert len(result[1]) == 1
    assert result[2] == 200, result[3]
    assert "ShowPlan" in result[3] or "Scan" in result[3] or "Seek" in result[3]
