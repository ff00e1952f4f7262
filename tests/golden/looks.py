"""What is in golden files, as digests and plain values: what later code has to find there too."""

import hashlib
import json
from pathlib import Path

import torch
from toy import bits

from fairseq_lottery.formats import load_ticket, read_checkpoint, read_source, untie
from fairseq_lottery.formats.container import digest_of
from fairseq_lottery.heads.components.choice_file import load_choice


def at_files(folder):
    """File -> its kind, update, signature and digests, for everything that is a source."""
    found = {}
    for path in sorted([*folder.rglob("*.pt"), *folder.rglob("*.safetensors")]):
        source = read_source(path)
        name = path.relative_to(folder).as_posix()
        found[name] = {"kind": source.kind, "update": source.update, "content": source.digest()}
        if source.mask is not None:
            found[name].update(mask=source.mask.digest(), pruned=source.mask.pruned)
        if source.kind == "ticket":
            found[name]["whole"] = digest_of(path)
            found[name]["signature"] = load_ticket(path).record["signature"]
    return found


def at_heads(folder):
    """What the choice of heads closes, and the scores that it was made by."""
    scores = json.loads((folder / "scores.json").read_text())
    return {"choice": load_choice(folder / "choice.json")[0].digest(), "scores": scores}


def at_trainings(folder, names):
    """Training -> digests of what its last checkpoint holds."""
    return {name: at_checkpoint(folder / name / "checkpoint_last.pt") for name in names}


def at_checkpoint(path):
    """Weights, optimizer state, criterion, and what the task keeps, but for our version."""
    state = read_checkpoint(Path(path))
    kept = dict((state.get("task_state") or {}).get("lottery") or {})
    kept.pop("version", None)
    return {
        "updates": state["optimizer_history"][-1]["num_updates"],
        "weights": digest(untie(state["model"])),
        "optimizer": digest(state["last_optimizer_state"]),
        "criterion": digest(state.get("criterion")),
        **{f"kept {key}": digest(value) for key, value in kept.items()},
    }


def digest(value):
    """SHA-256 over nested values: bits of tensors, the order of keys left out."""
    sha = hashlib.sha256()
    _add(sha, value)
    return sha.hexdigest()


def _add(sha, value):
    if isinstance(value, torch.Tensor):
        sha.update(f"{value.dtype}{tuple(value.shape)}".encode())
        sha.update(bits(value).numpy().tobytes())
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            sha.update(f"{key!r}:".encode())
            _add(sha, value[key])
    elif isinstance(value, (list, tuple)):
        sha.update(f"[{len(value)}".encode())
        for entry in value:
            _add(sha, entry)
    else:
        sha.update(f"{type(value).__name__} {value!r}".encode())
