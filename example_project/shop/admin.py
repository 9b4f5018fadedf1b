"""The shop in Django's admin."""

from __future__ import annotations

from django.contrib import admin

from example_project.shop import models


class OrderLineInline(admin.TabularInline):
    """An order's lines beside it."""

    model = models.OrderLine
    extra = 0
    autocomplete_fields = ["product"]


@admin.register(models.Order)
class OrderAdmin(admin.ModelAdmin):
    """Orders, newest first."""

    list_display = ["id", "customer", "status", "placed_at"]
    list_filter = ["status"]
    list_select_related = ["customer"]
    search_fields = ["customer__name", "customer__email"]
    date_hierarchy = "placed_at"
    autocomplete_fields = ["customer"]
    inlines = [OrderLineInline]


@admin.register(models.Product)
class ProductAdmin(admin.ModelAdmin):
    """Products by name."""

    list_display = ["sku", "name", "category", "unit_price", "active"]
    list_filter = ["category", "active"]
    search_fields = ["sku", "name"]


@admin.register(models.Customer)
class CustomerAdmin(admin.ModelAdmin):
    """Customers by name."""

    list_display = ["name", "email", "city", "country", "joined_on"]
    list_filter = ["country"]
    search_fields = ["name", "email"]


@admin.register(models.Stock)
class StockAdmin(admin.ModelAdmin):
    """Stock by place."""

    list_display = ["product", "warehouse", "quantity"]
    list_filter = ["warehouse"]
    list_select_related = ["product", "warehouse"]
    search_fields = ["product__name"]


admin.site.register([models.Category, models.Warehouse])
