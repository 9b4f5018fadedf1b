"""The order of text (Windows' word sort, by the family and the language of the collation) and of uniqueidentifier."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sqlserver_standin.engine_support import new_database
from tests.sqlserver_standin.sql_support import Client


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with new_database() as client:
        client.events("CREATE TABLE word (w nvarchar(30) NULL)")
        yield client


def sort(client: Client, words: str, collation: str = "") -> str:
    """The words, which blanks separate, in the order of the collation."""
    values = ", ".join("(N'{}')".format(word.replace("'", "''")) for word in reversed(words.split()))
    clause = f"COLLATE {collation}" if collation else ""
    rows = client.rows(f"SELECT w FROM (VALUES {values}) AS t (w) ORDER BY w {clause}")
    return " ".join(word for (word,) in rows)


IN_ORDER = [
    # Microsoft's own examples: knowledge base article 305704, and the archive of Chad Boyd's blog.
    ("", "carps cars car's car-s"),
    ("", "abctest abc-test abctest1 abc-test1"),
    ("", "co_op coat comb coop co-op cork went were we're"),
    # As https://ask.sqlservercentral.com/questions/109765 shows them.
    ("", "_'_ _-_ _+_ _0_ A+A A0A A'A A-A"),
    ("", "A,B AA A-A AB AC ZA"),
    # Punctuation, digits, letters: https://superuser.com/questions/681322
    ("", '! " # $ % & ( ) * , . / : ; ? @ [ \\ ] ^ _ ` { | } ~ + < = > 0 1 9 a z'),
    # Accents count only where the letters are the same.
    ("", "a á à ä ab áb b o ø oz p z"),
    ("", "cote coté côte côté coter"),
    ("", "ad æf ag s sr ß st"),
    ("", "Zoë zoom α β я"),
    # So does case.
    ("Latin1_General_CS_AS", "a A á Á ab aB Ab AB b B"),
    ("Latin1_General_CS_AS", "co-op Co-op CO-OP coops"),
    ("Latin1_General_BIN2", "A B a b á"),
    ("Finnish_Swedish_100_CI_AS", "a o u y ü z å ä ö"),
    ("Finnish_Swedish_CS_AS", "z Z å Å ä Ä ö Ö"),
    ("Danish_Norwegian_CI_AS", "a ab z æ ø å aalborg"),
    ("Modern_Spanish_CI_AS", "n nz ñ ña o"),
    ("German_PhoneBook_CI_AS", "ad ä ae af o ö oe of"),
]


@pytest.mark.parametrize(("collation", "words"), IN_ORDER)
def test_words_come_in_the_order_of_the_collation(client: Client, collation: str, words: str) -> None:
    assert sort(client, words, collation) == words


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("N'ß' = N'ss'", True),
        ("N'œuf' = N'OEUF'", True),
        ("N'æ' = N'ae' COLLATE Latin1_General_CS_AS", True),
        ("N'Æ' = N'ae' COLLATE Latin1_General_CS_AS", False),
        ("N'ß' = N'ss' COLLATE Latin1_General_BIN2", False),
        ("N'ä' = N'ae'", False),
        ("N'co-op' = N'coop'", False),
        ("N'ø' = N'o'", False),
        ("N'ø' = N'o' COLLATE Latin1_General_CI_AI", True),
        # One character, or a letter and its accent.
        ("NCHAR(233) = N'e' + NCHAR(769)", True),
        ("N'a-b' < N'ab'", False),
        ("N'a-b' < N'ac'", True),
        ("N'á' BETWEEN N'a' AND N'b'", True),
        ("N'a' < N'A' COLLATE Latin1_General_CS_AS", True),
    ],
)
def test_comparisons_agree_with_the_order(client: Client, condition: str, holds: bool) -> None:
    assert client.value(f"SELECT CASE WHEN {condition} THEN 1 ELSE 0 END") == holds


def test_equal_texts_are_one_group_and_one_key(client: Client) -> None:
    rows = client.rows(
        "SELECT COUNT(*) FROM (VALUES (N'Straße'), (N'STRASSE'), (N'strasse ')) AS t (w) GROUP BY w"
    )
    assert rows == [(3,)]
    client.events(
        "CREATE TABLE street (name nvarchar(30) PRIMARY KEY); INSERT INTO street VALUES (N'Straße')"
    )
    assert client.error("INSERT INTO street VALUES (N'STRASSE')")[0] == 2627
    assert client.value("SELECT name FROM street WHERE name = N'strasse'") == "Straße"


def test_null_comes_first_and_last_when_descending(client: Client) -> None:
    client.events("DELETE FROM word; INSERT INTO word VALUES (N'ö'), (NULL), (N'z'), (N'-')")
    for collation in ("", "COLLATE Finnish_Swedish_100_CI_AS", "COLLATE Latin1_General_BIN2"):
        rows = client.rows(f"SELECT w FROM word ORDER BY w {collation}")
        assert rows[0] == (None,)
        assert client.rows(f"SELECT w FROM word ORDER BY w {collation} DESC") == rows[::-1]


def test_a_languages_order_holds_for_columns_windows_and_distinct(client: Client) -> None:
    client.events(
        "CREATE TABLE ord (id int, w nvarchar(9) COLLATE Finnish_Swedish_100_CI_AS);"
        "INSERT INTO ord VALUES (1, N'ö'), (2, N'p'), (3, N'o'), (4, N'ä')"
    )
    assert client.rows("SELECT w FROM ord ORDER BY w") == [("o",), ("p",), ("ä",), ("ö",)]
    assert client.rows("SELECT id FROM ord ORDER BY w DESC") == [(1,), (4,), (2,), (3,)]
    assert client.rows("SELECT w, COUNT(*) FROM ord GROUP BY w ORDER BY w") == [
        ("o", 1),
        ("p", 1),
        ("ä", 1),
        ("ö", 1),
    ]
    assert client.rows("SELECT id, ROW_NUMBER() OVER (ORDER BY w) FROM ord ORDER BY id") == [
        (1, 4),
        (2, 2),
        (3, 1),
        (4, 3),
    ]
    assert len(client.rows("SELECT DISTINCT w FROM ord ORDER BY w")) == 4


def test_an_index_finds_what_it_holds_in_that_order(client: Client) -> None:
    client.events("CREATE TABLE many (w nvarchar(30) PRIMARY KEY)")
    client.events(
        "INSERT INTO many SELECT CONCAT(CHOOSE(value % 5 + 1, N'a-', N'á', N'A''', N'æ', N'_'), value) "
        "FROM GENERATE_SERIES(1, 500)"
    )
    assert (
        client.value("SELECT COUNT(*) FROM many m WHERE EXISTS (SELECT 1 FROM many n WHERE n.w = m.w)") == 500
    )
    ordered = [word for (word,) in client.rows("SELECT w FROM many ORDER BY w")]
    for number in (7, 133, 250, 499):
        assert (
            client.value(
                f"SELECT COUNT(*) FROM many WHERE w <= N'{ordered[number].replace(chr(39), chr(39) * 2)}'"
            )
            == number + 1
        )


def test_a_uniqueidentifier_is_sorted_by_its_last_group_first(client: Client) -> None:
    # Each digit that counts more than the one before: the order of SqlGuid.CompareTo().
    digits = [
        "01000000-0000-0000-0000-000000000000",
        "00000001-0000-0000-0000-000000000000",
        "00000000-0100-0000-0000-000000000000",
        "00000000-0001-0000-0000-000000000000",
        "00000000-0000-0100-0000-000000000000",
        "00000000-0000-0001-0000-000000000000",
        "00000000-0000-0000-0001-000000000000",
        "00000000-0000-0000-0100-000000000000",
        "00000000-0000-0000-0000-000000000001",
        "00000000-0000-0000-0000-010000000000",
    ]
    client.events("CREATE TABLE keyed (u uniqueidentifier NULL, n int)")
    for number, value in reversed(list(enumerate(digits))):
        client.events(f"INSERT INTO keyed VALUES ('{value}', {number})")
    client.events("INSERT INTO keyed VALUES (NULL, -1)")
    expected = [(number,) for number in range(-1, len(digits))]
    assert client.rows("SELECT n FROM keyed ORDER BY u") == expected
    assert client.rows("SELECT n FROM keyed ORDER BY u DESC") == expected[::-1]
    assert [str(u) for (u,) in client.rows("SELECT u FROM keyed WHERE u IS NOT NULL ORDER BY u")] == digits
    assert client.rows("SELECT n - ROW_NUMBER() OVER (ORDER BY u) FROM keyed ORDER BY n") == [(-2,)] * 11
