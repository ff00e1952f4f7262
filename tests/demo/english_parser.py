"""Another grammar of the demo's English, written as a parser: it knows only the lexicon."""

from fairseq_lottery.demo.lexicon import (
    ADJECTIVES,
    ADVERBS,
    CONJUNCTIONS,
    MODALS,
    MODIFIERS,
    PEOPLE,
    PLACES,
    PREPOSITIONS,
    SAYING,
    THINGS,
    VERBS,
)
from fairseq_lottery.demo.phrases import english_numeral

ADJECTIVE, MODIFIER, ADVERB, MODAL, CONJUNCTION = (
    {row[0] for row in rows} for rows in (ADJECTIVES, MODIFIERS, ADVERBS, MODALS, CONJUNCTIONS)
)
NUMERAL = {english_numeral(number) for number in range(2, 100)}
ONE = {noun.english: noun.english for noun in PEOPLE + THINGS}
MANY = {noun.english_plural: noun.english for noun in PEOPLE + THINGS}
PERSON = {noun.english for noun in PEOPLE}
OBJECTS = {"me": "I", "him": "he", "her": "she", "us": "we", "them": "they"}
SUBJECTS = set(OBJECTS.values())


def phrase(words, start, kind="any", pronouns=()):
    """Yield (noun phrase, end); a noun phrase is noun, number, article, adjective, modifier."""
    if start < len(words) and words[start] in pronouns:
        noun = OBJECTS.get(words[start], words[start])
        yield (noun, "many" if noun in ("we", "they") else "one", "", "", ""), start + 1
        return
    article, place = "", start
    if words[place : place + 1] and (
        words[place] in ("the", "a", "an", "this", "these", "my", "our") or words[place] in NUMERAL
    ):
        article, place = words[place], place + 1
    adjective = modifier = ""
    if words[place : place + 1] and words[place] in ADJECTIVE:
        adjective, place = words[place], place + 1
    if words[place : place + 1] and words[place] in MODIFIER:
        modifier, place = words[place], place + 1
    for forms, number in ((ONE, "one"), (MANY, "many")):
        noun = forms.get(words[place]) if place < len(words) else None
        if noun is None:
            continue
        singular = ("the", "a", "an", "this", "my", "our")
        allowed = (
            article in singular
            if number == "one"
            else article in ("the", "these", "my", "our", "") or article in NUMERAL
        )
        if article in ("a", "an"):
            allowed = allowed and (article == "an") is (words[start + 1][0] in "aeiou")
        if kind != "any":
            allowed = allowed and (kind == "person") is (noun in PERSON)
        if allowed:
            plain = {"an": "a", "these": "this"}.get(article, article)
            yield (noun, number, plain, adjective, modifier), place + 1


def starts(words, start, text):
    wanted = text.split()
    return start + len(wanted) if words[start : start + len(wanted)] == wanted else None


def group(words, start):
    """Yield (verb, form, voice, who agrees, denied, end)."""
    for verb in VERBS:
        base, third, participle = verb.english, verb.english_third, verb.english_participle
        choices = [
            (third, "present", "active", "one"),
            (base, "present", "active", "many"),
            *((f"{word} NOT {participle}", "present", "passive", number)
              for word, number in (("is", "one"), ("are", "many"))),
            *((f"{word} NOT {base}", "present", "active", number)
              for word, number in (("does", "one"), ("do", "many"))),
            *((f"{word} NOT {participle}", "perfect", "active", number)
              for word, number in (("has", "one"), ("have", "many"))),
            *((f"{word} NOT been {participle}", "perfect", "passive", number)
              for word, number in (("has", "one"), ("have", "many"))),
            *((f"{word} NOT {base}", word, "active", "any") for word in MODAL),
            *((f"{word} NOT be {participle}", word, "passive", "any") for word in MODAL),
        ]  # fmt: skip
        for text, form, voice, number in choices:
            for denied in (False, True):
                if denied and "NOT" not in text or not denied and text.startswith("do"):
                    continue
                end = starts(words, start, text.replace("NOT", "not" if denied else ""))
                if end is not None:
                    yield verb, form, voice, number, denied, end


def prepositional(words, start, only=None):
    """Yield (adjunct, end): a place with a thing, or another preposition with a person."""
    for prepositions, kind in ((PREPOSITIONS, "person"), (PLACES, "thing")):
        for row in prepositions:
            end = starts(words, start, row[0])
            if end is not None and only in (None, kind):
                for noun, place in phrase(words, end, kind):
                    yield (row[0], *noun), place


def after(text, words, start, kind, pronouns=()):
    end = starts(words, start, text)
    return () if end is None else phrase(words, end, kind, pronouns)


def clauses(words):
    """Yield all analyses of a clause as sorted pairs of role and content."""
    for passive in (False, True):
        tops = phrase(words, 0, "any" if passive else "person", () if passive else SUBJECTS)
        for top, place in tops:
            agrees = "many" if top[0] == "I" else top[1]
            for verb, form, voice, number, denied, end in group(words, place):
                if (voice == "passive") is not passive or number not in ("any", agrees):
                    continue
                facts = {"verb": verb.english, "form": form, "denied": denied}
                for found, rest in complements(words, end, verb, top, passive):
                    for extra, last in [*prepositional(words, rest), (None, rest)]:
                        if last == len(words):
                            yield {**facts, **found, "adjunct": extra}


def complements(words, start, verb, top, passive):
    """Yield (roles, end)."""
    kind = {"none": None, "person": "person", "dative": "person"}.get(verb.frame, "thing")
    if passive:
        if kind is None or (kind == "person") is not (top[0] in PERSON):
            return
        facts = {kind: top}
        middles = [(facts, start)]
        if verb.frame == "give":
            middles = [({**facts, "person": one}, end)
                       for one, end in after("to", words, start, "person")]  # fmt: skip
        elif verb.frame == "put":
            middles = [({**facts, "place": one}, end)
                       for one, end in prepositional(words, start, "thing")]  # fmt: skip
        for found, end in middles:
            for agent, last in after("by", words, end, "person", OBJECTS):
                yield {**found, "subject": agent}, last
        return
    facts = {"subject": top}
    if kind is None:
        yield facts, start
        return
    for one, end in phrase(words, start, kind):
        found = {**facts, kind: one}
        if verb.frame == "give":
            for person, last in after("to", words, end, "person"):
                yield {**found, "person": person}, last
        elif verb.frame == "put":
            for place, last in prepositional(words, end, "thing"):
                yield {**found, "place": place}, last
        else:
            yield found, end
    if verb.frame == "give" and " " not in verb.english:
        for person, end in phrase(words, start, "person"):
            for thing, last in phrase(words, end, "thing"):
                yield {**facts, "person": person, "thing": thing}, last


def saying(words):
    for top, place in phrase(words, 0, "person", SUBJECTS):
        for base, third, *_ in SAYING:
            is_third = top[1] == "one" and top[0] != "I"
            denial = ["does" if is_third else "do", "not", base]
            if words[place:] in ([third if is_third else base], denial):
                denied = words[place:] == denial
                yield {"subject": top, "verb": base, "form": "present", "denied": denied}


def parse(text):
    """Return all analyses of a sentence: (main clause, conjunction, other clause, adverb)."""
    if text[-1] != "." or not text[0].isupper():
        return []
    text = text[:-1] if text.startswith("I ") else text[0].lower() + text[1:-1]
    words = text.split()
    if words[0] in CONJUNCTION:
        front, comma, rest = text.partition(", ")
        pairs = [(words[0], rest.split(), front.split()[1:])] if comma else []
    elif "," in text:
        return []
    else:
        places = [n for n, word in enumerate(words) if word in CONJUNCTION | {"that"}]
        pairs = [(words[n], words[:n], words[n + 1 :]) for n in places]
    found = [
        (main, conjunction, sub, "")
        for conjunction, first, second in pairs
        for main in (saying if conjunction == "that" else clauses)(first)
        for sub in clauses(second)
    ]
    found += [(main, "", None, "") for main in clauses(words)]
    if words[0] in ADVERB:
        found += [(main, "", None, words[0]) for main in clauses(words[1:])]
    if words[-1] in ADVERB:
        found += [(main, "", None, words[-1]) for main in clauses(words[:-1])]
    return found
