import json

import pytest
import wmt14_mirror
from hypothesis import given, settings
from hypothesis import strategies as st
from preparation import transfer
from preparation.download import Downloads, checksums
from preparation.sources import Archive
from preparation.wmt14.pair_sources import load_sources
from small import PROPERTY
from wmt14_mirror import Fault, Mirror

from fairseq_lottery.errors import LotteryError

NAME = "corpus.tgz"
CONTENT = bytes(range(256)) * 40_000  # ten blocks of a transfer, nearly


@pytest.fixture
def mirror(tmp_path):
    folder = tmp_path / "mirror"
    folder.mkdir()
    (folder / NAME).write_bytes(CONTENT)
    with Mirror(folder) as running:
        yield running


@pytest.fixture
def downloads(tmp_path, mirror):
    folder = tmp_path / "downloads"
    folder.mkdir()
    return Downloads(folder, mirror.url)


def archive(mirror, **changes):
    sums = checksums(mirror.folder / NAME)
    known = {"size": len(CONTENT), "sha256": sums["sha256"], "published": "the test"}
    return Archive(name="corpus", file=NAME, **{**known, **changes})


def test_a_verified_file_is_downloaded_once(mirror, downloads):
    for _ in range(2):
        path = downloads.fetch([archive(mirror)])["corpus"]
        assert path == downloads.folder / NAME
        assert path.read_bytes() == CONTENT
    assert mirror.requests == [(NAME, None, 200, len(CONTENT))]
    assert sorted(p.name for p in downloads.folder.iterdir()) == ["checksums.json", NAME]


@pytest.mark.parametrize("reset", [False, True])
def test_a_broken_connection_is_continued_where_it_broke(mirror, downloads, reset):
    mirror.faults[NAME] = Fault(drops=[3_000_000, 2_000_000], reset=reset)
    path = downloads.fetch([archive(mirror)])["corpus"]
    assert path.read_bytes() == CONTENT
    first, second, third = mirror.requests
    assert first[1:3] == (None, 200)
    if not reset:  # a reset throws away what was still on its way, a plain end loses nothing
        assert second[1:3] == ("bytes=3000000-", 206)
        assert third == (NAME, "bytes=5000000-", 206, len(CONTENT) - 5_000_000)


@settings(PROPERTY, max_examples=15)
@given(drops=st.lists(st.integers(1, 300_000), max_size=6), ranges=st.booleans())
def test_every_pattern_of_breaks_gives_the_same_bytes(tmp_path_factory, drops, ranges):
    folder = tmp_path_factory.mktemp("pattern")
    (folder / NAME).write_bytes(CONTENT[:1_000_000])
    drops = drops if ranges else sorted(set(drops))  # each attempt gets further
    with Mirror(folder) as running:
        running.faults[NAME] = Fault(drops=list(drops), ranges=ranges)
        transfer.transfer(f"{running.url}/{NAME}", folder / "part", 1_000_000)
    assert (folder / "part").read_bytes() == CONTENT[:1_000_000]


def test_a_server_without_ranges_sends_all_again(mirror, downloads):
    mirror.faults[NAME] = Fault(drops=[3_000_000], ranges=False)
    assert downloads.fetch([archive(mirror)])["corpus"].read_bytes() == CONTENT
    assert [(asked, status) for _, asked, status, _ in mirror.requests] == [
        (None, 200),
        ("bytes=3000000-", 200),
    ]


def test_a_file_that_changed_meanwhile_is_started_over(mirror, downloads, monkeypatch):
    monkeypatch.setattr(transfer, "WAITS", (0.0,))
    mirror.faults[NAME] = Fault(drops=[3_000_000, 0], content=bytes(len(CONTENT)))
    with pytest.raises(LotteryError, match="ended after 3,000,000 of 10,240,000 bytes"):
        downloads.fetch([archive(mirror)])
    del mirror.faults[NAME]
    assert downloads.fetch([archive(mirror)])["corpus"].read_bytes() == CONTENT
    assert mirror.requests[-1] == (NAME, "bytes=3000000-", 200, len(CONTENT))


def test_a_later_run_continues(mirror, downloads, monkeypatch):
    monkeypatch.setattr(transfer, "WAITS", (0.0, 0.0))
    mirror.faults[NAME] = Fault(drops=[4_000_000, 0, 0])
    with pytest.raises(LotteryError, match=f"{NAME} cannot be downloaded: .*, 2 times in a row"):
        downloads.fetch([archive(mirror)])
    assert not (downloads.folder / NAME).exists()
    del mirror.faults[NAME]
    assert downloads.fetch([archive(mirror)])["corpus"].read_bytes() == CONTENT
    assert mirror.requests[-1] == (NAME, "bytes=4000000-", 206, len(CONTENT) - 4_000_000)


def test_a_whole_part_is_not_transferred_again(mirror, downloads):
    part = downloads.folder / f"{NAME}.part"
    part.write_bytes(CONTENT)
    part.with_name(f"{part.name}.from").write_text(f"{mirror.url}/{NAME}\n\n")
    assert downloads.fetch([archive(mirror)])["corpus"].read_bytes() == CONTENT
    assert mirror.requests == [(NAME, f"bytes={len(CONTENT)}-", 416, 0)]


def test_a_part_from_another_address_is_not_continued(mirror, downloads):
    part = downloads.folder / f"{NAME}.part"
    part.write_bytes(b"something else")
    part.with_name(f"{part.name}.from").write_text("http://127.0.0.1/elsewhere\n\n")
    assert downloads.fetch([archive(mirror)])["corpus"].read_bytes() == CONTENT
    assert mirror.requests == [(NAME, None, 200, len(CONTENT))]


def test_a_wrong_checksum_is_set_aside_and_not_used(mirror, downloads):
    mirror.faults[NAME] = Fault(content=bytes(len(CONTENT)))
    with pytest.raises(LotteryError, match="its SHA256 is .* where the test has") as refused:
        downloads.fetch([archive(mirror)])
    assert f"set aside as {NAME}.bad" in str(refused.value)
    assert [p.name for p in downloads.folder.iterdir()] == [f"{NAME}.bad"]
    del mirror.faults[NAME]
    assert downloads.fetch([archive(mirror)])["corpus"].read_bytes() == CONTENT


def test_a_published_md5_is_enough(mirror, downloads, capsys):
    md5 = checksums(mirror.folder / NAME)["md5"]
    downloads.fetch([archive(mirror, sha256=None, md5=md5, published="sacreBLEU")])
    assert f"{NAME}: MD5 as in sacreBLEU" in capsys.readouterr().out
    with pytest.raises(LotteryError, match="its MD5 is"):
        downloads.fetch([archive(mirror, sha256=None, md5="0" * 32)])


def test_the_first_download_is_trusted_and_every_later_one_compared(mirror, downloads, capsys):
    unknown = archive(mirror, sha256=None)
    path = downloads.fetch([unknown])["corpus"]
    sum_ = checksums(path)["sha256"]
    assert (
        f"nobody has published a checksum of it; its SHA-256 is {sum_}" in capsys.readouterr().out
    )
    ledger = json.loads((downloads.folder / "checksums.json").read_text())
    assert ledger[NAME]["sha256"] == sum_
    assert ledger[NAME]["checked"] == "first download"
    assert ledger[NAME]["origin"] == f"{mirror.url}/{NAME}"
    downloads.fetch([unknown])
    assert "SHA256 as in an earlier download" in capsys.readouterr().out
    path.unlink()
    mirror.faults[NAME] = Fault(content=bytes(len(CONTENT)))
    with pytest.raises(LotteryError, match=f"an earlier download has {sum_}"):
        downloads.fetch([unknown])


def test_another_size_is_refused_before_it_is_downloaded(mirror, downloads):
    with pytest.raises(LotteryError, match="has 10,240,000 bytes where 77 are expected"):
        downloads.fetch([archive(mirror, size=77)])
    assert not (downloads.folder / f"{NAME}.part").exists()


def test_a_missing_file_is_asked_for_once(mirror, downloads):
    (mirror.folder / NAME).rename(mirror.folder / "elsewhere")
    wanted = Archive(name="corpus", file=NAME)
    with pytest.raises(LotteryError, match="corpus.tgz answers 404 Not Found; .*--mirror"):
        downloads.fetch([wanted])
    assert mirror.files() == [NAME]


def test_the_second_address_is_tried(mirror, downloads):
    urls = (f"{mirror.url}/gone.tgz", f"{mirror.url}/{NAME}")
    official = Downloads(downloads.folder)
    assert official.fetch([archive(mirror, urls=urls)])["corpus"].read_bytes() == CONTENT
    assert mirror.files() == ["gone.tgz", NAME]


def test_a_page_for_people_is_named(downloads):
    wanted = Archive(name="google", file="google.tgz", page="https://example.org/page")
    with pytest.raises(LotteryError, match="download it from https://example.org/page and name"):
        Downloads(downloads.folder).fetch([wanted])


def test_a_disk_that_is_too_small_is_refused_before_anything_is_asked(mirror, downloads):
    with pytest.raises(LotteryError, match=r"GB free where the downloads need 1000000000.07 GB"):
        downloads.fetch([archive(mirror, size=10**18)])
    assert mirror.requests == []


def test_a_disk_that_runs_full_ends_in_one_sentence(mirror, downloads):
    # the kernel's own full device: every write to it fails with ENOSPC
    (downloads.folder / f"{NAME}.part").symlink_to("/dev/full")
    with pytest.raises(LotteryError, match="cannot be written: No space left on device; make room"):
        downloads.fetch([archive(mirror)])
    assert not (downloads.folder / NAME).exists()
    assert len(mirror.requests) == 1


def test_the_official_description_is_complete():
    for pair, names in (("en-de", wmt14_mirror.TRAIN), ("en-fr", wmt14_mirror.TRAIN_FR)):
        sources = wmt14_mirror.official(pair)
        assert {corpus.name for corpus in sources.train} == set(names)
        assert (sources.sets["valid"].sentences, sources.sets["test"].sentences) == (3000, 3003)
        for corpus in (*sources.train, *sources.sets.values()):
            assert corpus.archive.urls[0] == f"https://www.statmt.org/{_place(corpus)}"
            if corpus.archive.sha256 or corpus.archive.md5:
                assert corpus.archive.published


def _place(corpus):
    year = {"news-commentary-v9": 14, "newstest2014": 14, "giga-fren": 10}.get(corpus.name, 13)
    return f"wmt{year}/{corpus.archive.file}"


def test_test_sets_have_the_checksums_that_sacrebleu_knows():
    from sacrebleu.dataset import DATASETS

    for pair in ("en-de", "en-fr"):
        sets = wmt14_mirror.official(pair).sets
        for corpus, known in ((sets["valid"], "wmt13"), (sets["test"], "wmt14/full")):
            assert [corpus.archive.md5] == DATASETS[known].md5
            assert list(corpus.members.values()) == DATASETS[known].langpairs[pair]


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda data: data["train"].pop("en-de"), "KeyError: 'en-de'"),
        (lambda data: data["archives"]["un"].update(colour="red"), "TypeError: .*colour"),
        (lambda data: data["archives"]["un"].update(file="../un.tgz"), "is no name of a file"),
        (lambda data: data["archives"]["un"].update(file="a/un.tgz"), "is no name of a file"),
        (lambda data: data["archives"]["un"].update(file=".un.tgz"), "is no name of a file"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(tmp_path, change, words):
    data = json.loads((wmt14_mirror.EXAMPLE / "sources.json").read_text())
    change(data)
    path = tmp_path / "sources.json"
    path.write_text(json.dumps(data))
    with pytest.raises(LotteryError, match=f"does not describe the sources of en-de.*{words}"):
        load_sources(str(path), "en-de")


def test_a_description_can_come_from_a_mirror(mirror):
    (mirror.folder / "sources.json").write_bytes(
        (wmt14_mirror.EXAMPLE / "sources.json").read_bytes()
    )
    found = load_sources(f"{mirror.url}/sources.json", "en-fr")
    assert found == wmt14_mirror.official("en-fr")
    with pytest.raises(LotteryError, match="nothing.json cannot be read: .*404"):
        load_sources(f"{mirror.url}/nothing.json", "en-fr")
