"""SELECT: what Django's ORM asks for comes out as T-SQL, and means the same."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.db.models import (
    BooleanField,
    Case,
    Count,
    Exists,
    ExpressionWrapper,
    F,
    Max,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
    Window,
)
from django.db.models.functions import (
    Concat,
    ExtractHour,
    Lag,
    Length,
    Replace,
    RowNumber,
    TruncDay,
    TruncWeek,
)
from django.db.models.lookups import Exact
from django.db.transaction import atomic
from django.test.utils import CaptureQueriesContext

from tests.backend.models import Everything, Stock, Strict, Volume, Writer

pytestmark = pytest.mark.django_db

UTC = datetime.UTC


@pytest.fixture
def library() -> list[Writer]:
    """Three writers, the second and third with books."""
    writers = [Writer(name=name, email=None) for name in ("Ann", "bob", "Cyd")]
    Writer.objects.bulk_create(writers)
    Volume.objects.bulk_create(
        [
            Volume(writer=writers[1], title="One", price=Decimal("1.2345"), data={"a": 1}),
            Volume(writer=writers[1], title="Two", price=Decimal("2.5000"), data={"a": "1"}),
            Volume(writer=writers[2], title="Three", price=Decimal("2.5000")),
        ]
    )
    return writers


def sql_of(queryset: QuerySet[Any]) -> str:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        list(queryset)
    (query,) = queries
    return query["sql"]


class TestPaging:
    def test_the_first_page_needs_no_offset(self, library: list[Writer]) -> None:
        sql = sql_of(Writer.objects.order_by("name")[:2])
        assert "TOP (2)" in sql
        assert "OFFSET" not in sql

    def test_an_ordered_query_that_is_not_sliced_pays_nothing(self, library: list[Writer]) -> None:
        assert "OFFSET" not in sql_of(Writer.objects.order_by("name"))

    @pytest.mark.parametrize("page", [slice(1, 2), slice(1, None), slice(0, 3), slice(2, 9)])
    def test_pages_are_what_a_list_would_give(self, library: list[Writer], page: slice) -> None:
        names = ["Ann", "bob", "Cyd"]
        assert list(Writer.objects.order_by("pk").values_list("name", flat=True)[page]) == names[page]
        assert len(Writer.objects.all()[page]) == len(names[page])
        assert len(Writer.objects.distinct()[page]) == len(names[page])

    def test_pages_of_one_list_share_one_statement(self, library: list[Writer]) -> None:
        with CaptureQueriesContext(connection) as queries:
            sent = [
                str(Writer.objects.order_by("name")[n : n + 1].query.sql_with_params()[0]) for n in (1, 2)
            ]
        assert sent[0] == sent[1]
        assert not queries.captured_queries


class TestGrouping:
    def test_by_an_expression_with_parameters(self, library: list[Writer]) -> None:
        groups = Writer.objects.annotate(label=Concat(Value("<"), "name", Value(">"))).values("label")
        assert list(groups.annotate(n=Count("volumes")).order_by("label").values_list("label", "n")) == [
            ("<Ann>", 0),
            ("<bob>", 2),
            ("<Cyd>", 1),
        ]

    def test_a_decimal_keeps_its_decimals(self, library: list[Writer]) -> None:
        doubled = Volume.objects.annotate(more=F("price") + Decimal("0.0005")).values("more")
        assert list(doubled.annotate(n=Count("pk")).order_by("more").values_list("more", "n")) == [
            (Decimal("1.2350"), 1),
            (Decimal("2.5005"), 2),
        ]

    def test_by_a_subquery(self, library: list[Writer]) -> None:
        dearest = Volume.objects.filter(writer=OuterRef("pk")).order_by("-price").values("price")[:1]
        groups = Writer.objects.annotate(top=Subquery(dearest)).values("top")
        assert list(groups.annotate(n=Count("pk")).order_by("top").values_list("top", "n")) == [
            (None, 1),
            (Decimal("2.5000"), 2),
        ]

    def test_by_a_condition(self, library: list[Writer]) -> None:
        groups = Writer.objects.annotate(has=Exists(Volume.objects.filter(writer=OuterRef("pk")))).values(
            "has"
        )
        assert list(groups.annotate(n=Count("pk")).order_by("has").values_list("has", "n")) == [
            (False, 1),
            (True, 2),
        ]

    def test_an_aggregate_over_a_subquery(self, library: list[Writer]) -> None:
        dearest = Volume.objects.filter(writer=OuterRef("pk")).order_by("-price").values("price")[:1]
        assert Writer.objects.annotate(top=Subquery(dearest)).aggregate(Max("top")) == {
            "top__max": Decimal("2.5000")
        }
        assert Writer.objects.aggregate(
            n=Count("pk", filter=Exists(Volume.objects.filter(writer=OuterRef("pk"))))
        ) == {"n": 2}

    def test_an_aggregate_over_a_column_of_the_query_around(self, library: list[Writer]) -> None:
        cheap = Count("pk", filter=Q(price__lt=OuterRef("pk") * 0 + 2))
        counted = Volume.objects.filter(writer=OuterRef("pk")).order_by().values("writer")
        numbers = counted.annotate(n=cheap, most=Max(OuterRef("name"))).values("n", "most")
        found = Writer.objects.annotate(
            n=Subquery(numbers.values("n")), most=Subquery(numbers.values("most"))
        )
        assert list(found.order_by("name").values_list("n", "most")) == [(None, None), (1, "bob"), (0, "Cyd")]

    def test_having_alone(self, library: list[Writer]) -> None:
        busy = Writer.objects.alias(n=Count("volumes")).filter(n__gt=1)
        assert [writer.name for writer in busy] == ["bob"]

    def test_a_sum_may_be_larger_than_its_parts(self, library: list[Writer]) -> None:
        many = Writer.objects.annotate(n=Value(2**31 - 1)).aggregate(total=Sum("n"))
        assert many == {"total": 3 * (2**31 - 1)}


class TestConditionsAsValues:
    def test_selected(self, library: list[Writer]) -> None:
        wrapped = ExpressionWrapper(Q(name="bob"), output_field=BooleanField())
        assert list(
            Writer.objects.annotate(is_bob=wrapped).order_by("pk").values_list("is_bob", flat=True)
        ) == [
            False,
            True,
            False,
        ]

    def test_ordered_by(self, library: list[Writer]) -> None:
        has_books = Exists(Volume.objects.filter(writer=OuterRef("pk")))
        assert [writer.name for writer in Writer.objects.order_by(has_books.asc(), "-pk")] == [
            "Ann",
            "Cyd",
            "bob",
        ]

    def test_as_the_outcome_of_a_case(self, library: list[Writer]) -> None:
        is_bob = Case(When(is_living=True, then=Q(name="bob")), output_field=BooleanField())
        assert Writer.objects.annotate(x=is_bob).filter(x=True).get().name == "bob"

    def test_assigned_by_update(self, library: list[Writer]) -> None:
        Writer.objects.update(is_living=Q(name="bob"))
        assert Writer.objects.get(is_living=True).name == "bob"

    def test_compared_with_each_other(self, library: list[Writer]) -> None:
        equal = Writer.objects.filter(Exact(Q(name="bob"), Q(is_living=True)))
        assert [writer.name for writer in equal] == ["bob"]


class TestOrdering:
    def test_nulls_go_where_they_are_told(self, library: list[Writer]) -> None:
        Writer.objects.filter(name="bob").update(email="b@example.com")
        by = F("email")
        names = Writer.objects.values_list("name", flat=True)
        assert names.order_by(by.asc(nulls_last=True), "pk")[0] == "bob"
        assert names.order_by(by.desc(nulls_first=True), "pk")[0] == "Ann"
        assert names.order_by(by.desc(), "pk")[0] == "bob"

    def test_twice_by_the_same_and_by_a_constant(self, library: list[Writer]) -> None:
        ordered = Writer.objects.annotate(one=Value(1)).order_by("one", "name", "-name", F("name"))
        assert [writer.name for writer in ordered] == ["Ann", "bob", "Cyd"]

    def test_at_random(self, library: list[Writer]) -> None:
        assert len(Writer.objects.order_by("?")[:2]) == 2


class TestCompoundQueries:
    def test_an_ordering_in_a_part_that_is_not_sliced(self, library: list[Writer]) -> None:
        ordered = Writer.objects.order_by("-name")
        union = ordered.filter(name="Ann").union(ordered.distinct().filter(name__gt="a")).order_by("name")
        assert [writer.name for writer in union] == ["Ann", "bob", "Cyd"]

    def test_slices_and_orderings_in_the_parts(self, library: list[Writer]) -> None:
        first, last = Writer.objects.order_by("pk")[:1], Writer.objects.order_by("-pk")[:1]
        assert {writer.name for writer in first.union(last)} == {"Ann", "Cyd"}
        assert [writer.name for writer in first.union(last, all=True).order_by("-name")[:1]] == ["Cyd"]

    def test_a_sliced_subquery_in_in(self, library: list[Writer]) -> None:
        first = Writer.objects.order_by("pk").values("pk")[:2]
        assert Writer.objects.filter(pk__in=first).count() == 2

    def test_a_filter_on_a_window(self, library: list[Writer]) -> None:
        numbered = Writer.objects.annotate(n=Window(RowNumber(), order_by="pk"), before=Window(Lag("name")))
        assert [writer.name for writer in numbered.filter(n__gte=2).order_by("-n")[:1]] == ["Cyd"]


class TestLongLists:
    def test_thousands_of_values_in_one_statement(self, library: list[Writer]) -> None:
        keys = [writer.pk for writer in library] + list(range(10_000_000, 10_003_000))
        with CaptureQueriesContext(connection) as queries:
            found = Writer.objects.filter(pk__in=keys).count()
        assert found == 3
        assert len(queries) == 1

    def test_two_long_lists_do_not_mix(self, library: list[Writer]) -> None:
        names = [f"nobody {n}" for n in range(200)]
        keys = list(range(10_000_000, 10_000_200))
        both = Writer.objects.filter(Q(pk__in=[*keys, library[0].pk]) | Q(name__in=[*names, "bob"]))
        assert {writer.name for writer in both} == {"Ann", "bob"}

    def test_keys_of_another_table(self, library: list[Writer]) -> None:
        keys = [writer.pk for writer in library] + list(range(10_000_000, 10_003_000))
        with CaptureQueriesContext(connection) as queries:
            assert Volume.objects.filter(writer__in=keys).count() == 3
            assert Volume.objects.filter(writer__in=keys[:2]).count() == 2
        assert [query["sql"].count("OPENJSON") for query in queries] == [1, 0]

    def test_more_objects_are_prefetched_for_than_a_statement_has_parameters(self) -> None:
        writers = Writer.objects.bulk_create(Writer(name=str(number)) for number in range(2500))
        Volume.objects.create(writer=writers[-1], title="Last", price=1)
        with CaptureQueriesContext(connection) as queries:
            found = list(Writer.objects.order_by("pk").prefetch_related("volumes"))
        assert [volume.title for volume in found[-1].volumes.all()] == ["Last"]
        assert len(queries) == 2

    @pytest.mark.parametrize(
        ("name", "stored", "others"),
        [
            ("short", "0123456789", ["0123456789 and more", "é" * 5000]),
            ("small", 7, [2**15 + 7, 2**31 + 7, 2**63 + 7]),
            ("amount", Decimal("1.500"), [Decimal("1.4999"), Decimal(10**25), Decimal("1e-20")]),
            ("uuid", UUID(int=1), [UUID(int=2)]),
            ("blob", b"a", [b"ab"]),
        ],
    )
    def test_what_the_column_cannot_hold_is_not_found(
        self, name: str, stored: Any, others: list[Any]
    ) -> None:
        """OPENJSON would cut a text, round a number, or fail on one."""
        Everything.objects.create(**{name: stored})
        padding = [type(stored)(number) for number in range(100, 200)] if name != "uuid" else []
        padding = padding or [UUID(int=number) for number in range(100, 200)]
        assert not Everything.objects.filter(**{f"{name}__in": [*padding, *others]}).exists()
        assert Everything.objects.filter(**{f"{name}__in": [*padding, *others, stored]}).count() == 1

    def test_text_follows_the_collation_of_its_column(self) -> None:
        Strict.objects.create(name="Ann")
        names = [f"nobody {n}" for n in range(100)]
        assert Strict.objects.filter(name__in=[*names, "Ann"]).exists()
        assert not Strict.objects.filter(name__in=[*names, "ANN"]).exists()


class TestTimeZones:
    """AT TIME ZONE knows when summer is; a fixed offset does not."""

    @pytest.fixture(autouse=True)
    def moments(self, library: list[Writer]) -> None:
        Volume.objects.filter(title="One").update(
            published=datetime.datetime(2024, 1, 10, 23, 30, tzinfo=UTC)
        )
        Volume.objects.filter(title="Two").update(
            published=datetime.datetime(2024, 7, 10, 22, 30, tzinfo=UTC)
        )

    def test_the_hour_in_winter_and_in_summer(self) -> None:
        hours = Volume.objects.annotate(hour=ExtractHour("published", tzinfo=ZoneInfo("Europe/Paris")))
        assert dict(hours.values_list("title", "hour")) == {"One": 0, "Two": 0, "Three": None}

    def test_the_day_begins_at_local_midnight(self) -> None:
        paris = ZoneInfo("Europe/Paris")
        days = Volume.objects.annotate(day=TruncDay("published", tzinfo=paris)).order_by("pk")
        assert [day for day in days.values_list("day", flat=True) if day] == [
            datetime.datetime(2024, 1, 11, tzinfo=paris),
            datetime.datetime(2024, 7, 11, tzinfo=paris),
        ]

    def test_a_fixed_offset(self) -> None:
        offset = datetime.timezone(datetime.timedelta(hours=-3, minutes=-30))
        hours = Volume.objects.annotate(hour=ExtractHour("published", tzinfo=offset))
        assert hours.get(title="One").hour == 20

    def test_weeks_begin_on_monday_whatever_datefirst_says(self) -> None:
        weeks = Volume.objects.annotate(week=TruncWeek("published", tzinfo=UTC))
        monday = datetime.datetime(2024, 1, 8, tzinfo=UTC)
        for first in (7, 1, 3):
            with connection.cursor() as cursor:
                cursor.execute(f"SET DATEFIRST {first}")
            assert weeks.get(title="One").week == monday
            assert Volume.objects.get(published__week_day=4, title="One")
            assert Volume.objects.get(published__iso_week_day=3, title="One")
        with connection.cursor() as cursor:
            cursor.execute("SET DATEFIRST 7")

    def test_durations_beyond_68_years_and_below_a_millisecond(self) -> None:
        span = datetime.timedelta(days=365 * 90, microseconds=1)
        shifted = Volume.objects.annotate(
            later=F("published") + span, gap=F("published") + span - F("published")
        )
        book = shifted.get(title="One")
        assert book.later == datetime.datetime(2024, 1, 10, 23, 30, tzinfo=UTC) + span
        assert book.gap == span


class TestText:
    def test_signs_of_like_are_text(self) -> None:
        Writer.objects.bulk_create(
            [Writer(name=name) for name in ("50%", "a_b", "[x]", "back\\slash", "plain")]
        )
        for name in ("50%", "a_b", "[x]", "back\\slash"):
            for lookup in ("contains", "startswith", "endswith", "icontains", "iexact"):
                assert Writer.objects.get(**{f"name__{lookup}": name}).name == name

    def test_ignoring_case_leaves_the_column_alone(self, library: list[Writer]) -> None:
        queryset = Writer.objects.filter(name__iexact="BOB")
        assert queryset.get().name == "bob"
        assert "UPPER" not in str(queryset.query)
        assert "COLLATE" not in str(queryset.query)

    def test_ignoring_case_on_a_column_that_minds_it(self) -> None:
        Strict.objects.create(name="Ann")
        assert not Strict.objects.filter(name="ANN").exists()
        assert Strict.objects.get(name__iexact="ANN").name == "Ann"
        assert Strict.objects.get(name__icontains="NN").name == "Ann"

    def test_length_counts_trailing_spaces(self) -> None:
        Writer.objects.create(name="ab  ")
        assert Writer.objects.annotate(n=Length("name")).get().n == 4

    def test_replace_minds_case(self) -> None:
        Writer.objects.create(name="aAa")
        assert Writer.objects.annotate(x=Replace("name", Value("a"), Value("-"))).get().x == "-A-"


class TestLocks:
    def test_each_locked_table_has_the_hint(self, library: list[Writer]) -> None:
        with atomic():
            sql = sql_of(Volume.objects.select_related("writer").select_for_update(of=("self",)))
            assert "[backend_volume] WITH (UPDLOCK, ROWLOCK) INNER JOIN [backend_writer] ON" in sql
            sql = sql_of(
                Volume.objects.select_related("writer").select_for_update(of=("writer",), nowait=True)
            )
            assert "[backend_volume] INNER JOIN [backend_writer] WITH (UPDLOCK, ROWLOCK, NOWAIT) ON" in sql

    def test_skip_locked_reads_past_under_snapshot_isolation_too(self, library: list[Writer]) -> None:
        with atomic():
            sql = sql_of(Writer.objects.select_for_update(skip_locked=True)[:1])
        assert "WITH (UPDLOCK, ROWLOCK, READPAST, READCOMMITTEDLOCK)" in sql


class TestNames:
    def test_a_schema_and_a_bracket(self, library: list[Writer]) -> None:
        Stock.objects.create(item="x", writer=library[0])
        Stock.objects.bulk_create([Stock(item="y"), Stock(item="z", writer=library[1])])
        assert Stock.objects.filter(writer__name="Ann").get().item == "x"
        assert Writer.objects.filter(stock__item="z").get() == library[1]
        Stock.objects.filter(item="y").update(item="w")
        assert Stock.objects.filter(item__in=["w", "x"]).delete()[0] == 2


class TestJSON:
    def test_a_number_is_not_the_text_of_it(self, library: list[Writer]) -> None:
        assert Volume.objects.get(data__a=1).title == "One"
        assert Volume.objects.get(data__a="1").title == "Two"
        assert list(Volume.objects.order_by("pk").values_list("data__a", flat=True)) == [1, "1", None]

    def test_large_numbers_are_told_apart(self, library: list[Writer]) -> None:
        number = 2**60 + 1
        Volume.objects.filter(title="One").update(data={"id": number, "ids": [number, -number]})
        assert Volume.objects.get(data__id=number).title == "One"
        assert Volume.objects.get(data__id__in=[7, number]).title == "One"
        assert Volume.objects.get(data__contains={"ids": [-number]}).title == "One"
        assert not Volume.objects.filter(data__id=number + 1).exists()
        assert not Volume.objects.filter(data__contains={"ids": [1 - number]}).exists()

    @pytest.mark.parametrize(
        ("part", "found"),
        [
            ({"k": 1}, True),
            ({"list": [3]}, True),
            ({"list": [{"x": None}]}, True),
            ({"list": [9]}, False),
            ({"k": 1, "other": 2}, False),
            ({}, True),
        ],
    )
    def test_contains(self, library: list[Writer], part: Any, found: bool) -> None:
        Volume.objects.filter(title="Three").update(data={"k": 1, "list": [1, 3, {"x": None, "y": 2}]})
        assert Volume.objects.filter(title="Three", data__contains=part).exists() is found

    def test_contained_by(self, library: list[Writer]) -> None:
        assert Volume.objects.filter(data__contained_by={"a": 1, "b": 2}).get().title == "One"

    def test_values_longer_than_json_value_gives(self, library: list[Writer]) -> None:
        Volume.objects.filter(title="One").update(data={"long": "x" * 5000})
        assert (
            Volume.objects.filter(data__has_key="long").values_list("data__long", flat=True)[0] == "x" * 5000
        )
