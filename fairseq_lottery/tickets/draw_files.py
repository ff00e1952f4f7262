"""``DrawFiles``: everything that a draw reads from files, read and validated before it computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain
from fairseq_lottery.formats.checkpoints.cut_model import refuse_cut
from fairseq_lottery.formats.container import read_header
from fairseq_lottery.formats.dictionaries import Dictionaries
from fairseq_lottery.formats.source import Source, read_source
from fairseq_lottery.formats.ticket import refuse_other_shapes
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
        dictionaries: those of ``trained``.
        masked: ``--mask-file``, which has a mask of the model.
        initial: ``--initial``, or ``start`` if these are the dense weights of update 0.
        scores: matrix -> scores of ``--score-file``.
        gradients: matrix -> sum of ``--gradients``.
    """

    trained: Source
    start: Source
    dictionaries: Dictionaries
    masked: Optional[Source]
    initial: Optional[Weights]
    scores: Optional[Weights]
    gradients: Optional[Weights]


def read_draw_files(plan: DrawPlan) -> DrawFiles:
    """Read the files of a plan, each once.

    Raises:
        LotteryError: a file is not valid, or does not fit ``--mask-from``.
    """
    trained = read_source(plan.mask_from)
    start = read_source(plan.start_from) if plan.start_from else trained
    for source in (trained, start):
        source.refuse_leaks()
        if source.cut:
            refuse_cut(source.path)
    refuse_other_shapes(start.shapes, trained.shapes, f"--start-from {start.path}")
    dictionaries = trained.find_dictionaries()
    if start.in_file is not None:
        dictionaries.refuse_other(start.in_file, trained.path)
    scores = _tensors(plan.score_file, "--score-file") if plan.score_file else None
    if scores is not None:
        _refuse_rounding(scores, f"--score-file {plan.score_file}")
    return DrawFiles(
        trained=trained,
        start=start,
        dictionaries=dictionaries,
        masked=_masked(plan.mask_file, trained) if plan.mask_file else None,
        initial=_initial(plan.initial, start),
        scores=scores,
        gradients=_tensors(plan.gradients, "--gradients") if plan.gradients else None,
    )


def _masked(path: str, trained: Source) -> Source:
    source = read_source(path)
    if source.mask is None:
        raise LotteryError(f"{path} is dense and has no mask; name a pruned file")
    source.mask.check(trained.shapes)
    return source


def _initial(path: Optional[str], start: Source) -> Optional[Weights]:
    if path is None:
        return start.weights if start.update == 0 and not start.is_pruned else None
    initial = read_source(path)
    refuse_other_shapes(initial.shapes, start.shapes, f"--initial {initial.path}")
    if initial.update not in (0, None) or initial.is_pruned:
        raise LotteryError(
            f"--initial {initial.path} has update {initial.update} or is pruned; give the dense"
            " weights of update 0"
        )
    return initial.weights


def _tensors(path: str, flag: str) -> dict[str, Tensor]:
    if not is_plain(path):
        raise LotteryError(f"{flag} {path} is not a file")
    try:
        read_header(path)
        return load_file(path)
    except (SafetensorError, OSError, RuntimeError, LookupError, TypeError, ValueError) as error:
        raise LotteryError(f"{flag} {path} is not a readable safetensors file ({error})") from error


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
