import io

import pytest

pytest.importorskip("rich")
torch = pytest.importorskip("torch")
pytest.importorskip("sacrebleu")
from rich.console import Console  # noqa: E402

from fairseq_lottery.demo import report  # noqa: E402
from fairseq_lottery.demo.measure import (  # noqa: E402
    Zeros,
    bleu,
    count_zeros,
    p_value,
    read_hypotheses,
)
from fairseq_lottery.demo.plan import METHODS, Recipe, Run, runs  # noqa: E402
from fairseq_lottery.demo.results import Place, Result, order_line, ranking  # noqa: E402
from fairseq_lottery.errors import LotteryError  # noqa: E402

REFERENCES = [f"Der {word} Mann kauft heute {n} Äpfel." for n, word in enumerate(["alte"] * 60)]


def generated(tmp_path, numbers, references=REFERENCES):
    """What fairseq-generate writes for these sentences, in its order: by length, not by id."""
    lines = ["2026 | INFO | noise"]
    for n in numbers:
        lines += [f"S-{n}\tsource", f"T-{n}\t{references[n]}"]
        lines += [f"H-{n}\t-0.25\thypothesis {n}", f"D-{n}\t-0.25\tdetokenized", f"P-{n}\t-0.1"]
    path = tmp_path / "generate-test.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_hypotheses_come_in_the_order_of_the_references(tmp_path):
    path = generated(tmp_path, [2, 0, 1])
    assert read_hypotheses(path, REFERENCES[:3]) == [f"hypothesis {n}" for n in range(3)]


def test_a_dropped_sentence_is_refused(tmp_path):
    with pytest.raises(LotteryError, match="has 2 translations of 3 sentences"):
        read_hypotheses(generated(tmp_path, [2, 0]), REFERENCES[:3])


def test_translations_of_another_text_are_refused(tmp_path):
    path = generated(tmp_path, [0, 1, 2], ["Der Mann.", "Die Frau.", "Das Kind."])
    with pytest.raises(LotteryError, match="another sentence 1 than the test set"):
        read_hypotheses(path, ["Der Mann.", "Die Katze.", "Das Kind."])


def test_bleu_carries_its_signature():
    score, signature = bleu(REFERENCES, REFERENCES)
    assert score == pytest.approx(100)
    assert "|tok:13a|" in signature and "nrefs:1" in signature


def test_the_test_tells_a_difference_from_none():
    worse = [reference.replace("kauft", "isst") for reference in REFERENCES]
    assert p_value(REFERENCES, worse, REFERENCES) < 0.01
    one_word_each = [REFERENCES[0].replace("heute", "oft"), *REFERENCES[1:]]
    other = [*REFERENCES[:-1], REFERENCES[-1].replace("heute", "nun")]
    assert p_value(one_word_each, other, REFERENCES) > 0.05
    assert p_value(worse, list(worse), REFERENCES) == 1


def test_zeros_are_counted_in_matrices_without_the_padding_row(tmp_path):
    embedding = torch.ones(10, 4)
    embedding[1] = 0  # the padding row
    embedding[3:8] = 0
    model = {
        "encoder.embed_tokens.weight": embedding,
        "decoder.embed_tokens.weight": embedding,
        "decoder.output_projection.weight": embedding,
        "encoder.layers.0.fc1.weight": torch.tensor([[1.0, 0.0], [2.0, -1.0]]),
        "encoder.layers.0.fc1.bias": torch.zeros(2),
    }
    torch.save({"model": model}, tmp_path / "checkpoint_last.pt")
    zeros = count_zeros(tmp_path / "checkpoint_last.pt")
    assert (zeros.pruned, zeros.prunable) == (5 * 4 + 1, 9 * 4 + 4)
    assert zeros.sparsity == pytest.approx(21 / 40)


def spoil(count):
    return [r if n >= count else r.replace("kauft", "isst") for n, r in enumerate(REFERENCES)]


@pytest.fixture
def results():
    """Made-up results: the dense model first, every method a bit worse than the one before."""
    spoiled = {("dense", 0): 0}
    for at in (80, 90):
        spoiled |= {(m, at): at // 10 * (2 * n + 1) for n, m in enumerate(METHODS)}
    found = []
    for run in runs():
        hypotheses = spoil(min(spoiled[run.method, run.sparsity], 60))
        zeros = Zeros(run.sparsity * 10, 1000)
        found.append(Result(run, *bleu(hypotheses, REFERENCES), zeros, hypotheses))
    return found


def test_the_ranking_is_found_not_assumed(results):
    places = ranking(results, REFERENCES, 80)
    assert [place.method for place in places] == list(METHODS)
    scores = [place.bleu for place in places]
    assert scores == sorted(scores, reverse=True)
    assert places[0].p is None and all(place.p < 0.05 for place in places[1:])


def test_the_order_says_where_the_test_finds_nothing():
    places = [Place("a", 30.0, None), Place("b", 29.9, 0.4), Place("c", 20.0, 0.001)]
    assert order_line(places) == "a ~ b > c"


def test_the_table_has_every_number(results):
    shown = io.StringIO()
    Console(file=shown, width=100).print(report.terminal_table(results))
    page = report.page(Recipe(), results, {80: ranking(results, REFERENCES, 80)}, 12.3)
    for result in results:
        assert f"{result.bleu:.1f}" in shown.getvalue()
        assert f"{result.bleu:.1f}" in page
    assert "- slt-90: 900 of 1000 (90.00%)" in page
    assert results[0].signature in page
    assert Run("random mask", 80).method in page


def test_the_plot_is_written(results, tmp_path):
    pytest.importorskip("matplotlib")
    from fairseq_lottery.demo.plot import draw_plot

    draw_plot(tmp_path / "results.png", results)
    assert (tmp_path / "results.png").read_bytes().startswith(b"\x89PNG")
