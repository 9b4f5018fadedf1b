"""SQLGetTypeInfo's rows: the order in which ODBC promises them."""

from __future__ import annotations

import pytest

from sqlserver_standin.datatype_info import datatype_info
from sqlserver_standin.events import ResultSet


def names_and_codes(odbc_type: int) -> list[tuple[str, int]]:
    (result,) = [event for event in datatype_info(odbc_type) if isinstance(event, ResultSet)]
    return [(row[0], row[1]) for row in result.rows]


def test_types_come_in_the_order_of_their_codes() -> None:
    codes = [code for _, code in names_and_codes(0)]
    assert codes == sorted(codes)


@pytest.mark.parametrize(
    ("code", "names"),
    [
        (-9, ["nvarchar", "sysname"]),
        (-2, ["binary", "timestamp"]),
        (3, ["decimal", "decimal() identity", "money", "smallmoney"]),
        (4, ["int", "int identity"]),
        (93, ["datetime2", "datetime", "smalldatetime"]),
    ],
)
def test_the_type_that_a_code_means_comes_first(code: int, names: list[str]) -> None:
    assert names_and_codes(code) == [(name, code) for name in names]
