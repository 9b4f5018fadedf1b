"""The parser accepts what Microsoft's own T-SQL parser accepts, and refuses what that refuses."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlserver_standin.events import SqlError
from sqlserver_standin.tsql.lexer import tokenize
from sqlserver_standin.tsql.parse import Parser
from sqlserver_standin.tsql.parse_tokens import RESERVED
from tests.tsql_parser import ParserUnavailable, TSqlParser

STATEMENTS = Path(__file__).with_name("statements.sql.txt").read_text(encoding="utf-8").splitlines()
NAME_POSITIONS = ("SELECT c.{} FROM t c", "SELECT {} FROM t", "SELECT 1 AS {}", "SELECT 1 FROM {}")
# Words that name a column by its role; the stand-in has no use for them.
ROLES = {"IDENTITYCOL", "ROWGUIDCOL"}


def accepted(sql: str) -> bool:
    try:
        parser = Parser(sql)
        parser.data_statement()
        while parser.accept(";"):
            pass
    except SqlError:
        return False
    return parser.token.kind == "end"


@pytest.fixture(scope="module")
def microsoft() -> TSqlParser:
    try:
        return TSqlParser()
    except ParserUnavailable as error:
        pytest.skip(str(error))


@pytest.mark.tsql
@pytest.mark.parametrize("sql", STATEMENTS)
def test_a_statement_parses_where_microsofts_parser_takes_it(microsoft: TSqlParser, sql: str) -> None:
    assert accepted(sql) == (not microsoft.errors(sql))


@pytest.mark.tsql
def test_reserved_words_are_those_of_microsofts_parser(microsoft: TSqlParser) -> None:
    statements = [template.format(word) for word in sorted(RESERVED - ROLES) for template in NAME_POSITIONS]
    assert [sql for sql in statements if accepted(sql) != (not microsoft.errors(sql))] == []


@pytest.mark.parametrize(
    ("sql", "number", "text"),
    [
        ("SELECT a::int", 102, "Incorrect syntax near '::'."),
        ("SELECT EXISTS(SELECT 1)", 156, "Incorrect syntax near the keyword 'EXISTS'."),
        ("SELECT 1 FROM t WHERE a", 4145,
         "An expression of non-boolean type specified in a context where a condition is expected, near 'a'."),
        ("SELECT CASE WHEN a THEN 1 END", 4145,
         "An expression of non-boolean type specified in a context where a condition is expected, near 'THEN'."),
        ("SELECT 'x", 105, "Unclosed quotation mark after the character string 'x'."),
        ("SELECT 1 /* x", 113, "Missing end comment mark '*/'."),
        ("SELECT * FROM t WITH (NOSUCHHINT)", 321,
         '"NOSUCHHINT" is not a recognized table hints option. If it is intended as a parameter to a table-valued '
         "function or to the CHANGETABLE function, ensure that your database compatibility mode is set to 90."),
        ("SELECT CAST(1 AS serial)", 243, "Type serial is not a defined system type."),
        ("INSERT INTO t VALUES " + ",".join(["(1)"] * 1001), 10738,
         "The number of row value expressions in the INSERT statement exceeds the maximum allowed number of 1000 "
         "row values."),
        ("MERGE t USING s ON 1 = 1 WHEN MATCHED THEN DELETE", 10713,
         "A MERGE statement must be terminated by a semi-colon (;)."),
        (f"SELECT 1 AS [{'x' * 129}]", 103,
         f"The identifier that starts with '{'x' * 128}' is too long. Maximum length is 128."),
        ("SELECT * FROM t PIVOT (SUM(a) FOR b IN ([x])) p", 40000, "not supported by the stand-in: PIVOT"),
    ],
)  # fmt: skip
def test_a_syntax_error_has_sql_servers_number_and_text(sql: str, number: int, text: str) -> None:
    with pytest.raises(SqlError) as caught:
        Parser(sql).data_statement()
    assert (caught.value.number, caught.value.text) == (number, text)


def test_an_error_names_its_line() -> None:
    with pytest.raises(SqlError) as caught:
        Parser("SELECT 1\nFROM t\nWHERE a = = 1").data_statement()
    assert caught.value.line == 3


def test_a_statement_ends_without_a_semicolon() -> None:
    parser = Parser("SELECT 1 AS a FROM t UPDATE t SET a = 1")
    assert parser.data_statement().text == "SELECT 1 AS a FROM t"
    assert parser.data_statement().text == "UPDATE t SET a = 1"


WORDS = """SELECT FROM WHERE a b t , ( ) = < + - * . 1 1.5 'x' N'y' [q] "r" @p @@rowcount AND OR NOT IN LIKE BETWEEN IS
NULL CASE WHEN THEN ELSE END TOP DISTINCT ORDER BY GROUP HAVING UNION ALL INSERT INTO VALUES UPDATE SET DELETE MERGE
USING ON MATCHED OUTPUT inserted JOIN LEFT INNER CROSS APPLY OPENJSON WITH AS OVER PARTITION CAST CONVERT int EXISTS ;
COUNT""".split()


@settings(deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=40))
def test_any_sequence_of_words_parses_or_is_a_sql_error(words: list[str]) -> None:
    with contextlib.suppress(SqlError):
        Parser(" ".join(words)).data_statement()


@settings(deadline=None)
@given(st.text(max_size=60))
def test_tokens_stand_where_they_say_in_any_text(sql: str) -> None:
    with contextlib.suppress(SqlError):
        tokens = tokenize(sql)
        assert all(sql[token.start : token.end] == token.text for token in tokens)
        assert all(before.end <= after.start for before, after in itertools.pairwise(tokens))
