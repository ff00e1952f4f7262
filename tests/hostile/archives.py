"""Bad packed archives: ZIPs of a ticket with its command and dictionaries."""

import hashlib
import io
import json
import os
import stat
import struct
import zipfile

from hostile.damage import cuts, flips, garbage, places, written

NAME = "packed.zip"
HUGE = (2**31, 2**32 - 2, 2**32 - 1)


def zipped(content, method=zipfile.ZIP_DEFLATED, comment=b""):
    """An archive of pairs of a name (or an entry) and its bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.comment = comment
        for name, text in content:
            archive.writestr(name, text)
    return file.getvalue()


class Good:
    """A whole archive and its members."""

    def __init__(self, path):
        self.bytes = path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            self.members = archive.infolist()
            self.content = {info.filename: archive.read(info) for info in self.members}

    def forged(self, method=zipfile.ZIP_DEFLATED, **changes):
        """Other members under a manifest that fits them; None takes one away."""
        content = {**self.content, **{k.replace("__", "."): v for k, v in changes.items()}}
        del content["manifest.json"]
        content = {name: text for name, text in content.items() if text is not None}
        rows = {
            name: {"bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}
            for name, text in content.items()
        }
        return self.listed({"format": 1, "members": rows}, content, method)

    def listed(self, manifest, content=None, method=zipfile.ZIP_DEFLATED):
        """Members under any manifest: a value, or bytes as they are."""
        text = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
        content = dict(self.content if content is None else content)
        content.pop("manifest.json", None)
        return written(zipped([("manifest.json", text), *content.items()], method), NAME)

    def patched(self, which, offset, value, size=4):
        """A field of every directory entry, of every local header, or of the end record."""
        raw = bytearray(self.bytes)
        at = raw.find(which)
        while at >= 0:
            raw[at + offset : at + offset + size] = value.to_bytes(size, "little")
            at = raw.find(which, at + 4)
        return written(bytes(raw), NAME)


def structural(good):
    data = good.bytes
    directory = struct.unpack("<I", data[-6:-2])[0]
    starts = [info.header_offset for info in good.members]
    boundaries = [0, 4, *starts[1:], starts[1] + 30, directory, directory + 46, len(data) - 22]
    regions = {
        "first local header": (0, 30), "members": (30, directory),
        "directory": (directory, len(data) - 22), "end record": (len(data) - 22, len(data)),
    }  # fmt: skip
    found = cuts(data, [*boundaries, len(data)], NAME) | flips(data, regions, NAME, each=15)
    found |= garbage(data, NAME) | places(NAME)
    found["a ZIP in another"] = written(b"x" * 100 + data, NAME)
    found["a byte more"] = written(data + b"\0", NAME)
    entry, local, end = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"
    for value in HUGE:
        found[f"entries of {value} bytes"] = good.patched(entry, 24, value)
        found[f"entries that take {value} bytes"] = good.patched(entry, 20, value)
        found[f"entries at {value}"] = good.patched(entry, 42, value)
        found[f"a directory at {value}"] = good.patched(end, 16, value)
        found[f"a directory of {value} bytes"] = good.patched(end, 12, value)
    found["65535 entries"] = good.patched(end, 10, 2**16 - 1, 2)
    found["a comment of 65535 bytes"] = good.patched(end, 20, 2**16 - 1, 2)
    found["names of 65535 bytes"] = good.patched(entry, 28, 2**16 - 1, 2)
    found["names of 65535 bytes before the members"] = good.patched(local, 26, 2**16 - 1, 2)
    found["extras of 65535 bytes"] = good.patched(entry, 30, 2**16 - 1, 2)
    found["everything encrypted"] = good.patched(entry, 8, 1, 2)
    for method in (1, 9, 12, 14, 99):
        found[f"compressed by method {method}"] = good.patched(entry, 10, method, 2)
    return found | large(good)


def large(good):
    """The fields that a ZIP of more than 4 GB has."""
    directory = struct.unpack("<I", good.bytes[-6:-2])[0]
    found = {}
    for what, size, offset, entries in (
        ("of 8 EB", 2**63 - 1, directory, 8), ("at 8 EB", 400, 2**63 - 1, 8),
        ("at 16 EB", 400, 2**64 - 1, 8), ("of 16 EB", 2**64 - 1, 0, 8),
        ("of 2 GB", 2**31, 0, 8), ("of billions of entries", 400, directory, 2**63),
    ):  # fmt: skip
        start = len(good.bytes) - 22
        record = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, entries, entries, size,
        offset)
        locator = struct.pack("<IIQI", 0x07064B50, 0, start, 1)
        end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0)
        found[f"a large directory {what}"] = written(good.bytes[:start] + record + locator + end,
        NAME)
    for size in (2**40, 2**63 - 1, 2**64 - 1):
        info = zipfile.ZipInfo("subwords/spm.model")
        info.extra = struct.pack("<HHQQ", 1, 16, size, size)
        found[f"a member of {size} bytes in its extras"] = written(
            zipped([(n, t) for n, t in good.content.items() if n != info.filename] + [(info,
            b"x")]),
            NAME,
        )
    return found


def names(good):
    """Members that an archive of a ticket does not have."""
    found = {}
    for name in (
        "../evil", "../../../../../../tmp/evil", "/tmp/evil", "subwords/../../evil", "..", ".",
        "a/",
        "subwords/.hidden", "C:\\evil", "..\\evil", "CON", "evil\n", "\x1b[2J", "a" * 5000,
        "dict.en.txt/x",
        "ticket.safetensors/x", "README.txt ", "readme.txt", "TICKET.SAFETENSORS", "Manifest.json",
        "sitecustomize.py", ".bashrc", "conftest.py", "subwords/" + "a" * 65, "subwords/a/b",
        "dict.../../x.txt", "\u202egpj.exe", "command.txt\0.zip",
    ):  # fmt: skip
        found[f"a member {name[:40]!r}"] = good.forged(**{name: b"evil"})
    for name in good.content:
        if name != "manifest.json":
            found[f"without {name}"] = good.forged(**{name: None})
        if name != "manifest.json" and not name.startswith("subwords/"):  # which may be anything
            found[f"a {name} of noise"] = good.forged(**{name: b"\xff\x1b" + os.urandom(500)})
        if name not in ("manifest.json", "README.txt") and not name.startswith("subwords/"):
            found[f"an empty {name}"] = good.forged(**{name: b""})
    found["without its manifest"] = written(
        zipped([(n, t) for n, t in good.content.items() if n != "manifest.json"]), NAME
    )
    for kind in ("LNK", "CHR", "BLK", "IFO", "SOCK", "DIR"):
        info = zipfile.ZipInfo("subwords/spm.model")
        info.external_attr = (getattr(stat, f"S_IF{kind}" if kind != "IFO"
        else "S_IFIFO") | 0o777) << 16
        rest = [(n, t) for n, t in good.content.items() if n != info.filename]
        found[f"a member of the kind {kind}"] = written(zipped([*rest, (info, b"/etc/passwd")]),
        NAME)
    found["a bomb"] = good.forged(ticket__safetensors=bytes(64 << 20))
    found["a bomb of text"] = good.forged(command__txt=b"x " * (8 << 20))
    return found


def manifests(good):
    rows = json.loads(good.content["manifest.json"])
    name = "ticket.safetensors"
    found = {}
    for key in ("format", "members"):
        for value in (None, True, 2, "1", [], {}, [[]], {"x": 1}, 1.5):
            found[f"{key} {value!r}"] = good.listed({**rows, key: value})
        found[f"no {key}"] = good.listed({k: v for k, v in rows.items() if k != key})
    for key in ("bytes", "sha256"):
        for value in (None, True, -1, 2**63, "x", [], 1.5, 0, "0" * 64, "A" * 64):
            row = {**rows["members"][name], key: value}
            changed = {**rows, "members": {**rows["members"], name: row}}
            found[f"{key} {value!r}"] = good.listed(changed)
    text = json.dumps(rows)
    for what, other in {
        "nested deeply": "[" * 10**5, "a name twice": text[:-1] + ', "members": {}}',
        "no JSON": text[:-1],
        "a list": "[]", "empty": "", "NaN": text.replace('"format": 1', '"format": NaN'),
        "a member twice": text.replace('"command.txt"', f'"{name}": {{}}, "command.txt"', 1),
        "a member more": text.replace('"members": {',
        '"members": {"x": {"bytes": 1, "sha256": ""}, '),
        "half a character": text.replace('"command.txt"', '"\\ud800"', 1),
    }.items():  # fmt: skip
        found[f"a manifest: {what}"] = good.listed(other.encode())
    found["a manifest: no UTF-8"] = good.listed(b"\xff\xfe" + text.encode())
    return found


def contents(good):
    """Members that are as their manifest says, and bad in themselves."""
    command, record = good.content["command.txt"], json.loads(good.content["record.json"])
    found = {}
    for what, text in {
        "another command": b"rm -rf ~\n", "two": command + b"rm -rf ~\n", "no UTF-8": b"\xff" * 99,
        "a shell": command.replace(b"7e-4", b"7e-4;ls"), "a variable": command.replace(b"7e-4",
        b"$HOME"),
        "a call": command.replace(b"7e-4", b"'__import__(1)'"), "a file": command.replace(b"7e-4",
        b"/x"),
        "another plugin": command.replace(b"$(fairseq-lottery user-dir)", b"subwords"),
        "a language that leads out": command.replace(b"--source-lang en", b"--source-lang ../en"),
        "a quote": command + b"'", "an escape": command.replace(b"7e-4", b"'\x1b[2J'"),
        "a null byte": command.replace(b"7e-4", b"7e-4\0"), "an expansion": command.replace(
        b"7e-4", b"`ls`"),
    }.items():  # fmt: skip
        found[f"a command: {what}"] = good.forged(command__txt=text)
    for what, value in {
        "another digest": {**record, "digest": "0" * 64}, "a list": [], "nothing": None,
        "another signature": {**record, "signature": "x"}, "no ticket": {**record, "ticket": {}},
    }.items():  # fmt: skip
        found[f"a record: {what}"] = good.forged(record__json=json.dumps(value).encode())
    text = good.content["record.json"]
    twice = text.replace(b'"digest"', b'"digest": "x", "digest"', 1)
    for what, other in {"twice": twice, "deep": b"[" * 2000, "no UTF-8": b"\xff", "no JSON": text[
    :-5]}.items():
        found[f"a record: {what}"] = good.forged(record__json=other)
    ticket = good.content["ticket.safetensors"]
    for at in range(0, len(ticket), len(ticket) // 12):
        found[f"a ticket cut at {at}"] = good.forged(ticket__safetensors=ticket[:at])
        corrupted = bytearray(ticket)
        corrupted[at] ^= 1
        found[f"a ticket changed at {at}"] = good.forged(ticket__safetensors=bytes(corrupted))
    for what, text in {"other symbols": b"x 1\ny 1\n", "no UTF-8": b"\xff\n",
    "no counts": b"a\nb\n",
                       "empty": b"", "spaces": b" \n" * 9}.items():  # fmt: skip
        found[f"a dictionary: {what}"] = good.forged(dict__en__txt=text)
    return found


def all_of(path):
    """Every bad archive that one good one makes."""
    good = Good(path)
    found = structural(good) | names(good) | manifests(good) | contents(good)
    return found
