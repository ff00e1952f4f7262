"""Super-, anti- and average survivors of several choices."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import PROPERTY

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.choices.survivors import combine
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.components.component_mask import ComponentMask

ENC, DEC, CROSS = (
    "encoder.layers.0.self_attn", "decoder.layers.0.self_attn", "decoder.layers.0.encoder_attn"
)  # fmt: skip
LAYER = "encoder.layers.0"
ANATOMY = Anatomy({ENC: 4, DEC: 2, CROSS: 2}, {LAYER: 3, "decoder.layers.0": 3})
HEADS = [(ENC, 0), (ENC, 1), (ENC, 2), (ENC, 3), (DEC, 0), (DEC, 1), (CROSS, 0), (CROSS, 1)]


def choice(heads=(), blocks=(), mode="zero"):
    """A choice that prunes heads of ``HEADS`` by number, and the blocks of some layers."""
    closed = {"heads": {}, "blocks": {name: [0] for name in blocks}}
    for number in heads:
        name, head = HEADS[number]
        closed["heads"].setdefault(name, []).append(head)
    return ComponentMask(ANATOMY, closed, mode)


def kept(components):
    pruned = set(components.pruned("heads"))
    return {number for number, head in enumerate(HEADS) if head not in pruned}


THREE = [choice([0, 1, 2, 7]), choice([0, 1, 3, 7]), choice([0, 4])]


def test_by_hand():
    assert kept(combine(THREE, "super")) == {5, 6}
    assert kept(combine(THREE, "anti")) == {0}
    # votes to keep: 0 1 2 2 2 3 3 1; the choices keep 4, 4 and 6 heads: 4.67 in the mean
    average = kept(combine(THREE, "average"))
    assert average == {2, 3, 4, 5, 6}
    assert kept(combine(THREE, "average", count=3)) == {2, 3, 4, 5, 6}
    assert kept(combine(THREE, "average", fraction=0.75)) == {5, 6}
    assert kept(combine(THREE, "average", fraction=0.125)) == set(range(1, 8))


def test_of_equal_votes_the_seed_decides():
    sets = {frozenset(kept(combine(THREE, "average", count=4, seed=n))) for n in range(30)}
    assert sets == {frozenset({5, 6, *pair}) for pair in itertools.combinations((2, 3, 4), 2)}
    assert combine(THREE, "average", count=4, seed=1) == combine(THREE, "average", count=4)


def test_halves_are_rounded_up_to_a_kept_head():
    found = combine([choice([0]), choice([0, 1])], "average")
    assert kept(found) == set(range(1, 8)), "6.5 are 7"


def test_kinds_that_no_choice_prunes_are_kept():
    both = [choice([0, 1], [LAYER]), choice([0], [LAYER])]
    found = combine(both, "super")
    assert kept(found) == set(range(2, 8)) and list(found.pruned("blocks")) == [(LAYER, 0)]
    assert found.count_pruned("units") == 0
    anti = combine(both, "anti")
    assert kept(anti) == {0} and list(anti.pruned("blocks")) == [("decoder.layers.0", 0)]
    heads = combine(both, "anti", kind="heads")
    assert kept(heads) == {0} and heads.count_pruned("blocks") == 0


def test_types_limit_what_is_pruned():
    found = combine(THREE, "anti", kind="heads", types=("enc_self",))
    assert kept(found) == {0, 4, 5, 6, 7}
    found = combine(THREE, "average", kind="heads", types=("enc_self",), fraction=0.5)
    assert kept(found) == {2, 3, 4, 5, 6, 7}


@given(st.lists(st.sets(st.integers(0, 7), max_size=7), min_size=2, max_size=5))
@PROPERTY
def test_against_sets(pruned):
    choices = [choice(sorted(one)) for one in pruned]
    everything, survivors = set(range(8)), [set(range(8)) - one for one in pruned]
    if not any(pruned):
        with pytest.raises(LotteryError, match="the choices prune nothing"):
            combine(choices, "average")
        return
    expected = {
        "super": everything.intersection(*survivors),
        "anti": everything.intersection(*pruned),
    }
    for name, wanted in expected.items():
        if wanted:
            assert kept(combine(choices, name)) == wanted
        else:
            with pytest.raises(LotteryError, match="in common, so all heads would be pruned"):
                combine(choices, name)
    average = kept(combine(choices, "average"))
    votes = [sum(n in one for one in survivors) for n in range(8)]
    total = sum(map(len, survivors)) / len(survivors)
    assert len(average) == int(total + 0.5)
    assert all(votes[a] >= votes[b] for a in average for b in everything - average)


@pytest.mark.parametrize(("asked", "message"), [
    ((THREE[:1], "super"), "survivors need at least two choices, not 1"),
    ((THREE, "best"), "survivors 'best' are unknown; choose one of super, anti, average"),
    ((THREE, "super", None, None, 0.5), "super-survivors have one size"),
    ((THREE, "anti", None, None, None, 4), "anti-survivors have one size"),
    (([choice([0]), choice([1], mode="uniform")], "super"), "pruned heads of some choices output"),
    (([choice(), choice()], "super"), "the choices prune nothing"),
    ((THREE, "super", "tails"), "'tails' cannot be pruned"),
    ((THREE, "super", "heads", ("enc_ffn",)), "the model has no heads of type 'enc_ffn'"),
    ((THREE, "average", None, None, 0.5, 4), "both a fraction and a count are given"),
    ((THREE, "average", None, None, None, 9), "the count of 9 heads to prune is out of range"),
])  # fmt: skip
def test_refusals_are_one_sentence(asked, message):
    with pytest.raises(LotteryError, match=message):
        combine(*asked)


def test_choices_of_other_models_are_refused():
    other = ComponentMask(Anatomy({ENC: 4}, {}), {"heads": {ENC: [1]}})
    with pytest.raises(LotteryError, match="are of different models"):
        combine([THREE[0], other], "super")
