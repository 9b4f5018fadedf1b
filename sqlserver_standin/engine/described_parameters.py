"""The result set of sp_describe_undeclared_parameters, which drivers ask for a parameter's type.

https://learn.microsoft.com/sql/relational-databases/system-stored-procedures/sp-describe-undeclared-parameters-transact-sql
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlserver_standin.engine.definitions import declaration
from sqlserver_standin.events import Column
from sqlserver_standin.types import MAX, SqlType

_INT, _SMALLINT, _TINYINT, _BIT = SqlType("int"), SqlType("smallint"), SqlType("tinyint"), SqlType("bit")
_NAME = SqlType("nvarchar", length=128)

DESCRIBED_PARAMETER_COLUMNS = (
    Column("parameter_ordinal", _INT, nullable=False),
    Column("name", _NAME, nullable=False),
    Column("suggested_system_type_id", _INT, nullable=False),
    Column("suggested_system_type_name", SqlType("nvarchar", length=256)),
    Column("suggested_max_length", _SMALLINT, nullable=False),
    Column("suggested_precision", _TINYINT, nullable=False),
    Column("suggested_scale", _TINYINT, nullable=False),
    Column("suggested_user_type_id", _INT),
    Column("suggested_user_type_database", _NAME),
    Column("suggested_user_type_schema", _NAME),
    Column("suggested_user_type_name", _NAME),
    Column("suggested_assembly_qualified_type_name", SqlType("nvarchar", length=4000)),
    Column("suggested_xml_collection_id", _INT),
    Column("suggested_xml_collection_database", _NAME),
    Column("suggested_xml_collection_schema", _NAME),
    Column("suggested_xml_collection_name", _NAME),
    Column("suggested_is_xml_document", _BIT, nullable=False),
    Column("suggested_is_case_sensitive", _BIT, nullable=False),
    Column("suggested_is_fixed_length_clr_type", _BIT, nullable=False),
    Column("suggested_is_input", _BIT, nullable=False),
    Column("suggested_is_output", _BIT, nullable=False),
    Column("formal_parameter_name", _NAME),
    Column("suggested_tds_type_id", _INT, nullable=False),
    Column("suggested_tds_length", _INT, nullable=False),
)

# name: (system_type_id, bytes, precision, scale, TDS type)
_FACTS: dict[str, tuple[int, int, int, int, int]] = {
    "bit": (104, 1, 1, 0, 104),
    "tinyint": (48, 1, 3, 0, 38),
    "smallint": (52, 2, 5, 0, 38),
    "int": (56, 4, 10, 0, 38),
    "bigint": (127, 8, 19, 0, 38),
    "float": (62, 8, 53, 0, 109),
    "real": (59, 4, 24, 0, 109),
    "money": (60, 8, 19, 4, 110),
    "smallmoney": (122, 4, 10, 4, 110),
    "date": (40, 3, 10, 0, 40),
    "time": (41, 5, 16, 7, 41),
    "datetime2": (42, 8, 27, 7, 42),
    "datetimeoffset": (43, 10, 34, 7, 43),
    "datetime": (61, 8, 23, 3, 111),
    "smalldatetime": (58, 4, 16, 0, 111),
    "uniqueidentifier": (36, 16, 0, 0, 36),
    "decimal": (106, 17, 38, 0, 106),
    "numeric": (108, 17, 38, 0, 108),
    "char": (175, 0, 0, 0, 175),
    "varchar": (167, 0, 0, 0, 167),
    "nchar": (239, 0, 0, 0, 239),
    "nvarchar": (231, 0, 0, 0, 231),
    "binary": (173, 0, 0, 0, 173),
    "varbinary": (165, 0, 0, 0, 165),
    "text": (35, 16, 0, 0, 35),
    "ntext": (99, 16, 0, 0, 99),
    "image": (34, 16, 0, 0, 34),
    "xml": (241, -1, 0, 0, 241),
    "sql_variant": (98, 8016, 0, 0, 98),
}


def described_parameters(parameters: Sequence[tuple[str, SqlType]]) -> Iterator[tuple[Any, ...]]:
    """A row for each parameter."""
    for position, (name, data_type) in enumerate(parameters, 1):
        type_id, size, precision, scale, tds_type = _FACTS[data_type.name]
        if data_type.length is not None:
            wide = data_type.name in ("nchar", "nvarchar")
            size = MAX if data_type.length == MAX else data_type.length * (2 if wide else 1)
        precision = data_type.precision or precision
        scale = scale if data_type.scale is None else data_type.scale
        yield (
            position,
            name,
            type_id,
            declaration(data_type),
            size,
            precision,
            scale,
            *(None,) * 9,
            False,
            False,
            False,
            True,
            False,
            None,
            tds_type,
            65535 if size == MAX else size,
        )
