"""Labels are those that an independent parser finds in the text."""

from functools import cache

import pytest
from demo.english_parser import ADJECTIVE, MANY, ONE, PERSON, parse

from fairseq_lottery.demo.encoders.task_table import draw_parts
from fairseq_lottery.demo.lexicon import VERBS

FRAMES = {verb.english: verb.frame for verb in VERBS}
ROLES = ("subject", "person", "thing", "place", "adjunct")


@cache
def examples(name):
    parts = draw_parts(name, 3, {"test": 120, "train": 240})
    return [example for part in parts.values() for example in part]


@pytest.fixture
def parsed():
    """Returns the one analysis of a text, without marks."""

    def one(text):
        (found,) = parse(text.replace("* ", ""))
        return found

    return one


def test_acceptability():
    for (text,), label in examples("acceptability"):
        assert len(parse(text)) == (label == "acceptable"), text


def test_agreement(parsed):
    for (text,), label in examples("agreement"):
        main, _, sub, _ = parsed(text)
        numbers = [clause["subject"][1] for clause in (main, sub)]
        assert numbers == (["one", "many"] if label == "singular" else ["many", "one"])


def test_tense(parsed):
    for (text,), label in examples("tense"):
        main, conjunction, sub, _ = parsed(text)
        forms = [
            form if form in ("present", "perfect") else "modal"
            for form in (main["form"], sub["form"])
        ]
        assert forms[0] == label != forms[1] and conjunction != "that"


def test_role(parsed):
    nouns = {**ONE, **MANY}
    for (text,), label in examples("role"):
        main, _, sub, _ = parsed(text)
        words = [word.rstrip(".,").lower() for word in text.split()]
        noun = nouns[words[words.index("*") + 1]]
        assert sub is None and noun in PERSON
        roles = [role for role, one in people(main).items() if one == noun]
        assert label in roles


def people(main):
    """Label -> noun of a person, as far as the clause has it."""
    receiver = FRAMES[main["verb"]] == "give"
    found = {"agent": main["subject"][0]}
    if main.get("person"):
        found["receiver" if receiver else "patient"] = main["person"][0]
    return found


def test_paraphrase(parsed):
    same_words = 0
    for (first, second), label in examples("paraphrase"):
        assert first != second
        assert (parsed(first) == parsed(second)) is (label == "same"), (first, second)
        same_words += label == "different" and bag(parsed(first)) == bag(parsed(second))
    assert same_words > 20, "some of the different pairs have the same content words"


def bag(analysis):
    main, _, _, adverb = analysis
    words = [word for role in ROLES for word in (main.get(role) or ())]
    return sorted([*words, main["verb"], main["form"], adverb])


def test_similarity(parsed):
    for (first, second), score in examples("similarity"):
        (one, _, _, adverb), (other, _, _, other_adverb) = parsed(first), parsed(second)
        assert adverb == other_adverb and one["form"] == other["form"]
        equal = [one["verb"] == other["verb"]]
        for role in ROLES:
            if one.get(role):
                *before, noun, number, article, adjective, modifier = one[role]
                *after, noun2, number2, article2, adjective2, modifier2 = other[role]
                assert (before, number, article) == (after, number2, article2)
                equal.append(noun == noun2)
                equal += [adjective == adjective2] if adjective in ADJECTIVE else []
                equal += [modifier == modifier2] if modifier else []
        assert float(score) == pytest.approx(5 * sum(equal) / len(equal), abs=0.001)


def facts(clause, adverb):
    """A clause as a set of facts that it states together."""
    found = {("verb", clause["verb"], clause["form"])}
    found |= {("adverb", adverb)} if adverb else set()
    for role in ROLES:
        if clause.get(role):
            *before, noun, number, article, adjective, modifier = clause[role]
            found.add((role, *before, noun, number, article, modifier))
            found |= {(role, "is", adjective)} if adjective else set()
    return found


def stated(analysis):
    """Denial and facts of each clause that is true if the sentence is."""
    main, conjunction, sub, adverb = analysis
    if conjunction == "if":
        return []
    clauses = [] if conjunction == "that" else [(main, adverb)]
    if sub is not None and (conjunction != "that" or main["verb"] == "know"):
        clauses.append((sub, ""))
    return [(clause["denied"], facts(clause, one)) for clause, one in clauses]


def test_entailment(parsed):
    """Fewer facts follow from more of them; the denial of more follows from that of fewer."""
    for (premise, hypothesis), label in examples("entailment"):
        ((denied, claimed),) = stated(parsed(hypothesis))
        found = "neutral"
        for is_denied, given in stated(parsed(premise)):
            if given <= claimed if is_denied else claimed <= given:
                found = "entailment" if denied is is_denied else "contradiction"
        assert found == label, (premise, hypothesis)


def test_negation_tells_nothing_about_entailment():
    """Each label has all four combinations of a denied or stated premise and hypothesis."""
    kinds = {
        label: {
            (" not " in one.texts[0], " not " in one.texts[1])
            for one in examples("entailment")
            if one.label == label
        }
        for label in ("entailment", "neutral")
    }
    assert len(kinds["neutral"]) == 4 and len(kinds["entailment"]) >= 2


def test_neutral_people_are_not_only_called_by_a_more_general_name(parsed):
    for (premise, hypothesis), label in examples("entailment"):
        if label == "neutral":
            main = parsed(hypothesis)[0]
            general = {main[role][0] for role in ROLES[:2] if main.get(role)} & {"man", "woman"}
            assert all(f" {noun}" in premise.lower().replace("men", "man") for noun in general)
