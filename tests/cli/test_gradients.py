"""``gradients``: sums against fairseq's own model and criterion, and tickets drawn from them."""

import pytest
import torch
from labelled import Runs as Labelled
from safetensors.torch import load_file, save_file

pytest.importorskip("fairseq")

from fairseq import checkpoint_utils
from fairseq.criterions.cross_entropy import CrossEntropyCriterion

from fairseq_lottery.cli.main import main
from fairseq_lottery.formats import container, load_ticket, read_source
from fairseq_lottery.masks import full_mask, score_all, select
from fairseq_lottery.masks.scores import SCORES
from fairseq_lottery.saliency.synaptic_flow import HAS_MODES

pytestmark = pytest.mark.slow

LAST = "checkpoint_last.pt"


def gradients(model, out, *more, code=0):
    assert main(["gradients", str(model), "--out", str(out), *map(str, more)]) == code
    return load_file(out) if not code else None


@pytest.fixture
def summed(dense, toy_data, tmp_path):
    """Sums over the whole training set."""
    out = tmp_path / "gradients.safetensors"
    return gradients(dense / LAST, out, "--data", toy_data, "--batches", 9999), out


def by_fairseq(path, data, second=False):
    """The gradient of the cross-entropy of all training examples in batches of one sentence each.

    With ``second``, half of the derivative of its squared norm, which is Hg.
    """
    overrides = {"data": str(data)}
    (model,), _, task = checkpoint_utils.load_model_ensemble_and_task([str(path)], overrides)
    model.eval()
    task.load_dataset("train")
    pairs = task.dataset("train")
    criterion = CrossEntropyCriterion(task, False)
    matrices = {n: p for n, p in model.named_parameters() if n.endswith("weight") and p.dim() == 2}
    total = 0
    for start in range(0, len(pairs), 100 if second else 40):
        numbers = range(start, min(start + (100 if second else 40), len(pairs)))
        for module in model.modules():  # torch's fused attention has no second derivative
            if hasattr(module, "skip_embed_dim_check"):
                module.skip_embed_dim_check = True
        loss = criterion(model, pairs.collater([pairs[i] for i in numbers]))[0]
        if second:
            total = total + loss
        else:
            loss.backward()
    if not second:
        return {name: p.grad for name, p in matrices.items()}
    first = torch.autograd.grad(total, list(matrices.values()), create_graph=True)
    norm = sum((g**2).sum() for g in first) / 2
    return dict(zip(matrices, torch.autograd.grad(norm, list(matrices.values()))))


def assert_close(sums, expected):
    assert set(sums) == set(expected)
    for name, tensor in expected.items():
        scale = float(tensor.abs().max())
        assert sums[name].dtype == torch.float32
        assert torch.allclose(sums[name], tensor, rtol=1e-3, atol=1e-4 * scale), name


def test_sums_are_those_of_fairseqs_own_criterion(summed, dense, toy_data):
    assert_close(summed[0], by_fairseq(dense / LAST, toy_data))


def test_products_with_the_hessian(dense, toy_data, tmp_path):
    sums = gradients(dense / LAST, tmp_path / "hessian.safetensors", "--data", toy_data,
                     "--score", "grasp", "--batches", 9999)  # fmt: skip
    assert_close(sums, by_fairseq(dense / LAST, toy_data, second=True))


def test_a_ticket_is_drawn_from_the_sums(summed, dense, tmp_path, capsys):
    sums, path = summed
    out = tmp_path / "ticket.safetensors"
    for scope in ("layer", "global"):
        flags = ["--score", "snip", "--gradients", str(path), "--scope", scope, "--overwrite"]
        assert main(["ticket", "--mask-from", str(dense / LAST), "--sparsity", "0.8", *flags,
                     "--out", str(out)]) == 0  # fmt: skip
        weights = read_source(dense / LAST).weights
        full = full_mask({name: tuple(w.shape) for name, w in weights.items()})
        scores = score_all(SCORES["snip"], weights, gradients=sums)
        assert load_ticket(out).mask == select(scores, full, 0.8, scope)
    assert "score:snip|" in capsys.readouterr().out


def test_the_seed_draws_the_batches_and_the_record_says_which(dense, toy_data, tmp_path, capsys):
    def some(seed, count):
        out = tmp_path / f"{seed}-{count}.safetensors"
        more = ("--data", toy_data, "--batches", count, "--max-tokens", 200, "--seed", seed,
                "--overwrite")  # fmt: skip
        return gradients(dense / LAST, out, *more), container.load(out, "gradients")[1]

    (one, record), (other, _) = some(1, 3), some(2, 3)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    again, same_record = some(1, 3)[0], some(1, 3)[1]
    assert all(torch.equal(one[name], again[name]) for name in one) and record == same_record
    assert record["batches"] == 3 < record["all_batches"] and record["tokens"] > 0
    assert record["weights"] == read_source(dense / LAST).digest()
    assert record["statistic"] == "gradient" and record["subset"] == "train"
    assert "summed over 3 of" in capsys.readouterr().out


@pytest.fixture
def refused(capsys):
    def refused(sentence, *words):
        capsys.readouterr()
        assert main([*map(str, words)]) == 2
        printed = capsys.readouterr().err.splitlines()
        assert len(printed) == 1 and sentence in printed[0], printed

    return refused


def test_a_file_for_another_score_or_model_is_refused(summed, dense, tmp_path, refused):
    _, path = summed
    draw = ("ticket", "--mask-from", dense / LAST, "--sparsity", 0.5, "--out", tmp_path / "t.safet"
            "ensors")  # fmt: skip
    refused("has summed gradients, but the score reads products of the Hessian",
            *draw, "--score", "grasp", "--gradients", path)  # fmt: skip
    tensors, record = container.load(path, "gradients")
    other = tmp_path / "other.safetensors"
    container.save(other, "gradients", tensors, {**record, "statistic": "hessian-gradient"})
    refused("has products of the Hessian with the gradient, but the score reads summed gradients",
            *draw, "--score", "snip", "--gradients", other)  # fmt: skip
    name = sorted(tensors)[0]
    container.save(other, "gradients", {**tensors, name: torch.zeros(3, 3)}, record)
    refused(f"does not match the model: {name} has shape (3, 3), expected",
            *draw, "--score", "snip", "--gradients", other)  # fmt: skip
    container.save(other, "gradients", {**tensors, "more.weight": torch.zeros(3, 3)}, record)
    refused("does not match the model: it has more.weight, which the model lacks",
            *draw, "--score", "snip", "--gradients", other)  # fmt: skip
    container.save(other, "gradients", {**tensors, name: tensors[name] * float("nan")}, record)
    refused("are not finite floating-point numbers", *draw, "--score", "snip", "--gradients", other)
    container.save(other, "gradients", {n: torch.zeros_like(t) for n, t in tensors.items()}, record)
    refused("has only zeros, which rank nothing", *draw, "--score", "snip", "--gradients", other)
    ticket = tmp_path / "ticket.safetensors"
    assert main(list(map(str, [*draw[:-1], ticket]))) == 0
    refused("is a ticket, not a file of summed gradients",
            *draw, "--score", "snip", "--gradients", ticket)  # fmt: skip
    path.write_bytes(path.read_bytes()[:-9])
    refused("is malformed or was not written by fairseq-lottery", *draw, "--score", "snip",
            "--gradients", path)  # fmt: skip


def test_files_of_other_programs_are_read_as_gradients(summed, dense, tmp_path, refused):
    sums, _ = summed
    plain, out = tmp_path / "plain.safetensors", tmp_path / "t.safetensors"
    save_file(sums, plain)
    draw = ("ticket", "--mask-from", dense / LAST, "--sparsity", 0.5, "--out", out)
    refused("has summed gradients, but the score reads", *draw, "--score", "grasp",
            "--gradients", plain)  # fmt: skip
    assert main(list(map(str, [*draw, "--score", "snip", "--gradients", plain]))) == 0


def test_scores_that_read_no_file_name_the_way(dense, tmp_path, refused):
    draw = ("ticket", "--mask-from", dense / LAST, "--sparsity", 0.5, "--out", tmp_path / "t.safet"
            "ensors")  # fmt: skip
    refused("--score force computes gradients in rounds, which a draw cannot; train with"
            " fairseq-train --score force --prune-to S", *draw, "--score", "force")  # fmt: skip
    refused("fairseq-train --score snip --score-rounds 4 --prune-to S", *draw, "--score", "snip",
            "--score-rounds", 4)  # fmt: skip
    refused("write them by fairseq-lottery gradients, and give --gradients", *draw,
            "--score", "snip")  # fmt: skip
    refused("--score-rounds is not an option of --score magnitude", *draw, "--score-rounds", 4)
    for score in ("synflow", "force", "magnitude"):
        refused(
            f"--score {score} does not read a file of gradients; choose snip, grasp, wanda",
            "gradients",
            dense / LAST,
            "--score",
            score,
            "--out",
            tmp_path / "g.safetensors",
        )
    refused("must end in .safetensors", "gradients", dense / LAST, "--out", tmp_path / "g.pt")
    refused("--batches 0 is out of range", "gradients", dense / LAST, "--batches", 0,
            "--out", tmp_path / "g.safetensors")  # fmt: skip
    assert not list(tmp_path.glob("*.safetensors"))


@pytest.mark.skipif(not HAS_MODES, reason="torch 1.12 has other function modes")
def test_synflow_draws_from_a_file_alone(dense, toy, tmp_path):
    """The training before its first update computes the same mask of the same weights."""
    once = ("--score", "synflow", "--score-rounds", 10, "--prune-to", 0.9, "--prune-schedule",
            "one-shot", "--prune-start", 0, "--scope", "global")  # fmt: skip
    toy.train("run", "--snapshot-updates", "0", updates=1).ok()
    toy.train("once", *once, updates=1).ok()
    out = tmp_path / "flow.safetensors"
    flags = ["--sparsity", 0.9, "--score", "synflow", "--score-rounds", 10, "--scope", "global"]
    source = toy.path("run", "snapshot_0.safetensors")
    assert main(list(map(str, ["ticket", "--mask-from", source, *flags, "--out", out]))) == 0
    ticket = load_ticket(out)
    assert ticket.mask == toy.mask("once", LAST)
    assert ticket.record["score_rounds"] == 10 and ticket.record["score"] == "synflow"
    assert ticket.record["signature"].startswith("score:synflow|rounds:10|scope:global|")
    # the same draw at the start of a training, from the ticket's own file on
    line = ("--mask-from", source, *flags)
    toy.train("drawn", *line, updates=1).ok()
    assert (toy.path("drawn", "ticket.safetensors")).read_bytes() == out.read_bytes()
    # a pruned source is pruned further
    more = tmp_path / "more.safetensors"
    flags[1] = 0.95
    assert main(list(map(str, ["ticket", "--mask-from", out, *flags, "--out", more]))) == 0
    assert load_ticket(more).mask.is_subset_of(ticket.mask)


@pytest.mark.parametrize("kind", ["two", "text"])
def test_other_tasks(tmp_path_factory, kind, tmp_path):
    """A classifier and a masked language model; fairseq's criterion is the loss."""
    runs = Labelled(tmp_path_factory.mktemp("sums"))
    runs.train(kind, "run", updates=3).ok()
    last, out = runs.path("run", LAST), tmp_path / "gradients.safetensors"
    flags = ("--batches", 4, "--max-tokens", 200)
    sums = gradients(last, out, *flags)
    shapes = read_source(last).shapes
    assert set(sums) == set(full_mask(shapes))
    # the loss of a classifier does not depend on the head of the pre-training
    unused = {"encoder.lm_head.dense.weight"} if kind == "two" else set()
    assert {name for name, tensor in sums.items() if not tensor.any()} == unused
    products = gradients(last, tmp_path / "hessian.safetensors", *flags, "--score", "grasp")
    assert {name for name in sums if torch.equal(products[name], sums[name])} == unused
    for score, path in (("snip", out), ("grasp", tmp_path / "hessian.safetensors")):
        ticket = tmp_path / f"{score}.safetensors"
        assert main(["ticket", "--mask-from", last, "--sparsity", "0.7", "--score", score,
                     "--gradients", str(path), "--out", str(ticket)]) == 0  # fmt: skip
        assert load_ticket(ticket).mask.sparsity == pytest.approx(0.7, abs=1e-3)
    if not HAS_MODES:
        return
    flow = tmp_path / "flow.safetensors"
    assert main(["ticket", "--mask-from", last, "--sparsity", "0.7", "--score", "synflow",
                 "--score-rounds", "5", "--out", str(flow)]) == 0  # fmt: skip
    assert not load_ticket(flow).mask.emptied


def norms_by_fairseq(path, data, name):
    """Norms of the inputs of a layer over all training examples, one after the other."""
    overrides = {"data": str(data)}
    (model,), _, task = checkpoint_utils.load_model_ensemble_and_task([str(path)], overrides)
    model.eval()
    for module in model.modules():
        if hasattr(module, "skip_embed_dim_check"):
            module.skip_embed_dim_check = True
    squares = 0

    def add(_module, inputs):
        nonlocal squares
        squares = squares + inputs[0].reshape(-1, inputs[0].shape[-1]).double().pow(2).sum(0)

    model.get_submodule(name).register_forward_pre_hook(add)
    task.load_dataset("train")
    pairs = task.dataset("train")
    with torch.no_grad():
        for number in range(len(pairs)):
            model(**pairs.collater([pairs[number]])["net_input"])
    return squares.sqrt()


def test_inputs_are_recorded_without_padding(dense, toy_data, tmp_path, refused):
    out, ticket = tmp_path / "norms.safetensors", tmp_path / "ticket.safetensors"
    flags = ("--data", toy_data, "--batches", 9999, "--score", "wanda")
    refused("is not the weight of a linear layer, whose inputs the score reads; give --prunable no",
            "gradients", dense / LAST, *flags, "--out", out)  # fmt: skip
    sums = gradients(dense / LAST, out, *flags, "--prunable", "no-embeddings")
    for name in ("encoder.layers.1.fc1", "decoder.layers.0.encoder_attn.k_proj"):
        norms = norms_by_fairseq(dense / LAST, toy_data, name)
        stored = sums[f"{name}.weight"]
        assert torch.allclose(stored.double(), norms.expand_as(stored), rtol=1e-4)
    draw = ("ticket", "--mask-from", dense / LAST, "--sparsity", 0.5, "--scope", "row",
            "--prunable", "no-embeddings", "--out", ticket)  # fmt: skip
    refused("has norms of inputs, but the score reads inverse Hessians of inputs", *draw,
            "--score", "sparsegpt", "--gradients", out)  # fmt: skip
    assert main(list(map(str, [*draw, "--score", "wanda", "--gradients", out]))) == 0
    mask, weights = load_ticket(ticket).mask, read_source(dense / LAST).weights
    for name, keep in mask.items():
        assert (keep.sum(1) == keep.shape[1] // 2).all()
        scores = (weights[name].abs() * sums[name]).double()
        assert (scores.where(keep, scores.new_tensor(9e9)).min(1).values
                >= scores.where(~keep, scores.new_tensor(-1)).max(1).values).all()  # fmt: skip


def test_a_training_prunes_by_its_inputs(toy, dense):
    for name in ("wanda", "sparsegpt"):
        flags = ("--score", name, "--prune-to", 0.5, "--prune-schedule", "one-shot",
                 "--prune-start", 0, "--scope", "row", "--prunable", "no-embeddings",
                 "--score-batches", 2)  # fmt: skip
        toy.train(name, *flags, updates=2).ok()
        mask = toy.mask(name, LAST)
        assert all((keep.sum(1) == keep.shape[1] // 2).all() for keep in mask.values())
    assert toy.mask("wanda", LAST) != toy.mask("sparsegpt", LAST)
