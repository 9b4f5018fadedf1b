"""WSGI entry point. Telemetry is set up here, once per process, before Django loads its middleware."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application
from opentelemetry.instrumentation.django import DjangoInstrumentor

from mssql.instrumentation import otlp

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_project.config.settings")

# The toolbar's own requests and the page that shows the traces would drown the shop's.
os.environ.setdefault("OTEL_PYTHON_DJANGO_EXCLUDED_URLS", "__debug__,static,traces,favicon")
otlp.configure(service_name="example-shop")
DjangoInstrumentor().instrument()  # one SERVER span per request, the parent of the statements' spans

application = get_wsgi_application()
