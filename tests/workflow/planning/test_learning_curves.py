import pytest

from fairseq_lottery.workflow.planning.logs import read_curves

SIMPLE = """\
2026-01-01 10:00:00 | INFO | fairseq_cli.train | num. shared model params: 60,000
2026-01-01 10:00:01 | INFO | train_inner | epoch 001:     10 / 20 loss=9.9, ppl=955, num_updates=10
2026-01-01 10:00:02 | INFO | valid | epoch 001 | valid on 'valid' subset | loss 5.5 | nll_loss 4.5\
 | ppl 22.6 | bleu 1.25 | wps 100 | num_updates 20
2026-01-01 10:00:03 | INFO | train | epoch 001 | loss 6.5 | nll_loss 5.5 | ppl 45.25 | wps 9\
 | sparsity 0.5 | num_updates 20 | lr 0.0007
2026-01-01 10:00:04 | INFO | fairseq.checkpoint_utils | Saved checkpoint a b/checkpoint_last.pt\
 (epoch 1 @ 20 updates, score 5.5) (writing took 0.01 seconds)
2026-01-01 10:00:05 | INFO | valid | epoch 002 | valid on 'valid' subset | loss 4 | num_updates 40
"""
JSON = """\
2026-01-01 10:00:01 | INFO | train_inner | {"epoch": 1, "loss": "9.9", "num_updates": "10"}
2026-01-01 10:00:02 | INFO | valid | {"epoch": 1, "valid_loss": "5.5", "valid_nll_loss": "4.5",\
 "valid_ppl": "22.6", "valid_bleu": "1.25", "valid_num_updates": "20"}
2026-01-01 10:00:03 | INFO | train | {"epoch": 1, "train_loss": "6.5", "train_nll_loss": "5.5",\
 "train_ppl": "45.25", "train_sparsity": "0.5", "train_num_updates": "20", "train_lr": "0.0007"}
2026-01-01 10:00:05 | INFO | valid | {"epoch": 2, "valid_loss": "4", "valid_num_updates": "40"}
"""
ROWS = {
    ("train", 20, "loss"): 6.5,
    ("train", 20, "nll_loss"): 5.5,
    ("train", 20, "ppl"): 45.25,
    ("train", 20, "sparsity"): 0.5,
    ("valid", 20, "bleu"): 1.25,
    ("valid", 20, "loss"): 5.5,
    ("valid", 20, "nll_loss"): 4.5,
    ("valid", 20, "ppl"): 22.6,
    ("valid", 40, "loss"): 4.0,
}


def curves(folder, text):
    (folder / "train.log").write_text(text)
    rows = read_curves(folder / "train.log")
    found = {(row["split"], row["update"], row["metric"]): row["value"] for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.mark.parametrize("text", [SIMPLE, JSON], ids=["simple", "json"])
def test_both_formats_give_the_same_rows(tmp_path, text):
    assert curves(tmp_path, text) == ROWS


def test_what_a_resumed_run_wrote_again_counts_once(tmp_path):
    again = "x | INFO | valid | epoch 002 | loss 3.5 | num_updates 40\n"
    assert curves(tmp_path, SIMPLE + again) == {**ROWS, ("valid", 40, "loss"): 3.5}


def test_while_the_mask_grows_the_metric_has_another_name(tmp_path):
    text = "x | INFO | valid | epoch 1 | growing_loss 7.5 | growing_bleu 2 | num_updates 10\n"
    assert curves(tmp_path, text) == {("valid", 10, "loss"): 7.5, ("valid", 10, "bleu"): 2.0}


def test_what_is_no_number_is_left_out(tmp_path):
    text = (
        "x | INFO | valid | epoch 1 | loss None | ppl 3 | num_updates 10\n"
        "x | INFO | valid | epoch 1 | loss 3\n"
        "x | INFO | valid | the valid set is empty\n"
    )
    assert curves(tmp_path, text) == {("valid", 10, "ppl"): 3.0}


@pytest.mark.parametrize("cut", range(60, 130, 7))
def test_a_line_that_was_cut_off_is_left_out(tmp_path, cut):
    """A training that was killed while it wrote; the line of the next one follows at once."""
    line = JSON.splitlines()[1]
    found = curves(tmp_path, line[:cut] + "\n" + JSON.splitlines()[3] + "\n")
    assert found[("valid", 40, "loss")] == 4.0


def test_no_log(tmp_path):
    assert read_curves(tmp_path / "none.log") == []
