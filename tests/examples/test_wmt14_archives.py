import gzip
import os
import tarfile

import pytest
from preparation.archives import extract, extract_corpus
from preparation.sources import Archive, Corpus
from preparation.wmt14.references import write_references
from preparation.wmt14.sgml import read_segments
from wmt14_mirror import Text, official, plain, sgml, tar, write_archives

from fairseq_lottery.errors import LotteryError

LINES = Text("en-de", seed=1).sentences(200)
EN, DE = plain(LINES["en"]), plain(LINES["de"])


def test_members_go_where_they_are_sent(tmp_path):
    tar(tmp_path / "a.tgz", {"training/x.en": EN, "./training/x.de": DE, "training/x.fr": b"no\n"})
    wanted = {"training/x.en": tmp_path / "one", "training/x.de": tmp_path / "two"}
    assert extract(tmp_path / "a.tgz", wanted) == {"training/x.en": 200, "training/x.de": 200}
    assert (tmp_path / "one").read_bytes() == EN
    assert (tmp_path / "two").read_bytes() == DE
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tgz", "one", "two"]


def test_a_compressed_member_is_decompressed(tmp_path):
    tar(tmp_path / "a.tar", {"giga.en.gz": gzip.compress(EN)}, "w")
    assert extract(tmp_path / "a.tar", {"giga.en.gz": tmp_path / "giga.en"}) == {"giga.en.gz": 200}
    assert (tmp_path / "giga.en").read_bytes() == EN


def test_lines_end_at_line_feeds_only_and_the_last_one_gets_its_own(tmp_path):
    tar(tmp_path / "a.tgz", {"x": "one\rstill one\u2028still one\ntwo".encode()})
    assert extract(tmp_path / "a.tgz", {"x": tmp_path / "x"}) == {"x": 2}
    assert (tmp_path / "x").read_bytes().endswith(b"\ntwo\n")


def test_nothing_is_written_outside_and_links_are_refused(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    link = tarfile.TarInfo("x.en")
    link.type, link.linkname = tarfile.SYMTYPE, str(outside)
    inside = tmp_path / "inside"
    inside.mkdir()
    tar(inside / "a.tgz", {"../outside": b"evil", str(outside): b"evil", "link": link})
    with pytest.raises(LotteryError, match="x.en in a.tgz is no plain file"):
        extract(inside / "a.tgz", {"x.en": inside / "x"})
    tar(inside / "b.tgz", {"../outside": b"evil", str(outside): b"evil", "x.en": EN})
    extract(inside / "b.tgz", {"x.en": inside / "x"})
    assert outside.read_text() == "untouched"
    assert sorted(os.listdir(inside)) == ["a.tgz", "b.tgz", "x"]


def test_a_missing_member_is_named(tmp_path):
    tar(tmp_path / "a.tgz", {"x.en": EN})
    with pytest.raises(LotteryError, match="^a.tgz holds no x.de: it is not the archive described"):
        extract(tmp_path / "a.tgz", {"x.en": tmp_path / "en", "x.de": tmp_path / "de"})


@pytest.mark.parametrize("harm", ["cut", "flip", "flip late", "text", "inner"])
def test_a_corrupted_archive_is_named(tmp_path, harm):
    path = tmp_path / "a.tgz"
    inner = gzip.compress(EN)[:-40] if harm == "inner" else EN
    name = "x.gz" if harm == "inner" else "x"
    tar(path, {name: inner, "y": DE})
    content = bytearray(path.read_bytes())
    if harm == "cut":
        del content[len(content) // 2 :]
    elif harm == "flip":
        content[len(content) // 2] ^= 0xFF
    elif harm == "flip late":  # in gzip's checksum: every byte of the members is as it was
        content[-8] ^= 0xFF
    elif harm == "text":
        content[:] = b"<html>not found</html>" * 100
    path.write_bytes(content)
    with pytest.raises(LotteryError, match=r"a\.tgz is corrupted \(.+\); remove it and run"):
        extract(path, {name: tmp_path / "x", "y": tmp_path / "y"})


def test_sides_of_unequal_length_are_refused(tmp_path):
    tar(tmp_path / "a.tgz", {"x.en": EN, "x.de": plain(LINES["de"][:-1])})
    corpus = Corpus(Archive("a", "a.tgz"), {"en": "x.en", "de": "x.de"})
    targets = {language: tmp_path / language for language in ("en", "de")}
    with pytest.raises(LotteryError, match="a.tgz is not parallel: 200 in en, 199 in de;"):
        extract_corpus(corpus, tmp_path / "a.tgz", targets)


def test_segments_are_those_that_sacrebleu_reads(tmp_path):
    from sacrebleu.dataset import DATASETS

    lines = [
        "plain",
        "  two  spaces\tand a tab ",
        "AT&amp;T &lt;b&gt;",
        "„Gänse“ – füßchen",
        "5 < 6",
    ]
    path = tmp_path / "set.sgm"
    path.write_bytes(sgml(lines, "ref", "de"))
    DATASETS["wmt14/full"]._convert_format(str(path), str(tmp_path / "theirs"))
    ours = read_segments(path)
    assert ours == (tmp_path / "theirs").read_text(encoding="utf-8").splitlines()
    assert ours[1:3] == ["two spaces and a tab", "AT&amp;T &lt;b&gt;"]


@pytest.mark.parametrize(
    "content, words",
    [
        (b'<seg id="1">no end\n', "segment without an end in line 1"),
        (b'<seg id="1">caf\xe9</seg>\n', "is not UTF-8"),
    ],
)
def test_segments_that_cannot_be_read_are_refused(tmp_path, content, words):
    (tmp_path / "set.sgm").write_bytes(content)
    with pytest.raises(LotteryError, match=words):
        read_segments(tmp_path / "set.sgm")


@pytest.mark.parametrize("pair", ["en-de", "en-fr"])
@pytest.mark.parametrize("test", [3003, 3002, 2737])
def test_the_test_set_has_3003_sentences(tmp_path, pair, test):
    made = write_archives(tmp_path, pair, test=test)
    sets = official(pair).sets
    archives = {corpus.name: tmp_path / corpus.archive.file for corpus in sets.values()}
    languages = tuple(pair.split("-"))
    (tmp_path / "out").mkdir()
    if test != 3003:
        with pytest.raises(LotteryError, match=f"must have 3,003 sentences and has {test:,} in en"):
            write_references(sets, archives, languages, tmp_path / "out")
        return
    counts = write_references(sets, archives, languages, tmp_path / "out")
    assert counts == {"valid": 3000, "test": 3003}
    for name in counts:
        for language in languages:
            assert (tmp_path / "out" / f"{name}.{language}").read_bytes() == plain(
                made[name][language]
            )
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        f"{name}.{language}" for name in counts for language in languages
    )
