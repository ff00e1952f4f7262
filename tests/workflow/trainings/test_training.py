import hashlib
import json
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import PROPERTY
from workflow.made import dense, plan_of, vocabulary

from fairseq_lottery.workflow.trainings.component_choice import ComponentChoice
from fairseq_lottery.workflow.trainings.draw import Draw
from fairseq_lottery.workflow.trainings.pair_mask import PairMask
from fairseq_lottery.workflow.trainings.pruning_schedule import PruningSchedule
from fairseq_lottery.workflow.trainings.techniques import TECHNIQUES
from fairseq_lottery.workflow.trainings.train_flags import Flags
from fairseq_lottery.workflow.trainings.training import Training

FEW = settings(PROPERTY, max_examples=60)
FLAGS = (
    '{"--arch": "transformer", "--lr": "0.0007", "--lr-scheduler": "inverse_sqrt",'
    ' "--max-tokens": "4096.0", "--max-update": "1000.0", "--optimizer": "masked_adam",'
    ' "--warmup-updates": "100.0"}'
)


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


def of(technique, sparsity, **changes):
    """The training of a technique at a sparsity."""
    return dict(TECHNIQUES[technique].plan(vocabulary(**changes)))[sparsity]


# --- golden values: finished runs are found by these; a change of them repeats all of them ---

DENSE = f'{{"flags": {FLAGS}, "processes": 1, "seed": 1}}'
GROWN = (
    f'{{"flags": {FLAGS}, "growth": {{"end": 800, "every": 20, "sparsity": 0.9, "start": 0}},'
    ' "processes": 1, "seed": 1}'
)


def drawn(ticket):
    return f'{{"flags": {FLAGS}, "processes": 1, "seed": 1, "ticket": {ticket}}}'


SLT_50 = drawn(f'{{"mask_from": "{sha(DENSE)}", "sparsity": 0.5, "start": "{sha(DENSE)}@50"}}')
SLT_90 = drawn(f'{{"mask_from": "{sha(SLT_50)}", "sparsity": 0.9, "start": "{sha(SLT_50)}@50"}}')
CLT_50 = drawn(
    f'{{"mask_from": "{sha(DENSE)}", "reset": "sign", "sparsity": 0.5, "start": "{sha(DENSE)}@50"}}'
)


def test_the_content_of_a_training_is_a_text_that_never_changes():
    assert json.dumps(dense().content, sort_keys=True) == DENSE
    assert json.dumps(of("mp", 0.9).content, sort_keys=True) == GROWN
    assert json.dumps(of("slt", 0.5).content, sort_keys=True) == SLT_50
    assert json.dumps(of("slt", 0.9).content, sort_keys=True) == SLT_90
    assert json.dumps(of("clt", 0.5).content, sort_keys=True) == CLT_50


@pytest.mark.parametrize(
    ("technique", "golden"),
    [
        ("dense", "66e5ebad37b1f26d"),
        ("mp", "67976eb584f5b8bc"),
        ("lt", "f99e713c7301df25"),
        ("slt", "fb728625ac69dce7"),
        ("clt", "50023aaafa4bf468"),
        ("slt-mp", "c46620c5e7b5b7f1"),
        ("mp-slt", "621f50d9d3890322"),
        ("lr-rewind", "e3b2b70507e635ef"),
        ("fine-tune", "e6ab4e9ba5602747"),
        ("one-shot", "8a5e03d93816082a"),
        ("imp", "9a854fa98573e569"),
        ("random", "bf029f2f1ba6599c"),
        ("random-reinit", "a86729f7bb64074a"),
        ("random-sign", "217b7856cda24afe"),
    ],
)
def test_the_fingerprint_of_a_training_never_changes(technique, golden):
    training = dense() if technique == "dense" else of(technique, 0.9)
    assert training.fingerprint[:16] == golden


# --- what decides a fingerprint, and what does not ---

NAMES = ["--lr", "--dropout", "--max-tokens", "--arch", "--fp16", "--update-freq", "--clip-norm"]
NUMBERS = st.sampled_from([0.0, 0.1, 0.0007, 1.0, 2.0, 4096.0, 100000.0, 1e-7])
CHOSEN = st.dictionaries(st.sampled_from(NAMES), NUMBERS, min_size=1)
NOISE = st.lists(
    st.sampled_from(["--log-interval", "--save-interval", "--keep-last-epochs", "--valid-subset",
                     "--best-checkpoint-metric", "--num-workers", "--eval-bleu-args"]),
    unique=True,
)  # fmt: skip
SPELLINGS = (repr, str, "{:e}".format, "{:.10f}".format)


def spelled(chance, values):
    """A line of flags in some order, with numbers in some spelling."""
    items = list(values.items())
    chance.shuffle(items)
    return " ".join(f"{name} {chance.choice(SPELLINGS)(value)}" for name, value in items)


@FEW
@given(CHOSEN, NOISE, st.randoms(use_true_random=False))
def test_order_spelling_and_noise_leave_it(values, noise, chance):
    one, other = (spelled(chance, values) for _ in range(2))
    loud = f"{other} {' '.join(f'{name} 7' for name in noise)}"
    assert dense(train=one).fingerprint == dense(train=loud).fingerprint


@FEW
@given(CHOSEN, CHOSEN)
def test_other_flags_change_it(one, other):
    same = dense(train=spelled(Random(1), one)) == dense(train=spelled(Random(2), other))
    assert same == (one == other)


def test_seed_and_processes_change_it():
    assert dense(seed=1).fingerprint != dense(seed=2).fingerprint
    assert dense().fingerprint != replace(dense(), processes=2).fingerprint


def test_what_an_adopted_run_is_changes_it_and_where_it_lies_does_not():
    run = replace(dense(), adopted=("/runs/dense", "a5" * 32))
    assert run == replace(run, adopted=("/elsewhere", "a5" * 32))
    assert run != dense() and run != replace(run, adopted=("/runs/dense", "b6" * 32))
    assert run.content == {**dense().content, "adopted": "a5" * 32}
    assert run.label == "dense" and run.folder != dense().folder
    drawn = {t.ticket.mask_from for t in of("slt", 0.5, dense=run).ancestors() if t.ticket}
    assert drawn == {run}
    assert of("slt", 0.5, dense=run) != of("slt", 0.5)
    assert of("mp", 0.5, dense=run) == of("mp", 0.5)  # which starts from nothing of it


def test_paths_do_not(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    one = plan_of(tmp_path / "a", "slt", sparsities=[0.5])
    other = plan_of(
        tmp_path / "b", "slt", sparsities=[0.5], data="elsewhere", references="x", out="there"
    )
    assert [t.folder for t in one.trainings] == [t.folder for t in other.trainings]


DRAW = Draw(dense(), dense().at(50), 0.5)
OTHER_DRAWS = {
    "mask_from": dense(seed=2),
    "start": dense().at(0),
    "sparsity": 0.6,
    "takes_mask": True,
    "score": "random",
    "scope": "global",
    "min_density": 0.1,
    "prunable": "attention",
    "keep_dense": "decoder",
    "reset": "sign",
    "alpha": "mean",
    "noise_scale": 0.1,
    "update_counter": "rewind",
    "moments": "keep",
    "components": ComponentChoice(dense(), "heads", 0.5),
    "pair_masks": (PairMask(("en-de",), dense()),),
    "shuffle_mask": True,
}
OTHER_PAIR_MASKS = {"pairs": ("en-de", "en-fr"), "run": dense(seed=2)}
OTHER_CHOICES = {
    "of": dense(seed=2),
    "kind": "units",
    "share": 0.6,
    "way": "steps",
    "strategy": "highest",
    "measure": "l1",
    "per": "token",
    "normalise": True,
    "at_least": 1,
    "subset": "test",
    "types": "enc_dec,enc_self,dec_self",
    "metric": "accuracy",
}
SCHEDULE = PruningSchedule(0.9, 0, 800, 20)
OTHER_SCHEDULES = {
    "sparsity": 0.8,
    "start": 1,
    "end": 700,
    "every": 10,
    "schedule": "linear",
    "score": "random",
    "scope": "global",
    "min_density": 0.1,
    "prunable": "ffn",
    "keep_dense": "encoder",
    "pruner": "set",
    "fraction": 0.2,
    "gradient_updates": 3,
    "threshold": 0.2,
    "penalty": 100.0,
    "score_lr": 0.02,
    "score_batches": 4,
    "score_rounds": 5,
}


def test_every_axis_changes_it():
    first = ({"ticket": DRAW}, {"pruning": SCHEDULE})
    found = {replace(dense(), **axis).fingerprint for axis in first}
    for name, value in OTHER_DRAWS.items():
        found.add(replace(dense(), ticket=replace(DRAW, **{name: value})).fingerprint)
    for name, value in OTHER_SCHEDULES.items():
        found.add(replace(dense(), pruning=replace(SCHEDULE, **{name: value})).fingerprint)
    assert set(OTHER_DRAWS) == set(Draw.__dataclass_fields__)
    assert set(OTHER_SCHEDULES) == set(PruningSchedule.__dataclass_fields__)
    for name, value in OTHER_CHOICES.items():
        other = replace(DRAW, components=replace(OTHER_DRAWS["components"], **{name: value}))
        found.add(replace(dense(), ticket=other).fingerprint)
    assert set(OTHER_CHOICES) == set(ComponentChoice.__dataclass_fields__)
    for name, value in OTHER_PAIR_MASKS.items():
        (mask,) = OTHER_DRAWS["pair_masks"]
        other = replace(DRAW, pair_masks=(replace(mask, **{name: value}),))
        found.add(replace(dense(), ticket=other).fingerprint)
    assert set(OTHER_PAIR_MASKS) == set(PairMask.__dataclass_fields__)
    assert len(found) == 2 + 17 + 18 + 12 + 2


def test_a_parent_changes_all_its_children():
    first = {t.fingerprint for _, t in TECHNIQUES["slt"].plan(vocabulary())}
    other = dense(train="--lr 1 --max-update 1000 --optimizer masked_adam")
    second = {t.fingerprint for _, t in TECHNIQUES["slt"].plan(vocabulary(dense=other))}
    assert len(first) == len(second) == 2 and not first & second


# --- what a training is called ---


@pytest.mark.parametrize(
    ("technique", "label"),
    [
        ("mp", "prune-0.9"),
        ("lt", "rewind0-0.9"),
        ("slt", "rewind50-0.9"),
        ("clt", "sign50-0.9"),
        ("slt-mp", "rewind50-0.6-prune-0.9"),
        ("mp-slt", "rewind50-0.9"),
        ("lr-rewind", "keep50-0.9"),
        ("fine-tune", "keep50-0.9"),
        ("imp", "global-rewind50-0.9"),
        ("random", "random-rewind50-0.9"),
        ("random-reinit", "random50-0.9"),
        ("random-sign", "random-sign50-0.9"),
    ],
)
def test_labels(technique, label):
    training = of(technique, 0.9)
    assert training.label == label
    assert training.folder == f"seed1/{label}-{training.fingerprint[:8]}"


def test_a_score_of_the_users_own_makes_a_folder_name():
    training = replace(dense(seed=3), ticket=replace(DRAW, score="package.module:function"))
    assert training.label == "package.module.function-rewind50-0.5"
    assert training.folder == f"seed3/{training.label}-{training.fingerprint[:8]}"
    assert dense().folder == f"seed1/dense-{sha(DENSE)[:8]}"


# --- parents ---


def test_ancestors_come_parents_first_and_once():
    slt_mp = of("slt-mp", 0.9)
    assert [t.label for t in slt_mp.ancestors()] == [
        "dense", "rewind50-0.5", "rewind50-0.6", "rewind50-0.6-prune-0.9"
    ]  # fmt: skip
    assert [t.label for t in slt_mp.parents] == ["rewind50-0.6"]
    stabilizing = of("slt", 0.9, rewind_source="dense")
    assert [t.label for t in stabilizing.parents] == ["rewind50-0.5", "dense"]


def test_sparsity_is_that_of_the_last_model():
    assert dense().sparsity == 0.0
    assert of("slt", 0.5).sparsity == 0.5
    assert of("slt-mp", 0.9).sparsity == 0.9
    assert of("slt-mp", 0.9).ticket.sparsity == 0.6


def test_trainings_equal_others_by_what_they_are():
    assert Training(Flags.parse("--a 1 --b 2"), 1, 5) == Training(Flags.parse("--b 2 --a 1"), 1, 5)
    assert len({of("slt", 0.5), of("one-shot", 0.5), of("slt-mp", 0.5)}) == 1
    assert dense() != "dense"
