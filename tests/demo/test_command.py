import argparse
import logging

import pytest

from fairseq_lottery.cli import demo
from fairseq_lottery.demo import prepare, ticket_size
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.workflow.reading.configuration_reader import read_configuration


def parse(*words):
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    return parser.parse_args(words)


def test_defaults():
    args = parse()
    assert (str(args.out), args.seed, args.jobs) == ("demo", 1, 2)


@pytest.mark.parametrize(
    "words, sentence",
    [
        (("--jobs", "0"), "--jobs 0 runs nothing; give 1 or more"),
        (("--seed", "-1"), "--seed -1 is negative; give 0 or more"),
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
    monkeypatch.setattr(prepare, "_once", lambda out, *words: asked.append((out, *words)))

    def make(seed):
        asked.clear()
        return prepare.prepare(tmp_path / "demo", seed), list(asked)

    return make


@pytest.mark.parametrize("seed", [1, 23])
def test_the_seed_is_that_of_the_text_and_of_all_runs(made, seed):
    path, asked = made(seed)
    configuration = read_configuration(path)
    assert configuration.seeds == (seed,)
    assert asked[0][1:5] == ("text", "fairseq_lottery.demo.text_stage", "--seed", seed)
    before = path.read_bytes()
    assert made(seed)[0] == path and path.read_bytes() == before


def test_a_folder_of_another_seed_is_refused(made):
    path, _ = made(1)
    before = path.read_bytes()
    for seed in (2, 11):
        with pytest.raises(LotteryError) as error:
            made(seed)
        assert str(error.value) == (
            f"{path.parent} was made with another seed; choose another --out"
        )
    assert path.read_bytes() == before


def test_the_data_can_be_made_alone(made, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "show", lambda *given: pytest.fail("something was run"))
    monkeypatch.setattr(demo, "require", lambda *packages: None)
    demo.run(parse("--data-only", "--out", str(tmp_path / "demo")))
    folder = tmp_path / "demo"
    assert capsys.readouterr().out == f"{folder}/data and {folder}/text are ready\n"
    assert (folder / "demo.yaml").is_file()


def test_it_runs_what_its_configuration_says(made, monkeypatch, capsys):
    path, _ = made(3)
    ran = []
    for command in ("run", "report"):
        monkeypatch.setattr(f"fairseq_lottery.cli.{command}.run", ran.append)
    monkeypatch.setattr(ticket_size, "lines", lambda runs: [f"what {runs.name} is worth"])
    demo.show(path, path.parent, 4)
    run, _ = ran
    assert (run.configuration, run.jobs, run.seeds, run.only, run.yes) == (path, 4, None, [], False)
    assert capsys.readouterr().out.splitlines() == [
        f"$ fairseq-lottery run {path} --jobs 4",
        f"$ fairseq-lottery report {path.parent}/runs --out {path.parent}/report",
        "what runs is worth",
    ]


def test_fairseq_is_quiet_among_the_last_lines(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("fairseq_lottery.cli.run.run", lambda args: None)
    monkeypatch.setattr("fairseq_lottery.cli.report.run", lambda args: None)
    logger = logging.getLogger("fairseq.tasks.translation")

    def lines(runs):
        logger.info("dictionary: 64 types")
        logger.warning("a file is missing")
        return []

    monkeypatch.setattr(ticket_size, "lines", lines)
    with caplog.at_level(logging.INFO):
        demo.show(tmp_path / "demo.yaml", tmp_path, 1)
        logger.info("as loud as before")
    assert caplog.messages == ["a file is missing", "as loud as before"]
