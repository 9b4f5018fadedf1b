"""Settings of the example shop: what a project needs to use the backend, its telemetry and its panel."""

from __future__ import annotations

import json
import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
STATE_DIR = Path(os.environ.get("DEMO_STATE_DIR", BASE_DIR.parent / "var"))
"""Where `make demo` keeps the stand-in's data and the address that it listens on."""

SECRET_KEY = "the example is for your own machine only"
DEBUG = True
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "testserver"]
INTERNAL_IPS = ["127.0.0.1"]


def _server() -> dict[str, str]:
    """The server's address: MSSQL_* of the environment, else what a running `make demo` wrote down."""
    if os.environ.get("MSSQL_HOST"):
        return {
            "HOST": os.environ["MSSQL_HOST"],
            "PORT": os.environ.get("MSSQL_PORT", "1433"),
            "USER": os.environ.get("MSSQL_USER", "sa"),
            "PASSWORD": os.environ.get("MSSQL_PASSWORD", ""),
        }
    running = STATE_DIR / "server.json"
    return json.loads(running.read_text()) if running.exists() else {"HOST": "127.0.0.1", "PORT": "1433"}


DATABASES = {
    "default": {
        "ENGINE": "mssql",
        "NAME": os.environ.get("MSSQL_DATABASE", "shop"),
        **_server(),
        "OPTIONS": {
            "encrypt": True,
            "trust_server_certificate": True,
            "app_name": "example-shop",
            "instrumentation": {
                "tracing": {"transactions": True, "connect": True},
                "metrics": True,
                "query_log": {"slow_ms": 250},
                "deadlock_graphs": True,
            },
            "pool": True,
            "retry": {"transaction": {"attempts": 5}},
        },
    }
}

INSTALLED_APPS = [
    "example_project.shop",
    "example_project.traces",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "debug_toolbar",
    "mssql",
    "mssql.debug_panel",
]

MIDDLEWARE = [
    "debug_toolbar.middleware.DebugToolbarMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

DEBUG_TOOLBAR_PANELS = [
    "mssql.debug_panel.SQLServerPanel",
    "debug_toolbar.panels.history.HistoryPanel",
    "debug_toolbar.panels.timer.TimerPanel",
    "debug_toolbar.panels.request.RequestPanel",
    "debug_toolbar.panels.templates.TemplatesPanel",
    "debug_toolbar.panels.settings.SettingsPanel",
]
DEBUG_TOOLBAR_CONFIG = {
    "SHOW_COLLAPSED": True,
    "SHOW_TOOLBAR_CALLBACK": "example_project.config.toolbar.show_toolbar",
}

ROOT_URLCONF = "example_project.config.urls"
WSGI_APPLICATION = "example_project.config.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

LANGUAGE_CODE = "en"
TIME_ZONE = "Europe/Paris"
USE_TZ = True
STATIC_URL = "/static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {"mssql": {"handlers": ["console"], "level": "INFO"}},
}
