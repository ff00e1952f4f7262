"""Comparisons of labels: changes, survivors and agreement, by hand and against scikit-learn."""

import json

import numpy as np
import pytest
from analysis.written_recordings import write_maps
from scipy.stats import hypergeom
from sklearn.metrics import cohen_kappa_score

from fairseq_lottery.analysis.roles.comparisons import (
    agreement_rows,
    change_rows,
    survivor_rows,
)
from fairseq_lottery.analysis.roles.role_labels import (
    RoleLabels,
    count_rows,
    survivors_of_choice,
    survivors_of_recording,
)
from fairseq_lottery.errors import LotteryError


def labels(**having):
    """Labels of 2 layers of 4 heads of encoder self-attention; role -> numbers of its heads."""
    rows = [
        {"part": "enc_self", "layer": n // 4 + 1, "head": n % 4 + 1, "role": role,
         "statistic": "has-role", "value": int(n in numbers)}
        for role, numbers in having.items() for n in range(8)
    ]  # fmt: skip
    return RoleLabels.of([*rows, {"part": "enc_self", "role": "local", "statistic": "reachable"}])


def values(rows, **columns):
    return [r["value"] for r in rows if all(r.get(k) == v for k, v in columns.items())]


def test_heads_are_counted_by_layer_and_kind():
    rows = list(count_rows(labels(local=[0, 1, 5], delimiter=[])))
    assert [(r["role"], r.get("layer"), r["value"]) for r in rows if "role" in r] == [
        ("local", 1, 2), ("local", 2, 1), ("local", None, 3),
        ("delimiter", 1, 0), ("delimiter", 2, 0), ("delimiter", None, 0),
    ]  # fmt: skip


def test_several_roles_are_counted_without_patterns_and_relations():
    found = labels(local=[0, 1], delimiter=[1, 2], **{"pattern-block": [0], "syntactic:obj": [2]})
    assert found.several() == {("enc_self", 1, 2)}
    assert values(count_rows(found), statistic="several-roles") == [1]


def test_heads_gain_keep_and_lose_roles():
    rows = list(change_rows(labels(local=[0, 1, 5]), labels(local=[1, 6], block=[0])))
    found = [(r["statistic"], r["layer"], r["head"]) for r in rows]
    assert found == [("gained", 2, 3), ("kept", 1, 2), ("lost", 1, 1), ("lost", 2, 2)]
    with pytest.raises(LotteryError, match="no tested role in common"):
        list(change_rows(labels(local=[0]), labels(block=[0])))


def test_survivors_are_compared_with_all_heads():
    survivors = frozenset(("enc_self", 1, head) for head in (1, 2, 3))
    rows = list(survivor_rows(labels(local=[0, 1, 5], block=[]), survivors))
    assert values(rows, role="local", statistic="all-heads") == [3 / 8]
    assert values(rows, role="local", statistic="survivors") == [2 / 3]
    # 3 of 8 heads survive, 2 of them local: tables at most as probable as this one
    chances = hypergeom(8, 3, 3).pmf(range(4))
    expected = chances[chances <= chances[2] + 1e-12].sum()
    assert values(rows, role="local", statistic="p") == [pytest.approx(expected)]
    assert values(rows, role="block", statistic="p") == [1]
    assert not values(survivor_rows(labels(local=[0]), frozenset()), statistic="survivors")


def test_agreement_of_two_models_by_hand():
    rows = list(agreement_rows([labels(local=[0, 1, 4]), labels(local=[1, 2, 5])]))
    assert values(rows, statistic="same") == [4 / 8]  # heads 1, 3, 6 and 7
    assert values(rows, statistic="jaccard") == [1 / 5]
    # both models have two local heads in layer 1 and one in layer 2
    assert values(rows, statistic="layers") == [1]
    first, second = np.isin(np.arange(8), [0, 1, 4]), np.isin(np.arange(8), [1, 2, 5])
    # with equal counts Fleiss' kappa of two models is Cohen's
    expected = cohen_kappa_score(first, second)
    assert values(rows, statistic="kappa") == [pytest.approx(expected)]
    assert values(rows, statistic="models") == [0.5, 1, 0.5, 0, 0.5, 0.5, 0, 0]


def test_what_agreement_is_undefined_for_is_left_out():
    rows = list(agreement_rows([labels(local=[])] * 3))
    assert {r["statistic"] for r in rows} == {"models", "same"}
    rows = list(agreement_rows([labels(local=[2, 3])] * 3))
    assert values(rows, statistic="kappa") == values(rows, statistic="jaccard") == [1]


def choice(pruned, heads=2):
    modules = {
        "encoder.layers.0.self_attn": heads,
        "decoder.layers.0.self_attn": heads,
        "decoder.layers.0.encoder_attn": heads,
    }
    return {"format": "fairseq_lottery parts 1", "heads": modules, "closed": {"heads": pruned}}


def test_survivors_of_a_choice_and_of_a_recording(tmp_path):
    recording = write_maps(tmp_path / "r", ["a b"], pruned=[("dec_self", 1, 2)])
    (tmp_path / "c.json").write_text(json.dumps(choice({"decoder.layers.0.encoder_attn": [0, 1]})))
    assert survivors_of_choice(tmp_path / "c.json", recording) == {
        ("enc_self", 1, 1), ("enc_self", 1, 2), ("dec_self", 1, 1), ("dec_self", 1, 2),
    }  # fmt: skip
    assert survivors_of_recording(recording) == {
        ("enc_self", 1, 1), ("enc_self", 1, 2), ("dec_self", 1, 1),
        ("enc_dec", 1, 1), ("enc_dec", 1, 2),
    }  # fmt: skip
    (tmp_path / "other.json").write_text(json.dumps(choice({}, heads=4)))
    with pytest.raises(LotteryError, match="another model"):
        survivors_of_choice(tmp_path / "other.json", recording)
    for content in ("[]", "{}", '{"heads": {"x": 2}, "closed": {"heads": {}}}', "{", "7"):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(LotteryError, match="not a choice|cannot be read"):
            survivors_of_choice(tmp_path / "bad.json", recording)
