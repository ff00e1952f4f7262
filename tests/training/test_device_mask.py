"""Masks of many tensors: bits, groups, calls and memory, against a loop over the tensors."""

from collections import Counter
from itertools import accumulate
from unittest import mock

import mask_groups
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile

pytest.importorskip("fairseq")

from fairseq_lottery.training.optimizers import DeviceMask, device_mask, zero_pruned_

#: floating-point type -> integers of its size, in torch and in numpy
INTEGERS = {
    torch.float16: (torch.int16, np.int16),
    torch.bfloat16: (torch.int16, np.int16),
    torch.float32: (torch.int32, np.int32),
    torch.float64: (torch.int64, np.int64),
}


def base_shapes(width=512):
    """The 96 attention and FFN matrices of a Transformer base: 44,040,192 weights."""
    square, ffn = (width, width), [(4 * width, width), (width, 4 * width)]
    return 6 * [*4 * [square], *ffn] + 6 * [*8 * [square], *ffn]


def random_bits(shape, dtype, chance):
    """A tensor of random bits, among them NaN of any payload, infinities, -0.0 and subnormals."""
    torch_type, numpy_type = INTEGERS[dtype]
    limits = np.iinfo(numpy_type)
    bits = chance.integers(limits.min, limits.max, shape, numpy_type, endpoint=True)
    infinity = torch.tensor(float("inf"), dtype=dtype).view(torch_type).item()
    special = np.array([limits.min, infinity, infinity | limits.min, infinity + 1, 1], numpy_type)
    bits = np.where(chance.random(shape) < 0.5, chance.choice(special, shape), bits)
    return torch.from_numpy(np.asarray(bits, numpy_type)).view(dtype)


def bits_of(tensor):
    return tensor.detach().clone().view(INTEGERS[tensor.dtype][0]).numpy()


SHAPES = st.lists(st.integers(0, 5), min_size=1, max_size=3).map(tuple)


@settings(deadline=None)
@given(
    shapes=st.lists(SHAPES, min_size=1, max_size=8),
    dtypes=st.lists(st.sampled_from(list(INTEGERS)), min_size=8, max_size=8),
    layouts=st.lists(st.sampled_from(["plain", "transposed", "missing"]), min_size=8, max_size=8),
    size=st.integers(1, 200),
    seed=st.integers(0, 2**32 - 1),
)
def test_groups_change_the_bits_that_a_loop_changes(shapes, dtypes, layouts, size, seed):
    chance = np.random.default_rng(seed)
    rows, tensors, expected, looped = [], [], [], []
    for shape, dtype, layout in zip(shapes, dtypes, layouts):
        tensor = random_bits(shape, dtype, chance)
        if layout == "transposed":
            tensor = random_bits(shape[::-1], dtype, chance).permute(*reversed(range(len(shape))))
        keep = chance.random(shape) < chance.choice([0.0, 0.1, 0.5, 1.0])
        rows.append((tensor, torch.from_numpy(keep.astype(np.uint8))))
        tensors.append(None if layout == "missing" else tensor)
        expected.append(np.where(keep, bits_of(tensor), 0))
        looped.append(tensor.clone())
    before = [keep.clone() for _, keep in rows]
    with mock.patch.multiple(device_mask, GROUPED_DEVICES=("cuda", "cpu"), GROUP_SIZE=size):
        mask = DeviceMask(rows)
        unchanged = [bits_of(tensor) for tensor, _ in rows]
        mask.zero_pruned_(tensors)
    for given_, (tensor, keep), loop, want, was in zip(tensors, rows, looped, expected, unchanged):
        loop.view(INTEGERS[loop.dtype][0]).mul_(keep)
        assert np.array_equal(bits_of(loop), want)
        assert np.array_equal(bits_of(tensor), was if given_ is None else want)
    assert all(torch.equal(kept, keep) for kept, keep in zip(mask.keeps, before))


def rows_of(shapes, dtype=torch.float32, device="cpu"):
    return [
        (
            torch.zeros(shape, dtype=dtype, device=device),
            torch.ones(shape, dtype=torch.uint8, device=device),
        )
        for shape in shapes
    ]


@pytest.fixture
def grouped(monkeypatch):
    def with_size(size):
        mask_groups.group_masks(size, monkeypatch.setattr)

    return with_size


def sizes_of_products(capsys):
    return [int(line.rpartition(" ")[2]) for line in capsys.readouterr().out.splitlines()]


def test_groups_are_filled_in_order(grouped, capsys):
    """Matrices of another size of numbers have groups of their own; a large one stays alone."""
    grouped(100)
    rows = rows_of([(40,), (40,), (20,), (1,)]) + rows_of([(30,)], torch.float64)
    rows += rows_of([(101,), (99,), (0, 7)]) + rows_of([(30,), (30,)], torch.float64)
    DeviceMask(rows).zero_pruned_([tensor for tensor, _ in rows])
    assert sizes_of_products(capsys) == [3, 3]  # of fp32 1, 101 and 99 remain, each alone


def test_a_product_leaves_out_tensors_that_are_missing(grouped, capsys):
    grouped(100)
    keeps = [torch.tensor([n & 1, 1, 0, n >> 1], dtype=torch.uint8) for n in range(4)]
    mask = DeviceMask([(torch.ones(4), keep) for keep in keeps])
    for missing in (0, 2):
        tensors = [None if n == missing else torch.ones(4) for n in range(4)]
        mask.zero_pruned_(tensors)
        assert sizes_of_products(capsys) == [3]
        for n, tensor in enumerate(tensors):
            assert tensor is None or tensor.tolist() == [n & 1, 1, 0, n >> 1]
    mask.zero_pruned_([None, torch.ones(4), None, None])
    mask.zero_pruned_([None] * 4)
    assert sizes_of_products(capsys) == []


def test_tensors_of_a_group_may_have_become_others():
    """Numbers of another size, or another layout: slower, but the same."""
    rows = [(torch.ones(2, 3), torch.tensor([[1, 0, 1], [0, 0, 1]], dtype=torch.uint8))] * 3
    with mock.patch.object(device_mask, "GROUPED_DEVICES", ("cpu",)):
        mask = DeviceMask(rows)
        tensors = [torch.ones(2, 3), torch.ones(2, 3).half(), torch.ones(3, 2).double().t()]
        mask.zero_pruned_(tensors)
        mask.zero_pruned_(tensors[::-1])
    assert all(tensor.tolist() == [[1, 0, 1], [0, 0, 1]] for tensor in tensors)


def test_a_parameter_is_masked_without_a_graph(grouped, capsys):
    grouped(100)
    parameters = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    keep = torch.tensor([1, 0, 1], dtype=torch.uint8)
    versions = [parameter._version for parameter in parameters]
    DeviceMask([(parameter, keep) for parameter in parameters]).zero_pruned_(parameters)
    assert sizes_of_products(capsys) == [2]
    for parameter, version in zip(parameters, versions):
        assert parameter.tolist() == [1, 0, 1] and parameter.is_leaf
        assert parameter._version > version  # autograd sees that it has changed
        parameter.sum().backward()


def counted(mask, tensors):
    """Calls of the operators that compute, and the peak of the bytes that they allocate."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        mask.zero_pruned_(tensors)
    events = profiler.events()
    calls = Counter(event.name.replace("aten::", "") for event in events)
    computing = {name: calls[name] for name in ("_to_copy", "_foreach_mul_", "mul_")}
    in_order = sorted(events, key=lambda event: event.time_range.start)
    return computing, max(accumulate(event.self_cpu_memory_usage for event in in_order))


def test_calls_and_memory_of_a_transformer(monkeypatch):
    """Its 96 matrices, a 64th as large, one by one and in groups of a 64th."""
    rows = rows_of(base_shapes(width=64))
    tensors = [tensor for tensor, _ in rows]
    total = sum(tensor.numel() for tensor in tensors)
    assert (len(rows), total * 64) == (96, 44_040_192)
    calls, _ = counted(DeviceMask(rows), tensors)
    assert calls == {"_to_copy": 96, "_foreach_mul_": 0, "mul_": 96}
    monkeypatch.setattr(device_mask, "GROUPED_DEVICES", ("cpu",))
    monkeypatch.setattr(device_mask, "GROUP_SIZE", device_mask.GROUP_SIZE // 64)
    mask = DeviceMask(rows)
    calls, peak = counted(mask, tensors)
    # a CPU has no fused kernel: torch multiplies 96 times within the three calls
    assert calls == {"_to_copy": 3, "_foreach_mul_": 3, "mul_": 96}
    assert peak <= 4 * device_mask.GROUP_SIZE, "one group is converted at a time"
    starts = [keep.data_ptr() for keep in mask.keeps]
    follows = [b == a + keep.numel() for a, b, keep in zip(starts, starts[1:], mask.keeps)]
    assert follows.count(False) == 2, "three buffers of one byte a weight"


def test_calls_of_a_transformer_on_a_gpu():
    """Count every operator that is called, with fake tensors, which do not need a GPU."""
    if not hasattr(torch, "compile"):
        pytest.skip("fake tensors need torch 2.0")
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.calls[function.overloadpacket.__name__] += 1
            return function(*args, **(kwargs or {}))

    with FakeTensorMode():
        rows = rows_of(base_shapes(), device="cuda")
        mask = DeviceMask(rows)
        with Count() as count:
            count.calls = Counter()
            mask.zero_pruned_([tensor for tensor, _ in rows])
    for view in ("detach", "device", "slice", "unflatten_dense_tensors", "view"):
        del count.calls[view]
    assert count.calls == {"_to_copy": 3, "_foreach_mul_": 3}


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", list(INTEGERS))
def test_kernels_bits_and_memory_on_a_gpu(dtype):
    """The matrices of a Transformer base take two kernels for each group of 16 million weights."""
    chance = np.random.default_rng(3)
    rows = [
        (random_bits(shape, dtype, chance), torch.from_numpy(chance.random(shape) < 0.1).byte())
        for shape in base_shapes()
    ]
    on_gpu = [(tensor.cuda(), keep.cuda()) for tensor, keep in rows]
    tensors = [tensor for tensor, _ in on_gpu]
    total, before = sum(tensor.numel() for tensor in tensors), torch.cuda.memory_allocated()
    mask = DeviceMask(on_gpu)
    assert torch.cuda.memory_allocated() - before <= 1.01 * total
    del on_gpu  # one byte a weight remains
    assert abs(torch.cuda.memory_allocated() - before) <= 0.01 * total
    mask.zero_pruned_(tensors)  # loads the kernels
    for tensor, (original, _) in zip(tensors, rows):
        tensor.copy_(original)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        mask.zero_pruned_(tensors)
        torch.cuda.synchronize()
    size = tensors[0].element_size()
    assert torch.cuda.max_memory_allocated() - before <= 1.01 * size * device_mask.GROUP_SIZE
    on_device = torch.autograd.DeviceType.CUDA
    kernels = [e.name for e in profiler.events() if e.device_type == on_device]
    assert len(kernels) == 6, Counter(kernels)
    for tensor, (original, keep) in zip(tensors, rows):
        zero_pruned_(original, keep)
        assert np.array_equal(bits_of(tensor.cpu()), bits_of(original))
