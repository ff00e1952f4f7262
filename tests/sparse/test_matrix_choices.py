"""Which matrix is held sparse follows from what was measured, now or by a run before."""

import json
import math

import pytest
import torch

from fairseq_lottery.sparse import matrix_choices
from fairseq_lottery.sparse.matrix_choices import Choices, kept_choices
from fairseq_lottery.sparse.sparse_matrix import SparseMatrix

WEIGHT = torch.eye(4) + torch.eye(4).roll(1, 0)
MATRIX = SparseMatrix(WEIGHT)
THREADS = torch.get_num_threads()
FEW, MANY = (
    f"SparseMatrix 4x4, 0.50 left, {rows} rows, 1 in turn, {THREADS} threads" for rows in (5, 80)
)


class Machine:
    """Says how many times as fast sparse is, and is asked no more often than that."""

    def __init__(self, *ratios):
        self.ratios = list(ratios)

    def __call__(self, ways):
        assert list(ways) == ["dense", "sparse"]
        assert torch.allclose(ways["dense"](), ways["sparse"](), atol=1e-6)
        return {"dense": 3 * self.ratios.pop(0), "sparse": 3.0}


@pytest.mark.parametrize(
    "ratios, worth",
    [([1.05, 1.05], True), ([1.2, 1.04], False), ([1.04], False), ([0.5], False), ([3, 9], True)],
)
def test_faster_by_a_margin_with_few_rows_and_with_many(ratios, worth):
    machine = Machine(*ratios)
    assert Choices(measure=machine).is_worth(MATRIX, 5) is worth
    assert machine.ratios == []


@pytest.mark.parametrize("among, copies", [(0, 1), (64, 1), (640, 10), (6400, 20)])
def test_as_many_in_turn_as_the_model_has_or_no_cache_holds(among, copies, monkeypatch):
    monkeypatch.setattr(matrix_choices, "_CACHES", 20 * 64)
    found = Choices(measure=Machine(2, 2))
    assert found.is_worth(MATRIX, 5, among)
    assert len(found.ratios) == 2
    assert all(f" {copies} in turn," in name for name in found.ratios)


def test_every_copy_is_multiplied_with():
    counted = []

    def measure(ways):
        before = len(counted)
        assert torch.allclose(ways["dense"](), ways["sparse"](), atol=1e-6)
        return {"dense": len(counted) - before, "sparse": 1.0}

    class Counting(SparseMatrix):
        def linear(self, x, bias):
            counted.append(id(self))
            return super().linear(x, bias)

    found = Choices(measure=measure)
    found.is_worth(Counting(WEIGHT), 5, 7 * 64)
    assert set(found.ratios.values()) == {7.0} and len(set(counted)) >= 7


def test_kept_for_the_next_run(tmp_path):
    path = tmp_path / "new" / "choices.json"
    assert Choices(path, Machine(1.5, 0.9)).is_worth(MATRIX, 5) is False
    assert json.loads(path.read_text()) == {FEW: 1.5, MANY: 0.9}
    assert Choices(path, Machine()).is_worth(MATRIX, 5) is False
    other = SparseMatrix(torch.eye(4))  # of another density
    assert Choices(path, Machine(2, 2)).is_worth(other, 5) is True
    assert len(json.loads(path.read_text())) == 4
    assert [one.name for one in path.parent.iterdir()] == ["choices.json"]


def test_of_two_processes_the_first_is_right(tmp_path):
    path = tmp_path / "choices.json"
    first, second = (Choices(path, Machine(*ratios)) for ratios in ((2, 2), (0.5, 0.5)))
    assert first.is_worth(MATRIX, 5) and second.is_worth(MATRIX, 5)
    assert json.loads(path.read_text()) == {FEW: 2.0, MANY: 2.0}


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[1.0]", b"\xff", b'{"a": 1.0, "a": 2.0}', b"[" * 9999),
        *(f'{{"{FEW}": {bad}}}'.encode() for bad in ("NaN", "-1.0", "true", '"2"', "1e999", "2")),
        b" " * (1 << 20) + b"{}",
    ],
    ids=lambda content: str(content[:20]),
)
def test_a_corrupted_file_is_made_anew(content, tmp_path, caplog):
    path = tmp_path / "choices.json"
    path.write_bytes(content)
    assert Choices(path, Machine(2, 2)).is_worth(MATRIX, 5)
    assert json.loads(path.read_text()) == {FEW: 2.0, MANY: 2.0}
    assert "choices.json is corrupted and is replaced (" in caplog.text


def test_a_folder_that_cannot_be_written(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    assert Choices(tmp_path / "file" / "choices.json", Machine(2, 2)).is_worth(MATRIX, 5)
    assert caplog.text.count("the measured ratios cannot be stored") == 1


def test_no_time_at_all():
    found = Choices(measure=lambda ways: {"dense": 0.0, "sparse": 0.0})
    assert not found.is_worth(MATRIX, 5) and math.isfinite(*found.ratios.values())


def test_another_processor_has_choices_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    paths = []
    for name in ("one", "one", "another"):
        monkeypatch.setattr(matrix_choices, "processor", lambda name=name: name)
        paths.append(kept_choices()._path)
    assert paths[0] == paths[1] != paths[2]
    assert {path.parent for path in paths} == {tmp_path / "fairseq_lottery"}
    assert not (tmp_path / "fairseq_lottery").exists()
