"""What instrumentation costs: client CPU per statement, beside opentelemetry-instrumentation-dbapi; bad collectors.

    python benchmarks/instrumentation.py [--statements N] [--rounds N] [--seconds N]
    python benchmarks/instrumentation.py --soak SECONDS

Runs against MSSQL_HOST (_PORT, _USER, _PASSWORD), or starts the stand-in. Everything is measured in one run, in turns,
over the same driver and server; CPU time is this process's own, exporting included.
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import logging
import os
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

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
    process: list[float]
    thread: list[float]

    @classmethod
    def of(cls, name: str, cursor: Any) -> Variant:
        return cls(name, cursor.execute, [], [])


def measure(variants: list[Variant], statements: int, rounds: int) -> None:
    texts = [SQL.format(number) for number in range(50)]
    for turn in range(rounds + 1):
        for variant in variants:
            process, thread = time.process_time(), time.thread_time()
            for number in range(statements):
                variant.execute(texts[number % 50], (number,))
            # The queue is emptied within the round that filled it.
            for provider in PROVIDERS:
                provider.force_flush()
            if turn:  # the first round warms up
                variant.process.append((time.process_time() - process) / statements * 1e6)
                variant.thread.append((time.thread_time() - thread) / statements * 1e6)


def least(rounds: list[float]) -> float:
    """The lower decile: whatever else the machine does can only add."""
    return sorted(rounds)[len(rounds) // 10]


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
        return Variant.of(name, wrapper.cursor())

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
        return Variant.of(name, wrapper.cursor())

    meters = meter_provider(endpoint)
    off = Variant.of("off", connection().cursor())
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
    ]
    measure(variants, statements, rounds)

    print(f"Client CPU per statement in µs, lower decile of {rounds} rounds of {statements} statements")
    print(f"{'':38}{'thread':>9}{'added':>9}{'process':>11}{'added':>9}")
    added: dict[str, float] = {}
    for variant in variants:
        thread, process = least(variant.thread), least(variant.process)
        more_thread, more_process = thread - least(off.thread), process - least(off.process)
        added[variant.name] = more_process
        print(f"{variant.name:38}{thread:9.1f}{more_thread:9.1f}{process:11.1f}{more_process:9.1f}")
    for what in ("spans", "spans and metrics"):
        dbapi = added[f"dbapi: {what}, sampled"]
        unsampled, sampled = added[f"ours: {what}, unsampled"], added[f"ours: {what}, sampled"]
        print(f"{what}: unsampled {unsampled / dbapi:.2f}, sampled {sampled / dbapi:.2f} of dbapi's cost")
    meters.shutdown()
    for provider in PROVIDERS:
        provider.shutdown()


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


def bad_collectors(seconds: float) -> None:
    """What a query waits for its instrumentation, at a steady 400 statements per second."""
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    from mssql.instrumentation.statement import ConnectionInfo, StatementKind

    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    print(f"\nTime that a sampled statement waits for its instrumentation, {seconds:g} s each")
    print(f"{'collector':14}{'median µs':>12}{'p99 µs':>10}{'max µs':>10}{'memory, MiB more':>20}")
    info = ConnectionInfo("default", "shop", "db.example.com")
    for name, collector in (("good", sink), ("dead", dead_collector), ("hanging", hanging_collector)):
        with collector() as endpoint:
            meters = meter_provider(endpoint)
            observed = recorder({}, info, tracer_provider(ALWAYS_ON, endpoint, 2048), meters)
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            waits: list[float] = []
            started = time.perf_counter()
            while time.perf_counter() - started < seconds:
                sql = SQL.format(len(waits) % 50)
                before = time.perf_counter()
                statement = observed.begin(StatementKind.QUERY, sql, (1,))
                observed.end(statement, rowcount=1)
                observed.close(statement, returned_rows=1)
                waits.append(time.perf_counter() - before)
                time.sleep(1 / 400)
            more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
            waits.sort()
            p99 = waits[int(len(waits) * 0.99)]
            print(
                f"{name:14}{statistics.median(waits) * 1e6:12.0f}{p99 * 1e6:10.0f}{waits[-1] * 1e6:10.0f}{more:20.1f}"
            )


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
        cpu(options.statements, options.rounds, endpoint)
        bad_collectors(options.seconds)


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    main()
    # A hanging collector would hold up the exporters' own farewell at exit.
    sys.stdout.flush()
    os._exit(0)
