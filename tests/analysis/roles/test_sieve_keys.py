"""Which keys each sieve has, and what is refused."""

import sys

import numpy as np
import pytest
from analysis.written_recordings import write_maps

from fairseq_lottery.analysis.roles.sieve_keys import (
    block_keys,
    diagonal_keys,
    linked_keys,
    local_keys,
    marked_keys,
)
from fairseq_lottery.analysis.roles.sieve_settings import Sieve, SieveSettings
from fairseq_lottery.analysis.roles.sieves import build_sieves
from fairseq_lottery.errors import LotteryError


def test_the_default_window_has_five_words_and_no_end():
    assert local_keys(7, 7)[3].tolist() == [0, 1, 1, 1, 1, 1, 0, 0]
    assert local_keys(7, 7)[0].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]


def test_marked_keys_are_those_of_every_query():
    assert marked_keys(2, [1, 0, 0, 1]).tolist() == [[1, 0, 0, 1]] * 2


def test_the_diagonal_follows_relative_positions():
    # 2 target words at 1/4 and 3/4; 4 source words at 1/8, 3/8, 5/8, 7/8
    assert diagonal_keys(2, 4, 0.13).tolist() == [[1, 1, 0, 0, 0], [0, 0, 1, 1, 0]]
    # 3 at 1/6, 1/2, 5/6; 4 at 1/8 ...: of one word in between both neighbours are nearest
    assert diagonal_keys(3, 4, 0.01).tolist() == [
        [1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 0],
    ]  # fmt: skip
    same = diagonal_keys(20, 20, 0.1)
    assert same.sum(axis=1).tolist() == [3, 4, *[5] * 16, 4, 3] and not same[:, -1].any()


def test_a_block_is_the_words_of_the_own_sentence():
    own = np.array([0, 0, -1, 1])
    assert block_keys(own, own).tolist() == [
        [1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 1, 0],
    ]  # fmt: skip
    assert not block_keys(np.zeros(3, dtype=int), np.zeros(3, dtype=int)).any()
    assert block_keys(np.array([0, 1]), np.array([0, 1, 1])).tolist() == [
        [1, 0, 0, 0],
        [0, 1, 1, 0],
    ]


def test_links_may_share_a_query_or_a_key():
    links = np.array([[0, 2], [0, 1], [1, 2]])
    assert linked_keys(2, 3, links).tolist() == [[0, 1, 1, 0], [0, 0, 1, 0]]


TREE = """# text = the old man sleeps
1\tthe\t_\t_\t_\t_\t3\tdet\t_\t_
2\told\t_\t_\t_\t_\t3\tamod\t_\t_
3\tman\t_\t_\t_\t_\t4\tnsubj:pass\t_\t_
4\tsleeps\t_\t_\t_\t_\t0\troot\t_\t_

"""


@pytest.fixture
def recording(tmp_path):
    source = ["the old man sleeps", "the old man sleeps"]
    target = ["er schläft ||| sie", "ja ||| nein doch"]
    return write_maps(tmp_path / "r", source, target)


def test_sieves_of_all_names_are_built_from_their_settings(recording, tmp_path):
    (tmp_path / "tree").write_text(TREE * 2)
    (tmp_path / "align").write_text("0-0 2-1\n\n")
    settings = SieveSettings(
        separator="|||", boundaries={"source": tmp_path / "b"},
        parses={"source": tmp_path / "tree"}, alignment=tmp_path / "align",
    )  # fmt: skip
    (tmp_path / "b").write_text("0 3\n0 1 2\n")
    sieves = {one.role: one for one in build_sieves(recording, (), settings)}
    assert list(sieves) == [
        *("local", "delimiter", "diagonal", "block"),
        *("syntactic", "syntactic:nsubj", "syntactic:amod"),
        *("syntactic-reverse", "syntactic-reverse:nsubj", "syntactic-reverse:amod"),
        "alignment",
    ]
    assert [s.role for s in sieves.values() if s.is_linked] == [
        role for role in sieves if role.startswith(("syntactic", "alignment"))
    ]
    cells = sieves["syntactic"].keys_of("enc_self", 0, 4, 4)
    assert np.argwhere(cells).tolist() == [[1, 2], [2, 3]]  # det is not a relation of the papers
    cells = sieves["syntactic-reverse:nsubj"].keys_of("enc_self", 0, 4, 4)
    assert np.argwhere(cells).tolist() == [[3, 2]]
    assert np.argwhere(sieves["alignment"].keys_of("enc_dec", 0, 4, 4)).tolist() == [[0, 0], [1, 2]]
    assert sieves["block"].kinds == ("enc_self", "dec_self", "enc_dec")
    cells = sieves["block"].keys_of("enc_dec", 0, 4, 4)
    assert np.argwhere(cells).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2], [3, 3]]


def first_word(recording, settings):
    def keys_of(kind, place, queries, keys):
        return linked_keys(queries, keys, np.array([[q, 0] for q in range(queries)]))

    return [Sieve("first-word", ("enc_self",), keys_of)]


def test_a_sieve_of_the_user_is_imported(recording, monkeypatch):
    monkeypatch.setitem(sys.modules, "own_sieves", sys.modules[__name__])
    sieves = build_sieves(recording, ["own_sieves:first_word", "local"], SieveSettings())
    assert [sieve.role for sieve in sieves] == ["first-word", "local"]


@pytest.mark.parametrize(
    "names, settings, sentence",
    [
        (["global"], {}, "sieve 'global' is unknown"),
        (["syntactic"], {}, "requires --source-conllu"),
        (["block"], {"separator": "###"}, "no example has two sentences by"),
        ([], {"window": -1}, "--window -1"),
        ([], {"diagonal": 0.0}, "--diagonal 0"),
    ],
)
def test_what_no_sieve_can_be_built_from(recording, names, settings, sentence):
    with pytest.raises(LotteryError, match=sentence):
        build_sieves(recording, names, SieveSettings(**settings))
