"""One part out, or one head left: each measured by itself."""

from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.components.parts import Parts
from fairseq_lottery.heads.measures.loaded_measures import ablated

ENC, DEC = "encoder.layers.0", "decoder.layers.0"
ANATOMY = Anatomy({f"{ENC}.self_attn": 3, f"{DEC}.encoder_attn": 2}, {ENC: 2, DEC: 2})
WORTH = {f"{ENC}.self_attn": [1.0, 2.0, 4.0], f"{DEC}.encoder_attn": [8.0, 16.0]}
BLOCKS = {ENC: 32.0, DEC: 64.0}


def metric(parts):
    """Every part adds what it is worth; each subset has a sum of its own."""
    heads = (w for n, ws in WORTH.items() for w, o in zip(ws, parts["heads"][n].tolist()) if o)
    return sum(heads) + sum(w for n, w in BLOCKS.items() if bool(parts["blocks"][n]))


def changes(start, kinds, judge=metric, one_left=False):
    return ablated(judge, start, metric(start), kinds, one_left)


def plain(scores):
    return {kind: {n: v.tolist() for n, v in modules.items()} for kind, modules in scores.items()}


def test_one_out():
    found = plain(changes(Parts(ANATOMY, {}), ("heads", "blocks")))
    assert found["heads"] == {name: [-w for w in worth] for name, worth in WORTH.items()}
    assert found["blocks"] == {name: [-worth] for name, worth in BLOCKS.items()}


def test_what_is_closed_already_changes_nothing():
    start = Parts(ANATOMY, {"heads": {f"{ENC}.self_attn": [1]}})
    asked = []
    found = plain(changes(start, ("heads",), lambda parts: asked.append(parts) or metric(parts)))
    assert found["heads"][f"{ENC}.self_attn"] == [-1, 0, -4]
    assert len(asked) == 4  # one for each open head
    assert all(not bool(parts["heads"][f"{ENC}.self_attn"][1]) for parts in asked)


def test_one_left():
    found = plain(changes(Parts(ANATOMY, {}), ("heads",), one_left=True))
    assert found == {"heads": {f"{ENC}.self_attn": [-6, -5, -3], f"{DEC}.encoder_attn": [-16, -8]}}
