"""Trainings that go on from their own save-dir: as the same run, or not at all."""

import logging
import shutil

import pytest

pytest.importorskip("fairseq")

import torch
from matrix.training import ON_CPU, Training, configuration, in_this_process
from safetensors.torch import save_file

from fairseq_lottery.formats import load_ticket, read_checkpoint, read_source, save_ticket
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.components.choice_file import save_choice
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.masks import find_score
from fairseq_lottery.tickets.folder_check import check_folder
from fairseq_lottery.training.start import resumed_pruner

pytestmark = pytest.mark.slow

#: after five updates 79.6 % are pruned, half a percent of the prunable weights short of the end
PRUNING = ("--prune-to", 0.8, "--prune-start", 0, "--prune-end", 6, "--prune-every", 1)
LAST = "checkpoint_last.pt"


@pytest.fixture(scope="module")
def sources(toy_data, tmp_path_factory):
    """Two dense trainings with snapshots of update 0."""
    folder = tmp_path_factory.mktemp("sources")
    for name, seed in (("one", 3), ("two", 4)):
        flags = ("--max-update", 2, "--snapshot-updates", "0", "--seed", seed)
        with in_this_process():
            Training(configuration(toy_data, folder / name, *flags)).run(2).save()
    return folder


@pytest.fixture
def train(toy_data, tmp_path):
    """Train in ``run`` up to an update, and save; each call is a start of the command."""

    def train(*flags, to=8, most=12, **given):
        cfg = configuration(toy_data, tmp_path / "run", "--max-update", most, *flags, **given)
        with in_this_process():
            training = Training(cfg)
            training.watch = None  # it follows one schedule, and some of these change theirs
            return training.run(to).save() if training.update < to else training

    return train


@pytest.fixture
def refused(train, tmp_path, capsys):
    """One sentence ends the start, and the last checkpoint is what it was."""

    def refused(sentence, *flags, **given):
        last = tmp_path / "run" / LAST
        before = last.read_bytes() if last.exists() else None
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            train(*flags, **given)
        printed = [x for x in capsys.readouterr().err.splitlines() if x.startswith("fairseq-lott")]
        assert stopped.value.code == 2
        assert len(printed) == 1 and sentence in printed[0], printed
        assert (last.read_bytes() if last.exists() else None) == before

    return refused


def ours(tmp_path):
    return read_checkpoint(tmp_path / "run" / LAST)["task_state"]["lottery"]


def forget(tmp_path, *names):
    """Make the last checkpoint one of a version that did not keep these entries."""
    path = tmp_path / "run" / LAST
    state = read_checkpoint(path)
    for name in names:
        del state["task_state"]["lottery"][name]
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").rename(path)


# --- schedules --------------------------------------------------------------------------------


def test_a_schedule_one_step_before_its_end_is_not_ended(train, refused):
    run = train(*PRUNING, to=5).task.run
    assert 0 < 0.8 - run.mask.sparsity < 0.005
    refused("was pruning to 0.8 until update 6; give its --prune flags again")
    assert train(*PRUNING).task.run.mask.sparsity == pytest.approx(0.8, abs=1e-3)


def test_a_schedule_that_has_ended_is_still_kept(train, tmp_path):
    """So that the folder can be held against it, however often the run went on without it."""
    train(*PRUNING, to=6)
    stored = ours(tmp_path)
    for update in (8, 10):
        train(to=update)
        assert ours(tmp_path)["growth"] == stored["growth"] is not None
        assert ours(tmp_path)["ranking"] == stored["ranking"] is not None
    assert [one.problems for one in check_folder(tmp_path / "run")] == [()]
    train("--reset-optimizer", to=2)
    assert ours(tmp_path)["growth"] is None, "it says nothing of a counter that starts again"


OTHER_RANKING = {
    "scope": ("--scope", "global"),
    "score": ("--score", "random"),
    "seed": ("--draw-seed", 7),
    "min_density": ("--scope", "global", "--min-density", 0.1),
    "prunable": ("--prunable", "attention"),
    "keep_dense": ("--keep-dense", "decoder.*"),
}


@pytest.mark.parametrize("flags", OTHER_RANKING.values(), ids=OTHER_RANKING)
def test_nothing_ranks_otherwise_in_the_middle_of_a_schedule(train, refused, tmp_path, flags):
    train(*PRUNING, to=3)
    refused(f"is from a run that was pruning with {flags[0]} ", *PRUNING, *flags)
    forget(tmp_path, "ranking")
    train(*PRUNING, *flags)  # an older version did not say, and its runs go on


def test_after_a_schedule_only_the_matrices_stay(train, refused):
    train(*PRUNING, "--prunable", "attention", to=6)
    then = ("--prune-to", 0.9, "--prune-start", 8, "--prune-end", 10, "--prune-every", 1)
    refused("was pruning with --prunable attention, not ffn", *then, "--prunable", "ffn")
    run = train(*then, "--prunable", "attention", "--scope", "global", to=10).task.run
    assert run.mask.sparsity == pytest.approx(0.9, abs=1e-3)


def test_a_score_of_the_users_own_stays_the_same(train, refused, monkeypatch):
    own = (*PRUNING, "--score", "matrix.scores:of_trained")
    train(*own, to=3)
    with monkeypatch.context() as patch:
        patch.setattr(resumed_pruner, "find_score", lambda name: (find_score(name)[0], "another"))
        refused("the source of the score matrix.scores:of_trained", *own)
    train(*own)


def test_summed_gradients_begin_anew_when_the_mask_has_grown(train, tmp_path):
    """A step ranks by what was seen since the one before it."""
    pruning = ("--prune-to", 0.8, "--prune-start", 3, "--prune-end", 6, "--prune-every", 3)
    for update, is_zero in ((2, False), (3, True), (5, False), (6, True)):
        train(*pruning, "--score", "matrix.scores:taylor", to=update)
        gradients = read_checkpoint(tmp_path / "run" / LAST)["last_optimizer_state"]["lottery"]
        assert not any(bool(one.any()) for one in gradients["gradients"]) == is_zero, update


# --- tickets ----------------------------------------------------------------------------------


def drawing(folder, *extra, name="one", sparsity=("--sparsity", 0.6)):
    return ("--mask-from", folder / name / LAST, *sparsity, *extra)


def of_files(sources, tmp_path):
    """Flag -> two files of other content for it, and what a command with it has besides."""
    source = read_source(sources / "one" / LAST)
    anatomy = Anatomy.of(source.shapes, source.architecture)
    for number in (0, 1):
        heads = {"encoder.layers.0.self_attn": [number]}
        save_choice(
            tmp_path / f"parts{number}.json",
            ComponentMask(anatomy, {"heads": heads}, "uniform"),
            {},
        )
        scores = {name: torch.rand(w.shape) for name, w in source.weights.items()}
        save_file(scores, tmp_path / f"scores{number}.safetensors")
    return {
        "--mask-from": (sources / "one" / LAST, sources / "two" / LAST),
        "--start-from": tuple(sources / n / "snapshot_0.safetensors" for n in ("one", "two")),
        "--score-file": tuple(tmp_path / f"scores{n}.safetensors" for n in (0, 1)),
        "--components": tuple(tmp_path / f"parts{n}.json" for n in (0, 1)),
    }


@pytest.mark.parametrize("flag", ["--mask-from", "--start-from", "--score-file", "--components"])
def test_another_file_is_another_run(train, refused, sources, tmp_path, flag):
    first, second = of_files(sources, tmp_path)[flag]
    copy, moved = tmp_path / f"copy{first.suffix}", tmp_path / f"moved{first.suffix}"
    shutil.copy(first, copy)

    def with_file(path):
        other = drawing(sources) if flag != "--mask-from" else ("--sparsity", 0.6)
        return (*other, flag, path)

    mask = train(*with_file(copy), to=2).task.run.mask
    sentence = f"is from a run with {flag} {copy}, not"
    refused(f"{sentence} {second}", *with_file(second))
    refused(f"{sentence} gone.pt", *with_file("gone.pt"))
    if flag != "--mask-from":
        refused(f"{sentence} None", *drawing(sources))
    copy.rename(moved)
    train(*with_file(copy), to=3)  # the same command, and its file is gone
    train(*with_file(moved), to=4)  # the same file in another place
    shutil.copy(second, copy)
    train(*with_file(copy), to=5)  # the same command, whatever has become of the file
    assert train(*with_file(first), to=6).task.run.mask == mask
    forget(tmp_path, "files")
    assert train(*with_file(second), to=7).task.run.mask == mask, "an older version did not say"
    assert train(*with_file(second), to=8).task.run.mask == mask


def test_a_ticket_that_was_drawn_and_one_that_is_given(train, refused, sources, tmp_path):
    train(*drawing(sources), to=2)
    train("--ticket", tmp_path / "run" / "ticket.safetensors", to=3)  # it is the run's own
    given = tmp_path / "ticket.safetensors"
    (tmp_path / "run" / "ticket.safetensors").rename(given)
    shutil.rmtree(tmp_path / "run")
    train("--ticket", given, to=2)
    refused("is from a run with --ticket, but --mask-from", *drawing(sources))
    given.unlink()
    train("--ticket", given, to=3)


def test_a_counter_at_the_end_of_the_run(refused, train, sources, tmp_path):
    """fairseq would train one update more than there are."""
    rewind = drawing(sources, "--reset", "keep", "--update-counter", "rewind")
    for most in (1, 2):
        refused(f"starts at 2, but --max-update {most} ends the run", *rewind, most=most)
    assert not (tmp_path / "run" / LAST).exists()
    train(*rewind, to=3, most=3)
    train(*rewind, to=3, most=2)  # a run that is done stays done


def test_a_prepared_start_is_nothing_without_its_ticket(
    train, refused, toy_data, sources, tmp_path
):
    """Killed between the two: fairseq would train the pruned weights on without a mask."""
    rewind = drawing(sources, "--reset", "keep", "--update-counter", "rewind")
    cfg = configuration(toy_data, tmp_path / "run", "--max-update", 8, *rewind)
    with in_this_process():
        Training(cfg)
    refused("prepared start of a ticket")
    assert train(*rewind).task.run.mask.sparsity == pytest.approx(0.6, abs=1e-2)


@pytest.mark.parametrize("precision", ["fp16 flat", "fp16 not flat", "bf16"])
def test_a_ticket_is_started_from_unrounded(train, sources, tmp_path, precision):
    """The snapshot of its first update is the ticket to the bit, though the model is in halves."""
    if precision not in ON_CPU:
        pytest.skip("this torch has no half-precision dropout on a CPU")
    ticket = tmp_path / "ticket.safetensors"
    train(*drawing(sources), to=1)
    (tmp_path / "run" / "ticket.safetensors").rename(ticket)
    shutil.rmtree(tmp_path / "run")
    train("--ticket", ticket, "--snapshot-updates", "0", to=1, precision=precision)
    values = load_ticket(ticket).values
    started = read_source(tmp_path / "run" / "snapshot_0.safetensors")
    assert started.masters and started.weights.keys() == values.keys()
    assert all(torch.equal(started.weights[name], values[name]) for name in values)
    half = torch.bfloat16 if precision == "bf16" else torch.float16
    assert any(not torch.equal(values[n], values[n].to(half).float()) for n in values)


def test_a_ticket_changed_under_a_run(train, refused, sources, tmp_path):
    train(*drawing(sources), to=1)
    path = tmp_path / "ticket.safetensors"
    ticket = load_ticket(tmp_path / "run" / "ticket.safetensors")
    ticket.record["seed"] = 99
    save_ticket(path, ticket)
    refused("is from a run with another ticket than", "--ticket", path)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_state_of_another_optimizer_is_not_loaded(train, refused, tmp_path, precision):
    """In half precision fairseq compares its wrapper only, and fails on the state inside."""
    pruned = (*PRUNING, "--max-update", 12)
    train(*pruned, to=2, precision=precision)
    said = "was saved with the optimizer masked_adam, not masked_nag; resume"
    refused(said, *pruned, optimizer="masked_nag", precision=precision)
    loss = ("--criterion", "label_smoothed_cross_entropy")
    said = "was saved with the criterion LabelSmoothedCrossEntropyLottery, not LabelSmoothedCross"
    refused(said, *pruned, *loss, precision=precision)
    again = train(*pruned, "--reset-optimizer", to=1, optimizer="masked_nag", precision=precision)
    assert again.update == 1


def test_most_of_a_convolutional_model_is_not_prunable(toy_data, tmp_path, caplog):
    layers = {f"--{side}-layers": "[(8, 3)]" for side in ("encoder", "decoder")}
    sizes = {f"--{name}-embed-dim": 8 for name in ("encoder", "decoder", "decoder-out")}
    cfg = configuration(
        toy_data, tmp_path / "run", *PRUNING, "--max-update", 9,
        model={"--arch": "fconv", **layers, **sizes},
    )  # fmt: skip
    with in_this_process():
        logging.disable(logging.NOTSET)  # which is off meanwhile
        made = Training(cfg)
    total = sum(one.numel() for one in made.task.run.model.parameters())
    prunable = made.task.run.mask.prunable
    line = next(one for one in caplog.records if "are prunable" in one.getMessage())
    assert line.levelname == "WARNING" and 2 * prunable < total
    assert f"{prunable} of the {total} weights of the model are prunable (" in line.getMessage()


# --- batches ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags", [(), ("--update-ordered-indices-seed",), ("--grouped-shuffling",)], ids=str
)
def test_a_later_epoch_is_resumed_with_the_batches_of_an_uninterrupted_run(train, flags):
    def epochs(training, last):
        """The batches of this epoch and the following ones, as fairseq-train asks for them."""
        found, iterator = [], training.epoch
        with in_this_process():
            while iterator.next_epoch_idx <= last:
                batches = iterator.next_epoch_itr(fix_batches_to_gpus=False, shuffle=True)
                found.append([batch["id"].tolist() for batch in batches])
                iterator = training.trainer.get_train_iterator(
                    iterator.next_epoch_idx, load_dataset=False, disable_iterator_cache=False
                )
        return found

    flags = ("--max-tokens", 800, *flags)
    first, second, third = epochs(train(*flags, to=0), 3)
    assert first != second != third
    train(*flags, to=len(first) + len(second), most=100)
    resumed = train(*flags, to=0, most=100)
    assert (resumed.epoch.epoch, resumed.epoch.iterations_in_epoch) == (3, 0)
    assert epochs(resumed, 3) == [third]
