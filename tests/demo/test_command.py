import argparse

import pytest

from fairseq_lottery.cli import demo
from fairseq_lottery.errors import LotteryError


def parse(*words):
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    return parser.parse_args(words)


def test_defaults():
    args = parse()
    assert (str(args.out), args.seed, args.jobs) == ("demo", 1, 2)


@pytest.mark.parametrize(
    "words, sentence",
    [
        (("--jobs", "0"), "--jobs 0 runs nothing; give 1 or more"),
        (("--seed", "-1"), "--seed -1 is negative; give 0 or more"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(words, sentence):
    with pytest.raises(LotteryError) as error:
        demo.run(parse(*words))
    assert str(error.value) == sentence
