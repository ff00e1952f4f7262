"""Which words of a recording have which labels, and the words that do not match."""

import pytest
from analysis.written_recordings import write_maps

from fairseq_lottery.analysis.labels.label_file import read_labels
from fairseq_lottery.analysis.labels.matching import find_division, match_labels
from fairseq_lottery.errors import LotteryError

SOURCE = ["zum Arzt, oder?", "Nein!", "Er lacht."]
COLUMNS = "zum\t1\nArzt,\t2\noder?\t3\n\nNein!\t4\n\nEr\t5\nlacht.\t6\n"


def row(number, form, head, relation, misc="_"):
    return f"{number}\t{form}\t_\t{relation.upper()}\t_\t_\t{head}\t{relation}\t_\t{misc}\n"


#: with a multiword token, an empty node, and a final full stop after a space
ZUM = (
    "# sent_id = 1\n"
    + row(1, "Er", 2, "nsubj")
    + row(2, "geht", 0, "root")
    + row("3-4", "zum", "_", "_")
    + row(3, "zu", 5, "case")
    + row(4, "dem", 5, "det")
    + row(5, "Haus", 2, "obl")
    + row("5.1", "geht", "_", "_")
    + row(6, ".", 2, "punct")
    + "\n"
)
CONLLU = "\n".join(
    [
        row(1, "zum", 2, "case") + row(2, "Arzt,", 0, "root") + row(3, "oder?", 2, "conj"),
        row(1, "Nein", 0, "root", "SpaceAfter=No") + row(2, "!", 1, "punct"),
        row(1, "Er", 2, "nsubj") + row(2, "lacht", 0, "root") + row(3, ".", 2, "punct"),
    ]
)


@pytest.fixture
def recording(tmp_path):
    return write_maps(tmp_path / "rec", SOURCE, ["a b", "c", "d e f"], sentences=[0, 2, 3], of=4)


def labels_in(tmp_path, text, *arguments):
    path = tmp_path / "labels"
    path.write_text(text, encoding="utf-8")
    return read_labels(path, *arguments)


@pytest.fixture
def divided(tmp_path):
    """A function that divides the sentence into words; None where they do not match."""
    (sentence,) = labels_in(tmp_path, ZUM, ["upos"]).sentences

    def divide(words, can_join=True):
        division = find_division(words.split(), sentence.divisions, can_join)
        return None if division is None else sentence.divide(division)

    return divide


def test_arcs_are_between_words_of_the_recording(divided):
    expected = ((0, 1, "nsubj"), (2, 3, "case"), (2, 3, "det"), (3, 1, "obl"))
    tokens = divided("Er geht zum Haus .")
    assert tokens.words == ("Er", "geht", "zum", "Haus", ".")
    assert tokens.arcs == (*expected, (4, 1, "punct"))
    # the full stop is part of the last word, though the file has a space before it
    joined = divided("Er geht zum Haus.")
    assert joined.arcs == (*expected, (3, 1, "punct"))
    assert joined.pairs == (*expected[:2], expected[3])
    assert joined.values["upos"] == ("NSUBJ", "ROOT", "CASE", "OBL")
    assert divided("Er <unk> zum Haus .").arcs == tokens.arcs
    syntactic = ((0, 1, "nsubj"), (2, 4, "case"), (3, 4, "det"), (4, 1, "obl"))
    assert divided("Er geht zu dem Haus .").arcs == (*syntactic, (5, 1, "punct"))
    assert divided("Er geht zu dem Haus.").arcs == (*syntactic, (4, 1, "punct"))


@pytest.mark.parametrize(
    "words", ["Er geht zum Haus . .", "Er geht zum Haus", "Er geht zumHaus", "Er geht zu m Haus ."]
)
def test_words_that_are_not_those_of_the_file(divided, words):
    assert divided(words) is None
    assert divided("Er geht zum Haus.", can_join=False) is None


def test_joined_words_are_compared_in_compatible_characters(tmp_path):
    text = row(1, "\ufb01ve", 2, "nummod") + row(2, "120 000", 3, "flat")
    text += row(3, "\u2026", 0, "root")
    (sentence,) = labels_in(tmp_path, text, ["upos"]).sentences
    division = find_division(["five", "120000..."], sentence.divisions, True)
    assert division == (("five", (0,)), ("120000...", (1, 2)))
    assert sentence.divide(division).arcs == ((0, 1, "nummod"),)
    assert sentence.divide(division).values["upos"] == ("NUMMOD", "ROOT")


def test_all_sentences_of_the_subset_or_the_recorded_ones(tmp_path, recording):
    first, rest = COLUMNS.split("\n\n", 1)
    for text in (COLUMNS, f"{first}\n\nunrecorded\t0\n\n{rest}"):
        found = match_labels(recording, ("source",), labels_in(tmp_path, text))
        assert [one.values["last"] for one in found] == [("1", "2", "3"), ("4",), ("5", "6")]
    with pytest.raises(LotteryError, match="has 2 sentences, expected all 4 of valid, or the 3"):
        match_labels(recording, ("source",), labels_in(tmp_path, "zum\t1\n\nNein!\t4\n"))


@pytest.mark.parametrize(
    "text, numbers",
    [
        (COLUMNS.replace("Arzt,", "Arzt."), "1 'Arzt,' 'Arzt.'"),
        (COLUMNS.replace("lacht.\t6\n", ""), "4 'lacht.' no word"),
        # words of columns have labels of their own, and are not joined
        (COLUMNS.replace("lacht.\t6\n", "lacht\t6\n.\t7\n"), "4 'lacht.' 'lacht'"),
        (CONLLU.replace("Nein", "Ja"), "3 'Nein!' 'Ja!'"),
    ],
)
def test_other_words_name_sentence_and_words(tmp_path, recording, text, numbers):
    with pytest.raises(LotteryError) as error:
        match_labels(recording, ("source",), labels_in(tmp_path, text))
    sentence, found, expected = numbers.split(" ", 2)
    message = str(error.value)
    assert message.startswith(f"sentence {sentence} of valid (source) has {found} as word")
    assert f"expected {expected} of" in message


def test_unknown_words_and_compatible_characters_match(tmp_path):
    recording = write_maps(tmp_path / "r", ["fi <unk>"])
    (labels,) = match_labels(recording, ("source",), labels_in(tmp_path, "\ufb01\tx\n\u2603\ty\n"))
    assert labels.values["last"] == ("x", "y")


def test_records_that_do_not_fit_themselves(tmp_path):
    with pytest.raises(LotteryError, match="sentences has 9, expected less than 3"):
        write_maps(tmp_path / "r", ["a"] * 3, sentences=[0, 1, 9], of=3)


@pytest.mark.parametrize("link, counts", [("0-2", "3 source and 2 target"), ("3-0", "3 source")])
def test_pairs_out_of_range_name_the_sentence(tmp_path, recording, link, counts):
    file = labels_in(tmp_path, f"{link}\n\n0-0\n", (), "alignment")
    pair = link.replace("-", " ")
    with pytest.raises(LotteryError, match=f"pair {pair} for sentence 1 of valid, .* {counts}"):
        match_labels(recording, ("source", "target"), file)
    file = labels_in(tmp_path, "1-2\n\n0-0\n", (), "alignment")
    first, *_ = match_labels(recording, ("target", "source"), file)
    assert first.pairs == ((1, 2, "arc"),)
