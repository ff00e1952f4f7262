"""What two programs' translations are compared by: every sentence and every token of both."""

import math

import pytest

pytest.importorskip("fairseq")

from small import pair_of

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.export import translation_agreement
from fairseq_lottery.export.translation_agreement import compare
from fairseq_lottery.inference.beam_search import Translation
from fairseq_lottery.inference.sentences import Text, sentences_of

SENTENCES = [["a"], ["b"], ["c"]]
TRANSLATED = [["x"], ["y"], ["z"]]
#: of a token and of the </s> after it
SCORES = [[-1.0, -2.0]] * 3


class Model:
    @staticmethod
    def max_decoder_positions():
        return 100


def ours(tokens, log_probs=(-1.0, -2.0)):
    return Translation(list(tokens), list(log_probs), 1.0)


@pytest.fixture
def run(monkeypatch):
    """Compares with what the two programs are said to give; the second search gives ``again``."""

    def compared(found=TRANSLATED, scores=SCORES, wanted=None, again=None):
        wanted = [ours(tokens) for tokens in TRANSLATED] if wanted is None else wanted

        def searched(model, source, target, sentences, renormalize=False):
            return again if renormalize and again is not None else wanted[: len(sentences)]

        monkeypatch.setattr(translation_agreement, "translate_with_fairseq", searched)
        monkeypatch.setattr(translation_agreement, "translate", lambda *args, **flags: found)
        monkeypatch.setattr(translation_agreement, "score", lambda *args, **flags: scores)
        return compare(Model(), None, None, None, SENTENCES, explain=True)

    return compared


def test_all_of_both(run):
    found = run()
    assert (found.sentences, found.equal, found.worst, found.mean) == (3, 3, 0.0, 0.0)
    assert found.is_exact
    found = run(found=[["x"], ["y"], ["other"]], scores=[[-1.0, -2.0], [-1.0, -2.5], [-1.0, -2.0]])
    assert (found.equal, found.unexplained, found.worst, found.mean) == (2, 1, 0.5, 0.5 / 6)


def test_of_another_model_nothing_is_excused(run):
    """Not even a translation that was cut off, of which nobody knows how it would have ended."""
    long = ["q"] * 99
    same, other = SCORES, [[-1.0, -2.0], [-1.0, -2.0], [-1.0, -2.5]]
    found = [run(found=[["x"], ["y"], long], scores=scores) for scores in (same, other)]
    assert [(one.cut, one.unexplained) for one in found] == [(1, 0), (0, 1)]


@pytest.mark.parametrize(
    "lost, sentence",
    [
        ({"scores": SCORES[:1]}, "CTranslate2's scoring returned 1 .* 3"),
        ({"scores": [*SCORES, SCORES[0]]}, "CTranslate2's scoring returned 4 .* 3"),
        ({"found": TRANSLATED[:2]}, "CTranslate2 returned 2 .* 3"),
        ({"found": [*TRANSLATED, ["q"]]}, "CTranslate2 returned 4 .* 3"),
        ({"wanted": [ours("x"), ours("y")]}, "fairseq returned 2 .* 3"),
        (
            {"scores": [SCORES[0], [-1.0], SCORES[2]]},
            "sentence 2 needs 2 scores, but fairseq returned 2 and CTranslate2 1",
        ),
        ({"scores": [*SCORES[:2], [-1.0, -2.0, -3.0]]}, "sentence 3 .* and CTranslate2 3"),
        (
            {"wanted": [ours("x", [-1.0]), ours("y"), ours("z")], "scores": [[-1.0], *SCORES[1:]]},
            "sentence 1 needs 2 scores, but fairseq returned 1 and CTranslate2 1",
        ),
        ({"found": [["x"], ["y"], ["q"]], "again": []}, "fairseq returned 0 .* 1"),
    ],
)
def test_nothing_is_compared_in_part(run, lost, sentence):
    """The rest would agree, and what is lost would count as equal."""
    with pytest.raises(LotteryError, match=sentence):
        run(**lost)


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (2, 1)])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_log_probability_that_is_no_number_agrees_with_nothing(run, place, bad):
    """Also after a number, where the largest of both is the number."""
    scores = [list(one) for one in SCORES]
    scores[place[0]][place[1]] = bad
    found = run(scores=scores)
    assert found.worst == math.inf and not found.is_exact


def test_blank_lines_of_a_file_are_counted(tmp_path, caplog):
    text = Text(pair_of(("a",), ("a",)), "en", "de", None, {})
    path = tmp_path / "text"
    for content, blank in (("a\n\nb c\n \n", 2), ("a\n\nb c", 1), ("a\nb c\n", 0), ("a\nb c", 0)):
        path.write_text(content)
        caplog.clear()
        assert len(sentences_of(text, path, 9)) == 2
        said = [f"{blank} of the {2 + blank} lines of {path} are blank"] if blank else []
        assert [record.getMessage() for record in caplog.records] == said
