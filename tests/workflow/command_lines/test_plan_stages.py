import hashlib
import shlex
import sys
from collections import Counter
from pathlib import Path

import pytest
from workflow.made import MASKED, ONE_SET, TABLE_1, TRAIN, Work, plan_of

import fairseq_lottery
from fairseq_lottery.cli.main import build_parser
from fairseq_lottery.records.plan import KINDS
from fairseq_lottery.workflow.command_lines.plan_stages import make_stages
from fairseq_lottery.workflow.trainings.techniques import TECHNIQUES

HERE = Path(fairseq_lottery.__file__).resolve().parent
FAIRSEQ = f"{sys.executable} -m fairseq_lottery.launch"


def line(stage):
    return shlex.join(stage.command)


def after(stage, flag):
    """The value of a flag in a stage's command line."""
    return stage.command[stage.command.index(flag) + 1]


@pytest.fixture
def small(tmp_path):
    """SLT and SLT-MP at 50 and 90 %; ``at`` finds the stages of a cell by their kind."""
    return Work(tmp_path, "slt", {"slt-mp": {"switch": [0.5]}}, sparsities=[0.5, 0.9])


def test_the_dense_run(small, tmp_path):
    stage = small.stage("train", "dense", 0.0)
    folder = small.cell("dense", 0.0).training.folder
    assert line(stage) == (
        f"{FAIRSEQ} {tmp_path}/data-bin --user-dir {HERE} --task translation_lottery"
        f" --save-dir {folder} --seed 1 {TRAIN} --snapshot-updates 50,1000 --keep-last-epochs 1"
        " --cpu"
    )
    assert stage.needs == ()
    assert stage.leaves == (
        f"{folder}/snapshot_50.safetensors", f"{folder}/snapshot_1000.safetensors",
        f"{folder}/best.pt",
    )  # fmt: skip
    assert stage.name == f"train-{folder.replace('/', '-')}"
    assert stage.title == "train dense, seed 1"
    assert (stage.record, stage.log) == (f"{folder}/train.json", f"{folder}/train.log")
    training = small.cell("dense", 0.0).training
    assert stage.facts == {
        "updates": 1000, "first_update": 0, "sparsity": 0.0, "seed": 1, "label": "dense",
        "content": training.content, "fingerprint": training.fingerprint, "models": ["best"],
        "processes": 1, "selection": {},
    }  # fmt: skip


def test_a_ticket_is_drawn_and_trained(small, tmp_path):
    dense = small.cell("dense", 0.0).training.folder
    folder = small.cell("slt", 0.5).training.folder
    draw, train = small.stage("draw", "slt", 0.5), small.stage("train", "slt", 0.5)
    assert line(draw) == (
        f"{sys.executable} -m fairseq_lottery.cli.main ticket"
        f" --mask-from {dense}/snapshot_1000.safetensors"
        f" --start-from {dense}/snapshot_50.safetensors --sparsity 0.5 --score magnitude"
        " --scope layer --min-density 0 --prunable all-matrices --reset rewind --alpha glorot"
        " --update-counter restart --moments fresh --seed 1"
        f" --out {folder}/ticket.safetensors --overwrite"
    )
    assert draw.needs == (f"{dense}/snapshot_1000.safetensors", f"{dense}/snapshot_50.safetensors")
    assert draw.leaves == (f"{folder}/ticket.safetensors",)
    assert line(train) == (
        f"{FAIRSEQ} {tmp_path}/data-bin --user-dir {HERE} --task translation_lottery"
        f" --save-dir {folder} --seed 1 {TRAIN} --ticket {folder}/ticket.safetensors"
        " --snapshot-updates 50,1000 --keep-last-epochs 1 --cpu"
    )
    assert train.needs == draw.leaves
    assert train.facts["sparsity"] == 0.5


def test_pruning_from_a_ticket(small):
    slt = small.cell("slt", 0.5).training.folder
    folder = small.cell("slt-mp", 0.9).training.folder
    draw, train = small.stage("draw", "slt-mp", 0.9), small.stage("train", "slt-mp", 0.9)
    assert line(draw).endswith(
        f" ticket --mask-from {slt}/snapshot_1000.safetensors"
        f" --start-from {slt}/snapshot_50.safetensors --mask-file {slt}/snapshot_1000.safetensors"
        " --reset rewind --alpha glorot --update-counter restart --moments fresh --seed 1"
        f" --out {folder}/ticket.safetensors --overwrite"
    )
    assert line(train).endswith(
        f" {TRAIN} --ticket {folder}/ticket.safetensors --prune-to 0.9 --prune-start 0"
        " --prune-end 800 --prune-every 20 --prune-schedule cubic --score magnitude --scope layer"
        " --min-density 0 --draw-seed 1 --keep-last-epochs 1 --cpu"
    )
    assert train.leaves == (f"{folder}/best.pt",)  # nobody draws from it


def test_pruning_from_scratch(tmp_path):
    work = Work(
        tmp_path, "mp", sparsities=[0.8], scope="global", min_density=0.25, keep_dense="fc1",
        prunable="no-embeddings", prune={"start": 100, "end": 900, "every": 50,
                                         "schedule": "linear"},
    )  # fmt: skip
    assert line(work.stage("train", "mp", 0.8)).endswith(
        f" {TRAIN} --prune-to 0.8 --prune-start 100 --prune-end 900 --prune-every 50"
        " --prune-schedule linear --score magnitude --scope global --min-density 0.25 --draw-seed 1"
        " --prunable no-embeddings --keep-dense fc1 --keep-last-epochs 1 --cpu"
    )
    assert "draw" not in {stage.kind for stage in work.stages}


def test_axes_of_a_draw(tmp_path):
    work = Work(
        tmp_path, {"clt": {"update_counter": "rewind"}}, sparsities=[0.8], scope="global",
        min_density=0.25, keep_dense="fc1|fc2", prunable="ffn", score="distance", seeds=[3],
    )  # fmt: skip
    stage = work.stage("draw", "clt", 0.8, seed=3)
    assert " ".join(stage.command[stage.command.index("--sparsity") :]).startswith(
        "--sparsity 0.8 --score distance --scope global --min-density 0.25 --prunable ffn"
        " --keep-dense fc1|fc2 --reset sign --alpha glorot --update-counter rewind"
        " --moments fresh --seed 3"
    )
    train = work.stage("train", "clt", 0.8, seed=3)
    assert (train.facts["first_update"], train.facts["updates"]) == (50, 1000)


def test_a_pattern_is_drawn_into_a_folder_without_a_colon(tmp_path):
    """fairseq cuts paths at colons."""
    work = Work(tmp_path, "one-shot", sparsities=[0.75], scope="1:4")
    stage = work.stage("draw", "one-shot", 0.75)
    assert "--sparsity 0.75 --score magnitude --scope 1:4 --min-density 0 " in line(stage)
    assert stage.folder.startswith("seed1/1of4-rewind50-0.75-") and ":" not in stage.folder


def test_translating_and_scoring(tmp_path):
    work = Work(
        tmp_path, "slt", sparsities=[0.9], generate="--remove-bpe --max-tokens 8000",
        evaluate=[{"beam": 4, "lenpen": 0.6},
                  {"checkpoint": "average:5", "subset": "valid", "references": "valid.de"}],
        score_command={"length": "wc -w {hypotheses}"}, metrics=["BLEU", "TER"],
        train=f"{TRAIN} --save-interval-updates 100",
    )  # fmt: skip
    folder = work.cell("slt", 0.9).training.folder
    generate, other = (s for s in work.stages if s.kind == "generate" and folder in s.folder)
    there = f"{folder}/best-beam4-lenpen0.6"
    assert line(generate) == (
        f"{sys.executable} -m fairseq_cli.generate {tmp_path}/data-bin --user-dir {HERE} --task"
        f" translation_lottery --path {folder}/best.pt --gen-subset test --beam 4 --lenpen 0.6"
        f" --required-batch-size-multiple 1 --results-path {there} --remove-bpe --max-tokens 8000"
        " --cpu --sparse-decode"
    )
    assert (generate.needs, generate.leaves) == (
        (f"{folder}/best.pt",), (f"{there}/generate-test.txt",)
    )  # fmt: skip
    settings = {"flags": ["--remove-bpe", "--max-tokens", "8000"], "sentences": {}}
    assert generate.facts == {"settings": settings}
    assert generate.folder == there and generate.record == f"{there}/generate.json"
    assert other.folder == f"{folder}/average5-beam5-lenpen1-valid"
    assert after(other, "--path") == f"{folder}/average5.pt"
    assert other.leaves == (f"{other.folder}/generate-valid.txt",)

    score = work.stage("score", "slt", 0.9)
    assert line(score) == (
        f"{sys.executable} -m fairseq_lottery.workflow.stages.score --translations"
        f" {there}/generate-test.txt --out {there} --references {tmp_path}/test.de --model"
        f" {folder}/best.pt --sparsity 0.9 --metrics BLEU TER --score-command length"
        " 'wc -w {hypotheses}'"
    )
    assert score.needs == (f"{there}/generate-test.txt", f"{folder}/best.pt")
    assert score.leaves == (f"{there}/scores.jsonl", f"{there}/hypotheses.txt")
    assert score.facts == {
        "evaluation": {"checkpoint": "best", "beam": 4, "lenpen": 0.6, "subset": "test",
                       "name": "best-beam4-lenpen0.6"},
        "references": f"{tmp_path}/test.de",
        "settings": {
            **settings, "metrics": ["BLEU", "TER"], "references": None,  # not there yet
            "score_commands": {"length": "wc -w {hypotheses}"},
        },
    }  # fmt: skip
    train = work.stage("train", "slt", 0.9)
    assert train.leaves == (f"{folder}/best.pt", f"{folder}/average5.pt")
    assert train.facts["models"] == ["best", "average:5"]


def test_settings_of_a_translation_hold_the_content_of_its_test_set(tmp_path):
    (tmp_path / "data-bin").mkdir()
    for name in ("test.en-de.en.bin", "test.en-de.en.idx", "test1.en-de.en.bin", "dict.en.txt"):
        (tmp_path / "data-bin" / name).write_text(name)
    work = Work(tmp_path, "mp", sparsities=[0.5])
    names = ("test.en-de.en.bin", "test.en-de.en.idx")
    found = {name: hashlib.sha256(name.encode()).hexdigest() for name in names}
    judging = [stage for stage in work.stages if stage.kind in ("generate", "score")]
    assert len(judging) == 4
    assert all(stage.facts["settings"]["sentences"] == found for stage in judging)


def test_settings_of_a_score_hold_the_content_of_its_references(tmp_path):
    (tmp_path / "test.de").write_text("ein Satz\n")
    (tmp_path / "valid.de").write_text("noch einer\n")
    work = Work(tmp_path, "mp", sparsities=[0.5],
                evaluate=[{}, {"subset": "valid", "references": "valid.de"}])  # fmt: skip
    found = {s.facts["evaluation"]["subset"]: s.facts["settings"]["references"]
             for s in work.stages if s.kind == "score"}  # fmt: skip
    assert found == {
        "test": hashlib.sha256(b"ein Satz\n").hexdigest(),
        "valid": hashlib.sha256(b"noch einer\n").hexdigest(),
    }


def test_what_chooses_the_best_checkpoint_is_noted(tmp_path):
    chooses = "--eval-bleu --eval-bleu-args '{\"beam\": 4}' --best-checkpoint-metric bleu"
    work = Work(tmp_path, "slt", sparsities=[0.9], rounds=[0.5, 0.9],
                train=f"{TRAIN} --valid-subset valid1 {chooses}")  # fmt: skip
    dense, fifty, ninety = (s for s in work.stages if s.kind == "train")
    # of every training, whichever evaluation it has by now
    assert dense.facts["selection"] == ninety.facts["selection"] == fifty.facts["selection"] == {
        "--best-checkpoint-metric": "bleu", "--eval-bleu": "",
        "--eval-bleu-args": '{"beam": 4}', "--valid-subset": "valid1",
    }  # fmt: skip
    plain = Work(tmp_path, "slt", sparsities=[0.9])
    assert {s.folder for s in plain.stages} & {dense.folder}  # the training is the same


def test_a_task_that_does_not_translate_has_no_translations(tmp_path):
    work = Work(tmp_path, "slt", sparsities=[0.5], **MASKED)
    assert Counter(stage.kind for stage in work.stages) == {"train": 2, "draw": 1, "score": 2}
    for stage in work.stages:
        if stage.kind == "train":
            assert after(stage, "--task") == "masked_lm_lottery"
    cell = work.cell("slt", 0.5).training.folder
    stage = work.stage("score", "slt", 0.5)
    assert line(stage) == (
        f"{sys.executable} -m fairseq_lottery.workflow.stages.score_examples"
        f" --model {cell}/best.pt --sparsity 0.5 --data {tmp_path}/data-bin --subset valid --cpu"
        f" --metrics loss --out {cell}/best"
    )
    assert stage.needs == (f"{cell}/best.pt",) and stage.leaves == (f"{cell}/best/scores.jsonl",)
    assert stage.runs_model
    assert stage.facts == {
        "evaluation": {"name": "best", "checkpoint": "best", "subset": "valid"},
        "runs_model": True,
        "settings": {"metrics": ["loss"], "sentences": {}},
    }
    work.finish()
    assert work.pending == []


def test_languages_are_flags_of_translation(tmp_path):
    """A flag of the same name, of another task, says nothing about its data."""
    train = f"{MASKED['train']} --source-lang en"
    masked = Work(tmp_path, "slt", **{**MASKED, "train": train}, adopt={"dense": "old"})
    assert line(masked.stage("adopt", "dense", 0.0)).endswith("/data-bin --task masked_lm")
    plain = Work(tmp_path, "slt", train=train, adopt={"dense": "old"})
    assert line(plain.stage("adopt", "dense", 0.0)).endswith("--task translation --source-lang en")


def test_an_adopted_run_is_copied(tmp_path):
    work = Work(
        tmp_path, "slt", "lt", sparsities=[0.5], adopt={"dense": "old/seed{seed}"}, seeds=[1, 2],
        evaluate=[{}, {"beam": 1}],
    )  # fmt: skip
    stage = work.stage("adopt", "dense", 0.0, seed=2)
    folder = work.cell("dense", 0.0, 2).training.folder
    assert line(stage) == (
        f"{sys.executable} -m fairseq_lottery.workflow.stages.adopt --run {tmp_path}/old/seed2"
        f" --out {folder} --updates 0 50 1000 --last 1000 --models best"
        f" --data {tmp_path}/data-bin --task translation"
    )
    assert stage.needs == ()
    assert [Path(file).name for file in stage.leaves] == [
        "snapshot_0.safetensors", "snapshot_50.safetensors", "snapshot_1000.safetensors", "best.pt"
    ]  # fmt: skip
    assert Counter(s.kind for s in work.stages if s.kind in ("train", "adopt")) == {
        "adopt": 2, "train": 4
    }  # fmt: skip


def test_of_an_adopted_run_only_what_is_read_is_copied(tmp_path):
    """Nobody knows which updates it saved: more of them might not be there."""
    work = Work(tmp_path, "slt", sparsities=[0.5], adopt={"dense": "old"}, keep=["snapshots"])
    stage = work.stage("adopt", "dense", 0.0)
    assert " --updates 50 1000 --last 1000 " in line(stage)
    assert [Path(file).name for file in stage.leaves] == [
        "snapshot_50.safetensors", "snapshot_1000.safetensors", "best.pt"
    ]  # fmt: skip
    assert after(work.stage("train", "slt", 0.5), "--snapshot-updates") == "0,50,1000"


def test_an_adopted_run_that_is_another_is_another_training(tmp_path):
    for name, content in (("one", b"a"), ("copy", b"a"), ("other", b"b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "checkpoint_last.pt").write_bytes(content)
    one, copy, other, none = (
        plan_of(tmp_path, "slt", "mp", sparsities=[0.5], adopt={"dense": name})
        for name in ("one", "copy", "other", "none")
    )
    sha = hashlib.sha256(b"a").hexdigest()
    assert one.trainings[0].adopted == (f"{tmp_path}/one", sha)
    assert copy.trainings[0].adopted == (f"{tmp_path}/copy", sha)
    assert none.trainings[0].adopted == (f"{tmp_path}/none", "")
    assert one.trainings == copy.trainings
    own = plan_of(tmp_path, "slt", "mp", sparsities=[0.5])
    for plan in (other, none, own):  # the dense run and its ticket differ, MP is the same
        same = [a == b for a, b in zip(one.trainings, plan.trainings)]
        assert (len(same), same) == (3, [False, False, True])


# --- the graph ---


@pytest.mark.parametrize("keep", [[], ["snapshots", "tickets", "checkpoints"]])
def test_every_file_is_left_by_exactly_one_stage(tmp_path, keep):
    untrained = {"heads-top": {"then": "zero-shot"}}
    others = [name for name in ONE_SET if name not in untrained]
    work = Work(tmp_path, *others, untrained, seeds=[1, 2], keep=keep,
                evaluate=[{}, {"checkpoint": "last"}, {"beam": 1}], analyze={})  # fmt: skip
    left = Counter(file for stage in work.stages for file in stage.leaves)
    assert set(left.values()) == {1}
    seen = set()
    for stage in work.stages:  # and by one that comes earlier
        assert set(stage.needs) <= seen
        seen |= set(stage.leaves)
    assert len({stage.name for stage in work.stages}) == len(work.stages)
    assert len({stage.record for stage in work.stages}) == len(work.stages)
    assert {stage.kind for stage in work.stages} == set(KINDS) - {"adopt", "masks"}


def test_no_snapshot_without_a_reader(tmp_path):
    work = Work(tmp_path, *TABLE_1)
    read = {file for stage in work.stages for file in stage.needs}
    written = {f for s in work.stages for f in s.leaves if f.endswith(".safetensors")}
    assert written <= read


def test_stages_of_table_1(tmp_path):
    stages = Work(tmp_path, *TABLE_1).stages
    # a draw for all but the dense run and MP's 12; 63 trainings fill cells
    assert Counter(stage.kind for stage in stages) == {
        "train": 64, "draw": 51, "generate": 63, "score": 63
    }  # fmt: skip


@pytest.mark.parametrize("technique", ONE_SET)
def test_the_ticket_command_takes_every_draw(tmp_path, technique):
    searches = technique.startswith("m-")  # of which keep_dense is refused
    dense = {} if searches else {"keep_dense": "fc1"}
    taken = ["imp"] if TECHNIQUES[technique].takes_others else []
    work = Work(tmp_path, technique, *taken, sparsities=[0.5, 0.7, 0.9], **dense)
    parser = build_parser()
    for stage in work.stages:
        if stage.kind == "draw":
            args = parser.parse_args(list(stage.command[3:]))
            says_itself = args.sparsity is not None or args.components is not None
            if says_itself:
                assert args.mask_file is None
            elif not searches:
                assert args.mask_file == args.mask_from
            assert [args.out] == list(stage.leaves)
            closed = {args.components or args.mask_file} if args.components or searches else set()
            assert {args.mask_from, args.start_from} | closed == set(stage.needs)


def test_kept_snapshots_are_those_of_every_rewind_the_start_and_the_end(tmp_path):
    work = Work(tmp_path, "slt", {"clt": {"rewind": 20}}, sparsities=[0.5, 0.9], keep=["snapshots"])
    for technique, sparsity in (("dense", 0.0), ("slt", 0.9), ("clt", 0.5)):
        stage = work.stage("train", technique, sparsity)
        assert after(stage, "--snapshot-updates") == "0,20,50,1000"
        assert sum("snapshot_" in file for file in stage.leaves) == 4


def test_kept_snapshots_of_a_rewind_by_sparsity(tmp_path):
    work = Work(tmp_path, {"lr-rewind": {"rewind": {"0%": 500, "79%": 200}}},
                sparsities=[0.5, 0.9], keep=["snapshots"])  # fmt: skip
    cells = (("dense", 0.0), ("lr-rewind", 0.5), ("lr-rewind", 0.9))
    taken = [after(work.stage("train", *cell), "--snapshot-updates") for cell in cells]
    assert taken == ["0,200,500,1000", "500,1000", "200,500,1000"]


def test_a_run_that_starts_later_has_no_snapshot_of_before(tmp_path):
    work = Work(tmp_path, "slt", {"lr-rewind": {"rewind": 200}}, sparsities=[0.5, 0.9],
                keep=["snapshots"])  # fmt: skip
    stages = {c: work.stage("train", *c) for c in (("slt", 0.5), ("lr-rewind", 0.5))}
    assert after(stages["slt", 0.5], "--snapshot-updates") == "0,50,200,1000"
    assert after(stages["lr-rewind", 0.5], "--snapshot-updates") == "200,1000"
    assert [Path(file).name for file in stages["lr-rewind", 0.5].leaves] == [
        "snapshot_200.safetensors", "snapshot_1000.safetensors", "best.pt"
    ]  # fmt: skip


def test_kept_moments_are_read_from_the_last_checkpoint(tmp_path):
    work = Work(tmp_path, {"lr-rewind": {"moments": "keep"}}, sparsities=[0.5, 0.9])
    cells = (("dense", 0), ("lr-rewind", 0.5), ("lr-rewind", 0.9))
    dense, first, last = (work.stage("train", *cell) for cell in cells)
    draw = work.stage("draw", "lr-rewind", 0.9)
    assert after(draw, "--moments") == "keep"
    assert after(draw, "--mask-from") == f"{first.folder}/checkpoint_last.pt"
    assert draw.needs == (
        f"{first.folder}/checkpoint_last.pt", f"{first.folder}/snapshot_50.safetensors"
    )  # fmt: skip
    states = [[f for f in stage.leaves if "checkpoint" in f] for stage in (dense, first, last)]
    assert states == [[f"{s.folder}/checkpoint_last.pt"] for s in (dense, first)] + [[]]
    assert [after(s, "--snapshot-updates") for s in (dense, first)] == ["50", "50"]


def test_a_mask_without_training(tmp_path):
    work = Work(tmp_path, "random-zero-shot", sparsities=[0.5],
                evaluate=[{"checkpoint": "best"}, {"checkpoint": "last"}])  # fmt: skip
    dense = work.stage("train", "dense", 0.0)
    draw, close = (work.stage(kind, "random-zero-shot", 0.5) for kind in ("draw", "close"))
    assert draw.needs == (f"{dense.folder}/snapshot_1000.safetensors",)
    assert [after(draw, flag) for flag in ("--score", "--reset")] == ["random", "keep"]
    ticket = f"{draw.folder}/ticket.safetensors"
    assert close.needs == (ticket, f"{dense.folder}/best.pt", f"{dense.folder}/last.pt")
    assert close.leaves == (f"{draw.folder}/best.pt", f"{draw.folder}/last.pt")
    assert after(close, "--mask") == ticket
    masked = plan_of(tmp_path, "random-zero-shot", sparsities=[0.5], **MASKED)
    assert masked.cells[-1].training.updates == 0


def test_a_longer_dense_run_that_is_only_pruned_has_the_models_of_evaluations(tmp_path):
    work = Work(tmp_path, "zero-shot", sparsities=[0.5], budget="2x",
                evaluate=[{"checkpoint": "best"}, {"checkpoint": "last"}])  # fmt: skip
    (close,) = (stage for stage in work.stages if stage.kind == "close")
    (longer,) = (s for s in work.stages if s.kind == "train" and s.facts["updates"] == 2000)
    models = {f"{longer.folder}/best.pt", f"{longer.folder}/last.pt"}
    assert models < set(close.needs) and models < set(longer.leaves)


def test_moments_of_an_adopted_run_are_read_where_it_lies(tmp_path):
    work = Work(tmp_path, {"lr-rewind": {"moments": "keep"}}, sparsities=[0.5],
                adopt={"dense": "old"})  # fmt: skip
    draw = work.stage("draw", "lr-rewind", 0.5)
    assert after(draw, "--mask-from") == str(tmp_path / "old" / "checkpoint_last.pt")
    (adopt,) = [stage for stage in work.stages if stage.kind == "adopt"]
    assert draw.needs == (f"{adopt.folder}/snapshot_50.safetensors",)
    assert [Path(file).name for file in adopt.leaves] == ["snapshot_50.safetensors", "best.pt"]
    assert adopt.facts["adopts"]["moments"] is True


def test_rewinding_to_the_end_reads_one_snapshot(tmp_path):
    work = Work(tmp_path, "slt", sparsities=[0.9], rewind="100%")
    assert len(work.stage("draw", "slt", 0.9).needs) == 1
    assert after(work.stage("train", "dense", 0.0), "--snapshot-updates") == "1000"


def test_a_translation_goes_the_way_of_the_training(tmp_path):
    train = f"{TRAIN} --source-lang de --target-lang en"
    stage = Work(tmp_path, sparsities=[0.5], train=train).stage("generate", "dense", 0.0)
    assert after(stage, "--source-lang") == "de" and after(stage, "--target-lang") == "en"
    own = Work(tmp_path, sparsities=[0.5], train=train, generate="--source-lang fr")
    words = own.stage("generate", "dense", 0.0).command
    assert words.count("--source-lang") == 1 and words.count("--target-lang") == 1


def test_of_an_adopted_run_only_what_is_asked_for_is_read(tmp_path):
    """Plain fairseq saves no checkpoint of update 0, which LT would need."""
    work = Work(tmp_path, "lt", "slt", sparsities=[0.5], adopt={"dense": "old"}, only=["slt@0.5"])
    stages = make_stages(work.plan, "local", work.wanted)
    adopted = next(stage for stage in stages if stage.kind == "adopt")
    assert adopted.facts["adopts"]["updates"] == [50, 1000]
    all_of_them = next(stage for stage in work.stages if stage.kind == "adopt")
    assert all_of_them.facts["adopts"]["updates"] == [0, 50, 1000]
