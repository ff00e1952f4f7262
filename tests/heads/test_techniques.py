import re
from dataclasses import replace

import pytest
from workflow.made import TRAIN, dense, plan_of, vocabulary

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.workflow.techniques import (
    KINDS,
    OWN_NAMES,
    SUBNETWORKS,
    TYPES,
)
from fairseq_lottery.options.axes import SHARED
from fairseq_lottery.workflow.trainings.component_choice import ComponentChoice
from fairseq_lottery.workflow.trainings.pruning_schedule import PruningSchedule
from fairseq_lottery.workflow.trainings.techniques import TECHNIQUES

DENSE = dense()
SHARES = (0.25, 0.5)


def rows(name, **options):
    """Share -> training, of a technique over the small vocabulary."""
    return dict(TECHNIQUES[name].plan(vocabulary(SHARES), **options))


def test_there_is_a_technique_for_each_kind_and_strategy_and_its_rows_say_of_what():
    ours = {name: t.rows for name, t in TECHNIQUES.items() if t.rows != "weights"}
    assert len(OWN_NAMES) == 9 + 2 + 2 + 1
    kinds = {f"{kind}-{own}": kind for kind in ("heads", "units", "blocks") for own in OWN_NAMES}
    searches = [f"{search}-{name}" for search in ("s", "m") for name in SUBNETWORKS]
    assert ours == {**kinds, **dict.fromkeys(searches, "metric")}
    assert len({TECHNIQUES[name].title for name in ours}) == len(ours)


def test_the_names_are_those_of_the_heads_command():
    structured = pytest.importorskip("fairseq_lottery.heads")
    from fairseq_lottery.heads.searches.subnetworks import SUBNETWORKS as FOUND

    # the two that leave one component open take no share
    assert set(SHARED) == set(structured.STRATEGIES) - {"role", "one-left", "all-but-one"}
    assert (KINDS, SUBNETWORKS) == (structured.KINDS, FOUND)


@pytest.mark.parametrize(
    ("then", "reset", "updates", "rate"),
    [
        ("zero-shot", "keep", 0, "7e-4"),
        ("fine-tune", "keep", 1000, "0.000221359"),  # 7e-4 sqrt(100 / 1000)
        ("rewind", "rewind", 1000, "7e-4"),
        ("scratch", "random", 1000, "7e-4"),
    ],
)
def test_what_comes_after_pruning(then, reset, updates, rate):
    found = rows("heads-lowest", then=then)
    assert list(found) == list(SHARES)
    for share, run in found.items():
        drawn = run.ticket
        # t counts only where weights go back to it
        start = DENSE.at(1000 if reset == "keep" else 50)
        assert (drawn.mask_from, drawn.start, drawn.sparsity) == (DENSE, start, 0.0)
        assert (drawn.reset, run.updates, run.pruning) == (reset, updates, None)
        assert (run.row, run.sparsity) == (share, 0.0)
        assert run.flags.get("--lr") == rate
        assert run.flags.get("--max-update") == str(updates)
        assert run.components == ComponentChoice(DENSE, "heads", share, measure="gradient")
        assert run.parents == (DENSE,)
    assert len({run.fingerprint for run in found.values()}) == 2


def test_a_shorter_training_with_a_rate_of_its_own():
    run = rows("heads-random", updates=200, lr=0.01)[0.5]
    assert (run.updates, run.flags.get("--max-update")) == (200, "200")
    assert (run.flags.get("--lr"), run.flags.get("--lr-scheduler")) == ("0.01", "fixed")
    assert run.components == ComponentChoice(DENSE, "heads", 0.5, strategy="random")
    # what is not trained does not depend on how long others are
    assert rows("heads-random", then="zero-shot", updates=200) == rows(
        "heads-random", then="zero-shot"
    )


@pytest.mark.parametrize("then", ["fine-tune", "rewind", "scratch"])
def test_the_weights_of_open_components_are_pruned_besides(then):
    run, plain = (rows("heads-lowest", then=then, **o)[0.5] for o in ({"sparsity": 0.8}, {}))
    assert (run.row, run.sparsity, plain.sparsity) == (0.5, 0.8, 0.0)
    assert replace(run.ticket, sparsity=0.0) == plain.ticket
    assert run.components == plain.components and run.fingerprint != plain.fingerprint
    assert run.label == f"{plain.label}-0.8"
    gates = rows("heads-gates", then=then, sparsity=0.8)[0.5]
    assert gates.ticket.sparsity == 0.8 and gates.components.of.sparsity == 0.0


def test_gates_learn_in_a_training_of_their_own_for_each_row():
    found = rows("heads-gates", then="rewind", learning=400)
    for share, run in found.items():
        gates = run.components.of
        assert run.parents == (DENSE, gates) and gates.parents == (DENSE,)
        assert gates.ticket.start == DENSE.at(1000)
        assert run.components == ComponentChoice(gates, "heads", share, measure="gates")
        assert gates.updates == 400 and gates.components is None
        assert (gates.ticket.reset, gates.ticket.sparsity) == ("keep", 0.0)
        assert gates.flags.get("--criterion") == "label_smoothed_cross_entropy_gates"
        assert gates.flags.get("--open-heads") == f"{100 - 100 * share:g}%"
        assert gates.flags.get("--gate-anneal") == "200"
        assert run.flags.get("--criterion") == DENSE.flags.get("--criterion")
    assert rows("units-gates")[0.25].components.of.flags.get("--open-units") == "75%"


@pytest.mark.parametrize(
    ("then", "goes_on"),
    [("zero-shot", True), ("fine-tune", True), ("rewind", False), ("scratch", False)],
)
def test_what_gates_have_learned_goes_on_unless_it_is_reset(then, goes_on):
    run = rows("heads-gates", then=then)[0.5]
    assert run.ticket.mask_from == (run.components.of if goes_on else DENSE)
    assert run.ticket.start == (run.components.of.at(1000) if goes_on else DENSE.at(50))


def test_searches_and_their_controls_differ_in_what_they_prune_only():
    names = ("heads-good", "heads-bad", "s-good", "s-bad", "m-good", "m-bad")
    runs = {name: rows(name)[0.5] for name in names}
    ways = {name: (run.components.way, run.components.strategy) for name, run in runs.items()}
    assert ways == {
        "heads-good": ("steps", "good"), "heads-bad": ("steps", "bad"),
        "s-good": ("phases", "good"), "s-bad": ("phases", "bad"),
        "m-good": ("magnitude", "good"), "m-bad": ("magnitude", "bad"),
    }  # fmt: skip
    asked = {name: run.components.share_pruned for name, run in runs.items()}
    assert asked == {**dict.fromkeys(names[:2], 0.5), **dict.fromkeys(names[2:])}
    assert len({run.fingerprint for run in runs.values()}) == 6
    assert len({run.flags for run in runs.values()}) == 1


@pytest.mark.parametrize(
    ("technique", "options", "label"),
    [
        ("heads-lowest", {"then": "zero-shot"}, "closed-heads-lowest-0.25"),
        ("heads-lowest", {}, "keep1000-heads-lowest-0.25"),
        ("units-random", {"then": "scratch"}, "random50-units-random-0.25"),
        ("blocks-gates", {"then": "rewind"}, "rewind50-blocks-gates-0.25"),
        ("s-bad", {}, "keep1000-s-bad-0.25"),
        ("m-random", {"then": "rewind"}, "rewind50-m-random-0.25"),
    ],
)
def test_labels(technique, options, label):
    assert rows(technique, **options)[0.25].label == label


@pytest.mark.parametrize(
    ("technique", "options", "said"),
    [
        ("heads-lowest", {"measure": "gates"}, "measure 'gates' is unknown; choose one of gradie"),
        ("units-lowest", {"measure": "confidence"}, "confidence scores heads only; choose another"),
        ("heads-lowest", {"per": "word"}, "there is no importance per 'word'; choose one of t"),
        ("heads-lowest", {"normalise": 1}, "normalise is 1, expected true or false"),
        ("heads-random", {"at_least": -1}, "at_least is -1, expected an integer from 0"),
        (
            "heads-types",
            {"types": ("enc_dec",)},
            "types is ['enc_dec']; list all of [enc_self, dec_self, enc_dec], in",
        ),
        *(
            (
                "heads-types",
                {"types": bad},
                f"types is {list(bad) if isinstance(bad, tuple) else bad}; ",
            )
            for bad in (True, 3, None, dict.fromkeys(TYPES["heads"]), ("enc_dec",) * 3)
        ),
        ("units-types", {"types": "enc_ffn"}, "types is 'enc_ffn'; list all of [enc_ffn, dec_ffn]"),
        ("heads-top", {"then": "zero-shot", "sparsity": 0.5}, "sparsity requires a training"),
        ("heads-top", {"then": "retrain"}, "then: 'retrain' is unknown; choose one of zero-shot"),
    ],
)
def test_refusals(technique, options, said):
    with pytest.raises(LotteryError, match=f"^{re.escape(said)}"):
        rows(technique, **options)


@pytest.mark.parametrize(
    ("technique", "changes", "said"),
    [
        ("heads-random", {"prunable": "ffn"}, "prunable: ffn leaves the heads dense; write all-m"),
        ("heads-random", {"scope": "2:4"}, "scope: 2:4 keeps"),
        ("m-good", {"scope": "2:4"}, "scope: 2:4 keeps"),
        ("m-good", {"prunable": "ffn"}, "m-pruning prunes the smallest weights of all matrices b"),
        ("m-bad", {"keep_dense": "fc1"}, "m-pruning prunes the smallest weights of all matrices b"),
    ],
)
def test_masks_that_do_not_fit(technique, changes, said):
    pruning = replace(PruningSchedule(sparsity=0.0, start=0, end=800, every=20), **changes)
    with pytest.raises(LotteryError, match=f"^{re.escape(said)}"):
        list(TECHNIQUES[technique].plan(vocabulary(SHARES, pruning=pruning)))


def test_several_thens_are_several_techniques_in_a_configuration(tmp_path):
    asked = {"heads-lowest": {"then": ["zero-shot", "fine-tune"], "updates": "20%"}}
    plan = plan_of(tmp_path, asked, {"heads-top": {"title": "top"}}, "slt", sparsities=[0.5])
    assert [cell.name for cell in plan.cells] == [
        "dense@0#1", "heads-lowest-zero-shot@0.5#1", "heads-lowest-fine-tune@0.5#1",
        "heads-top-fine-tune@0.5#1", "slt@0.5#1",
    ]  # fmt: skip
    titles = [request.title for request in plan.configuration.requests]
    assert titles == [
        "heads lowest, zero-shot", "heads lowest, fine-tune", "top, fine-tune", "SLT",
    ]  # fmt: skip
    assert [training.updates for training in plan.trainings] == [1000, 0, 200, 1000, 1000]
    assert (plan.trained, plan.unshared) == (4, 1 + 1 + 2 + 2 + 2)
    assert [components.strategy for components in plan.component_choices] == ["lowest", "top"]


def test_titles_tell_techniques_apart(tmp_path):
    order = ["enc_dec", "enc_self", "dec_self"]
    plan = plan_of(
        tmp_path, "heads-types", {"heads-types": {"types": order, "name": "a"}},
        {"heads-types": {"sparsity": 0.6, "name": "b"}},
        {"heads-types": {"at_least": 1, "name": "c"}}, sparsities=[0.5],
    )  # fmt: skip
    assert [request.title for request in plan.configuration.requests] == [
        "heads types, fine-tune (heads-types-fine-tune)",
        "heads types in the order enc_dec, enc_self, dec_self, fine-tune",
        "heads types, 60 % of the rest pruned, fine-tune",
        "heads types, fine-tune (c-fine-tune)",
    ]  # fmt: skip


def test_what_weights_are_ranked_by_elsewhere_is_of_no_account_to_m_pruning(tmp_path):
    asked = {"m-good": {"then": "rewind"}}
    plans = [
        plan_of(tmp_path, asked, sparsities=[0.9], **more)
        for more in ({}, {"scope": "global", "min_density": 0.1}, {"score": "random"})
    ]
    assert len({plan.cells[1].training.fingerprint for plan in plans}) == 1


def test_a_technique_with_two_measures_has_two_names(tmp_path):
    asked = {"heads-lowest": {"measure": "l1", "name": "by-norm", "title": "by norm"}}
    plan = plan_of(tmp_path, "heads-lowest", asked, sparsities=[0.5])
    assert [cell.name for cell in plan.cells][1:] == [
        "heads-lowest-fine-tune@0.5#1", "by-norm-fine-tune@0.5#1",
    ]  # fmt: skip
    assert [components.measure for components in plan.component_choices] == ["gradient", "l1"]


def test_the_subset_that_is_chosen_on_is_component_of_the_choice(tmp_path):
    plans = [
        plan_of(tmp_path, "heads-lowest", "heads-gates", sparsities=[0.5], train=TRAIN + more)
        for more in ("", " --valid-subset dev,valid")
    ]
    assert [[components.subset for components in plan.component_choices] for plan in plans] == [
        ["valid", "valid"], ["dev", "valid"],  # gates learn on the training set
    ]  # fmt: skip
    one, other = (plan.cells[1].training for plan in plans)
    assert one.fingerprint != other.fingerprint
    assert other.components.scores == "gradient-sentence-dev"


def test_a_rewound_counter_is_of_no_account_to_what_is_not_trained(tmp_path):
    asked = {"heads-top": {"then": "zero-shot"}}
    plan = plan_of(tmp_path, asked, sparsities=[0.5], update_counter="rewind")
    assert [cell.name for cell in plan.cells][1:] == ["heads-top-zero-shot@0.5#1"]


@pytest.mark.parametrize(
    ("technique", "said"),
    [
        ({"heads-top": {"name": "Über"}}, "'Über' is not a name"),
        ({"heads-top": {"then": []}}, "then is empty"),
        ({"heads-top": {"then": ["zero-shot", "later"]}}, "then is 'later', expected one of"),
        ({"heads-top": {"updates": 0}}, "updates is 0, expected"),
        ({"heads-top": {"sparsity": 1}}, "techniques[0].heads-top.sparsity is 1, expected a share"),
        ({"m-good": {"sparsity": 0.5}}, "m-good has no setting 'sparsity'; choose one of"),
        ({"heads-gates": {"learning": "0%"}}, "learning is '0%', expected"),
        ({"heads-top": {"measure": "l1"}}, "heads-top has no setting 'measure'; choose one of"),
        ("heads-up", "technique 'heads-up' is unknown; choose one of mp, lt, slt"),
        ("heads-up", "heads-, units-, blocks- followed by one of lowest, highest, random"),
    ],
)
def test_refused_in_a_configuration(tmp_path, technique, said):
    with pytest.raises(LotteryError, match=re.escape(said)):
        plan_of(tmp_path, technique, sparsities=[0.5])
