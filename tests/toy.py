"""A toy translation task (reverse the words) and fairseq's commands run on it.

Each run is a process of its own, forked from this one after fairseq was imported: starting
an interpreter for each of a hundred runs would take longer than the runs.
"""

import functools
import os
import random
import re
import signal
import socket
import sys
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "fairseq_lottery"

#: a Transformer of 44,800 parameters, 42,976 of them prunable, on dictionaries of 64 symbols
MODEL = (
    "--arch transformer --share-all-embeddings --encoder-layers 2 --decoder-layers 2"
    " --encoder-embed-dim 32 --decoder-embed-dim 32 --encoder-ffn-embed-dim 64"
    " --decoder-ffn-embed-dim 64 --encoder-attention-heads 2 --decoder-attention-heads 2"
).split()
PARAMETERS, PRUNABLE = 44_800, 42_976

TRAIN = (
    "-s en -t de --lr 3e-3 --lr-scheduler inverse_sqrt --warmup-updates 10"
    " --label-smoothing 0.1 --max-tokens 500 --clip-norm 1.0 --log-interval 10"
    " --log-format simple --num-workers 0 --seed 3 --no-epoch-checkpoints"
).split()
ADAM = ["--adam-betas", "(0.9, 0.98)", "--weight-decay", "0.01"]
LOTTERY = (
    f"--user-dir {PACKAGE} --task translation_lottery"
    " --criterion label_smoothed_cross_entropy_lottery"
).split()


HALF = ["--fp16", "--fp16-init-scale", "4"]
PRECISIONS = {
    "fp32": [],
    "fp16-flat": HALF,
    "fp16-no-flatten": [*HALF, "--fp16-no-flatten-grads"],
    "fp16-memory-efficient": [*HALF, "--memory-efficient-fp16"],
    "amp": ["--amp"],
}


def alone(**more: str) -> dict:
    """The environment of a new interpreter that finds this package, and what this one finds."""
    path = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), **more}


@dataclass
class Done:
    """A finished run: its exit code and what it printed."""

    code: int
    out: str

    def ok(self) -> "Done":
        assert self.code == 0, self.out[-3000:]
        return self


def write_text(folder: Path) -> None:
    """600, 51 and 50 sentences of 60 words; the target reverses the source."""
    chance = random.Random(1)
    words = [f"w{i}" for i in range(60)]
    for split, count in (("train", 600), ("valid", 51), ("test", 50)):
        lines = [chance.choices(words, k=chance.randint(3, 9)) for _ in range(count)]
        (folder / f"{split}.en").write_text("".join(" ".join(x) + "\n" for x in lines))
        (folder / f"{split}.de").write_text("".join(" ".join(x[::-1]) + "\n" for x in lines))


@functools.cache
def warm_up() -> None:
    """Do once what every fork would do again: two thirds of the time of a training on the toy.

    torch's optimizers import its compiler, and hydra's parser fills its caches as it reads.
    """
    import quick_compose

    import fairseq_lottery.plugin
    import fairseq_lottery.training.lottery_run  # noqa: F401

    try:
        import torch._dynamo  # noqa: F401
    except ImportError:
        pass  # torch 1.12 has none
    quick_compose.install()
    for parser, words in command_lines():
        read(parser, words)


def read(parser, words) -> None:
    """Read a command line, so that forks read those of its task and optimizer faster."""
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parsed = options.parse_args_and_arch(parser, [str(word) for word in words])
        convert_namespace_to_omegaconf(parsed)


def command_lines():
    """Yield fairseq's parser and the arguments of trainings and translations."""
    from fairseq import options

    toy = Toy(Path("data"), Path("folder"))
    plain = {"optimizer": "adam", "lottery": False}
    yield options.get_training_parser(), toy.arguments("save", "--prune-to", 0.5)
    yield options.get_training_parser(), toy.arguments("save", **plain)
    for lottery in (True, False):
        parser = options.get_generation_parser()
        parser.add_argument("--arch", default="wav2vec2")  # as fairseq-generate does
        yield parser, toy.translating("checkpoint.pt", lottery=lottery)


def call(module: str, arguments, folder: Path, environment=None, prelude=None) -> Done:
    """Run ``python -m module arguments`` in a forked process and wait for it."""
    return wait(start(module, arguments, folder, environment, prelude))


def start(module: str, arguments, folder: Path, environment=None, prelude=None):
    """As ``call`` without waiting; several processes of one training are started so."""
    warm_up()
    log = folder / f"log-{os.getpid()}-{random.SystemRandom().getrandbits(32)}.txt"
    pid = os.fork()
    if pid:
        return pid, log
    code = 1
    try:
        with open(log, "w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.chdir(folder)
        os.environ.update(environment or {})
        code = _main(module, [str(a) for a in arguments], prelude)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else (0 if stop.code is None else 1)
        if isinstance(stop.code, str):
            os.write(2, stop.code.encode())
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        sys.stdout.flush()
        os._exit(code)


def wait(started) -> Done:
    pid, log = started
    _, status = os.waitpid(pid, 0)
    return Done(os.waitstatus_to_exitcode(status), log.read_text(errors="replace"))


def _main(module: str, arguments, prelude) -> int:
    import importlib
    import logging

    import torch

    sys.stdout = os.fdopen(os.dup(1), "w", buffering=1)
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    torch.set_num_threads(1)
    if prelude is not None:
        prelude()
    sys.argv = [module, *arguments]
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, force=True)
    found = importlib.import_module(module)
    return getattr(found, "cli_main", None)() or 0


class Toy:
    """The toy's data and shortcuts to train on it in one folder."""

    def __init__(self, data: Path, folder: Path) -> None:
        self.data, self.folder = data, folder

    def arguments(self, save_dir, *extra, updates=20, optimizer="masked_adam", lottery=True):
        own = LOTTERY if lottery else ["--criterion", "label_smoothed_cross_entropy"]
        adam = ADAM if optimizer.endswith("adam") else []
        return [
            self.data, *MODEL, *TRAIN, *own, "--optimizer", optimizer, *adam,
            "--max-update", updates, "--save-dir", self.folder / save_dir, *extra,
        ]  # fmt: skip

    def train(self, save_dir, *extra, prelude=None, **kwargs) -> Done:
        arguments = self.arguments(save_dir, *extra, **kwargs)
        return call("fairseq_cli.train", arguments, self.folder, prelude=prelude)

    def translating(self, checkpoint, *extra, lottery=True):
        own = LOTTERY[:4] if lottery else []
        return [
            self.data, "-s", "en", "-t", "de", *own, "--path", self.folder / checkpoint,
            "--beam", 2, "--max-tokens", 1000, "--max-len-b", 30, *extra,
        ]  # fmt: skip

    def generate(self, checkpoint, *extra, lottery=True) -> Done:
        arguments = self.translating(checkpoint, *extra, lottery=lottery)
        return call("fairseq_cli.generate", arguments, self.folder)

    def path(self, *parts) -> Path:
        return self.folder.joinpath(*parts)

    def load(self, *parts):
        from fairseq_lottery.formats import read_checkpoint

        return read_checkpoint(self.path(*parts))

    def mask(self, *parts):
        from fairseq_lottery.formats import read_source

        return read_source(self.path(*parts)).mask


def hypotheses(done: Done):
    """Sentence number -> translation, out of fairseq-generate's output."""
    return {int(n): text for n, text in re.findall(r"^H-(\d+)\t\S+\t(.*)$", done.out, re.M)}


def drawing(dense, sparsity, *extra):
    """Flags that draw a ticket at start, from a dense run with a snapshot of update 5."""
    return (
        "--mask-from", dense / "checkpoint_last.pt", "--start-from",
        dense / "snapshot_5.safetensors", "--sparsity", sparsity, *extra,
    )  # fmt: skip


def assert_pruned(state, mask):
    """Every weight that the mask prunes is zero in a checkpoint."""
    from fairseq_lottery.formats import untie

    weights, _ = untie(state["model"])
    for name, keep in mask.items():
        assert not weights[name][~keep].any(), name


def same(a, b):
    """Whether two nested states are equal to the bit."""
    import torch

    if isinstance(a, torch.Tensor):
        alike = isinstance(b, torch.Tensor) and a.dtype == b.dtype and a.shape == b.shape
        return alike and torch.equal(bits(a), bits(b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def bits(tensor):
    """The bytes of a tensor: 0.0 and -0.0 differ, and a NaN equals itself."""
    import torch

    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)


def assert_same_training(a, b):
    """Weights, optimizer state with masters, and what the task keeps, to the bit."""
    from fairseq_lottery.formats import untie

    # without 0.12.2's untrained copies of weights and fairseq's uninitialised buffers
    assert same(untie(a["model"]), untie(b["model"]))
    assert same(a["last_optimizer_state"], b["last_optimizer_state"])
    assert same(a["task_state"], b["task_state"])
    assert same(a.get("criterion"), b.get("criterion"))  # gates that learn


def half_precision_trains_on_cpu():
    """Whether this torch has half-precision dropout on a CPU."""
    import torch

    try:
        torch.nn.functional.dropout(torch.ones(1, dtype=torch.float16), 0.5)
    except RuntimeError:
        return False
    return True


def pretend_cuda():
    """fairseq's flat fp16 path asks for a device number and uses it as a name only."""
    import torch

    torch.cuda.current_device = lambda: None


def free_port():
    """A port that two processes can meet at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def sharing(port, rank):
    """Flags of one of two processes over gloo."""
    return [
        "--distributed-world-size", 2, "--distributed-rank", rank, "--device-id", 0,
        "--distributed-init-method", f"tcp://127.0.0.1:{port}", "--distributed-no-spawn",
        "--distributed-backend", "gloo",
    ]  # fmt: skip


def train_two(toy, save_dir, *extra, prelude=None, **kwargs):
    """Both ranks of one training; returns what each printed."""
    port = free_port()
    ranks = []
    for rank in (0, 1):
        flags = [*extra, *sharing(port, rank), "--ddp-backend", "legacy_ddp"]
        arguments = toy.arguments(save_dir, *flags, **kwargs)
        ranks.append(start("fairseq_cli.train", arguments, toy.folder, prelude=prelude))
    return [wait(rank) for rank in ranks]


def loading(path=None, suffix="", shards=1, lm=None, seed=None):
    """The part of fairseq's configuration that says what a command loads, without more flags."""
    import omegaconf

    whole = {
        "common": {"model_parallel_size": 1, "quantization_config_path": None,
                   "bf16": False, "tpu": False},
        "common_eval": {"path": path},
        "generation": {"lm_path": lm},
        "ema": {"store_ema": seed is not None, "ema_seed_model": seed},
        "checkpoint": {"checkpoint_suffix": suffix, "checkpoint_shard_count": shards},
        "distributed_training": {"ddp_backend": "legacy_ddp", "zero_sharding": "none",
                                 "pipeline_model_parallel": False},
        "optimization": {"use_bmuf": False},
        "task": {"data": "bin"},
    }  # fmt: skip
    return omegaconf.OmegaConf.create(whole).task


def kill_at(update):
    """Let this process be killed when it is about to train on after ``update`` updates."""
    from fairseq.trainer import Trainer

    pretend_cuda()
    train_step = Trainer.train_step

    def step(self, *args, **kwargs):
        if self.get_num_updates() == update:
            os.kill(os.getpid(), signal.SIGKILL)
        return train_step(self, *args, **kwargs)

    Trainer.train_step = step
