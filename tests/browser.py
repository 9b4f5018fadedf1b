"""A headless Chromium that tests drive, where Chromium and its driver are installed, and a page with the debug toolbar.

A machine may be slow, and any process may stand still for a while. So a look at the page waits for what it expects,
a touch waits until the element takes it, and a browser that did not start is started again.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common import exceptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from urllib3.exceptions import HTTPError

SCREENSHOTS = Path(__file__).resolve().parent.parent / "var" / "screenshots"
"""Where the screenshots stay after the run."""

CHROMIUM_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    # Chromium's own background requests would fail, many at a time, on a machine without a way out.
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
STARTS = 3
PATIENCE = 60.0
"""Seconds that a page may take to come to what a test expects of it."""

NOT_YET = (
    exceptions.DetachedShadowRootException,
    exceptions.ElementClickInterceptedException,
    exceptions.ElementNotInteractableException,
    exceptions.JavascriptException,
    exceptions.MoveTargetOutOfBoundsException,
    exceptions.NoSuchElementException,
    exceptions.NoSuchShadowRootException,
    exceptions.StaleElementReferenceException,
)
"""What WebDriver says when it did nothing: the element isn't there (yet, or any more), or something lies before it."""

GONE = (exceptions.WebDriverException, HTTPError, OSError)
"""What is raised where the browser, its driver or the connection to it is gone."""

WATCH_POLICY = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""
IN_TOOLBAR = """
const root = document.getElementById("djDebugRoot")?.shadowRoot;
const all = (selector) => [...(root?.querySelectorAll(selector) ?? [])];
const one = (selector) => all(selector)[0];
"""


def chromium_unavailable() -> str:
    """Why no browser can be driven here; '' when one can."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


@contextmanager
def chromium(width: int = 1360, height: int = 900, *, dark: bool = False) -> Iterator[webdriver.Chrome]:
    """A browser with a profile of its own, gone afterwards; it keeps the console's log."""
    # Chromium's helpers may write into the profile for a moment longer than the browser runs.
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profiles:
        driver = _start(Path(profiles), width, height)
        try:
            driver.set_page_load_timeout(300)
            driver.set_script_timeout(PATIENCE)
            driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH_POLICY})
            if dark:
                driver.execute_cdp_cmd(
                    "Emulation.setEmulatedMedia",
                    {"features": [{"name": "prefers-color-scheme", "value": "dark"}]},
                )
            yield driver
        finally:
            driver.quit()
            # A driver that died has left its browser behind.
            with suppress(ProcessLookupError):
                os.kill(driver.capabilities["goog:processID"], signal.SIGKILL)


def _start(profiles: Path, width: int, height: int) -> webdriver.Chrome:
    """Start the driver and the browser. Both have a minute to answer, which a busy machine may let pass."""
    for attempt in range(1, STARTS + 1):
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        profile = profiles / str(attempt)
        for flag in (*CHROMIUM_FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        try:
            return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        except GONE:
            if attempt == STARTS:
                raise
    raise AssertionError("unreachable")


@contextmanager
def lasting_chromium(width: int, height: int) -> Iterator[Callable[[], webdriver.Chrome]]:
    """One browser for many tests: gives a function that returns it, or a new one where it no longer answers."""
    with ExitStack() as running:
        driver: webdriver.Chrome | None = None

        def answering() -> webdriver.Chrome:
            nonlocal driver
            if driver is not None:
                try:
                    driver.execute_script("return 1")
                except GONE:
                    running.close()
                    driver = None
            if driver is None:
                driver = running.enter_context(chromium(width, height))
            return driver

        yield answering


class ToolbarPage:
    """The page that a browser shows, and the debug toolbar in its shadow root."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def wait(self, condition: Callable[[], Any], what: str = "", seconds: float = PATIENCE) -> Any:
        """What ``condition`` gives at last; ``what`` names it in the failure."""
        deadline = time.monotonic() + seconds
        while True:
            trouble = ""
            try:
                if result := condition():
                    return result
            except NOT_YET as error:
                trouble = f" ({type(error).__name__}: {error.msg})"
            assert time.monotonic() < deadline, f"the page did not come to it: {what}{trouble}"
            time.sleep(0.05)

    def becomes(self, read: Callable[[], Any], expected: Any) -> None:
        """Wait until ``read`` gives what is expected."""
        last = None

        def reached() -> bool:
            nonlocal last
            last = read()
            return bool(last == expected)

        try:
            self.wait(reached, "as expected")
        except AssertionError as error:
            raise AssertionError(f"{last!r} did not become {expected!r}: {error}") from None

    def says(self, selector: str, words: str) -> None:
        """Wait until the text of the first element that is found has these words."""
        last = ""

        def said() -> bool:
            nonlocal last
            last = self.text(selector)
            return words in last

        try:
            self.wait(said, selector)
        except AssertionError as error:
            raise AssertionError(f"{words!r} is not in {last[:2000]!r}: {error}") from None

    def script(self, body: str, *arguments: Any) -> Any:
        """What a script returns, in one step of the page's. It has ``all`` and ``one`` for the toolbar's elements."""
        return self.driver.execute_script(IN_TOOLBAR + body, *arguments)

    def count(self, selector: str) -> int:
        found: int = self.script("return all(arguments[0]).length", selector)
        return found

    def shown(self, selector: str) -> bool:
        """Whether such an element is there and visible."""
        visible: bool = self.script(
            "return all(arguments[0]).some((item) => item.checkVisibility())", selector
        )
        return visible

    def text(self, selector: str) -> str:
        """The text of the first such element: of what is shown of it, or all where it is hidden or in a drawing."""
        words: str = self.wait(
            lambda: self.script(
                "const found = one(arguments[0]); return found ? [found.innerText ?? found.textContent] : null",
                selector,
            ),
            selector,
        )[0]
        return words

    def attribute(self, selector: str, name: str) -> str | None:
        """An attribute of the first such element; None when either is missing."""
        value: str | None = self.script(
            "return one(arguments[0])?.getAttribute(arguments[1])", selector, name
        )
        return value

    def element(self, selector: str) -> WebElement:
        """The first such element."""
        found: WebElement = self.wait(lambda: self._find(selector), selector)
        return found

    def _find(self, selector: str) -> WebElement:
        root = self.driver.find_element(By.ID, "djDebugRoot").shadow_root
        return root.find_element(By.CSS_SELECTOR, selector)

    def _centred(self, selector: str) -> WebElement:
        element = self._find(selector)
        self.driver.execute_script(
            "arguments[0].scrollIntoView({block: 'center', inline: 'center', behavior: 'instant'})", element
        )
        return element

    def click(self, selector: str) -> None:
        """Click the first such element, as soon as it takes a click."""

        def clicked() -> bool:
            element = self._centred(selector)
            # WebDriver clicks a disabled button without a word, and nothing happens.
            if not element.is_enabled():
                return False
            element.click()
            return True

        self.wait(clicked, f"click {selector}")

    def hover(self, selector: str) -> None:
        """Move the pointer over the first such element."""

        def hovered() -> bool:
            ActionChains(self.driver).move_to_element(self._centred(selector)).perform()
            return True

        self.wait(hovered, f"hover {selector}")

    def type(self, selector: str, keys: str) -> None:
        """Send keys to the first such element, as soon as it takes them."""

        def typed() -> bool:
            self._find(selector).send_keys(keys)
            return True

        self.wait(typed, f"type into {selector}")

    def choose(self, select: str, words: str) -> None:
        """Choose the option of a list whose text begins with these words."""

        def chosen() -> bool:
            for option in self._find(select).find_elements(By.TAG_NAME, "option"):
                if option.text.startswith(words):
                    option.click()
                    return True
            return False

        self.wait(chosen, f"choose {words} in {select}")

    def open_panel(self) -> None:
        """Open the SQL Server panel, and wait until its script listens and its style sheet is there.

        The toolbar shows a panel's HTML before it has loaded the panel's script. A form that is sent in between goes to
        the server as an ordinary form and leaves the page. The script adds the style sheet in the step that attaches
        it.
        """
        # The toolbar's script shows either the toolbar or its handle, in the step that attaches it.
        self.wait(lambda: self.shown("#djShowToolBarButton, a.SQLServerPanel"), "the toolbar")
        if not self.shown("a.SQLServerPanel"):
            self.click("#djShowToolBarButton")
        self.click("a.SQLServerPanel")
        self.wait(self.panel_is_ready, "the panel")

    def panel_is_ready(self) -> bool:
        ready: bool = self.script(
            "return Boolean(one('[data-mssql-panel]')?.checkVisibility() && one('link[data-mssql-styles]')?.sheet)"
        )
        return ready

    def shoot(self, name: str) -> None:
        """Keep a picture of the window."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(SCREENSHOTS / f"{name}.png"))

    def complaints(self) -> list[str]:
        """The console's errors since the last look, and what the page's policy refused."""
        violations: list[str] = self.driver.execute_script("return window.violations ?? []")
        log = self.driver.get_log("browser")
        return [entry["message"] for entry in log if entry["level"] == "SEVERE"] + violations
