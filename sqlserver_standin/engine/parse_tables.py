"""Parses what tables consist of: columns, constraints and indexes, in CREATE TABLE and ALTER TABLE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sqlserver_standin.engine import statements as st
from sqlserver_standin.errors import unsupported
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.parse import Parser
from sqlserver_standin.tsql.parse_expressions import COMPARISONS
from sqlserver_standin.tsql.types import with_default_length

_TABLE_CONSTRAINT_WORDS = ("CONSTRAINT", "PRIMARY", "UNIQUE", "FOREIGN", "CHECK")
# Options of WITH (...) on indexes and tables that change how data is stored and not what is answered.
_STORAGE_OPTIONS = frozenset(
    """PAD_INDEX FILLFACTOR SORT_IN_TEMPDB IGNORE_DUP_KEY STATISTICS_NORECOMPUTE STATISTICS_INCREMENTAL DROP_EXISTING
    ONLINE RESUMABLE MAX_DURATION ALLOW_ROW_LOCKS ALLOW_PAGE_LOCKS OPTIMIZE_FOR_SEQUENTIAL_KEY MAXDOP
    DATA_COMPRESSION XML_COMPRESSION""".split()
)


class TableParser(Parser):
    """Parses the elements of tables."""

    def _captured(self, parse: Callable[[], ast.Node]) -> st.Source:
        """A parsed node with its source text."""
        first = self.token
        node = parse()
        return st.Source(node, self.sql[first.start : self.tokens[self.position - 1].end])

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
        where = self._captured(self._filter) if self.accept("WHERE") else None
        self._storage_clauses()
        return st.IndexDefinition(name, columns, unique, clustered, (), where)

    def _filter(self) -> ast.Condition:
        """What the WHERE of an index may hold: conjunctions of simple comparisons of columns.

        https://learn.microsoft.com/sql/t-sql/statements/create-index-transact-sql#where-filter_predicate
        """
        operands = [self._filter_term()]
        while self.accept("AND"):
            operands.append(self._filter_term())
        return operands[0] if len(operands) == 1 else ast.Logical("AND", tuple(operands))

    def _filter_term(self) -> ast.Condition:
        if self.at("("):
            return self.in_parentheses(self._filter)
        if not self.at_name():
            self.fail()
        column = ast.ColumnName(self.object_name())
        if self.accept("IS"):
            negated = self.accept("NOT")
            self.expect("NULL")
            return ast.IsNull(column, negated)
        if self.accept("IN"):
            if self.ahead().value == "SELECT":
                self.fail(self.ahead())
            items = self.in_parentheses(lambda: self.list_of(self.expression))
            return ast.InList(column, items, negated=False)
        if self.token.kind != "op" or self.token.value not in COMPARISONS:
            self.fail()
        return ast.Comparison(COMPARISONS[self.next().value], column, self.expression())

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
        where = self._captured(self._filter) if self.accept("WHERE") else None
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

    def _dropped_index(self) -> tuple[str, st.Name]:
        parts = self.object_name()
        if self.accept("ON"):
            table = self.object_name()
            self._storage_clauses()
            return parts[0], table
        return parts[-1], parts[:-1]
