"""The query log: slow statements, exceptions once, retries; in Python's logging and as OpenTelemetry events."""

from __future__ import annotations

import json
import logging
import logging.config
from io import StringIO
from typing import Any

import pytest
from opentelemetry._logs import NoOpLogger, SeverityNumber

from mssql.errors import describe
from mssql.instrumentation.conf import InstrumentationConfig
from mssql.instrumentation.observer import Retry
from mssql.instrumentation.query_log import QueryLogObserver
from mssql.instrumentation.recorder import Recorder
from mssql.instrumentation.statement import Attempt, ConnectionInfo, StatementKind, current_attempt
from tests.instrumentation.conftest import (
    DEADLOCK,
    NEVER_SLOW,
    UNIQUE_VIOLATION,
    Telemetry,
    driver_error,
    run,
)

EVERYTHING = {"query_log": {"slow_ms": 0}}


def test_a_slow_statement(telemetry: Telemetry, caplog: pytest.LogCaptureFixture) -> None:
    statement = run(telemetry.recorder(EVERYTHING), rowcount=3)
    (record,) = [record for record in caplog.records if record.name == "mssql.query"]
    span = telemetry.span.get_span_context()
    assert record.levelno == logging.WARNING
    assert "SELECT [shop_order], on default, from" in record.message
    assert "conftest.py" in record.message
    facts: dict[str, Any] = record.mssql  # type: ignore[attr-defined]
    assert facts["db.query.summary"] == "SELECT [shop_order]"
    assert facts["db.query.text"].startswith("SELECT [id]")
    assert facts["mssql.duration_ms"] == round((statement.duration_ns or 0) / 1e6, 3)
    assert facts["mssql.rowcount"] == 3
    assert facts["code.function.name"] == "run"
    assert record.trace_id == f"{span.trace_id:032x}"  # type: ignore[attr-defined]
    assert record.span_id == f"{span.span_id:016x}"  # type: ignore[attr-defined]

    (event,) = telemetry.events
    assert event.event_name == "mssql.slow_query"
    assert event.severity_number is SeverityNumber.WARN
    assert (event.trace_id, event.span_id) == (span.trace_id, span.span_id)
    assert event.attributes["db.query.summary"] == "SELECT [shop_order]"


@pytest.mark.parametrize(
    ("rowcount", "returned_rows", "said"),
    [(-1, 21, "21 rows, "), (1, None, "1 row, "), (1, 0, "0 rows, "), (-1, None, "ms, SELECT")],
)
def test_the_rows_of_a_slow_statement(
    telemetry: Telemetry,
    caplog: pytest.LogCaptureFixture,
    rowcount: int,
    returned_rows: int | None,
    said: str,
) -> None:
    recorder = telemetry.recorder(EVERYTHING)
    statement = recorder.begin(StatementKind.QUERY, "SELECT [id] FROM [shop_order]", None)
    recorder.end(statement, rowcount=rowcount)
    assert not telemetry.events

    def read_elsewhere() -> None:
        recorder.close(statement, returned_rows=returned_rows)

    read_elsewhere()
    read_elsewhere()
    (event,) = telemetry.events
    assert event.attributes.get("db.response.returned_rows") == returned_rows
    assert event.attributes["code.function.name"] == "test_the_rows_of_a_slow_statement"
    assert event.timestamp == statement.ended_ns
    assert said in caplog.records[0].message


def test_a_fast_statement_is_not_logged(telemetry: Telemetry, caplog: pytest.LogCaptureFixture) -> None:
    run(telemetry.recorder({"query_log": {"slow_ms": NEVER_SLOW}}))
    assert not caplog.records
    assert not telemetry.events


def test_an_exception_once_and_without_data(telemetry: Telemetry, caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise driver_error(2627, UNIQUE_VIOLATION, "23000", "IntegrityError")
    except Exception as error:
        run(telemetry.recorder(EVERYTHING), error=error)
    (event,) = telemetry.events
    assert event.event_name == "db.client.operation.exception"
    assert event.severity_number is SeverityNumber.WARN
    assert event.attributes["exception.type"] == "pyodbc.IntegrityError"
    assert event.attributes["exception.message"] == "Violation of UNIQUE KEY constraint ?."
    assert "test_query_log.py" in event.attributes["exception.stacktrace"]
    assert event.attributes["db.response.status_code"] == "2627"
    (record,) = caplog.records
    assert record.message == "Query failed: 2627, SELECT [shop_order], on default"
    assert not telemetry.span.events
    everything = json.dumps(dict(event.attributes)) + str(record.__dict__)
    assert "novak" not in everything


def test_an_error_that_is_retried_is_no_exception(telemetry: Telemetry) -> None:
    recorder = telemetry.recorder()
    error = driver_error(1205, DEADLOCK, "40001", "Error")
    token = current_attempt.set(Attempt(1, lambda _: 0.05))
    try:
        run(recorder, error=error)
    finally:
        current_attempt.reset(token)
    described = describe(error)
    assert described is not None
    recorder.retrying(Retry(described, 1, 0.05, "transaction"))
    (event,) = telemetry.events
    assert event.event_name == "mssql.retry"
    assert event.severity_number is SeverityNumber.INFO
    assert event.attributes["db.response.status_code"] == "1205"
    assert event.attributes["mssql.retry.attempt"] == 1
    assert event.attributes["mssql.retry.scope"] == "transaction"


def test_a_refused_login(telemetry: Telemetry, caplog: pytest.LogCaptureFixture) -> None:
    error = driver_error(18456, "Login failed for user 'sa'.", "28000", "InterfaceError")
    run(telemetry.recorder(), "", None, kind=StatementKind.CONNECT, error=error)
    assert caplog.records[0].message == "Connect failed: 18456, shop, on default"
    assert telemetry.events[0].attributes["exception.message"] == "Login failed for user ?."


def test_exceptions_can_be_left_out(telemetry: Telemetry, caplog: pytest.LogCaptureFixture) -> None:
    recorder = telemetry.recorder({"query_log": {"exceptions": False}})
    run(recorder, error=driver_error(208, "Invalid object name 'x'."))
    assert not telemetry.events
    assert not caplog.records


def test_a_signal_is_no_exception_of_the_database(telemetry: Telemetry) -> None:
    run(telemetry.recorder(), error=KeyboardInterrupt())
    assert not telemetry.events


def test_a_slow_connect_is_not_a_slow_query(telemetry: Telemetry) -> None:
    run(telemetry.recorder(EVERYTHING), "", None, kind=StatementKind.CONNECT)
    assert not telemetry.events


def test_django_s_logging_setting_is_enough() -> None:
    """No SDK: a JSON formatter of the site's own, by LOGGING, and the level that the alias says."""
    written = StringIO()

    class Json(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return json.dumps({"level": record.levelname, **getattr(record, "mssql", {})})

    logger = logging.getLogger("mssql.query")
    before = (logger.level, logger.handlers[:], logger.propagate)
    try:
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "formatters": {"json": {"()": Json}},
                "handlers": {
                    "out": {"class": "logging.StreamHandler", "formatter": "json", "stream": written}
                },
                "loggers": {"mssql.query": {"handlers": ["out"], "level": "INFO", "propagate": False}},
            }
        )
        config = InstrumentationConfig.from_options({"query_log": {"slow_ms": 0, "level": "INFO"}})
        info = ConnectionInfo("default", "shop")
        run(Recorder(info, [QueryLogObserver(config, info, NoOpLogger("off"))], config=config))
    finally:
        logger.level, logger.handlers, logger.propagate = before
    line = json.loads(written.getvalue())
    assert line["level"] == "INFO"
    assert line["db.query.summary"] == "SELECT [shop_order]"
