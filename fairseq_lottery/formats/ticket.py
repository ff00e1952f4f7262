"""``Ticket``: a mask plus the weights that training starts from, as one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

import torch
from torch import Tensor

from fairseq_lottery.adapters import TaskAdapter, stored_adapter
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import container
from fairseq_lottery.formats.checkpoints.optimizer_moments import MOMENTS
from fairseq_lottery.formats.dictionaries import Dictionaries
from fairseq_lottery.formats.mask_leaks import count_leaks
from fairseq_lottery.formats.mask_state import mask_from_state, mask_to_file, scatter, survivors
from fairseq_lottery.formats.model_structure import structure_of
from fairseq_lottery.formats.ticket_record import refuse_malformed, refuse_other_mask
from fairseq_lottery.masks import Mask, shapes_of
from fairseq_lottery.options.axes import UPDATE_COUNTER


@dataclass(frozen=True)
class Ticket:
    """A mask and start values for a training.

    Attributes:
        mask: selects the survivors.
        values: name -> full start tensor of every parameter, zero where pruned.
        record: provenance of mask and values; ``record["signature"]`` is its short form.
        dictionaries: dictionaries of the embeddings.
        moments: name of an optimizer state -> parameter -> full tensor, zero where pruned; empty
            for fresh moments.

    Raises:
        LotteryError: the mask does not fit the values, a moment has another shape, a pruned
            weight is not zero, or a value or moment is not finite.
    """

    mask: Mask
    values: dict[str, Tensor]
    record: dict[str, Any]
    dictionaries: Dictionaries
    moments: dict[str, dict[str, Tensor]]

    def __post_init__(self) -> None:
        self.mask.check(shapes_of(self.values))
        moments = {}
        for moment, by_name in self.moments.items():
            for name, value in by_name.items():
                if name not in self.values or self.values[name].shape != value.shape:
                    raise LotteryError(
                        f"the ticket's {moment} of {name} has shape {tuple(value.shape)}, which is"
                        " not that of its parameter"
                    )
                moments[f"{moment} of {name}"] = value
        for name, value in {**self.values, **moments}.items():
            if not bool(torch.isfinite(value).all()):
                raise LotteryError(f"the ticket's {name} has entries that are NaN or infinite")
        for name in count_leaks(self.values, self.mask):
            raise LotteryError(f"the ticket's {name} has nonzero weights where its mask prunes")

    @property
    def adapter(self) -> TaskAdapter:
        """Return the adapter of its task."""
        return stored_adapter(self.record, "the ticket")

    @property
    def structure(self) -> dict[str, int]:
        """Return the known depth, width and heads of the model."""
        architecture = self.record.get("architecture") or {}
        return structure_of(shapes_of(self.values), architecture, self.adapter)

    @property
    def first_update(self) -> int:
        """Return the update at which its training starts: 0 unless the update counter rewinds."""
        return int(self.record["update"] or 0) if self.record["clock"] == "rewind" else 0

    def refuse_model(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Refuse a model (name -> shape) of another architecture."""
        refuse_other_shapes(shapes_of(self.values), shapes, "the ticket")

    def digest(self) -> str:
        """Return the SHA-256 of the content of its file."""
        return container.digest(*_to_file(self))


def refuse_other_shapes(
    shapes: Mapping[str, tuple[int, ...]], model: Mapping[str, tuple[int, ...]], owner: str
) -> None:
    """Refuse parameters of ``owner`` whose names or shapes are not those of the model."""
    for name in sorted(set(shapes) | set(model)):
        if name not in model:
            raise LotteryError(f"{owner} has {name}, which the model does not have")
        if name not in shapes:
            raise LotteryError(f"the model has {name}, which {owner} does not have")
        if tuple(shapes[name]) != tuple(model[name]):
            raise LotteryError(
                f"{name} has shape {tuple(shapes[name])} in {owner} and {tuple(model[name])} in"
                " the model; use the same architecture flags and dictionaries"
            )


def _to_file(ticket: Ticket) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, layout = mask_to_file(ticket.mask)
    for name, value in ticket.values.items():
        tensors[f"values/{name}"] = survivors(ticket.mask, name, value).float()
    for moment, by_name in ticket.moments.items():
        for name, value in by_name.items():
            tensors[f"moments/{moment}/{name}"] = survivors(ticket.mask, name, value)
    for side, text in ticket.dictionaries.to_tensors().items():
        tensors[f"dictionary/{side}"] = text
    return tensors, {**ticket.record, "mask": layout}


def save_ticket(path: Union[str, Path], ticket: Ticket, overwrite: bool = True) -> None:
    """Write a ticket atomically; the same ticket gives the same bytes."""
    tensors, record = _to_file(ticket)
    container.save(path, "ticket", tensors, record, overwrite)


def load_ticket(path: Union[str, Path]) -> Ticket:
    """Read and validate a ticket without unpickling.

    Raises:
        LotteryError: the file is missing, malformed or changed, or its mask does not match its
            values or its record.
    """
    return ticket_of(path, *container.load(path, "ticket"))


def ticket_of(
    path: Union[str, Path], tensors: Mapping[str, Tensor], record: Mapping[str, Any]
) -> Ticket:
    """Return the ticket of a container; raises the errors of ``load_ticket``."""
    parts = container.split(path, tensors, ("mask", "values", "moments", "dictionary"))
    try:
        mask = mask_from_state({**record["mask"], "bits": parts["mask"]})
        record = {name: value for name, value in record.items() if name != "mask"}
        values = {name: scatter(path, mask, name, value) for name, value in parts["values"].items()}
        moments: dict[str, dict[str, Tensor]] = {}
        for key, value in parts["moments"].items():
            moment, _, name = key.partition("/")
            moments.setdefault(moment, {})[name] = scatter(path, mask, name, value)
        names = stored_adapter(record, path).vocabularies
        dictionaries = Dictionaries.from_tensors(parts["dictionary"], names)
        if record["clock"] not in UPDATE_COUNTER.names:
            raise LotteryError(f"{path} has an unknown update counter {record['clock']!r}")
        refuse_malformed(record, path)
        refuse_other_mask(record, mask, path)
        refuse_other_types(values, path)
        for moment, by_name in moments.items():
            if moment not in MOMENTS:
                raise LotteryError(f"{path} is malformed (unknown optimizer state {moment!r})")
            if moment.startswith("exp_") and "step" not in record["moment_numbers"]:
                raise LotteryError(f"{path} is malformed (it has {moment} but no step)")
            refuse_other_types(by_name, path)
        return Ticket(mask, values, record, dictionaries, moments)
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise LotteryError(f"{path} is malformed ({error})") from error


def refuse_other_types(weights: Mapping[str, Tensor], path: Union[str, Path]) -> None:
    """Refuse parameters of other than floating-point types, or with unprintable names."""
    for name, tensor in weights.items():
        if not name or not name.isprintable() or not tensor.is_floating_point():
            raise LotteryError(f"{path} is malformed ({name or 'a parameter'} is {tensor.dtype})")
