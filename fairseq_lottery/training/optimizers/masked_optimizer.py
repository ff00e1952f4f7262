"""Mixin with which fairseq's optimizers keep pruned weights at zero."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, Callable, Optional

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.training.optimizers.device_mask import DeviceMask, zero_pruned_
from fairseq_lottery.training.optimizers.master_tensors import MasterTensors, unwrap


class MaskedOptimizer:
    """Mixin for a fairseq optimizer.

    In every precision, fairseq builds ``--optimizer`` around the weights that are really updated
    (its own fp32 masters in half precision), calls ``clip_grad_norm`` before every ``step``, and
    saves ``state_dict``. So this mixin

    * zeroes gradients of pruned weights before their norm is computed,
    * sets pruned weights to zero after every step (their optimizer state stays zero, since it
      starts at zero and receives zero gradients),
    * sums gradients for scores and pruners, also of pruned weights if requested,
    * calls ``before_step`` with gradients of all weights, for scores that a pruner learns,
    * saves and restores the fp32 masters of a half-precision run.

    Adafactor factors its second moments by row and column, so no entry belongs to one weight.
    """

    #: tensors under the mask, and their mask
    _masked: Sequence[Tensor] = ()
    _mask = DeviceMask(())
    _bound: Optional[MasterTensors] = None
    #: names of the parameters whose state was loaded, in order
    _stored_names: Sequence[str] = ()
    #: whether ``load_state_dict`` loaded fp32 masters
    masters_restored = False
    #: whether a step followed the last norm; amp skips steps with infinite gradients
    stepped = False
    _save_masters = True
    _gradients: Optional[list[Tensor]] = None
    #: whether gradients of pruned weights are summed too
    _is_dense = False
    #: called before each step while gradients of pruned weights are not zero, with the factor by
    #: which gradients are to be multiplied
    before_step: Optional[Callable[[float], None]] = None
    _loaded_gradients: Optional[list[Tensor]] = None
    _loaded_dense = False

    def bind(self, tensors: MasterTensors, save_masters: bool) -> None:
        """Assign names to the optimizer's tensors.

        Args:
            tensors: tensors of the optimizer by name.
            save_masters: whether to write fp32 masters into checkpoints.

        Raises:
            LotteryError: the loaded state has other names or another order of parameters; torch and
                fairseq compare neither.
        """
        names = tensors.names if self._stored_names else ()
        for stored, name in zip_longest(self._stored_names, names):
            if stored != name:
                raise LotteryError(
                    f"the checkpoint's optimizer state has {stored or 'nothing'}, expected"
                    f" {name or 'nothing'}; resume with --reset-optimizer"
                )
        self._bound, self._save_masters = tensors, save_masters

    def accumulate_gradients(self, dense: bool = False) -> list[Tensor]:
        """Sum the gradients of every update from now on, and return the sums.

        Sums are in fp32, because a sum in half precision stops changing after some hundred updates.

        Args:
            dense: whether to sum gradients of pruned weights, too. They are scaled and clipped like
                the others, but do not enter the norm; NaN and infinity count as zero.
        """
        self._is_dense = dense
        if self._gradients is None:
            # loaded sums are usable only if they cover the same weights
            loaded = self._loaded_gradients if self._loaded_dense == dense else None
            self._gradients = loaded or [
                torch.zeros_like(p.data, dtype=torch.float32) for p in self._tensors()
            ]
        return self._gradients

    @property
    def reads_dense_gradients(self) -> bool:
        """Whether gradients of pruned weights are summed, or scores are learned from them."""
        is_summed = self._gradients is not None and self._is_dense
        return is_summed or self.before_step is not None

    @property
    def summed_gradients(self) -> Optional[list[Tensor]]:
        """The sums that ``accumulate_gradients`` has started; None while nothing is summed."""
        return self._gradients

    def stop_accumulating(self) -> None:
        """Stop summing gradients, forget the sums, and store none in checkpoints."""
        self._gradients = self._loaded_gradients = None
        self._is_dense = False

    def set_keep(self, rows: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Enforce a mask from now on, given as (own tensor, uint8 keep of its shape)."""
        self._mask = DeviceMask(())  # frees the earlier mask
        self._masked = [tensor for tensor, _ in rows]
        self._mask = DeviceMask(rows)
        self._mask.zero_pruned_(self._masked)
        state = self.optimizer.state  # type: ignore[attr-defined]
        for tensor, keep in zip(self._masked, self._mask.keeps):
            for value in state.get(tensor, {}).values():
                if torch.is_tensor(value) and value.shape == tensor.shape:
                    # with memory-efficient fp16, fairseq restores this state on the CPU
                    zero_pruned_(value, keep.to(value.device))

    def clip_grad_norm(self, max_norm: float, aggregate_norm_fn: Any = None) -> Tensor:
        """Clip the gradients of survivors by their norm, as fairseq does."""
        self.stepped = False
        gradients = self._masked_gradients()
        is_dense = self._is_dense or self.before_step is not None
        to_restore = zip(gradients, self._mask.keeps) if is_dense else ()
        dense = [(g, g.clone(), keep) for g, keep in to_restore if g is not None]
        self._mask.zero_pruned_(gradients)
        norm = super().clip_grad_norm(max_norm, aggregate_norm_fn)  # type: ignore[misc]
        # fairseq may still rescale gradients in place before the step, so dense ones are put back
        for gradient, copy, keep in dense:
            clipped = copy * (max_norm / (norm + 1e-6)).clamp(max=1) if max_norm > 0 else copy
            gradient.copy_(torch.where(keep.bool(), gradient, clipped.to(copy.dtype)))
        return norm

    def step(self, *args: Any, **kwargs: Any) -> None:
        """Take fairseq's step, then set pruned weights exactly to zero."""
        if self.before_step is not None:
            self.before_step(1.0 / float(kwargs.get("scale", 1.0)))
            if not self._is_dense:
                self._mask.zero_pruned_(self._masked_gradients())
        if self._gradients is not None:
            self._sum_gradients(1.0 / float(kwargs.get("scale", 1.0)))
        super().step(*args, **kwargs)  # type: ignore[misc]
        self.stepped = True
        self._mask.zero_pruned_(self._masked)

    def _masked_gradients(self) -> list[Optional[Tensor]]:
        """Return the gradient of every tensor under the mask."""
        return [tensor.grad for tensor in self._masked]

    def _sum_gradients(self, factor: float) -> None:
        assert self._gradients is not None
        for total, tensor in zip(self._gradients, self._tensors()):
            if tensor.grad is not None:
                gradient = tensor.grad.to(total.dtype)
                if self._is_dense:
                    gradient = torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)
                total.add_(gradient, alpha=factor)
        if self._is_dense:
            self._mask.zero_pruned_(self._masked_gradients())

    def _tensors(self) -> list[Tensor]:
        return list(self.params)  # type: ignore[attr-defined]

    def state_dict(self) -> dict[str, Any]:
        """Return fairseq's state with ``lottery``: names, shapes, masters and summed gradients."""
        state = dict(super().state_dict())  # type: ignore[misc]
        if self._bound is not None:
            bound = self._bound
            extra: dict[str, Any] = {"names": list(bound.names), "shapes": list(bound.shapes)}
            if bound.has_masters and self._save_masters:
                extra["masters"] = bound.views
            if self._gradients is not None:
                extra["gradients"] = self._gradients
                if self._is_dense:
                    extra["dense"] = True
            state["lottery"] = extra
        return state

    def load_state_dict(self, state_dict: dict[str, Any], optimizer_overrides: Any = None) -> None:
        """Load fairseq's state and the masters; skip a prepared start, which has neither.

        Raises:
            LotteryError: the masters do not match the model.
        """
        extra = state_dict.get("lottery") or {}
        if extra.get("fresh"):
            return
        self._stored_names = list(extra.get("masters") or extra.get("names") or ())
        plain = {key: value for key, value in state_dict.items() if key != "lottery"}
        super().load_state_dict(plain, optimizer_overrides)  # type: ignore[misc]
        masters = list((extra.get("masters") or {}).values())
        tensors = self._tensors()
        if masters and len(tensors) == 1 and len(masters) > 1:
            masters = [torch.cat([master.reshape(-1) for master in masters])]
        for tensor, master in zip(tensors, masters):
            if tensor.shape != master.shape or len(tensors) != len(masters):
                raise LotteryError(
                    "the fp32 masters in the checkpoint do not match the model; resume with"
                    " --reset-optimizer"
                )
            tensor.data.copy_(master)
        self.masters_restored = bool(masters)
        saved = extra.get("gradients")
        self._loaded_dense = extra.get("dense") is True
        self._loaded_gradients = (
            [s.to(t.device, torch.float32) for s, t in zip(saved, tensors)] if saved else None
        )


def find_masked(optimizer: Any) -> MaskedOptimizer:
    """Return the masked optimizer that the trainer's ``optimizer`` is or wraps.

    Raises:
        LotteryError: the optimizer is not masked.
    """
    inner: MaskedOptimizer = unwrap(optimizer)
    if not is_masked(optimizer):
        name = type(inner).__name__
        raise LotteryError(
            f"the optimizer {name} does not keep pruned weights at zero; use --optimizer"
            " masked_<name>, for instance masked_adam"
        )
    return inner


def is_masked(optimizer: Any) -> bool:
    """Return whether the trainer's ``optimizer`` is or wraps a masked one."""
    return isinstance(unwrap(optimizer), MaskedOptimizer)
