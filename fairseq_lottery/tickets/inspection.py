"""Describe a ticket, checkpoint or snapshot in numbers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Union

from fairseq_lottery.formats.mask_state import mask_of_zeros, prunable_survivors
from fairseq_lottery.formats.pair_masks import stored_pair_masks
from fairseq_lottery.formats.source import read_source
from fairseq_lottery.masks import densest
from fairseq_lottery.options.nm_pattern import Pattern
from fairseq_lottery.tickets.size import negative_zeros, sizes

#: consecutive weights that sparse tensor cores process together
_GROUP = 4


def inspect_file(path: Union[str, Path]) -> dict[str, Any]:
    """Describe a file as plain numbers.

    Keys, besides those of ``size.sizes``:

    * ``file``, ``kind``, ``update``, ``masters``;
    * ``sha256``: SHA-256 of a checkpoint that another program wrote, such as a released model;
      otherwise None;
    * ``parameters``: number of all weights of the model;
    * ``sparsity``: ``pruned`` / ``prunable``. For a dense file the zeros of all matrices are
      counted;
    * ``mask_digest``: None for a dense file;
    * ``agrees``: whether every weight that the mask prunes is zero, and its fp32 master too;
    * ``matrices``: name -> ``size``, ``pruned``, ``density``, ``negative`` (share of negative
      survivors), ``zero_survivors``, ``pattern``;
    * ``dead``: matrices without a survivor;
    * ``patterns``: pattern -> number of matrices with it;
    * ``negative_zeros``: number of kept weights of matrices that are -0.0;
    * ``record``: record of the ticket, or None;
    * ``pairs``: pair of languages -> sparsity of its mask; empty without masks of pairs.

    In a ``pattern`` N:M at most N of M consecutive weights of a row are kept, including those of a
    protected row. M is that of the ticket's scope, or 4 without such a scope. The pattern is None
    if M does not divide the rows, or if some M consecutive weights are all kept.
    """
    source = read_source(path)
    mask = source.mask
    if mask is None:
        mask = mask_of_zeros(source.weights, lambda weight: weight != 0)
    record, pairs = source.record or None, stored_pair_masks(source.lottery)
    pattern = Pattern.parse(str((record or {}).get("scope")))
    group = pattern.group if pattern else _GROUP
    matrices = {}
    for name, keep in mask.items():
        maximum = densest(keep, group)
        survivors = source.weights[name][prunable_survivors(mask, name)]
        matrices[name] = {
            "size": mask.size(name),
            "pruned": mask.pruned_in(name),
            "density": 1 - mask.sparsity_of(name),
            "negative": int((survivors < 0).sum()) / max(survivors.numel(), 1),
            "zero_survivors": int((survivors == 0).sum()),
            "pattern": None if maximum in (None, group) else f"{maximum}:{group}",
        }
    return {
        "file": str(path),
        "kind": source.kind,
        "update": source.update,
        "masters": source.masters,
        "sha256": source.sha256,
        "parameters": sum(tensor.numel() for tensor in source.weights.values()),
        "sparsity": mask.sparsity,
        "pruned": mask.pruned,
        "prunable": mask.prunable,
        "mask_digest": mask.digest() if source.mask is not None else None,
        "agrees": source.agrees,
        "matrices": matrices,
        "dead": [name for name in mask if mask.sparsity_of(name) == 1],
        "patterns": dict(Counter(row["pattern"] for row in matrices.values() if row["pattern"])),
        "negative_zeros": negative_zeros(source.weights, source.mask),
        "record": record,
        "pairs": {pair: one.sparsity for pair, one in (pairs or {}).items()},
        **sizes(path, source.weights, mask),
    }
