"""The file of a choice: it comes back, and nothing else is taken for one."""

import json

import pytest

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.components.parts import Parts
from fairseq_lottery.heads.components.parts_file import load_parts, save_parts

ENC = "encoder.layers.0"
ANATOMY = Anatomy({f"{ENC}.self_attn": 4, "decoder.layers.0.encoder_attn": 2}, {ENC: 6})
PARTS = Parts(ANATOMY, {"heads": {f"{ENC}.self_attn": [0, 2]}, "units": {ENC: [5]}}, "uniform")


def plain(**changes):
    values = {"format": "fairseq_lottery parts 1", **PARTS.to_json(), "record": {"seed": 1}}
    return {**values, **changes}


def test_it_comes_back(tmp_path):
    save_parts(tmp_path / "a.json", PARTS, {"seed": 1})
    parts, record = load_parts(tmp_path / "a.json")
    assert parts == PARTS and record == {"seed": 1}
    assert json.loads((tmp_path / "a.json").read_text()) == plain()
    with pytest.raises(LotteryError, match="exists already"):
        save_parts(tmp_path / "a.json", PARTS, {})


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[1]", "is no choice of heads"),
        ("{}", "is no choice of heads"),
        (plain(format="fairseq_lottery parts 2"), "is no choice of heads"),
        (plain(heads=None), "are no numbers"),
        (plain(heads={f"{ENC}.self_attn": -4}), "are no numbers"),
        (plain(heads={f"{ENC}.self_attn": 4.0}), "are no numbers"),
        (plain(heads={f"{ENC}.self_attn": True}), "are no numbers"),
        (plain(heads={"encoder\n": 4}), "are no numbers"),
        (plain(heads={"head": 4}), "'head' is in no layer"),
        (plain(units={ENC: 10**9}), "are no numbers"),
        (plain(units={f"encoder.layers.{n}": 1 << 22 for n in (0, 1)}), "too many parts"),
        (plain(closed={"heads": {}}), "are no numbers"),
        (plain(closed={"heads": {}, "units": [], "blocks": {}}), "are no numbers"),
        (plain(closed={"heads": {}, "units": {ENC: 5}, "blocks": {}}), "are no numbers"),
        (plain(closed={"heads": {}, "units": {ENC: [6]}, "blocks": {}}), "6 is none of them"),
        (plain(closed={"heads": {}, "units": {ENC: [5, 5]}, "blocks": {}}), "closed twice"),
        (plain(closed={"heads": {"x": [0]}, "units": {}, "blocks": {}}), "has no heads in 'x'"),
        (plain(mode="mean"), "no mode 'mean'"),
        (plain(mode=None), "no mode 'None'"),
        (plain(record=None), "no record"),
    ],
)
def test_what_is_none_is_refused(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    with pytest.raises(LotteryError, match=message) as error:
        load_parts(path)
    assert "\n" not in str(error.value)


def test_no_file_and_a_folder(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(LotteryError, match="cannot be read"):
            load_parts(path)
