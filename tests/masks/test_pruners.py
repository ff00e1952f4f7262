"""Pruners: what each makes of a mask, by name and as checkpoints store them."""

import math
import sys
import textwrap
from dataclasses import asdict, replace
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matrix.pruners import OfGradients
from small import PROPERTY
from toy import same

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import (
    PRUNERS,
    Gradual,
    GradualRegrow,
    GraNet,
    InTimeRigL,
    Mask,
    Movement,
    PrunerInput,
    RigL,
    SoftMovement,
    SparseEvolutionary,
    find_pruner,
    read_pruner,
    select,
    store_pruner,
    streams,
)
from fairseq_lottery.masks.lazy_tensors import LazyTensors
from fairseq_lottery.masks.pruners import stored_name
from fairseq_lottery.masks.scores import ScoreInput, random
from fairseq_lottery.masks.streams import uniform
from fairseq_lottery.options import Scope
from fairseq_lottery.options.axes import PATTERN_PRUNERS

SET = SparseEvolutionary(final=0.8, start=10, end=110, every=10)
SHAPES = {"a": (12, 10), "b": (7, 9), "table": (5, 6)}
PROTECTED = {"table": 1}


def tensors(seed):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


def handed(mask, update=20, seed=1, weights=None, **more):
    """What a run hands to a pruner: weights are zero where the mask prunes."""
    weights = weights or tensors(seed)
    weights = {name: weights[name] * keep for name, keep in mask.items()}
    scores = {name: weight.abs() for name, weight in weights.items()}
    return PrunerInput(update, mask, weights, scores, seed=seed, **more)


def half_up(share, size):
    return math.floor(Fraction(repr(float(share))) * size + Fraction(1, 2))


FULL = Mask.full(SHAPES, PROTECTED)
#: digests of the first mask of SET and of the next one, in 16 digits
GOLDEN = ["99aaac1646875db0", "22deac3157c6f041"]


@PROPERTY
@given(
    sparsity=st.integers(1, 99).map(lambda n: n / 100),
    fraction=st.integers(1, 100).map(lambda n: n / 100),
    update=st.integers(11, 109),
    seed=st.integers(0, 5),
    kind=st.sampled_from([SparseEvolutionary, OfGradients, RigL]),
)
def test_an_exchange_keeps_every_count_and_prunes_the_smallest(
    sparsity, fraction, update, seed, kind
):
    pruner = kind(final=sparsity, start=10, end=110, every=1, fraction=fraction)
    before = pruner.first_mask(handed(FULL, update=0, seed=seed))
    found = handed(before, update, seed, dense_gradients=tensors(seed + 100))
    after = pruner.next_mask(found)
    done = (update - 10) / 100
    for name in SHAPES:
        size = FULL.size(name)
        assert before.pruned_in(name) == after.pruned_in(name) == half_up(sparsity, size)
        kept = size - before.pruned_in(name)
        share = round(fraction * (1 + math.cos(math.pi * done)) / 2, 12)
        count = half_up(share, kept)
        protected = torch.zeros_like(before[name])
        if name in PROTECTED:
            protected[PROTECTED[name]] = True
        # the smallest survivors are pruned, and the best of all that are pruned then are regrown
        survivors = torch.nonzero((before[name] & ~protected).flatten())[:, 0].tolist()
        score, rank = found.scores[name].flatten(), pruner.regrowth(found, name).flatten()
        smallest = sorted(survivors, key=lambda k: float(score[k]))[:count]
        candidates = torch.nonzero(~before[name].flatten())[:, 0].tolist() + smallest
        best = sorted(candidates, key=lambda k: -float(rank[k]))[:count]
        expected = protected.flatten()
        expected[[k for k in survivors if k not in set(smallest)] + best] = True
        assert after[name].flatten().equal(expected)
        if kind is not SparseEvolutionary:
            assert rank.equal(found.dense_gradients[name].abs().flatten())
    assert pruner.next_mask(found) == after


@PROPERTY
@given(
    pattern=st.sampled_from([(1, 2), (2, 4), (1, 4), (5, 8), None]),
    fraction=st.integers(1, 100).map(lambda n: n / 100),
    seed=st.integers(0, 5),
    kind=st.sampled_from([SparseEvolutionary, RigL]),
)
def test_an_exchange_keeps_a_pattern_and_regrows_the_best_of_each_group(
    pattern, fraction, seed, kind
):
    """Without a pattern, the groups are rows: of 8, and of more than are compared in pairs."""
    kept, group = pattern or (1, 3)
    shapes = {"a": (6, 48), "table": (5, 8)}
    generator = torch.Generator().manual_seed(seed)
    draw = [{n: torch.randn(s, generator=generator) for n, s in shapes.items()} for _ in range(2)]
    scope = Scope(f"{kept}:{group}" if pattern else "row")
    pruner = kind(final=1 - kept / group, start=0, end=100, every=1, fraction=fraction)
    full = Mask.full(shapes, PROTECTED)
    before = pruner.first_mask(handed(full, 0, seed, draw[0], scope=scope))
    found = handed(before, 1, seed, draw[0], scope=scope, dense_gradients=draw[1])
    after = pruner.next_mask(found)
    changed = 0
    for name, shape in shapes.items():
        free = torch.ones(shape, dtype=torch.bool)
        if name in PROTECTED:
            free[PROTECTED[name]] = False
        assert after[name][~free].all()
        survivors = torch.nonzero((before[name] & free).flatten())[:, 0].tolist()
        score, rank = found.scores[name].flatten(), pruner.regrowth(found, name).flatten()
        count = half_up(pruner.fraction_at(1), len(survivors))
        dropped = set(sorted(survivors, key=lambda k: float(score[k]))[:count])
        expected = before[name].flatten().clone()
        group = pattern[1] if pattern else shape[1]
        for first in range(0, expected.numel(), group):
            members = range(first, first + group)
            lost = [k for k in members if k in dropped]
            free_ones = [k for k in members if not expected[k]] + lost
            best = sorted(free_ones, key=lambda k: -float(rank[k]))[: len(lost)]
            expected[lost] = False
            expected[best] = True
        assert after[name].flatten().equal(expected)
        counts = [m[name].reshape(shape[0], -1, group).sum(-1) for m in (before, after)]
        assert same(*counts)
        if pattern:
            assert (counts[1][free.reshape(shape[0], -1, group)[..., 0]] == kept).all()
        changed += int((after[name] != before[name]).sum())
    assert changed or fraction < 0.5


@PROPERTY
@given(
    initial=st.integers(0, 60).map(lambda n: n / 100),
    update=st.sampled_from([11, 20, 55, 109, 110]),
    fraction=st.integers(1, 100).map(lambda n: n / 100),
    seed=st.integers(0, 5),
)
def test_granet_prunes_to_the_schedule_and_then_exchanges(initial, update, fraction, seed):
    pruner = GraNet(initial=initial, final=0.9, start=10, end=110, every=1, fraction=fraction)
    random = {n: t.abs() for n, t in tensors(seed + 50).items()}
    before = select(random, FULL, initial)
    found = handed(before, update, seed, dense_gradients=tensors(seed + 100))
    after = pruner.next_mask(found)
    left = 1 - (update - 10) / 100
    # before the first step after the start, nothing is due
    sparsity = initial if update < 11 else 0.9 + (initial - 0.9) * left**3
    for name in SHAPES:
        protected = torch.zeros_like(before[name])
        if name in PROTECTED:
            protected[PROTECTED[name]] = True
        count = half_up(sparsity, FULL.size(name))
        assert after.pruned_in(name) == count
        score, rank = found.scores[name].flatten(), found.dense_gradients[name].abs().flatten()
        survivors = torch.nonzero((before[name] & ~protected).flatten())[:, 0].tolist()
        survivors.sort(key=lambda k: float(score[k]))
        survivors = survivors[count - before.pruned_in(name) :]
        share = round(fraction * (1 + math.cos(math.pi * (1 - left))) / 2, 12)
        exchanged = half_up(share, len(survivors))
        stay = survivors[exchanged:]
        free = [k for k in range(score.numel()) if k not in stay and not protected.flatten()[k]]
        best = sorted(free, key=lambda k: -float(rank[k]))[:exchanged]
        expected = protected.flatten()
        expected[stay + best] = True
        assert after[name].flatten().equal(expected)


def test_granet_keeps_rows_equal_at_every_step():
    """Rows that an exchange left unequal could not be pruned to an equal share."""
    pruner = GraNet(initial=0.0, final=0.9, start=0, end=40, every=1)
    shapes = {"a": (5, 40), "b": (4, 7)}
    generator = torch.Generator().manual_seed(3)
    mask = Mask.full(shapes)
    for update in range(1, 41):
        drawn = [{n: torch.randn(s, generator=generator) for n, s in shapes.items()} for _ in "ab"]
        found = handed(mask, update, weights=drawn[0], scope=Scope("row"), dense_gradients=drawn[1])
        mask = pruner.next_mask(found)
        for name, keep in mask.items():
            counts = keep.sum(dim=1)
            assert int(counts.max() - counts.min()) <= 1
            assert mask.pruned_in(name) == half_up(pruner.sparsity_at(update), keep.numel())


def test_granet_follows_its_schedule():
    pruner = GraNet(initial=0.5, final=0.9, start=0, end=100, every=25)
    assert [u for u in range(150) if pruner.is_due(u)] == [25, 50, 75, 100]
    steps = [round(pruner.sparsity_at(u), 4) for u in (0, 24, 25, 50, 75, 99, 100, 120)]
    assert steps == [0.5, 0.5, 0.7312, 0.85, 0.8938, 0.8938, 0.9, 0.9]
    assert [pruner.is_at_target(u) for u in (0, 99, 100)] == [False, False, True]
    assert pruner.fraction_at(100) == 0 and pruner.fraction_at(50) == 0.25
    mask = select({n: t.abs() for n, t in tensors(1).items()}, FULL, 0.5)
    assert pruner.first_mask(handed(mask, 0)) is mask
    with pytest.raises(LotteryError, match="--prune-to 0.4 is below the sparsity 0.5 of the mask"):
        replace(pruner, final=0.4)


def test_regrowth_depends_on_update_seed_and_name_alone():
    mask = SET.first_mask(handed(FULL, 0))
    moved = {name: -3 * weight for name, weight in tensors(9).items()}

    def regrown(update, seed, weights=None):
        found = handed(mask, update, seed, weights)
        return {name: SET.regrowth(found, name).tolist() for name in mask}

    assert regrown(20, 1) == regrown(20, 1, moved)
    assert regrown(20, 1) != regrown(30, 1) and regrown(20, 1) != regrown(20, 2)


def test_two_draws_never_share_a_stream(monkeypatch):
    """First masks, regrowth after every update and random scores, of every matrix and seed."""
    draws, stream = [], streams.stream
    monkeypatch.setattr(streams, "stream", lambda key: draws[-1].add(key) or stream(key))

    def draw(function, *arguments):
        draws.append(set())
        return function(*arguments)

    for seed in range(1, 13):
        mask = draw(SET.first_mask, handed(FULL, 0, seed))
        for update in (20, 30, 60):
            draw(SET.next_mask, handed(mask, update, seed))
        for name, weight in tensors(seed).items():
            draw(random, ScoreInput(name, weight, seed=seed))
    assert all(draws)
    assert sum(map(len, draws)) == len(set().union(*draws)), "a stream is drawn from twice"


def test_golden_masks():
    """Every stack and every later version draws and regrows the same."""
    weights = {
        name: torch.arange(1.0, math.prod(shape) + 1).reshape(shape)
        for name, shape in SHAPES.items()
    }
    first = SET.first_mask(handed(FULL, 0, weights=weights))
    second = SET.next_mask(handed(first, 20, weights=weights))
    assert [mask.digest()[:16] for mask in (first, second)] == GOLDEN


def test_the_first_mask_is_random_and_of_a_purpose_of_its_own():
    first = SET.first_mask(handed(FULL, 0))
    assert first == SET.first_mask(handed(FULL, 0, weights=tensors(5)))
    assert first == OfGradients(**asdict(SET)).first_mask(handed(FULL, 0)), "common random numbers"
    assert first != SET.first_mask(handed(FULL, 0, seed=2))
    drawn = {name: uniform(f"1|{name}", FULL[name].numel()).reshape(SHAPES[name]) for name in FULL}
    assert first != select(drawn, FULL, 0.8), "not the mask of --score random"
    ticket = select(drawn, FULL, 0.8)
    assert SET.first_mask(handed(ticket, 0)) is ticket
    together = SET.first_mask(replace(handed(FULL, 0), scope=Scope("global")))
    assert together.pruned == half_up(0.8, FULL.prunable)


def test_weights_are_exchanged_between_start_and_end_only():
    assert [u for u in range(200) if SET.is_due(u)] == list(range(20, 110, 10))
    assert not any(replace(SET, start=0).is_due(u) for u in (0, 110))
    assert SET.is_active(109) and not SET.is_active(110)
    assert all(SET.is_at_target(u) and SET.sparsity_at(u) == 0.8 for u in (0, 10, 60, 500))


def test_the_fraction_decays_by_a_cosine():
    golden = {10: 0.3, 35: 0.256066017178, 60: 0.15, 85: 0.043933982822, 110: 0.0}
    assert {update: SET.fraction_at(update) for update in golden} == golden


@pytest.mark.parametrize(
    "window, summed",
    [
        (0, list(range(1, 31))),
        (1, [10, 15, 20]),
        (3, [8, 9, 10, 13, 14, 15, 18, 19, 20]),
        (5, list(range(6, 21))),
    ],
)
def test_gradients_are_summed_in_a_window_before_each_exchange(window, summed):
    """Exchanges after 10, 15 and 20 updates; a sum over all of them is stopped by the run."""
    pruner = RigL(0.8, 5, 25, 5, gradient_updates=window)
    assert [u for u in range(1, 31) if pruner.sums_gradient_of(u)] == summed
    assert all(replace(SET).sums_gradient_of(u) for u in (1, 50, 500))


def test_no_more_is_exchanged_than_is_pruned():
    nearly = select({n: t.abs() for n, t in tensors(1).items()}, FULL, 0.05)
    after = replace(SET, final=0.05, fraction=1.0).next_mask(handed(nearly))
    for name in SHAPES:
        assert (after[name] | nearly[name]).all(), "all that was pruned has come back"
        assert after.pruned_in(name) == nearly.pruned_in(name)


def test_gradual_is_select_at_the_sparsity_that_is_due():
    gradual = Gradual(0.0, 0.8, 0, 100, 10)
    for scope, least in (("layer", 0.0), ("global", 0.2)):
        found = replace(handed(FULL, 50), scope=Scope(scope, least))
        due = select(found.scores, FULL, gradual.sparsity_at(50), scope, least)
        assert gradual.next_mask(found) == due
    assert gradual.first_mask(handed(FULL, 5)) is FULL, "nothing is due between two steps"


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_gradual_regrow_ranks_pruned_weights_with_the_others(scope):
    """Against a sort of all scores, counted by hand; padding is never pruned."""
    pruner = GradualRegrow(0.0, 0.8, 0, 100, 10)
    before = select({n: t.abs() for n, t in tensors(1).items()}, FULL, 0.7)
    scores = {name: t.abs() for name, t in tensors(2).items()}
    found = PrunerInput(50, before, tensors(2), scores, scope=Scope(scope))
    after = pruner.next_mask(found)
    for name, row in PROTECTED.items():
        scores[name][row] = math.inf
    groups = [[name] for name in SHAPES] if scope == "layer" else [sorted(SHAPES)]
    for group in groups:
        ranks = torch.cat([scores[name].flatten() for name in group])
        size = sum(FULL.size(name) for name in group)
        order = sorted(range(len(ranks)), key=lambda k: float(ranks[k]))
        expected = torch.ones(len(ranks), dtype=torch.bool)
        expected[order[: half_up(0.8 - 0.8 * 0.5**3, size)]] = False
        assert torch.cat([after[name].flatten() for name in group]).equal(expected)
    assert not after.is_subset_of(before), "weights come back"


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"fraction": 0.0}, r"--prune-fraction 0 is outside \(0, 1\]"),
        ({"fraction": 1.1}, "--prune-fraction 1.1 is outside"),
        ({"fraction": math.nan}, "--prune-fraction nan is outside"),
        ({"final": 1.0}, "--prune-to 1 is outside"),
        ({"every": 0}, "--prune-every 0 must be at least 1"),
        ({"start": 111}, "--prune-start 111 is out of range .0 to --prune-end, 110"),
        ({"start": 110}, "--prune-start and --prune-end are both 110"),
    ],
)
def test_schedules_that_make_no_sense_are_refused(changes, sentence):
    with pytest.raises(LotteryError, match=sentence):
        replace(SET, **changes)


def test_regrowth_scores_of_another_shape_or_not_finite_are_refused():
    pruner = OfGradients(**asdict(SET))
    mask = SET.first_mask(handed(FULL, 0))
    for gradients, sentence in (
        (dict.fromkeys(SHAPES, torch.ones(3)), r"the scores of a have shape \(3,\), expected"),
        (
            {name: torch.full(shape, math.inf) for name, shape in SHAPES.items()},
            "the scores of a are not all finite",
        ),
    ):
        with pytest.raises(LotteryError, match=sentence):
            pruner.next_mask(handed(mask, dense_gradients=gradients))


def test_lazy_tensors_compute_at_each_lookup_and_know_their_names():
    looked = []
    lazy = LazyTensors(lambda name: looked.append(name) or torch.zeros(1), ["a", "b"])
    assert "a" in lazy and "c" not in lazy and list(lazy) == ["a", "b"] and len(lazy) == 2
    assert not looked
    assert torch.equal(lazy["b"], torch.zeros(1)) and looked == ["b"]
    with pytest.raises(KeyError):
        lazy["c"]


# --- by name, and in checkpoints -----------------------------------------------------------


def test_what_checkpoints_store():
    """Those of gradual have the keys of versions that knew no other pruner."""
    gradual = Gradual(0.1, 0.9, 5, 50, 5, "linear")
    keys = ["initial", "final", "start", "end", "every", "schedule"]
    stored = store_pruner("gradual", gradual)
    assert list(stored) == keys and stored_name(stored) == "gradual"
    stored = store_pruner("set", SET)
    assert stored == {
        "pruner": "set", "final": 0.8, "start": 10, "end": 110, "every": 10, "fraction": 0.3,
    }  # fmt: skip


@pytest.mark.parametrize(
    "name, pruner",
    [
        ("gradual", Gradual(0.1, 0.9, 5, 50, 5, "linear")),
        ("gradual-regrow", GradualRegrow(0.1, 0.9, 5, 50, 5, "linear")),
        ("movement", Movement(0.0, 0.9, 5, 50, 5, "linear")),
        ("soft-movement", SoftMovement(0.9, 5, 50, 5, penalty=1e4, score_lr=2.0)),
        ("set", replace(SET, fraction=1)),
        ("rigl", RigL(0.8, 0, 50, 5, 0.2, 3)),
        ("itop", InTimeRigL(0.8, 0, 50, 5)),
        ("granet", GraNet(0.1, 0.8, 0, 50, 5, 0.4, 2)),
    ],
)
def test_what_is_stored_is_read(name, pruner):
    assert type(pruner) is PRUNERS[name]
    assert read_pruner(store_pruner(name, pruner)) == pruner
    assert find_pruner(name) == (type(pruner), None)


WHOLE = store_pruner("set", SET)


@pytest.mark.parametrize(
    "stored, sentence",
    [
        ([1], "its pruning is not a pruning schedule"),
        ({1: 2}, "its pruning is not a pruning schedule"),
        ({**WHOLE, "pruner": "snfs"}, "names the unknown pruner 'snfs'"),
        ({**WHOLE, "pruner": 3}, "names the pruner .3."),
        ({**WHOLE, "pruner": "gradual"}, "names the pruner 'gradual'"),
        ({**WHOLE, "more": 1}, "its pruning is not a schedule of the pruner set"),
        ({k: v for k, v in WHOLE.items() if k != "end"}, "is not a schedule of the pruner set"),
        ({**WHOLE, "end": "110"}, "the end of its pruning is malformed"),
        ({**WHOLE, "end": 2**70}, "the end of its pruning is malformed"),
        ({**WHOLE, "end": True}, "the end of its pruning is malformed"),
        ({**WHOLE, "final": 7.0}, "the final of its pruning is malformed"),
        ({**WHOLE, "fraction": math.nan}, "the fraction of its pruning is malformed"),
        ({**WHOLE, "every": 0}, "--prune-every 0 must be at least 1"),
        ({"pruner": "x:Y", "final": 0.5}, "the start of its pruning is malformed"),
    ],
)
def test_what_is_malformed_is_refused(stored, sentence):
    with pytest.raises(LotteryError, match=sentence):
        read_pruner(stored)


def test_a_file_never_imports_what_it_names(tmp_path, monkeypatch):
    (tmp_path / "of_a_stranger.py").write_text("raise SystemExit('it was imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    stored = {"pruner": "of_a_stranger:Own", "final": 0.5, "start": 1, "end": 9, "every": 2, "x": 1}
    pruner = read_pruner(stored)
    assert "of_a_stranger" not in sys.modules
    assert (pruner.final, pruner.end, pruner.only_shrinks) == (0.5, 9, False)
    assert pruner.is_active(8) and not pruner.is_active(9) and pruner.sparsity_at(5) is None


def test_a_users_own_is_read_by_its_class():
    pruner = OfGradients(**asdict(SET))
    name = "matrix.pruners:OfGradients"
    kind, source = find_pruner(name)
    assert kind is OfGradients and len(source) == 64
    assert read_pruner(store_pruner(name, pruner), kind) == pruner


OWN = """
    from dataclasses import dataclass, field
    from fairseq_lottery.masks import Pruner

    @dataclass
    class NoEnd(Pruner):
        final: float
        start: int
        every: int

    @dataclass
    class Wants(Pruner):
        final: float
        start: int
        end: int
        every: int
        needs = ("activations",)

    @dataclass
    class Keeps(Pruner):
        final: float
        start: int
        end: int
        every: int
        seen: list = field(default_factory=list)

    @dataclass
    class Hidden(Pruner):
        final: float
        start: int
        end: int
        every: int
        seen: int = field(default=0, init=False)

    @dataclass
    class Best(Pruner):
        final: float
        start: int
        end: int
        every: int
        best: float = float("inf")

    @dataclass
    class Learns(Pruner):
        final: float
        start: int
        end: int
        every: int
        learned = ("scores",)

    class Plain(Pruner):
        pass

    def function(given):
        pass
"""


@pytest.fixture
def own_pruners(tmp_path, monkeypatch):
    (tmp_path / "own_pruners.py").write_text(textwrap.dedent(OWN))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "own_pruners"
    sys.modules.pop("own_pruners", None)


@pytest.mark.parametrize(
    "name, sentence",
    [
        ("snfs", "there is no pruner 'snfs'; choose one of gradual, .*set, rigl, "),
        ("no_such_module:X", "pruner no_such_module:X cannot be imported"),
        ("own_pruners:Missing", "pruner own_pruners:Missing cannot be imported"),
        ("own_pruners:function", "pruner own_pruners:function is not a dataclass that extends"),
        ("own_pruners:Plain", "pruner own_pruners:Plain is not a dataclass that extends"),
        ("own_pruners:NoEnd", "pruner own_pruners:NoEnd has no field 'end'; add it"),
        ("own_pruners:Hidden", "field seen of pruner own_pruners:Hidden is not an argument of its"),
        ("own_pruners:Learns", "pruner own_pruners:Learns learns scores, for which weights need"),
        ("own_pruners:Wants", "pruner own_pruners:Wants needs 'activations'; choose from start"),
    ],
)
def test_names_of_no_pruner(own_pruners, name, sentence):
    with pytest.raises(LotteryError, match=sentence):
        find_pruner(name)


def test_checkpoints_store_numbers_and_texts_only(own_pruners):
    kind, _ = find_pruner("own_pruners:Keeps")
    with pytest.raises(LotteryError, match="field seen of pruner .* is .*; checkpoints store fin"):
        store_pruner("own_pruners:Keeps", kind(0.5, 1, 9, 2))
    kind, _ = find_pruner("own_pruners:Best")
    assert store_pruner("own_pruners:Best", kind(0.5, 1, 9, 2, best=2.0))["best"] == 2
    for bad in (float("inf"), float("nan"), "two"):
        with pytest.raises(LotteryError, match="field best of pruner .* is .*, declared as float"):
            store_pruner("own_pruners:Best", kind(0.5, 1, 9, 2, best=bad))


def test_pruners_that_keep_a_pattern_are_known_to_plans():
    assert tuple(n for n, kind in PRUNERS.items() if kind.keeps_pattern) == PATTERN_PRUNERS
