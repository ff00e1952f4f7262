"""What is wrong with a compact model in itself, under a digest that fits."""

import torch


def all_of(good):
    """A model's record, values and buffers, as no model has them."""
    record, found = good.record, {}
    for key in ("names", "ties", "mask", "settings"):
        less = {k: v for k, v in record.items() if k != key}
        found[f"without {key}"] = good.signed(record=less)
        for value in (None, True, 1, "x", [1], [[]], {"x": 1}, {"": []}):
            if key != "settings" or not isinstance(value, dict):
                found[f"{key} {value!r}"] = good.signed(record={**record, key: value})
    names, ties = record["names"], record["ties"]
    first = next(iter(ties))
    for what, other in {
        "one less": names[1:], "one twice": [*names, names[0]], "one more": [*names, "x"],
        "one is no name": [*names[1:], 7], "none": [],
    }.items():  # fmt: skip
        found[f"names: {what}"] = good.signed(record={**record, "names": other})
    for what, other in {
        "to nothing": {**ties, first: "x"}, "to itself": {**ties, first: first},
        "to a number": {**ties, first: 1}, "to a list": {**ties, first: []},
        "another": {**ties, "x": ties[first]}, "none": {},
    }.items():  # fmt: skip
        found[f"ties: {what}"] = good.signed(record={**record, "ties": other})
    for key, values in {
        "model": ({}, {"x": 1}, None), "cfg": (1, "x", [1], {"model": 1}, {"common": "x"},
        {"task": []}), "args": (1, "x", [1]), "optimizer_history": (1, "x", {}, [1], [None],
        [{"num_updates": "x"}], [{"num_updates": -1}]), "task_state": (1, "x", [1], {"lottery": 1},
        {"lottery": {"mask": 1}}), "extra_state": (1, "x", [1]), "last_optimizer_state": (1, "x",
        {"lottery": 1}, {"lottery": {"masters": {"x": 1}}}),
    }.items():  # fmt: skip
        for value in values:
            if value not in ([], {}) or key == "model":
                settings = {**record["settings"], key: value}
                found[f"settings: {key} {value!r}"] = good.signed(
                    record={**record, "settings": settings}
                )
    deep = 1
    for _ in range(400):
        deep = {"x": deep}
    settings = {**record["settings"], "cfg": {"model": deep}}
    found["settings: nested deeply"] = good.signed(record={**record, "settings": settings})
    return found | _tensors(good)


def _tensors(good):
    """Values and buffers of a model that it cannot have."""
    found = {}
    matrix, vector = "values/encoder.layers.0.fc1.weight", "values/encoder.layers.0.fc1.bias"
    buffer = good.first("buffer/")
    for name in (matrix, vector):
        weight, short = good.tensors[name], name.rpartition(".")[2]
        one = weight.clone()
        one[-1] = float("nan")
        for what, tensor in {
            "NaN": weight * float("nan"), "one NaN": one, "infinite": weight / 0,
            "one less": weight[:-1], "none": weight[:0], "a matrix": weight.reshape(1, -1),
            "65 dimensions": weight.reshape([1] * 64 + [-1]),
        }.items():  # fmt: skip
            if (short, what) in {("bias", "one less"), ("bias", "none"), ("bias", "a matrix")}:
                continue  # a model of another shape, which only fairseq could tell
            found[f"{short}: {what}"] = good.signed({**good.tensors, name: tensor})
        less = {n: t for n, t in good.tensors.items() if n != name}
        found[f"{short}: missing"] = good.signed(less)
    for name in ("values/", "x/y", "x", "", "/", "values", "dictionary/source", "moments/a/b",
                 "weights/x", "values/x", "buffer/x", "buffer/\x1b[2J",
                 f"values/{buffer}"):  # fmt: skip
        found[f"a tensor named {name!r}"] = good.signed({**good.tensors, name: torch.ones(2)})
    return found
