"""Ways to damage any file: cut short, bits flipped, something else in its place."""

import os
import random
import socket


def written(content, name):
    """The input that has these bytes."""

    def make(folder):
        path = folder / name
        path.write_bytes(content)
        return path

    return make


def cuts(data, boundaries, name):
    """The file cut at structural boundaries, and a byte before and behind each."""
    places = sorted({at + by for at in boundaries for by in (-1, 0, 1) if 0 <= at + by < len(data)})
    return {f"cut at {at}": written(data[:at], name) for at in places}


def flips(data, regions, name, each=6, seed=1):
    """One bit flipped at seeded positions of every region (its name -> first byte, end)."""
    chance = random.Random(seed)
    found = {}
    for region, (start, end) in regions.items():
        for _ in range(min(each, 8 * (end - start))):
            at, bit = chance.randrange(start, end), chance.randrange(8)
            corrupted = bytearray(data)
            corrupted[at] ^= 1 << bit
            found[f"bit {bit} of byte {at} ({region})"] = written(bytes(corrupted), name)
    return found


def garbage(data, name):
    """What is no such file at all, with a good one's bytes moved, doubled or zeroed."""
    noise = random.Random(2).randbytes(len(data))
    half = len(data) // 2
    return {
        "empty": written(b"", name),
        "one byte": written(b"\0", name),
        "zeros": written(bytes(len(data)), name),
        "ones": written(b"\xff" * len(data), name),
        "noise": written(noise, name),
        "noise behind the start": written(data[:64] + noise[64:], name),
        "zeros behind the middle": written(data[:half] + bytes(len(data) - half), name),
        "a megabyte of brackets": written(b"[" * (1 << 20), name),
        "text": written(b"no such file\n" * 50, name),
        "a page": written(b"<!DOCTYPE html><html><title>404</title></html>", name),
        "gzip": written(b"\x1f\x8b\x08\0\0\0\0\0" + noise[:100], name),
        "a half doubled": written(data[:half] + data[:half], name),
        "halves exchanged": written(data[half:] + data[:half], name),
    }


def places(name):
    """Something else than a file where the file should be."""

    def folder(place):
        (place / name).mkdir()
        return place / name

    def pipe(place):
        os.mkfifo(place / name)
        return place / name

    def link_to(target):
        def make(place):
            (place / name).symlink_to(target)
            return place / name

        return make

    def listening(place):
        here = os.getcwd()
        os.chdir(place)  # the path of a socket may have a hundred characters only
        try:
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(name)
        finally:
            os.chdir(here)
        return place / name

    def unreadable(place):
        (place / "locked").mkdir(mode=0)
        return place / "locked" / name

    return {
        "missing": lambda place: place / name,
        "a folder": folder,
        "a pipe": pipe,
        "a socket": listening,
        "a link to a pipe": lambda place: (os.mkfifo(place / "pipe"), link_to("pipe")(place))[1],
        "a link to nothing": link_to("gone"),
        "a link to itself": link_to(name),
        "a link to /dev/zero": link_to("/dev/zero"),
        "a link to /dev/full": link_to("/dev/full"),
        "a link to a folder": link_to("/proc/self"),
        "in a file": lambda place: written(b"", "file")(place) / name,
        "in a locked folder": unreadable,
        "a name of 300 letters": lambda place: place / ("a" * 300 + name),
        "a path of 5000 letters": lambda place: place / "/".join(["a" * 200] * 25) / name,
        "a null byte in the name": lambda place: place / f"a\0{name}",
        "a new line in the name": lambda place: place / f"a\n{name}",
        "an escape in the name": lambda place: place / f"\x1b[2J{name}",
        "half a character in the name": lambda place: place / f"\udcff{name}",
    }
