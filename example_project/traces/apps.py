"""The Traces page's Django app."""

from __future__ import annotations

from django.apps import AppConfig


class TracesConfig(AppConfig):
    """Shows what arrived over OTLP, with no other software."""

    name = "example_project.traces"
    label = "traces"
