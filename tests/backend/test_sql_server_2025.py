"""What SQL Server 2025 brings, end to end: regular expressions by REGEXP_LIKE, and JSON fields of its native type.

Runs on a stand-in for that release, or on the server that MSSQL_HOST names where it has what is tested.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DataError, IntegrityError, ProgrammingError, connection, connections, models
from django.db.models import Case, Count, Exists, F, OuterRef, Q, Value, When
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, JSONObject, Lower
from django.test.utils import CaptureQueriesContext, isolate_apps

from mssql.base import DatabaseWrapper
from mssql.server import ServerInfo
from sqlserver_standin import StandIn
from tests.conftest import Server

DATABASE = f"sql2025_{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def newer(server: Server) -> Iterator[Server]:
    """A server of that release."""
    if server.standin is None:
        yield server
        return
    with StandIn(release="2025") as standin:
        yield Server(standin.host, str(standin.port), standin.user, standin.password, standin)


@pytest.fixture(scope="module", autouse=True)
def alias(newer: Server, django_db_blocker: Any) -> Iterator[DatabaseWrapper]:
    """A connection to a database of its own there, in the place of the default one."""
    usual = connections["default"]

    def connect(name: str) -> DatabaseWrapper:
        settings = copy.deepcopy(usual.settings_dict)
        settings |= {"HOST": newer.host, "PORT": newer.port, "USER": newer.user, "PASSWORD": newer.password}
        settings |= {"NAME": name, "OPTIONS": settings["OPTIONS"] | {"json_storage": "json"}}
        return DatabaseWrapper(settings, "default")

    with django_db_blocker.unblock():
        master = connect("master")
        if not master.features.supports_regexp_like:
            master.close()
            pytest.skip("this server has neither REGEXP_LIKE nor the native json type")
        with master.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE [{DATABASE}]")
        connections["default"] = wrapper = connect(DATABASE)
        try:
            yield wrapper
        finally:
            connections["default"] = usual
            wrapper.close()
            with master.cursor() as cursor:
                cursor.execute(f"ALTER DATABASE [{DATABASE}] SET SINGLE_USER WITH ROLLBACK IMMEDIATE")
                cursor.execute(f"DROP DATABASE [{DATABASE}]")
            master.close()


@pytest.fixture(autouse=True)
def _label(newer: Server, request: pytest.FixtureRequest) -> None:
    if newer.standin is not None:
        newer.standin.control.label(request.node.nodeid)


@pytest.fixture(scope="module")
def registry() -> Iterator[Any]:
    with isolate_apps("tests.backend") as registry:
        yield registry


@pytest.fixture(scope="module")
def trees(alias: DatabaseWrapper, registry: Any) -> Iterator[Any]:
    class Tree(models.Model):  # noqa: DJ008
        name = models.CharField(max_length=20, null=True)  # noqa: DJ001
        note = models.TextField(null=True)  # noqa: DJ001
        pattern = models.CharField(max_length=20, null=True)  # noqa: DJ001
        long_pattern = models.TextField(null=True)  # noqa: DJ001
        height = models.IntegerField(null=True)
        girth = models.DecimalField(max_digits=6, decimal_places=2, null=True)
        planted = models.DateField(null=True)
        code = models.UUIDField(default=uuid.UUID(int=0xABC))
        data = models.JSONField(null=True)

        class Meta:
            app_label = "backend"

    with alias.schema_editor() as editor:
        editor.create_model(Tree)
    Tree.objects.bulk_create(
        [
            Tree(
                name="Oak",
                note="a tree\nold",
                pattern="^O",
                long_pattern="k$",
                height=12,
                girth="3.50",
                planted="2020-02-03",
                data={"kind": "Deciduous", "rings": [12, 13]},
            ),
            Tree(
                name="oak",
                note="small",
                pattern="O",
                long_pattern="K",
                height=7,
                data={"kind": "deciduous"},
            ),
            Tree(name="Élan", note="[x]", pattern="^É", planted="2021-02-03", data={"kind": None}),
            Tree(),
        ]
    )
    yield Tree
    with alias.schema_editor() as editor:
        editor.delete_model(Tree)


class TestRegularExpressions:
    @pytest.mark.parametrize(
        ("condition", "names"),
        [
            (Q(name__regex="^O.k$"), ["Oak"]),
            (Q(name__iregex="^O.K$"), ["Oak", "oak"]),
            (Q(name__regex="^o") | Q(name__regex="n$"), ["Élan", "oak"]),
            (Q(name__regex="O") & ~Q(name__regex="x"), ["Oak"]),
            (~Q(name__regex="^O"), [None, "Élan", "oak"]),
            (Q(name__regex=""), ["Oak", "oak", "Élan"]),
            (Q(name__iregex="é"), ["Élan"]),
            (Q(name__regex=r"^\w"), ["Oak", "oak"]),  # \w is ASCII.
            (Q(note__regex="^old"), []),
            (Q(note__regex="(?m)^old"), ["Oak"]),
            (Q(note__regex=r"^\[.\]$"), ["Élan"]),
            (Q(height__regex=r"^\d\d$"), ["Oak"]),
            (Q(girth__regex=r"\.50$"), ["Oak"]),
            (Q(planted__regex="-02-03$"), ["Oak", "Élan"]),
            (Q(code__iregex="ABC$"), [None, "Oak", "oak", "Élan"]),
            (Q(data__kind__regex="^De"), ["Oak"]),
            (Q(data__kind__iregex="^De"), ["Oak", "oak"]),
            (Q(data__regex="rings"), ["Oak"]),
            (Q(name__regex=F("pattern")), ["Oak", "Élan"]),
            (Q(name__iregex=F("pattern")), ["Oak", "oak", "Élan"]),
            (Q(name__regex=F("long_pattern")), ["Oak"]),
            (Q(name__regex=Lower("long_pattern")), ["Oak", "oak"]),
            (Q(name__regex=Value("^O")), ["Oak"]),
        ],
    )
    def test_rows_are_found(self, trees: Any, condition: Q, names: list[str | None]) -> None:
        found = trees.objects.filter(condition).values_list("name", flat=True)
        assert sorted(found, key=str) == sorted(names, key=str)

    def test_wherever_conditions_go(self, trees: Any) -> None:
        named = trees.objects.annotate(
            is_oak=Q(name__iregex="^oak$"),
            size=Case(When(height__regex="^1", then=Value("big")), default=Value("small")),
        )
        assert set(named.values_list("name", "is_oak", "size")) == {
            ("Oak", True, "big"),
            ("oak", True, "small"),
            ("Élan", False, "small"),
            (None, False, "small"),
        }
        assert named.filter(is_oak=True).count() == 2
        counts = trees.objects.aggregate(oaks=Count("pk", filter=Q(name__iregex="oak")), all=Count("pk"))
        assert counts == {"oaks": 2, "all": 4}
        fitting = trees.objects.filter(name__regex=OuterRef("pattern"))
        assert trees.objects.filter(Exists(fitting)).count() == 3
        assert trees.objects.exclude(name__iregex="oak").count() == 2
        assert trees.objects.filter(name__iregex="oak").update(height=F("height") + 0) == 2

    @pytest.mark.parametrize(
        ("pattern", "number"),
        [
            ("(", 19308),
            ("[", 19308),
            (")", 19307),
            ("\\", 19309),
            ("a(?=b)", 19300),
            (r"(a)\1", 19300),
            ("*", 19300),
        ],
    )
    def test_a_bad_pattern_is_bad_data(self, trees: Any, pattern: str, number: int) -> None:
        with pytest.raises(DataError) as caught:
            list(trees.objects.filter(name__regex=pattern))
        assert caught.value.sqlserver.number == number  # type: ignore[attr-defined]

    def test_a_pattern_of_more_than_8000_bytes_is_refused(self, trees: Any) -> None:
        with pytest.raises(ProgrammingError, match="8116"):
            list(trees.objects.filter(name__regex=4001 * "a"))

    def test_a_constraint(self, alias: DatabaseWrapper, registry: Any) -> None:
        class Plot(models.Model):  # noqa: DJ008
            number = models.CharField(max_length=10)

            class Meta:
                app_label = "backend"
                constraints = [
                    models.CheckConstraint(condition=Q(number__regex=r"^\d+'?$"), name="plot_number")
                ]

        with alias.schema_editor() as editor:
            editor.create_model(Plot)
        try:
            Plot.objects.create(number="12'")
            with pytest.raises(IntegrityError):
                Plot.objects.create(number="x")
        finally:
            with alias.schema_editor() as editor:
                editor.delete_model(Plot)


DOCUMENTS: list[Any] = [
    {"kind": "tree", "rings": [1, 2.5, {"deep": 'é 😀 " \\'}], "old": True, "gone": None, "": 0},
    {"kind": "Tree", "rings": []},
    {"kind": "bush", "more": {"kind": "tree", "10": "ten"}},
    [1, "two", None, {"three": 3}],
    [],
    {},
]


@pytest.fixture(scope="module")
def paper(alias: DatabaseWrapper, registry: Any) -> Iterator[Any]:
    class Paper(models.Model):  # noqa: DJ008
        number = models.IntegerField()
        data = models.JSONField(null=True)
        other = models.JSONField(default=dict)

        class Meta:
            app_label = "backend"

    with alias.schema_editor() as editor:
        editor.create_model(Paper)
    yield Paper
    with alias.schema_editor() as editor:
        editor.delete_model(Paper)


class TestNativeJson:
    @pytest.fixture
    def papers(self, paper: Any) -> Iterator[Any]:
        paper.objects.bulk_create(
            [paper(number=number, data=data) for number, data in enumerate(DOCUMENTS)] + [paper(number=-1)]
        )
        yield paper.objects
        paper.objects.all().delete()

    def test_the_column_has_the_type(self, alias: DatabaseWrapper, paper: Any) -> None:
        with alias.cursor() as cursor:
            columns = alias.introspection.get_table_description(cursor, paper._meta.db_table)
            cursor.execute(
                "SELECT TYPE_NAME(system_type_id) FROM sys.columns WHERE object_id = OBJECT_ID(%s) AND name = 'data'",
                [paper._meta.db_table],
            )
            assert cursor.fetchone() == ("json",)
        (data,) = [column for column in columns if column.name == "data"]
        assert alias.introspection.get_field_type(data.type_code, data) == "JSONField"

    def test_documents_come_back_as_they_were(self, papers: Any) -> None:
        assert list(papers.order_by("number").values_list("data", flat=True)) == [None, *DOCUMENTS]
        made = papers.create(number=9, data=DOCUMENTS[0])
        made.refresh_from_db()
        assert made.data == DOCUMENTS[0]
        assert made.other == {}

    @pytest.mark.parametrize(
        ("condition", "numbers"),
        [
            (Q(data=DOCUMENTS[0]), [0]),
            (Q(data={}), [5]),
            (Q(data__in=[[], {}]), [4, 5]),
            (~Q(data={}), [-1, 0, 1, 2, 3, 4]),
            (Q(data__isnull=True), [-1]),
            pytest.param(
                Q(data=None), [], marks=pytest.mark.filterwarnings("ignore:Using None")
            ),  # Django 6.1 wants JSONNull() there.
            (Q(data=1), []),
            (~Q(data="text"), [-1, 0, 1, 2, 3, 4, 5]),
            (Q(data__in=[DOCUMENTS[0], {"no": 1}]), [0]),
            (Q(data=F("data")), [0, 1, 2, 3, 4, 5]),
            (Q(data__kind="tree"), [0]),
            (Q(data__kind__in=["tree", "bush"]), [0, 2]),
            (Q(data__kind__iexact="TREE"), [0, 1]),
            (Q(data__kind__startswith="tre"), [0, 1]),
            (Q(data__kind__isnull=True), [-1, 3, 4, 5]),
            (Q(data__gone=None), [0]),
            (Q(data__old=True), [0]),
            (Q(data__rings__1__gt=2), [0]),
            (Q(data__rings__2__deep__icontains="😀"), [0]),
            (Q(data__rings__2={"deep": 'é 😀 " \\'}), [0]),
            (Q(data__1="two"), [3]),
            (Q(data__more={"kind": "tree", "10": "ten"}), [2]),
            (Q(data__more__kind=F("data__more__kind")), [2]),
            (Q(data__has_key="rings"), [0, 1]),
            (Q(data__has_keys=["kind", "more"]), [2]),
            (Q(data__has_any_keys=["old", "more"]), [0, 2]),
            (Q(data__contains={"kind": "tree"}), [0]),
            (Q(data__contains=[{"three": 3}]), [3]),
            (Q(data__contained_by={"kind": "Tree", "rings": [], "x": 1}), [1, 5]),
            (Q(data__icontains="TWO"), [3]),
        ],
    )
    def test_lookups(self, papers: Any, condition: Q, numbers: list[int]) -> None:
        assert sorted(papers.filter(condition).values_list("number", flat=True)) == numbers

    def test_where_openjson_takes_text_alone(self, papers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ServerInfo, "is_managed", True)
        deep = papers.filter(data__rings__1__gt=2)
        assert "OPENJSON(CASE WHEN ISJSON(CAST(" in str(deep.query)
        assert deep.get().number == 0

    def test_it_is_changed(self, papers: Any) -> None:
        first = papers.get(number=0)
        first.data["kind"] = "fern"
        first.save()
        assert papers.get(data__kind="fern").pk == first.pk
        changed = [*papers.filter(number__in=[1, 2])]
        for each in changed:
            each.data = {"number": each.number}
        assert papers.bulk_update(changed, ["data"]) == 2
        assert list(
            papers.filter(data__number__gte=1).order_by("data__number").values_list("number", flat=True)
        ) == [1, 2]
        assert papers.filter(number=3).update(data=F("other")) == 1
        assert papers.get(number=3).data == {}
        assert papers.update(data=JSONObject(copy="other", number="number")) == 7
        assert papers.get(number=4).data == {"copy": {}, "number": 4}
        papers.filter(number=4).update(data=None)
        assert papers.get(number=4).data is None

    def test_it_is_read_in_parts(self, papers: Any) -> None:
        parts = papers.filter(number=0).values_list("data__kind", "data__rings__2", KT("data__rings__0"))
        assert list(parts) == [("tree", DOCUMENTS[0]["rings"][2], "1")]
        text = papers.filter(number=1).annotate(text=Cast("data", models.TextField()))
        assert text.get().text == '{"kind":"Tree","rings":[]}'
        parts = papers.annotate(part=Cast("data__rings", models.JSONField()))
        assert parts.filter(part__0=1).get().part == DOCUMENTS[0]["rings"]

    def test_rows_are_grouped_and_counted(self, papers: Any) -> None:
        assert papers.annotate(same=Count("number")).get(number=0).data == DOCUMENTS[0]
        assert papers.aggregate(filled=Count("data")) == {"filled": 6}
        kinds = (
            papers.values("data__kind").annotate(papers=Count("pk")).filter(data__kind__in=["tree", "bush"])
        )
        assert {row["data__kind"]: row["papers"] for row in kinds} == {"tree": 1, "bush": 1}
        assert papers.filter(number__gte=0).distinct().count() == 6
        assert len(papers.filter(number=0).distinct()) == 1
        assert papers.filter(number=0).union(papers.filter(number=3)).count() == 2

    @pytest.mark.parametrize("value", [1, "text", True, 1.5, Value(None, models.JSONField())])
    def test_a_document_is_an_object_or_an_array(self, papers: Any, value: Any) -> None:
        with pytest.raises(DataError) as caught:
            papers.create(number=9, data=value)
        assert caught.value.sqlserver.number == 13609  # type: ignore[attr-defined]

    def test_the_columns_of_a_table_change(self, alias: DatabaseWrapper, registry: Any) -> None:
        class Sheet(models.Model):  # noqa: DJ008
            text = models.TextField(default="{}")

            class Meta:
                app_label = "backend"

        with alias.schema_editor() as editor:
            editor.create_model(Sheet)
        try:
            Sheet.objects.create(text='{"a": [1]}')
            added = models.JSONField(default=list)
            added.set_attributes_from_name("added")
            turned = models.JSONField(default=dict)
            turned.set_attributes_from_name("text")
            with CaptureQueriesContext(alias) as queries, alias.schema_editor() as editor:
                editor.add_field(Sheet, added)
                editor.alter_field(Sheet, Sheet._meta.get_field("text"), turned)
            assert any("[text] json" in query["sql"] for query in queries)
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT text, added FROM {Sheet._meta.db_table}")
                assert cursor.fetchall() == [('{"a":[1]}', "[]")]
        finally:
            with alias.schema_editor() as editor:
                editor.delete_model(Sheet)
