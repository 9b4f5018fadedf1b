"""Parses control of flow, variables, SET, EXECUTE and transactions."""

from __future__ import annotations

from collections.abc import Callable

from sqlserver_standin.engine import statements as st
from sqlserver_standin.engine.parse_tables import TableParser
from sqlserver_standin.errors import sql_error, unsupported
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.parse_queries import ASSIGNMENTS
from sqlserver_standin.tsql.types import with_default_length

_TRANSACTION_WORDS = ("TRAN", "TRANSACTION")
_ON_OFF_OPTIONS = frozenset(
    """NOCOUNT XACT_ABORT ANSI_NULLS ANSI_NULL_DFLT_ON ANSI_NULL_DFLT_OFF ANSI_PADDING ANSI_WARNINGS ANSI_DEFAULTS
    ARITHABORT ARITHIGNORE CONCAT_NULL_YIELDS_NULL QUOTED_IDENTIFIER NUMERIC_ROUNDABORT IMPLICIT_TRANSACTIONS
    CURSOR_CLOSE_ON_COMMIT FMTONLY NOEXEC PARSEONLY FORCEPLAN SHOWPLAN_XML SHOWPLAN_ALL SHOWPLAN_TEXT
    REMOTE_PROC_TRANSACTIONS NO_BROWSETABLE""".split()
)
_VALUE_OPTIONS = frozenset(
    """DATEFIRST DATEFORMAT LANGUAGE LOCK_TIMEOUT DEADLOCK_PRIORITY ROWCOUNT TEXTSIZE CONTEXT_INFO
    QUERY_GOVERNOR_COST_LIMIT""".split()
)


class FlowParser(TableParser):
    """Parses what a procedure's body is made of; any statement inside it is the subclass's work."""

    _loops = 0
    _declared: frozenset[str] = frozenset()

    def statement(self) -> st.Statement:
        """One statement; a semicolon behind it is taken too."""
        raise NotImplementedError

    def _spanned(self, parse: Callable[[], st.Statement]) -> st.Statement:
        first = self.token
        statement = parse()
        statement.line = first.line
        statement.text = self.sql[first.start : self.tokens[self.position - 1].end]
        return statement

    def _at_statement(self) -> bool:
        """A non-reserved word that begins a statement all the same."""
        return (
            self.at("THROW") or self.at("DISABLE", "TRIGGER") or self.at("ENABLE", "TRIGGER")
        ) and self.token.kind == "word"

    def _at_statement_word(self) -> bool:
        return super()._at_statement_word() or self._at_statement()

    def _data(self) -> st.Statement:
        line = self.token.line
        node = self.data_statement()
        execute = None
        if isinstance(node, ast.InsertStatement) and node.execute:
            execute = self._spanned(self._execute)
        return st.Data(node, execute, line=line)

    def _declare(self) -> st.Statement:
        self.expect("DECLARE")
        return st.Declare(self.list_of(self._declaration))

    def _declaration(self) -> st.Declaration:
        token = self.token
        if self.at_name() and self.ahead().value in ("CURSOR", "INSENSITIVE", "SCROLL"):
            raise unsupported("cursors", token.line)
        if token.kind != "variable":
            self.fail()
        self.next()
        if token.value in self._declared:
            raise sql_error(134, token.text, line=token.line)
        self._declared |= {token.value}
        self.accept("AS")
        if self.at("TABLE"):
            self.next()
            columns, constraints, indexes = self._table_elements()
            table = st.CreateTable((token.value,), columns, constraints, indexes, line=token.line)
            return st.Declaration(token.value, None, None, table)
        if self.at("CURSOR"):
            raise unsupported("cursor variables", token.line)
        data_type = with_default_length(self.data_type(), 1)
        value = self.expression() if self.accept("=") else None
        return st.Declaration(token.value, data_type, value)

    def _if(self) -> st.Statement:
        self.expect("IF")
        condition = self.condition()
        self._refuse_semicolon()
        then = self.statement()
        otherwise = None
        if self.accept("ELSE"):
            otherwise = self.statement()
        return st.If(condition, then, otherwise)

    def _refuse_semicolon(self) -> None:
        if self.at(";"):
            self.fail()

    def _while(self) -> st.Statement:
        self.expect("WHILE")
        condition = self.condition()
        self._loops += 1
        body = self.statement()
        self._loops -= 1
        return st.While(condition, body)

    def _break(self) -> st.Statement:
        token = self.next()
        if not self._loops:
            name = token.value
            raise sql_error(135 if name == "BREAK" else 136, line=token.line)
        return st.Break() if token.value == "BREAK" else st.Continue()

    def _return(self) -> st.Statement:
        self.expect("RETURN")
        token = self.token
        has_value = token.kind in (
            "number",
            "variable",
            "system",
            "string",
            "nstring",
            "float",
        ) or self.at_any("-", "(", "CASE", "NULL")
        return st.Return(self.expression() if has_value else None)

    def _begin(self) -> st.Statement:
        line = self.token.line
        if self.ahead().kind == "word" and self.ahead().value in _TRANSACTION_WORDS:
            self.position += 2
            name = self._transaction_name()
            if self.accept("WITH", "MARK"):
                raise unsupported("BEGIN TRANSACTION ... WITH MARK", line)
            return st.BeginTransaction(name)
        if self.at("BEGIN", "DISTRIBUTED"):
            raise unsupported("distributed transactions", line)
        self.expect("BEGIN")
        if self.accept("TRY"):
            body = self._statements_until("TRY")
            self.accept(";")
            self.expect("BEGIN", "CATCH")
            handler = self._statements_until("CATCH", may_be_empty=True)
            return st.TryCatch(body, handler)
        if self.at("ATOMIC"):
            raise unsupported("natively compiled modules", line)
        return self._statements_until()

    def _statements_until(self, *end: str, may_be_empty: bool = False) -> st.Block:
        """Up to END [TRY | CATCH]."""
        line = self.token.line
        found: list[st.Statement] = []
        while not self.at("END"):
            if self.token.kind == "end":
                self.fail()
            if self.accept(";"):
                continue
            found.append(self.statement())
        if not found and not may_be_empty:
            self.fail()
        self.expect("END", *end)
        return st.Block(tuple(found), line=line)

    def _throw(self) -> st.Statement:
        self.expect("THROW")
        if (self.token.kind in ("end", "op") and not self.at("-")) or self.at("END"):
            return st.Throw(())
        number = self.expression()
        self.expect(",")
        message = self.expression()
        self.expect(",")
        return st.Throw((number, message, self.expression()))

    def _raiserror(self) -> st.Statement:
        self.expect("RAISERROR", "(")
        arguments = self.list_of(self.expression)
        self.expect(")")
        if len(arguments) < 3:
            self.fail(self.tokens[self.position - 1])
        options: tuple[str, ...] = ()
        if self.accept("WITH"):
            options = self.list_of(lambda: self.next().value)
        return st.RaisError(arguments[0], arguments[1], arguments[2], arguments[3:], options)

    def _print(self) -> st.Statement:
        self.expect("PRINT")
        return st.Print(self.expression())

    def _waitfor(self) -> st.Statement:
        self.expect("WAITFOR")
        if not self.at_any("DELAY", "TIME"):
            raise unsupported("WAITFOR without DELAY or TIME", self.token.line)
        return st.WaitFor(self.next().value, self.expression())

    def _use(self) -> st.Statement:
        self.expect("USE")
        return st.Use(self.name())

    # -- SET -------------------------------------------------------------------------------------------------

    def _set(self) -> st.Statement:
        self.expect("SET")
        token = self.token
        if token.kind == "variable":
            self.next()
            if self.token.kind != "op" or self.token.value not in ASSIGNMENTS:
                self.fail()
            operator = self.next().value
            return st.SetVariable(token.value, operator, self.expression())
        if self.accept("TRANSACTION", "ISOLATION", "LEVEL"):
            return st.SetOption("TRANSACTION ISOLATION LEVEL", self._isolation_level())
        if self.accept("IDENTITY_INSERT"):
            table = self.object_name()
            return st.SetIdentityInsert(table, self._on_off() == "ON")
        if self.accept("STATISTICS"):
            kinds = self.list_of(lambda: self.next().value)
            for kind in kinds:
                if kind not in ("XML", "IO", "TIME", "PROFILE"):
                    self.fail(token)
            value = self._on_off()
            return st.SetOption("STATISTICS " + " ".join(kinds), value)
        if token.kind == "word" and token.value in _ON_OFF_OPTIONS:
            options = self.list_of(lambda: self.next().value)
            return st.SetOption(" ".join(options), self._on_off())
        if token.kind == "word" and token.value in _VALUE_OPTIONS:
            self.next()
            return self._set_value(token.value)
        if token.kind == "word" and self.ahead().kind in ("word", "number"):
            raise sql_error(195, token.text, "SET option", line=token.line)
        self.fail()

    def _set_value(self, option: str) -> st.Statement:
        if option in (
            "CONTEXT_INFO",
            "ROWCOUNT",
            "LANGUAGE",
            "DATEFORMAT",
            "DATEFIRST",
            "LOCK_TIMEOUT",
            "TEXTSIZE",
        ):
            if self.at_name() and option in ("LANGUAGE", "DATEFORMAT"):
                return st.SetOption(option, self.name())
            return st.SetOption(option, "", self.expression())
        if self.token.kind == "op" and self.accept("-"):
            return st.SetOption(option, "-" + self.next().text)
        return st.SetOption(option, self.next().value)

    def _on_off(self) -> str:
        if not self.at_any("ON", "OFF"):
            self.fail()
        return self.next().value

    def _isolation_level(self) -> str:
        for level in ("READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SNAPSHOT", "SERIALIZABLE"):
            if self.accept(*level.split()):
                return level
        self.fail()

    # -- EXECUTE ---------------------------------------------------------------------------------------------

    def _call_without_exec(self) -> st.Statement:
        return st.Execute(self.object_name(), self._call_arguments())

    def _execute(self) -> st.Statement:
        self.next()
        token = self.token
        if self.at("("):
            parts = self.in_parentheses(lambda: self.list_of(self._string_part))
            if self.accept("AS"):
                raise unsupported("EXECUTE ... AS", token.line)
            return st.ExecuteString(tuple(part for group in parts for part in group))
        if self.at("AS"):
            raise unsupported("EXECUTE AS", token.line)
        status = None
        if token.kind == "variable" and self.ahead().value == "=":
            status = token.value
            self.position += 2
        if self.token.kind == "variable":
            variable = self.next().value
            return st.Execute((), self._call_arguments(), status, variable)
        procedure = self.object_name()
        arguments = self._call_arguments()
        if self.accept("WITH"):
            if self.accept("RECOMPILE"):
                return st.Execute(procedure, arguments, status)
            raise unsupported("EXECUTE ... WITH RESULT SETS", token.line)
        return st.Execute(procedure, arguments, status)

    def _string_part(self) -> tuple[ast.Expression, ...]:
        return (self.expression(),)

    def _call_arguments(self) -> tuple[st.Argument, ...]:
        if self.token.kind in ("end",) or self.at(";"):
            return ()
        if self.token.kind == "word" and not self.at_any("DEFAULT", "NULL") and not self.at_name():
            return ()
        if self.token.kind == "op" and not self.at("-"):
            return ()
        if self._at_statement():
            return ()
        return self.list_of(self._call_argument)

    def _call_argument(self) -> st.Argument:
        token = self.token
        name = None
        if token.kind == "variable" and self.ahead().value == "=":
            name = token.value
            self.position += 2
        if self.accept("DEFAULT"):
            return st.Argument(name, None)
        token = self.token
        value: ast.Expression
        if token.kind in (
            "variable",
            "system",
            "string",
            "nstring",
            "number",
            "float",
            "binary",
            "money",
        ) or self.at("NULL"):
            value = self._primary()
        elif self.at("-"):
            value = self._unary()
        elif self.at_name():
            # A bare word is a string here: EXEC sp_help users.
            value = ast.Constant("nstring", self.name())
        else:
            self.fail()
        output = self.accept("OUTPUT") or self.accept("OUT")
        return st.Argument(name, value, output)

    # -- transactions ----------------------------------------------------------------------------------------

    def _transaction_name(self) -> str | None:
        if self.token.kind == "variable":
            return self.next().value
        if self.at_name() and not self._at_statement():
            return self.name()
        return None

    def _commit(self) -> st.Statement:
        self.expect("COMMIT")
        if self.accept("WORK"):
            return st.CommitTransaction()
        if self.at_any(*_TRANSACTION_WORDS):
            self.next()
            name = self._transaction_name()
            if self.accept("WITH", "("):
                self.expect("DELAYED_DURABILITY", "=")
                self._on_off()
                self.expect(")")
            return st.CommitTransaction(name)
        return st.CommitTransaction()

    def _rollback(self) -> st.Statement:
        self.expect("ROLLBACK")
        if self.accept("WORK"):
            return st.RollbackTransaction()
        if self.at_any(*_TRANSACTION_WORDS):
            self.next()
            return st.RollbackTransaction(self._transaction_name())
        return st.RollbackTransaction()

    def _save(self) -> st.Statement:
        self.expect("SAVE")
        if not self.at_any(*_TRANSACTION_WORDS):
            self.fail()
        self.next()
        name = self._transaction_name()
        if name is None:
            self.fail()
        return st.SaveTransaction(name)
