"""Parses CREATE, ALTER and DROP of all kinds of objects, and the statements of administration."""

from __future__ import annotations

from sqlserver_standin.engine import statements as st
from sqlserver_standin.engine.parse_flow import FlowParser
from sqlserver_standin.errors import sql_error, unsupported
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.types import with_default_length
from sqlserver_standin.types import SqlType

_MODULE_KINDS = ("VIEW", "PROCEDURE", "PROC", "TRIGGER", "FUNCTION")


class DefinitionParser(FlowParser):
    """Parses data definition, security and administration."""

    def _create(self) -> st.Statement:
        line = self.token.line
        self.expect("CREATE")
        mode = "CREATE"
        if self.accept("OR", "ALTER"):
            mode = "CREATE OR ALTER"
        if self.at_any(*_MODULE_KINDS):
            return self._module(mode)
        if mode != "CREATE":
            self.fail()
        if self.accept("TABLE"):
            name = self.object_name()
            columns, constraints, indexes = self._table_elements()
            self._storage_clauses()
            return st.CreateTable(name, columns, constraints, indexes)
        if self.at_any("UNIQUE", "CLUSTERED", "NONCLUSTERED", "INDEX"):
            return self._create_index()
        if self.accept("SCHEMA"):
            name_ = self.name()
            if self.accept("AUTHORIZATION"):
                self.name()
            return st.CreateSchema(name_)
        if self.accept("DATABASE"):
            return self._create_database()
        if self.accept("SEQUENCE"):
            return self._sequence(alter=False)
        if self.accept("LOGIN"):
            return self._create_login()
        if self.accept("USER"):
            return self._create_user()
        if self.accept("STATISTICS"):
            self.name()
            self.expect("ON")
            self.object_name()
            self.name_list()
            return st.Nothing()
        raise unsupported(f"CREATE {self.token.text.upper()}", line)

    def _alter(self) -> st.Statement:
        line = self.token.line
        self.expect("ALTER")
        if self.at_any(*_MODULE_KINDS):
            return self._module("ALTER")
        if self.accept("TABLE"):
            return self._alter_table()
        if self.accept("INDEX"):
            index = None if self.accept("ALL") else self.name()
            self.expect("ON")
            table = self.object_name()
            if not self.at_any("REBUILD", "REORGANIZE", "DISABLE"):
                raise unsupported(f"ALTER INDEX ... {self.token.text}", line)
            action = self.next().value
            self._storage_clauses()
            return st.AlterIndex(table, index, action)
        if self.accept("DATABASE"):
            return self._alter_database()
        if self.accept("SEQUENCE"):
            return self._sequence(alter=True)
        if self.accept("SCHEMA"):
            schema = self.name()
            self.expect("TRANSFER")
            if self.at("OBJECT", "::"):
                self.position += 2
            return st.TransferObject(schema, self.object_name())
        if self.at("SERVER", "ROLE") or self.at("ROLE"):
            server = self.accept("SERVER")
            self.expect("ROLE")
            role = self.name()
            if not self.at_any("ADD", "DROP"):
                raise unsupported("ALTER ROLE ... WITH NAME", line)
            add = self.next().value == "ADD"
            self.expect("MEMBER")
            return st.AlterRole(role, self.name(), add, server)
        if self.accept("AUTHORIZATION"):
            raise unsupported("ALTER AUTHORIZATION", line)
        raise unsupported(f"ALTER {self.token.text.upper()}", line)

    def _drop(self) -> st.Statement:
        line = self.token.line
        self.expect("DROP")
        kind = self.next().value
        kind = {"PROC": "PROCEDURE"}.get(kind, kind)
        if kind == "INDEX":
            if_exists = self.accept("IF", "EXISTS")
            return st.DropIndex(self.list_of(self._dropped_index), if_exists)
        if kind in (
            "TABLE",
            "VIEW",
            "PROCEDURE",
            "FUNCTION",
            "TRIGGER",
            "SEQUENCE",
            "SCHEMA",
            "DATABASE",
            "LOGIN",
            "USER",
        ):
            if_exists = self.accept("IF", "EXISTS")
            return st.Drop(kind, self.list_of(self.object_name), if_exists)
        if kind == "STATISTICS":
            self.list_of(self.object_name)
            return st.Nothing()
        raise unsupported(f"DROP {kind}", line)

    def _truncate(self) -> st.Statement:
        self.expect("TRUNCATE", "TABLE")
        return st.TruncateTable(self.object_name())

    # -- modules ---------------------------------------------------------------------------------------------

    def _module(self, mode: str) -> st.Statement:
        token = self.next()
        kind = "PROCEDURE" if token.value == "PROC" else token.value
        # Only SET options of the batch may stand before it, and SQL Server takes the rest of the batch as its body.
        if self.tokens[0].value not in ("CREATE", "ALTER"):
            raise sql_error(
                111, f"{mode} {kind}" if mode != "CREATE OR ALTER" else f"CREATE {kind}", line=token.line
            )
        name = self.object_name()
        if kind == "VIEW":
            return self._view(name, mode)
        if kind == "TRIGGER":
            return self._trigger(name, mode)
        if kind == "PROCEDURE":
            return self._procedure(name, mode)
        raise unsupported("user-defined functions", token.line)

    def _view(self, name: st.Name, mode: str) -> st.Statement:
        columns = self.name_list() if self.at("(") else ()
        if self.accept("WITH"):
            self.list_of(lambda: self.next())
        self.expect("AS")
        first = self.token
        query = self.data_statement()
        if not isinstance(query, ast.SelectStatement):
            self.fail(first)
        text = self.sql[first.start : self.tokens[self.position - 1].end]
        if self.accept("WITH", "CHECK", "OPTION"):
            raise unsupported("WITH CHECK OPTION", first.line)
        return st.CreateView(name, columns, query, text, mode)

    def _procedure(self, name: st.Name, mode: str) -> st.Statement:
        parameters: tuple[st.ProcedureParameter, ...] = ()
        parenthesised = self.accept("(")
        if self.token.kind == "variable":
            parameters = self.list_of(self.procedure_parameter)
        if parenthesised:
            self.expect(")")
        if self.accept("WITH"):
            self.list_of(lambda: self.next())
        self.expect("AS")
        return st.CreateProcedure(name, parameters, self._body(), mode)

    def procedure_parameter(self) -> st.ProcedureParameter:
        """``@name type [= default] [OUTPUT]``, as sp_executesql declares them too."""
        token = self.next()
        if token.kind != "variable":
            self.fail(token)
        if token.value in self._declared:
            raise sql_error(134, token.text, line=token.line)
        self._declared |= {token.value}
        self.accept("AS")
        data_type = with_default_length(self.data_type(), 1)
        if data_type.name == "json":
            raise unsupported("a procedure's parameter of type json", token.line)
        default = self._unary() if self.accept("=") else None
        output = self.accept("OUTPUT") or self.accept("OUT")
        return st.ProcedureParameter(token.value, data_type, default, output)

    def _trigger(self, name: st.Name, mode: str) -> st.Statement:
        self.expect("ON")
        if self.at("DATABASE") or self.at("ALL", "SERVER"):
            raise unsupported("DDL triggers", self.token.line)
        table = self.object_name()
        if self.accept("INSTEAD", "OF"):
            raise unsupported("INSTEAD OF triggers", self.token.line)
        if not self.at_any("AFTER", "FOR"):
            self.fail()
        self.next()

        def event() -> str:
            if not self.at_any("INSERT", "UPDATE", "DELETE"):
                self.fail()
            return self.next().value

        events = self.list_of(event)
        self.expect("AS")
        return st.CreateTrigger(name, table, "AFTER", events, self._body(), mode)

    def _body(self) -> tuple[st.Statement, ...]:
        """The rest of the batch."""
        found: list[st.Statement] = []
        while self.token.kind != "end":
            if not self.accept(";"):
                found.append(self.statement())
        if not found:
            self.fail()
        return tuple(found)

    # -- databases, sequences, triggers ----------------------------------------------------------------------

    def _create_database(self) -> st.Statement:
        name = self.name()
        collation = None
        while self.token.kind != "end" and not self.at(";"):
            if self.accept("COLLATE"):
                collation = self._collation()
            elif self.at_any("CONTAINMENT", "ON", "LOG", "WITH", "FOR", "AS"):
                raise unsupported(f"CREATE DATABASE ... {self.token.text}", self.token.line)
            else:
                break
        return st.CreateDatabase(name, collation)

    def _alter_database(self) -> st.Statement:
        line = self.token.line
        if self.accept("SCOPED", "CONFIGURATION"):
            return self._scoped_configuration(line)
        name = None if self.accept("CURRENT") else self.name()
        if self.accept("COLLATE"):
            return st.AlterDatabase(name, collation=self._collation())
        if self.accept("MODIFY", "NAME", "="):
            return st.AlterDatabase(name, rename=self.name())
        if not self.accept("SET"):
            raise unsupported(f"ALTER DATABASE ... {self.token.text}", line)

        def option() -> tuple[str, str]:
            key = self.next().value
            if self.accept("="):
                return key, self.next().value
            if self.at_any("ON", "OFF"):
                value = self.next().value
                if self.at("("):
                    self._skip_parentheses()
                return key, value
            if self.at_name():
                return key, self.next().value
            return key, ""

        options = self.list_of(option)
        if self.accept("WITH") and not self.accept("NO_WAIT"):
            self.expect("ROLLBACK")
            if self.accept("AFTER"):
                self._integer()
            else:
                self.expect("IMMEDIATE")
        return st.AlterDatabase(name, options)

    def _scoped_configuration(self, line: int) -> st.Statement:
        if self.accept("CLEAR", "PROCEDURE_CACHE"):
            if self.token.kind == "binary":
                raise unsupported(
                    "ALTER DATABASE SCOPED CONFIGURATION CLEAR PROCEDURE_CACHE plan_handle", line
                )
            return st.AlterScopedConfiguration()
        if not self.accept("SET"):
            raise unsupported(f"ALTER DATABASE SCOPED CONFIGURATION {self.token.text}", line)
        option = self.next().value
        self.expect("=")
        return st.AlterScopedConfiguration(option, self.next().value)

    def _sequence(self, *, alter: bool) -> st.Statement:
        name = self.object_name()
        options: dict[str, int | bool | None] = {}
        data_type: SqlType | None = None
        while True:
            if not alter and self.accept("AS"):
                data_type = self.data_type()
            elif self.accept("START", "WITH") or self.accept("RESTART", "WITH"):
                options["start"] = self._integer()
            elif self.accept("RESTART"):
                options["start"] = None
            elif self.accept("INCREMENT", "BY"):
                options["increment"] = self._integer()
            elif self.at_any("MINVALUE", "MAXVALUE"):
                options[self.next().value.lower()] = self._integer()
            elif self.at("NO") and self.ahead().value in ("MINVALUE", "MAXVALUE", "CYCLE", "CACHE"):
                self.next()
                word = self.next().value
                options[word.lower()] = False if word == "CYCLE" else None
            elif self.accept("CYCLE"):
                options["cycle"] = True
            elif self.accept("CACHE"):
                if self.token.kind == "number":
                    self.next()
            else:
                return st.CreateSequence(name, data_type, options, alter)

    def _switch_trigger(self) -> st.Statement:
        enable = self.next().value == "ENABLE"
        self.expect("TRIGGER")
        names = () if self.accept("ALL") else self.list_of(self.object_name)
        self.expect("ON")
        return st.SwitchTrigger(self.object_name(), enable, names)

    # -- security --------------------------------------------------------------------------------------------

    def _create_login(self) -> st.Statement:
        name = self.name()
        self.expect("WITH", "PASSWORD", "=")
        token = self.next()
        if token.kind not in ("string", "nstring"):
            self.fail(token)
        while self.accept(","):
            self.next()
            self.expect("=")
            self.next()
        return st.CreateLogin(name, token.value)

    def _create_user(self) -> st.Statement:
        name = self.name()
        if self.accept("WITHOUT", "LOGIN"):
            return st.CreateUser(name, None)
        login = name
        if self.accept("FOR") or self.accept("FROM"):
            self.expect("LOGIN")
            login = self.name()
        return st.CreateUser(name, login)

    def _permission(self) -> st.Statement:
        action = self.next().value

        def permission() -> str:
            words = [self.next().value]
            while self.token.kind == "word" and not self.at_any("ON", "TO", "FROM"):
                words.append(self.next().value)
            if self.at("("):
                raise unsupported("permissions on columns", self.token.line)
            return " ".join(words)

        permissions = self.list_of(permission)
        securable: st.Name | None = None
        if self.accept("ON"):
            if self.at("OBJECT", "::") or self.at("SCHEMA", "::"):
                self.position += 2
            elif self.at("DATABASE", "::"):
                self.position += 3
            if not self.at_any("TO", "FROM"):
                securable = self.object_name()
        if not self.at_any("TO", "FROM"):
            self.fail()
        self.next()
        return st.Permission(action, permissions, securable, self.list_of(self.name_or_public))

    def name_or_public(self) -> str:
        """A principal's name; ``public`` is a reserved word."""
        return self.next().text if self.at("PUBLIC") else self.name()

    # -- administration --------------------------------------------------------------------------------------

    def _dbcc(self) -> st.Statement:
        self.expect("DBCC")
        command = self.next().value
        arguments: tuple[ast.Expression | str, ...] = ()
        if self.accept("("):
            if not self.at(")"):
                arguments = self.list_of(self._dbcc_argument)
            self.expect(")")
        options: tuple[str, ...] = ()
        if self.accept("WITH"):
            options = self.list_of(lambda: self.next().value)
        return st.Dbcc(command, arguments, options)

    def _dbcc_argument(self) -> ast.Expression | str:
        if self.at_name():
            return ".".join(self.object_name())
        return self.expression()

    def _update_statement(self) -> st.Statement:
        if self.ahead().value == "STATISTICS" and self.ahead().kind == "word":
            self.position += 2
            table = self.object_name()
            if self.at_name():
                self.name()
            elif self.at("("):
                self.name_list()
            if self.accept("WITH"):
                self.list_of(self._statistics_option)
            return st.UpdateStatistics(table)
        return self._data()

    def _statistics_option(self) -> None:
        self.next()
        if self.token.kind == "number":
            self.next()
            self.next()

    def _checkpoint(self) -> st.Statement:
        self.next()
        return st.Nothing()

    def _kill(self) -> st.Statement:
        self.expect("KILL")
        return st.Kill(self._integer())
