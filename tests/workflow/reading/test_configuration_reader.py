from pathlib import Path

import pytest
from workflow.made import CLASSIFIED, MASKED, ROWS, TRAIN, configure, write

from fairseq_lottery.adapters import ADAPTERS, MASKED_LM, TRANSLATION
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.workflow.planning.plan import make_plan
from fairseq_lottery.workflow.reading.configuration import Evaluation, Resources, Translation
from fairseq_lottery.workflow.reading.configuration_reader import read_configuration
from fairseq_lottery.workflow.trainings.techniques import TECHNIQUES

TEXT = """\
title: Small task
data: data-bin
references: test.de
train: >-
  --arch transformer --share-all-embeddings
  --optimizer masked_adam --adam-betas '(0.9, 0.98)'
  --lr 7e-4 --lr-scheduler inverse_sqrt
  --max-tokens 4096 --max-update 1000 --save-interval-updates 50
techniques:
  - mp
  - slt:
      rewind: 5%
      sparsities: [0.5, 0.9]
  - slt-mp: {switch: [0.5]}
sparsities: [0.5, 0.9]
seeds: [1, 2]
rewind: 10%
prune:
  start: 0%
  end: 80%
evaluate:
  - {checkpoint: best, beam: 4}
  - checkpoint: average:5
    lenpen: 0.6
generate: --remove-bpe
metrics: [BLEU, TER]
score_command:
  length: wc -w {hypotheses}
resources:
  gpus: 2
  threads: 4
  train: {runtime: 60}
keep: [snapshots]
cost: {seconds_per_update: 0.1}
"""


@pytest.fixture
def read(tmp_path):
    """Reads the text above with changes: pairs of what is there and what stands there instead."""

    def read_changed(*changes, plan=False, **arguments):
        text = TEXT
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        path = tmp_path / "small.yaml"
        path.write_text(text, encoding="utf-8")
        found = read_configuration(path, **arguments)
        return make_plan(found) if plan else found

    return read_changed


@pytest.fixture
def refused(read, tmp_path):
    """The sentence that refuses the text with a change, and its line."""

    def refuse(*changes, plan=False):
        with pytest.raises(LotteryError) as refusal:
            read(*changes, plan=plan)
        start = f"{tmp_path}/small.yaml, line "
        sentence = str(refusal.value)
        assert sentence.startswith(start) and "\n" not in sentence
        line, _, message = sentence[len(start) :].partition(": ")
        return int(line), message

    return refuse


def test_a_whole_configuration(read, tmp_path):
    found = read()
    assert found.title == "Small task"
    assert found.out == tmp_path / "runs" / "small"
    assert found.data == tmp_path / "data-bin"
    assert found.references == tmp_path / "test.de"
    assert found.train.get("--adam-betas") == "(0.9, 0.98)"
    assert found.updates == 1000
    assert [(r.name, r.title, r.rewind, r.seeds) for r in found.requests] == [
        ("mp", "MP", 100, (1, 2)), ("slt", "SLT", 50, (1, 2)), ("slt-mp", "SLT-MP", 100, (1, 2))
    ]  # fmt: skip
    assert {r.sparsities for r in found.requests} == {(0.5, 0.9)}
    steps = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9)
    assert {r.rounds for r in found.requests} == {steps}, "the paper's, up to the last row"
    assert [r.options for r in found.requests] == [{}, {}, {"switch": (0.5,)}]
    assert found.pruning == {
        "start": 0, "end": 800, "every": 20, "schedule": "cubic", "score": "magnitude",
        "scope": "layer", "min_density": 0.0, "prunable": "all-matrices", "keep_dense": None,
    }  # fmt: skip
    assert found.evaluations == (
        Translation("best", "test", "test", 4, 1.0, tmp_path / "test.de"),
        Translation("average:5", "test", "test", 5, 0.6, tmp_path / "test.de"),
    )
    assert [e.name for e in found.evaluations] == ["best-beam4-lenpen1", "average5-beam5-lenpen0.6"]
    assert found.generate.words() == ["--remove-bpe"]
    assert found.metrics == ("BLEU", "TER")
    assert found.score_commands == {"length": "wc -w {hypotheses}"}
    assert found.resources == Resources(2, 2, 1, 4, {"runtime": 60}, {})
    assert found.keep == ("snapshots",)
    assert found.cost == {"seconds_per_update": 0.1}
    assert (found.adopt, found.published, found.train_env) == (None, None, "")
    assert (found.retries, found.engine, found.seeds) == (2, (), (1, 2))


def test_what_need_not_be_said(tmp_path):
    path = tmp_path / "least.yaml"
    path.write_text(
        "data: d\nreferences: r\ntechniques: [slt]\n"
        "train: --optimizer masked_adam --max-update 100000\n"
    )
    found = read_configuration(path)
    request = found.requests[0]
    assert found.title == "least"
    assert request.sparsities == (
        0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98
    )  # fmt: skip
    assert (request.rewind, request.rewind_source, request.update_counter) == (5000, "latest", None)
    assert request.seeds == (1,)
    assert [found.pruning[n] for n in ("start", "end", "every")] == [0, 80000, 2000]
    assert found.evaluations == (Translation("best", "test", "test", 5, 1.0, tmp_path / "r"),)
    assert found.metrics == ("BLEU", "chrF", "TER")
    assert found.resources == Resources(1, 1, 1, 1)


def test_a_task_that_does_not_translate_is_measured_on_examples(tmp_path):
    assert configure(tmp_path).task is TRANSLATION
    found = configure(tmp_path, **MASKED)
    assert found.task is MASKED_LM
    assert found.evaluations == (Evaluation("best", "valid", "valid"),)
    assert (found.references, found.metrics, found.score_commands) == (None, ("loss",), {})
    assert found.generate.words() == []
    train = f"{MASKED['train']} --valid-subset valid1,valid"
    both = [{"checkpoint": "last"}, {"checkpoint": "best", "subset": "test"}]
    more = configure(tmp_path, **{**MASKED, "train": train, "evaluate": both})
    assert more.evaluations == (
        Evaluation("last", "valid1", "valid1"), Evaluation("best", "test", "valid1")
    )  # fmt: skip
    assert [e.name for e in more.evaluations] == ["last", "best-test"]
    averaged = configure(
        tmp_path,
        **{**MASKED, "train": f"{MASKED['train']} --save-interval-updates 100"},
        evaluate=[{"checkpoint": "average:2"}],
    )
    assert [e.name for e in averaged.evaluations] == ["average2"]


def test_metrics_are_those_of_the_task(tmp_path):
    assert configure(tmp_path, **CLASSIFIED).metrics == ("mcc",)
    both = configure(tmp_path, **CLASSIFIED, metrics=["accuracy", "f1"])
    assert both.metrics == ("accuracy", "f1")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": ["BLEU"]}, r"metrics\[0\] is 'BLEU', expected one of accuracy, f1"),
        ({"metrics": []}, "metrics is empty; give one, or omit it"),
        ({"metrics": ["mcc", "mcc"]}, "metrics has mcc twice; remove one"),
        ({"train": CLASSIFIED["train"].replace(" --maximize-best-checkpoint-metric", "")},
         "mcc is better if it is larger; add --maximize-best-checkpoint-metric"),
        ({"train": f"{MASKED['train']} --maximize-best-checkpoint-metric"},
         "loss is better if it is smaller; remove --maximize-best-checkpoint-metric"),
    ],
)  # fmt: skip
def test_metrics_that_would_mislead_are_refused(tmp_path, changes, message):
    with pytest.raises(LotteryError, match=rf"small.yaml, line \d+: .*{message}"):
        configure(tmp_path, **{**CLASSIFIED, **changes})


MULTILINGUAL = {"task": "translation_multi_simple_epoch", "references": None}


@pytest.mark.skipif("translation_multi_simple_epoch" not in ADAPTERS, reason="no such adapter")
def test_each_pair_of_languages_has_its_own_references(tmp_path):
    evaluate = [{"pair": "a-b", "references": "test.b"}, {"pair": "b-a", "references": "test.a"}]
    train = f"{TRAIN} --lang-pairs a-b,b-a"
    found = configure(tmp_path, **MULTILINGUAL, train=train, evaluate=evaluate)
    assert [e.name for e in found.evaluations] == [
        "best-beam5-lenpen1-a-b", "best-beam5-lenpen1-b-a"
    ]  # fmt: skip
    assert [e.settings["subset"] for e in found.evaluations] == ["test.a-b", "test.b-a"]
    assert found.evaluations[0].pair_words == ["--source-lang", "a", "--target-lang", "b"]
    assert [key for *_, key in found.test_sets.items()] == [
        ("evaluate", 0, "references"), ("evaluate", 1, "references")
    ]  # fmt: skip
    for entry, message in (
        ({"pair": "a-b"}, "pair a-b requires its own references"),
        ({"references": "test.b"}, "has several pairs of languages; add pair: SOURCE-TARGET"),
        ({"pair": "ab", "references": "r"}, "expected a pair of languages, as en-de"),
    ):
        with pytest.raises(LotteryError, match=message):
            configure(tmp_path, **MULTILINGUAL, train=train, evaluate=[entry])
    with pytest.raises(LotteryError, match="translation has one pair of languages; omit pair"):
        configure(tmp_path, evaluate=[{"pair": "a-b", "references": "r"}])


DOES_NOT = "masked_lm does not; omit it"


@pytest.mark.parametrize(
    ("settings", "line", "message"),
    [
        ({"references": "test.de"}, "references: test.de", f"references requires .*{DOES_NOT}"),
        ({"generate": "--sacrebleu"}, "generate: --sacrebleu", "generate requires a task"),
        ({"score_command": {"a": "b"}}, "score_command:", "score_command requires a task"),
        ({"evaluate": [{"beam": 5}]}, "- beam: 5", f"beam requires .*{DOES_NOT}"),
        ({"evaluate": [{"lenpen": 1.0}]}, "- lenpen: 1.0", "lenpen requires a task"),
        ({"evaluate": [{"pair": "a-b"}]}, "- pair: a-b", "pair requires a task"),
        ({"evaluate": [{"references": "r"}]}, "- references: r", "references requires a task"),
        ({"evaluate": [{"check": "r"}]}, "- check: r", "evaluate.0..check is unknown"),
        ({"evaluate": [{"checkpoint": "average:2"}]}, "- checkpoint: average:2",
         "average:2 requires --save-interval-updates in train; add it"),
        ({"evaluate": [{"checkpoint": "best"}], "train": f"{TRAIN} --disable-validation"},
         "- checkpoint: best", "best requires validations; remove --disable-validation"),
        ({"task": "bart"}, "task: bart", "task is 'bart', expected one of masked_lm, "),
        ({"train": f"{TRAIN} --task masked_lm"}, f"train: {TRAIN} --task masked_lm",
         "train: remove --task: "),
    ],
)  # fmt: skip
def test_what_is_about_translations_is_refused_for_another_task(tmp_path, settings, line, message):
    path = write(tmp_path, **{**MASKED, **settings})
    number = path.read_text().splitlines().index(line) + 1
    with pytest.raises(LotteryError, match=rf"small.yaml, line {number}: {message}"):
        read_configuration(path)


def test_the_command_line_has_the_last_word(read, tmp_path):
    there = tmp_path / "there"
    assert read(("title: Small task", "out: here"), out=there).out == there


def test_paths_are_relative_to_the_file(read, tmp_path):
    found = read(("data: data-bin", "data: ../data"), ("title: Small task", "out: /runs/x"))
    assert found.data == tmp_path.parent / "data"
    assert found.out == Path("/runs/x")
    assert found.title == "small"


def test_updates_and_shares(read):
    found = read(("start: 0%", "start: 12.5%"), ("end: 80%", "end: 900\n  every: 7"))
    assert [found.pruning[n] for n in ("start", "end", "every")] == [125, 900, 7]
    found = read(("rewind: 10%", "rewind: 0"), ("rewind: 5%", "rewind: 100 %"))
    assert [request.rewind for request in found.requests] == [0, 1000, 0]
    assert read(("end: 80%", "end: 80%\n  every: 0")).pruning["every"] == 1


def test_a_technique_changes_what_stands_for_all(read):
    found = read(
        ("  - mp\n", "  - lt: {seeds: 5, sparsities: 0.9, rounds: [0.4, 0.9], title: LT 0}\n"),
        ("rewind: 5%", "rewind: 5%\n      update_counter: rewind\n      rewind_source: dense"),
    )
    one, two, three = found.requests
    assert (one.seeds, one.sparsities, one.rounds, one.title) == ((5,), (0.9,), (0.4, 0.9), "LT 0")
    assert (two.update_counter, two.rewind_source) == ("rewind", "dense")
    assert (three.update_counter, three.rewind_source) == (None, "latest")
    assert found.seeds == (1, 2, 5)


def test_several_rewinds_are_several_techniques(read):
    found = read(("rewind: 5%", "rewind: [0, 50, 20%]"))
    assert [(r.name, r.title, r.rewind) for r in found.requests[1:4]] == [
        ("slt-t0", "SLT, t = 0", 0),
        ("slt-t50", "SLT, t = 50", 50),
        ("slt-t20pc", "SLT, t = 20%", 200),
    ]


def test_a_rewind_by_sparsity(read):
    found = read(("rewind: 5%", "rewind: {0%: 50%, '79%': 200, 90.5 %: 1}"))
    assert [(r.name, r.rewind, r.later_rewinds) for r in found.requests] == [
        ("mp", 100, ()), ("slt", 500, ((0.79, 200), (0.905, 1))), ("slt-mp", 100, ())
    ]  # fmt: skip
    assert found.requests[1].rewinds == (500, 200, 1)
    assert read(("rewind: 10%", "rewind: {0%: 5%}")).requests[2].later_rewinds == ()


def test_own_techniques(read, tmp_path):
    (tmp_path / "own.py").write_text(
        "from fairseq_lottery.workflow.trainings.techniques import technique\n"
        "@technique('twice', 'twice')\n"
        "def twice(v, times=2):\n"
        "    yield from v.iterate(v.dense, v.rounds)\n"
    )
    try:
        found = read(
            ("title: Small task", "own_techniques: own.py"), ("- mp\n", "- twice: {times: 3}\n")
        )
        assert (found.requests[0].name, found.requests[0].options) == ("twice", {"times": 3})
    finally:
        TECHNIQUES.pop("twice", None)


def test_an_adopted_run(read, tmp_path):
    found = read(("title: Small task", "adopt: {dense: 'old/seed{seed}'}"))
    assert found.adopt == f"{tmp_path}/old/seed{{seed}}"
    found = read(("title: Small task", "adopt: {dense: old}"), ("seeds: [1, 2]", "seeds: 4"))
    assert found.adopt == f"{tmp_path}/old"


def test_two_processes_without_gpus(read):
    found = read(("gpus: 2", "gpus: 0\n  processes: 2"))
    assert (found.resources.gpus, found.resources.processes) == (0, 2)


@pytest.mark.parametrize(
    "flags",
    ["--save-interval-updates 200", "--save-interval-updates 50 --keep-interval-updates 5",
     "--save-interval-updates 50 --keep-interval-updates -1"],
)  # fmt: skip
def test_checkpoints_that_are_just_enough_for_a_mean(read, flags):
    found = read(("--save-interval-updates 50", flags))
    assert found.evaluations[1].checkpoint == "average:5"


def test_the_last_checkpoint_needs_no_validation(read):
    found = read(
        ("--lr 7e-4", "--lr 7e-4 --disable-validation"), ("checkpoint: best,", "checkpoint: last,")
    )
    assert [e.checkpoint for e in found.evaluations] == ["last", "average:5"]


def test_what_stays_dense_is_a_regular_expression(read):
    found = read(("seeds: [1, 2]", r"keep_dense: decoder\.(fc1|fc2)$"))
    assert found.pruning["keep_dense"] == r"decoder\.(fc1|fc2)$"


def test_second_names_of_flags_are_their_long_ones(read):
    found = read(
        ("--arch transformer", "-a transformer -s en -t de --wd 0.1"),
        ("--max-tokens 4096", "--max-sentences 32"),
    )
    names = ("--arch", "--source-lang", "--target-lang", "--weight-decay", "--batch-size")
    assert [found.train.get(name) for name in names] == ["transformer", "en", "de", "0.1", "32"]


# --- what is refused, and on which line ---

OWN_FLAG = "remove {flag}: the workflow sets it"


@pytest.mark.parametrize("text", ["2:4", "'2:4'", '"2:4"'])
def test_a_pattern_with_and_without_quotes(tmp_path, text):
    """The pattern has one sparsity, which need not be said and is the only round."""
    path = write(tmp_path, "slt", "one-shot")
    for told in ("", "sparsities: [0.5]\n"):
        path.write_text(path.read_text() + f"scope: {text}\n{told}")
        plan = make_plan(read_configuration(path))
        assert plan.configuration.pruning["scope"] == "2:4"
        drawn = {c.technique: c.training.ticket for c in plan.cells if c.training.ticket}
        assert {name: (d.scope, d.sparsity) for name, d in drawn.items()} == {
            "slt": ("2:4", 0.5), "one-shot": ("2:4", 0.5)
        }  # fmt: skip
        assert len(plan.trainings) == 1 + 1
        path = write(tmp_path, "slt", "one-shot")


@pytest.mark.parametrize("text", ["2:4", "'2:4'"])
def test_a_pattern_of_one_technique_with_and_without_quotes(tmp_path, text):
    path = write(tmp_path, "rigl", sparsities=[0.5])
    whole = path.read_text()
    assert "- rigl" in whole or "[rigl]" in whole
    for own in (f"- rigl: {{scope: {text}}}", f"- rigl:\n    scope: {text}"):
        changed = whole.replace("- rigl", own).replace("[rigl]", f"\n{own}")
        path.write_text(changed)
        (cell,) = [c for c in make_plan(read_configuration(path)).cells if c.technique == "rigl"]
        assert cell.training.pruning.scope == "2:4"


def test_what_ranks_all_matrices_as_one_takes_no_pattern(tmp_path):
    with pytest.raises(LotteryError) as refusal:
        make_plan(configure(tmp_path, "slt", "imp", scope="2:4"))
    assert str(refusal.value) == (
        f"{tmp_path}/small.yaml, line 6: imp has a global scope,"
        " which excludes scope: 2:4; choose another technique, or omit scope"
    )


@pytest.mark.parametrize("out", ["data-bin", "data-bin/runs", "data-bin/../data-bin/a/b"])
def test_a_folder_in_the_data(tmp_path, out):
    path = write(tmp_path, "slt", out=out)
    line = path.read_text().splitlines().index(f"out: {out}") + 1
    said = f"small.yaml, line {line}: {tmp_path}/data-bin.* is inside the data folder; give"
    with pytest.raises(LotteryError, match=said):
        read_configuration(path)
    read_configuration(path, tmp_path / "data-bin-runs")
    with pytest.raises(LotteryError, match="/data-bin is inside the data"):
        read_configuration(path, tmp_path / "data-bin")


def test_data_in_the_folder(tmp_path):
    read_configuration(write(tmp_path, "slt", out="."))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("sparsities: [0.5, 0.6]", "slt draws at 0.6, but scope: 2:4 always prunes 0.5;"),
        ("rounds: [0.2, 0.5]", "slt draws at 0.2, but scope: 2:4 always prunes 0.5;"),
    ],
)
def test_a_pattern_at_another_sparsity_is_refused(tmp_path, changes, message):
    path = write(tmp_path, "slt")
    text = path.read_text() + f"scope: 2:4\n{changes}\n"
    path.write_text(text)
    line = text.splitlines().index("- slt") + 1
    with pytest.raises(LotteryError) as refusal:
        make_plan(read_configuration(path))
    assert str(refusal.value).startswith(f"{path}, line {line}: {message}")
    assert "write sparsities: [0.5]" in str(refusal.value)


REFUSALS = [
    # the file
    ("title: Small task", "titel: x", 1, "key 'titel' is unknown"),
    ("metrics: [BLEU, TER]", "metrics: [BLEU]\nmetrics: [TER]", 27, "metrics is given twice"),
    ("title: Small task", "title: [a, b]", 1, "title is ['a', 'b'], expected a text"),
    ("data: data-bin\n", "", 1, "data is missing"),
    ("references: test.de\n", "", 1, "references is missing"),
    ("references: test.de", "references: 5", 3, "references is 5, expected a text"),
    ("rewind: 10%\nprune:", "retries: some\nprune:", 17, "retries is 'some', expected an integer"),
    ("keep: [snapshots]", "keep: [snapshots, logs]", 33,
     "keep[1] is 'logs', expected one of checkpoints, snapshots, tickets"),
    ("keep: [snapshots]", "keep: snapshots", 33, "keep is 'snapshots', expected a list"),
    # flags of the training
    ("--max-update 1000", "", 4,
     "train: --max-update is missing, expected"),
    ("--max-update 1000", "--max-update 1e5", 4,
     "train: --max-update is 1e5, expected"),
    ("--optimizer masked_adam", "--optimizer adam", 6,
     "train: --optimizer adam does not keep pruned weights at zero; write --optimizer masked_adam"),
    ("--optimizer masked_adam", "", 4,
     "train: --optimizer  does not keep pruned weights at zero; write --optimizer masked_adam"),
    ("--lr 7e-4", "--lr 7e-4 --save-dir x", 7, "train: " + OWN_FLAG.format(flag="--save-dir")),
    ("--lr 7e-4", "--lr=7e-4 --seed=3", 7, "train: " + OWN_FLAG.format(flag="--seed")),
    ("--lr 7e-4", "--prune-to 0.5", 7, "train: " + OWN_FLAG.format(flag="--prune-to")),
    ("--lr 7e-4", "--checkpoint-suffix _2", 7, "train: remove --checkpoint-suffix: "),
    ("    lenpen: 0.6", "    subset: '../test'\n    references: test.de", 24,
     "evaluate[1].subset is '../test', expected the name of a set, as test or test1"),
    ("    lenpen: 0.6", "    subset: te*\n    references: test.de", 24,
     "evaluate[1].subset is 'te*', expected the name of a set"),
    ("--lr 7e-4", "--cpu", 7, "train: remove --cpu: write resources: {gpus: 0} instead"),
    ("--lr 7e-4", "--scope global", 7,
     "train: remove --scope: "),
    ("--lr 7e-4", "--keep-dense '^(en|de)coder\\.embed'", 7,
     "train: remove --keep-dense: "),
    ("--lr 7e-4", "--max-epoch 3", 7,
     "train: remove --max-epoch: a training would end before its schedule; give --max-update"),
    ("--lr 7e-4", "--no-save", 7, "train: remove --no-save: "),
    ("--lr 7e-4", "--max-tokens 1 --lr 1", 7, "train: --max-tokens is given twice; give it once"),
    ("  --arch", "  en-de --arch", 5, "train: 'en-de' "),
    ("--lr 7e-4", "--lr 7e-4 # small", 7,
     "train: '#' "),
    ("--lr 7e-4", "--lr 7e-4 --wd 0 --weight-decay 0.1", 7,
     "train: --weight-decay is given twice; give it once"),
    ("'(0.9, 0.98)'", "'(0.9, 0.98)", 4, "train: a quote is not closed (No closing quotation)"),
    # techniques
    ("  - mp\n", "  - snap\n", 10, "technique 'snap' is unknown; choose one of mp, lt, slt,"),
    ("  - mp\n", "  - slt-mp\n", 10, "slt-mp is listed twice"),
    ("  - mp\n", "  - {mp: {}, lt: {}}\n", 10, "a technique must be NAME"),
    ("  - mp\n", "  - 5\n", 10, "a technique must be NAME"),
    ("  - mp\n", "  - mp: [0.5]\n", 10, "techniques[0].mp is [0.5], expected a mapping"),
    ("rewind: 5%", "rewinds: 5%", 12, "slt has no setting 'rewinds'; choose one of "),
    ("rewind: 5%", "switch: 5%", 12, "slt has no setting 'switch'; choose one of "),
    ("{switch: [0.5]}", "{switch: [0.5, 0.5]}", 14, "switch must increase"),
    ("{switch: [0.5]}", "{switch: [1.5]}", 14,
     "techniques[2].slt-mp.switch[0] is 1.5, expected a share between 0 and 1; 0.9 prunes 90 %"),
    ("{switch: [0.5]}", "{switch: [0.95], sparsities: [0.5]}", 14,
     "slt-mp has no row at the sparsities 0.5"),
    ("  - mp\n", "  - imp: {fraction: 0}\n", 10,
     "fraction of imp is 0, expected a share"),
    ("  - mp\n", "  - fine-tune: {lr: 1e-4}\n", 10,
     "lr: '1e-4' is not a positive number; write 1e-4 as 1.0e-4"),
    ("{switch: [0.5]}", "{switch: [0.5], update_counter: rewind, rewind: 80%}", 14,
     "pruning would start at update 800, expected before 800"),
    ("rewind: 5%", "rewind: {50%: 5%}", 12, "rewind must map increasing sparsities from 0%"),
    ("rewind: 5%", "rewind: {0%: 5%, 80%: 1, 79%: 2}", 12, "rewind must map increasing"),
    ("rewind: 5%", "rewind: {}", 12, "rewind must map increasing sparsities from 0%"),
    ("rewind: 5%", "rewind: {0%: 5%, 100%: 1}", 12, "rewind from '100%': write a sparsity such"),
    ("rewind: 5%", "rewind: {0%: 5%, '0.8': 1}", 12, "rewind from '0.8': write a sparsity such"),
    ("rewind: 5%", "rewind: {0%: 5%, 80%: 2000}", 12,
     "techniques[1].slt.rewind.80%: update 2000 is out of range"),
    ("rewind: 5%", "rewind: [5%, {0%: 5%}]", 12, "rewind is a list with a mapping"),
    ("  - mp\n", "  - lr-rewind: {moments: old}\n", 10, "there is no moments 'old'"),
    ("  - mp\n", "  - lr-rewind: {rewind: 100%}\n", 10,
     "lr-rewind rewinds its update counter to the last update, 1000"),
    ("--lr-scheduler inverse_sqrt", "--lr-scheduler cosine", 10,
     "the last learning rate of --lr-scheduler cosine is unknown;",
     ("  - mp\n", "  - fine-tune\n")),
    # settings
    ("sparsities: [0.5, 0.9]\nseeds", "sparsities: [0.5, 90]\nseeds", 15,
     "sparsities[1] is 90, expected a share between 0 and 1; 0.9 prunes 90 % of the weights"),
    ("sparsities: [0.5, 0.9]\nseeds", "sparsities: [0.9, 0.5]\nseeds", 15,
     "sparsities must increase"),
    ("sparsities: [0.5, 0.9]\nseeds", "sparsities: [0.9, 0.90]\nseeds", 15,
     "sparsities must increase"),
    ("sparsities: [0.5, 0.9]\nseeds", "sparsities: []\nseeds", 15, "sparsities is empty"),
    ("sparsities: [0.5, 0.9]\n  - slt-mp", "sparsities: [true]\n  - slt-mp", 13,
     "techniques[1].slt.sparsities[0] is True, expected a share between 0 and 1;"),
    ("sparsities: [0.5, 0.9]\n  - slt-mp", "sparsities: '0.9'\n  - slt-mp", 13,
     "techniques[1].slt.sparsities is '0.9', expected a share between 0 and 1;"),
    ("seeds: [1, 2]", "rounds: [0.4, 0.9]", 16, "rounds lack 0.5"),
    ("seeds: [1, 2]", "seeds: [1, 1]", 16, "seeds must increase"),
    ("seeds: [1, 2]", "seeds: [1, two]", 16, "seeds[1] is 'two', expected an integer from 0"),
    ("seeds: [1, 2]", "seeds: -1", 16, "seeds is -1, expected an integer from 0"),
    ("seeds: [1, 2]", "seeds: true", 16, "seeds is True, expected an integer from 0"),
    ("rewind: 10%", "rewind: 1001", 17,
     "rewind: update 1001 is out of range (0 to --max-update 1000)"),
    ("rewind: 10%", "rewind: 101%", 17,
     "rewind: update 1010 is out of range (0 to --max-update 1000)"),
    ("rewind: 10%", "rewind: -1", 17,
     "rewind: update -1 is out of range (0 to --max-update 1000)"),
    ("rewind: 5%", "rewind: 0.05", 12,
     "techniques[1].slt.rewind is 0.05, expected an update; write 5000, or 5%"),
    ("rewind: 5%", "rewind: soon", 12,
     "techniques[1].slt.rewind is 'soon', expected an update; write 5000, or 5%"),
    ("rewind: 5%", "rewind: [5%, 5%]", 11, "slt-t5pc is listed twice"),
    ("rewind: 5%", "rewind: []", 12, "rewind is empty"),
    ("rewind: 5%", "update_counter: back", 12,
     "techniques[1].slt.update_counter is 'back', expected one of restart, rewind"),
    ("rewind: 5%", "rewind_source: first", 12,
     "techniques[1].slt.rewind_source is 'first', expected one of latest, dense"),
    # pruning while training
    ("start: 0%", "begin: 0%", 19, "prune.begin is unknown; choose one of start, end"),
    ("end: 80%", "end: 2000", 20,
     "prune.end: update 2000 is out of range (0 to --max-update 1000)"),
    ("start: 0%", "start: 80%", 18, "prune starts at update 800, expected before its end, 800"),
    ("start: 0%", "schedule: steps", 19,
     "there is no schedule 'steps'; choose one of cubic, linear, one-shot"),
    ("seeds: [1, 2]", "scope: matrix", 16,
     "there is no scope 'matrix'; choose one of layer, global"),
    ("seeds: [1, 2]", "scope: 124", 16,
     "there is no scope '124'; choose one of layer, global"),
    ("seeds: [1, 2]", "scope: 4:2", 16, "there is no scope '4:2'"),
    ("seeds: [1, 2]", "scope: [2:4]", 16, "there is no scope [124]"),
    ("seeds: [1, 2]", "scope: 2:4\nmin_density: 0.1", 17,
     "the minimum density 0.1 requires scope global"),
    ("seeds: [1, 2]", "scope: 2:4", 10,
     "mp prunes during training, but scope: 2:4 "),
    ("seeds: [1, 2]", "prunable: everything", 16,
     "there is no prunable set 'everything'; choose one of all-matrices, no-embeddings, attention"),
    ("seeds: [1, 2]", "keep_dense: fc(1", 16, "keep_dense is not a regular expression: miss"),
    ("seeds: [1, 2]", "keep_dense: 5", 16, "keep_dense is 5, expected a text"),
    ("seeds: [1, 2]", "min_density: some", 16, "min_density is 'some', expected a number"),
    # evaluation
    ("beam: 4}", "beams: 4}", 22, "evaluate[0].beams is unknown; choose one of checkpoint, beam"),
    ("beam: 4}", "beam: 0}", 22, "evaluate[0].beam is 0, expected an integer from 1"),
    ("beam: 4}", "beam: four}", 22, "evaluate[0].beam is 'four', expected an integer"),
    ("average:5", "average:0", 23,
     "evaluate[1].checkpoint is 'average:0', expected best, last or average:5"),
    ("average:5", "checkpoint_best.pt", 23,
     "evaluate[1].checkpoint is 'checkpoint_best.pt', expected best, last or"),
    (" --save-interval-updates 50", "", 23, "average:5 requires --save-interval-updates in train"),
    ("--save-interval-updates 50", "--save-interval-updates 201", 23,
     "average:5: a training saves 4 checkpoints"),
    ("--save-interval-updates 50", "--save-interval-updates 50 --keep-interval-updates 4", 23,
     "average:5: --keep-interval-updates 4 is"),
    ("--lr 7e-4", "--lr 7e-4 --disable-validation", 22,
     "best requires validations; remove --disable-validation"),
    ("lenpen: 0.6", "lenpen: long", 24, "evaluate[1].lenpen is 'long', expected a finite number"),
    ("  - checkpoint: average:5\n    lenpen: 0.6", "  - {beam: 4}", 21,
     "evaluate has two entries called best-beam4-lenpen1"),
    ("  - checkpoint: average:5\n    lenpen: 0.6", "  - best", 23,
     "evaluate[1] is 'best', expected a mapping"),
    ("  - {checkpoint: best, beam: 4}\n  - checkpoint: average:5\n    lenpen: 0.6", "  []", 21,
     "evaluate is empty"),
    ("--remove-bpe", "--remove-bpe --remove-bpe", 25,
     "generate: --remove-bpe is given twice; give it once"),
    ("--remove-bpe", "--beam 10", 25,
     "generate: remove --beam: write it under evaluate"),
    ("--remove-bpe", "--path x.pt", 25,
     "generate: remove --path: the workflow sets it"),
    ("--remove-bpe", "--skip-invalid-size-inputs-valid-test", 25,
     "generate: remove --skip-invalid-size-inputs-valid-test: "),
    ("--remove-bpe", "--truncate-source", 25,
     "generate: remove --truncate-source: "),
    ("--remove-bpe", "--nbest 2", 25,
     "generate: remove --nbest: "),
    ("--remove-bpe", "--quiet", 25,
     "generate: remove --quiet: "),
    ("--remove-bpe", "--score-reference", 25,
     "generate: remove --score-reference: "),
    ("--remove-bpe", "--prefix-size 3", 25,
     "generate: remove --prefix-size: "),
    ("--remove-bpe", "--distributed-world-size 2", 25,
     "generate: remove --distributed-world-size: the workflow sets it"),
    ("[BLEU, TER]", "[BLEU, METEOR]", 26,
     "metrics[1] is 'METEOR', expected one of BLEU, chrF, TER"),
    ("[BLEU, TER]\nscore_command:\n  length: wc -w {hypotheses}", "[]", 26, "metrics is empty"),
    ("wc -w {hypotheses}", "wc -w {hyp}", 28,
     "score_command.length is 'wc -w {hyp}', expected a text with"),
    ("wc -w {hypotheses}", "wc -w {", 28, "score_command.length is 'wc -w {', expected a text"),
    ("wc -w {hypotheses}", "5", 28, "score_command.length is 5, expected a text"),
    # resources, cost, adoption
    ("  threads: 4", "  memory: 4", 31,
     "resources.memory is unknown; choose one of gpus, processes, nodes, threads, train, other"),
    ("  threads: 4", "  threads: 0", 31, "resources.threads is 0, expected an integer from 1"),
    ("  threads: 4", "  nodes: 1.5", 31, "resources.nodes is 1.5, expected an integer"),
    ("gpus: 2", "gpus: -1", 30, "resources.gpus is -1, expected an integer from 0"),
    ("  threads: 4", "  processes: 4", 31,
     "resources.processes is 4, expected 2, "),
    ("train: {runtime: 60}", "train: 60", 32, "resources.train is 60, expected a mapping"),
    ("seconds_per_update: 0.1", "seconds: 0.1", 34,
     "cost.seconds is unknown; choose one of seconds_per_update, parameters"),
    ("seconds_per_update: 0.1", "parameters: 0", 34, "cost.parameters is 0, expected a number"),
    ("seconds_per_update: 0.1", "parameters: many", 34,
     "cost.parameters is 'many', expected a number above 0"),
    ("title: Small task", "adopt: {slt: x}", 1, "adopt.slt is unknown; choose one of dense"),
    ("title: Small task", "adopt: {dense: 5}", 1, "adopt.dense is 5, expected a text"),
    ("title: Small task", "adopt: {dense: old}", 1,
     "adopt.dense lacks {seed}, and there are 2 seeds"),
    ("title: Small task", "adopt: {dense: 'old/{sed}'}", 1,
     "adopt.dense is 'old/{sed}', expected a text with no placeholders but {seed}"),
    ("title: Small task", "own_techniques: none.py", 1, "there is no file "),
]  # fmt: skip


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda r: f"{r[0][:18]}->{r[1][:22]}")
def test_refusals(refused, refusal):
    old, new, line, message, *more = refusal
    found, sentence = refused((old, new), *more, plan=True)
    assert sentence.startswith(message)
    assert found == line


def test_a_quote_that_is_not_closed_is_not_looked_for_elsewhere(refused):
    """The sentence begins with "a", which is a word of some line below."""
    changes = ("'(0.9, 0.98)'", "'(0.9, 0.98)"), ("generate:", "# a comment\ngenerate:")
    assert refused(*changes)[0] == 4


def test_rounds_are_the_papers_unless_they_are_given(tmp_path):
    def rounds(**settings):
        (request,) = configure(tmp_path, "slt", **settings).requests
        return request.rounds

    assert rounds() == ROWS
    paper = write(tmp_path, {"slt": {"sparsities": [0.25, 0.7]}})
    (request,) = read_configuration(paper).requests
    assert request.rounds == (0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7)
    assert rounds(sparsities=[0.5, 0.9], rounds=[0.5, 0.9]) == (0.5, 0.9)


def test_a_title_is_one_line(tmp_path):
    title = configure(tmp_path, title="one\nrm -rf /x\n").title
    assert title == "one rm -rf /x"


def test_a_score_of_a_name_that_is_taken(tmp_path):
    with pytest.raises(LotteryError, match="score_command.BLEU has a name"):
        configure(tmp_path, score_command={"BLEU": "echo 1"})


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{hypotheses}", "{hypotheses:>99999999999}", "no placeholders but {hypotheses}, "),
        ("{hypotheses}", "{hypotheses.__class__}", "no placeholders but {hypotheses}, "),
        ("{hypotheses}", "{hypotheses!r}", "no placeholders but {hypotheses}, "),
        ("title: Small task", "adopt: {dense: 'x{seed:>99999999999}'}", "placeholders but {seed}"),
        ("title: Small task", "adopt: {dense: 'x{seed.real}'}", "placeholders but {seed}"),
        ("title: Small task", "keep_dense: 'a{99999999999}'", "keep_dense is not a regular expr"),
        ("data: data-bin", "data: ~nobody-of-this-name/data", "-name/data' is not a path"),
        ("data: data-bin", f"data: {'x' * 300}", f"'{'x' * 80}' is not a path ("),
        ("--max-update 1000", f"--max-update {'9' * 5000}", "train: --max-update is 999"),
        ("average:5", f"average:{'9' * 5000}", "checkpoint is 'average:999"),
        ("rewind: 5%", f"rewind: {'9' * 400}%", ", expected an update; write 5000, or 5%"),
        ("--save-interval-updates 50", "--save-interval-updates nan", "nan is not a"),
        ("title: Small task", "own_techniques: small.yaml", "small.yaml is not a Python file"),
    ],
)
def test_what_would_take_all_memory_or_fail_later_is_refused(refused, old, new, said):
    _, message = refused((old, new), plan=True)
    assert said in message and len(message) < 1200
