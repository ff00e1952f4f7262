"""What fairseq-train refuses: one sentence, exit code 2, before the first update."""

import shutil

import pytest
import torch
from safetensors.torch import load_file
from small import pair_of
from toy import drawing, kill_at

from fairseq_lottery.formats import load_ticket, save_ticket
from fairseq_lottery.formats.ticket import Ticket
from fairseq_lottery.tickets import DrawPlan, draw

pytestmark = pytest.mark.slow

MP = ("--prune-to", 0.8, "--prune-start", 0, "--prune-end", 10)

REFUSED = {
    "outside": (("--prune-to", 1.0, "--prune-end", 10), "is outside [0, 1)"),
    "negative": (("--prune-to", -0.1, "--prune-end", 10), "is outside [0, 1)"),
    "after the run": (("--prune-to", 0.8, "--prune-end", 30), "exceeds --max-update 20"),
    "unknown schedule": ((*MP, "--prune-schedule", "cube"), "choose one of cubic, linear"),
    "unknown score": ((*MP, "--score", "weight"), "there is no score 'weight'"),
    "score needs start": ((*MP, "--score", "distance"), "needs start weights"),
    "unknown set": ((*MP, "--prunable", "heads"), "there is no prunable set 'heads'"),
    "regex matches nothing": ((*MP, "--keep-dense", "bert"), "matches none of the 33"),
    "regex keeps all": ((*MP, "--keep-dense", "."), "is empty for this model"),
    "snapshot never written": (("--snapshot-updates", "25"), "--snapshot-updates 25"),
    "no number": (("--snapshot-updates", "5,x"), "--snapshot-updates 5,x"),
    "missing ticket": (("--ticket", "gone.safetensors"), "there is no file gone.safetensors"),
    "drawing without mask": (("--sparsity", 0.5), "add --mask-from"),
    "fsdp": ((*MP, "--ddp-backend", "fully_sharded"), "masks cannot be enforced"),
    "zero": ((*MP, "--zero-sharding", "os"), "masks cannot be enforced"),
    "bmuf": ((*MP, "--use-bmuf"), "masks cannot be enforced"),
    "unknown scope": ((*MP, "--scope", "golbal"), "there is no scope 'golbal'"),
    "minimum density too high": (
        (*MP, "--scope", "global", "--min-density", 0.3),
        "30059 weights, fewer than --prune-to 0.8",
    ),
    "minimum density without global": ((*MP, "--min-density", 0.1), "requires scope global"),
    "a pattern that grows": (
        ("--prune-to", 0.5, "--prune-end", 10, "--scope", "2:4"),
        "--scope 2:4 has",
    ),
    "no end": ((*MP, "--max-update", 0, "--max-epoch", 1), "requires --max-update"),
    "reset without drawing": (("--reset", "sign"), "--reset applies"),
    "score without pruning": (("--score", "random"), "--score applies"),
    "end without pruning": (("--prune-end", 5), "--prune-end applies"),
    "ema in fp32": ((*MP, "--store-ema", "--ema-fp32"), "--ema-fp32 "),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(toy, case):
    flags, sentence = REFUSED[case]
    assert_refused(toy, toy.train("run", *flags), sentence)


def assert_refused(toy, done, sentence, code=2):
    assert done.code == code, done.out[-2000:]
    printed = [line for line in done.out.splitlines() if line.startswith("fairseq-lottery: ")]
    assert len(printed) == 1 and sentence in printed[0], done.out[-2000:]
    assert "Traceback" not in done.out
    assert "num_updates 1" not in done.out
    assert not list(toy.path("run").glob("*.pt")), "nothing is written"


def test_an_optimizer_without_a_mask(toy):
    done = toy.train("run", *MP, optimizer="adam")
    assert_refused(toy, done, "use --optimizer masked_<name>")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("masked_lamb", "Please install apex"),
        ("masked_cpu_adam", "DeepSpeed"),
        ("masked_composite", "masked_composite is not supported"),
    ],
)
def test_optimizers_that_cannot_be_built_say_why(toy, name, sentence):
    from fairseq.optim import OPTIMIZER_REGISTRY

    if name not in OPTIMIZER_REGISTRY:
        pytest.skip(f"this fairseq has no {name}")
    assert_refused(toy, toy.train("run", *MP, optimizer=name), sentence)


@pytest.fixture(scope="module")
def ticket(dense):
    plan = DrawPlan(
        str(dense / "checkpoint_last.pt"), str(dense / "snapshot_5.safetensors"), sparsity=0.5
    )
    return draw(plan)


def test_corrupted_tickets(toy, ticket):
    good = toy.path("good.safetensors")
    save_ticket(good, ticket)
    content = good.read_bytes()
    bad = toy.path("bad.safetensors")
    for corrupted, sentence in (
        (content[:-100], "corrupted"),
        (content[: len(content) // 2], "corrupted"),
        (content[:-5] + bytes([content[-5] ^ 1]) + content[-4:], "changed after it was written"),
        (b"", "corrupted"),
    ):
        bad.write_bytes(corrupted)
        assert_refused(toy, toy.train("run", "--ticket", bad), sentence)


def test_ticket_of_another_model(toy, ticket):
    save_ticket(toy.path("t.safetensors"), ticket)
    done = toy.train("run", "--ticket", toy.path("t.safetensors"), "--decoder-layers", 1)
    assert_refused(toy, done, "the ticket has 2 decoder layers, but the model has 1; use models")


def test_ticket_of_another_dictionary_of_the_same_size(toy, ticket):
    symbols = ticket.dictionaries["source"]
    swapped = (symbols[1], symbols[0], *symbols[2:])
    other = Ticket(
        ticket.mask,
        ticket.values,
        ticket.record,
        pair_of(swapped, swapped),
        ticket.moments,
    )
    save_ticket(toy.path("t.safetensors"), other)
    done = toy.train("run", "--ticket", toy.path("t.safetensors"))
    first, second = symbols[:2]
    assert_refused(toy, done, f"is '{first}', expected '{second}'")


def test_a_rewound_counter_under_amp(toy, dense):
    done = toy.train("run", *drawing(dense, 0.5, "--update-counter", "rewind"), "--amp")
    assert_refused(toy, done, "cannot start under --amp")


def test_a_save_dir_that_holds_another_run(toy, dense):
    toy.train("run", updates=5).ok()
    before = toy.path("run", "checkpoint_last.pt").read_bytes()
    done = toy.train("run", *drawing(dense, 0.8))
    assert done.code == 2 and "would replace the weights of" in done.out
    assert toy.path("run", "checkpoint_last.pt").read_bytes() == before


def test_flags_beside_a_ticket_that_it_decides(toy, ticket):
    save_ticket(toy.path("t.safetensors"), ticket)
    for flag in (("--reset", "sign"), ("--score", "random"), ("--prunable", "ffn")):
        done = toy.train("run", "--ticket", toy.path("t.safetensors"), *flag)
        assert_refused(toy, done, f"{flag[0]} ")


def test_a_checkpoint_that_would_replace_the_ticket(toy, dense, ticket):
    save_ticket(toy.path("t.safetensors"), ticket)
    toy.train("slt", *drawing(dense, 0.8), updates=5).ok()
    other = toy.path("slt", "checkpoint_last.pt")
    for flag in ("--restore-file", "--finetune-from-model", "--continue-once"):
        done = toy.train("run", "--ticket", toy.path("t.safetensors"), flag, other)
        if "unrecognized arguments" not in done.out:  # official 0.12.2 has no --continue-once
            assert_refused(toy, done, "would replace the weights of")
    done = toy.train("slt", "--ticket", toy.path("t.safetensors"))
    assert done.code == 2 and "is from a run with another ticket" in done.out


def test_a_rewound_counter_that_fairseq_would_pass_over(toy, dense):
    for flags in (("--reset-optimizer",), ("--restore-file", "gone.pt")):
        done = toy.train("run", *drawing(dense, 0.5, "--update-counter", "rewind"), *flags)
        assert_refused(toy, done, "--reset-optimizer and --restore-file")


def test_a_schedule_in_the_past_of_a_resumed_run(toy, dense):
    shutil.copytree(dense, toy.path("run"))
    done = toy.train("run", *MP, "--prune-every", 5, updates=30)
    assert done.code == 2 and "--prune-start 0 is before update 20" in done.out


def test_a_growing_run_that_is_resumed_with_another_plan(toy):
    pruning = ("--prune-every", 2, "--save-interval-updates", 6)
    toy.train("run", *MP, *pruning, prelude=lambda: kill_at(6))
    for flags, sentence in (
        ((), "was pruning to 0.8 until update 10; give its --prune flags again"),
        (("--prune-to", 0.9, "--prune-end", 10), "finish that schedule before another"),
    ):
        done = toy.train("run", *flags)
        assert done.code == 2 and sentence in done.out, done.out[-500:]


def test_the_other_dictionary_of_a_resumed_run(toy, dense):
    toy.train("run", *drawing(dense, 0.8), updates=5).ok()
    data = toy.path("other")
    shutil.copytree(toy.data, data)
    for language in ("en", "de"):
        path = data / f"dict.{language}.txt"
        first, second, *rest = path.read_text().splitlines()
        path.write_text("\n".join([second, first, *rest]) + "\n")
    toy.data = data
    done = toy.train("run")
    assert done.code == 2 and "symbol 0 is" in done.out


def test_translation_refuses_to_skip_sentences(toy, dense):
    flags = ("--max-source-positions", 6, "--max-target-positions", 6)
    done = toy.generate(
        dense / "checkpoint_last.pt", "--skip-invalid-size-inputs-valid-test", *flags
    )
    assert done.code == 2 and "(6, 6) in this task" in done.out


def test_a_resumed_run_with_another_sparsity(toy, dense):
    toy.train("run", *drawing(dense, 0.8), updates=5).ok()
    done = toy.train("run", *drawing(dense, 0.9))
    assert done.code == 2 and "--sparsity 0.8, not 0.9" in done.out


def test_pruning_that_starts_before_the_tickets_counter(toy, dense):
    done = toy.train("run", *drawing(dense, 0.5, "--update-counter", "rewind"), *MP)
    assert done.code == 2 and "--prune-start 0 is before update 5" in done.out


def test_a_checkpoint_that_something_else_changed(toy, dense):
    toy.train("run", *drawing(dense, 0.8), updates=5).ok()
    path = toy.path("run", "checkpoint_last.pt")
    state = toy.load("run", "checkpoint_last.pt")
    state["model"]["decoder.layers.0.fc1.weight"] = torch.ones(64, 32)
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").rename(path)
    done = toy.train("run", *drawing(dense, 0.8))
    assert done.code == 2
    assert "decoder.layers.0.fc1.weight has nonzero weights" in done.out


def test_the_command_and_the_task_read_the_same_ticket(toy, ticket):
    save_ticket(toy.path("t.safetensors"), ticket)
    toy.train("run", "--ticket", toy.path("t.safetensors"), updates=3).ok()
    assert toy.mask("run", "checkpoint_last.pt") == ticket.mask
    assert load_ticket(toy.path("t.safetensors")).digest() == ticket.digest()
    packed = load_file(toy.path("t.safetensors"))
    assert packed["values/decoder.layers.0.fc1.weight"].numel() == 1024
    assert packed["mask/decoder.layers.0.fc1.weight"].numel() == 64 * 32 // 8
