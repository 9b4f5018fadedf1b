"""QuerySet.explain() and mssql_plan: a statement's plan over the connection in hand, as text, XML or JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mssql.instrumentation import plan_source
from mssql.instrumentation.plan_parameters import declare
from mssql.instrumentation.plan_source import CapturedPlan, PlanUnavailable
from mssql.parameters import template
from mssql.showplan.text import describe

if TYPE_CHECKING:
    from mssql.base import DatabaseWrapper

FORMATS = ("TEXT", "XML", "JSON")


def explain(
    connection: DatabaseWrapper,
    sql: str,
    params: Sequence[Any] | Mapping[str, Any] | None,
    *,
    format: str | None = None,
    analyze: bool = False,
) -> str:
    """The plan of a statement in Django's style (``%s``); with ``analyze`` the statement is run for it."""
    return render(take_plan(connection, sql, params, analyze=analyze), format)


def take_plan(
    connection: DatabaseWrapper,
    sql: str,
    params: Sequence[Any] | Mapping[str, Any] | None,
    *,
    analyze: bool = False,
) -> CapturedPlan:
    """The plan, estimated or actual, over this very connection: it sees the transaction's own tables and rows."""
    connection.ensure_connection()
    session = connection.connection
    assert session is not None
    if session.reading is not None:
        session.settle()
    values: list[Any] = []
    declarations: list[Any] = []
    if params is not None:
        prepared = template(sql)
        sql = prepared.sql
        values, declarations = prepared.bind(params)
    database = session.info.database
    with connection.wrap_database_errors:
        if not analyze:
            return plan_source.estimated_plan(
                session.driver, sql, declare(values, declarations), database=database, lock_timeout=None
            )
        cursor = session.driver.cursor()
        try:
            if values:
                cursor.setinputsizes(declarations)
            _results, plans = plan_source.run_with_plan(session.driver, cursor, sql, values)
        except Exception as error:
            if plan_source.error_number(error) == plan_source.SHOWPLAN_DENIED:
                raise plan_source.showplan_denied(database) from error
            raise
        finally:
            cursor.close()
    if not plans:
        raise PlanUnavailable("The server gave no plan for this statement.")
    return plans[-1]


def render(captured: CapturedPlan, format: str | None) -> str:
    """The plan in one of `FORMATS`."""
    match (format or "TEXT").upper():
        case "XML":
            return captured.xml
        case "JSON":
            document = captured.plan.to_dict() | {"findings": [item.to_dict() for item in captured.findings]}
            return json.dumps(document, indent=2, ensure_ascii=False)
        case _:
            return "\n".join(describe(captured.plan, captured.findings))
