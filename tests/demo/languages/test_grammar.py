from random import Random

import pytest

from fairseq_lottery.demo.encoders.documents import negated
from fairseq_lottery.demo.languages.grammar import say
from fairseq_lottery.demo.languages.language_table import LANGUAGES
from fairseq_lottery.demo.languages.vocabulary import affixes, words
from fairseq_lottery.demo.meanings.meaning import Clause, NounPhrase, Sentence, draw
from fairseq_lottery.demo.meanings.styles import english

SLEEP = Clause(NounPhrase("we", True), "sleep", "must", negated=True)
GIVE = Clause(
    subject=NounPhrase("baker", False, "the", "old"),
    verb="give",
    form="perfect",
    person=NounPhrase("cat", True, "this", preposition="to"),
    thing=NounPhrase("table", False, "forty-two", modifier="kitchen"),
    adjunct=NounPhrase("tree", False, "my", preposition="behind"),
)


class Glossed(dict):
    """A vocabulary whose words are the English ones."""

    def __missing__(self, word):
        return word.replace(" ", "_")


@pytest.fixture
def glossed(monkeypatch):
    """Says sentences with English words and named affixes, so that order and forms can be read."""
    marks = {
        name: name for name in ("plural", "object", "receiver", "first", "third", "many", "perfect")
    }
    module = "fairseq_lottery.demo.languages.grammar._vocabulary"

    def gloss(code, sentence, moved=False):
        prefix = LANGUAGES[code].family == "south"
        shown = {name: f"{name}-" if prefix else f"-{name}" for name in marks}
        monkeypatch.setattr(module, lambda _: (Glossed(), shown))
        return say(code, sentence, moved)

    return gloss


@pytest.mark.parametrize(
    "code, text",
    [
        ("na", "The old baker give-perfect-third this cat-plural-receiver forty two kitchen"
               " table-object behind my tree."),
        ("nb", "The old baker my tree behind this cat-plural-receiver forty two kitchen"
               " table-object give-perfect-third."),
        ("nc", "Give-perfect-third baker old the cat-plural-receiver this table-object kitchen two"
               " forty behind tree my."),
        ("sa", "The old baker third-perfect-give this receiver-plural-cat forty two kitchen"
               " object-table behind my tree."),
    ],
)  # fmt: skip
def test_order_and_affixes(glossed, code, text):
    assert glossed(code, Sentence(GIVE)) == text


def test_modals_and_negation(glossed):
    assert glossed("na", Sentence(SLEEP, "now")) == "Now we not must-many sleep."
    assert glossed("sb", Sentence(SLEEP, "now"), True) == "We not sleep many-must now."
    assert glossed("sc", Sentence(SLEEP)) == "Not many-must sleep we."


def test_conjunctions(glossed):
    sing = Clause(NounPhrase("I", False), "sing", "present")
    because = Sentence(SLEEP, conjunction="because", sub=sing)
    assert glossed("na", because) == "We not must-many sleep, because I sing-first."
    assert glossed("nb", because, True) == "I sing-first because, we not sleep must-many."
    says = Sentence(sing._replace(verb="say"), conjunction="that", sub=SLEEP)
    assert glossed("nb", says) == "We not sleep must-many that, I say-first."
    assert glossed("sc", says, True) == "First-say I, that not many-must sleep we."


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_word_says_what_its_english_word_says(code):
    """Read word by word with a dictionary, a text has the content words of its meaning."""
    meanings, parts = {word: meaning for meaning, word in words(code).items()}, affixes(code)
    rng = Random(1)

    def read(word):
        """All ways to take affixes off that leave a word."""
        found = {meanings[word]} if word in meanings else set()
        for affix in parts.values():
            rest = (
                word.removeprefix(affix)
                if LANGUAGES[code].family == "south"
                else word.removesuffix(affix)
            )
            if rest != word:
                found |= read(rest)
        return found

    for _ in range(200):
        sentence = negated(rng, draw(rng))
        readings = [read(word.strip(".,").lower()) for word in say(code, sentence).split()]
        assert all(readings)
        wanted = [clause.verb for clause in (sentence.main, sentence.sub) if clause]
        wanted += [
            phrase.noun
            for clause in (sentence.main, sentence.sub)
            if clause
            for _, phrase in clause.phrases()
        ]
        for word in wanted:
            assert any(word in reading for reading in readings)


@pytest.mark.parametrize("code", LANGUAGES)
def test_different_meanings_have_different_texts(code):
    rng = Random(2)
    drawn = [negated(rng, draw(rng)) for _ in range(3000)]
    texts = {}
    for sentence in drawn:
        assert texts.setdefault(say(code, sentence), english(sentence)) == english(sentence)
