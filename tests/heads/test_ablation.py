"""One component out, or one head left: each measured by itself."""

from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.measures.loaded_measures import measure_ablation

ENC, DEC = "encoder.layers.0", "decoder.layers.0"
ANATOMY = Anatomy({f"{ENC}.self_attn": 3, f"{DEC}.encoder_attn": 2}, {ENC: 2, DEC: 2})
WORTH = {f"{ENC}.self_attn": [1.0, 2.0, 4.0], f"{DEC}.encoder_attn": [8.0, 16.0]}
BLOCKS = {ENC: 32.0, DEC: 64.0}


def metric(components):
    """Every component adds what it is worth; each subset has a sum of its own."""
    heads = (w for n, ws in WORTH.items() for w, o in zip(ws, components["heads"][n].tolist()) if o)
    return sum(heads) + sum(w for n, w in BLOCKS.items() if bool(components["blocks"][n]))


def changes(start, kinds, judge=metric, one_left=False):
    return measure_ablation(judge, start, metric(start), kinds, one_left)


def plain(scores):
    return {kind: {n: v.tolist() for n, v in modules.items()} for kind, modules in scores.items()}


def test_one_out():
    found = plain(changes(ComponentMask(ANATOMY, {}), ("heads", "blocks")))
    assert found["heads"] == {name: [-w for w in worth] for name, worth in WORTH.items()}
    assert found["blocks"] == {name: [-worth] for name, worth in BLOCKS.items()}


def test_what_is_pruned_already_changes_nothing():
    start = ComponentMask(ANATOMY, {"heads": {f"{ENC}.self_attn": [1]}})
    asked = []
    found = plain(
        changes(
            start, ("heads",), lambda components: asked.append(components) or metric(components)
        )
    )
    assert found["heads"][f"{ENC}.self_attn"] == [-1, 0, -4]
    assert len(asked) == 4  # one for each open head
    assert all(not bool(components["heads"][f"{ENC}.self_attn"][1]) for components in asked)


def test_one_left():
    found = plain(changes(ComponentMask(ANATOMY, {}), ("heads",), one_left=True))
    assert found == {"heads": {f"{ENC}.self_attn": [-6, -5, -3], f"{DEC}.encoder_attn": [-16, -8]}}
