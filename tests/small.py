"""A small Transformer as plain tensors: what fairseq's files hold, made without fairseq."""

from dataclasses import replace

import torch
from hypothesis import HealthCheck, settings

from fairseq_lottery.adapters import TRANSLATION
from fairseq_lottery.formats import Dictionaries, mask_to_state, save_snapshot
from fairseq_lottery.masks import Mask, prunable_matrices
from fairseq_lottery.tickets import DrawPlan, draw

#: of property tests: cores are shared, so no bound on time; every run tries the same examples
PROPERTY = settings(
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
)


def pair_of(source, target):
    """The dictionaries of a translation."""
    return Dictionaries({"source": source, "target": target})


def pair_folder(path, source, target):
    """A data folder of two languages."""
    return TRANSLATION.folder(path, {"source_lang": source, "target_lang": target})


SYMBOLS = tuple("abcdefgh")
DICTIONARIES = pair_of(SYMBOLS, SYMBOLS)
WORDS, DIM, FFN = 4 + len(SYMBOLS), 4, 6

EMBEDDING = "encoder.embed_tokens.weight"
TIED = ("decoder.embed_tokens.weight", "decoder.output_projection.weight")


def _shapes(layers):
    shapes = {EMBEDDING: (WORDS, DIM)}
    for side in ("encoder", "decoder"):
        for layer in range(layers):
            start = f"{side}.layers.{layer}"
            for attention in ("self_attn", "encoder_attn")[: 1 + (side == "decoder")]:
                for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
                    shapes[f"{start}.{attention}.{part}.weight"] = (DIM, DIM)
                    shapes[f"{start}.{attention}.{part}.bias"] = (DIM,)
                shapes[f"{start}.{attention}_layer_norm.weight"] = (DIM,)
            shapes[f"{start}.fc1.weight"] = (FFN, DIM)
            shapes[f"{start}.fc1.bias"] = (FFN,)
            shapes[f"{start}.fc2.weight"] = (DIM, FFN)
    return shapes


#: name -> shape of every parameter, the tied embedding once
SHAPES = _shapes(2)
#: weights in matrices: 2 x 112 in the encoder, 2 x 176 in the decoder, 12 x 4 in the embedding
PRUNABLE = 2 * 112 + 2 * 176 + 48 - DIM  # all but the padding row
MATRICES = 1 + 2 * 6 + 2 * 10


def weights(seed=0, scale=1.0, layers=2):
    """Name -> parameter; the padding row is zero, as fairseq makes it."""
    generator = torch.Generator().manual_seed(seed)
    shapes = _shapes(layers)
    made = {name: torch.randn(shape, generator=generator) * scale for name, shape in shapes.items()}
    made[EMBEDDING][1] = 0
    return made


def full_mask(layers=2):
    """The mask that keeps everything, over all matrices."""
    shapes = _shapes(layers)
    rows = prunable_matrices(shapes)
    return Mask.full({n: shapes[n] for n in rows}, {n: r for n, r in rows.items() if r is not None})


def model(parameters):
    """The state dict of a fairseq model: buffers as well, the tied embedding under each name."""
    state = dict(parameters)
    for name in TIED:
        state[name] = parameters[EMBEDDING].clone()
    state["encoder.version"] = torch.tensor([3.0])
    state["encoder.embed_positions._float_tensor"] = torch.zeros(1)
    return state


def save_checkpoint(path, parameters, update=20, mask=None, **changes):
    """Write a checkpoint as ``translation_lottery`` does; ``changes`` replace its entries."""
    lottery = {
        "mask": mask_to_state(mask) if mask is not None else None,
        "dictionaries": DICTIONARIES.to_tensors(),
    }
    state = {
        "args": None,
        "cfg": {"model": {"arch": "transformer", "encoder_layers": 2, "lr": [1]}, "task": {}},
        "model": model(parameters),
        "optimizer_history": [{"num_updates": update}],
        "task_state": {"lottery": lottery},
        "extra_state": {"train_iterator": {"epoch": 1}},
        "last_optimizer_state": None,
        **changes,
    }
    torch.save(state, path)
    return str(path)


def save_snapshot_of(path, parameters, update=5, mask=None):
    """Write the snapshot of an update."""
    record = {"update": update, "masters": True, "architecture": {"arch": "transformer"}}
    save_snapshot(path, parameters, mask, DICTIONARIES, record)
    return str(path)


def optimizer_state(parameters, step=20):
    """Adam's state as a masked optimizer saves it: a fifth and the square of each weight."""
    return {
        "state": {
            i: {"step": step, "exp_avg": w / 5, "exp_avg_sq": w**2}
            for i, w in enumerate(parameters.values())
        },
        "lottery": {
            "names": list(parameters),
            "shapes": [list(w.shape) for w in parameters.values()],
        },
    }


class Run:
    """A dense run in a folder: its last checkpoint, and snapshots of updates 0 and 5."""

    def __init__(self, folder, layers=2):
        self.folder = folder
        self.initial, self.early, self.trained = (weights(s, layers=layers) for s in (1, 2, 3))
        self.last = save_checkpoint(
            folder / "last.pt", self.trained, last_optimizer_state=optimizer_state(self.trained)
        )
        self.snapshot_0 = save_snapshot_of(folder / "snapshot_0.safetensors", self.initial, 0)
        self.snapshot_5 = save_snapshot_of(folder / "snapshot_5.safetensors", self.early, 5)
        self.plan = DrawPlan(mask_from=self.last, start_from=self.snapshot_5, sparsity=0.5)

    def draw(self, initialise=None, **changes):
        """Draw SLT at 50 %, or what ``changes`` say instead."""
        return draw(replace(self.plan, **changes), initialise)


def load(path):
    """A checkpoint as it is, by whatever torch; torch 1.12 knows no ``weights_only``."""
    trusting = {"weights_only": False} if hasattr(torch.serialization, "safe_globals") else {}
    return torch.load(path, **trusting)
