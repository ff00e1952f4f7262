"""Bad files of choices (which heads and units are closed) and of scores: JSON of anybody's."""

import copy
import json

from hostile.damage import cuts, flips, garbage, places, written
from hostile.runs import STRANGE

NAME = "choice.json"
ENC, DEC = "encoder.layers.0", "decoder.layers.1"
MODEL = {"heads": {f"{ENC}.self_attn": 4, f"{DEC}.encoder_attn": 2}, "units": {ENC: 6, DEC: 3}}
RECORD = {"action": "choose", "share": 0.5, "seed": 1, "scored": {"measure": "l1"}}
GOOD = {
    "parts": {
        "format": "fairseq_lottery parts 1", "mode": "zero", **MODEL,
        "closed": {"heads": {f"{ENC}.self_attn": [0, 2]}, "units": {ENC: [5]}, "blocks": {
        DEC: [0]}},
        "record": RECORD,
    },
    "scores": {
        "format": "fairseq_lottery scores 1", **MODEL,
        "scores": {
            "heads": {f"{ENC}.self_attn": [0.5, -1.25, 0, 3e-30], f"{DEC}.encoder_attn": [1, 2]},
            "units": {ENC: [1, 2, 3, 4, 5, 6.5], DEC: [0.1, 0.2, 0.3]},
            "blocks": {ENC: [7.0], DEC: [8.0]},
        },
        "record": RECORD,
    },
}  # fmt: skip
#: characters; what a file of a few megabytes makes of them may be a hundred times as much
_LARGE = (1 << 24) - 4096


def text_of(kind):
    return json.dumps(GOOD[kind], indent=1)


def _paths(value, path=()):
    """Where there is a value, the whole one first; in a record anything may stand."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(
        value if isinstance(value, list) else []
    )  # fmt: skip
    for key, one in inner if path != ("record",) else ():
        yield from _paths(one, (*path, key))


def _changed(kind, path, text):
    """The good file with JSON text in the place of a value."""
    if not path:
        return text
    found = copy.deepcopy(GOOD[kind])
    place = found
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = "PLACE"
    return json.dumps(found).replace('"PLACE"', text)


def fits(path, what):
    """Whether it may stand there: the file is one of another content then."""
    if path == ("record",):
        return what == "a mapping"
    if path[:1] == ("scores",) and len(path) == 4:
        return what in ("negative", "a fraction")
    if path[:1] in (("scores",), ("closed",)) and len(path) == 2 or path == ("scores",):
        return False
    return path[:1] == ("closed",) and len(path) == 3 and what == "an empty list"


def values(kind):
    """Every value as one of another type; and with what is another file of the same kind."""
    found, other = {}, set()
    for path in _paths(GOOD[kind]):
        for what, text in STRANGE.items():
            name = f"{'.'.join(map(str, path)) or 'all of it'}: {what}"
            found[name] = written(_changed(kind, path, text).encode(), NAME)
            if fits(path, what):
                other.add(name)
    return found, other


def names(kind):
    """A name twice, renamed, longer, gone; and one that no model has."""
    found = {}
    text = text_of(kind)
    for path in _paths(GOOD[kind]):
        if path and isinstance(path[-1], str):
            without = copy.deepcopy(GOOD[kind])
            place = without
            for key in path[:-1]:
                place = place[key]
            value = json.dumps(place.pop(path[-1]))
            where = ".".join(path)
            twice = json.dumps(place)[:-1] + f', "{path[-1]}": {value}, "{path[-1]}": {value}}}'
            whole = _changed(kind, path[:-1], twice.replace("{, ", "{", 1))
            found[f"{where} twice"] = written(whole.encode(), NAME)
            if path[0] in ("heads", "units", "closed", "scores") and len(path) > 1:
                for what, name in (("of a tail", "tail"),
                                   ("of a layer too far", "x.layers.9999999.fc"),
                                   ("of 100,000 letters", ENC + "." + "x" * 10**5),
                                   ("that a terminal acts on", f"{ENC}.\x1b[2J"),
                                   ("without a letter", "")):  # fmt: skip
                    place[name] = json.loads(value)
                    found[f"{where} {what}"] = written(json.dumps(without).encode(), NAME)
                    del place[name]
            if path[0] != "record" and len(path) == 1:
                found[f"{where} gone"] = written(json.dumps(without).encode(), NAME)
    found["a wrong format"] = written(text.replace(f"{kind} 1", f"{kind} 2").encode(), NAME)
    return found


def sizes(kind):
    """Counts beyond all models, and small files that are large in memory."""
    found = {}
    for count in (0, -1, 2**22 + 1, 2**31, 2**40, 2**62, 1.0, True):
        for part in ("heads", "units"):
            name = next(iter(MODEL[part]))
            changed = {**GOOD[kind], part: {**MODEL[part], name: count}}
            found[f"{part}: {count!r} of them"] = written(json.dumps(changed).encode(), NAME)
    key = "closed" if kind == "parts" else "scores"
    many = {f"{side}.layers.{n}": 2**21 for side in ("encoder", "decoder") for n in range(99)}
    changed = {**GOOD[kind], "units": many, key: {k: {} for k in ("heads", "units", "blocks")}}
    found["units: 99 layers of 2 million"] = written(json.dumps(changed).encode(), NAME)
    small = {"mappings": '{"":0},', "lists": "[],", "numbers": "1,", "texts": '"",'}
    for what, one in small.items():
        text = f"[{(one * (_LARGE // len(one)))[:-1]}]"
        more = {"mappings": [(key,)], "numbers": [(key, "heads", f"{ENC}.self_attn")]}
        for path in (("record", "x"), *more.get(what, ())):
            made = copy.deepcopy(GOOD[kind])
            made["record"]["x"] = 0
            place = made
            for part in path[:-1]:
                place = place[part]
            place[path[-1]] = "PLACE"
            name = f"{'.'.join(path)}: megabytes of {what}"
            found[name] = _large(json.dumps(made), text)
    wide = "{" + ",".join(f'"{n:x}":{{}}' for n in range(600_000)) + "}"
    found["record: 600,000 names"] = _large(_changed(kind, ("record",), '"PLACE"'), wide)
    deep = "[" * 60 + "]" * 60
    found["record: 60 deep"] = _large(_changed(kind, ("record",), '{"x": "PLACE"}'), deep)
    found["more than a file has"] = _large('"PLACE"', " " * (1 << 24) + "{}")
    return found


def _large(text, inner):
    """Put together where it is written: the corpus itself stays small."""

    def make(folder):
        path = folder / NAME
        path.write_text(text.replace('"PLACE"', inner), encoding="utf-8")
        return path

    return make


def wrong(kind):
    """ComponentMask and scores that this model does not have."""
    texts = {
        "parts": [
            ("heads", {f"{ENC}.self_attn": [4]}), ("heads", {f"{ENC}.self_attn": [-1]}),
            ("heads", {f"{ENC}.self_attn": [0, 0]}), ("heads", {f"{DEC}.self_attn": [0]}),
            ("units", {ENC: [6]}), ("units", {f"{ENC}.self_attn": [0]}), ("units", {DEC: [2**62]}),
            ("blocks", {ENC: [1]}), ("blocks", {f"{ENC}.self_attn": [0]}), ("tails", {ENC: [0]}),
        ],
        "scores": [
            ("heads", {f"{ENC}.self_attn": [1, 2, 3]}), ("heads", {f"{ENC}.self_attn": [1] * 5}),
            ("heads", {f"{DEC}.self_attn": [1, 2]}), ("units", {ENC: []}), ("units", {DEC: [1]}),
            ("units", {f"{ENC}.self_attn": [1] * 4}), ("blocks", {ENC: [1, 2]}),
            ("blocks", {f"{ENC}.self_attn": [1]}), ("tails", {ENC: [1]}),
        ],
    }[kind]  # fmt: skip
    key = "closed" if kind == "parts" else "scores"
    return {
        f"wrong: {of} {modules}"[:90]: written(
            json.dumps({**GOOD[kind], key: {**GOOD[kind][key], of: modules}}).encode(), NAME
        )
        for of, modules in texts
    }


def all_of(kind):
    """Every bad file of a kind, and the names of those that may be read as another whole one."""
    data = text_of(kind).encode()
    lines = [at for at, byte in enumerate(data) if byte == ord("\n")]
    flipped = flips(data, {f"line {n}": ends for n, ends in enumerate(zip([0, *lines], lines))},
                    NAME, each=4)  # fmt: skip
    changed, other = values(kind)
    rest = names(kind) | sizes(kind) | wrong(kind) | garbage(data, NAME) | places(NAME)
    return flipped | changed | cuts(data, lines, NAME) | rest, {*flipped, *other}
