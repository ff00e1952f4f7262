"""``PairWeights``: a model under the mask of one pair of languages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq_lottery.adapters import TaskAdapter
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.checkpoints.checkpoint_entries import stored_entries
from fairseq_lottery.formats.pair_masks import stored_pair_masks
from fairseq_lottery.masks import PairMasks
from fairseq_lottery.training.optimizers import DeviceMask, zero_pruned_parameters


class PairWeights:
    """The weights of a model under the masks of its pairs.

    Within ``under`` the parameters have the weights of a pair, as if the others did not exist.
    Afterwards they have all weights again, and gradients of the pair's weights were added.

    A mask takes a byte for each weight on the model's device, and a step a copy of the weights.
    """

    def __init__(self, model: nn.Module, masks: PairMasks) -> None:
        masks.union.check({name: tuple(p.shape) for name, p in model.named_parameters()})
        self.masks = masks
        parameters = dict(model.named_parameters())
        self._parameters = {name: parameters[name] for name in masks.union}
        #: number of a mask -> mask of the matrices, on their devices
        self._device_masks: dict[int, DeviceMask] = {}
        self._numbers = {pair: n for n, (_, pairs) in enumerate(masks.groups) for pair in pairs}

    @contextmanager
    def under(self, pair: str) -> Iterator[None]:
        """Give the parameters the weights of a pair; add up gradients of these weights only."""
        mask, parameters = self._device_mask(pair), list(self._parameters.values())
        weights = [parameter.data for parameter in parameters]
        gradients = [parameter.grad for parameter in parameters]
        for parameter in parameters:
            parameter.data = parameter.data.clone()
            parameter.grad = None
        mask.zero_pruned_([parameter.data for parameter in parameters])
        try:
            yield
        finally:
            mask.zero_pruned_([parameter.grad for parameter in parameters])
            for parameter, weight, gradient in zip(parameters, weights, gradients):
                parameter.data = weight
                parameter.grad = _sum(gradient, parameter.grad)

    def _device_mask(self, pair: str) -> DeviceMask:
        number = self._numbers[pair]
        if number not in self._device_masks:
            mask = self.masks[pair]
            self._device_masks[number] = DeviceMask(
                [
                    (parameter, mask[name].to(parameter.device, torch.uint8))
                    for name, parameter in self._parameters.items()
                ]
            )
        return self._device_masks[number]


def _sum(before: Optional[Tensor], gradient: Optional[Tensor]) -> Optional[Tensor]:
    """Return the sum of two gradients, as autograd adds a gradient to an earlier one."""
    if before is None or gradient is None:
        return before if gradient is None else gradient
    return before.add_(gradient)


def masks_of_loaded(task_state: Mapping[str, Any], adapter: TaskAdapter) -> Optional[PairMasks]:
    """Return the masks of pairs in the task state of a checkpoint that is loaded to translate.

    Raises:
        LotteryError: the task does not translate several pairs, or the masks are malformed.
    """
    masks = stored_pair_masks(stored_entries({"task_state": task_state}))
    if masks is not None and adapter.pairs is None:
        raise LotteryError(
            "the model has masks of pairs of languages; use --task"
            " translation_multi_simple_epoch_lottery"
        )
    return masks


def keep_translated_pair(models: Iterable[Any], cfg: Any) -> None:
    """Set weights of models to zero that the mask of the translated pair prunes.

    Args:
        models: models; those with masks of pairs have them as ``pair_masks``.
        cfg: configuration of the task.

    Raises:
        LotteryError: the pair has no mask, or ``--pair-mask`` is malformed or useless.
    """
    for model in models:
        masks = getattr(model, "pair_masks", None)
        if masks is not None:
            pair = f"{cfg.source_lang}-{cfg.target_lang}"
            zero_pruned_parameters(model, masks.find(pair, cfg.pair_mask or ""))
            # official fairseq 0.12.2 copies weights of encoder layers when it loads a state
            nn.Module.load_state_dict(model, model.state_dict(), strict=False)
        elif cfg.pair_mask:
            raise LotteryError(
                "--pair-mask requires a model with masks of pairs of languages; leave it out"
            )
