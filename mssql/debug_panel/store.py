"""Plans in the toolbar's own store, beside the panel's data: any of its three stores, and gone with the request."""

from __future__ import annotations

import base64
import zlib
from typing import Any

PANEL_ID = "SQLServerPanel"

# Kept apart from the panel's statements, so that showing the list doesn't read every plan.
_KEY = PANEL_ID + ".plan.{}"


def save_plan(toolbar: Any, statement_id: str, xml: str, source: str) -> None:
    """Keep a statement's plan."""
    packed = base64.b64encode(zlib.compress(xml.encode("utf-8", "replace"))).decode("ascii")
    toolbar.store.save_panel(toolbar.request_id, _KEY.format(statement_id), {"xml": packed, "source": source})


def load_plan(toolbar: Any, statement_id: str) -> tuple[str, str] | None:
    """The statement's plan and its source, if there is one."""
    return load_plan_of(toolbar.store, toolbar.request_id, statement_id)


def load_plan_of(store: Any, request_id: str, statement_id: str) -> tuple[str, str] | None:
    """The plan of any request's statement."""
    data = store.panel(request_id, _KEY.format(statement_id))
    if not data:
        return None
    return zlib.decompress(base64.b64decode(data["xml"])).decode("utf-8"), data["source"]
