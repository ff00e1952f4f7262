"""What each strategy prunes: exact numbers, its own definition, and what it refuses."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import PROPERTY

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.choices.strategies import STRATEGIES
from fairseq_lottery.heads.choices.strategy_input import StrategyInput, stack_of
from fairseq_lottery.heads.components.anatomy import ATTENTIONS, KINDS, Anatomy, layer_of, type_of
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.searches.subnetworks import subnetworks

#: strategies that prune as many as they are told, whatever the number
EXACT = [n for n in STRATEGIES if n not in ("apart", "role", "one-left", "all-but-one")]
#: what ``random`` prunes at a tenth under seed 1: type, layer, head
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
    return ComponentMask(anatomy, {})


def random_scores(anatomy, seed, levels=5):
    """Whole numbers, so that many are equal."""
    generator = torch.Generator().manual_seed(seed)
    return {
        kind: {n: torch.randint(levels, (s,), generator=generator).double() for n, s in m.items()}
        for kind, m in anatomy.sizes.items()
    }


def prune(strategy, anatomy=BASE, **asked):
    start = asked.pop("start", None) or everything(anatomy)
    return STRATEGIES[strategy](StrategyInput(start, **asked))


def by_layer(components, *types):
    """Closed heads of each layer, over the types."""
    found = {}
    for name, keep in components["heads"].items():
        if type_of(name) in (types or ATTENTIONS):
            found[layer_of(name)] = found.get(layer_of(name), 0) + int((~keep).sum())
    return [found[layer] for layer in sorted(found)]


def by_type(components):
    count = dict.fromkeys(ATTENTIONS, 0)
    for name, _ in components.pruned("heads"):
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
    """A strategy, an input for it, and how many of the ruled components it is to prune in all."""
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
def test_exactly_the_fraction_of_the_ruled_components_is_pruned(drawn):
    strategy, start, fraction, asked, wanted = drawn
    components = prune(strategy, start=start, fraction=fraction, **asked)
    kind, types = asked["kind"], asked["types"]
    ruled = [n for n, _ in components.pruned(kind) if types is None or type_of(n) in types]
    assert len(ruled) == wanted == components.count_pruned(kind)
    assert all(components.count_pruned(k) == 0 for k in ("heads", "units", "blocks") if k != kind)
    assert prune(strategy, start=start, count=wanted, **asked) == components
    assert prune(strategy, start=start, fraction=fraction, **asked) == components


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
        with pytest.raises(
            LotteryError, match=f"each module keeps {at_least}; prune at most {most}"
        ):
            prune(strategy, **asked)
        return
    components = prune(strategy, **asked)
    assert components.count_pruned(kind) == wanted
    assert all(int(components[kind][n].sum()) >= min(at_least, sizes[n]) for n in ruled)


@given(inputs(), st.floats(0, 1))
@PROPERTY
def test_what_is_pruned_stays_pruned_and_counts(drawn, more):
    strategy, start, fraction, asked, wanted = drawn
    kind = asked["kind"]
    first = prune("random", start=start, fraction=fraction, **{**asked, "seed": 7})
    low, high = sorted([fraction, more])
    if fraction != low:
        low_asked = {**asked, "start": first, "fraction": low}
        if prune(strategy, start=start, fraction=low, **asked).count_pruned(kind) < wanted:
            with pytest.raises(LotteryError, match=f"{wanted} {kind} are pruned already"):
                prune(strategy, **low_asked)
        return
    second = prune(strategy, start=first, fraction=high, **asked)
    expected = prune(strategy, start=start, fraction=high, **asked).count_pruned(kind)
    assert second.count_pruned(kind) == expected
    assert contains(second, first)


def contains(larger, smaller):
    """Whether a choice prunes all that another one prunes."""
    return all(set(smaller.pruned(kind)) <= set(larger.pruned(kind)) for kind in KINDS)


@given(inputs(("random", "lowest", "highest", *PLACES)), st.floats(0, 1))
@PROPERTY
def test_a_smaller_fraction_is_a_component_of_a_larger_one(drawn, more):
    strategy, start, fraction, asked, _ = drawn
    low, high = (
        prune(strategy, start=start, fraction=f, **asked) for f in sorted([fraction, more])
    )
    assert contains(high, low)


@given(anatomies(), st.integers(0, 99), st.data())
@PROPERTY
def test_lowest_and_highest_against_a_plain_sort(anatomy, seed, data):
    scores = random_scores(anatomy, seed)
    everyone = [(n, i) for n, size in anatomy.heads.items() for i in range(size)]
    count = data.draw(st.integers(0, len(everyone)))
    places = {component: place for place, component in enumerate(everyone)}
    value = {(n, i): float(scores["heads"][n][i]) for n, i in everyone}
    low = sorted(everyone, key=lambda p: (value[p], places[p]))[:count]
    high = sorted(everyone, key=lambda p: (-value[p], places[p]))[:count]
    for strategy, expected in (("lowest", low), ("highest", high)):
        found = prune(strategy, anatomy, count=count, scores=scores)
        assert set(found.pruned("heads")) == set(expected)


def test_random_is_the_same_everywhere():
    """Golden: Philox's raw stream under SHA-256, whatever numpy."""
    components = prune("random", fraction=0.1, seed=1)
    assert components.count_pruned("heads") == 14
    found = [(type_of(n), layer_of(n), i) for n, i in components.pruned("heads")]
    assert found == GOLDEN
    assert prune("random", fraction=0.1, seed=2) != components


def test_random_reaches_every_head_alike():
    """1000 seeds at half the heads: each is pruned 500 times, give or take 4.5 sd."""
    anatomy = transformer(2, 1, heads=2)
    pruned = {}
    for seed in range(1000):
        for component in prune("random", anatomy, fraction=0.5, seed=seed).pruned("heads"):
            pruned[component] = pruned.get(component, 0) + 1
    assert len(pruned) == 8 and sum(pruned.values()) == 4000
    assert all(abs(count - 500) < 4.5 * (1000 * 0.25) ** 0.5 for count in pruned.values())


def test_random_per_type_prunes_as_many_of_each():
    """Budhraja et al.'s example keeps 24 heads of each type of Transformer base."""
    assert by_type(prune("random-per-type", fraction=0.5)) == dict.fromkeys(ATTENTIONS, 24)
    found = by_type(prune("random-per-type", count=10))
    assert list(found.values()) == [4, 3, 3]  # the first type gets what is left over
    assert by_type(prune("random", fraction=0.5)) != dict.fromkeys(ATTENTIONS, 24)


def test_random_per_type_prunes_the_same_share_where_types_differ_in_size():
    found = by_type(prune("random-per-type", transformer(12, 2), fraction=0.25))
    assert found == {"enc_self": 24, "dec_self": 4, "enc_dec": 4}


def test_random_per_type_goes_on_elsewhere_where_a_type_has_no_more_to_prune():
    plain = transformer(2, 1)
    anatomy = Anatomy({n: 2 if "encoder_attn" in n else 8 for n in plain.heads}, {})
    found = by_type(prune("random-per-type", anatomy, count=16, at_least=1))
    assert found == {"enc_self": 10, "dec_self": 5, "enc_dec": 1}


def test_random_per_type_makes_up_for_what_is_pruned_already():
    start = prune("random", count=10, types=("enc_self",))
    assert by_type(prune("random-per-type", start=start, count=30)) == dict.fromkeys(ATTENTIONS, 10)


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
    assert by_layer(prune(strategy, fraction=1 / 3)) == third
    assert by_layer(prune(strategy, fraction=0.5)) == half


def test_within_the_last_layer_chance_decides():
    components = [prune("top", fraction=0.25, seed=seed) for seed in (1, 2)]
    assert [by_layer(one) for one in components] == [[0, 0, 0, 0, 12, 24]] * 2
    assert components[0] != components[1]


def test_stacks_of_different_depth_compare_by_their_share():
    """The upper half of twelve encoder layers and of two decoder layers."""
    components = prune("top", transformer(12, 2), fraction=0.5)
    assert by_layer(components, "enc_self") == [0] * 6 + [8] * 6
    assert by_layer(components, "dec_self", "enc_dec") == [0, 16]


def test_layers_of_ffn_blocks():
    components = prune("top", kind="blocks", fraction=0.5)
    assert {n for n, _ in components.pruned("blocks")} == {
        f"{side}.layers.{layer}" for side in ("encoder", "decoder") for layer in (3, 4, 5)
    }


def test_types_prune_one_after_the_other():
    order = ("enc_dec", "enc_self")
    assert by_type(prune("types", types=order, fraction=0.5)) == {
        "enc_self": 0, "dec_self": 0, "enc_dec": 48,
    }  # fmt: skip
    assert list(by_type(prune("types", count=60)).values()) == [48, 12, 0]


@given(
    st.integers(1, 8),
    st.integers(0, 8),
    st.integers(0, 99),
    st.lists(st.integers(1, 4), min_size=24, max_size=24),
    st.data(),
)
@PROPERTY
def test_apart_never_prunes_heads_in_consecutive_layers(encoder, decoder, seed, sizes, data):
    plain = transformer(encoder, decoder)
    anatomy = Anatomy(dict(zip(plain.heads, sizes)), {})
    most = sum(_most_apart(anatomy, stack) for stack in ("encoder.", "decoder."))
    count = data.draw(st.integers(0, sum(anatomy.heads.values())))
    if count > most:
        with pytest.raises(LotteryError, match=f"without consecutive layers; prune at most {most}"):
            prune("apart", anatomy, count=count, seed=seed)
        return
    components = prune("apart", anatomy, count=count, seed=seed)
    assert components.count_pruned("heads") == count
    layers = {(stack_of(n), layer_of(n)) for n, _ in components.pruned("heads")}
    assert not any((stack, layer + 1) in layers for stack, layer in layers)


def _most_apart(anatomy, stack):
    """By trying all sets of layers."""
    heads = {}
    for name, size in anatomy.heads.items():
        if stack_of(name) == stack:
            heads[layer_of(name)] = heads.get(layer_of(name), 0) + size
    sets = [s for s in range(1 << len(heads)) if not s & (s << 1)]
    return max(sum(n for layer, n in heads.items() if s >> layer & 1) for s in sets)


def test_apart_goes_on_from_what_is_pruned():
    encoder = [f"encoder.layers.{n}.self_attn" for n in range(6)]
    anatomy = Anatomy(dict.fromkeys(encoder, 4), {})
    start = ComponentMask(anatomy, {"heads": {encoder[2]: [0]}})
    for seed in range(20):
        found = by_layer(prune("apart", start=start, count=12, seed=seed))
        assert found in ([4, 0, 4, 0, 4, 0], [4, 0, 4, 0, 0, 4])
    neighbours = ComponentMask(anatomy, {"heads": {encoder[2]: [0], encoder[3]: [1]}})
    with pytest.raises(LotteryError, match="layers 2 and 3 of encoder have pruned heads already"):
        prune("apart", start=neighbours, count=3)


def test_apart_takes_every_largest_set_under_some_seed():
    anatomy = Anatomy({f"encoder.layers.{n}.self_attn": 1 for n in range(6)}, {})
    found = {tuple(by_layer(prune("apart", anatomy, count=3, seed=seed))) for seed in range(60)}
    assert found == {(1, 0, 1, 0, 1, 0), (1, 0, 1, 0, 0, 1), (1, 0, 0, 1, 0, 1), (0, 1, 0, 1, 0, 1)}


def test_one_head_left_in_each_module():
    scores = random_scores(BASE, 3, levels=1000)
    components = prune("one-left", scores=scores)
    assert components.count_pruned("heads") == 18 * 7
    for name, keep in components["heads"].items():
        assert torch.nonzero(keep).flatten().tolist() == [int(scores["heads"][name].argmax())]
    first = prune("one-left", types=("enc_self",))["heads"]
    assert first["encoder.layers.0.self_attn"].tolist() == [True] + [False] * 7
    assert first["decoder.layers.0.self_attn"].all()


def test_all_but_one():
    scores = random_scores(BASE, 3, levels=1)
    scores["heads"]["decoder.layers.1.self_attn"][6] = 2.0
    components = prune("all-but-one", scores=scores)
    assert components.count_pruned("heads") == 143
    assert bool(components["heads"]["decoder.layers.1.self_attn"][6])
    by_place = prune("all-but-one")
    assert bool(by_place["heads"]["encoder.layers.0.self_attn"][0])
    assert by_place.count_pruned("heads") == 143


@given(st.integers(1, 4), st.integers(2, 6), st.integers(0, 99))
@PROPERTY
def test_lowest_leaves_one_component_too(layers, heads, seed):
    """So what leaves one component takes a share where only those do, as in a workflow's rows."""
    anatomy = transformer(layers, layers, heads)
    generator = torch.Generator().manual_seed(seed)
    scores = {
        "heads": {n: torch.rand(s, generator=generator).double() for n, s in anatomy.heads.items()}
    }
    total = sum(anatomy.heads.values())
    by_module = prune("lowest", anatomy, fraction=1 - 1 / heads, at_least=1, scores=scores)
    assert by_module == prune("one-left", anatomy, scores=scores)
    assert prune("lowest", anatomy, count=total - 1, scores=scores) == prune(
        "all-but-one", anatomy, scores=scores
    )


def test_the_mode_is_that_of_the_start():
    start = ComponentMask(BASE, {}, "uniform")
    assert prune("random", start=start, count=3).mode == "uniform"
    assert prune("random", count=3).mode == "zero"


@pytest.mark.parametrize(
    "strategy, asked, message",
    [
        ("random", {"count": 145}, "count of 145 heads to prune is out of range .0 to 144."),
        ("random", {"count": 49, "types": ("enc_dec",)}, "out of range .0 to 48."),
        ("random", {"count": -1}, "count of -1 heads to prune is out of range .0 to 144."),
        ("random", {"fraction": 1.1}, r"fraction 1.1 to prune is outside \[0, 1\]"),
        ("random", {"fraction": float("nan")}, "fraction nan"),
        ("random", {"fraction": 0.5, "count": 3}, "a fraction and a count"),
        ("random", {}, "neither a fraction nor a count"),
        ("random", {"kind": "tails", "count": 1}, "'tails' cannot be pruned"),
        ("random", {"types": ("enc_ffn",), "count": 1}, "no heads of type 'enc_ffn'; it has enc_"),
        ("random", {"at_least": 8, "count": 1}, "each module keeps 8; prune at most 0"),
        ("random", {"at_least": -1, "count": 1}, "at least -1"),
        ("lowest", {"count": 1}, "scores of heads are required"),
        ("lowest", {"count": 1, "scores": {}}, "scores of heads are required"),
        ("highest", {"count": 1, "scores": {"units": {}}}, "scores of heads are required"),
        ("lowest", {"count": 1, "scores": random_scores(transformer(6, 5), 1)}, "shape NoneType"),
        ("lowest", {"count": 1, "scores": random_scores(transformer(heads=4), 1)}, r"shape \(4,\)"),
        (
            "apart",
            {"count": 73},
            "73 of 144 heads cannot be pruned without consecutive layers; prune at most 72",
        ),
        ("one-left", {"count": 3}, "takes no fraction and no count"),
        ("one-left", {"scores": {}}, "scores of heads are required"),
    ],
)
def test_refusals_are_one_sentence(strategy, asked, message):
    with pytest.raises(LotteryError, match=message) as caught:
        prune(strategy, **asked)
    assert "\n" not in str(caught.value)


def test_scores_that_are_not_finite_are_refused():
    scores = random_scores(BASE, 1)
    scores["heads"]["decoder.layers.0.self_attn"][3] = float("nan")
    with pytest.raises(LotteryError, match="decoder.layers.0.self_attn are complex or not all"):
        prune("lowest", count=1, scores=scores)


def test_no_open_head_to_leave_is_refused():
    start = prune("random", count=48, types=("enc_dec",))
    for scores in (None, random_scores(BASE, 1)):
        with pytest.raises(LotteryError, match="encoder_attn has no heads left"):
            prune("one-left", start=start, scores=scores)


@given(anatomies(), st.data(), st.integers(0, 99))
@PROPERTY
def test_good_random_and_bad_are_of_one_size(anatomy, data, seed):
    opened = {
        kind: {n: torch.tensor(data.draw(bits(size))) for n, size in modules.items()}
        for kind, modules in anatomy.sizes.items()
    }
    good = ComponentMask.of(anatomy, opened)
    found = subnetworks(good, seed)
    assert list(found) == ["good", "random", "bad"] and found["good"] == good
    for kind in ("heads", "units", "blocks"):
        assert {one.count_pruned(kind) for one in found.values()} == {good.count_pruned(kind)}
        size, pruned = good.count(kind) - good.count_pruned(kind), set(good.pruned(kind))
        both = [p for p in pruned if bool(found["bad"][kind][p[0]][p[1]])]
        assert len(both) == min(size, len(pruned))  # survivors only where the others do not do
    assert subnetworks(good, seed) == found


def test_random_subnetworks_are_sampled_from_all():
    """Over 300 seeds a third of the heads: survivors are open as often as the others."""
    anatomy = transformer(2, 2, heads=2)
    good = prune("bottom", anatomy, fraction=2 / 3)
    pruned, among = set(good.pruned("heads")), 0
    for seed in range(300):
        random = subnetworks(good, seed)["random"]
        assert random.count_pruned("heads") == 8 and random.count_pruned("units") == 0
        among += sum(component in pruned for component in random.pruned("heads"))
    assert abs(among / 300 - 8 * 8 / 12) < 0.2
