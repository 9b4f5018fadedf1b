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
from selenium.webdriver.support.ui import WebDriverWait

ROOT = Path(__file__).resolve().parents[2]
ARTEFACTS = ROOT / "var" / "screenshots"
"""Where the screenshots stay after the run."""

START_SECONDS = 150
SHADOW = "return document.getElementById('djDebugRoot').shadowRoot.querySelector(arguments[0])"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`make demo` on a free port with data of its own; the address of its site."""
    environment = {
        **os.environ,
        "DEMO_STATE_DIR": str(tmp_path_factory.mktemp("demo")),
        "PYTHONUNBUFFERED": "1",
    }
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "DJANGO_SETTINGS_MODULE"):
        environment.pop(name, None)
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
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert "Stopped." in output


@pytest.fixture
def shadow(browser: webdriver.Chrome):
    """Find an element inside the toolbar's shadow root, waiting for it."""

    def find(selector: str, seconds: float = 20):
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
@pytest.mark.timeout(START_SECONDS + 60)
def test_the_order_list_opens_with_its_panel_and_a_plan(demo: str, browser: webdriver.Chrome, shadow) -> None:
    browser.get(f"{demo}/orders/")
    assert browser.find_element(By.TAG_NAME, "h1").text == "Orders"
    shadow("#djShowToolBarButton").click()
    shadow("#djdt-SQLServerPanel a").click()
    shadow("[data-mssql-statement]")
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


@pytest.mark.browser
@pytest.mark.timeout(START_SECONDS + 60)
def test_a_deadlock_is_survived_and_drawn_in_the_panel(demo: str, browser: webdriver.Chrome, shadow) -> None:
    browser.get(f"{demo}/stock/")
    browser.find_element(By.NAME, "retry").click()
    assert "1205: deadlock" in browser.find_element(By.TAG_NAME, "main").text
    assert [cell.text for cell in browser.find_elements(By.CSS_SELECTOR, "main .status")] == ["committed"] * 2
    shadow("#djShowToolBarButton").click()
    shadow("#djdt-SQLServerPanel a").click()
    drawing = None
    for _ in range(20):  # The server writes the graph some seconds after the error.
        button = shadow("form[action$='/deadlock/'] button")
        browser.execute_script("arguments[0].click()", button)
        time.sleep(1)
        drawing = browser.execute_script(SHADOW, "[data-mssql-deadlock] svg")
        if drawing:
            break
    assert drawing is not None
    words = browser.execute_script("return arguments[0].textContent", drawing)
    assert "victim: rolled back" in words
    assert "UPDATE [shop_stock]" in words
    _screenshot(browser, "deadlock")
    assert _complaints(browser) == []


@pytest.mark.browser
@pytest.mark.timeout(START_SECONDS + 60)
def test_the_traces_page_draws_the_request_that_came_before(demo: str, browser: webdriver.Chrome) -> None:
    browser.get(f"{demo}/reports/sales/")
    assert len(browser.find_elements(By.CSS_SELECTOR, ".bars tbody tr")) > 20
    browser.get(f"{demo}/traces/")
    _screenshot(browser, "traces")
    browser.find_element(By.PARTIAL_LINK_TEXT, "reports/sales").click()
    rows = browser.find_elements(By.CSS_SELECTOR, "details.span")
    assert len(rows) >= 4
    rows[1].click()
    assert "db.query.text" in rows[1].text
    _screenshot(browser, "trace")
    assert _complaints(browser) == []
