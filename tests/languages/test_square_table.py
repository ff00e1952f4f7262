"""Reading square tables of similarities."""

import pytest

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.languages.square_table import SquareTable, read_square

SQUARE = ",aa,bb,cc\naa,1,0.5,-0.25\nbb,0.5,1,2e-1\ncc,-0.25,0.2,1\n"


def write(folder, text):
    path = folder / "square.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("mark", [",", "\t"])
def test_commas_and_tabs(tmp_path, mark):
    table = read_square(write(tmp_path, SQUARE.replace(",", mark)))
    assert table.names == ("aa", "bb", "cc")
    assert table.values[0].tolist() == [1, 0.5, -0.25] and table.values[1, 2] == 0.2
    assert table.lines()[1].split() == ["aa", "-", "0.500", "-0.250"]


def test_the_diagonal_may_have_anything(tmp_path):
    text = SQUARE.replace("aa,1,", "aa,,").replace("bb,0.5,1,", "bb,0.5,-,")
    assert read_square(write(tmp_path, text)).values[0, 1] == 0.5


@pytest.mark.parametrize("old, new, message", [
    ("", "", "cannot be read: No such file"),
    (SQUARE, "", "is not a square table"),
    (",aa,bb,cc\n", "", "is not a square table"),
    ("\nbb,", "\nbx,", "is not a square table"),
    ("-0.25\n", "-0.25,3\n", "is not a square table"),
    ("0.5,-0.25", "0.5,x", "the similarity of aa and cc is 'x', expected a number"),
    ("0.5,-0.25", "0.5,nan", "the similarity of aa and cc is 'nan', expected a number"),
    ("0.5,-0.25", "0.5,1e999", "aa and cc is '1e999', expected a number"),
    ("cc,-0.25", "cc,-0.26", "two different similarities of aa and cc"),
    ("bb", "b b", "the language 'b b' is malformed"),
    (SQUARE, ",aa,bb\naa,1,2\nbb,2,1\n", "2 languages are given, expected from 3"),
    ("bb", "aa", "the language aa is given twice"),
])  # fmt: skip
def test_other_tables_are_refused(tmp_path, old, new, message):
    path = tmp_path / "square.csv"
    if old:
        write(tmp_path, SQUARE.replace(old, new))
    with pytest.raises(LotteryError, match=f"square.csv.*{message}"):
        read_square(path)


def test_pairs_in_either_order():
    table = SquareTable.of(["aa", "bb", "cc"], {("bb", "aa"): 1, ("aa", "cc"): 2, ("bb", "cc"): 3})
    assert table.values.tolist() == [[1, 1, 2], [1, 1, 3], [2, 3, 1]]
