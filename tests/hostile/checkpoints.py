"""Bad checkpoints: fairseq's pickles in a zip archive, or in the format before that."""

import copy
import importlib
import io
import pickle
import struct
import zipfile
from argparse import Namespace

import torch
from hostile.damage import cuts, flips, garbage, places, written
from hostile.pickled import Built, Call, code, sizes

NAME = "checkpoint.pt"


def saved(state, zipped=True):
    """The bytes that torch writes."""
    file = io.BytesIO()
    torch.save(state, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def changed(state, *path, to):
    """A copy of the state with another value at ``path``."""
    found = copy.deepcopy(state)
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return found


def lazily(state, *path, to):
    """The input that has it; saved when it is needed, for some values are tensors of any size."""
    return lambda folder: written(saved(changed(state, *path, to=to)), NAME)(folder)


def structural(data):
    """What is wrong with the archive as such."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
    pickled = next(info for info in members if info.filename.endswith("data.pkl"))
    largest = max(members, key=lambda info: info.file_size)
    directory = struct.unpack("<I", data[-6:-2])[0]
    boundaries = [0, 4, 30, directory, len(data) - 22, len(data)]
    boundaries += [info.header_offset for info in members[:: len(members) // 8]]
    regions = {
        "first local header": (0, 30),
        "the pickle": (pickled.header_offset + 64, pickled.header_offset + pickled.file_size),
        "tensors": (largest.header_offset + 64, largest.header_offset + 64 + largest.file_size),
        "local headers": (members[9].header_offset, members[9].header_offset + 64),
        "directory": (directory, len(data) - 22),
        "end record": (len(data) - 22, len(data)),
    }
    found = cuts(data, boundaries, NAME) | flips(data, regions, NAME, each=12)
    found |= garbage(data, NAME) | places(NAME)
    return found | archives(data)


def archives(data):
    """Other archives than torch writes."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        content = {info.filename: archive.read(info) for info in archive.infolist()}
    folder = next(iter(content)).partition("/")[0]

    def pack(content, method=zipfile.ZIP_STORED):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            for name, text in content:
                archive.writestr(zipfile.ZipInfo(name), text, method)
        return file.getvalue()

    def other(**changes):
        return {**content, **{f"{folder}/{name}": text for name, text in changes.items()}}.items()

    bomb = b"\x80\x02]q\0" + b"N" * (64 << 20) + b"."
    found = {
        "all compressed": pack(content.items(), zipfile.ZIP_DEFLATED),
        "a pickle that is a bomb": pack([(f"{folder}/data.pkl", bomb)], zipfile.ZIP_DEFLATED),
        "compressed otherwise": pack(content.items(), zipfile.ZIP_LZMA),
        "no pickle": pack([(n, t) for n, t in content.items() if not n.endswith(".pkl")]),
        "no tensors": pack([(n, t) for n, t in content.items() if "/data/" not in n]),
        "an empty pickle": pack({**content, f"{folder}/data.pkl": b""}.items()),
        "a pickle that is a text": pack({**content, f"{folder}/data.pkl": b"x\n" * 99}.items()),
        "an empty archive": pack([]),
        "files of another kind": pack([("word/document.xml", b"<xml/>")]),
        "two of a name": pack([*content.items(), (f"{folder}/data.pkl", b"N.")]),
        "a tensor twice": pack([*content.items(), (f"{folder}/data/0", b"x")]),
        "a pickle in capitals": pack(
            (n.replace("data.pkl", "DATA.PKL"), t) for n, t in content.items()
        ),
        "a program": pack([*content.items(), (f"{folder}/constants.pkl", b"N.")]),
        "something before it": b"PK\3\4" + bytes(8) + data,
        "another folder as well": pack([*content.items(), ("evil/data.pkl", b"N.")]),
        "a way out": pack([*content.items(), ("../../evil", b"x")]),
    }
    raw = bytearray(data)
    at = raw.find(b"PK\x01\x02")
    for what, offset, value in (("smaller", 20, 1), ("huge", 20, 2**32 - 2), ("elsewhere", 42, 99)):
        changed = bytearray(raw)
        changed[at + offset : at + offset + 4] = struct.pack("<I", value)
        found[f"a member that is {what}"] = bytes(changed)
    return {f"archive: {what}": written(text, NAME) for what, text in found.items()}


def calls(state):
    """Pickles that would run something, wherever it stands, in every format."""
    found = {}
    for what, call in code().items():
        for place in (("model", "w"), ("extra_state", "x"), ("task_state", "lottery"), ("args",),
                      ("cfg", "model"), ("optimizer_history",)):  # fmt: skip
            where = ".".join(place)
            found[f"{what} in {where}"] = lazily(state, *place, to=call)
        whole = {"model": {"w": torch.ones(2)}, "x": call}
        found[f"{what} in the old format"] = lambda f, w=whole: written(saved(w, False), NAME)(f)
        for protocol in (0, 2, 4):
            plain = pickle.dumps({"model": {}, "x": call}, protocol=protocol)
            found[f"{what} as a plain pickle {protocol}"] = written(plain, NAME)
    return found


def tensors(state):
    """Tensors that are none, or of absurd sizes, in every place that is read."""
    found = {}
    optimizer = {"state": {}, "lottery": {"masters": {}, "names": [], "shapes": []}}
    full = changed(state, "last_optimizer_state", to=optimizer)
    for what, tensor in sizes().items():
        for place in (("model", "w"), ("last_optimizer_state", "lottery", "masters", "w"),
                      ("task_state", "lottery", "dictionaries", "source")):  # fmt: skip
            found[f"{what} in {'.'.join(place)}"] = lazily(full, *place, to=tensor)
    for value in (float("nan"), float("inf"), -float("inf")):
        weight = torch.ones(6, 4)
        weight[0, 0] = value
        found[f"a weight that is {value}"] = lazily(
            state, "model", "encoder.layers.0.fc1.weight", to=weight
        )
    name = "encoder.layers.0.fc1.weight"
    found["a master of another shape"] = lazily(
        full, "last_optimizer_state", "lottery", "masters", to={name: torch.ones(4, 6)}
    )
    found["a master that is NaN"] = lazily(
        full, "last_optimizer_state", "lottery", "masters", to={name: torch.full((6, 4), torch.nan)}
    )
    found["a weight of 65 dimensions"] = lazily(
        state, "model", "encoder.layers.0.fc1.bias", to=torch.ones([1] * 64 + [6])
    )
    shared = torch.ones(100_000)
    found["a thousand names for one tensor"] = lazily(
        state, "model", to={f"w{n}": shared for n in range(1000)}
    )
    return found


def structures(state):
    """Entries of other types than fairseq and the plugin write, and masks that fit nothing."""
    found = {}
    ring = []
    ring.append(ring)
    settings = Namespace(arch="transformer")
    settings.inner = settings
    laughs = ["ha"]
    for _ in range(40):
        laughs = [laughs, laughs]
    strange = {"a text": "x", "a number": 3, "a list": [1], "a mapping of numbers": {1: 2},
               "a tensor": torch.ones(2), "a set": {1}, "true": True}  # fmt: skip
    places = {
        ("model",): (), ("task_state",): ("a mapping of numbers",),
        ("task_state", "lottery"): (), ("task_state", "lottery", "mask"): (),
        ("task_state", "lottery", "dictionaries"): (), ("task_state", "lottery", "ticket"): (),
        ("cfg",): ("a mapping of numbers",), ("cfg", "model"): ("a mapping of numbers",),
        ("cfg", "task"): ("a mapping of numbers",), ("args",): ("a mapping of numbers",),
        ("criterion",): ("a mapping of numbers",), ("optimizer_history",): (),
        ("extra_state",): ("a mapping of numbers",),
        ("last_optimizer_state",): ("a mapping of numbers",),
        ("last_optimizer_state", "lottery"): (),
    }  # fmt: skip
    base = changed(state, "last_optimizer_state", to={"lottery": {}})
    for place, allowed in places.items():
        for what, value in strange.items():
            if what not in allowed:
                found[f"{'.'.join(place)}: {what}"] = lazily(base, *place, to=value)
    for what, value in {"no update": [{"num_updates": "x"}], "a fraction": [{"num_updates": 1.5}],
                        "negative": [{"num_updates": -1}], "endless": [{"num_updates": 2**80}],
                        "a list of lists": [[1]]}.items():  # fmt: skip
        found[f"an update: {what}"] = lazily(state, "optimizer_history", to=value)
    mask = state["task_state"]["lottery"]["mask"]
    name = "encoder.layers.0.fc1.weight"
    for what, path, value in (
        ("a shape of terabytes", ("shapes", name), [2**40, 2**40]), ("no shapes", ("shapes",), {}),
        ("a negative shape", ("shapes", name), [-6, -4]), ("a ring", ("shapes", name), ring),
        ("a shape beyond 64 bits", ("shapes", name), [2**70]),
        ("a row that is true", ("protected", "encoder.embed_tokens.weight"), True),
        ("a row that is none", ("protected", "encoder.embed_tokens.weight"), 99),
        ("bits of floats", ("bits", name), torch.ones(3)), ("no bits", ("bits",), {}),
        ("bits that are a list", ("bits", name), [1, 2, 3]),
        ("too many bits", ("bits", name), torch.ones(300, dtype=torch.uint8)),
        ("bits of one more", ("bits", "x"), torch.ones(3, dtype=torch.uint8)),
        ("other bits", ("bits", name), torch.tensor([255, 255, 255, 255], dtype=torch.uint8)),
    ):  # fmt: skip
        found[f"a mask: {what}"] = lazily(
            state, "task_state", "lottery", "mask", to=changed(mask, *path, to=value)
        )
    for what, value in {"a ring": {"x": ring}, "laughs": {"x": laughs}, "a tensor": {
    "x": torch.ones(2)},
                        "NaN": {"x": float("nan")}, "a set": {"x": {1}}, "an update": {
                        "update": "x"},
                        "a negative update": {"update": -1}, "numbers as names": {1: 2}}.items(
                        ):  # fmt: skip
        found[f"a ticket's record: {what}"] = lazily(state, "task_state", "lottery", "ticket",
        to=value)
    for what, value in {"a ring": {"x": ring}, "laughs": {"x": laughs}}.items():
        found[f"cfg: {what}"] = lazily(state, "cfg", to={"model": value})
    found["args: a ring"] = lazily(state, "args", to=settings)
    names = {"names": ["a"], "shapes": [[4]]}
    for what, lottery, entries in (
        ("names of numbers", {"names": [1], "shapes": [[4]]}, {}),
        ("fewer shapes", {"names": ["a", "b"], "shapes": [[4]]}, {}),
        ("shapes of texts", {"names": ["a"], "shapes": ["4"]}, {}),
        ("negative shapes", {"names": ["a"], "shapes": [[-4]]}, {}),
        ("an unknown parameter", names, {7: {"exp_avg": torch.ones(4)}}),
        ("a parameter with a name", names, {"a": {"exp_avg": torch.ones(4)}}),
        ("an entry that is a list", names, {0: [1]}), ("a list", names, [1]),
    ):  # fmt: skip
        optimizer = {"lottery": lottery, "state": entries}
        found[f"the optimizer: {what}"] = lazily(state, "last_optimizer_state", to=optimizer)
    for what, whole in {"a list": [1], "a tensor": torch.ones(2), "nothing": None, "empty": {},
                        "no model": {"weights": {}}, "an empty model": {"model": {}}}.items(
                        ):  # fmt: skip
        found[f"a file that is {what}"] = lambda folder, w=whole: written(saved(w), NAME)(folder)
    return found


def old_format(state):
    """The format before torch 1.6. It has no checksums, so no bit of a tensor is flipped here."""
    data = saved(state, zipped=False)
    found = cuts(data, [0, 1, 10, 20, 100, len(data) // 2, len(data)], NAME)
    found |= flips(data, {"its start": (0, 60)}, NAME, each=20)
    for what, text in {
        "a text of 2 GB": b"\x80\x02X" + struct.pack("<I", 2**31 - 1) + b"x",
        "bytes of 8 EB": b"\x80\x04\x8e" + struct.pack("<Q", 2**63 - 1) + b"x",
        "a place of 4 billion": b"\x80\x02]r" + struct.pack("<I", 2**32 - 1) + b".",
        "a number of 2 GB": b"\x80\x02\x8b" + struct.pack("<I", 2**31 - 1) + b"x",
        "a frame of 8 EB": b"\x80\x04\x95" + struct.pack("<Q", 2**63 - 1) + b"x",
        "only an end": b".", "an empty stack": b"\x80\x020.", "deep tuples": b"\x80\x02"
        + b"(" * 10**5 + b".",
        "deep lists": b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".",
    }.items():  # fmt: skip
        found[f"a pickle with {what}"] = written(text, NAME)
    return {f"old format: {what}": make for what, make in found.items()}


def attributes(state):
    """Classes that a checkpoint may hold, put together as no program would."""
    omegaconf = importlib.import_module("omegaconf")
    broken = Built(omegaconf.DictConfig, ({},), {"_content": 3, "_metadata": None})
    return {
        "a section of omegaconf's that is a number": lazily(state, "cfg", "model", to=broken),
        "a section without anything": lazily(
            state, "cfg", "model", to=Built(omegaconf.DictConfig, ({},), {})
        ),
        "a Namespace that is called": lazily(state, "args", to=Call(Namespace, 1, 2, 3)),
    }


def all_of(state):
    """Every bad checkpoint that one good state makes."""
    data = saved(state)
    found = structural(data) | calls(state) | tensors(state) | structures(state) | old_format(state)
    found |= attributes(state)
    return found
