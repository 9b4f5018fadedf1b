"""What sqlserver_standin/README.md says of the wire is what the code does."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from sqlserver_standin import Control, datatype_info
from sqlserver_standin.__main__ import _parser
from sqlserver_standin.faults import FaultKind
from sqlserver_standin.procedures import _HANDLERS, Procedures
from sqlserver_standin.tds.encode import TYPE_NAMES
from sqlserver_standin.tds.tokens import Token

README = (Path(__file__).parent.parent.parent / "sqlserver_standin" / "README.md").read_text("utf-8")


def after(sentence: str) -> set[str]:
    """The names in backticks of the sentence that starts so."""
    start = README.index(sentence) + len(sentence)
    end = re.compile(r"[.;](\s|$)").search(README, start)
    assert end is not None
    return set(re.findall(r"`([^`]+)`", README[start : end.start()]))


def test_every_data_type_is_listed() -> None:
    assert after("Data types in both directions:") == TYPE_NAMES


def test_every_procedure_of_the_wire_is_listed() -> None:
    own = {name for name, handler in _HANDLERS.items() if handler is not Procedures._cursor}
    assert after("Procedures that the wire itself answers:") == own | datatype_info.PROCEDURES


def test_every_option_is_listed() -> None:
    options = {action.option_strings[-1] for action in _parser()._actions} - {"--help"}
    assert set(re.findall(r"^\| `(--[\w-]+)`", README, re.MULTILINE)) == options


@pytest.mark.parametrize(
    "call", [name for name, _ in inspect.getmembers(Control, inspect.isfunction) if not name.startswith("_")]
)
def test_every_call_of_the_control_api_is_listed(call: str) -> None:
    # close() belongs to StandIn.
    assert call == "close" or f"`{call}(" in README


def test_every_fault_has_its_call() -> None:
    assert {kind.value for kind in FaultKind} <= {name for name, _ in inspect.getmembers(Control)}


def test_every_token_is_listed() -> None:
    listed = set(re.findall(r"[A-Z]{3,}", README))
    names = {
        Token.RETURN_STATUS: "RETURNSTATUS",
        Token.LOGIN_ACKNOWLEDGEMENT: "LOGINACK",
        Token.FEATURE_EXTENSION_ACKNOWLEDGEMENT: "FEATUREEXTACK",
        Token.ENVIRONMENT_CHANGE: "ENVCHANGE",
        Token.DONE_PROCEDURE: "DONEPROC",
        Token.DONE_IN_PROCEDURE: "DONEINPROC",
    }
    assert {names.get(token, token.name) for token in Token} <= listed
