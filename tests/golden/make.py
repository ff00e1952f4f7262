"""Write the golden files of one stack: ``python tests/golden/make.py modern`` (or ``classic``).

``python tests/golden/make.py plans`` writes the fingerprints of all plans.

They were written once, and stay: later code has to read them, train on to the same bits, and give
the same plans and reports. Write them again only when a stored format changes on purpose, and say
so in ``docs/format.md``.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

import fairseq_cli.train  # noqa: E402, F401 - before our package, which then registers its plugin
from golden import looks, plans  # noqa: E402
from golden.trainings import END, PORTABLE, SAVED, TRAININGS, train  # noqa: E402
from toy import half_precision_trains_on_cpu  # noqa: E402

LINE = (
    "fairseq-train data --user-dir fairseq_lottery --task translation_lottery -s en -t de"
    " --arch transformer --share-all-embeddings --encoder-layers 1 --decoder-layers 1"
    " --encoder-embed-dim 8 --encoder-ffn-embed-dim 16 --encoder-attention-heads 2"
    " --decoder-attention-heads 2 --optimizer masked_adam --adam-betas '(0.9, 0.98)' --lr 3e-3"
    " --max-tokens 200 --ticket rewind.safetensors --save-dir mine\n"
)
#: name -> flags of a draw; the weights of update 5 are there to go back to
_LAST, _EARLY = "trained/dense/checkpoint_last.pt", "trained/dense/snapshot_5.safetensors"
_FIRST = "trained/dense/snapshot_0.safetensors"
TICKETS = {
    "rewind": "--sparsity 0.5",
    "sign": "--sparsity 0.5 --reset sign",
    "sign-std": f"--sparsity 0.5 --reset sign --alpha std --initial {_FIRST}",
    "keep": "--sparsity 0.5 --reset keep",
    "random": "--sparsity 0.5 --reset random",
    "random-sign": "--sparsity 0.5 --reset random-sign",
    "shuffle": "--sparsity 0.5 --reset shuffle",
    "shuffle-layers": "--sparsity 0.5 --reset shuffle-layers",
    "clock": "--sparsity 0.5 --update-counter rewind",
    "moments": "--sparsity 0.5 --reset keep --moments keep",
    "global": "--sparsity 0.3 --scope global --min-density 0.1 --prunable no-embeddings"
              " --keep-dense q_proj",
    "pattern": "--scope 2:4 --prunable ffn",
    "random-mask": "--sparsity 0.7 --score random --seed 7",
    "movement": "--sparsity 0.7 --score distance",
    "increase": "--sparsity 0.7 --score magnitude-increase --prunable attention",
    "parts": "--sparsity 0.3 --components choice.json",
}  # fmt: skip


def lottery(*words):
    """Run the command in this process."""
    from fairseq_lottery.cli.main import main as command

    assert command([str(word) for word in words]) == 0, words


def draw(folder, into):
    """Draw every ticket of ``TICKETS`` from the dense run in ``folder``, into a folder of it."""
    os.chdir(folder)
    Path(into).mkdir()
    for name, flags in TICKETS.items():
        lottery("ticket", "--mask-from", _LAST, "--start-from", _EARLY, *flags.split(),
                "--out", f"{into}/{name}.safetensors")  # fmt: skip
    for name in ("keep", "sign"):
        lottery("export", f"{into}/{name}.safetensors", "--to", "compact", "--out",
                f"{into}/{name}.compact.safetensors")  # fmt: skip


def write(folder, names):
    """All files of a stack, into an empty folder."""
    trained = folder / "trained"
    trained.mkdir()
    os.chdir(folder)
    for name in ("plain", "dense"):
        train(trained, name, SAVED)
    lottery("heads", "importance", _LAST, "--data", "../data", "--cpu", "--out", "scores.json")
    lottery("heads", "choose", "--scores", "scores.json", "--share", "0.5", "--out", "choice.json")
    draw(folder, "tickets")
    Path("train.txt").write_text(LINE)
    lottery("pack", "tickets/rewind.safetensors", "--command", "train.txt", "--data", "../data",
            "--out", "packed.zip")  # fmt: skip
    Path("train.txt").unlink()
    for name in names[2:]:
        train(trained, name, SAVED)
    kept = {"checkpoint_last.pt", "snapshot_0.safetensors", "snapshot_5.safetensors"}
    for path in trained.rglob("*"):
        if path.is_file() and path.name not in kept:
            path.unlink()


def go_on(golden, folder):
    """Draw and train on from golden files, in an empty folder; returns what came of it."""
    shutil.copytree(HERE / "data", folder / "data")
    shutil.copytree(golden, folder / "on")
    draw(folder / "on", "drawn")
    names = [name for name in TRAININGS if (golden / "trained" / name).exists()]
    for name in names:
        train(folder / "on" / "trained", name, END)
    drawn = looks.at_files(folder / "on" / "drawn")
    return {"drawn": drawn, "trained": looks.at_trainings(folder / "on" / "trained", names)}


def make(stack):
    """Write the golden files of ``stack``, and what is in them."""
    names = [n for n in TRAININGS if n != "half" or half_precision_trains_on_cpu()]
    with tempfile.TemporaryDirectory() as place:
        fresh, after = Path(place) / "fresh", Path(place) / "after"
        fresh.mkdir()
        after.mkdir()
        shutil.copytree(HERE / "data", Path(place) / "data")
        write(fresh, names)
        found = {"files": looks.at_files(fresh), "heads": looks.at_heads(fresh),
                 "after": go_on(fresh, after)}  # fmt: skip
        shutil.rmtree(HERE / stack, ignore_errors=True)
        shutil.copytree(fresh, HERE / stack)
    write_json(HERE / stack / "looks.json", found)


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


def main(what, folder=None):
    """Make the files of a stack, or go on from them in ``folder``, or write the plans."""
    if what == "plans":
        found = {name: plans.plan_of(path) for name, path in plans.configurations().items()}
        write_json(HERE / "plans.json", found)
    elif folder is None:
        make(what)
    else:
        Path(folder, "after.json").write_text(json.dumps(go_on(HERE / what, Path(folder))))


if __name__ == "__main__":
    if not PORTABLE.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **PORTABLE})
    main(*sys.argv[1:])
