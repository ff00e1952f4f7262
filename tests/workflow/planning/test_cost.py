import json

import pytest
from workflow.made import TRAIN, Work

from fairseq_lottery.workflow.planning.cost import estimate, find_rates

#: one update takes half a second, the model has a million parameters
KNOWN = {"seconds_per_update": 0.5, "parameters": 1_000_000}
MB = 1_000_000


def cost_of(work, jobs=1):
    return estimate(work.configuration, work.stages, work.work, jobs)


def small(folder, *techniques, **settings):
    settings = {"sparsities": [0.5, 0.9], "cost": KNOWN, **settings}
    return Work(folder, *(techniques or ("slt", "mp")), **settings)


def test_trainings_updates_and_hours(tmp_path):
    found = cost_of(small(tmp_path))
    assert (found.trainings, found.updates) == (5, 5000)
    assert found.hours == pytest.approx(5000 * 0.5 / 3600)
    assert found.rates.basis == "cost: in the configuration"


@pytest.mark.parametrize(
    ("resources", "devices"),
    [({"gpus": 8}, 8), ({"gpus": 4, "nodes": 2}, 8), ({"gpus": 0, "processes": 2}, 2)],
)
def test_hours_count_devices(tmp_path, resources, devices):
    executor = "slurm" if "nodes" in resources else "local"
    found = cost_of(small(tmp_path, resources=resources, executor=executor))
    assert found.hours == pytest.approx(2500 * devices / 3600)


@pytest.mark.parametrize(
    ("jobs", "seconds"),
    [
        # dense and the two of SLT are a chain of 1,500 s; MP's two of 500 s fit beside it
        (1, 2500), (2, 1500), (3, 1500), (64, 1500),
    ],
)  # fmt: skip
def test_wall_time(tmp_path, jobs, seconds):
    found = cost_of(small(tmp_path), jobs)
    assert (found.wall, found.critical) == (seconds, 1500)


def test_the_longest_chain_starts_first(tmp_path):
    # two rows of MP first would leave the chain of 1,500 s for the end: 2,000 s
    assert cost_of(small(tmp_path, "mp", "slt"), 2).wall == 1500
    # four of MP and the chain on two: 7 x 500 s are 3.5 rounds
    slt = {"slt": {"sparsities": [0.5, 0.9], "rounds": [0.5, 0.9]}}
    work = small(tmp_path, "mp", slt, sparsities=[0.2, 0.4, 0.6, 0.8])
    assert cost_of(work, 2).wall == 2000


def test_a_counter_that_goes_on_trains_less(tmp_path):
    found = cost_of(small(tmp_path, "lr-rewind"))
    assert found.updates == 1000 + 2 * 950
    assert found.critical == 0.5 * 2900


def test_an_interrupted_training_costs_what_is_left_of_it(tmp_path):
    work = small(tmp_path, "slt")
    work.interrupt(work.stages[0], 400)
    found = cost_of(work)
    assert (found.trainings, found.updates) == (3, 2600)
    assert found.hours == pytest.approx(2600 * 0.5 / 3600)
    assert found.critical == found.wall == 1300


def test_a_model_that_is_chosen_anew_costs_no_update(tmp_path):
    work = small(tmp_path, "mp", keep=["checkpoints"])
    for stage in work.stages:
        if stage.kind == "train":
            work.interrupt(stage, 1000)
    work.finish()
    more = small(tmp_path, "mp", keep=["checkpoints"], evaluate=[{}, {"checkpoint": "last"}],
                 cost={"seconds_per_update": 0.5})  # fmt: skip
    found = cost_of(more)
    assert (found.trainings, found.updates, found.hours) == (3, 0, 0)


def test_what_is_finished_costs_nothing(tmp_path):
    work = small(tmp_path)
    work.finish(*work.stages[:3])  # the dense run
    assert cost_of(work).trainings == 4
    work.finish()
    found = cost_of(work)
    assert (found.trainings, found.updates, found.hours, found.wall) == (0, 0, 0, 0)
    assert (found.peak, found.final) == (0, 0)


# --- the disk ---


def test_disk_by_hand(tmp_path):
    """One training of a million parameters writes three checkpoints of 12 MB."""
    found = cost_of(small(tmp_path, "slt", sparsities=[0.5]))
    # dense: 36 MB while it trains, then two snapshots and a model of 4 MB each; the ticket of
    # 50 % is half a snapshot; then 4 (dense model) + 2 (ticket) + 36 while SLT trains
    assert found.peak == 42 * MB
    assert found.final == 8 * MB


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({}, 3),
        ({"evaluate": [{"checkpoint": "average:3"}, {}]}, 5),
        ({"train": f"{TRAIN} --save-interval-updates 100 --keep-interval-updates 4"}, 6),
        ({"keep": ["checkpoints"]}, 12),
        ({"keep": ["checkpoints"], "train": f"{TRAIN} --save-interval-updates 250"}, 6),
    ],
)
def test_disk_of_checkpoints(tmp_path, settings, count):
    """The last, the best, and numbered ones: a mean's, what flags keep, or one every 100."""
    settings = {"train": f"{TRAIN} --save-interval-updates 100", **settings}
    found = cost_of(small(tmp_path, "mp", sparsities=[0.5], **settings), 2)
    trained, models = 2 * count * 12, 2 * len(settings.get("evaluate", [{}])) * 4
    kept = trained if "keep" in settings else 0
    assert found.final == (models + kept) * MB
    assert found.peak == max(trained * MB, found.final)


def test_disk_of_side_by_side(tmp_path):
    work = small(tmp_path, "mp")
    assert cost_of(work, 1).peak == (36 + 4 + 4) * MB
    assert cost_of(work, 3).peak == 3 * 36 * MB
    assert cost_of(work, 1).final == 3 * 4 * MB


def test_disk_of_what_is_kept(tmp_path):
    def final(keep):
        return cost_of(small(tmp_path, "slt", sparsities=[0.5], keep=keep)).final / MB

    assert final([]) == 8
    assert final(["tickets"]) == 8 + 2
    assert final(["snapshots"]) == 8 + 2 * 3 * 4  # of updates 0, 50 and 1,000
    assert final(["checkpoints"]) == 8 + 2 * 36


def test_a_checkpoint_whose_moments_are_kept_is_deleted_after_the_draw(tmp_path):
    def final(keep):
        kept = {"lr-rewind": {"moments": "keep"}}
        return cost_of(small(tmp_path, kept, sparsities=[0.5], keep=keep)).final / MB

    assert final([]) == 8
    assert final(["checkpoints"]) == 8 + 2 * 36


def test_without_parameters_nobody_knows_the_disk(tmp_path):
    found = cost_of(small(tmp_path, cost={"seconds_per_update": 0.5}))
    assert (found.peak, found.final) == (None, None)
    assert found.wall == 2500


# --- where the figures are from ---


def test_nothing_is_known(tmp_path):
    found = cost_of(small(tmp_path, cost={}))
    assert (found.hours, found.critical, found.wall, found.peak) == (None,) * 4
    assert found.rates.basis is None
    assert (found.trainings, found.updates) == (5, 5000)


def test_a_calibration_is_better_than_the_file(tmp_path):
    work = small(tmp_path)
    (work.out / "calibration.json").write_text(
        json.dumps({"seconds_per_update": 0.1, "parameters": 2 * MB, "updates": 200})
    )
    rates = find_rates(work.configuration, work.stages, work.work.records)
    assert (rates.seconds, rates.parameters) == (0.1, 2 * MB)
    assert rates.basis == "a calibration in this folder"


def test_finished_trainings_are_best(tmp_path):
    work = small(tmp_path, "lr-rewind")
    trains = [stage for stage in work.stages if stage.kind == "train"]
    measured = {"best": {"prunable": 900_000}}
    # 0.2, 0.3 and 0.4 seconds an update
    for stage, seconds in zip(trains, (200.0, 0.3 * 950, 0.4 * 950)):
        work.finish(stage, seconds=seconds, measured=measured)
    generates = [stage for stage in work.stages if stage.kind == "generate"]
    work.finish(*generates[:2], seconds=7.0)
    rates = find_rates(work.configuration, work.stages, work.work.records)
    assert rates.seconds == pytest.approx(0.3)
    assert rates.others == {"generate": 7.0}
    assert rates.parameters == 1_000_000  # the file's: prunable weights are not all
    assert rates.basis == "3 finished trainings"
    unknown = small(tmp_path, "lr-rewind", cost={})
    records = unknown.work.records
    assert find_rates(unknown.configuration, unknown.stages, records).parameters == 900_000
    # what has just been counted knows best
    assert find_rates(unknown.configuration, unknown.stages, records, 5).parameters == 5


def test_other_stages_count_once_they_are_measured(tmp_path):
    work = small(tmp_path, "slt", sparsities=[0.5])
    work.finish(*work.stages[:3], seconds=100.0)
    found = cost_of(work)
    # 0.1 s an update; to do are a draw (not measured), 100 s of training, translating, scoring
    assert found.critical == pytest.approx(100 + 100 + 100)
    assert found.hours == pytest.approx(100 / 3600)
