"""What T-SQL says differently, statement by statement and value by value."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from collections.abc import Iterable, Sequence
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import DataError, NotSupportedError
from django.db.backends.base.operations import BaseDatabaseOperations
from django.db.models import Field
from django.db.models.expressions import Col, RawSQL
from django.db.models.fields.composite import CompositePrimaryKey
from django.utils import timezone
from django.utils.encoding import force_str

from mssql import bulk, timezones
from mssql.expressions import is_condition
from mssql.hints import with_clause

if TYPE_CHECKING:
    from mssql.base import DatabaseWrapper

type_params = Sequence[Any]

_FOREIGN_KEYS = """\
SELECT s.name, t.name, rs.name, r.name, SCHEMA_NAME()
FROM sys.foreign_keys AS k
JOIN sys.tables AS t ON t.object_id = k.parent_object_id JOIN sys.schemas AS s ON s.schema_id = t.schema_id
JOIN sys.tables AS r ON r.object_id = k.referenced_object_id JOIN sys.schemas AS rs ON rs.schema_id = r.schema_id
WHERE k.is_ms_shipped = 0"""

BINARY_PLACEHOLDER = "CONVERT(varbinary(max), %s)"
"""A NULL travels as nvarchar, which converts to varbinary only when told to."""

# What their columns hold, the driver gives as Django wants it; where they are columns of our making: behind an
# unmanaged model's DateField there may be a datetime. Each converter costs a call for each row, and the first one a
# copy of each row.
_NATIVE_COLUMNS = frozenset({"BinaryField", "DateField", "TimeField"})

_TEXT_FIELDS = frozenset(
    {
        "CharField",
        "FileField",
        "FilePathField",
        "GenericIPAddressField",
        "IPAddressField",
        "JSONField",
        "SlugField",
        "TextField",
    }
)

# Monday, and the smallest date: whole units counted from here are never negative, so integer division floors.
_EPOCH = "CAST('00010101' AS %s)"


@lru_cache(4096)
def _quoted(name: str) -> str:
    schema, table = DatabaseOperations.split_table_name(name)
    if schema is None:
        return f"[{table.replace(']', ']]')}]"
    return f"[{schema}].[{table}]"


class DatabaseOperations(BaseDatabaseOperations):
    connection: DatabaseWrapper

    compiler_module = "mssql.compiler"
    # No prefix explains a statement in T-SQL (see SQLCompiler.explain_query()); Django asks whether there is one.
    explain_prefix = "EXPLAIN"

    integer_field_ranges = {
        **BaseDatabaseOperations.integer_field_ranges,
        # PositiveSmallIntegerField and its kin keep Django's ranges: their columns are signed.
    }
    cast_char_field_without_max_length = "nvarchar(max)"
    cast_data_types = {
        "AutoField": "int",
        "BigAutoField": "bigint",
        "SmallAutoField": "smallint",
        "TextField": "nvarchar(max)",
        "DurationField": "bigint",
        # Where columns are of the native type, expressions are text all the same (json_expressions.as_text).
        "JSONField": "nvarchar(max)",
    }

    # Names

    def quote_name(self, name: str) -> str:
        """Quote an identifier; ``[schema].[table]`` (or the older ``schema].[table``) names a table in a schema."""
        return _quoted(name)

    @staticmethod
    def split_table_name(name: str) -> tuple[str | None, str]:
        """Split ``Meta.db_table`` into schema (None: the login's default) and table, both without quotes.

        >>> [DatabaseOperations.split_table_name(name) for name in ("a", "[s].[a]", "s].[a", '"s"."a"', "a]b")]
        [(None, 'a'), ('s', 'a'), ('s', 'a'), ('s', 'a'), (None, 'a]b')]
        """
        for opening, closing in ("[]", '""'):
            inner = name
            if len(name) > 2 and name[0] == opening and name[-1] == closing:
                inner = name[1:-1]
            schema, separator, table = inner.partition(f"{closing}.{opening}")
            if separator and schema and table and not {opening, closing} & set(schema + table):
                return schema, table
            if inner is not name and not {opening, closing} & set(inner):
                return None, inner
        return None, name

    def max_name_length(self) -> int:
        return 128

    def tablespace_sql(self, tablespace: str, inline: bool = False) -> str:
        return f"ON {self.quote_name(tablespace)}"

    # Paging, ordering, locking

    def no_limit_value(self) -> None:
        return None

    def limit_offset_sql(self, low_mark: int | None, high_mark: int | None) -> str:
        """Return TOP, which follows SELECT, or OFFSET, which follows ORDER BY."""
        limit, offset = self._get_limit_offset_params(low_mark, high_mark)
        if not offset:
            return f"TOP ({limit:d})"
        sql = f"OFFSET {offset:d} ROWS"
        return f"{sql} FETCH NEXT {limit:d} ROWS ONLY" if limit else sql

    def for_update_sql(
        self, nowait: bool = False, skip_locked: bool = False, of: Sequence[str] = (), no_key: bool = False
    ) -> str:
        """Return the table hint that each locked table carries (there is no clause at the statement's end)."""
        return with_clause(self.lock_hints(nowait=nowait, skip_locked=skip_locked))

    def lock_hints(self, *, nowait: bool, skip_locked: bool) -> list[str]:
        """Return the hints of a table that SELECT … FOR UPDATE locks.

        READPAST under READ_COMMITTED_SNAPSHOT wants READCOMMITTEDLOCK beside it
        (https://learn.microsoft.com/sql/t-sql/queries/hints-transact-sql-table).
        """
        hints = ["UPDLOCK", "ROWLOCK"]
        if skip_locked:
            hints += ["READPAST", "READCOMMITTEDLOCK"]
        if nowait:
            hints.append("NOWAIT")
        return hints

    def cache_key_culling_sql(self) -> str:
        cache_key = self.quote_name("cache_key")
        return f"SELECT {cache_key} FROM %s ORDER BY {cache_key} OFFSET %%s ROWS FETCH NEXT 1 ROWS ONLY"

    # Transactions

    def start_transaction_sql(self) -> str:
        return "BEGIN TRANSACTION;"

    def end_transaction_sql(self, success: bool = True) -> str:
        return "COMMIT TRANSACTION;" if success else "ROLLBACK TRANSACTION;"

    def savepoint_create_sql(self, sid: str) -> str:
        return f"SAVE TRANSACTION {self.quote_name(sid)}"

    def savepoint_rollback_sql(self, sid: str) -> str:
        return f"ROLLBACK TRANSACTION {self.quote_name(sid)}"

    # Writing rows

    def pk_default_value(self) -> str:
        return "DEFAULT"

    def bulk_batch_size(self, fields: Sequence[Field], objs: Sequence[Any]) -> int:
        count = sum(len(field.fields) if isinstance(field, CompositePrimaryKey) else 1 for field in fields)
        if len(set(fields)) < len(fields):
            # bulk_update() names the key twice; its CASE wants key and value for each field of each row.
            return (self.connection.features.max_query_params - 1) // (2 * max(count - 2, 1))
        if bulk.as_json(fields, self.connection) is not None:
            return min(len(objs), bulk.MAX_ROWS) or 1
        return self.connection.features.max_query_params // max(count, 1)

    def returning_columns(self, fields: Sequence[Field]) -> tuple[str, tuple[Any, ...]]:
        """Return nothing to append: OUTPUT stands inside of the statement."""
        return "", ()

    def fetch_returned_rows(self, cursor: Any, returning_params: type_params = ()) -> list[tuple[Any, ...]]:
        """Return the rows of the batch's last result set: a trigger may have sent some before."""
        rows: list[tuple[Any, ...]] = []
        while True:
            if cursor.description:
                rows = cursor.fetchall()
            if not cursor.nextset():
                return rows

    def sql_flush(
        self,
        style: Any,
        tables: Sequence[str],
        *,
        reset_sequences: bool = False,
        allow_cascade: bool = False,
    ) -> list[str]:
        """Empty the tables, those that point at others first.

        Where tables point at each other in a ring, their foreign keys rest meanwhile.
        """
        if not tables:
            return []
        ordered, ring = self._deletion_order({self.quote_name(table) for table in tables})
        alter, delete = style.SQL_KEYWORD("ALTER TABLE"), style.SQL_KEYWORD("DELETE FROM")
        names = [style.SQL_TABLE(name) for name in ring]
        flush = [
            "; ".join(f"{alter} {name} NOCHECK CONSTRAINT ALL" for name in names),
            "; ".join(f"{delete} {style.SQL_TABLE(name)}" for name in ordered),
            "; ".join(f"{alter} {name} WITH CHECK CHECK CONSTRAINT ALL" for name in names),
        ]
        if reset_sequences:
            flush += self.sequence_reset_by_name_sql(style, [{"table": table} for table in tables])
        return [statement for statement in flush if statement]

    def _deletion_order(self, tables: set[str]) -> tuple[list[str], list[str]]:
        """Return the tables in an order in which they can be emptied, and those that stand in a ring."""
        pointed_at_by: dict[str, set[str]] = {table: set() for table in tables}
        by_identity = {table.lower(): table for table in tables}
        with self.connection.cursor() as cursor:
            cursor.execute(_FOREIGN_KEYS)
            for schema, parent, other_schema, referenced, default_schema in cursor.fetchall():
                source, target = (
                    self.quote_name(name if where == default_schema else f"[{where}].[{name}]").lower()
                    for where, name in ((schema, parent), (other_schema, referenced))
                )
                if source != target and source in by_identity and target in by_identity:
                    pointed_at_by[by_identity[target]].add(by_identity[source])
        sorter = TopologicalSorter(pointed_at_by)
        try:
            return list(sorter.static_order()), []
        except CycleError:
            return sorted(tables), sorted(tables)

    def sequence_reset_by_name_sql(self, style: Any, sequences: Iterable[dict[str, Any]]) -> list[str]:
        """Start identities again at 1.

        RESEED names the *last* value, but the *next* one for a table that never had a row: those are left alone
        (https://learn.microsoft.com/sql/t-sql/database-console-commands/dbcc-checkident-transact-sql).
        """
        statements = []
        for sequence in sequences:
            name = self.quote_value(self.quote_name(sequence["table"]))
            statements.append(
                f"IF EXISTS (SELECT 1 FROM sys.identity_columns WHERE object_id = OBJECT_ID({name}) "
                f"AND last_value IS NOT NULL) DBCC CHECKIDENT ({name}, RESEED, 0) WITH NO_INFOMSGS"
            )
        return ["; ".join(statements)] if statements else []

    def sequence_reset_sql(self, style: Any, model_list: Iterable[type]) -> list[str]:
        """Raise identities that have fallen behind the highest key in their table."""
        return [
            f"DBCC CHECKIDENT ({self.quote_value(self.quote_name(model._meta.db_table))}, RESEED)"
            " WITH NO_INFOMSGS"
            for model in model_list
            if (field := model._meta.auto_field) is not None and field.model is model
        ]

    # Text

    def quote_value(self, value: Any) -> str:
        """Return a T-SQL literal; for DDL and for display, where parameters can't go."""
        match value:
            case None:
                return "NULL"
            case bool():
                return "1" if value else "0"
            case int() | decimal.Decimal():
                return str(value)
            case float():
                return repr(value)
            case bytes() | bytearray() | memoryview():
                return f"0x{bytes(value).hex()}"
            case datetime.datetime() | datetime.date() | datetime.time():
                return f"'{value.isoformat()}'"
            case _:
                return "N'{}'".format(str(value).replace("'", "''"))

    def last_executed_query(self, cursor: Any, sql: str, params: Any) -> str:
        # An execute wrapper may have changed what was sent.
        executed_sql, executed_params = getattr(cursor, "executed", ("", None))
        if executed_sql:
            sql, params = executed_sql, executed_params
        if not params:
            return force_str(sql)
        try:
            if isinstance(params, dict):
                return sql % {key: self.quote_value(value) for key, value in params.items()}
            return sql % tuple(self.quote_value(value) for value in params)
        except (TypeError, ValueError, KeyError):
            return super().last_executed_query(cursor, sql, params)

    def prep_for_like_query(self, x: Any) -> str:
        return super().prep_for_like_query(x).replace("[", r"\[")

    def prep_for_iexact_query(self, x: Any) -> str:
        return str(x)

    def adapt_json_value(self, value: Any, encoder: type[json.JSONEncoder] | None) -> str:
        if not self.connection.features.has_native_json_field:
            return super().adapt_json_value(value, encoder)
        # As the native type gives it back, but for numbers with an exponent.
        return json.dumps(value, cls=encoder, ensure_ascii=False, separators=(",", ":"))

    def lookup_cast(self, lookup_type: str, internal_type: str | None = None) -> str:
        # REGEXP_LIKE takes text alone (error 8116), where LIKE converts.
        if lookup_type in ("regex", "iregex") and internal_type not in _TEXT_FIELDS:
            return "CAST(%s AS nvarchar(max))"
        return "%s"

    def regex_lookup(self, lookup_type: str) -> str:
        if not self.connection.features.supports_regexp_like:
            raise NotSupportedError(
                "Regular expressions want REGEXP_LIKE, which SQL Server 2025 (compatibility level 170), "
                "Azure SQL Database and Azure SQL Managed Instance have; this database has not."
            )
        return f"REGEXP_LIKE(%s, %s, '{'i' if lookup_type == 'iregex' else 'c'}')"

    def binary_placeholder_sql(self, value: Any, compiler: Any = None) -> Any:
        if compiler is None:  # Django before 6.1 asks for the placeholder alone.
            return BINARY_PLACEHOLDER if not hasattr(value, "as_sql") else "%s"
        if hasattr(value, "as_sql"):
            return compiler.compile(value)
        return BINARY_PLACEHOLDER, (value,)

    # Dates and times

    @property
    def _naive_timezone(self) -> datetime.tzinfo:
        """The zone of a datetime without an offset.

        SQL Server takes one to be at +00:00 where it meets a datetimeoffset
        (https://learn.microsoft.com/sql/t-sql/data-types/datetimeoffset-transact-sql).
        """
        if self.connection.data_types["DateTimeField"].startswith("datetimeoffset"):
            return datetime.UTC
        return self.connection.timezone or datetime.UTC

    def _local(self, sql: str, params: type_params, tzname: str | None) -> tuple[str, type_params]:
        if settings.USE_TZ and tzname:
            sql = timezones.convert_sql(str(self._naive_timezone), tzname) % sql
        return sql, params

    def date_extract_sql(self, lookup_type: str, sql: str, params: type_params) -> tuple[str, type_params]:
        match lookup_type:
            # DATEPART(weekday) counts from SET DATEFIRST; the sum does not.
            case "week_day":
                return f"((DATEPART(weekday, {sql}) + @@DATEFIRST - 1) %% 7 + 1)", params
            case "iso_week_day":
                return f"((DATEPART(weekday, {sql}) + @@DATEFIRST - 2) %% 7 + 1)", params
            case "week":
                return f"DATEPART(iso_week, {sql})", params
            case "iso_year":
                # The year of a day near the middle of the same ISO year.
                return f"YEAR(DATEADD(day, 26 - DATEPART(iso_week, {sql}), {sql}))", (*params, *params)
            case "year" | "quarter" | "month" | "day" | "hour" | "minute" | "second" | "microsecond":
                return f"DATEPART({lookup_type}, {sql})", params
        raise ValueError(f"Invalid lookup type: {lookup_type!r}")

    def datetime_extract_sql(
        self, lookup_type: str, sql: str, params: type_params, tzname: str | None
    ) -> tuple[str, type_params]:
        return self.date_extract_sql(lookup_type, *self._local(sql, params, tzname))

    def _trunc_sql(
        self, lookup_type: str, sql: str, params: type_params, data_type: str
    ) -> tuple[str, type_params]:
        part = "iso_week" if lookup_type == "week" else lookup_type
        if lookup_type not in {"year", "quarter", "month", "week", "day", "hour", "minute", "second"}:
            raise DataError(f"Invalid lookup type: {lookup_type!r}")
        if self.connection.features.supports_datetrunc:
            return f"DATETRUNC({part}, CAST({sql} AS {data_type}))", params
        if data_type == "time":
            epoch = "CAST('00:00' AS time)"
        else:
            epoch = _EPOCH % data_type
        match lookup_type:
            case "week":
                return f"DATEADD(day, DATEDIFF(day, {epoch}, {sql}) / 7 * 7, {epoch})", params
            case "second":
                # Seconds since the epoch do not fit DATEADD's int.
                return (
                    f"DATEADD(nanosecond, -DATEPART(nanosecond, CAST({sql} AS {data_type})), "
                    f"CAST({sql} AS {data_type}))",
                    (*params, *params),
                )
            case _:
                return f"DATEADD({part}, DATEDIFF({part}, {epoch}, {sql}), {epoch})", params

    def date_trunc_sql(
        self, lookup_type: str, sql: str, params: type_params, tzname: str | None = None
    ) -> tuple[str, type_params]:
        return self._trunc_sql(lookup_type, *self._local(sql, params, tzname), "date")

    def datetime_trunc_sql(
        self, lookup_type: str, sql: str, params: type_params, tzname: str | None
    ) -> tuple[str, type_params]:
        return self._trunc_sql(lookup_type, *self._local(sql, params, tzname), "datetime2")

    def time_trunc_sql(
        self, lookup_type: str, sql: str, params: type_params, tzname: str | None = None
    ) -> tuple[str, type_params]:
        return self._trunc_sql(lookup_type, *self._local(sql, params, tzname), "time")

    def datetime_cast_date_sql(
        self, sql: str, params: type_params, tzname: str | None
    ) -> tuple[str, type_params]:
        sql, params = self._local(sql, params, tzname)
        return f"CAST({sql} AS date)", params

    def datetime_cast_time_sql(
        self, sql: str, params: type_params, tzname: str | None
    ) -> tuple[str, type_params]:
        sql, params = self._local(sql, params, tzname)
        return f"CAST({sql} AS time)", params

    def subtract_temporals(
        self, internal_type: str, lhs: tuple[str, type_params], rhs: tuple[str, type_params]
    ) -> tuple[str, type_params]:
        """Return the difference in microseconds, as DurationField stores it."""
        lhs_sql, lhs_params = lhs
        rhs_sql, rhs_params = rhs
        return f"DATEDIFF_BIG(microsecond, {rhs_sql}, {lhs_sql})", (*rhs_params, *lhs_params)

    def format_for_duration_arithmetic(self, sql: str) -> str:
        return sql

    def add_duration_sql(
        self, internal_type: str, sql: str, params: type_params, duration: str, duration_params: type_params
    ) -> tuple[str, type_params]:
        """Add microseconds (a bigint expression) to a date, time or datetime.

        DATEADD takes an int: days and the microseconds of a day go in separately, those again in seconds and rest
        (https://learn.microsoft.com/sql/t-sql/functions/dateadd-transact-sql).
        """
        if internal_type == "DateField":
            sql = f"CAST({sql} AS datetime2)"
        steps = [
            ("day", "/ 86400000000"),
            ("second", "%% 86400000000 / 1000000"),
            ("microsecond", "%% 1000000"),
        ]
        if internal_type == "TimeField":  # A time has no days: it goes round the clock.
            steps = steps[1:]
        for part, share in steps:
            sql = f"DATEADD({part}, CAST({duration} AS bigint) {share}, {sql})"
            params = (*duration_params, *params)
        return sql, params

    # Arithmetic

    def combine_expression(self, connector: str, sub_expressions: list[str]) -> str:
        lhs, rhs = sub_expressions[0], sub_expressions[-1]
        match connector:
            case "^":
                # POWER keeps the type of its first argument: int would overflow and truncate.
                return f"POWER(CAST({lhs} AS float), {rhs})"
            case "#":
                return f"{lhs} ^ {rhs}"
            case "<<":
                return f"({lhs} * POWER(CAST(2 AS bigint), {rhs}))"
            case ">>":
                # Division of integers cuts towards zero, a shift goes down.
                return f"FLOOR(CAST({lhs} AS decimal(19, 0)) / POWER(CAST(2 AS decimal(19, 0)), {rhs}))"
        return super().combine_expression(connector, sub_expressions)

    def conditional_expression_supported_in_where_clause(self, expression: Any) -> bool:
        """Say whether an expression is a condition by itself; a bit has to be compared with 1."""
        if isinstance(expression, RawSQL):
            return bool(expression.conditional)
        return is_condition(expression)

    # Values on their way in

    def adapt_datefield_value(self, value: Any) -> Any:
        return value

    def adapt_datetimefield_value(self, value: Any) -> Any:
        """Give a naive moment: it travels in the driver's own format, and compares with either column type."""
        if value is None or not isinstance(value, datetime.datetime) or timezone.is_naive(value):
            return value
        if not settings.USE_TZ:
            raise ValueError(
                "SQL Server backend does not support timezone-aware datetimes when USE_TZ is False."
            )
        return timezone.make_naive(value, self._naive_timezone)

    def adapt_timefield_value(self, value: Any) -> Any:
        if isinstance(value, datetime.time):
            if timezone.is_aware(value):
                raise ValueError("SQL Server backend does not support timezone-aware times.")
            # As text: ODBC's own time structure has no fraction of a second.
            return value.isoformat()
        return value

    def adapt_decimalfield_value(
        self, value: Any, max_digits: int | None = None, decimal_places: int | None = None
    ) -> Any:
        return value

    # Values on their way out

    def get_db_converters(self, expression: Any) -> list[Any]:
        converters = super().get_db_converters(expression)
        kind = expression.output_field.get_internal_type()
        if kind in _NATIVE_COLUMNS and isinstance(expression, Col) and expression.target.model._meta.managed:
            return converters
        match kind:
            case "DateTimeField":
                converters.append(self.convert_datetimefield_value)
            case "DateField":
                converters.append(self.convert_datefield_value)
            case "TimeField":
                converters.append(self.convert_timefield_value)
            case "BooleanField" | "NullBooleanField":
                converters.append(self.convert_booleanfield_value)
            case "UUIDField":
                converters.append(self.convert_uuidfield_value)
            case "BinaryField":
                converters.append(self.convert_binaryfield_value)
        return converters

    def convert_booleanfield_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return bool(value) if value in (0, 1) else value

    def convert_datetimefield_value(self, value: Any, expression: Any, connection: Any) -> Any:
        if not isinstance(value, datetime.datetime):
            return value
        if settings.USE_TZ:
            if value.tzinfo is None:
                return timezone.make_aware(value, self._naive_timezone)
            return value.astimezone(self.connection.timezone)
        return timezone.make_naive(value, datetime.UTC) if timezone.is_aware(value) else value

    def convert_datefield_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return value.date() if isinstance(value, datetime.datetime) else value

    def convert_timefield_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return value.time() if isinstance(value, datetime.datetime) else value

    def convert_uuidfield_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return uuid.UUID(value) if isinstance(value, str) else value

    def convert_binaryfield_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return bytes(value) if isinstance(value, (bytearray, memoryview)) else value

    def convert_durationfield_value(self, value: Any, expression: Any, connection: Any) -> Any:
        # AVG and arithmetic give decimals and floats.
        return None if value is None else datetime.timedelta(microseconds=int(value))
