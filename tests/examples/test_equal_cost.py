"""validation_loss.py on a run whose losses are known, against scipy."""

import statistics

import pytest

pytest.importorskip("scipy")
from equal_cost import validation_loss  # noqa: E402
from report.made import Made, score_record  # noqa: E402
from scipy.stats import ttest_rel  # noqa: E402

LOSSES = {"dense": (4.0, 4.1, 4.3), "slt": (5.0, 5.3, 5.2), "mp": (6.0, 6.1, 6.7)}


@pytest.fixture
def run(tmp_path):
    made = Made(tmp_path / "run", ("slt", "mp"), (0.9,), seeds=(1, 2, 3))
    for technique, sparsity, seed in made.cells():
        about = made.training(technique, sparsity, seed)
        made.records.append(score_record(**about, checkpoint="best", update=980))
        # the loss before the final sparsity is lower, but this checkpoint is not evaluated
        for update, loss in ((500, 1.0), (980, LOSSES[technique][seed - 1])):
            made.records.append(
                {"kind": "curve", **about, "update": update, "split": "valid", "metric": "loss",
                 "value": loss}
            )  # fmt: skip
    return made.write()


def test_losses_are_those_of_the_evaluated_checkpoints(run, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["validation_loss.py", str(run), "--pairs", "slt,mp", "mp,slt"])
    validation_loss.main()
    means = [
        f"  {name:12} {statistics.fmean(LOSSES[name]):.3f} ± {statistics.stdev(LOSSES[name]):.3f}"
        for name in ("dense", "slt", "mp")
    ]
    test = ttest_rel(LOSSES["slt"], LOSSES["mp"])
    low, high = test.confidence_interval()
    # three pairs of techniques: p is multiplied by 3 over the rank, here the largest p of all
    lines = [
        f"slt - mp at 0.9: -1.100 ({low:.3f} to {high:.3f}), adjusted p = {test.pvalue:.4f}",
        f"mp - slt at 0.9: 1.100 ({-high:.3f} to {-low:.3f}), adjusted p = {test.pvalue:.4f}",
    ]
    assert capsys.readouterr().out.splitlines() == [
        "validation loss at 0.9, mean ± deviation over seeds", *means, *lines
    ]  # fmt: skip


def test_an_unknown_technique_is_refused(run, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["validation_loss.py", str(run), "--pairs", "slt,imp"])
    with pytest.raises(SystemExit) as refused:
        validation_loss.main()
    assert refused.value.code == 2
    assert "slt,imp is not a pair of dense, slt, mp" in capsys.readouterr().err
