"""The flags of ``--task translation_lottery``."""

# fairseq evaluates the annotations of its dataclasses, so they are not postponed here
from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.dataclass import FairseqDataclass


def _flag(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass
class LotteryConfig(FairseqDataclass):
    """What is drawn, what is pruned, what is written. See docs/architecture.md for the axes."""

    ticket: Optional[str] = _flag(None, "ticket to train: its mask and its start values")
    mask_from: Optional[str] = _flag(
        None, "draw a ticket at start: rank the weights of this checkpoint, snapshot or ticket"
    )
    start_from: Optional[str] = _flag(
        None, "with --mask-from: survivors go back to the weights in this file"
    )
    sparsity: Optional[float] = _flag(
        None, "with --mask-from: share of prunable weights pruned; a scope N:M says it itself"
    )
    mask_file: Optional[str] = _flag(None, "with --mask-from: take the mask of this file as it is")
    parts: Optional[str] = _flag(
        None,
        "with --mask-from: close the heads and FFN units that this file closes; --sparsity is then"
        " of what stays open",
    )
    score_file: Optional[str] = _flag(None, "with --mask-from: safetensors with name -> scores")
    gradients: Optional[str] = _flag(None, "with --mask-from: safetensors with name -> gradient")
    reset: str = _flag(
        "rewind",
        "what survivors start from: rewind, sign, keep, random, random-sign, shuffle,"
        " shuffle-layers",
    )
    alpha: str = _flag("glorot", "magnitude of sign resets: glorot, std, mean")
    initial: Optional[str] = _flag(None, "weights at update 0, for --alpha std")
    clock: str = _flag("restart", "update counter: restart (from 0) or rewind (on from the start)")
    moments: str = _flag("fresh", "optimizer state at the start: fresh or keep")
    draw_seed: int = _flag(1, "seed of random scores and resets")
    score: str = _flag(
        "magnitude",
        "what ranks a weight: magnitude, magnitude-increase, movement, random, or your own as"
        " package.module:function",
    )
    scope: str = _flag(
        "layer", "layer (every matrix to the sparsity), global, or for a draw N:M, as 2:4"
    )
    floor: float = _flag(0.0, "least density of each matrix under --scope global")
    prunable: str = _flag(
        "all-matrices", "prunable set: all-matrices, no-embeddings, attention, ffn"
    )
    keep_dense: Optional[str] = _flag(None, "regular expression of parameters that stay dense")
    prune_to: Optional[float] = _flag(None, "prune during training, up to this sparsity")
    prune_start: int = _flag(0, "update at which the mask starts to grow")
    prune_end: int = _flag(0, "update at which the target sparsity is reached")
    prune_every: int = _flag(1000, "updates between two steps of the mask")
    prune_schedule: str = _flag("cubic", "how the sparsity grows: cubic, linear, one-shot")
    snapshot_updates: Optional[str] = _flag(
        None, "write the weights at these updates into the save-dir, for example 0,4000"
    )
    no_save_masters: bool = _flag(
        False, "leave the fp32 masters of half-precision runs out of checkpoints"
    )
    sparse_decode: bool = _flag(
        False, "translate with sparse matrices, on a CPU; for fairseq-generate and -interactive"
    )
