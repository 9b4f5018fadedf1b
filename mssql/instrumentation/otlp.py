"""Sets up OpenTelemetry's SDK with OTLP exporters: by one call, or by the OTEL_* environment alone.

The only module that imports the SDK and the exporters, and only when it has something to set up.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from opentelemetry import _logs as otel_logs
from opentelemetry import metrics, trace

logger = logging.getLogger("mssql.instrumentation")

EXIT_SECONDS = 3.0
"""How long a process that ends waits for a collector to take what is left."""

SIGNALS = ("traces", "metrics", "logs")
PROTOCOLS = ("http/protobuf", "grpc")
INSTALL = 'pip install "django-mssql-observable[otlp]"'

# https://opentelemetry.io/docs/specs/otel/protocol/exporter/#specify-protocol
_DEFAULT_PROTOCOL = "http/protobuf"
_PACKAGES = {
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http",
    "grpc": "opentelemetry.exporter.otlp.proto.grpc",
}
_EXPORTERS = {
    "traces": ("trace_exporter", "OTLPSpanExporter"),
    "metrics": ("metric_exporter", "OTLPMetricExporter"),
    "logs": ("_log_exporter", "OTLPLogExporter"),
}

_GLOBAL: dict[str, Callable[[Any], None]] = {
    "traces": trace.set_tracer_provider,
    "metrics": metrics.set_meter_provider,
    "logs": otel_logs.set_logger_provider,
}

# Loggers that the exporters share, beside one named like the module of each.
_COMPLAIN = ("opentelemetry.exporter.otlp.common.http", "opentelemetry.exporter.otlp.proto.grpc.exporter")

_exporting = threading.local()


def configure(
    *,
    service_name: str | None = None,
    endpoint: str | None = None,
    protocol: str | None = None,
    headers: Mapping[str, str] | None = None,
    resource_attributes: Mapping[str, str] | None = None,
    signals: tuple[str, ...] = SIGNALS,
) -> tuple[str, ...]:
    """Send ``signals`` by OTLP; return those that were set up.

    What is left out comes from OpenTelemetry's environment variables (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES,
    OTEL_EXPORTER_OTLP_*, OTEL_TRACES_SAMPLER, OTEL_BSP_* ...). A signal that already has a provider keeps it.
    Everything is flushed at exit, for at most `EXIT_SECONDS`, and works on in a process that forks.
    """
    for signal in signals:
        if signal not in SIGNALS:
            raise ImproperlyConfigured(f"otlp.configure(): signal {signal!r}; allowed: {', '.join(SIGNALS)}.")
    if _environment("OTEL_SDK_DISABLED").lower() == "true":
        return ()
    set_up = functools.partial(
        _set_up, service_name, endpoint, protocol, headers, resource_attributes, signals
    )
    if _after_uwsgi_forks(set_up):
        return tuple(signal for signal in signals if not _has_provider(signal))
    return set_up()


def _after_uwsgi_forks(set_up: Callable[[], object]) -> bool:
    """Whether uWSGI will fork its workers from this process, and ``set_up`` was left for each of them.

    uWSGI calls fork() in C, past `os.register_at_fork`, by which the SDK and we start our threads again: in its
    workers nothing that was set up before would ever be sent.
    """
    try:
        uwsgi: Any = importlib.import_module("uwsgi")  # there is such a module only in a process of uWSGI's
    except ImportError:
        return False
    if uwsgi.worker_id() or uwsgi.mule_id():
        return False
    try:
        # The decorators replace the hook by their own when they are imported, so theirs is the chain to join.
        importlib.import_module("uwsgidecorators").postfork(set_up)
    except Exception:  # not installed, or it wants a master process
        before = getattr(uwsgi, "post_fork_hook", None)

        def hook() -> None:
            if before is not None:
                before()
            set_up()

        uwsgi.post_fork_hook = hook
    return True


def _set_up(
    service_name: str | None,
    endpoint: str | None,
    protocol: str | None,
    headers: Mapping[str, str] | None,
    resource_attributes: Mapping[str, str] | None,
    signals: tuple[str, ...],
) -> tuple[str, ...]:
    wanted = tuple(signal for signal in signals if not _has_provider(signal))
    if not wanted:
        return ()
    attributes = {**_default_service(), **(resource_attributes or {})}
    if service_name:
        attributes["service.name"] = service_name
    try:
        from opentelemetry.sdk.resources import Resource

        resource = Resource.create(attributes)
        providers = {
            signal: _provider(signal, _exporter(signal, endpoint, protocol, headers), resource)
            for signal in wanted
        }
    except ImproperlyConfigured:
        raise
    except ImportError as error:
        raise ImproperlyConfigured(
            f"OTLP export needs {error.name}, which is not installed: {INSTALL}"
        ) from error
    except (
        Exception
    ) as error:  # of several kinds: many an OTEL_* variable is checked by the part that reads it
        raise ImproperlyConfigured(f"OpenTelemetry refuses what OTEL_* says: {error}") from error
    for signal, provider in providers.items():
        _GLOBAL[signal](provider)
    _Farewell(list(providers.values()))
    return wanted


@functools.cache
def configure_from_environment() -> None:
    """Set up what OTEL_* names, once in a process and only where nobody else did.

    Called when the first instrumented connection is made, so that an application's own set-up comes before it.
    """
    signals = tuple(signal for signal in SIGNALS if _is_named(signal))
    if not signals:
        return
    try:
        configured = configure(signals=signals)
    except ImproperlyConfigured as error:
        logger.warning("OTEL_* asks for OTLP export, but it can't be set up: %s", error)
        return
    if configured:
        logger.info("OTLP export of %s set up from OTEL_* environment variables.", ", ".join(configured))


def _environment(name: str) -> str:
    return os.environ.get(name, "").strip()


def _is_named(signal: str) -> bool:
    """Whether the environment wants ``signal`` by OTLP: by an endpoint or by naming the exporter."""
    exporters = _environment(f"OTEL_{signal.upper()}_EXPORTER")
    if exporters:
        return "otlp" in [name.strip() for name in exporters.split(",")]
    return bool(
        _environment("OTEL_EXPORTER_OTLP_ENDPOINT")
        or _environment(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
    )


def _has_provider(signal: str) -> bool:
    """Whether somebody (the application, opentelemetry-instrument) has set a provider already."""
    provider = {
        "traces": trace.get_tracer_provider,
        "metrics": metrics.get_meter_provider,
        "logs": otel_logs.get_logger_provider,
    }[signal]()
    return "Proxy" not in type(provider).__name__


def _default_service() -> dict[str, str]:
    """The project's name, where nobody gave one: better than "unknown_service" on every site's list."""
    project = _environment("DJANGO_SETTINGS_MODULE").partition(".")[0]
    named = _environment("OTEL_SERVICE_NAME") or "service.name=" in _environment("OTEL_RESOURCE_ATTRIBUTES")
    return {"service.name": project} if project and not named else {}


def _exporter(
    signal: str, endpoint: str | None, protocol: str | None, headers: Mapping[str, str] | None
) -> Any:
    protocol = (
        protocol
        or _environment(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL")
        or _environment("OTEL_EXPORTER_OTLP_PROTOCOL")
        or _DEFAULT_PROTOCOL
    )
    if protocol not in _PACKAGES:
        raise ImproperlyConfigured(f"OTLP protocol {protocol!r}; allowed: {', '.join(PROTOCOLS)}.")
    module, name = _EXPORTERS[signal]
    exporter = _telling_once(getattr(importlib.import_module(f"{_PACKAGES[protocol]}.{module}"), name))
    for source in (f"{_PACKAGES[protocol]}.{module}", *_COMPLAIN):
        logging.getLogger(source).addFilter(_is_news)  # adding it again changes nothing
    arguments: dict[str, Any] = {}
    if endpoint is not None:
        http = protocol == "http/protobuf"
        arguments["endpoint"] = f"{endpoint.rstrip('/')}/v1/{signal}" if http else endpoint
    if headers is not None:
        arguments["headers"] = dict(headers)
    return exporter(**arguments)


def _telling_once(exporter: Any) -> Any:
    """The exporter's class, whose complaints about a collector that is down are told once, until it is back.

    By itself it logs each try and each batch that it gives up, in every process and for as long as that lasts.
    """

    class Exporter(exporter):  # type: ignore[misc]
        def __init__(self, **arguments: Any) -> None:
            self._told: set[int] = set()
            super().__init__(**arguments)

        def export(self, *args: Any, **kwargs: Any) -> Any:
            _exporting.told = self._told
            try:
                result = super().export(*args, **kwargs)
            finally:
                _exporting.told = None
            if result.name == "SUCCESS":
                self._told.clear()
            return result

    return Exporter


def _is_news(record: logging.LogRecord) -> bool:
    """Of one signal's outage the first record of each level: the try that failed, the batch that was given up."""
    told: set[int] | None = getattr(_exporting, "told", None)
    if told is None:
        return True
    if record.levelno in told:
        return False
    told.add(record.levelno)
    return True


def _provider(signal: str, exporter: Any, resource: Any) -> Any:
    """What makes the signal's telemetry and sends it in batches by ``exporter``."""
    if signal == "traces":
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        tracer_provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        tracer_provider.add_span_processor(BatchSpanProcessor(exporter))
        return tracer_provider
    if signal == "metrics":
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

        return MeterProvider([PeriodicExportingMetricReader(exporter)], resource, shutdown_on_exit=False)
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    logger_provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
    logger_provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    return logger_provider


class _Farewell:
    """Shuts the providers down at exit, and waits for it no longer than `EXIT_SECONDS`.

    By themselves they wait 14 seconds for a collector that is not there, which no one who runs a management command
    wants. The thread is started beforehand: while the interpreter shuts down none can be.
    """

    def __init__(self, providers: Sequence[Any]) -> None:
        self._providers = providers
        self._start()
        atexit.register(self._say)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._start)

    def _start(self) -> None:
        self._leaving, self._done = threading.Event(), threading.Event()
        waiting = threading.Thread(
            target=self._shut_down, args=(self._leaving, self._done), name="mssql-otlp-exit", daemon=True
        )
        waiting.start()

    def _shut_down(self, leaving: threading.Event, done: threading.Event) -> None:
        leaving.wait()
        for provider in self._providers:
            with contextlib.suppress(Exception):  # the others are to have their chance too
                provider.shutdown()
        done.set()

    def _say(self) -> None:
        self._leaving.set()
        self._done.wait(EXIT_SECONDS)
