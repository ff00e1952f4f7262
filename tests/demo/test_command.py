import argparse

import pytest

from fairseq_lottery.cli import demo
from fairseq_lottery.demo import outcome, prepare
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.workflow.reading.configuration_reader import read_configuration


def parse(*words):
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    return parser.parse_args(words)


def test_defaults():
    args = parse()
    assert (str(args.out), args.seed, args.jobs, args.kind) == ("demo", 1, 2, "translation")


@pytest.mark.parametrize(
    "words, sentence",
    [
        (("--jobs", "0"), "--jobs 0 is too small; give 1 or more"),
        (("--seed", "-1"), "--seed -1 is negative; give 0 or more"),
        (("--kind", "encoders"), "--kind encoders requires --data-only"),
        (
            ("--kind", "languages", "--data-only", "--labels"),
            "--kind languages has no --labels; remove the flag",
        ),
    ],
)
def test_bad_input_is_refused_in_a_sentence(words, sentence):
    with pytest.raises(LotteryError) as error:
        demo.run(parse(*words))
    assert str(error.value) == sentence


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Makes the demo's configuration of a seed in ``demo``, but neither text nor data."""
    asked = []
    monkeypatch.setattr(prepare, "make_once", lambda out, *words: asked.append((out, *words)))

    def make(seed):
        asked.clear()
        return prepare.prepare(tmp_path / "demo", seed), list(asked)

    return make


@pytest.mark.parametrize("seed", [1, 23])
def test_the_seed_is_that_of_the_text_and_of_all_runs(made, seed):
    path, asked = made(seed)
    configuration = read_configuration(path)
    assert configuration.seeds == (seed,)
    assert asked[0][1:5] == ("text", "fairseq_lottery.demo.language", "--seed", seed)
    before = path.read_bytes()
    assert made(seed)[0] == path and path.read_bytes() == before


def test_a_folder_of_another_seed_is_refused(made):
    path, _ = made(1)
    before = path.read_bytes()
    for seed in (2, 11):
        with pytest.raises(LotteryError) as error:
            made(seed)
        assert str(error.value) == (
            f"{path.parent} was created with another seed; choose another --out"
        )
    assert path.read_bytes() == before


def test_labels_are_written_for_the_same_seed_and_sizes(made, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(prepare, "write_labels", lambda *given: written.append(given))
    made(3)
    assert written == []
    prepare.prepare(tmp_path / "demo", 3, labels=True)
    assert written == [(tmp_path / "demo" / "text", 3, prepare.SIZES)]


def test_the_data_can_be_made_alone(made, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "show", lambda *given: pytest.fail("something was run"))
    monkeypatch.setattr(demo, "require", lambda *packages: None)
    demo.run(parse("--data-only", "--out", str(tmp_path / "demo")))
    folder = tmp_path / "demo"
    assert capsys.readouterr().out == f"{folder}/data and {folder}/text are ready\n"
    assert (folder / "demo.yaml").is_file()


@pytest.mark.parametrize(
    "kind, ready",
    [
        ("encoders", "{0}/pretrain and {0}/tasks are ready\n"),
        ("languages", "{0}/translation, {0}/pretrain and {0}/tasks are ready\n"),
    ],
)
def test_other_kinds_of_data(kind, ready, tmp_path, monkeypatch, capsys):
    made = []
    module = f"fairseq_lottery.demo.{kind}.prepare.prepare"
    monkeypatch.setattr(module, lambda *given: made.append(given))
    monkeypatch.setattr(demo, "require", lambda *packages: None)
    demo.run(parse("--kind", kind, "--data-only", "--out", str(tmp_path), "--seed", "4"))
    assert made == [(tmp_path, 4)]
    assert capsys.readouterr().out == ready.format(tmp_path)


#: as much of a report as the demo shows
REPORT = """# Demo

## Summary

SLT holds.

### BLEU on test

A table.

| sparsity, % | SLT |
| --- | ---: |
| 0 | 9.0 |

- 500 sentences.
"""


def test_it_runs_what_its_configuration_says(made, monkeypatch, capsys):
    path, _ = made(3)
    ran = []
    for command in ("run", "report"):
        monkeypatch.setattr(f"fairseq_lottery.cli.{command}.run", ran.append)
    (path.parent / "report").mkdir()
    (path.parent / "report" / "report.md").write_text(REPORT)
    monkeypatch.setattr(outcome, "size_lines", lambda runs: [f"what {runs.name} is worth"])
    demo.show(path, path.parent, 4)
    run, _ = ran
    assert (run.configuration, run.jobs, run.seeds, run.only, run.yes) == (path, 4, None, [], False)
    assert capsys.readouterr().out.splitlines() == [
        f"$ fairseq-lottery run {path} --jobs 4",
        f"$ fairseq-lottery report {path.parent}/runs --out {path.parent}/report",
        "",
        "what runs is worth",
        "| sparsity, % | SLT |",
        "| --- | ---: |",
        "| 0 | 9.0 |",
        "",
        "SLT holds.",
        f"The page with plots and tests: {path.parent}/report/report.html",
    ]
