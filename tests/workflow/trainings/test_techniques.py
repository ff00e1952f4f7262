import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import PROPERTY
from workflow.made import ROWS, dense, vocabulary

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.workflow.trainings.pruning_schedule import PruningSchedule
from fairseq_lottery.workflow.trainings.techniques import TECHNIQUES, load_own

FEW = settings(PROPERTY, max_examples=60)
DENSE = dense()
#: by what a draw or a pruning is told apart; the rest are defaults
AXES = ("scope", "reset", "update_counter", "score", "takes_mask")
PLAIN = {"scope": "layer", "reset": "rewind", "update_counter": "restart", "score": "magnitude",
         "takes_mask": False}  # fmt: skip


def rows(name, sparsities=(0.5, 0.9), options=(), **changes):
    """Sparsity -> training, in the order in which the technique gives them."""
    found = TECHNIQUES[name].plan(vocabulary(sparsities, **changes), **dict(options))
    return dict(found)


def ticket(training, **axes):
    """Whose mask, whose weights at which update, and the draw's sparsity; the axes as expected."""
    drawn = training.ticket
    assert {name: getattr(drawn, name) for name in AXES} == {**PLAIN, **axes}
    return drawn.mask_from, drawn.start.training, drawn.start.update, drawn.sparsity


@pytest.fixture
def own():
    """Forgets techniques that a test registers."""
    before = dict(TECHNIQUES)
    yield
    TECHNIQUES.clear()
    TECHNIQUES.update(before)


def test_names_and_titles():
    """Techniques of examples, which other tests read, are not in the package."""
    own = {n: t for n, t in TECHNIQUES.items() if t.plan.__module__.startswith("fairseq_lottery.")}
    assert {name: t.title for name, t in own.items() if t.rows == "weights"} == {
        "mp": "MP", "lt": "LT", "slt": "SLT", "clt": "CLT", "slt-mp": "SLT-MP",
        "mp-slt": "MP-SLT", "lr-rewind": "LR rewinding", "fine-tune": "fine-tuning",
        "one-shot": "one-shot SLT", "imp": "global IMP", "random": "random mask",
        "random-keep": "random mask, LR rewinding", "zero-shot": "zero-shot",
        "random-zero-shot": "random mask, zero-shot",
        "random-reinit": "random reinit", "random-sign": "random signs",
        "children": "children of update t", "transfer": "mask of", "noise": "noise",
        "shuffled-layers": "shuffled layers", "fresh-weights": "fresh weights",
        "pruned-before": "pruned before fine-tuning", "pair-masks": "masks of pairs",
        "dense-longer": "dense, whole budget", "static": "static random mask", "set": "SET",
        "itop": "RigL-ITOP", "granet": "GraNet", "wanda": "Wanda, fine-tuned",
        "sparsegpt": "SparseGPT, fine-tuned", "shuffled-masks": "shuffled masks",
        "rigl": "RigL", "mp-regrow": "MP with regrowth", "movement": "movement pruning",
        "snip": "SNIP", "force": "FORCE", "grasp": "GraSP", "synflow": "SynFlow",
    }  # fmt: skip
    options = {name: tuple(t.options) for name, t in own.items() if t.options}
    options = {name: found for name, found in options.items() if "then" not in found}
    assert options == {
        "slt-mp": ("switch",), "mp-slt": ("switch",), "fine-tune": ("lr",),
        "imp": ("fraction", "of"), "transfer": ("source", "masks"), "noise": ("scale", "masks"),
        "shuffled-layers": ("masks",), "fresh-weights": ("masks",),
        "lr-rewind": ("moments",), "random-keep": ("moments",),
        "children": ("data_seed",),
        "pair-masks": ("masks", "groups", "tuning", "lr", "start", "updates"),
        "static": ("scope",), "set": ("scope", "fraction"), "movement": ("scope",),
        "rigl": ("scope", "fraction", "gradient_updates"),
        "snip": ("scope", "score_rounds", "score_batches"),
        "force": ("scope", "score_rounds", "score_batches"),
        "itop": ("scope", "fraction", "every", "end"), "granet": ("scope", "fraction"),
        "wanda": ("scope", "lr"), "sparsegpt": ("scope", "lr"), "shuffled-masks": ("masks",),
        "grasp": ("scope", "score_batches"), "synflow": ("scope", "score_rounds"),
    }  # fmt: skip


# --- Brix et al. 2020 ---


def test_mp_grows_one_mask_per_sparsity():
    found = rows("mp", ROWS)
    assert list(found) == list(ROWS)
    for sparsity, run in found.items():
        assert run.ticket is None and run.parents == ()
        assert run.pruning == PruningSchedule(sparsity, 0, 800, 20)
        assert run.flags == DENSE.flags


@pytest.mark.parametrize(
    ("name", "update", "reset"), [("lt", 0, "rewind"), ("slt", 50, "rewind"), ("clt", 50, "sign")]
)
def test_rounds_prune_the_latest_run_and_take_its_own_weights(name, update, reset):
    found = rows(name, ROWS)
    assert list(found) == list(ROWS)
    latest = DENSE
    for sparsity, run in found.items():
        assert ticket(run, reset=reset) == (latest, latest, update, sparsity)
        assert run.pruning is None and run.flags == DENSE.flags
        latest = run


@pytest.mark.parametrize("name", ["lt", "slt", "clt"])
def test_weights_of_the_dense_run_as_in_frankle(name):
    latest = DENSE
    for sparsity, run in rows(name, rewind_source="dense").items():
        reset = "sign" if name == "clt" else "rewind"
        update = 0 if name == "lt" else 50
        assert ticket(run, reset=reset) == (latest, DENSE, update, sparsity)
        latest = run


def test_a_counter_for_all():
    for run in rows("slt", update_counter="rewind").values():
        ticket(run, update_counter="rewind")
    for run in rows("mp", update_counter="rewind").values():
        assert run.ticket is None


def test_rounds_between_rows():
    found = rows("slt", (0.5, 0.9), rounds=(0.2, 0.5, 0.7, 0.9))
    assert list(found) == [0.2, 0.5, 0.7, 0.9]
    assert found[0.9].ticket.mask_from == found[0.7]


def test_slt_mp_switches_after_two_rounds():
    found = rows("slt-mp", ROWS)
    assert list(found) == [0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98]
    assert ticket(found[0.5]) == (DENSE, DENSE, 50, 0.5)
    assert ticket(found[0.6]) == (found[0.5], found[0.5], 50, 0.6)
    for sparsity in ROWS[6:]:
        run = found[sparsity]
        assert ticket(run, takes_mask=True) == (found[0.6], found[0.6], 50, 0.6)
        assert run.pruning == PruningSchedule(sparsity, 0, 800, 20)


def test_slt_mp_switches_elsewhere():
    found = rows("slt-mp", (0.3, 0.5, 0.9), options={"switch": (0.3,)})
    assert list(found) == [0.3, 0.5, 0.9]
    assert ticket(found[0.5], takes_mask=True) == (found[0.3], found[0.3], 50, 0.3)


def test_slt_mp_prunes_from_where_its_counter_goes_on():
    found = rows("slt-mp", ROWS, update_counter="rewind")
    drawn = ticket(found[0.7], takes_mask=True, update_counter="rewind")
    assert drawn == (found[0.6], found[0.6], 50, 0.6)
    assert found[0.7].pruning == PruningSchedule(0.7, 50, 800, 20)
    later = PruningSchedule(0.0, 200, 800, 20)
    found = rows("slt-mp", update_counter="rewind", pruning=later)
    assert found[0.9].pruning == PruningSchedule(0.9, 200, 800, 20)


def test_slt_mp_has_no_update_left_to_prune():
    rows("slt-mp", update_counter="rewind", rewind=799)
    with pytest.raises(LotteryError, match="^pruning would start at update 800, expected before"):
        rows("slt-mp", update_counter="rewind", rewind=800)
    assert rows("slt-mp", rewind=800)[0.9].pruning.start == 0


def test_slt_mp_from_the_dense_weights():
    found = rows("slt-mp", ROWS, rewind_source="dense")
    assert ticket(found[0.7], takes_mask=True) == (found[0.6], DENSE, 50, 0.6)


def test_mp_slt_goes_on_from_the_mask_of_mp():
    found = rows("mp-slt", ROWS)
    assert list(found) == list(ROWS)
    pruned = found[0.6]
    for sparsity in ROWS[:6]:
        assert found[sparsity] == rows("mp", ROWS)[sparsity]
    first = found[0.7].ticket.mask_from
    assert ticket(first, takes_mask=True) == (pruned, pruned, 50, 0.6)
    assert first.pruning is None
    latest = first
    for sparsity in ROWS[6:]:
        assert ticket(found[sparsity]) == (latest, latest, 50, sparsity)
        latest = found[sparsity]


def test_mp_slt_on_the_dense_weights():
    first = rows("mp-slt", ROWS, rewind_source="dense")[0.7].ticket.mask_from
    assert ticket(first, takes_mask=True) == (first.ticket.mask_from, DENSE, 50, 0.6)


# --- other papers, and controls ---


def test_learning_rate_rewinding_keeps_values_and_turns_the_counter_back():
    latest = DENSE
    for sparsity, run in rows("lr-rewind", ROWS).items():
        assert ticket(run, reset="keep", update_counter="rewind") == (latest, latest, 50, sparsity)
        assert run.flags == DENSE.flags
        latest = run


def test_a_rewind_by_sparsity():
    """Movva & Zhao 2020: half of the training in rounds 1 to 6, a fifth from round 7 on."""
    rounds = tuple(1 - 0.8**n for n in range(1, 10))
    later = {"rewind": 500, "later_rewinds": ((0.79, 200),)}
    found = list(rows("lr-rewind", rounds, **later).values())
    axes = {"reset": "keep", "update_counter": "rewind"}
    assert [ticket(run, **axes)[2] for run in found] == [500] * 6 + [200] * 3
    # runs 1 to 6 start at update 500, so round 7 counts from the dense run's update 200; run 7
    # starts there and has it
    assert [run.ticket.start.training for run in found] == [
        DENSE, *found[:5], DENSE, found[6], found[7]
    ]  # fmt: skip
    assert [run.first_update for run in found] == [500] * 6 + [200] * 3
    for name in ("slt", "random", "clt"):  # every run counts from 0 and has every update
        runs = list(rows(name, rounds, **later).values())
        assert [run.ticket.start.update for run in runs] == [500] * 6 + [200] * 3
        assert [run.ticket.start.training for run in runs] == [DENSE, *runs[:-1]]
    assert [run.ticket.start for run in rows("one-shot", (0.5, 0.9), **later).values()] == [
        DENSE.at(500), DENSE.at(200)
    ]  # fmt: skip
    assert [run.ticket.start for run in rows("imp", rounds, **later).values()] == [
        DENSE.at(500)] * 6 + [DENSE.at(200)] * 3  # fmt: skip
    assert {run.ticket.start.update for run in rows("lt", rounds, **later).values()} == {0}


def test_a_random_mask_keeps_trained_values():
    found = rows("random-keep")
    axes = {"score": "random", "reset": "keep", "update_counter": "rewind"}
    assert ticket(found[0.5], **axes) == (DENSE, DENSE, 50, 0.5)
    assert ticket(found[0.9], **axes) == (found[0.5], found[0.5], 50, 0.9)


@pytest.mark.parametrize(("name", "score"), [("zero-shot", "magnitude"),
                                             ("random-zero-shot", "random")])  # fmt: skip
def test_masks_without_training(name, score):
    for counter in ("restart", "rewind"):
        for sparsity, run in rows(name, update_counter=counter).items():
            assert ticket(run, score=score, reset="keep") == (DENSE, DENSE, 1000, sparsity)
            assert run.updates == 0 and run.label.endswith(f"zeroshot-{sparsity:g}")


@pytest.mark.parametrize("name", ["lr-rewind", "random-keep"])
def test_moments_are_kept_on_request_and_change_the_training(name):
    plain, kept = rows(name), rows(name, options={"moments": "keep"})
    assert {run.ticket.moments for run in kept.values()} == {"keep"}
    assert rows(name, options={"moments": "fresh"}) == plain
    assert {run.fingerprint for run in plain.values()}.isdisjoint(
        run.fingerprint for run in kept.values()
    )
    assert kept[0.5].content["ticket"]["moments"] == "keep"
    assert "moments" not in plain[0.5].content["ticket"]
    with pytest.raises(LotteryError, match="^there is no moments 'kept'"):
        rows(name, options={"moments": "kept"})


def test_fine_tuning_keeps_values_at_the_last_rate():
    latest = DENSE
    for sparsity, run in rows("fine-tune", ROWS).items():
        assert ticket(run, reset="keep") == (latest, latest, 50, sparsity)
        latest = run
        # 7e-4 after 100 of warm-up is 7e-4 x sqrt(100 / 1000) at the end
        assert run.flags.number("--lr") == pytest.approx(7e-4 * math.sqrt(0.1), rel=1e-5)
        assert run.flags.get("--lr-scheduler") == "fixed"
        assert "--warmup-updates" not in run.flags
        assert run.flags.get("--max-update") == "1000"


def test_fine_tuning_at_a_rate_of_the_users():
    run = rows("fine-tune", options={"lr": 2e-5})[0.5]
    assert run.flags.get("--lr") == "2e-05"


def test_fine_tuning_does_not_guess_a_last_rate():
    other = dense(train="--optimizer masked_adam --lr 1 --lr-scheduler cosine --max-update 1000")
    with pytest.raises(LotteryError, match="give the technique its rate, as lr: RATE$"):
        rows("fine-tune", dense=other)
    assert len(rows("fine-tune", dense=other, options={"lr": 1e-4})) == 2


def test_a_rate_that_yaml_reads_as_a_text():
    with pytest.raises(LotteryError, match="^lr: '1e-4' is not a positive number; "):
        rows("fine-tune", options={"lr": "1e-4"})


def test_one_shot_draws_everything_from_the_dense_run():
    for sparsity, run in rows("one-shot", ROWS).items():
        assert ticket(run) == (DENSE, DENSE, 50, sparsity)


def test_random_masks_are_drawn_in_rounds_too():
    latest = DENSE
    for sparsity, run in rows("random", ROWS).items():
        assert ticket(run, score="random") == (latest, latest, 50, sparsity)
        latest = run


@pytest.mark.parametrize(
    ("control", "of", "reset"), [("random-reinit", "slt", "random"),
                                 ("random-sign", "clt", "random-sign")],
)  # fmt: skip
def test_controls_have_the_masks_of_what_they_control(control, of, reset):
    controlled = rows(of, ROWS)
    sources = [DENSE, *controlled.values()]
    for source, (sparsity, run) in zip(sources, rows(control, ROWS).items()):
        assert ticket(run, reset=reset) == (source, source, 50, sparsity)
        twin = controlled[sparsity].ticket
        assert (run.ticket.mask_from, run.ticket.sparsity) == (twin.mask_from, twin.sparsity)


def chain(training):
    """A run of IMP and those before it, the first one first."""
    found = []
    while training.ticket is not None:
        found.insert(0, training)
        training = training.ticket.mask_from
    return found


def test_imp_rounds_by_hand():
    # from 0 to 50 %: log 0.5 / log 0.8 = 3.1, so 4 rounds, each keeping 0.5 ** 0.25 = 0.8409;
    # from there to 90 %: log 0.2 / log 0.8 = 7.2, so 8 rounds, each keeping 0.2 ** 0.125 = 0.8178
    found = rows("imp")
    assert len(found) == 12
    first = [0.159104, 0.292893, 0.405396, 0.5]
    second = [0.591117, 0.665630, 0.726563, 0.776393, 0.817142, 0.850465, 0.877716, 0.9]
    assert list(found) == pytest.approx(first + second, abs=2e-6)
    runs = chain(found[0.9])
    assert [run.sparsity for run in runs] == list(found)
    latest = DENSE
    for run in runs:
        assert ticket(run, scope="global") == (latest, DENSE, 50, run.sparsity)
        latest = run


def test_imp_of_exact_powers_takes_no_round_more():
    assert list(rows("imp", (0.2, 0.36))) == [0.2, 0.36]
    assert len(rows("imp", (0.5, 0.75), options={"fraction": 0.5})) == 2


@FEW
@given(
    st.lists(st.integers(1, 99), min_size=1, max_size=5, unique=True),
    st.sampled_from([0.1, 0.2, 0.5]),
)
def test_imp_never_removes_more_than_the_fraction_of_the_rest(percents, fraction):
    sparsities = tuple(sorted(p / 100 for p in percents))
    found = rows("imp", sparsities, options={"fraction": fraction})
    assert set(sparsities) <= set(found)
    left = 1.0
    for sparsity in found:
        share = (left - (1 - sparsity)) / left
        assert 0 < share <= fraction + 1e-6 / left
        left = 1 - sparsity


# --- axes of the configuration ---


def test_scope_and_prunable_set_reach_every_draw():
    axes = {"scope": "global", "min_density": 0.1, "prunable": "no-embeddings", "keep_dense": "fc1",
            "score": "distance"}  # fmt: skip
    pruning = PruningSchedule(0.0, 0, 800, 20, **axes)
    for name in ("slt", "clt", "one-shot", "imp", "slt-mp", "mp-slt"):
        for run in rows(name, ROWS, pruning=pruning).values():
            for part in (run.ticket, run.pruning):
                assert part is None or {n: getattr(part, n) for n in axes} == axes


# --- a user's own ---

OWN = """
from fairseq_lottery.workflow.trainings.techniques import technique

@technique("late", "late LT")
def late(v, share=0.5):
    for sparsity in v.sparsities:
        yield sparsity, v.train(v.ticket(v.dense, sparsity, v.dense.at(round(1000 * share))))
"""


def test_own_techniques(tmp_path, own):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    load_own(path)
    assert TECHNIQUES["late"].title == "late LT"
    assert TECHNIQUES["late"].options == {"share": 0.5}
    assert ticket(rows("late")[0.9]) == (DENSE, DENSE, 500, 0.9)
    assert ticket(rows("late", options={"share": 0.1})[0.9]) == (DENSE, DENSE, 100, 0.9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no file {path}; "),
        ("1 / 0\n", "{path} fails with ZeroDivisionError: division by zero"),
        ("def (:\n", "{path} fails with SyntaxError: invalid syntax"),
    ],
)
def test_own_techniques_that_cannot_be_loaded(tmp_path, own, text, message):
    path = tmp_path / "own.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(LotteryError) as refusal:
        load_own(path)
    assert str(refusal.value).startswith(message.format(path=path))


def test_no_two_techniques_share_a_title():
    titles = [one.title for one in TECHNIQUES.values()]
    assert len(set(titles)) == len(titles)


def test_children_of_an_update_differ_from_slt_in_the_order_of_examples_only():
    """Row 0 is dense: nothing is pruned, and training continues from update t."""
    slt, found = rows("slt", (0.5, 0.9)), rows("children", (0.0, 0.5, 0.9), {"data_seed": 2})
    assert list(found) == [0.0, 0.5, 0.9]
    assert ticket(found[0.0]) == (DENSE, DENSE, 50, 0.0)
    for sparsity, run in found.items():
        assert run.flags == DENSE.flags.plus("--data-seed", 2)
        assert run.content["flags"]["--data-seed"] == "2.0"
        if sparsity:
            assert run.ticket == slt[sparsity].ticket and run.seed == slt[sparsity].seed
            assert run.fingerprint != slt[sparsity].fingerprint
    other = rows("children", (0.0, 0.5, 0.9), {"data_seed": 3})
    assert all(found[s].ticket == other[s].ticket and found[s] != other[s] for s in found)
    assert "--data-seed" not in DENSE.content["flags"]


# --- sparse from the start ---


def test_set_is_one_training_of_its_pruner():
    for sparsity, run in rows("set", [0.5, 0.9], {"scope": "global", "fraction": 0.2}).items():
        schedule = PruningSchedule(sparsity, 0, 800, 20, pruner="set", fraction=0.2, scope="global")
        assert run.pruning == schedule
        assert run.ticket is None and run.parents == () and run.label == f"set-{sparsity:g}"


def test_static_masks_are_drawn_once():
    ((sparsity, run),) = rows("static", [0.9]).items()
    assert (sparsity, run.pruning.start, run.pruning.end) == (0.9, 0, 0)
    assert (run.pruning.score, run.pruning.schedule) == ("random", "one-shot")


def test_scores_of_the_untrained_model_prune_before_the_first_update():
    found = rows("snip", [0.9], {"score_rounds": 4, "score_batches": 8})
    schedule = found[0.9].pruning
    assert (schedule.score, schedule.scope, schedule.schedule) == ("snip", "global", "one-shot")
    assert (schedule.start, schedule.score_rounds, schedule.score_batches) == (0, 4, 8)
    assert found[0.9].label == "snip-0.9" and schedule.is_initial
    assert rows("synflow", [0.9])[0.9].fingerprint != rows("grasp", [0.9])[0.9].fingerprint


@pytest.mark.parametrize(("settings", "message"), [
    ({"fraction": 0.0}, "fraction: 0.0 is not a share in"),
    ({"fraction": 2}, "fraction: 2 is not a share in"),
    ({"fraction": True}, "fraction: True is not a share in"),
    ({"scope": "all"}, "there is no scope 'all'"),
    ({"gradient_updates": -1}, "gradient_updates: -1 is not a number of updates"),
    ({"gradient_updates": 1.0}, "gradient_updates: 1.0 is not a number of updates"),
])  # fmt: skip
def test_settings_of_sparse_techniques_are_checked(settings, message):
    with pytest.raises(LotteryError, match=message):
        rows("rigl", [0.9], settings)


def test_itop_may_exchange_more_seldom_and_until_the_end():
    schedule = rows("itop", [0.9], {"every": 40, "end": 1000})[0.9].pruning
    assert (schedule.start, schedule.every, schedule.end) == (0, 40, 1000)
    with pytest.raises(LotteryError, match="every 800 updates until 800, which is never; set pru"):
        rows("itop", [0.9], {"every": 800})


def test_all_survivors_may_be_exchanged():
    fractions = [rows("granet", [0.9], {"fraction": f})[0.9].pruning.fraction for f in (1, 1.0)]
    assert fractions == [1.0, 1.0] and isinstance(fractions[0], float)


@pytest.mark.parametrize("settings", [{"score_rounds": 0}, {"score_batches": 1.5}])
def test_settings_of_initial_scores_are_checked(settings):
    with pytest.raises(LotteryError, match="is not a positive integer"):
        rows("snip", [0.9], settings)


def test_wanda_prunes_the_dense_run_once_and_trains_at_a_constant_rate():
    own = replace(vocabulary([0.5]), pruning=PruningSchedule(0.0, 0, 800, 20, prunable="ffn"))
    ((sparsity, run),) = TECHNIQUES["wanda"].plan(own, lr=1e-4)
    assert (run.ticket.mask_from, run.ticket.sparsity, run.ticket.reset) == (DENSE, 0.0, "keep")
    assert (run.pruning.score, run.pruning.scope, run.pruning.is_initial) == ("wanda", "row", True)
    assert (run.sparsity, run.flags.get("--lr-scheduler")) == (0.5, "fixed")
    with pytest.raises(LotteryError, match="prunable: no-embeddings"):
        rows("wanda", [0.5], {"lr": 1e-4})


def test_shuffled_masks_of_untrained_models_start_from_update_0():
    snip = TECHNIQUES["snip"].plan
    own = replace(vocabulary([0.5]), plan_of=lambda data, name: snip(vocabulary([0.5])))
    ((_, run),) = TECHNIQUES["shuffled-masks"].plan(own, masks="snip")
    assert run.ticket.shuffle_mask and run.ticket.takes_mask
    assert run.ticket.mask_from.label == "snip-0.5"
    assert (run.ticket.start.training, run.ticket.start.update) == (DENSE, 0)
    assert run.label.endswith("-shuffled")
