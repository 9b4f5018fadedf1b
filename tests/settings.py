"""Django settings of our own tests; tests/conftest.py fills in which server they run on."""

from __future__ import annotations

import os

SECRET_KEY = "tests-only"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ROOT_URLCONF = "tests.urls"
STATIC_URL = "/static/"
INTERNAL_IPS = ["127.0.0.1"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "mssql",
    "tests.backend",
]

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

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


def _database(name: str) -> dict[str, object]:
    """One alias on the server that MSSQL_HOST names; without it tests/conftest.py starts the stand-in."""
    return {
        "ENGINE": "mssql",
        "NAME": name,
        "HOST": os.environ.get("MSSQL_HOST", ""),
        "PORT": os.environ.get("MSSQL_PORT", ""),
        "USER": os.environ.get("MSSQL_USER", "sa"),
        "PASSWORD": os.environ.get("MSSQL_PASSWORD", ""),
        "OPTIONS": {
            "encrypt": True,
            "trust_server_certificate": True,
            "app_name": "mssql-tests",
            "connection_timeout": 60,
        },
    }


DATABASES = {
    "default": _database(os.environ.get("MSSQL_DATABASE", "observable")),
    "other": _database(os.environ.get("MSSQL_DATABASE", "observable") + "_other"),
}
