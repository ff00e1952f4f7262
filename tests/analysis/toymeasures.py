"""Measures that tests register for a while: each says what it was computed of."""

from fairseq_lottery.analysis import registry
from fairseq_lottery.analysis.registry import Measure


class Counted:
    """Functions of measures that count their calls and can be made to fail."""

    def __init__(self):
        self.calls, self.error = [], None

    def kept(self, model):
        """Number of weights that are not zero, by matrix."""
        self.called("kept")
        for name, weights in model.weights.items():
            if name.endswith("fc1.weight"):
                yield {"part": "enc_ffn", "matrix": name, "value": int((weights != 0).sum())}

    def masked(self, model):
        """Share of the weights that a mask keeps."""
        self.called("masked")
        yield {"value": 1 - model.mask.sparsity}

    def same(self, first, second):
        """Share of weights that two models have in common."""
        self.called("same")
        both = [first.weights[n] == w for n, w in second.weights.items() if w.dim() == 2]
        yield {"value": sum(b.sum().item() for b in both) / sum(b.numel() for b in both)}

    def mean(self, recording):
        """Mean of the first activation, by layer."""
        self.called("mean")
        for layer in recording.layers("encoder"):
            column = recording.activations("encoder", layer)[:, 0]
            yield {"part": "encoder", "layer": layer, "value": float(column.mean())}

    def distance(self, first, second):
        """Largest difference of activations, of all pairs of layers."""
        self.called("distance")
        for a in first.layers("encoder"):
            for b in second.layers("encoder"):
                x, y = first.activations("encoder", a), second.activations("encoder", b)
                yield {
                    "part": "encoder", "layer": a, "other_layer": b,
                    "value": float(abs(x - y).max()),
                }  # fmt: skip

    def called(self, name):
        self.calls.append(name)
        if self.error is not None and len(self.calls) > self.error[0]:
            raise self.error[1]


def register(monkeypatch):
    """Put the toy measures, and no others, into the registry."""
    counted = Counted()
    monkeypatch.setattr(registry, "_import_measures", lambda: None)
    measures = {
        "kept": ("weights", 1, (0.0, None)), "masked": ("masks", 1, (0.0, 1.0)),
        "same": ("weights", 2, (0.0, 1.0)), "mean": ("activations", 1, (None, None)),
        "distance": ("activations", 2, (0.0, None)),
    }  # fmt: skip
    made = {
        name: Measure(name, "toy", over, models, f"toy {name}", limits, getattr(counted, name))
        for name, (over, models, limits) in measures.items()
    }
    monkeypatch.setattr(registry, "_registry", made)
    return counted
