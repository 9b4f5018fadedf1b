"""Hints stand in the statement where SQL Server looks for them, and nothing else gets in with them."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

import pytest
from django.db import NotSupportedError, connection
from django.db.models import Count, Exists, OuterRef, Prefetch, QuerySet, Window
from django.db.models.functions import RowNumber
from django.db.transaction import atomic
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from mssql.hints import HintQuerySet, _query_hint, _table_hint, with_hints
from tests.backend.models import Volume, Writer


class TestGrammar:
    @pytest.mark.parametrize(
        ("text", "sql"),
        [
            ("nolock", "NOLOCK"),
            (" TABLOCKX ", "TABLOCKX"),
            ("FORCESEEK", "FORCESEEK"),
            ("INDEX(order_number)", "INDEX ([order_number])"),
            ("INDEX = [my]] index]", "INDEX ([my]] index])"),
            ("index=(0)", "INDEX (0)"),
            ("INDEX([100% new], two, 3)", "INDEX ([100%% new], [two], 3)"),
            ("FORCESEEK(ix (a, [b c]))", "FORCESEEK ([ix] ([a], [b c]))"),
            ("SPATIAL_WINDOW_MAX_CELLS = 512", "SPATIAL_WINDOW_MAX_CELLS = 512"),
        ],
    )
    def test_table_hints(self, text: str, sql: str) -> None:
        assert _table_hint(text) == sql

    @pytest.mark.parametrize(
        ("text", "sql"),
        [
            ("recompile", "RECOMPILE"),
            ("MAXDOP 4", "MAXDOP 4"),
            ("fast  10", "FAST 10"),
            ("OPTIMIZE FOR UNKNOWN", "OPTIMIZE FOR UNKNOWN"),
            ("loop join", "LOOP JOIN"),
            ("MAX_GRANT_PERCENT = 12.5", "MAX_GRANT_PERCENT = 12.5"),
            (
                "USE HINT('force_legacy_cardinality_estimation')",
                "USE HINT ('FORCE_LEGACY_CARDINALITY_ESTIMATION')",
            ),
            (
                "USE HINT ('ENABLE_QUERY_OPTIMIZER_HOTFIXES', 'DISALLOW_BATCH_MODE')",
                "USE HINT ('ENABLE_QUERY_OPTIMIZER_HOTFIXES', 'DISALLOW_BATCH_MODE')",
            ),
        ],
    )
    def test_query_hints(self, text: str, sql: str) -> None:
        assert _query_hint(text) == sql

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "NOLOCKS",
            "NOLOCK) --",
            "NOLOCK, TABLOCK",
            "INDEX",
            "INDEX()",
            "INDEX([a)",
            "INDEX(a) WHERE 1",
            "INDEX(1.5)",
            "INDEX('a')",
            "FORCESEEK(ix)",
            "FORCESEEK(ix (a)",
            "SPATIAL_WINDOW_MAX_CELLS = 1.5",
        ],
    )
    def test_other_table_hints_are_refused(self, text: str) -> None:
        with pytest.raises(
            ValueError, match=r"is not a table hint that SQL Server knows.*hints-transact-sql-table"
        ):
            with_hints(Writer.objects.all(), table=text)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "MAXDOP",
            "MAXDOP -1",
            "MAXDOP 40000",
            "MAXDOP 1); DROP TABLE x; --",
            "RECOMPILE, MAXDOP 1",
            "MAX_GRANT_PERCENT = 101",
            "USE HINT ('x'') DROP TABLE y --')",
            "USE HINT (N'X')",
            "USE HINT ()",
            "OPTIMIZE FOR (@p UNKNOWN)",
            "PARAMETERIZATION FORCED",
        ],
    )
    def test_other_query_hints_are_refused(self, text: str) -> None:
        with pytest.raises(
            ValueError, match=r"is not a query hint that SQL Server knows.*hints-transact-sql-query"
        ):
            with_hints(Writer.objects.all(), query=[text])

    @given(st.text(max_size=30))
    def test_any_index_name_stays_a_name(self, name: str) -> None:
        quoted = name.replace("]", "]]")
        if not name:
            return
        assert _table_hint(f"INDEX([{quoted}])") == f"INDEX ([{quoted.replace('%', '%%')}])"

    @given(st.text(alphabet="INDEX(a[]',)=;-/*%@\n 1", max_size=25))
    def test_nothing_gets_out_of_a_hint(self, text: str) -> None:
        try:
            sql = _table_hint(f"INDEX{text}")
        except ValueError:
            return
        inner = sql.removeprefix("INDEX (").removesuffix(")")
        names = inner.replace("]]", "")
        assert all(part[0] + part[-1] == "[]" or part.isdecimal() for part in names.split(", ") if part), sql


@pytest.fixture
def library(db: None) -> list[Writer]:
    writers = [Writer(name=name) for name in ("Ann", "bob", "Cyd")]
    Writer.objects.bulk_create(writers)
    Volume.objects.bulk_create(
        [
            Volume(writer=writers[1], title="One", price=Decimal(1)),
            Volume(writer=writers[1], title="Two", price=Decimal(2)),
            Volume(writer=writers[2], title="Three", price=Decimal(3)),
        ]
    )
    return writers


def sent(run: Any) -> tuple[Any, str]:
    """The outcome, and the one statement for it."""
    with CaptureQueriesContext(connection) as queries:
        outcome = run()
    statements = [query["sql"] for query in queries if "SAVE TRAN" not in query["sql"]]
    assert len(statements) == 1, statements
    # Django 6.1 quotes aliases.
    return outcome, statements[0].replace("[U0]", "U0")


OPTION = " OPTION (RECOMPILE, MAXDOP 1)"


def hinted(queryset: QuerySet[Any], table: Any = "NOLOCK") -> QuerySet[Any]:
    return with_hints(queryset, table=table, query=["RECOMPILE", "MAXDOP 1"])


@pytest.mark.usefixtures("library")
class TestStatements:
    def test_a_list(self) -> None:
        rows, sql = sent(lambda: list(hinted(Writer.objects.order_by("name"))[:2]))
        assert [row.name for row in rows] == ["Ann", "bob"]
        assert "FROM [backend_writer] WITH (NOLOCK) ORDER BY" in sql
        assert sql.endswith(OPTION)

    def test_the_queryset_itself_is_left_as_it_was(self) -> None:
        plain = Writer.objects.all()
        hinted(plain)
        assert "NOLOCK" not in str(plain.query)

    def test_hints_add_up_and_come_once(self) -> None:
        queryset = with_hints(hinted(Writer.objects.all()), table=["NOLOCK", "FORCESCAN"], query="MAXDOP 1")
        _, sql = sent(lambda: list(queryset))
        assert "WITH (NOLOCK, FORCESCAN)" in sql
        assert sql.endswith(OPTION)

    def test_an_index_by_its_name(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("CREATE INDEX [odd] name 100%] ON backend_writer (name)".replace("odd]", "odd]]"))
        queryset = hinted(Writer.objects.filter(name="Ann"), table="INDEX([odd]] name 100%])")
        assert queryset.get().name == "Ann"

    def test_joined_tables_by_their_models(self) -> None:
        queryset = hinted(
            Volume.objects.select_related("writer").filter(writer__name__in=["bob", "Cyd"]),
            table={Writer: ["NOLOCK", "INDEX(1)"], Volume: "READCOMMITTED"},
        )
        rows, sql = sent(lambda: list(queryset))
        assert len(rows) == 3
        assert (
            "[backend_volume] WITH (READCOMMITTED) INNER JOIN [backend_writer] WITH (NOLOCK, INDEX (1)) ON"
            in sql
        )

    def test_an_outer_join(self) -> None:
        queryset = hinted(Writer.objects.filter(volumes__title=None), table={Volume: "NOLOCK"})
        rows, sql = sent(lambda: list(queryset))
        assert [row.name for row in rows] == ["Ann"]
        assert "LEFT OUTER JOIN [backend_volume] WITH (NOLOCK) ON" in sql

    @pytest.mark.parametrize(
        ("run", "outcome"),
        [
            (lambda queryset: queryset.count(), 3),
            (lambda queryset: queryset.distinct().count(), 3),
            (lambda queryset: queryset[:2].count(), 2),
            (lambda queryset: queryset.exists(), True),
            (lambda queryset: queryset.filter(name="bob").get().name, "bob"),
            (lambda queryset: queryset.aggregate(n=Count("volumes")), {"n": 3}),
            (lambda queryset: len(list(queryset.iterator(chunk_size=2))), 3),
            (lambda queryset: len(queryset.union(Writer.objects.filter(name="Ann"))), 3),
            (lambda queryset: len(Writer.objects.filter(name="Ann").union(queryset)), 3),
            (
                lambda queryset: len(
                    queryset.annotate(nth=Window(RowNumber(), order_by="name")).filter(nth__lte=2)
                ),
                2,
            ),
        ],
    )
    def test_whatever_is_asked_of_it(self, run: Any, outcome: Any) -> None:
        result, sql = sent(lambda: run(hinted(Writer.objects.all())))
        assert result == outcome
        assert "[backend_writer] WITH (NOLOCK)" in sql
        assert sql.endswith(OPTION)
        assert sql.count("OPTION") == 1

    def test_a_pickled_query(self) -> None:
        queryset = Writer.objects.all()
        queryset.query = pickle.loads(pickle.dumps(hinted(queryset).query))
        assert sent(lambda: list(queryset))[1].endswith(OPTION)

    def test_a_plan(self) -> None:
        assert "backend_writer" in hinted(Writer.objects.all()).explain()

    def test_beside_the_locks_of_select_for_update(self) -> None:
        with atomic():
            rows, sql = sent(
                lambda: list(hinted(Writer.objects.select_for_update(), table=["INDEX(1)", "UPDLOCK"]))
            )
        assert len(rows) == 3
        assert "WITH (UPDLOCK, ROWLOCK, INDEX (1))" in sql

    def test_tables_of_a_subquery(self) -> None:
        volumes = with_hints(Volume.objects.filter(writer=OuterRef("pk")), table="NOLOCK")
        queryset = with_hints(Writer.objects.filter(Exists(volumes)), query="RECOMPILE")
        rows, sql = sent(lambda: list(queryset))
        assert len(rows) == 2
        assert "FROM [backend_volume] U0 WITH (NOLOCK)" in sql
        assert "FROM [backend_writer] WHERE" in sql

    def test_query_hints_of_a_subquery_are_refused(self) -> None:
        writers = with_hints(Writer.objects.all(), query="RECOMPILE")
        with pytest.raises(NotSupportedError, match="outer queryset"):
            list(Volume.objects.filter(writer__in=writers))

    def test_update(self) -> None:
        count, sql = sent(
            lambda: hinted(Writer.objects.filter(name="bob"), table=["ROWLOCK", "INDEX(1)"]).update(
                name="Bob"
            )
        )
        assert count == 1
        assert " FROM [backend_writer] WITH (ROWLOCK, INDEX (1)) WHERE " in sql
        assert sql.endswith(OPTION)

    def test_update_of_all_rows(self) -> None:
        count, sql = sent(lambda: hinted(Writer.objects.all(), table="TABLOCK").update(is_living=False))
        assert count == 3
        assert sql.endswith(f" FROM [backend_writer] WITH (TABLOCK){OPTION}")

    def test_update_found_by_a_subquery(self) -> None:
        queryset = hinted(Writer.objects.filter(volumes__title="One"), table=["ROWLOCK", "INDEX(1)"])
        count, sql = sent(lambda: queryset.update(name="B"))
        assert count == 1
        assert " FROM [backend_writer] WITH (ROWLOCK) WHERE " in sql
        assert "[backend_writer] U0 WITH (ROWLOCK, INDEX (1))" in sql
        assert sql.endswith(OPTION)

    def test_delete(self) -> None:
        (count, _), sql = sent(lambda: hinted(Volume.objects.filter(title="One"), table="ROWLOCK").delete())
        assert count == 1
        assert sql.startswith("DELETE FROM [backend_volume] FROM [backend_volume] WITH (ROWLOCK) WHERE ")
        assert sql.endswith(OPTION)

    def test_delete_found_by_a_subquery(self) -> None:
        queryset = hinted(
            Volume.objects.filter(writer__name="bob"), table={Writer: "NOLOCK", Volume: "ROWLOCK"}
        )
        (count, _), sql = sent(queryset.delete)
        assert count == 2
        assert sql.startswith("DELETE FROM [backend_volume] FROM [backend_volume] WITH (ROWLOCK) WHERE ")
        assert "WITH (NOLOCK)" in sql
        assert sql.endswith(OPTION)

    def test_raw_queries_have_none(self) -> None:
        rows = Writer.objects.raw("SELECT id, name FROM backend_writer WITH (NOLOCK) ORDER BY name")
        assert [row.name for row in rows] == ["Ann", "bob", "Cyd"]

    def test_a_method_of_the_queryset(self) -> None:
        queryset = HintQuerySet(Writer).filter(name="Ann").with_hints(table="NOLOCK", query="FAST 1")
        rows, sql = sent(lambda: list(queryset))
        assert [row.name for row in rows] == ["Ann"]
        assert sql.endswith(" OPTION (FAST 1)")

    def test_a_manager_serves_as_well(self) -> None:
        assert "WITH (NOLOCK)" in str(with_hints(Writer.objects, table="NOLOCK").query)

    def test_a_prefetch(self) -> None:
        volumes = with_hints(Volume.objects.all(), table="NOLOCK", query="RECOMPILE")
        with CaptureQueriesContext(connection) as queries:
            list(Writer.objects.prefetch_related(Prefetch("volumes", volumes)))
        assert ["NOLOCK" in query["sql"] for query in queries] == [False, True]
