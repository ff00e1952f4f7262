"""TED talks and OPUS-100 from archives to binary data, which fairseq itself loads and trains on."""

import html
import json
import random

import pytest

pytest.importorskip("fairseq")
pytest.importorskip("sacremoses")
pytest.importorskip("sentencepiece")

from example_mirror import Fault, Mirror, describe, plain, refused, run_script, tar
from fairseq import options
from fairseq.data import Dictionary
from fairseq.tasks.translation import load_langpair_dataset
from fairseq.tasks.translation_multi_simple_epoch import TranslationMultiSimpleEpochTask

pytestmark = pytest.mark.slow

WORDS = {
    "en": "the a house tree small green sings walks sees river &amp; bridge".split(),
    "de": "das ein haus baum klein grün singt geht sieht fluss und brücke".split(),
    "zh-cn": "那 一 房子 树 小 绿 唱 走 看见 河 和 桥".split(),
    "zh": "那 一 房子 树 小 绿 唱 走 看见 河 和 桥".split(),
    "fr": "la une maison arbre petit vert chante marche voit fleuve &apos; pont".split(),
    "an": "o un casa árbol chico verde canta va veye río y puent".split(),
}
VOCABULARY = 180
SMALL = ("--vocabulary", VOCABULARY, "--workers", 1)
MISSING = ("__NULL__", "_ _ NULL _ _", "")


class Place:
    """A mirror of an archive or several, a description of them, and a folder to prepare."""

    def __init__(self, folder, corpus):
        self.corpus, self.out, self.archives = corpus, folder / "out", folder / "mirror"
        self.archives.mkdir()
        self.chance = random.Random(corpus)
        self.made = self.write_ted() if corpus == "ted" else self.write_opus()
        self.sources = describe("ted_opus100", self.archives, folder / "sources.json")
        self.mirror = Mirror(self.archives)

    def sentence(self, languages, number):
        drawn = self.chance.choices(range(12), k=self.chance.randint(4, 9))
        return [f"{' '.join(WORDS[la][i] for i in drawn)} {number}" for la in languages]

    def write_ted(self):
        """Talks in four languages; some are not translated. Gives pair -> set -> both sides."""
        languages = ("en", "de", "zh-cn", "fr")
        made = {f"{la.replace('-', '_')}-en": {} for la in languages[1:]}
        members = {}
        files = (("train", "train", 150), ("valid", "dev", 20), ("test", "test", 9))
        for name, file, count in files:
            lines = ["\t".join(("talk_name", *languages))]
            pairs = {pair: [] for pair in made}
            for number in range(count):
                texts = self.sentence(languages, number)
                for place, pair in enumerate(made, 1):
                    if self.chance.random() < 0.3 or (place == 3 and name == "test"):
                        texts[place] = self.chance.choice(MISSING)
                    elif number % 10:
                        pairs[pair].append((texts[place], texts[0]))
                if not number % 10:
                    texts[0] = MISSING[0]
                lines.append("\t".join((f"talk {number}", *texts)))
            lines.insert(3, "a talk\twith too\tfew")
            members[f"./all_talks_{file}.tsv"] = plain(lines)
            for pair, examples in pairs.items():
                made[pair][name] = examples
        tar(self.archives / "ted_talks.tar.gz", {"readme.txt": b"no\n", **members})
        return made

    def write_opus(self):
        made = {}
        for language, pair in (("fr", "en-fr"), ("an", "an-en"), ("zh", "en-zh")):
            sets = {"train": 120} if language == "an" else {"train": 120, "valid": 15, "test": 11}
            made[f"{language}-en"], members = {}, {}
            for name, count in sets.items():
                examples = [tuple(self.sentence((language, "en"), n)) for n in range(count)]
                stem = f"opus.{pair}-{'dev' if name == 'valid' else name}"
                folder = f"opus-100-corpus/v1.0/supervised/{pair}"
                for side, code in enumerate((language, "en")):
                    lines = plain(example[side] for example in examples)
                    members[f"{folder}/{stem}.{code}"] = lines
                made[f"{language}-en"][name] = examples
            tar(self.archives / f"opus-100-corpus-{pair}-v1.0.tar.gz", members)
        return made

    def prepare(self, *languages, flags=SMALL, **kwargs):
        arguments = (self.corpus, *languages, "--out", self.out, "--sources", self.sources)
        return run_script("ted_opus100", *arguments, "--mirror", self.mirror.url, *flags, **kwargs)

    def folder(self):
        (folder,) = (path for path in self.out.iterdir() if (path / "prepare.json").is_file())
        return folder

    def record(self):
        return json.loads((self.folder() / "prepare.json").read_text())["stages"]


@pytest.fixture(scope="module")
def ted(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("ted"), "ted")
    with place.mirror:
        place.done = place.prepare("de", "zh-cn", "fr")
        assert place.done.returncode == 0, place.done.stderr + place.done.stdout
        yield place


@pytest.fixture(scope="module")
def opus(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("opus"), "opus-100")
    with place.mirror:
        place.done = place.prepare("fr", "an", "zh")
        assert place.done.returncode == 0, place.done.stderr + place.done.stdout
        yield place


def decoded(folder, name, source, target):
    """Both sides of a set as fairseq's translation loads them, without subwords."""
    dictionaries = [Dictionary.load(str(folder / f"dict.{la}.txt")) for la in (source, target)]
    pairs = load_langpair_dataset(
        str(folder), name, source, dictionaries[0], target, dictionaries[1], combine=False,
        dataset_impl="mmap", upsample_primary=1, left_pad_source=False, left_pad_target=False,
        max_source_positions=1024, max_target_positions=1024,
    )  # fmt: skip
    return [
        tuple(d.string(pairs[n][side], "sentencepiece") for d, side in zip(dictionaries, SIDES))
        for n in range(len(pairs))
    ]


SIDES = ("source", "target")


@pytest.mark.parametrize("corpus", ["ted", "opus"])
def test_fairseq_loads_every_pair_in_both_directions(corpus, request):
    place = request.getfixturevalue(corpus)
    folder = place.folder() / "data-bin"
    for pair, sets in place.made.items():
        language = pair.split("-")[0]
        for name, examples in sets.items():
            if not examples:
                assert not list(folder.glob(f"{name}.{pair}.*")), "no talk was translated"
                continue
            resolve = html.unescape if corpus == "ted" else str
            texts = [tuple(map(resolve, row)) for row in examples]
            found = decoded(folder, name, language, "en")
            if name != "train":
                assert found == texts
            else:  # without pairs whose numbers of pieces differ too much
                assert set(found) <= set(texts) and len(found) > len(texts) / 2
            assert decoded(folder, name, "en", language) == [row[::-1] for row in found]
    contents = {path.read_bytes() for path in folder.glob("dict.*.txt")}
    assert len(contents) == 1, "one joined dictionary"


def test_talks_without_a_translation_are_left_out_and_counted(ted):
    record = ted.record()["raw"]["record"]
    assert record["sentences"] == {
        pair: {name: len(rows) for name, rows in sets.items() if rows}
        for pair, sets in ted.made.items()
    }
    assert record["malformed"] == {"train": 1, "valid": 1, "test": 1}
    references = ted.folder() / "references"
    lines = (references / "test.de-en.de").read_text(encoding="utf-8").splitlines()
    assert lines == [html.unescape(first) for first, _ in ted.made["de-en"]["test"]]
    assert not (references / "test.fr-en.fr").exists()


def test_sets_that_opus_lacks_are_left_out(opus):
    record = opus.record()["raw"]["record"]
    assert record["sentences"]["an-en"] == {"train": 120}
    assert record["published"]["fr-en"] == {"train": 1_000_000, "valid": 2000, "test": 2000}
    assert set(record["sources"]) == {"opus-100-fr", "opus-100-an", "opus-100-zh"}


def test_the_printed_flags_are_those_of_fairseqs_task(ted):
    """Its own code reads languages, dictionaries and training text with them."""
    line = ted.done.stdout.splitlines()[-1]
    folder = ted.folder() / "data-bin"
    pairs = "de-en,en-de,zh_cn-en,en-zh_cn,fr-en,en-fr"
    assert f"--lang-pairs {pairs} --lang-dict {folder / 'languages.txt'}; " in line
    flags = [str(folder), "--task", "translation_multi_simple_epoch", "--arch", "transformer"]
    flags += ["--lang-pairs", pairs, "--lang-dict", str(folder / "languages.txt")]
    flags += ["--encoder-langtok", "tgt", "--decoder-langtok", "--optimizer", "adam"]
    flags += ["--max-source-positions", "256", "--max-target-positions", "256"]
    args = options.parse_args_and_arch(options.get_training_parser(), flags)
    task = TranslationMultiSimpleEpochTask.setup_task(args, training=True)
    assert list(task.langs) == ["de", "en", "fr", "zh_cn"]
    assert set(task.dicts) == {"de", "en", "fr", "zh_cn"}
    assert len(task.dicts["de"]) == VOCABULARY + 4, "a token for each language"
    task.load_dataset("valid")
    sizes = {pair: len(rows["valid"]) for pair, rows in ted.made.items()}
    assert len(task.dataset("valid")) == 2 * sum(sizes.values())


def test_a_second_run_does_nothing_and_other_languages_get_a_folder_of_their_own(ted):
    asked = len(ted.mirror.requests)
    done = ted.prepare("de", "zh-cn", "fr")
    assert done.returncode == 0 and "data-bin: finished already" in done.stdout
    assert len(ted.mirror.requests) == asked
    other = refused(ted.prepare("de", "zh-cn", "fr", flags=("--vocabulary", 200)))
    assert "was made with other settings (vocabulary: 180)" in other


@pytest.mark.parametrize(
    "corpus, languages, sentence",
    [
        ("ted", ["en"], "en is one side of every pair; name the other languages"),
        ("ted", ["xx"], "the corpus of TED talks does not have the language 'xx'; choose from ar"),
        ("opus", ["zh-cn"], "OPUS-100 does not have the language 'zh-cn'; choose from af"),
    ],
)
def test_impossible_wishes(corpus, languages, sentence, request):
    assert sentence in refused(request.getfixturevalue(corpus).prepare(*languages))


def test_sides_of_unequal_length_and_a_broken_download(tmp_path):
    place = Place(tmp_path, "opus-100")
    name = "opus-100-corpus-an-en-v1.0.tar.gz"
    place.mirror.faults[name] = Fault(drops=[300])
    with place.mirror:
        assert place.prepare("an").returncode == 0
        assert [asked for *_, asked, _, _ in place.mirror.requests] == [None, "bytes=300-"]
        stem = "opus-100-corpus/v1.0/supervised/an-en/opus.an-en-train"
        members = {f"{stem}.an": b"one\ntwo\n", f"{stem}.en": b"one\n"}
        tar(place.archives / name, members)
        place.sources = describe("ted_opus100", place.archives, tmp_path / "sources.json")
        place.out = tmp_path / "other"
        sentence = refused(place.prepare("an"))
    assert f"{name} is not parallel: 2 in an, 1 in en" in sentence


def test_the_official_description_is_complete():
    from preparation.many_languages.corpora import load_opus, load_ted

    place = "examples/ted_opus100/sources.json"
    opus, ted = load_opus(place), load_ted(place)
    assert len(opus.pairs) == 99 and len(ted.languages) == 59
    archives = [ted.archive, *(pair.archive for pair in opus.pairs.values())]
    assert all(len(archive.sha256) == 64 and archive.size for archive in archives)
    assert len({archive.sha256 for archive in archives}) == 100
    for language, pair in opus.pairs.items():
        assert pair.pair == "-".join(sorted(("en", language)))
        assert pair.archive.file == f"opus-100-corpus-{pair.pair}-v1.0.tar.gz"
