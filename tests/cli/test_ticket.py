import argparse
import shlex

import pytest
from small import EMBEDDING, MATRICES, PRUNABLE, SHAPES, Run, save_checkpoint

from fairseq_lottery.cli import ticket as command
from fairseq_lottery.cli.main import build_parser, main
from fairseq_lottery.formats import load_ticket, save_ticket
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.components.choice_file import save_choice
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.options import GROUPS, options
from fairseq_lottery.options.option import DRAW
from fairseq_lottery.tickets import DrawPlan, draw


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def call(run, *arguments):
    out = run.folder / "out.safetensors"
    fixed = ["--mask-from", run.last, "--start-from", run.snapshot_5, "--out", str(out)]
    assert main(["ticket", *fixed, *arguments]) == 0
    return out


def test_the_command_draws_what_the_function_draws(run, capsys):
    out = call(run, "--sparsity", "0.5")
    save_ticket(run.folder / "drawn.safetensors", run.draw())
    assert out.read_bytes() == (run.folder / "drawn.safetensors").read_bytes()
    assert capsys.readouterr().out.splitlines() == [
        f"{out}: 310 of {PRUNABLE} weights pruned",
        "score:magnitude|scope:layer|sparsity:0.5000|of:620:all-matrices|reset:rewind@5"
        "|clock:restart|moments:fresh|seed:1|version:0.1.0",
    ]


def test_every_axis_reaches_the_draw(run):
    axes = {
        "score": "random", "scope": "global", "min_density": "0.1", "prunable": "attention",
        "keep_dense": "encoder_attn", "reset": "sign", "alpha": "std", "initial": run.snapshot_0,
        "update_counter": "rewind", "seed": "3", "sparsity": "0.6",
    }  # fmt: skip
    flags = [part for k, v in axes.items() for part in (f"--{k.replace('_', '-')}", v)]
    ticket = load_ticket(call(run, *flags))
    numbers = {"min_density": 0.1, "sparsity": 0.6, "seed": 3}
    assert ticket.digest() == run.draw(**{**axes, **numbers}).digest()


def test_two_of_four(run, capsys):
    """fc2 has rows of six weights; the padding row of the embedding is neither counted nor cut."""
    axes = ("--scope", "2:4", "--keep-dense", "fc2")
    ticket = load_ticket(call(run, *axes))
    assert (ticket.mask.pruned, ticket.mask.prunable, len(ticket.mask)) == (262, 524, MATRICES - 4)
    for name, keep in ticket.mask.items():
        groups = keep.reshape(-1, 4).sum(1).tolist()
        assert groups == [2, 4, *[2] * 10] if name == EMBEDDING else set(groups) == {2}
    assert (ticket.record["scope"], ticket.record["asked"]) == ("2:4", 0.5)
    signature = "score:magnitude|scope:2:4|sparsity:0.5000|of:524:all-matrices|reset:rewind@5"
    out = run.folder / "out.safetensors"
    assert capsys.readouterr().out.splitlines() == [
        f"{out}: 262 of 524 weights pruned",
        f"{signature}|clock:restart|moments:fresh|seed:1|version:0.1.0",
    ]
    plain = out.read_bytes()
    assert call(run, *axes, "--sparsity", "0.5", "--overwrite").read_bytes() == plain


def test_other_patterns_have_other_sparsities(run):
    for scope, pruned in (("1:2", 310), ("1:4", 465 - 72)):
        more = ("--keep-dense", "fc2", "--overwrite") if scope == "1:4" else ()
        ticket = load_ticket(call(run, "--scope", scope, *more))
        assert (ticket.mask.pruned, ticket.record["scope"]) == (pruned, scope)


@pytest.mark.parametrize(
    "flags, sentence",
    [
        ("--scope 2:4", "requires rows of a multiple of 4 weights, those of decoder.layers.0.fc2"),
        ("--scope 2:4 --sparsity 0.6 --prunable attention", "expected sparsity 0.5, not 0.6"),
        ("--scope 4:2", "there is no scope '4:2'; choose one of layer, global"),
        ("--scope 3:3 --sparsity 0", "there is no scope '3:3'"),
        ("--scope 2:4 --min-density 0.1 --prunable attention", "requires scope global"),
        ("--scope 2:4 --mask-file {run.last}", "--mask-file excludes --scope"),
    ],
)
def test_a_pattern_that_cannot_be_drawn(run, capsys, flags, sentence):
    out = run.folder / "out.safetensors"
    words = [word.format(run=run) for word in flags.split()]
    assert main(["ticket", "--mask-from", run.last, "--out", str(out), *words]) == 2
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == 1 and sentence in printed[0]
    assert not out.exists()


def test_a_pattern_of_closed_heads_is_refused(run, tmp_path, capsys):
    """A choice that closes nothing takes no row away."""
    heads = {f"{side}_attention_heads": 2 for side in ("encoder", "decoder")}
    model = {"arch": "transformer", **heads}
    path = save_checkpoint(tmp_path / "whole.pt", run.trained, cfg={"model": model, "task": {}})
    anatomy, parts = Anatomy.of(SHAPES, heads), tmp_path / "parts.json"
    fixed = ["ticket", "--mask-from", path, "--components", str(parts), "--scope", "1:2"]
    out = tmp_path / "out.safetensors"
    for closed, code in (([0], 2), ([], 0)):
        choice = ComponentMask(anatomy, {"heads": {"encoder.layers.0.self_attn": closed}})
        save_choice(parts, choice, {}, overwrite=True)
        assert main([*fixed, "--out", str(out)]) == code and out.exists() is (code == 0)
    assert capsys.readouterr().err.splitlines() == [
        "fairseq-lottery: --scope 1:2 keeps 1 of every 2 weights of every row, but --components"
        " prunes all weights of heads and FFN units; leave one out, or use --scope layer or global"
    ]


def test_what_is_closed_whole_is_no_matrix_that_a_scope_has_emptied(run, tmp_path, capsys):
    heads = {f"{side}_attention_heads": 2 for side in ("encoder", "decoder")}
    cfg = {"model": {"arch": "transformer", **heads}, "task": {}}
    weights = {n: w / 1e4 if "layers.0.fc1.weight" in n else w for n, w in run.trained.items()}
    path = save_checkpoint(tmp_path / "whole.pt", weights, cfg=cfg)
    closed = {"heads": {"encoder.layers.0.self_attn": [0, 1]}, "blocks": {"encoder.layers.0": [0]}}
    save_choice(tmp_path / "parts.json", ComponentMask(Anatomy.of(SHAPES, heads), closed), {})
    call(run, "--mask-from", path, "--sparsity", "0.5", "--scope", "global",
         "--components", str(tmp_path / "parts.json"))  # fmt: skip
    warned = [line for line in capsys.readouterr().out.splitlines() if "are pruned" in line]
    assert warned == [
        "warning: layer collapse: all weights of decoder.layers.0.fc1.weight are pruned; give"
        " --scope layer, --min-density with --scope global, or a lower sparsity"
    ]


def test_every_field_of_a_plan_has_a_flag_with_its_default():
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    args = vars(parser.parse_args(["--mask-from", "a", "--out", "b"]))
    assert set(DrawPlan.__dataclass_fields__) == set(args) - {"out", "overwrite", "user_dir"}
    plan = DrawPlan("a", sparsity=0.5)
    for name in set(DrawPlan.__dataclass_fields__) - {"mask_from", "sparsity"}:
        assert args[name] == getattr(plan, name), name


def test_help_lists_what_there_is(capsys):
    with pytest.raises(SystemExit):
        main(["ticket", "--help"])
    text = "".join(capsys.readouterr().out.split())  # lines are broken at hyphens, too
    for one in options(*GROUPS, place=DRAW):
        for part in (one.flag_in(DRAW), one.help, one.axis.lines if one.axis else ""):
            assert "".join(part.split()) in text


def test_the_example_can_be_parsed():
    args = build_parser().parse_args(shlex.split(command.EXAMPLE)[1:])
    assert (args.sparsity, args.out) == (0.5, "slt50.safetensors")


def test_a_ticket_is_replaced_on_request_only(run, capsys):
    out = call(run, "--sparsity", "0.5")
    before = out.read_bytes()
    fixed = ["ticket", "--mask-from", run.last, "--sparsity", "0.6", "--out", str(out)]
    assert main(fixed) == 2 and out.read_bytes() == before
    assert main([*fixed, "--overwrite"]) == 0 and out.read_bytes() != before


def test_dead_matrices_and_rounded_weights_are_warned_of(run, tmp_path, capsys):
    weights = {n: w / 1e4 if ".fc1.weight" in n else w for n, w in run.trained.items()}
    half = {name: weight.half() for name, weight in weights.items()}
    path = save_checkpoint(tmp_path / "half.pt", half)
    call(run, "--mask-from", path, "--sparsity", "0.5", "--scope", "global")
    printed = capsys.readouterr().out
    sides = ("decoder", "encoder")
    names = ", ".join(f"{side}.layers.{layer}.fc1.weight" for side in sides for layer in (0, 1))
    assert f"warning: layer collapse: all weights of {names} are pruned; give --scope" in printed
    assert "warning: half-precision weights without fp32 masters" in printed


def test_the_distribution_of_a_sparsity(run, tmp_path, capsys):
    """The total is exact, and matrices that stay dense are named."""
    ticket = load_ticket(call(run, "--scope", "erk", "--sparsity", "0.1"))
    assert (ticket.record["scope"], ticket.mask.pruned) == ("erk", 62)
    assert "|scope:erk|sparsity:0.1000|" in ticket.record["signature"]
    dense = [name for name in ticket.mask if not ticket.mask.pruned_in(name)]
    printed = capsys.readouterr().out
    assert dense and f"all weights of {len(dense)} of 33 matrices, such as {dense[0]}" in printed
    call(run, "--scope", "uniform", "--sparsity", "0.9", "--overwrite")
    assert "note: " not in capsys.readouterr().out
    path = str(tmp_path / "none.safetensors")
    line = ["ticket", "--mask-from", str(run.last), "--scope", "uniform", "--sparsity", "0.99"]
    assert main([*line, "--out", path]) == 2
    assert "--scope uniform keeps embeddings dense" in capsys.readouterr().err


def test_pruned_components_reach_the_rounds_of_a_score(run, tmp_path):
    """They are no part of the sparsity from which the rounds increase it."""
    heads = {f"{side}_attention_heads": 2 for side in ("encoder", "decoder")}
    cfg = {"model": {"arch": "transformer", **heads}, "task": {}}
    path = save_checkpoint(tmp_path / "whole.pt", run.trained, cfg=cfg)
    parts, closed = str(tmp_path / "parts.json"), {"heads": {"encoder.layers.0.self_attn": [0]}}
    save_choice(parts, ComponentMask(Anatomy.of(SHAPES, heads), closed), {})
    passed = []

    def find_mask(source, score, mask, sparsity, select, rounds, excluded):
        passed.append((score, mask, rounds, excluded))
        return select({name: source.weights[name].abs() for name in mask}, mask, sparsity)

    plan = {"mask_from": path, "sparsity": 0.5, "score": "synflow", "score_rounds": 4}
    ticket = draw(DrawPlan(**plan, components=parts), find_mask=find_mask)
    draw(DrawPlan(**plan), find_mask=find_mask)
    (score, mask, rounds, excluded), (*_, nothing) = passed
    assert (score, rounds, nothing) == ("synflow", 4, None)
    assert excluded == mask and excluded.pruned == ticket.record["parts"]["weights"] > 0
    assert ticket.mask.pruned == excluded.pruned + (mask.prunable - excluded.pruned) // 2
