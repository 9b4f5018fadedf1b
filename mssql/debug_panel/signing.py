"""What the page sends back: a request and a statement of it, signed. Never SQL."""

# The toolbar's own functions have no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from debug_toolbar.forms import SignedDataForm


def sign(request_id: str, statement_id: str) -> str:
    """The signed name of one statement."""
    signed: str = SignedDataForm.sign({"request_id": request_id, "statement_id": statement_id})
    return signed
