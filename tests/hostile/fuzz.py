"""Tickets, snapshots and compact files changed at random: ``make fuzz SECONDS=600``.

Many changes are to the bytes. The others know the format: they change a header, a compact file's
layout or one of its streams, or a record or a tensor, and most of these two are signed again, so
that what checks the sense of a file is reached. What is not refused in one sentence has to be
equal to the good file or, where it was signed again, a whole file of its own. An input that fails
is kept, and read again with ``--replay FILE``.
"""

import argparse
import copy
import json
import random
import struct
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from hostile import compacts, containers, watch
from hostile.damage import written
from safetensors.torch import save
from small import Run, full_mask, save_snapshot_of, weights

from fairseq_lottery.formats import container, save_ticket
from fairseq_lottery.formats.source import read_source
from fairseq_lottery.tickets.inspection import inspect_file

BATCH = 200
NUMBERS = (0, 1, -1, 2, 7, 255, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63))
STRANGE = (*NUMBERS, 0.5, float("nan"), float("inf"), True, None, "", "x", "\0", "../x", "\ud800",
[], {}, [[]],
           ["x"], {"": 0}, "F32", "U8", "F8_E4M3", [2**40, 2**40], [0], [-1])  # fmt: skip
DTYPES = (torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.int8,
          torch.bool, torch.complex64, torch.float8_e5m2)  # fmt: skip


def read(path):
    """All that is read of a ticket or snapshot, and that it can be shown."""
    described = {**inspect_file(path), "file": "", "bytes": 0}
    return read_source(path).digest() + json.dumps(described)


class Fuzzer:
    """Changes one good file; the same seed gives the same changes."""

    def __init__(self, path, seed):
        self.good, self.chance = containers.Good(path), random.Random(seed)

    def change(self):
        """Bytes, and whether they were signed again: then they may be another whole file."""
        kinds = (self.bytes, self.bytes, self.header, self.record, self.tensor)
        if self.good.compact:
            kinds = (self.bytes, self.header, self.record, self.tensor)
            kinds += (self.stream, self.stream, self.layout, self.layout)
        return self.chance.choice(kinds)()

    def bytes(self):
        """Some bytes changed, cut out, put in, or put elsewhere."""
        # the header is the smaller part, and the one with more to get wrong
        return self._corrupted(self.good.bytes, 8 + self.good.length), False

    def stream(self):
        """A stream corrupted, the others and the digest as they were."""
        name = self.chance.choice(sorted(self.good.stored))
        data = self.good.stored[name].numpy().tobytes()
        return self._with_streams(**{name: containers.stream(self._corrupted(data))}), False

    def layout(self):
        """Another layout of the same streams."""
        changed = containers.unpacked(self.good.stored["layout"])
        for _ in range(self.chance.choice((1, 1, 2))):
            self._mutate(changed)
        return self._with_streams(layout=containers.packed(changed)), False

    def _with_streams(self, **changes):
        streams = {name: one.clone() for name, one in {**self.good.stored, **changes}.items()}
        return save(streams, {containers.KEY: json.dumps(self.good.header)})

    def _corrupted(self, content, likely=0):
        """The content with changes, seven of ten of them among its ``likely`` first bytes."""
        data, chance = bytearray(content), self.chance
        for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
            end = likely if likely and chance.random() < 0.7 else len(data)
            at = chance.randrange(max(min(end, len(data)), 1))
            size = chance.choice((1, 1, 2, 8, 64))
            what = chance.randrange(6)
            if what == 0:
                data[at : at + 1] = bytes(b ^ 1 << chance.randrange(8) for b in data[at : at + 1])
            elif what == 1:
                data[at : at + size] = chance.randbytes(size)
            elif what == 2:
                del data[at : at + size]
            elif what == 3:
                data[at:at] = chance.randbytes(size)
            elif what == 4:
                data[at:at] = data[at : at + size]
            else:
                value = chance.choice(NUMBERS) % 2**64
                data[at : at + 8] = struct.pack("<Q", value)
        return bytes(data[: chance.randrange(len(data) + 1)] if chance.random() < 0.1 else data)

    def header(self):
        """Another header of safetensors; nothing of ours is signed again."""
        outer = json.loads(json.dumps(self.good.outer))
        for _ in range(self.chance.choice((1, 1, 2))):
            self._mutate(outer)
        text = json.dumps(outer)
        if self.chance.random() < 0.2:  # a name twice
            name = self.chance.choice(list(self.good.outer))
            text = text[:-1] + f", {json.dumps(name)}: {json.dumps(self.good.outer[name])}}}"
        header = text.encode("utf-8", "replace")
        return struct.pack("<Q", len(header)) + header + self.good.data, False

    def record(self):
        """Another record, mostly signed again."""
        record = json.loads(json.dumps(self.good.record))
        for _ in range(self.chance.choice((1, 1, 2))):
            self._mutate(record)
        return self._signed(self.good.tensors, record)

    def tensor(self):
        """Another tensor, name or type, mostly signed again."""
        tensors, chance = dict(self.good.tensors), self.chance
        for _ in range(chance.choice((1, 1, 2))):
            name = chance.choice(sorted(tensors))
            tensor = tensors[name]
            what = chance.randrange(8)
            if what == 0:
                tensors[name] = tensor.to(chance.choice(DTYPES))
            elif what == 1:
                tensors[name] = tensor.reshape(chance.choice(((-1,), (1, -1), (-1, 1))))
            elif what == 2:
                tensors[name] = tensor.reshape(-1)[: chance.randrange(tensor.numel() + 1)]
            elif what == 3:
                tensors[chance.choice((f"{name}x", "mask/x", "x/y", "values/",
                f"moments/{name}"))] = tensor
            elif what == 4:
                del tensors[name]
            elif what == 5:
                other = chance.choice(sorted(tensors))
                tensors[name], tensors[other] = tensors[other], tensor
            elif tensor.numel():
                raw = bytearray(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
                raw[chance.randrange(len(raw))] = chance.randrange(256)
                flat = torch.frombuffer(raw, dtype=torch.uint8).view(tensor.dtype)
                tensors[name] = flat.reshape(tensor.shape)
            if not tensors:
                break
        return self._signed(tensors, self.good.record)

    def _signed(self, tensors, record):
        content = self.good.coded(tensors, record)
        if content is None:  # no compact file could have it
            return self.bytes()
        header = {**self.good.header, **({} if self.good.compact else {"record": record})}
        signed = self.chance.random() < 0.9
        try:
            digest = container.digest(tensors, record)
        except (UnicodeEncodeError, RuntimeError, TypeError):  # it cannot be signed at all
            signed = False
        if signed:
            header["digest"] = digest
        if self.chance.random() < 0.05:
            self._mutate(header)
        return save(content, {containers.KEY: json.dumps(header)}), signed

    def _mutate(self, value):
        """Something in a JSON value exchanged, taken out, or put in."""
        place = value
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                return
            key = self.chance.choice(keys)
            if not isinstance(place[key], (dict, list)) or self.chance.random() < 0.3:
                break
            place = place[key]
        what = self.chance.randrange(4)
        if what == 0:
            del place[key]
        elif what == 1 and isinstance(place, dict):
            place[self.chance.choice(("x", "", "update", "clock", "mask", "\ud800"))] = place[key]
        else:
            place[key] = copy.deepcopy(self.chance.choice(STRANGE))  # it may be changed in turn


def good_files(folder, only=""):
    """The files that everything is made of; of one kind only, where one is named."""
    ticket = Run(folder, layers=1).draw(moments="keep", reset="keep")
    save_ticket(folder / "ticket.safetensors", ticket)
    save_snapshot_of(folder / "snapshot.safetensors", weights(layers=1), mask=full_mask(layers=1))
    (folder / "compact").mkdir()
    found = [folder / "ticket.safetensors", folder / "snapshot.safetensors"]
    for name, path in compacts.good_files(folder / "compact").items():
        found.append(path.rename(folder / f"compact-{name}.safetensors"))
    return [path for path in found if path.name.startswith(only)]


def fuzz(folder, seed, enough, only=""):
    """Try batches until ``enough`` of the counts; returns them and the bytes of every failure."""
    (folder / "good").mkdir()
    (folder / "tried").mkdir()
    found, failures = Counter(), {}
    files = good_files(folder / "good", only)
    fuzzers = [(path, read(path), Fuzzer(path, f"{seed}|{path.name}")) for path in files]
    while not enough(found):
        path, content, fuzzer = fuzzers[found["batches"] % len(fuzzers)]
        changes = {f"{path.stem}-{found['batches']}-{n}": fuzzer.change() for n in range(BATCH)}
        inputs = {name: written(data, path.name) for name, (data, _) in changes.items()}
        signed = {name for name, (_, again) in changes.items() if again}
        for outcome in watch.run(read, inputs, folder / "tried", content, signed):
            found[outcome.result] += 1
            if outcome.result == "failed":
                failures[outcome.name] = (outcome.said, changes[outcome.name][0])
        found["batches"] += 1
    return found, failures


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", default="", help="start of a file's name: compact, ticket, ...")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-found"), help="failures go here")
    parser.add_argument("--replay", type=Path, metavar="FILE")
    args = parser.parse_args()
    if args.replay:
        print(read(args.replay))
        return
    end = time.monotonic() + args.seconds
    with tempfile.TemporaryDirectory() as folder:
        found, failures = fuzz(Path(folder), args.seed, lambda _: time.monotonic() > end, args.only)
    for name, (said, data) in failures.items():
        args.keep.mkdir(exist_ok=True)
        path = args.keep / f"{args.seed}-{name}.safetensors"
        path.write_bytes(data)
        print(f"{path}: {said}")
    tried = sum(found.values()) - found["batches"]
    print(
        f"seed {args.seed}: {tried} inputs, {found['refused']} refused, {found['equal']} equal,"
        f" {found['another']} signed again and whole, {found['failed']} failed"
    )
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
