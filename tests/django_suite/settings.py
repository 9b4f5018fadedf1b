"""Settings under which Django's own test suite runs on SQL Server; tests/django_suite/run.py sets the environment."""

from __future__ import annotations

import os
from typing import Any

import django


def _database(name: str) -> dict[str, Any]:
    return {
        "ENGINE": "mssql",
        "NAME": name,
        "HOST": os.environ["MSSQL_HOST"],
        "PORT": os.environ.get("MSSQL_PORT", "1433"),
        "USER": os.environ.get("MSSQL_USER", "sa"),
        "PASSWORD": os.environ["MSSQL_PASSWORD"],
        "OPTIONS": {
            "encrypt": True,
            "trust_server_certificate": True,
            "app_name": "django-suite",
            "connection_timeout": 60,
            "json_storage": os.environ.get("DJANGO_SUITE_JSON_STORAGE", "nvarchar"),
        },
    }


_name = os.environ.get("MSSQL_DATABASE", "django")
DATABASES = {"default": _database(_name), "other": _database(f"{_name}_other")}
DEFAULT_AUTO_FIELD = "django.db.models." + ("BigAutoField" if django.VERSION >= (6, 0) else "AutoField")
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
SECRET_KEY = "django_tests_secret_key"
TEST_RUNNER = "tests.django_suite.runner.RecordingRunner"
USE_TZ = False
