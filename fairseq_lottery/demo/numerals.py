"""Numerals as words; German puts the unit before the ten: fünfundzwanzig."""

from __future__ import annotations

_ENGLISH = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
).split()
_ENGLISH_TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()
_GERMAN = (
    "null ein zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn "
    "fünfzehn sechzehn siebzehn achtzehn neunzehn"
).split()
_GERMAN_TENS = "_ _ zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig".split()


def english_numeral(number: int) -> str:
    """Return the English words for 2 to 99."""
    if number < 20:
        return _ENGLISH[number]
    tens, unit = divmod(number, 10)
    return _ENGLISH_TENS[tens] + (f"-{_ENGLISH[unit]}" if unit else "")


def german_numeral(number: int) -> str:
    """Return the German word for 2 to 99, unit first."""
    if number < 20:
        return _GERMAN[number]
    tens, unit = divmod(number, 10)
    return (f"{_GERMAN[unit]}und" if unit else "") + _GERMAN_TENS[tens]
