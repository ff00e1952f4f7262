"""Three toy languages with one dictionary, and fairseq's multilingual tasks on them."""

import random
from pathlib import Path

import toy

#: language -> a sentence in it from the words of the same sentence in English
LANGUAGES = {
    "en": list,
    "de": lambda words: words[::-1],
    "fr": lambda words: [*words[1:], words[0]],
}
#: pair in the data folder -> sentences of its training set; the last pair has only a test set
SIZES = {"en-de": 240, "en-fr": 120, "de-fr": 0}
PAIRS = "en-de,en-fr,de-en,fr-en"

MODEL = toy.MODEL
MBART = (
    "--arch mbart_base --encoder-layers 2 --decoder-layers 2 --encoder-embed-dim 32"
    " --decoder-embed-dim 32 --encoder-ffn-embed-dim 64 --decoder-ffn-embed-dim 64"
    " --encoder-attention-heads 2 --decoder-attention-heads 2 --max-source-positions 64"
    " --max-target-positions 64"
).split()
TRAIN = (
    "--lr 3e-3 --lr-scheduler inverse_sqrt --warmup-updates 10 --label-smoothing 0.1"
    " --max-tokens 500 --clip-norm 1.0 --log-interval 10 --log-format simple --num-workers 0"
    " --seed 3 --no-epoch-checkpoints --optimizer masked_adam"
    f" --user-dir {toy.PACKAGE} --criterion label_smoothed_cross_entropy_lottery"
).split()
#: flags about the data that a training and a translation have
DATA = f"--langs en,de,fr --lang-pairs {PAIRS} --encoder-langtok tgt --decoder-langtok".split()
TASK = ["--task", "translation_multi_simple_epoch_lottery", *DATA]
DECODING = "--beam 2 --min-len 4 --max-len-b 30".split()
SAMPLING = "--sampling-method temperature --sampling-temperature 2".split()


def write_text(folder: Path) -> None:
    """Write parallel sentences of 60 words, which all languages share."""
    chance = random.Random(5)
    words = [f"w{i}" for i in range(60)]
    for pair, size in SIZES.items():
        splits = {"train": size, "valid": 21, "test": 20} if size else {"test": 20}
        for split, count in splits.items():
            lines = [chance.choices(words, k=chance.randint(3, 9)) for _ in range(count)]
            for language in pair.split("-"):
                text = "".join(" ".join(LANGUAGES[language](x)) + "\n" for x in lines)
                (folder / f"{split}.{pair}.{language}").write_text(text)
    (folder / "dict.txt").write_text("".join(f"{word} 1\n" for word in words))


def preprocess(folder: Path, name: str = "bin") -> None:
    """Make the data folder ``name`` of all pairs."""
    write_text(folder)
    for pair, size in SIZES.items():
        source, target = pair.split("-")
        splits = ("train", "valid", "test") if size else ("test",)
        flags = [x for s in splits for x in (f"--{s}pref", f"{s}.{pair}")]
        flags += ["--srcdict", "dict.txt", "--tgtdict", "dict.txt", "--destdir", name]
        toy.call("fairseq_cli.preprocess", ["-s", source, "-t", target, *flags], folder).ok()


class Runs:
    """A folder with data, and trainings in it."""

    task, train_flags = TASK, TRAIN

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        preprocess(folder)

    def arguments(self, save_dir, updates, *extra):
        flags = [*MODEL, *self.train_flags, *self.task, "--max-update", updates]
        return [self.folder / "bin", *flags, "--save-dir", self.folder / save_dir, *extra]

    def train(self, save_dir, updates, *extra, prelude=None):
        arguments = self.arguments(save_dir, updates, *extra)
        return toy.call("fairseq_cli.train", arguments, self.folder, prelude=prelude)

    def train_two(self, save_dir, updates, *extra):
        """Train in two processes; return what each printed."""
        port, ranks = toy.free_port(), []
        for rank in (0, 1):
            flags = [*extra, *toy.sharing(port, rank), "--ddp-backend", "legacy_ddp"]
            arguments = self.arguments(save_dir, updates, *flags)
            ranks.append(toy.start("fairseq_cli.train", arguments, self.folder))
        return [toy.wait(rank).ok() for rank in ranks]

    def translate(self, pair, checkpoint, *extra, module="fairseq_cli.generate"):
        source, target = pair.split("-")
        flags = [*self.task, "--user-dir", toy.PACKAGE, "-s", source, "-t", target]
        flags += [
            "--path",
            self.path(checkpoint),
            "--beam",
            2,
            "--min-len",
            4,
            "--max-len-b",
            30,
            *extra,
        ]
        return toy.call(module, [self.folder / "bin", *flags], self.folder)

    def path(self, *parts):
        return str(self.folder.joinpath(*parts))


class Tuning(Runs):
    """Trainings of a small mBART on en-de."""

    task = "--task translation_from_pretrained_bart_lottery --langs en,de,fr --prepend-bos".split()

    def arguments(self, save_dir, updates, *extra):
        flags = ["-s", "en", "-t", "de", *MBART, *TRAIN, *self.task, "--max-update", updates]
        return [self.folder / "bin", *flags, "--save-dir", self.folder / save_dir, *extra]
