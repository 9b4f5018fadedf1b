"""The shop's Django app."""

from __future__ import annotations

from django.apps import AppConfig


class ShopConfig(AppConfig):
    """A small shop: customers, products, orders, order lines and stock."""

    name = "example_project.shop"
    label = "shop"
