"""The panel: what it collects, when, and what it shows first."""

# The toolbar's own functions have no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import time
from typing import Any

from debug_toolbar import settings as toolbar_settings
from debug_toolbar.panels import Panel
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.urls import URLPattern, path
from django.utils.translation import ngettext

from mssql.instrumentation.recorder import register_observer

from . import store, views
from .collector import Collector, observer
from .formatting import format_sql
from .signing import sign
from .stats import summarise

ACTUAL_PLANS_COOKIE = "djdtMSSQLActualPlans"
"""Set by the panel's own switch; DEBUG_TOOLBAR_CONFIG["MSSQL_ACTUAL_PLANS"] is the default."""


class SQLServerPanel(Panel):
    """SQL Server's own view of a request: statements, groups, transactions, errors, plans."""

    title = "SQL Server"
    template = "mssql_debug_panel/panel.html"
    is_async = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.collector = Collector()

    @classmethod
    def ready(cls) -> None:
        """Show every connection of this process to the collectors, before the first one is opened."""
        register_observer(observer)

    @classmethod
    def get_urls(cls) -> list[URLPattern]:
        return [
            path("mssql/plan/", views.plan, name="mssql_plan"),
            path("mssql/plan/file/", views.plan_file, name="mssql_plan_file"),
            path("mssql/deadlock/", views.deadlock, name="mssql_deadlock"),
            path("mssql/plan/compare/", views.plan_comparison, name="mssql_plan_comparison"),
        ]

    @property
    def nav_subtitle(self) -> str:
        stats = self.get_stats()
        if "count" not in stats:
            return ""
        parts = [
            ngettext("%d query", "%d queries", stats["count"]) % stats["count"],
            f"{stats['duration_ms']:.0f} ms",
        ]
        if stats["errors"]:
            parts.append(ngettext("%d error", "%d errors", stats["errors"]) % stats["errors"])
        findings = stats["findings"] + stats["n_plus_one"]
        if findings:
            parts.append(ngettext("%d finding", "%d findings", findings) % findings)
        return ", ".join(parts)

    @property
    def scripts(self) -> list[str]:
        return [*super().scripts, static("mssql_debug_panel/panel.js")]

    def enable_instrumentation(self) -> None:
        cookie = self.toolbar.request.COOKIES.get(ACTUAL_PLANS_COOKIE)
        default = bool(toolbar_settings.get_config().get("MSSQL_ACTUAL_PLANS", False))
        self.collector.actual_plans = default if cookie is None else cookie == "on"
        self.collector.started_ns = time.time_ns()
        self.collector.start()

    def disable_instrumentation(self) -> None:
        self.collector.stop()

    def generate_stats(self, request: HttpRequest, response: HttpResponse) -> None:
        elapsed_ms = (time.time_ns() - self.collector.started_ns) / 1e6
        stats = summarise(
            self.collector.statements,
            retries=self.collector.retries,
            dropped=self.collector.dropped,
            elapsed_ms=elapsed_ms,
            slow_ms=toolbar_settings.get_config()["SQL_WARNING_THRESHOLD"],
        )
        stats["actual_plans"] = self.collector.actual_plans
        stats["findings"] = 0
        for record in stats["statements"]:
            plan = self.collector.plans.get(record["id"])
            if plan is not None:
                record.update(views.plan_summary(plan))
                stats["findings"] += len(record["findings"])
                store.save_plan(self.toolbar, record["id"], plan, record["plan_source"])
        self.record_stats(stats)

    def generate_server_timing(self, request: HttpRequest, response: HttpResponse) -> None:
        stats = self.get_stats()
        title = f"SQL Server {stats.get('count', 0)} queries"
        self.record_server_timing("sql_time", title, stats.get("duration_ms", 0))

    @property
    def content(self) -> str:
        stats = self.get_stats()
        groups = {group["number"]: group for group in stats.get("groups", ())}
        statements = []
        for record in stats.get("statements", ()):
            # A copy: the content may be rendered more than once from the same stats.
            item = {**record, "formatted": format_sql(record["sql"])}
            item["similar"] = groups.get(record.get("group"))
            item["signed"] = sign(self.toolbar.request_id, record["id"])
            statements.append(item)
        return render_to_string(
            self.template,
            {**stats, "statements": statements, "cookie": ACTUAL_PLANS_COOKIE},
        )
