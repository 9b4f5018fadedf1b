"""The shop's pages, each with the queries that such a page has in real life."""

from __future__ import annotations

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, DecimalField, ExpressionWrapper, F, Prefetch, Sum
from django.db.models.functions import TruncMonth
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from example_project.shop.forms import CheckoutForm, TransferForm
from example_project.shop.models import Customer, Order, OrderLine, Product, Stock
from example_project.shop.services import OutOfStock, collide_transfers, move_stock, place_order

ORDERS_PER_PAGE = 15

REVENUE = Sum(
    ExpressionWrapper(
        F("quantity") * F("unit_price"), output_field=DecimalField(max_digits=19, decimal_places=2)
    )
)


def home(request: HttpRequest) -> HttpResponse:
    """Figures of the shop, and where to go."""
    return render(
        request,
        "shop/home.html",
        {
            "customers": Customer.objects.count(),
            "orders": Order.objects.count(),
            "lines": OrderLine.objects.count(),
            "revenue": OrderLine.objects.aggregate(total=REVENUE)["total"],
            "latest": Order.objects.select_related("customer")[:6],
        },
    )


def orders(request: HttpRequest) -> HttpResponse:
    """The order list as it is often written: each row asks for its customer, its lines and their products."""
    page = Paginator(Order.objects.all(), ORDERS_PER_PAGE).get_page(request.GET.get("page"))
    rows = [
        {
            "order": order,
            "customer": order.customer,
            "lines": list(order.lines.all()),
            "total": sum(line.quantity * line.unit_price for line in order.lines.all()),
        }
        for order in page
    ]
    return render(request, "shop/orders.html", {"page": page, "rows": rows, "mended": False})


def orders_mended(request: HttpRequest) -> HttpResponse:
    """The same list with a join and a prefetch: four statements, however long the page is."""
    queryset = Order.objects.select_related("customer").prefetch_related(
        Prefetch("lines", OrderLine.objects.select_related("product"))
    )
    page = Paginator(queryset, ORDERS_PER_PAGE).get_page(request.GET.get("page"))
    rows = [
        {
            "order": order,
            "customer": order.customer,
            "lines": order.lines.all(),
            "total": sum(line.quantity * line.unit_price for line in order.lines.all()),
        }
        for order in page
    ]
    return render(request, "shop/orders.html", {"page": page, "rows": rows, "mended": True})


def order(request: HttpRequest, pk: int) -> HttpResponse:
    """One order."""
    found = get_object_or_404(Order.objects.select_related("customer"), pk=pk)
    lines = found.lines.select_related("product__category").annotate(
        line_total=ExpressionWrapper(
            F("quantity") * F("unit_price"), output_field=DecimalField(max_digits=19, decimal_places=2)
        )
    )
    return render(
        request,
        "shop/order.html",
        {"order": found, "lines": lines, "total": sum(line.line_total for line in lines)},
    )


def products(request: HttpRequest) -> HttpResponse:
    """Products by a part of their name, with what was sold of each."""
    query = request.GET.get("q", "").strip()
    found = Product.objects.select_related("category").annotate(sold=Sum("lines__quantity"))
    if query:
        found = found.filter(name__icontains=query)
    page = Paginator(found.order_by("name", "id"), 20).get_page(request.GET.get("page"))
    return render(request, "shop/products.html", {"page": page, "query": query})


def sales_report(request: HttpRequest) -> HttpResponse:
    """Revenue by month and by category, and the products that sell best."""
    lines = OrderLine.objects.exclude(order__status=Order.Status.RETURNED)
    months = list(
        lines.annotate(month=TruncMonth("order__placed_at"))
        .values("month")
        .annotate(revenue=REVENUE, orders=Count("order", distinct=True), pieces=Sum("quantity"))
        .order_by("month")
    )
    best_month = max((month["revenue"] for month in months), default=0)
    for month in months:
        month["percent"] = round(100 * month["revenue"] / best_month) if best_month else 0
    return render(
        request,
        "shop/sales_report.html",
        {
            "months": months,
            "categories": lines.values("product__category__name")
            .annotate(revenue=REVENUE, pieces=Sum("quantity"))
            .order_by("-revenue"),
            "best": lines.values("product__name", "product__sku")
            .annotate(revenue=REVENUE, pieces=Sum("quantity"))
            .order_by("-revenue")[:10],
        },
    )


def checkout(request: HttpRequest) -> HttpResponse:
    """Order something: one transaction that locks stock, writes the order and its lines."""
    form = CheckoutForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            placed = place_order(data["customer"], {data["product"]: data["quantity"]}, data["note"])
        except OutOfStock as error:
            form.add_error("quantity", str(error))
        else:
            messages.success(request, f"{placed} was placed.")
            return redirect(placed)
    return render(request, "shop/checkout.html", {"form": form})


def _transfer_product() -> Product:
    """The product whose stock the page "Stock" moves: the first of those that lie in two warehouses or more."""
    return Product.objects.annotate(places=Count("stock")).filter(places__gte=2).order_by("pk")[:1].get()


def stock(request: HttpRequest) -> HttpResponse:
    """Stock by warehouse, a transfer form and the button that makes two transfers collide."""
    product = _transfer_product()
    return render(
        request,
        "shop/stock.html",
        {
            "product": product,
            "rows": Stock.objects.filter(product=product).select_related("warehouse").order_by("pk"),
            "low": Stock.objects.filter(quantity__lt=12)
            .select_related("warehouse", "product")
            .order_by("quantity", "pk")[:10],
            "form": TransferForm(product=product),
        },
    )


@require_POST
def transfer(request: HttpRequest) -> HttpResponse:
    """Move pieces between two warehouses."""
    form = TransferForm(request.POST, product=_transfer_product())
    if form.is_valid():
        data = form.cleaned_data
        try:
            move_stock(data["source"].pk, data["target"].pk, data["quantity"])
        except OutOfStock as error:
            messages.error(request, str(error))
        else:
            messages.success(request, f"Moved {data['quantity']} pieces.")
    else:
        messages.error(request, "; ".join(text for errors in form.errors.values() for text in errors))
    return redirect("stock")


@require_POST
def collide(request: HttpRequest) -> HttpResponse:
    """Make two transfers deadlock, and show which was the victim and what became of it."""
    rows = list(Stock.objects.filter(product=_transfer_product()).order_by("pk")[:2])
    outcomes = collide_transfers(rows[0].pk, rows[1].pk, retry="retry" in request.POST)
    return render(
        request, "shop/collide.html", {"outcomes": outcomes, "retry": "retry" in request.POST, "rows": rows}
    )
