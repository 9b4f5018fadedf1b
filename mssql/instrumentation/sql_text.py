"""Query summary and sanitised text of a T-SQL statement, from one linear pass over its tokens.

The grammar of the summary and the rules of sanitising are the semantic conventions'
(https://opentelemetry.io/docs/specs/semconv/db/database-spans/#generating-a-summary-of-the-query).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import NamedTuple

SUMMARY_LIMIT = 255
"""Characters, by the convention; no operation or target is cut in two."""

TEXT_LIMIT = 16_384
"""Characters of SQL that are read; the rest is left out. Bounds the work and the cache for generated statements."""


class SqlText(NamedTuple):
    """What may be told of a statement without telling its data."""

    summary: str
    text: str


def describe(sql: str, prefix: str = "") -> SqlText:
    """Summary (with ``prefix`` as its first word) and sanitised text of ``sql``; cached, and never raises."""
    if len(sql) <= TEXT_LIMIT:
        return _describe(sql, prefix)
    return _describe(sql[:TEXT_LIMIT], prefix, cut=True)


@functools.lru_cache(maxsize=1024)
def _describe(sql: str, prefix: str, cut: bool = False) -> SqlText:
    output, tokens = _tokenize(sql)
    if cut and tokens and tokens[-1].at == len(output) - 1:
        tokens.pop()  # perhaps half a name
        output.pop()
    summary = _Summary(tokens)
    for token in summary.hidden:
        quote = token.text[0]
        output[token.at] = {"[": "[?]", '"': '"?"'}.get(quote, "?")
    text = "".join(output)
    parts = [prefix, *summary.parts] if prefix else summary.parts
    return SqlText(encodable(join_summary(parts)), encodable(text + "..." if cut else text))


def encodable(text: str) -> str:
    """Without lone surrogates: one of them would make an exporter drop the whole batch."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def join_summary(parts: Iterable[str]) -> str:
    """Operations and targets, as many from the left as the limit allows."""
    summary = ""
    for part in parts:
        longer = f"{summary} {part}" if summary else part
        if len(longer) > SUMMARY_LIMIT:
            break
        summary = longer
    return summary


# Tokens. An unterminated string or name takes the rest of the text along: better to tell too little.
# https://learn.microsoft.com/sql/t-sql/data-types/constants-transact-sql
# https://learn.microsoft.com/sql/relational-databases/databases/database-identifiers
_CURRENCY = "$¢£¤¥৲৳฿៛₠-₿﷼﹩＄￠￡￥￦"
_TOKEN = re.compile(
    rf"""
      (?P<space>   \s+ )
    | (?P<comment> --[^\r\n]* )
    | (?P<block>   /\* )
    | (?P<string>  [Nn]?'[^']*(?:''[^']*)*(?:'|\Z) )
    | (?P<number>  [+-]? (?: 0[xX](?:[0-9a-fA-F]|\\\r?\n)*
                           | (?:[{_CURRENCY}][+-]?)? (?:\d+\.?\d*|\.\d+) (?:[eE][+-]?\d*)? ) )
    | (?P<name>    \[[^\]]*(?:\]\][^\]]*)*\] | "[^"]*(?:""[^"]*)*" )
    | (?P<open>    [\["].* )
    | (?P<word>    [^\W\d][\w@$\#]* | [@\#$][\w@$\#]* )
    | (?P<mark>    . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")


class _Token(NamedTuple):
    kind: str
    """"word", "name" (quoted), "literal" or "mark"."""
    text: str
    upper: str
    """The keyword that a word may be; empty for a quoted name, which never is one."""
    at: int
    """Where it stands in the output."""


def _tokenize(sql: str) -> tuple[list[str], list[_Token]]:
    """The sanitised text in pieces, and the tokens that carry meaning."""
    output: list[str] = []
    tokens: list[_Token] = []
    # For each open parenthesis: where in the output a list of literals after IN starts.
    in_list: list[int | None] = []
    position = 0
    while position < len(sql):
        match = _TOKEN.match(sql, position)
        assert match is not None  # the last alternative takes any character
        kind, text = match.lastgroup, match.group()
        position = match.end()
        if kind == "space":
            output.append(text)
            continue
        if kind == "comment":
            continue
        if kind == "block":
            position = _end_of_comment(sql, position)
            continue
        if kind in ("string", "number", "open"):
            if text[0] in "+-" and _adjoins_operand(tokens, output):
                tokens.append(_Token("mark", text[0], text[0], len(output)))
                output.append(text[0])
            text, kind = "?", "literal"
        elif text == "(":
            after_in = bool(tokens) and tokens[-1].upper == "IN"
            in_list.append(len(output) if after_in else None)
        elif text == ")" and in_list:
            start = in_list.pop()
            if start is not None and output[-1] != "(":
                output[start:] = ["(", "?"]
        elif text not in "?," and in_list:
            in_list[-1] = None
        upper = "" if kind == "name" else text.upper()
        tokens.append(_Token(kind or "mark", text, upper, len(output)))
        output.append(text)
    return output, tokens


def _end_of_comment(sql: str, position: int) -> int:
    """Block comments nest
    (https://learn.microsoft.com/sql/t-sql/language-elements/slash-star-comment-transact-sql)."""
    depth = 1
    for edge in _COMMENT_EDGE.finditer(sql, position):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(sql)


def _adjoins_operand(tokens: list[_Token], output: list[str]) -> bool:
    """Whether a sign is an operator, as in ``a-1``. Elsewhere it belongs to the number, as the convention's cases
    have it (``99+100`` becomes ``??``)."""
    if not tokens or tokens[-1].at != len(output) - 1:
        return False
    last = tokens[-1]
    return last.kind in ("word", "name") or (last.kind == "mark" and last.text in ")?")


# Built-in functions that return rows: they are no collection
# (https://learn.microsoft.com/sql/t-sql/functions/rowset-functions-transact-sql).
_ROWSET_FUNCTIONS = frozenset(
    "AI_GENERATE_CHUNKS CHANGETABLE CONTAINSTABLE FREETEXTTABLE GENERATE_SERIES OPENDATASOURCE OPENJSON OPENQUERY"
    " OPENROWSET OPENXML PREDICT REGEXP_MATCHES REGEXP_SPLIT_TO_TABLE SEMANTICKEYPHRASETABLE"
    " SEMANTICSIMILARITYDETAILSTABLE SEMANTICSIMILARITYTABLE STRING_SPLIT VECTOR_SEARCH".split()
)
_DDL = frozenset({"CREATE", "ALTER", "DROP"})
_DDL_MODIFIERS = frozenset(
    "ALTER CLUSTERED COLUMNSTORE EXTERNAL JSON NONCLUSTERED OR SPATIAL UNIQUE VECTOR".split()
)
# Other kinds of object (keys, credentials, certificates ...) are told by the operation alone: they are rare, and
# their names say more about a site's secrets than about its load.
_DDL_OBJECTS = frozenset(
    "DATABASE FUNCTION INDEX LOGIN PROC PROCEDURE ROLE SCHEMA SEQUENCE STATISTICS SYNONYM TABLE TRIGGER TYPE USER"
    " VIEW".split()
)
# What makes DATABASE the first word of another kind: DATABASE SCOPED CREDENTIAL, DATABASE ENCRYPTION KEY ...
_OF_A_DATABASE = frozenset("CONFIGURATION CREDENTIAL KEY SPECIFICATION".split())
_MODULES = frozenset("FUNCTION PROC PROCEDURE TRIGGER VIEW".split())
_PRINCIPALS = frozenset({"LOGIN", "USER"})
_PERMISSIONS = frozenset({"DENY", "GRANT", "REVOKE"})
_SET_OPERATORS = frozenset({"EXCEPT", "INTERSECT", "UNION"})
_END_OF_FROM = frozenset("EXCEPT GROUP HAVING INTERSECT OPTION ORDER SET UNION WHERE".split())
# Operations of two words, with what may stand second; what they work on follows.
_TWO_WORDS = {
    "BACKUP": frozenset({"DATABASE", "LOG"}),
    "BULK": frozenset({"INSERT"}),
    "DBCC": frozenset[str](),
    "DISABLE": frozenset({"TRIGGER"}),
    "ENABLE": frozenset({"TRIGGER"}),
    "RESTORE": frozenset({"DATABASE", "LOG"}),
    "TRUNCATE": frozenset({"TABLE"}),
    "USE": frozenset[str](),
}
_TRANSACTIONS = frozenset("BEGIN COMMIT ROLLBACK SAVE".split())
_NOT_A_NAME = frozenset("DELETE EXEC EXECUTE INSERT MERGE ON SELECT SET UPDATE VALUES WITH".split())
# What no procedure can be called without brackets, nor an argument without quotes: the reserved words
# (https://learn.microsoft.com/sql/t-sql/language-elements/reserved-keywords-transact-sql), and what else a statement
# may begin with.
_RESERVED = frozenset(
    """
    ADD ALL ALTER AND ANY AS ASC AUTHORIZATION BACKUP BEGIN BETWEEN BREAK BROWSE BULK BY CASCADE CASE CHECK CHECKPOINT
    CLOSE CLUSTERED COALESCE COLLATE COLUMN COMMIT COMPUTE CONSTRAINT CONTAINS CONTAINSTABLE CONTINUE CONVERT CREATE
    CROSS CURRENT CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP CURRENT_USER CURSOR DATABASE DBCC DEALLOCATE DECLARE
    DEFAULT DELETE DENY DESC DISK DISTINCT DISTRIBUTED DOUBLE DROP DUMP ELSE END ERRLVL ESCAPE EXCEPT EXEC EXECUTE
    EXISTS EXIT EXTERNAL FETCH FILE FILLFACTOR FOR FOREIGN FREETEXT FREETEXTTABLE FROM FULL FUNCTION GOTO GRANT GROUP
    HAVING HOLDLOCK IDENTITY IDENTITYCOL IDENTITY_INSERT IF IN INDEX INNER INSERT INTERSECT INTO IS JOIN KEY KILL LEFT
    LIKE LINENO LOAD MERGE NATIONAL NOCHECK NONCLUSTERED NOT NULL NULLIF OF OFF OFFSETS ON OPEN OPENDATASOURCE
    OPENQUERY OPENROWSET OPENXML OPTION OR ORDER OUTER OVER PERCENT PIVOT PLAN PRECISION PRIMARY PRINT PROC PROCEDURE
    PUBLIC RAISERROR READ READTEXT RECONFIGURE REFERENCES REPLICATION RESTORE RESTRICT RETURN REVERT REVOKE RIGHT
    ROLLBACK ROWCOUNT ROWGUIDCOL RULE SAVE SCHEMA SECURITYAUDIT SELECT SEMANTICKEYPHRASETABLE
    SEMANTICSIMILARITYDETAILSTABLE SEMANTICSIMILARITYTABLE SESSION_USER SET SETUSER SHUTDOWN SOME STATISTICS
    SYSTEM_USER TABLE TABLESAMPLE TEXTSIZE THEN TO TOP TRAN TRANSACTION TRIGGER TRUNCATE TRY_CONVERT TSEQUAL UNION
    UNIQUE UNPIVOT UPDATE UPDATETEXT USE USER VALUES VARYING VIEW WAITFOR WHEN WHERE WHILE WITH WITHIN WRITETEXT

    DISABLE ENABLE GET MOVE RECEIVE SEND THROW
    """.split()
)


class _Frame:
    """What a pair of parentheses encloses."""

    __slots__ = ("expects", "in_from", "selects", "subquery")

    def __init__(self, *, expects: bool = False, subquery: int | None = None) -> None:
        self.expects = expects
        """A table may come next."""
        self.in_from = False
        """A comma here parts tables."""
        self.selects = False
        """FROM belongs to a SELECT or DELETE here, not to TRIM(... FROM ...)."""
        self.subquery = subquery
        """Where in the summary this SELECT stands."""


class _Summary:
    """Walks the tokens once and collects operations and targets in the order of the text."""

    def __init__(self, tokens: list[_Token]) -> None:
        self.parts: list[str] = []
        self.hidden: list[_Token] = []
        """What the text must not tell though it looks like a name: logins and users in their DDL, which are personal
        data, and words that are strings."""
        self._tokens = tokens
        self._frames = [_Frame()]
        self._written: tuple[int, str] | None = None  # the target of UPDATE or DELETE: its part and its name
        self._merging = False
        self._select_at: int | None = None  # the part of this statement's own SELECT
        self._walk()
        self._end_statement()
        if not self.parts and tokens and tokens[0].kind == "word":
            self.parts.append(tokens[0].text)

    def _upper(self, position: int) -> str:
        return self._tokens[position].upper if 0 <= position < len(self._tokens) else ""

    def _walk(self) -> None:
        position = 0
        # A batch may begin with a procedure's name without EXEC, or with a label.
        if self._is_name(0) and self._upper(0) not in _RESERVED and self._upper(1) != ":":
            position = self._call(0)
        while position < len(self._tokens):
            token = self._tokens[position]
            if token.kind in ("word", "name"):
                position = self._word(position)
            else:
                if token.kind == "mark":
                    self._mark(token.text, position)
                position += 1

    def _mark(self, mark: str, position: int) -> None:
        frame = self._frames[-1]
        if mark == "(":
            self._frames.append(_Frame(expects=frame.expects))
            frame.expects = False
        elif mark == ")" and len(self._frames) > 1:
            self._frames.pop()
            if frame.subquery is not None and frame.subquery == len(self.parts) - 1:
                del self.parts[frame.subquery]  # a subquery that names nothing says nothing
        elif mark == "," and frame.in_from:
            frame.expects = True
        elif mark == ";":
            self._end_statement()

    def _end_statement(self) -> None:
        if self._select_at and self._select_at == len(self.parts) - 1:
            # INSERT ...; SELECT SCOPE_IDENTITY(): it adds nothing to what came before.
            del self.parts[self._select_at]
        self._select_at = None
        self._frames = [_Frame()]
        self._written = None
        self._merging = False

    def _word(self, position: int) -> int:
        """Take the word at ``position``; return where to go on."""
        frame = self._frames[-1]
        upper = self._upper(position)
        if frame.expects and upper not in _NOT_A_NAME:
            if upper == "OJ" and self._upper(position - 1) == "{":  # ODBC's {oj a LEFT OUTER JOIN b ON ...}
                return position + 1
            return self._table(position)
        frame.expects = False
        if self._upper(position - 1) == ".":
            return position + 1
        if upper == "SELECT":
            self._select(position)
        elif upper == "FROM":
            if frame.selects and self._upper(position - 1) != "DISTINCT":  # IS [NOT] DISTINCT FROM
                frame.in_from = frame.expects = True
        elif (
            upper == "JOIN"
            or (upper == "APPLY" and self._upper(position - 1) in ("CROSS", "OUTER"))
            or (upper == "USING" and self._merging)
        ):
            frame.expects = True
        elif upper in _END_OF_FROM or (upper == "FOR" and self._upper(position + 1) != "SYSTEM_TIME"):
            frame.in_from = False
        elif upper == "INTO":
            # SELECT ... INTO; the INTO of OUTPUT names where changed rows are reported to
            frame.expects = (
                frame.selects and not frame.in_from and self._written is None and not self._merging
            )
        elif upper in ("INSERT", "UPDATE", "DELETE", "MERGE"):
            return self._write(position)
        elif upper in ("EXEC", "EXECUTE"):
            return self._execute(position)
        elif upper in _DDL:
            return self._define(position)
        elif upper in _PERMISSIONS:
            self.parts.append(self._tokens[position].text)
            return self._skip_statement(position)
        elif upper in _TRANSACTIONS:
            return self._transaction(position)
        elif upper in _TWO_WORDS and self._starts_statement(position):
            return self._two_words(position)
        elif upper == "CALL" and self._upper(position - 1) in ("{", "="):
            return self._operation(position, 1)
        elif upper == "FETCH":
            frame.selects = False  # FETCH NEXT FROM cursor
        return position + 1

    def _starts_statement(self, position: int) -> bool:
        return position == 0 or self._upper(position - 1) in (";", "BEGIN", "ELSE", "END")

    def _select(self, position: int) -> None:
        frame = self._frames[-1]
        before = position - 1
        frame.selects, frame.in_from = True, False
        if self._upper(before) == "(":
            frame.subquery = len(self.parts)
            while self._upper(before) == "(":
                before -= 1
        if self._upper(before) == "ALL":
            before -= 1
        if self._upper(before) in _SET_OPERATORS and self.parts:
            frame.subquery = None  # goes on with the SELECT before: its tables join that one's
        else:
            if frame.subquery is None:
                self._select_at = len(self.parts)
            self.parts.append(self._tokens[position].text)

    def _table(self, position: int) -> int:
        """A name where a table is expected."""
        frame = self._frames[-1]
        frame.expects = False
        name, after = self._name(position)
        if not self._is_target(name, after):
            return after
        if self._written is not None:
            part, written = self._written
            alias = self._tokens[after + 1 if self._upper(after) == "AS" else after :][:1]
            if name.casefold() == written.casefold():
                return after
            if alias and alias[0].text.casefold() == written.casefold():
                self.parts[part] = name
                return after
        self.parts.append(name)
        return after

    def _is_target(self, name: str, after: int) -> bool:
        """Whether a name is something in the database: no variable, no built-in function, no xml value's nodes()."""
        if name.startswith("@"):
            return False
        function = self._upper(after) == "("
        return not (function and (name.upper() in _ROWSET_FUNCTIONS or name.endswith(".nodes")))

    def _name(self, position: int) -> tuple[str, int]:
        """The name at ``position``, in all its parts (``[dbo].[Person]``, ``db..t``), and where it ends."""
        pieces = [self._tokens[position].text]
        position += 1
        while self._upper(position) == ".":
            pieces.append(".")
            position += 1
            if position < len(self._tokens) and self._tokens[position].kind in ("word", "name"):
                pieces.append(self._tokens[position].text)
                position += 1
        return "".join(pieces), position

    def _is_name(self, position: int) -> bool:
        return (
            position < len(self._tokens)
            and self._tokens[position].kind in ("word", "name")
            and self._upper(position) not in _NOT_A_NAME
        )

    def _operation(self, position: int, words: int) -> int:
        """An operation of so many words, and the name after it, if there is one."""
        self.parts.append(" ".join(token.text for token in self._tokens[position : position + words]))
        position += words
        return self._target(position)

    def _target(self, position: int) -> int:
        """What an operation works on, if it says so."""
        if self._is_name(position):
            name, position = self._name(position)
            if self._is_target(name, position):
                self.parts.append(name)
        return position

    def _write(self, position: int) -> int:
        """INSERT, UPDATE, DELETE or MERGE as a statement of its own, not as an event, clause or function."""
        upper, before = self._upper(position), self._upper(position - 1)
        after = position + 1
        if (self._merging and before == "THEN") or before in ("AFTER", "FOR", "OF", "ON", ","):
            return after
        if upper == "UPDATE" and self._upper(after) == "STATISTICS":
            return self._operation(position, 2)
        if self._upper(after) == "(":  # UPDATE(column) in a trigger
            return after
        self._merging = upper == "MERGE"
        self.parts.append(self._tokens[position].text)
        if self._upper(after) == "TOP":
            after = self._skip_parentheses(after + 1)
            if self._upper(after) == "PERCENT":
                after += 1
        if self._upper(after) in ("INTO", "FROM"):
            after += 1
        frame = self._frames[-1]
        frame.selects, frame.in_from = upper in ("UPDATE", "DELETE"), False
        if self._is_name(after):
            name, after = self._name(after)
            if self._is_target(name, after):
                if frame.selects:
                    self._written = (len(self.parts), name)
                self.parts.append(name)
        return after

    def _execute(self, position: int) -> int:
        after = position + 1
        if self._upper(after) == "AS":  # EXECUTE AS USER = ...
            return self._operation(position, 2)
        self.parts.append(self._tokens[position].text)
        if self._upper(after + 1) == "=":  # EXEC @result = procedure
            after += 2
        return self._call(after)

    def _call(self, position: int) -> int:
        """A procedure and its arguments, among which a single word is a string
        (https://learn.microsoft.com/sql/t-sql/language-elements/execute-transact-sql)."""
        position = self._target(position)
        while position < len(self._tokens):
            if self._upper(position + 1) == "=":  # @parameter = value
                position += 2
                continue
            token = self._tokens[position]
            if token.kind in ("word", "name"):
                if token.upper in _RESERVED and token.upper not in ("DEFAULT", "NULL"):
                    break  # the next statement
                if not token.text.startswith("@") and token.upper not in _RESERVED:
                    self.hidden.append(token)
            elif token.kind != "literal" and token.text != "?":
                break
            position += 1
            if self._upper(position) in ("OUT", "OUTPUT"):
                position += 1
            if self._upper(position) != ",":
                break
            position += 1
        return position

    def _transaction(self, position: int) -> int:
        """BEGIN, COMMIT, ROLLBACK, SAVE; the names of savepoints are all different, so they stay out."""
        words = 1
        if self._upper(position + 1) == "DISTRIBUTED":
            words += 1
        if self._upper(position + words) in ("TRAN", "TRANSACTION", "WORK"):
            words += 1
        elif self._upper(position) in ("BEGIN", "SAVE"):  # BEGIN ... END, BEGIN TRY
            return position + 1
        self.parts.append(" ".join(token.text for token in self._tokens[position : position + words]))
        return position + words

    def _two_words(self, position: int) -> int:
        seconds = _TWO_WORDS[self._upper(position)]
        if not seconds:
            return self._operation(position, 1)
        if self._upper(position + 1) not in seconds:
            return position + 1
        return self._skip_statement(self._operation(position, 2))

    def _define(self, position: int) -> int:
        """CREATE, ALTER or DROP."""
        operation = self._tokens[position].text
        after = position + 1
        while self._upper(after) in _DDL_MODIFIERS:
            after += 1
        kind = self._upper(after)
        if kind not in _DDL_OBJECTS or (kind == "DATABASE" and self._upper(after + 2) in _OF_A_DATABASE):
            self.parts.append(operation)
            return self._skip_statement(after)
        self.parts.append(f"{operation} {self._tokens[after].text}")
        after += 1
        while self._upper(after) in ("IF", "NOT", "EXISTS"):
            after += 1
        if kind in _PRINCIPALS:
            return self._principal(after)
        while self._is_name(after):
            name, after = self._name(after)
            self.parts.append(name)
            if self._upper(position) != "DROP" or self._upper(after) != ",":
                break
            after += 1
        if kind in _MODULES and self._upper(position) != "DROP":
            return len(self._tokens)  # its body runs later
        return self._skip_statement(after)

    def _principal(self, position: int) -> int:
        """The rest of CREATE/ALTER/DROP LOGIN or USER: its own name, FOR LOGIN name, WITH NAME = name."""
        end = self._skip_statement(position)
        for at in range(position, end):
            named = at == position or self._upper(at - 1) == "LOGIN"
            named = named or (self._upper(at - 1) == "=" and self._upper(at - 2) in ("NAME", "LOGIN"))
            if named and self._is_name(at):
                self.hidden.append(self._tokens[at])
        return end

    def _skip_statement(self, position: int) -> int:
        """Where the next statement starts, as far as a semicolon says so."""
        while position < len(self._tokens) and self._upper(position) != ";":
            position += 1
        return position

    def _skip_parentheses(self, position: int) -> int:
        """Past ``(...)`` or, where there are none, past one token."""
        depth = 0
        while position < len(self._tokens):
            depth += {"(": 1, ")": -1}.get(self._upper(position), 0)
            position += 1
            if depth == 0:
                break
        return position
