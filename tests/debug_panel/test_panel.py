"""The panel over HTTP: what it lists, what a click answers, and what it refuses."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys

import html5lib
import pytest
from lxml import etree

from mssql.showplan import parse

from .conftest import ROOT, Site, signed, statements


def fragment(content: str) -> None:
    """Fails where the markup is not what a validator accepts."""
    parser = html5lib.HTMLParser(strict=True)
    parser.parse(f"<!doctype html><html><head><title>t</title></head><body>{content}</body></html>")


def text(markup: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def test_lists_each_statement_with_its_facts(any_site: Site) -> None:
    content = any_site.panel()
    found = statements(content)
    assert len(found) == 17
    fragment(content)
    first = text(found["1"])
    assert "SELECT" in first
    assert "50 rows" in first
    assert "420.00 ms" in first
    assert "default (shop), session 57" in first
    assert "site.py:" in first
    assert "820.00 ms" in text(found["8"])
    assert "reports" in text(found["8"])


def test_shows_parameters_as_they_travel(site: Site) -> None:
    update = text(statements(site.panel())["3"])
    for expected in (
        "numeric(4, 2) 12.50",
        "datetime2(7) '2026-01-02T03:04:05.000000'",
        "nvarchar(4000) N'O''Brien'",
        "varbinary(8000) 0x0102",
        "NULL",
    ):
        assert expected in update


def test_groups_transactions_and_savepoints(site: Site) -> None:
    found = statements(site.panel())
    assert "none (autocommit)" in text(found["1"])
    for identifier in "234567":
        assert "no. 1" in text(found[identifier])
    assert "1 savepoint set" in text(found["5"])
    assert "none (autocommit)" in text(found["8"])


def test_tells_errors(site: Site) -> None:
    insert = statements(site.panel())["5"]
    assert "Violation of UNIQUE KEY constraint '<b>UQ</b>'" in text(insert)
    assert "<b>UQ</b>" not in insert


def test_a_retry_says_what_it_cost(site: Site) -> None:
    content = site.panel("/retried/")
    fragment(content)
    shown = text(content)
    assert "1 retry waited 80 ms, repeated 30 ms of work" in shown
    assert (
        "Attempt 1 of the transaction on default ended in deadlock (error 1205); tried again after 80 ms."
        in shown
    )
    victim = statements(content)["3"]
    assert "error 1205" in text(victim)
    assert "tried again" in text(victim)


def test_a_deadlock_can_be_looked_at(site: Site) -> None:
    victim = statements(site.panel("/retried/"))["3"]
    action = re.search(r'action="([^"]+)" data-mssql-window', victim)
    assert action
    status, answer, _ = site.post(action[1], signed=signed(victim))
    assert status == 200
    assert "No graph of this deadlock has arrived" in text(json.loads(answer)["content"])


def test_names_the_line_that_makes_an_n_plus_one(site: Site) -> None:
    content = site.panel()
    finding = text(content[: content.index("data-mssql-list")])
    assert "N+1: 8 × SELECT" in finding
    assert "4 of them with the same values" in finding
    assert "orders.html:8" in finding
    assert "{{ order.customer }}" in finding
    assert "select_related()" in finding
    assert "shop_customer" in finding


def test_everything_is_escaped(site: Site) -> None:
    content = site.panel()
    assert "<script>" not in content
    assert "onerror=alert" not in re.sub(r"&lt;img[^&]*&gt;", "", content)
    assert "<img" not in content
    assert "alert(1)" in text(statements(content)["9"])


def test_summary_in_the_toolbar(site: Site) -> None:
    _status, page, headers = site.get("/")
    assert re.search(r"13 queries, \d+ ms, 1 error, 1 finding", page)
    assert "SQLServerPanel_sql_time;dur=" in headers["Server-Timing"]


def test_a_quiet_page_says_so(site: Site) -> None:
    content = site.panel("/quiet/")
    fragment(content)
    assert "No statement was sent" in text(content)


def test_a_click_draws_the_plan(any_site: Site) -> None:
    markup = statements(any_site.panel())["1"]
    action = re.search(r'action="([^"]+)" data-mssql-plan', markup)
    assert action
    status, answer, headers = any_site.post(action[1], signed=signed(markup))
    assert (status, headers["Content-Type"]) == (200, "application/json")
    content = json.loads(answer)["content"]
    fragment(content)
    assert len(re.findall(r"data-mssql-operator=", content)) == 6
    shown = text(content)
    for expected in ("estimated plan", "Clustered Index Scan", "dbo.Posts.PK_Posts_Id", "CREATE NONCLUSTERED INDEX",
                     "What to do:", "Waits", "Compare with"):  # fmt: skip
        assert expected in shown
    assert "style=" not in content
    assert "<script" not in content


def test_the_plan_is_a_page_of_its_own_without_script(site: Site) -> None:
    status, answer, headers = site.post(
        "/__debug__/mssql/plan/", accept="text/html,*/*", signed=signed(statements(site.panel())["1"])
    )
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    html5lib.HTMLParser(strict=True).parse(answer)
    assert "panel.css" in answer


def test_the_file_opens_in_management_studio(any_site: Site) -> None:
    status, answer, headers = any_site.post(
        "/__debug__/mssql/plan/file/", signed=signed(statements(any_site.panel())["1"])
    )
    assert status == 200
    assert headers["Content-Disposition"] == 'attachment; filename="statement-1.sqlplan"'
    assert len(list(parse(answer).operators())) == 6


def test_two_plans_are_compared(any_site: Site) -> None:
    found = statements(any_site.panel())
    status, answer, _ = any_site.post(
        "/__debug__/mssql/plan/compare/", signed=signed(found["1"]), other=signed(found["8"])
    )
    assert status == 200
    content = json.loads(answer)["content"]
    fragment(content)
    assert "The plans differ in shape" in text(content)
    assert "Elapsed time 9.42 s 32 ms × 0.0034" in text(content)


def test_a_missing_permission_says_what_to_grant(site: Site) -> None:
    status, answer, _ = site.post("/__debug__/mssql/plan/", signed=signed(statements(site.panel())["3"]))
    assert status == 200
    shown = text(json.loads(answer)["content"])
    assert "may not see execution plans in database shop" in shown
    assert "GRANT SHOWPLAN" in shown


@pytest.mark.parametrize("path", ["plan/", "plan/file/", "plan/compare/"])
@pytest.mark.parametrize(
    "data", [{}, {"signed": "forged"}, {"signed": '{"sql": "SELECT 1"}:x', "sql": "DROP TABLE t"}]
)
def test_unsigned_requests_are_refused(site: Site, path: str, data: dict[str, str]) -> None:
    status, answer, _ = site.post(f"/__debug__/mssql/{path}", **data)
    assert (status, answer) == (400, "Invalid signature")


def test_signed_data_of_another_statement_or_request_does_not_fit(site: Site) -> None:
    signature = signed(statements(site.panel())["1"])
    status, _, _ = site.post("/__debug__/mssql/plan/", signed=signature.replace('"1"', '"2"'))
    assert status == 400


def test_a_forgotten_request_is_refused(site: Site) -> None:
    signature = signed(statements(site.panel())["1"])
    for _ in range(26):
        site.get("/quiet/")
    status, answer, _ = site.post("/__debug__/mssql/plan/", signed=signature)
    assert status == 400
    assert "isn't available anymore" in answer


def test_history_shows_earlier_requests(site: Site) -> None:
    first = site.get("/")[2]["djdt-request-id"]
    site.get("/quiet/")
    status, answer, _ = site.get(f"/__debug__/history_sidebar/?request_id={first}&exclude_history=True")
    assert status == 200
    assert "13 queries" in json.loads(answer)["SQLServerPanel"]["button"]
    assert len(statements(site.panel_of(first))) == 17


def test_the_switch_takes_actual_plans(site: Site) -> None:
    site.cookies["djdtMSSQLActualPlans"] = "on"
    content = site.panel()
    found = statements(content)
    assert "Actual plan" in text(found["1"])
    assert "Actual plan" not in text(found["3"])
    assert "findings in plans" in text(content)
    _, answer, _ = site.post("/__debug__/mssql/plan/", signed=signed(found["1"]))
    assert "The plan of this very execution" in text(json.loads(answer)["content"])


def test_plans_of_other_requests_are_not_mixed(site: Site) -> None:
    site.cookies["djdtMSSQLActualPlans"] = "on"
    with_plan = statements(site.panel())
    site.cookies.clear()
    without = statements(site.panel())
    _, first, _ = site.post("/__debug__/mssql/plan/", signed=signed(with_plan["1"]))
    _, second, _ = site.post("/__debug__/mssql/plan/", signed=signed(without["1"]))
    assert "actual plan" in text(json.loads(first)["content"])
    assert "estimated plan" in text(json.loads(second)["content"])


ASYNCHRONOUS = """
import asyncio
from tests.debug_panel import site
site.configure()
site.prepare()
from django.test import AsyncClient
async def main():
    pages = await asyncio.gather(*(AsyncClient().get(path) for path in ("/async/", "/quiet/", "/async/")))
    for page in pages:
        panel = await AsyncClient().get(
            "/__debug__/render_panel/",
            {"request_id": page.headers["djdt-request-id"], "panel_id": "SQLServerPanel"},
        )
        print(panel.json()["content"].count("data-mssql-statement="))
asyncio.run(main())
"""


def test_async_views_are_told_apart() -> None:
    """Three requests at once in one event loop: each sees its own statements only."""
    result = subprocess.run(
        [sys.executable, "-c", ASYNCHRONOUS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"},
    )
    assert result.stdout.split() == ["17", "0", "17"], result.stderr


def test_icons_and_drawing_are_well_formed(site: Site) -> None:
    _, answer, _ = site.post("/__debug__/mssql/plan/", signed=signed(statements(site.panel())["8"]))
    (drawing,) = re.findall(r"<svg [^>]*class=\"sp-plan\".*?</svg>", json.loads(answer)["content"], re.DOTALL)
    etree.fromstring(drawing)
