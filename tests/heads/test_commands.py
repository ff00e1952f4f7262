"""``fairseq-lottery heads``, step by step on a trained model, and what it refuses."""

import json
import math
from pathlib import Path

import pytest
import torch

pytest.importorskip("fairseq")

from fairseq_lottery.cli.main import build_parser, main
from fairseq_lottery.formats import load_ticket, read_checkpoint
from fairseq_lottery.formats.source import read_source
from fairseq_lottery.heads.commands import EXAMPLES, STEPS
from fairseq_lottery.heads.components.anatomy import KINDS, Anatomy
from fairseq_lottery.heads.components.choice_file import load_choice, save_choice
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.components.pruned_weights import find_pruned
from fairseq_lottery.heads.measures.score_table import load_scores
from fairseq_lottery.heads.pruning.draw_pruning import anatomy_of
from fairseq_lottery.heads.searches.importance_file import load_importance_steps
from fairseq_lottery.tickets import DrawPlan, draw


def said(capsys, *words, code=0):
    """What a command prints; of one that fails, its sentence."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == code
    found = capsys.readouterr()
    if code:
        assert found.err.startswith("fairseq-lottery: ") and found.err.count("\n") == 1
    return found.err if code else found.out


def test_a_choice_records_the_options_that_its_content_depends_on(tmp_path, capsys):
    scores = Path(__file__).parents[1] / "golden/modern/scores.json"
    choice = tmp_path / "choice.json"
    said(capsys, "heads", "choose", "--scores", scores, "--share", 0.5, "--out", choice)
    _, record = load_choice(choice)
    options = {"action", "kind", "at_least", "scores", "strategy", "share", "uniform", "seed"}
    assert record.keys() == {*options, "scored", "version"}
    assert (record["scores"], record["share"]) == (str(scores), 0.5)


@pytest.mark.slow
def test_from_importance_to_a_trained_ticket(dense, toy, capsys, tmp_path):
    model = dense / "checkpoint_last.pt"
    scores, exact, half = (tmp_path / f"{n}.json" for n in ("scores", "exact", "half"))
    out = said(capsys, "heads", "importance", model, "--out", scores)
    assert out.split()[0] == "enc_self" and len(out.splitlines()) == 9
    anatomy, found, record = load_scores(scores)
    assert (sum(anatomy.heads.values()), sum(anatomy.units.values())) == (12, 256)
    assert record["measure"] == "gradient" and record["per"] == "sentence"
    assert min(float(v.min()) for v in found["heads"].values()) > 0

    said(capsys, "heads", "ablate", model, "--out", exact, "--sentences", 20, "--blocks")
    _, effects, record = load_scores(exact)
    assert set(effects) == {"heads", "blocks"} and record["full"] > 0
    report = json.loads(said(capsys, "heads", "compare", scores, exact, "--json"))
    assert report["components"] == 12 and -1 <= report["spearman"] <= 1

    words = ("--scores", scores, "--share", 0.5, "--out", half)
    assert "6 of 12 heads, 0 of 256 units" in said(capsys, "heads", "choose", *words)
    components, record = load_choice(half)
    assert record["strategy"] == "lowest" and record["scored"]["measure"] == "gradient"
    more = tmp_path / "more.json"
    said(capsys, "heads", "choose", "--of", model, "--kind", "units", "--strategy", "random",
         "--share", 0.25, "--components", half, "--out", more)  # fmt: skip
    both, _ = load_choice(more)
    assert [both.count_pruned(kind) for kind in KINDS] == [6, 64, 0]

    toy.train("run", "--mask-from", model, "--components", more, "--reset", "keep", updates=5).ok()
    ticket = load_ticket(toy.path("run", "ticket.safetensors"))
    assert ticket.record["parts"]["digest"] == both.digest()
    source = read_source(toy.path("run", "checkpoint_last.pt"))
    assert find_pruned(source.weights, anatomy_of(source)) == both  # after training
    assert source.mask == ticket.mask

    toy.train("control", "--finetune-from-model", model, updates=5).ok()
    last = [toy.path(run, "checkpoint_last.pt") for run in ("run", "control")]
    for of in ("weights", "attention", "importance"):
        out = tmp_path / f"{of}.json"
        words = ("changes", model, last[0], "--control", last[1], "--of", of, "--out", out)
        said(capsys, "heads", *words)
        _, moved, record = load_scores(out)
        assert record["of"] == of and sum(v.numel() for v in moved["heads"].values()) == 12


def _importance_of(dense, tmp_path):
    out = tmp_path / "scores.json"
    words = ("importance", dense / "checkpoint_last.pt", "--sentences", 20, "--out", out)
    assert main([str(word) for word in ("heads", *words)]) == 0
    return out


@pytest.mark.slow
def test_a_search_leaves_three_subnetworks_of_one_size(dense, capsys, tmp_path):
    words = ("heads", "search", dense / "checkpoint_last.pt", "--sentences", 20, "--enough", 0.98)
    out = said(capsys, *words, "--out", tmp_path / "s.json")
    assert out.splitlines()[0].split()[0] == "full:"
    found = {n: load_choice(tmp_path / f"s-{n}.json") for n in ("good", "random", "bad")}
    for kind in ("heads", "blocks"):
        assert len({components.count_pruned(kind) for components, _ in found.values()}) == 1
    steps = found["good"][1]["steps"]
    kept = load_importance_steps(tmp_path / "s-importance.json")
    assert kept[0].components.count_pruned("heads") == 0 and set(kept[0].scores) == {
        "heads", "blocks"
    }  # fmt: skip
    counts = [{kind: row[kind] for kind in KINDS} for row in steps if row["enough"]]
    estimated = [{k: one.components.count_pruned(k) for k in KINDS} for one in kept]
    assert estimated == counts[: len(estimated)] and len(estimated) >= 1
    _, scores, _ = load_scores(_importance_of(dense, tmp_path))
    for name, values in scores["heads"].items():
        assert torch.allclose(kept[0].scores["heads"][name], values, rtol=1e-5)
    assert steps[0]["phase"] == "full" and all(
        (row["metric"] >= 0.98 * steps[0]["metric"]) == row["enough"] for row in steps[1:]
    )
    said(capsys, *words, "--out", tmp_path / "s.json", code=2)
    for more in (["--step", 0.25], ["--step", 0.5, "--one-shot"]):
        grown = (*words, "--kind", "heads", *more, "--overwrite", "--out", tmp_path / "s.json")
        phases = [line.split(":")[0].strip() for line in said(capsys, *grown).splitlines()]
        assert phases[:2] == ["full", "heads"] and phases.count("heads") <= 1 / more[1]
    pytest.importorskip("statsmodels")
    paths = [tmp_path / f"s-{n}.json" for n in ("good", "random", "bad")]
    assert "kappa" in said(capsys, "heads", "compare", *paths)
    path = tmp_path / "s-importance.json"
    report = json.loads(said(capsys, "heads", "compare", path, path, "--json"))
    assert report["all"][0]["spearman"] == 1.0 and report["all"][0]["kept"] == [12, 12]
    assert report[str(path)][0]["components"] == 12


@pytest.mark.slow
def test_a_search_ends_at_the_share_asked_for(dense, capsys, tmp_path):
    """0.55 of 12 heads are 6.6: 7 heads, in steps of 0.2 of them and one of 0.15."""
    model, out = dense / "checkpoint_last.pt", tmp_path / "s.json"
    words = ("heads", "search", model, "--sentences", 4, "--enough", 0, "--kind")
    more = ("--step", 0.2, "--to", 0.55)
    said(capsys, *words, "heads", *more, "--out", out)
    found = {n: load_choice(tmp_path / f"s-{n}.json") for n in ("good", "random", "bad")}
    assert [components.count_pruned("heads") for components, _ in found.values()] == [7, 7, 7]
    steps = found["good"][1]["steps"]
    assert [step["heads"] for step in steps] == [0, 2, 5, 7]
    assert all(step["enough"] for step in steps)

    # half of the units of what is left, from one choice on, in one step that is larger than it
    on = ("--components", tmp_path / "s-good.json", "--one-shot", "--step", 0.9, "--to", 0.5)
    said(capsys, *words, "units", *on, "--out", tmp_path / "u.json")
    components, record = load_choice(tmp_path / "u-good.json")
    assert [components.count_pruned(kind) for kind in KINDS] == [7, 128, 0]
    assert len(record["steps"]) == 2

    # from 7 heads on: shares that are pruned already are no steps
    on = ("--components", tmp_path / "s-good.json", "--to", 0.75)
    said(capsys, *words, "heads", *on, "--out", tmp_path / "t.json")
    steps = load_choice(tmp_path / "t-good.json")[1]["steps"]
    assert [step["heads"] for step in steps] == [7, 8, 9]
    for to, least, message in (
        (0.55, 0, "--to 0.55 prunes 7 of 12 heads, but 7 are pruned already"),
        (0.95, 1, "11 of 12 heads cannot be pruned if each module keeps 1"),
    ):
        words_of = (*words, "heads", *on[:2], "--to", to, "--at-least", least)
        assert message in said(capsys, *words_of, "--out", tmp_path / "x.json", code=2)
    assert not list(tmp_path.glob("x*"))


@pytest.mark.slow
def test_m_pruning_leaves_three_tickets_of_one_size(dense, toy, capsys, tmp_path):
    """A fifth of what remains a step, of the 40,960 weights that are no embedding's."""
    model, out = dense / "checkpoint_last.pt", tmp_path / "f.safetensors"
    words = ("heads", "search", model, "--kind", "weights", "--sentences", 20, "--out", out)
    printed = said(capsys, *words, "--enough", 0.99, "--step", 0.2)
    assert printed.splitlines()[0].split(":")[:2] == [
        "         full", " 0 of 40960 weights pruned"
    ]  # fmt: skip
    names = ("good", "random", "bad")
    found = {n: load_ticket(tmp_path / f"f-{n}.safetensors") for n in names}
    steps = found["good"].record["search"]["steps"]
    lefts = [40960 - step["pruned"] for step in steps]
    assert lefts[1] == 32768 and all(b == a - round(a / 5) for a, b in zip(lefts, lefts[1:]))
    assert [step["enough"] for step in steps] == [True] * (len(steps) - 1) + [False]
    assert {ticket.mask.pruned for ticket in found.values()} == {steps[-2]["pruned"]}
    source = read_source(model)
    sparsity = found["good"].mask.sparsity
    plan = DrawPlan(str(model), sparsity=sparsity, scope="global", prunable="no-embeddings",
                    reset="keep")  # fmt: skip
    assert draw(plan).mask == found["good"].mask
    for name, ticket in found.items():
        assert ticket.record["score"] == f"m-pruning-{name}"
        for matrix, value in ticket.values.items():
            keep = ticket.mask[matrix] if matrix in ticket.mask else torch.ones_like(value).bool()
            assert torch.equal(value, source.weights[matrix] * keep)
    # a ticket that takes its mask says whose it is, whatever weights it starts from
    for name in names:
        plan = DrawPlan(str(model), mask_file=str(tmp_path / f"f-{name}.safetensors"), reset="sign",
                        start_from=str(dense / "snapshot_0.safetensors"))  # fmt: skip
        drawn = draw(plan)
        assert drawn.mask == found[name].mask
        signature = drawn.record["signature"]
        assert signature.startswith(f"score:m-pruning-{name}|scope:global|sparsity:")
        assert "|of:40960:no-embeddings|reset:sign" in signature
    # the metric of the last step that is enough is that of a model with these very weights
    zeros = read_checkpoint(model)
    for matrix, keep in found["good"].mask.items():
        zeros["model"][matrix][~keep] = 0
    torch.save(zeros, tmp_path / "zeros.pt")
    exact = ("heads", "ablate", tmp_path / "zeros.pt", "--sentences", 20, "--one-left")
    said(capsys, *exact, "--out", tmp_path / "exact.json")
    full = load_scores(tmp_path / "exact.json")[2]["full"]
    assert math.exp(-full) == pytest.approx(steps[-2]["metric"], rel=1e-6)

    none = (*words[:-1], tmp_path / "none.safetensors", "--enough", 1, "--step", 0.9)
    assert "no step keeps 1 of the metric: nothing is pruned in all three" in said(capsys, *none)
    assert load_ticket(tmp_path / "none-good.safetensors").mask.pruned == 0
    bad = tmp_path / "f-bad.safetensors"
    toy.train("bad", "--ticket", bad, updates=3).ok()
    assert toy.mask("bad", "checkpoint_last.pt") == found["bad"].mask
    assert "exists already" in said(capsys, *words, code=2)
    masked = toy.path("bad", "checkpoint_last.pt")
    again = (*words[:2], masked, *words[3:-1], tmp_path / "x.safetensors")
    assert "is pruned already, but a search over weights" in said(capsys, *again, code=2)
    assert not list(tmp_path.glob("x*"))


def test_choices_of_some_types_are_compared_over_these(capsys, tmp_path):
    """By hand: 1 of 4 heads is open in both and 3 in either, of the 8 that there are 5 and 7."""
    pytest.importorskip("statsmodels")
    heads = {"encoder.layers.0.self_attn": 4, "decoder.layers.0.self_attn": 4}
    for name, pruned in (("a", [0, 1]), ("b", [0, 2])):
        components = ComponentMask(
            Anatomy(heads, {}), {"heads": {"encoder.layers.0.self_attn": pruned}}
        )
        save_choice(tmp_path / name, components, {})
    words = ("heads", "compare", tmp_path / "a", tmp_path / "b", "--json")
    of_all = json.loads(said(capsys, *words))
    of_type = json.loads(said(capsys, *words, "--types", "enc_self,enc_self"))
    assert (of_all["components"], of_all["jaccard"]) == (8, 5 / 7)
    assert (of_type["components"], of_type["jaccard"]) == (4, 1 / 3)
    assert of_type["jaccard_p"] > 0.5
    assert "'enc_dec'; it has enc_self" in said(capsys, *words, "--types", "enc_dec", code=2)
    assert "has an empty name" in said(capsys, *words, "--types", "enc_self,", code=2)


@pytest.mark.slow
def test_a_curve_has_every_strategy_share_and_seed(dense, capsys, tmp_path):
    model, scores, out = dense / "checkpoint_last.pt", tmp_path / "s.json", tmp_path / "c.json"
    said(capsys, "heads", "importance", model, "--measure", "l1", "--out", scores)
    words = ("--scores", scores, "--strategies", "lowest,random,apart", "--shares", "0.5,0.75")
    printed = said(capsys, "heads", "curve", model, *words, "--sentences", 20, "--out", out)
    found = json.loads(out.read_text())
    points = found["points"]
    assert len(points) == 12 and len(printed.splitlines()) == 13
    assert [p["closed"] for p in points if p["strategy"] != "apart"] == [6, 6, 9, 9] * 2
    lowest = [p["metric"] for p in points if p["strategy"] == "lowest"]
    assert lowest[0] == lowest[1] and found["full"] > 0  # nothing is left to chance
    failed = [p for p in points if p["metric"] is None]
    assert len(failed) == 2 and all("consecutive layers" in p["why"] for p in failed)


@pytest.mark.slow
def test_bleu_judges_too(dense, capsys, tmp_path):
    words = ("heads", "ablate", dense / "checkpoint_last.pt", "--sentences", 4, "--metric", "bleu")
    assert "bleu of the full model" in said(capsys, *words, "--one-left", "--out", tmp_path / "b")


@pytest.mark.slow
@pytest.mark.parametrize(
    "words, message",
    [
        (["importance", "MODEL", "--measure", "guess"], "no measure 'guess'"),
        (["importance", "MODEL", "--per", "word"], "no importance per 'word'"),
        (["importance", "MODEL", "--subset", "train9"], "called train9"),
        (["importance", "MODEL", "--sentences", "0"], "--sentences 0 is out of range"),
        (["importance", "MODEL", "--max-tokens", "0"], "--max-tokens 0 is out of range"),
        (["importance", "MODEL", "--data", "nowhere"], "--data nowhere"),
        (["importance", "none.pt"], "there is no file none.pt"),
        (["ablate", "MODEL", "--metric", "ter"], "metric 'ter' is unknown"),
        (["ablate", "MODEL", "--one-left", "--blocks"], "--one-left applies to heads"),
        (["choose", "--of", "MODEL", "--share", "0.5"], "scores of heads are required"),
        (["choose", "--of", "MODEL", "--strategy", "best"], "no strategy 'best'"),
        (["choose", "--of", "MODEL", "--strategy", "random"], "neither a fraction nor a count"),
        (["choose", "--of", "MODEL", "--strategy", "random", "--count", "13"], "(0 to 12)"),
        (["choose", "--of", "MODEL", "--strategy", "random", "--share", "1.5"], "outside"),
        (["choose", "--of", "MODEL", "--strategy", "top", "--count", "12", "--at-least", "1"],
         "each module keeps 1"),
        (["choose", "--of", "MODEL", "--strategy", "top", "--count", "1", "--types", "dec"],
         "no heads of type 'dec'"),
        (["search", "MODEL", "--step", "0.1"], "--step, --one-shot and --to require --kind"),
        (["search", "MODEL", "--to", "0.5"], "--step, --one-shot and --to require --kind"),
        (["search", "MODEL", "--kind", "heads", "--to", "1.5"], "--to 1.5 is outside (0, 1]"),
        (["search", "MODEL", "--kind", "heads", "--to", "0"], "--to 0 is outside (0, 1]"),
        (["search", "MODEL", "--kind", "heads", "--to", "nan"], "--to nan is outside (0, 1]"),
        (["search", "MODEL", "--kind", "heads", "--to", "0.01"], "--to 0.01 prunes 0 of 12 heads"),
        *((["search", "MODEL", "--kind", "weights", *more], f"{more[0]} applies to heads and units")
          for more in (["--one-shot"], ["--to", "0.5"], ["--at-least", "1"], ["--components", "x"],
                       ["--normalise"])),
        (["search", "MODEL", "--kind", "weights"], "--out out.json will be tickets; give a name"),
        (["search", "MODEL", "--kind", "weights", "--enough", "0"], "would prune all weights"),
        (["search", "MODEL", "--kind", "tails"], "'tails' cannot be pruned"),
        (["search", "MODEL", "--enough", "1.2"], "outside [0, 1]"),
        (["curve", "MODEL", "--strategies", "one-left"], "strategy 'one-left' has no curve"),
        (["curve", "MODEL", "--shares", "half"], "--shares half must be numbers"),
        *((["curve", "MODEL", "--strategies", "random", "--shares", share], "outside [0, 1]")
          for share in ("1.5", "0.5,-0.1", "nan")),
        (["curve", "MODEL", "--strategies", "random", "--sentences", "4", "--at-least", "99"],
         "no strategy can prune any of --shares 0.1,"),
        *((["choose", "--of", "MODEL", "--strategy", "random", "--share", "0.5", "--types", types],
           message) for types, message in (
               ("", "the argument after --types is empty"),
               ("enc_self,", "--types 'enc_self,' has an empty name"))),
        (["curve", "MODEL"], "rank by scores of heads importance; give --scores"),
        (["choose", "--scores", "none.json"], "cannot be read"),
        (["changes", "MODEL", "MODEL", "--of", "looks"], "'looks' is not a measure of changes"),
        (["changes", "MODEL", "none.pt"], "there is no file none.pt"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(dense, capsys, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    words = [str(dense / "checkpoint_last.pt") if word == "MODEL" else word for word in words]
    assert message in said(capsys, "heads", *words, "--out", "out.json", code=2)
    assert not list(tmp_path.iterdir())


def test_a_gpu_that_is_too_small(capsys, tmp_path, monkeypatch):
    from fairseq_lottery.heads.commands import measurement

    def raising(said):
        def step(args):
            raise RuntimeError(said)

        return step

    model = tmp_path / "model.pt"
    model.touch()
    words = ("heads", "importance", model, "--out", tmp_path / "scores.json")
    monkeypatch.setattr(measurement, "importance", raising("CUDA out of memory. Tried to allocate"))
    assert said(capsys, *words, code=2) == (
        "fairseq-lottery: the GPU has too little memory; give a smaller --max-tokens (which"
        " does not bound BLEU), or --cpu\n"
    )
    monkeypatch.setattr(measurement, "importance", raising("another mistake"))
    with pytest.raises(RuntimeError, match="another mistake"):
        main([str(word) for word in words])


@pytest.mark.parametrize("step", EXAMPLES)
def test_the_help_of_a_step_ends_with_an_example_that_can_be_parsed(capsys, step):
    with pytest.raises(SystemExit) as stop:
        main(["heads", step, "--help"])
    line = capsys.readouterr().out.rstrip().splitlines()[-1]
    assert stop.value.code == 0 and line == f"  fairseq-lottery heads {step} {EXAMPLES[step]}"
    args = build_parser(["heads"]).parse_args(line.split()[1:])
    assert args.action == step and set(EXAMPLES) == set(STEPS)
