"""Fill the shop with data: the same each time, at least 20,000 order lines."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction
from django.db.models import Model
from tqdm import tqdm

from example_project.shop.models import Category, Customer, Order, OrderLine, Product, Stock, Warehouse

SEED = 1433
CUSTOMERS, ORDERS = 1_200, 7_000
FIRST_NAMES = """
    Ada Alan Amara Anders Chidi Clara Dmitri Elif Emma Farah Grace Hana Hiro Ines Ivan Jonas Kofi Lena
    Linh Luca Maja Mateo Mei Nadia Noor Olu Oscar Priya Rosa Sam Sofia Tariq Vera Yuki Zoë
""".split()
LAST_NAMES = """
    Abebe Andersson Bauer Costa Dubois Eriksen Fischer García Haddad Ito Jansen Kaya Kim Kowalski Larsen
    Müller Nguyen Novák O'Brien Okafor Patel Petrov Rossi Sato Silva Singh Smith Tanaka Weber Wójcik
""".split()
CITIES = [
    ("Paris", "France"), ("Lyon", "France"), ("Berlin", "Germany"), ("Hamburg", "Germany"), ("München", "Germany"),
    ("Kraków", "Poland"), ("Lisboa", "Portugal"), ("Madrid", "Spain"), ("Roma", "Italy"), ("Oslo", "Norway"),
    ("Göteborg", "Sweden"), ("Amsterdam", "Netherlands"), ("London", "United Kingdom"), ("Dublin", "Ireland"),
]  # fmt: skip
SHELVES = {
    "Coffee": [
        "Espresso beans",
        "Filter roast",
        "Decaf roast",
        "Moka pot",
        "Hand grinder",
        "Dripper",
        "Paper filters",
    ],
    "Tea": ["Sencha", "Earl Grey", "Rooibos", "Oolong", "Teapot", "Tea strainer"],
    "Kitchen": [
        "Cast-iron pan",
        "Chef's knife",
        "Cutting board",
        "Mixing bowl",
        "Measuring jug",
        "Rolling pin",
    ],
    "Table": ["Stoneware mug", "Espresso cup", "Carafe", "Linen napkin", "Serving tray", "Glass tumbler"],
    "Garden": ["Watering can", "Herb seeds", "Hand trowel", "Pruning shears", "Terracotta pot"],
    "Office": ["Notebook", "Fountain pen", "Desk lamp", "Pencil set", "Paper tray"],
}
KINDS = ["Classic", "Large", "Small", "Organic", "Blue", "Travel", "Gift", "Pro"]
PLACES = ["Rotterdam", "Lille", "Leipzig"]


class Command(BaseCommand):
    """Load the example's data unless it is there already."""

    help = "Fill the shop with the same 20,000 and more order lines each time (does nothing when they are there)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--again", action="store_true", help="delete the shop's data first and load it anew"
        )

    @transaction.atomic
    def handle(self, *args: Any, again: bool = False, **options: Any) -> None:
        if again:
            for model in (OrderLine, Order, Stock, Product, Category, Warehouse, Customer):
                model.objects.all().delete()
        elif Customer.objects.exists():
            self.stdout.write("The shop's data is there already.")
            return
        chance = random.Random(SEED)
        customers = self._load(Customer, _customers(chance))
        categories = {name: Category.objects.create(name=name) for name in SHELVES}
        products = self._load(Product, _products(chance, categories))
        places = [Warehouse.objects.create(name=name) for name in PLACES]
        self._load(
            Stock,
            (
                Stock(warehouse=place, product=product, quantity=chance.randint(5, 400))
                for product in products
                for place in places
            ),
        )
        orders = self._load(Order, _orders(chance, customers))
        lines = self._load(OrderLine, _lines(chance, orders, products))
        self.stdout.write(f"Loaded {len(orders):,} orders with {len(lines):,} lines.")

    def _load(self, model: type[Model], objects: Iterator[Model]) -> list[Any]:
        """Insert the objects in bulk, a thousand at a time, under a progress bar; return them with their keys."""
        objects = list(objects)
        loaded: list[Any] = []
        with tqdm(total=len(objects), desc=f"{model._meta.verbose_name_plural!s:>12}", unit=" rows") as bar:
            for start in range(0, len(objects), 1000):
                loaded += model._default_manager.bulk_create(objects[start : start + 1000])
                bar.update(len(objects[start : start + 1000]))
        return loaded


def _customers(chance: random.Random) -> Iterator[Customer]:
    for number in range(CUSTOMERS):
        first, last = chance.choice(FIRST_NAMES), chance.choice(LAST_NAMES)
        city, country = chance.choice(CITIES)
        yield Customer(
            name=f"{first} {last}",
            email=f"customer{number}@example.com",
            city=city,
            country=country,
            joined_on=dt.date(2022, 1, 1) + dt.timedelta(days=chance.randrange(1000)),
        )


def _products(chance: random.Random, categories: dict[str, Category]) -> Iterator[Product]:
    number = 0
    for shelf, names in SHELVES.items():
        for name in names:
            for kind in chance.sample(KINDS, 5):
                number += 1
                yield Product(
                    sku=f"{shelf[:3].upper()}-{number:04}",
                    name=f"{name}, {kind.lower()}",
                    category=categories[shelf],
                    unit_price=Decimal(chance.randint(250, 18_900)) / 100,
                    description=f"{kind} {name.lower()} from our {shelf.lower()} shelf.",
                    active=chance.random() > 0.04,
                )


def _orders(chance: random.Random, customers: list[Customer]) -> Iterator[Order]:
    start = dt.datetime(2024, 10, 1, tzinfo=dt.UTC)
    span = dt.timedelta(days=760).total_seconds()
    moments = sorted(start + dt.timedelta(seconds=chance.uniform(0, 1) ** 0.8 * span) for _ in range(ORDERS))
    statuses = (
        [Order.Status.SHIPPED] * 8 + [Order.Status.PAID] * 2 + [Order.Status.PLACED, Order.Status.RETURNED]
    )
    for moment in moments:
        yield Order(
            customer=chance.choice(customers),
            status=chance.choice(statuses),
            placed_at=moment.replace(microsecond=0),
            note="Please leave it with the neighbour." if chance.random() < 0.06 else "",
        )


def _lines(chance: random.Random, orders: list[Order], products: list[Product]) -> Iterator[OrderLine]:
    for order in orders:
        for product in chance.sample(products, chance.choice([1, 2, 2, 3, 3, 4, 5, 6])):
            yield OrderLine(
                order=order,
                product=product,
                quantity=chance.choice([1, 1, 1, 2, 2, 3, 6]),
                unit_price=product.unit_price,
            )
