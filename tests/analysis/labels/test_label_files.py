"""Readers of label files, on what other tools wrote."""

import pytest

from fairseq_lottery.analysis.labels.label_file import Labels, read_labels
from fairseq_lottery.errors import LotteryError

#: columns as treebanks of Universal Dependencies have them: comments, a multiword token, an empty
#: node, enhanced dependencies, SpaceAfter. The sentences are ours
TREEBANK = """\
# newdoc id = one
# sent_id = one-1
# text = Sie geht zum Arzt, oder?
1	Sie	sie	PRON	PPER	Case=Nom|Number=Sing|Person=3	2	nsubj	2:nsubj	_
2	geht	gehen	VERB	VVFIN	Mood=Ind|Number=Sing	0	root	0:root	_
3-4	zum	_	_	_	_	_	_	_	_
3	zu	zu	ADP	APPR	_	5	case	5:case	_
4	dem	der	DET	ART	Case=Dat|Gender=Masc	5	det	5:det	_
5	Arzt	Arzt	NOUN	NN	Case=Dat|Gender=Masc	2	obl	2:obl:zu	SpaceAfter=No
6	,	,	PUNCT	$,	_	7	punct	7.1:punct	_
7	oder	oder	CCONJ	KON	_	2	conj	7.1:cc	SpaceAfter=No
7.1	geht	gehen	VERB	_	_	_	_	2:conj	CopyOf=2
8	?	?	PUNCT	$.	_	2	punct	2:punct	_

# sent_id = one-2
# text = Nein!
1	Nein	nein	INTJ	_	_	0	root	0:root	SpaceAfter=No|Mood=calm
2	!	!	PUNCT	_	_	1	punct	1:punct	_
"""
#: a number with more digits than Python converts
NINES = "9" * 5000


def write(tmp_path, text, name="labels"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def divided(sentence):
    """Labels of each division of a sentence into words."""
    return [sentence.divide(one) for one in sentence.divisions]


def test_syntactic_words_of_conllu(tmp_path):
    file = read_labels(write(tmp_path, TREEBANK))
    assert file.tasks == ("upos", "arc", "relation")
    words = divided(file.sentences[0])[0]
    assert words.words == ("Sie", "geht", "zu", "dem", "Arzt", ",", "oder", "?")
    assert words.values["upos"] == (
        "PRON", "VERB", "ADP", "DET", "NOUN", "PUNCT", "CCONJ", "PUNCT",
    )  # fmt: skip
    assert words.pairs == (
        (0, 1, "nsubj"), (2, 4, "case"), (3, 4, "det"), (4, 1, "obl"), (5, 6, "punct"),
        (6, 1, "conj"), (7, 1, "punct"),
    )  # fmt: skip


def test_tokens_and_joined_words_of_conllu(tmp_path):
    first, second = map(divided, read_labels(write(tmp_path, TREEBANK), ["upos", "Case"]).sentences)
    _, tokens, joined = first
    assert tokens.words == ("Sie", "geht", "zum", "Arzt", ",", "oder", "?")
    assert tokens.values["upos"][2] == "ADP"  # zu and dem both depend on Arzt; the first counts
    assert tokens.pairs[1:3] == ((2, 3, "case"), (3, 1, "obl"))
    assert tokens.arcs[1:4] == ((2, 3, "case"), (2, 3, "det"), (3, 1, "obl"))
    assert joined.words == ("Sie", "geht", "zum", "Arzt,", "oder?")
    assert joined.values["Case"] == ("Nom", None, None, "Dat", None)
    assert joined.pairs == ((0, 1, "nsubj"), (2, 3, "case"), (3, 1, "obl"), (4, 1, "conj"))
    assert [one.words for one in second] == [("Nein", "!"), ("Nein!",)]
    assert second[1].pairs == ()


def test_features_come_before_entries_of_misc(tmp_path):
    file = read_labels(write(tmp_path, TREEBANK), ["Mood"])
    assert file.sentences[0].values["Mood"][1] == "Ind"
    assert file.sentences[1].values["Mood"] == ("calm", None)


def test_a_word_with_a_space_is_two_words(tmp_path):
    lines = ["1 120~000 _ NUM _ _ 2 nummod _ _", "2 francs _ NOUN _ _ 0 root _ SpaceAfter=No"]
    lines = [*lines, "3 . _ PUNCT _ _ 2 punct _ _"]
    text = "".join(line.replace(" ", "\t").replace("~", " ") + "\n" for line in lines)
    words, joined, whole = divided(read_labels(write(tmp_path, text)).sentences[0])
    assert words.words == ("120", "000", "francs", ".")
    assert words.values["upos"] == ("NUM", None, "NOUN", "PUNCT")
    assert words.pairs == ((0, 2, "nummod"), (3, 2, "punct"))
    assert joined.words == ("120", "000", "francs.")
    assert joined.pairs == ((0, 2, "nummod"),)
    assert whole.words == ("120000", "francs", ".")
    assert whole.pairs == ((0, 1, "nummod"), (2, 1, "punct"))


def test_line_ends_and_byte_order_marks_of_windows(tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(b"\xef\xbb\xbf" + TREEBANK.replace("\n", "\r\n").encode())
    plain = write(tmp_path, TREEBANK, "plain")
    assert read_labels(path).sentences == read_labels(plain).sentences


def test_columns_of_conll_2003(tmp_path):
    text = (
        "-DOCSTART- -X- O O\n\nAnna NNP I-NP I-PER\nBerg NNP I-NP I-PER\nsings VBZ I-VP O\n\n\n"
        "-DOCSTART- -X- O O\n\nOslo NNP I-NP I-LOC\n"
    )
    file = read_labels(write(tmp_path, text))
    words = [divided(one)[0].words for one in file.sentences]
    assert words == [("Anna", "Berg", "sings"), ("Oslo",)]
    assert file.sentences[0].values == {"last": ("I-PER", "I-PER", "O")}
    chunks = read_labels(write(tmp_path, text), ["2", "3"]).sentences[1]
    assert chunks.values == {"2": ("NNP",), "3": ("I-NP",)}


def test_words_and_labels_separated_by_tabs(tmp_path):
    text = "# \tX\nthe\tDET\nold man\tNOUN\nis\t_\nnow\n\n1\t2.5\n"
    file = read_labels(write(tmp_path, text), format="columns")
    assert [divided(one)[0] for one in file.sentences] == [
        Labels(("#", "the", "old man", "is", "now"), {"last": ("X", "DET", "NOUN", None, None)}),
        Labels(("1",), {"last": ("2.5",)}),
    ]


def test_pairs_of_each_sentence(tmp_path):
    file = read_labels(write(tmp_path, "\n0\t2\tagent\n1\t2\tpatient of\n\n\n0\t1\tagent\n"))
    assert (file.format, file.tasks) == ("pairs", ("arc", "relation"))
    assert [one.pairs for one in file.sentences] == [
        (), ((0, 2, "agent"), (1, 2, "patient of")), (), ((0, 1, "agent"),),
    ]  # fmt: skip


def test_alignments(tmp_path):
    file = read_labels(write(tmp_path, "0-0 1-2 0-0\n\n2-1\n"), format="alignment")
    assert file.tasks == ("arc",)
    assert [[pair[:2] for pair in one.pairs] for one in file.sentences] == [
        [(0, 0), (1, 2)], [], [(2, 1)],
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text, tasks, format, sentence",
    [
        ("", [], None, "has no sentence"),
        ("\n\n", ["upos"], None, "has no sentence"),
        ("a\n", [], None, "words without labels"),
        (TREEBANK, ["Gendre"], None, "has no label 'Gendre'; choose from upos, xpos, deprel, arc"),
        (TREEBANK.replace("3-4\tzum\t_", "3-4\tzum"), [], None, "line 6 has 9 columns"),
        (TREEBANK.replace("\n2\tgeht", "\n3\tgeht"), [], None, "line 5 has the ID '3', expected 2"),
        (TREEBANK.replace("\t5\tdet", "\t50\tdet"), [], None, "word 4 of the sentence at line 4"),
        (TREEBANK.replace("\t5\tdet", "\tx\tdet"), [], None, "the head 'x', expected a number"),
        (TREEBANK.replace("\t5\tdet", f"\t{NINES}\tdet"), [], None, "has the head '999"),
        (TREEBANK.replace("1\tSie", "x\tSie"), [], "conllu", "line 4 has the ID 'x', expected 1"),
        (TREEBANK.replace("\n3-4\t", f"\n3-{NINES}\t"), [], None, "line 6 has the ID '3-999"),
        (TREEBANK.replace("\n1\tSie", "\n1\t"), [], None, "line 4 has no FORM"),
        ("a b\nc\n", ["2"], None, "line 2 has 1 columns, expected 2"),
        ("a b\n", ["upos"], None, "has no label 'upos'; give the number of a column"),
        ("0\t1\tx\n0\tx\n", [], None, "line 2 is"),
        ("a b\n", [NINES], "columns", "give the number of a column"),
        (f"0\t1\tx\n0\t{NINES}\tx\n", [], None, "line 2 is"),
        ("0-1 2:3\n", [], "alignment", "line 1 has '2:3'"),
        (f"0-{NINES}\n", [], "alignment", "line 1 has '0-999"),
        ("\n", [], "alignment", "has no pair"),
        ("a b\n", [], "xml", "format 'xml' is unknown"),
    ],
)
def test_malformed_files_are_refused_in_a_sentence(tmp_path, text, tasks, format, sentence):
    with pytest.raises(LotteryError) as error:
        read_labels(write(tmp_path, text), tasks, format)
    assert sentence in str(error.value)


def test_files_that_are_not_text(tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LotteryError, match="it is not UTF-8"):
        read_labels(path)
    with pytest.raises(LotteryError, match="No such file"):
        read_labels(tmp_path / "missing")
