import json
import os
import re
import shlex
import shutil
import stat
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import DICTIONARIES, PROPERTY, Run, pair_of

from fairseq_lottery.adapters import (
    ADAPTERS,
    MASKED_LM,
    TRANSLATION,
    TaskAdapter,
    Vocabulary,
    register_adapter,
)
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import Dictionaries, Ticket, load_ticket, save_ticket
from fairseq_lottery.masks import PRUNERS, Mask
from fairseq_lottery.options import (
    GROUPS,
    TRAINING,
    Pruning,
    Schedule,
    ScoreBatches,
    ScoreRounds,
    options,
)
from fairseq_lottery.tickets.pack import TrainingCommand, pack, unpack
from fairseq_lottery.tickets.pack.manifest import (
    LARGEST_RATIO,
    is_member,
    read_manifest,
    write_manifest,
)

LINE = "fairseq-train /data/bin -s en -t de --task translation_lottery --ticket /runs/t.safetensors"
MEMBERS = [
    "manifest.json", "README.txt", "command.txt", "dict.de.txt", "dict.en.txt", "record.json",
    "subwords/spm.model", "ticket.safetensors",
]  # fmt: skip


class Packer:
    """A folder with a ticket, its command, and an archive of both."""

    def __init__(self, folder):
        self.folder = folder
        self.ticket = folder / "slt.safetensors"
        save_ticket(self.ticket, Run(folder).draw(sparsity=0.9))
        self.command = folder / "train.txt"
        self.command.write_text(f"{LINE} --lr 7e-4 --adam-betas '(0.9, 0.98)'\n")
        self.model = folder / "spm.model"
        self.model.write_bytes(b"\n\x06pieces" * 40)
        (folder / "score.py").write_text("import os\n")
        self.archive = self.pack("packed.zip")
        self.content = read(self.archive)

    def pack(self, name, **options):
        options = {"command": self.command, "subwords": [self.model], **options}
        pack(options.pop("ticket", self.ticket), self.folder / name, **options)
        return self.folder / name

    def forge(self, content=None, **changes):
        """An archive with other members, the manifest fitting them."""
        content = dict(content or self.content)
        content.update(changes)
        content.pop("manifest.json", None)
        return write(
            self.folder / "forged.zip", {"manifest.json": write_manifest(content), **content}
        )

    def refuse(self, archive, sentence):
        out = self.folder / "out"
        before = sorted(self.folder.rglob("*"))
        try:
            with pytest.raises(LotteryError, match=sentence) as refused:
                unpack(archive, out)
            assert sorted(self.folder.rglob("*")) == before, "nothing is left, in or beside out"
        finally:
            shutil.rmtree(out, ignore_errors=True)
        assert "\n" not in str(refused.value)


def read(archive):
    with zipfile.ZipFile(archive) as file:
        return {name: file.read(name) for name in file.namelist()}


def write(path, content, infos=()):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in content.items():
            file.writestr(name, text)
        for info, text in infos:
            file.writestr(info, text)
    return path


@pytest.fixture(scope="module")
def packer(tmp_path_factory):
    return Packer(tmp_path_factory.mktemp("packer"))


def parse(line, languages=()):
    return TrainingCommand.parse(line, TRANSLATION, languages)


# --- the way there and back -------------------------------------------------------------------


def test_what_is_packed_is_unpacked(packer, tmp_path):
    assert list(packer.content) == MEMBERS
    ticket, steps = unpack(packer.archive, tmp_path / "out")
    found = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")}
    assert found == set(MEMBERS) - {"manifest.json"}
    assert (tmp_path / "out" / "ticket.safetensors").read_bytes() == packer.ticket.read_bytes()
    assert ticket.digest() == load_ticket(packer.ticket).digest()
    assert steps in packer.content["README.txt"].decode()
    record = json.loads(packer.content["record.json"])
    assert record["digest"] == ticket.digest()
    assert record["signature"] == ticket.record["signature"]
    assert record["ticket"] == ticket.record and record["subwords"] == ["spm.model"]
    assert record["languages"] == {"source": "en", "target": "de"}


def test_the_same_input_gives_the_same_bytes(packer):
    for path, moment in ((packer.ticket, 1e9), (packer.model, 2e9)):
        os.utime(path, (moment, moment))
        path.chmod(0o600)
    again = packer.pack("again.zip")
    assert again.read_bytes() == packer.archive.read_bytes()
    with zipfile.ZipFile(again) as file:
        assert {info.date_time for info in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.external_attr >> 16 for info in file.infolist()} == {0o100644}
    again.unlink()


def test_nothing_of_this_machine_is_in_it_but_the_tickets_record(packer):
    for name, content in packer.content.items():
        if name != "ticket.safetensors":
            assert str(packer.folder).encode() not in content, name
            assert b"/data/bin" not in content and b"/runs" not in content, name


def test_an_archive_is_replaced_on_request_only(packer):
    before = packer.archive.read_bytes()
    with pytest.raises(LotteryError, match="exists already"):
        packer.pack("packed.zip", subwords=[])
    assert packer.archive.read_bytes() == before
    packer.pack("packed.zip", overwrite=True)
    assert packer.archive.read_bytes() == before


def test_a_ticket_that_shrinks_like_a_bomb_is_stored(tmp_path, packer):
    """Next to nothing survives: deflated it would be refused."""
    mask = Mask({"w": torch.zeros(2000, 1000, dtype=torch.bool)})
    record = {"signature": "none", "clock": "restart", "update": 0, "masters": True}
    record.update(moment_numbers={}, sparsity=1.0, pruned=2_000_000, denominator=2_000_000)
    ticket = Ticket(mask, {"w": torch.zeros(2000, 1000)}, record, DICTIONARIES, {})
    save_ticket(tmp_path / "empty.safetensors", ticket)
    archive = tmp_path / "empty.zip"
    pack(tmp_path / "empty.safetensors", archive, packer.command)
    assert archive.stat().st_size > (tmp_path / "empty.safetensors").stat().st_size > 250_000
    assert unpack(archive, tmp_path / "out")[0].digest() == ticket.digest()


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"out": "slt.tar"}, "must end in .zip"),
        ({"ticket": "gone.safetensors"}, "there is no file .*gone.safetensors"),
        ({"ticket": "snapshot_5.safetensors"}, "is a snapshot, not a ticket"),
        ({"command": "gone.txt"}, "gone.txt cannot be read: No such file"),
        ({"command": "last.pt"}, "last.pt is not UTF-8"),
        ({"subwords": ["gone"]}, "gone cannot be read: No such file"),
        ({"subwords": ["spm model"]}, "--subwords .*spm model has"),
        ({"subwords": ["spm.model", "SPM.model"]}, "two files named SPM.model"),
        ({"subwords": ["score.py"]}, "--subwords score.py is not a subword file; give sentencep"),
        ({"subwords": ["train.txt"]}, "--subwords train.txt is not a subword file"),
        ({"data": "gone"}, "data folder .*gone cannot be read: No such file"),
    ],
)
def test_what_cannot_be_packed_is_refused(packer, options, sentence):
    def place(value):
        return [place(v) for v in value] if isinstance(value, list) else packer.folder / value

    options = {key: place(value) for key, value in options.items()}
    out = options.pop("out", packer.folder / "refused.zip")
    with pytest.raises(LotteryError, match=sentence):
        packer.pack(out.name, **options)
    assert not out.exists()


# --- other tasks ------------------------------------------------------------------------------

MASKED = "fairseq-train /data/bin --task masked_lm_lottery --ticket t --lr 1"


def ticket_of(packer, path, task):
    """Save the packer's ticket as one of a task with a single dictionary."""
    ticket = load_ticket(packer.ticket)
    only = Dictionaries({"source": (*DICTIONARIES["source"], "<mask>")})
    record = {**ticket.record, "task": task}
    save_ticket(path, replace(ticket, dictionaries=only, record=record))
    return path


@pytest.fixture
def masked(packer, tmp_path):
    """An archive of a ticket of masked_lm."""
    ticket = ticket_of(packer, tmp_path / "t.safetensors", "masked_lm")
    (tmp_path / "masked.txt").write_text(MASKED)
    pack(ticket, tmp_path / "masked.zip", tmp_path / "masked.txt", subwords=[packer.model])
    return tmp_path / "masked.zip"


def test_a_ticket_of_masked_lm_has_one_dictionary_and_no_languages(masked, tmp_path):
    assert list(read(masked)) == [
        "manifest.json", "README.txt", "command.txt", "dict.txt", "record.json",
        "subwords/spm.model", "ticket.safetensors",
    ]  # fmt: skip
    ticket, steps = unpack(masked, tmp_path / "out")
    assert ticket.adapter is MASKED_LM and ticket.dictionaries["source"][-1] == "<mask>"
    assert "languages" not in json.loads(read(masked)["record.json"])
    assert "# your text is in raw/: train and valid, one sentence per line\n" in steps
    assert "\nfor name in {train,valid}; do\n" in steps
    assert (
        "fairseq-preprocess --only-source \\\n    --trainpref text/train --validpref text/valid"
        " \\\n    --srcdict dict.txt --destdir data-bin\n\nfairseq-train data-bin \\\n    --user"
    ) in steps
    assert "    --task masked_lm_lottery \\\n    --ticket ticket.safetensors \\\n" in steps


def test_the_datas_dictionary_of_masked_lm_is_packed_without_the_mask(packer, masked, tmp_path):
    content = "".join(f"{symbol} 3\n" for symbol in DICTIONARIES["source"])
    (tmp_path / "dict.txt").write_text(content)
    given = tmp_path / "t.safetensors", tmp_path / "d.zip", tmp_path / "masked.txt", tmp_path
    pack(*given)
    assert read(tmp_path / "d.zip")["dict.txt"] == content.encode()
    assert unpack(tmp_path / "d.zip", tmp_path / "out")[0].adapter is MASKED_LM
    (tmp_path / "dict.txt").write_text(content.replace("b 3", "x 3"))
    with pytest.raises(LotteryError, match="source dictionary of the data symbol 1 is 'x'"):
        pack(*given, overwrite=True)


def test_a_command_of_another_task_than_the_tickets_is_refused(packer, masked, tmp_path):
    message = "the command requires --task masked_lm_lottery"
    with pytest.raises(LotteryError, match=message):
        pack(tmp_path / "t.safetensors", tmp_path / "x.zip", packer.command)
    with pytest.raises(LotteryError, match="--task translation_lottery"):
        pack(packer.ticket, tmp_path / "x.zip", tmp_path / "masked.txt")
    content = read(masked)
    packer.refuse(packer.forge(content, **{"command.txt": packer.content["command.txt"]}), message)
    content["dict.en.txt"] = content.pop("dict.txt")
    packer.refuse(packer.forge(content), "unexpected member 'dict.en.txt'")


def test_a_task_that_does_not_say_how_its_data_is_made_is_refused(packer, tmp_path, monkeypatch):
    monkeypatch.setitem(ADAPTERS, "own", None)
    own = TaskAdapter("own", {"source": Vocabulary((), "e.weight")}, {}, lambda *_: {"source": "a"})
    register_adapter(own)
    ticket = ticket_of(packer, tmp_path / "t.safetensors", "own")
    (tmp_path / "own.txt").write_text(MASKED.replace("masked_lm", "own"))
    with pytest.raises(LotteryError, match="the adapter of task own"):
        pack(ticket, tmp_path / "own.zip", tmp_path / "own.txt")
    assert not (tmp_path / "own.zip").exists()


# --- the command ------------------------------------------------------------------------------


def test_the_command_without_this_machine():
    line = (
        "# as trained\nfairseq-train /data/bin --user-dir \"$(fairseq-lottery user-dir)\" \\\n"
        "  --save-dir /runs/slt -s en --target-lang=de --task translation_lottery \\\n"
        "  --mask-from /runs/a.pt --start-from /runs/b.safetensors --sparsity 0.5 --scope layer"
        " --tensorboard-logdir /tb --adam-betas '(0.9, 0.98)' --lr 1e-3 5e-4 --fp16 --seed -3\n"
    )  # fmt: skip
    assert parse(line).text() == (
        "fairseq-train data-bin \\\n    --source-lang en \\\n    --target-lang de \\\n"
        '    --user-dir "$(fairseq-lottery user-dir)" \\\n    --task translation_lottery \\\n'
        "    --ticket ticket.safetensors \\\n    --save-dir checkpoints \\\n"
        "    --adam-betas '(0.9, 0.98)' \\\n    --lr 1e-3 5e-4 \\\n    --fp16 \\\n    --seed -3\n"
    )


def test_what_ranks_weights_stays_where_the_mask_grows_on():
    line = f"{LINE} --score random --scope global --min-density 0.1 --draw-seed 2 --prunable ffn"
    assert parse(line).flags == ()
    kept = dict(parse(f"{line} --prune-to 0.9").flags)
    assert list(kept) == ["--score", "--scope", "--min-density", "--draw-seed", "--prune-to"]


SEVERAL_LINES = {
    "backslashes": " \\\n    ",
    "a variable of several lines, expanded": "\n   ",
    "flags at the start of lines": "\n",
    "comments between": "\n# on a GPU\n",
}


@pytest.mark.parametrize("between", SEVERAL_LINES.values(), ids=SEVERAL_LINES)
def test_a_command_over_several_lines_is_one_command(between):
    line = f"{LINE} --lr 7e-4 --max-update 600"
    assert parse(line.replace(" --", f"{between}--")) == parse(line)
    assert parse(f"# of June\n\n{line}{between}--seed 3\n") == parse(f"{line} --seed 3")


def test_a_stages_record_is_a_command():
    words = ["/env/bin/python", "-m", "fairseq_cli.train", *shlex.split(LINE)[1:], "--lr", "1"]
    assert parse(json.dumps({"command": words, "seconds": 3})) == parse(f"{LINE} --lr 1")


def test_a_flag_that_was_recorded_under_another_name_is_renamed():
    words = shlex.split(f"x -m fairseq_cli.train {LINE[14:]} --prune-to 0.9 --floor 0.1")
    assert parse(json.dumps({"command": words})).flags[-1] == ("--min-density", ("0.1",))


def test_dropped_flags_are_those_that_the_task_refuses_beside_a_ticket():
    pytest.importorskip("fairseq")
    from fairseq_lottery.inference.lottery_config import LotteryConfig
    from fairseq_lottery.tickets.pack import train_command as command
    from fairseq_lottery.training.start.flag_checks import refuse_stray_flags

    values = {"scope": "global", "pruner": "set"}

    def refused(**settings):
        for one in options(*GROUPS, place=TRAINING):
            name = one.name_in(TRAINING)
            cfg = LotteryConfig(ticket="a", **settings)
            if name not in ("ticket", "prune_to"):
                setattr(cfg, name, values.get(name, 7))
            try:
                refuse_stray_flags(cfg)
            except LotteryError:
                yield one.flag_in(TRAINING)

    # each pruner refuses the options of others, and so does each score
    ways = [{"pruner": name} for name in PRUNERS]
    ways += [{"score": "snip", "prune_schedule": "one-shot"}]
    pruning = set.intersection(*(set(refused(prune_to=0.9, **way)) for way in ways))
    assert pruning == {*command.DRAWING, "--sparse-decode", "--pair-mask"}
    how = {one.flag_in(TRAINING) for one in options(Schedule, Pruning, ScoreBatches, ScoreRounds)}
    how -= {"--prune-to"}
    assert set(refused()) == {*pruning, *command.RANKING, *how} and len(how) == 12


@pytest.mark.parametrize(
    "line, sentence",
    [
        ("", "the file has 0"),
        (f"{LINE}\n{LINE}", "the file has 2"),
        ("fairseq-generate data-bin", "starts with 'fairseq-generate'"),
        (f"CUDA_VISIBLE_DEVICES=0 {LINE}", "starts with 'CUDA_VISIBLE_DEVICES=0'"),
        (f"srun {LINE}", "starts with 'srun'"),
        (f"{LINE} --lr '1", "is not valid in a shell"),
        ("fairseq-train --ticket t -s en -t de data-bin", "expected a data folder"),
        ("fairseq-train", "expected a data folder"),
        ("fairseq-train a b --lr 1", "expected a flag .*, found 'b'"),
        (LINE.replace("--ticket", "--log-file"), "neither --ticket nor --mask-from"),
        (LINE.replace("_lottery", ""), "--task translation_lottery"),
        (LINE.replace("-t de", ""), "--source-lang and --target-lang"),
        (LINE.replace("-t de", "-t ../de"), "--source-lang and --target-lang"),
        (LINE.replace("-t de", "-t"), "--source-lang and --target-lang"),
        (f"{LINE} --user-dir /mine", "--user-dir /mine is not fairseq_lottery"),
        (f"{LINE} --user-di mine", "--user-di is .*, such as --user-dir"),
        (f"{LINE} --mask-fro mine", "--mask-fro is abbreviated"),
        (LINE.replace("-s en", "--source-la en"), "--source-la is abbreviated"),
        (f"{LINE} --lr $LR", "a shell interprets"),
        (f"{LINE} --lr 1 > log.txt", "a shell interprets"),
        (f"{LINE} --lr 1; rm -rf x", "a shell interprets"),
        (f"{LINE} --lr 1 && fairseq-generate", "a shell interprets"),
        (f"{LINE} --lr `pwd`", "a shell interprets"),
        (f"{LINE} '--lr`pwd`' 1", "a shell interprets"),
        (f"{LINE} --lr '\x1b[2J'", "cannot be printed"),
        (f"{LINE} --user-dir '\x1b[2J'", "cannot be printed"),
        (f"{LINE} --restore-file x.pt", "--restore-file x.pt is a file"),
        (f"{LINE} --wandb-dir /w", "--wandb-dir /w is a file"),
        (f"{LINE} --lr 'exec(input())'", "is not a plain value"),
        (f"{LINE} --lr '[1'", "is not a plain value"),
        (f"{LINE} --prune-to 0.9 --score mine:score", "--score mine:score is your own code"),
        (f"{LINE} --prune-to 0.9 --pruner mine:Own", "--pruner mine:Own is your own code"),
        (f"{LINE} --prune-t 0.9 --score magnitude", "--prune-t is abbreviated"),
        (f"{LINE} --prune-to 0.9 --score=subwords.x:y", "--score subwords.x:y is your own code"),
        ('{"command": "fairseq-train"}', "record.command is 'fairseq-train'"),
        ('{"seconds": 3}', "is not a record of a stage"),
        ("{", "is not a record of a stage"),
    ],
)
def test_a_command_that_cannot_travel_is_refused(line, sentence):
    with pytest.raises(LotteryError, match=sentence) as refused:
        parse(line)
    assert "\n" not in str(refused.value)


WORDS = st.text(st.sampled_from("aZé7_ .,:=+@%~-"), max_size=8).filter(
    lambda word: not word.startswith("-")
)


@PROPERTY
@given(
    st.lists(
        st.tuples(st.from_regex(r"--x-[a-z]{1,8}", fullmatch=True), st.lists(WORDS, max_size=2)),
        max_size=5,
    )
)
def test_a_packed_command_is_read_as_it_was_written(flags):
    words = [*shlex.split(LINE), *(word for flag, values in flags for word in (flag, *values))]
    command = parse(shlex.join(words))
    assert command.flags == tuple((flag, tuple(values)) for flag, values in flags)
    assert parse(command.text()) == command
    assert parse(command.text()).text() == command.text()


# --- dictionaries and subwords ----------------------------------------------------------------


def with_symbols(packer, folder, source, target):
    """An archive of a ticket with other dictionaries."""
    ticket = replace(load_ticket(packer.ticket), dictionaries=pair_of(source, target))
    save_ticket(folder / "t.safetensors", ticket)
    pack(folder / "t.safetensors", folder / "t.zip", packer.command, overwrite=True)
    return folder / "t.zip"


SYMBOLS = st.lists(
    st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=4)
    | st.sampled_from(["<unk>", "<s>", "madeupword0000", "\u2581the", ""]),
    min_size=1, max_size=8,
)  # fmt: skip


@PROPERTY
@given(SYMBOLS, SYMBOLS)
def test_fairseq_reads_the_tickets_symbols_from_the_packed_dictionaries(
    packer, tmp_path_factory, source, target
):
    Dictionary = pytest.importorskip("fairseq.data").Dictionary
    folder = tmp_path_factory.getbasetemp()
    content = read(with_symbols(packer, folder, tuple(source), tuple(target)))
    for language, symbols in (("en", source), ("de", target)):
        path = folder / f"dict.{language}.txt"
        path.write_bytes(content[path.name])
        found = Dictionary.load(str(path))
        assert found.symbols[found.nspecial :] == symbols


def test_the_datas_dictionaries_are_packed_with_their_counts(packer, tmp_path):
    counted = "".join(f"{symbol} {9 - i}\n" for i, symbol in enumerate(DICTIONARIES["source"]))
    for name in ("dict.en.txt", "dict.de.txt"):
        (tmp_path / name).write_text(counted)
    (tmp_path / "train.en-de.en.idx").touch()
    packer.command.with_name("short.txt").write_text(LINE.replace("-s en -t de", ""))
    options = {"command": packer.folder / "short.txt", "data": tmp_path}
    archive = packer.pack("data.zip", **options)
    assert read(archive)["dict.de.txt"] == counted.encode() != packer.content["dict.de.txt"]
    assert json.loads(read(archive)["record.json"])["languages"]["source"] == "en"
    archive.unlink()
    (tmp_path / "dict.de.txt").write_text(counted.replace("b 8", "x 8"))
    with pytest.raises(LotteryError, match="target dictionary of the data symbol 1 is 'x'"):
        packer.pack("data.zip", **options)
    (tmp_path / "dict.de.txt").unlink()
    with pytest.raises(LotteryError, match="dict.de.txt cannot be read"):
        packer.pack("data.zip", **options)


def test_dictionaries_that_no_file_can_hold_are_refused(packer, tmp_path):
    with pytest.raises(LotteryError, match="symbol 'a.rb'"):
        with_symbols(packer, tmp_path, ("a\rb",), ("c",))
    line = packer.command.read_text().replace("-t de", "-t en")
    (tmp_path / "train.txt").write_text(line)
    save_ticket(
        tmp_path / "t.safetensors",
        replace(load_ticket(packer.ticket), dictionaries=pair_of(("a",), ("b",))),
    )
    with pytest.raises(LotteryError, match="has one dictionary dict.en.txt, but the ticket has t"):
        pack(tmp_path / "t.safetensors", tmp_path / "t.zip", tmp_path / "train.txt")


@pytest.mark.parametrize(
    "files, words",
    [
        ({"spm.model": b"\n\x06pieces", "spm.vocab": b"a\t0\n"}, 'sys.stdin: print(" ".join(model'),
        ({"codes": b"#version: 0.2\ne n\n"}, 'subword-nmt apply-bpe --codes subwords/codes <"raw'),
        ({"codes": b"#version: 0.2\n", "a.model": b"\n\x01a"}, "cut with the files in subwords/"),
        ({}, "this archive has no subword model"),
    ],
)
def test_the_readme_says_how_to_cut_the_text(packer, tmp_path, files, words):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    paths = [tmp_path / name for name in files]
    pack(packer.ticket, tmp_path / "a.zip", packer.command, subwords=paths)
    assert words in read(tmp_path / "a.zip")["README.txt"].decode()
    assert words in unpack(tmp_path / "a.zip", tmp_path / "out")[1]


# --- archives that anybody may have made -------------------------------------------------------


HOSTILE = (
    "../x", "/tmp/x", "a/../../x", "subwords/../x", "subwords/../../x", "subwords/a/b",
    "subwords/", "subwords", "..", ".", "", "C:\\x", "..\\x", "dict.en.txt/x", "dict.fr.txt",
    "subwords/.bashrc", "subwords/x\0y", "sitecustomize.py", "ticket.safetensors/x",
    "manifest.json/x", "dict...txt",
)  # fmt: skip


@PROPERTY
@given(st.sampled_from(HOSTILE) | st.text(max_size=12) | st.from_regex(r"(subwords/|\.\./|/)*\w*"))
def test_no_other_member_is_taken(packer, name):
    if name in MEMBERS or name.startswith("subwords/") and is_member(name):
        return
    try:
        archive = packer.forge({**packer.content, name: b"owned"})
    except (UnicodeEncodeError, ValueError, IndexError):
        return  # zipfile cannot write such a name
    packer.refuse(archive, "is not unpacked: |is not a ticket archive, or corrupted")


@pytest.mark.parametrize("name", MEMBERS[:6] + MEMBERS[7:])
def test_every_member_is_needed(packer, name):
    content = {n: text for n, text in packer.content.items() if n != name}
    if name == "manifest.json":
        write(packer.folder / "forged.zip", content)
    else:
        packer.forge(content)
    packer.refuse(packer.folder / "forged.zip", re.escape(name))


@pytest.mark.parametrize(
    "mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFDIR]
)
def test_links_and_devices_are_refused(packer, mode):
    info = zipfile.ZipInfo("subwords/spm.model")
    info.external_attr = (mode | 0o777) << 16
    content = {name: text for name, text in packer.content.items() if name != info.filename}
    write(packer.folder / "forged.zip", content, [(info, b"/etc/passwd")])
    packer.refuse(packer.folder / "forged.zip", "'subwords/spm.model' is not a regular file")


def test_a_subword_file_of_other_content_is_refused(packer):
    """Nothing else in an archive says what is in it."""
    name = "subwords/spm.model"
    other = packer.content[name].replace(b"pieces", b"poison", 1)
    assert len(other) == len(packer.content[name])
    write(packer.folder / "forged.zip", {**packer.content, name: other})
    packer.refuse(packer.folder / "forged.zip", f"'{name}' is not that of manifest.json")


@pytest.mark.parametrize("name", ["score.py", "x.pth", "spm.so", "codes"])
def test_a_member_that_is_not_a_subword_file_is_refused(packer, name):
    """With the current folder on the path, ``--score subwords.score:function`` would import it."""
    record = json.loads(packer.content["record.json"])
    record["subwords"] = sorted([*record["subwords"], name])
    text = json.dumps(record).encode()
    packer.forge(**{"record.json": text, f"subwords/{name}": b"import os\nos.mkdir('canary')\n"})
    packer.refuse(packer.folder / "forged.zip", f"subwords/{name} is not a subword file")


@pytest.mark.parametrize("name", ["record.json", "Record.JSON", "manifest.json"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(packer, name):
    write(packer.folder / "forged.zip", packer.content, [(name, b"{}")])
    packer.refuse(packer.folder / "forged.zip", f"member '{name}' is repeated")


def test_a_bomb_is_refused_before_it_is_read(packer):
    packer.forge(**{"ticket.safetensors": bytes(50_000_000)})
    packer.refuse(packer.folder / "forged.zip", "from 4.... to 50000000 bytes")
    packer.forge(**{"ticket.safetensors": bytes(LARGEST_RATIO)})
    packer.refuse(packer.folder / "forged.zip", "ticket.safetensors is malformed")


def test_members_that_share_their_bytes_are_refused(packer):
    raw = bytearray(packer.archive.read_bytes())
    start = raw.rfind(b"ticket.safetensors") - 46  # its entry in the index
    assert raw[start : start + 4] == b"PK\x01\x02"
    raw[start + 20 : start + 24] = struct.pack("<I", len(raw))
    (packer.folder / "forged.zip").write_bytes(raw)
    packer.refuse(packer.folder / "forged.zip", "members overlap")


@pytest.mark.parametrize(
    "name, size",
    [("command.txt", 1 << 20), ("README.txt", 1 << 20), ("record.json", 1 << 24),
     ("dict.en.txt", 1 << 24), ("subwords/spm.model", 1 << 24)],
)  # fmt: skip
def test_a_member_that_is_larger_than_any_is_refused_before_it_is_read(packer, name, size):
    content = {**packer.content, name: bytes(size + 1)}
    del content["manifest.json"]
    with zipfile.ZipFile(packer.folder / "forged.zip", "w") as file:  # not compressed: no bomb
        file.writestr("manifest.json", write_manifest(content))
        for member, text in content.items():
            file.writestr(member, text)
    packer.refuse(packer.folder / "forged.zip", f"{name}' has {size + 1} bytes, .* {size}")


def test_a_directory_that_is_larger_than_any_is_refused(packer):
    content = {**packer.content, **{f"{number:0200}": b"" for number in range(300)}}
    packer.refuse(write(packer.folder / "forged.zip", content), "its directory has 7.... bytes, mo")


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda rows: rows["members"]["dict.en.txt"].update(bytes=31), "has 32 bytes, expected 31"),
        (lambda rows: rows.update(format=2), "its format is 2, expected 1"),
        (lambda rows: rows.update(pad=os.urandom(600_000).hex()), "exceeds a megabyte"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(packer, change, sentence):
    rows = json.loads(packer.content["manifest.json"])
    change(rows)
    content = {**packer.content, "manifest.json": json.dumps(rows)}
    packer.refuse(write(packer.folder / "forged.zip", content), sentence)


def test_an_encrypted_member_is_refused(packer):
    raw = bytearray(packer.archive.read_bytes())
    for magic, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        raw[raw.find(magic) + offset] |= 1
    (packer.folder / "forged.zip").write_bytes(raw)
    packer.refuse(packer.folder / "forged.zip", "corrupted .*is encrypted")


def test_other_methods_of_compression_are_refused(packer):
    with zipfile.ZipFile(packer.folder / "forged.zip", "w", zipfile.ZIP_LZMA) as file:
        for name, text in packer.content.items():
            file.writestr(name, text)
    packer.refuse(packer.folder / "forged.zip", "has compression 14")


@PROPERTY
@given(st.sampled_from(MEMBERS), st.integers(-9, 9) | st.integers(-(2**32), 2**32))
def test_a_member_is_never_larger_or_smaller_than_it_declares(packer, name, more):
    """Its size changed in the archive's index and before its bytes, and in the manifest."""
    size = len(packer.content[name]) + more
    if not more or not 0 <= size < 2**32 - 1:
        return
    content = dict(packer.content)
    rows = json.loads(content["manifest.json"])
    if name != "manifest.json":
        rows["members"][name]["bytes"] = size
        content["manifest.json"] = json.dumps(rows).encode()
    path = write(packer.folder / "forged.zip", content)
    raw = bytearray(path.read_bytes())
    for magic, offset, at in ((b"PK\x01\x02", 24, 46), (b"PK\x03\x04", 22, 30)):
        start = raw.find(magic)
        while raw[start + at : start + at + len(name)] != name.encode():
            start = raw.find(magic, start + 4)
        raw[start + offset : start + offset + 4] = struct.pack("<I", size)
    path.write_bytes(raw)
    packer.refuse(path, "is not unpacked: |is not a ticket archive, or corrupted")


@PROPERTY
@given(data=st.data(), change=st.integers(1, 255))
def test_a_changed_byte_is_refused_or_changes_nothing(packer, tmp_path_factory, data, change):
    content = packer.archive.read_bytes()
    position = data.draw(st.integers(0, len(content) - 1))
    path, out = packer.folder / "forged.zip", tmp_path_factory.mktemp("changed") / "out"
    path.write_bytes(
        content[:position] + bytes([content[position] ^ change]) + content[position + 1 :]
    )
    try:
        unpack(path, out)
    except LotteryError:
        assert not list(out.parent.iterdir())
        return
    found = {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert found == {n: text for n, text in packer.content.items() if n != "manifest.json"}


@PROPERTY
@given(st.data())
def test_what_is_cut_short_or_no_archive_is_refused(packer, data):
    content = packer.archive.read_bytes()
    cut = data.draw(st.integers(0, len(content) - 1))
    pieces = st.sampled_from([content[:cut], content[cut + 1 :]]) | st.binary(max_size=200)
    (packer.folder / "forged.zip").write_bytes(data.draw(pieces))
    packer.refuse(packer.folder / "forged.zip", "forged.zip")


KEYS = st.sampled_from(["format", "members", "bytes", "sha256", "ticket.safetensors"])
JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner),
)


@PROPERTY
@given(JSON)
def test_a_malformed_manifest_is_one_sentence(value):
    with pytest.raises(LotteryError, match="manifest.json is malformed|its format is"):
        rows = read_manifest(json.dumps(value).encode())
        assert rows == {} and value["format"] == 1, "an empty list of members is well-formed"
        raise LotteryError("its format is right")


@pytest.mark.parametrize(
    "name, change, sentence",
    [
        ("command.txt", lambda text: text + b"rm -rf ~\n", "the file has 2"),
        ("command.txt", lambda text: text.replace(b"7e-4", b"7e-4;ls"), "a shell interprets"),
        ("command.txt", lambda text: text.replace(b"7e-4", b"'exec(1)'"), "is not a plain value"),
        ("command.txt", lambda text: text.replace(b"--lr 7e-4", b"--prune-to 0.9 --score x:y"),
         "--score x:y is your own code"),
        ("command.txt", lambda text: text.replace(b"data-bin", b"/data"), "command.txt does not"),
        ("command.txt", lambda text: text.replace(b'"$(fairseq-lottery user-dir)"', b"subwords"),
         "--user-dir subwords is not fairseq_lottery"),
        ("command.txt", lambda text: text.replace(b" en", b" fr"), "member .dict.en.txt"),
        ("command.txt", lambda text: b"\xff", "corrupted"),
        ("dict.en.txt", lambda text: text.replace(b"a 1", b"x 1"), "the dictionaries are not"),
        ("dict.en.txt", lambda text: b"\xff", "the dictionary dict.en.txt cannot be read"),
        ("record.json", lambda text: text.replace(b'"seed": 1', b'"seed": 2'), "record.json does"),
        ("record.json", lambda text: b"[]", "record.json does not match"),
        ("record.json", lambda text: text.replace(b'"spm.model"', b'"bpe"'), "record.json does"),
        ("README.txt", lambda text: text + b"\x1b[2J", "README.txt has characters"),
        ("record.json", lambda text: b"{", "corrupted"),
        ("record.json", lambda text: b"[" * 100_000, "expands|corrupted"),
        ("ticket.safetensors", lambda text: text[:-1], "ticket.safetensors is malformed"),
    ],
)  # fmt: skip
def test_members_that_do_not_fit_each_other_are_refused(packer, name, change, sentence):
    packer.forge(**{name: change(packer.content[name])})
    packer.refuse(packer.folder / "forged.zip", sentence)


def test_another_ticket_is_refused(packer, tmp_path):
    other = load_ticket(packer.ticket)
    other.values["encoder.layers.0.fc1.bias"][0] += 1
    save_ticket(tmp_path / "other.safetensors", other)
    packer.forge(**{"ticket.safetensors": (tmp_path / "other.safetensors").read_bytes()})
    packer.refuse(packer.folder / "forged.zip", "record.json does not match the ticket")


@pytest.mark.parametrize("record", [{}, {"signature": 3}, {"signature": "a\x1b[2J"}])
def test_a_ticket_without_a_signature_that_can_be_shown_is_refused(packer, tmp_path, record):
    ticket = replace(load_ticket(packer.ticket), record={"clock": "restart", **record})
    save_ticket(tmp_path / "t.safetensors", ticket)
    with pytest.raises(LotteryError, match="has no signature|signature is 3|'a.*x1b"):
        pack(tmp_path / "t.safetensors", tmp_path / "t.zip", packer.command)


def test_the_target_is_a_new_folder(packer, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for name, sentence in (
        ("file", "exists but is not a folder"),
        ("full", "full is not empty"),
        ("link", "exists but is not a folder"),
        ("a/b", "a does not exist; create it first"),
    ):
        with pytest.raises(LotteryError, match=sentence):
            unpack(packer.archive, tmp_path / name)
    assert (tmp_path / "full" / "mine").read_text() == (tmp_path / "file").read_text() == "mine"
    unpack(packer.archive, tmp_path / "empty")
    assert (tmp_path / "empty" / "ticket.safetensors").is_file()
    with pytest.raises(LotteryError, match="there is no file .*gone.zip"):
        unpack(tmp_path / "gone.zip", tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "empty", "full", "link"}


def test_an_interruption_leaves_nothing(packer, tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        unpack(packer.archive, tmp_path / "out")
    assert not list(tmp_path.iterdir())


# --- training elsewhere -----------------------------------------------------------------------


@pytest.mark.slow
def test_an_unpacked_ticket_trains_as_the_original(toy, dense, tmp_path):
    from toy import PACKAGE, call, drawing, same, write_text

    from fairseq_lottery.formats import read_source

    extra = ("--snapshot-updates", "1,2,5")
    drawn = toy.arguments("original", *drawing(dense, 0.8), *extra, updates=5)
    (tmp_path / "train.txt").write_text(shlex.join(["fairseq-train", *map(str, drawn)]))
    toy.train("original", *drawing(dense, 0.8), *extra, updates=5).ok()
    ticket = toy.path("original", "ticket.safetensors")
    pack(ticket, tmp_path / "slt.zip", tmp_path / "train.txt")
    clean = tmp_path / "clean"
    _, steps = unpack(tmp_path / "slt.zip", clean)
    (clean / "text").mkdir()
    write_text(clean / "text")

    steps = steps.replace("\\\n", " ").replace("$(fairseq-lottery user-dir)", str(PACKAGE))
    preprocess, train = (shlex.split(x) for x in steps.splitlines() if x.startswith("fairseq-"))
    assert (preprocess.pop(0), train.pop(0)) == ("fairseq-preprocess", "fairseq-train")
    call("fairseq_cli.preprocess", preprocess, clean).ok()
    for name in ("dict.en.txt", "dict.de.txt"):
        assert (clean / "data-bin" / name).read_bytes() == (clean / name).read_bytes()
    call("fairseq_cli.train", train, clean).ok()

    def weights(folder, update):
        return read_source(Path(folder) / f"snapshot_{update}.safetensors").weights

    for update in (1, 2, 5):
        assert same(weights(clean / "checkpoints", update), weights(toy.path("original"), update))
    start = load_ticket(ticket).values
    assert not same(weights(clean / "checkpoints", 2), start), (
        "warm-up ends the first at a rate of 0"
    )
