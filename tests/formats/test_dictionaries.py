import hashlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import PROPERTY, pair_folder, pair_of

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import Dictionaries, read_dictionaries

NAMES = ("source", "target")
ONE = pair_of(("the", "a", "house"), ("das", "ein", "Haus"))

character = st.characters(exclude_characters="\n", exclude_categories=["Cs"])
symbols = st.lists(st.text(character, min_size=1), min_size=1)


def test_the_first_symbol_that_differs_is_named():
    ONE.refuse_other(
        pair_of(*(tuple(side) for side in (ONE["source"], ONE["target"]))), "the ticket"
    )
    other = pair_of(ONE["source"], ("das", "Haus", "ein"))
    with pytest.raises(LotteryError, match="the target dictionary .*symbol 1 is 'Haus'.*'ein'"):
        ONE.refuse_other(other, "the ticket")
    with pytest.raises(LotteryError, match="the source dictionary .*symbol 0 is 'das'.*'the'"):
        ONE.refuse_other(pair_of(ONE["target"], ONE["source"]), "the ticket")


def test_a_longer_or_shorter_dictionary_is_refused():
    longer = pair_of((*ONE["source"], "garden"), ONE["target"])
    with pytest.raises(LotteryError, match="data has 4 symbols, expected 3"):
        ONE.refuse_other(longer, "the ticket")
    with pytest.raises(LotteryError, match="data has 3 symbols, expected 4"):
        longer.refuse_other(ONE, "the ticket")


@PROPERTY
@given(symbols.map(tuple), symbols.map(tuple))
def test_any_symbols_survive_as_bytes(source, target):
    for pair in (pair_of(source, target), pair_of(source, source)):
        tensors = pair.to_tensors()
        assert Dictionaries.from_tensors(tensors, NAMES) == pair
        is_joined = pair["source"] == pair["target"]
        assert ("target" in tensors) != is_joined, "a joined one is stored once"
        assert all(t.dtype == torch.uint8 and t.dim() == 1 for t in tensors.values())


def test_digests_are_by_side():
    digests = ONE.digests()
    assert digests["source"] == hashlib.sha256(b"the\na\nhouse").hexdigest()
    assert digests["target"] != digests["source"]
    assert pair_of(ONE["target"], ONE["source"]).digests()["target"] == digests["source"]


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(LotteryError, match="not UTF-8; the file is malformed"):
        Dictionaries.from_tensors({"source": torch.tensor([255, 254], dtype=torch.uint8)}, NAMES)


def test_the_files_of_fairseq_preprocess_are_read_as_fairseq_does(tmp_path):
    lines = "the 120\n\u2581a 99\n1 000 7\n# 5\n<s> 3 #fairseq:overwrite\nmadeupword0000 0\n"
    (tmp_path / "dict.en.txt").write_text(lines, encoding="utf-8")
    (tmp_path / "dict.de.txt").write_text("Über\u00a0 4\n", encoding="utf-8")
    found = read_dictionaries(pair_folder(tmp_path, "en", "de"))
    assert found["source"] == ("the", "\u2581a", "1 000", "#", "<s>", "madeupword0000")
    assert found["target"] == ("Über\u00a0",)
    data = pytest.importorskip("fairseq.data")
    for language, symbols in (("en", found["source"]), ("de", found["target"])):
        theirs = data.Dictionary.load(str(tmp_path / f"dict.{language}.txt"))
        assert tuple(theirs.symbols[theirs.nspecial :]) == symbols


def test_a_missing_or_unreadable_dictionary_is_refused(tmp_path):
    (tmp_path / "dict.en.txt").write_text("the 1\n")
    with pytest.raises(LotteryError, match="the dictionary .*dict.de.txt cannot be read"):
        read_dictionaries(pair_folder(tmp_path, "en", "de"))
    (tmp_path / "dict.de.txt").write_bytes(b"\xff 1\n")
    with pytest.raises(LotteryError, match="the dictionary .*dict.de.txt cannot be read"):
        read_dictionaries(pair_folder(tmp_path, "en", "de"))


@pytest.mark.parametrize(
    "text", ["the 1\nthe 2\n", "<s> 3\n", "the\n", "the 1\n\na 2\n", "the one\n"]
)
def test_what_fairseq_cannot_load_is_refused(tmp_path, text):
    """Lines without a count, blank lines, and a symbol that is there twice."""
    data = pytest.importorskip("fairseq.data")
    (tmp_path / "dict.en.txt").write_text(text)
    with pytest.raises((RuntimeError, ValueError)):
        data.Dictionary.load(str(tmp_path / "dict.en.txt"))
    with pytest.raises(LotteryError, match="the dictionary .*dict.en.txt cannot be read: "):
        read_dictionaries(pair_folder(tmp_path, "en", "en"))


@pytest.mark.parametrize("has_fairseq", [True, False])
def test_with_and_without_fairseq_the_same_is_read(tmp_path, monkeypatch, has_fairseq):
    if not has_fairseq:
        monkeypatch.setattr("fairseq_lottery.formats.dictionaries.fairseq_module", lambda _: None)
    lines = "the 120\n\u2581a 99\n1 000 7\n<s> 3 #fairseq:overwrite\nmadeupword0000 0\n"
    (tmp_path / "dict.en.txt").write_text(lines, encoding="utf-8")
    found = read_dictionaries(pair_folder(tmp_path, "en", "en"))
    assert found["target"] == ("the", "\u2581a", "1 000", "<s>", "madeupword0000")
