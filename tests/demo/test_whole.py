"""The whole demo with runs of fifty updates: every stage for real, nothing learnt."""

import json
from functools import partial

import pytest

pytest.importorskip("fairseq")
pytest.importorskip("rich")

from fairseq_lottery.demo import plan, show

pytestmark = pytest.mark.slow

TINY = {
    "vocabulary": 300, "width": 16, "ffn": 16, "updates": 50, "warmup": 5, "beam": 1,
}  # fmt: skip


def test_from_text_to_table(tmp_path, monkeypatch, capsys):
    for part, size in {"train": 300, "valid": 20, "test": 21}.items():
        monkeypatch.setitem(plan.PARTS, part, size)
    monkeypatch.setattr(show, "Recipe", partial(plan.Recipe, **TINY))
    out = tmp_path / "demo"
    show.show(out, 1, 2)
    found = json.loads((out / "results.json").read_text())
    assert len(found["runs"]) == 9
    for run in found["runs"]:
        assert run["sparsity"] == pytest.approx(run["sparsity_asked"], abs=2e-3)
        translated = (out / f"translations/{run['name']}").rglob("generate-test.txt")
        lines = next(translated).read_text().splitlines()
        assert sum(line.startswith("H-") for line in lines) == 21
    assert (out / "results.png").stat().st_size > 10_000
    capsys.readouterr()
    show.show(out, 1, 2)
    assert "21 test sentences, 50 updates" in capsys.readouterr().out
