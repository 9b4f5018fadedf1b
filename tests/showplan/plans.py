"""The real plans of tests/fixtures/plans, and an independent look at their XML."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lxml import etree

FOLDER = Path(__file__).resolve().parent.parent / "fixtures" / "plans"
FILES = sorted(path.name for path in FOLDER.iterdir() if path.suffix in (".sqlplan", ".xml"))

NAMESPACES = {"s": "http://schemas.microsoft.com/sqlserver/2004/07/showplan"}


def load(name: str) -> bytes:
    """A fixture by its name, with or without its extension."""
    path = FOLDER / name
    return (path if path.suffix else FOLDER / f"{name}.sqlplan").read_bytes()


class Document:
    """A plan as lxml reads it: shares no code with mssql.showplan."""

    def __init__(self, data: bytes) -> None:
        is_utf16 = data[:2] in (b"\xff\xfe", b"\xfe\xff")
        text = data.decode("utf-16" if is_utf16 else "utf-8-sig")
        text = re.sub(r"^\s*<\?xml.*?\?>", "", text)
        self.root = etree.fromstring(text, etree.XMLParser(huge_tree=True))

    def xpath(self, expression: str) -> Any:
        """Elements, attributes or a number; the prefix is s."""
        return self.root.xpath(expression, namespaces=NAMESPACES)


def plan_xml(body: str, *, statement: str = "", query: str = "", build: str = "16.0.4000.1") -> str:
    """A small plan by hand: the operators of one statement."""
    return (
        f'<ShowPlanXML xmlns="{NAMESPACES["s"]}" Version="1.564" Build="{build}"><BatchSequence><Batch><Statements>'
        f'<StmtSimple StatementText="SELECT 1" StatementType="SELECT" StatementSubTreeCost="10" {statement}>'
        f"<QueryPlan {query}>{body}</QueryPlan></StmtSimple></Statements></Batch></BatchSequence></ShowPlanXML>"
    )


def relop(physical: str, body: str = "", *, logical: str = "", node: int = 0, **attributes: Any) -> str:
    """One operator by hand."""
    values = {"EstimateRows": 1, "EstimatedTotalSubtreeCost": 10, **attributes}
    text = " ".join(f'{name}="{value}"' for name, value in values.items())
    return f'<RelOp NodeId="{node}" PhysicalOp="{physical}" LogicalOp="{logical or physical}" {text}>{body}</RelOp>'


def counters(rows: int, *, executions: int = 1, read: int | None = None, **attributes: Any) -> str:
    """Run-time counters of one thread."""
    values = {"Thread": 0, "ActualRows": rows, "ActualExecutions": executions, **attributes}
    if read is not None:
        values["ActualRowsRead"] = read
    text = " ".join(f'{name}="{value}"' for name, value in values.items())
    return f"<RunTimeInformation><RunTimeCountersPerThread {text}/></RunTimeInformation>"


def cpu_seconds(work: Callable[[], object], attempts: int = 3) -> float:
    """The processor's time for a piece of work at its best: a machine that stalls or does other things adds nothing."""
    best = float("inf")
    for _ in range(attempts):
        started = time.thread_time()
        work()
        best = min(best, time.thread_time() - started)
    return best
