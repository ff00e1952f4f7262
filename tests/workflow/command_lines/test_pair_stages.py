"""Stages of masks of pairs: their commands and files, what resumes, and what is refused."""

import shlex

import pytest
from workflow.made import PAIRS, Work, configure, plan_of

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.workflow.planning.cost import estimate

ALL = ("en-de", "de-en", "en-fr", "fr-en")
RULE = "sides:de-en,en-fr"
ZERO = {"pair": "de-fr", "references": "test.de-fr.fr", "pair_mask": RULE}
EVALUATE = [*PAIRS["evaluate"], ZERO]
TECHNIQUES = (
    {"pair-masks": {"name": "lass", "tuning": 30}},
    {"pair-masks": {"name": "one", "masks": "one"}},
)


@pytest.fixture
def work(tmp_path):
    """A mask for each pair and one mask for all, at 50 %."""
    settings = {**PAIRS, "evaluate": EVALUATE, "sparsities": [0.5]}
    return Work(tmp_path, *TECHNIQUES, score="distance", **settings)


def tuned(work, pair):
    found = (t for t in work.plan.trainings if t.flags.pairs == (pair,))
    return next(found).folder


def stages(work, folder):
    """The stages of a training before its evaluation, by kind."""
    return {stage.kind: stage for stage in work.stages if stage.folder == folder}


def words(stage):
    """The command line after the module."""
    return shlex.join(stage.command[3:])


def test_masks_are_drawn_then_their_union_then_all_pairs_are_trained(work):
    dense = work.cell("dense", 0.0).training.folder
    folder = work.cell("lass", 0.5).training.folder
    lasts = {pair: f"{tuned(work, pair)}/snapshot_30.safetensors" for pair in ALL}
    own = stages(work, folder)
    masks, last = f"{folder}/pair-masks.safetensors", f"{dense}/snapshot_1000.safetensors"
    assert words(own["masks"]) == (
        "pair-masks --sparsity 0.5 --score distance --scope layer --min-density 0"
        f" --prunable all-matrices --start-from {last} --seed 1 --out {masks} --overwrite"
        f" {' '.join(f'{pair}={file}' for pair, file in lasts.items())}"
    )
    assert own["masks"].needs == (*lasts.values(), last) and own["masks"].leaves == (masks,)
    title = "draw the masks of pairs of movement-masks4-keep1000-0.5, seed 1"
    assert own["masks"].title == title
    assert words(own["draw"]) == (
        f"ticket --mask-from {last} --start-from {last} --mask-file {masks} --reset keep"
        f" --alpha glorot --update-counter restart --moments fresh --seed 1"
        f" --out {folder}/ticket.safetensors --overwrite"
    )
    assert own["draw"].needs == (last, masks)
    line = words(own["train"])
    assert f"--ticket {folder}/ticket.safetensors --pair-masks {masks}" in line
    assert "--lang-pairs en-de,de-en,en-fr,fr-en" in line and "--disable-validation" not in line
    assert own["train"].needs == (f"{folder}/ticket.safetensors", masks)


def test_movement_is_that_of_the_fine_tuning_if_the_counter_rewinds(tmp_path):
    """Survivors keep the last weights, which the fine-tuning started from, and not those of t."""
    settings = {**PAIRS, "sparsities": [0.5], "update_counter": "rewind", "rewind": 400}
    work = Work(tmp_path, *TECHNIQUES, score="distance", **settings)
    dense = work.cell("dense", 0.0).training.folder
    own = stages(work, work.cell("lass", 0.5).training.folder)
    assert f"--start-from {dense}/snapshot_1000.safetensors" in words(own["masks"])
    assert f"{dense}/snapshot_1000.safetensors" in own["masks"].needs
    assert f"--start-from {dense}/snapshot_400.safetensors" in words(own["draw"])


def test_fine_tunings_have_their_pairs_and_no_validation(work):
    for pair in ALL:
        own = stages(work, tuned(work, pair))
        assert "masks" not in own and "--sparsity 0 " in words(own["draw"])
        line = words(own["train"])
        assert f"--lang-pairs {pair} --disable-validation --max-update 30" in line
        assert "--snapshot-updates 30" in line and "--pair-masks" not in line
        assert own["train"].leaves == (f"{tuned(work, pair)}/snapshot_30.safetensors",)


@pytest.mark.parametrize("keep", [[], ["snapshots", "tickets", "checkpoints"]])
def test_every_file_is_left_by_one_earlier_stage(tmp_path, keep):
    kinds = [{"pair-masks": {"name": m, "masks": m}} for m in ("tuned", "permuted", "random")]
    settings = {**PAIRS, "evaluate": EVALUATE, "sparsities": [0.5, 0.8], "keep": keep}
    work = Work(tmp_path, *kinds, {"pair-masks": {"start": "rewind"}}, "slt", **settings)
    seen = []
    for stage in work.stages:
        assert set(stage.needs) <= set(seen)
        seen += stage.leaves
    assert len(set(seen)) == len(seen)
    assert len({stage.name for stage in work.stages}) == len(work.stages)


def test_one_line_of_evaluate_serves_all_models(work):
    """``pair_mask`` reaches only models with masks of pairs; the folders have the same name."""
    name = "best-beam5-lenpen1-de-fr-by-sides.de-en.en-fr"
    for technique, sparsity, is_masked in (("lass", 0.5, True), ("one", 0.5, False),
                                           ("dense", 0.0, False)):  # fmt: skip
        folder = work.cell(technique, sparsity).training.folder
        generate, score = (stages(work, f"{folder}/{name}")[kind] for kind in ("generate", "score"))
        assert ("--pair-mask" in generate.command) == is_masked
        assert ("--pair-mask" in score.command) == is_masked
        assert ("pair_mask" in generate.facts["settings"]) == is_masked
        if is_masked:
            assert f"--pair-mask {RULE}" in shlex.join(generate.command)
            assert f"--pair-mask {RULE}" in shlex.join(score.command)
        own = f"{folder}/best-beam5-lenpen1-en-de"
        assert "--pair-mask" not in stages(work, own)["generate"].command
        line = shlex.join(stages(work, own)["score"].command)
        assert ("--pair-mask en-de" in line) == is_masked


def test_masks_and_snapshots_are_read_until_the_ticket_is_drawn(work):
    """A training that was killed resumes from its checkpoint, which has the masks."""
    folder = work.cell("lass", 0.5).training.folder
    own = stages(work, folder)
    before = [s for s in work.stages if s.folder == work.cell("dense", 0.0).training.folder]
    before += [s for pair in ALL for s in stages(work, tuned(work, pair)).values()]
    work.finish(*before)
    kinds = [kind for kind, where in work.pending if where == folder]
    assert kinds == ["masks", "draw", "train"]
    work.finish(own["masks"], own["draw"])
    for pair in ALL:
        (work.out / tuned(work, pair) / "snapshot_30.safetensors").unlink()
    assert [kind for kind, where in work.pending if where == folder] == ["train"]
    work.interrupt(own["train"], 400)
    for name in ("pair-masks.safetensors", "ticket.safetensors"):
        (work.out / folder / name).unlink()
    assert [kind for kind, where in work.pending if where == folder] == ["train"]
    assert work.work.remaining[own["train"].name] == 600 and not work.work.repeats


def test_a_lost_mask_repeats_the_fine_tuning_that_is_not_kept(work):
    folder = work.cell("lass", 0.5).training.folder
    everything = [s for s in work.stages if s.folder != folder and not s.folder.startswith(folder)]
    work.finish(*everything)
    (work.out / tuned(work, "fr-en") / "snapshot_30.safetensors").unlink()
    repeats = [repeat.stage.folder for repeat in work.work.repeats]
    assert repeats == [tuned(work, "fr-en")]


def test_a_plan_counts_fine_tunings_and_the_bytes_of_masks(tmp_path):
    settings = {**PAIRS, "sparsities": [0.5], "cost": {"seconds_per_update": 1, "parameters": 8e6}}
    work = Work(tmp_path, TECHNIQUES[0], **settings)
    found = estimate(work.configuration, work.stages, work.work, 1)
    assert (found.trainings, found.updates) == (6, 1000 + 4 * 30 + 1000)
    # two models without optimizer, and four masks of one bit for each weight
    assert found.final == 2 * 4 * 8e6 + 4 * 1e6


def test_masks_are_drawn_from_an_adopted_run(tmp_path):
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/checkpoint_last.pt").write_bytes(b"weights")
    random = {"pair-masks": {"masks": "random", "name": "random"}}
    settings = {**PAIRS, "sparsities": [0.5], "adopt": {"dense": "plain"}}
    work = Work(tmp_path, TECHNIQUES[0], random, **settings)
    dense = work.cell("dense", 0.0).training.folder
    (adopted,) = (stage for stage in work.stages if stage.kind == "adopt")
    last = f"{dense}/snapshot_1000.safetensors"
    assert last in adopted.leaves and adopted.facts["adopts"]["updates"] == [1000]
    masks = stages(work, work.cell("random", 0.5).training.folder)["masks"]
    assert masks.needs == (last,)
    for pair in ALL:
        assert stages(work, tuned(work, pair))["draw"].needs == (last,)


def test_a_pattern_gives_its_row(tmp_path):
    plan = plan_of(tmp_path, "pair-masks", **PAIRS, scope="2:4")
    cell = plan.cells[-1]
    assert cell.name == "pair-masks@0.5#1" and cell.training.label == "2of4-masks4-keep1000-0.5"


def test_another_rule_translates_again(work, tmp_path):
    work.finish()
    other = [*PAIRS["evaluate"], {**ZERO, "pair_mask": "union:de-en,en-fr"}]
    settings = {**PAIRS, "evaluate": other, "sparsities": [0.5]}
    changed = Work(tmp_path, *TECHNIQUES, score="distance", **settings)
    kinds = [kind for kind, _ in changed.pending]
    assert kinds.count("generate") == kinds.count("score") == 3 and "train" not in kinds


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"evaluate": [{"pair": "de-fr", "references": "r"}]},
            "lass: the pair de-fr in 'de-fr' has no mask; choose from en-de, de-en, en-fr, fr-en;"
            " or give pair_mask, a rule for its mask",
        ),
        (
            {"evaluate": [{**ZERO, "pair_mask": "union:de-en,en-nl"}]},
            "lass: the pair en-nl in 'union:de-en,en-nl' has no mask",
        ),
        ({"analyze": {}}, "analyze compares models with one mask, and those of lass have a mask"),
        (
            {"techniques": [*TECHNIQUES, {"noise": {"masks": "lass"}}]},
            "lass has a mask for each pair of languages; set masks to imp or slt",
        ),
        (
            {"techniques": [{"pair-masks": {"groups": {"a": ["en-nl"]}}}]},
            "groups: a has the pair en-nl, which --lang-pairs lacks",
        ),
        (
            {"techniques": [{"pair-masks": {"tuning": 0}}]},
            "tuning is 0, expected at least one update",
        ),
    ],
)
def test_refusals_of_plans(tmp_path, settings, sentence):
    settings = {**PAIRS, "sparsities": [0.5], **settings}
    techniques = settings.pop("techniques", TECHNIQUES)
    with pytest.raises(LotteryError, match=r"small\.yaml, line \d+: ") as refused:
        plan_of(tmp_path, *techniques, **settings)
    assert sentence in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"evaluate": [{**ZERO, "pair_mask": "sides:de-en"}]},
            "pair_mask: 'sides:de-en' does not describe a mask; give a pair, or a combination",
        ),
        (
            {"evaluate": [{**ZERO, "pair_mask": "../en-de"}]},
            "evaluate[0].pair_mask is '../en-de', expected a pair of languages, or a combination",
        ),
        (
            {"task": "translation", "evaluate": [{"pair_mask": "en-de"}], "references": "test.de"},
            "translation has one pair of languages; omit pair_mask",
        ),
        (
            {"generate": "--pair-mask en-de"},
            "generate: remove --pair-mask: write pair_mask under evaluate instead",
        ),
        (
            {"train": f"{PAIRS['train']} --pair-masks masks.safetensors"},
            "train: remove --pair-masks: write the technique pair-masks instead",
        ),
    ],
)
def test_refusals_of_keys(tmp_path, settings, sentence):
    with pytest.raises(LotteryError) as refused:
        configure(tmp_path, "slt", **{**PAIRS, **settings})
    assert sentence in str(refused.value)


def test_a_configuration_without_masks_of_pairs_ignores_rules(tmp_path):
    plan = plan_of(tmp_path, "slt", **{**PAIRS, "evaluate": EVALUATE, "sparsities": [0.5]})
    assert [cell.name for cell in plan.cells] == ["dense@0#1", "slt@0.5#1"]
