import hashlib
import math

import numpy as np
import pytest
import scipy.stats
import torch
from small import EMBEDDING, SHAPES, full_mask, weights

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Mask
from fairseq_lottery.masks.streams import normal, raw_bits, torch_seed
from fairseq_lottery.tickets import ALPHAS, RESETS, ResetInput

#: an embedding of 4 words with its padding row, a matrix, a matrix kept dense, a bias
START = {
    EMBEDDING: torch.tensor([[0.5, -0.25], [0.0, 0.0], [-1.0, 3.0], [2.0, -4.0]]),
    "w": torch.tensor([[-3.0, 0.0, -0.0], [5.0, -7.0, 1.0]]),
    "dense": torch.tensor([[0.1, -0.2]]),
    "bias": torch.tensor([-9.0]),
}
MASK = Mask(
    {
        EMBEDDING: torch.tensor([[1, 0], [1, 1], [0, 1], [0, 1]]).bool(),
        "w": torch.tensor([[1, 1, 1], [0, 1, 0]]).bool(),
    },
    {EMBEDDING: 1},
)
INITIAL = {
    EMBEDDING: torch.tensor([[1.0, -1.0], [0.0, 0.0], [1.0, -1.0], [1.0, -1.0]]),
    "w": torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
}


def reset(name, **changes):
    trained = {key: value * 10 for key, value in START.items()}
    return RESETS[name](ResetInput(**{"mask": MASK, "trained": trained, "start": START, **changes}))


def test_rewind_and_keep():
    assert reset("rewind") is START
    assert torch.equal(reset("keep")["w"], START["w"] * 10)


@pytest.mark.parametrize(
    "alpha, of_embedding, of_w",
    [
        # sqrt(6 / (n_in + n_out)): a 4 x 2 and a 2 x 3 matrix
        ("glorot", 1.0, math.sqrt(6 / 5)),
        # of the matrix at update 0: 1 in every entry but the padding; 1 to 6
        ("std", 1.0, math.sqrt(35 / 12)),
        # of |0.5|, |3| and |-4|, padding left out; of |-3|, 0, 0 and |-7|
        ("mean", 2.5, 2.5),
    ],
)
def test_sign_times_alpha_of_the_matrix(alpha, of_embedding, of_w):
    values = reset("sign", alpha=alpha, initial=INITIAL)
    signs = torch.tensor([[-1.0, 1, 1], [1, -1, 1]])
    assert torch.equal(values["w"], signs * of_w), "both zeros count as positive"
    signs = torch.tensor([[1.0, -1], [0, 0], [-1, 1], [1, -1]])
    assert torch.equal(values[EMBEDDING], signs * of_embedding), "the padding row stays"
    for name in ("dense", "bias"):
        assert torch.equal(values[name], START[name]), "what is not masked is as in rewind"


def test_the_glorot_alpha_of_the_core_paper():
    mask = Mask.full({"square": (512, 512), "fc": (2048, 512), "embedding": (33_000, 512)})
    alphas = {name: ALPHAS["glorot"](ResetInput(mask, {}, {}), name) for name in mask}
    assert alphas == pytest.approx(
        {"square": 0.0765466, "fc": 0.0484123, "embedding": 0.0133806}, abs=1e-7
    )


def test_a_matrix_without_survivors_has_no_mean():
    mask = Mask({"w": torch.zeros(2, 3).bool()})
    assert ALPHAS["mean"](ResetInput(mask, START, START), "w") == 0.0


def test_std_needs_the_weights_at_update_0():
    with pytest.raises(LotteryError, match="--alpha std .* update 0; .*--initial"):
        reset("sign", alpha="std")


LARGE = Mask.full({"w": (100, 100), EMBEDDING: (50, 20)}, {EMBEDDING: 1})
LARGE_START = {
    "w": torch.arange(1.0, 10_001).reshape(100, 100),
    EMBEDDING: -torch.arange(1.0, 1001).reshape(50, 20),
}


def large(name, seed=1, mask=LARGE, **more):
    return RESETS[name](ResetInput(mask, LARGE_START, LARGE_START, seed=seed, **more))


def bits(tensor):
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()[:16]


def test_random_signs_are_fair_and_seeded():
    values = large("random-sign")
    positive = int((values["w"] > 0).sum())
    assert positive == 5009
    assert abs(positive - 5000) < 3.3 * 50, "within the 99.9 % of a fair coin"
    assert torch.equal(values["w"].abs(), torch.full((100, 100), math.sqrt(6 / 200)))
    assert torch.equal(values[EMBEDDING][1], LARGE_START[EMBEDDING][1])
    assert torch.equal(large("random-sign")["w"], values["w"])
    for other in (large("random-sign", seed=2)["w"], large("sign")["w"]):
        assert 4700 < int((other != values["w"]).sum()) < 5300


def test_noise_has_the_scale_of_the_survivors():
    """Its size is that of another computation, its shape normal, and only survivors change."""
    keep = torch.arange(LARGE["w"].numel()).reshape(LARGE["w"].shape) % 3 > 0
    mask = Mask({**LARGE, "w": keep}, LARGE.protected)
    start = LARGE_START["w"][keep]
    spread = start.double().numpy().std()
    added = {}
    for scale in (0.01, 1.0):
        values = large("noise", mask=mask, noise_scale=scale)
        assert torch.equal(values["w"][~keep], LARGE_START["w"][~keep])
        assert torch.equal(values[EMBEDDING][1], LARGE_START[EMBEDDING][1])
        assert values.keys() == LARGE_START.keys()
        added[scale] = (values["w"][keep].double() - start.double()).numpy() / (scale * spread)
    noise = added[1.0]
    assert scipy.stats.kstest(noise, "norm").pvalue > 1e-3
    assert noise.std() == pytest.approx(1, rel=0.05)
    assert np.allclose(added[0.01], noise, atol=1e-3), "the same draw at both scales"
    other = large("noise", mask=mask, noise_scale=1.0, seed=2)["w"][keep] - start
    assert abs(np.corrcoef(other.numpy(), noise)[0, 1]) < 0.1


def test_quantiles_of_the_normal_draw():
    bits = raw_bits("noise|1|w", 1000)
    exact = scipy.stats.norm.ppf(((bits >> np.uint64(11)).astype(float) + 0.5) / 2**53)
    assert np.array_equal(normal("noise|1|w", 1000).numpy(), exact.astype(np.float32))


def test_shuffle_keeps_the_survivors_of_each_matrix():
    generator = np.random.Generator(np.random.Philox(3))
    entries = {n: torch.from_numpy(generator.random(LARGE[n].shape) < 0.3) for n in LARGE}
    entries[EMBEDDING][1] = True
    mask = Mask(entries, LARGE.protected)
    values = large("shuffle", mask=mask)
    for name, keep in mask.items():
        start, shuffled = LARGE_START[name][keep], values[name][keep]
        assert torch.equal(shuffled.sort().values, start.sort().values), "the same multiset"
        assert (shuffled != start).float().mean() > 0.9
        assert torch.equal(values[name][~keep], LARGE_START[name][~keep])
    assert torch.equal(values[EMBEDDING][1], LARGE_START[EMBEDDING][1])
    assert torch.equal(large("shuffle", mask=mask)["w"], values["w"])
    assert not torch.equal(large("shuffle", mask=mask, seed=2)["w"], values["w"])


def test_what_is_random_is_the_same_on_every_stack():
    signs, order = large("random-sign")["w"] > 0, large("shuffle")["w"]
    assert (bits(signs), bits(order)) == ("15f601e8deaa0bb0", "e65487b39ef5a706")


def six_layers():
    """A parameter says its side, its layer and itself in its value."""
    start = {EMBEDDING: torch.tensor([[0.5]]), "decoder.layer_norm.weight": torch.tensor([7.0])}
    for side, base in (("encoder", 100.0), ("decoder", 200.0)):
        for layer in range(6):
            for part, name in enumerate(("fc1.weight", "fc1.bias", "self_attn.q_proj.weight")):
                start[f"{side}.layers.{layer}.{name}"] = torch.tensor([[base + 10 * layer + part]])
    return start


def test_shuffle_layers_permutes_whole_layers_within_their_side():
    start = six_layers()
    mask = Mask.full({"encoder.layers.0.fc1.weight": (1, 1)})
    orders = []
    for seed in (1, 2, 1):
        values = RESETS["shuffle-layers"](ResetInput(mask, {}, start, seed=seed))
        assert values.keys() == start.keys()
        order = {}
        for name, value in values.items():
            parts = name.split(".")
            if parts[1] != "layers":
                assert torch.equal(value, start[name])
                continue
            side, layer = parts[0], int(parts[2])
            source = int(value) // 10 % 10
            assert order.setdefault((side, layer), source) == source, "a layer moves as one"
            moved = ".".join([*parts[:2], str(source), *parts[3:]])
            assert torch.equal(value, start[moved]), "to the same place of its side"
        orders.append(
            [[order[side, layer] for layer in range(6)] for side in ("encoder", "decoder")]
        )
    assert all(sorted(side) == list(range(6)) for order in orders for side in order)
    assert orders[0] == orders[2] == [[3, 5, 1, 0, 2, 4], [3, 0, 1, 2, 4, 5]]
    assert orders[1] != orders[0]


def test_random_asks_the_models_own_initialiser_under_a_seed_of_no_training():
    fresh, seeds = weights(9), []
    given = ResetInput(
        full_mask(), weights(1), weights(2), seed=5,
        initialise=lambda seed: seeds.append(seed) or fresh,
    )  # fmt: skip
    assert RESETS["random"](given) is fresh and list(fresh) == list(SHAPES)
    assert seeds == [torch_seed("random|5")] and seeds[0] >= 2**31
    with pytest.raises(LotteryError, match="--reset random requires fairseq"):
        reset("random")


@pytest.mark.parametrize("where", ["start", "trained", "initial"])
def test_random_refuses_what_it_should_be_a_control_of(where):
    fresh = weights(9)
    equal = {**weights(2), EMBEDDING: fresh[EMBEDDING].clone()}
    files = {"start": weights(2), "trained": weights(1), "initial": weights(3), where: equal}
    given = ResetInput(full_mask(), initialise=lambda seed: fresh, **files)
    with pytest.raises(LotteryError, match=f"the fresh values of {EMBEDDING}"):
        RESETS["random"](given)


def test_a_constant_is_the_same_under_every_seed():
    fresh = {**weights(9), EMBEDDING: torch.zeros_like(weights(9)[EMBEDDING])}
    start = {**weights(2), EMBEDDING: fresh[EMBEDDING]}
    given = ResetInput(full_mask(), weights(1), start, initialise=lambda seed: fresh)
    assert RESETS["random"](given) is fresh
