"""Stored procedures: the system's (sp_*) that backends use, and the user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from sqlserver_standin.datatype_info import PROCEDURES as DATATYPE_PROCEDURES
from sqlserver_standin.datatype_info import datatype_info
from sqlserver_standin.engine import odbc_catalog
from sqlserver_standin.engine import statements as st
from sqlserver_standin.engine.batch import BatchParser, parse_batch
from sqlserver_standin.engine.described_parameters import (
    DESCRIBED_PARAMETER_COLUMNS,
    described_parameters,
)
from sqlserver_standin.engine.evaluation import Evaluator
from sqlserver_standin.engine.frame import Frame
from sqlserver_standin.engine.link import PostgresError
from sqlserver_standin.engine.names import quote
from sqlserver_standin.engine.security import SERVER_PERMISSIONS, Login, User
from sqlserver_standin.errors import sql_error, text, unsupported
from sqlserver_standin.events import Done, Event, Message, ResultSet
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.lexer import tokenize
from sqlserver_standin.types import SqlType

if TYPE_CHECKING:
    from sqlserver_standin.engine.interpreter import Interpreter
    from sqlserver_standin.engine.session import Session


CONVERSION_FAILED = frozenset({241, 242, 244, 245, 248, 295, 8114, 8115, 8169})
SECURITY_STATEMENTS = (st.CreateLogin, st.CreateUser, st.Permission, st.AlterRole)


class Procedures:
    """Runs EXEC for one session."""

    def __init__(self, session: Session, evaluator: Evaluator, interpreter: Interpreter) -> None:
        self._session = session
        self._evaluator = evaluator
        self._interpreter = interpreter

    def execute(self, statement: st.Execute, frame: Frame) -> Iterator[Event]:
        """EXEC name arguments."""
        name = statement.procedure
        if statement.procedure_variable is not None:
            value = frame.values.get(statement.procedure_variable)
            name = BatchParser(str(value)).object_name()
        system = _SYSTEM.get(name[-1].lower())
        if system is not None and (len(name) == 1 or name[-2].lower() in ("sys", "dbo", "")):
            yield from system(self, statement, frame)
            if statement.status is not None:
                frame.values[statement.status] = 0
            return
        yield from self._execute_own(name, statement, frame)

    def _execute_own(self, name: st.Name, statement: st.Execute, frame: Frame) -> Iterator[Event]:
        """A procedure of the user's: its body in a frame of its own."""
        session = self._session
        found = session.ddl.modules.find_procedure(name)
        if found is None and name[-1].lower() in _REFUSED:
            raise unsupported(f"the procedure {name[-1].lower()}", statement.line)
        if found is None:
            raise sql_error(2812, ".".join(name), line=statement.line)
        (procedure,) = yield from self._interpreter.compile(found[1]["definition"], name[-1])
        assert isinstance(procedure, st.CreateProcedure)
        shown = procedure.name[-1]
        inner = Frame(procedure=shown)
        given, outputs = self._bind(procedure, statement, frame, shown)
        for parameter in procedure.parameters:
            inner.types[parameter.name] = parameter.type
            inner.values[parameter.name] = given[parameter.name]
        status = yield from self._interpreter.run_module(procedure.body, inner)
        self._return_outputs(outputs, inner, frame)
        if statement.status is not None:
            frame.values[statement.status] = status

    def _bind(
        self, procedure: st.CreateProcedure, statement: st.Execute, frame: Frame, shown: str
    ) -> tuple[dict[str, Any], list[tuple[str, st.Argument]]]:
        parameters = {parameter.name: parameter for parameter in procedure.parameters}
        names = list(parameters)
        given: dict[str, Any] = {}
        outputs: list[tuple[str, st.Argument]] = []
        if statement.arguments and not names:
            raise sql_error(8146, shown)
        for position, argument in enumerate(statement.arguments):
            if argument.name is None and position >= len(names):
                raise sql_error(8144, shown)
            name = argument.name or names[position]
            if name not in parameters:
                raise sql_error(8145, name, shown)
            if argument.value is not None:
                given[name] = self._argument(argument.value, frame, parameters[name].type)
            if argument.output:
                if not parameters[name].output:
                    raise sql_error(8162, name)
                outputs.append((name, argument))
        for parameter in procedure.parameters:
            if parameter.name not in given:
                if parameter.default is None:
                    raise sql_error(201, shown, parameter.name)
                given[parameter.name] = self._evaluator.scalar(parameter.default, frame, parameter.type)
        return given, outputs

    def _argument(self, value: ast.Expression, frame: Frame, target: SqlType) -> Any:
        """An argument under its parameter's type; a value that does not fit is 8114 whatever it is."""
        try:
            return self._evaluator.scalar(value, frame, target)
        except PostgresError as error:
            failure = self._session.describe_failure(error, "EXECUTE")
            if failure.number not in CONVERSION_FAILED:
                raise failure from None
            source = self._evaluator.type_of(value, frame)
            raise sql_error(8114, source.name, target.name) from None

    def _arguments(self, statement: st.Execute, frame: Frame, *names: str) -> dict[str, Any]:
        """Values of a system procedure's arguments, by the names that it has for them."""
        given: dict[str, Any] = {}
        for position, argument in enumerate(statement.arguments):
            if argument.name is None:
                if position >= len(names):
                    raise sql_error(8144, statement.procedure[-1])
                key = names[position]
            else:
                key = argument.name.removeprefix("@")
                if key not in names:
                    raise sql_error(8145, argument.name, statement.procedure[-1])
            given[key] = None if argument.value is None else self._evaluator.scalar(argument.value, frame)
        return given

    # -- sp_executesql ---------------------------------------------------------------------------------------

    def _sp_executesql(self, statement: st.Execute, frame: Frame) -> Iterator[Event]:
        arguments = statement.arguments
        if not arguments or arguments[0].value is None:
            raise sql_error(201, "sp_executesql", "@statement")
        sql = self._evaluator.scalar(arguments[0].value, frame)
        inner = Frame()
        outputs: list[tuple[str, st.Argument]] = []
        if len(arguments) > 1 and arguments[1].value is not None:
            declared = str(self._evaluator.scalar(arguments[1].value, frame) or "")
            parameters = BatchParser(declared)
            names = []
            if parameters.token.kind != "end":
                for parameter in parameters.list_of(parameters.procedure_parameter):
                    inner.types[parameter.name] = parameter.type
                    inner.values[parameter.name] = None
                    names.append(parameter.name)
            for position, argument in enumerate(arguments[2:]):
                name = argument.name or names[position]
                if name not in inner.types:
                    raise sql_error(8145, name, "sp_executesql")
                if argument.value is not None:
                    inner.values[name] = self._evaluator.scalar(argument.value, frame, inner.types[name])
                if argument.output:
                    outputs.append((name, argument))
            for name in names:
                if not any(name == (a.name or names[i]) for i, a in enumerate(arguments[2:])):
                    raise sql_error(8178, f"({declared}){sql}", name)
        yield from self._interpreter.run_text(str(sql), inner)
        self._return_outputs(outputs, inner, frame)

    def _return_outputs(self, outputs: list[tuple[str, st.Argument]], inner: Frame, frame: Frame) -> None:
        for name, argument in outputs:
            if isinstance(argument.value, ast.Variable):
                frame.values[argument.value.name] = inner.values[name]

    # -- renaming --------------------------------------------------------------------------------------------

    def _sp_rename(self, statement: st.Execute, frame: Frame) -> Iterator[Event]:
        given = self._arguments(statement, frame, "objname", "newname", "objtype")
        old, new = str(given.get("objname") or ""), str(given.get("newname") or "")
        kind = str(given.get("objtype") or "").upper()
        session = self._session
        parts = BatchParser(old).object_name()
        ddl = session.ddl
        with _atomic(session):
            if kind == "COLUMN":
                table = ddl.find(parts[:-1]) if len(parts) > 1 else None
                if table is None or table.column(parts[-1]) is None:
                    raise sql_error(15248, kind)
                ddl.renames.rename_column(table, parts[-1], new)
            elif kind == "INDEX":
                table = ddl.find(parts[:-1]) if len(parts) > 1 else None
                if table is None or ddl.indexes.find_index(table, parts[-1]) is None:
                    raise sql_error(15248, kind)
                ddl.renames.rename_index(table, parts[-1], new)
            elif kind in ("", "OBJECT"):
                table = ddl.find(parts)
                schema = parts[-2] if len(parts) > 1 else "dbo"
                if table is not None:
                    ddl.renames.rename_table(table, new)
                elif not (
                    ddl.renames.rename_constraint(schema, parts[-1], new)
                    or ddl.renames.rename_module(schema, parts[-1], new)
                ):
                    raise sql_error(15225, old, session.database, kind or "(null)")
            elif kind == "DATABASE":
                database = session.instance.database(old)
                if database is None:
                    raise sql_error(15225, old, session.database, kind)
                session.instance.change_database(database, name=new)
            else:
                raise unsupported(f"sp_rename of {kind}", statement.line)
        session.schema_touched()
        yield Message(15477, text(15477), 0)

    # -- session state ---------------------------------------------------------------------------------------

    def _sp_set_session_context(self, statement: st.Execute, frame: Frame) -> Iterator[Event]:
        given = self._arguments(statement, frame, "key", "value", "read_only")
        key = str(given.get("key") or "").lower()
        session = self._session
        if session.session_context.get(key, (None, False))[1]:
            raise sql_error(15664, given["key"])
        session.session_context[key] = (given.get("value"), bool(given.get("read_only")))
        session.publish_session_context()
        return
        yield

    # -- extended properties ---------------------------------------------------------------------------------

    def _extended_property(self, statement: st.Execute, frame: Frame) -> Iterator[Event]:
        names = ["name", "value"]
        procedure = statement.procedure[-1].lower()
        if procedure == "sp_dropextendedproperty":
            names = ["name"]
        for level in range(3):
            names += [f"level{level}type", f"level{level}name"]
        given = self._arguments(statement, frame, *names)
        property_class, major, minor, label = self._property_target(given)
        name = str(given.get("name") or "")
        link = self._session.link
        key = (property_class, major, minor, name)
        condition = (
            "class = $1::int2 AND major_id = $2::int4 AND minor_id = $3::int4 AND lower(name) = lower($4)"
        )
        exists = bool(link.rows(f"SELECT 1 FROM sys_meta.extended_property WHERE {condition}", key))
        value = given.get("value")
        if procedure == "sp_addextendedproperty":
            if exists:
                raise sql_error(15233, name, label)
            link.change(
                "INSERT INTO sys_meta.extended_property VALUES ($1::int2, $2::int4, $3::int4, $4, $5)",
                (*key, value),
            )
        elif not exists:
            raise sql_error(15217, name, label)
        elif procedure == "sp_updateextendedproperty":
            link.change(f"UPDATE sys_meta.extended_property SET value = $5 WHERE {condition}", (*key, value))
        else:
            link.change(f"DELETE FROM sys_meta.extended_property WHERE {condition}", key)
        return
        yield

    def _property_target(self, given: dict[str, Any]) -> tuple[int, int, int, str]:
        """class, major_id, minor_id and the label in messages of what a property belongs to."""
        levels = [
            (str(given[f"level{i}type"] or "").upper(), given[f"level{i}name"])
            for i in range(3)
            if given.get(f"level{i}type")
        ]
        if not levels:
            return 0, 0, 0, "object specified"
        schema = str(levels[0][1])
        if levels[0][0] != "SCHEMA":
            raise unsupported(f"extended properties of {levels[0][0]}")
        if len(levels) == 1:
            found = self._session.catalog.schema_exists(schema)
            if found is None:
                raise sql_error(15135, schema)
            rows = self._session.link.rows("SELECT $1::regnamespace::oid::bigint", (quote(found),))
            return 3, int(rows[0][0] or 0), 0, schema
        table = self._session.catalog.info(schema, str(levels[1][1]))
        label = ".".join(str(name) for _, name in levels)
        if table is None:
            raise sql_error(15135, label)
        if len(levels) == 2:
            return 1, table.object_id, 0, label
        if levels[2][0] == "COLUMN":
            column = table.column(str(levels[2][1]))
            if column is None:
                raise sql_error(15135, label)
            return 1, table.object_id, column.number, label
        raise unsupported(f"extended properties of {levels[2][0]}")

    # -- locks -----------------------------------------------------------------------------------------------

    def _sp_msforeachtable(self, statement: st.Execute, frame: Frame) -> Iterator[Event]:
        given = self._arguments(statement, frame, "command1", "replacechar", "command2")
        command = str(given.get("command1") or "")
        placeholder = str(given.get("replacechar") or "?")
        rows = self._session.link.rows(
            "SELECT schema_name, name FROM sys_meta.user_tables ORDER BY object_id"
        )
        for schema, name in rows:
            target = f"[{schema}].[{(name or '').replace(']', ']]')}]"
            yield from self._interpreter.run_text(command.replace(placeholder, target), Frame())
            if given.get("command2"):
                yield from self._interpreter.run_text(
                    str(given["command2"]).replace(placeholder, target), Frame()
                )

    def _sp_updatestats(self, statement: st.Execute, frame: Frame) -> Iterator[Event]:
        self._session.link.execute("ANALYZE")
        yield Message(15650, text(15650))

    # -- DBCC ------------------------------------------------------------------------------------------------

    def dbcc(self, statement: st.Dbcc, frame: Frame) -> Iterator[Event]:
        """DBCC CHECKIDENT; those that only look after a real server's storage have nothing to do."""
        if statement.command == "CHECKIDENT":
            yield from self._checkident(statement, frame)
        elif statement.command in (
            "FREEPROCCACHE",
            "DROPCLEANBUFFERS",
            "UPDATEUSAGE",
            "CHECKDB",
            "CHECKTABLE",
        ):
            if statement.command == "FREEPROCCACHE":
                self._session.instance.plan_cache.clear()
            if "NO_INFOMSGS" not in statement.options:
                yield Message(2528, text(2528))
        else:
            raise unsupported(f"DBCC {statement.command}", statement.line)

    def _checkident(self, statement: st.Dbcc, frame: Frame) -> Iterator[Event]:
        session = self._session
        arguments = list(statement.arguments)
        first = arguments[0]
        name = first if isinstance(first, str) else str(self._evaluator.scalar(first, frame))
        table = session.ddl.table(BatchParser(name).object_name(), 2501)
        if table.identity_sequence is None:
            raise sql_error(7997, table.name)
        column = next(column for column in table.columns if column.identity)
        assert column.identity is not None
        current = session.link.rows(f"SELECT last_value, is_called FROM {table.identity_sequence}")[0]
        shown = current[0] if current[1] == "t" else "NULL"
        mode = str(arguments[1]).upper() if len(arguments) > 1 else "RESEED"
        if mode == "NORESEED":
            most = session.link.rows(f"SELECT max({quote(column.pg_name)})::text FROM {table.qualified}")[0][
                0
            ]
            if "NO_INFOMSGS" not in statement.options:
                yield Message(7998, text(7998, shown, most or "NULL"))
                yield Message(2528, text(2528))
            return
        if mode != "RESEED":
            raise unsupported(f"DBCC CHECKIDENT (…, {mode})", statement.line)
        if len(arguments) > 2:
            value = arguments[2]
            new = int(value if isinstance(value, str) else self._evaluator.scalar(value, frame))
            # Until a row has been inserted the new value is the next one, afterwards its increment comes on top.
            called = current[1] == "t"
            session.link.change(
                "SELECT setval($1::regclass, $2::int8, $3::bool)",
                (table.identity_sequence, new, "t" if called else "f"),
            )
        else:
            session.link.change(
                f"SELECT setval($1::regclass, max({quote(column.pg_name)})) FROM {table.qualified} "
                f"HAVING max({quote(column.pg_name)}) > (SELECT last_value FROM {table.identity_sequence})",
                (table.identity_sequence,),
            )
        if "NO_INFOMSGS" not in statement.options:
            # https://learn.microsoft.com/sql/t-sql/database-console-commands/dbcc-checkident-transact-sql#result-sets
            reseeded = len(arguments) > 2
            yield Message(7989, text(7989, shown)) if reseeded else Message(7998, text(7998, shown, shown))
            yield Message(2528, text(2528))

    # -- what drivers ask ------------------------------------------------------------------------------------

    def _catalog_procedure(self, statement: st.Execute, frame: Frame) -> Iterator[Event]:
        procedure = odbc_catalog.PROCEDURES[statement.procedure[-1].lower()]
        given = self._arguments(statement, frame, *procedure.arguments)
        values = {f"@{name}": given.get(name) for name in procedure.arguments}
        texts = {name: None if value is None else str(value) for name, value in values.items()}
        yield from self._interpreter.run_text(procedure.sql, Frame(procedure.variables, texts))

    def _sp_describe_undeclared_parameters(self, statement: st.Execute, frame: Frame) -> Iterator[Event]:
        given = self._arguments(statement, frame, "tsql", "params")
        sql = str(given.get("tsql") or "")
        session = self._session
        types: dict[str, SqlType] = {}
        context = session.context({})
        for each in parse_batch(sql):
            if isinstance(each, st.SetIdentityInsert):
                # Nothing is executed here, but what follows in the batch may name the identity column.
                context.identity_insert = session.ddl.table(each.table, 1088).qualified if each.on else None
            elif isinstance(each, st.Data):
                types |= dict(session.translator.undeclared_parameters(each.node, context))
        # In the order and spelling of the text.
        spelled = {token.value: token.text for token in reversed(tokenize(sql)) if token.value in types}
        ordered = [(text, types[name]) for name, text in reversed(spelled.items())]
        rows = list(described_parameters(ordered))
        yield ResultSet(DESCRIBED_PARAMETER_COLUMNS, rows)
        yield Done(len(rows), "select")

    # -- catalog procedures ----------------------------------------------------------------------------------

    def _sp_datatype_info(self, statement: st.Execute, frame: Frame) -> Iterator[Event]:
        given = self._arguments(statement, frame, "data_type", "odbcver")
        yield from datatype_info(given.get("data_type"))

    # -- security --------------------------------------------------------------------------------------------

    def security(self, statement: st.Statement, frame: Frame) -> Iterator[Event]:
        """CREATE and DROP LOGIN and USER, GRANT, DENY, REVOKE, ALTER ROLE."""
        session = self._session
        if not session.is_sysadmin:
            raise sql_error(15247)
        security = session.instance.security
        users = security.users.setdefault(session.database.lower(), {})
        match statement:
            case st.CreateLogin():
                if statement.name.lower() in security.logins or statement.name.lower() == "sa":
                    raise sql_error(15025, statement.name)
                security.logins[statement.name.lower()] = Login(statement.name, statement.password)
            case st.CreateUser():
                if statement.name.lower() in users:
                    raise sql_error(15023, statement.name)
                if statement.login is not None and statement.login.lower() not in security.logins:
                    raise sql_error(15007, statement.login)
                users[statement.name.lower()] = User(statement.name, statement.login or "")
            case st.Drop():
                for name in statement.names:
                    known: dict[str, Any] = security.logins if statement.kind == "LOGIN" else users
                    if known.pop(name[-1].lower(), None) is None and not statement.if_exists:
                        raise sql_error(15151, "drop", statement.kind.lower(), name[-1])
            case st.AlterRole():
                self._alter_role(statement, users)
            case st.Permission():
                for principal in statement.principals:
                    self._grant(statement, principal, users)
        session.instance.security_changed()
        return
        yield

    def _alter_role(self, statement: st.AlterRole, users: dict[str, User]) -> None:
        principals: dict[str, Any] = self._session.instance.security.logins if statement.server else users
        member = principals.get(statement.member.lower())
        if member is None:
            raise sql_error(15151, "add" if statement.add else "drop", "principal", statement.member)
        if statement.add and statement.role not in member.roles:
            member.roles.append(statement.role)
        elif not statement.add and statement.role in member.roles:
            member.roles.remove(statement.role)

    def _grant(self, statement: st.Permission, principal: str, users: dict[str, User]) -> None:
        server = [each for each in statement.permissions if each in SERVER_PERMISSIONS]
        if server:
            login = self._session.instance.security.logins.get(principal.lower())
            if login is None:
                raise sql_error(15151, "find", "login", principal)
            _change(login.permissions, server, add=statement.action == "GRANT")
        own = [each for each in statement.permissions if each not in SERVER_PERMISSIONS]
        if not own:
            return
        if principal.lower() == "public":
            raise unsupported("permissions of the role public", statement.line)
        user = users.get(principal.lower())
        if user is None:
            raise sql_error(15151, "find", "user", principal)
        if statement.securable is None:
            _change(user.permissions, own, add=statement.action == "GRANT")
            _change(user.denied, own, add=statement.action == "DENY")
            return
        table = self._session.ddl.find(statement.securable)
        if table is None:
            raise sql_error(15151, "find", "object", statement.securable[-1])
        granted = user.objects.setdefault(table.full_name.lower(), [])
        _change(granted, own, add=statement.action == "GRANT")
        _change(granted, [f"-{each}" for each in own], add=statement.action == "DENY")


def _change(permissions: list[str], changed: list[str], *, add: bool) -> None:
    for permission in changed:
        if add and permission not in permissions:
            permissions.append(permission)
        elif not add and permission in permissions:
            permissions.remove(permission)


class _atomic:
    """Outside a transaction, several statements of PostgreSQL as one."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._own = False

    def __enter__(self) -> None:
        self._own = not self._session.transaction.count
        if self._own:
            self._session.link.begin("READ COMMITTED")

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self._own:
            self._session.link.end("COMMIT" if kind is None else "ROLLBACK")
            self._session.schema_changed()


# SQL Server has them, the stand-in does not; any other name is a procedure that nobody made.
_REFUSED = frozenset(
    """sp_addlinkedserver sp_addmessage sp_addrolemember sp_addtype sp_configure sp_databases sp_depends
    sp_describe_first_result_set sp_describe_parameter_encryption sp_droprolemember sp_estimate_data_compression_savings
    sp_getapplock sp_help sp_helpconstraint sp_helpdb sp_helpindex sp_helptext sp_invoke_external_rest_endpoint sp_lock
    sp_query_store_flush_db sp_query_store_force_plan sp_query_store_reset_exec_stats sp_query_store_unforce_plan
    sp_recompile sp_refreshsqlmodule sp_refreshview sp_releaseapplock sp_send_dbmail sp_sequence_get_range
    sp_settriggerorder sp_spaceused sp_special_columns sp_sproc_columns sp_stored_procedures sp_table_privileges
    sp_tableoption sp_who sp_who2 sp_xml_preparedocument sp_xml_removedocument xp_cmdshell xp_dirtree xp_readerrorlog
    xp_regread""".split()
)

_SYSTEM: dict[str, Callable[[Procedures, st.Execute, Frame], Iterator[Event]]] = {
    "sp_executesql": Procedures._sp_executesql,
    "sp_rename": Procedures._sp_rename,
    "sp_set_session_context": Procedures._sp_set_session_context,
    "sp_addextendedproperty": Procedures._extended_property,
    "sp_updateextendedproperty": Procedures._extended_property,
    "sp_dropextendedproperty": Procedures._extended_property,
    "sp_updatestats": Procedures._sp_updatestats,
    "sp_msforeachtable": Procedures._sp_msforeachtable,
    "sp_describe_undeclared_parameters": Procedures._sp_describe_undeclared_parameters,
    **dict.fromkeys(odbc_catalog.PROCEDURES, Procedures._catalog_procedure),
    **dict.fromkeys(DATATYPE_PROCEDURES, Procedures._sp_datatype_info),
}
