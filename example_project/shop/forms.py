"""The shop's forms."""

from __future__ import annotations

from django import forms

from example_project.shop.models import Customer, Product, Stock


class CheckoutForm(forms.Form):
    """An order of one product."""

    customer = forms.EmailField(label="Customer's e-mail", initial="customer7@example.com")
    product = forms.ModelChoiceField(Product.objects.filter(active=True))
    quantity = forms.IntegerField(min_value=1, max_value=99, initial=1)
    note = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 2}))

    def clean_customer(self) -> Customer:
        email = self.cleaned_data["customer"]
        try:
            return Customer.objects.get(email=email)
        except Customer.DoesNotExist:
            raise forms.ValidationError(
                "Nobody has the address %(email)s. The example's customers are customer0@example.com and so on.",
                params={"email": email},
            ) from None


class TransferForm(forms.Form):
    """Pieces to move between two warehouses."""

    source = forms.ModelChoiceField(Stock.objects.none(), label="from")
    target = forms.ModelChoiceField(Stock.objects.none(), label="to")
    quantity = forms.IntegerField(min_value=1, max_value=999, initial=1)

    def __init__(self, *args: object, product: Product, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        rows = Stock.objects.filter(product=product).select_related("warehouse", "product")
        self.fields["source"].queryset = rows
        self.fields["target"].queryset = rows

    def clean(self) -> dict[str, object]:
        cleaned = super().clean() or {}
        if cleaned.get("source") and cleaned.get("source") == cleaned.get("target"):
            raise forms.ValidationError("Choose two different warehouses.")
        return cleaned
