"""Every masked optimizer, updated by hand: pruned weights and their state are exactly zero."""

import argparse
import importlib

import mask_groups
import pytest
import torch
from toy import same

pytest.importorskip("fairseq")

from fairseq import optim
from fairseq.optim import OPTIMIZER_REGISTRY

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Mask
from fairseq_lottery.training.optimizers import (
    MASKED_OPTIMIZERS,
    MasterTensors,
    device_mask,
    find_masked,
    set_moments,
    zero_pruned_,
)

BUILDABLE = ("adadelta", "adafactor", "adagrad", "adam", "adamax", "nag", "sgd")

#: momentum and weight decay wherever an optimizer has them
EXTRA = {"adam_betas": "(0.9, 0.98)", "weight_decay": 0.1, "momentum": 0.9, "beta1": 0.9}


@pytest.fixture(autouse=True, params=["matrix by matrix", "in groups"])
def masking(request, monkeypatch):
    """Both ways of masking; both matrices of ``MASK`` fit into a group."""
    if request.param == "in groups":
        mask_groups.group_masks(58, monkeypatch.setattr)


def build(name, params):
    """The optimizer with its native defaults, momentum and weight decay switched on."""
    parser = argparse.ArgumentParser(argument_default=None)
    OPTIMIZER_REGISTRY[name].add_args(parser)
    args = parser.parse_args([])
    for key, value in EXTRA.items():
        if hasattr(args, key):
            setattr(args, key, value)
    args.optimizer, args.lr, args.tpu = name, [0.1], False
    return optim.build_optimizer(args, params)


def named_parameters(seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a.weight": (6, 5), "b.weight": (4, 7), "b.bias": (4,)}
    return {
        name: torch.nn.Parameter(torch.randn(shape, generator=generator).to(dtype))
        for name, shape in shapes.items()
    }


MASK = Mask(
    {
        "a.weight": torch.arange(30).reshape(6, 5) % 3 == 0,
        "b.weight": torch.arange(28).reshape(4, 7) % 4 != 0,
    }
)


def bound(name, named):
    optimizer = build(name, list(named.values()))
    tensors = MasterTensors(optimizer, named)
    optimizer.bind(tensors, save_masters=True)
    optimizer.set_keep(tensors.rows(MASK))
    return optimizer


def update(optimizer, named, seed, clip=1.0):
    generator = torch.Generator().manual_seed(seed)
    for parameter in named.values():
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
    norm = optimizer.clip_grad_norm(clip)
    optimizer.step()
    return norm


def test_every_optimizer_of_fairseq_has_a_masked_form():
    plain = {name for name in OPTIMIZER_REGISTRY if not name.startswith("masked_")}
    assert {f"masked_{name}" for name in plain} == set(MASKED_OPTIMIZERS)
    assert set(BUILDABLE) <= plain


@pytest.mark.parametrize("name", BUILDABLE)
def test_pruned_weights_and_state_are_zero_after_every_update(name):
    named = named_parameters()
    optimizer = bound(f"masked_{name}", named)
    for step in range(5):
        update(optimizer, named, step)
        for matrix, keep in MASK.items():
            parameter = named[matrix]
            assert not parameter.data[~keep].any()
            assert parameter.data[keep].all()
            for key, value in optimizer.optimizer.state[parameter].items():
                if torch.is_tensor(value) and value.shape == parameter.shape:
                    assert not value[~keep].any(), key


def test_what_an_optimizer_does_to_pruned_weights_is_undone():
    """One that adds noise would bring them back, whatever their gradients and their state."""
    named = named_parameters()
    optimizer = bound("masked_sgd", named)
    inner = optimizer.optimizer.step

    def noisy(*args, **kwargs):
        inner(*args, **kwargs)
        with torch.no_grad():
            for parameter in named.values():
                parameter.add_(0.1)

    optimizer.optimizer.step = noisy
    for step in range(3):
        before = {name: named[name].detach().clone() for name in MASK}
        update(optimizer, named, step)
        for name, keep in MASK.items():
            assert not named[name].data[~keep].any()
            assert (named[name].data[keep] != before[name][keep]).all()


@pytest.mark.parametrize("name", BUILDABLE)
def test_an_optimizer_without_a_mask_is_fairseqs_own(name):
    ours, theirs = named_parameters(), named_parameters()
    masked = build(f"masked_{name}", list(ours.values()))
    plain = build(name, list(theirs.values()))
    for step in range(3):
        assert torch.equal(update(masked, ours, step), update(plain, theirs, step))
    for key in ours:
        assert torch.equal(ours[key], theirs[key])


@pytest.mark.parametrize("masking", ["in groups"], indirect=True)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_masking_in_groups_changes_no_bit(masking, monkeypatch, capsys, dtype):
    """Bits of weights, state and summed gradients, with gradients that are not finite."""
    ways = []
    for devices, products in (((), 0), (("cpu",), 10)):
        monkeypatch.setattr(device_mask, "GROUPED_DEVICES", devices)
        named = named_parameters(dtype=dtype)
        optimizer = bound("masked_sgd", named)
        total = optimizer.accumulate_gradients(dense=True)
        for step, clip in enumerate((1.0, 0.0, 0.0)):
            generator = torch.Generator().manual_seed(step)
            for parameter in named.values():
                parameter.grad = torch.randn(parameter.shape, generator=generator).to(dtype)
            if step == 2:
                for row, number in enumerate(("-inf", "nan", "-0.0", "inf")):
                    named["a.weight"].grad[row] = float(number)
                    named["b.weight"].grad[row] = float(number)
            optimizer.clip_grad_norm(clip)
            optimizer.step()
        state = [optimizer.optimizer.state[parameter] for parameter in named.values()]
        ways.append([[parameter.detach() for parameter in named.values()], total, state])
        # one when the mask is set, and for each update: gradients twice and weights
        assert capsys.readouterr().out.count("fused product of 2") == products
    weight = named["a.weight"].detach()
    assert weight[0].isinf().any() and weight[1].isnan().any()
    assert not weight[~MASK["a.weight"]].any()
    assert same(*ways)


def test_the_clipping_norm_sees_survivors_only():
    named = named_parameters()
    optimizer = bound("masked_sgd", named)
    generator = torch.Generator().manual_seed(3)
    grads = {n: torch.randn(p.shape, generator=generator) for n, p in named.items()}
    survivors = [grads["b.bias"], *(grads[n][keep] for n, keep in MASK.items())]
    expected = torch.cat([g.reshape(-1) for g in survivors]).norm()
    assert float(update(optimizer, named, 3)) == pytest.approx(float(expected), rel=1e-6)


def test_infinite_gradients_of_pruned_weights_do_no_harm():
    named = named_parameters()
    optimizer = bound("masked_adam", named)
    for parameter in named.values():
        parameter.grad = torch.ones_like(parameter)
    named["a.weight"].grad[~MASK["a.weight"]] = float("inf")
    named["a.weight"].grad[0, 1] = float("nan")
    assert not MASK["a.weight"][0, 1]
    assert torch.isfinite(optimizer.clip_grad_norm(1.0))
    optimizer.step()
    assert all(torch.isfinite(parameter).all() for parameter in named.values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_zeroing_leaves_every_other_bit(dtype):
    tensor = torch.tensor([-1.5, float("inf"), float("nan"), -0.0, 2.5, float("-inf")], dtype=dtype)
    before = tensor.view(torch.uint8).reshape(6, -1).clone()
    keep = torch.tensor([0, 0, 0, 1, 1, 1], dtype=torch.uint8)
    zero_pruned_(tensor, keep)
    assert torch.equal(tensor.view(torch.uint8).reshape(6, -1), before * keep[:, None])


def test_zeroing_reaches_a_transposed_tensor():
    base = torch.randn(3, 4)
    keep = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 1, 1], [0, 0, 0]], dtype=torch.uint8)
    zero_pruned_(base.t(), keep)
    assert torch.equal(base != 0, keep.t().bool())


def test_summed_gradients_are_what_the_optimizer_saw():
    named = named_parameters()
    optimizer = bound("masked_sgd", named)
    total = optimizer.accumulate_gradients()
    expected = [torch.zeros_like(parameter) for parameter in named.values()]
    for step in range(3):
        update(optimizer, named, step, clip=0)
        for sum_, parameter in zip(expected, named.values()):
            sum_ += parameter.grad
    assert all(torch.equal(a, b) for a, b in zip(total, expected))
    state = optimizer.state_dict()
    again = bound("masked_sgd", named_parameters())
    again.load_state_dict(state)
    resumed = again.accumulate_gradients()
    assert all(torch.equal(a, b) for a, b in zip(resumed, expected))


@pytest.mark.parametrize("clip", [0.0, 0.5, 1e6])
@pytest.mark.parametrize("name", BUILDABLE)
def test_dense_gradients_are_clipped_like_the_others_and_change_nothing(name, clip):
    named, plain = named_parameters(), named_parameters()
    optimizer, other = bound(f"masked_{name}", named), bound(f"masked_{name}", plain)
    total = optimizer.accumulate_gradients(dense=True)
    expected = [torch.zeros_like(parameter) for parameter in named.values()]
    for step in range(3):
        norm = update(optimizer, named, step, clip)
        assert torch.equal(norm, update(other, plain, step, clip))
        generator = torch.Generator().manual_seed(step)
        factor = min(1.0, clip / (float(norm) + 1e-6)) if clip else 1.0
        for sum_, parameter in zip(expected, named.values()):
            sum_ += torch.randn(parameter.shape, generator=generator) * factor
    for found, sum_ in zip(total, expected):
        torch.testing.assert_close(found, sum_)
        assert found.all(), "those of pruned weights too"
    for key in named:
        assert torch.equal(named[key], plain[key])
        mine, its = (o.optimizer.state[n[key]] for o, n in ((optimizer, named), (other, plain)))
        assert all(torch.equal(torch.as_tensor(mine[k]), torch.as_tensor(its[k])) for k in its)


def test_sums_go_on_from_sums_of_the_same_kind_alone():
    for saved in (False, True):
        named = named_parameters()
        optimizer = bound("masked_sgd", named)
        total = optimizer.accumulate_gradients(dense=saved)
        update(optimizer, named, 1)
        for asked in (False, True):
            again = bound("masked_sgd", named_parameters())
            again.load_state_dict(optimizer.state_dict())
            resumed = again.accumulate_gradients(dense=asked)
            if asked == saved:
                assert all(torch.equal(a, b) for a, b in zip(resumed, total))
            else:
                assert not any(sum_.any() for sum_ in resumed)


def test_dense_gradients_of_a_skipped_update_do_not_count():
    named = named_parameters()
    optimizer = bound("masked_sgd", named)
    total = optimizer.accumulate_gradients(dense=True)
    for parameter in named.values():
        parameter.grad = torch.ones_like(parameter)
    optimizer.clip_grad_norm(1.0)  # and no step: fairseq skips one that overflows
    assert not any(sum_.any() for sum_ in total)
    update(optimizer, named, 1, clip=0)
    generator = torch.Generator().manual_seed(1)
    for found, parameter in zip(total, named.values()):
        assert torch.equal(found, torch.randn(parameter.shape, generator=generator))


def test_infinite_dense_gradients_count_as_zero():
    named = named_parameters()
    optimizer = bound("masked_adam", named)
    total = optimizer.accumulate_gradients(dense=True)
    for parameter in named.values():
        parameter.grad = torch.ones_like(parameter)
    named["a.weight"].grad[~MASK["a.weight"]] = float("inf")
    named["a.weight"].grad[0, 1] = float("nan")
    assert torch.isfinite(optimizer.clip_grad_norm(0.0))
    optimizer.step()
    assert torch.equal(total[0], MASK["a.weight"].float())
    assert torch.equal(total[1], torch.ones(4, 7))
    assert all(torch.isfinite(parameter).all() for parameter in named.values())


def test_gradients_that_wrappers_rescale_before_the_step_are_summed_rescaled():
    """fairseq's half-precision wrappers unscale in place between the norm and the step."""
    named = named_parameters()
    optimizer = bound("masked_sgd", named)
    total = optimizer.accumulate_gradients(dense=True)
    for parameter in named.values():
        parameter.grad = torch.full_like(parameter, 8.0)
    optimizer.clip_grad_norm(0)
    optimizer.multiply_grads(1 / 8)
    optimizer.step()
    assert all(bool((sum_ == 1).all()) for sum_ in total)


@pytest.mark.parametrize("name", BUILDABLE)
def test_a_regrown_weight_starts_with_zeros(name):
    """Weight and state: those that it had when it was pruned do not come back."""
    named = named_parameters()
    optimizer = bound(f"masked_{name}", named)
    tensors = MasterTensors(optimizer, named)
    for step in range(3):
        update(optimizer, named, step)
    inverse = Mask({matrix: ~keep for matrix, keep in MASK.items()})
    for mask, before in ((inverse, MASK), (MASK, inverse)):
        optimizer.set_keep(tensors.rows(mask))
        for matrix, keep in mask.items():
            regrown = keep & ~before[matrix]
            assert not named[matrix].data[regrown].any()
            for key, value in optimizer.optimizer.state[named[matrix]].items():
                if torch.is_tensor(value) and value.shape == named[matrix].shape:
                    assert not value[regrown].any(), key
        update(optimizer, named, 7)
        assert all(named[matrix].data[keep].all() for matrix, keep in mask.items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gradients_of_halves_are_summed_in_fp32(dtype):
    named = named_parameters(dtype=dtype)
    optimizer = bound("masked_sgd", named)
    total = optimizer.accumulate_gradients()
    for value in (2048.0, 1.0):  # 2048 and 1 are 2048 in half precision
        for parameter in named.values():
            parameter.grad = torch.full_like(parameter, value)
        optimizer.step()
    assert all(sum_.dtype == torch.float32 and bool((sum_ == 2049).all()) for sum_ in total)
    again = bound("masked_sgd", named)
    again.load_state_dict(optimizer.state_dict())
    assert all(sum_.dtype == torch.float32 for sum_ in again.accumulate_gradients())


def test_a_parameter_that_is_given_other_data_is_still_found():
    named = named_parameters()
    tensors = MasterTensors(build("masked_sgd", list(named.values())), named)
    named["a.weight"].data = torch.full((6, 5), 3.0)
    assert torch.equal(tensors.views["a.weight"], torch.full((6, 5), 3.0))
    tensors.views["a.weight"].zero_()
    assert not named["a.weight"].any()


def test_it_says_whether_an_update_followed_the_norm():
    named = named_parameters()
    optimizer = bound("masked_adam", named)
    update(optimizer, named, 0)
    assert optimizer.stepped
    optimizer.clip_grad_norm(1.0)
    assert not optimizer.stepped


def test_state_goes_by_name_through_a_ticket():
    named = named_parameters()
    optimizer = bound("masked_adam", named)
    for step in range(3):
        update(optimizer, named, step)
    from fairseq_lottery.formats.checkpoints.optimizer_moments import read_moments

    moments, numbers = read_moments({"last_optimizer_state": optimizer.state_dict()}, "x.pt")
    assert numbers == {"step": 3}
    assert set(moments) == {"exp_avg", "exp_avg_sq"}
    fresh = {name: torch.nn.Parameter(p.detach().clone()) for name, p in named.items()}
    other = bound("masked_adam", fresh)
    set_moments(other, MasterTensors(other, fresh), moments, numbers)
    update(optimizer, named, 9)
    update(other, fresh, 9)
    assert all(torch.equal(named[name], fresh[name]) for name in named)


def test_an_optimizer_that_is_not_masked_is_named():
    with pytest.raises(LotteryError, match="FairseqAdam does not keep pruned weights at zero"):
        find_masked(build("adam", list(named_parameters().values())))


def test_masters_of_another_model_are_refused():
    optimizer = bound("masked_adam", named_parameters())
    state = optimizer.state_dict()
    state["lottery"]["masters"] = {"a.weight": torch.zeros(2, 2)}
    with pytest.raises(LotteryError, match="masters in the checkpoint do not match"):
        optimizer.load_state_dict(state)


@pytest.mark.parametrize("names", [["b.weight", "a.weight", "b.bias"], ["a.weight", "b.weight"]])
def test_state_of_other_names_is_refused(names):
    """torch and fairseq go by order: matrices of one shape would change places unseen."""
    optimizer = bound("masked_adam", named_parameters())
    state = optimizer.state_dict()
    state["lottery"]["names"] = names
    again = build("masked_adam", list(named_parameters().values()))
    again.load_state_dict(state)
    tensors = MasterTensors(again, dict(zip(["a.weight", "b.weight", "b.bias"], again.params)))
    with pytest.raises(LotteryError, match="the checkpoint's optimizer state has .*, expected "):
        again.bind(tensors, save_masters=True)


def test_moments_that_were_restored_elsewhere():
    """fairseq moves those of memory-efficient fp16 from the CPU to a GPU with the next step only.

    Fake tensors know a GPU where there is none, and refuse what one would refuse.
    """
    if not hasattr(torch, "compile"):
        pytest.skip("fake tensors need torch 2.0")
    fake = importlib.import_module("torch._subclasses.fake_tensor")
    with fake.FakeTensorMode():
        keep = torch.ones(6, 5, dtype=torch.uint8, device="cuda")
        weight = torch.nn.Parameter(torch.zeros(6, 5, device="cuda"))
        optimizer = build("masked_adam", [weight])
        optimizer.optimizer.state[weight] = {"step": 1, "exp_avg": torch.zeros(6, 5)}
        with pytest.raises(RuntimeError, match="same device"):
            zero_pruned_(optimizer.optimizer.state[weight]["exp_avg"], keep)
        optimizer.set_keep([(weight, keep)])
    assert optimizer.optimizer.state[weight]["exp_avg"].device.type == "cpu"


def build_adafactor(named, *flags):
    """masked_adafactor with a learning rate of a hundredth."""
    parser = argparse.ArgumentParser(argument_default=None)
    OPTIMIZER_REGISTRY["masked_adafactor"].add_args(parser)
    args = parser.parse_args(flags)
    args.optimizer, args.lr, args.tpu = "masked_adafactor", [0.01], False
    return optim.build_optimizer(args, list(named.values()))


def last_steps(optimizer, weights, updates=5):
    """Each weight before the last of some updates with random gradients, and its last step."""
    for _ in range(updates):
        before = [weight.detach().clone() for weight in weights]
        for weight in weights:
            weight.grad = torch.randn_like(weight)
        optimizer.clip_grad_norm(0)
        optimizer.step()
    return [(b, w.detach() - b) for w, b in zip(weights, before)]


def test_adafactor_scales_each_step_by_its_own_weights_only():
    torch.manual_seed(3)
    scales = {"a": 0.05, "b": 2.0, "c": 0.05}
    named = {name: torch.nn.Parameter(torch.randn(50, 60) * s) for name, s in scales.items()}
    optimizer = build_adafactor(named, "--scale-parameter")
    steps = [step.norm() / w.norm() for w, step in last_steps(optimizer, list(named.values()))]
    assert steps == pytest.approx([0.01] * 3, rel=0.05)
    assert optimizer.get_lr() == 0.01


ZEROS = {
    "anywhere": (lambda size, density: torch.rand(size, size) < density, lambda density: 1),
    "whole rows": (lambda size, density: torch.rand(size, 1) < density, lambda density: density),
    "whole columns": (lambda size, density: torch.rand(1, size) < density, lambda density: density),
}


@pytest.mark.parametrize("scales", [True, False])
@pytest.mark.parametrize("density", [1.0, 0.5, 0.2, 0.1, 0.02])
@pytest.mark.parametrize(("draw", "shrinks"), ZEROS.values(), ids=ZEROS)
def test_adafactors_steps_under_zeros(draw, shrinks, density, scales):
    """Its scale counts all zeros, and so do the second moments, but for whole rows.

    With ``--scale-parameter`` as a share of the survivors, without as root mean square.
    """
    torch.manual_seed(3)
    keep = draw(512, density).expand(512, 512).contiguous()
    named = {"a.weight": torch.nn.Parameter(torch.randn(512, 512) * 0.05)}
    optimizer = build_adafactor(named, *["--scale-parameter"] * scales)
    tensors = MasterTensors(optimizer, named)
    optimizer.bind(tensors, save_masters=True)
    optimizer.set_keep(tensors.rows(Mask({"a.weight": keep})))
    ((weight, step),) = last_steps(optimizer, list(named.values()))
    assert not named["a.weight"][~keep].any()
    found = keep.float().mean().item()
    if scales:
        size, expected = step.norm() / weight.norm(), shrinks(found) ** 0.5
    else:
        size, expected = step[keep].square().mean().sqrt(), (shrinks(found) / found) ** 0.5
    assert size == pytest.approx(0.01 * expected, rel=0.03)
