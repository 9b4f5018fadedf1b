"""Recorders with in-memory exporters: what was observed, without a server and without global providers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

from mssql.instrumentation import observer as observing
from mssql.instrumentation import recorder as recording
from mssql.instrumentation.conf import InstrumentationConfig
from mssql.instrumentation.metrics import MetricsObserver, make_instruments
from mssql.instrumentation.observer import Observer
from mssql.instrumentation.propagation import propagator_for
from mssql.instrumentation.query_log import QueryLogObserver
from mssql.instrumentation.recorder import Recorder
from mssql.instrumentation.statement import ConnectionInfo, Statement, StatementKind
from mssql.instrumentation.tracing import TracingObserver
from mssql.odbc import pyodbc

PATIENCE = 300
"""Seconds until a machine is held to be stuck, not slow."""

NEVER_SLOW = 3_600_000
"""Milliseconds: so many that a machine that stands still makes no statement slow."""


def unhurried(options: object) -> object:
    """``options`` under which no statement is slow, unless they say themselves what is."""
    given: dict[str, Any] = {} if options is True else options  # type: ignore[assignment]
    log = given.get("query_log", True) if isinstance(given, dict) else False
    if log is False:
        return options
    return {**given, "query_log": {"slow_ms": NEVER_SLOW, **({} if log is True else log)}}


@dataclass
class Telemetry:
    """Providers of one test, and the recorders that report to them."""

    sampler: Sampler = ALWAYS_ON
    span_exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    log_exporter: InMemoryLogRecordExporter = field(default_factory=InMemoryLogRecordExporter)
    reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)

    def __post_init__(self) -> None:
        self.tracer_provider = TracerProvider(sampler=self.sampler, shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.span_exporter))
        self.logger_provider = LoggerProvider(shutdown_on_exit=False)
        self.logger_provider.add_log_record_processor(SimpleLogRecordProcessor(self.log_exporter))
        self.meter_provider = MeterProvider([self.reader], shutdown_on_exit=False)
        self.instruments = make_instruments(self.meter_provider.get_meter("test"))

    def recorder(
        self, options: object = True, info: ConnectionInfo | None = None, *more: Observer
    ) -> Recorder:
        config = InstrumentationConfig.from_options(unhurried(options))
        info = info or ConnectionInfo("default", "shop", "db.example.com", 1433, session_id=52)
        observers: list[Observer] = list(more)
        if config.tracing is not None:
            observers.append(TracingObserver(config, info, self.tracer_provider.get_tracer("test")))
        if config.metrics is not None:
            observers.append(MetricsObserver(config, info, self.instruments))
        if config.query_log is not None:
            observers.append(QueryLogObserver(config, info, self.logger_provider.get_logger("test")))
        propagator = propagator_for(config.propagation) if config.propagation is not None else None
        return Recorder(info, observers, config=config, propagator=propagator)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self.span_exporter.get_finished_spans()

    @property
    def span(self) -> ReadableSpan:
        (span,) = self.spans
        return span

    @property
    def events(self) -> list[Any]:
        return [item.log_record for item in self.log_exporter.get_finished_logs()]

    def points(self, name: str) -> list[Any]:
        """The data points of one metric."""
        data = self.reader.get_metrics_data()
        if data is None:
            return []
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture(autouse=True)
def _as_in_a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither observers that another test left in this process, nor failures that it had logged already."""
    monkeypatch.setattr(recording, "_observers", ())
    monkeypatch.setattr(observing, "_reported", set())


Run = Callable[..., Statement]


def run(
    recorder: Recorder,
    sql: str = "SELECT [id] FROM [shop_order] WHERE [id] = ?",
    params: Sequence[Any] | None = (1,),
    *,
    kind: StatementKind = StatementKind.QUERY,
    error: BaseException | None = None,
    rowcount: int = -1,
    returned_rows: int | None = None,
    **facts: Any,
) -> Statement:
    """One statement from begin to close, as the cursor does it."""
    statement = recorder.begin(kind, sql, params, **facts)
    recorder.end(statement, rowcount=rowcount, error=error)
    recorder.close(statement, returned_rows=returned_rows)
    return statement


def driver_error(
    number: int, message: str, sqlstate: str = "42000", kind: str = "ProgrammingError"
) -> Exception:
    """What pyodbc raises for a server's error."""
    text = (
        f"[{sqlstate}] [Microsoft][ODBC Driver 18 for SQL Server][SQL Server]{message}"
        f" ({number}) (SQLExecDirectW)"
    )
    return getattr(pyodbc, kind)(sqlstate, text)  # type: ignore[no-any-return]


UNIQUE_VIOLATION = (
    "Violation of UNIQUE KEY constraint 'UQ_customer_email'. Cannot insert duplicate key in object"
    " 'dbo.shop_customer'. The duplicate key value is (jan.novak@example.com)."
)
DEADLOCK = (
    "Transaction (Process ID 61) was deadlocked on lock resources with another process and has been chosen as the"
    " deadlock victim. Rerun the transaction."
)
