"""Searches, strategies and retraining of a classifier, against fairseq's own validation."""

import json
import re
import shutil

import labelled
import pytest
import torch
import toy

pytest.importorskip("fairseq")

from fairseq_lottery.cli.main import main
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import load_ticket, read_checkpoint, read_source
from fairseq_lottery.heads.components.choice_file import load_choice
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.measures.loaded_heads import Sample, load_heads
from fairseq_lottery.heads.measures.loaded_measures import Evaluator

pytestmark = pytest.mark.slow

#: 3 layers of 4 heads
MODEL = (
    "--arch roberta --encoder-layers 3 --encoder-embed-dim 32 --encoder-ffn-embed-dim 64"
    " --encoder-attention-heads 4 --max-positions 64 --dropout 0 --attention-dropout 0"
).split()


class Runs:
    """Two classifiers of one data set, and a regression, in a folder."""

    def __init__(self, folder):
        self.folder = folder
        labelled.write_pretraining(folder)
        self.classes = labelled.write_labelled(folder, "classes")
        self.score = labelled.write_labelled(folder, "score", classes=0)
        for seed in (1, 2):
            self.train(f"seed{seed}", 60, "--seed", seed, "--snapshot-updates", 0)
        flags = ["--num-classes", 1, "--regression-target"]
        self.train("regression", 30, *flags, data=self.score)

    def train(self, save_dir, updates, *flags, data=None):
        line = [data or self.classes, *labelled.USER_DIR, *labelled.SENTENCES, *MODEL]
        line += [*labelled.TRAIN, "--num-classes", 2, "--max-update", updates]
        done = toy.call("fairseq_cli.train", [*line, "--save-dir", save_dir, *flags], self.folder)
        (self.folder / f"{save_dir}.log").write_text(done.ok().out)

    def path(self, *parts):
        return str(self.folder.joinpath(*parts))

    def validate(self, model):
        """fairseq's own scores of a model on the validation set."""
        flags = [self.classes, *labelled.USER_DIR, *labelled.SENTENCES, "--num-classes", 2]
        line = [*flags, "--path", model, "--batch-size", 16]
        out = toy.call("fairseq_cli.validate", line, self.folder).ok().out
        return scores(out)


def scores(log):
    line = re.findall(r"valid on 'valid' subset .*", log)[-1]
    return {name: float(value) for name, value in re.findall(r"(\w+) ([\d.]+)(?= \||$)", line)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return Runs(tmp_path_factory.mktemp("classifiers"))


@pytest.fixture(scope="module")
def found(runs):
    """The record of a search over heads and blocks at 90 % of the accuracy, of both seeds."""
    records = []
    for seed in (1, 2):
        model, out = runs.path(f"seed{seed}/checkpoint_last.pt"), runs.path(f"s{seed}.json")
        assert main(["heads", "search", model, "--metric", "accuracy", "--out", out]) == 0
        records.append(load_choice(runs.path(f"s{seed}-good.json"))[1])
    return records


def test_a_search_keeps_90_percent_of_the_accuracy(runs, found):
    steps = found[0]["steps"]
    full = steps[0]["metric"]
    logged = scores((runs.folder / "seed1.log").read_text())["accuracy"]
    assert full == pytest.approx(logged, abs=0.051) and full > 70
    assert all(step["enough"] == (step["metric"] >= 0.9 * full) for step in steps)
    assert [step["phase"] for step in steps][:2] == ["full", "heads+blocks"]
    last = [step for step in steps if step["enough"]][-1]
    sizes = {}
    for name in ("good", "random", "bad"):
        choice = load_choice(runs.path(f"s1-{name}.json"))[0]
        sizes[name] = [choice.count_pruned(kind) for kind in ("heads", "units", "blocks")]
    assert sizes["good"] == [last["heads"], 0, last["blocks"]] and last["heads"] > 0
    assert sizes["good"] == sizes["random"] == sizes["bad"]


def test_the_pruned_classifier_has_the_accuracy_of_its_step(runs, found):
    """By fairseq-validate, on the checkpoint that the choice was pruned in."""
    last = [step for step in found[0]["steps"] if step["enough"]][-1]
    out = runs.path("good.pt")
    line = ["heads", "prune", runs.path("seed1/checkpoint_last.pt"), "--out", out]
    assert main([*line, "--components", runs.path("s1-good.json")]) == 0
    assert runs.validate(out)["accuracy"] == pytest.approx(last["metric"], abs=0.051)


def test_seeds_and_tasks_agree_by_chance_or_more(runs, found, capsys):
    files = [runs.path(f"s{seed}-good.json") for seed in (1, 2)]
    assert main(["heads", "compare", *files, "--json"]) == 0
    own = json.loads(capsys.readouterr().out)
    kept = [12 - load_choice(file)[0].count_pruned("heads") for file in files]
    assert own["components"] == 12 and own["sizes"] == kept
    assert main(["heads", "compare", f"a={files[0]}", f"b={files[1]}", "--json"]) == 0
    (pair,) = json.loads(capsys.readouterr().out)["between"]
    assert pair["jaccard"] == pytest.approx(own["jaccard"])
    assert pair["chance"] == pytest.approx(own["chance"], abs=0.05)


def test_m_pruning_by_matthews_correlation_leaves_out_what_the_classifier_does_not_use(runs):
    model, out = runs.path("seed1/checkpoint_last.pt"), runs.path("m.safetensors")
    line = ["heads", "search", model, "--kind", "weights", "--metric", "mcc", "--step", "0.3"]
    assert main([*line, "--out", out]) == 0
    ticket = load_ticket(runs.path("m-good.safetensors"))
    layers = [n for n in ticket.mask if n.startswith("encoder.sentence_encoder.layers.")]
    assert len(layers) == len(ticket.mask) == 18  # 6 matrices a layer; no lm_head, no head
    steps = ticket.record["search"]["steps"]
    last = [step for step in steps if step["enough"]][-1]
    assert ticket.mask.pruned == last["pruned"] > 0
    loaded = load_heads(model)
    evaluate = Evaluator(loaded, Sample(), "mcc")
    everything = ComponentMask(loaded.anatomy, {})
    assert evaluate(ticket.mask) == pytest.approx(last["metric"])
    assert evaluate(everything) == pytest.approx(steps[0]["metric"])
    assert evaluate(everything) == pytest.approx(runs.validate(model)["mcc"], abs=0.051)
    assert not torch.equal(
        load_ticket(runs.path("m-random.safetensors")).mask[layers[0]], ticket.mask[layers[0]]
    )


STRATEGIES = ("random", "top", "bottom", "middle", "spare-middle", "alternate", "apart")


def test_layer_strategies_prune_their_layers(runs):
    """A third of 12 heads is one layer: the top, the bottom, the middle; never two neighbours."""
    layers = {}
    for strategy in STRATEGIES:
        out = runs.path(f"{strategy}.json")
        line = ["heads", "choose", "--of", runs.path("seed1/checkpoint_last.pt"), "--out", out]
        assert main([*line, "--strategy", strategy, "--count", "4"]) == 0
        pruned = list(load_choice(out)[0].pruned("heads"))
        assert len(pruned) == 4
        layers[strategy] = {int(re.findall(r"layers\.(\d)", name)[0]) for name, _ in pruned}
    assert layers["top"] == {2} and layers["bottom"] == {0} and layers["middle"] == {1}
    assert 1 not in layers["spare-middle"] and layers["alternate"] == {1}
    assert layers["apart"] in ({0}, {2}, {0, 2})


def test_kept_heads_compensate_in_fine_tuning(runs, capsys):
    """The survivors start from update 0 again; their change is compared with an unpruned run's."""
    start, choice = runs.path("seed1/snapshot_0.safetensors"), runs.path("kept.json")
    model = runs.path("seed1/checkpoint_last.pt")
    line = ["heads", "choose", "--of", model, "--strategy", "top", "--share", "0.5"]
    assert main([*line, "--out", choice]) == 0
    ticket = runs.path("top.safetensors")
    line = ["ticket", "--mask-from", model, "--start-from", start, "--components", choice]
    assert main([*line, "--out", ticket]) == 0
    flags = ["--ticket", ticket, "--seed", 1, "--update-freq", 2]
    runs.train("top", 12, *flags)
    trained = read_source(runs.path("top/checkpoint_last.pt"))
    pruned = set(load_choice(choice)[0].pruned("heads"))
    for name in load_choice(choice)[0].anatomy.heads:
        columns = trained.weights[f"{name}.out_proj.weight"].reshape(32, 4, 8)
        for head in range(4):
            assert bool((columns[:, head] == 0).all()) == ((name, head) in pruned)
    tuned, out = runs.path("top/checkpoint_last.pt"), runs.path("changes.json")
    for of in ("weights", "attention"):
        line = ["heads", "changes", start, tuned, "--control", model, "--of", of, "--out", out]
        assert main([*line, "--overwrite"]) == 0, capsys.readouterr().err
    changed = json.loads((runs.folder / "changes.json").read_text())["scores"]["heads"]
    assert len(changed) == 3
    # a head of a start without its task's classifier has no importance
    line = ["heads", "changes", start, tuned, "--of", "importance", "--out", out, "--overwrite"]
    assert main([*line, "--data", str(runs.classes)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_regression_is_searched_by_its_correlation(runs, capsys):
    model, out = runs.path("regression/checkpoint_last.pt"), runs.path("r.json")
    line = ["heads", "search", model, "--kind", "heads", "--step", "0.5", "--to", "1"]
    assert main([*line, "--enough", "0", "--metric", "pearson", "--out", out]) == 0
    steps = load_choice(runs.path("r-good.json"))[1]["steps"]
    logged = scores((runs.folder / "regression.log").read_text())["pearson"]
    assert steps[0]["metric"] == pytest.approx(logged, abs=0.051)


def test_metrics_of_other_tasks_are_refused(runs):
    for name, metric, known in (
        ("seed1", "pearson", "accuracy, f1, f1_macro, mcc, loss"),
        ("regression", "accuracy", "pearson, spearman, loss"),
    ):
        loaded = load_heads(runs.path(name, "checkpoint_last.pt"))
        with pytest.raises(LotteryError, match=f"{metric!r} is unknown .* choose one of {known}"):
            Evaluator(loaded, Sample(), metric)
        with pytest.raises(LotteryError, match="--metric bleu requires a model that translates"):
            Evaluator(loaded, Sample(), "bleu")


def test_examples_without_labels_are_refused(runs, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(runs.classes, data)
    for file in (data / "label").glob("test.*"):
        file.unlink()
    loaded = load_heads(runs.path("seed1/checkpoint_last.pt"), str(data))
    with pytest.raises(LotteryError, match="have no labels; give a --subset with labels"):
        Evaluator(loaded, Sample("test"), "accuracy")(ComponentMask(loaded.anatomy, {}))


def test_a_checkpoint_keeps_its_head_when_its_heads_are_pruned(runs):
    """The classifier of the task is not among the weights that a choice prunes."""
    before, after = (
        read_checkpoint(runs.path(name))["model"]
        for name in ("seed1/checkpoint_last.pt", "good.pt")
    )
    names = [name for name in before if name.startswith("classification_heads.")]
    assert len(names) == 4 and all(before[name].equal(after[name]) for name in names)
