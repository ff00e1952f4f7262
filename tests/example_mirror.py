"""What tests of the preparations share: archives, a server with faults, and the script's run."""

import hashlib
import io
import json
import os
import resource
import socket
import struct
import subprocess
import tarfile
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from forking import python

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def plain(lines):
    return "".join(f"{line}\n" for line in lines).encode()


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


def zipped(path, members):
    """Write a ZIP archive of name -> bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def describe(example, folder, target, unverified=()):
    """A ``sources.json`` of an example with the sizes and SHA-256 of the archives in ``folder``."""
    data = json.loads((EXAMPLES / example / "sources.json").read_text())
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


def run_script(example, *arguments, largest=None):
    """Run ``prepare.py`` as a user does; no file may grow beyond ``largest`` bytes."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    path = os.pathsep.join(filter(None, [str(EXAMPLES.parent), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [python(), EXAMPLES / example / "prepare.py", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path},
        preexec_fn=limit if largest else None,
        capture_output=True,
        text=True,
    )


def refused(done):
    """The one sentence of a run that was refused."""
    assert done.returncode == 2, done.stdout + done.stderr
    lines = done.stderr.strip().split("\n")
    assert len(lines) == 1 and lines[0].startswith("fairseq-lottery: "), done.stderr
    return lines[0]
