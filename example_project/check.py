"""`make demo-check`: visits the demo as a person's browser would, and prints a table of what it saw."""

from __future__ import annotations

import http.cookiejar
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from html import unescape

PANEL = "SQLServerPanel"


@dataclass(slots=True)
class Visit:
    """What one page showed. ``statements`` and ``operators`` come from the panel and a plan drawn in it."""

    path: str
    status: int = 0
    milliseconds: float = 0.0
    statements: int = 0
    operators: int = 0
    problem: str = ""


class Browser:
    """Requests with cookies, and the toolbar's own requests that a page's script would make."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self._cookies))

    def get(self, path: str) -> tuple[int, str, dict[str, str]]:
        return self._send(urllib.request.Request(urllib.parse.urljoin(self.address, path)))

    def post(self, path: str, data: dict[str, str]) -> tuple[int, str, dict[str, str]]:
        """Send a form, with the CSRF token that the last page with a form set as a cookie."""
        token = next((cookie.value for cookie in self._cookies if cookie.name == "csrftoken"), "") or ""
        body = urllib.parse.urlencode({**data, "csrfmiddlewaretoken": token}).encode()
        return self._send(urllib.request.Request(urllib.parse.urljoin(self.address, path), data=body))

    def _send(self, request: urllib.request.Request) -> tuple[int, str, dict[str, str]]:
        try:
            with self._opener.open(request, timeout=300) as answer:
                return answer.status, answer.read().decode(), dict(answer.headers)
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace"), dict(error.headers)


def _attribute(tag: str, name: str) -> str:
    found = re.search(rf'\b{name}="([^"]*)"', tag)
    return unescape(found.group(1)) if found else ""


def _panel(browser: Browser, page: str) -> str:
    """The panel's HTML for a page that was just fetched, as the toolbar's script asks for it."""
    toolbar = re.search(r'<div id="djDebug"[^>]*>', page)
    if not toolbar:
        raise LookupError("the page has no toolbar")
    url = _attribute(toolbar.group(), "data-render-panel-url")
    request_id = _attribute(toolbar.group(), "data-request-id")
    query = urllib.parse.urlencode({"request_id": request_id, "panel_id": PANEL})
    status, body, _ = browser.get(f"{url}?{query}")
    if status != 200:
        raise LookupError(f"the panel answered {status}")
    return json.loads(body)["content"]


def _plan(browser: Browser, panel: str) -> str:
    """The first statement's plan, asked for with the panel's own signed form."""
    form = re.search(r"<form[^>]*data-mssql-plan[^>]*>.*?</form>", panel, re.DOTALL)
    if not form:
        raise LookupError("the panel offers no plan")
    fields = {
        _attribute(tag, "name"): _attribute(tag, "value") for tag in re.findall(r"<input[^>]*>", form.group())
    }
    status, body, _ = browser.post(_attribute(form.group(), "action"), fields)
    if status != 200:
        raise LookupError(f"the plan answered {status}: {body[:200]}")
    return json.loads(body)["content"]


def _visit(browser: Browser, path: str, *, plan: bool) -> Visit:
    """Fetch a page, its panel and, where wanted, the plan of its first statement."""
    visit = Visit(path)
    started = time.perf_counter()
    visit.status, body, _ = browser.get(path)
    visit.milliseconds = (time.perf_counter() - started) * 1000
    if visit.status != 200:
        visit.problem = f"answered {visit.status}"
        return visit
    try:
        panel = _panel(browser, body)
        visit.statements = panel.count("data-mssql-statement")
        if plan:
            visit.operators = _plan(browser, panel).count("data-mssql-operator")
            if not visit.operators:
                visit.problem = "the plan has no operators"
    except (LookupError, KeyError, json.JSONDecodeError) as error:
        visit.problem = str(error)
    return visit


def _received(browser: Browser, at_least: int, seconds: float = 60.0) -> int:
    """How many spans the traces page says arrived; waits for the exporter."""
    deadline = time.monotonic() + seconds
    while True:
        _, body, _ = browser.get("/traces/")
        found = re.search(r"<strong>([\d,]+)</strong> spans", body)
        spans = int(found.group(1).replace(",", "")) if found else 0
        if spans >= at_least or time.monotonic() > deadline:
            return spans
        time.sleep(0.3)


def check(address: str) -> int:
    """Visit everything; return 0 when nothing is missing, else 1."""
    browser = Browser(address)
    visits = [
        _visit(browser, "/", plan=True),
        _visit(browser, "/orders/", plan=True),
        _visit(browser, "/orders/mended/", plan=True),
        _visit(browser, "/orders/1/", plan=True),
        _visit(browser, "/products/?q=mug", plan=True),
        _visit(browser, "/reports/sales/", plan=True),
        _visit(browser, "/checkout/", plan=True),
        _visit(browser, "/stock/", plan=True),
    ]
    problems = [f"{visit.path}: {visit.problem}" for visit in visits if visit.problem]
    problems += [f"{visit.path}: no statements in the panel" for visit in visits if not visit.statements]
    by_path = {visit.path: visit for visit in visits}
    if by_path["/orders/"].statements <= 3 * by_path["/orders/mended/"].statements:
        problems.append("the order list does not show its N+1 queries")

    status, body, _ = browser.post("/stock/collide/", {"retry": "1"})
    deadlock = status == 200 and "1205" in body and body.count("committed") == 2
    if not deadlock:
        problems.append(f"the collision answered {status} and did not show a deadlock that was survived")
    status, _, _ = browser.post(
        "/admin/login/?next=/admin/shop/order/", {"username": "admin", "password": "admin"}
    )
    admin = _visit(browser, "/admin/shop/order/", plan=False)
    visits.append(admin)
    if status != 200 or admin.status != 200 or not admin.statements:
        problems.append("the admin did not list the orders")

    statements = sum(visit.statements for visit in visits)
    spans = _received(browser, statements)
    if spans < statements:
        problems.append(f"{spans} spans arrived over OTLP for {statements} statements")
    status, body, _ = browser.get("/traces/")
    trace = re.search(r'href="(/traces/[0-9a-f]{32}/)"', body)
    waterfall = trace is not None and 'class="waterfall"' in browser.get(trace.group(1))[1]
    if not waterfall:
        problems.append("the traces page shows no waterfall")

    print(f"\n{'page':<24}{'status':>7}{'time':>10}{'statements':>12}{'plan operators':>16}")
    for visit in visits:
        print(
            f"{visit.path:<24}{visit.status:>7}{visit.milliseconds:>7.0f} ms{visit.statements:>12}"
            f"{visit.operators or '':>16}"
        )
    print(f"\nspans received over OTLP: {spans} (statements seen in the panel: {statements})")
    print(f"plans drawn: {sum(bool(visit.operators) for visit in visits)}")
    print(f"deadlock shown and survived: {'yes' if deadlock else 'no'}")
    print(f"trace drawn as a waterfall: {'yes' if waterfall else 'no'}")
    for problem in problems:
        print(f"MISSING: {problem}")
    print("\nDemo check " + ("passed." if not problems else "failed."))
    return 1 if problems else 0
