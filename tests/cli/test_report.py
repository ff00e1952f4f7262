import json

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("scipy")
pytest.importorskip("sacrebleu")
pytest.importorskip("torch")

from fairseq_lottery.cli.main import main  # noqa: E402

SCORE = {
    "kind": "score", "technique": "slt", "sparsity": 0.9, "seed": 1, "training": "seed1/slt",
    "checkpoint": "best", "evaluation": "best-beam4", "subset": "test", "metric": "BLEU",
    "score": 26.6, "signature": "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0",
}  # fmt: skip
PLAN = {
    "title": "One cell", "techniques": [{"name": "slt", "title": "SLT"}], "sparsities": [0.9],
    "seeds": [1], "published": None, "recipe": {},
}  # fmt: skip


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "plan.json").write_text(json.dumps(PLAN))
    (folder / "records.jsonl").write_text(json.dumps(SCORE) + "\n")
    return folder


def test_it_says_where_the_report_is(run, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["report", str(run), "--out", str(out), "--width", "3.15in", "--font-size", "7.5"]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        *(f"{out}/{name}" for name in ("report.html", "report.md", "results.csv")),
        f"1 tables in {out}/tables, 1 plots in {out}/figures",
    ]
    assert "26.6" in (out / "report.md").read_text()


@pytest.mark.parametrize(
    "more, said",
    [
        (["--width", "8"], "fairseq-lottery: --width '8' is not a width; write 8cm or 3.15in"),
        (["--font-size", "99"], "fairseq-lottery: --font-size 99 is out of range (4 to 30 points)"),
    ],
)
def test_bad_sizes_are_one_sentence(run, tmp_path, capsys, more, said):
    assert main(["report", str(run), "--out", str(tmp_path / "out"), *more]) == 2
    assert capsys.readouterr().err == said + "\n"
    assert not (tmp_path / "out").exists()


def test_a_broken_line_is_one_sentence(run, tmp_path, capsys):
    with open(run / "records.jsonl", "a") as file:
        file.write('{"kind": "sco')
    assert main(["report", str(run), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"fairseq-lottery: {run}/records.jsonl, line 2 is not JSON")
    assert error.count("\n") == 1 and not (tmp_path / "out").exists()
