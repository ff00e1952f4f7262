"""The mixin that makes an optimizer of fairseq keep pruned weights at zero."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.training.optimizers.zeroing import zero_pruned_


class MaskedOptimizer:
    """Mixin before a class of fairseq's optimizers.

    Whatever the precision, fairseq builds ``--optimizer`` next to the weights that are
    really updated (its own fp32 masters in half precision), calls ``clip_grad_norm`` before
    every ``step``, and saves ``state_dict``. So this is where

    * gradients of pruned weights are dropped before their norm is taken,
    * pruned weights are set to zero after every step (their optimizer state stays zero by
      itself, since it starts at zero and sees zero gradients; so a weight that is regrown starts
      with zeros),
    * gradients are summed for scores and pruners, on request those of pruned weights too,
    * the fp32 masters of a half-precision run are saved and restored.

    Adafactor's second moments are factored by row and column: there is no entry per weight
    that could be zero.
    """

    _rows: Sequence[tuple[Tensor, Optional[Tensor]]] = ()
    _names: Sequence[str] = ()
    _shapes: Sequence[list[int]] = ()
    #: of the parameters whose state ``load_state_dict`` found, in order
    _stored_names: Sequence[str] = ()
    #: whether ``load_state_dict`` found fp32 masters
    masters_restored = False
    #: whether an update followed the last norm: amp passes over one with infinite gradients
    stepped = False
    _has_masters = False
    _save_masters = True
    _gradients: Optional[list[Tensor]] = None
    #: whether gradients of pruned weights are summed too
    _is_dense = False
    _loaded_gradients: Optional[list[Tensor]] = None
    _loaded_dense = False

    def bind(
        self, names: list[str], shapes: list[list[int]], has_masters: bool, save_masters: bool
    ) -> None:
        """Tell the optimizer which parameter is which.

        Args:
            names, shapes: of the parameters in the optimizer's order.
            has_masters: the optimizer's tensors are fp32 copies of a half-precision model.
            save_masters: write them into checkpoints.

        Raises:
            LotteryError: the state that was loaded is of parameters of other names, or in another
                order: torch and fairseq go by order alone.
        """
        for stored, name in zip_longest(self._stored_names, names if self._stored_names else ()):
            if stored != name:
                raise LotteryError(
                    f"the checkpoint's optimizer state has {stored} where the model has {name};"
                    " resume with --reset-optimizer"
                )
        self._names, self._shapes = names, shapes
        self._has_masters = has_masters
        self._save_masters = save_masters

    def accumulate_gradients(self, dense: bool = False) -> list[Tensor]:
        """From now on sum the gradients of every update, for scores and pruners that need them.

        In fp32 whatever the model has: a sum of halves stands still after a few hundred updates.

        Args:
            dense: sum those of pruned weights too. They are scaled and clipped like the others,
                but do not enter the norm; NaN and infinity count as zero.
        """
        self._is_dense = dense
        if self._gradients is None:
            # loaded sums of the other kind lack what is needed, or hold more
            loaded = self._loaded_gradients if self._loaded_dense == dense else None
            self._gradients = loaded or [
                torch.zeros_like(p.data, dtype=torch.float32) for p in self._tensors()
            ]
        return self._gradients

    def stop_accumulating(self) -> None:
        """Sum no more gradients, and keep none in checkpoints."""
        self._gradients, self._is_dense = None, False

    def set_keep(self, rows: Sequence[tuple[Tensor, Optional[Tensor]]]) -> None:
        """Enforce a mask from now on: (own tensor, uint8 keep of its shape or None)."""
        self._rows = rows
        state = self.optimizer.state  # type: ignore[attr-defined]
        for tensor, keep in rows:
            if keep is None:
                continue
            zero_pruned_(tensor, keep)
            for value in state.get(tensor, {}).values():
                if torch.is_tensor(value) and value.shape == tensor.shape:
                    # fairseq leaves what it restores in memory-efficient fp16 on the CPU
                    zero_pruned_(value, keep.to(value.device))

    def clip_grad_norm(self, max_norm: float, aggregate_norm_fn: Any = None) -> Tensor:
        """As fairseq's, over the gradients of survivors only."""
        self.stepped = False
        dense = self._copy_gradients() if self._is_dense else []
        self._zero_gradients()
        norm = super().clip_grad_norm(max_norm, aggregate_norm_fn)  # type: ignore[misc]
        # what follows until the step rescales gradients in place: so it has to find them
        for gradient, copy, keep in dense:
            clipped = copy * (max_norm / (norm + 1e-6)).clamp(max=1) if max_norm > 0 else copy
            gradient.copy_(torch.where(keep.bool(), gradient, clipped.to(copy.dtype)))
        return norm

    def step(self, *args: Any, **kwargs: Any) -> None:
        """As fairseq's; pruned weights are exactly zero afterwards."""
        if self._gradients is not None:
            self._sum_gradients(1.0 / float(kwargs.get("scale", 1.0)))
        super().step(*args, **kwargs)  # type: ignore[misc]
        self.stepped = True
        for tensor, keep in self._rows:
            if keep is not None:
                zero_pruned_(tensor, keep)

    def _zero_gradients(self) -> None:
        for tensor, keep in self._rows:
            if keep is not None and tensor.grad is not None:
                zero_pruned_(tensor.grad, keep)

    def _copy_gradients(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return (gradient, copy of it, keep) of every tensor under the mask."""
        return [
            (tensor.grad, tensor.grad.clone(), keep)
            for tensor, keep in self._rows
            if keep is not None and tensor.grad is not None
        ]

    def _sum_gradients(self, factor: float) -> None:
        assert self._gradients is not None
        for total, tensor in zip(self._gradients, self._tensors()):
            if tensor.grad is not None:
                gradient = tensor.grad.to(total.dtype)
                if self._is_dense:
                    gradient = torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)
                total.add_(gradient, alpha=factor)
        if self._is_dense:
            self._zero_gradients()

    def _tensors(self) -> list[Tensor]:
        return list(self.params)  # type: ignore[attr-defined]

    def state_dict(self) -> dict[str, Any]:
        """fairseq's, with ``lottery``: which parameter is which, masters, summed gradients."""
        state = dict(super().state_dict())  # type: ignore[misc]
        if self._names:
            extra: dict[str, Any] = {"names": list(self._names), "shapes": list(self._shapes)}
            if self._has_masters and self._save_masters:
                extra["masters"] = dict(zip(self._names, self._split(self._tensors())))
            if self._gradients is not None:
                extra["gradients"] = self._gradients
                if self._is_dense:
                    extra["dense"] = True
            state["lottery"] = extra
        return state

    def _split(self, tensors: list[Tensor]) -> list[Tensor]:
        """One tensor per parameter, also where fairseq has flattened them into one."""
        if len(tensors) == len(self._shapes):
            return [tensor.data for tensor in tensors]
        sizes = [torch.Size(shape).numel() for shape in self._shapes]
        return [p.view(s) for p, s in zip(tensors[0].data.split(sizes), self._shapes)]

    def load_state_dict(self, state_dict: dict[str, Any], optimizer_overrides: Any = None) -> None:
        """fairseq's, and the masters; a prepared start has no optimizer state to load.

        Raises:
            LotteryError: the saved masters are of another model.
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
                    "the fp32 masters in the checkpoint do not fit this model; resume with"
                    " --reset-optimizer"
                )
            tensor.data.copy_(master)
        self.masters_restored = bool(masters)
        saved = extra.get("gradients")
        self._loaded_dense = extra.get("dense") is True
        self._loaded_gradients = (
            [s.to(t.device, torch.float32) for s, t in zip(saved, tensors)] if saved else None
        )
