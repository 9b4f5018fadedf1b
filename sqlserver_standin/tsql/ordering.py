"""The order of values: which types have none, and ORDER BY items as PostgreSQL writes them."""

from __future__ import annotations

from sqlserver_standin.events import SqlError
from sqlserver_standin.tsql.types import sort_language, text_type
from sqlserver_standin.tsql.values import Value
from sqlserver_standin.types import SqlType

UNSORTABLE = frozenset(("text", "ntext", "image", "xml", "json"))


def not_sortable(data_type: SqlType) -> SqlError:
    """A value of a type without an order is compared, sorted by or grouped by."""
    match data_type.name:
        case "xml":
            return SqlError(
                305,
                "The XML data type cannot be compared or sorted, except when using the IS NULL operator.",
            )
        case "json":
            return SqlError(
                13636,
                "The JSON data type cannot be compared or sorted, except when using the IS NULL operator.",
            )
    return SqlError(
        306,
        "The text, ntext, and image data types cannot be compared or sorted, except when using IS NULL or LIKE "
        "operator.",
    )


def sort_keys(value: Value) -> list[str]:
    """The value itself, behind what puts it into its type's or its language's order."""
    if value.type.name == "uniqueidentifier":
        return [f"sys.order_of_uniqueidentifier({value.sql})", value.sql]
    language = sort_language(value.type.collation)
    if language is None:
        return [value.sql]
    return [
        f"sys.spelled_in('{language}', {value.sql}::text)::{text_type(value.type.collation)}",
        value.sql,
    ]


def ordered(sql: str, descending: bool, nullable: bool) -> str:
    """SQL Server sorts NULL below every value."""
    if descending:
        return f"{sql} DESC NULLS LAST" if nullable else f"{sql} DESC"
    return f"{sql} NULLS FIRST" if nullable else sql
