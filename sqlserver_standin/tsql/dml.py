"""INSERT, UPDATE, DELETE and MERGE, with OUTPUT."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sqlserver_standin.engine.catalog import Table, TableColumn
from sqlserver_standin.events import SqlError
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.conversions import assign
from sqlserver_standin.tsql.expressions import descendants
from sqlserver_standin.tsql.outputs import Output
from sqlserver_standin.tsql.parse_tokens import unsupported
from sqlserver_standin.tsql.queries import QueryTranslator
from sqlserver_standin.tsql.row_locks import lock_clause
from sqlserver_standin.tsql.scope import Relation, Scope, table_relation
from sqlserver_standin.tsql.table_functions import Columns, table_function
from sqlserver_standin.tsql.values import Value, identifier, string
from sqlserver_standin.types import SqlType

_KEY_RANGE_LOCKS = frozenset(("HOLDLOCK", "SERIALIZABLE"))
_RETURNING = "RETURNING WITH (OLD AS deleted, NEW AS inserted) "


@dataclass(slots=True)
class Modified:
    """A data change as PostgreSQL text; ``outputs`` are the columns of its result set."""

    sql: str
    table: Table
    outputs: list[Output]
    counts_rows: bool = False
    """The only row of the result is the number of rows changed."""


@dataclass(frozen=True, slots=True)
class _TargetRows:
    """What UPDATE and DELETE put after the target: other sources, and the condition."""

    table: Table
    alias: str
    sources: str
    where: str


def _leaves(source: ast.Source) -> Iterator[ast.Source]:
    if isinstance(source, ast.Join):
        yield from _leaves(source.left)
        yield from _leaves(source.right)
    else:
        yield source


def _inner_joined(source: ast.Source) -> tuple[list[ast.Source], list[ast.Condition]]:
    """The sources that inner and cross joins connect, and the conditions of those joins."""
    if not isinstance(source, ast.Join) or source.kind not in ("INNER", "CROSS"):
        return [source], []
    left, left_conditions = _inner_joined(source.left)
    right, right_conditions = _inner_joined(source.right)
    own = [source.condition] if source.condition is not None else []
    return [*left, *right], [*left_conditions, *right_conditions, *own]


def _replaced(source: ast.Source, old: ast.Source, new: ast.Source) -> ast.Source:
    """``source`` with ``new`` in the place of ``old``."""
    if source is old:
        return new
    if isinstance(source, ast.Join):
        return replace(source, left=_replaced(source.left, old, new), right=_replaced(source.right, old, new))
    return source


class DataTranslator(QueryTranslator):
    """Translates the statements that change data."""

    def table_function(self, node: ast.FunctionTable) -> tuple[str, str, Columns]:
        return table_function(self, node)

    # -- INSERT ----------------------------------------------------------------------------------------------

    def insert(self, statement: ast.InsertStatement) -> Modified:
        table = self.find_table(statement.target.name)
        columns = self._insert_columns(table, statement.columns)
        identity = [column for column in columns if column.identity]
        overriding = self._check_identity(table, statement, identity)
        for source in descendants(statement):
            # INSERT … WHERE NOT EXISTS (SELECT … WITH (UPDLOCK, HOLDLOCK))
            if isinstance(source, ast.TableSource) and _KEY_RANGE_LOCKS & set(source.hints):
                self._lock_keys(self.find_table(source.name))
        prefix = self.common_tables(statement.common)
        names = ", ".join(column.pg_name for column in columns)
        head = f"INSERT INTO {table.pg_name} AS {identifier(table.name)}"
        if statement.default_values:
            body = " DEFAULT VALUES"
        elif statement.query is not None:
            body = f" ({names}){overriding} {self._insert_query(table, columns, statement)}"
        else:
            body = f" ({names}){overriding} VALUES {self._insert_rows(table, columns, statement)}"
        if statement.top is not None:
            raise unsupported("INSERT TOP")
        self.scope = Scope()
        return self._with_outputs(prefix, head + body, table, statement.outputs, "insert")

    def _lock_keys(self, table: Table) -> None:
        """SQL Server locks the range of a key that is not there, so that two upserts of one key wait for each other."""
        lock = f"SELECT pg_advisory_xact_lock({table.object_id or _stable_hash(table.pg_name)})"
        if lock not in self.before:
            self.before.append(lock)

    def _insert_columns(self, table: Table, names: Sequence[str]) -> list[TableColumn]:
        if not names:
            return [
                column
                for column in table.columns
                if not column.computed
                and (not column.identity or self.context.identity_insert == table.pg_name)
            ]
        columns: list[TableColumn] = []
        for name in names:
            column = table.column(name)
            if column is None:
                raise SqlError(207, f"Invalid column name '{name}'.")
            if column in columns:
                raise _specified_twice(column.name)
            self._check_writable(column)
            columns.append(column)
        return columns

    @staticmethod
    def _check_writable(column: TableColumn) -> None:
        if column.computed:
            raise SqlError(
                271,
                f'The column "{column.name}" cannot be modified because it is either a computed column or is the '
                "result of a UNION operator.",
            )

    @staticmethod
    def _check_versions(columns: Sequence[TableColumn]) -> None:
        """The columns of type rowversion take nothing but DEFAULT."""
        if any(column.type.name == "timestamp" for column in columns):
            raise SqlError(
                273,
                "Cannot insert an explicit value into a timestamp column. Use INSERT with a column list to exclude "
                "the timestamp column, or insert a DEFAULT into the timestamp column.",
            )

    def _check_identity(
        self, table: Table, statement: ast.InsertStatement, identity: list[TableColumn]
    ) -> str:
        inserting = self.context.identity_insert == table.pg_name
        if identity and not inserting:
            raise SqlError(
                544,
                f"Cannot insert explicit value for identity column in table '{table.name}' when IDENTITY_INSERT is "
                "set to OFF.",
            )
        if inserting and any(column.identity for column in table.columns):
            if not identity:
                raise SqlError(
                    545,
                    f"Explicit value must be specified for identity column in table '{table.name}' either when "
                    "IDENTITY_INSERT is set to ON or when a replication user is inserting into a NOT FOR "
                    "REPLICATION identity column.",
                )
            if not statement.columns:
                raise _identity_without_columns(table)
        return " OVERRIDING SYSTEM VALUE" if identity else ""

    def _insert_rows(self, table: Table, columns: list[TableColumn], statement: ast.InsertStatement) -> str:
        rows = []
        for row in statement.rows:
            if len(row) != len(columns):
                if not statement.columns:
                    raise _wrong_number(table, len(row) - len(columns))
                more_columns = len(columns) > len(row)
                raise SqlError(
                    109 if more_columns else 110,
                    f"There are {'more' if more_columns else 'fewer'} columns in the INSERT statement than values "
                    "specified in the VALUES clause. The number of values in the VALUES clause must match the "
                    "number of columns specified in the INSERT statement.",
                    severity=15,
                )
            with self.inside("values"):
                rows.append(
                    "("
                    + ", ".join(
                        self._assigned(table, column, node) for column, node in zip(columns, row, strict=True)
                    )
                    + ")"
                )
        return ", ".join(rows)

    def _assigned(self, table: Table, column: TableColumn, node: ast.Expression) -> str:
        value = self.value(node)
        if value.default:
            return "DEFAULT"
        self._check_versions([column])
        return assign(value, column.type, self.qualified(table), column.name)

    def qualified(self, table: Table) -> str:
        """``database.schema.table`` as error 2628 names it."""
        return f"{self.context.database}.{table.schema}.{table.name}"

    def _insert_query(self, table: Table, columns: list[TableColumn], statement: ast.InsertStatement) -> str:
        query = statement.query
        assert query is not None
        translated = self.query(query)
        if len(translated.columns) != len(columns):
            if not statement.columns:
                raise _wrong_number(table, len(translated.columns) - len(columns))
            fewer = len(translated.columns) < len(columns)
            raise SqlError(
                120 if fewer else 121,
                f"The select list for the INSERT statement contains {'fewer' if fewer else 'more'} items than the "
                "insert list. The number of SELECT values must match the number of INSERT columns.",
                severity=15,
            )
        self._check_versions(columns)
        names = [f"c{position}" for position in range(len(columns))]
        converted = [
            assign(
                Value(f"q.{name}", output.value.type, output.value.nullable, null=output.value.null),
                column.type,
                self.qualified(table),
                column.name,
            )
            for name, output, column in zip(names, translated.columns, columns, strict=True)
        ]
        if converted == [f"q.{name}" for name in names]:
            return translated.sql
        return f"SELECT {', '.join(converted)} FROM ({translated.sql}) AS q({', '.join(names)})"

    # -- UPDATE ----------------------------------------------------------------------------------------------

    def update(self, statement: ast.UpdateStatement) -> Modified:
        prefix = self.common_tables(statement.common)
        rows = self._target_rows(statement)
        sets = self._assignments(rows.table, statement.assignments)
        from_sql = f" FROM {rows.sources}" if rows.sources else ""
        sql = f"UPDATE {rows.table.pg_name} AS {rows.alias} SET {sets}{from_sql}{rows.where}"
        return self._with_outputs(prefix, sql, rows.table, statement.outputs, "update")

    def _where(self, conditions: Sequence[ast.Condition]) -> str:
        if not conditions:
            return ""
        with self.inside("where"):
            return " WHERE " + " AND ".join(self.condition(condition) for condition in conditions)

    def _target_rows(self, statement: ast.UpdateStatement | ast.DeleteStatement) -> _TargetRows:
        """The rows to change: PostgreSQL joins the target itself to the other sources where it can."""
        conditions = [statement.where] if statement.where is not None else []
        named = self._target_in(statement.target, statement.source)
        table = self.find_table(named.name)
        for source in (named, statement.target):
            self.check_indexes(source, table)
        leaves, joined = _inner_joined(statement.source or named)
        waiting = {"READPAST", "NOWAIT"} & {*named.hints, *statement.target.hints}
        apart = statement.source is not None and named is statement.target
        if apart and (statement.top is not None or waiting):
            raise unsupported("TOP, READPAST or NOWAIT where the target does not stand in the FROM clause")
        if not apart and (statement.top is not None or waiting or not any(leaf is named for leaf in leaves)):
            return self._found_rows(table, named, statement)
        alias = self.pg_alias(named.alias or table.name)
        self.scope = Scope(None, [table_relation(table, named.alias, alias)])
        sources = [self.source(leaf) for leaf in leaves if leaf is not named]
        return _TargetRows(table, alias, " CROSS JOIN ".join(sources), self._where([*joined, *conditions]))

    def _assignments(self, table: Table, assignments: Sequence[ast.Assignment]) -> str:
        parts: list[str] = []
        seen: set[str] = set()
        versions = [
            f"{column.pg_name} = DEFAULT" for column in table.columns if column.type.name == "timestamp"
        ]
        for assignment in assignments:
            if assignment.variable is not None or assignment.column is None:
                raise unsupported("UPDATE … SET @variable = …")
            name = assignment.column[-1]
            column = table.column(name)
            if column is None:
                raise SqlError(207, f"Invalid column name '{name}'.")
            if column.name in seen:
                raise _specified_twice(column.name)
            seen.add(column.name)
            if column.identity:
                raise SqlError(8102, f"Cannot update identity column '{column.name}'.")
            if column.type.name == "timestamp":
                raise SqlError(272, "Cannot update a timestamp column.")
            self._check_writable(column)
            with self.inside("set"):
                value = self.value(assignment.value)
                if assignment.operator != "=":
                    value = self.operate(
                        assignment.operator[:-1], self.column(ast.ColumnName(assignment.column)), value
                    )
            sql = (
                "DEFAULT" if value.default else assign(value, column.type, self.qualified(table), column.name)
            )
            parts.append(f"{column.pg_name} = {sql}")
        return ", ".join([*parts, *versions])

    def _found_rows(
        self, table: Table, named: ast.TableSource, statement: ast.UpdateStatement | ast.DeleteStatement
    ) -> _TargetRows:
        """The rows are found, limited and locked in a subquery, to which the target is joined by row identity.

        The subquery carries every column that SET and OUTPUT may name.
        """
        named_with_hints = replace(named, hints=(*named.hints, *statement.target.hints))
        source = _replaced(statement.source or named, named, named_with_hints)
        self.scope = Scope()
        from_sql = self.source(self._with_row_locks(source, named_with_hints))
        relations = self.scope.relations
        where_sql = self._where([statement.where] if statement.where is not None else [])
        limit = ""
        if statement.top is not None:
            if statement.top.percent:
                raise unsupported("TOP … PERCENT in a data change")
            limit = f" LIMIT {self._row_count(statement.top.count)}"
        inner_alias = self._relation_of(named).pg_alias
        listed, outer = [f"{inner_alias}.ctid AS row_id"], []
        for relation in relations:
            columns = []
            for column in relation.columns:
                name = f"c{len(listed)}"
                listed.append(f"{column.sql} AS {name}")
                columns.append(replace(column, sql=f"found.{name}"))
            outer.append(
                Relation(relation.name, tuple(columns), relation.schema, relation.table, relation.alias_given)
            )
        lock = lock_clause(self.state.locks) or f" FOR UPDATE OF {inner_alias}"
        sql = f"(SELECT {', '.join(listed)} FROM {from_sql}{where_sql}{limit}{lock}) AS found"
        alias = self.pg_alias(f"{table.name}_target")
        self.scope = Scope(None, outer)
        return _TargetRows(table, alias, sql, f" WHERE {alias}.ctid = found.row_id")

    @staticmethod
    def _with_row_locks(source: ast.Source, target: ast.TableSource) -> ast.Source:
        """The source with an update lock on the target, as any data change takes."""
        if "UPDLOCK" in target.hints:
            return source
        return _replaced(source, target, replace(target, hints=(*target.hints, "UPDLOCK")))

    def _target_in(self, target: ast.TableSource, source: ast.Source | None) -> ast.TableSource:
        """The table source in FROM that the target's name means: by its alias, or by its own name."""
        if source is None:
            return target
        candidates = [each for each in _leaves(source) if isinstance(each, ast.TableSource)]
        name = target.name[-1].lower()
        if len(target.name) == 1:
            for candidate in candidates:
                if candidate.alias is not None and candidate.alias.lower() == name:
                    return candidate
        matches = [candidate for candidate in candidates if candidate.name[-1].lower() == name]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise SqlError(8154, f"The table '{target.name[-1]}' is ambiguous.")
        return target

    def _relation_of(self, source: ast.TableSource) -> Relation:
        name = (source.alias or source.name[-1]).lower()
        return next(relation for relation in self.scope.relations if relation.name.lower() == name)

    # -- DELETE ----------------------------------------------------------------------------------------------

    def delete(self, statement: ast.DeleteStatement) -> Modified:
        prefix = self.common_tables(statement.common)
        rows = self._target_rows(statement)
        using = f" USING {rows.sources}" if rows.sources else ""
        sql = f"DELETE FROM {rows.table.pg_name} AS {rows.alias}{using}{rows.where}"
        return self._with_outputs(prefix, sql, rows.table, statement.outputs, "delete")

    # -- MERGE -----------------------------------------------------------------------------------------------

    def merge(self, statement: ast.MergeStatement) -> Modified:
        if statement.top is not None:
            raise unsupported("MERGE TOP")
        prefix = self.common_tables(statement.common)
        table = self.find_table(statement.target.name)
        if _KEY_RANGE_LOCKS & set(statement.target.hints):
            self._lock_keys(table)
        alias = self.pg_alias(statement.target.alias or table.name)
        self.scope = Scope()
        self.scope.add(table_relation(table, statement.target.alias, alias))
        source_sql = self.source(statement.source)
        target, source = Scope(None, self.scope.relations[:1]), Scope(None, self.scope.relations[1:])
        both = self.scope
        with self.inside("on"):
            condition = self.condition(statement.condition)
        parts = [f"MERGE INTO {table.pg_name} AS {alias} USING {source_sql} ON {condition}"]
        for action in statement.actions:
            self.scope = {"matched": both, "not matched": source}.get(action.match, target)
            parts.append(self._merge_action(table, action))
        self.scope = source
        return self._with_outputs(prefix, " ".join(parts), table, statement.outputs, "merge")

    def _merge_action(self, table: Table, action: ast.MergeAction) -> str:
        when = {
            "matched": "WHEN MATCHED",
            "not matched": "WHEN NOT MATCHED",
            "not matched by source": "WHEN NOT MATCHED BY SOURCE",
        }[action.match]
        if action.condition is not None:
            with self.inside("where"):
                when += f" AND {self.condition(action.condition)}"
        if action.action == "delete":
            return f"{when} THEN DELETE"
        if action.action == "update":
            return f"{when} THEN UPDATE SET {self._assignments(table, action.assignments)}"
        if not action.values:
            return f"{when} THEN INSERT DEFAULT VALUES"
        columns = self._insert_columns(table, action.columns)
        insert = ast.InsertStatement(
            ast.TableSource((table.name,)), columns=action.columns, rows=(action.values,)
        )
        overriding = self._check_identity(table, insert, [column for column in columns if column.identity])
        names = ", ".join(column.pg_name for column in columns)
        return f"{when} THEN INSERT ({names}){overriding} VALUES {self._insert_rows(table, columns, insert)}"

    # -- OUTPUT ----------------------------------------------------------------------------------------------

    def _with_outputs(
        self, prefix: str, sql: str, table: Table, outputs: Sequence[ast.Output], event: str
    ) -> Modified:
        if not outputs:
            return Modified(prefix + sql, table, [])
        to_client = [output for output in outputs if output.into is None]
        into = [output for output in outputs if output.into is not None]
        if to_client and (table.triggers if event == "merge" else event in table.triggers):
            raise SqlError(
                334,
                f"The target table '{table.name}' of the DML statement cannot have any enabled triggers if the "
                "statement contains an OUTPUT clause without INTO clause.",
            )
        lists = [self._output_list(output, table, event) for output in outputs]
        if not into:
            listed = ", ".join(_aliased(output) for output in lists[0])
            return Modified(f"{prefix}{sql} {_RETURNING}{listed}", table, lists[0])
        return self._output_into(prefix, sql, table, outputs, lists)

    def _output_list(self, output: ast.Output, table: Table, event: str) -> list[Output]:
        inserted = table_relation(table, "inserted", "inserted", nullable=event == "merge")
        deleted = table_relation(table, "deleted", "deleted", nullable=event == "merge")
        around = self.scope
        tables = {"insert": [inserted], "delete": [deleted]}.get(event, [inserted, deleted])
        extra = around.relations if event == "merge" else [r for r in around.relations if event != "insert"]
        extra = [
            relation
            for relation in extra
            if relation.columns and relation.columns[0].sql.startswith(("found.", '"'))
        ]
        self.scope = Scope(None, [*tables, *extra])
        try:
            listed: list[Output] = []
            with self.inside("output"):
                for item in output.items:
                    expression = item.expression
                    if isinstance(expression, ast.Star):
                        listed.extend(self._output_star(expression, tables, extra))
                    elif (
                        event == "merge"
                        and isinstance(expression, ast.ColumnName)
                        and (expression.parts == ("$action",))
                    ):
                        listed.append(Output(item.alias or "$action", self._merge_action_value()))
                    else:
                        if isinstance(expression, ast.ColumnName) and len(expression.parts) == 1:
                            self._output_needs_prefix(expression)
                        listed.append(Output(self._name_of(item), self.value(expression)))
            return listed
        finally:
            self.scope = around

    @staticmethod
    def _output_needs_prefix(node: ast.ColumnName) -> None:
        raise SqlError(207, f"Invalid column name '{node.parts[0]}'.")

    @staticmethod
    def _merge_action_value() -> Value:
        return string("merge_action()", SqlType("nvarchar", length=10))

    def _output_star(self, star: ast.Star, tables: list[Relation], extra: list[Relation]) -> list[Output]:
        if not star.parts:
            raise SqlError(102, "Incorrect syntax near '*'.", severity=15)
        found = [relation for relation in (*tables, *extra) if relation.answers_to(star.parts)]
        if not found:
            raise SqlError(
                107,
                f"The column prefix '{'.'.join(star.parts)}' does not match with a table name or alias name used in "
                "the query.",
                severity=15,
            )
        return [Output(column.name, column.value()) for column in found[0].columns]

    def _output_into(
        self,
        prefix: str,
        sql: str,
        table: Table,
        outputs: Sequence[ast.Output],
        lists: list[list[Output]],
    ) -> Modified:
        """OUTPUT … INTO: the change in a common table, whose rows then go into the target."""
        names: list[str] = []
        returning: list[str] = []
        inserts: list[str] = []
        client: list[Output] = []
        for number, (output, listed) in enumerate(zip(outputs, lists, strict=True)):
            columns = [f"o{number}_{position}" for position in range(len(listed))]
            names.extend(columns)
            returning.extend(
                f"{item.value.sql} AS {name}" for item, name in zip(listed, columns, strict=True)
            )
            if output.into is None:
                client = [
                    Output(item.name, replace_sql(item.value, f"changed.{name}"))
                    for item, name in zip(listed, columns, strict=True)
                ]
                continue
            target = self.find_table(output.into)
            targets = self._insert_columns(target, output.into_columns)
            if len(targets) != len(listed):
                raise SqlError(
                    213, "Column name or number of supplied values does not match table definition."
                )
            self._check_versions(targets)
            values = ", ".join(
                assign(
                    replace_sql(item.value, f"changed.{name}"),
                    column.type,
                    self.qualified(target),
                    column.name,
                )
                for item, name, column in zip(listed, columns, targets, strict=True)
            )
            inserts.append(
                f"stored AS (INSERT INTO {target.pg_name} ({', '.join(c.pg_name for c in targets)}) "
                f"SELECT {values} FROM changed)"
            )
        head = prefix.rstrip() + ", " if prefix else "WITH "
        sql = f"{head}changed AS ({sql} {_RETURNING}{', '.join(returning)}), {', '.join(inserts)} "
        if client:
            listed_sql = ", ".join(_aliased(output) for output in client)
            return Modified(f"{sql}SELECT {listed_sql} FROM changed", table, client)
        return Modified(f"{sql}SELECT count(*) FROM changed", table, [], counts_rows=True)


def replace_sql(value: Value, sql: str) -> Value:
    """A reference to ``value`` under another name."""
    return Value(sql, value.type, value.nullable)


def _aliased(output: Output) -> str:
    return f"{output.value.sql} AS {identifier(output.name)}" if output.name else output.value.sql


def _identity_without_columns(table: Table) -> SqlError:
    return SqlError(
        8101,
        f"An explicit value for the identity column in table '{table.name}' can only be specified when a column list "
        "is used and IDENTITY_INSERT is ON.",
    )


def _wrong_number(table: Table, too_many: int) -> SqlError:
    """INSERT without a list of columns; one value too many is taken for the identity column's."""
    if too_many == 1 and any(column.identity for column in table.columns):
        return _identity_without_columns(table)
    return SqlError(213, "Column name or number of supplied values does not match table definition.")


def _specified_twice(name: str) -> SqlError:
    return SqlError(
        264,
        f"The column name '{name}' is specified more than once in the SET clause or column list of an INSERT. A "
        "column cannot be assigned more than one value in the same clause. Modify the clause to make sure that a "
        "column is updated only once. If this statement updates or inserts columns into a view, column aliasing can "
        "conceal the duplication in your code.",
        severity=15,
    )


def _stable_hash(text: str) -> int:
    result = 0
    for character in text:
        result = (result * 31 + ord(character)) & 0x7FFFFFFF
    return result
