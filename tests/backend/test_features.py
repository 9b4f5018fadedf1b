"""Flags that say what the backend can do, held against what it does."""

from __future__ import annotations

import re

import pytest
from django.db import DatabaseError, connection
from django.db.backends.base.features import BaseDatabaseFeatures

from mssql.features import DatabaseFeatures


def test_every_flag_is_one_that_django_knows() -> None:
    """A flag that was renamed in Django, or misspelt here, would be without effect."""
    own = {
        "server",
        "is_sql_server_2019",
        "is_sql_server_2022",
        "is_sql_server_2025",
        "supports_utf8_collations",
        "supports_openjson",
        "supports_datetrunc",
        "has_native_greatest_least",
        "has_json_object",
        "has_native_json_type",
        "supports_regexp_like",
        "is_case_sensitive",
        "connection",
    }
    # Flags of Django 6.0 and 6.1, for when the tests run on 5.2.
    newer = {
        "supports_aggregate_order_by_clause",
        "supports_any_value",
        "supports_bit_aggregations",
        "supports_default_in_bit_aggregations",
        "supports_json_negative_indexing",
        "supports_no_precision_decimalfield",
        "supports_alter_generated_column_data_type",
        "supports_tuple_comparison_against_subquery",
        "supports_on_delete_db_cascade",
        "supports_on_delete_db_default",
        "supports_on_delete_db_null",
        "supports_uuid4_function",
        "supports_uuid4_function_in_default",
        "can_return_rows_from_update",
    }
    named = {name for name in vars(DatabaseFeatures) if not name.startswith("_")}
    assert named - own - newer <= set(dir(BaseDatabaseFeatures))


@pytest.mark.django_db
class TestAgainstTheServer:
    def test_the_most_parameters_go_through_and_one_more_does_not(self) -> None:
        most = connection.features.max_query_params
        assert most is not None
        with connection.cursor() as cursor:
            for count in (most, most + 1):
                sql = "SELECT 1 WHERE 1 IN (" + ", ".join(["%s"] * count) + ")"
                if count == most:
                    cursor.execute(sql, [1] * count)
                    assert cursor.fetchall() == [(1,)]
                else:
                    with pytest.raises(DatabaseError) as caught:
                        cursor.execute(sql, [1] * count)
                    assert caught.value.sqlserver.number == 8003  # type: ignore[attr-defined]

    @pytest.mark.parametrize("name", ["ci", "cs", "non_default", "swedish_ci", "virtual"])
    def test_the_collations_exist(self, name: str) -> None:
        collation = connection.features.test_collations[name]
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT CASE WHEN N'a' COLLATE {collation} = N'A' THEN 1 ELSE 0 END")
            equal = cursor.fetchone()[0]
        if name == "ci":
            assert equal == 1
        if name == "cs":
            assert equal == 0

    @pytest.mark.parametrize("parameters", [(), (5,)])
    def test_the_test_procedures_work(self, parameters: tuple[int, ...]) -> None:
        flags = connection.features
        create = (
            flags.create_test_procedure_with_int_param_sql
            if parameters
            else flags.create_test_procedure_without_params_sql
        )
        with connection.cursor() as cursor:
            cursor.execute(create)
            assert cursor.callproc("test_procedure", parameters) == parameters
            assert cursor.fetchall() == [parameters or (1,)]

    def test_default_values(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE defaults (id int IDENTITY PRIMARY KEY, a int DEFAULT 7)")
            cursor.execute(connection.features.insert_test_table_with_defaults.format("defaults"))
            cursor.execute("SELECT a FROM defaults")
            assert cursor.fetchall() == [(7,)]


@pytest.mark.django_db
def test_each_skip_has_a_reason_in_sql_server() -> None:
    skips = connection.features.django_test_skips
    assert skips
    for reason, tests in skips.items():
        assert len(reason.split()) > 3, reason
        assert "stand-in" not in reason
        assert tests
        assert all(re.fullmatch(r"[\w.]+\.[A-Z]\w+(\.test_\w+)?", test) for test in tests), tests
