"""Masks from scores before the first update: of several processes, and of other tasks."""

import pytest
from toy import (
    PRECISIONS,
    assert_pruned,
    assert_same_training,
    drawing,
    half_precision_trains_on_cpu,
    kill_at,
    pretend_cuda,
    train_two,
)

pytest.importorskip("fairseq")

from labelled import Runs as Labelled
from languages import SAMPLING
from languages import Runs as Languages

from fairseq_lottery.formats import read_checkpoint, read_source
from fairseq_lottery.saliency import SALIENCIES
from fairseq_lottery.saliency.synaptic_flow import HAS_MODES
from fairseq_lottery.tickets.folder_check import check_folder

pytestmark = pytest.mark.slow

#: those that rank embeddings, too
SCORES = [name for name, saliency in SALIENCIES.items() if not saliency.reads_inputs]
if not HAS_MODES:
    SCORES.remove("synflow")
ONCE = ("--prune-to", 0.8, "--prune-schedule", "one-shot", "--prune-start", 0)
LAST = "checkpoint_last.pt"


def rounds(name):
    return () if name in ("snip", "grasp") else ("--score-rounds", 4)


@pytest.mark.parametrize("name", SCORES)
def test_two_processes_have_the_mask_of_one(toy, name):
    """Each sums half of the batches; an odd number of them too."""
    batches = ("--score-batches", 5) if SALIENCIES[name].needs_data else ()
    flags = ("--score", name, *ONCE, *rounds(name), *batches)
    more = ("--save-interval-updates", 2, "--update-freq", 2)
    for done in train_two(toy, f"{name}-two", *flags, *more, updates=4):
        done.ok()
    toy.train(f"{name}-one", *flags, *more, updates=4).ok()
    assert toy.mask(f"{name}-two", LAST) == toy.mask(f"{name}-one", LAST)
    assert toy.mask(f"{name}-two", LAST).sparsity == pytest.approx(0.8, abs=1e-3)
    assert not any(found.problems for found in check_folder(toy.path(f"{name}-two")))


def test_a_killed_run_resumes_to_the_bit(toy):
    flags = ("--score", "snip", *ONCE, "--save-interval-updates", 2)
    toy.train("whole", *flags, updates=6).ok()
    toy.train("parts", *flags, updates=6, prelude=lambda: kill_at(4))
    done = toy.train("parts", *flags, updates=6).ok()
    assert "@ 4 updates" in done.out and "is summed over" not in done.out
    assert_same_training(toy.load("whole", LAST), toy.load("parts", LAST))


@pytest.mark.skipif(not half_precision_trains_on_cpu(), reason="half precision needs a GPU")
@pytest.mark.parametrize("precision", ["fp16-memory-efficient", "fp16-flat"])
def test_half_precision_has_the_mask_of_its_masters_in_fp32(toy, precision):
    """The model is rounded to half precision before the run; its scores are those in fp32."""
    flags = ("--score", "grasp", *ONCE, "--snapshot-updates", "0")
    toy.train(precision, *flags, *PRECISIONS[precision], updates=3, prelude=pretend_cuda).ok()
    mask = toy.mask(precision, LAST)
    assert_pruned(toy.load(precision, LAST), mask)
    toy.train("plain", *flags, updates=3).ok()
    both = sum(int((mask[n] & toy.mask("plain", LAST)[n]).sum()) for n in mask)
    assert both > 0.97 * sum(int(keep.sum()) for keep in mask.values())


@pytest.mark.parametrize("name", SCORES)
def test_a_classifier_and_its_encoder(tmp_path_factory, name):
    """The head is not pruned, but the loss and the flow pass through it."""
    runs = Labelled(tmp_path_factory.mktemp("classes"))
    flags = ("--score", name, *ONCE, *rounds(name))
    for kind in ("text", "two"):
        runs.train(kind, kind, *flags, updates=2, prelude=pretend_cuda).ok()
        mask = read_source(runs.path(kind, LAST)).mask
        assert mask.sparsity == pytest.approx(0.8, abs=1e-3)
        assert_pruned(runs.load(kind), mask)
        assert all(mask.pruned_in(n) < mask.size(n) for n in mask)


@pytest.mark.parametrize("name", SCORES)
def test_several_pairs_of_languages(tmp_path_factory, name):
    runs = Languages(tmp_path_factory.mktemp("languages"))
    flags = ("--score", name, *ONCE, *rounds(name), *SAMPLING)
    runs.train("run", 2, *flags).ok()
    mask = read_source(runs.path("run", LAST)).mask
    assert mask.sparsity == pytest.approx(0.8, abs=1e-3)
    assert_pruned(read_checkpoint(runs.path("run", LAST)), mask)


def test_a_shuffled_draw_resumes_and_refuses_another(toy, dense):
    flags = (*drawing(dense, 0.5, "--shuffle-mask"), "--save-interval-updates", 2)
    toy.train("run", *flags, updates=4).ok()
    toy.train("plain", *drawing(dense, 0.5), updates=4).ok()
    masks = [toy.mask(run, LAST) for run in ("run", "plain")]
    assert masks[0] != masks[1]
    assert all(masks[0].pruned_in(name) == masks[1].pruned_in(name) for name in masks[0])
    toy.train("run", *flags, updates=6).ok()
    for run, more in (("run", drawing(dense, 0.5)), ("plain", flags)):
        done = toy.train(run, *more, updates=8)
        assert done.code == 2 and "is from a run with --shuffle-mask" in done.out
