"""The file of a choice: it comes back, and nothing else is taken for one."""

import json

import pytest

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.components.choice_file import load_choice, save_choice
from fairseq_lottery.heads.components.component_mask import ComponentMask

ENC = "encoder.layers.0"
ANATOMY = Anatomy({f"{ENC}.self_attn": 4, "decoder.layers.0.encoder_attn": 2}, {ENC: 6})
PARTS = ComponentMask(
    ANATOMY, {"heads": {f"{ENC}.self_attn": [0, 2]}, "units": {ENC: [5]}}, "uniform"
)


def plain(**changes):
    values = {"format": "fairseq_lottery parts 1", **PARTS.to_json(), "record": {"seed": 1}}
    return {**values, **changes}


def test_it_comes_back(tmp_path):
    save_choice(tmp_path / "a.json", PARTS, {"seed": 1})
    components, record = load_choice(tmp_path / "a.json")
    assert components == PARTS and record == {"seed": 1}
    assert json.loads((tmp_path / "a.json").read_text()) == plain()
    with pytest.raises(LotteryError, match="exists already"):
        save_choice(tmp_path / "a.json", PARTS, {})


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[1]", "is not a choice of heads"),
        ("{}", "is not a choice of heads"),
        (plain(format="fairseq_lottery parts 2"), "is not a choice of heads"),
        (plain(heads=None), "heads and units must map"),
        (plain(heads={f"{ENC}.self_attn": -4}), "heads and units must map"),
        (plain(heads={f"{ENC}.self_attn": 4.0}), "heads and units must map"),
        (plain(heads={f"{ENC}.self_attn": True}), "heads and units must map"),
        (plain(heads={"encoder\n": 4}), "heads and units must map"),
        (plain(heads={"head": 4}), "'head' is not in a layer"),
        (plain(units={ENC: 10**9}), "heads and units must map"),
        (
            plain(units={f"encoder.layers.{n}": 1 << 22 for n in (0, 1)}),
            "more than 4194304 components",
        ),
        (plain(closed={"heads": {}}), "closed must map"),
        (plain(closed={"heads": {}, "units": [], "blocks": {}}), "closed must map"),
        (plain(closed={"heads": {}, "units": {ENC: 5}, "blocks": {}}), "closed must map"),
        (
            plain(closed={"heads": {}, "units": {ENC: [6]}, "blocks": {}}),
            "units 6 of encoder.layers.0 is out of range",
        ),
        (plain(closed={"heads": {}, "units": {ENC: [5, 5]}, "blocks": {}}), "listed twice"),
        (plain(closed={"heads": {"x": [0]}, "units": {}, "blocks": {}}), "has no heads in 'x'"),
        (plain(mode="mean"), "mode 'mean' of pruned heads is unknown"),
        (plain(mode=None), "mode 'None' of pruned heads is unknown"),
        (plain(record=None), "record is missing"),
    ],
)
def test_what_is_none_is_refused(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    with pytest.raises(LotteryError, match=message) as error:
        load_choice(path)
    assert "\n" not in str(error.value)


def test_no_file_and_a_folder(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(LotteryError, match="cannot be read"):
            load_choice(path)
