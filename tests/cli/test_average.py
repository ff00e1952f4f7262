import torch
from small import save_checkpoint, weights

from fairseq_lottery.cli.main import main
from fairseq_lottery.formats import read_source

BIAS = "encoder.layers.0.fc1.bias"


def test_the_last_of_a_folder_or_named_ones(tmp_path, capsys):
    for epoch in (1, 2, 10):
        parameters = {name: torch.full_like(w, epoch) for name, w in weights().items()}
        save_checkpoint(tmp_path / f"checkpoint{epoch}.pt", parameters)
    out = tmp_path / "mean.pt"
    assert main(["average", str(tmp_path), "--last", "2", "--out", str(out)]) == 0
    assert read_source(out).weights[BIAS].unique().tolist() == [6.0]
    printed = capsys.readouterr().out
    assert printed == f"{out}: the mean of {tmp_path}/checkpoint2.pt, {tmp_path}/checkpoint10.pt\n"
    named = [str(tmp_path / f"checkpoint{epoch}.pt") for epoch in (1, 2)]
    assert main(["average", *named, "--out", str(out), "--overwrite"]) == 0
    assert read_source(out).weights[BIAS].unique().tolist() == [1.5]
