"""Remote procedure calls: the prepared statements behind sp_prepexec's handles, and the engine's procedures."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sqlserver_standin import datatype_info
from sqlserver_standin.errors import sql_error, unsupported
from sqlserver_standin.events import Event, Parameter, ReturnValue, SqlError
from sqlserver_standin.response import Response
from sqlserver_standin.tds import encode, tokens
from sqlserver_standin.tds.declarations import Declaration, parse_declarations
from sqlserver_standin.tds.requests import Call
from sqlserver_standin.tds.tokens import DoneStatus, Token
from sqlserver_standin.types import MAX, SqlType

if TYPE_CHECKING:
    from sqlserver_standin.engine.session import Session

_HANDLE = SqlType("int")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement behind a handle."""

    sql: str
    declared: str
    declarations: tuple[Declaration, ...]
    procedure: str | None = None
    """The stored procedure to call instead, of sp_prepexecrpc."""


@dataclass(frozen=True, slots=True)
class Description:
    """What a call is about, for people: its procedure, its SQL, the parameters that it declares."""

    procedure: str
    sql: str
    declared: str


class Procedures:
    """The procedures that one session's client calls."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._prepared: dict[int, Prepared] = {}
        self._last_handle = 0

    def reset(self) -> None:
        """Forget the prepared statements, as a reset connection does."""
        self._prepared.clear()

    def describe(self, call: Call) -> Description:
        name = _plain_name(call.procedure)
        values = [parameter.value for parameter in call.parameters[:3]] + [None] * 3
        match name:
            case "sp_executesql":
                return Description(name, str(values[0] or ""), str(values[1] or ""))
            case "sp_prepare" | "sp_prepexec":
                return Description(name, str(values[2] or ""), str(values[1] or ""))
            case "sp_prepexecrpc":
                return Description(name, f"EXEC {values[1]}", "")
            case "sp_execute" | "sp_unprepare":
                prepared = self._prepared.get(values[0] or 0)
                if prepared is not None:
                    return Description(name, prepared.sql, prepared.declared)
        return Description(name, f"EXEC {call.procedure}", "")

    def call(self, response: Response, call: Call) -> None:
        """Execute one call and write its answer, up to DONEPROC."""
        handler = _HANDLERS.get(_plain_name(call.procedure), Procedures._named)
        failures = len(response.errors)
        try:
            handler(self, response, call)
        except SqlError as error:
            response.error(error)
        failed = len(response.errors) > failures
        response.done(Token.DONE_PROCEDURE, DoneStatus.ERROR if failed else DoneStatus.FINAL)

    # -- procedures by name ----------------------------------------------------------------------------------

    def _named(self, response: Response, call: Call) -> None:
        self._answer(response, call, self._call_procedure(call.procedure, call.parameters))

    def _cursor(self, response: Response, call: Call) -> None:
        raise unsupported(f"server cursors ({_plain_name(call.procedure)})")

    # -- statements ------------------------------------------------------------------------------------------

    def _execute_sql(self, response: Response, call: Call) -> None:
        declared = _text(call, 1)
        statement = Prepared(_text(call, 0), declared, parse_declarations(declared))
        self._execute_statement(response, call, statement, first=2)

    def _prepare(self, response: Response, call: Call) -> None:
        prepared = _statement(call)
        response.write(tokens.return_status(0))
        self._write_handle(response, call, self._keep(prepared))

    def _prepare_and_execute(self, response: Response, call: Call) -> None:
        # A handle that comes along is that of the cursor's previous statement.
        self._prepared.pop(_integer(call, 0), None)
        prepared = _statement(call)
        handle: int | None = self._keep(prepared)
        written = response.tokens
        failures = len(response.errors)
        parameters = bind(prepared, call.parameters[3:])
        outcome = response.statements(
            self._session.execute(prepared.sql, parameters, rpc=True), Token.DONE_IN_PROCEDURE
        )
        errors = response.errors[failures:]
        if len(errors) == 1 and response.tokens == written + 1 and is_compile_error(errors[0]):
            # It follows its cause at once: no statement ran that a DONEINPROC could end.
            response.withdraw_done()
            response.error(SqlError(8180, "Statement(s) could not be prepared.", line=errors[0].line))
            self._prepared.pop(handle or 0, None)
            handle = None
        response.write(tokens.return_status(_status(outcome.status, errors)))
        self._write_handle(response, call, handle)
        _write_outputs(response, call, outcome.outputs, first=3)

    def _prepare_call_and_execute(self, response: Response, call: Call) -> None:
        """sp_prepexecrpc: ODBC prepares {CALL procedure(?)} with it."""
        self._prepared.pop(_integer(call, 0), None)
        procedure = _text(call, 1)
        handle = self._keep(Prepared(f"EXEC {procedure}", "", (), procedure))
        self._answer(
            response, call, self._call_procedure(procedure, call.parameters[2:]), first=2, handle=handle
        )

    def _call_procedure(self, procedure: str, parameters: Sequence[Parameter]) -> Iterable[Event]:
        if _plain_name(procedure) in datatype_info.PROCEDURES:
            wanted = next(
                (item.value for item in parameters if item.name.lower() in ("", "@data_type")), None
            )
            return datatype_info.datatype_info(wanted)
        return self._session.call(procedure, parameters)

    def _execute_prepared(self, response: Response, call: Call) -> None:
        prepared = self._prepared.get(_integer(call, 0))
        if prepared is None:
            raise _no_such_handle(call)
        if prepared.procedure is not None:
            events = self._call_procedure(prepared.procedure, call.parameters[1:])
            self._answer(response, call, events, first=1)
        else:
            self._execute_statement(response, call, prepared, first=1)

    def _unprepare(self, response: Response, call: Call) -> None:
        if self._prepared.pop(_integer(call, 0), None) is None:
            raise _no_such_handle(call)
        response.write(tokens.return_status(0))

    def _execute_statement(self, response: Response, call: Call, statement: Prepared, *, first: int) -> None:
        parameters = bind(statement, call.parameters[first:])
        self._answer(response, call, self._session.execute(statement.sql, parameters, rpc=True), first=first)

    # -- answers ---------------------------------------------------------------------------------------------

    def _answer(
        self,
        response: Response,
        call: Call,
        events: Iterable[Event],
        *,
        first: int = 0,
        handle: int | None = None,
    ) -> None:
        """Write the result sets, then the return value, the new handle and the other output parameters."""
        failures = len(response.errors)
        outcome = response.statements(events, Token.DONE_IN_PROCEDURE)
        response.write(tokens.return_status(_status(outcome.status, response.errors[failures:])))
        if handle is not None:
            self._write_handle(response, call, handle)
        _write_outputs(response, call, outcome.outputs, first=first)

    def _keep(self, prepared: Prepared) -> int:
        self._last_handle += 1
        self._prepared[self._last_handle] = prepared
        return self._last_handle

    def _write_handle(self, response: Response, call: Call, handle: int | None) -> None:
        response.write(encode.return_value(0, call.parameters[0].name, _HANDLE, handle))


_HANDLERS: dict[str, Callable[[Procedures, Response, Call], None]] = {
    "sp_executesql": Procedures._execute_sql,
    "sp_prepare": Procedures._prepare,
    "sp_prepexec": Procedures._prepare_and_execute,
    "sp_prepexecrpc": Procedures._prepare_call_and_execute,
    "sp_execute": Procedures._execute_prepared,
    "sp_unprepare": Procedures._unprepare,
    **dict.fromkeys(
        (
            "sp_cursor",
            "sp_cursoropen",
            "sp_cursorprepare",
            "sp_cursorexecute",
            "sp_cursorprepexec",
            "sp_cursorunprepare",
            "sp_cursorfetch",
            "sp_cursoroption",
            "sp_cursorclose",
        ),
        Procedures._cursor,
    ),
}

_QUALIFIER = re.compile(
    r"^(?:(?:\[?master\]?\.)?\[?(?:sys|dbo)?\]?\.)?\[?(?P<name>[^\[\].]+)\]?$", re.IGNORECASE
)


def _plain_name(procedure: str) -> str:
    """The lower-case name of a system procedure; other names stay as they are."""
    match = _QUALIFIER.match(procedure.strip())
    return match["name"].lower() if match else procedure


def _text(call: Call, index: int) -> str:
    """A statement or a list of declarations: procedures of this kind want Unicode."""
    if index >= len(call.parameters):
        return ""
    value = call.parameters[index].value
    if value is None:
        return ""
    if not isinstance(value, str):
        what = ("@statement", "@params")[index > 0]
        raise SqlError(214, f"Procedure expects parameter '{what}' of type 'ntext/nchar/nvarchar'.", state=2)
    return value


def _integer(call: Call, index: int) -> int:
    value = call.parameters[index].value if index < len(call.parameters) else None
    return value if isinstance(value, int) else 0


def _no_such_handle(call: Call) -> SqlError:
    return SqlError(8179, f"Could not find prepared statement with handle {_integer(call, 0)}.", state=4)


def _statement(call: Call) -> Prepared:
    """The statement of sp_prepare and sp_prepexec: handle, declarations, text."""
    if len(call.parameters) < 3:
        raise SqlError(
            201,
            f"Procedure or function '{call.procedure}' expects parameter '@stmt', which was not supplied.",
        )
    declared = _text(call, 1)
    return Prepared(_text(call, 2), declared, parse_declarations(declared))


def bind(prepared: Prepared, values: Sequence[Parameter]) -> tuple[Parameter, ...]:
    """Give each declared parameter its value, by name where the client names it, else by position."""
    declarations = prepared.declarations
    if not values and not declarations:
        return ()
    by_name = {value.name.lower(): value for value in values if value.name}
    bound = []
    for index, declaration in enumerate(declarations):
        value = by_name.pop(declaration.name.lower(), None)
        if value is None and index < len(values) and not values[index].name:
            value = values[index]
        if value is None:
            text = f"({', '.join(item.name for item in declarations)}){prepared.sql}"
            raise SqlError(
                8178,
                f"The parameterized query '{text[:1000]}' expects the parameter '{declaration.name}', which was not "
                "supplied.",
            )
        converted = convert(value.value, value.type, declaration.type)
        bound.append(Parameter(declaration.name, declaration.type, converted, output=declaration.output))
    if len(values) > len(declarations) or by_name:
        raise SqlError(8144, "Procedure or function  has too many arguments specified.", state=2)
    return tuple(bound)


_RANGES = {"tinyint": (0, 255), "smallint": (-(2**15), 2**15 - 1), "int": (-(2**31), 2**31 - 1)}
_RANGES["bigint"] = (-(2**63), 2**63 - 1)
_MONEY = {"money": 2**63 - 1, "smallmoney": 2**31 - 1}
"""The largest of each, in units of 0.0001."""
_EXACT = frozenset({"decimal", "numeric", *_MONEY})
_APPROXIMATE = frozenset({"float", "real"})
_TEXT = frozenset({"char", "varchar", "nchar", "nvarchar", "text", "ntext", "sysname", "xml"})
_BINARY = frozenset({"binary", "varbinary", "image", "timestamp", "rowversion"})
_DATETIME = frozenset({"datetime", "smalldatetime", "datetime2"})


def convert(value: Any, sent: SqlType, declared: SqlType) -> Any:
    """A value as its declared type wants it: clients may send an int where a decimal is declared.

    Between families (text for a number) the stand-in converts nothing by guess, it refuses.
    """
    name = declared.name
    if value is None or name == "sql_variant":
        return value
    if isinstance(value, (str, bytes)):
        if name in (_TEXT if isinstance(value, str) else _BINARY):
            return _fitted(value, declared)
    elif name == sent.name and name not in _EXACT:
        return value
    if isinstance(value, (bool, int, float, Decimal)):
        if name == "bit":
            return bool(value)
        if name in _EXACT:
            return _exact(value, sent, declared)
        if name in _APPROXIMATE:
            return float(value)
        if name in _RANGES:
            low, high = _RANGES[name]
            if not low <= int(value) <= high:
                raise sql_error(8114, sent.name, name)
            return int(value)
    elif isinstance(value, datetime.datetime):
        if name in _DATETIME and value.tzinfo is None:
            return value
        if name == "date":
            return value.date()
    elif isinstance(value, datetime.date) and name in _DATETIME:
        return datetime.datetime.combine(value, datetime.time())
    raise unsupported(f"a parameter that is declared {name} and sent as {sent.name}")


def _exact(value: bool | int | float | Decimal, sent: SqlType, declared: SqlType) -> Decimal:
    """Rounded to the declared scale; 8114 where that has no room for it."""
    if declared.name in _MONEY:
        scale, high = 4, _MONEY[declared.name]
        low = -high - 1
    else:
        precision, scale = declared.precision or 18, declared.scale or 0
        if isinstance(value, Decimal) and (sent.precision, sent.scale) == (precision, scale):
            return value
        high = 10**precision - 1
        low = -high
    number = Decimal(value).quantize(Decimal((0, (1,), -scale)), ROUND_HALF_UP, encode.WIDE)
    if not low <= number.scaleb(scale, encode.WIDE) <= high:
        raise sql_error(8114, sent.name, declared.name)
    return number


def _fitted(value: str | bytes, declared: SqlType) -> str | bytes:
    """Cut to the declared length, or filled up to it where it is fixed; nothing is said of it, as in an assignment."""
    length = declared.length
    if length is None or length == MAX or len(value) == length:
        return value
    if len(value) > length:
        return value[:length]
    if declared.name in ("char", "nchar", "binary"):
        return value.ljust(length) if isinstance(value, str) else value.ljust(length, b"\0")
    return value


def _status(returned: int | None, errors: Sequence[SqlError]) -> int:
    """A procedure's own return value; sp_executesql and its kin return the number of the error, or 0."""
    if returned is not None:
        return returned
    return errors[-1].number if errors else 0


def _write_outputs(response: Response, call: Call, values: Sequence[ReturnValue], *, first: int) -> None:
    """Write the output parameters that the client asked for, under the names and ordinals that it used.

    Large ones come last (https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/7091f6f6-b83d-4ed2-afeb-ba5013dfb18f).
    """
    by_name = {value.parameter.name.lower(): value.parameter for value in values}
    wanted = [(index, sent) for index, sent in enumerate(call.parameters) if index >= first and sent.output]
    outputs = []
    for position, (index, sent) in enumerate(wanted):
        parameter = by_name.get(sent.name.lower())
        if parameter is None and position < len(values):
            parameter = values[position].parameter
        if parameter is not None:
            outputs.append((_is_large(parameter.type), index, sent.name, parameter))
    for _, index, name, parameter in sorted(outputs, key=itemgetter(0)):
        response.write(encode.return_value(index, name, parameter.type, parameter.value))


def _is_large(sql_type: SqlType) -> bool:
    return sql_type.length == MAX or sql_type.name in ("xml", "text", "ntext", "image")


_COMPILE_ERRORS = frozenset(
    {
        206, 207, 208, 209, 213, 214, 257, 260, 264, 271, 272, 305, 306, 334, 402, 403, 421, 447, 451, 457, 468, 529,
        1087, 4104, 4121, 8101, 8102, 8116, 8117, 8120, 8121, 8124, 8127, 8155, 8156, 8158, 8622,
    }
)  # fmt: skip
_SYNTAX_SEVERITY = 15


def is_compile_error(error: SqlError) -> bool:
    """Whether a statement failed before it ran: those are the failures that sp_prepexec follows up with 8180."""
    return error.severity == _SYNTAX_SEVERITY or error.number in _COMPILE_ERRORS
