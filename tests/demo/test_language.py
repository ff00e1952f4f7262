import hashlib
import random
import re

import pytest

from fairseq_lottery.demo.language import corpus
from fairseq_lottery.demo.prepare import SIZES


@pytest.fixture(scope="module")
def parts():
    return corpus(1, SIZES)


@pytest.fixture(scope="module")
def german(parts):
    return [german for _, german in parts["train"]]


def digest(parts):
    lines = [f"{name}\t{pair[0]}\t{pair[1]}" for name in parts for pair in parts[name]]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def test_the_seed_decides_every_letter(parts):
    assert digest(parts) == "488f8f4c4569ff6bd86df0928ad0fc8be81a69ddcaa219e82f1aeece0a075392"
    assert digest(corpus(2, SIZES)) != digest(parts)


def test_golden_sentences(parts):
    assert parts["test"][0] == (
        "Our children invite fifty-one kings.",
        "Unsere Kinder laden einundfünfzig Könige ein.",
    )
    assert parts["test"][2] == (
        "If the dog helps this guest, this queen thanks the cheap cat in front of a tree.",
        "Wenn der Hund diesem Gast hilft, dankt diese Königin der billigen Katze vor einem Baum.",
    )


def test_the_global_generator_is_neither_read_nor_moved():
    random.seed(5)
    before = random.getstate()
    first = corpus(3, {"some": 50})
    assert random.getstate() == before
    random.seed(6)
    assert corpus(3, {"some": 50}) == first


def test_no_sentence_occurs_twice_on_either_side(parts):
    sizes = {name: len(pairs) for name, pairs in parts.items()}
    assert sizes == {"test": 500, "valid": 200, "train": 20000}
    for side in (0, 1):
        sentences = [pair[side] for pairs in parts.values() for pair in pairs]
        assert len(set(sentences)) == len(sentences) == 20700


def test_sentences_are_of_a_real_length(parts):
    lengths = [len(english.split()) for english, _ in parts["train"]]
    assert sum(lengths) / len(lengths) == pytest.approx(11.2, abs=0.1)
    assert (min(lengths), max(lengths)) == (3, 31)


@pytest.mark.parametrize(
    "difficulty, pattern, sentences",
    [
        ("subordinate clause", r"\b([Ww]eil|[Ww]enn|[Oo]bwohl|[Bb]is|dass)\b", 9944),
        ("clause in front, verb before subject", r"^(Weil|Wenn|Obwohl|Bis) ", 3014),
        ("prefix at the end of a main clause", r" (auf|zu|mit|weg|an|ein|zurück)[.,]", 3002),
        ("prefix joined in front", r"\b(auf|zu|mit|weg|an|ein)(heb|mach|nimm|ruf|lä|sieh)", 1561),
        ("infinitive before its modal", r"en (kann|muss|darf|soll|können|müssen)[.,]", 1645),
        ("compound", r"\b(Küchen|Garten|Schul|Stadt|Dorf|Nacht)[a-zäöü]", 2533),
        ("inverted numeral", r"und(zwanzig|dreißig|[a-zü]+zig)\b", 5271),
        ("masculine accusative", r"\b([Dd]en|[Ee]inen|[Mm]einen|[Uu]nseren|[Dd]iesen)\b", 7229),
        ("dative singular", r"\b(dem|einem|meinem|unserem|diesem)\b", 5640),
        ("dative plural with -n", r" (Kindern|Männern|Freunden|Gästen|Hunden)\b", 777),
        ("accusative of motion", r"(stell|leg)[^,]* (hinter|neben|vor) (den|einen)\b", 44),
        ("dative of place", r" (hinter|neben|vor) (dem|einem)\b", 645),
    ],
)
def test_every_difficulty_occurs(german, difficulty, pattern, sentences):
    assert sum(bool(re.search(pattern, sentence)) for sentence in german) == sentences
