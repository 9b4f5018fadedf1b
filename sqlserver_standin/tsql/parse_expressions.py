"""The parser of scalar expressions and search conditions, which T-SQL keeps strictly apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from sqlserver_standin.events import SqlError
from sqlserver_standin.tsql import syntax as ast
from sqlserver_standin.tsql.lexer import Token
from sqlserver_standin.tsql.parse_tokens import RESERVED, TokenParser, unsupported
from sqlserver_standin.types import SqlType

# Reserved words that are functions all the same; the niladic ones take no parentheses.
_RESERVED_FUNCTIONS = frozenset("COALESCE LEFT RIGHT NULLIF IDENTITY".split())
_NILADIC = frozenset("CURRENT_TIMESTAMP CURRENT_USER SESSION_USER SYSTEM_USER USER".split())
XML_METHODS = frozenset(("value", "query", "exist", "nodes", "modify"))
COMPARISONS = {
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


class ExpressionParser(TokenParser):
    """Parses expressions; queries inside them are the subclass's work."""

    def query(self) -> ast.Query:
        """A query expression with ORDER BY, OFFSET and FOR, without WITH."""
        raise NotImplementedError

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
            elif self.at(".") and self.ahead().text in XML_METHODS and self.ahead(2).value == "(":
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
            if following.text in XML_METHODS and self.ahead(2).value == "(" and following.kind == "word":
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
        if token.kind == "op" and token.value in COMPARISONS:
            operator = COMPARISONS[self.next().value]
            if self.at_any("ANY", "SOME", "ALL") and self.ahead().value == "(":
                quantifier = "ALL" if self.next().value == "ALL" else "ANY"
                return ast.Quantified(operator, quantifier, left, self._query_in_parentheses())
            return ast.Comparison(operator, left, self.expression())
        if token.kind != "word":
            return self._alone(left)
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
        return self._alone(left)

    @staticmethod
    def _alone(left: ast.Expression) -> ast.Node:
        """Where no comparison follows."""
        if isinstance(left, ast.Call) and left.name == "REGEXP_LIKE" and not left.schema:
            return ast.RegexpLike(left)
        return left

    def _is(self, left: ast.Expression) -> ast.Condition:
        self.expect("IS")
        negated = self.accept("NOT")
        if self.accept("NULL"):
            return ast.IsNull(left, negated)
        if self.accept("DISTINCT", "FROM"):
            return ast.IsDistinct(left, self.expression(), negated)
        self.fail()
