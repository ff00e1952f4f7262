"""The trainings behind the golden files: small, and equal to the bit wherever plain fairseq's is.

``PORTABLE`` is the environment of a process whose sums do not depend on the processor: arithmetic
is chosen when torch starts.
"""

import os
import signal
from functools import partial
from pathlib import Path

from toy import HALF, LOTTERY, call, kill_at, pretend_cuda

TESTS = Path(__file__).resolve().parent.parent

PORTABLE = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS / "golden")]),
}

#: updates after which the golden checkpoints are written, and those that trainings go on to
SAVED, END = 10, 16

_FLAGS = (
    "-s en -t de --arch transformer --share-all-embeddings --encoder-layers 1 --decoder-layers 1"
    " --encoder-embed-dim 8 --decoder-embed-dim 8 --encoder-ffn-embed-dim 16"
    " --decoder-ffn-embed-dim 16 --encoder-attention-heads 2 --decoder-attention-heads 2"
    " --lr 3e-3 --lr-scheduler inverse_sqrt --warmup-updates 5 --label-smoothing 0.1"
    " --max-tokens 200 --clip-norm 1.0 --log-interval 10 --log-format simple --num-workers 0"
    " --seed 3 --no-epoch-checkpoints --weight-decay 0.01 --cpu"
    f" --max-update {END} --save-interval-updates {SAVED} --keep-interval-updates 1"
).split()
_BETAS = ["--adam-betas", "(0.9, 0.98)"]
_LOTTERY = LOTTERY[2:]  # the plugin is imported already, from wherever it lies
_MASKED = [*_LOTTERY, "--optimizer", "masked_adam", *_BETAS]
_GROWING = "--prune-to 0.8 --prune-start 4 --prune-end 16 --prune-every 4".split()

#: name -> its flags; plain fairseq is the control: where its bits differ, so do all others
TRAININGS = {
    "plain": ["--criterion", "label_smoothed_cross_entropy", "--optimizer", "adam", *_BETAS],
    "dense": [*_MASKED, "--snapshot-updates", "0,5"],
    "ticket": [*_MASKED, "--ticket", "../tickets/rewind.safetensors"],
    "clock": [*_MASKED, "--ticket", "../tickets/clock.safetensors"],
    "growing": [*_MASKED, *_GROWING],
    "global": [*_MASKED, *_GROWING, "--scope", "global", "--min-density", "0.1", "--ticket",
               "../tickets/global.safetensors"],
    "gradients": [*_MASKED, *_GROWING, "--score", "own_score:saliency", "--prune-schedule",
                  "linear", "--prunable", "no-embeddings", "--keep-dense", "q_proj"],
    "half": [*_MASKED, *_GROWING, *HALF],
    "gates": [*_LOTTERY[:2], "--criterion", "label_smoothed_cross_entropy_gates", "--optimizer",
              "masked_adam", *_BETAS, "--open-heads", "4", "--gate-anneal", "14"],
}  # fmt: skip


def train(folder, name, updates):
    """Train ``folder/name``: stopped at ``SAVED`` updates, in the middle of all schedules, or on.

    The data lie in ``../../data``, so no checkpoint knows where it was made.
    """
    flags = [*_FLAGS, "--save-dir", name, *TRAININGS[name]]
    ends = updates == END
    prelude = pretend_cuda if ends else partial(kill_at, updates)
    done = call("fairseq_cli.train", ["../../data", *flags], folder, prelude=prelude)
    assert done.code == (0 if ends else -signal.SIGKILL), done.out[-2000:]
