"""A batch's text to its statements. The whole batch is parsed before any of it runs, as SQL Server does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from sqlserver_standin.engine import statements as st
from sqlserver_standin.errors import sql_error, unsupported
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.parse import Parser
from sqlserver_standin.tsql.types import with_default_length
from sqlserver_standin.types import SqlType

_TRANSACTION_WORDS = ("TRAN", "TRANSACTION")
_TABLE_CONSTRAINT_WORDS = ("CONSTRAINT", "PRIMARY", "UNIQUE", "FOREIGN", "CHECK")
# Options of WITH (...) on indexes and tables that change how data is stored and not what is answered.
_STORAGE_OPTIONS = frozenset(
    """PAD_INDEX FILLFACTOR SORT_IN_TEMPDB IGNORE_DUP_KEY STATISTICS_NORECOMPUTE STATISTICS_INCREMENTAL DROP_EXISTING
    ONLINE RESUMABLE MAX_DURATION ALLOW_ROW_LOCKS ALLOW_PAGE_LOCKS OPTIMIZE_FOR_SEQUENTIAL_KEY MAXDOP
    DATA_COMPRESSION XML_COMPRESSION""".split()
)
_MODULE_KINDS = ("VIEW", "PROCEDURE", "PROC", "TRIGGER", "FUNCTION")
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


@lru_cache(maxsize=1024)
def parse_batch(sql: str) -> tuple[st.Statement, ...]:
    """The statements of a batch; raises its first syntax error."""
    return BatchParser(sql).batch()


class BatchParser(Parser):
    """Adds to the query parser the statements that the engine runs itself."""

    _loops = 0

    def batch(self) -> tuple[st.Statement, ...]:
        """All statements up to the end of the text."""
        result: list[st.Statement] = []
        while self.token.kind != "end":
            if self.accept(";"):
                continue
            # EXEC may be left out before a procedure's name at the start of a batch.
            if not result and self.at_name() and not self._at_statement():
                result.append(self._spanned(self._call_without_exec))
            else:
                result.append(self.statement())
        return tuple(result)

    def _spanned(self, parse: Callable[[], st.Statement]) -> st.Statement:
        first = self.token
        statement = parse()
        statement.line = first.line
        statement.text = self.sql[first.start : self.tokens[self.position - 1].end]
        return statement

    def statement(self) -> st.Statement:
        """One statement; a semicolon behind it is taken too."""
        statement = self._spanned(self._statement)
        self.accept(";")
        return statement

    def _at_statement(self) -> bool:
        """A non-reserved word that begins a statement all the same."""
        return (
            self.at("THROW") or self.at("DISABLE", "TRIGGER") or self.at("ENABLE", "TRIGGER")
        ) and self.token.kind == "word"

    def _at_statement_word(self) -> bool:
        return super()._at_statement_word() or self._at_statement()

    def _statement(self) -> st.Statement:
        token = self.token
        if token.kind == "word":
            parse = _STATEMENTS.get(token.value)
            if parse is not None:
                return parse(self)
        if token.kind in ("word", "op") and self.at_data_statement():
            return self._data()
        if token.kind == "word" and self.ahead().value == ":" and self.at_name():
            raise unsupported("labels and GOTO", token.line)
        self.fail()

    # -- control of flow -------------------------------------------------------------------------------------

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

    def _set(self) -> st.Statement:
        self.expect("SET")
        token = self.token
        if token.kind == "variable":
            self.next()
            if self.token.kind != "op" or self.token.value not in (
                "=",
                "+=",
                "-=",
                "*=",
                "/=",
                "%=",
                "&=",
                "|=",
                "^=",
            ):
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

    # -- data definition -------------------------------------------------------------------------------------

    def _captured(self, parse: Callable[[], ast.Node]) -> st.Source:
        """A parsed node with its source text."""
        first = self.token
        node = parse()
        return st.Source(node, self.sql[first.start : self.tokens[self.position - 1].end])

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

    def _table_elements(
        self,
    ) -> tuple[tuple[st.ColumnDefinition, ...], tuple[st.Constraint, ...], tuple[st.IndexDefinition, ...]]:
        if self.token.kind == "word" and self.token.value == "TABLE":
            self.next()
        self.expect("(")
        columns: list[st.ColumnDefinition] = []
        constraints: list[st.Constraint] = []
        indexes: list[st.IndexDefinition] = []
        while True:
            if self.at_any(*_TABLE_CONSTRAINT_WORDS):
                constraints.append(self._constraint(None))
            elif self.at("INDEX"):
                indexes.append(self._inline_index())
            else:
                columns.append(self._column_definition())
            # A trailing comma is allowed: CREATE TABLE t (a int,)
            if not self.accept(",") or self.at(")"):
                break
        self.expect(")")
        return tuple(columns), tuple(constraints), tuple(indexes)

    def _inline_index(self) -> st.IndexDefinition:
        self.expect("INDEX")
        name = self.name()
        unique = self.accept("UNIQUE")
        clustered = self.accept("CLUSTERED")
        if not clustered:
            self.accept("NONCLUSTERED")
        columns = self._key_columns()
        where = self._captured(self.condition) if self.accept("WHERE") else None
        self._storage_clauses()
        return st.IndexDefinition(name, columns, unique, clustered, (), where)

    def _column_definition(self) -> st.ColumnDefinition:
        token = self.token
        column = st.ColumnDefinition(self.name(), None, line=token.line)
        if self.accept("AS"):
            column.computed = self._captured(self.expression)
            if self.accept("PERSISTED"):
                column.persisted = True
                if self.accept("NOT", "NULL"):
                    column.nullable = False
        else:
            column.type = with_default_length(self.data_type(), 1)
        constraints: list[st.Constraint] = []
        while True:
            if self.accept("NOT", "NULL"):
                column.nullable = False
            elif self.accept("NULL"):
                column.nullable = True
            elif self.accept("COLLATE"):
                if column.type is not None:
                    column.type = replace(column.type, collation=self._collation())
            elif self.accept("IDENTITY"):
                column.identity = self._identity()
                if self.accept("NOT", "FOR", "REPLICATION"):
                    pass
            elif self.at_any("CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "DEFAULT", "REFERENCES", "FOREIGN"):
                constraints.append(self._constraint(column.name))
            elif self.at_any("ROWGUIDCOL", "SPARSE"):
                self.next()
            elif self.at("INDEX") or self.at("MASKED") or self.at("ENCRYPTED") or self.at("GENERATED"):
                raise unsupported(f"{self.token.text} in a column's definition", self.token.line)
            else:
                break
        column.constraints = tuple(constraints)
        return column

    def _collation(self) -> str | None:
        """A collation's name; None for the database's own."""
        name = self.name()
        return None if name.upper() == "DATABASE_DEFAULT" else name

    def _identity(self) -> tuple[int, int]:
        if not self.accept("("):
            return (1, 1)
        seed = self._integer()
        self.expect(",")
        increment = self._integer()
        self.expect(")")
        return (seed, increment)

    def _integer(self) -> int:
        sign = -1 if self.accept("-") else 1
        self.accept("+")
        if self.token.kind != "number" or "." in self.token.text:
            self.fail()
        return sign * int(self.next().text)

    def _constraint(self, column: str | None) -> st.Constraint:
        line = self.token.line
        name = self.name() if self.accept("CONSTRAINT") else None
        if self.at_any("PRIMARY", "UNIQUE"):
            kind = "UNIQUE"
            if self.next().value == "PRIMARY":
                self.expect("KEY")
                kind = "PRIMARY KEY"
            clustered: bool | None = None
            if self.at_any("CLUSTERED", "NONCLUSTERED"):
                clustered = self.next().value == "CLUSTERED"
            columns = self._key_columns() if self.at("(") or column is None else ((column, False),)
            self._storage_clauses()
            return st.Constraint(kind, name, columns, clustered, line=line)
        if self.at_any("FOREIGN", "REFERENCES"):
            names: tuple[str, ...] = ()
            if self.accept("FOREIGN", "KEY") and self.at("("):
                names = self.name_list()
            if not names and column is not None:
                names = (column,)
            return self._references(name, names, line)
        if self.accept("CHECK"):
            self.accept("NOT", "FOR", "REPLICATION")
            source = self.in_parentheses(lambda: self._captured(self.condition))
            return st.Constraint("CHECK", name, source=source, line=line)
        if self.accept("DEFAULT"):
            source = self._captured(self._default_value)
            for_column = column
            if column is None:
                self.expect("FOR")
                for_column = self.name()
            with_values = self.accept("WITH", "VALUES")
            return st.Constraint(
                "DEFAULT", name, source=source, for_column=for_column, with_values=with_values, line=line
            )
        self.fail()

    def _default_value(self) -> ast.Node:
        # Not a whole expression: the NOT of NOT NULL or another constraint may follow.
        return self._unary() if self.token.kind == "op" else self.expression()

    def _references(self, name: str | None, columns: tuple[str, ...], line: int) -> st.Constraint:
        self.expect("REFERENCES")
        table = self.object_name()
        referenced = self.name_list() if self.at("(") else ()
        actions = {"DELETE": "NO ACTION", "UPDATE": "NO ACTION"}
        while self.at("ON", "DELETE") or self.at("ON", "UPDATE"):
            self.next()
            event = self.next().value
            for action in ("NO ACTION", "CASCADE", "SET NULL", "SET DEFAULT"):
                if self.accept(*action.split()):
                    actions[event] = action
                    break
            else:
                self.fail()
        self.accept("NOT", "FOR", "REPLICATION")
        return st.Constraint(
            "FOREIGN KEY",
            name,
            tuple((column, False) for column in columns),
            reference=table,
            reference_columns=referenced,
            on_delete=actions["DELETE"],
            on_update=actions["UPDATE"],
            line=line,
        )

    def _key_columns(self) -> tuple[tuple[str, bool], ...]:
        return self.in_parentheses(lambda: self.list_of(self._key_column))

    def _key_column(self) -> tuple[str, bool]:
        name = self.name()
        descending = self.accept("DESC")
        if not descending:
            self.accept("ASC")
        return name, descending

    def _storage_clauses(self) -> bool:
        """WITH (...) and ON filegroup: about storage, so there is nothing to do. True: DROP_EXISTING = ON."""
        drop_existing = False
        while True:
            if self.at("WITH", "("):
                self.position += 2
                while not self.accept(")"):
                    option = self.next()
                    if option.value not in _STORAGE_OPTIONS:
                        raise unsupported(f"the option {option.text}", option.line)
                    if self.accept("="):
                        value = self.next()
                        drop_existing |= option.value == "DROP_EXISTING" and value.value == "ON"
                        if option.value == "IGNORE_DUP_KEY" and value.value == "ON":
                            raise unsupported("IGNORE_DUP_KEY", option.line)
                    self.accept(",")
            elif (
                self.at("ON") and (self.ahead().text.strip('[]"').upper() in ("PRIMARY", "DEFAULT"))
            ) or self.at("TEXTIMAGE_ON"):
                self.position += 2
            else:
                return drop_existing

    def _create_index(self) -> st.Statement:
        unique = self.accept("UNIQUE")
        clustered = self.accept("CLUSTERED")
        if not clustered:
            self.accept("NONCLUSTERED")
        if self.at("COLUMNSTORE"):
            raise unsupported("columnstore indexes", self.token.line)
        self.expect("INDEX")
        name = self.name()
        self.expect("ON")
        table = self.object_name()
        columns = self._key_columns()
        include = self.name_list() if self.accept("INCLUDE") else ()
        where = self._captured(self.condition) if self.accept("WHERE") else None
        drop_existing = self._storage_clauses()
        definition = st.IndexDefinition(name, columns, unique, clustered, include, where)
        return st.CreateIndex(table, definition, drop_existing)

    def _alter_table(self) -> st.Statement:
        line = self.token.line
        table = self.object_name()
        check_existing: bool | None = None
        if self.at("WITH") and self.ahead().value in ("CHECK", "NOCHECK"):
            self.next()
            check_existing = self.next().value == "CHECK"
        if self.at_any("CHECK", "NOCHECK"):
            enable = self.next().value == "CHECK"
            self.expect("CONSTRAINT")
            names = () if self.accept("ALL") else self.list_of(self.name)
            return st.AlterTableCheck(table, enable, bool(check_existing), names)
        if self.accept("ADD"):
            columns: list[st.ColumnDefinition] = []
            constraints: list[st.Constraint] = []
            while True:
                if self.at_any(*_TABLE_CONSTRAINT_WORDS) or self.at("DEFAULT"):
                    constraints.append(self._constraint(None))
                else:
                    columns.append(self._column_definition())
                if not self.accept(","):
                    break
            return st.AlterTableAdd(table, tuple(columns), tuple(constraints), check_existing)
        if self.accept("DROP"):
            return st.AlterTableDrop(table, self._dropped())
        if self.accept("ALTER", "COLUMN"):
            column = self.name()
            if self.at_any("ADD", "DROP"):
                raise unsupported("ALTER COLUMN ... ADD or DROP", line)
            data_type = with_default_length(self.data_type(), 1)
            if self.accept("COLLATE"):
                data_type = replace(data_type, collation=self._collation())
            nullable: bool | None = None
            if self.accept("NOT", "NULL"):
                nullable = False
            elif self.accept("NULL"):
                nullable = True
            return st.AlterColumn(table, column, data_type, nullable)
        if self.at_any("ENABLE", "DISABLE") and self.ahead().value == "TRIGGER":
            enable = self.next().value == "ENABLE"
            self.next()
            triggers = () if self.accept("ALL") else self.list_of(self.object_name)
            return st.SwitchTrigger(table, enable, triggers)
        raise unsupported(f"ALTER TABLE ... {self.token.text.upper()}", line)

    def _dropped(self) -> tuple[tuple[str, str, bool], ...]:
        items: list[tuple[str, str, bool]] = []
        kind = "CONSTRAINT"
        if_exists = False
        while True:
            if self.at_any("COLUMN", "CONSTRAINT"):
                kind = self.next().value
                if_exists = self.accept("IF", "EXISTS")
            elif not items and self.accept("IF", "EXISTS"):
                if_exists = True
            items.append((kind, self.name(), if_exists))
            if not self.accept(","):
                return tuple(items)

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

    def _dropped_index(self) -> tuple[str, st.Name]:
        parts = self.object_name()
        if self.accept("ON"):
            table = self.object_name()
            self._storage_clauses()
            return parts[0], table
        return parts[-1], parts[:-1]

    def _truncate(self) -> st.Statement:
        self.expect("TRUNCATE", "TABLE")
        return st.TruncateTable(self.object_name())

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
            parameters = self.list_of(self._procedure_parameter)
        if parenthesised:
            self.expect(")")
        if self.accept("WITH"):
            self.list_of(lambda: self.next())
        self.expect("AS")
        return st.CreateProcedure(name, parameters, self._body(), mode)

    def _procedure_parameter(self) -> st.ProcedureParameter:
        token = self.next()
        if token.kind != "variable":
            self.fail(token)
        self.accept("AS")
        data_type = with_default_length(self.data_type(), 1)
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
        name = None if self.accept("CURRENT") else self.name()
        if self.accept("COLLATE"):
            return st.AlterDatabase(name, collation=self._collation())
        if self.accept("MODIFY", "NAME", "="):
            return st.AlterDatabase(name, rename=self.name())
        if self.at("SCOPED") or not self.accept("SET"):
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

    def _switch_trigger(self) -> st.Statement:
        enable = self.next().value == "ENABLE"
        self.expect("TRIGGER")
        names = () if self.accept("ALL") else self.list_of(self.object_name)
        self.expect("ON")
        return st.SwitchTrigger(self.object_name(), enable, names)

    def _refused(self) -> st.Statement:
        token = self.next()
        raise unsupported(_REFUSED_STATEMENTS[token.value], token.line)

    def _kill(self) -> st.Statement:
        self.expect("KILL")
        return st.Kill(self._integer())


_REFUSED_STATEMENTS = {
    "OPEN": "cursors",
    "FETCH": "cursors",
    "CLOSE": "cursors",
    "DEALLOCATE": "cursors",
    "BACKUP": "BACKUP",
    "RESTORE": "RESTORE",
    "BULK": "BULK INSERT",
    "REVERT": "REVERT",
    "GOTO": "labels and GOTO",
    "SHUTDOWN": "SHUTDOWN",
}

_STATEMENTS: dict[str, Callable[[BatchParser], st.Statement]] = {
    **dict.fromkeys(_REFUSED_STATEMENTS, BatchParser._refused),
    "ALTER": BatchParser._alter,
    "BEGIN": BatchParser._begin,
    "BREAK": BatchParser._break,
    "CHECKPOINT": BatchParser._checkpoint,
    "RECONFIGURE": BatchParser._checkpoint,
    "COMMIT": BatchParser._commit,
    "CONTINUE": BatchParser._break,
    "CREATE": BatchParser._create,
    "DBCC": BatchParser._dbcc,
    "DECLARE": BatchParser._declare,
    "DENY": BatchParser._permission,
    "DISABLE": BatchParser._switch_trigger,
    "DROP": BatchParser._drop,
    "ENABLE": BatchParser._switch_trigger,
    "EXEC": BatchParser._execute,
    "EXECUTE": BatchParser._execute,
    "GRANT": BatchParser._permission,
    "IF": BatchParser._if,
    "KILL": BatchParser._kill,
    "PRINT": BatchParser._print,
    "RAISERROR": BatchParser._raiserror,
    "RETURN": BatchParser._return,
    "REVOKE": BatchParser._permission,
    "ROLLBACK": BatchParser._rollback,
    "SAVE": BatchParser._save,
    "SET": BatchParser._set,
    "THROW": BatchParser._throw,
    "TRUNCATE": BatchParser._truncate,
    "UPDATE": BatchParser._update_statement,
    "USE": BatchParser._use,
    "WAITFOR": BatchParser._waitfor,
    "WHILE": BatchParser._while,
}
