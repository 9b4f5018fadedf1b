"""The example in a real browser: its pages, the panel, a plan, the traces."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

ROOT = Path(__file__).resolve().parents[2]
ARTEFACTS = ROOT / "var" / "screenshots"
"""Where the screenshots stay after the run."""

START_SECONDS = 150
SHADOW = "return document.getElementById('djDebugRoot')?.shadowRoot?.querySelector(arguments[0])"


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
    process = subprocess.Popen(
        [sys.executable, "-m", "example_project.demo", "--port", "0"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    seen = []
    assert process.stdout is not None
    for line in process.stdout:
        seen.append(line)
        opened = re.search(r"The shop is open at (http://\S+?)/$", line.strip())
        if opened:
            break
    else:
        pytest.fail("the demo did not start:\n" + "".join(seen))
    yield opened.group(1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "Stopped." in output


@pytest.fixture
def shadow(browser: webdriver.Chrome):
    """Find an element inside the toolbar's shadow root, waiting for it."""

    def find(selector: str, seconds: float = 60):
        return WebDriverWait(browser, seconds).until(
            lambda driver: driver.execute_script(SHADOW, selector), f"nothing matches {selector}"
        )

    return find


def _screenshot(browser: webdriver.Chrome, name: str) -> None:
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    browser.save_screenshot(str(ARTEFACTS / f"{name}.png"))


def _complaints(browser: webdriver.Chrome) -> list[str]:
    """What the console holds of errors, CSP violations among them."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.mark.browser
@pytest.mark.timeout(START_SECONDS + 300)
def test_the_order_list_opens_with_its_panel_and_a_plan(demo: str, browser: webdriver.Chrome, shadow) -> None:
    _open_panel(browser, shadow, f"{demo}/orders/")
    assert browser.find_element(By.TAG_NAME, "h1").text == "Orders"
    statements = browser.execute_script(
        "return document.getElementById('djDebugRoot').shadowRoot.querySelectorAll('[data-mssql-statement]').length"
    )
    assert statements > 40
    form = shadow("form[data-mssql-plan]")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", form)
    form.find_element(By.CSS_SELECTOR, "button, input[type=submit]").click()
    shadow("[data-mssql-operator]")
    _screenshot(browser, "orders-panel-plan")
    assert _complaints(browser) == []


def _open_panel(browser: webdriver.Chrome, shadow, url: str) -> None:
    browser.get(url)
    _show_panel(shadow)


def _show_panel(shadow) -> None:
    """Open the panel on the page that is shown, and wait until its script listens.

    The toolbar shows a panel's HTML before it has loaded the panel's script. A form that is sent in between goes to
    the server as an ordinary form and leaves the page. The script adds the style sheet in the step that attaches it.
    """
    if (show := shadow("#djShowToolBarButton")).is_displayed():
        show.click()
    shadow("#djdt-SQLServerPanel a").click()
    shadow("[data-mssql-statement]")
    shadow("link[data-mssql-styles]")


def _text(browser: webdriver.Chrome, shadow, selector: str) -> str:
    """All text of an element, shown or not."""
    return browser.execute_script("return arguments[0].textContent", shadow(selector))


def _open_plan(browser: webdriver.Chrome, shadow, words: str) -> None:
    """Open the plan of the first statement whose SQL has these words."""
    found = browser.execute_script(
        "return [...document.getElementById('djDebugRoot').shadowRoot.querySelectorAll('[data-mssql-statement]')]"
        ".find((statement) => statement.textContent.includes(arguments[0]))",
        words,
    )
    browser.execute_script("arguments[0].querySelector('form[data-mssql-plan] button').click()", found)
    shadow("[data-mssql-operator]")


@pytest.mark.browser
@pytest.mark.timeout(START_SECONDS + 300)
def test_the_order_lists_loops_are_named_with_their_line(
    demo: str, browser: webdriver.Chrome, shadow
) -> None:
    _open_panel(browser, shadow, f"{demo}/orders/")
    text = _text(browser, shadow, "[data-mssql-panel]")
    assert re.search(r"N\+1:\s+\d+ × SELECT \[shop_product\]", text)
    assert "add select_related()" in text
    assert "shop/orders.html:20" in text


@pytest.mark.browser
@pytest.mark.timeout(START_SECONDS + 300)
def test_the_reports_actual_plan_has_estimated_and_actual_rows(
    demo: str, browser: webdriver.Chrome, shadow
) -> None:
    report = f"{demo}/reports/sales/"
    _open_panel(browser, shadow, report)
    shadow("[data-mssql-actual]").click()
    _open_panel(browser, shadow, report)
    _open_plan(browser, shadow, "GROUP BY [shop_category].[name]")
    assert "actual plan" in _text(browser, shadow, ".mp-origin")
    root = _text(browser, shadow, '[data-mssql-operator="0"]')
    assert "Estimated rows: 6 × 1" in root
    assert "Actual rows: 6 in 1" in root
    assert _complaints(browser) == []


@pytest.mark.browser
@pytest.mark.timeout(START_SECONDS + 300)
def test_a_missing_index_that_is_made_is_used_by_the_next_plan(
    demo: str, environment: dict[str, str], browser: webdriver.Chrome, shadow
) -> None:
    stock, low = f"{demo}/stock/", "[quantity] < "
    _open_panel(browser, shadow, stock)
    _open_plan(browser, shadow, low)
    ddl = _text(browser, shadow, "#mp-panel-indexes pre")
    (index,) = re.findall(r"CREATE NONCLUSTERED INDEX \[(\w+)\]", ddl)
    _manage(environment, f"connection.cursor().execute({ddl!r})")
    try:
        _open_panel(browser, shadow, stock)
        _open_plan(browser, shadow, low)
        assert index in _text(browser, shadow, "[data-mssql-canvas]")
        assert "The optimizer asked for no index." in _text(browser, shadow, "#mp-panel-indexes")
    finally:
        _manage(environment, f"connection.cursor().execute('DROP INDEX [{index}] ON [shop_stock]')")


def _manage(environment: dict[str, str], code: str) -> None:
    subprocess.run(
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
        timeout=240,
    )


@pytest.mark.browser
@pytest.mark.timeout(START_SECONDS + 300)
def test_a_deadlock_is_survived_and_drawn_in_the_panel(demo: str, browser: webdriver.Chrome, shadow) -> None:
    browser.get(f"{demo}/stock/")
    browser.find_element(By.NAME, "retry").click()
    WebDriverWait(browser, 60).until(lambda driver: driver.title.startswith("A deadlock"))
    assert "1205: deadlock" in browser.find_element(By.TAG_NAME, "main").text
    assert [cell.text for cell in browser.find_elements(By.CSS_SELECTOR, "main .status")] == ["committed"] * 2
    _show_panel(shadow)

    def drawn(driver: webdriver.Chrome):
        """The drawing, or one more click: the server writes the graph some seconds after the error."""
        if not (drawing := driver.execute_script(SHADOW, "[data-mssql-deadlock] svg")):
            driver.execute_script("arguments[0].click()", shadow("form[action$='/deadlock/'] button"))
        return drawing

    drawing = WebDriverWait(browser, 120, poll_frequency=1).until(drawn, "the deadlock's graph did not come")
    words = browser.execute_script("return arguments[0].textContent", drawing)
    assert "victim: rolled back" in words
    assert "UPDATE [shop_stock]" in words
    _screenshot(browser, "deadlock")
    assert _complaints(browser) == []


@pytest.mark.browser
@pytest.mark.timeout(START_SECONDS + 300)
def test_the_traces_page_draws_the_request_that_came_before(demo: str, browser: webdriver.Chrome) -> None:
    browser.get(f"{demo}/reports/sales/")
    assert len(browser.find_elements(By.CSS_SELECTOR, ".bars tbody tr")) > 20

    def listed(driver: webdriver.Chrome):
        """The link to the trace; on a slow machine the spans may arrive after the page was made."""
        driver.get(f"{demo}/traces/")
        return driver.find_elements(By.PARTIAL_LINK_TEXT, "reports/sales")

    (link, *_) = WebDriverWait(browser, 60, poll_frequency=1).until(listed, "the trace did not come")
    _screenshot(browser, "traces")
    link.click()
    rows = browser.find_elements(By.CSS_SELECTOR, "details.span")
    assert len(rows) >= 4
    rows[1].click()
    assert "db.query.text" in rows[1].text
    _screenshot(browser, "trace")
    assert _complaints(browser) == []
