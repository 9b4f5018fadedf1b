"""What watches the queries breaks: the queries answer all the same, and each problem is told once."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mssql.base import DatabaseWrapper
from tests.faults.conftest import MakeAlias
from tests.faults.proxy import Proxy

ROOT = Path(__file__).resolve().parents[2]
STATEMENTS = 60

CHILD = """
import time

import django
from django.conf import settings

settings.configure(DATABASES={{"default": {database!r}}}, LOGGING={logging!r}, USE_TZ=True)
django.setup()
from django.db import connection

slowest = 0.0
with connection.cursor() as cursor:
    cursor.execute("SELECT 0")
    for number in range({statements}):
        started = time.perf_counter()
        cursor.execute("SELECT %s", [number])
        assert cursor.fetchone() == (number,)
        slowest = max(slowest, time.perf_counter() - started)
print(f"answered, slowest {{slowest:.3f}}", flush=True)
"""


def run_child(
    wrapper: DatabaseWrapper,
    options: dict[str, Any],
    *,
    log: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
) -> tuple[float, str]:
    """A process of its own, as a site would run; gives its slowest statement and what it wrote to stderr."""
    database = {**wrapper.settings_dict, "OPTIONS": {"trust_server_certificate": True, **options}}
    script = textwrap.dedent(CHILD).format(
        database=database, logging=log or {"version": 1}, statements=STATEMENTS
    )
    child = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=110,
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "", **(environment or {})},
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.startswith("answered, slowest ")
    return float(child.stdout.split()[-1]), child.stderr


@pytest.mark.parametrize("collector", ["nobody listens", "hangs"])
def test_a_collector_that_is_down_delays_no_query(
    make_alias: MakeAlias, proxy: Proxy, collector: str
) -> None:
    wrapper = make_alias()
    if collector == "hangs":
        proxy.silent.set()
    else:
        proxy.stop_listening()
    slowest, stderr = run_child(
        wrapper,
        {"instrumentation": True},
        environment={
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{proxy.port}",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "30",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "OTEL_BLRP_SCHEDULE_DELAY": "50",
            "OTEL_METRIC_EXPORT_INTERVAL": "60000",
        },
    )
    assert slowest < 25  # the exporter's timeout: no statement waited for it
    # Traces, metrics and logs have an exporter each, which tells once that a try failed and that it gave up.
    complaints = [line for line in stderr.splitlines() if "export" in line.lower()]
    assert len(complaints) <= 6
    assert len(set(complaints)) == len(complaints)
    assert complaints or collector == "hangs"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full disk at hand")
@pytest.mark.parametrize(
    ("handler", "told_once"),
    [("mssql.instrumentation.log_file.FileHandler", True), ("logging.FileHandler", False)],
    ids=["ours", "Python's"],
)
def test_a_full_disk_under_the_log_fails_no_query(
    make_alias: MakeAlias, handler: str, told_once: bool
) -> None:
    log = {
        "version": 1,
        "handlers": {"file": {"class": handler, "filename": "/dev/full"}},
        "loggers": {"mssql": {"handlers": ["file"], "level": "INFO"}},
    }
    options = {"instrumentation": {"query_log": {"slow_ms": 0}}}
    slowest, stderr = run_child(make_alias(), options, log=log)
    assert slowest < 25
    complaints = stderr.count("No space left on device")
    # Python's own handler complains of each record, and nothing but another handler keeps it from that.
    assert complaints == 1 if told_once else complaints > STATEMENTS / 2


class _BrokenHandler(logging.Handler):
    """A handler that lets its failure out, as handlers of third parties do."""

    def emit(self, record: logging.LogRecord) -> None:
        raise OSError(28, "No space left on device")


@pytest.fixture
def broken_log() -> Iterator[None]:
    logger, handler = logging.getLogger("mssql.query"), _BrokenHandler()
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


def test_a_log_handler_that_raises_fails_no_query_and_is_told_once(
    make_alias: MakeAlias, broken_log: None, caplog: pytest.LogCaptureFixture
) -> None:
    wrapper = make_alias(OPTIONS={"instrumentation": {"query_log": {"slow_ms": 0}}})
    with caplog.at_level(logging.ERROR, "mssql.instrumentation"), wrapper.cursor() as cursor:
        for number in range(20):
            cursor.execute("SELECT %s", [number])
            assert cursor.fetchone() == (number,)
    told = [record for record in caplog.records if record.name == "mssql.instrumentation"]
    assert len(told) == 1
    assert "the query was not affected" in told[0].getMessage()
