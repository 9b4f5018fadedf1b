"""The panel in a real browser: in the toolbar's shadow root, under a strict Content Security Policy."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.browser import chromium, chromium_unavailable

from .conftest import Site

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(bool(chromium_unavailable()), reason=chromium_unavailable() or "none"),
]

SCREENSHOTS = Path(__file__).resolve().parent.parent.parent / "var" / "screenshots"

WATCH_POLICY = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""


class Page:
    """The page with its toolbar."""

    def __init__(self, driver: webdriver.Chrome, site: Site) -> None:
        self.driver = driver
        self.site = site
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH_POLICY})

    def open(self, path: str = "") -> None:
        self.driver.get(self.site.url + path)
        self.wait(lambda: self.all("a.SQLServerPanel"))
        self.click("a.SQLServerPanel")
        self.wait(lambda: self.all("[data-mssql-panel]") and self.styled())

    def styled(self) -> bool:
        """Whether the panel's own style sheet has come."""
        return bool(
            self.driver.execute_script(
                "const root = document.getElementById('djDebugRoot').shadowRoot;"
                "return Boolean(root.querySelector('link[data-mssql-styles]')?.sheet);"
            )
        )

    @property
    def root(self) -> Any:
        return self.driver.find_element(By.ID, "djDebugRoot").shadow_root

    def all(self, selector: str) -> list[WebElement]:
        found: list[WebElement] = self.root.find_elements(By.CSS_SELECTOR, selector)
        return found

    def one(self, selector: str) -> WebElement:
        return self.all(selector)[0]

    def click(self, selector: str) -> None:
        element = self.one(selector)
        self.driver.execute_script(
            "arguments[0].scrollIntoView({block: 'center', inline: 'center'})", element
        )
        element.click()

    def css(self, selector: str, name: str) -> str:
        return self.one(selector).value_of_css_property(name)

    def wait(self, condition: Callable[[], Any], seconds: float = 60) -> Any:
        """What ``condition`` gives at last. The page's script replaces elements while the condition looks at them."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(StaleElementReferenceException, NoSuchElementException, IndexError):
                if result := condition():
                    return result
            assert time.monotonic() < deadline, "the page did not come to it"
            time.sleep(0.05)

    def statements(self) -> list[str]:
        """The ids of the statements that are shown, in order."""
        return [
            str(item.get_attribute("data-mssql-statement"))
            for item in self.all("[data-mssql-statement]")
            if item.is_displayed()
        ]

    def open_plan(self, statement: int = 1) -> None:
        self.click(f'[data-mssql-statement="{statement}"] form[data-mssql-plan] button')
        self.wait(lambda: self.all("[data-mssql-plan-view], [data-mssql-failure]"))

    def shoot(self, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(SCREENSHOTS / f"{name}.png"))

    def complaints(self) -> list[str]:
        """What the console and the policy have to say."""
        console = [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] in ("SEVERE", "WARNING")
        ]
        return console + list(self.driver.execute_script("return window.violations"))


@pytest.fixture(scope="module")
def driver() -> Iterator[webdriver.Chrome]:
    with chromium(1500, 950) as driver:
        yield driver


@pytest.fixture
def page(driver: webdriver.Chrome, site: Site) -> Iterator[Page]:
    page = Page(driver, site)
    driver.get_log("browser")
    page.open()
    yield page
    assert page.complaints() == []


def test_the_list_sorts_filters_and_jumps(page: Page) -> None:
    assert page.statements() == [str(number) for number in range(1, 18)]
    page.one('[data-mssql-sort] option[value="duration"]').click()
    assert page.statements()[:2] == ["8", "1"]
    page.one('[data-mssql-sort] option[value="order"]').click()
    page.one("[data-mssql-filter]").send_keys("shop_stock")
    assert page.statements() == ["5"]
    assert page.one("[data-mssql-count]").text == "1 of 17 shown"
    page.one("[data-mssql-filter]").send_keys(Keys.BACKSPACE * 10)
    page.click("[data-mssql-only]")
    assert len(page.statements()) == 8
    page.click("[data-mssql-only]")
    page.click("[data-mssql-jump]")
    assert page.one('[data-mssql-statement="10"] details').get_attribute("open")


def test_a_statement_opens_with_the_keyboard(page: Page) -> None:
    page.one('[data-mssql-statement="3"] summary').send_keys(Keys.ENTER)
    details = page.one('[data-mssql-statement="3"] .mp-details')
    assert details.is_displayed()
    assert "UPDATE [shop_order]" in details.text
    assert "N'O''Brien'" in details.text


def test_the_plan_is_drawn_and_explains_itself(page: Page) -> None:
    page.open_plan()
    operators = page.all("[data-mssql-operator]")
    assert len(operators) == 6
    drawing = page.one("[data-mssql-canvas] svg")
    own_width = float(str(drawing.get_dom_attribute("viewBox")).split()[2])
    # As much smaller as the window demands, but never too small to read.
    assert 0.75 <= drawing.size["width"] / own_width < 1
    # It opens with the operator that takes most.
    shares = [float(share.text.strip("<%")) for share in page.all("[data-mssql-operator] .sp-share")]
    (chosen,) = page.all("[data-mssql-operator][aria-pressed]")
    assert operators.index(chosen) == shares.index(max(shares))
    page.click('[data-mssql-operator="1"]')
    assert page.one("[data-mssql-aside] h4").text.startswith("Sort")
    page.click('[data-mssql-operator="3"]')
    aside = page.one("[data-mssql-aside]").text
    assert "Clustered Index Scan" in aside
    assert "Rows read" in aside
    assert "17.1M" in aside
    assert page.one('[data-mssql-operator="3"]').get_attribute("aria-pressed") == "true"
    title = page.driver.execute_script("return arguments[0].querySelector('title').textContent", operators[3])
    assert "Rows read: 17.1M" in title


def test_an_operator_answers_to_the_pointer(page: Page) -> None:
    page.open_plan()

    def outline() -> str:
        return page.css('[data-mssql-operator="1"] .sp-card', "stroke")

    before = outline()
    operator = page.one('[data-mssql-operator="1"]')
    ActionChains(page.driver).move_to_element(operator).perform()
    page.wait(lambda: outline() != before)
    # The browser shows an SVG's title beside the pointer.
    title = page.driver.execute_script("return arguments[0].querySelector('title').textContent", operator)
    assert title.startswith("Sort — node 1")
    assert "Actual rows:" in title


def test_the_plan_is_walked_with_the_keyboard(page: Page) -> None:
    page.open_plan()
    first = page.one('[data-mssql-operator="0"]')
    page.driver.execute_script("arguments[0].focus()", first)
    first.send_keys(Keys.ARROW_RIGHT)
    assert "Sort" in page.one("[data-mssql-aside]").text
    page.one('[data-mssql-operator="1"]').send_keys(Keys.ARROW_LEFT)
    assert "Parallelism" in page.one("[data-mssql-aside]").text
    page.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    page.wait(lambda: not page.one("#djDebugWindow").is_displayed())
    assert page.one("[data-mssql-panel]").is_displayed()


def test_zoom_and_search(page: Page) -> None:
    page.open_plan()
    svg = page.one("[data-mssql-canvas] svg")

    def width() -> float:
        return float(str(svg.get_attribute("width")))

    page.click('[data-mssql-zoom="full"]')
    full = width()
    page.click('[data-mssql-zoom="in"]')
    assert width() > full
    page.click('[data-mssql-zoom="out"]')
    page.click('[data-mssql-zoom="out"]')
    assert width() < full
    page.one("[data-mssql-find]").send_keys("posts")
    assert len(page.all(".sp-found")) == 1


def test_tabs_lead_to_findings_indexes_and_xml(page: Page) -> None:
    page.open_plan()
    for tab, expected in (
        ("findings", "Parallel threads are unevenly loaded"),
        ("indexes", "CREATE NONCLUSTERED INDEX [IX_Posts_PostTypeId_CreationDate]"),
        ("operators", "Clustered Index Scan"),
        ("parameters", "The statement has no parameters."),
        ("waits", "CXPACKET"),
        ("xml", "<ShowPlanXML"),
    ):
        page.click(f'label[for="mp-tab-{tab}"]')
        panel = page.one(f"#mp-panel-{tab}")
        assert panel.is_displayed()
        assert expected in panel.text
        assert sum(other.is_displayed() for other in page.all(".mp-tabpanel")) == 1
    page.click('label[for="mp-tab-findings"]')
    page.click("[data-mssql-goto]")
    assert page.one("#mp-panel-plan").is_displayed()
    assert page.all("[data-mssql-operator][aria-pressed]")


def test_tabs_change_with_the_arrow_keys(page: Page) -> None:
    page.open_plan()
    page.one("#mp-tab-plan").send_keys(Keys.ARROW_RIGHT)
    assert page.one("#mp-panel-findings").is_displayed()


def test_the_ddl_is_copied(page: Page) -> None:
    page.driver.execute_cdp_cmd(
        "Browser.grantPermissions",
        {
            "origin": page.site.url.rstrip("/"),
            "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"],
        },
    )
    page.open_plan()
    page.click('label[for="mp-tab-indexes"]')
    page.click("#mp-panel-indexes [data-mssql-copy]")
    page.wait(lambda: page.one("#mp-panel-indexes [data-mssql-copy]").text == "Copied")
    copied = page.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert copied.startswith("CREATE NONCLUSTERED INDEX [IX_Posts_PostTypeId_CreationDate]")


def test_the_plan_is_downloaded(page: Page, tmp_path: Path) -> None:
    page.driver.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    page.open_plan()
    page.click("[data-mssql-download]")
    file = tmp_path / "statement-1.sqlplan"
    # Chromium holds the name with an empty file until the download is whole, and then moves it there.
    page.wait(lambda: file.exists() and file.stat().st_size)
    assert file.read_bytes().decode("utf-16").startswith("<ShowPlanXML")
    assert page.one("[data-mssql-plan-view]").is_displayed()


def test_two_plans_are_compared(page: Page) -> None:
    page.open_plan()
    page.one('select[name="other"]').send_keys("8:")
    page.click("form[data-mssql-window] button")
    page.wait(lambda: page.all("[data-mssql-comparison]"))
    assert "The plans differ in shape" in page.one("[data-mssql-comparison]").text
    assert len(page.all("[data-mssql-comparison] svg.sp-plan")) == 2


def test_a_refusal_says_what_to_grant(page: Page) -> None:
    page.open_plan(3)
    assert "GRANT SHOWPLAN" in page.one("[data-mssql-failure]").text


def test_the_switch_lasts_for_the_next_requests(page: Page) -> None:
    page.click("[data-mssql-actual]")
    page.open()
    assert "Actual plan" in page.one('[data-mssql-statement="1"]').text
    page.open_plan()
    assert "actual plan" in page.one(".mp-origin").text
    page.driver.delete_all_cookies()


def test_an_earlier_request_is_seen_through_the_history(page: Page) -> None:
    page.driver.get(page.site.url + "quiet/")
    page.wait(lambda: page.all("a.HistoryPanel"))
    page.click("a.HistoryPanel")

    def switched() -> bool:
        """Whether the toolbar took the click: its script marks the row at once, but comes some time after the row."""
        for row in page.all("tr[data-request-id]"):
            if {"/", "Switch"} <= set(str(row.get_attribute("innerText")).split()):
                page.driver.execute_script("arguments[0].querySelector('.switchHistory').click()", row)
                return "djdt-highlighted" in str(row.get_attribute("class"))
        return False

    page.wait(switched)
    page.wait(lambda: "13 queries" in page.one("#djdt-SQLServerPanel").text)
    page.click("a.SQLServerPanel")
    page.wait(lambda: len(page.all("[data-mssql-statement]")) == 17 and page.styled())
    page.open_plan()
    assert page.all("[data-mssql-operator]")


def test_hostile_text_does_nothing(page: Page) -> None:
    page.one('[data-mssql-statement="9"] summary').click()
    assert "alert(1)" in page.one('[data-mssql-statement="9"] .mp-details').text
    assert page.all("[data-mssql-panel] img, [data-mssql-panel] script") == []


@pytest.mark.parametrize(("width", "dark"), [(1500, False), (1500, True), (700, False)])
def test_it_fits_and_can_be_read(site: Site, width: int, dark: bool) -> None:
    name = f"panel-{width}{'-dark' if dark else ''}"
    with chromium(width, 950, dark=dark) as driver:
        page = Page(driver, site)
        page.open()
        page.shoot(name)
        assert overflow(page, "[data-mssql-panel]") <= 0
        page.open_plan()
        page.click('[data-mssql-operator="3"]')
        page.shoot(f"{name}-plan")
        assert overflow(page, "[data-mssql-plan-view]") <= 0
        for selector in (".mp-origin", ".mp-tabpanel h4", ".mp-toolbar", ".mp-facts dd"):
            assert contrast(page, selector) >= 4.5, selector
        assert page.complaints() == []


def overflow(page: Page, selector: str) -> int:
    """By how many pixels the element's content is wider than the element."""
    width: int = page.driver.execute_script(
        "return arguments[0].scrollWidth - arguments[0].clientWidth", page.one(selector)
    )
    return width


CONTRAST = """
const luminance = (colour) => {
    const [red, green, blue] = colour.match(/[\\d.]+/g).map((value) => {
        const share = value / 255;
        return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};
let background = arguments[0];
while (background && /, 0\\)$|transparent/.test(getComputedStyle(background).backgroundColor)) {
    background = background.parentElement;
}
const one = luminance(getComputedStyle(arguments[0]).color);
const other = luminance(getComputedStyle(background).backgroundColor);
return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
"""


def contrast(page: Page, selector: str) -> float:
    """WCAG's contrast of an element's text to what stands behind it."""
    ratio: float = page.driver.execute_script(CONTRAST, page.one(selector))
    return ratio
