"""Bad states of gates that learn, as a checkpoint may hold them beside its model."""

import torch
from hostile.checkpoints import lazily


def _extra(**changes):
    good = {"weight": {"heads": 0.5}, "targets": {"heads": 4}, "anneal": 6}
    return {**good, **changes}


#: of 6 attentions of 2 heads
GOOD = {
    "gates.theta_heads": torch.linspace(-0.1, 0.15, 12),
    "gates.steps": torch.tensor(4),
    "gates._extra_state": _extra(),
}


def all_of(state):
    """Every bad checkpoint that one with ``GOOD`` makes."""
    strange = {"a text": "x", "a number": 3, "a list": [1], "nothing": None, "true": True,
               "a tensor": torch.ones(2), "a mapping of numbers": {1: 2}}  # fmt: skip
    found = {}

    def put(what, *path, to):
        found[f"{'.'.join(path)}: {what}"] = lazily(state, "criterion", *path, to=to)

    for what, value in strange.items():
        if what not in ("nothing", "a mapping of numbers"):  # of other criterions
            put(what, to=value)
        for name in GOOD:
            put(what, name, to=value)
        for name in ("weight", "targets", "anneal"):
            if (name, what) != ("anneal", "a number"):
                put(what, "gates._extra_state", name, to=value)
    for name in GOOD:
        put("gone", to={key: value for key, value in GOOD.items() if key != name})
        found[f"{name}: gone"] = found.pop(": gone")
    put("one more", "gates.theta_heart", to=torch.ones(2))
    theta = GOOD["gates.theta_heads"]
    for value in (float("nan"), float("inf")):
        other = torch.cat([theta[:-1], torch.tensor([value])])
        put(str(value), "gates.theta_heads", to=other)
    for what, other in {"fewer": theta[:3], "a matrix": theta[None], "none": theta[:0],
                        "complex": theta.to(torch.complex64), "whole": theta.long(),
                        "bool": theta > 0, "sparse": theta.to_sparse(),
                        "endless": torch.ones(1).expand(2**40)}.items():  # fmt: skip
        put(what, "gates.theta_heads", to=other)
    put("of other kinds", "gates.theta_units", to=torch.ones(24))
    for what, other in {"negative": torch.tensor(-5), "a fraction": torch.tensor(0.5),
                        "two": torch.tensor([1, 2]), "true": torch.tensor(True),
                        }.items():  # fmt: skip
        put(f"{what} tensor", "gates.steps", to=other)
    extra = {"a weight that is NaN": {"weight": {"heads": float("nan")}},
             "a weight that is a text": {"weight": {"heads": "x"}},
             "a weight of units": {"weight": {"units": 0.5}},
             "a target of none": {"targets": {"heads": 0}},
             "a target of too many": {"targets": {"heads": 13}},
             "a target that is a fraction": {"targets": {"heads": 4.0}},
             "a target that is true": {"targets": {"heads": True}},
             "no anneal": {"anneal": 0}, "anneal for ever": {"anneal": float("inf")}}  # fmt: skip
    for what, changes in extra.items():
        put(what, "gates._extra_state", to=_extra(**changes))
    return found
