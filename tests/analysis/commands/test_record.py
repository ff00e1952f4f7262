"""``fairseq-lottery record`` on a model that fairseq trained."""

import json

import numpy as np
import pytest

pytest.importorskip("fairseq")

from fairseq_lottery.analysis import Recording
from fairseq_lottery.cli.main import main


@pytest.mark.slow
def test_a_trained_model_is_recorded(dense, toy_data, tmp_path, capsys):
    model, out = dense / "checkpoint_last.pt", tmp_path / "recording"
    words = ["--source-words", toy_data.parent / "valid.en"]
    arguments = ["record", model, "--words", "60", *words, "--out", out, "--json"]
    assert main([str(word) for word in arguments]) == 0
    record = json.loads(capsys.readouterr().out)
    recording = Recording.open(out)
    lines = (toy_data.parent / "valid.en").read_text().splitlines()
    count = len(record["sentences"])
    assert [" ".join(one) for one in recording.words("source")] == lines[:count]
    assert sum(len(line.split()) for line in lines[: count - 1]) < 60 <= record["counts"]["source"]
    assert record["of"] == 51 and record["heads"] == {"enc_self": 2, "dec_self": 2, "enc_dec": 2}
    assert np.isfinite(recording.activations("decoder", 2)).all()
    assert recording.activations("decoder", 2).shape == (record["counts"]["target"], 32)


@pytest.mark.slow
def test_bad_input_is_one_sentence_and_leaves_nothing(dense, tmp_path, capsys):
    model, out = str(dense / "checkpoint_last.pt"), tmp_path / "recording"
    (tmp_path / "words").write_text("w1\n")
    for flags, value in (
        (["--subset", "nothing"], "nothing"),
        (["--words", "0"], "--words 0"),
        (["--target-words", str(tmp_path / "words")], "1 lines"),
        (["--target-words", str(tmp_path / "missing")], "missing"),
        (["--max-tokens", "5"], "--max-tokens 5"),
        (["--subset", "../bin/valid"], "../bin/valid"),
        (["--hdf5", str(tmp_path / "words")], "words exists already"),
        (["--hdf5", str(tmp_path / "no" / "file")], "no does not exist"),
    ):
        assert main(["record", model, *flags, "--out", str(out)]) == 2
        said = capsys.readouterr().err
        assert value in said and said.count("\n") == 1
        assert not out.exists()
