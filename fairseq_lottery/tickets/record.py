"""The record of a ticket in short: every number says how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def signature(record: Mapping[str, Any]) -> str:
    """The short string that stands beside a number made with this ticket.

    ``reset`` says from which update the survivors' values (or signs) are, ``clock`` at which
    update the schedule starts where that is not 0.
    """
    reset = record["reset"] + (f"-{record['alpha']}" if record["alpha"] else "")
    scope = record["scope"] + (f"-floor{record['floor']:g}" if record["floor"] else "")
    clock = record["clock"] + (f"@{record['update']}" if record["clock"] == "rewind" else "")
    parts = (
        ("score", record["score"]),
        ("scope", scope),
        ("sparsity", f"{record['sparsity']:.4f}"),
        ("of", f"{record['denominator']}:{record['prunable']}"),
        ("reset", f"{reset}@{record['values_update']}"),
        ("clock", clock),
        ("moments", record["moments"]),
        ("seed", record["seed"]),
        ("version", record["versions"]["fairseq_lottery"]),
    )
    return "|".join(f"{key}:{value}" for key, value in parts)
