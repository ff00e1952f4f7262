"""``heads prune``: a model with components pruned and nothing trained is the one under gates."""

import re

import pytest
import torch
from live import DIM, FFN, HEADS, WORDS, anatomy, log_probs, sentences, transformer, translate
from small import pair_of, save_checkpoint, weights
from toy import drawing, hypotheses, same

from fairseq_lottery.cli.main import main
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.export.checkpoint_forms import export
from fairseq_lottery.formats import (
    mask_to_state,
    read_checkpoint,
    read_source,
    save_ticket,
    trainable,
)
from fairseq_lottery.heads.components.choice_file import load_choice, save_choice
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.components.pruned_weights import find_pruned, weight_masks
from fairseq_lottery.heads.gates.gates import Gates
from fairseq_lottery.heads.pruning.draw_pruning import anatomy_of
from fairseq_lottery.heads.pruning.pruned_checkpoint import prune_weights
from fairseq_lottery.masks import full_mask
from fairseq_lottery.tickets import DrawPlan, draw
from fairseq_lottery.tickets.folder_check import check_folder
from fairseq_lottery.training.run_metrics import signs_of

POSITIONS = {"max_source_positions": 64, "max_target_positions": 64}
SIDES = {
    f"{side}_{name}": value
    for side in ("encoder", "decoder")
    for name, value in
    (("layers", 2), ("embed_dim", DIM), ("ffn_embed_dim", FFN), ("attention_heads", HEADS))
}  # fmt: skip
SETTINGS = {**SIDES, **POSITIONS, "share_all_embeddings": True, "arch": "transformer"}
SYMBOLS = tuple(str(number) for number in range(WORDS - 4))
HEADS_CLOSED = {"encoder.layers.0.self_attn": [0, 2], "decoder.layers.1.encoder_attn": [1]}
CLOSED = {
    "heads": {"heads": HEADS_CLOSED},
    "units": {"units": {"encoder.layers.1": [0, 5, 23], "decoder.layers.0": [7]}},
    "blocks": {"blocks": {"encoder.layers.0": [0], "decoder.layers.1": [0]}},
    "all": {
        "heads": {**HEADS_CLOSED, "decoder.layers.0.self_attn": list(range(HEADS))},
        "units": {"encoder.layers.1": [3]},
        "blocks": {"decoder.layers.0": [0]},
    },
}


def prune(*words, code=0):
    assert main(["heads", "prune", *map(str, words)]) == code


@pytest.fixture(scope="module")
def model():
    return transformer(**POSITIONS)


@pytest.fixture
def checkpoint(model, tmp_path):
    """With an optimizer's state and an EMA, as a training leaves it."""
    lottery = {"mask": None, "dictionaries": pair_of(SYMBOLS, SYMBOLS).to_tensors()}
    return save_checkpoint(
        tmp_path / "model.pt", weights(), model=model.state_dict(),
        cfg={"model": SETTINGS, "task": {"_name": "translation_lottery"}},
        task_state={"lottery": lottery}, last_optimizer_state={"state": {}},
        extra_state={"ema": {"x": torch.ones(1)}, "train_iterator": {"epoch": 3}},
    )  # fmt: skip


@pytest.fixture
def file(model, tmp_path):
    def write(kind, mode="zero"):
        components = ComponentMask(anatomy(model), CLOSED[kind], mode)
        save_choice(tmp_path / "parts.json", components, {}, overwrite=True)
        return components

    return write


@pytest.mark.parametrize(
    "kind, mode",
    [("heads", "zero"), ("heads", "uniform"), ("units", "zero"), ("blocks", "zero"),
     ("all", "zero"), ("all", "uniform")],
)  # fmt: skip
def test_it_translates_as_under_gates(model, checkpoint, file, tmp_path, capsys, kind, mode):
    components = file(kind, mode)
    prune(checkpoint, "--components", tmp_path / "parts.json", "--out", tmp_path / "closed.pt")
    heads, units = (components.count_pruned(kind) for kind in ("heads", "units"))
    told = f"{heads} of 24 heads, {units} of 96 units"
    assert told in capsys.readouterr().out
    state = read_checkpoint(tmp_path / "closed.pt")
    assert find_pruned(state["model"], anatomy(model)) == components
    found = transformer(seed=2, **POSITIONS)
    found.load_state_dict(state["model"])
    gates = Gates(model, anatomy(model))
    gates.set(components)
    batch = sentences()
    with torch.no_grad():
        with gates.attached():
            expected, translations = log_probs(model, batch), translate(model, batch)
        assert float((log_probs(found, batch) - expected).abs().max()) <= 1e-5
        assert float((log_probs(model, batch) - expected).abs().max()) > 1e-2
    for (tokens, scores), (others, their_scores) in zip(translate(found, batch), translations):
        assert torch.equal(tokens, others)
        assert torch.allclose(scores, their_scores, atol=1e-5)


def test_what_stays_and_what_goes(model, checkpoint, file, tmp_path):
    components = file("all")
    prune(checkpoint, "--components", tmp_path / "parts.json", "--out", tmp_path / "closed.pt")
    before, after = read_checkpoint(checkpoint), read_checkpoint(tmp_path / "closed.pt")
    assert list(before["model"]) == list(after["model"])
    for name in ("args", "cfg", "optimizer_history", "task_state"):
        assert same(before.get(name), after.get(name))
    assert after["last_optimizer_state"] is None and "ema" not in after["extra_state"]
    other = {n for n in before["model"] if not same(before["model"][n], after["model"][n])}
    layers = {re.match(r"(.*)\.\w+\.\w+", name).group(1) for name in other}
    assert layers == {*components.anatomy.heads} - {
        "encoder.layers.1.self_attn", "decoder.layers.1.self_attn", "decoder.layers.0.encoder_attn"
    } | {"encoder.layers.1", "decoder.layers.0"}  # fmt: skip


def test_a_mask_is_restricted_and_everything_agrees(model, checkpoint, file, tmp_path):
    """Half of each matrix pruned, under a ticket that said so."""
    shapes = {name: tuple(p.shape) for name, p in trainable(model).items()}
    ticket = draw(DrawPlan(mask_from=checkpoint, sparsity=0.5, reset="keep"))
    state = read_checkpoint(checkpoint)
    for name, keep in ticket.mask.items():
        state["model"][name][~keep] = 0
    state["model"]["decoder.embed_tokens.weight"] = state["model"]["encoder.embed_tokens.weight"]
    state["model"]["decoder.output_projection.weight"] = state["model"][
        "encoder.embed_tokens.weight"
    ]
    lottery = state["task_state"]["lottery"]
    lottery.update(mask=mask_to_state(ticket.mask), ticket=ticket.record, ticket_digest="0" * 64)
    del state["extra_state"]["ema"]
    torch.save({**state, "last_optimizer_state": None}, tmp_path / "masked.pt")
    components = file("all")
    folder = tmp_path / "closed"
    folder.mkdir()
    out = folder / "closed.pt"
    prune(tmp_path / "masked.pt", "--components", tmp_path / "parts.json", "--out", out)
    source = read_source(out)
    assert source.agrees and find_pruned(source.weights, anatomy(model)) == components
    more = sum(
        int((~keep & ticket.mask[name]).sum())
        for name, keep in weight_masks(components, shapes).items()
    )
    assert source.mask.pruned == ticket.mask.pruned + more and more > 0
    (checked,) = check_folder(folder)
    assert checked.problems == () and checked.pruned == source.mask.pruned
    assert export(out, tmp_path / "slim.pt", "slim").components.count_pruned("heads") == 7
    # its dense export has no mask, and pruning components of that gives the same weights
    export(tmp_path / "masked.pt", tmp_path / "dense.pt")
    prune(
        tmp_path / "dense.pt", "--components", tmp_path / "parts.json", "--out", tmp_path / "d.pt"
    )
    assert same(read_source(tmp_path / "d.pt").weights, source.weights)
    assert read_source(tmp_path / "d.pt").mask is None


def test_of_a_compact_model(checkpoint, file, tmp_path):
    components = file("all")
    export(checkpoint, tmp_path / "c.safetensors", "compact")
    words = ("--components", tmp_path / "parts.json", "--out")
    prune(tmp_path / "c.safetensors", *words, tmp_path / "a.pt")
    prune(checkpoint, *words, tmp_path / "b.pt")
    sources = [read_source(tmp_path / f"{name}.pt") for name in "ab"]
    assert same(sources[0].weights, sources[1].weights)
    assert find_pruned(sources[0].weights, anatomy_of(sources[0])) == components


def test_what_is_refused(model, checkpoint, file, tmp_path, capsys):
    file("units")
    components, out = tmp_path / "parts.json", tmp_path / "new" / "closed.pt"
    out.parent.mkdir()
    ticket = tmp_path / "t.safetensors"
    save_ticket(ticket, draw(DrawPlan(mask_from=checkpoint, sparsity=0.5, reset="keep")))
    prune(checkpoint, "--components", components, "--out", tmp_path / "c.pt")
    export(tmp_path / "c.pt", tmp_path / "slim.pt", "slim")
    shapes = {name: tuple(p.shape) for name, p in trainable(model).items()}
    state = read_checkpoint(checkpoint)
    state["task_state"]["lottery"]["mask"] = mask_to_state(full_mask(shapes, "attention"))
    torch.save(state, tmp_path / "attention.pt")
    other = tmp_path / "other.json"
    other.write_text(
        components.read_text().replace('"encoder.layers.0": 24', '"encoder.layers.0": 25')
    )
    for given, choice, message in (
        (ticket, components, "is a ticket, expected a checkpoint; prune its components with"),
        (tmp_path / "slim.pt", components, "restore them with fairseq-lottery export --to dense"),
        (tmp_path / "attention.pt", components, "leaves encoder.layers.1.fc1.weight dense"),
        (checkpoint, other, "is for a model with other heads or FFN units"),
        (checkpoint, tmp_path / "none.json", "cannot be read: No such file"),
        (tmp_path / "none.pt", components, "there is no file"),
    ):
        prune(given, "--components", choice, "--out", out, code=2)
        found = capsys.readouterr().err
        assert message in found and found.count("\n") == 1
    prune(checkpoint, "--components", components, "--out", out.with_suffix(".safetensors"), code=2)
    assert "give a name that ends in .pt" in capsys.readouterr().err
    prune(checkpoint, "--components", components, "--out", tmp_path / "c.pt", code=2)
    assert "exists already" in capsys.readouterr().err
    assert not list(out.parent.iterdir())


@pytest.mark.slow
def test_fairseq_generates_and_slim_translates_as_it(toy, dense, tmp_path):
    toy.train("sparse", *drawing(dense, 0.5), updates=5).ok()
    model, components = toy.path("sparse", "checkpoint_last.pt"), tmp_path / "half.json"
    for kind, start in (("heads", ()), ("units", ("--components", components))):
        words = ["choose", "--of", model, "--strategy", "random", "--share", 0.5, "--kind", kind]
        assert main(["heads", *map(str, words), *map(str, start), "--out", str(components),
                     "--overwrite"]) == 0  # fmt: skip
    prune(model, "--components", components, "--out", toy.path("closed.pt"))
    source = read_source(toy.path("closed.pt"))
    assert find_pruned(source.weights, anatomy_of(source)) == load_choice(components)[0]
    export(toy.path("closed.pt"), toy.path("slim.pt"), "slim")
    found = [hypotheses(toy.generate(name).ok()) for name in ("closed.pt", "slim.pt")]
    assert len(found[0]) == 50 and found[0] == found[1]
    assert found[0] != hypotheses(toy.generate("sparse/checkpoint_last.pt").ok())
    done = toy.train("tuned", "--finetune-from-model", toy.path("closed.pt"), updates=3).ok()
    assert done.code == 0 and toy.mask("tuned", "checkpoint_last.pt") == source.mask


# --- single weights ---


@pytest.fixture
def ticket(checkpoint, tmp_path):
    found = draw(DrawPlan(mask_from=checkpoint, sparsity=0.5, reset="keep"))
    save_ticket(tmp_path / "found.safetensors", found)
    return tmp_path / "found.safetensors", found.mask


def test_weights_that_a_ticket_prunes_are_zero_and_no_others(checkpoint, ticket, tmp_path):
    path, mask = ticket
    assert prune_weights(checkpoint, path, tmp_path / "pruned.pt") == mask
    before, after = (read_checkpoint(one) for one in (checkpoint, tmp_path / "pruned.pt"))
    assert list(before["model"]) == list(after["model"])
    first = "encoder.embed_tokens.weight"
    tied = {"decoder.embed_tokens.weight": first, "decoder.output_projection.weight": first}
    for name, weight in before["model"].items():
        keep = mask[tied.get(name, name)] if tied.get(name, name) in mask else 1
        assert torch.equal(after["model"][name], weight * keep), name
    assert after["last_optimizer_state"] is None and "ema" not in after["extra_state"]
    assert read_source(tmp_path / "pruned.pt").mask == mask
    dictionaries = (one["task_state"]["lottery"]["dictionaries"] for one in (before, after))
    assert same(*dictionaries)
    (tmp_path / "alone").mkdir()
    prune_weights(checkpoint, path, tmp_path / "alone" / "best.pt")
    (checked,) = check_folder(tmp_path / "alone")
    assert checked.problems == () and checked.pruned == mask.pruned


def test_a_dense_model_that_trained_under_a_mask_of_other_matrices(model, checkpoint, tmp_path):
    """As the fine-tuning of pre-trained weights: a ticket of sparsity 0, of attention only."""
    shapes = {name: tuple(p.shape) for name, p in trainable(model).items()}
    attention = full_mask(shapes, "attention")
    state = read_checkpoint(checkpoint)
    state["task_state"]["lottery"].update(
        mask=mask_to_state(attention),
        start_signs={
            name: torch.from_numpy(signs_of(state["model"][name])) for name in attention
        },
    )
    torch.save(state, tmp_path / "attention.pt")
    ticket = draw(DrawPlan(mask_from=checkpoint, sparsity=0.5, reset="keep", prunable="ffn"))
    save_ticket(tmp_path / "ffn.safetensors", ticket)
    dense, out = tmp_path / "attention.pt", tmp_path / "pruned.pt"
    assert prune_weights(dense, tmp_path / "ffn.safetensors", out) == ticket.mask
    assert read_source(out).mask == ticket.mask


def test_a_mask_that_a_model_cannot_be_pruned_by(checkpoint, ticket, tmp_path):
    path, _ = ticket
    out = tmp_path / "pruned.pt"
    other = save_checkpoint(tmp_path / "other.pt", weights())
    for given, said in (
        (other, "does not have a mask for a model like"),
        (checkpoint, "does not have a mask for a model like"),
    ):
        with pytest.raises(LotteryError, match=said):
            prune_weights(checkpoint, given, out)
    prune_weights(checkpoint, path, out)
    with pytest.raises(LotteryError, match="is pruned already; prune the dense model"):
        prune_weights(out, path, tmp_path / "again.pt")
    assert not (tmp_path / "again.pt").exists()
