"""What SQL Server can do, as Django's flags; what a server's version or edition adds, as properties."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import django
from django.db import ProgrammingError
from django.db.backends.base.features import BaseDatabaseFeatures
from django.utils.functional import cached_property

from mssql.server import SQL_SERVER_2017, SQL_SERVER_2019, SQL_SERVER_2022, SQL_SERVER_2025

if TYPE_CHECKING:
    from mssql.base import DatabaseWrapper
    from mssql.server import ServerInfo


class DatabaseFeatures(BaseDatabaseFeatures):
    connection: DatabaseWrapper

    minimum_database_version = (SQL_SERVER_2017,)

    # --- Connections and transactions --------------------------------------------------------------------------------

    # A result that is read in chunks stays on the wire until another statement wants it; the rest is then brought to
    # this side first (Cursor.buffer), so chunked reads are right with MARS and without.
    can_use_chunked_reads = True
    can_rollback_ddl = True
    # T-SQL has no RELEASE SAVEPOINT.
    can_release_savepoints = False
    # Constraints are checked by each statement; there is no DEFERRABLE.
    can_defer_constraint_checks = False
    supports_deferrable_unique_constraints = False
    closed_cursor_error_class = ProgrammingError
    supports_paramstyle_pyformat = True
    # A request takes 2,100 parameters, of which sp_prepexec needs three for itself
    # (https://learn.microsoft.com/sql/sql-server/maximum-capacity-specifications-for-sql-server).
    max_query_params = 2097
    supports_callproc_kwargs = True
    create_test_procedure_without_params_sql = "CREATE PROCEDURE test_procedure AS BEGIN SELECT 1; END"
    create_test_procedure_with_int_param_sql = (
        "CREATE PROCEDURE test_procedure @p_i int AS BEGIN SELECT @p_i; END"
    )

    # --- Tests -------------------------------------------------------------------------------------------------------

    can_clone_databases = True
    test_now_utc_template = "SYSUTCDATETIME()"
    insert_test_table_with_defaults = "INSERT INTO {} DEFAULT VALUES"

    # --- Queries -----------------------------------------------------------------------------------------------------

    # GROUP BY takes no ordinals (error 164).
    allows_group_by_select_index = False
    # ORDER BY in a subquery without TOP or OFFSET is an error (1033), not a luxury.
    ignores_unnecessary_order_by_in_subqueries = False
    supports_order_by_nulls_modifier = False
    order_by_nulls_first = True
    # By ROW_NUMBER.
    can_distinct_on_fields = True
    has_select_for_update = True
    has_select_for_update_nowait = True
    has_select_for_update_skip_locked = True
    has_select_for_update_of = True
    # A lock is a hint at the table, not a clause at the end.
    for_update_after_from = True
    greatest_least_ignores_nulls = True
    supports_slicing_ordering_in_compound = True
    supports_aggregate_filter_clause = False
    supports_aggregate_order_by_clause = True
    supports_any_value = False
    supports_over_clause = True
    # RANGE takes UNBOUNDED and CURRENT ROW only.
    supports_frame_range_fixed_distance = False
    only_supports_unbounded_with_preceding_and_following = True
    # No EXCLUDE in a window frame.
    supports_frame_exclusion = False
    # A condition is no value in T-SQL; CASE WHEN makes one of it.
    supports_boolean_expr_in_select_clause = False
    supports_comparing_boolean_expr = True
    supports_logical_xor = False
    # T-SQL has no row values; ours are compared column by column, looked up in a subquery or list by EXISTS.
    supports_tuple_lookups = True
    supports_tuple_comparison_against_subquery = True
    supports_regex_backreferencing = False
    supports_temporal_subtraction = True
    supported_explain_formats = {"TEXT", "XML", "JSON"}

    # --- Writing rows ------------------------------------------------------------------------------------------------

    can_return_columns_from_insert = True
    can_return_rows_from_bulk_insert = True
    can_return_rows_from_update = True
    supports_ignore_conflicts = True
    supports_update_conflicts = True
    supports_update_conflicts_with_target = True

    # --- Types -------------------------------------------------------------------------------------------------------

    # DateTimeField is datetime2, without an offset, where USE_TZ is off.
    supports_timezones = False
    has_real_datatype = True
    supports_unlimited_charfield = True
    supports_uuid4_function = True
    supports_uuid4_function_in_default = True
    # JSON is text with a check, so that no operators come with it.
    has_json_operators = False
    # JSON paths count from the front.
    supports_json_negative_indexing = False

    # --- Schema ------------------------------------------------------------------------------------------------------

    requires_literal_defaults = True
    supports_comments = True
    supports_tablespaces = True
    can_rename_index = True
    supports_covering_indexes = True
    supports_nulls_distinct_unique_constraints = True
    # The predicate of a filtered index compares columns with constants
    # (https://learn.microsoft.com/sql/t-sql/statements/create-index-transact-sql).
    supports_functions_in_partial_indexes = False
    # A key column cannot be nvarchar(max).
    supports_index_on_text_field = False
    supports_stored_generated_columns = True
    supports_virtual_generated_columns = True

    # --- Facts of the server -----------------------------------------------------------------------------------------

    @property
    def server(self) -> ServerInfo:
        return self.connection.server

    @property
    def is_sql_server_2019(self) -> bool:
        """SQL Server 2019 or later, or an Azure service; so the next two."""
        return self.server.at_least(SQL_SERVER_2019)

    @property
    def is_sql_server_2022(self) -> bool:
        return self.server.at_least(SQL_SERVER_2022)

    @property
    def is_sql_server_2025(self) -> bool:
        return self.server.at_least(SQL_SERVER_2025)

    @property
    def supports_utf8_collations(self) -> bool:
        return self.is_sql_server_2019

    @property
    def supports_openjson(self) -> bool:
        # https://learn.microsoft.com/sql/t-sql/functions/openjson-transact-sql
        return self.server.compatibility_level >= 130

    @property
    def supports_datetrunc(self) -> bool:
        return self.is_sql_server_2022

    @property
    def has_native_greatest_least(self) -> bool:
        return self.is_sql_server_2022

    @property
    def has_json_object(self) -> bool:
        """JSON_OBJECT and JSON_ARRAY."""
        return self.is_sql_server_2022

    @property
    def has_native_json_type(self) -> bool:
        return self.is_sql_server_2025

    @property
    def supports_regexp_like(self) -> bool:
        # https://learn.microsoft.com/sql/t-sql/functions/regexp-like-transact-sql
        return self.is_sql_server_2025 and self.server.compatibility_level >= 170

    @property
    def has_native_uuid_field(self) -> bool:  # type: ignore[override]
        return self.connection.options.uuid_storage == "uniqueidentifier"

    @property
    def has_native_json_field(self) -> bool:  # type: ignore[override]
        return self.connection.options.json_storage == "json"

    @property
    def supports_primitives_in_json_field(self) -> bool:  # type: ignore[override]
        # Before 2022 ISJSON() knows objects and arrays only, as the native type does
        # (https://learn.microsoft.com/sql/t-sql/data-types/json-data-type).
        return self.is_sql_server_2022 and not self.has_native_json_field

    @property
    def is_case_sensitive(self) -> bool:
        """Whether the database's own collation tells case apart."""
        collation = self.server.collation.upper()
        return "_CS" in collation or "_BIN" in collation

    @property
    def has_case_insensitive_like(self) -> bool:  # type: ignore[override]
        return not self.is_case_sensitive

    @property
    def ignores_table_name_case(self) -> bool:  # type: ignore[override]
        return not self.is_case_sensitive

    @cached_property
    def introspected_field_types(self) -> dict[str, str]:  # type: ignore[override]
        return {
            **super().introspected_field_types,
            "DurationField": "BigIntegerField",
            "GenericIPAddressField": "CharField",
            "PositiveBigIntegerField": "BigIntegerField",
            "PositiveIntegerField": "IntegerField",
            "PositiveSmallIntegerField": "SmallIntegerField",
        }

    @cached_property
    def test_collations(self) -> dict[str, str]:  # type: ignore[override]
        return {
            "ci": "Latin1_General_100_CI_AS",
            # Sorts A before a, as Django's tests expect of a case-sensitive collation.
            "cs": "Latin1_General_100_BIN2",
            "non_default": "Latin1_General_100_CS_AI",
            "swedish_ci": "Finnish_Swedish_100_CI_AS",
            "virtual": "Latin1_General_100_CI_AS",
        }

    # --- Django's own test suite -------------------------------------------------------------------------------------

    @cached_property
    def django_test_skips(self) -> dict[str, set[str]]:  # type: ignore[override]
        skips: dict[str, set[str]] = {
            "Counts with COUNT_BIG: COUNT overflows at 2^31 rows.": {
                "aggregation.tests.AggregateTestCase.test_count_star",
            },
            "Writes SQL with LIMIT, which T-SQL has not.": {
                "aggregation_regress.tests.AggregationTests.test_annotate_with_extra",
            },
            "Writes SUBSTR, which T-SQL calls SUBSTRING.": {
                "custom_lookups.tests.BilateralTransformTests.test_transform_order_by",
            },
            "Looks for RETURNING; T-SQL says OUTPUT.": {
                "queries.test_db_returning.ReturningValuesTests.test_insert_returning",
                "queries.test_db_returning.ReturningValuesTests.test_insert_returning_multiple",
            },
            "Looks for EXTRACT; T-SQL says DATEPART.": {
                f"db_functions.datetime.test_extract_trunc.{case}.test_extract_year_{lookup}_lookup"
                for case in ("DateFunctionTests", "DateFunctionWithTimeZoneTests")
                for lookup in ("exact", "greaterthan", "lessthan")
            },
            "Looks for COLLATE [name]; T-SQL takes the name of a collation without brackets only.": {
                "schema.tests.SchemaTests.test_func_index_collate",
                "schema.tests.SchemaTests.test_func_index_collate_f_ordered",
                "schema.tests.SchemaTests.test_func_unique_constraint_collate",
            },
            "The filter of an index takes no LIKE.": {
                "schema.tests.SchemaTests.test_unique_constraint_nulls_distinct_condition",
            },
            "Counts the indexes for LIKE that PostgreSQL makes beside unique ones.": {
                "indexes.tests.SchemaIndexesTests.test_alter_field_unique_false_removes_deferred_sql",
            },
            "Inserts a value of its own into an identity column.": {
                "migrations.test_operations.OperationTests"
                ".test_create_model_with_boolean_expression_in_check_constraint",
            },
            "Looks for EXPLAIN before the statement; a plan is asked for by SET.": {
                "queries.test_explain.ExplainTests.test_basic",
            },
            "Looks for a JSON key in a path; here it is a parameter.": {
                "model_fields.test_jsonfield.TestQuerying.test_key_sql_injection_escape",
            },
            "Asks whether one JSON expression contains another; T-SQL has no recursion in an expression.": {
                "model_fields.test_jsonfield.TestQuerying.test_contains_contained_by_with_key_transform",
            },
            "Looks for INSERT; rows whose keys are wanted in their order are inserted by MERGE.": {
                "admin_views.test_actions.AdminActionsTest.test_model_admin_default_delete_action",
                "auth_tests.test_management.CreatePermissionsMultipleDatabasesTests"
                ".test_set_permissions_fk_to_using_parameter",
            },
            "Looks for a tablespace in double quotes; T-SQL's are brackets.": {
                "model_indexes.tests.IndexesTests.test_db_tablespace",
            },
            "Looks for FOR UPDATE; in T-SQL a lock is a hint.": {
                "select_for_update.tests.SelectForUpdateTests.test_for_update_after_from",
            },
            "Wants ORDER BY in a subquery without TOP (error 1033).": {
                "select_for_update.tests.SelectForUpdateTests.test_ordered_select_for_update",
            },
            "Text without a limit is nvarchar(max), which is read as TextField.": {
                "inspectdb.tests.InspectDBTestCase.test_char_field_unlimited",
            },
            "HASHBYTES knows SHA-1, SHA-256 and SHA-512 only.": {
                f"db_functions.text.test_sha{bits}.SHA{bits}Tests.test_{name}"
                for bits in (224, 384)
                for name in ("basic", "transform")
            },
        }
        if django.VERSION >= (6, 1):
            skips["Writes RANDOM(), which T-SQL calls RAND()."] = {
                "distinct_on_fields.tests.DistinctOnTests.test_distinct_on_duplicated_raw_sql_annotations",
            }
            skips["A batch has no limit of parameters: its rows are one parameter."] = {
                "backends.base.test_operations.DatabaseOperationTests.test_bulk_batch_size_limited",
            }
            skips[
                "Has a model that SQL Server refuses: what follows a deletion may reach a table once (error 1785)."
            ] = {
                "delete.tests.OnDeleteTests.test_db_setdefault",
                "delete.tests.OnDeleteTests.test_db_setdefault_none",
                "admin_utils.tests.DBNestedObjectsTests",
            }
            skips["JSON is text: white space makes a difference when documents are compared."] = {
                "model_fields.test_jsonfield.TestQuerying.test_in_json_whitespace",
            }
        if not self.supports_regexp_like:
            skips["REGEXP_LIKE came with SQL Server 2025."] = {
                "lookup.tests.LookupTests.test_regex",
                "lookup.tests.LookupTests.test_regex_non_ascii",
                "lookup.tests.LookupTests.test_regex_non_string",
                "lookup.tests.LookupTests.test_regex_null",
                "model_fields.test_jsonfield.TestQuerying.test_key_iregex",
                "model_fields.test_jsonfield.TestQuerying.test_key_regex",
            }
            if django.VERSION >= (6, 0):
                skips["REGEXP_LIKE came with SQL Server 2025."].add(
                    "expressions.tests.BasicExpressionsTests.test_lookups_subquery"
                )
        return skips

    django_test_expected_failures: set[Any] = set()
