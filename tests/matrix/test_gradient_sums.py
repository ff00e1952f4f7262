"""Two processes sum the gradients that one process sums on the same batches."""

import pytest

pytest.importorskip("fairseq")

import torch
from matrix.rows import Place
from matrix.sums_worker import summed
from matrix.test_two_processes import gloo_sums_bf16
from matrix.training import ON_CPU, in_this_process
from toy import free_port, same, start, wait

pytestmark = pytest.mark.slow

#: precision, batches an update in each process -> how far rounding may take the sums
CASES = {
    "fp32/1": 1e-6,
    "fp32/4": 1e-6,
    "fp16 flat/4": 5e-3,
    "fp16 memory-efficient/4": 5e-3,
    "bf16/4": 2e-2,
}


def test_two_processes_have_the_sums_of_one(toy_data, matrix_dense, tmp_path):
    """The same in both, to the bit; and what is regrown then is zero everywhere, in each."""
    has_bf16 = gloo_sums_bf16(tmp_path)
    cases = [
        case for case in CASES
        if case.split("/")[0] in ON_CPU and (has_bf16 or not case.startswith("bf16"))
    ]  # fmt: skip
    port = free_port()
    paths = [toy_data, matrix_dense, tmp_path / "two"]
    ranks = [
        start("matrix.sums_worker", [*paths, tmp_path / f"{r}.pt", r, port, *cases], tmp_path)
        for r in (0, 1)
    ]
    alone = {}
    with in_this_process():
        for case in cases:
            precision, frequency = case.split("/")
            place = Place(toy_data, matrix_dense, tmp_path / "one")
            alone[case], _ = summed(place, precision, 2 * int(frequency), "1")
    for rank in ranks:
        wait(rank).ok()
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert same(first, second) and list(first) == cases
    for case in cases:
        for name, one in alone[case].items():
            two = first[case]["sums"][name]
            assert one.any() and two.dtype == torch.float32
            assert (two - one).norm() <= CASES[case] * one.norm(), (case, name)
