"""README's lists of T-SQL functions are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import sqlserver_standin
import sqlserver_standin.tsql.translate
from sqlserver_standin.tsql.expressions import FUNCTIONS, REFUSED_FUNCTIONS

README = (Path(sqlserver_standin.__file__).parent / "README.md").read_text(encoding="utf-8")
# Functions with a syntax of their own, which the parser knows.
SYNTAX = {"CAST", "CONVERT", "TRY_CAST", "TRY_CONVERT", "IIF"}


def listed_after(sentence: str) -> set[str]:
    text = README.split(sentence, 1)[1].split("\n\n", 1)[0]
    return set(re.findall(r"`([A-Z0-9_]+)`", text))


def test_readme_lists_every_function_and_no_other() -> None:
    assert listed_after("(metadata and session functions stand with the engine):") == set(FUNCTIONS) | SYNTAX


def test_readme_lists_every_refused_function() -> None:
    assert listed_after("a change whose target is a common table; and the functions") == REFUSED_FUNCTIONS
    assert not set(FUNCTIONS) & REFUSED_FUNCTIONS
