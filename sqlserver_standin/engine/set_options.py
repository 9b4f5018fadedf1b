"""SET of options and of IDENTITY_INSERT."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sqlserver_standin.engine import statements as st
from sqlserver_standin.engine.evaluation import Evaluator
from sqlserver_standin.engine.frame import Frame
from sqlserver_standin.errors import sql_error, text, unsupported
from sqlserver_standin.events import (
    Event,
    Message,
)

if TYPE_CHECKING:
    from sqlserver_standin.engine.session import Session


class SetOptions:
    """Changes the options of a session."""

    def __init__(self, session: Session, evaluator: Evaluator) -> None:
        self._session = session
        self._evaluator = evaluator

    def set_option(self, statement: st.SetOption, frame: Frame) -> Iterator[Event]:
        session = self._session
        options = session.options
        on = statement.value == "ON"
        value: Any = statement.value
        if statement.argument is not None:
            value = self._evaluator.scalar(statement.argument, frame)
        match statement.option:
            case "TRANSACTION ISOLATION LEVEL":
                options.isolation = value
            case "LOCK_TIMEOUT":
                options.lock_timeout = int(value)
                session.apply_lock_timeout()
            case "DEADLOCK_PRIORITY":
                names = {"LOW": -5, "NORMAL": 0, "HIGH": 5}
                options.deadlock_priority = names.get(str(value).upper()) or int(
                    0 if str(value).upper() == "NORMAL" else names.get(str(value).upper(), value)
                )
            case "DATEFIRST":
                options.date_first = int(value)
                session.set_setting("standin.datefirst", str(options.date_first))
            case "DATEFORMAT":
                options.date_format = str(value)
                session.set_setting("standin.dateformat", str(value))
            case "LANGUAGE":
                options.language = str(value)
                session.set_setting("standin.language", str(value))
                yield Message(5703, text(5703, value), 10)
            case "ROWCOUNT":
                if int(value):
                    raise unsupported("SET ROWCOUNT", statement.line)
            case "TEXTSIZE":
                options.text_size = int(value)
            case "CONTEXT_INFO":
                data = value if isinstance(value, bytes) else str(value).encode("utf-16-le")
                session.context_info = data[:128]
            case "QUERY_GOVERNOR_COST_LIMIT":
                pass
            case _:
                for name in statement.option.split():
                    if name != "STATISTICS":
                        self._switch(statement, name, on)

    def _switch(self, statement: st.SetOption, name: str, on: bool) -> None:
        options = self._session.options
        if statement.option.startswith("STATISTICS"):
            name = f"STATISTICS_{name}"
        attribute = name.lower()
        if attribute == "ansi_defaults":
            for each in ("ansi_nulls", "ansi_padding", "ansi_warnings", "quoted_identifier"):
                setattr(options, each, on)
        elif hasattr(options, attribute):
            if attribute in ("noexec", "parseonly", "fmtonly") and on:
                raise unsupported(f"SET {name} ON", statement.line)
            setattr(options, attribute, on)
        elif attribute in (
            "ansi_null_dflt_on",
            "ansi_null_dflt_off",
            "arithignore",
            "no_browsetable",
            "forceplan",
        ):
            pass
        elif on:
            raise unsupported(f"SET {name} ON", statement.line)

    def set_identity_insert(self, statement: st.SetIdentityInsert, frame: Frame) -> Iterator[Event]:
        session = self._session
        table = session.ddl.table(statement.table, 1088)
        if table.identity_sequence is None:
            raise sql_error(8106, table.full_name)
        current = session.identity_insert
        if statement.on:
            if current is not None and current.object_id != table.object_id:
                full = f"{session.database}.{current.full_name}"
                raise sql_error(8107, full, ".".join(statement.table))
            session.identity_insert = table
        elif current is not None and current.object_id == table.object_id:
            session.identity_insert = None
        return
        yield
