"""OPTIONS["instrumentation"] is checked once, and a mistake is told with the key, the value and what is allowed."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from mssql.instrumentation.conf import InstrumentationConfig

from_options = InstrumentationConfig.from_options


@pytest.mark.parametrize("value", [False, None])
def test_off(value: object) -> None:
    config = from_options(value)
    assert not config.enabled
    assert (config.tracing, config.metrics, config.query_log) == (None, None, None)


@pytest.mark.parametrize("value", [True, {}])
def test_the_defaults_hold_no_personal_data(value: object) -> None:
    config = from_options(value)
    assert config.enabled
    assert config.metrics is not None
    assert not config.metrics.returned_rows
    assert config.tracing is not None
    assert config.tracing.error_messages == "scrubbed"
    assert not config.tracing.connect
    assert config.query_text == "auto"
    assert not config.query_parameters
    assert config.plans.when == "never"
    assert config.propagation is None
    assert config.query_log is not None
    assert config.query_log.slow_ms == 500


def test_everything_can_be_said() -> None:
    config = from_options(
        {
            "tracing": {
                "connect": True,
                "transactions": True,
                "pool": True,
                "returned_rows": True,
                "error_messages": "raw",
            },
            "metrics": False,
            "query_log": {"slow_ms": 0, "level": "INFO", "exceptions": False},
            "query_text": "sanitized",
            "query_parameters": True,
            "plans": {
                "when": "sampled",
                "slow_ms": 250.5,
                "sample_ratio": 0.1,
                "source": "cached",
                "max_bytes": 1,
                "per_minute": 0,
            },
            "deadlock_graphs": True,
            "propagation": {"mode": "comment", "tags": {"service": "shop"}, "force_traceparent": True},
            "caller": True,
            "otlp": False,
            "filter": "operator.truth",
            "request_hook": print,
            "response_hook": None,
        }
    )
    assert config.query_log is not None
    assert config.query_log.level == logging.INFO
    assert config.plans.slow_ms == 250.5
    assert config.propagation is not None
    assert config.propagation.tags == (("service", "shop"),)
    assert config.filter is not None
    assert config.filter("x") is True


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("yes", ["OPTIONS[\"instrumentation\"] is 'yes'", "True, False or a dict"]),
        ({"tracin": True}, ["unknown key 'tracin'", "value True", "tracing"]),
        ({"tracing": 1}, ['["tracing"] is 1', "returned_rows"]),
        ({"tracing": {"conect": True}}, ['["tracing"]', "'conect'", "connect"]),
        ({"tracing": {"connect": "yes"}}, ['["tracing"]["connect"]', "'yes'", "True or False"]),
        ({"tracing": {"error_messages": "all"}}, ["'all'", '"scrubbed", "raw", "off"']),
        ({"metrics": 1}, ['["metrics"] is 1', "True, False or a dict"]),
        ({"query_text": "some"}, ["'some'", '"auto", "sanitized", "raw", "off"']),
        ({"query_log": {"slow_ms": -1}}, ['["slow_ms"] is -1', "a number of at least 0"]),
        ({"query_log": {"slow_ms": True}}, ['["slow_ms"] is True', "a number"]),
        ({"query_log": {"slow_ms": float("nan")}}, ["nan", "a number"]),
        ({"query_log": {"level": "LOUD"}}, ["'LOUD'", '"WARNING"']),
        ({"plans": True}, ['["plans"] is True', "a dict", "sample_ratio"]),
        ({"plans": {"when": "sometimes"}}, ["'sometimes'", '"never", "slow", "sampled", "always"']),
        ({"plans": {"sample_ratio": 2}}, ["from 0 to 1"]),
        ({"plans": {"max_bytes": 1.5}}, ["1.5", "an integer"]),
        ({"propagation": True}, ["True", '"context_info"']),
        ({"propagation": "header"}, ["'header'", '"comment"']),
        ({"propagation": {"tags": {}}}, ['the key "mode"']),
        ({"propagation": {"mode": "context_info", "tags": {"a": "b"}}}, ["tags", '"mode" alone']),
        ({"propagation": {"mode": "comment", "tags": {"a": 1}}}, ["a dict of strings"]),
        (
            {"propagation": {"mode": "comment", "tags": {"traceparent": "00-"}}},
            ["one cached plan", "context_info", "force_traceparent"],
        ),
        ({"filter": "no.such.hook"}, ["no.such.hook", "dotted path"]),
        ({"filter": 5}, ['["filter"] is 5', "a callable"]),
    ],
)
def test_a_mistake_names_key_value_and_what_is_allowed(value: Any, said: list[str]) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        from_options(value)
    for part in said:
        assert re.search(re.escape(part), str(caught.value))
