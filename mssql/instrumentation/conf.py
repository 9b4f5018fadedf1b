"""InstrumentationConfig: OPTIONS["instrumentation"], validated once and immutable."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

QueryText = Literal["auto", "sanitized", "raw", "off"]
ErrorMessages = Literal["scrubbed", "raw", "off"]
PlanWhen = Literal["never", "slow", "sampled", "always"]
PlanSource = Literal["auto", "actual", "cached", "estimated"]
PropagationMode = Literal["context_info", "comment"]
Hook = Callable[..., Any]

PER_REQUEST_TAGS = frozenset({"traceparent", "tracestate"})
"""What a comment must not carry unless forced: it differs with every statement."""

OPTION = 'OPTIONS["instrumentation"]'


@dataclass(frozen=True, slots=True)
class TracingConfig:
    """Which spans there are beside the one per statement, and what they carry."""

    connect: bool = False
    transactions: bool = False
    pool: bool = False
    returned_rows: bool = False
    error_messages: ErrorMessages = "scrubbed"


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """Which metrics there are beside durations, connections and our counters."""

    returned_rows: bool = False


@dataclass(frozen=True, slots=True)
class QueryLogConfig:
    """Statements that take at least ``slow_ms`` are logged at ``level``; 0 logs every statement."""

    slow_ms: float = 500.0
    level: int = logging.WARNING
    exceptions: bool = True


@dataclass(frozen=True, slots=True)
class PlansConfig:
    """When an execution plan is taken, where from, and how much of it at most."""

    when: PlanWhen = "never"
    slow_ms: float = 500.0
    sample_ratio: float = 0.01
    source: PlanSource = "auto"
    max_bytes: int = 1_000_000
    per_minute: int = 10


@dataclass(frozen=True, slots=True)
class PropagationConfig:
    """How the server learns who asks: the trace in CONTEXT_INFO, or static tags in a comment."""

    mode: PropagationMode
    tags: tuple[tuple[str, str], ...] = ()
    tags_hook: Hook | None = None
    force_traceparent: bool = False


@dataclass(frozen=True, slots=True)
class InstrumentationConfig:
    """What is observed of one database alias. The default is everything off."""

    enabled: bool = False
    tracing: TracingConfig | None = None
    metrics: MetricsConfig | None = None
    query_log: QueryLogConfig | None = None
    query_text: QueryText = "auto"
    query_parameters: bool = False
    plans: PlansConfig = field(default_factory=PlansConfig)
    deadlock_graphs: bool = False
    propagation: PropagationConfig | None = None
    caller: bool = False
    otlp: bool = True
    filter: Hook | None = None
    request_hook: Hook | None = None
    response_hook: Hook | None = None

    @classmethod
    def from_options(cls, value: object) -> InstrumentationConfig:
        """Read ``OPTIONS["instrumentation"]``: False, True (the defaults) or a dict of differences."""
        if value is None or value is False:
            return cls()
        if value is True:
            value = {}
        if not isinstance(value, Mapping):
            raise _invalid(OPTION, value, "True, False or a dict")
        # What is on unless said otherwise: the cheap parts that hold no personal data.
        given: dict[str, Any] = {"tracing": True, "metrics": True, "query_log": True, **value}
        return cls(enabled=True, **_section(OPTION, given, _KEYS))


Check = Callable[[str, object], Any]


def _invalid(path: str, value: object, allowed: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"{path} is {value!r}; allowed: {allowed}.")


def _section(path: str, value: Mapping[Any, object], keys: Mapping[str, Check]) -> dict[str, Any]:
    for key in value:
        if key not in keys:
            allowed = ", ".join(sorted(keys))
            raise ImproperlyConfigured(
                f"{path} has an unknown key {key!r} (value {value[key]!r}); allowed: {allowed}."
            )
    return {key: keys[key](f'{path}["{key}"]', item) for key, item in value.items()}


def _boolean(path: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _invalid(path, value, "True or False")
    return value


def _one_of(*allowed: str, **synonyms: str) -> Check:
    """A check for a word. ``true``/``false`` name the word that a plain True or False stands for."""

    def check(path: str, value: object) -> str:
        if isinstance(value, bool) and str(value).lower() in synonyms:
            return synonyms[str(value).lower()]
        if not isinstance(value, str) or value not in allowed:
            raise _invalid(path, value, ", ".join(f'"{word}"' for word in allowed))
        return value

    return check


def _number(kind: type[int] | type[float], minimum: float, maximum: float | None = None) -> Check:
    noun = "an integer" if kind is int else "a number"
    span = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
    accepted: tuple[type, ...] = (int,) if kind is int else (int, float)

    def check(path: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, accepted):
            raise _invalid(path, value, f"{noun} {span}")
        number = cast(float, value)
        if not number >= minimum or (maximum is not None and number > maximum):
            raise _invalid(path, value, f"{noun} {span}")
        return kind(number)

    return check


def _level(path: str, value: object) -> int:
    names = logging.getLevelNamesMapping()
    if isinstance(value, str) and value.upper() in names:
        return names[value.upper()]
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise _invalid(
        path, value, "a logging level: " + ", ".join(f'"{name}"' for name in names if name != "NOTSET")
    )


def _hook(path: str, value: object) -> Hook | None:
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = import_string(value)
        except ImportError as error:
            raise _invalid(path, value, f"a callable or the dotted path of one ({error})") from error
    if not callable(value):
        raise _invalid(path, value, "a callable or the dotted path of one")
    return cast(Hook, value)


def _dict_of(factory: Callable[..., Any], keys: Mapping[str, Check], *, switch: bool = True) -> Check:
    """A check for a group of keys; where ``switch``, True means its defaults and False or None means off."""

    def check(path: str, value: object) -> Any:
        if switch and value is True:
            return factory()
        if switch and (value is False or value is None):
            return None
        if not isinstance(value, Mapping):
            allowed = "True, False or a dict" if switch else "a dict"
            raise _invalid(path, value, f"{allowed} with the keys {', '.join(sorted(keys))}")
        return factory(**_section(path, value, keys))

    return check


def _tags(path: str, value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping) or not all(
        isinstance(part, str) for item in value.items() for part in item
    ):
        raise _invalid(path, value, "a dict of strings")
    for key in value:
        if key in PER_REQUEST_TAGS:
            raise ImproperlyConfigured(
                f"{path} has the key {key!r}: it differs with every statement, and SQL Server keeps one cached plan"
                ' per text, so each statement would be compiled anew. Use "context_info" to send the trace; to send'
                ' it in the comment all the same, set "force_traceparent".'
            )
    return tuple(value.items())


_PROPAGATION_KEYS: dict[str, Check] = {
    "mode": _one_of("context_info", "comment"),
    "tags": _tags,
    "tags_hook": _hook,
    "force_traceparent": _boolean,
}


def _propagation(path: str, value: object) -> PropagationConfig | None:
    if value is None or value is False:
        return None
    if isinstance(value, str):
        value = {"mode": value}
    if not isinstance(value, Mapping) or "mode" not in value:
        raise _invalid(path, value, 'None, "context_info", "comment" or a dict with the key "mode"')
    given = _section(path, value, _PROPAGATION_KEYS)
    if given["mode"] == "context_info" and len(given) > 1:
        raise _invalid(path, value, 'for "context_info" the key "mode" alone')
    return PropagationConfig(**given)


_KEYS: dict[str, Check] = {
    "tracing": _dict_of(
        TracingConfig,
        {
            "connect": _boolean,
            "transactions": _boolean,
            "pool": _boolean,
            "returned_rows": _boolean,
            "error_messages": _one_of("scrubbed", "raw", "off", false="off"),
        },
    ),
    "metrics": _dict_of(MetricsConfig, {"returned_rows": _boolean}),
    "query_log": _dict_of(
        QueryLogConfig, {"slow_ms": _number(float, 0), "level": _level, "exceptions": _boolean}
    ),
    "query_text": _one_of("auto", "sanitized", "raw", "off", true="auto", false="off"),
    "query_parameters": _boolean,
    "plans": _dict_of(
        PlansConfig,
        {
            "when": _one_of("never", "slow", "sampled", "always"),
            "slow_ms": _number(float, 0),
            "sample_ratio": _number(float, 0, 1),
            "source": _one_of("auto", "actual", "cached", "estimated"),
            "max_bytes": _number(int, 1),
            "per_minute": _number(int, 0),
        },
        switch=False,
    ),
    "deadlock_graphs": _boolean,
    "propagation": _propagation,
    "caller": _boolean,
    "otlp": _boolean,
    "filter": _hook,
    "request_hook": _hook,
    "response_hook": _hook,
}
