"""GLUE from archives to binary data, compared with fairseq's own reading and encoding of it."""

import csv
import io
import json
import shutil
import zipfile

import pytest

pytest.importorskip("fairseq")

import glue_mirror
from example_mirror import Fault, Mirror, describe, refused, run_script, zipped
from fairseq import tasks
from fairseq.data.encoders.gpt2_bpe_utils import get_encoder
from fairseq.tasks.sentence_prediction import SentencePredictionConfig
from omegaconf import OmegaConf
from preparation.classification.tasks import TASKS

pytestmark = pytest.mark.slow

#: two rows of QQP are malformed: a tab inside a question, and a row that was cut
MALFORMED = {"QQP": ("1\t2\t3\twhat\tis a\ttab\t1", "4\t5\t6\tcut")}


class Place:
    """A mirror of GLUE's archives, a description of them, and a folder to prepare."""

    def __init__(self, folder):
        self.out, self.archives = folder / "out", folder / "mirror"
        self.archives.mkdir()
        self.made = glue_mirror.write_archives(self.archives, MALFORMED)
        self.describe()
        self.mirror = Mirror(self.archives)

    def describe(self):
        target = self.archives.parent / "sources.json"
        self.sources = describe("glue", self.archives, target, ("gpt2-dictionary",))

    def prepare(self, *names, flags=(), out=None, **kwargs):
        arguments = (*names, "--out", out or self.out, "--sources", self.sources)
        mirror = ("--mirror", self.mirror.url)
        return run_script("glue", *arguments, *mirror, "--workers", 1, *flags, **kwargs)

    def record(self, task):
        return json.loads((self.out / task / "prepare.json").read_text())["stages"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("glue"))
    with place.mirror:
        place.done = place.prepare("ALL")
        assert place.done.returncode == 0, place.done.stderr + place.done.stdout
        yield place


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    with place.mirror:
        yield place


def fairseqs_task(folder, task):
    """fairseq's own task on the prepared folder."""
    cfg = OmegaConf.structured(
        SentencePredictionConfig(
            data=str(folder), num_classes=TASKS[task].classes, init_token=0, separator_token=2,
            no_shuffle=True, max_positions=512,
        )
    )  # fmt: skip
    OmegaConf.set_struct(cfg, False)
    cfg._name, cfg.seed, cfg.classification_head_name = "sentence_prediction", 1, "head"
    cfg.regression_target = TASKS[task].classes == 1
    return tasks.setup_task(cfg)


@pytest.mark.parametrize("name", TASKS)
def test_fairseqs_task_reads_every_example_as_it_was_published(prepared, name):
    """Sentences decoded by fairseq's own byte pairs, and labels by the number of their class."""
    folder, made = prepared.out / name / "data-bin", prepared.made[name]
    task = fairseqs_task(folder, name)
    subwords = get_encoder(
        str(prepared.archives / "encoder.json"), str(prepared.archives / "vocab.bpe")
    )
    symbols = task.source_dictionary
    for split, examples in made.sets.items():
        task.load_dataset(split)
        data = task.dataset(split)
        assert len(data) == len(examples)
        for number, (first, second, label) in enumerate(examples):
            tokens = data[number]["net_input.src_tokens"].tolist()
            texts = [text for text in (first, second) if text is not None]
            expected = [0]
            for place, text in enumerate(texts):
                ids = [symbols.index(str(i)) for i in subwords.encode(text.strip())]
                expected += [*([2] if place else []), *ids, 2]
            assert tokens == expected and symbols.unk() not in tokens
            if label is not None:
                target = data[number]["target"]
                if TASKS[name].labels:
                    assert int(target) == TASKS[name].labels.index(label)
                else:
                    assert target == pytest.approx([float(label) / 5], abs=1e-6)
    if TASKS[name].labels:
        assert task.label_dictionary.symbols[4:-1] == list(TASKS[name].labels)


@pytest.mark.parametrize("name", sorted(set(TASKS) - {"MRPC", "CoLA"}))
def test_columns_are_those_that_csv_reads_without_quotes(prepared, name):
    file, inside = glue_mirror.FOLDERS.get(name, (f"{name}.zip", name))
    with zipfile.ZipFile(prepared.archives / file) as archive:
        text = io.StringIO(archive.read(f"{inside}/train.tsv").decode())
    rows = list(csv.DictReader(text, delimiter="\t", quoting=csv.QUOTE_NONE))
    rows = [row for row in rows if None not in row and None not in row.values()]
    task = TASKS[name]
    for number, column in enumerate((*task.inputs, *([task.label] if task.labels else []))):
        kind = f"input{number}" if number < len(task.inputs) else "label"
        lines = (prepared.out / name / "text" / f"train.{kind}").read_text(encoding="utf-8")
        assert lines.split("\n")[:-1] == [row[column].strip() for row in rows]


def test_sets_and_what_is_left_out(prepared):
    for name, made in prepared.made.items():
        record = prepared.record(name)["text"]["record"]
        assert record["sets"] == {split: len(rows) for split, rows in made.sets.items()}
        assert record["malformed"] == {
            split: 2 if (name, split) == ("QQP", "train") else 0 for split in made.sets
        }
        folder = prepared.out / name / "data-bin" / "label"
        stored = {path.stem for path in folder.iterdir() if path.suffix in (".idx", ".label")}
        assert stored == {split for split in made.sets if not split.startswith("test")}
    matched, mismatched = (prepared.made["MNLI"].sets[s][0][0] for s in ("valid", "valid1"))
    text = prepared.out / "MNLI" / "text"
    assert (text / "valid.input0").read_text(encoding="utf-8").startswith(matched)
    assert (text / "valid1.input0").read_text(encoding="utf-8").startswith(mismatched)
    assert "(published: 3,668); " not in prepared.done.stdout
    assert "MRPC/data-bin: train 24 (published: 3,668), valid 9" in prepared.done.stdout
    assert "--num-classes 1 --regression-target" in prepared.done.stdout


def test_checksums_are_compared_and_those_of_nobody_written_down(prepared):
    assert "encoder.json: SHA256 as in the stand-in" in prepared.done.stdout
    assert "dict.txt: nobody has published a checksum of it; its SHA-256 is" in prepared.done.stdout
    ledger = json.loads((prepared.out / "downloads" / "checksums.json").read_text())
    assert ledger["dict.txt"]["checked"] == "first download"
    sources = prepared.record("MRPC")["text"]["record"]["sources"]
    assert set(sources) == {"mrpc-train", "mrpc-test", "mrpc-dev-ids"}
    assert prepared.mirror.files().count("dict.txt") == 1, "once for all tasks"


def test_a_second_run_asks_for_nothing_and_a_deleted_file_is_made_again(prepared):
    asked = len(prepared.mirror.requests)
    (prepared.out / "RTE" / "data-bin" / "input1" / "valid.bin").unlink()
    done = prepared.prepare("RTE", "WNLI")
    assert done.returncode == 0 and "data-bin: finished already" in done.stdout
    assert "data-bin ..." in done.stdout and "pieces ..." not in done.stdout
    assert (prepared.out / "RTE" / "data-bin" / "input1" / "valid.bin").is_file()
    assert len(prepared.mirror.requests) == asked


def test_subwords_may_be_given_by_path(place):
    for name in ("encoder.json", "vocab.bpe", "dict.txt"):
        shutil.move(place.archives / name, place.archives.parent / name)
    flags = ("--bpe", place.archives.parent)
    done = place.prepare("CoLA", flags=flags)
    assert done.returncode == 0, done.stderr
    assert place.mirror.files() == ["CoLA.zip"]
    (place.archives.parent / "dict.txt").write_text("1 1\n")
    other = refused(place.prepare("CoLA", flags=flags))
    assert "CoLA was made with other settings (subwords: " in other
    (place.archives.parent / "dict.txt").unlink()
    assert "has no dict.txt; give the folder that has it" in refused(
        place.prepare("CoLA", flags=flags)
    )


def test_a_broken_download_is_continued(place):
    place.mirror.faults["MNLI.zip"] = Fault(drops=[400, 700])
    assert place.prepare("MNLI", flags=("--workers", 2)).returncode == 0
    ranges = [asked for name, asked, *_ in place.mirror.requests if name == "MNLI.zip"]
    assert ranges == [None, "bytes=400-", "bytes=1100-"]


def replaced(place, task, name, content):
    """Let an archive have another table, and the description fit it."""
    file, inside = glue_mirror.FOLDERS.get(task, (f"{task}.zip", task))
    with zipfile.ZipFile(place.archives / file) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    members[f"{inside}/{name}.tsv"] = content(members[f"{inside}/{name}.tsv"])
    zipped(place.archives / file, members)
    place.describe()


@pytest.mark.parametrize(
    "task, name, content, sentence",
    [
        ("RTE", "train", lambda t: t.replace(b"\tentailment", b"\tmaybe", 1),
         "of train has the label 'maybe', expected one of entailment, not_entailment"),
        ("STS-B", "dev", lambda t: t + b"9\t9\t9\t9\t9\t9\t9\ta\tb\t5.5\n",
         "example 10 of valid has the score '5.5', expected a number from 0 to 5"),
        ("QNLI", "test", lambda t: t + b"9\tonly a question\n",
         "line 10 of test.tsv has 2 columns, expected 3; remove the archive"),
        ("QNLI", "train", lambda t: t + b"9\t\xff\tb\tentailment\n", "train.tsv is not UTF-8"),
        ("WNLI", "train", lambda t: t.replace(b"sentence2", b"hypothesis"),
         "train.tsv has no column sentence2; it has index, sentence1, hypothesis, label: it is"),
        ("WNLI", "train", lambda t: t.replace(b"\t1\n", b"\n"),
         "rows of train.tsv do not have 4 columns: it is not the table described"),
        ("WNLI", "dev", lambda t: t.split(b"\n")[0] + b"\n", "the set valid has no examples"),
    ],
)  # fmt: skip
def test_another_table_is_one_sentence(place, task, name, content, sentence):
    replaced(place, task, name, content)
    assert sentence in refused(place.prepare(task))
    assert not (place.out / task / "data-bin").exists()


def test_a_corrupted_archive_and_a_missing_member(place):
    content = (place.archives / "RTE.zip").read_bytes()
    place.mirror.faults["RTE.zip"] = Fault(content=content[:-30] + bytes(30))
    assert "RTE.zip is not what it should be: its SHA256 is" in refused(place.prepare("RTE"))
    del place.mirror.faults["RTE.zip"]
    zipped(place.archives / "RTE.zip", {"RTE/train.tsv": b"x\n"})
    place.describe()
    sentence = refused(place.prepare("RTE", out=place.out / "other"))
    assert "RTE.zip holds no RTE/dev.tsv, RTE/test.tsv: it is not the archive desc" in sentence


def test_a_full_disk_ends_in_one_sentence_and_the_next_run_goes_on(place):
    sentence = refused(place.prepare("RTE", largest=2_000))
    assert "run the same command again" in sentence
    assert place.prepare("RTE").returncode == 0


def test_the_official_description_has_published_checksums_and_counts():
    from preparation.classification.glue import load_glue_sources

    for name in TASKS:
        sources = load_glue_sources("examples/glue/sources.json", name)
        assert set(sources.published) == set(TASKS[name].sets)
        for archive in sources.archives.values():
            assert len(archive.sha256) == 64 and archive.published and archive.size
    assert [archive.file for archive in sources.subwords] == [
        "encoder.json",
        "vocab.bpe",
        "dict.txt",
    ]
    assert sources.subwords[2].sha256 is None
