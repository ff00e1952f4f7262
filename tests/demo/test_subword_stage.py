import sys

import pytest

pytest.importorskip("sentencepiece")

from fairseq_lottery.demo import subword_stage  # noqa: E402
from fairseq_lottery.demo.language import corpus  # noqa: E402


def test_as_many_lines_as_fairseq_counts(tmp_path, monkeypatch):
    """U+2028 and its like end no line: a sentence that has one must not become two."""
    text, out = tmp_path / "text", tmp_path / "out"
    text.mkdir()
    for language, lines in zip(("en", "de"), zip(*corpus(1, {"train": 200})["train"])):
        (text / f"train.{language}").write_text("".join(f"{line}\n" for line in lines))
        odd = [f"{lines[0]}\u2028{lines[1]}", "", f"{lines[2]}\x85{lines[3]}\x0b", lines[4]]
        (text / f"test.{language}").write_text("".join(f"{line}\n" for line in odd))
    (text / "train.en.conllu").write_text("labels are not text\n")
    words = ["--text", text, "--vocabulary", 120, "--out", out]
    monkeypatch.setattr(sys, "argv", ["subwords", *map(str, words)])
    subword_stage.main()
    assert not (out / "train.en.conllu").exists()
    for path in (*text.glob("*.en"), *text.glob("*.de")):
        with open(path) as before, open(out / path.name) as after:
            assert len(list(before)) == len(list(after)) == (200 if "train" in path.name else 4)
