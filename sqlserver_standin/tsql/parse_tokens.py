"""The parser's ground: tokens, names, data types, and SQL Server's syntax errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from sqlserver_standin.events import SqlError
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


def unsupported(what: str, line: int = 1) -> SqlError:
    """The stand-in's own refusal: it names what it does not know and never guesses."""
    return SqlError(40000, f"not supported by the stand-in: {what}", line=line)


class TokenParser:
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
