"""Telemetry out of the processes that a site runs in: gunicorn's workers and uWSGI's, forked after the set-up."""

from __future__ import annotations

import collections
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Server
from tests.instrumentation.conftest import PATIENCE
from tests.otlp_receiver import OtlpReceiver, attributes

SITE = """
import os, sys, time
sys.path[:0] = [{root!r}]
import django
from django.conf import settings
from django.db import connection
from django.http import HttpResponse
from django.urls import path

def stamp(span, statement):
    span.set_attribute("test.process", os.getpid())

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATABASES={{"default": {{
        "ENGINE": "mssql", "NAME": "master", "HOST": {host!r}, "PORT": {port!r}, "USER": {user!r},
        "PASSWORD": {password!r}, "CONN_MAX_AGE": 600,
        "OPTIONS": {{
            "trust_server_certificate": True, "connection_timeout": {patience},
            "instrumentation": {{"request_hook": stamp}},
        }},
    }}}},
)
django.setup()

def view(request):
    with connection.cursor() as cursor:
        cursor.execute("SELECT [name] FROM [sys].[databases] WHERE [name] = %s", ["master"])
        cursor.fetchall()
    time.sleep(0.05)  # long enough for the next request to go to the other worker
    return HttpResponse(str(os.getpid()))

urlpatterns = [path("", view)]

from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()

from mssql.instrumentation import otlp
otlp.EXIT_SECONDS = {patience}
otlp.configure()  # before the workers are forked
with connection.cursor() as cursor:
    cursor.execute("SELECT 1 AS [while_loading]")
    cursor.fetchall()
connection.close()
"""

COMMANDS = {
    "gunicorn": [
        *(sys.executable, "-m"),
        *"gunicorn shop_site --preload --workers 2 --bind 127.0.0.1:0 --timeout 0".split(),
        *("--graceful-timeout", str(PATIENCE)),
    ],
    "uwsgi": [
        # Of this environment: it has a Python built in, and another's does not have our packages.
        *(str(Path(sys.executable).with_name("uwsgi")), "--home", sys.prefix),
        *"--module shop_site --need-app --master --processes 2 --http-socket 127.0.0.1:0".split(),
        *("--enable-threads", "--die-on-term", "--worker-reload-mercy", str(PATIENCE)),
    ],
}


@contextlib.contextmanager
def serving(command: list[str], environment: dict[str, str]) -> Iterator[str]:
    """A site's address; left, the site is asked to end, and has ended."""
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    log: list[str] = []
    read = threading.Thread(target=lambda: log.extend(iter(process.stdout.readline, "")), daemon=True)  # type: ignore[union-attr]
    read.start()
    try:
        yield f"http://127.0.0.1:{_port(process, log)}/"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, "".join(log)
    finally:
        process.kill()
        process.wait()
        read.join(PATIENCE)


def _port(process: subprocess.Popen[str], log: list[str]) -> int:
    """The port that the system gave, as the server's log tells it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, "".join(log)
        for found in re.finditer(r"127\.0\.0\.1:(\d+) ", "".join(log)):
            if int(found[1]):
                return int(found[1])
        time.sleep(0.05)
    raise AssertionError("".join(log))


def ask_until_all_answered(address: str, workers: int) -> collections.Counter[int]:
    """Ask from two threads until each of ``workers`` answered; how often each did, by process id."""
    answers: collections.Counter[int] = collections.Counter()
    lock = threading.Lock()
    deadline = time.monotonic() + PATIENCE

    def ask() -> None:
        while len(answers) < workers and time.monotonic() < deadline:
            with urllib.request.urlopen(address, timeout=PATIENCE) as response:
                process = int(response.read())
            with lock:
                answers[process] += 1

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.timeout(6 * PATIENCE)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_worker_reports_and_loses_nothing_at_its_end(name: str, server: Server, tmp_path: Path) -> None:
    """The batches are set to go out at exit only, so what arrives was flushed by each worker as it ended."""
    if shutil.which(COMMANDS[name][0]) is None:
        pytest.skip(f"{name} is not installed: pip install {name}")
    site = SITE.format(
        root=str(Path(__file__).resolve().parents[2]),
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        patience=PATIENCE,
    )
    (tmp_path / "shop_site.py").write_text(site)
    with OtlpReceiver() as receiver:
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "DJANGO_"))},
            "HOME": str(tmp_path),  # gunicorn keeps a socket there
            "PYTHONPATH": str(tmp_path),
            "PYTHONUNBUFFERED": "1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "3600000",
            "OTEL_METRIC_EXPORT_INTERVAL": "3600000",
            "OTEL_EXPORTER_OTLP_TIMEOUT": str(PATIENCE),
        }
        with serving(COMMANDS[name], environment) as address:
            answers = ask_until_all_answered(address, 2)
        assert len(answers) == 2
        spans = collections.Counter(
            attributes(span.attributes)["test.process"]
            for span in receiver.spans
            if span.name == "SELECT [sys].[databases]"
        )
        assert spans == answers
        counted = [
            point.count
            for metric in receiver.metrics
            if metric.name == "db.client.operation.duration"
            for point in metric.histogram.data_points
            if attributes(point.attributes)["db.query.summary"] == "SELECT [sys].[databases]"
        ]
        assert sorted(counted) == sorted(answers.values())
