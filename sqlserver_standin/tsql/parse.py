"""A strict parser of T-SQL queries and data statements; what T-SQL does not have is error 102 or 156.

A general parser such as sqlglot's accepts what SQL Server refuses (LIMIT, ILIKE, ``::``), rewrites functions while it
parses (ISNULL becomes COALESCE) and can't tell where a statement without a semicolon ends; all three matter here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from sqlserver_standin.events import SqlError
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.lexer import Token, tokenize
from sqlserver_standin.types import MAX, SqlType

T = TypeVar("T")

# https://learn.microsoft.com/sql/t-sql/language-elements/reserved-keywords-transact-sql
RESERVED = frozenset(
    """ADD ALL ALTER AND ANY AS ASC AUTHORIZATION BACKUP BEGIN BETWEEN BREAK BROWSE BULK BY CASCADE CASE CHECK
    CHECKPOINT CLOSE CLUSTERED COALESCE COLLATE COLUMN COMMIT COMPUTE CONSTRAINT CONTAINS CONTAINSTABLE CONTINUE
    CONVERT CREATE CROSS CURRENT CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP CURRENT_USER CURSOR DATABASE DBCC
    DEALLOCATE DECLARE DEFAULT DELETE DENY DESC DISTINCT DISTRIBUTED DOUBLE DROP ELSE END ERRLVL ESCAPE
    EXCEPT EXEC EXECUTE EXISTS EXIT EXTERNAL FETCH FILE FILLFACTOR FOR FOREIGN FREETEXT FREETEXTTABLE FROM FULL
    FUNCTION GOTO GRANT GROUP HAVING HOLDLOCK IDENTITY IDENTITY_INSERT IDENTITYCOL IF IN INDEX INNER INSERT
    INTERSECT INTO IS JOIN KEY KILL LEFT LIKE LINENO MERGE NATIONAL NOCHECK NONCLUSTERED NOT NULL NULLIF OF OFF
    OFFSETS ON OPEN OPENDATASOURCE OPENQUERY OPENROWSET OPENXML OPTION OR ORDER OUTER OVER PERCENT PIVOT PLAN
    PRIMARY PRINT PROC PROCEDURE PUBLIC RAISERROR READ READTEXT RECONFIGURE REFERENCES REPLICATION RESTORE
    RESTRICT RETURN REVERT REVOKE RIGHT ROLLBACK ROWCOUNT ROWGUIDCOL RULE SAVE SCHEMA SELECT
    SESSION_USER SET SETUSER SHUTDOWN SOME STATISTICS SYSTEM_USER TABLE TABLESAMPLE TEXTSIZE THEN TO TOP TRAN
    TRANSACTION TRIGGER TRUNCATE TRY_CONVERT TSEQUAL UNION UNIQUE UNPIVOT UPDATE UPDATETEXT USE USER VALUES VARYING
    VIEW WAITFOR WHEN WHERE WHILE WITH WRITETEXT""".split()
)
# Reserved words that are functions all the same; those of the second line take no parentheses.
_RESERVED_FUNCTIONS = frozenset("COALESCE LEFT RIGHT NULLIF IDENTITY".split())
_NILADIC = frozenset("CURRENT_TIMESTAMP CURRENT_USER SESSION_USER SYSTEM_USER USER".split())
_XML_METHODS = frozenset(("value", "query", "exist", "nodes", "modify"))
_COMPARISONS = {
    "=": "=",
    "<>": "<>",
    "!=": "<>",
    "<": "<",
    ">": ">",
    "<=": "<=",
    ">=": ">=",
    "!<": ">=",
    "!>": "<=",
}
_ASSIGNMENTS = frozenset(("=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^="))
# https://learn.microsoft.com/sql/t-sql/queries/hints-transact-sql-table
_TABLE_HINTS = frozenset(
    """NOLOCK READUNCOMMITTED READCOMMITTED READCOMMITTEDLOCK REPEATABLEREAD SERIALIZABLE HOLDLOCK UPDLOCK XLOCK
    ROWLOCK PAGLOCK TABLOCK TABLOCKX READPAST NOWAIT NOEXPAND FORCESEEK FORCESCAN SNAPSHOT KEEPIDENTITY KEEPDEFAULTS
    IGNORE_CONSTRAINTS IGNORE_TRIGGERS""".split()
)
# https://learn.microsoft.com/sql/t-sql/queries/hints-transact-sql-query
_QUERY_HINTS = frozenset(
    """RECOMPILE MAXDOP HASH MERGE LOOP ORDER CONCAT FORCE FAST MAXRECURSION OPTIMIZE LABEL USE KEEPFIXED KEEP ROBUST
    EXPAND QUERYTRACEON PARAMETERIZATION MIN_GRANT_PERCENT MAX_GRANT_PERCENT NO_PERFORMANCE_SPOOL DISABLE TABLE
    IGNORE_NONCLUSTERED_COLUMNSTORE_INDEX""".split()
)
_TYPE_SYNONYMS = {
    "integer": "int",
    "dec": "decimal",
    "character": "char",
    "charvarying": "varchar",
    "rowversion": "timestamp",
    "double": "float",
}
_SYSTEM_TYPES = frozenset(
    """bigint int smallint tinyint bit decimal numeric money smallmoney float real date datetime datetime2
    smalldatetime datetimeoffset time char varchar text nchar nvarchar ntext binary varbinary image timestamp
    uniqueidentifier xml sql_variant json sysname hierarchyid geometry geography""".split()
)
_SIZED = frozenset(("char", "varchar", "nchar", "nvarchar", "binary", "varbinary"))


class Parser:
    """A recursive-descent parser over ``tokens``; ``position`` is the next one. The batch parser extends it."""

    def __init__(self, sql: str, tokens: Sequence[Token] | None = None, position: int = 0) -> None:
        self.sql = sql
        self.tokens = tokenize(sql) if tokens is None else tokens
        self.position = position

    # -- tokens ----------------------------------------------------------------------------------------------

    @property
    def token(self) -> Token:
        return self.tokens[self.position]

    def ahead(self, distance: int = 1) -> Token:
        return self.tokens[min(self.position + distance, len(self.tokens) - 1)]

    def at(self, *words: str) -> bool:
        """The next tokens are these words or operators."""
        for distance, word in enumerate(words):
            token = self.ahead(distance)
            if token.value != word or token.kind not in ("word", "op"):
                return False
        return True

    def at_any(self, *words: str) -> bool:
        return self.token.kind in ("word", "op") and self.token.value in words

    def accept(self, *words: str) -> bool:
        """Take these words, all or none."""
        if self.at(*words):
            self.position += len(words)
            return True
        return False

    def expect(self, *words: str) -> None:
        for word in words:
            if not self.at(word):
                self.fail()
            self.position += 1

    def next(self) -> Token:
        token = self.token
        self.position += 1
        return token

    def fail(self, token: Token | None = None) -> NoReturn:
        """Raise SQL Server's syntax error for ``token`` (the next one by default)."""
        token = token or self.token
        if token.kind == "end" and self.position > 0:
            token = self.tokens[len(self.tokens) - 2]
        if token.kind == "word" and token.value in RESERVED:
            raise SqlError(
                156, f"Incorrect syntax near the keyword '{token.text}'.", severity=15, line=token.line
            )
        text = token.value if token.kind in ("quoted", "string", "nstring") else token.text
        raise SqlError(102, f"Incorrect syntax near '{text}'.", severity=15, line=token.line)

    def list_of(self, item: Callable[[], T]) -> tuple[T, ...]:
        """One or more items between commas."""
        items = [item()]
        while self.accept(","):
            items.append(item())
        return tuple(items)

    def in_parentheses(self, item: Callable[[], T]) -> T:
        self.expect("(")
        result = item()
        self.expect(")")
        return result

    # -- names and types -------------------------------------------------------------------------------------

    def at_name(self) -> bool:
        token = self.token
        return token.kind == "quoted" or (token.kind == "word" and token.value not in RESERVED)

    def name(self) -> str:
        if not self.at_name():
            self.fail()
        token = self.next()
        name = token.value if token.kind == "quoted" else token.text
        if len(name) > 128:
            raise SqlError(
                103,
                f"The identifier that starts with '{name[:128]}' is too long. Maximum length is 128.",
                severity=15,
                line=token.line,
            )
        if not name:
            raise SqlError(
                1038,
                "An object or column name is missing or empty. For SELECT INTO statements, verify each column "
                'has a name. For other statements, look for empty alias names. Aliases defined as "" or [] are '
                "not allowed. Change the alias to a valid name.",
                severity=15,
                line=token.line,
            )
        return name

    def object_name(self) -> tuple[str, ...]:
        """``[[server.]database.][schema.]name``; an omitted schema (``db..t``) is ''."""
        parts = [self.name()]
        while self.accept("."):
            if self.at("."):
                parts.append("")
            else:
                parts.append(self._name_after_dot())
        if len(parts) > 4:
            raise SqlError(
                117,
                f"The object name '{'.'.join(parts)}' contains more than the maximum number of prefixes. "
                "The maximum is 3.",
                severity=15,
                line=self.token.line,
            )
        return tuple(parts)

    def _name_after_dot(self) -> str:
        return self.name()

    def name_list(self) -> tuple[str, ...]:
        return self.in_parentheses(lambda: self.list_of(self.name))

    def data_type(self) -> SqlType:
        """A data type; ``length`` stays None where none is written."""
        token = self.token
        parts = [self.name() if not self.at_any("DOUBLE", "NATIONAL") else self.next().text]
        while self.accept("."):
            parts.append(self.name())
        name = parts[-1].lower()
        if name == "national":
            name = "n" + self.next().text.lower().replace("character", "char")
            if self.accept("VARYING"):
                name = "nvarchar"
        elif name in ("char", "character", "binary") and self.accept("VARYING"):
            name = "varbinary" if name == "binary" else "varchar"
        elif name == "double":
            self.expect("PRECISION")
            return SqlType("float", precision=53)
        name = _TYPE_SYNONYMS.get(name, name)
        if name not in _SYSTEM_TYPES or (len(parts) > 1 and parts[0].lower() != "sys"):
            raise SqlError(243, f"Type {'.'.join(parts)} is not a defined system type.", line=token.line)
        sizes = self._type_sizes()
        if name == "sysname":
            return SqlType("nvarchar", length=128)
        if name in _SIZED:
            return SqlType(name, length=self._checked_length(name, sizes[0], token) if sizes else None)
        if name in ("decimal", "numeric"):
            precision, scale = (*sizes, 18, 0)[:2] if not sizes else (sizes[0], (*sizes, 0)[1])
            self._check_decimal(precision, scale, token)
            return SqlType(name, precision=precision, scale=scale)
        if name in ("datetime2", "time", "datetimeoffset"):
            scale = sizes[0] if sizes else 7
            if not 0 <= scale <= 7:
                raise SqlError(1002, f"Line {token.line}: Specified scale {scale} is invalid.", severity=15)
            return SqlType(name, scale=scale)
        if name == "float":
            bits = sizes[0] if sizes else 53
            return SqlType("real", precision=24) if bits <= 24 else SqlType("float", precision=53)
        if sizes:
            raise SqlError(
                2716,
                f"Column, parameter, or variable #1: Cannot specify a column width on data type {name}.",
                line=token.line,
            )
        return SqlType(name)

    def _type_sizes(self) -> tuple[int, ...]:
        if not self.at("("):
            return ()

        def size() -> int:
            if self.accept("MAX"):
                return MAX
            if self.token.kind != "number" or "." in self.token.text:
                self.fail()
            return int(self.next().text)

        return self.in_parentheses(lambda: self.list_of(size))

    @staticmethod
    def _checked_length(name: str, length: int, token: Token) -> int:
        most = 4000 if name in ("nchar", "nvarchar") else 8000
        if length > most:
            raise SqlError(
                131,
                f"The size ({length}) given to the type '{name}' exceeds the maximum allowed for any data type "
                f"({most}).",
                severity=15,
                line=token.line,
            )
        if length == 0:
            raise SqlError(
                1001, f"Line {token.line}: Length or precision specification 0 is invalid.", severity=15
            )
        if length == MAX and name in ("char", "nchar", "binary"):
            raise SqlError(102, "Incorrect syntax near 'max'.", severity=15, line=token.line)
        return length

    @staticmethod
    def _check_decimal(precision: int, scale: int, token: Token) -> None:
        if not 1 <= precision <= 38:
            raise SqlError(
                2750 if precision > 38 else 1001,
                f"Column or parameter #1: Specified column precision {precision} is greater than the maximum "
                "precision of 38."
                if precision > 38
                else f"Line {token.line}: Length or precision specification 0 is invalid.",
                line=token.line,
            )
        if scale > precision:
            raise SqlError(
                192, "The scale must be less than or equal to the precision.", severity=15, line=token.line
            )

    # -- expressions -----------------------------------------------------------------------------------------

    def expression(self) -> ast.Expression:
        """A scalar expression (+ - & ^ | level)."""
        return self._additive(self._multiplicative(self._unary()))

    def _additive(self, left: ast.Expression) -> ast.Expression:
        while self.token.kind == "op" and self.token.value in ("+", "-", "&", "|", "^", "<<", ">>"):
            operator = self.next().value
            left = ast.Binary(operator, left, self._multiplicative(self._unary()))
        return left

    def _multiplicative(self, left: ast.Expression) -> ast.Expression:
        while self.token.kind == "op" and self.token.value in ("*", "/", "%"):
            operator = self.next().value
            left = ast.Binary(operator, left, self._unary())
        return left

    def _unary(self) -> ast.Expression:
        if self.token.kind == "op" and self.token.value in ("-", "+", "~"):
            operator = self.next().value
            return ast.Unary(operator, self._unary())
        return self._postfix(self._primary())

    def _postfix(self, operand: ast.Expression) -> ast.Expression:
        while True:
            if self.at("COLLATE"):
                self.next()
                operand = ast.Collate(operand, self.name())
            elif self.at("AT", "TIME", "ZONE"):
                self.position += 3
                operand = ast.AtTimeZone(operand, self._postfix_zone())
            elif self.at(".") and self.ahead().text in _XML_METHODS and self.ahead(2).value == "(":
                self.next()
                operand = ast.Method(operand, self.next().text, self._arguments())
            else:
                return operand

    def _postfix_zone(self) -> ast.Expression:
        return self._primary()

    def _arguments(self) -> tuple[ast.Expression, ...]:
        self.expect("(")
        arguments = () if self.at(")") else self.list_of(self.expression)
        self.expect(")")
        return arguments

    def _primary(self) -> ast.Expression:
        token = self.token
        match token.kind:
            case "number":
                self.next()
                kind = "decimal" if "." in token.text or len(token.text.lstrip("0")) > 10 else "integer"
                if kind == "integer" and int(token.text) > 2147483647:
                    kind = "decimal"
                return ast.Constant(kind, token.text)
            case "float" | "money" | "string" | "nstring" | "binary":
                self.next()
                return ast.Constant(token.kind, token.value)
            case "variable":
                self.next()
                return ast.Variable(token.value)
            case "system":
                self.next()
                return ast.SystemVariable(token.value)
            case "op" if token.value == "(":
                return self._parenthesised()
            case "op" if token.value == "{":
                return self._odbc_escape()
            case "word":
                return self._word_expression(token)
            case "quoted":
                return self._named()
        self.fail()

    def _odbc_escape(self) -> ast.Expression:
        """``{fn f()}``, ``{d '…'}``, ``{t '…'}``, ``{ts '…'}``, ``{guid '…'}``."""
        self.expect("{")
        kind = self.next().value
        if kind == "FN":
            result = self.expression()
        elif kind in ("D", "T", "TS", "GUID") and self.token.kind == "string":
            types = {
                "D": SqlType("datetime"),
                "T": SqlType("datetime"),
                "TS": SqlType("datetime"),
                "GUID": SqlType("uniqueidentifier"),
            }
            result = ast.Cast("CAST", ast.Constant("string", self.next().value), types[kind])
        else:
            self.fail()
        self.expect("}")
        return result

    def _parenthesised(self) -> ast.Expression:
        self.expect("(")
        if self._at_query():
            query = self.query()
            self.expect(")")
            return ast.Subquery(query)
        inner = self.expression()
        self.expect(")")
        return inner

    def _at_query(self) -> bool:
        """A query stands here, perhaps in parentheses of its own."""
        distance = 0
        while self.ahead(distance).value == "(" and self.ahead(distance).kind == "op":
            distance += 1
        token = self.ahead(distance)
        if token.kind != "word" or token.value != "SELECT":
            return False
        if distance == 0:
            return True
        # `((SELECT 1) + 1)` is an expression, `((SELECT 1) UNION SELECT 2)` a query.
        depth, index = 0, self.position
        while True:
            token = self.tokens[index]
            if token.kind == "end":
                return False
            if token.kind == "op" and token.value == "(":
                depth += 1
            elif token.kind == "op" and token.value == ")":
                depth -= 1
                if depth == 0:
                    following = self.tokens[index + 1]
                    return following.kind == "word" and following.value in ("UNION", "EXCEPT", "INTERSECT")
            index += 1

    def _word_expression(self, token: Token) -> ast.Expression:
        word = token.value
        if word == "NULL":
            self.next()
            return ast.Constant("null")
        if word == "DEFAULT":
            self.fail()
        if word == "CASE":
            return self._case()
        if word in ("CAST", "TRY_CAST") and self.ahead().value == "(":
            return self._cast()
        if word in ("PARSE", "TRY_PARSE") and self.ahead().value == "(":
            raise unsupported(f"function {word}", token.line)
        if word in ("CONVERT", "TRY_CONVERT"):
            return self._convert()
        if word in _NILADIC:
            self.next()
            return ast.Call(word, spelling=token.text)
        if word == "NEXT" and self.at("NEXT", "VALUE", "FOR"):
            self.position += 3
            return ast.NextValue(self.object_name())
        if word in _RESERVED_FUNCTIONS and self.ahead().value == "(":
            self.next()
            return self._call((token.text,))
        if word in RESERVED and not (word == "UPDATE" and self.ahead().value == "("):
            self.fail()
        return self._named()

    def _named(self) -> ast.Expression:
        """A column, a function call, or an xml method on a column."""
        if self.token.value == "$ACTION" and self.token.kind == "word":
            self.next()
            return ast.ColumnName(("$action",))
        parts = [self.name()]
        while self.at("."):
            following = self.ahead()
            if following.text in _XML_METHODS and self.ahead(2).value == "(" and following.kind == "word":
                return ast.ColumnName(tuple(parts))
            if following.value == "*":
                break
            self.next()
            parts.append("" if self.at(".") else self.name())
        if self.at("("):
            return self._call(tuple(parts))
        if len(parts) > 1 and not parts[-2]:
            raise SqlError(
                1039,
                "The column name is not valid. No table name was specified.",
                severity=15,
                line=self.token.line,
            )
        if len(parts) == 1 and self.at("::"):
            self.fail()
        return ast.ColumnName(tuple(parts))

    def _case(self) -> ast.Expression:
        self.expect("CASE")
        operand = None if self.at("WHEN") else self.expression()
        branches: list[tuple[ast.Node, ast.Expression]] = []
        while self.accept("WHEN"):
            when: ast.Node = self.condition() if operand is None else self.expression()
            self.expect("THEN")
            branches.append((when, self.expression()))
        if not branches:
            self.fail()
        otherwise = self.expression() if self.accept("ELSE") else None
        self.expect("END")
        return ast.Case(operand, tuple(branches), otherwise)

    def _cast(self) -> ast.Expression:
        function = self.next().value
        self.expect("(")
        operand = self.expression()
        self.expect("AS")
        data_type = self.data_type()
        self.expect(")")
        return ast.Cast(function, operand, data_type)

    def _convert(self) -> ast.Expression:
        function = self.next().value
        self.expect("(")
        data_type = self.data_type()
        self.expect(",")
        operand = self.expression()
        style = self.expression() if self.accept(",") else None
        self.expect(")")
        return ast.Cast(function, operand, data_type, style)

    def _call(self, parts: tuple[str, ...]) -> ast.Expression:
        spelling = parts[-1]
        name = spelling.upper()
        schema = parts[:-1]
        self.expect("(")
        if name == "IIF" and not schema:
            condition = self.condition()
            self.expect(",")
            when_true = self.expression()
            self.expect(",")
            when_false = self.expression()
            self.expect(")")
            return ast.ConditionalValue(condition, when_true, when_false)
        distinct = False
        options: tuple[str, ...] = ()
        arguments: tuple[ast.Node, ...]
        if self.at("*") and name in ("COUNT", "COUNT_BIG", "CHECKSUM", "BINARY_CHECKSUM"):
            self.next()
            arguments = (ast.Star(),)
        elif name == "TRIM":
            arguments, options = self._trim_arguments()
        elif name in ("JSON_OBJECT", "JSON_OBJECTAGG"):
            arguments = () if self.at_any(")", "NULL", "ABSENT") else self.list_of(self._key_value)
            options = self._null_option()
        elif name in ("JSON_ARRAY", "JSON_ARRAYAGG"):
            empty = self.at(")") or self.at("NULL", "ON") or self.at("ABSENT", "ON")
            arguments = () if empty else self.list_of(self.expression)
            options = self._null_option()
        elif self.at(")"):
            arguments = ()
        else:
            if self.accept("DISTINCT"):
                distinct = True
            elif self.at("ALL"):
                self.next()
            arguments = self.list_of(self._argument)
        self.expect(")")
        if self.at_any("IGNORE", "RESPECT") and self.ahead().value == "NULLS":
            options = (self.next().value + " NULLS",)
            self.next()
        within: tuple[ast.OrderItem, ...] = ()
        if self.accept("WITHIN", "GROUP"):
            self.expect("(", "ORDER", "BY")
            within = self.list_of(self._order_item)
            self.expect(")")
        over = self._over() if self.accept("OVER") else None
        return ast.Call(name, arguments, schema, distinct, over, within, options, spelling)

    def _argument(self) -> ast.Node:
        return self.expression()

    def _trim_arguments(self) -> tuple[tuple[ast.Node, ...], tuple[str, ...]]:
        side = "BOTH"
        if self.at_any("LEADING", "TRAILING", "BOTH") and self.ahead().value not in (")", ","):
            side = self.next().value
        first = self.expression()
        if self.accept("FROM"):
            return (self.expression(), first), (side,)
        return (first,), (side,)

    def _key_value(self) -> ast.Node:
        key = self.expression()
        self.expect(":")
        return ast.KeyValue(key, self.expression())

    def _null_option(self) -> tuple[str, ...]:
        if self.at_any("NULL", "ABSENT") and self.ahead().value == "ON":
            word = self.next().value
            self.expect("ON", "NULL")
            return (word,)
        return ()

    def _over(self) -> ast.Over:
        if self.at_name():
            return ast.Over(name=self.name())
        return self.in_parentheses(self._window)

    def _window(self) -> ast.Over:
        name = self.name() if self.at_name() and not self.at_any("PARTITION", "ROWS", "RANGE") else None
        partition: tuple[ast.Expression, ...] = ()
        order: tuple[ast.OrderItem, ...] = ()
        frame = None
        if self.accept("PARTITION", "BY"):
            partition = self.list_of(self.expression)
        if self.accept("ORDER", "BY"):
            order = self.list_of(self._order_item)
        if self.at_any("ROWS", "RANGE"):
            unit = self.next().value
            if self.accept("BETWEEN"):
                start = self._frame_bound()
                self.expect("AND")
                frame = ast.Frame(unit, start, self._frame_bound())
            else:
                frame = ast.Frame(unit, self._frame_bound(), None)
        return ast.Over(partition, order, frame, name)

    def _frame_bound(self) -> str:
        if self.accept("CURRENT", "ROW"):
            return "CURRENT ROW"
        if self.accept("UNBOUNDED"):
            amount = "UNBOUNDED"
        elif self.token.kind == "number" and "." not in self.token.text:
            amount = self.next().text
        else:
            self.fail()
        if not self.at_any("PRECEDING", "FOLLOWING"):
            self.fail()
        return f"{amount} {self.next().value}"

    def _order_item(self) -> ast.OrderItem:
        expression = self.expression()
        descending = False
        if self.at_any("ASC", "DESC"):
            descending = self.next().value == "DESC"
        return ast.OrderItem(expression, descending)

    # -- conditions ------------------------------------------------------------------------------------------

    def condition(self) -> ast.Condition:
        """A search condition; a bare expression is error 4145."""
        result = self._or()
        if not isinstance(result, ast.Condition):
            self._not_a_condition()
        return result

    def _not_a_condition(self) -> NoReturn:
        token = self.token
        text = token.value if token.kind in ("quoted", "string", "nstring") else token.text
        if token.kind == "end":
            text = self.tokens[-2].text
        raise SqlError(
            4145,
            "An expression of non-boolean type specified in a context where a condition is expected, near "
            f"'{text}'.",
            severity=15,
            line=token.line,
        )

    def _or(self) -> ast.Node:
        return self._logical("OR", self._and)

    def _and(self) -> ast.Node:
        return self._logical("AND", self._not)

    def _logical(self, word: str, operand: Callable[[], ast.Node]) -> ast.Node:
        first = operand()
        if not self.at(word):
            return first
        operands: list[ast.Condition] = []
        node: ast.Node = first
        while True:
            if not isinstance(node, ast.Condition):
                self._not_a_condition()
            operands.append(node)
            if not self.accept(word):
                return ast.Logical(word, tuple(operands))
            node = operand()

    def _not(self) -> ast.Node:
        if self.accept("NOT"):
            operand = self._not()
            if not isinstance(operand, ast.Condition):
                self._not_a_condition()
            return ast.Not(operand)
        return self._predicate()

    def _predicate(self) -> ast.Node:
        if self.at("EXISTS"):
            self.next()
            return ast.Exists(self._query_in_parentheses())
        if self.at_any("CONTAINS", "FREETEXT"):
            raise unsupported("full-text predicates", self.token.line)
        if self.at("UPDATE", "("):
            self.next()
            return ast.UpdatedColumn(self.in_parentheses(self.name))
        left: ast.Node
        if self.at("(") and not self._at_subquery():
            self.next()
            left = self._or()
            self.expect(")")
            if isinstance(left, ast.Condition):
                return left
            assert isinstance(left, ast.Expression)
            left = self._additive(self._multiplicative(self._postfix(left)))
        else:
            left = self.expression()
        return self._after_operand(left)

    def _at_subquery(self) -> bool:
        return self.ahead().kind == "word" and self.ahead().value == "SELECT"

    def _query_in_parentheses(self) -> ast.Query:
        return self.in_parentheses(self.query)

    def _after_operand(self, left: ast.Expression) -> ast.Node:
        token = self.token
        if token.kind == "op" and token.value in _COMPARISONS:
            operator = _COMPARISONS[self.next().value]
            if self.at_any("ANY", "SOME", "ALL") and self.ahead().value == "(":
                quantifier = "ALL" if self.next().value == "ALL" else "ANY"
                return ast.Quantified(operator, quantifier, left, self._query_in_parentheses())
            return ast.Comparison(operator, left, self.expression())
        if token.kind != "word":
            return left
        if token.value == "IS":
            return self._is(left)
        negated = token.value == "NOT" and self.ahead().value in ("BETWEEN", "IN", "LIKE")
        if negated:
            self.next()
        if self.accept("BETWEEN"):
            low = self.expression()
            self.expect("AND")
            return ast.Between(left, low, self.expression(), negated)
        if self.accept("IN"):
            if (self.at("(") and self.ahead().value == "SELECT") or self._at_query():
                return ast.InQuery(left, self._query_in_parentheses(), negated)
            items = self.in_parentheses(lambda: self.list_of(self.expression))
            return ast.InList(left, items, negated)
        if self.accept("LIKE"):
            pattern = self.expression()
            escape = self.expression() if self.accept("ESCAPE") else None
            return ast.Like(left, pattern, escape, negated)
        return left

    def _is(self, left: ast.Expression) -> ast.Condition:
        self.expect("IS")
        negated = self.accept("NOT")
        if self.accept("NULL"):
            return ast.IsNull(left, negated)
        if self.accept("DISTINCT", "FROM"):
            return ast.IsDistinct(left, self.expression(), negated)
        self.fail()

    # -- queries ---------------------------------------------------------------------------------------------

    def query(self) -> ast.Query:
        """A query expression with ORDER BY, OFFSET and FOR, without WITH."""
        body = self._query_terms()
        order: tuple[ast.OrderItem, ...] = ()
        offset = fetch = None
        if self.accept("ORDER", "BY"):
            order = self.list_of(self._order_item)
            if self.accept("OFFSET"):
                offset = self.expression()
                self._rows_word()
                if self.accept("FETCH"):
                    if not self.at_any("FIRST", "NEXT"):
                        self.fail()
                    self.next()
                    fetch = self.expression()
                    self._rows_word()
                    self.expect("ONLY")
        return ast.Query(body, (), order, offset, fetch, self._for_clause())

    def _rows_word(self) -> None:
        if not self.at_any("ROW", "ROWS"):
            self.fail()
        self.next()

    def _for_clause(self) -> ast.JsonOutput | None:
        if not (self.at("FOR") and self.ahead().value in ("JSON", "XML", "BROWSE")):
            return None
        self.next()
        if not self.accept("JSON"):
            raise unsupported(f"FOR {self.token.value}", self.token.line)
        if not self.at_any("PATH", "AUTO"):
            self.fail()
        output = ast.JsonOutput(self.next().value)
        while self.accept(","):
            if self.accept("ROOT"):
                output.root = self.in_parentheses(lambda: self.next().value) if self.at("(") else "root"
            elif self.accept("INCLUDE_NULL_VALUES"):
                output.include_nulls = True
            elif self.accept("WITHOUT_ARRAY_WRAPPER"):
                output.without_wrapper = True
            else:
                self.fail()
        return output

    def _query_terms(self) -> ast.Node:
        left = self._query_factors()
        while self.at_any("UNION", "EXCEPT"):
            operator = self.next().value
            if operator == "UNION" and self.accept("ALL"):
                operator = "UNION ALL"
            left = ast.SetOperation(operator, left, self._query_factors())
        return left

    def _query_factors(self) -> ast.Node:
        left = self._query_primary()
        while self.accept("INTERSECT"):
            left = ast.SetOperation("INTERSECT", left, self._query_primary())
        return left

    def _query_primary(self) -> ast.Node:
        if self.accept("("):
            inner = self._query_terms()
            self.expect(")")
            return inner
        return self._select()

    def _select(self) -> ast.Select:
        self.expect("SELECT")
        distinct = False
        if self.at_any("DISTINCT", "ALL"):
            distinct = self.next().value == "DISTINCT"
        top = self._top()
        select = ast.Select(self.list_of(self._select_item), distinct, top)
        if self.accept("INTO"):
            select.into = self.object_name()
        if self.accept("FROM"):
            select.source = self._sources()
        if self.accept("WHERE"):
            select.where = self.condition()
        if self.accept("GROUP", "BY"):
            select.grouping = self.list_of(self._grouping)
        if self.accept("HAVING"):
            select.having = self.condition()
        if self.at("WINDOW"):
            self.next()
            select.windows = self.list_of(self._named_window)
        return select

    def _named_window(self) -> tuple[str, ast.Over]:
        name = self.name()
        self.expect("AS")
        return name, self.in_parentheses(self._window)

    def _top(self) -> ast.Top | None:
        if not self.accept("TOP"):
            return None
        if self.accept("("):
            count = self.expression()
            self.expect(")")
        elif self.token.kind in ("number", "float"):
            count = self._primary()
        elif self.token.kind == "variable":
            self.fail()
        else:
            self.fail()
        percent = self.accept("PERCENT")
        return ast.Top(count, percent, self.accept("WITH", "TIES"))

    def _select_item(self) -> ast.SelectItem:
        if self.accept("*"):
            return ast.SelectItem(ast.Star())
        if self.token.kind == "variable" and self.ahead().value in _ASSIGNMENTS and self.ahead().kind == "op":
            variable = self.next().value
            operator = self.next().value
            return ast.SelectItem(self.expression(), variable=variable, operator=operator)
        if (
            self.ahead().value == "="
            and self.ahead().kind == "op"
            and (self.at_name() or self.token.kind in ("string", "nstring"))
        ):
            token = self.next()
            self.next()
            return ast.SelectItem(self.expression(), token.text if token.kind == "word" else token.value)
        star = self._qualified_star()
        if star is not None:
            return ast.SelectItem(star)
        return ast.SelectItem(self.expression(), self._column_alias())

    def _qualified_star(self) -> ast.Star | None:
        distance, parts = 0, []
        while True:
            token = self.ahead(distance)
            if token.kind not in ("word", "quoted"):
                return None
            parts.append(token.text if token.kind == "word" else token.value)
            if self.ahead(distance + 1).value != ".":
                return None
            if self.ahead(distance + 2).value == "*" and self.ahead(distance + 2).kind == "op":
                self.position += distance + 3
                return ast.Star(tuple(parts))
            distance += 2

    def _column_alias(self) -> str | None:
        if self.accept("AS"):
            if self.token.kind in ("string", "nstring"):
                return self.next().value
            return self.name()
        if self.token.kind == "string":
            return self.next().value
        if self.at_name() and not self._at_statement_word():
            return self.name()
        return None

    def _at_statement_word(self) -> bool:
        """A word that is no reserved word yet continues the query rather than naming something."""
        if self.token.kind != "word":
            return False
        return self.at("WINDOW") and self.ahead().kind in ("word", "quoted") and self.ahead(2).value == "AS"

    def _grouping(self) -> ast.Grouping:
        def one() -> tuple[ast.Expression, ...]:
            if self.at("(") and not self._at_subquery():
                if self.accept("(", ")"):
                    return ()
                start = self.position
                self.next()
                items = self.list_of(self.expression)
                if self.at(")") and self.ahead().value in (",", ")"):
                    self.next()
                    return items
                self.position = start
            return (self.expression(),)

        if self.at_any("ROLLUP", "CUBE") and self.ahead().value == "(":
            kind = self.next().value
            return ast.Grouping(kind, self.in_parentheses(lambda: self.list_of(one)))
        if self.accept("GROUPING", "SETS"):
            return ast.Grouping("GROUPING SETS", self.in_parentheses(lambda: self.list_of(one)))
        if self.accept("(", ")"):
            return ast.Grouping("plain", ((),))
        return ast.Grouping("plain", ((self.expression(),),))

    # -- sources ---------------------------------------------------------------------------------------------

    def _sources(self) -> ast.Source:
        left = self._joined()
        while self.accept(","):
            left = ast.Join("CROSS", left, self._joined())
        return left

    def _joined(self) -> ast.Source:
        left = self._source()
        while True:
            if self.at_any("TABLESAMPLE", "PIVOT", "UNPIVOT") or self.at("FOR", "SYSTEM_TIME"):
                raise unsupported(self.token.value, self.token.line)
            kind = self._join_kind()
            if kind is None:
                return left
            if kind in ("CROSS", "CROSS APPLY", "OUTER APPLY"):
                left = ast.Join(kind, left, self._source())
                continue
            right = self._joined_until_on()
            self.expect("ON")
            left = ast.Join(kind, left, right, self.condition())

    def _joined_until_on(self) -> ast.Source:
        """The right side of a join: `a JOIN b JOIN c ON … ON …` nests to the right."""
        right = self._source()
        while not self.at("ON"):
            kind = self._join_kind()
            if kind is None:
                return right
            if kind in ("CROSS", "CROSS APPLY", "OUTER APPLY"):
                right = ast.Join(kind, right, self._source())
                continue
            inner = self._joined_until_on()
            self.expect("ON")
            right = ast.Join(kind, right, inner, self.condition())
        return right

    def _join_kind(self) -> str | None:
        if self.accept("JOIN"):
            return "INNER"
        if self.accept("CROSS", "JOIN"):
            return "CROSS"
        if self.accept("CROSS", "APPLY"):
            return "CROSS APPLY"
        if self.accept("OUTER", "APPLY"):
            return "OUTER APPLY"
        if self.at_any("INNER", "LEFT", "RIGHT", "FULL"):
            kind = self.next().value
            if kind != "INNER":
                self.accept("OUTER")
            if self.at_any("LOOP", "HASH", "MERGE", "REMOTE"):
                self.next()
            self.expect("JOIN")
            return kind
        return None

    def _source(self) -> ast.Source:
        if self.at("("):
            return self._source_in_parentheses()
        if self.token.kind == "variable":
            name: tuple[str, ...] = (self.next().value,)
            if self.at(".") and self.ahead().text == "nodes":
                self.next()
                call = ast.Method(ast.Variable(name[0]), self.next().text, self._arguments())
                return self._function_source(call)
            return ast.TableSource(name, self._table_alias(), self._table_hints())
        if self.at_any("OPENROWSET", "OPENQUERY", "OPENDATASOURCE", "OPENXML", "CONTAINSTABLE"):
            raise unsupported(self.token.value, self.token.line)
        parts = self._source_name()
        if parts is None:
            column = self._named()
            self.expect(".")
            return self._function_source(ast.Method(column, self.next().text, self._arguments()))
        if self.at("(") and not self._at_old_hints():
            return self._function_source(self._call(parts))
        alias = self._table_alias()
        return ast.TableSource(parts, alias, self._table_hints())

    def _source_name(self) -> tuple[str, ...] | None:
        """An object name; None (and nothing taken) for ``column.nodes(…)``."""
        start = self.position
        parts = self.object_name()
        if len(parts) > 1 and parts[-1] == "nodes" and self.at("("):
            self.position = start
            return None
        return parts

    def _at_old_hints(self) -> bool:
        return (
            self.ahead().value in _TABLE_HINTS
            and self.ahead().kind == "word"
            and (self.ahead(2).value in (")", ","))
        )

    def _source_in_parentheses(self) -> ast.Source:
        self.expect("(")
        if self.accept("VALUES"):
            rows = self.list_of(self._row)
            self.expect(")")
            alias = self._required_alias()
            columns = self.name_list() if self.at("(") else ()
            return ast.ValuesTable(rows, alias, columns)
        if self._at_query():
            query = self.query()
            self.expect(")")
            alias = self._required_alias()
            columns = self.name_list() if self.at("(") else ()
            return ast.DerivedTable(query, alias, columns)
        if self.at("WITH"):
            self.fail()
        inner = self._joined()
        self.expect(")")
        return inner

    def _required_alias(self) -> str:
        alias = self._table_alias()
        if alias is None:
            self.fail()
        return alias

    def _function_source(self, call: ast.Expression) -> ast.Source:
        schema: tuple[ast.JsonColumn, ...] = ()
        if isinstance(call, ast.Call) and call.name == "OPENJSON" and self.accept("WITH"):
            schema = self.in_parentheses(lambda: self.list_of(self._json_column))
        alias = self._table_alias()
        columns = self.name_list() if alias is not None and self.at("(") else ()
        return ast.FunctionTable(call, alias, columns, schema)

    def _json_column(self) -> ast.JsonColumn:
        name = self.name()
        data_type = self.data_type()
        if self.accept("COLLATE"):
            data_type = SqlType(data_type.name, data_type.length, collation=self.name())
        path = None
        if self.token.kind in ("string", "nstring"):
            path = self.next().value
        return ast.JsonColumn(name, data_type, path, self.accept("AS", "JSON"))

    def _table_alias(self) -> str | None:
        if self.accept("AS"):
            return self.name()
        if self.at_name() and not self._at_statement_word():
            return self.name()
        return None

    def _table_hints(self) -> tuple[str, ...]:
        if self.at("WITH") and self.ahead().value == "(":
            self.next()
        elif not (self.at("(") and self._at_old_hints()):
            return ()
        self.expect("(")
        hints: list[str] = []
        while not self.accept(")"):
            hints.append(self._table_hint())
            self.accept(",")
        return tuple(hints)

    def _table_hint(self) -> str:
        token = self.next()
        if token.value == "INDEX":
            if self.accept("="):
                self.next()
            else:
                self.in_parentheses(lambda: self.list_of(lambda: self.next().text))
            return "INDEX"
        if token.kind != "word" or token.value not in _TABLE_HINTS:
            raise SqlError(
                321,
                f'"{token.text}" is not a recognized table hints option. If it is intended as a parameter to a '
                "table-valued function or to the CHANGETABLE function, ensure that your database compatibility "
                "mode is set to 90.",
                severity=15,
                line=token.line,
            )
        if token.value == "FORCESEEK" and self.at("("):
            self._skip_parentheses()
        return token.value

    def _skip_parentheses(self) -> None:
        depth = 0
        while True:
            token = self.next()
            if token.kind == "end":
                self.fail()
            if token.kind == "op" and token.value in "()":
                depth += 1 if token.value == "(" else -1
                if depth == 0:
                    return

    def _query_options(self) -> None:
        """``OPTION (…)``: names are checked; PostgreSQL plans in its own way."""
        if not self.accept("OPTION"):
            return
        self.expect("(")
        while True:
            token = self.next()
            if token.kind != "word" or token.value not in _QUERY_HINTS:
                self.fail(token)
            while not self.at_any(",", ")"):
                if self.at("("):
                    self._skip_parentheses()
                elif self.token.kind == "end":
                    self.fail()
                else:
                    self.next()
            if self.accept(")"):
                return
            self.expect(",")

    # -- statements ------------------------------------------------------------------------------------------

    def at_data_statement(self) -> bool:
        """SELECT, INSERT, UPDATE, DELETE, MERGE or WITH stands here."""
        return self.at_any("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH") or self._at_query()

    def data_statement(self) -> ast.Statement:
        """One data statement; ``position`` is then behind it (a semicolon is left standing)."""
        first = self.token
        common = self._common_tables()
        statement: ast.Statement
        if self.at("INSERT"):
            statement = self._insert()
        elif self.at("UPDATE"):
            statement = self._update()
        elif self.at("DELETE"):
            statement = self._delete()
        elif self.at("MERGE"):
            statement = self._merge()
        elif self.at_any("SELECT", "("):
            statement = ast.SelectStatement(self.query())
        else:
            self.fail()
        self._query_options()
        last = self.tokens[self.position - 1]
        if isinstance(statement, ast.MergeStatement) and not self.at(";"):
            raise SqlError(
                10713,
                "A MERGE statement must be terminated by a semi-colon (;).",
                severity=15,
                line=last.line,
            )
        statement.common = common
        statement.text = self.sql[first.start : last.end]
        statement.line = first.line
        return statement

    def _common_tables(self) -> tuple[ast.CommonTable, ...]:
        if not self.accept("WITH"):
            return ()
        return self.list_of(self._common_table)

    def _common_table(self) -> ast.CommonTable:
        if self.at("XMLNAMESPACES"):
            raise unsupported("WITH XMLNAMESPACES", self.token.line)
        name = self.name()
        columns = self.name_list() if self.at("(") else ()
        self.expect("AS")
        return ast.CommonTable(name, columns, self._query_in_parentheses())

    def _row(self) -> tuple[ast.Expression, ...]:
        return self.in_parentheses(lambda: self.list_of(self._value))

    def _value(self) -> ast.Expression:
        if self.accept("DEFAULT"):
            return ast.Constant("default")
        return self.expression()

    def _target(self) -> ast.TableSource:
        if self.token.kind == "variable":
            return ast.TableSource((self.next().value,))
        name = self.object_name()
        return ast.TableSource(name, None, self._table_hints())

    def _outputs(self) -> tuple[ast.Output, ...]:
        """OUTPUT clauses: at most one INTO and one to the client."""
        outputs: list[ast.Output] = []
        while self.at("OUTPUT") and len(outputs) < 2:
            self.next()
            output = ast.Output(self.list_of(self._select_item))
            if self.accept("INTO"):
                output.into = (self.next().value,) if self.token.kind == "variable" else self.object_name()
                if self.at("("):
                    output.into_columns = self.name_list()
            outputs.append(output)
        return tuple(outputs)

    def _insert(self) -> ast.Statement:
        self.expect("INSERT")
        top = self._top()
        self.accept("INTO")
        statement = ast.InsertStatement(self._target(), top=top)
        if self.at("(") and not self._at_query():
            statement.columns = self.in_parentheses(lambda: self.list_of(self._insert_column))
        statement.outputs = self._outputs()
        if self.accept("DEFAULT", "VALUES"):
            statement.default_values = True
        elif self.accept("VALUES"):
            line = self.token.line
            statement.rows = self.list_of(self._row)
            if len(statement.rows) > 1000:
                raise SqlError(
                    10738,
                    "The number of row value expressions in the INSERT statement exceeds the maximum allowed "
                    "number of 1000 row values.",
                    severity=15,
                    line=line,
                )
        elif self.at_any("EXEC", "EXECUTE"):
            statement.execute = True
        else:
            statement.query = self.query()
        return statement

    def _insert_column(self) -> str:
        parts = self.object_name()
        return parts[-1]

    def _assignment(self) -> ast.Assignment:
        variable: str | None = None
        column: tuple[str, ...] | None = None
        if self.token.kind == "variable":
            variable = self.next().value
            if self.at("=") and self.ahead().kind in ("word", "quoted") and self._assigns_column_too():
                self.next()
                column = self.object_name()
        else:
            column = self.object_name()
        if self.token.value not in _ASSIGNMENTS or self.token.kind != "op":
            self.fail()
        operator = self.next().value
        return ast.Assignment(column, self._value(), operator, variable)

    def _assigns_column_too(self) -> bool:
        """``@v = column = expression``."""
        distance = 1
        while self.ahead(distance + 1).value == ".":
            distance += 2
        return self.ahead(distance + 1).value in _ASSIGNMENTS and self.ahead(distance + 1).kind == "op"

    def _where(self) -> ast.Condition | None:
        if not self.accept("WHERE"):
            return None
        if self.at("CURRENT", "OF"):
            raise unsupported("WHERE CURRENT OF", self.token.line)
        return self.condition()

    def _update(self) -> ast.Statement:
        self.expect("UPDATE")
        top = self._top()
        target = self._target()
        self.expect("SET")
        assignments = self.list_of(self._assignment)
        outputs = self._outputs()
        source = self._sources() if self.accept("FROM") else None
        return ast.UpdateStatement(target, assignments, source, self._where(), top, outputs)

    def _delete(self) -> ast.Statement:
        self.expect("DELETE")
        top = self._top()
        self.accept("FROM")
        target = self._target()
        outputs = self._outputs()
        source = self._sources() if self.accept("FROM") else None
        return ast.DeleteStatement(target, source, self._where(), top, outputs)

    def _merge(self) -> ast.Statement:
        self.expect("MERGE")
        top = self._top()
        self.accept("INTO")
        target = self._target()
        if not self.at("USING"):
            target.alias = self._table_alias()
        target.hints += self._table_hints()
        self.expect("USING")
        source = self._source()
        self.expect("ON")
        condition = self.condition()
        actions: list[ast.MergeAction] = []
        while self.accept("WHEN"):
            actions.append(self._merge_action())
        if not actions:
            self.fail()
        return ast.MergeStatement(target, source, condition, tuple(actions), top, self._outputs())

    def _merge_action(self) -> ast.MergeAction:
        negated = self.accept("NOT")
        self.expect("MATCHED")
        by_source = False
        if negated and self.accept("BY"):
            by_source = self.accept("SOURCE")
            if not by_source:
                self.expect("TARGET")
        condition = self.condition() if self.accept("AND") else None
        self.expect("THEN")
        if negated and not by_source:
            self.expect("INSERT")
            if self.accept("DEFAULT", "VALUES"):
                return ast.MergeAction("not matched", condition, "insert")
            columns = self.in_parentheses(lambda: self.list_of(self._insert_column)) if self.at("(") else ()
            self.expect("VALUES")
            return ast.MergeAction("not matched", condition, "insert", columns=columns, values=self._row())
        match = "not matched by source" if by_source else "matched"
        if self.accept("DELETE"):
            return ast.MergeAction(match, condition, "delete")  # type: ignore[arg-type]
        self.expect("UPDATE", "SET")
        assignments = self.list_of(self._assignment)
        return ast.MergeAction(match, condition, "update", assignments)  # type: ignore[arg-type]


def unsupported(what: str, line: int = 1) -> SqlError:
    """The stand-in's own refusal: it names what it does not know and never guesses."""
    return SqlError(40000, f"not supported by the stand-in: {what}", line=line)
