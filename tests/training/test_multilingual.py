"""fairseq's translation_multi_simple_epoch on three languages: tickets, pruning, resuming."""

import shutil

import pytest
import toy
from languages import DATA, DECODING, MODEL, SAMPLING, TASK, TRAIN, Runs

from fairseq_lottery.cli.main import main
from fairseq_lottery.formats import load_ticket, read_checkpoint, read_source, untie
from fairseq_lottery.masks import count_to_prune
from fairseq_lottery.tickets.inspection import inspect_file

pytest.importorskip("fairseq")

from fairseq import options

pytestmark = pytest.mark.slow

#: from the 50 % of the ticket, over the ends of virtual epochs
PRUNE = (
    "--prune-to 0.8 --prune-start 4 --prune-end 20 --prune-every 4 --save-interval-updates 5"
).split()
#: a pass over the data takes five virtual epochs, each of about four updates
VIRTUAL = [*SAMPLING, "--virtual-epoch-size", 180, "--virtual-data-size", 800]
TOKENS = ("__en__", "__de__", "__fr__")
LAST = "checkpoint_last.pt"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A dense run, a ticket of 50 %, and its training, which prunes on to 80 %."""
    runs = Runs(tmp_path_factory.mktemp("multilingual"))
    toy.read(options.get_training_parser(), [runs.folder / "bin", *MODEL, *TRAIN, *TASK])
    runs.train("dense", 20, "--snapshot-updates", "0,5", *SAMPLING).ok()
    draw(runs, "ticket.safetensors", "dense/checkpoint_last.pt", 0.5)
    runs.train("pruned", 30, "--ticket", runs.path("ticket.safetensors"), *PRUNE, *VIRTUAL).ok()
    return runs


def draw(runs, out, weights, sparsity, *more):
    """Draw a ticket with the command; its weights are of update 5."""
    start = runs.path("dense/snapshot_5.safetensors")
    line = ["--mask-from", runs.path(weights), "--start-from", start, *more]
    assert main(["ticket", *line, "--sparsity", str(sparsity), "--out", runs.path(out)]) == 0
    return load_ticket(runs.path(out))


def weights_of(path):
    return dict(untie(read_checkpoint(path)["model"])[0])


@pytest.fixture(scope="module")
def plain(runs):
    """A dense run of fairseq's own task and optimizer, without the plugin."""
    own = [x for x in TRAIN if x not in ("--user-dir", str(toy.PACKAGE))]
    own = [x.replace("masked_adam", "adam").replace("_entropy_lottery", "_entropy") for x in own]
    flags = [*MODEL, *own, "--task", "translation_multi_simple_epoch", *DATA, *SAMPLING]
    flags = [runs.folder / "bin", *flags, "--max-update", 20, "--save-dir", runs.path("plain")]
    toy.call("fairseq_cli.train", flags, runs.folder).ok()
    return runs.path("plain", LAST)


def test_a_dense_run_trains_as_fairseqs_own_task(runs, plain):
    assert toy.same(*map(weights_of, (plain, runs.path("dense", LAST))))


def test_a_ticket_stores_the_tokens_of_the_languages(runs):
    ticket = load_ticket(runs.path("ticket.safetensors"))
    assert ticket.adapter.name == "translation_multi_simple_epoch"
    assert ticket.dictionaries["source"][-3:] == TOKENS
    assert ticket.dictionaries["source"] == ticket.dictionaries["target"]
    table = "encoder.embed_tokens.weight"
    assert ticket.mask.protected == {table: 1} and len(ticket.values[table]) == 4 + 60 + 3


def test_a_checkpoint_of_fairseqs_own_task_gives_the_same_ticket(runs, plain):
    drawn = []
    for number, path in enumerate((plain, runs.path("dense", LAST))):
        out = runs.path(f"own{number}.safetensors")
        line = ["--mask-from", path, "--start-from", path, "--sparsity", "0.3", "--out", out]
        assert main(["ticket", *line]) == 0
        drawn.append(load_ticket(out))
    assert toy.same(dict(drawn[0].values), dict(drawn[1].values))
    assert drawn[0].mask == drawn[1].mask and drawn[0].dictionaries == drawn[1].dictionaries
    assert drawn[0].adapter is drawn[1].adapter


def test_the_control_with_new_weights_builds_the_model(runs):
    line = ["--mask-from", runs.path("dense", LAST), "--sparsity", "0.5", "--reset", "random"]
    assert main(["ticket", *line, "--out", runs.path("random.safetensors")]) == 0
    random, ticket = (
        load_ticket(runs.path(name)) for name in ("random.safetensors", "ticket.safetensors")
    )
    assert random.mask == ticket.mask
    assert all(not random.values[n].equal(ticket.values[n]) for n in ticket.mask)


def test_training_enforces_the_mask_and_prunes_on(runs):
    source = read_source(runs.path("pruned", LAST))
    expected = sum(count_to_prune(0.8, source.mask.size(name)) for name in source.mask)
    assert source.mask.pruned == expected
    assert source.mask.is_subset_of(load_ticket(runs.path("ticket.safetensors")).mask)
    toy.assert_pruned(read_checkpoint(runs.path("pruned", LAST)), source.mask)
    assert main(["inspect", "--check", runs.path("pruned")]) == 0


@pytest.mark.parametrize("update", [6, 13, 27])
def test_a_killed_run_resumes_bit_equal(runs, update):
    """In the second, third and sixth virtual epoch; the sixth begins a new pass over the data."""
    flags = ["--ticket", runs.path("ticket.safetensors"), *PRUNE, *VIRTUAL]
    killed = runs.train(f"killed{update}", 30, *flags, prelude=lambda: toy.kill_at(update))
    assert killed.code == -9, killed.out[-2000:]
    runs.train(f"killed{update}", 30, *flags).ok()
    whole, resumed = (read_checkpoint(runs.path(n, LAST)) for n in ("pruned", f"killed{update}"))
    toy.assert_same_training(whole, resumed)


@pytest.mark.parametrize(
    "sampling",
    [
        SAMPLING,
        ["--sampling-method", "RoundRobin"],
        ["--sampling-method", "RoundRobin", "--update-ordered-indices-seed"],
        ["--sampling-method", "uniform", "--data-seed", 4],
        ["--update-freq", 2],
    ],
    ids=lambda flags: "-".join(str(flag).strip("-") for flag in flags[::2]),
)
def test_every_sampling_resumes_bit_equal_in_a_later_epoch(runs, sampling):
    """An epoch has about 15 updates."""
    name = "-".join(str(flag).strip("-") for flag in sampling)
    flags = ["--save-interval-updates", 5, *sampling]
    runs.train(f"{name}-whole", 40, *flags).ok()
    killed = runs.train(f"{name}-killed", 40, *flags, prelude=lambda: toy.kill_at(33))
    assert killed.code == -9, killed.out[-2000:]
    runs.train(f"{name}-killed", 40, *flags).ok()
    states = [read_checkpoint(runs.path(f"{name}-{way}", LAST)) for way in ("whole", "killed")]
    assert states[0]["extra_state"]["train_iterator"]["epoch"] > 2 or "--update-freq" in sampling
    toy.assert_same_training(*states)


def test_data_in_several_folders_resumes_bit_equal(runs):
    """The sampling ratios depend on the sizes of all folders that were loaded."""
    second = runs.folder / "second"
    shutil.copytree(runs.folder / "bin", second)
    for file in (runs.folder / "bin").glob("valid.en-de.*"):
        shutil.copy(file, second / file.name.replace("valid", "train"))
    (data, *flags) = runs.arguments("x", 40, "--save-interval-updates", 5, *SAMPLING)
    for more in ([], ["--virtual-epoch-size", 100, "--virtual-data-size", 200]):
        states = []
        for way, prelude in (("whole", None), ("killed", lambda: toy.kill_at(28))):
            save = ["--save-dir", runs.path(f"folders{len(more)}-{way}")]
            line = [f"{data}:{second}", *flags, *more, *save]
            done = toy.call("fairseq_cli.train", line, runs.folder, prelude=prelude)
            if prelude is not None:
                assert done.code == -9, done.out[-2000:]
                done = toy.call("fairseq_cli.train", line, runs.folder)
            done.ok()
            states.append(read_checkpoint(f"{save[1]}/{LAST}"))
        toy.assert_same_training(*states)


@pytest.mark.parametrize("precision", [name for name in toy.PRECISIONS if name != "fp32"])
def test_half_precision_prunes_and_resumes(runs, precision):
    if not toy.half_precision_trains_on_cpu():
        pytest.skip("this torch has no half-precision dropout on a CPU")
    flags = ["--ticket", runs.path("ticket.safetensors"), *toy.PRECISIONS[precision], *SAMPLING]
    flags += "--prune-to 0.8 --prune-start 3 --prune-end 9 --prune-every 3".split()
    flags += ["--save-interval-updates", 5]
    runs.train(f"{precision}-whole", 12, *flags, prelude=toy.pretend_cuda).ok()
    killed = runs.train(f"{precision}-killed", 12, *flags, prelude=lambda: toy.kill_at(7))
    assert killed.code == -9, killed.out[-2000:]
    runs.train(f"{precision}-killed", 12, *flags, prelude=toy.pretend_cuda).ok()
    states = [read_checkpoint(runs.path(f"{precision}-{way}", LAST)) for way in ("whole", "killed")]
    toy.assert_same_training(*states)
    mask = read_source(runs.path(f"{precision}-whole", LAST)).mask
    assert mask.pruned == sum(count_to_prune(0.8, mask.size(name)) for name in mask)
    toy.assert_pruned(states[0], mask)


def test_two_processes_prune_alike(runs):
    flags = ["--ticket", runs.path("ticket.safetensors"), *SAMPLING, "--update-freq", 2]
    flags += "--prune-to 0.8 --prune-start 3 --prune-end 9 --prune-every 3".split()
    runs.train_two("two", 12, *flags)
    source = read_source(runs.path("two", LAST))
    assert source.mask.pruned == sum(count_to_prune(0.8, source.mask.size(n)) for n in source.mask)
    toy.assert_pruned(read_checkpoint(runs.path("two", LAST)), source.mask)


def test_it_translates_each_pair_also_after_export(runs):
    last, plain, small = (
        runs.path(name) for name in ("pruned/checkpoint_last.pt", "plain.pt", "c.safetensors")
    )
    assert main(["export", last, "--out", plain]) == 0
    assert main(["export", last, "--to", "compact", "--out", small]) == 0
    assert main(["export", small, "--out", runs.path("back.pt")]) == 0
    for pair in ("en-de", "fr-en"):
        texts = [
            toy.hypotheses(runs.translate(pair, name).ok())
            for name in ("pruned/checkpoint_last.pt", "plain.pt", "back.pt")
        ]
        assert len(texts[0]) == 20 and texts[0] == texts[1] == texts[2]
    assert inspect_file(small)["sparsity"] == inspect_file(last)["sparsity"]
    assert read_checkpoint(plain)["cfg"]["task"]["_name"] == "translation_multi_simple_epoch"


def test_an_exported_model_translates_with_fairseqs_own_task(runs):
    last, plain = runs.path("pruned", LAST), runs.path("own.pt")
    assert main(["export", last, "--out", plain]) == 0
    flags = ["--task", "translation_multi_simple_epoch", *DATA, "-s", "en", "-t", "de"]
    flags += ["--path", plain, *DECODING, "--required-batch-size-multiple", 1]
    own = toy.call("fairseq_cli.generate", [runs.folder / "bin", *flags], runs.folder).ok()
    ours = runs.translate("en-de", "pruned/checkpoint_last.pt").ok()
    assert toy.hypotheses(own) == toy.hypotheses(ours)


HYDRA = """
common: {{user_dir: {package}, seed: 3, log_format: simple}}
task:
  _name: translation_multi_simple_epoch_lottery
  data: {data}
  langs: en,de,fr
  lang_pairs: en-de,en-fr,de-en,fr-en
  encoder_langtok: tgt
  decoder_langtok: true
  sampling_method: temperature
  sampling_temperature: 2
  langtoks: {{main: [tgt, tgt]}}
  ticket: {ticket}
criterion: {{_name: label_smoothed_cross_entropy_lottery, label_smoothing: 0.1}}
optimizer: {{_name: masked_adam}}
lr_scheduler: {{_name: inverse_sqrt, warmup_updates: 10}}
optimization: {{max_update: 12, lr: [0.003], clip_norm: 1.0}}
dataset: {{max_tokens: 500, num_workers: 0}}
checkpoint: {{save_dir: {save_dir}, no_epoch_checkpoints: true}}
model:
  _name: transformer
  share_all_embeddings: true
  base_layers: 0
  encoder: {{layers: 2, embed_dim: 32, ffn_embed_dim: 64, attention_heads: 2}}
  decoder: {{layers: 2, embed_dim: 32, ffn_embed_dim: 64, attention_heads: 2}}
"""


def test_hydra_trains_as_flags_do(runs):
    ticket = runs.path("ticket.safetensors")
    runs.train("flags", 12, "--ticket", ticket, *SAMPLING).ok()
    text = HYDRA.format(
        package=toy.PACKAGE, data=runs.path("bin"), ticket=ticket, save_dir=runs.path("hydra")
    )
    (runs.folder / "hydra.yaml").write_text(text)
    line = ["--config-dir", runs.folder, "--config-name", "hydra", "hydra.run.dir=hydra_run"]
    toy.call("fairseq_cli.hydra_train", line, runs.folder).ok()
    assert toy.same(*(weights_of(runs.path(name, LAST)) for name in ("flags", "hydra")))
    assert inspect_file(runs.path("hydra", LAST))["agrees"]


def test_validation_takes_the_sentences_of_all_pairs(runs):
    path = runs.path("pruned", LAST)
    flags = [runs.folder / "bin", *TASK, "--user-dir", toy.PACKAGE, "--path", path]
    done = toy.call("fairseq_cli.validate", [*flags, "--batch-size", 16], runs.folder).ok()
    assert "| valid on 'valid' subset | loss " in done.out, done.out[-2000:]
