"""Whole workflows on the toy task: real drivers, Snakemake, trainings; killed, moved, changed."""

import json
import math
import os
import re
import signal
import subprocess

import pytest
import torch
from whole import (
    ALONE,
    command,
    configure,
    folder_of,
    pending,
    processes_in,
    run,
    scores,
    wait_for,
    weights,
)

from fairseq_lottery.cli.main import main
from fairseq_lottery.formats import read_source
from fairseq_lottery.heads.components.choice_file import load_choice
from fairseq_lottery.heads.components.pruned_weights import weight_masks

pytest.importorskip("fairseq")
pytest.importorskip("snakemake")

pytestmark = pytest.mark.slow

HEADS = "--encoder-attention-heads"


def test_killed_it_goes_on_and_equals_the_script_that_was_not_killed(toy_data, tmp_path):
    from toy import same

    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    lengths = {"score_command": {"words": "wc -w < {hypotheses}"}, "updates": 60}
    plain = configure(one, toy_data, **lengths)
    script = run(plain, "--emit", "bash", "--jobs", 2).stdout
    assert script.count("fairseq_lottery.launch") == 3
    done = subprocess.run(["bash", "-s"], input=script, env=ALONE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert pending(plain)["stages"] == 0

    killed = configure(other, toy_data, **lengths)
    slt = folder_of(killed, "slt@0.5#1")
    out = other / "runs"
    driver = subprocess.Popen(command(killed, "--jobs", 2), env=ALONE, stdout=subprocess.DEVNULL)
    log = out / slt / "train.log"
    wait_for(lambda: (out / "plan.json").exists())
    refused = run(killed, code=2).stderr
    assert "another run is at work in" in refused and refused.count("\n") == 1
    wait_for(lambda: log.exists() and "Saved checkpoint" in log.read_text())
    driver.kill()
    for process in processes_in(out):
        os.kill(process, signal.SIGKILL)
    driver.wait()
    wait_for(lambda: not processes_in(out))
    assert not (out / slt / "train.json").exists()
    dense = folder_of(killed, "dense@0#1")
    trained = (out / dense / "train.json").stat().st_mtime_ns

    run(killed, "--jobs", 2)
    assert (out / dense / "train.json").stat().st_mtime_ns == trained
    assert "Loaded checkpoint" in log.read_text()
    assert set(scores(out)) == {("dense", 0.0), ("slt", 0.5), ("mp", 0.5)}
    for key, row in scores(out).items():
        assert row == {**scores(one / "runs")[key], "references": row["references"]}
        assert row["sentences"] == 50
        model = f"{row['training']}/best.pt"
        assert same(weights(out / model), weights(one / "runs" / model))
    kept = {path.name for path in (out / slt).iterdir() if path.is_file()}
    logs_and_records = {"draw.json", "draw.log", "train.json", "train.log"}
    assert kept == {"best.pt", "best.mask", ".draw.lock", ".train.lock", *logs_and_records}

    # what decides no weight repeats nothing: times, places, logging, saving
    for path in (*out.rglob("*"), *toy_data.iterdir()):
        os.utime(path)
    moved = tmp_path / "moved"
    other.rename(moved)
    saving = "--no-progress-bar --keep-interval-updates 3"
    again = configure(moved, toy_data, extra_flags=saving, **lengths)
    assert pending(again)["stages"] == 0
    # other ways to translate or to score do so again
    assert pending(configure(moved, toy_data, updates=60))["stages"] == 3
    assert pending(configure(moved, toy_data, generate="--max-len-b 9", **lengths))["stages"] == 6
    # another evaluation translates and scores, and trains nothing
    wider = configure(moved, toy_data, evaluate=[{"checkpoint": "best", "beam": 3}], **lengths)
    assert pending(wider) == {**pending(wider), "stages": 6, "trainings": 0}
    # another rate is another run, and that is asked about
    faster = configure(moved, toy_data, extra_flags="--weight-decay 0.01", **lengths)
    said = run(faster, code=2).stderr
    assert "3 finished trainings would run again" in said
    assert "--weight-decay was 'not given' and is '0.01'" in said and "--yes" in said


#: a RoBERTa for the toy's English sides
MASKED = (
    "--arch roberta --encoder-layers 2 --encoder-embed-dim 32 --encoder-ffn-embed-dim 64"
    " --encoder-attention-heads 2 --max-positions 64 --tokens-per-sample 32"
    " --sample-break-mode eos --criterion masked_lm_lottery --optimizer masked_adam --lr 3e-3"
    " --lr-scheduler inverse_sqrt --warmup-updates 10 --batch-size 16 --clip-norm 1.0"
    " --num-workers 0 --log-interval 10 --log-format simple --max-update 20"
    " --validate-interval-updates 10 --save-interval-updates 10"
)


#: half the heads of the dense run, and a fine-tuning
CLOSED = "heads-lowest-fine-tune"


def test_masked_language_models_are_a_table_of_their_losses(tmp_path):
    """Planned, trained, pruned and reported; a cell has the loss of its model in nats."""
    import toy

    pytest.importorskip("matplotlib")
    toy.write_text(tmp_path)
    files = [x for s in ("train", "valid") for x in (f"--{s}pref", tmp_path / f"{s}.en")]
    flags = ["--only-source", *files, "--destdir", tmp_path / "bin"]
    toy.call("fairseq_cli.preprocess", flags, tmp_path).ok()
    keys = dict.fromkeys(("references", "metrics", "evaluate", "generate"))
    keys["techniques"] = ["slt", "mp", "heads-lowest"]
    path = configure(tmp_path, tmp_path / "bin", **keys, task="masked_lm", train=MASKED)
    script = run(path, "--emit", "bash", "--jobs", 2).stdout
    assert "generate" not in script and script.count("--task masked_lm_lottery") == 4
    done = subprocess.run(["bash", "-s"], input=script, env=ALONE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert pending(path)["stages"] == 0

    sentences = (tmp_path / "valid.en").read_text().splitlines()
    found = scores(tmp_path / "runs", "loss")
    assert set(found) == {("dense", 0.0), ("slt", 0.5), ("mp", 0.5), (CLOSED, 0.5)}
    for (technique, sparsity), row in found.items():
        if technique == CLOSED:
            continue
        assert (row["subset"], row["update"]) == ("valid", 20)
        assert row["pruned"] == round(sparsity * row["prunable"]) and row["prunable"] == 19_456
        assert (row["maximise"], row["examples"]) == (False, len(sentences))
        log = (tmp_path / "runs" / row["training"] / "train.log").read_text()
        losses = re.findall(r"'valid' subset \| loss ([\d.]+) ", log)  # None while a mask grows
        # the log has bits, of other masked tokens after the first epoch
        assert row["score"] / math.log(2) == pytest.approx(min(map(float, losses)), rel=0.05)
    assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "report")]) == 0
    table = (tmp_path / "report/tables/weights-loss-valid-best.csv").read_text().splitlines()
    means = [[float(row.split(",")[n]) for n in (1, 4)] for row in table[1:]]
    dense = found["dense", 0.0]["score"]
    assert means == [[dense, dense], [found["slt", 0.5]["score"], found["mp", 0.5]["score"]]]


def test_an_adopted_run_is_the_dense_one(toy_data, tmp_path, toy):
    toy.path("here").symlink_to(toy_data)
    toy.data = "here"  # is not there in the folder of the workflow
    toy.train(
        "plain", "--save-interval-updates", 5, "--task", "translation", lottery=False,
        optimizer="adam", updates=30,
    ).ok()  # fmt: skip
    adopt = {"dense": str(toy.path("plain"))}
    configuration = configure(tmp_path, toy_data, techniques=["slt"], adopt=adopt)
    assert pending(configuration)["trainings"] == 1
    before = {path: path.stat().st_mtime_ns for path in toy.path("plain").iterdir()}
    said = run(configuration, "--jobs", 2).stdout
    assert "note:" not in said  # plain adam is what masked_adam is without a mask
    assert before == {path: path.stat().st_mtime_ns for path in toy.path("plain").iterdir()}
    assert scores(tmp_path / "runs")["slt", 0.5]["pruned"] == 21_488
    kept = [{"lr-rewind": {"moments": "keep"}}]
    other = configure(tmp_path, toy_data, techniques=kept, adopt=adopt)
    said = run(other, "--out", tmp_path / "kept", code=2).stderr
    assert "has no optimizer state of a masked optimizer" in said and said.count("\n") == 1
    other = configure(tmp_path, toy_data, techniques=["slt"], adopt=adopt, rewind=7)
    said = run(other, code=2).stderr
    assert "has no checkpoint of update 7, only of 5, " in said
    assert said.startswith(f"fairseq-lottery: {other}, line ") and said.count("\n") == 1


def test_where_an_adopted_run_differs_is_said(toy_data, tmp_path, toy):
    toy.train("plain", "--task", "translation", lottery=False, optimizer="adam", updates=30).ok()
    adopt = {"dense": str(toy.path("plain"))}
    other = configure(tmp_path, toy_data, techniques=["slt"], adopt=adopt,
                      extra_flags="--weight-decay 0.5 --update-freq 2")  # fmt: skip
    said = run(other, "--only", "dense").stdout
    assert (
        f"note: the run in {adopt['dense']} was trained with --update-freq 1 instead of 2,"
        " --weight-decay 0.01 instead of 0.5\n"
    ) in said
    assert len(scores(tmp_path / "runs")) == 1


def test_a_failed_stage_names_its_log_and_how_to_repeat_it(toy_data, tmp_path):
    # only with the sentences in its hands fairseq sees that none fits into a batch
    configuration = configure(tmp_path, toy_data)
    few = re.sub(r"--max-tokens \d+", "--max-tokens 2", configuration.read_text())
    configuration.write_text(few)
    said = run(configuration, "--only", "dense", code=2).stderr
    assert said.count("\n") == 1
    assert "the stage train-seed1-dense-" in said and "failed (exit code 1)" in said
    assert re.search(r"ends with: .*Error: ", said)  # fairseq's own last line
    assert f"its log {tmp_path / 'runs'}/seed1/dense-" in said
    assert "repeat it with: cd " in said and "fairseq_lottery.launch" in said


def test_a_model_that_cannot_be_built_is_refused_before(toy_data, tmp_path):
    configuration = configure(tmp_path, toy_data)
    configuration.write_text(configuration.read_text().replace(f"{HEADS} 2", f"{HEADS} 3"))
    said = run(configuration, code=2).stderr
    assert "line 5: train: the model cannot be built (AssertionError: embed_dim must be" in said
    assert not (tmp_path / "runs/plan.json").exists()


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"extra_flags": "--no-such-flag 3"}, "line 5: train: unrecognized arguments: --no-such"),
        ({"extra_flags": "--attention-dropout few"}, "line 5: train: argument --attention-dropout"),
        ({"generate": "--beam-width 3"}, "generate: unrecognized arguments: --beam-width 3"),
        (
            {
                "extra_flags": "--encoder-learned-pos --max-source-positions -9",
                "cost": {"parameters": 44_800},
            },
            "train: the model cannot be built (",
        ),
        (
            {"scope": "1:5", "techniques": ["one-shot"], "sparsities": [0.8]},
            "scope: 1:5 requires rows of a multiple of 5 weights, but those of ",
        ),
        ({"resources": {"gpus": 99}}, "a training requires 99 GPUs and this machine has"),
        ({"train_env": "exit 3"}, "the training's environment does not start"),
    ],
)
def test_what_the_training_would_refuse_is_refused_before(toy_data, tmp_path, changes, said):
    configuration = configure(tmp_path, toy_data, **changes)
    told = run(configuration, code=2).stderr
    assert told.count("\n") == 1 and f"{configuration}, line " in told
    assert said in told
    assert not (tmp_path / "runs/plan.json").exists()


def test_a_calibration_is_known_to_the_plan(toy_data, tmp_path):
    configuration = configure(tmp_path, toy_data)
    assert pending(configuration)["wall_seconds"] is None
    found = pending(configuration, "--calibrate")
    assert found["known_from"] == "a calibration in this folder"
    assert found["wall_seconds"] > 0 and found["peak_bytes"] > 44_800 * 4
    assert not list((tmp_path / "runs").glob("tmp*"))


def test_a_training_of_two_processes(toy_data, tmp_path):
    configuration = configure(
        tmp_path,
        toy_data,
        techniques=["one-shot"],
        resources={"gpus": 0, "processes": 2},
        evaluate=[{"checkpoint": "average:2", "beam": 1}],
        keep=["checkpoints"],
    )
    often = configuration.read_text().replace("save-interval-updates 10", "save-interval-updates 4")
    configuration.write_text(often)
    run(configuration, "--jobs", 1)
    row = scores(tmp_path / "runs")["one-shot", 0.5]
    assert row["checkpoint"] == "average:2"
    # killed between the last checkpoint and the record it is judged, and not trained on
    training = tmp_path / "runs" / row["training"]
    trained = json.loads((training / "train.json").read_text())
    (training / "train.json").unlink()
    next(training.glob("*/score.json")).unlink()
    assert pending(configuration) == {**pending(configuration), "trainings": 1, "updates": 0}
    run(configuration, "--jobs", 1)
    judged = json.loads((training / "train.json").read_text())
    assert judged["measured"] == trained["measured"] and judged["curves"] == trained["curves"]
    # and another checkpoint that was kept is chosen without training
    more = json.loads(configuration.read_text())
    more["evaluate"].append({"checkpoint": "last", "beam": 1})
    configuration.write_text(json.dumps(more, indent=1))
    assert pending(configuration) == {**pending(configuration), "updates": 0, "stages": 6}
    record = json.loads((tmp_path / "runs" / row["training"] / "train.json").read_text())
    assert record["processes"] == 2 and "torch.distributed.run" in record["command"]
    assert row["pruned"] == 21_488


def test_heads_are_ranked_closed_and_trained(toy_data, tmp_path):
    """12 heads and 4 FFN blocks; each way of choosing, each way to go on, once."""
    techniques = [
        {"heads-lowest": {"then": ["zero-shot", "fine-tune", "scratch"], "updates": 10}},
        {"heads-gates": {"then": "rewind", "learning": 10, "updates": 10}},
        {"heads-bad": {"then": "zero-shot"}},
        {"blocks-top": {"then": "zero-shot"}},
        {"s-random": {"then": "zero-shot"}},
        {"m-good": {"then": ["zero-shot", "fine-tune"], "updates": 10}},
        {"heads-top": {"then": "rewind", "sparsity": 0.6, "updates": 10}},
    ]
    configuration = configure(tmp_path, toy_data, techniques=techniques)
    assert pending(configuration) == {**pending(configuration), "trainings": 7, "updates": 90}
    run(configuration, "--jobs", 2)
    out = tmp_path / "runs"
    found = scores(out)
    counted = {
        n: (row["pruned"], row["prunable"], row["denominator"])
        for (n, _), row in found.items()
        if not n.startswith(("dense", "s-", "m-"))
    }
    assert counted == {
        **dict.fromkeys(
            ("heads-lowest-zero-shot", "heads-lowest-fine-tune", "heads-lowest-scratch",
             "heads-gates-rewind", "heads-bad-zero-shot", "heads-top-rewind"), (6, 12, "heads")),
        "blocks-top-zero-shot": (2, 4, "blocks"),
    }  # fmt: skip
    assert all(row["sentences"] == 50 for row in found.values())
    kinds = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    parts = {row["technique"]: out / row["file"] for row in kinds if row["kind"] == "parts"}
    closed = {name: load_choice(path)[0] for name, path in parts.items()}
    assert closed["blocks-top-zero-shot"]["blocks"]["encoder.layers.1"].tolist() == [False]
    # the three of one choice are closed alike, and the bad ones are others
    names = [f"heads-lowest-{then}" for then in ("zero-shot", "fine-tune", "scratch")]
    assert closed[names[0]] == closed[names[1]] == closed[names[2]] != closed["heads-bad-zero-shot"]
    # closing without training changes no other weight
    dense = weights(out / found["dense", 0.0]["training"] / "best.pt")
    zero = weights(out / found[names[0], 0.5]["training"] / "best.pt")
    shapes = {name: tuple(weight.shape) for name, weight in dense.items()}
    for name, keep in weight_masks(closed[names[0]], shapes).items():
        assert torch.equal(zero[name], dense[name] * keep)
    # of the weights of open heads and all else 60 % are pruned besides
    row = found["heads-top-rewind", 0.5]
    mask = read_source(out / row["training"] / "best.pt").mask
    closed_weights = sum(
        int((~keep).sum()) for keep in weight_masks(closed["heads-top-rewind"], shapes).values()
    )
    left = mask.prunable - closed_weights
    assert abs(mask.pruned - closed_weights - 0.6 * left) <= 0.5 * len(mask)
    # single weights, as many of the last model as halve exp(-loss)
    dense_folder = out / found["dense", 0.0]["training"]
    mask = read_source(dense_folder / "search-m-0.5" / "found-good.safetensors").mask
    assert 0 < mask.pruned < mask.prunable == 40_960
    for then in ("zero-shot", "fine-tune"):
        row = found[f"m-good-{then}", 0.5]
        assert (row["pruned"], row["prunable"]) == (mask.pruned, 40_960)
        assert row["denominator"] == "no-embeddings"
        assert row["closed"]["weights"] == mask.sparsity
        second = [keep for name, keep in mask.items() if name.endswith("fc2.weight")]
        assert row["closed"]["blocks"] == sum(not keep.any() for keep in second) / 4
        after = weights(out / row["training"] / "best.pt")
        assert not any(after[name][~keep].any() for name, keep in mask.items())
    zero = weights(out / found["m-good-zero-shot", 0.5]["training"] / "best.pt")
    for name, weight in dense.items():
        assert torch.equal(zero[name], weight * mask[name] if name in mask else weight)
    assert not {name for name in parts if name.startswith("m-")}
    assert pending(configuration)["stages"] == 0


def test_more_parts_than_can_be_closed_are_refused_before(toy_data, tmp_path):
    asked = [{"heads-random": {"at_least": 1}}]
    configuration = configure(tmp_path, toy_data, techniques=asked, sparsities=[0.9])
    told = run(configuration, code=2).stderr
    assert told.count("\n") == 1 and f"{configuration}, line " in told
    assert "11 of 12 heads cannot be pruned if each module keeps 1; prune at most 6" in told
    assert not (tmp_path / "runs/plan.json").exists()
