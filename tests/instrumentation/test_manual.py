"""The manual's table, the names in the code and OpenTelemetry's own constants are one."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

from opentelemetry.metrics import Histogram
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Histogram as HistogramData
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Sum
from opentelemetry.semconv import schemas
from opentelemetry.semconv._incubating.attributes import db_attributes as development_attributes
from opentelemetry.semconv._incubating.metrics import db_metrics as development_metrics
from opentelemetry.semconv.attributes import (
    code_attributes,
    db_attributes,
    error_attributes,
    exception_attributes,
    server_attributes,
)
from opentelemetry.semconv.metrics import db_metrics

import mssql.instrumentation
from mssql.instrumentation import conf, deadlock_capture, semconv
from mssql.instrumentation.metrics import make_instruments

ROOT = Path(mssql.instrumentation.__file__).parent
MANUAL = Path(__file__).parents[2] / "docs" / "telemetry.md"
NAME = re.compile(r"(?:code|db|error|exception|mssql|server)\.[a-z_][a-z_.]*[a-z]")
KINDS = {(HistogramData, None): "histogram", (Sum, True): "counter", (Sum, False): "up-down counter"}
NOT_EMITTED = {"mssql.instrumentation.recorder"}


def table() -> list[tuple[str, str]]:
    """(what, name) of each row under "What is emitted"."""
    section = MANUAL.read_text("utf-8").split("## What is emitted")[1].split("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return [(row[0].removeprefix("| "), row[1]) for row in rows[1:]]


def names_in_code() -> set[str]:
    """Every string in the package that is a name by its form, and is not a docstring."""
    return {
        node.value
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and NAME.fullmatch(node.value)
    } - NOT_EMITTED


def test_the_manual_names_what_the_code_emits() -> None:
    manual = {
        name.replace(".<n>", "")
        for what, cell in table()
        if what != "span"
        for name in re.findall(r"`([^`]+)`", cell)
    }
    assert manual == names_in_code()


def test_each_metric_has_its_kind_and_unit() -> None:
    reader = InMemoryMetricReader()
    for instrument in make_instruments(MeterProvider([reader], shutdown_on_exit=False).get_meter("test")):
        if isinstance(instrument, Histogram):
            instrument.record(1)
        else:
            instrument.add(1)
    data = reader.get_metrics_data()
    assert data is not None
    made = {
        metric.name: (KINDS[type(metric.data), getattr(metric.data, "is_monotonic", None)], metric.unit)
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
    }
    section = MANUAL.read_text("utf-8").split("## What is emitted")[1].split("\n## ")[0]
    told = re.findall(r"^\| metric \| `([^`]+)` \| ([a-z -]+), ([a-z{}]+)", section, re.MULTILINE)
    assert {name: (kind, unit) for name, kind, unit in told} == made


def test_the_manual_names_every_span() -> None:
    """All that starts a span, and the name that it gives."""
    started = {
        ast.unparse(node.args[0])
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("start_span", "start_as_current_span")
    }
    told = {cell for what, cell in table() if what == "span"}
    assert started == {"self._name(statement, attributes)", "'pool acquire'", "SPAN_NAME"}
    assert told == {
        "`{db.query.summary}`",
        "`CONNECT {db.namespace}`",
        "`BEGIN TRANSACTION`, `COMMIT TRANSACTION`, ...",
        "`pool acquire`",
        f"`{deadlock_capture.SPAN_NAME}`",
    }


def test_each_name_stands_once_for_each_thing() -> None:
    rows = [row for row in table() if row[0] != "span"]
    assert len(rows) == len(set(rows))


def test_the_manual_names_every_option() -> None:
    section = MANUAL.read_text("utf-8").split("## Sending it")[0]
    manual = set(re.findall(r"^\| `([a-z_.]+)` \|", section, re.MULTILINE))
    assert {name for name in manual if "." not in name} == conf._KEYS.keys()
    for group, config in (
        ("tracing", conf.TracingConfig),
        ("metrics", conf.MetricsConfig),
        ("query_log", conf.QueryLogConfig),
    ):
        told = {name.partition(".")[2] for name in manual if name.startswith(f"{group}.")}
        assert told == {field.name for field in dataclasses.fields(config)}


def test_our_constants_are_the_conventions_own() -> None:
    official = {
        value
        for module in (
            code_attributes,
            db_attributes,
            db_metrics,
            development_attributes,
            development_metrics,
            error_attributes,
            exception_attributes,
            server_attributes,
        )
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str)
    }
    ours = {value for name, value in vars(semconv).items() if name.isupper() and isinstance(value, str)}
    borrowed = {name for name in ours if NAME.fullmatch(name) and not name.startswith("mssql.")}
    assert borrowed
    # templates (db.query.parameter) and log events have no constant in the package
    assert borrowed - official <= {"db.query.parameter", "db.client.operation.exception"}
    assert semconv.SCHEMA_URL in {schema.value for schema in schemas.Schemas}
    assert db_attributes.DbSystemNameValues.MICROSOFT_SQL_SERVER.value == semconv.MICROSOFT_SQL_SERVER
