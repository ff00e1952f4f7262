"""What each strategy closes: exact numbers, its own definition, and what it refuses."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import PROPERTY

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.choices.strategies import STRATEGIES
from fairseq_lottery.heads.choices.strategy_input import StrategyInput, stack_of
from fairseq_lottery.heads.components.anatomy import ATTENTIONS, Anatomy, layer_of, type_of
from fairseq_lottery.heads.components.parts import Parts
from fairseq_lottery.heads.searches.subnetworks import subnetworks

#: strategies that close as many as they are told, whatever the number
EXACT = [n for n in STRATEGIES if n not in ("apart", "one-left", "all-but-one")]
#: what ``random`` closes at a tenth under seed 1: type, layer, head
GOLDEN = [
    *(("enc_self", 1, 3), ("enc_self", 2, 5), ("enc_self", 3, 0)),
    *(("dec_self", 0, 1), ("dec_self", 1, 6), ("dec_self", 3, 3), ("dec_self", 5, 4)),
    *(("enc_dec", 0, 2), ("enc_dec", 0, 4), ("enc_dec", 2, 5), ("enc_dec", 2, 6)),
    *(("enc_dec", 3, 4), ("enc_dec", 3, 5), ("enc_dec", 5, 3)),
]
PLACES = ("top", "bottom", "middle", "spare-middle", "alternate", "types")


def transformer(encoder=6, decoder=6, heads=8, units=4):
    """The anatomy of a Transformer, in the order that ``Anatomy.of`` gives."""
    modules = [f"encoder.layers.{n}.self_attn" for n in range(encoder)]
    modules += [f"decoder.layers.{n}.self_attn" for n in range(decoder)]
    modules += [f"decoder.layers.{n}.encoder_attn" for n in range(decoder)]
    layers = [f"encoder.layers.{n}" for n in range(encoder)]
    layers += [f"decoder.layers.{n}" for n in range(decoder)]
    return Anatomy(dict.fromkeys(modules, heads), dict.fromkeys(layers, units))


BASE = transformer()


def everything(anatomy):
    return Parts(anatomy, {})


def random_scores(anatomy, seed, levels=5):
    """Whole numbers, so that many are equal."""
    generator = torch.Generator().manual_seed(seed)
    return {
        kind: {n: torch.randint(levels, (s,), generator=generator).double() for n, s in m.items()}
        for kind, m in anatomy.sizes.items()
    }


def close(strategy, anatomy=BASE, **asked):
    start = asked.pop("start", None) or everything(anatomy)
    return STRATEGIES[strategy](StrategyInput(start, **asked))


def by_layer(parts, *types):
    """Closed heads of each layer, over the types."""
    found = {}
    for name, keep in parts["heads"].items():
        if type_of(name) in (types or ATTENTIONS):
            found[layer_of(name)] = found.get(layer_of(name), 0) + int((~keep).sum())
    return [found[layer] for layer in sorted(found)]


def by_type(parts):
    count = dict.fromkeys(ATTENTIONS, 0)
    for name, _ in parts.closed("heads"):
        count[type_of(name)] += 1
    return count


@st.composite
def anatomies(draw):
    sizes = st.integers(1, 5)
    plain = transformer(draw(st.integers(1, 4)), draw(st.integers(0, 4)))
    return Anatomy({n: draw(sizes) for n in plain.heads}, {n: draw(sizes) for n in plain.units})


def bits(size):
    return st.lists(st.booleans(), min_size=size, max_size=size)


@st.composite
def inputs(draw, strategies=EXACT):
    """A strategy, an input for it, and how many of the ruled parts it is to close in all."""
    anatomy = draw(anatomies())
    kind = draw(st.sampled_from(["heads", "units", "blocks"]))
    sizes = anatomy.sizes[kind]
    there = sorted({type_of(n) for n in sizes})
    types = draw(st.none() | st.lists(st.sampled_from(there), min_size=1, unique=True).map(tuple))
    fraction = draw(st.floats(0, 1) | st.sampled_from([0.1, 0.25, 0.5, 0.75, 1.0]))
    seed = draw(st.integers(0, 99))
    scores = random_scores(anatomy, seed)
    asked = {"kind": kind, "types": types, "seed": seed, "scores": scores}
    total = sum(size for n, size in sizes.items() if types is None or type_of(n) in types)
    wanted = int(Fraction(repr(fraction)) * total + Fraction(1, 2))
    return draw(st.sampled_from(strategies)), everything(anatomy), fraction, asked, wanted


@given(inputs())
@PROPERTY
def test_exactly_the_fraction_of_the_ruled_parts_is_closed(drawn):
    strategy, start, fraction, asked, wanted = drawn
    parts = close(strategy, start=start, fraction=fraction, **asked)
    kind, types = asked["kind"], asked["types"]
    ruled = [n for n, _ in parts.closed(kind) if types is None or type_of(n) in types]
    assert len(ruled) == wanted == parts.count_closed(kind)
    assert all(parts.count_closed(k) == 0 for k in ("heads", "units", "blocks") if k != kind)
    assert close(strategy, start=start, count=wanted, **asked) == parts
    assert close(strategy, start=start, fraction=fraction, **asked) == parts


@given(inputs(), st.integers(0, 3))
@PROPERTY
def test_every_module_keeps_what_it_has_to_or_it_is_refused(drawn, at_least):
    strategy, start, fraction, asked, wanted = drawn
    kind, types = asked["kind"], asked["types"]
    sizes = start.anatomy.sizes[kind]
    ruled = [n for n in sizes if types is None or type_of(n) in types]
    most = sum(max(0, sizes[n] - at_least) for n in ruled)
    asked = {**asked, "fraction": fraction, "at_least": at_least, "start": start}
    if wanted > most:
        with pytest.raises(LotteryError, match=f"each module keeps {at_least}; {most} can"):
            close(strategy, **asked)
        return
    parts = close(strategy, **asked)
    assert parts.count_closed(kind) == wanted
    assert all(int(parts[kind][n].sum()) >= min(at_least, sizes[n]) for n in ruled)


@given(inputs(), st.floats(0, 1))
@PROPERTY
def test_what_is_closed_stays_closed_and_counts(drawn, more):
    strategy, start, fraction, asked, wanted = drawn
    kind = asked["kind"]
    first = close("random", start=start, fraction=fraction, **{**asked, "seed": 7})
    low, high = sorted([fraction, more])
    if fraction != low:
        low_asked = {**asked, "start": first, "fraction": low}
        if close(strategy, start=start, fraction=low, **asked).count_closed(kind) < wanted:
            with pytest.raises(LotteryError, match=f"{wanted} {kind} are closed already"):
                close(strategy, **low_asked)
        return
    second = close(strategy, start=first, fraction=high, **asked)
    expected = close(strategy, start=start, fraction=high, **asked).count_closed(kind)
    assert second.count_closed(kind) == expected
    assert second.intersection(first) == second


@given(inputs(("random", "lowest", "highest", *PLACES)), st.floats(0, 1))
@PROPERTY
def test_a_smaller_fraction_is_a_part_of_a_larger_one(drawn, more):
    strategy, start, fraction, asked, _ = drawn
    low, high = (
        close(strategy, start=start, fraction=f, **asked) for f in sorted([fraction, more])
    )
    assert high.intersection(low) == high


@given(anatomies(), st.integers(0, 99), st.data())
@PROPERTY
def test_lowest_and_highest_against_a_plain_sort(anatomy, seed, data):
    scores = random_scores(anatomy, seed)
    everyone = [(n, i) for n, size in anatomy.heads.items() for i in range(size)]
    count = data.draw(st.integers(0, len(everyone)))
    places = {part: place for place, part in enumerate(everyone)}
    value = {(n, i): float(scores["heads"][n][i]) for n, i in everyone}
    low = sorted(everyone, key=lambda p: (value[p], places[p]))[:count]
    high = sorted(everyone, key=lambda p: (-value[p], places[p]))[:count]
    for strategy, expected in (("lowest", low), ("highest", high)):
        found = close(strategy, anatomy, count=count, scores=scores)
        assert set(found.closed("heads")) == set(expected)


def test_random_is_the_same_everywhere():
    """Golden: Philox's raw stream under SHA-256, whatever numpy."""
    parts = close("random", fraction=0.1, seed=1)
    assert parts.count_closed("heads") == 14
    found = [(type_of(n), layer_of(n), i) for n, i in parts.closed("heads")]
    assert found == GOLDEN
    assert close("random", fraction=0.1, seed=2) != parts


def test_random_reaches_every_head_alike():
    """1000 seeds at half the heads: each is closed 500 times, give or take 4.5 sd."""
    anatomy = transformer(2, 1, heads=2)
    closed = {}
    for seed in range(1000):
        for part in close("random", anatomy, fraction=0.5, seed=seed).closed("heads"):
            closed[part] = closed.get(part, 0) + 1
    assert len(closed) == 8 and sum(closed.values()) == 4000
    assert all(abs(count - 500) < 4.5 * (1000 * 0.25) ** 0.5 for count in closed.values())


def test_random_per_type_closes_as_many_of_each():
    """Budhraja et al.'s example keeps 24 heads of each type of Transformer base."""
    assert by_type(close("random-per-type", fraction=0.5)) == dict.fromkeys(ATTENTIONS, 24)
    found = by_type(close("random-per-type", count=10))
    assert list(found.values()) == [4, 3, 3]  # the first type gets what is left over
    assert by_type(close("random", fraction=0.5)) != dict.fromkeys(ATTENTIONS, 24)


def test_random_per_type_closes_the_same_share_where_types_differ_in_size():
    found = by_type(close("random-per-type", transformer(12, 2), fraction=0.25))
    assert found == {"enc_self": 24, "dec_self": 4, "enc_dec": 4}


def test_random_per_type_goes_on_elsewhere_where_a_type_has_no_more_to_close():
    plain = transformer(2, 1)
    anatomy = Anatomy({n: 2 if "encoder_attn" in n else 8 for n in plain.heads}, {})
    found = by_type(close("random-per-type", anatomy, count=16, at_least=1))
    assert found == {"enc_self": 10, "dec_self": 5, "enc_dec": 1}


def test_random_per_type_makes_up_for_what_is_closed_already():
    start = close("random", count=10, types=("enc_self",))
    assert by_type(close("random-per-type", start=start, count=30)) == dict.fromkeys(ATTENTIONS, 10)


@pytest.mark.parametrize(
    "strategy, third, half",
    [
        ("top", [0, 0, 0, 0, 24, 24], [0, 0, 0, 24, 24, 24]),
        ("bottom", [24, 24, 0, 0, 0, 0], [24, 24, 24, 0, 0, 0]),
        ("middle", [0, 0, 24, 24, 0, 0], [0, 24, 24, 24, 0, 0]),
        ("spare-middle", [24, 0, 0, 0, 0, 24], [24, 24, 0, 0, 0, 24]),
        ("alternate", [0, 24, 0, 24, 0, 0], [0, 24, 0, 24, 0, 24]),
    ],
)
def test_layers(strategy, third, half):
    assert by_layer(close(strategy, fraction=1 / 3)) == third
    assert by_layer(close(strategy, fraction=0.5)) == half


def test_within_the_last_layer_chance_decides():
    parts = [close("top", fraction=0.25, seed=seed) for seed in (1, 2)]
    assert [by_layer(one) for one in parts] == [[0, 0, 0, 0, 12, 24]] * 2
    assert parts[0] != parts[1]


def test_stacks_of_different_depth_compare_by_their_share():
    """The upper half of twelve encoder layers and of two decoder layers."""
    parts = close("top", transformer(12, 2), fraction=0.5)
    assert by_layer(parts, "enc_self") == [0] * 6 + [8] * 6
    assert by_layer(parts, "dec_self", "enc_dec") == [0, 16]


def test_layers_of_ffn_blocks():
    parts = close("top", kind="blocks", fraction=0.5)
    assert {n for n, _ in parts.closed("blocks")} == {
        f"{side}.layers.{layer}" for side in ("encoder", "decoder") for layer in (3, 4, 5)
    }


def test_types_close_one_after_the_other():
    order = ("enc_dec", "enc_self")
    assert by_type(close("types", types=order, fraction=0.5)) == {
        "enc_self": 0, "dec_self": 0, "enc_dec": 48,
    }  # fmt: skip
    assert list(by_type(close("types", count=60)).values()) == [48, 12, 0]


@given(
    st.integers(1, 8),
    st.integers(0, 8),
    st.integers(0, 99),
    st.lists(st.integers(1, 4), min_size=24, max_size=24),
    st.data(),
)
@PROPERTY
def test_apart_never_closes_heads_in_consecutive_layers(encoder, decoder, seed, sizes, data):
    plain = transformer(encoder, decoder)
    anatomy = Anatomy(dict(zip(plain.heads, sizes)), {})
    most = sum(_most_apart(anatomy, stack) for stack in ("encoder.", "decoder."))
    count = data.draw(st.integers(0, sum(anatomy.heads.values())))
    if count > most:
        with pytest.raises(LotteryError, match=f"without consecutive layers; {most} can"):
            close("apart", anatomy, count=count, seed=seed)
        return
    parts = close("apart", anatomy, count=count, seed=seed)
    assert parts.count_closed("heads") == count
    layers = {(stack_of(n), layer_of(n)) for n, _ in parts.closed("heads")}
    assert not any((stack, layer + 1) in layers for stack, layer in layers)


def _most_apart(anatomy, stack):
    """By trying all sets of layers."""
    heads = {}
    for name, size in anatomy.heads.items():
        if stack_of(name) == stack:
            heads[layer_of(name)] = heads.get(layer_of(name), 0) + size
    sets = [s for s in range(1 << len(heads)) if not s & (s << 1)]
    return max(sum(n for layer, n in heads.items() if s >> layer & 1) for s in sets)


def test_apart_goes_on_from_what_is_closed():
    encoder = [f"encoder.layers.{n}.self_attn" for n in range(6)]
    anatomy = Anatomy(dict.fromkeys(encoder, 4), {})
    start = Parts(anatomy, {"heads": {encoder[2]: [0]}})
    for seed in range(20):
        found = by_layer(close("apart", start=start, count=12, seed=seed))
        assert found in ([4, 0, 4, 0, 4, 0], [4, 0, 4, 0, 0, 4])
    neighbours = Parts(anatomy, {"heads": {encoder[2]: [0], encoder[3]: [1]}})
    with pytest.raises(LotteryError, match="layers 2 and 3 of encoder have closed heads already"):
        close("apart", start=neighbours, count=3)


def test_apart_takes_every_largest_set_under_some_seed():
    anatomy = Anatomy({f"encoder.layers.{n}.self_attn": 1 for n in range(6)}, {})
    found = {tuple(by_layer(close("apart", anatomy, count=3, seed=seed))) for seed in range(60)}
    assert found == {(1, 0, 1, 0, 1, 0), (1, 0, 1, 0, 0, 1), (1, 0, 0, 1, 0, 1), (0, 1, 0, 1, 0, 1)}


def test_one_head_left_in_each_module():
    scores = random_scores(BASE, 3, levels=1000)
    parts = close("one-left", scores=scores)
    assert parts.count_closed("heads") == 18 * 7
    for name, keep in parts["heads"].items():
        assert torch.nonzero(keep).flatten().tolist() == [int(scores["heads"][name].argmax())]
    first = close("one-left", types=("enc_self",))["heads"]
    assert first["encoder.layers.0.self_attn"].tolist() == [True] + [False] * 7
    assert first["decoder.layers.0.self_attn"].all()


def test_all_but_one():
    scores = random_scores(BASE, 3, levels=1)
    scores["heads"]["decoder.layers.1.self_attn"][6] = 2.0
    parts = close("all-but-one", scores=scores)
    assert parts.count_closed("heads") == 143
    assert bool(parts["heads"]["decoder.layers.1.self_attn"][6])
    by_place = close("all-but-one")
    assert bool(by_place["heads"]["encoder.layers.0.self_attn"][0])
    assert by_place.count_closed("heads") == 143


@given(st.integers(1, 4), st.integers(2, 6), st.integers(0, 99))
@PROPERTY
def test_lowest_leaves_one_part_too(layers, heads, seed):
    """So what leaves one part takes a share where only those do, as in a workflow's rows."""
    anatomy = transformer(layers, layers, heads)
    generator = torch.Generator().manual_seed(seed)
    scores = {
        "heads": {n: torch.rand(s, generator=generator).double() for n, s in anatomy.heads.items()}
    }
    total = sum(anatomy.heads.values())
    by_module = close("lowest", anatomy, fraction=1 - 1 / heads, at_least=1, scores=scores)
    assert by_module == close("one-left", anatomy, scores=scores)
    assert close("lowest", anatomy, count=total - 1, scores=scores) == close(
        "all-but-one", anatomy, scores=scores
    )


def test_the_mode_is_that_of_the_start():
    start = Parts(BASE, {}, "uniform")
    assert close("random", start=start, count=3).mode == "uniform"
    assert close("random", count=3).mode == "zero"


@pytest.mark.parametrize(
    "strategy, asked, message",
    [
        ("random", {"count": 145}, "145 heads cannot be closed, for there are 144"),
        ("random", {"count": 49, "types": ("enc_dec",)}, "for there are 48"),
        ("random", {"count": -1}, "-1 heads cannot be closed, for there are 144"),
        ("random", {"fraction": 1.1}, r"fraction 1.1 to close is outside \[0, 1\]"),
        ("random", {"fraction": float("nan")}, "fraction nan"),
        ("random", {"fraction": 0.5, "count": 3}, "a fraction and a count"),
        ("random", {}, "neither a fraction nor a count"),
        ("random", {"kind": "tails", "count": 1}, "'tails' cannot be closed"),
        ("random", {"types": ("enc_ffn",), "count": 1}, "no heads of type 'enc_ffn'; it has enc_"),
        ("random", {"at_least": 8, "count": 1}, "each module keeps 8; 0 can"),
        ("random", {"at_least": -1, "count": 1}, "at least -1"),
        ("lowest", {"count": 1}, "no scores of heads"),
        ("lowest", {"count": 1, "scores": {}}, "no scores of heads"),
        ("highest", {"count": 1, "scores": {"units": {}}}, "no scores of heads"),
        ("lowest", {"count": 1, "scores": random_scores(transformer(6, 5), 1)}, "shape NoneType"),
        ("lowest", {"count": 1, "scores": random_scores(transformer(heads=4), 1)}, r"shape \(4,\)"),
        ("apart", {"count": 73}, "73 of 144 heads cannot be closed without consecutive layers; 72"),
        ("one-left", {"count": 3}, "takes neither a fraction nor a count"),
        ("one-left", {"scores": {}}, "no scores of heads"),
    ],
)
def test_refusals_are_one_sentence(strategy, asked, message):
    with pytest.raises(LotteryError, match=message) as caught:
        close(strategy, **asked)
    assert "\n" not in str(caught.value)


def test_scores_that_are_not_finite_are_refused():
    scores = random_scores(BASE, 1)
    scores["heads"]["decoder.layers.0.self_attn"][3] = float("nan")
    with pytest.raises(LotteryError, match="decoder.layers.0.self_attn are complex or not all"):
        close("lowest", count=1, scores=scores)


def test_no_open_head_to_leave_is_refused():
    start = close("random", count=48, types=("enc_dec",))
    for scores in (None, random_scores(BASE, 1)):
        with pytest.raises(LotteryError, match="encoder_attn has no open heads, of which one"):
            close("one-left", start=start, scores=scores)


@given(anatomies(), st.data(), st.integers(0, 99))
@PROPERTY
def test_good_random_and_bad_are_of_one_size(anatomy, data, seed):
    opened = {
        kind: {n: torch.tensor(data.draw(bits(size))) for n, size in modules.items()}
        for kind, modules in anatomy.sizes.items()
    }
    good = Parts.of(anatomy, opened)
    found = subnetworks(good, seed)
    assert list(found) == ["good", "random", "bad"] and found["good"] == good
    for kind in ("heads", "units", "blocks"):
        assert {one.count_closed(kind) for one in found.values()} == {good.count_closed(kind)}
        size, closed = good.count(kind) - good.count_closed(kind), set(good.closed(kind))
        both = [p for p in closed if bool(found["bad"][kind][p[0]][p[1]])]
        assert len(both) == min(size, len(closed))  # survivors only where the others do not do
    assert subnetworks(good, seed) == found


def test_random_subnetworks_are_sampled_from_all():
    """Over 300 seeds a third of the heads: survivors are open as often as the others."""
    anatomy = transformer(2, 2, heads=2)
    good = close("bottom", anatomy, fraction=2 / 3)
    closed, among = set(good.closed("heads")), 0
    for seed in range(300):
        random = subnetworks(good, seed)["random"]
        assert random.count_closed("heads") == 8 and random.count_closed("units") == 0
        among += sum(part in closed for part in random.closed("heads"))
    assert abs(among / 300 - 8 * 8 / 12) < 0.2
