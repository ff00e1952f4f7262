"""A file of ours as a model that runs in fairseq, with pairs of sentences to run it on."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
import torch
from fairseq.data import Dictionary, LanguagePairDataset
from fairseq.data.data_utils import batch_by_size
from fairseq.utils import move_to_cuda
from torch import Tensor

from fairseq_lottery.compat import modules_are_used
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Mask
from fairseq_lottery.structured import Anatomy, Parts
from fairseq_lottery.structured.kept import parts_in
from fairseq_lottery.structured.slim import with_zeros
from fairseq_lottery.tasks.initialise import arguments_of, untrained
from fairseq_lottery.tasks.sentences import Text, pairs_of, text_of
from fairseq_lottery.tickets import Source, read_checkpoint, read_source, trainable, untie
from fairseq_lottery.tickets.checkpoint import settings_of
from fairseq_lottery.tickets.model import KIND, load_model

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Live:
    """A model in evaluation mode, and what it reads and writes.

    Attributes:
        source: the file.
        weights: the model's, name -> tensor, a tied tensor once; zeros where the file is slim.
        model: fairseq's.
        anatomy: its heads and FFN units.
        text: its languages and data folder.
        dictionaries: source and target, as fairseq has them.
    """

    source: Source
    weights: Mapping[str, Tensor]
    model: Any
    anatomy: Anatomy
    text: Text
    dictionaries: tuple[Dictionary, Dictionary]

    @property
    def device(self) -> torch.device:
        """Where the model runs; ``weights`` are on the CPU."""
        found: torch.device = next(self.model.parameters()).device
        return found


def live(path: Union[str, Path], data: Optional[str] = None, cpu: bool = False) -> Live:
    """Bring a checkpoint, compact file, ticket or snapshot to life.

    Args:
        data: folder of ``fairseq-preprocess`` instead of the one that the training had.
        cpu: run it on the CPU where there is a GPU, too; as fairseq's ``--cpu``.

    Raises:
        LotteryError: it is none of these, its weights are not of its architecture, or its data
            are not here.
    """
    source = read_source(path)
    source.adapter.refuse_unless_translating(path, "measuring heads and FFN units")
    weights, task, _ = stored_weights(source)
    text = text_of(source, task, data, needed=True)
    dictionaries = text.fairseq_dictionaries
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    anatomy = Anatomy.of(shapes, vars(arguments_of(source)))
    model = built(source, weights, dictionaries)
    if torch.cuda.is_available() and not cpu:
        model = model.cuda()
    return Live(source, weights, model, anatomy, text, dictionaries)


def stored_weights(source: Source) -> tuple[Mapping[str, Tensor], dict[str, Any], Optional[Parts]]:
    """The weights that fairseq would translate with, the task's settings, and what was cut out.

    Those of a half-precision checkpoint are rounded; ``source`` has its fp32 masters. Where
    something was cut out of the model, there are zeros.
    """
    if source.kind == "checkpoint":
        state = read_checkpoint(source.path)
    elif source.kind == KIND:
        state = load_model(source.path)[0]
    else:
        return source.weights, {}, None
    cfg = settings_of(state.get("cfg"))
    parts = parts_in(cfg.get("model"))
    weights = untie(state["model"])[0]
    return with_zeros(weights, parts) if parts else weights, settings_of(cfg.get("task")), parts


def built(
    source: Source, weights: Mapping[str, Tensor], dictionaries: tuple[Dictionary, Dictionary]
) -> Any:
    """The model of a file in fairseq, in evaluation mode.

    Raises:
        LotteryError: the weights are not of its architecture, or of other dictionaries.
    """
    try:
        model: Any = untrained(replace(source, weights=dict(weights)))
        parameters = trainable(model)
        if set(parameters) != set(weights):
            one = min(set(parameters) ^ set(weights))
            raise LotteryError(f"{one} is not in both")
        with torch.no_grad():
            for key, parameter in parameters.items():
                if parameter.shape != weights[key].shape:
                    raise LotteryError(f"{key} has another shape")
                parameter.copy_(weights[key])
    except Exception as error:  # noqa: BLE001 - whatever a model's own code raises
        reason = " ".join(str(error).split())[:300]
        raise LotteryError(
            f"the weights in {source.path} are not of the architecture in it: {reason}"
        ) from error
    for side, symbols in zip((model.encoder, model.decoder), dictionaries):
        rows = side.embed_tokens.weight.shape[0]
        if rows != len(symbols):
            raise LotteryError(
                f"the model of {source.path} has {rows} symbols and a dictionary {len(symbols)};"
                " give the data that it was trained on with --data"
            )
    return model.eval()


@contextmanager
def masked(model: Any, mask: Mask) -> Iterator[None]:
    """While inside, the weights that a mask prunes are zero; then they are what they were.

    fairseq's fused paths, which may read copies of weights, are off meanwhile.
    """
    parameters = trainable(model)
    before = {name: parameters[name].detach().clone() for name in mask}
    try:
        with torch.no_grad():
            for name, keep in mask.items():
                parameters[name].masked_fill_(~keep.to(parameters[name].device), 0)
        with modules_are_used(model):
            yield
    finally:
        with torch.no_grad():
            for name, weight in before.items():
                parameters[name].copy_(weight)


def pairs(made: Live, subset: str, most: Optional[int]) -> LanguagePairDataset:
    """A subset of the data folder, or sentences of it evenly spread.

    Sentences that are longer than the model takes are left out, as fairseq-train leaves them out
    of its training set; how many is logged.

    Args:
        subset: ``valid``, ``test``, ``train`` or what else the folder has.
        most: sentences; None for all.

    Raises:
        LotteryError: there is no such subset, or it has no sentence that the model takes.
    """
    text = made.text
    if text.folder is None:
        raise LotteryError(
            f"the data folder of {made.source.path} is not here; give a folder of the same"
            " dictionaries with --data"
        )
    data = pairs_of(text, subset)
    if data is None or data.tgt is None or not len(data):
        raise LotteryError(
            f"{text.folder} has no pairs of sentences called {subset} in"
            f" {text.source}-{text.target} or {text.target}-{text.source}; give another --subset"
        )
    limits = made.model.max_positions()
    numbers, too_long = data.filter_indices_by_size(np.arange(len(data)), limits)
    if len(too_long):
        logger.warning(
            "%d of %d sentences of %s are left out: the model takes %d source and %d target tokens",
            len(too_long),
            len(data),
            subset,
            *limits,
        )
    if not len(numbers):
        raise LotteryError(
            f"every sentence of {subset} in {text.folder} is longer than the model takes"
            f" ({limits[0]} source and {limits[1]} target tokens); give another --subset"
        )
    if most is not None and most < len(numbers):
        numbers = numbers[[k * len(numbers) // most for k in range(most)]]
    source, target = ([side[int(k)] for k in numbers] for side in (data.src, data.tgt))
    sizes = [[len(one) for one in side] for side in (source, target)]
    return LanguagePairDataset(
        source, sizes[0], made.dictionaries[0], target, sizes[1], made.dictionaries[1],
        left_pad_source=data.left_pad_source, left_pad_target=data.left_pad_target, shuffle=False,
    )  # fmt: skip


def batches(
    found: LanguagePairDataset, tokens: int, device: torch.device
) -> Iterator[dict[str, Any]]:
    """All sentences, each once, in fairseq's batches of up to so many tokens, on a device.

    Raises:
        LotteryError: a sentence is longer than that, or one was not run just once.
    """
    longest = max(map(found.num_tokens, range(len(found))))
    if longest > tokens:
        raise LotteryError(
            f"--max-tokens {tokens} is less than the {longest} tokens of the longest sentence;"
            f" give at least {longest}"
        )
    run: list[int] = []
    for numbers in batch_by_size(
        found.ordered_indices(), found.num_tokens, max_tokens=tokens, required_batch_size_multiple=1
    ):
        batch = found.collater([found[int(number)] for number in numbers])
        yield move_to_cuda(batch, device) if device.type == "cuda" else batch
        run += batch["id"].tolist()
    if sorted(run) != list(range(len(found))):
        raise LotteryError(
            f"fairseq has made batches of {len(run)} sentences out of {len(found)}, so nothing can"
            " be told of them; give another --max-tokens"
        )


def negative_log_likelihood(model: Any, batch: Mapping[str, Any]) -> tuple[Tensor, int, int]:
    """Cross-entropy of the targets in nats, summed; their tokens and sentences."""
    scores = model.get_normalized_probs(model(**batch["net_input"]), log_probs=True)
    picked = scores.gather(-1, batch["target"].unsqueeze(-1)).squeeze(-1)
    real = batch["target"] != model.decoder.padding_idx
    return -picked[real].sum(), int(real.sum()), len(batch["target"])
