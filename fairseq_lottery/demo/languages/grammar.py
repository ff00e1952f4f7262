"""Say a sentence in one of the invented languages."""

from __future__ import annotations

from functools import cache
from typing import Optional

from fairseq_lottery.demo.languages.language_table import FAMILIES, LANGUAGES
from fairseq_lottery.demo.languages.vocabulary import ARTICLES, affixes, words
from fairseq_lottery.demo.meanings.meaning import Clause, NounPhrase, Sentence

#: role of a noun phrase -> its case
_CASES = {"person": "object", "thing": "object"}


def say(code: str, sentence: Sentence, moved: bool = False) -> str:
    """Return the text of a sentence in a language.

    Args:
        code: the language.
        moved: whether the adverb is last, or the subordinate clause first. Languages whose verb is
            last put a clause with ``that`` first, too.
    """
    return _Speaker(code).sentence(sentence, moved)


class _Speaker:
    """Words and order of a language."""

    def __init__(self, code: str) -> None:
        self.language = LANGUAGES[code]
        self.has_prefixes = FAMILIES[self.language.family].has_prefixes
        self.words, self.affixes = _vocabulary(code)

    def sentence(self, sentence: Sentence, moved: bool) -> str:
        main = self.clause(sentence.main)
        if sentence.adverb:
            adverb = self.words[sentence.adverb]
            main = [*main, adverb] if moved else [adverb, *main]
        if sentence.sub is None:
            return _written([main])
        sub, conjunction = self.clause(sentence.sub), self.words[sentence.conjunction]
        sub = [*sub, conjunction] if self.language.is_verb_final else [conjunction, *sub]
        if sentence.conjunction == "that":
            moved = self.language.is_verb_final
        return _written([sub, main] if moved else [main, sub])

    def clause(self, clause: Clause) -> list[str]:
        objects: list[str] = []
        for role in ("person", "thing", "place"):
            objects += self.phrase(getattr(clause, role), _CASES.get(role, ""))
        parts = {
            "S": self.phrase(clause.subject),
            "V": self.verb(clause),
            "O": objects,
        }
        adjunct = self.phrase(clause.adjunct)
        if self.language.is_verb_final:
            parts["O"] = [*adjunct, *objects]
        else:
            parts["O"] = [*objects, *adjunct]
        return [word for part in self.language.order for word in parts[part]]

    def verb(self, clause: Clause) -> list[str]:
        subject = clause.subject
        person = "first" if subject.noun == "I" else "many" if subject.plural else "third"
        verb = self.words[clause.verb]
        if clause.form == "perfect":
            verb = self.with_affix(verb, "perfect")
        group = [verb]
        if clause.form in ("present", "perfect"):
            group = [self.with_affix(verb, person)]
        else:
            modal = self.with_affix(self.words[clause.form], person)
            group = [verb, modal] if self.language.is_verb_final else [modal, verb]
        return [self.words["not"], *group] if clause.negated else group

    def phrase(self, phrase: Optional[NounPhrase], case: str = "") -> list[str]:
        if phrase is None:
            return []
        noun, before = self.words[phrase.noun], []
        if phrase.plural and not phrase.is_pronoun:
            noun = self.with_affix(noun, "plural")
        if phrase.preposition == "to":
            case = "receiver"
        if case:
            noun = self.with_affix(noun, case)
        if phrase.article:
            before += (
                [self.words[phrase.article]]
                if phrase.article in ARTICLES
                else [self.words[part] for part in phrase.article.split("-")]
            )
        before += [self.words[word] for word in (phrase.adjective, phrase.modifier) if word]
        group = [noun, *reversed(before)] if self.language.order == "VSO" else [*before, noun]
        if phrase.preposition in ("", "to"):
            return group
        adposition = self.words[phrase.preposition]
        return [*group, adposition] if self.language.is_verb_final else [adposition, *group]

    def with_affix(self, word: str, affix: str) -> str:
        letters = self.affixes[affix]
        return letters + word if self.has_prefixes else word + letters


@cache
def _vocabulary(code: str) -> tuple[dict[str, str], dict[str, str]]:
    return words(code), affixes(code)


def _written(clauses: list[list[str]]) -> str:
    text = ", ".join(" ".join(clause) for clause in clauses)
    return f"{text[0].upper()}{text[1:]}."
