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
