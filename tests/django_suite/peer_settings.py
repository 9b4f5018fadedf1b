"""Settings under which Django's own tests run with mssql-django, as its maintainers run them on SQL Server."""

from __future__ import annotations

from tests.django_suite.settings import (
    DATABASES,
    DEFAULT_AUTO_FIELD,
    PASSWORD_HASHERS,
    SECRET_KEY,
    USE_TZ,
)

for _database in DATABASES.values():
    _database["OPTIONS"] = {
        "driver": "ODBC Driver 18 for SQL Server",
        "extra_params": "Encrypt=yes;TrustServerCertificate=yes;APP=django-suite-peer",
        "connection_timeout": 60,
        "return_rows_bulk_insert": True,
    }

TEST_RUNNER = "tests.django_suite.peer_runner.PeerRunner"

__all__ = ["DATABASES", "DEFAULT_AUTO_FIELD", "PASSWORD_HASHERS", "SECRET_KEY", "TEST_RUNNER", "USE_TZ"]
