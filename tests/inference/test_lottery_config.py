import argparse
from pathlib import Path

import pytest

pytest.importorskip("fairseq")

from fairseq.dataclass.utils import gen_parser_from_dataclass  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402

from fairseq_lottery.inference.lottery_config import LotteryConfig  # noqa: E402
from fairseq_lottery.options import GROUPS, TRAINING, options  # noqa: E402

OPTIONS = options(*GROUPS, place=TRAINING)


def test_every_option_of_a_training_is_a_flag_with_its_default():
    parser = argparse.ArgumentParser()
    gen_parser_from_dataclass(parser, LotteryConfig())
    flags = {action.option_strings[0]: action for action in parser._actions}
    assert set(flags) == {"-h", *(one.flag_in(TRAINING) for one in OPTIONS)}
    for one in OPTIONS:
        action = flags[one.flag_in(TRAINING)]
        assert (action.default, action.help) == (one.default_in(TRAINING), one.text)


def test_settings_that_were_stored_under_another_name_are_merged():
    """As fairseq does for a task out of a checkpoint."""
    assert OmegaConf.merge(LotteryConfig(), OmegaConf.create({"floor": 0.1})).floor == 0.1
    whole = OmegaConf.create({"task": OmegaConf.structured(LotteryConfig(min_density=0.2))})
    assert OmegaConf.to_container(whole, resolve=True)["task"]["floor"] == 0.2


def test_a_plain_checkpoint_has_no_option_under_any_of_its_names():
    from fairseq_lottery.export.checkpoint_forms import plain_state
    from fairseq_lottery.formats import read_checkpoint

    golden = Path(__file__).resolve().parents[1] / "golden/modern/trained/global"
    path = golden / "checkpoint_last.pt"
    cfg = plain_state(read_checkpoint(path), path)["cfg"]
    names = {name for one in OPTIONS for name in (one.name_in(TRAINING), one.key(TRAINING))}
    assert "floor" in names and not names & (cfg["task"].keys() | cfg["model"].keys())
