"""Rows of whole recordings: what is in them, what pruned heads have, and what is refused."""

import numpy as np
import pytest
from analysis.written_recordings import even, random_maps, write_maps
from scipy import stats
from statsmodels.stats.multitest import multipletests

from fairseq_lottery.analysis.registry import registered_measures
from fairseq_lottery.analysis.roles.role_tests import THRESHOLDS
from fairseq_lottery.analysis.roles.rows.argmax_rows import argmax_rows
from fairseq_lottery.analysis.roles.rows.pattern_rows import pattern_rows
from fairseq_lottery.analysis.roles.rows.sieve_rows import RoleRule, sieve_rows, sieve_scores_of
from fairseq_lottery.analysis.roles.sieve_keys import linked_keys
from fairseq_lottery.analysis.roles.sieve_settings import Sieve, SieveSettings
from fairseq_lottery.analysis.roles.sieves import build_sieves
from fairseq_lottery.errors import LotteryError

SOURCE = ["a b c d e f g h", "b a d c f", "h g f e d c b a a", "c d", "d e f a"]
TARGET = ["u v w x", "v u", "x w v u u y", "w", "y x w"]
SETTINGS = SieveSettings()


def opened(tmp_path, name="r", **more):
    return write_maps(tmp_path / name, SOURCE, TARGET, **more)


def standard(recording):
    return build_sieves(recording, (), SETTINGS)


def values(rows, **columns):
    return [r["value"] for r in rows if all(r.get(k) == v for k, v in columns.items())]


def test_an_even_model_scores_one_everywhere_and_has_no_role(tmp_path):
    recording = opened(tmp_path)
    rows = list(sieve_rows(recording, standard(recording), RoleRule(threshold=1.0)))
    scores = values(rows, statistic="score")
    # 2 heads of: local in 2 kinds, delimiter in 3, diagonal in 1
    assert len(scores) == 12 and scores == pytest.approx([1] * 12, abs=1e-6)
    assert sum(values(rows, statistic="has-role")) == 0
    # float32 maps: the noise of rounding is not tested
    assert min(values(rows, statistic="p", threshold=1.0)) > 0


def test_a_row_is_the_mean_and_the_tests_of_the_sentence_scores(tmp_path):
    recording = opened(tmp_path, maps=random_maps(1), heads=3)
    sieves = standard(recording)
    rows = list(sieve_rows(recording, sieves, RoleRule(threshold=1.2)))
    for one in sieve_scores_of(recording, sieves):
        for layer, scores in one.scores.items():
            for head in range(3):
                key = {"part": one.kind, "layer": layer, "head": head + 1, "role": one.role}
                assert values(rows, **key, statistic="score") == pytest.approx(
                    [scores[:, head].mean()]
                )
                for threshold in (1.2, *THRESHOLDS):
                    expected = stats.ttest_1samp(scores[:, head], threshold, alternative="greater")
                    at = {**key, "threshold": threshold}
                    assert values(rows, **at, statistic="t") == pytest.approx([expected.statistic])
                    assert values(rows, **at, statistic="p") == pytest.approx([expected.pvalue])
    for threshold in (1.2, 3.5):
        p = values(rows, statistic="p", threshold=threshold)
        assert len(p) == 3 * 6
        expected = multipletests(p, method="fdr_bh")[1]
        found = values(rows, statistic="p-corrected", threshold=threshold)
        assert found == pytest.approx(expected.tolist())
    decided = [int(p < 0.05) for p in values(rows, statistic="p-corrected", threshold=1.2)]
    assert values(rows, statistic="has-role") == decided
    published = list(sieve_rows(recording, sieves, RoleRule(1.2, as_published=True)))
    decided = [int(p < 0.05) for p in values(rows, statistic="p-published", threshold=1.2)]
    assert values(published, statistic="has-role") == decided


def test_the_local_score_of_a_recording_by_hand(tmp_path):
    def maps(kind, layer, place, heads, queries, keys):
        return np.eye(queries, keys + 1)[None] * np.ones((heads, 1, 1))

    recording = write_maps(tmp_path / "r", ["a b c", "a b"], maps=maps)
    rows = list(sieve_rows(recording, standard(recording)))
    # all keys are in a window of 2: 4 keys / 3 in the first sentence, 3 / 2 in the second
    expected = pytest.approx([(4 / 3 + 3 / 2) / 2] * 2)
    assert values(rows, part="enc_self", role="local", statistic="score") == expected
    # decoder: word t sees t + 2 keys, of which t + 1 are words
    first, second = np.mean([2, 3 / 2, 4 / 3]), np.mean([2, 3 / 2])
    expected = pytest.approx([(first + second) / 2] * 2)
    assert values(rows, part="dec_self", role="local", statistic="score") == expected
    reachable = values(rows, part="dec_self", role="local", statistic="reachable")
    assert reachable == pytest.approx([(first + second) / 2])
    assert values(rows, part="dec_self", role="local", statistic="share") == pytest.approx([1, 1])


def test_pruned_heads_have_no_rows(tmp_path):
    recording = opened(tmp_path, pruned=[("enc_self", 1, 2), ("enc_dec", 1, 1)])
    rows = [
        *sieve_rows(recording, standard(recording)), *argmax_rows(recording),
        *pattern_rows(recording),
    ]  # fmt: skip
    heads = {(r["part"], r["head"]) for r in rows if "head" in r}
    assert heads == {("enc_self", 1), ("dec_self", 1), ("dec_self", 2), ("enc_dec", 2)}


def sieve_of(links, role="linked"):
    def keys_of(kind, place, queries, keys):
        return linked_keys(queries, keys, np.array(links.get(place, [])).reshape(-1, 2).astype(int))

    return Sieve(role, ("enc_self",), keys_of, is_linked=True)


def test_sieves_without_words_are_refused(tmp_path):
    recording = opened(tmp_path)
    with pytest.raises(LotteryError, match="sieve linked is empty"):
        list(sieve_rows(recording, [sieve_of({})]))
    with pytest.raises(LotteryError, match="in one sentence only"):
        list(sieve_rows(recording, [sieve_of({2: [[0, 1]]})]))
    # a single relation that is too rare is left out
    rare = sieve_of({2: [[0, 1]]}, "syntactic:obj")
    assert not list(sieve_rows(recording, [rare, sieve_of({}, "syntactic:nsubj")]))
    rows = list(sieve_rows(recording, [rare, sieve_of({0: [[0, 1]], 1: [[1, 0]]})]))
    assert values(rows, statistic="sentences") == [2]


def test_weighted_scores_are_of_weighted_maps(tmp_path):
    def weighted(kind, layer, place, heads, queries, keys):
        maps = even(kind, layer, place, heads, queries, keys)
        maps[:, :, -1] *= 3  # values of </s> are long
        return maps

    recording = opened(tmp_path, weighted=weighted)
    (delimiter,) = [one for one in standard(recording) if one.role == "delimiter"]
    (raw, *_) = sieve_scores_of(recording, [delimiter])
    (scaled, *_) = sieve_scores_of(recording, [delimiter], weighted=True)
    keys = np.array([len(one.split()) + 1 for one in SOURCE])
    assert raw.scores[1][:, 0] == pytest.approx(np.ones(5), abs=1e-6)
    assert scaled.scores[1][:, 0] == pytest.approx(3 * keys / (keys + 2), rel=1e-6)


def test_linked_heads_beat_the_most_frequent_position(tmp_path):
    def maps(kind, layer, place, heads, queries, keys):
        rows = np.zeros((heads, queries, keys + 1))
        rows[0, :, 0] = 1  # the first word
        rows[1, np.arange(queries), np.maximum(np.arange(queries) - 1, 0)] = 1  # the previous one
        return rows

    recording = opened(tmp_path, maps=maps)
    links = {place: [[1, 0], [2, 0], [3, 0]] for place in (0, 1, 2)}
    rows = list(argmax_rows(recording, [sieve_of(links)]))
    of = {"part": "enc_self", "role": "argmax-linked"}
    assert values(rows, **of, statistic="score") == pytest.approx([1, 1 / 3])
    assert values(rows, **of, statistic="baseline") == pytest.approx([1 / 3] * 2)
    assert values(rows, **of, statistic="words") == [9, 9]
    assert values(rows, **of, statistic="has-role") == [1, 0]
    of = {"part": "dec_self", "role": "positional"}
    assert values(rows, **of, statistic="offset")[1] == -1
    assert values(rows, **of, statistic="has-role") == [0, 1]
    confident = values(rows, part="enc_dec", statistic="confidence")
    assert confident == [1, 1]
    # the 28 source words have 5 first ones, to which the previous one of itself is not -1
    of = {"part": "enc_self", "role": "positional", "head": 2}
    assert values(rows, **of, statistic="score") == pytest.approx([23 / 28])
    assert values(rows, **of, statistic="reachable") == pytest.approx([23 / 28])


def test_every_head_has_one_pattern(tmp_path):
    recording = opened(tmp_path, maps=random_maps(2), heads=3)
    rows = [*pattern_rows(recording), *pattern_rows(recording, weighted=True)]
    for kind in ("enc_self", "dec_self", "enc_dec"):
        for head in (1, 2, 3):
            assert sum(values(rows, part=kind, head=head, statistic="has-role")) == 2
    assert {r["role"].partition("-")[0] for r in rows} == {"pattern", "weighted"}


def test_measures_need_a_recording_only(tmp_path):
    recording = opened(tmp_path, maps=random_maps(3))
    found = registered_measures("roles", models=1)
    assert list(found) == ["argmax-roles", "attention-patterns", "role-counts", "sieve-bias"]
    for one in found.values():
        rows = list(one.rows(recording))
        assert rows and all(row["measure"] == one.name for row in rows)
    pairs = registered_measures("roles", models=2)["role-agreement"]
    same = list(pairs.rows(recording, recording))
    assert set(values(same, statistic="same")) == {1}
    other = opened(tmp_path, "o", maps=random_maps(4))
    low, high = pairs.limits
    assert all(low <= row["value"] <= high for row in pairs.rows(recording, other))


def test_five_percent_of_random_heads_pass_the_test_at_one_without_correction(tmp_path):
    # keys of a random row are exchangeable, so the expected score is 1 for every sieve
    words = [" ".join("abcdef"[: 4 + place % 3]) for place in range(30)]
    recording = write_maps(tmp_path / "r", words, maps=random_maps(8), heads=200)
    sieves = [one for one in standard(recording) if one.role != "delimiter"]
    rows = list(sieve_rows(recording, sieves, RoleRule(threshold=1.0)))
    p = np.array(values(rows, statistic="p", threshold=1.0))
    low, high = stats.binom.ppf([1e-3, 1 - 1e-3], 600, 0.05)
    assert len(p) == 600 and low <= (p < 0.05).sum() <= high
    assert sum(values(rows, statistic="has-role")) == 0  # with correction

    def a_fifth_local(kind, layer, place, heads, queries, keys):
        maps = random_maps(place)(kind, layer, place, heads, queries, keys)
        near = np.abs(np.subtract.outer(np.arange(queries), np.arange(keys))) <= 2
        near = near & (np.tri(queries, keys) > 0 if kind == "dec_self" else True)
        near = np.pad(near, ((0, 0), (0, 1))) / near.sum(axis=1, keepdims=True)
        return 0.8 * maps + 0.2 * near

    recording = write_maps(tmp_path / "l", words, maps=a_fifth_local, heads=20)
    rows = list(sieve_rows(recording, standard(recording), RoleRule(threshold=1.0)))
    for kind in ("enc_self", "dec_self"):
        assert values(rows, part=kind, role="local", statistic="has-role") == [1] * 20
        assert sum(values(rows, part=kind, role="delimiter", statistic="has-role")) == 0
