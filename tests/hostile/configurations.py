"""Bad configurations of a workflow: YAML that anybody may have written."""

import yaml
from hostile.damage import garbage, places, written

NAME = "small.yaml"
TEXT = """\
title: Small task
data: data-bin
references: test.de
train: >-
  --arch transformer --optimizer masked_adam --lr 7e-4 --lr-scheduler inverse_sqrt
  --max-tokens 4096 --max-update 1000 --save-interval-updates 50
techniques:
  - mp
  - slt: {rewind: 5%, sparsities: [0.5, 0.9]}
sparsities: [0.5, 0.9]
seeds: [1, 2]
prune: {start: 0%, end: 80%}
evaluate:
  - {checkpoint: best, beam: 4, lenpen: 0.6}
score_command: {length: "wc -w {hypotheses}"}
resources: {gpus: 0, threads: 4, train: {runtime: 60}}
cost: {seconds_per_update: 0.1}
"""
GOOD = yaml.safe_load(TEXT)
#: a value of each kind that YAML has, and of some that only Python's YAML has
VALUES = {
    "a mapping": {"x": 1}, "a list of lists": [[1]], "a number": 3, "a fraction": 0.5,
    "a text": "x\n",
    "true": True, "nothing": None, "an empty list": [], "an empty mapping": {}, "negative": -1,
    "NaN": float("nan"), "infinite": float("inf"), "beyond 64 bits": 2**70, "endless": 10**400,
    "an empty text": "", "half the control characters": "a\x00\x1b[2Jb", "a long text": "x" * 10**5,
}  # fmt: skip
#: key -> the values that it may well have
FITS = {
    "title": ("a text", "a long text", "an empty text"), "data": ("a text", "an empty text"),
    "references": ("a text", "an empty text"), "sparsities": ("a fraction",), "seeds": (
    "a number",),
    "prune": ("an empty mapping",), "score_command": ("an empty mapping",),
    "resources": ("an empty mapping",), "cost": ("an empty mapping",),
}  # fmt: skip


def text_of(values):
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=10**9)


def _aliases(levels, width, start="[x]"):
    """Lists of a list of a list: a few hundred bytes for ``width ** levels`` values."""
    lines = [f"a0: &a0 {start}"]
    for level in range(1, levels):
        inner = ", ".join([f"*a{level - 1}"] * width)
        lines.append(f"a{level}: &a{level} [{inner}]")
    return "\n".join(lines) + "\n"


def _merges(levels, width):
    """The same by merging mappings, which copies them."""
    lines = ["m0: &m0 {a: 1, b: 2}"]
    for level in range(1, levels):
        inner = ", ".join([f"*m{level - 1}"] * width)
        lines.append(f"m{level}: &m{level}\n  <<: [{inner}]\n  k{level}: 1")
    return "\n".join(lines) + "\n"


def yamls():
    """What is wrong with the YAML itself."""
    ten = ", ".join(["x"] * 10)
    texts = {
        "a billion laughs": _aliases(10, 10) + TEXT,
        "a billion laughs as a title": _aliases(10, 10) + TEXT.replace("Small task", "*a9"),
        "a billion laughs in flow": f"title: [&a [{ten}], &b [{', '.join(['*a'] * 10)}]"
        + "".join(f", &{y} [{', '.join(['*' + x] * 10)}]" for x, y in zip("bcdefghi",
        "cdefghij")) + "]\n",
        "a billion merges": _merges(12, 10) + TEXT,
        "a list that holds itself": "title: &a [*a]\n" + TEXT.split("\n", 1)[1],
        "a mapping that holds itself": "title: &a {x: *a}\n" + TEXT.split("\n", 1)[1],
        "a mapping that merges itself": "title: &a {<<: *a}\n" + TEXT.split("\n", 1)[1],
        "an alias of nothing": TEXT.replace("Small task", "*nothing"),
        "an anchor twice": "a: &a 1\nb: &a 2\n" + TEXT,
        "deep lists": "title: " + "[" * 5000 + "]" * 5000 + "\n",
        "deep mappings": "title: " + "{a: " * 5000 + "}" * 5000 + "\n",
        "deep blocks": "\n".join(" " * n + "a:" for n in range(2000)),
        "deep dashes": "title:\n  " + "- " * 5000 + "x\n",
        "a hundred deep": "title: " + "[" * 100 + "]" * 100 + "\n",
        "a key that is a list": "? [a]\n: b\n" + TEXT,
        "a key that is a mapping": "{a: b}: c\n" + TEXT,
        "a key twice": TEXT + "title: again\n",
        "a key that is true": TEXT + "yes: 1\n",
        "a key that is a number": TEXT + "1: 1\n",
        "a key that is nothing": TEXT + "~: 1\n",
        "a key of the wrong type inside": TEXT.replace("{start: 0%", "{1: 2, start: 0%"),
        "two documents": TEXT + "---\n" + TEXT,
        "a tab": TEXT.replace("  - mp", "\t- mp"),
        "a quote": TEXT.replace("Small task", "'Small task"),
        "an unknown version": "%YAML 9.9\n---\n" + TEXT,
        "no mapping": "- a\n- b\n", "a text": "just text\n", "a comment": "# nothing\n",
        "a number": "3\n",
        "a null byte": TEXT.replace("Small", "Sm\0all"), "an escape": TEXT.replace("Small",
        "\x1b[2J"),
        "an escaped null byte": TEXT.replace("Small task", '"a\\0b"'),
        "an escaped escape": TEXT.replace("Small task", '"\\e[2J"'),
        "half a character": TEXT.replace("Small task", '"\\ud800"'),
        "a megabyte and more": TEXT + "#" * (1 << 20),
        "a date": TEXT.replace("runtime: 60", "runtime: 60, begin: 2020-01-01"),
        "a date that is none": TEXT.replace("Small task", "2020-13-45"),
        "a set": TEXT.replace("runtime: 60", "runtime: 60, x: !!set {a, b}"),
        "bytes": TEXT.replace("runtime: 60", "runtime: 60, x: !!binary aGVsbG8="),
        "pairs": TEXT.replace("runtime: 60", "runtime: 60, x: !!pairs [a: 1]"),
        "an ordered mapping": TEXT.replace("runtime: 60", "runtime: 60, x: !!omap [a: 1]"),
        "a number of 5000 digits": TEXT.replace("[1, 2]", "[" + "9" * 5000 + "]"),
        "a number of 5000 hexadecimal digits": TEXT.replace("[1, 2]", "[0x" + "f" * 5000 + "]"),
        "a number in base 60": TEXT.replace("[1, 2]", "[" + ":".join(["59"] * 2000) + "]"),
        "a fraction of 500 digits": TEXT.replace("0.6", "9" * 500 + ".0"),
        "a number in base 60 of a megabyte": "title: " + ":".join(["1"] * 500_000) + "\n",
        "a fraction in base 60": TEXT.replace("0.6", ":".join(["1"] * 400) + ".0"),
        "a word tagged as true or false": TEXT.replace("Small task", "!!bool maybe"),
        "nothing tagged as a number": TEXT.replace("[1, 2]", '[!!int ""]'),
        "a line tagged as a number": TEXT.replace("[1, 2]", "[!!int _]"),
        "nothing tagged as a fraction": TEXT.replace("0.6", '!!float ""'),
        "a word tagged as a date": TEXT.replace("Small task", "!!timestamp x"),
        "a key tagged as a number": TEXT + '!!int "": 2\n',
    }
    for tag in ("object/apply:os.system [touch canary]", "object/new:os.system [touch canary]",
                "object:os.system {}", "name:os.system ''", "module:os ''", "tuple [1]",
                "object/apply:subprocess.check_output [[touch, canary]]", "str x", "bytes x",
                "object/apply:eval [\"__import__('os').mkdir('canary')\"]"):  # fmt: skip
        texts[f"the tag {tag}"] = TEXT.replace("Small task", f"!!python/{tag}")
    texts["a tag of its own"] = TEXT.replace("Small task", "!evil x")
    found = {f"YAML: {what}": written(text.encode(), NAME) for what, text in texts.items()}
    found["YAML: no UTF-8"] = written(TEXT.replace("Small", "Sm\xe4ll").encode("latin-1"), NAME)
    found["YAML: UTF-16"] = written(TEXT.encode("utf-16"), NAME)
    return found


def values():
    """Every key with values of other types than its own, and its own ones out of range."""
    found = {}
    for key in (*GOOD, "out", "keep_dense", "metrics", "keep", "adopt", "published", "retries",
                "engine", "train_env", "generate", "rewind", "rounds", "update_counter",
                "min_density", "scope", "score", "prunable", "own_techniques", "task"):  # fmt: skip
        fits = (*FITS.get(key, ()), *(("a text",) if key in TEXTS else ()), *SOME.get(key, ()))
        for what, value in VALUES.items():
            if what not in fits:
                found[f"{key}: {what}"] = written(text_of({**GOOD, key: value}).encode(), NAME)
    for section in ("prune", "resources", "cost", "evaluate", "score_command"):
        inner = GOOD[section][0] if section == "evaluate" else GOOD[section]
        for key in inner:
            for what in ("a mapping", "NaN", "endless", "beyond 64 bits", "true", "nothing",
                         "a list of lists", "half the control characters"):  # fmt: skip
                if (key, what) in INNER:
                    continue
                changed = {**inner, key: VALUES[what]}
                changed = [changed] if section == "evaluate" else changed
                text = text_of({**GOOD, section: changed})
                found[f"{section}.{key}: {what}"] = written(text.encode(), NAME)
    return found


#: keys whose value is any text, or means something else than what is looked at here
TEXTS = {"out", "published", "train_env", "generate"}
SOME = {
    "keep": ("an empty list",), "engine": ("an empty list", "a list of lists"),
    "adopt": ("an empty mapping",), "retries": ("a number",), "out": ("an empty text",),
    "published": ("an empty text", "a long text"), "train_env": ("an empty text", "a long text"),
    "generate": ("an empty text",), "rewind": ("a number",), "min_density": (), "metrics": (
    "an empty list",),
    "keep_dense": ("an empty text", "a text", "a long text"), "update_counter": ("nothing",),
    "own_techniques": ("an empty text",),
}  # fmt: skip
INNER = {("runtime", "endless")}


def senses():
    """Texts that mean something absurd: flags, shares, places, paths and expressions."""
    changes = {
        "max-update 0": ("1000", "0"), "max-update of 5000 digits": ("1000", "9" * 5000),
        "max-update of other digits": ("1000", "\u0663\u00b2"), "max-update -1": ("1000", "-1"),
        "save-interval NaN": ("--save-interval-updates 50", "--save-interval-updates nan"),
        "save-interval infinite": ("--save-interval-updates 50", "--save-interval-updates inf"),
        "a rewind of 400 digits": ("5%", "9" * 400 + "%"), "a rewind of 1e400": ("5%", "1e400"),
        "a mean of 5000 digits": ("checkpoint: best", "checkpoint: average:" + "9" * 5000),
        "a mean of NaN": ("50\n", "nan\n"), "a quote": ("--lr 7e-4", "--lr '7e-4"),
        "a place that is wide": ("{hypotheses}", "{hypotheses:>99999999999}"),
        "a place that looks inside": ("{hypotheses}", "{hypotheses.__class__}"),
        "a place with an index": ("{hypotheses}", "{hypotheses[0]}"),
        "a place in a place": ("{hypotheses}", "{hypotheses:{references}}"),
        "a place without a name": ("{hypotheses}", "{}"), "a place not closed": ("{hypotheses}",
        "{x"),
        "an unknown place": ("{hypotheses}", "{model}"), "a converted place": ("{hypotheses}",
        "{hypotheses!r}"),
        "the home of nobody": ("data-bin", "~nobody-of-this-name/data"),
        "a path with a null byte": ("data: data-bin", 'data: "a\\0b"'),
        "an adopted run that is wide": ("title: Small task",
        "adopt: {dense: '{seed:>99999999999}'}"),
        "an adopted run that looks inside": ("title: Small task", "adopt: {dense: '{seed.x}'}"),
        "an expression that counts to billions": ("title: Small task",
        "keep_dense: 'a{99999999999}'"),
        "an expression that is deep": ("title: Small task", "keep_dense: '" + "(" * 5000
        + ")" * 5000 + "'"),
        "an expression that is open": ("title: Small task", "keep_dense: '(a'"),
        "own techniques that are a pipe": ("title: Small task", "own_techniques: pipe"),
        "own techniques that are gone": ("title: Small task", "own_techniques: gone.py"),
        "own techniques that are no Python": ("title: Small task", "own_techniques: small.yaml"),
        "a score that is none": ("title: Small task", "score: magnitudes"),
    }  # fmt: skip
    found = {}
    for what, (old, new) in changes.items():
        assert old in TEXT, old
        found[f"text: {what}"] = written(TEXT.replace(old, new, 1).encode(), NAME)
    return found


def all_of():
    """Every bad configuration."""
    return yamls() | values() | senses() | garbage(TEXT.encode(), NAME) | places(NAME)
