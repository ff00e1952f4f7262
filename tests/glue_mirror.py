"""A stand-in for GLUE: tables as the archives have them, with traps, and small byte pairs."""

import json
import random

from example_mirror import zipped
from fairseq.data.encoders.gpt2_bpe_utils import bytes_to_unicode

WORDS = (
    'a "quoted word" isn\'t naïve café 7,000 ½ ¿qué? the house sings. under " over\' U.S. 東京'
    " \u00a0x"
).split(" ")
#: merged pairs of characters of GPT-2's alphabet, where Ġ is a space
MERGES = ("Ġ t", "h e", "Ġt he", "o u", "i n", "Ġ h", "Ġh ou", "s e", "in g", "e r")

HEADERS = {
    "SST-2": ("sentence", "label"),
    "STS-B": ("index", "genre", "filename", "year", "old_index", "source1", "source2",
              "sentence1", "sentence2", "score"),
    "QQP": ("id", "qid1", "qid2", "question1", "question2", "is_duplicate"),
    "MNLI": ("index", "promptID", "pairID", "genre", "sentence1_binary_parse",
             "sentence2_binary_parse", "sentence1_parse", "sentence2_parse", "sentence1",
             "sentence2", "label1", "gold_label"),
    "QNLI": ("index", "question", "sentence", "label"),
    "RTE": ("index", "sentence1", "sentence2", "label"),
    "WNLI": ("index", "sentence1", "sentence2", "label"),
}  # fmt: skip
TEST_HEADERS = {
    "CoLA": ("index", "sentence"),
    "SST-2": ("index", "sentence"),
    "QQP": ("id", "question1", "question2"),
}
SINGLE = ("CoLA", "SST-2")
LABELS = {
    "MNLI": ("neutral", "entailment", "contradiction"),
    "QNLI": ("not_entailment", "entailment"),
    "RTE": ("entailment", "not_entailment"),
}
SIZES = {"train": 24, "valid": 9, "valid1": 7, "test": 8, "test1": 6}
FILES = {"train": "train", "valid": "dev", "test": "test"}
MNLI_FILES = {"train": "train", "valid": "dev_matched", "valid1": "dev_mismatched",
              "test": "test_matched", "test1": "test_mismatched"}  # fmt: skip
FOLDERS = {"QQP": ("QQP-clean.zip", "QQP"), "QNLI": ("QNLIv2.zip", "QNLI")}


class Made:
    """Sentences and labels of one task: set -> list of (first, second or None, label or None)."""

    def __init__(self, task):
        self.chance = random.Random(task)
        self.task = task
        names = MNLI_FILES if task == "MNLI" else FILES
        self.sets = {name: [self.example(name) for _ in range(SIZES[name])] for name in names}

    def sentence(self):
        words = [self.chance.choice(WORDS) for _ in range(self.chance.randint(2, 7))]
        return " ".join(words).strip()

    def example(self, name):
        second = None if self.task in SINGLE else self.sentence()
        if self.task == "STS-B":
            label = f"{self.chance.randrange(0, 5001) / 1000:.3f}"
        else:
            label = self.chance.choice(LABELS.get(self.task, ("0", "1", "1")))
        return self.sentence(), second, None if name.startswith("test") else label


def table(task, name, examples, malformed=()):
    """The bytes of a table, with lines in ``malformed`` after its header."""
    is_test = name.startswith("test")
    header = HEADERS.get(task)
    if is_test:
        header = TEST_HEADERS.get(task) or tuple(
            c for c in header if c not in ("label", "score", "gold_label", "label1")
        )
    elif task == "CoLA":
        header = None
    if task == "MNLI" and name.startswith("valid"):  # the labels of four more people
        header = (*header[:-1], "label2", "label3", "label4", "label5", "gold_label")
    lines = ["\t".join(header)] if header else []
    lines += malformed
    for number, (first, second, label) in enumerate(examples):
        if task == "CoLA" and not is_test:
            row = ("gj04", label, "" if label == "1" else "*", first)
        else:
            texts = {"sentence": first, "sentence1": first, "sentence2": second, "score": label,
                     "question1": first, "question2": second, "label": label,
                     "is_duplicate": label, "gold_label": label}  # fmt: skip
            if task == "QNLI":
                texts.update(question=first, sentence=second)
            row = tuple(texts.get(column, f"{column}-{number}") for column in header)
        lines.append("\t".join(map(str, row)))
    return "".join(f"{line}\n" for line in lines).encode()


def mrpc(folder, made, held_out=5):
    """MRPC's three files; the held-out pairs stand among the others."""
    header = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String"
    rows = made.sets["train"] + made.sets["valid"]
    order = list(range(len(rows)))
    made.chance.shuffle(order)
    valid = {number for number in order if number >= len(made.sets["train"])}
    lines, ids = [header], ["#1 ID\t#2 ID"]
    made.sets["train"], made.sets["valid"] = [], []
    for number in order:
        first, second, label = rows[number]
        lines.append(f"{label}\t{1000 + number}\t{2000 + number}\t{first}\t{second}")
        made.sets["valid" if number in valid else "train"].append(rows[number])
        if number in valid:
            ids.append(f"{1000 + number}\t{2000 + number}")
    (folder / "msr_paraphrase_train.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "mrpc_dev_ids.tsv").write_text("\n".join(ids) + "\n", encoding="utf-8")
    rows = [f"1\t{n}\t{n}\t{a}\t{b}" for n, (a, b, _) in enumerate(made.sets["test"])]
    text = "\n".join([header, *rows])  # and no line feed at the end
    (folder / "msr_paraphrase_test.txt").write_text(text, encoding="utf-8")


def write_subwords(folder):
    """``encoder.json``, ``vocab.bpe`` and ``dict.txt`` in the form of GPT-2's and fairseq's."""
    symbols = [*bytes_to_unicode().values(), *("".join(pair.split()) for pair in MERGES)]
    encoder = {symbol: number for number, symbol in enumerate(symbols)}
    (folder / "encoder.json").write_text(json.dumps(encoder), encoding="utf-8")
    (folder / "vocab.bpe").write_text(
        "#version: 0.2\n" + "\n".join(MERGES) + "\n", encoding="utf-8"
    )
    numbers = list(encoder.values())
    random.Random(1).shuffle(numbers)  # fairseq's dictionary is in the order of frequency
    (folder / "dict.txt").write_text("".join(f"{n} 1\n" for n in numbers) + "madeupword0000 0\n")


def write_archives(folder, malformed=None):
    """All archives; ``malformed``: task -> lines of its training table; gives task -> ``Made``."""
    found = {}
    for task in (*HEADERS, "CoLA", "MRPC"):
        made = found[task] = Made(task)
        if task == "MRPC":
            mrpc(folder, made)
            continue
        file, inside = FOLDERS.get(task, (f"{task}.zip", task))
        names = MNLI_FILES if task == "MNLI" else FILES
        members = {
            f"{inside}/{names[name]}.tsv": table(
                task, name, examples, (malformed or {}).get(task, ()) if name == "train" else ()
            )
            for name, examples in made.sets.items()
        }
        zipped(folder / file, {f"{inside}/original/readme.txt": b"not this\n", **members})
    write_subwords(folder)
    return found
