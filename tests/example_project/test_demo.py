"""The example in a real browser: its pages, the panel, a plan, the traces."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.browser import ToolbarPage

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 600

pytestmark = [pytest.mark.browser, pytest.mark.timeout(START_SECONDS + 600)]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """For the demo's processes: data of their own."""
    environment = {
        **os.environ,
        "DEMO_STATE_DIR": str(tmp_path_factory.mktemp("demo")),
        "PYTHONUNBUFFERED": "1",
    }
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "DJANGO_SETTINGS_MODULE"):
        environment.pop(name, None)
    return environment


@pytest.fixture(scope="module")
def demo(environment: dict[str, str]) -> Iterator[str]:
    """`make demo` on a free port; the address of its site."""
    # To a file: a pipe that nobody reads would stop the demo when it is full.
    said = Path(environment["DEMO_STATE_DIR"]) / "output.txt"
    with said.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "example_project.demo", "--port", "0"],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield _address(process, said)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=300) == 0, said.read_text()
        assert "Stopped." in said.read_text()
    finally:
        process.kill()
        process.wait()


def _address(process: subprocess.Popen[bytes], said: Path) -> str:
    """What the demo says at last: where the shop is open."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        opened = re.search(r"The shop is open at (http://\S+?)/\n", said.read_text())
        if opened:
            return opened.group(1)
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail("the demo did not start:\n" + said.read_text())
        time.sleep(0.2)


class Page(ToolbarPage):
    """A page of the demo, with its toolbar."""

    def open(self, url: str) -> None:
        self.driver.get(url)
        self.open_panel()

    def open_plan(self, words: str) -> None:
        """Open the plan of the first statement whose SQL has these words."""
        statement = self.wait(
            lambda: self.script(
                "return all('[data-mssql-statement]').find((item) => item.textContent.includes(arguments[0]))"
                "?.dataset.mssqlStatement",
                words,
            ),
            f"a statement with {words}",
        )
        self.click(f'[data-mssql-statement="{statement}"] form[data-mssql-plan] button')
        self.wait(lambda: self.shown("[data-mssql-operator]"), "the plan")

    def all_text(self, selector: str) -> str:
        """All text of an element, shown or not."""
        self.element(selector)
        text: str = self.script("return one(arguments[0]).textContent", selector)
        return text

    def press(self, selector: str) -> None:
        """Click an element outside of the toolbar, as soon as it takes a click."""

        def pressed() -> bool:
            self.driver.find_element(By.CSS_SELECTOR, selector).click()
            return True

        self.wait(pressed, f"press {selector}")

    def find(self, selector: str) -> list[str]:
        """The texts of elements outside of the toolbar."""
        texts: list[str] = self.driver.execute_script(
            "return [...document.querySelectorAll(arguments[0])].map((item) => item.innerText)", selector
        )
        return texts


@pytest.fixture
def page(browser: webdriver.Chrome) -> Iterator[Page]:
    page = Page(browser)
    yield page
    assert page.complaints() == []


def test_the_order_list_opens_with_its_panel_and_a_plan(demo: str, page: Page) -> None:
    page.open(f"{demo}/orders/")
    assert page.find("h1") == ["Orders"]
    assert page.count("[data-mssql-statement]") > 40
    page.click("form[data-mssql-plan] button")
    page.wait(lambda: page.shown("[data-mssql-operator]"), "the plan")
    page.shoot("orders-panel-plan")


def test_the_order_lists_loops_are_named_with_their_line(demo: str, page: Page) -> None:
    page.open(f"{demo}/orders/")
    text = page.all_text("[data-mssql-panel]")
    assert re.search(r"N\+1:\s+\d+ × SELECT \[shop_product\]", text)
    assert "add select_related()" in text
    assert "shop/orders.html:20" in text


def test_the_reports_actual_plan_has_estimated_and_actual_rows(demo: str, page: Page) -> None:
    report = f"{demo}/reports/sales/"
    page.open(report)
    page.click("[data-mssql-actual]")
    page.wait(lambda: page.script("return document.cookie.includes('djdtMSSQLActualPlans=on')"), "the cookie")
    page.open(report)
    page.open_plan("GROUP BY [shop_category].[name]")
    assert "actual plan" in page.all_text(".mp-origin")
    root = page.all_text('[data-mssql-operator="0"]')
    assert "Estimated rows: 6 × 1" in root
    assert "Actual rows: 6 in 1" in root


def test_a_missing_index_that_is_made_is_used_by_the_next_plan(
    demo: str, environment: dict[str, str], page: Page
) -> None:
    stock, low = f"{demo}/stock/", "[quantity] < "
    page.open(stock)
    page.open_plan(low)
    ddl = page.all_text("#mp-panel-indexes pre")
    (index,) = re.findall(r"CREATE NONCLUSTERED INDEX \[(\w+)\]", ddl)
    _manage(environment, f"connection.cursor().execute({ddl!r})")
    try:
        page.open(stock)
        page.open_plan(low)
        assert index in page.all_text("[data-mssql-canvas]")
        assert "The optimizer asked for no index." in page.all_text("#mp-panel-indexes")
    finally:
        _manage(environment, f"connection.cursor().execute('DROP INDEX [{index}] ON [shop_stock]')")


def _manage(environment: dict[str, str], code: str) -> str:
    """What the code prints in Django's shell."""
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "example_project.manage",
            "shell",
            "-c",
            f"from django.db import connection\n{code}",
        ],
        cwd=ROOT,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=600,
    ).stdout


VISITOR = """
from django.core.management import call_command
from example_project.shop.models import Order, Stock
from example_project.shop.services import collide_transfers

first, second = Stock.objects.order_by("pk")[:2]
Stock.objects.filter(pk=first.pk).update(quantity=0)
for outcome in collide_transfers(first.pk, second.pk, retry=True):
    print(outcome.succeeded, outcome.errors)
Stock.objects.filter(pk=first.pk).update(quantity=first.quantity)
Order.objects.earliest("pk").delete()
call_command("load_shop")
"""


def test_what_a_visitor_changed_stops_nothing(demo: str, environment: dict[str, str]) -> None:
    """A warehouse without a piece to move; an order that somebody deleted before the demo is started again."""
    empty, other, loaded = _manage(environment, VISITOR).splitlines()[-3:]
    assert re.search(r"False \['.* has only 0\.'\]", empty)
    assert other == "True []"
    assert loaded == "The shop's data is there already."


def test_a_deadlock_is_survived_and_drawn_in_the_panel(demo: str, page: Page) -> None:
    page.driver.get(f"{demo}/stock/")
    page.press("button[name=retry]")
    page.wait(lambda: page.driver.title.startswith("A deadlock"), "the page of the deadlock")
    page.wait(lambda: "1205: deadlock" in str(page.find("main")), "the error")
    page.becomes(lambda: page.find("main .status"), ["committed"] * 2)
    page.open_panel()

    def drawn() -> str:
        """The drawing's words, or one more click: the server writes the graph some seconds after the error."""
        words: str | None = page.script("return one('[data-mssql-deadlock] svg')?.textContent")
        if not words:
            # By script: the answer to the click before lies over the button.
            page.script("""one("form[action$='/deadlock/'] button").click()""")
            time.sleep(0.5)
        return words or ""

    words = page.wait(drawn, "the deadlock's graph", seconds=180)
    assert "victim: rolled back" in words
    assert "UPDATE [shop_stock]" in words
    page.shoot("deadlock")


def test_the_traces_page_draws_the_request_that_came_before(demo: str, page: Page) -> None:
    page.driver.get(f"{demo}/reports/sales/")
    assert len(page.find(".bars tbody tr")) > 20

    def trace() -> str:
        """The address of the trace; on a slow machine the spans may arrive after the page was made."""
        page.driver.get(f"{demo}/traces/")
        links = page.driver.find_elements(By.PARTIAL_LINK_TEXT, "reports/sales")
        return str(links[0].get_attribute("href")) if links else ""

    address = page.wait(trace, "the trace")
    page.shoot("traces")

    def statement() -> bool:
        """Whether a statement's span was there, and could be opened."""
        page.driver.get(address)
        rows = page.driver.find_elements(By.CSS_SELECTOR, "details.span")
        selects = [row for row in rows if row.text.startswith("SELECT")]
        if len(selects) < 3:
            return False
        selects[0].click()
        return "db.query.text" in selects[0].text

    page.wait(statement, "the statements of the trace")
    page.shoot("trace")
