import re

import pytest

from fairseq_lottery.compat import PHANTOM_PARAMETER


@pytest.mark.parametrize(
    "name, phantom",
    [
        ("encoder.layers.0.fc1_weight", True),
        ("encoder.layers.11.in_proj_bias", True),
        ("layers.0.out_proj_weight", True),
        ("encoder.layers.0.fc1.weight", False),
        ("encoder.layers.0.self_attn.in_proj_weight", False),
        ("decoder.layers.0.fc1_weight", False),
    ],
)
def test_the_copies_in_the_encoder_of_0_12_2(name, phantom):
    assert bool(re.match(PHANTOM_PARAMETER, name)) == phantom
