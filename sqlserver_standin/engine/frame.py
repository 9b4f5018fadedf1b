"""The variables of one batch, procedure or trigger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlserver_standin.engine.catalog import Table
from sqlserver_standin.events import Parameter
from sqlserver_standin.types import SqlType


@dataclass(slots=True)
class Scope:
    """What SCOPE_IDENTITY() looks at: batches share their session's, each procedure, trigger and RPC has its own."""

    identity_sequence: str | None = None


@dataclass(slots=True)
class Frame:
    """The variables of a batch or procedure by lower-case name."""

    types: dict[str, SqlType] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    procedure: str = ""
    updated: frozenset[str] = frozenset()
    """In a trigger: what UPDATE(column) is true of, in lower case."""
    scope: Scope = field(default_factory=Scope)

    @classmethod
    def of_parameters(cls, parameters: Sequence[Parameter]) -> Frame:
        """The variables of a parameterised request."""
        frame = cls()
        for parameter in parameters:
            name = parameter.name.lower()
            frame.types[name] = parameter.type
            frame.values[name] = parameter.value
        return frame
