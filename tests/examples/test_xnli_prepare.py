"""XNLI from archives to binary data, compared with fairseq's own reading of it."""

import json
import random

import pytest

pytest.importorskip("fairseq")
pytest.importorskip("sentencepiece")

import sentencepiece
from example_mirror import Mirror, describe, refused, run_script, zipped
from fairseq import tasks
from fairseq.tasks.sentence_prediction import SentencePredictionConfig
from omegaconf import OmegaConf
from preparation.classification.tasks import INFERENCE

pytestmark = pytest.mark.slow

WORDS = {
    "en": 'the a house "tree" small green sings isn\'t walks'.split(),
    "de": "das ein haus „baum“ klein grün singt geht über".split(),
    "zh": "房子 树 小 绿 唱歌 走 很 大 好".split(),
}
HEADER = ("language", "gold_label", "sentence1_binary_parse", "sentence2_binary_parse",
          "sentence1_parse", "sentence2_parse", "sentence1", "sentence2", "promptID", "pairID",
          "genre", "label1", "label2", "label3", "label4", "label5", "sentence1_tokenized",
          "sentence2_tokenized", "match")  # fmt: skip
SIZES = {"train": 30, "valid": 8, "test": 11}


class Place:
    """A mirror of XNLI's archives, and the folder of an XLM-R with pieces of these words."""

    def __init__(self, folder):
        self.out, self.archives, self.model = (folder / n for n in ("out", "mirror", "xlmr"))
        for path in (self.archives, self.model):
            path.mkdir()
        chance = random.Random(1)

        def sentence(language):
            return " ".join(chance.choices(WORDS[language], k=chance.randint(3, 8)))

        self.made = {
            language: {
                name: [(sentence(language), sentence(language), chance.choice(INFERENCE))
                       for _ in range(count)]
                for name, count in SIZES.items()
            }
            for language in WORDS
        }  # fmt: skip
        self.write()
        text = folder / "text"
        text.write_text("".join(f"{sentence(la)}\n" for la in WORDS for _ in range(200)))
        sentencepiece.SentencePieceTrainer.train(
            input=str(text), model_prefix=str(self.model / "sentencepiece.bpe"), vocab_size=120,
            model_type="bpe", normalization_rule_name="nmt_nfkc", minloglevel=2,
        )  # fmt: skip
        pieces = (self.model / "sentencepiece.bpe.vocab").read_text(encoding="utf-8").splitlines()
        lines = [f"{line.split(chr(9))[0]} 1\n" for line in pieces[3:]]
        (self.model / "dict.txt").write_text("".join(lines), encoding="utf-8")
        target = folder / "sources.json"
        self.sources = describe("xnli", self.archives, target)
        self.mirror = Mirror(self.archives)

    def write(self):
        trains = {}
        for language, sets in self.made.items():
            rows = [f"{a}\t{b}\t{label.replace('contradiction', 'contradictory')}"
                    for a, b, label in sets["train"]]  # fmt: skip
            content = "\n".join(["premise\thypo\tlabel", *rows, "one\tcolumn too few"]) + "\n"
            trains[f"XNLI-MT-1.0/multinli/multinli.train.{language}.tsv"] = content.encode()
        zipped(self.archives / "XNLI-MT-1.0.zip", trains)
        members = {}
        for name, file in (("valid", "dev"), ("test", "test")):
            lines = ["\t".join(HEADER)]
            for number in range(SIZES[name]):  # languages take turns
                for language, sets in self.made.items():
                    first, second, label = sets[name][number]
                    row = dict.fromkeys(HEADER, "x")
                    row.update(language=language, gold_label=label)
                    row.update(sentence1=first, sentence2=second)
                    lines.append("\t".join(row.values()))
            members[f"XNLI-1.0/xnli.{file}.tsv"] = ("\n".join(lines) + "\n").encode()
        members["__MACOSX/XNLI-1.0/._xnli.dev.tsv"] = b"\0\1"
        zipped(self.archives / "XNLI-1.0.zip", members)

    def prepare(self, *languages, flags=(), **kwargs):
        arguments = (*languages, "--out", self.out, "--sources", self.sources)
        more = ("--model", self.model, "--mirror", self.mirror.url, "--workers", 1, *flags)
        return run_script("xnli", *arguments, *more, **kwargs)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("xnli"))
    with place.mirror:
        place.done = place.prepare("en", "zh")
        assert place.done.returncode == 0, place.done.stderr
        yield place


def fairseqs_task(folder):
    cfg = OmegaConf.structured(
        SentencePredictionConfig(
            data=str(folder), num_classes=3, init_token=0, separator_token=2, no_shuffle=True
        )
    )
    OmegaConf.set_struct(cfg, False)
    cfg._name, cfg.seed, cfg.classification_head_name = "sentence_prediction", 1, "head"
    cfg.regression_target = False
    return tasks.setup_task(cfg)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_fairseqs_task_reads_every_example_as_it_was_published(prepared, language):
    task = fairseqs_task(prepared.out / language / "data-bin")
    pieces = sentencepiece.SentencePieceProcessor(
        model_file=str(prepared.model / "sentencepiece.bpe.model")
    )
    symbols = task.source_dictionary
    assert task.label_dictionary.symbols[4:-1] == list(INFERENCE)
    for name, examples in prepared.made[language].items():
        if name == "train" and language != "en":
            continue
        task.load_dataset(name)
        data = task.dataset(name)
        assert len(data) == len(examples) == SIZES[name]
        for number, (first, second, label) in enumerate(examples):
            sides = [[symbols.index(p) for p in pieces.encode(s, out_type=str)]
                     for s in (first, second)]  # fmt: skip
            expected = [0, *sides[0], 2, 2, *sides[1], 2]
            assert data[number]["net_input.src_tokens"].tolist() == expected
            assert symbols.unk() not in expected
            assert int(data[number]["target"]) == INFERENCE.index(label)


def test_only_english_has_a_training_set_unless_translations_are_asked_for(prepared):
    english, chinese = (
        json.loads((prepared.out / n / "prepare.json").read_text())["stages"]["text"]["record"]
        for n in ("en", "zh")
    )
    assert english["sets"] == SIZES and english["malformed"]["train"] == 1
    assert chinese["sets"] == {"valid": 8, "test": 11} and set(chinese["sources"]) == {"sets"}
    assert not (prepared.out / "zh" / "data-bin" / "input0" / "train.bin").exists()
    assert prepared.mirror.files() == ["XNLI-MT-1.0.zip", "XNLI-1.0.zip"], "once for both languages"
    assert "en/data-bin: train 30 (published: 392,702), valid 8" in prepared.done.stdout
    done = prepared.prepare("de", flags=("--translated",))
    assert done.returncode == 0 and "de/data-bin: train 30 " in done.stdout
    assert "en/data-bin" not in done.stdout
    again = refused(prepared.prepare("de"))
    assert "was made with other settings (training: True)" in again


def test_impossible_wishes(prepared):
    assert "XNLI does not have the language 'it'; choose from ar, bg" in refused(
        prepared.prepare("it")
    )
    missing = refused(prepared.prepare("en", flags=("--model", prepared.archives)))
    assert "has no sentencepiece.bpe.model; give the folder that has it" in missing
