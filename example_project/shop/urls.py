"""URLs of the shop."""

from __future__ import annotations

from django.urls import path

from example_project.shop import views

urlpatterns = [
    path("", views.home, name="home"),
    path("orders/", views.orders, name="orders"),
    path("orders/mended/", views.orders_mended, name="orders-mended"),
    path("orders/<int:pk>/", views.order, name="order"),
    path("products/", views.products, name="products"),
    path("reports/sales/", views.sales_report, name="sales-report"),
    path("checkout/", views.checkout, name="checkout"),
    path("stock/", views.stock, name="stock"),
    path("stock/transfer/", views.transfer, name="transfer"),
    path("stock/collide/", views.collide, name="collide"),
]
