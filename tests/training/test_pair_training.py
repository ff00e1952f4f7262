"""A multilingual model under masks of its pairs: training, resuming, translation, export."""

import json
import re

import mask_groups
import pytest
import torch
import toy
from languages import DATA, DECODING, SAMPLING, Runs

from fairseq_lottery.cli.main import main
from fairseq_lottery.formats import load_ticket, read_checkpoint, read_source, untie
from fairseq_lottery.formats.pair_masks import load_pair_masks, save_pair_masks
from fairseq_lottery.masks import PairMasks
from fairseq_lottery.tickets.inspection import inspect_file

pytest.importorskip("fairseq")

pytestmark = pytest.mark.slow

LAST = "checkpoint_last.pt"
#: as ``languages.DATA``, for a training on one pair
ONE = ["--lang-pairs", "en-de"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three masks of 60 %, one of which a family shares, and a training under them."""
    runs = Runs(tmp_path_factory.mktemp("pairs"))
    runs.train("dense", 15, *SAMPLING).ok()
    for seed in (1, 2, 3):
        line = ["--mask-from", runs.path("dense", LAST), "--score", "random", "--seed", str(seed)]
        assert main(["ticket", *line, "--sparsity", "0.6", "--out", ticket(runs, seed)]) == 0
    line = [
        f"en-de={ticket(runs, 1)}",
        f"en-fr={ticket(runs, 2)}",
        f"de-en,fr-en={ticket(runs, 3)}",
    ]
    assert main(["pair-masks", "--out", masks_of(runs), *line]) == 0
    draw_union(runs, masks_of(runs), "union.safetensors")
    runs.train("pairs", 40, *under(runs), *SAVING).ok()
    return runs


#: a pass over the data takes two virtual epochs, each of about ten updates
SAVING = [*SAMPLING, "--virtual-epoch-size", 400, "--save-interval-updates", 5]


def ticket(runs, seed):
    return runs.path(f"ticket{seed}.safetensors")


def masks_of(runs):
    return runs.path("masks.safetensors")


def draw_union(runs, masks, name):
    line = ["--mask-from", runs.path("dense", LAST), "--mask-file", masks]
    assert main(["ticket", *line, "--out", runs.path(name)]) == 0


def under(runs):
    return ["--ticket", runs.path("union.safetensors"), "--pair-masks", masks_of(runs)]


def weights_of(runs, *parts):
    return dict(untie(read_checkpoint(runs.path(*parts))["model"])[0])


def moments_of(runs, *parts):
    optimizer = read_checkpoint(runs.path(*parts))["last_optimizer_state"]
    names = dict(enumerate(optimizer["lottery"]["names"]))
    # 0.12.2's untrained copies of weights have no state
    return {names[number]: state["exp_avg"] for number, state in optimizer["state"].items()}


def test_the_ticket_has_the_union(runs):
    masks, union = load_pair_masks(masks_of(runs)), load_ticket(runs.path("union.safetensors"))
    assert union.mask == masks.union and 0.2 < union.mask.sparsity < 0.23
    assert masks["de-en"] == masks["fr-en"] == load_ticket(ticket(runs, 3)).mask
    dense = weights_of(runs, "dense", LAST)
    name = "decoder.layers.0.fc1.weight"
    assert union.values[name][union.mask[name]].equal(dense[name][union.mask[name]])


def test_weights_that_no_pair_keeps_are_zero(runs):
    masks = load_pair_masks(masks_of(runs))
    source = read_source(runs.path("pairs", LAST))
    assert source.mask == masks.union
    toy.assert_pruned(read_checkpoint(runs.path("pairs", LAST)), masks.union)
    assert main(["inspect", "--check", runs.path("pairs")]) == 0
    assert inspect_file(runs.path("pairs", LAST))["pairs"] == {
        pair: mask.sparsity for pair, mask in masks.items()
    }


def test_an_average_keeps_the_masks_of_one_run_only(runs, capsys):
    best, last = (runs.path("pairs", name) for name in ("checkpoint_best.pt", LAST))
    line = ["average", last, best, "--overwrite", "--out", runs.path("average.pt")]
    assert main(line) == 0
    assert set(inspect_file(runs.path("average.pt"))["pairs"]) == set(
        load_pair_masks(masks_of(runs))
    )
    state = read_checkpoint(last)
    stored = state["task_state"]["lottery"]["pair_masks"]
    stored["pairs"]["en-de"] = stored["pairs"]["en-fr"]
    stored["pairs"]["fr-en"] = 3 - stored["pairs"]["en-fr"] - stored["pairs"]["de-en"]
    torch.save(state, runs.path("other.pt"))
    assert main([*line[:2], runs.path("other.pt"), *line[3:]]) == 2
    assert "have different masks" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags",
    [[], ["--update-freq", 2], [*toy.HALF, "--memory-efficient-fp16"], toy.HALF],
    ids=["fp32", "update-freq", "fp16-memory-efficient", "fp16-flat"],
)
def test_one_pair_alone_trains_as_an_ordinary_run_under_its_mask(runs, flags):
    """Weights that only other pairs keep get no gradient and do not affect the training."""
    if "--fp16" in flags and not toy.half_precision_trains_on_cpu():
        pytest.skip("this torch has no half-precision dropout on a CPU")
    name = "-".join(str(flag).strip("-") for flag in flags) or "fp32"
    prelude = toy.pretend_cuda
    plain = ["--ticket", ticket(runs, 1), *ONE, *flags]
    runs.train(f"{name}-plain", 12, *plain, prelude=prelude).ok()
    runs.train(f"{name}-pair", 12, *under(runs), *ONE, *flags, prelude=prelude).ok()
    own, union = load_ticket(ticket(runs, 1)).mask, load_ticket(runs.path("union.safetensors"))
    plain, pair = (weights_of(runs, f"{name}-{way}", LAST) for way in ("plain", "pair"))
    for matrix, weight in plain.items():
        if matrix not in own:
            assert toy.same(weight, pair[matrix]), matrix
            continue
        assert toy.same(weight[own[matrix]], pair[matrix][own[matrix]]), matrix
        start = union.values[matrix].half().float() if "--fp16" in flags else union.values[matrix]
        assert pair[matrix][~own[matrix]].equal(start[~own[matrix]]), matrix
        assert not weight[own[matrix]].equal(start[own[matrix]])
    if not flags:
        for matrix, moment in moments_of(runs, f"{name}-pair", LAST).items():
            if matrix in own:
                assert moment.any() and not moment[~own[matrix]].any()


def test_masks_that_are_all_the_same_train_as_one_mask(runs):
    """Without dropout, except for the rounding of sums in another order."""
    mask = load_ticket(ticket(runs, 1)).mask
    path = runs.path("same.safetensors")
    save_pair_masks(path, PairMasks({pair: mask for pair in load_pair_masks(masks_of(runs))}))
    flags = ["--ticket", ticket(runs, 1), "--dropout", 0, "--update-freq", 2, *SAMPLING]
    runs.train("same-plain", 10, *flags).ok()
    runs.train("same-pairs", 10, *flags, "--pair-masks", path).ok()
    plain, pairs = (weights_of(runs, f"same-{way}", LAST) for way in ("plain", "pairs"))
    assert all((plain[name] - pairs[name]).abs().max() < 2e-4 for name in plain)
    assert not toy.same(plain, weights_of(runs, "dense", LAST))


def test_masks_of_pairs_are_enforced_in_groups(runs):
    """As on a GPU, in several groups: bit-equal, also with several batches an update."""
    flags = [*under(runs), *SAMPLING, "--update-freq", 2]
    runs.train("matrices", 8, *flags).ok()
    done = runs.train("groups", 8, *flags, prelude=mask_groups.group_masks).ok()
    assert done.out.count("fused product of") > 8 * 2 * 4  # weights and gradients of two pairs
    states = [read_checkpoint(runs.path(name, LAST)) for name in ("matrices", "groups")]
    toy.assert_same_training(*states)


@pytest.mark.parametrize("update", [13, 33])
def test_a_killed_run_resumes_bit_equal(runs, update):
    """Also without the flags of the masks, which the checkpoint has."""
    flags = [*under(runs), *SAVING]
    killed = runs.train(f"killed{update}", 40, *flags, prelude=lambda: toy.kill_at(update))
    assert killed.code == -9, killed.out[-2000:]
    runs.train(f"killed{update}", 40, *(SAVING if update == 33 else flags)).ok()
    whole, resumed = (read_checkpoint(runs.path(n, LAST)) for n in ("pairs", f"killed{update}"))
    toy.assert_same_training(whole, resumed)


@pytest.mark.parametrize("precision", ["fp16-flat", "fp16-no-flatten", "amp"])
def test_half_precision_resumes_bit_equal(runs, precision):
    if not toy.half_precision_trains_on_cpu():
        pytest.skip("this torch has no half-precision dropout on a CPU")
    flags = [*under(runs), *SAMPLING, *toy.PRECISIONS[precision], "--save-interval-updates", 5]
    runs.train(f"{precision}-whole", 12, *flags, prelude=toy.pretend_cuda).ok()
    killed = runs.train(f"{precision}-killed", 12, *flags, prelude=lambda: toy.kill_at(7))
    assert killed.code == -9, killed.out[-2000:]
    runs.train(f"{precision}-killed", 12, *flags, prelude=toy.pretend_cuda).ok()
    states = [read_checkpoint(runs.path(f"{precision}-{way}", LAST)) for way in ("whole", "killed")]
    toy.assert_same_training(*states)
    toy.assert_pruned(states[0], load_pair_masks(masks_of(runs)).union)


def test_two_processes_train_as_one_with_twice_the_batches(runs):
    """Each update has the batches of both processes; only sums are rounded in another order."""
    flags = [*under(runs), *SAMPLING, "--dropout", 0]
    runs.train_two("two", 8, *flags, "--update-freq", 1)
    runs.train("one", 8, *flags, "--update-freq", 2).ok()
    two, one = (weights_of(runs, name, LAST) for name in ("two", "one"))
    assert all((two[name] - one[name]).abs().max() < 2e-4 for name in two)
    toy.assert_pruned(
        read_checkpoint(runs.path("two", LAST)), load_pair_masks(masks_of(runs)).union
    )


def scores(done):
    return dict(re.findall(r"^([HP]-\d+)\t(.*)$", done.ok().out, re.M))


@pytest.mark.parametrize(
    ("pair", "rule"),
    [
        ("en-de", ""),
        ("fr-en", ""),
        ("de-fr", "en-fr"),
        ("de-fr", "union:de-en,en-fr"),
        ("de-fr", "intersection:de-en,en-fr"),
        ("de-fr", "sides:de-en,en-fr"),
    ],
)
def test_a_pair_is_translated_under_its_mask(runs, pair, rule):
    """As by the exported model of the pair, with and without this plugin; and sparsely."""
    flags = ["--pair-mask", rule] if rule else []
    plain = runs.path("plain.pt")
    line = ["export", runs.path("pairs", LAST), "--pair", rule or pair, "--overwrite"]
    assert main([*line, "--out", plain]) == 0
    expected = load_pair_masks(masks_of(runs)).find(pair, rule)
    toy.assert_pruned(read_checkpoint(plain), expected)
    ours = scores(runs.translate(pair, f"pairs/{LAST}", *flags))
    assert len(ours) == 40 and ours == scores(runs.translate(pair, "plain.pt"))
    source, target = pair.split("-")
    own = ["--task", "translation_multi_simple_epoch", *DATA, "-s", source, "-t", target]
    own += ["--path", plain, *DECODING, "--required-batch-size-multiple", 1]
    assert ours == scores(
        toy.call("fairseq_cli.generate", [runs.folder / "bin", *own], runs.folder)
    )
    whole = scores(runs.translate(pair, f"pairs/{LAST}", "--pair-mask", "en-de"))
    assert (whole == ours) == (pair == "en-de")
    small = runs.path("small.safetensors")
    assert main([*line, "--to", "compact", "--out", small]) == 0
    assert inspect_file(small)["sparsity"] == pytest.approx(expected.sparsity)
    assert read_source(small).mask == expected


def test_validation_is_that_of_each_pair_under_its_mask(runs, capsys):
    """fairseq-validate of all pairs, against the exported models."""
    path = runs.path("pairs", LAST)
    flags = [runs.folder / "bin", *runs.task, "--user-dir", toy.PACKAGE, "--path", path]
    done = toy.call("fairseq_cli.validate", [*flags, "--batch-size", 16], runs.folder).ok()
    printed = float(re.findall(r"nll_loss ([\d.]+)", done.out)[-1])
    total = count = 0
    from fairseq_lottery.inference.loaded_model import batches, examples, load_for_evaluation

    for pair in load_pair_masks(masks_of(runs)):
        out = runs.path(f"{pair}.pt")
        assert main(["export", path, "--pair", pair, "--out", out]) == 0
        loaded = load_for_evaluation(out, cpu=True)
        for batch in batches(examples(loaded, f"valid.{pair}", None), 1000, loaded.device):
            loss, tokens, _ = loaded.evaluation.loss(loaded.model, batch)
            total, count = total + loss.item(), count + tokens
    assert printed == pytest.approx(total / count / 0.693147, abs=1e-3)
    log = runs.train("again", 40, *under(runs), *SAVING).ok().out
    logged = float(re.findall(r"valid on 'valid' subset \|.* nll_loss ([\d.]+)", log)[-1])
    assert logged == pytest.approx(printed, abs=2e-2)


def refused(done, sentence):
    assert done.code == 2, done.out[-3000:]
    assert sentence in done.out, done.out[-1500:]


def test_refusals(runs, tmp_path):
    train = runs.train
    lone = str(tmp_path / "lone.safetensors")
    save_pair_masks(lone, PairMasks({"en-de": load_ticket(ticket(runs, 1)).mask}))
    done = train("r1", 5, "--ticket", ticket(runs, 1), "--pair-masks", lone)
    refused(done, "the masks do not have the pair en-fr, only en-de")
    done = train("r2", 5, "--ticket", ticket(runs, 2), "--pair-masks", lone)
    refused(done, "start from a ticket of fairseq-lottery ticket --mask-file")
    refused(train("r3", 5, "--pair-masks", masks_of(runs)), "but the run has no mask")
    refused(train("r4", 5, *under(runs), "--prune-to", 0.9, "--prune-end", 4), "--prune-to cannot")
    refused(train("pairs", 50, *under(runs)[:2], "--pair-masks", lone), "with other masks of pairs")
    refused(train("r5", 5, *under(runs), "--pair-mask", "en-de"), "--pair-mask applies only to")
    refused(train("r6", 5, "--pair-masks", str(tmp_path / "none")), "there is no file")
    refused(train("r7", 5, "--pair-masks", ticket(runs, 1)), "is a ticket, not a file of masks of")
    refused(runs.translate("de-fr", f"pairs/{LAST}"), "do not have the pair de-fr, only de-en, en")
    refused(runs.translate("en-de", f"dense/{LAST}", "--pair-mask", "en-de"), "requires a model wi")


def test_refusals_of_commands(runs, capsys, tmp_path):
    path, out = runs.path("pairs", LAST), str(tmp_path / "o.pt")
    for line, sentence in (
        (
            ["export", path, "--out", out],
            "has masks of the pairs de-en, en-de, en-fr, fr-en; choose",
        ),
        (
            ["export", path, "--pair", "de-fr", "--out", out],
            "the pair de-fr in 'de-fr' has no mask",
        ),
        (
            ["export", runs.path("dense", LAST), "--pair", "en-de", "--out", out],
            "has no masks of p",
        ),
        (
            ["export", ticket(runs, 1), "--pair", "en-de", "--out", f"{out}.safetensors"],
            "--pair requires a checkpoin",
        ),
        (
            ["heads", "importance", path, "--out", out],
            "write the model of one pair with fairseq-lot",
        ),
        (["pair-masks", "en-de=", "--out", out], "en-de= names no pairs; give PAIRS=FILE"),
        (["pair-masks", f"en-de={runs.path('dense', LAST)}"], "is dense and has no mask"),
        (["pair-masks", f"en-de,en-de={ticket(runs, 1)}"], "the pair en-de is given twice"),
        (["pair-masks", f"en-de={ticket(runs, 1)}", "--out", out], "must end in .safetensors"),
    ):
        assert main(line) == 2, line
        assert sentence in capsys.readouterr().err, line
    assert main(["pair-masks", masks_of(runs), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["similarities"]) == 6 and set(found["pairs"]) == set(DATA[3].split(","))
