"""Where the example shows the debug toolbar."""

from __future__ import annotations

from debug_toolbar.middleware import show_toolbar as toolbar_default
from django.http import HttpRequest


def show_toolbar(request: HttpRequest) -> bool:
    """As the toolbar decides by itself, but not beside the traces: those pages ask the database nothing."""
    return not request.path.startswith("/traces/") and toolbar_default(request)
