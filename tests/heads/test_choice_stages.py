from pathlib import Path

import pytest
from workflow.made import CLASSIFIED, TRAIN, Work

from fairseq_lottery.cli.main import build_parser
from fairseq_lottery.heads.workflow.techniques import SUBNETWORKS
from fairseq_lottery.workflow.trainings.techniques import TECHNIQUES

PARTS = [name for name, technique in TECHNIQUES.items() if technique.rows != "weights"]


def words(stage):
    """Of the command line, behind the interpreter and the module."""
    return list(stage.command[3:])


def by_kind(work, *kinds):
    return [stage for stage in work.stages if stage.kind in kinds]


@pytest.mark.parametrize("technique", PARTS)
def test_the_heads_command_takes_every_stage(tmp_path, technique):
    options = {"at_least": 1} if "at_least" in TECHNIQUES[technique].options else {}
    asked = {technique: options}
    work = Work(tmp_path, asked, sparsities=[0.25, 0.5])
    parser = build_parser()
    found = by_kind(work, "rank", "search", "choose")
    assert found
    for stage in found:
        args = parser.parse_args(words(stage))
        assert args.action == {"rank": "importance"}.get(stage.kind, stage.kind)
        if stage.kind == "search":
            out = Path(args.out)
            names = [str(out.with_name(f"{out.stem}-{n}{out.suffix}")) for n in SUBNETWORKS]
            assert names == list(stage.leaves)
        else:
            assert [args.out] == list(stage.leaves)
        assert args.overwrite  # of an attempt that was killed


def test_what_is_ranked_is_ranked_once_for_all(tmp_path):
    work = Work(
        tmp_path, {"heads-lowest": {"then": ["zero-shot", "rewind"]}}, "heads-highest",
        "units-lowest", {"blocks-lowest": {"per": "batch", "normalise": True}},
        sparsities=[0.25, 0.5], seeds=[1, 2],
    )  # fmt: skip
    dense = work.cell("dense", 0.0).training.folder
    ranks = [s for s in by_kind(work, "rank") if s.folder.startswith("seed1/")]
    assert [stage.folder for stage in ranks] == [
        f"{dense}/gradient-sentence", f"{dense}/gradient-batch-normalised",
    ]  # fmt: skip
    data = str(tmp_path / "data-bin")
    assert words(ranks[0]) == [
        *("heads", "importance", f"{dense}/last.pt", "--data", data, "--cpu", "--subset", "valid"),
        *("--measure", "gradient", "--per", "sentence"),
        *("--out", f"{dense}/gradient-sentence/scores.json", "--overwrite"),
    ]
    assert "--normalise" in words(ranks[1])
    train = work.stage("train", "dense", 0.0)
    assert set(train.leaves) >= {f"{dense}/last.pt", f"{dense}/best.pt"}
    assert train.facts["models"] == ["best", "last"]


def test_a_model_that_is_only_pruned_has_no_ticket_and_no_training(tmp_path):
    work = Work(
        tmp_path, {"heads-lowest": {"then": "zero-shot"}}, sparsities=[0.5],
        evaluate=[{}, {"checkpoint": "last"}, {"beam": 1}], keep=["snapshots"],
    )  # fmt: skip
    run = work.cell("heads-lowest-zero-shot", 0.5).training
    dense = work.cell("dense", 0.0).training.folder
    kinds = [stage.kind for stage in work.stages if stage.folder.startswith(run.folder)]
    assert kinds == ["choose", "close", *("generate", "score") * 3]
    prune = work.stage("close", "heads-lowest-zero-shot", 0.5)
    assert prune.command[1:] == (
        *("-m", "fairseq_lottery.heads.workflow.prune_stage"),
        *("--components", f"{run.folder}/parts.json"),
        *("--prune", f"{dense}/best.pt", f"{run.folder}/best.pt"),
        *("--prune", f"{dense}/last.pt", f"{run.folder}/last.pt"),
    )
    assert prune.needs == (f"{run.folder}/parts.json", f"{dense}/best.pt", f"{dense}/last.pt")
    assert prune.leaves == (f"{run.folder}/best.pt", f"{run.folder}/last.pt")
    pruned = {"file": f"{run.folder}/parts.json", "kind": "heads", "share": 0.5}
    assert prune.facts["parts"] == pruned
    score = work.stage("score", "heads-lowest-zero-shot", 0.5)
    after = score.command.index("--components")
    assert score.command[after : after + 6] == (
        "--components", f"{run.folder}/parts.json", "--kind", "heads", "--share", "0.5",
    )  # fmt: skip
    assert f"{run.folder}/parts.json" in score.needs


def test_a_ticket_of_pruned_components_prunes_nothing_else(tmp_path):
    work = Work(tmp_path, "units-random", "heads-gates", sparsities=[0.5])
    folder = work.cell("units-random-fine-tune", 0.5).training.folder
    dense = work.cell("dense", 0.0).training.folder
    draw = words(work.stage("draw", "units-random-fine-tune", 0.5))
    assert draw == [
        *("ticket", "--mask-from", f"{dense}/snapshot_1000.safetensors"),
        *("--start-from", f"{dense}/snapshot_1000.safetensors"),
        *("--components", f"{folder}/parts.json", "--prunable", "all-matrices"),
        *("--reset", "keep", "--alpha", "glorot", "--update-counter", "restart"),
        *("--moments", "fresh", "--seed", "1"),
        *("--out", f"{folder}/ticket.safetensors", "--overwrite"),
    ]
    choose = words(work.stage("choose", "units-random-fine-tune", 0.5))
    assert choose == [
        *("heads", "choose", "--strategy", "random", "--kind", "units", "--of", f"{dense}/last.pt"),
        *("--share", "0.5", "--seed", "1", "--out", f"{folder}/parts.json", "--overwrite"),
    ]
    # gates are trained under a ticket that keeps everything, and ranked from their last model
    gates = work.cell("heads-gates-fine-tune", 0.5).training.components.of.folder
    drawn = next(s for s in by_kind(work, "draw") if s.folder == gates)
    assert words(drawn)[words(drawn).index("--sparsity") + 1] == "0"
    rank = next(s for s in by_kind(work, "rank") if s.needs == (f"{gates}/last.pt",))
    assert rank.leaves == (f"{gates}/gates/scores.json",)
    assert not [s for s in by_kind(work, "generate", "score") if s.folder.startswith(gates)]


def test_the_last_model_under_gates_is_pruned_whatever_is_judged(tmp_path):
    work = Work(tmp_path, {"heads-gates": {"then": "zero-shot"}}, sparsities=[0.5],
                evaluate=[{}, {"checkpoint": "last"}])  # fmt: skip
    run = work.cell("heads-gates-zero-shot", 0.5).training
    prune, gates = work.stage("close", "heads-gates-zero-shot", 0.5), run.components.of.folder
    assert prune.needs == (f"{run.folder}/parts.json", f"{gates}/last.pt")
    assert prune.command[-6:] == (
        *("--prune", f"{gates}/last.pt", f"{run.folder}/best.pt"),
        *("--prune", f"{gates}/last.pt", f"{run.folder}/last.pt"),
    )
    train = next(s for s in work.stages if s.folder == gates and s.kind == "train")
    assert train.facts["models"] == ["last"]


def test_three_subnetworks_come_of_one_search(tmp_path):
    work = Work(
        tmp_path, *({f"s-{name}": {"then": "zero-shot"}} for name in SUBNETWORKS),
        "heads-good", "heads-bad", sparsities=[0.9],
    )  # fmt: skip
    dense = work.cell("dense", 0.0).training.folder
    phases, steps = (f"{dense}/search-{kind}-0.9-gradient-sentence" for kind in ("s", "heads"))
    assert [stage.folder for stage in by_kind(work, "search")] == [phases, steps]
    by_phase, by_step = map(words, by_kind(work, "search"))
    assert by_phase[by_phase.index("--enough") + 1] == "0.9" and "--kind" not in by_phase
    at = by_step.index("--kind")
    assert by_step[at : at + 6] == ["--kind", "heads", "--to", "0.9", "--enough", "0"]
    for name in SUBNETWORKS:
        prune = work.stage("close", f"s-{name}-zero-shot", 0.9)
        assert prune.facts["parts"] == {
            "file": f"{phases}/found-{name}.json", "kind": "heads", "share": None,
        }  # fmt: skip
    assert not by_kind(work, "choose", "rank")


def test_weights_that_a_search_prunes_are_the_mask_of_its_ticket(tmp_path):
    work = Work(
        tmp_path, {"m-good": {"then": ["zero-shot", "rewind"]}}, {"m-bad": {"then": "rewind"}},
        sparsities=[0.9],
    )  # fmt: skip
    dense = work.cell("dense", 0.0).training.folder
    (search,) = by_kind(work, "search")
    folder = f"{dense}/search-m-0.9"
    assert search.folder == folder
    assert words(search) == [
        *("heads", "search", f"{dense}/last.pt", "--data", str(tmp_path / "data-bin"), "--cpu"),
        *("--subset", "valid", "--kind", "weights", "--enough", "0.9", "--seed", "1"),
        *("--out", f"{folder}/found.safetensors", "--overwrite"),
    ]
    found = f"{folder}/found-good.safetensors"
    prune = work.stage("close", "m-good-zero-shot", 0.9)
    assert prune.command[3:5] == ("--mask", found)
    assert prune.facts["parts"] == {"file": found, "kind": "weights", "share": None}
    score = words(work.stage("score", "m-good-zero-shot", 0.9))
    at = score.index("--components")
    assert (
        score[at : at + 4] == ["--components", found, "--kind", "weights"]
        and "--share" not in score
    )
    run = work.cell("m-bad-rewind", 0.9).training
    assert words(work.stage("draw", "m-bad-rewind", 0.9)) == [
        *("ticket", "--mask-from", f"{dense}/snapshot_1000.safetensors"),
        *("--start-from", f"{dense}/snapshot_50.safetensors"),
        *("--mask-file", f"{folder}/found-bad.safetensors"),
        *("--reset", "rewind", "--alpha", "glorot", "--update-counter", "restart"),
        *("--moments", "fresh", "--seed", "1"),
        *("--out", f"{run.folder}/ticket.safetensors", "--overwrite"),
    ]


def test_types_are_pruned_in_the_order_that_is_asked_for(tmp_path):
    order = ["enc_dec", "enc_self", "dec_self"]
    asked = [
        {"heads-types": {"then": "zero-shot"}},
        {"heads-types": {"then": "zero-shot", "types": order, "name": "enc-dec-first"}},
    ]
    work = Work(tmp_path, *asked, sparsities=[0.25])
    one, other = (work.cell(f"{name}-zero-shot", 0.25).training
                  for name in ("heads-types", "enc-dec-first"))  # fmt: skip
    assert (one.label, other.label) == (
        "closed-heads-types-0.25", "closed-heads-types-enc_dec-0.25",
    )  # fmt: skip
    assert "--types" not in words(work.stage("choose", "heads-types-zero-shot", 0.25))
    choose = words(work.stage("choose", "enc-dec-first-zero-shot", 0.25))
    assert choose[choose.index("--types") + 1] == "enc_dec,enc_self,dec_self"


def test_the_set_that_is_ranked_on_is_the_trainings(tmp_path):
    train = f"{TRAIN} --valid-subset dev,valid"
    rank = by_kind(Work(tmp_path, "heads-lowest", train=train, sparsities=[0.5]), "rank")[0]
    assert words(rank)[words(rank).index("--subset") + 1] == "dev"


def test_models_pruned_of_another_choice_of_the_best_are_pruned_again(tmp_path):
    asked = [{"heads-top": {"then": "zero-shot"}}]
    work = Work(tmp_path, *asked, sparsities=[0.5])
    work.finish()
    assert work.pending == []
    other = Work(tmp_path, *asked, sparsities=[0.5], train=f"{TRAIN} --best-checkpoint-metric ppl")
    assert [kind for kind, _ in other.pending] == [
        "train", "generate", "score", "close", "generate", "score",
    ]  # fmt: skip


def test_a_search_keeps_a_share_of_the_metric_of_the_task(tmp_path):
    train = CLASSIFIED["train"].replace("mcc", "accuracy")
    for changes, flag, folder in (
        ({"train": train}, ["--metric", "accuracy"], "search-s-0.9-accuracy-gradient-sentence"),
        ({"train": train, "metrics": ["loss"]}, [], "search-s-0.9-gradient-sentence"),
    ):
        work = Work(tmp_path, "s-good", "heads-good", sparsities=[0.9], **{**CLASSIFIED, **changes})
        searches = {stage.folder.split("/")[-1]: stage for stage in by_kind(work, "search")}
        words = searches[folder].command
        assert list(words[words.index("--enough") + 2 :][: len(flag)]) == flag
        # a share of components has no use for a metric
        (share,) = (s for name, s in searches.items() if name.startswith("search-heads"))
        assert "--metric" not in share.command
