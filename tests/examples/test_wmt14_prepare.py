import json
import shutil

import pytest
from wmt14_mirror import (
    TRAIN,
    TRAIN_FR,
    Fault,
    Mirror,
    describe,
    official,
    plain,
    prepare,
    refused,
    tar,
    write_archives,
)

pytest.importorskip("fairseq")
pytestmark = pytest.mark.slow

VOCABULARY = 304
SMALL = ("--vocabulary", VOCABULARY, "--workers", 1)
STAGES = ["references", "raw", "text", "subwords", "pieces", "data-bin"]


class Place:
    """A mirror of one pair's archives, a description of them, and a folder to prepare."""

    def __init__(self, folder, pair):
        self.pair, self.out, self.archives = pair, folder / "out", folder / "mirror"
        self.archives.mkdir()
        self.made = write_archives(self.archives, pair)
        self.describe()
        self.mirror = Mirror(self.archives)

    def describe(self):
        self.sources = describe(self.archives, self.archives.parent / "sources.json")

    def prepare(self, *more, flags=SMALL, **kwargs):
        arguments = (self.pair, "--out", self.out, "--sources", self.sources)
        return prepare(*arguments, "--mirror", self.mirror.url, *flags, *more, **kwargs)

    def record(self, folder=None):
        return json.loads((self.out / (folder or self.pair) / "prepare.json").read_text())

    def times(self):
        """When each file of the result was written."""
        return {p: p.stat().st_mtime_ns for p in (self.out / self.pair).rglob("*") if p.is_file()}


@pytest.fixture
def en_de(tmp_path):
    place = Place(tmp_path, "en-de")
    with place.mirror:
        yield place


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """En-De, prepared whole; tests that change it work on a copy."""
    place = Place(tmp_path_factory.mktemp("prepared"), "en-de")
    with place.mirror:
        place.done = prepare_ok(place)
        yield place


@pytest.fixture
def copied(prepared, tmp_path):
    """A copy of the prepared folder, without the mirror's help."""
    shutil.copytree(prepared.out, tmp_path / "out")
    place = object.__new__(Place)
    place.pair, place.out, place.sources = "en-de", tmp_path / "out", prepared.sources
    place.archives = prepared.archives
    place.mirror = Mirror(tmp_path)
    with place.mirror:
        yield place


def prepare_ok(place, *more, **kwargs):
    done = place.prepare(*more, **kwargs)
    assert done.returncode == 0, done.stderr + done.stdout
    return done


def decoded(folder, name, language, pair):
    """The sentences of a binary set, by fairseq itself, without its subwords."""
    from fairseq.data import Dictionary
    from fairseq.data.indexed_dataset import MMapIndexedDataset

    dictionary = Dictionary.load(str(folder / f"dict.{language}.txt"))
    data = MMapIndexedDataset(str(folder / f"{name}.{pair}.{language}"))
    return len(dictionary), [dictionary.string(line, "sentencepiece") for line in data]


def test_everything_from_archives_to_binary_data(prepared):
    out, made = prepared.out / "en-de", prepared.made
    for language in ("en", "de"):
        for name, count in (("valid", 3000), ("test", 3003)):
            raw = (out / "references" / f"{name}.{language}").read_bytes()
            assert raw == plain(made[name][language])
            size, sentences = decoded(out / "data-bin", name, language, "en-de")
            assert size == VOCABULARY
            assert len(sentences) == count
            assert sentences == [s.replace("&amp;", "&") for s in made[name][language]]
    pairs = sum(TRAIN.values())
    # of each corpus, one pair is empty, one of unequal length, and one is there twice
    record = prepared.record()["stages"]
    counts = record["text"]["record"]
    assert (counts["read"], counts["empty"], counts["kept"]) == (pairs, 3, pairs - 3)
    assert counts["duplicates"] == 3
    cut = record["pieces"]["record"]["train"]
    assert cut["read"] == pairs - 3
    assert cut["too_long"] + cut["ratio"] >= 3
    assert cut["kept"] == cut["read"] - cut["too_long"] - cut["ratio"]
    assert len(decoded(out / "data-bin", "train", "en", "en-de")[1]) == cut["kept"]
    assert record["data-bin"]["record"] == {"dictionary": VOCABULARY}
    assert f"dictionary: {VOCABULARY} types, joined" in prepared.done.stdout
    assert f"with a joined dictionary of {VOCABULARY} types" in prepared.done.stdout


def test_the_record_says_what_it_was_made_of(prepared):
    record = prepared.record()
    assert {"python", "fairseq-fixed", "sentencepiece", "sacremoses"} - set(record["versions"]) in (
        set(),
        {"fairseq-fixed"},
    )
    assert record["settings"]["vocabulary"] == VOCABULARY
    described = json.loads(prepared.sources.read_text())["archives"]
    found = {
        **record["stages"]["references"]["record"]["sources"],
        **record["stages"]["raw"]["record"]["sources"],
    }
    assert set(found) == {*TRAIN, "newstest2013", "newstest2014"}
    for name, origin in found.items():
        assert origin["sha256"] == described[name]["sha256"]
        assert origin["origin"] == f"{prepared.mirror.url}/{described[name]['file']}"
        assert origin["checked"] == "the stand-in"
    assert list(record["stages"]) == STAGES


def test_sacrebleu_scores_the_references_as_they_are(prepared):
    import sacrebleu

    lines = (prepared.out / "en-de" / "references" / "test.de").read_text().splitlines()
    assert sacrebleu.corpus_bleu(lines, [lines]).score == pytest.approx(100)


def test_a_second_run_does_nothing(prepared):
    before, asked = prepared.times(), len(prepared.mirror.requests)
    done = prepare_ok(prepared)
    assert prepared.times() == before
    assert len(prepared.mirror.requests) == asked
    assert "references: finished already\ndata-bin: finished already\n" in done.stdout


def test_a_run_goes_on_at_the_stage_that_is_missing(copied):
    (copied.out / "en-de" / "data-bin" / "train.en-de.de.bin").unlink()
    before = copied.times()
    done = prepare_ok(copied)
    written = {p.relative_to(copied.out / "en-de").parts[0] for p, t in copied.times().items()
               if before.get(p) != t}  # fmt: skip
    assert written == {"data-bin", "preprocess.log", "prepare.json"}
    assert "pieces: finished already" in done.stdout
    assert copied.mirror.requests == []


def test_what_lies_between_may_be_deleted(copied):
    for name in ("raw", "text", "pieces", "subwords"):
        shutil.rmtree(copied.out / "en-de" / name)
    shutil.rmtree(copied.out / "downloads")
    prepare_ok(copied)
    assert copied.mirror.requests == []


def test_other_settings_do_not_touch_what_is_there(copied):
    before = copied.times()
    sentence = refused(copied.prepare("--vocabulary", 400))
    assert f"was made with other settings (vocabulary: {VOCABULARY}); choose another" in sentence
    assert copied.times() == before


def test_a_foreign_folder_is_left_alone(en_de):
    (en_de.out / "en-de").mkdir(parents=True)
    (en_de.out / "en-de" / "thesis.txt").write_text("mine")
    assert "was not made here; choose another --out" in refused(en_de.prepare())
    assert [p.name for p in (en_de.out / "en-de").iterdir()] == ["thesis.txt"]


def test_a_broken_download_is_continued_by_the_next_run(en_de):
    name = "training-parallel-europarl-v7.tgz"
    en_de.mirror.faults[name] = Fault(status=403)
    assert f"{name} cannot be downloaded" in refused(en_de.prepare())
    assert list(en_de.record()["stages"]) == ["references"]
    en_de.mirror.faults[name] = Fault(drops=[1000])
    en_de.mirror.requests.clear()
    prepare_ok(en_de)
    assert [r[:3] for r in en_de.mirror.requests if r[0] == name] == [
        (name, None, 200),
        (name, "bytes=1000-", 206),
    ]
    assert "test-full.tgz" not in en_de.mirror.files()  # finished by the run before


def test_wrong_bytes_are_not_used(en_de):
    name = "training-parallel-nc-v9.tgz"
    size = (en_de.archives / name).stat().st_size
    en_de.mirror.faults[name] = Fault(content=b"x" * size)
    assert f"{name} is not what it should be: its SHA256 is" in refused(en_de.prepare())
    assert not (en_de.out / "en-de" / "raw").exists()
    del en_de.mirror.faults[name]
    prepare_ok(en_de)


def test_a_test_set_of_3002_sentences_is_refused(tmp_path):
    place = Place(tmp_path, "en-de")
    write_archives(place.archives, "en-de", test=3002)
    place.describe()
    with place.mirror:
        sentence = refused(place.prepare())
    assert "test-full.tgz must have 3,003 sentences and has 3,002 in en, 3,002 in de" in sentence
    assert not (place.out / "en-de" / "references").exists()


@pytest.mark.parametrize("change", ["missing", "unequal"])
def test_a_corpus_that_does_not_fit_is_refused_and_then_repaired(en_de, change):
    name = "training-parallel-commoncrawl.tgz"
    lines = en_de.made["train"]["commoncrawl"]
    good = (en_de.archives / name).read_bytes()
    members = {"commoncrawl.de-en.en": plain(lines["en"])}
    if change == "unequal":
        members["commoncrawl.de-en.de"] = plain(lines["de"][:-1])
    tar(en_de.archives / name, members)
    en_de.describe()
    words = {
        "missing": f"{name} holds no commoncrawl.de-en.de",
        "unequal": f"{name} is not parallel: 120 in en, 119 in de",
    }
    assert words[change] in refused(en_de.prepare())
    assert list(en_de.record()["stages"]) == ["references"]
    assert not (en_de.out / "en-de" / "raw").exists()
    (en_de.archives / name).write_bytes(good)
    (en_de.out / "downloads" / name).unlink()
    en_de.describe()
    prepare_ok(en_de)


def test_a_limit_on_files_stops_a_download_and_the_next_run_continues(en_de):
    # EFBIG is what the kernel says here; a full disk fails in the same call with ENOSPC
    name = "test.tgz"
    limit = (en_de.archives / name).stat().st_size - 2000
    sentence = refused(en_de.prepare(largest=limit))
    assert f"{name}.part cannot be written: File too large; make room and run the same" in sentence
    en_de.mirror.requests.clear()
    prepare_ok(en_de)
    assert en_de.mirror.requests[0] == (name, f"bytes={limit}-", 206, 2000)


@pytest.mark.parametrize("stage", ["references", "text", "data-bin"])
def test_a_limit_on_files_leaves_no_half_stage(copied, stage):
    out = copied.out / "en-de"
    for name in STAGES[STAGES.index(stage) :]:
        shutil.rmtree(out / name)
    sentence = refused(copied.prepare(largest=20_000))
    if stage == "data-bin":
        assert "fairseq-preprocess ended with code" in sentence
        assert "File too large" in sentence
    else:
        assert f"the stage {stage} stopped: File too large; make room in {out}" in sentence
    assert not (out / stage).exists()
    prepare_ok(copied)
    assert copied.mirror.requests == []
    assert not list(out.glob("*.part"))


def test_two_runs_do_not_write_into_one_folder(en_de):
    import fcntl

    en_de.out.mkdir()
    with open(en_de.out / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another run is at work in" in refused(en_de.prepare())
    assert en_de.mirror.requests == []


def test_french_with_two_workers(tmp_path):
    place = Place(tmp_path, "en-fr")
    with place.mirror:
        done = prepare_ok(place, "--workers", 2)
    out, record = place.out / "en-fr", place.record()["stages"]
    corpora = record["text"]["record"]["corpora"]
    assert {name: counts["read"] for name, counts in corpora.items()} == TRAIN_FR
    # nobody has published checksums of two archives: written down, and said
    for file in ("training-parallel-un.tgz", "training-giga-fren.tar"):
        assert f"{file}: nobody has published a checksum of it; its SHA-256 is" in done.stdout
    origins = record["raw"]["record"]["sources"]
    assert origins["un"]["checked"] == origins["giga-fren"]["checked"] == "first download"
    assert origins["europarl-v7"]["checked"] == "the stand-in"
    raw = (out / "references" / "test.fr").read_bytes()
    assert raw == plain(place.made["test"]["fr"])
    size, sentences = decoded(out / "data-bin", "test", "fr", "en-fr")
    assert (size, len(sentences)) == (VOCABULARY, 3003)
    giga = (out / "raw" / "giga-fren.fr").read_bytes()
    assert giga == plain(place.made["train"]["giga-fren"]["fr"])


def test_googles_archive(tmp_path):
    place = Place(tmp_path, "en-de")
    flags = ("--bpe", "google", "--workers", 1)
    with place.mirror:
        archive = place.archives / "wmt16_en_de.tar.gz"
        local = archive.rename(tmp_path / "from-the-page.tar.gz")
        done = prepare_ok(place, "--archive", local, flags=flags)
        assert place.mirror.files() == ["test.tgz", "test-full.tgz"]
    out = place.out / "en-de-google"
    record = place.record("en-de-google")
    assert record["stages"]["pieces"]["record"]["sentences"] == {
        **{"train": 300, "valid": 3000, "test": 3003}
    }
    types = {line.split()[0] for line in (out / "data-bin" / "dict.en.txt").open(encoding="utf-8")}
    assert {"bri", "dge", "brü", "cke"} <= types
    assert (out / "data-bin" / "dict.en.txt").read_bytes() == (
        out / "data-bin" / "dict.de.txt"
    ).read_bytes()
    size = record["stages"]["data-bin"]["record"]["dictionary"]
    assert size == len(types) + 4 and size % 8 == 0  # fairseq fills it up to a multiple of eight
    assert f"dictionary: {size} types, joined" in done.stdout
    assert (out / "references" / "test.de").read_bytes() == plain(place.made["test"]["de"])


def test_googles_archive_is_asked_for_by_name_and_must_have_the_same_sets(tmp_path):
    place = Place(tmp_path, "en-de")
    flags = ("--bpe", "google", "--workers", 1)
    with place.mirror:
        arguments = ("en-de", "--out", place.out, "--sources", place.sources, *flags)
        # without a mirror nothing is asked: the two sets are there already
        downloads = place.out / "downloads"
        downloads.mkdir(parents=True)
        for name in ("test.tgz", "test-full.tgz"):
            shutil.copy(place.archives / name, downloads)
        assert "name it with --archive, or name a --mirror" in refused(prepare(*arguments))
        archive = place.archives / "wmt16_en_de.tar.gz"
        corpora = official("en-de").google
        shifted = {}
        for name, corpus in corpora.items():
            for language, member in corpus.members.items():
                lines = (place.made["google"] if name == "train" else place.made[name])[language]
                shifted[member] = plain(lines if name == "train" else lines[1:] + lines[:1])
        tar(archive, shifted)
        place.describe()
        sentence = refused(prepare(*arguments, "--archive", archive))
    assert "only 0 of 3,000 sentences of valid.en in wmt16_en_de.tar.gz are those" in sentence


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("en-fr", "--bpe", "google"), "Google has no archive for en-fr"),
        (("en-de", "--archive", "x.tgz"), "add --bpe google"),
        (("en-de", "--sources", "no.json"), "no.json cannot be read"),
    ],
)
def test_impossible_wishes(tmp_path, arguments, words):
    done = prepare(*arguments, "--out", tmp_path / "out")
    assert words in refused(done)
    assert not (tmp_path / "out").exists()
