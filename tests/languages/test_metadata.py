"""Reading a table of facts about languages."""

import pytest

from fairseq_lottery.demo.languages.language_table import table
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.languages.metadata import read_metadata

TABLE = """# made up
language	family	order	size
aa	north	SVO	1200
bb	north	SOV	3e2
cc	south	-	40.5

aa-en	south	VSO	
"""


def write(folder, text):
    path = folder / "languages.tsv"
    path.write_text(text, encoding="utf-8")
    return path


def test_words_numbers_and_unknown_facts(tmp_path):
    table = read_metadata(write(tmp_path, TABLE))
    assert table.languages == ["aa", "bb", "cc", "aa-en"]
    assert table.facts("aa") == {"family": "north", "order": "SVO", "size": 1200.0}
    assert table.facts("bb")["size"] == 300.0
    assert table.facts("cc") == {"family": "south", "order": None, "size": 40.5}
    assert table.facts("aa-en")["size"] is None
    assert [table.is_number(name) for name in table.columns] == [False, False, True]


@pytest.mark.parametrize("text, message", [
    ("", "must start with a header whose first column is language"),
    ("name\tfamily\naa\tx\nbb\ty\n", "must start with a header whose first column is language"),
    ("language family\naa x\nbb y\n", "must start with a header"),
    ("language\naa\nbb\n", "has 0 columns of facts, expected from 1"),
    ("language\tfamily\naa\tx\n", "has 1 languages, expected from 2"),
    ("language\tf\tf\naa\tx\tx\nbb\tx\tx\n", "the column f is given twice"),
    ("language\t=f\naa\tx\nbb\tx\n", "the column '=f' is malformed"),
    ("language\tf\naa\tx\nbb\tx\tz\n", "line 3 has 3 columns, expected 2"),
    ("language\tf\naa\tx\n\naa\tx\n", "line 4: the language aa is given twice"),
    ("language\tf\naa\tx\nb/b\tx\n", "line 3: the language 'b/b' is malformed"),
    ("language\tf\naa\tx\nbb\t=1+1\n", "line 3: f is '=1\\+1', expected a number or a word"),
    ("language\tf\naa\t1\nbb\t1e999\n", "line 3: f is '1e999', expected a number or a word"),
    ("language\tf\naa\tnan\nbb\t1\n", "line 3: f is '1', but lines above have words"),
    ("language\tf\naa\t1\nbb\tone\n", "line 3: f is 'one', but lines above have numbers"),
    ("language\tf\naa\tx\nbb\t" + "y" * 70 + "\n", "line 3: f is 'y+', expected"),
])  # fmt: skip
def test_malformed_tables_are_refused_with_their_line(tmp_path, text, message):
    with pytest.raises(LotteryError, match=f"languages.tsv.*{message}"):
        read_metadata(write(tmp_path, text))


def test_files_that_are_not_texts_are_refused(tmp_path):
    path = tmp_path / "languages.tsv"
    with pytest.raises(LotteryError, match="cannot be read: No such file"):
        read_metadata(path)
    path.write_bytes(b"language\tf\n\xff\t1\n")
    with pytest.raises(LotteryError, match="cannot be read: it is not UTF-8"):
        read_metadata(path)
    with pytest.raises(LotteryError, match="cannot be read: Is a directory"):
        read_metadata(tmp_path)


def test_the_language_of_a_pair_is_the_one_that_not_all_pairs_have(tmp_path):
    table = read_metadata(write(tmp_path, TABLE))
    assert table.languages_of(["bb", "aa"]) == ["bb", "aa"]
    assert table.languages_of(["bb-en", "cc-en"]) == ["bb", "cc"]
    assert table.languages_of(["en-bb", "en-cc"]) == ["bb", "cc"]
    assert table.languages_of(["aa-en", "cc-en"]) == ["aa-en", "cc"], "a row of its own"
    with pytest.raises(LotteryError, match="no row for dd-en"):
        table.languages_of(["bb-en", "dd-en"])
    with pytest.raises(LotteryError, match="no row for bb-cc"):
        table.languages_of(["bb-cc", "cc-bb"])
    with pytest.raises(LotteryError, match="bb-en and en-bb have the same row of .*, bb;"):
        table.languages_of(["bb-en", "en-bb", "cc-en"])


def test_the_table_of_the_demos_languages(tmp_path):
    rows = table(6000)
    path = write(tmp_path, "".join("\t".join(row) + "\n" for row in rows))
    facts = read_metadata(path)
    assert list(facts.columns) == rows[0][1:] and facts.languages == [row[0] for row in rows[1:]]
    assert facts.facts("nb")["order"] == "SOV" and facts.facts("nb")["sentences"] == 3000
    assert facts.languages_of(["en-na", "en-sb"]) == ["na", "sb"]
