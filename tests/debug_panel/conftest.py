"""The made-up site as a process of its own: its settings are not those of the test run."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass
class Site:
    """The running site, as a browser's network stack sees it."""

    url: str
    cookies: dict[str, str] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        return self.url.rstrip("/")

    def get(self, path: str) -> tuple[int, str, Any]:
        """Status, text and headers of an answer."""
        return self._send(urllib.request.Request(urllib.parse.urljoin(self.url, path)))

    def post(self, path: str, accept: str = "application/json", **data: str) -> tuple[int, str, Any]:
        """The answer to a form."""
        request = urllib.request.Request(
            urllib.parse.urljoin(self.url, path),
            data=urllib.parse.urlencode(data).encode(),
            headers={"Accept": accept},
        )
        return self._send(request)

    def _send(self, request: urllib.request.Request) -> tuple[int, str, Any]:
        if self.cookies:
            request.add_header("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items()))
        try:
            with urllib.request.urlopen(request, timeout=110) as response:
                data, status, headers = response.read(), response.status, response.headers
        except urllib.error.HTTPError as error:
            data, status, headers = error.read(), error.code, error.headers
        encoding = "utf-16" if data[:2] == b"\xff\xfe" else "utf-8"
        return status, data.decode(encoding), headers

    def panel(self, path: str = "/") -> str:
        """The panel's content for a new request of that page, as the toolbar fetches it."""
        return self.panel_of(self.get(path)[2]["djdt-request-id"])

    def panel_of(self, request_id: str) -> str:
        """The panel's content for an earlier request."""
        status, text, _ = self.get(
            f"/__debug__/render_panel/?request_id={request_id}&panel_id=SQLServerPanel"
        )
        assert status == 200, text
        content: str = json.loads(text)["content"]
        return content


def statements(content: str) -> dict[str, str]:
    """The markup of each statement by its id."""
    pieces = re.split(r'<li class="mp-item[^>]*data-mssql-statement="(\d+)"', content)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def signed(markup: str) -> str:
    """The signed data of the first form."""
    match = re.search(r'name="signed" value="([^"]+)"', markup)
    assert match, markup
    return html.unescape(match[1])


def run_site(store: str, database: str) -> Iterator[Site]:
    environment = os.environ | {"SITE_DATABASE": database, "PYTHONPATH": str(ROOT)}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.debug_panel.site", "0", store],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("serving on "), line
        yield Site(f"http://127.0.0.1:{line.split()[-1]}/")
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.fixture(scope="session", params=["MemoryStore", "DatabaseStore", "CacheStore"])
def any_site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site with each of the toolbar's stores."""
    yield from run_site(request.param, str(tmp_path_factory.mktemp("site") / "db.sqlite3"))


@pytest.fixture(scope="session")
def running_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site with the memory store."""
    yield from run_site("MemoryStore", str(tmp_path_factory.mktemp("site") / "db.sqlite3"))


@pytest.fixture
def site(running_site: Site) -> Site:
    """The site, visited without cookies."""
    running_site.cookies.clear()
    return running_site
