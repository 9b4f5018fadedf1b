"""REGEXP_LIKE on a stand-in for SQL Server 2025, and Google's own RE2 as the judge of what a pattern means."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import re2
from hypothesis import assume, event, example, given, settings
from hypothesis import strategies as st

from sqlserver_standin.events import Parameter, SqlError
from sqlserver_standin.types import SqlType
from tests.sqlserver_standin.sql_support import Client, new_client


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    client = new_client("2025")
    yield client
    client.session.close()


WHERE = "SELECT COUNT(*) FROM (VALUES (1)) AS t (a) WHERE "

CONDITIONS = [
    ("REGEXP_LIKE('abc', '^a.c$')", True),
    ("(REGEXP_LIKE('abc', 'B', 'i') AND NOT REGEXP_LIKE('abc', 'B'))", True),
    # Of i and c the last one holds; an empty string is the default.
    ("REGEXP_LIKE('ABC', 'b', 'ci')", True),
    ("REGEXP_LIKE('ABC', 'b', 'ic')", False),
    ("REGEXP_LIKE('ABC', 'B', '')", True),
    # The collation has no say.
    ("REGEXP_LIKE(N'É' COLLATE Latin1_General_CI_AI, N'e')", False),
    ("REGEXP_LIKE(N'É', N'é', 'i')", True),
    ("REGEXP_LIKE(N'É', '[a-z]', 'i')", False),
    # Trailing spaces count.
    ("REGEXP_LIKE('ab  ', 'b$')", False),
    ("REGEXP_LIKE(CAST('ab' AS char(4)), 'b  $')", True),
    # NULL is neither.
    ("REGEXP_LIKE(NULL, 'a')", False),
    ("NOT REGEXP_LIKE(NULL, 'a')", False),
    ("NOT REGEXP_LIKE('a', CAST(NULL AS varchar(5)))", False),
    ("NOT REGEXP_LIKE('a', 'a', CAST(NULL AS varchar(5)))", False),
    # A pattern is not looked at where there is nothing to match.
    ("REGEXP_LIKE(NULL, '(')", False),
    ("REGEXP_LIKE(CAST('ab' AS nvarchar(max)), N'b')", True),
]


@pytest.mark.parametrize(("condition", "holds"), CONDITIONS)
def test_a_condition(client: Client, condition: str, holds: bool) -> None:
    assert client.value(WHERE + condition) == holds


def test_it_stands_where_conditions_stand(client: Client) -> None:
    client.events(
        "CREATE TABLE #code (text varchar(10) CHECK (REGEXP_LIKE(text, '^\\d+$')), "
        "odd AS CASE WHEN REGEXP_LIKE(text, '[13579]$') THEN 1 ELSE 0 END)"
    )
    client.events("INSERT INTO #code VALUES ('12'), ('7'), (NULL)")
    assert client.error("INSERT INTO #code VALUES ('1a')")[0] == 547
    assert client.rows("SELECT text, odd FROM #code ORDER BY text") == [(None, 0), ("12", 0), ("7", 1)]
    assert client.value("SELECT IIF(REGEXP_LIKE('a', 'a'), 'yes', 'no')") == "yes"
    assert client.rows("SELECT a.text FROM #code a JOIN #code b ON REGEXP_LIKE(a.text, b.text)") == [
        ("12",),
        ("7",),
    ]
    assert client.rows("SELECT text FROM #code WHERE 1 = 0 AND REGEXP_LIKE(text, '(')") == []


def test_case_is_folded_but_for_two_letters(client: Client) -> None:
    assert client.value(WHERE + "REGEXP_LIKE(N'ß Ж é', N'ß ж É', 'i')") == 1
    assert client.value(WHERE + "REGEXP_LIKE(N'ſ', 's', 'i') OR REGEXP_LIKE(NCHAR(0x212A), 'k', 'i')") == 0


REFUSALS = [
    ("REGEXP_LIKE('a') ", 102, "Incorrect syntax near ')'."),
    ("REGEXP_LIKE('a', 'a', 'c', 1)", 102, "Incorrect syntax near ','."),
    ("REGEXP_LIKE('a', 'a') = 1", 156, "Incorrect syntax near the keyword 'REGEXP_LIKE'."),
    (
        "REGEXP_LIKE(1, 'a')",
        8116,
        "Argument data type int is invalid for argument 1 of regexp_like function.",
    ),
    (
        "REGEXP_LIKE('1', 1)",
        8116,
        "Argument data type int is invalid for argument 2 of regexp_like function.",
    ),
    (
        "REGEXP_LIKE('a', CAST('a' AS nvarchar(max)))",
        8116,
        "Argument data type VARCHAR(MAX)/NVARCHAR(MAX) is invalid for argument 2 of regexp_like function.",
    ),
    (
        "REGEXP_LIKE('a', 'a', N'i')",
        8116,
        "Argument data type nvarchar is invalid for argument 3 of regexp_like function.",
    ),
    (
        "REGEXP_LIKE('a', 'a', 'iI')",
        19303,
        "Invalid flag provided. 'iI' are not valid flags. Only {c,i,s,m} flags are valid.",
    ),
    (
        f"REGEXP_LIKE('a', 'a', '{31 * 'i'}')",
        19302,
        "Maximum of '30' flags can be provided. But you provided '31' flags.",
    ),
    (
        "REGEXP_LIKE('a', '(a)\\1')",
        19300,
        r"An invalid Pattern '(a)\1' was provided. Error 'invalid escape sequence: \1' occurred during evaluation of "
        "the Pattern.",
    ),
    ("REGEXP_LIKE('a', '(a')", 19308, "Missing ')' in the Pattern (a."),
    ("REGEXP_LIKE('a', '[a')", 19308, "Missing ']' in the Pattern [a."),
    ("REGEXP_LIKE('a', 'a)')", 19307, "Encountered an unexpected ')' in the Pattern a)."),
    (
        "REGEXP_LIKE('a', 'a\\')",
        19309,
        "Invalid trailing backslash (\\) provided at the end of the Pattern a\\.",
    ),
    # What RE2 takes and PostgreSQL can't say.
    (
        "REGEXP_LIKE('a', '\\p{L}')",
        40000,
        "not supported by the stand-in: REGEXP_LIKE with a Unicode class (\\p)",
    ),
    (
        "REGEXP_LIKE('a', 'a{256}')",
        40000,
        "not supported by the stand-in: REGEXP_LIKE with more than 255 repetitions",
    ),
    (
        "REGEXP_LIKE('a', 'b(?i)A')",
        40000,
        "not supported by the stand-in: REGEXP_LIKE with a change of case sensitivity after the beginning of the "
        "pattern",
    ),
    ("REGEXP_LIKE('a', '\\C')", 40000, "not supported by the stand-in: REGEXP_LIKE with a single byte (\\C)"),
    (
        "REGEXP_LIKE('a', '\\0')",
        40000,
        "not supported by the stand-in: REGEXP_LIKE with the character U+0000",
    ),
    (
        "REGEXP_LIKE(REPLICATE(CAST('a' AS varchar(max)), 1048577), 'a')",
        40000,
        "not supported by the stand-in: REGEXP_LIKE with more than 2 MB of text",
    ),
]


@pytest.mark.parametrize(("condition", "number", "text"), REFUSALS)
def test_refused(client: Client, condition: str, number: int, text: str) -> None:
    assert client.error(WHERE + condition) == (number, text)


def test_refused_as_a_value(client: Client) -> None:
    assert client.error("SELECT REGEXP_LIKE('a', 'a')")[0] == 156


def test_refused_below_compatibility_level_170(client: Client) -> None:
    unknown = (195, "'Regexp_Like' is not a recognized built-in function name.")
    condition = WHERE + "Regexp_Like('a', 'a')"
    client.events("CREATE DATABASE level160")
    client.events("ALTER DATABASE level160 SET COMPATIBILITY_LEVEL = 160")
    client.events("USE level160")
    try:
        assert client.error(condition) == unknown
        client.events("ALTER DATABASE level160 SET COMPATIBILITY_LEVEL = 170")
        assert client.value(condition) == 1
    finally:
        client.events("USE master")
        client.events("DROP DATABASE level160")
    older = new_client()
    assert older.error(condition) == unknown
    assert older.error("SELECT Regexp_Like('a', 'a')") == unknown
    older.session.close()


# Patterns of every construct that both know, and broken ones.
LITERALS = st.sampled_from(
    [
        *"abAB1_ é€\n-,:",
        "\\.",
        "\\*",
        "\\]",
        "\\^",
        "\\-",
        "\\n",
        "\\t",
        "\\x41",
        "\\x{e9}",
        "\\101",
        "\\Qa.b\\E",
    ]
)
CLASSES = st.sampled_from(
    ["\\d", "\\D", "\\s", "\\S", "\\w", "\\W", "[[:alpha:]]", "[[:^alpha:]]", "[[:punct:]]", "."]
)
MEMBERS = st.sampled_from(
    [
        *"abAB1_^ é-.",
        "a-c",
        "A-Z",
        "0-9",
        "\\d",
        "\\D",
        "\\W",
        "\\s",
        "\\n",
        "\\]",
        "\\\\",
        "\\x41-\\x43",
        "[:upper:]",
        "[:^space:]",
        "[:word:]",
        "[",
    ]
)
BRACKETS = st.builds(
    lambda negation, first, members: f"[{negation}{first}{''.join(members)}]",
    st.sampled_from(["", "^"]),
    st.sampled_from(["", "]", "-"]),
    st.lists(MEMBERS, min_size=1, max_size=4),
)
PLACES = st.sampled_from(["^", "$", "\\b", "\\B", "\\A", "\\z"])
REPETITIONS = st.sampled_from(
    ["*", "+", "?", "*?", "+?", "??", "{2}", "{1,}", "{0,2}", "{1,2}?", "{,2}", "{01}", "{"]
)
OPENINGS = st.sampled_from(["(", "(?:", "(?P<x>", "(?s:", "(?m:", "(?-s:", "(?ms-U:", "(?U)(", "(?m)("])


def _combined(patterns: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds(str.__add__, patterns, patterns),
        st.builds("{}|{}".format, patterns, patterns),
        st.builds("{}{}".format, patterns, REPETITIONS),
        st.builds("{}{})".format, OPENINGS, patterns),
    )


PATTERNS = st.recursive(st.one_of(LITERALS, CLASSES, BRACKETS, PLACES), _combined, max_leaves=8)
BROKEN = st.text("abc()[]{}*+?|^$.\\-:123,<>=!PdbiImsUxQEzZ", max_size=12)
VALUES = st.text("abcABC1_ é€É\n.-]^,:", max_size=6)
FLAGS = st.sampled_from(["", "c", "i", "s", "m", "ms", "im", "ism"])

# RE2's complaint, and SQL Server's number for it where it has one of its own.
OWN_NUMBERS = [("missing ):", 19308), ("missing ]:", 19308), ("unexpected ):", 19307), ("trailing \\", 19309)]


def _re2(pattern: str, flags: str, value: str) -> bool | str:
    """What RE2 says: whether it matches, or why it can't be."""
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = "i" not in flags
    modes = "".join(flag for flag in flags if flag in "ms")
    try:
        compiled = re2.compile(f"(?{modes}){pattern}" if modes else pattern, options)
    except re2.error as error:
        return str(error.args[0].decode() if isinstance(error.args[0], bytes) else error.args[0])
    return compiled.search(value) is not None


@given(pattern=st.one_of(PATTERNS, BROKEN), flags=FLAGS, value=VALUES)
@example(pattern="(?i)ABC", flags="c", value="abc")
@example(pattern="(?-i)abc", flags="i", value="ABC")
@example(pattern="[]a]", flags="", value="]")
@example(pattern="[^\\W\\d]", flags="i", value="é")
@example(pattern="[a-b-c]", flags="", value="-")
@example(pattern="|a", flags="", value="")
@example(pattern="()*", flags="", value="")
@example(pattern="^*a", flags="m", value="b\na")
@example(pattern="a\\b", flags="", value="aé")
@settings(deadline=None, max_examples=300)
def test_a_pattern_means_what_it_means_to_re2(client: Client, pattern: str, flags: str, value: str) -> None:
    # Newer than SQL Server's: named groups without P, and a name once.
    assume("(?<" not in pattern and pattern.count("(?P<") < 2)
    expected = _re2(pattern, flags, value)
    parameters = [
        Parameter("@value", SqlType("nvarchar", length=100), value),
        Parameter("@pattern", SqlType("nvarchar", length=400), pattern),
    ]
    found: bool | SqlError
    try:
        found = bool(client.value(WHERE + f"REGEXP_LIKE(@value, @pattern, '{flags}')", *parameters))
    except SqlError as error:
        found = error
    if isinstance(found, bool):
        assert found == expected
    elif found.number == 40000:
        event(re.sub(r"^.* with ", "refused: ", found.text))
    else:
        assert isinstance(expected, str), f"RE2 takes it; {found.text}"
        own = [number for complaint, number in OWN_NUMBERS if expected.startswith(complaint)]
        assert found.number == (own[0] if own else 19300), expected
        if not own and "invalid escape sequence" not in expected:
            assert f"Error '{expected}' occurred" in found.text
