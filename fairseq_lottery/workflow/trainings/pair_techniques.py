"""Masks for each pair of languages in one multilingual model (LaSS, Lin et al. 2021)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options import Ranking, options
from fairseq_lottery.options.pair_rule import BACKENDS
from fairseq_lottery.workflow.trainings.pair_mask import PairMask
from fairseq_lottery.workflow.trainings.techniques import Cells, technique
from fairseq_lottery.workflow.trainings.training import Training
from fairseq_lottery.workflow.trainings.vocabulary import Vocabulary

#: settings of each kind of masks besides ``start`` and ``updates``
_SETTINGS = {
    "tuned": ("groups", "tuning", "lr"),
    "permuted": ("groups", "tuning", "lr"),
    "random": ("groups",),
    "one": (),
}
_STARTS = ("last", "rewind")
#: values of an option that ranks nothing
_UNRANKED = {option.name: option.default for option in options(Ranking)}


@technique("pair-masks", "masks of pairs", has_dense_row=True)
def masks_of_pairs(
    v: Vocabulary,
    masks: str = "tuned",
    groups: Optional[Mapping[str, Sequence[str]]] = None,
    tuning: Optional[int] = None,
    lr: Optional[float] = None,
    start: str = "last",
    updates: Optional[int] = None,
) -> Cells:
    """Train all pairs of languages, each under its own mask (Lin et al. 2021).

    The dense run is fine-tuned on the pairs of each group, at a small constant rate, and each
    fine-tuned run gives the mask of its group. Then all pairs are trained under these masks. Row 0
    trains the dense run further in the same way.

    Args:
        masks: ``tuned`` as above, or a control: the ``permuted`` masks of other groups, ``random``
            masks, or ``one`` mask of the dense run for all pairs.
        groups: name -> pairs that share a mask; by default each pair has its own.
        tuning: updates of each fine-tuning, by default a tenth of the dense run's.
        lr: the constant rate of fine-tunings, see ``Vocabulary.at_constant_rate``.
        start: start weights of the training under the masks: the ``last`` ones of the dense run,
            or those of update t, to ``rewind`` to.
        updates: length of this training, by default that of the dense run.
    """
    _refuse_unfit(v.dense)
    _refuse_settings(masks, start, {"groups": groups, "tuning": tuning, "lr": lr})
    by_name = _groups(v.dense.flags.pairs, groups)
    runs = dict.fromkeys(by_name, v.dense)
    if masks in ("tuned", "permuted"):
        length = tuning or max(1, v.dense.updates // 10)
        runs = {name: _tune(v, pairs, length, lr) for name, pairs in by_name.items()}
    if masks == "permuted":
        runs = _permuted(runs, v.dense.seed)
    drawn = tuple(PairMask(pairs, runs[name]) for name, pairs in by_name.items())
    ranking = {"score": "random"} if masks == "random" else {}
    for sparsity in v.sparsities:
        axes = _UNRANKED if not sparsity else ranking
        if start == "last":
            ticket = v.continued(v.dense, sparsity, **axes)
        else:
            ticket = v.ticket(v.dense, sparsity, v.dense.at(v.rewind_at(sparsity)), **axes)
        if sparsity and masks != "one":
            ticket = replace(ticket, pair_masks=drawn)
        yield sparsity, v.train(ticket, updates=updates)


def _tune(v: Vocabulary, pairs: tuple[str, ...], updates: int, lr: Optional[float]) -> Training:
    """Fine-tune the dense run's last weights on some pairs."""
    last = v.dense.at(v.dense.updates)
    axes = {**_UNRANKED, "reset": "keep", "update_counter": "restart"}
    # nothing is selected by validation, since the last weights are ranked
    flags = v.at_constant_rate(lr).plus("--lang-pairs", ",".join(pairs), "--disable-validation")
    return v.train(v.ticket(v.dense, 0.0, last, **axes), flags, updates)


def _permuted(runs: Mapping[str, Training], seed: int) -> dict[str, Training]:
    """Return the run of another group for each group, in a random order of the seed."""
    if len(runs) < 2:
        raise LotteryError("masks: permuted requires at least two groups; add one to groups")

    def place(name: str) -> str:
        return hashlib.sha256(f"permuted-pair-masks|{seed}|{name}".encode()).hexdigest()

    order = sorted(runs, key=place)
    return {name: runs[after] for name, after in zip(order, [*order[1:], order[0]])}


def _groups(
    trained: tuple[str, ...], groups: Optional[Mapping[str, Sequence[str]]]
) -> dict[str, tuple[str, ...]]:
    """Return name -> pairs of each group, in which each trained pair is once."""
    if groups is None:
        return {pair: (pair,) for pair in trained}
    is_mapping = isinstance(groups, Mapping) and all(
        isinstance(pairs, (list, tuple)) and pairs for pairs in groups.values()
    )
    if not is_mapping:
        raise LotteryError(
            "groups must map names to lists of pairs, such as {to-de: [en-de, fr-de]}"
        )
    grouped: dict[str, str] = {}
    for name, pairs in groups.items():
        for pair in map(str, pairs):
            if pair not in trained:
                raise LotteryError(
                    f"groups: {name} has the pair {pair}, which --lang-pairs lacks; choose from"
                    f" {', '.join(trained)}"
                )
            if grouped.get(pair) == str(name):
                raise LotteryError(f"groups: {name} has the pair {pair} twice; remove one")
            if pair in grouped:
                raise LotteryError(
                    f"groups: {pair} is in {grouped[pair]} and in {name}; remove it from one"
                )
            grouped[pair] = str(name)
    missing = [pair for pair in trained if pair not in grouped]
    if missing:
        raise LotteryError(f"groups lack the pair {missing[0]} of --lang-pairs; add it to a group")
    return {str(name): tuple(map(str, pairs)) for name, pairs in groups.items()}


def _refuse_unfit(dense: Training) -> None:
    """Refuse configurations whose trainings cannot have masks of pairs."""
    flags, task = dense.flags, dense.task
    if "pairs" not in task.data_flags:
        raise LotteryError(
            f"pair-masks requires several pairs of languages, and {task.name} has one; write task:"
            " translation_multi_simple_epoch"
        )
    if not flags.pairs:
        raise LotteryError("pair-masks requires --lang-pairs in train; add it")
    if not {"--langs", "--lang-dict"} & set(flags.names):
        raise LotteryError(
            "pair-masks requires --langs in train, because a fine-tuning on some pairs would infer"
            " fewer languages; add it"
        )
    if dense.processes > 1 and flags.get("--ddp-backend") not in BACKENDS:
        raise LotteryError(
            f"pair-masks with {dense.processes} processes requires --ddp-backend {BACKENDS[0]};"
            " add it to train"
        )


def _refuse_settings(masks: Any, start: Any, others: Mapping[str, Any]) -> None:
    """Refuse unknown values, and settings that a kind of masks does not have."""
    for name, value, known in (("masks", masks, _SETTINGS), ("start", start, _STARTS)):
        if value not in list(known):  # lists are not hashable
            raise LotteryError(f"{name}: {value!r} is unknown; choose one of {', '.join(known)}")
    for name, value in others.items():
        if value is not None and name not in _SETTINGS[masks]:
            raise LotteryError(f"masks: {masks} has no {name}; omit {name}")
