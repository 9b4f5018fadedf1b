"""What changes the shop's data: checkout and stock transfers, each in one transaction."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field

from django.db import Error, connection, transaction
from django.db.models import F
from django.utils import timezone

from example_project.shop.models import Customer, Order, OrderLine, Product, Stock
from mssql.errors import describe
from mssql.retry import retry_transaction


class OutOfStock(Exception):
    """A warehouse has fewer pieces than were asked for."""


@transaction.atomic
def place_order(customer: Customer, wanted: dict[Product, int], note: str = "") -> Order:
    """Take the pieces from the fullest warehouse and write the order down; all of it or nothing.

    Raises OutOfStock, naming the product, when no single warehouse has enough.
    """
    order = Order.objects.create(customer=customer, placed_at=timezone.now(), note=note)
    for product, quantity in sorted(wanted.items(), key=lambda item: item[0].pk):
        row = (
            Stock.objects.select_for_update()
            .filter(product=product, quantity__gte=quantity)
            .order_by("-quantity")
            .first()
        )
        if row is None:
            raise OutOfStock(f"{product.name}: no warehouse has {quantity} of it.")
        Stock.objects.filter(pk=row.pk).update(quantity=F("quantity") - quantity)
    OrderLine.objects.bulk_create(
        OrderLine(order=order, product=product, quantity=quantity, unit_price=product.unit_price)
        for product, quantity in wanted.items()
    )
    return order


def move_stock(source: int, target: int, quantity: int, between: Callable[[], None] = lambda: None) -> None:
    """Move pieces from one stock row to another, in one transaction.

    The rows are locked in the order given, so two transfers in opposite directions can deadlock: that is what
    the page "Stock" shows. ``between`` runs when the first row is locked.
    """
    with transaction.atomic():
        giving = Stock.objects.select_for_update().get(pk=source)
        if giving.quantity < quantity:
            raise OutOfStock(f"{giving.product.name}: {giving.warehouse.name} has only {giving.quantity}.")
        Stock.objects.filter(pk=source).update(quantity=F("quantity") - quantity)
        between()
        Stock.objects.filter(pk=target).update(quantity=F("quantity") + quantity)


@dataclass(slots=True)
class TransferOutcome:
    """How one of two colliding transfers went."""

    name: str
    attempts: int = 0
    errors: list[str] = field(default_factory=list)
    succeeded: bool = False


def collide_transfers(first: int, second: int, *, retry: bool) -> list[TransferOutcome]:
    """Run two transfers between the same two stock rows in opposite directions, at the same time.

    Each holds its first row until the other holds its own, so SQL Server must choose a deadlock victim (1205).
    With ``retry`` the victim's transaction is run again by `mssql.retry.retry_transaction`.
    """
    both_hold_a_row = threading.Barrier(2)
    outcomes = [TransferOutcome("A → B"), TransferOutcome("B → A")]

    def run(outcome: TransferOutcome, source: int, target: int) -> None:
        def meet() -> None:
            if outcome.attempts == 1:
                with suppress(threading.BrokenBarrierError):  # the other failed, and will not collide
                    both_hold_a_row.wait(timeout=60)

        def attempt() -> None:
            outcome.attempts += 1
            try:
                move_stock(source, target, 1, between=meet)
            except (Error, OutOfStock) as error:
                both_hold_a_row.abort()
                sqlserver = describe(error)
                outcome.errors.append(
                    f"{sqlserver.number}: {sqlserver.error_class.name.lower()}" if sqlserver else str(error)
                )
                raise

        try:
            if retry:
                retry_transaction(attempt)
            else:
                attempt()
            outcome.succeeded = True
        except (Error, OutOfStock):
            pass  # noted by the attempt
        finally:
            connection.close()

    # Each thread gets the request's context, so that its statements are in the request's trace and panel.
    with ThreadPoolExecutor(2) as threads:
        for job in [
            threads.submit(copy_context().run, run, outcomes[0], first, second),
            threads.submit(copy_context().run, run, outcomes[1], second, first),
        ]:
            job.result()
    return outcomes
