"""Masks that prune weights for a structure, where no weight may be regrown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Mask, pattern_of


def refuse_structure(mask: Mask, record: Mapping[str, Any], pruner: str) -> None:
    """Refuse to regrow weights of a mask that closes heads or FFN units, or has a pattern N:M.

    Args:
        record: of the ticket that the mask comes from; a mask alone does not say whether heads were
            closed or have died.
        pruner: value of ``--pruner``.

    Raises:
        LotteryError: the sentence names the structure.
    """
    pattern = pattern_of(mask)
    structures = [f"the pattern {pattern}"] if pattern else []
    if record.get("parts") or record.get("closes"):
        structures.append("closed heads or FFN units")
    if structures:
        raise LotteryError(
            f"the mask has {' and '.join(structures)}, and --pruner {pruner} would regrow weights"
            " there; choose --pruner gradual, or start from another mask"
        )
