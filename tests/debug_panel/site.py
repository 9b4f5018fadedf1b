"""A small site with the panel, whose statements and plans are made up: `python -m tests.debug_panel.site PORT [STORE]`.

The statements go through the real recorder; only the server behind it is missing.
"""

from __future__ import annotations

import os
import sys
import time
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path
from socketserver import ThreadingMixIn
from types import SimpleNamespace
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from django.conf import settings

HERE = Path(__file__).resolve().parent
PLANS = HERE.parent / "fixtures" / "plans"
DEADLOCKS = HERE.parent / "fixtures" / "deadlocks"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'"
)


def configure(store: str = "MemoryStore", database: str = ":memory:", **config: Any) -> None:
    """Settings of a site that has the toolbar with this panel."""
    settings.configure(
        DEBUG=True,
        SECRET_KEY="tests-only",
        ALLOWED_HOSTS=["*"],
        INTERNAL_IPS=["127.0.0.1"],
        ROOT_URLCONF="tests.debug_panel.site",
        STATIC_URL="/static/",
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": database}},
        INSTALLED_APPS=["django.contrib.staticfiles", "debug_toolbar", "mssql.debug_panel"],
        MIDDLEWARE=["tests.debug_panel.site.policy", "debug_toolbar.middleware.DebugToolbarMiddleware"],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "DIRS": [HERE / "templates"],
                "APP_DIRS": True,
            }
        ],
        DEBUG_TOOLBAR_PANELS=[
            "debug_toolbar.panels.history.HistoryPanel",
            "debug_toolbar.panels.sql.SQLPanel",
            "mssql.debug_panel.SQLServerPanel",
        ],
        DEBUG_TOOLBAR_CONFIG={"TOOLBAR_STORE_CLASS": f"debug_toolbar.store.{store}", **config},
    )


def policy(get_response: Any) -> Any:
    """A strict Content Security Policy on every page."""
    from asgiref.sync import iscoroutinefunction
    from django.utils.decorators import sync_and_async_middleware

    @sync_and_async_middleware
    def factory(inner: Any) -> Any:
        if iscoroutinefunction(inner):

            async def asynchronous(request: Any) -> Any:
                response = await inner(request)
                response["Content-Security-Policy"] = POLICY
                return response

            return asynchronous

        def synchronous(request: Any) -> Any:
            response = inner(request)
            response["Content-Security-Policy"] = POLICY
            return response

        return synchronous

    return factory(get_response)


policy.sync_capable = policy.async_capable = True  # type: ignore[attr-defined]

CUSTOMER = (
    "SELECT [shop_customer].[id], [shop_customer].[name] FROM [shop_customer] WHERE [shop_customer].[id] = ?"
)
ORDERS = (
    "SELECT [shop_order].[id], [shop_order].[number] FROM [shop_order] ORDER BY [shop_order].[placed] DESC"
)
REPORT = (
    "SELECT [shop_product].[name], SUM([shop_orderline].[quantity]) AS [sold] FROM [shop_orderline] INNER JOIN "
    "[shop_product] ON ([shop_orderline].[product_id] = [shop_product].[id]) WHERE [shop_product].[name] LIKE ? "
    "GROUP BY [shop_product].[name]"
)
HOSTILE = "SELECT '</script><script>alert(1)</script><img src=x onerror=alert(1)>' AS [a\"b]"
PLAN_FILES = {
    CUSTOMER: "showplandotnet_viewclustered-index-seek.sqlplan",
    ORDERS: "perfstudio_parallel-skew.sqlplan",
    REPORT: "showplandotnet_users-with-post-count-and-comment-count.sqlplan",
}


def read_plan(name: str) -> str:
    """One of the fixtures as text."""
    from mssql.showplan.document import read_text

    return read_text((PLANS / name).read_bytes())


_elapsed_ns: ContextVar[int] = ContextVar("elapsed_ns", default=0)
CLOCK = SimpleNamespace(time_ns=time.time_ns, perf_counter_ns=_elapsed_ns.get)
"""The recorder's clock: a statement takes what it is said to take, on a machine that stands still, too."""


def make_recorder(alias: str = "default", session: int = 57) -> Any:
    """The recorder of a connection that is not there."""
    from mssql.instrumentation.conf import InstrumentationConfig
    from mssql.instrumentation.recorder import recorder_for
    from mssql.instrumentation.statement import ConnectionInfo

    info = ConnectionInfo(alias, "shop", "db.example.com", session_id=session)
    recorder = recorder_for(InstrumentationConfig(), info)
    assert recorder is not None, "the panel registered no observer"
    return recorder


def run(recorder: Any, sql: str, params: Any = (), *, rows: int | None = None, **facts: Any) -> None:
    """One statement as the cursor reports it."""
    from mssql.instrumentation.plan_capture import CapturedPlan
    from mssql.instrumentation.statement import StatementKind

    error, took_ms, plan = facts.pop("error", None), facts.pop("took_ms", 1.5), facts.pop("plan", None)
    handled = facts.pop("handled", False)
    kind = facts.pop("kind", StatementKind.QUERY)
    _elapsed_ns.set(0)
    statement = recorder.begin(kind, sql, params, **facts)
    if recorder.wants_actual_plan(statement) and plan:
        statement.plan = CapturedPlan(read_plan(plan), "actual")
    _elapsed_ns.set(int(took_ms * 1e6))
    statement.retry_delay_s = 0.08 if handled else None
    recorder.end(statement, rowcount=-1 if rows is not None else 1, error=error)
    recorder.close(statement, returned_rows=rows)


def do_work() -> dict[str, Any]:
    """The statements of the page of orders."""
    import datetime
    from decimal import Decimal

    from mssql.instrumentation.statement import StatementKind

    recorder, other = make_recorder(), make_recorder("reports", 71)
    run(recorder, ORDERS, rows=50, took_ms=420, plan="perfstudio_parallel-skew.sqlplan")

    class Order:
        def __init__(self, number: int) -> None:
            self.number = number

        @property
        def customer(self) -> str:
            run(recorder, CUSTOMER, (self.number // 2,), rows=1)
            return f"Customer {self.number // 2}"

    begin = StatementKind.TRANSACTION
    run(recorder, "BEGIN TRANSACTION", kind=begin, took_ms=0.4)
    parameters = (Decimal("12.50"), datetime.datetime(2026, 1, 2, 3, 4, 5), "O'Brien", b"\x01\x02", None)
    run(
        recorder,
        "UPDATE [shop_order] SET [total] = ?, [placed] = ?, [name] = ?, [raw] = ? WHERE [note] = ?",
        parameters,
        in_transaction=True,
    )
    run(recorder, "SAVE TRANSACTION [s1]", kind=begin, in_transaction=True, took_ms=0.3)
    run(
        recorder,
        "INSERT INTO [shop_stock] ([product_id]) VALUES (?)",
        (7,),
        in_transaction=True,
        error=RuntimeError("Violation of UNIQUE KEY constraint '<b>UQ</b>'"),
    )
    run(recorder, "ROLLBACK TRANSACTION [s1]", kind=begin, in_transaction=True, took_ms=0.3)
    run(recorder, "COMMIT TRANSACTION", kind=begin, in_transaction=True, took_ms=0.6)
    run(other, REPORT, ("P%",), rows=12, took_ms=820, plan=PLAN_FILES[REPORT])
    run(recorder, HOSTILE, rows=1)
    return {"orders": [Order(number) for number in range(8)]}


def orders(request: Any) -> Any:
    """The page."""
    from django.shortcuts import render

    return render(request, "orders.html", do_work())


async def orders_async(request: Any) -> Any:
    """The page as an async view: its queries run in a thread, as the ORM's do."""
    from asgiref.sync import sync_to_async
    from django.shortcuts import render

    context = await sync_to_async(do_work)()
    return await sync_to_async(render)(request, "orders.html", context)


DEADLOCK = (
    "[40001] [Microsoft][ODBC Driver 18 for SQL Server][SQL Server]Transaction (Process ID 57) was deadlocked on lock "
    "resources with another process and has been chosen as the deadlock victim. Rerun the transaction. (1205) "
    "(SQLExecDirectW)"
)


def retried(request: Any, alias: str = "default") -> Any:
    """A transaction that falls to a deadlock and is tried again."""
    from mssql import errors
    from mssql.instrumentation.observer import Retry
    from mssql.instrumentation.statement import StatementKind
    from mssql.odbc import pyodbc

    recorder = make_recorder(alias)
    deadlock = pyodbc.Error("40001", DEADLOCK)
    error = errors.describe(deadlock)
    assert error is not None
    for attempt in (1, 2):
        failure: dict[str, Any] = {"error": deadlock, "handled": True} if attempt == 1 else {}
        run(recorder, "BEGIN TRANSACTION", kind=StatementKind.TRANSACTION, took_ms=1)
        run(recorder, "UPDATE [a] SET [x] = 1", in_transaction=True, took_ms=20)
        run(recorder, "UPDATE [b] SET [x] = 1", in_transaction=True, took_ms=9, **failure)
        if attempt == 1:
            recorder.retrying(Retry(error, attempt, 0.08, "transaction"))
    run(recorder, "COMMIT TRANSACTION", kind=StatementKind.TRANSACTION, in_transaction=True, took_ms=1)
    return quiet(request)


def quiet(request: Any) -> Any:
    """A page without statements."""
    from django.http import HttpResponse

    return HttpResponse("<!doctype html><html><body><p>Nothing.</p></body></html>")


def fake_estimate(alias: str, sql: str, parameters: Any, *, database: str = "") -> Any:
    """The server's answer to SHOWPLAN_XML."""
    from mssql.instrumentation.plan_capture import CapturedPlan, PlanUnavailable

    if sql not in PLAN_FILES:
        raise PlanUnavailable(
            f"This login may not see execution plans in database {database}.", "GRANT SHOWPLAN TO [shop];"
        )
    return CapturedPlan(read_plan(PLAN_FILES[sql]), "estimated")


def fake_report(alias: str, session_id: int | None, seen: datetime) -> Any:
    """The graph that the server wrote: of the alias "reports" it has come already."""
    from mssql.instrumentation.deadlock import parse
    from mssql.instrumentation.deadlock_capture import DeadlockReport, Sighting

    if alias != "reports":
        return None
    (deadlock,) = parse((DEADLOCKS / "flanksource_key-lookup-two-process.xml").read_bytes())
    return DeadlockReport(Sighting(alias, session_id, os.getpid(), seen), deadlock)


def prepare() -> None:
    """Set Django up, with the fake server."""
    import django

    django.setup()
    from django.core.management import call_command

    from mssql.debug_panel import views
    from mssql.instrumentation import plan_capture, recorder

    plan_capture.estimate = fake_estimate
    views.find_report = fake_report
    vars(recorder)["time"] = CLOCK
    call_command("migrate", verbosity=0)


def __getattr__(name: str) -> Any:
    # The URLconf: read by Django after it is set up.
    if name == "urlpatterns":
        from debug_toolbar.toolbar import debug_toolbar_urls
        from django.urls import path

        return [
            path("favicon.ico", quiet),
            path("", orders),
            path("async/", orders_async),
            path("quiet/", quiet),
            path("retried/", retried),
            path("deadlock/", retried, {"alias": "reports"}),
            *debug_toolbar_urls(),
        ]
    raise AttributeError(name)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


def main() -> None:
    store = sys.argv[2] if len(sys.argv) > 2 else "MemoryStore"
    # Threads have connections of their own: the database store wants a file.
    configure(store, database=os.environ.get("SITE_DATABASE", ":memory:"))
    prepare()
    from django.contrib.staticfiles.handlers import StaticFilesHandler
    from django.core.wsgi import get_wsgi_application

    server = make_server(
        "127.0.0.1",
        int(sys.argv[1]),
        StaticFilesHandler(get_wsgi_application()),
        server_class=_Server,
        handler_class=_Quiet,
    )
    print(f"serving on {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    # One module, under its own name: Django imports it a second time as the URLconf.
    from tests.debug_panel.site import main as run_site

    run_site()
