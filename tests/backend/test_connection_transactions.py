"""Transactions as they go over the wire, and what is left of one after an error."""

# ruff: noqa: PT012 -- a block that fails in the middle is what these tests are about

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DatabaseError, InternalError, OperationalError, connections, transaction
from django.db.transaction import TransactionManagementError
from pytest_django import DjangoDbBlocker

from mssql.base import DatabaseWrapper
from sqlserver_standin.events import SqlError
from sqlserver_standin.faults import FaultKind, StatementFault
from tests.backend.echo import Echo, echo, rows

BEGIN = "batch: BEGIN TRANSACTION"
COMMIT = "batch: COMMIT TRANSACTION"
ROLLBACK = "batch: IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION"
DEADLOCK = SqlError(1205, "Transaction (Process ID 51) was deadlocked.", 13)
CONVERSION = SqlError(245, "Conversion failed when converting the nvarchar value 'x' to data type int.")


@pytest.fixture(scope="module")
def engine(django_db_blocker: DjangoDbBlocker) -> Iterator[Echo]:
    with django_db_blocker.unblock(), echo() as running:
        running.scripts["deadlock"] = [DEADLOCK]
        running.scripts["convert"] = [CONVERSION]
        yield running


@pytest.fixture
def alias(engine: Echo) -> Iterator[DatabaseWrapper]:
    """An alias that transaction.atomic(using="echo") finds."""
    wrapper = engine.alias()
    connections.databases["echo"] = wrapper.settings_dict
    connections["echo"] = wrapper
    wrapper.ensure_connection()
    engine.sent()
    yield wrapper
    wrapper.in_atomic_block = False
    wrapper.close()
    del connections["echo"], connections.databases["echo"]


def run(alias: DatabaseWrapper, sql: str = "nothing", params: Any = None) -> None:
    with alias.cursor() as cursor:
        cursor.execute(sql, params)


def xact_state(engine: Echo, state: int) -> None:
    engine.scripts["SELECT XACT_STATE()"] = rows((state,), type_name="smallint")


def test_a_block_is_begin_and_commit_around_its_statements(engine: Echo, alias: DatabaseWrapper) -> None:
    with transaction.atomic(using="echo"):
        run(alias)
        run(alias)
    assert engine.sent() == [BEGIN, "batch: nothing", "batch: nothing", COMMIT]


def test_a_block_without_statements_is_free(engine: Echo, alias: DatabaseWrapper) -> None:
    with transaction.atomic(using="echo"):
        pass
    assert engine.sent() == []


def test_a_savepoint_is_one_message(engine: Echo, alias: DatabaseWrapper) -> None:
    with transaction.atomic(using="echo"), transaction.atomic(using="echo"):
        run(alias)
    begin, save, statement, commit = engine.sent()
    assert save.startswith("batch: SAVE TRANSACTION ")
    assert (begin, statement, commit) == (BEGIN, "batch: nothing", COMMIT)


def test_rolling_back_to_a_savepoint_is_one_message(engine: Echo, alias: DatabaseWrapper) -> None:
    with transaction.atomic(using="echo"):
        with pytest.raises(ZeroDivisionError), transaction.atomic(using="echo"):
            run(alias)
            raise ZeroDivisionError
        run(alias)
    sent = engine.sent()
    assert sent[3].startswith("batch: ROLLBACK TRANSACTION ")
    assert sent[4:] == ["batch: nothing", COMMIT]


def test_manual_transactions_begin_again_after_commit(engine: Echo, alias: DatabaseWrapper) -> None:
    alias.set_autocommit(False)
    run(alias)
    alias.commit()
    run(alias)
    alias.rollback()
    alias.set_autocommit(True)
    run(alias)
    statement = "batch: nothing"
    assert engine.sent() == [BEGIN, statement, COMMIT, BEGIN, statement, ROLLBACK, statement]


def test_releases_are_in_the_query_log(engine: Echo, alias: DatabaseWrapper) -> None:
    alias.force_debug_cursor = True
    with transaction.atomic(using="echo"), transaction.atomic(using="echo"):
        run(alias)
    logged = [query["sql"].split()[0] for query in alias.queries_log]
    assert logged == ["BEGIN", "SAVE", "nothing", "--", "COMMIT"]


class TestEndedByTheServer:
    def test_what_follows_a_swallowed_deadlock_is_refused(self, engine: Echo, alias: DatabaseWrapper) -> None:
        with pytest.raises(TransactionManagementError) as caught, transaction.atomic(using="echo"):
            run(alias)
            with pytest.raises(OperationalError):
                run(alias, "deadlock")
            run(alias, "would be committed by itself")
        assert isinstance(caught.value.__cause__, OperationalError)
        assert engine.sent() == [BEGIN, "batch: nothing", "batch: deadlock", ROLLBACK]

    def test_a_savepoint_does_not_save_from_a_deadlock(self, engine: Echo, alias: DatabaseWrapper) -> None:
        with pytest.raises(TransactionManagementError), transaction.atomic(using="echo"):
            run(alias)
            with pytest.raises(OperationalError), transaction.atomic(using="echo"):
                run(alias, "deadlock")
            run(alias, "would be committed by itself")
        sent = engine.sent()
        assert "batch: would be committed by itself" not in sent
        assert sent[-1] == ROLLBACK

    def test_the_next_block_is_sound(self, engine: Echo, alias: DatabaseWrapper) -> None:
        with pytest.raises(OperationalError), transaction.atomic(using="echo"):
            run(alias, "deadlock")
        engine.sent()
        with transaction.atomic(using="echo"):
            run(alias)
        assert engine.sent() == [BEGIN, "batch: nothing", COMMIT]

    def test_a_manual_transaction_cannot_be_committed_any_more(
        self, engine: Echo, alias: DatabaseWrapper
    ) -> None:
        alias.set_autocommit(False)
        run(alias)
        with pytest.raises(OperationalError):
            run(alias, "deadlock")
        for go_on in (lambda: run(alias), alias.commit):
            with pytest.raises(InternalError, match="rolled the transaction back"):
                go_on()
        alias.rollback()
        run(alias)
        alias.commit()
        alias.set_autocommit(True)

    @pytest.mark.parametrize("state", [0, -1])
    def test_a_doubtful_error_is_asked_about(self, engine: Echo, alias: DatabaseWrapper, state: int) -> None:
        xact_state(engine, state)
        with pytest.raises(TransactionManagementError), transaction.atomic(using="echo"):
            with pytest.raises(DatabaseError):
                run(alias, "convert")
            run(alias)
        assert engine.sent() == [BEGIN, "batch: convert", "batch: SELECT XACT_STATE()", ROLLBACK]

    def test_a_doubtful_error_that_left_the_transaction_standing_is_no_obstacle(
        self, engine: Echo, alias: DatabaseWrapper
    ) -> None:
        xact_state(engine, 1)
        with transaction.atomic(using="echo"):
            with pytest.raises(DatabaseError):
                run(alias, "convert")
            run(alias)
        assert engine.sent()[-2:] == ["batch: nothing", COMMIT]

    def test_outside_of_a_transaction_nothing_is_asked(self, engine: Echo, alias: DatabaseWrapper) -> None:
        with pytest.raises(DatabaseError):
            run(alias, "convert")
        assert engine.sent() == ["batch: convert"]


class TestLostConnection:
    def lose(self, engine: Echo, matching: str | None = None) -> None:
        engine.server.faults.arm(StatementFault(FaultKind.DROP_BEFORE, matching=matching))

    def test_the_next_statement_connects_anew(self, engine: Echo, alias: DatabaseWrapper) -> None:
        self.lose(engine)
        with pytest.raises(OperationalError):
            run(alias)
        assert alias.connection is None
        run(alias)
        assert engine.sent()[-1] == "batch: nothing"

    def test_inside_of_a_block_nothing_more_is_sent(self, engine: Echo, alias: DatabaseWrapper) -> None:
        with pytest.raises(TransactionManagementError), transaction.atomic(using="echo"):
            run(alias)
            self.lose(engine)
            with pytest.raises(OperationalError):
                run(alias, "lost")
            run(alias, "elsewhere")
        assert "batch: elsewhere" not in engine.sent()
        run(alias)

    def test_a_lost_commit_is_an_error(self, engine: Echo, alias: DatabaseWrapper) -> None:
        with pytest.raises(OperationalError), transaction.atomic(using="echo"):
            run(alias)
            self.lose(engine, "COMMIT")
        run(alias)

    def test_an_unusable_connection_is_found_out(self, engine: Echo, alias: DatabaseWrapper) -> None:
        assert alias.is_usable()
        self.lose(engine)
        assert not alias.is_usable()
