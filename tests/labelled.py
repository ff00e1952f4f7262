"""Small labelled sentences in fairseq's layout of GLUE, made by fairseq-preprocess; RoBERTas."""

import random

import toy

WORDS = [f"w{number}" for number in range(40)]
SIZES = {"train": 203, "valid": 61, "test": 37}
#: a RoBERTa of 1 layer less than its test on masked tokens needs
ROBERTA = (
    "--arch roberta --encoder-layers 2 --encoder-embed-dim 32 --encoder-ffn-embed-dim 64"
    " --encoder-attention-heads 2 --max-positions 64"
).split()
TRAIN = (
    "--optimizer masked_adam --lr 2e-3 --lr-scheduler inverse_sqrt --warmup-updates 5"
    " --batch-size 16 --clip-norm 1.0 --log-interval 10 --log-format simple --num-workers 0"
    " --seed 3 --no-epoch-checkpoints"
).split()
HEAD = "classification_heads.sentence_classification_head."
USER_DIR = ["--user-dir", toy.PACKAGE]
MASKED_LM = [
    *("--task", "masked_lm_lottery", "--criterion", "masked_lm_lottery"),
    *("--tokens-per-sample", 32, "--sample-break-mode", "eos"),
]
#: <s> is symbol 0, and </s> symbol 2
SENTENCES = [
    *("--task", "sentence_prediction_lottery", "--criterion", "sentence_prediction_lottery"),
    *("--init-token", 0, "--separator-token", 2),
]


def sentences(count, seed):
    """Sentences of 3 to 12 words; even ones have a word of the first five more often."""
    draw = random.Random(seed)
    for number in range(count):
        words = draw.choices(WORDS, k=draw.randint(3, 12))
        if number % 2:
            words[draw.randrange(len(words))] = WORDS[draw.randrange(3)]
        yield words


def label_of(words, classes):
    """How many of the first three words occur, as one of the classes."""
    return min(sum(word in WORDS[:3] for word in words), classes - 1)


def write_pretraining(folder):
    """Sentences without labels, for masked_lm; returns the data folder."""
    for seed, (split, size) in enumerate(SIZES.items()):
        lines = (" ".join(words) + "\n" for words in sentences(2 * size, seed))
        (folder / f"{split}.text").write_text("".join(lines))
    (folder / "words.txt").write_text("".join(f"{word} 1\n" for word in WORDS))
    preprocess(folder, "text", folder / "text", ("train", "valid"), "--srcdict", "words.txt")
    return folder / "text"


def preprocess(folder, ending, out, splits=tuple(SIZES), *flags):
    files = [x for s in splits for x in (f"--{s}pref", folder / f"{s}.{ending}")]
    line = ["--only-source", *files, "--destdir", out, *flags]
    toy.call("fairseq_cli.preprocess", line, folder).ok()


def write_labelled(folder, name, classes=2, pairs=False, names=str):
    """Labelled sentences; ``classes`` 0 means a regression. Returns the data folder.

    Args:
        folder: a folder in which ``write_pretraining`` wrote its dictionary.
        names: number of a class -> its name.
    """
    data = folder / name
    data.mkdir()
    for seed, (split, size) in enumerate(SIZES.items()):
        first, second = list(sentences(size, seed)), list(sentences(size, seed + 9))
        for part, lines in (("input0", first), ("input1", second))[: 1 + pairs]:
            (data / f"{split}.{part}").write_text("".join(" ".join(w) + "\n" for w in lines))
        texts = [a + b if pairs else a for a, b in zip(first, second)]
        if classes:
            labels = [names(label_of(words, classes)) for words in texts]
        else:
            labels = [sum(word in WORDS[:3] for word in words) / len(words) for words in texts]
            (data / "label").mkdir(exist_ok=True)
        place = data / f"{split}.label" if classes else data / "label" / f"{split}.label"
        place.write_text("".join(f"{label}\n" for label in labels))
    for part in ("input0", "input1")[: 1 + pairs]:
        preprocess(data, part, data / part, tuple(SIZES), "--srcdict", folder / "words.txt")
    if classes:
        preprocess(data, "label", data / "label")
    return data


#: kinds of labels: flags of a training
KINDS = {
    "two": ["--num-classes", 2],
    "three": ["--num-classes", 3],
    "rated": ["--num-classes", 1, "--regression-target"],
}


class Runs:
    """A folder with data of each kind, and trainings in it."""

    def __init__(self, folder):
        self.folder = folder
        write_pretraining(folder)
        write_labelled(folder, "two")
        write_labelled(folder, "three", 3, pairs=True, names=lambda number: "cab"[number])
        write_labelled(folder, "rated", 0, pairs=True)

    def flags(self, kind, save_dir, *more, updates=20):
        task = [*SENTENCES, *KINDS[kind]] if kind in KINDS else MASKED_LM
        data = self.folder / (kind if kind in KINDS else "text")
        end = ["--max-update", updates, "--save-dir", save_dir]
        return [data, *ROBERTA, *TRAIN, *USER_DIR, *task, *end, *more]

    def train(self, kind, save_dir, *more, prelude=None, updates=20):
        flags = self.flags(kind, save_dir, *more, updates=updates)
        return toy.call("fairseq_cli.train", flags, self.folder, prelude=prelude)

    def start(self, kind, save_dir, *more):
        """Checkpoint of the values that a training starts from."""
        more = ["--lr", 0, *more]
        self.train(kind, save_dir, *more, prelude=toy.pretend_cuda, updates=1).ok()
        return self.load(save_dir)

    def load(self, save_dir, name="checkpoint_last.pt"):
        from fairseq_lottery.formats import read_checkpoint

        return read_checkpoint(self.path(save_dir, name))

    def path(self, *parts):
        return str(self.folder.joinpath(*parts))

    def draw(self, out, *flags):
        from fairseq_lottery.cli.main import main
        from fairseq_lottery.formats import load_ticket

        words = [self.path(flag) if "/" in str(flag) else str(flag) for flag in flags]
        assert main(["ticket", *words, "--out", self.path(out)]) == 0
        return load_ticket(self.path(out))


def head_of(state):
    return {name: value for name, value in state["model"].items() if name.startswith(HEAD)}


def encoder_of(state):
    return {name: value for name, value in state["model"].items() if not name.startswith(HEAD)}
