"""``DrawFiles``: everything that a draw reads from files, read and validated before it computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import refuse_missing
from fairseq_lottery.formats.checkpoints.optimizer_moments import Moments
from fairseq_lottery.formats.container import is_container, read_tensors
from fairseq_lottery.formats.dictionaries import Dictionaries
from fairseq_lottery.formats.gradients import load_gradients
from fairseq_lottery.formats.model_structure import refuse_other_structure
from fairseq_lottery.formats.pair_masks import is_pair_masks, load_pair_masks
from fairseq_lottery.formats.source import Source, read_source
from fairseq_lottery.formats.ticket import refuse_other_shapes
from fairseq_lottery.masks import find_score, needed_by
from fairseq_lottery.saliency import SALIENCIES
from fairseq_lottery.tickets.draw_plan import DrawPlan
from fairseq_lottery.tickets.resets import Weights

#: double precision represents every integer up to this one
_LARGEST_INTEGER = 2**53


@dataclass(frozen=True)
class DrawFiles:
    """The files of a plan; None where it names none.

    Attributes:
        trained: ``--mask-from``.
        start: ``--start-from``, or ``trained``.
        weights_source: the one of both whose weights the ticket starts from.
        dictionaries: those of ``trained``.
        masked: ``--mask-file``, which has a mask of the model, or masks of its pairs.
        initial: ``--initial``, or ``start`` if these are the dense weights of update 0.
        scores: matrix -> scores of ``--score-file``.
        gradients: matrix -> sum of ``--gradients``.
        moments: moment -> parameter -> tensor of the optimizer; empty for fresh moments.
        moment_numbers: the optimizer's plain numbers, such as ``step``.
    """

    trained: Source
    start: Source
    weights_source: Source
    dictionaries: Dictionaries
    masked: Optional[Source]
    initial: Optional[Weights]
    scores: Optional[Weights]
    gradients: Optional[Weights]
    moments: Moments
    moment_numbers: Mapping[str, Any]


def read_draw_files(plan: DrawPlan) -> DrawFiles:
    """Read the files of a plan, each once.

    Raises:
        LotteryError: a file is not valid, or does not fit ``--mask-from``.
    """
    trained = read_source(plan.mask_from)
    start = read_source(plan.start_from) if plan.start_from else trained
    masked = _read_masked(plan.mask_file, trained) if plan.mask_file else None
    initial = read_source(plan.initial) if plan.initial else None
    weights_source = trained if plan.reset == "keep" else start
    for source in (trained, start):
        source.refuse_untrainable()
    dictionaries = trained.find_dictionaries()
    moments, numbers = weights_source.optimizer_state() if plan.moments == "keep" else ({}, {})
    scores = _read_scores(plan.score_file) if plan.score_file else None
    gradients = _read_gradients(plan, trained) if plan.gradients else None

    if start.own_dictionaries is not None:
        dictionaries.refuse_other(start.own_dictionaries, trained.path)
    refuse_other_structure(
        start.structure, trained.structure, f"--start-from {start.path}", trained.path
    )
    refuse_other_shapes(start.shapes, trained.shapes, f"--start-from {start.path}")
    if initial is not None:
        refuse_other_shapes(initial.shapes, start.shapes, f"--initial {initial.path}")
        if initial.update not in (0, None) or initial.is_pruned:
            raise LotteryError(
                f"--initial {initial.path} has update {initial.update} or is pruned; give the dense"
                " weights of update 0"
            )
    elif start.update == 0 and not start.is_pruned:
        initial = start
    if masked is not None:
        if masked.mask is None:
            raise LotteryError(f"{masked.path} is dense and has no mask; name a pruned file")
        masked.mask.check(trained.shapes)
    return DrawFiles(
        trained=trained,
        start=start,
        weights_source=weights_source,
        dictionaries=dictionaries,
        masked=masked,
        initial=initial.weights if initial is not None else None,
        scores=scores,
        gradients=gradients,
        moments=moments,
        moment_numbers=numbers,
    )


def _read_masked(path: str, trained: Source) -> Source:
    """Read a file with a mask; of masks of pairs of languages, their union counts."""
    refuse_missing(path)
    if not is_pair_masks(path):
        return read_source(path)
    union = load_pair_masks(path).union
    return Source(path, "file", {}, None, True, union, {}, None, trained.adapter)


def _read_scores(path: str) -> Weights:
    """Read a file of scores; files of this package have none."""
    flag = f"--score-file {path}"
    if is_container(path):
        raise LotteryError(
            f"{flag} was written by fairseq-lottery and has no scores; give sums of"
            " fairseq-lottery gradients as --gradients, with a --score that reads them"
        )
    scores = read_tensors(path, "--score-file")
    _refuse_rounding(scores, flag)
    return scores


def _read_gradients(plan: DrawPlan, trained: Source) -> Weights:
    """Read the file of ``--gradients``; refuse one that the draw does not use."""
    saliency = SALIENCIES.get(plan.score)
    user = f"--score {plan.score}"
    is_used = "gradient" in needed_by(find_score(plan.score)[0])
    if plan.mask_file or plan.score_file:
        user, is_used = "--mask-file" if plan.mask_file else "--score-file", False
    if not is_used or (saliency is not None and not saliency.needs_data):
        raise LotteryError(f"{user} does not read --gradients; leave --gradients out")
    statistic = saliency.statistic if saliency and saliency.reads_file else "gradient"
    assert plan.gradients is not None
    return load_gradients(plan.gradients, statistic, trained.shapes, trained.digest())


def _refuse_rounding(scores: Mapping[str, Tensor], flag: str) -> None:
    """Refuse scores that fp32, in which scores are compared, cannot represent exactly."""
    for name, tensor in scores.items():
        if tensor.dtype in (torch.float16, torch.bfloat16, torch.float32):
            continue
        wide = tensor.double()
        is_exact = (tensor.float().double() == wide) | wide.isnan()
        if not tensor.is_floating_point():
            is_exact &= wide.abs() <= _LARGEST_INTEGER
        if not bool(is_exact.all()):
            raise LotteryError(
                f"{flag}: {str(tensor.dtype)[6:]} scores of {name} are not exact in float32; write"
                " ranks or float32 scores"
            )
