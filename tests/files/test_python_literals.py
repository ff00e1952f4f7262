import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import PROPERTY

from fairseq_lottery.files.python_literals import is_numbers, is_plain_value

PLAIN = [
    "", "masked_adam", "7e-4", "-3", "0.9,0.98", "(0.9, 0.98)", "[1, 2]", "{'lr': 0.1, 'x': None}",
    '{"beam": 4, "lenpen": 0.6}', " ", "/data/my runs/x.pt:y.pt", "~/x", "50%", "é", "label=1",
    "[(512, 3)] * 20", "[(512, 3)] * 9 + [(1024, 3)] * 4 + [(2048, 1)] * 2", "('gelu', True)",
    '{"beam": 5, "no_early_stop": true, "prefix": null, "max_len_a": 1.2}', "5e-4,1e-4", "9,20",
]  # fmt: skip
PROGRAMS = [
    "[x for x.y in [1]]", "[Adam['a'] for Adam.__class_getitem__ in [torch.os.system]]",
    "f()", "(f)()", "x[0]", "[f][0]", "{**x}", "[*x]", "(x)", "[x]", "{'a': x}", "`ls`",
    "'a' 'b(c)'",
    "f'{x}'", "lambda: 0 or f()", "(yield)", "(x := 1)", "\\", "9**9", "2 << 9", "'a(b)'",
    "[(9, 9)] * 10000", "[0] * 10**9", "\uff08x\uff09", "a\nb", "x;y",
    "__import__('os')",
    "(" * 500 + ")" * 500, "[" + "1," * 1000 + "]", "{[]: 1}", "b'a'", "{1, 2}", "...()", "'\\x28'",
]  # fmt: skip


@pytest.mark.parametrize("text", PLAIN)
def test_words_numbers_and_literals_are_plain(text):
    assert is_plain_value(text)


@pytest.mark.parametrize("text", PROGRAMS)
def test_nothing_that_could_call_is_plain(text):
    assert not is_plain_value(text)


@PROPERTY
@given(st.text("ab.:,=+-/@%~ []()'{}*1", max_size=30))
def test_evaluating_a_plain_value_calls_nothing(text):
    """Names stand for objects that note every call and every item that is asked of them."""
    called = []

    class Watched:
        def __call__(self, *args):
            called.append("call")

        def __getitem__(self, key):
            called.append("item")

        def __iter__(self):
            called.append("iteration")
            return iter(())

        def __getattr__(self, name):
            return Watched()

    if is_plain_value(text):
        try:
            eval(text, {name: Watched() for name in ("a", "b", "ab", "ba")})
        except Exception:  # noqa: BLE001 - most texts are no Python
            pass
    assert not called


def test_numbers():
    assert all(map(is_numbers, ("True", "False", "4", "10,20")))
    assert not any(map(is_numbers, ("", "[4]", "relu", "4,", "4\n")))
