"""fairseq's masked_lm, a 2-layer RoBERTa, through all of it: tickets, pruning, resuming, export."""

import csv
import json
import math
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import torch
import toy
from forking import folder
from torch.nn.functional import cross_entropy

from fairseq_lottery.analysis import Recording
from fairseq_lottery.cli.main import main
from fairseq_lottery.formats import load_ticket, read_checkpoint, read_source, untie
from fairseq_lottery.masks import count_to_prune
from fairseq_lottery.tickets.inspection import inspect_file

pytest.importorskip("fairseq")

from fairseq import options

from fairseq_lottery.heads.components.choice_file import load_choice
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.gates.gates import Gates
from fairseq_lottery.heads.measures import loaded_heads, loaded_measures
from fairseq_lottery.heads.measures.score_table import load_scores
from fairseq_lottery.inference import loaded_model

pytestmark = pytest.mark.slow

#: a RoBERTa of 22,529 parameters on a dictionary of 64 symbols and <mask>
MODEL = (
    "--arch roberta --encoder-layers 2 --encoder-embed-dim 32 --encoder-ffn-embed-dim 64"
    " --encoder-attention-heads 2 --max-positions 64 --tokens-per-sample 32"
    " --sample-break-mode eos"
).split()
TRAIN = (
    "--criterion masked_lm_lottery --optimizer masked_adam --lr 3e-3 --lr-scheduler inverse_sqrt"
    " --warmup-updates 10 --batch-size 16 --clip-norm 1.0 --log-interval 10 --log-format simple"
    " --num-workers 0 --seed 3 --no-epoch-checkpoints"
).split()
TASK = ["--user-dir", toy.PACKAGE, "--task", "masked_lm_lottery"]
#: from the 50 % of the ticket, over an epoch's end (38 updates), with validations within it
PRUNE = (
    "--prune-to 0.8 --prune-start 10 --prune-end 30 --prune-every 10 --save-interval-updates 10"
).split()
#: the same in few updates, with what is due then
STEPS = "--prune-to 0.8 --prune-start 3 --prune-end 9 --prune-every 3".split()
DUE = {update: 0.5 if update < 6 else 0.7625 if update < 9 else 0.8 for update in range(1, 13)}
FOUR = ["--update-freq", 4]
EMA = ["--store-ema", "--ema-decay", 0.6]
#: ways to train: number of processes, and flags
WAYS = {
    "four-batches": (1, [*FOUR, *EMA]),
    "fp16": (1, [*toy.HALF, "--memory-efficient-fp16", *EMA]),
    "two-processes": (2, FOUR),
}
TABLE = "encoder.sentence_encoder.embed_tokens.weight"
PADDING = 1


class Runs:
    """A folder with data, and trainings in it."""

    def __init__(self, folder):
        self.folder = folder
        toy.write_text(folder)
        files = [x for s in ("train", "valid") for x in (f"--{s}pref", folder / f"{s}.en")]
        flags = ["--only-source", *files, "--destdir", folder / "bin"]
        toy.call("fairseq_cli.preprocess", flags, folder).ok()
        toy.read(options.get_training_parser(), [folder / "bin", *MODEL, *TRAIN, *TASK])

    def train(self, save_dir, updates, *extra, prelude=None):
        flags = [*MODEL, *TRAIN, *TASK, "--max-update", updates, "--save-dir", save_dir, *extra]
        flags = [self.folder / "bin", *flags]
        return toy.call("fairseq_cli.train", flags, self.folder, prelude=prelude)

    def train_noted(self, save_dir, *extra, processes=1):
        """Train 12 updates; returns what every process noted of its mask after each."""
        port, ranks = toy.free_port(), []
        for rank in range(processes):
            flags = [*MODEL, *TRAIN, *TASK, "--max-update", 12, "--save-dir", save_dir, *extra]
            if processes > 1:
                flags += [*toy.sharing(port, rank), "--ddp-backend", "legacy_ddp"]
            notes = self.path(f"{save_dir}-{rank}.jsonl")
            ranks.append(
                toy.start(
                    "fairseq_cli.train", [self.folder / "bin", *flags], self.folder,
                    prelude=lambda notes=notes: note_masks(notes),
                )
            )  # fmt: skip
        for rank in ranks:
            toy.wait(rank).ok()
        notes = [Path(self.path(f"{save_dir}-{r}.jsonl")).read_text() for r in range(processes)]
        assert len(set(notes)) == 1, "the processes have other masks"
        return [json.loads(line) for line in notes[0].splitlines()]

    def path(self, *parts):
        return str(self.folder.joinpath(*parts))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A dense run, a ticket of 50 %, and its training, which prunes on to 80 %."""
    runs = Runs(tmp_path_factory.mktemp("masked-lm"))
    runs.train("dense", 20, "--snapshot-updates", "0,5").ok()
    draw(runs, "ticket.safetensors", "dense/checkpoint_last.pt", 0.5)
    done = runs.train("pruned", 45, "--ticket", runs.path("ticket.safetensors"), *PRUNE).ok()
    (runs.folder / "pruned-log.txt").write_text(done.out)
    return runs


def note_masks(path):
    """Let this process write after every update: its number, and digest and counts of the mask."""
    from fairseq_lottery.training.lottery_run import LotteryRun

    after_update = LotteryRun.after_update

    def noted(self, update):
        after_update(self, update)
        counts = {name: self.mask.pruned_in(name) for name in self.mask}
        with open(path, "a") as file:
            print(json.dumps([update, self.mask.digest(), counts]), file=file)

    LotteryRun.after_update = noted


def assert_pruned_everywhere(state, mask):
    """Weights, averaged weights and moments are zero where the mask prunes."""
    toy.assert_pruned(state, mask)
    if "ema" in state["extra_state"]:
        toy.assert_pruned({"model": state["extra_state"]["ema"]}, mask)
    optimizer, checked = state["last_optimizer_state"], 0
    for index, name in enumerate(optimizer["lottery"]["names"]):
        for moment in ("exp_avg", "exp_avg_sq") if name in mask else ():
            value = optimizer["state"][index][moment]
            assert value.any() and not value[~mask[name]].any(), (moment, name)
            checked += 1
    assert checked == 2 * len(mask)


def draw(runs, out, weights, sparsity, *more):
    """Draw a ticket with the command; its weights are of update 5."""
    line = [
        "--mask-from",
        runs.path(weights),
        "--start-from",
        runs.path("dense/snapshot_5.safetensors"),
    ]
    assert main(["ticket", *line, "--sparsity", str(sparsity), *more, "--out", runs.path(out)]) == 0
    return load_ticket(runs.path(out))


def test_a_ticket_has_every_matrix_once_and_leaves_the_padding_row(runs):
    ticket = load_ticket(runs.path("ticket.safetensors"))
    assert ticket.mask.protected == {TABLE: PADDING}
    assert "encoder.lm_head.weight" not in ticket.values, "it is tied to the table of symbols"
    assert "encoder.lm_head.bias" in ticket.values and "encoder.lm_head.bias" not in ticket.mask
    assert ticket.mask.prunable == 14 * 1024 + 4 * 1024 + 1024
    assert ticket.adapter.name == "masked_lm"
    assert ticket.dictionaries["source"][-1] == "<mask>"


def test_training_enforces_the_mask_and_prunes_on(runs):
    state = read_checkpoint(runs.path("pruned/checkpoint_last.pt"))
    source = read_source(runs.path("pruned/checkpoint_last.pt"))
    expected = sum(count_to_prune(0.8, source.mask.size(name)) for name in source.mask)
    assert source.mask.pruned == expected
    assert source.mask.is_subset_of(load_ticket(runs.path("ticket.safetensors")).mask)
    toy.assert_pruned(state, source.mask)
    assert untie(state["model"])[1] == {"encoder.lm_head.weight": TABLE}
    assert source.mask[TABLE][PADDING].all()
    assert main(["inspect", "--check", runs.path("pruned")]) == 0


@pytest.mark.parametrize("update", [15, 42])
def test_a_killed_run_goes_on_bit_equal(runs, update):
    """Before the last step of the schedule, and in the second epoch."""
    flags = ["--ticket", runs.path("ticket.safetensors"), *PRUNE]
    kill = runs.train(f"killed{update}", 45, *flags, prelude=lambda: toy.kill_at(update))
    assert kill.code == -9, kill.out[-2000:]
    runs.train(f"killed{update}", 45, *flags).ok()
    whole, resumed = (
        read_checkpoint(runs.path(name, "checkpoint_last.pt"))
        for name in ("pruned", f"killed{update}")
    )
    toy.assert_same_training(whole, resumed)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_train_prunes_on_and_gives_the_next_ticket(runs, way):
    """Masks have the exact counts after every update, alike in all processes."""
    if way == "fp16" and not toy.half_precision_trains_on_cpu():
        pytest.skip("this torch has no half-precision dropout on a CPU")
    processes, flags = WAYS[way]
    ticket = load_ticket(runs.path("ticket.safetensors"))
    notes = runs.train_noted(
        way, "--ticket", runs.path("ticket.safetensors"), *STEPS, *flags, processes=processes
    )
    size = {name: ticket.mask.size(name) for name in ticket.mask}
    assert [[update, counts] for update, _, counts in notes] == [
        [update, {name: count_to_prune(share, size[name]) for name in size}]
        for update, share in DUE.items()
    ]
    last = f"{way}/checkpoint_last.pt"
    mask = read_source(runs.path(last)).mask
    assert mask.is_subset_of(ticket.mask) and mask.digest() == notes[-1][1]
    assert_pruned_everywhere(read_checkpoint(runs.path(last)), mask)
    assert main(["inspect", "--check", runs.path(way)]) == 0
    following = draw(runs, f"{way}-next.safetensors", last, 0.9)
    assert following.mask.is_subset_of(mask)
    assert {n: following.mask.pruned_in(n) for n in size} == {
        name: count_to_prune(0.9, size[name]) for name in size
    }


@pytest.mark.parametrize("pruner", ["set", "matrix.pruners:OfGradients"])
def test_weights_are_exchanged_at_one_sparsity(runs, pruner):
    """After updates 3, 6 and 9, in two processes where gradients are summed."""
    name = pruner.split(":")[-1]
    flags = ["--pruner", pruner, "--prune-to", 0.8, "--prune-start", 0, "--prune-end", 12]
    notes = runs.train_noted(
        name, *flags, "--prune-every", 3, *EMA, processes=1 if pruner == "set" else 2
    )
    mask = read_source(runs.path(name, "checkpoint_last.pt")).mask
    expected = {name: count_to_prune(0.8, mask.size(name)) for name in mask}
    assert len(notes) == 12 and all(counts == expected for _, _, counts in notes)
    digests = [digest for _, digest, _ in notes]
    assert [n for n in range(1, 12) if digests[n] != digests[n - 1]] == [2, 5, 8]
    assert_pruned_everywhere(read_checkpoint(runs.path(name, "checkpoint_last.pt")), mask)
    assert main(["inspect", "--check", runs.path(name)]) == 0
    following = draw(runs, f"{name}-next.safetensors", f"{name}/checkpoint_last.pt", 0.9)
    assert following.mask.is_subset_of(mask)


def test_the_next_ticket_is_drawn_from_its_checkpoint_and_trains(runs):
    ticket = draw(runs, "next.safetensors", "pruned/checkpoint_last.pt", 0.9)
    before = read_source(runs.path("pruned/checkpoint_last.pt"))
    assert ticket.mask.is_subset_of(before.mask) and ticket.mask.sparsity > 0.89
    runs.train("next", 5, "--ticket", runs.path("next.safetensors")).ok()
    toy.assert_pruned(read_checkpoint(runs.path("next/checkpoint_last.pt")), ticket.mask)


def test_the_controls_of_its_own_initialiser(runs):
    fresh = draw(runs, "fresh.safetensors", "dense/checkpoint_last.pt", 0.5, "--reset", "random")
    ticket = load_ticket(runs.path("ticket.safetensors"))
    assert fresh.mask == ticket.mask
    names = set(ticket.mask)
    assert all(not fresh.values[n].equal(ticket.values[n]) for n in names)


def test_it_is_exported_and_loads_in_fairseqs_own_model(runs):
    from fairseq.models.roberta import RobertaModel

    last, dense, small = (
        runs.path(name) for name in ("pruned/checkpoint_last.pt", "plain.pt", "c.safetensors")
    )
    assert main(["export", last, "--out", dense]) == 0
    assert main(["export", last, "--to", "compact", "--out", small]) == 0
    for path in (dense, small):
        found = inspect_file(path)
        assert found["sparsity"] == inspect_file(last)["sparsity"] and found["agrees"]
        assert read_source(path).adapter.name == "masked_lm"
    state = read_checkpoint(dense)
    assert state["cfg"]["task"]["_name"] == "masked_lm"
    from argparse import Namespace

    from fairseq.tasks.masked_lm import MaskedLMConfig, MaskedLMTask

    task = MaskedLMTask.setup_task(MaskedLMConfig(data=runs.path("bin")))
    model = RobertaModel.build_model(Namespace(**state["cfg"]["model"]), task)
    assert not [n for n in model.load_state_dict(state["model"], strict=False).unexpected_keys]


def test_the_log_has_the_figures_of_its_groups(runs):
    log = (runs.folder / "pruned-log.txt").read_text()
    line = re.findall(r"valid on 'valid' subset .*", log)[-1]
    figures = dict(re.findall(r"(sparsity|density_\w+) ([\d.]+)", line))
    assert set(figures) == {
        "sparsity", "density_embedding", "density_classifier", "density_enc_self", "density_enc_ffn"
    }  # fmt: skip
    mask = read_source(runs.path("pruned/checkpoint_last.pt")).mask
    assert float(figures["sparsity"]) == pytest.approx(mask.sparsity, abs=1e-4)
    head = mask.sparsity_of("encoder.lm_head.dense.weight")
    assert float(figures["density_classifier"]) == pytest.approx(1 - head, abs=1e-4)


def test_validation_takes_every_sentence(runs):
    flags = [runs.folder / "bin", *TASK, "--path", runs.path("pruned/checkpoint_last.pt")]
    done = toy.call("fairseq_cli.validate", [*flags, "--batch-size", 16], runs.folder).ok()
    assert "| valid on 'valid' subset | loss " in done.out, done.out[-2000:]


def test_a_packed_ticket_is_trained_by_the_commands_that_unpacking_prints(runs, capsys):
    whole = ["fairseq-train", "bin", *MODEL, *TRAIN, "--task", "masked_lm_lottery"]
    command = runs.folder / "command.txt"
    command.write_text(shlex.join([*whole, "--max-update", "3", "--ticket", "t"]))
    line = ["pack", runs.path("ticket.safetensors"), "--command", str(command)]
    assert main([*line, "--data", runs.path("bin"), "--out", runs.path("packed.zip")]) == 0
    assert main(["unpack", runs.path("packed.zip"), "--out", runs.path("there")]) == 0
    there = runs.folder / "there"
    (there / "text").mkdir()
    for name in ("train", "valid"):
        (there / "text" / name).write_text((runs.folder / f"{name}.en").read_text())
    steps = capsys.readouterr().out.partition("\ncd ")[2].partition("\n")[2]
    places = [str(folder()), os.environ["PATH"]]
    done = subprocess.run(
        ["bash", "-e"], input=steps, cwd=there, capture_output=True, text=True,
        env={**toy.alone(), "PATH": os.pathsep.join(places)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    source = read_source(there / "checkpoints" / "checkpoint_last.pt")
    assert source.update == 3 and source.mask == load_ticket(there / "ticket.safetensors").mask


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (["export", "{}", "--to", "slim", "--out", "{}.slim.pt"], "--to slim"),
        (["export", "{}", "--to", "ctranslate2", "--out", "{}.ct2"], "--to ctranslate2"),
        (["heads", "ablate", "{}", "--metric", "bleu", "--out", "{}.json"], "--metric bleu"),
    ],
)
def test_what_is_about_translation_is_refused(runs, line, what, capsys):
    if "ctranslate2" in line:
        pytest.importorskip("ctranslate2")
    last = runs.path("pruned/checkpoint_last.pt")
    assert main([word.format(last) for word in line]) == 2
    said = capsys.readouterr().err
    assert f"{what} requires a model that translates" in said and "is masked_lm" in said


def test_its_loss_is_the_one_that_fairseq_logs(runs):
    """Seed 1 masks the tokens that an evaluation masks; the log has three digits, in bits."""
    done = runs.train("seed1", 5, "--seed", 1).ok()
    logged = float(re.findall(r"valid on 'valid' subset .*? loss ([\d.]+)", done.out)[-1])
    made = loaded_heads.load_heads(runs.path("seed1/checkpoint_last.pt"))
    everything = ComponentMask(made.anatomy, {})
    for tokens in (100, 4096):
        loss = loaded_measures.Evaluator(made, loaded_measures.Sample(tokens=tokens))(everything)
        assert loss / math.log(2) == pytest.approx(logged, abs=5.1e-4)
    lines = open(runs.path("valid.en")).readlines()
    assert len(loaded_model.examples(made, "valid", None)) == len(lines)
    without = ComponentMask(made.anatomy, {"heads": {name: [0] for name in made.anatomy.heads}})
    assert abs(loaded_measures.Evaluator(made, loaded_measures.Sample())(without) - loss) > 1e-5


def test_the_importance_of_its_heads_is_the_derivative_of_its_loss(runs):
    """Of one batch: |dL/dgate| by a central difference; fairseq computes softmax in fp32."""
    made = loaded_heads.load_heads(runs.path("pruned/checkpoint_last.pt"))
    made.model.double()
    sample = loaded_measures.Sample(sentences=4)
    scores = loaded_measures.measure_importance(made, sample, per="batch")
    assert scores["heads"].keys() == {
        f"encoder.sentence_encoder.layers.{n}.self_attn" for n in range(2)
    }
    (batch,) = loaded_model.batches(loaded_model.examples(made, "valid", 4), 4096, made.device)
    gates = Gates(made.model, made.anatomy)
    for kind, number in (("heads", 1), ("units", 7), ("blocks", 0)):
        for name, values in scores[kind].items():
            losses = []
            for factor in (1 + 5e-2, 1 - 5e-2):
                gates.values[kind][name] = torch.ones(len(values), dtype=torch.float64)
                gates.values[kind][name][number] = factor
                with gates.attached(), torch.no_grad():
                    logits = made.model(**batch["net_input"])[0].flatten(0, 1)
                    target = batch["target"].flatten()
                    loss = cross_entropy(logits, target, ignore_index=PADDING, reduction="sum")
                    losses.append(float(loss))
            gates.values[kind][name][number] = 1
            slope = abs(losses[0] - losses[1]) / 1e-1
            assert float(values[number]) == pytest.approx(slope, rel=1e-3, abs=2e-5)


@pytest.mark.parametrize("measure", ["confidence", "l1", "adaprune"])
def test_heads_are_measured_and_closed_in_its_next_ticket(runs, measure):
    last, scores, choice, out = (
        runs.path(name.format(measure))
        for name in ("pruned/checkpoint_last.pt", "{}.json", "{}-half.json", "{}-half.safetensors")
    )
    assert main(["heads", "importance", last, "--measure", measure, "--out", scores]) == 0
    found = load_scores(scores)[1]["heads"]
    assert all(len(values) == 2 and float(values.min()) > 0 for values in found.values())
    if measure == "confidence":
        assert all(float(values.max()) <= 1 for values in found.values())
    assert main(["heads", "choose", "--scores", scores, "--share", "0.5", "--out", choice]) == 0
    line = ["ticket", "--mask-from", last, "--components", choice, "--reset", "keep", "--out", out]
    assert main(line) == 0
    ticket = load_ticket(out)
    closed = set(load_choice(choice)[0].pruned("heads"))
    assert len(closed) == 2
    for name in found:
        keep = ticket.mask[f"{name}.out_proj.weight"].reshape(32, 2, 16)
        for number in range(2):
            assert bool(keep[:, number].any()) != ((name, number) in closed)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mask_prob": "abc"}, "the settings of the task are malformed ("),
        ({"tokens_per_sample": None}, "the settings of the task are malformed ("),
        ({"mask_prob": 0.0}, "the examples called valid cannot be read (AssertionError)"),
        ({"sample_break_mode": "${oc.env:HOME}"}, ""),
        ({"mask_multiple_length": 10**9}, ""),
        ({"mask_prob": 1e-9}, "the loss counts no token of the examples; give more examples"),
    ],
)
def test_what_a_strangers_checkpoint_says_of_examples_is_bounded(runs, settings, said, capsys):
    """Numbers that no example has, and texts that are not words, are left out."""
    state = read_checkpoint(runs.path("dense/checkpoint_last.pt"))
    for name, value in settings.items():
        state["cfg"]["task"][name] = value
    torch.save(state, runs.path("strange.pt"))
    line = ["heads", "importance", runs.path("strange.pt"), "--sentences", "4", "--overwrite"]
    code = main([*line, "--out", runs.path("strange.json")])
    said_of_it = [x for x in capsys.readouterr().err.splitlines() if x.startswith("fairseq-lot")]
    assert code == (2 if said else 0) and len(said_of_it) == bool(said)
    assert all(said in line for line in said_of_it)


def test_switches_that_an_evaluation_does_not_follow_are_said(runs, caplog):
    state = read_checkpoint(runs.path("dense/checkpoint_last.pt"))
    state["cfg"]["task"]["mask_whole_words"] = True
    torch.save(state, runs.path("words.pt"))
    loaded_model.examples(loaded_heads.load_heads(runs.path("words.pt")), "valid", None)
    assert "settings of the training: mask_whole_words" in caplog.text


def test_a_ticket_does_not_say_how_examples_are_made(runs, capsys):
    line = ["heads", "importance", runs.path("ticket.safetensors"), "--data", runs.path("bin")]
    assert main([*line, "--out", runs.path("t.json")]) == 2
    assert "ticket.safetensors is a ticket" in capsys.readouterr().err
    assert main([*line, "--measure", "l2", "--out", runs.path("t.json")]) == 0


def test_sparse_decoding_is_refused_before_anything_is_trained(runs):
    done = runs.train("sparse", 5, "--sparse-decode")
    assert done.code == 2 and "--sparse-decode requires a model that translates" in done.out
    assert not list((runs.folder / "sparse").iterdir())


def test_an_order_of_examples_and_the_line_between_two_models(runs):
    """The loss is the task's own; without translations there is no share of wrong tokens."""
    from fairseq_lottery.analysis.weights.connectivity import connect

    for name, seed in (("one", 1), ("two", 2)):
        runs.train(name, 6, "--data-seed", seed).ok()
    files = [runs.path(name, "checkpoint_last.pt") for name in ("one", "two")]
    assert not toy.same(*(dict(untie(read_checkpoint(file)["model"])[0]) for file in files))
    line = connect(*files, points=3, cpu=True)
    assert line.error is None and list(line.lines) == ["loss"]
    for end, file in ((0, files[0]), (-1, files[1])):
        loaded = loaded_model.load_for_evaluation(file, cpu=True)
        selected = loaded_model.examples(loaded, "valid", None)
        total = count = 0
        with torch.no_grad():
            for batch in loaded_model.batches(selected, 4096, loaded.device):
                loss, tokens, _ = loaded.evaluation.loss(loaded.model, batch)
                total, count = total + float(loss), count + tokens
        assert line.loss.values[end] == total / count
        assert line.tokens == count


def test_recordings_of_it_are_compared_probed_and_have_roles(runs, capsys):
    """Words of the encoder's input without masks; what has no counterpart there is refused."""
    model, lines = "pruned/checkpoint_last.pt", (runs.folder / "valid.en").read_text().splitlines()
    for name, file in (("before", "dense/checkpoint_last.pt"), ("after", model)):
        assert main(["record", runs.path(file), "--out", runs.path(name)]) == 0
    assert (
        f"51 sentences, {sum(len(x.split()) for x in lines)} source words"
        in capsys.readouterr().out
    )
    recording = Recording.open(runs.path("after"))
    assert [" ".join(one) for one in recording.words("source")] == lines
    assert {(one[0], one[-1]) for one in recording.tokens("source")} == {("<s>", "</s>")}
    labels = runs.folder / "valid.labels"
    tagged = (
        "".join(f"{w}\t{'odd' if int(w[1:]) % 2 else 'even'}\n" for w in x.split()) for x in lines
    )
    labels.write_text("\n".join(tagged))
    out = runs.path("roles")
    for line in (
        ["roles", runs.path("after"), "--before", runs.path("before"), "--out", out],
        ["similarity", runs.path("after"), runs.path("before"), "--out", runs.path("similar")],
        ["complexity", runs.path("after"), "--measures", "effective-rank"],
        ["probe", runs.path("after"), "--labels", f"odd={labels}", "--epochs", "1"],
    ):
        assert main(line) == 0, line
    roles, similar = (
        list(csv.DictReader((runs.folder / name).read_text().splitlines()))
        for name in ("roles/roles.csv", "similar/similarity.csv")
    )
    assert {row["part"] for row in roles} == {"enc_self"}
    assert {"local", "delimiter", "cls", "sep"} <= {row["role"] for row in roles}
    measures = {row["measure"] for row in similar}
    assert {"linear-cka", "head-sim", "map-cka", "neuron-sim"} <= measures
    capsys.readouterr()
    for flags, what in (
        (["record", runs.path(model), "--target-words", str(labels)], "leave --target-words out"),
        (["probe", runs.path("after"), "--target-labels", str(labels)], "has no target words"),
        (["roles", runs.path("after"), "--sieves", "diagonal"], "a model with a decoder"),
    ):
        assert main([*flags, "--out", runs.path("refused")]) == 2
        assert what in capsys.readouterr().err
