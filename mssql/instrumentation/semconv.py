"""Names of what we emit: OpenTelemetry's semantic conventions 1.44.0, and our own under ``mssql.``.

Copied, not imported: half of them live in modules that OpenTelemetry marks private and moves between releases.
docs/telemetry.md says what each means; a test keeps it, this list and the conventions package equal.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Final

try:
    VERSION = version("django-mssql-observable")
except PackageNotFoundError:  # run from a source tree that is not installed
    VERSION = ""

SCOPE: Final = "mssql"
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"

# Attributes: https://opentelemetry.io/docs/specs/semconv/db/sql-server/
CODE_FILE_PATH: Final = "code.file.path"
CODE_FUNCTION_NAME: Final = "code.function.name"
CODE_LINE_NUMBER: Final = "code.line.number"
DB_CLIENT_CONNECTION_POOL_NAME: Final = "db.client.connection.pool.name"
DB_CLIENT_CONNECTION_STATE: Final = "db.client.connection.state"
DB_NAMESPACE: Final = "db.namespace"
DB_OPERATION_BATCH_SIZE: Final = "db.operation.batch.size"
DB_OPERATION_NAME: Final = "db.operation.name"
DB_QUERY_PARAMETER: Final = "db.query.parameter"
DB_QUERY_SUMMARY: Final = "db.query.summary"
DB_QUERY_TEXT: Final = "db.query.text"
DB_RESPONSE_RETURNED_ROWS: Final = "db.response.returned_rows"
DB_RESPONSE_STATUS_CODE: Final = "db.response.status_code"
DB_STORED_PROCEDURE_NAME: Final = "db.stored_procedure.name"
DB_SYSTEM_NAME: Final = "db.system.name"
ERROR_TYPE: Final = "error.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"
EXCEPTION_TYPE: Final = "exception.type"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"

MSSQL_ALIAS: Final = "mssql.alias"
MSSQL_DURATION_MS: Final = "mssql.duration_ms"
MSSQL_ERROR_CLASS: Final = "mssql.error.class"
MSSQL_RETRY_ATTEMPT: Final = "mssql.retry.attempt"
MSSQL_RETRY_DELAY: Final = "mssql.retry.delay"
MSSQL_RETRY_SCOPE: Final = "mssql.retry.scope"
MSSQL_ROWCOUNT: Final = "mssql.rowcount"
MSSQL_SESSION_ID: Final = "mssql.session_id"

MICROSOFT_SQL_SERVER: Final = "microsoft.sql_server"
DEFAULT_PORT: Final = 1433

# Metrics: https://opentelemetry.io/docs/specs/semconv/db/database-metrics/
DB_CLIENT_CONNECTION_COUNT: Final = "db.client.connection.count"
DB_CLIENT_CONNECTION_CREATE_TIME: Final = "db.client.connection.create_time"
DB_CLIENT_CONNECTION_IDLE_MAX: Final = "db.client.connection.idle.max"
DB_CLIENT_CONNECTION_IDLE_MIN: Final = "db.client.connection.idle.min"
DB_CLIENT_CONNECTION_MAX: Final = "db.client.connection.max"
DB_CLIENT_CONNECTION_PENDING_REQUESTS: Final = "db.client.connection.pending_requests"
DB_CLIENT_CONNECTION_TIMEOUTS: Final = "db.client.connection.timeouts"
DB_CLIENT_CONNECTION_USE_TIME: Final = "db.client.connection.use_time"
DB_CLIENT_CONNECTION_WAIT_TIME: Final = "db.client.connection.wait_time"
DB_CLIENT_OPERATION_DURATION: Final = "db.client.operation.duration"
DB_CLIENT_RESPONSE_RETURNED_ROWS: Final = "db.client.response.returned_rows"

MSSQL_DEADLOCKS: Final = "mssql.deadlocks"
MSSQL_LOCK_TIMEOUTS: Final = "mssql.lock_timeouts"
MSSQL_PLANS_CAPTURED: Final = "mssql.plans.captured"
MSSQL_RETRIES: Final = "mssql.retries"
MSSQL_SLOW_QUERIES: Final = "mssql.slow_queries"

# Log events
DB_CLIENT_OPERATION_EXCEPTION: Final = "db.client.operation.exception"
MSSQL_RETRY: Final = "mssql.retry"
MSSQL_SLOW_QUERY: Final = "mssql.slow_query"
