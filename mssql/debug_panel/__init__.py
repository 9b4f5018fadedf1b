"""SQL Server's own view of a request, as a panel of django-debug-toolbar."""

from typing import Any

__all__ = ["SQLServerPanel"]


def __getattr__(name: str) -> Any:
    # This package is an application: Django imports it before its models can be, and the toolbar has models.
    if name == "SQLServerPanel":
        from .panel import SQLServerPanel

        return SQLServerPanel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
