"""Trainings that prune by the distributions uniform and erk, in this process."""

import logging
from functools import partial

import pytest

pytest.importorskip("fairseq")

from matrix.training import Training, configuration, in_this_process
from toy import same

from fairseq_lottery.adapters import group_of
from fairseq_lottery.cli.main import main
from fairseq_lottery.formats import load_ticket
from fairseq_lottery.masks import count_to_prune, full_mask
from fairseq_lottery.masks.distributions import distribute
from fairseq_lottery.tickets.folder_check import check_folder

GRADUAL = ("--prune-to", 0.8, "--prune-end", 10, "--prune-every", 2, "--update-freq", 2)
SET = ("--pruner", "set", "--prune-to", 0.7, "--prune-end", 10, "--prune-every", 2)


@pytest.fixture
def train(trained):
    return partial(trained, to=12, updates=12, watch=True)


def quota_counts(mask, scope):
    """How many weights each matrix has pruned if it is pruned in one step."""
    full = full_mask({name: tuple(keep.shape) for name, keep in mask.items()})
    return distribute(scope, full, mask.prunable - mask.pruned)


@pytest.mark.parametrize("scope", ["uniform", "erk"])
def test_a_schedule_ends_at_the_distribution_and_resumes(train, tmp_path, scope):
    """Every count, every survivor and every zero is checked after each update."""
    to = 0.4 if scope == "uniform" else 0.8
    flags = (*GRADUAL, "--scope", scope, "--prune-to", to)
    whole = train(*flags, folder="whole")
    mask = whole.task.run.mask
    assert whole.watch.looks == 12 and mask.pruned == count_to_prune(to, mask.prunable)
    expected = quota_counts(mask, scope)
    assert all(abs(mask.pruned_in(name) - count) <= 1 for name, count in expected.items())
    train(*flags, to=5)
    parts = train(*flags)
    for part, state in whole.state().items():
        assert same(state, parts.state()[part]), part
    assert [one.problems for one in check_folder(tmp_path / "run")] == [()]


def test_a_schedule_continues_a_ticket_of_its_distribution_only(train, refused, tmp_path):
    train(to=2, folder="dense")
    last = str(tmp_path / "dense" / "checkpoint_last.pt")
    for scope in ("erk", "layer"):
        path = str(tmp_path / f"{scope}.safetensors")
        line = ["ticket", "--mask-from", last, "--sparsity", "0.1", "--scope", scope]
        assert main([*line, "--reset", "keep", "--out", path]) == 0
    flags = ("--scope", "erk", *GRADUAL)
    refused("masks only shrink; choose another scope", "--ticket", path, *flags)
    path = str(tmp_path / "erk.safetensors")
    ticket = load_ticket(path)
    assert any(not ticket.mask.pruned_in(name) for name in ticket.mask)
    training = train("--ticket", path, *flags)
    assert training.task.run.mask.pruned == count_to_prune(0.8, ticket.mask.prunable)
    assert training.task.run.mask.is_subset_of(ticket.mask)


@pytest.mark.parametrize("scope", ["uniform", "erk"])
def test_a_first_mask_is_random_and_of_the_distribution(train, scope):
    flags = (*SET, "--scope", scope, "--prunable", "no-embeddings")
    training = train(*flags, to=6)
    mask = training.task.run.mask
    assert training.watch.exchanged > 0
    counts = {name: mask.pruned_in(name) for name in mask}
    assert counts == quota_counts(mask, scope)
    spread = max(map(mask.sparsity_of, mask)) - min(map(mask.sparsity_of, mask))
    assert (spread > 0.04) == (scope == "erk")


def test_embeddings_stay_dense_under_uniform(train, refused):
    refused("--scope uniform keeps embeddings dense", *GRADUAL, "--scope", "uniform")
    mask = train(*SET, "--prune-to", 0.4, "--scope", "uniform", to=3).task.run.mask
    dense = [name for name in mask if not mask.pruned_in(name)]
    assert dense and {group_of(name) for name in dense} == {"embedding"}


def test_matrices_that_stay_dense_are_logged(toy_data, tmp_path, caplog):
    flags = (*SET, "--prune-to", 0.1, "--scope", "erk", "--max-update", 12)
    cfg = configuration(toy_data, tmp_path / "run", *flags)
    with in_this_process(), caplog.at_level(logging.INFO):
        logging.disable(logging.NOTSET)
        Training(cfg).run(1)
    (line,) = (x.message for x in caplog.records if x.message.startswith("pruned at update 0"))
    assert "; --scope erk keeps all weights of " in line


@pytest.mark.parametrize("scope", ["layer", "erk"])
def test_a_target_that_prunes_no_weight_is_refused(refused, scope):
    sentence = "--prune-to 0.0001 of 2672 prunable weights rounds to 0; use at least 0.0004"
    refused(sentence, *GRADUAL, "--prune-to", 0.0001, "--scope", scope)
