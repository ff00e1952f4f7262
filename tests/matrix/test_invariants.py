"""After every update, whatever is trained and however it is pruned: counts, zeros, bits."""

import shutil

import pytest

pytest.importorskip("fairseq")

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from matrix.training import ON_CPU, Training, configuration, flat, in_this_process
from small import PROPERTY
from toy import same

UPDATES = 7

#: precision -> optimizers that fairseq builds there
OPTIMIZERS = {
    "fp32": ("adam", "sgd", "nag", "adamax", "adagrad", "adadelta", "adafactor"),
    "fp16 flat": ("adam", "sgd", "nag", "adamax", "adadelta"),
    "fp16 memory-efficient": ("adam", "nag", "adamax", "adafactor"),
}
OPTIMIZERS["bf16 memory-efficient"] = OPTIMIZERS["fp16 memory-efficient"]
ALL_TIED = "--share-all-embeddings"
MOMENTUM = {"sgd": 0.9, "nag": 0.9}


@st.composite
def transformers(draw):
    tied = draw(st.sampled_from([None, ALL_TIED, "--share-decoder-input-output-embed"]))
    wide = tied != ALL_TIED and draw(st.booleans())
    flags = {
        "--arch": "transformer",
        "--encoder-layers": draw(st.integers(1, 2)),
        "--decoder-layers": draw(st.integers(1, 2)),
        "--decoder-embed-dim": 12 if wide else 8,
        "--decoder-output-dim": 12 if wide else 8,
        "--decoder-ffn-embed-dim": draw(st.sampled_from([12, 20])),
        "--encoder-normalize-before": draw(st.booleans()),
        "--decoder-normalize-before": draw(st.booleans()),
        "--encoder-learned-pos": draw(st.booleans()),
        "--layernorm-embedding": draw(st.booleans()),
        "--no-cross-attention": draw(st.sampled_from([False, False, True])),
        "--decoder-layerdrop": draw(st.sampled_from([None, None, 0.5])),
        "--quant-noise-pq": draw(st.sampled_from([None, None, 0.1])),
        "--quant-noise-pq-block-size": 4,
    }
    return flags if tied is None else {**flags, tied: True}


LSTM = {
    "--arch": "lstm", "--encoder-embed-dim": 8, "--decoder-embed-dim": 8,
    "--decoder-out-embed-dim": 8, "--encoder-hidden-size": 8, "--decoder-hidden-size": 8,
    "--encoder-layers": 1, "--decoder-layers": 1, "--encoder-bidirectional": True,
}  # fmt: skip


@st.composite
def plans(draw):
    """One training: its model, its precision, and all that says how it is pruned."""
    precision = draw(st.sampled_from(ON_CPU))
    recurrent = precision in ("fp32", "amp") and draw(st.integers(0, 7)) == 0
    name = draw(st.sampled_from(OPTIMIZERS.get(precision, OPTIMIZERS["fp32"])))
    scope = draw(st.sampled_from(["layer", "global"]))
    sets = ["all-matrices", "no-embeddings"] + ([] if recurrent else ["attention", "ffn"])
    start = draw(st.integers(0, 4))
    pruning = draw(st.booleans())
    ticket = draw(st.sampled_from([0.3, 0.45])) if not pruning or draw(st.booleans()) else None
    flags = {
        "--prunable": draw(st.sampled_from(sets)),
        "--keep-dense": draw(st.sampled_from([None, None, r"^encoder\."])),
        "--scope": scope,
        "--min-density": draw(st.sampled_from([None, 0.1, 0.3])) if scope == "global" else None,
    }
    scores = ["magnitude", "random", "matrix.scores:of_trained"]
    if pruning:
        end = draw(st.integers(start + 1, UPDATES))
        flags.update({
            "--prune-to": draw(st.sampled_from([0.45, 0.5, 0.613])), "--prune-start": start,
            "--prune-end": end, "--prune-every": draw(st.integers(1, 3)),
            "--prune-schedule": draw(st.sampled_from(["cubic", "linear", "one-shot"])),
        })  # fmt: skip
        if ticket is None and precision != "amp" and start > 0:
            scores.append("matrix.scores:taylor")
    flags["--score"] = draw(st.sampled_from(scores))
    flags["--draw-seed"] = draw(st.integers(1, 9))
    ema = draw(st.sampled_from([None, "half", "fp32"]))
    if ema:
        flags.update({
            "--store-ema": True, "--ema-decay": 0.6, "--ema-start-update": draw(st.integers(0, 2)),
            "--ema-fp32": ema == "fp32" and not pruning,
        })  # fmt: skip
    flags["--clip-norm"] = draw(st.sampled_from([0, 0.1, 1]))
    flags["--update-freq"] = draw(st.sampled_from([1, 1, 2]))
    if precision.startswith("fp16"):
        flags["--fp16-init-scale"] = draw(st.sampled_from([4, 2**17]))  # the second one overflows
    return {
        "precision": precision,
        "optimizer": f"masked_{name}",
        "model": LSTM if recurrent else draw(transformers()),
        "ticket": ticket,
        "flags": {**flags, "--momentum": MOMENTUM.get(name)},
        "killed": draw(st.sampled_from([None, None, 2, 5])),
    }


@given(plan=plans())
@settings(PROPERTY, max_examples=30, phases=[Phase.generate])  # to shrink one takes minutes
def test_counts_are_exact_and_pruned_is_zero_after_every_update(toy_data, plan, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    made = {"precision": plan["precision"], "optimizer": plan["optimizer"], "model": plan["model"]}
    extra = ["--max-update", UPDATES, *flat(plan["flags"])]
    with in_this_process():
        if plan["ticket"] is not None:
            early = configuration(
                toy_data, folder / "early", "--max-update", 2, "--snapshot-updates", "0,2",
                model=plan["model"],
            )  # fmt: skip
            Training(early).run(2)
            trained, start = (folder / "early" / f"snapshot_{u}.safetensors" for u in (2, 0))
            extra += ["--mask-from", trained, "--start-from", start]
            extra += ["--sparsity", plan["ticket"]]
        cfg = configuration(toy_data, folder / "run", *extra, **made)
        training = Training(cfg)
        first = training.task.run.mask
        if plan["killed"]:
            training.run(plan["killed"]).save()
            before, training = training, Training(cfg)
            assert training.update == plan["killed"]
            assert training.task.run.mask == before.task.run.mask
        training.run(UPDATES)
        assert training.task.run.mask.is_subset_of(first)
        assert training.watch.looks >= UPDATES - (plan["killed"] or 0)  # more, of overflows
    shutil.rmtree(folder)


PLAIN = [(precision, "adam") for precision in ON_CPU] + [
    ("fp32", name) for name in OPTIMIZERS["fp32"] if name != "adam"
]


@pytest.mark.parametrize(("precision", "name"), PLAIN, ids=lambda value: value.replace(" ", "-"))
def test_a_mask_that_keeps_all_is_plain_fairseq(toy_data, tmp_path, precision, name):
    extra = ["--max-update", UPDATES, "--store-ema", "--update-freq", 2]
    extra += flat({"--momentum": MOMENTUM.get(name)})
    pruning = ["--prune-to", 0, "--prune-start", 1, "--prune-end", 5, "--prune-every", 2]
    with in_this_process():
        plain = configuration(
            toy_data, tmp_path / "plain", *extra, precision=precision, optimizer=name,
            lottery=False,
        )  # fmt: skip
        ours = configuration(
            toy_data, tmp_path / "ours", *extra, *pruning, precision=precision,
            optimizer=f"masked_{name}",
        )  # fmt: skip
        plain, ours = (Training(cfg).run(UPDATES).state() for cfg in (plain, ours))
    ours["optimizer"].pop("lottery", None)
    for part in ("model", "optimizer", "ema"):
        assert same(plain[part], ours[part]), part
    assert ours["task"]["lottery"]["mask"] is not None
