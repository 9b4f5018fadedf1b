"""Elements of Showplan XML."""

from __future__ import annotations

from xml.etree import ElementTree as ET

NAMESPACE = "http://schemas.microsoft.com/sqlserver/2004/07/showplan"


def tag(name: str) -> str:
    """An element's name in Showplan's namespace."""
    return f"{{{NAMESPACE}}}{name}"


def add_element(parent: ET.Element | None, name: str, **attributes: object) -> ET.Element:
    """A new element below ``parent``; attributes that are None are left out."""
    shown = {key: attribute_text(value) for key, value in attributes.items() if value is not None}
    if parent is None:
        return ET.Element(tag(name), shown)
    return ET.SubElement(parent, tag(name), shown)


def attribute_text(value: object) -> str:
    """An attribute's value as XML schema spells it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.7g}"
    return str(value)
