"""What instrumentation costs: client CPU per statement, beside opentelemetry-instrumentation-dbapi; bad collectors.

    python benchmarks/instrumentation.py [--statements N] [--rounds N] [--seconds N]
    python benchmarks/instrumentation.py --soak SECONDS

Runs against MSSQL_HOST (_PORT, _USER, _PASSWORD), or starts the stand-in. Everything is measured in one run, in turns,
over the same driver and server; CPU time is this process's own, exporting included.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import http.server
import inspect
import logging
import math
import os
import random
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# dbapi's present conventions, lest it be measured by the ones it is leaving.
os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "database"

import django
from django.conf import settings

SQL = (
    "SELECT [o].[name], [o].[object_id], [o].[type], [o].[create_date] FROM [sys].[objects] AS [o]"
    " WHERE [o].[object_id] = %s AND 0 = {}"
)
"""A primary key look-up as the ORM sends it; 50 different texts, as a site has them."""

SINK = """
import http.server, sys
class Sink(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@dataclass
class Variant:
    """One way to run the statement, with the CPU that each round took, in microseconds per statement."""

    name: str
    execute: Callable[[str, tuple[int]], Any]
    process: list[float] = field(default_factory=list)
    thread: list[float] = field(default_factory=list)

    def more(self, base: Variant) -> list[float]:
        """What each round took beyond the same round of ``base``."""
        return [own - other for own, other in zip(self.process, base.process, strict=True)]


def measure(variants: list[Variant], statements: int, rounds: int) -> None:
    """Run all variants in each round, in an order of its own, so that what else the machine does meets them alike."""
    texts = [SQL.format(number) for number in range(50)]
    order = variants.copy()
    for turn in range(rounds + 1):
        random.shuffle(order)
        for variant in order:
            execute = variant.execute
            process, thread = time.process_time(), time.thread_time()
            for number in range(statements):
                execute(texts[number % 50], (number,))
            # The queue is emptied within the round that filled it.
            for provider in PROVIDERS:
                provider.force_flush()
            if turn:  # the first round warms up
                variant.process.append((time.process_time() - process) / statements * 1e6)
                variant.thread.append((time.thread_time() - thread) / statements * 1e6)


class Interval(NamedTuple):
    """A median and the 95 % confidence interval of it, by the order statistics: no distribution is presumed
    (https://en.wikipedia.org/wiki/Median#Confidence_interval)."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Interval:
        ordered = sorted(values)
        reach = 0.98 * math.sqrt(len(ordered))
        low = max(math.floor(len(ordered) / 2 - reach), 0)
        high = min(math.ceil(len(ordered) / 2 + reach), len(ordered) - 1)
        return cls(statistics.median(ordered), ordered[low], ordered[high])


PROVIDERS: list[Any] = []


def tracer_provider(sampler: Any, endpoint: str, queue: int = 1 << 15) -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces"), queue))
    PROVIDERS.append(provider)
    return provider


def meter_provider(endpoint: str) -> Any:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    exporter = OTLPMetricExporter(f"{endpoint}/v1/metrics")
    provider = MeterProvider(
        [PeriodicExportingMetricReader(exporter, export_interval_millis=5_000)], shutdown_on_exit=False
    )
    return provider


def recorder(options: dict[str, Any], info: Any, tracers: Any, meters: Any) -> Any:
    """A recorder as recorder_for() makes it, on providers of its own instead of the global ones."""
    from mssql.instrumentation.conf import InstrumentationConfig
    from mssql.instrumentation.metrics import MetricsObserver, make_instruments
    from mssql.instrumentation.query_log import QueryLogObserver
    from mssql.instrumentation.recorder import Recorder
    from mssql.instrumentation.tracing import TracingObserver

    config = InstrumentationConfig.from_options(options)
    observers: list[Any] = [TracingObserver(config, info, tracers.get_tracer("mssql"))]
    if meters is not None:
        observers.append(MetricsObserver(config, info, make_instruments(meters.get_meter("mssql"))))
    observers.append(QueryLogObserver(config, info))
    return Recorder(info, observers, config=config)


class Known:
    """A pyodbc connection that tells its server, which pyodbc's own doesn't: so that dbapi carries that too."""

    def __init__(self, driver: Any, info: Any) -> None:
        self.driver = driver
        self.database, self.host, self.port = info.database, info.server_address, info.server_port

    def __getattr__(self, name: str) -> Any:
        return getattr(self.driver, name)


def cpu(statements: int, rounds: int, endpoint: str) -> None:
    """The table of CPU time."""
    from django.db import connections
    from opentelemetry.instrumentation.dbapi import instrument_connection
    from opentelemetry.metrics import NoOpMeterProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

    def connection() -> Any:
        wrapper = connections.create_connection("default")
        wrapper.ensure_connection()
        return wrapper

    def ours(name: str, sampler: Any, meters: Any) -> Variant:
        wrapper = connection()
        session = wrapper.connection
        session.recorder = recorder({}, session.info, tracer_provider(sampler, endpoint), meters)
        return Variant(name, wrapper.cursor().execute)

    def theirs(name: str, sampler: Any, meters: Any) -> Variant:
        wrapper = connection()
        session = wrapper.connection
        tracers = tracer_provider(sampler, endpoint)

        session.driver = instrument_connection(
            "pyodbc",
            Known(session.driver, session.info),
            "mssql",
            {"database": "database", "host": "host", "port": "port"},
            tracer_provider=tracers,
            meter_provider=meters or NoOpMeterProvider(),
        )
        return Variant(name, wrapper.cursor().execute)

    meters = meter_provider(endpoint)
    off = Variant("off", connection().cursor().execute)
    variants = [
        off,
        ours("ours: spans, unsampled", ALWAYS_OFF, None),
        ours("ours: spans, sampled", ALWAYS_ON, None),
        theirs("dbapi: spans, unsampled", ALWAYS_OFF, None),
        theirs("dbapi: spans, sampled", ALWAYS_ON, None),
        ours("ours: spans and metrics, unsampled", ALWAYS_OFF, meters),
        ours("ours: spans and metrics, sampled", ALWAYS_ON, meters),
        theirs("dbapi: spans and metrics, unsampled", ALWAYS_OFF, meters),
        theirs("dbapi: spans and metrics, sampled", ALWAYS_ON, meters),
        Variant("the SDK's histogram alone", with_histogram(connection().cursor().execute, meters)),
    ]
    measure(variants, statements, rounds)

    print(
        f"Client CPU per statement in µs, exporting included: median of {rounds} rounds of {statements} statements,"
        " and what it is more than the same round off (95 % interval)"
    )
    added: dict[str, float] = {}
    for variant in variants:
        more = Interval.of(variant.more(off))
        added[variant.name] = more.median
        line = f"{variant.name:38}{statistics.median(variant.process):9.1f}"
        print(
            line if variant is off else f"{line}   + {more.median:6.1f}  ({more.low:.1f} to {more.high:.1f})"
        )
    for what in ("spans", "spans and metrics"):
        unsampled, sampled = added[f"ours: {what}, unsampled"], added[f"ours: {what}, sampled"]
        dbapi_unsampled, dbapi = added[f"dbapi: {what}, unsampled"], added[f"dbapi: {what}, sampled"]
        print(
            f"{what}: unsampled {unsampled / dbapi:.2f} of dbapi's cost sampled, {unsampled / dbapi_unsampled:.2f} of"
            f" it unsampled; sampled {sampled / dbapi:.2f} of dbapi's"
        )
    meters.shutdown()
    for provider in PROVIDERS:
        provider.shutdown()
    PROVIDERS.clear()


def with_histogram(
    execute: Callable[[str, tuple[int]], Any], meters: Any
) -> Callable[[str, tuple[int]], Any]:
    """``execute`` and one measurement with as many attributes as ours has: the least that a duration can cost."""
    histogram = meters.get_meter("alone").create_histogram("alone", "s")
    attributes = {f"db.attribute.number{number}": f"of some length {number}" for number in range(5)}

    def run(sql: str, params: tuple[int]) -> None:
        execute(sql, params)
        histogram.record(0.001, attributes)

    return run


# All that a cursor asks while instrumentation is off, and what would stand there if there were none.
CHECKS = (
    (
        """
        elif session.recorder is None:
            self._send(sql, values, declarations)
        else:
            self._perform(StatementKind.QUERY, sql, values, declarations)
""",
        """
        else:
            self._send(sql, values, declarations)
""",
    ),
    (
        """
        if self._statement is not None:
            statement, self._statement = self._statement, None
            if self.session.recorder is not None:
                self.session.recorder.close(statement, returned_rows=self._fetched, error=error)
""",
        "",
    ),
)


def build(*, checks: bool) -> Any:
    """The cursor's class, compiled by itself from mssql/cursor.py: a subclass would share code with it, and with that
    the interpreter's inline caches, which cost more than what is to be measured."""
    source = inspect.getsource(sys.modules["mssql.cursor"])
    if not checks:
        for check, without in CHECKS:
            if check not in source:
                raise SystemExit(
                    f"mssql/cursor.py no longer has\n{check}\nCHECKS in this file has to follow."
                )
            source = source.replace(check, without)
    module = types.ModuleType("cursor")
    exec(compile(source, "mssql/cursor.py", "exec"), vars(module))
    return module.Cursor


class Nothing:
    """A driver that answers at once: what is left is our own way to it and back."""

    description = None
    rowcount = -1
    messages: list[Any] = []

    def cursor(self) -> Nothing:
        return self

    def setinputsizes(self, sizes: Any) -> None:
        pass

    def execute(self, sql: str, values: Any) -> None:
        pass

    def nextset(self) -> bool:
        return False


def off(rounds: int) -> None:
    """What it costs that instrumentation could be on: against a build in which nothing asks for it."""
    from django.db import connections
    from django.db.backends.utils import CursorWrapper

    from mssql.session import Session

    wrapper: Any = connections.create_connection("default")
    wrapper.ensure_connection()
    driverless: Any = Nothing()
    print("\nOff, against a build without a check for it: µs of CPU per statement, median (95 % interval)")
    for name, session, statements in (
        ("over the wire", wrapper.connection, 20),
        ("without a driver", Session(driverless, wrapper.connection.info), 1_000),
    ):
        variants = [
            Variant(name, CursorWrapper(build(checks=checks)(wrapper, session), wrapper).execute)
            for checks in (False, True)
        ]
        measure(variants, statements, rounds)
        without, ours = variants
        more = Interval.of(ours.more(without))
        print(
            f"{name:38}{statistics.median(without.process):9.2f}   + {more.median:6.3f}"
            f"  ({more.low:.3f} to {more.high:.3f})"
        )
    wrapper.close()


@contextlib.contextmanager
def dead_collector() -> Iterator[str]:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def hanging_collector() -> Iterator[str]:
    """Takes each request and never answers."""
    stop = threading.Event()

    class Hanging(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            stop.wait()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hanging)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        stop.set()
        server.shutdown()


@contextlib.contextmanager
def sink() -> Iterator[str]:
    """A collector that takes everything, in a process of its own."""
    with subprocess.Popen([sys.executable, "-c", SINK], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


class Collections:
    """How long Python's garbage collector has run: a full collection stops whatever allocates next, and looks at all
    that the process holds."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._started = 0.0
        gc.callbacks.append(self._note)

    def _note(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._started = time.perf_counter()
        else:
            self.seconds += time.perf_counter() - self._started


class Wait(NamedTuple):
    """What one statement waited for its instrumentation, in seconds."""

    total: float
    cpu: float
    collecting: float


def bad_collectors(seconds: float) -> None:
    """What a query waits for its instrumentation, at a steady 400 statements per second."""
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    from mssql.instrumentation.statement import ConnectionInfo, StatementKind

    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    print(f"\nTime in µs that a sampled statement waits for its instrumentation, {seconds:g} s each")
    print("(the longest: how much of it was CPU of its own, and how much Python's garbage collector)")
    print(
        f"{'collector':14}{'median':>10}{'p99':>10}{'longest':>10}{'CPU':>10}{'GC':>10}{'memory, MiB more':>20}"
    )
    info = ConnectionInfo("default", "shop", "db.example.com")
    collections = Collections()
    for name, collector in (("good", sink), ("dead", dead_collector), ("hanging", hanging_collector)):
        with collector() as endpoint:
            meters = meter_provider(endpoint)
            observed = recorder({}, info, tracer_provider(ALWAYS_ON, endpoint, 2048), meters)
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            waits: list[Wait] = []
            started = time.perf_counter()
            while time.perf_counter() - started < seconds:
                sql = SQL.format(len(waits) % 50)
                collected, cpu, before = collections.seconds, time.thread_time(), time.perf_counter()
                statement = observed.begin(StatementKind.QUERY, sql, (1,))
                observed.end(statement, rowcount=1)
                observed.close(statement, returned_rows=1)
                total = time.perf_counter() - before
                waits.append(Wait(total, time.thread_time() - cpu, collections.seconds - collected))
                time.sleep(1 / 400)
            more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
            waits.sort()
            columns = (waits[len(waits) // 2].total, waits[int(len(waits) * 0.99)].total, *waits[-1])
            print(f"{name:14}{''.join(f'{column * 1e6:10.0f}' for column in columns)}{more:20.1f}")


def soak(seconds: float, threads: int = 8) -> bool:
    """Threads that query without pause; whether every span that the exporter accepted arrived over the socket."""
    from django.db import connections
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    from tests.otlp_receiver import OtlpReceiver

    class Counting(OtlpReceiver):
        """Keeps no span: minutes of them would fill memory."""

        arrived = 0

        def _keep(self, path: str, request: Any, headers: dict[str, str]) -> None:
            with lock:
                self.arrived += sum(
                    len(part.spans) for it in request.resource_spans for part in it.scope_spans
                )

    logging.getLogger("mssql.query").setLevel(logging.ERROR)
    counts = {"executed": 0, "failed": 0}
    lock = threading.Lock()
    with Counting() as receiver:
        provider = tracer_provider(ALWAYS_ON, receiver.endpoint, 1 << 15)
        stop = time.monotonic() + seconds

        def work() -> None:
            wrapper = connections.create_connection("default")
            wrapper.inc_thread_sharing()
            wrapper.ensure_connection()
            session = wrapper.connection
            options = {"tracing": {"returned_rows": True}, "metrics": False}
            session.recorder = recorder(options, session.info, provider, None)
            executed = failed = 0
            while time.monotonic() < stop:
                executed += 1
                cursor = wrapper.cursor()  # never closed
                try:
                    if executed % 50:
                        cursor.execute(SQL.format(executed % 50), (executed,))
                    else:
                        cursor.execute("SELECT * FROM [no_such_table]")
                except django.db.Error:
                    failed += 1
            wrapper.close()
            with lock:
                counts["executed"] += executed
                counts["failed"] += failed

        running = [threading.Thread(target=work) for _ in range(threads)]
        memory: list[int] = []
        for thread in running:
            thread.start()
        for _ in range(10):
            time.sleep(seconds / 10)
            memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
        for thread in running:
            thread.join()
        provider.shutdown()
    print(
        f"{threads} threads, {seconds:g} s: {counts['executed']} statements ({counts['failed']} failed on purpose)"
    )
    print(f"spans over the socket: {receiver.arrived}, missing: {counts['executed'] - receiver.arrived}")
    print(f"memory in MiB after each tenth: {' '.join(map(str, memory))}")
    return receiver.arrived == counts["executed"]


@contextlib.contextmanager
def server() -> Iterator[None]:
    """Django on MSSQL_HOST, or on a stand-in of its own."""
    with contextlib.ExitStack() as stack:
        host = os.environ.get("MSSQL_HOST")
        if host:
            port, user = os.environ.get("MSSQL_PORT", "1433"), os.environ.get("MSSQL_USER", "sa")
            password = os.environ["MSSQL_PASSWORD"]
        else:
            from sqlserver_standin import StandIn

            standin = stack.enter_context(StandIn())
            host, port, user, password = standin.host, str(standin.port), standin.user, standin.password
        settings.configure(
            DATABASES={
                "default": {
                    "ENGINE": "mssql",
                    "NAME": os.environ.get("MSSQL_DATABASE", "master"),
                    "HOST": host,
                    "PORT": port,
                    "USER": user,
                    "PASSWORD": password,
                    "OPTIONS": {"trust_server_certificate": True},
                }
            }
        )
        django.setup()
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--statements", type=int, default=200, help="in each round")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=15.0, help="for each collector")
    parser.add_argument("--soak", type=float, metavar="SECONDS", help="only this: 8 threads for so long")
    options = parser.parse_args()
    if options.soak:
        with server():
            if not soak(options.soak):
                sys.exit("Spans were lost.")
        return
    with server(), sink() as endpoint:
        off(10 * options.rounds)
        cpu(options.statements, options.rounds, endpoint)
        bad_collectors(options.seconds)


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    main()
    # A hanging collector would hold up the exporters' own farewell at exit.
    sys.stdout.flush()
    os._exit(0)
