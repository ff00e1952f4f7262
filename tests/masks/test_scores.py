import hashlib
import textwrap

import numpy as np
import pytest
import torch

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import SCORES, find_score, score_all

TRAINED = {"w": torch.tensor([[3.0, -1.0], [0.5, -2.0]])}
START = {"w": torch.tensor([[1.0, -4.0], [-0.5, -2.0]])}


def scored(name, **given):
    return score_all(find_score(name)[0], TRAINED, **given)["w"].tolist()


def test_magnitude():
    assert scored("magnitude") == [[3.0, 1.0], [0.5, 2.0]]


def test_magnitude_increase():
    assert scored("magnitude-increase", start=START) == [[2.0, -3.0], [0.0, 0.0]]


def test_distance():
    assert scored("distance", start=START) == [[2.0, 3.0], [1.0, 0.0]]


def random_24_bits(name, seed=1, shape=(2, 3)):
    scores = score_all(find_score("random")[0], {name: torch.zeros(shape)}, seed=seed)[name]
    assert scores.dtype == torch.float32 and scores.shape == torch.Size(shape)
    return (scores.double() * 2**24).reshape(-1).tolist()


def test_random_is_the_same_everywhere():
    """Golden values, equal on both stacks: 24 random bits, by seed and name."""
    fc1, fc2 = "encoder.layers.0.fc1.weight", "encoder.layers.0.fc2.weight"
    assert random_24_bits(fc1)[:5] == [8217439, 11616953, 9119803, 6168384, 11582820]
    assert random_24_bits(fc1, seed=2)[:3] == [13726390, 16224792, 14834616]
    assert random_24_bits(fc2) == [8907307, 13055727, 3595360, 12500673, 7316142, 14855835]
    # a matrix of another shape has the same stream, of odd size too
    assert random_24_bits(fc2, shape=(1, 5)) == random_24_bits(fc2)[:5]


def test_random_is_uniform():
    values = torch.tensor(random_24_bits("w", shape=(100, 1000))) / 2**24
    assert 0 <= values.min() and values.max() < 1
    # a hundred cells with a thousand expected in each; 148.2 is the 99.9 % point for 99 degrees
    counts = torch.bincount((values * 100).long(), minlength=100).double()
    assert ((counts - 1000) ** 2 / 1000).sum() < 148.2


def test_random_touches_no_global_generator():
    torch.manual_seed(5)
    np.random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = random_24_bits("w")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    torch.manual_seed(6)
    np.random.seed(6)
    assert random_24_bits("w") == first


@pytest.mark.parametrize("name", ["magnitude-increase", "distance"])
def test_a_score_that_needs_start_weights_is_refused_without(name):
    with pytest.raises(LotteryError, match="requires start values; give --start-"):
        scored(name)
    for start in ({}, {"w": torch.ones(4)}):
        with pytest.raises(LotteryError, match=r"no start values for w of its shape \(2, 2\)"):
            scored(name, start=start)


@pytest.fixture
def own(tmp_path, monkeypatch, request):
    """Writes a user's own module and returns the name of its score."""
    monkeypatch.syspath_prepend(str(tmp_path))
    module = f"own_{request.node.name.split('[')[0]}"

    def write(source, attribute="score"):
        source = textwrap.dedent(source)
        (tmp_path / f"{module}.py").write_text(source)
        return f"{module}:{attribute}"

    return write


def test_a_users_own_score(own):
    name = own("""
        def score(given):
            assert given.start is None and given.gradient is None
            return given.trained * given.seed + len(given.name)
    """)
    assert scored(name, start=START, gradients=START, seed=2) == [[7.0, -1.0], [2.0, -3.0]]


def test_the_hash_is_of_the_scores_source(own):
    name = own("def score(given):\n    return given.trained\n")
    expected = hashlib.sha256(b"def score(given):\n    return given.trained\n").hexdigest()
    assert find_score(name)[1] == expected
    assert len({find_score(name)[1] for name in SCORES} | {expected}) == 11


def test_a_score_gets_the_gradients_that_it_needs(own):
    name = own("""
        from fairseq_lottery.masks import needs

        @needs("start", "gradient")
        def score(given):
            return given.gradient * (given.trained - given.start)
    """)
    gradients = {"w": torch.tensor([[1, 2], [3, 4]])}  # of any type; a score sees fp32
    assert scored(name, start=START, gradients=gradients) == [[2.0, 6.0], [3.0, 0.0]]
    with pytest.raises(LotteryError, match="requires gradient values; write .* give --gradients"):
        scored(name, start=START)
    for gradients in ({"v": TRAINED["w"]}, {"w": torch.ones(2, 1)}):
        with pytest.raises(LotteryError, match=r"no gradient values for w of its shape \(2, 2\)"):
            scored(name, start=START, gradients=gradients)


@pytest.mark.parametrize("value", ["given.trained[0]", "given.trained.sum()", "[[1, 2], [3, 4]]"])
def test_a_score_of_another_shape_is_refused(own, value):
    name = own(f"def score(given):\n    return {value}\n")
    with pytest.raises(LotteryError, match=r"score of w is .*, expected a tensor .* \(2, 2\)"):
        scored(name)


def test_a_complex_score_is_refused(own):
    with pytest.raises(LotteryError, match="score of w is complex, expected real numbers"):
        scored(own("def score(given):\n    return given.trained * 1j\n"))


def test_half_precision_is_ranked_in_single():
    scores = score_all(find_score("magnitude")[0], {"w": TRAINED["w"].half()})
    assert list(scores) == ["w"] and len(scores) == 1
    assert scores["w"].dtype == torch.float32


@pytest.mark.parametrize(
    "name, sentence",
    [
        (
            "size",
            "there is no score 'size'; choose one of magnitude, magnitude-increase, distance,",
        ),
        ("no_such_module:score", "No module named 'no_such_module'.*on PYTHONPATH"),
        ("json:score", "no attribute 'score'"),
        (":score", "score :score cannot be imported"),
        ("json:__doc__", "score json:__doc__ is not a function"),
        ("math:sqrt", "the source of score math:sqrt cannot be read"),
    ],
)
def test_names_that_are_no_score_are_refused(name, sentence):
    with pytest.raises(LotteryError, match=sentence):
        find_score(name)


def test_a_module_that_fails_is_one_sentence(own):
    with pytest.raises(LotteryError, match=r"cannot be imported \(division by zero\)"):
        find_score(own("1 / 0"))
