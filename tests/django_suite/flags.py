"""Why features that Django's tests name are off: for each flag of DatabaseFeatures, what SQL Server has or has not."""

FLAG_REASONS = {
    "allows_group_by_selected_pks": "GROUP BY names every column that is selected as it is (error 8120).",
    "can_defer_constraint_checks": "Each statement checks its constraints; there is no DEFERRABLE. Fixtures with "
    "forward references load all the same: loaddata switches the checks off and on again.",
    "can_introspect_materialized_views": "A view with an index is a view like others in the catalog.",
    "can_release_savepoints": "There is no RELEASE SAVEPOINT; a savepoint ends with its transaction.",
    "has_json_operators": "JSON is read by functions, not by PostgreSQL's operators.",
    "has_native_duration_field": "There is no interval type; DurationField is bigint, in microseconds.",
    "has_select_for_no_key_update": "There is one kind of update lock.",
    "interprets_empty_strings_as_nulls": "Oracle's way: here an empty text is no NULL.",
    "prohibits_null_characters_in_text_exception": "PostgreSQL's limit: here text may hold NUL.",
    "requires_explicit_null_ordering_when_grouping": "MySQL's way: here GROUP BY does not sort.",
    "supports_any_value": "There is no ANY_VALUE.",
    "supports_boolean_expr_in_select_clause": "A condition is no value; because the flag is off Django writes CASE "
    "WHEN, and our own tests select, group and order by conditions.",
    "supports_deferrable_unique_constraints": "There is no DEFERRABLE.",
    "supports_frame_exclusion": "OVER has no EXCLUDE.",
    "supports_frame_range_fixed_distance": "RANGE takes UNBOUNDED and CURRENT ROW only.",
    "supports_functions_in_partial_indexes": "The filter of an index compares columns with constants.",
    "supports_index_on_text_field": "nvarchar(max) cannot be a key column (error 1919).",
    "supports_logical_xor": "There is no XOR of conditions; Django writes it in AND and OR.",
    "supports_json_negative_indexing": "JSON paths count from the front.",
    "supports_no_precision_decimalfield": "decimal always has a precision: 18 digits where none is given.",
    "supports_regex_backreferencing": "REGEXP_LIKE has no back references.",
    "supports_tuple_comparison_against_subquery": "On; a class of tests switches it off, to see Django's fallback.",
    "supports_uuid7_function": "NEWID() makes UUIDs of version 4.",
    "supports_uuid7_function_shift": "NEWID() makes UUIDs of version 4.",
    "supports_timezones": "DateTimeField is datetime2 where USE_TZ is off, as in these tests; with USE_TZ it is "
    "datetimeoffset.",
}
