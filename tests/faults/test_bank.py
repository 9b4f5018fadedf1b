"""Money moves between accounts while deadlocks, cuts and refused logins strike at random, from a seed.

MSSQL_BANK_TRANSFERS and MSSQL_BANK_SEED change its size and its luck; `make bank` runs the long form.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from django.db import DatabaseError, connections

from mssql import retry
from mssql.errors import ErrorClass, SQLServerError
from mssql.retry import OutcomeUnknown, retry_transaction
from tests.faults.conftest import ALIAS, QUICK, MakeAlias

if TYPE_CHECKING:
    from sqlserver_standin import Control

pytestmark = pytest.mark.standin

THREADS = 8
ACCOUNTS = 20
BALANCE = 1_000
TRANSFERS = int(os.environ.get("MSSQL_BANK_TRANSFERS", "400"))
SEED = int(os.environ.get("MSSQL_BANK_SEED", "20260504"))
LEAST_DEADLOCKS = TRANSFERS // 20  # 200 of the long form's 4,000

UPDATE = "UPDATE dbo.account SET balance = balance + %s WHERE id = %s"
INSERT = "INSERT INTO dbo.transfer (id, amount) VALUES (%s, %s)"

# How often each fault is armed, in a thousand transfers.
FAULTS: dict[Callable[[Control], None], int] = {
    lambda control: control.fail(1205, matching="UPDATE dbo.account"): 60,
    lambda control: control.fail(1205, matching="INSERT INTO dbo.transfer"): 20,
    lambda control: control.fail(3960, matching="UPDATE dbo.account"): 10,
    lambda control: control.fail(1222, matching="UPDATE dbo.account"): 10,
    lambda control: control.drop_before(matching="UPDATE dbo.account"): 10,
    lambda control: control.drop_during(matching="UPDATE dbo.account"): 10,
    lambda control: control.cut(matching="INSERT INTO dbo.transfer"): 10,
    lambda control: control.drop_after(matching="INSERT INTO dbo.transfer"): 10,
    lambda control: control.drop_before(matching="COMMIT"): 10,
    lambda control: control.drop_during(matching="COMMIT"): 10,
    lambda control: control.drop_after(matching="COMMIT"): 10,
    lambda control: control.refuse_logins(1, 40613): 10,
}


@dataclass
class Book:
    """What the application was told of each transfer."""

    outcomes: dict[int, str] = field(default_factory=dict)
    amounts: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    crashes: list[BaseException] = field(default_factory=list)


def transfer(number: int, source: int, target: int, amount: int) -> None:
    """Locks in the order of its arguments, so that transfers in both directions deadlock for real."""
    with connections[ALIAS].cursor() as cursor:
        cursor.execute(UPDATE, [-amount, source])
        cursor.execute(UPDATE, [amount, target])
        cursor.execute(INSERT, [number, amount])


def clerk(name: int, numbers: range, book: Book, control: Control) -> None:
    luck = random.Random(f"{SEED}-{name}")
    try:
        for number in numbers:
            source, target = luck.sample(range(ACCOUNTS), 2)
            amount = luck.randint(1, 10)
            book.amounts[number] = (source, target, amount)
            for arm, often in FAULTS.items():
                if luck.randrange(1000) < often:
                    arm(control)
            try:
                retry_transaction(
                    lambda n=number, s=source, t=target, a=amount: transfer(n, s, t, a), using=ALIAS
                )  # type: ignore[misc]
            except OutcomeUnknown:
                book.outcomes[number] = "unknown"
            except DatabaseError:
                book.outcomes[number] = "failed"
            else:
                book.outcomes[number] = "done"
    except BaseException as exc:
        book.crashes.append(exc)
    finally:
        connections[ALIAS].close()


@pytest.mark.timeout(60 + TRANSFERS)
@pytest.mark.parametrize("pool", [False, True], ids=["own connections", "pool"])
def test_no_money_is_lost_or_made(make_alias: MakeAlias, control: Control, pool: bool) -> None:
    retries: list[tuple[str, ErrorClass]] = []

    def count(sender: str, scope: str, error: SQLServerError, **_: Any) -> None:
        retries.append((scope, error.error_class))

    options: dict[str, Any] = {
        "query_timeout": 60,  # a hang is a failure here
        "pool": {"max_size": THREADS + 2} if pool else False,
        "retry": {
            "connect": {**QUICK, "attempts": 8, "max_delay": 0.1},
            "transaction": {**QUICK, "attempts": 12, "max_delay": 0.2},
        },
    }
    bank = make_alias(OPTIONS=options)
    with bank.cursor() as cursor:
        cursor.execute("DELETE FROM dbo.transfer; DELETE FROM dbo.account;")
        cursor.executemany(
            "INSERT INTO dbo.account (id, balance) VALUES (%s, %s)",
            [(each, BALANCE) for each in range(ACCOUNTS)],
        )
    share = (TRANSFERS // 4 if pool else TRANSFERS) // THREADS
    transfers = share * THREADS
    book = Book()
    threads = [
        threading.Thread(target=clerk, args=(name, range(name * share, (name + 1) * share), book, control))
        for name in range(THREADS)
    ]
    retry.retrying.connect(count)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        retry.retrying.disconnect(count)
        control.clear()
    assert book.crashes == []
    assert len(book.outcomes) == transfers

    bank.close()
    with bank.cursor() as cursor:
        cursor.execute("SELECT id, balance FROM dbo.account")
        balances: dict[int, int] = dict(cursor.fetchall())
        cursor.execute("SELECT id FROM dbo.transfer")
        rows = [number for (number,) in cursor.fetchall()]
    there = set(rows)
    assert len(there) == len(rows)
    assert sum(balances.values()) == ACCOUNTS * BALANCE

    # Each account holds exactly what the recorded transfers say.
    expected = dict.fromkeys(range(ACCOUNTS), BALANCE)
    for number in there:
        source, target, amount = book.amounts[number]
        expected[source] -= amount
        expected[target] += amount
    assert balances == expected

    outcomes = Counter(book.outcomes.values())
    survived = Counter(retries)
    assert {number for number, outcome in book.outcomes.items() if outcome == "done"} <= there
    assert not {number for number, outcome in book.outcomes.items() if outcome == "failed"} & there
    deadlocks = survived["transaction", ErrorClass.DEADLOCK]
    print(
        f"{transfers} transfers: {dict(outcomes)}; survived: "
        + ", ".join(
            f"{count} {kind.value} ({scope})" for (scope, kind), count in sorted(survived.items(), key=str)
        )
    )
    assert outcomes["done"] > 0.8 * transfers
    assert deadlocks >= (LEAST_DEADLOCKS // 8 if pool else LEAST_DEADLOCKS)
    assert survived["transaction", ErrorClass.CONNECTION_LOST] > 0
