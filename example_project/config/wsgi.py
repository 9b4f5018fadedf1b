"""WSGI entry point. Telemetry is set up here, once per process, before Django loads its middleware."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application
from opentelemetry.instrumentation.django import DjangoInstrumentor

from mssql.instrumentation import otlp

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_project.config.settings")

otlp.configure(service_name="example-shop")
os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http")  # the stable names, such as url.path
# One SERVER span per request, the parent of the statements' spans. The toolbar's own requests and the page that shows
# the traces would drown the shop's.
DjangoInstrumentor().instrument(excluded_urls="__debug__,static,traces,favicon")

application = get_wsgi_application()
