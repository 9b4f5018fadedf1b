"""Columns, expressions and objects of one plan, as PostgreSQL prints them, to Showplan's elements."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from sqlserver_standin.engine.names import bracket
from sqlserver_standin.engine.plan_elements import add_element
from sqlserver_standin.engine.plan_expressions import (
    CAST,
    COMPARE_OPERATIONS,
    FUNCTION_SCHEMA,
    PARAMETER,
    REFERENCE,
    bare_key,
    closes_at_end,
    comparison,
    split_conjuncts,
    unquoted,
)
from sqlserver_standin.engine.plan_tables import PlanIndex, PlanTable


class PlanScalars:
    """Writes what operators read and compute; knows the plan's tables by their aliases."""

    def __init__(self, database: str, parameters: Sequence[str]) -> None:
        self._database = database
        self._parameters = parameters
        self._tables: dict[str, PlanTable] = {}
        self._expressions: dict[str, str] = {}

    def add_table(self, alias: str, table: PlanTable) -> None:
        """A table that the plan reads under an alias."""
        self._tables[alias] = table

    def _referenced(self, expression: str) -> tuple[PlanTable, str, str] | None:
        """The table, alias and column that an expression is. Of a lone table PostgreSQL leaves the alias out."""
        match = REFERENCE.fullmatch(expression)
        if match is not None:
            alias, name = unquoted(match[1]), unquoted(match[2])
            table = self._tables.get(alias)
        elif len(self._tables) == 1:
            ((alias, table),) = self._tables.items()
            name = unquoted(expression)
            if name not in table.columns:
                return None
        else:
            return None
        return None if table is None else (table, alias, table.columns.get(name, (name, 0))[0])

    def column(self, parent: ET.Element, expression: str) -> None:
        """A ColumnReference: to a column of a table, or to a value that has no name of its own."""
        found = self._referenced(expression.strip())
        if found is not None:
            table, alias, column = found
            add_element(
                parent,
                "ColumnReference",
                Database=bracket(self._database),
                Schema=bracket(table.schema),
                Table=bracket(table.name),
                Alias=bracket(alias) if alias != table.name else None,
                Column=column,
            )
            return
        name = self._expressions.setdefault(expression, f"Expr{1000 + len(self._expressions) + 1}")
        add_element(parent, "ColumnReference", Column=name)

    def columns(self, parent: ET.Element, tag: str, expressions: Sequence[str]) -> None:
        """An element that holds nothing but columns."""
        container = add_element(parent, tag)
        for expression in expressions:
            self.column(container, bare_key(expression))

    def _tsql(self, expression: str) -> str:
        """An expression of EXPLAIN in T-SQL's spelling."""

        def reference(match: re.Match[str]) -> str:
            alias = unquoted(match[1])
            table = self._tables.get(alias)
            if table is None:
                return f"{bracket(alias)}.{bracket(unquoted(match[2]))}"
            column = table.columns.get(unquoted(match[2]), (unquoted(match[2]), 0))[0]
            parts = (self._database, table.schema, table.name, column)
            name = ".".join(bracket(part) for part in parts)
            return name if alias == table.name else f"{name} as {bracket(alias)}.{bracket(column)}"

        def parameter(match: re.Match[str]) -> str:
            position = int(match[1]) - 1
            return f"[{self._parameters[position]}]" if position < len(self._parameters) else match[0]

        text = CAST.sub("", expression)
        text = FUNCTION_SCHEMA.sub("", text)
        text = REFERENCE.sub(reference, text)
        text = PARAMETER.sub(parameter, text)
        while text.startswith("(") and closes_at_end(text):
            text = text[1:-1]
        return re.sub(r"\((\[[^()]*?\])\)", r"\1", text)

    def scalar(self, parent: ET.Element, expression: str) -> ET.Element:
        """A ScalarOperator: columns, parameters and constants as such, the rest by its text."""
        text = self._tsql(expression)
        operator = add_element(parent, "ScalarOperator", ScalarString=text)
        bare = CAST.sub("", expression).strip()
        while bare.startswith("(") and closes_at_end(bare):
            bare = bare[1:-1].strip()
        parameter = PARAMETER.fullmatch(bare)
        if REFERENCE.fullmatch(bare):
            self.column(add_element(operator, "Identifier"), bare)
        elif parameter is not None:
            add_element(add_element(operator, "Identifier"), "ColumnReference", Column=text.strip("[]"))
        elif re.fullmatch(r"'(?:[^']|'')*'|-?\d+(?:\.\d+)?|true|false|NULL", bare):
            add_element(operator, "Const", ConstValue=bare if bare.startswith("'") else f"({bare})")
        else:
            self._compound(operator, bare)
        return operator

    def _compound(self, operator: ET.Element, text: str) -> None:
        conjuncts = split_conjuncts(text)
        if len(conjuncts) > 1:
            logical = add_element(operator, "Logical", Operation="AND")
            for conjunct in conjuncts:
                self.scalar(logical, conjunct)
            return
        found = comparison(text)
        if found is not None:
            compare = add_element(operator, "Compare", CompareOp=COMPARE_OPERATIONS[found[1]])
            self.scalar(compare, found[0])
            self.scalar(compare, found[2])
            return
        name = re.match(r"[a-z_]\w*(?=\()", text)
        add_element(operator, "Intrinsic", FunctionName=name[0] if name else "expression")

    def predicate(self, parent: ET.Element, condition: str | None, tag: str = "Predicate") -> None:
        """A condition, if there is one."""
        if condition:
            self.scalar(add_element(parent, tag), condition)

    def table_object(self, parent: ET.Element, table: PlanTable, alias: str, index: PlanIndex | None) -> None:
        """The table, and the index through which it is read or written."""
        add_element(
            parent,
            "Object",
            Database=bracket(self._database),
            Schema=bracket(table.schema),
            Table=bracket(table.name),
            Index=bracket(index.name) if index else None,
            Alias=bracket(alias) if alias and alias != table.name else None,
            IndexKind=None if index is None else "Clustered" if index.clustered else "NonClustered",
            Storage="RowStore",
        )
