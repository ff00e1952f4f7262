"""Masks of pairs of languages and their controls: what is trained, and what is refused."""

from dataclasses import replace

import pytest
from workflow.made import PAIRS, dense, vocabulary

from fairseq_lottery.adapters import ADAPTERS, TRANSLATION
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.workflow.trainings.techniques import TECHNIQUES

MULTI = ADAPTERS["translation_multi_simple_epoch"]
DENSE = replace(dense(train=PAIRS["train"]), task=MULTI)
ALL = ("en-de", "de-en", "en-fr", "fr-en")
FAMILIES = {"from-en": ["en-de", "en-fr"], "to-en": ["de-en", "fr-en"]}
UNRANKED = {"score": "magnitude", "scope": "layer", "min_density": 0.0}


def rows(sparsities=(0.5, 0.9), of=DENSE, changes=(), **options):
    v = vocabulary(sparsities, dense=of, **dict(changes))
    return dict(TECHNIQUES["pair-masks"].plan(v, **options))


def masks_of(training):
    return {mask.pairs: mask.run for mask in training.pair_masks}


def test_each_pair_has_the_mask_of_a_run_on_this_pair():
    found = rows(tuning=30, lr=0.001)
    assert list(found) == [0.5, 0.9]
    for sparsity, run in found.items():
        assert run.flags == DENSE.flags and run.updates == 1000
        assert run.ticket.mask_from == DENSE and run.ticket.start == DENSE.at(1000)
        assert (run.ticket.sparsity, run.ticket.reset) == (sparsity, "keep")
        assert run.sparsity == run.row == sparsity and run.first_update == 0
        assert list(masks_of(run)) == [(pair,) for pair in ALL]
        for (pair,), tuned in masks_of(run).items():
            assert tuned.flags.pairs == (pair,) and tuned.updates == 30
            assert tuned.flags.get("--max-update") == "30"
            assert tuned.flags.get("--lr-scheduler") == "fixed"
            assert tuned.flags.get("--lr") == "0.001"
            assert "--disable-validation" in tuned.flags
            assert tuned.ticket.mask_from == DENSE and tuned.ticket.start == DENSE.at(1000)
            assert tuned.sparsity == 0 and not tuned.pair_masks
            assert tuned.label == f"only-{pair}-keep1000-0"
        assert run.label == f"masks4-keep1000-{sparsity:g}"
    assert masks_of(found[0.5]) == masks_of(found[0.9]), "the fine-tunings are shared"
    assert len(list(found[0.5].ancestors())) == 6


def test_the_fine_tuning_has_the_last_rate_and_a_tenth_of_the_updates():
    (run,) = rows([0.5]).values()
    tuned = next(iter(masks_of(run).values()))
    assert tuned.updates == 100
    assert tuned.flags.get("--lr") == f"{7e-4 * (100 / 1000) ** 0.5:.6g}"


def test_a_constant_rate_has_no_flags_of_another_scheduler():
    """``fixed`` rejects --total-num-update, which polynomial_decay needs."""
    decay = "--lr 7e-4 --lr-scheduler polynomial_decay --total-num-update 1000 --power 2"
    train = PAIRS["train"].replace("--lr 7e-4 --lr-scheduler inverse_sqrt", decay)
    (run,) = rows([0.5], of=replace(dense(train=train), task=MULTI), lr=0.001).values()
    assert run.flags.get("--total-num-update") == "1000"
    flags = next(iter(masks_of(run).values())).flags
    assert (flags.get("--lr"), flags.get("--lr-scheduler")) == ("0.001", "fixed")
    assert "--total-num-update" not in flags and "--power" not in flags


def test_groups_share_a_mask():
    (run,) = rows([0.5], groups=FAMILIES).values()
    assert {pairs: tuned.flags.pairs for pairs, tuned in masks_of(run).items()} == {
        ("en-de", "en-fr"): ("en-de", "en-fr"),
        ("de-en", "fr-en"): ("de-en", "fr-en"),
    }
    assert {t.label for t in masks_of(run).values()} == {
        "only-en-de-and1-keep1000-0",
        "only-de-en-and1-keep1000-0",
    }
    assert run.label == "masks2-keep1000-0.5"
    (again,) = rows([0.5], groups={"a": FAMILIES["from-en"], "b": FAMILIES["to-en"]}).values()
    assert again == run, "names do not matter"
    (other,) = rows([0.5], groups={"a": ["en-de", "fr-en"], "b": ["de-en", "en-fr"]}).values()
    assert other != run


def test_permuted_masks_are_the_tuned_masks_of_other_pairs():
    (tuned,) = rows([0.5]).values()
    orders = set()
    for seed in range(1, 9):
        (run,) = rows([0.5], of=replace(DENSE, seed=seed), masks="permuted").values()
        assert run.label == "permuted-masks4-keep1000-0.5"
        sources = {pair: source.flags.pairs[0] for (pair,), source in masks_of(run).items()}
        assert set(sources) == set(sources.values()) == set(ALL)
        assert all(pair != source for pair, source in sources.items())
        orders.add(tuple(sources.values()))
        if seed == 1:
            assert set(run.parents) == set(tuned.parents), "the same fine-tunings"
    assert len(orders) > 2, "the order depends on the seed"


def test_random_masks_are_drawn_from_the_dense_run():
    (run,) = rows([0.5], masks="random", groups=FAMILIES).values()
    assert set(masks_of(run).values()) == {DENSE}
    assert list(masks_of(run)) == [tuple(pairs) for pairs in FAMILIES.values()]
    assert run.ticket.score == "random" and run.label == "random-masks2-keep1000-0.5"
    assert list(run.ancestors()) == [DENSE, run]


def test_one_mask_and_no_mask_are_trained_in_the_same_way():
    (one,) = rows([0.5], masks="one", updates=200).values()
    assert not one.pair_masks and one.label == "keep1000-0.5" and one.updates == 200
    (tuned,) = rows([0.5], updates=200).values()
    assert one.flags == tuned.flags and one.ticket == replace(tuned.ticket, pair_masks=())
    zero = {masks: rows([0.0, 0.5], masks=masks)[0.0] for masks in ("tuned", "one", "random")}
    assert len(set(zero.values())) == 1, "row 0 is one training of the dense model"
    assert zero["one"].label == "keep1000-0" and not zero["one"].pair_masks


def test_the_start_may_be_an_early_update():
    (run,) = rows([0.5], start="rewind").values()
    assert run.ticket.start == DENSE.at(50) and run.ticket.reset == "rewind"
    assert masks_of(run) == masks_of(rows([0.5])[0.5])
    v = vocabulary([0.5], dense=DENSE)
    (one,) = rows([0.5], start="rewind", masks="one").values()
    assert one == dict(TECHNIQUES["one-shot"].plan(v))[0.5]


def test_a_rewound_update_counter_does_not_shorten_fine_tunings():
    (run,) = rows([0.5], changes={"update_counter": "rewind"}).values()
    assert run.first_update == 50 and run.ticket.reset == "keep"
    assert {tuned.first_update for tuned in masks_of(run).values()} == {0}


def test_fine_tunings_do_not_depend_on_the_ranking():
    """A pattern N:M prunes only the masks that are drawn from them."""
    pruning = replace(vocabulary().pruning, scope="2:4")
    (run,) = rows([0.5], changes={"pruning": pruning}).values()
    assert run.ticket.scope == "2:4"
    assert masks_of(run) == masks_of(rows([0.5])[0.5])
    for tuned in masks_of(run).values():
        assert {name: getattr(tuned.ticket, name) for name in UNRANKED} == UNRANKED


def test_equal_masks_of_the_same_runs_are_the_same_training():
    (run,) = rows([0.5]).values()
    (again,) = rows([0.5], groups={pair: [pair] for pair in ALL}).values()
    assert again == run
    assert run.content["ticket"]["pair_masks"] == [
        [*pairs, tuned.fingerprint] for pairs, tuned in masks_of(run).items()
    ]
    (longer,) = rows([0.5], tuning=101).values()
    assert longer != run and longer.ticket.mask_from == run.ticket.mask_from


def flags(change):
    return replace(DENSE, flags=change(DENSE.flags))


@pytest.mark.parametrize(
    ("of", "options", "sentence"),
    [
        (replace(DENSE, task=TRANSLATION), {}, "requires several pairs of languages, and transl"),
        (
            flags(lambda f: f.without(["--langs"])),
            {},
            "requires --langs in train, because a fine-tuning on some pairs would infer fewer",
        ),
        (
            replace(DENSE, processes=2),
            {},
            "pair-masks with 2 processes requires --ddp-backend legacy_ddp; add it to train",
        ),
        (DENSE, {"masks": "best"}, "masks: 'best' is unknown; choose one of tuned, permuted, rand"),
        (DENSE, {"masks": ["one"]}, "masks: ['one'] is unknown"),
        (DENSE, {"start": "first"}, "start: 'first' is unknown; choose one of last, rewind"),
        (DENSE, {"masks": "one", "groups": FAMILIES}, "masks: one has no groups; omit groups"),
        (DENSE, {"masks": "random", "tuning": 9}, "masks: random has no tuning; omit tuning"),
        (DENSE, {"masks": "random", "lr": 0.1}, "masks: random has no lr; omit lr"),
        (DENSE, {"groups": ["en-de"]}, "groups must map names to lists of pairs, such as {to-de"),
        (DENSE, {"groups": {"a": "en-de"}}, "groups must map names to lists of pairs"),
        (DENSE, {"groups": {"a": []}}, "groups must map names to lists of pairs"),
        (
            DENSE,
            {"groups": {**FAMILIES, "to-fr": ["de-fr"]}},
            "groups: to-fr has the pair de-fr, which --lang-pairs lacks; choose from en-de, de-en,",
        ),
        (
            DENSE,
            {"groups": {**FAMILIES, "more": ["en-fr"]}},
            "groups: en-fr is in from-en and in more; remove it from one",
        ),
        (DENSE, {"groups": {"a": FAMILIES["to-en"]}}, "groups lack the pair en-de of --lang-pairs"),
        (
            DENSE,
            {"masks": "permuted", "groups": {"all": list(ALL)}},
            "masks: permuted requires at least two groups; add one to groups",
        ),
        (
            flags(lambda f: f.plus("--lr-scheduler", "cosine")),
            {},
            "the last learning rate of --lr-scheduler cosine is unknown; give the technique its ra",
        ),
        (
            flags(lambda f: f.without(("--lang-pairs",))),
            {},
            "pair-masks requires --lang-pairs in train; add it",
        ),
        (
            DENSE,
            {"groups": {**FAMILIES, "to-en": ["de-en", "fr-en", "de-en"]}},
            "groups: to-en has the pair de-en twice; remove one",
        ),
        (DENSE, {"lr": True}, "lr: True is not a positive number"),
        (DENSE, {"lr": -1}, "lr: -1 is not a positive number"),
        (DENSE, {"lr": "1e-4"}, "lr: '1e-4' is not a positive number; write 1e-4 as 1.0e-4"),
    ],
)
def test_refusals(of, options, sentence):
    with pytest.raises(LotteryError) as refused:
        rows([0.5], of=of, **options)
    assert sentence in str(refused.value)


def test_several_processes_are_accepted_with_their_backend():
    of = replace(flags(lambda f: f.plus("--ddp-backend", "legacy_ddp")), processes=2)
    assert rows([0.5], of=of)[0.5].processes == 2
