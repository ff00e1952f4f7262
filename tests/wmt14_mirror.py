"""A stand-in for WMT14's places: archives of the same layout, and a server with faults."""

import gzip
import hashlib
import io
import json
import os
import random
import resource
import socket
import struct
import subprocess
import tarfile
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from forking import python
from preparation.wmt14.pair_sources import OFFICIAL, load_sources

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "wmt14"

WORDS = {
    "en": "the a house tree small green sings walks sees river bridge under over and AT&T".split(),
    "de": "das ein haus baum klein grün singt geht sieht fluss brücke unter über und AT&T".split(),
    "fr": "la une maison arbre petit vert chante marche voit fleuve pont sous sur et AT&T".split(),
}
#: pairs of training sentences by archive; the last two of each are an empty and a long one
TRAIN = {"europarl-v7": 160, "commoncrawl": 120, "news-commentary-v9": 90}
TRAIN_FR = {**TRAIN, "un": 70, "giga-fren": 60}


class Text:
    """Made-up parallel sentences: the same words in either language, and a number."""

    def __init__(self, pair, seed):
        self.pair, self.chance = pair.split("-"), random.Random(seed)

    def sentences(self, count):
        """Language -> lines; no two pairs are equal."""
        drawn = [
            (i, [self.chance.randrange(15) for _ in range(self.chance.randint(4, 12))])
            for i in range(count)
        ]
        return {
            language: [f"{' '.join(WORDS[language][w] for w in words)} {i}." for i, words in drawn]
            for language in self.pair
        }

    def corpus(self, count):
        """As ``sentences`` with an empty side, a pair of unequal length, and a duplicate."""
        lines = self.sentences(count - 3)
        source, target = self.pair
        lines[source] += ["", lines[source][0] * 20, lines[source][1]]
        lines[target] += [lines[target][2], lines[target][0], lines[target][1]]
        return lines


def official(pair):
    """The description that comes with the example."""
    return load_sources(str(OFFICIAL), pair)


def plain(lines):
    return "".join(f"{line}\n" for line in lines).encode()


def sgml(lines, kind, language):
    """A set as WMT published it: two documents, segments numbered, not quite valid."""
    out = [f'<{kind}set setid="newstest" srclang="any" trglang="{language}">\n']
    for name, part in (("first", lines[: len(lines) // 2]), ("second", lines[len(lines) // 2 :])):
        out += [f'<doc docid="{name}" genre="news" origlang="en">\n<p>\n']
        out += [f'<seg id="{i}"> {line}</seg>\n' for i, line in enumerate(part, 1)]
        out += ["</p>\n</doc>\n"]
    return "".join([*out, f"</{kind}set>\n"]).encode()


def tar(path, members, mode="w:gz"):
    """Write a tar archive of name -> bytes, or of ready ``TarInfo`` entries."""
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                archive.addfile(info)


def write_archives(folder, pair, test=3003, valid=3000):
    """All archives that ``pair`` needs, of the official names and members.

    Returns:
        "train", "valid" and "test" -> language -> the sentences that are in them.
    """
    sources = official(pair)
    text, made = Text(pair, seed=pair), {"train": {}}
    for corpus in sources.train:
        lines = text.corpus(TRAIN_FR[corpus.name])
        made["train"][corpus.name] = lines
        packed = gzip.compress if corpus.name == "giga-fren" else bytes
        tar(
            folder / corpus.archive.file,
            {corpus.members[n]: packed(plain(lines[n])) for n in text.pair},
            "w:gz" if corpus.archive.file.endswith("gz") else "w",
        )
    for name, count in (("valid", valid), ("test", test)):
        corpus, lines = sources.sets[name], text.sentences(count)
        lines[text.pair[1]][0] += " AT&amp;T"  # an entity, which sacreBLEU leaves as it is
        lines[text.pair[0]][0] += " AT&amp;T"
        made[name] = lines
        kinds = ("src", "ref" if name == "test" else "src")
        members = {corpus.members[n]: sgml(lines[n], kind, n) for n, kind in zip(text.pair, kinds)}
        tar(folder / corpus.archive.file, {"unwanted.txt": b"not this\n", **members})
    if sources.google:
        write_google(folder / "wmt16_en_de.tar.gz", text, made)
    return made


def write_google(path, text, made):
    """Google's archive: tokens, " " in some words, escapes; the sets are those of ``made``."""

    def cut(line):
        line = line.replace("bridge", "bri dge").replace("brücke", "brü cke")
        return line.replace(".", " .").replace("&amp;", " &amp; ")

    train = text.sentences(300)
    parts = {"train.tok.clean.bpe.32000": train}
    parts.update({"newstest2013.tok.bpe.32000": made["valid"]})
    parts.update({"newstest2014.tok.bpe.32000": made["test"]})
    members = {
        f"./{name}.{language}": plain(cut(line) for line in lines[language])
        for name, lines in parts.items()
        for language in text.pair
    }
    tar(path, {**members, "./vocab.bpe.32000": b"the\n"})
    made["google"] = train


def describe(folder, target, unverified=("un", "giga-fren")):
    """A ``sources.json`` with the sizes and SHA-256 of the archives in ``folder``."""
    data = json.loads((EXAMPLE / "sources.json").read_text())
    for name, archive in data["archives"].items():
        path = folder / archive["file"]
        archive.update(size=None, sha256=None, md5=None, published="the stand-in")
        if path.exists() and name not in unverified:
            content = path.read_bytes()
            archive.update(size=len(content), sha256=hashlib.sha256(content).hexdigest())
    target.write_text(json.dumps(data))
    return target


@dataclass
class Fault:
    """What goes wrong with a file.

    Attributes:
        drops: bytes after which each coming answer breaks off, one entry an answer.
        reset: break off with a reset instead of a plain end.
        ranges: whether Range is understood.
        status: an error code to answer with.
        content: other bytes than the file's.
    """

    drops: list = field(default_factory=list)
    reset: bool = False
    ranges: bool = True
    status: int = 0
    content: bytes = b""


class Mirror:
    """Serves a folder on 127.0.0.1; ``requests`` has (file, Range, status, bytes sent)."""

    def __init__(self, folder):
        self.folder, self.faults, self.requests = folder, {}, []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                try:
                    mirror.answer(self)
                except ConnectionError:
                    pass  # who asked has seen enough

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def files(self):
        """What was asked for, in order."""
        return [name for name, *_ in self.requests]

    def answer(self, request):
        name = request.path.lstrip("/")
        fault = self.faults.get(name, Fault())
        path = self.folder / name
        asked = request.headers.get("Range")
        if fault.status or not path.is_file():
            self.requests.append((name, asked, fault.status or 404, 0))
            request.send_error(fault.status or 404)
            return
        content = fault.content or path.read_bytes()
        tag = f'"{hashlib.sha256(content).hexdigest()[:12]}"'
        start = 0
        if asked and fault.ranges and request.headers.get("If-Range", tag) == tag:
            start = int(asked[len("bytes=") : -1])
        if start and start >= len(content):
            self.requests.append((name, asked, 416, 0))
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(content)}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        body = content[start:]
        sent = body[: fault.drops.pop(0)] if fault.drops else body
        self.requests.append((name, asked, 206 if start else 200, len(sent)))
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("ETag", tag)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(sent)
        if len(sent) < len(body) and fault.reset:
            request.wfile.flush()
            request.connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            request.connection.close()


def prepare(*arguments, largest=None):
    """Run ``prepare.py`` as a user does; no file may grow beyond ``largest`` bytes."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [python(), EXAMPLE / "prepare.py", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path},
        preexec_fn=limit if largest else None,
        capture_output=True,
        text=True,
    )
