import pytest

from fairseq_lottery.errors import LotteryError


@pytest.mark.parametrize(
    "text, shown",
    [
        ("there is no file Übung/日本.pt", "there is no file Übung/日本.pt"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\u2028b\u202eb", "a\\u2028b\\u202eb"),
        ("caf\udce9.pt", "caf\\udce9.pt"),
        ("it's a \"name\"", "it's a \"name\""),
    ],
)
def test_a_sentence_is_one_line_that_no_terminal_acts_on(text, shown):
    assert str(LotteryError(text)) == shown
