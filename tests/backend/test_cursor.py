"""The cursor: results, several of them, errors on the way, and what stands on the wire meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, OperationalError, ProgrammingError
from pytest_django import DjangoDbBlocker

from mssql.base import DatabaseWrapper
from mssql.cursor import CHUNK
from sqlserver_standin.events import Done, Message, SqlError
from tests.backend.echo import Echo, echo, rows


@pytest.fixture(scope="module")
def engine(django_db_blocker: DjangoDbBlocker) -> Iterator[Echo]:
    with django_db_blocker.unblock(), echo() as running:
        running.scripts.update(SCRIPTS)
        yield running


@pytest.fixture
def alias(engine: Echo) -> Iterator[DatabaseWrapper]:
    wrapper = engine.alias()
    wrapper.ensure_connection()
    engine.sent()
    yield wrapper
    wrapper.close()


DUPLICATE = SqlError(
    2627, "Violation of UNIQUE KEY constraint 'u'. Cannot insert duplicate key in object 'dbo.t'.", 14
)
SCRIPTS = {
    "insert; select": [Done(1, "insert"), *rows((7,))],
    "trigger": [Done(100, "insert"), Done(3, "update")],
    "set; update; set": [Done(None), Done(5, "update"), Done(None)],
    "insert; fail": [Done(1, "insert"), DUPLICATE],
    "rows; fail": [rows((1,))[0], DUPLICATE],
    "three sets": [*rows((1,), (2,)), Done(9, "update"), *rows((3,)), *rows(*[(n,) for n in range(300)])],
    "no rows": [*rows()],
    "one column": [*rows((1,))],
    "prints": [Message(0, "before"), Done(1, "insert"), Message(0, "after"), *rows((1,))],
    "big; small": [*rows(*[(n,) for n in range(250)]), *rows((1,))],
}


def query(alias: DatabaseWrapper, sql: str, params: Any = None) -> Any:
    with alias.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchall()


class TestResults:
    def test_rows_are_tuples(self, alias: DatabaseWrapper) -> None:
        assert query(alias, "rows 2") == [(0, "name 0"), (1, "name 1")]
        for sql in ("rows 1", "one column"):
            (row,) = query(alias, sql)
            assert type(row) is tuple

    def test_a_page_of_a_hundred_is_off_the_wire_after_execute(self, alias: DatabaseWrapper) -> None:
        assert alias.connection is not None
        with alias.cursor() as cursor:
            cursor.execute("rows 100")
            assert alias.connection.reading is None
            assert len(cursor.fetchmany(100)) == 100
            cursor.execute("rows 101")
            assert alias.connection.reading is not None

    @pytest.mark.parametrize("count", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 1234])
    @pytest.mark.parametrize("size", [1, 7, CHUNK, 1000])
    def test_every_way_of_fetching_gives_each_row_once(
        self, alias: DatabaseWrapper, count: int, size: int
    ) -> None:
        expected = [(n, f"name {n}") for n in range(count)]
        with alias.cursor() as cursor:
            cursor.execute(f"rows {count}")
            chunks = list(iter(lambda: cursor.fetchmany(size), []))
            assert [row for chunk in chunks for row in chunk] == expected
            assert all(len(chunk) == size for chunk in chunks[:-1])
            cursor.execute(f"rows {count}")
            assert list(cursor) == expected
            cursor.execute(f"rows {count}")
            first = cursor.fetchone()
            some = cursor.fetchmany(size)
            assert ([first] if first else []) + some + cursor.fetchall() == expected
            assert cursor.fetchone() is None
            assert cursor.fetchmany(size) == cursor.fetchall() == []

    def test_execute_goes_on_to_the_rows(self, alias: DatabaseWrapper) -> None:
        with alias.cursor() as cursor:
            cursor.execute("insert; select")
            assert cursor.rowcount == 1
            assert cursor.fetchone() == (7,)

    @pytest.mark.parametrize(("sql", "count"), [("trigger", 3), ("set; update; set", 5), ("nothing", -1)])
    def test_rowcount_is_the_last_count(self, alias: DatabaseWrapper, sql: str, count: int) -> None:
        with alias.cursor() as cursor:
            cursor.execute(sql)
            assert cursor.rowcount == count
            assert cursor.description is None

    def test_nextset_goes_from_rows_to_rows(self, alias: DatabaseWrapper) -> None:
        with alias.cursor() as cursor:
            cursor.execute("three sets")
            assert cursor.fetchall() == [(1,), (2,)]
            assert cursor.nextset()
            assert cursor.fetchall() == [(3,)]
            assert cursor.nextset()
            assert len(cursor.fetchall()) == 300
            assert not cursor.nextset()
            assert cursor.description is None

    def test_nextset_leaves_what_was_not_read(self, alias: DatabaseWrapper) -> None:
        with alias.cursor() as cursor:
            cursor.execute("big; small")
            assert cursor.fetchone() == (0,)
            assert cursor.nextset()
            assert cursor.fetchall() == [(1,)]

    def test_messages_of_the_whole_statement_are_kept(self, alias: DatabaseWrapper) -> None:
        with alias.cursor() as cursor:
            cursor.execute("prints")
            assert [text.rpartition("]")[2] for _, text in cursor.messages] == ["before", "after"]
            cursor.execute("rows 1")
            assert cursor.messages == []

    def test_no_rows_are_none(self, alias: DatabaseWrapper) -> None:
        with alias.cursor() as cursor:
            cursor.execute("no rows")
            assert cursor.description is not None
            assert cursor.fetchone() is None

    def test_fetching_without_a_result_is_an_error(self, alias: DatabaseWrapper) -> None:
        with alias.cursor() as cursor:
            cursor.execute("nothing")
            with pytest.raises(ProgrammingError, match="returned no rows"):
                cursor.fetchone()

    def test_a_closed_cursor_says_so(self, alias: DatabaseWrapper) -> None:
        with alias.cursor() as cursor:
            cursor.execute("rows 1")
        for use in (lambda: cursor.execute("rows 1"), cursor.fetchall, cursor.nextset):
            with pytest.raises(ProgrammingError, match="closed"):
                use()
        cursor.close()


class TestErrors:
    @pytest.mark.parametrize("sql", ["insert; fail", "rows; fail"])
    def test_an_error_anywhere_on_the_way_is_raised(self, alias: DatabaseWrapper, sql: str) -> None:
        with pytest.raises(IntegrityError) as caught:
            query(alias, sql)
        assert caught.value.sqlserver.number == 2627  # type: ignore[attr-defined]
        assert query(alias, "rows 1")

    @pytest.mark.parametrize(
        ("number", "exception"),
        [
            (1205, OperationalError),
            (1222, OperationalError),
            (3960, OperationalError),
            (207, ProgrammingError),
            (8134, DatabaseError),
        ],
    )
    def test_the_number_decides_the_class(
        self, engine: Echo, alias: DatabaseWrapper, number: int, exception: type[Exception]
    ) -> None:
        engine.scripts["error"] = [
            SqlError(number, "text (1205) of no meaning", 13 if number == 1205 else 16)
        ]
        with pytest.raises(exception) as caught:
            query(alias, "error")
        assert caught.value.sqlserver.number == number  # type: ignore[attr-defined]
        assert query(alias, "echo %s", [1]) == [(1,)]

    def test_an_error_at_the_hundredth_row_is_raised_when_it_is_fetched(
        self, engine: Echo, alias: DatabaseWrapper
    ) -> None:
        engine.scripts["late"] = [
            rows(*[(n,) for n in range(5 * CHUNK)])[0],
            SqlError(8134, "Divide by zero error encountered."),
        ]
        with alias.cursor() as cursor:
            cursor.execute("late")
            with pytest.raises(DatabaseError):
                cursor.fetchall()
        assert query(alias, "rows 1")


class TestTheWire:
    def test_a_statement_is_one_message(self, engine: Echo, alias: DatabaseWrapper) -> None:
        for value in (1, "x", "y" * 3000, "z" * 50_000, b"b" * 50_000, None):
            query(alias, "echo %s", [value])
            query(alias, "rows 3")
        assert engine.sent() == ["rpc:sp_prepexec: echo @P1", "batch: rows 3"] * 6

    def test_a_result_that_is_not_read_to_its_end_makes_way(
        self, engine: Echo, alias: DatabaseWrapper
    ) -> None:
        with alias.cursor() as first, alias.cursor() as second:
            first.execute("rows 1000")
            assert first.fetchone() == (0, "name 0")
            second.execute("rows 500")
            assert second.fetchone() == (0, "name 0")
            assert len(first.fetchall()) == 999
            assert len(second.fetchall()) == 499
        assert engine.sent() == ["batch: rows 1000", "batch: rows 500"]

    def test_further_sets_make_way_too(self, alias: DatabaseWrapper) -> None:
        with alias.cursor() as cursor:
            cursor.execute("big; small")
            query(alias, "rows 1")
            assert len(cursor.fetchall()) == 250
            assert cursor.nextset()
            assert cursor.fetchall() == [(1,)]
            assert not cursor.nextset()

    def test_a_long_result_given_up_is_cancelled(self, engine: Echo, alias: DatabaseWrapper) -> None:
        with alias.cursor() as cursor:
            cursor.execute("rows 1000000")
            cursor.fetchone()
        assert engine.sent() == ["batch: rows 1000000", "attention: "]
        assert query(alias, "rows 1")

    def test_a_short_result_given_up_costs_nothing(self, engine: Echo, alias: DatabaseWrapper) -> None:
        for _ in range(3):
            with alias.cursor() as cursor:
                cursor.execute("echo %s", [1])
        assert engine.sent() == ["rpc:sp_prepexec: echo @P1"] * 3

    def test_executemany_prepares_once_per_shape(self, engine: Echo, alias: DatabaseWrapper) -> None:
        engine.instance.executed.clear()
        with alias.cursor() as cursor:
            cursor.executemany("echo %s, %s", [(n, "x" * n) for n in range(1, 11)])
            cursor.executemany("echo %s", [])
            cursor.executemany("echo %(a)s", [{"a": 1}, {"a": None}])
        values = [tuple(parameter.value for parameter in params) for _, params in engine.instance.executed]
        assert values == [(n, "x" * n) for n in range(1, 11)] + [(1,), (None,)]
        assert len({tuple(item.type for item in params) for _, params in engine.instance.executed[:10]}) == 1

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (("p",), "batch: EXEC [p]"),
            (("sales.p", [1, "x"]), "rpc:sp_prepexec: EXEC [sales].[p] @P1, @P2"),
            (
                ("p", [1], {"@name": 2, "other": 3}),
                "rpc:sp_prepexec: EXEC [p] @P1, @name = @P2, @other = @P3",
            ),
        ],
    )
    def test_callproc_is_one_message(
        self, engine: Echo, alias: DatabaseWrapper, call: tuple[Any, ...], message: str
    ) -> None:
        with alias.cursor() as cursor:
            assert cursor.callproc(*call) == (call[1] if len(call) > 1 else ())
        assert engine.sent() == [message]
