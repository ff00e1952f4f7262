"""A workflow of masks of pairs: its files are those of the commands by hand."""

import json
import re
import subprocess

import pytest
import torch

pytest.importorskip("fairseq")
pytest.importorskip("snakemake")

import languages
import toy
from sacrebleu.metrics import BLEU
from whole import ALONE, configure, folder_of, pending, run

from fairseq_lottery.cli.main import main
from fairseq_lottery.formats import read_checkpoint, read_source
from fairseq_lottery.formats.pair_masks import load_pair_masks, stored_pair_masks
from fairseq_lottery.tickets.inspection import inspect_file

pytestmark = pytest.mark.slow

PAIRS = languages.PAIRS.split(",")
RULE = "sides:de-en,en-fr"
TRAIN = " ".join(languages.MODEL) + (
    f" {' '.join(languages.DATA)} --optimizer masked_adam --lr 3e-3 --lr-scheduler inverse_sqrt"
    " --warmup-updates 10 --criterion label_smoothed_cross_entropy_lottery --label-smoothing 0.1"
    " --max-tokens 500 --clip-norm 1.0 --num-workers 0 --log-interval 10 --max-update 20"
    " --validate-interval-updates 10 --save-interval-updates 10"
)
FAMILIES = {"from-en": ["en-de", "en-fr"], "to-en": ["de-en", "fr-en"]}
KEYS = {
    "task": "translation_multi_simple_epoch",
    "references": None,
    "train": TRAIN,
    "generate": "--encoder-langtok tgt --decoder-langtok --max-len-b 20",
    "techniques": [
        {"pair-masks": {"name": "lass", "tuning": 8, "updates": 12}},
        {"pair-masks": {"name": "families", "groups": FAMILIES, "tuning": 8, "updates": 12}},
        {"pair-masks": {"name": "random", "masks": "random", "updates": 12}},
    ],
    "evaluate": [
        {"checkpoint": "last", "pair": "fr-en", "beam": 2, "references": "test.en-fr.en"},
        {"checkpoint": "last", "pair": "de-fr", "beam": 2, "references": "test.de-fr.fr",
         "pair_mask": RULE},
    ],
    "keep": ["snapshots"],
}  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A finished workflow whose snapshots are kept: its configuration, and folder of each cell."""
    folder = tmp_path_factory.mktemp("masks")
    languages.preprocess(folder)
    path = configure(folder, folder / "bin", **KEYS)
    script = run(path, "--emit", "bash", "--jobs", 2).stdout
    done = subprocess.run(["bash", "-s"], input=script, env=ALONE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    out = folder / "runs"
    names = ("lass@0.5#1", "families@0.5#1", "random@0.5#1", "dense@0#1")
    return path, {name.partition("@")[0]: out / folder_of(path, name) for name in names}


def tuned_runs(runs):
    """Pairs of a fine-tuning -> its folder."""
    folders = [path.parent for path in runs["dense"].parent.glob("only-*/train.json")]
    records = {folder: json.loads((folder / "train.json").read_text()) for folder in folders}
    return {r["content"]["flags"]["--lang-pairs"]: folder for folder, r in records.items()}


def records_of(runs, kind):
    lines = (runs["dense"].parents[1] / "records.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def test_nothing_is_pending(table):
    path, runs = table
    assert pending(path)["stages"] == 0
    assert set(tuned_runs(runs)) == {*PAIRS, "en-de,en-fr", "de-en,fr-en"}


@pytest.mark.parametrize("name", ["lass", "families"])
def test_the_masks_are_those_drawn_by_hand(table, tmp_path, name):
    """Each from the last snapshot of the run that was fine-tuned on its pairs, by ``ticket``."""
    _, runs = table
    groups = FAMILIES.values() if name == "families" else [[pair] for pair in PAIRS]
    files, tuned = [], tuned_runs(runs)
    for group in groups:
        last = tuned[",".join(group)] / "snapshot_8.safetensors"
        out = tmp_path / f"{group[0]}.safetensors"
        assert (
            main(["ticket", "--mask-from", str(last), "--sparsity", "0.5", "--out", str(out)]) == 0
        )
        files.append(f"{','.join(group)}={out}")
    assert main(["pair-masks", *files, "--out", str(tmp_path / "masks.safetensors")]) == 0
    by_hand = load_pair_masks(tmp_path / "masks.safetensors")
    masks = load_pair_masks(runs[name] / "pair-masks.safetensors")
    assert masks.digest() == by_hand.digest()
    assert len(masks.groups) == len(groups)
    dense = read_source(runs["dense"] / "snapshot_20.safetensors")
    assert masks["en-de"] != load_pair_masks(runs["random"] / "pair-masks.safetensors")["en-de"]
    for group in groups:
        tuned_weights = read_source(tuned[",".join(group)] / "snapshot_8.safetensors").weights
        matrix = "decoder.layers.1.fc1.weight"
        assert not torch.equal(tuned_weights[matrix], dense.weights[matrix])
        kept = tuned_weights[matrix].abs()
        assert kept[masks[group[0]][matrix]].min() >= kept[~masks[group[0]][matrix]].max()


def test_random_masks_differ_from_pair_to_pair(table):
    _, runs = table
    masks = load_pair_masks(runs["random"] / "pair-masks.safetensors")
    assert len(masks.groups) == 4
    overlaps = [(value, chance) for _, _, value, chance in masks.similarities()]
    assert all(abs(value - chance) < 0.05 for value, chance in overlaps)
    assert all(abs(mask.sparsity - 0.5) < 1e-3 for mask in masks.values())
    assert abs(masks.union.sparsity - 0.5**4) < 0.02


@pytest.mark.parametrize("name", ["lass", "families", "random"])
def test_the_trained_model_has_the_masks_and_their_union(table, name):
    _, runs = table
    masks = load_pair_masks(runs[name] / "pair-masks.safetensors")
    model = runs[name] / "last.pt"
    source = read_source(model)
    assert source.mask == masks.union and source.agrees
    assert stored_pair_masks(source.lottery).digest() == masks.digest()
    toy.assert_pruned(read_checkpoint(model), masks.union)
    assert not (runs[name] / "ticket.safetensors").exists(), "it is read once"
    assert not (runs[name] / "checkpoint_last.pt").exists()
    record = json.loads((runs[name] / "train.json").read_text())
    assert record["updates"] == 12 == source.update
    measured = record["measured"]["last"]
    assert measured["pairs"] == {pair: mask.sparsity for pair, mask in masks.items()}
    assert measured["pruned"] == masks["de-en"].pruned and measured["pair_mask"] == "de-en"
    mean = sum(1 - mask.sparsity_of("encoder.layers.0.fc1.weight") for mask in masks.values()) / 4
    assert measured["matrices"]["encoder.layers.0.fc1.weight"] == pytest.approx(mean)


def test_the_training_starts_from_the_last_dense_weights(table):
    """The snapshot of update 0, which ``keep`` asks for, has them under the union."""
    _, runs = table
    dense = read_source(runs["dense"] / "snapshot_20.safetensors").weights
    for name in ("lass", "random"):
        union = load_pair_masks(runs[name] / "pair-masks.safetensors").union
        start = read_source(runs[name] / "snapshot_0.safetensors")
        assert start.mask == union
        for matrix, weight in dense.items():
            expected = weight.clone()
            if matrix in union:
                expected[~union[matrix]] = 0
            assert torch.equal(start.weights[matrix], expected), matrix


def translate(folder, model, pair, *flags):
    """BLEU of fairseq-generate by hand, and its translations."""
    source, target = pair.split("-")
    words = [folder / "bin", *languages.TASK, "--user-dir", toy.PACKAGE, "--path", model]
    words += ["-s", source, "-t", target, "--beam", 2, "--max-len-b", 20, *flags]
    done = toy.call("fairseq_cli.generate", [*words, "--required-batch-size-multiple", 1], folder)
    found = re.findall(r"^D-(\d+)\t[^\t]*\t(.*)$", done.ok().out, re.M)
    lines = [text for _, text in sorted(found, key=lambda item: int(item[0]))]
    files = {"fr-en": "test.en-fr.en", "de-fr": "test.de-fr.fr"}[pair]
    references = (folder / files).read_text().splitlines()
    return BLEU().corpus_score(lines, [references]).score, lines


@pytest.mark.parametrize(("pair", "flags"), [("fr-en", []), ("de-fr", ["--pair-mask", RULE])])
def test_each_pair_is_scored_under_its_mask(table, tmp_path, pair, flags):
    """As fairseq-generate by hand, and as the exported model of the pair."""
    path, runs = table
    rows = {r["technique"]: r for r in records_of(runs, "score") if r["subset"] == f"test.{pair}"}
    assert set(rows) == {"dense", "lass", "families", "random"}
    out = runs["dense"].parents[1]
    for name, row in rows.items():
        own = flags if name != "dense" else []
        score, lines = translate(path.parent, runs[name] / "last.pt", pair, *own)
        assert row["score"] == score
        assert (out / row["hypotheses"]).read_text().splitlines() == lines
        if name == "dense":
            assert "pair_mask" not in row and row["pruned"] == 0
            continue
        rule = RULE if own else pair
        exported = tmp_path / f"{name}.pt"
        line = ["export", runs[name] / "last.pt", "--pair", rule, "--out", exported]
        assert main([*map(str, line)]) == 0
        assert translate(path.parent, exported, pair) == (score, lines)
        assert row["pair_mask"] == rule
        assert row["pruned"] == inspect_file(exported)["pruned"]


def test_the_records_name_the_sparsity_of_each_pair(table):
    _, runs = table
    models = {row["technique"]: row for row in records_of(runs, "model")}
    assert "pairs" not in models["dense"]
    for name in ("lass", "families", "random"):
        masks = load_pair_masks(runs[name] / "pair-masks.safetensors")
        assert models[name]["pairs"] == {pair: mask.sparsity for pair, mask in masks.items()}


def test_the_report_says_whose_sparsity_it_shows(table, tmp_path):
    path, _ = table
    assert main(["report", str(path.parent / "runs"), "--out", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "report.html").read_text()
    assert "is that of the mask of one pair of languages" in page
    assert "masks of pairs: sides.de-en.en-fr" in page


def test_files_that_are_not_read_any_more_are_deleted(table):
    """Snapshots are kept here by ``keep``; checkpoints and tickets of fine-tunings are not."""
    _, runs = table
    for folder in tuned_runs(runs).values():
        kept = {path.name for path in folder.iterdir() if path.suffix in (".pt", ".safetensors")}
        assert kept == {
            "snapshot_0.safetensors",
            "snapshot_5.safetensors",
            "snapshot_8.safetensors",
        }
    kept = {path.name for path in runs["lass"].glob("*.safetensors")}
    assert kept >= {"pair-masks.safetensors"} and "ticket.safetensors" not in kept
