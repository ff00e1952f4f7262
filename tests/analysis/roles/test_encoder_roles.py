"""Roles of an encoder's heads: delimiters and blocks of pairs, against counting by hand."""

import math

import numpy as np
import pytest
from analysis.written_recordings import random_maps, write_encoder_maps, write_maps

from fairseq_lottery.analysis.roles.argmax_roles import confidence
from fairseq_lottery.analysis.roles.rows.argmax_rows import argmax_rows
from fairseq_lottery.analysis.roles.rows.role_rows import role_rows
from fairseq_lottery.analysis.roles.rows.sieve_rows import sieve_scores_of
from fairseq_lottery.analysis.roles.sieve_settings import SieveSettings
from fairseq_lottery.analysis.roles.sieves import build_sieves, possible_sieves
from fairseq_lottery.cli.main import main
from fairseq_lottery.errors import LotteryError

PAIRS = [
    "<s> who slept </s> </s> the old man slept </s>",
    "<s> it rains </s> </s> it pours now </s>",
    "<s> one </s> </s> two three </s>",
]
SINGLES = ["<s> the old man sleeps </s>", "<s> it rains </s>"]


def encoder_maps(seed):
    """Random rows over all tokens."""
    generator = np.random.default_rng(seed)

    def maps(kind, layer, place, heads, queries, keys):
        rows = generator.exponential(size=(heads, queries, keys)) ** 3
        return rows / rows.sum(axis=2, keepdims=True)

    return maps


@pytest.fixture
def recording(tmp_path):
    return write_encoder_maps(tmp_path / "pairs", PAIRS, encoder_maps(1))


def roles_of(recording, names=(), **settings):
    sieves = build_sieves(recording, names, SieveSettings(**settings))
    return {one.role: one for one in sieve_scores_of(recording, sieves)}


def published(row, keys):
    """Mean attention to the sieve by mean attention to all tokens (Pande et al., section 3)."""
    return np.mean([row[j] for j in keys]) / np.mean(row)


def keys_by_hand(role, tokens, query):
    """The published sieves, token by token; None where the query is left out."""
    if role == "local":
        return [j for j in range(query - 2, query + 3) if 0 <= j < len(tokens)]
    if role == "block":
        first_end = tokens.index("</s>")
        first, second = range(1, first_end), range(first_end + 2, len(tokens) - 1)
        return list(next((block for block in (first, second) if query in block), [])) or None
    wanted = {"cls": ["<s>"], "sep": ["</s>"], "delimiter": ["<s>", "</s>"]}[role]
    return [j for j, token in enumerate(tokens) if token in wanted]


@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize("role", ["local", "cls", "sep", "delimiter", "block"])
def test_scores_are_the_published_ones_token_by_token(recording, role, entropy):
    scores = roles_of(recording, entropy=entropy)[role]
    maps = recording.attention("enc_self", 1)
    for place, text in enumerate(PAIRS):
        tokens = text.split()
        for head in range(2):
            values = []
            for query in range(len(tokens)):
                keys, row = keys_by_hand(role, tokens, query), maps[place][head, query]
                if keys is not None:
                    nats = -sum(p * math.log(p) for p in row) if entropy and role == "block" else 1
                    values.append(published(row, keys) * nats)
            assert scores.scores[1][place, head] == pytest.approx(np.mean(values), rel=1e-5)


def test_an_even_head_scores_one_and_the_bound_is_tokens_by_keys(tmp_path):
    def maps(kind, layer, place, heads, queries, keys):
        return np.full((heads, queries, keys), 1 / keys)

    even = write_encoder_maps(tmp_path / "r", PAIRS, maps)
    for role, scores in roles_of(even).items():
        assert np.allclose(scores.scores[1], 1), role
    # 10 tokens: <s> is one of them, </s> three
    assert roles_of(even)["cls"].reachable[0] == pytest.approx(10)
    assert roles_of(even)["sep"].reachable[0] == pytest.approx(10 / 3)
    assert roles_of(even)["delimiter"].reachable[0] == pytest.approx(10 / 4)
    # two words with a sieve of 2, and four with a sieve of 4
    assert roles_of(even)["block"].reachable[0] == pytest.approx((2 * 10 / 2 + 4 * 10 / 4) / 6)


def test_each_model_has_its_sieves(recording, tmp_path):
    singles = write_encoder_maps(tmp_path / "singles", SINGLES, encoder_maps(2))
    translation = write_maps(tmp_path / "t", ["a b", "c d"], maps=random_maps(1))
    names = [
        (recording, ("local", "delimiter", "cls", "sep", "block")),
        (singles, ("local", "delimiter", "cls", "sep")),
        (translation, ("local", "delimiter", "diagonal")),
    ]
    for one, expected in names:
        assert possible_sieves(one, SieveSettings()) == expected
    for one, name, problem in (
        (singles, "block", "block requires examples of two sentences"),
        (singles, "diagonal", "diagonal requires a model with a decoder"),
        (singles, "syntactic", "syntactic requires --source-conllu"),
        (translation, "cls", "cls requires an encoder without a decoder"),
        (translation, "block", "block requires --separator"),
    ):
        with pytest.raises(LotteryError, match=problem):
            build_sieves(one, [name], SieveSettings())


def test_boundaries_count_words(recording, tmp_path):
    """They replace the delimiters: three blocks in the first example, one in the others."""
    (tmp_path / "boundaries").write_text("0 2 4\n0\n0\n")
    settings = {"boundaries": {"source": tmp_path / "boundaries"}}
    sieve = build_sieves(recording, ["block"], SieveSettings(**settings))[0]
    keys = sieve.keys_of("enc_self", 0, 10, 10)
    expected = {1: [1, 2], 2: [1, 2], 5: [5, 6], 6: [5, 6], 7: [7, 8], 8: [7, 8]}
    assert {q: np.flatnonzero(row).tolist() for q, row in enumerate(keys) if row.any()} == expected
    assert not sieve.keys_of("enc_self", 1, 9, 9).any()


TREE = """1\tthe\t_\t_\t_\t_\t3\tdet\t_\t_
2\told\t_\t_\t_\t_\t3\tamod\t_\t_
3\tman\t_\t_\t_\t_\t4\tnsubj\t_\t_
4\tsleeps\t_\t_\t_\t_\t0\troot\t_\t_

1\tit\t_\t_\t_\t_\t2\tnsubj\t_\t_
2\trains\t_\t_\t_\t_\t0\troot\t_\t_

"""


def test_labels_of_words_are_those_of_their_tokens(tmp_path):
    """Words count from 0 in labels; <s> before them shifts the tokens by one."""
    (tmp_path / "tree").write_text(TREE)
    own = write_encoder_maps(tmp_path / "r", SINGLES, encoder_maps(2))
    settings = SieveSettings(parses={"source": tmp_path / "tree"})
    sieves = {one.role: one for one in build_sieves(own, ["syntactic"], settings)}
    keys = sieves["syntactic"].keys_of("enc_self", 0, 6, 6)
    assert np.argwhere(keys).tolist() == [[2, 3], [3, 4]]
    keys = sieves["syntactic-reverse:nsubj"].keys_of("enc_self", 1, 4, 4)
    assert np.argwhere(keys).tolist() == [[2, 1]]


def test_largest_weights_are_those_of_words(tmp_path):
    """Attention of and to delimiters does not count, as in Voita et al."""

    def maps(kind, layer, place, heads, queries, keys):
        rows = np.zeros((heads, queries, keys))
        rows[:, :, 0] = 0.5  # most attention is on <s>
        for query in range(queries):
            rows[0, query, max(query - 1, 1)] += 0.5
            rows[1, query, 2] += 0.3
            rows[1, query, -1] += 0.2
        return rows

    own = write_encoder_maps(tmp_path / "r", ["<s> a b c d </s>", "<s> e f g </s>"], maps)
    rows = [row for row in argmax_rows(own) if row["head"] == 1]
    values = {(row.get("role"), row["statistic"]): row["value"] for row in rows}
    assert values["positional", "offset"] == -1
    # the first word of each sentence attends to itself
    assert values["positional", "score"] == pytest.approx(5 / 7)
    assert values["positional", "reachable"] == pytest.approx(5 / 7)
    assert values[None, "confidence"] == pytest.approx(0.5)
    second = [row for row in argmax_rows(own) if row["head"] == 2]
    assert [r["value"] for r in second if r["statistic"] == "confidence"] == [pytest.approx(0.3)]
    assert confidence([np.array([[[0.2, 0.7, 0.1]]])]).tolist() == [pytest.approx(0.7)]


def test_roles_are_found_before_and_after(tmp_path, capsys):
    """A head on </s> before fine-tuning is one on <s> afterwards, and the other finds its block."""

    def focused(*keys_of_heads):
        def maps(kind, layer, place, heads, queries, keys):
            tokens = texts[place].split()
            rows = np.full((heads, queries, keys), 0.1 / keys)
            for head, wanted in enumerate(keys_of_heads):
                for query in range(queries):
                    own = wanted(tokens, query)
                    rows[head, query, own] += 0.9 / len(own)
            return rows

        return maps

    def marks(text):
        return lambda tokens, query: [n for n, token in enumerate(tokens) if token == text]

    def block(tokens, query):
        return keys_by_hand("block", tokens, query) or list(range(len(tokens)))

    texts = [
        "<s> " + " ".join("abcdefgh"[: 4 + n % 3]) + " </s> </s> " + "x " * (5 + n % 4) + "</s>"
        for n in range(12)
    ]

    def everywhere(tokens, query):
        return list(range(len(tokens)))

    for name, heads in (
        ("before", (marks("</s>"), everywhere)), ("after", (marks("<s>"), block))
    ):  # fmt: skip
        write_encoder_maps(tmp_path / name, texts, focused(*heads), weights=name)
    out = tmp_path / "out"
    words = ["roles", tmp_path / "after", "--before", tmp_path / "before", "--threshold", "1.5"]
    assert main([str(word) for word in [*words, "--out", out]]) == 0
    text = capsys.readouterr().out
    assert "dec_self" not in text and "enc_dec" not in text
    grid = next(line for line in text.splitlines() if line.startswith("  layer 1"))
    assert grid.split()[2:] == ["EC", "LB"]  # in short sentences a block is local, too
    rows = [line.split(",") for line in (out / "roles.csv").read_text().splitlines()]
    changes = {
        (row[rows[0].index("role")], row[rows[0].index("statistic")], row[rows[0].index("head")])
        for row in rows
        if row[0] == "role-changes"
    }
    found = {one for one in changes if one[0] in ("cls", "sep", "delimiter", "block")}
    assert found == {
        ("cls", "gained", "1"), ("sep", "lost", "1"), ("delimiter", "kept", "1"),
        ("block", "gained", "2"),
    }  # fmt: skip


def test_patterns_of_an_encoder_have_its_kind_only(recording):
    sieves = build_sieves(recording, (), SieveSettings())
    rows = role_rows(recording, sieves)
    parts = {row["part"] for name in rows for row in rows[name]}
    assert parts == {"enc_self"}
