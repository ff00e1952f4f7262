"""fairseq's Trainer on the toy task in this process, one update at a time.

The command's own parser, task and Trainer, without its loop: an update of a model this small
takes milliseconds, a process two seconds.
"""

import copy
import functools
import logging
from contextlib import contextmanager

import fairseq_cli.train
import numpy as np
import torch
from fairseq import checkpoint_utils, options, tasks
from fairseq.data import iterators
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.logging import metrics
from fairseq.trainer import Trainer
from matrix.invariants import watch_of
from omegaconf import open_dict
from quick_compose import install
from toy import ADAM

from fairseq_lottery.formats.checkpoints.tied_parameters import is_parameter
from fairseq_lottery.training.processes.stop_signals import Stopping

#: a Transformer of two thousand weights, one attention head of each kind in a layer
MODEL = {
    "--arch": "transformer", "--encoder-layers": 1, "--decoder-layers": 1,
    "--encoder-embed-dim": 8, "--decoder-embed-dim": 8, "--encoder-ffn-embed-dim": 12,
    "--decoder-ffn-embed-dim": 12, "--encoder-attention-heads": 2,
    "--decoder-attention-heads": 2,
}  # fmt: skip

TRAIN = (
    "-s en -t de --lr 0.01 --lr-scheduler fixed --label-smoothing 0.1 --max-tokens 80"
    " --clip-norm 1.0 --num-workers 0 --seed 3 --log-format none --no-epoch-checkpoints"
    " --save-interval-updates 1000"
).split()

install()
HALF = ("--fp16", "--fp16-init-scale", "4")

#: precision -> flags, and what only ``fairseq-hydra-train`` takes on a CPU
PRECISIONS = {
    "fp32": ((), {}),
    "fp16 flat": (HALF, {}),
    "fp16 not flat": ((*HALF, "--fp16-no-flatten-grads"), {}),
    "fp16 memory-efficient": ((*HALF, "--memory-efficient-fp16"), {}),
    "bf16": ((), {"bf16": True}),
    "bf16 memory-efficient": ((), {"bf16": True, "memory_efficient_bf16": True}),
    "amp": (("--amp",), {}),
}

#: those that this torch trains in on a CPU: 1.12 has no half-precision dropout there
try:
    torch.nn.functional.dropout(torch.ones(1, dtype=torch.float16), 0.5)
    ON_CPU = tuple(PRECISIONS)
except RuntimeError:
    ON_CPU = ("fp32", "bf16", "bf16 memory-efficient", "amp")


def flat(flags):
    """A dictionary of flags as a command line; True stands for a switch."""
    given = []
    for flag, value in flags.items():
        if value is not False and value is not None:
            given += [flag] if value is True else [flag, str(value)]
    return given


def configuration(
    data, save_dir, *extra, precision="fp32", optimizer="masked_adam", lottery=True, model=None,
    cpu=True,
):  # fmt: skip
    """The configuration that ``fairseq-train`` makes of its command line."""
    half, hydra = PRECISIONS[precision]
    model = model or {}
    task = ("--task", "translation_lottery") if lottery else ("--task", "translation")
    loss = "label_smoothed_cross_entropy" + ("_lottery" if lottery else "")
    if model.get("--arch", "transformer") == "transformer":
        model = {**MODEL, **model}
    adam = ADAM if optimizer.endswith("_adam") or optimizer == "adam" else []
    given = [
        data, *flat(model), *TRAIN, *task, "--criterion", loss, "--optimizer", optimizer, *adam,
        *(["--cpu"] if cpu else []), *half, *extra,
    ]  # fmt: skip
    cfg = copy.deepcopy(_parsed(*map(str, given)))
    with open_dict(cfg):
        cfg.checkpoint.save_dir = str(save_dir)
        for name, value in hydra.items():
            cfg.common[name] = value
    return cfg


@functools.cache
def _parsed(*words):
    """Read a command line once: it takes longer than most trainings here, and many are alike."""
    parsed = options.parse_args_and_arch(options.get_training_parser(), list(words))
    return convert_namespace_to_omegaconf(parsed)


class Training:
    """One training: a new task, model and trainer, gone on from what the save-dir holds."""

    def __init__(self, cfg) -> None:
        self.cfg = cfg
        if cfg.distributed_training.distributed_rank == 0:  # as fairseq-train: ranks would race
            checkpoint_utils.verify_checkpoint_directory(cfg.checkpoint.save_dir)
        np.random.seed(cfg.common.seed)
        torch.manual_seed(cfg.common.seed)
        self.task = tasks.setup_task(cfg.task)
        model = self.task.build_model(cfg.model)
        criterion = self.task.build_criterion(cfg.criterion)
        self.task.load_dataset(cfg.dataset.valid_subset, combine=False, epoch=1)
        self.trainer = Trainer(cfg, self.task, model, criterion)
        _, self.epoch = checkpoint_utils.load_checkpoint(cfg.checkpoint, self.trainer)
        pruned = getattr(getattr(self.task, "run", None), "mask", None) is not None
        self.watch = watch_of(self.trainer) if pruned else None

    @property
    def update(self) -> int:
        return self.trainer.get_num_updates()

    def run(self, updates):
        """Train until ``updates`` are done; under a mask, every invariant is checked after each."""
        while self.update < updates:
            batches = self.epoch.next_epoch_itr(fix_batches_to_gpus=False, shuffle=True)
            frequency = self.cfg.optimization.update_freq[0]
            for samples in iterators.GroupedIterator(batches, frequency):
                self.trainer.train_step(samples)
                if self.watch:
                    self.watch()
                if self.update >= updates:
                    break
        return self

    def save(self):
        """As the command does: the last checkpoint, where the next start looks for it."""
        checkpoint_utils.save_checkpoint(self.cfg.checkpoint, self.trainer, self.epoch, None)
        return self

    def state(self):
        """Everything that a checkpoint holds and that decides how training goes on."""
        self.trainer.consolidate_optimizer()
        state = self.trainer.state_dict()
        extra = state["extra_state"]
        return {
            "model": _parameters(state["model"]),
            "optimizer": state.get("last_optimizer_state"),
            "task": state["task_state"],
            "ema": _parameters(extra.get("ema") or {}),
            "ema_fp32": _parameters(extra.get("ema_fp32_params") or {}),
        }


def _parameters(state):
    """Without buffers that fairseq leaves as they are, and 0.12.2's untrained copies."""
    return {name: tensor for name, tensor in state.items() if is_parameter(name)}


@contextmanager
def in_this_process(cpu=True):
    """Trainings leave nothing behind in the process: signals, metrics, what was best so far."""
    cuda = torch.cuda.current_device, torch.Tensor.cuda
    threads = torch.get_num_threads()
    if cpu:
        torch.cuda.current_device = lambda: None  # fairseq's flat fp16 takes it for a name only
        torch.Tensor.cuda = lambda tensor: tensor  # of a norm of 0, when gradients overflow
    torch.set_num_threads(1)
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)
        torch.cuda.current_device, torch.Tensor.cuda = cuda
        torch.set_num_threads(threads)
        metrics.reset()
        checkpoint_utils.save_checkpoint.__dict__.pop("best", None)
        if isinstance(fairseq_cli.train.validate_and_save, Stopping):
            fairseq_cli.train.validate_and_save.end()
