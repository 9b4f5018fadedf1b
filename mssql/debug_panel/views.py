"""The panel's views: a statement's plan, the plan as a file, two plans compared. They run no SQL that a client sent."""

# The toolbar's own functions have no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from debug_toolbar.decorators import render_with_toolbar_language, require_show_toolbar
from debug_toolbar.forms import SignedDataForm
from debug_toolbar.toolbar import DebugToolbar
from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, JsonResponse
from django.template.loader import render_to_string
from django.utils.safestring import mark_safe
from django.views.decorators.csrf import csrf_exempt

from mssql.instrumentation import plan_capture
from mssql.instrumentation.deadlock_capture import find_report
from mssql.instrumentation.deadlock_svg import to_svg as deadlock_svg
from mssql.instrumentation.plan_parameters import Declared
from mssql.showplan import Plan, ShowplanError, compare, findings, parse, to_svg

from . import store
from .plan_context import comparison_context, plan_context

View = Callable[[HttpRequest], HttpResponse]


def _view(function: View) -> View:
    """A view of the toolbar: only for those who may see it, in its language; its requests are signed."""
    view: View = csrf_exempt(login_not_required(require_show_toolbar(render_with_toolbar_language(function))))
    return view


class _Refused(Exception):
    """Why a request is answered with 400."""


@lru_cache(maxsize=32)
def read_plan(xml: str) -> Plan:
    """The plan of an XML text; the last few are kept, as each is asked for by several views."""
    return parse(xml)


def plan_summary(xml: str) -> dict[str, Any]:
    """What the list of statements says of a plan that was taken."""
    try:
        read = read_plan(xml)
    except ShowplanError:
        return {"findings": []}
    reads = [value for operator in read.operators() if (value := operator.logical_reads) is not None]
    times = [item for statement in read.statements if (item := statement.times)]
    return {
        "findings": [{"title": item.title, "severity": str(item.severity)} for item in findings(read)],
        "logical_reads": sum(reads) if reads else None,
        "cpu_ms": sum(item.cpu_ms for item in times) if times else None,
    }


def _signed(request: HttpRequest, field: str = "signed") -> tuple[Any, dict[str, Any]]:
    """The stored toolbar and the statement that the signed data names."""
    data = request.GET if request.method == "GET" else request.POST
    form = SignedDataForm({"signed": data.get(field, "")})
    if not form.is_valid():
        raise _Refused("Invalid signature")
    verified = form.verified_data()
    toolbar = DebugToolbar.fetch(str(verified.get("request_id", "")), panel_id=store.PANEL_ID)
    if toolbar is None:
        raise _Refused("Data for this panel isn't available anymore. Please reload the page and retry.")
    statements = toolbar.get_panel_by_id(store.PANEL_ID).get_stats().get("statements", ())
    for statement in statements:
        if statement["id"] == verified.get("statement_id"):
            return toolbar, statement
    raise _Refused("There is no such statement in this request.")


def _plan_of(toolbar: Any, statement: dict[str, Any]) -> tuple[str, str]:
    """The statement's plan and its source: the one that was captured, else an estimated one, made now."""
    stored = store.load_plan(toolbar, statement["id"])
    if stored is not None:
        return stored
    captured = plan_capture.estimate(
        statement["alias"],
        statement["sql"],
        [Declared(*item) for item in statement["parameters"]],
        database=statement["database"],
    )
    store.save_plan(toolbar, statement["id"], captured.xml, captured.source)
    return captured.xml, captured.source


def _answer(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    """JSON for the toolbar's page; a page of its own for a browser without script."""
    content = render_to_string(template, context)
    if "text/html" in request.headers.get("Accept", ""):
        return HttpResponse(render_to_string("mssql_debug_panel/page.html", {"content": mark_safe(content)}))
    return JsonResponse({"content": content})


def _failure(request: HttpRequest, message: str, advice: str = "") -> HttpResponse:
    return _answer(request, "mssql_debug_panel/failure.html", {"message": message, "advice": advice})


@_view
def plan(request: HttpRequest) -> HttpResponse:
    """A statement's plan: drawn, judged, in tabs."""
    try:
        toolbar, statement = _signed(request)
    except _Refused as reason:
        return HttpResponseBadRequest(str(reason), content_type="text/plain")
    try:
        xml, source = _plan_of(toolbar, statement)
        read = read_plan(xml)
    except plan_capture.PlanUnavailable as reason:
        return _failure(request, reason.message, reason.advice)
    except (DatabaseError, ShowplanError) as error:
        return _failure(request, str(error))
    context = plan_context(read, xml, source, statement, toolbar)
    context["svg"] = mark_safe(to_svg(read, found=context["found"]))
    return _answer(request, "mssql_debug_panel/plan.html", context)


@_view
def deadlock(request: HttpRequest) -> HttpResponse:
    """The graph of the deadlock that a statement fell to."""
    try:
        _toolbar, statement = _signed(request)
    except _Refused as reason:
        return HttpResponseBadRequest(str(reason), content_type="text/plain")
    report = find_report(
        statement["alias"], statement["session_id"], datetime.fromtimestamp(statement["ended_at"], UTC)
    )
    if report is None:
        return _failure(
            request,
            "No graph of this deadlock has arrived. It takes the server some seconds to write it: try again.",
            "Reading it needs VIEW SERVER PERFORMANCE STATE (up to SQL Server 2019: VIEW SERVER STATE).",
        )
    context = {
        "statement": statement,
        "sentences": report.deadlock.sentences(),
        "svg": mark_safe(deadlock_svg(report.deadlock)),
    }
    return _answer(request, "mssql_debug_panel/deadlock.html", context)


@_view
def plan_file(request: HttpRequest) -> HttpResponse:
    """The plan as a .sqlplan file, which SQL Server Management Studio opens."""
    try:
        toolbar, statement = _signed(request)
        xml, _source = _plan_of(toolbar, statement)
    except (_Refused, plan_capture.PlanUnavailable, DatabaseError) as reason:
        return HttpResponseBadRequest(str(reason), content_type="text/plain")
    # Management Studio writes its files in UTF-16; a declaration in the text would say something else.
    response = HttpResponse(xml.encode("utf-16"), content_type="application/xml")
    response["Content-Disposition"] = f'attachment; filename="statement-{statement["id"]}.sqlplan"'
    return response


@_view
def plan_comparison(request: HttpRequest) -> HttpResponse:
    """Two plans of the same or of two requests, side by side."""
    try:
        first_toolbar, first = _signed(request)
        second_toolbar, second = _signed(request, "other")
    except _Refused as reason:
        return HttpResponseBadRequest(str(reason), content_type="text/plain")
    try:
        first_plan = read_plan(_plan_of(first_toolbar, first)[0])
        second_plan = read_plan(_plan_of(second_toolbar, second)[0])
    except plan_capture.PlanUnavailable as reason:
        return _failure(request, reason.message, reason.advice)
    except (DatabaseError, ShowplanError) as error:
        return _failure(request, str(error))
    same_request = first_toolbar.request_id == second_toolbar.request_id
    context = comparison_context(compare(first_plan, second_plan), first, second, same_request=same_request)
    context["first_svg"] = mark_safe(to_svg(first_plan, title="First plan"))
    context["second_svg"] = mark_safe(to_svg(second_plan, title="Second plan"))
    return _answer(request, "mssql_debug_panel/comparison.html", context)
