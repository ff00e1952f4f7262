import re
from array import array
from collections import Counter
from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st
from preparation.normalise import normalise
from preparation.pairs import AHEAD, ordered, read_pairs, writing_pairs
from preparation.subwords import cut_pairs, cut_training, learn, unfit
from preparation.text import clean_pairs, clean_set, clean_training, count_duplicates
from preparation.wmt14.google import same_sentence
from small import PROPERTY
from wmt14_mirror import Text, plain

from fairseq_lottery.errors import LotteryError

PAIR = ("en", "de")


@pytest.mark.parametrize(
    "language, raw, expected",
    [
        ("de", "„Ja“, sagte er – und…", '"Ja", sagte er - und...'),
        ("en", "it’s  “so” ( maybe )", 'it\'s "so" (maybe)'),
        ("fr", "«\u00a0Oui\u00a0»\u00a0: 10\u00a0000 €", '"Oui": 10 000 €'),
        ("de", "Zeit\u00adschrift\u200b", "Zeitschrift"),  # nothing that shows is between
        ("de", "ein\rzwei\tdrei\x00vier\u2028fünf", "ein zwei drei vier fünf"),
        ("de", " \u00a0\u3000 ", ""),
    ],
)
def test_what_becomes_of_a_sentence(language, raw, expected):
    assert normalise(raw, language) == expected


@PROPERTY
@given(text=st.text(), language=st.sampled_from(["en", "de", "fr"]))
def test_every_sentence_is_one_line_that_fairseq_splits_at_plain_spaces_only(text, language):
    clean = normalise(text, language)
    # fairseq's tokenize_line: white space of any kind separates
    assert " ".join(re.sub(r"\s+", " ", clean).strip().split()) == clean
    assert len(clean.splitlines()) <= 1
    assert not {category(character) for character in clean} & {"Cc", "Zl", "Zp"}
    assert not any(category(character) == "Zs" for character in clean.replace(" ", ""))


def test_pairs_are_dropped_for_a_reason_that_is_counted():
    raw = [(b"one", b"eins"), (b"two", b"\xff"), (b" ", b"drei"), (b"", b""), (b"one ", b"eins")]
    kept, counts, digests = clean_pairs(raw, PAIR)
    assert kept == [("one", "eins"), ("one", "eins")]
    assert counts == {"read": 5, "not_utf8": 1, "empty": 2, "kept": 2}
    assert count_duplicates(array("Q", digests)) == 1


@PROPERTY
@given(st.lists(st.integers(0, 30)))
def test_duplicates_are_entries_that_were_there_before(values):
    assert count_duplicates(array("Q", values)) == len(values) - len(Counter(values))


def test_a_corpus_is_cleaned_with_counts(tmp_path, capsys):
    (tmp_path / "web.en").write_bytes(b"one\n\ntwo\none\r\n" + b"\xfe\n")
    (tmp_path / "web.de").write_bytes("eins\nnichts\nzwei\u2028zwei\neins\nfünf\n".encode())
    (tmp_path / "news.en").write_bytes(b"two\n")
    (tmp_path / "news.de").write_bytes(b"zwei zwei\n")
    out = tmp_path / "out"
    out.mkdir()
    record = clean_training(tmp_path, ["web", "news"], PAIR, out, workers=1)
    assert (out / "train.en").read_text() == "one\ntwo\none\ntwo\n"
    assert (out / "train.de").read_text() == "eins\nzwei zwei\neins\nzwei zwei\n"
    assert record == {
        **{"read": 6, "not_utf8": 1, "empty": 1, "kept": 4, "duplicates": 2},
        "corpora": {
            "web": {"read": 5, "not_utf8": 1, "empty": 1, "kept": 3},
            "news": {"read": 1, "not_utf8": 0, "empty": 0, "kept": 1},
        },
    }
    assert "2 of the kept are duplicates, and stay" in capsys.readouterr().out


def test_a_corpus_of_which_nothing_is_left_is_refused(tmp_path):
    for name in ("web.en", "web.de"):
        (tmp_path / name).write_bytes(b"\n\n")
    with pytest.raises(LotteryError, match="no pair of sentences is left"):
        clean_training(tmp_path, ["web"], PAIR, tmp_path, workers=1)


def test_sets_keep_every_sentence_and_lose_their_entities(tmp_path):
    (tmp_path / "test.en").write_text("AT&amp;T\n\n“so”\n", encoding="utf-8")
    (tmp_path / "test.de").write_text("a &lt; b\n\nso\n", encoding="utf-8")
    out = tmp_path / "out"
    out.mkdir()
    assert clean_set(tmp_path, "test", PAIR, out) == 3
    assert (out / "test.en").read_text() == 'AT&T\n\n"so"\n'
    assert (out / "test.de").read_text() == "a < b\n\nso\n"


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_and_the_stream_is_not_read_ahead(workers):
    taken = []

    def stream():
        for i in range(200):
            taken.append(i)
            yield i

    results = ordered(str, stream(), workers)
    for expected in range(200):
        assert next(results) == str(expected)
        assert len(taken) <= expected + AHEAD * workers
    assert next(results, None) is None


def test_a_worker_that_is_killed_ends_in_one_sentence():
    with pytest.raises(LotteryError, match="a worker process was killed"):
        list(ordered(_die, [1], 2))


def _die(_):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


def test_pairs_are_read_as_they_were_written(tmp_path):
    pairs = [("a\rb", "c"), ("", "d\u2028e"), ("f", "g")]
    with writing_pairs(tmp_path, "x", PAIR) as write:
        write(pairs)
    chunks = list(read_pairs(tmp_path / "x.en", tmp_path / "x.de"))
    assert [[(a.decode(), b.decode()) for a, b in chunk] for chunk in chunks] == [pairs]


@pytest.mark.parametrize(
    "first, second, reason",
    [
        *((1, 1, None), (250, 250, None), (251, 250, "too_long"), (250, 251, "too_long")),
        *((2, 3, None), (3, 2, None), (2, 4, "ratio"), (100, 151, "ratio"), (100, 150, None)),
        (0, 1, "ratio"),
    ],
)
def test_lengths_are_those_of_clean_corpus_n(first, second, reason):
    assert unfit(first, second) == reason


def texts_in(folder):
    return [folder / f"train.{language}" for language in PAIR]


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """Clean text and word pieces of 120 types."""
    folder = tmp_path_factory.mktemp("learnt")
    lines = Text("en-de", seed=5).sentences(400)
    for language in PAIR:
        (folder / f"train.{language}").write_bytes(plain(lines[language]))
    record = learn(texts_in(folder), 120, 10_000, 1, folder)
    characters = set("".join(map("".join, lines.values()))) - {" "} | {"\u2581"}
    assert record == {"pieces": 116, "characters": len(characters)}  # and fairseq's four symbols
    return folder


def test_the_dictionary_has_every_piece_and_none_of_fairseqs_own(learnt):
    lines = (learnt / "dict.txt").read_text(encoding="utf-8").split("\n")[:-1]
    pieces = [line.rsplit(" ", 1)[0] for line in lines]
    assert len(set(pieces)) == len(pieces) == 116
    assert not {"<s>", "<pad>", "</s>", "<unk>"} & set(pieces)
    assert {line.rsplit(" ", 1)[1] for line in lines} == {"1"}


def test_the_same_text_gives_the_same_pieces(learnt, tmp_path):
    learn(texts_in(learnt), 120, 10_000, 1, tmp_path)
    assert (tmp_path / "spm.model").read_bytes() == (learnt / "spm.model").read_bytes()


def test_too_many_types_are_refused(learnt, tmp_path):
    with pytest.raises(LotteryError, match="cannot learn 9,000 types .*smaller --vocabulary"):
        learn(texts_in(learnt), 9000, 10_000, 1, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_pieces_give_the_sentence_back_and_unknown_ones_are_counted(learnt):
    raw = [(b"the old house 7.", b"das alte haus 7."), ("the \u4e2d".encode(), b"das x")]
    pairs, counts = cut_pairs(raw, learnt / "spm.model", drop=False)
    first = pairs[0][0]
    assert first.replace(" ", "").replace("\u2581", " ").strip() == "the old house 7."
    assert pairs[1][0].split()[-1] == "<unk>"
    assert counts["unknown"] == sum(side.split().count("<unk>") for p in pairs for side in p)
    assert counts["pieces"] == sum(len(side.split()) for p in pairs for side in p)
    assert (counts["read"], counts["kept"]) == (2, 2)


def test_unfit_training_pairs_are_dropped_and_counted(learnt, tmp_path):
    good, long_ = b"the old house 7.", b"the house " * 200
    lines = [(good, b"das haus klein 7."), (long_, long_), (good * 3, b"das"), (b"", b"")]
    text = tmp_path / "text"
    text.mkdir()
    for i, language in enumerate(PAIR):
        (text / f"train.{language}").write_bytes(b"".join(line[i] + b"\n" for line in lines))
    counts = cut_training(text, PAIR, learnt / "spm.model", tmp_path, workers=1)
    assert {k: counts[k] for k in ("read", "too_long", "ratio", "kept")} == {
        **{"read": 4, "too_long": 1, "ratio": 2, "kept": 1}
    }
    assert len((tmp_path / "train.en").read_text(encoding="utf-8").splitlines()) == 1


@pytest.mark.parametrize(
    "pieces, raw, same",
    [
        ("Gut ach : Noch &quot; mehr &quot;", "Gutach: Noch „mehr“", True),
        ("AT &amp; T", "AT&amp;T", True),
        ("Gut ach : Noch", "Gutach: Nach", False),
    ],
)
def test_googles_pieces_are_compared_by_letters_and_digits(pieces, raw, same):
    assert same_sentence(pieces, raw) is same
