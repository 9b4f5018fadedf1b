"""Names, literals, time zones, flush and identities."""

from __future__ import annotations

import datetime
from decimal import Decimal
from io import StringIO
from typing import Any
from zoneinfo import available_timezones

import pytest
from django.core.management import call_command
from django.core.management.color import no_style
from django.db import NotSupportedError, connection, models
from django.test.utils import isolate_apps
from hypothesis import given
from hypothesis import strategies as st

from mssql import timezones
from mssql.dependents import mentions, renamed
from mssql.operations import DatabaseOperations
from tests.backend.models import Author, Book, Everything, Stock, Writer


class TestNames:
    @pytest.mark.parametrize(
        ("name", "quoted"),
        [
            ("order", "[order]"),
            ("a]b", "[a]]b]"),
            ("[sales].[order]", "[sales].[order]"),
            ("sales].[order", "[sales].[order]"),
            ('"sales"."order"', "[sales].[order]"),
            ('"order"', "[order]"),
            ("a.b", "[a.b]"),
            ("x]; DROP TABLE t; --", "[x]]; DROP TABLE t; --]"),
            ("a].[b].[c", "[a]].[b]].[c]"),
            ("[", "[[]"),
        ],
    )
    def test_quoting(self, name: str, quoted: str) -> None:
        assert DatabaseOperations(connection).quote_name(name) == quoted

    @given(st.text(min_size=1))
    def test_no_name_leaves_its_brackets(self, name: str) -> None:
        quoted = DatabaseOperations(connection).quote_name(name)
        parts = quoted[1:-1].split("].[")
        assert quoted[0] == "["
        assert quoted[-1] == "]"
        assert len(parts) <= 2
        assert all("]" not in part.replace("]]", "") for part in parts)


class TestLiterals:
    @pytest.mark.parametrize(
        ("value", "literal"),
        [
            (None, "NULL"),
            (True, "1"),
            (7, "7"),
            (Decimal("1.50"), "1.50"),
            (1e300, "1e+300"),
            ("it's", "N'it''s'"),
            (b"\x00\xff", "0x00ff"),
            (datetime.datetime(2024, 2, 29, 1, 2, 3, 4), "'2024-02-29T01:02:03.000004'"),
            (datetime.date(2024, 2, 29), "'2024-02-29'"),
        ],
    )
    def test_quote_value(self, value: Any, literal: str) -> None:
        assert DatabaseOperations(connection).quote_value(value) == literal

    def test_the_last_query_shows_its_values(self) -> None:
        ops = DatabaseOperations(connection)
        assert ops.last_executed_query(None, "SELECT %s, '%%', %s", ["a", None]) == "SELECT N'a', '%', NULL"
        assert ops.last_executed_query(None, "SELECT %(x)s", {"x": 1}) == "SELECT 1"
        assert ops.last_executed_query(None, "SELECT '%'", None) == "SELECT '%'"


class TestTimeZoneNames:
    def test_every_zone_of_this_machine_has_a_name_or_a_clear_error(self) -> None:
        unknown = set()
        for name in available_timezones():
            try:
                assert timezones.windows_name(name)
            except NotSupportedError as error:
                assert name in str(error)  # noqa: PT017
                unknown.add(name)
        assert "Europe/Paris" not in unknown
        assert len(unknown) < 12

    @pytest.mark.parametrize(
        ("name", "offset"),
        [
            ("UTC+05:30", "+05:30"),
            ("-0330", "-03:30"),
            ("-03", "-03:00"),
            ("Europe/Paris", None),
            ("UTC", None),
        ],
    )
    def test_fixed_offsets(self, name: str, offset: str | None) -> None:
        assert timezones.fixed_offset(name) == offset

    def test_local_time_follows_the_zones_rules(self) -> None:
        assert timezones.convert_sql("UTC", "Europe/Paris") == (
            "CAST(%s AT TIME ZONE 'UTC' AT TIME ZONE 'Romance Standard Time' AS datetime2)"
        )
        assert timezones.convert_sql("UTC", "UTC") == "CAST(%s AT TIME ZONE 'UTC' AS datetime2)"


class TestExpressionsFromTheCatalog:
    def test_a_column_is_found_by_its_name_in_brackets(self) -> None:
        assert mentions("([Number]>(0))", "number")
        assert mentions("([a]]b]=(1))", "a]b")
        assert not mentions("([numbers]>(0))", "number")

    def test_a_column_is_renamed_wherever_it_stands(self) -> None:
        assert renamed("([A]>(0) AND [a]<[b])", "a", "c]d") == "([c]]d]>(0) AND [c]]d]<[b])"


@pytest.mark.django_db
class TestFlush:
    def test_tables_are_emptied_in_the_order_of_their_keys_and_count_from_one_again(self) -> None:
        author = Author.objects.create(name="a")
        Book.objects.create(author=author, title="b")
        Stock.objects.create(item="x", writer=Writer.objects.create(name="w"))
        tables = [model._meta.db_table for model in (Author, Writer, Book, Stock)]
        statements = connection.ops.sql_flush(no_style(), tables, reset_sequences=True)
        assert not any("NOCHECK" in statement for statement in statements)
        connection.ops.execute_sql_flush(statements)
        assert not Author.objects.exists()
        assert Author.objects.create(name="again").pk == 1

    def test_a_table_that_never_had_a_row_counts_from_one_as_well(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE [fresh] ([id] int IDENTITY (1, 1) PRIMARY KEY, [x] int)")
            for statement in connection.ops.sql_flush(no_style(), ["fresh"], reset_sequences=True):
                cursor.execute(statement)
            cursor.execute("INSERT INTO [fresh] ([x]) VALUES (7)")
            cursor.execute("SELECT [id] FROM [fresh]")
            assert cursor.fetchall() == [(1,)]

    def test_a_ring_of_tables(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE [ring_a] ([id] int PRIMARY KEY, [b] int NULL)")
            cursor.execute("CREATE TABLE [ring_b] ([id] int PRIMARY KEY, [a] int REFERENCES [ring_a] ([id]))")
            cursor.execute(
                "ALTER TABLE [ring_a] ADD CONSTRAINT [ring] FOREIGN KEY ([b]) REFERENCES [ring_b] ([id])"
            )
            cursor.execute("INSERT INTO [ring_a] ([id]) VALUES (1)")
            cursor.execute("INSERT INTO [ring_b] ([id], [a]) VALUES (1, 1)")
            cursor.execute("UPDATE [ring_a] SET [b] = 1")
        connection.ops.execute_sql_flush(connection.ops.sql_flush(no_style(), ["ring_a", "ring_b"]))
        with connection.cursor() as cursor:
            cursor.execute("SELECT COUNT(*) FROM [ring_a]")
            assert cursor.fetchone() == (0,)

    def test_sqlsequencereset_raises_an_identity_that_fell_behind(self) -> None:
        sql = connection.ops.sequence_reset_sql(no_style(), [Author])
        assert sql == ["DBCC CHECKIDENT (N'[backend_author]', RESEED) WITH NO_INFOMSGS"]
        with connection.cursor() as cursor:
            cursor.execute(sql[0])

    def test_dumpdata_and_loaddata(self, tmp_path: Any) -> None:
        author = Author.objects.create(name="a")
        Book.objects.create(author=author, title="b", price=Decimal("1.25"))
        dump = tmp_path / "dump.json"
        dump.write_text(_output("dumpdata", "backend.author", "backend.book"))
        Author.objects.all().delete()
        call_command("loaddata", str(dump), verbosity=0)
        assert Book.objects.get().author.pk == author.pk
        assert Author.objects.create(name="next").pk > author.pk


class TestColumns:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("day", datetime.date(2024, 2, 29)),
            ("time", datetime.time(23, 59, 58, 123456)),
            ("blob", b"\x00\xff"),
        ],
    )
    @pytest.mark.django_db
    def test_what_the_driver_gives_as_django_wants_it_is_not_converted(self, name: str, value: Any) -> None:
        field = next(field for field in Everything._meta.concrete_fields if field.name == name)
        column = field.get_col(Everything._meta.db_table)
        assert connection.ops.get_db_converters(column) == []
        Everything.objects.create(**{name: value})
        (found,) = Everything.objects.values_list(name, flat=True)
        assert found == value
        assert type(found) is type(value)

    @pytest.mark.parametrize("column", ["datetime", "datetime2", "smalldatetime"])
    @pytest.mark.django_db
    @isolate_apps("tests.backend")
    def test_an_unmanaged_models_dates_and_times_may_be_datetimes(self, column: str) -> None:
        class Legacy(models.Model):  # noqa: DJ008
            day = models.DateField()
            time = models.TimeField()

            class Meta:
                app_label = "backend"
                managed = False

        with connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE [backend_legacy] ([id] bigint, [day] {column}, [time] {column})")
            cursor.execute("INSERT INTO [backend_legacy] VALUES (1, '20240229', '19000101 13:05')")
        stored = {"day": datetime.date(2024, 2, 29), "time": datetime.time(13, 5)}
        assert Legacy.objects.values(*stored).get(day=stored["day"]) == stored


def _output(*command: str) -> str:
    out = StringIO()
    call_command(*command, stdout=out)
    return out.getvalue()
