"""Numbers and names as a person reads them, the same in findings, drawing, command line and panel."""

from .model import Operator


def number(value: float | None) -> str:
    """12 · 1,234 · 56.7K · 1.2M; small fractions keep two digits."""
    if value is None:
        return "–"
    size = abs(value)
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if size >= limit:
            return f"{value / limit:,.1f}{unit}"
    if size >= 10_000:
        return f"{value / 1000:,.1f}K"
    if size >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2g}" if size < 1 else f"{value:,.1f}"


def counted(value: float | None, unit: str) -> str:
    """1 row · 12 rows · 56.7K rows."""
    text = number(value)
    return f"{text} {unit}" if text == "1" else f"{text} {unit}s"


def milliseconds(value: float | None) -> str:
    """3 ms · 1.25 s · 2 min 5 s."""
    if value is None:
        return "–"
    if value < 1000:
        return f"{value:.0f} ms" if value >= 10 or value == int(value) else f"{value:.1f} ms"
    if value < 60_000:
        return f"{value / 1000:.2f} s"
    return f"{int(value // 60_000)} min {value % 60_000 / 1000:.0f} s"


def kilobytes(value: float | None) -> str:
    """640 KB · 1.5 MB · 2.0 GB."""
    if value is None:
        return "–"
    if value < 1024:
        return f"{value:.0f} KB"
    if value < 1024 * 1024:
        return f"{value / 1024:.1f} MB"
    return f"{value / 1024 / 1024:.1f} GB"


def percent(share: float) -> str:
    """A share of 1 as a percentage."""
    return f"{share * 100:.0f}%" if share >= 0.01 or share == 0 else "<1%"


def factor(value: float) -> str:
    """How far an actual count lies from its estimate: 12× more, 5× fewer."""
    if value >= 1:
        return f"{number(round(value, 1))}× more"
    return f"{number(round(1 / value, 1))}× fewer"


def shorten(text: str, length: int) -> str:
    """The text on one line, cut with an ellipsis."""
    line = " ".join(text[: length * 4].split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def operator_label(operator: Operator) -> str:
    """Hash Match (Aggregate): the physical operator, with the logical one where it says more."""
    if operator.is_lookup and operator.physical_op != "RID Lookup":
        return "Key Lookup"
    if operator.logical_op and operator.logical_op != operator.physical_op:
        return f"{operator.physical_op} ({operator.logical_op})"
    return operator.physical_op


def operator_place(operator: Operator) -> str:
    """The operator with its node and object, as a sentence names it."""
    item = operator.object
    name = f" on {item.name}" if item and item.name else ""
    return f"{operator_label(operator)}{name} (node {operator.node_id})"
