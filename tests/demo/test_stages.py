import sys

import pytest

from fairseq_lottery.demo.stages import make_once, open_folder, words_of
from fairseq_lottery.errors import LotteryError


def test_a_folder_keeps_its_data(tmp_path):
    out = tmp_path / "out"
    for _ in range(2):
        open_folder(out, "encoders, seed 1")
    for data in ("encoders, seed 2", "languages, seed 1", ""):
        with pytest.raises(LotteryError) as error:
            open_folder(out, data)
        assert str(error.value) == (
            f"{out} has other data (encoders, seed 1); choose another --out"
        )


def test_a_folder_of_the_language_pair_takes_no_other_data(tmp_path):
    open_folder(tmp_path / "demo")
    (tmp_path / "demo" / "log" / "text.log").write_text("")
    open_folder(tmp_path / "demo")
    with pytest.raises(LotteryError, match=r"has other data \(of the language pair\)"):
        open_folder(tmp_path / "demo", "encoders, seed 1")


def test_a_folder_that_is_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(LotteryError, match="exists but is not a folder of this demo"):
        open_folder(tmp_path, "encoders, seed 1")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


#: a module that writes its words into a folder, or fails in the middle of it
MODULE = """
import pathlib, sys
*words, flag, out = sys.argv[1:]
pathlib.Path(out).mkdir()
(pathlib.Path(out) / "words").write_text(" ".join(words))
if "fail" in words:
    sys.exit("the disk is on fire")
"""


def test_a_stage_is_finished_or_absent(tmp_path, monkeypatch):
    (tmp_path / "written_stage.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", sys.executable)
    out = tmp_path / "out"
    open_folder(out, "some")
    with pytest.raises(LotteryError, match=r"text failed; its log .* ends with: .*on fire"):
        make_once(out, "text", "written_stage", "fail")
    assert not (out / "text").exists()
    make_once(out, "text", "written_stage", *words_of({"train": 3}))
    assert (out / "text" / "words").read_text() == "train=3"
    make_once(out, "text", "written_stage", "other")
    assert (out / "text" / "words").read_text() == "train=3", "it is not made again"
