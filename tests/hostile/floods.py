"""Small files that stand for much memory: JSON, lines, names and pickles, at and beyond each limit.

An input is made in the child that reads it: together they are larger than its memory.
"""

import io
import json
import os
import struct
import zipfile

import torch
from hostile import runs
from hostile.damage import written

MEGABYTE = 1 << 20
#: just what readers of JSON take, and readers of pickles
PARTS, OPERATIONS = 1 << 20, 1 << 20

#: parts of JSON that take much memory each, and how many commas and brackets they have
ITEMS = {
    "empty lists": ("[],", 2), "empty mappings": ("{},", 2), "mappings of one": ('{"":0},', 2),
    "numbers": ("1234567890,", 1), "fractions": ("1.5,", 1), "texts": ('"ab",', 1),
}  # fmt: skip
#: those that take most
HEAVY = ("mappings of one", "lists beyond the limit", "wide text")


def texts(size):
    """Makers of JSON of up to so many bytes."""

    def items(item, most):
        return "[" + item * min((size - 4) // len(item), most) + "1]"

    found = {what: lambda i=item, n=parts: items(i, (PARTS - 9) // n)
             for what, (item, parts) in ITEMS.items()}  # fmt: skip
    found["lists beyond the limit"] = lambda: items("[],", size)
    found["names"] = lambda: "{" + ",".join(f'"{n}":0' for n in range(size // 20)) + "}"
    found["wide text"] = lambda: '["\U0001f600' + "x" * (size - 10) + '"]'
    found["half characters"] = lambda: '["' + "\\ud83d\\ude00" * (size // 12 - 2) + '"]'
    found["depth"] = lambda: "[" * 900 + "]" * 900
    return found


def heavy(size):
    """The texts of these that take most memory."""
    return {what: text for what, text in texts(size).items() if what in HEAVY}


def lines(size):
    """Makers of texts of as many lines as possible: each may come to be an object of its own."""
    return {
        "empty lines": lambda: "\n" * size,
        "short lines": lambda: "ab\n" * (size // 3),
        "wide lines": lambda: "\U0001f600\n" * (size // 5),
    }


def lazily(make):
    """The input that ``make`` gives when it is asked for."""
    return lambda folder: make()(folder)


def headers(good):
    """Containers with a large header, or a large record in it."""
    found = {"a header of 99 MB": lazily(lambda: good.raw(_header(33 * MEGABYTE)))}
    for what, text in heavy(8 * MEGABYTE - 100).items():
        found[f"a header of {what}"] = lazily(
            lambda t=text: good.raw(f'{{"__metadata__":{t()}}}'.encode())
        )
    for what, text in heavy(3 * MEGABYTE).items():
        found[f"a record of {what}"] = lazily(
            lambda t=text: good.headed(f'{{"version":1,"record":{t()}}}')
        )
    found["a hundred thousand tensors"] = lazily(lambda: _many_tensors(good))
    return found


def _header(lists):
    return b'{"x":[' + b"[]," * lists + b"1]}"


def _many_tensors(good):
    entry = '"{}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
    rows = ",".join(entry.format(number) for number in range(120_000))
    ours = json.dumps(good.outer["__metadata__"])
    return good.raw(f'{{"__metadata__":{ours},{rows}}}'.encode(), data=b"")


def dictionaries(good):
    """Tickets with dictionaries as large as any, and larger."""

    def make(text, size):
        content = bytearray(text().encode()[:size])
        symbols = torch.frombuffer(content, dtype=torch.uint8)
        both = {"dictionary/source": symbols, "dictionary/target": symbols[:-5].clone()}
        return good.signed({**good.tensors, **both})

    return {
        f"dictionaries of {size} MB of {what}": lazily(
            lambda t=text, n=size: make(t, n * MEGABYTE)
        )
        for size in (4, 40)
        for what, text in lines(size * MEGABYTE + 9).items()
    }


def archives(good):
    """Archives whose members have as many bytes as they may, or more; stored, so no bombs."""
    members = {"record__json": 15, "README__txt": 1, "dict__en__txt": 16}
    found = {}
    for member, size in members.items():
        json_texts = heavy(size * MEGABYTE - 9) if member == "record__json" else {}
        for what, text in {**json_texts, **lines(size * MEGABYTE - 9)}.items():
            found[f"{member} of {what}"] = lambda m=member, t=text: {m: t().encode()}
    found["two dictionaries"] = lambda: {
        name: b"ab 1\n" * (3 * MEGABYTE) for name in ("dict__en__txt", "dict__de__txt")
    }
    found["a command"] = lambda: {"command__txt": b"fairseq-train x" + b" -x" * 30_000}
    found["merges"] = lambda: {"subwords/codes": b"a b\n" * (4 * MEGABYTE - 9)}
    found["a model"] = lambda: {"subwords/x.model": b"\n\0" * (8 * MEGABYTE - 9)}
    made = {
        name: lazily(lambda c=changes: good.forged(method=zipfile.ZIP_STORED, **c()))
        for name, changes in found.items()
    }
    for what, text in heavy(MEGABYTE - 9).items():
        made[f"a manifest of {what}"] = lazily(
            lambda t=text: good.listed(t().encode(), method=zipfile.ZIP_STORED)
        )
    made["a ticket with a header of 99 MB in 1.1 MB"] = lazily(
        lambda: good.forged(ticket__safetensors=_ticket())
    )
    made["twenty thousand members"] = lazily(_many_members)
    return made


def _ticket():
    """A ticket that shrinks to a little more than a hundredth."""
    header = _header(33 * MEGABYTE)
    return struct.pack("<Q", len(header)) + header + os.urandom(MEGABYTE)


def _many_members():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for number in range(20_000):
            file.writestr(f"{number}", b"")
    return written(content.getvalue(), "packed.zip")


#: what a pickle does to make a value, and how many operations it takes; of values that are made
#: alike, those that take most memory
_VALUES = {
    "lists": (b"]", 1), "mappings": (b"}", 1), "sets": (b"\x8f", 1), "marks": (b"(", 1),
    "texts": (b"X\2\0\0\0ab", 1), "tuples": (b"]\x85", 2), "ordered mappings": (b"h\0)R", 3),
    "namespaces": (b"h\1)R", 3), "memos": (b"]r\0\0\0\xff", 2),
}  # fmt: skip
_START = b"\x80\x02ccollections\nOrderedDict\nq\0cargparse\nNamespace\nq\1("


def pickles(data):
    """Checkpoints whose pickle has millions of operations, or megabytes of text.

    Args:
        data: a good checkpoint, whose pickle is replaced.
    """

    def with_pickle(text):
        out = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(out, "w") as after:
            for info in before.infolist():
                is_pickle = info.filename.endswith("data.pkl")
                after.writestr(info.filename, text if is_pickle else before.read(info))
        return written(out.getvalue(), "checkpoint.pt")

    def old(text):
        return written(text, "checkpoint.pt")

    def wide(size):
        text = ("\U0001f600" + "x" * (size * MEGABYTE)).encode()
        return b"\x80\x02X" + struct.pack("<I", len(text)) + text + b"."

    def many(place="data"):
        content = io.BytesIO(data)
        with zipfile.ZipFile(content, "a") as file:
            folder = file.namelist()[0].split("/")[0]
            for number in range(50_000):
                file.writestr(f"{folder}/{place}/x{number:0300}", b"")
        return written(content.getvalue(), "checkpoint.pt")

    found = {"a directory of 17 MB": many}
    for form, make in (("", with_pickle), (" in the old format", old)):
        found[f"12 million operations{form}"] = lambda m=make: m(
            _START + b"]" * (12 * MEGABYTE) + b"l."
        )
        for size in (15, 40):
            found[f"a text of {size} MB{form}"] = lambda m=make, n=size: m(wide(n))
    for what, (value, count) in _VALUES.items():
        times = (OPERATIONS - 20) // count
        found[f"a million operations for {what}"] = lambda v=value, n=times: with_pickle(
            _START + v * n + b"l."
        )
    return {name: lazily(make) for name, make in found.items()}


def workflows(name):
    """Run folders with one file that is large."""
    size = {"records.jsonl": 32, "seed1/slt/best/scores.jsonl": 4}.get(name, 16) * MEGABYTE - 9
    makers = {**heavy(size), **lines(size)}
    return {
        f"{name} of {what}": lambda folder, t=text: runs.folder_with(**{name: t()})(folder)
        for what, text in makers.items()
    }


def jsons(makers, name="choice.json"):
    """Files of nothing but JSON."""
    return {
        f"a file of {what}": lambda folder, t=text: written(t().encode(), name)(folder)
        for what, text in makers(16 * MEGABYTE - 9).items()
    }
