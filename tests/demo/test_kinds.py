"""The data of encoders and languages for real, in small; fairseq's own tasks load them."""

import csv
import subprocess
import sys

import pytest
import toy
from forking import python

pytest.importorskip("fairseq")
pytest.importorskip("sentencepiece")

from fairseq import tasks
from fairseq.data import Dictionary

from fairseq_lottery.demo import stages
from fairseq_lottery.demo.encoders.prepare import prepare as prepare_encoders
from fairseq_lottery.demo.languages.prepare import prepare as prepare_languages

pytestmark = pytest.mark.slow

DOCUMENTS, EXAMPLES = {"valid": 20, "train": 1500}, {"test": 21, "valid": 22, "train": 60}
SENTENCES = {"test": 7, "valid": 6, "train": 40}
CODES = ["en", "na", "nb", "nc", "sa", "sb", "sc"]


@pytest.fixture(scope="module", autouse=True)
def fast():
    """Processes are forks of one that has imported fairseq."""
    interpreter = sys.executable
    sys.executable = python()
    yield
    sys.executable = interpreter


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    out = tmp_path_factory.mktemp("encoders") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fairseq_lottery.demo.encoders.prepare.VOCABULARY", 300)
        prepare_encoders(out, 1, DOCUMENTS, EXAMPLES)
    return out


@pytest.fixture(scope="module")
def languages(tmp_path_factory):
    out = tmp_path_factory.mktemp("languages") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fairseq_lottery.demo.languages.prepare.VOCABULARY", 700)
        prepare_languages(out, 1, SENTENCES, DOCUMENTS, EXAMPLES)
    return out


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def read_lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def load(folder, name, classes, regression=False, parts=tuple(EXAMPLES)):
    """fairseq's own task with parts of a folder."""
    from omegaconf import OmegaConf

    config = tasks.sentence_prediction.SentencePredictionConfig(
        data=str(folder / name), num_classes=classes, init_token=0, separator_token=2,
        regression_target=regression, classification_head_name="head", seed=1,
    )  # fmt: skip
    task = tasks.setup_task(
        OmegaConf.create({**vars(config), "_name": "sentence_prediction", "no_shuffle": True})
    )
    for part in parts:
        task.load_dataset(part)
    return task


def check_tasks(out):
    """Each example of each task is what the text says, piece by piece and label by label."""
    for row in rows(out / "text" / "tasks.tsv"):
        name, labels = row["task"], row["labels"].split(",")
        regression = row["labels"] == "-"
        task = load(out / "tasks", name, len(labels), regression)
        for part, size in EXAMPLES.items():
            dataset = task.datasets[part]
            assert len(dataset) == size
            written = read_lines(out / "text" / "tasks" / name / f"{part}.label")
            texts = [
                read_lines(path)
                for path in sorted((out / "text" / "tasks" / name).glob(f"{part}.input?"))
            ]
            for number in range(size):
                item = dataset[number]
                target = item["target"]
                assert float(target[0] if regression else target) == float(written[number])
                string = task.dictionary.string(item["net_input.src_tokens"])
                assert task.dictionary.unk() not in item["net_input.src_tokens"]
                shown = string.replace("<s>", "").replace(" ", "").replace("▁", " ").strip()
                joined = "".join(f" {text[number]}" for text in texts).strip()
                assert shown.replace("</s>", "") == joined


def test_tasks_of_encoders(encoders):
    assert [row["task"] for row in rows(encoders / "text" / "tasks.tsv")] == [
        "acceptability", "agreement", "tense", "pos", "role", "paraphrase", "entailment",
        "similarity",
    ]  # fmt: skip
    check_tasks(encoders)


def test_tasks_of_languages(languages):
    found = rows(languages / "text" / "tasks.tsv")
    assert [(row["task"], row["kind"]) for row in found] == [
        (f"{task}/{code}", "pair" if task == "entailment" else "sentence")
        for task in ("entailment", "agreement", "tense")
        for code in CODES
    ]
    check_tasks(languages)


def test_one_folder_has_the_examples_of_all_languages(languages):
    for name, classes in (("entailment", 3), ("agreement", 2)):
        task = load(languages / "evaluation", name, classes, parts=())
        for code in CODES:
            own = load(languages / "tasks" / name, code, classes)
            for part in ("valid", "test"):
                task.load_dataset(f"{part}_{code}")
                dataset = task.datasets[f"{part}_{code}"]
                assert len(dataset) == len(own.datasets[part]) == EXAMPLES[part]
                for number, item in enumerate(own.datasets[part]):
                    for key in ("net_input.src_tokens", "target"):
                        assert dataset[number][key].tolist() == item[key].tolist()


@pytest.mark.parametrize("kind", ["encoders", "languages"])
def test_one_dictionary_for_all(kind, request):
    out = request.getfixturevalue(kind)
    dictionary = (out / "subwords" / "dict.txt").read_bytes()
    found = [*out.glob("pretrain/dict.txt"), *out.glob("tasks/**/input?/dict.txt")]
    found += out.glob("evaluation/*/input?/dict.txt")
    found += out.glob("translation/dict.*.txt")
    assert len(found) == {"encoders": 1 + 8 + 3, "languages": 1 + 7 * 4 + 4 + 7}[kind]
    assert {path.read_bytes() for path in found} == {dictionary}
    assert len(Dictionary.load(str(out / "subwords" / "dict.txt"))) == {
        "encoders": 300 + 1, "languages": 700 + 1,
    }[kind]  # sentencepiece has no padding  # fmt: skip


def test_documents_are_blocks_to_pretrain_on(encoders):
    from fairseq.tasks.masked_lm import MaskedLMConfig, MaskedLMTask

    config = MaskedLMConfig(
        data=str(encoders / "pretrain"), sample_break_mode="complete_doc", tokens_per_sample=254,
        seed=1,
    )  # fmt: skip
    task = MaskedLMTask.setup_task(config)
    dataset = task._load_dataset_split("train", 1, False)
    text = (encoders / "text" / "pretrain" / "train.txt").read_text(encoding="utf-8")
    documents = text.strip().split("\n\n")
    assert len(dataset) == len(documents) == DOCUMENTS["train"]
    for number, document in enumerate(documents):
        tokens = dataset[number]
        assert int((tokens == task.source_dictionary.eos()).sum()) == len(document.splitlines())
        shown = task.source_dictionary.string(tokens, include_eos=True).replace("<s> ", "")
        sentences = [one.replace(" ", "").replace("▁", " ") for one in shown.split(" </s>")[:-1]]
        assert [one.strip() for one in sentences] == document.splitlines()


def test_pairs_of_languages(languages):
    sizes = {row["language"]: int(row["sentences"]) for row in rows(
        languages / "text" / "languages.tsv")}  # fmt: skip
    assert sizes == {"en": 40, "na": 40, "nb": 20, "nc": 10, "sa": 10, "sb": 40, "sc": 20}
    from fairseq.data import data_utils

    dictionary = Dictionary.load(str(languages / "translation" / "dict.en.txt"))
    pairs = {path.name.split(".")[1] for path in (languages / "translation").glob("test.*.idx")}
    assert len(pairs) == 21
    for pair in pairs:
        source, target = pair.split("-")
        parts = {**SENTENCES, "train": sizes[target]} if source == "en" else {"test": 7}
        for part in SENTENCES:
            for code in (source, target):
                path = languages / "translation" / f"{part}.{pair}.{code}"
                data = data_utils.load_indexed_dataset(str(path), dictionary)
                assert (data is not None) is (part in parts)
                if data is None:
                    continue
                lines = read_lines(languages / "text" / "parallel" / f"{part}.{pair}.{code}")
                shown = [dictionary.string(row).replace(" ", "").replace("▁", " ").strip()
                         for row in data]  # fmt: skip
                assert shown == lines and len(lines) == parts[part]


@pytest.mark.parametrize("kind", ["encoders", "languages"])
def test_the_same_seed_makes_the_same_files(kind, request, tmp_path):
    out = request.getfixturevalue(kind)
    module = f"fairseq_lottery.demo.{kind}.text_stage"
    words = ["--documents", *stages.words_of(DOCUMENTS), "--examples", *stages.words_of(EXAMPLES)]
    words += ["--sentences", *stages.words_of(SENTENCES)] if kind == "languages" else []
    for seed in ("1", "2"):
        command = [sys.executable, "-m", module, "--seed", seed, *words]
        subprocess.run([*command, "--out", str(tmp_path / seed)], check=True)
    before = {path.relative_to(out / "text"): path.read_bytes()
              for path in (out / "text").rglob("*") if path.is_file()}  # fmt: skip
    for seed in ("1", "2"):
        after = {path.relative_to(tmp_path / seed): path.read_bytes()
                 for path in (tmp_path / seed).rglob("*") if path.is_file()}  # fmt: skip
        assert after.keys() == before.keys() and len(before) > 30
        equal = {name for name in before if before[name] == after[name]}
        assert equal == (
            set(before) if seed == "1" else {one for one in equal if one.suffix == ".tsv"}
        )


def test_a_second_call_makes_nothing_again(encoders):
    made = {path: path.stat().st_mtime_ns for path in encoders.rglob("*") if path.is_file()}
    prepare_encoders(encoders, 1, DOCUMENTS, EXAMPLES)
    assert made == {path: path.stat().st_mtime_ns for path in made}


TINY = (
    "--encoder-layers 1 --encoder-embed-dim 16 --encoder-ffn-embed-dim 16"
    " --encoder-attention-heads 2"
)
TRAIN = (
    f"--user-dir {toy.PACKAGE} --optimizer adam --lr 1e-3 --max-update 2 --num-workers 0"
    f" --log-format simple {TINY}"
).split()


def test_fairseq_trains_on_pairs_of_languages(languages, tmp_path):
    flags = (
        "--task translation_multi_simple_epoch --langs en,na,sb --lang-pairs en-na,sb-en"
        " --encoder-langtok tgt --criterion cross_entropy --arch transformer --max-tokens 400"
        " --decoder-layers 1 --decoder-embed-dim 16 --decoder-ffn-embed-dim 16"
        " --decoder-attention-heads 2"
    ).split()
    done = toy.call("fairseq_cli.train", [languages / "translation", *flags, *TRAIN], tmp_path).ok()
    assert "'valid' subset" in done.out and "num_updates 2" in done.out


def test_fairseq_fine_tunes_the_pre_trained_encoder(encoders, tmp_path):
    model = "--arch roberta --max-positions 256"
    pretrain = (
        f"{model} --task masked_lm_lottery --criterion masked_lm_lottery --batch-size 8"
        " --sample-break-mode complete_doc --tokens-per-sample 254 --save-dir pretrained"
    ).split()
    toy.call("fairseq_cli.train", [encoders / "pretrain", *pretrain, *TRAIN], tmp_path).ok()
    fine = (
        f"{model} --task sentence_prediction --criterion sentence_prediction --batch-size 8"
        " --init-token 0 --separator-token 2 --no-save --valid-subset test"
        " --finetune-from-model pretrained/checkpoint_last.pt"
    ).split()
    for name, classes, metric in (
        ("similarity", ["1", "--regression-target", "--report-pearson-and-spearman"], "pearson"),
        ("paraphrase", ["2", "--report-acc-and-f1"], "f1"),
    ):
        words = [encoders / "tasks" / name, *fine, *TRAIN, "--num-classes", *classes]
        done = toy.call("fairseq_cli.train", words, tmp_path).ok()
        (line,) = [line for line in done.out.splitlines() if "valid on 'test' subset" in line]
        assert f"| {metric} " in line and "num_updates 2" in line
